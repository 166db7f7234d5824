/* Access control lists: kept, inherited, and in step with the mode, on several mounts. */
#include <sys/xattr.h>

#include "fs/cache/inode.h"
#include "fs/ops/acl.h"
#include "tests/unit/test_fs_env.h"

/* A list in the kernel's form: "tag perm id" each. */
static size_t list(uint8_t *out, const unsigned (*e)[3], size_t n)
{
	memset(out, 0, 4 + 8 * n);
	out[0] = 2;
	for (size_t i = 0; i < n; i++) {
		uint8_t *p = out + 4 + 8 * i;

		p[0] = (uint8_t)e[i][0];
		p[2] = (uint8_t)e[i][1];
		for (int b = 0; b < 4; b++)
			p[4 + b] = (uint8_t)(e[i][2] >> 8 * b);
	}
	return 4 + 8 * n;
}

#define NONE 0xffffffffu
static const unsigned minimal[][3] = {{1, 6, NONE}, {4, 4, NONE}, {32, 0, NONE}};
static const unsigned full[][3] = {
	{1, 7, NONE}, {2, 6, 1000}, {4, 5, NONE}, {16, 7, NONE}, {32, 4, NONE}};

static int set(struct fsx *x, struct fsx_mount *m, uint64_t ino, const char *name,
	const unsigned (*e)[3], size_t n)
{
	uint8_t data[256];

	return fsx_setxattr(x, m, ino, name, data, list(data, e, n), 0);
}

/* What is there: the permissions of the entries as decimal digits, "" when there is none. */
static const char *perms(struct fsx *x, struct fsx_mount *m, uint64_t ino, const char *name)
{
	static char text[32];
	char data[256];
	size_t len = 0, n = 0;
	int rc = fsx_getxattr(x, m, ino, name, data, sizeof(data), &len);

	if (rc == 0) {
		for (size_t at = 4; at < len; at += 8)
			text[n++] = (char)('0' + data[at + 2]);
	} else {
		assert_int_equal(rc, -ENODATA);
	}
	text[n] = 0;
	return text;
}

static uint32_t mode_of(struct fsx *x, struct fsx_mount *m, uint64_t ino)
{
	struct fs_attr a;
	struct stat st;

	assert_int_equal(fsx_getattr(x, m, ino, &a), 0);
	layout_stat(&a, &st);
	return st.st_mode & 07777;
}

static void test_acl_and_mode_go_together(void **state)
{
	struct fsx *x = fsx_new(1, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr a, change = {.mode = 0620};

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	assert_int_equal(mode_of(x, other, a.ino), 0644);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, full, 5), 0);
	assert_int_equal(mode_of(x, other, a.ino), 0774);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_string_equal(perms(x, other, a.ino, ACL_ACCESS), "76574");
	/* a mount that has not heard of the list changes the mode: the mask goes along */
	assert_int_equal(fsx_setattr(x, other, a.ino, FS_SET_MODE, &change, &a), 0);
	assert_int_equal(a.mode & 07777, 0620);
	assert_string_equal(perms(x, m, a.ino, ACL_ACCESS), "66520");
	/* one that thinks of another list does not bring it back */
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, full, 5), 0);
	change.mode = 0600;
	assert_int_equal(fsx_setattr(x, other, a.ino, FS_SET_MODE, &change, &a), 0);
	assert_string_equal(perms(x, m, a.ino, ACL_ACCESS), "66500");
	/* no more than a mode: no list */
	assert_int_equal(set(x, other, a.ino, ACL_ACCESS, minimal, 3), 0);
	assert_int_equal(mode_of(x, m, a.ino), 0640);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_string_equal(perms(x, m, a.ino, ACL_ACCESS), "");
	assert_int_equal(fsx_removexattr(x, m, a.ino, ACL_ACCESS), -ENODATA);
	fsx_free(x);
}

static void test_acl_is_inherited(void **state)
{
	struct fsx *x = fsx_new(2, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_attr d, a;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	/* the other mount knows the directory without a list */
	assert_int_equal(fsx_touch(x, other, d.ino, "before", &a), 0);
	assert_int_equal(set(x, m, d.ino, ACL_DEFAULT, full, 5), 0);
	assert_int_equal(mode_of(x, other, d.ino), 0755);
	assert_int_equal(fsx_mknod(x, other, d.ino, "f", S_IFREG | 0666, 0, &a), 0);
	assert_int_equal(mode_of(x, m, a.ino), 0664);
	assert_string_equal(perms(x, m, a.ino, ACL_ACCESS), "66564");
	assert_string_equal(perms(x, m, a.ino, ACL_DEFAULT), "");
	assert_int_equal(fsx_mkdir(x, m, d.ino, "e", 0750, &a), 0);
	assert_int_equal(mode_of(x, other, a.ino), 0750);
	assert_string_equal(perms(x, other, a.ino, ACL_ACCESS), "76550");
	assert_string_equal(perms(x, other, a.ino, ACL_DEFAULT), "76574");
	/* another list, of which the first mount has not heard */
	assert_int_equal(set(x, other, d.ino, ACL_DEFAULT, minimal, 3), 0);
	assert_int_equal(fsx_mknod(x, m, d.ino, "g", S_IFREG | 0666, 0, &a), 0);
	assert_int_equal(mode_of(x, other, a.ino), 0640);
	assert_string_equal(perms(x, other, a.ino, ACL_ACCESS), "");
	assert_int_equal(fsx_removexattr(x, other, d.ino, ACL_DEFAULT), 0);
	assert_int_equal(fsx_mknod(x, m, d.ino, "h", S_IFREG | 0666, 0, &a), 0);
	assert_int_equal(mode_of(x, other, a.ino), 0666);
	fsx_free(x);
}

static void test_acl_umask_counts_only_without(void **state)
{
	struct fsx *x = fsx_new(3, 1, 1);
	struct fs_attr d;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(fsx_mkdir(x, x->m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(set(x, x->m, d.ino, ACL_DEFAULT, full, 5), 0);
	for (int i = 0; i < 2; i++) {
		fsx_call(x->m, &w);
		w.call.umask = 077;
		fs_mknod(x->m->fs, &w.call, i ? d.ino : ROOT, "f", S_IFREG | 0666, 0);
		assert_int_equal(fsx_wait(x, &w), 0);
		assert_int_equal(mode_of(x, x->m, w.call.attr.ino), i ? 0664 : 0600);
	}
	fsx_free(x);
}

static void test_acl_refuses_what_is_none(void **state)
{
	static const unsigned no_mask[][3] = {
		{1, 6, NONE}, {2, 6, 1000}, {4, 4, NONE}, {32, 0, NONE}};
	static const unsigned twice[][3] = {
		{1, 6, NONE}, {1, 6, NONE}, {4, 4, NONE}, {32, 0, NONE}};
	static const unsigned unsorted[][3] = {{4, 6, NONE}, {1, 6, NONE}, {32, 0, NONE}};
	static const unsigned tag[][3] = {{1, 6, NONE}, {4, 4, NONE}, {32, 0, NONE}, {64, 0, NONE}};
	static const unsigned bits[][3] = {{1, 8, NONE}, {4, 4, NONE}, {32, 0, NONE}};
	struct fsx *x = fsx_new(4, 1, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a, s;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, minimal, 2), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, no_mask, 4), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, twice, 4), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, unsorted, 3), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, tag, 4), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_ACCESS, bits, 3), -EINVAL);
	assert_int_equal(fsx_setxattr(x, m, a.ino, ACL_ACCESS, "\2\0\0", 3, 0), -EINVAL);
	assert_int_equal(fsx_setxattr(x, m, a.ino, ACL_ACCESS, "", 0, 0), -EINVAL);
	assert_int_equal(set(x, m, a.ino, ACL_DEFAULT, full, 5), -EACCES);
	assert_int_equal(mode_of(x, m, a.ino), 0644);
	assert_int_equal(fsx_symlink(x, m, ROOT, "s", "f", &s), 0);
	assert_int_equal(set(x, m, s.ino, ACL_ACCESS, full, 5), -EOPNOTSUPP);
	fsx_free(x);
}

static void kernel_drop(void *arg, struct inode_drop *d)
{
	*(unsigned *)arg += d->attr;
	inode_dropped(d);
}

/* The kernel keeps what it heard of lists for as long as it knows the file, however old its
 * attributes are: it has to be told that they changed. */
static void test_acl_the_kernel_forgets_it(void **state)
{
	struct fsx *x = fsx_new(5, 1, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	unsigned dropped = 0;
	struct fs_attr a;

	(void)state;
	fs_kernel(other->fs, kernel_drop, &dropped);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	/* with attributes, and without */
	for (unsigned i = 0; i < 2; i++) {
		if (!i)
			assert_int_equal(mode_of(x, other, a.ino), 0644);
		assert_string_equal(perms(x, other, a.ino, ACL_ACCESS), i ? "76574" : "");
		assert_string_equal(perms(x, other, a.ino, ACL_DEFAULT), "");
		sim_run(x->c->s, 2 * ENV_SEC);
		assert_int_equal(dropped, i);
		if (i)
			assert_int_equal(fsx_removexattr(x, m, a.ino, ACL_ACCESS), 0);
		else
			assert_int_equal(set(x, m, a.ino, ACL_ACCESS, full, 5), 0);
		assert_int_equal(dropped, i + 1);
		assert_string_equal(perms(x, other, a.ino, ACL_ACCESS), i ? "" : "76574");
	}
	fs_kernel(other->fs, NULL, NULL);
	fsx_free(x);
}

/* That there is none is known, whatever else is being changed: who works in a directory is asked
 * about its lists again and again. */
static void test_acl_none_is_known_while_others_change(void **state)
{
	static const char *const names[] = {ACL_ACCESS, ACL_DEFAULT, "security.capability"};
	struct fsx *x = fsx_new(6, 1, 1);
	struct fs_attr set_to = {.mtime = 1}, a;
	struct fsx_wait change, w;
	char caps[8];
	size_t len;

	(void)state;
	assert_int_equal(fsx_touch(x, x->m, ROOT, "f", &a), 0);
	assert_int_equal(mode_of(x, x->m, a.ino), 0644);
	assert_int_equal(fsx_getxattr(x, x->m, a.ino, names[2], caps, 8, &len), -ENODATA);
	fsx_call(x->m, &change);
	fs_setattr(x->m->fs, &change.call, a.ino, FS_SET_MTIME, &set_to);
	assert_false(change.done);
	for (unsigned i = 0; i < 3; i++) {
		fsx_call(x->m, &w);
		fs_getxattr(x->m->fs, &w.call, a.ino, names[i]);
		assert_true(w.done);
		assert_int_equal(w.rc, -ENODATA);
	}
	assert_int_equal(fsx_wait(x, &change), 0);
	/* but not what is to be set itself */
	assert_int_equal(set(x, x->m, a.ino, ACL_ACCESS, full, 5), 0);
	assert_string_equal(perms(x, x->m, a.ino, ACL_ACCESS), "76574");
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acl_and_mode_go_together),
		cmocka_unit_test(test_acl_is_inherited),
		cmocka_unit_test(test_acl_umask_counts_only_without),
		cmocka_unit_test(test_acl_refuses_what_is_none),
		cmocka_unit_test(test_acl_the_kernel_forgets_it),
		cmocka_unit_test(test_acl_none_is_known_while_others_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
