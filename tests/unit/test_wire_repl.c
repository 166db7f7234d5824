#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/wire/wire_repl.h"
#include "tests/unit/vectors.h"

/* A message in memory of exactly its size, so that a read past its end is seen by asan. */
static struct cur exact(const struct buf *b, size_t len, void **mem)
{
	*mem = malloc(len ? len : 1);
	memcpy(*mem, b->data, len);
	return cur_of(*mem, len);
}

/* No beginning of the message shorter than @from passes. */
#define ASSERT_WHOLE(name, get, m, from)                                                           \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		void *mem_;                                                                        \
		for (size_t n_ = 0; n_ < (from); n_++) {                                           \
			assert_int_equal(get(exact(&v_, n_, &mem_), m), -EBADMSG);                 \
			free(mem_);                                                                \
		}                                                                                  \
		assert_int_equal(get(exact(&v_, v_.len, &mem_), m), 0);                            \
		free(mem_);                                                                        \
		buf_fini(&v_);                                                                     \
	} while (0)

#define ASSERT_NO_MORE(name, get, m)                                                               \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		buf_u8(&v_, 0);                                                                    \
		assert_int_equal(get(cur_of(v_.data, v_.len), m), -EBADMSG);                       \
		buf_fini(&v_);                                                                     \
	} while (0)

static void test_wire_beat(void **state)
{
	struct wire_beat m = {.epoch = 7, .lease = 400000000, .available = 1000}, got;
	struct buf b = {0};

	(void)state;
	wire_put_beat(&b, &m);
	assert_int_equal(wire_get_beat(cur_of(b.data, b.len), &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	assert_vector("beat", &b);
	ASSERT_WHOLE("beat", wire_get_beat, &got, 24);
	ASSERT_NO_MORE("beat", wire_get_beat, &got);
}

static void test_wire_append(void **state)
{
	struct wire_append m = {.epoch = 7,
		.shard_term = 9,
		.shard = 5,
		.term = 8,
		.seq = 301,
		.meta = "META",
		.meta_len = 4,
		.data = "BULK!",
		.data_len = 5};
	struct wire_append got;
	struct buf b = {0};

	(void)state;
	wire_put_append_head(&b, &m);
	buf_bytes(&b, m.meta, m.meta_len);
	buf_bytes(&b, m.data, m.data_len);
	assert_int_equal(wire_get_append(cur_of(b.data, b.len), &got), 0);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.shard_term, 9);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.term, 8);
	assert_int_equal(got.seq, 301);
	assert_int_equal(got.meta_len, 4);
	assert_memory_equal(got.meta, "META", 4);
	assert_int_equal(got.data_len, 5);
	assert_memory_equal(got.data, "BULK!", 5);
	wire_set_append_term(b.data, 10, 11);
	assert_int_equal(wire_get_append(cur_of(b.data, b.len), &got), 0);
	assert_int_equal(got.epoch, 10);
	assert_int_equal(got.shard_term, 11);
	assert_int_equal(got.seq, 301);
	wire_set_append_term(b.data, 7, 9);
	assert_vector("append", &b);
	/* what is missing at the end is bulk data that nobody announced: the effect's own lengths
	 * tell */
	ASSERT_WHOLE("append", wire_get_append, &got, 42);
}

static void test_wire_append_without_an_effect_has_no_data(void **state)
{
	struct wire_append m = {.epoch = 7, .shard_term = 9, .shard = 5, .term = 8, .seq = 301};
	struct wire_append got;
	struct buf b = {0};

	(void)state;
	wire_put_append_head(&b, &m);
	assert_int_equal(wire_get_append(cur_of(b.data, b.len), &got), 0);
	assert_int_equal(got.meta_len, 0);
	buf_u8(&b, 1);
	assert_int_equal(wire_get_append(cur_of(b.data, b.len), &got), -EBADMSG);
	buf_fini(&b);
}

static void test_wire_ack(void **state)
{
	const struct wire_ack_one one[2] = {
		{.shard = 5, .status = WIRE_OK, .shard_term = 9, .seq = 301},
		{.shard = 6, .status = WIRE_NO_SPACE, .shard_term = 2, .seq = 17}};
	struct wire_ack_one first;
	struct wire_ack got;
	struct buf b = {0};

	(void)state;
	wire_put_ack_head(&b, 7, 2);
	wire_put_ack_one(&b, &one[0]);
	wire_put_ack_one(&b, &one[1]);
	assert_int_equal(wire_get_ack(cur_of(b.data, b.len), &got), 0);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.n, 2);
	first = wire_ack_at(&got, 1);
	assert_int_equal(first.shard, 6);
	assert_int_equal(first.status, WIRE_NO_SPACE);
	assert_int_equal(first.shard_term, 2);
	assert_int_equal(first.seq, 17);
	assert_vector("ack", &b);
	ASSERT_WHOLE("ack", wire_get_ack, &got, 52);
	ASSERT_NO_MORE("ack", wire_get_ack, &got);
	wire_put_ack_head(&b, 7, UINT32_MAX);
	assert_int_equal(wire_get_ack(cur_of(b.data, b.len), &got), -EBADMSG);
	buf_fini(&b);
}

static void test_wire_recover(void **state)
{
	const struct wire_recover_one one[2] = {
		{.shard = 5, .shard_term = 9}, {.shard = 6, .shard_term = 2}};
	struct wire_recover got;
	struct buf b = {0};

	(void)state;
	wire_put_recover_head(&b, 7, 2);
	wire_put_recover_one(&b, &one[0]);
	wire_put_recover_one(&b, &one[1]);
	assert_int_equal(wire_get_recover(cur_of(b.data, b.len), &got), 0);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.n, 2);
	assert_int_equal(wire_recover_at(&got, 0).shard, 5);
	assert_int_equal(wire_recover_at(&got, 1).shard_term, 2);
	assert_vector("recover", &b);
	ASSERT_WHOLE("recover", wire_get_recover, &got, 32);
	ASSERT_NO_MORE("recover", wire_get_recover, &got);
	wire_put_recover_head(&b, 7, WIRE_RECOVER_MAX + 1);
	assert_int_equal(wire_get_recover(cur_of(b.data, b.len), &got), -EBADMSG);
	buf_fini(&b);
}

static void test_wire_make_durable(void **state)
{
	struct buf b = {0};
	uint64_t epoch;

	(void)state;
	wire_put_make_durable(&b, 7);
	assert_vector("make_durable", &b);
	ASSERT_WHOLE("make_durable", wire_get_make_durable, &epoch, 8);
	ASSERT_NO_MORE("make_durable", wire_get_make_durable, &epoch);
	assert_int_equal(epoch, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_beat),
		cmocka_unit_test(test_wire_append),
		cmocka_unit_test(test_wire_append_without_an_effect_has_no_data),
		cmocka_unit_test(test_wire_ack),
		cmocka_unit_test(test_wire_recover),
		cmocka_unit_test(test_wire_make_durable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
