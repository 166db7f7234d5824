/*
 * The plan against a model of the data: each node has of each shard the number of the last write
 * that it saw. A shard takes a write when all of its members are up and its primary is good, and
 * then all of them have it. What must hold after any sequence of events: whoever counts as good has
 * the last write.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/ring/plan.h"
#include "dht/ring/ring_int.h"

#define BITS 3
#define SHARDS (1u << BITS)
#define NUMBERS 64 /* nodes that ever were */

static const uint8_t fsid[16] = {7};

struct world {
	struct ring_map *m;
	struct plan_cache cache;
	unsigned named; /* nodes that were given a name */
	uint64_t last[SHARDS], copy[NUMBERS][SHARDS];
	bool force;         /* the call at hand may lose data: a person said so */
	uint16_t restarted; /* the node whose incarnation changes in the call, by number; 0: none */
	unsigned recovered; /* shards of which every copy was suspect */
	unsigned lost;
};

static struct ring_node node_of(unsigned name, uint32_t weight)
{
	char text[32];
	struct ring_node n = {.weight = weight, .naddrs = 1, .up = true, .incarnation = 1};

	snprintf(text, sizeof(text), "n%u", name);
	n.id = orbit_id_hash(text, strlen(text));
	snprintf(n.addr[0], sizeof(n.addr[0]), "%s:1", text);
	if (name % 3)
		snprintf(n.zone, sizeof(n.zone), "z%u", name % 4);
	return n;
}

static void world_begin(struct world *w, unsigned nodes, unsigned replicas)
{
	struct ring_node n[8];

	*w = (struct world){.named = nodes};
	for (unsigned i = 0; i < nodes; i++)
		n[i] = node_of(i, 100);
	assert_int_equal(ring_make(&w->m, fsid, BITS, replicas, n, nodes), 0);
}

static void world_end(struct world *w)
{
	ring_unref(w->m);
	plan_cache_fini(&w->cache);
}

static uint32_t number_of(const struct ring_map *m, uint16_t node)
{
	return node == RING_NONE ? 0 : m->nodes[node].number;
}

/* The nodes' numbers that are members, as bits. */
static uint64_t members(const struct ring_map *m, unsigned s, bool good)
{
	const struct ring_shard *sh = &m->shards[s];
	uint64_t set = 0;

	for (unsigned i = 0; i < sh->nmembers; i++) {
		if (!good || !(sh->suspect >> i & 1))
			set |= UINT64_C(1) << number_of(m, sh->member[i]);
	}
	return set;
}

/* What one call did. */
static void check_call(struct world *w, const struct ring_map *was)
{
	struct buf b = {0}, c = {0};
	struct ring_map *got;

	assert_true(ring_map_valid(w->m));
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *x = &was->shards[s], *y = &w->m->shards[s];
		uint64_t before = members(was, s, true);
		bool same = members(was, s, false) == members(w->m, s, false) &&
			    number_of(was, x->primary) == number_of(w->m, y->primary);
		bool renewed = w->restarted && (members(was, s, false) >> w->restarted & 1);

		/* its primary was down, and is not any more */
		renewed |= same && x->primary != RING_NONE && !was->nodes[x->primary].up &&
			   w->m->nodes[y->primary].up;
		assert_int_equal(y->term, x->term + (!same || renewed));
		/* a good copy is still there and still good, unless its node was restarted */
		if (w->restarted)
			before &= ~(UINT64_C(1) << w->restarted);
		if (before && !w->force)
			assert_true(before & members(w->m, s, true));
		for (unsigned i = 0; i < y->nmembers; i++) {
			uint32_t number = number_of(w->m, y->member[i]);

			if (!(y->suspect >> i & 1) && w->force && w->copy[number][s] < w->last[s]) {
				w->last[s] = w->copy[number][s];
				w->lost++;
			}
		}
	}
	/* and it is a change that can be told */
	ring_diff(was, w->m, &b);
	assert_int_equal(ring_patch(was, b.data, b.len, &got), 0);
	buf_reset(&b);
	ring_encode(got, &b);
	ring_encode(w->m, &c);
	assert_int_equal(b.len, c.len);
	assert_memory_equal(b.data, c.data, b.len);
	ring_unref(got);
	buf_fini(&b);
	buf_fini(&c);
}

static void check_state(struct world *w)
{
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *sh = &w->m->shards[s];
		bool up = sh->primary != RING_NONE && w->m->nodes[sh->primary].up;

		for (unsigned i = 0; i < sh->nmembers; i++) {
			bool good = !(sh->suspect >> i & 1);

			if (good)
				assert_int_equal(
					w->copy[number_of(w->m, sh->member[i])][s], w->last[s]);
			/* nobody waits while there is somebody who could serve */
			if (w->m->nodes[sh->member[i]].up && (good || !members(w->m, s, true)))
				assert_true(up);
		}
		if (up && members(w->m, s, true))
			assert_false(sh->suspect & 1);
	}
}

/* Begins a call; the map as it was. */
static struct ring_map *before(struct world *w)
{
	struct ring_map *was = w->m;

	w->m = ring_draft(was);
	w->force = false;
	w->restarted = 0;
	return was;
}

static void after(struct world *w, struct ring_map *was)
{
	check_call(w, was);
	ring_unref(was);
	check_state(w);
}

/* ---- what nodes do ---- */

static void write_all(struct world *w)
{
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *sh = &w->m->shards[s];
		bool all = sh->primary != RING_NONE && !(sh->suspect & 1);

		for (unsigned i = 0; i < sh->nmembers; i++)
			all &= w->m->nodes[sh->member[i]].up;
		if (!all)
			continue;
		w->last[s]++;
		for (unsigned i = 0; i < sh->nmembers; i++)
			w->copy[number_of(w->m, sh->member[i])][s] = w->last[s];
	}
}

static void ask_member(struct world *w, unsigned s, uint16_t node)
{
	struct ring_map *was = before(w);

	assert_int_equal(plan_member(w->m, (uint16_t)s, w->m->shards[s].term, node,
				 w->m->nodes[node].incarnation, true),
		0);
	after(w, was);
}

/* Primaries of which all copies are suspect compare those that are there; @odds: out of 100. */
static void recover(struct world *w, unsigned odds)
{
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *sh = &w->m->shards[s];
		bool all = sh->primary != RING_NONE && sh->suspect;
		uint64_t best = 0;

		for (unsigned i = 0; i < sh->nmembers; i++) {
			all &= w->m->nodes[sh->member[i]].up;
			if (w->copy[number_of(w->m, sh->member[i])][s] > best)
				best = w->copy[number_of(w->m, sh->member[i])][s];
		}
		if (!all || (unsigned)random() % 100 >= odds)
			continue;
		if (!members(w->m, s, true)) {
			w->last[s] = best;
			w->recovered++;
		}
		for (unsigned i = 0; i < sh->nmembers; i++)
			w->copy[number_of(w->m, sh->member[i])][s] = w->last[s];
		while (w->m->shards[s].suspect) {
			const struct ring_shard *now = &w->m->shards[s];
			bool own = (now->suspect & 1) && random() % 2;

			ask_member(w, s, now->member[own ? 0 : 31 - __builtin_clz(now->suspect)]);
		}
	}
}

static void learn(struct world *w, unsigned odds)
{
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *sh = &w->m->shards[s];

		for (unsigned i = sh->nlearners; i-- > 0;) {
			uint16_t node = w->m->shards[s].learner[i];

			if ((unsigned)random() % 100 >= odds || sh->primary == RING_NONE ||
				!w->m->nodes[sh->primary].up || (sh->suspect & 1) ||
				!w->m->nodes[node].up)
				continue;
			w->copy[number_of(w->m, node)][s] = w->last[s];
			ask_member(w, s, node);
			sh = &w->m->shards[s];
			if (i > sh->nlearners)
				i = sh->nlearners;
		}
	}
}

static void do_register(struct world *w, uint16_t at, bool anew, bool whole)
{
	struct ring_map *was = before(w);
	struct ring_node n = w->m->nodes[at];

	if (anew) {
		n.incarnation++;
		w->restarted = (uint16_t)n.number;
		for (unsigned s = 0; s < SHARDS && !whole; s++)
			w->copy[n.number][s] -= w->copy[n.number][s] ? random() % 2 : 0;
	}
	assert_int_equal(plan_register(w->m, &n, whole), 0);
	after(w, was);
}

static unsigned do_step(struct world *w, const bool *gone)
{
	struct plan_limits l = {
		.learners_per_node = 1 + (unsigned)random() % 3, .primaries = 2, .gone = gone};
	struct ring_map *was = before(w);
	unsigned n = plan_step(w->m, &l, &w->cache);

	after(w, was);
	return n;
}

static void one_by_person(struct world *w, uint16_t node)
{
	struct ring_map *was = before(w);
	struct ring_node n;

	switch (random() % 7) {
	case 0:
		plan_leave(w->m, node, random() % 2);
		break;
	case 1:
		w->force = random() % 8 == 0;
		plan_remove(w->m, node, w->force);
		break;
	case 2:
		plan_weight(w->m, node, (uint32_t)(random() % 4) * 50);
		break;
	case 3:
		n = node_of(w->named++, 1);
		assert_int_equal(plan_rename(w->m, node, &n.id), 0);
		break;
	case 4:
		plan_replicas(w->m, 1 + (unsigned)random() % RING_REPLICAS_MAX, 1);
		break;
	case 5:
		plan_fence(w->m, (uint32_t)(random() % 20));
		break;
	default:
		if (w->m->next_number < NUMBERS && w->m->nnodes < 10) {
			n = node_of(w->named++, 100);
			assert_int_equal(plan_register(w->m, &n, true), 0);
		}
	}
	after(w, was);
}

static void one_event(struct world *w)
{
	uint16_t node = (uint16_t)((unsigned long)random() % w->m->nnodes);
	bool gone[16] = {false};
	struct ring_map *was;

	switch (random() % 10) {
	case 0:
		was = before(w);
		plan_down(w->m, node);
		after(w, was);
		break;
	case 1:
		for (unsigned i = 0; i < w->m->nnodes; i++)
			gone[i] = random() % 3 == 0;
		was = before(w);
		plan_down_all(w->m, gone);
		after(w, was);
		break;
	case 2:
		was = before(w);
		plan_drop(w->m, (uint16_t)((unsigned long)random() % w->m->nnodes), node);
		after(w, was);
		break;
	case 3:
	case 4:
		do_register(w, node, random() % 2, random() % 4 != 0);
		break;
	case 5:
		one_by_person(w, node);
		break;
	case 6:
		was = before(w);
		for (unsigned s = 0; s < SHARDS; s++)
			plan_member(w->m, (uint16_t)s, w->m->shards[s].term - (random() % 4 == 0),
				node, w->m->nodes[node].incarnation, false);
		after(w, was);
		break;
	default:
		for (unsigned i = 0; i < w->m->nnodes; i++)
			gone[i] = !w->m->nodes[i].up && random() % 2;
		do_step(w, gone);
	}
}

/* All is well from now on: every shard comes to lie where placement wants it. */
static void settle(struct world *w)
{
	uint16_t want[RING_REPLICAS_MAX];
	unsigned steps = 0, quiet = 0;

	for (unsigned i = 0; i < w->m->nnodes; i++)
		do_register(w, (uint16_t)i, false, true);
	while (quiet < 2) {
		recover(w, 100);
		quiet = do_step(w, NULL) ? 0 : quiet + 1;
		learn(w, 100);
		write_all(w);
		assert_true(++steps < 400);
	}
	for (unsigned s = 0; s < SHARDS; s++) {
		const struct ring_shard *sh = &w->m->shards[s];
		unsigned n = ring_place(w->m, (uint16_t)s, want, w->m->replicas);

		assert_int_equal(sh->nmembers, n);
		assert_int_equal(sh->nlearners, 0);
		assert_int_equal(sh->suspect, 0);
		assert_int_equal(sh->primary, want[0]);
		for (unsigned i = 0; i < n; i++)
			assert_true(ring_member(sh, want[i]) >= 0);
	}
}

static void test_plan_random_events_keep_every_write_and_end_in_placement(void **state)
{
	unsigned seeds = getenv("SEEDS") ? (unsigned)atoi(getenv("SEEDS")) : 3000;
	unsigned recovered = 0, lost = 0;
	struct world w;

	(void)state;
	for (unsigned seed = 0; seed < seeds; seed++) {
		srandom(seed);
		world_begin(&w, 1 + seed % 6, 1 + seed / 6 % RING_REPLICAS_MAX);
		for (unsigned i = 0; i < 60; i++) {
			one_event(&w);
			recover(&w, 50);
			learn(&w, 40);
			if (random() % 2)
				write_all(&w);
		}
		settle(&w);
		recovered += w.recovered;
		lost += w.lost;
		world_end(&w);
	}
	/* what should be met was */
	assert_true(recovered > seeds / 10 && lost > seeds / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan_random_events_keep_every_write_and_end_in_placement),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
