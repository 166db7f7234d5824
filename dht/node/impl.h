/*
 * impl: the working state of a node, shared by the files of this room and by nobody else.
 *
 *   node.c     life cycle, listeners, ring changes
 *   conn.c     links that came in: HELLO, dispatch, limits
 *   req.c      requests under way: waiting, ordering of answers
 *   route.c    who executes a transaction; forwarding
 *   bring.c    getting the bytes that a transaction copies
 *   peer.c     links to other nodes and calls over them
 *   repl.c     our effects, and roles (repl.h)
 *   copy.c     effects on their way to the other copies
 *   appeal.c   what is to be said to the keeper about them
 *   backup.c   effects that come from a primary
 *   durable.c  syncs on all copies of a shard
 *   lease.c    who may answer, and who does not answer
 *   takeover.c becoming primary
 *   learn.c    bringing a copy level (learn.h): learn_pull.c, learn_walk.c, walk.c
 *   teach.c    the other side of that (teach.h): teach_read.c
 *   repair.c   damage that a read met
 *   erase.c    what is held of shards that others have
 *   exec.c     evaluating, effects, answers: what transactions and votes have in common
 *   single.c   transactions on shards served here
 *   replay.c   was a transaction executed whose shards have come apart?
 *   prepare.c  votes of cross-shard transactions
 *   decide.c   their outcomes
 *   doubt.c    outcomes that nobody told us
 *   intent.c   the records of both, in memory and in the store
 *   sess.c     sessions on a shard: floors, abandoned numbers, stored replies
 *   shard.c    a shard's terms and numbers
 *   lock.c     what prepared transactions have locked
 *   follow.c   what a transaction shows of objects that it does not name
 *   grant.c    leases of sessions on objects (grant.h): recall.c, holding.c
 *   sweep.c    what sessions that ended leave behind
 *   watch.c    who is told of changes
 *   keep.c     coming into the ring map and staying in it
 *   keep_ask.c asking the keeper
 *   keep_map.c the ring map as we have it
 *   admin.c    sync, list, status, the map
 *
 * Everything that a client asks for becomes a struct req. Whatever it has to wait for, it is run
 * again from its beginning afterwards, so that nothing it looked at before is taken for granted.
 * Between looking at the store and applying an effect nothing else runs.
 */
#ifndef ORBIT_NODE_IMPL_H
#define ORBIT_NODE_IMPL_H

#include <uthash.h>

#include "dht/node/lock.h"
#include "dht/node/node.h"
#include "dht/node/repl.h"
#include "dht/txn/txn.h"
#include "dht/wire/wire.h"

#define NODE_RESULTS_MAX (7u << 20)    /* bytes of results in an answer */
#define NODE_STORED_MAX 1000000u       /* bytes of results when the reply has to be stored */
#define NODE_PART_MAX 3000000u         /* bytes of a prepared part: it and its vote are one value */
#define NODE_ABANDONED_MAX (1u << 16)  /* abandoned numbers of a session on a shard */
#define NODE_DECLINED_MAX (1u << 16)   /* failures of a session that a shard remembers */
#define NODE_DECIDE_SYNC (20 * ENV_MS) /* how long an outcome waits for others to sync with */
#define NODE_WAKE_TURN 64              /* requests of those that waited, in a turn of the loop */
#define NODE_FORGET_AFTER ENV_SEC      /* how long outcomes that may go are gathered */

struct node;
struct conn;
struct shard;
struct req;
struct prepared;
TAILQ_HEAD(req_list, req);

/* ---- requests (req.c) ---- */

enum req_kind { REQ_OTHER, REQ_TXN, REQ_PREPARE, REQ_DECIDE, REQ_BRING };

/* By what a resent request finds the one that runs. No padding: hashed as bytes. */
struct req_key {
	uint64_t number;
	uint32_t session;
	uint16_t shard;
	uint16_t kind;
};

struct req_ops {
	void (*run)(struct req *r);                             /* from the beginning */
	void (*answered)(struct req *r, const struct frame *f); /* NULL, or: the answer leaves */
	void (*release)(struct req *r);                         /* frees it */
};

/* What a request saw of a shard: its effects up to seq, which must be committed before the answer
 * leaves. */
struct seen {
	struct shard *shard;
	uint64_t seq;
};
#define REQ_SEEN_FEW 2

struct req {
	const struct req_ops *ops;
	struct node *n;
	struct conn *conn; /* who wants the answer; NULL: nobody any more */
	uint64_t id;       /* under which id; 0: no answer is wanted */
	struct frame *frame;
	size_t held;        /* bytes counted against the link */
	bool doomed;        /* abandoned or aborted: must not be evaluated any more */
	bool running;       /* in n->running */
	bool lost;          /* a shard of it is not served here any more: in n->lost. It has no
			       asker, and ends as soon as nothing of it is under way */
	unsigned pinned;    /* callbacks that will come: it cannot go before */
	struct req_key key; /* while running */
	struct req_list *queue;
	struct store_wait wait;
	struct seen *seen; /* the shards it touches */
	unsigned nseen, seen_cap;
	struct seen seen_few[REQ_SEEN_FEW];
	uint64_t slept;      /* in a shard's waiting: since that many wakes */
	uint64_t waits;      /* in a shard's answers: for that one's seq */
	struct frame *reply; /* waits for that */
	TAILQ_ENTRY(req) entry, of_conn, of_node;
	UT_hash_handle hh;
};

/* Takes a reference to @f (may be NULL). */
void req_init(struct req *r, struct node *n, struct conn *conn, struct frame *f,
	const struct req_ops *ops);

/* Makes the request known, so that a resent one finds it. */
void req_register(
	struct req *r, enum req_kind kind, uint32_t session, uint64_t number, uint16_t shard);
struct req *req_find(
	struct node *n, enum req_kind kind, uint32_t session, uint64_t number, uint16_t shard);

/* It keeps that many bytes more (or less), which count against the limits. */
void req_hold(struct req *r, ptrdiff_t bytes);

/* The answer now goes to @conn as @id. */
void req_attach(struct req *r, struct conn *conn, uint64_t id);
void req_detach(struct req *r);

/* Runs again when the store has what was missing, or takes effects again. */
void req_wait_store(struct req *r);
/* Runs again when something of the shard was unlocked. */
void req_wait_shard(struct req *r, struct shard *s);

/* It looks at the shards that it touches: what they have now must be committed before it is
 * answered. */
void req_look(struct req *r);
/* Touches a shard and looks at it; between this and req_look() nobody else looks. */
void req_touch(struct req *r, struct shard *s);
/* To be called when something of the request came back: true when it must not go on, as its shard
 * is lost or the node stops. Then it may be gone already. */
bool req_over(struct req *r);

/* Answers (taking @f's reference) once all that it saw is committed, and ends the request. */
void req_answer(struct req *r, struct frame *f);
void req_status(struct req *r, uint16_t status);
/* Ends it without an answer. */
void req_end(struct req *r);
void req_end_all(struct node *n);

/* Sends what waited for what is committed by now; with @rc: what waited for more than that could
 * not be had. */
void req_flush(struct shard *s, int rc);
/* Shards marked as losing are not served here any more: what touches them gets WRONG_NODE. */
void req_lose(struct node *n);

struct frame *reply_new(struct node *n, uint16_t status, uint16_t failed, size_t room);
uint16_t status_of(int rc);

/* ---- shards (shard.c) ---- */

struct shard {
	uint16_t number;
	enum shard_role role; /* of this node, by the map; set by repl.c alone */
	bool loading;         /* its tables are being loaded */
	bool vouching;        /* the keeper is being told that it is served */
	bool dropping;        /* the same, of a copy that was led by another node */
	bool wake;            /* in n->woken: some that wait are to run again, soon */
	bool losing;          /* while a map is adopted: served before, and not any more */
	bool doubtful;        /* we are to lead it, and it may lack what was acknowledged */
	uint64_t term, since; /* in the map; and the epoch from which on it is that */
	uint64_t looked;      /* the last look of a request (req.c) */

	/* While it is served: our effects up to this seq are in our log; and in those of all whose
	 * word counts. What lies above is under way. */
	uint64_t logged, committed;
	unsigned flying;   /* effects that the store has taken and not reported */
	struct repl *repl; /* the other copies, as their primary sees them; NULL: none */
	struct take *take; /* TAKING_OVER */
	bool stalled;      /* in n->stalled: answers wait for a lease */
	TAILQ_ENTRY(shard) stalled_entry;

	/* Another node led it before, and may believe that it still does until then, unless it
	 * says itself that it has a map of that epoch. NULL: nobody's word would do. */
	struct peer *former;
	uint64_t former_until, former_epoch;

	/* Effects that came from another copy (backup.c). */
	struct repl_section_list early, doubles; /* a gap before them; there, but not logged */
	bool held;                               /* the first of the early waits for the store */

	struct lock_table locks;
	struct grants *grants;   /* leases of sessions; NULL: none */
	uint64_t grants_made;    /* so far: it may lead again in a term in which it gave some */
	const struct req *gate;  /* it evaluated, and nobody may apply before it does */
	struct req_list waiting; /* for locks, the gate, or until it is served; by r->slept */
	uint64_t wakes;          /* whoever began to wait before the last of them runs again */
	TAILQ_ENTRY(shard) wake_entry;
	struct req_list answers; /* wait for a seq to be committed, in that order */
};

void shards_init(struct node *n);
void shards_free(struct node *n);
/* The number that the next effect gets. */
void shard_next(const struct node *n, const struct shard *s, uint64_t *term, uint64_t *seq);
/* Are there, or may there soon be, other copies of it? Then effects touch it alone. */
bool shard_copied(const struct node *n, const struct shard *s);
/* Of the last effect applied. */
uint64_t shard_seq(const struct node *n, const struct shard *s);
bool shard_contains(const struct node *n, uint16_t shard, uint64_t term, uint64_t seq);
/* At loading: 1: the key is of a shard whose tables are being loaded, 0: of another one; -EUCLEAN.
 */
int shard_of_key(const struct node *n, const uint8_t *key, size_t klen);
/* Runs again what waits for it, in its order: at once, but for what would hold the loop up; that
 * runs in the next turns, as all does if others are being woken. */
void shard_wake(struct node *n, struct shard *s);
/* The same, not from within the caller. */
void shard_wake_soon(struct node *n, struct shard *s);
void shard_wake_run(struct env_task *t);
/* Does the map name this node as its primary? */
bool shard_mine(const struct node *n, unsigned shard);

/* ---- our own effects (repl.c) ---- */

/* An effect that this node makes. Exactly one section if its shard has other copies. done() comes
 * once our log has it (or with the log's error); it is committed when all copies have it, which
 * s->committed tells. Embedded by the caller; effect, at and data stay until done(). */
struct own {
	const struct effect *effect;
	const struct wire_effect *at; /* its sections, those of term 0 left out */
	unsigned nat;
	void (*done)(struct own *o, int rc);
	struct node *n;
	struct store_apply apply;
};

#define OWN_EFFECT_MAX (FRAME_BODY_MAX - 256) /* bytes: it has to fit in a message */

/* 0: taken, done() follows; or refused as by store_apply(), also with -EMSGSIZE. */
int own_apply(struct node *n, struct own *o, enum store_urgency urgency);

/* A sync on all copies of some shards: done(d, rc) once all that was applied to them before is on
 * disk with everybody whose word counts: 0 or the own store's error. Whoever fails leaves the
 * copies first. If the node stops serving the shard, done() comes as well: nothing is known then.
 * Embedded by the caller; @of stays until done(). */
struct durable {
	void (*done)(struct durable *d, int rc);
	struct node *n;
	const struct seen *of;
	unsigned nof;
	unsigned left;
	int rc;
	bool failed; /* our own store; it waits until others lead */
	struct store_sync sync;
	TAILQ_HEAD(, durable_wait) waits; /* for other nodes */
	TAILQ_ENTRY(durable) entry;
};
void durable_start(struct node *n, struct durable *d, const struct seen *of, unsigned nof);

/* Must writes of the shard wait now? Whoever does is woken when that ends. */
bool repl_blocks(struct node *n, const struct shard *s);
/* Nothing of it waits for the store. */
bool repl_idle(const struct node *n);
/* The node stops, or is freed. */
void repl_init(struct node *n);
void repl_stop(struct node *n);
void repl_free(struct node *n);
void repl_conn_init(struct conn *c);
void repl_conn_close(struct conn *c);
/* What other nodes send about copies. */
void repl_arrive(struct conn *c, struct frame *f);
/* A link of that node's to us ended: does it still live? */
void lease_probe(struct node *n, const struct orbit_id *id);
/* That incarnation of the node has a map of that epoch. */
void lease_heard(struct node *n, const struct orbit_id *id, uint64_t incarnation, uint64_t epoch);
/* May answers of the shard leave, as far as leases go? Else they are woken when one comes. */
bool lease_ready(struct node *n, struct shard *s);
/* Leases may hold now that did not: answers that waited for them leave. */
void lease_flush(struct node *n);

/* Loads one record of the shards whose tables are being loaded: 0, -EUCLEAN. */
int sess_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen);
int intent_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen);

/* ---- sessions on a shard (sess.c) ---- */

struct sess_key {
	uint32_t session;
	uint32_t shard;
};

struct numbers {
	uint64_t *v; /* ascending; in use are [head, len) */
	size_t head, len, cap;
};

/* A transaction that was answered with an error: nothing took effect, and nothing may any more, as
 * its client has been told so while a second copy may still be on its way. */
struct decline {
	uint64_t number;
	uint16_t status, failed;
};

struct sess {
	struct sess_key key;
	uint64_t floor;
	uint64_t kept;       /* the floor that the log has */
	bool dirty;          /* the log lacks an abandoned number */
	uint64_t *abandoned; /* ascending */
	size_t nabandoned;
	struct numbers stored;    /* replies in the store */
	struct decline *declined; /* ascending; until the floor passes them */
	size_t ndeclined, declined_cap;
	unsigned refs; /* requests that know it */
	bool gone;     /* not in the table any more: goes with the last of them */
	UT_hash_handle hh;
};

void sess_free_all(struct node *n);
struct sess *sess_find(struct node *n, uint32_t session, uint16_t shard);
/* Is the number refused for ever, by what is in the log? */
bool sess_bars(const struct sess *s, uint64_t number);
/* Learns what a request says of its session. NULL: too much of it. */
struct sess *sess_learn(struct node *n, uint16_t shard, const struct wire_txn *m);
void sess_floor(struct node *n, uint32_t session, uint16_t shard, uint64_t floor);
bool sess_refuses(const struct sess *s, uint64_t number);
bool sess_stored(const struct sess *s, uint64_t number);
void sess_decline(struct sess *s, uint64_t number, uint16_t status, uint16_t failed);
/* NULL: it was not. */
const struct decline *sess_declined(const struct sess *s, uint64_t number);
/* Whether an effect of its shard must (or, with @spare, may as well) record something of it. */
bool sess_wants(const struct sess *s, bool spare);
/* Records it: floor, abandoned numbers, replies that may go. */
void sess_record(const struct sess *s, struct effect *e);
/* That effect was taken. */
void sess_recorded(struct sess *s);
void sess_reply_put(const struct sess *s, struct effect *e, struct buf *tmp, uint64_t number,
	const void *body, size_t len);
void sess_reply_took(struct sess *s, uint64_t number);
/* Deletes all that the log has of it; false: only a part, as much as one effect may. */
bool sess_erase(const struct sess *s, struct effect *e);
/* That part is gone. */
void sess_erased(struct sess *s);
void sess_drop(struct node *n, struct sess *s);
/* A request does not need it any more; NULL is harmless. */
void sess_unref(struct sess *s);
/* Forgets all of shards that are marked as losing. */
void sess_lose(struct node *n);
/* Appends the body of the stored reply: 0, -EAGAIN, -EIO. */
int sess_reply_get(struct node *n, const struct sess *s, uint64_t number, struct buf *out);

/* ---- execution (exec.c, prepare.c) ---- */

/* One shard that a transaction touches. */
struct part {
	struct shard *shard;
	struct sess *sess; /* NULL without a session */
	bool section;      /* the effect has one of it */
	bool record;       /* something of the session is written along */
	struct wire_effect at;
};

struct exec_read {
	struct store_read r;
	struct exec *x;
};

struct exec {
	struct req r;
	struct wire_txn m;
	struct txn_view v;
	void (*finish)(struct exec *x); /* once it is evaluated */
	struct txn_outcome out;
	struct frame *f;     /* the answer: results grow in its buffer */
	size_t results_from; /* where in that buffer they begin */
	bool learned;        /* what it says of its session */
	bool evaluated;      /* out and f are in use */
	bool exclusive;      /* nothing may be applied between its evaluation and its effect */
	bool gated;
	bool repaired; /* damage that it met was to be repaired; once is enough */
	struct own own;
	struct wire_effect *at; /* room for own.at */
	struct durable durable;
	int rc;
	struct exec_read *reads; /* one per fill */
	size_t filling;          /* bytes of results counted while they are read */
	unsigned reads_left;
	struct part *open;         /* whose section the effect ends with */
	struct prepared *prepared; /* that is voted on or decided */
	bool commit, ours;         /* a decision; and it is ours, not the client's */
	bool presumed;             /* an abort of what is not known here: not of a vote */
	bool any_epoch;            /* it matters not which map the sender had */
	struct shard *blocked;     /* by what it follows */
	/* of a read that this node makes itself: its answer, NULL: there is none */
	void (*heard)(void *arg, const struct frame *answer);
	void *heard_arg;
	struct exec **asker;
	unsigned npending; /* leases that it may get; at least as many as in */
	TAILQ_HEAD(, pending) pending;
	unsigned nparts;
	struct part parts[]; /* ascending; the first is home: there lies the reply */
};

/* Takes on a transaction that is served here. */
void exec_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v);

/* A transaction without writes and session whose shards are served here, if they are: @heard comes
 * once, perhaps from inside, perhaps from within another request's answer, unless it is taken out
 * of *own, where the transaction is to be found until then. @f: the TXN. */
void exec_read_own(struct node *n, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, struct exec **own,
	void (*heard)(void *arg, const struct frame *answer), void *arg);

/* bring.c: it has COPYs. It is routed again once it has their bytes. */
void bring_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v);

/* Answers with the stored reply. */
void txn_replay(struct exec *x);
/* replay.c: asks only whether the transaction was executed; @home is its lowest shard. */
void replay_arrive(struct conn *c, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, uint16_t home);

/* A copy came of what runs already: the answer goes to who asked last. */
void exec_attach(struct req *running, struct conn *c, struct frame *f, const struct wire_txn *m);

/* The lowest of its shards: there lies the reply. */
uint16_t exec_home(const struct node *n, const struct txn_view *v);
struct exec *exec_new(struct node *n, struct conn *c, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, const struct req_ops *ops, void (*finish)(struct exec *x));
void exec_release(struct req *r);
/* Effects that record abandoned numbers. */
void floors_free(struct node *n);
/* It touches that shard as well. */
void exec_add(struct exec *x, struct shard *s);
/* Learns what it says of its session; false: it was answered. */
bool exec_learn(struct exec *x);
/* Its session does not want it executed any more. */
bool exec_refused(const struct exec *x);
/* Is every shard (still) served here, for what was sent under that epoch? Else it waits, or was
 * answered. */
bool exec_ready(struct exec *x);
/* Throws away what was evaluated and opens the gate. */
void exec_reset(struct exec *x);
/* Evaluates, reads, and calls finish(); or waits; or answers. */
void exec_evaluate(struct exec *x, enum txn_part part, size_t results_max);
/* Lets others apply again. */
void exec_open_gate(struct exec *x);
/* The reply that names the effect's sections, with the results behind it. */
struct frame *exec_reply(struct exec *x);
/* Begins an effect without evaluating anything. */
void exec_begin(struct exec *x);
/* Answers without an effect of its own (takes @f), once what must be in the log is there. */
void exec_answer(struct exec *x, struct frame *f);
void exec_refuse(struct exec *x, uint16_t status, uint16_t failed);
/* The effect will have a section of @p's shard. */
void exec_number(struct exec *x, struct part *p);
/* The section of @p becomes the effect's last. */
void exec_open(struct exec *x, struct part *p);
/* Writes what is to be recorded of shards and sessions behind the effect's sections. */
void exec_record(struct exec *x);
/* Gives the effect to the store. 0: taken, @done follows; else it waits or was answered. */
int exec_apply(struct exec *x, enum store_urgency urgency, void (*done)(struct own *o, int rc));
struct txn_where exec_where(struct exec *x, size_t results_max);

/* An effect of the shard that @fill says, for which nobody waits: 0: under way; or what own_apply()
 * says. The shard has no gate, or that of whoever calls. */
int note_apply(struct node *n, struct shard *s, void (*fill)(struct effect *e, const void *arg),
	const void *arg);

/* ---- follow.c ---- */

/* Calls fn for every object that the results show as followed, until it says false: then false. */
bool followed_each(struct exec *x,
	bool (*fn)(void *arg, const struct orbit_id *id, uint64_t version), void *arg);
/* The shard in which it follows what is locked, or NULL. */
struct shard *followed_blocked(struct exec *x);

/* ---- leases of sessions (grant.c, recall.c, holding.c) ---- */

/* Has others give back what is in the way of what it names; the shard to wait for, or NULL. */
struct shard *grants_meet(struct exec *x);
/* The same for what it follows; it is evaluated. */
struct shard *grants_meet_followed(struct exec *x);
/* It is evaluated: what it wishes for and can get, it gets with its answer, if it still can then.
 */
void grants_wish(struct exec *x);
/* Its effect, if it has one, was taken: the log learns who may hold what. */
void grants_record(struct exec *x);
/* The answer leaves: GRANT before it. */
void grants_tell(struct req *r, const struct frame *reply);
/* It gets nothing. */
void grants_drop(struct exec *x);
/* Shards that are marked as losing have no leases here any more. */
void grants_lose(struct node *n);
void grants_free(struct node *n);
/* Another map: sessions that are over hold nothing. */
void grants_adopt(struct node *n);
void grants_over(struct node *n, uint32_t session);
/* It has ended: if it holds leases a map is to fence it before they pass on; false: it does not. */
bool grants_fence(struct node *n, uint32_t session);
/* The link is that of a session; it goes. */
void grants_link(struct conn *c, uint32_t session);
void grants_unlink(struct conn *c);
void return_arrive(struct conn *c, struct frame *f);
void holding_arrive(struct conn *c, struct frame *f);
int leaser_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen);
/* The shard is served from now on. */
void grants_serve(struct node *n, struct shard *s);
/* Deletes records of sessions that are over, @most of them; true: there may be more. */
bool grants_sweep(struct node *n, unsigned most);
/* All sessions that may hold leases. */
void leasers_each_session(
	struct node *n, void (*fn)(struct node *n, uint32_t session, void *arg), void *arg);
void grants_status(const struct node *n, struct buf *b);

void prepare_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v);

/* ---- cross-shard commit (intent.c, decide.c, doubt.c) ---- */

struct intent_key {
	uint64_t number;
	uint32_t session;
	uint32_t shard;
};

struct prepared {
	struct intent_key key;
	struct lock_owner owner;
	struct node *n;
	struct frame *frame; /* the view points into this, */
	void *record;        /* or into this */
	struct txn_view view;
	const void *body;
	size_t body_len;
	uint16_t participants[WIRE_PARTICIPANTS_MAX];
	unsigned nparticipants;
	struct buf vote; /* the reply's body */
	bool listed;     /* it is in n->prepared, and holds its locks */
	bool durable;    /* the record is on disk */
	bool promised;   /* another participant was told that we voted yes: the client's word alone
			    does not abort it any more */
	struct req_list asking; /* requests that wait for its outcome */
	/* doubt.c */
	uint64_t due;
	unsigned tries;
	struct doubt *doubt; /* while the others are being asked */
	UT_hash_handle hh;
};

struct outcome {
	struct intent_key key;
	bool committed;
	bool forgotten; /* by its client */
	bool strays;    /* copies of the PREPARE may still be on their way */
	UT_hash_handle hh;
};

/* Forgets all of shards that are marked as losing. */
void intents_lose(struct node *n);
void intents_free(struct node *n);
struct prepared *prepared_find(struct node *n, uint32_t session, uint64_t number, uint16_t shard);
struct prepared *prepared_new(struct node *n, uint32_t session, uint64_t number, uint16_t shard);
/* Takes its locks and waits for its outcome. */
void prepared_add(struct prepared *p);
/* The outcome is known: gives them up. */
void prepared_remove(struct prepared *p);
void prepared_free(struct prepared *p);
/* The record: appends its value. */
void prepared_encode(const struct prepared *p, struct buf *b);
struct outcome *outcome_find(struct node *n, uint32_t session, uint64_t number, uint16_t shard);
void outcome_add(struct node *n, const struct intent_key *key, bool committed);
void outcome_encode(const struct prepared *p, bool committed, struct buf *b);
/* Appends the vote that a committed transaction's outcome keeps: 0, -EAGAIN, -EIO. */
int outcome_vote(struct node *n, const struct outcome *o, struct buf *out);
/* Deletes it from the log, some time. */
void outcome_forget(struct node *n, struct outcome *o, bool strays);
void forget_fire(struct env_timer *t);

void decide_arrive(struct conn *c, struct frame *f, const struct wire_decide *m);
void resolve_arrive(struct conn *c, struct frame *f, const struct wire_decide *m);
void forget_arrive(struct conn *c, const struct wire_decide *m);
/* Decides on what the others said. */
void decide_self(struct prepared *p, bool commit);
/* They wait for a sync and are answered then. */
void decided_fire(struct env_timer *t);
void groups_free(struct node *n);
/* What we know of it, told durably: @told comes later, with PREPARED, COMMITTED or UNKNOWN. */
typedef void resolve_told_cb(void *arg, uint16_t status);
void resolve_local(struct node *n, const struct wire_decide *m, resolve_told_cb *told, void *arg);

/* Watches a prepared transaction from now on. */
void doubt_watch(struct prepared *p);
/* Asks the others now. */
void doubt_ask(struct prepared *p);
void doubt_forget(struct prepared *p);
/* A verdict of ours could not be carried out: asks again later. */
void doubt_undecided(struct node *n, uint32_t session, uint64_t number, uint16_t shard);
void doubt_fire(struct env_timer *t);

/* ---- sessions that ended (sweep.c) ---- */

struct ended;

bool session_ended(const struct node *n, uint32_t session);
int ended_load(struct node *n);
void sweep_begin(struct node *n);
void sweep_fire(struct env_timer *t);
void sweeps_free(struct node *n);

/* ---- who is told of changes (watch.c) ---- */

struct watch;

void watch_arrive(struct conn *c, struct frame *f);
/* The link goes: so do its watches. */
void watch_end(struct conn *c);
/* An effect of ours is in the log; @meta may have other shards' sections, too. In the order of the
 * shard. */
void watch_effect(struct node *n, const void *meta, size_t len, uint16_t shard, uint64_t seq);
/* What of it is committed may be told. */
void watch_committed(struct node *n, const struct shard *s);
/* It is not served here any more. */
void watch_lost(struct node *n, uint16_t shard);
void watches_free(struct node *n);

/* ---- links that came in (conn.c) ---- */

struct conn {
	struct node *n;
	struct link *link;
	bool hello;
	bool doomed; /* an ERROR went out; nothing more is read */
	uint8_t role;
	uint32_t session;     /* a client's; 0: not known */
	struct orbit_id node; /* who it is, if a node */
	uint64_t incarnation;
	uint64_t doomed_at;
	size_t held; /* bytes of requests under way */
	struct req_list reqs;
	struct env_timer closing; /* waits for HELLO; doomed: for the ERROR to be out */
	TAILQ_ENTRY(conn) entry, of_watchers;
	unsigned nwatches;
	TAILQ_HEAD(, watch) watches; /* if there are any */

	/* backup.c: effects came over it */
	uint64_t arrived, handled; /* how many; the rest waits for a newer map: */
	TAILQ_HEAD(, ahead) ahead;
	TAILQ_HEAD(, incoming) incoming;   /* are being applied */
	TAILQ_HEAD(, durable_in) durables; /* are to be on disk, once those before are applied */
	struct buf acks;                   /* to be sent at the end of the loop's turn */
	unsigned nacks;
	struct env_task ack_task;
};

void conn_accept(struct link *l, void *arg);
void conn_close(struct conn *c);
/* Takes the reference. */
void conn_send(struct conn *c, struct frame *f, uint64_t id);
/* Says why, and closes. */
void conn_fail(struct conn *c, uint16_t status, const char *why);

/* ---- links to nodes (peer.c) ---- */

struct peer;

/* One call: done() comes exactly once, with the answer (borrowed) and 0, or -EHOSTUNREACH,
 * -ESTALE (not sent: the node was started anew meanwhile), -ETIMEDOUT, -ESHUTDOWN. Embedded by the
 * caller. */
struct call {
	void (*done)(struct call *c, int rc, struct frame *answer);
	struct peer *peer;
	struct frame *frame; /* until it is sent */
	uint64_t id;
	uint64_t limit, deadline;
	TAILQ_ENTRY(call) entry;
	UT_hash_handle hh;
};

/* Calls the node with that index in the map; takes @f's reference and sets its id. */
void peer_call(struct node *n, uint16_t node, struct frame *f, struct call *c);
/* The same, given up after @limit ns, or as soon as no link can be had. */
void peer_call_within(
	struct node *n, uint16_t node, struct frame *f, struct call *c, uint64_t limit);
/* Sends a frame that has no answer, in order with the calls; takes its reference. 0: it is on its
 * way, or waits for a link that is being made (and may be lost with it); -EHOSTUNREACH. */
int peer_tell(struct node *n, uint16_t node, struct frame *f);
/* None of its addresses accepted a connection when they were tried last. */
bool peer_refused(const struct node *n, uint16_t node);
void peers_free(struct node *n);
void put_hello(const struct node *n, struct buf *b);
/* NULL, or why we don't talk to who said this; *status is to be sent. */
const char *hello_refuse(const struct node *n, const struct wire_hello *h, uint16_t *status);

/* ---- routing (route.c) ---- */

void route_txn(struct conn *c, struct frame *f);
void route_prepare(struct conn *c, struct frame *f);
void route_decide(struct conn *c, struct frame *f);
/* Passes on what is for another node; what is for this one is returned. */
struct frame *route_carry(struct conn *c, struct frame *f);
/* That node has a map of that epoch: fetches it if it is newer than ours. */
void route_epoch(struct node *n, uint16_t node, uint64_t epoch);

/* ---- requests of who has a newer map (ahead.c) ---- */

/* True: it is kept until our map is as new, and then routed. */
bool ahead_wait(struct conn *c, struct frame *f, uint64_t epoch);
/* There is a new map. */
void ahead_mapped(struct node *n);

/* ---- the rest (admin.c) ---- */

void admin_sync(struct conn *c, struct frame *f);
void admin_list(struct conn *c, struct frame *f);
void admin_status(struct conn *c, struct frame *f);
void admin_map_get(struct conn *c, struct frame *f);

/* ---- the node ---- */

struct listener {
	struct env_listener *l;
	TAILQ_ENTRY(listener) entry;
};

struct node {
	struct env *env;
	struct store *st;
	struct node_config cfg;
	struct keeper *keeper;
	struct orbit_id id;
	uint8_t fsid[16];
	uint64_t incarnation;

	const struct ring_map *ring; /* the newest we know; NULL: none yet */
	uint16_t self;               /* our index in it, or RING_NONE */
	bool registered;             /* it names our incarnation as up: else we serve nothing */
	struct keep *keep;           /* keep.c */
	int keeper_rc;               /* why the keeper can't go on; 0: it can */
	struct shard *shards;
	unsigned nshards;

	struct sess *sessions;
	struct prepared *prepared;
	struct outcome *outcomes;
	struct req *running;
	struct ended *ended;    /* sessions */
	struct leaser *leasers; /* sessions that may hold leases: in a shard, */
	struct lessee *lessees; /* in all shards */
	struct learning *learn; /* learn.c; NULL: no map yet */
	struct teacher *teach;  /* teach.c; NULL: nobody learns */
	struct eraser *erase;   /* erase.c */
	LIST_HEAD(, repair) repairs;

	TAILQ_HEAD(, listener) listeners;
	TAILQ_HEAD(conn_list, conn) conns;
	TAILQ_HEAD(, untold) untold; /* changes that they will be told of, once committed */
	struct conn_list watchers;   /* those of them that watch something */
	TAILQ_HEAD(, peer) peers;
	struct req_list reqs;         /* all of them, but for: */
	struct req_list lost;         /* those whose shard is served elsewhere now */
	TAILQ_HEAD(, forget) forgets; /* effects under way that delete outcomes */
	TAILQ_HEAD(, sweep) sweeps;   /* effects under way that drop what sessions left */
	TAILQ_HEAD(, floor) floors;   /* effects under way that record abandoned numbers */
	TAILQ_HEAD(, group) groups;   /* syncs of outcomes under way */
	struct req_list decided;      /* outcomes that wait for a sync */
	size_t held;                  /* bytes of requests under way */
	bool log_failed;              /* said so */
	uint64_t looks;               /* how often a request looked at its shards */
	struct env_timer decided_timer, doubt_timer, forget_timer;

	struct buf tmp;
	struct env_timer sweep_timer;
	uint64_t sweep_ask_at; /* when the keeper is asked again */
	struct sess *sweep_at; /* where it goes on; NULL: at the beginning */
	bool sweep_any;        /* it has dropped some since the beginning */
	unsigned fetches;      /* of a newer map, under way */
	bool fetch_whole;      /* all of it, as a difference made no sense */
	uint64_t fetch_epoch;  /* the newest that is being fetched */
	struct orbit_id fetch_from, told_by;
	uint64_t told_epoch;             /* the newest that another than that one has; 0: none */
	TAILQ_HEAD(aheads, ahead) ahead; /* requests that wait for it */
	struct env_timer ahead_timer;
	uint64_t doubt_due; /* when doubt_timer fires */

	/* leases of sessions (grant.h) */
	TAILQ_HEAD(, holder) granted; /* that are not to be given back; granted longest ago first */
	size_t nleases, nrecalled;    /* all; those that are */
	struct env_timer recall_timer;
	uint64_t recall_due; /* when it fires */

	/* replication (repl_int.h) */
	uint64_t started;            /* when */
	unsigned repl_busy;          /* callbacks of the store's that will come */
	struct env_timer tick_timer; /* repl_tick() */
	uint64_t tick_due;
	bool suspects;     /* there are members that have to be vouched for */
	unsigned vouching; /* questions to the keeper under way */
	uint64_t marks;    /* by which a walk tells what it met before */
	TAILQ_HEAD(, shard) stalled;
	TAILQ_HEAD(, fill) fills;
	TAILQ_HEAD(, incoming) orphans;        /* being applied; their links are gone */
	TAILQ_HEAD(, durable) durables;        /* syncs under way */
	TAILQ_HEAD(, durable_in) durable_left; /* asked over links that are gone */
	TAILQ_HEAD(, take) taking;             /* shards */
	TAILQ_HEAD(, pull) pulls;
	TAILQ_HEAD(, recover) recovers;
	TAILQ_HEAD(, level_sync) level_syncs;
	struct load *load;           /* of tables, under way */
	int load_rc;                 /* how that failed at the start */
	struct env_task wake_task;   /* of shards that are to be woken */
	TAILQ_HEAD(, shard) woken;   /* those */
	unsigned wake_left;          /* requests that may run in this turn */
	bool waking;                 /* such are running */
	struct env_timer take_timer; /* the first lease that is waited for is over, */
	uint64_t take_at;            /* then */
	bool loading_all;            /* at the start: nothing else has to be done meanwhile */

	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct env_timer stop_timer;

	struct node_stats stats;
};

/* The map is another one than @old (which may be NULL): what follows from that. */
int node_adopt(struct node *n, const struct ring_map *old);
/* Called by whatever ends something that node_stop() has to wait for. */
void node_check_stopped(struct node *n);
static inline struct shard *node_shard(struct node *n, unsigned shard)
{
	return &n->shards[shard];
}

#endif
