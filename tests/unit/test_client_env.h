/*
 * An env on virtual time, and scripted nodes, for the client's tests: one thread, no sockets, no
 * sleeping. Links are ordered; what is on its way when a link goes is lost. Frames cross a link as
 * bytes, with their checksums. A closed link's memory is gone, so that a sanitizer sees who still
 * uses it.
 *
 * A fake node knows just enough of the protocol to be resent to: it answers HELLO, MAP_GET, PING
 * and sessions, stores replies and outcomes, and counts what it applied by the tag (value of the
 * first SET) of each transaction. A hook may take any message away from it.
 */
#ifndef ORBIT_TEST_CLIENT_ENV_H
#define ORBIT_TEST_CLIENT_ENV_H

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "dht/client/client.h"

#define MS ENV_MS
#define SEC ENV_SEC
#define UNUSED __attribute__((unused))

struct event {
	uint64_t at, seq;
	void (*fn)(void *arg, struct frame *f);
	void *arg;
	struct frame *frame;
	RB_ENTRY(event) entry;
};
RB_HEAD(event_tree, event);

static inline int event_order(const struct event *a, const struct event *b)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}
RB_GENERATE_INTERNAL(event_tree, event, entry, event_order, static __attribute__((unused)))

struct world;
struct fake;
struct tlink;

struct tpub { /* what the client holds */
	struct link l;
	struct tlink *t;
};

struct tlink {
	struct world *w;
	struct fake *node;
	struct tpub *pub; /* NULL: closed by the client */
	bool up, dead;
	uint64_t last; /* time of the last delivery in either direction */
	size_t unsent;
	bool greeted;
	TAILQ_ENTRY(tlink) at;
};

struct world {
	struct env env;
	uint64_t now, seq, rng;
	int64_t wall;
	struct event_tree events;
	TAILQ_HEAD(, env_task) tasks;
	TAILQ_HEAD(, tlink) links;
	struct fake *node[8];
	unsigned nnodes;
	struct ring_map *map;
	uint32_t next_session;
	bool lossy;           /* links reorder nothing, but nodes may drop and double answers */
	unsigned drop, twice; /* per thousand */
	uint64_t jitter;
};

/* What a node knows of one number. */
struct known {
	uint32_t session;
	uint64_t number, age;
	uint64_t tag;
	enum { K_DONE, K_PREPARED, K_COMMITTED, K_ABORTED } state;
	struct buf reply;
	uint16_t shard;
	unsigned nparts;
	uint16_t parts[WIRE_PARTICIPANTS_MAX];
	TAILQ_ENTRY(known) at;
};

struct seen {
	uint32_t session;
	uint64_t floor;
	unsigned nabandoned;
	uint64_t abandoned[4096];
};

#define TAGS 8192

struct fake {
	struct world *w;
	char addr[64], alias[64]; /* where it listens */
	unsigned index;
	struct orbit_id id;
	bool listening, blackhole, mute, deaf, stuck;
	bool (*hook)(struct fake *n, struct tlink *t, struct frame *f);
	void *hook_arg;
	uint16_t vote; /* status of PREPAREs, WIRE_OK: yes */
	unsigned no;   /* per thousand that are refused anyway */
	uint8_t fsid[16];
	uint16_t version;
	uint64_t seq;
	unsigned got[32];  /* by type */
	uint64_t last[32]; /* when */
	uint64_t first[32];
	unsigned applied[TAGS], asked[TAGS];
	TAILQ_HEAD(, known) known;
	struct seen seen[8];
	unsigned nseen;
	unsigned connects;
	uint64_t id_of_last; /* frame id */
};

/* ---- the clock and its events ---- */

static inline uint64_t w_random(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng * UINT64_C(0x2545f4914f6cdd1d);
}

static inline struct event *w_at(struct world *w, uint64_t at, void (*fn)(void *, struct frame *),
	void *arg, struct frame *f)
{
	struct event *e = mem_zalloc(sizeof(*e));

	e->at = at < w->now ? w->now : at;
	e->seq = ++w->seq;
	e->fn = fn;
	e->arg = arg;
	e->frame = f;
	RB_INSERT(event_tree, &w->events, e);
	return e;
}

static inline bool w_tasks(struct world *w)
{
	struct env_task *t = TAILQ_FIRST(&w->tasks);

	if (!t)
		return false;
	TAILQ_REMOVE(&w->tasks, t, entry);
	t->queued = false;
	t->run(t);
	return true;
}

/* Runs what is due up to @until, then stands there. */
static inline void w_run(struct world *w, uint64_t until)
{
	struct event *e;
	struct frame *f;
	void (*fn)(void *, struct frame *);
	void *arg;

	for (;;) {
		while (w_tasks(w))
			;
		e = RB_MIN(event_tree, &w->events);
		if (!e || e->at > until)
			break;
		RB_REMOVE(event_tree, &w->events, e);
		w->now = e->at;
		fn = e->fn;
		arg = e->arg;
		f = e->frame;
		free(e);
		fn(arg, f);
		frame_unref(f);
	}
	w->now = until;
}

static inline void w_for(struct world *w, uint64_t ns)
{
	w_run(w, w->now + ns);
}

static uint64_t op_now(struct env *e)
{
	return container_of(e, struct world, env)->now;
}

static uint64_t op_wall(struct env *e)
{
	struct world *w = container_of(e, struct world, env);

	return (uint64_t)((int64_t)w->now + w->wall) + 1600000000 * SEC;
}

static void op_random(struct env *e, void *out, size_t len)
{
	struct world *w = container_of(e, struct world, env);

	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)(w_random(w) >> 32);
}

static void timer_fired(void *arg, struct frame *f)
{
	struct env_timer *t = arg;

	(void)f;
	t->armed = false;
	t->impl = NULL;
	t->fire(t);
}

static void op_timer_clear(struct env *e, struct env_timer *t)
{
	struct world *w = container_of(e, struct world, env);
	struct event *ev = t->impl;

	if (ev) {
		RB_REMOVE(event_tree, &w->events, ev);
		free(ev);
	}
	t->impl = NULL;
	t->armed = false;
}

static void op_timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	struct world *w = container_of(e, struct world, env);

	op_timer_clear(e, t);
	assert_non_null(t->fire);
	t->impl = w_at(w, deadline, timer_fired, t, NULL);
	t->armed = true;
}

static void op_post(struct env *e, struct env_task *t)
{
	struct world *w = container_of(e, struct world, env);

	if (t->queued)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&w->tasks, t, entry);
}

static void op_unpost(struct env *e, struct env_task *t)
{
	struct world *w = container_of(e, struct world, env);

	if (t->queued)
		TAILQ_REMOVE(&w->tasks, t, entry);
	t->queued = false;
}

/* ---- links ---- */

static struct frame *as_bytes(struct frame *f)
{
	struct frame *c;
	size_t len;

	assert_int_equal(frame_seal(f), 0);
	assert_int_equal(frame_peek(f->b.data, &len), 0);
	c = frame_from_head(f->b.data, len);
	memcpy(c->b.data + FRAME_HEAD, f->b.data + FRAME_HEAD, len);
	assert_int_equal(frame_verify(c), 0);
	return c;
}

static void fake_message(struct tlink *t, struct frame *f);

static uint64_t arrival(struct tlink *t)
{
	uint64_t at = t->w->now + 50000 + (t->w->jitter ? w_random(t->w) % t->w->jitter : 0);

	if (at < t->last)
		at = t->last;
	return t->last = at;
}

static void to_node(void *arg, struct frame *f)
{
	struct tlink *t = arg;

	t->unsent -= f->b.len < t->unsent ? f->b.len : t->unsent;
	if (!t->dead && t->pub)
		fake_message(t, f);
}

static void to_client(void *arg, struct frame *f)
{
	struct tlink *t = arg;

	if (!t->dead && t->pub)
		t->pub->l.events->message(&t->pub->l, f, t->pub->l.arg);
}

static int op_send(struct link *l, struct frame *f)
{
	struct tlink *t = container_of(l, struct tpub, l)->t;
	struct frame *c;
	int rc = frame_check(f);

	if (rc || !t->up || t->dead) {
		frame_unref(f);
		return rc ? rc : -ENOTCONN;
	}
	c = as_bytes(f);
	frame_unref(f);
	if (t->node->stuck) {
		t->unsent += c->b.len;
		frame_unref(c); /* never leaves */
		return 0;
	}
	w_at(t->w, arrival(t), to_node, t, c);
	return 0;
}

static void op_close(struct link *l)
{
	struct tpub *p = container_of(l, struct tpub, l);

	p->t->pub = NULL;
	p->t->dead = true;
	free(p);
}

static size_t op_unsent(const struct link *l)
{
	return container_of(l, struct tpub, l)->t->unsent;
}

static const struct link_ops link_ops_test = {op_send, op_close, op_unsent};

static void link_down(void *arg, struct frame *f)
{
	struct tlink *t = arg;

	(void)f;
	if (!t->pub || t->dead)
		return;
	t->dead = true;
	t->pub->l.events->down(&t->pub->l, t->up ? -ECONNRESET : -ECONNREFUSED, t->pub->l.arg);
}

static void link_up(void *arg, struct frame *f)
{
	struct tlink *t = arg;

	if (!t->pub || t->dead || !t->node)
		return;
	if (!t->node->listening) {
		link_down(t, f);
		return;
	}
	t->node->connects++;
	t->up = true;
	t->pub->l.events->up(&t->pub->l, t->pub->l.arg);
}

static int op_connect(
	struct env *e, const char *addr, const struct link_events *ev, void *arg, struct link **out)
{
	struct world *w = container_of(e, struct world, env);
	struct tlink *t;

	if (!strchr(addr, ':'))
		return -EINVAL;
	t = mem_zalloc(sizeof(*t));
	t->w = w;
	t->pub = mem_zalloc(sizeof(*t->pub));
	t->pub->t = t;
	t->pub->l.ops = &link_ops_test;
	t->pub->l.events = ev;
	t->pub->l.arg = arg;
	snprintf(t->pub->l.peer, sizeof(t->pub->l.peer), "%.100s", addr);
	for (unsigned i = 0; i < w->nnodes; i++)
		if (!strcmp(w->node[i]->addr, addr) || !strcmp(w->node[i]->alias, addr))
			t->node = w->node[i];
	TAILQ_INSERT_TAIL(&w->links, t, at);
	*out = &t->pub->l;
	if (!t->node || (!t->node->listening && !t->node->blackhole))
		w_at(w, w->now + 30000, link_down, t, NULL);
	else if (!t->node->blackhole)
		w_at(w, arrival(t), link_up, t, NULL);
	return 0;
}

static const struct env_ops env_ops_test = {
	.now = op_now,
	.wall = op_wall,
	.random = op_random,
	.timer_set = op_timer_set,
	.timer_clear = op_timer_clear,
	.post = op_post,
	.unpost = op_unpost,
	.connect = op_connect,
};

/* ---- fake nodes ---- */

/* Cuts all links to @n. */
static inline void fake_cut(struct fake *n)
{
	struct tlink *t;

	TAILQ_FOREACH (t, &n->w->links, at)
		if (t->node == n && t->pub && !t->dead && t->up)
			w_at(n->w, n->w->now + 1000, link_down, t, NULL);
}

static inline void fake_kill(struct fake *n)
{
	n->listening = false;
	fake_cut(n);
}

static inline void fake_send(struct tlink *t, struct frame *f)
{
	struct world *w = t->w;

	if (t->dead || !t->pub) {
		frame_unref(f);
		return;
	}
	if (w->lossy && f->type != WIRE_HELLO && w_random(w) % 1000 < w->drop) {
		frame_unref(f);
		return;
	}
	if (w->lossy && f->type == WIRE_REPLY && w_random(w) % 1000 < w->twice)
		w_at(w, arrival(t), to_client, t, as_bytes(f));
	w_at(w, arrival(t), to_client, t, as_bytes(f));
	frame_unref(f);
}

static inline struct frame *fake_reply(const struct frame *to, uint16_t type)
{
	struct frame *f = frame_new(type, to->id, 64);

	f->flags = FRAME_REPLY;
	return f;
}

/* A REPLY without results; @shard with a new effect of it, or -1. */
static inline void fake_status(
	struct fake *n, struct tlink *t, const struct frame *to, uint16_t status, int shard)
{
	struct frame *f = fake_reply(to, WIRE_REPLY);
	struct wire_effect e = {.shard = (uint16_t)shard, .term = 1, .seq = n->seq + 1};

	if (shard >= 0)
		n->seq++;
	wire_put_reply_head(&f->b, status, 0, n->w->map->epoch, &e, shard >= 0);
	fake_send(t, f);
}

static inline struct known *fake_find(
	struct fake *n, uint32_t session, uint64_t number, uint16_t shard)
{
	struct known *k;

	TAILQ_FOREACH (k, &n->known, at)
		if (k->session == session && k->number == number && k->shard == shard)
			return k;
	return NULL;
}

static inline struct known *fake_know(
	struct fake *n, uint32_t session, uint64_t number, uint16_t shard, uint64_t tag)
{
	struct known *k = mem_zalloc(sizeof(*k));

	k->session = session;
	k->number = number;
	k->shard = shard;
	k->tag = tag;
	TAILQ_INSERT_TAIL(&n->known, k, at);
	return k;
}

static inline void fake_forget(struct fake *n, struct known *k)
{
	TAILQ_REMOVE(&n->known, k, at);
	buf_fini(&k->reply);
	free(k);
}

static inline struct seen *fake_seen(struct fake *n, uint32_t session)
{
	for (unsigned i = 0; i < n->nseen; i++)
		if (n->seen[i].session == session)
			return &n->seen[i];
	assert_true(n->nseen < ARRAY_LEN(n->seen));
	n->seen[n->nseen].session = session;
	return &n->seen[n->nseen++];
}

static inline void fake_learn(struct fake *n, const struct wire_txn *m)
{
	struct seen *s = fake_seen(n, m->session);
	uint64_t a, last = 0;
	bool have;

	if (m->floor > s->floor)
		s->floor = m->floor;
	for (unsigned i = 0; i < m->nabandoned; i++) {
		a = wire_abandoned(m, i);
		assert_true(a > last && a >= m->floor && a != m->number);
		last = a;
		have = false;
		for (unsigned j = 0; j < s->nabandoned; j++)
			have |= s->abandoned[j] == a;
		if (!have && s->nabandoned < ARRAY_LEN(s->abandoned))
			s->abandoned[s->nabandoned++] = a;
	}
}

static inline bool fake_refuses(struct fake *n, const struct wire_txn *m)
{
	struct seen *s = fake_seen(n, m->session);

	if (m->number < s->floor)
		return true;
	for (unsigned j = 0; j < s->nabandoned; j++)
		if (s->abandoned[j] == m->number)
			return true;
	return false;
}

/* The shard of its first object, the tag, and a result for each read. */
static inline uint64_t fake_read(
	struct fake *n, const struct wire_txn *m, uint16_t *shard, struct buf *results)
{
	struct txn_view v;
	struct txn_iter it;
	struct txn_op op;
	struct orbit_id id;
	uint64_t tag = 0;

	assert_int_equal(txn_check(m->body, m->body_len, &v), 0);
	id = v.object[0];
	*shard = ring_shard_of(n->w->map, &id);
	for (it = txn_iter_of(&v); txn_next(&it, &op);) {
		if (op.kind == TXN_SET && !tag)
			tag = op.a;
		if (!txn_is_read(op.kind))
			continue;
		buf_u16(results, op.index);
		buf_u8(results, (uint8_t)op.kind);
		buf_u8(results, 0);
		buf_u32(results, 0);
	}
	assert_true(tag < TAGS);
	return tag;
}

static inline void fake_stored(struct tlink *t, const struct frame *to, const struct known *k)
{
	struct frame *f = fake_reply(to, WIRE_REPLY);

	buf_bytes(&f->b, k->reply.data, k->reply.len);
	fake_send(t, f);
}

static inline void fake_store(
	struct fake *n, struct known *k, bool effect, const struct buf *results)
{
	struct wire_effect e = {.shard = k->shard, .term = 1, .seq = n->seq + 1};

	if (effect)
		n->seq++;
	wire_put_reply_head(&k->reply, WIRE_OK, 0, n->w->map->epoch, &e, effect);
	buf_bytes(&k->reply, results->data, results->len);
}

static inline void fake_txn(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;
	struct known *k, reads = {0};
	struct buf results = {0};
	uint16_t shard;
	uint64_t tag;
	struct fake *home;

	assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
	tag = fake_read(n, &m, &shard, &results);
	home = n->w->node[n->w->map->shards[shard].primary];
	if (home != n && !home->listening) {
		fake_status(n, t, f, WIRE_UNREACHABLE, -1);
		goto out;
	}
	n = home; /* forwarded */
	n->asked[tag]++;
	fake_learn(n, &m);
	if (fake_refuses(n, &m)) {
		fake_status(n, t, f, WIRE_REFUSED, -1);
		goto out;
	}
	if (m.flags & WIRE_TXN_READS) {
		reads.shard = shard;
		fake_store(n, &reads, false, &results);
		fake_stored(t, f, &reads);
		buf_fini(&reads.reply);
		goto out;
	}
	k = fake_find(n, m.session, m.number, shard);
	if (!k) {
		k = fake_know(n, m.session, m.number, shard, tag);
		if (w_random(n->w) % 1000 < n->no) {
			/* Remembered as well: a second copy must not fare better. */
			wire_put_reply_head(&k->reply, WIRE_COMPARE, 0, n->w->map->epoch, NULL, 0);
		} else {
			n->applied[tag]++;
			fake_store(n, k, true, &results);
		}
	}
	fake_stored(t, f, k);
out:
	buf_fini(&results);
}

static inline void fake_prepare(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;
	struct known *k;
	struct buf results = {0};
	uint16_t shard, status = n->vote;
	uint64_t tag;

	assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
	tag = fake_read(n, &m, &shard, &results);
	if (n->w->node[n->w->map->shards[shard].primary] != n) {
		fake_status(n, t, f, WIRE_WRONG_NODE, -1);
		goto out;
	}
	n->asked[tag]++;
	fake_learn(n, &m);
	k = fake_find(n, m.session, m.number, shard);
	if (!k && fake_refuses(n, &m)) {
		fake_status(n, t, f, WIRE_REFUSED, -1);
	} else if (k && k->state == K_ABORTED) {
		fake_status(n, t, f, WIRE_REFUSED, -1);
	} else if (k) {
		fake_stored(t, f, k);
	} else if (status != WIRE_OK || w_random(n->w) % 1000 < n->no) {
		if (status == WIRE_OK)
			status = w_random(n->w) % 2 ? WIRE_COMPARE : WIRE_RETRY;
		fake_status(n, t, f, status, -1);
	} else {
		k = fake_know(n, m.session, m.number, shard, tag);
		k->state = K_PREPARED;
		k->age = m.age;
		k->nparts = m.nparticipants;
		for (unsigned i = 0; i < k->nparts; i++)
			k->parts[i] = wire_participant(&m, i);
		fake_store(n, k, false, &results);
		fake_stored(t, f, k);
	}
out:
	buf_fini(&results);
}

static inline void fake_outcome(struct fake *n, struct known *k, bool commit)
{
	assert_int_equal(k->state, K_PREPARED);
	k->state = commit ? K_COMMITTED : K_ABORTED;
	if (commit)
		n->applied[k->tag]++;
}

static inline void fake_decide(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_decide m;
	struct known *k;

	assert_int_equal(wire_get_decide(frame_cur(f), &m), 0);
	k = fake_find(n, m.session, m.number, m.shard);
	if (f->type == WIRE_FORGET) {
		if (k)
			assert_int_not_equal(k->state, K_PREPARED);
		if (k)
			fake_forget(n, k);
		return;
	}
	if (m.commit && !k && m.number < fake_seen(n, m.session)->floor) {
		fake_status(n, t, f, WIRE_OK, -1);
	} else if (m.commit) {
		assert_non_null(k);
		assert_int_not_equal(k->state, K_ABORTED);
		if (k->state == K_PREPARED)
			fake_outcome(n, k, true);
		fake_status(n, t, f, WIRE_OK, m.shard);
	} else if (k && k->state == K_COMMITTED) {
		fake_status(n, t, f, WIRE_COMMITTED, -1);
	} else {
		if (!k) {
			k = fake_know(n, m.session, m.number, m.shard, 0);
			k->state = K_PREPARED;
		}
		if (k->state == K_PREPARED)
			fake_outcome(n, k, false);
		fake_status(n, t, f, WIRE_OK, -1);
	}
}

static inline void fake_session(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_session_open m;
	struct wire_session s = {.timeout_ms = 10000};
	struct frame *r = fake_reply(f, WIRE_SESSION);

	assert_int_equal(wire_get_session_open(frame_cur(f), &m), 0);
	if (n->w->node[n->w->map->keeper] != n)
		s.status = WIRE_WRONG_NODE;
	else if (m.what == WIRE_SESSION_NEW)
		s.session = n->w->next_session;
	else if (m.session != n->w->next_session)
		s.status = WIRE_NO_SESSION;
	else
		s.session = m.session;
	wire_put_session(&r->b, &s);
	fake_send(t, r);
}

static inline void fake_hello(struct fake *n, struct tlink *t)
{
	struct wire_hello m = {
		.version = n->version,
		.version_min = n->version,
		.role = WIRE_ROLE_NODE,
		.node = n->id,
		.epoch = n->w->map ? n->w->map->epoch : 0,
	};
	struct frame *f = frame_new(WIRE_HELLO, 0, 128);

	memcpy(m.fsid, n->fsid, 16);
	wire_put_hello(&f->b, &m);
	fake_send(t, f);
}

static inline void fake_map(struct fake *n, struct tlink *t, struct frame *f)
{
	struct frame *r = fake_reply(f, WIRE_MAP);
	struct wire_map m = {.epoch = n->w->map ? n->w->map->epoch : 0};
	struct buf b = {0};
	uint64_t epoch;

	assert_int_equal(wire_get_map_get(frame_cur(f), &epoch), 0);
	if (n->w->map && m.epoch > epoch) {
		ring_encode(n->w->map, &b);
		m.form = WIRE_MAP_WHOLE;
		m.map = b.data;
		m.map_len = b.len;
	}
	wire_put_map(&r->b, &m);
	fake_send(t, r);
	buf_fini(&b);
}

static void fake_message(struct tlink *t, struct frame *f)
{
	struct fake *n = t->node;
	struct frame *r;

	assert_true(f->type < ARRAY_LEN(n->got));
	if (!n->got[f->type]++)
		n->first[f->type] = n->w->now;
	n->last[f->type] = n->w->now;
	n->id_of_last = f->id;
	if (!t->greeted)
		assert_int_equal(f->type, WIRE_HELLO);
	t->greeted = true;
	if (n->mute || (n->hook && n->hook(n, t, f)))
		return;
	switch (f->type) {
	case WIRE_HELLO:
		fake_hello(n, t);
		return;
	case WIRE_PING:
		fake_send(t, fake_reply(f, WIRE_PONG));
		return;
	case WIRE_PONG:
		return;
	case WIRE_MAP_GET:
		fake_map(n, t, f);
		return;
	case WIRE_ERROR:
		fake_cut(n);
		return;
	}
	if (n->deaf)
		return;
	switch (f->type) {
	case WIRE_SESSION_OPEN:
		fake_session(n, t, f);
		break;
	case WIRE_TXN:
		fake_txn(n, t, f);
		break;
	case WIRE_PREPARE:
		fake_prepare(n, t, f);
		break;
	case WIRE_DECIDE:
	case WIRE_FORGET:
		fake_decide(n, t, f);
		break;
	case WIRE_SYNC:
		fake_status(n, t, f, WIRE_OK, -1);
		break;
	case WIRE_LIST:
		r = fake_reply(f, WIRE_REPLY);
		wire_put_reply_head(&r->b, WIRE_OK, 0, n->w->map->epoch, NULL, 0);
		buf_u8(&r->b, 1);
		buf_u32(&r->b, 0);
		fake_send(t, r);
		break;
	case WIRE_STATUS:
		r = fake_reply(f, WIRE_STATS);
		wire_put_stat(&r->b, "node.addr", "%s", n->addr);
		fake_send(t, r);
		break;
	default:
		fail_msg("a client sent type %u", f->type);
	}
}

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
	ring_unref(w->map);
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
