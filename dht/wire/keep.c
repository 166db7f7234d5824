/* ASK, field by field as docs/PROTOCOL.md lists it. */
#include "dht/wire/wire_keep.h"

#include <errno.h>

#include "dht/base/mem.h"

#define SESSION_MAX 0xffffffu
#define ASK_FLAGS                                                                                  \
	(ASK_F_PASSED | ASK_F_WHOLE | ASK_F_WITNESS | ASK_F_REFUSED | ASK_F_ADD | ASK_F_FORCE |    \
		ASK_F_RUN_OUT)

static void put_text(struct buf *b, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	buf_u8(b, (uint8_t)len);
	buf_bytes(b, text, len);
}

/* @out has room for @max bytes and a NUL. */
static void get_text(struct cur *c, char *out, size_t max)
{
	size_t len = cur_u8(c);
	const char *at = len <= max ? cur_bytes(c, len) : NULL;

	if (!at || memchr(at, 0, len)) {
		cur_fail(c);
		return;
	}
	memcpy(out, at, len);
}

static void get_id(struct cur *c, struct orbit_id *id)
{
	const void *at = cur_bytes(c, ORBIT_ID_LEN);

	if (at)
		memcpy(id->b, at, ORBIT_ID_LEN);
}

void wire_put_ask(struct buf *b, const struct wire_ask_m *m)
{
	buf_u8(b, m->what);
	buf_u8(b, m->flags);
	buf_u64(b, m->epoch);
	buf_bytes(b, m->node.b, ORBIT_ID_LEN);
	buf_bytes(b, m->by.b, ORBIT_ID_LEN);
	buf_bytes(b, m->id2.b, ORBIT_ID_LEN);
	buf_u64(b, m->incarnation);
	buf_u16(b, m->shard);
	buf_u64(b, m->term);
	buf_u32(b, m->weight);
	buf_u32(b, m->session);
	buf_u8(b, m->replicas);
	buf_u8(b, m->min_in_sync);
	buf_u64(b, m->used);
	buf_u64(b, m->available);
	buf_u8(b, m->naddrs);
	for (unsigned i = 0; i < m->naddrs; i++)
		put_text(b, m->addr[i], WIRE_ADDR_MAX);
	put_text(b, m->zone, WIRE_ZONE_MAX);
}

int wire_get_ask(struct cur c, struct wire_ask_m *m)
{
	memset(m, 0, sizeof(*m));
	m->what = cur_u8(&c);
	m->flags = cur_u8(&c);
	m->epoch = cur_u64(&c);
	get_id(&c, &m->node);
	get_id(&c, &m->by);
	get_id(&c, &m->id2);
	m->incarnation = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->term = cur_u64(&c);
	m->weight = cur_u32(&c);
	m->session = cur_u32(&c);
	m->replicas = cur_u8(&c);
	m->min_in_sync = cur_u8(&c);
	m->used = cur_u64(&c);
	m->available = cur_u64(&c);
	m->naddrs = cur_u8(&c);
	if (m->what < ASK_REGISTER || m->what > ASK_DOWN || (m->flags & ~ASK_FLAGS) ||
		m->session > SESSION_MAX || m->naddrs > WIRE_ADDRS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < m->naddrs; i++)
		get_text(&c, m->addr[i], WIRE_ADDR_MAX);
	get_text(&c, m->zone, WIRE_ZONE_MAX);
	return cur_done(&c) ? 0 : -EBADMSG;
}
