/* Transactions across logs: votes, decisions, and what is true when something is lost between. */
#include "tests/unit/test_client_env.h"

static struct world w;
static struct orbit_client *c;

static int setup(void **state)
{
	struct result res[3] = {0};

	(void)state;
	world_init(&w, 3, 1);
	c = client_ready(&w);
	for (unsigned i = 0; i < 3; i++)
		get(c, id_on(&w, i), NULL, &res[i]);
	w_for(&w, 10 * MS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	client_gone(&w, c);
	world_fini(&w);
	return 0;
}

/* Nothing prepared is left, no outcome is left to be forgotten. */
static void assert_settled(void)
{
	struct known *k;

	assert_idle(c);
	for (unsigned i = 0; i < w.nnodes; i++)
		TAILQ_FOREACH (k, &w.node[i]->known, at)
			assert_int_equal(k->state, K_DONE);
}

static void applied(uint64_t tag, unsigned times)
{
	assert_int_equal(w.node[1]->applied[tag], times);
	assert_int_equal(w.node[2]->applied[tag], times);
}

static orbit_handle both(uint64_t tag, const struct orbit_policy *p, struct result *res)
{
	res->w = &w;
	return put2(c, id_on(&w, 1), id_on(&w, 2), tag, p, res);
}

static void test_commit_takes_one_round_trip_for_the_caller(void **state)
{
	struct result res = {0};
	uint64_t began = w.now;

	(void)state;
	both(1, NULL, &res);
	assert_int_equal(res.calls, 0);
	w_for(&w, 10 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.nparts, 2);
	assert_true(res.at - began == 100000);
	applied(1, 1);
	for (unsigned i = 1; i < 3; i++) {
		assert_int_equal(w.node[i]->got[WIRE_PREPARE], 1);
		assert_int_equal(w.node[i]->got[WIRE_DECIDE], 1);
		assert_int_equal(w.node[i]->got[WIRE_FORGET], 1);
	}
	assert_int_equal(w.node[0]->got[WIRE_PREPARE], 0);
	assert_settled();
}

struct both_reads {
	int rc, a, b;
};

static void on_both(void *arg, const struct orbit_reply *r)
{
	struct both_reads *out = arg;
	struct txn_result res;

	out->rc = r->rc;
	out->a = orbit_result(r, 0, &res);
	out->b = orbit_result(r, 1, &res);
}

static void test_commit_results_keep_their_indices(void **state)
{
	struct both_reads out = {.rc = 1};
	struct orbit_id a = id_on(&w, 1), b = id_on(&w, 2);
	struct txn_build t;

	(void)state;
	txn_init(&t);
	txn_get(&t, &b);
	txn_get(&t, &a);
	txn_set(&t, &a, 0, 1);
	orbit_submit(c, &t, NULL, on_both, &out);
	w_for(&w, 10 * MS);
	assert_int_equal(out.rc, 0);
	assert_int_equal(out.a, 0);
	assert_int_equal(out.b, 0);
	assert_settled();
}

static void test_commit_one_no_aborts_all(void **state)
{
	struct result res = {0};

	(void)state;
	w.node[2]->vote = WIRE_COMPARE;
	both(1, NULL, &res);
	w_for(&w, 10 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ECANCELED);
	assert_int_equal(res.failed, 0);
	applied(1, 0);
	assert_int_equal(w.node[1]->got[WIRE_DECIDE], 1);
	assert_int_equal(w.node[2]->got[WIRE_DECIDE], 0); /* it kept nothing */
	assert_settled();
}

static void test_commit_error_of_a_part_is_the_answer(void **state)
{
	struct result res = {0};

	(void)state;
	w.node[1]->vote = WIRE_NO_SPACE;
	both(1, NULL, &res);
	w_for(&w, 10 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ENOSPC);
	assert_int_equal(res.failed, -1);
	assert_settled();
}

static uint64_t ages[64], numbers[64];
static unsigned nages;

static bool note_age(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;

	(void)n;
	(void)t;
	if (f->type == WIRE_PREPARE && nages < 64) {
		assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
		assert_int_equal(m.nparticipants, 2);
		ages[nages] = m.age;
		numbers[nages++] = m.number;
	}
	return false;
}

static void test_commit_conflict_is_retried_with_its_age(void **state)
{
	struct orbit_counters n;
	struct result res = {0};

	(void)state;
	nages = 0;
	w.node[1]->hook = note_age;
	w.node[2]->vote = WIRE_RETRY;
	both(1, NULL, &res);
	w_for(&w, 2 * SEC);
	assert_int_equal(res.calls, 0);
	assert_in_range(nages, 10, 40); /* about 1, 2, 4 ... 200 ms */
	w.node[2]->vote = WIRE_OK;
	w_for(&w, 300 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	applied(1, 1);
	for (unsigned i = 1; i < nages; i++) {
		assert_true(ages[i] == ages[0]);
		assert_true(numbers[i] > numbers[i - 1]);
	}
	orbit_counters(c, &n);
	assert_true(n.conflicts >= 10);
	assert_settled();
}

/* The machine sleeps while a transaction backs off, beyond its check_timeout. */
static void test_commit_conflict_is_retried_after_a_sleep(void **state)
{
	struct result res = {0};

	(void)state;
	w.node[2]->vote = WIRE_RETRY;
	both(1, NULL, &res);
	w_for(&w, 500 * MS);
	assert_int_equal(res.calls, 0);
	w.node[2]->vote = WIRE_OK;
	w.now += 3600 * SEC;
	w_for(&w, 20 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	applied(1, 1);
	assert_settled();
}

/* A participant in doubt had it aborted before this vote was asked for: nothing took effect. */
static void test_commit_refused_vote_is_asked_for_anew(void **state)
{
	struct result res = {0};

	(void)state;
	nages = 0;
	w.node[1]->hook = note_age;
	w.node[2]->vote = WIRE_REFUSED;
	both(1, NULL, &res);
	w_for(&w, 50 * MS);
	assert_int_equal(res.calls, 0);
	w.node[2]->vote = WIRE_OK;
	w_for(&w, 300 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	applied(1, 1);
	assert_true(nages >= 2);
	assert_true(ages[1] == ages[0]);
	assert_true(numbers[1] > numbers[0]);
	assert_settled();
}

/* Reads change nothing: a session that ends does not end them. */
static void test_commit_read_outlives_its_session(void **state)
{
	struct both_reads out = {.rc = 1};
	struct orbit_id a = id_on(&w, 1), b = id_on(&w, 2);
	struct txn_build t;

	(void)state;
	w.node[2]->vote = WIRE_NO_SESSION;
	txn_init(&t);
	txn_get(&t, &b);
	txn_get(&t, &a);
	orbit_submit(c, &t, NULL, on_both, &out);
	w_for(&w, 50 * MS);
	assert_int_equal(out.rc, 1);
	w.node[2]->vote = WIRE_OK;
	w_for(&w, SEC);
	assert_int_equal(out.rc, 0);
	assert_int_equal(out.a, 0);
	assert_int_equal(out.b, 0);
	assert_settled();
}

static void test_commit_conflicts_end_by_policy_and_by_hand(void **state)
{
	struct orbit_policy p = soft(2, 500 * MS);
	struct result res = {0}, hard = {0};
	orbit_handle h;

	(void)state;
	w.node[2]->vote = WIRE_RETRY;
	both(1, &p, &res);
	w_for(&w, 2 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	h = both(2, NULL, &hard);
	w_for(&w, 2 * SEC);
	assert_false(cancel(c, h, true));
	w_for(&w, 4 * SEC);
	assert_true(cancel(c, h, true)); /* it loses, and loses */
	w_for(&w, MS);
	assert_int_equal(hard.calls, 1);
	assert_int_equal(hard.rc, -EINTR);
	w_for(&w, SEC);
	applied(1, 0);
	applied(2, 0);
	assert_settled();
}

static void test_commit_lost_decision_is_sent_until_it_is_answered(void **state)
{
	struct result res = {0}, next = {0};

	(void)state;
	both(1, NULL, &res);
	w_for(&w, 60000); /* the votes are on their way back */
	fake_kill(w.node[2]);
	w_for(&w, 5 * SEC);
	if (res.calls == 0) /* its vote was lost with the link */
		assert_int_equal(w.node[1]->applied[1], 0);
	w.node[2]->listening = true;
	w_for(&w, 100 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	applied(1, 1);
	both(2, NULL, &next);
	w_for(&w, 120000); /* answered; the decisions are on their way */
	assert_int_equal(next.calls, 1);
	assert_int_equal(next.rc, 0);
	w.node[2]->listening = false;
	fake_cut(w.node[2]);
	w_for(&w, 10 * SEC);
	assert_int_equal(w.node[1]->applied[2], 1);
	w.node[2]->listening = true;
	w_for(&w, 100 * MS);
	applied(2, 1);
	w_for(&w, SEC);
	assert_settled();
}

static void test_commit_soft_timeout_tells_once_the_abort_is_sure(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res = {0};
	uint64_t began = w.now;

	(void)state;
	w.node[2]->deaf = true;
	both(1, &p, &res);
	w_for(&w, SEC - 1);
	assert_int_equal(res.calls, 0);
	w_for(&w, 200 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began < SEC + MS); /* node 1 has recorded the abort */
	assert_int_equal(commit_busy(TAILQ_FIRST(&c->calls)), true);
	w_for(&w, 20 * SEC);
	assert_int_equal(res.calls, 1);
	assert_true(number_floor(&c->session) < c->session.next); /* still to be decided */
	w.node[2]->deaf = false;
	w_for(&w, 10 * SEC);
	applied(1, 0);
	assert_settled();
}

static void test_commit_soft_timeout_with_nobody_left_ends_all_the_same(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res = {0};
	uint64_t began = w.now;

	(void)state;
	w.node[1]->deaf = w.node[2]->deaf = true;
	both(1, &p, &res);
	w_for(&w, 2 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == SEC + 200 * MS);
	w.node[1]->deaf = w.node[2]->deaf = false;
	w_for(&w, 10 * SEC);
	applied(1, 0);
	assert_settled();
}

static void test_commit_never_sent_needs_no_abort(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res = {0};
	uint64_t began;

	(void)state;
	fake_kill(w.node[2]);
	w_for(&w, MS);
	began = w.now;
	both(1, &p, &res);
	w_for(&w, 2 * SEC);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == SEC);
	assert_int_equal(w.node[1]->got[WIRE_DECIDE], 1);
	w.node[2]->listening = true;
	w_for(&w, SEC);
	assert_int_equal(w.node[2]->got[WIRE_DECIDE], 0);
	assert_int_equal(w.node[2]->got[WIRE_PREPARE], 0);
	assert_settled();
}

static void test_commit_cancel_decides_in_the_background(void **state)
{
	struct result res = {0};
	orbit_handle h;

	(void)state;
	w.node[2]->deaf = true;
	h = both(1, NULL, &res);
	w_for(&w, 6 * SEC);
	assert_true(cancel(c, h, true));
	assert_int_equal(res.calls, 0);
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -EINTR);
	w_for(&w, 10 * SEC);
	w.node[2]->deaf = false;
	w_for(&w, 10 * SEC);
	applied(1, 0);
	assert_int_equal(res.calls, 1);
	assert_settled();
}

static void test_commit_committed_can_not_be_cancelled(void **state)
{
	struct result res = {0};
	orbit_handle h;

	(void)state;
	h = both(1, NULL, &res);
	w_for(&w, 110000);
	assert_int_equal(res.calls, 1);
	assert_false(TAILQ_EMPTY(&c->calls)); /* is being told */
	assert_false(cancel(c, h, false));
	w_for(&w, 10 * MS);
	applied(1, 1);
	assert_settled();
}

/* All have voted yes, the client has heard of one; the participants settle it among themselves. */
static void settle_behind_the_back(void)
{
	struct known *k;

	for (unsigned i = 1; i < 3; i++)
		TAILQ_FOREACH (k, &w.node[i]->known, at)
			if (k->state == K_PREPARED)
				fake_outcome(w.node[i], k, true);
}

static bool swallow_votes(struct fake *n, struct tlink *t, struct frame *f)
{
	struct tlink mute = *t;

	if (f->type != WIRE_PREPARE)
		return false;
	mute.dead = true; /* prepares, and nobody hears of it */
	fake_prepare(n, &mute, f);
	return true;
}

static void test_commit_aborted_too_late_is_committed(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res = {0};

	(void)state;
	w.node[2]->hook = swallow_votes;
	both(1, &p, &res);
	w_for(&w, 900 * MS);
	settle_behind_the_back();
	w.node[2]->hook = NULL;
	w_for(&w, 200 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0); /* the truth, with the answer of both parts */
	assert_int_equal(res.nparts, 2);
	applied(1, 1);
	w_for(&w, SEC);
	assert_settled();
}

static void test_commit_truth_after_the_caller_was_told_is_carried_on(void **state)
{
	struct orbit_policy p = soft(0, 500 * MS);
	struct result res = {0};

	(void)state;
	w.node[2]->hook = swallow_votes;
	both(1, &p, &res);
	w_for(&w, 100 * MS);
	w.node[1]->deaf = w.node[2]->deaf = true;
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	settle_behind_the_back();
	w.node[1]->deaf = w.node[2]->deaf = false;
	w_for(&w, 10 * SEC);
	assert_int_equal(res.calls, 1);
	applied(1, 1);
	assert_settled();
}

static void test_commit_resent_prepare_gets_the_stored_vote(void **state)
{
	struct result res = {0};

	(void)state;
	w.node[2]->hook = swallow_votes;
	both(1, NULL, &res);
	w_for(&w, MS);
	w.node[2]->hook = NULL;
	fake_cut(w.node[2]);
	w_for(&w, 10 * MS);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.calls, 1);
	applied(1, 1);
	assert_int_equal(w.node[2]->got[WIRE_PREPARE], 2);
	w_for(&w, SEC);
	assert_settled();
}

static bool refuse_decides(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_DECIDE)
		return false;
	fake_status(n, t, f, WIRE_READ_ONLY, -1);
	return true;
}

static void test_commit_decision_waits_for_a_node_that_can_not_write(void **state)
{
	struct result res = {0};

	(void)state;
	w.node[2]->hook = refuse_decides;
	both(1, NULL, &res);
	w_for(&w, 10 * SEC);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[2]->applied[1], 0);
	assert_in_range(w.node[2]->got[WIRE_DECIDE], 10, 40);
	assert_int_equal(w.node[1]->got[WIRE_FORGET], 0); /* not before all have it */
	w.node[2]->hook = NULL;
	w_for(&w, 2 * SEC);
	applied(1, 1);
	assert_int_equal(w.node[1]->got[WIRE_FORGET], 1);
	assert_settled();
}

static void test_commit_close_waits_for_the_decision(void **state)
{
	struct orbit_client *d = c;
	struct result res = {0};
	unsigned closed = 0;

	(void)state;
	both(1, NULL, &res);
	w_for(&w, 100000);
	assert_int_equal(res.calls, 1);
	orbit_close(d, SEC, on_closed, &closed);
	w_for(&w, SEC);
	assert_int_equal(closed, 1);
	applied(1, 1);
	c = client_ready(&w);
}

static void test_commit_takes_as_many_shards_as_a_message_names(void **state)
{
	struct result res = {0};
	struct orbit_id id;
	struct txn_build t;

	(void)state;
	client_gone(&w, c);
	world_fini(&w);
	world_init(&w, 8, 1);
	c = client_ready(&w);
	txn_init(&t);
	for (unsigned s = 0; s < 16; s++) {
		id = id_in(&w, (uint16_t)s, 1);
		txn_set(&t, &id, 0, 1);
	}
	orbit_submit(c, &t, NULL, on_result, &res);
	w_for(&w, 100 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0); /* as many as there are */
}

static struct ring_map *spread(void)
{
	struct buf bytes = {0};
	struct ring_map *m;

	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	m->epoch++;
	return m;
}

static bool wrong_node(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN)
		return false;
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	return true;
}

static void test_commit_whole_transaction_is_cut_when_its_shards_part(void **state)
{
	uint16_t s1 = shard_of_node(&w, 1, 0), s2 = shard_of_node(&w, 1, 1);
	struct ring_map *m = spread();
	struct result res = {0};

	(void)state;
	m->shards[s2].primary = m->shards[s2].member[0] = 2;
	w.node[1]->hook = wrong_node;
	put2(c, id_in(&w, s1, 1), id_in(&w, s2, 1), 1, NULL, &res);
	w_for(&w, 60000);
	ring_unref(w.map);
	w.map = m;
	w.node[1]->hook = wrong_node;
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(res.nparts, 2);
	applied(1, 1);
	w.node[1]->hook = NULL;
	assert_settled();
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_commit_takes_one_round_trip_for_the_caller),
		T(test_commit_results_keep_their_indices),
		T(test_commit_one_no_aborts_all),
		T(test_commit_error_of_a_part_is_the_answer),
		T(test_commit_conflict_is_retried_with_its_age),
		T(test_commit_conflict_is_retried_after_a_sleep),
		T(test_commit_refused_vote_is_asked_for_anew),
		T(test_commit_read_outlives_its_session),
		T(test_commit_conflicts_end_by_policy_and_by_hand),
		T(test_commit_lost_decision_is_sent_until_it_is_answered),
		T(test_commit_soft_timeout_tells_once_the_abort_is_sure),
		T(test_commit_soft_timeout_with_nobody_left_ends_all_the_same),
		T(test_commit_never_sent_needs_no_abort),
		T(test_commit_cancel_decides_in_the_background),
		T(test_commit_committed_can_not_be_cancelled),
		T(test_commit_aborted_too_late_is_committed),
		T(test_commit_truth_after_the_caller_was_told_is_carried_on),
		T(test_commit_resent_prepare_gets_the_stored_vote),
		T(test_commit_decision_waits_for_a_node_that_can_not_write),
		T(test_commit_close_waits_for_the_decision),
		T(test_commit_takes_as_many_shards_as_a_message_names),
		T(test_commit_whole_transaction_is_cut_when_its_shards_part),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_commit", tests, NULL, NULL);
}
