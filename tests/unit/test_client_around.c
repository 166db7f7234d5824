/* Through other nodes: to the keeper, and to nodes that the client does not reach. */
#include "tests/unit/test_client_map.h"

/* ---- the keeper ---- */

static bool no_keeper(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session s = {.status = WIRE_NO_KEEPER};
	struct frame *r;

	(void)n;
	if (f->type != WIRE_SESSION_OPEN)
		return false;
	r = fake_reply(f, WIRE_SESSION);
	wire_put_session(&r->b, &s);
	fake_send(t, r);
	return true;
}

static void test_follow_asks_another_node_for_the_keeper(void **state)
{
	struct orbit_config cfg;
	struct result ready = {0};

	(void)state;
	world_init(&w, 3, 1);
	cfg = config_of(&w);
	for (unsigned i = 0; i < 3; i++)
		w.node[i]->hook = no_keeper;
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	orbit_wait_ready(c, 5 * SEC, on_ready, &ready);
	w_for(&w, 2 * SEC);
	assert_int_equal(ready.calls, 0);
	assert_non_null(strstr(orbit_last_error(c), "knows no leader"));
	for (unsigned i = 0; i < 3; i++) { /* one after the other, 50 to 200 ms apart */
		assert_in_range(w.node[i]->got[WIRE_SESSION_OPEN], 3, 14);
		w.node[i]->hook = NULL;
	}
	w_for(&w, 250 * MS);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, 0);
	end();
}

static void test_follow_renews_through_others_while_the_keeper_is_away(void **state)
{
	(void)state;
	begin(3);
	w.relays = true;
	w.node[0]->blackhole = true;
	w.node[0]->listening = false;
	fake_cut(w.node[0]);
	w_for(&w, 60 * SEC); /* the session times out after 10 */
	assert_int_equal(orbit_session(c), 1);
	assert_in_range(
		w.node[1]->got[WIRE_SESSION_OPEN] + w.node[2]->got[WIRE_SESSION_OPEN], 15, 25);
	w.node[0]->listening = true;
	w.node[0]->blackhole = false;
	w_for(&w, 3 * SEC);
	end();
}

static void test_follow_session_that_is_fenced_is_lost(void **state)
{
	struct result sent = {0}, next = {0};
	struct ring_map *m;

	(void)state;
	begin(3);
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &sent);
	w_for(&w, MS);
	m = next_map();
	m->fenced = mem_zalloc(sizeof(*m->fenced));
	m->fenced[0] = 1;
	m->nfenced = 1;
	w.next_session = 2;
	fake_say_epoch(w.node[0], 2);
	w_for(&w, 10 * MS);
	assert_int_equal(sent.calls, 1);
	assert_int_equal(sent.rc, -ESTALE);
	assert_int_equal(orbit_session(c), 2);
	w.node[1]->deaf = false;
	put(c, id_on(&w, 1), 2, NULL, &next);
	w_for(&w, 10 * MS);
	assert_int_equal(next.rc, 0);
	end();
}

/* ---- one node is all that it reaches ---- */

/* The other nodes are where the client can not go: only @gate is. */
static void behind(unsigned gate)
{
	for (unsigned i = 0; i < w.nnodes; i++) {
		if (i != gate)
			snprintf(w.node[i]->addr, sizeof(w.node[i]->addr), "inside%u", i);
	}
	w.relays = true;
}

static void test_follow_works_through_the_only_node_it_reaches(void **state)
{
	struct result one = {.w = &w}, both = {.w = &w}, sync = {.w = &w}, list = {.w = &w},
		      status = {.w = &w};
	struct orbit_config cfg = orbit_config_default();
	struct result ready = {.w = &w};
	uint64_t began;

	(void)state;
	world_init(&w, 3, 1);
	w.map->keeper = 2;
	for (unsigned i = 0; i < 3; i++)
		w.node[i]->blackhole = i != 1;
	behind(1);
	cfg.seeds[cfg.nseeds++] = w.node[1]->addr;
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	orbit_wait_ready(c, 5 * SEC, on_ready, &ready);
	w_for(&w, 6 * SEC);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, 0);
	began = w.now;
	put(c, id_on(&w, 0), 1, NULL, &one);
	put2(c, id_on(&w, 0), id_on(&w, 2), 2, NULL, &both);
	w_for(&w, 10 * SEC);
	assert_int_equal(one.rc, 0);
	assert_int_equal(one.calls, 1);
	assert_true(one.at - began < 6 * SEC);
	assert_int_equal(both.calls, 1);
	assert_int_equal(both.rc, 0);
	assert_int_equal(w.node[0]->applied[2], 1);
	assert_int_equal(w.node[2]->applied[2], 1);
	assert_int_equal(w.node[0]->got[WIRE_FORGET], 1);
	assert_int_equal(w.node[2]->got[WIRE_FORGET], 1);
	/* from now on without a pause */
	began = w.now;
	put(c, id_on(&w, 0), 3, NULL, &one);
	put2(c, id_on(&w, 0), id_on(&w, 2), 4, NULL, &both);
	w_for(&w, 2 * MS);
	assert_int_equal(one.calls, 2);
	assert_int_equal(both.calls, 2);
	assert_int_equal(both.rc, 0);
	orbit_sync(c, NULL, on_result, &sync);
	orbit_list(c, 'H', shard_of_node(&w, 2, 0), NULL, 0, 10, false, on_result, &list);
	orbit_status(c, 0, on_result, &status);
	w_for(&w, 2 * MS);
	assert_int_equal(sync.calls, 1);
	assert_int_equal(sync.rc, 0);
	assert_int_equal(w.node[0]->got[WIRE_SYNC], 1);
	assert_int_equal(w.node[2]->got[WIRE_SYNC], 1);
	assert_int_equal(list.rc, 0);
	assert_int_equal(list.nparts, 1);
	assert_int_equal(status.rc, 0);
	assert_int_equal(status.nparts, 1);
	assert_int_equal(w.node[0]->got[WIRE_STATUS], 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(w.node[i]->connects, i == 1);
	end();
}

static bool unreachable(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN)
		return false;
	fake_status(n, t, f, WIRE_UNREACHABLE, -1);
	return true;
}

/* The node that is asked has a newer map, and forwards in vain: it is asked again, and not only
 * when the request has stalled. */
static void test_follow_asks_again_when_its_home_forwards_in_vain(void **state)
{
	struct result res = {.w = &w}, other = {.w = &w};

	(void)state;
	begin(3);
	w.node[1]->hook = unreachable;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 900 * MS);
	assert_in_range(w.node[1]->got[WIRE_TXN], 4, 10);
	w.node[1]->hook = NULL;
	w_for(&w, 600 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	/* and at once when there is another map */
	w.node[1]->hook = unreachable;
	put(c, id_on(&w, 1), 2, NULL, &other);
	w_for(&w, 900 * MS);
	fail_over(1, 2);
	fake_say_epoch(w.node[0], w.map->epoch);
	w_for(&w, MS);
	assert_int_equal(other.calls, 1);
	assert_int_equal(other.rc, 0);
	end();
}

static void test_follow_carries_nothing_in_vain_for_long(void **state)
{
	struct result res[50] = {0};
	unsigned before;

	(void)state;
	begin(3);
	w.node[1]->alone = true;
	fake_kill(w.node[1]);
	w_for(&w, MS);
	for (unsigned i = 0; i < 50; i++)
		put(c, id_on(&w, 1), i + 1, NULL, &res[i]);
	w_for(&w, 4900 * MS);
	assert_int_equal(w.node[0]->got[WIRE_TXN] + w.node[2]->got[WIRE_TXN], 0);
	w_for(&w, SEC);
	before = w.node[0]->got[WIRE_TXN] + w.node[2]->got[WIRE_TXN];
	assert_in_range(before, 50, 70); /* all, by the checker, once */
	w.node[1]->listening = true;
	w_for(&w, 100 * MS);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(res[i].rc, 0);
	w.node[1]->alone = false;
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_follow_asks_another_node_for_the_keeper),
		cmocka_unit_test(test_follow_renews_through_others_while_the_keeper_is_away),
		cmocka_unit_test(test_follow_session_that_is_fenced_is_lost),
		cmocka_unit_test(test_follow_works_through_the_only_node_it_reaches),
		cmocka_unit_test(test_follow_asks_again_when_its_home_forwards_in_vain),
		cmocka_unit_test(test_follow_carries_nothing_in_vain_for_long),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_around", tests, NULL, NULL);
}
