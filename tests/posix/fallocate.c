/* fallocate(2), posix_fallocate(3) */
#include "tests/posix/posix.h"

#include <linux/falloc.h>

static bool zeros(const char *p, size_t n)
{
	return n == 0 || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* whether this filesystem does not know the mode, which it may */
static bool unknown(int fd, int mode_, const char *name)
{
	static char why[100];

	if (fallocate(fd, mode_, 0, 4096) == 0 || errno != EOPNOTSUPP)
		return false;
	snprintf(why, sizeof(why), "fallocate(2): EOPNOTSUPP where %s is not supported", name);
	differs(why);
	return true;
}

CASE(makes_files_longer)
{
	char got[20001];
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	ok(fallocate(fd, 0, 0, 10000));
	equal(fst(fd).st_size, 10000);
	ok(fallocate(fd, 0, 15000, 5000));
	equal(fst(fd).st_size, 20000);
	ok(fallocate(fd, 0, 0, 10));
	equal(fst(fd).st_size, 20000);
	equal(ok(pread(fd, got, 20001, 0)), 20000);
	check(!memcmp(got, "abc", 3) && zeros(got + 3, 19997));
	equal(posix_fallocate(fd, 20000, 100), 0);
	equal(fst(fd).st_size, 20100);
}

CASE(keep_size)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	ok(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	equal(fst(fd).st_size, 3);
	holds("f", "abc");
}

CASE(punch_hole)
{
	enum { LEN = 3000000 };
	static char want[LEN], got[LEN];
	static const struct {
		off_t off, len;
	} t[] = {{0, 10}, {100, 4096}, {4096, 4096}, {60000, 10000}, {1000000, 1100000},
		{2999990, 100}, {5000000, 10}};
	int fd;

	fill("f", LEN, 1);
	bytes(want, LEN, 1, 0);
	fd = (int)ok(open("f", O_RDWR));
	for (size_t i = 0; i < COUNT(t); i++) {
		ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, t[i].off, t[i].len));
		for (off_t o = t[i].off; o < t[i].off + t[i].len && o < LEN; o++)
			want[o] = 0;
		equal(fst(fd).st_size, LEN);
		equal(ok(pread(fd, got, LEN, 0)), LEN);
		check(!memcmp(want, got, LEN));
	}
	expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP); /* needs KEEP_SIZE */
}

CASE(punched_space_comes_back)
{
	blkcnt_t before;
	int fd;

	fill("f", 4 << 20, 1);
	fd = (int)ok(open("f", O_RDWR));
	ok(fsync(fd));
	before = fst(fd).st_blocks;
	ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 2 << 20));
	check(fst(fd).st_blocks <= before - (2 << 20) / 512);
	equal(ok(lseek(fd, 1 << 20, SEEK_HOLE)), 1 << 20);
	ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 << 20));
	check(fst(fd).st_blocks * 512 < 70000);
}

CASE(zero_range)
{
	enum { LEN = 200000 };
	static char want[LEN], got[LEN + 50000];
	int fd;

	fill("f", LEN, 1);
	bytes(want, LEN, 1, 0);
	fd = (int)ok(open("f", O_RDWR));
	if (unknown(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "ZERO_RANGE"))
		return;
	memset(want, 0, 4096);
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE, 60001, 10003));
	memset(want + 60001, 0, 10003);
	equal(ok(pread(fd, got, sizeof(got), 0)), LEN);
	check(!memcmp(want, got, LEN));
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, LEN - 10, 1000));
	equal(fst(fd).st_size, LEN);
	ok(fallocate(fd, FALLOC_FL_ZERO_RANGE, LEN - 10, 1000));
	equal(fst(fd).st_size, LEN + 990);
	equal(ok(pread(fd, got, sizeof(got), 0)), LEN + 990);
	check(zeros(got + LEN - 10, 1000));
}

CASE(collapse_range)
{
	enum { LEN = 1 << 20, BLK = 65536 };
	static char want[LEN], got[LEN];
	int fd;

	fill("f", LEN, 1);
	bytes(want, LEN, 1, 0);
	fd = (int)ok(open("f", O_RDWR));
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLK, BLK) < 0 && errno == EOPNOTSUPP) {
		differs("fallocate(2): EOPNOTSUPP where COLLAPSE_RANGE is not supported");
		return;
	}
	equal(fst(fd).st_size, LEN - BLK);
	equal(ok(pread(fd, got, LEN, 0)), LEN - BLK);
	check(!memcmp(want, got, BLK) && !memcmp(want + 2 * BLK, got + BLK, LEN - 2 * BLK));
	expect(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, BLK, LEN), EINVAL);
	expect(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 1, BLK), EINVAL);
}

CASE(insert_range)
{
	enum { LEN = 1 << 20, BLK = 65536 };
	static char want[LEN], got[LEN + BLK];
	int fd;

	fill("f", LEN, 1);
	bytes(want, LEN, 1, 0);
	fd = (int)ok(open("f", O_RDWR));
	if (fallocate(fd, FALLOC_FL_INSERT_RANGE, BLK, BLK) < 0 && errno == EOPNOTSUPP) {
		differs("fallocate(2): EOPNOTSUPP where INSERT_RANGE is not supported");
		return;
	}
	equal(fst(fd).st_size, LEN + BLK);
	equal(ok(pread(fd, got, LEN + BLK, 0)), LEN + BLK);
	check(!memcmp(want, got, BLK) && zeros(got + BLK, BLK));
	check(!memcmp(want + BLK, got + 2 * BLK, LEN - BLK));
	expect(fallocate(fd, FALLOC_FL_INSERT_RANGE, 1 << 30, BLK), EINVAL);
}

CASE(unshare_range)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	if (unknown(fd, FALLOC_FL_UNSHARE_RANGE, "UNSHARE_RANGE"))
		holds("f", "abc");
}

CASE(refusals)
{
	int fd, p[2];

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	expect(fallocate(fd, 0, -1, 10), EINVAL);
	expect(fallocate(fd, 0, 0, 0), EINVAL);
	expect(fallocate(fd, 0, 0, -1), EINVAL);
	expect(fallocate(fd, 0x4000, 0, 10), EOPNOTSUPP);
	expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
		       10),
		EOPNOTSUPP);
	expect(fallocate(fd, 0, INT64_MAX, 10), EFBIG);
	expect(fallocate(fd, 0, INT64_MAX - 5, INT64_MAX), EFBIG);
	expect(fallocate(-1, 0, 0, 10), EBADF);
	expect(fallocate((int)ok(open("f", O_RDONLY)), 0, 0, 10), EBADF);
	expect(fallocate((int)ok(open(".", O_RDONLY)), 0, 0, 10), EBADF);
	ok(pipe(p));
	expect(fallocate(p[1], 0, 0, 10), ESPIPE);
	equal(posix_fallocate(fd, 0, 0), EINVAL);
	holds("f", "abc");
}

CASE(times)
{
	int fd;

	fill("f", 10000, 1);
	fd = (int)ok(open("f", O_RDWR));
	stamps("f", MTIM | CTIM, ok(fallocate(fd, 0, 0, 20000)));
	stamps("f", MTIM | CTIM,
		ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096)));
}

CASE(reserved_space_is_there)
{
	/* posix_fallocate(): "subsequent writes ... shall not fail due to the lack of free space"
	 */
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	equal(posix_fallocate(fd, 0, 1 << 20), 0);
	if (fst(fd).st_blocks * 512 < 1 << 20) {
		check(on(FUSE));
		differs("a store that writes a log reserves nothing: an overwrite needs new space, "
			"too");
	}
	equal(fst(fd).st_size, 1 << 20);
}
