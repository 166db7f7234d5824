/*
 * Aims at what a new primary, or an old one, makes of what others have.
 */
#include "tests/sim/aim.h"

/* A member of the shard that is not @but; -1: none. */
static int other_member(struct run *r, unsigned shard, int but)
{
	const struct ring_shard *s = &cluster_map(r->c)->shards[shard];
	unsigned from = (unsigned)sim_below(r->c->s, s->nmembers);

	for (unsigned i = 0; i < s->nmembers; i++) {
		int at = cluster_at(r->c, s->member[(from + i) % s->nmembers]);

		if (at >= 0 && at != but)
			return at;
	}
	return -1;
}

static void five_nodes(struct run *r, struct cluster_config *cfg)
{
	(void)r;
	cfg->nodes = 4 + (unsigned)(cfg->seed % 2);
}

static bool another_leads(struct run *r, unsigned arg)
{
	int at = aim_primary(r, arg / CLUSTER_NODES_MAX);

	return at >= 0 && at != (int)(arg % CLUSTER_NODES_MAX);
}

static bool another_serves(struct run *r, unsigned arg)
{
	unsigned shard = arg / CLUSTER_NODES_MAX, not = arg % CLUSTER_NODES_MAX;

	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != not &&aim_serves(r, i, shard))
			return true;
	return false;
}

/*
 * What a primary did last has reached one member and not the other, as it ends; it is back soon,
 * so that nobody has to wait for its leases. The one that has it leads, and ends as soon as it
 * serves: what it told clients the other must have by then, to which its messages take long.
 */
static void half_sent(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_plain_primary(r), shard, q, z;

	if (p < 0 || (shard = aim_led_shard(r, (unsigned)p)) < 0)
		return;
	z = other_member(r, (unsigned)shard, p);
	if (z < 0)
		return;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = aim_objects_of(r, (unsigned)p);
	sim_cut_oneway(s, r->c->node[p].host, r->c->node[z].host);
	aim_pass(r, 20 * ENV_MS + sim_below(s, 150 * ENV_MS));
	for (unsigned i = 0; i < r->c->nnodes; i++)
		if (i != (unsigned)p && i != (unsigned)z)
			sim_slow(s, r->c->node[i].host, r->c->node[z].host, 300 * ENV_MS);
	aim_kill(r, (unsigned)p, DISK_PROCESS);
	if (!aim_until(r, another_leads, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p,
		    3 * ENV_SEC))
		return;
	aim_pass(r, sim_below(s, 60 * ENV_MS));
	aim_rejoin(r, (unsigned)p);
	aim_start(r, (unsigned)p);
	if (!aim_until(r, another_serves, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p,
		    3 * ENV_SEC))
		return;
	q = aim_primary(r, (unsigned)shard);
	if (q < 0 || q == p)
		return;
	aim_pass(r, ENV_MS + sim_below(s, 30 * ENV_MS));
	aim_kill(r, (unsigned)q, DISK_PROCESS);
	aim_pass(r, ENV_SEC + sim_below(s, ENV_SEC));
}

const struct aim aim_half_sent = {.name = "half-sent", .choose = five_nodes, .once = half_sent};

static void busy_nodes(struct run *r, struct cluster_config *cfg)
{
	cfg->nodes = 5; /* so that the keeper can do without two */
	r->think = 20 * ENV_MS;
}

/*
 * What a primary does reaches one member and not the other; then all that have it end, and the
 * other one leads alone. It must not lack anything that clients were told.
 */
static void one_is_behind(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_plain_primary(r), shard = p < 0 ? -1 : aim_led_shard(r, (unsigned)p);
	int z = shard < 0 ? -1 : other_member(r, (unsigned)shard, p), q = z;

	for (unsigned i = 0; z >= 0 && q == z && i < 20; i++)
		q = other_member(r, (unsigned)shard, p);
	if (z < 0 || q == z)
		return;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = aim_objects_of(r, (unsigned)p);
	sim_cut_oneway(s, r->c->node[p].host, r->c->node[z].host);
	aim_pass(r, 20 * ENV_MS + sim_below(s, 80 * ENV_MS));
	aim_kill(r, (unsigned)p, DISK_PROCESS);
	aim_kill(r, (unsigned)q, DISK_PROCESS);
	aim_until(r, another_leads, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p, 3 * ENV_SEC);
	aim_pass(r, 500 * ENV_MS + sim_below(s, ENV_SEC));
	aim_rejoin(r, (unsigned)p);
	aim_start(r, (unsigned)p);
	aim_start(r, (unsigned)q);
	aim_pass(r, sim_below(s, ENV_SEC));
}

const struct aim aim_one_is_behind = {
	.name = "one-is-behind", .choose = busy_nodes, .once = one_is_behind};

static void may_lose_one(struct run *r, struct cluster_config *cfg)
{
	cfg->nodes = 5;
	cfg->replicas = 2;
	r->loss = LOSS_ONE;
}

static bool is_back(struct run *r, unsigned node)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);

	return place != RING_NONE && m->nodes[place].up && r->c->node[node].up &&
	       m->nodes[place].incarnation == store_info(r->c->node[node].store)->starts;
}

/*
 * A member loses power, and with it what it had acknowledged and not synced; it is back before it
 * is missed. The keeper's leader is new and has not heard of all: it makes no plan yet, so that the
 * member stays one. Whoever counts it as what it was before loses what only the primary has by
 * then, which ends soon afterwards.
 */
static void counted_again(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_plain_primary(r), k = aim_keeper(r), shard, b, x;

	if (p < 0 || k < 0 || (shard = aim_led_shard(r, (unsigned)p)) < 0)
		return;
	b = other_member(r, (unsigned)shard, p);
	if (b < 0 || b == k || !ring_may_lose(r, (unsigned)b))
		return;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].only = aim_objects_of(r, (unsigned)p);
	aim_pass(r, 100 * ENV_MS + sim_below(s, 300 * ENV_MS));
	for (x = 0; x == p || x == k || x == b; x++)
		;
	sim_host_pause(r->c->node[x].host, 3 * ENV_SEC);
	r->res->pauses++;
	aim_kill(r, (unsigned)k, DISK_PROCESS);
	aim_kill(r, (unsigned)b, DISK_POWER);
	aim_pass(r, sim_below(s, 500 * ENV_MS));
	aim_start(r, (unsigned)b);
	aim_until(r, is_back, (unsigned)b, 2 * ENV_SEC);
	aim_pass(r, 100 * ENV_MS + sim_below(s, 200 * ENV_MS));
	aim_start(r, (unsigned)k);
	aim_kill(r, (unsigned)p, DISK_PROCESS);
	aim_pass(r, 2 * ENV_SEC + sim_below(s, 2 * ENV_SEC));
}

const struct aim aim_counted_again = {
	.name = "counted-again", .choose = may_lose_one, .once = counted_again};

static bool leads_again(struct run *r, unsigned arg)
{
	return aim_serves(r, arg % CLUSTER_NODES_MAX, arg / CLUSTER_NODES_MAX);
}

static void slow_clients(struct run *r, struct cluster_config *cfg)
{
	(void)cfg;
	r->think = 300 * ENV_MS;
}

/*
 * Requests of a client get stuck on their way to a primary; another one leads meanwhile and is
 * asked the same, and refuses some. Then the former one leads again, which knows nothing of that,
 * and the first copies arrive. What was refused must not happen now, though it could.
 */
static void late_request(struct run *r)
{
	struct sim *s = r->c->s;
	int p = aim_plain_primary(r), shard;
	unsigned c = (unsigned)sim_below(s, r->nactors), of;

	if (p < 0 || (shard = aim_led_shard(r, (unsigned)p)) < 0)
		return;
	of = aim_objects_of(r, (unsigned)p);
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].only = of;
		r->actor[i].flips = true;
	}
	aim_pass(r, 50 * ENV_MS);
	sim_cut_oneway(s, r->c->client_host[c], r->c->node[p].host);
	for (unsigned i = 0; i < 4; i++)
		actor_next(&r->actor[c]);
	r->actor[c].rests = true;
	r->res->oneway_cuts++;
	aim_isolate(r, (unsigned)p, sim_chance(s, 500));
	if (aim_until(r, another_serves, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p,
		    5 * ENV_SEC))
		aim_pass(r, 300 * ENV_MS + sim_below(s, ENV_SEC));
	aim_rejoin(r, (unsigned)p);
	aim_until(r, leads_again, (unsigned)shard * CLUSTER_NODES_MAX + (unsigned)p, 10 * ENV_SEC);
	aim_pass(r, sim_below(s, 200 * ENV_MS));
	sim_heal_all(s);
	/* what is stuck is tried more and more rarely */
	aim_pass(r, 5 * ENV_SEC);
}

const struct aim aim_late_request = {
	.name = "late-request", .choose = slow_clients, .once = late_request};
