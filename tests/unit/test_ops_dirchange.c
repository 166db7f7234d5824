/* What a directory has become by a change of the mount's own is told without asking a node: the
 * same as a node says, once, and only right after the change. */
#include "fs/ops/hint.h"
#include "tests/unit/test_fs_env.h"

static unsigned nodes;

/* The attributes of @dir without a message; then what a node says, which has to be the same. */
static void assert_known(struct fsx *x, uint64_t dir)
{
	struct fsx_mount *m = x->m;
	struct fs_attr told, read;
	uint64_t sent = fsx_sent(m);

	assert_int_equal(fsx_getattr(x, m, dir, &told), 0);
	assert_true(fsx_sent(m) == sent);
	assert_int_equal(fsx_getattr(x, m, dir, &read), 0);
	assert_true(fsx_sent(m) > sent); /* holds and orphans go, too */
	told.version = read.version;
	assert_memory_equal(&told, &read, sizeof(told));
}

static void assert_asked(struct fsx *x, uint64_t dir)
{
	uint64_t sent = fsx_sent(x->m);

	assert_int_equal(fsx_getattr(x, x->m, dir, NULL), 0);
	assert_true(fsx_sent(x->m) == sent + 1);
}

static void test_dirchange_is_what_a_node_says(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_file *open;
	struct fs_attr d, e, f, s;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_known(x, ROOT);
	assert_int_equal(fsx_mkdir(x, m, d.ino, "e", 0755, &e), 0);
	assert_known(x, d.ino);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_touch(x, m, d.ino, "f", &f), 0);
	assert_known(x, d.ino);
	assert_int_equal(fsx_create(x, m, d.ino, "o", 0644, O_RDWR, &open, NULL), 0);
	assert_known(x, d.ino);
	fs_release(m->fs, open);
	assert_int_equal(fsx_symlink(x, m, d.ino, "s", "there", &s), 0);
	assert_known(x, d.ino);
	assert_int_equal(fsx_link(x, m, f.ino, d.ino, "l", NULL), 0);
	assert_known(x, d.ino);
	assert_int_equal(fsx_rename(x, m, d.ino, "l", d.ino, "k", 0), 0);
	assert_known(x, d.ino);
	assert_int_equal(fsx_rename(x, m, d.ino, "k", ROOT, "k", 0), 0);
	assert_known(x, d.ino);
	assert_known(x, ROOT);
	assert_int_equal(fsx_rename(x, m, d.ino, "e", ROOT, "e", 0), 0);
	assert_known(x, d.ino);
	assert_known(x, ROOT);
	/* an exchange, of which one is a directory; one that replaces */
	assert_int_equal(fsx_rename(x, m, ROOT, "e", d.ino, "s", RENAME_EXCHANGE), 0);
	assert_known(x, d.ino);
	assert_known(x, ROOT);
	assert_int_equal(fsx_rename(x, m, ROOT, "e", d.ino, "o", 0), 0);
	assert_known(x, d.ino);
	assert_known(x, ROOT);
	assert_int_equal(fsx_unlink(x, m, d.ino, "f"), 0);
	assert_known(x, d.ino);
	assert_int_equal(fsx_rmdir(x, m, d.ino, "s"), 0);
	assert_known(x, d.ino);
	fsx_free(x);
}

static void test_dirchange_with_a_time_in_the_future(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr set = {.mtime = INT64_C(4000000000) * INT64_C(1000000000)}, a, b;

	(void)state;
	assert_int_equal(fsx_setattr(x, m, ROOT, FS_SET_MTIME, &set, NULL), 0);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", NULL), 0);
	assert_known(x, ROOT);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_true(a.mtime == a.ctime);
	/* of which this mount does not know */
	assert_int_equal(fsx_setattr(x, m, ROOT, FS_SET_MTIME, &set, NULL), 0);
	hint_forget(m->fs, ROOT);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	assert_known(x, ROOT);
	assert_int_equal(fsx_getattr(x, m, ROOT, &b), 0);
	assert_true(b.mtime == b.ctime && b.mtime > a.mtime);
	/* nor of who has set it since */
	assert_int_equal(fsx_setattr(x, other, ROOT, FS_SET_MTIME, &set, NULL), 0);
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_getattr(x, other, ROOT, &b), 0);
	assert_true(b.mtime == b.ctime && b.mtime == a.mtime);
	/* the past stays past */
	set.mtime = 1000;
	assert_int_equal(fsx_setattr(x, other, ROOT, FS_SET_MTIME, &set, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_true(a.mtime == 1000);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	assert_int_equal(fsx_getattr(x, other, ROOT, &b), 0);
	assert_true(b.mtime == b.ctime && b.mtime > a.ctime);
	fsx_free(x);
}

/* The other mount's clock is ahead: what is changed here after it is later, whether it was seen or
 * not; and so it goes on. */
static void test_dirchange_times_do_not_go_back(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr set = {.mtime = INT64_C(4000000000) * INT64_C(1000000000)}, a, b;
	char name[16];

	(void)state;
	sim_host_wall(x->c->client_host[1], (int64_t)(2 * ENV_SEC));
	for (unsigned i = 0; i < 20; i++) {
		bool seen = i % 2;

		snprintf(name, sizeof(name), "a%u", i);
		assert_int_equal(fsx_touch(x, other, ROOT, name, NULL), 0);
		if (i == 17) /* and chosen ones, of which one mount does not know */
			assert_int_equal(fsx_setattr(x, other, ROOT, FS_SET_MTIME, &set, NULL), 0);
		assert_int_equal(fsx_getattr(x, seen ? m : other, ROOT, &a), 0);
		assert_true(a.mtime == a.ctime || i == 17);
		if (i % 3 == 0)
			assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, NULL), 0);
		else if (i % 3 == 1)
			assert_int_equal(fsx_rename(x, m, ROOT, name, ROOT, "e", 0), 0);
		else
			assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
		assert_int_equal(fsx_getattr(x, m, ROOT, &b), 0);
		assert_true(b.ctime >= a.ctime && b.mtime == b.ctime);
		assert_true(!seen || b.ctime > a.ctime);
		sim_run(x->c->s, 10 * ENV_MS); /* what its own change made of it is old */
		assert_int_equal(fsx_getattr(x, other, ROOT, &b), 0);
		assert_true(b.ctime >= a.ctime && b.mtime == b.ctime);
	}
	/* but not after one that is years ahead */
	sim_host_wall(x->c->client_host[1], (int64_t)(1000000 * ENV_SEC));
	assert_int_equal(fsx_touch(x, other, ROOT, "f", &a), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &b), 0);
	assert_true(b.mtime == a.mtime);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &b), 0);
	assert_true(b.mtime < a.mtime && b.ctime == a.ctime);
	fsx_free(x);
}

static void test_dirchange_is_told_once_and_soon(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr set = {.mode = 0700}, a;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "a", NULL), 0);
	assert_known(x, ROOT);
	assert_asked(x, ROOT);
	/* later it is another question */
	assert_int_equal(fsx_touch(x, m, ROOT, "b", NULL), 0);
	sim_run(x->c->s, 5 * ENV_MS);
	assert_asked(x, ROOT);
	/* it counts from when the change was sent: the kernel is told how old it may be */
	assert_int_equal(fsx_touch(x, m, ROOT, "c", NULL), 0);
	fsx_call(m, &w);
	fs_getattr(m->fs, &w.call, ROOT);
	assert_true(w.done);
	assert_in_range(w.call.age, 1, 10 * ENV_MS);
	/* after another change of ours that is not counted */
	assert_int_equal(fsx_touch(x, m, ROOT, "d", NULL), 0);
	assert_int_equal(fsx_setattr(x, m, ROOT, FS_SET_MODE, &set, NULL), 0);
	assert_asked(x, ROOT);
	/* after this mount has seen what another one did */
	assert_int_equal(fsx_mkdir(x, m, ROOT, "p", 0755, &a), 0);
	assert_int_equal(fsx_touch(x, m, a.ino, "f", NULL), 0);
	assert_int_equal(fsx_touch(x, other, a.ino, "g", NULL), 0);
	assert_int_equal(fsx_lookup(x, m, ROOT, "p", &a), 0);
	assert_int_equal(a.children, 2);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_int_equal(a.children, 2);
	fsx_free(x);
}

static int one_node(void **state)
{
	(void)state;
	nodes = 1;
	return 0;
}

static int three_nodes(void **state)
{
	(void)state;
	nodes = 3;
	return 0;
}

int main(void)
{
	fsx_cache = FS_CACHE_RELAXED; /* what others do is not told */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dirchange_is_what_a_node_says),
		cmocka_unit_test(test_dirchange_with_a_time_in_the_future),
		cmocka_unit_test(test_dirchange_times_do_not_go_back),
		cmocka_unit_test(test_dirchange_is_told_once_and_soon),
	};
	int failed = cmocka_run_group_tests_name("dirchange, one node", tests, one_node, NULL);

	return failed +
	       cmocka_run_group_tests_name("dirchange, three nodes", tests, three_nodes, NULL);
}
