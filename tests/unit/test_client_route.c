/* Which way requests go: seeds, addresses, maps that change, and peers that are not who they
 * should be. */
#include "tests/unit/test_client_env.h"

static struct world w;

static struct orbit_client *client_of(const char *seed)
{
	struct orbit_config cfg = orbit_config_default();

	cfg.seeds[cfg.nseeds++] = seed;
	return client_with(&w, &cfg);
}

static unsigned links_to(const struct fake *n)
{
	struct tlink *t;
	unsigned sum = 0;

	TAILQ_FOREACH (t, &w.links, at)
		sum += t->node == n && t->pub && t->up;
	return sum;
}

static void put_ok(struct orbit_client *c, unsigned node, uint64_t tag)
{
	struct result res = {0};

	put(c, id_on(&w, node), tag, NULL, &res);
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[node]->applied[tag], 1);
}

/* The map as it is, one epoch on; to be changed. */
static struct ring_map *next_map(void)
{
	struct buf bytes = {0};
	struct ring_map *m;

	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	m->epoch++;
	ring_unref(w.map);
	return w.map = m;
}

static void test_route_one_seed_leads_to_all_nodes(void **state)
{
	struct orbit_client *c;
	unsigned links = 0;

	(void)state;
	world_init(&w, 4, 1);
	c = client_of(w.node[2]->addr);
	for (unsigned i = 0; i < 4; i++)
		links += links_to(w.node[i]);
	assert_int_equal(links, 3); /* the others are not needed yet */
	for (unsigned i = 0; i < 4; i++)
		put_ok(c, i, i + 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(links_to(w.node[i]), 1);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_seed_by_another_name_is_the_same_node(void **state)
{
	struct orbit_config cfg = orbit_config_default();
	struct orbit_client *c;

	(void)state;
	world_init(&w, 2, 1);
	snprintf(w.node[0]->alias, sizeof(w.node[0]->alias), "localhost:7000");
	cfg.seeds[cfg.nseeds++] = w.node[0]->alias;
	cfg.seeds[cfg.nseeds++] = w.node[0]->addr;
	c = client_with(&w, &cfg);
	put_ok(c, 0, 1);
	put_ok(c, 1, 2);
	assert_int_equal(links_to(w.node[0]), 1);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_tries_all_addresses_of_a_node(void **state)
{
	struct orbit_client *c;
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	world_init(&w, 2, 1);
	w.map->nodes[1].naddrs = 2;
	snprintf(w.map->nodes[1].addr[1], ENV_ADDR_MAX, "%s", w.node[1]->addr);
	snprintf(w.map->nodes[1].addr[0], ENV_ADDR_MAX, "10.9.9.9:1");
	c = client_of(w.node[0]->addr);
	began = w.now;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 10 * MS);
	assert_int_equal(res.calls, 1);
	assert_true(res.at - began < MS); /* the second one at once */
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_another_node_at_the_address_is_not_believed(void **state)
{
	struct orbit_policy p = soft(1, SEC);
	struct orbit_client *c;
	struct result res = {0};

	(void)state;
	world_init(&w, 3, 1);
	w.node[2]->listening = false;
	c = client_of(w.node[0]->addr);
	fake_cut(w.node[1]);
	w.node[1]->id.b[0] ^= 0xff;
	w.node[1]->alone = true; /* no way around */
	w_for(&w, MS);
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, 900 * MS);
	assert_non_null(strstr(orbit_last_error(c), "another node answers there"));
	w_for(&w, 10 * SEC);
	assert_int_equal(res.calls, 1);
	assert_in_range(w.node[1]->connects, 2, 60);
	w.node[1]->id.b[0] ^= 0xff;
	w.node[1]->alone = false;
	w_for(&w, SEC);
	put_ok(c, 1, 2);
	client_gone(&w, c);
	world_fini(&w);
}

/* Whom it knew goes by another name, all of them: they tell it so. */
static void test_route_nodes_that_all_have_other_names_are_found(void **state)
{
	struct orbit_client *c;
	struct result res = {0};
	struct ring_map *m;

	(void)state;
	world_init(&w, 3, 1);
	c = client_of(w.node[0]->addr);
	put_ok(c, 1, 1);
	for (unsigned i = 0; i < 3; i++)
		fake_kill(w.node[i]);
	w_for(&w, MS);
	m = next_map();
	for (unsigned i = 0; i < 3; i++) {
		w.node[i]->id.b[31] ^= 0xff;
		m->nodes[i].id = w.node[i]->id;
		w.node[i]->listening = true;
	}
	put(c, id_on(&w, 1), 2, NULL, &res);
	w_for(&w, 3 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[2], 1);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_node_that_moved_is_found_by_a_newer_map(void **state)
{
	struct orbit_client *c;
	struct result res = {0};
	struct ring_map *m;

	(void)state;
	world_init(&w, 3, 1);
	c = client_of(w.node[0]->addr);
	put_ok(c, 1, 1);
	fake_kill(w.node[1]);
	w_for(&w, MS);
	put(c, id_on(&w, 1), 2, NULL, &res);
	w_for(&w, SEC);
	m = next_map();
	snprintf(w.node[1]->addr, sizeof(w.node[1]->addr), "10.0.0.77:7000");
	snprintf(m->nodes[1].addr[0], ENV_ADDR_MAX, "%s", w.node[1]->addr);
	w.node[1]->listening = true;
	w_for(&w, 10 * SEC); /* a stall asks the others for their map */
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_shard_without_a_primary_waits_for_a_map(void **state)
{
	struct orbit_client *c;
	struct result res = {0};
	struct ring_map *m;
	uint16_t shard;

	(void)state;
	world_init(&w, 3, 1);
	shard = shard_of_node(&w, 1, 0);
	w.map->shards[shard].primary = RING_NONE;
	c = client_of(w.node[0]->addr);
	put(c, id_in(&w, shard, 1), 1, NULL, &res);
	w_for(&w, SEC);
	assert_int_equal(res.calls, 0);
	assert_int_equal(c->table.n, 1);
	m = next_map();
	m->shards[shard].primary = m->shards[shard].member[0] = 1;
	w_for(&w, 5 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(w.node[1]->applied[1], 1);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_route_goes_around_through_a_node_that_does_it(void **state)
{
	struct orbit_client *c;
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	world_init(&w, 3, 1);
	w.map->keeper = 1;
	c = client_of(w.node[1]->addr);
	put_ok(c, 1, 1);
	snprintf(w.node[0]->addr, sizeof(w.node[0]->addr), "elsewhere"); /* not for us */
	fake_cut(w.node[0]);
	w.node[1]->deaf = true; /* will not forward */
	w_for(&w, MS);
	began = w.now;
	put(c, id_on(&w, 0), 2, NULL, &res);
	w_for(&w, 30 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_true(res.at - began < 16 * SEC);
	assert_int_equal(w.node[2]->got[WIRE_TXN], 1);
	w.node[1]->deaf = false;
	client_gone(&w, c);
	world_fini(&w);
}

/* ---- maps that must not be believed ---- */

static struct buf forged;
static uint64_t forged_epoch;

static bool forge(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_map m = {.epoch = forged_epoch,
		.form = WIRE_MAP_WHOLE,
		.map = forged.data,
		.map_len = forged.len};
	struct frame *r;

	(void)n;
	if (f->type != WIRE_MAP_GET)
		return false;
	r = fake_reply(f, WIRE_MAP);
	wire_put_map(&r->b, &m);
	fake_send(t, r);
	return true;
}

static void believes_nothing(void)
{
	struct orbit_client *c = client_of(w.node[0]->addr);
	const struct ring_map *before = orbit_ring(c);
	struct peer *p;

	w.node[0]->hook = forge;
	TAILQ_FOREACH (p, &c->peers, at)
		follow_ask(p);
	w_for(&w, 10 * MS);
	assert_ptr_equal(orbit_ring(c), before);
	w.node[0]->hook = NULL;
	w_for(&w, SEC);
	put_ok(c, 0, 1);
	client_gone(&w, c);
}

static void test_route_forged_maps_are_not_taken(void **state)
{
	struct ring_map *m;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		world_init(&w, 2, 1);
		m = next_map();
		forged_epoch = m->epoch;
		switch (i) {
		case 0: /* another filesystem's */
			m->fsid[0] ^= 1;
			break;
		case 1: /* an epoch that is not its own */
			forged_epoch += 7;
			break;
		case 2: /* an older one */
			forged_epoch = m->epoch = 1;
			break;
		}
		buf_fini(&forged);
		ring_encode(m, &forged);
		if (i == 3)
			forged.len /= 2;
		if (i == 4)
			forged.data[forged.len / 2] ^= 1;
		m->fsid[0] = 7;
		m->epoch = 1;
		believes_nothing();
		buf_fini(&forged);
		world_fini(&w);
	}
}

/* ---- cutting what was built ---- */

static void test_rebuild_gives_the_same_bytes(void **state)
{
	struct orbit_id a = orbit_id_hash("a", 1), b = orbit_id_hash("b", 1);
	uint64_t slot[TXN_SLOTS] = {[1] = 5, [15] = 6};
	uint8_t suffix[24] = {3};
	struct buf first = {0}, second = {0};
	struct txn_build t, u;

	(void)state;
	txn_init(&t);
	txn_init(&u);
	txn_exists(&t, &b);
	txn_absent(&t, &a);
	txn_slot_eq(&t, &a, 3, 4);
	txn_slot_ne(&t, &a, 4, 5);
	txn_map_eq(&t, &a, "k", 1, "v", 1);
	txn_map_absent(&t, &a, "l", 1);
	txn_map_present(&t, &b, "m", 1);
	txn_map_empty(&t, &b);
	txn_version_eq(&t, &b, 77);
	txn_no_hold(&t, &b);
	txn_get(&t, &a);
	txn_get_map(&t, &a, "k", 1);
	txn_range(&t, &a, "from", 4, true, 10, 1000, suffix);
	txn_range(&t, &a, "", 0, false, 10, 1000, NULL);
	txn_follow(&t, &a, "k", 1, suffix);
	txn_read(&t, &a, 1, 2);
	txn_ranges(&t, &a, 3, 4);
	txn_holds(&t, &b);
	txn_create(&t, &a, 0x8002, slot);
	txn_delete(&t, &b);
	txn_set(&t, &a, 1, 2);
	txn_add(&t, &a, 1, -2);
	txn_max(&t, &a, 1, 2);
	txn_min(&t, &a, 1, 2);
	txn_refer(&t, &a, 1, -1);
	txn_put(&t, &a, "k", 1, "", 0);
	txn_del(&t, &a, "k", 1);
	txn_write(&t, &a, 5, "bytes", 5);
	txn_punch(&t, &a, 5, UINT64_MAX);
	txn_hold(&t, &a);
	txn_unhold(&t, &a, 9);
	assert_int_equal(t.err, 0);
	assert_int_equal(txn_encode(&t, &first, NULL, NULL), 0);
	assert_int_equal(rebuild_txn(&u, first.data, first.len), 0);
	assert_int_equal(u.nops, t.nops);
	assert_int_equal(txn_encode(&u, &second, NULL, NULL), 0);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.data, second.data, first.len);
	assert_int_equal(rebuild_txn(&u, first.data, first.len - 1), -EBADMSG);
	buf_fini(&first);
	buf_fini(&second);
	txn_fini(&t);
	txn_fini(&u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_route_one_seed_leads_to_all_nodes),
		cmocka_unit_test(test_route_seed_by_another_name_is_the_same_node),
		cmocka_unit_test(test_route_tries_all_addresses_of_a_node),
		cmocka_unit_test(test_route_another_node_at_the_address_is_not_believed),
		cmocka_unit_test(test_route_nodes_that_all_have_other_names_are_found),
		cmocka_unit_test(test_route_node_that_moved_is_found_by_a_newer_map),
		cmocka_unit_test(test_route_shard_without_a_primary_waits_for_a_map),
		cmocka_unit_test(test_route_goes_around_through_a_node_that_does_it),
		cmocka_unit_test(test_route_forged_maps_are_not_taken),
		cmocka_unit_test(test_rebuild_gives_the_same_bytes),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_route", tests, NULL, NULL);
}
