/*
 * The leader: which nodes are alive. Each tells so every alive_every. One is taken for dead when it
 * was silent for fail_timeout, counted from when this leader took office at the earliest, or at
 * once when its address refuses connections.
 *
 * Nodes that die together fall silent within one alive_every of each other. They are taken out of
 * the map together, or the first would leave to the last what only the last then has: so whoever
 * was silent for nearly as long as one that is dead is waited for.
 *
 * Nor is anybody taken out before those who are to go on with the shards alone have said that they
 * live, after the death was noticed: the map may name one that lost power meanwhile, and what it
 * lost would be nowhere else any more. They are asked to say so at once.
 *
 * So do those wait who would have a copy leave, for the same words: a node that retires, a copy
 * that can not go on, a node that is struck off, and steps towards placement (plan_step()).
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

#define TOGETHER 5 /* the part of fail_timeout that is a little more than an alive_every */
#define LATELY(k) (2 * (k)->cfg.fail_timeout / TOGETHER)

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
	free(k->lead.waits);
	k->lead.waits = NULL;
}

uint64_t judge_said(struct keeper *k, uint32_t number)
{
	const struct heard *h = judge_find(k, number);

	return env_now(k->env) - h->said <= LATELY(k) ? h->word : 0;
}

uint64_t judge_mark(const struct keeper *k)
{
	return k->lead.words + 1;
}

int judge_alive(struct keeper *k, const struct wire_ask_m *m)
{
	const struct ring_map *map = k->state.map;
	uint16_t at = ring_find(map, &m->node);
	struct heard *h;

	if (at == RING_NONE || !map->nodes[at].up || map->nodes[at].incarnation != m->incarnation)
		return -ESTALE;
	h = judge_find(k, map->nodes[at].number);
	h->at = h->said = env_now(k->env);
	h->word = ++k->lead.words;
	h->noticed = 0;
	h->incarnation = m->incarnation;
	h->used = m->used;
	h->available = m->available;
	if (h->asked && --k->lead.unsaid == 0)
		k->lead.step_at = h->at;
	h->asked = false;
	return 0;
}

/* ---- what is asked, and depends on who lives ---- */

bool judge_concerns(const struct keeper *k, const struct wire_ask_m *m)
{
	const struct ring_map *map = k->state.map;

	switch (m->what) {
	case ASK_SUSPECT:
	case ASK_DOWN:
	case ASK_REMOVE:
		return true;
	case ASK_MEMBER:
		/* a shard that is full loses a member when it gets another */
		return !(m->flags & ASK_F_ADD) ||
		       (m->shard < ring_nshards(map) &&
			       map->shards[m->shard].nmembers == RING_REPLICAS_MAX);
	default:
		return false;
	}
}

/* Would the shard lose a copy if it were carried out? */
static bool lets_go(const struct ring_map *m, const struct wire_ask_m *q, unsigned shard)
{
	const struct ring_shard *sh = &m->shards[shard];

	if (q->what == ASK_MEMBER && (shard != q->shard || sh->term != q->term))
		return false;
	if (q->what == ASK_SUSPECT && sh->primary != ring_find(m, &q->by))
		return false;
	return (q->what == ASK_MEMBER && q->flags & ASK_F_ADD) ||
	       ring_member(sh, ring_find(m, &q->node)) >= 0;
}

/* Have all who would stay said that they live since it was asked? They are told to if @poke. */
static bool stayers_live(struct keeper *k, const struct ring_map *m, struct ask *a, bool poke)
{
	bool *poked = mem_zalloc(m->nnodes * sizeof(*poked)), all = true;
	uint16_t leaves = ring_find(m, &a->m.node);

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		const struct ring_shard *sh = &m->shards[s];
		unsigned n = lets_go(m, &a->m, s) ? sh->nmembers : 0;

		for (unsigned i = 0; i < n; i++) {
			uint16_t node = sh->member[i];

			if (node == leaves || !m->nodes[node].up || poked[node] ||
				judge_said(k, m->nodes[node].number) >= a->mark)
				continue;
			all = false;
			poked[node] = true;
			a->awaits = m->nodes[node].number;
			if (poke && k->ops->poke)
				k->ops->poke(k->arg, m->nodes[node].number);
		}
	}
	free(poked);
	return all;
}

void judge_take(struct keeper *k, struct ask *a)
{
	const struct ring_map *m = k->state.map;
	uint16_t node = ring_find(m, &a->m.node);

	if (node == RING_NONE ||
		(a->m.what == ASK_SUSPECT && ring_find(m, &a->m.by) == RING_NONE)) {
		lead_answer(k, a, WIRE_STALE, "no node with this ID is in the map");
		return;
	}
	a->about = m->nodes[node].incarnation;
	TAILQ_INSERT_TAIL(&k->lead.doubts, a, entry);
	if (a->m.what == ASK_SUSPECT && m->nodes[node].number != k->number)
		k->ops->probe(k->arg, m->nodes[node].number);
	stayers_live(k, m, a, true);
}

/*
 * The leader's process is gone: a voter need not wait for its silence to last. The voters stand for
 * election one after the other, as two at once could win neither.
 */
static void leader_gone(struct keeper *k)
{
	const struct raft_configuration *c = &k->raft.configuration;
	struct raft *r = &k->raft;
	uint64_t now = env_now(k->env);
	unsigned before = 0;

	if (!k->running || k->stopping || r->state != RAFT_FOLLOWER)
		return;
	for (unsigned i = 0; i < c->n; i++)
		before += c->servers[i].role == RAFT_VOTER && c->servers[i].id < k->number &&
			  c->servers[i].id != r->follower_state.current_leader.id;
	raft_free(r->follower_state.current_leader.address);
	r->follower_state.current_leader.address = NULL;
	r->follower_state.current_leader.id = 0;
	r->follower_state.randomized_election_timeout = KEEPER_STAND * (before + 1);
	r->election_timer_start = now / ENV_MS;
	k->tick_at = now + KEEPER_STAND * (before + 1) * ENV_MS + ENV_MS;
	env_timer_set(k->env, &k->tick, k->tick_at);
}

void keeper_refused(struct keeper *k, uint32_t number)
{
	uint16_t at = keeper_leads(k) ? ring_find_number(k->state.map, number) : RING_NONE;

	if (!keeper_leads(k)) {
		k->refused = number;
		k->refused_at = env_now(k->env);
		if (number && number == keeper_leader(k))
			leader_gone(k);
	}
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

static bool is_silent(const struct keeper *k, const struct heard *h, uint64_t now)
{
	return now > h->at && now - h->at > k->cfg.fail_timeout;
}

/* Marks those that are dead in @dead, if it is given; how many there are. */
static unsigned find_dead(struct keeper *k, const struct ring_map *m, uint64_t now, bool *dead)
{
	uint64_t first = UINT64_MAX;
	unsigned silent = 0, others = 0, refused = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct heard *h;

		if (!m->nodes[i].up || m->nodes[i].number == k->number)
			continue;
		h = judge_find(k, m->nodes[i].number);
		refused += h->refused;
		if (is_silent(k, h, now) && !h->refused) {
			silent++;
			first = h->at < first ? h->at : first;
		}
	}
	for (unsigned i = 0; silent + refused > 0 && i < m->nnodes; i++) {
		const struct heard *h;

		if (!m->nodes[i].up || m->nodes[i].number == k->number)
			continue;
		h = judge_find(k, m->nodes[i].number);
		others += silent && !h->refused && !is_silent(k, h, now) &&
			  h->at <= first + k->cfg.fail_timeout / TOGETHER;
		if (dead)
			dead[i] = h->refused || is_silent(k, h, now);
	}
	if (!others)
		return silent + refused;
	for (unsigned i = 0; dead && i < m->nnodes; i++)
		dead[i] = dead[i] && judge_find(k, m->nodes[i].number)->refused;
	return refused;
}

bool judge_knows(struct keeper *k)
{
	const struct ring_map *m = k->state.map;

	for (unsigned i = 0; i < m->nnodes; i++) {
		if (m->nodes[i].up && m->nodes[i].number != k->number &&
			judge_find(k, m->nodes[i].number)->at <= k->lead.since)
			return false;
	}
	return true;
}

/* It was not the one that runs now who could not be reached: that one nobody has tried yet. It may
 * have what nobody else has. */
static bool started_anew(const struct ring_map *m, const struct ask *a, uint16_t node)
{
	return a->m.what == ASK_SUSPECT && m->nodes[node].incarnation != a->about;
}

/* Is it known by now who lives? */
static bool is_decided(struct keeper *k, const struct ring_map *m, struct ask *a)
{
	uint16_t node = ring_find(m, &a->m.node), last = ring_find_number(m, a->awaits);

	if (node == RING_NONE || started_anew(m, a, node))
		return true;
	if (last != RING_NONE && m->nodes[last].up && judge_said(k, a->awaits) < a->mark)
		return false;
	a->awaits = 0;
	if (a->m.what == ASK_SUSPECT && !m->nodes[node].up)
		return true;
	if (a->m.what == ASK_SUSPECT && m->nodes[node].number != k->number &&
		judge_find(k, m->nodes[node].number)->word < a->mark)
		return false;
	return stayers_live(k, m, a, false);
}

/* When the last of them was noticed (judge_mark()); *more: just now. */
static uint64_t notice(struct keeper *k, const struct ring_map *m, const bool *dead, bool *more)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		struct heard *h = dead[i] ? judge_find(k, m->nodes[i].number) : NULL;

		if (!h)
			continue;
		*more |= !h->noticed;
		if (!h->noticed)
			h->noticed = judge_mark(k);
		last = h->noticed > last ? h->noticed : last;
	}
	return last;
}

/* Do those live who would go on without the dead? */
static bool survivors_live(struct keeper *k, const struct ring_map *m, const bool *dead)
{
	bool *asked = mem_zalloc(m->nnodes * sizeof(*asked)), more = false, all = true;
	uint64_t since = notice(k, m, dead, &more);

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		const struct ring_shard *sh = &m->shards[s];
		bool concerned = false;

		for (unsigned i = 0; i < sh->nmembers; i++)
			concerned |= dead[sh->member[i]];
		for (unsigned i = 0; concerned && i < sh->nmembers; i++) {
			uint16_t node = sh->member[i];

			if (dead[node] || !m->nodes[node].up || asked[node] ||
				judge_said(k, m->nodes[node].number) >= since)
				continue;
			all = false;
			asked[node] = true;
			if (more && k->ops->poke)
				k->ops->poke(k->arg, m->nodes[node].number);
		}
	}
	free(asked);
	return all;
}

static bool any_dead(struct keeper *k, const struct ring_map *m)
{
	uint64_t now = env_now(k->env);
	bool *dead, due;

	if (!find_dead(k, m, now, NULL))
		return false;
	dead = mem_zalloc(m->nnodes * sizeof(*dead));
	due = find_dead(k, m, now, dead) && survivors_live(k, m, dead);
	free(dead);
	return due;
}

bool judge_due(struct keeper *k)
{
	const struct ring_map *m = k->state.map;
	struct ask *a;

	TAILQ_FOREACH (a, &k->lead.doubts, entry) {
		if (is_decided(k, m, a))
			return true;
	}
	return any_dead(k, m);
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
		if (a->m.what != ASK_SUSPECT) {
			TAILQ_INSERT_TAIL(&k->lead.line, a, entry);
			continue;
		}
		TAILQ_INSERT_TAIL(&k->lead.flight, a, entry);
		if (node == RING_NONE || by == RING_NONE || !d->nodes[node].up ||
			started_anew(d, a, node))
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
	bool *dead = mem_zalloc(d->nnodes * sizeof(*dead));
	uint64_t now = env_now(k->env);
	unsigned n = find_dead(k, d, now, dead);

	if (n > 0 && !survivors_live(k, d, dead))
		n = 0;
	for (unsigned i = 0; n > 0 && i < d->nnodes; i++) {
		struct heard *h;

		if (!dead[i])
			continue;
		h = judge_find(k, d->nodes[i].number);
		log_warn("mod=keeper node=%s number=%" PRIu32 " silent_ms=%" PRIu64 " msg=\"%s\"",
			d->nodes[i].addr[0], d->nodes[i].number,
			now > h->at ? (now - h->at) / ENV_MS : 0,
			h->refused ? "is down: refuses connections" : "is down: silent");
		if (h->refused)
			h->refused_at = now;
		h->refused = false;
		h->noticed = 0;
		h->down_at = now;
	}
	if (n > 0)
		plan_down_all(d, dead);
	free(dead);
	/* a node that is down by now leaves no doubts */
	return judge_doubts(k, d) || n > 0;
}
