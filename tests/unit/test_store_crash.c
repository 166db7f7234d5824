/*
 * The store against a model, with the power cut at every write in turn.
 *
 * A workload is drawn from a seed: effects on a few keys and streams. The model can tell the state
 * after any number of them; each effect puts its number under one key, so a recovered store says
 * which prefix it claims to hold, and everything else must agree with it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "tests/unit/store_rig.h"

#define OBJECTS 3
#define STREAM 24000
#define KEYS 8
#define BIG (300 << 10) /* of a queued write */

struct model {
	uint8_t stream[OBJECTS][STREAM];
	bool big;                    /* the last object has its big piece beyond STREAM */
	unsigned key[OBJECTS][KEYS]; /* 0: absent */
};

static uint8_t noise[BIG + 65536];

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

static struct orbit_id object(unsigned i)
{
	struct orbit_id id = {{0x40, (uint8_t)i}};

	return id;
}

/* Effect @n of workload @seed, into the model and, unless NULL, into @e. */
static void one(uint64_t seed, unsigned n, struct model *m, struct effect *e)
{
	uint64_t r = mix(seed * 1000003 + n);
	unsigned ops = 1 + r % 4;
	char num[16];

	if (e) {
		snprintf(num, sizeof(num), "%u", n);
		effect_section(e, 1, 1, n);
		effect_put(e, "K\0\0", 3, num, strlen(num));
	}
	for (unsigned i = 0; i < ops; i++) {
		unsigned o, k, kind;
		struct orbit_id id;
		size_t off, len;
		struct key key;

		r = mix(r + i + 1);
		o = r % OBJECTS;
		id = object(o);
		k = (r >> 8) % KEYS;
		off = (r >> 16) % (STREAM - 1);
		len = 1 + (r >> 32) % ((r >> 60) ? 3000 : STREAM);
		len = min_size(len, STREAM - off);
		kind = (r >> 50) % 100;
		key_map(&key, 1, &id, &(uint8_t){(uint8_t)k}, 1);
		if (kind < 25) {
			snprintf(num, sizeof(num), "v%u", n);
			m->key[o][k] = n;
			if (e)
				effect_put(e, key.b, key.len, num, strlen(num));
		} else if (kind < 35) {
			m->key[o][k] = 0;
			if (e)
				effect_del(e, key.b, key.len);
		} else if (kind < 85) {
			memcpy(m->stream[o] + off, noise + n * 7 % 65536, len);
			if (e)
				effect_write(e, &id, off, noise + n * 7 % 65536, len);
		} else if (kind < 93) {
			memset(m->stream[o] + off, 0, len);
			if (e)
				effect_punch(e, &id, off, off + len);
		} else if (kind < 97) {
			memset(m->stream[o], 0, STREAM);
			memset(m->key[o], 0, sizeof(m->key[o]));
			if (o == OBJECTS - 1)
				m->big = false;
			if (e)
				effect_drop(e, &id);
		} else if (!m->big) {
			m->big = true;
			id = object(OBJECTS - 1);
			if (e)
				effect_write(e, &id, 1 << 20, noise, BIG);
		}
	}
}

static unsigned claimed(struct rig *r)
{
	struct buf b = {0};
	unsigned n = 0;

	if (!rig_get(r, "K\0\0", 3, &b)) {
		buf_u8(&b, 0);
		n = (unsigned)atoi((char *)b.data);
	}
	buf_fini(&b);
	return n;
}

static void check_streams(struct rig *r, const struct model *m)
{
	static uint8_t got[BIG];
	struct orbit_id id;

	for (unsigned o = 0; o < OBJECTS; o++) {
		id = object(o);
		assert_int_equal(rig_read(r, 1, &id, 0, STREAM, got), 0);
		assert_memory_equal(got, m->stream[o], STREAM);
	}
	assert_int_equal(rig_read(r, 1, &id, 1 << 20, BIG, got), 0);
	if (m->big)
		assert_memory_equal(got, noise, BIG);
	else
		for (size_t i = 0; i < BIG; i++)
			assert_int_equal(got[i], 0);
}

/* The bytes of all extents, by the index. */
static uint64_t live_bytes(struct rig *r)
{
	struct store_range v[64];
	uint64_t sum = 0;

	for (unsigned o = 0; o < OBJECTS; o++) {
		struct orbit_id id = object(o);
		uint64_t at = 0;
		int n;

		while (at < 1 << 30) {
			n = store_ranges(r->st, 1, &id, at, (1 << 30) - at, v, 64, &at);
			if (n == -EAGAIN)
				rig_wait(r);
			else
				assert_true(n >= 0);
			for (int i = 0; i < n; i++)
				sum += v[i].len;
		}
	}
	return sum;
}

/* The store holds what the first @n effects make, and nothing else. */
static void check(struct rig *r, uint64_t seed, unsigned n)
{
	struct model *m = mem_zalloc(sizeof(*m));
	struct store_usage u;
	struct history h;
	char num[16];

	for (unsigned i = 1; i <= n; i++)
		one(seed, i, m, NULL);
	for (unsigned o = 0; o < OBJECTS; o++) {
		for (unsigned k = 0; k < KEYS; k++) {
			struct orbit_id id = object(o);
			struct buf b = {0};
			struct key key;
			int rc;

			key_map(&key, 1, &id, &(uint8_t){(uint8_t)k}, 1);
			rc = rig_get(r, key.b, key.len, &b);
			assert_int_equal(rc, m->key[o][k] ? 0 : -ENOENT);
			snprintf(num, sizeof(num), "v%u", m->key[o][k]);
			if (!rc) {
				assert_int_equal(b.len, strlen(num));
				assert_memory_equal(b.data, num, b.len);
			}
			buf_fini(&b);
		}
	}
	check_streams(r, m);
	h = store_history(r->st, 1);
	assert_int_equal(h.seq, n);
	assert_true(!n || history_contains(&h, 1, n));
	store_usage(r->st, &u);
	assert_int_equal(u.damaged, 0);
	assert_true(u.live == live_bytes(r));
	free(m);
}

struct run {
	struct rig r;
	struct model *m;
	uint64_t seed;
	unsigned applied, done, synced; /* effects */
	bool failed;
};

struct one_apply {
	struct store_apply a;
	struct effect e;
	struct run *run;
	unsigned n;
};

struct one_sync {
	struct store_sync s;
	struct run *run;
	unsigned n;
};

static void applied(struct store_apply *a, int rc)
{
	struct one_apply *o = container_of(a, struct one_apply, a);

	if (rc) {
		o->run->failed = true;
	} else {
		assert_false(o->run->failed);
		assert_int_equal(o->n, o->run->done + 1);
		o->run->done = o->n;
	}
	effect_fini(&o->e);
	free(o);
}

static void synced(struct store_sync *s, int rc)
{
	struct one_sync *o = container_of(s, struct one_sync, s);

	if (!rc && o->n > o->run->synced)
		o->run->synced = o->n;
	free(o);
}

/* Applies one more, without waiting for it; false when the store is broken. */
static bool apply_next(struct run *run)
{
	struct one_apply *o = mem_zalloc(sizeof(*o));
	int rc;

	o->run = run;
	o->n = run->applied + 1;
	effect_init(&o->e);
	one(run->seed, o->n, run->m, &o->e);
	o->a = (struct store_apply){.done = applied, .effect = &o->e};
	while ((rc = store_apply(run->r.st, &o->a, STORE_NORMAL)) == -EAGAIN)
		rig_wait(&run->r);
	if (rc) {
		assert_int_equal(rc, -EROFS);
		effect_fini(&o->e);
		free(o);
		return false;
	}
	run->applied = o->n;
	return true;
}

static void start_sync(struct run *run)
{
	struct one_sync *o = mem_zalloc(sizeof(*o));

	o->run = run;
	o->n = run->applied;
	o->s.done = synced;
	store_sync(run->r.st, &o->s);
}

/* Up to @count effects, with syncs, pauses and whatever the store does by itself. */
static void work(struct run *run, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t r = mix(run->seed * 77 + run->applied * 3 + 1);

		if (!apply_next(run))
			break;
		if (r % 5 == 0)
			start_sync(run);
		for (unsigned k = (r >> 8) % 6; k; k--)
			test_env_step(&run->r.env);
		if ((r >> 16) % 10 == 0)
			test_env_advance(&run->r.env, ENV_SEC);
	}
	test_env_advance(&run->r.env, 5 * ENV_SEC);
}

static void run_init(struct run *run, uint64_t seed)
{
	memset(run, 0, sizeof(*run));
	run->seed = seed;
	run->m = mem_zalloc(sizeof(*run->m));
	rig_init(&run->r, seed);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)mix(i / 3);
}

static void run_fini(struct run *run)
{
	rig_fini(&run->r);
	free(run->m);
}

/* After a crash: what is there is a prefix within the bounds; the run goes on from it. */
static void resume(struct run *run, unsigned least)
{
	unsigned n = claimed(&run->r);

	assert_in_range(n, least, run->applied);
	check(&run->r, run->seed, n);
	memset(run->m, 0, sizeof(*run->m));
	for (unsigned i = 1; i <= n; i++)
		one(run->seed, i, run->m, NULL);
	run->applied = run->done = run->synced = n;
	run->failed = false;
}

/* Jobs whose store was freed leave their applies behind: none may be pending when it is. */
static void settle(struct run *run)
{
	test_env_idle(&run->r.env);
}

static void test_store_power_cut_at_every_write(void **state)
{
	uint64_t total = 0;

	(void)state;
	for (uint64_t at = 1;; at++) {
		struct run run;
		bool died;

		run_init(&run, 100 + at % 4);
		disk_mem_faults(run.r.disk)->die_at = disk_mem_changes(run.r.disk) + at;
		work(&run, 40);
		settle(&run);
		died = run.failed || disk_mem_changes(run.r.disk) >= at;
		total = disk_mem_changes(run.r.disk);
		assert_int_equal(rig_crash(&run.r, DISK_POWER, at), 0);
		resume(&run, run.synced);
		/* what came back can be worked on and closed */
		work(&run, 5);
		settle(&run);
		assert_int_equal(run.done, run.applied);
		check(&run.r, run.seed, run.applied);
		assert_int_equal(rig_close(&run.r), 0);
		assert_int_equal(rig_open(&run.r), 0);
		check(&run.r, run.seed, run.applied);
		run_fini(&run);
		if (!died || at > total)
			break;
	}
	assert_in_range(total, 60, 5000);
}

/* Recovery is itself cut at each of its writes. */
static void test_store_power_cut_during_recovery(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 12; seed++) {
		for (uint64_t at = 1; at < 8; at++) {
			struct run run;
			int rc;

			run_init(&run, seed);
			disk_mem_faults(run.r.disk)->die_at =
				disk_mem_changes(run.r.disk) + 20 + seed * 7;
			work(&run, 40);
			settle(&run);
			rig_kill(&run.r);
			disk_mem_crash(run.r.disk, DISK_POWER, seed);
			index_mem_crash(run.r.ix, seed);
			disk_mem_faults(run.r.disk)->die_at = disk_mem_changes(run.r.disk) + at;
			rc = rig_open(&run.r);
			if (rc) {
				run.r.st = NULL;
				assert_true(run.r.why[0]);
			}
			assert_int_equal(rig_crash(&run.r, DISK_POWER, at), 0);
			resume(&run, run.synced);
			run_fini(&run);
		}
	}
}

/* What recovery made of a log that only the page cache had is durable once it is open. */
static void test_store_power_cut_after_a_kill(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 40; seed++) {
		struct run run;
		unsigned n;

		run_init(&run, 500 + seed);
		/* no time passes: only the page cache has the end of the log */
		for (unsigned i = 0; i < 10 + seed; i++)
			assert_true(apply_next(&run));
		settle(&run);
		/* so that replay flushes the index many times */
		run.r.cfg.index_buffer = 4096;
		assert_int_equal(rig_crash(&run.r, DISK_PROCESS, seed), 0);
		n = claimed(&run.r);
		assert_int_equal(n, run.done);
		assert_int_equal(rig_crash(&run.r, DISK_LOSE, seed), 0);
		resume(&run, n);
		run_fini(&run);
	}
}

static void test_store_killed_again_and_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 20; seed++) {
		struct run run;

		run_init(&run, seed);
		for (unsigned i = 0; i < 8; i++) {
			unsigned done;

			work(&run, 30);
			/* some are under way when it dies */
			settle(&run);
			apply_next(&run);
			done = run.done;
			settle(&run);
			assert_int_equal(rig_crash(&run.r, DISK_PROCESS, seed + i), 0);
			assert_true(store_info(run.r.st)->whole);
			resume(&run, done);
		}
		run_fini(&run);
	}
}

/* Power cuts in a long life, with caches that miss, indexes that stall, and compaction. */
static void test_store_long_life(void **state)
{
	for (uint64_t seed = 1; seed < 25; seed++) {
		struct store_usage u;
		struct run run;

		(void)state;
		run_init(&run, 1000 + seed);
		for (unsigned i = 0; i < 6; i++) {
			disk_mem_faults(run.r.disk)->miss = 300;
			index_mem_faults(run.r.ix)->miss = 200;
			index_mem_faults(run.r.ix)->stall = 50;
			if (i != 3)
				disk_mem_faults(run.r.disk)->die_at =
					disk_mem_changes(run.r.disk) + mix(seed * 10 + i) % 300;
			work(&run, 100);
			settle(&run);
			assert_int_equal(rig_crash(&run.r, DISK_POWER, seed + i), 0);
			resume(&run, run.synced);
		}
		/* left alone, it is mostly rid of what is dead */
		disk_mem_faults(run.r.disk)->die_at = 0;
		work(&run, 150);
		test_env_advance(&run.r.env, 60 * ENV_SEC);
		check(&run.r, run.seed, run.applied);
		store_usage(run.r.st, &u);
		assert_in_range(u.log, u.live, 2 * u.live + 4 * run.r.cfg.segment_size + BIG);
		run_fini(&run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_power_cut_at_every_write),
		cmocka_unit_test(test_store_power_cut_during_recovery),
		cmocka_unit_test(test_store_power_cut_after_a_kill),
		cmocka_unit_test(test_store_killed_again_and_again),
		cmocka_unit_test(test_store_long_life),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
