/*
 * scale: what a big cluster's map looks like and what changes of it cost, by the very code that
 * plans them: placement, size of the map, loss of a node, one node more.
 */
#include "tests/sim/scale.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dht/base/mem.h"
#include "dht/ring/plan.h"

#define LEARNERS 4 /* as node_config.learn_shards */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void describe(struct ring_node *n, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "node %u", i);
	memset(n, 0, sizeof(*n));
	n->id = orbit_id_hash(name, strlen(name));
	n->incarnation = 1;
	n->up = true;
	n->weight = RING_WEIGHT_DEFAULT;
	n->naddrs = 1;
	snprintf(n->addr[0], ENV_ADDR_MAX, "10.%u.%u.%u:7000", i >> 16, i >> 8 & 255, i & 255);
}

static void print_balance(const struct ring_map *m)
{
	unsigned *copies = mem_zalloc(m->nnodes * sizeof(*copies));
	unsigned *leads = mem_zalloc(m->nnodes * sizeof(*leads));
	unsigned most = 0, least = UINT32_MAX, most_led = 0;
	uint64_t sum = 0;
	double mean, led;

	for (unsigned i = 0; i < ring_nshards(m); i++) {
		for (unsigned k = 0; k < m->shards[i].nmembers; k++)
			copies[m->shards[i].member[k]]++;
		leads[m->shards[i].primary]++;
		sum += m->shards[i].nmembers;
	}
	for (unsigned i = 0; i < m->nnodes; i++) {
		most = copies[i] > most ? copies[i] : most;
		least = copies[i] < least ? copies[i] : least;
		most_led = leads[i] > most_led ? leads[i] : most_led;
	}
	mean = (double)sum / m->nnodes;
	led = (double)ring_nshards(m) / m->nnodes;
	printf("  copies per node: mean %.1f, min %u, max %u (%.2f of the mean); led: mean %.1f, "
	       "max %u (%.2f)\n",
		mean, least, most, most / mean, led, most_led, most_led / led);
	free(copies);
	free(leads);
}

static size_t diff_size(const struct ring_map *from, const struct ring_map *to)
{
	struct buf b = {0};
	size_t len;

	ring_diff(from, to, &b);
	len = b.len;
	buf_fini(&b);
	return len;
}

/* Carries out all steps towards placement, each learner being level by the next one; prints what
 * that takes. Returns the copies made. */
static unsigned settle(struct ring_map **map, const bool *gone)
{
	const struct plan_limits l = {.learners_per_node = LEARNERS, .primaries = 64, .gone = gone};
	struct plan_cache c = {0};
	unsigned *learnt = mem_zalloc((*map)->nnodes * sizeof(*learnt));
	unsigned steps = 0, copies = 0, busy = 0, most = 0, per_step = 0;
	size_t bytes = 0;

	for (;;) {
		struct ring_map *m = ring_draft(*map);
		unsigned now = 0, changed;

		for (unsigned i = 0; i < ring_nshards(m); i++) {
			struct ring_shard *s = &m->shards[i];

			while (s->nlearners) {
				uint16_t who = s->learner[0];

				if (plan_member(m, (uint16_t)i, s->term, who,
					    m->nodes[who].incarnation, true))
					abort();
				learnt[who]++;
				now++;
			}
		}
		changed = plan_step(m, &l, &c);
		copies += now;
		per_step = now > per_step ? now : per_step;
		if (!changed && !now) {
			ring_unref(m);
			break;
		}
		steps++;
		bytes += diff_size(*map, m);
		ring_unref(*map);
		*map = m;
	}
	for (unsigned i = 0; i < (*map)->nnodes; i++) {
		busy += learnt[i] > 0;
		most = learnt[i] > most ? learnt[i] : most;
	}
	printf("  %u copies made by %u nodes, %u by one at most, %u at once, %u steps, %zu bytes "
	       "of "
	       "map changes\n",
		copies, busy, most, per_step, steps, bytes);
	plan_cache_fini(&c);
	free(learnt);
	return copies;
}

static unsigned copies_of(const struct ring_map *m, uint16_t node)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ring_nshards(m); i++)
		n += ring_member(&m->shards[i], node) >= 0;
	return n;
}

static void lose_one(struct ring_map **map)
{
	struct ring_map *m = ring_draft(*map);
	bool *gone = mem_zalloc(m->nnodes * sizeof(*gone));
	uint16_t dead = (uint16_t)(m->nnodes / 2);
	unsigned had = copies_of(m, dead), made;
	double t = seconds();

	plan_down(m, dead);
	printf("one node dies with %u copies: %zu bytes of map change, planned in %.1f ms\n", had,
		diff_size(*map, m), (seconds() - t) * 1e3);
	ring_unref(*map);
	*map = m;
	gone[dead] = true;
	made = settle(map, gone);
	printf("  optimum %u copies; %.1f %% more\n", had, 100.0 * ((double)made / had - 1));
	free(gone);
}

static void one_more(struct ring_map **map)
{
	struct ring_map *m = ring_draft(*map);
	struct ring_node n;
	uint64_t all = (uint64_t)ring_nshards(m) * m->replicas;
	unsigned made;

	describe(&n, 1u << 20);
	if (plan_register(m, &n, true))
		abort();
	ring_unref(*map);
	*map = m;
	printf("one node more:\n");
	made = settle(map, NULL);
	printf("  moved %.4f of all copies; 1/(N+1) is %.4f\n", (double)made / (double)all,
		1.0 / m->nnodes);
}

int scale_run(unsigned nodes, unsigned shard_bits, unsigned replicas)
{
	struct ring_node *n = mem_zalloc(nodes * sizeof(*n));
	const uint8_t fsid[16] = {1};
	struct buf b = {0};
	struct ring_map *m;
	double t = seconds();
	int rc;

	for (unsigned i = 0; i < nodes; i++)
		describe(&n[i], i);
	rc = ring_make(&m, fsid, shard_bits, replicas, n, nodes);
	free(n);
	if (rc)
		return rc;
	printf("%u nodes, %u shards, %u copies: placed in %.2f s\n", nodes, 1u << shard_bits,
		replicas, seconds() - t);
	print_balance(m);
	ring_encode(m, &b);
	printf("  the map has %zu bytes\n", b.len);
	buf_fini(&b);
	lose_one(&m);
	print_balance(m);
	one_more(&m);
	ring_unref(m);
	return 0;
}
