/* The messages of replication, field by field as docs/PROTOCOL.md lists them. */
#include "dht/wire/wire_repl.h"

#include <errno.h>

#define ACK_LEN 20     /* encoded wire_ack_one */
#define RECOVER_LEN 10 /* encoded wire_recover_one */

void wire_put_beat(struct buf *b, const struct wire_beat *m)
{
	buf_u64(b, m->epoch);
	buf_u64(b, m->lease);
	buf_u64(b, m->available);
}

int wire_get_beat(struct cur c, struct wire_beat *m)
{
	m->epoch = cur_u64(&c);
	m->lease = cur_u64(&c);
	m->available = cur_u64(&c);
	return cur_done(&c) ? 0 : -EBADMSG;
}

void wire_put_append_head(struct buf *b, const struct wire_append *m)
{
	buf_u64(b, m->epoch);
	buf_u64(b, m->shard_term);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u64(b, m->seq);
	buf_u32(b, (uint32_t)m->meta_len);
}

int wire_get_append(struct cur c, struct wire_append *m)
{
	m->epoch = cur_u64(&c);
	m->shard_term = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	m->seq = cur_u64(&c);
	m->meta_len = cur_u32(&c);
	m->meta = cur_bytes(&c, m->meta_len);
	m->data_len = c.left;
	m->data = cur_bytes(&c, c.left);
	if (!cur_done(&c) || (m->data_len && !m->meta_len))
		return -EBADMSG;
	return 0;
}

void wire_set_append_term(void *body, uint64_t epoch, uint64_t shard_term)
{
	uint64_t v[2] = {htole64(epoch), htole64(shard_term)};

	memcpy(body, v, sizeof(v));
}

void wire_put_ack_head(struct buf *b, uint64_t epoch, uint32_t n)
{
	buf_u64(b, epoch);
	buf_u32(b, n);
}

void wire_put_ack_one(struct buf *b, const struct wire_ack_one *one)
{
	buf_u16(b, one->shard);
	buf_u16(b, one->status);
	buf_u64(b, one->shard_term);
	buf_u64(b, one->seq);
}

int wire_get_ack(struct cur c, struct wire_ack *m)
{
	m->epoch = cur_u64(&c);
	m->n = cur_u32(&c);
	if (!cur_ok(&c) || m->n > WIRE_ACKS_MAX)
		return -EBADMSG;
	m->acks = cur_bytes(&c, ACK_LEN * (size_t)m->n);
	return cur_done(&c) ? 0 : -EBADMSG;
}

struct wire_ack_one wire_ack_at(const struct wire_ack *m, unsigned i)
{
	struct cur c = cur_of((const uint8_t *)m->acks + ACK_LEN * (size_t)i, ACK_LEN);
	struct wire_ack_one one;

	one.shard = cur_u16(&c);
	one.status = cur_u16(&c);
	one.shard_term = cur_u64(&c);
	one.seq = cur_u64(&c);
	return one;
}

void wire_put_recover_head(struct buf *b, uint64_t epoch, uint32_t n)
{
	buf_u64(b, epoch);
	buf_u32(b, n);
}

void wire_put_recover_one(struct buf *b, const struct wire_recover_one *one)
{
	buf_u16(b, one->shard);
	buf_u64(b, one->shard_term);
}

int wire_get_recover(struct cur c, struct wire_recover *m)
{
	m->epoch = cur_u64(&c);
	m->n = cur_u32(&c);
	if (!cur_ok(&c) || m->n > WIRE_RECOVER_MAX)
		return -EBADMSG;
	m->shards = cur_bytes(&c, RECOVER_LEN * (size_t)m->n);
	return cur_done(&c) ? 0 : -EBADMSG;
}

struct wire_recover_one wire_recover_at(const struct wire_recover *m, unsigned i)
{
	struct cur c = cur_of((const uint8_t *)m->shards + RECOVER_LEN * (size_t)i, RECOVER_LEN);
	struct wire_recover_one one;

	one.shard = cur_u16(&c);
	one.shard_term = cur_u64(&c);
	return one;
}

void wire_put_make_durable(struct buf *b, uint64_t epoch)
{
	buf_u64(b, epoch);
}

int wire_get_make_durable(struct cur c, uint64_t *epoch)
{
	*epoch = cur_u64(&c);
	return cur_done(&c) ? 0 : -EBADMSG;
}
