/*
 * Being told of changes. A watch has a post at each node that is primary of a shard in which its
 * IDs can lie; a post follows the link and the map:
 *
 *   asking  WATCH was sent, or waits for a link
 *   on      answered: what happens from now on is told
 *
 * Whatever leads from on back to asking - a lost link, a shard that moved, a node that says that it
 * could not tell everything - may have hidden changes. The watcher hears so once all posts are on
 * again: what he reads from then on is not older than what he is told next.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/wire/wire_watch.h"

#define AGAIN_MIN (50 * ENV_MS)
#define AGAIN_MAX (1 * ENV_SEC)

struct post {
	struct request req; /* while asking */
	struct orbit_watch *watch;
	struct peer *peer;
	bool on;
	bool wanted; /* by the map that is being looked at */
	TAILQ_ENTRY(post) at;
};

struct orbit_watch {
	struct orbit_client *c;
	uint64_t number;
	struct orbit_id id;
	unsigned bits;
	orbit_watch_cb *cb;
	void *arg;
	bool begun; /* the watcher was told that it is on */
	bool missed;
	bool over; /* was ended by a callback; goes when that returns */
	TAILQ_HEAD(, post) posts;
	TAILQ_ENTRY(orbit_watch) at;
};

static const struct request_ops watch_ops;

/* ---- telling the watcher ---- */

static void tell(struct orbit_watch *w, const struct orbit_change *ch)
{
	if (!w->over)
		w->cb(w->arg, ch);
}

static void check_on(struct orbit_watch *w)
{
	struct orbit_change ch = {.what = w->begun ? ORBIT_WATCH_MISSED : ORBIT_WATCH_BEGUN};
	const struct post *p;

	if (w->begun && !w->missed)
		return;
	TAILQ_FOREACH (p, &w->posts, at)
		if (!p->on)
			return;
	if (TAILQ_EMPTY(&w->posts))
		return;
	w->begun = true;
	w->missed = false;
	tell(w, &ch);
}

/* Callbacks may end any watch: they go when the last one has returned. */
static void enter(struct orbit_client *c)
{
	c->watching++;
}

static void leave(struct orbit_client *c)
{
	struct orbit_watch *w, *next;

	if (--c->watching)
		return;
	TAILQ_FOREACH_SAFE (w, &c->watches, at, next)
		if (w->over)
			watch_free(w);
}

/* ---- posts ---- */

static struct frame *message(const struct post *p, uint64_t id, bool begin)
{
	struct frame *f = frame_new(WIRE_WATCH, id, 48);
	struct wire_watch m = {
		.begin = begin,
		.number = p->watch->number,
		.bits = (uint16_t)p->watch->bits,
		.id = p->watch->id,
	};

	wire_put_watch(&f->b, &m);
	return f;
}

static void ask(struct post *p)
{
	struct orbit_client *c = p->watch->c;

	request_drop(&p->req);
	if (p->on)
		p->peer->nposts--;
	p->on = false;
	request_begin(&p->req, c, &watch_ops, c->policy.check_timeout, ENTRY_FOREVER);
	p->req.home = p->peer;
	request_go(&p->req, TO_PEER, 0, message(p, p->req.e.id, true));
}

static struct post *post_new(struct orbit_watch *w, struct peer *peer)
{
	struct post *p = mem_zalloc(sizeof(*p));

	p->watch = w;
	p->peer = peer;
	TAILQ_INSERT_TAIL(&w->posts, p, at);
	ask(p);
	return p;
}

static void post_free(struct post *p)
{
	if (p->on)
		p->peer->nposts--;
	/* An answer that is still on its way is an answer to nobody. */
	if ((p->on || p->req.sent) && !p->watch->c->closing)
		peer_send(p->peer, message(p, 0, false));
	request_drop(&p->req);
	TAILQ_REMOVE(&p->watch->posts, p, at);
	free(p);
}

static void on_answer(struct request *r, struct peer *peer, struct frame *f)
{
	struct post *p = container_of(r, struct post, req);
	struct orbit_watch *w = p->watch;
	struct orbit_client *c = r->c;
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(peer, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(c, peer, m.epoch);
	if (m.status != WIRE_OK) {
		/* it has an older map than we, or we than it; or it has too much to do */
		request_backoff(r, request_jitter(c, AGAIN_MIN, r->wrong++, AGAIN_MAX),
			wire_status_name(m.status));
		return;
	}
	request_drop(r);
	p->on = true;
	p->peer->nposts++;
	peer_watch(peer);
	enter(c);
	check_on(w);
	leave(c);
}

static void on_expire(struct request *r)
{
	request_drop(r); /* the client goes */
}

static const struct request_ops watch_ops = {
	.reply = WIRE_REPLY,
	.answer = on_answer,
	.expire = on_expire,
};

static struct post *post_at(struct orbit_watch *w, const struct peer *peer)
{
	struct post *p;

	TAILQ_FOREACH (p, &w->posts, at)
		if (p->peer == peer)
			return p;
	return NULL;
}

/* ---- the map ---- */

/* The shards in which its IDs can lie: *from .. *to. */
static void range(const struct orbit_watch *w, unsigned *from, unsigned *to)
{
	const struct ring_map *m = w->c->map;

	*from = *to = ring_shard_of(m, &w->id);
	if (w->bits < m->shard_bits)
		*to += (1u << (m->shard_bits - w->bits)) - 1;
}

static void place(struct orbit_watch *w)
{
	const struct ring_map *m = w->c->map;
	struct post *p, *next;
	struct peer *peer;
	unsigned from, to;

	TAILQ_FOREACH (p, &w->posts, at)
		p->wanted = false;
	range(w, &from, &to);
	for (unsigned s = from; s <= to; s++) {
		if (s > from && m->shards[s].primary == m->shards[s - 1].primary)
			continue;
		peer = route_node(w->c, m->shards[s].primary);
		if (!peer)
			continue; /* a later map has somebody */
		p = post_at(w, peer);
		if (!p)
			p = post_new(w, peer);
		else if (!p->wanted && p->req.wrong)
			ask(p); /* maybe it knows by now */
		p->wanted = true;
	}
	TAILQ_FOREACH_SAFE (p, &w->posts, at, next) {
		if (p->wanted)
			continue;
		w->missed = true;
		post_free(p);
	}
}

void watch_mapped(struct orbit_client *c)
{
	struct orbit_watch *w, *next;

	enter(c);
	TAILQ_FOREACH_SAFE (w, &c->watches, at, next) {
		if (w->over)
			continue;
		place(w);
		check_on(w);
	}
	leave(c);
}

void watch_link_lost(struct peer *peer)
{
	struct orbit_watch *w;
	struct post *p;

	if (!peer->nposts)
		return;
	TAILQ_FOREACH (w, &peer->c->watches, at) {
		p = post_at(w, peer);
		if (!p || !p->on)
			continue;
		w->missed = true;
		ask(p);
	}
}

/* ---- notices ---- */

static void lost(struct peer *peer, const struct wire_notice *m)
{
	struct orbit_watch *w;
	unsigned from, to;
	struct post *p;

	TAILQ_FOREACH (w, &peer->c->watches, at) {
		p = post_at(w, peer);
		if (!p || !p->on)
			continue;
		range(w, &from, &to);
		if (m->shard != WIRE_NOTICE_ALL && (m->shard < from || m->shard > to))
			continue;
		w->missed = true;
		ask(p);
	}
	follow_ask(peer);
}

void watch_notice(struct peer *peer, struct frame *f)
{
	static const uint8_t what[] = {
		[WIRE_NOTICE_CREATED] = ORBIT_WATCH_CREATED,
		[WIRE_NOTICE_CHANGED] = ORBIT_WATCH_CHANGED,
		[WIRE_NOTICE_DELETED] = ORBIT_WATCH_DELETED,
	};
	struct orbit_client *c = peer->c;
	struct orbit_change ch;
	struct orbit_watch *w;
	struct wire_notice m;

	if (wire_get_notice(frame_cur(f), &m)) {
		peer_reject(peer, -EPROTO, "a malformed NOTICE");
		return;
	}
	if (m.what == WIRE_NOTICE_LOST) {
		lost(peer, &m);
		return;
	}
	ch = (struct orbit_change){
		.what = what[m.what], .id = m.id, .shard = m.shard, .seq = m.seq};
	enter(c);
	TAILQ_FOREACH (w, &c->watches, at) {
		struct post *p = post_at(w, peer);

		if (p && p->on && wire_watch_match(&m.id, &w->id, w->bits))
			tell(w, &ch);
	}
	leave(c);
}

/* ---- for the user ---- */

int orbit_watch(struct orbit_client *c, const struct orbit_id *id, unsigned bits,
	orbit_watch_cb *cb, void *arg, struct orbit_watch **out)
{
	struct orbit_watch *w;

	if (bits > WIRE_WATCH_BITS_MAX)
		return -EINVAL;
	if (c->closing)
		return -ESHUTDOWN;
	w = mem_zalloc(sizeof(*w));
	w->c = c;
	w->number = ++c->next_id;
	w->bits = bits;
	w->cb = cb;
	w->arg = arg;
	TAILQ_INIT(&w->posts);
	memcpy(w->id.b, id->b, bits / 8);
	if (bits % 8)
		w->id.b[bits / 8] = id->b[bits / 8] & (uint8_t)(0xff00 >> bits % 8);
	TAILQ_INSERT_TAIL(&c->watches, w, at);
	if (c->map)
		place(w);
	*out = w;
	return 0;
}

void watch_free(struct orbit_watch *w)
{
	struct post *p;

	while ((p = TAILQ_FIRST(&w->posts)))
		post_free(p);
	TAILQ_REMOVE(&w->c->watches, w, at);
	free(w);
}

void orbit_unwatch(struct orbit_watch *w)
{
	if (!w)
		return;
	w->over = true;
	if (!w->c->watching)
		watch_free(w);
}

void watch_close(struct orbit_client *c)
{
	struct orbit_watch *w, *next;

	TAILQ_FOREACH_SAFE (w, &c->watches, at, next)
		orbit_unwatch(w);
}
