/* Names: lookup, create, mknod, mkdir, symlink, link, unlink, rmdir; on one node and on three. */
#include "tests/unit/test_fs_env.h"

static unsigned nodes;

static void test_names_of_an_empty_filesystem(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a;

	(void)state;
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_true(S_ISDIR(a.mode));
	assert_int_equal(a.nlink, 2);
	assert_true(a.parent == ROOT);
	assert_int_equal(fsx_lookup(x, m, ROOT, "nothing", NULL), -ENOENT);
	assert_int_equal(fsx_lookup(x, m, ROOT, ".", &a), 0);
	assert_true(a.ino == ROOT);
	assert_int_equal(fsx_lookup(x, m, ROOT, "..", &a), 0);
	assert_true(a.ino == ROOT);
	assert_int_equal(fsx_mkfs(x, m), -EEXIST);
	fsx_free(x);
}

static void test_names_created_file_is_found_with_the_same_attributes(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr made, seen, dir;
	struct fs_file *f;

	(void)state;
	m->uid = 1000;
	m->gid = 100;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0640, O_RDWR, &f, &made), 0);
	assert_non_null(f);
	assert_true(fs_ino_of(f) == made.ino);
	assert_int_equal(made.mode, S_IFREG | 0640);
	assert_int_equal(made.uid, 1000);
	assert_int_equal(made.gid, 100);
	assert_int_equal(made.nlink, 1);
	/* another mount sees the same */
	assert_int_equal(fsx_lookup(x, &x->m[1], ROOT, "f", &seen), 0);
	made.version = seen.version;
	assert_memory_equal(&made, &seen, sizeof(made));
	assert_int_equal(fsx_getattr(x, m, ROOT, &dir), 0);
	assert_int_equal(dir.children, 1);
	assert_int_equal(dir.nlink, 2);
	assert_true(dir.mtime == made.ctime && dir.ctime == made.ctime);
	/* a file lies beside its directory */
	assert_true(made.ino >> 48 == ROOT >> 48);
	fs_release(m->fs, f);
	fsx_free(x);
}

static void test_names_create_of_what_is_there(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr a, b;
	struct fs_file *f;

	(void)state;
	assert_int_equal(fsx_touch(x, &x->m[1], ROOT, "f", &a), 0);
	assert_int_equal(fsx_mkdir(x, &x->m[1], ROOT, "d", 0755, NULL), 0);
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR | O_EXCL, &f, NULL), -EEXIST);
	assert_null(f);
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &b), 0);
	assert_true(a.ino == b.ino);
	assert_true(fs_ino_of(f) == a.ino);
	fs_release(m->fs, f);
	assert_int_equal(fsx_create(x, m, ROOT, "d", 0644, O_RDWR, &f, NULL), -EISDIR);
	assert_int_equal(fsx_mkdir(x, m, ROOT, "f", 0755, NULL), -EEXIST);
	assert_int_equal(fsx_touch(x, m, ROOT, "d", NULL), -EEXIST);
	assert_int_equal(fsx_symlink(x, m, ROOT, "f", "t", NULL), -EEXIST);
	assert_int_equal(fsx_link(x, m, a.ino, ROOT, "f", NULL), -EEXIST);
	/* who may not obviously open it is sent back to the kernel's own checks */
	m->uid = 1000;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, NULL), -ESTALE);
	assert_null(f);
	fsx_free(x);
}

static void test_names_that_are_none(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 1);
	struct fsx_mount *m = x->m;
	char longest[257];
	struct fs_attr a, b;

	(void)state;
	memset(longest, 'x', 256);
	longest[256] = 0;
	assert_int_equal(fsx_touch(x, m, ROOT, longest, NULL), -ENAMETOOLONG);
	assert_int_equal(fsx_lookup(x, m, ROOT, longest, NULL), -ENAMETOOLONG);
	assert_int_equal(fsx_mkdir(x, m, ROOT, longest, 0755, NULL), -ENAMETOOLONG);
	assert_int_equal(fsx_unlink(x, m, ROOT, longest), -ENAMETOOLONG);
	assert_int_equal(fsx_rename(x, m, ROOT, longest, ROOT, "a", 0), -ENAMETOOLONG);
	longest[255] = 0;
	assert_int_equal(fsx_touch(x, m, ROOT, longest, &a), 0);
	assert_int_equal(fsx_lookup(x, m, ROOT, longest, &b), 0);
	assert_true(a.ino == b.ino);
	assert_int_equal(fsx_touch(x, m, ROOT, "", NULL), -ENOENT);
	assert_int_equal(fsx_touch(x, m, ROOT, "a/b", NULL), -EINVAL);
	assert_int_equal(fsx_mkdir(x, m, ROOT, ".", 0755, NULL), -EEXIST);
	assert_int_equal(fsx_touch(x, m, ROOT, "..", NULL), -EEXIST);
	assert_int_equal(fsx_unlink(x, m, ROOT, "."), -EISDIR);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "."), -EINVAL);
	assert_int_equal(fsx_rmdir(x, m, ROOT, ".."), -ENOTEMPTY);
	fsx_free(x);
}

static void test_names_mkdir_and_rmdir_count_links(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr d, e, a;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0750, &d), 0);
	assert_int_equal(d.mode, S_IFDIR | 0750);
	assert_int_equal(d.nlink, 2);
	assert_true(d.parent == ROOT);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_int_equal(a.nlink, 3);
	assert_int_equal(a.children, 1);
	assert_int_equal(fsx_mkdir(x, m, d.ino, "e", 0755, &e), 0);
	assert_int_equal(fsx_lookup(x, m, e.ino, "..", &a), 0);
	assert_true(a.ino == d.ino);
	assert_int_equal(a.nlink, 3);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fsx_rmdir(x, other, ROOT, "d"), -ENOTEMPTY);
	assert_int_equal(fsx_unlink(x, m, d.ino, "e"), -EISDIR);
	assert_int_equal(fsx_rmdir(x, other, d.ino, "e"), 0);
	assert_int_equal(fsx_lookup(x, m, d.ino, "e", NULL), -ENOENT);
	assert_int_equal(fsx_rmdir(x, m, d.ino, "e"), -ENOENT);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(a.children, 0);
	fsx_free(x);
}

static void test_names_nothing_is_made_in_a_removed_directory(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr d, f, a;
	struct fs_file *file;
	struct fs_dir *dir;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_opendir(x, other, d.ino, &dir), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	/* from both mounts: the one that knows, and the one that does not yet */
	for (int i = 0; i < 2; i++) {
		struct fsx_mount *who = &x->m[i];

		assert_int_equal(fsx_touch(x, who, d.ino, "x", NULL), -ENOENT);
		assert_int_equal(fsx_mkdir(x, who, d.ino, "x", 0755, NULL), -ENOENT);
		assert_int_equal(
			fsx_create(x, who, d.ino, "x", 0644, O_RDWR, &file, NULL), -ENOENT);
		assert_int_equal(fsx_link(x, who, f.ino, d.ino, "x", NULL), -ENOENT);
		assert_int_equal(fsx_rename(x, who, ROOT, "f", d.ino, "x", 0), -ENOENT);
		assert_int_equal(fsx_lookup(x, who, d.ino, "x", NULL), -ENOENT);
	}
	/* it is open there: still a directory, without links, also when the reaper was here */
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, other, d.ino, &a), 0);
	assert_true(S_ISDIR(a.mode));
	assert_int_equal(a.nlink, 0);
	fs_releasedir(other->fs, dir);
	assert_int_equal(fsx_getattr(x, other, d.ino, &a), -ESTALE);
	fsx_free(x);
}

static void test_names_parent_that_is_no_directory(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr f, g;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_touch(x, m, ROOT, "g", &g), 0);
	assert_int_equal(fsx_touch(x, m, f.ino, "x", NULL), -ENOTDIR);
	assert_int_equal(fsx_mkdir(x, m, f.ino, "x", 0755, NULL), -ENOTDIR);
	assert_int_equal(fsx_link(x, m, g.ino, f.ino, "x", NULL), -ENOTDIR);
	assert_int_equal(fsx_rename(x, m, ROOT, "g", f.ino, "x", 0), -ENOTDIR);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "f"), -ENOTDIR);
	fsx_free(x);
}

static void test_names_special_files(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a;

	(void)state;
	assert_int_equal(fsx_mknod(x, m, ROOT, "fifo", S_IFIFO | 0600, 5, NULL), 0);
	assert_int_equal(fsx_mknod(x, m, ROOT, "sock", S_IFSOCK | 0600, 0, NULL), 0);
	assert_int_equal(fsx_mknod(x, m, ROOT, "null", S_IFCHR | 0666, 259, NULL), 0);
	assert_int_equal(fsx_mknod(x, m, ROOT, "disk", S_IFBLK | 0660, 2049, NULL), 0);
	assert_int_equal(fsx_mknod(x, m, ROOT, "dir", S_IFDIR | 0755, 0, NULL), -EINVAL);
	assert_int_equal(fsx_lookup(x, m, ROOT, "fifo", &a), 0);
	assert_int_equal(a.mode, S_IFIFO | 0600);
	assert_int_equal(a.rdev, 0);
	assert_int_equal(fsx_lookup(x, m, ROOT, "sock", &a), 0);
	assert_int_equal(a.mode, S_IFSOCK | 0600);
	assert_int_equal(fsx_lookup(x, m, ROOT, "null", &a), 0);
	assert_int_equal(a.mode, S_IFCHR | 0666);
	assert_int_equal(a.rdev, 259);
	assert_int_equal(fsx_lookup(x, m, ROOT, "disk", &a), 0);
	assert_int_equal(a.rdev, 2049);
	fsx_free(x);
}

static void test_names_symlinks(void **state)
{
	struct fsx *x = fsx_new(9, nodes, 1);
	struct fsx_mount *m = x->m;
	char target[4097], got[4200];
	struct fs_attr a, f;

	(void)state;
	assert_int_equal(fsx_symlink(x, m, ROOT, "l", "../some/where", &a), 0);
	assert_int_equal(a.mode, S_IFLNK | 0777);
	assert_int_equal(a.size, 13);
	assert_int_equal(fsx_readlink(x, m, a.ino, got, sizeof(got)), 0);
	assert_string_equal(got, "../some/where");
	memset(target, 't', 4096);
	target[4096] = 0;
	assert_int_equal(fsx_symlink(x, m, ROOT, "long", target, NULL), -ENAMETOOLONG);
	target[4095] = 0;
	assert_int_equal(fsx_symlink(x, m, ROOT, "long", target, &a), 0);
	assert_int_equal(fsx_readlink(x, m, a.ino, got, sizeof(got)), 0);
	assert_string_equal(got, target);
	assert_int_equal(fsx_symlink(x, m, ROOT, "empty", "", NULL), -ENOENT);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_readlink(x, m, f.ino, got, sizeof(got)), -EINVAL);
	assert_int_equal(fsx_readlink(x, m, f.ino + 999, got, sizeof(got)), -ESTALE);
	fsx_free(x);
}

static void test_names_hard_links(void **state)
{
	struct fsx *x = fsx_new(10, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr d, f, a;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_link(x, m, f.ino, d.ino, "g", &a), 0);
	assert_true(a.ino == f.ino);
	assert_int_equal(a.nlink, 2);
	assert_true(a.ctime > f.ctime && a.mtime == f.mtime);
	assert_int_equal(fsx_link(x, m, d.ino, ROOT, "dd", NULL), -EPERM);
	/* from a mount that knows nothing of either */
	assert_int_equal(fsx_link(x, other, d.ino, ROOT, "dd", NULL), -EPERM);
	assert_int_equal(fsx_link(x, other, f.ino, ROOT, "h", &a), 0);
	assert_int_equal(a.nlink, 3);
	assert_int_equal(fsx_unlink(x, other, ROOT, "f"), 0);
	assert_int_equal(fsx_lookup(x, m, d.ino, "g", &a), 0);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(fsx_unlink(x, m, d.ino, "g"), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &a), 0);
	assert_int_equal(a.nlink, 1);
	assert_int_equal(fsx_unlink(x, m, ROOT, "h"), 0);
	assert_int_equal(fsx_unlink(x, m, ROOT, "h"), -ENOENT);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_link(x, m, f.ino, ROOT, "again", NULL), -ESTALE);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	assert_int_equal(a.children, 1);
	fsx_free(x);
}

static void test_names_stale_guesses_are_corrected(void **state)
{
	struct fsx *x = fsx_new(11, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr a, b;

	(void)state;
	/* what was a file for one mount became another file, then a directory, then nothing */
	assert_int_equal(fsx_touch(x, m, ROOT, "n", &a), 0);
	assert_int_equal(fsx_unlink(x, other, ROOT, "n"), 0);
	assert_int_equal(fsx_touch(x, other, ROOT, "n", &b), 0);
	assert_int_equal(fsx_unlink(x, m, ROOT, "n"), 0);
	assert_int_equal(fsx_lookup(x, other, ROOT, "n", NULL), -ENOENT);
	assert_int_equal(fsx_touch(x, m, ROOT, "n", NULL), 0);
	assert_int_equal(fsx_unlink(x, other, ROOT, "n"), 0);
	assert_int_equal(fsx_mkdir(x, other, ROOT, "n", 0755, NULL), 0);
	assert_int_equal(fsx_unlink(x, m, ROOT, "n"), -EISDIR);
	assert_int_equal(fsx_lookup(x, m, ROOT, "n", &b), 0);
	assert_int_equal(fsx_mkdir(x, other, b.ino, "sub", 0755, NULL), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "n"), -ENOTEMPTY);
	assert_int_equal(fsx_rmdir(x, other, b.ino, "sub"), 0);
	assert_int_equal(fsx_rmdir(x, other, ROOT, "n"), 0);
	/* a full directory was here, an empty one is now */
	assert_int_equal(fsx_mkdir(x, other, ROOT, "n", 0755, NULL), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "n"), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "n"), -ENOENT);
	/* a directory that got other attributes */
	assert_int_equal(fsx_mkdir(x, m, ROOT, "n", 0755, &b), 0);
	assert_int_equal(fsx_setattr(x, other, b.ino, FS_SET_MODE | FS_SET_GID,
				 &(struct fs_attr){.mode = 02770, .gid = 42}, NULL),
		0);
	assert_int_equal(fsx_touch(x, m, b.ino, "f", &a), 0);
	assert_int_equal(a.gid, 42);
	fsx_free(x);
}

/* What a guess names is full, and lies on another node that says so; what is there now is empty. */
static void test_names_a_stale_guess_is_not_an_answer(void **state)
{
	struct fsx *x = fsx_new(19, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	char name[32], moved[32];
	struct fs_attr a;

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		snprintf(moved, sizeof(moved), "moved%d", i);
		assert_int_equal(fsx_mkdir(x, m, ROOT, name, 0755, &a), 0);
		assert_int_equal(fsx_touch(x, other, a.ino, "f", NULL), 0);
		assert_int_equal(fsx_rename(x, other, ROOT, name, ROOT, moved, 0), 0);
		assert_int_equal(fsx_mkdir(x, other, ROOT, name, 0755, NULL), 0);
		assert_int_equal(fsx_rmdir(x, m, ROOT, name), 0);
	}
	fsx_free(x);
}

static void test_names_setgid_directories(void **state)
{
	struct fsx *x = fsx_new(12, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr d, a;

	(void)state;
	m->uid = 5;
	m->gid = 6;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_setattr(x, m, d.ino, FS_SET_MODE | FS_SET_GID,
				 &(struct fs_attr){.mode = 02775, .gid = 77}, NULL),
		0);
	assert_int_equal(fsx_touch(x, m, d.ino, "f", &a), 0);
	assert_int_equal(a.gid, 77);
	assert_int_equal(a.mode, S_IFREG | 0644);
	assert_int_equal(fsx_mkdir(x, m, d.ino, "e", 0700, &a), 0);
	assert_int_equal(a.gid, 77);
	assert_int_equal(a.mode, S_IFDIR | 02700);
	/* a new group of the directory counts from then on */
	assert_int_equal(
		fsx_setattr(x, m, d.ino, FS_SET_GID, &(struct fs_attr){.gid = 78}, NULL), 0);
	assert_int_equal(fsx_symlink(x, m, d.ino, "l", "t", &a), 0);
	assert_int_equal(a.gid, 78);
	fsx_free(x);
}

static void test_names_times_of_directories(void **state)
{
	struct fsx *x = fsx_new(13, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr d, f, a;
	int64_t future;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_touch(x, m, d.ino, "f", &f), 0);
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), 0);
	assert_true(a.mtime > d.mtime && a.ctime == a.mtime && a.atime == d.atime);
	d = a;
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_unlink(x, m, d.ino, "f"), 0);
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), 0);
	assert_true(a.mtime > d.mtime && a.ctime == a.mtime);
	/* times before 1970 and from the future are replaced by now all the same */
	assert_int_equal(fsx_setattr(x, m, d.ino, FS_SET_MTIME,
				 &(struct fs_attr){.mtime = -5 * INT64_C(1000000000)}, &a),
		0);
	assert_true(a.mtime == -5 * INT64_C(1000000000));
	assert_int_equal(fsx_touch(x, m, d.ino, "f", &f), 0);
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), 0);
	assert_true(a.mtime == f.ctime);
	future = a.mtime + 1000 * INT64_C(1000000000);
	assert_int_equal(
		fsx_setattr(x, m, d.ino, FS_SET_MTIME, &(struct fs_attr){.mtime = future}, NULL),
		0);
	assert_int_equal(fsx_unlink(x, m, d.ino, "f"), 0);
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), 0);
	assert_true(a.mtime < future);
	fsx_free(x);
}

static void test_names_files_of_a_large_directory_spread(void **state)
{
	struct fsx *x = fsx_new(14, nodes, 1);
	struct fsx_mount *m = x->m;
	struct orbit_id id = layout_inode_id(ROOT);
	struct fs_attr a;
	struct txn_build t;
	unsigned elsewhere = 0;
	char name[16];

	(void)state;
	txn_init(&t);
	txn_set(&t, &id, SLOT_CHILDREN, LAYOUT_SPREAD_AFTER);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &a), 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(fsx_touch(x, m, ROOT, name, &a), 0);
		elsewhere += a.ino >> 48 != ROOT >> 48;
		assert_int_equal(fsx_lookup(x, m, ROOT, name, NULL), 0);
		if (i & 1)
			assert_int_equal(fsx_unlink(x, m, ROOT, name), 0);
	}
	assert_in_range(elsewhere, 19, 20);
	fsx_free(x);
}

static void test_names_limits_of_links(void **state)
{
	struct fsx *x = fsx_new(15, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_attr f, d;
	struct orbit_id id;
	struct txn_build t;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &f), 0);
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	id = layout_inode_id(f.ino);
	txn_init(&t);
	txn_set(&t, &id, SLOT_NLINK, LAYOUT_LINK_MAX);
	id = layout_inode_id(d.ino);
	txn_set(&t, &id, SLOT_NLINK, LAYOUT_LINK_MAX);
	assert_int_equal(fsx_submit(x, &x->m[1], &t), 0);
	assert_int_equal(fsx_getattr(x, m, f.ino, &f), 0);
	assert_int_equal(fsx_getattr(x, m, d.ino, &d), 0);
	assert_int_equal(fsx_link(x, m, f.ino, ROOT, "g", NULL), -EMLINK);
	assert_int_equal(fsx_mkdir(x, m, d.ino, "e", 0755, NULL), -EMLINK);
	assert_int_equal(fsx_touch(x, m, d.ino, "e", NULL), 0);
	fsx_free(x);
}

static void test_names_read_only_mount(void **state)
{
	struct fsx *x = fsx_new(16, nodes, 1);
	struct fsx_mount *m = fsx_client(x, NULL);
	struct fs_attr f;

	(void)state;
	assert_int_equal(fsx_touch(x, x->m, ROOT, "f", &f), 0);
	m->cfg.read_only = true;
	assert_int_equal(fsx_mount(x, m), 0);
	assert_int_equal(fsx_touch(x, m, ROOT, "g", NULL), -EROFS);
	assert_int_equal(fsx_mkdir(x, m, ROOT, "g", 0755, NULL), -EROFS);
	assert_int_equal(fsx_symlink(x, m, ROOT, "g", "t", NULL), -EROFS);
	assert_int_equal(fsx_link(x, m, f.ino, ROOT, "g", NULL), -EROFS);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), -EROFS);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "f"), -EROFS);
	assert_int_equal(fsx_rename(x, m, ROOT, "f", ROOT, "g", 0), -EROFS);
	assert_int_equal(fsx_setattr(x, m, f.ino, FS_SET_MODE, &f, NULL), -EROFS);
	assert_int_equal(fsx_setxattr(x, m, f.ino, "user.a", "1", 1, 0), -EROFS);
	assert_int_equal(fsx_lookup(x, m, ROOT, "f", NULL), 0);
	fsx_free(x);
}

/* Several mounts make and remove the same names at once: each time exactly one of them does. */
static void test_names_races_have_one_winner(void **state)
{
	struct fsx *x = fsx_new(17, nodes, 4);
	struct fsx_wait w[4];
	struct fs_attr a;

	(void)state;
	for (int round = 0; round < 30; round++) {
		int made = 0, removed = 0;

		for (int i = 0; i < 4; i++) {
			fsx_call(&x->m[i], &w[i]);
			if (round % 3)
				fs_mkdir(x->m[i].fs, &w[i].call, ROOT, "n", 0755);
			else
				fs_mknod(x->m[i].fs, &w[i].call, ROOT, "n", S_IFREG | 0644, 0);
		}
		for (int i = 0; i < 4; i++) {
			int rc = fsx_wait(x, &w[i]);

			assert_true(rc == 0 || rc == -EEXIST);
			made += rc == 0;
		}
		assert_int_equal(made, 1);
		for (int i = 0; i < 4; i++) {
			fsx_call(&x->m[i], &w[i]);
			if (round % 3)
				fs_rmdir(x->m[i].fs, &w[i].call, ROOT, "n");
			else
				fs_unlink(x->m[i].fs, &w[i].call, ROOT, "n");
		}
		for (int i = 0; i < 4; i++) {
			int rc = fsx_wait(x, &w[i]);

			assert_true(rc == 0 || rc == -ENOENT);
			removed += rc == 0;
		}
		assert_int_equal(removed, 1);
	}
	assert_int_equal(fsx_getattr(x, x->m, ROOT, &a), 0);
	assert_int_equal(a.children, 0);
	assert_int_equal(a.nlink, 2);
	fsx_free(x);
}

/* What the design's table promises, for names that were looked up before. */
static void test_names_transactions_per_operation(void **state)
{
	struct fsx *x = fsx_new(18, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr d, f;
	struct fs_file *file;
	uint64_t n;

	(void)state;
	sim_run(x->c->s, 5 * ENV_SEC); /* the search for orphans is over */
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
#define COSTS(want, what)                                                                          \
	n = fsx_sent(m);                                                                           \
	assert_int_equal(what, 0);                                                                 \
	assert_int_equal(fsx_sent(m) - n, want)
	COSTS(1, fsx_touch(x, m, d.ino, "f", &f));
	COSTS(1, fsx_create(x, m, d.ino, "g", 0644, O_RDWR, &file, NULL));
	fs_release(m->fs, file);
	/* what we made ourselves is remembered, and what we saw */
	COSTS(0, fsx_lookup(x, m, d.ino, "f", NULL));
	COSTS(0, fsx_getattr(x, m, f.ino, NULL));
	COSTS(0, fsx_getattr(x, m, d.ino, NULL));
	COSTS(1, fsx_setattr(x, m, f.ino, FS_SET_MODE, &f, NULL));
	COSTS(1, fsx_mkdir(x, m, d.ino, "e", 0755, NULL));
	COSTS(1, fsx_link(x, m, f.ino, ROOT, "h", NULL));
	COSTS(1, fsx_symlink(x, m, d.ino, "l", "t", NULL));
	COSTS(1, fsx_rename(x, m, ROOT, "h", d.ino, "h", 0));
	COSTS(1, fsx_rename(x, m, d.ino, "e", d.ino, "e2", 0));
	COSTS(1, fsx_rename(x, m, d.ino, "h", d.ino, "l", 0));
	COSTS(1, fsx_unlink(x, m, d.ino, "l"));
	sim_run(x->c->s, 5 * ENV_SEC);
	COSTS(1, fsx_unlink(x, m, d.ino, "f"));
	sim_run(x->c->s, 5 * ENV_SEC);
	COSTS(1, fsx_rmdir(x, m, d.ino, "e2"));
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_of_an_empty_filesystem),
		cmocka_unit_test(test_names_created_file_is_found_with_the_same_attributes),
		cmocka_unit_test(test_names_create_of_what_is_there),
		cmocka_unit_test(test_names_that_are_none),
		cmocka_unit_test(test_names_mkdir_and_rmdir_count_links),
		cmocka_unit_test(test_names_nothing_is_made_in_a_removed_directory),
		cmocka_unit_test(test_names_parent_that_is_no_directory),
		cmocka_unit_test(test_names_special_files),
		cmocka_unit_test(test_names_symlinks),
		cmocka_unit_test(test_names_hard_links),
		cmocka_unit_test(test_names_stale_guesses_are_corrected),
		cmocka_unit_test(test_names_a_stale_guess_is_not_an_answer),
		cmocka_unit_test(test_names_setgid_directories),
		cmocka_unit_test(test_names_times_of_directories),
		cmocka_unit_test(test_names_files_of_a_large_directory_spread),
		cmocka_unit_test(test_names_limits_of_links),
		cmocka_unit_test(test_names_read_only_mount),
		cmocka_unit_test(test_names_races_have_one_winner),
		cmocka_unit_test(test_names_transactions_per_operation),
	};
	int rc = 0;

	for (nodes = 1; nodes <= 3; nodes += 2)
		rc |= cmocka_run_group_tests(tests, NULL, NULL);
	return rc;
}
