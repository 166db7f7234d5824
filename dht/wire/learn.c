/* The messages of wire_learn.h, field by field as docs/PROTOCOL.md lists them. */
#include <errno.h>

#include "dht/wire/wire_learn.h"

#define STREAM_MAX (UINT64_C(1) << 62) /* of an offset in a stream */

static int finish(const struct cur *c)
{
	return cur_done(c) ? 0 : -EBADMSG;
}

static void rest(struct cur *c, const void **at, size_t *len)
{
	*len = c->left;
	*at = cur_bytes(c, c->left);
}

/* ---- LEARN ---- */

void wire_put_learn_head(struct buf *b, const struct wire_learn *m)
{
	buf_bytes(b, m->node.b, ORBIT_ID_LEN);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u8(b, m->copy);
	buf_u64(b, m->need_term);
	buf_u64(b, m->need_seq);
}

int wire_get_learn(struct cur c, struct wire_learn *m)
{
	const void *id = cur_bytes(&c, ORBIT_ID_LEN);

	memset(m, 0, sizeof(*m));
	if (id)
		memcpy(m->node.b, id, ORBIT_ID_LEN);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	m->copy = cur_u8(&c);
	m->need_term = cur_u64(&c);
	m->need_seq = cur_u64(&c);
	if (m->copy > WIRE_COPY_AHEAD)
		cur_fail(&c);
	rest(&c, &m->history, &m->history_len);
	return finish(&c);
}

void wire_put_learn_reply_head(struct buf *b, const struct wire_learn_reply *m)
{
	buf_u8(b, m->mode);
	buf_u64(b, m->token);
}

int wire_get_learn_reply(struct cur c, struct wire_learn_reply *m)
{
	memset(m, 0, sizeof(*m));
	m->mode = cur_u8(&c);
	m->token = cur_u64(&c);
	if (m->mode < WIRE_LEARN_TAIL || m->mode > WIRE_LEARN_WALK || !m->token)
		cur_fail(&c);
	rest(&c, &m->history, &m->history_len);
	return finish(&c);
}

/* ---- TAIL ---- */

void wire_put_tail(struct buf *b, const struct wire_tail *m)
{
	buf_u64(b, m->token);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u64(b, m->from);
	buf_u32(b, m->max);
}

int wire_get_tail(struct cur c, struct wire_tail *m)
{
	m->token = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	m->from = cur_u64(&c);
	m->max = cur_u32(&c);
	if (!m->from || !m->max || m->max > WIRE_TAIL_MAX || (m->from > 1) != (m->term > 0))
		cur_fail(&c);
	return finish(&c);
}

void wire_put_tail_reply_head(struct buf *b, uint64_t term, uint64_t seq, uint32_t n)
{
	buf_u64(b, term);
	buf_u64(b, seq);
	buf_u32(b, n);
}

int wire_get_tail_effect(struct cur *c, struct wire_tail_effect *m)
{
	m->term = cur_u64(c);
	m->seq = cur_u64(c);
	m->meta_len = cur_u32(c);
	m->data_len = cur_u32(c);
	m->meta = cur_bytes(c, m->meta_len);
	m->data = cur_bytes(c, m->data_len);
	return cur_ok(c) ? 0 : -EBADMSG;
}

int wire_get_tail_reply(struct cur c, struct wire_tail_reply *m)
{
	struct wire_tail_effect e;

	m->term = cur_u64(&c);
	m->seq = cur_u64(&c);
	m->n = cur_u32(&c);
	m->effects = c;
	/* every effect takes some bytes, so a count that is too large ends soon */
	for (uint32_t i = 0; i < m->n; i++) {
		if (wire_get_tail_effect(&c, &e))
			return -EBADMSG;
	}
	return finish(&c);
}

/* ---- WALK ---- */

void wire_put_walk(struct buf *b, const struct wire_walk *m)
{
	buf_u64(b, m->token);
	buf_u16(b, m->shard);
	buf_u32(b, m->max);
	buf_u64(b, m->off);
	buf_blob(b, m->after, m->after_len);
}

int wire_get_walk(struct cur c, struct wire_walk *m)
{
	m->token = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->max = cur_u32(&c);
	m->off = cur_u64(&c);
	m->after = cur_blob(&c, WIRE_WALK_KEY_MAX, &m->after_len);
	if (!m->max || m->max > WIRE_WALK_MAX || m->off > STREAM_MAX || (m->off && !m->after_len))
		cur_fail(&c);
	return finish(&c);
}

void wire_put_walk_reply_head(struct buf *b, const struct wire_walk_reply *m)
{
	buf_u64(b, m->term);
	buf_u64(b, m->seq);
	buf_u8(b, m->done);
	buf_u64(b, m->off);
	buf_blob(b, m->after, m->after_len);
}

int wire_get_walk_reply(struct cur c, struct wire_walk_reply *m)
{
	struct wire_walk_entry e;
	int rc;

	m->term = cur_u64(&c);
	m->seq = cur_u64(&c);
	m->done = cur_u8(&c);
	m->off = cur_u64(&c);
	m->after = cur_blob(&c, WIRE_WALK_KEY_MAX, &m->after_len);
	if (m->done > 1 || m->off > STREAM_MAX || (m->done && (m->off || m->after_len)) ||
		(!m->done && !m->after_len) || !cur_ok(&c))
		return -EBADMSG;
	m->items = c;
	while ((rc = wire_get_walk_entry(&c, &e)) == 1)
		;
	return rc;
}

/* Chunks ascend, lie within the range that they tell of, and none is empty. */
static bool chunks_fit(const struct wire_walk_entry *m)
{
	struct cur c = cur_of(m->chunks, (size_t)m->n * WIRE_WALK_CHUNK);
	uint64_t at = m->from;

	for (uint32_t i = 0; i < m->n; i++) {
		uint64_t off = cur_u64(&c);
		uint32_t len = cur_u32(&c);

		cur_u32(&c);
		if (off < at || off >= m->to || !len || len > m->to - off)
			return false;
		at = off + len;
	}
	return true;
}

int wire_get_walk_entry(struct cur *c, struct wire_walk_entry *m)
{
	if (!c->left)
		return 0;
	memset(m, 0, sizeof(*m));
	m->item = cur_u8(c);
	if (m->item == WIRE_WALK_KEY) {
		m->key = cur_blob(c, WIRE_WALK_KEY_MAX, &m->klen);
		m->val = cur_blob(c, FRAME_BODY_MAX, &m->vlen);
		return cur_ok(c) ? 1 : -EBADMSG;
	}
	m->from = cur_u64(c);
	m->to = cur_u64(c);
	m->n = cur_u32(c);
	m->chunks = cur_bytes(c, (size_t)m->n * WIRE_WALK_CHUNK);
	if (m->item != WIRE_WALK_EXTENTS || !m->chunks || m->from >= m->to || !chunks_fit(m))
		return -EBADMSG;
	return 1;
}

/* ---- BYTES ---- */

void wire_put_bytes_head(struct buf *b, const struct wire_bytes *m)
{
	buf_u64(b, m->token);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u64(b, m->seq);
	buf_u16(b, m->n);
}

void wire_put_bytes_range(struct buf *b, const struct wire_bytes_range *r)
{
	buf_bytes(b, r->id.b, ORBIT_ID_LEN);
	buf_u64(b, r->off);
	buf_u32(b, r->len);
}

struct wire_bytes_range wire_bytes_at(const struct wire_bytes *m, unsigned i)
{
	const uint8_t *at = (const uint8_t *)m->ranges + (size_t)i * WIRE_BYTES_RANGE;
	struct cur c = cur_of(at + ORBIT_ID_LEN, WIRE_BYTES_RANGE - ORBIT_ID_LEN);
	struct wire_bytes_range r;

	memcpy(r.id.b, at, ORBIT_ID_LEN);
	r.off = cur_u64(&c);
	r.len = cur_u32(&c);
	return r;
}

int wire_get_bytes(struct cur c, struct wire_bytes *m)
{
	m->token = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	m->seq = cur_u64(&c);
	m->n = cur_u16(&c);
	m->len = 0;
	if (!m->n || m->n > WIRE_BYTES_RANGES)
		return -EBADMSG;
	m->ranges = cur_bytes(&c, (size_t)m->n * WIRE_BYTES_RANGE);
	if (!cur_done(&c))
		return -EBADMSG;
	for (unsigned i = 0; i < m->n; i++) {
		struct wire_bytes_range r = wire_bytes_at(m, i);

		m->len += r.len;
		if (!r.len || r.off > STREAM_MAX || m->len > WIRE_BYTES_MAX)
			return -EBADMSG;
	}
	return 0;
}

/* ---- JOIN ---- */

void wire_put_join(struct buf *b, const struct wire_join *m)
{
	buf_u64(b, m->token);
	buf_u16(b, m->shard);
	buf_u8(b, m->step);
	buf_u64(b, m->seq);
}

int wire_get_join(struct cur c, struct wire_join *m)
{
	m->token = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->step = cur_u8(&c);
	m->seq = cur_u64(&c);
	if (m->step < WIRE_JOIN_STREAM || m->step > WIRE_JOIN_SYNCED)
		cur_fail(&c);
	return finish(&c);
}

void wire_put_join_reply(struct buf *b, uint64_t term, uint64_t seq)
{
	buf_u64(b, term);
	buf_u64(b, seq);
}

int wire_get_join_reply(struct cur c, uint64_t *term, uint64_t *seq)
{
	*term = cur_u64(&c);
	*seq = cur_u64(&c);
	return finish(&c);
}
