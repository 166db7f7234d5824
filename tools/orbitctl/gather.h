/*
 * gather: what all nodes of a cluster say of themselves, asked of each directly and all at once, so
 * that it works when some of them, also the keeper's leader, are down.
 */
#ifndef TOOLS_ORBITCTL_GATHER_H
#define TOOLS_ORBITCTL_GATHER_H

#include "dht/net/loop.h"
#include "dht/ring/ring.h"
#include "dht/wire/wire.h"

struct gather_stat {
	char *name, *text;
};

/* One node's answer. */
struct gather_node {
	struct orbit_id id;          /* the one that the map had for it when it was asked */
	int rc;                      /* 0, or why there is no answer */
	char why[160];               /* the same for people */
	uint64_t incarnation, epoch; /* as it said in its HELLO */
	struct gather_stat *stats;
	unsigned nstats;
};

struct gather {
	struct ring_map *map; /* the newest that anybody has */
	struct gather_node *nodes;
	unsigned nnodes;
};

/* Asks @seeds for the ring map, then all its nodes for their status; each may take @timeout ns. 0
 * if there is a map, however many nodes answer; -errno and one line in @why. */
int gather_run(struct gather *g, struct loop *lp, const char *const *seeds, unsigned nseeds,
	uint64_t timeout, char *why, size_t why_len);
void gather_fini(struct gather *g);

/* The answer of the node with index @node of the map; never NULL. */
const struct gather_node *gather_of(const struct gather *g, unsigned node);

/* One of its figures: NULL, or @otherwise, if it did not give it. */
const char *gather_text(const struct gather_node *n, const char *name);
uint64_t gather_number(const struct gather_node *n, const char *name, uint64_t otherwise);

/* Index of the node that says it leads the keeper, or RING_NONE. */
uint16_t gather_leader(const struct gather *g);

#endif
