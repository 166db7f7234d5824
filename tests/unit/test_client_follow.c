/* Following the ring map: newer ones are fetched at once, what is pending goes to whom they name,
 * and what was sent whole and comes apart is asked about first. */
#include "tests/unit/test_client_env.h"

static struct world w;
static struct orbit_client *c;

static struct ring_map *next_map(void)
{
	struct ring_map *m = ring_draft(w.map);

	assert_non_null(m);
	ring_unref(w.map);
	return w.map = m;
}

/* All shards of node @from have @to as their primary, and only member, in the next map. */
static struct ring_map *fail_over(unsigned from, unsigned to)
{
	struct ring_map *m = next_map();

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].primary != from)
			continue;
		m->shards[s].primary = m->shards[s].member[0] = (uint16_t)to;
		m->shards[s].term++;
	}
	return m;
}

static unsigned fetches(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < w.nnodes; i++)
		sum += w.node[i]->got[WIRE_MAP_GET];
	return sum;
}

static unsigned links_to(const struct fake *n)
{
	struct tlink *t;
	unsigned sum = 0;

	TAILQ_FOREACH (t, &w.links, at)
		sum += t->node == n && t->pub && t->up;
	return sum;
}

static struct orbit_client *client_of(unsigned seed)
{
	struct orbit_config cfg = orbit_config_default();

	cfg.seeds[cfg.nseeds++] = w.node[seed]->addr;
	return client_with(&w, &cfg);
}

static void begin(unsigned nodes)
{
	world_init(&w, nodes, 1);
	c = client_ready(&w);
}

static void end(void)
{
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

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
		cmocka_unit_test(test_follow_asks_another_node_for_the_keeper),
		cmocka_unit_test(test_follow_renews_through_others_while_the_keeper_is_away),
		cmocka_unit_test(test_follow_session_that_is_fenced_is_lost),
		cmocka_unit_test(test_follow_works_through_the_only_node_it_reaches),
		cmocka_unit_test(test_follow_asks_again_when_its_home_forwards_in_vain),
		cmocka_unit_test(test_follow_carries_nothing_in_vain_for_long),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_follow", tests, NULL, NULL);
}
