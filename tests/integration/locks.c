/*
 * locks COMMAND ...: locks of files that are seen through two mounts, in the directories A and B.
 *
 *   locks meet A B          flock, fcntl and their like on one mount are in the way on the other:
 *                           waiting, signals, death, closing
 *   locks count A B ROUNDS  processes on both mounts count in one file, under each kind in turn
 *   locks hold FILE         takes an exclusive lock of each kind, says so, and keeps them
 *   locks take FILE         takes the same, waiting for them; prints after how many ms
 *
 * Exit status 0, or 1 and a line for the first thing that is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static const char *dir[2];

static int opened(int side, const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir[side], name);
	fd = open(path, flags, 0644);
	if (fd < 0)
		fail("%s", path);
	return fd;
}

enum kind { FLOCK, FCNTL, OFD, KINDS };
static const char *const names[KINDS] = {"flock", "fcntl", "ofd"};

/* @type: F_RDLCK, F_WRLCK, F_UNLCK. 0, or the errno. */
static int lock(int fd, enum kind kind, int type, off_t from, off_t len, bool wait)
{
	struct flock l = {.l_type = (short)type, .l_start = from, .l_len = len};
	int op = type == F_RDLCK ? LOCK_SH : type == F_WRLCK ? LOCK_EX : LOCK_UN;

	switch (kind) {
	case FLOCK:
		return flock(fd, op | (wait ? 0 : LOCK_NB)) ? errno : 0;
	case FCNTL:
		return fcntl(fd, wait ? F_SETLKW : F_SETLK, &l) ? errno : 0;
	default:
		return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l) ? errno : 0;
	}
}

static void expect(const char *what, enum kind kind, int got, int want)
{
	if (got != want) {
		errno = got;
		fail("%s, %s: %d, not %d", names[kind], what, got, want);
	}
}

/* Can it be had on that side at once? By another process, so that none is its own. */
static int other(int side, enum kind kind, int type, off_t from, off_t len)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(lock(opened(side, "f", O_RDWR), kind, type, from, len, false));
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		fail("fork");
	return WEXITSTATUS(status);
}

/* A process that has, or waits for, a lock; and a pipe on which it says when it has it. */
struct locker {
	pid_t pid;
	int pipe[2];
};

static struct locker locker(int side, enum kind kind, int type)
{
	struct locker k;
	char c = 'x';

	if (pipe(k.pipe))
		fail("pipe");
	k.pid = fork();
	if (k.pid < 0)
		fail("fork");
	if (k.pid)
		return k;
	c = (char)lock(opened(side, "f", O_RDWR), kind, type, 0, 0, true);
	if (write(k.pipe[1], &c, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

/* Has it said so by now, or within @ms? */
static bool has(struct locker *k, int ms)
{
	uint64_t end = now_ms() + (uint64_t)ms;
	char c;

	fcntl(k->pipe[0], F_SETFL, O_NONBLOCK);
	do {
		if (read(k->pipe[0], &c, 1) == 1) {
			if (c)
				fail("a waiting lock failed: %s", strerror(c));
			return true;
		}
		usleep(2000);
	} while (now_ms() < end);
	return false;
}

static void end(struct locker *k)
{
	if (kill(k->pid, SIGKILL) || waitpid(k->pid, NULL, 0) != k->pid)
		fail("kill");
	close(k->pipe[0]);
	close(k->pipe[1]);
}

/* The kernel tells of a last close in the background. */
static void soon(const char *what, int side, enum kind kind, int type)
{
	uint64_t end_at = now_ms() + 5000;
	int rc;

	while ((rc = other(side, kind, type, 0, 0)) && now_ms() < end_at)
		usleep(2000);
	expect(what, kind, rc, 0);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void meet_one(enum kind kind)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	int a = opened(0, "f", O_RDWR | O_CREAT);
	struct locker k, j;

	expect("lock", kind, lock(a, kind, F_WRLCK, 0, 0, false), 0);
	expect("in the way of a writer", kind, other(1, kind, F_WRLCK, 0, 0), EAGAIN);
	expect("in the way of a reader", kind, other(1, kind, F_RDLCK, 0, 0), EAGAIN);
	expect("to shared", kind, lock(a, kind, F_RDLCK, 0, 0, false), 0);
	expect("in the way of a writer again", kind, other(1, kind, F_WRLCK, 0, 0), EAGAIN);
	expect("not of a reader", kind, other(1, kind, F_RDLCK, 0, 0), 0);
	/* the other reader is gone, or will be in a moment */
	for (int i = 0; i < 1000 && lock(a, kind, F_WRLCK, 0, 0, false); i++)
		usleep(2000);
	expect("exclusive again", kind, lock(a, kind, F_WRLCK, 0, 0, false), 0);

	k = locker(1, kind, F_WRLCK);
	if (has(&k, 300))
		fail("%s: two have it", names[kind]);
	expect("unlock", kind, lock(a, kind, F_UNLCK, 0, 0, false), 0);
	if (!has(&k, 5000))
		fail("%s: who waits is not told", names[kind]);
	expect("it has it", kind, lock(a, kind, F_RDLCK, 0, 0, false), EAGAIN);
	j = locker(0, kind, F_RDLCK);
	if (has(&j, 100))
		fail("%s: two have it", names[kind]);
	sigaction(SIGALRM, &sa, NULL);
	alarm(1);
	expect("a signal", kind, lock(a, kind, F_WRLCK, 0, 0, true), EINTR);
	end(&k); /* and so it is unlocked */
	if (!has(&j, 5000))
		fail("%s: a process that died has a lock", names[kind]);
	end(&j);
	soon("all is unlocked", 1, kind, F_WRLCK);
	close(a);
}

/* By another process on the other mount. */
static void asks(void)
{
	struct flock l = {.l_type = F_WRLCK};
	pid_t pid = fork();
	int status;

	if (pid < 0)
		fail("fork");
	if (pid) {
		if (waitpid(pid, &status, 0) != pid || status)
			exit(1);
		return;
	}
	if (fcntl(opened(1, "f", O_RDWR), F_GETLK, &l) || l.l_type != F_WRLCK || l.l_start != 100 ||
		l.l_len != 50)
		fail("F_GETLK: type %d, %lld, %lld", l.l_type, (long long)l.l_start,
			(long long)l.l_len);
	exit(0);
}

static void ranges(void)
{
	int a = opened(0, "f", O_RDWR);

	expect("range", FCNTL, lock(a, FCNTL, F_WRLCK, 100, 50, false), 0);
	expect("before it", FCNTL, other(1, FCNTL, F_WRLCK, 0, 100), 0);
	expect("behind it", FCNTL, other(1, FCNTL, F_WRLCK, 150, 0), 0);
	expect("its last byte", FCNTL, other(1, FCNTL, F_RDLCK, 149, 1), EAGAIN);
	asks();
	/* any close of the file unlocks, also of one that can only be read */
	close(opened(0, "f", O_RDONLY));
	expect("after a close", FCNTL, other(1, FCNTL, F_WRLCK, 0, 0), 0);
	expect("no lock of a description", OFD, lock(a, OFD, F_RDLCK, 0, 0, false), 0);
	close(opened(0, "f", O_RDONLY));
	expect("it stays", OFD, other(1, OFD, F_WRLCK, 0, 0), EAGAIN);
	close(a);
	soon("the last close", 1, OFD, F_WRLCK);
}

static int meet(char **arg)
{
	dir[0] = arg[0];
	dir[1] = arg[1];
	for (int k = 0; k < KINDS; k++)
		meet_one((enum kind)k);
	ranges();
	return 0;
}

static void count_on(int side, enum kind kind, int rounds)
{
	int fd = opened(side, "count", O_RDWR | O_CREAT);
	char text[32];

	for (int i = 0; i < rounds; i++) {
		ssize_t n;

		if (lock(fd, kind, F_WRLCK, 0, 0, true))
			fail("lock");
		n = pread(fd, text, sizeof(text) - 1, 0);
		if (n < 0)
			fail("pread");
		text[n] = 0;
		n = snprintf(text, sizeof(text), "%d", atoi(text) + 1);
		if (pwrite(fd, text, (size_t)n, 0) != n)
			fail("pwrite");
		if (lock(fd, kind, F_UNLCK, 0, 0, true))
			fail("unlock");
	}
	exit(0);
}

#define PROCESSES 4

static void count_kind(enum kind kind, int rounds)
{
	uint64_t begin = now_ms();
	int status;

	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0)
			count_on(i % 2, kind, rounds);
	}
	for (int i = 0; i < PROCESSES; i++) {
		if (wait(&status) < 0 || status)
			fail("a process that counts failed");
	}
	printf("count, %s: %d in %llu ms\n", names[kind], PROCESSES * rounds,
		(unsigned long long)(now_ms() - begin));
	fflush(stdout);
}

static int count(char **arg)
{
	int rounds = atoi(arg[2]), fd;
	char text[32] = "";

	dir[0] = arg[0];
	dir[1] = arg[1];
	for (int k = 0; k < KINDS; k++)
		count_kind((enum kind)k, rounds);
	fd = opened(0, "count", O_RDONLY);
	if (read(fd, text, sizeof(text) - 1) < 0)
		fail("read");
	if (atoi(text) != KINDS * PROCESSES * rounds)
		fail("counted to %s, not %d", text, KINDS * PROCESSES * rounds);
	return 0;
}

static int take_all(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0644);

	if (fd < 0)
		fail("%s", path);
	if (lock(fd, FLOCK, F_WRLCK, 0, 0, true) || lock(fd, FCNTL, F_WRLCK, 0, 10, true) ||
		lock(fd, OFD, F_WRLCK, 100, 10, true))
		fail("lock");
	return fd;
}

static int __attribute__((noreturn)) hold(char **arg)
{
	take_all(arg[0]);
	puts("held");
	fflush(stdout);
	for (;;)
		pause();
}

static int take(char **arg)
{
	uint64_t begin = now_ms();

	take_all(arg[0]);
	printf("%llu\n", (unsigned long long)(now_ms() - begin));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int args;
		int (*run)(char **arg);
	} verbs[] = {{"meet", 2, meet}, {"count", 3, count}, {"hold", 1, hold}, {"take", 1, take}};

	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (!strcmp(argv[1], verbs[i].name) && argc == 2 + verbs[i].args)
			return verbs[i].run(argv + 2);
	}
	fprintf(stderr, "usage: locks meet A B | count A B ROUNDS | hold FILE | take FILE\n");
	return 2;
}
