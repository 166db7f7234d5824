/*
 * store_rig: a store on its twins in memory (or on a folder), and short ways to use it: each call
 * here runs the env until it is answered.
 */
#ifndef ORBIT_TESTS_STORE_RIG_H
#define ORBIT_TESTS_STORE_RIG_H

#include <errno.h>
#include <stdio.h>

#include "dht/store/disk.h"
#include "dht/store/history.h"
#include "dht/store/index.h"
#include "dht/store/store.h"
#include "tests/unit/test_env.h"

struct rig {
	struct test_env env;
	struct disk *disk;
	struct store_index *ix;
	struct store *st;
	struct store_config cfg;
	char why[256];
};

static const uint8_t rig_fsid[16] = "0123456789abcde";
static const struct orbit_id rig_node = {{0x11, 0x22}};

/* Small everything, so that little work goes through all of it. */
static inline struct store_config rig_small(void)
{
	return (struct store_config){.segment_size = 32 << 10,
		.index_buffer = 64 << 10,
		.cache_size = 1 << 20,
		.reserve = 64 << 10,
		.log_keep = 1,
		.compact_rate = 100 << 20,
		.compact_below = 50};
}

static inline int rig_open(struct rig *r)
{
	return store_open_on(&r->st, &r->env.e, r->disk, r->ix, &r->cfg, r->why, sizeof(r->why));
}

static inline void rig_init(struct rig *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	test_env_init(&r->env, seed);
	r->cfg = rig_small();
	r->disk = disk_mem_new();
	r->ix = index_mem_new();
	assert_int_equal(store_make_on(r->disk, rig_fsid, &rig_node), 0);
	assert_int_equal(rig_open(r), 0);
}

static inline void rig_fini(struct rig *r)
{
	store_free(r->st);
	test_env_idle(&r->env);
	index_free(r->ix);
	disk_free(r->disk);
	/* nothing is left behind in the env */
	assert_true(TAILQ_EMPTY(&r->env.tasks));
	assert_true(TAILQ_EMPTY(&r->env.timers));
}

/* Frees the store and lets the rest of its jobs pass by. */
static inline void rig_kill(struct rig *r)
{
	store_free(r->st);
	r->st = NULL;
	test_env_idle(&r->env);
}

static inline int rig_crash(struct rig *r, enum disk_crash how, uint64_t seed)
{
	rig_kill(r);
	disk_mem_crash(r->disk, how, seed);
	index_mem_crash(r->ix, seed);
	return rig_open(r);
}

struct rig_done {
	struct store_apply a;
	struct store_sync s;
	struct store_read r;
	struct store_wait w;
	bool done;
	int rc;
};

static inline void rig_applied(struct store_apply *a, int rc)
{
	struct rig_done *d = container_of(a, struct rig_done, a);

	d->done = true;
	d->rc = rc;
}

static inline void rig_synced(struct store_sync *s, int rc)
{
	struct rig_done *d = container_of(s, struct rig_done, s);

	d->done = true;
	d->rc = rc;
}

static inline void rig_was_read(struct store_read *r, int rc)
{
	struct rig_done *d = container_of(r, struct rig_done, r);

	d->done = true;
	d->rc = rc;
}

static inline void rig_ready(struct store_wait *w)
{
	container_of(w, struct rig_done, w)->done = true;
}

static inline void rig_until(struct rig *r, struct rig_done *d)
{
	while (!d->done) {
		if (!test_env_step(&r->env) && !test_env_fire(&r->env, UINT64_MAX))
			assert_true(d->done);
	}
}

static inline void rig_wait(struct rig *r)
{
	struct rig_done d = {.w.ready = rig_ready};

	store_wait(r->st, &d.w);
	rig_until(r, &d);
}

static inline int rig_apply_as(struct rig *r, struct effect *e, enum store_urgency urgency)
{
	struct rig_done d = {.a = {.done = rig_applied, .effect = e}};
	int rc;

	while ((rc = store_apply(r->st, &d.a, urgency)) == -EAGAIN)
		rig_wait(r);
	if (rc)
		return rc;
	assert_false(d.done);
	rig_until(r, &d);
	return d.rc;
}

static inline int rig_apply(struct rig *r, struct effect *e)
{
	return rig_apply_as(r, e, STORE_NORMAL);
}

static inline int rig_sync(struct rig *r)
{
	struct rig_done d = {.s.done = rig_synced};

	store_sync(r->st, &d.s);
	assert_false(d.done);
	rig_until(r, &d);
	return d.rc;
}

static inline void rig_closed(void *arg, int rc)
{
	struct rig_done *d = arg;

	d->done = true;
	d->rc = rc;
}

/* Closes and frees. */
static inline int rig_close(struct rig *r)
{
	struct rig_done d = {0};

	store_close(r->st, rig_closed, &d);
	rig_until(r, &d);
	rig_kill(r);
	return d.rc;
}

static inline int rig_get(struct rig *r, const void *key, size_t klen, struct buf *val)
{
	int rc;

	while ((rc = store_get(r->st, key, klen, val)) == -EAGAIN)
		rig_wait(r);
	return rc;
}

static inline int rig_read(struct rig *r, uint16_t shard, const struct orbit_id *id, uint64_t off,
	size_t len, void *dst)
{
	struct rig_done d = {.r.done = rig_was_read};
	int rc;

	while ((rc = store_read(r->st, &d.r, shard, id, off, len, dst)) == -EAGAIN)
		rig_wait(r);
	if (rc != -EINPROGRESS)
		return rc;
	rig_until(r, &d);
	return d.rc;
}

/* Begins the next effect of shard 1. */
static inline void rig_section(struct rig *r, struct effect *e)
{
	struct history h = store_history(r->st, 1);

	effect_section(e, 1, h.term ? h.term : 1, h.seq + 1);
}

/* One put, one write: the usual short effects. */
static inline int rig_put(struct rig *r, const char *key, const char *val)
{
	char k[64] = {'H', 0, 1};
	struct effect e;
	int rc;

	memcpy(k + 3, key, min_size(strlen(key), sizeof(k) - 3));
	effect_init(&e);
	rig_section(r, &e);
	effect_put(&e, k, 3 + strlen(key), val, strlen(val));
	rc = rig_apply(r, &e);
	effect_fini(&e);
	return rc;
}

static inline int rig_has(struct rig *r, const char *key, const char *val)
{
	char k[64] = {'H', 0, 1};
	struct buf b = {0};
	int rc;

	memcpy(k + 3, key, min_size(strlen(key), sizeof(k) - 3));
	rc = rig_get(r, k, 3 + strlen(key), &b);
	if (!rc)
		rc = b.len == strlen(val) && !memcmp(b.data, val, b.len) ? 1 : 0;
	buf_fini(&b);
	return rc;
}

static inline int rig_write(
	struct rig *r, const struct orbit_id *id, uint64_t off, const void *data, size_t len)
{
	struct effect e;
	int rc;

	effect_init(&e);
	rig_section(r, &e);
	effect_write(&e, id, off, data, len);
	rc = rig_apply(r, &e);
	effect_fini(&e);
	return rc;
}

#endif
