/*
 * wire_learn: how a copy that is not level gets what it lacks from another. The learner asks, the
 * source answers with a REPLY whose results are given below. docs/REPLICATION.md says how the
 * messages work together.
 *
 * A LEARN that is granted gives a token, by which the source knows the learner in what follows; a
 * source that does not know a token answers STALE, and the learner begins anew.
 */
#ifndef ORBIT_WIRE_WIRE_LEARN_H
#define ORBIT_WIRE_WIRE_LEARN_H

#include "dht/wire/wire.h"

#define WIRE_WALK_KEY_MAX 1023        /* bytes of a cursor's key */
#define WIRE_WALK_MAX (1u << 20)      /* bytes that a WALK may ask for */
#define WIRE_TAIL_MAX (1u << 20)      /* and a TAIL */
#define WIRE_BYTES_MAX (1u << 20)     /* and a BYTES */
#define WIRE_BYTES_RANGES 1024        /* ranges of one BYTES */
#define WIRE_BYTES_RANGE (32 + 8 + 4) /* an encoded range */

/* What a copy says of itself in LEARN. */
enum wire_copy {
	WIRE_COPY_PREFIX = 0,  /* a prefix of what its history says */
	WIRE_COPY_WALKING = 1, /* a walk over it did not end, or a tail is known not to do */
	WIRE_COPY_AHEAD = 2,   /* it has bits of effects up to (term, seq): a prefix again once it
				  has all up to there */
};

struct wire_learn {
	struct orbit_id node; /* who asks */
	uint16_t shard;
	uint64_t term;      /* of the shard, in the asker's map */
	uint8_t copy;       /* enum wire_copy */
	uint64_t need_term; /* WIRE_COPY_AHEAD: up to where */
	uint64_t need_seq;
	const void *history; /* the asker's, up to the end */
	size_t history_len;
};
/* Everything before the history: append it right after. */
void wire_put_learn_head(struct buf *b, const struct wire_learn *m);
int wire_get_learn(struct cur c, struct wire_learn *m);

enum wire_learn_mode { WIRE_LEARN_TAIL = 1, WIRE_LEARN_WALK = 2 };

struct wire_learn_reply {
	uint8_t mode; /* enum wire_learn_mode */
	uint64_t token;
	const void *history; /* the source's, up to the end */
	size_t history_len;
};
void wire_put_learn_reply_head(struct buf *b, const struct wire_learn_reply *m);
int wire_get_learn_reply(struct cur c, struct wire_learn_reply *m);

/* Effects @from and on, about @max bytes but at least one; STALE when the log
 * does not reach back, or the effect before @from is another one than the asker's. */
struct wire_tail {
	uint64_t token; /* 0: none */
	uint16_t shard;
	uint64_t term; /* of the effect before @from; 0 when there is none */
	uint64_t from;
	uint32_t max;
};
void wire_put_tail(struct buf *b, const struct wire_tail *m);
int wire_get_tail(struct cur c, struct wire_tail *m);

struct wire_tail_reply {
	uint64_t term, seq; /* the source's last effect */
	uint32_t n;         /* effects, read one after the other with wire_get_tail_effect() */
	struct cur effects;
};
struct wire_tail_effect {
	uint64_t term, seq;
	const void *meta, *data;
	size_t meta_len, data_len;
};
/* Everything before the effects; they are encoded as store_tail_read() gives them. */
void wire_put_tail_reply_head(struct buf *b, uint64_t term, uint64_t seq, uint32_t n);
int wire_get_tail_reply(struct cur c, struct wire_tail_reply *m);
int wire_get_tail_effect(struct cur *c, struct wire_tail_effect *m);

/* What the shard has behind a cursor: keys greater than @after; with @off above 0 first the extents
 * of the header @after from there on. */
struct wire_walk {
	uint64_t token; /* 0: none, for a person who compares copies (admin) */
	uint16_t shard;
	uint32_t max;
	uint64_t off;
	const void *after;
	size_t after_len;
};
void wire_put_walk(struct buf *b, const struct wire_walk *m);
int wire_get_walk(struct cur c, struct wire_walk *m);

/* The answer covers all from the cursor that was asked with to the one that it gives. Its items, in
 * the order of keys: KEY, and behind a header's key (or first, if @off was above 0) EXTENTS: how
 * [from, to) of its stream looks; a header without them has no stream. */
struct wire_walk_reply {
	uint64_t term, seq; /* the source's last effect */
	uint8_t done;       /* there is nothing behind; no cursor */
	uint64_t off;       /* with what to ask next */
	const void *after;
	size_t after_len;
	struct cur items;
};
enum wire_walk_item { WIRE_WALK_KEY = 1, WIRE_WALK_EXTENTS = 2 };
struct wire_walk_entry {
	uint8_t item;          /* enum wire_walk_item */
	const void *key, *val; /* KEY */
	size_t klen, vlen;     /* KEY */
	uint64_t from, to;     /* EXTENTS */
	uint32_t n;            /* EXTENTS: u64 offset, u32 length, u32 CRC32C, n times: chunks that
				  hold data, ascending */
	const void *chunks;
};
#define WIRE_WALK_CHUNK 16 /* an encoded chunk */
void wire_put_walk_reply_head(struct buf *b, const struct wire_walk_reply *m);
int wire_get_walk_reply(struct cur c, struct wire_walk_reply *m);
/* 1 and the next item, 0 at the end, -EBADMSG. */
int wire_get_walk_entry(struct cur *items, struct wire_walk_entry *m);

/* Bytes of streams, each range verified: the bytes of all ranges, one after the other; the reply's
 * only effect is the source's last when all was read. Damage is answered with IO, and `failed` says
 * in which range. */
struct wire_bytes {
	uint64_t token; /* 0: none */
	uint16_t shard;
	uint64_t term, seq; /* only if the source's last effect is that one; 0, 0: in any case */
	uint16_t n;
	const void *ranges;
	size_t len; /* bytes of all ranges */
};
struct wire_bytes_range {
	struct orbit_id id;
	uint64_t off;
	uint32_t len;
};
/* Everything before the ranges. */
void wire_put_bytes_head(struct buf *b, const struct wire_bytes *m);
void wire_put_bytes_range(struct buf *b, const struct wire_bytes_range *r);
int wire_get_bytes(struct cur c, struct wire_bytes *m);
struct wire_bytes_range wire_bytes_at(const struct wire_bytes *m, unsigned i);

enum wire_join_step {
	WIRE_JOIN_STREAM = 1, /* send me what comes from now on; answer: u64 term, u64 seq of the
				 last effect that is not sent, which is on the source's disk */
	WIRE_JOIN_SYNCED = 2, /* I have it, and all up to @seq is on disk: propose me. RETRY: not
				 enough yet */
};
struct wire_join {
	uint64_t token;
	uint16_t shard;
	uint8_t step; /* enum wire_join_step */
	uint64_t seq; /* SYNCED */
};
void wire_put_join(struct buf *b, const struct wire_join *m);
int wire_get_join(struct cur c, struct wire_join *m);
void wire_put_join_reply(struct buf *b, uint64_t term, uint64_t seq);
int wire_get_join_reply(struct cur c, uint64_t *term, uint64_t *seq);

#endif
