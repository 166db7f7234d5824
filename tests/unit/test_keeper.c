/* The keeper: sessions and the ring map, durably. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/keeper/keeper.h"
#include "tests/unit/store_rig.h"

#define TIMEOUT (10 * ENV_SEC)

struct keep {
	struct rig r;
	struct keeper *k;
	struct keeper_config cfg;
};

static void keep_open(struct keep *x)
{
	assert_int_equal(keeper_new(&x->k, &x->r.env.e, x->r.st, &x->cfg), 0);
}

static void keep_init(struct keep *x)
{
	rig_init(&x->r, 3);
	x->cfg.session_timeout = TIMEOUT;
	keep_open(x);
}

static void keep_fini(struct keep *x)
{
	keeper_free(x->k);
	rig_fini(&x->r);
}

static void keep_crash(struct keep *x, enum disk_crash how)
{
	keeper_free(x->k);
	store_free(x->r.st);
	test_env_idle(&x->r.env);
	disk_mem_crash(x->r.disk, how, 1);
	index_mem_crash(x->r.ix, 1);
	assert_int_equal(rig_open(&x->r), 0);
	keep_open(x);
}

struct said {
	bool done;
	struct wire_session s;
};

static void on_said(void *arg, const struct wire_session *out)
{
	struct said *d = arg;

	assert_false(d->done);
	d->done = true;
	d->s = *out;
}

static struct wire_session ask(struct keep *x, uint8_t what, uint8_t nonce, uint32_t session)
{
	const struct wire_session_open m = {.what = what, .nonce = {nonce}, .session = session};
	struct said d = {0};

	keeper_session(x->k, &m, on_said, &d);
	test_env_idle(&x->r.env);
	assert_true(d.done);
	return d.s;
}

static uint32_t open_session(struct keep *x, uint8_t nonce)
{
	struct wire_session s = ask(x, WIRE_SESSION_NEW, nonce, 0);

	assert_int_equal(s.status, WIRE_OK);
	assert_int_equal(s.timeout_ms, TIMEOUT / ENV_MS);
	return s.session;
}

static uint16_t check(struct keep *x, uint32_t session)
{
	return ask(x, WIRE_SESSION_CHECK, 0, session).status;
}

static void test_keeper_numbers_sessions(void **state)
{
	struct keep x;

	(void)state;
	keep_init(&x);
	assert_int_equal(open_session(&x, 1), 1);
	assert_int_equal(open_session(&x, 2), 2);
	/* asked again: the same */
	assert_int_equal(open_session(&x, 1), 1);
	assert_int_equal(check(&x, 1), WIRE_OK);
	assert_int_equal(check(&x, 3), WIRE_NO_SESSION);
	assert_int_equal(ask(&x, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	assert_int_equal(ask(&x, WIRE_SESSION_RENEW, 0, 3).status, WIRE_NO_SESSION);
	assert_int_equal(ask(&x, WIRE_SESSION_END, 0, 1).status, WIRE_OK);
	assert_int_equal(ask(&x, WIRE_SESSION_END, 0, 1).status, WIRE_OK);
	assert_int_equal(check(&x, 1), WIRE_NO_SESSION);
	/* its number is not used again */
	assert_int_equal(open_session(&x, 1), 3);
	keep_fini(&x);
}

static void test_keeper_sessions_survive_power_loss(void **state)
{
	struct keep x;

	(void)state;
	keep_init(&x);
	assert_int_equal(open_session(&x, 1), 1);
	assert_int_equal(open_session(&x, 2), 2);
	assert_int_equal(ask(&x, WIRE_SESSION_END, 0, 2).status, WIRE_OK);
	keep_crash(&x, DISK_LOSE);
	assert_int_equal(check(&x, 1), WIRE_OK);
	assert_int_equal(check(&x, 2), WIRE_NO_SESSION);
	assert_int_equal(open_session(&x, 1), 1);
	assert_int_equal(open_session(&x, 9), 3);
	keep_fini(&x);
}

static void test_keeper_ends_silent_sessions(void **state)
{
	struct keep x;

	(void)state;
	keep_init(&x);
	open_session(&x, 1);
	open_session(&x, 2);
	for (unsigned i = 0; i < 8; i++) {
		test_env_advance(&x.r.env, TIMEOUT / 4);
		assert_int_equal(ask(&x, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	}
	assert_int_equal(check(&x, 1), WIRE_NO_SESSION);
	assert_int_equal(check(&x, 2), WIRE_OK);
	/* a restart gives those that are left a full time */
	keep_crash(&x, DISK_PROCESS);
	test_env_advance(&x.r.env, TIMEOUT - 1);
	assert_int_equal(check(&x, 1), WIRE_NO_SESSION);
	assert_int_equal(check(&x, 2), WIRE_OK);
	test_env_advance(&x.r.env, TIMEOUT);
	assert_int_equal(check(&x, 2), WIRE_NO_SESSION);
	keep_fini(&x);
}

/* It was stopped for longer than the timeout, and so were the renewals that wait to be read. */
static void test_keeper_that_was_stopped_ends_nobody(void **state)
{
	struct keep x;

	(void)state;
	keep_init(&x);
	open_session(&x, 1);
	open_session(&x, 2);
	test_env_advance(&x.r.env, TIMEOUT / 3);
	x.r.env.now += 3 * TIMEOUT;
	test_env_advance(&x.r.env, TIMEOUT / 3); /* the sweep comes before what was sent */
	assert_int_equal(ask(&x, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	test_env_advance(&x.r.env, TIMEOUT - 1);
	assert_int_equal(check(&x, 1), WIRE_NO_SESSION);
	assert_int_equal(check(&x, 2), WIRE_OK);
	keep_fini(&x);
}

static void on_ring(void *arg, int rc)
{
	*(int *)arg = rc;
}

static struct ring_map *map_of(uint64_t epoch, unsigned bits, const uint8_t fsid[16])
{
	struct ring_node node = {.id = rig_node, .weight = 1, .naddrs = 1, .addr = {"h:1"}};
	struct ring_map *m;

	assert_int_equal(ring_make(&m, fsid, bits, 1, &node, 1), 0);
	m->epoch = epoch;
	return m;
}

static int set_ring(struct keep *x, uint64_t epoch, unsigned bits, const uint8_t fsid[16])
{
	struct ring_map *m = map_of(epoch, bits, fsid);
	int rc = 1;

	keeper_set_ring(x->k, m, on_ring, &rc);
	ring_unref(m);
	test_env_idle(&x->r.env);
	assert_int_not_equal(rc, 1);
	return rc;
}

static void test_keeper_takes_newer_maps(void **state)
{
	static const uint8_t foreign[16] = "another";
	struct keep x;

	(void)state;
	keep_init(&x);
	assert_null(keeper_ring(x.k));
	assert_int_equal(set_ring(&x, 3, 4, foreign), -EMEDIUMTYPE);
	assert_int_equal(set_ring(&x, 3, 4, rig_fsid), 0);
	assert_int_equal(keeper_ring(x.k)->epoch, 3);
	assert_int_equal(set_ring(&x, 3, 4, rig_fsid), -EEXIST);
	assert_int_equal(set_ring(&x, 2, 4, rig_fsid), -EEXIST);
	assert_int_equal(set_ring(&x, 4, 5, rig_fsid), -EINVAL);
	assert_int_equal(set_ring(&x, 4, 4, rig_fsid), 0);
	keep_crash(&x, DISK_LOSE);
	assert_int_equal(keeper_ring(x.k)->epoch, 4);
	keep_fini(&x);
}

/* While the store takes nothing, ops wait in line and keep their order. */
static void test_keeper_waits_for_the_store(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {1}};
	struct said a = {0}, b = {0};
	struct keep x;

	(void)state;
	keep_init(&x);
	index_mem_faults(x.r.ix)->stall = 1000;
	keeper_session(x.k, &m, on_said, &a);
	m.nonce[0] = 2;
	keeper_session(x.k, &m, on_said, &b);
	test_env_advance(&x.r.env, ENV_SEC / 10);
	assert_false(a.done || b.done);
	assert_true(keeper_busy(x.k));
	index_mem_faults(x.r.ix)->stall = 0;
	test_env_advance(&x.r.env, ENV_SEC);
	assert_true(a.done && b.done);
	assert_false(keeper_busy(x.k));
	assert_int_equal(a.s.session, 1);
	assert_int_equal(b.s.session, 2);
	keep_fini(&x);
}

static void test_keeper_says_when_the_disk_fails(void **state)
{
	struct wire_session s;
	struct keep x;

	(void)state;
	keep_init(&x);
	disk_mem_faults(x.r.disk)->sync_fails = true;
	s = ask(&x, WIRE_SESSION_NEW, 1, 0);
	assert_int_not_equal(s.status, WIRE_OK);
	assert_int_equal(s.session, 0);
	keep_fini(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeper_numbers_sessions),
		cmocka_unit_test(test_keeper_sessions_survive_power_loss),
		cmocka_unit_test(test_keeper_ends_silent_sessions),
		cmocka_unit_test(test_keeper_that_was_stopped_ends_nobody),
		cmocka_unit_test(test_keeper_takes_newer_maps),
		cmocka_unit_test(test_keeper_waits_for_the_store),
		cmocka_unit_test(test_keeper_says_when_the_disk_fails),
	};

	return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
