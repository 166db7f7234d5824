/*
 * From one map to a later one: docs/PROTOCOL.md, "Differences".
 *
 * Nodes are named by ID; one that comes or goes shifts the indices of those behind it, so shards
 * are compared, and carried over, with their indices translated. A node that goes while one with
 * its number comes is the same one under a new ID: shards follow it without being listed.
 *
 * A difference that would be longer than the map itself carries the map.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/ring/ring_int.h"

#define DIFF_MAGIC 0x46494452u /* "RDIF" */
#define DIFF_FORMAT 1

/* ---- what both sides do ---- */

/* Where each node of @from is in @to, whose nodes are complete; RING_NONE: gone. Free it. */
static uint16_t *translate(const struct ring_map *from, const struct ring_map *to)
{
	uint16_t *map = mem_zalloc(from->nnodes * sizeof(*map));
	unsigned k = 0;

	for (unsigned i = 0; i < from->nnodes; i++) {
		int order = -1;

		while (k < to->nnodes &&
			(order = orbit_id_cmp(&to->nodes[k].id, &from->nodes[i].id)) < 0)
			k++;
		map[i] = k < to->nnodes && order == 0 ? (uint16_t)k
						      : ring_find_number(to, from->nodes[i].number);
	}
	return map;
}

static uint16_t translated(const uint16_t *map, uint16_t node)
{
	return node == RING_NONE ? RING_NONE : map[node];
}

/* @s as it is when only indices changed. False: it names a node that is gone. */
static bool carry_shard(const uint16_t *map, const struct ring_shard *s, struct ring_shard *out)
{
	bool whole = true;

	*out = *s;
	out->primary = translated(map, s->primary);
	for (unsigned i = 0; i < s->nmembers; i++) {
		out->member[i] = map[s->member[i]];
		whole &= out->member[i] != RING_NONE;
	}
	for (unsigned i = 0; i < s->nlearners; i++) {
		out->learner[i] = map[s->learner[i]];
		whole &= out->learner[i] != RING_NONE;
	}
	return whole;
}

static bool same_shard(const struct ring_shard *a, const struct ring_shard *b)
{
	return a->term == b->term && a->primary == b->primary && a->nmembers == b->nmembers &&
	       a->nlearners == b->nlearners && a->suspect == b->suspect &&
	       memcmp(a->member, b->member, a->nmembers * sizeof(*a->member)) == 0 &&
	       memcmp(a->learner, b->learner, a->nlearners * sizeof(*a->learner)) == 0;
}

/* ---- writing ---- */

static bool same_node(const struct ring_node *a, const struct ring_node *b)
{
	if (orbit_id_cmp(&a->id, &b->id) || a->number != b->number ||
		a->incarnation != b->incarnation || a->up != b->up || a->leaving != b->leaving ||
		a->witness != b->witness || a->voter != b->voter || a->weight != b->weight ||
		a->naddrs != b->naddrs || strncmp(a->zone, b->zone, RING_ZONE_MAX))
		return false;
	for (unsigned i = 0; i < a->naddrs; i++) {
		if (strncmp(a->addr[i], b->addr[i], ENV_ADDR_MAX))
			return false;
	}
	return true;
}

/* u32 count and the IDs that @to lacks, u32 count and the nodes that are new or changed. */
static void put_nodes(struct buf *b, const struct ring_map *from, const struct ring_map *to)
{
	size_t at = b->len;
	uint32_t n = 0;

	buf_u32(b, 0);
	for (unsigned i = 0; i < from->nnodes; i++) {
		if (ring_find(to, &from->nodes[i].id) != RING_NONE)
			continue;
		buf_bytes(b, from->nodes[i].id.b, ORBIT_ID_LEN);
		n++;
	}
	if (b->err)
		return;
	buf_set_u32(b, at, n);
	at = b->len;
	n = 0;
	buf_u32(b, 0);
	for (unsigned i = 0; i < to->nnodes; i++) {
		uint16_t was = ring_find(from, &to->nodes[i].id);

		if (was != RING_NONE && same_node(&from->nodes[was], &to->nodes[i]))
			continue;
		ring_put_node(b, &to->nodes[i]);
		n++;
	}
	if (!b->err)
		buf_set_u32(b, at, n);
}

/* u32 count and the sessions that @a has and @b lacks. */
static void put_fenced(struct buf *out, const struct ring_map *a, const struct ring_map *b)
{
	size_t at = out->len;
	uint32_t n = 0;

	buf_u32(out, 0);
	for (unsigned i = 0, k = 0; i < a->nfenced; i++) {
		while (k < b->nfenced && b->fenced[k] < a->fenced[i])
			k++;
		if (k < b->nfenced && b->fenced[k] == a->fenced[i])
			continue;
		buf_u32(out, a->fenced[i]);
		n++;
	}
	if (!out->err)
		buf_set_u32(out, at, n);
}

static void put_shards(struct buf *b, const struct ring_map *from, const struct ring_map *to)
{
	uint16_t *map = translate(from, to);
	size_t at = b->len;
	uint32_t n = 0;

	buf_u32(b, 0);
	for (unsigned s = 0; s < ring_nshards(to); s++) {
		struct ring_shard was;

		if (carry_shard(map, &from->shards[s], &was) && same_shard(&was, &to->shards[s]))
			continue;
		buf_u16(b, (uint16_t)s);
		ring_put_shard(b, &to->shards[s]);
		n++;
	}
	if (!b->err)
		buf_set_u32(b, at, n);
	free(map);
}

static void put_head(struct buf *b, bool whole, uint64_t epoch)
{
	buf_u32(b, DIFF_MAGIC);
	buf_u16(b, DIFF_FORMAT);
	buf_u8(b, whole);
	buf_u64(b, epoch);
}

void ring_diff(const struct ring_map *from, const struct ring_map *to, struct buf *b)
{
	size_t start = b->len;

	if (from && from->shard_bits == to->shard_bits) {
		put_head(b, false, from->epoch);
		buf_bytes(b, to->fsid, sizeof(to->fsid));
		buf_u64(b, to->epoch);
		buf_u8(b, to->replicas);
		buf_u8(b, to->min_in_sync);
		buf_u16(b, to->keeper);
		buf_u32(b, to->next_number);
		put_nodes(b, from, to);
		put_fenced(b, from, to);
		put_fenced(b, to, from);
		put_shards(b, from, to);
		if (b->err)
			return;
		buf_u32(b, crc32c(b->data + start, b->len - start));
		if (b->len - start <= ring_encoded_len(to))
			return;
		b->len = start;
	}
	put_head(b, true, from ? from->epoch : 0);
	ring_encode(to, b);
}

/* ---- reading ---- */

/* A count of things of at least @each bytes, at most @max of them. */
static uint32_t get_count(struct cur *c, size_t each, uint32_t max)
{
	uint32_t n = cur_u32(c);

	if (n > max || n > c->left / each) {
		cur_fail(c);
		return 0;
	}
	return n;
}

struct node_changes {
	struct cur gone; /* IDs */
	struct ring_node *set;
	uint32_t ngone, nset;
};

static void get_nodes(struct cur *c, struct node_changes *ch)
{
	const void *ids;

	ch->ngone = get_count(c, ORBIT_ID_LEN, RING_NODES_MAX);
	ids = cur_bytes(c, (size_t)ch->ngone * ORBIT_ID_LEN);
	ch->gone = cur_of(ids, ids ? (size_t)ch->ngone * ORBIT_ID_LEN : 0);
	ch->nset = get_count(c, RING_NODE_LEN_MIN, RING_NODES_MAX);
	ch->set = mem_zalloc((ch->nset + 1) * sizeof(*ch->set));
	for (uint32_t i = 0; i < ch->nset && cur_ok(c); i++)
		ring_get_node(c, &ch->set[i]);
}

/* The nodes of @from without those that are gone and with those that are set, in order. Every one
 * that is gone was there, each list ascends. Returns how many, or -EBADMSG. */
static int merge_nodes(const struct ring_map *from, struct node_changes *ch, struct ring_node *out)
{
	unsigned i = 0, k = 0, n = 0;
	const struct orbit_id *gone = cur_bytes(&ch->gone, ORBIT_ID_LEN);

	while (i < from->nnodes || k < ch->nset) {
		int order = i == from->nnodes ? 1
			    : k == ch->nset   ? -1
					      : orbit_id_cmp(&from->nodes[i].id, &ch->set[k].id);

		if (order <= 0 && gone && !orbit_id_cmp(gone, &from->nodes[i].id)) {
			if (order == 0)
				return -EBADMSG;
			gone = cur_bytes(&ch->gone, ORBIT_ID_LEN);
			i++;
			continue;
		}
		out[n++] = order < 0 ? from->nodes[i] : ch->set[k];
		i += order <= 0;
		k += order >= 0;
	}
	return gone ? -EBADMSG : (int)n;
}

static uint32_t listed(const void *list, uint32_t i)
{
	struct cur c = cur_of((const uint8_t *)list + 4 * (size_t)i, 4);

	return cur_u32(&c);
}

/* The fenced sessions of @from, without and with those listed. That the result ascends is checked
 * with the map. */
static void get_fenced(struct cur *c, const struct ring_map *from, struct ring_map *m)
{
	uint32_t ngone = get_count(c, 4, RING_FENCED_MAX), nnew, g = 0, k = 0;
	const void *gone = cur_bytes(c, 4 * (size_t)ngone), *new;

	nnew = get_count(c, 4, RING_FENCED_MAX);
	new = cur_bytes(c, 4 * (size_t)nnew);
	if (!cur_ok(c))
		return;
	m->fenced = mem_zalloc((from->nfenced + (size_t)nnew + 1) * sizeof(*m->fenced));
	for (uint32_t i = 0; i < from->nfenced || k < nnew;) {
		if (i == from->nfenced || (k < nnew && listed(new, k) < from->fenced[i])) {
			m->fenced[m->nfenced++] = listed(new, k++);
			continue;
		}
		if (g < ngone && listed(gone, g) == from->fenced[i])
			g++;
		else
			m->fenced[m->nfenced++] = from->fenced[i];
		i++;
	}
	if (g < ngone)
		cur_fail(c);
}

/* Shards: those listed as they are, the others as they were. */
static void get_shards(struct cur *c, const struct ring_map *from, struct ring_map *m)
{
	uint32_t n = get_count(c, 2 + RING_SHARD_LEN_MIN, ring_nshards(m));
	uint16_t *map = translate(from, m);
	uint32_t next = n ? cur_u16(c) : UINT32_MAX;

	for (uint32_t s = 0; s < ring_nshards(m) && cur_ok(c); s++) {
		if (s != next) {
			if (!carry_shard(map, &from->shards[s], &m->shards[s]))
				cur_fail(c);
			continue;
		}
		ring_get_shard(c, &m->shards[s]);
		next = --n ? cur_u16(c) : UINT32_MAX;
		if (next <= s)
			cur_fail(c);
	}
	if (n)
		cur_fail(c);
	free(map);
}

static int patch_whole(const struct ring_map *from, struct cur *c, struct ring_map **out)
{
	struct ring_map *m;
	int rc = ring_decode(c->p, c->left, &m);

	if (rc)
		return rc;
	if (from && (m->epoch <= from->epoch || m->shard_bits != from->shard_bits ||
			    memcmp(m->fsid, from->fsid, sizeof(m->fsid)))) {
		ring_unref(m);
		return -EBADMSG;
	}
	*out = m;
	return 0;
}

static int patch_changes(const struct ring_map *from, struct cur *c, struct ring_map **out)
{
	const void *fsid = cur_bytes(c, sizeof(from->fsid));
	struct ring_map *m = NULL, head = {0};
	struct node_changes ch = {0};
	int n = -EBADMSG;

	head.epoch = cur_u64(c);
	head.replicas = cur_u8(c);
	head.min_in_sync = cur_u8(c);
	head.keeper = cur_u16(c);
	head.next_number = cur_u32(c);
	if (!cur_ok(c) || head.epoch <= from->epoch || memcmp(fsid, from->fsid, sizeof(from->fsid)))
		return -EBADMSG;
	get_nodes(c, &ch);
	if (!cur_ok(c))
		goto done;
	m = ring_new(from->shard_bits, from->nnodes + ch.nset, 0);
	memcpy(m->fsid, fsid, sizeof(m->fsid));
	m->epoch = head.epoch;
	m->replicas = head.replicas;
	m->min_in_sync = head.min_in_sync;
	m->keeper = head.keeper;
	m->next_number = head.next_number;
	n = merge_nodes(from, &ch, m->nodes);
	if (n <= 0)
		goto done;
	m->nnodes = (unsigned)n;
	get_fenced(c, from, m);
	get_shards(c, from, m);
done:
	free(ch.set);
	if (n <= 0 || !cur_done(c) || !ring_map_valid(m)) {
		ring_unref(m);
		return -EBADMSG;
	}
	*out = m;
	return 0;
}

int ring_patch(const struct ring_map *from, const void *data, size_t len, struct ring_map **out)
{
	struct cur c = cur_of(data, len), tail;
	uint8_t whole;
	uint64_t epoch;

	if (cur_u32(&c) != DIFF_MAGIC || cur_u16(&c) != DIFF_FORMAT)
		return -EBADMSG;
	whole = cur_u8(&c);
	epoch = cur_u64(&c);
	if (!cur_ok(&c) || whole > 1 || c.left < 4)
		return -EBADMSG;
	if (!whole) {
		tail = cur_of((const uint8_t *)data + len - 4, 4);
		if (cur_u32(&tail) != crc32c(data, len - 4))
			return -EBADMSG;
		c.left -= 4;
	}
	if (epoch != (from ? from->epoch : 0))
		return -ESTALE;
	if (whole)
		return patch_whole(from, &c, out);
	return from ? patch_changes(from, &c, out) : -EBADMSG;
}
