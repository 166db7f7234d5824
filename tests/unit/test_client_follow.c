/* Following the ring map: newer ones are fetched at once, and what is pending goes to whom they
 * name. */
#include "tests/unit/test_client_map.h"

static void test_follow_fetches_a_map_that_is_spoken_of(void **state)
{
	unsigned before;

	(void)state;
	begin(3);
	before = fetches();
	next_map();
	fake_say_epoch(w.node[2], w.map->epoch);
	w_for(&w, MS);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	assert_int_equal(fetches(), before + 1);
	fake_say_epoch(w.node[2], 2);
	fake_say_epoch(w.node[2], 1);
	w_for(&w, SEC);
	assert_int_equal(fetches(), before + 1); /* that is no news */
	end();
}

static void test_follow_asks_one_of_all_that_speak_of_it(void **state)
{
	unsigned before;

	(void)state;
	begin(4);
	for (unsigned i = 0; i < 4; i++) {
		struct result res = {0};

		put(c, id_on(&w, i), i + 1, NULL, &res);
		w_for(&w, MS);
		assert_int_equal(res.rc, 0);
	}
	before = fetches();
	next_map();
	for (unsigned i = 0; i < 4; i++)
		fake_say_epoch(w.node[i], 2);
	w_for(&w, SEC);
	assert_int_equal(fetches(), before + 1);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	end();
}

static bool no_map(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	(void)t;
	return f->type == WIRE_MAP_GET;
}

static void test_follow_asks_another_one_when_the_first_is_silent(void **state)
{
	unsigned before;

	(void)state;
	begin(3);
	w.node[1]->hook = no_map;
	next_map();
	before = fetches();
	fake_say_epoch(w.node[1], 2);
	w_for(&w, 200 * MS);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	assert_in_range(fetches() - before, 2, 5);
	w.node[1]->hook = NULL;
	end();
}

/* What nobody can give must not keep us asking for ever at that pace. */
static struct ring_map *older;
static bool broken;

/* Differences instead of whole maps, if it is asked for what comes after @older. */
static bool give_diffs(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_map m = {.epoch = n->w->map->epoch, .form = WIRE_MAP_DIFFS};
	struct buf diff = {0}, all = {0};
	struct frame *r;
	uint64_t epoch;

	if (f->type != WIRE_MAP_GET || wire_get_map_get(frame_cur(f), &epoch) ||
		epoch != older->epoch)
		return false;
	ring_diff(older, n->w->map, &diff);
	if (broken)
		diff.data[diff.len - 1] ^= 1;
	buf_blob(&all, diff.data, diff.len);
	m.map = all.data;
	m.map_len = all.len;
	r = fake_reply(f, WIRE_MAP);
	wire_put_map(&r->b, &m);
	fake_send(t, r);
	buf_fini(&diff);
	buf_fini(&all);
	return true;
}

static void test_follow_takes_a_difference_or_else_the_whole(void **state)
{
	struct buf ours = {0}, theirs = {0};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		begin(3);
		broken = i == 1;
		older = ring_ref(w.map);
		w.node[2]->hook = give_diffs;
		fail_over(1, 2);
		fake_say_epoch(w.node[2], 2);
		w_for(&w, MS);
		assert_int_equal(orbit_ring(c)->epoch, 2);
		buf_reset(&ours);
		buf_reset(&theirs);
		ring_encode(orbit_ring(c), &ours);
		ring_encode(w.map, &theirs);
		assert_int_equal(ours.len, theirs.len);
		assert_memory_equal(ours.data, theirs.data, ours.len);
		assert_int_equal(w.node[2]->got[WIRE_MAP_GET], 2 + i);
		w.node[2]->hook = NULL;
		ring_unref(older);
		end();
	}
	buf_fini(&ours);
	buf_fini(&theirs);
}

static void test_follow_asks_seldom_for_what_nobody_has(void **state)
{
	unsigned before;

	(void)state;
	begin(3);
	before = fetches();
	fake_say_epoch(w.node[1], 1000);
	w_for(&w, 100 * SEC);
	assert_in_range(fetches() - before, 100, 220);
	end();
}

static void test_follow_malformed_epoch_costs_the_link(void **state)
{
	struct tlink *t;

	(void)state;
	begin(2);
	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == w.node[1] && t->pub && t->up) {
			fake_send(t, frame_new(WIRE_EPOCH, 0, 8));
			break;
		}
	w_for(&w, MS);
	assert_int_equal(links_to(w.node[1]), 0);
	w_for(&w, SEC);
	assert_int_equal(links_to(w.node[1]), 1);
	end();
}

/* The primary dies; another one knows a little later who comes after it. */
static void test_follow_pending_goes_to_the_new_primary_at_once(void **state)
{
	struct result res[10] = {0};
	struct orbit_stalled s;
	uint64_t changed;

	(void)state;
	(void)s;
	begin(3);
	w.node[1]->deaf = true;
	for (unsigned i = 0; i < 10; i++) {
		res[i].w = &w;
		put(c, id_on(&w, 1), i + 1, NULL, &res[i]);
	}
	w_for(&w, MS);
	fake_kill(w.node[1]);
	w_for(&w, 400 * MS);
	fail_over(1, 2);
	changed = w.now;
	fake_say_epoch(w.node[0], 2);
	w_for(&w, SEC);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(res[i].calls, 1);
		assert_int_equal(res[i].rc, 0);
		assert_true(res[i].at - changed < MS);
		assert_int_equal(w.node[2]->applied[i + 1], 1);
		assert_int_equal(w.node[2]->asked[i + 1], 1);
	}
	end();
}

/* The same, and nobody says a word: it asks. */
static void test_follow_asks_while_requests_wait_for_a_dead_peer(void **state)
{
	struct result res = {.w = &w};
	unsigned before;
	uint64_t changed;

	(void)state;
	begin(3);
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	before = fetches();
	fake_kill(w.node[1]);
	w_for(&w, MS);
	assert_int_equal(fetches(), before + 1); /* at once */
	w_for(&w, 500 * MS);
	assert_in_range(fetches() - before, 5, 12);
	fail_over(1, 2);
	changed = w.now;
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
	assert_true(res.at - changed < 60 * MS);
	end();
}

static void test_follow_failover_costs_no_try(void **state)
{
	struct orbit_policy p = soft(0, SEC);
	struct result res = {.w = &w};

	(void)state;
	begin(3);
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, MS);
	fake_kill(w.node[1]);
	w_for(&w, 900 * MS);
	fail_over(1, 2);
	w.node[2]->deaf = true;
	fake_say_epoch(w.node[0], 2);
	w_for(&w, 900 * MS);
	assert_int_equal(res.calls, 0);
	fail_over(2, 0);
	fake_say_epoch(w.node[0], 3);
	w_for(&w, 50 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[0]->applied[1], 1);
	w.node[2]->deaf = false;
	end();
}

/* While nothing happens to the map, following it costs nothing. */
static void test_follow_sends_nothing_else_while_all_is_well(void **state)
{
	unsigned before[64] = {0}, got[64] = {0};
	struct result res = {0};

	(void)state;
	begin(3);
	for (unsigned i = 0; i < 300; i++) { /* each link has been used */
		if (i == 3)
			for (unsigned n = 0; n < 3; n++)
				for (unsigned t = 0; t < 64; t++)
					before[t] += w.node[n]->got[t];
		put(c, id_on(&w, i % 3), i + 1, NULL, &res);
		if (i >= 200)
			put2(c, id_on(&w, i % 3), id_on(&w, (i + 1) % 3), i + 1001, NULL, &res);
		w_for(&w, 10 * MS);
		assert_int_equal(res.rc, 0);
	}
	assert_int_equal(res.calls, 400);
	for (unsigned n = 0; n < 3; n++)
		for (unsigned t = 0; t < 64; t++)
			got[t] += w.node[n]->got[t];
	for (unsigned t = 0; t < 64; t++)
		got[t] -= before[t];
	assert_int_equal(got[WIRE_TXN], 297);
	assert_int_equal(got[WIRE_PREPARE], 200);
	assert_int_equal(got[WIRE_DECIDE], 200);
	assert_int_equal(got[WIRE_FORGET], 200);
	got[WIRE_TXN] = got[WIRE_PREPARE] = got[WIRE_DECIDE] = got[WIRE_FORGET] = 0;
	got[WIRE_SESSION_OPEN] = 0; /* renewals */
	for (unsigned t = 0; t < 64; t++)
		assert_int_equal(got[t], 0);
	end();
}

static void test_follow_keeps_a_few_links(void **state)
{
	struct result res = {0};
	unsigned links = 0;

	(void)state;
	world_init(&w, 8, 1);
	c = client_of(3);
	for (unsigned i = 0; i < 8; i++)
		links += links_to(w.node[i]) > 0;
	assert_int_equal(links, 3);
	/* those that go are replaced */
	for (unsigned i = 1; i < 8 && links > 1; i++) {
		if (!links_to(w.node[i]))
			continue;
		fake_kill(w.node[i]);
		links--;
	}
	w_for(&w, SEC);
	links = 0;
	for (unsigned i = 0; i < 8; i++)
		links += w.node[i]->listening && links_to(w.node[i]);
	assert_int_equal(links, 3);
	for (unsigned i = 0; i < 8; i++)
		w.node[i]->listening = true;
	put(c, id_on(&w, 5), 1, NULL, &res);
	w_for(&w, SEC);
	assert_int_equal(res.rc, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follow_fetches_a_map_that_is_spoken_of),
		cmocka_unit_test(test_follow_asks_one_of_all_that_speak_of_it),
		cmocka_unit_test(test_follow_asks_another_one_when_the_first_is_silent),
		cmocka_unit_test(test_follow_takes_a_difference_or_else_the_whole),
		cmocka_unit_test(test_follow_asks_seldom_for_what_nobody_has),
		cmocka_unit_test(test_follow_malformed_epoch_costs_the_link),
		cmocka_unit_test(test_follow_pending_goes_to_the_new_primary_at_once),
		cmocka_unit_test(test_follow_asks_while_requests_wait_for_a_dead_peer),
		cmocka_unit_test(test_follow_failover_costs_no_try),
		cmocka_unit_test(test_follow_sends_nothing_else_while_all_is_well),
		cmocka_unit_test(test_follow_keeps_a_few_links),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_follow", tests, NULL, NULL);
}
