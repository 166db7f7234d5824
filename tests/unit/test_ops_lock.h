/* Locks on the filesystem of test_fs_env.h: a file that is open on several mounts, as calls. */
#ifndef ORBIT_TESTS_TEST_OPS_LOCK_H
#define ORBIT_TESTS_TEST_OPS_LOCK_H

#include "tests/unit/test_data_env.h"

#define ALL LOCK_LAST

struct lx {
	struct fsx *x;
	struct fs_attr a;
	struct fs_file *f[FSX_MOUNTS_MAX]; /* the same file on each mount */
};

static UNUSED struct lx lx_open(struct fsx *x)
{
	struct lx l = {.x = x};

	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 0644, O_RDWR, &l.f[0], &l.a), 0);
	assert_int_equal(dx_flush(x, x->m, l.f[0]), 0);
	for (unsigned i = 1; i < x->n; i++)
		assert_int_equal(dx_open(x, &x->m[i], l.a.ino, O_RDWR, &l.f[i]), 0);
	return l;
}

static UNUSED struct lx lx_new(uint64_t seed, unsigned mounts)
{
	return lx_open(fsx_new_with(
		&(struct cluster_config){.seed = seed, .nodes = 3, .shard_bits = 6, .replicas = 3},
		mounts));
}

static UNUSED void lx_free(struct lx *l)
{
	for (unsigned i = 0; i < l->x->n; i++) {
		if (l->f[i] && l->x->m[i].fs)
			dx_close(l->x, &l->x->m[i], l->f[i]);
	}
	fsx_free(l->x);
}

static UNUSED struct fs_lock lx_lock(int type, uint64_t owner, uint64_t first, uint64_t last)
{
	return (struct fs_lock){.kind = FS_LOCK_FCNTL,
		.type = type,
		.owner = owner,
		.first = first,
		.last = last,
		.pid = (uint32_t)owner + 1000};
}

/* Begins; the call may wait. */
static UNUSED void lx_begin(
	struct lx *l, unsigned m, struct fsx_wait *w, const struct fs_lock *want, bool wait)
{
	fsx_call(&l->x->m[m], w);
	fs_setlk(l->x->m[m].fs, &w->call, l->f[m], want, wait);
}

static UNUSED int lx_set(
	struct lx *l, unsigned m, int type, uint64_t owner, uint64_t first, uint64_t last)
{
	struct fs_lock want = lx_lock(type, owner, first, last);
	struct fsx_wait w;

	lx_begin(l, m, &w, &want, false);
	return fsx_wait(l->x, &w);
}

static UNUSED void lx_wait(struct lx *l, unsigned m, struct fsx_wait *w, int type, uint64_t owner,
	uint64_t first, uint64_t last)
{
	struct fs_lock want = lx_lock(type, owner, first, last);

	lx_begin(l, m, w, &want, true);
}

static UNUSED struct fs_lock lx_get(
	struct lx *l, unsigned m, int type, uint64_t owner, uint64_t first, uint64_t last)
{
	struct fs_lock want = lx_lock(type, owner, first, last);
	struct fsx_wait w;

	fsx_call(&l->x->m[m], &w);
	fs_getlk(l->x->m[m].fs, &w.call, l->f[m], &want);
	assert_int_equal(fsx_wait(l->x, &w), 0);
	return w.call.lock;
}

static UNUSED int lx_unlock(struct lx *l, unsigned m, uint64_t owner)
{
	struct fsx_wait w;

	fsx_call(&l->x->m[m], &w);
	fs_unlock(l->x->m[m].fs, &w.call, l->f[m], owner);
	return fsx_wait(l->x, &w);
}

static UNUSED int lx_flock(struct lx *l, unsigned m, int type, uint64_t owner)
{
	struct fs_lock want = {.kind = FS_LOCK_FLOCK, .type = type, .owner = owner, .last = ALL};
	struct fsx_wait w;

	lx_begin(l, m, &w, &want, false);
	return fsx_wait(l->x, &w);
}

/* Is there an object of locks? */
static UNUSED bool lx_there(struct lx *l, unsigned m)
{
	struct orbit_id id = layout_locks_id(l->a.ino);
	struct fsx_raw raw = {0};
	struct txn_build t;

	txn_init(&t);
	raw.get = txn_get(&t, &id);
	orbit_submit(l->x->m[m].client, &t, NULL, fsx_raw_done, &raw);
	assert_true(sim_wait(l->x->c->s, &raw.done, FSX_LIMIT));
	assert_int_equal(raw.rc, 0);
	return raw.present;
}

static UNUSED void lx_run(struct lx *l, uint64_t ns)
{
	sim_run(l->x->c->s, ns);
}

#endif
