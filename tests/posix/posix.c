/* posix.c: see posix.h. What cases call; the runner is suite.c. */
#include "tests/posix/posix.h"

#include <dirent.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include "tests/posix/run.h"

struct posix_report *posix_report;

/* ---- checks ---- */

static const char *base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

__attribute__((format(printf, 3, 4))) static void failed(
	const char *path, int line, const char *fmt, ...)
{
	struct posix_report *r = posix_report;
	char what[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	__atomic_add_fetch(&r->failures, 1, __ATOMIC_SEQ_CST);
	dprintf(r->out, "FAIL %.*s: %s: %s:%d: %s\n", (int)strcspn(r->file, "."), r->file, r->name,
		base(path), line, what);
}

static _Noreturn void give_up(void)
{
	_exit(1);
}

static const char *err_name(int err)
{
	const char *s = err ? strerrorname_np(err) : "no error";

	return s ? s : strerror(err);
}

long posix_ok(long got, const char *text, const char *file_, int line)
{
	int err = errno;

	if (got != -1)
		return got;
	failed(file_, line, "%s: %s", text, err_name(err));
	give_up();
}

bool posix_expect(long got, int want, const char *text, const char *file_, int line)
{
	int err = errno;

	if (got != -1)
		failed(file_, line, "%s: gave %ld, not %s", text, got, err_name(want));
	else if (err != want)
		failed(file_, line, "%s: %s, not %s", text, err_name(err), err_name(want));
	else
		return true;
	return false;
}

bool posix_check(bool good, const char *text, const char *file_, int line)
{
	if (!good)
		failed(file_, line, "not so: %s", text);
	return good;
}

bool posix_equal(
	long long a, long long b, const char *at, const char *bt, const char *file_, int line)
{
	if (a == b)
		return true;
	failed(file_, line, "%s is %lld, not %lld (%s)", at, a, b, bt);
	return false;
}

bool posix_text(const char *a, const char *b, const char *at, const char *file_, int line)
{
	if (!strcmp(a, b))
		return true;
	failed(file_, line, "%s is \"%.200s\", not \"%.200s\"", at, a, b);
	return false;
}

void differs(const char *why)
{
	struct posix_report *r = posix_report;

	if (!r->why[0])
		snprintf(r->why, sizeof(r->why), "%s", why);
}

/* ---- times ---- */

int cmp_time(struct timespec a, struct timespec b)
{
	if (a.tv_sec != b.tv_sec)
		return a.tv_sec < b.tv_sec ? -1 : 1;
	return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

void pause_ms(int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	nanosleep(&ts, NULL);
}

void tick(void)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_REALTIME_COARSE, &begin);
	do {
		pause_ms(1);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (cmp_time(now, begin) <= 0);
}

/* stamps() within stamps(): the last that began ends first */
static struct {
	const char *path;
	struct stat st;
} stamping[8];
static unsigned stamps_open;

void posix_stamp_begin(const char *path)
{
	if (stamps_open == COUNT(stamping))
		abort();
	stamping[stamps_open].path = path;
	stamping[stamps_open].st = st(path);
	stamps_open++;
	tick();
}

static void look_at_time(bool newer, struct timespec was, struct timespec is, const char *which,
	const char *text, const char *file_, int line)
{
	int c = cmp_time(is, was);

	if (newer && c <= 0)
		failed(file_, line, "%s: %s %s", text, which, c ? "went back" : "stays");
	else if (!newer && c)
		failed(file_, line, "%s: %s changes", text, which);
}

void posix_stamp_end(int which, const char *text, const char *file_, int line)
{
	struct stat was, is;

	stamps_open--;
	was = stamping[stamps_open].st;
	is = st(stamping[stamps_open].path);
	if (!(which & ANY_ATIM))
		look_at_time(which & ATIM, was.st_atim, is.st_atim, "atime", text, file_, line);
	look_at_time(which & MTIM, was.st_mtim, is.st_mtim, "mtime", text, file_, line);
	look_at_time(which & CTIM, was.st_ctim, is.st_ctim, "ctime", text, file_, line);
}

/* ---- others ---- */

static void wait_child(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR) {
			failed(__FILE__, __LINE__, "waitpid: %s", err_name(errno));
			return;
		}
	}
	if (WIFSIGNALED(status))
		failed(__FILE__, __LINE__, "a child was killed by SIG%s",
			sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		give_up(); /* the child has said why */
}

bool posix_child(void)
{
	pid_t pid = (pid_t)ok(fork());

	if (pid == 0)
		return true;
	wait_child(pid);
	return false;
}

bool posix_as(uid_t uid, gid_t gid, const gid_t *groups, size_t n)
{
	if (!posix_child())
		return false;
	ok(setgroups(n, groups));
	ok(setresgid(gid, gid, gid));
	ok(setresuid(uid, uid, uid));
	return true;
}

void posix_as_end(void)
{
	_exit(0);
}

pid_t beside(void)
{
	return (pid_t)ok(fork());
}

void quit(void)
{
	_exit(0);
}

void join(pid_t pid)
{
	wait_child(pid);
}

void meeting(int *pair)
{
	ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
}

void meet(int *pair, bool first)
{
	char c = 'm';
	int fd = pair[first];

	if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
		failed(__FILE__, __LINE__, "the other side is gone");
}

/* ---- where we are ---- */

bool on(int kinds)
{
	return posix_report->kind & kinds;
}

bool is_root(void)
{
	return geteuid() == 0;
}

/* ---- files ---- */

static void put(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = ok(write(fd, p, len));

		p += n;
		len -= (size_t)n;
	}
}

void file(const char *name, const char *content)
{
	int fd = (int)ok(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	put(fd, content, strlen(content));
	ok(close(fd));
}

void holds(const char *name, const char *content)
{
	size_t len = strlen(content);
	char *got = calloc(1, len + 2);
	int fd = (int)ok(open(name, O_RDONLY | O_CLOEXEC));
	ssize_t n = ok(read(fd, got, len + 1));

	if ((size_t)n != len || memcmp(got, content, len))
		failed(__FILE__, __LINE__, "%s holds %zd bytes \"%.100s\", not \"%.100s\"", name, n,
			got, content);
	ok(close(fd));
	free(got);
}

void bytes(void *to, size_t len, unsigned seed, size_t from)
{
	unsigned char *p = to;

	for (size_t i = 0; i < len; i++) {
		uint64_t x = ((uint64_t)seed << 40) + ((from + i) >> 3);

		x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
		x = (x ^ x >> 29) * 0xd6e8feb86659fd93u;
		p[i] = (unsigned char)(x >> ((from + i) % 8 * 8));
	}
}

void fill(const char *name, size_t len, unsigned seed)
{
	int fd = (int)ok(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
	char *all = malloc(len ? len : 1);

	bytes(all, len, seed, 0);
	put(fd, all, len);
	free(all);
	ok(close(fd));
}

struct stat st(const char *path)
{
	struct stat s;

	if (lstat(path, &s)) {
		failed(__FILE__, __LINE__, "lstat(%s): %s", path, err_name(errno));
		give_up();
	}
	return s;
}

struct stat fst(int fd)
{
	struct stat s;

	ok(fstat(fd, &s));
	return s;
}

mode_t mode(const char *path)
{
	return st(path).st_mode & 07777;
}

char *name_of(size_t len, char c)
{
	char *s = malloc(len + 1);

	memset(s, c, len);
	s[len] = 0;
	return s;
}

void chmod_to(const char *path, mode_t m)
{
	ok(chmod(path, m));
	equal(mode(path), m);
}

struct iovec vec(const void *p, size_t len)
{
	return (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = len};
}

void *nowhere(void)
{
	static void *volatile at = (void *)1; /* the compiler is not to know */

	return at;
}

int names_in(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d) {
		failed(__FILE__, __LINE__, "opendir(%s): %s", dir, err_name(errno));
		give_up();
	}
	for (errno = 0; (e = readdir(d)); errno = 0) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			n++;
	}
	if (errno)
		failed(__FILE__, __LINE__, "readdir(%s): %s", dir, err_name(errno));
	closedir(d);
	return n;
}
