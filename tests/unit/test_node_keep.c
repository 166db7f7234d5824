/* Nodes and their keeper: who lives is not taken for dead, who stops stops. */
#include "tests/unit/node_rig.h"

static int leader_of(const struct rig *r)
{
	for (unsigned i = 0; i < r->nnodes; i++) {
		if (r->n[i].node && keeper_leads(r->n[i].node->keeper))
			return (int)i;
	}
	return -1;
}

static const struct ring_node *node_in(const struct ring_map *m, unsigned i)
{
	struct orbit_id id = rig_node_id(i);

	return &m->nodes[ring_find(m, &id)];
}

static unsigned voters(const struct ring_map *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->nnodes; i++)
		n += m->nodes[i].voter;
	return n;
}

/* The leader is silent at once, with what it was asked unanswered: that is not the silence of those
 * who asked. */
static void test_keep_survives_a_leader_that_hangs(void **state)
{
	(void)state;
	rig_voters = 3;
	for (unsigned round = 0; round < 8; round++) {
		struct rig r;
		int old;

		rig_init(&r, 4);
		for (unsigned i = 0; i < 100 && voters(node_ring(r.n[0].node)) < 3; i++)
			sim_run(r.s, 100 * ENV_MS);
		assert_int_equal(voters(node_ring(r.n[0].node)), 3);
		sim_run(r.s, ENV_SEC + round * 31 * ENV_MS);
		old = leader_of(&r);
		assert_true(old >= 0);
		sim_host_pause(r.n[old].host, 6 * ENV_SEC);
		for (unsigned t = 0; t < 500; t++) {
			sim_run(r.s, 10 * ENV_MS);
			for (unsigned i = 0; i < 4; i++) {
				const struct ring_map *m = node_ring(r.n[i].node);

				for (unsigned k = 0; k < 4 && (int)i != old; k++)
					assert_true((int)k == old || node_in(m, k)->up);
			}
		}
		sim_run(r.s, 3 * ENV_SEC);
		rig_fini(&r);
	}
	rig_voters = 0;
}

static void asked(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	(void)status;
	(void)epoch;
	(void)text;
	*(bool *)arg = true;
}

static void stopped(void *arg)
{
	*(bool *)arg = true;
}

/* A map that comes while a node stops is not its business any more. */
static void test_keep_stops_while_the_map_changes(void **state)
{
	(void)state;
	for (unsigned wait = 0; wait < 40; wait++) {
		struct wire_ask_m m = {.what = ASK_REPLICAS, .replicas = 2};
		bool answered = false, ended = false;
		struct rig r;

		rig_init(&r, 2);
		keeper_ask(r.n[0].node->keeper, &m, asked, &answered);
		sim_run(r.s, 20 * ENV_SEC);
		assert_true(answered);
		for (unsigned s = 0; s < ring_nshards(node_ring(r.n[0].node)); s++)
			assert_int_equal(node_ring(r.n[0].node)->shards[s].nmembers, 2);
		/* what the other one leads would be taken over */
		m.what = ASK_DOWN;
		m.node = rig_node_id(1);
		m.incarnation = r.n[1].node->incarnation;
		rig_crash(&r, 1, DISK_PROCESS);
		keeper_ask(r.n[0].node->keeper, &m, asked, &answered);
		sim_run(r.s, wait * 50 * ENV_MS / 1000);
		node_stop(r.n[0].node, stopped, &ended);
		sim_run(r.s, 2 * ENV_SEC);
		assert_true(ended);
		rig_fini(&r);
	}
}

static void test_keep_takes_no_map_while_it_stops(void **state)
{
	const struct ring_map *had;
	struct ring_map *d;
	bool ended = false;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	had = node_ring(r.n[0].node);
	d = ring_draft(had);
	node_stop(r.n[0].node, stopped, &ended);
	assert_int_equal(keep_adopt(r.n[0].node, d), -ESHUTDOWN);
	assert_ptr_equal(node_ring(r.n[0].node), had);
	ring_unref(d);
	sim_run(r.s, 2 * ENV_SEC);
	assert_true(ended);
	rig_fini(&r);
}

/* A node that died after it had told of a newer map keeps nobody from fetching it elsewhere. */
static void test_keep_fetches_elsewhere_what_the_dead_do_not_give(void **state)
{
	struct node_config cfg = node_config_default();
	struct ring_map *d, *e;
	struct node *n;
	struct rig r;

	(void)state;
	rig_init_by_hand(&r, 3, &cfg);
	for (unsigned i = 0; i < 3; i++)
		rig_give_map(&r, i, r.map);
	sim_run(r.s, ENV_SEC);
	n = r.n[0].node;
	d = ring_draft(node_ring(n));
	e = ring_draft(d);
	sim_host_pause(r.n[1].host, 10 * ENV_SEC);
	/* what this one has is newer: at once */
	route_epoch(n, 1, d->epoch);
	assert_int_equal(keep_adopt(r.n[2].node, e), 0);
	sim_run(r.s, 100 * ENV_MS);
	assert_int_equal(node_ring(n)->epoch, e->epoch);
	ring_unref(d);
	ring_unref(e);
	/* as new: once the other one has not answered */
	d = ring_draft(node_ring(n));
	route_epoch(n, 1, d->epoch);
	assert_int_equal(keep_adopt(r.n[2].node, d), 0);
	sim_run(r.s, 2500 * ENV_MS);
	assert_int_equal(node_ring(n)->epoch, d->epoch);
	ring_unref(d);
	rig_fini(&r);
}

/* Who is some epochs behind gets the differences, unless they weigh more than the map. */
static void test_keep_gives_differences_or_the_map(void **state)
{
	struct node_config cfg = node_config_default();
	struct buf b = {0};
	struct wire_map m;
	struct rig r;

	(void)state;
	rig_init_by_hand(&r, 1, &cfg);
	for (unsigned i = 0; i < 40; i++) {
		struct ring_map *d = ring_draft(i ? node_ring(r.n[0].node) : r.map);

		for (unsigned s = 0; s < ring_nshards(d) && i > 20; s++)
			d->shards[s].term++;
		rig_give_map(&r, 0, d);
		ring_unref(d);
		if (i != 20)
			continue;
		keep_put_map(r.n[0].node, node_ring(r.n[0].node)->epoch - 3, &b);
		assert_int_equal(wire_get_map(cur_of(b.data, b.len), &m), 0);
		assert_int_equal(m.form, WIRE_MAP_DIFFS);
		buf_reset(&b);
	}
	keep_put_map(r.n[0].node, node_ring(r.n[0].node)->epoch - 19, &b);
	assert_int_equal(wire_get_map(cur_of(b.data, b.len), &m), 0);
	assert_int_equal(m.form, WIRE_MAP_WHOLE);
	buf_fini(&b);
	rig_fini(&r);
}

/* A node that can reach the others, but not they it, does not come and go all the time. */
static void test_keep_stays_out_where_nobody_can_connect(void **state)
{
	struct node_config cfg = node_config_default();
	static const char *bad[] = {"n1:9"};
	struct rig r;
	uint64_t before;

	(void)state;
	rig_init(&r, 2);
	sim_run(r.s, 2 * ENV_SEC);
	rig_crash(&r, 1, DISK_PROCESS);
	r.cfg = cfg;
	r.cfg.addrs = bad;
	r.cfg.naddrs = 1;
	sim_host_start(r.n[1].host);
	rig_boot(&r, 1);
	sim_run(r.s, 2 * ENV_SEC);
	before = node_ring(r.n[0].node)->epoch;
	sim_run(r.s, 10 * ENV_SEC);
	assert_in_range(node_ring(r.n[0].node)->epoch - before, 0, 8);
	rig_fini(&r);
}

/* The map says of it, once it has registered, that it is suspect in what it holds. */
static bool comes_back_suspect(enum disk_crash how)
{
	struct wire_ask_m m = {.what = ASK_REPLICAS, .replicas = 2};
	unsigned held = 0, suspect = 0;
	const struct ring_map *map;
	bool done = false;
	struct rig r;

	rig_init(&r, 2);
	keeper_ask(r.n[0].node->keeper, &m, asked, &done);
	sim_run(r.s, 20 * ENV_SEC);
	/* nobody takes it for dead so soon */
	rig_crash(&r, 1, how);
	sim_host_start(r.n[1].host);
	rig_boot(&r, 1);
	for (unsigned i = 0; i < 20000; i++) {
		sim_run(r.s, ENV_MS / 10);
		map = node_ring(r.n[0].node);
		if (node_in(map, 1)->incarnation == store_info(r.n[1].store)->starts)
			break;
	}
	assert_int_equal(node_in(map, 1)->incarnation, store_info(r.n[1].store)->starts);
	for (unsigned s = 0; s < ring_nshards(map); s++) {
		struct orbit_id id = rig_node_id(1);
		int at = ring_member(&map->shards[s], ring_find(map, &id));

		held += at >= 0;
		suspect += at >= 0 && map->shards[s].suspect >> at & 1;
	}
	assert_int_equal(held, ring_nshards(map));
	assert_true(suspect == 0 || suspect == held);
	rig_fini(&r);
	return suspect > 0;
}

/* Only its store knows whether something may be missing, and only the node can say so. */
static void test_keep_tells_whether_its_store_is_whole(void **state)
{
	(void)state;
	assert_false(comes_back_suspect(DISK_PROCESS));
	assert_true(comes_back_suspect(DISK_LOSE));
}

/* All that a node knows of the others is a name that is none any more. */
static void test_keep_finds_those_that_go_by_another_name(void **state)
{
	struct wire_ask_m m = {.what = ASK_RENAME, .node = rig_node_id(0), .id2 = {{0x99}}};
	struct wire_ask_m empty = {.what = ASK_WEIGHT, .node = rig_node_id(1)};
	const struct ring_map *map;
	struct orbit_id id;
	bool done = false;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	/* so that nobody looks for it either */
	keeper_ask(r.n[0].node->keeper, &empty, asked, &done);
	sim_run(r.s, 20 * ENV_SEC);
	sim_cut(r.s, r.n[0].host, r.n[1].host, false);
	keeper_ask(r.n[0].node->keeper, &m, asked, &done);
	sim_run(r.s, 60 * ENV_SEC);
	assert_true(done);
	assert_false(node_in(node_ring(r.n[0].node), 1)->up);
	sim_heal_all(r.s);
	sim_run(r.s, 4 * ENV_SEC);
	map = node_ring(r.n[1].node);
	id = m.id2;
	assert_int_not_equal(ring_find(map, &id), RING_NONE);
	assert_true(node_in(map, 1)->up);
	rig_fini(&r);
}

/* The number of a shard that the node leads by its own map. */
static unsigned led_by(const struct rig *r, unsigned i)
{
	const struct ring_map *m = node_ring(r->n[i].node);
	struct orbit_id id = rig_node_id(i);
	unsigned s = 0;

	while (s < ring_nshards(m) && m->shards[s].primary != ring_find(m, &id))
		s++;
	assert_true(s < ring_nshards(m));
	return s;
}

/* Between the moment in which a log fails and the one in which its node stops nobody leaves to it
 * what it can not keep. */
static void test_keep_leaves_nothing_to_a_log_that_failed(void **state)
{
	struct wire_ask_m m = {.what = ASK_REPLICAS, .replicas = 2};
	struct rig_head h = {.session = 7, .number = 1};
	const uint8_t name[24] = {1};
	uint64_t slot[TXN_SLOTS] = {5};
	const struct ring_map *map;
	struct txn_build t;
	struct orbit_id id;
	struct rig_link k;
	bool done = false;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	keeper_ask(r.n[0].node->keeper, &m, asked, &done);
	sim_run(r.s, 20 * ENV_SEC);
	id = orbit_id_make((uint64_t)led_by(&r, 1) << (64 - RIG_BITS), name);
	rig_connect(&r, &k, 1);
	disk_mem_faults(r.n[1].disk)->write_fails = true;
	txn_init(&t);
	txn_create(&t, &id, 1, slot);
	rig_send_txn(&k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	for (unsigned i = 0; i < 1000 && !node_broken(r.n[1].node); i++)
		sim_run(r.s, ENV_MS / 10);
	assert_true(node_broken(r.n[1].node));
	m.replicas = 1;
	keeper_ask(r.n[0].node->keeper, &m, asked, &done);
	for (unsigned i = 0; i < 500; i++) {
		sim_run(r.s, ENV_MS);
		map = node_ring(r.n[0].node);
		id = rig_node_id(0);
		for (unsigned s = 0; s < ring_nshards(map); s++)
			assert_true(ring_member(&map->shards[s], ring_find(map, &id)) >= 0);
	}
	rig_hangup(&k);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_survives_a_leader_that_hangs),
		cmocka_unit_test(test_keep_takes_no_map_while_it_stops),
		cmocka_unit_test(test_keep_tells_whether_its_store_is_whole),
		cmocka_unit_test(test_keep_leaves_nothing_to_a_log_that_failed),
		cmocka_unit_test(test_keep_fetches_elsewhere_what_the_dead_do_not_give),
		cmocka_unit_test(test_keep_stops_while_the_map_changes),
		cmocka_unit_test(test_keep_gives_differences_or_the_map),
		cmocka_unit_test(test_keep_stays_out_where_nobody_can_connect),
		cmocka_unit_test(test_keep_finds_those_that_go_by_another_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
