/*
 * keeper: the owner of the ring map and of the list of sessions.
 *
 * Up to five nodes vote (Raft, through libraft); one of them leads. The leader alone changes the
 * map: it makes a draft of its newest one, changes it (ring/plan.h), and proposes the difference,
 * which is applied only if the map is still the one it starts from. docs/REPLICATION.md says what
 * for. What a voter has to remember is in files of its own beside the store's log (files.h).
 *
 * Every node has a keeper. One that does not vote sleeps until a voter sends it a message.
 *
 * Thread: the loop. Nothing is called back from inside of a call, but for what says so.
 */
#ifndef ORBIT_KEEPER_KEEPER_H
#define ORBIT_KEEPER_KEEPER_H

#include "dht/net/env.h"
#include "dht/ring/ring.h"
#include "dht/store/store.h"
#include "dht/wire/wire.h"
#include "dht/wire/wire_keep.h"

struct keeper;

/* A client that is silent for 10 s has to report the writes it had in flight as failed, and loses
 * what it holds; others wait for that as long. As its time is not renewed any more only once it has
 * not answered a recall for KEEPER_RECALL_TIMEOUT, it gets that much less. */
#define KEEPER_RECALL_TIMEOUT (2 * ENV_SEC)
#define KEEPER_SESSION_TIMEOUT (10 * ENV_SEC - KEEPER_RECALL_TIMEOUT)

struct keeper_config {            /* all ns; 0 anywhere means the default */
	uint64_t session_timeout; /* silent for longer, a session ends; KEEPER_SESSION_TIMEOUT */
	uint64_t fail_timeout;    /* silent for longer, a node is down; 1.5 s */
	uint64_t voter_timeout;   /* down for longer, a voter is replaced; 60 s */
	uint64_t gone_timeout;    /* down for longer, its data is copied elsewhere; 10 min */
	uint64_t step_every;      /* between steps towards placement; 500 ms */
	unsigned voters;          /* at most; 5 */
	unsigned learn_shards;    /* that a node learns at once; 4 */
	unsigned move_primaries;  /* in one step; 16 */
	unsigned snapshot_every;  /* entries; 512 */
};

/* What a keeper needs of its node. */
struct keeper_ops {
	/* Sends a frame to the node with that number; takes its reference. 0, or -errno: lost. */
	int (*send)(void *arg, uint32_t to, struct frame *f);
	/* There is a newer map (borrowed). */
	void (*map)(void *arg, struct ring_map *m);
	/* The leader wants to know whether that node can be reached: keeper_refused() says if not.
	 */
	void (*probe)(void *arg, uint32_t number);
	/* That node, which may be this one, is to say at once that it is alive. May be NULL. */
	void (*poke)(void *arg, uint32_t number);
	/* It can not go on (its disk): the node has to stop. */
	void (*failed)(void *arg, int rc);
};

/* Reads what is on disk (blocking) and takes part if there is anything. 0; -EUCLEAN, -EIO. */
int keeper_new(struct keeper **out, struct env *e, struct store *st,
	const struct keeper_config *cfg, const struct keeper_ops *ops, void *arg);

/* Ends what waits for it, by NO_KEEPER; no new work begins. */
void keeper_stop(struct keeper *k);
/* Something is on its way to the disk. */
bool keeper_busy(const struct keeper *k);
/* Frees at once; in a crash the store is freed right after. NULL is harmless. */
void keeper_free(struct keeper *k);

/* Makes the files of the first voter, which has a map in which it is the only node that was told to
 * be one (blocking; nothing else may be at work in that store). 0, -EEXIST, -errno. */
int keeper_bootstrap(struct store *st, const struct ring_map *first);

/* The map that this voter has (borrowed), or NULL. */
struct ring_map *keeper_map(const struct keeper *k);
/* The number that the map gives this node: it takes part in votes when it is asked to. */
void keeper_number(struct keeper *k, uint32_t number);
/* The number that its files say, or that it was told; 0: none. */
uint32_t keeper_own_number(const struct keeper *k);

/* Does it lead? Who does, as far as it knows, by number; 0: nobody. */
bool keeper_leads(const struct keeper *k);
uint32_t keeper_leader(const struct keeper *k);
/* 0; or why nothing can be written any more. */
int keeper_broken(const struct keeper *k);

/* A WIRE_RAFT frame came. */
void keeper_raft(struct keeper *k, struct frame *f);

/* On the leader: an ASK. Elsewhere the answer is NO_KEEPER. */
typedef void keeper_ask_cb(void *arg, uint16_t status, uint64_t epoch, const char *text);
void keeper_ask(struct keeper *k, const struct wire_ask_m *m, keeper_ask_cb *done, void *arg);

/* On the leader: a SESSION_OPEN; for RENEW and CHECK it is called back from inside. Elsewhere the
 * answer is NO_KEEPER. */
typedef void keeper_session_cb(void *arg, const struct wire_session *out);
void keeper_session(
	struct keeper *k, const struct wire_session_open *m, keeper_session_cb *done, void *arg);

/* The address of that node refuses connections. */
void keeper_refused(struct keeper *k, uint32_t number);

/* Appends pairs for STATUS. */
void keeper_status(const struct keeper *k, struct buf *b);

#endif
