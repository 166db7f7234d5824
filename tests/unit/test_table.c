#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/client/table.h"

static void add(struct table *t, struct entry *e, uint64_t id, uint64_t now, uint64_t period)
{
	*e = (struct entry){0};
	entry_begin(e, id, now, period, 1);
	table_add(t, e);
}

static void test_table_finds_by_number(void **state)
{
	struct table t;
	struct entry e[100];

	(void)state;
	table_init(&t);
	for (unsigned i = 0; i < 100; i++)
		add(&t, &e[i], 1000 + i, 0, 10);
	assert_int_equal(t.n, 100);
	for (unsigned i = 0; i < 100; i++)
		assert_ptr_equal(table_find(&t, 1000 + i), &e[i]);
	assert_null(table_find(&t, 999));
	for (unsigned i = 0; i < 100; i++)
		table_del(&t, &e[i]);
	assert_null(table_find(&t, 1000));
	table_fini(&t);
}

static void test_table_orders_by_what_comes_first(void **state)
{
	struct table t;
	struct entry e[50];
	uint64_t last = 0;

	(void)state;
	table_init(&t);
	assert_null(table_first(&t));
	assert_true(table_next(&t) == UINT64_MAX);
	for (unsigned i = 0; i < 50; i++)
		add(&t, &e[i], i, 0, 1 + i * 37 % 50);
	for (unsigned i = 0; i < 50; i++) {
		assert_true(table_next(&t) >= last);
		last = table_next(&t);
		table_del(&t, table_first(&t));
	}
	assert_true(last == 50);
	table_fini(&t);
}

static void test_table_keeps_entries_of_the_same_deadline_apart(void **state)
{
	struct table t;
	struct entry a, b;

	(void)state;
	table_init(&t);
	add(&t, &b, 2, 5, 5);
	add(&t, &a, 1, 5, 5);
	assert_ptr_equal(table_first(&t), &a);
	table_del(&t, &a);
	assert_ptr_equal(table_first(&t), &b);
	table_del(&t, &b);
	table_del(&t, &b);
	table_fini(&t);
}

static void test_table_moves_an_entry_when_its_times_change(void **state)
{
	struct table t;
	struct entry a, b;

	(void)state;
	table_init(&t);
	add(&t, &a, 1, 0, 10);
	add(&t, &b, 2, 0, 20);
	a.deadline = 30;
	table_move(&t, &a);
	assert_ptr_equal(table_first(&t), &b);
	a.backoff = 15;
	table_move(&t, &a);
	assert_ptr_equal(table_first(&t), &a);
	assert_true(table_next(&t) == 15);
	a.backoff = 0;
	table_move(&t, &a);
	assert_true(table_next(&t) == 20);
	table_del(&t, &a);
	table_del(&t, &b);
	table_fini(&t);
}

static void test_table_entry_times_do_not_wrap(void **state)
{
	struct entry e = {0};

	(void)state;
	entry_begin(&e, 1, UINT64_MAX - 5, 10, 3);
	assert_true(e.deadline == UINT64_MAX);
	entry_begin(&e, 1, 7, 10, 3);
	assert_true(e.deadline == 17);
	assert_true(e.slack == 10);
	entry_begin(&e, 1, 7, 10, ENTRY_FOREVER);
	assert_true(e.slack == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_finds_by_number),
		cmocka_unit_test(test_table_orders_by_what_comes_first),
		cmocka_unit_test(test_table_keeps_entries_of_the_same_deadline_apart),
		cmocka_unit_test(test_table_moves_an_entry_when_its_times_change),
		cmocka_unit_test(test_table_entry_times_do_not_wrap),
	};

	return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
