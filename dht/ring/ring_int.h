/*
 * ring_int: what the files of ring/ share: memory and the rules that hold for any map.
 */
#ifndef ORBIT_RING_RING_INT_H
#define ORBIT_RING_RING_INT_H

#include "dht/ring/ring.h"

#define RING_SESSION_MAX 0xffffff

struct ring_map *ring_new(unsigned shard_bits, unsigned nnodes, unsigned nfenced);

/* The node may hold data: placement takes it into account. */
static inline bool ring_placeable(const struct ring_node *n)
{
	return n->weight > 0 && !n->leaving && !n->witness;
}

/* The rules of docs/PROTOCOL.md for what was made, read or changed. ring_map_valid()
 * (ring.h) is all of them. */
bool ring_node_valid(const struct ring_node *n);
bool ring_nodes_valid(const struct ring_map *m);
bool ring_shard_valid(const struct ring_map *m, const struct ring_shard *s);

/* How nodes and shards are laid out: the map and the difference have the same. Readers check only
 * what they must not overrun; the rules above come after. */
#define RING_NODE_LEN_MIN 53  /* bytes of a node with no zone and one address of one byte */
#define RING_SHARD_LEN_MIN 15 /* bytes of a shard with one member */
void ring_put_node(struct buf *b, const struct ring_node *n);
void ring_get_node(struct cur *c, struct ring_node *n);
void ring_put_shard(struct buf *b, const struct ring_shard *s);
void ring_get_shard(struct cur *c, struct ring_shard *s);

#endif
