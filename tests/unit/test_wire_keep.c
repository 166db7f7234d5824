#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/wire/wire_keep.h"
#include "tests/unit/vectors.h"

static struct wire_ask_m example(void)
{
	struct wire_ask_m m;

	memset(&m, 0, sizeof(m));
	m.what = ASK_REGISTER;
	m.flags = ASK_F_WHOLE | ASK_F_PASSED;
	m.epoch = 7;
	memset(m.node.b, 0x11, ORBIT_ID_LEN);
	memset(m.by.b, 0x22, ORBIT_ID_LEN);
	memset(m.id2.b, 0x33, ORBIT_ID_LEN);
	m.incarnation = 3;
	m.shard = 5;
	m.term = 9;
	m.weight = 100;
	m.session = 0xffffff;
	m.replicas = 3;
	m.min_in_sync = 2;
	m.used = 1000;
	m.available = 2000;
	m.naddrs = 2;
	snprintf(m.addr[0], sizeof(m.addr[0]), "127.0.0.1:7000");
	snprintf(m.addr[1], sizeof(m.addr[1]), "[::1]:7000");
	snprintf(m.zone, sizeof(m.zone), "r1");
	return m;
}

static int get(const struct buf *b, struct wire_ask_m *m)
{
	/* of exactly its size: a read past its end is seen by asan */
	void *mem = malloc(b->len ? b->len : 1);
	int rc;

	memcpy(mem, b->data, b->len);
	rc = wire_get_ask(cur_of(mem, b->len), m);
	free(mem);
	return rc;
}

static void test_wire_ask(void **state)
{
	struct wire_ask_m m = example(), got;
	struct buf b = {0}, v = vector("ask");

	(void)state;
	wire_put_ask(&b, &m);
	assert_int_equal(get(&b, &got), 0);
	assert_memory_equal(&got, &m, sizeof(m));
	assert_vector("ask", &b);
	for (size_t len = v.len; len-- > 0;) {
		struct buf part = v;

		part.len = len;
		assert_int_equal(get(&part, &got), -EBADMSG);
	}
	buf_u8(&v, 0);
	assert_int_equal(get(&v, &got), -EBADMSG);
	buf_fini(&v);
}

static void refuses(size_t at, uint8_t value)
{
	struct buf v = vector("ask");
	struct wire_ask_m got;

	v.data[at] = value;
	assert_int_equal(get(&v, &got), -EBADMSG);
	buf_fini(&v);
}

static void test_wire_ask_refuses(void **state)
{
	(void)state;
	refuses(0, 0); /* what */
	refuses(0, ASK_DOWN + 1);
	refuses(1, 0x80); /* a flag that is none */
	refuses(131, 1);  /* a session of more than 24 bits */
	refuses(150, 5);  /* addresses */
	refuses(152, 0);  /* a NUL in one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wire_ask),
		cmocka_unit_test(test_wire_ask_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
