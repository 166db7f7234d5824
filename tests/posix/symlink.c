/* symlink(2), symlinkat(2), readlink(2), readlinkat(2) */
#include "tests/posix/posix.h"

CASE(holds_what_it_was_told)
{
	static const char *const to[] = {
		"f", "/", "..", "no/such/thing", "/no/such", "with space\n", "./", "a//b"};
	char buf[100];

	for (size_t i = 0; i < COUNT(to); i++) {
		ssize_t n;

		ok(symlink(to[i], "s"));
		n = ok(readlink("s", buf, sizeof(buf) - 1));
		buf[n] = 0;
		same(buf, to[i]);
		check(S_ISLNK(st("s").st_mode));
		equal(mode("s"), 0777);
		equal(st("s").st_size, strlen(to[i]));
		equal(st("s").st_nlink, 1);
		ok(unlink("s"));
	}
}

CASE(lengths)
{
	char *to = name_of(4095, 't'), buf[5000];

	ok(symlink(to, "s"));
	equal(st("s").st_size, 4095);
	equal(ok(readlink("s", buf, sizeof(buf))), 4095);
	check(!memcmp(buf, to, 4095));
	to[1000] = 0;
	ok(symlink(to, "t"));
	equal(ok(readlink("t", buf, sizeof(buf))), 1000);
	expect(symlink(name_of(4096, 't'), "u"), ENAMETOOLONG);
	expect(symlink("", "u"), ENOENT);
}

CASE(readlink_cuts_silently)
{
	char buf[8] = "xxxxxxx";

	ok(symlink("abcdef", "s"));
	equal(ok(readlink("s", buf, 3)), 3);
	check(!memcmp(buf, "abcxxxx", 8));
	expect(readlink("s", buf, 0), EINVAL);
	expect(readlink("s", nowhere(), 5), EFAULT);
}

CASE(readlink_refusals)
{
	char buf[8];

	file("f", "");
	ok(mkdir("d", 0755));
	expect(readlink("f", buf, 8), EINVAL);
	expect(readlink("d", buf, 8), EINVAL);
	expect(readlink("none", buf, 8), ENOENT);
	expect(readlink("f/x", buf, 8), ENOTDIR);
	expect(readlink("", buf, 8), ENOENT);
	expect(readlink(name_of(256, 's'), buf, 8), ENAMETOOLONG);
}

CASE(refusals)
{
	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	expect(symlink("x", "f"), EEXIST);
	expect(symlink("x", "d"), EEXIST);
	expect(symlink("x", "s"), EEXIST);
	expect(symlink("x", "none/s"), ENOENT);
	expect(symlink("x", "f/s"), ENOTDIR);
	expect(symlink("x", ""), ENOENT);
	expect(symlink("x", "new/"), ENOENT);
	expect(symlink("x", name_of(256, 's')), ENAMETOOLONG);
	expect(symlink(nowhere(), "t"), EFAULT);
	expect(symlink("x", nowhere()), EFAULT);
}

CASE(permissions, ROOT)
{
	char buf[8];

	ok(mkdir("d", 0755));
	ok(symlink("x", "d/s"));
	AS (ANN, ANN) {
		expect(symlink("x", "d/t"), EACCES);
		equal(ok(readlink("d/s", buf, 8)), 1);
	}
	chmod_to("d", 0700);
	AS (ANN, ANN) {
		expect(readlink("d/s", buf, 8), EACCES);
	}
	chmod_to("d", 0777);
	AS (ANN, BOB) {
		ok(symlink("x", "d/t"));
	}
	equal(st("d/t").st_uid, ANN);
	equal(st("d/t").st_gid, BOB);
}

CASE(times)
{
	ok(mkdir("d", 0755));
	stamps("d", MTIM | CTIM, ok(symlink("x", "d/s")));
	stamps("d", 0, expect(symlink("x", "d/s"), EEXIST));
}

CASE(forty_are_followed)
{
	char name[8], to[8];

	file("s0", "x");
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		snprintf(to, sizeof(to), "s%d", i - 1);
		ok(symlink(to, name));
	}
	/* path_resolution(7): at most 40 */
	ok(close(ok(open("s40", O_RDONLY))));
	expect(open("s41", O_RDONLY), ELOOP);
}

CASE(within_a_path)
{
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	file("a/b/f", "x");
	file("f", "outer");
	ok(symlink("a/b", "s"));
	holds("s/f", "x");
	holds("s/../b/f", "x"); /* ".." is of where the link leads */
	expect(access("s/../f", F_OK), ENOENT);
	ok(symlink("../../f", "a/b/up"));
	holds("s/up", "outer");
	ok(symlink("f", "sf"));
	expect(access("sf/", F_OK), ENOTDIR);
	expect(open("sf/x", O_RDONLY), ENOTDIR);
}

CASE(attributes_of_the_link_itself)
{
	struct timespec t[2] = {{1000000000, 5}, {1100000000, 7}};

	file("f", "x");
	ok(symlink("f", "s"));
	ok(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
	equal(st("s").st_mtim.tv_sec, 1100000000);
	equal(st("s").st_mtim.tv_nsec, 7);
	check(st("f").st_mtim.tv_sec != 1100000000);
	expect(fchmodat(AT_FDCWD, "s", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
	equal(mode("s"), 0777);
	equal(mode("f"), 0644);
}

CASE(lchown_changes_the_link, ROOT)
{
	file("f", "x");
	ok(symlink("f", "s"));
	ok(lchown("s", ANN, BOB));
	equal(st("s").st_uid, ANN);
	equal(st("s").st_gid, BOB);
	equal(st("f").st_uid, 0);
	ok(chown("s", CAT, CAT));
	equal(st("s").st_uid, ANN);
	equal(st("f").st_uid, CAT);
}

CASE(replaced_link_is_seen_at_once)
{
	char buf[20];

	for (int i = 0; i < 30; i++) {
		char to[20];
		ssize_t n;

		snprintf(to, sizeof(to), "target%d", i);
		ok(symlink(to, "new"));
		ok(rename("new", "s"));
		n = ok(readlink("s", buf, sizeof(buf) - 1));
		buf[n] = 0;
		same(buf, to);
	}
	ok(unlink("s"));
	ok(symlink("other", "s"));
	equal(ok(readlink("s", buf, sizeof(buf))), 5);
	check(!memcmp(buf, "other", 5));
}

CASE(relative_to_a_descriptor)
{
	char buf[4];
	int d;

	ok(mkdir("d", 0755));
	d = (int)ok(open("d", O_RDONLY));
	ok(symlinkat("abc", d, "s"));
	equal(ok(readlinkat(d, "s", buf, 4)), 3);
	expect(readlinkat(d, "none", buf, 4), ENOENT);
	expect(readlinkat(-1, "s", buf, 4), EBADF);
	expect(symlinkat("abc", -1, "s"), EBADF);
	expect(readlinkat(d, "", buf, 4), ENOENT);
}
