/* flock(2) */
#include "tests/posix/posix.h"

#include <signal.h>
#include <sys/file.h>

static int opened(const char *name)
{
	return (int)ok(open(name, O_CREAT | O_RDWR, 0644));
}

CASE(exclusive_excludes)
{
	int a = opened("f"), b = opened("f");

	ok(flock(a, LOCK_EX));
	expect(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	expect(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	ok(flock(a, LOCK_UN));
	ok(flock(b, LOCK_EX | LOCK_NB));
}

CASE(shared_shares)
{
	int a = opened("f"), b = opened("f"), c = opened("f");

	ok(flock(a, LOCK_SH));
	ok(flock(b, LOCK_SH | LOCK_NB));
	expect(flock(c, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(flock(a, LOCK_UN));
	expect(flock(c, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(flock(b, LOCK_UN));
	ok(flock(c, LOCK_EX | LOCK_NB));
}

CASE(belongs_to_the_description)
{
	int a = opened("f"), d = (int)ok(dup(a)), b = opened("f");

	ok(flock(a, LOCK_EX));
	ok(flock(d, LOCK_EX | LOCK_NB)); /* the same lock */
	ok(close(a));
	expect(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(close(d));
	ok(flock(b, LOCK_EX | LOCK_NB));
}

CASE(children_share_it)
{
	int a = opened("f"), b = opened("f");

	ok(flock(a, LOCK_EX));
	CHILD () {
		ok(flock(a, LOCK_EX | LOCK_NB));
		expect(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
		ok(flock(a, LOCK_UN)); /* for all */
	}
	ok(flock(b, LOCK_EX | LOCK_NB));
}

CASE(conversion)
{
	int a = opened("f"), b = opened("f");

	ok(flock(a, LOCK_EX));
	ok(flock(a, LOCK_SH));
	ok(flock(b, LOCK_SH | LOCK_NB));
	expect(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(flock(b, LOCK_UN));
	ok(flock(a, LOCK_EX | LOCK_NB));
}

CASE(waits)
{
	int a = opened("f"), pair[2];
	pid_t pid;

	meeting(pair);
	ok(flock(a, LOCK_EX));
	pid = beside();
	if (pid == 0) {
		int b = opened("f");

		meet(pair, true);
		ok(flock(b, LOCK_EX));
		holds("g", "first");
		quit();
	}
	meet(pair, false);
	pause_ms(50);
	file("g", "first");
	ok(flock(a, LOCK_UN));
	join(pid);
}

static void on_alarm(int sig)
{
	(void)sig;
}

CASE(a_signal_interrupts)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	int a = opened("f"), b = opened("f");

	ok(sigaction(SIGALRM, &sa, NULL));
	ok(flock(a, LOCK_EX));
	alarm(1);
	expect(flock(b, LOCK_EX), EINTR);
	ok(flock(a, LOCK_UN));
	ok(flock(b, LOCK_EX | LOCK_NB)); /* nothing is left of it */
}

CASE(released_by_death)
{
	int b, pair[2];
	pid_t pid;

	meeting(pair);
	pid = beside();
	if (pid == 0) {
		ok(flock(opened("f"), LOCK_EX));
		meet(pair, true);
		for (;;)
			pause();
	}
	meet(pair, false);
	b = opened("f");
	expect(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	ok(kill(pid, SIGKILL));
	ok(waitpid(pid, NULL, 0));
	ok(flock(b, LOCK_EX | LOCK_NB));
}

CASE(any_open_mode)
{
	int r, w;

	file("f", "");
	r = (int)ok(open("f", O_RDONLY));
	w = (int)ok(open("f", O_WRONLY));
	ok(flock(r, LOCK_EX));
	ok(flock(r, LOCK_UN));
	ok(flock(w, LOCK_SH));
	ok(flock((int)ok(open(".", O_RDONLY)), LOCK_EX));
}

CASE(independent_of_record_locks)
{
	struct flock l = {.l_type = F_WRLCK};
	int a = opened("f");

	ok(flock(a, LOCK_EX));
	CHILD () {
		int b = opened("f");

		ok(fcntl(b, F_SETLK, &l));
	}
}

CASE(refusals)
{
	int a = opened("f");

	expect(flock(-1, LOCK_EX), EBADF);
	expect(flock(a, 0), EINVAL);
	expect(flock(a, LOCK_EX | LOCK_SH), EINVAL);
	expect(flock((int)ok(open("f", O_PATH)), LOCK_EX), EBADF);
	ok(flock(a, LOCK_UN)); /* what is not locked */
}

CASE(different_files)
{
	ok(flock(opened("f"), LOCK_EX));
	ok(flock(opened("g"), LOCK_EX | LOCK_NB));
	ok(link("f", "h"));
	expect(flock(opened("h"), LOCK_EX | LOCK_NB), EWOULDBLOCK);
}

CASE(a_counter_by_many)
{
	enum { PROCS = 4, EACH = 50 };
	pid_t pid[PROCS];
	char text[16];

	file("n", "0");
	for (int p = 0; p < PROCS; p++) {
		pid[p] = beside();
		if (pid[p])
			continue;
		for (int i = 0; i < EACH; i++) {
			char got[16] = "";
			int fd = opened("n");

			ok(flock(fd, LOCK_EX));
			ok(pread(fd, got, 15, 0));
			snprintf(got, sizeof(got), "%d", atoi(got) + 1);
			ok(pwrite(fd, got, strlen(got), 0));
			ok(close(fd));
		}
		quit();
	}
	for (int p = 0; p < PROCS; p++)
		join(pid[p]);
	snprintf(text, sizeof(text), "%d", PROCS * EACH);
	holds("n", text);
}
