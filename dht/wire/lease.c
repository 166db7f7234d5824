#include "dht/wire/wire_lease.h"

#include <errno.h>
#include <string.h>

#define MORE 0x01
#define SESSION_MAX 0xffffffu

void wire_put_leases_head(struct buf *b, const struct wire_leases *m)
{
	buf_u64(b, m->request);
	buf_u32(b, m->session);
	buf_u64(b, m->epoch);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u8(b, m->more ? MORE : 0);
	buf_u32(b, m->n);
}

void wire_put_lease_one(struct buf *b, const struct wire_lease_one *one)
{
	buf_u16(b, one->shard);
	buf_bytes(b, one->id.b, sizeof(one->id.b));
	buf_u8(b, one->mode);
	buf_u64(b, one->number);
	buf_u64(b, one->version);
}

static struct wire_lease_one get_one(struct cur *c)
{
	struct wire_lease_one one = {.shard = cur_u16(c)};
	const void *id = cur_bytes(c, sizeof(one.id.b));

	if (id)
		memcpy(one.id.b, id, sizeof(one.id.b));
	one.mode = cur_u8(c);
	one.number = cur_u64(c);
	one.version = cur_u64(c);
	return one;
}

int wire_get_leases(struct cur c, struct wire_leases *m)
{
	uint8_t flags;

	memset(m, 0, sizeof(*m));
	m->request = cur_u64(&c);
	m->session = cur_u32(&c);
	m->epoch = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	flags = cur_u8(&c);
	m->more = flags & MORE;
	m->n = cur_u32(&c);
	m->ones = c;
	if (flags & ~MORE || m->session < 1 || m->session > SESSION_MAX || m->n > WIRE_LEASES_MAX)
		return -EBADMSG;
	for (uint32_t i = 0; i < m->n && cur_ok(&c); i++)
		if (get_one(&c).mode > WIRE_LEASE_EXCLUSIVE)
			return -EBADMSG;
	return cur_done(&c) ? 0 : -EBADMSG;
}

struct wire_lease_one wire_lease_next(struct wire_leases *m)
{
	return get_one(&m->ones);
}
