/* Which effects a store has: kept over flushes, crashes, power loss and damage. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "tests/unit/store_rig.h"

static int put_at(struct rig *r, uint16_t shard, uint64_t term, uint64_t seq)
{
	uint8_t key[4] = {'H', (uint8_t)(shard >> 8), (uint8_t)shard, 'k'};
	struct effect e;
	int rc;

	effect_init(&e);
	effect_section(&e, shard, term, seq);
	effect_put(&e, key, 4, &seq, sizeof(seq));
	rc = rig_apply(r, &e);
	effect_fini(&e);
	return rc;
}

static void expect(struct rig *r, uint16_t shard, uint64_t term, uint64_t seq, unsigned nterms)
{
	struct history h = store_history(r->st, shard);

	assert_int_equal(h.term, term);
	assert_int_equal(h.seq, seq);
	assert_int_equal(h.nterms, nterms);
}

/* Makes the store flush its index. */
static void flush(struct rig *r)
{
	assert_int_equal(rig_close(r), 0);
	assert_int_equal(rig_open(r), 0);
}

static void test_history_compares(void **state)
{
	const struct history_term ta[] = {{1, 1}, {3, 10}, {5, 20}},
				  tb[] = {{1, 1}, {3, 10}, {4, 15}};
	const struct history_term tc[] = {{3, 10}}, td[] = {{9, 1}};
	const struct history a = {5, 25, ta, 3}, b = {4, 30, tb, 3}, c = {3, 12, tc, 1};
	const struct history d = {9, 100, td, 1}, none = {0};
	struct history_term t;

	(void)state;
	assert_true(history_contains(&a, 1, 1));
	assert_true(history_contains(&a, 1, 9));
	assert_false(history_contains(&a, 1, 10));
	assert_true(history_contains(&a, 3, 19));
	assert_false(history_contains(&a, 3, 20));
	assert_true(history_contains(&a, 5, 25));
	assert_false(history_contains(&a, 5, 26));
	assert_false(history_contains(&a, 4, 20));
	assert_false(history_contains(&a, 0, 0));
	assert_false(history_contains(&none, 0, 0));
	t = history_common(&a, &b);
	assert_true(t.term == 3 && t.first == 14);
	t = history_common(&b, &a);
	assert_true(t.term == 3 && t.first == 14);
	t = history_common(&a, &c);
	assert_true(t.term == 3 && t.first == 12);
	t = history_common(&a, &a);
	assert_true(t.term == 5 && t.first == 25);
	t = history_common(&a, &d);
	assert_true(t.term == 0 && t.first == 0);
	t = history_common(&none, &a);
	assert_true(t.term == 0 && t.first == 0);
}

static int decode(const struct buf *b, struct history *h)
{
	struct cur c = cur_of(b->data, b->len);

	return history_decode(&c, h);
}

static void test_history_travels(void **state)
{
	const struct history_term t[] = {{1, 1}, {3, 10}, {5, 20}};
	const struct history a = {5, 25, t, 3}, none = {0}, voided = {0, 7, NULL, 0};
	const struct history bad[] = {{4, 25, t, 3}, {5, 19, t, 3}, {5, 0, NULL, 0}};
	const struct history_term same[] = {{1, 1}, {1, 2}}, back[] = {{1, 5}, {2, 5}};
	const struct history twice = {1, 5, same, 2}, still = {2, 5, back, 2};
	struct history h;
	struct buf b = {0};

	(void)state;
	history_encode(&a, &b);
	assert_int_equal(decode(&b, &h), 0);
	assert_true(h.term == 5 && h.seq == 25 && h.nterms == 3);
	assert_memory_equal(h.terms, t, sizeof(t));
	free((void *)h.terms);
	for (b.len--; b.len; b.len--)
		assert_int_equal(decode(&b, &h), -EBADMSG);
	history_encode(&none, &b);
	assert_int_equal(decode(&b, &h), 0);
	assert_true(h.seq == 0 && !h.terms);
	buf_reset(&b);
	history_encode(&voided, &b);
	assert_int_equal(decode(&b, &h), 0);
	assert_true(h.seq == 7 && h.term == 0);
	for (unsigned i = 0; i < 5; i++) {
		buf_reset(&b);
		history_encode(i < 3 ? &bad[i] : i == 3 ? &twice : &still, &b);
		assert_int_equal(decode(&b, &h), -EBADMSG);
	}
	/* a count that no message can hold */
	buf_reset(&b);
	buf_u64(&b, 1);
	buf_u64(&b, 1);
	buf_u32(&b, UINT32_MAX);
	assert_int_equal(decode(&b, &h), -EBADMSG);
	buf_fini(&b);
}

static void test_history_takes_what_comes_next_only(void **state)
{
	struct effect e;
	struct rig r;

	(void)state;
	log_set_level(LOG_LVL_ERROR + 1);
	rig_init(&r, 1);
	expect(&r, 7, 0, 0, 0);
	assert_int_equal(put_at(&r, 7, 2, 2), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 0, 1), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 2, 1), 0);
	assert_int_equal(put_at(&r, 7, 2, 1), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 1, 2), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 2, 3), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 3, 2), 0);
	assert_int_equal(put_at(&r, 7, 3, 0), -EBADMSG);
	assert_int_equal(put_at(&r, 7, 0, 0), 0);
	expect(&r, 7, 3, 2, 2);
	/* an effect may come back to a section, but has one seq in each shard */
	effect_init(&e);
	effect_section(&e, 7, 3, 3);
	effect_section(&e, 8, 1, 1);
	effect_section(&e, 7, 3, 3);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	expect(&r, 7, 3, 3, 2);
	expect(&r, 8, 1, 1, 1);
	effect_init(&e);
	effect_section(&e, 7, 3, 4);
	effect_section(&e, 7, 3, 5);
	assert_int_equal(rig_apply(&r, &e), -EBADMSG);
	effect_fini(&e);
	expect(&r, 7, 3, 3, 2);
	log_set_level(LOG_LVL_INFO);
	rig_fini(&r);
}

static void test_history_is_as_what_the_crash_left(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	for (uint64_t n = 1; n <= 30; n++)
		assert_int_equal(put_at(&r, 3, 1 + n / 10, n), 0);
	flush(&r);
	expect(&r, 3, 4, 30, 4);
	assert_int_equal(put_at(&r, 3, 5, 31), 0);
	assert_int_equal(put_at(&r, 900, 1, 1), 0);
	assert_int_equal(rig_sync(&r), 0);
	assert_int_equal(put_at(&r, 3, 6, 32), 0);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	expect(&r, 3, 6, 32, 6);
	expect(&r, 900, 1, 1, 1);
	assert_int_equal(put_at(&r, 3, 6, 33), 0);
	assert_int_equal(rig_crash(&r, DISK_LOSE, 1), 0);
	/* recovery synced what it found */
	expect(&r, 3, 6, 32, 6);
	assert_int_equal(put_at(&r, 3, 7, 33), 0);
	assert_int_equal(rig_crash(&r, DISK_LOSE, 1), 0);
	expect(&r, 3, 6, 32, 6);
	rig_fini(&r);
}

static void test_history_keeps_so_many_terms(void **state)
{
	struct history h;
	struct rig r;

	(void)state;
	rig_init(&r, 3);
	for (uint64_t n = 1; n <= HISTORY_TERMS_MAX + 10; n++)
		assert_int_equal(put_at(&r, 3, n, n), 0);
	flush(&r);
	h = store_history(r.st, 3);
	assert_int_equal(h.nterms, HISTORY_TERMS_MAX);
	assert_false(history_contains(&h, 10, 10));
	assert_true(history_contains(&h, 11, 11));
	assert_true(history_contains(&h, HISTORY_TERMS_MAX + 10, HISTORY_TERMS_MAX + 10));
	rig_fini(&r);
}

static int take_over(struct rig *r, uint16_t shard, uint64_t seq, const struct history *h)
{
	struct effect e;
	int rc;

	effect_init(&e);
	effect_section(&e, shard, seq ? 9 : 0, seq);
	effect_history(&e, h);
	rc = rig_apply(r, &e);
	effect_fini(&e);
	return rc;
}

static void test_history_of_another_copy_is_taken_over(void **state)
{
	const struct history_term t[] = {{1, 1}, {4, 10}};
	const struct history h = {4, 15, t, 2}, bad = {3, 15, t, 2}, none = {0};
	struct rig r;

	(void)state;
	rig_init(&r, 4);
	assert_int_equal(put_at(&r, 3, 1, 1), 0);
	assert_int_equal(take_over(&r, 3, 0, &bad), -EBADMSG);
	assert_int_equal(take_over(&r, 3, 2, &h), -EBADMSG);
	expect(&r, 3, 1, 1, 1);
	assert_int_equal(take_over(&r, 3, 0, &h), 0);
	expect(&r, 3, 4, 15, 2);
	assert_int_equal(put_at(&r, 3, 4, 16), 0);
	assert_int_equal(put_at(&r, 3, 6, 17), 0);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	expect(&r, 3, 6, 17, 3);
	flush(&r);
	expect(&r, 3, 6, 17, 3);
	assert_int_equal(take_over(&r, 3, 0, &none), 0);
	flush(&r);
	expect(&r, 3, 0, 0, 0);
	assert_int_equal(index_get(r.ix, "T\0\3", 3, NULL, false), -ENOENT);
	rig_fini(&r);
}

/* A record amidst the log is lost: no history says any more what was before. */
static void test_history_is_void_after_damage(void **state)
{
	struct history h;
	struct rig r;

	(void)state;
	log_set_level(LOG_LVL_ERROR + 1);
	rig_init(&r, 5);
	assert_int_equal(put_at(&r, 4, 1, 1), 0);
	flush(&r);
	for (uint64_t n = 1; n <= 3; n++) {
		assert_int_equal(put_at(&r, 3, 1, n), 0);
		assert_int_equal(rig_sync(&r), 0);
	}
	/* the second of shard 3: below the mark of the third */
	rig_kill(&r);
	disk_mem_crash(r.disk, DISK_PROCESS, 1);
	index_mem_crash(r.ix, 1);
	assert_int_equal(
		disk_mem_flip(r.disk, "log-0000000000000000",
			(uint64_t)disk_mem_size(r.disk, "log-0000000000000000") / 4 * 2 + 8, 0xff),
		0);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	expect(&r, 3, 0, 3, 0);
	expect(&r, 4, 0, 1, 0);
	/* what comes now is known, also after another start */
	assert_int_equal(put_at(&r, 3, 2, 4), 0);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	expect(&r, 3, 2, 4, 1);
	expect(&r, 4, 0, 1, 0);
	h = store_history(r.st, 3);
	assert_true(history_contains(&h, 2, 4));
	assert_false(history_contains(&h, 1, 1));
	log_set_level(LOG_LVL_INFO);
	rig_fini(&r);
}

static void test_store_goes_by_another_name(void **state)
{
	const struct orbit_id id = {{9, 8, 7}};
	struct rig_done d = {0};
	struct rig r;

	(void)state;
	rig_init(&r, 6);
	store_rename(r.st, &id, rig_closed, &d);
	rig_until(&r, &d);
	assert_int_equal(d.rc, 0);
	assert_int_equal(rig_crash(&r, DISK_LOSE, 1), 0);
	assert_memory_equal(&store_info(r.st)->node, &id, sizeof(id));
	assert_ptr_equal(store_disk(r.st), r.disk);
	/* files of others are left alone */
	assert_int_equal(r.disk->ops->save(r.disk, "keeper-log", "x", 1), 0);
	assert_int_equal(rig_crash(&r, DISK_LOSE, 1), 0);
	assert_int_equal(disk_mem_size(r.disk, "keeper-log"), 1);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_history_compares),
		cmocka_unit_test(test_history_travels),
		cmocka_unit_test(test_history_takes_what_comes_next_only),
		cmocka_unit_test(test_history_is_as_what_the_crash_left),
		cmocka_unit_test(test_history_keeps_so_many_terms),
		cmocka_unit_test(test_history_of_another_copy_is_taken_over),
		cmocka_unit_test(test_history_is_void_after_damage),
		cmocka_unit_test(test_store_goes_by_another_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
