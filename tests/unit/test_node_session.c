/* Exactly once: stored replies, floors, abandoned numbers, also across restarts. */
#include "dht/node/impl.h"
#include "tests/unit/node_rig.h"

struct one {
	struct rig r;
	struct rig_link k;
	struct orbit_id id;
};

static void one_init(struct one *o)
{
	rig_init(&o->r, 1);
	rig_connect(&o->r, &o->k, 0);
	o->id = rig_id(&o->r, 0, 0);
	assert_int_equal(rig_create(&o->k, 1, 1, &o->id, 100), WIRE_OK);
}

static void one_fini(struct one *o)
{
	rig_hangup(&o->k);
	rig_fini(&o->r);
}

static void one_crash(struct one *o)
{
	rig_hangup(&o->k);
	rig_crash(&o->r, 0, DISK_PROCESS);
	rig_restart(&o->r, 0);
	rig_connect(&o->r, &o->k, 0);
}

static uint16_t add(struct one *o, uint64_t number, uint64_t floor)
{
	struct rig_head h = {.session = 1, .number = number, .floor = floor};

	return rig_status(&o->k, rig_send_add(&o->k, &h, &o->id, 0, 1));
}

static struct node_stats stats(struct one *o)
{
	struct node_stats s;

	node_stats(o->r.n[0].node, &s);
	return s;
}

/* How many keys of a class the shard has. */
static unsigned count(struct one *o, uint8_t class)
{
	struct wire_list q = {
		.epoch = 1, .class = class, .shard = rig_shard(&o->r, &o->id), .max = 10000};
	struct frame *f = frame_new(WIRE_LIST, o->k.next++, 64);
	uint64_t id = f->id;
	struct wire_reply m;
	struct cur c;

	wire_put_list(&f->b, &q);
	link_send(o->k.l, f);
	m = rig_reply(&o->k, id);
	assert_int_equal(m.status, WIRE_OK);
	c = cur_of(m.results, m.results_len);
	cur_u8(&c);
	return cur_u32(&c);
}

static void test_node_resend_gets_the_stored_reply(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct wire_reply first, again;
	uint64_t a, b;
	struct one o;

	(void)state;
	one_init(&o);
	a = rig_send_add(&o.k, &h, &o.id, 0, 1);
	first = rig_reply(&o.k, a);
	assert_int_equal(first.status, WIRE_OK);
	b = rig_send_add(&o.k, &h, &o.id, 0, 1);
	again = rig_reply(&o.k, b);
	assert_int_equal(again.status, WIRE_OK);
	assert_int_equal(again.neffects, 1);
	assert_int_equal(wire_effect_at(&again, 0).seq, wire_effect_at(&first, 0).seq);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	assert_int_equal(stats(&o).replayed, 1);
	one_fini(&o);
}

/* The answer is lost with its link, the node dies, and the transaction comes again. */
static void test_node_resend_after_kill_gets_the_stored_reply(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct wire_reply m;
	struct one o;

	(void)state;
	one_init(&o);
	rig_send_add(&o.k, &h, &o.id, 0, 1);
	sim_lose_next(o.r.s, o.r.n[0].host, o.r.client, WIRE_REPLY);
	sim_run(o.r.s, ENV_SEC);
	assert_null(o.k.l);
	rig_hangup(&o.k);
	rig_connect(&o.r, &o.k, 0);
	one_crash(&o);
	m = rig_reply(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(wire_effect_at(&m, 0).seq, 2);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	assert_int_equal(stats(&o).executed, 0);
	assert_int_equal(stats(&o).replayed, 1);
	one_fini(&o);
}

static void test_node_resend_while_running_attaches(void **state)
{
	uint8_t *bulk = mem_zalloc(1 << 20);
	struct rig_head h = {.session = 1, .number = 2};
	struct rig_link other;
	struct txn_build t;
	uint64_t a, b;
	struct one o;

	(void)state;
	one_init(&o);
	rig_connect(&o.r, &other, 0);
	sim_net(o.r.s)->job_min = sim_net(o.r.s)->job_max = 50 * ENV_MS;
	txn_init(&t);
	txn_add(&t, &o.id, 0, 1);
	txn_write(&t, &o.id, 0, bulk, 1 << 20);
	a = rig_send_txn(&o.k, WIRE_TXN, &h, &t);
	sim_run(o.r.s, 20 * ENV_MS);
	b = rig_send_txn(&other, WIRE_TXN, &h, &t);
	txn_fini(&t);
	free(bulk);
	/* the answer goes to the link that asked last, and there only */
	assert_int_equal(rig_status(&other, b), WIRE_OK);
	sim_run(o.r.s, ENV_SEC);
	assert_null(rig_got(&o.k, WIRE_REPLY, a));
	assert_int_equal(stats(&o).executed, 2);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	rig_hangup(&other);
	one_fini(&o);
}

/* A copy that was passed on may be older than one that came since. */
static void test_node_older_copy_does_not_take_the_answer(void **state)
{
	uint8_t *bulk = mem_zalloc(1 << 20);
	struct rig_head h = {.session = 1, .number = 2};
	struct rig_link other;
	struct txn_build t;
	uint64_t a, b;
	struct one o;

	(void)state;
	one_init(&o);
	rig_connect(&o.r, &other, 0);
	sim_net(o.r.s)->job_min = sim_net(o.r.s)->job_max = 50 * ENV_MS;
	txn_init(&t);
	txn_add(&t, &o.id, 0, 1);
	txn_write(&t, &o.id, 0, bulk, 1 << 20);
	a = rig_send_txn(&o.k, WIRE_TXN, &h, &t);
	sim_run(o.r.s, 20 * ENV_MS);
	h.older = 1;
	b = rig_send_txn(&other, WIRE_TXN, &h, &t);
	txn_fini(&t);
	free(bulk);
	assert_int_equal(rig_status(&other, b), WIRE_WRONG_NODE);
	assert_int_equal(rig_status(&o.k, a), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	rig_hangup(&other);
	one_fini(&o);
}

/* The link goes while a transaction waits: it is carried out all the same, and once. */
static void test_node_finishes_what_lost_its_link(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct one o;

	(void)state;
	one_init(&o);
	index_mem_faults(o.r.n[0].index)->stall = 1000;
	rig_send_add(&o.k, &h, &o.id, 0, 1);
	sim_run(o.r.s, 20 * ENV_MS);
	assert_int_equal(stats(&o).executed, 1);
	rig_hangup(&o.k);
	index_mem_faults(o.r.n[0].index)->stall = 0;
	sim_run(o.r.s, ENV_SEC);
	assert_int_equal(stats(&o).executed, 2);
	rig_connect(&o.r, &o.k, 0);
	assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1)), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	one_fini(&o);
}

static void test_node_refuses_below_the_floor(void **state)
{
	struct one o;

	(void)state;
	one_init(&o);
	assert_int_equal(add(&o, 5, 5), WIRE_OK);
	assert_int_equal(add(&o, 4, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 1, 1), WIRE_REFUSED);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	/* the floor came with a stored reply, so it is in the log */
	one_crash(&o);
	assert_int_equal(add(&o, 4, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 6, 5), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 102);
	/* of this session, not of others */
	{
		struct rig_head h = {.session = 2, .number = 1};

		assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1)), WIRE_OK);
	}
	one_fini(&o);
}

static void test_node_refuses_abandoned_numbers(void **state)
{
	struct rig_head read[] = {
		{.session = 1, .number = 9, .nabandoned = 2, .abandoned = {5, 7}},
		{.session = 1, .number = 10, .nabandoned = 4, .abandoned = {3, 5, 6, 7}},
	};
	struct txn_build t;
	uint64_t rid;
	struct one o;

	(void)state;
	one_init(&o);
	/* told by a read: it is in the log before the read is answered */
	for (unsigned i = 0; i < 2; i++) {
		txn_init(&t);
		txn_get(&t, &o.id);
		rid = rig_send_txn(&o.k, WIRE_TXN, &read[i], &t);
		txn_fini(&t);
		assert_int_equal(rig_status(&o.k, rid), WIRE_OK);
	}
	assert_int_equal(add(&o, 3, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 5, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 6, 1), WIRE_REFUSED);
	one_crash(&o);
	assert_int_equal(add(&o, 3, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 6, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 7, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 4, 1), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	one_fini(&o);
}

/* A failed compare tells of an abandoned number: that has no effect of its own either. */
static void test_node_keeps_abandoned_numbers_of_what_failed(void **state)
{
	struct rig_head h = {.session = 1, .number = 9, .nabandoned = 1, .abandoned = {3}};
	struct txn_build t;
	uint64_t rid;
	struct one o;

	(void)state;
	one_init(&o);
	txn_init(&t);
	txn_absent(&t, &o.id);
	txn_add(&t, &o.id, 0, 1);
	rid = rig_send_txn(&o.k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	assert_int_equal(rig_status(&o.k, rid), WIRE_COMPARE);
	one_crash(&o);
	assert_int_equal(add(&o, 3, 1), WIRE_REFUSED);
	one_fini(&o);
}

/* Adds 1 in two shards, whole, or asks whether that was executed. */
static uint64_t add_both(struct rig_link *k, const struct orbit_id id[2], uint64_t number,
	uint16_t flags, bool fails)
{
	struct rig_head h = {.session = 1, .number = number, .flags = flags};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	for (unsigned i = 0; i < 2; i++) {
		if (fails)
			txn_absent(&t, &id[i]);
		txn_add(&t, &id[i], 0, 1);
	}
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rid;
}

static void test_node_says_whether_a_whole_one_was_executed(void **state)
{
	struct wire_reply first, again;
	struct orbit_id id[2];
	struct one o;

	(void)state;
	one_init(&o);
	id[0] = o.id;
	id[1] = rig_id(&o.r, 0, 1);
	assert_int_equal(rig_create(&o.k, 1, 2, &id[1], 200), WIRE_OK);
	first = rig_reply(&o.k, add_both(&o.k, id, 3, 0, false));
	assert_int_equal(first.status, WIRE_OK);
	again = rig_reply(&o.k, add_both(&o.k, id, 3, WIRE_TXN_REPLAY, false));
	assert_int_equal(again.status, WIRE_OK);
	assert_int_equal(again.neffects, 2);
	assert_int_equal(wire_effect_at(&again, 1).seq, wire_effect_at(&first, 1).seq);
	/* what failed has failed */
	assert_int_equal(rig_status(&o.k, add_both(&o.k, id, 4, 0, true)), WIRE_COMPARE);
	assert_int_equal(
		rig_status(&o.k, add_both(&o.k, id, 4, WIRE_TXN_REPLAY, true)), WIRE_COMPARE);
	/* what was not executed never will be */
	assert_int_equal(
		rig_status(&o.k, add_both(&o.k, id, 5, WIRE_TXN_REPLAY, false)), WIRE_REFUSED);
	assert_int_equal(rig_status(&o.k, add_both(&o.k, id, 5, 0, false)), WIRE_REFUSED);
	one_crash(&o);
	assert_int_equal(rig_status(&o.k, add_both(&o.k, id, 5, 0, false)), WIRE_REFUSED);
	assert_int_equal(
		rig_status(&o.k, add_both(&o.k, id, 5, WIRE_TXN_REPLAY, false)), WIRE_REFUSED);
	assert_int_equal(rig_slot(&o.k, &id[0], 0), 101);
	assert_int_equal(rig_slot(&o.k, &id[1], 0), 201);
	assert_int_equal(rig_status(&o.k, add_both(&o.k, id, 6, 0, false)), WIRE_OK);
	one_fini(&o);
}

/* Its shards lie with two nodes by now: the lowest one's answers, whoever is asked. */
static void test_node_asks_the_lowest_shard_whether_it_was_executed(void **state)
{
	struct orbit_id id[2];
	struct rig_link k;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	id[0] = rig_id(&r, 0, 0);
	id[1] = rig_id(&r, 1, 0);
	for (unsigned i = 0; i < 2; i++) {
		rig_connect(&r, &k, i);
		assert_int_equal(
			rig_status(&k, add_both(&k, id, 1, WIRE_TXN_REPLAY, false)), WIRE_REFUSED);
		assert_int_equal(rig_status(&k, add_both(&k, id, 1, 0, false)), WIRE_WRONG_NODE);
		rig_hangup(&k);
	}
	rig_fini(&r);
}

/* What waits and is abandoned meanwhile is not executed any more. */
static void test_node_drops_what_waits_and_is_abandoned(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct rig_head next = {.session = 1, .number = 3, .nabandoned = 1, .abandoned = {2}};
	uint64_t a, b;
	struct one o;

	(void)state;
	one_init(&o);
	index_mem_faults(o.r.n[0].index)->stall = 1000;
	a = rig_send_add(&o.k, &h, &o.id, 0, 1);
	sim_run(o.r.s, 20 * ENV_MS);
	b = rig_send_add(&o.k, &next, &o.id, 0, 10);
	sim_run(o.r.s, 20 * ENV_MS);
	index_mem_faults(o.r.n[0].index)->stall = 0;
	assert_int_equal(rig_status(&o.k, a), WIRE_REFUSED);
	assert_int_equal(rig_status(&o.k, b), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 110);
	one_fini(&o);
}

/* In a transaction of several shards of one node every shard learns the floor, durably. */
static void test_node_floor_reaches_all_shards(void **state)
{
	struct rig_head h = {.session = 1, .number = 8, .floor = 6};
	struct orbit_id a, b;
	struct wire_reply m;
	struct txn_build t;
	struct one o;

	(void)state;
	one_init(&o);
	a = rig_id(&o.r, 0, 1);
	b = rig_id(&o.r, 0, 2);
	assert_int_equal(rig_create(&o.k, 1, 2, &a, 0), WIRE_OK);
	assert_int_equal(rig_create(&o.k, 1, 3, &b, 0), WIRE_OK);
	txn_init(&t);
	txn_add(&t, &b, 0, 1);
	txn_add(&t, &a, 0, 1);
	m = rig_reply(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(m.neffects, 2);
	assert_true(wire_effect_at(&m, 0).shard < wire_effect_at(&m, 1).shard);
	one_crash(&o);
	h.number = 5;
	h.floor = 1;
	assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &a, 0, 1)), WIRE_REFUSED);
	assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &b, 0, 1)), WIRE_REFUSED);
	/* and a resend of it finds its reply */
	h.number = 8;
	m = rig_reply(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(m.neffects, 2);
	assert_int_equal(rig_slot(&o.k, &a, 0), 1);
	txn_fini(&t);
	one_fini(&o);
}

static void test_node_replies_go_below_the_floor(void **state)
{
	struct one o;

	(void)state;
	one_init(&o);
	for (uint64_t i = 2; i <= 500; i++)
		assert_int_equal(add(&o, i, i), WIRE_OK);
	assert_true(count(&o, KEY_REPLY) < 100);
	assert_int_equal(count(&o, KEY_FLOOR), 1);
	/* those that are gone are refused, those above the floor are answered again */
	one_crash(&o);
	assert_int_equal(add(&o, 400, 1), WIRE_REFUSED);
	assert_int_equal(add(&o, 500, 500), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 100 + 499);
	one_fini(&o);
}

/* Its client was told of the failure: a second copy, late, must not succeed where the first did
 * not. */
static void test_node_second_copy_of_a_failure_fails_too(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct txn_build t;
	struct one o;

	(void)state;
	one_init(&o);
	txn_init(&t);
	txn_slot_eq(&t, &o.id, 0, 101);
	txn_add(&t, &o.id, 0, 1);
	assert_int_equal(rig_status(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t)), WIRE_COMPARE);
	assert_int_equal(add(&o, 3, 1), WIRE_OK);
	assert_int_equal(rig_status(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t)), WIRE_COMPARE);
	h.number = 4; /* another transaction of the same content does */
	assert_int_equal(rig_status(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 102);
	one_fini(&o);
}

/* A session that the keeper knows and one that it does not. */
/* Failures are told apart, in whatever order they came. */
static void test_node_remembers_many_failures(void **state)
{
	struct one o;

	(void)state;
	one_init(&o);
	for (uint64_t i = 0; i < 40; i++) {
		uint64_t number = 2 + i * 7 % 40;
		struct orbit_id none = rig_id(&o.r, 0, 0);
		struct rig_head h = {.session = 1, .number = number};

		none.b[31] = 1; /* the same shard, nothing there */
		assert_int_equal(
			rig_status(&o.k, rig_send_add(&o.k, &h, &none, 0, 1)), WIRE_COMPARE);
	}
	for (uint64_t number = 2; number < 42; number++)
		assert_int_equal(add(&o, number, 0), WIRE_COMPARE);
	assert_int_equal(add(&o, 42, 20), WIRE_OK);
	assert_int_equal(add(&o, 19, 0), WIRE_REFUSED);
	assert_int_equal(add(&o, 20, 0), WIRE_COMPARE);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	one_fini(&o);
}

static void test_node_sweeps_ended_sessions(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {1}};
	struct rig_head h = {.session = 7, .number = 1, .floor = 1};
	struct frame *f;
	struct one o;

	(void)state;
	one_init(&o);
	f = frame_new(WIRE_SESSION_OPEN, 9000, 32);
	wire_put_session_open(&f->b, &m);
	link_send(o.k.l, f);
	for (; h.number < 600; h.number++)
		assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1)), WIRE_OK);
	assert_int_equal(count(&o, KEY_REPLY), 600);
	/* session 1, whose first number was 1, is kept alive */
	for (unsigned i = 0; i < 70; i++) {
		f = frame_new(WIRE_SESSION_OPEN, 9001, 32);
		m.what = WIRE_SESSION_RENEW;
		m.session = 1;
		wire_put_session_open(&f->b, &m);
		link_send(o.k.l, f);
		sim_run(o.r.s, ENV_SEC);
	}
	assert_int_equal(count(&o, KEY_REPLY), 1);
	assert_int_equal(stats(&o).sessions, 1);
	assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1)), WIRE_NO_SESSION);
	one_crash(&o);
	assert_int_equal(rig_status(&o.k, rig_send_add(&o.k, &h, &o.id, 0, 1)), WIRE_NO_SESSION);
	assert_int_equal(add(&o, 2, 1), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 100 + 599 + 1);
	one_fini(&o);
}

/* However many sessions there are, a step looks at some of them only; all of them in time. */
static void test_node_sweeps_a_few_at_a_time(void **state)
{
	struct node *n;
	struct one o;

	(void)state;
	one_init(&o);
	n = o.r.n[0].node;
	for (uint32_t i = 0; i < 9000; i++)
		sess_floor(n, 1000 + i, rig_shard(&o.r, &o.id), 1);
	sim_run(o.r.s, 200 * ENV_SEC); /* nobody knows them */
	assert_int_equal(stats(&o).sessions, 0);
	assert_null(n->sweep_at);
	for (uint32_t i = 0; i < 9000; i++)
		sess_floor(n, 20000 + i, rig_shard(&o.r, &o.id), 1);
	sweep_fire(&n->sweep_timer);
	assert_non_null(n->sweep_at);
	sweep_fire(&n->sweep_timer);
	assert_non_null(n->sweep_at);
	sess_drop(n, n->sweep_at); /* it goes on behind it */
	sweep_fire(&n->sweep_timer);
	assert_null(n->sweep_at);
	assert_int_equal(stats(&o).sessions, 8999);
	one_fini(&o);
}

/* A full disk refuses what grows, serves reads and deletes, and recovers. */
/* What did not reach the log is not acknowledged, however often it is asked for. */
static void test_node_does_not_replay_what_the_log_lacks(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct one o;

	(void)state;
	one_init(&o);
	disk_mem_faults(o.r.n[0].disk)->write_fails = true;
	assert_int_not_equal(add(&o, 2, 0), WIRE_OK);
	assert_null(rig_wait(&o.k, WIRE_REPLY, rig_send_add(&o.k, &h, &o.id, 0, 1), ENV_SEC));
	disk_mem_faults(o.r.n[0].disk)->write_fails = false;
	one_crash(&o);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 100);
	assert_int_equal(add(&o, 2, 0), WIRE_OK);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 101);
	one_fini(&o);
}

static void test_node_full_disk(void **state)
{
	uint8_t *bulk = mem_zalloc(256 << 10);
	struct rig_head h = {.session = 1, .number = 2};
	struct txn_build t;
	uint16_t status;
	struct one o;

	(void)state;
	one_init(&o);
	disk_mem_faults(o.r.n[0].disk)->capacity = 4 << 20;
	sim_run(o.r.s, 20 * ENV_SEC); /* the store looks at the disk from time to time */
	do {
		txn_init(&t);
		txn_write(&t, &o.id, h.number << 20, bulk, 256 << 10);
		status = rig_status(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t));
		txn_fini(&t);
		h.number++;
	} while (status == WIRE_OK && h.number < 100);
	assert_int_equal(status, WIRE_NO_SPACE);
	assert_int_equal(rig_slot(&o.k, &o.id, 0), 100);
	txn_init(&t);
	txn_punch(&t, &o.id, 0, UINT64_MAX);
	assert_int_equal(rig_status(&o.k, rig_send_txn(&o.k, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	free(bulk);
	one_fini(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_resend_gets_the_stored_reply),
		cmocka_unit_test(test_node_resend_after_kill_gets_the_stored_reply),
		cmocka_unit_test(test_node_resend_while_running_attaches),
		cmocka_unit_test(test_node_older_copy_does_not_take_the_answer),
		cmocka_unit_test(test_node_finishes_what_lost_its_link),
		cmocka_unit_test(test_node_refuses_below_the_floor),
		cmocka_unit_test(test_node_refuses_abandoned_numbers),
		cmocka_unit_test(test_node_keeps_abandoned_numbers_of_what_failed),
		cmocka_unit_test(test_node_says_whether_a_whole_one_was_executed),
		cmocka_unit_test(test_node_asks_the_lowest_shard_whether_it_was_executed),
		cmocka_unit_test(test_node_drops_what_waits_and_is_abandoned),
		cmocka_unit_test(test_node_floor_reaches_all_shards),
		cmocka_unit_test(test_node_replies_go_below_the_floor),
		cmocka_unit_test(test_node_second_copy_of_a_failure_fails_too),
		cmocka_unit_test(test_node_remembers_many_failures),
		cmocka_unit_test(test_node_sweeps_ended_sessions),
		cmocka_unit_test(test_node_sweeps_a_few_at_a_time),
		cmocka_unit_test(test_node_does_not_replay_what_the_log_lacks),
		cmocka_unit_test(test_node_full_disk),
	};

	return cmocka_run_group_tests_name("node_session", tests, NULL, NULL);
}
