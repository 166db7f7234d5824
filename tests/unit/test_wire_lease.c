#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

#include "dht/wire/wire_lease.h"
#include "tests/unit/vectors.h"

#define HEAD_LEN 35
#define ONE_LEN 51

static struct cur cur_with(struct buf *b, size_t at, uint8_t value)
{
	b->data[at] = value;
	return cur_of(b->data, b->len);
}

static void put(struct buf *b)
{
	struct wire_lease_one one = {.shard = 5,
		.mode = WIRE_LEASE_EXCLUSIVE,
		.number = UINT64_C(0x0000090000000011),
		.version = 4711};
	struct wire_leases m = {.request = 77,
		.session = 0x0a0b0c,
		.epoch = 7,
		.shard = 6,
		.term = 9,
		.more = true,
		.n = 2};

	memset(one.id.b, 0xaa, ORBIT_ID_LEN);
	wire_put_leases_head(b, &m);
	wire_put_lease_one(b, &one);
	memset(one.id.b, 0xbb, ORBIT_ID_LEN);
	one.mode = WIRE_LEASE_NONE;
	one.version = 0;
	wire_put_lease_one(b, &one);
}

static void test_wire_leases(void **state)
{
	struct buf b = {0}, v = vector("leases");
	struct wire_lease_one one;
	struct wire_leases got;

	(void)state;
	put(&b);
	assert_vector("leases", &b);
	assert_int_equal(wire_get_leases(cur_of(v.data, v.len), &got), 0);
	assert_int_equal(got.request, 77);
	assert_int_equal(got.session, 0x0a0b0c);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.shard, 6);
	assert_int_equal(got.term, 9);
	assert_true(got.more);
	assert_int_equal(got.n, 2);
	one = wire_lease_next(&got);
	assert_int_equal(one.shard, 5);
	assert_int_equal(one.id.b[0], 0xaa);
	assert_int_equal(one.mode, WIRE_LEASE_EXCLUSIVE);
	assert_true(one.number == UINT64_C(0x0000090000000011));
	assert_int_equal(one.version, 4711);
	one = wire_lease_next(&got);
	assert_int_equal(one.id.b[31], 0xbb);
	assert_int_equal(one.mode, WIRE_LEASE_NONE);
	buf_fini(&v);
}

static void test_wire_leases_are_checked(void **state)
{
	struct buf v = vector("leases");
	struct wire_leases got;

	(void)state;
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(wire_get_leases(cur_of(v.data, n), &got), -EBADMSG);
	/* flags that are not known, a mode, a session of more than 24 bits, or none */
	assert_int_equal(wire_get_leases(cur_with(&v, 30, 2), &got), -EBADMSG);
	assert_int_equal(wire_get_leases(cur_with(&v, 30, 0), &got), 0);
	assert_false(got.more);
	assert_int_equal(wire_get_leases(cur_with(&v, HEAD_LEN + 34, 3), &got), -EBADMSG);
	assert_int_equal(wire_get_leases(cur_with(&v, HEAD_LEN + 34, 1), &got), 0);
	assert_int_equal(wire_get_leases(cur_with(&v, 11, 1), &got), -EBADMSG);
	v.data[11] = v.data[8] = v.data[9] = 0;
	assert_int_equal(wire_get_leases(cur_with(&v, 10, 0), &got), -EBADMSG);
	v.data[8] = 1;
	/* fewer and more than there are */
	assert_int_equal(wire_get_leases(cur_with(&v, 31, 1), &got), -EBADMSG);
	assert_int_equal(wire_get_leases(cur_with(&v, 31, 3), &got), -EBADMSG);
	v.data[31] = 0;
	assert_int_equal(wire_get_leases(cur_of(v.data, HEAD_LEN), &got), 0);
	buf_fini(&v);
}

static void test_wire_leases_have_a_limit(void **state)
{
	struct wire_leases m = {.session = 1, .n = WIRE_LEASES_MAX}, got;
	struct wire_lease_one one = {.mode = WIRE_LEASE_SHARED};
	struct buf b = {0};

	(void)state;
	wire_put_leases_head(&b, &m);
	for (unsigned i = 0; i < WIRE_LEASES_MAX; i++)
		wire_put_lease_one(&b, &one);
	assert_int_equal(b.len, HEAD_LEN + WIRE_LEASES_MAX * ONE_LEN);
	assert_int_equal(wire_get_leases(cur_of(b.data, b.len), &got), 0);
	wire_put_lease_one(&b, &one);
	buf_set_u32(&b, 31, WIRE_LEASES_MAX + 1);
	assert_int_equal(wire_get_leases(cur_of(b.data, b.len), &got), -EBADMSG);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_leases),
		cmocka_unit_test(test_wire_leases_are_checked),
		cmocka_unit_test(test_wire_leases_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
