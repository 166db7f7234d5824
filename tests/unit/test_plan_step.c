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
#include "dht/ring/plan_int.h"
#include "dht/ring/ring_int.h"

static const uint8_t fsid[16] = {9};

static struct ring_node node_of(unsigned name)
{
	char text[32];
	struct ring_node n = {
		.weight = RING_WEIGHT_DEFAULT, .naddrs = 1, .up = true, .incarnation = 1};

	snprintf(text, sizeof(text), "s%u", name);
	n.id = orbit_id_hash(text, strlen(text));
	snprintf(n.addr[0], sizeof(n.addr[0]), "%s:1", text);
	return n;
}

static struct ring_map *map_of(unsigned n, unsigned bits, unsigned replicas)
{
	struct ring_node *nodes = mem_zalloc(n * sizeof(*nodes));
	struct ring_map *m;

	for (unsigned i = 0; i < n; i++)
		nodes[i] = node_of(i);
	assert_int_equal(ring_make(&m, fsid, bits, replicas, nodes, n), 0);
	free(nodes);
	return m;
}

static uint16_t at(const struct ring_map *m, unsigned name)
{
	struct ring_node n = node_of(name);

	return ring_find(m, &n.id);
}

static void join(struct ring_map *m, unsigned name)
{
	struct ring_node n = node_of(name);

	assert_int_equal(plan_register(m, &n, true), 0);
}

/* Copies that have to be made: wanted by placement and not there. */
static unsigned required(const struct ring_map *m)
{
	uint16_t want[RING_REPLICAS_MAX];
	unsigned copies = 0;

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		unsigned n = ring_place(m, (uint16_t)s, want, m->replicas);

		for (unsigned i = 0; i < n; i++)
			copies += ring_member(&m->shards[s], want[i]) < 0;
	}
	return copies;
}

/* Every learner is level; how many. */
static unsigned all_level(struct ring_map *m)
{
	unsigned copies = 0;

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		while (m->shards[s].nlearners) {
			uint16_t node = m->shards[s].learner[0];

			assert_int_equal(plan_member(m, (uint16_t)s, m->shards[s].term, node,
						 m->nodes[node].incarnation, true),
				0);
			copies++;
		}
	}
	return copies;
}

static const struct plan_limits limits = {.learners_per_node = 4, .primaries = 8};

/* Goes on until placement is reached. Copies made. */
static unsigned run(struct ring_map *m, const struct plan_limits *l)
{
	struct plan_cache c = {0};
	unsigned copies = 0, least = RING_REPLICAS_MAX, quiet = 0;

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].nmembers < least)
			least = m->shards[s].nmembers;
	}
	while (quiet < 2) {
		unsigned learns[64] = {0}, n = plan_step(m, l, &c);

		quiet = n ? 0 : quiet + 1;
		for (unsigned s = 0; s < ring_nshards(m); s++) {
			const struct ring_shard *sh = &m->shards[s];

			assert_true(ring_shard_valid(m, sh));
			assert_true(sh->nmembers >= least && m->nodes[sh->primary].up);
			for (unsigned i = 0; i < sh->nlearners; i++)
				learns[sh->learner[i]]++;
		}
		for (unsigned i = 0; i < m->nnodes; i++)
			assert_true(learns[i] <= l->learners_per_node);
		copies += all_level(m);
	}
	plan_cache_fini(&c);
	return copies;
}

static void assert_placed(const struct ring_map *m)
{
	struct plan_progress p;

	plan_progress(m, NULL, NULL, &p);
	assert_int_equal(p.shards, 0);
	assert_int_equal(p.copies_left, 0);
	assert_int_equal(p.learning, 0);
	assert_int_equal(p.unavailable, 0);
}

static void test_plan_one_node_becomes_three(void **state)
{
	struct ring_map *m = map_of(1, 6, 3);
	struct plan_progress p;

	(void)state;
	join(m, 1);
	join(m, 2);
	assert_int_equal(m->nnodes, 3);
	assert_int_equal(m->nodes[at(m, 0)].number, 1);
	assert_int_equal(m->nodes[at(m, 2)].number, 3);
	plan_progress(m, NULL, NULL, &p);
	assert_int_equal(p.copies_left, 2 * 64);
	assert_int_equal(p.degraded, 64);
	assert_int_equal(run(m, &limits), 2 * 64);
	assert_placed(m);
	for (unsigned s = 0; s < 64; s++)
		assert_int_equal(m->shards[s].nmembers, 3);
	ring_unref(m);
}

static void test_plan_a_fourth_node_takes_a_quarter_and_no_more_is_copied(void **state)
{
	struct ring_map *m = map_of(3, 10, 3);
	unsigned need, total = 3 * 1024;

	(void)state;
	join(m, 3);
	need = required(m);
	assert_true(need > total * 0.23 && need < total * 0.27);
	assert_int_equal(run(m, &limits), need);
	assert_placed(m);
	ring_unref(m);
}

static void test_plan_a_leaving_node_is_drained_and_can_go(void **state)
{
	struct ring_map *m = map_of(5, 8, 3);
	uint16_t node = at(m, 2);
	unsigned need = 0;

	(void)state;
	for (unsigned s = 0; s < 256; s++)
		need += ring_member(&m->shards[s], node) >= 0;
	assert_int_equal(plan_leave(m, node, true), 0);
	assert_int_equal(required(m), need);
	assert_int_equal(run(m, &limits), need);
	for (unsigned s = 0; s < 256; s++)
		assert_int_equal(ring_member(&m->shards[s], node), -1);
	assert_int_equal(plan_remove(m, node, false), -EBUSY);
	plan_down(m, node);
	assert_int_equal(plan_remove(m, node, false), 0);
	assert_int_equal(m->nnodes, 4);
	assert_int_equal(at(m, 2), RING_NONE);
	assert_true(ring_map_valid(m));
	assert_placed(m);
	/* its number is not given again */
	join(m, 9);
	assert_int_equal(m->nodes[at(m, 9)].number, 6);
	ring_unref(m);
}

/* Members leave, one after the other, and the primary is another one twice: one term all the same.
 */
static void test_plan_a_draft_is_one_term_ahead(void **state)
{
	struct ring_map *was = map_of(5, 8, 3), *m = ring_draft(was);
	unsigned later = 0;

	(void)state;
	plan_down(m, 1);
	plan_down(m, 2);
	for (unsigned s = 0; s < 256; s++)
		later += m->shards[s].term > was->shards[s].term + 1;
	assert_true(later > 0);
	plan_terms(m, was);
	for (unsigned s = 0; s < 256; s++) {
		const struct ring_shard *a = &was->shards[s], *b = &m->shards[s];
		bool same = a->primary == b->primary && a->nmembers == b->nmembers &&
			    !memcmp(a->member, b->member, a->nmembers * sizeof(*a->member));

		assert_int_equal(b->term, a->term + !same);
	}
	assert_true(ring_map_valid(m));
	ring_unref(m);
	ring_unref(was);
}

static void test_plan_a_renamed_node_keeps_its_data_until_placement_moved_it(void **state)
{
	struct ring_map *m = map_of(4, 8, 2), *was = ring_draft(m);
	struct ring_node n = node_of(77);
	uint16_t node = at(m, 1), to;
	unsigned need;

	(void)state;
	assert_int_equal(plan_rename(m, node, &m->nodes[at(m, 0)].id), -EEXIST);
	assert_int_equal(plan_rename(m, node, &n.id), 0);
	assert_true(ring_map_valid(m));
	assert_int_equal(at(m, 1), RING_NONE);
	to = at(m, 77);
	for (unsigned s = 0; s < 256; s++) {
		assert_int_equal(m->shards[s].term, was->shards[s].term);
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(m->nodes[m->shards[s].member[i]].number,
				was->nodes[was->shards[s].member[i]].number);
	}
	assert_int_equal(m->nodes[to].number, was->nodes[node].number);
	need = required(m);
	assert_true(need > 0);
	assert_int_equal(run(m, &limits), need);
	assert_placed(m);
	/* it registers by its number, under whichever ID it knows */
	n = node_of(1);
	n.number = m->nodes[to].number;
	assert_int_equal(plan_register(m, &n, true), 0);
	assert_int_equal(m->nnodes, 4);
	ring_unref(m);
	ring_unref(was);
}

static void test_plan_nothing_is_copied_for_a_node_that_is_down_for_a_moment(void **state)
{
	struct ring_map *m = map_of(5, 8, 3);
	struct plan_cache c = {0};
	uint16_t node = at(m, 0);
	struct plan_limits l = limits;
	struct plan_progress p;
	bool gone[5] = {false};
	unsigned held = 0;

	(void)state;
	for (unsigned s = 0; s < 256; s++)
		held += ring_member(&m->shards[s], node) >= 0;
	plan_down(m, node);
	assert_int_equal(run(m, &limits), 0);
	plan_progress(m, NULL, NULL, &p);
	assert_int_equal(p.degraded, held);
	assert_int_equal(p.unavailable, 0);
	/* back: its own copies are brought level, no others */
	struct ring_node n = node_of(0);
	assert_int_equal(plan_register(m, &n, true), 0);
	assert_int_equal(run(m, &limits), held);
	assert_placed(m);
	/* down for long: others take its place */
	plan_down(m, node);
	gone[node] = true;
	l.gone = gone;
	assert_int_equal(run(m, &l), held);
	for (unsigned s = 0; s < 256; s++)
		assert_int_equal(m->shards[s].nmembers, 3);
	assert_int_equal(plan_step(m, &l, &c), 0);
	plan_cache_fini(&c);
	ring_unref(m);
}

static void test_plan_a_surplus_copy_stays_for_one_that_is_down(void **state)
{
	struct ring_map *m = map_of(4, 6, 3);
	struct plan_limits l = {.learners_per_node = 1000, .primaries = 1000};
	struct plan_cache c = {0};
	uint16_t leaver = at(m, 3), dead;
	bool had[64];

	(void)state;
	for (unsigned s = 0; s < 64; s++)
		had[s] = ring_member(&m->shards[s], leaver) >= 0;
	plan_leave(m, leaver, true);
	plan_step(m, &l, &c);
	all_level(m);
	dead = at(m, 1);
	plan_down(m, dead);
	while (plan_step(m, &l, &c))
		all_level(m);
	for (unsigned s = 0; s < 64; s++) {
		const struct ring_shard *sh = &m->shards[s];

		/* who had it before still has it, in the place of the dead one */
		assert_int_equal(ring_member(sh, dead), -1);
		assert_int_equal(sh->nmembers, 2 + had[s]);
		assert_int_equal(ring_member(sh, leaver) >= 0, had[s]);
	}
	struct ring_node n = node_of(1);
	assert_int_equal(plan_register(m, &n, true), 0);
	while (plan_step(m, &l, &c))
		all_level(m);
	assert_placed(m);
	plan_cache_fini(&c);
	ring_unref(m);
}

static void test_plan_step_moves_no_more_primaries_than_it_may(void **state)
{
	struct ring_map *m = map_of(3, 8, 3);
	struct plan_limits l = {.learners_per_node = 1000, .primaries = 10};
	struct plan_cache c = {0};
	uint16_t node = at(m, 1), want[3];
	unsigned away = 0, steps = 0, n;

	(void)state;
	for (unsigned s = 0; s < 256; s++)
		away += m->shards[s].primary == node;
	plan_down(m, node);
	struct ring_node nd = node_of(1);
	assert_int_equal(plan_register(m, &nd, true), 0);
	plan_step(m, &l, &c);
	all_level(m);
	while ((n = plan_step(m, &l, &c))) {
		assert_true(n <= 10);
		steps++;
	}
	assert_int_equal(steps, (away + 9) / 10);
	for (unsigned s = 0; s < 256; s++) {
		ring_place(m, (uint16_t)s, want, 3);
		assert_int_equal(m->shards[s].primary, want[0]);
	}
	plan_cache_fini(&c);
	ring_unref(m);
}

static void test_plan_shards_with_the_fewest_copies_come_first(void **state)
{
	struct ring_map *m = map_of(4, 6, 3);
	struct plan_limits l = {.learners_per_node = 1, .primaries = 0};
	struct plan_cache c = {0};
	struct ring_shard *sh = &m->shards[63], *last = NULL;
	uint16_t node = sh->member[2];

	(void)state;
	/* the last shard has one copy left, all others that the node had have two */
	for (unsigned s = 0; s < 64; s++) {
		int i = ring_member(&m->shards[s], node);

		if (i < 0)
			continue;
		last = &m->shards[s];
		memmove(last->member + i, last->member + i + 1, (2 - (unsigned)i) * 2);
		last->nmembers = 2;
		last->primary = last->member[0];
	}
	sh->nmembers = 1;
	assert_true(plan_step(m, &l, &c) > 0);
	assert_int_equal(ring_learner(sh, node), sh->learner[0] == node ? 0 : 1);
	assert_int_equal(sh->nlearners, 2);
	plan_cache_fini(&c);
	ring_unref(m);
}

static void test_plan_as_many_copies_as_members_fit(void **state)
{
	struct ring_map *m = map_of(7, 4, 7);
	unsigned need;

	(void)state;
	join(m, 7);
	join(m, 8);
	need = required(m);
	assert_true(need > 0);
	assert_int_equal(run(m, &limits), need);
	assert_placed(m);
	ring_unref(m);
}

static void test_plan_of_surplus_copies_those_of_leaving_nodes_go_first(void **state)
{
	struct ring_map *m = map_of(5, 4, 2);
	struct plan_limits l = {.learners_per_node = 1};
	struct plan_cache c = {0};
	uint16_t order[5];

	(void)state;
	for (unsigned turn = 0; turn < 2; turn++) {
		struct ring_shard *sh = &m->shards[turn];

		/* the second is down, two others have copies: one of them stays, and does not leave
		 */
		for (unsigned i = 0; i < 5; i++) {
			m->nodes[i].up = true;
			m->nodes[i].leaving = false;
		}
		ring_place(m, (uint16_t)turn, order, 5);
		m->nodes[order[1]].up = false;
		m->nodes[order[4]].leaving = true;
		sh->nmembers = 3;
		sh->member[1] = order[turn ? 3 : 4];
		sh->member[2] = order[turn ? 4 : 3];
		plan_step(m, &l, &c);
		assert_int_equal(sh->nmembers, 2);
		assert_int_equal(sh->member[0], order[0]);
		assert_int_equal(sh->member[1], order[3]);
	}
	plan_cache_fini(&c);
	ring_unref(m);
}

/* Surplus and suspect members go when all who stay have said that they live since it was seen. */
static void test_plan_nobody_leaves_to_those_who_may_be_dead(void **state)
{
	uint64_t said[3] = {0}, since[2] = {0}, before;
	bool asked[3] = {false};
	struct plan_words words = {.now = 100, .said = said, .since = since, .asked = asked};
	const struct plan_limits l = {.learners_per_node = 4, .primaries = 8, .words = &words};
	struct ring_map *m = map_of(3, 1, 3);
	struct ring_shard *surplus = &m->shards[0], *bad = &m->shards[1];
	struct plan_cache c = {0};
	uint16_t order[3];

	(void)state;
	/* one has a copy too many; in the other, one is suspect, and another has what it lacks */
	m->replicas = 2;
	ring_place(m, 0, order, 3);
	surplus->primary = surplus->member[0] = order[2];
	surplus->member[2] = order[0];
	bad->nmembers = 2;
	bad->suspect = 2;
	before = surplus->term;
	words.now = 100;
	said[0] = said[1] = said[2] = 99;
	assert_int_equal(plan_step(m, &l, &c), 0);
	assert_int_equal(surplus->nmembers, 3);
	assert_int_equal(surplus->primary, order[2]);
	assert_int_equal(bad->nmembers, 2);
	assert_true(asked[order[0]] && asked[order[1]]);
	assert_true(asked[bad->primary]);
	assert_int_equal(since[0], 100);
	/* what was said before does not count, however late it is */
	words.now = 200;
	assert_int_equal(plan_step(m, &l, &c), 0);
	assert_int_equal(since[0], 100);
	/* one of two */
	said[order[0]] = 150;
	plan_step(m, &l, &c);
	assert_int_equal(surplus->nmembers, 3);
	/* both */
	said[order[1]] = 201;
	plan_step(m, &l, &c);
	assert_int_equal(surplus->nmembers, 2);
	assert_int_equal(surplus->primary, order[0]);
	assert_int_equal(surplus->term, before + 1);
	assert_int_equal(since[0], 0);
	said[order[2]] = 202;
	plan_step(m, &l, &c);
	assert_true(ring_member(bad, bad->primary) >= 0);
	assert_int_equal(bad->suspect, 0);
	assert_int_equal(bad->nmembers, 1);
	plan_cache_fini(&c);
	ring_unref(m);
}

/* ---- events ---- */

static void test_plan_a_learner_that_dies_is_waited_for_no_more(void **state)
{
	struct ring_map *m = map_of(1, 4, 2);
	struct plan_limits l = {.learners_per_node = 16};
	struct plan_cache c = {0};

	(void)state;
	join(m, 1);
	for (unsigned turn = 0; turn < 2; turn++) {
		assert_int_equal(plan_step(m, &l, &c), 16);
		assert_int_equal(m->shards[5].nlearners, 1);
		if (turn == 0)
			plan_drop(m, at(m, 0), at(m, 1));
		else
			plan_down(m, at(m, 1));
		for (unsigned s = 0; s < 16; s++) {
			assert_int_equal(m->shards[s].nlearners, 0);
			assert_int_equal(m->shards[s].term, 1);
		}
	}
	plan_cache_fini(&c);
	ring_unref(m);
}

static void test_plan_the_last_good_copy_stays(void **state)
{
	struct ring_map *m = map_of(3, 4, 3);
	uint16_t a = at(m, 0), b = at(m, 1), c = at(m, 2);

	(void)state;
	plan_down(m, a);
	plan_down(m, b);
	plan_down(m, c);
	for (unsigned s = 0; s < 16; s++) {
		const struct ring_shard *sh = &m->shards[s];

		assert_int_equal(sh->nmembers, 1);
		assert_int_equal(sh->member[0], c);
		assert_int_equal(sh->primary, c);
	}
	assert_int_equal(plan_remove(m, c, false), -ENODATA);
	assert_int_equal(plan_member(m, 0, m->shards[0].term, c, 1, false), -ESTALE);
	/* others that come back serve nothing without it */
	struct ring_node n = node_of(0);
	assert_int_equal(plan_register(m, &n, true), 0);
	for (unsigned s = 0; s < 16; s++)
		assert_int_equal(m->shards[s].primary, c);
	/* but by force they begin anew */
	assert_int_equal(plan_remove(m, c, true), 0);
	for (unsigned s = 0; s < 16; s++)
		assert_int_equal(m->shards[s].primary, at(m, 0));
	assert_true(ring_map_valid(m));
	ring_unref(m);
}

static void test_plan_of_those_that_die_together_any_may_return(void **state)
{
	struct ring_map *m = map_of(4, 4, 2);
	bool down[4] = {false};
	uint16_t a = at(m, 0), b = at(m, 1);
	struct ring_node n = node_of(0);

	(void)state;
	down[a] = down[b] = true;
	plan_down_all(m, down);
	for (unsigned s = 0; s < 16; s++) {
		const struct ring_shard *sh = &m->shards[s];
		bool both = ring_member(sh, a) >= 0 && ring_member(sh, b) >= 0;
		bool one = ring_member(sh, a) >= 0 || ring_member(sh, b) >= 0;

		assert_int_equal(one, both);
		assert_int_equal(m->nodes[sh->primary].up, !both);
	}
	n.incarnation = 2;
	assert_int_equal(plan_register(m, &n, true), 0);
	for (unsigned s = 0; s < 16; s++)
		assert_true(m->nodes[m->shards[s].primary].up);
	ring_unref(m);
}

static void test_plan_restarts(void **state)
{
	struct ring_map *m = map_of(2, 4, 2);
	struct ring_node a = node_of(0), b = node_of(1);
	uint16_t ia = at(m, 0), ib = at(m, 1);
	struct plan_limits l = {.learners_per_node = 1};
	struct plan_cache c = {0};

	(void)state;
	/* whole: stays a member, but another goes on serving, in a new term */
	a.incarnation = 2;
	assert_int_equal(plan_register(m, &a, true), 0);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 2);
		assert_int_equal(m->shards[s].primary, ib);
		assert_int_equal(m->shards[s].term, 2);
	}
	/* the same process again: nothing */
	assert_int_equal(plan_register(m, &a, true), 0);
	for (unsigned s = 0; s < 16; s++)
		assert_int_equal(m->shards[s].term, 2);
	a.incarnation = 1;
	assert_int_equal(plan_register(m, &a, true), -ESTALE);
	/* not whole: it leaves as soon as it is seen that the other one serves */
	a.incarnation = 3;
	assert_int_equal(plan_register(m, &a, false), 0);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 2);
		assert_int_equal(m->shards[s].suspect, 2);
		assert_int_equal(m->shards[s].term, 3);
	}
	plan_step(m, &l, &c);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 1);
		assert_int_equal(m->shards[s].primary, ib);
		assert_int_equal(m->shards[s].suspect, 0);
		assert_int_equal(m->shards[s].term, 4);
	}
	/* the other one restarts, and is the only one: suspect, and serves for want of better */
	plan_down(m, ib);
	b.incarnation = 9;
	assert_int_equal(plan_register(m, &b, false), 0);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].suspect, 1);
		assert_int_equal(m->shards[s].primary, ib);
		assert_int_equal(m->shards[s].term, 5);
		/* it says that it serves */
		assert_int_equal(plan_member(m, (uint16_t)s, 5, ib, 8, true), -ESTALE);
		assert_int_equal(plan_member(m, (uint16_t)s, 4, ib, 9, true), -ESTALE);
		assert_int_equal(plan_member(m, (uint16_t)s, 5, ib, 9, true), 0);
		assert_int_equal(m->shards[s].suspect, 0);
		assert_int_equal(m->shards[s].term, 5);
		assert_int_equal(plan_member(m, (uint16_t)s, 5, ib, 9, true), -ESTALE);
		/* no learner, unless the step made it one */
		assert_int_equal(plan_member(m, (uint16_t)s, 5, ia, 3, true),
			m->shards[s].nlearners ? 0 : -ESTALE);
	}
	plan_cache_fini(&c);
	ring_unref(m);
}

/* Nobody else could lead what it leads; but it stopped serving meanwhile, and begins anew. */
static void test_plan_a_primary_that_comes_back_leads_in_another_term(void **state)
{
	struct ring_map *m = map_of(3, 6, 1);
	struct ring_node n = node_of(0);
	uint16_t a = at(m, 0);

	(void)state;
	plan_down(m, a);
	for (unsigned s = 0; s < 64; s++)
		assert_int_equal(m->shards[s].term, 1);
	assert_int_equal(plan_register(m, &n, true), 0);
	assert_int_equal(plan_register(m, &n, true), 0);
	for (unsigned s = 0; s < 64; s++)
		assert_int_equal(m->shards[s].term, m->shards[s].primary == a ? 2 : 1);
	ring_unref(m);
}

/* Power is gone everywhere, nobody was found dead: all restart, none is whole. */
static void test_plan_all_suspect(void **state)
{
	struct ring_map *m = map_of(3, 4, 3);
	struct ring_node n[3] = {node_of(0), node_of(1), node_of(2)};
	uint16_t last = at(m, 2);

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		n[i].incarnation = 2;
	assert_int_equal(plan_register(m, &n[0], false), 0);
	assert_int_equal(plan_register(m, &n[1], false), 0);
	/* the third is still taken for good */
	plan_down(m, last);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 3);
		assert_int_equal(m->shards[s].primary, last);
		assert_int_equal(__builtin_popcount(m->shards[s].suspect), 2);
	}
	assert_int_equal(plan_register(m, &n[2], false), 0);
	for (unsigned s = 0; s < 16; s++) {
		const struct ring_shard *sh = &m->shards[s];
		uint64_t term = sh->term;

		assert_int_equal(sh->suspect, 7);
		assert_true(m->nodes[sh->primary].up);
		/* it says that another is level: it serves, then */
		if (s % 2) {
			assert_int_equal(
				plan_member(m, (uint16_t)s, term, sh->member[1], 2, true), 0);
			assert_int_equal(sh->suspect, 4);
			assert_int_equal(sh->term, term);
			continue;
		}
		/* one cannot be brought level, as the log does not reach back: it goes */
		if (s % 4 == 2) {
			uint16_t other = sh->member[sh->member[2] == sh->primary ? 1 : 2];

			assert_int_equal(plan_member(m, (uint16_t)s, term, other, 2, false), 0);
			assert_int_equal(sh->nmembers, 2);
			assert_int_equal(sh->suspect, 3);
			assert_int_equal(sh->term, term + 1);
			/* nor can the primary, to where another one is */
			other = sh->member[1];
			assert_int_equal(
				plan_member(m, (uint16_t)s, term + 1, sh->primary, 2, false), 0);
			assert_int_equal(sh->nmembers, 1);
			assert_int_equal(sh->primary, other);
			assert_int_equal(
				plan_member(m, (uint16_t)s, term + 2, other, 2, false), -ESTALE);
			continue;
		}
		/* having compared all, it serves */
		assert_int_equal(plan_member(m, (uint16_t)s, term, sh->primary, 2, true), 0);
		assert_int_equal(sh->suspect, 0);
		assert_int_equal(sh->nmembers, 3);
		assert_int_equal(sh->term, term);
	}
	ring_unref(m);
}

/* The same, and the one that was taken for good never comes back: nothing that the others have is
 * lost, when a person says so. */
static void test_plan_all_suspect_but_one_that_never_returns(void **state)
{
	struct ring_map *m = map_of(3, 4, 3);
	struct ring_node n[2] = {node_of(0), node_of(1)};
	uint16_t last = at(m, 2);

	(void)state;
	n[0].incarnation = n[1].incarnation = 2;
	assert_int_equal(plan_register(m, &n[0], false), 0);
	assert_int_equal(plan_register(m, &n[1], false), 0);
	plan_down(m, last);
	assert_int_equal(plan_remove(m, last, false), -ENODATA);
	assert_int_equal(plan_remove(m, last, true), 0);
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 2);
		assert_int_equal(m->shards[s].suspect, 3);
		assert_true(m->shards[s].primary != RING_NONE);
	}
	ring_unref(m);
}

static void test_plan_drop_concerns_only_what_the_primary_leads(void **state)
{
	struct ring_map *m = map_of(3, 6, 3);
	uint16_t a = at(m, 0), b = at(m, 1);

	(void)state;
	plan_drop(m, a, b);
	for (unsigned s = 0; s < 64; s++) {
		const struct ring_shard *sh = &m->shards[s];

		assert_int_equal(ring_member(sh, b) < 0, sh->primary == a);
		assert_int_equal(sh->term, sh->primary == a ? 2 : 1);
	}
	plan_drop(m, a, a);
	assert_true(ring_map_valid(m));
	ring_unref(m);
}

static void test_plan_register_refuses(void **state)
{
	struct ring_map *m = map_of(2, 4, 1);
	struct ring_node n = node_of(5);

	(void)state;
	n.naddrs = 0;
	assert_int_equal(plan_register(m, &n, true), -EINVAL);
	n = node_of(5);
	memcpy(n.addr[0], m->nodes[0].addr[0], ENV_ADDR_MAX);
	assert_int_equal(plan_register(m, &n, true), -EADDRINUSE);
	m->nodes[0].up = false;
	assert_int_equal(plan_register(m, &n, true), 0);
	n = node_of(0);
	n.witness = true;
	n.weight = 0;
	assert_int_equal(plan_register(m, &n, true), -EINVAL); /* holds data */
	n = node_of(6);
	n.witness = true;
	assert_int_equal(plan_register(m, &n, true), -EINVAL); /* has weight */
	n.weight = 0;
	assert_int_equal(plan_register(m, &n, true), 0);
	assert_int_equal(plan_weight(m, at(m, 6), 5), -EINVAL);
	m->next_number = UINT32_MAX;
	n = node_of(7);
	assert_int_equal(plan_register(m, &n, true), -ENOSPC);
	ring_unref(m);
}

static void test_plan_somebody_must_hold_the_data(void **state)
{
	struct ring_map *m = map_of(2, 4, 1);
	uint16_t a = at(m, 0), b = at(m, 1);

	(void)state;
	assert_int_equal(plan_leave(m, a, true), 0);
	assert_int_equal(plan_leave(m, b, true), -EINVAL);
	assert_int_equal(plan_weight(m, b, 0), -EINVAL);
	m->nodes[b].up = false;
	assert_int_equal(plan_remove(m, b, true), -EINVAL);
	assert_int_equal(plan_leave(m, a, false), 0);
	assert_int_equal(plan_weight(m, b, 0), 0);
	assert_int_equal(plan_replicas(m, 0, 1), -EINVAL);
	assert_int_equal(plan_replicas(m, 8, 1), -EINVAL);
	assert_int_equal(plan_replicas(m, 3, 4), -EINVAL);
	assert_int_equal(plan_replicas(m, 3, 2), 0);
	assert_int_equal(plan_replicas(m, 1, 0), -EINVAL);
	assert_int_equal(plan_replicas(m, 2, 0), 0);
	ring_unref(m);
}

static void test_plan_fence_forgets_the_oldest(void **state)
{
	struct ring_map *m = map_of(1, 1, 1);

	(void)state;
	for (uint32_t s = RING_FENCED_MAX + 10; s > 10; s--)
		plan_fence(m, s);
	assert_int_equal(m->nfenced, RING_FENCED_MAX);
	plan_fence(m, 0);
	plan_fence(m, RING_SESSION_MAX + 1);
	plan_fence(m, 5);
	plan_fence(m, 20);
	assert_int_equal(m->nfenced, RING_FENCED_MAX);
	assert_true(ring_fenced(m, 11) && !ring_fenced(m, 5));
	plan_fence(m, RING_SESSION_MAX);
	assert_true(ring_fenced(m, RING_SESSION_MAX) && !ring_fenced(m, 11));
	assert_int_equal(m->nfenced, RING_FENCED_MAX);
	assert_true(ring_map_valid(m));
	ring_unref(m);
}

/* ---- placement kept ---- */

static void assert_places(const struct plan_cache *c, const struct ring_map *m, const bool *gone)
{
	struct ring_map *left = ring_draft(m);
	uint16_t want[RING_REPLICAS_MAX];
	const uint16_t *have;
	unsigned n;

	for (unsigned i = 0; i < m->nnodes; i++)
		left->nodes[i].leaving |= gone[i];
	assert_int_equal(c->pending, 0);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		assert_true(plan_places_of(c, s, &have, &n));
		assert_int_equal(n, ring_place(left, (uint16_t)s, want, m->replicas));
		assert_memory_equal(have, want, n * sizeof(*want));
	}
	ring_unref(left);
}

static void test_plan_places_follow_nodes_as_if_computed_anew(void **state)
{
	(void)state;
	for (unsigned seed = 0; seed < 150; seed++) {
		struct ring_map *m = map_of(2 + seed % 9, 6, 1 + seed % 5);
		struct plan_cache c = {0};
		bool gone[64] = {false};
		unsigned named = 20;

		srandom(seed);
		for (unsigned step = 0; step < 20; step++) {
			unsigned i = (unsigned)random() % m->nnodes;
			struct ring_node n = node_of(named);

			gone[i] = false;
			switch (random() % 6) {
			case 0:
				memset(gone, 0, sizeof(gone));
				named++;
				plan_register(m, &n, true);
				break;
			case 1:
				memset(gone, 0, sizeof(gone));
				plan_down(m, (uint16_t)i);
				plan_remove(m, (uint16_t)i, true);
				break;
			case 2:
				snprintf(m->nodes[i].zone, RING_ZONE_MAX, "z%ld", random() % 3);
				break;
			case 3:
				plan_weight(m, (uint16_t)i, (uint32_t)random() % 200);
				break;
			case 4:
				plan_leave(m, (uint16_t)i, random() % 2);
				break;
			default:
				gone[i] = random() % 2;
			}
			plan_places_follow(&c, m, gone, 0);
			assert_places(&c, m, gone);
		}
		plan_cache_fini(&c);
		ring_unref(m);
	}
}

static void test_plan_places_are_computed_bit_by_bit(void **state)
{
	struct ring_map *m = map_of(10, 8, 3);
	struct plan_limits l = {.learners_per_node = 1, .primaries = 1, .draws = 100};
	struct plan_cache c = {0};
	bool gone[10] = {false};
	unsigned steps = 0;

	(void)state;
	do {
		assert_int_equal(plan_step(m, &l, &c), 0);
		steps++;
	} while (c.pending);
	/* 10 draws for each of 64 groups */
	assert_int_equal(steps, 7);
	assert_places(&c, m, gone);
	plan_cache_fini(&c);
	ring_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan_one_node_becomes_three),
		cmocka_unit_test(test_plan_a_fourth_node_takes_a_quarter_and_no_more_is_copied),
		cmocka_unit_test(test_plan_a_leaving_node_is_drained_and_can_go),
		cmocka_unit_test(test_plan_a_renamed_node_keeps_its_data_until_placement_moved_it),
		cmocka_unit_test(test_plan_nothing_is_copied_for_a_node_that_is_down_for_a_moment),
		cmocka_unit_test(test_plan_a_surplus_copy_stays_for_one_that_is_down),
		cmocka_unit_test(test_plan_step_moves_no_more_primaries_than_it_may),
		cmocka_unit_test(test_plan_shards_with_the_fewest_copies_come_first),
		cmocka_unit_test(test_plan_as_many_copies_as_members_fit),
		cmocka_unit_test(test_plan_of_surplus_copies_those_of_leaving_nodes_go_first),
		cmocka_unit_test(test_plan_nobody_leaves_to_those_who_may_be_dead),
		cmocka_unit_test(test_plan_a_learner_that_dies_is_waited_for_no_more),
		cmocka_unit_test(test_plan_the_last_good_copy_stays),
		cmocka_unit_test(test_plan_of_those_that_die_together_any_may_return),
		cmocka_unit_test(test_plan_restarts),
		cmocka_unit_test(test_plan_a_primary_that_comes_back_leads_in_another_term),
		cmocka_unit_test(test_plan_all_suspect),
		cmocka_unit_test(test_plan_all_suspect_but_one_that_never_returns),
		cmocka_unit_test(test_plan_drop_concerns_only_what_the_primary_leads),
		cmocka_unit_test(test_plan_register_refuses),
		cmocka_unit_test(test_plan_somebody_must_hold_the_data),
		cmocka_unit_test(test_plan_a_draft_is_one_term_ahead),
		cmocka_unit_test(test_plan_fence_forgets_the_oldest),
		cmocka_unit_test(test_plan_places_follow_nodes_as_if_computed_anew),
		cmocka_unit_test(test_plan_places_are_computed_bit_by_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
