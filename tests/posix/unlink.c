/* unlink(2), unlinkat(2), and what lives on without a name */
#include "tests/posix/posix.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

CASE(of_all_types)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "sock"};
	int fd = (int)ok(socket(AF_UNIX, SOCK_STREAM, 0));

	file("f", "x");
	ok(symlink("f", "s"));
	ok(mkfifo("p", 0644));
	ok(bind(fd, (struct sockaddr *)&un, sizeof(un)));
	ok(unlink("s"));
	holds("f", "x");
	ok(unlink("p"));
	ok(unlink("sock"));
	ok(unlink("f"));
	expect(unlink("f"), ENOENT);
	equal(names_in("."), 0);
}

CASE(refusals)
{
	ok(mkdir("d", 0755));
	file("f", "");
	ok(symlink("d", "sd"));
	expect(unlink("d"), EISDIR);
	expect(unlink("d/"), EISDIR);
	expect(unlink("f/"), ENOTDIR);
	expect(unlink("sd/"), ENOTDIR);
	expect(unlink("f/x"), ENOTDIR);
	expect(unlink("none"), ENOENT);
	expect(unlink("none/x"), ENOENT);
	expect(unlink(""), ENOENT);
	expect(unlink("."), EISDIR);
	expect(unlink(".."), EISDIR);
	expect(unlink(name_of(256, 'u')), ENAMETOOLONG);
	expect(unlink(nowhere()), EFAULT);
	ok(unlink("sd"));
	check(S_ISDIR(st("d").st_mode));
}

CASE(permissions, ROOT)
{
	ok(mkdir("d", 0755));
	file("d/f", "");
	chmod_to("d/f", 0666);
	ok(chown("d/f", ANN, ANN));
	AS (ANN, ANN) {
		expect(unlink("d/f"), EACCES);
	}
	chmod_to("d", 0772);
	AS (ANN, ANN) {
		expect(unlink("d/f"), EACCES);
	}
	chmod_to("d", 0777);
	ok(chown("d/f", BOB, BOB));
	chmod_to("d/f", 0);
	AS (ANN, ANN) {
		ok(unlink("d/f"));
	}
}

CASE(sticky, ROOT)
{
	static const struct {
		uid_t dir, file, me;
		int err;
	} t[] = {
		{BOB, BOB, ANN, EPERM},
		{ANN, BOB, ANN, 0},
		{BOB, ANN, ANN, 0},
		{BOB, CAT, ANN, EPERM},
		{BOB, CAT, 0, 0},
	};

	ok(mkdir("t", 0777));
	for (size_t i = 0; i < COUNT(t); i++) {
		file("t/f", "");
		chmod_to("t/f", 0666);
		ok(chown("t/f", t[i].file, t[i].file));
		ok(chown("t", t[i].dir, t[i].dir));
		chmod_to("t", 01777);
		AS (t[i].me, t[i].me) {
			int rc = unlink("t/f");

			equal(rc ? errno : 0, t[i].err);
		}
		equal(access("t/f", F_OK) == 0, t[i].err != 0);
	}
}

CASE(times)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	ok(link("f", "d/g"));
	stamps("f", CTIM, stamps("d", MTIM | CTIM, ok(unlink("d/g"))));
	stamps("d", 0, expect(unlink("d/g"), ENOENT));
}

CASE(open_file_lives_on)
{
	char got[6] = "";
	struct stat s;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDWR));
	s = fst(fd);
	tick();
	ok(unlink("f"));
	equal(fst(fd).st_nlink, 0);
	equal(fst(fd).st_ino, s.st_ino);
	check(cmp_time(fst(fd).st_ctim, s.st_ctim) > 0);
	equal(ok(pread(fd, got, 5, 0)), 5);
	same(got, "hello");
	equal(ok(pwrite(fd, "J", 1, 0)), 1);
	ok(fchmod(fd, 0600));
	equal(fst(fd).st_mode & 07777, 0600);
	ok(ftruncate(fd, 3));
	equal(fst(fd).st_size, 3);
	ok(fsync(fd));
	expect(open("f", O_RDONLY), ENOENT);
	file("f", "new");
	check(st("f").st_ino != s.st_ino);
	equal(ok(pread(fd, got, 5, 0)), 3);
	check(!memcmp(got, "Jel", 3));
	ok(close(fd));
	holds("f", "new");
}

CASE(large_open_file_lives_on)
{
	enum { LEN = 3000000 };
	char *a = malloc(LEN), *b = malloc(LEN);
	char path[40];
	int fd, fd2;

	fill("f", LEN, 7);
	bytes(a, LEN, 7, 0);
	fd = (int)ok(open("f", O_RDWR));
	ok(unlink("f"));
	equal(ok(pread(fd, b, LEN, 0)), LEN);
	check(!memcmp(a, b, LEN));
	equal(ok(pwrite(fd, a, 100000, LEN)), 100000);
	/* opened again through /proc: the same file */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd2 = (int)ok(open(path, O_RDONLY));
	ok(close(fd));
	equal(fst(fd2).st_size, LEN + 100000);
	equal(ok(pread(fd2, b, LEN, 100000)), LEN);
	check(!memcmp(a + 100000, b, LEN - 100000) && !memcmp(a, b + LEN - 100000, 100000));
	ok(close(fd2));
}

CASE(mapped_file_lives_on)
{
	char *p;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDWR));
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ok(p);
	ok(close(fd));
	ok(unlink("f"));
	check(!memcmp(p, "hello", 5));
	p[0] = 'J';
	ok(msync(p, 4096, MS_SYNC));
	check(!memcmp(p, "Jello", 5));
	ok(munmap(p, 4096));
}

CASE(inherited_by_children)
{
	char got[3] = "";
	pid_t pid;
	int fd, pair[2];

	meeting(pair);
	file("f", "ab");
	fd = (int)ok(open("f", O_RDONLY));
	pid = beside();
	if (pid == 0) {
		meet(pair, true);
		equal(ok(pread(fd, got, 2, 0)), 2);
		same(got, "ab");
		quit();
	}
	ok(unlink("f"));
	ok(close(fd));
	meet(pair, false);
	join(pid);
}

CASE(one_winner)
{
	enum { ROUNDS = 30 };
	pid_t pid[3];
	char all[3 * ROUNDS];
	int won[2];

	for (int i = 0; i < ROUNDS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		file(name, "");
	}
	ok(pipe(won));
	for (int p = 0; p < 3; p++) {
		pid[p] = beside();
		if (pid[p])
			continue;
		for (int i = 0; i < ROUNDS; i++) {
			char name[16];

			snprintf(name, sizeof(name), "f%d", i);
			if (!unlink(name))
				ok(write(won[1], "w", 1));
			else
				equal(errno, ENOENT);
		}
		quit();
	}
	for (int p = 0; p < 3; p++)
		join(pid[p]);
	equal(ok(read(won[0], all, sizeof(all))), ROUNDS);
	equal(names_in("."), 0);
}
