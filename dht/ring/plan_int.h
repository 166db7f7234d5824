/*
 * plan_int: what the files of the plan share: a shard being edited, and where placement wants it.
 */
#ifndef ORBIT_RING_PLAN_INT_H
#define ORBIT_RING_PLAN_INT_H

#include "dht/ring/place.h"
#include "dht/ring/plan.h"
#include "dht/ring/ring_int.h"

/*
 * A shard's members while they are being changed: which of them are suspect moves with them.
 * Begun, changed and ended once per shard and call, so that the term counts one.
 */
struct plan_edit {
	struct ring_map *m;
	uint16_t shard;
	struct ring_shard *s;
	bool renew; /* a new term in any case */
	uint16_t primary;
	unsigned n;
	struct plan_copy {
		uint16_t node;
		bool suspect;
	} copy[RING_REPLICAS_MAX + 1]; /* one more until the edit ends */
};

void plan_edit_begin(struct plan_edit *e, struct ring_map *m, uint16_t shard);
/* Writes it back; true when anything is another. The primary is a member or RING_NONE. */
bool plan_edit_end(struct plan_edit *e);
int plan_edit_find(const struct plan_edit *e, uint16_t node); /* place, or -1 */
void plan_edit_drop(struct plan_edit *e, uint16_t node);
/* The node is up, a member and not suspect. */
bool plan_edit_good(const struct plan_edit *e, uint16_t node);
/* How many members are not suspect, without @node; only those that are up. */
unsigned plan_edit_goods(const struct plan_edit *e, uint16_t node, bool up);

/* Sees to the primary: a good member that is up, the present one if it can be (and is not @avoid
 * while there is another), else the first in the order of placement. Where no member is good, any
 * that is up. Where there is nobody, the present one if it still is a member, and down. */
void plan_edit_settle(struct plan_edit *e, uint16_t avoid);

void plan_learner_drop(struct ring_shard *s, uint16_t node);

/* ---- where placement wants shards, plan_place.c ---- */

/* Follows @m, computing about @draws hashes at most (0: all). */
void plan_places_follow(
	struct plan_cache *c, const struct ring_map *m, const bool *gone, unsigned draws);
/* The nodes that placement wants for a shard, in order. False: not computed yet. */
bool plan_places_of(
	const struct plan_cache *c, unsigned shard, const uint16_t **nodes, unsigned *n);

#endif
