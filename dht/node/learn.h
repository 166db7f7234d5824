/*
 * learn: what the files that bring a copy level share: learn.c (the order of things), learn_turn.c
 * (which of them when, and how fast), learn_pull.c (effects from another copy's log), learn_walk.c
 * (comparing all there is), walk.c (keys in order). Private to this room.
 */
#ifndef ORBIT_NODE_LEARN_H
#define ORBIT_NODE_LEARN_H

#include "dht/node/impl.h"
#include "dht/wire/wire_learn.h"

/* ---- walk.c ---- */

/* Is that class copied? Extents, histories and what is the copy's own are not. */
static inline bool walk_copies(uint8_t class)
{
	return class >= 'A' && class <= 'Z' && class != KEY_EXTENT && class != KEY_TERM &&
	       class != KEY_WALK && class != KEY_KEEPER && class != KEY_STORE;
}

/* All keys of a shard that are copied, in order. Do not apply while one is open. */
struct walk_iter {
	struct store *st;
	uint16_t shard;
	uint8_t class;
	struct key from; /* where the class's walk begins */
	struct store_iter *it;
};
/* From the first key greater than @after, which has fewer than EFFECT_KEY_MAX bytes. */
void walk_iter_init(
	struct walk_iter *w, struct store *st, uint16_t shard, const void *after, size_t after_len);
/* As store_iter_next(). After -EAGAIN begin again. */
int walk_iter_next(
	struct walk_iter *w, const void **key, size_t *klen, const void **val, size_t *vlen);
void walk_iter_fini(struct walk_iter *w);

/* As memcmp(), a key that begins with the other is the greater. */
int walk_key_cmp(const void *a, size_t alen, const void *b, size_t blen);

/* ---- learn_pull.c ---- */

struct puller;

/* As learn_pull(), within a lesson: as fast as the node may learn. @to UINT64_MAX: up to what the
 * source has when it is asked last. */
struct puller *pull_new(struct node *n, struct shard *s, const struct orbit_id *from,
	uint64_t token, uint64_t to, void (*done)(void *arg, int rc), void *arg);
/* done() will not come. NULL is harmless. */
void pull_cancel(struct puller *p);
void pull_free_all(struct node *n);

/* ---- learn.c ---- */

/* What is durably known of a copy that is not a prefix. */
struct learn_mark {
	uint8_t copy; /* enum wire_copy */
	uint64_t term, seq;
};

/* The learner's side of a walk. */
struct learn_walk {
	struct key after; /* with what is asked next */
	uint64_t off;
	struct frame *page; /* being compared */
	struct wire_walk_reply reply;
	struct cur items;       /* left of the page */
	struct key at;          /* compared up to here */
	struct orbit_id header; /* whose extents come first */
	bool compared;          /* all of the page */
	struct effect effect;
	struct frame *bytes; /* that the effect borrows from */
	struct wire_bytes_range *needs;
	size_t nneeds, needs_cap, asked; /* [0, asked) are being fetched */
	uint32_t most;                   /* bytes fetched at once */
	uint8_t *same;                   /* per chunk, then per hole before it */
	size_t same_cap;
	uint64_t damaged;   /* ranges that the source cannot read */
	uint64_t term, seq; /* the source's last effect when it was read last */
};

enum learn_state {
	LEARN_QUEUED,  /* waits for its turn, or until it may try again */
	LEARN_ASKING,  /* LEARN is out */
	LEARN_MARKING, /* the copy is marked as being walked over */
	LEARN_WALKING, /* learn_walk.c */
	LEARN_SETTING, /* the history becomes the source's */
	LEARN_PULLING, /* effects up to the source's end */
	LEARN_JOINING, /* JOIN is out */
	LEARN_FILLING, /* effects up to where the stream begins */
	LEARN_SYNCING, /* our store syncs */
	LEARN_SAYING,  /* so we say; */
	LEARN_LEVEL,   /* and wait for the map */
};

struct learn {
	struct node *n;
	struct shard *s;
	uint64_t term;          /* of the shard, in the map */
	struct orbit_id source; /* its primary */
	enum learn_state state;
	bool turn;       /* counts as active */
	bool dead;       /* goes as soon as nothing is pinned */
	unsigned pinned; /* callbacks that will come */
	unsigned tries;
	uint64_t not_before; /* QUEUED */
	uint64_t token;
	bool must_walk;           /* the source's log cannot be read where we need it */
	struct history history;   /* the source's then; terms are ours */
	uint64_t last, synced_at; /* JOIN */
	struct puller *pull;
	struct frame *line; /* to be sent as soon as the rate allows */
	struct call call;
	struct env_timer timer;
	void (*later)(struct learn *l); /* for the timer and for store_wait() */
	struct store_wait wait;
	struct effect effect;
	struct own own;
	void (*applied)(struct learn *l);
	struct store_sync sync;
	void (*answered)(struct learn *l, const struct wire_reply *m, struct frame *f);
	struct learn_walk walk;
	TAILQ_ENTRY(learn) entry;
};
TAILQ_HEAD(learn_list, learn);

struct learning {
	struct node *n;
	struct learn_list all; /* in the order of shards; then those that are dead */
	struct learn **of;     /* by shard; NULL: it is not being learned */
	struct learn_mark *marks;
	unsigned nshards;
	unsigned active;
	struct env_timer timer; /* the next that may try again */
	TAILQ_HEAD(, puller) pulls;
	uint64_t pace; /* until when what was fetched has used up the rate */
	uint64_t window, window_bytes, rate;
};

/* Sends a request to the source, no faster than the node may learn. l->answered gets the answer: m
 * is never NULL; a failed call has the status UNREACHABLE, and f is NULL. */
void learn_call(struct learn *l, struct frame *f,
	void (*answered)(struct learn *l, const struct wire_reply *m, struct frame *f));
/* Runs @fn when the store has what was missing, or takes effects again. */
void learn_wait(struct learn *l, void (*fn)(struct learn *l));
/* Applies @e, then @fn. */
void learn_apply(struct learn *l, const struct effect *e, void (*fn)(struct learn *l));
/* Something failed: all begins again, later. */
void learn_fail(struct learn *l, int rc, const char *what);
/* As learn_fail(), for what an answer says. */
void learn_refused(struct learn *l, const struct wire_reply *m, const char *what);

/* Its turn has come. */
void learn_ask(struct learn *l);
/* It is not learned any more; it goes when its callbacks have come. */
void learn_end(struct learn *l);
void learn_release(struct learn *l);

/* ---- learn_turn.c ---- */

#define LEARN_MARK_FORMAT 1

/* When something may be fetched; 0: now. And: that much was. */
uint64_t learn_pace(struct node *n);
void learn_fetched(struct node *n, size_t bytes);
/* Bytes that may be asked for at once. */
uint32_t learn_most(const struct node *n);
/* Who waits for its turn may have it now. */
void learn_poke(struct node *n);
/* All that is here of a shard is gone. */
void learn_cleared(struct node *n, uint16_t shard);

/* ---- learn_walk.c ---- */

/* Makes the copy what the source has; then learn_walked(). */
void learn_walk(struct learn *l);
void learn_walk_fini(struct learn *l);
void learn_walked(struct learn *l);

#endif
