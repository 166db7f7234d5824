/*
 * orbitd: one node of a cluster. See orbitd(8).
 *
 *   configuration; fork if it is to be a daemon
 *   open the store (make it if there is none and --join says for which cluster), load the node
 *   listen, say so; the node registers itself
 *   run until SIGTERM or SIGINT; then let others take over, stop serving, close the store
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "tools/common/cluster.h"
#include "tools/common/daemon.h"
#include "tools/common/fsid.h"
#include "tools/common/version.h"
#include "tools/orbitd/config.h"
#include "tools/orbitd/join.h"

#define EXIT_USAGE 2
#define WATCH_EVERY ENV_SEC
#define CHECK_TIMEOUT ENV_SEC
#define RETIRE_WAIT ENV_SEC          /* for the keeper, when we stop */
#define RETIRE_LINGER (150 * ENV_MS) /* until all know that we do not serve any more */

struct orbitd {
	struct config c;
	struct cluster cluster; /* without a client */
	struct env_timer watch; /* looks after the store */
	bool stopping;
	bool retire_late; /* it has taken long enough */
	struct env_timer retire_timer;
	int report; /* to who waits for us, or -1 */
	char why[512];
};

static int fail(struct orbitd *d, int rc, const char *what, const char *reason)
{
	snprintf(d->why, sizeof(d->why), "%s: %s", what, reason ? reason : strerror(-rc));
	return rc;
}

/* ---- the store ---- */

/* Makes the store of the cluster that --join names. */
static int make_new(struct orbitd *d)
{
	struct orbit_id id;
	uint8_t fsid[16];
	char hex[FSID_HEX];
	int rc = join_meet(d->cluster.loop, &d->c, fsid, d->why, sizeof(d->why));

	if (rc)
		return rc;
	if (getentropy(&id, sizeof(id)))
		return fail(d, -errno, "random numbers", NULL);
	rc = store_make(d->c.store, fsid, &id);
	if (rc)
		return fail(d, rc, d->c.store,
			rc == -ENOTEMPTY ? "the folder is not empty and holds no store" : NULL);
	log_info("mod=orbitd store=%s fsid=%s msg=\"made a new store\"", d->c.store,
		fsid_hex(fsid, hex));
	return 0;
}

static int open_once(struct orbitd *d)
{
	struct store_config cfg = store_config_default();

	return store_open(
		&d->cluster.store, d->cluster.env, d->c.store, &cfg, d->why, sizeof(d->why));
}

static int open_store(struct orbitd *d)
{
	int rc = open_once(d);

	if (rc != -ENOENT)
		return rc;
	if (!d->c.join.n)
		return fail(d, rc, d->c.store,
			"no store there: --join HOST:PORT makes one for a cluster that is there, "
			"orbitctl cluster init that of a new cluster's first node");
	rc = make_new(d);
	return rc ? rc : open_once(d);
}

/* ---- the node ---- */

static int open_node(struct orbitd *d)
{
	const struct config_addrs *addrs = d->c.advertise.n ? &d->c.advertise : &d->c.listen;
	struct node_config cfg = node_config_default();
	const struct ring_map *m;
	int rc;

	cfg.addrs = (const char *const *)addrs->at;
	cfg.naddrs = addrs->n;
	cfg.join = (const char *const *)d->c.join.at;
	cfg.njoin = d->c.join.n;
	cfg.zone = d->c.zone;
	cfg.weight = d->c.weight;
	cfg.witness = d->c.witness;
	rc = node_new(&d->cluster.node, d->cluster.env, d->cluster.store, &cfg);
	if (rc)
		return fail(d, rc, d->c.store, NULL);
	m = node_ring(d->cluster.node);
	if (!m && !d->c.join.n)
		return fail(d, -ENOENT, d->c.store,
			"belongs to no cluster yet: --join HOST:PORT is missing");
	if (m && m->nnodes > 1)
		return 0; /* it has joined */
	return join_check(d->cluster.loop, &d->c, store_info(d->cluster.store)->fsid, CHECK_TIMEOUT,
		d->why, sizeof(d->why));
}

/* ---- life ---- */

static void on_signal(void *arg, int signum)
{
	struct orbitd *d = arg;

	log_info("mod=orbitd signal=%d msg=\"stopping\"", signum);
	if (d->stopping)
		_exit(1); /* asked twice */
	d->stopping = true;
	loop_stop(d->cluster.loop);
}

/* A node whose store can not be written any more must not go on as if it were one. */
static void on_watch(struct env_timer *t)
{
	struct orbitd *d = container_of(t, struct orbitd, watch);

	if (node_broken(d->cluster.node)) {
		loop_stop(d->cluster.loop);
		return;
	}
	env_timer_set(d->cluster.env, t, env_now(d->cluster.env) + WATCH_EVERY);
}

static int listen_all(struct orbitd *d)
{
	for (unsigned i = 0; i < d->c.listen.n; i++) {
		int rc = node_listen(d->cluster.node, d->c.listen.at[i], NULL);

		if (rc)
			return fail(d, rc, d->c.listen.at[i],
				rc == -EADDRINUSE ? "the port is in use"
				: rc == -EINVAL   ? "not an address: want HOST:PORT"
						  : NULL);
	}
	return 0;
}

static int bring_up(struct orbitd *d)
{
	char id[ORBIT_ID_HEX];
	int rc = loop_new(&d->cluster.loop);

	if (rc)
		return fail(d, rc, "event loop", NULL);
	d->cluster.env = loop_env(d->cluster.loop);
	rc = open_store(d);
	if (!rc)
		rc = open_node(d);
	if (!rc && (loop_on_signal(d->cluster.loop, SIGTERM, on_signal, d) ||
			   loop_on_signal(d->cluster.loop, SIGINT, on_signal, d)))
		rc = fail(d, -EINVAL, "signals", "cannot be caught");
	if (!rc)
		rc = pidfile_write(d->c.pid, d->why, sizeof(d->why));
	if (!rc)
		rc = listen_all(d);
	if (!rc)
		on_watch(&d->watch);
	if (!rc)
		log_info("mod=orbitd node=%s store=%s epoch=%llu msg=\"serving\"",
			orbit_id_hex(&store_info(d->cluster.store)->node, id), d->c.store,
			(unsigned long long)(node_ring(d->cluster.node)
						     ? node_ring(d->cluster.node)->epoch
						     : 0));
	return rc;
}

/* ---- stopping ---- */

static void on_retired(void *arg, int rc)
{
	struct orbitd *d = arg;

	log_info("mod=orbitd rc=%s msg=\"others take over\"", rc ? log_errno(rc) : "0");
	if (!d->retire_late)
		env_timer_set(d->cluster.env, &d->retire_timer,
			env_now(d->cluster.env) + (rc ? 0 : RETIRE_LINGER));
}

static void on_retire_timer(struct env_timer *t)
{
	struct orbitd *d = container_of(t, struct orbitd, retire_timer);

	d->retire_late = true;
	loop_stop(d->cluster.loop);
}

/* Lets others take over what we serve, for as long as that may take. */
static void retire(struct orbitd *d)
{
	const struct ring_map *m = node_ring(d->cluster.node);

	if (!m || m->nnodes < 2 || !node_registered(d->cluster.node))
		return;
	d->retire_timer.fire = on_retire_timer;
	env_timer_set(d->cluster.env, &d->retire_timer, env_now(d->cluster.env) + RETIRE_WAIT);
	node_retire(d->cluster.node, on_retired, d);
	while (!d->retire_late)
		loop_run(d->cluster.loop);
}

static int detach(struct orbitd *d)
{
	int rc;

	if (d->report < 0)
		return 0;
	rc = daemon_ready(d->report);
	if (rc)
		return fail(d, rc, "going to the background", NULL);
	d->report = -1;
	return 0;
}

static int run(struct orbitd *d)
{
	int rc = bring_up(d), rc2;

	if (!rc)
		rc = detach(d);
	while (!rc && !d->stopping) {
		loop_run(d->cluster.loop);
		rc = node_broken(d->cluster.node);
		if (rc) {
			fail(d, rc, d->c.store, "the store failed: see the log");
			log_error("mod=orbitd rc=%s msg=\"stopping: the store failed\"",
				log_errno(rc));
		}
	}
	if (!rc)
		retire(d);
	if (d->cluster.loop)
		env_timer_clear(d->cluster.env, &d->watch);
	if (d->cluster.loop) {
		rc2 = cluster_close(&d->cluster, 0);
		if (rc2 && !rc)
			rc = fail(d, rc2, d->c.store, NULL);
	}
	if (!rc && d->c.pid)
		unlink(d->c.pid);
	return rc;
}

static int start(struct orbitd *d)
{
	int rc = d->c.log ? log_open(d->c.log) : 0;

	if (rc) {
		fprintf(stderr, "orbitd: %s: %s\n", d->c.log, strerror(-rc));
		return 1;
	}
	log_set_level(d->c.level);
	if (d->c.daemon && !d->c.log)
		log_syslog("orbitd");
	if (d->c.daemon)
		rc = daemon_fork("orbitd", 1, &d->report);
	if (rc) {
		fprintf(stderr, "orbitd: no process to be had: %s\n", strerror(-rc));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	rc = run(d);
	if (!rc)
		return 0;
	if (d->report >= 0)
		daemon_fail(d->report, d->why);
	else
		fprintf(stderr, "orbitd: %s\n", d->why);
	return 1;
}

int main(int argc, char **argv)
{
	struct orbitd d = {.report = -1, .watch.fire = on_watch};
	int code = 0;

	if (config_load(&d.c, argc, argv, d.why, sizeof(d.why))) {
		fprintf(stderr, "orbitd: %s\n", d.why);
		code = EXIT_USAGE;
	} else if (d.c.help) {
		fputs(config_help, stdout);
	} else if (d.c.version) {
		printf("orbitd %s\n", ORBITFS_VERSION);
	} else {
		code = start(&d);
	}
	config_fini(&d.c);
	return code;
}
