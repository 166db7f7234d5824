/*
 * Aims at what is left when machines lose power: which copies go on, and with what.
 */
#include "dht/node/node.h"
#include "dht/store/history.h"
#include "tests/sim/aim.h"

#define BACK_MAX (60 * ENV_SEC)

static void one_may_be_lost(struct run *r, struct cluster_config *cfg)
{
	cfg->nodes = 5; /* so that the keeper can do without two */
	cfg->replicas = 2;
	r->loss = LOSS_ONE;
}

/*
 * One is silent, and before it is taken for dead another one loses power: by the map it may, as
 * what it loses the silent one has. So that must not leave the map for one of whom nobody has heard
 * since. The silent one comes back, before or after.
 */
static void silent_and_dark(struct run *r)
{
	struct sim *s = r->c->s;
	int a = aim_any_primary(r), shard = a < 0 ? -1 : aim_led_shard(r, (unsigned)a);
	int b = shard < 0 ? -1 : aim_backup(r, (unsigned)shard);

	if (b < 0)
		return;
	aim_write_to(r, (unsigned)shard);
	aim_pass(r, 100 * ENV_MS + sim_below(s, 200 * ENV_MS));
	aim_rest(r, true);
	aim_isolate(r, (unsigned)a, true);
	aim_pass(r, 500 * ENV_MS + sim_below(s, 1200 * ENV_MS));
	/* what was decided on its last word is on its way to the map when it dies */
	aim_isolate(r, (unsigned)b, true);
	aim_pass(r, 30 * ENV_MS);
	if (!ring_may_lose(r, (unsigned)b))
		return;
	aim_kill(r, (unsigned)b, sim_chance(s, 500) ? DISK_LOSE : DISK_POWER);
	aim_rejoin(r, (unsigned)b);
	sim_cut(s, r->c->node[a].host, r->c->node[b].host, true);
	aim_pass(r, sim_below(s, 2 * ENV_SEC));
	if (sim_chance(s, 500)) {
		aim_rejoin(r, (unsigned)a);
		aim_pass(r, sim_below(s, ENV_SEC));
		aim_start(r, (unsigned)b);
	} else {
		aim_start(r, (unsigned)b);
		aim_pass(r, sim_below(s, 3 * ENV_SEC));
		aim_rejoin(r, (unsigned)a);
	}
	aim_rest(r, false);
	aim_pass(r, ENV_SEC);
}

const struct aim aim_silent_and_dark = {
	.name = "silent-and-dark", .choose = one_may_be_lost, .once = silent_and_dark};

/* ---- all at once ---- */

static void all_may_be_lost(struct run *r, struct cluster_config *cfg)
{
	(void)cfg;
	r->loss = LOSS_ALL;
	r->power = true;
}

struct last {
	uint64_t term, seq;
};

/* What the shards' members have found on their disks: the longest of each. */
static void look_at(struct run *r, const struct ring_map *m, unsigned node, struct last *best)
{
	uint16_t place = cluster_place(r->c, node);

	for (unsigned k = 0; k < ring_nshards(m); k++) {
		struct history h = store_history(r->c->node[node].store, (uint16_t)k);

		if (ring_member(&m->shards[k], place) < 0 || h.term < best[k].term ||
			(h.term == best[k].term && h.seq <= best[k].seq))
			continue;
		best[k] = (struct last){h.term, h.seq};
	}
}

static void check_longest(struct run *r, const struct last *best)
{
	for (unsigned k = 0; k < ring_nshards(cluster_map(r->c)); k++) {
		int p = aim_primary(r, k);
		struct history h = p < 0 ? (struct history){0}
					 : store_history(r->c->node[p].store, (uint16_t)k);

		if (best[k].seq && !history_contains(&h, best[k].term, best[k].seq))
			broke(r, "shard %u went on at %llu, %llu, though a copy had %llu, %llu", k,
				(unsigned long long)h.term, (unsigned long long)h.seq,
				(unsigned long long)best[k].term, (unsigned long long)best[k].seq);
	}
}

/*
 * The power goes everywhere, while copies are behind others by what was under way. They come back
 * within a second, in any order: the shards have to go on with the longest of what is left, whoever
 * is first.
 */
static void all_dark(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned n = r->c->nnodes, first = (unsigned)sim_below(s, n);
	struct last best[1 << 3] = {{0, 0}};
	struct ring_map *m;

	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			if (i != k && sim_chance(s, 500))
				sim_slow(s, r->c->node[i].host, r->c->node[k].host,
					sim_below(s, 60 * ENV_MS));
	aim_pass(r, 100 * ENV_MS + sim_below(s, 300 * ENV_MS));
	if (r->broken || !aim_well(r, 0))
		return;
	m = ring_ref((struct ring_map *)cluster_map(r->c));
	for (unsigned i = 0; i < n; i++)
		aim_kill(r, i, DISK_POWER);
	aim_rest(r, true);
	sim_heal_all(s);
	for (unsigned i = 0; i < n; i++) {
		aim_start(r, (first + i) % n);
		look_at(r, m, (first + i) % n, best);
		aim_pass(r, sim_below(s, 300 * ENV_MS));
	}
	if (aim_until(r, aim_well, 0, BACK_MAX))
		check_longest(r, best);
	ring_unref(m);
	aim_rest(r, false);
	aim_pass(r, 200 * ENV_MS);
}

const struct aim aim_all_dark = {.name = "all-dark", .choose = all_may_be_lost, .once = all_dark};

/* ---- copies that are to go ---- */

static bool is_broken(struct run *r, unsigned node)
{
	return r->c->node[node].up && node_broken(r->c->node[node].node);
}

/*
 * There are to be fewer copies, just when the one that would stay is lost: its machine without a
 * word, or its disk, which it still can tell. The others must not leave to it.
 */
static void fewer_copies(struct run *r)
{
	struct sim *s = r->c->s;
	int p, shard;

	aim_replicas(r, 2);
	aim_pass(r, 20 * ENV_MS);
	if (!aim_until(r, aim_well, 0, BACK_MAX))
		return;
	p = aim_plain_primary(r);
	shard = p < 0 ? -1 : aim_led_shard(r, (unsigned)p);
	if (shard < 0)
		return;
	aim_write_to(r, (unsigned)shard);
	aim_pass(r, 50 * ENV_MS + sim_below(s, 200 * ENV_MS));
	if (sim_chance(s, 500)) {
		fault_fail_disk(r, (unsigned)p);
		if (!aim_until(r, is_broken, (unsigned)p, ENV_SEC))
			return;
		aim_replicas(r, 1);
		aim_pass(r, 2 * ENV_SEC);
		return;
	}
	aim_rest(r, true);
	aim_isolate(r, (unsigned)p, true);
	aim_pass(r, 30 * ENV_MS);
	if (!ring_may_lose(r, (unsigned)p))
		return;
	aim_kill(r, (unsigned)p, sim_chance(s, 500) ? DISK_LOSE : DISK_POWER);
	aim_rejoin(r, (unsigned)p);
	aim_replicas(r, 1);
	aim_pass(r, sim_below(s, 3 * ENV_SEC));
	aim_start(r, (unsigned)p);
	aim_rest(r, false);
	aim_pass(r, ENV_SEC);
}

static void two_of_three(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 2;
	r->loss = LOSS_ONE;
}

const struct aim aim_fewer_copies = {
	.name = "fewer-copies", .choose = two_of_three, .once = fewer_copies};
