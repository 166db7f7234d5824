/*
 * impl: the working state of a keeper, shared by the files of this room and by nobody else.
 *
 *   keeper.c    life; libraft's calls and what follows from each of them
 *   io.c        what libraft gets of the outside world: disk, messages, time
 *   recv.c      messages that came, and what has to be put right on libraft
 *   message.c   its messages as bytes
 *   files.c     what is on disk
 *   state.c     the state machine: the map and the sessions
 *   lead.c      the leader: what is asked becomes a map change, one at a time
 *   judge.c     the leader: which nodes are alive
 *   voters.c    the leader: who votes
 *   session.c   the leader: sessions
 *
 * libraft must not be called from inside its own callbacks, and nobody outside of this room from
 * inside of libraft: whatever happens there is noted, and keeper_settle() acts on it afterwards.
 */
#ifndef ORBIT_KEEPER_IMPL_H
#define ORBIT_KEEPER_IMPL_H

#include <raft.h>
#include <sys/queue.h>
#include <uthash.h>

#include "dht/keeper/files.h"
#include "dht/keeper/keeper.h"
#include "dht/ring/plan.h"
#include "dht/store/history.h"
#include "dht/store/work.h"

#define KEEPER_HEARTBEAT 75 /* ms */
#define KEEPER_STAND 30     /* ms: between voters that stand for election at once */
#define KEEPER_ELECTION 300 /* ms; and up to twice that */

/* ---- the state machine (state.c) ---- */

struct session {
	uint32_t number;
	uint8_t nonce[16];
	/* the leader's */
	uint64_t deadline;
	bool ending;
	bool run_out; /* is not renewed any more */
	UT_hash_handle hh, by_nonce;
};

struct state {
	struct ring_map *map; /* NULL: nothing was applied yet */
	/* by shard: the epoch from which on its learners are those of now, as far as is known:
	 * since then none ended. Not agreed on */
	uint64_t *learners;
	struct session *sessions, *nonces;
	uint32_t next_session;
};

enum entry_kind {
	ENTRY_MAP = 1,         /* from one epoch to the next, and sessions that end with it */
	ENTRY_SESSION_NEW = 2, /* by nonce: asked again it is the same */
	ENTRY_SESSION_END = 3,
};

/* What became of an entry. */
struct applied {
	int rc; /* 0; -ESTALE: another epoch; -ENOSPC: all session numbers are spent */
	uint32_t session;
};

void state_fini(struct state *s);
void entry_put_map(struct buf *b, const struct ring_map *from, const struct ring_map *to,
	const uint32_t *ended, unsigned nended);
void entry_put_session_new(struct buf *b, const uint8_t nonce[16]);
void entry_put_session_end(struct buf *b, uint32_t session);
/* -EBADMSG: it makes no sense, and nothing has changed. */
int state_apply(struct state *s, const void *data, size_t len, struct applied *out);
void state_encode(const struct state *s, struct buf *b);
int state_decode(const void *data, size_t len, struct state *out);
struct session *state_session(struct state *s, uint32_t number);
struct session *state_nonce(struct state *s, const uint8_t nonce[16]);

/* ---- messages (message.c) ---- */

/* A message as a WIRE_RAFT frame; entries that don't fit are left out, as libraft sends them again.
 * NULL: it does not fit at all. */
struct frame *message_put(uint32_t from, raft_term term, const struct raft_message *m);
struct message_head {
	uint32_t from, to;
	raft_term term; /* of the sender */
};
/* What is given belongs to libraft when it is handed to it, else message_free() it. */
int message_get(struct cur c, struct message_head *h, struct raft_message *m);
void message_free(struct raft_message *m);

/* ---- io (io.c) ---- */

struct io_op;
struct io_send;
TAILQ_HEAD(io_ops, io_op);
TAILQ_HEAD(io_sends, io_send);

struct keep_io {
	struct raft_io io;
	struct gate *gate;
	struct files files; /* the worker's while there are ops */
	struct files_meta meta;
	struct io_ops ops;    /* given to the worker, in order */
	struct io_op *dirty;  /* meta that was not given yet */
	uint64_t given, done; /* ops, counted */
	uint64_t last_meta;   /* the last op that was meta */
	uint64_t elected;     /* the last term for which this process stood for election */
	raft_term reach_term; /* recv_reach() */
	raft_index reach;
	struct io_sends held; /* wait for what has to be on disk */
	struct io_sends sent; /* their callback comes */
	struct env_task task;
	struct env_timer again; /* the disk was full */
	raft_io_tick_cb tick;
	raft_io_recv_cb recv;
	int failed; /* a write failed: nothing is ever written again */
};

void io_init(struct keeper *k);
bool io_busy(const struct keeper *k);

/* ---- the leader ---- */

struct ask {
	struct wire_ask_m m;
	keeper_ask_cb *done;
	void *arg;
	uint64_t mark;   /* when it came: judge_mark() */
	uint64_t about;  /* the suspect's incarnation then */
	uint32_t awaits; /* a node without whose word it is not decided; 0: not known */
	uint16_t status; /* once it is known */
	uint64_t epoch;
	char text[160];
	TAILQ_ENTRY(ask) entry;
};
TAILQ_HEAD(ask_list, ask);

struct session_ask {
	struct keeper *k;
	struct raft_apply apply;
	uint8_t what;
	uint32_t session;
	keeper_session_cb *done;
	void *arg;
	uint16_t status;
	TAILQ_ENTRY(session_ask) entry;
};
TAILQ_HEAD(session_asks, session_ask);

/* What the leader knows of a node. */
struct heard {
	uint32_t number;
	uint64_t incarnation;
	uint64_t at;      /* it said last that it is alive; later if we were late */
	uint64_t said;    /* the same, to the letter */
	uint64_t word;    /* which of all words that was, counted; 0: none */
	uint64_t noticed; /* when it was seen to be dead, and is not down yet: judge_mark(); 0 */
	uint64_t down_at; /* it was found down */
	uint64_t used, available;
	uint64_t lagged_at;  /* it was to vote, and could not be brought level; 0: never */
	uint64_t refused_at; /* it was found down as its address refused; 0: never */
	bool refused;        /* its address does not accept connections */
	bool asked;          /* a step towards placement waits for its word */
	UT_hash_handle hh;
};

struct lead {
	bool on; /* this is the leader and it has applied all there is */
	uint64_t since;
	struct ask_list line;   /* for the next change */
	struct ask_list flight; /* in the change under way */
	struct ask_list doubts; /* until those have spoken on whom the answer depends */
	struct raft_apply apply;
	bool changing;
	bool single;      /* one ask at a time, to find the one that can not be carried out */
	uint64_t step_at; /* the next step towards placement */
	uint64_t *waits;  /* by shard: since when somebody has to leave it (struct plan_words) */
	unsigned unsaid;  /* nodes whose word the step waits for */
	uint64_t words;   /* that nodes have said that they live, counted */
	bool barrier;
	bool unsure; /* stood still for so long that another may lead by now; until a barrier */
	bool asked;  /* the barrier is of after that */
	struct raft_barrier catch_up;
	struct heard *heard;
	/* voters.c */
	struct raft_change change;
	bool voting;        /* a change of the voters is under way */
	uint32_t comes;     /* who is being made a voter; 0: nobody */
	uint64_t voters_at; /* not before */
	struct plan_cache places;
	uint64_t sweep_at; /* sessions are looked at again */
	uint32_t *fences;  /* sessions that end with the next change */
	unsigned nfences;
};

struct keeper {
	struct env *env;
	struct store *st;
	struct keeper_config cfg;
	const struct keeper_ops *ops;
	void *arg;

	uint32_t number; /* 0: not known yet */
	bool running;    /* libraft is */
	bool has_led;    /* in this process */
	struct raft raft;
	struct raft_fsm fsm;
	struct keep_io io;
	struct state state;
	struct applied applied; /* what the last entry gave */
	uint64_t told;          /* epoch that was told to the owner */

	uint32_t refused; /* node whose address refused connections while another led, */
	uint64_t refused_at;

	struct lead lead;
	struct session_asks sessions; /* under way */
	struct session_asks said;     /* to be answered */
	struct ask_list answers;      /* to be answered */

	bool in_raft, settling, stopping, told_failed;
	struct env_task settle;
	struct env_timer tick; /* libraft's, and ours */
	uint64_t tick_at;
};

/* To be called after anything that may have changed something. */
void keeper_settle(struct keeper *k);
void keeper_settle_soon(struct keeper *k);
/* Proposes an entry: takes the buffer. 0, or a code of libraft. */
int keeper_propose(struct keeper *k, struct buf *b, struct raft_apply *req, raft_apply_cb cb);

/* Reads what there is on disk and takes part; 0, -EUCLEAN, -EIO. Takes part no more. */
int keeper_run(struct keeper *k);
void keeper_rest(struct keeper *k);
/* What a follower may say that it has of the leader's log, whatever follows in its own. */
raft_index recv_reach(const struct keeper *k, raft_term term, raft_index last);

void lead_on(struct keeper *k);
void lead_off(struct keeper *k);
/* Changes the map if there is reason to. */
void lead_pump(struct keeper *k);
void lead_answer(struct keeper *k, struct ask *a, uint16_t status, const char *text);
void lead_tick(struct keeper *k, uint64_t now, uint64_t late);

/* Takes a word of life: 0; -ESTALE when the map does not have that incarnation up. */
int judge_alive(struct keeper *k, const struct wire_ask_m *m);
/* The answer depends on who lives. */
bool judge_concerns(const struct keeper *k, const struct wire_ask_m *m);
void judge_take(struct keeper *k, struct ask *a);
/*
 * Words that nodes live are counted: several come within one moment of the clock, of which some are
 * from before what they are waited for, and some follow it. What the node said last; 0: not lately.
 */
uint64_t judge_said(struct keeper *k, uint32_t number);
/* Words from this one on are said after now. Never 0. */
uint64_t judge_mark(const struct keeper *k);
/* Draws the consequences; true: the draft has changed. */
bool judge(struct keeper *k, struct ring_map *draft);
bool judge_due(struct keeper *k);
/* Which nodes are up is known, not remembered: each was heard of since this leader took office. */
bool judge_knows(struct keeper *k);
struct heard *judge_find(struct keeper *k, uint32_t number);
void judge_late(struct keeper *k, uint64_t late);
void judge_free(struct keeper *k);

/* Brings the map's flags in line with libraft's configuration; true: the draft has changed. */
bool voters_flag(struct keeper *k, struct ring_map *draft);
bool voters_due(struct keeper *k);
void voters_pump(struct keeper *k);

/* All sessions get a full timeout. */
void sessions_on(struct keeper *k);
/* Those of processes that are gone end with the next change: all, if nobody else can have one. */
void sessions_inherited(struct keeper *k);
void sessions_tick(struct keeper *k, uint64_t now, uint64_t late);
/* Has it end with the next change. */
void session_fence(struct keeper *k, uint32_t session);
/* Its time is renewed no more; false: it is over already. */
bool session_run_out(struct keeper *k, uint32_t session);
void session_go(
	struct keeper *k, const struct wire_session_open *m, keeper_session_cb *done, void *arg);
/* Answers, and frees it. */
void session_tell(struct keeper *k, struct session_ask *s);

#endif
