#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/crc.h"
#include "dht/store/effect.h"

static const struct orbit_id id = {{0xaa, 0xbb}};

static void test_effect_reads_back_what_was_built(void **state)
{
	static uint8_t data[9000];
	struct effect_iter it;
	struct effect_op op;
	struct effect e;
	uint32_t crc;

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	effect_init(&e);
	effect_section(&e, 5, 6, 7);
	assert_true(effect_empty(&e));
	effect_put(&e, "H\0\5k", 4, "value", 5);
	assert_false(effect_empty(&e));
	effect_del(&e, "H\0\5d", 4);
	effect_write(&e, &id, 100, data, 9000);
	effect_write(&e, &id, 1 << 20, data, 1);
	effect_punch(&e, &id, 3, UINT64_MAX);
	effect_drop(&e, &id);
	assert_int_equal(e.meta.err, 0);
	assert_int_equal(e.ndata, 2);
	assert_int_equal(e.data_len, 9001);
	it = effect_iter_of(e.meta.data, e.meta.len);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_SECTION);
	assert_int_equal(op.shard, 5);
	assert_int_equal(op.term, 6);
	assert_int_equal(op.seq, 7);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_PUT);
	assert_int_equal(op.klen, 4);
	assert_memory_equal(op.key, "H\0\5k", 4);
	assert_int_equal(op.vlen, 5);
	assert_memory_equal(op.val, "value", 5);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_DEL);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_WRITE);
	assert_int_equal(op.off, 100);
	assert_int_equal(op.len, 9000);
	assert_int_equal(op.data_at, 0);
	assert_memory_equal(op.id.b, id.b, 32);
	/* chunks end at multiples of 4096 of the stream: 100..4096..8192..9100 */
	assert_int_equal(op.ncrcs, 3);
	memcpy(&crc, op.crcs, 4);
	assert_true(le32toh(crc) == crc32c(data, 3996));
	memcpy(&crc, op.crcs + 8, 4);
	assert_true(le32toh(crc) == crc32c(data + 8092, 908));
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.data_at, 9000);
	assert_int_equal(op.ncrcs, 1);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_PUNCH);
	assert_true(op.off == 3 && op.to == UINT64_MAX);
	assert_int_equal(effect_next(&it, &op), 1);
	assert_int_equal(op.kind, EFFECT_DROP);
	assert_int_equal(effect_next(&it, &op), 0);
	effect_fini(&e);
}

static void test_effect_many_writes_keep_their_order(void **state)
{
	uint8_t data[100];
	struct effect e;

	(void)state;
	effect_init(&e);
	effect_section(&e, 0, 1, 1);
	for (size_t i = 0; i < 100; i++)
		effect_write(&e, &id, i * 10, data + i, 1);
	assert_int_equal(e.ndata, 100);
	for (size_t i = 0; i < 100; i++)
		assert_ptr_equal(e.data[i].iov_base, data + i);
	effect_fini(&e);
}

/* Every cut of a good encoding ends in an error or earlier, never beyond. */
static void test_effect_truncated_is_bad(void **state)
{
	struct effect_iter it;
	struct effect_op op;
	struct effect e;
	int rc;

	(void)state;
	effect_init(&e);
	effect_put(&e, "H\0\5k", 4, "value", 5);
	effect_write(&e, &id, 4000, "0123456789", 10);
	for (size_t len = 1; len < e.meta.len; len++) {
		it = effect_iter_of(e.meta.data, len);
		while ((rc = effect_next(&it, &op)) > 0)
			;
		/* the end of the first operation is the one place where a cut goes unnoticed */
		assert_int_equal(rc, len == 18 ? 0 : -74);
	}
	effect_fini(&e);
}

static void expect_bad(const struct buf *b)
{
	struct effect_iter it = effect_iter_of(b->data, b->len);
	struct effect_op op;

	assert_int_equal(effect_next(&it, &op), -74);
}

static void test_effect_nonsense_is_bad(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_u8(&b, 99);
	expect_bad(&b);
	buf_reset(&b); /* a key of two bytes */
	buf_u8(&b, EFFECT_DEL);
	buf_blob(&b, "ab", 2);
	expect_bad(&b);
	buf_reset(&b); /* a write of nothing */
	buf_u8(&b, EFFECT_WRITE);
	buf_bytes(&b, id.b, 32);
	buf_u64(&b, 0);
	buf_u32(&b, 0);
	expect_bad(&b);
	buf_reset(&b); /* a write whose end overflows */
	buf_u8(&b, EFFECT_WRITE);
	buf_bytes(&b, id.b, 32);
	buf_u64(&b, UINT64_MAX - 5);
	buf_u32(&b, 10);
	buf_u64(&b, 0);
	expect_bad(&b);
	buf_reset(&b); /* 4 GiB announced */
	buf_u8(&b, EFFECT_WRITE);
	buf_bytes(&b, id.b, 32);
	buf_u64(&b, 0);
	buf_u32(&b, UINT32_MAX);
	expect_bad(&b);
	buf_reset(&b); /* a punch backwards */
	buf_u8(&b, EFFECT_PUNCH);
	buf_bytes(&b, id.b, 32);
	buf_u64(&b, 9);
	buf_u64(&b, 8);
	expect_bad(&b);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_effect_reads_back_what_was_built),
		cmocka_unit_test(test_effect_many_writes_keep_their_order),
		cmocka_unit_test(test_effect_truncated_is_bad),
		cmocka_unit_test(test_effect_nonsense_is_bad),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
