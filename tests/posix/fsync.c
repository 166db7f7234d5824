/* fsync(2), fdatasync(2), sync_file_range(2), syncfs(2), sync(2), posix_fadvise(2), readahead(2) */
#include "tests/posix/posix.h"

CASE(of_all_kinds)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644)), d = (int)ok(open(".", O_RDONLY));

	ok(write(fd, "abc", 3));
	ok(fsync(fd));
	ok(write(fd, "abc", 3));
	ok(fdatasync(fd));
	ok(fsync(fd));
	ok(fsync(d));
	ok(fdatasync(d));
	ok(fsync((int)ok(open("f", O_RDONLY)))); /* also what is open for reading */
	ok(unlink("f"));
	ok(write(fd, "abc", 3));
	ok(fsync(fd));
	equal(fst(fd).st_size, 9);
}

CASE(refusals)
{
	int p[2];

	file("f", "");
	ok(pipe(p));
	expect(fsync(-1), EBADF);
	expect(fdatasync(-1), EBADF);
	expect(fsync(p[0]), EINVAL);
	ok(mkfifo("p", 0644));
	expect(fsync((int)ok(open("p", O_RDWR))), EINVAL);
	expect(fsync((int)ok(open("f", O_PATH))), EBADF);
	expect(syncfs(-1), EBADF);
}

CASE(changes_no_times)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR, 0644));

	ok(write(fd, "abc", 3));
	stamps("f", 0, ok(fsync(fd)));
	stamps("f", 0, ok(fdatasync(fd)));
	stamps("f", 0, ok(close(fd)));
}

CASE(file_ranges)
{
	int fd;

	fill("f", 1 << 20, 1);
	fd = (int)ok(open("f", O_RDWR));
	ok(pwrite(fd, "x", 1, 1000));
	ok(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	ok(sync_file_range(fd, 4096, 8192,
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
	expect(sync_file_range(fd, -1, 10, SYNC_FILE_RANGE_WRITE), EINVAL);
	expect(sync_file_range(fd, 0, 10, 0x100), EINVAL);
	expect(sync_file_range(-1, 0, 10, SYNC_FILE_RANGE_WRITE), EBADF);
}

CASE(whole_filesystem)
{
	file("f", "x");
	ok(syncfs((int)ok(open(".", O_RDONLY))));
	ok(syncfs((int)ok(open("f", O_RDONLY))));
}

CASE(often)
{
	int fd = (int)ok(open("f", O_CREAT | O_RDWR | O_APPEND, 0644));

	for (int i = 0; i < 50; i++) {
		ok(write(fd, "record\n", 7));
		ok(fdatasync(fd));
	}
	equal(fst(fd).st_size, 350);
}

CASE(by_many_at_once)
{
	enum { PROCS = 4, EACH = 20 };
	pid_t pid[PROCS];

	for (int p = 0; p < PROCS; p++) {
		char name[8];
		int fd;

		pid[p] = beside();
		if (pid[p])
			continue;
		snprintf(name, sizeof(name), "f%d", p);
		fd = (int)ok(open(name, O_CREAT | O_WRONLY, 0644));
		for (int i = 0; i < EACH; i++) {
			ok(pwrite(fd, "x", 1, i * 5000));
			ok(fsync(fd));
		}
		quit();
	}
	for (int p = 0; p < PROCS; p++)
		join(pid[p]);
	equal(st("f3").st_size, (EACH - 1) * 5000 + 1);
}

CASE(advice)
{
	static const int all[] = {POSIX_FADV_NORMAL, POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
		POSIX_FADV_NOREUSE, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED};
	char want[1000], got[1000];
	int fd;

	fill("f", 300000, 1);
	fd = (int)ok(open("f", O_RDWR));
	for (size_t i = 0; i < COUNT(all); i++) {
		equal(posix_fadvise(fd, 0, 0, all[i]), 0);
		equal(ok(pread(fd, got, 1000, 200000)), 1000);
		bytes(want, 1000, 1, 200000);
		check(!memcmp(want, got, 1000));
	}
	equal(posix_fadvise(fd, 0, 0, 99), EINVAL);
	equal(posix_fadvise(-1, 0, 0, 0), EBADF);
	ok(readahead(fd, 0, 100000));
}

CASE(what_was_dropped_is_read_again)
{
	enum { LEN = 500000 };
	static char want[LEN], got[LEN];
	int fd;

	fill("f", LEN, 1);
	bytes(want, LEN, 1, 0);
	fd = (int)ok(open("f", O_RDWR));
	ok(pwrite(fd, "changed", 7, 1234));
	memcpy(want + 1234, "changed", 7);
	ok(fsync(fd));
	equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	equal(ok(pread(fd, got, LEN, 0)), LEN);
	check(!memcmp(want, got, LEN));
}
