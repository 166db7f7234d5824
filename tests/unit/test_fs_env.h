/*
 * A whole filesystem for tests: nodes and clients in the simulator's world, on virtual time, with a
 * filesystem made and mounted; and the operations as calls that come back.
 */
#ifndef ORBIT_TESTS_TEST_FS_ENV_H
#define ORBIT_TESTS_TEST_FS_ENV_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/ops/fs.h"
#include "tests/sim/cluster.h"

#define UNUSED __attribute__((unused))
#define FSX_MOUNTS_MAX 4
#define FSX_LIMIT (600 * ENV_SEC)
#define ROOT layout_ino_root()

/* One mount and what its calls gave last. */
struct fsx_mount {
	struct orbit_client *client;
	struct env *env;
	struct fs *fs;
	struct fs_config cfg;
	uint32_t uid, gid; /* of the caller; 0 */
};

struct fsx {
	struct cluster *c;
	unsigned n;
	struct fsx_mount m[FSX_MOUNTS_MAX];
};

struct fsx_wait {
	struct fs_call call;
	bool done;
	int rc;
	void *copy; /* of call.data */
	struct fs *fs;
};

static UNUSED void fsx_done(struct fs_call *call, int rc)
{
	struct fsx_wait *w = container_of(call, struct fsx_wait, call);

	assert_false(w->done); /* exactly once */
	w->done = true;
	w->rc = rc;
	if (rc == 0 && call->data)
		w->copy = mem_dup(call->data, call->len);
}

static UNUSED void fsx_call(struct fsx_mount *m, struct fsx_wait *w)
{
	memset(w, 0, sizeof(*w));
	w->call.uid = m->uid;
	w->call.gid = m->gid;
	w->call.done = fsx_done;
	w->fs = m->fs;
}

/* Runs the world until the call is over. */
static UNUSED int fsx_wait(struct fsx *x, struct fsx_wait *w)
{
	assert_true(sim_wait(x->c->s, &w->done, FSX_LIMIT));
	return w->rc;
}

static UNUSED void fsx_rc(void *arg, int rc)
{
	struct fsx_wait *w = arg;

	w->done = true;
	w->rc = rc;
}

static UNUSED void fsx_mounted(void *arg, int rc, struct fs *fs)
{
	struct fsx_wait *w = arg;

	w->done = true;
	w->rc = rc;
	w->fs = fs;
}

static UNUSED void fsx_closed(void *arg)
{
	*(bool *)arg = true;
}

/* What mounts remember that are made from now on. */
static UNUSED enum fs_cache fsx_cache;

/* A client on a host of its own, without a mount. */
static UNUSED struct fsx_mount *fsx_client(struct fsx *x, const struct orbit_policy *policy)
{
	struct orbit_policy p = policy ? *policy : orbit_config_default().policy;
	struct fsx_mount *m = &x->m[x->n];

	m->client = cluster_client(x->c, &p);
	m->env = sim_env(x->c->client_host[x->n]);
	m->cfg = fs_config_default();
	m->cfg.policy = p;
	m->cfg.cache = fsx_cache;
	x->n++;
	return m;
}

static UNUSED int fsx_mount(struct fsx *x, struct fsx_mount *m)
{
	struct fsx_wait w = {0};

	fs_mount(m->client, m->env, &m->cfg, 30 * ENV_SEC, fsx_mounted, &w);
	fsx_wait(x, &w);
	m->fs = w.fs;
	return w.rc;
}

static UNUSED int fsx_unmount(struct fsx *x, struct fsx_mount *m)
{
	struct fsx_wait w = {0};

	fs_unmount(m->fs, 30 * ENV_SEC, fsx_rc, &w);
	m->fs = NULL;
	return fsx_wait(x, &w);
}

static UNUSED void fsx_close(struct fsx *x, struct fsx_mount *m)
{
	bool done = false;

	orbit_close(m->client, 10 * ENV_SEC, fsx_closed, &done);
	assert_true(sim_wait(x->c->s, &done, FSX_LIMIT));
	m->client = NULL;
}

static UNUSED int fsx_mkfs(struct fsx *x, struct fsx_mount *m)
{
	struct fsx_wait w = {0};

	fs_mkfs(m->client, m->env, 0, 0, fsx_rc, &w);
	return fsx_wait(x, &w);
}

static UNUSED struct fsx *fsx_new_with(const struct cluster_config *cfg, unsigned mounts)
{
	struct fsx *x = mem_zalloc(sizeof(*x));

	log_set_level(getenv("FSX_LOG") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	x->c = cluster_new_with(cfg);
	for (unsigned i = 0; i < mounts; i++) {
		struct fsx_mount *m = fsx_client(x, NULL);

		if (i == 0)
			assert_int_equal(fsx_mkfs(x, m), 0);
		assert_int_equal(fsx_mount(x, m), 0);
	}
	return x;
}

/* @nnodes nodes, an empty filesystem, @mounts mounts of it. */
static UNUSED struct fsx *fsx_new(uint64_t seed, unsigned nnodes, unsigned mounts)
{
	return fsx_new_with(
		&(struct cluster_config){.seed = seed, .nodes = nnodes, .shard_bits = 6}, mounts);
}

/* Ends a node as SIGTERM does. */
static UNUSED void fsx_stop(struct fsx *x, struct cluster_node *n)
{
	struct fsx_wait w = {0};
	bool done = false;

	if (!n->up)
		return;
	node_stop(n->node, fsx_closed, &done);
	assert_true(sim_wait(x->c->s, &done, FSX_LIMIT));
	node_free(n->node);
	store_close(n->store, fsx_rc, &w);
	assert_int_equal(fsx_wait(x, &w), 0);
	store_free(n->store);
	n->up = false;
}

static UNUSED void fsx_free(struct fsx *x)
{
	for (unsigned i = 0; i < x->n; i++) {
		if (x->m[i].fs)
			assert_int_equal(fsx_unmount(x, &x->m[i]), 0);
		if (x->m[i].client)
			fsx_close(x, &x->m[i]);
	}
	for (unsigned i = 0; i < x->c->nnodes; i++)
		fsx_stop(x, &x->c->node[i]);
	sim_run(x->c->s, ENV_SEC); /* jobs under way end */
	cluster_free(x->c);
	free(x);
}

/* Nobody answers @m any more, until fsx_reach(). */
static UNUSED void fsx_unreach(struct fsx *x, struct fsx_mount *m)
{
	for (unsigned i = 0; i < x->c->nnodes; i++)
		sim_cut(x->c->s, x->c->client_host[m - x->m], x->c->node[i].host, false);
}

static UNUSED void fsx_reach(struct fsx *x, struct fsx_mount *m)
{
	for (unsigned i = 0; i < x->c->nnodes; i++)
		sim_heal(x->c->s, x->c->client_host[m - x->m], x->c->node[i].host);
}

/* Transactions that this mount's client has sent so far. */
static UNUSED uint64_t fsx_sent(const struct fsx_mount *m)
{
	struct orbit_counters c;

	orbit_counters(m->client, &c);
	return c.completed;
}

/* ---- operations; all return the call's rc, attributes go to @a unless NULL ---- */

#define FSX_OP(x, m, a, ...)                                                                       \
	struct fsx_wait w;                                                                         \
	int rc;                                                                                    \
	fsx_call(m, &w);                                                                           \
	__VA_ARGS__;                                                                               \
	rc = fsx_wait(x, &w);                                                                      \
	if (a)                                                                                     \
		*(a) = w.call.attr;                                                                \
	free(w.copy)

#define NO_ATTR ((struct fs_attr *)NULL)

static UNUSED int fsx_lookup(
	struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_lookup(m->fs, &w.call, dir, name));
	return rc;
}

static UNUSED int fsx_getattr(struct fsx *x, struct fsx_mount *m, uint64_t ino, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_getattr(m->fs, &w.call, ino));
	return rc;
}

static UNUSED int fsx_setattr(struct fsx *x, struct fsx_mount *m, uint64_t ino, unsigned what,
	const struct fs_attr *set, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_setattr(m->fs, &w.call, ino, what, set));
	return rc;
}

static UNUSED int fsx_mkdir(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name,
	uint32_t mode, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_mkdir(m->fs, &w.call, dir, name, mode));
	return rc;
}

static UNUSED int fsx_mknod(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name,
	uint32_t mode, uint64_t rdev, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_mknod(m->fs, &w.call, dir, name, mode, rdev));
	return rc;
}

static UNUSED int fsx_symlink(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name,
	const char *target, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_symlink(m->fs, &w.call, dir, name, target));
	return rc;
}

static UNUSED int fsx_link(struct fsx *x, struct fsx_mount *m, uint64_t ino, uint64_t dir,
	const char *name, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_link(m->fs, &w.call, ino, dir, name));
	return rc;
}

static UNUSED int fsx_unlink(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name)
{
	FSX_OP(x, m, NO_ATTR, fs_unlink(m->fs, &w.call, dir, name));
	return rc;
}

static UNUSED int fsx_rmdir(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name)
{
	FSX_OP(x, m, NO_ATTR, fs_rmdir(m->fs, &w.call, dir, name));
	return rc;
}

static UNUSED int fsx_rename(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name,
	uint64_t to, const char *to_name, unsigned flags)
{
	FSX_OP(x, m, NO_ATTR, fs_rename(m->fs, &w.call, dir, name, to, to_name, flags));
	return rc;
}

/* The file stays open: *f. */
static UNUSED int fsx_create(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name,
	uint32_t mode, int flags, struct fs_file **f, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_create(m->fs, &w.call, dir, name, mode, flags));
	*f = w.call.file;
	return rc;
}

/* Made and closed. */
static UNUSED int fsx_touch(
	struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name, struct fs_attr *a)
{
	return fsx_mknod(x, m, dir, name, S_IFREG | 0644, 0, a);
}

/* The bytes go to @out (NUL-terminated), their number to *len. */
static UNUSED int fsx_bytes(struct fsx *x, struct fsx_wait *w, char *out, size_t max, size_t *len)
{
	int rc = fsx_wait(x, w);

	if (rc == 0) {
		assert_in_range(w->call.len, 0, max - 1);
		if (w->copy)
			memcpy(out, w->copy, w->call.len);
		out[w->call.len] = 0;
		if (len)
			*len = w->call.len;
	}
	free(w->copy);
	return rc;
}

static UNUSED int fsx_readlink(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, char *out, size_t max)
{
	struct fsx_wait w;

	fsx_call(m, &w);
	fs_readlink(m->fs, &w.call, ino);
	return fsx_bytes(x, &w, out, max, NULL);
}

static UNUSED int fsx_getxattr(struct fsx *x, struct fsx_mount *m, uint64_t ino, const char *name,
	char *out, size_t max, size_t *len)
{
	struct fsx_wait w;

	fsx_call(m, &w);
	fs_getxattr(m->fs, &w.call, ino, name);
	return fsx_bytes(x, &w, out, max, len);
}

static UNUSED int fsx_listxattr(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, char *out, size_t max, size_t *len)
{
	struct fsx_wait w;

	fsx_call(m, &w);
	fs_listxattr(m->fs, &w.call, ino);
	return fsx_bytes(x, &w, out, max, len);
}

static UNUSED int fsx_setxattr(struct fsx *x, struct fsx_mount *m, uint64_t ino, const char *name,
	const void *value, size_t len, int flags)
{
	FSX_OP(x, m, NO_ATTR, fs_setxattr(m->fs, &w.call, ino, name, value, len, flags));
	return rc;
}

static UNUSED int fsx_removexattr(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, const char *name)
{
	FSX_OP(x, m, NO_ATTR, fs_removexattr(m->fs, &w.call, ino, name));
	return rc;
}

static UNUSED int fsx_opendir(struct fsx *x, struct fsx_mount *m, uint64_t ino, struct fs_dir **d)
{
	FSX_OP(x, m, NO_ATTR, fs_opendir(m->fs, &w.call, ino));
	*d = w.call.dir;
	return rc;
}

static UNUSED int fsx_readdir(struct fsx *x, struct fsx_mount *m, struct fs_dir *d, uint64_t cookie,
	bool plus, bool (*fill)(void *arg, const struct fs_dirent *e), void *arg)
{
	FSX_OP(x, m, NO_ATTR, fs_readdir(m->fs, &w.call, d, cookie, plus, fill, arg));
	return rc;
}

/* ---- raw transactions, to look behind the filesystem ---- */

struct fsx_raw {
	bool done;
	int rc;
	struct txn_object o;
	bool present;
	int get;
};

static UNUSED void fsx_raw_done(void *arg, const struct orbit_reply *r)
{
	struct fsx_raw *raw = arg;
	struct txn_result res;
	struct cur c;

	raw->done = true;
	raw->rc = r->rc;
	if (r->rc == 0 && raw->get >= 0 && orbit_result(r, raw->get, &res) == 0 && res.present) {
		c = cur_of(res.data, res.len);
		raw->o = txn_get_object(&c);
		raw->present = true;
	}
}

static UNUSED int fsx_submit(struct fsx *x, struct fsx_mount *m, struct txn_build *t)
{
	struct fsx_raw raw = {.get = -1};

	orbit_submit(m->client, t, NULL, fsx_raw_done, &raw);
	assert_true(sim_wait(x->c->s, &raw.done, FSX_LIMIT));
	return raw.rc;
}

/* Is there an object of @ino, and what are its slots? */
static UNUSED bool fsx_object(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, struct txn_object *o)
{
	struct orbit_id id = layout_inode_id(ino);
	struct fsx_raw raw = {0};
	struct txn_build t;

	txn_init(&t);
	raw.get = txn_get(&t, &id);
	orbit_submit(m->client, &t, NULL, fsx_raw_done, &raw);
	assert_true(sim_wait(x->c->s, &raw.done, FSX_LIMIT));
	assert_int_equal(raw.rc, 0);
	if (o)
		*o = raw.o;
	return raw.present;
}

#endif
