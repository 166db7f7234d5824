/*
 * Steps towards placement. For a shard whose wanted nodes are W (the first copies of placement, of
 * those that are not gone for good or for long):
 *
 * 1. A member that is down or suspect goes as long as a good one serves; a learner that is down or
 *    not in W ends.
 * 2. Who is in W, is up and has no copy becomes a learner, if it has not too many already. Shards
 *    with the fewest good copies come first.
 * 3. Surplus ones go when there are more copies than W is to have: so one stays for each of W that
 *    is down or not level yet.
 * 4. Once nobody learns any more, the first of W that is a good member and up becomes primary.
 *
 * Nothing is taken from a shard without a primary that is up and good; nor before all who stay have
 * said that they live, after it was seen that there is something to take (struct plan_words): the
 * map may name one that burnt meanwhile, and then who leaves has the only copy.
 */
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/ring/plan_int.h"

struct step {
	struct ring_map *m;
	const struct plan_limits *l;
	const struct plan_cache *c;
	unsigned *learns;   /* shards that each node learns */
	unsigned primaries; /* moved */
	bool *changed;      /* by shard */
	/* shards with nodes that should learn, by the number of good copies they have */
	uint16_t *needy[RING_REPLICAS_MAX + 1];
	unsigned nneedy[RING_REPLICAS_MAX + 1];
};

static bool among(const uint16_t *nodes, unsigned n, uint16_t node)
{
	for (unsigned i = 0; i < n; i++) {
		if (nodes[i] == node)
			return true;
	}
	return false;
}

/* Has a primary that can bring others level. */
static bool serves(const struct plan_edit *e)
{
	return e->primary != RING_NONE && plan_edit_good(e, e->primary);
}

/* Rule 1, learners. */
static void end_learners(struct ring_map *m, struct ring_shard *s, const uint16_t *want, unsigned n)
{
	for (unsigned i = s->nlearners; i-- > 0;) {
		if (!m->nodes[s->learner[i]].up || !among(want, n, s->learner[i]))
			plan_learner_drop(s, s->learner[i]);
	}
}

/* Rule 1, members. */
static void drop_bad(struct plan_edit *e)
{
	for (unsigned i = e->n; i-- > 0;) {
		uint16_t node = e->copy[i].node;

		if (!plan_edit_good(e, node))
			plan_edit_drop(e, node);
	}
}

/* Rule 3: who goes first, of those not wanted: who leaves anyway. */
static uint16_t next_surplus(const struct plan_edit *e, const uint16_t *want, unsigned n)
{
	uint16_t found = RING_NONE;

	for (unsigned i = e->n; i-- > 0;) {
		uint16_t node = e->copy[i].node;

		if (among(want, n, node) || node == e->primary)
			continue;
		if (found == RING_NONE || !ring_placeable(&e->m->nodes[node]))
			found = node;
	}
	return found;
}

/* Somebody is to leave @e to those it now has. */
static bool stayers_live(const struct step *st, const struct plan_edit *e)
{
	const struct plan_words *w = st->l->words;
	uint64_t *since = w ? &w->since[e->shard] : NULL;
	bool all = true;

	if (!w)
		return true;
	if (!*since)
		*since = w->now;
	for (unsigned i = 0; i < e->n; i++) {
		uint16_t node = e->copy[i].node;

		if (w->said[node] >= *since)
			continue;
		w->asked[node] = true;
		all = false;
	}
	return all;
}

/* Rules 3 and 4. */
static void finish_shard(struct step *st, struct plan_edit *e, const uint16_t *want, unsigned n)
{
	uint16_t first = RING_NONE, node;

	for (unsigned i = 0; i < n && first == RING_NONE; i++) {
		if (plan_edit_good(e, want[i]))
			first = want[i];
	}
	if (first != RING_NONE && first != e->primary && !e->s->nlearners &&
		st->primaries < st->l->primaries) {
		e->primary = first;
		st->primaries++;
	}
	while (e->n > n && (node = next_surplus(e, want, n)) != RING_NONE)
		plan_edit_drop(e, node);
}

/* All but rule 2; who is to learn is noted down. */
static void look_at(struct step *st, unsigned shard)
{
	struct ring_shard *s = &st->m->shards[shard];
	unsigned n, had = s->nlearners, goods, primaries = st->primaries;
	struct plan_edit e, was;
	bool waits = false;
	const uint16_t *want;

	plan_edit_begin(&e, st->m, (uint16_t)shard);
	plan_edit_settle(&e, RING_NONE);
	if (plan_places_of(st->c, shard, &want, &n) && n > 0) {
		end_learners(st->m, s, want, n);
		if (serves(&e)) {
			was = e;
			drop_bad(&e);
			finish_shard(st, &e, want, n);
			waits = e.n < was.n && !stayers_live(st, &e);
		}
	} else {
		n = 0;
	}
	if (waits) {
		e = was;
		st->primaries = primaries;
	} else if (st->l->words) {
		st->l->words->since[shard] = 0;
	}
	st->changed[shard] = plan_edit_end(&e) || s->nlearners != had;
	for (unsigned i = 0; i < s->nlearners; i++)
		st->learns[s->learner[i]]++;
	if (!serves(&e))
		return;
	goods = plan_edit_goods(&e, RING_NONE, true);
	for (unsigned i = 0; i < n; i++) {
		if (!st->m->nodes[want[i]].up || ring_member(s, want[i]) >= 0 ||
			ring_learner(s, want[i]) >= 0)
			continue;
		st->needy[goods][st->nneedy[goods]++] = (uint16_t)shard;
		break;
	}
}

/* Rule 2. */
static void teach(struct step *st, unsigned shard)
{
	struct ring_shard *s = &st->m->shards[shard];
	const uint16_t *want;
	unsigned n;

	plan_places_of(st->c, shard, &want, &n);
	for (unsigned i = 0; i < n && s->nlearners < RING_LEARNERS_MAX; i++) {
		uint16_t node = want[i];

		if (!st->m->nodes[node].up || st->learns[node] >= st->l->learners_per_node ||
			ring_member(s, node) >= 0 || ring_learner(s, node) >= 0)
			continue;
		s->learner[s->nlearners++] = node;
		st->learns[node]++;
		st->changed[shard] = true;
	}
}

unsigned plan_step(struct ring_map *m, const struct plan_limits *l, struct plan_cache *c)
{
	struct step st = {.m = m, .l = l, .c = c};
	unsigned nshards = ring_nshards(m), n = 0;

	plan_places_follow(c, m, l->gone, l->draws);
	st.learns = mem_zalloc(m->nnodes * sizeof(*st.learns));
	st.changed = mem_zalloc(nshards * sizeof(*st.changed));
	for (unsigned g = 0; g <= RING_REPLICAS_MAX; g++)
		st.needy[g] = mem_zalloc(nshards * sizeof(**st.needy));
	for (unsigned s = 0; s < nshards; s++)
		look_at(&st, s);
	for (unsigned g = 0; g <= RING_REPLICAS_MAX; g++) {
		for (unsigned i = 0; i < st.nneedy[g]; i++)
			teach(&st, st.needy[g][i]);
		free(st.needy[g]);
	}
	for (unsigned s = 0; s < nshards; s++)
		n += st.changed[s];
	free(st.learns);
	free(st.changed);
	return n;
}

void plan_progress(const struct ring_map *m, const struct plan_limits *l, struct plan_cache *c,
	struct plan_progress *out)
{
	struct plan_cache own = {0};
	unsigned homes = 0;

	*out = (struct plan_progress){0};
	if (!c)
		c = &own;
	plan_places_follow(c, m, l ? l->gone : NULL, l ? l->draws : 0);
	for (unsigned i = 0; i < m->nnodes; i++)
		homes += ring_placeable(&m->nodes[i]);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		const struct ring_shard *sh = &m->shards[s];
		unsigned n, good, missing = 0;
		const uint16_t *want;

		good = sh->nmembers - (unsigned)__builtin_popcount(sh->suspect);
		out->learning += sh->nlearners;
		out->degraded += good < (m->replicas < homes ? m->replicas : homes);
		out->unavailable += sh->primary == RING_NONE || !m->nodes[sh->primary].up;
		if (!plan_places_of(c, s, &want, &n))
			continue;
		for (unsigned i = 0; i < n; i++)
			missing += ring_member(sh, want[i]) < 0;
		out->copies_left += missing;
		out->shards += missing || sh->nmembers != n;
	}
	plan_cache_fini(&own);
}
