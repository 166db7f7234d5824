/* Leases: granted, recalled, returned. */
#include "tests/unit/test_client_lease.h"

static void test_a_grant_covers_the_reply_that_follows(void **state)
{
	struct orbit_id id = id_on(&w, 1), other = id_in(&w, shard_of_node(&w, 1, 0), 2);
	struct result plain = {0};
	struct orbit_counters n;
	struct wish s;

	(void)state;
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	wish(&s, id, ORBIT_LEASE_SHARED);
	assert_int_equal(orbit_covered(c, &s.reply, &other, NULL), ORBIT_LEASE_NONE);
	done(&s);
	wish(&s, id, ORBIT_LEASE_EXCLUSIVE);
	done(&s);
	get(c, id, NULL, &plain);
	w_for(&w, MS);
	assert_int_equal(plain.calls, 1);
	orbit_counters(c, &n);
	assert_int_equal(n.leases, 1);
	assert_int_equal(n.leases_granted, 2);
	assert_int_equal(nback, 0);
}

static void test_a_recall_ends_what_a_reply_showed(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	wish(&s, id, ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&s), ORBIT_LEASE_SHARED);
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(w.map->shards[0].term) | 1);
	assert_int_equal(told.recalls, 1);
	assert_int_equal(told.keep, ORBIT_LEASE_NONE);
	assert_int_equal(covered_now(&s), ORBIT_LEASE_NONE);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	assert_int_equal(nback, 0); /* the user has not answered */
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(w.map->shards[0].term) | 1);
	assert_int_equal(told.recalls, 1); /* he knows */
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(nback, 1);
	assert_int_equal(back[0].node, 1);
	assert_int_equal(back[0].one.mode, WIRE_LEASE_NONE);
	assert_int_equal(back[0].one.number, TERM(w.map->shards[0].term) | 1);
	assert_int_equal(granted(c), 0);
	done(&s);
}

/* A reply that was covered is not, once the lease was away in between. */
static void test_a_new_grant_does_not_cover_older_replies(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish first, same, second;

	(void)state;
	wish(&first, id, ORBIT_LEASE_SHARED);
	wish(&same, id, ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&first), ORBIT_LEASE_SHARED);
	told.at_once = true;
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(w.map->shards[0].term) | 2);
	assert_int_equal(nback, 1);
	wish(&second, id, ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&second), ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&same), ORBIT_LEASE_NONE);
	assert_int_equal(covered_now(&first), ORBIT_LEASE_NONE);
	done(&first);
	done(&same);
	done(&second);
}

static void test_a_return_that_crosses_a_grant_leaves_it(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, 70000); /* it is granted, and under way */
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(nback, 1);
	assert_int_equal(back[0].one.number & 0xff, 1); /* of no account to the node */
	assert_int_equal(s.covered, ORBIT_LEASE_SHARED);
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(w.map->shards[0].term) | 2);
	assert_int_equal(told.recalls, 1);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(back[1].one.number & 0xff, 2);
	done(&s);
}

static void test_what_is_not_known_is_returned_at_once(void **state)
{
	struct orbit_id id = id_on(&w, 1), other = id_in(&w, shard_of_node(&w, 1, 0), 2);

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	hold(id, ORBIT_LEASE_SHARED);
	recall(w.node[1], other, WIRE_LEASE_NONE, TERM(1) | 9);
	recall(w.node[1], id, WIRE_LEASE_NONE, 1); /* an older one */
	assert_int_equal(told.recalls, 0);
	assert_int_equal(nback, 2);
	assert_int_equal(back[0].one.number, TERM(1) | 9);
	assert_int_equal(back[1].one.number, 1);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	/* one whose grant was lost with a link */
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(1) | 99);
	assert_int_equal(told.recalls, 1);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(back[2].one.number, TERM(1) | 99);
}

static void test_an_exclusive_one_is_recalled_step_by_step(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	wish(&s, id, ORBIT_LEASE_EXCLUSIVE);
	recall(w.node[1], id, WIRE_LEASE_SHARED, TERM(1) | 1);
	assert_int_equal(told.keep, ORBIT_LEASE_SHARED);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&s), ORBIT_LEASE_SHARED);
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(1) | 1);
	assert_int_equal(told.recalls, 2);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	orbit_return(c, &id, ORBIT_LEASE_SHARED);
	w_for(&w, MS);
	assert_int_equal(nback, 1);
	assert_int_equal(back[0].one.mode, WIRE_LEASE_SHARED);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(nback, 2);
	assert_int_equal(back[1].one.mode, WIRE_LEASE_NONE);
	/* what is held already as little as may be kept */
	hold(id, ORBIT_LEASE_SHARED);
	recall(w.node[1], id, WIRE_LEASE_SHARED, TERM(1) | 2);
	assert_int_equal(told.recalls, 2);
	assert_int_equal(back[2].one.mode, WIRE_LEASE_SHARED);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	done(&s);
}

static void test_returns_of_one_turn_go_together(void **state)
{
	struct orbit_id id[8];

	(void)state;
	for (uint32_t i = 0; i < 8; i++) {
		id[i] = id_in(&w, shard_of_node(&w, i % 2, i / 4), i);
		hold(id[i], ORBIT_LEASE_SHARED);
	}
	for (unsigned i = 0; i < 8; i++)
		orbit_return(c, &id[i], ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(nback, 8);
	assert_int_equal(nback_frames, 2);
}

/* Whoever waits for what takes long is told that he was heard, by what gives nothing back. */
static void test_a_recall_that_takes_long_is_heard(void **state)
{
	struct orbit_id id = id_on(&w, 1), other = id_in(&w, shard_of_node(&w, 1, 0), 2);
	struct orbit_counters n;

	(void)state;
	hold(id, ORBIT_LEASE_EXCLUSIVE);
	hold(other, ORBIT_LEASE_EXCLUSIVE);
	recall(w.node[1], id, WIRE_LEASE_NONE, TERM(1) | 1);
	recall(w.node[1], other, WIRE_LEASE_NONE, TERM(1) | 2);
	w_for(&w, 100 * MS);
	assert_int_equal(nback, 0); /* most are faster than that */
	w_for(&w, 700 * MS);
	assert_int_equal(nback_frames, 1);
	w_for(&w, 4 * SEC);
	assert_in_range(nback_frames, 5, 10);
	assert_int_equal(nback, 2 * nback_frames);
	for (unsigned i = 0; i < nback; i++) {
		assert_int_equal(back[i].one.mode, WIRE_LEASE_EXCLUSIVE);
		assert_int_equal(back[i].one.number, TERM(1) | (i % 2 + 1));
	}
	orbit_counters(c, &n);
	assert_int_equal(n.leases_returned, 0);
	/* as much as is still held */
	orbit_return(c, &id, ORBIT_LEASE_SHARED);
	orbit_return(c, &other, ORBIT_LEASE_NONE);
	nback = 0;
	w_for(&w, 700 * MS);
	assert_in_range(nback, 3, 4);
	assert_int_equal(back[nback - 1].one.mode, WIRE_LEASE_SHARED);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	nback = 0;
	w_for(&w, 3 * SEC);
	assert_int_equal(nback, 0);
}

static void test_without_a_user_nothing_is_kept(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	orbit_leases(c, NULL, NULL);
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, MS);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.covered, ORBIT_LEASE_NONE);
	assert_int_equal(nback, 1);
	assert_int_equal(back[0].one.number, TERM(1) | 1);
	done(&s);
}

/* A grant whose reply nobody takes would be held for nothing. */
static void test_a_grant_that_nobody_wants_is_returned(void **state)
{
	struct orbit_id id = id_on(&w, 1), held = id_in(&w, shard_of_node(&w, 1, 0), 2);
	struct wire_lease_one ones[2];

	(void)state;
	hold(held, ORBIT_LEASE_SHARED);
	ones[0] = one_of(id, WIRE_LEASE_SHARED, TERM(1) | 8);
	ones[1] = one_of(held, WIRE_LEASE_SHARED, TERM(1) | 9);
	fake_send(link_of(w.node[1]), message(WIRE_GRANT, 123456, ones, 2));
	w_for(&w, MS);
	assert_int_equal(nback, 1);
	assert_int_equal(orbit_id_cmp(&back[0].one.id, &id), 0);
	assert_int_equal(orbit_lease_held(c, &held), ORBIT_LEASE_SHARED);
	orbit_return(c, &held, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(back[1].one.number, TERM(1) | 9);
}

/* The grant came, its reply did not: the one that comes at last was evaluated anew. */
static void test_a_grant_does_not_cover_the_reply_to_another_sending(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	mute_reply = true;
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, MS);
	assert_int_equal(s.calls, 0);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	w.node[1]->hook = NULL; /* the next one is answered, and not granted */
	fake_cut(w.node[1]);
	w_for(&w, 100 * MS);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.covered, ORBIT_LEASE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
		T(a_grant_covers_the_reply_that_follows),
		T(a_recall_ends_what_a_reply_showed),
		T(a_new_grant_does_not_cover_older_replies),
		T(a_return_that_crosses_a_grant_leaves_it),
		T(what_is_not_known_is_returned_at_once),
		T(an_exclusive_one_is_recalled_step_by_step),
		T(returns_of_one_turn_go_together),
		T(a_recall_that_takes_long_is_heard),
		T(without_a_user_nothing_is_kept),
		T(a_grant_that_nobody_wants_is_returned),
		T(a_grant_does_not_cover_the_reply_to_another_sending),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_lease", tests, NULL, NULL);
}
