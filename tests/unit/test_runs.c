#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "fs/check/runs.h"

struct rec {
	uint64_t key, value;
};

static int rec_cmp(const void *a, const void *b)
{
	const struct rec *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* 100,000 records in an order that is none, with memory for @memory bytes. */
static void sort_and_check(size_t memory)
{
	const uint64_t n = 100000;
	struct runs *r;
	struct rec rec;

	assert_int_equal(runs_new(&r, sizeof(rec), memory, "/tmp", rec_cmp), 0);
	for (uint64_t i = 0; i < n; i++) {
		rec.key = i * 7919 % n;
		rec.value = ~rec.key;
		assert_int_equal(runs_add(r, &rec), 0);
	}
	for (int twice = 0; twice < 2; twice++) {
		assert_int_equal(runs_rewind(r), 0);
		for (uint64_t i = 0; i < n; i++) {
			assert_int_equal(runs_next(r, &rec), 1);
			assert_true(rec.key == i && rec.value == ~i);
		}
		assert_int_equal(runs_next(r, &rec), 0);
	}
	runs_free(r);
}

static void test_runs_sort_in_memory(void **state)
{
	(void)state;
	sort_and_check(64 << 20);
}

static void test_runs_sort_through_files(void **state)
{
	(void)state;
	sort_and_check(64 << 10);
}

static void test_runs_empty(void **state)
{
	struct runs *r;
	struct rec rec;

	(void)state;
	assert_int_equal(runs_new(&r, sizeof(rec), 1 << 20, "/tmp", rec_cmp), 0);
	assert_int_equal(runs_rewind(r), 0);
	assert_int_equal(runs_next(r, &rec), 0);
	runs_free(r);
}

static void test_runs_no_folder_is_an_error(void **state)
{
	struct runs *r;
	struct rec rec = {0};
	int rc = 0;

	(void)state;
	assert_int_equal(runs_new(&r, sizeof(rec), 0, "/nonexistent", rec_cmp), 0);
	for (int i = 0; i < 5000 && !rc; i++)
		rc = runs_add(r, &rec);
	assert_int_equal(rc, -2);
	runs_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs_sort_in_memory),
		cmocka_unit_test(test_runs_sort_through_files),
		cmocka_unit_test(test_runs_empty),
		cmocka_unit_test(test_runs_no_folder_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
