/* Numbers of inodes: there are always more, and never the same again. */
#include "fs/ops/mount.h"
#include "tests/unit/test_fs_env.h"

#define FILES 6

static unsigned made;
static uint64_t number[100];

static void make(struct fsx *x, struct fsx_mount *m, unsigned n)
{
	struct fs_attr a;
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "f%u", made);
		assert_int_equal(fsx_touch(x, m, ROOT, name, &a), 0);
		number[made++] = a.ino & LAYOUT_INO_LOW_MASK;
		for (unsigned k = 0; k < made - 1; k++)
			assert_true(number[k] != number[made - 1]);
	}
}

static uint32_t range_of(unsigned i)
{
	return (uint32_t)(number[i] >> 24);
}

/* A session's numbers are spent: ranges follow, another one for each mount. */
static void test_number_ranges_follow(void **state)
{
	struct fsx *x = fsx_new(1, 3, 2);

	(void)state;
	made = 0;
	for (unsigned i = 0; i < 2; i++) {
		make(x, &x->m[i], 1);
		x->m[i].fs->numbers.next = 0xfffffd;
		make(x, &x->m[i], FILES - 1);
		assert_int_equal(range_of(i * FILES), orbit_session(x->m[i].client));
		assert_int_equal(range_of(i * FILES + 3), orbit_session(x->m[i].client));
		assert_int_equal(range_of(i * FILES + 4), LAYOUT_RANGE(i));
		assert_int_equal(range_of(i * FILES + 5), LAYOUT_RANGE(i));
	}
	/* the range after that */
	x->m[0].fs->numbers.next = 0xffffff;
	make(x, &x->m[0], 2);
	assert_int_equal(range_of(2 * FILES), LAYOUT_RANGE(0));
	assert_int_equal(range_of(2 * FILES + 1), LAYOUT_RANGE(2));
	fsx_free(x);
}

static void test_number_range_is_asked_for_in_time(void **state)
{
	struct fsx *x = fsx_new(2, 1, 1);
	struct fs *fs = x->m->fs;

	(void)state;
	made = 0;
	make(x, x->m, 1);
	assert_int_equal(fs->numbers.reserve, 0);
	fs->numbers.next = 0xc00000;
	make(x, x->m, 1);
	sim_run(x->c->s, 10 * ENV_MS);
	assert_int_equal(fs->numbers.reserve, LAYOUT_RANGE(0));
	assert_int_equal(range_of(1), orbit_session(x->m->client));
	fsx_free(x);
}

/* No answer: a fatal signal ends the waiting, and later there are numbers. */
static void test_number_waiting_ends_with_a_signal(void **state)
{
	struct fsx *x = fsx_new(3, 1, 1);
	struct fsx_wait w;

	(void)state;
	made = 0;
	make(x, x->m, 1);
	x->m->fs->numbers.next = 0x1000000;
	fsx_unreach(x, x->m);
	fsx_call(x->m, &w);
	fs_mknod(x->m->fs, &w.call, ROOT, "x", S_IFREG | 0644, 0);
	sim_run(x->c->s, 1 * ENV_SEC);
	assert_false(w.done);
	fs_interrupt(x->m->fs, &w.call, true);
	sim_run(x->c->s, 1 * ENV_SEC);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	fsx_reach(x, x->m);
	make(x, x->m, 3);
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_number_ranges_follow),
		cmocka_unit_test(test_number_range_is_asked_for_in_time),
		cmocka_unit_test(test_number_waiting_ends_with_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
