/* The messages of learning: as PROTOCOL.md has them, and what is refused of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/wire/wire_learn.h"
#include "tests/unit/vectors.h"

static struct cur cur_of_buf(const struct buf *b)
{
	return cur_of(b->data, b->len);
}

/* The first @len bytes in memory of exactly that size, so that a read past them is seen by asan. */
#define GET_PART(get, b, len, m)                                                                   \
	({                                                                                         \
		void *mem_ = malloc((len) ? (len) : 1);                                            \
		int rc_;                                                                           \
		memcpy(mem_, (b)->data, len);                                                      \
		rc_ = get(cur_of(mem_, len), m);                                                   \
		free(mem_);                                                                        \
		rc_;                                                                               \
	})

/* The vector passes, no beginning of it with fewer than @least bytes left out does. */
#define ASSERT_EXACT(name, get, m, open)                                                           \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		for (size_t n_ = 0; n_ < v_.len - (open); n_++)                                    \
			assert_int_equal(GET_PART(get, &v_, n_, m), -EBADMSG);                     \
		assert_int_equal(get(cur_of_buf(&v_), m), 0);                                      \
		if (!(open)) {                                                                     \
			buf_u8(&v_, 0);                                                            \
			assert_int_equal(get(cur_of_buf(&v_), m), -EBADMSG);                       \
		}                                                                                  \
		buf_fini(&v_);                                                                     \
	} while (0)

#define ASSERT_REFUSES(name, get, m, at, value)                                                    \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		assert_true((size_t)(at) < v_.len);                                                \
		v_.data[at] = (value);                                                             \
		assert_int_equal(get(cur_of_buf(&v_), m), -EBADMSG);                               \
		buf_fini(&v_);                                                                     \
	} while (0)

static struct orbit_id an_id(uint8_t first)
{
	struct orbit_id id;

	for (unsigned i = 0; i < ORBIT_ID_LEN; i++)
		id.b[i] = (uint8_t)(first + i);
	return id;
}

static void test_wire_learn_learn(void **state)
{
	struct wire_learn m = {.node = an_id(0x40),
		.shard = 5,
		.term = 9,
		.copy = WIRE_COPY_AHEAD,
		.need_term = 8,
		.need_seq = 300};
	struct wire_learn got;
	struct buf b = {0}, v = vector("learn");

	(void)state;
	wire_put_learn_head(&b, &m);
	buf_bytes(&b, "HIST", 4);
	assert_vector("learn", &b);
	assert_int_equal(wire_get_learn(cur_of_buf(&v), &got), 0);
	assert_memory_equal(got.node.b, m.node.b, ORBIT_ID_LEN);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.term, 9);
	assert_int_equal(got.copy, WIRE_COPY_AHEAD);
	assert_int_equal(got.need_term, 8);
	assert_int_equal(got.need_seq, 300);
	assert_int_equal(got.history_len, 4);
	assert_memory_equal(got.history, "HIST", 4);
	buf_fini(&v);
	ASSERT_EXACT("learn", wire_get_learn, &got, 4);
	ASSERT_REFUSES("learn", wire_get_learn, &got, 42, 3); /* no such copy */
}

static void test_wire_learn_learn_reply(void **state)
{
	struct wire_learn_reply m = {.mode = WIRE_LEARN_WALK, .token = 0x1122334455667788}, got;
	struct buf b = {0}, v = vector("learn_reply");

	(void)state;
	wire_put_learn_reply_head(&b, &m);
	buf_bytes(&b, "HIST", 4);
	assert_vector("learn_reply", &b);
	assert_int_equal(wire_get_learn_reply(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.mode, WIRE_LEARN_WALK);
	assert_true(got.token == m.token);
	assert_int_equal(got.history_len, 4);
	buf_fini(&v);
	ASSERT_EXACT("learn_reply", wire_get_learn_reply, &got, 4);
	ASSERT_REFUSES("learn_reply", wire_get_learn_reply, &got, 0, 0);
	ASSERT_REFUSES("learn_reply", wire_get_learn_reply, &got, 0, 3);
}

static void test_wire_learn_tail(void **state)
{
	struct wire_tail m = {.token = 7, .shard = 5, .term = 9, .from = 301, .max = 65536}, got;
	struct buf b = {0}, v = vector("tail");

	(void)state;
	wire_put_tail(&b, &m);
	assert_vector("tail", &b);
	assert_int_equal(wire_get_tail(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.token, 7);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.term, 9);
	assert_int_equal(got.from, 301);
	assert_int_equal(got.max, 65536);
	buf_fini(&v);
	ASSERT_EXACT("tail", wire_get_tail, &got, 0);
	ASSERT_REFUSES("tail", wire_get_tail, &got, 10, 0);   /* no term of the one before */
	ASSERT_REFUSES("tail", wire_get_tail, &got, 28, 0);   /* max 0 */
	ASSERT_REFUSES("tail", wire_get_tail, &got, 29, 128); /* too much */
}

static void test_wire_learn_tail_reply(void **state)
{
	struct wire_tail_effect e;
	struct wire_tail_reply got;
	struct buf b = {0}, v = vector("tail_reply");

	(void)state;
	wire_put_tail_reply_head(&b, 9, 310, 2);
	for (unsigned i = 0; i < 2; i++) {
		buf_u64(&b, 9);
		buf_u64(&b, 301 + i);
		buf_u32(&b, 4);
		buf_u32(&b, i);
		buf_bytes(&b, "META", 4);
		buf_bytes(&b, "D", i);
	}
	assert_vector("tail_reply", &b);
	assert_int_equal(wire_get_tail_reply(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.term, 9);
	assert_int_equal(got.seq, 310);
	assert_int_equal(got.n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(wire_get_tail_effect(&got.effects, &e), 0);
		assert_int_equal(e.term, 9);
		assert_int_equal(e.seq, 301 + i);
		assert_int_equal(e.meta_len, 4);
		assert_memory_equal(e.meta, "META", 4);
		assert_int_equal(e.data_len, i);
	}
	buf_fini(&v);
	ASSERT_EXACT("tail_reply", wire_get_tail_reply, &got, 0);
	ASSERT_REFUSES("tail_reply", wire_get_tail_reply, &got, 19, 0xff); /* that many effects */
}

static void test_wire_learn_walk(void **state)
{
	struct wire_walk m = {.token = 7,
		.shard = 5,
		.max = 262144,
		.off = 131072,
		.after = "Hkey",
		.after_len = 4};
	struct wire_walk got;
	struct buf b = {0}, v = vector("walk");

	(void)state;
	wire_put_walk(&b, &m);
	assert_vector("walk", &b);
	assert_int_equal(wire_get_walk(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.token, 7);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.max, 262144);
	assert_int_equal(got.off, 131072);
	assert_int_equal(got.after_len, 4);
	buf_fini(&v);
	ASSERT_EXACT("walk", wire_get_walk, &got, 0);
	ASSERT_REFUSES("walk", wire_get_walk, &got, 12, 0);    /* max 0 */
	ASSERT_REFUSES("walk", wire_get_walk, &got, 13, 1);    /* too much */
	ASSERT_REFUSES("walk", wire_get_walk, &got, 21, 0x41); /* an offset beyond all streams */
}

static void put_chunk(struct buf *b, uint64_t off, uint32_t len, uint32_t crc)
{
	buf_u64(b, off);
	buf_u32(b, len);
	buf_u32(b, crc);
}

static void test_wire_learn_walk_reply(void **state)
{
	struct wire_walk_reply m = {
		.term = 9, .seq = 310, .off = 8192, .after = "Hkey", .after_len = 4};
	struct wire_walk_reply got;
	struct wire_walk_entry e;
	struct buf b = {0}, v = vector("walk_reply");

	(void)state;
	wire_put_walk_reply_head(&b, &m);
	buf_u8(&b, WIRE_WALK_KEY);
	buf_blob(&b, "Hkey", 4);
	buf_blob(&b, "v", 1);
	buf_u8(&b, WIRE_WALK_EXTENTS);
	buf_u64(&b, 0);
	buf_u64(&b, 8192);
	buf_u32(&b, 2);
	put_chunk(&b, 100, 3996, 0x01020304);
	put_chunk(&b, 4096, 10, 0x05060708);
	assert_vector("walk_reply", &b);
	assert_int_equal(wire_get_walk_reply(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.term, 9);
	assert_int_equal(got.seq, 310);
	assert_int_equal(got.done, 0);
	assert_int_equal(got.off, 8192);
	assert_int_equal(got.after_len, 4);
	assert_int_equal(wire_get_walk_entry(&got.items, &e), 1);
	assert_int_equal(e.item, WIRE_WALK_KEY);
	assert_int_equal(e.klen, 4);
	assert_int_equal(e.vlen, 1);
	assert_int_equal(wire_get_walk_entry(&got.items, &e), 1);
	assert_int_equal(e.item, WIRE_WALK_EXTENTS);
	assert_int_equal(e.to, 8192);
	assert_int_equal(e.n, 2);
	assert_int_equal(wire_get_walk_entry(&got.items, &e), 0);
	buf_fini(&v);
	/* items may end early, but not in their midst */
	ASSERT_EXACT("walk_reply", wire_get_walk_reply, &got, 100 - 33);
	v = vector("walk_reply");
	for (size_t n = 34; n < v.len; n++)
		assert_int_equal(
			GET_PART(wire_get_walk_reply, &v, n, &got), n == 47 ? 0 : -EBADMSG);
	buf_fini(&v);
	ASSERT_REFUSES("walk_reply", wire_get_walk_reply, &got, 16, 1); /* done, with a cursor */
	ASSERT_REFUSES("walk_reply", wire_get_walk_reply, &got, 33, 3); /* no such item */
	ASSERT_REFUSES("walk_reply", wire_get_walk_reply, &got, 57, 0); /* nothing in between */
	ASSERT_REFUSES(
		"walk_reply", wire_get_walk_reply, &got, 64, 3); /* chunks that are not there */
	ASSERT_REFUSES("walk_reply", wire_get_walk_reply, &got, 85, 15); /* chunks that overlap */
	ASSERT_REFUSES("walk_reply", wire_get_walk_reply, &got, 93, 31); /* one beyond the range */
}

static void test_wire_learn_bytes(void **state)
{
	struct wire_bytes m = {.token = 7, .shard = 5, .term = 9, .seq = 310, .n = 2};
	struct wire_bytes_range r[2] = {
		{.id = an_id(1), .off = 4096, .len = 4096}, {.id = an_id(2), .len = 1}};
	struct wire_bytes_range gr;
	struct wire_bytes got;
	struct buf b = {0}, v = vector("bytes");

	(void)state;
	wire_put_bytes_head(&b, &m);
	for (unsigned i = 0; i < 2; i++)
		wire_put_bytes_range(&b, &r[i]);
	assert_vector("bytes", &b);
	assert_int_equal(wire_get_bytes(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.token, 7);
	assert_int_equal(got.term, 9);
	assert_int_equal(got.seq, 310);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.len, 4097);
	gr = wire_bytes_at(&got, 1);
	assert_memory_equal(gr.id.b, r[1].id.b, ORBIT_ID_LEN);
	assert_int_equal(gr.off, 0);
	assert_int_equal(gr.len, 1);
	buf_fini(&v);
	ASSERT_EXACT("bytes", wire_get_bytes, &got, 0);
	ASSERT_REFUSES("bytes", wire_get_bytes, &got, 26, 0);    /* no range */
	ASSERT_REFUSES("bytes", wire_get_bytes, &got, 112, 0);   /* an empty range */
	ASSERT_REFUSES("bytes", wire_get_bytes, &got, 70, 16);   /* more than a message's worth */
	ASSERT_REFUSES("bytes", wire_get_bytes, &got, 67, 0x80); /* beyond all streams */
}

static void test_wire_learn_join(void **state)
{
	struct wire_join m = {.token = 7, .shard = 5, .step = WIRE_JOIN_SYNCED, .seq = 310}, got;
	struct buf b = {0}, v = vector("join"), r = {0};
	uint64_t term, seq;

	(void)state;
	wire_put_join(&b, &m);
	assert_vector("join", &b);
	assert_int_equal(wire_get_join(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.token, 7);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.step, WIRE_JOIN_SYNCED);
	assert_int_equal(got.seq, 310);
	buf_fini(&v);
	ASSERT_EXACT("join", wire_get_join, &got, 0);
	ASSERT_REFUSES("join", wire_get_join, &got, 10, 0);
	ASSERT_REFUSES("join", wire_get_join, &got, 10, 3);
	wire_put_join_reply(&r, 9, 310);
	assert_int_equal(wire_get_join_reply(cur_of_buf(&r), &term, &seq), 0);
	assert_int_equal(term, 9);
	assert_int_equal(seq, 310);
	assert_int_equal(wire_get_join_reply(cur_of(r.data, 15), &term, &seq), -EBADMSG);
	buf_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_learn_learn),
		cmocka_unit_test(test_wire_learn_learn_reply),
		cmocka_unit_test(test_wire_learn_tail),
		cmocka_unit_test(test_wire_learn_tail_reply),
		cmocka_unit_test(test_wire_learn_walk),
		cmocka_unit_test(test_wire_learn_walk_reply),
		cmocka_unit_test(test_wire_learn_bytes),
		cmocka_unit_test(test_wire_learn_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
