/* The client's life, one transaction at a time, questions, and what it makes of bad peers. */
#include "tests/unit/test_client_env.h"

static struct world w;

static void test_client_is_ready_after_two_round_trips(void **state)
{
	struct orbit_config cfg;
	struct orbit_client *c;
	struct result ready = {0};

	(void)state;
	world_init(&w, 3, 1);
	cfg = config_of(&w);
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	assert_null(orbit_ring(c));
	assert_string_not_equal(orbit_last_error(c), "");
	orbit_wait_ready(c, SEC, on_ready, &ready);
	w_for(&w, 300000); /* connect, HELLO + MAP_GET, SESSION_OPEN at 50 us each way */
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, 0);
	assert_int_equal(orbit_session(c), 1);
	assert_int_equal(orbit_ring(c)->nnodes, 3);
	assert_string_equal(orbit_last_error(c), "");
	client_gone(&w, c);
	assert_int_equal(ready.calls, 1);
	world_fini(&w);
}

static void test_client_refuses_a_bad_configuration(void **state)
{
	struct orbit_client *c;
	struct orbit_config cfg;

	(void)state;
	world_init(&w, 1, 1);
	cfg = orbit_config_default();
	assert_int_equal(orbit_new(&c, &w.env, &cfg), -EINVAL);
	cfg = config_of(&w);
	cfg.seeds[0] = "no address";
	assert_int_equal(orbit_new(&c, &w.env, &cfg), -EINVAL);
	cfg = config_of(&w);
	cfg.policy.check_timeout = 9 * MS;
	assert_int_equal(orbit_new(&c, &w.env, &cfg), -EINVAL);
	cfg = config_of(&w);
	cfg.policy.resend_count = 1000001;
	assert_int_equal(orbit_new(&c, &w.env, &cfg), -EINVAL);
	world_fini(&w);
}

static void test_client_says_why_it_is_not_ready(void **state)
{
	struct orbit_config cfg;
	struct orbit_client *c;
	struct result ready = {0};

	(void)state;
	world_init(&w, 1, 1);
	w.node[0]->listening = false;
	cfg = config_of(&w);
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	orbit_wait_ready(c, 2 * SEC, on_ready, &ready);
	w_for(&w, 2 * SEC - 1);
	assert_int_equal(ready.calls, 0);
	w_for(&w, MS);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, -ETIMEDOUT);
	assert_string_equal(
		orbit_last_error(c), "cannot connect to 10.0.0.1:7000: Connection refused");
	client_gone(&w, c);
	world_fini(&w);
}

static void not_ready(int rc, const char *why)
{
	struct orbit_config cfg = config_of(&w);
	struct orbit_client *c;
	struct result ready = {0};

	cfg.fsid[0] = 7;
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	orbit_wait_ready(c, 0, on_ready, &ready);
	w_for(&w, SEC);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, rc);
	assert_non_null(strstr(orbit_last_error(c), why));
	client_gone(&w, c);
}

static void test_client_tells_another_filesystem_and_version(void **state)
{
	(void)state;
	world_init(&w, 2, 1);
	w.node[0]->fsid[0] = w.node[1]->fsid[0] = 9;
	not_ready(-EMEDIUMTYPE, "another filesystem");
	world_fini(&w);
	world_init(&w, 2, 1);
	w.node[0]->version = w.node[1]->version = WIRE_VERSION + 1;
	not_ready(-EPROTONOSUPPORT, "another version");
	world_fini(&w);
}

static bool error_hook(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_error m = {
		.status = WIRE_WRONG_FS,
		.text = "go \"away\"\n",
		.text_len = 10,
	};
	struct frame *r = frame_new(WIRE_ERROR, 0, 64);

	(void)n;
	(void)f;
	wire_put_error(&r->b, &m);
	fake_send(t, r);
	return true;
}

static void test_client_takes_an_error_from_the_node(void **state)
{
	(void)state;
	world_init(&w, 1, 1);
	w.node[0]->hook = error_hook;
	not_ready(-EMEDIUMTYPE, "go ?away??");
	world_fini(&w);
}

static void test_client_waits_for_a_map(void **state)
{
	struct orbit_config cfg;
	struct orbit_client *c;
	struct result ready = {0}, res = {0};
	struct ring_map *map;

	(void)state;
	world_init(&w, 1, 1);
	map = w.map;
	cfg = config_of(&w);
	assert_int_equal(orbit_new(&c, &w.env, &cfg), 0);
	put(c, id_on(&w, 0), 1, NULL, &res);
	w.map = NULL;
	orbit_wait_ready(c, 0, on_ready, &ready);
	w_for(&w, 3 * SEC);
	assert_int_equal(ready.calls, 0);
	assert_string_equal(orbit_last_error(c), "10.0.0.1:7000 has no ring map yet");
	w.map = map;
	w_for(&w, SEC);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, 0);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_client_sends_at_once_and_calls_back_once(void **state)
{
	struct orbit_client *c;
	struct result res = {.w = &w};
	struct orbit_counters n;

	(void)state;
	world_init(&w, 3, 1);
	c = client_ready(&w);
	get(c, id_on(&w, 1), NULL, &res); /* connects to it */
	w_for(&w, 10 * MS);
	res = (struct result){.w = &w};
	assert_true(put(c, id_on(&w, 1), 5, NULL, &res) != 0);
	assert_int_equal(res.calls, 0);
	w_for(&w, 100000); /* one round trip, exactly */
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_false(res.inside);
	assert_int_equal(w.node[1]->applied[5], 1);
	assert_idle(c);
	orbit_counters(c, &n);
	assert_int_equal(n.completed, 2);
	assert_int_equal(n.resent, 0);
	assert_int_equal(n.in_flight, 0);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_client_one_node_for_all_shards_gets_one_message(void **state)
{
	struct orbit_client *c;
	struct result res = {0};

	(void)state;
	world_init(&w, 3, 1);
	c = client_ready(&w);
	put2(c, id_in(&w, shard_of_node(&w, 2, 0), 1), id_in(&w, shard_of_node(&w, 2, 1), 1), 5,
		NULL, &res);
	w_for(&w, 10 * MS);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[2]->got[WIRE_TXN], 1);
	assert_int_equal(w.node[2]->got[WIRE_PREPARE], 0);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_client_gives_errors_of_the_builder_later(void **state)
{
	struct orbit_client *c;
	struct result res[3] = {0};
	struct orbit_policy bad = {.check_timeout = 1};
	struct txn_build t;
	struct orbit_id id;

	(void)state;
	world_init(&w, 1, 1);
	c = client_ready(&w);
	id = id_on(&w, 0);
	txn_init(&t);
	txn_set(&t, &id, TXN_SLOTS, 1);
	inside_call = true;
	assert_true(orbit_submit(c, &t, NULL, on_result, &res[0]) == 0);
	txn_init(&t);
	assert_true(orbit_submit(c, &t, NULL, on_result, &res[1]) == 0); /* empty */
	inside_call = false;
	assert_true(put(c, id, 1, &bad, &res[2]) == 0);
	w_for(&w, MS);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(res[i].calls, 1);
		assert_int_equal(res[i].rc, -EINVAL);
		assert_false(res[i].inside);
	}
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

static uint16_t status_to_give;

static bool status_hook(struct fake *n, struct tlink *t, struct frame *f)
{
	struct frame *r;

	if (f->type != WIRE_TXN)
		return false;
	r = fake_reply(f, WIRE_REPLY);
	wire_put_reply_head(&r->b, status_to_give, 3, n->w->map->epoch, NULL, 0);
	fake_send(t, r);
	return true;
}

static void test_client_gives_the_nodes_verdict(void **state)
{
	static const struct {
		uint16_t status;
		int rc, failed;
	} cases[] = {
		{WIRE_COMPARE, -ECANCELED, 3},
		{WIRE_NO_SPACE, -ENOSPC, -1},
		{WIRE_IO, -EIO, -1},
		{WIRE_READ_ONLY, -EROFS, -1},
		{WIRE_BAD_REQUEST, -EINVAL, -1},
		{WIRE_TOO_BIG, -EMSGSIZE, -1},
		{WIRE_OVERFLOW, -EOVERFLOW, -1},
		{WIRE_NO_SESSION, -ESTALE, -1},
		{WIRE_REFUSED, -ESTALE, -1},
		{999, -EPROTO, -1},
	};
	struct orbit_client *c;
	struct result res;

	(void)state;
	world_init(&w, 1, 1);
	c = client_ready(&w);
	w.node[0]->hook = status_hook;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		res = (struct result){0};
		status_to_give = cases[i].status;
		put(c, id_on(&w, 0), 1, NULL, &res);
		w_for(&w, MS);
		assert_int_equal(res.calls, 1);
		assert_int_equal(res.rc, cases[i].rc);
		assert_int_equal(res.failed, cases[i].failed);
	}
	w_for(&w, MS);
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

/* ---- results ---- */

struct read_out {
	unsigned calls;
	int found, missing;
};

static void on_read(void *arg, const struct orbit_reply *r)
{
	struct read_out *out = arg;
	struct txn_result res;

	out->calls++;
	out->found = orbit_result(r, 1, &res);
	if (!out->found)
		assert_int_equal(res.kind, TXN_GET);
	out->missing = orbit_result(r, 0, &res);
}

static void test_client_finds_results_by_index(void **state)
{
	struct orbit_client *c;
	struct read_out out = {0};
	struct txn_build t;
	struct orbit_id id;

	(void)state;
	world_init(&w, 1, 1);
	c = client_ready(&w);
	id = id_on(&w, 0);
	txn_init(&t);
	txn_exists(&t, &id);
	txn_get(&t, &id);
	orbit_submit(c, &t, NULL, on_read, &out);
	assert_int_equal(t.nops, 0); /* emptied */
	w_for(&w, MS);
	assert_int_equal(out.calls, 1);
	assert_int_equal(out.found, 0);
	assert_int_equal(out.missing, -ENOENT);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_client_asks_list_status_and_session(void **state)
{
	struct orbit_client *c;
	struct result res[6] = {0};

	(void)state;
	world_init(&w, 3, 1);
	c = client_ready(&w);
	orbit_list(c, KEY_HEADER, shard_of_node(&w, 1, 0), NULL, 0, 10, false, on_result, &res[0]);
	orbit_status(c, 2, on_result, &res[1]);
	orbit_status(c, 77, on_result, &res[2]);
	orbit_check_session(c, 1, on_result, &res[3]);
	orbit_check_session(c, 55, on_result, &res[4]);
	orbit_list(c, KEY_HEADER, 16, NULL, 0, 10, false, on_result, &res[5]);
	w_for(&w, 10 * MS);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(res[i].calls, 1);
	assert_int_equal(res[0].rc, 0);
	assert_int_equal(res[0].nparts, 1);
	assert_int_equal(res[1].rc, 0);
	assert_int_equal(res[1].nparts, 1);
	assert_int_equal(res[2].rc, -EINVAL);
	assert_int_equal(res[3].rc, 0);
	assert_int_equal(res[4].rc, -ESTALE);
	assert_int_equal(res[5].rc, -EINVAL);
	assert_int_equal(orbit_session(c), 1); /* asking about another's loses none of ours */
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

/* ---- closing ---- */

static void test_client_close_ends_what_is_in_flight_first(void **state)
{
	struct orbit_client *c;
	struct result res[4] = {0};
	unsigned closed = 0;

	(void)state;
	world_init(&w, 3, 1);
	c = client_ready(&w);
	w.node[1]->deaf = true;
	fake_kill(w.node[2]);
	w_for(&w, MS);
	put(c, id_on(&w, 1), 1, NULL, &res[0]);
	put(c, id_on(&w, 2), 2, NULL, &res[1]);
	put2(c, id_on(&w, 0), id_on(&w, 1), 3, NULL, &res[2]);
	w_for(&w, 10 * MS);
	orbit_close(c, SEC, on_closed, &closed);
	assert_true(put(c, id_on(&w, 0), 4, NULL, &res[3]) == 0);
	assert_int_equal(closed, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(res[i].calls, 0);
	w_for(&w, MS);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(res[i].calls, 1);
		assert_int_equal(res[i].rc, -ESHUTDOWN);
	}
	w_for(&w, 2 * SEC);
	assert_int_equal(closed, 1);
	/* The abort was told to who could hear it. */
	assert_int_equal(w.node[0]->applied[3], 0);
	assert_int_equal(w.node[0]->got[WIRE_DECIDE], 1);
	world_fini(&w);
}

static void test_client_close_ends_the_session(void **state)
{
	struct orbit_client *c;
	unsigned closed = 0, before;

	(void)state;
	world_init(&w, 1, 1);
	c = client_ready(&w);
	before = w.node[0]->got[WIRE_SESSION_OPEN];
	orbit_close(c, SEC, on_closed, &closed);
	w_for(&w, MS);
	assert_int_equal(closed, 1);
	assert_int_equal(w.node[0]->got[WIRE_SESSION_OPEN], before + 1);
	world_fini(&w);
}

static void test_client_close_does_not_wait_for_the_dead(void **state)
{
	struct orbit_client *c;
	unsigned closed = 0;
	uint64_t began;

	(void)state;
	world_init(&w, 1, 1);
	c = client_ready(&w);
	fake_kill(w.node[0]);
	w_for(&w, MS);
	orbit_close(c, 30 * SEC, on_closed, &closed);
	w_for(&w, MS);
	assert_int_equal(closed, 1);
	world_fini(&w);

	world_init(&w, 1, 1); /* nor for the deaf, longer than it is told */
	c = client_ready(&w);
	w.node[0]->deaf = true;
	began = w.now;
	closed = 0;
	orbit_close(c, 2 * SEC, on_closed, &closed);
	w_run(&w, began + 2 * SEC - 1);
	assert_int_equal(closed, 0);
	w_for(&w, 1);
	assert_int_equal(closed, 1);
	world_fini(&w);

	world_init(&w, 1, 1);
	c = client_ready(&w);
	closed = 0;
	orbit_close(c, 0, on_closed, &closed);
	w_for(&w, 0);
	assert_int_equal(closed, 1);
	world_fini(&w);
}

static void closes(struct result *res)
{
	orbit_close(res->then_arg, SEC, on_closed, &res->closed);
}

static void test_client_may_be_closed_and_used_from_a_callback(void **state)
{
	struct orbit_client *c;
	struct result res = {.then = closes}, other = {0};

	(void)state;
	world_init(&w, 2, 1);
	c = client_ready(&w);
	res.then_arg = c;
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 2, NULL, &other);
	put(c, id_on(&w, 0), 1, NULL, &res);
	w_for(&w, 3 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.closed, 1);
	assert_int_equal(other.rc, -ESHUTDOWN);
	world_fini(&w);
}

/* ---- hostile answers ---- */

static bool garbage(struct fake *n, struct tlink *t, struct frame *f)
{
	struct world *wd = n->w;
	struct frame *r;
	unsigned len;

	if (f->type == WIRE_HELLO || f->type == WIRE_MAP_GET || w_random(wd) % 4 == 0)
		return false;
	r = frame_new((uint16_t)(w_random(wd) % 24), w_random(wd) % 2 ? f->id : w_random(wd), 64);
	r->flags = (uint16_t)(w_random(wd) % 2);
	len = (unsigned)(w_random(wd) % 60);
	for (unsigned i = 0; i < len; i++)
		buf_u8(&r->b, w_random(wd) % 2 ? 0 : (uint8_t)w_random(wd));
	if (r->type == WIRE_HELLO)
		r->type = WIRE_REPLY;
	fake_send(t, r);
	return true;
}

static void test_client_survives_garbage(void **state)
{
	struct orbit_client *c;
	struct result res[40];

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		world_init(&w, 2, seed);
		c = client_ready(&w);
		memset(res, 0, sizeof(res));
		w.node[0]->hook = w.node[1]->hook = garbage;
		for (unsigned i = 0; i < 40; i++) {
			put(c, id_on(&w, i % 2), i + 1, NULL, &res[i]);
			w_for(&w, 10 * MS);
		}
		w.node[0]->hook = w.node[1]->hook = NULL;
		w_for(&w, 30 * SEC);
		for (unsigned i = 0; i < 40; i++) {
			assert_int_equal(res[i].calls, 1);
			if (res[i].rc == 0)
				assert_true(w.node[i % 2]->applied[i + 1] <= 1);
		}
		assert_idle(c);
		client_gone(&w, c);
		world_fini(&w);
	}
}

static bool foreign_hook(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN)
		return false;
	n->id_of_last = f->id;
	(void)t;
	return true;
}

static void test_client_takes_answers_only_from_whom_it_asked(void **state)
{
	struct orbit_client *c;
	struct result res = {0}, warm = {0};
	struct tlink *t;
	struct frame *f;

	(void)state;
	world_init(&w, 2, 1);
	c = client_ready(&w);
	get(c, id_on(&w, 1), NULL, &warm);
	w_for(&w, 10 * MS);
	w.node[0]->hook = foreign_hook;
	put(c, id_on(&w, 0), 1, NULL, &res);
	w_for(&w, MS);
	TAILQ_FOREACH (t, &w.links, at) {
		if (t->node != w.node[1] || !t->pub)
			continue;
		f = frame_new(WIRE_REPLY, w.node[0]->id_of_last, 64);
		f->flags = FRAME_REPLY;
		wire_put_reply_head(&f->b, WIRE_OK, 0, 1, NULL, 0);
		fake_send(t, f);
	}
	w_for(&w, MS);
	assert_int_equal(res.calls, 0);
	w.node[0]->hook = NULL;
	w_for(&w, 10 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(w.node[0]->applied[1], 1);
	client_gone(&w, c);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_is_ready_after_two_round_trips),
		cmocka_unit_test(test_client_refuses_a_bad_configuration),
		cmocka_unit_test(test_client_says_why_it_is_not_ready),
		cmocka_unit_test(test_client_tells_another_filesystem_and_version),
		cmocka_unit_test(test_client_takes_an_error_from_the_node),
		cmocka_unit_test(test_client_waits_for_a_map),
		cmocka_unit_test(test_client_sends_at_once_and_calls_back_once),
		cmocka_unit_test(test_client_one_node_for_all_shards_gets_one_message),
		cmocka_unit_test(test_client_gives_errors_of_the_builder_later),
		cmocka_unit_test(test_client_gives_the_nodes_verdict),
		cmocka_unit_test(test_client_finds_results_by_index),
		cmocka_unit_test(test_client_asks_list_status_and_session),
		cmocka_unit_test(test_client_close_ends_what_is_in_flight_first),
		cmocka_unit_test(test_client_close_ends_the_session),
		cmocka_unit_test(test_client_close_does_not_wait_for_the_dead),
		cmocka_unit_test(test_client_may_be_closed_and_used_from_a_callback),
		cmocka_unit_test(test_client_survives_garbage),
		cmocka_unit_test(test_client_takes_answers_only_from_whom_it_asked),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
