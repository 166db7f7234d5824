/* Silence, loss and return: when what is in flight is sent again, and what becomes of it. */
#include "tests/unit/test_client_env.h"

static struct world w;
static struct orbit_client *c;

static int setup(void **state)
{
	(void)state;
	world_init(&w, 3, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	client_gone(&w, c);
	world_fini(&w);
	return 0;
}

/* A client with a link to each node. */
static void connected(const struct orbit_config *cfg)
{
	struct result res[3] = {0};

	c = cfg ? client_with(&w, cfg) : client_ready(&w);
	for (unsigned i = 0; i < 3; i++)
		get(c, id_on(&w, i), NULL, &res[i]);
	w_for(&w, 10 * MS);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(res[i].calls, 1);
}

static void default_client(void)
{
	connected(NULL);
}

/* ---- the old system's faults ---- */

static void test_client_callback_is_called_at_zero(void **state)
{
	struct orbit_policy p = soft(0, 100 * MS);
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	began = w.now;
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, 100 * MS - 1);
	assert_int_equal(res.calls, 0);
	w_for(&w, 1);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == 100 * MS);
	w_for(&w, 10 * SEC);
	assert_int_equal(res.calls, 1);
	assert_idle(c);
}

static void n_resends(unsigned n)
{
	struct orbit_policy p = soft(n, 500 * MS);
	struct result res = {.w = &w};
	unsigned before = w.node[1]->got[WIRE_TXN];
	uint64_t began = w.now;

	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, 500 * MS * (n + 1) - 1);
	assert_int_equal(res.calls, 0);
	assert_int_equal(w.node[1]->got[WIRE_TXN] - before, n + 1);
	w_for(&w, 10 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == 500 * MS * (n + 1));
	assert_int_equal(w.node[1]->got[WIRE_TXN] - before, n + 1);
}

static void test_client_count_n_gives_n_resends(void **state)
{
	struct orbit_counters before, after;

	(void)state;
	default_client();
	w.node[1]->deaf = true; /* answers pings, nothing else */
	n_resends(0);
	n_resends(1);
	orbit_counters(c, &before);
	n_resends(5);
	orbit_counters(c, &after);
	assert_int_equal(after.resent - before.resent, 5);
	assert_int_equal(after.reconnects, before.reconnects);
	assert_idle(c);
}

static void test_client_wall_clock_steps_do_not_matter(void **state)
{
	struct orbit_policy p = soft(2, 500 * MS);
	struct result res = {.w = &w}, other = {0};
	uint64_t began;

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	began = w.now;
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, 100 * MS);
	w.wall += (int64_t)(86400 * SEC);
	w_for(&w, 100 * MS);
	assert_int_equal(res.calls, 0);
	w.wall -= (int64_t)(400 * 86400 * SEC);
	put(c, id_on(&w, 2), 2, &p, &other);
	w_for(&w, MS);
	assert_int_equal(other.calls, 1);
	assert_int_equal(other.rc, 0);
	w_for(&w, 5 * SEC);
	assert_int_equal(res.calls, 1);
	assert_true(res.at - began == 1500 * MS);
	assert_int_equal(w.node[1]->got[WIRE_TXN], 1 + 3);
}

static void test_client_blocking_connect_to_one_peer_does_not_hold_up_others(void **state)
{
	struct result stuck = {0}, res[50] = {0};

	(void)state;
	default_client();
	w.node[1]->blackhole = true; /* SYNs go nowhere */
	fake_kill(w.node[1]);
	w_for(&w, MS);
	put(c, id_on(&w, 1), 1, NULL, &stuck);
	for (unsigned i = 0; i < 50; i++) {
		put(c, id_on(&w, 2), i + 2, NULL, &res[i]);
		w_for(&w, 100000);
		assert_int_equal(res[i].calls, 1);
		assert_int_equal(res[i].rc, 0);
	}
	w_for(&w, 20 * SEC);
	assert_int_equal(stuck.calls, 0);
	w.node[1]->blackhole = false;
	w.node[1]->listening = true;
	w_for(&w, 3 * SEC); /* an attempt that nobody answered is not waited for */
	assert_int_equal(stuck.calls, 1);
	assert_int_equal(stuck.rc, 0);
}

static bool lose_acks(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;
	struct buf b = {0};
	struct known *k;
	uint16_t shard;
	uint64_t tag;

	(void)t;
	if (f->type != WIRE_TXN)
		return false;
	assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
	tag = fake_read(n, &m, &shard, &b);
	k = fake_find(n, m.session, m.number, shard);
	if (!k) { /* executed; nobody hears of it */
		k = fake_know(n, m.session, m.number, shard, tag);
		n->applied[tag]++;
		fake_store(n, k, true, &b);
	}
	buf_fini(&b);
	return true;
}

static void test_client_append_is_applied_once_when_only_the_ack_was_lost(void **state)
{
	struct result res = {0};

	(void)state;
	default_client();
	w.node[1]->hook = lose_acks;
	put(c, id_on(&w, 1), 7, NULL, &res);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->applied[7], 1);
	w.node[1]->hook = NULL;
	fake_cut(w.node[1]);
	w_for(&w, 100 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[7], 1);
	assert_int_equal(w.node[1]->asked[7], 1); /* the resend; the same number */
}

static void on_each(void *arg, const struct orbit_stalled *s)
{
	*(struct orbit_stalled *)arg = *s;
}

static void test_client_queued_transaction_is_not_resent(void **state)
{
	struct orbit_policy p = soft(3, 500 * MS);
	struct orbit_stalled s = {0};
	struct orbit_counters before, after;
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	default_client();
	fake_kill(w.node[1]);
	fake_kill(w.node[2]); /* nobody could forward it */
	fake_kill(w.node[0]);
	w_for(&w, MS);
	orbit_counters(c, &before);
	began = w.now;
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, 1200 * MS);
	orbit_each(c, true, on_each, &s);
	assert_int_equal(s.state, ORBIT_STALLED);
	assert_int_equal(s.resends, 0);
	assert_int_equal(s.tries_left, 1);
	assert_true(s.silent == 1200 * MS);
	assert_string_equal(s.reason, "peer unreachable");
	assert_string_equal(s.peer, w.node[1]->addr);
	w_for(&w, 10 * SEC);
	orbit_counters(c, &after);
	assert_int_equal(after.resent, before.resent);
	assert_int_equal(after.sent, before.sent);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == 2000 * MS);
	w.node[0]->listening = true;
}

static void test_client_frame_behind_others_on_a_slow_link_is_not_resent(void **state)
{
	struct orbit_counters before, after;
	struct result res = {0};

	(void)state;
	default_client();
	orbit_counters(c, &before);
	w.node[1]->stuck = true; /* what is sent stays in this process */
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 5500 * MS);
	orbit_counters(c, &after);
	assert_int_equal(after.resent, before.resent);
	w.node[1]->stuck = false;
	w_for(&w, 20 * SEC); /* a dead link, in the end */
	assert_int_equal(res.calls, 1);
	assert_int_equal(w.node[1]->applied[1], 1);
}

/* ---- a link that comes back ---- */

static void test_client_everything_is_resent_when_the_link_is_back(void **state)
{
	struct orbit_counters before, after;
	struct orbit_stalled s = {0};
	struct orbit_policy p = soft(5, SEC);
	struct result res[100] = {0}, limited = {0};
	uint64_t back;

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	for (unsigned i = 0; i < 100; i++)
		put(c, id_on(&w, 1), i + 1, NULL, &res[i]);
	w_for(&w, MS);
	fake_kill(w.node[1]);
	w_for(&w, 3 * SEC);
	put(c, id_on(&w, 1), 200, &p, &limited);
	w_for(&w, 500 * MS);
	orbit_each(c, false, on_each, &s);
	assert_int_equal(s.tries_left, 5);
	w.node[1]->deaf = false;
	w.node[1]->listening = true;
	back = w.now;
	orbit_counters(c, &before);
	w_for(&w, 60 * MS);
	orbit_counters(c, &after);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(res[i].calls, 1);
		assert_int_equal(res[i].rc, 0);
		assert_int_equal(w.node[1]->applied[i + 1], 1);
	}
	assert_int_equal(limited.calls, 1);
	assert_true(w.node[1]->last[WIRE_TXN] - back < 60 * MS);
	assert_int_equal(after.resent - before.resent, 100);
	assert_int_equal(after.sent - before.sent, 101);
	assert_int_equal(after.reconnects - before.reconnects, 1);
}

static void test_client_resends_within_100_ms_whenever_the_node_returns(void **state)
{
	struct result res;
	uint64_t back;

	(void)state;
	default_client();
	for (unsigned i = 0; i < 200; i++) {
		res = (struct result){.w = &w};
		fake_kill(w.node[1]);
		w_for(&w, w_random(&w) % (10 * SEC)); /* idle first: it backs off further */
		put(c, id_on(&w, 1), i + 1, NULL, &res);
		w_for(&w, w_random(&w) % (5 * SEC));
		w.node[1]->listening = true;
		back = w.now;
		w_for(&w, 100 * MS);
		assert_int_equal(res.calls, 1);
		assert_true(res.at - back < 60 * MS);
	}
}

static void test_client_connects_at_once_after_a_loss(void **state)
{
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, MS);
	w.node[1]->deaf = false;
	began = w.now;
	fake_cut(w.node[1]);
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
	assert_true(res.at - began < 400000);
}

static void test_client_backs_off_from_a_peer_that_drops_every_link(void **state)
{
	struct result res = {0};
	unsigned before;

	(void)state;
	default_client();
	w.node[1]->mute = w.node[1]->alone = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	before = w.node[1]->connects;
	for (unsigned i = 0; i < 10000; i++) {
		fake_cut(w.node[1]);
		w_for(&w, MS);
	}
	assert_in_range(w.node[1]->connects - before, 100, 800);
	w.node[1]->mute = false;
	w_for(&w, SEC);
	assert_int_equal(res.calls, 1);
}

static void test_client_backs_off_when_nothing_is_pending(void **state)
{
	unsigned before = 0, n = 0;
	struct tlink *t;

	(void)state;
	default_client();
	fake_kill(w.node[1]);
	w_for(&w, 5 * SEC);
	TAILQ_FOREACH (t, &w.links, at)
		before++;
	w_for(&w, 10 * SEC);
	TAILQ_FOREACH (t, &w.links, at)
		n++;
	assert_in_range(n - before, 20, 41); /* every 250 to 500 ms */
	w.node[1]->listening = true;
	w_for(&w, SEC);
}

/* ---- hard ---- */

static void test_client_hard_resends_for_ever_and_says_that_it_stalled(void **state)
{
	struct orbit_stalled s = {0};
	struct orbit_counters n;
	struct result res = {0};
	unsigned before;

	(void)state;
	default_client();
	before = w.node[1]->got[WIRE_TXN];
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 4 * SEC);
	orbit_each(c, true, on_each, &s);
	assert_int_equal(s.handle, 0); /* not yet */
	w_for(&w, 1000 * SEC + 500 * MS);
	orbit_each(c, true, on_each, &s);
	assert_int_equal(s.state, ORBIT_STALLED);
	assert_int_equal(s.tries_left, UINT_MAX);
	assert_int_equal(s.resends, 200);
	assert_true(s.writes);
	assert_string_equal(s.reason, "no answer");
	orbit_counters(c, &n);
	assert_int_equal(n.stalled, 1);
	assert_int_equal(n.in_flight, 1);
	assert_int_equal(w.node[1]->got[WIRE_TXN] - before, 201);
	assert_true(w.node[1]->got[WIRE_PING] > 0);
	assert_true(n.map_fetches > 0);    /* the route was looked up again */
	assert_int_equal(n.reconnects, 0); /* it answers pings: it is slow, not dead */
	w.node[1]->deaf = false;
	w_for(&w, 6 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_int_equal(w.node[1]->applied[1], 1);
}

static void test_client_reads_and_writes_have_their_own_policies(void **state)
{
	struct orbit_config cfg = config_of(&w);
	struct result rd = {0}, wr = {0};

	(void)state;
	cfg.policy.reads_block = false;
	cfg.policy.resend_count = 1;
	cfg.policy.check_timeout = SEC;
	connected(&cfg);
	w.node[1]->deaf = true;
	get(c, id_on(&w, 1), NULL, &rd);
	put(c, id_on(&w, 1), 1, NULL, &wr);
	w_for(&w, 2 * SEC + MS);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.rc, -ETIMEDOUT);
	w_for(&w, 20 * SEC);
	assert_int_equal(wr.calls, 0);
	w.node[1]->deaf = false;
	w_for(&w, SEC);
	assert_int_equal(wr.rc, 0);
}

/* ---- pings ---- */

static void test_client_silent_link_is_pinged_and_then_taken_for_dead(void **state)
{
	struct result res = {.w = &w};
	uint64_t began;

	(void)state;
	default_client();
	began = w.now;
	w.node[1]->mute = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 900 * MS);
	assert_int_equal(w.node[1]->got[WIRE_PING], 0);
	w_for(&w, 200 * MS);
	assert_int_equal(w.node[1]->got[WIRE_PING], 1);
	w_run(&w, began + 5900 * MS);
	assert_int_equal(w.node[1]->got[WIRE_HELLO], 1);
	w_run(&w, began + 6100 * MS); /* ping_after + check_timeout */
	assert_int_equal(w.node[1]->got[WIRE_HELLO], 2);
	w.node[1]->mute = false;
	fake_cut(w.node[1]);
	w_for(&w, 600 * MS);
	assert_int_equal(res.calls, 1);
}

static void test_client_slow_node_that_answers_pings_keeps_its_link(void **state)
{
	struct result res = {0};

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 60 * SEC);
	assert_int_equal(w.node[1]->got[WIRE_HELLO], 1);
	assert_in_range(w.node[1]->got[WIRE_PING], 30, 61);
	w.node[1]->deaf = false;
	w_for(&w, 6 * SEC);
	assert_int_equal(res.calls, 1);
}

static void test_client_idle_link_is_left_alone(void **state)
{
	(void)state;
	default_client();
	w_for(&w, 600 * SEC);
	assert_int_equal(w.node[1]->got[WIRE_PING], 0);
	assert_int_equal(w.node[1]->got[WIRE_HELLO], 1);
	assert_in_range(w.node[0]->got[WIRE_SESSION_OPEN], 230, 250); /* renewals */
}

/* ---- other ways ---- */

static void test_client_goes_through_another_node_when_the_primary_refuses(void **state)
{
	struct result res = {.w = &w};
	struct tlink *t;
	uint64_t began;

	(void)state;
	default_client();
	w.node[1]->blackhole = true; /* we can not reach it, the other nodes can */
	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == w.node[1] && t->pub)
			w_at(&w, w.now, link_down, t, NULL);
	w_for(&w, MS);
	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == w.node[1] && t->pub)
			t->node = NULL; /* that attempt is lost, too */
	snprintf(w.node[1]->addr, sizeof(w.node[1]->addr), "elsewhere");
	began = w.now;
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 6 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_true(res.at - began < 5001 * MS);
	assert_int_equal(w.node[1]->applied[1], 1);
	assert_int_equal(w.node[0]->got[WIRE_TXN] + w.node[2]->got[WIRE_TXN], 3);
}

static void test_client_goes_on_trying_when_others_can_not_reach_it_either(void **state)
{
	struct orbit_policy p = soft(3, SEC);
	struct result res = {.w = &w}, hard = {0};
	uint64_t began;

	(void)state;
	default_client();
	fake_kill(w.node[1]);
	w_for(&w, MS);
	began = w.now;
	put(c, id_on(&w, 1), 1, &p, &res);
	put(c, id_on(&w, 1), 2, NULL, &hard);
	w_for(&w, 20 * SEC);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == 4 * SEC); /* UNREACHABLE costs what silence costs */
	assert_int_equal(hard.calls, 0);
	w.node[1]->listening = true;
	w_for(&w, 100 * MS);
	assert_int_equal(hard.calls, 1);
	assert_int_equal(hard.rc, 0);
	assert_int_equal(w.node[1]->applied[1], 0); /* given up: never */
	assert_int_equal(w.node[1]->applied[2], 1);
}

static void swap_primaries(unsigned a, unsigned b, uint64_t epoch)
{
	struct buf bytes = {0};
	struct ring_map *m;

	ring_encode(w.map, &bytes);
	assert_int_equal(ring_decode(bytes.data, bytes.len, &m), 0);
	buf_fini(&bytes);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].primary == a)
			m->shards[s].primary = (uint16_t)b;
		else if (m->shards[s].primary == b)
			m->shards[s].primary = (uint16_t)a;
		m->shards[s].member[0] = m->shards[s].primary;
	}
	m->epoch = epoch;
	ring_unref(w.map);
	w.map = m;
}

static bool wrong_node(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN && f->type != WIRE_PREPARE && f->type != WIRE_SYNC)
		return false;
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	return true;
}

static void test_client_wrong_node_fetches_the_map_and_costs_no_try(void **state)
{
	struct orbit_policy p = soft(0, SEC);
	struct result res = {.w = &w};
	struct orbit_id id;
	uint64_t began;

	(void)state;
	default_client();
	id = id_on(&w, 1);
	swap_primaries(1, 2, 2);
	w.node[1]->hook = wrong_node;
	began = w.now;
	put(c, id, 1, &p, &res);
	w_for(&w, 50 * MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, 0);
	assert_true(res.at - began < MS);
	assert_int_equal(w.node[2]->applied[1], 1);
	assert_int_equal(orbit_ring(c)->epoch, 2);
	w.node[1]->hook = NULL;
}

static void test_client_newer_epoch_in_a_reply_fetches_the_map(void **state)
{
	struct result res = {0};

	(void)state;
	default_client();
	swap_primaries(2, 2, 9);
	put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, 10 * MS);
	assert_int_equal(res.rc, 0);
	assert_int_equal(orbit_ring(c)->epoch, 9);
}

static void test_client_wrong_node_without_a_newer_map_is_tried_again(void **state)
{
	struct orbit_policy p = soft(1, SEC);
	struct result res = {.w = &w}, other = {0};
	uint64_t began;
	unsigned before;

	(void)state;
	default_client();
	before = w.node[1]->got[WIRE_TXN];
	w.node[1]->hook = wrong_node;
	began = w.now;
	put(c, id_on(&w, 1), 1, &p, &res);
	put(c, id_on(&w, 1), 2, NULL, &other);
	w_for(&w, 3 * SEC);
	assert_int_equal(res.rc, -ETIMEDOUT);
	assert_true(res.at - began == 2 * SEC);
	assert_in_range(w.node[1]->got[WIRE_TXN] - before, 6, 40);
	w.node[1]->hook = NULL;
	w_for(&w, SEC);
	assert_int_equal(other.calls, 1);
	assert_int_equal(w.node[1]->applied[1], 0);
	assert_int_equal(w.node[1]->applied[2], 1);
}

/* ---- by hand ---- */

static void test_client_cancel_calls_back_once_and_abandons(void **state)
{
	struct result res = {0}, late = {0};
	orbit_handle h;

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	h = put(c, id_on(&w, 1), 1, NULL, &res);
	w_for(&w, SEC);
	assert_false(cancel(c, h, true)); /* has not stalled */
	w_for(&w, 5 * SEC);
	assert_true(cancel(c, h, true));
	assert_int_equal(res.calls, 0);
	assert_false(cancel(c, h, false)); /* is ending already */
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
	assert_int_equal(res.rc, -EINTR);
	assert_false(res.inside);
	assert_false(cancel(c, h, false));
	assert_false(cancel(c, 0, false));
	w.node[1]->deaf = false;
	put(c, id_on(&w, 1), 2, NULL, &late);
	w_for(&w, 10 * SEC);
	assert_int_equal(late.rc, 0);
	assert_int_equal(res.calls, 1);
	assert_int_equal(w.node[1]->applied[1], 0);
	assert_true(fake_seen(w.node[1], 1)->floor > 1); /* refused from now on */
	assert_idle(c);
}

static void test_client_retry_now_costs_no_try(void **state)
{
	struct orbit_policy p = soft(3, 5 * SEC);
	struct orbit_stalled s = {0};
	struct result res = {0};
	unsigned before;

	(void)state;
	default_client();
	before = w.node[1]->got[WIRE_TXN];
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 1, &p, &res);
	w_for(&w, SEC);
	orbit_retry_now(c);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->got[WIRE_TXN] - before, 2);
	orbit_each(c, false, on_each, &s);
	assert_int_equal(s.tries_left, 3);
	assert_int_equal(s.resends, 1);
	w.node[1]->deaf = false;
	orbit_retry_now(c);
	w_for(&w, MS);
	assert_int_equal(res.rc, 0);
	fake_kill(w.node[1]);
	w_for(&w, 5 * SEC);
	w.node[1]->listening = true;
	orbit_retry_now(c);
	res = (struct result){0};
	put(c, id_on(&w, 1), 2, NULL, &res);
	w_for(&w, MS);
	assert_int_equal(res.calls, 1);
}

static void test_client_abandoned_numbers_go_along_until_the_floor_passes_them(void **state)
{
	struct result held = {0}, res[3] = {0};
	struct orbit_policy p = soft(0, 100 * MS);

	(void)state;
	default_client();
	w.node[2]->deaf = true;
	put(c, id_on(&w, 2), 1, NULL, &held); /* keeps the floor down */
	w.node[1]->deaf = true;
	put(c, id_on(&w, 1), 2, &p, &res[0]);
	put(c, id_on(&w, 1), 3, &p, &res[1]);
	w_for(&w, SEC);
	assert_int_equal(res[0].rc, -ETIMEDOUT);
	assert_int_equal(res[1].rc, -ETIMEDOUT);
	assert_int_equal(c->session.nabandoned, 2);
	w.node[1]->deaf = false;
	put(c, id_on(&w, 1), 4, NULL, &res[2]);
	w_for(&w, MS);
	assert_int_equal(res[2].rc, 0);
	assert_int_equal(fake_seen(w.node[1], 1)->nabandoned, 2);
	w.node[2]->deaf = false;
	w_for(&w, 5 * SEC);
	assert_int_equal(held.calls, 1);
	assert_int_equal(c->session.nabandoned, 0);
	assert_idle(c);
}

static void test_client_too_many_abandoned_hold_writes_back(void **state)
{
	static struct result res[WIRE_ABANDONED_MAX + 10];
	struct result held = {0}, wr = {0}, rd = {0}, gone = {0};
	struct orbit_policy p = soft(0, 100 * MS);

	(void)state;
	memset(res, 0, sizeof(res));
	default_client();
	w.node[2]->deaf = true;
	put(c, id_on(&w, 2), 1, NULL, &held);
	w.node[1]->deaf = true;
	for (unsigned i = 0; i < ARRAY_LEN(res); i++)
		put(c, id_on(&w, 1), 2, &p, &res[i]);
	w_for(&w, SEC);
	for (unsigned i = 0; i < ARRAY_LEN(res); i++)
		assert_int_equal(res[i].calls, 1);
	assert_int_equal(c->session.nabandoned, WIRE_ABANDONED_MAX);
	assert_int_equal(c->session.noverflow, 10);
	put(c, id_on(&w, 0), 3, NULL, &wr);
	put(c, id_on(&w, 0), 4, &p, &gone);
	get(c, id_on(&w, 0), NULL, &rd);
	w_for(&w, 10 * SEC);
	assert_int_equal(rd.rc, 0);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(gone.rc, -ETIMEDOUT);
	assert_int_equal(wr.calls, 0);
	w.node[1]->deaf = w.node[2]->deaf = false;
	w_for(&w, 10 * SEC);
	assert_int_equal(held.calls, 1);
	assert_int_equal(wr.calls, 1);
	assert_int_equal(wr.rc, 0);
	assert_int_equal(w.node[0]->applied[4], 0);
	assert_idle(c);
}

static void test_client_stalled_read_does_not_hold_the_floor(void **state)
{
	struct result rd = {0}, wr[20] = {0};

	(void)state;
	default_client();
	w.node[1]->deaf = true;
	get(c, id_on(&w, 1), NULL, &rd);
	w_for(&w, 6 * SEC);
	for (unsigned i = 0; i < 20; i++)
		put(c, id_on(&w, 0), i + 1, NULL, &wr[i]);
	w_for(&w, 10 * MS);
	assert_true(number_floor(&c->session) == c->session.next);
	fake_seen(w.node[1], 1)->floor = number_floor(&c->session);
	w.node[1]->deaf = false; /* its old number is refused: it takes a new one */
	w_for(&w, 5 * SEC);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.rc, 0);
	assert_idle(c);
}

static unsigned refusals;

static bool refuse_some(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_TXN || refusals == 0)
		return false;
	refusals--;
	fake_status(n, t, f, WIRE_REFUSED, -1);
	return true;
}

/* A read changes nothing, so it may be asked again under as many numbers as it takes. */
static void test_client_refused_read_goes_on(void **state)
{
	struct result rd = {0};

	(void)state;
	default_client();
	refusals = 20;
	w.node[1]->hook = refuse_some;
	get(c, id_on(&w, 1), NULL, &rd);
	w_for(&w, 2 * SEC);
	assert_int_equal(rd.calls, 0); /* not as fast as it can */
	w_for(&w, 10 * SEC);
	assert_int_equal(refusals, 0);
	assert_int_equal(rd.calls, 1);
	assert_int_equal(rd.rc, 0);
	assert_idle(c);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_client_callback_is_called_at_zero),
		T(test_client_count_n_gives_n_resends),
		T(test_client_wall_clock_steps_do_not_matter),
		T(test_client_blocking_connect_to_one_peer_does_not_hold_up_others),
		T(test_client_append_is_applied_once_when_only_the_ack_was_lost),
		T(test_client_queued_transaction_is_not_resent),
		T(test_client_frame_behind_others_on_a_slow_link_is_not_resent),
		T(test_client_everything_is_resent_when_the_link_is_back),
		T(test_client_resends_within_100_ms_whenever_the_node_returns),
		T(test_client_connects_at_once_after_a_loss),
		T(test_client_backs_off_from_a_peer_that_drops_every_link),
		T(test_client_backs_off_when_nothing_is_pending),
		T(test_client_hard_resends_for_ever_and_says_that_it_stalled),
		T(test_client_reads_and_writes_have_their_own_policies),
		T(test_client_silent_link_is_pinged_and_then_taken_for_dead),
		T(test_client_slow_node_that_answers_pings_keeps_its_link),
		T(test_client_idle_link_is_left_alone),
		T(test_client_goes_through_another_node_when_the_primary_refuses),
		T(test_client_goes_on_trying_when_others_can_not_reach_it_either),
		T(test_client_wrong_node_fetches_the_map_and_costs_no_try),
		T(test_client_newer_epoch_in_a_reply_fetches_the_map),
		T(test_client_wrong_node_without_a_newer_map_is_tried_again),
		T(test_client_cancel_calls_back_once_and_abandons),
		T(test_client_retry_now_costs_no_try),
		T(test_client_abandoned_numbers_go_along_until_the_floor_passes_them),
		T(test_client_too_many_abandoned_hold_writes_back),
		T(test_client_stalled_read_does_not_hold_the_floor),
		T(test_client_refused_read_goes_on),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_resend", tests, NULL, NULL);
}
