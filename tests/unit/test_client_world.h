/*
 * An env on virtual time for the client's tests: one thread, no sockets, no sleeping. Links are
 * ordered; what is on its way when a link goes is lost. Frames cross a link as bytes, with their
 * checksums. A closed link's memory is gone, so that a sanitizer sees who still uses it.
 */
#ifndef ORBIT_TEST_CLIENT_WORLD_H
#define ORBIT_TEST_CLIENT_WORLD_H

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

#define TAGS 8192

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
	uint64_t session_epoch; /* that the keeper says */
	bool lossy;             /* links reorder nothing, but nodes may drop and double answers */
	unsigned drop, twice;   /* per thousand */
	uint64_t jitter;
	/* Shards move, with all that is known of them: then that lies with the shard, not with the
	 * node, and what was sent under an older epoch than @since is refused. */
	bool moving;
	struct fake *book[16];
	uint64_t since[16];
	uint8_t (*done)[16]; /* by tag and shard: how often it took effect */
	bool relays;         /* nodes pass on what is for the keeper */
};

/* What a node knows of one number. */
struct known {
	uint32_t session;
	uint64_t number, age;
	uint64_t tag;
	bool failed; /* remembered by the node that said so only */
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

struct fake {
	struct world *w;
	char addr[64], alias[64]; /* where it listens */
	unsigned index;
	struct orbit_id id;
	bool listening, blackhole, mute, deaf, stuck;
	bool alone; /* the other nodes do not reach it */
	bool (*hook)(struct fake *n, struct tlink *t, struct frame *f);
	void *hook_arg;
	uint16_t vote; /* status of PREPAREs, WIRE_OK: yes */
	unsigned no;   /* per thousand that are refused anyway */
	uint8_t fsid[16];
	uint16_t version;
	uint64_t seq;
	unsigned got[80];  /* by type */
	uint64_t last[80]; /* when */
	uint64_t first[80];
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

#endif
