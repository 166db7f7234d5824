/* The keeper's leader: who is dead, and what follows while it can't be known. */
#include "tests/unit/keeper_rig.h"

/* Boots @n nodes, which do not speak in one breath. */
static void boot_all(struct world *w, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		world_boot(w, i);
		world_run(w, 3 * WORLD_STEP);
	}
	world_await_leader(w);
	world_await_voters(w, n);
}

/* Those that primaries would say of all learners, as if they had copied what there is. */
static void level_all(struct world *w)
{
	for (unsigned round = 0; round < 40; round++) {
		struct ring_map *m = ring_ref(world_ring(w));

		for (unsigned s = 0; s < ring_nshards(m); s++) {
			const struct ring_shard *sh = &m->shards[s];
			const struct wire_ask_m q = {.what = ASK_MEMBER,
				.flags = ASK_F_ADD,
				.node = m->nodes[sh->learner[0]].id,
				.by = m->nodes[sh->primary].id,
				.incarnation = m->nodes[sh->learner[0]].incarnation,
				.shard = (uint16_t)s,
				.epoch = m->epoch,
				.term = sh->term};

			if (sh->nlearners)
				world_ask(w, &q);
		}
		ring_unref(m);
		world_run(w, ENV_SEC);
	}
	for (unsigned s = 0; s < ring_nshards(world_ring(w)); s++)
		assert_int_equal(world_ring(w)->shards[s].nlearners, 0);
}

static void copies(struct world *w, unsigned n)
{
	assert_int_equal(world_ask(w, &(struct wire_ask_m){.what = ASK_REPLICAS,
					      .replicas = (uint8_t)n,
					      .min_in_sync = 1}),
		WIRE_OK);
	level_all(w);
	for (unsigned s = 0; s < ring_nshards(world_ring(w)); s++)
		assert_int_equal(world_ring(w)->shards[s].nmembers, n);
}

/* Which of the rig's nodes is that? */
static unsigned who(const struct world *w, uint16_t node)
{
	struct orbit_id id;

	for (unsigned i = 0; i < w->n; i++) {
		id = world_id(i);
		if (!orbit_id_cmp(&id, &world_ring(w)->nodes[node].id))
			return i;
	}
	fail();
	return 0;
}

/* Two that die together stay in what only they have: either may come back. */
static void test_judge_takes_out_together_who_died_together(void **state)
{
	(void)state;
	for (unsigned wait = 0; wait < 10; wait++) {
		const struct ring_shard *sh;
		unsigned shard, a = 0, b = 0;
		struct world w;

		world_init(&w);
		boot_all(&w, 5);
		copies(&w, 2);
		for (shard = 0; shard < ring_nshards(world_ring(&w)); shard++) {
			sh = &world_ring(&w)->shards[shard];
			a = who(&w, sh->member[0]);
			b = who(&w, sh->member[1]);
			if ((int)a != world_leader(&w) && (int)b != world_leader(&w))
				break;
		}
		assert_true(shard < ring_nshards(world_ring(&w)));
		world_run(&w, wait * WORLD_STEP);
		w.m[a].cut = w.m[b].cut = true;
		world_run(&w, 3 * ENV_SEC);
		assert_false(world_node(&w, a)->up);
		assert_false(world_node(&w, b)->up);
		sh = &world_ring(&w)->shards[shard];
		assert_int_equal(sh->nmembers, 2);
		world_fini(&w);
	}
}

static unsigned learns(const struct world *w, unsigned i)
{
	const struct ring_map *m = world_ring(w);
	struct orbit_id id = world_id(i);
	unsigned n = 0;

	for (unsigned s = 0; s < ring_nshards(m); s++)
		n += ring_learner(&m->shards[s], ring_find(m, &id)) >= 0;
	return n;
}

/* A leader that has just come to be does not know yet who died with its predecessor: it builds upon
 * nobody whom it has not heard. */
static void test_judge_makes_no_step_before_it_knows(void **state)
{
	unsigned old, dead, had, looked = 0;
	struct world w;

	(void)state;
	world_init(&w);
	boot_all(&w, 5);
	old = (unsigned)world_leader(&w);
	dead = old == 1 ? 2 : 1;
	/* there is something left to do that the next one would do at once */
	w.m[old].k->cfg.learn_shards = 1;
	assert_int_equal(
		world_ask(&w, &(struct wire_ask_m){.what = ASK_REPLICAS, .replicas = 5}), WIRE_OK);
	had = learns(&w, dead);
	assert_in_range(had, 0, 3);
	w.m[old].cut = w.m[dead].cut = true;
	for (unsigned i = 0; i < 200; i++) {
		world_run(&w, WORLD_STEP);
		if (world_leader(&w) < 0)
			continue;
		assert_int_not_equal(world_leader(&w), old);
		assert_in_range(learns(&w, dead), 0, had);
		looked++;
	}
	assert_true(looked > 50);
	/* and then goes on */
	had = learns(&w, (unsigned)world_leader(&w));
	assert_true(had > 1);
	world_fini(&w);
}

/* ---- who may leave ---- */

/* A shard that @leads leads, of two members that don't lead the keeper. */
static const struct ring_shard *pair(struct world *w, unsigned *leads, unsigned *follows)
{
	for (unsigned s = 0; s < ring_nshards(world_ring(w)); s++) {
		const struct ring_shard *sh = &world_ring(w)->shards[s];

		*leads = who(w, sh->member[0]);
		*follows = who(w, sh->member[1]);
		if ((int)*leads != world_leader(w) && (int)*follows != world_leader(w))
			return sh;
	}
	fail();
	return NULL;
}

/* Is there a copy that is not cut off, of each shard? */
static void assert_copies(struct world *w)
{
	const struct ring_map *m = world_ring(w);

	for (unsigned s = 0; m && s < ring_nshards(m); s++) {
		bool any = false;

		for (unsigned i = 0; i < m->shards[s].nmembers; i++)
			any |= !w->m[who(w, m->shards[s].member[i])].cut;
		assert_true(any);
	}
}

/* Nobody has noticed yet that one of the copies is gone, when others are not wanted any more. */
static void test_judge_lets_no_surplus_copy_go_to_the_dead(void **state)
{
	for (unsigned wait = 0; wait < 10; wait++) {
		unsigned cut = 1;
		struct world w;

		(void)state;
		world_init(&w);
		boot_all(&w, 3);
		copies(&w, 3);
		cut += (int)cut == world_leader(&w);
		world_run(&w, wait * WORLD_STEP);
		w.m[cut].cut = true;
		assert_int_equal(world_ask(&w, &(struct wire_ask_m){.what = ASK_REPLICAS,
						       .replicas = 1,
						       .min_in_sync = 1}),
			WIRE_OK);
		for (unsigned i = 0; i < 200; i++) {
			world_run(&w, WORLD_STEP);
			assert_copies(&w);
		}
		/* nor does it take for ever */
		for (unsigned s = 0; s < ring_nshards(world_ring(&w)); s++)
			assert_int_equal(world_ring(&w)->shards[s].nmembers, 1);
		world_fini(&w);
	}
}

/* One of two copies is to leave on its own wish, or as the other says; the other was just lost. */
static void test_judge_lets_nobody_leave_to_the_dead(void **state)
{
	static const uint8_t what[] = {ASK_DOWN, ASK_MEMBER, ASK_SUSPECT};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(what); i++) {
		unsigned stays = 0, goes = 0;
		const struct ring_shard *sh;
		struct wire_ask_m q;
		struct said d = {0};
		struct ring_map *m;
		struct world w;
		bool dead = i % 2;

		world_init(&w);
		boot_all(&w, 5);
		copies(&w, 2);
		sh = pair(&w, &stays, &goes);
		m = world_ring(&w);
		q = (struct wire_ask_m){.what = what[i / 2],
			.node = m->nodes[sh->member[1]].id,
			.by = m->nodes[sh->member[0]].id,
			.incarnation = m->nodes[sh->member[1]].incarnation,
			.shard = (uint16_t)(sh - m->shards),
			.term = sh->term,
			.epoch = m->epoch};
		w.m[stays].cut = dead;
		keeper_ask(w.m[world_leader(&w)].k, &q, said_ask, &d);
		for (unsigned k = 0; k < 160; k++) {
			world_run(&w, WORLD_STEP);
			/* one that went for a moment only comes back */
			if (!dead && d.done)
				break;
			assert_copies(&w);
		}
		assert_true(d.done);
		m = world_ring(&w);
		sh = &m->shards[q.shard];
		if (dead) {
			assert_int_equal(sh->nmembers, 1);
			assert_int_equal(who(&w, sh->member[0]), goes);
		} else {
			assert_int_equal(d.status, WIRE_OK);
			assert_true(ring_member(sh, ring_find(m, &q.node)) < 0);
		}
		world_fini(&w);
	}
}

static void starts_anew(struct world *w, unsigned i, bool alive)
{
	const struct ring_node *n = world_node(w, i);
	struct wire_ask_m q = {.what = ASK_REGISTER,
		.node = world_id(i),
		.term = n->number,
		.incarnation = n->incarnation + 1,
		.weight = n->weight,
		.naddrs = 1};

	snprintf(q.addr[0], sizeof(q.addr[0]), "%s", n->addr[0]);
	assert_int_equal(world_ask(w, &q), WIRE_OK);
	q.what = ASK_ALIVE;
	if (alive)
		assert_int_equal(world_ask(w, &q), WIRE_OK);
}

/* Nobody has tried yet to reach the one that runs now. */
static void test_judge_drops_nobody_for_what_was_said_before_its_start(void **state)
{
	unsigned stays = 0, goes = 0;
	const struct ring_shard *sh;
	struct wire_ask_m q;
	struct said d = {0};
	struct world w;
	unsigned shard;

	(void)state;
	world_init(&w);
	boot_all(&w, 5);
	copies(&w, 2);
	sh = pair(&w, &stays, &goes);
	shard = (unsigned)(sh - world_ring(&w)->shards);
	w.m[stays].cut = w.m[goes].cut = true;
	starts_anew(&w, stays, true);
	q = (struct wire_ask_m){.what = ASK_SUSPECT, .node = world_id(goes), .by = world_id(stays)};
	keeper_ask(w.m[world_leader(&w)].k, &q, said_ask, &d);
	starts_anew(&w, goes, true);
	for (unsigned i = 0; i < 20 && !d.done; i++)
		world_run(&w, WORLD_STEP);
	assert_true(d.done);
	assert_int_equal(who(&w, world_ring(&w)->shards[shard].primary), stays);
	assert_int_equal(world_ring(&w)->shards[shard].nmembers, 2);
	world_fini(&w);
}

/* What a primary asked for a learner comes so late that it left and came back meanwhile. */
static void test_judge_takes_no_late_word_for_a_learner(void **state)
{
	const struct ring_map *m;
	struct wire_ask_m q;
	unsigned cut = 1, s;
	struct world w;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	cut += (int)cut == world_leader(&w);
	world_ask(&w, &(struct wire_ask_m){.what = ASK_REPLICAS, .replicas = 3, .min_in_sync = 1});
	world_run(&w, ENV_SEC);
	m = world_ring(&w);
	for (s = 0; s < ring_nshards(m); s++) {
		const struct ring_shard *sh = &m->shards[s];
		struct orbit_id id = world_id(cut);

		q = (struct wire_ask_m){.what = ASK_MEMBER,
			.flags = ASK_F_ADD,
			.node = id,
			.by = m->nodes[sh->primary].id,
			.incarnation = m->nodes[ring_find(m, &id)].incarnation,
			.shard = (uint16_t)s,
			.term = sh->term,
			.epoch = m->epoch};
		if (ring_learner(sh, ring_find(m, &id)) >= 0)
			break;
	}
	assert_true(s < ring_nshards(m));
	w.m[cut].cut = true;
	world_run(&w, 3 * ENV_SEC);
	assert_false(world_node(&w, cut)->up);
	w.m[cut].cut = false;
	world_run(&w, 2 * ENV_SEC);
	m = world_ring(&w);
	assert_true(ring_learner(&m->shards[s], ring_find(m, &q.node)) >= 0);
	assert_int_equal(m->shards[s].term, q.term);
	assert_int_equal(world_ask(&w, &q), WIRE_STALE);
	m = world_ring(&w);
	assert_true(ring_member(&m->shards[s], ring_find(m, &q.node)) < 0);
	q.epoch = m->epoch;
	assert_int_equal(world_ask(&w, &q), WIRE_OK);
	m = world_ring(&w);
	assert_true(ring_member(&m->shards[s], ring_find(m, &q.node)) >= 0);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge_takes_out_together_who_died_together),
		cmocka_unit_test(test_judge_makes_no_step_before_it_knows),
		cmocka_unit_test(test_judge_lets_no_surplus_copy_go_to_the_dead),
		cmocka_unit_test(test_judge_lets_nobody_leave_to_the_dead),
		cmocka_unit_test(test_judge_drops_nobody_for_what_was_said_before_its_start),
		cmocka_unit_test(test_judge_takes_no_late_word_for_a_learner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
