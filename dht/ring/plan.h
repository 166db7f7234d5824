/*
 * plan: how the ring map changes: what the keeper's leader does to it when nodes come, go, die or
 * are told to leave, and the steps by which data moves to where placement wants it.
 *
 * Pure functions over a draft (ring_draft()): the same input gives the same map. Nothing here
 * decides that a node is dead; it is told so. docs/REPLICATION.md has the rules and why they hold.
 *
 * A change of members or of the primary adds 1 to the shard's term; learners come and go without.
 * A shard never loses its last member that is not suspect, and never its last member.
 */
#ifndef ORBIT_RING_PLAN_H
#define ORBIT_RING_PLAN_H

#include "dht/ring/ring.h"

/* A node registers: a new one is added (its place in the order of nodes shifts the indices in the
 * whole draft), a known one is up from now on, with the addresses given. With another incarnation
 * than before: shards that it is a member of get a new term and it is no longer their primary when
 * another member is up and not suspect; if it is not @whole (acknowledged effects may be missing),
 * it leaves those that have another good member, up or not, and stays in the others as suspect.
 * 0; -EINVAL (addresses, zone), -ENOSPC (too many nodes), -ESTALE (an older incarnation),
 * -EADDRINUSE (another node that is up has that address). */
int plan_register(struct ring_map *m, const struct ring_node *node, bool whole);

/* The node is dead, or cut off: it leaves the members of every shard that has another good member
 * which is up; what it led goes to the first of them in the order of placement. */
void plan_down(struct ring_map *m, uint16_t node);

/* @primary gets no answer from @node, while the keeper hears both: @node leaves the shards that
 * @primary leads. */
void plan_drop(struct ring_map *m, uint16_t primary, uint16_t node);

/* The primary says that the learner @node is level: it becomes a member. Or (@add false) that the
 * member can not go on (its disk). 0; -ESTALE: the term is another one, it is no learner (member),
 * it is the only good one, or its incarnation changed (@incarnation). */
int plan_member(struct ring_map *m, uint16_t shard, uint64_t term, uint16_t node,
	uint64_t incarnation, bool add);

/* For good, by a person: leaving (or staying after all); gone without its data having moved: it
 * leaves all shards, -EBUSY when it is up, -ENODATA when a shard has no other member (force). */
int plan_leave(struct ring_map *m, uint16_t node, bool leave);
int plan_remove(struct ring_map *m, uint16_t node, bool force);
int plan_weight(struct ring_map *m, uint16_t node, uint32_t weight);
/* The node goes on under the ID @id: what it holds stays with it, placement follows the new ID. */
int plan_rename(struct ring_map *m, uint16_t node, const struct orbit_id *id);
int plan_replicas(struct ring_map *m, unsigned replicas, unsigned min_in_sync);

/* A session is over. */
void plan_fence(struct ring_map *m, uint32_t session);

struct plan_limits {
	unsigned learners_per_node; /* shards that one node learns at once; from 1 */
	unsigned primaries;         /* primaries moved in one step */
};

/*
 * One step towards placement: makes learners of nodes that ought to hold a shard and don't, lets
 * surplus members go once enough of those that ought to are in sync, ends learners that are down or
 * not wanted, and moves primaries to the first choice of placement that is in sync and up. Returns
 * how many shards it changed; 0: nothing is left to do, or all waits for learners under way.
 */
unsigned plan_step(struct ring_map *m, const struct plan_limits *l);

/* How far the map is from placement: for people. */
struct plan_progress {
	unsigned shards;      /* that placement wants elsewhere, in whole or in part */
	unsigned copies_left; /* copies that are to be made */
	unsigned learning;    /* being made now */
	unsigned degraded;    /* shards with fewer good members than wanted (or than nodes) */
	unsigned unavailable; /* shards without a primary that is up */
};
void plan_progress(const struct ring_map *m, struct plan_progress *out);

#endif
