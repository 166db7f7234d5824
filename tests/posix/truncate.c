/* truncate(2), ftruncate(2) */
#include "tests/posix/posix.h"

static bool zeros(const char *p, size_t n)
{
	return n == 0 || (!p[0] && !memcmp(p, p + 1, n - 1));
}

CASE(shorter_and_longer)
{
	static const off_t sizes[] = {0, 1, 4095, 4096, 65535, 65536, 65537, 1048575, 1048576,
		1048577, 3000000, 2500000, 70000, 5};
	enum { LEN = 3000000 };
	static char want[LEN], got[LEN + 1];
	int fd;

	fill("f", LEN, 1);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		fill("f", LEN, (unsigned)i);
		bytes(want, LEN, (unsigned)i, 0);
		fd = (int)ok(open("f", O_RDWR));
		ok(ftruncate(fd, sizes[i]));
		equal(fst(fd).st_size, sizes[i]);
		equal(ok(pread(fd, got, LEN + 1, 0)), sizes[i]);
		check(!memcmp(got, want, (size_t)sizes[i]));
		ok(ftruncate(fd, LEN)); /* what comes is zero, not what was */
		equal(ok(pread(fd, got, LEN + 1, 0)), LEN);
		check(!memcmp(got, want, (size_t)sizes[i]));
		check(zeros(got + sizes[i], LEN - (size_t)sizes[i]));
		ok(close(fd));
	}
}

CASE(by_name)
{
	file("f", "abcdef");
	ok(truncate("f", 3));
	holds("f", "abc");
	ok(symlink("f", "s"));
	ok(truncate("s", 1));
	holds("f", "a");
	check(S_ISLNK(st("s").st_mode));
}

CASE(refusals)
{
	int fd, p[2];

	file("f", "abc");
	ok(mkdir("d", 0755));
	ok(mkfifo("p", 0644));
	ok(symlink("l", "l"));
	expect(truncate("d", 0), EISDIR);
	expect(truncate("none", 0), ENOENT);
	expect(truncate("f/x", 0), ENOTDIR);
	expect(truncate("l", 0), ELOOP);
	expect(truncate("f", -1), EINVAL);
	expect(truncate("p", 0), EINVAL);
	expect(truncate(name_of(256, 't'), 0), ENAMETOOLONG);
	expect(truncate(nowhere(), 0), EFAULT);
	expect(ftruncate(-1, 0), EBADF);
	fd = (int)ok(open("f", O_RDONLY));
	expect(ftruncate(fd, 0), EINVAL);
	fd = (int)ok(open("f", O_RDWR));
	expect(ftruncate(fd, -1), EINVAL);
	fd = (int)ok(open("d", O_RDONLY));
	expect(ftruncate(fd, 0), EINVAL);
	ok(pipe(p));
	expect(ftruncate(p[1], 0), EINVAL);
	holds("f", "abc");
}

CASE(rights, ROOT)
{
	file("f", "abc");
	chmod_to("f", 0644);
	AS (ANN, ANN) {
		expect(truncate("f", 0), EACCES);
	}
	chmod_to("f", 0666);
	AS (ANN, ANN) {
		int fd = (int)ok(open("f", O_RDWR));

		ok(truncate("f", 2));
		ok(ftruncate(fd, 1));
	}
	holds("f", "a");
}

CASE(descriptor_keeps_its_right)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0400));

	ok(write(fd, "abc", 3));
	ok(ftruncate(fd, 1)); /* though the mode would not allow it anew */
	equal(fst(fd).st_size, 1);
}

CASE(times)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	stamps("f", MTIM | CTIM, ok(ftruncate(fd, 1)));
	stamps("f", MTIM | CTIM, ok(ftruncate(fd, 100)));
	stamps("f", MTIM | CTIM, ok(truncate("f", 5)));
	/* the same size: truncate() and ftruncate() "shall mark for update" when the size changes;
	 * Linux does in any case */
	stamps("f", MTIM | CTIM, ok(ftruncate(fd, 5)));
	stamps("f", MTIM | CTIM, ok(truncate("f", 5)));
	stamps("f", 0, expect(truncate("f", -1), EINVAL));
}

CASE(offset_stays)
{
	int fd;

	file("f", "abcdef");
	fd = (int)ok(open("f", O_RDWR));
	ok(lseek(fd, 4, SEEK_SET));
	ok(ftruncate(fd, 2));
	equal(ok(lseek(fd, 0, SEEK_CUR)), 4);
	ok(write(fd, "X", 1));
	equal(fst(fd).st_size, 5);
	{
		char got[6];

		equal(ok(pread(fd, got, 6, 0)), 5);
		check(!memcmp(got, "ab\0\0X", 5));
	}
}

CASE(space_comes_back)
{
	fill("f", 4000000, 1);
	ok(fsync((int)ok(open("f", O_RDONLY))));
	check(st("f").st_blocks * 512 >= 4000000);
	ok(truncate("f", 1000000));
	check(st("f").st_blocks * 512 < 2100000);
	ok(truncate("f", 0));
	equal(st("f").st_blocks, 0);
}

CASE(unwritten_bytes_do_not_come_back)
{
	char got[8];
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	for (int i = 0; i < 20; i++) {
		ok(pwrite(fd, "secret", 6, 0));
		ok(ftruncate(fd, 2));
		ok(pwrite(fd, "!", 1, 7));
		equal(ok(pread(fd, got, 8, 0)), 8);
		check(!memcmp(got, "se\0\0\0\0\0!", 8));
	}
}

CASE(while_another_writes)
{
	enum { ROUNDS = 100 };
	pid_t pid;
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	pid = beside();
	for (int i = 0; i < ROUNDS; i++) {
		if (pid == 0)
			ok(pwrite(fd, "0123456789", 10, i % 7 * 20000));
		else
			ok(ftruncate(fd, i % 5 * 30000));
	}
	if (pid == 0)
		quit();
	join(pid);
	ok(ftruncate(fd, 0));
	equal(fst(fd).st_size, 0);
	ok(ftruncate(fd, 200000));
	{
		char *got = malloc(200000);

		equal(ok(pread(fd, got, 200000, 0)), 200000);
		check(zeros(got, 200000));
	}
}
