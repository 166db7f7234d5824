/* stat(2), lstat(2), fstat(2), fstatat(2), statx(2), statfs(2) */
#include "tests/posix/posix.h"

#include <sys/statvfs.h>
#include <sys/vfs.h>

CASE(types)
{
	file("f", "abc");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	ok(mkfifo("p", 0644));
	check(S_ISREG(st("f").st_mode));
	check(S_ISDIR(st("d").st_mode));
	check(S_ISLNK(st("s").st_mode));
	check(S_ISFIFO(st("p").st_mode));
	equal(st("f").st_dev, st("d").st_dev);
	check(st("f").st_ino != st("d").st_ino);
	check(st("f").st_blksize >= 512);
}

CASE(refusals)
{
	struct stat s;

	file("f", "");
	ok(symlink("l", "l"));
	expect(stat("none", &s), ENOENT);
	expect(stat("f/x", &s), ENOTDIR);
	expect(stat("l", &s), ELOOP);
	expect(stat(name_of(256, 's'), &s), ENAMETOOLONG);
	expect(stat(nowhere(), &s), EFAULT);
	expect(fstat(-1, &s), EBADF);
	expect(fstatat(AT_FDCWD, "f", &s, 0x40000000), EINVAL);
	expect(fstatat(-1, "f", &s, 0), EBADF);
	ok(lstat("l", &s));
}

CASE(by_empty_path)
{
	struct stat s;
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDONLY));
	ok(fstatat(fd, "", &s, AT_EMPTY_PATH));
	equal(s.st_size, 3);
	ok(fstatat(AT_FDCWD, "", &s, AT_EMPTY_PATH));
	check(S_ISDIR(s.st_mode));
}

CASE(size_and_blocks)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	equal(st("f").st_blocks, 0);
	fill("g", 1000000, 1);
	ok(fsync((int)ok(open("g", O_RDONLY))));
	equal(st("g").st_size, 1000000);
	check(st("g").st_blocks * 512 >= 1000000);
	check(st("g").st_blocks * 512 < 3000000);
	ok(ftruncate(fd, 1LL << 40));
	equal(st("f").st_size, 1LL << 40);
	check(st("f").st_blocks < 1000);
	ok(truncate("g", 0));
	equal(st("g").st_blocks, 0);
}

CASE(size_grows_while_it_is_written)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	for (int i = 1; i <= 50; i++) {
		ok(write(fd, "0123456789", 10));
		equal(st("f").st_size, 10 * i);
		equal(fst(fd).st_size, 10 * i);
	}
}

CASE(inode_numbers_stay)
{
	ino_t ino;
	int fd;

	file("f", "x");
	ino = st("f").st_ino;
	ok(rename("f", "g"));
	ok(chmod("g", 0600));
	ok(truncate("g", 1000000));
	ok(link("g", "h"));
	ok(unlink("g"));
	fd = (int)ok(open("h", O_RDONLY));
	equal(st("h").st_ino, ino);
	equal(fst(fd).st_ino, ino);
}

CASE(inode_numbers_differ)
{
	enum { N = 200 };
	ino_t ino[N];
	char name[16];

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (i % 2)
			file(name, "");
		else
			ok(mkdir(name, 0755));
		ino[i] = st(name).st_ino;
		for (int j = 0; j < i; j++) {
			if (ino[j] == ino[i])
				check(!"inode numbers differ");
		}
	}
}

CASE(needs_no_right_to_the_file, ROOT)
{
	struct stat s;

	file("f", "x");
	chmod_to("f", 0);
	ok(mkdir("d", 0755));
	file("d/f", "");
	chmod_to("d", 0700);
	AS (ANN, ANN) {
		ok(stat("f", &s));
		expect(stat("d/f", &s), EACCES);
	}
}

CASE(changes_no_times)
{
	struct stat s;

	file("f", "x");
	stamps("f", 0, ok(stat("f", &s)));
	stamps(".", 0, ok(stat("f", &s)));
}

CASE(statx_basic)
{
	struct statx x;
	struct stat s;

	fill("f", 12345, 1);
	ok(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &x));
	s = st("f");
	equal(x.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
	equal(x.stx_size, s.st_size);
	equal(x.stx_ino, s.st_ino);
	equal(x.stx_mode, s.st_mode);
	equal(x.stx_nlink, s.st_nlink);
	equal(x.stx_uid, s.st_uid);
	equal(x.stx_blocks, s.st_blocks);
	equal(x.stx_mtime.tv_sec, s.st_mtim.tv_sec);
	equal(x.stx_mtime.tv_nsec, s.st_mtim.tv_nsec);
	equal(makedev(x.stx_dev_major, x.stx_dev_minor), s.st_dev);
}

CASE(statx_birth_time)
{
	struct timespec before;
	struct statx a, b;

	clock_gettime(CLOCK_REALTIME_COARSE, &before);
	file("f", "x");
	ok(statx(AT_FDCWD, "f", 0, STATX_BTIME, &a));
	if (!check(a.stx_mask & STATX_BTIME))
		return;
	check(a.stx_btime.tv_sec > before.tv_sec ||
		(a.stx_btime.tv_sec == before.tv_sec && a.stx_btime.tv_nsec >= before.tv_nsec));
	tick();
	file("f", "changed");
	ok(chmod("f", 0600));
	ok(utimensat(AT_FDCWD, "f", (struct timespec[2]){{5, 5}, {5, 5}}, 0));
	ok(rename("f", "g"));
	ok(statx(AT_FDCWD, "g", 0, STATX_BTIME | STATX_BASIC_STATS, &b));
	equal(b.stx_btime.tv_sec, a.stx_btime.tv_sec);
	equal(b.stx_btime.tv_nsec, a.stx_btime.tv_nsec);
	equal(b.stx_mtime.tv_sec, 5);
}

CASE(statx_flags)
{
	struct statx x;

	file("f", "x");
	ok(symlink("f", "s"));
	ok(statx(AT_FDCWD, "s", AT_SYMLINK_NOFOLLOW, STATX_TYPE, &x));
	check(S_ISLNK(x.stx_mode));
	ok(statx(AT_FDCWD, "s", AT_STATX_FORCE_SYNC, STATX_SIZE, &x));
	equal(x.stx_size, 1);
	ok(statx(AT_FDCWD, "f", AT_STATX_DONT_SYNC, STATX_SIZE, &x));
	ok(statx((int)ok(open("f", O_RDONLY)), "", AT_EMPTY_PATH, STATX_ALL, &x));
	expect(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &x), EINVAL);
	expect(statx(AT_FDCWD, "f", 0, 1u << 31, &x), EINVAL);
	expect(statx(AT_FDCWD, "f", 0x40000000, 0, &x), EINVAL);
	expect(statx(AT_FDCWD, "none", 0, 0, &x), ENOENT);
}

CASE(times_never_go_back)
{
	struct stat last;
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	last = fst(fd);
	for (int i = 0; i < 200; i++) {
		struct stat s;

		switch (i % 5) {
		case 0:
			ok(pwrite(fd, "x", 1, i * 1000));
			break;
		case 1:
			ok(fchmod(fd, 0600));
			break;
		case 2:
			ok(ftruncate(fd, i * 700));
			break;
		case 3:
			ok(close(ok(open("f", O_RDONLY))));
			break;
		default:
			ok(i % 2 ? link("f", "g") : rename("f", "f"));
			(void)unlink("g");
			break;
		}
		s = i % 3 ? st("f") : fst(fd);
		check(cmp_time(s.st_mtim, last.st_mtim) >= 0);
		check(cmp_time(s.st_ctim, last.st_ctim) >= 0);
		check(cmp_time(s.st_ctim, s.st_mtim) >= 0);
		last = s;
	}
}

CASE(time_of_the_clock)
{
	/* neither ahead of the clock nor behind what was read before */
	for (int i = 0; i < 50; i++) {
		struct timespec a, b;
		struct stat s;

		clock_gettime(CLOCK_REALTIME_COARSE, &a);
		file("f", "x");
		s = st("f");
		clock_gettime(CLOCK_REALTIME, &b);
		check(cmp_time(s.st_mtim, a) >= 0);
		check(cmp_time(s.st_mtim, b) <= 0);
		check(cmp_time(s.st_ctim, b) <= 0);
	}
}

CASE(statfs_fields)
{
	struct statvfs v, w;
	struct statfs f;
	int fd;

	file("f", "x");
	ok(statvfs("f", &v));
	check(v.f_bsize >= 512);
	check(v.f_frsize >= 512);
	check(v.f_blocks > 0);
	check(v.f_bfree <= v.f_blocks);
	check(v.f_bavail <= v.f_bfree);
	check(v.f_ffree <= v.f_files);
	equal(v.f_namemax, 255);
	fd = (int)ok(open("f", O_RDONLY));
	ok(fstatvfs(fd, &w));
	equal(w.f_blocks, v.f_blocks);
	ok(statfs(".", &f));
	equal(f.f_namelen, 255);
	expect(statvfs("none", &v), ENOENT);
	expect(statvfs("f/x", &v), ENOTDIR);
	expect(statfs("f", nowhere()), EFAULT);
	expect(fstatvfs(-1, &v), EBADF);
}
