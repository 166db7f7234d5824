/*
 * Scripted nodes for the client's tests. A fake node knows just enough of the protocol to be resent
 * to: it answers HELLO, MAP_GET, PING and sessions, stores replies and outcomes, and counts what it
 * applied by the tag (value of the first SET) of each transaction. A hook may take any message away
 * from it.
 */
#ifndef ORBIT_TEST_CLIENT_NODES_H
#define ORBIT_TEST_CLIENT_NODES_H

#include "tests/unit/test_client_world.h"

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

/* Where it is written what became of the shard's transactions. */
static inline struct fake *fake_book(struct fake *n, uint16_t shard)
{
	return n->w->moving ? n->w->book[shard] : n;
}

static inline struct known *fake_find(
	struct fake *n, uint32_t session, uint64_t number, uint16_t shard)
{
	struct known *k;

	TAILQ_FOREACH (k, &fake_book(n, shard)->known, at)
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
	TAILQ_INSERT_TAIL(&fake_book(n, shard)->known, k, at);
	return k;
}

static inline void fake_forget(struct fake *n, struct known *k)
{
	TAILQ_REMOVE(&fake_book(n, k->shard)->known, k, at);
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

static inline void fake_learn(struct fake *n, const struct wire_txn *m, uint16_t shard)
{
	struct seen *s = fake_seen(fake_book(n, shard), m->session);
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

static inline void fake_abandon(struct fake *n, uint32_t session, uint64_t number, uint16_t shard)
{
	struct seen *s = fake_seen(fake_book(n, shard), session);

	assert_true(s->nabandoned < ARRAY_LEN(s->abandoned));
	s->abandoned[s->nabandoned++] = number;
}

static inline bool fake_refuses(struct fake *n, const struct wire_txn *m, uint16_t shard)
{
	struct seen *s = fake_seen(fake_book(n, shard), m->session);

	if (m->number < s->floor)
		return true;
	for (unsigned j = 0; j < s->nabandoned; j++)
		if (s->abandoned[j] == m->number)
			return true;
	return false;
}

/* The lowest shard. */
static inline uint16_t fake_home(struct fake *n, const struct txn_view *v)
{
	uint16_t home = UINT16_MAX;

	for (unsigned i = 0; i < v->nobjects; i++) {
		struct orbit_id id = v->object[i];
		uint16_t s = ring_shard_of(n->w->map, &id);

		home = s < home ? s : home;
	}
	return home;
}

/* Its lowest shard, the tag, and a result for each read. */
static inline uint64_t fake_read(
	struct fake *n, const struct wire_txn *m, uint16_t *shard, struct buf *results)
{
	struct txn_view v;
	struct txn_iter it;
	struct txn_op op;
	uint64_t tag = 0;

	assert_int_equal(txn_check(m->body, m->body_len, &v), 0);
	*shard = fake_home(n, &v);
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

/* May it be executed as a whole, by whom and when it was sent? */
static inline bool fake_whole(struct fake *n, const struct wire_txn *m, const struct txn_view *v)
{
	uint16_t shards[TXN_OBJECTS_MAX];

	for (unsigned i = 0; i < v->nobjects; i++) {
		struct orbit_id id = v->object[i];

		shards[i] = ring_shard_of(n->w->map, &id);
		if (n->w->moving && m->epoch < n->w->since[shards[i]])
			return false;
	}
	return !n->w->moving || (m->flags & WIRE_TXN_REPLAY) ||
	       ring_one_log(n->w->map, shards, v->nobjects);
}

/* It took effect in each shard of its objects. */
static inline void fake_apply(struct fake *n, const struct txn_view *v, uint64_t tag)
{
	n->applied[tag]++;
	for (unsigned i = 0; n->w->moving && i < v->nobjects; i++) {
		struct orbit_id id = v->object[i];

		n->w->done[tag][ring_shard_of(n->w->map, &id)]++;
	}
}

static inline void fake_txn(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_txn m;
	struct known *k, reads = {0};
	struct buf results = {0};
	uint16_t shard;
	uint64_t tag;
	struct txn_view v;
	struct fake *home;

	assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
	tag = fake_read(n, &m, &shard, &results);
	assert_int_equal(txn_check(m.body, m.body_len, &v), 0);
	home = n->w->node[n->w->map->shards[shard].primary];
	if (home != n && (!home->listening || home->alone)) {
		fake_status(n, t, f, WIRE_UNREACHABLE, -1);
		goto out;
	}
	n = home; /* forwarded */
	if (!fake_whole(n, &m, &v)) {
		fake_status(n, t, f, WIRE_WRONG_NODE, -1);
		goto out;
	}
	n->asked[tag]++;
	fake_learn(n, &m, shard);
	if (fake_refuses(n, &m, shard)) {
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
	if (!k && (m.flags & WIRE_TXN_REPLAY)) {
		fake_abandon(n, m.session, m.number, shard);
		fake_status(n, t, f, WIRE_REFUSED, -1);
		goto out;
	}
	if (!k) {
		k = fake_know(n, m.session, m.number, shard, tag);
		if (w_random(n->w) % 1000 < n->no) {
			/* Remembered as well: a second copy must not fare better. */
			k->failed = true;
			wire_put_reply_head(&k->reply, WIRE_COMPARE, 0, n->w->map->epoch, NULL, 0);
		} else {
			fake_apply(n, &v, tag);
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
	if (n->w->node[n->w->map->shards[shard].primary] != n ||
		(n->w->moving && m.epoch < n->w->since[shard])) {
		fake_status(n, t, f, WIRE_WRONG_NODE, -1);
		goto out;
	}
	n->asked[tag]++;
	fake_learn(n, &m, shard);
	k = fake_find(n, m.session, m.number, shard);
	if (!k && fake_refuses(n, &m, shard)) {
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
	if (commit && n->w->moving)
		n->w->done[k->tag][k->shard]++;
}

static inline void fake_decide(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_decide m;
	struct known *k;

	assert_int_equal(wire_get_decide(frame_cur(f), &m), 0);
	if (n->w->moving && n->w->node[n->w->map->shards[m.shard].primary] != n) {
		if (f->type != WIRE_FORGET)
			fake_status(n, t, f, WIRE_WRONG_NODE, -1);
		return;
	}
	k = fake_find(n, m.session, m.number, m.shard);
	if (f->type == WIRE_FORGET) {
		if (k)
			assert_int_not_equal(k->state, K_PREPARED);
		if (k)
			fake_forget(n, k);
		return;
	}
	if (m.commit && !k && m.number < fake_seen(fake_book(n, m.shard), m.session)->floor) {
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
	struct wire_session s = {.timeout_ms = 10000, .epoch = n->w->session_epoch};
	struct frame *r = fake_reply(f, WIRE_SESSION);

	assert_int_equal(wire_get_session_open(frame_cur(f), &m), 0);
	if (n->w->node[n->w->map->keeper] != n && !n->w->relays)
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

static inline void fake_serve(struct fake *n, struct tlink *t, struct frame *f)
{
	struct frame *r;

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
	case WIRE_WATCH:
		fake_status(n, t, f, WIRE_OK, -1);
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

/* As if the node itself had been asked. */
static inline void fake_carry(struct fake *n, struct tlink *t, struct frame *f)
{
	struct fake *to = NULL;
	struct wire_carry m;
	struct frame *inner;

	assert_int_equal(wire_get_carry(frame_cur(f), &m), 0);
	for (unsigned i = 0; i < n->w->nnodes; i++)
		if (!memcmp(n->w->node[i]->id.b, m.node.b, sizeof(m.node.b)))
			to = n->w->node[i];
	if (n->deaf)
		return;
	if (!to || to == n || to->alone || !to->listening) {
		fake_status(n, t, f, to ? WIRE_UNREACHABLE : WIRE_WRONG_NODE, -1);
		return;
	}
	inner = frame_new(m.type, f->id, m.body_len);
	buf_bytes(&inner->b, m.body, m.body_len);
	to->got[m.type]++;
	if (!to->mute && !(to->hook && to->hook(to, t, inner)))
		fake_serve(to, t, inner);
	frame_unref(inner);
}

static void fake_message(struct tlink *t, struct frame *f)
{
	struct fake *n = t->node;

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
	if (f->type == WIRE_CARRY)
		fake_carry(n, t, f);
	else
		fake_serve(n, t, f);
}

#endif
