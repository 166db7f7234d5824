#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/store/store_int.h"
#include "tests/unit/store_rig.h"

static const struct orbit_id obj = {{1}};

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
}

static void test_store_puts_and_gets(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(rig_put(&r, "a", "one"), 0);
	assert_int_equal(rig_put(&r, "b", "two"), 0);
	assert_int_equal(rig_has(&r, "a", "one"), 1);
	assert_int_equal(rig_has(&r, "b", "two"), 1);
	assert_int_equal(rig_has(&r, "c", ""), -ENOENT);
	assert_int_equal(rig_put(&r, "a", "three"), 0);
	assert_int_equal(rig_has(&r, "a", "three"), 1);
	rig_fini(&r);
}

static void test_store_writes_overlap(void **state)
{
	static uint8_t model[400 << 10], got[400 << 10], data[300 << 10];
	struct store_range ranges[8];
	struct rig r;
	uint64_t next;

	(void)state;
	rig_init(&r, 2);
	memset(model, 0, sizeof(model));
	for (unsigned i = 0; i < 200; i++) {
		size_t off = test_env_rnd(&r.env) % (sizeof(model) - 1);
		size_t len = 1 + test_env_rnd(&r.env) % (i % 20 ? 9000 : sizeof(data) - 1);

		if (len > sizeof(model) - off)
			len = sizeof(model) - off;
		if (i % 7 == 3) {
			struct effect e;

			effect_init(&e);
			rig_section(&r, &e);
			effect_punch(&e, &obj, off, off + len);
			assert_int_equal(rig_apply(&r, &e), 0);
			effect_fini(&e);
			memset(model + off, 0, len);
		} else {
			fill(data, len, i);
			assert_int_equal(rig_write(&r, &obj, off, data, len), 0);
			memcpy(model + off, data, len);
		}
		off = test_env_rnd(&r.env) % sizeof(model);
		len = test_env_rnd(&r.env) % (sizeof(model) - off) + 1;
		assert_int_equal(rig_read(&r, 1, &obj, off, len, got), 0);
		assert_memory_equal(got, model + off, len);
	}
	assert_int_equal(rig_read(&r, 1, &obj, 0, sizeof(got), got), 0);
	assert_memory_equal(got, model, sizeof(got));
	/* another shard's, another object's are holes */
	assert_int_equal(store_ranges(r.st, 2, &obj, 0, UINT64_MAX, ranges, 8, &next), 0);
	rig_fini(&r);
}

static void test_store_ranges_merge_and_go_on(void **state)
{
	struct store_range v[2];
	uint64_t next;
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	rig_write(&r, &obj, 100, "0123456789", 10);
	rig_write(&r, &obj, 110, "0123456789", 10);
	rig_write(&r, &obj, 200, "0123456789", 10);
	rig_write(&r, &obj, 300, "0123456789", 10);
	assert_int_equal(store_ranges(r.st, 1, &obj, 105, 1000, v, 2, &next), 2);
	assert_true(v[0].off == 105 && v[0].len == 15);
	assert_true(v[1].off == 200 && v[1].len == 10);
	assert_true(next == 300);
	assert_int_equal(store_ranges(r.st, 1, &obj, next, 1105 - next, v, 2, &next), 1);
	assert_true(v[0].off == 300 && next == 1105);
	rig_fini(&r);
}

static void test_store_operations_of_one_effect_see_each_other(void **state)
{
	uint8_t got[8];
	struct effect e;
	struct rig r;
	struct key k;

	(void)state;
	rig_init(&r, 4);
	rig_write(&r, &obj, 0, "abcdefgh", 8);
	effect_init(&e);
	rig_section(&r, &e);
	key_map(&k, 1, &obj, "name", 4);
	effect_put(&e, k.b, k.len, "x", 1);
	effect_write(&e, &obj, 4, "WXYZ", 4);
	effect_punch(&e, &obj, 5, 6);
	effect_write(&e, &obj, 0, "12", 2);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 8, got), 0);
	assert_memory_equal(got, "12cdW\0YZ", 8);
	/* a drop also takes what the same effect put before it, and nothing after */
	effect_init(&e);
	rig_section(&r, &e);
	key_map(&k, 1, &obj, "other", 5);
	effect_put(&e, k.b, k.len, "y", 1);
	effect_drop(&e, &obj);
	effect_write(&e, &obj, 1, "new", 3);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	assert_int_equal(rig_get(&r, k.b, k.len, NULL), -ENOENT);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 8, got), 0);
	assert_memory_equal(got, "\0new\0\0\0\0", 8);
	rig_fini(&r);
}

static void test_store_drop_takes_all_of_the_object_and_no_more(void **state)
{
	struct orbit_id other = obj;
	struct store_usage u;
	struct effect e;
	struct rig r;
	struct key k;
	size_t before;

	(void)state;
	rig_init(&r, 5);
	other.b[31] = 1;
	rig_write(&r, &other, 0, "stays", 5);
	before = index_mem_count(r.ix);
	effect_init(&e);
	rig_section(&r, &e);
	key_id(&k, KEY_HEADER, 1, &obj);
	effect_put(&e, k.b, k.len, "h", 1);
	key_id(&k, KEY_ORPHAN, 1, &obj);
	effect_put(&e, k.b, k.len, "", 0);
	key_hold(&k, 1, &obj, 77);
	effect_put(&e, k.b, k.len, "1", 1);
	key_map(&k, 1, &obj, "", 0);
	effect_put(&e, k.b, k.len, "m", 1);
	key_map(&k, 1, &obj, "\xff\xff", 2);
	effect_put(&e, k.b, k.len, "m", 1);
	effect_write(&e, &obj, 0, "data", 4);
	effect_write(&e, &obj, 1 << 30, "data", 4);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	assert_int_equal(index_mem_count(r.ix), before + 7);
	store_usage(r.st, &u);
	assert_int_equal(u.live, 13);
	effect_init(&e);
	rig_section(&r, &e);
	effect_drop(&e, &obj);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	assert_int_equal(index_mem_count(r.ix), before);
	store_usage(r.st, &u);
	assert_int_equal(u.live, 5);
	rig_fini(&r);
}

static void test_store_iterates_in_order(void **state)
{
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	struct rig r;

	(void)state;
	rig_init(&r, 6);
	rig_put(&r, "b", "2");
	rig_put(&r, "a", "1");
	rig_put(&r, "c", "3");
	it = store_iter_new(r.st, "H\0\1a", 4, "H\0\1c", 4);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 1);
	assert_memory_equal(key, "H\0\1a", 4);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 1);
	assert_memory_equal(val, "2", 1);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 0);
	store_iter_free(it);
	rig_fini(&r);
}

static void test_store_refuses_malformed_effects(void **state)
{
	uint8_t k[] = {'E', 0, 1, 5};
	struct effect e;
	struct rig r;

	(void)state;
	rig_init(&r, 7);
	effect_init(&e);
	effect_put(&e, k, 4, "x", 1); /* the store's own keys */
	assert_int_equal(rig_apply(&r, &e), -EBADMSG);
	effect_fini(&e);
	effect_init(&e);
	effect_write(&e, &obj, 0, "x", 1); /* of no shard */
	assert_int_equal(rig_apply(&r, &e), -EBADMSG);
	effect_fini(&e);
	effect_init(&e);
	rig_section(&r, &e);
	effect_write(&e, &obj, 0, "xyz", 3);
	e.data_len = 2; /* less data than announced */
	assert_int_equal(rig_apply(&r, &e), -EBADMSG);
	effect_fini(&e);
	assert_int_equal(rig_put(&r, "still", "alive"), 0);
	rig_fini(&r);
}

static void test_store_reads_what_is_still_queued(void **state)
{
	static uint8_t big[1 << 20], got[1 << 20];
	struct rig_done d = {.a.done = rig_applied}, s = {.a.done = rig_applied};
	struct store_read rd = {0};
	struct effect e, small;
	struct rig r;

	(void)state;
	rig_init(&r, 8);
	fill(big, sizeof(big), 1);
	effect_init(&e);
	rig_section(&r, &e);
	effect_write(&e, &obj, 5, big, 1000);
	effect_write(&e, &obj, 1005, big + 1000, sizeof(big) - 1000);
	d.a.effect = &e;
	assert_int_equal(store_apply(r.st, &d.a, STORE_NORMAL), 0);
	/* a small one must not overtake it */
	effect_init(&small);
	rig_section(&r, &small);
	effect_write(&small, &obj, 7, "small", 5);
	s.a.effect = &small;
	assert_int_equal(store_apply(r.st, &s.a, STORE_NORMAL), 0);
	memcpy(big + 2, "small", 5);
	assert_true(d.a.position < s.a.position);
	assert_int_equal(store_read(r.st, &rd, 1, &obj, 5, sizeof(big), got), 0);
	assert_memory_equal(got, big, sizeof(big));
	fill(big, sizeof(big), 1);
	assert_false(d.done);
	rig_until(&r, &s);
	assert_true(d.done && d.rc == 0 && s.rc == 0);
	memcpy(big + 2, "small", 5);
	assert_int_equal(rig_read(&r, 1, &obj, 5, sizeof(big), got), 0);
	assert_memory_equal(got, big, sizeof(big));
	effect_fini(&e);
	effect_fini(&small);
	rig_fini(&r);
}

static void test_store_is_the_same_after_close_and_open(void **state)
{
	char key[16];
	struct rig r;

	(void)state;
	rig_init(&r, 9);
	assert_int_equal(store_info(r.st)->starts, 1);
	assert_true(store_info(r.st)->whole);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_put(&r, key, key), 0);
	}
	assert_int_equal(rig_write(&r, &obj, 10, "hello", 5), 0);
	assert_int_equal(rig_close(&r), 0);
	/* a clean stop needs neither the page cache nor the kernel */
	disk_mem_crash(r.disk, DISK_LOSE, 1);
	index_mem_crash(r.ix, 1);
	assert_int_equal(rig_open(&r), 0);
	assert_true(store_info(r.st)->whole);
	assert_int_equal(store_info(r.st)->starts, 2);
	assert_memory_equal(store_info(r.st)->fsid, rig_fsid, 16);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_has(&r, key, key), 1);
	}
	assert_int_equal(rig_read(&r, 1, &obj, 10, 5, key), 0);
	assert_memory_equal(key, "hello", 5);
	rig_fini(&r);
}

/* A full segment in which no bytes are live is superfluous, but not when the log ends with it. */
static void test_store_opens_after_its_last_segment_was_full(void **state)
{
	static char val[1001];
	char key[16];
	struct rig r;

	(void)state;
	rig_init(&r, 9);
	memset(val, 'x', sizeof(val) - 1);
	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_put(&r, key, val), 0);
		assert_int_equal(rig_crash(&r, DISK_PROCESS, (uint64_t)i), 0);
		assert_int_equal(rig_close(&r), 0);
		assert_int_equal(rig_open(&r), 0);
		assert_true(store_info(r.st)->whole);
	}
	for (int i = 0; i < 40; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_has(&r, key, val), 1);
	}
	rig_fini(&r);
}

static void test_store_killed_process_loses_nothing(void **state)
{
	char key[16];
	struct rig r;

	(void)state;
	rig_init(&r, 10);
	for (int i = 0; i < 700; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_put(&r, key, key), 0);
		if (i % 100 == 50)
			assert_int_equal(rig_crash(&r, DISK_PROCESS, (uint64_t)i), 0);
		assert_true(store_info(r.st)->whole);
	}
	for (int i = 0; i < 700; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_has(&r, key, key), 1);
	}
	rig_fini(&r);
}

static void test_store_power_loss_keeps_what_was_synced(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 11);
	assert_int_equal(rig_put(&r, "a", "synced"), 0);
	assert_int_equal(rig_sync(&r), 0);
	assert_int_equal(rig_put(&r, "b", "not"), 0);
	assert_int_equal(rig_crash(&r, DISK_LOSE, 1), 0);
	assert_false(store_info(r.st)->whole);
	assert_int_equal(rig_has(&r, "a", "synced"), 1);
	assert_int_equal(rig_has(&r, "b", "not"), -ENOENT);
	/* not whole stays so over a kill and a clean stop, until it was levelled */
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_false(store_info(r.st)->whole);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	store_levelled(r.st);
	assert_true(store_info(r.st)->whole);
	test_env_idle(&r.env);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_true(store_info(r.st)->whole);
	rig_fini(&r);
}

/* A segment that a read has yet to open is not removed, whatever order the workers take. */
static void test_store_read_of_what_is_about_to_go(void **state)
{
	static uint8_t data[40000], other[40000], got[40000];

	(void)state;
	fill(data, sizeof(data), 3);
	for (uint64_t seed = 1; seed < 400; seed++) {
		struct rig_done rd = {.r.done = rig_was_read};
		struct rig r;

		rig_init(&r, seed);
		assert_int_equal(rig_write(&r, &obj, 0, data, sizeof(data)), 0);
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(rig_write(&r, &obj, 1 << 20, data, 20000), 0);
		assert_int_equal(rig_close(&r), 0);
		assert_int_equal(rig_open(&r), 0);
		assert_int_equal(rig_write(&r, &obj, 1 << 20, data, 100), 0);
		test_env_idle(&r.env);
		assert_int_equal(
			store_read(r.st, &rd.r, 1, &obj, 0, sizeof(got), got), -EINPROGRESS);
		assert_int_equal(rig_write(&r, &obj, 0, other, sizeof(other)), 0);
		while (!rd.done && (test_env_fire(&r.env, UINT64_MAX) || test_env_step(&r.env)))
			;
		rig_until(&r, &rd);
		assert_int_equal(rd.rc, 0);
		assert_memory_equal(got, data, sizeof(got));
		test_env_advance(&r.env, 60 * ENV_SEC);
		assert_int_equal(disk_mem_size(r.disk, "log-0000000000000000"), -ENOENT);
		rig_fini(&r);
	}
}

/* What was synced is not counted as waiting for writeback, else nothing is written on the loop any
 * more. */
static void test_store_counts_what_waits_for_writeback(void **state)
{
	static uint8_t data[1 << 20];
	struct rig r;

	(void)state;
	rig_init(&r, 15);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(rig_write(&r, &obj, i % 3 << 20, data, sizeof(data)), 0);
		if (i % 7 == 6) {
			assert_int_equal(rig_sync(&r), 0);
			assert_int_equal(r.st->unstarted, 0);
		}
		assert_true(r.st->unstarted + r.st->backing <= 9u << 20);
	}
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_read_of_what_is_about_to_go),
		cmocka_unit_test(test_store_counts_what_waits_for_writeback),
		cmocka_unit_test(test_store_puts_and_gets),
		cmocka_unit_test(test_store_writes_overlap),
		cmocka_unit_test(test_store_ranges_merge_and_go_on),
		cmocka_unit_test(test_store_operations_of_one_effect_see_each_other),
		cmocka_unit_test(test_store_drop_takes_all_of_the_object_and_no_more),
		cmocka_unit_test(test_store_iterates_in_order),
		cmocka_unit_test(test_store_refuses_malformed_effects),
		cmocka_unit_test(test_store_reads_what_is_still_queued),
		cmocka_unit_test(test_store_is_the_same_after_close_and_open),
		cmocka_unit_test(test_store_opens_after_its_last_segment_was_full),
		cmocka_unit_test(test_store_killed_process_loses_nothing),
		cmocka_unit_test(test_store_power_loss_keeps_what_was_synced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
