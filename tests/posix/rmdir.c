/* rmdir(2), unlinkat(2) with AT_REMOVEDIR */
#include "tests/posix/posix.h"

CASE(removes)
{
	ok(mkdir("d", 0755));
	ok(rmdir("d"));
	expect(access("d", F_OK), ENOENT);
	expect(rmdir("d"), ENOENT);
	ok(mkdir("d", 0755));
	ok(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	ok(mkdir("d", 0755));
	ok(rmdir("d/"));
	equal(names_in("."), 0);
	equal(st(".").st_nlink, 2);
}

CASE(only_empty_ones)
{
	ok(mkdir("d", 0755));
	file("d/f", "");
	ok(mkdir("e", 0755));
	ok(mkdir("e/e", 0755));
	ok(mkdir("s", 0755));
	ok(symlink("nowhere", "s/s"));
	expect(rmdir("d"), ENOTEMPTY);
	expect(rmdir("e"), ENOTEMPTY);
	expect(rmdir("s"), ENOTEMPTY);
	ok(unlink("d/f"));
	ok(rmdir("d"));
}

CASE(refusals)
{
	file("f", "");
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	ok(symlink("d", "s"));
	ok(mkfifo("p", 0644));
	expect(rmdir("f"), ENOTDIR);
	expect(rmdir("p"), ENOTDIR);
	expect(rmdir("s"), ENOTDIR);
	expect(rmdir("s/"), ENOTDIR);
	expect(rmdir("f/d"), ENOTDIR);
	expect(rmdir("none"), ENOENT);
	expect(rmdir("none/d"), ENOENT);
	expect(rmdir(""), ENOENT);
	expect(rmdir("."), EINVAL);
	expect(rmdir("d/e/."), EINVAL);
	expect(rmdir("d/.."), ENOTEMPTY);
	expect(rmdir("d/e/.."), ENOTEMPTY);
	expect(rmdir("/"), EBUSY);
	expect(rmdir(name_of(256, 'd')), ENAMETOOLONG);
	expect(rmdir(nowhere()), EFAULT);
	expect(unlinkat(AT_FDCWD, "f", AT_REMOVEDIR), ENOTDIR);
	expect(unlinkat(AT_FDCWD, "d/e", 0), EISDIR);
	expect(unlinkat(AT_FDCWD, "d/e", 0x4000), EINVAL);
}

CASE(needs_write_and_search_of_the_parent, ROOT)
{
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	ok(chown("d/e", ANN, ANN));
	AS (ANN, ANN) {
		expect(rmdir("d/e"), EACCES);
	}
	chmod_to("d", 0776);
	AS (ANN, ANN) {
		expect(rmdir("d/e"), EACCES);
	}
	chmod_to("d", 0773);
	AS (ANN, ANN) {
		ok(rmdir("d/e"));
	}
}

CASE(sticky, ROOT)
{
	ok(mkdir("t", 0777));
	chmod_to("t", 01777);
	for (int i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof(name), "t/d%d", i);
		ok(mkdir(name, 0777));
		ok(chown(name, BOB, BOB));
	}
	AS (ANN, ANN) {
		expect(rmdir("t/d0"), EPERM);
	}
	AS (BOB, ANN) {
		ok(rmdir("t/d0"));
	}
	ok(rmdir("t/d1"));
	ok(chown("t", ANN, ANN));
	AS (ANN, ANN) {
		ok(rmdir("t/d2"));
	}
}

CASE(times)
{
	ok(mkdir("p", 0755));
	ok(mkdir("p/d", 0755));
	ok(mkdir("p/e", 0755));
	file("p/e/f", "");
	stamps("p", 0, expect(rmdir("p/e"), ENOTEMPTY));
	stamps("p", MTIM | CTIM, ok(rmdir("p/d")));
}

CASE(open_directory_goes_on)
{
	char buf[4096];
	int d;

	ok(mkdir("d", 0755));
	d = (int)ok(open("d", O_RDONLY | O_DIRECTORY));
	ok(rmdir("d"));
	equal(fst(d).st_nlink, 0);
	check(S_ISDIR(fst(d).st_mode));
	expect(mkdirat(d, "e", 0755), ENOENT);
	expect(symlinkat("x", d, "s"), ENOENT);
	expect(faccessat(d, "none", F_OK, 0), ENOENT);
	(void)buf;
	ok(fchdir(d));
	expect(getcwd(buf, sizeof(buf)) ? 0 : -1, ENOENT);
	expect(open("f", O_CREAT | O_WRONLY, 0644), ENOENT);
	ok(chdir("/"));
}

CASE(lists_nothing_when_removed)
{
	ok(mkdir("d", 0755));
	{
		int d = (int)ok(open("d", O_RDONLY | O_DIRECTORY));
		char path[40];

		ok(rmdir("d"));
		pause_ms(50); /* what is removed in the background goes */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", d);
		equal(names_in(path), 0);
	}
}

CASE(mountpoints_are_busy, ROOT)
{
	expect(rmdir("/proc"), EBUSY);
}

CASE(name_can_be_used_again)
{
	for (int i = 0; i < 50; i++) {
		ok(mkdir("d", 0755));
		file("d/f", "");
		ok(unlink("d/f"));
		ok(rmdir("d"));
		file("d", "x");
		ok(unlink("d"));
	}
	equal(names_in("."), 0);
}
