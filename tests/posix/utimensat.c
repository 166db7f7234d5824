/* utimensat(2), futimens(3), utime(2) */
#include "tests/posix/posix.h"

#include <utime.h>

#define T(a, an, m, mn)                                                                            \
	((struct timespec[2]){{.tv_sec = a, .tv_nsec = an}, {.tv_sec = m, .tv_nsec = mn}})

static void times_are(const char *name, long a, long an, long m, long mn)
{
	struct stat s = st(name);

	equal(s.st_atim.tv_sec, a);
	equal(s.st_atim.tv_nsec, an);
	equal(s.st_mtim.tv_sec, m);
	equal(s.st_mtim.tv_nsec, mn);
}

CASE(nanoseconds)
{
	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(1234567890, 123456789, 1500000000, 999999999), 0));
	times_are("f", 1234567890, 123456789, 1500000000, 999999999);
	ok(utimensat(AT_FDCWD, "f", T(0, 0, 0, 1), 0));
	times_are("f", 0, 0, 0, 1);
}

CASE(far_times)
{
	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(-1000000000, 5, -1, 999999999), 0));
	times_are("f", -1000000000, 5, -1, 999999999);
	ok(utimensat(AT_FDCWD, "f", T(4000000000, 1, 9000000000, 2), 0));
	times_are("f", 4000000000, 1, 9000000000, 2);
}

CASE(later_than_2262)
{
	struct stat s;

	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(1, 1, 10000000000, 2), 0));
	s = st("f");
	if (s.st_mtim.tv_sec == INT64_MAX / 1000000000) {
		differs("what keeps times as nanoseconds in 64 bits ends in 2262, as ext4 does in "
			"2446: later is the last that can be kept");
		equal(s.st_mtim.tv_nsec, INT64_MAX % 1000000000);
		return;
	}
	times_are("f", 1, 1, 10000000000, 2);
}

CASE(beyond_what_can_be_kept)
{
	struct stat s;

	/* the nearest that can be kept, no error (ext4, xfs and others since Linux 5.4) */
	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(1LL << 60, 0, -(1LL << 60), 0), 0));
	s = st("f");
	check(s.st_atim.tv_sec > 5000000000);
	check(s.st_mtim.tv_sec < 0);
}

CASE(now_and_omit)
{
	struct timespec t;

	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(1, 2, 3, 4), 0));
	ok(utimensat(AT_FDCWD, "f", T(9, UTIME_OMIT, 5, 6), 0));
	times_are("f", 1, 2, 5, 6);
	ok(utimensat(AT_FDCWD, "f", T(7, 8, 9, UTIME_OMIT), 0));
	times_are("f", 7, 8, 5, 6);
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	ok(utimensat(AT_FDCWD, "f", T(9, UTIME_NOW, 9, UTIME_OMIT), 0));
	check(cmp_time(st("f").st_atim, t) >= 0);
	equal(st("f").st_mtim.tv_sec, 5);
	ok(utimensat(AT_FDCWD, "f", T(3, 4, 9, UTIME_NOW), 0));
	equal(st("f").st_atim.tv_sec, 3);
	check(cmp_time(st("f").st_mtim, t) >= 0);
	ok(utimensat(AT_FDCWD, "f", T(1, 2, 3, 4), 0));
	ok(utimensat(AT_FDCWD, "f", NULL, 0));
	check(cmp_time(st("f").st_mtim, t) >= 0);
	check(cmp_time(st("f").st_atim, t) >= 0);
	check(cmp_time(st("f").st_atim, st("f").st_mtim) == 0);
}

CASE(ctime_is_set)
{
	file("f", "");
	ok(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0));
	stamps("f", CTIM, ok(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0)));
	stamps("f", ATIM | CTIM, ok(utimensat(AT_FDCWD, "f", T(5, 1, 1, UTIME_OMIT), 0)));
	stamps("f", 0, ok(utimensat(AT_FDCWD, "f", T(5, UTIME_OMIT, 1, UTIME_OMIT), 0)));
}

CASE(bad_values)
{
	file("f", "");
	expect(utimensat(AT_FDCWD, "f", T(1, 1000000000, 1, 1), 0), EINVAL);
	expect(utimensat(AT_FDCWD, "f", T(1, 1, 1, -1), 0), EINVAL);
	expect(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0x8000), EINVAL);
	expect(utimensat(AT_FDCWD, "none", T(1, 1, 1, 1), 0), ENOENT);
	/* nothing to do: Linux does not even look for it */
	ok(utimensat(AT_FDCWD, "none", T(1, UTIME_OMIT, 1, UTIME_OMIT), 0));
	expect(utimensat(AT_FDCWD, "f/x", T(1, 1, 1, 1), 0), ENOTDIR);
	expect(utimensat(-1, "f", T(1, 1, 1, 1), 0), EBADF);
	expect(futimens(-1, T(1, 1, 1, 1)), EBADF);
	expect(utimensat(AT_FDCWD, "f", nowhere(), 0), EFAULT);
}

CASE(of_descriptors_and_all_types)
{
	int fd;

	file("f", "");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	ok(mkfifo("p", 0644));
	fd = (int)ok(open("f", O_RDONLY));
	ok(futimens(fd, T(10, 1, 20, 2)));
	times_are("f", 10, 1, 20, 2);
	ok(utimensat(AT_FDCWD, "d", T(10, 1, 20, 2), 0));
	times_are("d", 10, 1, 20, 2);
	ok(utimensat(AT_FDCWD, "p", T(10, 1, 20, 2), 0));
	times_are("p", 10, 1, 20, 2);
	ok(utimensat(AT_FDCWD, "s", T(30, 3, 40, 4), 0));
	times_are("f", 30, 3, 40, 4);
	ok(utimensat(AT_FDCWD, "s", T(50, 5, 60, 6), AT_SYMLINK_NOFOLLOW));
	times_are("s", 50, 5, 60, 6);
	times_are("f", 30, 3, 40, 4);
	ok(utimensat(fd, "", T(70, 7, 80, 8), AT_EMPTY_PATH));
	times_are("f", 70, 7, 80, 8);
	ok(utime("f", &(struct utimbuf){11, 12}));
	times_are("f", 11, 0, 12, 0);
}

CASE(who_may, ROOT)
{
	file("f", "");
	ok(chown("f", BOB, BOB));
	chmod_to("f", 0644);
	AS (ANN, ANN) {
		expect(utimensat(AT_FDCWD, "f", NULL, 0), EACCES);
		expect(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0), EPERM);
		expect(utimensat(AT_FDCWD, "f", T(0, UTIME_NOW, 0, UTIME_NOW), 0), EACCES);
		expect(utimensat(AT_FDCWD, "f", T(0, UTIME_NOW, 0, UTIME_OMIT), 0), EPERM);
	}
	chmod_to("f", 0666);
	AS (ANN, ANN) {
		ok(utimensat(AT_FDCWD, "f", NULL, 0)); /* who may write may touch */
		ok(utimensat(AT_FDCWD, "f", T(0, UTIME_NOW, 0, UTIME_NOW), 0));
		expect(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0), EPERM);
		expect(utimensat(AT_FDCWD, "f", T(0, UTIME_OMIT, 0, UTIME_NOW), 0), EPERM);
		ok(utimensat(AT_FDCWD, "f", T(0, UTIME_OMIT, 0, UTIME_OMIT), 0));
	}
	chmod_to("f", 0);
	AS (BOB, BOB) {
		ok(utimensat(AT_FDCWD, "f", NULL, 0));
		ok(utimensat(AT_FDCWD, "f", T(1, 1, 1, 1), 0));
	}
}

CASE(stay_over_close_and_sync)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(write(fd, "abc", 3));
	ok(futimens(fd, T(10, 1, 20, 2)));
	times_are("f", 10, 1, 20, 2); /* what was written before does not come later */
	ok(fsync(fd));
	times_are("f", 10, 1, 20, 2);
	ok(close(fd));
	times_are("f", 10, 1, 20, 2);
}

CASE(stay_for_other_changes)
{
	file("f", "abc");
	ok(utimensat(AT_FDCWD, "f", T(1000000000, 1, 1000000001, 2), 0));
	ok(chmod("f", 0600));
	ok(rename("f", "g"));
	ok(link("g", "h"));
	times_are("g", 1000000000, 1, 1000000001, 2);
}
