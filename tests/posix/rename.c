/* rename(2), renameat(2), renameat2(2) */
#include "tests/posix/posix.h"

#include <linux/fs.h>

CASE(new_name_same_file)
{
	ino_t ino;

	file("f", "x");
	ino = st("f").st_ino;
	ok(rename("f", "g"));
	expect(access("f", F_OK), ENOENT);
	equal(st("g").st_ino, ino);
	equal(st("g").st_nlink, 1);
	holds("g", "x");
	ok(mkdir("d", 0755));
	ok(rename("g", "d/h"));
	holds("d/h", "x");
	equal(names_in("."), 1);
}

CASE(replaces)
{
	int fd;

	file("f", "new");
	file("g", "old");
	ok(link("g", "g2"));
	fd = (int)ok(open("g", O_RDONLY));
	ok(rename("f", "g"));
	holds("g", "new");
	holds("g2", "old");
	equal(st("g2").st_nlink, 1);
	equal(fst(fd).st_nlink, 1);
	equal(names_in("."), 2);
}

CASE(replaces_any_but_directories)
{
	file("f", "x");
	ok(symlink("nowhere", "s"));
	ok(mkfifo("p", 0644));
	ok(rename("f", "s"));
	holds("s", "x");
	ok(rename("s", "p"));
	holds("p", "x");
	ok(symlink("p", "s"));
	ok(rename("s", "p")); /* links are not followed */
	check(S_ISLNK(st("p").st_mode));
}

CASE(two_names_of_one_file)
{
	file("f", "x");
	ok(link("f", "g"));
	/* "if oldpath and newpath are existing hard links to the same file, rename does nothing" */
	ok(rename("f", "g"));
	equal(names_in("."), 2);
	equal(st("f").st_nlink, 2);
	ok(rename("f", "f"));
	holds("f", "x");
	ok(mkdir("d", 0755));
	ok(rename("d", "d"));
	ok(link("f", "d/f"));
	ok(rename("f", "d/f"));
	equal(st("f").st_nlink, 3);
}

CASE(directories)
{
	ino_t ino;

	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	ok(mkdir("a/d", 0755));
	file("a/d/f", "x");
	ino = st("a/d").st_ino;
	ok(rename("a/d", "b/e"));
	equal(st("b/e").st_ino, ino);
	holds("b/e/f", "x");
	equal(st("b/e/..").st_ino, st("b").st_ino);
	equal(st("a").st_nlink, 2);
	equal(st("b").st_nlink, 3);
	ok(rename("b/e", "b/f"));
	equal(st("b").st_nlink, 3);
	ok(rename("b", "c/"));
	holds("c/f/f", "x");
}

CASE(directory_over_an_empty_one)
{
	ok(mkdir("a", 0755));
	file("a/f", "x");
	ok(mkdir("b", 0755));
	ok(rename("a", "b"));
	holds("b/f", "x");
	equal(st(".").st_nlink, 3);
	ok(mkdir("a", 0755));
	expect(rename("a", "b"), ENOTEMPTY);
	ok(mkdir("c", 0755));
	ok(mkdir("c/c", 0755));
	expect(rename("a", "c"), ENOTEMPTY);
	equal(st(".").st_nlink, 5);
}

CASE(types_do_not_mix)
{
	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("d", "s"));
	expect(rename("f", "d"), EISDIR);
	expect(rename("d", "f"), ENOTDIR);
	expect(rename("s", "d"), EISDIR);
	expect(rename("d", "s"), ENOTDIR);
	expect(rename("f", "d/"), ENOTDIR);
	expect(rename("f/", "g"), ENOTDIR);
	expect(rename("f", "g/"), ENOTDIR);
}

CASE(not_into_itself)
{
	ok(mkdir("a", 0755));
	ok(mkdir("a/b", 0755));
	ok(mkdir("a/b/c", 0755));
	expect(rename("a", "a/x"), EINVAL);
	expect(rename("a", "a/b"), EINVAL);
	expect(rename("a", "a/b/c/x"), EINVAL);
	expect(rename("a/b", "a"), ENOTEMPTY);
	expect(rename("a/b/c", "a"), ENOTEMPTY);
}

CASE(refusals)
{
	char *n256 = name_of(256, 'r');

	file("f", "");
	ok(mkdir("d", 0755));
	expect(rename("none", "g"), ENOENT);
	expect(rename("f", "none/g"), ENOENT);
	expect(rename("none/f", "g"), ENOENT);
	expect(rename("", "g"), ENOENT);
	expect(rename("f", ""), ENOENT);
	expect(rename("f/x", "g"), ENOTDIR);
	expect(rename("f", "f/x"), ENOTDIR);
	expect(rename("f", n256), ENAMETOOLONG);
	expect(rename(n256, "g"), ENAMETOOLONG);
	expect(rename(nowhere(), "g"), EFAULT);
	expect(rename("f", nowhere()), EFAULT);
	expect(rename(".", "g"), EBUSY);
	expect(rename("d/.", "g"), EBUSY);
	expect(rename("d/..", "g"), EBUSY);
	expect(rename("f", "."), EBUSY);
	expect(rename("d", "d/."), EBUSY);
	expect(rename("d", "d/.."), EBUSY);
	expect(rename("/proc/self/status", "g"), EXDEV);
	ok(rename("f", n256 + 1));
}

CASE(permissions, ROOT)
{
	ok(mkdir("a", 0755));
	ok(mkdir("b", 0777));
	chmod_to("b", 0777);
	file("a/f", "");
	file("b/g", "");
	AS (ANN, ANN) {
		expect(rename("a/f", "b/f"), EACCES);
		expect(rename("b/g", "a/g"), EACCES);
		ok(rename("b/g", "b/h"));
	}
	chmod_to("a", 0772);
	AS (ANN, ANN) {
		expect(rename("a/f", "b/f"), EACCES);
	}
	chmod_to("a", 0777);
	AS (ANN, ANN) {
		ok(rename("a/f", "b/f"));
		ok(rename("b/f", "b/h")); /* replaces what is not hers */
	}
}

CASE(another_parent_needs_the_right_to_the_directory, ROOT)
{
	ok(mkdir("a", 0777));
	ok(mkdir("b", 0777));
	chmod_to("a", 0777);
	chmod_to("b", 0777);
	ok(mkdir("a/d", 0755));
	/* its ".." changes: EACCES, "oldpath is a directory and does not allow write permission" */
	AS (ANN, ANN) {
		expect(rename("a/d", "b/d"), EACCES);
		ok(rename("a/d", "a/e"));
	}
	chmod_to("a/e", 0777);
	AS (ANN, ANN) {
		ok(rename("a/e", "b/d"));
	}
}

CASE(sticky, ROOT)
{
	ok(mkdir("t", 0777));
	chmod_to("t", 01777);
	ok(mkdir("o", 0777));
	chmod_to("o", 0777);
	file("t/bobs", "");
	ok(chown("t/bobs", BOB, BOB));
	file("t/anns", "");
	ok(chown("t/anns", ANN, ANN));
	file("o/f", "");
	AS (ANN, ANN) {
		expect(rename("t/bobs", "t/x"), EPERM);
		expect(rename("t/bobs", "o/x"), EPERM);
		expect(rename("o/f", "t/bobs"), EPERM);
		expect(rename("t/anns", "t/bobs"), EPERM);
		ok(rename("o/f", "t/anns"));
	}
	equal(names_in("t"), 2);
}

CASE(times)
{
	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	file("a/f", "x");
	stamps("a", MTIM | CTIM, stamps("b", MTIM | CTIM, ok(rename("a/f", "b/f"))));
	stamps("b", MTIM | CTIM, ok(rename("b/f", "b/g")));
	stamps("b", 0, expect(rename("b/none", "b/x"), ENOENT));
	stamps("b/g", CTIM, {
		ok(rename("b/g", "b/g2"));
		ok(rename("b/g2", "b/g"));
	});
	file("b/v", "");
	ok(link("b/v", "v"));
	stamps("v", CTIM, ok(rename("b/g", "b/v"))); /* loses a link */
}

CASE(noreplace)
{
	file("f", "f");
	file("g", "g");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_NOREPLACE), EEXIST);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_NOREPLACE), EEXIST);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "s", RENAME_NOREPLACE), EEXIST);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_NOREPLACE), EEXIST);
	expect(renameat2(AT_FDCWD, "none", AT_FDCWD, "g", RENAME_NOREPLACE), ENOENT);
	ok(renameat2(AT_FDCWD, "f", AT_FDCWD, "d/h", RENAME_NOREPLACE));
	ok(renameat2(AT_FDCWD, "d", AT_FDCWD, "e", RENAME_NOREPLACE));
	holds("e/h", "f");
	holds("g", "g");
}

CASE(exchange)
{
	file("f", "f");
	ok(mkdir("d", 0755));
	ok(mkdir("d/sub", 0755));
	file("d/x", "x");
	ok(renameat2(AT_FDCWD, "f", AT_FDCWD, "d", RENAME_EXCHANGE));
	holds("d", "f");
	holds("f/x", "x");
	equal(st(".").st_nlink, 3);
	ok(renameat2(AT_FDCWD, "d", AT_FDCWD, "f/x", RENAME_EXCHANGE));
	holds("d", "x");
	holds("f/x", "f");
	/* of a directory and what is within another one */
	ok(mkdir("e", 0755));
	ok(renameat2(AT_FDCWD, "e", AT_FDCWD, "f/x", RENAME_EXCHANGE));
	check(S_ISDIR(st("f/x").st_mode));
	equal(st("f").st_nlink, 4);
	equal(st(".").st_nlink, 3);
	equal(st("f/x/..").st_ino, st("f").st_ino);
	holds("e", "f");
	expect(renameat2(AT_FDCWD, "e", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "f/sub", RENAME_EXCHANGE), EINVAL);
	expect(renameat2(AT_FDCWD, "f/sub", AT_FDCWD, "f", RENAME_EXCHANGE), EINVAL);
	ok(renameat2(AT_FDCWD, "e", AT_FDCWD, "e", RENAME_EXCHANGE));
}

CASE(exchange_needs_sticky_rights, ROOT)
{
	ok(mkdir("t", 0777));
	chmod_to("t", 01777);
	file("t/a", "a");
	ok(chown("t/a", ANN, ANN));
	file("t/b", "b");
	ok(chown("t/b", BOB, BOB));
	AS (ANN, ANN) {
		expect(renameat2(AT_FDCWD, "t/a", AT_FDCWD, "t/b", RENAME_EXCHANGE), EPERM);
	}
	holds("t/a", "a");
}

CASE(exchange_times)
{
	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	file("a/f", "f");
	file("b/g", "g");
	stamps("a", MTIM | CTIM,
		stamps("b", MTIM | CTIM,
			ok(renameat2(AT_FDCWD, "a/f", AT_FDCWD, "b/g", RENAME_EXCHANGE))));
	holds("a/f", "g");
}

CASE(whiteout, ROOT)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	file("g", "y");
	ok(renameat2(AT_FDCWD, "f", AT_FDCWD, "d/f", RENAME_WHITEOUT));
	holds("d/f", "x");
	check(S_ISCHR(st("f").st_mode));
	equal(st("f").st_rdev, makedev(0, 0));
	ok(renameat2(AT_FDCWD, "d/f", AT_FDCWD, "g", RENAME_WHITEOUT));
	holds("g", "x");
	check(S_ISCHR(st("d/f").st_mode));
	expect(renameat2(AT_FDCWD, "g", AT_FDCWD, "f", RENAME_WHITEOUT | RENAME_NOREPLACE), EEXIST);
	ok(unlink("f"));
	ok(renameat2(AT_FDCWD, "g", AT_FDCWD, "f", RENAME_WHITEOUT | RENAME_NOREPLACE));
	holds("f", "x");
	check(S_ISCHR(st("g").st_mode));
}

CASE(bad_flags)
{
	file("f", "");
	file("g", "");
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE | RENAME_WHITEOUT), EINVAL);
	expect(renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 0x80), EINVAL);
}

CASE(relative_to_descriptors)
{
	int a, b;

	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	file("a/f", "x");
	a = (int)ok(open("a", O_RDONLY));
	b = (int)ok(open("b", O_RDONLY));
	ok(renameat(a, "f", b, "g"));
	holds("b/g", "x");
	expect(renameat(a, "f", b, "g"), ENOENT);
	expect(renameat(-1, "f", b, "g"), EBADF);
	expect(renameat(b, "g", -1, "g"), EBADF);
	ok(rmdir("a"));
	expect(renameat(b, "g", a, "g"), ENOENT);
}

CASE(open_file_goes_along)
{
	char got[4] = "";
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	ok(mkdir("d", 0755));
	ok(rename("f", "d/g"));
	equal(ok(write(fd, "X", 1)), 1);
	ok(close(fd));
	fd = (int)ok(open("d/g", O_RDONLY));
	equal(ok(read(fd, got, 3)), 3);
	same(got, "Xbc");
}

CASE(replaced_open_file_lives_on)
{
	char got[4] = "";
	int fd;

	file("f", "new");
	file("g", "old");
	fd = (int)ok(open("g", O_RDWR));
	ok(rename("f", "g"));
	equal(fst(fd).st_nlink, 0);
	equal(ok(pread(fd, got, 3, 0)), 3);
	same(got, "old");
	equal(ok(pwrite(fd, "xxxx", 4, 0)), 4);
	holds("g", "new");
}

CASE(replaced_open_directory_is_empty_and_dead)
{
	int d;

	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	d = (int)ok(open("b", O_RDONLY));
	ok(rename("a", "b"));
	equal(fst(d).st_nlink, 0);
	expect(openat(d, "f", O_CREAT | O_WRONLY, 0644), ENOENT);
}

CASE(a_name_is_always_there)
{
	enum { ROUNDS = 200 };
	pid_t pid;

	file("f", "old");
	pid = beside();
	if (pid == 0) {
		for (int i = 0; i < ROUNDS; i++) {
			file("new", i % 2 ? "odd" : "even");
			ok(rename("new", "f"));
		}
		quit();
	}
	for (int i = 0; i < ROUNDS; i++) {
		char got[8] = "";
		int fd = (int)ok(open("f", O_RDONLY));

		ok(read(fd, got, 7));
		check(!strcmp(got, "old") || !strcmp(got, "odd") || !strcmp(got, "even"));
		ok(close(fd));
	}
	join(pid);
}

CASE(no_circle_from_two_sides)
{
	enum { ROUNDS = 100 };
	pid_t pid;

	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	pid = beside();
	for (int i = 0; i < ROUNDS; i++) {
		if (pid == 0) {
			if (!rename("a", "b/a"))
				ok(rename("b/a", "a"));
			else
				check(errno == EINVAL || errno == ENOENT || errno == ENOTEMPTY);
		} else {
			if (!rename("b", "a/b"))
				ok(rename("a/b", "b"));
			else
				check(errno == EINVAL || errno == ENOENT || errno == ENOTEMPTY);
		}
	}
	if (pid == 0)
		quit();
	join(pid);
	ok(rmdir("a"));
	ok(rmdir("b"));
}

CASE(names_of_255_bytes)
{
	char *a = name_of(255, 'a'), *b = name_of(255, 'b');

	file(a, "x");
	ok(rename(a, b));
	holds(b, "x");
	file(a, "y");
	ok(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE));
	holds(a, "x");
	holds(b, "y");
}

CASE(in_a_chain)
{
	char from[16], to[16];

	file("f0", "x");
	for (int i = 0; i < 200; i++) {
		snprintf(from, sizeof(from), "f%d", i);
		snprintf(to, sizeof(to), "f%d", i + 1);
		ok(rename(from, to));
	}
	equal(names_in("."), 1);
	holds("f200", "x");
}
