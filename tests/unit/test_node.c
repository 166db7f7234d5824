/* A node as those who talk to it see it: greeting, routing, limits, status, sync, the map. */
#include "tests/unit/node_rig.h"

static void test_node_reads_and_writes(void **state)
{
	struct rig r;
	struct rig_link k;
	struct orbit_id id;
	struct txn_build t;
	struct txn_result res;
	struct wire_reply m;
	struct rig_head h = {.session = 1, .number = 2, .floor = 2};

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 42), WIRE_OK);
	assert_int_equal(rig_slot(&k, &id, 0), 42);
	txn_init(&t);
	txn_slot_eq(&t, &id, 0, 41);
	txn_put(&t, &id, "a", 1, "b", 1);
	m = rig_reply(&k, rig_send_txn(&k, WIRE_TXN, &h, &t));
	assert_int_equal(m.status, WIRE_COMPARE);
	assert_int_equal(m.failed, 0);
	assert_int_equal(m.neffects, 0);
	txn_fini(&t);
	txn_init(&t);
	txn_write(&t, &id, 5, "hello", 5);
	h.number = 3;
	m = rig_reply(&k, rig_send_txn(&k, WIRE_TXN, &h, &t));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(m.neffects, 1);
	assert_int_equal(wire_effect_at(&m, 0).shard, rig_shard(&r, &id));
	assert_int_equal(wire_effect_at(&m, 0).seq, 2);
	txn_fini(&t);
	txn_init(&t);
	txn_read(&t, &id, 0, 100);
	h.number = 4;
	m = rig_reply(&k, rig_send_txn(&k, WIRE_TXN, &h, &t));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	assert_int_equal(res.len, 10);
	assert_memory_equal(res.data, "\0\0\0\0\0hello", 10);
	txn_fini(&t);
	rig_hangup(&k);
	rig_fini(&r);
}

/* Reads and writes of one transaction, with the bytes on the disk only: the writes of others wait,
 * and the reads see what was before its own. */
static void test_node_reads_before_its_writes(void **state)
{
	struct rig r;
	struct rig_link k;
	struct orbit_id id;
	struct txn_build t;
	struct txn_result res;
	struct wire_reply m;
	struct rig_head h = {.session = 1, .number = 2};
	uint64_t a, b;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 0), WIRE_OK);
	txn_init(&t);
	txn_write(&t, &id, 0, "before", 6);
	assert_int_equal(rig_status(&k, rig_send_txn(&k, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	disk_mem_faults(r.n[0].disk)->miss = 1000;
	txn_init(&t);
	txn_read(&t, &id, 0, 6);
	txn_write(&t, &id, 0, "middle", 6);
	h.number = 3;
	a = rig_send_txn(&k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	txn_init(&t);
	txn_read(&t, &id, 0, 6);
	txn_write(&t, &id, 0, "behind", 6);
	h.number = 4;
	b = rig_send_txn(&k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	m = rig_reply(&k, a);
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	assert_memory_equal(res.data, "before", 6);
	m = rig_reply(&k, b);
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	assert_memory_equal(res.data, "middle", 6);
	rig_hangup(&k);
	rig_fini(&r);
}

/* Misses in the index make requests wait and run again. */
static void test_node_waits_for_what_is_not_in_memory(void **state)
{
	struct rig r;
	struct rig_link k;
	struct orbit_id id[8];

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	index_mem_faults(r.n[0].index)->miss = 300;
	index_mem_faults(r.n[0].index)->stall = 200;
	for (unsigned i = 0; i < 8; i++) {
		id[i] = rig_id(&r, 0, i);
		assert_int_equal(rig_create(&k, 1, i + 1, &id[i], i), WIRE_OK);
	}
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(rig_slot(&k, &id[i], 0), i);
	rig_hangup(&k);
	rig_fini(&r);
}

static uint16_t error_of(struct rig_link *k)
{
	struct frame *f = rig_wait(k, WIRE_ERROR, 0, ENV_SEC);
	struct wire_error m;

	assert_non_null(f);
	assert_int_equal(wire_get_error(frame_cur(f), &m), 0);
	return m.status;
}

static void send_hello(struct rig_link *k, struct wire_hello *h)
{
	struct frame *f = frame_new(WIRE_HELLO, 1, 96);

	wire_put_hello(&f->b, h);
	link_send(k->l, f);
}

static void no_greeting(struct link *l, void *arg)
{
	(void)l;
	((struct rig_link *)arg)->up = true;
}

static void dial_silently(struct rig *r, struct rig_link *k)
{
	static const struct link_events events = {no_greeting, rig_on_message, rig_on_down};

	memset(k, 0, sizeof(*k));
	k->r = r;
	assert_int_equal(env_connect(sim_env(r->client), r->n[0].addr, &events, k, &k->l), 0);
	sim_run(r->s, 20 * ENV_MS);
	assert_true(k->up);
}

static void test_node_refuses_strangers(void **state)
{
	struct wire_hello good = {
		.version = WIRE_VERSION, .version_min = WIRE_VERSION_MIN, .role = WIRE_ROLE_CLIENT};
	struct wire_hello h;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	/* something before HELLO */
	dial_silently(&r, &k);
	link_send(k.l, frame_new(WIRE_STATUS, 1, 0));
	assert_int_equal(error_of(&k), WIRE_BAD_REQUEST);
	sim_run(r.s, 2 * ENV_SEC);
	assert_null(k.l);
	rig_hangup(&k);
	/* another filesystem */
	dial_silently(&r, &k);
	h = good;
	h.fsid[3] = 77;
	send_hello(&k, &h);
	assert_int_equal(error_of(&k), WIRE_WRONG_FS);
	rig_hangup(&k);
	/* a version that is all ahead of ours */
	dial_silently(&r, &k);
	h = good;
	h.version = h.version_min = WIRE_VERSION + 1;
	send_hello(&k, &h);
	assert_int_equal(error_of(&k), WIRE_VERSION_BAD);
	rig_hangup(&k);
	dial_silently(&r, &k);
	h = good;
	h.features = 1;
	send_hello(&k, &h);
	assert_int_equal(error_of(&k), WIRE_VERSION_BAD);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_does_not_wait_for_hello_for_ever(void **state)
{
	struct rig_link silent, k;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	dial_silently(&r, &silent);
	rig_connect(&r, &k, 0);
	sim_run(r.s, 12 * ENV_SEC);
	assert_int_equal(error_of(&silent), WIRE_BAD_REQUEST);
	assert_int_not_equal(silent.down, 0);
	assert_int_equal(k.down, 0);
	rig_hangup(&silent);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_refuses_nonsense(void **state)
{
	struct rig_head h = {.session = 0, .number = 5};
	struct orbit_id id;
	struct rig_link k;
	struct frame *f;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	/* a write without a session */
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_BAD_REQUEST);
	/* a write that calls itself a read */
	h.session = 1;
	h.flags = WIRE_TXN_READS;
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_BAD_REQUEST);
	f = frame_new(WIRE_TXN, 1000, 16);
	buf_bytes(&f->b, "nonsense", 8);
	link_send(k.l, f);
	assert_int_equal(rig_status(&k, 1000), WIRE_BAD_REQUEST);
	/* a part whose shard does not take part */
	h = (struct rig_head){.session = 1, .number = 6, .nparticipants = 1};
	h.participants[0] = rig_shard(&r, &id) ^ 1;
	{
		struct txn_build t;

		txn_init(&t);
		txn_exists(&t, &id);
		assert_int_equal(
			rig_status(&k, rig_send_txn(&k, WIRE_PREPARE, &h, &t)), WIRE_BAD_REQUEST);
		txn_fini(&t);
	}
	/* what is no request ends the link */
	link_send(k.l, frame_new(WIRE_STATS, 1, 0));
	assert_int_equal(error_of(&k), WIRE_BAD_REQUEST);
	rig_hangup(&k);
	rig_fini(&r);
}

/* A link that sends without end while nothing can be executed is closed. */
static void test_node_bounds_what_one_link_holds(void **state)
{
	struct node_config cfg = node_config_default();
	uint8_t bulk[65536] = {1};
	struct orbit_id id;
	struct txn_build t;
	struct rig_link k;
	struct rig r;

	(void)state;
	cfg.queue_max = 1 << 20;
	rig_init_with(&r, 1, &cfg);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 0), WIRE_OK);
	index_mem_faults(r.n[0].index)->stall = 1000;
	for (unsigned i = 0; i < 64 && k.l; i++) {
		struct rig_head h = {.session = 1, .number = 2 + i};

		txn_init(&t);
		txn_write(&t, &id, 0, bulk, sizeof(bulk));
		rig_send_txn(&k, WIRE_TXN, &h, &t);
		txn_fini(&t);
	}
	assert_int_equal(error_of(&k), WIRE_RETRY);
	index_mem_faults(r.n[0].index)->stall = 0;
	rig_hangup(&k);
	/* others are served */
	rig_connect(&r, &k, 0);
	assert_int_equal(rig_slot(&k, &id, 0), 0);
	rig_hangup(&k);
	rig_fini(&r);
}

/* Short requests for much, while the disk is slow. */
static void test_node_bounds_what_reads_hold(void **state)
{
	struct node_config cfg = node_config_default();
	uint8_t *bulk = mem_zalloc(256 << 10);
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id id;
	struct txn_build t;
	struct rig_link k;
	struct rig r;

	(void)state;
	cfg.queue_max = 1 << 20;
	rig_init_with(&r, 1, &cfg);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 7), WIRE_OK);
	txn_init(&t);
	txn_write(&t, &id, 0, bulk, 256 << 10);
	assert_int_equal(rig_status(&k, rig_send_txn(&k, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	free(bulk);
	sim_run(r.s, ENV_SEC);
	disk_mem_faults(r.n[0].disk)->miss = 1000;
	sim_net(r.s)->job_min = sim_net(r.s)->job_max = 50 * ENV_MS;
	for (unsigned i = 0; i < 64 && k.l; i++) {
		h = (struct rig_head){.number = 1};
		txn_init(&t);
		txn_read(&t, &id, 0, 256 << 10);
		rig_send_txn(&k, WIRE_TXN, &h, &t);
		txn_fini(&t);
	}
	assert_int_equal(error_of(&k), WIRE_RETRY);
	rig_hangup(&k);
	sim_run(r.s, ENV_SEC);
	disk_mem_faults(r.n[0].disk)->miss = 0;
	/* and nothing goes on counting */
	for (unsigned i = 0; i < 8; i++) {
		rig_connect(&r, &k, 0);
		assert_int_equal(rig_slot(&k, &id, 0), 7);
		rig_hangup(&k);
	}
	rig_fini(&r);
}

/* While it reads, one of its shards goes to another node: who waits for the other one goes on. */
static void test_node_goes_on_when_a_gate_is_lost(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id id, other;
	struct txn_build t;
	struct ring_map *m;
	struct rig_link k;
	uint64_t a, b;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	other = rig_id(&r, 0, 1);
	txn_init(&t);
	txn_create(&t, &id, 1, (uint64_t[TXN_SLOTS]){0});
	txn_write(&t, &id, 0, "before", 6);
	assert_int_equal(rig_status(&k, rig_send_txn(&k, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	assert_int_equal(rig_create(&k, 1, 3, &other, 0), WIRE_OK);
	disk_mem_faults(r.n[0].disk)->miss = 1000;
	sim_net(r.s)->job_min = sim_net(r.s)->job_max = ENV_SEC;
	txn_init(&t);
	txn_read(&t, &id, 0, 6);
	txn_add(&t, &id, 0, 1);
	txn_add(&t, &other, 0, 1);
	h.number = 4;
	a = rig_send_txn(&k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	sim_run(r.s, 10 * ENV_MS);
	h.number = 5;
	b = rig_send_add(&k, &h, &other, 0, 1);
	sim_run(r.s, 10 * ENV_MS);
	assert_null(rig_got(&k, WIRE_REPLY, b));
	m = ring_draft(node_ring(r.n[0].node));
	m->shards[rig_shard(&r, &id)].primary = m->shards[rig_shard(&r, &id)].member[0] = 1;
	m->shards[rig_shard(&r, &id)].term++;
	rig_give_map(&r, 0, m);
	ring_unref(m);
	assert_int_equal(rig_status(&k, a), WIRE_WRONG_NODE);
	assert_null(rig_got(&k, WIRE_REPLY, b));
	assert_int_equal(rig_status(&k, b), WIRE_OK);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_forwards_one_hop(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id id, other;
	struct node_stats stats;
	struct txn_build t;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 1, 0);
	other = rig_id(&r, 2, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 7), WIRE_OK);
	assert_int_equal(rig_slot(&k, &id, 0), 7);
	node_stats(r.n[0].node, &stats);
	assert_int_equal(stats.forwarded, 2);
	assert_int_equal(stats.executed, 0);
	node_stats(r.n[1].node, &stats);
	assert_int_equal(stats.executed, 1);
	/* a resend over the other road gets the stored reply */
	assert_int_equal(rig_create(&k, 1, 1, &id, 7), WIRE_OK);
	node_stats(r.n[1].node, &stats);
	assert_int_equal(stats.executed, 1);
	assert_int_equal(stats.replayed, 1);
	/* it came through another node already */
	h.flags = WIRE_TXN_FORWARDED;
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_WRONG_NODE);
	/* two nodes would have to execute it */
	h.flags = 0;
	txn_init(&t);
	txn_exists(&t, &id);
	txn_absent(&t, &other);
	assert_int_equal(rig_status(&k, rig_send_txn(&k, WIRE_TXN, &h, &t)), WIRE_WRONG_NODE);
	txn_fini(&t);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_says_when_forwarding_is_impossible(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id id;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 1, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 7), WIRE_OK);
	rig_crash(&r, 1, DISK_PROCESS);
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_UNREACHABLE);
	sim_run(r.s, 2 * ENV_SEC); /* the back-off */
	sim_host_start(r.n[1].host);
	rig_boot(&r, 1);
	/* what stood in line when it turned out to be a new incarnation is not given to it */
	h.number = 3;
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_WRONG_NODE);
	rig_settle(&r);
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_OK);
	assert_int_equal(rig_slot(&k, &id, 0), 8);
	rig_hangup(&k);
	rig_fini(&r);
}

/* A node that is not whom the map says is not given anything. */
static void test_node_checks_who_it_forwards_to(void **state)
{
	const struct orbit_id other = {{0x99}};
	struct store_config scfg = store_config_default();
	struct node_config ncfg = node_config_default();
	struct store_index *index;
	struct disk *disk;
	struct orbit_id id;
	struct rig_link k;
	char why[256];
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 1, 0);
	rig_crash(&r, 1, DISK_PROCESS);
	/* another store is started at the address of the second node */
	disk = r.n[1].disk;
	index = r.n[1].index;
	r.n[1].disk = disk_mem_new();
	r.n[1].index = index_mem_new();
	sim_host_start(r.n[1].host);
	assert_int_equal(store_make_on(r.n[1].disk, rig_fsid, &other), 0);
	assert_int_equal(store_open_on(&r.n[1].store, sim_env(r.n[1].host), r.n[1].disk,
				 r.n[1].index, &scfg, why, sizeof(why)),
		0);
	assert_int_equal(node_new(&r.n[1].node, sim_env(r.n[1].host), r.n[1].store, &ncfg), 0);
	assert_int_equal(node_listen(r.n[1].node, r.n[1].addr, NULL), 0);
	sim_run(r.s, ENV_SEC);
	assert_int_equal(rig_create(&k, 1, 1, &id, 7), WIRE_UNREACHABLE);
	rig_hangup(&k);
	rig_fini(&r);
	index_free(index);
	disk_free(disk);
}

static struct wire_map rig_get_map(struct rig_link *k, uint64_t epoch)
{
	struct frame *f = frame_new(WIRE_MAP_GET, k->next++, 8);
	uint64_t id = f->id;
	struct wire_map m;

	wire_put_map_get(&f->b, epoch);
	link_send(k->l, f);
	f = rig_wait(k, WIRE_MAP, id, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_map(frame_cur(f), &m), 0);
	return m;
}

static uint64_t rig_ask(struct rig_link *k, const struct wire_ask_m *m)
{
	struct frame *f = frame_new(WIRE_ASK, k->next++, 256);
	uint64_t id = f->id;

	wire_put_ask(&f->b, m);
	link_send(k->l, f);
	return id;
}

static void test_node_gives_the_map_whole_and_as_differences(void **state)
{
	struct wire_ask_m ask = {.what = ASK_WEIGHT, .node = rig_node_id(0), .weight = 100};
	struct ring_map *from, *to;
	struct wire_map m;
	struct rig_link k;
	struct cur diffs;
	const void *diff;
	uint64_t epoch;
	struct rig r;
	size_t len;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 1);
	epoch = node_ring(r.n[1].node)->epoch;
	m = rig_get_map(&k, 0);
	assert_int_equal(m.epoch, epoch);
	assert_int_equal(m.form, WIRE_MAP_WHOLE);
	assert_int_equal(ring_decode(m.map, m.map_len, &from), 0);
	assert_int_equal(from->nnodes, 2);
	assert_int_equal(rig_get_map(&k, epoch).form, WIRE_MAP_NONE);
	/* a question to one that does not lead is passed on, and every node hears of the change */
	assert_int_equal(rig_status(&k, rig_ask(&k, &ask)), WIRE_OK);
	ask.weight = 101;
	assert_int_equal(rig_status(&k, rig_ask(&k, &ask)), WIRE_OK);
	sim_run(r.s, 100 * ENV_MS);
	assert_int_equal(node_ring(r.n[0].node)->epoch, epoch + 2);
	assert_int_equal(node_ring(r.n[1].node)->epoch, epoch + 2);
	/* so does whoever is connected */
	assert_non_null(rig_got(&k, WIRE_EPOCH, 0));
	m = rig_get_map(&k, epoch);
	assert_int_equal(m.form, WIRE_MAP_DIFFS);
	diffs = cur_of(m.map, m.map_len);
	while (diffs.left) {
		diff = cur_blob(&diffs, 1 << 20, &len);
		assert_int_equal(ring_patch(from, diff, len, &to), 0);
		ring_unref(from);
		from = to;
	}
	assert_int_equal(from->epoch, epoch + 2);
	assert_int_equal(from->nodes[0].weight, 101);
	ring_unref(from);
	/* refused, with a reason */
	ask.what = ASK_REMOVE;
	assert_int_equal(rig_status(&k, rig_ask(&k, &ask)), WIRE_BUSY);
	ask.node = rig_node_id(9);
	assert_int_equal(rig_status(&k, rig_ask(&k, &ask)), WIRE_STALE);
	/* and it is durable */
	rig_crash(&r, 0, DISK_LOSE);
	rig_restart(&r, 0);
	assert_int_equal(node_ring(r.n[0].node)->nodes[0].weight, 101);
	rig_hangup(&k);
	rig_fini(&r);
}

static uint16_t sync_effects(struct rig_link *k, const struct wire_effect *e, unsigned n)
{
	struct frame *f = frame_new(WIRE_SYNC, k->next++, 64);
	uint64_t id = f->id;

	wire_put_sync(&f->b, 1, e, n);
	link_send(k->l, f);
	return rig_status(k, id);
}

static struct wire_effect add_effect(struct rig_link *k, uint64_t number, const struct orbit_id *id)
{
	struct rig_head h = {.session = 1, .number = number, .floor = number};
	struct wire_reply m = rig_reply(k, rig_send_add(k, &h, id, 0, 1));

	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(m.neffects, 1);
	return wire_effect_at(&m, 0);
}

static void test_node_sync_tells_what_is_lost(void **state)
{
	struct wire_effect safe, lost, wrong;
	struct orbit_id id;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 0), WIRE_OK);
	safe = add_effect(&k, 2, &id);
	assert_int_equal(sync_effects(&k, &safe, 1), WIRE_OK);
	wrong = safe;
	wrong.seq += 10;
	assert_int_equal(sync_effects(&k, &wrong, 1), WIRE_LOST);
	wrong = safe;
	{
		struct orbit_id there = rig_id(&r, 1, 0);

		wrong.shard = rig_shard(&r, &there);
	}
	assert_int_equal(sync_effects(&k, &wrong, 1), WIRE_WRONG_NODE);
	lost = add_effect(&k, 3, &id);
	assert_int_equal(lost.seq, safe.seq + 1);
	rig_hangup(&k);
	rig_crash(&r, 0, DISK_LOSE);
	rig_restart(&r, 0);
	rig_connect(&r, &k, 0);
	assert_int_equal(rig_slot(&k, &id, 0), 1);
	assert_int_equal(sync_effects(&k, &safe, 1), WIRE_OK);
	assert_int_equal(sync_effects(&k, &lost, 1), WIRE_LOST);
	/* the number comes again, but in a new term: still lost */
	wrong = add_effect(&k, 4, &id);
	assert_true(wrong.seq >= lost.seq);
	assert_true(wrong.term > lost.term);
	assert_int_equal(sync_effects(&k, &lost, 1), WIRE_LOST);
	assert_int_equal(sync_effects(&k, &wrong, 1), WIRE_OK);
	assert_int_equal(sync_effects(&k, &safe, 1), WIRE_OK);
	rig_hangup(&k);
	rig_fini(&r);
}

/* A term whose very first effect was lost is not given again. */
static void test_node_sync_tells_of_a_lost_term(void **state)
{
	struct wire_effect lost[3], now;
	struct orbit_id id;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 0), WIRE_OK);
	now = add_effect(&k, 2, &id);
	assert_int_equal(sync_effects(&k, &now, 1), WIRE_OK);
	for (unsigned i = 0; i < 3; i++) {
		lost[i] = add_effect(&k, 3, &id);
		rig_hangup(&k);
		rig_crash(&r, 0, DISK_LOSE);
		rig_restart(&r, 0);
		rig_connect(&r, &k, 0);
	}
	now = add_effect(&k, 3, &id);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(lost[i].term < now.term);
		assert_int_equal(sync_effects(&k, &lost[i], 1), WIRE_LOST);
	}
	assert_int_equal(sync_effects(&k, &now, 1), WIRE_OK);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_sync_survives_a_killed_process(void **state)
{
	struct wire_effect e, next;
	struct orbit_id id;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 0), WIRE_OK);
	e = add_effect(&k, 2, &id);
	rig_hangup(&k);
	rig_crash(&r, 0, DISK_PROCESS);
	rig_restart(&r, 0);
	rig_connect(&r, &k, 0);
	assert_int_equal(sync_effects(&k, &e, 1), WIRE_OK);
	next = add_effect(&k, 3, &id);
	assert_true(next.term > e.term);
	assert_int_equal(next.seq, e.seq + 1);
	assert_int_equal(sync_effects(&k, &e, 1), WIRE_OK);
	rig_hangup(&k);
	rig_fini(&r);
}

/* No answer leaves before the log has what it tells of. */
static void test_node_answers_after_the_log(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	uint8_t *bulk = mem_zalloc(1 << 20);
	struct orbit_id id;
	struct txn_build t;
	struct rig_link k;
	uint64_t add, get;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 5), WIRE_OK);
	disk_mem_faults(r.n[0].disk)->write_fails = true;
	/* both arrive before the log is written: what is large is written by a worker */
	sim_net(r.s)->job_min = sim_net(r.s)->job_max = 50 * ENV_MS;
	txn_init(&t);
	txn_add(&t, &id, 0, 1);
	txn_write(&t, &id, 0, bulk, 1 << 20);
	add = rig_send_txn(&k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	free(bulk);
	get = rig_send_get(&k, &id);
	sim_run(r.s, 40 * ENV_MS);
	assert_null(rig_got(&k, WIRE_REPLY, add));
	assert_null(rig_got(&k, WIRE_REPLY, get));
	assert_int_not_equal(rig_status(&k, add), WIRE_OK);
	/* the read was evaluated behind it, and saw what never reached the log */
	assert_int_not_equal(rig_status(&k, get), WIRE_OK);
	/* from then on: no changes, but reads */
	h.number = 3;
	assert_int_equal(rig_status(&k, rig_send_add(&k, &h, &id, 0, 1)), WIRE_READ_ONLY);
	assert_int_equal(rig_reply(&k, rig_send_get(&k, &id)).status, WIRE_OK);
	rig_hangup(&k);
	rig_fini(&r);
}

static void count_stat(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	unsigned *seen = arg;

	if (nlen == 7 && !memcmp(name, "node.id", 7))
		assert_int_equal(tlen, 64);
	if (nlen == 13 && !memcmp(name, "node.executed", 13)) {
		assert_int_equal(tlen, 1);
		assert_int_equal(text[0], '1');
		++*seen;
	}
}

static void test_node_status_and_list(void **state)
{
	struct wire_list q = {.epoch = 1, .class = KEY_HEADER, .max = 10, .values = 1};
	struct orbit_id id;
	struct wire_reply m;
	unsigned seen = 0;
	struct rig_link k;
	struct frame *f;
	const void *key;
	struct cur c;
	struct rig r;
	size_t len;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 5), WIRE_OK);
	link_send(k.l, frame_new(WIRE_STATUS, 700, 0));
	f = rig_wait(&k, WIRE_STATS, 700, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_stats(frame_cur(f), count_stat, &seen), 0);
	assert_int_equal(seen, 1);
	q.shard = rig_shard(&r, &id);
	f = frame_new(WIRE_LIST, 701, 64);
	wire_put_list(&f->b, &q);
	link_send(k.l, f);
	m = rig_reply(&k, 701);
	assert_int_equal(m.status, WIRE_OK);
	c = cur_of(m.results, m.results_len);
	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_u32(&c), 1);
	key = cur_blob(&c, 1024, &len);
	assert_int_equal(len, ORBIT_ID_LEN);
	assert_memory_equal(key, id.b, len);
	/* behind it there is nothing */
	q.after = id.b;
	q.after_len = ORBIT_ID_LEN;
	f = frame_new(WIRE_LIST, 702, 64);
	wire_put_list(&f->b, &q);
	link_send(k.l, f);
	m = rig_reply(&k, 702);
	c = cur_of(m.results, m.results_len);
	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_u32(&c), 0);
	id = rig_id(&r, 1, 0);
	q.shard = rig_shard(&r, &id);
	f = frame_new(WIRE_LIST, 703, 64);
	wire_put_list(&f->b, &q);
	link_send(k.l, f);
	assert_int_equal(rig_status(&k, 703), WIRE_WRONG_NODE);
	rig_hangup(&k);
	rig_fini(&r);
}

static void flag_cb(void *arg)
{
	*(bool *)arg = true;
}

static void test_node_stops_cleanly(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id id;
	bool stopped = false;
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	assert_int_equal(rig_create(&k, 1, 1, &id, 5), WIRE_OK);
	rig_send_add(&k, &h, &id, 0, 1);
	sim_run(r.s, ENV_MS);
	node_stop(r.n[0].node, flag_cb, &stopped);
	assert_false(stopped);
	assert_true(sim_wait(r.s, &stopped, ENV_SEC));
	sim_run(r.s, ENV_SEC);
	assert_null(k.l);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_node_keeps_sessions(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {1, 2, 3}};
	unsigned keeper, other;
	struct wire_session s;
	struct rig_link k;
	struct frame *f;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	keeper = r.map->keeper;
	other = 1 - keeper;
	rig_connect(&r, &k, keeper);
	f = frame_new(WIRE_SESSION_OPEN, 800, 32);
	wire_put_session_open(&f->b, &m);
	link_send(k.l, f);
	f = rig_wait(&k, WIRE_SESSION, 800, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_session(frame_cur(f), &s), 0);
	assert_int_equal(s.status, WIRE_OK);
	assert_int_equal(s.session, 1);
	assert_int_equal(s.timeout_ms, KEEPER_SESSION_TIMEOUT / ENV_MS);
	rig_hangup(&k);
	rig_connect(&r, &k, other);
	f = frame_new(WIRE_SESSION_OPEN, 801, 32);
	wire_put_session_open(&f->b, &m);
	link_send(k.l, f);
	f = rig_wait(&k, WIRE_SESSION, 801, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_session(frame_cur(f), &s), 0);
	/* it was passed on, and is the same by its nonce */
	assert_int_equal(s.status, WIRE_OK);
	assert_int_equal(s.session, 1);
	rig_hangup(&k);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_reads_and_writes),
		cmocka_unit_test(test_node_reads_before_its_writes),
		cmocka_unit_test(test_node_waits_for_what_is_not_in_memory),
		cmocka_unit_test(test_node_refuses_strangers),
		cmocka_unit_test(test_node_does_not_wait_for_hello_for_ever),
		cmocka_unit_test(test_node_refuses_nonsense),
		cmocka_unit_test(test_node_bounds_what_one_link_holds),
		cmocka_unit_test(test_node_bounds_what_reads_hold),
		cmocka_unit_test(test_node_goes_on_when_a_gate_is_lost),
		cmocka_unit_test(test_node_forwards_one_hop),
		cmocka_unit_test(test_node_says_when_forwarding_is_impossible),
		cmocka_unit_test(test_node_checks_who_it_forwards_to),
		cmocka_unit_test(test_node_gives_the_map_whole_and_as_differences),
		cmocka_unit_test(test_node_sync_tells_what_is_lost),
		cmocka_unit_test(test_node_sync_tells_of_a_lost_term),
		cmocka_unit_test(test_node_sync_survives_a_killed_process),
		cmocka_unit_test(test_node_answers_after_the_log),
		cmocka_unit_test(test_node_status_and_list),
		cmocka_unit_test(test_node_stops_cleanly),
		cmocka_unit_test(test_node_keeps_sessions),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
