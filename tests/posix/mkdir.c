/* mkdir(2), mkdirat(2) */
#include "tests/posix/posix.h"

CASE(makes_an_empty_directory)
{
	ok(mkdir("d", 0755));
	check(S_ISDIR(st("d").st_mode));
	equal(mode("d"), 0755);
	equal(names_in("d"), 0);
	equal(st("d").st_nlink, 2);
	equal(st("d/.").st_ino, st("d").st_ino);
	equal(st("d/..").st_ino, st(".").st_ino);
}

CASE(links_of_the_parent)
{
	nlink_t before = st(".").st_nlink;

	equal(before, 2);
	ok(mkdir("a", 0755));
	ok(mkdir("b", 0755));
	file("f", "");
	equal(st(".").st_nlink, 4);
	ok(mkdir("a/c", 0755));
	equal(st(".").st_nlink, 4);
	equal(st("a").st_nlink, 3);
	ok(rmdir("b"));
	equal(st(".").st_nlink, 3);
}

CASE(umask_and_mode)
{
	umask(027);
	ok(mkdir("a", 0777));
	equal(mode("a"), 0750);
	umask(0);
	ok(mkdir("b", 0));
	equal(mode("b"), 0);
	ok(mkdir("c", 01777));
	equal(mode("c"), 01777);
	/* mkdir(2): only mode & 01777 */
	ok(mkdir("e", 06755));
	equal(mode("e"), 0755);
}

CASE(owner, ROOT)
{
	chmod_to(".", 0777);
	AS (ANN, BOB) {
		ok(mkdir("d", 0755));
	}
	equal(st("d").st_uid, ANN);
	equal(st("d").st_gid, BOB);
}

CASE(set_gid_is_inherited, ROOT)
{
	ok(mkdir("d", 0777));
	ok(chown("d", 0, CAT));
	chmod_to("d", 02777);
	AS (ANN, BOB) {
		ok(mkdir("d/e", 0755));
		ok(close(ok(creat("d/f", 0644))));
	}
	equal(st("d/e").st_gid, CAT);
	equal(mode("d/e"), 02755);
	equal(st("d/f").st_gid, CAT);
	equal(mode("d/f"), 0644);
}

CASE(refusals)
{
	char *n256 = name_of(256, 'd');

	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	ok(symlink("d", "sd"));
	expect(mkdir("f", 0755), EEXIST);
	expect(mkdir("d", 0755), EEXIST);
	expect(mkdir("s", 0755), EEXIST);
	expect(mkdir("sd", 0755), EEXIST);
	expect(mkdir("f/d", 0755), ENOTDIR);
	expect(mkdir("none/d", 0755), ENOENT);
	expect(mkdir("", 0755), ENOENT);
	expect(mkdir(".", 0755), EEXIST);
	expect(mkdir("..", 0755), EEXIST);
	expect(mkdir("/", 0755), EEXIST);
	expect(mkdir("d/.", 0755), EEXIST);
	expect(mkdir("none/.", 0755), ENOENT);
	expect(mkdir(n256, 0755), ENAMETOOLONG);
	expect(mkdir(nowhere(), 0755), EFAULT);
	ok(mkdir(n256 + 1, 0755));
}

CASE(trailing_slashes)
{
	ok(mkdir("d/", 0755));
	ok(mkdir("e///", 0755));
	ok(mkdir("d/e/", 0755));
	check(S_ISDIR(st("d/e").st_mode));
}

CASE(needs_write_and_search, ROOT)
{
	ok(mkdir("d", 0755));
	AS (ANN, ANN) {
		expect(mkdir("d/e", 0755), EACCES);
	}
	chmod_to("d", 0776);
	AS (ANN, ANN) {
		expect(mkdir("d/e", 0755), EACCES);
	}
	chmod_to("d", 0773);
	AS (ANN, ANN) {
		ok(mkdir("d/e", 0755));
		expect(mkdir("d/e", 0755), EEXIST);
	}
}

CASE(exists_comes_before_access, ROOT)
{
	ok(mkdir("d", 0755));
	ok(mkdir("d/e", 0755));
	AS (ANN, ANN) {
		expect(mkdir("d/e", 0755), EEXIST);
	}
}

CASE(times)
{
	struct timespec t;

	ok(mkdir("p", 0755));
	tick();
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	stamps("p", MTIM | CTIM, ok(mkdir("p/d", 0755)));
	check(cmp_time(st("p/d").st_mtim, t) >= 0);
	check(cmp_time(st("p/d").st_atim, t) >= 0);
	check(cmp_time(st("p/d").st_ctim, t) >= 0);
	stamps("p", 0, expect(mkdir("p/d", 0755), EEXIST));
}

CASE(relative_to_a_descriptor)
{
	int d, f;

	ok(mkdir("d", 0755));
	file("f", "");
	d = (int)ok(open("d", O_RDONLY));
	f = (int)ok(open("f", O_RDONLY));
	ok(mkdirat(d, "e", 0755));
	check(S_ISDIR(st("d/e").st_mode));
	expect(mkdirat(f, "e", 0755), ENOTDIR);
	expect(mkdirat(-1, "e", 0755), EBADF);
	ok(rmdir("d/e"));
	ok(rmdir("d"));
	expect(mkdirat(d, "e", 0755), ENOENT);
}

CASE(deep)
{
	enum { DEPTH = 200 };
	int at = (int)ok(open(".", O_RDONLY | O_DIRECTORY));

	for (int i = 0; i < DEPTH; i++) {
		int next;

		ok(mkdirat(at, "d", 0755));
		next = (int)ok(openat(at, "d", O_RDONLY | O_DIRECTORY));
		ok(close(at));
		at = next;
	}
	ok(mkdirat(at, "end", 0755));
	for (int i = 0; i < DEPTH; i++) {
		int up = (int)ok(openat(at, "..", O_RDONLY | O_DIRECTORY));

		ok(close(at));
		at = up;
	}
	equal(fst(at).st_ino, st(".").st_ino);
}

CASE(one_winner)
{
	enum { ROUNDS = 30 };
	pid_t pid[3];
	int won[2];

	ok(pipe(won));
	for (int p = 0; p < 3; p++) {
		pid[p] = beside();
		if (pid[p])
			continue;
		for (int i = 0; i < ROUNDS; i++) {
			char name[16];

			snprintf(name, sizeof(name), "d%d", i);
			if (!mkdir(name, 0755))
				ok(write(won[1], "w", 1));
			else
				equal(errno, EEXIST);
		}
		quit();
	}
	for (int p = 0; p < 3; p++)
		join(pid[p]);
	{
		char all[3 * ROUNDS];

		equal(ok(read(won[0], all, sizeof(all))), ROUNDS);
	}
	equal(st(".").st_nlink, 2 + ROUNDS);
}
