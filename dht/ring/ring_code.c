/*
 * The ring map as bytes: docs/PROTOCOL.md, "The ring map".
 */
#include <errno.h>

#include "dht/base/crc.h"
#include "dht/ring/ring_int.h"

#define RING_MAGIC 0x474e4952u /* "RING" */
#define RING_FORMAT 2
#define RING_HEAD_LEN 47 /* bytes before the nodes */

#define NODE_UP 0x01
#define NODE_LEAVING 0x02
#define NODE_WITNESS 0x04
#define NODE_VOTER 0x08
#define NODE_FLAGS 0x0f

static void put_text(struct buf *b, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	buf_u8(b, (uint8_t)len);
	buf_bytes(b, text, len);
}

void ring_put_node(struct buf *b, const struct ring_node *n)
{
	buf_bytes(b, n->id.b, ORBIT_ID_LEN);
	buf_u32(b, n->number);
	buf_u64(b, n->incarnation);
	buf_u8(b, (uint8_t)((n->up ? NODE_UP : 0) | (n->leaving ? NODE_LEAVING : 0) |
			    (n->witness ? NODE_WITNESS : 0) | (n->voter ? NODE_VOTER : 0)));
	buf_u32(b, n->weight);
	put_text(b, n->zone, RING_ZONE_MAX);
	buf_u8(b, (uint8_t)n->naddrs);
	for (unsigned a = 0; a < n->naddrs; a++)
		put_text(b, n->addr[a], ENV_ADDR_MAX);
}

void ring_put_shard(struct buf *b, const struct ring_shard *s)
{
	uint8_t *p = buf_add(b, 13 + 2 * ((size_t)s->nmembers + s->nlearners));
	uint64_t term = htole64(s->term);
	uint16_t node = htole16(s->primary);

	if (!p)
		return;
	memcpy(p, &term, 8);
	memcpy(p + 8, &node, 2);
	p[10] = s->nmembers;
	p[11] = s->nlearners;
	p[12] = s->suspect;
	p += 13;
	for (unsigned i = 0; i < s->nmembers; i++, p += 2) {
		node = htole16(s->member[i]);
		memcpy(p, &node, 2);
	}
	for (unsigned i = 0; i < s->nlearners; i++, p += 2) {
		node = htole16(s->learner[i]);
		memcpy(p, &node, 2);
	}
}

size_t ring_encoded_len(const struct ring_map *m)
{
	size_t len = RING_HEAD_LEN + 4 * (size_t)m->nfenced + 4;

	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		len += ORBIT_ID_LEN + 4 + 8 + 1 + 4 + 1 + strnlen(n->zone, RING_ZONE_MAX) + 1;
		for (unsigned a = 0; a < n->naddrs; a++)
			len += 1 + strnlen(n->addr[a], ENV_ADDR_MAX);
	}
	for (unsigned s = 0; s < ring_nshards(m); s++)
		len += 13 + 2 * ((size_t)m->shards[s].nmembers + m->shards[s].nlearners);
	return len;
}

void ring_encode(const struct ring_map *m, struct buf *b)
{
	size_t nshards = ring_nshards(m), from = b->len;

	if (buf_reserve(b, ring_encoded_len(m)))
		return;
	buf_u32(b, RING_MAGIC);
	buf_u16(b, RING_FORMAT);
	buf_bytes(b, m->fsid, sizeof(m->fsid));
	buf_u64(b, m->epoch);
	buf_u8(b, m->shard_bits);
	buf_u8(b, m->replicas);
	buf_u8(b, m->min_in_sync);
	buf_u16(b, m->keeper);
	buf_u32(b, m->next_number);
	buf_u32(b, m->nnodes);
	buf_u32(b, m->nfenced);
	for (unsigned i = 0; i < m->nnodes; i++)
		ring_put_node(b, &m->nodes[i]);
	for (unsigned i = 0; i < m->nfenced; i++)
		buf_u32(b, m->fenced[i]);
	for (size_t s = 0; s < nshards; s++)
		ring_put_shard(b, &m->shards[s]);
	if (!b->err)
		buf_u32(b, crc32c(b->data + from, b->len - from));
}

static void get_text(struct cur *c, char *out, size_t max)
{
	size_t len = cur_u8(c);
	const char *at = len < max ? cur_bytes(c, len) : NULL;

	if (!at || memchr(at, 0, len)) {
		cur_fail(c);
		return;
	}
	memcpy(out, at, len);
	out[len] = 0;
}

void ring_get_node(struct cur *c, struct ring_node *n)
{
	const void *id = cur_bytes(c, ORBIT_ID_LEN);
	uint8_t flags;

	if (id)
		memcpy(n->id.b, id, ORBIT_ID_LEN);
	n->number = cur_u32(c);
	n->incarnation = cur_u64(c);
	flags = cur_u8(c);
	n->up = flags & NODE_UP;
	n->leaving = flags & NODE_LEAVING;
	n->witness = flags & NODE_WITNESS;
	n->voter = flags & NODE_VOTER;
	n->weight = cur_u32(c);
	get_text(c, n->zone, RING_ZONE_MAX);
	n->naddrs = cur_u8(c);
	if (n->naddrs > RING_ADDRS_MAX || flags & ~NODE_FLAGS) {
		cur_fail(c);
		return;
	}
	for (unsigned a = 0; a < n->naddrs; a++)
		get_text(c, n->addr[a], ENV_ADDR_MAX);
}

void ring_get_shard(struct cur *c, struct ring_shard *s)
{
	s->term = cur_u64(c);
	s->primary = cur_u16(c);
	s->nmembers = cur_u8(c);
	s->nlearners = cur_u8(c);
	s->suspect = cur_u8(c);
	if (s->nmembers > RING_REPLICAS_MAX || s->nlearners > RING_LEARNERS_MAX) {
		cur_fail(c);
		return;
	}
	for (unsigned i = 0; i < s->nmembers; i++)
		s->member[i] = cur_u16(c);
	for (unsigned i = 0; i < s->nlearners; i++)
		s->learner[i] = cur_u16(c);
}

int ring_decode(const void *data, size_t len, struct ring_map **out)
{
	struct cur c, tail;
	struct ring_map *m, head = {0};
	const void *fsid;

	if (len < RING_HEAD_LEN + 4)
		return -EBADMSG;
	len -= 4;
	tail = cur_of((const uint8_t *)data + len, 4);
	c = cur_of(data, len);
	if (cur_u32(&tail) != crc32c(data, len))
		return -EBADMSG;
	if (cur_u32(&c) != RING_MAGIC || cur_u16(&c) != RING_FORMAT)
		return -EBADMSG;
	fsid = cur_bytes(&c, sizeof(head.fsid));
	head.epoch = cur_u64(&c);
	head.shard_bits = cur_u8(&c);
	head.replicas = cur_u8(&c);
	head.min_in_sync = cur_u8(&c);
	head.keeper = cur_u16(&c);
	head.next_number = cur_u32(&c);
	head.nnodes = cur_u32(&c);
	head.nfenced = cur_u32(&c);
	/* what is allocated stands in proportion to what was sent */
	if (!cur_ok(&c) || head.shard_bits < 1 || head.shard_bits > RING_SHARD_BITS_MAX ||
		head.nnodes < 1 || head.nnodes > RING_NODES_MAX || head.nfenced > RING_FENCED_MAX ||
		c.left < (size_t)head.nnodes * RING_NODE_LEN_MIN + (size_t)head.nfenced * 4 +
				 ((size_t)RING_SHARD_LEN_MIN << head.shard_bits))
		return -EBADMSG;
	m = ring_new(head.shard_bits, head.nnodes, head.nfenced);
	memcpy(m->fsid, fsid, sizeof(m->fsid));
	m->epoch = head.epoch;
	m->replicas = head.replicas;
	m->min_in_sync = head.min_in_sync;
	m->keeper = head.keeper;
	m->next_number = head.next_number;
	for (unsigned i = 0; i < m->nnodes && cur_ok(&c); i++)
		ring_get_node(&c, &m->nodes[i]);
	for (unsigned i = 0; i < m->nfenced && cur_ok(&c); i++)
		m->fenced[i] = cur_u32(&c);
	for (unsigned s = 0; s < ring_nshards(m) && cur_ok(&c); s++)
		ring_get_shard(&c, &m->shards[s]);
	if (!cur_done(&c) || !ring_map_valid(m)) {
		ring_unref(m);
		return -EBADMSG;
	}
	*out = m;
	return 0;
}
