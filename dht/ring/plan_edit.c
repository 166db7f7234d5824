/*
 * One shard's members while they change. Whatever happened to them in one call, its term counts one
 * when the set, the primary or a member's incarnation is another (or the caller says so).
 */
#include <assert.h>
#include <stdlib.h>

#include "dht/ring/plan_int.h"

void plan_edit_begin(struct plan_edit *e, struct ring_map *m, uint16_t shard)
{
	struct ring_shard *s = &m->shards[shard];

	*e = (struct plan_edit){
		.m = m, .shard = shard, .s = s, .primary = s->primary, .n = s->nmembers};
	for (unsigned i = 0; i < s->nmembers; i++)
		e->copy[i] =
			(struct plan_copy){.node = s->member[i], .suspect = s->suspect >> i & 1};
}

int plan_edit_find(const struct plan_edit *e, uint16_t node)
{
	for (unsigned i = 0; i < e->n; i++) {
		if (e->copy[i].node == node)
			return (int)i;
	}
	return -1;
}

bool plan_edit_end(struct plan_edit *e)
{
	struct ring_shard *s = e->s, was = *s;
	bool other = e->renew || e->n != s->nmembers || e->primary != s->primary;
	int first = plan_edit_find(e, e->primary);

	assert(e->n >= 1 && e->n <= RING_REPLICAS_MAX);
	assert(e->primary == RING_NONE || first >= 0);
	for (unsigned i = 0; i < e->n; i++)
		other |= ring_member(s, e->copy[i].node) < 0;
	if (first > 0) {
		struct plan_copy p = e->copy[first];

		memmove(e->copy + 1, e->copy, (unsigned)first * sizeof(*e->copy));
		e->copy[0] = p;
	}
	s->primary = e->primary;
	s->nmembers = (uint8_t)e->n;
	s->suspect = 0;
	for (unsigned i = 0; i < e->n; i++) {
		s->member[i] = e->copy[i].node;
		s->suspect |= (uint8_t)(e->copy[i].suspect << i);
		plan_learner_drop(s, e->copy[i].node);
	}
	s->term += other;
	return other || s->suspect != was.suspect || s->nlearners != was.nlearners;
}

void plan_edit_drop(struct plan_edit *e, uint16_t node)
{
	int i = plan_edit_find(e, node);

	if (i < 0)
		return;
	memmove(e->copy + i, e->copy + i + 1, (--e->n - (unsigned)i) * sizeof(*e->copy));
}

bool plan_edit_good(const struct plan_edit *e, uint16_t node)
{
	int i = plan_edit_find(e, node);

	return i >= 0 && !e->copy[i].suspect && e->m->nodes[node].up;
}

unsigned plan_edit_goods(const struct plan_edit *e, uint16_t node, bool up)
{
	unsigned n = 0;

	for (unsigned i = 0; i < e->n; i++) {
		if (e->copy[i].node != node && !e->copy[i].suspect &&
			(!up || e->m->nodes[e->copy[i].node].up))
			n++;
	}
	return n;
}

/* The one of @nodes that comes first in the order of placement; those that placement leaves out
 * come last. */
static uint16_t first_of(const struct plan_edit *e, const uint16_t *nodes, unsigned n)
{
	uint64_t x[PLACE_GROUP], best_x = 0;
	uint16_t best = nodes[0];
	struct place_hash hash;
	int rc;

	if (n == 1)
		return best;
	rc = place_hash_init(&hash);
	for (unsigned i = 0; i < n && !rc; i++) {
		uint16_t node = nodes[i];
		bool fits = ring_placeable(&e->m->nodes[node]);
		bool best_fits = ring_placeable(&e->m->nodes[best]);

		rc = place_draw(&hash, &e->m->nodes[node].id, e->shard / PLACE_GROUP, x);
		if (i > 0 && fits == best_fits &&
			!place_beats(e->m, node, x[e->shard % PLACE_GROUP], best, best_x))
			continue;
		if (i > 0 && !fits && best_fits)
			continue;
		best = node;
		best_x = x[e->shard % PLACE_GROUP];
	}
	place_hash_fini(&hash);
	if (rc)
		abort(); /* a few bytes, as in ring_place() */
	return best;
}

/* Member @i may be primary: it is up, and has all that any has. */
static bool eligible(const struct plan_edit *e, unsigned i, bool any_good)
{
	return e->m->nodes[e->copy[i].node].up && (!e->copy[i].suspect || !any_good);
}

void plan_edit_settle(struct plan_edit *e, uint16_t avoid)
{
	bool any_good = plan_edit_goods(e, RING_NONE, false) > 0;
	int present = plan_edit_find(e, e->primary), last = plan_edit_find(e, avoid);
	uint16_t able[RING_REPLICAS_MAX + 1];
	unsigned n = 0;

	if (present >= 0 && e->primary != avoid && eligible(e, (unsigned)present, any_good))
		return;
	for (unsigned i = 0; i < e->n; i++) {
		if ((int)i != last && eligible(e, i, any_good))
			able[n++] = e->copy[i].node;
	}
	if (n)
		e->primary = first_of(e, able, n);
	else if (last >= 0 && eligible(e, (unsigned)last, any_good))
		e->primary = avoid;
	else if (present < 0 || e->m->nodes[e->primary].up)
		e->primary = RING_NONE; /* it is up, but others have what it lacks */
}

void plan_learner_drop(struct ring_shard *s, uint16_t node)
{
	int i = ring_learner(s, node);

	if (i < 0)
		return;
	memmove(s->learner + i, s->learner + i + 1,
		(--s->nlearners - (unsigned)i) * sizeof(*s->learner));
}
