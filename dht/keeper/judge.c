/*
 * The leader: which nodes are alive. Each tells so every alive_every. One is taken for dead when it
 * was silent for fail_timeout, counted from when this leader took office at the earliest, or at
 * once when its address refuses connections.
 *
 * A SUSPECT is answered when it is known who is right: if something is heard from the suspect after
 * the report, only what the reporter leads loses it; else it is taken for dead like any other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

struct heard *judge_find(struct keeper *k, uint32_t number)
{
	struct heard *h;

	HASH_FIND(hh, k->lead.heard, &number, sizeof(number), h);
	if (!h) {
		h = mem_zalloc(sizeof(*h));
		h->number = number;
		h->at = h->down_at = k->lead.since;
		HASH_ADD(hh, k->lead.heard, number, sizeof(h->number), h);
	}
	return h;
}

void judge_free(struct keeper *k)
{
	struct heard *h, *tmp;

	HASH_ITER (hh, k->lead.heard, h, tmp) {
		HASH_DEL(k->lead.heard, h);
		free(h);
	}
}

int judge_alive(struct keeper *k, const struct wire_ask_m *m)
{
	const struct ring_map *map = k->state.map;
	uint16_t at = ring_find(map, &m->node);
	struct heard *h;

	if (at == RING_NONE || !map->nodes[at].up || map->nodes[at].incarnation != m->incarnation)
		return -ESTALE;
	h = judge_find(k, map->nodes[at].number);
	h->at = env_now(k->env);
	h->incarnation = m->incarnation;
	h->used = m->used;
	h->available = m->available;
	return 0;
}

void judge_suspect(struct keeper *k, struct ask *a)
{
	uint16_t node = ring_find(k->state.map, &a->m.node);

	if (node == RING_NONE || ring_find(k->state.map, &a->m.by) == RING_NONE) {
		lead_answer(k, a, WIRE_STALE, "no node with this ID is in the map");
		return;
	}
	TAILQ_INSERT_TAIL(&k->lead.doubts, a, entry);
	if (k->state.map->nodes[node].number != k->number)
		k->ops->probe(k->arg, k->state.map->nodes[node].number);
}

void keeper_refused(struct keeper *k, uint32_t number)
{
	uint16_t at = keeper_leads(k) ? ring_find_number(k->state.map, number) : RING_NONE;

	if (at == RING_NONE || number == k->number || !k->state.map->nodes[at].up)
		return;
	judge_find(k, number)->refused = true;
	keeper_settle_soon(k);
}

void judge_late(struct keeper *k, uint64_t late)
{
	struct heard *h, *tmp;

	k->lead.since += late;
	HASH_ITER (hh, k->lead.heard, h, tmp)
		h->at += late;
}

static bool is_dead(struct keeper *k, const struct ring_node *n, uint64_t now)
{
	const struct heard *h;

	if (!n->up || n->number == k->number)
		return false;
	h = judge_find(k, n->number);
	return h->refused || (now > h->at && now - h->at > k->cfg.fail_timeout);
}

/* Is it known by now who is right? */
static bool is_decided(struct keeper *k, const struct ring_map *m, const struct ask *a)
{
	uint16_t node = ring_find(m, &a->m.node);

	return node == RING_NONE || !m->nodes[node].up || m->nodes[node].number == k->number ||
	       judge_find(k, m->nodes[node].number)->at > a->at;
}

bool judge_due(struct keeper *k)
{
	const struct ring_map *m = k->state.map;
	uint64_t now = env_now(k->env);
	struct ask *a;

	TAILQ_FOREACH (a, &k->lead.doubts, entry) {
		if (is_decided(k, m, a))
			return true;
	}
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (is_dead(k, &m->nodes[i], now))
			return true;
	}
	return false;
}

static bool judge_doubts(struct keeper *k, struct ring_map *d)
{
	struct ask *a, *next;
	bool changed = false;

	for (a = TAILQ_FIRST(&k->lead.doubts); a; a = next) {
		uint16_t node = ring_find(d, &a->m.node), by = ring_find(d, &a->m.by);

		next = TAILQ_NEXT(a, entry);
		if (!is_decided(k, d, a))
			continue;
		TAILQ_REMOVE(&k->lead.doubts, a, entry);
		TAILQ_INSERT_TAIL(&k->lead.flight, a, entry);
		if (node == RING_NONE || by == RING_NONE || !d->nodes[node].up)
			continue;
		log_warn("mod=keeper node=%s by=%s msg=\"is alive, but can not be reached by "
			 "another node\"",
			d->nodes[node].addr[0], d->nodes[by].addr[0]);
		plan_drop(d, by, node);
		changed = true;
	}
	return changed;
}

bool judge(struct keeper *k, struct ring_map *d)
{
	uint64_t now = env_now(k->env);
	bool changed = false;

	for (unsigned i = 0; i < d->nnodes; i++) {
		struct heard *h;

		if (!is_dead(k, &d->nodes[i], now))
			continue;
		h = judge_find(k, d->nodes[i].number);
		log_warn("mod=keeper node=%s number=%" PRIu32 " silent_ms=%" PRIu64 " msg=\"%s\"",
			d->nodes[i].addr[0], d->nodes[i].number,
			now > h->at ? (now - h->at) / ENV_MS : 0,
			h->refused ? "is down: refuses connections" : "is down: silent");
		plan_down(d, (uint16_t)i);
		h->refused = false;
		h->down_at = now;
		changed = true;
	}
	/* a node that is down by now leaves no doubts */
	return judge_doubts(k, d) || changed;
}
