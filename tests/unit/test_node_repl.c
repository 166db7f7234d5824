/*
 * Three copies of everything: what is acknowledged, and what waits for whom.
 */
#include "dht/wire/wire_watch.h"
#include "tests/unit/repl_rig.h"

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
		cmocka_unit_test(test_repl_a_full_backup_refuses_for_all),
		cmocka_unit_test(test_repl_a_learner_joins_and_counts_from_then_on),
		cmocka_unit_test(test_repl_a_level_learner_whose_stream_ends_begins_anew),
		cmocka_unit_test(test_repl_writes_wait_when_a_backup_is_too_far_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
