/* Copies that come and go at random, under load: whoever is a member in the end has the same as the
 * others. SEED=n runs one seed, SEEDS=n as many. */
#include "dht/base/log.h"
#include "tests/unit/learn_rig.h"

#define ROUNDS 6

struct chaos {
	struct world w;
	uint16_t primary;
	unsigned walks, tails, partial, failovers;
};

static uint64_t below(struct chaos *c, uint64_t n)
{
	return sim_below(c->w.r.s, n);
}

static void connect(struct chaos *c, unsigned to)
{
	struct world *w = &c->w;

	rig_hangup(&w->k);
	c->primary = (uint16_t)to;
	rig_connect(&w->r, &w->k, to);
}

/* Until its primary serves. */
static void wait_serving(struct chaos *c)
{
	for (unsigned ms = 0; ms < 20000; ms++) {
		if (node_shard(world_node(&c->w, c->primary), WORLD_SHARD)->role == ROLE_SERVING)
			return;
		sim_run(c->w.r.s, ENV_MS);
	}
	fail_msg("node %u does not serve", c->primary);
}

static enum disk_crash some_crash(struct chaos *c)
{
	static const enum disk_crash all[] = {DISK_PROCESS, DISK_POWER, DISK_LOSE};

	return all[below(c, 3)];
}

static void faults(struct chaos *c)
{
	for (unsigned i = 0; i < WORLD_NODES; i++) {
		struct index_mem_faults *f = index_mem_faults(c->w.r.n[i].index);

		f->miss = below(c, 2) ? (unsigned)below(c, 100) : 0;
		f->stall = below(c, 2) ? (unsigned)below(c, 100) : 0;
	}
}

static void set_rate(struct chaos *c, unsigned i)
{
	static const uint64_t rates[] = {0, 20000, 100000, 100000000};

	world_node(&c->w, i)->cfg.learn_rate = rates[below(c, 4)];
}

static void count(struct chaos *c, unsigned i)
{
	struct node_stats s;

	node_stats(world_node(&c->w, i), &s);
	c->walks += s.learn_walks > 0;
	c->tails += s.learn_tails > 0;
}

/* The node was away, and learns while the other two go on. It may be killed on the way. */
static void learn_under_load(struct chaos *c, uint16_t a, uint16_t b, uint16_t learner)
{
	struct world *w = &c->w;
	unsigned kills = (unsigned)below(c, 3);

	set_rate(c, learner);
	world_map(w, NODES(a, b), NODES(learner), (unsigned)below(c, 2));
	wait_serving(c);
	while (kills--) {
		world_load(w, (unsigned)below(c, 20));
		sim_run(w->r.s, below(c, 800 * ENV_MS));
		c->partial += learn_partial(world_node(w, learner), WORLD_SHARD);
		count(c, learner);
		rig_crash(&w->r, learner, some_crash(c));
		world_map(w, NODES(a, b), NOBODY, 0);
		world_load(w, (unsigned)below(c, 30));
		rig_restart(&w->r, learner);
		set_rate(c, learner);
		world_map(w, NODES(a, b), NODES(learner), (unsigned)below(c, 2));
		wait_serving(c);
	}
	world_load(w, (unsigned)below(c, 40));
}

/* The primary is gone, perhaps with effects that nobody else had; it comes back later. */
static void fail_over(struct chaos *c, uint16_t a, uint16_t b, uint16_t learner)
{
	struct world *w = &c->w;
	unsigned n = (unsigned)below(c, 30);

	/* not waited for: some are lost with it */
	for (unsigned i = 0; i < n; i++)
		world_op(w);
	sim_run(w->r.s, below(c, 2 * ENV_MS));
	rig_hangup(&w->k);
	rig_crash(&w->r, a, some_crash(c));
	c->failovers++;
	c->primary = b;
	world_map(w, NODES(b), NODES(learner), 1);
	wait_serving(c);
	connect(c, b);
	world_load(w, (unsigned)below(c, 60));
	rig_restart(&w->r, a);
	set_rate(c, a);
	world_map(w, NODES(b), NODES(learner, a), 0);
	world_load(w, (unsigned)below(c, 40));
}

static void all_members(struct chaos *c)
{
	struct world *w = &c->w;
	const struct ring_shard *s = &w->r.map->shards[WORLD_SHARD];
	uint16_t members[4];
	unsigned n = s->nmembers;

	for (unsigned i = 0; i < WORLD_NODES; i++)
		world_node(w, i)->cfg.learn_rate = 0;
	memcpy(members, s->member, n * sizeof(members[0]));
	for (unsigned i = 0; i < s->nlearners; i++) {
		assert_true(world_wait_level(w, s->learner[i], 60 * ENV_SEC));
		count(c, s->learner[i]);
		members[n++] = s->learner[i];
	}
	members[n] = RING_NONE;
	world_map(w, members, NOBODY, 1);
	wait_serving(c);
	world_load(w, 20);
	sim_run(w->r.s, 2 * ENV_SEC);
	assert_int_equal(n, WORLD_NODES);
	for (unsigned i = 0; i < WORLD_NODES; i++) {
		assert_false(learn_partial(world_node(w, i), WORLD_SHARD));
		assert_true(world_equal(w, members[0], i));
	}
}

static void run(uint64_t seed, struct chaos *c)
{
	struct world *w = &c->w;
	struct node_config cfg = node_config_default();

	rig_seed = seed;
	rig_tail = seed % 2 ? 4 : 0;
	cfg.learn_shards = 16;
	world_init_with(w, &cfg);
	c->primary = 0;
	world_load(w, (unsigned)below(c, 500));
	world_map(w, NODES(0), NODES(1, 2), 0);
	all_members(c);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint16_t a = c->primary, b = (uint16_t)((a + 1 + below(c, 2)) % WORLD_NODES);
		uint16_t away = (uint16_t)(WORLD_NODES - a - b);

		faults(c);
		rig_crash(&w->r, away, some_crash(c));
		world_map(w, NODES(a, b), NOBODY, 1);
		wait_serving(c);
		world_load(w, (unsigned)below(c, below(c, 2) ? 600 : 40));
		rig_restart(&w->r, away);
		learn_under_load(c, a, b, away);
		if (below(c, 2))
			fail_over(c, a, b, away);
		all_members(c);
	}
	world_fini(w);
}

static void test_node_learn_random(void **state)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t seeds = one ? 1 : many ? strtoull(many, NULL, 10) : 6;
	struct chaos sum = {0};

	(void)state;
	for (uint64_t i = 1; i <= seeds; i++) {
		struct chaos *c = mem_zalloc(sizeof(*c));
		uint64_t seed = one ? strtoull(one, NULL, 10) : i;

		printf("seed %llu\n", (unsigned long long)seed);
		run(seed, c);
		sum.walks += c->walks;
		sum.tails += c->tails;
		sum.partial += c->partial;
		sum.failovers += c->failovers;
		free(c);
	}
	printf("walks %u tails %u killed_walking %u failovers %u\n", sum.walks, sum.tails,
		sum.partial, sum.failovers);
	assert_true(one || (sum.walks && sum.tails && sum.partial && sum.failovers));
}

/* A host that is killed takes the work of its threads with it, and what that holds is never freed:
 * as in a process that dies. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_node_learn_random)};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_INFO : LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
