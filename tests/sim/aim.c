/* Aimed runs: which there are, and what their stories are told with. */
#include "tests/sim/aim.h"

#include <string.h>

#include "dht/wire/wire_keep.h"

#define AIM_TIME (60 * ENV_SEC) /* no telling begins later */
#define AIM_OPS 500             /* nor after so many transactions: each is compared with all */
#define AIM_TELLINGS 12
#define MEND_MAX (60 * ENV_SEC)
#define STEP (2 * ENV_MS)
#define STIR (100 * ENV_MS)

static const struct aim *const aims[] = {&aim_stale_reads, &aim_hears_late, &aim_forgotten_lease,
	&aim_half_sent, &aim_one_is_behind, &aim_counted_again, &aim_late_request, &aim_joins,
	&aim_joins_in_the_dark, &aim_speaks_late, &aim_silent_and_dark, &aim_all_dark,
	&aim_breaks_its_word, &aim_asked_too_early, &aim_strays, &aim_brim, &aim_remembers_alone,
	&aim_takes_its_time, &aim_remembers_the_dead, &aim_fewer_copies, &aim_synced_in_the_dark,
	&aim_more_copies, &aim_decided_late, &aim_reads_early, &aim_waits_in_vain, &aim_comes_back};
#define NAIMS (sizeof(aims) / sizeof(aims[0]))

const struct aim *aim_find(const char *name)
{
	for (size_t i = 0; i < NAIMS; i++)
		if (!strcmp(aims[i]->name, name))
			return aims[i];
	return NULL;
}

const struct aim *aim_at(uint64_t i)
{
	return aims[i % NAIMS];
}

/* A cluster without any trouble but the story's. */
void aim_choose(struct run *r, struct cluster_config *cfg)
{
	uint64_t x = cfg->seed * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 31;
	cfg->shard_bits = 3;
	cfg->nodes = 3;
	cfg->replicas = 3;
	cfg->snapshot_every = x % 2 ? 0 : 5 + (unsigned)(x >> 8) % 30;
	cfg->clocks = x >> 20 & 1;
	r->loss = LOSS_NONE;
	r->clients = 3;
	r->think = 100 * ENV_MS;
	r->pace = ENV_SEC;
	if (r->aim->choose)
		r->aim->choose(r, cfg);
}

static void stir(struct run *r)
{
	fault_watch(r);
	for (unsigned i = 0; i < r->nactors; i++)
		if (!r->actor[i].running && !r->actor[i].thinking)
			actor_next(&r->actor[i]);
}

static void slice(struct run *r, uint64_t ns)
{
	struct sim *s = r->c->s;

	sim_run(s, ns < STEP ? ns : STEP);
	ring_watch(r);
	if (sim_now(s) < r->stirred + STIR)
		return;
	r->stirred = sim_now(s);
	stir(r);
}

void aim_pass(struct run *r, uint64_t ns)
{
	uint64_t end = sim_now(r->c->s) + ns;

	while (!r->broken && sim_now(r->c->s) < end)
		slice(r, end - sim_now(r->c->s));
}

bool aim_until(
	struct run *r, bool (*cond)(struct run *r, unsigned arg), unsigned arg, uint64_t limit)
{
	uint64_t end = sim_now(r->c->s) + limit;

	while (!r->broken && !cond(r, arg)) {
		if (sim_now(r->c->s) >= end)
			return false;
		slice(r, STEP);
	}
	return !r->broken;
}

void aim_rest(struct run *r, bool rest)
{
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].rests = rest;
		r->actor[i].only = 0;
		r->actor[i].reads = false;
		r->actor[i].flips = false;
		r->actor[i].slow = false;
	}
}

bool aim_well(struct run *r, unsigned unused)
{
	(void)unused;
	return cluster_healthy(r->c, NULL, 0);
}

bool aim_mend(struct run *r)
{
	bool well;

	sim_heal_all(r->c->s);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_start(r, i);
	aim_rest(r, true);
	well = aim_until(r, aim_well, 0, MEND_MAX);
	aim_rest(r, false);
	return well;
}

void aim_kill(struct run *r, unsigned node, enum disk_crash how)
{
	if (!r->c->node[node].up || r->c->node[node].stopping)
		return;
	cluster_crash(r->c, node, how);
	r->res->crashes++;
	r->res->power_losses += how != DISK_PROCESS;
}

void aim_start(struct run *r, unsigned node)
{
	if (r->burnt[node] || r->c->node[node].removed || r->c->node[node].up)
		return;
	cluster_start(r->c, node);
	fault_restarted(r, node);
}

int aim_primary(struct run *r, unsigned shard)
{
	uint16_t place = cluster_map(r->c)->shards[shard].primary;

	return place == RING_NONE ? -1 : cluster_at(r->c, place);
}

int aim_backup(struct run *r, unsigned shard)
{
	const struct ring_shard *s = &cluster_map(r->c)->shards[shard];
	unsigned from = (unsigned)sim_below(r->c->s, RING_REPLICAS_MAX);

	for (unsigned i = 0; i < s->nmembers; i++) {
		uint16_t place = s->member[(from + i) % s->nmembers];

		if (place != s->primary)
			return cluster_at(r->c, place);
	}
	return -1;
}

int aim_keeper(struct run *r)
{
	uint16_t place = cluster_map(r->c)->keeper;

	return place == RING_NONE ? -1 : cluster_at(r->c, place);
}

static unsigned shard_of(struct run *r, unsigned object)
{
	return ring_shard_of(cluster_map(r->c), &r->id[object]);
}

int aim_any_primary(struct run *r)
{
	return aim_primary(r, shard_of(r, (unsigned)sim_below(r->c->s, OBJECTS)));
}

int aim_plain_primary(struct run *r)
{
	for (unsigned i = 0; i < 20; i++) {
		int p = aim_any_primary(r);

		if (p >= 0 && p != aim_keeper(r))
			return p;
	}
	return -1;
}

int aim_led_shard(struct run *r, unsigned node)
{
	unsigned from = (unsigned)sim_below(r->c->s, OBJECTS);

	for (unsigned i = 0; i < OBJECTS; i++) {
		unsigned shard = shard_of(r, (from + i) % OBJECTS);

		if (aim_primary(r, shard) == (int)node)
			return (int)shard;
	}
	return -1;
}

unsigned aim_objects_of(struct run *r, unsigned node)
{
	unsigned objects = 0;

	for (unsigned i = 0; i < OBJECTS; i++)
		if (aim_primary(r, shard_of(r, i)) == (int)node)
			objects |= 1u << i;
	return objects;
}

void aim_write_to(struct run *r, unsigned shard)
{
	unsigned objects = 0;

	for (unsigned i = 0; i < OBJECTS; i++)
		if (shard_of(r, i) == shard)
			objects |= 1u << i;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = objects;
}

bool aim_serves(struct run *r, unsigned node, unsigned shard)
{
	return r->c->node[node].up && node_serves(r->c->node[node].node, (uint16_t)shard);
}

void aim_isolate(struct run *r, unsigned node, bool silent)
{
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != node)
			sim_cut(r->c->s, r->c->node[node].host, r->c->node[i].host, silent);
	r->res->isolated++;
}

void aim_rejoin(struct run *r, unsigned node)
{
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != node)
			sim_heal(r->c->s, r->c->node[node].host, r->c->node[i].host);
}

void aim_with(struct run *r, unsigned client, unsigned node)
{
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != node)
			aim_without(r, client, i);
}

void aim_without(struct run *r, unsigned client, unsigned node)
{
	sim_cut(r->c->s, r->c->client_host[client], r->c->node[node].host, true);
}

void aim_deafen(struct run *r, unsigned node, uint64_t ns)
{
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != node)
			sim_slow(r->c->s, r->c->node[i].host, r->c->node[node].host, ns);
	r->res->slow_links++;
}

static void ignore(void *arg, uint16_t status)
{
	(void)arg;
	(void)status;
}

void aim_weigh(struct run *r, unsigned node, uint32_t weight)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);
	struct wire_ask_m ask = {.what = ASK_WEIGHT, .weight = weight};

	if (place == RING_NONE)
		return;
	ask.node = m->nodes[place].id;
	ring_ask(r, node, &ask);
}

/* By way of each node: one of them may be gone. */
void aim_replicas(struct run *r, unsigned replicas)
{
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		struct wire_ask_m ask = {.what = ASK_REPLICAS, .replicas = (uint8_t)replicas};

		cluster_ask(r->c, i, &ask, ignore, NULL);
	}
}

void aim_run(struct run *r)
{
	struct sim *s = r->c->s;
	uint64_t end = sim_now(s) + AIM_TIME;

	r->stirred = sim_now(s);
	aim_pass(r, 200 * ENV_MS);
	for (unsigned i = 0; i < AIM_TELLINGS && !r->broken; i++) {
		if (r->nops >= AIM_OPS || sim_now(s) >= end || !aim_mend(r))
			break;
		/* so that there is something new each time */
		aim_pass(r, 50 * ENV_MS + sim_below(s, 300 * ENV_MS));
		if (!r->broken)
			r->aim->once(r);
		r->res->aimed++;
	}
	aim_rest(r, false);
	r->per_client = 0; /* what is under way comes to its end */
}
