/* The keeper, where something is in the way just then. */
#include "tests/unit/keeper_rig.h"

static void boot_all(struct world *w, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		world_boot(w, i);
	world_await_leader(w);
	world_await_voters(w, n);
}

static uint32_t open_session(struct world *w, uint64_t nonce)
{
	struct wire_session s = world_session(w, WIRE_SESSION_NEW, nonce, 0);

	assert_int_equal(s.status, WIRE_OK);
	return s.session;
}

static void handed_over(struct raft_transfer *t)
{
	(void)t;
}

/* While a leader is handing over it can change nothing; if that fails, it goes on as before. */
static void test_keeper_fences_after_a_handover_that_failed(void **state)
{
	const struct keeper_config cfg = {.session_timeout = 2 * ENV_SEC};
	struct raft_transfer t;
	struct keeper *k;
	struct world w;
	unsigned other;
	int leader;

	(void)state;
	world_init_with(&w, 7, &cfg);
	boot_all(&w, 3);
	assert_int_equal(open_session(&w, 1), 1);
	leader = world_leader(&w);
	k = w.m[leader].k;
	other = leader == 1 ? 2 : 1;
	w.m[other].cut = true;
	/* the session becomes silent for too long meanwhile */
	for (unsigned i = 0; i < 100; i++) {
		if (!k->raft.transfer)
			assert_int_equal(
				raft_transfer(&k->raft, &t, w.m[other].number, handed_over), 0);
		world_run(&w, WORLD_STEP);
		assert_true(keeper_leads(k));
	}
	world_run(&w, 2 * ENV_SEC);
	assert_true(keeper_leads(k));
	assert_int_equal(world_session(&w, WIRE_SESSION_CHECK, 0, 1).status, WIRE_NO_SESSION);
	assert_true(ring_fenced(world_ring(&w), 1));
	world_fini(&w);
}

/* A snapshot that is lost on its way is sent again before long. */
static void test_keeper_sends_a_lost_snapshot_again(void **state)
{
	const struct keeper_config cfg = {.snapshot_every = 16, .session_timeout = 60 * ENV_SEC};
	struct keeper *k;
	unsigned late, at;
	struct world w;

	(void)state;
	world_init_with(&w, 7, &cfg);
	boot_all(&w, 3);
	k = w.m[world_leader(&w)].k;
	late = world_leader(&w) == 2 ? 1 : 2;
	w.m[late].cut = true;
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(open_session(&w, i + 1), i + 1);
	for (at = 0; k->raft.configuration.servers[at].id != w.m[late].number; at++)
		;
	w.m[late].cut = false;
	for (unsigned i = 0; i < 50000 && k->raft.leader_state.progress[at].state != 2; i++)
		sim_run(w.s, ENV_MS / 100);
	assert_int_equal(k->raft.leader_state.progress[at].state, 2);
	while (io_busy(k)) /* it is still being read */
		sim_run(w.s, ENV_MS / 100);
	w.m[late].cut = true;
	sim_run(w.s, 2 * ENV_MS);
	assert_int_equal(HASH_COUNT(w.m[late].k->state.sessions), 0);
	assert_int_equal(k->raft.leader_state.progress[at].state, 2);
	w.m[late].cut = false;
	world_run(&w, 5 * ENV_SEC);
	assert_int_equal(HASH_COUNT(w.m[late].k->state.sessions), 400);
	world_fini(&w);
}

/* What waits for room on the disk does not keep a node from stopping. */
static void test_keeper_stops_on_a_full_disk(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {9}};
	struct said d = {0};
	struct world w;

	(void)state;
	world_init(&w);
	world_run(&w, ENV_SEC);
	disk_mem_faults(w.m[0].disk)->capacity = 1;
	keeper_session(w.m[0].k, &m, said_session, &d);
	world_run(&w, ENV_SEC);
	assert_false(d.done);
	assert_true(keeper_busy(w.m[0].k));
	keeper_stop(w.m[0].k);
	sim_run(w.s, ENV_SEC);
	assert_false(keeper_busy(w.m[0].k));
	world_crash(&w, 0, DISK_PROCESS, 1);
	assert_true(d.done);
	assert_int_equal(d.status, WIRE_NO_KEEPER);
	disk_mem_faults(w.m[0].disk)->capacity = 0;
	world_boot(&w, 0);
	assert_int_equal(open_session(&w, 5), 1);
	world_fini(&w);
}

/* Who stops tells all that wait for it, though what they asked may yet be agreed on: nobody listens
 * any more to those who would agree. */
static void test_keeper_that_stops_lets_nobody_wait(void **state)
{
	const struct wire_session_open open = {.what = WIRE_SESSION_NEW, .nonce = {9}};
	const struct wire_session_open end = {.what = WIRE_SESSION_END, .session = 1};
	const struct wire_ask_m m = {.what = ASK_WEIGHT, .node = world_id(1), .weight = 50};
	struct said a = {0}, b = {0}, c = {0};
	struct world w;
	int leader;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	assert_int_equal(open_session(&w, 1), 1);
	leader = world_leader(&w);
	w.m[leader].cut = true;
	keeper_ask(w.m[leader].k, &m, said_ask, &a);
	keeper_session(w.m[leader].k, &open, said_session, &b);
	keeper_session(w.m[leader].k, &end, said_session, &c);
	sim_run(w.s, 20 * ENV_MS);
	assert_false(a.done || b.done || c.done);
	keeper_stop(w.m[leader].k);
	sim_run(w.s, 20 * ENV_MS);
	assert_true(a.done && b.done && c.done);
	assert_int_equal(a.status, WIRE_NO_KEEPER);
	assert_int_equal(b.status, WIRE_NO_KEEPER);
	assert_int_equal(c.status, WIRE_NO_KEEPER);
	world_fini(&w);
}

/* A leader that stood still has a successor, of whom it hears last: meanwhile it says nothing. */
static void test_keeper_that_stood_still_answers_nobody(void **state)
{
	const struct wire_session_open renew = {.what = WIRE_SESSION_RENEW, .session = 1};
	struct keeper *k;
	struct world w;
	int leader;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	assert_int_equal(open_session(&w, 1), 1);
	leader = world_leader(&w);
	k = w.m[leader].k;
	sim_host_pause(w.m[leader].host, 5 * ENV_SEC);
	w.m[leader].cut = true; /* what the others say comes later than what is asked */
	sim_run(w.s, 5 * ENV_SEC - ENV_MS);
	assert_true(world_leader(&w) >= 0);
	for (unsigned i = 0; i < 2000; i++) {
		struct said d = {0};

		sim_run(w.s, ENV_MS);
		keeper_session(k, &renew, said_session, &d);
		if (d.done)
			assert_int_equal(d.status, WIRE_NO_KEEPER);
	}
	w.m[leader].cut = false;
	world_run(&w, ENV_SEC);
	assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 1).status, WIRE_OK);
	world_fini(&w);
}

/* If it has no successor, it goes on once the others have said so. */
static void test_keeper_that_stood_still_goes_on(void **state)
{
	const struct wire_session_open renew = {.what = WIRE_SESSION_RENEW, .session = 1};
	struct said d = {0};
	struct keeper *k;
	struct world w;
	int leader;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	assert_int_equal(open_session(&w, 1), 1);
	leader = world_leader(&w);
	k = w.m[leader].k;
	for (unsigned i = 0; i < 3; i++)
		sim_host_pause(w.m[i].host, 5 * ENV_SEC);
	sim_run(w.s, 5 * ENV_SEC - ENV_MS);
	keeper_session(k, &renew, said_session, &d);
	assert_true(d.done);
	assert_int_equal(d.status, WIRE_NO_KEEPER);
	world_run(&w, 2 * ENV_SEC);
	assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 1).status, WIRE_OK);
	world_fini(&w);
}

/* A session that nobody has yet is not ended beforehand. */
static void test_keeper_fences_only_what_was_opened(void **state)
{
	struct wire_ask_m m = {.what = ASK_FENCE, .session = 2};
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(world_ask(&w, &m), WIRE_BAD_REQUEST);
	m.session = 0;
	assert_int_equal(world_ask(&w, &m), WIRE_BAD_REQUEST);
	assert_int_equal(open_session(&w, 2), 2);
	assert_int_equal(world_session(&w, WIRE_SESSION_CHECK, 0, 2).status, WIRE_OK);
	world_fini(&w);
}

static int get_change(const struct raft_buffer *data)
{
	struct raft_entry e = {.term = 2, .type = RAFT_CHANGE, .buf = *data};
	struct raft_message m = {.type = RAFT_IO_APPEND_ENTRIES, .server_id = 1}, got;
	struct message_head h;
	struct frame *f;
	int rc;

	m.append_entries.term = 2;
	m.append_entries.entries = &e;
	m.append_entries.n_entries = 1;
	f = message_put(2, 2, &m);
	assert_non_null(f);
	rc = message_get(frame_cur(f), &h, &got);
	if (!rc)
		message_free(&got);
	frame_unref(f);
	return rc;
}

/* libraft would go out of service for good on a change of the voters that it can not read. */
static void test_keeper_takes_no_change_that_makes_no_sense(void **state)
{
	struct raft_configuration c;
	struct raft_buffer data, cut;
	uint8_t *byte;

	(void)state;
	raft_configuration_init(&c);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(files_add_server(&c, i * 5, i == 3 ? RAFT_SPARE : RAFT_VOTER), 0);
	assert_int_equal(raft_configuration_encode(&c, &data), 0);
	assert_int_equal(get_change(&data), 0);
	for (cut = data, cut.len = 0; cut.len < data.len; cut.len++)
		assert_int_equal(get_change(&cut), -EBADMSG);
	/* version, number of servers, a number, its address, where that ends, its role */
	for (unsigned at = 0; at < 20; at++) {
		byte = (uint8_t *)data.base + at;
		*byte ^= 0x10;
		assert_int_equal(get_change(&data), -EBADMSG);
		*byte ^= 0x10;
	}
	assert_int_equal(get_change(&data), 0);
	raft_free(data.base);
	raft_configuration_close(&c);
	/* none, or none that votes */
	for (unsigned n = 0; n < 2; n++) {
		raft_configuration_init(&c);
		if (n)
			assert_int_equal(files_add_server(&c, 1, RAFT_SPARE), 0);
		assert_int_equal(raft_configuration_encode(&c, &data), 0);
		assert_int_equal(get_change(&data), -EBADMSG);
		raft_free(data.base);
		raft_configuration_close(&c);
	}
}

/* What no voter would take is not proposed, again and again, but refused; and once it is right
 * again, all goes on. */
static void test_keeper_proposes_no_map_that_makes_no_sense(void **state)
{
	struct wire_ask_m m = {.what = ASK_WEIGHT, .node = world_id(1), .weight = 50};
	struct said a = {0}, b = {0};
	struct ring_map *map;
	struct keeper *k;
	struct world w;
	raft_index last;
	uint64_t epoch;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_run(&w, ENV_SEC);
	k = w.m[world_leader(&w)].k;
	map = keeper_map(k);
	epoch = map->epoch;
	last = raft_last_index(&k->raft);
	map->nodes[2].zone[0] = ' ';
	keeper_ask(k, &m, said_ask, &a);
	keeper_ask(k, &m, said_ask, &b);
	world_run(&w, ENV_SEC);
	assert_true(a.done && b.done);
	assert_int_equal(a.status, WIRE_BAD_REQUEST);
	assert_int_equal(b.status, WIRE_BAD_REQUEST);
	assert_ptr_equal(keeper_map(k), map);
	assert_int_equal(raft_last_index(&k->raft), last);
	map->nodes[2].zone[0] = 0;
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_int_equal(keeper_map(k)->epoch, epoch + 1);
	assert_int_equal(world_node(&w, 1)->weight, 50);
	world_fini(&w);
}

/* Who says that it lives, and yet gets no message of a voter, keeps no other node from voting. */
static void test_keeper_tries_another_voter(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	w.m[1].deaf = true;
	for (unsigned i = 1; i < 4; i++)
		world_boot(&w, i);
	for (unsigned i = 0; i < 1600 && world_voters(&w) < 3; i++)
		world_run(&w, WORLD_STEP);
	assert_int_equal(world_voters(&w), 3);
	assert_false(world_node(&w, 1)->voter);
	assert_true(world_node(&w, 2)->voter && world_node(&w, 3)->voter);
	world_fini(&w);
}

/* A voter leaves: another votes before it goes, so that there are never fewer. */
static void test_keeper_votes_of_those_who_leave_are_replaced_first(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 2; turn++) {
		struct wire_ask_m q = {.what = ASK_LEAVE};
		unsigned goes, least = WORLD_MAX;
		struct world w;

		world_init(&w);
		for (unsigned i = 1; i < 4; i++)
			world_boot(&w, i);
		world_await_leader(&w);
		world_await_voters(&w, 3);
		goes = (unsigned)world_leader(&w);
		for (unsigned i = 0; turn && i < 4; i++)
			if (i != (unsigned)world_leader(&w) && world_node(&w, i)->voter)
				goes = i;
		q.node = world_id(goes);
		assert_int_equal(world_ask(&w, &q), WIRE_OK);
		for (unsigned i = 0; i < 400; i++) {
			unsigned votes = 0;
			int leader;

			world_run(&w, WORLD_STEP);
			leader = world_leader(&w);
			for (unsigned k = 0; leader >= 0 && k < w.m[leader].k->raft.configuration.n;
				k++)
				votes += w.m[leader].k->raft.configuration.servers[k].role ==
					 RAFT_VOTER;
			if (leader >= 0 && votes < least)
				least = votes;
		}
		assert_int_equal(least, 3);
		assert_int_equal(world_voters(&w), 3);
		assert_false(world_node(&w, goes)->voter);
		world_fini(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeper_fences_after_a_handover_that_failed),
		cmocka_unit_test(test_keeper_sends_a_lost_snapshot_again),
		cmocka_unit_test(test_keeper_stops_on_a_full_disk),
		cmocka_unit_test(test_keeper_that_stops_lets_nobody_wait),
		cmocka_unit_test(test_keeper_that_stood_still_answers_nobody),
		cmocka_unit_test(test_keeper_that_stood_still_goes_on),
		cmocka_unit_test(test_keeper_fences_only_what_was_opened),
		cmocka_unit_test(test_keeper_takes_no_change_that_makes_no_sense),
		cmocka_unit_test(test_keeper_proposes_no_map_that_makes_no_sense),
		cmocka_unit_test(test_keeper_tries_another_voter),
		cmocka_unit_test(test_keeper_votes_of_those_who_leave_are_replaced_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
