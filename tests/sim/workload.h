/*
 * workload: random transactions by several clients on few objects while faults happen, and the
 * check that the invariants held.
 *
 * Every writing transaction has a unique id that it leaves in each object it touches, and adds one
 * to a counter there. So: an acknowledged id is in all of its objects (I1), counters equal the
 * number of ids (I2: none twice), an id is in all of its objects or in none (atomic), a read sees
 * every id acknowledged before it began (I3), compare-and-set winners are unique (I3), callbacks
 * come once (I6), and after the faults everything completes.
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
	bool verbose;
};

struct workload_result {
	uint64_t acked, failed, unknown, reads, synced, lost;
	uint64_t crashes, power_losses, cuts, breaks, lost_acks, cancels, pauses;
	uint64_t resent, conflicts;
	uint64_t virtual_ns;
};

/* 0, or -1 when an invariant broke: one line says which, on stderr. */
int workload_run(const struct workload_config *cfg, struct workload_result *res);

#endif
