#include "dht/store/effect.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/store/history.h"

/*
 * The encoding, one operation after the other (docs/STORE.md): a byte that says which, then
 *   SECTION  u16 shard, u64 term, u64 seq
 *   PUT      u32 length and key, u32 length and value
 *   DEL      u32 length and key
 *   WRITE    32 bytes of ID, u64 offset, u32 length, u32 CRC32C per chunk
 *   PUNCH    32 bytes of ID, u64 from, u64 to
 *   DROP     32 bytes of ID
 *   HISTORY  u32 length and history
 *   CLEAR
 */

/* Offsets above this would overflow when a length is added. */
#define OFFSET_MAX ((uint64_t)INT64_MAX)
#define HISTORY_MAX (20u + 16u * HISTORY_TERMS_MAX)

void effect_init(struct effect *e)
{
	memset(e, 0, sizeof(*e));
}

void effect_fini(struct effect *e)
{
	buf_fini(&e->meta);
	free(e->data);
	memset(e, 0, sizeof(*e));
}

void effect_section(struct effect *e, uint16_t shard, uint64_t term, uint64_t seq)
{
	buf_u8(&e->meta, EFFECT_SECTION);
	buf_u16(&e->meta, shard);
	buf_u64(&e->meta, term);
	buf_u64(&e->meta, seq);
}

static void add_key(struct effect *e, enum effect_kind kind, const void *key, size_t klen)
{
	assert(klen >= KEY_MIN && klen <= EFFECT_KEY_MAX);
	buf_u8(&e->meta, (uint8_t)kind);
	buf_blob(&e->meta, key, klen);
}

void effect_put(struct effect *e, const void *key, size_t klen, const void *val, size_t vlen)
{
	assert(vlen <= EFFECT_VALUE_MAX);
	add_key(e, EFFECT_PUT, key, klen);
	buf_blob(&e->meta, val, vlen);
}

void effect_del(struct effect *e, const void *key, size_t klen)
{
	add_key(e, EFFECT_DEL, key, klen);
}

size_t effect_chunks(uint64_t off, size_t len)
{
	return (size_t)((off + len - 1) / EFFECT_CHUNK - off / EFFECT_CHUNK + 1);
}

void effect_crcs(uint64_t off, const void *data, size_t len, uint8_t *out)
{
	const uint8_t *p = data;

	while (len) {
		size_t n = min_size(len, EFFECT_CHUNK - off % EFFECT_CHUNK);
		uint32_t crc = htole32(crc32c(p, n));

		memcpy(out, &crc, 4);
		out += 4;
		p += n;
		off += n;
		len -= n;
	}
}

void effect_piece(struct effect *e, const void *data, size_t len)
{
	size_t n = e->ndata;

	/* the array's size is the next power of two from 4 */
	if (n == 0 || (n >= 4 && (n & (n - 1)) == 0))
		e->data = mem_grow(e->data, n ? 2 * n : 4, sizeof(*e->data));
	e->data[e->ndata++] = (struct iovec){.iov_base = (void *)data, .iov_len = len};
	e->data_len += len;
}

void effect_write(
	struct effect *e, const struct orbit_id *id, uint64_t off, const void *data, size_t len)
{
	uint8_t *crcs;

	assert(len >= 1 && len <= EFFECT_DATA_MAX && off <= OFFSET_MAX - len);
	buf_u8(&e->meta, EFFECT_WRITE);
	buf_bytes(&e->meta, id->b, ORBIT_ID_LEN);
	buf_u64(&e->meta, off);
	buf_u32(&e->meta, (uint32_t)len);
	crcs = buf_add(&e->meta, 4 * effect_chunks(off, len));
	if (!crcs)
		return;
	effect_crcs(off, data, len, crcs);
	effect_piece(e, data, len);
}

void effect_punch(struct effect *e, const struct orbit_id *id, uint64_t from, uint64_t to)
{
	buf_u8(&e->meta, EFFECT_PUNCH);
	buf_bytes(&e->meta, id->b, ORBIT_ID_LEN);
	buf_u64(&e->meta, from);
	buf_u64(&e->meta, to);
}

void effect_drop(struct effect *e, const struct orbit_id *id)
{
	buf_u8(&e->meta, EFFECT_DROP);
	buf_bytes(&e->meta, id->b, ORBIT_ID_LEN);
}

void effect_history(struct effect *e, const struct history *h)
{
	struct buf b = {0};

	history_encode(h, &b);
	buf_u8(&e->meta, EFFECT_HISTORY);
	buf_blob(&e->meta, b.data, b.len);
	if (b.err)
		e->meta.err = b.err;
	buf_fini(&b);
}

void effect_clear_shard(struct effect *e)
{
	buf_u8(&e->meta, EFFECT_CLEAR);
}

bool effect_empty(const struct effect *e)
{
	struct effect_iter it = effect_iter_of(e->meta.data, e->meta.len);
	struct effect_op op;

	while (effect_next(&it, &op) > 0) {
		if (op.kind != EFFECT_SECTION)
			return false;
	}
	return true;
}

struct effect_iter effect_iter_of(const void *meta, size_t len)
{
	return (struct effect_iter){.c = cur_of(meta, len)};
}

static void next_key(struct cur *c, struct effect_op *op)
{
	op->key = cur_blob(c, EFFECT_KEY_MAX, &op->klen);
	if (op->klen < KEY_MIN)
		cur_fail(c);
}

static void next_id(struct cur *c, struct effect_op *op)
{
	const void *id = cur_bytes(c, ORBIT_ID_LEN);

	if (id)
		memcpy(op->id.b, id, ORBIT_ID_LEN);
}

static void next_write(struct effect_iter *it, struct effect_op *op)
{
	struct cur *c = &it->c;

	next_id(c, op);
	op->off = cur_u64(c);
	op->len = cur_u32(c);
	if (op->len < 1 || op->len > EFFECT_DATA_MAX - it->data_at ||
		op->off > OFFSET_MAX - op->len) {
		cur_fail(c);
		return;
	}
	op->ncrcs = effect_chunks(op->off, op->len);
	op->crcs = cur_bytes(c, 4 * op->ncrcs);
	op->data_at = it->data_at;
	it->data_at += op->len;
}

int effect_next(struct effect_iter *it, struct effect_op *op)
{
	struct cur *c = &it->c;

	if (cur_done(c))
		return 0;
	memset(op, 0, sizeof(*op));
	op->kind = cur_u8(c);
	switch (op->kind) {
	case EFFECT_SECTION:
		op->shard = cur_u16(c);
		op->term = cur_u64(c);
		op->seq = cur_u64(c);
		break;
	case EFFECT_PUT:
		next_key(c, op);
		op->val = cur_blob(c, EFFECT_VALUE_MAX, &op->vlen);
		break;
	case EFFECT_DEL:
		next_key(c, op);
		break;
	case EFFECT_WRITE:
		next_write(it, op);
		break;
	case EFFECT_PUNCH:
		next_id(c, op);
		op->off = cur_u64(c);
		op->to = cur_u64(c);
		if (op->off > op->to)
			cur_fail(c);
		break;
	case EFFECT_DROP:
		next_id(c, op);
		break;
	case EFFECT_HISTORY:
		op->val = cur_blob(c, HISTORY_MAX, &op->vlen);
		break;
	case EFFECT_CLEAR:
		break;
	default:
		cur_fail(c);
	}
	return cur_ok(c) ? 1 : -EBADMSG;
}
