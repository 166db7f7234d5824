/* rename: all its cases, on one node and on three. */
#include "tests/unit/test_fs_env.h"

#include <linux/fs.h>

static unsigned nodes;

static uint64_t ino_of(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name)
{
	struct fs_attr a;
	int rc = fsx_lookup(x, m, dir, name, &a);

	assert_true(rc == 0 || rc == -ENOENT);
	return rc ? 0 : a.ino;
}

static uint64_t make_dir(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name)
{
	struct fs_attr a;

	assert_int_equal(fsx_mkdir(x, m, dir, name, 0755, &a), 0);
	return a.ino;
}

static uint64_t make_file(struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name)
{
	struct fs_attr a;

	assert_int_equal(fsx_touch(x, m, dir, name, &a), 0);
	return a.ino;
}

static void assert_counts(struct fsx *x, uint64_t dir, uint64_t children, uint32_t nlink)
{
	struct fs_attr a;

	assert_int_equal(fsx_getattr(x, x->m, dir, &a), 0);
	assert_int_equal(a.children, children);
	assert_int_equal(a.nlink, nlink);
}

static void test_rename_to_a_new_name(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint64_t d = make_dir(x, m, ROOT, "d"), f = make_file(x, m, ROOT, "f");
	struct fs_attr before, after;

	(void)state;
	assert_int_equal(fsx_getattr(x, m, f, &before), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_rename(x, m, ROOT, "f", ROOT, "g", 0), 0);
	assert_int_equal(ino_of(x, m, ROOT, "f"), 0);
	assert_true(ino_of(x, m, ROOT, "g") == f);
	assert_counts(x, ROOT, 2, 3);
	assert_int_equal(fsx_getattr(x, m, f, &after), 0);
	assert_true(after.ctime > before.ctime && after.mtime == before.mtime);
	assert_int_equal(fsx_getattr(x, m, ROOT, &before), 0);
	assert_true(before.mtime == after.ctime);
	/* across directories, from a mount that has no idea */
	assert_int_equal(fsx_rename(x, other, ROOT, "g", d, "h", 0), 0);
	assert_true(ino_of(x, m, d, "h") == f);
	assert_counts(x, ROOT, 1, 3);
	assert_counts(x, d, 1, 2);
	assert_int_equal(fsx_rename(x, m, ROOT, "g", d, "i", 0), -ENOENT);
	assert_int_equal(fsx_rename(x, m, d, "h", d, "h", 0), 0);
	assert_true(ino_of(x, m, d, "h") == f);
	fsx_free(x);
}

static void test_rename_over_a_file(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 2);
	struct fsx_mount *m = x->m;
	uint64_t d = make_dir(x, m, ROOT, "d");
	uint64_t f = make_file(x, m, ROOT, "f"), g = make_file(x, m, d, "g");
	struct fs_attr a;

	(void)state;
	assert_int_equal(fsx_rename(x, m, ROOT, "f", d, "g", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fsx_rename(x, &x->m[1], ROOT, "f", d, "g", 0), 0);
	assert_true(ino_of(x, m, d, "g") == f);
	assert_int_equal(ino_of(x, m, ROOT, "f"), 0);
	sim_run(x->c->s, 10 * ENV_MS); /* longer than the answer to a change of ours is given */
	assert_counts(x, ROOT, 1, 3);
	assert_counts(x, d, 1, 2);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_false(fsx_object(x, m, g, NULL)); /* reaped */
	/* one of several links */
	g = make_file(x, m, ROOT, "a");
	assert_int_equal(fsx_link(x, m, g, ROOT, "b", NULL), 0);
	assert_int_equal(fsx_rename(x, m, d, "g", ROOT, "b", 0), 0);
	assert_int_equal(fsx_getattr(x, m, g, &a), 0);
	assert_int_equal(a.nlink, 1);
	/* two names of one file: nothing happens */
	assert_int_equal(fsx_link(x, m, g, d, "c", NULL), 0);
	assert_int_equal(fsx_rename(x, m, ROOT, "a", d, "c", 0), 0);
	assert_true(ino_of(x, m, ROOT, "a") == g && ino_of(x, m, d, "c") == g);
	assert_int_equal(fsx_rename(x, &x->m[1], ROOT, "a", d, "c", 0), 0);
	assert_true(ino_of(x, m, ROOT, "a") == g && ino_of(x, m, d, "c") == g);
	fsx_free(x);
}

static void test_rename_of_unlike_things(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);

	(void)state;
	make_dir(x, x->m, ROOT, "d");
	make_file(x, x->m, ROOT, "f");
	for (int i = 0; i < 2; i++) {
		struct fsx_mount *m = &x->m[i];

		assert_int_equal(fsx_rename(x, m, ROOT, "d", ROOT, "f", 0), -ENOTDIR);
		assert_int_equal(fsx_rename(x, m, ROOT, "f", ROOT, "d", 0), -EISDIR);
		assert_int_equal(fsx_rename(x, m, ROOT, "n", ROOT, "d", 0), -ENOENT);
		assert_int_equal(fsx_rename(x, m, ROOT, "d", ROOT, ".", 0), -EBUSY);
		assert_int_equal(fsx_rename(x, m, ROOT, "..", ROOT, "x", 0), -EBUSY);
		assert_int_equal(fsx_rename(x, m, ROOT, "f", ROOT, "x", 8), -EINVAL);
		assert_int_equal(
			fsx_rename(x, m, ROOT, "f", ROOT, "x", RENAME_NOREPLACE | RENAME_EXCHANGE),
			-EINVAL);
	}
	fsx_free(x);
}

/* A name means an empty directory all the time, though not always the same one: whoever removes or
 * replaces it by name is never told that it is not empty. */
static void name_moves_on(uint64_t after, bool rmdir)
{
	struct fsx *x = fsx_new(40 + after, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr a;
	struct fsx_wait one, two, w;

	for (const char *name = "abc"; *name; name++) {
		const char one_name[2] = {*name, 0};

		assert_int_equal(fsx_mkdir(x, m, ROOT, one_name, 0755, &a), 0);
	}
	assert_int_equal(fsx_lookup(x, m, ROOT, "a", &a), 0);
	/* a and b change places, then what was a, and is b, gets an entry */
	fsx_call(m, &one);
	fs_rename(m->fs, &one.call, ROOT, "a", ROOT, "b", RENAME_EXCHANGE);
	sim_run(x->c->s, after);
	fsx_call(other, &w);
	if (rmdir)
		fs_rmdir(other->fs, &w.call, ROOT, "a");
	else
		fs_rename(other->fs, &w.call, ROOT, "c", ROOT, "a", 0);
	assert_int_equal(fsx_wait(x, &one), 0);
	fsx_call(m, &two);
	fs_mkdir(m->fs, &two.call, a.ino, "k", 0755);
	assert_int_equal(fsx_wait(x, &w), 0);
	fsx_wait(x, &two);
	fsx_free(x);
}

static void test_rename_over_a_name_that_moves_on(void **state)
{
	(void)state;
	for (uint64_t after = 0; after < 6 * ENV_MS; after += ENV_MS / 8) {
		name_moves_on(after, false);
		name_moves_on(after, true);
	}
}

static void test_rename_leaves_a_whiteout(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 2);
	struct fsx_mount *m = x->m;
	uint64_t d = make_dir(x, m, ROOT, "d"), f = make_file(x, m, ROOT, "f"), white;
	struct fs_attr a;

	(void)state;
	assert_int_equal(fsx_rename(x, m, ROOT, "f", d, "g", RENAME_WHITEOUT), 0);
	assert_true(ino_of(x, &x->m[1], d, "g") == f);
	white = ino_of(x, &x->m[1], ROOT, "f");
	assert_true(white && white != f && ino_of(x, m, ROOT, "f") == white);
	assert_int_equal(fsx_getattr(x, m, white, &a), 0);
	assert_true(S_ISCHR(a.mode) && a.rdev == 0 && a.nlink == 1);
	assert_counts(x, ROOT, 2, 3);
	assert_counts(x, d, 1, 2);
	assert_int_equal(
		fsx_rename(x, m, d, "g", ROOT, "f", RENAME_WHITEOUT | RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(fsx_rename(x, m, d, "g", ROOT, "f", RENAME_WHITEOUT), 0);
	assert_true(ino_of(x, m, ROOT, "f") == f);
	assert_int_equal(fsx_unlink(x, m, d, "g"), 0);
	assert_counts(x, d, 0, 2);
	fsx_free(x);
}

static void test_rename_directory_over_directory(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 1);
	struct fsx_mount *m = x->m;
	uint64_t a = make_dir(x, m, ROOT, "a"), b = make_dir(x, m, ROOT, "b");
	uint64_t c = make_dir(x, m, b, "c");

	(void)state;
	assert_int_equal(fsx_rename(x, m, ROOT, "a", ROOT, "b", 0), -ENOTEMPTY);
	assert_int_equal(fsx_rename(x, m, ROOT, "a", b, "c", 0), 0);
	assert_true(ino_of(x, m, b, "c") == a);
	assert_counts(x, ROOT, 1, 3);
	assert_counts(x, b, 1, 3);
	assert_true(ino_of(x, m, a, "..") == b);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_false(fsx_object(x, m, c, NULL));
	assert_int_equal(fsx_rename(x, m, b, "c", ROOT, "a", RENAME_NOREPLACE), 0);
	assert_counts(x, ROOT, 2, 4);
	assert_counts(x, b, 0, 2);
	assert_true(ino_of(x, m, a, "..") == ROOT);
	fsx_free(x);
}

static void test_rename_into_itself(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 2);
	struct fsx_mount *m = x->m;
	uint64_t a = make_dir(x, m, ROOT, "a"), b = make_dir(x, m, a, "b");
	uint64_t c = make_dir(x, m, b, "c"), e = make_dir(x, m, ROOT, "e");
	uint64_t f = make_file(x, m, ROOT, "f");

	(void)state;
	for (int i = 0; i < 2; i++) {
		m = &x->m[i];
		assert_int_equal(fsx_rename(x, m, ROOT, "a", a, "x", 0), -EINVAL);
		assert_int_equal(fsx_rename(x, m, ROOT, "a", b, "x", 0), -EINVAL);
		assert_int_equal(fsx_rename(x, m, ROOT, "a", c, "x", 0), -EINVAL);
		assert_int_equal(fsx_rename(x, m, ROOT, "a", b, "c", RENAME_EXCHANGE), -EINVAL);
		assert_int_equal(fsx_rename(x, m, b, "c", ROOT, "a", RENAME_EXCHANGE), -EINVAL);
		assert_int_equal(fsx_rename(x, m, ROOT, "f", a, "b", RENAME_EXCHANGE), 0);
		assert_int_equal(fsx_rename(x, m, ROOT, "f", a, "b", RENAME_EXCHANGE), 0);
		assert_int_equal(fsx_rename(x, m, b, "c", ROOT, "a", 0), -ENOTEMPTY);
	}
	assert_int_equal(fsx_rename(x, m, ROOT, "e", c, "e", 0), 0);
	assert_int_equal(fsx_rename(x, m, ROOT, "a", e, "x", 0), -EINVAL);
	assert_true(ino_of(x, m, c, "e") == e && ino_of(x, m, ROOT, "f") == f);
	fsx_free(x);
}

static void test_rename_exchange(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 1);
	struct fsx_mount *m = x->m;
	uint64_t a = make_dir(x, m, ROOT, "a"), b = make_dir(x, m, ROOT, "b");
	uint64_t f = make_file(x, m, a, "f"), g = make_file(x, m, b, "g");
	uint64_t s = make_dir(x, m, a, "s");
	struct fs_attr at;

	(void)state;
	assert_int_equal(fsx_rename(x, m, a, "f", b, "none", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fsx_rename(x, m, a, "none", b, "g", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(fsx_rename(x, m, a, "f", b, "g", RENAME_EXCHANGE), 0);
	assert_true(ino_of(x, m, a, "f") == g && ino_of(x, m, b, "g") == f);
	assert_counts(x, a, 2, 3);
	assert_counts(x, b, 1, 2);
	/* a directory with a file */
	assert_int_equal(fsx_rename(x, m, b, "g", a, "s", RENAME_EXCHANGE), 0);
	assert_true(ino_of(x, m, b, "g") == s && ino_of(x, m, a, "s") == f);
	assert_counts(x, a, 2, 2);
	assert_counts(x, b, 1, 3);
	assert_true(ino_of(x, m, s, "..") == b);
	/* within one directory */
	assert_int_equal(fsx_rename(x, m, a, "f", a, "s", RENAME_EXCHANGE), 0);
	assert_true(ino_of(x, m, a, "f") == f && ino_of(x, m, a, "s") == g);
	assert_counts(x, a, 2, 2);
	/* two directories of two parents */
	assert_int_equal(fsx_rename(x, m, b, "g", ROOT, "a", RENAME_EXCHANGE), 0);
	assert_true(ino_of(x, m, ROOT, "a") == s && ino_of(x, m, b, "g") == a);
	assert_true(ino_of(x, m, s, "..") == ROOT && ino_of(x, m, a, "..") == b);
	assert_counts(x, ROOT, 2, 4);
	assert_counts(x, b, 1, 3);
	assert_int_equal(fsx_getattr(x, m, f, &at), 0);
	assert_int_equal(at.nlink, 1);
	fsx_free(x);
}

/* Mounts move one file about: it has exactly one name at the end, and each success moved it. */
/* What a mount remembers of a name may say that a directory would go into itself, when it does not
 * any more. */
static void test_rename_refuses_no_circle_of_the_past(void **state)
{
	struct fsx *x = fsx_new(9, nodes, 2);
	struct fsx_mount *a = &x->m[0], *b = &x->m[1];
	uint64_t dir, link;
	struct fs_attr at;

	(void)state;
	assert_int_equal(fsx_symlink(x, b, ROOT, "b", "x", &at), 0);
	link = at.ino;
	dir = make_dir(x, b, ROOT, "c");
	assert_int_equal(fsx_rename(x, a, ROOT, "c", ROOT, "b", RENAME_EXCHANGE), 0);
	assert_int_equal(fsx_rename(x, b, ROOT, "c", dir, "c", 0), 0);
	assert_int_equal(ino_of(x, a, dir, "c"), link);
	fsx_free(x);
}

static void test_rename_races_keep_one_name(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 4);
	uint64_t d = make_dir(x, x->m, ROOT, "d"), f = make_file(x, x->m, ROOT, "n0");
	struct fsx_wait w[4];
	unsigned names = 0, moved = 0;
	char from[16], to[16];

	(void)state;
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 4; i++) {
			fsx_call(&x->m[i], &w[i]);
			snprintf(from, sizeof(from), "n%d", (int)sim_below(x->c->s, 2));
			snprintf(to, sizeof(to), "n%d", (int)sim_below(x->c->s, 2));
			fs_rename(x->m[i].fs, &w[i].call, sim_chance(x->c->s, 500) ? ROOT : d, from,
				sim_chance(x->c->s, 500) ? ROOT : d, to, 0);
		}
		for (int i = 0; i < 4; i++) {
			int rc = fsx_wait(x, &w[i]);

			assert_true(rc == 0 || rc == -ENOENT);
			moved += rc == 0;
		}
	}
	assert_in_range(moved, 10, 160);
	for (int i = 0; i < 2; i++) {
		snprintf(to, sizeof(to), "n%d", i);
		names += ino_of(x, x->m, ROOT, to) == f;
		names += ino_of(x, x->m, d, to) == f;
	}
	assert_int_equal(names, 1);
	fsx_free(x);
}

/* Two renames that are each harmless and together a circle: one of them must fail. */
static void test_rename_races_make_no_circle(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fsx_wait w[2];
	uint64_t a, b, c, d;
	int rc[2];

	(void)state;
	for (int round = 0; round < 20; round++) {
		a = make_dir(x, m, ROOT, "a");
		b = make_dir(x, m, a, "b");
		c = make_dir(x, m, ROOT, "c");
		d = make_dir(x, m, c, "d");
		fsx_call(&x->m[0], &w[0]);
		fsx_call(&x->m[1], &w[1]);
		fs_rename(x->m[0].fs, &w[0].call, ROOT, "a", d, "a", 0);
		fs_rename(x->m[1].fs, &w[1].call, ROOT, "c", b, "c", 0);
		rc[0] = fsx_wait(x, &w[0]);
		rc[1] = fsx_wait(x, &w[1]);
		assert_true((rc[0] == 0 && rc[1] == -EINVAL) || (rc[0] == -EINVAL && rc[1] == 0));
		if (rc[0] == 0) {
			assert_int_equal(fsx_rmdir(x, m, a, "b"), 0);
			assert_int_equal(fsx_rmdir(x, m, d, "a"), 0);
			assert_int_equal(fsx_rmdir(x, m, c, "d"), 0);
			assert_int_equal(fsx_rmdir(x, m, ROOT, "c"), 0);
		} else {
			assert_int_equal(fsx_rmdir(x, m, c, "d"), 0);
			assert_int_equal(fsx_rmdir(x, m, b, "c"), 0);
			assert_int_equal(fsx_rmdir(x, m, a, "b"), 0);
			assert_int_equal(fsx_rmdir(x, m, ROOT, "a"), 0);
		}
	}
	assert_counts(x, ROOT, 0, 2);
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rename_to_a_new_name),
		cmocka_unit_test(test_rename_over_a_file),
		cmocka_unit_test(test_rename_of_unlike_things),
		cmocka_unit_test(test_rename_over_a_name_that_moves_on),
		cmocka_unit_test(test_rename_leaves_a_whiteout),
		cmocka_unit_test(test_rename_directory_over_directory),
		cmocka_unit_test(test_rename_into_itself),
		cmocka_unit_test(test_rename_exchange),
		cmocka_unit_test(test_rename_refuses_no_circle_of_the_past),
		cmocka_unit_test(test_rename_races_keep_one_name),
		cmocka_unit_test(test_rename_races_make_no_circle),
	};
	int rc = 0;

	for (nodes = 1; nodes <= 3; nodes += 2)
		rc |= cmocka_run_group_tests(tests, NULL, NULL);
	return rc;
}
