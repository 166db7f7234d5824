/*
 * node: serves shards: executes transactions or forwards them, remembers replies, commits across
 * shards.
 *
 * A node is a state machine over one store and one env. It takes links from clients and other
 * nodes, and for a transaction: routes (execute here, forward one hop, or say WRONG_NODE), looks
 * for a stored reply, waits for locks, evaluates, applies the effect with the reply in it, answers
 * when the log has it.
 *
 * Thread: the loop.
 */
#ifndef ORBIT_NODE_NODE_H
#define ORBIT_NODE_NODE_H

#include "dht/keeper/keeper.h"
#include "dht/net/env.h"
#include "dht/ring/ring.h"
#include "dht/store/store.h"

struct node;

struct node_config {
	uint64_t in_doubt_timeout; /* ns; a prepared record left alone is resolved; default 2 s */
	uint64_t forward_timeout; /* ns; a forwarded request without answer is dropped; default 30 s
				   */
	size_t queue_max;         /* bytes of requests held at once before links are told to wait */
	struct keeper_config keeper;
	uint64_t recall_timeout; /* ns; who does not give a lease back is fenced; default 2 s */
	size_t leases_max;       /* that sessions hold at once; default 1,000,000 */

	/* Who we are to the others, told when we register; strings are borrowed. */
	const char *const *addrs; /* that others can reach us at; up to RING_ADDRS_MAX */
	unsigned naddrs;
	const char *const *join; /* of nodes of the cluster, asked as long as no map is known */
	unsigned njoin;
	const char *zone; /* NULL: none */
	uint32_t weight;  /* for a new node; default RING_WEIGHT_DEFAULT */
	bool witness;     /* holds no data, only votes */

	/* docs/REPLICATION.md, all ns */
	uint64_t lease;         /* default 400 ms */
	uint64_t fail_timeout;  /* default 1.5 s */
	uint64_t alive_every;   /* default 250 ms */
	uint64_t recovery_wait; /* default 30 s */
	unsigned learn_shards;  /* at once; default 4 */
	uint64_t learn_rate;    /* bytes per second; default 100 MB; 0: as it can */
	uint64_t erase_after;   /* of a shard that others hold; default 60 s */
};

struct node_config node_config_default(void);

/* Loads what the store has (ring map, sessions, prepared records) and is ready to serve. The store
 * and env are borrowed. 0, -EIO, -EUCLEAN. */
int node_new(struct node **out, struct env *e, struct store *st, const struct node_config *cfg);

/* Serves at @addr, in addition to what it serves already: 0, -EADDRINUSE, ... as env_listen().
 * *bound (may be NULL) is the address in text, good until node_stop(). */
int node_listen(struct node *n, const char *addr, const char **bound);

/* The newest map it knows, or NULL. */
const struct ring_map *node_ring(const struct node *n);

/* Is it in the map as it runs now? Before that it serves nothing. */
bool node_registered(const struct node *n);

/* Would an answer about that shard leave now? It leads the shard, and all leases hold. */
bool node_serves(const struct node *n, uint16_t shard);

/* 0; or why it can not go on, as its disk failed: its owner must stop it. */
int node_broken(const struct node *n);

/* Has the keeper give what this node serves to others, as it is about to stop: done(arg, rc) when
 * the map is made that says so; -EAGAIN no leader is known, ... It may be stopped before that. */
void node_retire(struct node *n, void (*done)(void *arg, int rc), void *arg);

/* Stops serving: links are closed, what is being executed is finished; done(arg), then node_free().
 */
void node_stop(struct node *n, void (*done)(void *arg), void *arg);

/* Frees at once: what a crash does, unless node_stop() went before. NULL is harmless. */
void node_free(struct node *n);

struct node_stats {
	uint64_t executed, replayed, forwarded, refused, conflicts, prepared, resolved, errors;
	uint64_t links, sessions, waiting;
	uint64_t learned; /* copies that became level; */
	uint64_t learn_bytes, learn_objects, learn_walks, learn_tails; /* what that took */
	uint64_t repaired; /* ranges fetched from another copy as ours was damaged */
	uint64_t erased;   /* shards that are held elsewhere now */
	uint64_t granted, recalled, returned, heard; /* leases of sessions */
	uint64_t run_out; /* how often the keeper was told that a session does not answer */
	uint64_t leases;  /* held */
};
void node_stats(const struct node *n, struct node_stats *out);

#endif
