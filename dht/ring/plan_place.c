/*
 * Where placement wants each shard, kept while nodes come and go.
 *
 * For each shard the nodes chosen and what they drew. That follows a change of nodes without
 * drawing all again, because for the choice of place_choose() (the best of each zone, then the
 * best of the rest, k in all):
 *
 * - with one node more, the choice is among those chosen before and the new one;
 * - with one node less, which was not chosen, the choice is the same.
 *
 * So a node that comes draws once per four shards, and one that goes leaves only the shards that
 * had it to be chosen anew. A node with another weight or zone is one that went and came.
 */
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/ring/plan_int.h"

#define TAKE_IN_MAX 32 /* nodes that came at once */

struct place_node {
	struct orbit_id id;
	uint32_t weight;
	bool usable;
	char zone[RING_ZONE_MAX];
};

struct place_shard {
	bool known;
	uint8_t n;
	uint16_t node[RING_REPLICAS_MAX];
	uint64_t x[RING_REPLICAS_MAX];
};

struct plan_places {
	unsigned nnodes, shard_bits, want;
	struct place_node *nodes; /* as in the map followed last */
	struct place_shard *shards;
	unsigned next; /* where to look for one that is not known */
	struct place_hash hash;
};

void plan_cache_fini(struct plan_cache *c)
{
	if (!c->places)
		return;
	place_hash_fini(&c->places->hash);
	free(c->places->nodes);
	free(c->places->shards);
	free(c->places);
	*c = (struct plan_cache){0};
}

static void describe(const struct ring_map *m, const bool *gone, unsigned i, struct place_node *out)
{
	const struct ring_node *n = &m->nodes[i];

	*out = (struct place_node){.id = n->id,
		.weight = n->weight,
		.usable = ring_placeable(n) && !(gone && gone[i])};
	memcpy(out->zone, n->zone, strnlen(n->zone, RING_ZONE_MAX - 1));
}

static bool same_place(const struct place_node *a, const struct place_node *b)
{
	return a->weight == b->weight && strcmp(a->zone, b->zone) == 0;
}

static void forget_all(struct plan_cache *c)
{
	unsigned nshards = 1u << c->places->shard_bits;

	for (unsigned s = 0; s < nshards; s++)
		c->places->shards[s].known = false;
	c->pending = nshards;
}

static void draw(struct plan_places *p, const struct ring_map *m, unsigned node, unsigned group,
	uint64_t x[PLACE_GROUP])
{
	/* a few bytes of the hash's own bookkeeping: as mem.h, there is no going on without */
	if (place_draw(&p->hash, &m->nodes[node].id, (uint16_t)group, x))
		abort();
}

/* The indices of nodes became those of @map; RING_NONE: no longer there. */
static void carry_over(struct plan_cache *c, const uint16_t *map)
{
	struct plan_places *p = c->places;

	for (unsigned s = 0; s < 1u << p->shard_bits; s++) {
		struct place_shard *sh = &p->shards[s];
		bool known = sh->known;

		for (unsigned i = 0; i < sh->n && known; i++) {
			sh->node[i] = map[sh->node[i]];
			known = sh->node[i] != RING_NONE;
		}
		if (!known && sh->known)
			c->pending++;
		sh->known = known;
	}
}

/* @node came: it may be among those chosen. */
static void take_in(struct plan_places *p, const struct ring_map *m, uint16_t node)
{
	uint64_t drawn[PLACE_GROUP], x[RING_REPLICAS_MAX + 1];
	uint16_t cand[RING_REPLICAS_MAX + 1], out[RING_REPLICAS_MAX];

	for (unsigned s = 0; s < 1u << p->shard_bits; s++) {
		struct place_shard *sh = &p->shards[s];

		if (s % PLACE_GROUP == 0)
			draw(p, m, node, s / PLACE_GROUP, drawn);
		if (!sh->known)
			continue;
		memcpy(cand, sh->node, sh->n * sizeof(*cand));
		memcpy(x, sh->x, sh->n * sizeof(*x));
		cand[sh->n] = node;
		x[sh->n] = drawn[s % PLACE_GROUP];
		sh->n = (uint8_t)place_choose(m, cand, x, 1, sh->n + 1u, out, p->want);
		for (unsigned i = 0; i < sh->n; i++) {
			sh->node[i] = cand[out[i]];
			sh->x[i] = x[out[i]];
		}
	}
}

/* Draws for shards that are not known, group by group. */
static void compute(struct plan_cache *c, const struct ring_map *m, unsigned draws)
{
	struct plan_places *p = c->places;
	unsigned mask = (1u << p->shard_bits) - 1, spent = 0, n = 0;
	uint16_t *cand = mem_zalloc(m->nnodes * sizeof(*cand)), out[RING_REPLICAS_MAX];
	uint64_t *x = mem_zalloc(m->nnodes * PLACE_GROUP * sizeof(*x));

	for (unsigned i = 0; i < m->nnodes; i++) {
		if (p->nodes[i].usable)
			cand[n++] = (uint16_t)i;
	}
	while (c->pending && (!draws || spent < draws)) {
		unsigned group;

		while (p->shards[p->next].known)
			p->next = (p->next + 1) & mask;
		group = p->next / PLACE_GROUP;
		for (unsigned i = 0; i < n; i++)
			draw(p, m, cand[i], group, x + i * PLACE_GROUP);
		spent += n;
		for (unsigned s = group * PLACE_GROUP; s <= mask && s / PLACE_GROUP == group; s++) {
			struct place_shard *sh = &p->shards[s];
			const uint64_t *mine = x + s % PLACE_GROUP;

			if (sh->known)
				continue;
			sh->n = (uint8_t)place_choose(m, cand, mine, PLACE_GROUP, n, out, p->want);
			for (unsigned i = 0; i < sh->n; i++) {
				sh->node[i] = cand[out[i]];
				sh->x[i] = mine[out[i] * PLACE_GROUP];
			}
			sh->known = true;
			c->pending--;
		}
	}
	free(cand);
	free(x);
}

static void begin(struct plan_cache *c, const struct ring_map *m)
{
	struct plan_places *p = c->places;

	if (p && (p->shard_bits != m->shard_bits || p->want != m->replicas))
		plan_cache_fini(c);
	if (c->places)
		return;
	p = c->places = mem_zalloc(sizeof(*p));
	p->shard_bits = m->shard_bits;
	p->want = m->replicas;
	p->shards = mem_zalloc(ring_nshards(m) * sizeof(*p->shards));
	if (place_hash_init(&p->hash))
		abort(); /* as in draw() */
	forget_all(c);
}

/* Which of the nodes now in @m are as they were, as a map from the old indices and a list of those
 * that came. How many came. */
static unsigned compare(struct plan_places *p, const struct ring_map *m, const bool *gone,
	uint16_t *map, uint16_t *came)
{
	struct place_node *now = mem_zalloc(m->nnodes * sizeof(*now));
	unsigned ncame = 0, k = 0;

	for (unsigned i = 0; i < p->nnodes; i++)
		map[i] = RING_NONE;
	for (unsigned i = 0; i < m->nnodes; i++) {
		bool was;

		describe(m, gone, i, &now[i]);
		while (k < p->nnodes && orbit_id_cmp(&p->nodes[k].id, &now[i].id) < 0)
			k++;
		was = k < p->nnodes && orbit_id_cmp(&p->nodes[k].id, &now[i].id) == 0 &&
		      p->nodes[k].usable && same_place(&p->nodes[k], &now[i]);
		if (was && now[i].usable)
			map[k] = (uint16_t)i;
		else if (now[i].usable)
			came[ncame++] = (uint16_t)i;
	}
	free(p->nodes);
	p->nodes = now;
	return ncame;
}

void plan_places_follow(
	struct plan_cache *c, const struct ring_map *m, const bool *gone, unsigned draws)
{
	uint16_t *map, *came;
	unsigned ncame;

	begin(c, m);
	map = mem_zalloc((c->places->nnodes + 1) * sizeof(*map));
	came = mem_zalloc(m->nnodes * sizeof(*came));
	ncame = compare(c->places, m, gone, map, came);
	carry_over(c, map);
	c->places->nnodes = m->nnodes;
	/* taking one in counts for no draws: many are left to compute() */
	if (ncame > TAKE_IN_MAX)
		forget_all(c);
	for (unsigned i = 0; i < ncame && c->pending < ring_nshards(m); i++)
		take_in(c->places, m, came[i]);
	compute(c, m, draws);
	free(map);
	free(came);
}

bool plan_places_of(const struct plan_cache *c, unsigned shard, const uint16_t **nodes, unsigned *n)
{
	const struct place_shard *sh = &c->places->shards[shard];

	*nodes = sh->node;
	*n = sh->n;
	return sh->known;
}
