/*
 * repl_int: what the files that keep copies level have among themselves: repl.c (a primary's
 * effects, and roles), copy.c (its copies), appeal.c (what it tells the keeper), backup.c (effects
 * that come from a primary), durable.c (syncs on all copies), lease.c, takeover.c. Private to them.
 */
#ifndef ORBIT_NODE_REPL_INT_H
#define ORBIT_NODE_REPL_INT_H

#include <stdlib.h>

#include "dht/node/peer.h"
#include "dht/wire/wire_repl.h"

#define REPL_COPIES_MAX (RING_REPLICAS_MAX + RING_LEARNERS_MAX)
#define REPL_CROWD (16u << 20) /* bytes unacknowledged by a node from which on writes wait */
#define REPL_LAGS (64u << 20)  /* a learner that is so far behind is not streamed to any more */
#define REPL_FILL (1u << 20)   /* bytes of the log that are sent at once to bring one level */

/* ---- copies of a shard that we lead (copy.c) ---- */

enum copy_state {
	COPY_UNKNOWN, /* what it has is not known: it is asked (takeover.c) */
	COPY_TOLD,    /* it is known (seq and term); we are still finding out what the shard's is */
	COPY_STREAM,  /* gets every effect from @from on; those before are being sent as well */
	COPY_BAD,     /* has what the shard's history lacks, or can't be filled up: reported */
};

/* One effect that was sent and is not acknowledged. */
struct out {
	struct frame *frame;
	struct copy *copy;
	uint64_t seq;
	TAILQ_ENTRY(out) of_copy, of_peer;
};

struct copy {
	struct shard *shard;
	struct peer *peer;
	uint16_t node; /* index in the map */
	enum copy_state state;
	bool member;          /* else a learner */
	bool required;        /* effects are committed when it has them */
	bool asked;           /* under way in a RECOVER */
	bool complains;       /* the keeper is being told that it cannot go on, */
	const char *trouble;  /* for that reason */
	bool vouching;        /* the keeper is being told that it is level, though it was suspect */
	bool proposed;        /* the keeper was asked to make it a member, and may have done so */
	uint64_t refused_at;  /* it refused, having the map of that epoch */
	uint64_t incarnation; /* of the node that told what it has */
	struct history told;  /* COPY_TOLD: that */
	uint64_t mark;
	uint64_t acked; /* it has everything up to here */
	struct out_list unacked;
	struct fill *fill; /* sends it what lies before the stream */
	/* a learner */
	uint64_t level_at;
	void (*level)(void *arg, int rc);
	void *level_arg;
	struct level_sync *syncing;
	TAILQ_ENTRY(copy) of_peer;
};

struct repl {
	unsigned ncopies;
	struct copy *copy[REPL_COPIES_MAX];
};

struct copy *copy_at(struct shard *s, const struct peer *p);
/* A copy on that node, whose state is UNKNOWN and whose word does not count. */
struct copy *copy_new(struct node *n, struct shard *s, uint16_t node);
void copy_remove(struct shard *s, unsigned i);
void copy_remove_all(struct shard *s);
/* Does its word count for commits? */
void copy_require(struct copy *c, bool required);
/* Sends the copy everything behind @have (that it has), and what is applied from now on. */
void copy_stream(struct node *n, struct copy *c, uint64_t have);
/* What was known of it is void: it has to be asked again. */
void copy_reset(struct copy *c);
/* Its node runs as @incarnation: another start of it is asked again. */
void copy_started(struct copy *c, uint64_t incarnation);
/* An APPEND of that effect, meta and data still to be appended. */
struct frame *copy_frame(struct node *n, const struct shard *s, const struct wire_effect *at,
	size_t meta_len, size_t data_len);
/* Sends it, and again until it is acknowledged. */
void copy_send(struct copy *c, struct frame *f, uint64_t seq);
/* The shard has another term: what is not acknowledged will be refused, and goes out again. */
void copy_restream(struct node *n, struct copy *c);
/* The next piece of what it lacks, once the last one is there. */
void copy_fill(struct copy *c);
void copies_free(struct node *n);

/* ---- appeal.c ---- */

/* The copy cannot go on as a member: the keeper is asked to take it out, until the map says so. */
void copy_complain(struct node *n, struct copy *c, const char *why);
/* The same, said again. */
void copy_tell_keeper(struct node *n, struct copy *c);
/* Tells the keeper which members that were suspect are not, any more: what we serve is the shard.
 */
void repl_vouch(struct node *n, struct shard *s);
/* All that have to be vouched for; true: there are some. */
bool repl_vouch_all(struct node *n);
/* The keeper is asked to take us out: this copy must not lead. */
void repl_resign(struct node *n, struct shard *s);
/* Our log has failed: others lead from now on, where there are any. */
void repl_resign_all(struct node *n);

/* ---- repl.c ---- */

/* Looks whether more is committed. */
void repl_commit(struct node *n, struct shard *s);
/* Time passes as long as there is something to lead or to wait for. */
void repl_wake(struct node *n);
void repl_tick(struct node *n);
/* The next tick comes in @ns at the latest. */
void repl_soon(struct node *n, uint64_t ns);

static inline void history_free(struct history *h)
{
	free((void *)h->terms);
	*h = (struct history){0};
}

/* ---- backup.c ---- */

/* An effect that came over a link, in the order of its coming. */
struct incoming {
	struct repl_section sec;
	struct conn *conn; /* NULL: gone */
	uint64_t number;
	uint64_t shard_term;
	bool mark; /* nothing to apply: is everything up to seq there? */
	TAILQ_ENTRY(incoming) entry;
};

void backup_append(struct conn *c, struct frame *f);
void backup_recover(struct conn *c, struct frame *f);
/* The map is another one: what waited for it is looked at. */
void backup_adopt(struct node *n);
/* Sections of the shard that wait are refused: its role ended. */
void backup_drop(struct node *n, struct shard *s);
/* Our log has more of it. */
void backup_logged(struct node *n, struct shard *s);
void backup_free(struct node *n);

/* ---- durable.c ---- */

void durable_arrive(struct conn *c, struct frame *f);
/* What came over the link is in the log up to another point. */
void durable_incoming(struct conn *c);
/* The map is another one: whose word counts no more is not waited for. */
void durable_adopt(struct node *n);
/* Asks again those that could not be asked. */
void durable_tick(struct node *n, struct peer *p);
void durable_peer_free(struct peer *p);
void durable_conn_close(struct conn *c);
void durable_free(struct node *n);

/* ---- lease.c ---- */

void lease_arrive(struct conn *c, struct frame *f);
/* The map is another one; called before roles change. */
void lease_adopt(struct node *n, const struct ring_map *old);
/* Over when nobody who led the shard before can believe that it still does. */
bool lease_over(struct node *n, const struct shard *s, uint64_t *when);
/* Asks that node for a lease now rather than later. */
void lease_poke(struct peer *p);
void lease_peer_free(struct peer *p);
void lease_led(struct peer *p, int more);
/* Its address refuses connections: tell the keeper if that matters. */
void lease_refused(struct peer *p);
void lease_suspect(struct node *n, struct peer *p, bool refused);
/* @late: how long we may not have listened. */
void lease_tick(struct node *n, uint64_t late);

/* ---- takeover.c ---- */

void take_begin(struct node *n, struct shard *s);
void take_end(struct node *n, struct shard *s);
/* Something it may wait for has happened. */
void take_step(struct node *n, struct shard *s);
void take_go(struct node *n); /* the same, for all */
void take_tick(struct node *n);
/* Asks the copies of that state UNKNOWN what they have. */
void recover_ask(struct node *n);
void take_free(struct node *n);

#endif
