#include "tools/common/health.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool may_hold(const struct ring_node *n)
{
	return n->weight && !n->witness && !n->leaving;
}

/* Copies that a shard can be expected to have. */
static unsigned wanted(const struct ring_map *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->nnodes && n < m->replicas; i++)
		n += may_hold(&m->nodes[i]);
	return n;
}

static unsigned good_members(const struct ring_map *m, const struct ring_shard *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nmembers; i++)
		n += m->nodes[s->member[i]].up && !(s->suspect & 1u << i);
	return n;
}

static bool served(const struct ring_map *m, const struct ring_shard *s)
{
	return s->primary != RING_NONE && m->nodes[s->primary].up;
}

static enum health_level level_of(
	const struct ring_map *m, const struct ring_shard *s, unsigned want)
{
	if (!served(m, s) || s->nmembers < m->min_in_sync)
		return HEALTH_UNAVAILABLE;
	if (good_members(m, s) >= want)
		return HEALTH_GOOD;
	for (unsigned i = 0; i < s->nlearners; i++) {
		if (m->nodes[s->learner[i]].up)
			return HEALTH_RECOVERING;
	}
	return HEALTH_DEGRADED;
}

enum health_level health_shard(const struct ring_map *m, const struct ring_shard *s)
{
	return level_of(m, s, wanted(m));
}

static void count_nodes(const struct ring_map *m, struct health *h)
{
	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		h->witnesses += n->witness;
		h->data += !n->witness;
		h->down += !n->up;
		h->leaving += n->leaving;
	}
}

static void count_shards(const struct ring_map *m, struct health *h)
{
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		const struct ring_shard *s = &m->shards[i];

		switch (level_of(m, s, h->want)) {
		case HEALTH_GOOD:
			h->healthy++;
			h->moving += s->nlearners > 0;
			break;
		case HEALTH_RECOVERING:
			h->recovering++;
			break;
		case HEALTH_DEGRADED:
			h->degraded++;
			break;
		case HEALTH_UNAVAILABLE:
			h->unavailable++;
			h->unwritable += served(m, s);
			break;
		}
		h->suspect += s->suspect != 0;
	}
}

static void add(struct health *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct health *h, const char *fmt, ...)
{
	size_t len = strlen(h->why);
	va_list ap;

	if (len && len + 2 < sizeof(h->why)) {
		memcpy(h->why + len, ", ", 3);
		len += 2;
	}
	va_start(ap, fmt);
	vsnprintf(h->why + len, sizeof(h->why) - len, fmt, ap);
	va_end(ap);
}

/* "node 2 is down", "3 of 9 nodes are down" */
static void say_down(const struct ring_map *m, struct health *h)
{
	if (h->down > 1)
		add(h, "%u of %u nodes are down", h->down, m->nnodes);
	for (unsigned i = 0; i < m->nnodes && h->down == 1; i++) {
		if (!m->nodes[i].up)
			add(h, "node %u is down", m->nodes[i].number);
	}
}

void health_of(const struct ring_map *m, bool leader, struct health *h)
{
	*h = (struct health){.want = wanted(m)};
	count_nodes(m, h);
	count_shards(m, h);
	if (h->unavailable)
		h->level = HEALTH_UNAVAILABLE;
	else if (h->recovering)
		h->level = HEALTH_RECOVERING;
	else if (h->degraded || h->down || !leader)
		h->level = HEALTH_DEGRADED;
	if (h->unavailable > h->unwritable)
		add(h, "%u shards are served by nobody", h->unavailable - h->unwritable);
	if (h->unwritable)
		add(h, "%u shards have less than %u copies and take no writes", h->unwritable,
			m->min_in_sync);
	if (!leader)
		add(h, "the keeper has no leader");
	say_down(m, h);
	if (h->recovering || h->degraded)
		add(h, "%u shards have fewer than %u copies", h->recovering + h->degraded, h->want);
	if (h->suspect)
		add(h, "%u shards may have lost what was not synced", h->suspect);
}

const char *health_name(enum health_level level)
{
	switch (level) {
	case HEALTH_GOOD:
		return "HEALTHY";
	case HEALTH_RECOVERING:
		return "RECOVERING";
	case HEALTH_DEGRADED:
		return "DEGRADED";
	case HEALTH_UNAVAILABLE:
		break;
	}
	return "UNAVAILABLE";
}

void health_count(const struct ring_map *m, unsigned *serves, unsigned *holds, unsigned *learns)
{
	for (unsigned i = 0; i < m->nnodes; i++)
		serves[i] = holds[i] = learns[i] = 0;
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		const struct ring_shard *s = &m->shards[i];

		if (s->primary != RING_NONE)
			serves[s->primary]++;
		for (unsigned j = 0; j < s->nmembers; j++)
			holds[s->member[j]]++;
		for (unsigned j = 0; j < s->nlearners; j++)
			learns[s->learner[j]]++;
	}
}

void health_order(const struct ring_map *m, uint16_t *order)
{
	for (unsigned i = 0; i < m->nnodes; i++) {
		unsigned at = i;

		for (; at && m->nodes[order[at - 1]].number > m->nodes[i].number; at--)
			order[at] = order[at - 1];
		order[at] = (uint16_t)i;
	}
}
