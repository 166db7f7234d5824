/*
 * Aims at who may serve when: leases and terms.
 */
#include "tests/sim/aim.h"

/*
 * A primary is cut off from the other nodes, or stands still, and another one leads in its place,
 * where one client writes. Another client sees the old primary only, and nothing of what it reads
 * there is waited for: it was all committed before. So nothing but the leases keeps it from reading
 * what has been written over since.
 */
static void stale_reads(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_any_primary(r);
	struct actor *reader = &r->actor[sim_below(s, r->nactors)];
	unsigned objects;

	if (p < 0)
		return;
	objects = aim_objects_of(r, (unsigned)p);
	/* what is written there is committed */
	aim_rest(r, true);
	aim_pass(r, 20 * ENV_MS);
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].only = objects;
		if (&r->actor[i] == reader)
			aim_with(r, i, (unsigned)p);
		else if (sim_chance(s, 800))
			aim_without(r, i, (unsigned)p);
	}
	reader->reads = true;
	if (sim_chance(s, 700)) {
		aim_isolate(r, (unsigned)p, sim_chance(s, 500));
	} else {
		sim_host_pause(r->c->node[p].host, 1500 * ENV_MS + sim_below(s, 2 * ENV_SEC));
		r->res->pauses++;
	}
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].rests = false;
	aim_pass(r, 2500 * ENV_MS + sim_below(s, 2 * ENV_SEC));
}

const struct aim aim_stale_reads = {.name = "stale-reads", .once = stale_reads};

/*
 * A primary is not wanted any more: by one change of the map its successor leads, without it, and
 * need not ask it what it has. It lives and is well, only hears of it late; meanwhile it asks for
 * leases, and gets answers. Whoever gives one while its map names somebody else lets the former one
 * believe longer than the new one waits.
 */
static void hears_late_choose(struct run *r, struct cluster_config *cfg)
{
	(void)r;
	/* else another member leads at once, and has to ask the former one */
	cfg->replicas = 1;
	cfg->shard_bits = 4;
}

static bool leads_nothing(struct run *r, unsigned node)
{
	const struct ring_map *m = cluster_map(r->c);

	for (unsigned i = 0; i < ring_nshards(m); i++)
		if (aim_primary(r, i) == (int)node)
			return false;
	return true;
}

static void hears_late(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_any_primary(r);

	if (p < 0)
		return;
	aim_deafen(r, (unsigned)p, 150 * ENV_MS + sim_below(s, 200 * ENV_MS));
	aim_weigh(r, (unsigned)p, 1);
	aim_until(r, leads_nothing, (unsigned)p, 3 * ENV_SEC);
	aim_pass(r, ENV_SEC);
	sim_heal_all(s);
	aim_weigh(r, (unsigned)p, RING_WEIGHT_DEFAULT);
	aim_pass(r, 500 * ENV_MS);
}

const struct aim aim_hears_late = {
	.name = "hears-late", .choose = hears_late_choose, .once = hears_late};

static void two_copies(struct run *r, struct cluster_config *cfg)
{
	(void)r;
	cfg->replicas = 2;
}

/*
 * A member is started anew, and has forgotten the lease that it gave; at the same time the primary
 * is cut off, with a word, so that the member is to lead while that lease lasts.
 */
static void forgotten_lease(struct run *r)
{
	struct sim *s = r->c->s;
	int k = aim_keeper(r), p = -1;
	unsigned b;

	for (unsigned i = 0; i < 20 && (p < 0 || p == k); i++)
		p = aim_any_primary(r);
	if (k < 0 || p < 0 || p == k)
		return;
	b = 3 - (unsigned)k - (unsigned)p;
	aim_kill(r, b, DISK_PROCESS);
	aim_pass(r, sim_below(s, 40 * ENV_MS));
	aim_start(r, b);
	aim_pass(r, sim_below(s, 150 * ENV_MS));
	aim_isolate(r, (unsigned)p, false);
	aim_pass(r, 700 * ENV_MS + sim_below(s, 500 * ENV_MS));
}

const struct aim aim_forgotten_lease = {
	.name = "forgotten-lease", .choose = two_copies, .once = forgotten_lease};
