/*
 * ring: which node serves which slice of the ring.
 *
 * The ring map is versioned by its epoch. It lists the nodes and, for each shard, the term, the
 * primary and (from two replicas on) the in-sync members. Placement - who ought to hold a shard -
 * is computed, by weighted rendezvous hashing over node IDs; the map records who serves now.
 *
 * A map is immutable once made and counted; pure functions, no I/O.
 */
#ifndef ORBIT_RING_RING_H
#define ORBIT_RING_RING_H

#include <stdbool.h>

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/net/env.h"

#define RING_NODES_MAX 4096
#define RING_SHARD_BITS_MAX 16
#define RING_SHARD_BITS_DEFAULT 10
#define RING_REPLICAS_MAX 7
#define RING_ADDRS_MAX 4
#define RING_ZONE_MAX 64
#define RING_WEIGHT_DEFAULT 100
#define RING_NONE UINT16_MAX /* no node */

struct ring_node {
	struct orbit_id id;
	uint32_t weight; /* share of the data, relative; 0: holds none */
	char zone[RING_ZONE_MAX];
	unsigned naddrs; /* 1 .. RING_ADDRS_MAX */
	char addr[RING_ADDRS_MAX][ENV_ADDR_MAX];
};

struct ring_shard {
	uint64_t term;
	uint16_t primary; /* index into nodes; RING_NONE: nobody serves it now */
	uint8_t nmembers; /* in-sync members, the primary first; 1 with one replica */
	uint16_t member[RING_REPLICAS_MAX];
};

struct ring_map {
	unsigned refs;
	uint64_t epoch; /* from 1 */
	uint8_t fsid[16];
	uint8_t shard_bits; /* there are 1 << shard_bits shards */
	uint8_t replicas;   /* copies wanted */
	uint16_t keeper;    /* index of the node that keeps sessions and the map */
	unsigned nnodes;
	struct ring_node *nodes;   /* in ID order */
	struct ring_shard *shards; /* 1 << shard_bits of them */
};

/* The first map of a filesystem: epoch 1, every shard where placement wants it. Copies what it is
 * given. 0; -EINVAL (no nodes, the same ID twice, no weight at all, bits or replicas out of range).
 */
int ring_make(struct ring_map **out, const uint8_t fsid[16], unsigned shard_bits, unsigned replicas,
	const struct ring_node *nodes, unsigned nnodes);

struct ring_map *ring_ref(struct ring_map *m);
void ring_unref(struct ring_map *m); /* NULL is harmless */

/* docs/PROTOCOL.md has the layout. Decoding checks everything; 0, -EBADMSG, -ENOMEM. */
void ring_encode(const struct ring_map *m, struct buf *b);
int ring_decode(const void *data, size_t len, struct ring_map **out);

static inline unsigned ring_nshards(const struct ring_map *m)
{
	return 1u << m->shard_bits;
}

/* The shard of an ID: the top bits of its position. */
static inline uint16_t ring_shard_of(const struct ring_map *m, const struct orbit_id *id)
{
	return (uint16_t)(((uint32_t)get_be16(id->b) << 16 | get_be16(id->b + 2)) >>
			  (32 - m->shard_bits));
}

/* Index of the node with @id, or RING_NONE. */
uint16_t ring_find(const struct ring_map *m, const struct orbit_id *id);

/*
 * Who ought to hold @shard: the best @want nodes by weighted rendezvous hashing (score
 * -weight / ln(h), h in (0,1) from SHA-256 of node ID and shard; Thaler & Ravishankar 1998,
 * weighted after Schindelhauer & Schomaker 2005), first over distinct zones, then the rest.
 * Writes indices to @out, returns how many. The same on every machine: fixed-point logarithm,
 * golden vectors in tests/unit/test_ring.c.
 */
unsigned ring_place(const struct ring_map *m, uint16_t shard, uint16_t *out, unsigned want);

#endif
