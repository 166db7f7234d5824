/*
 * What happens to nodes, and what of it happens to the shards they hold: nodes come, go, die, are
 * told to leave. The steps towards placement are in plan_step.c.
 *
 * Each function goes through the shards once and edits those that have to do with the node
 * (plan_edit.c). What holds before and after each:
 *
 * - a shard has a member; if it had a good one (not suspect) it still has one, or a person said so;
 * - the primary is a member that is up and good, or, where no member is good, any that is up, or
 *   one that is down while there is no such member, or there is none (RING_NONE);
 * - nobody is member and learner of a shard; witnesses are neither.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/ring/plan_int.h"

/* ---- nodes in their order ---- */

static void shift(uint16_t *node, unsigned at, int by)
{
	if (*node != RING_NONE && *node >= at)
		*node = (uint16_t)(*node + by);
}

/* Indices from @at on changed by @by, everywhere. */
static void shift_all(struct ring_map *m, unsigned at, int by)
{
	shift(&m->keeper, at, by);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *sh = &m->shards[s];

		shift(&sh->primary, at, by);
		for (unsigned i = 0; i < sh->nmembers; i++)
			shift(&sh->member[i], at, by);
		for (unsigned i = 0; i < sh->nlearners; i++)
			shift(&sh->learner[i], at, by);
	}
}

static unsigned place_for(const struct ring_map *m, const struct orbit_id *id)
{
	unsigned at = 0;

	while (at < m->nnodes && orbit_id_cmp(&m->nodes[at].id, id) < 0)
		at++;
	return at;
}

static uint16_t node_insert(struct ring_map *m, const struct ring_node *node)
{
	unsigned at = place_for(m, &node->id);

	m->nodes = mem_grow(m->nodes, m->nnodes + 1, sizeof(*m->nodes));
	memmove(m->nodes + at + 1, m->nodes + at, (m->nnodes - at) * sizeof(*m->nodes));
	m->nodes[at] = *node;
	m->nnodes++;
	shift_all(m, at, 1);
	return (uint16_t)at;
}

/* Takes out a node that no shard names. */
static void node_delete(struct ring_map *m, uint16_t node)
{
	bool keeper = m->keeper == node;

	memmove(m->nodes + node, m->nodes + node + 1, (m->nnodes - node - 1u) * sizeof(*m->nodes));
	m->nnodes--;
	shift_all(m, node + 1u, -1);
	if (!keeper)
		return;
	m->keeper = 0;
	for (unsigned i = 0; i < m->nnodes && !m->nodes[m->keeper].up; i++)
		m->keeper = (uint16_t)i;
}

/* Placement has a node for data, were @without left out (RING_NONE: nobody). */
static bool has_home(const struct ring_map *m, uint16_t without)
{
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (i != without && ring_placeable(&m->nodes[i]))
			return true;
	}
	return false;
}

static bool holds_data(const struct ring_map *m, uint16_t node)
{
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (ring_member(&m->shards[s], node) >= 0 || ring_learner(&m->shards[s], node) >= 0)
			return true;
	}
	return false;
}

/* ---- registering ---- */

/* Another node that is up has one of the addresses. */
static bool address_taken(const struct ring_map *m, const struct ring_node *node, uint16_t self)
{
	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];

		if (i == self || !n->up)
			continue;
		for (unsigned a = 0; a < n->naddrs; a++) {
			for (unsigned b = 0; b < node->naddrs; b++) {
				if (strncmp(n->addr[a], node->addr[b], ENV_ADDR_MAX) == 0)
					return true;
			}
		}
	}
	return false;
}

static int register_new(struct ring_map *m, const struct ring_node *node)
{
	struct ring_node n = *node;

	if (m->nnodes >= RING_NODES_MAX || m->next_number == UINT32_MAX)
		return -ENOSPC;
	n.number = m->next_number++;
	n.up = true;
	n.leaving = n.voter = false;
	node_insert(m, &n);
	return 0;
}

/*
 * A node that was started anew, in one of the shards it is a member of. One that is not whole stays
 * as suspect even where others are good: they may be down for good, though the map does not say so
 * yet (all lost power at once), and then it has what there is. Where a good one does serve,
 * plan_step() lets it go.
 */
static void renew_member(struct plan_edit *e, uint16_t node, bool whole)
{
	e->renew = true;
	if (!whole)
		e->copy[plan_edit_find(e, node)].suspect = true;
	plan_edit_settle(e, node);
}

/* A primary that was down and comes back has forgotten what it granted and refused, as it stopped
 * serving; what others said to it before must not count for it now. So that is another term. */
static void register_known(struct ring_map *m, uint16_t node, bool anew, bool back, bool whole)
{
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct plan_edit e;

		if (ring_member(&m->shards[s], node) < 0)
			continue;
		plan_edit_begin(&e, m, (uint16_t)s);
		e.renew = back && e.primary == node;
		if (anew)
			renew_member(&e, node, whole);
		else
			plan_edit_settle(&e, RING_NONE);
		plan_edit_end(&e);
	}
}

int plan_register(struct ring_map *m, const struct ring_node *node, bool whole)
{
	uint16_t at = ring_find_number(m, node->number);
	struct ring_node *n;
	bool anew, back;

	if (at == RING_NONE)
		at = ring_find(m, &node->id);
	if (!ring_node_valid(node))
		return -EINVAL;
	if (at != RING_NONE && node->incarnation < m->nodes[at].incarnation)
		return -ESTALE;
	if (address_taken(m, node, at))
		return -EADDRINUSE;
	if (at == RING_NONE)
		return register_new(m, node);
	n = &m->nodes[at];
	if (node->witness && !n->witness && (holds_data(m, at) || !has_home(m, at)))
		return -EINVAL;
	if (node->witness != n->witness)
		n->weight = node->weight;
	n->witness = node->witness;
	anew = n->incarnation != node->incarnation;
	back = !n->up;
	n->incarnation = node->incarnation;
	n->up = true;
	memcpy(n->zone, node->zone, sizeof(n->zone));
	n->naddrs = node->naddrs;
	memcpy(n->addr, node->addr, sizeof(n->addr));
	register_known(m, at, anew, back, whole);
	return 0;
}

/* ---- failing ---- */

void plan_down_all(struct ring_map *m, const bool *down)
{
	for (unsigned i = 0; i < m->nnodes; i++)
		m->nodes[i].up &= !down[i];
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *sh = &m->shards[s];
		struct plan_edit e;
		bool concerned = false;

		for (unsigned i = sh->nlearners; i-- > 0;) {
			if (down[sh->learner[i]])
				plan_learner_drop(sh, sh->learner[i]);
		}
		for (unsigned i = 0; i < sh->nmembers; i++)
			concerned |= down[sh->member[i]];
		if (!concerned)
			continue;
		plan_edit_begin(&e, m, (uint16_t)s);
		if (plan_edit_goods(&e, RING_NONE, true) > 0) {
			for (unsigned i = 0; i < sh->nmembers; i++) {
				if (down[sh->member[i]])
					plan_edit_drop(&e, sh->member[i]);
			}
		}
		plan_edit_settle(&e, RING_NONE);
		plan_edit_end(&e);
	}
}

void plan_down(struct ring_map *m, uint16_t node)
{
	bool *down = mem_zalloc(m->nnodes * sizeof(*down));

	down[node] = true;
	plan_down_all(m, down);
	free(down);
}

void plan_drop(struct ring_map *m, uint16_t primary, uint16_t node)
{
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct plan_edit e;
		int i;

		if (m->shards[s].primary != primary || primary == node)
			continue;
		plan_learner_drop(&m->shards[s], node);
		plan_edit_begin(&e, m, (uint16_t)s);
		i = plan_edit_find(&e, node);
		if (i < 0 || (!e.copy[i].suspect && plan_edit_goods(&e, node, true) == 0))
			continue;
		plan_edit_drop(&e, node);
		plan_edit_settle(&e, RING_NONE);
		plan_edit_end(&e);
	}
}

/* ---- members, as the primary asks ---- */

/* The member that a full shard can do without first: one that is not good, then one that placement
 * does not want, then the last. Wanted ones must not go for others that are: that would not end. */
static uint16_t least_wanted(const struct plan_edit *e)
{
	uint16_t want[RING_REPLICAS_MAX], least = e->copy[0].node;
	unsigned n = ring_place(e->m, e->shard, want, RING_REPLICAS_MAX);
	int worst = -1;

	for (unsigned i = 0; i < e->n; i++) {
		uint16_t node = e->copy[i].node;
		int rank = 0;

		while (rank < (int)n && want[rank] != node)
			rank++;
		if (rank == (int)n) /* who serves goes last of these */
			rank += node == e->primary ? 1 : 2;
		else if (node == e->primary)
			rank = 0;
		if (!plan_edit_good(e, node))
			rank += 2 * RING_REPLICAS_MAX;
		if (rank > worst) {
			worst = rank;
			least = node;
		}
	}
	return least;
}

static int member_add(struct plan_edit *e, uint16_t node)
{
	int i = plan_edit_find(e, node), p = plan_edit_find(e, e->primary);

	if (i >= 0 && !e->copy[i].suspect)
		return -ESTALE;
	if (i < 0 && ring_learner(e->s, node) < 0)
		return -ESTALE;
	/* who serves compared all members before, and speaks for itself by asking */
	for (unsigned k = 0; k < e->n; k++)
		e->copy[k].suspect &= (int)k != p && node != e->primary;
	if (i >= 0) {
		e->copy[i].suspect = false;
	} else {
		if (e->n == RING_REPLICAS_MAX)
			plan_edit_drop(e, least_wanted(e));
		e->copy[e->n++] = (struct plan_copy){.node = node};
	}
	plan_edit_settle(e, RING_NONE);
	return 0;
}

static int member_leave(struct plan_edit *e, uint16_t node)
{
	int i = plan_edit_find(e, node);
	bool rest = plan_edit_goods(e, node, true) > 0;

	/* where all are suspect, the primary has the longest history that there is and has waited
	 * for who might have a longer one; or it says that another has that, and it cannot get it
	 */
	if (plan_edit_goods(e, RING_NONE, false) == 0)
		for (unsigned k = 0; k < e->n; k++)
			rest |= e->copy[k].node != node && e->m->nodes[e->copy[k].node].up;
	if (i < 0 || !rest)
		return -ESTALE;
	plan_edit_drop(e, node);
	plan_edit_settle(e, RING_NONE);
	return 0;
}

int plan_member(struct ring_map *m, uint16_t shard, uint64_t term, uint16_t node,
	uint64_t incarnation, bool add)
{
	struct plan_edit e;
	int rc;

	if (shard >= ring_nshards(m) || node >= m->nnodes || m->shards[shard].term != term ||
		m->nodes[node].incarnation != incarnation || (add && !m->nodes[node].up))
		return -ESTALE;
	/* who asks is the primary, and serves */
	if (m->shards[shard].primary == RING_NONE || !m->nodes[m->shards[shard].primary].up)
		return -ESTALE;
	plan_edit_begin(&e, m, shard);
	rc = add ? member_add(&e, node) : member_leave(&e, node);
	if (rc)
		return rc;
	plan_edit_end(&e);
	return 0;
}

void plan_terms(struct ring_map *m, const struct ring_map *old)
{
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		uint64_t next = old->shards[i].term + 1;

		if (m->shards[i].term > next)
			m->shards[i].term = next;
	}
}

/* ---- by a person ---- */

int plan_leave(struct ring_map *m, uint16_t node, bool leave)
{
	if (leave && !has_home(m, node))
		return -EINVAL;
	m->nodes[node].leaving = leave;
	return 0;
}

/* Who begins a shard anew when all that had it are gone: the first of placement that is up. That is
 * likely one that was a member once, and may still have what it had then. */
static uint16_t beginner(const struct ring_map *m, uint16_t shard, uint16_t gone)
{
	uint16_t *want = mem_zalloc(m->nnodes * sizeof(*want)), node = RING_NONE;
	unsigned n = ring_place(m, shard, want, m->nnodes);

	for (unsigned i = 0; i < n; i++) {
		if (want[i] == gone)
			continue;
		if (node == RING_NONE)
			node = want[i];
		if (m->nodes[want[i]].up) {
			node = want[i];
			break;
		}
	}
	free(want);
	return node;
}

int plan_remove(struct ring_map *m, uint16_t node, bool force)
{
	struct plan_edit e;

	if (m->nodes[node].up)
		return -EBUSY;
	if (!has_home(m, node))
		return -EINVAL;
	for (unsigned s = 0; s < ring_nshards(m) && !force; s++) {
		plan_edit_begin(&e, m, (uint16_t)s);
		if (plan_edit_find(&e, node) >= 0 && plan_edit_goods(&e, node, false) == 0)
			return -ENODATA;
	}
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		plan_learner_drop(&m->shards[s], node);
		if (ring_member(&m->shards[s], node) < 0)
			continue;
		plan_edit_begin(&e, m, (uint16_t)s);
		plan_edit_drop(&e, node);
		if (e.n == 0)
			e.copy[e.n++] = (struct plan_copy){.node = beginner(m, (uint16_t)s, node)};
		plan_edit_settle(&e, RING_NONE);
		plan_edit_end(&e);
	}
	node_delete(m, node);
	return 0;
}

int plan_weight(struct ring_map *m, uint16_t node, uint32_t weight)
{
	if (weight && m->nodes[node].witness)
		return -EINVAL;
	if (!weight && !has_home(m, node))
		return -EINVAL;
	m->nodes[node].weight = weight;
	return 0;
}

int plan_rename(struct ring_map *m, uint16_t node, const struct orbit_id *id)
{
	struct ring_node n = m->nodes[node];
	uint16_t *map, to;

	if (orbit_id_cmp(&n.id, id) == 0)
		return 0;
	if (ring_find(m, id) != RING_NONE)
		return -EEXIST;
	to = (uint16_t)place_for(m, id);
	to -= to > node; /* itself is no longer before it */
	n.id = *id;
	memmove(m->nodes + node, m->nodes + node + 1, (m->nnodes - node - 1u) * sizeof(*m->nodes));
	memmove(m->nodes + to + 1, m->nodes + to, (m->nnodes - 1u - to) * sizeof(*m->nodes));
	m->nodes[to] = n;
	map = mem_zalloc(m->nnodes * sizeof(*map));
	for (unsigned i = 0; i < m->nnodes; i++) {
		unsigned at = i - (i > node);

		map[i] = i == node ? to : (uint16_t)(at + (at >= to));
	}
	m->keeper = map[m->keeper];
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *sh = &m->shards[s];

		if (sh->primary != RING_NONE)
			sh->primary = map[sh->primary];
		for (unsigned i = 0; i < sh->nmembers; i++)
			sh->member[i] = map[sh->member[i]];
		for (unsigned i = 0; i < sh->nlearners; i++)
			sh->learner[i] = map[sh->learner[i]];
	}
	free(map);
	return 0;
}

int plan_replicas(struct ring_map *m, unsigned replicas, unsigned min_in_sync)
{
	if (!min_in_sync)
		min_in_sync = m->min_in_sync;
	if (replicas < 1 || replicas > RING_REPLICAS_MAX || min_in_sync > replicas)
		return -EINVAL;
	m->replicas = (uint8_t)replicas;
	m->min_in_sync = (uint8_t)min_in_sync;
	return 0;
}

void plan_fence(struct ring_map *m, uint32_t session)
{
	unsigned at = 0;

	if (session == 0 || session > RING_SESSION_MAX || ring_fenced(m, session))
		return;
	while (at < m->nfenced && m->fenced[at] < session)
		at++;
	if (m->nfenced == RING_FENCED_MAX) {
		if (at == 0)
			return;
		memmove(m->fenced, m->fenced + 1, --at * sizeof(*m->fenced));
		m->fenced[at] = session;
		return;
	}
	m->fenced = mem_grow(m->fenced, m->nfenced + 1, sizeof(*m->fenced));
	memmove(m->fenced + at + 1, m->fenced + at, (m->nfenced - at) * sizeof(*m->fenced));
	m->fenced[at] = session;
	m->nfenced++;
}
