/*
 * A primary's effects on their way to all copies of their shards; and the roles that a map gives.
 *
 *   own_apply()   our store has it; sent to each copy in STREAM
 *   own_logged()  our log has it
 *   ACK           a copy has it
 *   repl_commit() all whose word counts have it: answers that saw it may leave
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
 *
 * A shard that stays ours in the very next term goes on being served, whoever left or joined:
 * nobody else can have led it in between.
 */
#include "dht/node/repl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/keep.h"
#include "dht/node/repl_int.h"

#define VOUCH_ONCE 256 /* questions to the keeper at once */

/* ---- what is committed ---- */

void repl_commit(struct node *n, struct shard *s)
{
	uint64_t all = s->logged;

	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		const struct copy *c = s->repl->copy[i];

		if (c->required && c->acked < all)
			all = c->acked;
	}
	if (all <= s->committed)
		return;
	s->committed = all;
	watch_committed(n, s);
	if (s->take)
		take_step(n, s);
	else
		req_flush(s, 0);
}

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

static void out_add(struct copy *c, struct frame *f, uint64_t seq)
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

static struct frame *append_frame(struct node *n, const struct shard *s,
	const struct wire_effect *at, size_t meta_len, size_t data_len)
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
static void restream(struct node *n, struct copy *c)
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
	TAILQ_FOREACH (c, &p->copies, of_peer) {
		if (c->shard->waiting.tqh_first)
			c->shard->wake = true;
	}
	if (!p->n->wake_task.queued)
		env_post(p->n->env, &p->n->wake_task);
}

/* Writes may go on; not from within whoever acknowledges. */
static void wake_run(struct env_task *t)
{
	struct node *n = container_of(t, struct node, wake_task);

	for (unsigned i = 0; i < n->nshards && !n->stopping; i++) {
		struct shard *s = node_shard(n, i);

		if (!s->wake)
			continue;
		s->wake = false;
		shard_wake(s);
	}
}

bool repl_blocks(struct node *n, const struct shard *s)
{
	if (!s->repl)
		return n->ring->min_in_sync > 1;
	if (store_broken(n->st))
		return true;
	if (n->ring->shards[s->number].nmembers < n->ring->min_in_sync)
		return true;
	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		if (s->repl->copy[i]->required && s->repl->copy[i]->peer->crowded)
			return true;
	}
	return false;
}

/* ---- our effects ---- */

static void own_logged(struct store_apply *a, int rc)
{
	struct own *o = container_of(a, struct own, apply);
	struct shard *touched[TXN_OBJECTS_MAX];
	unsigned ntouched = o->nat;
	struct node *n = o->n;

	if (rc) {
		n->stats.errors++;
		if (!n->log_failed)
			log_error("mod=node rc=-%s msg=\"the log failed: changes are refused\"",
				log_errno(rc));
		n->log_failed = true;
	}
	for (unsigned i = 0; i < ntouched; i++) {
		struct shard *s = touched[i] = node_shard(n, o->at[i].shard);

		s->flying--;
		/* with other copies it is for them to say what became of it: it stays under way
		 * until this node has gone */
		if (s->logged < o->at[i].seq && (!rc || !s->repl))
			s->logged = o->at[i].seq;
	}
	for (unsigned i = 0; !rc && i < ntouched; i++)
		watch_effect(
			n, o->effect->meta.data, o->effect->meta.len, o->at[i].shard, o->at[i].seq);
	o->done(o, rc);
	/* it is among the answers that this lets go */
	for (unsigned i = 0; i < ntouched && !n->stopping; i++) {
		if (rc && !touched[i]->repl)
			req_flush(touched[i], rc);
		if (touched[i]->role == ROLE_SERVING)
			repl_commit(n, touched[i]);
		backup_logged(n, touched[i]);
	}
}

/* What a full disk of a member refuses is refused here. */
static bool room_on_all(const struct shard *s, size_t bytes)
{
	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		const struct copy *c = s->repl->copy[i];

		if (c->required && c->peer->room_known && c->peer->room < (int64_t)bytes)
			return false;
	}
	return true;
}

static void stream(struct node *n, struct shard *s, const struct own *o)
{
	const struct effect *e = o->effect;
	struct frame *f = NULL;

	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		struct copy *c = s->repl->copy[i];

		if (c->state != COPY_STREAM)
			continue;
		if (!f) {
			f = append_frame(n, s, o->at, e->meta.len, e->data_len);
			buf_bytes(&f->b, e->meta.data, e->meta.len);
			for (size_t k = 0; k < e->ndata; k++)
				buf_bytes(&f->b, e->data[k].iov_base, e->data[k].iov_len);
		}
		out_add(c, f, o->at[0].seq);
	}
	frame_unref(f);
}

int own_apply(struct node *n, struct own *o, enum store_urgency urgency)
{
	struct shard *s = o->nat ? node_shard(n, o->at[0].shard) : NULL;
	size_t bytes = o->effect->meta.len + o->effect->data_len;
	int rc = o->effect->meta.err;

	assert(o->nat <= TXN_OBJECTS_MAX && (o->nat <= 1 || !s->repl));
	o->n = n;
	o->apply.effect = o->effect;
	o->apply.done = own_logged;
	if (!rc && bytes > OWN_EFFECT_MAX)
		rc = -EMSGSIZE;
	if (!rc && s && s->repl && urgency == STORE_NORMAL && !room_on_all(s, bytes))
		rc = -ENOSPC;
	if (!rc)
		rc = store_apply(n->st, &o->apply, urgency);
	/* others can go on: what this node cannot do is not refused (repl_blocks()) */
	if (rc == -EROFS && s && s->repl)
		rc = -EBUSY;
	if (rc)
		return rc;
	for (unsigned i = 0; i < o->nat; i++)
		node_shard(n, o->at[i].shard)->flying++;
	if (s && s->repl)
		stream(n, s, o);
	return 0;
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
		f = append_frame(fi->n, c->shard, &at, meta_len, data_len);
		buf_bytes(&f->b, bytes, (size_t)meta_len + data_len);
		out_add(c, f, at.seq);
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
static void fill_step(struct copy *c)
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

/* ---- copies ---- */

struct copy *copy_at(struct shard *s, const struct peer *p)
{
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		if (s->repl->copy[i]->peer == p)
			return s->repl->copy[i];
	}
	return NULL;
}

static struct copy *copy_new(struct node *n, struct shard *s, uint16_t node)
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

static void copy_require(struct copy *c, bool required)
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

static void remove_copy(struct shard *s, unsigned i)
{
	struct copy *c = s->repl->copy[i];

	s->repl->copy[i] = s->repl->copy[--s->repl->ncopies];
	if (!s->repl->ncopies) {
		free(s->repl);
		s->repl = NULL;
	}
	copy_free(c);
}

/* As remove_copy(), for one that does not count. */
static void forget_learner(struct copy *c)
{
	struct shard *s = c->shard;

	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		if (s->repl->copy[i] == c) {
			remove_copy(s, i);
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
	fill_step(c);
}

/* ---- those who cannot go on ---- */

struct complaint {
	struct keep_ask ask;
	struct node *n;
	struct peer *peer;
};

static struct complaint *complaint_new(struct node *n, const struct shard *s, uint16_t node,
	uint8_t flags, void (*done)(struct keep_ask *a, uint16_t status, uint64_t epoch))
{
	const struct ring_node *rn = &n->ring->nodes[node];
	struct complaint *k = mem_zalloc(sizeof(*k));

	k->n = n;
	k->peer = node == n->self ? NULL : peer_of(n, node);
	k->ask.done = done;
	k->ask.m = (struct wire_ask_m){.what = ASK_MEMBER,
		.flags = flags,
		.epoch = n->ring->epoch,
		.node = rn->id,
		.by = n->id,
		.incarnation = rn->incarnation,
		.shard = s->number,
		.term = s->term};
	return k;
}

/* The copy that it was about; NULL: gone, or it was ours. */
static struct copy *complaint_copy(const struct complaint *k)
{
	if (!k->n->shards || k->n->stopping || !k->peer)
		return NULL;
	return copy_at(node_shard(k->n, k->ask.m.shard), k->peer);
}

static void complained(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct copy *c = complaint_copy(k);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	if (c)
		c->complains = false;
	free(k);
}

static void tell_keeper(struct node *n, struct copy *c)
{
	if (c->complains || n->stopping)
		return;
	c->complains = true;
	keep_ask(n, &complaint_new(n, c->shard, c->node, 0, complained)->ask);
}

void copy_complain(struct node *n, struct copy *c, const char *why)
{
	char hex[ORBIT_ID_HEX];

	if (!c->member) {
		copy_reset(c);
		return;
	}
	if (!c->trouble)
		log_warn("mod=node shard=%u node=%s msg=\"a copy cannot go on: %s\"",
			c->shard->number, orbit_id_hex(&c->peer->id, hex), why);
	c->trouble = why;
	tell_keeper(n, c);
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
	fill_step(c);
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
			fill_step(c);
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
		/* another start of it: what it has is to be asked again */
		if (c->state != COPY_UNKNOWN && c->incarnation != p->incarnation)
			copy_reset(c);
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

/* ---- learners that are nearly level ---- */

/* When it is level it has to be on disk there. */
struct level_sync {
	struct durable durable;
	struct seen of;
	struct copy *copy; /* NULL: left */
	TAILQ_ENTRY(level_sync) entry;
};

void level_sync_leave(struct copy *c)
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

void level_sync_start(struct node *n, struct copy *c)
{
	struct level_sync *ls = mem_zalloc(sizeof(*ls));

	ls->copy = c;
	ls->of.shard = c->shard;
	c->syncing = ls;
	TAILQ_INSERT_TAIL(&n->level_syncs, ls, entry);
	ls->durable.done = level_synced;
	durable_start(n, &ls->durable, &ls->of, 1);
}

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
	f = append_frame(n, s, &at, 0, 0);
	out_add(c, f, h.seq);
	frame_unref(f);
	repl_wake(n);
}

bool repl_streams_to(struct node *n, struct shard *s, uint16_t node)
{
	const struct copy *c = copy_at(s, peer_of(n, node));

	return c && c->state == COPY_STREAM && (c->required || c->level);
}

/* Refused for good? If it is not known what became of it, the learner may be a member already, and
 * counts until a map says otherwise. */
static void proposed(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct copy *c = complaint_copy(k);
	struct node *n = k->n;

	if (c && c->proposed && c->shard->term == a->m.term &&
		(status == WIRE_STALE || status == WIRE_BUSY || status == WIRE_BAD_REQUEST)) {
		/* what was refused may have been carried out when it was asked for before: the map
		 * that the keeper had knows */
		c->refused_at = epoch;
		if (n->ring->epoch >= epoch) {
			c->proposed = false;
			if (c->state == COPY_UNKNOWN)
				copy_reset(c);
			repl_commit(n, node_shard(n, a->m.shard));
		}
	}
	free(k);
}

void repl_propose(struct node *n, struct shard *s, uint16_t node)
{
	struct copy *c = copy_at(s, peer_of(n, node));

	if (!c || !c->required || c->member)
		return;
	c->proposed = true;
	c->refused_at = 0;
	keep_ask(n, &complaint_new(n, s, node, ASK_F_ADD, proposed)->ask);
}

/* ---- members that may have lost something ---- */

static void vouched(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct node *n = k->n;
	struct copy *c = complaint_copy(k);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	n->vouching--;
	if (c)
		c->vouching = false;
	else if (n->shards && !k->peer)
		node_shard(n, a->m.shard)->vouching = false;
	free(k);
}

static void vouch(struct node *n, struct shard *s, uint16_t node, bool *asked)
{
	if (*asked || n->vouching >= VOUCH_ONCE || n->stopping)
		return;
	*asked = true;
	n->vouching++;
	keep_ask(n, &complaint_new(n, s, node, ASK_F_ADD, vouched)->ask);
}

void repl_vouch(struct node *n, struct shard *s)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	int self = ring_member(m, n->self);

	if (!m->suspect || self < 0)
		return;
	if (m->suspect >> self & 1) {
		/* compared with all that are there, it is the best there is */
		vouch(n, s, n->self, &s->vouching);
		return;
	}
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		struct copy *c = s->repl->copy[i];
		int at = ring_member(m, c->node);

		if (at >= 0 && m->suspect >> at & 1 && c->state == COPY_STREAM && !c->fill &&
			c->acked >= s->committed)
			vouch(n, s, c->node, &c->vouching);
	}
}

/* All that have to be vouched for; true: there are some. */
static bool vouch_all(struct node *n)
{
	bool any = false;

	for (unsigned i = 0; i < n->nshards; i++) {
		if (!n->ring->shards[i].suspect || node_shard(n, i)->role != ROLE_SERVING)
			continue;
		any = true;
		repl_vouch(n, node_shard(n, i));
	}
	return any;
}

/* ---- our own copy cannot go on ---- */

static void resigned(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	k->n->vouching--;
	if (k->n->shards)
		node_shard(k->n, a->m.shard)->vouching = false;
	free(k);
}

void repl_resign(struct node *n, struct shard *s)
{
	if (s->vouching || n->vouching >= VOUCH_ONCE || n->stopping)
		return;
	s->vouching = true;
	n->vouching++;
	keep_ask(n, &complaint_new(n, s, n->self, 0, resigned)->ask);
}

/* Our log has failed: others lead from now on, where there are any. */
static void resign_all(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		if (node_shard(n, i)->repl)
			repl_resign(n, node_shard(n, i));
	}
}

void repl_arrive(struct conn *c, struct frame *f)
{
	switch (f->type) {
	case WIRE_BEAT:
		lease_arrive(c, f);
		break;
	case WIRE_APPEND:
		backup_append(c, f);
		break;
	case WIRE_RECOVER:
		backup_recover(c, f);
		break;
	default:
		durable_arrive(c, f);
	}
}

/* ---- roles ---- */

static enum shard_role role_in(const struct node *n, const struct ring_shard *s)
{
	if (!n->registered)
		return ROLE_NONE;
	if (s->primary == n->self)
		return ROLE_SERVING;
	if (ring_member(s, n->self) >= 0)
		return ROLE_BACKUP;
	return ring_learner(s, n->self) >= 0 ? ROLE_LEARNER : ROLE_NONE;
}

static bool leads(const struct shard *s)
{
	return s->role == ROLE_SERVING || s->role == ROLE_TAKING_OVER;
}

static void drop_copies(struct shard *s)
{
	while (s->repl)
		remove_copy(s, 0);
}

/* Puts the shard's copies in accord with the map. */
static void set_copies(struct node *n, struct shard *s, bool again)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	uint64_t mark = ++n->marks;

	for (unsigned i = 0; i < m->nmembers + m->nlearners; i++) {
		bool member = i < m->nmembers;
		uint16_t node = member ? m->member[i] : m->learner[i - m->nmembers];
		uint64_t incarnation = n->ring->nodes[node].incarnation;
		struct copy *c;

		if (node == n->self)
			continue;
		c = copy_at(s, peer_of(n, node));
		if (!c && !member)
			continue; /* until it joins the stream */
		if (!c)
			c = copy_new(n, s, node);
		c->mark = mark;
		c->node = node;
		c->member = member;
		c->proposed &= !member && !again &&
			       (!c->refused_at || n->ring->epoch < c->refused_at) &&
			       /* what was asked for an earlier start of it comes to nothing */
			       (!incarnation || c->incarnation == incarnation);
		if (c->state != COPY_UNKNOWN && incarnation && c->incarnation != incarnation)
			copy_reset(c);
		c = copy_at(s, peer_of(n, node));
		if (c)
			copy_require(c,
				member || c->proposed || (c->required && c->state == COPY_STREAM));
	}
	for (unsigned i = 0; s->repl && i < s->repl->ncopies;) {
		if (s->repl->copy[i]->mark == mark)
			i++;
		else
			remove_copy(s, i);
	}
}

/* The shard is in the hands of whom the map names. True: served before, and not any more. */
static bool set_role(struct node *n, struct shard *s)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	enum shard_role role = role_in(n, m);
	bool next = m->term == s->term || m->term == s->term + 1, again = m->term != s->term;
	enum shard_role was = s->role;

	s->term = m->term;
	if (role == ROLE_SERVING && was == ROLE_SERVING && next) {
		set_copies(n, s, again);
		for (unsigned i = 0; again && s->repl && i < s->repl->ncopies; i++)
			restream(n, s->repl->copy[i]);
		return false;
	}
	if (role == ROLE_SERVING && was == ROLE_TAKING_OVER && !again) {
		set_copies(n, s, false);
		return false;
	}
	if (was == role && !again && role != ROLE_SERVING)
		return false;
	/* who begins to lead knows nothing of what was refused before, be it in the same term */
	if (again || role == ROLE_SERVING || !s->since)
		s->since = n->ring->epoch;
	s->losing = leads(s);
	if (leads(s)) {
		take_end(n, s);
		drop_copies(s);
	} else {
		s->dropping = was == ROLE_BACKUP || was == ROLE_LEARNER;
	}
	s->role = role == ROLE_SERVING ? ROLE_TAKING_OVER : role;
	return s->losing;
}

int repl_adopt(struct node *n, const struct ring_map *old)
{
	bool lost = false;

	lease_adopt(n, old);
	for (unsigned i = 0; i < n->nshards; i++)
		lost |= set_role(n, node_shard(n, i));
	if (lost) {
		req_lose(n);
		sess_lose(n);
		intents_lose(n);
	}
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		if (s->losing)
			watch_lost(n, s->number);
		s->losing = false;
		if (s->dropping)
			backup_drop(n, s);
		s->dropping = false;
		if (s->role == ROLE_TAKING_OVER && !s->take) {
			s->committed = 0;
			if (!s->flying)
				s->logged = shard_seq(n, s);
			set_copies(n, s, true);
			take_begin(n, s);
		}
	}
	durable_adopt(n);
	backup_adopt(n);
	learn_adopt(n);
	erase_adopt(n);
	lease_tick(n, 0);
	recover_ask(n);
	take_go(n);
	for (unsigned i = 0; i < n->nshards && !n->stopping; i++) {
		struct shard *s = node_shard(n, i);

		if (s->role == ROLE_SERVING && n->ring->shards[i].suspect)
			n->suspects = true;
		/* also where nobody is left whose word counted */
		if (s->role == ROLE_SERVING)
			repl_commit(n, s);
		if (!TAILQ_EMPTY(&s->waiting))
			shard_wake(s);
	}
	peers_renamed(n);
	lease_flush(n);
	repl_wake(n);
	return n->load_rc;
}

/* ---- time, and the end ---- */

static void tick_fire(struct env_timer *t)
{
	repl_tick(container_of(t, struct node, tick_timer));
}

void repl_wake(struct node *n)
{
	struct peer *p;
	bool any = !TAILQ_EMPTY(&n->taking) || n->suspects;

	if (n->tick_timer.armed || n->stopping)
		return;
	TAILQ_FOREACH (p, &n->peers, entry)
		any |= !TAILQ_EMPTY(&p->copies) || p->led;
	if (!any)
		return;
	n->tick_timer.fire = tick_fire;
	n->tick_due = env_now(n->env) + n->cfg.lease / 4;
	env_timer_set(n->env, &n->tick_timer, n->tick_due);
}

void repl_soon(struct node *n, uint64_t ns)
{
	uint64_t due = env_now(n->env) + ns;

	if (!n->tick_timer.armed || n->tick_due <= due)
		return;
	n->tick_due = due;
	env_timer_set(n->env, &n->tick_timer, due);
}

void repl_tick(struct node *n)
{
	uint64_t now = env_now(n->env);
	struct copy *c, *next;
	struct peer *p;

	if (n->stopping)
		return;
	lease_tick(n, now > n->tick_due + n->cfg.lease / 4 ? now - n->tick_due : 0);
	TAILQ_FOREACH (p, &n->peers, entry) {
		durable_tick(n, p);
		for (c = TAILQ_FIRST(&p->copies); c; c = next) {
			next = TAILQ_NEXT(c, of_peer);
			if (c->trouble)
				tell_keeper(n, c);
			fill_step(c);
			if (!c->required && p->unacked_bytes > REPL_LAGS)
				copy_complain(n, c, "too far behind");
		}
	}
	take_tick(n);
	recover_ask(n);
	if (n->suspects)
		n->suspects = vouch_all(n);
	if (store_broken(n->st))
		resign_all(n);
	repl_wake(n);
}

void repl_init(struct node *n)
{
	TAILQ_INIT(&n->stalled);
	TAILQ_INIT(&n->fills);
	TAILQ_INIT(&n->orphans);
	TAILQ_INIT(&n->durables);
	TAILQ_INIT(&n->durable_left);
	TAILQ_INIT(&n->level_syncs);
	TAILQ_INIT(&n->taking);
	TAILQ_INIT(&n->pulls);
	n->wake_task.run = wake_run;
	n->started = env_now(n->env);
}

bool repl_idle(const struct node *n)
{
	return !n->repl_busy && !learn_busy(n) && !erase_busy(n) && LIST_EMPTY(&n->repairs);
}

void repl_stop(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		take_end(n, s);
		drop_copies(s);
		backup_drop(n, s);
	}
	durable_adopt(n);
	learn_stop(n);
	env_timer_clear(n->env, &n->tick_timer);
	env_timer_clear(n->env, &n->take_timer);
	env_unpost(n->env, &n->wake_task);
}

void repl_free(struct node *n)
{
	struct level_sync *ls;
	struct fill *fi;

	while ((fi = TAILQ_FIRST(&n->fills)))
		fill_free(fi);
	while ((ls = TAILQ_FIRST(&n->level_syncs))) {
		TAILQ_REMOVE(&n->level_syncs, ls, entry);
		free(ls);
	}
	durable_free(n);
	backup_free(n);
	take_free(n);
	teach_free(n);
	learn_free(n);
	erase_free(n);
	repairs_free(n);
}
