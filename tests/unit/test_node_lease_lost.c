/*
 * Leases of sessions when the shard's primary changes: who may hold something is known to all
 * copies, and nothing conflicting happens before each of them has said what it holds, or is over.
 */
#include "dht/ring/plan.h"
#include "tests/unit/lease_rig.h"

struct more {
	struct trio t;
	struct rig_link a, b; /* of session 1 and 2, to node 0 */
	uint16_t shard;
};

static void more_init(struct more *m)
{
	trio_init(&m->t);
	rig_connect(&m->t.r, &m->a, 0);
	rig_connect(&m->t.r, &m->b, 0);
	m->shard = rig_shard(&m->t.r, &m->t.id);
}

static void more_fini(struct more *m)
{
	rig_hangup(&m->a);
	rig_hangup(&m->b);
	trio_fini(&m->t);
}

static void run(struct more *m)
{
	sim_run(m->t.r.s, 50 * ENV_MS);
}

/* Node 1 leads from now on; node 0 is gone. The links of the sessions lead there. */
static void fail_over(struct more *m)
{
	rig_hangup(&m->a);
	rig_hangup(&m->b);
	crash(&m->t, 0, DISK_PROCESS);
	MEMBERS(&m->t, 1, 2);
	give(&m->t, 1);
	give(&m->t, 2);
	rig_connect(&m->t.r, &m->a, 1);
	rig_connect(&m->t.r, &m->b, 1);
	sim_run(m->t.r.s, ENV_SEC);
}

static uint64_t term(struct more *m)
{
	return m->t.r.map->shards[m->shard].term;
}

/* Between its evaluation and its answer somebody changes the object: it is not granted. */
static void test_lease_is_not_granted_if_somebody_wants_the_object_before_the_answer(void **state)
{
	uint64_t rid, other;
	struct more m;

	(void)state;
	more_init(&m);
	/* the first grant of a session waits for all copies */
	sim_slow(m.t.r.s, m.t.r.n[0].host, m.t.r.n[1].host, 30 * ENV_MS);
	rid = send_wish(&m.a, 1, 2, &m.t.id, SHARED, false);
	sim_run(m.t.r.s, 10 * ENV_MS);
	assert_false(has_reply(&m.a, rid));
	other = add_by(&m.b, 2, 1, &m.t.id);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	assert_int_equal(granted(&m.a, rid, &m.t.id).mode, 0);
	assert_int_equal(rig_status(&m.b, other), WIRE_OK);
	assert_int_equal(came(&m.a, WIRE_RECALL), 0);
	more_fini(&m);
}

/* What lies in another shard is not followed, so nobody waits for what is under way there. */
static void test_follow_waits_for_its_own_shard_only(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct orbit_id dir, child;
	struct txn_build t;
	uint64_t rid, other;
	struct more m;

	(void)state;
	more_init(&m);
	dir = rig_id(&m.t.r, 0, 1);
	child = m.t.id;
	assert_int_not_equal(rig_shard(&m.t.r, &dir), rig_shard(&m.t.r, &child));
	txn_init(&t);
	txn_create(&t, &dir, 1, (uint64_t[TXN_SLOTS]){0});
	txn_put(&t, &dir, "k", 1, child.b, 8);
	assert_int_equal(rig_status(&m.a, rig_send_txn(&m.a, WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	run(&m);
	sim_host_pause(m.t.r.n[1].host, 100 * ENV_MS);
	other = add_by(&m.b, 2, 1, &m.t.id);
	sim_run(m.t.r.s, 5 * ENV_MS);
	txn_init(&t);
	txn_follow(&t, &dir, "k", 1, child.b + 8);
	h.number = 3;
	rid = rig_send_txn(&m.a, WIRE_TXN, &h, &t);
	txn_fini(&t);
	sim_run(m.t.r.s, 10 * ENV_MS);
	assert_false(has_reply(&m.b, other));
	assert_true(has_reply(&m.a, rid));
	assert_int_equal(rig_status(&m.b, other), WIRE_OK);
	more_fini(&m);
}

/* One that was waited for is: who meets it waits until it was told, and recalls it then. */
static void test_lease_that_was_waited_for_is_granted(void **state)
{
	uint64_t rid, other;
	struct more m;

	(void)state;
	more_init(&m);
	sim_slow(m.t.r.s, m.t.r.n[0].host, m.t.r.n[1].host, 30 * ENV_MS);
	rid = send_wish(&m.a, 1, 2, &m.t.id, EXCLUSIVE, false);
	sim_run(m.t.r.s, 10 * ENV_MS);
	assert_false(has_reply(&m.a, rid));
	other = add_by(&m.b, 2, 1, &m.t.id);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	assert_int_equal(granted(&m.a, rid, &m.t.id).mode, EXCLUSIVE);
	run(&m);
	assert_false(has_reply(&m.b, other));
	give_back(&m.a, 1, recalled(&m.a, 0), 0);
	assert_int_equal(rig_status(&m.b, other), WIRE_OK);
	more_fini(&m);
}

/* The answer goes to another link than the one that wished: without a grant. */
static void test_lease_is_not_granted_over_another_link(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct txn_build b;
	struct more m;
	uint64_t rid;

	(void)state;
	more_init(&m);
	sim_slow(m.t.r.s, m.t.r.n[0].host, m.t.r.n[1].host, 30 * ENV_MS);
	txn_init(&b);
	txn_add(&b, &m.t.id, 0, 1);
	txn_lease(&b, &m.t.id, SHARED, false);
	rig_send_txn(&m.a, WIRE_TXN, &h, &b);
	sim_run(m.t.r.s, 10 * ENV_MS);
	rid = rig_send_txn(&m.b, WIRE_TXN, &h, &b);
	txn_fini(&b);
	assert_int_equal(rig_status(&m.b, rid), WIRE_OK);
	assert_int_equal(came(&m.a, WIRE_GRANT) + came(&m.b, WIRE_GRANT), 0);
	more_fini(&m);
}

/* What another node handed on brings none either. */
static void test_lease_is_not_granted_through_another_node(void **state)
{
	struct more m;
	uint64_t rid;

	(void)state;
	more_init(&m);
	rid = send_wish(&m.t.k[1], 1, 2, &m.t.id, SHARED, false);
	assert_int_equal(rig_status(&m.t.k[1], rid), WIRE_OK);
	assert_int_equal(came(&m.t.k[1], WIRE_GRANT), 0);
	assert_int_equal(m.t.r.n[0].node->nleases, 0);
	more_fini(&m);
}

/* The holder goes by numbers: what was granted last has the greatest, also where the primary forgot
 * all grants and leads again in the same term. */
static void test_lease_numbers_grow_when_a_primary_leads_again_in_its_term(void **state)
{
	struct wire_lease_one first, again;
	struct more m;
	uint64_t rid;

	(void)state;
	more_init(&m);
	rid = send_wish(&m.a, 1, 2, &m.t.id, SHARED, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	first = granted(&m.a, rid, &m.t.id);
	for (unsigned i = 0; i < 2; i++) {
		struct ring_map *map = ring_draft(m.t.r.map);

		map->nodes[0].up = i == 1;
		ring_unref(m.t.r.map);
		m.t.r.map = map;
		give_all(&m.t);
	}
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 1, &first), WIRE_OK);
	rid = send_wish(&m.a, 1, 3, &m.t.id, EXCLUSIVE, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	again = granted(&m.a, rid, &m.t.id);
	assert_int_equal(again.mode, EXCLUSIVE);
	assert_int_equal(again.number >> 40, first.number >> 40);
	assert_true(again.number > first.number);
	more_fini(&m);
}

/* Whoever has a link is asked at once, and reported when it does not answer. */
static void test_lease_holders_are_asked_when_the_shard_is_served(void **state)
{
	struct node_stats stats;
	struct more m;

	(void)state;
	more_init(&m);
	assert_int_equal(wish_for(&m.a, 1, 2, &m.t.id, SHARED, false), SHARED);
	get_by(&m.t.k[1], 1, &m.t.id);
	run(&m);
	rig_hangup(&m.a);
	rig_hangup(&m.b);
	crash(&m.t, 0, DISK_PROCESS);
	MEMBERS(&m.t, 1, 2);
	give(&m.t, 1);
	give(&m.t, 2);
	sim_run(m.t.r.s, ENV_SEC);
	assert_int_equal(leases_in(nth(&m.t.k[1], WIRE_CLAIM, 0)).session, 1);
	node_stats(m.t.r.n[1].node, &stats);
	assert_int_equal(stats.run_out, 0);
	sim_run(m.t.r.s, 3 * ENV_SEC);
	node_stats(m.t.r.n[1].node, &stats);
	assert_true(stats.run_out > 0);
	more_fini(&m);
}

static void test_lease_holders_are_known_to_all_copies(void **state)
{
	struct buf b = {0};
	struct more m;
	struct key k;

	(void)state;
	more_init(&m);
	key_leaser(&k, m.shard, 1);
	assert_int_equal(wish_for(&m.a, 1, 2, &m.t.id, SHARED, false), SHARED);
	for (unsigned i = 0; i < NODES; i++) {
		buf_reset(&b);
		assert_int_equal(store_get(m.t.r.n[i].store, k.b, k.len, &b), 0);
		assert_int_equal(b.len, 2);
		assert_int_equal(b.data[1], SHARED);
	}
	/* and again before the first exclusive one */
	assert_int_equal(wish_for(&m.a, 1, 3, &m.t.id, EXCLUSIVE, false), EXCLUSIVE);
	for (unsigned i = 0; i < NODES; i++) {
		buf_reset(&b);
		assert_int_equal(store_get(m.t.r.n[i].store, k.b, k.len, &b), 0);
		assert_int_equal(b.data[1], EXCLUSIVE);
	}
	buf_fini(&b);
	more_fini(&m);
}

static void test_lease_waits_for_who_has_not_said_what_it_holds(void **state)
{
	struct wire_lease_one one;
	struct wire_leases claim;
	uint64_t rid, other;
	struct more m;

	(void)state;
	more_init(&m);
	rid = send_wish(&m.a, 1, 2, &m.t.id, SHARED, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	one = granted(&m.a, rid, &m.t.id);
	one.version = 0;
	fail_over(&m);
	other = add_by(&m.b, 2, 1, &m.t.id);
	run(&m);
	assert_false(has_reply(&m.b, other));
	/* it has nothing exclusively: reads pass; it gets nothing new, and others share */
	rid = send_wish(&m.a, 1, 3, &m.t.id, SHARED, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	assert_int_equal(granted(&m.a, rid, &m.t.id).mode, 0);
	claim = leases_in(nth(&m.a, WIRE_CLAIM, 0));
	assert_int_equal(claim.shard, m.shard);
	assert_int_equal(claim.session, 1);
	assert_true(claim.term == term(&m));
	/* not of this term; not all of it */
	assert_int_equal(
		say_holding(&m.a, 1, m.shard, term(&m) - 1, false, 1, &one), WIRE_WRONG_NODE);
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m) + 1, false, 1, &one), WIRE_RETRY);
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), true, 0, NULL), WIRE_OK);
	run(&m);
	assert_int_equal(came(&m.a, WIRE_RECALL), 0);
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 1, &one), WIRE_OK);
	run(&m);
	assert_false(has_reply(&m.b, other));
	assert_true(recalled(&m.a, 0).number == one.number);
	give_back(&m.a, 1, recalled(&m.a, 0), 0);
	assert_int_equal(rig_status(&m.b, other), WIRE_OK);
	/* numbers go on */
	rid = send_wish(&m.a, 1, 4, &m.t.id, SHARED, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	assert_true(granted(&m.a, rid, &m.t.id).number > one.number);
	more_fini(&m);
}

static void test_lease_exclusive_may_be_held_by_who_has_not_said_so(void **state)
{
	uint64_t rid;
	struct more m;

	(void)state;
	more_init(&m);
	assert_int_equal(wish_for(&m.a, 1, 2, &m.t.id, EXCLUSIVE, false), EXCLUSIVE);
	fail_over(&m);
	rid = get_by(&m.b, 2, &m.t.id);
	run(&m);
	assert_false(has_reply(&m.b, rid));
	/* its own pass */
	assert_int_equal(rig_status(&m.a, add_by(&m.a, 1, 3, &m.t.id)), WIRE_OK);
	assert_false(has_reply(&m.b, rid));
	/* it holds nothing */
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 0, NULL), WIRE_OK);
	assert_int_equal(rig_got_slot(&m.b, rid, 0), 1);
	more_fini(&m);
}

static void test_lease_of_who_is_fenced_is_nobodys(void **state)
{
	struct ring_map *map;
	uint64_t rid;
	struct more m;

	(void)state;
	more_init(&m);
	assert_int_equal(wish_for(&m.a, 1, 2, &m.t.id, EXCLUSIVE, false), EXCLUSIVE);
	fail_over(&m);
	rid = get_by(&m.b, 2, &m.t.id);
	run(&m);
	assert_false(has_reply(&m.b, rid));
	map = ring_draft(m.t.r.map);
	plan_fence(map, 1);
	ring_unref(m.t.r.map);
	m.t.r.map = map;
	give(&m.t, 1);
	assert_int_equal(rig_status(&m.b, rid), WIRE_OK);
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 0, NULL), WIRE_NO_SESSION);
	/* its record goes in time */
	{
		struct buf b = {0};
		struct key k;

		key_leaser(&k, m.shard, 1);
		assert_int_equal(store_get(m.t.r.n[1].store, k.b, k.len, &b), 0);
		sim_run(m.t.r.s, 61 * ENV_SEC);
		assert_int_equal(store_get(m.t.r.n[1].store, k.b, k.len, &b), -ENOENT);
		buf_fini(&b);
	}
	more_fini(&m);
}

/* What it sent and still waits has no effect any more: others may have seen that it had none. */
static void test_lease_waits_of_who_is_fenced_end(void **state)
{
	uint64_t rid, vote;
	struct ring_map *map;
	struct txn_build t;
	struct more m;

	(void)state;
	more_init(&m);
	assert_int_equal(wish_for(&m.a, 1, 2, &m.t.id, EXCLUSIVE, false), EXCLUSIVE);
	rid = add_by(&m.b, 2, 1, &m.t.id);
	txn_init(&t);
	txn_add(&t, &m.t.id, 0, 1);
	vote = rig_send_txn(&m.b, WIRE_PREPARE,
		&(struct rig_head){.session = 2,
			.number = 2,
			.age = 1,
			.nparticipants = 2,
			.participants = {m.shard, m.shard ^ 1}},
		&t);
	txn_fini(&t);
	run(&m);
	assert_false(has_reply(&m.b, rid));
	assert_false(has_reply(&m.b, vote));
	map = ring_draft(m.t.r.map);
	plan_fence(map, 1);
	plan_fence(map, 2);
	ring_unref(m.t.r.map);
	m.t.r.map = map;
	give_all(&m.t);
	assert_int_equal(rig_status(&m.b, rid), WIRE_NO_SESSION);
	assert_int_equal(rig_status(&m.b, vote), WIRE_NO_SESSION);
	assert_int_equal(rig_slot(&m.b, &m.t.id, 0), 0);
	more_fini(&m);
}

/* All copies lose power, and come back. */
static void all_dark(struct more *m, enum disk_crash how)
{
	rig_hangup(&m->a);
	rig_hangup(&m->b);
	for (unsigned i = 0; i < NODES; i++)
		crash(&m->t, i, how);
	for (unsigned i = 0; i < NODES; i++)
		restart(&m->t, i);
	MEMBERS(&m->t, 1, 0, 2);
	for (unsigned i = 0; how != DISK_PROCESS && i < ring_nshards(m->t.r.map); i++)
		m->t.r.map->shards[i].suspect = 7;
	for (unsigned i = 0; i < NODES; i++)
		give(&m->t, i);
	rig_connect(&m->t.r, &m->a, 1);
	rig_connect(&m->t.r, &m->b, 1);
	sim_run(m->t.r.s, ENV_SEC);
}

static void sync_all(struct more *m)
{
	struct history h = store_history(m->t.r.n[0].store, m->shard);
	struct wire_effect e = {.shard = m->shard, .term = h.term, .seq = h.seq};
	struct frame *f = frame_new(WIRE_SYNC, m->t.k[0].next++, 64);
	uint64_t rid = f->id;

	wire_put_sync(&f->b, 1, &e, 1);
	link_send(m->t.k[0].l, f);
	assert_int_equal(rig_status(&m->t.k[0], rid), WIRE_OK);
}

/* Who held something may be forgotten then: for as long as a session may trust what it holds
 * nothing happens that it would have to be asked for. */
static void test_lease_holders_are_waited_for_though_their_record_is_lost(void **state)
{
	struct wire_lease_one one;
	struct buf b = {0};
	uint64_t rid, other;
	struct more m;
	struct key k;

	(void)state;
	more_init(&m);
	sync_all(&m); /* the object stays */
	rid = send_wish(&m.a, 1, 2, &m.t.id, EXCLUSIVE, false);
	assert_int_equal(rig_status(&m.a, rid), WIRE_OK);
	one = granted(&m.a, rid, &m.t.id);
	one.version = 0;
	all_dark(&m, DISK_LOSE);
	key_leaser(&k, m.shard, 1);
	assert_int_equal(store_get(m.t.r.n[1].store, k.b, k.len, &b), -ENOENT);
	rid = get_by(&m.b, 2, &m.t.id);
	other = add_by(&m.b, 2, 1, &m.t.id);
	sim_run(m.t.r.s, 3 * ENV_SEC);
	assert_false(has_reply(&m.b, rid));
	/* it may remember what is gone; what it kept back it can send */
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 1, &one), WIRE_OK);
	run(&m);
	assert_int_equal(recalled(&m.a, 0).mode, 0);
	assert_int_equal(store_get(m.t.r.n[1].store, k.b, k.len, &b), 0);
	assert_int_equal(rig_status(&m.a, add_by(&m.a, 1, 3, &m.t.id)), WIRE_OK);
	give_back(&m.a, 1, recalled(&m.a, 0), 0);
	run(&m);
	assert_false(has_reply(&m.b, rid));
	/* the next primary knows that, too, and begins anew */
	all_dark(&m, DISK_PROCESS);
	assert_int_equal(say_holding(&m.a, 1, m.shard, term(&m), false, 0, NULL), WIRE_OK);
	rid = get_by(&m.b, 2, &m.t.id);
	sim_run(m.t.r.s, 8 * ENV_SEC);
	assert_false(has_reply(&m.b, rid));
	sim_run(m.t.r.s, 2 * ENV_SEC);
	assert_int_equal(rig_status(&m.b, rid), WIRE_OK);
	other = add_by(&m.b, 2, 2, &m.t.id);
	assert_int_equal(rig_status(&m.b, other), WIRE_OK);
	key_leaser(&k, m.shard, LEASER_ANY);
	assert_int_equal(store_get(m.t.r.n[1].store, k.b, k.len, &b), -ENOENT);
	buf_fini(&b);
	more_fini(&m);
}

/* ---- an embedded store ---- */

static uint32_t open_session(struct rig_link *k)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW};
	struct frame *f = frame_new(WIRE_SESSION_OPEN, k->next++, 64);
	struct wire_session out;
	uint64_t id = f->id;

	memcpy(m.nonce, &id, sizeof(id));
	wire_put_session_open(&f->b, &m);
	link_send(k->l, f);
	f = rig_wait(k, WIRE_SESSION, id, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_session(frame_cur(f), &out), 0);
	assert_int_equal(out.status, WIRE_OK);
	return out.session;
}

/* What a process that is gone held, or may have held, is in nobody's way. */
static void embedded(enum disk_crash how)
{
	struct orbit_id id;
	struct rig_link k;
	uint32_t session;
	uint64_t begin;
	struct rig r;

	rig_embedded = true;
	rig_init(&r, 1);
	rig_embedded = false;
	id = rig_id(&r, 0, 0);
	rig_connect(&r, &k, 0);
	session = open_session(&k);
	assert_int_equal(wish_for(&k, session, 1, &id, EXCLUSIVE, false), EXCLUSIVE);
	rig_hangup(&k);
	rig_crash(&r, 0, how);
	begin = sim_now(r.s);
	rig_restart(&r, 0);
	rig_connect(&r, &k, 0);
	k.next += 1000; /* another nonce */
	session = open_session(&k);
	assert_int_equal(session, 2);
	assert_int_equal(rig_status(&k, get_by(&k, session, &id)), WIRE_OK);
	assert_int_equal(wish_for(&k, session, 2, &id, EXCLUSIVE, false), EXCLUSIVE);
	assert_in_range(sim_now(r.s) - begin, 0, 600 * ENV_MS);
	rig_hangup(&k);
	rig_fini(&r);
}

static void test_lease_of_an_embedded_store_ends_with_its_process(void **state)
{
	(void)state;
	embedded(DISK_PROCESS);
	embedded(DISK_LOSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_lease_is_not_granted_if_somebody_wants_the_object_before_the_answer),
		cmocka_unit_test(test_follow_waits_for_its_own_shard_only),
		cmocka_unit_test(test_lease_that_was_waited_for_is_granted),
		cmocka_unit_test(test_lease_is_not_granted_over_another_link),
		cmocka_unit_test(test_lease_is_not_granted_through_another_node),
		cmocka_unit_test(test_lease_numbers_grow_when_a_primary_leads_again_in_its_term),
		cmocka_unit_test(test_lease_holders_are_asked_when_the_shard_is_served),
		cmocka_unit_test(test_lease_holders_are_known_to_all_copies),
		cmocka_unit_test(test_lease_waits_for_who_has_not_said_what_it_holds),
		cmocka_unit_test(test_lease_exclusive_may_be_held_by_who_has_not_said_so),
		cmocka_unit_test(test_lease_of_who_is_fenced_is_nobodys),
		cmocka_unit_test(test_lease_waits_of_who_is_fenced_end),
		cmocka_unit_test(test_lease_holders_are_waited_for_though_their_record_is_lost),
		cmocka_unit_test(test_lease_of_an_embedded_store_ends_with_its_process),
	};

	return cmocka_run_group_tests_name("node_lease_lost", tests, NULL, NULL);
}
