/*
 * Aims at how a copy becomes a member again, and how effects follow each other to it.
 */
#include "tests/sim/aim.h"

#define JOIN_MAX (15 * ENV_SEC)

struct joining {
	unsigned shard;
	int primary, learner;
};

static bool is_member(struct run *r, unsigned shard, unsigned node)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);

	return place != RING_NONE && ring_member(&m->shards[shard], place) >= 0;
}

static bool is_good_member(struct run *r, unsigned shard, unsigned node)
{
	const struct ring_shard *s = &cluster_map(r->c)->shards[shard];
	int at = is_member(r, shard, node) ? ring_member(s, cluster_place(r->c, node)) : -1;

	return at >= 0 && !(s->suspect >> at & 1);
}

static bool joined(struct run *r, unsigned arg)
{
	return is_good_member(r, arg / CLUSTER_NODES_MAX, arg % CLUSTER_NODES_MAX);
}

static bool left(struct run *r, unsigned arg)
{
	return !joined(r, arg);
}

/*
 * One of two copies is away for a while and comes back, and the other one is slow to tell it what
 * it lacks: there is always something on its way while the shard is written to. True: the map has
 * just made it a member.
 */
static bool tell_joining(struct run *r, struct joining *j, bool quietly)
{
	struct sim *s = r->c->s;
	unsigned arg;

	j->primary = aim_any_primary(r);
	if (j->primary < 0)
		return false;
	j->shard = (unsigned)aim_led_shard(r, (unsigned)j->primary);
	j->learner = aim_backup(r, j->shard);
	if (j->learner < 0)
		return false;
	arg = j->shard * CLUSTER_NODES_MAX + (unsigned)j->learner;
	aim_rest(r, true);
	aim_kill(r, (unsigned)j->learner, DISK_PROCESS);
	if (!aim_until(r, left, arg, JOIN_MAX))
		return false;
	aim_rest(r, false);
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = aim_objects_of(r, (unsigned)j->primary);
	aim_pass(r, sim_below(s, 200 * ENV_MS));
	if (quietly) {
		aim_rest(r, true);
		aim_pass(r, 50 * ENV_MS);
	}
	aim_start(r, (unsigned)j->learner);
	sim_slow(s, r->c->node[j->primary].host, r->c->node[j->learner].host,
		10 * ENV_MS + sim_below(s, 120 * ENV_MS));
	r->res->slow_links++;
	return aim_until(r, joined, arg, JOIN_MAX);
}

static void two_copies(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 2;
	r->think = 30 * ENV_MS;
}

/*
 * Then the other one dies, at once or somewhat later. What it had answered only the new member can
 * have.
 */
static void joins(struct run *r)
{
	struct sim *s = r->c->s;
	struct joining j;

	if (!tell_joining(r, &j, false))
		return;
	if (sim_chance(s, 500))
		aim_pass(r, sim_below(s, 150 * ENV_MS));
	aim_kill(r, (unsigned)j.primary, DISK_PROCESS);
	aim_pass(r, 1500 * ENV_MS + sim_below(s, ENV_SEC));
}

const struct aim aim_joins = {.name = "joins", .choose = two_copies, .once = joins};

static void two_that_lose(struct run *r, struct cluster_config *cfg)
{
	two_copies(r, cfg);
	r->loss = LOSS_ALL;
	r->power = true;
}

static bool is_suspect(struct run *r, unsigned arg)
{
	unsigned shard = arg / CLUSTER_NODES_MAX, node = arg % CLUSTER_NODES_MAX;

	return is_member(r, shard, node) && !joined(r, arg);
}

/*
 * Then the power goes everywhere, and the other one shows up and dies, without having been heard by
 * the new one, for longer than anybody waits for it. What was synced the new member has to have on
 * its disk.
 */
static void joins_in_the_dark(struct run *r)
{
	struct sim *s = r->c->s;
	struct joining j;
	bool well;

	if (!tell_joining(r, &j, sim_chance(s, 700)))
		return;
	aim_pass(r, sim_below(s, 20 * ENV_MS));
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_kill(r, i, DISK_LOSE);
	r->res->blackouts++;
	sim_heal_all(s);
	sim_cut(s, r->c->node[j.primary].host, r->c->node[j.learner].host, true);
	aim_rest(r, true);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_start(r, i);
	well = aim_until(
		r, is_suspect, j.shard * CLUSTER_NODES_MAX + (unsigned)j.primary, JOIN_MAX);
	aim_pass(r, sim_below(s, 300 * ENV_MS));
	aim_kill(r, (unsigned)j.primary, DISK_PROCESS);
	/* see cluster.c on recovery_wait */
	if (well)
		aim_pass(r, 8 * ENV_SEC);
	aim_rest(r, false);
	aim_pass(r, 200 * ENV_MS);
}

const struct aim aim_joins_in_the_dark = {
	.name = "joins-in-the-dark", .choose = two_that_lose, .once = joins_in_the_dark};

/*
 * A primary is cut off from the keeper, and what it sends the third node takes seconds: it arrives
 * when that one leads already, or is about to, and knows from all who are left what the shard has.
 */
static void speaks_late(struct run *r)
{
	struct sim *s = r->c->s;
	int p = -1, keeper = aim_keeper(r);

	for (unsigned tries = 0; tries < 20 && (p < 0 || p == keeper); tries++)
		p = aim_any_primary(r);
	if (p < 0 || keeper < 0 || p == keeper)
		return;
	aim_rest(r, true);
	aim_pass(r, 20 * ENV_MS);
	sim_cut(s, r->c->node[p].host, r->c->node[keeper].host, true);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != (unsigned)p)
			sim_slow(s, r->c->node[p].host, r->c->node[i].host,
				1600 * ENV_MS + sim_below(s, ENV_SEC));
	r->res->isolated++;
	r->res->slow_links++;
	aim_rest(r, false);
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = aim_objects_of(r, (unsigned)p);
	aim_pass(r, 300 * ENV_MS);
	aim_rest(r, true);
	aim_pass(r, 2500 * ENV_MS);
}

const struct aim aim_speaks_late = {.name = "speaks-late", .once = speaks_late};

/* ---- syncs ---- */

static void all_dark(struct run *r)
{
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_kill(r, i, DISK_LOSE);
	r->res->blackouts++;
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_start(r, i);
}

static void sync_all(struct run *r)
{
	for (unsigned i = 0; i < r->nactors; i++)
		if (!r->actor[i].dead && !r->actor[i].closed)
			actor_sync(&r->actor[i]);
}

/*
 * What was written is synced, and then the power goes everywhere; who had led shows up and dies
 * before the others hear of it, so that theirs is what there is. Or it is synced after the power
 * was gone: then it is told that it was lost.
 */
static void synced_in_the_dark(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_any_primary(r), shard = p < 0 ? -1 : aim_led_shard(r, (unsigned)p), b;

	b = shard < 0 ? -1 : aim_backup(r, (unsigned)shard);
	if (b < 0)
		return;
	aim_rest(r, true);
	aim_pass(r, 50 * ENV_MS);
	aim_rest(r, false);
	aim_write_to(r, (unsigned)shard);
	aim_pass(r, 50 * ENV_MS + sim_below(s, 100 * ENV_MS));
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].rests = true;
	aim_pass(r, 30 * ENV_MS);
	if (sim_chance(s, 300)) {
		all_dark(r);
		aim_until(r, aim_well, 0, JOIN_MAX);
		sync_all(r);
		aim_rest(r, false);
		aim_pass(r, 300 * ENV_MS);
		return;
	}
	sync_all(r);
	aim_pass(r, 10 * ENV_MS + sim_below(s, 30 * ENV_MS));
	sim_cut(s, r->c->node[p].host, r->c->node[b].host, true);
	all_dark(r);
	if (aim_until(r, is_suspect, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p, JOIN_MAX)) {
		aim_kill(r, (unsigned)p, DISK_PROCESS);
		aim_pass(r, 8 * ENV_SEC);
	}
	aim_rest(r, false);
	aim_pass(r, 200 * ENV_MS);
}

const struct aim aim_synced_in_the_dark = {
	.name = "synced-in-the-dark", .choose = two_that_lose, .once = synced_in_the_dark};

/* ---- the first copy beside the only one ---- */

static void one_at_first(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 1;
	r->think = 20 * ENV_MS;
}

/*
 * There are to be more copies. Clients that hear of it late send all that they do on one node as
 * one transaction still, which is right as long as there is one log only.
 */
static void more_copies(struct run *r)
{
	struct sim *s = r->c->s;
	int p;

	aim_replicas(r, 1);
	aim_pass(r, 20 * ENV_MS);
	if (!aim_until(r, aim_well, 0, JOIN_MAX) || (p = aim_any_primary(r)) < 0)
		return;
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].only = aim_objects_of(r, (unsigned)p);
		for (unsigned k = 0; k < r->c->nnodes; k++) {
			struct sim_host *node = r->c->node[k].host;

			sim_slow(s, r->c->client_host[i], node, 100 * ENV_MS);
			sim_slow(s, node, r->c->client_host[i], 100 * ENV_MS);
		}
	}
	aim_pass(r, 200 * ENV_MS);
	aim_replicas(r, 2 + (unsigned)sim_below(s, 2));
	aim_pass(r, 1500 * ENV_MS);
}

const struct aim aim_more_copies = {
	.name = "more-copies", .choose = one_at_first, .once = more_copies};
