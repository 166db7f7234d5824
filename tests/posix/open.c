/* open(2), openat(2), creat(2). O_TMPFILE is in tmpfile.c. */
#include "tests/posix/posix.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

CASE(creates_with_mode_and_umask)
{
	umask(027);
	ok(close(ok(open("f", O_CREAT | O_WRONLY, 0666))));
	equal(mode("f"), 0640);
	umask(0);
	ok(close(ok(open("g", O_CREAT | O_WRONLY, 0777))));
	equal(mode("g"), 0777);
	ok(close(ok(open("h", O_CREAT | O_WRONLY, 0))));
	equal(mode("h"), 0);
	check(S_ISREG(st("h").st_mode));
	equal(st("h").st_size, 0);
	equal(st("h").st_nlink, 1);
}

CASE(set_id_and_sticky_bits_at_creation)
{
	ok(close(ok(open("u", O_CREAT | O_WRONLY, 04755))));
	equal(mode("u"), 04755);
	ok(close(ok(open("s", O_CREAT | O_WRONLY, 01644))));
	equal(mode("s"), 01644);
}

CASE(o_excl_refuses_what_is_there)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("nowhere", "s"));
	ok(mkfifo("p", 0644));
	expect(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	expect(open("d", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	expect(open("s", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	expect(open("p", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	expect(access("nowhere", F_OK), ENOENT);
	ok(close(ok(open("g", O_CREAT | O_EXCL | O_WRONLY, 0644))));
}

CASE(o_excl_has_one_winner)
{
	enum { ROUNDS = 20, PROCS = 4 };
	pid_t pid[PROCS];
	int won;

	for (int p = 0; p < PROCS; p++) {
		pid[p] = beside();
		if (pid[p] == 0) {
			for (int i = 0; i < ROUNDS; i++) {
				char name[16];
				int fd;

				snprintf(name, sizeof(name), "f%d", i);
				fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
				if (fd < 0) {
					equal(errno, EEXIST);
					continue;
				}
				ok(close(fd));
				snprintf(name, sizeof(name), "w%d.%d", i, p);
				ok(close(ok(creat(name, 0644))));
			}
			quit();
		}
	}
	for (int p = 0; p < PROCS; p++)
		join(pid[p]);
	won = names_in(".");
	equal(won, 2 * ROUNDS);
}

CASE(o_creat_opens_what_is_there)
{
	file("f", "abc");
	chmod_to("f", 0604);
	ok(close(ok(open("f", O_CREAT | O_RDWR, 0777))));
	equal(mode("f"), 0604);
	holds("f", "abc");
}

CASE(o_creat_through_a_dangling_symlink)
{
	ok(symlink("t", "s"));
	ok(close(ok(open("s", O_CREAT | O_WRONLY, 0644))));
	check(S_ISREG(st("t").st_mode));
	check(S_ISLNK(st("s").st_mode));
	ok(symlink("no/where", "s2"));
	expect(open("s2", O_CREAT | O_WRONLY, 0644), ENOENT);
}

CASE(creation_changes_times_of_the_directory)
{
	ok(mkdir("d", 0755));
	stamps("d", MTIM | CTIM, ok(close(ok(creat("d/f", 0644)))));
	stamps("d", 0, ok(close(ok(creat("d/f", 0644)))));
	stamps("d", 0, ok(close(ok(open("d/f", O_RDWR | O_CREAT, 0644)))));
	stamps("d", 0, expect(open("d/f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST));
}

CASE(creation_sets_the_files_times)
{
	struct timespec before, after;
	struct stat s;

	clock_gettime(CLOCK_REALTIME_COARSE, &before);
	ok(close(ok(creat("f", 0644))));
	tick();
	clock_gettime(CLOCK_REALTIME, &after);
	s = st("f");
	check(cmp_time(s.st_atim, before) >= 0);
	check(cmp_time(s.st_mtim, before) >= 0);
	check(cmp_time(s.st_ctim, before) >= 0);
	check(cmp_time(s.st_atim, after) <= 0);
	check(cmp_time(s.st_mtim, after) <= 0);
	check(cmp_time(s.st_ctim, after) <= 0);
}

CASE(plain_open_changes_no_times)
{
	file("f", "x");
	stamps("f", 0, ok(close(ok(open("f", O_RDONLY)))));
	stamps("f", 0, ok(close(ok(open("f", O_RDWR)))));
	stamps("f", 0, ok(close(ok(open("f", O_WRONLY | O_APPEND | O_CREAT, 0600)))));
}

CASE(o_trunc_empties)
{
	fill("f", 300000, 1);
	ok(close(ok(open("f", O_WRONLY | O_TRUNC))));
	equal(st("f").st_size, 0);
	equal(st("f").st_blocks, 0);
	holds("f", "");
	file("g", "abc");
	ok(close(ok(open("g", O_RDWR | O_TRUNC))));
	equal(st("g").st_size, 0);
}

CASE(o_trunc_updates_mtime)
{
	file("f", "abc");
	stamps("f", MTIM | CTIM, ok(close(ok(open("f", O_WRONLY | O_TRUNC)))));
	/* also of a file that is empty already: SUSv4 open(), "if O_TRUNC is set and the file did
	 * previously exist" */
	stamps("f", MTIM | CTIM, ok(close(ok(open("f", O_WRONLY | O_TRUNC)))));
}

CASE(o_trunc_leaves_other_descriptors_working)
{
	char c[4] = "";
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_RDWR));
	ok(close(ok(open("f", O_WRONLY | O_TRUNC))));
	equal(ok(read(fd, c, 3)), 0);
	equal(ok(pwrite(fd, "xy", 2, 1)), 2);
	equal(ok(pread(fd, c, 4, 0)), 3);
	check(!memcmp(c, "\0xy", 3));
	ok(close(fd));
}

CASE(o_append_writes_at_the_end)
{
	int fd, fd2;

	file("f", "abc");
	fd = (int)ok(open("f", O_WRONLY | O_APPEND));
	fd2 = (int)ok(open("f", O_WRONLY | O_APPEND));
	equal(ok(write(fd, "1", 1)), 1);
	equal(ok(write(fd2, "2", 1)), 1);
	equal(ok(lseek(fd, 0, SEEK_SET)), 0);
	equal(ok(write(fd, "3", 1)), 1);
	equal(ok(lseek(fd, 0, SEEK_CUR)), 6);
	ok(ftruncate(fd, 1));
	equal(ok(write(fd2, "4", 1)), 1);
	ok(close(fd));
	ok(close(fd2));
	holds("f", "a4");
}

CASE(o_append_pwrite_appends_too)
{
	int fd;

	/* BUGS of pwrite(2): Linux appends, whatever the offset; POSIX would not */
	file("f", "abc");
	fd = (int)ok(open("f", O_WRONLY | O_APPEND));
	equal(ok(pwrite(fd, "X", 1, 0)), 1);
	ok(close(fd));
	holds("f", "abcX");
}

CASE(o_append_by_fcntl)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_WRONLY));
	ok(fcntl(fd, F_SETFL, O_APPEND));
	equal(ok(fcntl(fd, F_GETFL)) & O_APPEND, O_APPEND);
	equal(ok(write(fd, "d", 1)), 1);
	ok(fcntl(fd, F_SETFL, 0));
	equal(ok(pwrite(fd, "A", 1, 0)), 1);
	ok(close(fd));
	holds("f", "Abcd");
}

CASE(o_append_given_up)
{
	int fd;

	file("f", "abc");
	fd = (int)ok(open("f", O_WRONLY | O_APPEND));
	equal(ok(write(fd, "d", 1)), 1);
	ok(fcntl(fd, F_SETFL, 0));
	equal(ok(pwrite(fd, "A", 1, 0)), 1);
	ok(close(fd));
	holds("f", "Abcd");
}

CASE(o_append_from_processes_loses_nothing)
{
	enum { PROCS = 4, EACH = 100, LEN = 61 };
	pid_t pid[PROCS];
	unsigned next[PROCS] = {0};
	char rec[LEN];
	int fd;

	file("f", "");
	for (int p = 0; p < PROCS; p++) {
		pid[p] = beside();
		if (pid[p] == 0) {
			fd = (int)ok(open("f", O_WRONLY | O_APPEND));
			for (int i = 0; i < EACH; i++) {
				memset(rec, 'a' + p, sizeof(rec));
				snprintf(rec, sizeof(rec), "%c%04d", 'a' + p, i);
				rec[5] = (char)('a' + p);
				equal(ok(write(fd, rec, LEN)), LEN);
			}
			quit();
		}
	}
	for (int p = 0; p < PROCS; p++)
		join(pid[p]);
	equal(st("f").st_size, PROCS * EACH * LEN);
	fd = (int)ok(open("f", O_RDONLY));
	while (ok(read(fd, rec, LEN)) == LEN) {
		unsigned p = (unsigned)(rec[0] - 'a');

		if (!check(p < PROCS))
			break;
		equal(atoi((char[]){rec[1], rec[2], rec[3], rec[4], 0}), next[p]);
		next[p]++;
		for (int i = 5; i < LEN; i++) {
			if (rec[i] != (char)('a' + p)) {
				check(!"a record of one writer only");
				break;
			}
		}
	}
	ok(close(fd));
}

CASE(o_nofollow)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	file("d/f", "y");
	ok(symlink("f", "s"));
	ok(symlink("d", "sd"));
	expect(open("s", O_RDONLY | O_NOFOLLOW), ELOOP);
	expect(open("s", O_RDWR | O_CREAT | O_NOFOLLOW, 0644), ELOOP);
	ok(close(ok(open("f", O_RDONLY | O_NOFOLLOW))));
	/* only the last part counts */
	ok(close(ok(open("sd/f", O_RDONLY | O_NOFOLLOW))));
	expect(open("sd", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
}

CASE(o_directory)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	ok(symlink("f", "sf"));
	ok(symlink("d", "sd"));
	ok(mkfifo("p", 0644));
	ok(close(ok(open("d", O_RDONLY | O_DIRECTORY))));
	ok(close(ok(open("sd", O_RDONLY | O_DIRECTORY))));
	expect(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
	expect(open("sf", O_RDONLY | O_DIRECTORY), ENOTDIR);
	expect(open("p", O_RDONLY | O_DIRECTORY), ENOTDIR); /* does not block */
	expect(open("none", O_RDONLY | O_DIRECTORY), ENOENT);
	expect(open("d", O_RDWR | O_DIRECTORY), EISDIR);
}

CASE(directories_are_not_written)
{
	char c;
	int fd;

	ok(mkdir("d", 0755));
	expect(open("d", O_WRONLY), EISDIR);
	expect(open("d", O_RDWR), EISDIR);
	expect(open("d", O_RDONLY | O_TRUNC), EISDIR);
	expect(open("d", O_RDONLY | O_CREAT, 0644), EISDIR);
	expect(open("new/", O_WRONLY | O_CREAT, 0644), EISDIR);
	fd = (int)ok(open("d", O_RDONLY));
	expect(read(fd, &c, 1), EISDIR);
	expect(pread(fd, &c, 1, 0), EISDIR);
	expect(write(fd, "x", 1), EBADF);
	ok(close(fd));
}

CASE(missing_things)
{
	file("f", "x");
	ok(mkdir("d", 0755));
	expect(open("none", O_RDONLY), ENOENT);
	expect(open("none/f", O_CREAT | O_WRONLY, 0644), ENOENT);
	expect(open("f/g", O_RDONLY), ENOTDIR);
	expect(open("f/", O_RDONLY), ENOTDIR);
	expect(open("f/g", O_CREAT | O_WRONLY, 0644), ENOTDIR);
	expect(open("", O_RDONLY), ENOENT);
	expect(open("d/../none", O_RDONLY), ENOENT);
	expect(open(nowhere(), O_RDONLY), EFAULT);
}

CASE(names_too_long)
{
	char *n255 = name_of(255, 'n'), *n256 = name_of(256, 'n'), path[PATH_MAX + 2];

	ok(close(ok(open(n255, O_CREAT | O_WRONLY, 0644))));
	ok(close(ok(open(n255, O_RDONLY))));
	expect(open(n256, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	expect(open(n256, O_RDONLY), ENAMETOOLONG);
	for (size_t i = 0; i + 2 < sizeof(path); i += 2)
		memcpy(path + i, "./", 2);
	path[PATH_MAX] = 0; /* PATH_MAX bytes and the end: one too many */
	expect(open(path, O_RDONLY), ENAMETOOLONG);
	path[PATH_MAX - 1] = 0;
	ok(close(ok(open(path, O_RDONLY))));
}

CASE(any_byte_but_slash_and_nul_in_names)
{
	char name[2] = "";

	for (int c = 1; c < 256; c++) {
		if (c == '/' || c == '.')
			continue;
		name[0] = (char)c;
		ok(close(ok(open(name, O_CREAT | O_EXCL | O_WRONLY, 0644))));
	}
	equal(names_in("."), 253);
	ok(unlink("\xff"));
	ok(unlink("\n"));
	equal(names_in("."), 251);
}

CASE(symlink_loops)
{
	ok(symlink("b", "a"));
	ok(symlink("a", "b"));
	ok(symlink("self", "self"));
	expect(open("a", O_RDONLY), ELOOP);
	expect(open("self", O_RDONLY), ELOOP);
	expect(open("self/x", O_RDONLY), ELOOP);
	expect(open("a", O_CREAT | O_WRONLY, 0644), ELOOP);
}

CASE(fifo_without_reader)
{
	int r, w;

	ok(mkfifo("p", 0644));
	expect(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
	r = (int)ok(open("p", O_RDONLY | O_NONBLOCK));
	w = (int)ok(open("p", O_WRONLY | O_NONBLOCK));
	ok(close(r));
	ok(close(w));
	ok(close(ok(open("p", O_RDWR)))); /* Linux: never blocks */
}

CASE(fifo_blocks_until_both_are_there)
{
	char got[6] = "";
	pid_t pid;
	int fd;

	ok(mkfifo("p", 0644));
	pid = beside();
	if (pid == 0) {
		fd = (int)ok(open("p", O_WRONLY));
		equal(ok(write(fd, "hello", 5)), 5);
		quit();
	}
	fd = (int)ok(open("p", O_RDONLY));
	equal(ok(read(fd, got, 5)), 5);
	same(got, "hello");
	equal(ok(read(fd, got, 1)), 0);
	join(pid);
	equal(st("p").st_size, 0);
}

CASE(sockets_are_not_opened)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "s"};
	int fd = (int)ok(socket(AF_UNIX, SOCK_STREAM, 0));

	ok(bind(fd, (struct sockaddr *)&un, sizeof(un)));
	expect(open("s", O_RDONLY), ENXIO);
	expect(open("s", O_RDWR), ENXIO);
	ok(close(fd));
}

CASE(devices_without_driver, ROOT)
{
	ok(mknod("c", S_IFCHR | 0666, makedev(0xfff, 0xfffff)));
	ok(mknod("b", S_IFBLK | 0666, makedev(0xfff, 0xfffff)));
	expect(open("c", O_RDONLY), ENXIO);
	expect(open("b", O_RDONLY), ENXIO);
}

CASE(o_path)
{
	char c, buf[16] = "";
	int fd;

	file("f", "abc");
	ok(mkdir("d", 0755));
	ok(symlink("f", "s"));
	fd = (int)ok(open("f", O_PATH));
	expect(read(fd, &c, 1), EBADF);
	expect(write(fd, "x", 1), EBADF);
	expect(fchmod(fd, 0600), EBADF);
	expect(fchown(fd, 0, 0), EBADF);
	expect(ioctl(fd, FIONREAD, &c), EBADF);
	equal(fst(fd).st_ino, st("f").st_ino);
	equal(ok(fcntl(fd, F_GETFL)) & O_PATH, O_PATH);
	ok(close(fd));
	fd = (int)ok(open("s", O_PATH | O_NOFOLLOW));
	check(S_ISLNK(fst(fd).st_mode));
	equal(ok(readlinkat(fd, "", buf, sizeof(buf))), 1);
	same(buf, "f");
	ok(close(fd));
	fd = (int)ok(open("d", O_PATH));
	ok(close(ok(openat(fd, "g", O_CREAT | O_WRONLY, 0644))));
	ok(fchdir(fd));
	check(S_ISREG(st("g").st_mode));
	ok(close(fd));
}

CASE(o_path_descriptor_opened_again)
{
	char path[40], c;
	int fd, fd2;

	file("f", "x");
	fd = (int)ok(open("f", O_PATH));
	ok(rename("f", "g"));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd2 = (int)ok(open(path, O_RDWR));
	equal(ok(read(fd2, &c, 1)), 1);
	ok(close(fd));
	ok(close(fd2));
}

CASE(o_sync_and_o_dsync)
{
	static const int flags[] = {O_SYNC, O_DSYNC, O_SYNC | O_APPEND, O_DSYNC | O_TRUNC};

	for (size_t i = 0; i < COUNT(flags); i++) {
		int fd = (int)ok(open("f", O_CREAT | O_RDWR | flags[i], 0644));
		char got[200];

		equal(ok(fcntl(fd, F_GETFL)) & (flags[i] & O_SYNC), flags[i] & O_SYNC);
		ok(ftruncate(fd, 0));
		for (int n = 0; n < 10; n++)
			equal(ok(write(fd, "0123456789", 10)), 10);
		equal(fst(fd).st_size, 100);
		equal(ok(pread(fd, got, sizeof(got), 0)), 100);
		ok(close(fd));
	}
}

CASE(unknown_flags_are_ignored)
{
	/* open(2): "unknown flags are simply ignored" */
	ok(close(ok(open("f", O_CREAT | O_WRONLY | 0x40000000, 0644))));
}

CASE(o_cloexec)
{
	int fd = (int)ok(open(".", O_RDONLY | O_CLOEXEC));

	equal(ok(fcntl(fd, F_GETFD)) & FD_CLOEXEC, FD_CLOEXEC);
	ok(close(fd));
}

CASE(openat_relative_and_absolute)
{
	char cwd[PATH_MAX], path[PATH_MAX + 8];
	int d, f;

	ok(mkdir("d", 0755));
	file("d/f", "x");
	file("g", "y");
	d = (int)ok(open("d", O_RDONLY | O_DIRECTORY));
	ok(close(ok(openat(d, "f", O_RDONLY))));
	ok(close(ok(openat(d, "../g", O_RDONLY))));
	expect(openat(d, "g", O_RDONLY), ENOENT);
	check(getcwd(cwd, sizeof(cwd)) != NULL);
	snprintf(path, sizeof(path), "%s/g", cwd);
	ok(close(ok(openat(d, path, O_RDONLY))));
	ok(close(ok(openat(-1, path, O_RDONLY))));
	expect(openat(-1, "g", O_RDONLY), EBADF);
	ok(close(ok(openat(AT_FDCWD, "g", O_RDONLY))));
	f = (int)ok(open("g", O_RDONLY));
	expect(openat(f, "x", O_RDONLY), ENOTDIR);
	ok(close(f));
	ok(close(d));
}

CASE(in_a_removed_directory)
{
	int d;

	ok(mkdir("d", 0755));
	d = (int)ok(open("d", O_RDONLY | O_DIRECTORY));
	ok(rmdir("d"));
	expect(openat(d, "f", O_CREAT | O_WRONLY, 0644), ENOENT);
	expect(openat(d, "f", O_RDONLY), ENOENT);
	ok(close(d));
}

CASE(two_descriptors_are_two_offsets)
{
	char c;
	int a, b, d;

	file("f", "abc");
	a = (int)ok(open("f", O_RDONLY));
	b = (int)ok(open("f", O_RDONLY));
	d = (int)ok(dup(a));
	equal(ok(read(a, &c, 1)), 1);
	equal(ok(read(d, &c, 1)), 1);
	equal(c, 'b');
	equal(ok(read(b, &c, 1)), 1);
	equal(c, 'a');
}
