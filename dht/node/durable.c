/*
 * Syncs on all copies of some shards.
 *
 * Our own store syncs, and each node whose word counts for one of the shards is asked to
 * (MAKE_DURABLE, behind the effects on the same link). One such call is under way per node; who
 * comes meanwhile shares the next one. A node that cannot be asked is asked again; one that fails
 * is taken out of the shards' members by the keeper: either way the map may say that its word does
 * not count any more, and then nobody waits for it.
 */
#include <assert.h>
#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/repl_int.h"

/* ---- asking ---- */

struct durable_wait {
	struct durable *d;
	struct peer *peer;
	struct durable_wait_list *in; /* the peer's syncing or to_sync */
	TAILQ_ENTRY(durable_wait) of_peer, of_durable;
};

static void leave(struct durable *d)
{
	if (--d->left)
		return;
	TAILQ_REMOVE(&d->n->durables, d, entry);
	d->done(d, d->rc);
}

static void wait_end(struct durable_wait *w)
{
	struct durable *d = w->d;

	TAILQ_REMOVE(w->in, w, of_peer);
	TAILQ_REMOVE(&d->waits, w, of_durable);
	free(w);
	leave(d);
}

static void send_sync(struct peer *p);

/* What the shards had when the sync was asked for goes out before the question: not while it is
 * being found out what the copy lacks, or read from the log. */
static bool all_sent(const struct durable *d, const struct peer *p)
{
	for (unsigned i = 0; i < d->nof; i++) {
		const struct copy *c = copy_at(d->of[i].shard, p);

		if (c && c->required && (c->state != COPY_STREAM || c->fill))
			return false;
	}
	return true;
}

/* It could not sync: its word must not count any more for what it has. */
static void sync_failed(struct peer *p, uint16_t status)
{
	struct copy *c, *next;

	for (c = TAILQ_FIRST(&p->copies); c; c = next) {
		next = TAILQ_NEXT(c, of_peer);
		if (c->required)
			copy_complain(p->n, c, wire_status_name(status));
	}
}

static void synced(struct call *call, int rc, struct frame *answer)
{
	struct peer *p = container_of(call, struct peer, sync_call);
	struct durable_wait *w;
	struct wire_reply m;

	p->sync_called = false;
	if (p->n->stopping)
		return;
	if (!rc && (answer->type != WIRE_REPLY || wire_get_reply(frame_cur(answer), &m)))
		rc = -EPROTO;
	/* with a newer map than ours it refused what we sent */
	if (!rc && m.status == WIRE_OK && m.epoch > p->sync_epoch)
		m.status = WIRE_STALE;
	if (!rc && m.status == WIRE_OK) {
		/* who is told may ask again: that is the next call's */
		p->sync_called = true;
		while ((w = TAILQ_FIRST(&p->syncing)))
			wait_end(w);
		p->sync_called = false;
		send_sync(p);
		return;
	}
	/* asked again by the tick, or when the link is back */
	TAILQ_FOREACH (w, &p->syncing, of_peer)
		w->in = &p->to_sync;
	TAILQ_CONCAT(&p->to_sync, &p->syncing, of_peer);
	if (!rc && m.status != WIRE_STALE)
		sync_failed(p, m.status);
}

static void send_sync(struct peer *p)
{
	struct durable_wait *w, *next;
	struct frame *f;
	uint16_t node = p->n->ring ? ring_find(p->n->ring, &p->id) : RING_NONE;

	/* never in line for a link: what is not acknowledged goes over it first */
	if (p->sync_called || p->state != PEER_UP || p->n->stopping || node == RING_NONE)
		return;
	for (w = TAILQ_FIRST(&p->to_sync); w; w = next) {
		next = TAILQ_NEXT(w, of_peer);
		if (!all_sent(w->d, p))
			continue;
		TAILQ_REMOVE(&p->to_sync, w, of_peer);
		w->in = &p->syncing;
		TAILQ_INSERT_TAIL(&p->syncing, w, of_peer);
	}
	if (TAILQ_EMPTY(&p->syncing))
		return;
	p->sync_epoch = p->n->ring->epoch;
	f = frame_new(WIRE_MAKE_DURABLE, 0, 8);
	wire_put_make_durable(&f->b, p->n->ring->epoch);
	p->sync_called = true;
	p->sync_call.done = synced;
	peer_call(p->n, node, f, &p->sync_call);
}

/* Has one of the shards other copies, which can go on without us? */
static bool copied(const struct durable *d)
{
	for (unsigned i = 0; i < d->nof; i++) {
		if (d->of[i].shard->repl)
			return true;
	}
	return false;
}

static void own_synced(struct store_sync *s, int rc)
{
	struct durable *d = container_of(s, struct durable, sync);

	d->rc = rc;
	/* then it is for the others to say, once they lead (repl.c gives the shards up) */
	d->failed = rc && copied(d);
	if (!d->failed)
		leave(d);
}

static void wait_for(struct durable *d, struct peer *p)
{
	struct durable_wait *w = mem_zalloc(sizeof(*w));

	w->d = d;
	w->peer = p;
	w->in = &p->to_sync;
	d->left++;
	TAILQ_INSERT_TAIL(&p->to_sync, w, of_peer);
	TAILQ_INSERT_TAIL(&d->waits, w, of_durable);
	send_sync(p);
}

void durable_start(struct node *n, struct durable *d, const struct seen *of, unsigned nof)
{
	uint64_t mark = ++n->marks;

	d->n = n;
	d->of = of;
	d->nof = nof;
	d->left = 1;
	d->rc = 0;
	d->failed = false;
	TAILQ_INIT(&d->waits);
	TAILQ_INSERT_TAIL(&n->durables, d, entry);
	for (unsigned i = 0; i < nof; i++) {
		const struct repl *repl = of[i].shard->repl;

		for (unsigned k = 0; repl && k < repl->ncopies; k++) {
			struct peer *p = repl->copy[k]->peer;

			if (!repl->copy[k]->required || p->mark == mark)
				continue;
			p->mark = mark;
			wait_for(d, p);
		}
	}
	d->sync.done = own_synced;
	store_sync(n->st, &d->sync);
}

/* Does its word count for one of the shards? */
static bool counts(const struct durable *d, const struct peer *p)
{
	for (unsigned i = 0; i < d->nof; i++) {
		const struct copy *c = copy_at(d->of[i].shard, p);

		if (c && c->required)
			return true;
	}
	return false;
}

void durable_adopt(struct node *n)
{
	struct durable_wait *w, *wnext;
	struct durable *d, *next;

	for (d = TAILQ_FIRST(&n->durables); d; d = next) {
		next = TAILQ_NEXT(d, entry);
		/* the last one may end it */
		d->left++;
		for (w = TAILQ_FIRST(&d->waits); w; w = wnext) {
			wnext = TAILQ_NEXT(w, of_durable);
			if (!counts(d, w->peer))
				wait_end(w);
		}
		if (d->failed && !copied(d)) {
			d->failed = false;
			d->left--;
		}
		leave(d);
	}
}

void durable_tick(struct node *n, struct peer *p)
{
	(void)n;
	send_sync(p);
}

void durable_peer_free(struct peer *p)
{
	assert(TAILQ_EMPTY(&p->syncing) && TAILQ_EMPTY(&p->to_sync));
}

/* ---- being asked ---- */

struct durable_in {
	struct node *n;
	struct conn *conn; /* NULL: gone */
	uint64_t id;
	uint64_t behind; /* what came before it over the link */
	bool syncing;
	struct store_sync sync;
	TAILQ_ENTRY(durable_in) entry;
};

static void in_synced(struct store_sync *s, int rc)
{
	struct durable_in *in = container_of(s, struct durable_in, sync);
	struct node *n = in->n;

	n->repl_busy--;
	if (in->conn) {
		TAILQ_REMOVE(&in->conn->durables, in, entry);
		conn_send(in->conn, reply_new(n, status_of(rc), 0, 0), in->id);
	} else {
		TAILQ_REMOVE(&n->durable_left, in, entry);
	}
	free(in);
	if (n->stopping)
		node_check_stopped(n);
}

/* The number of the first that came over the link and is not in the log. */
static uint64_t first_open(const struct conn *c)
{
	const struct incoming *in = TAILQ_FIRST(&c->incoming);

	if (in)
		return in->number;
	return TAILQ_EMPTY(&c->ahead) ? UINT64_MAX : c->handled + 1;
}

void durable_incoming(struct conn *c)
{
	uint64_t open = TAILQ_EMPTY(&c->durables) ? 0 : first_open(c);
	struct durable_in *in;

	TAILQ_FOREACH (in, &c->durables, entry) {
		if (in->syncing || in->behind >= open)
			continue;
		in->syncing = true;
		in->sync.done = in_synced;
		c->n->repl_busy++;
		store_sync(c->n->st, &in->sync);
	}
}

void durable_arrive(struct conn *c, struct frame *f)
{
	struct durable_in *in;
	uint64_t epoch;

	if (c->role != WIRE_ROLE_NODE || wire_get_make_durable(frame_cur(f), &epoch)) {
		conn_fail(c, WIRE_BAD_REQUEST, "a MAKE_DURABLE that makes no sense");
		return;
	}
	if (!node_registered(c->n)) {
		/* an earlier start of ours took what it asks for */
		conn_send(c, reply_new(c->n, WIRE_STALE, 0, 0), f->id);
		return;
	}
	in = mem_zalloc(sizeof(*in));
	in->n = c->n;
	in->conn = c;
	in->id = f->id;
	in->behind = c->arrived;
	TAILQ_INSERT_TAIL(&c->durables, in, entry);
	durable_incoming(c);
}

void durable_conn_close(struct conn *c)
{
	struct durable_in *in;

	while ((in = TAILQ_FIRST(&c->durables))) {
		TAILQ_REMOVE(&c->durables, in, entry);
		in->conn = NULL;
		if (in->syncing)
			TAILQ_INSERT_TAIL(&c->n->durable_left, in, entry);
		else
			free(in);
	}
}

void durable_free(struct node *n)
{
	struct durable_in *in;

	while ((in = TAILQ_FIRST(&n->durable_left))) {
		TAILQ_REMOVE(&n->durable_left, in, entry);
		free(in);
	}
}
