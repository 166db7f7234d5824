/*
 * orbit: the embedded client of the DHT.
 *
 * A client keeps one session with the cluster, knows the ring map, holds connections to nodes, and
 * carries transactions to completion: a table of all in flight, ordered by deadline, is checked by
 * tick(); a connection that comes back gets all its transactions again at once; one that is silent
 * for check_timeout is stalled: its peer is pinged, its route looked up again, it is resent, and
 * its tries are counted down; at zero it is destroyed and its callback gets -ETIMEDOUT. (After the
 * checking thread of elliptics, Polyakov 2008-2012, and PROTOCOL: docs/PROTOCOL.md.)
 *
 * Thread: everything on the loop that the env belongs to. Callbacks come from the loop, never from
 * inside the call that asked, and exactly once.
 */
#ifndef ORBIT_CLIENT_ORBIT_H
#define ORBIT_CLIENT_ORBIT_H

#include <stdbool.h>
#include <stdint.h>

#include "dht/base/id.h"
#include "dht/net/env.h"
#include "dht/txn/txn.h"
#include "dht/wire/wire.h"

struct orbit_client;

/* What to do when a node does not answer. hard: resend for ever, the caller blocks. soft: resend
 * @resend_count times, one @check_timeout apart, then -ETIMEDOUT. */
struct orbit_policy {
	bool reads_block;       /* true: reads are hard */
	bool writes_block;      /* true: writes are hard */
	unsigned resend_count;  /* 0 .. 1000000; 0: one sending, no resend. default 5 */
	uint64_t check_timeout; /* ns, 10 ms .. 1 h; silent for longer is stalled. default 5 s */
};

#define ORBIT_SEEDS_MAX 16

struct orbit_config {
	const char *seeds[ORBIT_SEEDS_MAX]; /* addresses of nodes to begin with; copied */
	unsigned nseeds;
	uint8_t fsid[16]; /* the filesystem that is wanted; zeros: whatever the seeds serve */
	struct orbit_policy policy;
	uint64_t reconnect_min; /* ns; first delay before connecting again, doubled with jitter; 20
				   ms */
	uint64_t reconnect_max; /* ns; 500 ms */
	uint64_t
		ping_after; /* ns of silence on a link with requests in flight before a ping; 1 s */
};

struct orbit_config orbit_config_default(void);

/* Begins to connect. 0, -EINVAL (no seed, a bad address, policy out of range). */
int orbit_new(struct orbit_client **out, struct env *e, const struct orbit_config *cfg);

/* Calls ready(arg, rc) once: 0 when a map is there and a session is open; -ETIMEDOUT when that
 * takes longer than @timeout ns (0: wait for ever) - the reason is orbit_last_error(); -EMEDIUMTYPE
 * another filesystem, -EPROTONOSUPPORT another version. */
void orbit_wait_ready(
	struct orbit_client *c, uint64_t timeout, void (*ready)(void *arg, int rc), void *arg);

/* One line for a person about what keeps the client from working; "" when nothing does. */
const char *orbit_last_error(const struct orbit_client *c);

/* Ends the session and the links. What is in flight gets its callback with -ESHUTDOWN first;
 * done(arg) comes when nothing will be called any more: then the client is gone. */
void orbit_close(struct orbit_client *c, uint64_t timeout, void (*done)(void *arg), void *arg);

uint32_t orbit_session(const struct orbit_client *c);

/* ---- transactions ---- */

struct orbit_reply {
	int rc;     /* 0; -ECANCELED: a compare failed; a negative errno otherwise */
	int failed; /* index of the compare (or write to an absent object) that failed, or -1 */
	/* The results, good until the callback returns; read with orbit_result(). */
	const void *part[WIRE_PARTICIPANTS_MAX];
	size_t part_len[WIRE_PARTICIPANTS_MAX];
	unsigned nparts;
	struct frame *frame[WIRE_PARTICIPANTS_MAX]; /* what the parts lie in: frame_ref() to keep */
	struct frame *grant; /* orbit_covered()'s; NULL: nothing was granted */
};

/* The result of op @index: 0; -ENOENT the op has none; -EBADMSG. */
int orbit_result(const struct orbit_reply *r, int index, struct txn_result *out);

typedef void orbit_done_cb(void *arg, const struct orbit_reply *r);

/* Names a transaction in flight; 0 names none. */
typedef uint64_t orbit_handle;

/*
 * Sends @t (emptied by this, whatever comes of it) and calls done(arg, reply) once:
 *   0            it took effect, exactly once
 *   -ECANCELED   a compare failed, nothing took effect; reply->failed says which
 *   -ETIMEDOUT   soft policy: no answer. It may have taken effect before, it never will from now on
 *                (across shards it may: if nobody can be reached who could forbid it)
 *   -EINTR       orbit_cancel(); as for -ETIMEDOUT
 *   -ESHUTDOWN   the client was closed
 *   -ENOSPC, -EIO, -EROFS, -ESTALE (session ended), -EINVAL, -EMSGSIZE, -EOVERFLOW
 * If its objects lie in several shards it is committed across them (prepare, vote, commit);
 * conflicts are retried inside. @policy NULL: the client's. 0 is returned as handle when even that
 * failed: done() comes all the same.
 */
orbit_handle orbit_submit(struct orbit_client *c, struct txn_build *t,
	const struct orbit_policy *policy, orbit_done_cb *done, void *arg);

/* Gives up on a transaction: done() gets -EINTR soon. If it is answered already, that answer stays.
 * Only with @stalled_only false, or when it has stalled past its check_timeout; else nothing
 * happens and false is returned. A transaction that is committed can not be cancelled: false. */
bool orbit_cancel(struct orbit_client *c, orbit_handle h, bool stalled_only);

/* Makes durable all effects acknowledged to this session so far. done(arg, rc): 0; -EIO: some are
 * lost (their nodes lost power) or the disk failed; -ETIMEDOUT by policy. */
orbit_handle orbit_sync(
	struct orbit_client *c, const struct orbit_policy *policy, orbit_done_cb *done, void *arg);

/* How often a sync has found that something is lost. Only the syncs that asked are told so, but it
 * may be anything that was acknowledged before: whoever makes several things durable one by one has
 * to look whether this has changed meanwhile. */
uint64_t orbit_losses(const struct orbit_client *c);

/* Is the session @session alive? done's rc: 0 alive, -ESTALE ended or never was. */
orbit_handle orbit_check_session(
	struct orbit_client *c, uint32_t session, orbit_done_cb *done, void *arg);

/* Keys of one class of a shard (wire.h, WIRE_LIST); the reply's only part is the answer's results.
 */
orbit_handle orbit_list(struct orbit_client *c, uint8_t class, uint16_t shard, const void *after,
	size_t after_len, uint32_t max, bool values, orbit_done_cb *done, void *arg);

/* Asks the node with index @node of the map for its status; part 0 is a STATS body. */
orbit_handle orbit_status(struct orbit_client *c, unsigned node, orbit_done_cb *done, void *arg);

/* ---- being told of changes ---- */

enum orbit_watch_what {
	ORBIT_WATCH_BEGUN = 1,  /* from now on changes are told */
	ORBIT_WATCH_MISSED = 2, /* the same, again: some before that may not have been told */
	ORBIT_WATCH_CREATED = 3,
	ORBIT_WATCH_CHANGED = 4, /* slots, map or stream */
	ORBIT_WATCH_DELETED = 5,
};

struct orbit_change {
	enum orbit_watch_what what;
	struct orbit_id id; /* CREATED, CHANGED, DELETED: the object, */
	uint16_t shard;
	uint64_t seq; /* and the effect: its version, if it is there */
};
typedef void orbit_watch_cb(void *arg, const struct orbit_change *ch);

struct orbit_watch;

/*
 * Calls cb for each change of an object whose ID begins with @bits bits of @id (256: of that
 * object; 0: of any), from the loop, once the change is committed, whoever made it. In order for
 * each shard; several changes in one transaction are told as one. A notice is a hint, and nothing
 * waits for it: across a failure some may be missing, and then ORBIT_WATCH_MISSED says so. Watches
 * need a link to the primary itself.
 *
 * 0; -EINVAL (bits), -ESHUTDOWN. A watch ends by orbit_unwatch(), also from its own callback, or
 * with the client: orbit_close() frees it.
 */
int orbit_watch(struct orbit_client *c, const struct orbit_id *id, unsigned bits,
	orbit_watch_cb *cb, void *arg, struct orbit_watch **out);
void orbit_unwatch(struct orbit_watch *w); /* NULL is harmless; no callback follows */

/* ---- leases ---- */

/*
 * A lease lets this session remember what it saw of an object until it is told (shared), or also
 * keep changes back (exclusive). Transactions wish for them: txn_lease(), txn_lease_followed().
 * docs/LEASES.md has the contract.
 */
enum orbit_lease { ORBIT_LEASE_NONE, ORBIT_LEASE_SHARED, ORBIT_LEASE_EXCLUSIVE };

struct orbit_lease_ops {
	/* Somebody waits for @id: stop using what is remembered beyond @keep (NONE or SHARED), send
	 * what was kept back, then call orbit_return(c, id, keep or less) - at once or later, once
	 * for each recall. It may be recalled further (SHARED, then NONE) before that. */
	void (*recall)(void *arg, const struct orbit_id *id, enum orbit_lease keep);
	/* The lease is gone, whatever was kept back with it: the session is over. */
	void (*lost)(void *arg, const struct orbit_id *id);
	/* All leases are suspended (false): nothing remembered may be used, though it may be good
	 * again later (true). */
	void (*valid)(void *arg, bool valid);
	/* There is another ring map (orbit_ring()): sessions that it fences are over, and whatever
	 * is sent from now on is executed by nobody who does not know. NULL: of no interest. */
	void (*mapped)(void *arg);
};
/* Who is told, from the loop, until orbit_close() is called. Before and after that nothing is kept:
 * what is granted goes back at once. @ops and @arg stay until then. */
void orbit_leases(struct orbit_client *c, const struct orbit_lease_ops *ops, void *arg);

/* What is held of @id and may be used now; NONE while suspended, or while it is recalled further.
 */
enum orbit_lease orbit_lease_held(const struct orbit_client *c, const struct orbit_id *id);

/* In the callback of a transaction that succeeded: may what it showed of @id be remembered? The
 * lease that covers it (NONE: it may not), and in *version (may be NULL) the object's version after
 * the transaction. */
enum orbit_lease orbit_covered(struct orbit_client *c, const struct orbit_reply *r,
	const struct orbit_id *id, uint64_t *version);

/* Gives a lease back, or as much of it as is beyond @keep; also without being asked. Harmless when
 * it is not held. */
void orbit_return(struct orbit_client *c, const struct orbit_id *id, enum orbit_lease keep);

/* Until when (env_now()) leases are valid if nothing more is heard; 0: they are not. */
uint64_t orbit_valid_until(const struct orbit_client *c);

/* ---- looking at it ---- */

struct ring_map;
/* The map in use, borrowed until the next callback; NULL before the client is ready. */
const struct ring_map *orbit_ring(const struct orbit_client *c);

enum orbit_state { ORBIT_QUEUED, ORBIT_SENT, ORBIT_STALLED, ORBIT_BACKOFF, ORBIT_COMMITTING };

struct orbit_stalled {
	orbit_handle handle;
	enum orbit_state state;
	uint64_t age;        /* ns since it was submitted */
	uint64_t silent;     /* ns since it was last sent, or queued */
	unsigned tries_left; /* UINT_MAX: for ever */
	unsigned resends;    /* how often it was sent again */
	bool writes;
	char peer[ENV_ADDR_MAX]; /* "" when there is none */
	const char *reason;      /* "peer unreachable", "no answer", "conflict", ... static */
};

/* Calls fn for every transaction in flight (only stalled ones if @stalled), oldest first. */
void orbit_each(struct orbit_client *c, bool stalled,
	void (*fn)(void *arg, const struct orbit_stalled *s), void *arg);

/* Resends everything in flight now, without costing tries, and reconnects without delay. */
void orbit_retry_now(struct orbit_client *c);

struct orbit_counters {
	uint64_t sent, resent, completed, failed, cancelled;
	uint64_t stalled;   /* in flight and stalled, now */
	uint64_t in_flight; /* now */
	uint64_t reconnects, map_fetches, conflicts;
	uint64_t bytes_sent, bytes_received;
	uint64_t leases; /* held, now */
	uint64_t leases_granted, leases_recalled, leases_returned, leases_lost;
};
void orbit_counters(const struct orbit_client *c, struct orbit_counters *out);

#endif
