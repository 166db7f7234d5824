/* link(2), linkat(2) */
#include "tests/posix/posix.h"

CASE(two_names_one_file)
{
	file("f", "abc");
	ok(link("f", "g"));
	equal(st("f").st_nlink, 2);
	equal(st("f").st_ino, st("g").st_ino);
	file("g", "xyz");
	holds("f", "xyz");
	ok(chmod("f", 0600));
	equal(mode("g"), 0600);
	ok(unlink("f"));
	equal(st("g").st_nlink, 1);
	holds("g", "xyz");
}

CASE(into_another_directory)
{
	ok(mkdir("d", 0755));
	ok(mkdir("e", 0755));
	file("d/f", "x");
	ok(link("d/f", "e/g"));
	equal(st("d/f").st_nlink, 2);
	ok(unlink("d/f"));
	ok(rmdir("d"));
	holds("e/g", "x");
}

CASE(of_special_files)
{
	ok(mkfifo("p", 0644));
	ok(link("p", "p2"));
	equal(st("p2").st_nlink, 2);
	check(S_ISFIFO(st("p2").st_mode));
}

CASE(of_symlinks)
{
	file("f", "x");
	ok(symlink("f", "s"));
	/* linkat(2): without AT_SYMLINK_FOLLOW the link itself */
	ok(link("s", "s2"));
	check(S_ISLNK(st("s2").st_mode));
	equal(st("s2").st_nlink, 2);
	ok(linkat(AT_FDCWD, "s", AT_FDCWD, "g", AT_SYMLINK_FOLLOW));
	equal(st("g").st_ino, st("f").st_ino);
	equal(st("f").st_nlink, 2);
	ok(symlink("nowhere", "n"));
	expect(linkat(AT_FDCWD, "n", AT_FDCWD, "h", AT_SYMLINK_FOLLOW), ENOENT);
	ok(link("n", "h"));
}

CASE(refusals)
{
	char *n256 = name_of(256, 'l');

	file("f", "");
	file("g", "");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	expect(link("f", "g"), EEXIST);
	expect(link("f", "f"), EEXIST);
	expect(link("f", "d"), EEXIST);
	expect(link("f", "s"), EEXIST);
	expect(link("d", "e"), EPERM);
	expect(link("none", "e"), ENOENT);
	expect(link("f", "none/e"), ENOENT);
	expect(link("", "e"), ENOENT);
	expect(link("f", ""), ENOENT);
	expect(link("f/x", "e"), ENOTDIR);
	expect(link("f", "g/x"), ENOTDIR);
	expect(link("f", "e/"), ENOENT);
	expect(link("f/", "e"), ENOTDIR);
	expect(link("f", n256), ENAMETOOLONG);
	expect(link(n256, "e"), ENAMETOOLONG);
	expect(link(nowhere(), "e"), EFAULT);
	expect(link("f", nowhere()), EFAULT);
	expect(linkat(AT_FDCWD, "f", AT_FDCWD, "e", 0x8000), EINVAL);
	expect(link("/proc/self/status", "e"), EXDEV);
	ok(link("f", n256 + 1));
	equal(st("f").st_nlink, 2);
}

CASE(permissions, ROOT)
{
	FILE *f = fopen("/proc/sys/fs/protected_hardlinks", "r");
	int level = 0;

	if (f) {
		check(fscanf(f, "%d", &level) == 1);
		fclose(f);
	}
	if (level < 1)
		differs("fs.protected_hardlinks is off on this machine");
	ok(mkdir("d", 0777));
	chmod_to("d", 0777);
	ok(mkdir("e", 0755));
	file("f", "x");
	AS (ANN, ANN) {
		int rc = link("f", "d/g"); /* not hers, and she may not write it */

		equal(rc ? errno : 0, level ? EPERM : 0);
	}
	ok(chown("f", ANN, ANN));
	AS (ANN, ANN) {
		ok(link("f", "d/h"));
		expect(link("f", "e/h"), EACCES);
	}
	chmod_to("d", 0700);
	AS (ANN, ANN) {
		expect(link("d/h", "x"), EACCES);
		expect(link("f", "d/i"), EACCES);
	}
}

CASE(times)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	stamps("f", CTIM, ok(link("f", "d/g")));
	stamps("d", MTIM | CTIM, ok(link("f", "d/h")));
	stamps("f", 0, expect(link("f", "d/h"), EEXIST));
	stamps("d", 0, expect(link("f", "d/h"), EEXIST));
}

CASE(of_a_file_without_names)
{
	char path[40];
	int fd;

	file("f", "x");
	fd = (int)ok(open("f", O_RDWR));
	ok(unlink("f"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect(linkat(AT_FDCWD, path, AT_FDCWD, "g", AT_SYMLINK_FOLLOW), ENOENT);
}

CASE(by_descriptor, ROOT)
{
	int fd, d;

	file("f", "x");
	ok(mkdir("d", 0755));
	fd = (int)ok(open("f", O_RDONLY));
	d = (int)ok(open("d", O_RDONLY));
	ok(linkat(fd, "", d, "g", AT_EMPTY_PATH));
	equal(st("d/g").st_ino, st("f").st_ino);
	ok(linkat(d, "g", AT_FDCWD, "h", 0));
	equal(st("f").st_nlink, 3);
	expect(linkat(fd, "x", d, "y", 0), ENOTDIR);
	expect(linkat(-1, "x", d, "y", 0), EBADF);
	expect(linkat(d, "g", -1, "y", 0), EBADF);
}

CASE(count_by_many_at_once)
{
	enum { PROCS = 4, EACH = 40 };
	pid_t pid[PROCS];

	file("f", "x");
	for (int p = 0; p < PROCS; p++) {
		pid[p] = beside();
		if (pid[p])
			continue;
		for (int i = 0; i < EACH; i++) {
			char name[24];

			snprintf(name, sizeof(name), "l%d.%d", p, i);
			ok(link("f", name));
			if (i % 2)
				ok(unlink(name));
		}
		quit();
	}
	for (int p = 0; p < PROCS; p++)
		join(pid[p]);
	equal(st("f").st_nlink, 1 + PROCS * EACH / 2);
	equal(names_in("."), 1 + PROCS * EACH / 2);
}

CASE(more_than_65000, SLOW)
{
	enum { N = 66000 };
	char name[24];
	int made = 1;

	file("f", "x");
	for (; made < N; made++) {
		snprintf(name, sizeof(name), "l%d", made);
		if (link("f", name)) {
			equal(errno, EMLINK);
			equal(made, 65000);
			check(on(EXT4));
			differs("ext4 has at most 65,000 links, and says so by EMLINK");
			break;
		}
	}
	equal(st("f").st_nlink, made);
	for (int i = 1; i < made; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		ok(unlink(name));
	}
	equal(st("f").st_nlink, 1);
	holds("f", "x");
}
