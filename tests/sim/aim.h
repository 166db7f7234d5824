/*
 * aim: runs that are aimed at one situation, in which a rule of the protocol matters. Faults that
 * come by chance hardly ever bring a cluster there: what does is a short story in several steps, at
 * times that differ by the seed. Each aim is such a story, told again and again within its run,
 * while the clients of workload.h work; it is judged as any other run.
 *
 * tests/sim/mutations.sh says which break of which rule each one has to show.
 */
#ifndef ORBIT_SIM_AIM_H
#define ORBIT_SIM_AIM_H

#include "tests/sim/workload_int.h"

struct aim {
	const char *name;
	/* What the run is like, where it differs from what aim_choose() gives all of them. May be
	 * NULL. */
	void (*choose)(struct run *r, struct cluster_config *cfg);
	/* One telling of the story, from a cluster that is well; returns as soon as @r is broken.
	 * What it left cut, slow or dead is put right afterwards. */
	void (*once)(struct run *r);
};

extern const struct aim aim_stale_reads, aim_hears_late, aim_forgotten_lease, aim_half_sent,
	aim_one_is_behind, aim_counted_again, aim_late_request;
extern const struct aim aim_joins, aim_joins_in_the_dark, aim_speaks_late, aim_silent_and_dark,
	aim_all_dark;
extern const struct aim aim_breaks_its_word, aim_asked_too_early, aim_strays, aim_brim;
extern const struct aim aim_remembers_alone, aim_takes_its_time, aim_remembers_the_dead;
extern const struct aim aim_fewer_copies, aim_synced_in_the_dark, aim_more_copies, aim_decided_late,
	aim_reads_early, aim_waits_in_vain, aim_comes_back;

/* Of that name; NULL: there is none. */
const struct aim *aim_find(const char *name);
/* One of all. */
const struct aim *aim_at(uint64_t i);
void aim_choose(struct run *r, struct cluster_config *cfg);
/* The whole run, but for its end. */
void aim_run(struct run *r);

/* ---- for those who tell ---- */

/* Time goes by, and everybody works. */
void aim_pass(struct run *r, uint64_t ns);
/* The same, until cond(r, arg) holds: true; false: it did not within @limit, or the run broke. */
bool aim_until(
	struct run *r, bool (*cond)(struct run *r, unsigned arg), unsigned arg, uint64_t limit);
/* Clients begin nothing new, or go on. */
void aim_rest(struct run *r, bool rest);
/* All is where it ought to be; for aim_until(). */
bool aim_well(struct run *r, unsigned unused);
/* Clients work on this shard only. Its writes need no votes, which would be synced, and all else
 * with them. */
void aim_write_to(struct run *r, unsigned shard);
/* Everything is healed and started; the clients rest until all is well again. */
bool aim_mend(struct run *r);

/* A node's process ends (@how as for cluster_crash()); it runs again. */
void aim_kill(struct run *r, unsigned node, enum disk_crash how);
void aim_start(struct run *r, unsigned node);

/* A node that leads a shard with objects in it; -1: none. Which: by chance. */
int aim_any_primary(struct run *r);
/* The same, but not the keeper's leader, which would take longer to replace. */
int aim_plain_primary(struct run *r);
/* The shard of an object, by chance, that @node leads; -1: none. */
int aim_led_shard(struct run *r, unsigned node);
/* The node that leads the shard by the newest map; -1. */
int aim_primary(struct run *r, unsigned shard);
/* A member that does not; -1: none. */
int aim_backup(struct run *r, unsigned shard);
int aim_keeper(struct run *r);
/* Objects (bits) whose shards the node leads. */
unsigned aim_objects_of(struct run *r, unsigned node);
/* Does the node serve the shard? */
bool aim_serves(struct run *r, unsigned node, unsigned shard);

/* The node and all others: silently, or with a word (it breaks, and is refused). */
void aim_isolate(struct run *r, unsigned node, bool silent);
void aim_rejoin(struct run *r, unsigned node);
/* The client sees that node only. */
void aim_with(struct run *r, unsigned client, unsigned node);
/* The client does not see that node. */
void aim_without(struct run *r, unsigned client, unsigned node);
/* What the other nodes tell @node takes up to @ns. */
void aim_deafen(struct run *r, unsigned node, uint64_t ns);
/* A person asks for another weight of it; for so many copies. */
void aim_weigh(struct run *r, unsigned node, uint32_t weight);
void aim_replicas(struct run *r, unsigned replicas);

#endif
