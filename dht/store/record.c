#include "dht/store/record.h"

#include <errno.h>

#include "dht/base/crc.h"
#include "dht/store/extent.h"

#define MAGIC 0x4345524fu /* "OREC" */
#define VERSION 1u
#define CRC_AT 40u

static void set_u32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void set_u64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

void record_seal(const struct record *r, const void *meta, uint8_t head[RECORD_HEAD])
{
	memset(head, 0, RECORD_HEAD);
	set_u32(head, MAGIC);
	head[4] = VERSION;
	head[6] = (uint8_t)r->kind;
	set_u32(head + 8, r->meta_len);
	set_u32(head + 12, r->data_len);
	set_u64(head + 16, r->pos);
	set_u64(head + 24, r->prev);
	set_u64(head + 32, r->synced);
	set_u32(head + CRC_AT, crc32c_more(crc32c(head, CRC_AT), meta, r->meta_len));
}

int record_parse(struct record *r, const uint8_t head[RECORD_HEAD], uint64_t pos)
{
	struct cur c = cur_of(head, RECORD_HEAD);
	uint32_t magic = cur_u32(&c);
	uint16_t version = cur_u16(&c);

	r->kind = cur_u8(&c);
	cur_u8(&c);
	r->meta_len = cur_u32(&c);
	r->data_len = cur_u32(&c);
	r->pos = cur_u64(&c);
	r->prev = cur_u64(&c);
	r->synced = cur_u64(&c);
	if (magic != MAGIC || version != VERSION || r->pos != pos ||
		r->meta_len > EFFECT_META_MAX || r->data_len > EFFECT_DATA_MAX ||
		(r->kind != RECORD_EFFECT && r->kind != RECORD_MOVE))
		return -EBADMSG;
	return 0;
}

int record_check(const struct record *r, const uint8_t head[RECORD_HEAD], const void *meta)
{
	struct cur c = cur_of(head + CRC_AT, 4);

	return cur_u32(&c) == crc32c_more(crc32c(head, CRC_AT), meta, r->meta_len) ? 0 : -EBADMSG;
}

void move_add(struct buf *meta, const struct move_op *op)
{
	buf_u16(meta, op->shard);
	buf_bytes(meta, op->id.b, ORBIT_ID_LEN);
	buf_u64(meta, op->start);
	buf_u32(meta, op->len);
	buf_u64(meta, op->old);
	buf_bytes(meta, op->crcs, 4 * effect_chunks(op->start, op->len));
}

struct effect_iter move_iter_of(const void *meta, size_t len)
{
	return effect_iter_of(meta, len);
}

int move_next(struct effect_iter *it, struct move_op *op)
{
	struct cur *c = &it->c;
	const void *id;

	if (cur_done(c))
		return 0;
	op->shard = cur_u16(c);
	id = cur_bytes(c, ORBIT_ID_LEN);
	if (id)
		memcpy(op->id.b, id, ORBIT_ID_LEN);
	op->start = cur_u64(c);
	op->len = cur_u32(c);
	op->old = cur_u64(c);
	if (op->len < 1 || op->len > EXTENT_MAX || op->start > INT64_MAX - EXTENT_MAX ||
		op->len > EFFECT_DATA_MAX - it->data_at)
		return -EBADMSG;
	op->crcs = cur_bytes(c, 4 * effect_chunks(op->start, op->len));
	op->data_at = it->data_at;
	it->data_at += op->len;
	return cur_ok(c) ? 1 : -EBADMSG;
}

bool record_crcs_match(uint64_t off, const void *data, size_t len, const uint8_t *crcs)
{
	const uint8_t *p = data;
	uint8_t now[4];

	while (len) {
		size_t n = EFFECT_CHUNK - off % EFFECT_CHUNK;

		if (n > len)
			n = len;
		effect_crcs(off, p, n, now);
		if (memcmp(now, crcs, 4))
			return false;
		crcs += 4;
		p += n;
		off += n;
		len -= n;
	}
	return true;
}

int record_check_data(const struct record *r, const void *meta, const void *data)
{
	struct effect_iter it = effect_iter_of(meta, r->meta_len);
	const uint8_t *p = data;
	struct effect_op op;
	struct move_op mv;
	int rc;

	if (r->kind == RECORD_MOVE) {
		while ((rc = move_next(&it, &mv)) > 0) {
			if (mv.data_at + mv.len > r->data_len ||
				!record_crcs_match(mv.start, p + mv.data_at, mv.len, mv.crcs))
				return -EBADMSG;
		}
		return rc;
	}
	while ((rc = effect_next(&it, &op)) > 0) {
		if (op.kind == EFFECT_WRITE &&
			(op.data_at + op.len > r->data_len ||
				!record_crcs_match(op.off, p + op.data_at, op.len, op.crcs)))
			return -EBADMSG;
	}
	return rc;
}
