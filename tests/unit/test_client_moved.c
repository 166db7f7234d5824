/* Requests whose shards have moved: heads of today, answers of who had them before, and what was
 * sent whole and comes apart. */
#include "tests/unit/test_client_map.h"

/* ---- what was sent under an older map ---- */

static uint64_t since; /* the epoch since which the shards have their term */

/* As a node does it: what was sent under an older epoch is refused. */
static bool by_term(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;

	if ((f->type != WIRE_TXN && f->type != WIRE_PREPARE) || wire_get_txn(frame_cur(f), &m) ||
		m.epoch >= since)
		return false;
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	return true;
}

static void strict(uint64_t epoch)
{
	since = epoch;
	for (unsigned i = 0; i < w.nnodes; i++)
		w.node[i]->hook = by_term;
}

static void test_follow_refused_as_too_old_goes_again_at_once(void **state)
{
	struct result res = {.w = &w}, cross = {.w = &w};
	struct ring_map *m;
	uint64_t began;

	(void)state;
	begin(3);
	m = next_map(); /* the primaries stay, the terms do not */
	for (unsigned s = 0; s < ring_nshards(m); s++)
		m->shards[s].term++;
	strict(2);
	began = w.now;
	put(c, id_on(&w, 1), 1, NULL, &res);
	put2(c, id_on(&w, 1), id_on(&w, 2), 2, NULL, &cross);
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_true(res.at - began < MS);
	assert_int_equal(cross.rc, 0);
	assert_true(cross.at - began < MS);
	assert_int_equal(w.node[1]->applied[1], 1);
	end();
}

static bool deaf_to_txns(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	(void)t;
	return f->type == WIRE_TXN || f->type == WIRE_PREPARE;
}

/* The map came by another way than the refusal; and a link that comes back carries new heads. */
static void test_follow_resends_carry_the_newest_epoch(void **state)
{
	struct result res = {.w = &w}, late = {.w = &w};
	struct ring_map *m;

	(void)state;
	begin(3);
	w.node[1]->hook = deaf_to_txns;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	m = next_map();
	for (unsigned s = 0; s < ring_nshards(m); s++)
		m->shards[s].term++;
	fake_say_epoch(w.node[0], 2);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->got[WIRE_TXN], 1); /* left alone while the link is there */
	strict(2);
	fake_cut(w.node[1]);
	w_for(&w, 50 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->got[WIRE_TXN], 2);
	/* and what goes through another node */
	fake_cut(w.node[1]);
	w.node[1]->blackhole = true;
	w.node[1]->listening = false;
	put(c, id_on(&w, 1), 2, NULL, &late);
	w_for(&w, 10 * MS);
	m = next_map();
	for (unsigned s = 0; s < ring_nshards(m); s++)
		m->shards[s].term++;
	since = 3;
	fake_say_epoch(w.node[0], 3);
	w.node[1]->blackhole = false;
	w.node[1]->listening = true;
	w_for(&w, 5 * SEC);
	assert_int_equal(late.calls, 1);
	assert_int_equal(late.rc, 0);
	assert_int_equal(w.node[1]->applied[2], 1);
	strict(0);
	end();
}

/* ---- whole ones that come apart ---- */

static uint64_t replays;

static bool count_replays(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;

	(void)n;
	(void)t;
	if (f->type == WIRE_TXN && !wire_get_txn(frame_cur(f), &m))
		replays += (m.flags & WIRE_TXN_REPLAY) != 0;
	return false;
}

/* The node executes, but its answer is lost. */
static bool no_answer(struct fake *n, struct tlink *t, struct frame *f)
{
	struct txn_view v;
	struct wire_txn m;
	struct txn_iter it;
	struct txn_op op;
	struct known *k;
	struct buf none = {0};

	(void)t;
	if (f->type != WIRE_TXN || wire_get_txn(frame_cur(f), &m) ||
		txn_check(m.body, m.body_len, &v))
		return false;
	for (it = txn_iter_of(&v); txn_next(&it, &op);) {
		if (op.kind != TXN_SET)
			continue;
		k = fake_know(n, m.session, m.number, fake_home(n, &v), op.a);
		n->applied[op.a]++;
		fake_store(n, k, true, &none);
		break;
	}
	return true;
}

/* Two shards of node 1; in the next map the second one is node 2's. */
static void two_shards(struct orbit_id id[2])
{
	for (unsigned i = 0; i < 2; i++)
		id[i] = id_in(&w, shard_of_node(&w, 1, i), 1);
}

static void come_apart(const struct orbit_id id[2])
{
	struct ring_map *m = next_map();
	struct ring_shard *s = &m->shards[ring_shard_of(m, &id[1])];

	s->primary = s->member[0] = 2;
	s->term++;
	replays = 0;
	for (unsigned i = 0; i < 3; i++)
		w.node[i]->hook = count_replays;
	fake_say_epoch(w.node[0], m->epoch);
}

static void test_follow_whole_one_that_was_executed_gets_its_reply(void **state)
{
	struct result res = {.w = &w};
	struct orbit_id id[2];

	(void)state;
	begin(3);
	two_shards(id);
	w.node[1]->hook = no_answer;
	put2(c, id[0], id[1], 1, NULL, &res);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->applied[1], 1);
	come_apart(id);
	w_for(&w, MS);
	fake_cut(w.node[1]);
	w_for(&w, 50 * MS);
	assert_int_equal(replays, 1);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[1], 1);
	assert_int_equal(w.node[1]->got[WIRE_PREPARE], 0);
	w_for(&w, SEC);
	end();
}

static void test_follow_whole_one_that_was_not_executed_is_split(void **state)
{
	struct result res = {.w = &w};
	struct orbit_id id[2];

	(void)state;
	begin(3);
	two_shards(id);
	w.node[1]->hook = deaf_to_txns;
	put2(c, id[0], id[1], 1, NULL, &res);
	w_for(&w, MS);
	come_apart(id);
	w_for(&w, MS);
	assert_int_equal(res.calls, 0);
	fake_cut(w.node[1]);
	w_for(&w, 50 * MS);
	assert_int_equal(replays, 1);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[1], 1);
	assert_int_equal(w.node[2]->applied[1], 1);
	assert_int_equal(w.node[1]->got[WIRE_PREPARE], 1);
	w_for(&w, SEC);
	end();
}

static struct frame *held;

static bool hold_txns(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	(void)t;
	if (f->type != WIRE_TXN)
		return false;
	frame_unref(held);
	held = frame_ref(f);
	return true;
}

static bool refuse_twice(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN)
		return false;
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	return true;
}

/* The first copy was executed; that later ones were refused says nothing of it. */
static void test_follow_whole_one_of_several_copies_is_asked_about(void **state)
{
	struct result res = {.w = &w};
	struct orbit_id id[2];

	(void)state;
	begin(3);
	two_shards(id);
	w.node[1]->hook = no_answer;
	put2(c, id[0], id[1], 1, NULL, &res);
	w_for(&w, MS);
	w.node[1]->hook = refuse_twice;
	w_for(&w, 6 * SEC); /* stalled, sent again, refused */
	assert_true(w.node[1]->got[WIRE_TXN] > 1);
	come_apart(id);
	w_for(&w, SEC);
	assert_int_equal(replays, 1);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[1], 1);
	assert_int_equal(w.node[1]->got[WIRE_PREPARE], 0);
	end();
}

/* The refusal comes when the newer map is there already. */
static void test_follow_refused_with_a_newer_map_at_hand_goes_again_at_once(void **state)
{
	struct result res = {.w = &w};
	struct ring_map *m;
	struct tlink *t;
	uint64_t began;

	(void)state;
	begin(3);
	w.node[1]->hook = hold_txns;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	m = next_map();
	for (unsigned s = 0; s < ring_nshards(m); s++)
		m->shards[s].term++;
	fake_say_epoch(w.node[0], 2);
	w_for(&w, MS);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	began = w.now;
	strict(2);
	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == w.node[1] && t->pub && t->up)
			break;
	by_term(w.node[1], t, held);
	frame_unref(held);
	held = NULL;
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_true(res.at - began < MS);
	end();
}

/* A transaction that node 1 holds has been sent to node 2 as well, which does not answer it. */
static struct tlink *held_at_1(struct result *res)
{
	struct tlink *t;

	begin(3);
	w.node[1]->hook = hold_txns;
	res->w = &w;
	put(c, id_on(&w, 1), 1, NULL, res);
	w_for(&w, MS);
	w.node[2]->hook = deaf_to_txns;
	fail_over(1, 2);
	fake_say_epoch(w.node[0], 2);
	w_for(&w, MS);
	assert_int_equal(w.node[2]->got[WIRE_TXN], 1);
	assert_int_equal(res->calls, 0);
	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == w.node[1] && t->pub && t->up)
			return t;
	return NULL;
}

static void test_follow_takes_the_answer_of_who_had_it_before(void **state)
{
	struct result res = {0};
	struct tlink *t;

	(void)state;
	t = held_at_1(&res);
	fake_status(w.node[1], t, held, WIRE_OK, -1);
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	frame_unref(held);
	held = NULL;
	end();
}

static void test_follow_asks_again_when_who_had_it_before_failed(void **state)
{
	struct result res = {0};
	struct tlink *t;

	(void)state;
	t = held_at_1(&res);
	fake_status(w.node[1], t, held, WIRE_WRONG_NODE, -1); /* of course */
	w_for(&w, MS);
	assert_int_equal(w.node[2]->got[WIRE_TXN], 1);
	/* what failed there says nothing of what was sent since: the present one does */
	w.node[2]->hook = NULL;
	w_for(&w, 6 * SEC);
	assert_int_equal(res.calls, 1);
	end();
	memset(&res, 0, sizeof(res));
	t = held_at_1(&res);
	w.node[2]->hook = NULL;
	fake_status(w.node[1], t, held, WIRE_COMPARE, -1);
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[2]->applied[1], 1);
	frame_unref(held);
	held = NULL;
	end();
}

/* No copy of it can have been executed: nothing has to be asked. */
static void test_follow_whole_one_that_was_refused_is_split_at_once(void **state)
{
	struct result res = {.w = &w};
	struct orbit_id id[2];

	(void)state;
	begin(3);
	two_shards(id);
	fake_kill(w.node[1]);
	w_for(&w, MS);
	put2(c, id[0], id[1], 1, NULL, &res); /* not sent */
	come_apart(id);
	w_for(&w, 10 * MS);
	w.node[1]->listening = true;
	w_for(&w, 100 * MS);
	assert_int_equal(replays, 0);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[2]->applied[1], 1);
	w_for(&w, SEC);
	end();
}

static void test_follow_more_copies_split_what_one_node_serves(void **state)
{
	struct result res = {.w = &w};
	struct orbit_id id[2];
	struct ring_map *m;

	(void)state;
	begin(3);
	two_shards(id);
	m = next_map();
	for (unsigned i = 0; i < 2; i++) {
		struct ring_shard *s = &m->shards[ring_shard_of(m, &id[i])];

		s->nmembers = 2;
		s->member[1] = 2;
	}
	fake_say_epoch(w.node[0], 2);
	w_for(&w, MS);
	put2(c, id[0], id[1], 1, NULL, &res);
	w_for(&w, SEC);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->got[WIRE_TXN], 0);
	assert_int_equal(w.node[1]->got[WIRE_PREPARE], 2);
	assert_int_equal(w.node[1]->applied[1], 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follow_refused_as_too_old_goes_again_at_once),
		cmocka_unit_test(test_follow_resends_carry_the_newest_epoch),
		cmocka_unit_test(test_follow_whole_one_that_was_executed_gets_its_reply),
		cmocka_unit_test(test_follow_whole_one_that_was_not_executed_is_split),
		cmocka_unit_test(test_follow_whole_one_of_several_copies_is_asked_about),
		cmocka_unit_test(test_follow_refused_with_a_newer_map_at_hand_goes_again_at_once),
		cmocka_unit_test(test_follow_takes_the_answer_of_who_had_it_before),
		cmocka_unit_test(test_follow_asks_again_when_who_had_it_before_failed),
		cmocka_unit_test(test_follow_whole_one_that_was_refused_is_split_at_once),
		cmocka_unit_test(test_follow_more_copies_split_what_one_node_serves),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_moved", tests, NULL, NULL);
}
