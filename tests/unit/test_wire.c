#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/wire/wire.h"
#include "tests/unit/vectors.h"

static const uint8_t fsid[16] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a,
	0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

static struct cur cur_of_buf(const struct buf *b)
{
	return cur_of(b->data, b->len);
}

/* A message in a buffer of exactly its size, so that a read past its end is seen by asan. */
static struct cur exact(const struct buf *b, size_t len, void **mem)
{
	*mem = malloc(len ? len : 1);
	memcpy(*mem, b->data, len);
	return cur_of(*mem, len);
}

/* No beginning of the message passes, nor does the message with a byte behind it. */
#define ASSERT_EXACT(name, get, m)                                                                 \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		void *mem_;                                                                        \
		for (size_t n_ = 0; n_ < v_.len; n_++) {                                           \
			assert_int_equal(get(exact(&v_, n_, &mem_), m), -EBADMSG);                 \
			free(mem_);                                                                \
		}                                                                                  \
		assert_int_equal(get(exact(&v_, v_.len, &mem_), m), 0);                            \
		free(mem_);                                                                        \
		buf_u8(&v_, 0);                                                                    \
		assert_int_equal(get(cur_of_buf(&v_), m), -EBADMSG);                               \
		buf_fini(&v_);                                                                     \
	} while (0)

/* The vector @name with the byte at @at replaced does not pass. */
#define ASSERT_REFUSES(name, get, m, at, value)                                                    \
	do {                                                                                       \
		struct buf v_ = vector(name);                                                      \
		assert_true((size_t)(at) < v_.len);                                                \
		v_.data[at] = (value);                                                             \
		assert_int_equal(get(cur_of_buf(&v_), m), -EBADMSG);                               \
		buf_fini(&v_);                                                                     \
	} while (0)

static void test_wire_hello(void **state)
{
	struct wire_hello m, got;
	struct buf b = {0}, v = vector("hello");

	(void)state;
	memset(&m, 0, sizeof(m)); /* also what lies between the fields: it is compared */
	m.version = m.version_min = 1;
	m.role = WIRE_ROLE_NODE;
	memcpy(m.fsid, fsid, 16);
	for (unsigned i = 0; i < 32; i++)
		m.node.b[i] = (uint8_t)(0x40 + i);
	m.incarnation = 3;
	m.epoch = 7;
	wire_put_hello(&b, &m);
	assert_vector("hello", &b);
	assert_int_equal(wire_get_hello(cur_of_buf(&v), &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(wire_get_hello(cur_of(v.data, n), &got), -EBADMSG);
	/* a later version may say more */
	buf_bytes(&v, "more", 4);
	assert_int_equal(wire_get_hello(cur_of_buf(&v), &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	buf_fini(&v);
	ASSERT_REFUSES("hello", wire_get_hello, &got, 0, 0);  /* version 0 */
	ASSERT_REFUSES("hello", wire_get_hello, &got, 2, 2);  /* oldest above newest */
	ASSERT_REFUSES("hello", wire_get_hello, &got, 12, 4); /* role */
	ASSERT_REFUSES("hello", wire_get_hello, &got, 80, 1); /* session of 25 bits */
}

static void test_wire_error(void **state)
{
	struct wire_error m = {
		.status = WIRE_VERSION_BAD, .text = "speak version 1", .text_len = 15};
	struct wire_error got;
	struct buf b = {0}, v = vector("error");
	char longer[2000];

	(void)state;
	wire_put_error(&b, &m);
	assert_vector("error", &b);
	assert_int_equal(wire_get_error(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.status, WIRE_VERSION_BAD);
	assert_int_equal(got.text_len, 15);
	assert_memory_equal(got.text, m.text, 15);
	buf_fini(&v);
	/* text that is too long is cut by us, refused from others */
	memset(longer, 'x', sizeof(longer));
	m.text = longer;
	m.text_len = sizeof(longer);
	wire_put_error(&b, &m);
	assert_int_equal(wire_get_error(cur_of_buf(&b), &got), 0);
	assert_int_equal(got.text_len, 1024);
	buf_set_u32(&b, 2, 1025);
	buf_u8(&b, 'x');
	assert_int_equal(wire_get_error(cur_of_buf(&b), &got), -EBADMSG);
	buf_fini(&b);
}

static void test_wire_map(void **state)
{
	struct wire_map m = {.epoch = 6}, got;
	struct buf b = {0}, ring = vector("ring"), v = vector("map");
	uint64_t epoch;

	(void)state;
	wire_put_map_get(&b, 6);
	assert_vector("map_get", &b);
	ASSERT_EXACT("map_get", wire_get_map_get, &epoch);
	assert_int_equal(epoch, 6);
	wire_put_map(&b, &m);
	assert_int_equal(wire_get_map(cur_of_buf(&b), &got), 0);
	assert_int_equal(got.form, WIRE_MAP_NONE);
	assert_int_equal(got.epoch, 6);
	assert_vector("map_none", &b);
	m = (struct wire_map){
		.epoch = 1, .form = WIRE_MAP_WHOLE, .map = ring.data, .map_len = ring.len};
	wire_put_map(&b, &m);
	assert_vector("map", &b);
	assert_int_equal(wire_get_map(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.map_len, ring.len);
	assert_memory_equal(got.map, ring.data, ring.len);
	assert_int_equal(got.form, WIRE_MAP_WHOLE);
	assert_int_equal(wire_get_map(cur_of(v.data, 8), &got), -EBADMSG);
	assert_int_equal(wire_get_map(cur_of(v.data, 9), &got), -EBADMSG); /* a map, but none */
	v.data[8] = WIRE_MAP_NONE;
	assert_int_equal(wire_get_map(cur_of_buf(&v), &got), -EBADMSG);
	v.data[8] = WIRE_MAP_DIFFS + 1;
	assert_int_equal(wire_get_map(cur_of_buf(&v), &got), -EBADMSG);
	buf_fini(&ring);
	buf_fini(&v);
}

static void test_wire_session(void **state)
{
	struct wire_session_open m, got;
	struct wire_session s = {.session = 0x0a0b0c, .timeout_ms = 30000, .epoch = 0x505}, sgot;
	struct buf b = {0}, v;

	(void)state;
	memset(&m, 0, sizeof(m));
	m.what = WIRE_SESSION_NEW;
	for (uint8_t i = 0; i < 16; i++)
		m.nonce[i] = i;
	wire_put_session_open(&b, &m);
	assert_vector("session_open", &b);
	ASSERT_EXACT("session_open", wire_get_session_open, &got);
	assert_memory_equal(&got, &m, sizeof(m));
	ASSERT_REFUSES("session_open", wire_get_session_open, &got, 0, 0);
	ASSERT_REFUSES("session_open", wire_get_session_open, &got, 0, 5);
	ASSERT_REFUSES("session_open", wire_get_session_open, &got, 0, WIRE_SESSION_RENEW);
	ASSERT_REFUSES("session_open", wire_get_session_open, &got, 17, 1); /* new, yet a number */
	v = vector("session_open");
	v.data[0] = WIRE_SESSION_CHECK;
	v.data[17] = 9;
	assert_int_equal(wire_get_session_open(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.session, 9);
	v.data[20] = 1;
	assert_int_equal(wire_get_session_open(cur_of_buf(&v), &got), -EBADMSG);
	buf_fini(&v);

	wire_put_session(&b, &s);
	assert_vector("session", &b);
	ASSERT_EXACT("session", wire_get_session, &sgot);
	assert_int_equal(sgot.session, s.session);
	assert_int_equal(sgot.timeout_ms, 30000);
	assert_int_equal(sgot.epoch, 0x505);
	ASSERT_REFUSES("session", wire_get_session, &sgot, 5, 1);
}

static void test_wire_txn(void **state)
{
	uint64_t abandoned[2] = {htole64(998), htole64(999)};
	uint16_t shards[3] = {htole16(5), htole16(6), htole16(1023)};
	struct wire_txn m = {.flags = WIRE_TXN_FORWARDED,
				.session = 9,
				.number = 1000,
				.floor = 998,
				.epoch = 7,
				.age = UINT64_C(0x1122334455667788),
				.nabandoned = 2,
				.abandoned = abandoned,
				.nparticipants = 3,
				.participants = shards},
			got;
	struct buf b = {0}, v = vector("txn_head");

	(void)state;
	wire_put_txn_head(&b, &m);
	assert_vector("txn_head", &b);
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(wire_get_txn(cur_of(v.data, n), &got), -EBADMSG);
	assert_int_equal(wire_get_txn(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.body_len, 0);
	buf_bytes(&v, "body", 4);
	assert_int_equal(wire_get_txn(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.flags, m.flags);
	assert_int_equal(got.session, 9);
	assert_int_equal(got.number, 1000);
	assert_int_equal(got.floor, 998);
	assert_int_equal(got.epoch, 7);
	assert_true(got.age == m.age);
	assert_int_equal(wire_abandoned(&got, 1), 999);
	assert_int_equal(wire_participant(&got, 2), 1023);
	assert_int_equal(got.body_len, 4);
	assert_memory_equal(got.body, "body", 4);
	buf_fini(&v);
	ASSERT_REFUSES("txn_head", wire_get_txn, &got, 0, 16);  /* a flag that is not known */
	ASSERT_REFUSES("txn_head", wire_get_txn, &got, 5, 1);   /* session */
	ASSERT_REFUSES("txn_head", wire_get_txn, &got, 39, 5);  /* abandoned: 1282 */
	ASSERT_REFUSES("txn_head", wire_get_txn, &got, 40, 17); /* participants */
	ASSERT_REFUSES("txn_head", wire_get_txn, &got, 60, 5);  /* one of them twice */
}

static void test_wire_decide(void **state)
{
	struct wire_decide m = {.session = 9,
				   .number = 1000,
				   .epoch = 7,
				   .shard = 5,
				   .commit = 1,
				   .floor = 999},
			   got;
	struct buf b = {0};

	(void)state;
	wire_put_decide(&b, &m);
	assert_vector("decide", &b);
	ASSERT_EXACT("decide", wire_get_decide, &got);
	assert_int_equal(got.session, 9);
	assert_int_equal(got.number, 1000);
	assert_int_equal(got.epoch, 7);
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.commit, 1);
	assert_int_equal(got.floor, 999);
	ASSERT_REFUSES("decide", wire_get_decide, &got, 22, 2);
}

static void test_wire_reply_and_sync(void **state)
{
	struct wire_effect e[2] = {
		{.shard = 5, .term = 2, .seq = 300}, {.shard = 6, .term = 1, .seq = 17}};
	struct buf b = {0}, v = vector("reply"), res = {0};
	struct wire_reply r;
	struct wire_sync s;

	(void)state;
	buf_bytes(&res, v.data + v.len - 9, 9);
	wire_put_reply_head(&b, WIRE_OK, 0, 7, e, 2);
	buf_bytes(&b, res.data, res.len);
	assert_vector("reply", &b);
	assert_int_equal(wire_get_reply(cur_of_buf(&v), &r), 0);
	assert_int_equal(r.status, WIRE_OK);
	assert_int_equal(r.epoch, 7);
	assert_int_equal(r.neffects, 2);
	assert_int_equal(wire_effect_at(&r, 1).shard, 6);
	assert_int_equal(wire_effect_at(&r, 1).seq, 17);
	assert_int_equal(wire_effect_at(&r, 0).term, 2);
	assert_int_equal(r.results_len, 9);
	/* effects that are announced must be there */
	for (size_t n = 0; n < v.len - 9; n++)
		assert_int_equal(wire_get_reply(cur_of(v.data, n), &r), -EBADMSG);
	buf_fini(&v);
	buf_fini(&res);

	wire_put_sync(&b, 7, e, 2);
	assert_vector("sync", &b);
	ASSERT_EXACT("sync", wire_get_sync, &s);
	v = vector("sync");
	assert_int_equal(wire_get_sync(cur_of_buf(&v), &s), 0);
	assert_int_equal(s.neffects, 2);
	assert_int_equal(wire_sync_at(&s, 0).seq, 300);
	buf_fini(&v);
}

static void test_wire_list(void **state)
{
	struct wire_list m = {.epoch = 7, .class = 'H', .shard = 5, .max = 100, .values = 1}, got;
	uint8_t after[32] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct buf b = {0}, v = vector("list");

	(void)state;
	memset(after + 8, 0xaa, 24);
	m.after = after;
	m.after_len = 32;
	wire_put_list(&b, &m);
	assert_vector("list", &b);
	ASSERT_EXACT("list", wire_get_list, &got);
	assert_int_equal(wire_get_list(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.class, 'H');
	assert_int_equal(got.shard, 5);
	assert_int_equal(got.max, 100);
	assert_int_equal(got.after_len, 32);
	assert_memory_equal(got.after, after, 32);
	buf_fini(&v);
	ASSERT_REFUSES("list", wire_get_list, &got, 11, 0);   /* max 0 */
	ASSERT_REFUSES("list", wire_get_list, &got, 13, 2);   /* max over 65536 */
	ASSERT_REFUSES("list", wire_get_list, &got, 15, 2);   /* values */
	ASSERT_REFUSES("list", wire_get_list, &got, 17, 255); /* after that is not there */
}

static void test_wire_carry(void **state)
{
	struct orbit_id node;
	struct wire_carry got;
	struct buf b = {0}, v = vector("carry");

	(void)state;
	memset(node.b, 0xaa, sizeof(node.b));
	wire_put_carry_head(&b, &node, WIRE_DECIDE);
	buf_bytes(&b, "\1\2\3\4", 4);
	assert_vector("carry", &b);
	assert_int_equal(wire_get_carry(cur_of_buf(&v), &got), 0);
	assert_int_equal(got.type, WIRE_DECIDE);
	assert_int_equal(orbit_id_cmp(&got.node, &node), 0);
	assert_int_equal(got.body_len, 4);
	assert_memory_equal(got.body, "\1\2\3\4", 4);
	assert_int_equal(wire_get_carry(cur_of(v.data, 33), &got), -EBADMSG);
	buf_fini(&v);
	ASSERT_REFUSES("carry", wire_get_carry, &got, 32, WIRE_CARRY);
	ASSERT_REFUSES("carry", wire_get_carry, &got, 32, WIRE_STATS);
	ASSERT_REFUSES("carry", wire_get_carry, &got, 33, 1);
}

static void collect(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	struct buf *b = arg;

	buf_bytes(b, name, nlen);
	buf_u8(b, '=');
	buf_bytes(b, text, tlen);
	buf_u8(b, ';');
}

static void test_wire_stats(void **state)
{
	struct buf b = {0}, v = vector("stats"), got = {0};

	(void)state;
	wire_put_stat(&b, "node.id", "%x%x", 0x40, 0x41);
	wire_put_stat(&b, "store.live", "%d", 123);
	assert_vector("stats", &b);
	assert_int_equal(wire_get_stats(cur_of_buf(&v), collect, &got), 0);
	assert_int_equal(got.len, 28);
	assert_memory_equal(got.data, "node.id=4041;store.live=123;", 28);
	assert_int_equal(wire_get_stats(cur_of(v.data, v.len - 1), collect, &got), -EBADMSG);
	assert_int_equal(wire_get_stats(cur_of(NULL, 0), collect, &got), 0);
	buf_reset(&b);
	for (unsigned i = 0; i <= WIRE_STATS_MAX; i++)
		wire_put_stat(&b, "n", "%s", "");
	assert_int_equal(wire_get_stats(cur_of_buf(&b), collect, &got), -EBADMSG);
	b.len -= 9;
	assert_int_equal(wire_get_stats(cur_of_buf(&b), collect, &got), 0);
	buf_fini(&b);
	buf_fini(&v);
	buf_fini(&got);
}

static void test_wire_status_codes_have_names_and_errnos(void **state)
{
	(void)state;
	assert_int_equal(wire_errno(WIRE_OK), 0);
	assert_int_equal(wire_errno(WIRE_COMPARE), -ECANCELED);
	assert_int_equal(wire_errno(WIRE_NO_SPACE), -ENOSPC);
	assert_int_equal(wire_errno(WIRE_UNREACHABLE), -EHOSTUNREACH);
	assert_int_equal(wire_errno(WIRE_BUSY + 1), -EPROTO);
	assert_int_equal(wire_errno(UINT16_MAX), -EPROTO);
	for (uint16_t s = 1; s <= WIRE_BUSY; s++) {
		assert_true(wire_errno(s) < 0);
		assert_true(strlen(wire_status_name(s)) > 1);
	}
	assert_string_equal(wire_status_name(WIRE_WRONG_FS), "WRONG_FS");
	assert_string_equal(wire_status_name(999), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_hello),
		cmocka_unit_test(test_wire_error),
		cmocka_unit_test(test_wire_map),
		cmocka_unit_test(test_wire_session),
		cmocka_unit_test(test_wire_txn),
		cmocka_unit_test(test_wire_decide),
		cmocka_unit_test(test_wire_reply_and_sync),
		cmocka_unit_test(test_wire_list),
		cmocka_unit_test(test_wire_carry),
		cmocka_unit_test(test_wire_stats),
		cmocka_unit_test(test_wire_status_codes_have_names_and_errnos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
