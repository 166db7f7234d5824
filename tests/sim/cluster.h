/*
 * cluster: nodes and clients in the simulator's world.
 *
 * Every node is a store over an in-memory disk and index, and a node over that, on a host of its
 * own; it can crash as a process (the page cache survives) or lose power (what was not synced is
 * gone), and be started again. Clients have hosts of their own.
 */
#ifndef ORBIT_SIM_CLUSTER_H
#define ORBIT_SIM_CLUSTER_H

#include "dht/client/orbit.h"
#include "dht/node/node.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "tests/sim/sim.h"

#define CLUSTER_NODES_MAX 8
#define CLUSTER_CLIENTS_MAX 8

struct cluster_node {
	struct sim_host *host;
	struct disk *disk;
	struct store_index *index;
	struct store *store;
	struct node *node;
	struct orbit_id id;
	char addr[32];
	bool up;
};

struct cluster {
	struct sim *s;
	struct ring_map *map;
	uint8_t fsid[16];
	unsigned nnodes, nclients;
	struct cluster_node node[CLUSTER_NODES_MAX];
	struct sim_host *client_host[CLUSTER_CLIENTS_MAX];
};

/* A running cluster of @nnodes with 1 << @shard_bits shards, one copy of each. Aborts the test with
 * a message when that fails. */
struct cluster *cluster_new(uint64_t seed, unsigned nnodes, unsigned shard_bits);
void cluster_free(struct cluster *c);

/* The node's process ends at once; with @how DISK_PROCESS peers see their links break, else
 * silence. */
void cluster_crash(struct cluster *c, unsigned i, enum disk_crash how);
/* Starts it again on what its disk has. */
void cluster_start(struct cluster *c, unsigned i);

/* A client on a new host, ready. */
struct orbit_client *cluster_client(struct cluster *c, const struct orbit_policy *policy);

#endif
