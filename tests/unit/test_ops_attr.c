/* Attributes, extended attributes, statfs, mounting and unmounting. */
#include "tests/unit/test_fs_env.h"

#include <sys/statvfs.h>
#include <sys/xattr.h>

static unsigned nodes;

#define SECONDS(n) ((n)*INT64_C(1000000000))

static void test_attr_chmod_and_chown(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr f, a, b, set = {.mode = S_IFDIR | 04751, .uid = 7, .gid = 8};

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	sim_run(x->c->s, ENV_SEC);
	/* the type stays what it is */
	assert_int_equal(fsx_setattr(x, &x->m[1], f.ino, FS_SET_MODE, &set, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 04751);
	assert_true(a.ctime > f.ctime && a.mtime == f.mtime && a.atime == f.atime);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_UID | FS_SET_GID, &set, &a), 0);
	assert_int_equal(a.uid, 7);
	assert_int_equal(a.gid, 8);
	assert_int_equal(a.mode, S_IFREG | 04751);
	assert_int_equal(fsx_getattr(x, &x->m[1], f.ino, &b), 0);
	a.version = b.version;
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(fsx_setattr(x, m, f.ino + 99, FS_SET_UID, &set, NULL), -ESTALE);
	assert_int_equal(fsx_setattr(x, m, f.ino + 99, FS_SET_MODE, &set, NULL), -ESTALE);
	assert_int_equal(fsx_getattr(x, m, f.ino + 99, NULL), -ESTALE);
	/* nothing to set */
	assert_int_equal(fsx_setattr(x, m, f.ino, 0, &set, &b), 0);
	assert_true(b.ctime == a.ctime);
	fsx_free(x);
}

static void test_attr_set_id_bits_are_dropped(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr f, a, set = {.mode = 06755};

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_MODE, &set, NULL), 0);
	/* by a mount whose idea of the mode is old, and by one that has none */
	assert_int_equal(fsx_setattr(x, &x->m[1], f.ino, FS_SET_KILL_SUID, &set, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 0755);
	set.mode = 06745; /* without group execution: mandatory locking, which stays */
	assert_int_equal(fsx_setattr(x, &x->m[1], f.ino, FS_SET_MODE, &set, NULL), 0);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_KILL_SUID | FS_SET_UID, &set, &a), 0);
	assert_int_equal(a.mode, S_IFREG | 02745);
	fsx_free(x);
}

static void test_attr_times(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr f, a, set = {.atime = SECONDS(-100) + 1, .mtime = SECONDS(5000000000)};

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_ATIME | FS_SET_MTIME, &set, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_true(a.atime == set.atime && a.mtime == set.mtime && a.ctime > f.ctime);
	/* UTIME_OMIT for one, UTIME_NOW for the other */
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_MTIME_NOW | FS_SET_MTIME, &set, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_true(a.atime == set.atime && a.mtime == a.ctime);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_ATIME_NOW, &set, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_true(a.atime == a.ctime && a.mtime < a.ctime);
	set.ctime = SECONDS(1000);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_CTIME, &set, NULL), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_true(a.ctime == SECONDS(1000));
	fsx_free(x);
}

/* cp -p: what was written before the times are set must not set them again when it is sent. */
static void test_attr_times_set_after_writing_stay(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a, set = {.mtime = SECONDS(1000), .atime = SECONDS(999)};
	struct fsx_wait w;
	struct fs_file *f;

	(void)state;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	fsx_call(m, &w);
	fs_write(m->fs, &w.call, f, 0, "hello", 5);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_int_equal(fsx_setattr(x, m, a.ino, FS_SET_MTIME | FS_SET_ATIME, &set, &a), 0);
	assert_true(a.mtime == SECONDS(1000));
	fsx_call(m, &w);
	fs_flush(m->fs, &w.call, f);
	assert_int_equal(fsx_wait(x, &w), 0);
	fs_release(m->fs, f);
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_true(a.mtime == SECONDS(1000) && a.size == 5);
	/* also before 1970 */
	set.atime = set.mtime = SECONDS(-5);
	assert_int_equal(fsx_setattr(x, m, a.ino, FS_SET_MTIME | FS_SET_ATIME, &set, &a), 0);
	assert_true(a.mtime == SECONDS(-5) && a.atime == SECONDS(-5));
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_true(a.mtime == SECONDS(-5) && a.atime == SECONDS(-5));
	fsx_free(x);
}

/* ---- extended attributes ---- */

static void test_xattr_set_get_list_remove(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr f, a;
	char got[1000];
	size_t len;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &f), 0);
	assert_int_equal(fsx_touch(x, m, f.ino, "entry", NULL), 0);
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, sizeof(got), &len), 0);
	assert_int_equal(len, 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.b", "two", 3, 0), 0);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.a", "", 0, XATTR_CREATE), 0);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.a", "1", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.c", "1", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.b", "three", 5, XATTR_REPLACE), 0);
	assert_int_equal(fsx_getxattr(x, &x->m[1], f.ino, "user.b", got, sizeof(got), &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(got, "three");
	assert_int_equal(fsx_getxattr(x, m, f.ino, "user.a", got, sizeof(got), &len), 0);
	assert_int_equal(len, 0);
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, sizeof(got), &len), 0);
	assert_int_equal(len, 14);
	assert_memory_equal(got, "user.a\0user.b", 14);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_true(a.ctime > a.mtime);
	assert_int_equal(fsx_removexattr(x, m, f.ino, "user.a"), 0);
	assert_int_equal(fsx_removexattr(x, m, f.ino, "user.a"), -ENODATA);
	assert_int_equal(fsx_getxattr(x, m, f.ino, "user.a", got, sizeof(got), &len), -ENODATA);
	assert_int_equal(fsx_getxattr(x, m, f.ino + 9, "user.a", got, sizeof(got), &len), -ESTALE);
	assert_int_equal(fsx_setxattr(x, m, f.ino + 9, "user.a", "", 0, 0), -ESTALE);
	assert_int_equal(fsx_listxattr(x, m, f.ino + 9, got, sizeof(got), &len), -ESTALE);
	/* the directory is as empty as before */
	assert_int_equal(fsx_unlink(x, m, f.ino, "entry"), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	fsx_free(x);
}

static void test_xattr_names_and_limits(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 1);
	struct fsx_mount *m = x->m;
	char name[300] = "user.", *value = mem_zalloc(70000), *got = mem_zalloc(70000);
	struct fs_attr f;
	size_t len;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "system.posix_acl", "x", 1, 0), -EOPNOTSUPP);
	assert_int_equal(fsx_getxattr(x, m, f.ino, "system.posix_acl", got, 10, &len), -EOPNOTSUPP);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "other", "x", 1, 0), -EOPNOTSUPP);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.", "x", 1, 0), -EINVAL);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.x", "x", 1, 4), -EINVAL);
	memset(name + 5, 'n', 250);
	assert_int_equal(fsx_setxattr(x, m, f.ino, name, "x", 1, 0), 0);
	name[255] = 'n';
	assert_int_equal(fsx_setxattr(x, m, f.ino, name, "x", 1, 0), -ERANGE);
	memset(value, 'v', 65537);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.big", value, 65537, 0), -E2BIG);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.big", value, 65536, 0), 0);
	assert_int_equal(fsx_getxattr(x, m, f.ino, "user.big", got, 70000, &len), 0);
	assert_int_equal(len, 65536);
	assert_memory_equal(got, value, 65536);
	free(value);
	free(got);
	fsx_free(x);
}

static void test_xattr_trusted_is_for_root(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr f;
	char got[100];
	size_t len;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "trusted.t", "x", 1, 0), 0);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "security.s", "y", 1, 0), 0);
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, sizeof(got), &len), 0);
	assert_int_equal(len, 21);
	m->uid = 1000;
	assert_int_equal(fsx_setxattr(x, m, f.ino, "trusted.t", "x", 1, 0), -EPERM);
	assert_int_equal(fsx_removexattr(x, m, f.ino, "trusted.t"), -EPERM);
	assert_int_equal(fsx_getxattr(x, m, f.ino, "trusted.t", got, sizeof(got), &len), -ENODATA);
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, sizeof(got), &len), 0);
	assert_int_equal(len, 11);
	assert_string_equal(got, "security.s");
	fsx_free(x);
}

/* The kernel asks before it writes; the answer "none" is remembered until another mount changes
 * that. */
static void test_xattr_no_capabilities_costs_nothing(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 2);
	struct fsx_mount *m = x->m;
	const char *caps = "security.capability";
	struct fs_attr f;
	char got[100];
	uint64_t n;
	size_t len;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	n = fsx_sent(m);
	for (int i = 0; i < 10; i++)
		assert_int_equal(fsx_getxattr(x, m, f.ino, caps, got, sizeof(got), &len), -ENODATA);
	assert_int_equal(fsx_sent(m), n);
	assert_int_equal(fsx_setxattr(x, &x->m[1], f.ino, caps, "c", 1, 0), 0);
	assert_int_equal(fsx_getxattr(x, m, f.ino, caps, got, sizeof(got), &len), 0);
	assert_int_equal(fsx_removexattr(x, m, f.ino, caps), 0);
	assert_int_equal(fsx_getxattr(x, m, f.ino, caps, got, sizeof(got), &len), -ENODATA);
	assert_int_equal(fsx_setxattr(x, m, f.ino, caps, "d", 1, 0), 0);
	assert_int_equal(fsx_getxattr(x, m, f.ino, caps, got, sizeof(got), &len), 0);
	fsx_free(x);
}

static void test_xattr_many(void **state)
{
	struct fsx *x = fsx_new(9, nodes, 1);
	struct fsx_mount *m = x->m;
	char name[300], *got = mem_zalloc(70000);
	struct fs_attr f;
	size_t len;
	int n = 0;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	for (; n < 1500; n++) {
		snprintf(name, sizeof(name), "user.attribute-number-%04d", n);
		assert_int_equal(fsx_setxattr(x, m, f.ino, name, "x", 1, 0), 0);
	}
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, 70000, &len), 0);
	assert_int_equal(len, 1500 * 27);
	for (; n < 2500; n++) {
		snprintf(name, sizeof(name), "user.attribute-number-%04d", n);
		assert_int_equal(fsx_setxattr(x, m, f.ino, name, "x", 1, 0), 0);
	}
	assert_int_equal(fsx_listxattr(x, m, f.ino, got, 70000, &len), -E2BIG);
	free(got);
	fsx_free(x);
}

/* ---- statfs ---- */

static int statfs_of(struct fsx *x, struct fsx_mount *m, struct statvfs *out)
{
	FSX_OP(x, m, NO_ATTR, fs_statfs(m->fs, &w.call, out));
	return rc;
}

static uint64_t frames(const struct fsx *x)
{
	return sim_counts(x->c->s)->frames;
}

static void test_statfs_adds_up_the_nodes(void **state)
{
	struct fsx *x = fsx_new(10, nodes, 1);
	struct fsx_mount *m = x->m;
	uint64_t used = 0, available = 0, asked;
	struct store_usage u;
	struct statvfs s, t;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", NULL), 0);
	for (unsigned i = 0; i < nodes; i++) {
		store_usage(x->c->node[i].store, &u);
		used += u.log;
		available += u.available;
	}
	assert_int_equal(statfs_of(x, m, &s), 0);
	assert_int_equal(s.f_frsize, 4096);
	assert_int_equal(s.f_bsize, 4096);
	assert_int_equal(s.f_namemax, 255);
	assert_in_range(s.f_blocks, (used + available) / 4096 - 100, (used + available) / 4096 + 1);
	assert_in_range(s.f_bavail, available / 4096 - 100, available / 4096);
	assert_true(s.f_bfree == s.f_bavail);
	assert_true(s.f_ffree > 0 && s.f_files >= s.f_ffree);
	/* asked again at once, nobody is asked */
	asked = frames(x);
	assert_int_equal(statfs_of(x, m, &t), 0);
	assert_int_equal(frames(x), asked);
	assert_memory_equal(&s, &t, sizeof(s));
	sim_run(x->c->s, 2 * ENV_SEC);
	asked = frames(x);
	assert_int_equal(statfs_of(x, m, &t), 0);
	assert_true(frames(x) > asked);
	/* but for what the keeper wrote meanwhile */
	assert_in_range(t.f_blocks, s.f_blocks - 100, s.f_blocks + 100);
	fsx_free(x);
}

static void test_statfs_of_an_unreachable_node_can_be_interrupted(void **state)
{
	struct fsx *x = fsx_new(11, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fsx_wait w;
	struct statvfs s;

	(void)state;
	fsx_unreach(x, m);
	fsx_call(m, &w);
	fs_statfs(m->fs, &w.call, &s);
	fs_interrupt(m->fs, &w.call, false);
	sim_run(x->c->s, ENV_SEC);
	assert_false(w.done);
	fs_interrupt(m->fs, &w.call, true);
	assert_int_equal(fsx_wait(x, &w), -EINTR);
	fsx_reach(x, m);
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_int_equal(statfs_of(x, m, &s), 0);
	fsx_free(x);
}

/* ---- mount ---- */

static void test_mount_where_nothing_was_made(void **state)
{
	struct fsx *x = fsx_new(12, nodes, 0);
	struct fsx_mount *m = fsx_client(x, NULL);

	(void)state;
	assert_int_equal(fsx_mount(x, m), -ENOENT);
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mkfs(x, m), -EEXIST);
	assert_int_equal(fsx_mount(x, m), 0);
	fsx_free(x);
}

static void test_mount_after_a_power_loss_finds_what_was_made(void **state)
{
	struct fsx *x = fsx_new(12, nodes, 0);
	struct fsx_mount *m = fsx_client(x, NULL);

	(void)state;
	assert_int_equal(fsx_mkfs(x, m), 0);
	for (unsigned i = 0; i < nodes; i++)
		cluster_crash(x->c, i, DISK_LOSE);
	for (unsigned i = 0; i < nodes; i++)
		cluster_start(x->c, i);
	assert_int_equal(fsx_mount(x, m), 0);
	fsx_free(x);
}

static void test_mount_of_a_newer_or_broken_filesystem(void **state)
{
	struct fsx *x = fsx_new(13, nodes, 1);
	struct fsx_mount *m = x->m;
	struct orbit_id id = layout_super_id();
	struct txn_build t;

	(void)state;
	assert_int_equal(fsx_unmount(x, m), 0);
	txn_init(&t);
	txn_set(&t, &id, SUPER_VERSION, LAYOUT_VERSION + 1);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_mount(x, m), -EPROTONOSUPPORT);
	txn_init(&t);
	txn_set(&t, &id, SUPER_VERSION, LAYOUT_VERSION);
	txn_set(&t, &id, SUPER_FEATURES, 1);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_mount(x, m), -EPROTONOSUPPORT);
	id = layout_inode_id(ROOT);
	txn_init(&t);
	txn_delete(&t, &id);
	id = layout_super_id();
	txn_set(&t, &id, SUPER_FEATURES, 0);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_mount(x, m), -EUCLEAN);
	fsx_free(x);
}

static void test_mount_again_finds_the_same(void **state)
{
	struct fsx *x = fsx_new(14, nodes, 1);
	struct fsx_mount *m = x->m, *again;
	struct fs_attr d, f, a;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_touch(x, m, d.ino, "f", &f), 0);
	assert_int_equal(fsx_unmount(x, m), 0);
	fsx_close(x, m);
	again = fsx_client(x, NULL);
	assert_int_equal(fsx_mount(x, again), 0);
	assert_int_equal(fsx_lookup(x, again, ROOT, "d", &a), 0);
	assert_true(a.ino == d.ino);
	assert_int_equal(fsx_lookup(x, again, d.ino, "f", &a), 0);
	assert_true(a.ino == f.ino);
	/* and gives out no number twice */
	assert_int_equal(fsx_touch(x, again, d.ino, "g", &a), 0);
	assert_true(a.ino != f.ino);
	fsx_free(x);
}

static void test_unmount_gives_up_on_a_dead_cluster(void **state)
{
	struct fsx *x = fsx_new(15, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fsx_wait w, end = {0};

	(void)state;
	fsx_unreach(x, m);
	fsx_call(m, &w);
	fs_mkdir(m->fs, &w.call, ROOT, "d", 0755);
	fs_unmount(m->fs, 3 * ENV_SEC, fsx_rc, &end);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_false(end.done);
	assert_true(sim_wait(x->c->s, &end.done, 30 * ENV_SEC));
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	m->fs = NULL;
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attr_chmod_and_chown),
		cmocka_unit_test(test_attr_set_id_bits_are_dropped),
		cmocka_unit_test(test_attr_times),
		cmocka_unit_test(test_attr_times_set_after_writing_stay),
		cmocka_unit_test(test_xattr_set_get_list_remove),
		cmocka_unit_test(test_xattr_names_and_limits),
		cmocka_unit_test(test_xattr_trusted_is_for_root),
		cmocka_unit_test(test_xattr_no_capabilities_costs_nothing),
		cmocka_unit_test(test_xattr_many),
		cmocka_unit_test(test_statfs_adds_up_the_nodes),
		cmocka_unit_test(test_statfs_of_an_unreachable_node_can_be_interrupted),
		cmocka_unit_test(test_mount_where_nothing_was_made),
		cmocka_unit_test(test_mount_after_a_power_loss_finds_what_was_made),
		cmocka_unit_test(test_mount_of_a_newer_or_broken_filesystem),
		cmocka_unit_test(test_mount_again_finds_the_same),
		cmocka_unit_test(test_unmount_gives_up_on_a_dead_cluster),
	};
	int rc = 0;

	for (nodes = 1; nodes <= 3; nodes += 2)
		rc |= cmocka_run_group_tests(tests, NULL, NULL);
	return rc;
}
