/*
 * Opening: loop, store, node with its local listener, client. A step that fails undoes the ones
 * before it. Closing: client first (it still talks to the node), then the node, then the store,
 * which makes what it has durable; then the loop that all of them ran on.
 */
#include "tools/common/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

/* ---- waiting ---- */

void await_done(void *arg, int rc)
{
	struct await *w = arg;

	w->rc = rc;
	w->done = true;
	loop_stop(w->loop);
}

void await_end(void *arg)
{
	await_done(arg, 0);
}

int await(struct await *w)
{
	while (!w->done)
		loop_run(w->loop);
	return w->rc;
}

struct pause {
	struct env_timer timer;
	struct await w;
};

static void pause_over(struct env_timer *t)
{
	await_done(&container_of(t, struct pause, timer)->w, 0);
}

void await_pause(struct loop *lp, uint64_t ns)
{
	struct pause p = {.timer.fire = pause_over, .w.loop = lp};

	env_timer_set(loop_env(lp), &p.timer, env_now(loop_env(lp)) + ns);
	await(&p.w);
}

/* ---- where ---- */

int cluster_where_seeds(struct cluster_where *w, const char *list)
{
	char *p, *next;

	cluster_where_fini(w);
	w->text = mem_dup(list, strlen(list));
	for (p = w->text; p; p = next) {
		next = strchr(p, ',');
		if (next)
			*next++ = 0;
		if (!*p || w->nseeds == ORBIT_SEEDS_MAX) {
			cluster_where_fini(w);
			return -EINVAL;
		}
		w->seeds[w->nseeds++] = p;
	}
	return 0;
}

void cluster_where_fini(struct cluster_where *w)
{
	free(w->text);
	w->text = NULL;
	w->nseeds = 0;
}

/* ---- opening ---- */

/* store_open(), waiting a little for a process that is just ending. */
static int open_store(struct cluster *c, const char *path, char *why, size_t why_len)
{
	struct store_config cfg = store_config_default();
	uint64_t give_up = env_now(c->env) + CLUSTER_BUSY_WAIT;
	int rc;

	for (;;) {
		rc = store_open(&c->store, c->env, path, &cfg, why, why_len);
		if (rc != -EBUSY || env_now(c->env) > give_up)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
}

static int check_embedded(const struct cluster *c, const char *path, char *why, size_t why_len)
{
	const struct ring_map *m = node_ring(c->node);

	if (!m) {
		snprintf(why, why_len,
			"%s: not set up, or made by an earlier version: orbitctl mkfs --store %s "
			"makes a new one",
			path, path);
		return -ENOENT;
	}
	if (m->nnodes != 1 || strcmp(m->nodes[0].addr[0], CLUSTER_LOCAL)) {
		snprintf(why, why_len, "%s: is the store of a cluster's node: use -o cluster=%s",
			path, m->nodes[0].addr[0]);
		return -EMEDIUMTYPE;
	}
	return 0;
}

/* The loop, the store and a node on it that listens within the process. */
static int open_node(struct cluster *c, const char *path, char *why, size_t why_len)
{
	struct node_config cfg = node_config_default();
	int rc;

	rc = open_store(c, path, why, why_len);
	if (rc)
		return rc;
	rc = node_new(&c->node, c->env, c->store, &cfg);
	if (rc) {
		snprintf(why, why_len, "%s: cannot be served: %s", path, strerror(-rc));
		return rc;
	}
	rc = node_listen(c->node, CLUSTER_LOCAL, NULL);
	if (rc)
		snprintf(why, why_len, "%s: %s", CLUSTER_LOCAL, strerror(-rc));
	return rc;
}

static void drop(struct cluster *c)
{
	node_free(c->node);
	store_free(c->store);
	loop_free(c->loop);
	*c = (struct cluster){0};
}

static int open_client(struct cluster *c, const struct cluster_where *w,
	const struct orbit_policy *policy, char *why, size_t why_len)
{
	struct orbit_config cfg = orbit_config_default();
	int rc;

	if (policy)
		cfg.policy = *policy;
	if (w->store) {
		cfg.seeds[0] = CLUSTER_LOCAL;
		cfg.nseeds = 1;
		memcpy(cfg.fsid, store_info(c->store)->fsid, sizeof(cfg.fsid));
	} else {
		cfg.nseeds = w->nseeds;
		memcpy(cfg.seeds, w->seeds, sizeof(cfg.seeds));
	}
	rc = orbit_new(&c->client, c->env, &cfg);
	if (rc)
		snprintf(why, why_len, "%s: not an address: want HOST:PORT[,HOST:PORT...]",
			w->store ? w->store : w->seeds[0]);
	return rc;
}

int cluster_open(struct cluster *c, const struct cluster_where *w,
	const struct orbit_policy *policy, char *why, size_t why_len)
{
	int rc;

	*c = (struct cluster){0};
	rc = loop_new(&c->loop);
	if (rc) {
		snprintf(why, why_len, "event loop: %s", strerror(-rc));
		return rc;
	}
	c->env = loop_env(c->loop);
	if (w->store) {
		rc = open_node(c, w->store, why, why_len);
		if (!rc)
			rc = check_embedded(c, w->store, why, why_len);
	}
	if (!rc)
		rc = open_client(c, w, policy, why, why_len);
	if (rc)
		drop(c);
	return rc;
}

int cluster_ready(struct cluster *c, uint64_t timeout, char *why, size_t why_len)
{
	struct await w = {.loop = c->loop};
	int rc;

	orbit_wait_ready(c->client, timeout, await_done, &w);
	rc = await(&w);
	if (rc) {
		const char *reason = orbit_last_error(c->client);

		snprintf(why, why_len, "%s", *reason ? reason : strerror(-rc));
	}
	return rc;
}

int cluster_close(struct cluster *c, uint64_t timeout)
{
	int rc = 0;

	if (c->client) {
		struct await w = {.loop = c->loop};

		orbit_close(c->client, timeout, await_end, &w);
		await(&w);
		c->client = NULL;
	}
	if (c->node) {
		struct await w = {.loop = c->loop};

		node_stop(c->node, await_end, &w);
		await(&w);
	}
	if (c->store) {
		struct await w = {.loop = c->loop};

		store_close(c->store, await_done, &w);
		rc = await(&w);
		if (rc)
			log_error("mod=cluster rc=%s msg=\"closing the store\"", log_errno(rc));
	}
	drop(c);
	return rc;
}

/* ---- making ---- */

/* The keeper's files of a node that is alone. */
static int make_keeper(struct store *st)
{
	struct ring_node self = {
		.id = store_info(st)->node, .weight = RING_WEIGHT_DEFAULT, .naddrs = 1};
	struct ring_map *m;
	int rc;

	snprintf(self.addr[0], sizeof(self.addr[0]), "%s", CLUSTER_LOCAL);
	rc = ring_make(&m, store_info(st)->fsid, RING_SHARD_BITS_DEFAULT, 1, &self, 1);
	if (rc)
		return rc;
	rc = keeper_bootstrap(st, m);
	ring_unref(m);
	return rc;
}

int cluster_make_store(const char *path, char *why, size_t why_len)
{
	struct cluster c = {0};
	struct orbit_id id;
	uint8_t fsid[16];
	int rc, rc2;

	if (getentropy(fsid, sizeof(fsid)) || getentropy(&id, sizeof(id))) {
		snprintf(why, why_len, "no random numbers: %s", strerror(errno));
		return -errno;
	}
	rc = store_make(path, fsid, &id);
	if (rc) {
		snprintf(why, why_len, "%s: %s", path,
			rc == -EEXIST      ? "there is a store already"
			: rc == -ENOTEMPTY ? "the folder is not empty"
					   : strerror(-rc));
		return rc;
	}
	rc = loop_new(&c.loop);
	if (rc) {
		snprintf(why, why_len, "event loop: %s", strerror(-rc));
		return rc;
	}
	c.env = loop_env(c.loop);
	rc = open_store(&c, path, why, why_len);
	if (rc) {
		drop(&c);
		return rc;
	}
	rc = make_keeper(c.store);
	rc2 = cluster_close(&c, 0);
	if (!rc)
		rc = rc2;
	if (rc)
		snprintf(why, why_len, "%s: %s", path, strerror(-rc));
	return rc;
}
