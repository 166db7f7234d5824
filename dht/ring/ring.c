/*
 * Ring maps: made, counted, found in, written and read. The arithmetic of placement is in place.c.
 */
#include "dht/ring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/ring/place.h"

#define RING_MAGIC 0x474e4952u /* "RING" */
#define RING_FORMAT 1
#define RING_HEAD_LEN 38      /* bytes before the nodes */
#define RING_NODE_LEN_MIN 40  /* bytes of a node with no zone and one address of one byte */
#define RING_SHARD_LEN_MIN 11 /* bytes of a shard without members */

static struct ring_map *map_new(unsigned shard_bits, unsigned nnodes)
{
	struct ring_map *m = mem_zalloc(sizeof(*m));

	m->refs = 1;
	m->shard_bits = (uint8_t)shard_bits;
	m->nnodes = nnodes;
	m->nodes = mem_zalloc(nnodes * sizeof(*m->nodes));
	m->shards = mem_zalloc(((size_t)1 << shard_bits) * sizeof(*m->shards));
	return m;
}

struct ring_map *ring_ref(struct ring_map *m)
{
	m->refs++;
	return m;
}

void ring_unref(struct ring_map *m)
{
	if (!m || --m->refs)
		return;
	free(m->nodes);
	free(m->shards);
	free(m->fenced);
	free(m);
}

static int compare_nodes(const void *a, const void *b)
{
	const struct ring_node *x = a, *y = b;

	return orbit_id_cmp(&x->id, &y->id);
}

/* Text that stands in a fixed array: not longer than it, and of printable bytes without spaces. */
static bool text_fits(const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	if (len == max)
		return false;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] <= ' ' || text[i] == 0x7f)
			return false;
	}
	return true;
}

/* The rules that hold for any map's nodes: whoever makes one and whoever reads one asks here. */
static bool nodes_valid(const struct ring_map *m)
{
	uint64_t weight = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		weight += n->weight;
		if (i > 0 && orbit_id_cmp(&m->nodes[i - 1].id, &n->id) >= 0)
			return false;
		if (!text_fits(n->zone, RING_ZONE_MAX))
			return false;
		if (n->naddrs < 1 || n->naddrs > RING_ADDRS_MAX)
			return false;
		for (unsigned a = 0; a < n->naddrs; a++) {
			if (!n->addr[a][0] || !text_fits(n->addr[a], ENV_ADDR_MAX))
				return false;
		}
	}
	return weight > 0;
}

/* Lays every shard where placement wants it: its first copies, as many as there are nodes for. */
static int place_all(struct ring_map *m)
{
	size_t nshards = ring_nshards(m);
	struct place_hash hash;
	uint64_t *x;
	int rc = place_hash_init(&hash);

	if (rc)
		return rc;
	x = mem_zalloc(m->nnodes * PLACE_GROUP * sizeof(*x));
	for (size_t s = 0; s < nshards; s++) {
		struct ring_shard *sh = &m->shards[s];

		if (s % PLACE_GROUP == 0) {
			for (unsigned i = 0; i < m->nnodes && !rc; i++)
				rc = place_draw(&hash, &m->nodes[i].id, (uint16_t)(s / PLACE_GROUP),
					x + i * PLACE_GROUP);
			if (rc)
				break;
		}
		sh->nmembers = (uint8_t)place_choose(
			m, x + s % PLACE_GROUP, PLACE_GROUP, sh->member, m->replicas);
		sh->primary = sh->member[0];
		sh->term = 1;
	}
	free(x);
	place_hash_fini(&hash);
	return rc;
}

int ring_make(struct ring_map **out, const uint8_t fsid[16], unsigned shard_bits, unsigned replicas,
	const struct ring_node *nodes, unsigned nnodes)
{
	struct ring_map *m;
	int rc = -EINVAL;

	if (shard_bits < 1 || shard_bits > RING_SHARD_BITS_MAX || replicas < 1 ||
		replicas > RING_REPLICAS_MAX || nnodes < 1 || nnodes > RING_NODES_MAX)
		return -EINVAL;
	m = map_new(shard_bits, nnodes);
	m->epoch = 1;
	memcpy(m->fsid, fsid, sizeof(m->fsid));
	m->replicas = (uint8_t)replicas;
	m->min_in_sync = 1;
	memcpy(m->nodes, nodes, nnodes * sizeof(*nodes));
	qsort(m->nodes, nnodes, sizeof(*m->nodes), compare_nodes);
	if (!nodes_valid(m))
		goto fail;
	m->keeper = ring_find(m, &nodes[0].id);
	rc = place_all(m);
	if (rc)
		goto fail;
	*out = m;
	return 0;
fail:
	ring_unref(m);
	return rc;
}

uint16_t ring_find(const struct ring_map *m, const struct orbit_id *id)
{
	unsigned lo = 0, hi = m->nnodes;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		int order = orbit_id_cmp(id, &m->nodes[mid].id);

		if (order == 0)
			return (uint16_t)mid;
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return RING_NONE;
}

unsigned ring_place(const struct ring_map *m, uint16_t shard, uint16_t *out, unsigned want)
{
	struct place_hash hash;
	uint64_t *x;
	unsigned n;
	int rc = place_hash_init(&hash);

	x = mem_zalloc(m->nnodes * PLACE_GROUP * sizeof(*x));
	for (unsigned i = 0; i < m->nnodes && !rc; i++)
		rc = place_draw(&hash, &m->nodes[i].id, (uint16_t)(shard / PLACE_GROUP),
			x + i * PLACE_GROUP);
	/* a few bytes of the hash's own bookkeeping: as mem.h, there is no going on without */
	if (rc)
		abort();
	n = place_choose(m, x + shard % PLACE_GROUP, PLACE_GROUP, out, want);
	free(x);
	place_hash_fini(&hash);
	return n;
}

/* ---- encoding ---- */

static void put_text(struct buf *b, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	buf_u8(b, (uint8_t)len);
	buf_bytes(b, text, len);
}

void ring_encode(const struct ring_map *m, struct buf *b)
{
	size_t nshards = ring_nshards(m), from = b->len;

	buf_u32(b, RING_MAGIC);
	buf_u16(b, RING_FORMAT);
	buf_bytes(b, m->fsid, sizeof(m->fsid));
	buf_u64(b, m->epoch);
	buf_u8(b, m->shard_bits);
	buf_u8(b, m->replicas);
	buf_u16(b, m->keeper);
	buf_u32(b, m->nnodes);
	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		buf_bytes(b, n->id.b, ORBIT_ID_LEN);
		buf_u32(b, n->weight);
		put_text(b, n->zone, RING_ZONE_MAX);
		buf_u8(b, (uint8_t)n->naddrs);
		for (unsigned a = 0; a < n->naddrs; a++)
			put_text(b, n->addr[a], ENV_ADDR_MAX);
	}
	for (size_t s = 0; s < nshards; s++) {
		const struct ring_shard *sh = &m->shards[s];

		buf_u64(b, sh->term);
		buf_u16(b, sh->primary);
		buf_u8(b, sh->nmembers);
		for (unsigned i = 0; i < sh->nmembers; i++)
			buf_u16(b, sh->member[i]);
	}
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

static void get_node(struct cur *c, struct ring_node *n)
{
	const void *id = cur_bytes(c, ORBIT_ID_LEN);

	if (id)
		memcpy(n->id.b, id, ORBIT_ID_LEN);
	n->weight = cur_u32(c);
	get_text(c, n->zone, RING_ZONE_MAX);
	n->naddrs = cur_u8(c);
	if (n->naddrs > RING_ADDRS_MAX) {
		cur_fail(c);
		return;
	}
	for (unsigned a = 0; a < n->naddrs; a++)
		get_text(c, n->addr[a], ENV_ADDR_MAX);
}

static void get_shard(struct cur *c, const struct ring_map *m, struct ring_shard *sh)
{
	sh->term = cur_u64(c);
	sh->primary = cur_u16(c);
	sh->nmembers = cur_u8(c);
	if (sh->nmembers > RING_REPLICAS_MAX) {
		cur_fail(c);
		return;
	}
	for (unsigned i = 0; i < sh->nmembers; i++) {
		sh->member[i] = cur_u16(c);
		if (sh->member[i] >= m->nnodes)
			cur_fail(c);
		for (unsigned k = 0; k < i; k++) {
			if (sh->member[k] == sh->member[i])
				cur_fail(c);
		}
	}
	/* whoever serves is in sync, and stands first */
	if (sh->primary != RING_NONE && (sh->nmembers == 0 || sh->member[0] != sh->primary))
		cur_fail(c);
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
	head.keeper = cur_u16(&c);
	head.nnodes = cur_u32(&c);
	if (!cur_ok(&c) || head.epoch == 0 || head.shard_bits < 1 ||
		head.shard_bits > RING_SHARD_BITS_MAX || head.replicas < 1 ||
		head.replicas > RING_REPLICAS_MAX || head.nnodes < 1 ||
		head.nnodes > RING_NODES_MAX || head.keeper >= head.nnodes)
		return -EBADMSG;
	/* what is allocated stands in proportion to what was sent */
	if (c.left < (size_t)head.nnodes * RING_NODE_LEN_MIN +
			     ((size_t)RING_SHARD_LEN_MIN << head.shard_bits))
		return -EBADMSG;
	m = map_new(head.shard_bits, head.nnodes);
	memcpy(m->fsid, fsid, sizeof(m->fsid));
	m->epoch = head.epoch;
	m->replicas = head.replicas;
	m->min_in_sync = 1;
	m->keeper = head.keeper;
	for (unsigned i = 0; i < m->nnodes && cur_ok(&c); i++)
		get_node(&c, &m->nodes[i]);
	for (unsigned s = 0; s < ring_nshards(m) && cur_ok(&c); s++)
		get_shard(&c, m, &m->shards[s]);
	if (!cur_done(&c) || !nodes_valid(m)) {
		ring_unref(m);
		return -EBADMSG;
	}
	*out = m;
	return 0;
}

bool ring_one_log(const struct ring_map *m, const uint16_t *shards, unsigned n)
{
	uint16_t primary = m->shards[shards[0]].primary;
	bool one = true, sole = true;

	for (unsigned i = 0; i < n; i++) {
		const struct ring_shard *s = &m->shards[shards[i]];

		if (s->primary != primary)
			return false;
		one &= shards[i] == shards[0];
		sole &= s->nmembers == 1 && !s->nlearners;
	}
	return primary != RING_NONE && (one || sole);
}
