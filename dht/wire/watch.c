#include "dht/wire/wire_watch.h"

#include <errno.h>
#include <string.h>

bool wire_watch_match(const struct orbit_id *id, const struct orbit_id *prefix, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(id->b, prefix->b, whole))
		return false;
	return !rest || (id->b[whole] ^ prefix->b[whole]) >> (8 - rest) == 0;
}

static void get_id(struct cur *c, struct orbit_id *id)
{
	const void *p = cur_bytes(c, sizeof(id->b));

	if (p)
		memcpy(id->b, p, sizeof(id->b));
}

void wire_put_watch(struct buf *b, const struct wire_watch *m)
{
	if (m->all)
		return;
	buf_u8(b, m->begin);
	buf_u64(b, m->number);
	buf_u16(b, m->bits);
	buf_bytes(b, m->id.b, sizeof(m->id.b));
}

/* Bits that are not asked for are zero. */
static bool trimmed(const struct wire_watch *m)
{
	struct orbit_id id = m->id;
	unsigned at = m->bits / 8;

	if (m->bits % 8)
		id.b[at++] &= (uint8_t)(0xff >> m->bits % 8);
	for (; at < sizeof(id.b); at++)
		if (id.b[at])
			return false;
	return m->bits % 8 == 0 || id.b[m->bits / 8] == 0;
}

int wire_get_watch(struct cur c, struct wire_watch *m)
{
	uint8_t begin;

	memset(m, 0, sizeof(*m));
	m->all = c.left == 0;
	if (m->all)
		return 0;
	begin = cur_u8(&c);
	m->begin = begin == 1;
	m->number = cur_u64(&c);
	m->bits = cur_u16(&c);
	get_id(&c, &m->id);
	if (begin > 1 || m->bits > WIRE_WATCH_BITS_MAX || !trimmed(m))
		cur_fail(&c);
	return cur_done(&c) ? 0 : -EBADMSG;
}

void wire_put_notice(struct buf *b, const struct wire_notice *m)
{
	buf_u8(b, m->what);
	buf_u16(b, m->shard);
	buf_u64(b, m->seq);
	buf_bytes(b, m->id.b, sizeof(m->id.b));
}

int wire_get_notice(struct cur c, struct wire_notice *m)
{
	memset(m, 0, sizeof(*m));
	m->what = cur_u8(&c);
	m->shard = cur_u16(&c);
	m->seq = cur_u64(&c);
	get_id(&c, &m->id);
	if (m->what < WIRE_NOTICE_CREATED || m->what > WIRE_NOTICE_LOST)
		cur_fail(&c);
	return cur_done(&c) ? 0 : -EBADMSG;
}
