/*
 * orbitfs: mounts. See orbitfs(8).
 *
 *   parse options
 *   fork: the parent waits for the child's word   (before there is any loop or thread)
 *   open the store or connect; fs_mount(); mount; the kernel greets us
 *   tell the parent "ready", let go of the terminal
 *   run until the kernel lets go (umount) or a signal asks us to
 *   unmount, flush, end the session, stop the node, close the store
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "fs/fuse/fuse.h"
#include "tools/common/cluster.h"
#include "tools/common/daemon.h"
#include "tools/common/version.h"
#include "tools/orbitfs/options.h"

/* mount(8)'s codes */
#define EXIT_USAGE 1
#define EXIT_SYSTEM 2
#define EXIT_MOUNT 32

/* How long an unmount waits for what is not sent yet. */
#define STOP_TIMEOUT (30 * ENV_SEC)

struct mount {
	struct options *o;
	struct cluster cluster;
	struct fs *fs;
	struct fuse_mount *fuse;
	struct await running; /* ends when we are to stop */
	bool mounted;         /* the kernel has greeted us */
	bool gone;            /* ... and let go */
	int stops;            /* signals that asked us to end */
	int report;           /* to who waits for us (daemon.h), or -1 */
	char why[512];
};

/* Lets the parent go. */
static int detach(struct mount *m)
{
	int rc;

	if (m->report < 0)
		return 0;
	rc = daemon_ready(m->report);
	if (!rc)
		m->report = -1;
	return rc;
}

/* ---- events ---- */

static void on_ready(void *arg)
{
	struct mount *m = arg;

	m->mounted = true;
	loop_stop(m->cluster.loop);
}

static void on_gone(void *arg)
{
	struct mount *m = arg;

	m->gone = true;
	loop_stop(m->cluster.loop);
}

static void on_signal(void *arg, int signum)
{
	struct mount *m = arg;

	log_info("mod=orbitfs signal=%d msg=\"stopping\"", signum);
	if (++m->stops > 1)
		_exit(EXIT_SYSTEM); /* asked twice: what is not flushed is given up */
	loop_stop(m->cluster.loop);
}

struct mounting {
	struct await w;
	struct fs *fs;
};

static void on_fs(void *arg, int rc, struct fs *fs)
{
	struct mounting *g = arg;

	g->fs = fs;
	await_done(&g->w, rc);
}

/* ---- up ---- */

static void explain_mount(struct mount *m, int rc)
{
	const char *reason = orbit_last_error(m->cluster.client);
	const char *source = m->o->source;

	if (rc == -ENOENT)
		snprintf(m->why, sizeof(m->why), "%s: no filesystem there yet (see orbitctl mkfs)",
			source);
	else if (rc == -EPROTONOSUPPORT && !*reason)
		snprintf(m->why, sizeof(m->why), "%s: filesystem of a newer format", source);
	else
		snprintf(
			m->why, sizeof(m->why), "%s: %s", source, *reason ? reason : strerror(-rc));
}

static int bring_up(struct mount *m)
{
	struct options *o = m->o;
	struct mounting g;
	struct fuse_mount_options fo = {
		.mountpoint = o->mountpoint,
		.source = o->source,
		.kernel_opts = (const char *)o->kernel.data,
		.allow_other = o->allow_other,
		.noacl = o->noacl,
		.read_only = o->fs.read_only,
		.debug = o->debug,
		.ready = on_ready,
		.gone = on_gone,
		.arg = m,
	};
	int rc;

	rc = cluster_open(&m->cluster, &o->where, &o->policy, m->why, sizeof(m->why));
	if (rc)
		return rc;
	g = (struct mounting){.w.loop = m->cluster.loop};
	fs_mount(m->cluster.client, m->cluster.env, &o->fs, o->timeout, on_fs, &g);
	rc = await(&g.w);
	if (rc) {
		explain_mount(m, rc);
		return rc;
	}
	m->fs = g.fs;
	rc = loop_on_signal(m->cluster.loop, SIGTERM, on_signal, m);
	if (!rc)
		rc = loop_on_signal(m->cluster.loop, SIGINT, on_signal, m);
	if (rc) {
		snprintf(m->why, sizeof(m->why), "signals: %s", strerror(-rc));
		return rc;
	}
	rc = fuse_mount_new(&m->fuse, m->cluster.loop, m->fs, &fo, m->why, sizeof(m->why));
	while (!rc && !m->mounted && !m->gone && !m->stops)
		loop_run(m->cluster.loop);
	if (!rc && !m->mounted) {
		snprintf(
			m->why, sizeof(m->why), "%s: unmounted before it was ready", o->mountpoint);
		rc = -EINTR;
	}
	return rc;
}

/* ---- down ---- */

static int take_down(struct mount *m)
{
	int rc = 0, rc2;

	fuse_mount_free(m->fuse);
	if (m->fs) {
		struct await w = {.loop = m->cluster.loop};

		fs_unmount(m->fs, STOP_TIMEOUT, await_done, &w);
		rc = await(&w);
		if (rc)
			log_error("mod=orbitfs rc=%s msg=\"changes were lost at unmount\"",
				log_errno(rc));
	}
	if (m->cluster.loop) {
		rc2 = cluster_close(&m->cluster, STOP_TIMEOUT);
		if (!rc)
			rc = rc2;
	}
	return rc;
}

static int run(struct mount *m)
{
	int rc = bring_up(m);

	if (!rc)
		rc = pidfile_write(m->o->pid, m->why, sizeof(m->why));
	if (!rc) {
		rc = detach(m);
		if (rc)
			snprintf(m->why, sizeof(m->why), "detaching: %s", strerror(-rc));
	}
	if (rc) {
		take_down(m);
		return rc;
	}
	log_info("mod=orbitfs session=%u source=%s msg=\"mounted on %s\"",
		orbit_session(m->cluster.client), m->o->source, m->o->mountpoint);
	while (!m->gone && !m->stops)
		loop_run(m->cluster.loop);
	rc = take_down(m);
	log_info("mod=orbitfs rc=%s msg=\"unmounted\"", log_errno(rc));
	if (m->o->pid)
		unlink(m->o->pid);
	return rc;
}

/* The kernel would mount on anything. */
static int check_mountpoint(const char *path)
{
	struct stat st;
	int rc = stat(path, &st) ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;

	if (rc)
		fprintf(stderr, "orbitfs: %s: %s\n", path,
			rc == -ENOTCONN ? "a mount that died is there: unmount it first"
					: strerror(-rc));
	return rc;
}

static int mount_it(struct options *o)
{
	struct mount m = {.o = o, .report = -1};
	int rc = 0;

	if (check_mountpoint(o->mountpoint))
		return EXIT_MOUNT;

	if (o->log) {
		rc = log_open(o->log);
		if (rc) {
			fprintf(stderr, "orbitfs: %s: %s\n", o->log, strerror(-rc));
			return EXIT_USAGE;
		}
	}
	if (o->verbose || o->debug)
		log_set_level(LOG_LVL_DEBUG);
	if (!o->foreground && !o->log)
		log_syslog("orbitfs"); /* the terminal gets one line, and only if it fails */
	if (!o->foreground)
		rc = daemon_fork("orbitfs", EXIT_MOUNT, &m.report);
	if (rc) {
		fprintf(stderr, "orbitfs: no process to be had: %s\n", strerror(-rc));
		return EXIT_SYSTEM;
	}
	signal(SIGPIPE, SIG_IGN);
	if (!run(&m))
		return 0;
	if (m.report >= 0)
		daemon_fail(m.report, m.why);
	else if (*m.why)
		fprintf(stderr, "orbitfs: %s\n", m.why);
	return EXIT_MOUNT;
}

int main(int argc, char **argv)
{
	struct options o;
	char why[512];
	int code = 0;

	if (options_parse(&o, argc, argv, why, sizeof(why))) {
		fprintf(stderr, "orbitfs: %s\n", why);
		code = EXIT_USAGE;
	} else if (o.help) {
		fputs(options_help, stdout);
	} else if (o.version) {
		printf("orbitfs %s\n", ORBITFS_VERSION);
	} else if (!o.fake) {
		code = mount_it(&o);
	}
	options_fini(&o);
	return code;
}
