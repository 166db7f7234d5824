/* scale: figures about big clusters, for docs/SCALE.md. */
#ifndef ORBIT_SIM_SCALE_H
#define ORBIT_SIM_SCALE_H

#include "dht/ring/plan.h"

/* What a node and the keeper do by default (docs/REPLICATION.md); ns, bytes per second. */
struct scale_config {
	uint64_t lease, fail_timeout, alive_every, heartbeat, step_every;
	unsigned voters, learn_shards, move_primaries, draws;
	double learn_rate;
	double link_rate;   /* of a node's network, each way */
	double shard_bytes; /* that a copy has */
};
extern const struct scale_config scale_defaults;

/* Prints them as a table. 0, or what ring_make() says. */
int scale_run(void);

/* ---- a row of the table; each call of a column gives the same rows in the same order ---- */

struct scale_table;
void scale_row(struct scale_table *t, const char *label, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void scale_head(struct scale_table *t, const char *label); /* of the rows that follow */

/* ---- scale_idle.c: messages when nothing happens, counted from the map ---- */

void scale_idle(struct scale_table *t, const struct ring_map *m);

/* ---- scale_move.c: copies being made, on virtual time ---- */

struct scale_move {
	double seconds; /* until the last copy was level */
	unsigned copies, learners, most_by_one, most_from_one, most_at_once;
	double bytes, cpu; /* of the longest plan_step(), s */
	unsigned changes;  /* of the map */
	size_t map_bytes;  /* of all of them */
};

/* Goes on until nothing is left to do; @map is replaced. */
void scale_move(
	struct ring_map **map, struct plan_cache *c, const bool *gone, struct scale_move *out);
size_t scale_diff(const struct ring_map *from, const struct ring_map *to); /* bytes */
double scale_cpu(void); /* s that this process used */

#endif
