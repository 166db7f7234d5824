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
