/* Copies of shards: compared by their checksums, mended, cleared. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "tests/unit/store_rig.h"

static const struct orbit_id obj = {{0xaa}};
static uint8_t data[1 << 20], got[1 << 20];

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)((i + seed) * 0x9e3779b1u >> 13);
}

/* ---- extents ---- */

static bool note(void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs)
{
	struct buf *b = arg;

	buf_u64(b, off);
	buf_u32(b, len);
	buf_bytes(b, crcs, 4 * ncrcs);
	return true;
}

static bool only_one(void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs)
{
	(void)crcs;
	assert_int_equal(off, 5000);
	assert_int_equal(len, 3000);
	assert_int_equal(ncrcs, 1);
	++*(unsigned *)arg;
	return false;
}

static struct buf extents(struct rig *r, uint64_t from, uint64_t to)
{
	struct buf b = {0};
	int rc;

	while ((rc = store_extents(r->st, 1, &obj, from, to, note, &b)) == -EAGAIN) {
		buf_reset(&b);
		rig_wait(r);
	}
	assert_int_equal(rc, 0);
	return b;
}

static bool same(struct rig *a, struct rig *b, uint64_t from, uint64_t to)
{
	struct buf x = extents(a, from, to), y = extents(b, from, to);
	bool eq = x.len == y.len && (!x.len || !memcmp(x.data, y.data, x.len));

	buf_fini(&x);
	buf_fini(&y);
	return eq;
}

static void punch(struct rig *r, uint64_t from, uint64_t to)
{
	struct effect e;

	effect_init(&e);
	rig_section(r, &e);
	effect_punch(&e, &obj, from, to);
	assert_int_equal(rig_apply(r, &e), 0);
	effect_fini(&e);
}

static void test_extents_tell_copies_apart(void **state)
{
	struct rig a, b;
	unsigned n = 0;

	(void)state;
	fill(1);
	rig_init(&a, 1);
	rig_init(&b, 2);
	assert_true(same(&a, &b, 0, UINT64_MAX));
	rig_write(&a, &obj, 0, data, 300000);
	assert_false(same(&a, &b, 0, UINT64_MAX));
	assert_true(same(&a, &b, 300000, UINT64_MAX));
	/* where the bytes lie, and what was there before, does not matter */
	rig_write(&b, &obj, 0, data + 1, 300000);
	assert_false(same(&a, &b, 0, UINT64_MAX));
	rig_write(&b, &obj, 0, data, 300000);
	assert_true(same(&a, &b, 0, UINT64_MAX));
	assert_true(same(&a, &b, 1000, 5000));
	/* one byte */
	rig_write(&a, &obj, 200000, "x", 1);
	assert_false(same(&a, &b, 0, UINT64_MAX));
	assert_true(same(&a, &b, 0, 131072));
	punch(&a, 5000 - 904, 5000);
	punch(&a, 8000, 9000);
	assert_int_equal(store_extents(a.st, 1, &obj, 4096, 9000, only_one, &n), 0);
	assert_int_equal(n, 1);
	rig_fini(&a);
	rig_fini(&b);
}

/* The same checksum of the same range, but of other bytes. */
static void test_extents_say_which_part_of_a_chunk(void **state)
{
	struct rig a, b;

	(void)state;
	rig_init(&a, 1);
	rig_init(&b, 2);
	rig_write(&a, &obj, 4090, "abcdef", 6);
	rig_write(&b, &obj, 4088, "abcdef", 6);
	punch(&a, 0, 4092);
	punch(&a, 4094, 5000);
	punch(&b, 0, 4092);
	assert_int_equal(rig_read(&a, 1, &obj, 4092, 2, got), 0);
	assert_memory_equal(got, "cd", 2);
	assert_int_equal(rig_read(&b, 1, &obj, 4092, 2, got), 0);
	assert_memory_equal(got, "ef", 2);
	assert_false(same(&a, &b, 0, UINT64_MAX));
	rig_fini(&a);
	rig_fini(&b);
}

/* ---- repair ---- */

static int repair(struct rig *r, uint64_t off, const void *p, size_t len)
{
	struct rig_done d = {.a.done = rig_applied};
	int rc;

	while ((rc = store_repair(r->st, &d.a, 1, &obj, off, p, len)) == -EAGAIN)
		rig_wait(r);
	if (rc)
		return rc;
	rig_until(r, &d);
	return d.rc;
}

static void damage_all(struct rig *r, const char *name)
{
	for (int64_t at = 60; at < disk_mem_size(r->disk, name); at += 1000)
		disk_mem_flip(r->disk, name, (uint64_t)at, 0x10);
}

static void test_repair_puts_the_same_bytes_back(void **state)
{
	const char *first = "log-0000000000000000";
	struct store_usage u;
	struct history h;
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	rig_write(&r, &obj, 100, data + 100, 300000);
	rig_write(&r, &obj, 50000, "other", 5);
	punch(&r, 60000, 70000);
	memcpy(data + 50000, "other", 5);
	memset(data + 60000, 0, 10000);
	rig_write(&r, &obj, 1 << 20, data, 5); /* in another segment */
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(rig_open(&r), 0);
	h = store_history(r.st, 1);
	damage_all(&r, first);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 4096, got), -EIO);
	/* other bytes, a part of a chunk, too much: refused */
	assert_int_equal(repair(&r, 0, data + 1, 8192), -EBADMSG);
	assert_int_equal(repair(&r, 0, data, 8191), -EINVAL);
	assert_int_equal(repair(&r, 4095, data + 4095, 8193), -EINVAL);
	assert_int_equal(repair(&r, 0, data, EFFECT_DATA_MAX + 1), -EMSGSIZE);
	assert_int_equal(repair(&r, UINT64_MAX - 5, data, 10), -EINVAL);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 4096, got), -EIO);
	/* a hole, or nothing at all */
	assert_int_equal(repair(&r, 1 << 30, data, 4096), 0);
	assert_int_equal(repair(&r, 0, data, 0), 0);
	assert_int_equal(repair(&r, 0, data, 8192), 0);
	assert_int_equal(rig_read(&r, 1, &obj, 100, 8092, got), 0);
	assert_memory_equal(got, data + 100, 8092);
	assert_int_equal(rig_read(&r, 1, &obj, 8192, 4096, got), -EIO);
	assert_int_equal(repair(&r, 8192, data + 8192, 300100 - 8192), 0);
	assert_int_equal(rig_read(&r, 1, &obj, 100, 300000, got), 0);
	assert_memory_equal(got, data + 100, 300000);
	/* outside of the history, and for good */
	assert_int_equal(store_history(r.st, 1).seq, h.seq);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_int_equal(rig_read(&r, 1, &obj, 100, 300000, got), 0);
	assert_memory_equal(got, data + 100, 300000);
	store_usage(r.st, &u);
	assert_int_equal(u.live, 300000 - 10000 + 5);
	rig_fini(&r);
}

/* What could not be compacted can, once it was mended. */
static void test_repair_lets_a_damaged_segment_go(void **state)
{
	const char *first = "log-0000000000000000";
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	rig_write(&r, &obj, 0, data, 4096);
	rig_write(&r, &obj, 8192, data, 4096);
	for (unsigned i = 0; i < 6; i++)
		rig_write(&r, &obj, 16384, data, 9000);
	disk_mem_flip(r.disk, first, 1000, 1);
	test_env_advance(&r.env, 30 * ENV_SEC);
	assert_true(disk_mem_size(r.disk, first) > 0);
	assert_int_equal(repair(&r, 0, data, 4096), 0);
	test_env_advance(&r.env, 30 * ENV_SEC);
	assert_int_equal(disk_mem_size(r.disk, first), -ENOENT);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 12288, got), 0);
	assert_memory_equal(got, data, 4096);
	assert_memory_equal(got + 8192, data, 4096);
	rig_fini(&r);
}

/* ---- clearing ---- */

/* Many keys of all classes and some bytes, in two shards. */
static void populate(struct rig *r, unsigned n)
{
	static const enum key_class classes[] = {KEY_HEADER, KEY_MAP, KEY_HOLD, KEY_ORPHAN,
		KEY_REPLY, KEY_FLOOR, KEY_PREPARED, KEY_OUTCOME, KEY_WALK};

	for (uint16_t shard = 0; shard < 3; shard++) {
		struct effect e;
		struct key k;

		effect_init(&e);
		effect_section(&e, shard, 1, store_history(r->st, shard).seq + 1);
		for (unsigned i = 0; i < n; i++) {
			struct orbit_id id = {{0x40, (uint8_t)(i >> 8), (uint8_t)i}};

			key_id(&k, classes[i % ARRAY_LEN(classes)], shard, &id);
			effect_put(&e, k.b, k.len, "value", 5);
			if (i % 10 == 0)
				effect_write(&e, &id, i, data + i, 1000);
		}
		assert_int_equal(rig_apply(r, &e), 0);
		effect_fini(&e);
	}
	assert_int_equal(rig_sync(r), 0);
}

static unsigned count(struct rig *r, uint16_t shard)
{
	unsigned n = 0;

	store_blocking(r->st, true);
	for (unsigned class = 1; class < 256; class ++) {
		const void *k, *v;
		struct store_iter *it;
		struct key from, to;
		size_t kl, vl;

		if (class == KEY_STORE || class == KEY_TERM)
			continue;
		key_class(&from, (enum key_class) class, shard);
		to = from;
		key_after_prefix(&to);
		it = store_iter_new(r->st, from.b, from.len, to.b, to.len);
		while (store_iter_next(it, &k, &kl, &v, &vl) > 0)
			n++;
		store_iter_free(it);
	}
	store_blocking(r->st, false);
	return n;
}

static const struct history_term terms[] = {{3, 1}, {5, 40}};
static const struct history other = {5, 50, terms, 2};

/* Clears shard 1, and makes it a copy of another history with a note. */
static void clear_effect(struct effect *e)
{
	uint8_t key[4] = {KEY_WALK, 0, 1, 'n'};

	effect_init(e);
	effect_section(e, 1, 0, 0);
	effect_clear_shard(e);
	effect_put(e, key, 4, "note", 4);
	effect_history(e, &other);
}

/* Taken, not done. */
static void start(struct rig *r, struct rig_done *d)
{
	int rc;

	while ((rc = store_apply(r->st, &d->a, STORE_RESERVE)) == -EAGAIN)
		rig_wait(r);
	assert_int_equal(rc, 0);
	assert_false(d->done);
}

static void check_cleared(struct rig *r, unsigned each)
{
	struct history h = store_history(r->st, 1);
	struct store_usage u;

	assert_int_equal(count(r, 1), 1);
	assert_int_equal(rig_get(r, "W\0\1n", 4, NULL), 0);
	assert_int_equal(h.seq, 50);
	assert_int_equal(h.nterms, 2);
	assert_int_equal(count(r, 0), each);
	assert_int_equal(count(r, 2), each);
	store_usage(r->st, &u);
	assert_int_equal(u.damaged, 0);
}

static void test_clear_takes_all_of_the_shard_and_no_more(void **state)
{
	struct effect e;
	struct rig r;
	unsigned each;

	(void)state;
	fill(1);
	for (unsigned miss = 0; miss <= 300; miss += 300) {
		rig_init(&r, 1);
		populate(&r, 4000);
		each = count(&r, 0);
		assert_true(each >= 4400 && count(&r, 1) == each);
		index_mem_faults(r.ix)->miss = index_mem_faults(r.ix)->stall = miss;
		clear_effect(&e);
		assert_int_equal(rig_apply_as(&r, &e, STORE_RESERVE), 0);
		effect_fini(&e);
		index_mem_faults(r.ix)->miss = index_mem_faults(r.ix)->stall = 0;
		check_cleared(&r, each);
		assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
		check_cleared(&r, each);
		assert_int_equal(rig_close(&r), 0);
		assert_int_equal(rig_open(&r), 0);
		check_cleared(&r, each);
		rig_fini(&r);
	}
}

static void test_clear_waits_for_nobody_and_others_for_it(void **state)
{
	struct rig_done d = {.a.done = rig_applied}, n = {.a.done = rig_applied};
	struct effect e, next, elsewhere;
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	populate(&r, 5000);
	clear_effect(&e);
	d.a.effect = &e;
	start(&r, &d);
	assert_int_equal(store_history(r.st, 1).seq, 0);
	effect_init(&next);
	effect_section(&next, 1, 5, 51);
	effect_put(&next, "H\0\1x", 4, "y", 1);
	n.a.effect = &next;
	assert_int_equal(store_apply(r.st, &n.a, STORE_NORMAL), -EAGAIN);
	effect_init(&elsewhere);
	effect_section(&elsewhere, 2, 1, 2);
	assert_int_equal(rig_apply(&r, &elsewhere), 0);
	assert_false(d.done);
	effect_fini(&elsewhere);
	assert_int_equal(rig_apply(&r, &next), 0);
	assert_true(d.done && !d.rc);
	assert_int_equal(count(&r, 1), 2);
	effect_fini(&e);
	effect_fini(&next);
	rig_fini(&r);
}

/* A crash at any time; what was applied since is not touched. */
static void test_clear_goes_on_after_a_crash(void **state)
{
	unsigned when = 0, each;
	bool done = false;

	(void)state;
	fill(1);
	for (; !done; when++) {
		struct rig_done d = {.a.done = rig_applied};
		struct effect e;
		struct rig r;

		rig_init(&r, 1);
		populate(&r, 6000);
		each = count(&r, 0);
		clear_effect(&e);
		d.a.effect = &e;
		start(&r, &d);
		/* flushes come in between: the index is small */
		for (unsigned i = 0; i < when && !d.done; i++)
			if (!test_env_step(&r.env))
				test_env_fire(&r.env, UINT64_MAX);
		done = d.done;
		assert_int_equal(rig_crash(&r, when % 2 ? DISK_PROCESS : DISK_POWER, when), 0);
		effect_fini(&e);
		if (store_history(r.st, 1).seq != 1) {
			check_cleared(&r, each);
			assert_int_equal(rig_close(&r), 0);
			assert_int_equal(rig_open(&r), 0);
			check_cleared(&r, each);
			effect_init(&e);
			effect_section(&e, 1, 5, 51);
			effect_put(&e, "H\0\1x", 4, "y", 1);
			assert_int_equal(rig_apply(&r, &e), 0);
			effect_fini(&e);
			assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
			assert_int_equal(count(&r, 1), 2);
		} else {
			/* it never came to the log */
			assert_true(!done || when % 2 == 0);
			assert_int_equal(count(&r, 1), each);
		}
		rig_fini(&r);
	}
	assert_true(when > 10);
}

static void test_clear_is_refused_where_it_makes_no_sense(void **state)
{
	const struct history bad = {4, 50, terms, 2};
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	populate(&r, 100);
	for (unsigned i = 0; i < 7; i++) {
		struct effect e;

		effect_init(&e);
		if (i != 0)
			effect_section(&e, 1, i == 1 ? 1 : 0, i == 1 ? 2 : 0);
		if (i == 2)
			effect_put(&e, "H\0\1x", 4, "y", 1);
		effect_clear_shard(&e);
		if (i == 3)
			effect_clear_shard(&e);
		if (i == 4)
			effect_write(&e, &obj, 0, data, 10);
		if (i == 5)
			effect_section(&e, 2, 0, 0);
		if (i == 6)
			effect_history(&e, &bad);
		assert_int_equal(rig_apply(&r, &e), -EBADMSG);
		effect_fini(&e);
	}
	assert_int_equal(store_history(r.st, 1).seq, 1);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_int_equal(count(&r, 1), count(&r, 0));
	rig_fini(&r);
}

static void test_clear_when_the_store_breaks_or_ends(void **state)
{
	(void)state;
	log_set_level(LOG_LVL_ERROR + 1);
	fill(1);
	for (unsigned how = 0; how < 3; how++) {
		unsigned n = 0;

		for (unsigned when = 0; when < 30; when++) {
			struct rig_done d = {.a.done = rig_applied};
			struct effect e;
			struct rig r;

			rig_init(&r, 1);
			populate(&r, 6000);
			clear_effect(&e);
			d.a.effect = &e;
			start(&r, &d);
			for (unsigned i = 0; i < when && !d.done; i++)
				test_env_step(&r.env);
			if (how == 0) {
				rig_kill(&r);
			} else if (how == 1) {
				disk_mem_faults(r.disk)->sync_fails = true;
				rig_sync(&r);
				rig_until(&r, &d);
				disk_mem_faults(r.disk)->sync_fails = false;
			} else {
				assert_int_equal(rig_close(&r), 0);
			}
			assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
			effect_fini(&e);
			if (store_history(r.st, 1).seq != 1) {
				check_cleared(&r, count(&r, 0));
				n++;
			} else {
				assert_true(!d.done || d.rc);
				assert_int_equal(count(&r, 1), count(&r, 0));
			}
			rig_fini(&r);
		}
		assert_true(n > 10);
	}
	log_set_level(LOG_LVL_ERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extents_tell_copies_apart),
		cmocka_unit_test(test_extents_say_which_part_of_a_chunk),
		cmocka_unit_test(test_repair_puts_the_same_bytes_back),
		cmocka_unit_test(test_repair_lets_a_damaged_segment_go),
		cmocka_unit_test(test_clear_takes_all_of_the_shard_and_no_more),
		cmocka_unit_test(test_clear_waits_for_nobody_and_others_for_it),
		cmocka_unit_test(test_clear_goes_on_after_a_crash),
		cmocka_unit_test(test_clear_is_refused_where_it_makes_no_sense),
		cmocka_unit_test(test_clear_when_the_store_breaks_or_ends),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
