/*
 * Aims at who may serve when: leases and terms.
 */
#include "dht/wire/wire_keep.h"
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

static void weigh(struct run *r, unsigned node, uint32_t weight)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);
	struct wire_ask_m ask = {.what = ASK_WEIGHT, .weight = weight};

	if (place == RING_NONE)
		return;
	ask.node = m->nodes[place].id;
	ring_ask(r, node, &ask);
}

/*
 * Primaries change by plan, so that all live and well; only that the former one hears of it late,
 * and asks for leases meanwhile, and gets answers. Whoever gives one while its map names somebody
 * else lets the former one believe longer than the new one waits.
 */
static void hears_late(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_any_primary(r);

	if (p < 0)
		return;
	aim_deafen(r, (unsigned)p, 100 * ENV_MS + sim_below(s, 300 * ENV_MS));
	aim_pass(r, 100 * ENV_MS + sim_below(s, 300 * ENV_MS));
	weigh(r, (unsigned)p, 1 + (uint32_t)sim_below(s, 20));
	aim_pass(r, 1500 * ENV_MS + sim_below(s, ENV_SEC));
	sim_heal_all(s);
	weigh(r, (unsigned)p, RING_WEIGHT_DEFAULT);
	aim_pass(r, 500 * ENV_MS);
}

const struct aim aim_hears_late = {.name = "hears-late", .once = hears_late};
