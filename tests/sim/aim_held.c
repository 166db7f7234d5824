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
