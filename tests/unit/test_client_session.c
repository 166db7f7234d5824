/* Sessions: opened, renewed, lost; their numbers; and what fsync asks for. */
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

static void test_session_is_renewed_four_times_within_its_timeout(void **state)
{
	unsigned before = w.node[0]->got[WIRE_SESSION_OPEN];

	(void)state;
	w_for(&w, 33 * SEC);
	assert_in_range(w.node[0]->got[WIRE_SESSION_OPEN] - before, 12, 13);
	assert_int_equal(orbit_session(c), 1);
}

static bool drop_first_session(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session_open m;
	static uint8_t nonce[16];

	(void)t;
	if (f->type != WIRE_SESSION_OPEN)
		return false;
	assert_int_equal(wire_get_session_open(frame_cur(f), &m), 0);
	if (n->got[WIRE_SESSION_OPEN] == 1) {
		memcpy(nonce, m.nonce, 16);
		return true;
	}
	if (m.what == WIRE_SESSION_NEW)
		assert_memory_equal(nonce, m.nonce, 16); /* the same request */
	return false;
}

static void test_session_new_is_resent_as_it_was(void **state)
{
	struct orbit_config cfg = config_of(&w);
	struct orbit_client *d;
	struct result ready = {0};

	(void)state;
	w.node[0]->hook = drop_first_session;
	w.node[0]->got[WIRE_SESSION_OPEN] = 0;
	assert_int_equal(orbit_new(&d, &w.env, &cfg), 0);
	orbit_wait_ready(d, 0, on_ready, &ready);
	w_for(&w, SEC);
	assert_int_equal(ready.calls, 0);
	w_for(&w, 6 * SEC);
	assert_int_equal(ready.calls, 1);
	w.node[0]->hook = NULL;
	client_gone(&w, d);
}

static void test_session_lost_fails_what_was_sent_under_it(void **state)
{
	struct result sent = {0}, cross = {0}, rd = {0}, queued = {0}, next = {0};

	(void)state;
	w.node[1]->deaf = true;
	fake_kill(w.node[2]);
	w_for(&w, MS);
	put(c, id_on(&w, 1), 1, NULL, &sent);
	put2(c, id_on(&w, 0), id_on(&w, 1), 2, NULL, &cross);
	get(c, id_on(&w, 1), NULL, &rd);
	put(c, id_on(&w, 2), 3, NULL, &queued);
	w_for(&w, MS);
	w.next_session = 2; /* the keeper has ended session 1 */
	w_for(&w, 4 * SEC);
	assert_int_equal(orbit_session(c), 2);
	assert_int_equal(sent.calls, 1);
	assert_int_equal(sent.rc, -ESTALE);
	assert_int_equal(cross.calls, 1);
	assert_int_equal(cross.rc, -ESTALE);
	assert_int_equal(rd.calls, 0);     /* asked again under the new one */
	assert_int_equal(queued.calls, 0); /* nobody has seen it */
	w.node[1]->deaf = false;
	w.node[2]->listening = true;
	w_for(&w, 10 * SEC);
	assert_int_equal(rd.rc, 0);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(queued.calls, 1);
	assert_int_equal(queued.rc, 0);
	assert_int_equal(w.node[2]->applied[3], 1);
	put(c, id_on(&w, 1), 4, NULL, &next);
	w_for(&w, MS);
	assert_int_equal(next.rc, 0);
	assert_int_equal(w.node[0]->applied[2], 0);
	assert_idle(c);
}

static void test_session_unknown_to_a_node_is_asked_about(void **state)
{
	unsigned before = w.node[0]->got[WIRE_SESSION_OPEN];

	(void)state;
	session_suspect(c);
	w_for(&w, MS);
	assert_int_equal(w.node[0]->got[WIRE_SESSION_OPEN], before + 1);
	assert_int_equal(orbit_session(c), 1);
}

/* The first read is kept for later, and no session is opened. */
static struct frame *kept;
static struct tlink *kept_on;

static bool keeps_the_read(struct fake *n, struct tlink *t, struct frame *f)
{
	(void)n;
	if (f->type != WIRE_TXN)
		return false;
	if (!kept) {
		kept = frame_ref(f);
		kept_on = t;
	}
	return true;
}

static bool opens_none(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session_open m;

	(void)n;
	(void)t;
	return f->type == WIRE_SESSION_OPEN && !wire_get_session_open(frame_cur(f), &m) &&
	       m.what == WIRE_SESSION_NEW;
}

/* A read whose shard has moved, and whose session has ended, waits for another session: what its
 * former node still says does not end it behind the back of the list that it waits in. */
static void test_session_lost_read_takes_no_late_answer(void **state)
{
	struct result rd = {0};
	struct buf bytes = {0};
	struct ring_map *m;
	uint16_t s0 = shard_of_node(&w, 1, 0);

	(void)state;
	kept = NULL;
	w.node[1]->hook = keeps_the_read;
	w.node[0]->hook = opens_none;
	get(c, id_in(&w, s0, 1), NULL, &rd);
	w_for(&w, MS);
	assert_non_null(kept);
	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	m->epoch++;
	m->shards[s0].primary = m->shards[s0].member[0] = 2;
	ring_unref(w.map);
	w.map = m;
	w.node[2]->deaf = true;
	fake_say_epoch(w.node[0], m->epoch);
	w_for(&w, 10 * MS);
	w.next_session = 2; /* the keeper has ended session 1 */
	session_suspect(c);
	w_for(&w, 10 * MS);
	assert_int_equal(orbit_session(c), 0);
	fake_status(w.node[1], kept_on, kept, WIRE_OK, -1);
	frame_unref(kept);
	w_for(&w, 10 * MS);
	w.node[1]->hook = w.node[0]->hook = NULL;
	w.node[2]->deaf = false;
	w_for(&w, 20 * SEC);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.rc, 0);
	assert_int_equal(orbit_session(c), 2);
	assert_idle(c);
}

static bool knows_session_2(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;

	if (f->type != WIRE_TXN || wire_get_txn(frame_cur(f), &m) || m.session >= 2)
		return false;
	fake_status(n, t, f, WIRE_NO_SESSION, -1);
	return true;
}

/* A node says that the session has ended before the client hears it from the keeper. */
static void test_session_lost_at_a_node_lets_reads_go_on(void **state)
{
	struct result rd = {0}, wr = {0};

	(void)state;
	w.node[1]->hook = knows_session_2;
	w.next_session = 2; /* the keeper has ended session 1 */
	get(c, id_on(&w, 1), NULL, &rd);
	put(c, id_on(&w, 1), 1, NULL, &wr);
	w_for(&w, SEC);
	assert_int_equal(orbit_session(c), 2);
	assert_int_equal(wr.calls, 1);
	assert_int_equal(wr.rc, -ESTALE);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.rc, 0);
	assert_idle(c);
}

static bool ended_in_map_2(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session s = {.status = WIRE_NO_SESSION, .epoch = 2};
	struct wire_session_open m;
	struct frame *r;

	(void)n;
	if (f->type != WIRE_SESSION_OPEN || wire_get_session_open(frame_cur(f), &m) ||
		m.what != WIRE_SESSION_RENEW)
		return false;
	r = fake_reply(f, WIRE_SESSION);
	wire_put_session(&r->b, &s);
	fake_send(t, r);
	return true;
}

/* What is done after it goes out under the map that ends it, so that nobody lets it do more. */
static void test_session_is_over_when_the_map_is_there(void **state)
{
	struct result sent = {0};
	struct ring_map *m;

	(void)state;
	w.node[0]->hook = ended_in_map_2;
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &sent);
	w.next_session = 2;
	session_suspect(c);
	w_for(&w, 200 * MS);
	assert_int_equal(sent.calls, 0);
	assert_int_equal(orbit_session(c), 1);
	m = ring_draft(w.map);
	ring_unref(w.map);
	w.map = m;
	w_for(&w, 200 * MS);
	assert_int_equal(sent.calls, 1);
	assert_int_equal(sent.rc, -ESTALE);
	assert_int_equal(orbit_session(c), 2);
	w.node[1]->deaf = false;
	w_for(&w, SEC);
	assert_idle(c);
}

static bool no_space_for_sessions(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session s = {.status = WIRE_NO_SPACE};
	struct frame *r;

	(void)n;
	if (f->type != WIRE_SESSION_OPEN)
		return false;
	r = fake_reply(f, WIRE_SESSION);
	wire_put_session(&r->b, &s);
	fake_send(t, r);
	return true;
}

static void test_session_refused_is_asked_for_again(void **state)
{
	struct orbit_config cfg = config_of(&w);
	struct orbit_client *d;
	struct result ready = {0};

	(void)state;
	w.node[0]->hook = no_space_for_sessions;
	assert_int_equal(orbit_new(&d, &w.env, &cfg), 0);
	orbit_wait_ready(d, SEC, on_ready, &ready);
	w_for(&w, SEC);
	assert_int_equal(ready.rc, -ETIMEDOUT);
	assert_string_equal(orbit_last_error(d), "10.0.0.1:7000 gives no session: NO_SPACE");
	w.node[0]->hook = NULL;
	w_for(&w, SEC + MS);
	assert_string_equal(orbit_last_error(d), "");
	client_gone(&w, d);
}

static void test_session_dead_keeper_leaves_data_alone(void **state)
{
	struct result res[20] = {0};

	(void)state;
	fake_kill(w.node[0]);
	for (unsigned i = 0; i < 20; i++) {
		w_for(&w, SEC);
		put(c, id_on(&w, 1), i + 1, NULL, &res[i]);
		w_for(&w, MS);
		assert_int_equal(res[i].rc, 0);
		assert_int_equal(res[i].calls, 1);
	}
	assert_non_null(strstr(orbit_last_error(c), w.node[0]->addr));
	w.node[0]->listening = true;
	w_for(&w, 100 * MS);
	assert_string_equal(orbit_last_error(c), "");
}

/* ---- numbers alone ---- */

static void test_number_floor_is_the_lowest_unfinished(void **state)
{
	struct session *s = &c->session;
	struct number n[6];
	uint64_t first = s->next;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		number_take(s, &n[i], true);
	assert_true(number_floor(s) == first);
	number_finish(s, &n[1]);
	number_abandon(s, &n[4]);
	number_abandon(s, &n[2]);
	assert_true(number_floor(s) == first);
	assert_int_equal(s->nabandoned, 2);
	assert_true(le64toh(s->abandoned[0]) == first + 2);
	assert_true(le64toh(s->abandoned[1]) == first + 4);
	number_finish(s, &n[0]);
	assert_true(number_floor(s) == first + 3);
	assert_int_equal(s->nabandoned, 1);
	number_abandon(s, &n[3]);
	assert_true(number_floor(s) == first + 5);
	assert_int_equal(s->nabandoned, 0);
	number_abandon(s, &n[5]);
	number_finish(s, &n[5]);
	assert_true(number_floor(s) == first + 6);
	assert_int_equal(s->nabandoned, 0);
}

/* ---- fsync ---- */

static struct wire_effect synced[8];
static unsigned nsynced;
static uint16_t sync_status;

static bool on_sync(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_sync m;

	if (f->type != WIRE_SYNC)
		return false;
	assert_int_equal(wire_get_sync(frame_cur(f), &m), 0);
	nsynced = m.neffects;
	for (unsigned i = 0; i < m.neffects && i < 8; i++)
		synced[i] = wire_sync_at(&m, i);
	fake_status(n, t, f, sync_status, -1);
	return true;
}

static void test_sync_of_nothing_is_done_at_once(void **state)
{
	struct result res = {0};

	(void)state;
	inside_call = true;
	orbit_sync(c, NULL, on_result, &res);
	inside_call = false;
	assert_int_equal(res.calls, 0);
	w_for(&w, 0);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->got[WIRE_SYNC], 0);
}

static void test_sync_names_the_highest_effect_of_each_shard_once(void **state)
{
	struct result res[6] = {0}, sync = {0}, again = {0};

	(void)state;
	sync_status = WIRE_OK;
	w.node[1]->hook = on_sync;
	for (unsigned i = 0; i < 3; i++)
		put(c, id_on(&w, 1), i + 1, NULL, &res[i]);
	put(c, id_in(&w, shard_of_node(&w, 1, 1), 1), 4, NULL, &res[3]);
	put(c, id_on(&w, 2), 5, NULL, &res[4]);
	w_for(&w, MS);
	orbit_sync(c, NULL, on_result, &sync);
	w_for(&w, MS);
	assert_int_equal(sync.calls, 1);
	assert_int_equal(sync.rc, 0);
	assert_int_equal(w.node[0]->got[WIRE_SYNC], 0);
	assert_int_equal(w.node[1]->got[WIRE_SYNC], 1);
	assert_int_equal(w.node[2]->got[WIRE_SYNC], 1);
	assert_int_equal(nsynced, 2);
	assert_true(synced[0].seq == 3);
	assert_true(synced[1].seq == 4);
	orbit_sync(c, NULL, on_result, &again);
	w_for(&w, MS);
	assert_int_equal(again.rc, 0);
	assert_int_equal(w.node[1]->got[WIRE_SYNC], 1); /* clean since */
	assert_idle(c);
}

static void test_sync_leaves_dirty_what_was_written_meanwhile(void **state)
{
	struct result res[2] = {0}, sync[2] = {0};

	(void)state;
	sync_status = WIRE_OK;
	put(c, id_on(&w, 1), 1, NULL, &res[0]);
	w_for(&w, MS);
	w.node[1]->hook = on_sync;
	put(c, id_on(&w, 1), 2, NULL, &res[1]);
	orbit_sync(c, NULL, on_result, &sync[0]); /* the second is not acknowledged yet */
	w_for(&w, MS);
	assert_int_equal(sync[0].rc, 0);
	assert_true(synced[0].seq == 1);
	orbit_sync(c, NULL, on_result, &sync[1]);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->got[WIRE_SYNC], 2);
	assert_true(synced[0].seq == 2);
}

static void test_sync_lost_is_reported_once(void **state)
{
	struct result res = {0}, sync[2] = {0};

	(void)state;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	w.node[1]->hook = on_sync;
	sync_status = WIRE_LOST;
	orbit_sync(c, NULL, on_result, &sync[0]);
	w_for(&w, MS);
	assert_int_equal(sync[0].rc, -EIO);
	sync_status = WIRE_OK;
	orbit_sync(c, NULL, on_result, &sync[1]);
	w_for(&w, MS);
	assert_int_equal(sync[1].rc, 0);
	assert_idle(c);
}

/* Of two nodes one has lost something, the other one says nothing: the loss must be told, as the
 * next sync does not ask for it any more. */
static void test_sync_lost_is_told_although_another_node_is_silent(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res[2] = {0}, sync = {0};

	(void)state;
	put(c, id_on(&w, 1), 1, NULL, &res[0]);
	put(c, id_on(&w, 2), 2, NULL, &res[1]);
	w_for(&w, MS);
	w.node[1]->hook = on_sync;
	sync_status = WIRE_LOST;
	fake_kill(w.node[2]);
	w_for(&w, MS);
	orbit_sync(c, &p, on_result, &sync);
	w_for(&w, SEC + MS);
	assert_int_equal(sync.calls, 1);
	assert_int_equal(sync.rc, -EIO);
	assert_idle(c);
}

static void test_sync_failed_disk_stays_dirty(void **state)
{
	struct result res = {0}, sync[2] = {0};

	(void)state;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	w.node[1]->hook = on_sync;
	sync_status = WIRE_IO;
	for (unsigned i = 0; i < 2; i++) {
		orbit_sync(c, NULL, on_result, &sync[i]);
		w_for(&w, MS);
		assert_int_equal(sync[i].rc, -EIO);
	}
}

static void test_sync_times_out_by_policy(void **state)
{
	struct orbit_policy p = soft(1, 500 * MS);
	struct result res = {0}, sync = {0}, hard = {0};

	(void)state;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	fake_kill(w.node[1]);
	w_for(&w, MS);
	orbit_sync(c, &p, on_result, &sync);
	orbit_sync(c, NULL, on_result, &hard);
	w_for(&w, SEC + MS);
	assert_int_equal(sync.calls, 1);
	assert_int_equal(sync.rc, -ETIMEDOUT);
	assert_int_equal(hard.calls, 0);
	w.node[1]->listening = true;
	w_for(&w, 100 * MS);
	assert_int_equal(hard.calls, 1);
	assert_int_equal(hard.rc, 0);
	assert_idle(c);
}

static void test_sync_is_cut_anew_when_shards_have_moved(void **state)
{
	struct result res[2] = {0}, sync = {0};
	struct buf bytes = {0};
	struct ring_map *m;
	uint16_t s0 = shard_of_node(&w, 1, 0), s1 = shard_of_node(&w, 1, 1);

	(void)state;
	put(c, id_in(&w, s0, 1), 1, NULL, &res[0]);
	put(c, id_in(&w, s1, 1), 2, NULL, &res[1]);
	w_for(&w, MS);
	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	m->epoch++;
	m->shards[s0].primary = m->shards[s0].member[0] = 2;
	ring_unref(w.map);
	w.map = m;
	w.node[1]->hook = on_sync;
	sync_status = WIRE_WRONG_NODE;
	orbit_sync(c, NULL, on_result, &sync);
	w_for(&w, 60000);
	w.node[1]->hook = NULL;
	w_for(&w, SEC);
	assert_int_equal(sync.calls, 1);
	assert_int_equal(sync.rc, 0);
	assert_true(w.node[2]->got[WIRE_SYNC] >= 1);
	assert_true(w.node[1]->got[WIRE_SYNC] >= 2);
	assert_idle(c);
}

static unsigned nsyncs;

/* The first sync finds that effects are lost; then the shard is somewhere else. */
static bool lost_then_moved(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_SYNC)
		return false;
	fake_status(n, t, f, nsyncs++ ? WIRE_WRONG_NODE : WIRE_LOST, -1);
	return true;
}

static bool always_lost(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_SYNC)
		return false;
	fake_status(n, t, f, WIRE_LOST, -1);
	return true;
}

/* Of two syncs of the same effects one was answered before they moved: the other one asks on. */
static void test_sync_that_moves_asks_for_what_it_asked_for(void **state)
{
	struct result res = {0}, sync[2] = {0};
	uint16_t s0 = shard_of_node(&w, 1, 0);
	struct buf bytes = {0};
	struct ring_map *m;

	(void)state;
	nsyncs = 0;
	put(c, id_in(&w, s0, 1), 1, NULL, &res);
	w_for(&w, MS);
	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	m->epoch++;
	m->shards[s0].primary = m->shards[s0].member[0] = 2;
	ring_unref(w.map);
	w.map = m;
	w.node[1]->hook = lost_then_moved;
	w.node[2]->hook = always_lost;
	orbit_sync(c, NULL, on_result, &sync[0]);
	orbit_sync(c, NULL, on_result, &sync[1]);
	w_for(&w, SEC);
	assert_int_equal(sync[0].calls, 1);
	assert_int_equal(sync[0].rc, -EIO);
	assert_int_equal(sync[1].calls, 1);
	assert_int_equal(sync[1].rc, -EIO);
	assert_idle(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_session_is_renewed_four_times_within_its_timeout),
		T(test_session_new_is_resent_as_it_was),
		T(test_session_lost_fails_what_was_sent_under_it),
		T(test_session_lost_read_takes_no_late_answer),
		T(test_session_unknown_to_a_node_is_asked_about),
		T(test_session_lost_at_a_node_lets_reads_go_on),
		T(test_session_is_over_when_the_map_is_there),
		T(test_session_refused_is_asked_for_again),
		T(test_session_dead_keeper_leaves_data_alone),
		T(test_number_floor_is_the_lowest_unfinished),
		T(test_sync_of_nothing_is_done_at_once),
		T(test_sync_names_the_highest_effect_of_each_shard_once),
		T(test_sync_leaves_dirty_what_was_written_meanwhile),
		T(test_sync_lost_is_reported_once),
		T(test_sync_lost_is_told_although_another_node_is_silent),
		T(test_sync_failed_disk_stays_dirty),
		T(test_sync_times_out_by_policy),
		T(test_sync_is_cut_anew_when_shards_have_moved),
		T(test_sync_that_moves_asks_for_what_it_asked_for),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_session", tests, NULL, NULL);
}
