/*
 * Aims at transactions across shards whose participants, in doubt, ask each other.
 */
#include "tests/sim/aim.h"

#define IN_DOUBT (40 * ENV_MS)
#define ROUNDS 12

static void soon_in_doubt(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 1;
	cfg->in_doubt = IN_DOUBT;
	cfg->miss = 300;
	r->think = 20 * ENV_MS;
}

/* A client and two nodes with shards that it writes to; false: there are none. */
static bool pick(struct run *r, unsigned *client, unsigned *a, unsigned *b)
{
	int p = aim_any_primary(r), q = aim_any_primary(r);

	if (p < 0 || q < 0 || p == q)
		return false;
	*client = (unsigned)sim_below(r->c->s, r->nactors);
	*a = (unsigned)p;
	*b = (unsigned)q;
	for (unsigned i = 0; i < r->nactors; i++) {
		r->actor[i].rests = i != *client;
		r->actor[i].only = aim_objects_of(r, *a) | aim_objects_of(r, *b);
	}
	return true;
}

static void give_up(struct run *r, unsigned client)
{
	for (size_t i = r->nops > 20 ? r->nops - 20 : 0; i < r->nops; i++) {
		struct op *op = r->op[i];

		if (op->actor->index == client)
			op_cancel(op);
	}
}

/*
 * Two have voted yes, the second one somewhat later; the client does not hear of that, and gives
 * up. The first one asks and hears of the vote, which promises to keep it, and commits; the
 * client's abort reaches the second one just then, and the first one much later.
 */
static void breaks_its_word(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client, a, b;

	for (unsigned i = 0; i < ROUNDS && !r->broken; i++) {
		if (!pick(r, &client, &a, &b))
			continue;
		struct sim_host *c = r->c->client_host[client];

		aim_rest(r, true);
		aim_pass(r, 20 * ENV_MS);
		sim_slow(s, c, r->c->node[b].host, sim_below(s, 30 * ENV_MS));
		sim_slow(s, r->c->node[b].host, c, ENV_SEC);
		r->actor[client].rests = false;
		r->actor[client].only = aim_objects_of(r, a) | aim_objects_of(r, b);
		actor_next(&r->actor[client]);
		aim_pass(r, 3 * ENV_MS);
		r->actor[client].rests = true;
		sim_slow(s, c, r->c->node[a].host, 500 * ENV_MS);
		aim_pass(r, IN_DOUBT - 3 * ENV_MS + sim_below(s, 30 * ENV_MS));
		/* on the way to the second one nothing is slow any more */
		give_up(r, client);
		aim_pass(r, 100 * ENV_MS);
		sim_heal_all(s);
		aim_pass(r, 50 * ENV_MS);
	}
}

const struct aim aim_breaks_its_word = {
	.name = "breaks-its-word", .choose = soon_in_doubt, .once = breaks_its_word};

/*
 * One has voted and asks another one, to which the question comes at the same time: it takes it for
 * one that never came, but cannot say so at once, and votes meanwhile.
 */
static void asked_too_early(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client, a, b;

	sim_net(s)->job_max = 20 * ENV_MS;
	for (unsigned i = 0; i < ROUNDS && !r->broken; i++) {
		if (!pick(r, &client, &a, &b))
			continue;
		sim_slow(s, r->c->client_host[client], r->c->node[b].host, 2 * IN_DOUBT);
		aim_pass(r, 150 * ENV_MS);
		sim_heal_all(s);
		aim_pass(r, 20 * ENV_MS);
	}
	sim_net(s)->job_max = 2 * ENV_MS;
}

const struct aim aim_asked_too_early = {
	.name = "asked-too-early", .choose = soon_in_doubt, .once = asked_too_early};

/*
 * All have voted, and one does not hear of what was decided, nor can it ask, for longer than others
 * remember what need not be remembered. When it can they have to know still.
 */
static void decided_late(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client, a, b;

	if (!pick(r, &client, &a, &b))
		return;
	for (unsigned i = 0; i < r->nactors; i++)
		r->actor[i].rests = false;
	aim_pass(r, 100 * ENV_MS + sim_below(s, 50 * ENV_MS));
	for (unsigned i = 0; i < r->nactors; i++) {
		aim_without(r, i, b);
		r->actor[i].rests = true;
	}
	sim_cut(s, r->c->node[a].host, r->c->node[b].host, true);
	aim_pass(r, 800 * ENV_MS + sim_below(s, 2 * ENV_SEC));
	sim_heal(s, r->c->node[a].host, r->c->node[b].host);
	aim_pass(r, 3 * ENV_SEC);
	sim_heal_all(s);
	aim_rest(r, false);
	aim_pass(r, 100 * ENV_MS);
}

const struct aim aim_decided_late = {
	.name = "decided-late", .choose = soon_in_doubt, .once = decided_late};

static bool is_idle(struct run *r, unsigned client)
{
	return !r->actor[client].running;
}

static void one_copy(struct run *r, struct cluster_config *cfg)
{
	cfg->replicas = 1;
	cfg->in_doubt = 5 * ENV_SEC; /* the other way is found after three */
	r->think = 100 * ENV_MS;
}

/*
 * What a client sent a node is held up. It goes by way of another node, and all is done and told to
 * be forgotten; but one participant ends before it has. Then the first copy arrives, where nobody
 * remembers anything.
 */
static void strays(struct run *r)
{
	struct sim *s = r->c->s;
	unsigned client, a, b;

	if (!pick(r, &client, &a, &b))
		return;
	aim_rest(r, true);
	aim_pass(r, 50 * ENV_MS);
	sim_cut(s, r->c->client_host[client], r->c->node[a].host, true);
	r->actor[client].rests = false;
	r->actor[client].only = aim_objects_of(r, a) | aim_objects_of(r, b);
	for (unsigned i = 0; i < 4; i++)
		actor_next(&r->actor[client]);
	aim_pass(r, 2 * ENV_MS);
	r->actor[client].rests = true;
	if (!aim_until(r, is_idle, client, 8 * ENV_SEC))
		return;
	aim_pass(r, 25 * ENV_MS + sim_below(s, 100 * ENV_MS));
	aim_kill(r, b, DISK_PROCESS);
	aim_pass(r, sim_below(s, 300 * ENV_MS));
	aim_start(r, b);
	aim_pass(r, 1200 * ENV_MS);
	sim_heal_all(s);
	aim_pass(r, 8 * ENV_SEC);
}

const struct aim aim_strays = {.name = "strays", .choose = one_copy, .once = strays};
