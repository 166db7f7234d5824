#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "dht/base/crc.h"
#include "dht/net/frame.h"

/* the vector of docs/FRAMES.md */
static const uint8_t vector[] = {
	0x46,
	0x42,
	0x52,
	0x4f,
	0x01,
	0x00,
	0x02,
	0x01,
	0x01,
	0x00,
	0x00,
	0x00,
	0x0b,
	0x00,
	0x00,
	0x00,
	0x88,
	0x77,
	0x66,
	0x55,
	0x44,
	0x33,
	0x22,
	0x11,
	0x4d,
	0x46,
	0xed,
	0x24,
	0x50,
	0x59,
	0x17,
	0x79,
	0x68,
	0x65,
	0x6c,
	0x6c,
	0x6f,
	0x2c,
	0x20,
	0x72,
	0x69,
	0x6e,
	0x67,
};

static struct frame *vector_frame(void)
{
	struct frame *f = frame_new(0x0102, UINT64_C(0x1122334455667788), 0);

	f->flags = FRAME_REPLY;
	buf_bytes(&f->b, "hello, ring", 11);
	return f;
}

/* What a receiver makes of @len bytes: 0 or the error of the step that refused them. */
static int receive(const uint8_t *bytes, size_t len, struct frame **out)
{
	size_t body;
	int rc = frame_peek(bytes, &body);

	*out = NULL;
	if (rc)
		return rc;
	if (FRAME_HEAD + body != len)
		return -ENODATA;
	*out = frame_from_head(bytes, body);
	assert_non_null(*out);
	assert_int_equal(frame_body_len(*out), body);
	memcpy((*out)->b.data + FRAME_HEAD, bytes + FRAME_HEAD, body);
	return frame_verify(*out);
}

static void set32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

/* Makes the header's checksum right again after a change. */
static void resum(uint8_t *head)
{
	set32(head + 28, crc32c(head, 28));
}

static void test_frame_seal_gives_the_bytes_of_the_specification(void **state)
{
	struct frame *f = vector_frame();

	(void)state;
	assert_int_equal(frame_seal(f), 0);
	assert_int_equal(f->b.len, sizeof(vector));
	assert_memory_equal(f->b.data, vector, sizeof(vector));
	assert_int_equal(frame_seal(f), 0);
	assert_memory_equal(f->b.data, vector, sizeof(vector));
	frame_unref(f);
}

static void test_frame_reads_back_what_was_sealed(void **state)
{
	struct frame *f;
	struct cur c;

	(void)state;
	assert_int_equal(receive(vector, sizeof(vector), &f), 0);
	assert_int_equal(f->type, 0x0102);
	assert_int_equal(f->flags, FRAME_REPLY);
	assert_true(f->id == UINT64_C(0x1122334455667788));
	c = frame_cur(f);
	assert_memory_equal(cur_bytes(&c, 11), "hello, ring", 11);
	assert_true(cur_done(&c));
	frame_unref(f);
}

static void test_frame_every_flipped_bit_is_detected(void **state)
{
	uint8_t bytes[sizeof(vector)];
	struct frame *f;
	int rc;

	(void)state;
	for (size_t bit = 0; bit < 8 * sizeof(vector); bit++) {
		memcpy(bytes, vector, sizeof(vector));
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		rc = receive(bytes, sizeof(bytes), &f);
		frame_unref(f);
		assert_int_equal(rc, bit < 8 * 6 ? -EPROTO : -EBADMSG);
	}
}

static void test_frame_peek_refuses_what_is_well_summed_but_wrong(void **state)
{
	uint8_t head[FRAME_HEAD];
	size_t len;

	(void)state;
	memcpy(head, vector, FRAME_HEAD);
	head[4] = 2; /* version */
	resum(head);
	assert_int_equal(frame_peek(head, &len), -EPROTO);
	memcpy(head, vector, FRAME_HEAD);
	head[11] = 1; /* what must be zero */
	resum(head);
	assert_int_equal(frame_peek(head, &len), -EPROTO);
	memcpy(head, vector, FRAME_HEAD);
	set32(head + 12, UINT32_C(1) << 31);
	resum(head);
	assert_int_equal(frame_peek(head, &len), -EMSGSIZE);
	set32(head + 12, FRAME_BODY_MAX + 1);
	resum(head);
	assert_int_equal(frame_peek(head, &len), -EMSGSIZE);
	set32(head + 12, FRAME_BODY_MAX);
	resum(head);
	assert_int_equal(frame_peek(head, &len), 0);
	assert_int_equal(len, FRAME_BODY_MAX);
}

static void test_frame_seal_refuses_a_body_over_the_limit(void **state)
{
	struct frame *f = frame_new(1, 1, FRAME_BODY_MAX + 1);

	(void)state;
	memset(buf_add(&f->b, FRAME_BODY_MAX), 'x', FRAME_BODY_MAX);
	assert_int_equal(frame_check(f), 0);
	assert_int_equal(frame_seal(f), 0);
	buf_u8(&f->b, 1);
	assert_int_equal(frame_check(f), -EMSGSIZE);
	assert_int_equal(frame_seal(f), -EMSGSIZE);
	frame_unref(f);
}

static void test_frame_without_memory_says_so_when_sealed(void **state)
{
	struct frame *f = frame_new(1, 1, SIZE_MAX);

	(void)state;
	assert_int_equal(frame_body_len(f), 0);
	buf_u8(&f->b, 1);
	assert_int_equal(frame_seal(f), -ENOMEM);
	frame_unref(f);
}

static void test_frame_sealed_again_with_more_in_it(void **state)
{
	struct frame *f = frame_new(0x0102, UINT64_C(0x1122334455667788), 100);

	(void)state;
	buf_bytes(&f->b, "hello,", 6);
	assert_int_equal(frame_seal(f), 0);
	buf_bytes(&f->b, " ring", 5);
	f->flags = FRAME_REPLY;
	assert_int_equal(frame_seal(f), 0);
	assert_memory_equal(f->b.data, vector, sizeof(vector));
	frame_unref(f);
}

static void test_frame_of_empty_body(void **state)
{
	struct frame *f = frame_new(7, 0, 0), *g;

	(void)state;
	assert_int_equal(frame_seal(f), 0);
	assert_int_equal(f->b.len, FRAME_HEAD);
	assert_int_equal(receive(f->b.data, f->b.len, &g), 0);
	assert_int_equal(g->type, 7);
	frame_unref(g);
	frame_unref(f);
}

static void test_frame_lives_as_long_as_a_reference(void **state)
{
	struct frame *f = vector_frame(), *g = frame_ref(f);

	(void)state;
	frame_unref(f);
	assert_memory_equal(frame_body(g), "hello, ring", 11);
	frame_unref(g);
	frame_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_seal_gives_the_bytes_of_the_specification),
		cmocka_unit_test(test_frame_reads_back_what_was_sealed),
		cmocka_unit_test(test_frame_every_flipped_bit_is_detected),
		cmocka_unit_test(test_frame_peek_refuses_what_is_well_summed_but_wrong),
		cmocka_unit_test(test_frame_seal_refuses_a_body_over_the_limit),
		cmocka_unit_test(test_frame_without_memory_says_so_when_sealed),
		cmocka_unit_test(test_frame_sealed_again_with_more_in_it),
		cmocka_unit_test(test_frame_of_empty_body),
		cmocka_unit_test(test_frame_lives_as_long_as_a_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
