/* What a node holds of shards that others have is deleted, and only then. */
#include "tests/unit/learn_rig.h"

static struct node_config quick(void)
{
	struct node_config cfg = node_config_default();

	cfg.erase_after = 2 * ENV_SEC;
	return cfg;
}

/* Pairs that the index has of the shard, of whatever class. */
static unsigned pairs(struct world *w, unsigned i)
{
	struct store *st = w->r.n[i].store;
	const void *key, *val;
	size_t klen, vlen;
	unsigned n = 0;

	store_blocking(st, true);
	for (unsigned c = 'A'; c <= 'Z'; c++) {
		struct store_iter *it;
		struct key from, to;

		key_class(&from, (enum key_class)c, WORLD_SHARD);
		to = from;
		key_after_prefix(&to);
		it = store_iter_new(st, from.b, from.len, to.b, to.len);
		while (store_iter_next(it, &key, &klen, &val, &vlen) == 1)
			n++;
		store_iter_free(it);
	}
	store_blocking(st, false);
	return n;
}

/* All three have it; node 2 is about not to be needed any more. */
static void three_copies(struct world *w)
{
	struct node_config cfg = quick();

	world_init_with(w, &cfg);
	world_load(w, 200);
	world_map(w, NODES(0), NODES(1, 2), 0);
	assert_true(world_wait_level(w, 1, 20 * ENV_SEC));
	assert_true(world_wait_level(w, 2, 20 * ENV_SEC));
	world_map(w, NODES(0, 1, 2), NOBODY, 1);
	world_load(w, 20);
	sim_run(w->r.s, ENV_SEC);
	assert_true(pairs(w, 2) > 0);
}

static uint64_t erased(struct world *w, unsigned i)
{
	struct node_stats s;

	node_stats(world_node(w, i), &s);
	return s.erased;
}

static void test_node_erase_what_others_have(void **state)
{
	struct world w;

	(void)state;
	three_copies(&w);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_true(pairs(&w, 2) > 0);
	world_map(&w, NODES(0, 1), NOBODY, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_true(pairs(&w, 2) > 0);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(pairs(&w, 2), 0);
	assert_true(erased(&w, 2) > 0);
	assert_int_equal(erased(&w, 0) + erased(&w, 1), 0);
	assert_true(world_equal(&w, 0, 1));
	/* and may be learned again */
	world_map(&w, NODES(0, 1), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	world_map(&w, NODES(0, 1, 2), NOBODY, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 0, 2));
	world_fini(&w);
}

static void test_node_erase_not_while_too_few(void **state)
{
	struct world w;

	(void)state;
	three_copies(&w);
	/* two are wanted */
	world_map(&w, NODES(0), NOBODY, 1);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_true(pairs(&w, 2) > 0);
	/* two, and one of them is down */
	rig_crash(&w.r, 1, DISK_PROCESS);
	world_map(&w, NODES(0, 1), NOBODY, 0);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_true(pairs(&w, 2) > 0);
	assert_int_equal(erased(&w, 2), 0);
	world_fini(&w);
}

/* The map may be an old one: as long as the members do not say so themselves nothing goes. */
static void test_node_erase_not_alone(void **state)
{
	struct world w;

	(void)state;
	three_copies(&w);
	world_map(&w, NODES(0, 1), NOBODY, 1);
	sim_cut(w.r.s, w.r.n[2].host, w.r.n[1].host, true);
	sim_run(w.r.s, 60 * ENV_SEC);
	assert_true(pairs(&w, 2) > 0);
	assert_int_equal(erased(&w, 2), 0);
	sim_heal_all(w.r.s);
	sim_run(w.r.s, 60 * ENV_SEC);
	assert_int_equal(pairs(&w, 2), 0);
	world_fini(&w);
}

/* What a walk that was broken off has left goes as well. */
static void test_node_erase_half_a_walk(void **state)
{
	struct node_config cfg = quick();
	struct world w;

	(void)state;
	cfg.learn_rate = 100000;
	world_init_with(&w, &cfg);
	world_load(&w, 100);
	world_map(&w, NODES(0), NODES(1), 0);
	assert_true(world_wait_level(&w, 1, 60 * ENV_SEC));
	world_map(&w, NODES(0, 1), NOBODY, 1);
	world_load(&w, 400);
	world_map(&w, NODES(0, 1), NODES(2), 0);
	while (!world_learner(&w, 2) || world_learner(&w, 2)->state != LEARN_WALKING)
		sim_run(w.r.s, ENV_MS);
	sim_run(w.r.s, 700 * ENV_MS);
	world_map(&w, NODES(0, 1), NOBODY, 1);
	assert_true(learn_partial(world_node(&w, 2), WORLD_SHARD));
	assert_true(pairs(&w, 2) > 0);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(pairs(&w, 2), 0);
	assert_false(learn_partial(world_node(&w, 2), WORLD_SHARD));
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_erase_what_others_have),
		cmocka_unit_test(test_node_erase_not_while_too_few),
		cmocka_unit_test(test_node_erase_not_alone),
		cmocka_unit_test(test_node_erase_half_a_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
