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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judge_takes_out_together_who_died_together),
		cmocka_unit_test(test_judge_makes_no_step_before_it_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
