/* When the loop polls without waiting. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/net/spin.h"

#define US UINT64_C(1000)
#define MS (1000 * US)

static void test_spin_lasts_for_its_time(void **state)
{
	struct spin s = {0};
	uint64_t now = 1000 * MS;

	(void)state;
	assert_true(spin_begin(&s, now));
	for (unsigned i = 0; i < 99; i++)
		assert_true(spin_goes_on(&s, now += US));
	assert_false(spin_goes_on(&s, now += US));
	/* and is begun again by what comes meanwhile, however late */
	assert_true(spin_begin(&s, now + 5 * MS));
	assert_true(spin_goes_on(&s, now + 5 * MS + 99 * US));
	assert_true(spin_begin(&s, now + 5 * MS + 99 * US));
	assert_true(spin_goes_on(&s, now + 5 * MS + 198 * US));
}

/* Spins with a gap at @now. */
static void gap(struct spin *s, uint64_t now)
{
	assert_true(spin_begin(s, now - SPIN_GAP - US));
	assert_false(spin_goes_on(s, now));
}

static void test_spin_rests_when_the_core_was_taken(void **state)
{
	struct spin s = {0};
	uint64_t now = 1000 * MS, rest = SPIN_REST_MIN;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		gap(&s, now);
		assert_false(spin_begin(&s, now));
		assert_false(spin_begin(&s, now + rest - 1));
		now += rest;
		assert_true(spin_begin(&s, now));
		assert_true(spin_goes_on(&s, now + SPIN_TIME / 2));
		assert_false(spin_goes_on(&s, now + SPIN_TIME));
		now += 2 * SPIN_GAP;
		rest = rest < SPIN_REST_MAX / 2 ? 2 * rest : SPIN_REST_MAX;
	}
	/* a short while without one is no sign, a long one is */
	now += 7 * SPIN_REST_MAX;
	gap(&s, now);
	assert_false(spin_begin(&s, now + SPIN_REST_MAX - 1));
	now += 10 * SPIN_REST_MAX;
	gap(&s, now);
	assert_false(spin_begin(&s, now + SPIN_REST_MIN - 1));
	assert_true(spin_begin(&s, now + SPIN_REST_MIN));
}

/* One spin. */
static uint64_t spin(struct spin *s, uint64_t now, bool hit)
{
	assert_true(spin_begin(s, now));
	if (hit)
		spin_hit(s);
	assert_false(spin_goes_on(s, now + SPIN_TIME));
	return now + SPIN_TIME;
}

static void test_spin_rests_when_it_is_for_nothing(void **state)
{
	struct spin s = {0};
	uint64_t now = 1000 * MS;

	(void)state;
	/* as long as every other one is good it goes on */
	for (unsigned i = 0; i < 1000; i++)
		now = spin(&s, now, i & 1);
	for (unsigned i = 0; i < SPIN_SCORE; i++)
		now = spin(&s, now, false);
	assert_false(spin_begin(&s, now + SPIN_REST_MIN - 1));
	now += SPIN_REST_MIN;
	/* what came while it did not spin counts for nothing */
	for (unsigned i = 0; i < SPIN_SCORE; i++) {
		spin_hit(&s);
		now = spin(&s, now, false);
	}
	assert_false(spin_begin(&s, now + 2 * SPIN_REST_MIN - 1));
	now += 2 * SPIN_REST_MIN;
	/* what begins it again was good */
	for (unsigned i = 0; i < 100; i++) {
		spin_hit(&s);
		assert_true(spin_begin(&s, now += US));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spin_lasts_for_its_time),
		cmocka_unit_test(test_spin_rests_when_the_core_was_taken),
		cmocka_unit_test(test_spin_rests_when_it_is_for_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
