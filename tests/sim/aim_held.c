/*
 * Aims at what clients remember under leases.
 */
#include "tests/sim/aim.h"

/*
 * A client that remembers much is cut off from all nodes, for longer than its session lasts. The
 * others change what it remembers: they wait for what it holds, until its session is fenced; and by
 * then it must not trust its memory any more.
 */
static void alone(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client = (unsigned)sim_below(s, r->nactors);

	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].reads = i == client;
	aim_pass(r, 200 * ENV_MS + sim_below(s, 300 * ENV_MS));
	r->actor[client].rests = true;
	for (unsigned i = 0; i < r->c->nnodes; i++)
		aim_without(r, client, i);
	aim_pass(r, 2 * ENV_SEC + sim_below(s, 6 * ENV_SEC));
}

static void choose(struct run *r, struct cluster_config *cfg)
{
	r->leases = true;
	cfg->session_timeout = 4 * ENV_SEC;
}

const struct aim aim_remembers_alone = {.name = "remembers-alone", .choose = choose, .once = alone};

/*
 * A client is asked to give back what it remembers, and takes longer for that than nodes wait for
 * one that is silent: as it lives, and says so, its session goes on.
 */
static void takes_its_time(struct run *r)
{
	struct actor *a = &r->actor[sim_below(r->c->s, r->nactors)];
	uint64_t lost = r->res->leases_lost;
	uint32_t session = orbit_session(a->client);

	a->slow = a->reads = true;
	aim_pass(r, 14 * ENV_SEC);
	a->slow = false;
	if (!r->broken && (r->res->leases_lost != lost || orbit_session(a->client) != session))
		broke(r, "session %u of a client that was slow, but alive, is over", session);
}

static void leases(struct run *r, struct cluster_config *cfg)
{
	(void)cfg;
	r->leases = true;
}

static void busy_with_leases(struct run *r, struct cluster_config *cfg)
{
	cfg->session_timeout = 4 * ENV_SEC;
	r->leases = true;
	r->think = 20 * ENV_MS;
}

const struct aim aim_takes_its_time = {
	.name = "takes-its-time", .choose = leases, .once = takes_its_time};

/*
 * Clients have just been granted leases when the power goes everywhere, and with it the records of
 * who holds something. One of them is slow to hear of those that come back; the others change what
 * it remembers.
 */
static void remembers_the_dead(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client = (unsigned)sim_below(s, r->nactors), n = r->c->nnodes;
	unsigned first = (unsigned)sim_below(s, n);

	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].reads = i == client;
	aim_pass(r, 100 * ENV_MS + sim_below(s, 300 * ENV_MS));
	for (unsigned i = 0; i < n; i++)
		aim_kill(r, i, DISK_POWER);
	for (unsigned i = 0; i < n; i++)
		sim_slow(s, r->c->client_host[client], r->c->node[i].host,
			sim_below(s, 800 * ENV_MS));
	for (unsigned i = 0; i < n; i++)
		aim_start(r, (first + i) % n);
	aim_pass(r, 2 * ENV_SEC + sim_below(s, 8 * ENV_SEC));
}

static void dead(struct run *r, struct cluster_config *cfg)
{
	r->leases = true;
	r->loss = LOSS_ALL;
	r->power = true;
	cfg->session_timeout = 4 * ENV_SEC;
}

const struct aim aim_remembers_the_dead = {
	.name = "remembers-the-dead", .choose = dead, .once = remembers_the_dead};

/*
 * A client reads on two nodes at once, and one of them hears of that late. Meanwhile others must
 * not change unheard, as they have it exclusively, what the first one has read for it.
 */
static void reads_early(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_any_primary(r), q = aim_any_primary(r);
	unsigned client = (unsigned)sim_below(s, r->nactors), x, y;

	if (p < 0 || q < 0 || p == q)
		return;
	x = aim_objects_of(r, (unsigned)p);
	y = aim_objects_of(r, (unsigned)q);
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].only = (x & -x) | (y & -y); /* one of each */
		r->actor[i].reads = i == client;
	}
	sim_slow(s, r->c->client_host[client], r->c->node[q].host,
		50 * ENV_MS + sim_below(s, 200 * ENV_MS));
	r->res->slow_links++;
	aim_pass(r, 2 * ENV_SEC);
}

const struct aim aim_reads_early = {
	.name = "reads-early", .choose = busy_with_leases, .once = reads_early};

/*
 * What clients sent waits for another one, which takes its time to give a lease back. They give up,
 * their sessions end, and in new ones they see that nothing came of it. Nothing may come of it
 * afterwards.
 */
static void waits_in_vain(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned holder = (unsigned)sim_below(s, r->nactors);
	size_t from;

	aim_rest(r, true);
	r->actor[holder].slow = r->actor[holder].reads = true;
	r->actor[holder].rests = false;
	aim_pass(r, 300 * ENV_MS);
	from = r->nops;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].rests = i == holder;
	aim_pass(r, 20 * ENV_MS + sim_below(s, 80 * ENV_MS));
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].rests = r->actor[i].reads = true;
		for (unsigned k = 0; i != holder && k < r->c->nnodes; k++)
			aim_without(r, i, k);
	}
	for (; from < r->nops; from++)
		op_cancel(r->op[from]);
	aim_pass(r, 4200 * ENV_MS + sim_below(s, ENV_SEC));
	sim_heal_all(s);
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].rests = i == holder;
	aim_pass(r, 4 * ENV_SEC);
}

const struct aim aim_waits_in_vain = {
	.name = "waits-in-vain", .choose = busy_with_leases, .once = waits_in_vain};

static bool is_alone(struct run *r, unsigned shard)
{
	return cluster_map(r->c)->shards[shard].nmembers == 1;
}

static bool is_down(struct run *r, unsigned node)
{
	uint16_t place = cluster_place(r->c, node);

	return place != RING_NONE && !cluster_map(r->c)->nodes[place].up;
}

static bool is_up(struct run *r, unsigned node)
{
	return !is_down(r, node);
}

/*
 * The only copy that is left is silent for so long that it is taken for dead, and comes back:
 * nobody led in its place, but it has forgotten what it granted. It grants that anew to a client
 * that holds it still, and then others change it.
 */
static void comes_back(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_plain_primary(r), shard = p < 0 ? -1 : aim_led_shard(r, (unsigned)p), b;
	unsigned holder = (unsigned)sim_below(s, r->nactors);

	b = shard < 0 ? -1 : aim_backup(r, (unsigned)shard);
	if (b < 0)
		return;
	aim_rest(r, true);
	aim_kill(r, (unsigned)b, DISK_PROCESS);
	if (!aim_until(r, is_alone, (unsigned)shard, 5 * ENV_SEC))
		return;
	aim_write_to(r, (unsigned)shard);
	r->actor[holder].reads = true;
	r->actor[holder].rests = false;
	aim_pass(r, 300 * ENV_MS);
	r->actor[holder].rests = true;
	aim_isolate(r, (unsigned)p, true);
	if (!aim_until(r, is_down, (unsigned)p, 5 * ENV_SEC))
		return;
	aim_rejoin(r, (unsigned)p);
	if (!aim_until(r, is_up, (unsigned)p, 5 * ENV_SEC))
		return;
	r->actor[holder].rests = false;
	aim_pass(r, 100 * ENV_MS + sim_below(s, 200 * ENV_MS));
	aim_rest(r, true);
	r->actor[(holder + 1) % r->nactors].rests = false;
	aim_write_to(r, (unsigned)shard);
	aim_pass(r, 200 * ENV_MS);
}

static void two_with_leases(struct run *r, struct cluster_config *cfg)
{
	cfg->nodes = 5; /* so that the keeper can do without two */
	cfg->replicas = 2;
	r->leases = true;
	r->think = 20 * ENV_MS;
}

const struct aim aim_comes_back = {
	.name = "comes-back", .choose = two_with_leases, .once = comes_back};
