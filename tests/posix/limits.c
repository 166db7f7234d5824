/* how far things go: large offsets, sparse files, many of each */
#include "tests/posix/posix.h"

#include <sys/resource.h>

static void at_offsets(const off_t *at, size_t n)
{
	char got[5] = "";
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	for (size_t i = 0; i < n; i++) {
		equal(ok(pwrite(fd, "data", 4, at[i])), 4);
		equal(fst(fd).st_size, at[i] + 4);
		equal(ok(pread(fd, got, 4, at[i])), 4);
		same(got, "data");
		equal(ok(pread(fd, got, 4, at[i] - 100)), 4);
		check(!memcmp(got, "\0\0\0", 4));
	}
	check(fst(fd).st_blocks * 512 < 10 << 20);
	ok(ftruncate(fd, 100));
	equal(fst(fd).st_size, 100);
	ok(unlink("f"));
}

CASE(large_offsets)
{
	at_offsets((off_t[]){(1LL << 31) - 2, (1LL << 32) - 2, 1LL << 35}, 3);
	at_offsets((off_t[]){1LL << 40}, 1);
	at_offsets((off_t[]){(1LL << 43) - 8192}, 1);
}

CASE(large_offsets_far_apart, SLOW)
{
	at_offsets((off_t[]){(1LL << 31) - 2, 1LL << 40, (1LL << 43) - 8192}, 3);
}

CASE(too_large)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	expect(pwrite(fd, "x", 1, INT64_MAX), EINVAL);
	if (ftruncate(fd, INT64_MAX) < 0)
		equal(errno, EFBIG);
	else
		equal(fst(fd).st_size, INT64_MAX);
	ok(ftruncate(fd, 0));
}

CASE(write_up_to_the_largest_size)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	off_t max = 0;
	char c;

	for (int bit = 62; bit >= 0; bit--) {
		off_t size = max | (off_t)1 << bit;

		if (!ftruncate(fd, size))
			max = size;
		else
			equal(errno, EFBIG);
	}
	check(max >= (off_t)1 << 40);
	ok(ftruncate(fd, 0));
	equal(ok(pwrite(fd, "zz", 1, max - 1)), 1);
	equal(fst(fd).st_size, max);
	equal(ok(pread(fd, &c, 1, max - 1)), 1);
	equal(c, 'z');
	if (max < INT64_MAX)
		expect(pwrite(fd, "zz", 1, max), EFBIG);
	if (max < INT64_MAX)
		equal(ok(pwrite(fd, "zz", 2, max - 1)), 1); /* what fits */
	ok(ftruncate(fd, 0));
}

CASE(many_open_files)
{
	enum { N = 800 };
	static int fd[N];
	struct rlimit l;
	char name[16], c;

	ok(getrlimit(RLIMIT_NOFILE, &l));
	l.rlim_cur = l.rlim_max;
	ok(setrlimit(RLIMIT_NOFILE, &l));
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fd[i] = (int)ok(open(name, O_CREAT | O_RDWR, 0644));
		c = (char)i;
		ok(pwrite(fd[i], &c, 1, 0));
	}
	for (int i = 0; i < N; i++) {
		equal(ok(pread(fd[i], &c, 1, 0)), 1);
		equal(c, (char)i);
		ok(close(fd[i]));
	}
}

CASE(many_opens_of_one_file)
{
	enum { N = 500 };
	static int fd[N];

	file("f", "x");
	for (int i = 0; i < N; i++)
		fd[i] = (int)ok(open("f", O_RDONLY));
	ok(unlink("f"));
	for (int i = 0; i < N; i++) {
		char c;

		equal(ok(read(fd[i], &c, 1)), 1);
		ok(close(fd[i]));
	}
}

CASE(sparse_reads_are_zeros)
{
	char *got = malloc(1 << 20);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(ftruncate(fd, 1LL << 33));
	for (int i = 0; i < 8; i++) {
		memset(got, 1, 1 << 20);
		equal(ok(pread(fd, got, 1 << 20, (off_t)i << 30)), 1 << 20);
		check(!got[0] && !memcmp(got, got + 1, (1 << 20) - 1));
	}
}

CASE(create_and_remove_many)
{
	char name[16];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		file(name, name);
	}
	for (int i = 0; i < 500; i += 2) {
		snprintf(name, sizeof(name), "f%d", i);
		ok(unlink(name));
	}
	equal(names_in("."), 250);
	for (int i = 1; i < 500; i += 2) {
		snprintf(name, sizeof(name), "f%d", i);
		holds(name, name);
	}
}
