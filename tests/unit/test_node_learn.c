/* How a copy that is not level becomes level: from the log's tail, by the walk, under load, killed
 * and begun again. */
#include "dht/base/log.h"
#include "tests/unit/learn_rig.h"

static struct node_stats stats_of(struct world *w, unsigned i)
{
	struct node_stats s;

	node_stats(world_node(w, i), &s);
	return s;
}

/* Node @i becomes a member; then both copies are the same. */
static void join_and_compare(struct world *w, unsigned i)
{
	world_map(w, NODES(0, (uint16_t)i), NOBODY, 1);
	assert_int_equal(node_shard(world_node(w, i), WORLD_SHARD)->role, ROLE_BACKUP);
	assert_false(learn_partial(world_node(w, i), WORLD_SHARD));
	sim_run(w->r.s, ENV_SEC);
	assert_true(world_equal(w, 0, i));
	/* and they stay so */
	world_load(w, 50);
	sim_run(w->r.s, ENV_SEC);
	assert_true(world_equal(w, 0, i));
}

static void test_node_learn_walk(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_load(&w, 600);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	assert_true(stats_of(&w, 2).learn_walks > 0);
	assert_true(stats_of(&w, 2).learn_objects > 0);
	join_and_compare(&w, 2);
	assert_true(stats_of(&w, 2).learned > 0);
	world_fini(&w);
}

static void test_node_learn_tail(void **state)
{
	struct world w;
	struct node_stats s;

	(void)state;
	world_init(&w);
	world_load(&w, 100);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	join_and_compare(&w, 2);
	rig_crash(&w.r, 2, DISK_PROCESS);
	world_map(&w, NODES(0), NOBODY, 1);
	world_load(&w, 400);
	sim_run(w.r.s, 10 * ENV_SEC);
	rig_restart(&w.r, 2);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	s = stats_of(&w, 2);
	assert_int_equal(s.learn_walks, 0);
	assert_true(s.learn_tails > 0);
	join_and_compare(&w, 2);
	world_fini(&w);
}

/* An effect that only that copy has: as of a primary that was alone with it. */
struct stray {
	struct store_apply a;
	struct effect e;
	bool done;
};

static void stray_done(struct store_apply *a, int rc)
{
	assert_int_equal(rc, 0);
	container_of(a, struct stray, a)->done = true;
}

static void apply_stray(struct world *w, unsigned i, uint64_t term, unsigned k)
{
	struct stray s = {.a.done = stray_done};
	struct orbit_id id = world_id(k);
	uint8_t val[OBJECT_HEADER_LEN], bytes[5000];
	struct txn_object o = {.version = 7, .stream_end = 9000, .stream_bytes = 5000};
	struct key key;

	memset(bytes, 0xee, sizeof(bytes));
	object_encode(&o, false, val);
	key_id(&key, KEY_HEADER, WORLD_SHARD, &id);
	effect_init(&s.e);
	effect_section(&s.e, WORLD_SHARD, term, world_history(w, i).seq + 1);
	effect_put(&s.e, key.b, key.len, val, sizeof(val));
	effect_write(&s.e, &id, 4000, bytes, sizeof(bytes));
	s.a.effect = &s.e;
	assert_int_equal(store_apply(w->r.n[i].store, &s.a, STORE_NORMAL), 0);
	assert_true(sim_wait(w->r.s, &s.done, ENV_SEC));
	effect_fini(&s.e);
}

static void test_node_learn_diverged(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	world_load(&w, 100);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	join_and_compare(&w, 2);
	world_map(&w, NODES(0), NOBODY, 1);
	/* one that the others have otherwise, one that they do not have at all */
	apply_stray(&w, 2, 1000, 3);
	apply_stray(&w, 2, 1000, WORLD_OBJECTS + 1);
	world_load(&w, 50);
	assert_false(world_equal(&w, 0, 2));
	world_map(&w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	assert_true(stats_of(&w, 2).learn_walks > 0);
	join_and_compare(&w, 2);
	world_fini(&w);
}

static struct node_config slow(void)
{
	struct node_config cfg = node_config_default();

	cfg.learn_rate = 100000;
	cfg.learn_shards = 16;
	return cfg;
}

/* Lets it walk for a while. */
static void walk_on(struct world *w, unsigned i, uint64_t ns)
{
	for (unsigned ms = 0; ms < 5000; ms++) {
		struct learn *l = world_learner(w, i);

		if (l && l->state == LEARN_WALKING)
			break;
		sim_run(w->r.s, ENV_MS);
	}
	sim_run(w->r.s, ns);
	assert_int_equal(world_learner(w, i)->state, LEARN_WALKING);
}

static void killed_while_walking(enum disk_crash how)
{
	struct node_config cfg = slow();
	struct world w;

	world_init_with(&w, &cfg);
	world_load(&w, 600);
	world_map(&w, NODES(0), NODES(2), 0);
	for (unsigned i = 0; i < 3; i++) {
		walk_on(&w, 2, 300 * ENV_MS);
		rig_crash(&w.r, 2, how);
		world_map(&w, NODES(0), NOBODY, 0);
		world_load(&w, 20);
		rig_restart(&w.r, 2);
		world_map(&w, NODES(0), NOBODY, 0);
		/* it knows that it is a mixture */
		assert_true(learn_partial(world_node(&w, 2), WORLD_SHARD));
		world_map(&w, NODES(0), NODES(2), 0);
	}
	assert_true(world_wait_level(&w, 2, 60 * ENV_SEC));
	join_and_compare(&w, 2);
	world_fini(&w);
}

static void test_node_learn_killed(void **state)
{
	(void)state;
	killed_while_walking(DISK_PROCESS);
}

static void test_node_learn_power(void **state)
{
	(void)state;
	killed_while_walking(DISK_POWER);
}

static void test_node_learn_under_load(void **state)
{
	struct node_config cfg = slow();
	struct world w;

	(void)state;
	world_init_with(&w, &cfg);
	index_mem_faults(w.r.n[0].index)->miss = 50;
	index_mem_faults(w.r.n[2].index)->miss = 50;
	index_mem_faults(w.r.n[2].index)->stall = 50;
	world_load(&w, 800);
	world_map(&w, NODES(0), NODES(2), 0);
	walk_on(&w, 2, 100 * ENV_MS);
	for (unsigned i = 0; i < 2000 && world_learner(&w, 2)->state == LEARN_WALKING; i++)
		world_load(&w, 10);
	world_node(&w, 2)->cfg.learn_rate = 0;
	for (unsigned i = 0; i < 400 && !world_level(&w, 2); i++)
		world_load(&w, 10);
	assert_true(world_level(&w, 2));
	join_and_compare(&w, 2);
	world_fini(&w);
}

/* The primary loses what the learner has seen of it: the next one makes the learner walk again. */
static void test_node_learn_primary_lost(void **state)
{
	struct node_config cfg = slow();
	struct learn_mark *mark;
	struct world w;

	(void)state;
	world_init_with(&w, &cfg);
	world_load(&w, 100);
	world_map(&w, NODES(0), NODES(1), 0);
	assert_true(world_wait_level(&w, 1, 20 * ENV_SEC));
	join_and_compare(&w, 1);
	world_load(&w, 500);
	world_map(&w, NODES(0, 1), NODES(2), 0);
	walk_on(&w, 2, 100 * ENV_MS);
	mark = &world_node(&w, 2)->learn->marks[WORLD_SHARD];
	while (mark->copy == WIRE_COPY_WALKING)
		world_load(&w, 5);
	assert_int_equal(mark->copy, WIRE_COPY_AHEAD);
	/* as if that had been the first of effects that only node 0 had */
	mark->term++;
	rig_hangup(&w.k);
	rig_crash(&w.r, 0, DISK_PROCESS);
	world_map(&w, NODES(1), NODES(2), 1);
	sim_run(w.r.s, 3 * ENV_SEC);
	rig_connect(&w.r, &w.k, 1);
	assert_true(world_wait_level(&w, 2, 60 * ENV_SEC));
	assert_int_equal(stats_of(&w, 2).learn_walks, 2);
	world_map(&w, NODES(1, 2), NOBODY, 1);
	world_load(&w, 50);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 1, 2));
	world_fini(&w);
}

/* What it walks over is not committed, and the primary dies before anybody else has it: the copy
 * must not keep it. */
static void test_node_learn_uncommitted(void **state)
{
	struct node_config cfg = slow();
	struct learn_mark *mark;
	struct world w;

	(void)state;
	world_init_with(&w, &cfg);
	world_load(&w, 100);
	world_map(&w, NODES(0), NODES(1), 0);
	assert_true(world_wait_level(&w, 1, 60 * ENV_SEC));
	join_and_compare(&w, 1);
	world_load(&w, 500);
	world_map(&w, NODES(0, 1), NODES(2), 0);
	walk_on(&w, 2, 10 * ENV_MS);
	sim_cut(w.r.s, w.r.n[0].host, w.r.n[1].host, true);
	for (unsigned i = 0; i < 200; i++)
		world_op(&w);
	sim_run(w.r.s, 100 * ENV_MS);
	assert_true(world_history(&w, 0).seq > world_history(&w, 1).seq);
	world_node(&w, 2)->cfg.learn_rate = 0;
	mark = &world_node(&w, 2)->learn->marks[WORLD_SHARD];
	for (unsigned i = 0; i < 1000000 && mark->copy == WIRE_COPY_WALKING; i++)
		sim_run(w.r.s, 10000);
	/* it has bits of what node 1 lacks, and not yet the effects */
	assert_int_equal(mark->copy, WIRE_COPY_AHEAD);
	assert_true(mark->seq > world_history(&w, 1).seq);
	assert_true(world_history(&w, 2).seq <= world_history(&w, 1).seq);
	rig_hangup(&w.k);
	rig_crash(&w.r, 0, DISK_PROCESS);
	sim_heal_all(w.r.s);
	world_map(&w, NODES(1), NODES(2), 1);
	sim_run(w.r.s, 3 * ENV_SEC);
	rig_connect(&w.r, &w.k, 1);
	assert_true(world_wait_level(&w, 2, 60 * ENV_SEC));
	world_map(&w, NODES(1, 2), NOBODY, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 1, 2));
	world_fini(&w);
}

/* Until the learner has come so far, while others change things. */
static void until_state(struct world *w, unsigned i, enum learn_state state)
{
	struct learn *l;

	for (unsigned k = 0; k < 500000; k++) {
		l = world_learner(w, i);
		if (l && l->state >= state)
			return;
		if (k % 1000 == 0)
			world_op(w);
		sim_run(w->r.s, ENV_MS / 50);
	}
	fail_msg("it does not get there");
}

/* Power is lost, with nothing on disk but what was synced. */
static void lose_power(struct world *w, unsigned i)
{
	rig_crash(&w->r, i, DISK_LOSE);
	sim_host_start(w->r.n[i].host);
	rig_boot(&w->r, i);
}

/* When the learner says that it has all, no power loss takes it away. */
static void test_node_learn_says_what_is_on_its_disk(void **state)
{
	struct world w;
	uint64_t said;

	(void)state;
	world_init(&w);
	world_load(&w, 200);
	/* so that each step can be seen */
	sim_slow(w.r.s, w.r.n[0].host, w.r.n[2].host, 500 * ENV_MS);
	sim_slow(w.r.s, w.r.n[2].host, w.r.n[0].host, 500 * ENV_MS);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_int_equal(world_learner(&w, 2)->state, LEARN_ASKING);
	until_state(&w, 2, LEARN_SAYING);
	said = world_learner(&w, 2)->synced_at;
	assert_true(said > 0 && said == world_history(&w, 2).seq);
	lose_power(&w, 2);
	assert_true(world_history(&w, 2).seq >= said);
	world_fini(&w);
}

/* What it then has durably its source must not lose: nobody could tell who is right. */
static void test_node_learn_from_what_is_on_the_sources_disk(void **state)
{
	struct world w;
	uint64_t last;

	(void)state;
	world_init(&w);
	world_load(&w, 200);
	/* so that each step can be seen */
	sim_slow(w.r.s, w.r.n[0].host, w.r.n[2].host, 500 * ENV_MS);
	sim_slow(w.r.s, w.r.n[2].host, w.r.n[0].host, 500 * ENV_MS);
	world_map(&w, NODES(0), NODES(2), 0);
	assert_int_equal(world_learner(&w, 2)->state, LEARN_ASKING);
	until_state(&w, 2, LEARN_FILLING);
	last = world_learner(&w, 2)->last;
	assert_true(last > 0);
	rig_hangup(&w.k);
	lose_power(&w, 0);
	assert_true(world_history(&w, 0).seq >= last);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_learn_walk),
		cmocka_unit_test(test_node_learn_tail),
		cmocka_unit_test(test_node_learn_diverged),
		cmocka_unit_test(test_node_learn_killed),
		cmocka_unit_test(test_node_learn_power),
		cmocka_unit_test(test_node_learn_under_load),
		cmocka_unit_test(test_node_learn_primary_lost),
		cmocka_unit_test(test_node_learn_uncommitted),
		cmocka_unit_test(test_node_learn_says_what_is_on_its_disk),
		cmocka_unit_test(test_node_learn_from_what_is_on_the_sources_disk),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_INFO : LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
