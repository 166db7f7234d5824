/*
 * Ring maps: made, copied, counted, checked and found in. The arithmetic of placement is in
 * place.c, the layout in ring_code.c and ring_diff.c.
 */
#include "dht/ring/ring.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/ring/place.h"
#include "dht/ring/ring_int.h"

struct ring_map *ring_new(unsigned shard_bits, unsigned nnodes, unsigned nfenced)
{
	struct ring_map *m = mem_zalloc(sizeof(*m));

	m->refs = 1;
	m->shard_bits = (uint8_t)shard_bits;
	m->nnodes = nnodes;
	m->nfenced = nfenced;
	m->nodes = mem_zalloc(nnodes * sizeof(*m->nodes));
	m->fenced = nfenced ? mem_zalloc(nfenced * sizeof(*m->fenced)) : NULL;
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

bool ring_node_valid(const struct ring_node *n)
{
	if (n->witness && n->weight > 0)
		return false;
	if (!text_fits(n->zone, RING_ZONE_MAX))
		return false;
	if (n->naddrs < 1 || n->naddrs > RING_ADDRS_MAX)
		return false;
	for (unsigned a = 0; a < n->naddrs; a++) {
		if (!n->addr[a][0] || !text_fits(n->addr[a], ENV_ADDR_MAX))
			return false;
	}
	return true;
}

static int compare_numbers(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Numbers that were given are distinct, and below the next one. */
static bool numbers_valid(const struct ring_map *m)
{
	uint32_t *number = mem_zalloc(m->nnodes * sizeof(*number));
	bool valid = m->next_number > 0;

	for (unsigned i = 0; i < m->nnodes; i++)
		number[i] = m->nodes[i].number;
	qsort(number, m->nnodes, sizeof(*number), compare_numbers);
	for (unsigned i = 1; i < m->nnodes; i++)
		valid &= number[i] == 0 || number[i] != number[i - 1];
	valid &= number[m->nnodes - 1] < m->next_number;
	free(number);
	return valid;
}

bool ring_nodes_valid(const struct ring_map *m)
{
	bool placeable = false;

	if (m->nnodes < 1 || m->nnodes > RING_NODES_MAX)
		return false;
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (i > 0 && orbit_id_cmp(&m->nodes[i - 1].id, &m->nodes[i].id) >= 0)
			return false;
		if (!ring_node_valid(&m->nodes[i]))
			return false;
		placeable |= ring_placeable(&m->nodes[i]);
	}
	return placeable && numbers_valid(m);
}

bool ring_shard_valid(const struct ring_map *m, const struct ring_shard *s)
{
	if (s->nmembers < 1 || s->nmembers > RING_REPLICAS_MAX || s->nlearners > RING_LEARNERS_MAX)
		return false;
	if (s->suspect >> s->nmembers)
		return false;
	/* whoever serves is in sync, and stands first */
	if (s->primary != RING_NONE && s->member[0] != s->primary)
		return false;
	for (unsigned i = 0; i < s->nmembers + s->nlearners; i++) {
		bool learner = i >= s->nmembers;
		uint16_t node = learner ? s->learner[i - s->nmembers] : s->member[i];

		if (node >= m->nnodes || m->nodes[node].witness)
			return false;
		for (unsigned k = 0; k < s->nmembers && k < i; k++) {
			if (s->member[k] == node)
				return false;
		}
		for (unsigned k = s->nmembers; k < i; k++) {
			if (s->learner[k - s->nmembers] == node)
				return false;
		}
	}
	return true;
}

bool ring_map_valid(const struct ring_map *m)
{
	if (m->epoch == 0 || m->shard_bits < 1 || m->shard_bits > RING_SHARD_BITS_MAX ||
		m->replicas < 1 || m->replicas > RING_REPLICAS_MAX || m->min_in_sync < 1 ||
		m->min_in_sync > m->replicas || m->keeper >= m->nnodes)
		return false;
	if (!ring_nodes_valid(m) || m->nfenced > RING_FENCED_MAX)
		return false;
	for (unsigned i = 0; i < m->nfenced; i++) {
		if (m->fenced[i] == 0 || m->fenced[i] > RING_SESSION_MAX ||
			(i > 0 && m->fenced[i] <= m->fenced[i - 1]))
			return false;
	}
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (!ring_shard_valid(m, &m->shards[s]))
			return false;
	}
	return true;
}

/* Lays every shard where placement wants it: its first copies, as many as there are nodes for. */
static int place_all(struct ring_map *m)
{
	uint16_t *cand = mem_zalloc(m->nnodes * sizeof(*cand)), out[RING_REPLICAS_MAX];
	uint64_t *x = mem_zalloc(m->nnodes * PLACE_GROUP * sizeof(*x));
	unsigned n = place_candidates(m, NULL, cand);
	struct place_hash hash;
	int rc = place_hash_init(&hash);

	for (unsigned s = 0; s < ring_nshards(m) && !rc; s++) {
		struct ring_shard *sh = &m->shards[s];

		for (unsigned i = 0; i < n && s % PLACE_GROUP == 0 && !rc; i++)
			rc = place_draw(&hash, &m->nodes[cand[i]].id, (uint16_t)(s / PLACE_GROUP),
				x + i * PLACE_GROUP);
		if (rc)
			break;
		sh->nmembers = (uint8_t)place_choose(
			m, cand, x + s % PLACE_GROUP, PLACE_GROUP, n, out, m->replicas);
		for (unsigned i = 0; i < sh->nmembers; i++)
			sh->member[i] = cand[out[i]];
		sh->primary = sh->member[0];
		sh->term = 1;
	}
	free(x);
	free(cand);
	place_hash_fini(&hash);
	return rc;
}

static bool number_taken(const struct ring_node *nodes, unsigned nnodes, uint32_t number)
{
	for (unsigned i = 0; i < nnodes; i++) {
		if (nodes[i].number == number)
			return true;
	}
	return false;
}

/* Numbers @nodes, which are in the order given, where they have none; what the next one gets. */
static uint32_t number_all(struct ring_node *nodes, unsigned nnodes)
{
	uint32_t next = 1, above = 0;

	for (unsigned i = 0; i < nnodes; i++) {
		if (nodes[i].number == 0) {
			while (number_taken(nodes, nnodes, next))
				next++;
			nodes[i].number = next++;
		}
		if (nodes[i].number > above)
			above = nodes[i].number;
	}
	return above + 1; /* 0, which no map may have, when there is none above */
}

int ring_make(struct ring_map **out, const uint8_t fsid[16], unsigned shard_bits, unsigned replicas,
	const struct ring_node *nodes, unsigned nnodes)
{
	struct ring_map *m;
	int rc = -EINVAL;

	if (shard_bits < 1 || shard_bits > RING_SHARD_BITS_MAX || replicas < 1 ||
		replicas > RING_REPLICAS_MAX || nnodes < 1 || nnodes > RING_NODES_MAX)
		return -EINVAL;
	m = ring_new(shard_bits, nnodes, 0);
	m->epoch = 1;
	memcpy(m->fsid, fsid, sizeof(m->fsid));
	m->replicas = (uint8_t)replicas;
	m->min_in_sync = 1;
	memcpy(m->nodes, nodes, nnodes * sizeof(*nodes));
	m->next_number = number_all(m->nodes, nnodes);
	qsort(m->nodes, nnodes, sizeof(*m->nodes), compare_nodes);
	if (!ring_nodes_valid(m))
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

struct ring_map *ring_draft(const struct ring_map *m)
{
	struct ring_map *d = ring_new(m->shard_bits, m->nnodes, m->nfenced);
	struct ring_node *nodes = d->nodes;
	struct ring_shard *shards = d->shards;
	uint32_t *fenced = d->fenced;

	*d = *m;
	d->refs = 1;
	d->epoch++;
	d->nodes = memcpy(nodes, m->nodes, m->nnodes * sizeof(*nodes));
	d->shards = memcpy(shards, m->shards, ring_nshards(m) * sizeof(*shards));
	d->fenced = fenced;
	if (fenced)
		memcpy(fenced, m->fenced, m->nfenced * sizeof(*fenced));
	return d;
}

static int place_of(const uint16_t *nodes, unsigned n, uint16_t node)
{
	for (unsigned i = 0; i < n; i++) {
		if (nodes[i] == node)
			return (int)i;
	}
	return -1;
}

int ring_member(const struct ring_shard *s, uint16_t node)
{
	return place_of(s->member, s->nmembers, node);
}

int ring_learner(const struct ring_shard *s, uint16_t node)
{
	return place_of(s->learner, s->nlearners, node);
}

uint16_t ring_find_number(const struct ring_map *m, uint32_t number)
{
	for (unsigned i = 0; number && i < m->nnodes; i++) {
		if (m->nodes[i].number == number)
			return (uint16_t)i;
	}
	return RING_NONE;
}

bool ring_embedded(const struct ring_map *m)
{
	static const char local[] = "local:";

	if (m->nnodes != 1 || !m->nodes[0].naddrs)
		return false;
	for (unsigned i = 0; i < m->nodes[0].naddrs; i++) {
		if (strncmp(m->nodes[0].addr[i], local, sizeof(local) - 1))
			return false;
	}
	return true;
}

bool ring_fenced(const struct ring_map *m, uint32_t session)
{
	unsigned lo = 0, hi = m->nfenced;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (m->fenced[mid] == session)
			return true;
		if (session < m->fenced[mid])
			hi = mid;
		else
			lo = mid + 1;
	}
	return false;
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
	uint16_t *cand = mem_zalloc(m->nnodes * sizeof(*cand));
	uint64_t *x = mem_zalloc(m->nnodes * PLACE_GROUP * sizeof(*x));
	unsigned n = place_candidates(m, NULL, cand);
	struct place_hash hash;
	int rc = place_hash_init(&hash);

	for (unsigned i = 0; i < n && !rc; i++)
		rc = place_draw(&hash, &m->nodes[cand[i]].id, (uint16_t)(shard / PLACE_GROUP),
			x + i * PLACE_GROUP);
	/* a few bytes of the hash's own bookkeeping: as mem.h, there is no going on without */
	if (rc)
		abort();
	n = place_choose(m, cand, x + shard % PLACE_GROUP, PLACE_GROUP, n, out, want);
	for (unsigned i = 0; i < n; i++)
		out[i] = cand[out[i]];
	free(x);
	free(cand);
	place_hash_fini(&hash);
	return n;
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
