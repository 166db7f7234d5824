/* copy_file_range(2), FICLONE */
#include "tests/posix/posix.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

CASE(copies)
{
	enum { LEN = 2500000 };
	char *a = malloc(LEN), *b = malloc(LEN);
	off_t in_off = 0, out_off = 0;
	int in, out;

	fill("a", LEN, 1);
	bytes(a, LEN, 1, 0);
	in = (int)ok(open("a", O_RDONLY));
	out = (int)ok(open("b", O_CREAT | O_RDWR, 0644));
	while (in_off < LEN) {
		off_t before = in_off;
		ssize_t n = ok(copy_file_range(in, &in_off, out, &out_off, LEN, 0));

		check(n > 0);
		equal(in_off, before + n);
		equal(out_off, in_off);
		if (n <= 0)
			return;
	}
	equal(ok(lseek(in, 0, SEEK_CUR)), 0);
	equal(fst(out).st_size, LEN);
	equal(ok(pread(out, b, LEN, 0)), LEN);
	check(!memcmp(a, b, LEN));
	equal(ok(copy_file_range(in, &in_off, out, &out_off, 100, 0)), 0); /* the end */
}

CASE(descriptors_offsets)
{
	int in, out;

	file("a", "abcdefgh");
	file("b", "01234567");
	in = (int)ok(open("a", O_RDONLY));
	out = (int)ok(open("b", O_RDWR));
	ok(lseek(in, 2, SEEK_SET));
	ok(lseek(out, 6, SEEK_SET));
	equal(ok(copy_file_range(in, NULL, out, NULL, 4, 0)), 4);
	equal(ok(lseek(in, 0, SEEK_CUR)), 6);
	equal(ok(lseek(out, 0, SEEK_CUR)), 10);
	holds("b", "012345cdef");
	equal(ok(copy_file_range(in, NULL, out, NULL, 100, 0)), 2); /* less at the end */
	holds("b", "012345cdefgh");
}

CASE(sees_what_was_just_written)
{
	int in = (int)ok(open("a", O_CREAT | O_RDWR, 0644));
	int out = (int)ok(open("b", O_CREAT | O_RDWR, 0644));
	char got[10];

	for (int i = 0; i < 20; i++) {
		char c = (char)('a' + i);
		loff_t i0 = 0, o0 = i;

		equal(ok(pwrite(in, &c, 1, 0)), 1);
		equal(ok(copy_file_range(in, &i0, out, &o0, 1, 0)), 1);
		equal(ok(pread(out, got, 1, i)), 1);
		equal(got[0], c);
	}
	equal(fst(out).st_size, 20);
}

CASE(within_one_file)
{
	char got[100];
	loff_t i0 = 0, o0 = 50;
	int fd;

	fill("f", 50, 1);
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(copy_file_range(fd, &i0, fd, &o0, 50, 0)), 50);
	equal(ok(pread(fd, got, 100, 0)), 100);
	check(!memcmp(got, got + 50, 50));
	i0 = 0;
	o0 = 10;
	expect(copy_file_range(fd, &i0, fd, &o0, 20, 0), EINVAL); /* overlapping */
}

CASE(past_the_end_leaves_a_hole)
{
	char got[1003];
	loff_t o = 1000;
	int in, out = (int)ok(open("b", O_CREAT | O_RDWR, 0644));

	file("a", "abc");
	in = (int)ok(open("a", O_RDONLY));
	equal(ok(copy_file_range(in, NULL, out, &o, 3, 0)), 3);
	equal(ok(pread(out, got, 1003, 0)), 1003);
	check(!got[0] && !memcmp(got, got + 1, 999) && !memcmp(got + 1000, "abc", 3));
}

CASE(refusals)
{
	loff_t neg = -5, ten = 10;
	int in, out, dir, p[2];

	file("a", "abc");
	file("b", "");
	in = (int)ok(open("a", O_RDONLY));
	out = (int)ok(open("b", O_RDWR));
	dir = (int)ok(open(".", O_RDONLY));
	expect(copy_file_range(out, NULL, in, NULL, 3, 0), EBADF);
	expect(copy_file_range((int)ok(open("a", O_WRONLY)), NULL, out, NULL, 3, 0), EBADF);
	expect(copy_file_range(in, NULL, (int)ok(open("b", O_WRONLY | O_APPEND)), NULL, 3, 0),
		EBADF);
	expect(copy_file_range(in, NULL, out, NULL, 3, 1), EINVAL);
	expect(copy_file_range(dir, NULL, out, NULL, 3, 0), EISDIR);
	expect(copy_file_range(-1, NULL, out, NULL, 3, 0), EBADF);
	ok(pipe(p));
	expect(copy_file_range(p[0], NULL, out, NULL, 3, 0), EINVAL);
	expect(copy_file_range(in, &neg, out, NULL, 3, 0), EINVAL);
	expect(copy_file_range(in, &ten, out, NULL, SIZE_MAX, 0), EOVERFLOW);
	equal(ok(copy_file_range(in, NULL, out, NULL, 0, 0)), 0);
	holds("b", "");
}

CASE(times)
{
	int in, out;

	file("a", "abc");
	file("b", "");
	in = (int)ok(open("a", O_RDONLY));
	out = (int)ok(open("b", O_RDWR));
	stamps("b", MTIM | CTIM, ok(copy_file_range(in, NULL, out, NULL, 3, 0)));
}

CASE(holes_may_stay_holes)
{
	loff_t i = 0, o = 0;
	int in = (int)ok(open("a", O_CREAT | O_RDWR, 0644));
	int out = (int)ok(open("b", O_CREAT | O_RDWR, 0644));
	char got[4];

	ok(ftruncate(in, 8 << 20));
	ok(pwrite(in, "mid", 3, 4 << 20));
	while (i < 8 << 20) {
		if (ok(copy_file_range(in, &i, out, &o, 8 << 20, 0)) <= 0)
			break;
	}
	equal(fst(out).st_size, 8 << 20);
	equal(ok(pread(out, got, 3, 4 << 20)), 3);
	check(!memcmp(got, "mid", 3));
}

CASE(reflink)
{
	int in, out;

	file("a", "abc");
	in = (int)ok(open("a", O_RDONLY));
	out = (int)ok(open("b", O_CREAT | O_RDWR, 0644));
	if (ioctl(out, FICLONE, in) < 0) {
		check(errno == EOPNOTSUPP || errno == ENOTTY || errno == ENOSYS);
		differs("ioctl_ficlone(2): EOPNOTSUPP where the filesystem has no reflinks");
		equal(fst(out).st_size, 0);
		return;
	}
	holds("b", "abc");
	file("a", "xyz");
	holds("b", "abc");
}
