/* mknod(2), mkfifo(3), bind(2) of a local socket; devices */
#include "tests/posix/posix.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

CASE(all_types, ROOT)
{
	ok(mknod("r", S_IFREG | 0640, 0));
	ok(mknod("r2", 0600, 0)); /* no type: a regular file */
	ok(mknod("p", S_IFIFO | 0644, 0));
	ok(mknod("s", S_IFSOCK | 0644, 0));
	ok(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	ok(mknod("b", S_IFBLK | 0600, makedev(7, 1000)));
	check(S_ISREG(st("r").st_mode));
	check(S_ISREG(st("r2").st_mode));
	check(S_ISFIFO(st("p").st_mode));
	check(S_ISSOCK(st("s").st_mode));
	check(S_ISCHR(st("c").st_mode));
	check(S_ISBLK(st("b").st_mode));
	equal(mode("r"), 0640);
	equal(st("c").st_rdev, makedev(1, 3));
	equal(st("b").st_rdev, makedev(7, 1000));
	equal(st("c").st_nlink, 1);
	equal(st("c").st_size, 0);
}

CASE(large_device_numbers, ROOT)
{
	ok(mknod("c", S_IFCHR | 0600, makedev(0xfff, 0xfffff)));
	equal(st("c").st_rdev, makedev(0xfff, 0xfffff));
}

CASE(devices_work, ROOT)
{
	char c[4] = "xxx";
	int fd;

	ok(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	ok(mknod("zero", S_IFCHR | 0666, makedev(1, 5)));
	fd = open("null", O_RDWR);
	if (fd < 0) {
		equal(errno, EACCES);
		differs("mounted with nodev");
		return;
	}
	equal(ok(write(fd, "x", 1)), 1);
	equal(ok(read(fd, c, 1)), 0);
	fd = (int)ok(open("zero", O_RDONLY));
	equal(ok(read(fd, c, 3)), 3);
	check(!memcmp(c, "\0\0", 3));
	equal(st("zero").st_size, 0);
}

CASE(who_may_make_what, ROOT)
{
	chmod_to(".", 0777);
	AS (ANN, ANN) {
		ok(mknod("r", S_IFREG | 0644, 0));
		ok(mknod("p", S_IFIFO | 0644, 0));
		ok(mknod("s", S_IFSOCK | 0644, 0));
		expect(mknod("c", S_IFCHR | 0644, makedev(1, 3)), EPERM);
		expect(mknod("b", S_IFBLK | 0644, makedev(1, 3)), EPERM);
	}
	equal(st("p").st_uid, ANN);
}

CASE(refusals)
{
	file("f", "");
	expect(mknod("f", S_IFIFO | 0644, 0), EEXIST);
	expect(mknod("d", S_IFDIR | 0644, 0), EPERM);
	expect(mknod("x", S_IFLNK | 0644, 0), EINVAL);
	expect(mknod("x", 0150000, 0), EINVAL);
	expect(mkfifo("none/p", 0644), ENOENT);
	expect(mkfifo("f/p", 0644), ENOTDIR);
	expect(mkfifo("", 0644), ENOENT);
	expect(mkfifo("p/", 0644), ENOENT);
	expect(mkfifo(name_of(256, 'p'), 0644), ENAMETOOLONG);
	expect(mkfifo(nowhere(), 0644), EFAULT);
	expect(mkfifoat(-1, "p", 0644), EBADF);
}

CASE(rights, ROOT)
{
	ok(mkdir("d", 0755));
	AS (ANN, ANN) {
		expect(mkfifo("d/p", 0644), EACCES);
		expect(mknod("d/r", S_IFREG | 0644, 0), EACCES);
	}
	ok(mkfifo("p", 0600));
	AS (ANN, ANN) {
		expect(open("p", O_RDONLY | O_NONBLOCK), EACCES);
	}
}

CASE(times)
{
	ok(mkdir("d", 0755));
	stamps("d", MTIM | CTIM, ok(mkfifo("d/p", 0644)));
	stamps("d", MTIM | CTIM, ok(mknod("d/r", S_IFREG | 0644, 0)));
}

CASE(fifo_carries_bytes_and_keeps_none)
{
	char got[8] = "";
	int r, w;

	ok(mkfifo("p", 0644));
	r = (int)ok(open("p", O_RDONLY | O_NONBLOCK));
	w = (int)ok(open("p", O_WRONLY));
	equal(ok(write(w, "hello", 5)), 5);
	equal(ok(read(r, got, 8)), 5);
	same(got, "hello");
	expect(read(r, got, 8), EAGAIN);
	ok(write(w, "lost", 4));
	ok(close(w));
	ok(close(r));
	r = (int)ok(open("p", O_RDONLY | O_NONBLOCK));
	equal(ok(read(r, got, 8)), 0);
	equal(st("p").st_size, 0);
}

CASE(fifo_write_stamps)
{
	int fd;

	ok(mkfifo("p", 0644));
	fd = (int)ok(open("p", O_RDWR));
	if (on(FUSE)) {
		differs("the kernel keeps times of a FIFO's bytes in its own inode; FUSE does not "
			"hand them on");
		ok(write(fd, "x", 1));
		return;
	}
	stamps("p", MTIM | CTIM, ok(write(fd, "x", 1)));
}

CASE(sockets_connect, ROOT)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "s"};
	int srv = (int)ok(socket(AF_UNIX, SOCK_STREAM, 0)), c, a;
	char got;

	umask(0);
	ok(bind(srv, (struct sockaddr *)&un, sizeof(un)));
	check(S_ISSOCK(st("s").st_mode));
	expect(bind((int)ok(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&un, sizeof(un)),
		EADDRINUSE);
	c = (int)ok(socket(AF_UNIX, SOCK_STREAM, 0));
	expect(connect(c, (struct sockaddr *)&un, sizeof(un)), ECONNREFUSED);
	ok(listen(srv, 1));
	ok(connect(c, (struct sockaddr *)&un, sizeof(un)));
	a = (int)ok(accept(srv, NULL, NULL));
	equal(ok(write(c, "x", 1)), 1);
	equal(ok(read(a, &got, 1)), 1);
	chmod_to("s", 0600);
	AS (ANN, ANN) {
		int me = (int)ok(socket(AF_UNIX, SOCK_STREAM, 0));

		expect(connect(me, (struct sockaddr *)&un, sizeof(un)), EACCES);
	}
	ok(rename("s", "t"));
	expect(connect((int)ok(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&un,
		       sizeof(un)),
		ENOENT);
	ok(unlink("t"));
}

CASE(regular_by_mknod_is_a_file)
{
	ok(mknod("f", S_IFREG | 0644, 0));
	file("f", "x");
	holds("f", "x");
}
