/* open(2) with O_TMPFILE, and linkat(2) of what has no name. */
#include "tests/posix/posix.h"

static int temp(const char *dir, int flags, mode_t m)
{
	return open(dir, O_TMPFILE | flags, m);
}

CASE(works_without_a_name)
{
	char got[6] = "";
	int fd = (int)ok(temp(".", O_RDWR, 0600));

	equal(fst(fd).st_nlink, 0);
	check(S_ISREG(fst(fd).st_mode));
	equal(fst(fd).st_mode & 07777, 0600);
	equal(ok(write(fd, "hello", 5)), 5);
	equal(ok(pread(fd, got, 5, 0)), 5);
	same(got, "hello");
	equal(names_in("."), 0);
	ok(close(fd));
}

CASE(umask_and_owner)
{
	int fd;

	umask(027);
	fd = (int)ok(temp(".", O_WRONLY, 0666));
	equal(fst(fd).st_mode & 07777, 0640);
	equal(fst(fd).st_uid, geteuid());
	ok(close(fd));
}

CASE(gets_a_name_by_linkat)
{
	char path[40];
	int fd = (int)ok(temp(".", O_RDWR, 0644));

	equal(ok(write(fd, "x", 1)), 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ok(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW));
	equal(fst(fd).st_nlink, 1);
	equal(fst(fd).st_ino, st("f").st_ino);
	holds("f", "x");
	ok(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	equal(fst(fd).st_nlink, 2);
	expect(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), EEXIST);
	ok(close(fd));
	holds("g", "x");
}

CASE(gets_a_name_by_empty_path, ROOT)
{
	int fd = (int)ok(temp(".", O_RDWR, 0644));

	ok(linkat(fd, "", AT_FDCWD, "f", AT_EMPTY_PATH));
	equal(st("f").st_nlink, 1);
	ok(close(fd));
}

CASE(o_excl_forbids_a_name)
{
	char path[40];
	int fd = (int)ok(temp(".", O_RDWR | O_EXCL, 0644));

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect(linkat(AT_FDCWD, path, AT_FDCWD, "f", AT_SYMLINK_FOLLOW), ENOENT);
	ok(close(fd));
}

CASE(must_be_writable_and_a_directory)
{
	file("f", "x");
	expect(temp(".", O_RDONLY, 0644), EINVAL);
	expect(temp("f", O_RDWR, 0644), ENOTDIR);
	expect(temp("none", O_RDWR, 0644), ENOENT);
}

CASE(needs_the_right_to_write_there, ROOT)
{
	ok(mkdir("d", 0755));
	AS (ANN, ANN) {
		expect(temp("d", O_RDWR, 0644), EACCES);
	}
	chmod_to("d", 0777);
	AS (ANN, ANN) {
		int fd = (int)ok(temp("d", O_RDWR, 0644));

		equal(fst(fd).st_uid, ANN);
	}
}

CASE(group_of_a_set_gid_directory, ROOT)
{
	int fd;

	ok(mkdir("d", 0755));
	ok(chown("d", 0, CAT));
	chmod_to("d", 02755);
	fd = (int)ok(temp("d", O_RDWR, 0644));
	equal(fst(fd).st_gid, CAT);
	ok(close(fd));
}

CASE(directory_times_stay)
{
	ok(mkdir("d", 0755));
	stamps("d", 0, ok(close(ok(temp("d", O_RDWR, 0644)))));
	ok(rmdir("d"));
}
