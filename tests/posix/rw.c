/* read(2), write(2), pread(2), pwrite(2), readv(2) and their kin. */
#include "tests/posix/posix.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

CASE(what_was_written_is_read)
{
	static const size_t sizes[] = {
		1, 511, 4096, 4097, 65535, 65536, 65537, 131072, 1048575, 1048577, 3000001};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *want = malloc(sizes[i]), *got = malloc(sizes[i] + 1);
		int fd;

		fill("f", sizes[i], (unsigned)i);
		bytes(want, sizes[i], (unsigned)i, 0);
		equal(st("f").st_size, sizes[i]);
		fd = (int)ok(open("f", O_RDONLY));
		equal(ok(read(fd, got, sizes[i] + 1)), sizes[i]);
		check(!memcmp(want, got, sizes[i]));
		equal(ok(read(fd, got, 1)), 0);
		ok(close(fd));
		free(want);
		free(got);
	}
}

CASE(visible_to_other_descriptors_at_once)
{
	char got[4] = "";
	int a = (int)ok(open("f", O_CREAT | O_RDWR, 0644)), b = (int)ok(open("f", O_RDONLY));

	for (int i = 0; i < 100; i++) {
		char c = (char)('a' + i % 26);

		equal(ok(pwrite(a, &c, 1, i * 977)), 1);
		equal(ok(pread(b, got, 1, i * 977)), 1);
		equal(got[0], c);
		equal(fst(b).st_size, i * 977 + 1);
	}
	equal(st("f").st_size, 99 * 977 + 1);
}

CASE(random_writes_over_each_other)
{
	enum { LEN = 400000 };
	static unsigned char want[LEN], got[LEN];
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	unsigned rnd = 12345;

	ok(ftruncate(fd, LEN));
	for (int i = 0; i < 300; i++) {
		unsigned at, len;

		rnd = rnd * 1103515245 + 12345;
		at = (rnd >> 8) % LEN;
		rnd = rnd * 1103515245 + 12345;
		len = (rnd >> 8) % 9000;
		if (at + len > LEN)
			len = LEN - at;
		bytes(want + at, len, rnd, 0);
		equal(ok(pwrite(fd, want + at, len, at)), len);
		if (i % 50 == 49) {
			equal(ok(pread(fd, got, LEN, 0)), LEN);
			check(!memcmp(want, got, LEN));
		}
	}
	ok(close(fd));
	fd = (int)ok(open("f", O_RDONLY));
	equal(ok(read(fd, got, LEN)), LEN);
	check(!memcmp(want, got, LEN));
}

CASE(reading_past_the_end)
{
	char c[8];
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(pread(fd, c, 8, 0)), 3);
	equal(ok(pread(fd, c, 8, 2)), 1);
	equal(ok(pread(fd, c, 8, 3)), 0);
	equal(ok(pread(fd, c, 8, 1LL << 40)), 0);
	equal(ok(lseek(fd, 0, SEEK_CUR)), 0);
}

CASE(writing_past_the_end_leaves_zeros)
{
	char *got = malloc(1 << 20);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	equal(ok(pwrite(fd, "x", 1, 700000)), 1);
	equal(fst(fd).st_size, 700001);
	equal(ok(pread(fd, got, 1 << 20, 0)), 700001);
	for (int i = 0; i < 700000; i++) {
		if (got[i]) {
			check(!"zeros");
			break;
		}
	}
	equal(got[700000], 'x');
}

CASE(nothing_is_written)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	stamps("f", 0, equal(ok(write(fd, "", 0)), 0));
	equal(ok(pwrite(fd, "", 0, 100)), 0);
	equal(ok(read(fd, NULL, 0)), 0);
	equal(fst(fd).st_size, 3);
}

CASE(bad_arguments)
{
	char c;
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	expect(pread(fd, &c, 1, -1), EINVAL);
	expect(pwrite(fd, &c, 1, -1), EINVAL);
	expect(read(fd, nowhere(), 1), EFAULT);
	expect(write(fd, nowhere(), 1), EFAULT);
	expect(read(-1, &c, 1), EBADF);
	expect(write(-1, &c, 1), EBADF);
	ok(close(fd));
	expect(read(fd, &c, 1), EBADF);
	holds("f", "abc");
}

CASE(partly_good_memory)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = aligned_alloc(page, 2 * page);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	struct iovec v[2] = {
		{.iov_base = p, .iov_len = page}, {.iov_base = nowhere(), .iov_len = 9}};
	ssize_t n;

	memset(p, 'p', page);
	/* part of it may go, or nothing; never more than what is good */
	n = writev(fd, v, 2);
	check(n == (ssize_t)page || (n == -1 && errno == EFAULT) || (n > 0 && n < (ssize_t)page));
	equal(fst(fd).st_size, n > 0 ? n : 0);
}

CASE(vectors)
{
	char a[3] = "", b[4] = "", c[9] = "";
	struct iovec w[3] = {vec("ab", 2), vec("", 0), vec("cdefg", 5)};
	struct iovec r[3] = {{a, 2}, {b, 3}, {c, 8}};
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	equal(ok(writev(fd, w, 3)), 7);
	equal(ok(lseek(fd, 0, SEEK_CUR)), 7);
	equal(ok(preadv(fd, r, 3, 0)), 7);
	same(a, "ab");
	same(b, "cde");
	same(c, "fg");
	equal(ok(pwritev(fd, w, 3, 1)), 7);
	equal(ok(lseek(fd, 0, SEEK_SET)), 0);
	memset(c, 0, sizeof(c));
	equal(ok(readv(fd, r, 3)), 8);
	same(c, "efg");
	equal(ok(writev(fd, w, 0)), 0);
	expect(writev(fd, w, -1), EINVAL);
	expect(preadv(fd, r, 3, -5), EINVAL);
	expect(pwritev(fd, w, IOV_MAX + 1, 0), EINVAL);
}

CASE(many_vectors)
{
	static struct iovec v[IOV_MAX];
	static char data[IOV_MAX][7];
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	char got[sizeof(data)];

	for (size_t i = 0; i < IOV_MAX; i++) {
		bytes(data[i], 7, 3, i * 7);
		v[i] = (struct iovec){data[i], 7};
	}
	equal(ok(writev(fd, v, IOV_MAX)), sizeof(data));
	equal(ok(pread(fd, got, sizeof(got), 0)), sizeof(data));
	check(!memcmp(got, data, sizeof(data)));
}

CASE(preadv2_and_pwritev2)
{
	char c[4] = "";
	struct iovec r = {c, 3}, w = vec("xyz", 3);
	int fd;

	file("f", "abcdef");
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(preadv2(fd, &r, 1, -1, 0)), 3); /* -1: at the offset, which moves */
	same(c, "abc");
	equal(ok(lseek(fd, 0, SEEK_CUR)), 3);
	equal(ok(pwritev2(fd, &w, 1, 0, RWF_DSYNC)), 3);
	equal(ok(pwritev2(fd, &w, 1, 3, RWF_SYNC)), 3);
	equal(ok(pwritev2(fd, &w, 1, 0, RWF_APPEND)), 3);
	equal(ok(lseek(fd, 0, SEEK_CUR)), 3);
	expect(preadv2(fd, &r, 1, 0, 0x40000000), EOPNOTSUPP);
	holds("f", "xyzxyzxyz");
}

CASE(rwf_nowait)
{
	char c[4] = "";
	struct iovec r = {c, 3};
	ssize_t n;
	int fd;

	file("f", "abcdef");
	fd = (int)ok(open("f", O_RDWR));
	n = preadv2(fd, &r, 1, 0, RWF_NOWAIT);
	if (n == -1 && errno == EOPNOTSUPP)
		differs("RWF_NOWAIT is for filesystems that can tell what would block "
			"(readv(2): \"not all filesystems\")");
	else
		check(n == 3 || (n == -1 && errno == EAGAIN));
	holds("f", "abcdef");
}

CASE(rwf_noappend)
{
	struct iovec w = vec("X", 1);
	ssize_t n;
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR | O_APPEND));
	n = pwritev2(fd, &w, 1, 0, 0x20 /* RWF_NOAPPEND */);
	if (n == -1) {
		equal(errno, EOPNOTSUPP);
		differs("RWF_NOAPPEND is of Linux 6.9");
		return;
	}
	if (on(FUSE)) {
		/* O_APPEND must go to the end that other machines moved, so the offset is not
		 * believed */
		differs("FUSE tells of O_APPEND with each write, but not of RWF_NOAPPEND");
		return;
	}
	holds("f", "Xbc");
}

CASE(writing_changes_mtime_and_ctime)
{
	int fd;

	fill("f", 200000, 1);
	fd = (int)ok(open("f", O_RDWR));
	stamps("f", MTIM | CTIM, ok(write(fd, "x", 1)));
	stamps("f", MTIM | CTIM, ok(pwrite(fd, "x", 1, 150000)));
	stamps("f", 0, ok(close(fd)));
}

CASE(reading_changes_atime_when_it_is_old)
{
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_nsec = UTIME_OMIT}};
	struct stat s;
	char c;
	int fd;

	file("f", "abc");
	ok(utimensat(AT_FDCWD, "f", old, 0));
	fd = (int)ok(open("f", O_RDONLY));
	equal(ok(read(fd, &c, 1)), 1);
	s = fst(fd);
	check(s.st_atim.tv_sec != 1000000000); /* relatime: it was older than mtime */
	check(cmp_time(s.st_atim, s.st_mtim) >= 0);
	ok(close(fd));
	s = st("f");
	check(s.st_atim.tv_sec != 1000000000);
}

CASE(o_noatime_leaves_atime)
{
	struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_nsec = UTIME_OMIT}};
	char c;
	int fd;

	file("f", "abc");
	ok(utimensat(AT_FDCWD, "f", old, 0));
	fd = (int)ok(open("f", O_RDONLY | O_NOATIME));
	equal(ok(read(fd, &c, 1)), 1);
	ok(close(fd));
	equal(st("f").st_atim.tv_sec, 1000000000);
}

CASE(writing_drops_set_id_bits, ROOT)
{
	file("f", "x");
	ok(chown("f", ANN, ANN));
	chmod_to("f", 06777);
	AS (BOB, BOB) {
		int fd = (int)ok(open("f", O_WRONLY));

		ok(write(fd, "y", 1));
		ok(close(fd));
	}
	equal(mode("f"), 0777);
	chmod_to("f", 02767); /* without group execution: not set-gid, but locking of old */
	AS (BOB, BOB) {
		int fd = (int)ok(open("f", O_WRONLY));

		ok(write(fd, "y", 1));
		ok(close(fd));
	}
	equal(mode("f") & 04000, 0);
	chmod_to("f", 06777);
	ok(close(ok(open("f", O_WRONLY))));
	equal(mode("f"), 06777);
	file("g", "x");
	chmod_to("g", 06777);
	{
		int fd = (int)ok(open("g", O_WRONLY));

		ok(write(fd, "y", 1)); /* root may (CAP_FSETID) */
		ok(close(fd));
	}
	equal(mode("g"), 06777);
}

CASE(large_single_write)
{
	size_t len = 9000001;
	char *a = malloc(len), *b = malloc(len);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	bytes(a, len, 4, 0);
	equal(ok(write(fd, a, len)), len);
	equal(ok(pread(fd, b, len, 0)), len);
	check(!memcmp(a, b, len));
}

CASE(rlimit_fsize)
{
	struct rlimit l = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
	char buf[4096] = "";
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	signal(SIGXFSZ, SIG_IGN);
	ok(getrlimit(RLIMIT_FSIZE, &(struct rlimit){0}));
	ok(setrlimit(RLIMIT_FSIZE, &l));
	equal(ok(pwrite(fd, buf, 4096, 99000)), 1000);
	expect(pwrite(fd, buf, 1, 100000), EFBIG);
	expect(ftruncate(fd, 100001), EFBIG);
	ok(ftruncate(fd, 100000));
	equal(fst(fd).st_size, 100000);
}

CASE(sigxfsz_is_sent)
{
	struct rlimit l = {.rlim_cur = 10, .rlim_max = RLIM_INFINITY};
	pid_t pid;
	int status, fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	pid = beside();
	if (pid == 0) {
		ok(setrlimit(RLIMIT_CORE, &(struct rlimit){0}));
		ok(setrlimit(RLIMIT_FSIZE, &l));
		(void)!pwrite(fd, "x", 1, 10);
		quit();
	}
	ok(waitpid(pid, &status, 0));
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
	equal(fst(fd).st_size, 0);
}

CASE(o_direct)
{
	enum { LEN = 262144 };
	char *a, *b;
	int fd = open("f", O_CREAT | O_RDWR | O_DIRECT, 0644);

	if (fd < 0) {
		equal(errno, EINVAL);
		differs("open(2): EINVAL where the filesystem has no O_DIRECT");
		return;
	}
	a = aligned_alloc(4096, LEN);
	b = aligned_alloc(4096, LEN);
	bytes(a, LEN, 5, 0);
	equal(ok(pwrite(fd, a, LEN, 0)), LEN);
	equal(ok(pread(fd, b, LEN, 0)), LEN);
	check(!memcmp(a, b, LEN));
	equal(ok(pread(fd, b, LEN, LEN)), 0);
	equal(ok(pwrite(fd, a, 4096, LEN + 8192)), 4096);
	equal(fst(fd).st_size, LEN + 12288);
	equal(ok(pread(fd, b, 8192, LEN)), 8192);
	check(!b[0] && !memcmp(b, b + 1, 8191));
	ok(close(fd));
}

CASE(o_direct_and_cached_agree)
{
	char *p = aligned_alloc(4096, 8192), got[8192];
	int d = open("f", O_CREAT | O_RDWR | O_DIRECT, 0644), c;

	if (d < 0) {
		equal(errno, EINVAL);
		differs("open(2): EINVAL where the filesystem has no O_DIRECT");
		return;
	}
	c = (int)ok(open("f", O_RDWR));
	for (int i = 0; i < 20; i++) {
		memset(p, 'a' + i, 8192);
		equal(ok(pwrite(d, p, 8192, 0)), 8192);
		equal(ok(pread(c, got, 8192, 0)), 8192);
		check(!memcmp(p, got, 8192));
		memset(got, 'A' + i, 8192);
		equal(ok(pwrite(c, got, 8192, 0)), 8192);
		equal(ok(pread(d, p, 8192, 0)), 8192);
		check(!memcmp(p, got, 8192));
	}
}

CASE(o_direct_by_fcntl)
{
	char *p = aligned_alloc(4096, 4096);
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	memset(p, 'd', 4096);
	if (fcntl(fd, F_SETFL, O_DIRECT) < 0) {
		equal(errno, EINVAL);
		differs("fcntl(2): EINVAL where the filesystem has no O_DIRECT");
		return;
	}
	equal(ok(pwrite(fd, p, 4096, 4096)), 4096);
	ok(fcntl(fd, F_SETFL, 0));
	equal(fst(fd).st_size, 8192);
}

CASE(sendfile_and_splice)
{
	char *a = malloc(300000), *b = malloc(300000);
	int in, out, p[2];
	off_t off = 10;
	loff_t at = 0;
	ssize_t n, all = 0;

	fill("f", 300000, 6);
	bytes(a, 300000, 6, 0);
	in = (int)ok(open("f", O_RDONLY));
	out = (int)ok(open("g", O_CREAT | O_RDWR, 0644));
	while ((n = ok(sendfile(out, in, &off, 300000))) > 0)
		all += n;
	equal(all, 299990);
	equal(off, 300000);
	equal(ok(pread(out, b, 300000, 0)), 299990);
	check(!memcmp(a + 10, b, 299990));
	ok(pipe(p));
	ok(ftruncate(out, 0));
	equal(ok(lseek(out, 0, SEEK_SET)), 0);
	all = 0;
	while ((n = ok(splice(in, &at, p[1], NULL, 65536, 0))) > 0) {
		while (n > 0) {
			ssize_t m = ok(splice(p[0], NULL, out, NULL, (size_t)n, 0));

			n -= m;
			all += m;
		}
	}
	equal(all, 300000);
	equal(ok(pread(out, b, 300000, 0)), 300000);
	check(!memcmp(a, b, 300000));
}

CASE(a_write_is_whole_to_readers)
{
	enum { LEN = 4000 };
	static char a[LEN], got[LEN];
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	pid_t pid;

	/* POSIX: writes are atomic to reads of the same file. Linux keeps that within a page. */
	memset(a, 'a', LEN);
	equal(ok(pwrite(fd, a, LEN, 0)), LEN);
	pid = beside();
	if (pid == 0) {
		for (int i = 0; i < 300; i++) {
			memset(a, 'a' + i % 26, LEN);
			equal(ok(pwrite(fd, a, LEN, 0)), LEN);
		}
		quit();
	}
	for (int i = 0; i < 300; i++)
		equal(ok(pread(fd, got, LEN, 0)), LEN);
	join(pid);
	equal(ok(pread(fd, got, LEN, 0)), LEN);
	check(!memcmp(got, got + 1, LEN - 1));
	equal(fst(fd).st_size, LEN);
}

CASE(offset_is_shared_with_children)
{
	char c;
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDONLY));
	CHILD () {
		equal(ok(read(fd, &c, 1)), 1);
	}
	equal(ok(read(fd, &c, 1)), 1);
	equal(c, 'b');
}

CASE(data_outlives_the_descriptor)
{
	char got[10] = "";
	int fd = (int)ok(open("f", O_CREAT | O_WRONLY, 0644));

	ok(write(fd, "abc", 3));
	ok(close(fd));
	fd = (int)ok(open("f", O_RDONLY));
	equal(ok(read(fd, got, 9)), 3);
	same(got, "abc");
}
