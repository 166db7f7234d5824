/*
 * What the parts of the workload share: workload.c runs it, workload_ops.c makes transactions,
 * workload_check.c judges what reads show, workload_fault.c makes things go wrong.
 */
#ifndef ORBIT_SIM_WORKLOAD_INT_H
#define ORBIT_SIM_WORKLOAD_INT_H

#include "tests/sim/cluster.h"
#include "tests/sim/workload.h"

#define OBJECTS 6
#define TOUCH_MAX 3
#define PIECES_MAX 8
#define ID_LEN 8
#define LIST_LEN 9 /* bytes of the key of a place in a list: 'L', place */

#define OP_LIST_MAX 1024

enum { SLOT_COUNT, SLOT_CAS, SLOT_MAX, SLOT_SUM, SLOT_BARE, SLOT_SWITCH };

/* A stream: regions that everybody writes, from their beginning on; behind them each transaction
 * has a place of its own. Bytes are the id of their transaction, over and over. */
#define SHARED 3
#define SHARED_STRIDE (32u << 10)
#define SHARED_BYTES (20u << 10)
#define OWN_AT (1u << 20)
#define OWN_STRIDE 4096
#define OWN_BYTES 2048

struct memory;

enum op_state { OP_RUNNING, OP_ACKED, OP_FAILED, OP_UNKNOWN };
enum bytes { BYTES_NONE, BYTES_OWN, BYTES_SHARED, BYTES_PUNCH };

struct touch {
	unsigned object;
	enum bytes bytes;
	unsigned region, len;
};

/* One writing transaction. Times are of run->clock. */
struct op {
	uint64_t uid;
	struct run *run;
	struct actor *actor;
	enum op_state state;
	struct touch touch[TOUCH_MAX];
	unsigned ntouch;
	bool cas; /* it appends to the list of the first object, at place cas_from */
	/* It only adds to counters, which leaves no trace but the sum: of these objects. */
	unsigned bare[TOUCH_MAX], nbare;
	bool cross; /* its objects lie on several nodes: its votes were durable */
	bool flips; /* the switch of the first object, if it is as it wants: refused now, it may not
		     * be later */
	uint64_t cas_from;
	uint64_t began, ended;
	uint64_t gone;  /* since then it must not be seen: its client gave up, and did not see it */
	bool given_up;  /* by its policy, or by hand */
	bool cancelled; /* it was tried */
	bool synced;    /* a sync that began after the acknowledgement succeeded */
	bool maybe_lost; /* a sync said that something was lost after it was acknowledged */
	uint32_t session;
	unsigned callbacks;
	struct read *read; /* what it reads before it writes, or NULL */
	/* kept back under an exclusive lease: its client's reads show it already */
	bool is_kept;
	bool sent;             /* or lost: it is on its own now */
	bool give_back;        /* then the lease is returned */
	enum orbit_lease keep; /* but for that */
	orbit_handle handle;
};

/* What a client remembers of an object. */
struct memory {
	uint8_t *seen; /* by uid; NULL: nothing */
	size_t len;
	uint64_t bare;
	unsigned writes; /* of its own, under way: then it is of no use */
	uint64_t begun;  /* how many there ever were */
	unsigned reads;  /* that were sent, under way: they do not show what is kept back */
	struct op *kept; /* kept back, or NULL */
};

/* One client. */
struct actor {
	struct run *run;
	struct orbit_client *client;
	unsigned index, started, running, thinking;
	uint64_t cas_seen[OBJECTS];
	uint32_t stale; /* a session that a node said has ended */
	uint64_t lost;  /* losses of its client that syncs have told of */
	bool soft;      /* its policy gives up */
	bool closed, dead;
	/* by an aim */
	bool rests;    /* begins nothing */
	bool flips;    /* flips switches */
	bool reads;    /* and nothing else */
	bool slow;     /* takes its time to give back what is recalled */
	unsigned only; /* objects (bits); 0: all */
	struct memory memory[OBJECTS];
	unsigned kept; /* objects (bits) of which it keeps writes back */
};

/* A piece of a stream that a read asks for. */
struct piece {
	unsigned at;     /* index of its object in the read */
	unsigned region; /* if uid is 0 */
	uint64_t uid;
	int index;
};

struct read {
	struct actor *actor;
	unsigned object[OBJECTS], nobjects;
	int get[OBJECTS], range[OBJECTS];
	struct piece piece[PIECES_MAX];
	unsigned npieces;
	uint8_t *seen[OBJECTS]; /* by uid: is it there? */
	uint64_t began;
	bool wished[OBJECTS];
	uint64_t begun[OBJECTS]; /* of its memory, when it was asked */
	uint64_t bare[OBJECTS];
	uint64_t kept[OBJECTS]; /* uid that was kept back by its client; 0 */
	bool keeps;             /* then a write of the first object is kept back */
	uint64_t writer;        /* uid of the transaction that it belongs to; or 0 */
	bool damage_ok;         /* bits were flipped: an error is right, other bytes are not */
	bool done;              /* for those that are waited for */
	int rc;
};

/* Each run has some of them. */
enum fault {
	FAULT_CRASH,
	FAULT_STOP,
	FAULT_DISK,
	FAULT_CUT,
	FAULT_BREAK,
	FAULT_LOSE,
	FAULT_ONEWAY,
	FAULT_SLOW,
	FAULT_PAUSE_NODE,
	FAULT_PAUSE_CLIENT,
	FAULT_KILL_CLIENT,
	FAULT_FILL,
	/* of clusters that keep their own map */
	FAULT_POWER,
	FAULT_BURN,
	FAULT_ISOLATE,
	FAULT_JOIN,
	FAULT_LEAVE,
	FAULT_RENAME,
	FAULT_WEIGHT,
	FAULT_REPLICAS,
	/* from here on: all the time */
	FAULT_CORRUPT,
	FAULT_MISS,
	FAULT_FULL,
	FAULTS
};

enum loss { LOSS_NONE, LOSS_ONE, LOSS_ALL }; /* workload_ring.c */

struct aim;
struct wire_ask_m;

struct run {
	const struct workload_config *cfg;
	struct workload_result *res;
	const struct aim *aim; /* faults are this one's; or NULL */
	uint64_t stirred;      /* aim.c */
	struct cluster *c;
	struct orbit_id id[OBJECTS];
	struct actor actor[CLUSTER_CLIENTS_MAX];
	unsigned nactors, per_client;
	struct op **op;
	size_t nops, cap;
	struct shown **shown; /* what reads showed, in their order */
	size_t nshown, shown_cap;
	uint64_t clock;
	unsigned faults;                 /* bits: the kinds that happen in this run */
	bool ring;                       /* the cluster keeps its own map */
	enum loss loss;                  /* if so */
	unsigned clients;                /* if so */
	bool long_run;                   /* clients do more than else */
	uint64_t think;                  /* ns between the things that a client does, at most */
	bool leaving[CLUSTER_NODES_MAX]; /* is to go for good */
	bool burnt[CLUSTER_NODES_MAX];   /* is gone for good */
	bool doomed[CLUSTER_NODES_MAX];  /* its disk fails: it will have to start anew */
	struct doom {
		struct run *r;
		unsigned node;
		bool failed;
	} doom[CLUSTER_NODES_MAX];
	uint64_t pace;            /* ns between them, at most */
	bool power;               /* power losses are among them */
	bool full;                /* disks are small */
	bool quiet;               /* no more faults */
	bool impatient;           /* many transactions are cancelled */
	bool far;                 /* the net is slow */
	bool leases;              /* clients remember */
	bool broken;              /* an invariant did not hold */
	bool flips;               /* bits of a node's log flip: workload_flip.c */
	int flipped;              /* if so: whose; -1: nobody's yet */
	uint64_t flip_state;      /* random numbers of its own */
	uint64_t alone;           /* clock: no other copy of what it has was good then */
	struct flipped_bit *bits; /* in order */
	unsigned nbits;
	unsigned pending; /* reads, syncs and writes in flight */
};

/* Random numbers for what is fixed before there is a world. */
static inline uint64_t draw(uint64_t *state, uint64_t n)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

/* What an operation adds to the counters. */
static inline uint64_t op_amount(const struct op *op)
{
	return 1 + op->uid * 37 % 100;
}

/* An invariant does not hold. */
void broke(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For what the test itself needs to know. */
extern const struct orbit_policy workload_patient;

/* ---- workload_ops.c ---- */

/* Starts something; called again by itself after anything ended. */
void actor_next(void *arg);
void actor_sync(struct actor *a);
/* Its client gives up on it, if it runs. */
void op_cancel(struct op *op);
/* Nothing more comes of it: its host died. */
void actor_kill(struct actor *a);
/* Adds what a read of the object is to ask for, but for pieces of its stream. */
void read_object(struct read *rd, struct txn_build *t, unsigned object);
/* A write of the object that is not sent yet. */
struct op *actor_keep(struct actor *a, unsigned object);
void actor_send_kept(struct op *op);
void actor_lost_kept(struct op *op);
void read_piece(struct read *rd, struct txn_build *t, unsigned at, unsigned region, uint64_t uid);

/* ---- workload_check.c ---- */

struct op *op_by_uid(struct run *r, uint64_t uid);
const struct touch *op_touch(const struct op *op, unsigned object);
/* A read is there, by @a. */
void check_read(
	struct run *r, struct read *rd, const struct actor *a, const struct orbit_reply *reply);
/* A read was answered from memory: rd->seen is what it shows. */
void check_remembered(struct run *r, struct read *rd);
/* Reads everything when all is quiet. */
void check_end(struct run *r);
/* Damages the disks, and reads all streams. */
void check_damage(struct run *r);
/* What the stores hold when all clients are gone. */
void check_left(struct run *r);

/* ---- workload_held.c ---- */

void held_begin(struct actor *a);
void held_forget(struct actor *a);
/* The read wishes for a lease of its object. */
void held_wish(struct read *rd, struct txn_build *t, unsigned at, unsigned mode, bool try);
void held_remember(struct read *rd, unsigned at, const struct orbit_reply *reply, uint64_t bare);
/* Keeps a write of the object back, if it may. */
void held_keep(struct actor *a, unsigned object);
void held_flush_all(struct actor *a);
void held_flush_done(struct op *op);
/* One that nobody asked for. */
void held_give_back(struct actor *a);
/* A read from memory; false: it remembers nothing of what it wanted. */
bool held_read(struct actor *a);
/* Something happened to these objects (bits): what do others remember? */
void held_probe(struct run *r, unsigned objects);
void held_write_begins(struct actor *a, unsigned object);
void held_write_ended(struct actor *a, unsigned object);

/* ---- workload_hist.c ---- */

/* Keeps what a read showed, for hist_check(): takes rd->seen. */
void hist_add(struct run *r, struct read *rd);
void hist_check(struct run *r);
void hist_free(struct run *r);

/* ---- workload_fault.c ---- */

static inline bool fault_has(const struct run *r, enum fault f)
{
	return r->faults & 1u << f;
}

void fault_choose(struct run *r, struct cluster_config *cfg);
void fault_begin(struct run *r);
/* To be called often: processes whose store broke end. */
void fault_watch(struct run *r);
void fault_end(struct run *r);
/* The node's disk fails next time, if it may. */
void fault_fail_disk(struct run *r, unsigned node);
void fault_flip(struct run *r);
void fault_restart_later(struct run *r, unsigned node);
/* It runs again: its disk does what it should. */
void fault_restarted(struct run *r, unsigned node);
/* Starts the nodes on what flips have left of their disks. */
void fault_restart_damaged(struct run *r);

/* ---- workload_ring.c ---- */

void ring_choose(struct run *r, struct cluster_config *cfg);
/* Is there another good copy of all that the map gives the node? */
bool ring_others_have(struct run *r, unsigned node);
/* Is every other copy of that good, and has every effect that the node has? */
bool ring_all_have(struct run *r, unsigned node);
/* May the node lose what it has not synced? */
bool ring_may_lose(struct run *r, unsigned node);
/* Its disk is gone for ever. */
void ring_burnt(struct run *r, unsigned node);
void ring_fault(struct run *r, enum fault f, unsigned node);
/* What a person asks for, about that node: of any node that is there. */
void ring_ask(struct run *r, unsigned node, struct wire_ask_m *m);
/* Looks whether two nodes serve a shard at once: to be called often. */
void ring_watch(struct run *r);
/* Waits until everything is where it belongs. */
void ring_heal(struct run *r);

/* ---- workload_copies.c ---- */

/* Are the copies of each shard equal? */
void ring_compare(struct run *r);
/* Does nobody have anything of what others hold, once that was to be deleted? */
void ring_erased(struct run *r);

/* ---- workload_flip.c ---- */

/* Whether bits flip in this run, which then has fewer of the other faults. */
void flip_choose(struct run *r, const struct cluster_config *cfg, uint64_t *x);
void flip_begin(struct run *r);
/* Where the damaged copy was alone, nobody but its owner can mend it: he does. */
void flip_undo(struct run *r);
/* Looks whether the damaged copy is alone: to be called often. */
void flip_watch(struct run *r);
/* Is an error right for what began then? */
bool flip_excuses(struct run *r, uint64_t began);
/* Has every member repair what it has. */
void flip_mend(struct run *r);

#endif
