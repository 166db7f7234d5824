/* Leases across what goes wrong: suspended, lost with the session, told to new primaries. */
#include "tests/unit/test_client_lease.h"

static void test_leases_are_valid_as_long_as_the_session_is_renewed(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;
	uint64_t until;

	(void)state;
	wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, 60 * SEC);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	assert_int_equal(told.valids, 0);
	until = orbit_valid_until(c);
	assert_in_range(until, w.now + 6900 * MS, w.now + 9500 * MS);
	w.node[0]->deaf = true; /* the keeper */
	w_run(&w, until - 1);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	assert_int_equal(told.valids, 0);
	w_run(&w, until);
	assert_int_equal(told.valids, 1);
	assert_false(told.valid);
	assert_int_equal(orbit_valid_until(c), 0);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	assert_int_equal(covered_now(&s), ORBIT_LEASE_NONE);
	w.node[0]->deaf = false;
	w_for(&w, 10 * SEC);
	assert_int_equal(told.valids, 2);
	assert_true(told.valid);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	assert_int_equal(covered_now(&s), ORBIT_LEASE_SHARED);
	done(&s);
}

/* The process stood still: nobody told it yet, but the clock says so. */
static void test_leases_are_not_used_after_a_sleep(void **state)
{
	struct orbit_id id = id_on(&w, 1);

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	w.now += 9500 * MS;
	assert_int_equal(told.valids, 0);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	assert_int_equal(orbit_valid_until(c), 0);
	w_for(&w, SEC);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
}

/* The keeper has a map that we have not: what it may say of our shards comes first. */
static void test_validity_waits_for_the_map(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	uint64_t until;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	w.session_epoch = w.map->epoch + 1;
	until = orbit_valid_until(c);
	w_for(&w, 5 * SEC);
	assert_int_equal(orbit_valid_until(c), until);
	next_map();
	map_to_client();
	assert_true(orbit_valid_until(c) > until + SEC);
	w_for(&w, 30 * SEC);
	assert_int_equal(told.valids, 0);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
}

/* The new primary of a shard may not know of us, if all copies lost power: what it does not hear in
 * time is given up, while the rest of the session goes on. */
static void test_what_cannot_be_told_is_not_trusted_for_ever(void **state)
{
	struct orbit_id id = id_on(&w, 1), other = id_on(&w, 0);
	uint64_t until;

	(void)state;
	hold(id, ORBIT_LEASE_EXCLUSIVE);
	hold(other, ORBIT_LEASE_SHARED);
	holding.status = WIRE_RETRY;
	w_for(&w, SEC);
	fail_over(1, 2);
	map_to_client();
	until = orbit_valid_until(c);
	w_run(&w, until - 1);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_EXCLUSIVE);
	assert_int_equal(told.recalls, 0);
	w_run(&w, until);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	assert_int_equal(told.recalls, 1);
	assert_int_equal(told.keep, ORBIT_LEASE_NONE);
	assert_int_equal(orbit_lease_held(c, &other), ORBIT_LEASE_SHARED);
	assert_int_equal(told.valids, 0);
	/* it is said all the same, as it is still held */
	holding.status = WIRE_OK;
	w_for(&w, SEC);
	assert_int_equal(holding.one[0].mode, WIRE_LEASE_EXCLUSIVE);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	hold(id, ORBIT_LEASE_EXCLUSIVE);
}

/* The answer came late: what counts is when was asked. */
static uint64_t held_back_until;

static void late_renewal(void *arg, struct frame *f)
{
	fake_session(w.node[0], arg, f);
}

static bool slow_keeper(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	if (f->type != WIRE_SESSION_OPEN)
		return hook(n, t, f);
	w_at(&w, held_back_until, late_renewal, t, frame_ref(f));
	return true;
}

static void test_validity_counts_from_the_question(void **state)
{
	uint64_t before = orbit_valid_until(c), asked;

	(void)state;
	w.node[0]->hook = slow_keeper;
	held_back_until = w.now + 4 * SEC;
	w_for(&w, 4200 * MS);
	asked = c->session.valid - 9500 * MS;
	assert_int_not_equal(orbit_valid_until(c), before);
	assert_true(asked < held_back_until - SEC);
	w.node[0]->hook = hook;
}

static void test_all_are_lost_with_the_session(void **state)
{
	struct orbit_id id[3];
	struct wire_lease_one one;
	struct frame *late;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		id[i] = id_on(&w, i);
		hold(id[i], ORBIT_LEASE_SHARED);
	}
	one = one_of(id[1], WIRE_LEASE_SHARED, TERM(1) | 50);
	late = message(WIRE_GRANT, 7, &one, 1);
	w.next_session = 2; /* the keeper has ended session 1 */
	w_for(&w, 4 * SEC);
	assert_int_equal(orbit_session(c), 2);
	assert_int_equal(told.losses, 3);
	assert_int_equal(granted(c), 0);
	fake_send(link_of(w.node[1]), late);
	w_for(&w, MS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(orbit_lease_held(c, &id[i]), ORBIT_LEASE_NONE);
	assert_int_equal(nback, 0);
	hold(id[1], ORBIT_LEASE_SHARED);
	assert_int_equal(told.losses, 3);
}

static void test_all_are_lost_when_a_map_fences_the_session(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct ring_map *m;

	(void)state;
	hold(id, ORBIT_LEASE_EXCLUSIVE);
	m = fail_over(1, 2);
	m->fenced = mem_grow(m->fenced, 1, sizeof(*m->fenced));
	m->fenced[0] = 1;
	m->nfenced = 1;
	w.next_session = 2;
	map_to_client();
	assert_int_equal(told.losses, 1);
	assert_int_equal(orbit_session(c), 2);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	assert_int_equal(holding.n, 0);
}

static void test_a_new_primary_is_told_until_it_has_heard(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wire_lease_one late;
	struct wish s;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	wish(&s, id, ORBIT_LEASE_SHARED);
	holding.status = WIRE_RETRY;
	fail_over(1, 2);
	map_to_client();
	assert_true(holding.n >= 1);
	assert_int_equal(holding.node, 2);
	assert_int_equal(holding.session, 1);
	assert_int_equal(holding.shard, ring_shard_of(w.map, &id));
	assert_int_equal(holding.term, w.map->shards[holding.shard].term);
	assert_int_equal(holding.ones, 1);
	assert_false(holding.more);
	assert_int_equal(orbit_id_cmp(&holding.one[0].id, &id), 0);
	assert_int_equal(holding.one[0].mode, WIRE_LEASE_SHARED);
	assert_int_equal(holding.one[0].number, TERM(1) | 2);
	/* nothing changes before it has heard: what is held is good */
	assert_int_equal(covered_now(&s), ORBIT_LEASE_SHARED);
	holding.n = 0;
	w_for(&w, SEC);
	assert_true(holding.n >= 2);
	holding.status = WIRE_OK;
	w_for(&w, SEC);
	holding.n = 0;
	w_for(&w, 30 * SEC);
	assert_int_equal(holding.n, 0);
	/* what the old one granted meanwhile is not known to the new one */
	late = one_of(id_in(&w, holding.shard, 9), WIRE_LEASE_SHARED, TERM(1) | 3);
	fake_send(link_of(w.node[1]), message(WIRE_GRANT, 5, &late, 1));
	w_for(&w, MS);
	assert_int_equal(orbit_lease_held(c, &late.id), ORBIT_LEASE_NONE);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	assert_int_equal(nback, 1);
	assert_int_equal(back[0].node, 2);
	done(&s);
}

/* The reply of the old primary is taken, its grant is not. */
static void test_a_grant_of_an_old_term_is_void(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct wish s;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	w_for(&w, MS);
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, 70000); /* granted, and under way */
	claim(w.node[2], ring_shard_of(w.map, &id), 2, 1);
	assert_int_equal(holding.n, 1);
	w_for(&w, MS);
	assert_int_equal(s.calls, 1);
	done(&s);
	/* the CLAIM went by a link of its own: both orders are right, but they must agree */
	assert_int_equal(orbit_lease_held(c, &id), holding.ones ? ORBIT_LEASE_SHARED : 0);
	orbit_return(c, &id, ORBIT_LEASE_NONE);
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, MS);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.covered, ORBIT_LEASE_NONE);
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_NONE);
	done(&s);
}

static void test_a_node_that_was_started_anew_is_told(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct result res = {0};
	struct ring_map *m;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	get(c, id_on(&w, 2), NULL, &res); /* no wish: node 2 owes us nothing */
	w_for(&w, MS);
	fake_kill(w.node[1]);
	w_for(&w, 10 * MS);
	m = next_map();
	m->nodes[1].incarnation = 7;
	map_to_client();
	w.node[1]->listening = true;
	w_for(&w, SEC); /* with nothing else in flight */
	assert_int_equal(holding.node, 1);
	m = next_map(); /* the term may come after the node */
	for (unsigned s = 0; s < ring_nshards(m); s++)
		m->shards[s].term += m->shards[s].primary == 1 || m->shards[s].primary == 2;
	holding.n = 0;
	map_to_client();
	assert_int_equal(holding.n, 0); /* it has heard */
}

/* What is followed lies in the shard of what leads there: no other one is spoken of. */
static void test_a_wish_for_what_is_followed_concerns_one_shard(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct txn_build t;
	struct wish s = {.id = id};

	(void)state;
	assert_true(shard_of_node(&w, 1, 1) != shard_of_node(&w, 1, 0));
	txn_init(&t);
	txn_follow(&t, &id, "k", 1, id.b + 8);
	txn_lease_followed(&t);
	orbit_submit(c, &t, NULL, on_wish, &s);
	w_for(&w, MS);
	assert_int_equal(s.calls, 1);
	done(&s);
	fail_over(1, 2);
	map_to_client();
	w_for(&w, SEC);
	assert_int_equal(holding.n, 1);
	assert_int_equal(holding.shard, ring_shard_of(w.map, &id));
}

static void test_a_claim_is_answered(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	uint16_t other = shard_of_node(&w, 2, 0);

	(void)state;
	hold(id, ORBIT_LEASE_EXCLUSIVE);
	claim(w.node[2], other, 5, 1);
	assert_int_equal(holding.n, 1);
	assert_int_equal(holding.shard, other);
	assert_int_equal(holding.term, 5);
	assert_int_equal(holding.ones, 0);
	claim(w.node[1], ring_shard_of(w.map, &id), 5, 1);
	assert_int_equal(holding.n, 2);
	assert_int_equal(holding.ones, 1);
	assert_int_equal(holding.one[0].mode, WIRE_LEASE_EXCLUSIVE);
	claim(w.node[1], ring_shard_of(w.map, &id), 4, 1); /* late */
	claim(w.node[1], ring_shard_of(w.map, &id), 6, 9); /* another session's */
	assert_int_equal(holding.n, 2);
	/* a node that is ahead of our map */
	claim(w.node[2], ring_shard_of(w.map, &id), 6, 1);
	assert_int_equal(holding.n, 3);
	assert_int_equal(holding.node, 2);
	assert_int_equal(holding.ones, 1);
}

/* One that crossed the map of the next term, in which that node still leads: what is said of the
 * term before is refused, and no other map may come for long. */
static void test_a_claim_that_crossed_a_map_is_answered_in_its_term(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	uint16_t shard = ring_shard_of(w.map, &id);
	struct ring_map *m;

	(void)state;
	hold(id, ORBIT_LEASE_EXCLUSIVE);
	m = next_map();
	m->shards[shard].term++;
	map_to_client();
	assert_int_equal(holding.n, 0); /* it led without a break */
	claim(w.node[1], shard, m->shards[shard].term - 1, 1);
	assert_int_equal(holding.n, 1);
	assert_int_equal(holding.term, m->shards[shard].term);
	assert_int_equal(holding.ones, 1);
}

/* A lease of one whose session a map ended: a node that has not got that map yet might still do
 * what that one had sent, after what is sent to it now. */
static void test_what_follows_a_grant_carries_its_epoch(void **state)
{
	struct orbit_id id = id_on(&w, 1), other = id_on(&w, 2);
	struct result res = {0};
	struct wish s;

	(void)state;
	hold(id, ORBIT_LEASE_SHARED);
	get(c, other, NULL, &res); /* both have a link */
	w_for(&w, MS);
	next_map();
	send_wish(&s, id, ORBIT_LEASE_EXCLUSIVE);
	while (!s.calls)
		w_run(&w, w.now + 1000);
	done(&s);
	assert_int_equal(orbit_ring(c)->epoch, w.map->epoch - 1);
	txn_epoch = 0;
	put(c, other, 1, NULL, &res);
	while (!txn_epoch)
		w_run(&w, w.now + 1000);
	assert_int_equal(txn_epoch, w.map->epoch);
	w_for(&w, MS);
}

static uint64_t asked_1; /* the id of what node 1 was asked last */

static bool takes_note(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	(void)t;
	if (f->type == WIRE_TXN)
		asked_1 = f->id;
	return f->type == WIRE_TXN;
}

/* It was moved, and who had it before answers late: the object may have changed since, before the
 * grant that the new one has sent. */
static void test_a_grant_covers_the_answer_of_who_gave_it(void **state)
{
	struct orbit_id id = id_on(&w, 1);
	struct frame *f;
	struct wish s;

	(void)state;
	w.node[1]->hook = takes_note;
	send_wish(&s, id, ORBIT_LEASE_SHARED);
	w_for(&w, MS);
	assert_int_not_equal(asked_1, 0);
	mute_reply = true; /* the grant alone has come yet */
	fail_over(1, 2);
	map_to_client();
	assert_int_equal(orbit_lease_held(c, &id), ORBIT_LEASE_SHARED);
	assert_int_equal(s.calls, 0);
	f = frame_new(WIRE_REPLY, asked_1, 64);
	f->flags = FRAME_REPLY;
	wire_put_reply_head(&f->b, WIRE_OK, 0, w.map->epoch - 1, NULL, 0);
	fake_send(link_of(w.node[1]), f);
	w_for(&w, MS);
	assert_int_equal(s.calls, 1);
	assert_int_equal(s.covered, ORBIT_LEASE_NONE);
	done(&s);
	w.node[1]->hook = hook;
}

/* Who has to give back one may give back others with it. */
static struct orbit_id ours[3];

static void all_at_once(void *arg, const struct orbit_id *id, enum orbit_lease keep)
{
	(void)arg;
	(void)id;
	told.recalls++;
	for (unsigned i = 0; i < ARRAY_LEN(ours); i++)
		orbit_return(c, &ours[i], keep);
}

static void test_what_is_not_trusted_may_all_go_at_once(void **state)
{
	const struct orbit_lease_ops all = {.recall = all_at_once};

	(void)state;
	orbit_leases(c, &all, NULL);
	for (unsigned i = 0; i < ARRAY_LEN(ours); i++) {
		ours[i] = id_in(&w, shard_of_node(&w, 1, 0), 1 + i);
		hold(ours[i], ORBIT_LEASE_SHARED);
	}
	holding.status = WIRE_RETRY;
	fail_over(1, 2);
	map_to_client();
	w_run(&w, orbit_valid_until(c));
	assert_int_equal(told.recalls, 1);
	assert_int_equal(granted(c), 0);
	holding.status = WIRE_OK;
	w_for(&w, SEC);
}

static void test_many_are_told_in_pieces(void **state)
{
	struct wire_lease_one *ones = mem_zalloc(4000 * sizeof(*ones));
	uint16_t shard = shard_of_node(&w, 1, 0);
	struct wish s;

	(void)state;
	mute_reply = true;
	for (uint32_t k = 0; k < 2; k++) {
		send_wish(&s, id_in(&w, shard, 0), ORBIT_LEASE_SHARED);
		w_for(&w, MS);
		for (uint32_t i = 0; i < 4000; i++)
			ones[i] = one_of(id_in(&w, shard, 1 + k * 4000 + i), WIRE_LEASE_SHARED,
				TERM(1) | (100 + k * 4000 + i));
		fake_send(
			link_of(w.node[1]), message(WIRE_GRANT, w.node[1]->id_of_last, ones, 4000));
		w_for(&w, MS);
		mute_reply = false;
		fake_cut(w.node[1]);
		w_for(&w, SEC);
		done(&s);
		mute_reply = true;
	}
	free(ones);
	assert_int_equal(granted(c), 8001);
	holding.silent = true;
	fail_over(1, 2);
	map_to_client();
	assert_int_equal(holding.ones, WIRE_LEASES_MAX);
	assert_true(holding.more);
	assert_int_equal(holding.n, 1);
	holding.silent = false;
	w_for(&w, 6 * SEC);
	assert_int_equal(holding.n, 3); /* the first one again, and the second */
	assert_int_equal(holding.ones, 8001 - WIRE_LEASES_MAX);
	assert_false(holding.more);
}

/* Nobody waits for anything, but a RECALL could not come through a link that is dead. */
static void test_a_dead_link_to_who_granted_is_noticed(void **state)
{
	unsigned connects;

	(void)state;
	hold(id_on(&w, 1), ORBIT_LEASE_SHARED);
	w_for(&w, 10 * SEC);
	connects = w.node[1]->connects;
	w.node[1]->mute = true;
	w_for(&w, 15 * SEC);
	w.node[1]->mute = false;
	w_for(&w, 15 * SEC);
	assert_true(w.node[1]->connects > connects);
}

static void test_nonsense_is_rejected(void **state)
{
	struct wire_lease_one one = one_of(id_on(&w, 1), WIRE_LEASE_SHARED, 1);
	unsigned connects = w.node[1]->connects;

	(void)state;
	hold(id_on(&w, 1), ORBIT_LEASE_SHARED);
	one.shard ^= 1; /* it does not lie there */
	fake_send(link_of(w.node[1]), message(WIRE_GRANT, 7, &one, 1));
	w_for(&w, 2 * SEC);
	assert_true(w.node[1]->connects > connects);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
		T(leases_are_valid_as_long_as_the_session_is_renewed),
		T(leases_are_not_used_after_a_sleep),
		T(validity_waits_for_the_map),
		T(what_cannot_be_told_is_not_trusted_for_ever),
		T(validity_counts_from_the_question),
		T(all_are_lost_with_the_session),
		T(all_are_lost_when_a_map_fences_the_session),
		T(a_new_primary_is_told_until_it_has_heard),
		T(a_grant_of_an_old_term_is_void),
		T(a_node_that_was_started_anew_is_told),
		T(a_wish_for_what_is_followed_concerns_one_shard),
		T(a_claim_is_answered),
		T(a_claim_that_crossed_a_map_is_answered_in_its_term),
		T(what_follows_a_grant_carries_its_epoch),
		T(a_grant_covers_the_answer_of_who_gave_it),
		T(what_is_not_trusted_may_all_go_at_once),
		T(many_are_told_in_pieces),
		T(a_dead_link_to_who_granted_is_noticed),
		T(nonsense_is_rejected),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_lease_over", tests, NULL, NULL);
}
