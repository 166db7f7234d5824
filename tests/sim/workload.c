/* One run: a cluster and clients are made, work while faults happen, go on to the end without, and
 * are judged. */
#include "tests/sim/workload.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tests/sim/aim.h"

#define FAULTS_MAX (60 * ENV_SEC) /* how long they happen */
#define CALM_MAX (120 * ENV_SEC)  /* in which everything completes after them */

void broke(struct run *r, const char *fmt, ...)
{
	va_list ap;

	r->broken = true;
	fprintf(stderr, "sim: SEED=%llu at %.6f s: ", (unsigned long long)r->cfg->seed,
		(double)(sim_now(r->c->s) - 1000 * ENV_SEC) / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

struct flag {
	bool set;
	int rc;
};

static void flag_reply(void *arg, const struct orbit_reply *reply)
{
	struct flag *f = arg;

	f->rc = reply->rc;
	f->set = true;
}

static void flag_void(void *arg)
{
	((struct flag *)arg)->set = true;
}

static void make_objects(struct run *r)
{
	uint64_t zero[TXN_SLOTS] = {0};
	struct flag f;

	for (unsigned i = 0; i < OBJECTS; i++) {
		struct txn_build t;
		char name[16];

		snprintf(name, sizeof(name), "object %u", i);
		r->id[i] = orbit_id_hash(name, strlen(name));
		txn_init(&t);
		txn_create(&t, &r->id[i], 0, zero);
		f = (struct flag){0};
		orbit_submit(r->actor[0].client, &t, &workload_patient, flag_reply, &f);
		if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC) || f.rc)
			broke(r, "cannot create object %u: %d", i, f.rc);
	}
	/* durable: otherwise a power loss takes them away */
	f = (struct flag){0};
	orbit_sync(r->actor[0].client, &workload_patient, flag_reply, &f);
	if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC) || f.rc)
		broke(r, "cannot sync the objects: %d", f.rc);
}

static bool finished(const struct run *r)
{
	if (r->pending)
		return false;
	for (unsigned i = 0; i < r->nactors; i++)
		if (r->actor[i].started < r->per_client)
			return false;
	return true;
}

static void work(struct run *r, uint64_t limit)
{
	struct sim *s = r->c->s;

	limit += sim_now(s);
	while (!finished(r) && sim_now(s) < limit && !r->broken) {
		for (unsigned i = 0; i < 20; i++) {
			sim_run(s, 5 * ENV_MS);
			if (r->ring)
				ring_watch(r);
		}
		fault_watch(r);
		/* whoever has nothing in flight and something to do goes on */
		for (unsigned i = 0; i < r->nactors; i++)
			if (!r->actor[i].running)
				actor_next(&r->actor[i]);
	}
}

/* For whoever has to find out why. */
static void print_stalled(void *arg, const struct orbit_stalled *s)
{
	fprintf(stderr,
		"sim: client %u: %s, state %d, age %.3f s, resent %u, silent %.3f s, peer %s: %s\n",
		*(unsigned *)arg, s->writes ? "writes" : "reads", s->state, (double)s->age / 1e9,
		s->resends, (double)s->silent / 1e9, s->peer, s->reason);
}

static void print_pending(struct run *r)
{
	cluster_print(r->c);
	for (unsigned i = 0; i < r->nactors; i++)
		if (!r->actor[i].dead && !r->actor[i].closed)
			orbit_each(r->actor[i].client, false, print_stalled, &i);
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		struct node_stats n = {0};

		if (r->c->node[i].up)
			node_stats(r->c->node[i].node, &n);
		fprintf(stderr, "sim: node %u: up %d, stopping %d, waiting %llu\n", i,
			r->c->node[i].up, r->c->node[i].stopping, (unsigned long long)n.waiting);
	}
}

static void close_actor(struct run *r, struct actor *a)
{
	struct orbit_counters n;
	struct flag f = {0};

	orbit_counters(a->client, &n);
	r->res->resent += n.resent;
	if (a->stale && !a->dead && orbit_session(a->client) == a->stale)
		broke(r, "-ESTALE although the session is the same");
	a->closed = true;
	if (a->dead)
		cluster_client_bury(r->c, a->index);
	orbit_close(a->client, a->dead ? 0 : 5 * ENV_SEC, flag_void, &f);
	if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC))
		broke(r, "orbit_close never called back");
}

static void close_actors(struct run *r)
{
	for (unsigned i = 0; i < r->nactors; i++)
		close_actor(r, &r->actor[i]);
	for (size_t i = 0; i < r->nops; i++)
		if (r->op[i]->callbacks != 1)
			broke(r, "callback of uid %zu ran %u times", i + 1, r->op[i]->callbacks);
}

static void begin(struct run *r)
{
	unsigned nodes = r->cfg->nodes ? r->cfg->nodes : 1 + (unsigned)(r->cfg->seed * 7 % 4);
	struct cluster_config cfg = {.seed = r->cfg->seed,
		.nodes = nodes,
		.shard_bits = 4,
		.bursts = sim_seed_bursts(r->cfg->seed)};
	struct sim *s;

	r->ring = r->cfg->aim || r->cfg->seed % 4 < r->cfg->rings;
	if (r->cfg->aim)
		r->aim = aim_find(r->cfg->aim);
	else if (r->ring && r->cfg->seed / 4 % 5 == 0)
		r->aim = aim_at(r->cfg->seed / 20);
	r->leases = !(cfg.seed / 8 & 1);
	if (r->aim)
		aim_choose(r, &cfg);
	else if (r->ring)
		ring_choose(r, &cfg);
	else
		fault_choose(r, &cfg);
	r->c = cluster_new_with(&cfg);
	s = r->c->s;
	r->per_client = r->cfg->per_client ? r->cfg->per_client : r->long_run ? 200 : 40;
	if (r->aim)
		r->per_client = UINT_MAX;
	r->nactors = r->cfg->clients ? r->cfg->clients : 1 + (unsigned)sim_below(s, 3);
	if (r->ring)
		r->nactors = r->clients;
	for (unsigned i = 0; i < r->nactors; i++) {
		struct actor *a = &r->actor[i];
		struct orbit_policy p;

		a->run = r;
		a->index = i;
		a->soft = sim_chance(s, 250);
		p = (struct orbit_policy){
			.reads_block = !a->soft,
			.writes_block = !a->soft,
			.resend_count = (unsigned)sim_below(s, 4),
			.check_timeout = 200 * ENV_MS + sim_below(s, ENV_SEC),
		};
		a->client = cluster_client(r->c, &p);
		if (r->leases)
			held_begin(a);
	}
}

static void run(struct run *r)
{
	make_objects(r);
	if (r->broken)
		return;
	if (r->aim) {
		aim_run(r);
	} else {
		fault_begin(r);
		work(r, FAULTS_MAX);
	}
	fault_end(r);
	work(r, CALM_MAX);
	if (!finished(r) && !r->broken)
		broke(r, "%u transactions never completed after the faults ended", r->pending);
	if (!r->broken && r->ring)
		ring_heal(r);
	if (!r->broken)
		check_end(r);
	if (!r->broken && r->ring)
		flip_mend(r);
	if (!r->broken && r->ring)
		ring_compare(r);
	if (!r->broken && !r->ring && r->cfg->seed / 4 % 2 == 0)
		check_damage(r);
	if (r->broken)
		return;
	close_actors(r);
	check_left(r);
	if (!r->broken && r->ring)
		ring_erased(r);
	if (!r->ring && r->cfg->seed / 4 % 2 == 0)
		fault_restart_damaged(r);
}

static void count(struct run *r)
{
	const struct sim_counts *n = sim_counts(r->c->s);
	const struct node_stats *s = &r->c->stats;

	for (unsigned i = 0; i < r->c->nnodes; i++)
		cluster_crash(r->c, i, DISK_PROCESS);
	r->res->replayed = s->replayed;
	r->res->forwarded = s->forwarded;
	r->res->refused = s->refused;
	r->res->prepared = s->prepared;
	r->res->conflicts = s->conflicts;
	r->res->resolved = s->resolved;
	r->res->repaired = s->repaired;
	r->res->erased = s->erased;
	r->res->frames = n->frames;
	r->res->frames_corrupted = n->corrupted;
	r->res->virtual_ms = (sim_now(r->c->s) - 1000 * ENV_SEC) / ENV_MS;
}

static uint64_t virtual_clock(void *arg)
{
	struct run *r = arg;

	return r->c ? sim_now(r->c->s) - 1000 * ENV_SEC : 0;
}

int workload_run(const struct workload_config *cfg, struct workload_result *res)
{
	struct run r = {.cfg = cfg, .res = res};

	log_set_clock(virtual_clock, &r);
	begin(&r);
	run(&r);
	if (!r.broken) {
		count(&r);
		cluster_free(r.c);
	} else if (cfg->verbose) {
		print_pending(&r);
	}
	log_set_clock(NULL, NULL);
	hist_free(&r);
	free(r.bits);
	for (unsigned i = 0; i < r.nactors; i++)
		held_forget(&r.actor[i]);
	for (size_t i = 0; i < r.nops; i++) {
		free(r.op[i]->read);
		free(r.op[i]);
	}
	free(r.op);
	return r.broken ? -1 : 0;
}
