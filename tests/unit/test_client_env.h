/*
 * What the client's tests share: a world of scripted nodes with a ring map, and a client in it.
 */
#ifndef ORBIT_TEST_CLIENT_ENV_H
#define ORBIT_TEST_CLIENT_ENV_H

#include "tests/unit/test_client_nodes.h"

/* ---- the world ---- */

/* @n nodes in ring order, 16 shards; listening, with a map. */
static inline void world_init(struct world *w, unsigned n, uint64_t seed)
{
	struct ring_node nodes[8] = {0};
	static const uint8_t fsid[16] = {7};
	struct fake *f;

	memset(w, 0, sizeof(*w));
	w->env.ops = &env_ops_test;
	w->now = 1000 * SEC;
	w->rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	w->nnodes = n;
	w->next_session = 1;
	RB_INIT(&w->events);
	TAILQ_INIT(&w->tasks);
	TAILQ_INIT(&w->links);
	for (unsigned i = 0; i < n; i++) {
		f = w->node[i] = mem_zalloc(sizeof(*f));
		f->w = w;
		f->index = i;
		f->version = WIRE_VERSION;
		f->listening = true;
		memcpy(f->fsid, fsid, 16);
		memset(f->id.b, 0x11 * (int)(i + 1), sizeof(f->id.b));
		snprintf(f->addr, sizeof(f->addr), "10.0.0.%u:7000", i + 1);
		TAILQ_INIT(&f->known);
		nodes[i].id = f->id;
		nodes[i].weight = 100;
		nodes[i].naddrs = 1;
		snprintf(nodes[i].addr[0], ENV_ADDR_MAX, "%s", f->addr);
	}
	assert_int_equal(ring_make(&w->map, fsid, 4, 1, nodes, n), 0);
	w->map->keeper = 0;
}

static inline void world_fini(struct world *w)
{
	struct event *e;
	struct tlink *t;
	struct known *k;

	w_for(w, 10 * MS);
	assert_true(TAILQ_EMPTY(&w->tasks));
	while ((e = RB_MIN(event_tree, &w->events))) {
		assert_true(e->fn != timer_fired); /* nobody left a timer behind */
		RB_REMOVE(event_tree, &w->events, e);
		frame_unref(e->frame);
		free(e);
	}
	while ((t = TAILQ_FIRST(&w->links))) {
		assert_null(t->pub); /* nor a link */
		TAILQ_REMOVE(&w->links, t, at);
		free(t);
	}
	for (unsigned i = 0; i < w->nnodes; i++) {
		while ((k = TAILQ_FIRST(&w->node[i]->known)))
			fake_forget(w->node[i], k);
		free(w->node[i]);
	}
	for (unsigned i = 0; w->moving && i < ARRAY_LEN(w->book); i++) {
		while ((k = TAILQ_FIRST(&w->book[i]->known)))
			fake_forget(w->book[i], k);
		free(w->book[i]);
	}
	free(w->done);
	ring_unref(w->map);
}

/* From now on shards can move, and take with them what is known of their transactions. */
static inline void world_moving(struct world *w)
{
	w->moving = true;
	for (unsigned i = 0; i < ARRAY_LEN(w->book); i++) {
		w->book[i] = mem_zalloc(sizeof(*w->book[i]));
		w->book[i]->w = w;
		TAILQ_INIT(&w->book[i]->known);
	}
	w->done = mem_zalloc(TAGS * sizeof(w->done[0]));
}

/* The draft @m is the map from now on; in @moved shards (bits) the term begins with it, and what a
 * primary remembered by itself is gone. */
static inline void world_map(struct world *w, struct ring_map *m, unsigned moved)
{
	struct known *k, *next;

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (!(moved >> s & 1))
			continue;
		m->shards[s].term++;
		w->since[s] = m->epoch;
		TAILQ_FOREACH_SAFE (k, &w->book[s]->known, at, next)
			if (k->failed)
				fake_forget(w->book[s], k);
	}
	ring_unref(w->map);
	w->map = m;
}

/* The node tells whoever is connected. */
static inline void fake_say_epoch(struct fake *n, uint64_t epoch)
{
	struct tlink *t;

	TAILQ_FOREACH (t, &n->w->links, at) {
		struct frame *f;

		if (t->node != n || !t->pub || t->dead || !t->up)
			continue;
		f = frame_new(WIRE_EPOCH, 0, 8);
		buf_u64(&f->b, epoch);
		fake_send(t, f);
	}
}

/* The @nth shard that node @node serves. */
static inline uint16_t shard_of_node(struct world *w, unsigned node, unsigned nth)
{
	for (unsigned s = 0; s < ring_nshards(w->map); s++)
		if (w->map->shards[s].primary == node && nth-- == 0)
			return (uint16_t)s;
	fail_msg("node %u has too few shards", node);
	return 0;
}

static inline struct orbit_id id_in(struct world *w, uint16_t shard, uint32_t n)
{
	uint8_t name[24] = {0};

	memcpy(name, &n, sizeof(n));
	return orbit_id_make((uint64_t)shard << (64 - w->map->shard_bits), name);
}

static inline struct orbit_id id_on(struct world *w, unsigned node)
{
	return id_in(w, shard_of_node(w, node, 0), 1);
}

/* ---- the client under test ---- */

struct result {
	unsigned calls;
	int rc, failed;
	unsigned nparts;
	uint64_t at;
	bool inside; /* was called while submit or cancel ran */
	struct world *w;
	void (*then)(struct result *res);
	unsigned closed;
	void *then_arg;
};

static bool inside_call UNUSED;

static inline void on_result(void *arg, const struct orbit_reply *r)
{
	struct result *res = arg;

	res->calls++;
	res->rc = r->rc;
	res->failed = r->failed;
	res->nparts = r->nparts;
	res->inside |= inside_call;
	if (res->w)
		res->at = res->w->now;
	if (res->then)
		res->then(res);
}

static inline void on_ready(void *arg, int rc)
{
	struct result *res = arg;

	res->calls++;
	res->rc = rc;
}

static inline void on_closed(void *arg)
{
	++*(unsigned *)arg;
}

static inline struct orbit_config config_of(struct world *w)
{
	struct orbit_config cfg = orbit_config_default();

	for (unsigned i = 0; i < w->nnodes; i++)
		cfg.seeds[cfg.nseeds++] = w->node[i]->addr;
	return cfg;
}

static inline struct orbit_client *client_with(struct world *w, const struct orbit_config *cfg)
{
	struct orbit_client *c;
	struct result ready = {0};

	assert_int_equal(orbit_new(&c, &w->env, cfg), 0);
	orbit_wait_ready(c, 5 * SEC, on_ready, &ready);
	w_for(w, 50 * MS);
	assert_int_equal(ready.calls, 1);
	assert_int_equal(ready.rc, 0);
	assert_string_equal(orbit_last_error(c), "");
	return c;
}

static inline struct orbit_client *client_ready(struct world *w)
{
	struct orbit_config cfg = config_of(w);

	return client_with(w, &cfg);
}

static inline void client_gone(struct world *w, struct orbit_client *c)
{
	unsigned closed = 0;

	orbit_close(c, 2 * SEC, on_closed, &closed);
	assert_int_equal(closed, 0);
	w_for(w, 3 * SEC);
	assert_int_equal(closed, 1);
}

static inline struct orbit_policy soft(unsigned resends, uint64_t timeout)
{
	return (struct orbit_policy){
		.resend_count = resends,
		.check_timeout = timeout,
	};
}

/* Sets slot 0 of the object to @tag. */
static inline orbit_handle put(struct orbit_client *c, struct orbit_id id, uint64_t tag,
	const struct orbit_policy *policy, struct result *res)
{
	struct txn_build t;
	orbit_handle h;

	txn_init(&t);
	txn_set(&t, &id, 0, tag);
	inside_call = true;
	h = orbit_submit(c, &t, policy, on_result, res);
	inside_call = false;
	return h;
}

/* The same on two objects. */
static inline orbit_handle put2(struct orbit_client *c, struct orbit_id a, struct orbit_id b,
	uint64_t tag, const struct orbit_policy *policy, struct result *res)
{
	struct txn_build t;
	orbit_handle h;

	txn_init(&t);
	txn_get(&t, &a);
	txn_get(&t, &b);
	txn_set(&t, &a, 0, tag);
	txn_set(&t, &b, 0, tag);
	inside_call = true;
	h = orbit_submit(c, &t, policy, on_result, res);
	inside_call = false;
	return h;
}

static inline orbit_handle get(struct orbit_client *c, struct orbit_id id,
	const struct orbit_policy *policy, struct result *res)
{
	struct txn_build t;
	orbit_handle h;

	txn_init(&t);
	txn_get(&t, &id);
	inside_call = true;
	h = orbit_submit(c, &t, policy, on_result, res);
	inside_call = false;
	return h;
}

static inline bool cancel(struct orbit_client *c, orbit_handle h, bool stalled_only)
{
	bool yes;

	inside_call = true;
	yes = orbit_cancel(c, h, stalled_only);
	inside_call = false;
	return yes;
}

/* Nothing is in flight, neither in the table nor in a list. */
static inline void assert_idle(struct orbit_client *c)
{
	struct peer *p;

	if (c->session.req.e.listed)
		assert_int_equal(c->table.n, 1);
	else
		assert_int_equal(c->table.n, 0);
	assert_true(TAILQ_EMPTY(&c->calls));
	assert_true(TAILQ_EMPTY(&c->waiting));
	assert_true(TAILQ_EMPTY(&c->ending));
	assert_true(TAILQ_EMPTY(&c->session.live));
	assert_true(TAILQ_EMPTY(&c->homeless));
	TAILQ_FOREACH (p, &c->peers, at)
		if (!c->session.req.e.listed)
			assert_true(TAILQ_EMPTY(&p->pending));
	assert_int_equal(c->session.nabandoned, 0);
}

#endif
