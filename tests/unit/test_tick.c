#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/client/tick.h"

#define T 1000

static struct table table;
static struct tick_action act[8];

static int setup(void **state)
{
	(void)state;
	table_init(&table);
	return 0;
}

static void begin(struct entry *e, uint64_t id, uint64_t now, unsigned tries)
{
	*e = (struct entry){0};
	entry_begin(e, id, now, T, tries);
	table_add(&table, e);
}

static void end(struct entry *e)
{
	table_del(&table, e);
	table_fini(&table);
}

static size_t at(uint64_t now)
{
	return tick(&table, now, act, 8);
}

static void stalls_then_expires(unsigned n)
{
	struct entry e;
	uint64_t now = 0;

	begin(&e, 1, now, n);
	for (unsigned i = 0; i < n; i++) {
		now += T;
		assert_int_equal(at(now - 1), 0);
		assert_int_equal(at(now), 1);
		assert_int_equal(act[0].what, TICK_STALL);
		assert_int_equal(e.tries_left, n - 1 - i);
		assert_int_equal(at(now), 0);
	}
	now += T;
	assert_int_equal(at(now - 1), 0);
	assert_int_equal(at(now), 1);
	assert_int_equal(act[0].what, TICK_EXPIRE);
	assert_true(act[0].id == 1);
	end(&e);
}

static void test_tick_count_n_gives_exactly_n_resends(void **state)
{
	(void)state;
	stalls_then_expires(1);
	stalls_then_expires(2);
	stalls_then_expires(5);
	stalls_then_expires(100);
}

static void test_tick_count_zero_expires_at_the_first_deadline(void **state)
{
	(void)state;
	stalls_then_expires(0);
}

static void test_tick_does_nothing_before_the_deadline(void **state)
{
	struct entry e;

	(void)state;
	assert_int_equal(at(123456), 0);
	begin(&e, 1, 0, 3);
	assert_int_equal(at(0), 0);
	assert_int_equal(at(T - 1), 0);
	assert_false(e.stalled);
	assert_int_equal(e.tries_left, 3);
	end(&e);
}

static void test_tick_forever_stalls_but_never_expires(void **state)
{
	struct entry e;

	(void)state;
	begin(&e, 1, 0, ENTRY_FOREVER);
	for (uint64_t i = 1; i < 5000; i++) {
		assert_int_equal(at(i * T), 1);
		assert_int_equal(act[0].what, TICK_STALL);
		assert_true(e.stalled);
	}
	assert_true(e.tries_left == ENTRY_FOREVER);
	end(&e);
}

static void test_tick_counts_a_long_sleep_as_one_stall(void **state)
{
	struct entry e;

	(void)state;
	begin(&e, 1, 0, 3);
	assert_int_equal(at(100 * T), 1);
	assert_int_equal(e.tries_left, 2);
	assert_true(e.deadline == 101 * T);
	assert_int_equal(at(100 * T), 0);
	end(&e);
}

static void test_tick_back_off_ends_without_costing_a_try(void **state)
{
	struct entry e;

	(void)state;
	begin(&e, 1, 0, 3);
	tick_backoff(&table, &e, 300);
	assert_int_equal(at(299), 0);
	assert_int_equal(at(300), 1);
	assert_int_equal(act[0].what, TICK_RETRY);
	assert_int_equal(e.tries_left, 3);
	assert_false(e.stalled);
	assert_true(table_next(&table) == T);
	end(&e);
}

static void test_tick_deadline_wins_over_back_off(void **state)
{
	struct entry e;

	(void)state;
	begin(&e, 1, 0, 3);
	tick_backoff(&table, &e, T + 500);
	assert_int_equal(at(T), 1);
	assert_int_equal(act[0].what, TICK_STALL);
	assert_int_equal(e.tries_left, 2);
	assert_int_equal(at(T + 500), 0);
	tick_backoff(&table, &e, T + 600);
	assert_int_equal(at(2 * T), 1); /* both are due: sent once */
	assert_int_equal(act[0].what, TICK_STALL);
	end(&e);
}

static void test_tick_free_sending_moves_the_deadline_within_limits(void **state)
{
	struct entry e;
	uint64_t now = 0;

	(void)state;
	begin(&e, 1, 0, 2);
	tick_free_send(&table, &e, 600);
	assert_true(e.deadline == 1600);
	assert_int_equal(e.tries_left, 2);
	/* A link that comes and goes all the time must not keep it alive for ever. */
	for (; e.tries_left || now < e.deadline; now += 100) {
		assert_true(now < 10 * T);
		at(now);
		tick_free_send(&table, &e, now);
	}
	assert_true(e.deadline == 4 * T);
	end(&e);
	table_init(&table);
	begin(&e, 2, 0, ENTRY_FOREVER);
	tick_free_send(&table, &e, 1000000);
	assert_true(e.deadline == 1000000 + T);
	end(&e);
}

static void test_tick_returns_at_most_what_fits_and_goes_on(void **state)
{
	struct entry e[20];
	size_t n = 0, got;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		begin(&e[i], i + 1, i, 1);
	while ((got = at(T + 20))) {
		assert_true(got <= 8);
		for (size_t i = 0; i < got; i++)
			assert_true(act[i].id == ++n); /* in order of their deadlines */
	}
	assert_int_equal(n, 20);
	for (unsigned i = 0; i < 20; i++)
		table_del(&table, &e[i]);
	table_fini(&table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tick_count_n_gives_exactly_n_resends, setup),
		cmocka_unit_test_setup(test_tick_count_zero_expires_at_the_first_deadline, setup),
		cmocka_unit_test_setup(test_tick_does_nothing_before_the_deadline, setup),
		cmocka_unit_test_setup(test_tick_forever_stalls_but_never_expires, setup),
		cmocka_unit_test_setup(test_tick_counts_a_long_sleep_as_one_stall, setup),
		cmocka_unit_test_setup(test_tick_back_off_ends_without_costing_a_try, setup),
		cmocka_unit_test_setup(test_tick_deadline_wins_over_back_off, setup),
		cmocka_unit_test_setup(
			test_tick_free_sending_moves_the_deadline_within_limits, setup),
		cmocka_unit_test_setup(test_tick_returns_at_most_what_fits_and_goes_on, setup),
	};

	return cmocka_run_group_tests_name("tick", tests, NULL, NULL);
}
