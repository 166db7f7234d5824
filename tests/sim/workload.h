/*
 * workload: random transactions by several clients on few objects while faults happen, and the
 * check that the invariants held.
 *
 * Every writing transaction has a unique id that it leaves in each object it touches; it adds one
 * to a counter and raises a maximum there, and may append to the list of its first object, or write
 * or punch bytes of the object's stream. So:
 *
 *   acknowledged ids are in all of their objects, for ever (unless power was lost before a sync)
 *   an id is in all of its objects or in none, in every read too, with its bytes
 *   counters equal the number of ids: nothing took effect twice
 *   a read sees what was acknowledged before it began
 *   each place of a list is one transaction's, lists only grow
 *   counters that only count hold what was acknowledged, and no more than was tried
 *   all that was seen fits one order of everything, which agrees with time (workload_hist.c)
 *   what a client gave up on and then did not see never comes later
 *   bytes are those of the last write, whole
 *   callbacks come once; errors only where there is a reason for them
 *   after the faults everything completes, and nothing stays prepared
 */
#ifndef ORBIT_SIM_WORKLOAD_H
#define ORBIT_SIM_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

struct workload_config {
	uint64_t seed;
	unsigned nodes;      /* 0: by the seed */
	unsigned clients;    /* 0: by the seed */
	unsigned per_client; /* transactions each; 0: 40 */
	unsigned rings;      /* of four runs so many are of clusters that keep copies */
	bool verbose;
	const char *aim; /* the run is that one's (aim.h); NULL: by the seed */
};

#define WORKLOAD_COUNTS(X)                                                                         \
	X(acked)                                                                                   \
	X(compare_failed)                                                                          \
	X(unknown)                                                                                 \
	X(no_space)                                                                                \
	X(stale)                                                                                   \
	X(reads)                                                                                   \
	X(bytes_checked)                                                                           \
	X(history_edges)                                                                           \
	X(synced)                                                                                  \
	X(sync_lost)                                                                               \
	X(crashes)                                                                                 \
	X(power_losses)                                                                            \
	X(stops)                                                                                   \
	X(disks_failed)                                                                            \
	X(cuts)                                                                                    \
	X(oneway_cuts)                                                                             \
	X(slow_links)                                                                              \
	X(disks_filled)                                                                            \
	X(clocks_wrong)                                                                            \
	X(blackouts)                                                                               \
	X(burnt)                                                                                   \
	X(isolated)                                                                                \
	X(aimed)                                                                                   \
	X(joins)                                                                                   \
	X(leaves)                                                                                  \
	X(renames)                                                                                 \
	X(weights)                                                                                 \
	X(replicas_changed)                                                                        \
	X(asked)                                                                                   \
	X(heal_ms)                                                                                 \
	X(copies_compared)                                                                         \
	X(watched)                                                                                 \
	X(breaks)                                                                                  \
	X(lost_answers)                                                                            \
	X(pauses)                                                                                  \
	X(remembered)                                                                              \
	X(from_memory)                                                                             \
	X(kept_back)                                                                               \
	X(recalled)                                                                                \
	X(leases_lost)                                                                             \
	X(suspended)                                                                               \
	X(clients_paused)                                                                          \
	X(clients_killed)                                                                          \
	X(bits_flipped)                                                                            \
	X(nodes_flipped)                                                                           \
	X(flips_excused)                                                                           \
	X(repaired)                                                                                \
	X(erased)                                                                                  \
	X(copies_gone)                                                                             \
	X(flips_noticed)                                                                           \
	X(cancels)                                                                                 \
	X(resent)                                                                                  \
	X(replayed)                                                                                \
	X(forwarded)                                                                               \
	X(refused)                                                                                 \
	X(prepared)                                                                                \
	X(conflicts)                                                                               \
	X(resolved)                                                                                \
	X(outcomes_left)                                                                           \
	X(replies_left)                                                                            \
	X(frames)                                                                                  \
	X(frames_corrupted)                                                                        \
	X(virtual_ms)

struct workload_result {
#define X(name) uint64_t name;
	WORKLOAD_COUNTS(X)
#undef X
};

/* 0, or -1 when an invariant broke: one line says which, on stderr. */
int workload_run(const struct workload_config *cfg, struct workload_result *res);

#endif
