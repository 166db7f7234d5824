/* setxattr(2), getxattr(2), listxattr(2), removexattr(2) and their l and f forms */
#include "tests/posix/posix.h"

#include <sys/xattr.h>

static bool lists(const char *path, const char *name)
{
	char list[8192];
	ssize_t n = ok(llistxattr(path, list, sizeof(list)));

	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(list + i) + 1) {
		if (!strcmp(list + i, name))
			return true;
	}
	return false;
}

/* false where user.* is not kept at all */
static bool has_user(void)
{
	file("probe", "");
	if (!setxattr("probe", "user.p", "x", 1, 0))
		return true;
	equal(errno, EOPNOTSUPP);
	differs("xattr(7): user.* is for filesystems that keep it; tmpfs does only lately");
	return false;
}

CASE(set_get_list_remove)
{
	char got[10] = "";
	int fd;

	if (!has_user())
		return;
	file("f", "");
	fd = (int)ok(open("f", O_RDONLY));
	ok(setxattr("f", "user.a", "value", 5, 0));
	equal(ok(getxattr("f", "user.a", got, sizeof(got))), 5);
	same(got, "value");
	equal(ok(fgetxattr(fd, "user.a", got, sizeof(got))), 5);
	equal(ok(lgetxattr("f", "user.a", got, sizeof(got))), 5);
	check(lists("f", "user.a"));
	ok(fsetxattr(fd, "user.b", "", 0, 0));
	equal(ok(getxattr("f", "user.b", got, sizeof(got))), 0);
	ok(setxattr("f", "user.a", "v2", 2, 0));
	equal(ok(getxattr("f", "user.a", got, sizeof(got))), 2);
	ok(removexattr("f", "user.a"));
	expect(getxattr("f", "user.a", got, sizeof(got)), ENODATA);
	expect(removexattr("f", "user.a"), ENODATA);
	ok(fremovexattr(fd, "user.b"));
	check(!lists("f", "user.b"));
}

CASE(create_and_replace)
{
	if (!has_user())
		return;
	file("f", "");
	expect(setxattr("f", "user.a", "x", 1, XATTR_REPLACE), ENODATA);
	ok(setxattr("f", "user.a", "x", 1, XATTR_CREATE));
	expect(setxattr("f", "user.a", "y", 1, XATTR_CREATE), EEXIST);
	ok(setxattr("f", "user.a", "z", 1, XATTR_REPLACE));
	expect(setxattr("f", "user.a", "z", 1, 4), EINVAL);
}

CASE(sizes)
{
	char got[10];

	if (!has_user())
		return;
	file("f", "");
	ok(setxattr("f", "user.a", "value", 5, 0));
	equal(ok(getxattr("f", "user.a", NULL, 0)), 5);
	equal(ok(getxattr("f", "user.a", got, 5)), 5);
	expect(getxattr("f", "user.a", got, 4), ERANGE);
	check(ok(listxattr("f", NULL, 0)) >= 7);
	expect(listxattr("f", got, 3), ERANGE);
}

CASE(limits)
{
	static char value[65537], got[65536];
	char name[300];
	ssize_t n;

	if (!has_user())
		return;
	file("f", "");
	snprintf(name, sizeof(name), "user.%s", name_of(250, 'n'));
	ok(setxattr("f", name, "x", 1, 0)); /* 255 bytes in all */
	check(lists("f", name));
	snprintf(name, sizeof(name), "user.%s", name_of(251, 'n'));
	expect(setxattr("f", name, "x", 1, 0), ERANGE);
	expect(getxattr("f", name, got, 1), ERANGE);
	expect(setxattr("f", "user.big", value, 65537, 0), E2BIG);
	bytes(value, 65536, 1, 0);
	n = setxattr("f", "user.big", value, 65536, 0);
	if (n < 0) {
		check(errno == ENOSPC || errno == E2BIG);
		differs("xattr(7): ext4 keeps all values of a file in a block, or so");
		return;
	}
	equal(ok(getxattr("f", "user.big", got, 65536)), 65536);
	check(!memcmp(value, got, 65536));
}

CASE(many)
{
	char name[32], got[16];
	int n = 0;

	if (!has_user())
		return;
	file("f", "");
	for (; n < 500; n++) {
		snprintf(name, sizeof(name), "user.number%d", n);
		if (setxattr("f", name, name, strlen(name), 0)) {
			equal(errno, ENOSPC);
			differs("xattr(7): ext4 keeps all values of a file in a block, or so");
			break;
		}
	}
	check(n >= 30);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "user.number%d", i);
		equal(ok(getxattr("f", name, got, sizeof(got))), strlen(name));
		check(!memcmp(got, name, strlen(name)));
	}
}

CASE(bad_names)
{
	file("f", "");
	expect(setxattr("f", "", "x", 1, 0), ERANGE);
	expect(setxattr("f", "nonamespace", "x", 1, 0), EOPNOTSUPP);
	expect(setxattr("f", "none.such", "x", 1, 0), EOPNOTSUPP);
	expect(getxattr("f", "none.such", NULL, 0), EOPNOTSUPP);
	expect(setxattr("f", "user.", "x", 1, 0), EINVAL);
	expect(setxattr("f", "system.unknown", "x", 1, 0), EOPNOTSUPP);
}

CASE(refusals)
{
	char got[8];

	file("f", "");
	ok(symlink("l", "l"));
	expect(getxattr("none", "user.a", got, 8), ENOENT);
	expect(setxattr("none", "user.a", "x", 1, 0), ENOENT);
	expect(getxattr("f/x", "user.a", got, 8), ENOTDIR);
	expect(getxattr("l", "user.a", got, 8), ELOOP);
	expect(fgetxattr(-1, "user.a", got, 8), EBADF);
	expect(fsetxattr(-1, "user.a", "x", 1, 0), EBADF);
	expect(flistxattr(-1, got, 8), EBADF);
	expect(setxattr("f", nowhere(), "x", 1, 0), EFAULT);
	expect(setxattr("f", "user.a", nowhere(), 1, 0), EFAULT);
	expect(fgetxattr((int)ok(open("f", O_PATH)), "user.a", got, 8), EBADF);
}

CASE(user_is_for_files_and_directories)
{
	char got[4];

	if (!has_user())
		return;
	ok(mkdir("d", 0755));
	ok(mkfifo("p", 0644));
	ok(symlink("d", "s"));
	ok(setxattr("d", "user.a", "x", 1, 0));
	equal(ok(getxattr("s", "user.a", got, 4)), 1);
	/* xattr(7): only of regular files and directories */
	expect(setxattr("p", "user.a", "x", 1, 0), EPERM);
	expect(lsetxattr("s", "user.a", "x", 1, 0), EPERM);
	expect(getxattr("p", "user.a", got, 4), ENODATA);
	expect(lgetxattr("s", "user.a", got, 4), ENODATA);
}

CASE(user_follows_permissions, ROOT)
{
	char got[4];

	if (!has_user())
		return;
	file("f", "");
	ok(setxattr("f", "user.a", "x", 1, 0));
	chmod_to("f", 0604);
	AS (ANN, ANN) {
		equal(ok(getxattr("f", "user.a", got, 4)), 1);
		expect(setxattr("f", "user.a", "y", 1, 0), EACCES);
		expect(removexattr("f", "user.a"), EACCES);
	}
	chmod_to("f", 0602);
	AS (ANN, ANN) {
		expect(getxattr("f", "user.a", got, 4), EACCES);
		ok(setxattr("f", "user.a", "yy", 2, 0));
	}
	equal(ok(getxattr("f", "user.a", got, 4)), 2);
}

CASE(user_in_sticky_directories, ROOT)
{
	if (!has_user())
		return;
	ok(mkdir("t", 0777));
	chmod_to("t", 01777);
	AS (ANN, ANN) {
		expect(setxattr("t", "user.a", "x", 1, 0), EPERM);
	}
	ok(setxattr("t", "user.a", "x", 1, 0));
}

CASE(trusted_is_roots, ROOT)
{
	char got[4];

	file("f", "");
	chmod_to("f", 0666);
	ok(symlink("f", "s"));
	ok(mkfifo("p", 0644));
	ok(setxattr("f", "trusted.a", "x", 1, 0));
	ok(lsetxattr("s", "trusted.a", "x", 1, 0)); /* of any type */
	ok(setxattr("p", "trusted.a", "x", 1, 0));
	equal(ok(getxattr("f", "trusted.a", got, 4)), 1);
	check(lists("f", "trusted.a"));
	AS (ANN, ANN) {
		expect(setxattr("f", "trusted.a", "y", 1, 0), EPERM);
		expect(getxattr("f", "trusted.a", got, 4), ENODATA);
		check(!lists("f", "trusted.a"));
	}
}

CASE(security_is_read_by_all, ROOT)
{
	char got[4];

	file("f", "");
	ok(setxattr("f", "security.orbittest", "x", 1, 0));
	AS (ANN, ANN) {
		equal(ok(getxattr("f", "security.orbittest", got, 4)), 1);
		expect(setxattr("f", "security.orbittest", "y", 1, 0), EPERM);
	}
	ok(removexattr("f", "security.orbittest"));
}

CASE(times)
{
	if (!has_user())
		return;
	file("f", "");
	stamps("f", CTIM, ok(setxattr("f", "user.a", "x", 1, 0)));
	stamps("f", 0, check(getxattr("f", "user.a", NULL, 0) == 1));
	stamps("f", CTIM, ok(removexattr("f", "user.a")));
	stamps("f", 0, expect(removexattr("f", "user.a"), ENODATA));
}

CASE(stay_with_the_file)
{
	char got[4];

	if (!has_user())
		return;
	file("f", "x");
	ok(setxattr("f", "user.a", "x", 1, 0));
	ok(rename("f", "g"));
	ok(link("g", "h"));
	ok(truncate("h", 0));
	ok(chmod("h", 0600));
	equal(ok(getxattr("h", "user.a", got, 4)), 1);
	/* a new file has none */
	file("f", "");
	expect(getxattr("f", "user.a", got, 4), ENODATA);
	ok(rename("f", "h"));
	expect(getxattr("h", "user.a", got, 4), ENODATA);
}

CASE(of_open_files_without_names)
{
	char got[4];
	int fd;

	if (!has_user())
		return;
	file("f", "x");
	fd = (int)ok(open("f", O_RDWR));
	ok(unlink("f"));
	ok(fsetxattr(fd, "user.a", "x", 1, 0));
	equal(ok(fgetxattr(fd, "user.a", got, 4)), 1);
}

CASE(binary_values)
{
	char all[256], got[256];

	if (!has_user())
		return;
	for (int i = 0; i < 256; i++)
		all[i] = (char)i;
	file("f", "");
	ok(setxattr("f", "user.\xff\x01", all, 256, 0));
	equal(ok(getxattr("f", "user.\xff\x01", got, 256)), 256);
	check(!memcmp(all, got, 256));
}
