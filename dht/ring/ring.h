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
#define RING_LEARNERS_MAX 7
#define RING_FENCED_MAX 65536 /* sessions; the oldest go first */
#define RING_NONE UINT16_MAX  /* no node */

struct ring_node {
	struct orbit_id id;
	uint32_t number;      /* given when it first came, for ever: IDs can be changed; from 1 */
	uint64_t incarnation; /* of the process that registered last; 0: none ever did */
	bool up;              /* it registered and was not found dead since */
	bool leaving;         /* placement leaves it out: its data moves away */
	bool witness;         /* holds no data, only votes; weight 0 */
	bool voter;           /* takes part in the keeper's Raft group */
	uint32_t weight;      /* share of the data, relative; 0: holds none */
	char zone[RING_ZONE_MAX];
	unsigned naddrs; /* 1 .. RING_ADDRS_MAX */
	char addr[RING_ADDRS_MAX][ENV_ADDR_MAX];
};

/* The term counts the changes of primary and members; effects are numbered (term, seq). */
struct ring_shard {
	uint64_t term;
	uint16_t primary; /* index into nodes; RING_NONE: nobody serves it now */
	uint8_t nmembers; /* in-sync members, the primary first; at least 1 */
	uint8_t nlearners;
	uint8_t suspect; /* bit i: member i was started anew and may have lost what it had */
	uint16_t member[RING_REPLICAS_MAX];
	uint16_t learner[RING_LEARNERS_MAX]; /* are being brought level; never elected */
};

struct ring_map {
	unsigned refs;
	uint64_t epoch; /* from 1 */
	uint8_t fsid[16];
	uint8_t shard_bits;   /* there are 1 << shard_bits shards */
	uint8_t replicas;     /* copies wanted */
	uint8_t min_in_sync;  /* members below which a shard takes no writes; from 1 */
	uint16_t keeper;      /* index of the node that leads the keeper, as far as known */
	uint32_t next_number; /* that the next new node gets */
	unsigned nfenced;
	uint32_t *fenced; /* sessions that are over and must not be obeyed any more; ascending */
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
size_t ring_encoded_len(const struct ring_map *m);
int ring_decode(const void *data, size_t len, struct ring_map **out);

/* What leads from @from to the later map @to, nodes named by ID. Patching checks everything: 0,
 * -EBADMSG, -ESTALE (it does not start at the epoch of @from). */
void ring_diff(const struct ring_map *from, const struct ring_map *to, struct buf *b);
int ring_patch(const struct ring_map *from, const void *data, size_t len, struct ring_map **out);

/* A copy with the next epoch that may be changed as long as nobody else has it. */
struct ring_map *ring_draft(const struct ring_map *m);
/* All that decoding and patching ask of a map. */
bool ring_map_valid(const struct ring_map *m);

/* Place of the node with index @node among the members (learners) of a shard; -1: it is none. */
int ring_member(const struct ring_shard *s, uint16_t node);
int ring_learner(const struct ring_shard *s, uint16_t node);

/* Index of the node with @number, or RING_NONE. */
uint16_t ring_find_number(const struct ring_map *m, uint32_t number);

bool ring_fenced(const struct ring_map *m, uint32_t session);

/* Is it the map of one node that only its own process can reach ("local:" addresses)? Then whoever
 * has a session is in the process that has the store open now, or is gone. */
bool ring_embedded(const struct ring_map *m);

/* Whether one record in one log commits a transaction of these shards (of the map, n >= 1): they
 * have the same primary, and are one shard, or each has it as its only copy. Anything else goes
 * across shards: of several shards with more copies a power loss could leave some. */
bool ring_one_log(const struct ring_map *m, const uint16_t *shards, unsigned n);

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
