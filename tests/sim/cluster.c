#include "tests/sim/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

void cluster_die(const char *what, int rc)
{
	fprintf(stderr, "sim: %s: %s\n", what, log_errno(rc));
	abort();
}

static void must(const char *what, int rc)
{
	if (rc)
		cluster_die(what, rc);
}

/* A machine that was just switched on. */
static void set_clock(struct cluster *c, struct sim_host *h)
{
	if (c->cfg.clocks)
		sim_host_clock(h, ENV_SEC + sim_below(c->s, 10000 * ENV_SEC),
			(int)sim_below(c->s, 20001) - 10000);
}

static struct store_config small_store(const struct cluster_config *c)
{
	struct store_config cfg = store_config_default();

	/* small, so that segments, flushes and compaction happen within a short run */
	cfg.segment_size = 64 << 10;
	cfg.index_buffer = 64 << 10;
	cfg.cache_size = 1 << 20;
	/* what the keeper writes on that disk between two looks at its room is more than the part
	 * of it that the store would keep of so small a one */
	cfg.reserve = c->capacity ? 24 << 10 : 0;
	cfg.log_keep = 1 << 20;
	return cfg;
}

struct waited {
	bool done;
	int rc;
};

static void waited_cb(void *arg, int rc)
{
	struct waited *w = arg;

	w->done = true;
	w->rc = rc;
}

/* The first node begins with the map, at its first start; the others join by it. */
static int bootstrap(struct cluster *c, struct cluster_node *n)
{
	if (n != &c->node[0] || n->begun)
		return 0;
	n->begun = true;
	return keeper_bootstrap(n->store, c->map);
}

static void join_config(struct cluster_node *n, struct node_config *cfg)
{
	cfg->addrs = &n->addrs;
	cfg->naddrs = 1;
	cfg->join = n->join;
	cfg->njoin = n->njoin;
	cfg->zone = n->zone[0] ? n->zone : NULL;
	cfg->witness = n->witness;
	cfg->weight = n->witness ? 0 : RING_WEIGHT_DEFAULT;
	cfg->learn_rate = 0;
	/* what takes minutes otherwise is over within a run */
	cfg->recovery_wait = 5 * ENV_SEC;
	cfg->erase_after = 5 * ENV_SEC;
	cfg->keeper.voter_timeout = 5 * ENV_SEC;
	cfg->keeper.gone_timeout = 20 * ENV_SEC;
	cfg->keeper.step_every = 200 * ENV_MS;
	cfg->keeper.snapshot_every = n->c->cfg.snapshot_every;
}

static int open_node(struct cluster *c, struct cluster_node *n, char *why, size_t why_len)
{
	struct store_config scfg = small_store(&c->cfg);
	struct node_config ncfg = node_config_default();
	struct env *e = sim_env(n->host);
	int rc = store_open_on(&n->store, e, n->disk, n->index, &scfg, why, why_len);

	if (rc)
		return rc;
	if (c->cfg.session_timeout)
		ncfg.keeper.session_timeout = c->cfg.session_timeout;
	if (c->cfg.in_doubt)
		ncfg.in_doubt_timeout = c->cfg.in_doubt;
	join_config(n, &ncfg);
	rc = bootstrap(c, n);
	if (!rc)
		rc = node_new(&n->node, e, n->store, &ncfg);
	if (rc) {
		snprintf(why, why_len, "the node does not start");
		store_free(n->store);
		return rc;
	}
	must("node_listen", node_listen(n->node, n->addr, NULL));
	n->up = true;
	return 0;
}

static void must_open(struct cluster *c, struct cluster_node *n)
{
	char why[256] = "";
	int rc = open_node(c, n, why, sizeof(why));

	if (rc) {
		fprintf(stderr, "sim: store of %s: %s\n", n->addr, why);
		cluster_die("cannot start a node", rc);
	}
}

void cluster_make_node(struct cluster *c, unsigned i)
{
	struct cluster_node *n = &c->node[i];
	char name[16];

	snprintf(name, sizeof(name), "n%u", i);
	snprintf(n->addr, sizeof(n->addr), "%s:1", name);
	n->addrs = n->addr;
	n->witness = c->cfg.witness && i + 1 == c->cfg.nodes;
	n->c = c;
	n->host = sim_host_new(c->s, name);
	set_clock(c, n->host);
	n->id = orbit_id_hash(name, strlen(name));
	n->disk = disk_mem_new();
	n->index = index_mem_new();
	disk_mem_faults(n->disk)->capacity = c->cfg.capacity;
	disk_mem_faults(n->disk)->miss = c->cfg.miss;
	index_mem_faults(n->index)->miss = c->cfg.miss;
	index_mem_faults(n->index)->stall = c->cfg.stall;
	must("store_make_on", store_make_on(n->disk, c->fsid, &n->id));
	if (c->cfg.zones)
		snprintf(n->zone, sizeof(n->zone), "z%u", i % c->cfg.zones);
	for (unsigned k = 0; k < (i ? i : 1); k++)
		n->join[n->njoin++] = c->node[k].addr;
}

static void describe(const struct cluster_node *n, struct ring_node *rn)
{
	memset(rn, 0, sizeof(*rn));
	rn->id = n->id;
	rn->weight = n->witness ? 0 : RING_WEIGHT_DEFAULT;
	rn->witness = n->witness;
	rn->naddrs = 1;
	snprintf(rn->addr[0], ENV_ADDR_MAX, "%s", n->addr);
	snprintf(rn->zone, sizeof(rn->zone), "%s", n->zone);
}

static bool ready(struct cluster *c, char *why, size_t len)
{
	snprintf(why, len, "not all nodes are in the map");
	for (unsigned i = 0; i < c->nnodes; i++)
		if (!node_registered(c->node[i].node))
			return false;
	return !c->cfg.replicas || cluster_healthy(c, why, len);
}

struct cluster *cluster_new_with(const struct cluster_config *cfg)
{
	struct cluster *c = mem_zalloc(sizeof(*c));
	struct ring_node *rn = mem_zalloc(cfg->nodes * sizeof(*rn));
	unsigned replicas = cfg->replicas ? cfg->replicas : 1;
	char why[160];

	c->cfg = *cfg;
	c->s = sim_new(cfg->seed);
	sim_net(c->s)->bursts = cfg->bursts;
	memset(c->fsid, 0x5a, sizeof(c->fsid));
	c->admin = sim_host_new(c->s, "admin");
	c->nnodes = cfg->join ? 1 : cfg->nodes;
	for (unsigned i = 0; i < c->nnodes; i++) {
		cluster_make_node(c, i);
		describe(&c->node[i], &rn[i]);
	}
	must("ring_make", ring_make(&c->map, c->fsid, cfg->shard_bits, replicas, rn, c->nnodes));
	free(rn);
	for (unsigned i = 0; i < c->nnodes; i++)
		must_open(c, &c->node[i]);
	while (c->nnodes < cfg->nodes)
		cluster_add(c);
	for (unsigned tries = 0; !ready(c, why, sizeof(why)); tries++) {
		if (tries == 6000) {
			fprintf(stderr, "sim: %s\n", why);
			cluster_die("the cluster does not form", -110);
		}
		sim_run(c->s, 10 * ENV_MS);
	}
	return c;
}

struct cluster *cluster_new(uint64_t seed, unsigned nnodes, unsigned shard_bits)
{
	const struct cluster_config cfg = {.seed = seed, .nodes = nnodes, .shard_bits = shard_bits};

	return cluster_new_with(&cfg);
}

/* What was there is gone but for the disk and the index, and they suffer @how. */
static void gone(struct cluster_node *n, enum disk_crash how)
{
	struct cluster *c = n->c;
	struct node_stats s;

	cluster_map(c); /* while it can still be seen */
	node_stats(n->node, &s);
	c->stats.executed += s.executed;
	c->stats.replayed += s.replayed;
	c->stats.forwarded += s.forwarded;
	c->stats.refused += s.refused;
	c->stats.conflicts += s.conflicts;
	c->stats.prepared += s.prepared;
	c->stats.resolved += s.resolved;
	c->stats.errors += s.errors;
	c->stats.repaired += s.repaired;
	c->stats.erased += s.erased;
	n->up = n->stopping = false;
	sim_host_kill(n->host, how != DISK_PROCESS);
	if (how != DISK_PROCESS)
		set_clock(c, n->host);
	node_free(n->node);
	store_free(n->store);
	n->node = NULL;
	n->store = NULL;
	disk_mem_faults(n->disk)->write_fails = false;
	disk_mem_faults(n->disk)->sync_fails = false;
	disk_mem_crash(n->disk, how, sim_random(c->s));
	index_mem_crash(n->index, sim_random(c->s));
}

void cluster_crash(struct cluster *c, unsigned i, enum disk_crash how)
{
	struct cluster_node *n = &c->node[i];

	if (n->up && !n->stopping)
		gone(n, how);
}

static void close_over(void *arg)
{
	struct cluster_node *n = arg;

	gone(n, n->after_stop);
}

static void store_closed(void *arg, int rc)
{
	struct cluster_node *n = arg;

	/* not from within its own callback */
	(void)rc;
	sim_after(n->c->s, 0, close_over, n);
}

static void node_stopped(void *arg)
{
	struct cluster_node *n = arg;

	store_close(n->store, store_closed, n);
}

void cluster_stop(struct cluster *c, unsigned i, enum disk_crash after)
{
	struct cluster_node *n = &c->node[i];

	if (!n->up || n->stopping)
		return;
	n->stopping = true;
	n->after_stop = after;
	node_stop(n->node, node_stopped, n);
}

int cluster_try_start(struct cluster *c, unsigned i)
{
	struct cluster_node *n = &c->node[i];
	char why[256] = "";

	if (n->up)
		return 0;
	sim_host_start(n->host);
	return open_node(c, n, why, sizeof(why));
}

void cluster_start(struct cluster *c, unsigned i)
{
	struct cluster_node *n = &c->node[i];

	if (n->up)
		return;
	sim_host_start(n->host);
	must_open(c, n);
}

struct orbit_client *cluster_client(struct cluster *c, const struct orbit_policy *policy)
{
	struct orbit_config cfg = orbit_config_default();
	struct orbit_client *client;
	struct waited w = {0};
	char name[16];

	snprintf(name, sizeof(name), "c%u", c->nclients);
	c->client_host[c->nclients] = sim_host_new(c->s, name);
	set_clock(c, c->client_host[c->nclients]);
	for (unsigned i = 0; i < c->nnodes; i++)
		if (!c->node[i].removed)
			cfg.seeds[cfg.nseeds++] = c->node[i].addr;
	memcpy(cfg.fsid, c->fsid, sizeof(cfg.fsid));
	cfg.policy = *policy;
	must("orbit_new", orbit_new(&client, sim_env(c->client_host[c->nclients++]), &cfg));
	orbit_wait_ready(client, 30 * ENV_SEC, waited_cb, &w);
	if (!sim_wait(c->s, &w.done, 60 * ENV_SEC))
		cluster_die("orbit_wait_ready never called back", -110);
	if (w.rc)
		fprintf(stderr, "sim: client: %s\n", orbit_last_error(client));
	must("orbit_wait_ready", w.rc);
	return client;
}

void cluster_client_kill(struct cluster *c, unsigned i, bool silent)
{
	sim_host_kill(c->client_host[i], silent);
}

void cluster_client_bury(struct cluster *c, unsigned i)
{
	sim_host_start(c->client_host[i]);
}

void cluster_free(struct cluster *c)
{
	for (unsigned i = 0; i < c->nnodes; i++) {
		if (c->node[i].up)
			gone(&c->node[i], DISK_PROCESS);
		disk_free(c->node[i].disk);
		index_free(c->node[i].index);
	}
	ring_unref(c->map);
	sim_free(c->s);
	free(c);
}
