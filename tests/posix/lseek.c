/* lseek(2) */
#include "tests/posix/posix.h"

#include <dirent.h>

CASE(whence)
{
	char c;
	int fd;

	file("f", "abcdef");
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(lseek(fd, 3, SEEK_SET)), 3);
	equal(ok(read(fd, &c, 1)), 1);
	equal(c, 'd');
	equal(ok(lseek(fd, -2, SEEK_CUR)), 2);
	equal(ok(lseek(fd, -1, SEEK_END)), 5);
	equal(ok(lseek(fd, 10, SEEK_END)), 16);
	equal(fst(fd).st_size, 6);
	equal(ok(read(fd, &c, 1)), 0);
	equal(ok(write(fd, "x", 1)), 1);
	equal(fst(fd).st_size, 17);
	equal(ok(lseek(fd, 0, SEEK_END)), 17);
}

CASE(refusals)
{
	int fd, p[2];

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	expect(lseek(fd, -1, SEEK_SET), EINVAL);
	expect(lseek(fd, -4, SEEK_END), EINVAL);
	expect(lseek(fd, 0, 99), EINVAL);
	expect(lseek(-1, 0, SEEK_SET), EBADF);
	ok(pipe(p));
	expect(lseek(p[0], 0, SEEK_CUR), ESPIPE);
	ok(mkfifo("p", 0644));
	expect(lseek((int)ok(open("p", O_RDWR)), 0, SEEK_CUR), ESPIPE);
	equal(ok(lseek(fd, 0, SEEK_CUR)), 0);
}

CASE(overflow)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	ok(lseek(fd, 1, SEEK_SET));
	/* POSIX: EOVERFLOW; Linux: EINVAL, as for any offset that is too large */
	check(lseek(fd, INT64_MAX, SEEK_CUR) == -1 && (errno == EOVERFLOW || errno == EINVAL));
	equal(ok(lseek(fd, 0, SEEK_CUR)), 1);
}

CASE(end_that_another_moved)
{
	int a, b;

	file("f", "abc");
	a = (int)ok(open("f", O_RDWR));
	b = (int)ok(open("f", O_WRONLY | O_APPEND));
	for (int i = 0; i < 20; i++) {
		ok(write(b, "0123456789", 10));
		equal(ok(lseek(a, 0, SEEK_END)), 13 + 10 * i);
	}
}

CASE(data_and_holes)
{
	static const off_t at[] = {1 << 20, 8 << 20};
	char page[4096];
	off_t off = 0;
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644)), found = 0;

	memset(page, 'p', sizeof(page));
	for (size_t i = 0; i < COUNT(at); i++)
		equal(ok(pwrite(fd, page, sizeof(page), at[i])), sizeof(page));
	ok(ftruncate(fd, 20 << 20));
	/* lseek(2): more data than there is may be told, holes where data is never */
	for (;;) {
		off_t data = lseek(fd, off, SEEK_DATA), hole;

		if (data < 0) {
			equal(errno, ENXIO);
			break;
		}
		hole = (off_t)ok(lseek(fd, data, SEEK_HOLE));
		check(hole > data);
		for (size_t i = 0; i < COUNT(at); i++)
			found += data <= at[i] && hole >= at[i] + (off_t)sizeof(page);
		off = hole;
		if (off >= 20 << 20)
			break;
	}
	equal(found, 2);
	equal(ok(lseek(fd, 0, SEEK_HOLE)), 0);
	check(ok(lseek(fd, 0, SEEK_DATA)) > 0);
	check(ok(lseek(fd, 0, SEEK_DATA)) <= 1 << 20);
	check(ok(lseek(fd, 2 << 20, SEEK_DATA)) <= 8 << 20);
	equal(ok(lseek(fd, 3 << 20, SEEK_HOLE)), 3 << 20);
}

CASE(data_and_holes_at_the_end)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	equal(ok(lseek(fd, 0, SEEK_DATA)), 0);
	equal(ok(lseek(fd, 2, SEEK_DATA)), 2);
	equal(ok(lseek(fd, 0, SEEK_HOLE)), 3); /* the end is one */
	equal(ok(lseek(fd, 2, SEEK_HOLE)), 3);
	expect(lseek(fd, 3, SEEK_DATA), ENXIO);
	expect(lseek(fd, 3, SEEK_HOLE), ENXIO);
	expect(lseek(fd, 100, SEEK_HOLE), ENXIO);
	expect(lseek(fd, -1, SEEK_DATA), ENXIO);
	ok(ftruncate(fd, 0));
	expect(lseek(fd, 0, SEEK_DATA), ENXIO);
	expect(lseek(fd, 0, SEEK_HOLE), ENXIO);
}

CASE(data_just_written_is_data)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	for (int i = 0; i < 10; i++) {
		off_t at = (off_t)i * 3000000;

		ok(pwrite(fd, "x", 1, at));
		equal(ok(lseek(fd, at, SEEK_DATA)), at);
	}
}

CASE(beyond_the_largest)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));
	off_t max = 0;

	/* find the largest offset that is allowed; beyond it EINVAL, and writing EFBIG */
	for (int bit = 62; bit >= 0; bit--) {
		if (lseek(fd, max | (off_t)1 << bit, SEEK_SET) >= 0)
			max |= (off_t)1 << bit;
		else
			equal(errno, EINVAL);
	}
	check(max >= (off_t)1 << 40);
	if (max < INT64_MAX)
		expect(lseek(fd, max + 1, SEEK_SET), EINVAL);
	/* at the very last offset the kernel itself finds the sum too large */
	expect(pwrite(fd, "x", 1, max), max == INT64_MAX ? EINVAL : EFBIG);
	equal(fst(fd).st_size, 0);
}
