#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "dht/base/id.h"

static void test_id_make_puts_the_position_first(void **state)
{
	uint8_t name[ORBIT_ID_LEN - 8];
	struct orbit_id id;

	(void)state;
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = (uint8_t)(0xa0 + i);
	id = orbit_id_make(UINT64_C(0x0123456789abcdef), name);
	assert_memory_equal(id.b, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
	assert_memory_equal(id.b + 8, name, sizeof(name));
	assert_true(orbit_id_position(&id) == UINT64_C(0x0123456789abcdef));
}

static void test_id_order_is_ring_order(void **state)
{
	uint8_t low[ORBIT_ID_LEN - 8] = {0}, high[ORBIT_ID_LEN - 8];
	struct orbit_id a, b, c;

	(void)state;
	memset(high, 0xff, sizeof(high));
	a = orbit_id_make(0xff, high);
	b = orbit_id_make(0x100, low);
	c = orbit_id_make(UINT64_C(1) << 63, low);
	assert_true(orbit_id_cmp(&a, &b) < 0);
	assert_true(orbit_id_cmp(&b, &c) < 0);
	assert_true(orbit_id_cmp(&c, &a) > 0);
	assert_int_equal(orbit_id_cmp(&b, &b), 0);
}

static void test_id_hash_is_sha256(void **state)
{
	struct orbit_id id = orbit_id_hash("abc", 3);
	char hex[ORBIT_ID_HEX];

	(void)state;
	/* FIPS 180-2, B.1 */
	assert_string_equal(orbit_id_hex(&id, hex),
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void test_id_parse_reads_what_hex_wrote(void **state)
{
	struct orbit_id id = orbit_id_hash("x", 1), back;
	char hex[ORBIT_ID_HEX];

	(void)state;
	assert_int_equal(orbit_id_parse(orbit_id_hex(&id, hex), &back), 0);
	assert_memory_equal(&back, &id, sizeof(id));
	for (char *p = hex; *p; p++)
		*p = *p >= 'a' ? (char)(*p - 32) : *p;
	memset(&back, 0, sizeof(back));
	assert_int_equal(orbit_id_parse(hex, &back), 0);
	assert_memory_equal(&back, &id, sizeof(id));
}

static void test_id_parse_refuses_what_is_no_id(void **state)
{
	struct orbit_id id;
	char text[80];

	(void)state;
	memset(text, '7', sizeof(text));
	text[64] = 0;
	assert_int_equal(orbit_id_parse(text, &id), 0);
	text[63] = 'g';
	assert_int_equal(orbit_id_parse(text, &id), -EINVAL);
	text[63] = 0;
	assert_int_equal(orbit_id_parse(text, &id), -EINVAL);
	memset(text, '7', 65);
	text[65] = 0;
	assert_int_equal(orbit_id_parse(text, &id), -EINVAL);
	assert_int_equal(orbit_id_parse("", &id), -EINVAL);
	memset(text, '7', 64);
	text[64] = 0;
	text[0] = ' ';
	assert_int_equal(orbit_id_parse(text, &id), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_id_make_puts_the_position_first),
		cmocka_unit_test(test_id_order_is_ring_order),
		cmocka_unit_test(test_id_hash_is_sha256),
		cmocka_unit_test(test_id_parse_reads_what_hex_wrote),
		cmocka_unit_test(test_id_parse_refuses_what_is_no_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
