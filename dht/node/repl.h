/*
 * repl: how a node's copies are kept level: what the files repl.c, lease.c, takeover.c (the
 * primary and its backups) and learn.c, teach.c, repair.c, erase.c (copies that are not level) have
 * in common. docs/REPLICATION.md says why. Private to this room.
 */
#ifndef ORBIT_NODE_REPL_H
#define ORBIT_NODE_REPL_H

#include "dht/node/node.h"
#include "dht/store/history.h"

struct node;
struct shard;
struct conn;

enum shard_role { ROLE_NONE, ROLE_BACKUP, ROLE_LEARNER, ROLE_TAKING_OVER, ROLE_SERVING };

/* ---- repl.c ---- */

/* The node has another map: every shard gets its role in it. @old may be NULL. */
int repl_adopt(struct node *n, const struct ring_map *old);

/*
 * One effect of a shard that came from another copy. Applied in order: one that is there already
 * (same seq) is done at once, one that is too early is held until the gap is filled. done(s, rc)
 * when the log has it: 0, -ESTALE (the role ended), -EBADMSG (malformed, or the history differs),
 * or the store's error. meta and data lie in @frame, of which a reference is kept; @s stays until
 * done().
 */
struct repl_section {
	void (*done)(struct repl_section *s, int rc);
	uint16_t shard;
	uint64_t term, seq;
	const void *meta, *data;
	size_t meta_len, data_len;
	struct frame *frame;
	/* repl.c's */
	struct node *n;
	struct effect effect;
	struct store_apply apply;
	struct store_wait wait;
	struct iovec bulk;
	bool waiting, ended; /* for the store; and its role ended meanwhile */
	TAILQ_ENTRY(repl_section) entry;
};
TAILQ_HEAD(repl_section_list, repl_section);
void repl_apply(struct node *n, struct repl_section *s);

/* On a primary: what is applied from now on is sent to that learner as well. *last is the last seq
 * that is not. level(arg, rc) once it has said that it has everything up to *last, and from then on
 * its word is required for commits and syncs: 0; or an errno: the stream ended (role, link, map).
 */
void repl_stream_to(struct node *n, struct shard *s, uint16_t node, uint64_t *last,
	void (*level)(void *arg, int rc), void *arg);
/* Is it still sent to, and its word required? It may have refused something since it was level. */
bool repl_streams_to(struct node *n, struct shard *s, uint16_t node);
/* Asks the keeper to make that learner a member; the map tells the outcome. */
void repl_propose(struct node *n, struct shard *s, uint16_t node);

/* ---- learn.c, teach.c ---- */

/* At the start: which copies are not a prefix of their shard's history, as a walk did not end. */
int learn_load(struct node *n);
/* Such a copy counts as nothing: its history must not be told, compared or served. */
bool learn_partial(const struct node *n, uint16_t shard);
/* Something of it waits for the store; node_check_stopped() is called when that ends. */
bool learn_busy(const struct node *n);
void learn_stop(struct node *n);
void learn_free(struct node *n);
/* Appends pairs for STATUS. */
void learn_status(struct node *n, struct buf *b);

/* LEARN, TAIL, WALK, BYTES and JOIN. */
void teach_arrive(struct conn *c, struct frame *f);
void teach_free(struct node *n);

/* The node has another map: begins, goes on or stops learning shards. */
void learn_adopt(struct node *n);

/* Fetches the effects behind our own last one up to @to from @node and applies them with
 * repl_apply(): done(arg, rc): 0, -EHOSTUNREACH, -ESTALE (its log does not reach back), ... */
void learn_pull(struct node *n, struct shard *s, uint16_t node, uint64_t to,
	void (*done)(void *arg, int rc), void *arg);

/* ---- repair.c ---- */

struct exec;

struct repair_range {
	uint16_t shard;
	struct orbit_id id;
	uint64_t off, len;
};
/* Repairs from other copies what of these ranges cannot be read: of shards that we serve, whose
 * gates are the caller's meanwhile, or of one of which we are a backup. done(arg, rc), perhaps from
 * inside: 0: all can be read now; -EIO. */
void repair_start(struct node *n, const struct repair_range *ranges, unsigned nranges,
	void (*done)(void *arg, int rc), void *arg);
/* What the transaction was to read is damaged: true when it runs again by itself. */
bool repair_exec(struct exec *x);
void repairs_free(struct node *n);

/* ---- erase.c ---- */

/* Deletes, some time, what is held of shards that the map does not give us. */
void erase_adopt(struct node *n);
/* That shard is being deleted just now. */
bool erase_clears(const struct node *n, uint16_t shard);
bool erase_busy(const struct node *n);
void erase_free(struct node *n);

#endif
