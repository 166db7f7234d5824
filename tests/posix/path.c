/* path_resolution(7), chdir(2), getcwd(2), access(2) of odd paths */
#include "tests/posix/posix.h"

#include <sys/syscall.h>

CASE(dot_and_dotdot)
{
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	file("a/f", "x");
	holds("a/./f", "x");
	holds("a/b/../f", "x");
	holds("./a/.././a//b/..//f", "x");
	expect(access("a/f/..", F_OK), ENOTDIR);
	expect(access("a/f/.", F_OK), ENOTDIR);
	expect(access("none/..", F_OK), ENOENT);
	equal(st("a/b/../..").st_ino, st(".").st_ino);
}

CASE(trailing_slashes)
{
	struct stat s;

	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("d", "sd"));
	ok(symlink("f", "sf"));
	ok(symlink("nowhere", "sn"));
	expect(stat("f/", &s), ENOTDIR);
	ok(stat("d/", &s));
	ok(lstat("sd/", &s));
	check(S_ISDIR(s.st_mode)); /* a slash follows the link */
	expect(lstat("sf/", &s), ENOTDIR);
	expect(lstat("sn/", &s), ENOENT);
	expect(open("sn/", O_CREAT | O_WRONLY, 0644), EISDIR);
	expect(chmod("f/", 0600), ENOTDIR);
	expect(truncate("f/", 0), ENOTDIR);
	expect(access("f/", F_OK), ENOTDIR);
}

CASE(empty_path)
{
	struct stat s;

	expect(stat("", &s), ENOENT);
	expect(chdir(""), ENOENT);
	expect(access("", F_OK), ENOENT);
	expect(truncate("", 0), ENOENT);
	expect(chmod("", 0), ENOENT);
	expect(chown("", 0, 0), ENOENT);
}

CASE(long_paths)
{
	char path[PATH_MAX + 1];
	size_t n = 0;
	struct stat s;

	ok(mkdir("d", 0755));
	while (n + 5 <= PATH_MAX - 2) {
		memcpy(path + n, "d/../", 5);
		n += 5;
	}
	while (n < PATH_MAX - 1)
		path[n++] = '/';
	path[n] = 0;
	ok(stat(path, &s));
	path[n++] = '/';
	path[n] = 0;
	expect(stat(path, &s), ENAMETOOLONG);
}

CASE(getcwd_and_chdir)
{
	char top[PATH_MAX], here[PATH_MAX];

	check(getcwd(top, sizeof(top)) != NULL);
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	ok(symlink("a/b", "s"));
	ok(chdir("s"));
	check(getcwd(here, sizeof(here)) != NULL);
	check(!strncmp(here, top, strlen(top)));
	same(here + strlen(top), "/a/b");
	ok(chdir(".."));
	check(getcwd(here, sizeof(here)) != NULL);
	same(here + strlen(top), "/a");
	ok(rename("../a", "../c"));
	check(getcwd(here, sizeof(here)) != NULL);
	same(here + strlen(top), "/c");
	expect(syscall(SYS_getcwd, here, 2), ERANGE);
}

CASE(chdir_refusals, ROOT)
{
	int fd;

	file("f", "");
	ok(mkdir("d", 0700));
	ok(symlink("l", "l"));
	expect(chdir("f"), ENOTDIR);
	expect(chdir("none"), ENOENT);
	expect(chdir("l"), ELOOP);
	expect(chdir(name_of(256, 'c')), ENAMETOOLONG);
	fd = (int)ok(open("f", O_RDONLY));
	expect(fchdir(fd), ENOTDIR);
	expect(fchdir(-1), EBADF);
	AS (ANN, ANN) {
		expect(chdir("d"), EACCES);
	}
	fd = (int)ok(open("d", O_RDONLY));
	AS (ANN, ANN) {
		expect(fchdir(fd), EACCES);
	}
}

CASE(removed_working_directory)
{
	char here[PATH_MAX];
	struct stat s;

	ok(mkdir("d", 0755));
	ok(chdir("d"));
	ok(rmdir("../d"));
	pause_ms(50); /* what is removed in the background goes */
	expect(getcwd(here, sizeof(here)) ? 0 : -1, ENOENT);
	expect(open("f", O_CREAT | O_WRONLY, 0644), ENOENT);
	expect(mkdir("e", 0755), ENOENT);
	ok(stat(".", &s));
	equal(s.st_nlink, 0);
	equal(names_in("."), 0);
	expect(stat("none", &s), ENOENT);
	ok(chdir("/"));
}

CASE(search_permission_is_of_each_part, ROOT)
{
	struct stat s;

	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	ok(mkdir("a/b/c", 0755));
	file("a/b/c/f", "");
	chmod_to("a/b", 0766);
	AS (ANN, ANN) {
		expect(stat("a/b/c/f", &s), EACCES);
		expect(stat("a/b/c", &s), EACCES);
		expect(stat("a/b/none", &s), EACCES);
		ok(stat("a/b", &s));
		expect(stat("a/b/.", &s), EACCES);
		expect(stat("a/b/..", &s), EACCES);
	}
}

CASE(working_directory_stays_usable, ROOT)
{
	/* rights are asked of where one goes, not of where one has come from */
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	file("a/b/f", "x");
	ok(chdir("a/b"));
	chmod_to("..", 0);
	AS (ANN, ANN) {
		holds("f", "x");
		expect(access("../b", F_OK), EACCES);
	}
	chmod_to("..", 0755);
}

CASE(case_matters)
{
	file("a", "a");
	file("A", "A");
	holds("a", "a");
	equal(names_in("."), 2);
	/* and so do bytes: no two spellings are one name */
	file("\xc3\xa9", "1");
	file("e\xcc\x81", "2");
	holds("\xc3\xa9", "1");
}

CASE(openat2_resolve_flags)
{
	struct {
		uint64_t flags, mode, resolve;
	} how = {.flags = O_RDONLY};
	long fd;

	ok(mkdir("d", 0755));
	file("d/f", "x");
	file("g", "x");
	ok(symlink("../g", "d/s"));
	ok(chdir("d"));
	how.resolve = 0x08; /* RESOLVE_BENEATH */
	fd = syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how));
	if (fd < 0 && errno == ENOSYS) {
		differs("openat2(2) is of Linux 5.6");
		return;
	}
	ok(fd);
	expect(syscall(SYS_openat2, AT_FDCWD, "../g", &how, sizeof(how)), EXDEV);
	expect(syscall(SYS_openat2, AT_FDCWD, "s", &how, sizeof(how)), EXDEV);
	how.resolve = 0x04; /* RESOLVE_NO_SYMLINKS */
	expect(syscall(SYS_openat2, AT_FDCWD, "s", &how, sizeof(how)), ELOOP);
	how.resolve = 0x10; /* RESOLVE_IN_ROOT */
	ok(syscall(SYS_openat2, AT_FDCWD, "/f", &how, sizeof(how)));
	expect(syscall(SYS_openat2, AT_FDCWD, "s", &how, sizeof(how)), ENOENT);
	how.flags = 1ull << 40;
	expect(syscall(SYS_openat2, AT_FDCWD, "f", &how, sizeof(how)), EINVAL);
}
