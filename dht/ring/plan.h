/*
 * plan: how the ring map changes: what the keeper's leader does to it when nodes come, go, die or
 * are told to leave, and the steps by which data moves to where placement wants it.
 *
 * Pure functions over a draft (ring_draft()): the same input gives the same map. Nothing here
 * decides that a node is dead; it is told so. docs/REPLICATION.md has the rules and why they hold.
 *
 * A change of members or of the primary adds 1 to the shard's term, and so does a primary that was
 * down and comes back; learners come and go without.
 * A shard never loses its last member that is not suspect, and never its last member.
 */
#ifndef ORBIT_RING_PLAN_H
#define ORBIT_RING_PLAN_H

#include "dht/ring/ring.h"

/* A node registers: a new one is added (its place in the order of nodes shifts the indices in the
 * whole draft) and gets its number, a known one - by its number if it says one, else by its ID - is
 * up from now on, with the addresses and the zone given; weight, leaving and voter stay as they
 * are. With another incarnation than before: shards that it is a member of get a new term and it
 * is no longer their primary when another member is up and not suspect; if it is not @whole
 * (acknowledged effects may be missing), it stays in them as suspect, until plan_step() sees a good
 * one serve. Where none is good, the first that is up becomes primary.
 * 0; -EINVAL (addresses, zone, a witness that holds data), -ENOSPC (too many nodes), -ESTALE (an
 * older incarnation), -EADDRINUSE (another node that is up has that address). */
int plan_register(struct ring_map *m, const struct ring_node *node, bool whole);

/* The node is dead, or cut off: it leaves the members of every shard that has another good member
 * which is up; what it led goes to the first of them in the order of placement. It learns no more.
 * A shard without another good member that is up stays as it is, unless no member is good: then
 * another that is up becomes primary. */
void plan_down(struct ring_map *m, uint16_t node);
/* The same for several nodes (@down by index) that were found dead together. One after the other
 * would let the first leave what only the last then has; so all of them stay there, and whichever
 * comes back serves. */
void plan_down_all(struct ring_map *m, const bool *down);

/* @primary gets no answer from @node, while the keeper hears both: @node leaves the shards that
 * @primary leads, as a learner too, unless it is their last good member. */
void plan_drop(struct ring_map *m, uint16_t primary, uint16_t node);

/* The primary says that the learner @node is level: it becomes a member. Or (for itself, when it is
 * suspect) that it serves, having compared all members: none of them is suspect any more, in the
 * same term; or, of another member that is suspect, that it is level. A shard that has as many
 * members as there may be loses the one that placement wants least for it. Or (@add false) that the
 * member can not go on (its disk). 0; -ESTALE: the term is another one, it is no learner (member),
 * no other good member is up while there is one, nobody serves the shard, or its incarnation
 * changed (@incarnation).
 */
int plan_member(struct ring_map *m, uint16_t shard, uint64_t term, uint16_t node,
	uint64_t incarnation, bool add);

/* For good, by a person. All: -EINVAL when no node would be left to place data on.
 * Leaving (or staying after all); gone without its data having moved: it leaves all shards, -EBUSY
 * when it is up, -ENODATA when a shard has no other good member (force: what is left of it serves,
 * or another node begins it anew, empty). Weight: -EINVAL for a witness. */
int plan_leave(struct ring_map *m, uint16_t node, bool leave);
int plan_remove(struct ring_map *m, uint16_t node, bool force);
int plan_weight(struct ring_map *m, uint16_t node, uint32_t weight);
/* The node goes on under the ID @id: what it holds stays with it, placement follows the new ID.
 * -EEXIST: another node has it. */
int plan_rename(struct ring_map *m, uint16_t node, const struct orbit_id *id);
/* @min_in_sync 0: as it is. -EINVAL: out of range. */
int plan_replicas(struct ring_map *m, unsigned replicas, unsigned min_in_sync);

/* A session is over. */
void plan_fence(struct ring_map *m, uint32_t session);

/* Whatever happened to a shard since @old, of which @m is a draft: its term is the next one. (A
 * primary that goes on leading in the very next term drops nothing that is under way.) */
void plan_terms(struct ring_map *m, const struct ring_map *old);

/*
 * Where placement wants the shards, kept from step to step: {0} to begin with. It follows whatever
 * map it is given at the cost of what changed. From nothing that is a hash per node and four
 * shards, more than a loop should be busy with at once when both are many: plan_limits.draws.
 */
struct plan_cache {
	unsigned pending; /* shards whose placement is not computed yet */
	struct plan_places *places;
};
void plan_cache_fini(struct plan_cache *c);

/* Who is known to live: nobody leaves a shard before those who stay have said that they live, after
 * it was first seen that somebody ought to. */
struct plan_words {
	uint64_t now;         /* by any clock; never 0 */
	const uint64_t *said; /* by index of the node: when it said so last; 0: not lately */
	uint64_t *since;      /* by shard, kept from step to step: when it was seen; 0: nobody has
				 to leave. To begin with all are 0 */
	bool *asked;          /* by index of the node: set where a word is waited for */
};

struct plan_limits {
	unsigned learners_per_node; /* shards that one node learns at once; from 1 */
	unsigned primaries;         /* primaries moved in one step */
	unsigned draws;             /* hashes computed in one step, about; 0: as many as it takes */
	const bool *gone;           /* by index of the node: down for so long that placement goes on
				       without it; NULL: none */
	const struct plan_words *words; /* NULL: all that are up live */
};

/*
 * One step towards placement: lets members that are down or suspect go where a good one serves,
 * makes learners of nodes that ought to hold a shard and don't, lets surplus members go once those
 * that ought to are in sync, ends learners that are down or not wanted, and moves primaries to the
 * first choice of placement that is in sync and up. Shards with the fewest copies come first. Which
 * nodes are up must be known, not remembered: a new leader waits until it heard of each or called
 * it down. Returns how many shards it changed; 0: nothing is left to do (and c->pending is 0), or
 * all waits for learners under way, nodes that are down or words that they live.
 */
unsigned plan_step(struct ring_map *m, const struct plan_limits *l, struct plan_cache *c);

/* How far the map is from placement: for people. @l and @c may be NULL: nobody is gone; computed
 * anew. */
struct plan_progress {
	unsigned shards;      /* that placement wants elsewhere, in whole or in part */
	unsigned copies_left; /* copies that are to be made */
	unsigned learning;    /* being made now */
	unsigned degraded;    /* shards with fewer good members than wanted (or than nodes) */
	unsigned unavailable; /* shards without a primary that is up */
};
void plan_progress(const struct ring_map *m, const struct plan_limits *l, struct plan_cache *c,
	struct plan_progress *out);

#endif
