/*
 * health: how well a cluster is, by its ring map: for people. Pure functions.
 */
#ifndef TOOLS_COMMON_HEALTH_H
#define TOOLS_COMMON_HEALTH_H

#include "dht/ring/ring.h"

enum health_level {
	HEALTH_GOOD,
	HEALTH_RECOVERING,  /* copies are missing and being made */
	HEALTH_DEGRADED,    /* copies are missing, or nodes are down */
	HEALTH_UNAVAILABLE, /* some shards are served by nobody, or take no writes */
};

struct health {
	enum health_level level;
	/* Shards: each is one of the four. */
	unsigned healthy, recovering, degraded, unavailable;
	unsigned moving;     /* healthy ones of which copies are being made elsewhere */
	unsigned suspect;    /* with a member that may have lost what it had */
	unsigned unwritable; /* served, but with fewer members than min_in_sync */
	unsigned want;       /* copies: as many as asked for, or as nodes are there */
	/* Nodes */
	unsigned data, witnesses, down, leaving;
	char why[256]; /* in a few words; "" when all is well */
};

/* What one shard is. */
enum health_level health_shard(const struct ring_map *m, const struct ring_shard *s);

/* @leader: somebody leads the keeper, as far as is known. */
void health_of(const struct ring_map *m, bool leader, struct health *out);

const char *health_name(enum health_level level); /* "HEALTHY", ... */

/* Indices of the nodes in the order of their numbers; room for m->nnodes. */
void health_order(const struct ring_map *m, uint16_t *order);

/* How many shards each node serves, has copies of (served ones included), learns. The three arrays
 * have room for m->nnodes. */
void health_count(const struct ring_map *m, unsigned *serves, unsigned *holds, unsigned *learns);

#endif
