/* fcntl(2): record locks, of processes (F_SETLK) and of open file descriptions (F_OFD_SETLK) */
#include "tests/posix/posix.h"

#include <signal.h>

static int lock(int fd, int cmd, int type, off_t from, off_t len)
{
	struct flock l = {
		.l_type = (short)type, .l_whence = SEEK_SET, .l_start = from, .l_len = len};

	return fcntl(fd, cmd, &l);
}

static int opened(const char *name)
{
	return (int)ok(open(name, O_CREAT | O_RDWR, 0644));
}

/* can another process lock this? */
static void other(const char *name, int type, off_t from, off_t len, bool may)
{
	CHILD () {
		int rc = lock(opened(name), F_SETLK, type, from, len);

		if (may)
			equal(rc, 0);
		else
			check(rc == -1 && (errno == EAGAIN || errno == EACCES));
	}
}

CASE(ranges)
{
	int fd = opened("f");

	ok(lock(fd, F_SETLK, F_WRLCK, 100, 50));
	other("f", F_WRLCK, 100, 50, false);
	other("f", F_WRLCK, 149, 1, false);
	other("f", F_WRLCK, 150, 1, true);
	other("f", F_WRLCK, 0, 100, true);
	other("f", F_WRLCK, 0, 101, false);
	other("f", F_RDLCK, 0, 0, false);
	ok(lock(fd, F_SETLK, F_UNLCK, 120, 10)); /* a hole in the middle */
	other("f", F_WRLCK, 120, 10, true);
	other("f", F_WRLCK, 119, 1, false);
	other("f", F_WRLCK, 130, 1, false);
	ok(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	other("f", F_WRLCK, 0, 0, true);
}

CASE(shared_and_exclusive)
{
	int fd = opened("f");

	ok(lock(fd, F_SETLK, F_RDLCK, 0, 10));
	other("f", F_RDLCK, 0, 10, true);
	other("f", F_WRLCK, 0, 10, false);
	ok(lock(fd, F_SETLK, F_WRLCK, 5, 5)); /* upgraded in part */
	other("f", F_RDLCK, 0, 5, true);
	other("f", F_RDLCK, 5, 1, false);
	ok(lock(fd, F_SETLK, F_RDLCK, 0, 10)); /* and down again */
	other("f", F_RDLCK, 0, 10, true);
}

CASE(to_the_end_and_beyond)
{
	int fd = opened("f");

	ok(lock(fd, F_SETLK, F_WRLCK, 1000, 0));
	other("f", F_WRLCK, 1LL << 50, 1, false);
	other("f", F_WRLCK, INT64_MAX, 1, false);
	other("f", F_WRLCK, 0, 1000, true);
}

CASE(negative_length_and_whence)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 0, .l_len = -10};
	int fd;

	file("f", "0123456789abcdefghij");
	fd = opened("f");
	ok(lseek(fd, 15, SEEK_SET));
	ok(fcntl(fd, F_SETLK, &l)); /* 5..14 */
	other("f", F_WRLCK, 4, 1, true);
	other("f", F_WRLCK, 5, 1, false);
	other("f", F_WRLCK, 14, 1, false);
	other("f", F_WRLCK, 15, 1, true);
	l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 1};
	ok(fcntl(fd, F_SETLK, &l));
	other("f", F_WRLCK, 18, 1, false);
	other("f", F_WRLCK, 19, 1, true);
}

CASE(own_locks_never_conflict)
{
	int a = opened("f"), b = opened("f");

	ok(lock(a, F_SETLK, F_WRLCK, 0, 10));
	ok(lock(b, F_SETLK, F_WRLCK, 0, 10));
}

CASE(closing_any_descriptor_releases)
{
	int a = opened("f");

	ok(lock(a, F_SETLK, F_WRLCK, 0, 10));
	other("f", F_WRLCK, 0, 10, false);
	ok(close(opened("f")));
	other("f", F_WRLCK, 0, 10, true);
}

CASE(not_inherited)
{
	int a = opened("f");

	ok(lock(a, F_SETLK, F_WRLCK, 0, 10));
	CHILD () {
		check(lock(a, F_SETLK, F_WRLCK, 0, 10) == -1);
	}
	other("f", F_WRLCK, 0, 10, false); /* the child's end took nothing away */
}

CASE(getlk)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int a = opened("f");
	pid_t me = getpid();

	ok(lock(a, F_SETLK, F_RDLCK, 10, 20));
	ok(fcntl(a, F_GETLK, &l));
	equal(l.l_type, F_UNLCK); /* one's own is no obstacle */
	CHILD () {
		struct flock g = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int b = opened("f");

		ok(fcntl(b, F_GETLK, &g));
		equal(g.l_type, F_RDLCK);
		equal(g.l_start, 10);
		equal(g.l_len, 20);
		equal(g.l_pid, me);
		equal(g.l_whence, SEEK_SET);
		g = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET};
		ok(fcntl(b, F_GETLK, &g));
		equal(g.l_type, F_UNLCK);
	}
}

CASE(waits)
{
	int a = opened("f"), pair[2];
	pid_t pid;

	meeting(pair);
	ok(lock(a, F_SETLK, F_WRLCK, 0, 10));
	pid = beside();
	if (pid == 0) {
		int b = opened("f");

		meet(pair, true);
		ok(lock(b, F_SETLKW, F_WRLCK, 5, 10));
		holds("g", "first");
		quit();
	}
	meet(pair, false);
	pause_ms(50);
	file("g", "first");
	ok(lock(a, F_SETLK, F_UNLCK, 0, 10));
	join(pid);
}

static void on_alarm(int sig)
{
	(void)sig;
}

CASE(a_signal_interrupts)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	int a = opened("f");

	ok(lock(a, F_SETLK, F_WRLCK, 0, 10));
	CHILD () {
		int b = opened("f");

		ok(sigaction(SIGALRM, &sa, NULL));
		alarm(1);
		expect(lock(b, F_SETLKW, F_WRLCK, 0, 10), EINTR);
	}
	ok(lock(a, F_SETLK, F_UNLCK, 0, 10));
	other("f", F_WRLCK, 0, 10, true);
}

CASE(deadlock)
{
	int fd = opened("f"), pair[2], rc, rc2 = 0;
	int p[2];
	pid_t pid;

	meeting(pair);
	ok(pipe(p));
	ok(lock(fd, F_SETLK, F_WRLCK, 0, 1));
	pid = beside();
	if (pid == 0) {
		int b = opened("f");

		ok(lock(b, F_SETLK, F_WRLCK, 1, 1));
		meet(pair, true);
		rc = lock(b, F_SETLKW, F_WRLCK, 0, 1);
		rc = rc ? errno : 0;
		ok(write(p[1], &rc, sizeof(rc)));
		quit();
	}
	meet(pair, false);
	rc = lock(fd, F_SETLKW, F_WRLCK, 1, 1);
	rc = rc ? errno : 0;
	ok(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	ok(read(p[0], &rc2, sizeof(rc2)));
	join(pid);
	/* exactly one of the two is told */
	check((rc == EDEADLK && rc2 == 0) || (rc == 0 && rc2 == EDEADLK));
}

CASE(released_by_death)
{
	int pair[2];
	pid_t pid;

	meeting(pair);
	pid = beside();
	if (pid == 0) {
		ok(lock(opened("f"), F_SETLK, F_WRLCK, 0, 0));
		meet(pair, true);
		for (;;)
			pause();
	}
	meet(pair, false);
	other("f", F_WRLCK, 0, 1, false);
	ok(kill(pid, SIGKILL));
	ok(waitpid(pid, NULL, 0));
	other("f", F_WRLCK, 0, 1, true);
}

CASE(need_the_access_mode)
{
	int r, w;

	file("f", "");
	r = (int)ok(open("f", O_RDONLY));
	w = (int)ok(open("f", O_WRONLY));
	expect(lock(r, F_SETLK, F_WRLCK, 0, 1), EBADF);
	expect(lock(w, F_SETLK, F_RDLCK, 0, 1), EBADF);
	ok(lock(r, F_SETLK, F_RDLCK, 0, 1));
	ok(lock(w, F_SETLK, F_UNLCK, 0, 1));
	expect(lock(-1, F_SETLK, F_RDLCK, 0, 1), EBADF);
	expect(lock(r, F_SETLK, 77, 0, 1), EINVAL);
	expect(lock(r, F_SETLK, F_RDLCK, -1, 1), EINVAL);
	expect(lock(r, F_SETLK, F_RDLCK, 5, -6), EINVAL);
	expect(fcntl(r, F_SETLK, nowhere()), EFAULT);
}

CASE(ofd_belongs_to_the_description)
{
	int a = opened("f"), b = opened("f"), d = (int)ok(dup(a));

	ok(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	expect(lock(b, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN); /* also of this process */
	ok(lock(b, F_OFD_SETLK, F_WRLCK, 10, 10));
	ok(close(opened("f"))); /* closing another one releases nothing */
	expect(lock(b, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
	ok(close(a));
	expect(lock(b, F_OFD_SETLK, F_WRLCK, 0, 10), EAGAIN);
	ok(close(d));
	ok(lock(b, F_OFD_SETLK, F_WRLCK, 0, 10));
}

CASE(ofd_conflicts_with_process_locks)
{
	int a = opened("f");

	ok(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	other("f", F_RDLCK, 0, 1, false);
	CHILD () {
		struct flock g = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

		ok(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10)); /* inherited */
		ok(fcntl(opened("f"), F_GETLK, &g));
		equal(g.l_type, F_WRLCK);
		equal(g.l_pid, -1);
	}
	ok(lock(a, F_OFD_SETLK, F_UNLCK, 0, 0));
	other("f", F_WRLCK, 0, 1, true);
}

CASE(ofd_waits)
{
	int a = opened("f"), pair[2];
	pid_t pid;

	meeting(pair);
	ok(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
	pid = beside();
	if (pid == 0) {
		int b = opened("f");

		meet(pair, true);
		ok(lock(b, F_OFD_SETLKW, F_RDLCK, 0, 1));
		holds("g", "first");
		quit();
	}
	meet(pair, false);
	pause_ms(50);
	file("g", "first");
	ok(lock(a, F_OFD_SETLK, F_UNLCK, 0, 10));
	join(pid);
}

CASE(ofd_refusals)
{
	struct flock l = {.l_type = F_WRLCK, .l_pid = 1};
	int a = opened("f");

	expect(fcntl(a, F_OFD_SETLK, &l), EINVAL); /* l_pid must be 0 */
	expect(lock((int)ok(open("f", O_RDONLY)), F_OFD_SETLK, F_WRLCK, 0, 1), EBADF);
}

CASE(many_ranges)
{
	int fd = opened("f");

	for (int i = 0; i < 200; i++)
		ok(lock(fd, F_SETLK, i % 2 ? F_RDLCK : F_WRLCK, i * 10, 5));
	for (int i = 0; i < 200; i += 37) {
		other("f", F_RDLCK, i * 10, 1, i % 2);
		other("f", F_WRLCK, i * 10 + 5, 5, true);
	}
	ok(lock(fd, F_SETLK, F_UNLCK, 0, 0));
	other("f", F_WRLCK, 0, 0, true);
}

CASE(leases)
{
	int fd;

	file("f", "");
	fd = (int)ok(open("f", O_RDONLY));
	if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0) {
		check(errno == EINVAL || errno == EAGAIN);
		differs("fcntl(2): leases are for local filesystems");
		return;
	}
	equal(ok(fcntl(fd, F_GETLEASE)), F_RDLCK);
	ok(fcntl(fd, F_SETLEASE, F_UNLCK));
}
