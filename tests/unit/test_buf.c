#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/buf.h"

static void test_buf_reads_back_what_was_written(void **state)
{
	struct buf b = {0};
	struct cur c;
	size_t len;
	const void *blob;

	(void)state;
	buf_u8(&b, 7);
	buf_u16(&b, 0x1234);
	buf_u32(&b, 0xdeadbeef);
	buf_u64(&b, UINT64_C(0x0102030405060708));
	buf_blob(&b, "hello", 5);
	assert_int_equal(b.err, 0);
	c = cur_of(b.data, b.len);
	assert_int_equal(cur_u8(&c), 7);
	assert_int_equal(cur_u16(&c), 0x1234);
	assert_int_equal(cur_u32(&c), 0xdeadbeef);
	assert_true(cur_u64(&c) == UINT64_C(0x0102030405060708));
	blob = cur_blob(&c, 100, &len);
	assert_int_equal(len, 5);
	assert_memory_equal(blob, "hello", 5);
	assert_true(cur_done(&c));
	buf_fini(&b);
}

static void test_cur_past_the_end_is_bad_and_stays_bad(void **state)
{
	uint8_t bytes[3] = {1, 2, 3};
	struct cur c = cur_of(bytes, 3);

	(void)state;
	assert_int_equal(cur_u32(&c), 0);
	assert_false(cur_ok(&c));
	assert_int_equal(cur_u8(&c), 0);
	assert_null(cur_bytes(&c, 0));
	assert_false(cur_done(&c));
}

static void test_cur_blob_longer_than_allowed_is_bad(void **state)
{
	struct buf b = {0};
	struct cur c;
	size_t len;

	(void)state;
	buf_blob(&b, "12345", 5);
	c = cur_of(b.data, b.len);
	assert_null(cur_blob(&c, 4, &len));
	assert_false(cur_ok(&c));
	assert_int_equal(len, 0);
	/* a length that announces more than there is */
	buf_set_u32(&b, 0, UINT32_MAX);
	c = cur_of(b.data, b.len);
	assert_null(cur_blob(&c, SIZE_MAX, &len));
	assert_false(cur_ok(&c));
	buf_fini(&b);
}

static void test_buf_overflowing_size_is_an_error(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_u8(&b, 1);
	assert_null(buf_add(&b, SIZE_MAX));
	assert_int_equal(b.err, -12);
	buf_u8(&b, 2);
	assert_int_equal(b.len, 1);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_reads_back_what_was_written),
		cmocka_unit_test(test_cur_past_the_end_is_bad_and_stays_bad),
		cmocka_unit_test(test_cur_blob_longer_than_allowed_is_bad),
		cmocka_unit_test(test_buf_overflowing_size_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
