/* mmap(2), msync(2), munmap(2) of files */
#include "tests/posix/posix.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static char *map(int fd, size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	ok(p);
	return p;
}

CASE(shared_is_the_file)
{
	char got[6] = "";
	char *p;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	check(!memcmp(p, "hello", 6)); /* zeros after the end */
	p[0] = 'J';
	equal(ok(pread(fd, got, 5, 0)), 5);
	same(got, "Jello");
	equal(ok(pwrite(fd, "y", 1, 4)), 1);
	check(!memcmp(p, "Jelly", 5));
	ok(munmap(p, 4096));
	ok(close(fd));
	holds("f", "Jelly");
}

CASE(two_mappings_agree)
{
	char *a, *b;
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(ftruncate(fd, 300000));
	a = map(fd, 300000, PROT_READ | PROT_WRITE, MAP_SHARED);
	b = map((int)ok(open("f", O_RDONLY)), 300000, PROT_READ, MAP_SHARED);
	for (int i = 0; i < 300000; i += 9999) {
		a[i] = (char)(i % 251);
		equal((unsigned char)b[i], i % 251);
	}
	CHILD () {
		a[5] = 'c';
	}
	equal(b[5], 'c');
}

CASE(written_bytes_reach_the_file)
{
	enum { LEN = 1000003 };
	char *p, *want = malloc(LEN), *got = malloc(LEN);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(ftruncate(fd, LEN));
	p = map(fd, LEN, PROT_READ | PROT_WRITE, MAP_SHARED);
	bytes(want, LEN, 1, 0);
	memcpy(p, want, LEN);
	ok(msync(p, LEN, MS_SYNC));
	ok(munmap(p, LEN));
	ok(close(fd));
	fd = (int)ok(open("f", O_RDONLY));
	equal(ok(read(fd, got, LEN)), LEN);
	check(!memcmp(want, got, LEN));
	equal(fst(fd).st_size, LEN);
}

CASE(private_is_not_the_file)
{
	char *p;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDONLY));
	p = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	p[0] = 'J';
	holds("f", "hello");
	check(!memcmp(p, "Jello", 5));
}

CASE(descriptor_may_be_closed)
{
	char *p;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	ok(close(fd));
	p[0] = 'J';
	ok(munmap(p, 4096));
	holds("f", "Jello");
}

static sigjmp_buf jump;
static volatile int got_signal;

static void on_bus(int sig)
{
	got_signal = sig;
	siglongjmp(jump, 1);
}

static bool faults(volatile char *p)
{
	struct sigaction sa = {.sa_handler = on_bus};

	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	got_signal = 0;
	if (!sigsetjmp(jump, 1))
		(void)*p;
	return got_signal == SIGBUS;
}

CASE(past_the_end_is_sigbus)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p;
	int fd;

	file("f", "hello");
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
	check(!faults(p));
	check(!faults(p + page - 1));
	check(faults(p + page));
	ok(ftruncate(fd, (off_t)page + 1));
	check(!faults(p + page));
	equal(p[page], 0);
	check(faults(p + 2 * page));
}

CASE(truncation_takes_pages_away)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p;
	int fd;

	fill("f", 4 * page, 1);
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED);
	check(!faults(p + 3 * page));
	ok(ftruncate(fd, 10));
	check(faults(p + page));
	check(!faults(p));
	equal(p[10], 0);
	ok(ftruncate(fd, (off_t)(4 * page)));
	equal(p[page], 0);
	equal(p[11], 0);
}

CASE(bytes_after_the_end_are_not_written)
{
	char got[100];
	char *p;
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	memcpy(p, "ABCDEFG", 7);
	ok(msync(p, 4096, MS_SYNC));
	equal(fst(fd).st_size, 3);
	ok(munmap(p, 4096));
	holds("f", "ABC");
	ok(ftruncate(fd, 50));
	equal(ok(pread(fd, got, 100, 0)), 50);
	if (on(TMPFS)) {
		differs("tmpfs has no copy of a page but the mapped one, and does not clean its "
			"end");
		return;
	}
	check(!memcmp(got, "ABC\0\0\0\0", 7));
}

CASE(rights)
{
	char *p;
	int r, w, rw;

	file("f", "hello");
	r = (int)ok(open("f", O_RDONLY));
	w = (int)ok(open("f", O_WRONLY));
	rw = (int)ok(open("f", O_RDWR));
	expect(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0), EACCES);
	expect(mmap(NULL, 4096, PROT_READ, MAP_SHARED, w, 0), EACCES);
	expect(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, w, 0), EACCES);
	p = map(r, 4096, PROT_READ, MAP_SHARED);
	expect(mprotect(p, 4096, PROT_READ | PROT_WRITE), EACCES);
	p = map(rw, 4096, PROT_READ, MAP_SHARED);
	ok(mprotect(p, 4096, PROT_READ | PROT_WRITE));
	expect(mmap(NULL, 4096, PROT_READ, MAP_SHARED, (int)ok(open(".", O_RDONLY)), 0), ENODEV);
	expect(mmap(NULL, 4096, PROT_READ, MAP_SHARED, -1, 0), EBADF);
	expect(mmap(NULL, 0, PROT_READ, MAP_SHARED, r, 0), EINVAL);
	expect(mmap(NULL, 4096, PROT_READ, MAP_SHARED, r, 1), EINVAL);
}

CASE(writing_updates_times)
{
	char *p;
	int fd;

	fill("f", 4096, 1);
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	/* msync(): mtime and ctime are marked between the write and msync; mmap(): atime at any
	 * time after the first reference */
	stamps("f", MTIM | CTIM | ANY_ATIM, {
		p[0] ^= 1;
		ok(msync(p, 4096, MS_SYNC));
	});
}

CASE(offset_within_the_file)
{
	char *p;
	int fd;
	char want[4096];

	fill("f", 3 << 20, 1);
	fd = (int)ok(open("f", O_RDWR));
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 2 << 20);
	ok(p);
	bytes(want, 4096, 1, 2 << 20);
	check(!memcmp(p, want, 4096));
	p[4096] = 'x';
	equal(ok(pread(fd, want, 1, (2 << 20) + 4096)), 1);
	equal(want[0], 'x');
}

CASE(read_into_a_mapping_of_the_same_file)
{
	char *p;
	int fd;

	/* a page that faults while its own file is read or written */
	fill("f", 65536, 1);
	fd = (int)ok(open("f", O_RDWR));
	p = map(fd, 65536, PROT_READ | PROT_WRITE, MAP_SHARED);
	equal(ok(pread(fd, p + 32768, 4096, 0)), 4096);
	check(!memcmp(p, p + 32768, 4096));
	equal(ok(pwrite(fd, p + 8192, 4096, 49152)), 4096);
	check(!memcmp(p + 8192, p + 49152, 4096));
}

CASE(sparse_mapping)
{
	char *p;
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(ftruncate(fd, 64 << 20));
	p = map(fd, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int i = 0; i < 64; i += 9)
		p[(size_t)i << 20] = (char)(i + 1);
	ok(msync(p, 64 << 20, MS_SYNC));
	for (int i = 0; i < 64; i++) {
		char c;

		equal(ok(pread(fd, &c, 1, (off_t)i << 20)), 1);
		equal(c, i % 9 ? 0 : i + 1);
	}
	ok(fsync(fd));
	check(fst(fd).st_blocks * 512 < 32 << 20);
}

CASE(stores_through_an_appending_descriptor_stay_where_they_are)
{
	char buf[8192] = {0}, got[8200];
	char *p;
	int fd;

	memset(buf, 'a', sizeof(buf));
	fd = (int)ok(open("f", O_CREAT | O_RDWR | O_APPEND, 0644));
	equal(ok(write(fd, buf, sizeof(buf))), sizeof(buf));
	p = map(fd, sizeof(buf), PROT_READ | PROT_WRITE, MAP_SHARED);
	p[0] = p[5000] = 'M';
	ok(msync(p, sizeof(buf), MS_SYNC));
	equal(fst(fd).st_size, sizeof(buf));
	ok(munmap(p, sizeof(buf)));
	ok(close(fd));
	fd = (int)ok(open("f", O_RDONLY));
	equal(ok(read(fd, got, sizeof(got))), sizeof(buf));
	check(got[0] == 'M' && got[1] == 'a' && got[5000] == 'M' && got[5001] == 'a');
}

CASE(msync_arguments)
{
	char *p;

	file("f", "x");
	p = map((int)ok(open("f", O_RDWR)), 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	ok(msync(p, 4096, MS_ASYNC));
	ok(msync(p, 4096, MS_SYNC | MS_INVALIDATE));
	expect(msync(p, 4096, MS_SYNC | MS_ASYNC), EINVAL);
	expect(msync(p + 1, 4096, MS_SYNC), EINVAL);
	ok(munmap(p, 4096));
	expect(msync(p, 4096, MS_SYNC), ENOMEM);
}
