/*
 * cluster: nodes and clients in the simulator's world.
 *
 * Every node is a store over an in-memory disk and index, and a node over that, on a host of its
 * own; it can crash as a process (the page cache survives), lose power (what was not synced is
 * gone) or be stopped in good order, and be started again. Clients have hosts of their own and can
 * be killed.
 */
#ifndef ORBIT_SIM_CLUSTER_H
#define ORBIT_SIM_CLUSTER_H

#include "dht/client/orbit.h"
#include "dht/node/node.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "tests/sim/sim.h"

#define CLUSTER_NODES_MAX 10
#define CLUSTER_CLIENTS_MAX 8

struct cluster;

struct cluster_node {
	struct cluster *c;
	struct sim_host *host;
	struct disk *disk;
	struct store_index *index;
	struct store *store;
	struct node *node;
	struct orbit_id id;
	char addr[32];
	const char *addrs;                   /* addr, as a list of one */
	const char *join[CLUSTER_NODES_MAX]; /* whom it asks when it knows no cluster */
	unsigned njoin;
	char zone[16];
	bool witness;
	bool begun;   /* the first node: it has its first map */
	bool removed; /* it left the cluster for good */
	bool up;
	bool stopping; /* in good order; up ends with it */
	enum disk_crash after_stop;
};

struct cluster_config {
	uint64_t seed;
	unsigned nodes, shard_bits;
	unsigned replicas;        /* 0: one, and nobody cares whether all is where it ought to be */
	bool join;                /* nodes join the first one; else they are in the first map */
	unsigned zones;           /* nodes are spread over so many; 0: none */
	bool witness;             /* the last node holds no data */
	unsigned snapshot_every;  /* of the keeper\'s log; 0: the default */
	uint64_t session_timeout; /* 0: the default */
	uint64_t in_doubt;        /* after which participants ask each other; 0: the default */
	uint64_t capacity;        /* bytes of each disk; 0: no limit */
	bool bursts;              /* what comes over the net comes in bursts (sim.h) */
	bool clocks;              /* are up to 1 % wrong, and begin some time */
	unsigned miss, stall; /* of 1000: reads that are not in memory, changes that have to wait */
};

struct cluster {
	struct sim *s;
	struct cluster_config cfg;
	struct ring_map *map; /* the newest that was seen: cluster_map() */
	struct sim_host *admin;
	uint8_t fsid[16];
	unsigned nnodes, nclients;
	struct cluster_node node[CLUSTER_NODES_MAX];
	struct sim_host *client_host[CLUSTER_CLIENTS_MAX];
	struct node_stats stats; /* of nodes that are gone, summed */
};

/* The node's disk and host, not running: for cluster_ring.c. */
void cluster_make_node(struct cluster *c, unsigned i);
void cluster_die(const char *what, int rc) __attribute__((noreturn));

/* A running cluster of @nnodes with 1 << @shard_bits shards, one copy of each. Aborts the test with
 * a message when that fails. */
struct cluster *cluster_new(uint64_t seed, unsigned nnodes, unsigned shard_bits);
struct cluster *cluster_new_with(const struct cluster_config *cfg);
void cluster_free(struct cluster *c);

/* The node's process ends at once; with @how DISK_PROCESS peers see their links break, else
 * silence. */
void cluster_crash(struct cluster *c, unsigned i, enum disk_crash how);
/* Stops it in good order, which takes a while; then its disk suffers @after. */
void cluster_stop(struct cluster *c, unsigned i, enum disk_crash after);
/* Starts it again on what its disk has; one that is stopping stays as it is. */
void cluster_start(struct cluster *c, unsigned i);
/* The same, but says what is wrong with the disk instead of aborting. */
int cluster_try_start(struct cluster *c, unsigned i);

/* A client on a new host, ready. */
struct orbit_client *cluster_client(struct cluster *c, const struct orbit_policy *policy);
/* The host of the client with that index ends, with @silent without a word. What the client took
 * can be had back by orbit_close() after cluster_client_bury(): it does nothing any more. */
void cluster_client_kill(struct cluster *c, unsigned i, bool silent);
void cluster_client_bury(struct cluster *c, unsigned i);

/* ---- clusters that keep their own map: cluster_ring.c ---- */

/* The newest map that a running node has, or ever had; borrowed until the next event. */
const struct ring_map *cluster_map(struct cluster *c);
/* A newer one is being agreed on, or may be. */
bool cluster_changing(struct cluster *c);

/* Place of the node in that map, or RING_NONE. */
uint16_t cluster_place(struct cluster *c, unsigned i);
/* And the node at a place; -1: none of ours. */
int cluster_at(struct cluster *c, uint16_t place);

/* A new node, which joins; its index. */
unsigned cluster_add(struct cluster *c);

/* Is everything as it ought to be: all nodes in the map and up, all of them with the same map,
 * every shard where placement wants it, with all its copies? If not, @why (may be NULL) says what
 * is missing. */
bool cluster_healthy(struct cluster *c, char *why, size_t len);

/* Prints the map, for whoever has to find out why. */
void cluster_print(struct cluster *c);

/* What orbitctl does: asks the keeper by way of node @via. done(arg, status); without an answer
 * within 5 s WIRE_UNREACHABLE. */
struct wire_ask_m;
void cluster_ask(struct cluster *c, unsigned via, const struct wire_ask_m *m,
	void (*done)(void *arg, uint16_t status), void *arg);
/* The same with any request, which has the id 1; takes it. */
void cluster_call(struct cluster *c, unsigned via, struct frame *request,
	void (*done)(void *arg, uint16_t status), void *arg);

#endif
