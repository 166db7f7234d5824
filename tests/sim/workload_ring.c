/*
 * Runs with replicas: clusters that keep their own map, whose nodes come, go, die and change, and
 * what must be true of the copies when all is quiet again.
 *
 * What may be lost? A run is of one of three kinds:
 *
 *   nothing   processes die, machines don't: whatever was acknowledged is there at the end
 *   one       a machine loses power, its disk fails or it burns, if the map has another good copy
 * of all it holds on a node that runs: still nothing that was acknowledged may be missing all
 * anything, all machines at once too: what was synced is there, and no transaction in part
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/store/history.h"
#include "dht/wire/wire_keep.h"
#include "tests/sim/workload_int.h"

#define HEAL_MAX (300 * ENV_SEC) /* in which everything is where it belongs again */
#define NODES_RUNNING_MAX 7

static unsigned any_faults(uint64_t *x)
{
	static const enum fault rarely[] = {FAULT_JOIN, FAULT_LEAVE, FAULT_RENAME, FAULT_WEIGHT,
		FAULT_REPLICAS, FAULT_BURN, FAULT_CORRUPT, FAULT_MISS, FAULT_FULL};
	unsigned faults = 0;

	for (enum fault f = 0; f < FAULTS; f++)
		faults |= draw(x, 2) << f;
	for (size_t i = 0; i < sizeof(rarely) / sizeof(rarely[0]); i++)
		if (draw(x, 2))
			faults &= ~(1u << rarely[i]);
	return faults;
}

/* Some runs are about one thing. */
static void focus(struct run *r, uint64_t *x)
{
	switch (draw(x, 6)) {
	case 0: /* copies that come and go */
	case 1:
		r->faults = 1u << FAULT_CRASH | (r->loss ? 1u << FAULT_POWER : 0) |
			    1u << draw(x, FAULTS);
		break;
	case 2: /* primaries that others take for dead while they are not */
		r->faults = 1u << FAULT_ISOLATE | 1u << FAULT_PAUSE_NODE;
		r->power = false;
		r->loss = LOSS_NONE;
		r->think = 20 * ENV_MS;
		r->pace = 3 * ENV_SEC;
		r->long_run = true;
		break;
	}
}

void ring_choose(struct run *r, struct cluster_config *cfg)
{
	static const uint64_t pace[] = {300 * ENV_MS, ENV_SEC, 4 * ENV_SEC};
	static const uint64_t think[] = {20 * ENV_MS, 200 * ENV_MS, 600 * ENV_MS};
	static const unsigned replicas[] = {3, 2, 3, 3, 2, 1, 3, 5};
	uint64_t x = cfg->seed;

	cfg->shard_bits = 3;
	cfg->nodes = 3 + (unsigned)(draw(&x, 3) ? 0 : draw(&x, 3));
	cfg->replicas = replicas[draw(&x, 8)];
	if (cfg->replicas == 2 && draw(&x, 2)) {
		cfg->nodes = 3;
		cfg->witness = true;
	}
	cfg->snapshot_every = draw(&x, 2) ? 0 : 5 + (unsigned)draw(&x, 30);
	cfg->join = draw(&x, 4) == 0;
	if (draw(&x, 4) == 0)
		cfg->zones = 2 + (unsigned)draw(&x, 2);
	r->faults = any_faults(&x);
	r->loss = (enum loss)draw(&x, 3);
	r->power = r->loss == LOSS_ALL;
	r->pace = pace[draw(&x, 3)];
	r->think = think[draw(&x, 3)];
	focus(r, &x);
	r->clients = 2 + (unsigned)draw(&x, draw(&x, 4) ? 2 : 7);
	cfg->clocks = draw(&x, 2);
	r->full = fault_has(r, FAULT_FULL) || fault_has(r, FAULT_FILL);
	if (fault_has(r, FAULT_FULL))
		cfg->capacity = (300 + draw(&x, 300)) << 10;
	if (fault_has(r, FAULT_MISS)) {
		cfg->miss = 20 + (unsigned)draw(&x, 200);
		cfg->stall = (unsigned)draw(&x, 100);
	}
	r->impatient = draw(&x, 6) == 0;
	r->far = draw(&x, 8) == 0;
	if (draw(&x, 3) == 0)
		cfg->in_doubt = (5 + draw(&x, 200)) * ENV_MS;
	if (draw(&x, 4) == 0)
		cfg->session_timeout = 2 * ENV_SEC + draw(&x, 8) * 500 * ENV_MS;
	flip_choose(r, cfg, &x);
}

/* ---- who may die ---- */

static bool runs(struct run *r, unsigned i)
{
	const struct cluster_node *n = &r->c->node[i];

	return n->up && !n->stopping && !n->removed;
}

/* Would the copy at @place, if all others were gone, have everything that was acknowledged? */
static bool good_copy(struct run *r, const struct ring_shard *s, unsigned k)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = s->member[k];
	int i = cluster_at(r->c, place);

	return i >= 0 && runs(r, (unsigned)i) && !r->doomed[i] && !(r->flips && i == r->flipped) &&
	       !(s->suspect & 1u << k) &&
	       m->nodes[place].incarnation == store_info(r->c->node[i].store)->starts;
}

bool ring_others_have(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, i);

	for (unsigned k = 0; place != RING_NONE && k < ring_nshards(m); k++) {
		const struct ring_shard *s = &m->shards[k];
		bool other = false;

		if (ring_member(s, place) < 0)
			continue;
		for (unsigned j = 0; j < s->nmembers; j++)
			other |= s->member[j] != place && good_copy(r, s, j);
		if (!other)
			return false;
	}
	return true;
}

/* Up to its last effect, which may not be acknowledged yet. */
static bool has_all(
	struct run *r, const struct ring_shard *s, unsigned k, uint16_t shard, unsigned i)
{
	int other = cluster_at(r->c, s->member[k]);

	return good_copy(r, s, k) && store_history(r->c->node[other].store, shard).seq >=
					     store_history(r->c->node[i].store, shard).seq;
}

bool ring_all_have(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, i);

	if (!runs(r, i) || place == RING_NONE)
		return false;
	for (unsigned k = 0; k < ring_nshards(m); k++) {
		const struct ring_shard *s = &m->shards[k];

		if (ring_member(s, place) < 0)
			continue;
		if (s->nmembers < 2)
			return false;
		for (unsigned j = 0; j < s->nmembers; j++)
			if (s->member[j] != place && !has_all(r, s, j, (uint16_t)k, i))
				return false;
	}
	return true;
}

bool ring_may_lose(struct run *r, unsigned i)
{
	/* who stays was asked whether he lives, and who goes has gone by the next map: what happens
	 * between the one and the other is as if it happened afterwards */
	return r->loss == LOSS_ALL ||
	       (r->loss == LOSS_ONE && !cluster_changing(r->c) && ring_others_have(r, i));
}

/* A majority of the voters runs, without @i too. */
static bool keeper_survives(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	unsigned voters = 0, left = 0;

	for (unsigned k = 0; k < m->nnodes; k++) {
		int at = cluster_at(r->c, (uint16_t)k);

		voters += m->nodes[k].voter;
		left += m->nodes[k].voter && at >= 0 && (unsigned)at != i && runs(r, (unsigned)at);
	}
	return left > voters / 2;
}

static unsigned running(struct run *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->c->nnodes; i++)
		n += !r->c->node[i].removed && !r->leaving[i];
	return n;
}

/* ---- what a person asks for ---- */

struct asked {
	struct run *r;
	unsigned node;
	struct orbit_id id; /* that it asked for */
	bool rename;
};

static void asked_done(void *arg, uint16_t status)
{
	struct asked *a = arg;

	if (status == WIRE_OK) {
		a->r->res->asked++;
		if (a->rename)
			a->r->c->node[a->node].id = a->id;
	}
	free(a);
}

void ring_ask(struct run *r, unsigned node, struct wire_ask_m *m)
{
	const struct ring_map *map = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);
	unsigned via = (unsigned)sim_below(r->c->s, r->c->nnodes);
	struct asked *a;

	if (place == RING_NONE || r->c->node[via].removed)
		return;
	a = mem_zalloc(sizeof(*a));
	a->r = r;
	a->node = node;
	a->rename = m->what == ASK_RENAME;
	a->id = m->id2;
	m->node = map->nodes[place].id;
	cluster_ask(r->c, via, m, asked_done, a);
}

static void join(struct run *r)
{
	if (running(r) >= NODES_RUNNING_MAX || r->c->nnodes >= CLUSTER_NODES_MAX)
		return;
	cluster_add(r->c);
	r->res->joins++;
}

static void leave(struct run *r, unsigned n)
{
	struct wire_ask_m m = {.what = ASK_LEAVE};

	if (running(r) <= 3 || r->c->node[n].removed || r->leaving[n] || r->c->node[n].witness)
		return;
	r->leaving[n] = true;
	r->res->leaves++;
	ring_ask(r, n, &m);
}

static void rename_node(struct run *r, unsigned n)
{
	struct wire_ask_m m = {.what = ASK_RENAME};
	uint64_t name = sim_random(r->c->s);

	m.id2 = orbit_id_hash(&name, sizeof(name));
	r->res->renames++;
	ring_ask(r, n, &m);
}

static void weigh(struct run *r, unsigned n)
{
	struct wire_ask_m m = {
		.what = ASK_WEIGHT, .weight = 25 + (uint32_t)sim_below(r->c->s, 400)};

	if (r->c->node[n].witness)
		return;
	r->res->weights++;
	ring_ask(r, n, &m);
}

static void more_or_fewer(struct run *r, unsigned n)
{
	struct wire_ask_m m = {
		.what = ASK_REPLICAS, .replicas = (uint8_t)(1 + sim_below(r->c->s, 3))};

	if (r->flips && m.replicas == 1)
		m.replicas = 2; /* the damaged copy could be the one that stays */
	r->res->replicas_changed++;
	ring_ask(r, n, &m);
}

/* ---- what happens ---- */

static void lose_power(struct run *r, unsigned n)
{
	struct cluster *c = r->c;

	if (r->loss == LOSS_ALL && sim_chance(c->s, 400)) {
		r->res->blackouts++;
		for (unsigned i = 0; i < c->nnodes; i++) {
			if (!runs(r, i))
				continue;
			cluster_crash(c, i, DISK_POWER);
			fault_restart_later(r, i);
		}
		return;
	}
	if (!runs(r, n) || !ring_may_lose(r, n))
		return;
	cluster_crash(c, n, DISK_POWER);
	r->res->power_losses++;
	fault_restart_later(r, n);
}

void ring_burnt(struct run *r, unsigned n)
{
	r->leaving[n] = r->burnt[n] = true;
	r->res->burnt++;
}

/* For ever: its disk is gone with it. */
static void burn(struct run *r, unsigned n)
{
	if (r->loss != LOSS_ONE || running(r) <= 2 || !runs(r, n) || r->leaving[n] ||
		r->c->node[n].witness || !ring_may_lose(r, n) || !keeper_survives(r, n))
		return;
	cluster_crash(r->c, n, DISK_LOSE);
	ring_burnt(r, n);
}

static void cut_off(struct run *r, struct sim_host *a, struct sim_host *b, bool in, bool out)
{
	if (in && out)
		sim_cut(r->c->s, a, b, true);
	else if (in)
		sim_cut_oneway(r->c->s, b, a);
	else
		sim_cut_oneway(r->c->s, a, b);
}

static void isolate(struct run *r)
{
	const struct ring_map *m = cluster_map(r->c);
	struct sim *s = r->c->s;
	uint16_t place = m->keeper;
	int n;

	if (place == RING_NONE || sim_chance(s, 500))
		place = m->shards[sim_below(s, ring_nshards(m))].primary;
	n = place == RING_NONE ? -1 : cluster_at(r->c, place);
	if (n < 0)
		return;
	/* from the other nodes in both directions or one; clients fall to either side, or see both
	 */
	bool in = sim_chance(s, 700), out = !in || sim_chance(s, 700), split = sim_chance(s, 600);
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		if (i != (unsigned)n)
			cut_off(r, r->c->node[n].host, r->c->node[i].host, in, out);
	}
	for (unsigned k = 0; split && k < r->c->nclients; k++) {
		struct sim_host *client = r->c->client_host[k];
		bool with_it = sim_chance(s, 400);

		for (unsigned i = 0; i < r->c->nnodes; i++)
			if ((i == (unsigned)n) != with_it)
				sim_cut(s, client, r->c->node[i].host, true);
	}
	r->res->isolated++;
}

void ring_fault(struct run *r, enum fault f, unsigned n)
{
	switch (f) {
	case FAULT_POWER:
		lose_power(r, n);
		break;
	case FAULT_BURN:
		burn(r, n);
		break;
	case FAULT_ISOLATE:
		isolate(r);
		break;
	case FAULT_JOIN:
		join(r);
		break;
	case FAULT_LEAVE:
		leave(r, n);
		break;
	case FAULT_RENAME:
		rename_node(r, n);
		break;
	case FAULT_WEIGHT:
		weigh(r, n);
		break;
	case FAULT_REPLICAS:
		more_or_fewer(r, n);
		break;
	default:
		break;
	}
}

/* A stopped process cannot answer, whatever it believes: what counts is whether it would, were it
 * to go on now. */
void ring_watch(struct run *r)
{
	unsigned n = 1u << r->c->cfg.shard_bits;

	for (unsigned k = 0; k < n; k++) {
		int first = -1;

		for (unsigned i = 0; i < r->c->nnodes; i++) {
			if (!r->c->node[i].up || !node_serves(r->c->node[i].node, (uint16_t)k))
				continue;
			if (first >= 0)
				broke(r, "shard %u is served by node %d and node %u at once", k,
					first, i);
			first = (int)i;
		}
	}
	flip_watch(r);
	r->res->watched++;
}

/* ---- afterwards ---- */

/* A node that is to leave: once it holds nothing it is switched off, then struck off the list. */
static void see_off(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, i);
	struct wire_ask_m ask_m = {.what = ASK_REMOVE};

	if (place == RING_NONE) {
		cluster_crash(r->c, i, DISK_LOSE);
		r->c->node[i].removed = true;
		return;
	}
	if (!m->nodes[place].leaving && !r->burnt[i]) {
		ask_m.what = ASK_LEAVE; /* nobody heard it */
		ring_ask(r, i, &ask_m);
		return;
	}
	for (unsigned k = 0; k < ring_nshards(m) && !r->burnt[i]; k++)
		if (ring_member(&m->shards[k], place) >= 0 ||
			ring_learner(&m->shards[k], place) >= 0)
			return;
	if (!r->c->node[i].up)
		ring_ask(r, i, &ask_m);
	else if (keeper_survives(r, i)) /* else others have to vote first */
		cluster_stop(r->c, i, DISK_PROCESS);
}

void ring_heal(struct run *r)
{
	struct sim *s = r->c->s;
	uint64_t from = sim_now(s);
	char why[160];

	while (!cluster_healthy(r->c, why, sizeof(why))) {
		if (sim_now(s) - from > HEAL_MAX / 2)
			flip_undo(r);
		if (sim_now(s) - from > HEAL_MAX) {
			broke(r, "the cluster does not heal: %s", why);
			return;
		}
		sim_run(s, 500 * ENV_MS);
		fault_watch(r);
		for (unsigned i = 0; i < r->c->nnodes; i++)
			if (r->leaving[i] && !r->c->node[i].removed && !r->c->node[i].stopping)
				see_off(r, i);
	}
	r->res->heal_ms += (sim_now(s) - from) / ENV_MS;
}
