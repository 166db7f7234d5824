/*
 * A world and a client whose ring map the tests change: what the tests of following it share.
 */
#ifndef ORBIT_TEST_CLIENT_MAP_H
#define ORBIT_TEST_CLIENT_MAP_H

#include "tests/unit/test_client_env.h"

static struct world w;
static struct orbit_client *c;

static inline struct ring_map *next_map(void)
{
	struct ring_map *m = ring_draft(w.map);

	assert_non_null(m);
	ring_unref(w.map);
	return w.map = m;
}

/* All shards of node @from have @to as their primary, and only member, in the next map. */
static inline struct ring_map *fail_over(unsigned from, unsigned to)
{
	struct ring_map *m = next_map();

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].primary != from)
			continue;
		m->shards[s].primary = m->shards[s].member[0] = (uint16_t)to;
		m->shards[s].term++;
	}
	return m;
}

static inline unsigned fetches(void)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < w.nnodes; i++)
		sum += w.node[i]->got[WIRE_MAP_GET];
	return sum;
}

static inline unsigned links_to(const struct fake *n)
{
	struct tlink *t;
	unsigned sum = 0;

	TAILQ_FOREACH (t, &w.links, at)
		sum += t->node == n && t->pub && t->up;
	return sum;
}

static inline struct orbit_client *client_of(unsigned seed)
{
	struct orbit_config cfg = orbit_config_default();

	cfg.seeds[cfg.nseeds++] = w.node[seed]->addr;
	return client_with(&w, &cfg);
}

static inline void begin(unsigned nodes)
{
	world_init(&w, nodes, 1);
	c = client_ready(&w);
}

static inline void end(void)
{
	assert_idle(c);
	client_gone(&w, c);
	world_fini(&w);
}

#endif
