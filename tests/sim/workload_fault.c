/* What goes wrong: each run has some kinds of faults, at a pace of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tests/sim/workload_int.h"

/* Some runs are all about one thing, as what needs several faults in a row happens rarely else. */
static void focus(struct run *r, struct cluster_config *cfg, uint64_t x)
{
	switch (x % 8) {
	case 0: /* losses upon losses */
		r->faults = 1u << FAULT_CRASH;
		r->power = true;
		r->pace = 500 * ENV_MS;
		break;
	case 1: /* doubts that clients and participants resolve at once */
		r->faults = 1u << FAULT_CUT | 1u << FAULT_BREAK | 1u << FAULT_LOSE;
		r->impatient = r->far = true;
		cfg->in_doubt = (5 + x / 8 % 50) * ENV_MS;
		r->pace = 100 * ENV_MS;
		break;
	}
}

void fault_choose(struct run *r, struct cluster_config *cfg)
{
	uint64_t x = cfg->seed * UINT64_C(0x9e3779b97f4a7c15);
	static const uint64_t pace[] = {100 * ENV_MS, 300 * ENV_MS, ENV_SEC};

	x ^= x >> 29;
	r->think = 20 * ENV_MS;
	/* each with one half, but the last ones */
	r->faults = (unsigned)(x & ((1u << FAULT_POWER) - 1));
	for (enum fault f = FAULT_CORRUPT; f < FAULTS; f++)
		r->faults |= (x >> (2 * f) & 3) == 0 ? 1u << f : 0;
	r->pace = pace[(x >> 48) % 3];
	r->power = (x >> 52) % 5 < 2;
	r->full = fault_has(r, FAULT_FULL) || (fault_has(r, FAULT_FILL) && r->power);
	cfg->clocks = (x >> 61) % 2;
	if (fault_has(r, FAULT_FULL)) {
		cfg->capacity = (100 + (x >> 40) % 300) << 10;
		cfg->snapshot_every = 20;
	}
	if (fault_has(r, FAULT_MISS)) {
		cfg->miss = 20 + (x >> 36) % 300;
		cfg->stall = (x >> 33) % 100;
	}
	r->impatient = (x >> 45) % 4 == 0;
	if ((x >> 43) % 2)
		cfg->in_doubt = (5 + (x >> 30) % 200) * ENV_MS;
	if ((x >> 55) % 3 == 0)
		cfg->session_timeout = ENV_SEC + (x >> 20) % 8 * 500 * ENV_MS;
	r->far = (x >> 58) % 8 == 0;
	focus(r, cfg, x >> 18);
}

/* A disk with damage may be too bad to be used. */
static void start(struct run *r, unsigned i)
{
	int rc;

	if (!r->flips || (int)i != r->flipped) {
		cluster_start(r->c, i);
		return;
	}
	rc = cluster_try_start(r->c, i);
	if (rc == -EUCLEAN || rc == -EIO)
		ring_burnt(r, i);
	else if (rc)
		cluster_die("a damaged node does not start", rc);
}

/* A disk that is full stays so. */
void fault_restarted(struct run *r, unsigned node)
{
	r->doomed[node] &= disk_mem_faults(r->c->node[node].disk)->capacity != r->c->cfg.capacity;
}

struct restart {
	struct run *r;
	unsigned node;
};

static void restart_node(void *arg)
{
	struct restart *x = arg;
	struct cluster *c = x->r->c;

	if (x->r->burnt[x->node] || c->node[x->node].removed) {
		free(x);
		return;
	}
	if (c->node[x->node].stopping) {
		sim_after(c->s, 100 * ENV_MS, restart_node, x);
		return;
	}
	/* an aim may have been faster */
	if (!c->node[x->node].up) {
		start(x->r, x->node);
		fault_restarted(x->r, x->node);
	}
	free(x);
}

void fault_restart_later(struct run *r, unsigned node)
{
	struct restart *x = mem_zalloc(sizeof(*x));
	struct sim *s = r->c->s;

	*x = (struct restart){r, node};
	sim_after(s, sim_below(s, (r->ring && sim_chance(s, 100) ? 20 : 3) * ENV_SEC), restart_node,
		x);
}

static struct sim_host *any_host(struct run *r)
{
	struct cluster *c = r->c;
	unsigned i = (unsigned)sim_below(c->s, c->nnodes + c->nclients);

	return i < c->nnodes ? c->node[i].host : c->client_host[i - c->nnodes];
}

static void crash(struct run *r, unsigned n)
{
	bool power = r->power && !r->ring && sim_chance(r->c->s, 500);

	if (!r->c->node[n].up || r->c->node[n].stopping)
		return;
	cluster_crash(r->c, n, power ? DISK_POWER : DISK_PROCESS);
	r->res->crashes++;
	r->res->power_losses += power;
	fault_restart_later(r, n);
}

static void stop(struct run *r, unsigned n)
{
	if (!r->c->node[n].up || r->c->node[n].stopping)
		return;
	/* what was stopped in good order needs no power */
	cluster_stop(r->c, n, sim_chance(r->c->s, 500) ? DISK_LOSE : DISK_PROCESS);
	r->res->stops++;
	fault_restart_later(r, n);
}

/* May its store fail, so that it loses what it has not synced? */
static bool may_fail(struct run *r, unsigned n)
{
	if (!r->c->node[n].up || r->c->node[n].stopping)
		return false;
	return r->ring ? ring_may_lose(r, n) : r->power;
}

/* Between the moment when a disk is bound to fail and the one when it does others may have left:
 * what counts is whether its node may lose something when it does. */
static bool spared(void *arg)
{
	struct doom *d = arg;
	struct run *r = d->r;
	struct disk_mem_faults *f = disk_mem_faults(r->c->node[d->node].disk);

	/* what failed once has failed */
	d->failed |= !r->doomed[d->node] || !r->ring || ring_may_lose(r, d->node);
	if (d->failed)
		return false;
	r->doomed[d->node] = f->sync_fails = f->write_fails = false;
	f->capacity = r->c->cfg.capacity;
	return true;
}

static void doom(struct run *r, unsigned n)
{
	struct disk_mem_faults *f = disk_mem_faults(r->c->node[n].disk);

	r->doomed[n] = true;
	r->doom[n] = (struct doom){.r = r, .node = n};
	f->spared = spared;
	f->spared_arg = &r->doom[n];
}

/* The next write or sync fails; see fault_watch(). */
void fault_fail_disk(struct run *r, unsigned n)
{
	struct disk_mem_faults *f = disk_mem_faults(r->c->node[n].disk);

	if (!may_fail(r, n))
		return;
	doom(r, n);
	if (sim_chance(r->c->s, 500))
		f->sync_fails = true;
	else
		f->write_fails = true;
	r->res->disks_failed++;
}

/* Somebody else fills the disk, nearly, or removes things. The store may find out by a write that
 * fails, which ends it: for runs in which nodes may lose something. */
static void fill_disk(struct run *r, unsigned n)
{
	struct disk *d = r->c->node[n].disk;
	struct disk_mem_faults *f = disk_mem_faults(d);
	uint64_t total, avail;

	if (sim_chance(r->c->s, 400)) {
		f->capacity = r->c->cfg.capacity;
		r->doomed[n] = f->sync_fails || f->write_fails;
		return;
	}
	if (!may_fail(r, n))
		return;
	doom(r, n);
	d->ops->space(d, &total, &avail);
	f->capacity = total - avail + sim_below(r->c->s, 200 << 10);
	r->res->disks_filled++;
}

static void kill_client(struct run *r)
{
	struct cluster *c = r->c;
	unsigned i = (unsigned)sim_below(c->s, r->nactors);

	/* the first one sees it through; and it should not be over soon */
	if (i == 0 || r->actor[i].dead || !sim_chance(c->s, 400))
		return;
	cluster_client_kill(c, i, sim_chance(c->s, 500));
	actor_kill(&r->actor[i]);
	r->res->clients_killed++;
}

static void one_fault(struct run *r, enum fault f)
{
	struct cluster *c = r->c;
	struct sim *s = c->s;
	unsigned n = (unsigned)sim_below(s, c->nnodes);
	struct sim_host *a = c->node[n].host, *b = any_host(r);

	switch (f) {
	case FAULT_CRASH:
		crash(r, n);
		break;
	case FAULT_STOP:
		stop(r, n);
		break;
	case FAULT_DISK:
		fault_fail_disk(r, n);
		break;
	case FAULT_CUT:
		if (a == b)
			break;
		sim_cut(s, a, b, sim_chance(s, 500));
		r->res->cuts++;
		break;
	case FAULT_BREAK:
		if (a == b)
			break;
		sim_break(s, a, b);
		r->res->breaks++;
		break;
	case FAULT_LOSE:
		sim_lose_next(s, a, b, WIRE_REPLY);
		r->res->lost_answers++;
		break;
	case FAULT_ONEWAY:
		if (a == b)
			break;
		if (sim_chance(s, 500))
			sim_cut_oneway(s, a, b);
		else
			sim_cut_oneway(s, b, a);
		r->res->oneway_cuts++;
		break;
	case FAULT_SLOW:
		sim_slow(s, a, b, sim_below(s, 300 * ENV_MS));
		r->res->slow_links++;
		break;
	case FAULT_FILL:
		fill_disk(r, n);
		break;
	case FAULT_PAUSE_NODE:
		sim_host_pause(a, sim_below(s, sim_chance(s, 100) ? 12 * ENV_SEC : 2 * ENV_SEC));
		r->res->pauses++;
		break;
	case FAULT_PAUSE_CLIENT:
		sim_host_pause(c->client_host[sim_below(s, c->nclients)],
			sim_below(s, sim_chance(s, 100) ? 12 * ENV_SEC : ENV_SEC));
		r->res->clients_paused++;
		break;
	case FAULT_KILL_CLIENT:
		kill_client(r);
		break;
	default:
		ring_fault(r, f, n);
	}
}

/* One of those that happen in this run; FAULT_CORRUPT: everything is healed. */
static enum fault pick(const struct run *r)
{
	enum fault kind[FAULT_CORRUPT + 1];
	unsigned n = 0;

	for (enum fault f = 0; f < FAULT_CORRUPT; f++)
		if (fault_has(r, f))
			kind[n++] = f;
	kind[n++] = FAULT_CORRUPT;
	return kind[sim_below(r->c->s, n)];
}

static void fault(void *arg)
{
	struct run *r = arg;
	struct sim *s = r->c->s;
	enum fault f;

	if (r->quiet)
		return;
	f = pick(r);
	if (f == FAULT_CORRUPT)
		sim_heal_all(s);
	else
		one_fault(r, f);
	sim_after(s, sim_below(s, r->pace), fault, r);
}

void fault_begin(struct run *r)
{
	sim_net(r->c->s)->corrupt_ppm = fault_has(r, FAULT_CORRUPT) ? 500 : 0;
	if (r->far)
		sim_net(r->c->s)->delay_max = 20 * ENV_MS;
	r->res->clocks_wrong += r->c->cfg.clocks;
	fault(r);
	flip_begin(r);
}

void fault_watch(struct run *r)
{
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		struct cluster_node *n = &r->c->node[i];

		if (!n->up || n->stopping || !node_broken(n->node))
			continue;
		if (!r->power && !r->doomed[i])
			broke(r, "the store of node %u broke", i);
		cluster_crash(r->c, i, DISK_POWER);
		fault_restart_later(r, i);
	}
}

void fault_end(struct run *r)
{
	struct cluster *c = r->c;

	r->quiet = true;
	sim_net(c->s)->corrupt_ppm = 0;
	sim_heal_all(c->s);
	for (unsigned i = 0; i < c->nnodes; i++) {
		if (r->burnt[i])
			continue;
		disk_mem_faults(c->node[i].disk)->capacity = 0;
		disk_mem_faults(c->node[i].disk)->write_fails = false;
		disk_mem_faults(c->node[i].disk)->sync_fails = false;
	}
	/* they look how much room there is, but not all the time */
	for (unsigned i = 0; i < c->nnodes; i++) {
		struct store_usage u;

		if (c->node[i].up)
			store_usage(c->node[i].store, &u);
	}
	/* those that are paused or stopping, or died just now, come up again by themselves */
	sim_run(c->s, 15 * ENV_SEC);
	fault_watch(r);
	for (unsigned i = 0; i < c->nnodes; i++) {
		if (c->node[i].stopping)
			broke(r, "node %u never stopped", i);
		r->doomed[i] = false;
		if (!r->burnt[i] && !c->node[i].removed)
			start(r, i);
	}
}

/* ---- bits ---- */

struct files {
	struct disk *disk;
	unsigned left; /* of the logs, which one */
	char name[64];
};

static void pick_log(void *arg, const char *name)
{
	struct files *f = arg;

	if (strncmp(name, "log-", 4) || disk_mem_size(f->disk, name) == 0)
		return;
	if (!f->name[0] || f->left-- > 0)
		snprintf(f->name, sizeof(f->name), "%s", name);
}

void fault_flip(struct run *r)
{
	struct cluster *c = r->c;
	struct sim *s = c->s;

	for (unsigned i = 0; i < 1 + sim_below(s, 8); i++) {
		struct files f = {.disk = c->node[sim_below(s, c->nnodes)].disk,
			.left = (unsigned)sim_below(s, 4)};
		int64_t size;

		f.disk->ops->list(f.disk, pick_log, &f);
		size = disk_mem_size(f.disk, f.name);
		if (size <= 0)
			continue;
		disk_mem_flip(f.disk, f.name, sim_below(s, (uint64_t)size),
			(uint8_t)(1u << sim_below(s, 8)));
		r->res->bits_flipped++;
	}
}

void fault_restart_damaged(struct run *r)
{
	struct cluster *c = r->c;

	for (unsigned i = 0; i < c->nnodes; i++)
		cluster_crash(c, i, DISK_PROCESS);
	for (unsigned i = 0; i < c->nnodes; i++) {
		int rc = cluster_try_start(c, i);

		if (rc && rc != -EUCLEAN && rc != -EIO)
			broke(r, "node %u does not start on a damaged disk: %d", i, rc);
	}
	sim_run(c->s, ENV_SEC);
}
