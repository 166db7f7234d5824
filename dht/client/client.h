/*
 * client: what the files of this room share. Not for others: they include orbit.h.
 *
 * Who does what:
 *   table, tick   the requests in flight and what time does to them; no I/O
 *   peer          one connection each
 *   request       a message on its way: sent, sent again, carried by another, answered
 *   route         the ring map: where requests go
 *   follow        how the client comes by newer ones
 *   session       identity, numbers
 *   call          what the user asked for, from the call to the callback
 *   submit        transactions within one log
 *   commit        transactions across logs
 *   sync, ask     fsync; questions to a node or the keeper
 *   watch         being told of changes
 *   lease         what the session holds
 *   lease_hold    telling new primaries of it
 *   inspect       for people
 *   client        life cycle, ticker, delivery
 */
#ifndef ORBIT_CLIENT_CLIENT_H
#define ORBIT_CLIENT_CLIENT_H

#include "dht/base/mem.h"
#include "dht/client/lease.h"
#include "dht/client/orbit.h"
#include "dht/client/peer.h"
#include "dht/client/request.h"
#include "dht/client/session.h"
#include "dht/client/table.h"
#include "dht/client/tick.h"
#include "dht/ring/ring.h"

#define CLIENT_ERROR_MAX 512
#define CLIENT_SPARE_MAX 256 /* calls kept for reuse */

enum call_kind { CALL_TXN, CALL_COMMIT, CALL_SYNC, CALL_ASK };

struct commit;
struct sync;

/* What the user asked for. */
struct call {
	/* CALL_TXN, CALL_ASK: the request. CALL_COMMIT: back-off, and patience with an abort. While
	 * there is no map or session: what makes it time out. */
	struct request req;
	orbit_handle handle;
	enum call_kind kind;
	orbit_done_cb *done;
	void *arg;
	bool reads;    /* has no writes */
	bool called;   /* done() was called */
	bool ending;   /* done() will be called with rc, failed */
	bool waiting;  /* in the list of those without map or session */
	bool answered; /* cancelling it is too late */
	bool asking;   /* whether it was executed as a whole: submit.c */
	int rc, failed;
	uint64_t born;   /* monotonic */
	uint64_t age;    /* wall clock; the older goes first */
	uint64_t period; /* check_timeout */
	unsigned tries;  /* ENTRY_FOREVER: hard */
	uint32_t session;
	struct number number;
	struct txn_build *held; /* until there are a map and a session */
	struct commit *commit;
	struct sync *sync;
	TAILQ_ENTRY(call) at;    /* all calls, in order */
	TAILQ_ENTRY(call) at_on; /* waiting or ending ones, or spare ones */
};

TAILQ_HEAD(call_list, call);

struct orbit_client {
	struct env *env;
	struct orbit_policy policy;
	uint8_t fsid[16];
	uint64_t reconnect_min, reconnect_max, ping_after;

	struct table table;
	struct env_timer ticker;
	uint64_t tick_at;      /* what it is set to; UINT64_MAX: not set */
	uint64_t stall_logged; /* env_now() of the last line about stalls */
	uint64_t next_id;

	struct call_list calls, waiting, ending, spare;
	unsigned nspare;
	orbit_handle next_handle;
	struct env_task task; /* delivers what is ending; goes on closing */

	TAILQ_HEAD(, peer) peers;
	struct request_list homeless; /* requests that the map has nobody for */
	struct ring_map *map;
	struct peer **by_node;  /* of each node in the map; NULL: not needed yet */
	struct peer *relay;     /* who passed something on last */
	struct peer *refreshed; /* who was asked last for the map, when no one in particular was */
	uint64_t refresh_at;    /* when, for a stalled request */
	uint64_t heard;         /* the newest epoch that was spoken of */
	struct peer *teller;    /* by whom */
	uint64_t asked_at;      /* when somebody was asked because of that; 0 */
	unsigned chased;        /* times, in a row */
	struct env_timer seeker, chaser; /* follow.c's */

	struct session session;
	struct leases leases;

	struct wire_effect
		*marks; /* acknowledged and not durable: the highest of each shard and term */
	unsigned nmarks, marks_cap;
	uint64_t losses;
	uint32_t *mark_of; /* by shard: 1 + index of its newest term's mark; 0: none */
	unsigned nmark_of;

	TAILQ_HEAD(, orbit_watch) watches;
	unsigned watching; /* callbacks of watches that are running */

	void (*ready)(void *arg, int rc);
	void *ready_arg;
	int ready_rc;
	bool ready_due;
	struct env_timer ready_timer;

	bool closing;
	bool cut; /* the time to close in good order is over */
	void (*closed)(void *arg);
	void *closed_arg;
	struct env_timer close_timer;

	struct orbit_counters n;
	char error[CLIENT_ERROR_MAX];
};

/* ---- client.c ---- */

/* The ticker must not come later than the table wants it. */
void client_arm(struct orbit_client *c);
/* A map and a session are there, or went, or a peer failed for good: tells who waits for it. */
void client_check_ready(struct orbit_client *c);
/* Something happened that closing may wait for. */
void client_close_step(struct orbit_client *c);
/* Delivers what is ending, soon. */
void client_deliver(struct orbit_client *c);

/* ---- call.c ---- */

/* @policy NULL: the client's; it must be valid. */
struct call *call_new(struct orbit_client *c, enum call_kind kind, bool writes,
	const struct orbit_policy *policy, orbit_done_cb *done, void *arg);
bool policy_valid(const struct orbit_policy *p);
/* Calls back now; then frees @k unless it has work left in the background. From events only. */
void call_done(struct call *k, const struct orbit_reply *r);
/* Calls back soon with k->failed and no results. What there was to be dropped has been. */
void call_fail(struct call *k, int rc);
/* Frees @k if it was called back and has nothing left to do. */
void call_release(struct call *k);
/* Gives up: nothing of it is sent from now on, done() gets @rc soon. */
void call_give_up(struct call *k, int rc);
bool call_stalled(const struct call *k);
/* Has the map and session that @k waits for? If not, it is put on the list. */
bool call_ready(struct call *k);
void call_wait(struct call *k, const char *reason);
void call_unwait(struct call *k);
/* Starts those that waited for a map, a session, or room for abandoned numbers. */
void call_start_waiting(struct orbit_client *c);
/* A transaction's answer: the errno, and what follows for the session. */
int call_errno(struct orbit_client *c, uint16_t status);

/* ---- submit.c ---- */

/* There are a map and a session: sends what @k holds, or @t. */
void submit_start(struct call *k, struct txn_build *t);
/* A frame of @type with everything before the body (@flags: beside READS) and @room for that. */
struct frame *submit_frame(struct call *k, uint16_t type, uint64_t id, uint16_t flags,
	const uint16_t *shards, unsigned nshards, size_t room);
/* The same transaction with a head of today; all but id, session, number and more @flags come from
 * @old. */
struct frame *submit_rehead(struct orbit_client *c, const struct frame *old, uint64_t id,
	uint32_t session, uint64_t number, uint16_t flags);
void submit_session_lost(struct call *k);

/* ---- rebuild.c ---- */

/* What was encoded whole, as it was built: 0, or a negative errno. */
int rebuild_txn(struct txn_build *t, const void *body, size_t len);

/* ---- commit.c ---- */

void commit_start(struct call *k, struct txn_build *t, const uint16_t *shards, unsigned nshards);
void commit_again(struct call *k);
void commit_give_up(struct call *k, int rc);
void commit_session_lost(struct call *k);
bool commit_busy(const struct call *k);
/* Has been losing conflicts for longer than its check_timeout. */
bool commit_contended(const struct call *k);
void commit_free(struct call *k);
/* Requests of it that wait for an answer, one after the other; NULL: no more. */
const struct request *commit_request(const struct call *k, unsigned i);
bool commit_deciding(const struct call *k);

/* ---- sync.c ---- */

void sync_init(struct orbit_client *c); /* once the number of shards is known */
void sync_note(struct orbit_client *c, const struct wire_reply *m);
void sync_start(struct call *k);
void sync_free(struct call *k);
/* What a part of it has answered, and done() must hear: 0 or a negative errno. */
int sync_error(const struct call *k);
const struct request *sync_request(const struct call *k, unsigned i);

/* ---- watch.c ---- */

/* There is another map. */
void watch_mapped(struct orbit_client *c);
/* The link of @peer is gone. */
void watch_link_lost(struct peer *peer);
void watch_notice(struct peer *peer, struct frame *f);
void watch_free(struct orbit_watch *w);
void watch_close(struct orbit_client *c);

/* ---- route.c ---- */

/* The peer of the node with index @node; NULL: there is none. */
struct peer *route_node(struct orbit_client *c, unsigned node);
/* The peer that @r belongs to by the map; NULL: none. */
struct peer *route_of(struct orbit_client *c, const struct request *r);
/* Another node that may carry what @home can not be reached with; NULL: none. */
struct peer *route_around(struct orbit_client *c, const struct peer *home, const struct peer *last);
/* A MAP came. 0, -EBADMSG, -EMEDIUMTYPE. */
int route_take(struct orbit_client *c, struct peer *p, struct cur body);
/* The peer said which node it is: false when it is not the one that was meant. */
bool route_learn(struct peer *p, const struct orbit_id *node);

/* ---- follow.c ---- */

/* Asks @p for its map, if it was not asked just now. */
void follow_ask(struct peer *p);
/* A node said that its map is of @epoch. */
void follow_epoch(struct orbit_client *c, struct peer *p, uint64_t epoch);
/* Asks one node after the other as long as there is a reason to; the first one @now, or soon. */
void follow_chase(struct orbit_client *c, bool now);
/* There is another map. */
void follow_mapped(struct orbit_client *c);
/* Asks any node but @not for its map: a request of it has stalled. */
void follow_stalled(struct orbit_client *c, const struct peer * not );
/* A few links are kept although nothing is pending on them. */
void follow_warm(struct orbit_client *c);
/* There is no map yet: asks whoever is connected. */
void follow_seek(struct orbit_client *c);
void follow_stop(struct orbit_client *c);

#endif
