#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

#include "dht/wire/wire_watch.h"
#include "tests/unit/vectors.h"

static struct cur cur_with(struct buf *b, size_t at, uint8_t value)
{
	b->data[at] = value;
	return cur_of(b->data, b->len);
}

static void test_wire_watch(void **state)
{
	struct wire_watch m = {.begin = true, .number = 77, .bits = 12, .id = {{0xab, 0xc0}}}, got;
	struct buf b = {0}, v = vector("watch");

	(void)state;
	wire_put_watch(&b, &m);
	assert_vector("watch", &b);
	assert_int_equal(wire_get_watch(cur_of(v.data, v.len), &got), 0);
	assert_true(got.begin && !got.all);
	assert_int_equal(got.number, 77);
	assert_int_equal(got.bits, 12);
	assert_memory_equal(got.id.b, m.id.b, ORBIT_ID_LEN);
	for (size_t n = 1; n < v.len; n++)
		assert_int_equal(wire_get_watch(cur_of(v.data, n), &got), -EBADMSG);
	assert_int_equal(wire_get_watch(cur_of(NULL, 0), &got), 0);
	assert_true(got.all);
	/* bits that are not asked for */
	assert_int_equal(wire_get_watch(cur_with(&v, 12, 0xc8), &got), -EBADMSG);
	assert_int_equal(wire_get_watch(cur_with(&v, 12, 0xd0), &got), 0);
	assert_int_equal(wire_get_watch(cur_with(&v, 13, 1), &got), -EBADMSG);
	v.data[13] = 0;
	assert_int_equal(wire_get_watch(cur_with(&v, 9, 8), &got), -EBADMSG);
	/* all of the ID, and more than that */
	v.data[9] = 0;
	assert_int_equal(wire_get_watch(cur_with(&v, 10, 1), &got), 0);
	assert_int_equal(wire_get_watch(cur_with(&v, 9, 1), &got), -EBADMSG);
	v.data[9] = 0;
	assert_int_equal(wire_get_watch(cur_with(&v, 0, 2), &got), -EBADMSG);
	buf_fini(&v);
}

static void test_wire_watch_matches_prefixes(void **state)
{
	struct orbit_id a = {{0xab, 0xcd}}, b = {{0xab, 0xc0}};

	(void)state;
	assert_true(wire_watch_match(&a, &b, 0));
	assert_true(wire_watch_match(&a, &b, 8));
	assert_true(wire_watch_match(&a, &b, 12));
	assert_false(wire_watch_match(&a, &b, 13));
	assert_false(wire_watch_match(&a, &b, 256));
	assert_true(wire_watch_match(&a, &a, 256));
	a.b[0] ^= 0x80;
	assert_false(wire_watch_match(&a, &b, 1));
}

static void test_wire_notice(void **state)
{
	struct wire_notice m = {.what = WIRE_NOTICE_CREATED, .shard = 5, .seq = 4711}, got;
	struct buf b = {0}, v = vector("notice");

	(void)state;
	memset(m.id.b, 0xaa, ORBIT_ID_LEN);
	wire_put_notice(&b, &m);
	assert_vector("notice", &b);
	assert_int_equal(wire_get_notice(cur_of(v.data, v.len), &got), 0);
	assert_int_equal(got.what, WIRE_NOTICE_CREATED);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.seq, 4711);
	assert_memory_equal(got.id.b, m.id.b, ORBIT_ID_LEN);
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(wire_get_notice(cur_of(v.data, n), &got), -EBADMSG);
	assert_int_equal(wire_get_notice(cur_with(&v, 0, 0), &got), -EBADMSG);
	assert_int_equal(wire_get_notice(cur_with(&v, 0, 5), &got), -EBADMSG);
	buf_fini(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_watch),
		cmocka_unit_test(test_wire_watch_matches_prefixes),
		cmocka_unit_test(test_wire_notice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
