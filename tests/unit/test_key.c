#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/store/key.h"

static struct orbit_id some_id(uint8_t last)
{
	struct orbit_id id = {{1, 2, 3}};

	id.b[ORBIT_ID_LEN - 1] = last;
	return id;
}

static int cmp(const struct key *a, const struct key *b)
{
	int c = memcmp(a->b, b->b, a->len < b->len ? a->len : b->len);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

static void test_key_bytes(void **state)
{
	struct orbit_id id = some_id(9);
	struct key k;

	(void)state;
	key_class(&k, KEY_TERM, 0x1234);
	assert_int_equal(k.len, 3);
	assert_memory_equal(k.b, "T\x12\x34", 3);
	key_hold(&k, 1, &id, 0x01020304);
	assert_int_equal(k.len, 39);
	assert_memory_equal(k.b, "O\0\1", 3);
	assert_memory_equal(k.b + 3, id.b, 32);
	assert_memory_equal(k.b + 35, "\1\2\3\4", 4);
	key_session(&k, KEY_REPLY, 2, 0xa0b0c0d0, UINT64_C(0x1122334455667788));
	assert_int_equal(k.len, 15);
	assert_memory_equal(k.b, "R\0\2\xa0\xb0\xc0\xd0\x11\x22\x33\x44\x55\x66\x77\x88", 15);
	key_floor(&k, 3, 5);
	assert_int_equal(k.len, 7);
	assert_memory_equal(k.b, "F\0\3\0\0\0\5", 7);
}

static void test_key_map_names_have_a_limit(void **state)
{
	struct orbit_id id = some_id(1);
	char name[KEY_MAP_MAX + 1] = "x";
	struct key k;

	(void)state;
	assert_int_equal(key_map(&k, 0, &id, name, KEY_MAP_MAX), 0);
	assert_int_equal(k.len, 35 + KEY_MAP_MAX);
	assert_int_equal(key_map(&k, 0, &id, name, KEY_MAP_MAX + 1), -36);
	assert_int_equal(key_map(&k, 0, &id, NULL, 0), 0);
	assert_int_equal(k.len, 35);
}

static void test_key_order_is_id_order(void **state)
{
	struct orbit_id a = some_id(1), b = some_id(2);
	struct key x, y;

	(void)state;
	key_map(&x, 7, &a, "zzz", 3);
	key_map(&y, 7, &b, "a", 1);
	assert_true(cmp(&x, &y) < 0);
	key_session(&x, KEY_REPLY, 7, 1, 255);
	key_session(&y, KEY_REPLY, 7, 1, 256);
	assert_true(cmp(&x, &y) < 0);
}

static void test_key_after_prefix(void **state)
{
	struct orbit_id id = some_id(0xff);
	struct key k, in;

	(void)state;
	key_id(&k, KEY_MAP, 1, &id);
	assert_true(key_after_prefix(&k));
	assert_int_equal(k.len, 34);
	assert_int_equal(k.b[33], 1);
	key_map(&in, 1, &id, "\xff\xff", 2);
	assert_true(cmp(&in, &k) < 0);
	memset(k.b, 0xff, 5);
	k.len = 5;
	assert_false(key_after_prefix(&k));
	assert_int_equal(k.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_bytes),
		cmocka_unit_test(test_key_map_names_have_a_limit),
		cmocka_unit_test(test_key_order_is_id_order),
		cmocka_unit_test(test_key_after_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
