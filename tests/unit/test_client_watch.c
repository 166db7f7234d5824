/* Being told of changes: across failovers, lost links and nodes that could not tell everything. */
#include "dht/wire/wire_watch.h"
#include "tests/unit/test_client_env.h"

static struct world w;
static struct orbit_client *c;

struct ear {
	unsigned n;
	struct orbit_change got[64];
	struct orbit_watch *watch;
	bool end; /* at the first change */
};

static void on_change(void *arg, const struct orbit_change *ch)
{
	struct ear *e = arg;

	assert_true(e->n < ARRAY_LEN(e->got));
	e->got[e->n++] = *ch;
	if (e->end && ch->what >= ORBIT_WATCH_CREATED)
		orbit_unwatch(e->watch);
}

static void listen_to(struct ear *e, struct orbit_id id, unsigned bits)
{
	memset(e, 0, sizeof(*e));
	assert_int_equal(orbit_watch(c, &id, bits, on_change, e, &e->watch), 0);
	assert_int_equal(e->n, 0); /* not from inside */
	w_for(&w, MS);
}

static unsigned count(const struct ear *e, enum orbit_watch_what what)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->n; i++)
		n += e->got[i].what == what;
	return n;
}

static void notice(struct fake *n, uint8_t what, uint16_t shard, struct orbit_id id, uint64_t seq)
{
	struct wire_notice m = {.what = what, .shard = shard, .seq = seq, .id = id};
	struct tlink *t;

	TAILQ_FOREACH (t, &w.links, at) {
		struct frame *f;

		if (t->node != n || !t->pub || t->dead || !t->up)
			continue;
		f = frame_new(WIRE_NOTICE, 0, 64);
		wire_put_notice(&f->b, &m);
		fake_send(t, f);
	}
}

static void tell(struct fake *n, struct orbit_id id, uint64_t seq)
{
	notice(n, WIRE_NOTICE_CHANGED, ring_shard_of(w.map, &id), id, seq);
	w_for(&w, MS);
}

static void give_map(struct ring_map *m)
{
	struct peer *p;

	ring_unref(w.map);
	w.map = m;
	TAILQ_FOREACH (p, &c->peers, at)
		if (p->state == PEER_UP)
			follow_ask(p);
	w_for(&w, MS);
}

static void begin(void)
{
	world_init(&w, 3, 1);
	c = client_ready(&w);
}

static void end(void)
{
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

static void test_watch_tells_what_was_asked_for(void **state)
{
	struct orbit_id id, other;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	other = id_in(&w, shard_of_node(&w, 1, 0), 2);
	listen_to(&e, id, 256);
	assert_int_equal(e.n, 1);
	assert_int_equal(e.got[0].what, ORBIT_WATCH_BEGUN);
	assert_int_equal(w.node[1]->got[WIRE_WATCH], 1);
	assert_int_equal(w.node[0]->got[WIRE_WATCH] + w.node[2]->got[WIRE_WATCH], 0);
	notice(w.node[1], WIRE_NOTICE_CREATED, ring_shard_of(w.map, &id), id, 7);
	tell(w.node[1], other, 8);
	notice(w.node[1], WIRE_NOTICE_DELETED, ring_shard_of(w.map, &id), id, 9);
	w_for(&w, MS);
	assert_int_equal(e.n, 3);
	assert_int_equal(e.got[1].what, ORBIT_WATCH_CREATED);
	assert_int_equal(e.got[1].seq, 7);
	assert_int_equal(e.got[1].shard, ring_shard_of(w.map, &id));
	assert_int_equal(orbit_id_cmp(&e.got[1].id, &id), 0);
	assert_int_equal(e.got[2].what, ORBIT_WATCH_DELETED);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	assert_int_equal(w.node[1]->got[WIRE_WATCH], 2);
	tell(w.node[1], id, 10);
	assert_int_equal(e.n, 3);
	end();
}

static void test_watch_prefix_is_asked_of_all_that_serve_it(void **state)
{
	struct orbit_id id[3];
	struct ear all, half;

	(void)state;
	begin();
	for (unsigned i = 0; i < 3; i++)
		id[i] = id_on(&w, i);
	listen_to(&all, id[0], 0);
	listen_to(&half, id_in(&w, 8, 1), 1); /* the upper one */
	for (unsigned i = 0; i < 3; i++)
		tell(w.node[i], id[i], i + 1);
	assert_int_equal(count(&all, ORBIT_WATCH_BEGUN), 1);
	assert_int_equal(count(&all, ORBIT_WATCH_CHANGED), 3);
	assert_int_equal(count(&half, ORBIT_WATCH_CHANGED),
		(id[0].b[0] >> 7) + (id[1].b[0] >> 7) + (id[2].b[0] >> 7));
	orbit_unwatch(all.watch);
	orbit_unwatch(half.watch);
	w_for(&w, MS);
	end();
}

static void test_watch_follows_the_primary_and_says_what_may_be_missing(void **state)
{
	struct ring_map *m;
	struct orbit_id id;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	listen_to(&e, id, 256);
	fake_kill(w.node[1]);
	w_for(&w, 100 * MS);
	assert_int_equal(e.n, 1); /* there is nothing yet to go on with */
	m = ring_draft(w.map);
	for (unsigned s = 0; s < ring_nshards(m); s++)
		if (m->shards[s].primary == 1)
			m->shards[s].primary = m->shards[s].member[0] = 2;
	give_map(m);
	assert_int_equal(w.node[2]->got[WIRE_WATCH], 1);
	assert_int_equal(e.n, 2);
	assert_int_equal(e.got[1].what, ORBIT_WATCH_MISSED);
	tell(w.node[2], id, 5);
	assert_int_equal(count(&e, ORBIT_WATCH_CHANGED), 1);
	/* the old one comes back, and is not heard any more */
	w.node[1]->listening = true;
	w_for(&w, SEC);
	tell(w.node[1], id, 6);
	assert_int_equal(count(&e, ORBIT_WATCH_CHANGED), 1);
	assert_int_equal(count(&e, ORBIT_WATCH_MISSED), 1);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	end();
}

/* A node leaves the set while its link is there, and the others have been asked long ago. */
static void test_watch_says_what_may_be_missing_when_a_node_serves_it_no_more(void **state)
{
	struct ring_map *m;
	struct ear e;

	(void)state;
	begin();
	listen_to(&e, id_on(&w, 0), 0);
	m = ring_draft(w.map);
	for (unsigned s = 0; s < ring_nshards(m); s++)
		if (m->shards[s].primary == 1)
			m->shards[s].primary = m->shards[s].member[0] = 2;
	give_map(m);
	assert_int_equal(e.n, 2);
	assert_int_equal(e.got[1].what, ORBIT_WATCH_MISSED);
	assert_int_equal(w.node[1]->got[WIRE_WATCH], 2); /* begun and ended */
	assert_int_equal(w.node[2]->got[WIRE_WATCH], 1);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	end();
}

static void test_watch_is_asked_for_again_when_the_link_is_back(void **state)
{
	struct orbit_id id;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	listen_to(&e, id, 256);
	fake_cut(w.node[1]);
	w_for(&w, 100 * MS);
	assert_int_equal(w.node[1]->got[WIRE_WATCH], 2);
	assert_int_equal(e.n, 2);
	assert_int_equal(e.got[1].what, ORBIT_WATCH_MISSED);
	tell(w.node[1], id, 5);
	assert_int_equal(count(&e, ORBIT_WATCH_CHANGED), 1);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	end();
}

/* Nothing is pending on the link: whether it still lives is found out all the same. */
static void test_watch_notices_a_silent_link(void **state)
{
	struct orbit_id id;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	listen_to(&e, id, 256);
	w_for(&w, 20 * SEC);
	assert_in_range(w.node[1]->got[WIRE_PING], 15, 21);
	assert_int_equal(e.n, 1);
	w.node[1]->mute = true;
	w_for(&w, 20 * SEC);
	w.node[1]->mute = false;
	w_for(&w, 5 * SEC);
	assert_int_equal(count(&e, ORBIT_WATCH_MISSED), 1);
	tell(w.node[1], id, 5);
	assert_int_equal(count(&e, ORBIT_WATCH_CHANGED), 1);
	orbit_unwatch(e.watch);
	w_for(&w, 5 * SEC);
	end();
}

static void test_watch_hears_that_notices_were_lost(void **state)
{
	static const struct orbit_id none;
	struct orbit_id id;
	uint16_t shard;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	shard = ring_shard_of(w.map, &id);
	listen_to(&e, id, 256);
	notice(w.node[1], WIRE_NOTICE_LOST, (uint16_t)(shard ^ 1), none, 0); /* not ours */
	w_for(&w, MS);
	assert_int_equal(e.n, 1);
	notice(w.node[1], WIRE_NOTICE_LOST, shard, none, 0);
	w_for(&w, MS);
	assert_int_equal(count(&e, ORBIT_WATCH_MISSED), 1);
	notice(w.node[1], WIRE_NOTICE_LOST, WIRE_NOTICE_ALL, none, 0);
	w_for(&w, MS);
	assert_int_equal(count(&e, ORBIT_WATCH_MISSED), 2);
	assert_int_equal(w.node[1]->got[WIRE_WATCH], 3);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	end();
}

static bool wrong_node(struct fake *n, struct tlink *t, struct frame *f)
{
	if (f->type != WIRE_WATCH)
		return false;
	fake_status(n, t, f, WIRE_WRONG_NODE, -1);
	return true;
}

static void test_watch_asks_until_the_node_serves_it(void **state)
{
	struct orbit_id id;
	struct ear e;

	(void)state;
	begin();
	id = id_on(&w, 1);
	w.node[1]->hook = wrong_node;
	listen_to(&e, id, 256);
	w_for(&w, 10 * SEC);
	assert_int_equal(e.n, 0);
	assert_in_range(w.node[1]->got[WIRE_WATCH], 8, 30);
	w.node[1]->hook = NULL;
	w_for(&w, SEC);
	assert_int_equal(e.n, 1);
	assert_int_equal(e.got[0].what, ORBIT_WATCH_BEGUN);
	orbit_unwatch(e.watch);
	w_for(&w, MS);
	end();
}

static void test_watch_ends_from_its_callback_and_with_the_client(void **state)
{
	struct orbit_id id, other;
	struct ear a, b, q;

	(void)state;
	begin();
	id = id_on(&w, 1);
	other = id_on(&w, 2);
	listen_to(&a, id, 256);
	a.end = true;
	listen_to(&b, id, 256);
	fake_kill(w.node[2]);
	w_for(&w, MS);
	listen_to(&q, other, 256); /* still asking when the client goes */
	tell(w.node[1], id, 5);
	tell(w.node[1], id, 6);
	assert_int_equal(count(&a, ORBIT_WATCH_CHANGED), 1);
	assert_int_equal(count(&b, ORBIT_WATCH_CHANGED), 2);
	assert_int_equal(q.n, 0);
	client_gone(&w, c);
	assert_int_equal(count(&b, ORBIT_WATCH_CHANGED), 2);
	world_fini(&w);
}

static void test_watch_malformed_notice_costs_the_link(void **state)
{
	static const struct orbit_id none;
	struct orbit_watch *watch;

	(void)state;
	begin();
	assert_int_equal(orbit_watch(c, &none, 257, on_change, NULL, &watch), -EINVAL);
	notice(w.node[1], 9, 0, none, 0);
	w_for(&w, 5 * SEC);
	assert_int_equal(w.node[1]->connects, 2);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_tells_what_was_asked_for),
		cmocka_unit_test(test_watch_prefix_is_asked_of_all_that_serve_it),
		cmocka_unit_test(test_watch_follows_the_primary_and_says_what_may_be_missing),
		cmocka_unit_test(test_watch_says_what_may_be_missing_when_a_node_serves_it_no_more),
		cmocka_unit_test(test_watch_is_asked_for_again_when_the_link_is_back),
		cmocka_unit_test(test_watch_notices_a_silent_link),
		cmocka_unit_test(test_watch_hears_that_notices_were_lost),
		cmocka_unit_test(test_watch_asks_until_the_node_serves_it),
		cmocka_unit_test(test_watch_ends_from_its_callback_and_with_the_client),
		cmocka_unit_test(test_watch_malformed_notice_costs_the_link),
	};

	log_set_level(getenv("VERBOSE") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	return cmocka_run_group_tests_name("client_watch", tests, NULL, NULL);
}
