/*
 * scale_move: copies being made after a change, on virtual time. Who learns what, and when, is
 * decided by plan_step() and plan_member(), as in the keeper; bytes flow as the throttle and the
 * links of both sides let them, nothing else takes time.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dht/base/mem.h"
#include "tests/sim/scale.h"

#define TICK 0.1 /* s */

struct copy {
	uint16_t shard, to, from;
	double left;
};

struct move {
	struct ring_map **map;
	struct scale_move *out;
	struct copy *copies; /* under way */
	unsigned n;
	unsigned *takes, *gives; /* of each node, under way */
	unsigned *took;          /* of each node, ever */
};

double scale_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

size_t scale_diff(const struct ring_map *from, const struct ring_map *to)
{
	struct buf b = {0};
	size_t len;

	ring_diff(from, to, &b);
	len = b.len;
	buf_fini(&b);
	return len;
}

/* What is copied now, by what the map says. */
static void count(struct move *v)
{
	const struct ring_map *m = *v->map;
	unsigned n = 0;

	memset(v->takes, 0, m->nnodes * sizeof(*v->takes));
	memset(v->gives, 0, m->nnodes * sizeof(*v->gives));
	for (unsigned i = 0; i < v->n; i++) {
		struct copy *c = &v->copies[i];

		if (ring_learner(&m->shards[c->shard], c->to) < 0)
			continue;
		c->from = m->shards[c->shard].primary;
		v->copies[n++] = *c;
		v->takes[c->to]++;
		v->gives[c->from]++;
		if (v->gives[c->from] > v->out->most_from_one)
			v->out->most_from_one = v->gives[c->from];
	}
	v->n = n;
	if (n > v->out->most_at_once)
		v->out->most_at_once = n;
}

/* Learners that @now has and the map before had not. */
static void begin_copies(struct move *v, const struct ring_map *now)
{
	const struct ring_map *was = *v->map;

	for (unsigned s = 0; s < ring_nshards(now); s++) {
		const struct ring_shard *sh = &now->shards[s];

		for (unsigned i = 0; i < sh->nlearners; i++) {
			if (ring_learner(&was->shards[s], sh->learner[i]) >= 0)
				continue;
			v->copies = mem_grow(v->copies, v->n + 1, sizeof(*v->copies));
			v->copies[v->n++] = (struct copy){.shard = (uint16_t)s,
				.to = sh->learner[i],
				.left = scale_defaults.shard_bytes};
		}
	}
}

/* The next map, or the draft was for nothing. */
static void adopt(struct move *v, struct ring_map *m, bool changed)
{
	if (!changed) {
		ring_unref(m);
		return;
	}
	v->out->changes++;
	v->out->map_bytes += scale_diff(*v->map, m);
	begin_copies(v, m);
	ring_unref(*v->map);
	*v->map = m;
	count(v);
}

static double least(double a, double b)
{
	return a < b ? a : b;
}

/* One tick of bytes; copies that are level ask to be members. */
static void flow(struct move *v)
{
	struct ring_map *m = NULL;

	for (unsigned i = 0; i < v->n; i++) {
		struct copy *c = &v->copies[i];
		double rate = least(scale_defaults.learn_rate, scale_defaults.link_rate) /
			      v->takes[c->to];

		rate = least(rate, scale_defaults.link_rate / v->gives[c->from]);
		v->out->bytes += least(rate * TICK, c->left);
		c->left -= rate * TICK;
		if (c->left > 0)
			continue;
		if (!m)
			m = ring_draft(*v->map);
		if (plan_member(m, c->shard, m->shards[c->shard].term, c->to,
			    m->nodes[c->to].incarnation, true))
			abort();
		v->out->copies++;
		if (++v->took[c->to] > v->out->most_by_one)
			v->out->most_by_one = v->took[c->to];
	}
	if (m)
		adopt(v, m, true);
}

void scale_move(
	struct ring_map **map, struct plan_cache *c, const bool *gone, struct scale_move *out)
{
	const struct plan_limits l = {.learners_per_node = scale_defaults.learn_shards,
		.primaries = scale_defaults.move_primaries,
		.draws = scale_defaults.draws,
		.gone = gone};
	unsigned nodes = (*map)->nnodes, every = (unsigned)(scale_defaults.step_every / 1e9 / TICK);
	struct move v = {.map = map,
		.out = out,
		.takes = mem_zalloc(nodes * sizeof(*v.takes)),
		.gives = mem_zalloc(nodes * sizeof(*v.gives)),
		.took = mem_zalloc(nodes * sizeof(*v.took))};
	bool done = false, fresh = true;

	*out = (struct scale_move){0};
	for (unsigned tick = 0; !done; tick++) {
		const struct ring_map *was = *map;

		/* of the same map the same comes out */
		if ((fresh && tick % every == 0) || c->pending) {
			struct ring_map *m = ring_draft(*map);
			double t = scale_cpu();
			bool changed = plan_step(m, &l, c);

			t = scale_cpu() - t;
			out->cpu = t > out->cpu ? t : out->cpu;
			done = !changed && v.n == 0 && !c->pending;
			adopt(&v, m, changed);
			fresh = false;
		}
		flow(&v);
		fresh |= *map != was;
		if (v.n)
			out->seconds = (tick + 1) * TICK;
	}
	for (unsigned i = 0; i < nodes; i++)
		out->learners += v.took[i] > 0;
	free(v.copies);
	free(v.takes);
	free(v.gives);
	free(v.took);
}
