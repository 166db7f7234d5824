/*
 * A primary's copies of the shards it leads: sending them effects, filling up what they lack,
 * taking their acknowledgements.
 *
 *   a copy    is                                                  goes to
 *   UNKNOWN   new, or its node was started anew: it is asked      TOLD, STREAM
 *   TOLD      known, while we are taking over                     STREAM, BAD
 *   STREAM    gets every effect; what it lacked is sent as well   UNKNOWN
 *   BAD       has what the shard's history lacks                  gone by the map
 *
 * What was sent and is not acknowledged is kept, and sent again in order when the link comes back,
 * or when the shard has another term (a backup takes only effects of its own map's term). Effects
 * that a copy has already it acknowledges by their seq.
 */
#include "dht/node/repl_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

/* ---- effects that were sent ---- */

static void out_drop(struct out *o)
{
	struct copy *c = o->copy;

	TAILQ_REMOVE(&c->unacked, o, of_copy);
	TAILQ_REMOVE(&c->peer->unacked, o, of_peer);
	c->peer->unacked_bytes -= o->frame->b.len;
	frame_unref(o->frame);
	free(o);
}

void copy_send(struct copy *c, struct frame *f, uint64_t seq)
{
	struct out *o = mem_zalloc(sizeof(*o));

	o->frame = frame_ref(f);
	o->copy = c;
	o->seq = seq;
	TAILQ_INSERT_TAIL(&c->unacked, o, of_copy);
	TAILQ_INSERT_TAIL(&c->peer->unacked, o, of_peer);
	c->peer->unacked_bytes += f->b.len;
	c->peer->room -= (int64_t)f->b.len;
	if (c->required && c->peer->unacked_bytes > REPL_CROWD)
		c->peer->crowded = true;
	peer_stream(c->peer, frame_ref(f));
}

struct frame *copy_frame(struct node *n, const struct shard *s, const struct wire_effect *at,
	size_t meta_len, size_t data_len)
{
	const struct wire_append m = {.epoch = n->ring->epoch,
		.shard_term = s->term,
		.shard = s->number,
		.term = at->term,
		.seq = at->seq,
		.meta_len = meta_len};
	struct frame *f = frame_new(WIRE_APPEND, 0, 64 + meta_len + data_len);

	wire_put_append_head(&f->b, &m);
	return f;
}

/* The shard has another term: what is not acknowledged will be refused, and goes out again. */
void copy_restream(struct node *n, struct copy *c)
{
	struct out *o;

	TAILQ_FOREACH (o, &c->unacked, of_copy) {
		struct frame *f = frame_new(WIRE_APPEND, 0, frame_body_len(o->frame));

		buf_bytes(&f->b, frame_body(o->frame), frame_body_len(o->frame));
		if (!f->b.err)
			wire_set_append_term(
				f->b.data + FRAME_HEAD, n->ring->epoch, c->shard->term);
		frame_unref(o->frame);
		o->frame = f;
		peer_stream(c->peer, frame_ref(f));
	}
}

static void wake_crowd(struct peer *p)
{
	struct copy *c;

	p->crowded = false;
	/* not from within whoever acknowledges */
	TAILQ_FOREACH (c, &p->copies, of_peer)
		shard_wake_soon(p->n, c->shard);
}

/* ---- filling a copy up from the log ---- */

struct fill {
	struct store_tail tail;
	struct node *n;
	struct copy *copy; /* NULL: it is gone */
	uint64_t next, end;
	bool reading;
	TAILQ_ENTRY(fill) entry;
};

static void fill_free(struct fill *fi)
{
	if (fi->copy)
		fi->copy->fill = NULL;
	TAILQ_REMOVE(&fi->n->fills, fi, entry);
	buf_fini(&fi->tail.out);
	free(fi);
}

static int fill_send(struct fill *fi)
{
	struct copy *c = fi->copy;
	struct cur cur = cur_of(fi->tail.out.data, fi->tail.out.len);

	for (unsigned i = 0; i < fi->tail.n && fi->next <= fi->end; i++) {
		struct wire_effect at = {.shard = c->shard->number};
		uint32_t meta_len, data_len;
		const void *bytes;
		struct frame *f;

		at.term = cur_u64(&cur);
		at.seq = cur_u64(&cur);
		meta_len = cur_u32(&cur);
		data_len = cur_u32(&cur);
		bytes = cur_bytes(&cur, (size_t)meta_len + data_len);
		if (!cur_ok(&cur) || at.seq != fi->next)
			return -EIO;
		f = copy_frame(fi->n, c->shard, &at, meta_len, data_len);
		buf_bytes(&f->b, bytes, (size_t)meta_len + data_len);
		copy_send(c, f, at.seq);
		frame_unref(f);
		fi->next++;
	}
	return fi->tail.n ? 0 : -EIO;
}

static void fill_read(struct store_tail *t, int rc)
{
	struct fill *fi = container_of(t, struct fill, tail);
	struct copy *c = fi->copy;
	struct node *n = fi->n;

	n->repl_busy--;
	fi->reading = false;
	if (!c || n->stopping) {
		fill_free(fi);
		if (n->stopping)
			node_check_stopped(n);
		return;
	}
	if (!rc)
		rc = fill_send(fi);
	buf_reset(&fi->tail.out);
	if (rc) {
		fill_free(fi);
		c->state = COPY_BAD;
		copy_complain(n, c,
			rc == -ESTALE ? "the log does not reach back to where it stands"
				      : "the log cannot be read back");
	} else if (fi->next > fi->end) {
		fill_free(fi);
		durable_tick(n, c->peer);
	}
}

/* The next piece, once the last one is there. */
void copy_fill(struct copy *c)
{
	struct fill *fi = c->fill;

	if (!fi || fi->reading || c->acked + 1 < fi->next || c->peer->unacked_bytes > REPL_CROWD)
		return;
	fi->reading = true;
	fi->tail.done = fill_read;
	fi->n->repl_busy++;
	store_tail_read(fi->n->st, &fi->tail, c->shard->number, fi->next, REPL_FILL);
}

static void fill_stop(struct copy *c)
{
	struct fill *fi = c->fill;

	if (!fi)
		return;
	fi->copy = NULL;
	c->fill = NULL;
	if (!fi->reading)
		fill_free(fi);
}

/* ---- learners that are nearly level ---- */

/* When it is level it has to be on disk there. */
struct level_sync {
	struct durable durable;
	struct seen of;
	struct copy *copy; /* NULL: left */
	TAILQ_ENTRY(level_sync) entry;
};

static void level_sync_leave(struct copy *c)
{
	c->syncing->copy = NULL;
	c->syncing = NULL;
}

static void level_synced(struct durable *d, int rc)
{
	struct level_sync *ls = container_of(d, struct level_sync, durable);
	struct copy *c = ls->copy;
	void (*level)(void *arg, int rc);

	TAILQ_REMOVE(&d->n->level_syncs, ls, entry);
	free(ls);
	if (!c)
		return;
	c->syncing = NULL;
	level = c->level;
	c->level = NULL;
	if (level)
		level(c->level_arg, rc);
}

static void level_sync_start(struct node *n, struct copy *c)
{
	struct level_sync *ls = mem_zalloc(sizeof(*ls));

	ls->copy = c;
	ls->of.shard = c->shard;
	c->syncing = ls;
	TAILQ_INSERT_TAIL(&n->level_syncs, ls, entry);
	ls->durable.done = level_synced;
	durable_start(n, &ls->durable, &ls->of, 1);
}

/* ---- copies ---- */

struct copy *copy_at(struct shard *s, const struct peer *p)
{
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		if (s->repl->copy[i]->peer == p)
			return s->repl->copy[i];
	}
	return NULL;
}

struct copy *copy_new(struct node *n, struct shard *s, uint16_t node)
{
	struct copy *c = mem_zalloc(sizeof(*c));

	c->shard = s;
	c->node = node;
	c->peer = peer_of(n, node);
	c->state = COPY_UNKNOWN;
	TAILQ_INIT(&c->unacked);
	TAILQ_INSERT_TAIL(&c->peer->copies, c, of_peer);
	if (!s->repl)
		s->repl = mem_zalloc(sizeof(*s->repl));
	s->repl->copy[s->repl->ncopies++] = c;
	return c;
}

void copy_require(struct copy *c, bool required)
{
	if (c->required != required)
		lease_led(c->peer, required ? 1 : -1);
	c->required = required;
}

static void drop_unacked(struct copy *c)
{
	while (!TAILQ_EMPTY(&c->unacked))
		out_drop(TAILQ_FIRST(&c->unacked));
	fill_stop(c);
	if (c->peer->crowded && c->peer->unacked_bytes < REPL_CROWD / 2)
		wake_crowd(c->peer);
}

/* A learner's stream ended before it was level. */
static void end_level(struct copy *c, int rc)
{
	void (*level)(void *arg, int rc) = c->level;

	c->level = NULL;
	if (c->syncing)
		level_sync_leave(c);
	if (level)
		level(c->level_arg, rc);
}

/* It is not in the shard's list any more. */
static void copy_free(struct copy *c)
{
	end_level(c, -ESTALE);
	copy_require(c, false);
	drop_unacked(c);
	TAILQ_REMOVE(&c->peer->copies, c, of_peer);
	history_free(&c->told);
	free(c);
}

void copy_remove(struct shard *s, unsigned i)
{
	struct copy *c = s->repl->copy[i];

	s->repl->copy[i] = s->repl->copy[--s->repl->ncopies];
	if (!s->repl->ncopies) {
		free(s->repl);
		s->repl = NULL;
	}
	copy_free(c);
}

/* As copy_remove(), for one that does not count. */
static void forget_learner(struct copy *c)
{
	struct shard *s = c->shard;

	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		if (s->repl->copy[i] == c) {
			copy_remove(s, i);
			return;
		}
	}
}

void copy_reset(struct copy *c)
{
	if (!c->member && !c->proposed) {
		/* it begins anew; if we asked to make it a member, that has to be answered first:
		 * it may be one already */
		forget_learner(c);
		return;
	}
	end_level(c, -ESTALE);
	drop_unacked(c);
	c->state = COPY_UNKNOWN;
	c->acked = 0;
	c->asked = false;
	history_free(&c->told);
}

void copy_started(struct copy *c, uint64_t incarnation)
{
	if (c->state != COPY_UNKNOWN && incarnation && c->incarnation != incarnation)
		copy_reset(c);
}

void copy_stream(struct node *n, struct copy *c, uint64_t have)
{
	uint64_t last = shard_seq(n, c->shard);
	struct fill *fi;

	assert(!c->fill && TAILQ_EMPTY(&c->unacked));
	c->state = COPY_STREAM;
	c->acked = have;
	history_free(&c->told);
	if (have >= last)
		return;
	fi = mem_zalloc(sizeof(*fi));
	fi->n = n;
	fi->copy = c;
	fi->next = have + 1;
	fi->end = last;
	c->fill = fi;
	TAILQ_INSERT_TAIL(&n->fills, fi, entry);
	copy_fill(c);
}

/* ---- acknowledgements ---- */

static void copy_acked(struct node *n, struct copy *c, uint64_t seq)
{
	struct out *o, *next;

	if (seq > shard_seq(n, c->shard))
		return; /* makes no sense */
	if (seq > c->acked)
		c->acked = seq;
	for (o = TAILQ_FIRST(&c->unacked); o; o = next) {
		next = TAILQ_NEXT(o, of_copy);
		if (o->seq <= c->acked)
			out_drop(o);
		else if (!c->fill)
			break; /* in order, but for what fills it up */
	}
	copy_fill(c);
	/* required it may be already: it was proposed before, and what became of that is not known
	 */
	if (c->level && !c->syncing && c->acked >= c->level_at) {
		/* from now on nothing is committed that it lacks */
		copy_require(c, true);
		level_sync_start(n, c);
	}
	if (c->required && c->shard->committed < c->acked)
		repl_commit(n, c->shard);
}

static void take_ack(struct peer *p, const struct wire_ack *m)
{
	struct node *n = p->n;

	for (unsigned i = 0; i < m->n; i++) {
		struct wire_ack_one one = wire_ack_at(m, i);
		struct shard *s = one.shard < n->nshards ? node_shard(n, one.shard) : NULL;
		struct copy *c = s ? copy_at(s, p) : NULL;

		if (!c || c->state != COPY_STREAM || one.shard_term > s->term)
			continue;
		if (one.status == WIRE_OK)
			copy_acked(n, c, one.seq);
		else if (one.shard_term == s->term && one.status != WIRE_STALE)
			copy_complain(n, c, wire_status_name(one.status));
	}
	if (p->crowded && p->unacked_bytes < REPL_CROWD / 2) {
		struct copy *c;

		TAILQ_FOREACH (c, &p->copies, of_peer)
			copy_fill(c);
		wake_crowd(p);
	}
	lease_heard(n, &p->id, p->incarnation, m->epoch);
}

void repl_peer_message(struct peer *p, struct frame *f)
{
	struct wire_ack m;

	if (f->type != WIRE_ACK)
		return;
	if (wire_get_ack(frame_cur(f), &m)) {
		log_warn("mod=node peer=%s msg=\"an ACK that makes no sense\"", p->link->peer);
		peer_break(p, -EPROTO);
		return;
	}
	take_ack(p, &m);
}

void repl_peer_up(struct peer *p)
{
	struct copy *c, *next;
	struct out *o;

	for (c = TAILQ_FIRST(&p->copies); c; c = next) {
		next = TAILQ_NEXT(c, of_peer);
		if (!c->incarnation)
			c->incarnation = p->incarnation;
		copy_started(c, p->incarnation);
	}
	TAILQ_FOREACH (o, &p->unacked, of_peer) {
		if (p->state != PEER_UP)
			break;
		link_send(p->link, frame_ref(o->frame));
	}
	recover_ask(p->n);
	durable_tick(p->n, p);
}

void repl_peer_down(struct peer *p, int rc)
{
	if (rc == -ECONNREFUSED)
		lease_refused(p);
}

void repl_peer_free(struct peer *p)
{
	assert(TAILQ_EMPTY(&p->copies) && TAILQ_EMPTY(&p->unacked));
	durable_peer_free(p);
	lease_peer_free(p);
}

/* ---- streams to learners ---- */

void repl_stream_to(struct node *n, struct shard *s, uint16_t node, uint64_t *last,
	void (*level)(void *arg, int rc), void *arg)
{
	struct copy *c = copy_at(s, peer_of(n, node));
	struct wire_effect at = {.shard = s->number};
	struct history h = store_history(n->st, s->number);
	struct frame *f;

	*last = h.seq;
	if (s->role != ROLE_SERVING || ring_learner(&n->ring->shards[s->number], node) < 0) {
		/* the map is another one since it asked */
		level(arg, -ESTALE);
		return;
	}
	if (c) {
		copy_reset(c);
		c = copy_at(s, peer_of(n, node));
	}
	if (!c)
		c = copy_new(n, s, node);
	c->state = COPY_STREAM;
	c->incarnation = c->peer->incarnation;
	c->level_at = h.seq;
	c->level = level;
	c->level_arg = arg;
	/* asks to be told when all that is there */
	at.term = h.term;
	at.seq = h.seq;
	f = copy_frame(n, s, &at, 0, 0);
	copy_send(c, f, h.seq);
	frame_unref(f);
	repl_wake(n);
}

bool repl_streams_to(struct node *n, struct shard *s, uint16_t node)
{
	const struct copy *c = copy_at(s, peer_of(n, node));

	return c && c->state == COPY_STREAM && (c->required || c->level);
}

void copy_remove_all(struct shard *s)
{
	while (s->repl)
		copy_remove(s, 0);
}

void copies_free(struct node *n)
{
	struct level_sync *ls;
	struct fill *fi;

	while ((fi = TAILQ_FIRST(&n->fills)))
		fill_free(fi);
	while ((ls = TAILQ_FIRST(&n->level_syncs))) {
		TAILQ_REMOVE(&n->level_syncs, ls, entry);
		free(ls);
	}
}
