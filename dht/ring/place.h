/*
 * place: the arithmetic of placement, private to ring/.
 */
#ifndef ORBIT_RING_PLACE_H
#define ORBIT_RING_PLACE_H

#include "dht/ring/ring.h"

/* Draws one number per shard and node, four shards to a hash. Lives on the stack. */
struct place_hash {
	void *md, *ctx;
};
int place_hash_init(struct place_hash *h); /* 0, -ENOMEM */
void place_hash_fini(struct place_hash *h);

#define PLACE_GROUP 4u /* consecutive shards whose numbers come out of one hash */

/* The numbers of @node for the shards 4 * @group .. 4 * @group + 3: odd, so h = x / 2^64 is never 0
 * nor 1. 0, -ENOMEM. */
int place_draw(
	struct place_hash *h, const struct orbit_id *node, uint16_t group, uint64_t x[PLACE_GROUP]);

/* -log2(x / 2^64) for x >= 1, as fixed point with 48 bits of fraction; at least 1 for odd x. The
 * larger x, the smaller (or equal) the result. */
uint64_t place_log(uint64_t x);

/* Whether node @a, which drew @xa, goes before @b. */
bool place_beats(const struct ring_map *m, unsigned a, uint64_t xa, unsigned b, uint64_t xb);

/* Chooses among the nodes cand[0 .. ncand - 1], whose numbers for one shard are x[0], x[stride],
 * ...: as ring_place(). Writes places in @cand to @out, returns how many. */
unsigned place_choose(const struct ring_map *m, const uint16_t *cand, const uint64_t *x,
	size_t stride, unsigned ncand, uint16_t *out, unsigned want);

/* The nodes that may hold data, without those that @skip (NULL: nobody) has; how many. */
unsigned place_candidates(const struct ring_map *m, const bool *skip, uint16_t *cand);

#endif
