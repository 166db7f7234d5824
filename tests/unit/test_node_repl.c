/*
 * Three copies of everything on three nodes whose maps the tests give them: what is acknowledged,
 * what survives, who may answer.
 */
#include "dht/node/repl_int.h"
#include "dht/wire/wire_repl.h"
#include "dht/wire/wire_watch.h"
#include "tests/unit/node_rig.h"

#define NODES 3

struct trio {
	struct rig r;
	struct rig_link k[NODES];
	struct orbit_id id; /* an object that node 0 leads */
	uint64_t number;
};

static void boot(struct trio *t, unsigned i)
{
	struct rig_node *n = &t->r.n[i];
	struct store_config cfg = store_config_default();
	char why[256];

	cfg.segment_size = 1 << 20;
	cfg.index_buffer = 1 << 20;
	cfg.cache_size = 1 << 20;
	cfg.reserve = 64 << 10;
	assert_int_equal(store_open_on(&n->store, sim_env(n->host), n->disk, n->index, &cfg, why,
				 sizeof(why)),
		0);
	assert_int_equal(node_new(&n->node, sim_env(n->host), n->store, &t->r.cfg), 0);
	assert_int_equal(node_listen(n->node, n->addr, NULL), 0);
}

/* The node has the map at once, if it runs. */
static void give(struct trio *t, unsigned i)
{
	if (t->r.n[i].node)
		rig_give_map(&t->r, i, t->r.map);
}

static void give_all(struct trio *t)
{
	for (unsigned i = 0; i < NODES; i++)
		give(t, i);
	sim_run(t->r.s, 10 * ENV_MS);
}

/* A new map: all shards have these members, the first leads. */
static void members(struct trio *t, unsigned n, const uint16_t *member)
{
	struct ring_map *m = ring_draft(t->r.map);

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *rs = &m->shards[s];

		rs->term++;
		rs->primary = member[0];
		rs->nmembers = (uint8_t)n;
		rs->nlearners = 0;
		memcpy(rs->member, member, n * sizeof(*member));
	}
	for (unsigned i = 0; i < NODES; i++) {
		if (t->r.n[i].store)
			m->nodes[i].incarnation = store_info(t->r.n[i].store)->starts;
	}
	ring_unref(t->r.map);
	t->r.map = m;
}

#define MEMBERS(t, ...)                                                                            \
	do {                                                                                       \
		const uint16_t m_[] = {__VA_ARGS__};                                               \
		members(t, ARRAY_LEN(m_), m_);                                                     \
	} while (0)

static void trio_init(struct trio *t)
{
	struct ring_node nodes[NODES] = {0};

	memset(t, 0, sizeof(*t));
	t->r.s = sim_new(7);
	t->r.cfg = node_config_default();
	t->r.nnodes = NODES;
	for (unsigned i = 0; i < NODES; i++) {
		struct rig_node *n = &t->r.n[i];
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		snprintf(n->addr, sizeof(n->addr), "n%u:1", i);
		n->host = sim_host_new(t->r.s, name);
		n->disk = disk_mem_new();
		n->index = index_mem_new();
		nodes[i].id = rig_node_id(i);
		nodes[i].number = i + 1;
		nodes[i].incarnation = 1;
		nodes[i].up = true;
		nodes[i].weight = 100;
		nodes[i].naddrs = 1;
		snprintf(nodes[i].addr[0], sizeof(nodes[i].addr[0]), "%s", n->addr);
		assert_int_equal(store_make_on(n->disk, rig_fsid, &nodes[i].id), 0);
		boot(t, i);
	}
	assert_int_equal(ring_make(&t->r.map, rig_fsid, RIG_BITS, NODES, nodes, NODES), 0);
	MEMBERS(t, 0, 1, 2);
	give_all(t);
	t->r.client = sim_host_new(t->r.s, "client");
	for (unsigned i = 0; i < NODES; i++)
		rig_connect(&t->r, &t->k[i], i);
	t->id = rig_id(&t->r, 0, 0);
	t->number = 1;
	assert_int_equal(rig_create(&t->k[0], 1, t->number++, &t->id, 0), WIRE_OK);
}

static void trio_fini(struct trio *t)
{
	for (unsigned i = 0; i < NODES; i++)
		rig_hangup(&t->k[i]);
	rig_fini(&t->r);
}

static void crash(struct trio *t, unsigned i, enum disk_crash how)
{
	rig_hangup(&t->k[i]);
	rig_crash(&t->r, i, how);
}

static void restart(struct trio *t, unsigned i)
{
	sim_host_start(t->r.n[i].host);
	boot(t, i);
	rig_connect(&t->r, &t->k[i], i);
}

static uint64_t send_add(struct trio *t, unsigned to, uint64_t number)
{
	struct rig_head h = {.session = 1, .number = number};

	return rig_send_add(&t->k[to], &h, &t->id, 0, 1);
}

static uint16_t add(struct trio *t, unsigned to)
{
	return rig_status(&t->k[to], send_add(t, to, t->number++));
}

static bool answered(struct trio *t, unsigned to, uint64_t rid)
{
	return rig_got(&t->k[to], WIRE_REPLY, rid) != NULL;
}

static uint64_t send_sync(struct trio *t, unsigned to, const struct wire_effect *e)
{
	struct frame *f = frame_new(WIRE_SYNC, t->k[to].next++, 64);
	uint64_t id = f->id;

	wire_put_sync(&f->b, 1, e, 1);
	link_send(t->k[to].l, f);
	return id;
}

static struct history past(struct trio *t, unsigned i)
{
	return store_history(t->r.n[i].store, rig_shard(&t->r, &t->id));
}

static void assert_level(struct trio *t, unsigned a, unsigned b)
{
	struct history x = past(t, a), y = past(t, b);

	assert_int_equal(x.seq, y.seq);
	assert_int_equal(x.term, y.term);
	assert_int_equal(x.nterms, y.nterms);
	assert_memory_equal(x.terms, y.terms, x.nterms * sizeof(*x.terms));
}

/* Another copy, as node 0 sees it. */
static struct copy *copy_of(struct trio *t, unsigned i)
{
	struct node *n = t->r.n[0].node;
	struct shard *s = node_shard(n, rig_shard(&t->r, &t->id));

	return copy_at(s, peer_of(n, (uint16_t)i));
}

/* ---- acknowledging ---- */

static void test_repl_acknowledged_means_all_members_have_it(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_level(&t, 0, 1);
	assert_level(&t, 0, 2);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 300 * ENV_MS);
	for (unsigned i = 0; i < 8; i++) {
		rid = send_add(&t, 0, t.number++);
		while (!answered(&t, 0, rid))
			sim_run(t.r.s, ENV_MS / 10);
		assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
		assert_level(&t, 0, 1);
		assert_level(&t, 0, 2);
	}
	trio_fini(&t);
}

static void test_repl_a_lost_backup_is_waited_for_until_the_map_drops_it(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	crash(&t, 2, DISK_PROCESS);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_SEC);
	assert_false(answered(&t, 0, rid));
	assert_int_equal(past(&t, 0).seq, past(&t, 1).seq);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	/* it goes on in the next term: nothing has to be asked again */
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 2);
	assert_level(&t, 0, 1);
	trio_fini(&t);
}

/* The last other copy goes: what waited for its word, or for its lease, waits for nobody. */
static void test_repl_what_waited_for_the_last_backup_leaves_with_it(void **state)
{
	uint64_t write, read;
	struct trio t;

	(void)state;
	trio_init(&t);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 1, DISK_PROCESS);
	sim_run(t.r.s, ENV_SEC);
	read = rig_send_get(&t.k[0], &t.id);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, read));
	MEMBERS(&t, 0);
	give_all(&t);
	sim_run(t.r.s, 10 * ENV_MS);
	assert_true(answered(&t, 0, read));

	restart(&t, 1);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 1, DISK_PROCESS);
	write = send_add(&t, 0, t.number++);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, write));
	MEMBERS(&t, 0);
	give_all(&t);
	sim_run(t.r.s, 10 * ENV_MS);
	assert_true(answered(&t, 0, write));
	trio_fini(&t);
}

static unsigned notices(struct trio *t, unsigned from, uint8_t what)
{
	struct rig_link *k = &t->k[from];
	struct wire_notice m;
	unsigned n = 0;

	for (unsigned i = 0; i < k->ngot; i++) {
		if (k->got[i]->type != WIRE_NOTICE)
			continue;
		assert_int_equal(wire_get_notice(frame_cur(k->got[i]), &m), 0);
		n += m.what == what;
	}
	return n;
}

static void test_repl_watchers_hear_of_what_is_committed(void **state)
{
	struct wire_watch m = {.begin = true, .number = 1, .bits = 256};
	struct frame *f;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	m.id = t.id;
	f = frame_new(WIRE_WATCH, 9, 64);
	wire_put_watch(&f->b, &m);
	link_send(t.k[0].l, f);
	assert_int_equal(rig_status(&t.k[0], 9), WIRE_OK);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 1);
	crash(&t, 2, DISK_PROCESS);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 3 * ENV_SEC);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 1); /* it may still be lost */
	MEMBERS(&t, 0, 1);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 2);
	/* what is not committed when another one takes over is for that one to tell */
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[1].host, true);
	send_add(&t, 0, t.number++);
	sim_run(t.r.s, 100 * ENV_MS);
	MEMBERS(&t, 1, 0);
	give(&t, 0);
	sim_run(t.r.s, ENV_SEC);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 2);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_LOST), 1);
	/* nor is it told when this one leads again */
	sim_heal(t.r.s, t.r.n[0].host, t.r.n[1].host);
	give(&t, 1);
	sim_run(t.r.s, 3 * ENV_SEC);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	sim_run(t.r.s, 3 * ENV_SEC);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 3);
	trio_fini(&t);
}

static void test_repl_watchers_hear_of_nothing_before_who_did_it(void **state)
{
	struct wire_watch m = {.begin = true, .number = 1, .bits = 256};
	unsigned done = 0;
	uint64_t rid[5];
	struct frame *f;
	struct trio t;

	(void)state;
	trio_init(&t);
	m.id = t.id;
	f = frame_new(WIRE_WATCH, 9, 64);
	wire_put_watch(&f->b, &m);
	link_send(t.k[0].l, f);
	assert_int_equal(rig_status(&t.k[0], 9), WIRE_OK);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 50 * ENV_MS);
	for (unsigned i = 0; i < 5; i++) {
		rid[i] = send_add(&t, 0, t.number++);
		sim_run(t.r.s, 5 * ENV_MS);
	}
	while (done < 5) {
		sim_run(t.r.s, ENV_MS / 10);
		done = 0;
		for (unsigned i = 0; i < 5; i++)
			done += answered(&t, 0, rid[i]);
		assert_in_range(notices(&t, 0, WIRE_NOTICE_CHANGED), done ? done - 1 : 0, done + 1);
	}
	assert_int_equal(notices(&t, 0, WIRE_NOTICE_CHANGED), 5);
	trio_fini(&t);
}

static void test_repl_broken_links_lose_nothing(void **state)
{
	struct trio t;
	uint64_t rid[40];

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 40; i++) {
		rid[i] = send_add(&t, 0, t.number++);
		sim_run(t.r.s, ENV_MS / 3);
		if (i % 5 == 2)
			sim_break(t.r.s, t.r.n[0].host, t.r.n[1 + i / 5 % 2].host);
	}
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(rig_status(&t.k[0], rid[i]), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 40);
	assert_level(&t, 0, 1);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

static void test_repl_several_shards_do_not_share_a_record(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id other;
	struct txn_build b;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	other = rig_id(&t.r, 0, 1);
	txn_init(&b);
	txn_add(&b, &t.id, 0, 1);
	txn_create(&b, &other, 0, NULL);
	rid = rig_send_txn(&t.k[0], WIRE_TXN, &h, &b);
	txn_fini(&b);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_WRONG_NODE);
	/* but what is read together is read at once */
	h.number = 3;
	txn_init(&b);
	txn_get(&b, &t.id);
	txn_get(&b, &other);
	rid = rig_send_txn(&t.k[0], WIRE_TXN, &h, &b);
	txn_fini(&b);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	trio_fini(&t);
}

static void test_repl_min_in_sync_makes_writes_wait(void **state)
{
	struct ring_map *m;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	MEMBERS(&t, 0, 1);
	t.r.map->min_in_sync = 3;
	give_all(&t);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, rid));
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 0);
	m = ring_draft(t.r.map);
	m->min_in_sync = 2;
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	trio_fini(&t);
}

/* ---- taking over ---- */

static void test_repl_failover_keeps_what_was_acknowledged_and_its_replies(void **state)
{
	struct trio t;
	uint64_t last;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	last = t.number - 1;
	crash(&t, 0, DISK_PROCESS);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	/* resent: it is not done twice */
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, last)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 10);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 11);
	assert_level(&t, 1, 2);
	trio_fini(&t);
}

static void test_repl_requests_sent_under_an_older_map_are_not_taken(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct txn_build b;
	struct trio t;
	struct frame *f;
	struct wire_txn m = {.session = 1, .number = 2};
	uint64_t id;

	(void)state;
	(void)h;
	trio_init(&t);
	m.epoch = t.r.map->epoch;
	MEMBERS(&t, 1, 0, 2);
	give_all(&t);
	f = frame_new(WIRE_TXN, id = t.k[1].next++, 256);
	wire_put_txn_head(&f->b, &m);
	txn_init(&b);
	txn_add(&b, &t.id, 0, 1);
	assert_int_equal(txn_encode(&b, &f->b, NULL, NULL), 0);
	txn_fini(&b);
	link_send(t.k[1].l, f);
	assert_int_equal(rig_status(&t.k[1], id), WIRE_WRONG_NODE);
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, 2)), WIRE_OK);
	trio_fini(&t);
}

/* The answer of node 0 to a transaction that does not hold, sent under that map. */
static uint16_t send_refused(struct trio *t, uint64_t epoch, uint64_t number)
{
	struct wire_txn m = {.session = 1, .number = number, .epoch = epoch};
	struct frame *f = frame_new(WIRE_TXN, t->k[0].next++, 256);
	uint64_t id = f->id;
	struct txn_build b;

	wire_put_txn_head(&f->b, &m);
	txn_init(&b);
	txn_absent(&b, &t->id);
	txn_add(&b, &t->id, 0, 1);
	assert_int_equal(txn_encode(&b, &f->b, NULL, NULL), 0);
	txn_fini(&b);
	link_send(t->k[0].l, f);
	return rig_status(&t->k[0], id);
}

static void test_repl_who_leads_again_in_the_same_term_has_forgotten(void **state)
{
	struct trio t;
	uint64_t epoch, number;

	(void)state;
	trio_init(&t);
	epoch = t.r.map->epoch;
	number = t.number++;
	assert_int_equal(send_refused(&t, epoch, number), WIRE_COMPARE);
	/* it was out of the map, and nobody else led meanwhile */
	for (unsigned i = 0; i < 2; i++) {
		struct ring_map *m = ring_draft(t.r.map);

		m->nodes[0].up = i == 1;
		ring_unref(t.r.map);
		t.r.map = m;
		give_all(&t);
	}
	assert_int_equal(send_refused(&t, epoch, number), WIRE_WRONG_NODE);
	assert_int_equal(add(&t, 0), WIRE_OK);
	trio_fini(&t);
}

static void test_repl_a_backup_that_is_busy_stays_level(void **state)
{
	struct trio t;

	(void)state;
	trio_init(&t);
	t.r.n[2].node->held += 100 * t.r.cfg.queue_max;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(add(&t, 0), WIRE_OK);
		sim_run(t.r.s, 100 * ENV_MS);
	}
	assert_int_equal(copy_of(&t, 2)->peer->state, PEER_UP);
	t.r.n[2].node->held -= 100 * t.r.cfg.queue_max;
	trio_fini(&t);
}

static void test_repl_a_lease_follows_its_node_to_a_new_id(void **state)
{
	struct ring_map *m;
	struct trio t;
	uint64_t began;

	(void)state;
	trio_init(&t);
	sim_run(t.r.s, 2 * ENV_SEC);
	crash(&t, 0, DISK_PROCESS);
	began = sim_now(t.r.s);
	m = ring_draft(t.r.map);
	m->nodes[0].id.b[0]++; /* its place among the others stays */
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_true(sim_now(t.r.s) - began > 200 * ENV_MS);
	trio_fini(&t);
}

static void test_repl_members_with_different_tails_are_levelled(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	for (uint16_t next = 1; next <= 2; next++) {
		trio_init(&t);
		assert_int_equal(add(&t, 0), WIRE_OK);
		sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
		for (unsigned i = 0; i < 5; i++)
			rid = send_add(&t, 0, t.number++);
		sim_run(t.r.s, 50 * ENV_MS);
		assert_false(answered(&t, 0, rid));
		assert_int_equal(past(&t, 1).seq, past(&t, 0).seq);
		assert_int_equal(past(&t, 2).seq, past(&t, 0).seq - 5);
		crash(&t, 0, DISK_PROCESS);
		/* once the one that lacks some leads, once the other */
		MEMBERS(&t, next, (uint16_t)(3 - next));
		give_all(&t);
		assert_int_equal(rig_slot(&t.k[next], &t.id, 0), 6);
		assert_level(&t, 1, 2);
		assert_int_equal(rig_status(&t.k[next], send_add(&t, next, t.number - 1)), WIRE_OK);
		assert_int_equal(rig_slot(&t.k[next], &t.id, 0), 6);
		trio_fini(&t);
	}
}

static void test_repl_what_was_fetched_to_lead_is_void_in_another_term(void **state)
{
	struct node *n;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	/* one that only node 2 gets */
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[1].host, true);
	send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(past(&t, 2).seq, past(&t, 1).seq + 1);
	crash(&t, 0, DISK_LOSE);
	sim_slow(t.r.s, t.r.n[1].host, t.r.n[2].host, 400 * ENV_MS);
	MEMBERS(&t, 1, 2);
	give(&t, 2);
	give(&t, 1);
	/* node 1 fetches it, and has it when it leads no more */
	n = t.r.n[1].node;
	for (unsigned i = 0; i < 5000 && TAILQ_EMPTY(&n->pulls); i++)
		sim_run(t.r.s, ENV_MS);
	assert_false(TAILQ_EMPTY(&n->pulls));
	sim_run(t.r.s, 5 * ENV_MS);
	sim_heal(t.r.s, t.r.n[0].host, t.r.n[1].host);
	restart(&t, 0);
	MEMBERS(&t, 0, 1);
	give(&t, 1);
	give(&t, 0);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_level(&t, 0, 1);
	trio_fini(&t);
}

static void test_repl_a_primary_that_moves_loses_nothing(void **state)
{
	uint64_t acked = 0;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned round = 0; round < 12; round++) {
		uint16_t from = round % 3, to = (round + 1) % 3, third = (round + 2) % 3;
		uint64_t rid[6], first = t.number;

		for (unsigned i = 0; i < 6; i++) {
			rid[i] = send_add(&t, from, t.number++);
			sim_run(t.r.s, sim_below(t.r.s, ENV_MS));
		}
		MEMBERS(&t, to, third, from);
		/* they learn of it one after the other */
		for (unsigned i = 0; i < 3; i++) {
			give(&t, (round / 3 + i) % 3);
			sim_run(t.r.s, sim_below(t.r.s, 3 * ENV_MS));
		}
		for (unsigned i = 0; i < 6; i++) {
			uint16_t status = rig_status(&t.k[from], rid[i]);

			if (status != WIRE_OK)
				assert_int_equal(status, WIRE_WRONG_NODE);
			/* until it has the map, too */
			do
				status = rig_status(&t.k[to], send_add(&t, to, first + i));
			while (status == WIRE_WRONG_NODE);
			assert_int_equal(status, WIRE_OK);
			acked++;
		}
		assert_int_equal(rig_slot(&t.k[to], &t.id, 0), acked);
	}
	assert_level(&t, 0, 1);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

static void test_repl_a_restarted_backup_is_compared_before_it_counts(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	/* nothing was synced */
	crash(&t, 1, DISK_LOSE);
	restart(&t, 1);
	assert_true(past(&t, 1).seq < past(&t, 0).seq);
	/* as long as the map does not know that start of it, its word counts for nothing */
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, rid));
	MEMBERS(&t, 0, 1, 2);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_level(&t, 0, 1);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 21);
	trio_fini(&t);
}

static void test_repl_suspects_are_waited_for(void **state)
{
	struct shard *s;
	struct trio t;
	uint64_t began;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	restart(&t, 1);
	MEMBERS(&t, 1, 0);
	for (unsigned i = 0; i < ring_nshards(t.r.map); i++)
		t.r.map->shards[i].suspect = 3;
	began = sim_now(t.r.s);
	give(&t, 1);
	s = node_shard(t.r.n[1].node, rig_shard(&t.r, &t.id));
	/* node 0 may have what was acknowledged; in the end this copy has to do */
	while (!s->vouching && sim_now(t.r.s) - began < 2 * t.r.cfg.recovery_wait)
		sim_run(t.r.s, 10 * ENV_MS);
	assert_true(s->vouching);
	assert_int_equal(s->role, ROLE_TAKING_OVER);
	assert_true(sim_now(t.r.s) - began >= t.r.cfg.recovery_wait);
	trio_fini(&t);
}

static void test_repl_all_killed_and_started_again_go_on(void **state)
{
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_PROCESS);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 2, 1, 0);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[2], send_add(&t, 2, t.number - 1)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[2], &t.id, 0), 20);
	assert_int_equal(add(&t, 2), WIRE_OK);
	assert_level(&t, 2, 0);
	assert_level(&t, 2, 1);
	trio_fini(&t);
}

/* ---- leases ---- */

static void test_repl_a_lease_counts_from_when_it_was_asked_for(void **state)
{
	uint64_t rid[4000], first = 0, last = 0, one;
	unsigned sent = 0, seen = 0;
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	/* what the next primary says, be it of leases or of the map, takes its time */
	sim_slow(t.r.s, t.r.n[1].host, t.r.n[0].host, 350 * ENV_MS);
	sim_run(t.r.s, 2 * ENV_SEC);
	sim_cut(t.r.s, t.r.n[1].host, t.r.n[2].host, true);
	MEMBERS(&t, 1);
	give(&t, 1);
	one = rig_send_get(&t.k[1], &t.id);
	for (unsigned i = 0; i < 1000; i++) {
		rid[sent++] = rig_send_get(&t.k[0], &t.id);
		sim_run(t.r.s, 2 * ENV_MS);
		if (!first && answered(&t, 1, one))
			first = sim_now(t.r.s);
		for (; seen < sent && answered(&t, 0, rid[seen]); seen++) {
			/* later it passes them on */
			if (node_shard(t.r.n[0].node, rig_shard(&t.r, &t.id))->role == ROLE_SERVING)
				last = sim_now(t.r.s);
		}
	}
	assert_true(first && last);
	assert_true(last <= first);
	trio_fini(&t);
}

static void test_repl_who_just_started_may_have_given_a_lease(void **state)
{
	uint64_t began;
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[1].host, true);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
	crash(&t, 1, DISK_PROCESS);
	began = sim_now(t.r.s);
	restart(&t, 1);
	MEMBERS(&t, 1, 2);
	give(&t, 1);
	give(&t, 2);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_true(sim_now(t.r.s) - began >= t.r.cfg.lease);
	trio_fini(&t);
}

static void test_repl_nobody_answers_while_another_may(void **state)
{
	uint64_t rid[4000], first = 0, last = 0;
	unsigned sent = 0, seen = 0;
	struct trio t;
	uint64_t one;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[1].host, true);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
	MEMBERS(&t, 1, 2);
	give(&t, 1);
	give(&t, 2);
	sim_run(t.r.s, 5 * ENV_MS);
	one = rig_send_get(&t.k[1], &t.id);
	/* the old primary is asked all the time, and does not know */
	for (unsigned i = 0; i < 1000; i++) {
		rid[sent++] = rig_send_get(&t.k[0], &t.id);
		sim_run(t.r.s, 2 * ENV_MS);
		if (!first && answered(&t, 1, one))
			first = sim_now(t.r.s);
		while (seen < sent && answered(&t, 0, rid[seen])) {
			seen++;
			last = sim_now(t.r.s);
		}
	}
	assert_true(first && last);
	assert_true(seen > 10 && seen < sent);
	assert_true(last <= first);
	/* what it never answered it must not answer later */
	give(&t, 0);
	sim_run(t.r.s, 10 * ENV_MS);
	while (seen < sent)
		assert_int_equal(rig_status(&t.k[0], rid[seen++]), WIRE_WRONG_NODE);
	trio_fini(&t);
}

static void test_repl_a_killed_primary_costs_about_a_lease(void **state)
{
	struct trio t;
	uint64_t began;

	(void)state;
	trio_init(&t);
	sim_run(t.r.s, 2 * ENV_SEC);
	crash(&t, 0, DISK_PROCESS);
	began = sim_now(t.r.s);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_true(sim_now(t.r.s) - began < 450 * ENV_MS);
	/* one that says itself that it knows costs nothing */
	MEMBERS(&t, 2, 1);
	began = sim_now(t.r.s);
	give_all(&t);
	assert_int_equal(add(&t, 2), WIRE_OK);
	assert_true(sim_now(t.r.s) - began < 200 * ENV_MS);
	trio_fini(&t);
}

/* ---- durability ---- */

static void test_repl_sync_means_on_disk_at_all_members(void **state)
{
	struct wire_effect e;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	e = (struct wire_effect){
		.shard = rig_shard(&t.r, &t.id), .term = past(&t, 0).term, .seq = past(&t, 0).seq};
	assert_int_equal(rig_status(&t.k[0], send_sync(&t, 0, &e)), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 1, 2, 0);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[1], send_sync(&t, 1, &e)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 5);
	/* a member that cannot be asked is waited for */
	sim_cut(t.r.s, t.r.n[1].host, t.r.n[2].host, true);
	rid = send_sync(&t, 1, &e);
	sim_run(t.r.s, 3 * ENV_SEC);
	assert_false(answered(&t, 1, rid));
	MEMBERS(&t, 1, 0);
	give(&t, 0);
	give(&t, 1);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	trio_fini(&t);
}

struct disk_sync {
	struct durable d;
	struct seen of;
	bool done;
};

static void disk_synced(struct durable *d, int rc)
{
	assert_int_equal(rc, 0);
	container_of(d, struct disk_sync, d)->done = true;
}

/* What a yes vote waits for. */
static void start_sync(struct trio *t, struct disk_sync *ds)
{
	struct node *n = t->r.n[0].node;

	*ds = (struct disk_sync){
		.d.done = disk_synced, .of.shard = node_shard(n, rig_shard(&t->r, &t->id))};
	durable_start(n, &ds->d, &ds->of, 1);
}

/* Once both the answer and the sync are there, nothing of it can be lost by that node. */
static void assert_durable(struct trio *t, unsigned i, uint64_t rid, const struct disk_sync *ds)
{
	uint64_t seq = past(t, 0).seq;

	for (unsigned k = 0; k < 5000 && (!ds->done || !answered(t, 0, rid)); k++)
		sim_run(t->r.s, ENV_MS);
	assert_true(ds->done && answered(t, 0, rid));
	assert_int_equal(rig_status(&t->k[0], rid), WIRE_OK);
	crash(t, i, DISK_LOSE);
	restart(t, i);
	assert_true(past(t, i).seq >= seq);
}

static void test_repl_sync_comes_behind_what_a_new_link_brings_again(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 50 * ENV_MS);
	sim_break(t.r.s, t.r.n[0].host, t.r.n[2].host);
	while (copy_of(&t, 2)->peer->state != PEER_CONNECTING)
		sim_run(t.r.s, ENV_MS);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(copy_of(&t, 2)->peer->state, PEER_CONNECTING);
	start_sync(&t, &ds);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_sync_waits_for_a_copy_that_is_being_filled(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 2, DISK_LOSE);
	restart(&t, 2);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 20 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	for (unsigned i = 3; i--;)
		give(&t, i);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(copy_of(&t, 2)->state, COPY_UNKNOWN);
	start_sync(&t, &ds);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_sync_counts_not_where_effects_were_refused(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 100 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	give(&t, 2);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	start_sync(&t, &ds);
	sim_run(t.r.s, 150 * ENV_MS);
	give(&t, 1);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_a_suspect_is_vouched_for_when_it_has_all(void **state)
{
	unsigned shard;
	struct trio t;

	(void)state;
	trio_init(&t);
	shard = rig_shard(&t.r, &t.id);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 2, DISK_LOSE);
	restart(&t, 2);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 300 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	for (unsigned i = 0; i < ring_nshards(t.r.map); i++)
		t.r.map->shards[i].suspect = 4;
	for (unsigned i = 3; i--;)
		give(&t, i);
	assert_true(past(&t, 2).seq < past(&t, 0).seq);
	for (unsigned i = 0; i < 5000 && !copy_of(&t, 2)->vouching; i++)
		sim_run(t.r.s, ENV_MS);
	assert_true(copy_of(&t, 2)->vouching);
	assert_int_equal(t.r.map->shards[shard].suspect, 4);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

static void test_repl_what_all_lost_is_told_as_lost(void **state)
{
	struct wire_effect e;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	e = (struct wire_effect){
		.shard = rig_shard(&t.r, &t.id), .term = past(&t, 0).term, .seq = past(&t, 0).seq};
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 1, 2, 0);
	give_all(&t);
	for (unsigned i = 0; i < 10; i++)
		rig_create(&t.k[1], 1, 100 + i, &t.id, i);
	assert_int_equal(rig_status(&t.k[1], send_sync(&t, 1, &e)), WIRE_LOST);
	trio_fini(&t);
}

static void test_repl_a_full_backup_refuses_for_all(void **state)
{
	struct rig_head h = {.session = 1};
	uint8_t bytes[32 << 10] = {1};
	uint16_t status = WIRE_OK;
	struct trio t;

	(void)state;
	trio_init(&t);
	disk_mem_faults(t.r.n[2].disk)->capacity = 2 << 20;
	sim_run(t.r.s, ENV_SEC);
	for (unsigned i = 0; i < 200 && status == WIRE_OK; i++) {
		struct txn_build b;
		uint64_t rid;

		h.number = t.number++;
		txn_init(&b);
		txn_write(&b, &t.id, i * sizeof(bytes), bytes, sizeof(bytes));
		rid = rig_send_txn(&t.k[0], WIRE_TXN, &h, &b);
		txn_fini(&b);
		sim_run(t.r.s, 120 * ENV_MS);
		status = rig_status(&t.k[0], rid);
	}
	assert_int_equal(status, WIRE_NO_SPACE);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 0);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

/* ---- learners ---- */

static void test_repl_a_learner_joins_and_counts_from_then_on(void **state)
{
	struct ring_map *m;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	for (unsigned i = 0; i < 30; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	assert_true(past(&t, 2).seq < past(&t, 0).seq);
	m = ring_draft(t.r.map);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		m->shards[s].nlearners = 1;
		m->shards[s].learner[0] = 2;
	}
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	for (unsigned i = 0; i < 2000 && !(copy_of(&t, 2) && copy_of(&t, 2)->proposed); i++) {
		sim_run(t.r.s, 5 * ENV_MS);
		if (i % 10 == 0)
			assert_int_equal(add(&t, 0), WIRE_OK);
	}
	assert_true(copy_of(&t, 2)->required);
	assert_level(&t, 0, 2);
	/* it may be a member any time: nothing is acknowledged that it lacks */
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, rid));
	sim_heal_all(t.r.s);
	MEMBERS(&t, 0, 1, 2);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_level(&t, 0, 2);
	/* and it can lead */
	crash(&t, 0, DISK_PROCESS);
	crash(&t, 1, DISK_PROCESS);
	MEMBERS(&t, 2);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[2], send_add(&t, 2, t.number - 1)), WIRE_OK);
	trio_fini(&t);
}

/* All are learned by node 2 as well. */
static void with_learner(struct trio *t)
{
	struct ring_map *m = ring_draft(t->r.map);

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		m->shards[s].nlearners = 1;
		m->shards[s].learner[0] = 2;
	}
	ring_unref(t->r.map);
	t->r.map = m;
	give_all(t);
}

static void test_repl_a_level_learner_whose_stream_ends_begins_anew(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	with_learner(&t);
	for (unsigned i = 0; i < 2000 && !(copy_of(&t, 2) && copy_of(&t, 2)->proposed); i++)
		sim_run(t.r.s, 5 * ENV_MS);
	assert_true(copy_of(&t, 2)->proposed);
	/* as when it refuses an effect */
	copy_reset(copy_of(&t, 2));
	with_learner(&t); /* another map, in the same term */
	/* it may be a member by now */
	assert_true(copy_of(&t, 2)->required);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_false(answered(&t, 0, rid));
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

static void test_repl_writes_wait_when_a_backup_is_too_far_behind(void **state)
{
	struct rig_head h = {.session = 1};
	static uint8_t bytes[1 << 20] = {1};
	struct txn_build b;
	uint64_t rid[40];
	struct trio t;

	(void)state;
	trio_init(&t);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 600 * ENV_MS);
	for (unsigned i = 0; i < ARRAY_LEN(rid); i++) {
		h.number = t.number++;
		txn_init(&b);
		txn_write(&b, &t.id, i * sizeof(bytes), bytes, sizeof(bytes));
		rid[i] = rig_send_txn(&t.k[0], WIRE_TXN, &h, &b);
		txn_fini(&b);
	}
	sim_run(t.r.s, 100 * ENV_MS);
	assert_true(copy_of(&t, 2)->peer->unacked_bytes < (20u << 20));
	for (unsigned i = 0; i < ARRAY_LEN(rid); i++)
		assert_int_equal(rig_status(&t.k[0], rid[i]), WIRE_OK);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repl_acknowledged_means_all_members_have_it),
		cmocka_unit_test(test_repl_a_lost_backup_is_waited_for_until_the_map_drops_it),
		cmocka_unit_test(test_repl_what_waited_for_the_last_backup_leaves_with_it),
		cmocka_unit_test(test_repl_watchers_hear_of_what_is_committed),
		cmocka_unit_test(test_repl_watchers_hear_of_nothing_before_who_did_it),
		cmocka_unit_test(test_repl_broken_links_lose_nothing),
		cmocka_unit_test(test_repl_several_shards_do_not_share_a_record),
		cmocka_unit_test(test_repl_min_in_sync_makes_writes_wait),
		cmocka_unit_test(test_repl_failover_keeps_what_was_acknowledged_and_its_replies),
		cmocka_unit_test(test_repl_requests_sent_under_an_older_map_are_not_taken),
		cmocka_unit_test(test_repl_who_leads_again_in_the_same_term_has_forgotten),
		cmocka_unit_test(test_repl_a_backup_that_is_busy_stays_level),
		cmocka_unit_test(test_repl_a_lease_follows_its_node_to_a_new_id),
		cmocka_unit_test(test_repl_members_with_different_tails_are_levelled),
		cmocka_unit_test(test_repl_what_was_fetched_to_lead_is_void_in_another_term),
		cmocka_unit_test(test_repl_a_primary_that_moves_loses_nothing),
		cmocka_unit_test(test_repl_a_restarted_backup_is_compared_before_it_counts),
		cmocka_unit_test(test_repl_suspects_are_waited_for),
		cmocka_unit_test(test_repl_all_killed_and_started_again_go_on),
		cmocka_unit_test(test_repl_nobody_answers_while_another_may),
		cmocka_unit_test(test_repl_a_lease_counts_from_when_it_was_asked_for),
		cmocka_unit_test(test_repl_who_just_started_may_have_given_a_lease),
		cmocka_unit_test(test_repl_a_killed_primary_costs_about_a_lease),
		cmocka_unit_test(test_repl_sync_means_on_disk_at_all_members),
		cmocka_unit_test(test_repl_sync_comes_behind_what_a_new_link_brings_again),
		cmocka_unit_test(test_repl_sync_waits_for_a_copy_that_is_being_filled),
		cmocka_unit_test(test_repl_sync_counts_not_where_effects_were_refused),
		cmocka_unit_test(test_repl_a_suspect_is_vouched_for_when_it_has_all),
		cmocka_unit_test(test_repl_what_all_lost_is_told_as_lost),
		cmocka_unit_test(test_repl_a_full_backup_refuses_for_all),
		cmocka_unit_test(test_repl_a_learner_joins_and_counts_from_then_on),
		cmocka_unit_test(test_repl_a_level_learner_whose_stream_ends_begins_anew),
		cmocka_unit_test(test_repl_writes_wait_when_a_backup_is_too_far_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
