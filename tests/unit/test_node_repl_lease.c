/*
 * Three copies of everything: who may answer.
 */
#include "tests/unit/repl_rig.h"

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
		rid[sent++] = rig_send_get_of(&t.k[0], &t.id, 1);
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
		rid[sent++] = rig_send_get_of(&t.k[0], &t.id, 1);
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

/* It may be a member by now, of a primary that it does not wait for. */
static void test_repl_who_is_being_added_has_to_give_its_lease(void **state)
{
	struct ring_map *m;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	MEMBERS(&t, 0, 1);
	give_all(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	m = ring_draft(t.r.map);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		m->shards[s].nlearners = 1;
		m->shards[s].learner[0] = 2;
	}
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	for (unsigned i = 0; i < 2000 && !(copy_of(&t, 2) && copy_of(&t, 2)->proposed); i++)
		sim_run(t.r.s, 5 * ENV_MS);
	assert_true(copy_of(&t, 2)->proposed);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 1);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
	sim_run(t.r.s, ENV_SEC);
	rid = rig_send_get(&t.k[0], &t.id);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, rid));
	sim_heal_all(t.r.s);
	assert_int_equal(rig_got_slot(&t.k[0], rid, 0), 1);
	trio_fini(&t);
}

/* Whoever gets what it had brings the map that says so. */
static void test_repl_a_fenced_session_is_refused_under_the_map_that_says_so(void **state)
{
	struct ring_map *m;
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	m = ring_draft(t.r.map);
	m->fenced = mem_zalloc(sizeof(*m->fenced));
	m->fenced[0] = 1;
	m->nfenced = 1;
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	assert_int_equal(add(&t, 0), WIRE_NO_SESSION);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 1);
	trio_fini(&t);
}

/* Whose map is newer relies on what it says: a session that it fences does nothing here after what
 * such a request saw. So that one waits for the map; not for ever. */
static void test_repl_a_request_of_a_newer_map_waits_for_it(void **state)
{
	struct rig_head next = {.session = 2, .number = 1, .older = UINT64_MAX}; /* one ahead */
	struct rig_head late = {.session = 1, .number = 50, .older = UINT64_MAX};
	uint64_t rid, old, began;
	struct ring_map *m;
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	began = sim_now(t.r.s);
	rid = rig_send_add(&t.k[0], &next, &t.id, 0, 1);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_RETRY);
	assert_in_range(sim_now(t.r.s) - began, 400 * ENV_MS, 600 * ENV_MS);
	rid = rig_send_add(&t.k[0], &next, &t.id, 0, 1);
	old = rig_send_add(&t.k[0], &late, &t.id, 0, 1);
	sim_run(t.r.s, 200 * ENV_MS);
	assert_false(answered(&t, 0, rid));
	assert_false(answered(&t, 0, old));
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 1);
	m = ring_draft(t.r.map);
	m->fenced = mem_zalloc(sizeof(*m->fenced));
	m->fenced[0] = 1;
	m->nfenced = 1;
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_int_equal(rig_status(&t.k[0], old), WIRE_NO_SESSION);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 2);
	trio_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repl_nobody_answers_while_another_may),
		cmocka_unit_test(test_repl_a_lease_counts_from_when_it_was_asked_for),
		cmocka_unit_test(test_repl_who_just_started_may_have_given_a_lease),
		cmocka_unit_test(test_repl_a_killed_primary_costs_about_a_lease),
		cmocka_unit_test(test_repl_who_is_being_added_has_to_give_its_lease),
		cmocka_unit_test(test_repl_a_fenced_session_is_refused_under_the_map_that_says_so),
		cmocka_unit_test(test_repl_a_request_of_a_newer_map_waits_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
