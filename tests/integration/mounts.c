/*
 * mounts COMMAND A B ...: two directories, A and B, are one seen through two mounts.
 *
 *   mounts coherent A B ROUNDS [SEED]   what is done through one is seen by the next call through
 *                                       the other: names, attributes, bytes, listings
 *   mounts delay A B ROUNDS             how long after a change began its like is seen: median, p99
 *   mounts append A B ROUNDS            two processes append records to one file, none is lost or
 * torn mounts names A B ROUNDS             two processes create, rename and remove in one directory
 *   mounts cycle A B SECONDS            two processes move directories into each other: no cycle
 *   mounts torn A B SECONDS             one writes whole blocks of one byte, one reads: never two
 *   mounts grown A B ROUNDS             which calls find the end of a file that the other has moved
 *   mounts crowd ROUNDS A B C ...       the same of up to eight
 *   mounts touch A B FILES ROUNDS       A only: stat and read FILES files, ROUNDS times in all
 *
 * Exit status 0, or 1 and a line for the first thing that is wrong.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIDES 8
static const char *dir[SIDES];
static int sides = 2;

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static const char *at(int side, const char *name)
{
	static char path[4][4096];
	static int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir[side], name);
	return p;
}

static unsigned long seed;

static unsigned rnd(unsigned below)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (unsigned)(seed >> 33) % below;
}

/* ---- coherent ---- */

#define NAMES 6
#define SIZE_MAX_ 300000

/* What ought to be there. */
static struct {
	int there; /* 0 no, 1 a file, 2 a directory */
	int same;  /* index of the name that is the same file; itself else */
	size_t size;
	unsigned char *data;
	mode_t mode;
} want[NAMES];
static char name_of[NAMES][8];

static void put(int side, int i, const char *what, int flags, off_t off, size_t len)
{
	unsigned char *buf = malloc(len ? len : 1);
	int fd = open(at(side, name_of[i]), flags, 0644);

	if (fd < 0)
		fail("%s: open %s on side %d", what, name_of[i], side);
	memset(buf, 'a' + (int)rnd(26), len);
	if (flags & O_APPEND)
		off = (off_t)want[i].size;
	if ((flags & O_APPEND ? write(fd, buf, len) : pwrite(fd, buf, len, off)) != (ssize_t)len)
		fail("%s: write %s", what, name_of[i]);
	/* half of the time it is seen before it is closed */
	if (want[i].size < (size_t)off)
		memset(want[i].data + want[i].size, 0, (size_t)off - want[i].size);
	memcpy(want[i].data + off, buf, len);
	if (want[i].size < (size_t)off + len)
		want[i].size = (size_t)off + len;
	free(buf);
	if (rnd(2)) {
		struct stat st;

		if (stat(at(!side, name_of[i]), &st) || (size_t)st.st_size != want[i].size)
			fail("%s: %s open on side %d has %lld bytes on the other, not %zu", what,
				name_of[i], side, (long long)st.st_size, want[i].size);
	}
	if (close(fd))
		fail("%s: close %s", what, name_of[i]);
}

static void verify(int side, int i)
{
	static unsigned char buf[2 * SIZE_MAX_];
	struct stat st;
	ssize_t n;
	int fd;

	if (lstat(at(side, name_of[i]), &st)) {
		if (want[i].there || errno != ENOENT)
			fail("%s is not seen on side %d", name_of[i], side);
		return;
	}
	if (!want[i].there)
		fail("%s is still seen on side %d", name_of[i], side);
	if (S_ISDIR(st.st_mode) != (want[i].there == 2))
		fail("%s on side %d is of another type", name_of[i], side);
	if ((st.st_mode & 0777) != want[i].mode)
		fail("%s on side %d: mode %o, not %o", name_of[i], side, st.st_mode & 0777,
			want[i].mode);
	if (want[i].there == 2)
		return;
	if ((size_t)st.st_size != want[i].size)
		fail("%s on side %d: %lld bytes, not %zu", name_of[i], side, (long long)st.st_size,
			want[i].size);
	fd = open(at(side, name_of[i]), O_RDONLY);
	if (fd < 0)
		fail("open %s on side %d", name_of[i], side);
	n = read(fd, buf, sizeof(buf));
	if (n != (ssize_t)want[i].size)
		fail("%s on side %d: read %zd of %zu bytes", name_of[i], side, n, want[i].size);
	for (ssize_t k = 0; k < n; k++) {
		if (buf[k] != want[i].data[k])
			fail("%s on side %d: byte %zd is %02x, not %02x", name_of[i], side, k,
				buf[k], want[i].data[k]);
	}
	close(fd);
}

static void verify_list(int side)
{
	DIR *d = opendir(dir[side]);
	int seen = 0, wanted = 0;
	struct dirent *e;

	if (!d)
		fail("opendir on side %d", side);
	while ((e = readdir(d))) {
		for (int i = 0; i < NAMES; i++) {
			if (!strcmp(e->d_name, name_of[i])) {
				if (!want[i].there)
					fail("%s is still listed on side %d", name_of[i], side);
				seen++;
			}
		}
	}
	closedir(d);
	for (int i = 0; i < NAMES; i++)
		wanted += want[i].there != 0;
	if (seen != wanted)
		fail("side %d lists %d of %d", side, seen, wanted);
}

static void gone(int i)
{
	want[i].there = 0;
	want[i].size = 0;
}

static void step(void)
{
	int side = (int)rnd(2), i = (int)rnd(NAMES), j = (int)rnd(NAMES);
	size_t size;

	switch (rnd(9)) {
	case 0:
	case 1:
		if (want[i].there == 2)
			break;
		if (!want[i].there) {
			want[i].mode = 0644;
			want[i].size = 0;
		}
		size = rnd(4) ? rnd(3000) : rnd(150000);
		put(side, i, "write", O_CREAT | O_RDWR, (off_t)rnd((unsigned)want[i].size + 1),
			size);
		want[i].there = 1;
		break;
	case 2:
		if (want[i].there != 1 || want[i].size > SIZE_MAX_ - 5000)
			break;
		put(side, i, "append", O_WRONLY | O_APPEND, 0, rnd(5000));
		break;
	case 3:
		if (want[i].there != 1)
			break;
		size = rnd(SIZE_MAX_);
		if (truncate(at(side, name_of[i]), (off_t)size))
			fail("truncate %s", name_of[i]);
		if (size > want[i].size)
			memset(want[i].data + want[i].size, 0, size - want[i].size);
		want[i].size = size;
		break;
	case 4:
		if (want[i].there == 1 ? unlink(at(side, name_of[i]))
				       : want[i].there == 2 && rmdir(at(side, name_of[i])))
			fail("remove %s", name_of[i]);
		gone(i);
		break;
	case 5:
		if (want[i].there)
			break;
		if (mkdir(at(side, name_of[i]), 0755))
			fail("mkdir %s", name_of[i]);
		want[i].there = 2;
		want[i].mode = 0755;
		break;
	case 6: {
		unsigned char *data = want[j].data;

		if (i == j || want[i].there != 1 || want[j].there == 2)
			break;
		if (rename(at(side, name_of[i]), at(side, name_of[j])))
			fail("rename %s %s", name_of[i], name_of[j]);
		want[j] = want[i];
		want[i].data = data;
		gone(i);
		break;
	}
	case 7:
		if (!want[i].there)
			break;
		want[i].mode = rnd(2) ? 0700 : 0755;
		if (chmod(at(side, name_of[i]), want[i].mode))
			fail("chmod %s", name_of[i]);
		break;
	case 8:
		break;
	}
}

static int coherent(int rounds)
{
	char top[2][4096];

	if (mkdir(at(0, "coherent"), 0755))
		fail("mkdir coherent");
	for (int side = 0; side < 2; side++) {
		snprintf(top[side], sizeof(top[side]), "%s", at(side, "coherent"));
		dir[side] = top[side];
	}
	for (int i = 0; i < NAMES; i++) {
		snprintf(name_of[i], sizeof(name_of[i]), "n%d", i);
		want[i].data = calloc(1, 3 * SIZE_MAX_);
	}
	for (int r = 0; r < rounds; r++) {
		int side = (int)rnd(2);

		step();
		if (rnd(4) == 0)
			verify_list(side);
		verify(side, (int)rnd(NAMES));
		verify(!side, (int)rnd(NAMES));
		if (rnd(8) == 0) {
			for (int i = 0; i < NAMES; i++)
				verify(side, i);
		}
	}
	for (int i = 0; i < NAMES; i++) {
		if (want[i].there == 1)
			unlink(at(0, name_of[i]));
		else if (want[i].there)
			rmdir(at(0, name_of[i]));
	}
	if (rmdir(dir[1]))
		fail("rmdir coherent");
	printf("%d steps\n", rounds);
	return 0;
}

/* ---- delay ---- */

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* A change on one side, whose other side has all of it in its caches; then one look there. */
static int delay(int rounds)
{
	uint64_t *t = calloc((size_t)rounds, sizeof(*t)), from;
	struct stat st;
	int fd = open(at(0, "delay"), O_CREAT | O_RDWR | O_TRUNC, 0644);

	if (fd < 0)
		fail("open delay");
	for (int r = 0; r < rounds; r++) {
		if (stat(at(1, "delay"), &st))
			fail("stat delay");
		from = now_ns();
		if (fchmod(fd, r % 2 ? 0600 : 0644))
			fail("fchmod");
		if (stat(at(1, "delay"), &st))
			fail("stat delay");
		t[r] = now_ns() - from;
		if ((st.st_mode & 0777) != (r % 2 ? 0600u : 0644u))
			fail("an older state was seen in round %d", r);
	}
	close(fd);
	unlink(at(0, "delay"));
	qsort(t, (size_t)rounds, sizeof(*t), by_value);
	printf("change and look: median %.0f us, p99 %.0f us, longest %.0f us\n",
		(double)t[rounds / 2] / 1000, (double)t[rounds * 99 / 100] / 1000,
		(double)t[rounds - 1] / 1000);
	free(t);
	return 0;
}

/* ---- two processes ---- */

static int both(int (*run)(int side, int arg), int arg)
{
	int bad = 0, status;

	for (int side = 0; side < sides; side++) {
		pid_t pid = fork();

		if (pid < 0)
			fail("fork");
		if (pid == 0) {
			seed += (unsigned long)side + 1;
			exit(run(side, arg));
		}
	}
	for (int i = 0; i < sides; i++) {
		if (wait(&status) < 0 || status)
			bad = 1;
	}
	return bad;
}

#define RECORD 100

static int append_run(int side, int rounds)
{
	int fd = open(at(side, "log"), O_WRONLY | O_APPEND);
	char rec[RECORD + 16];

	if (fd < 0)
		fail("open log on side %d", side);
	for (int r = 0; r < rounds; r++) {
		snprintf(rec, sizeof(rec), "%c%08d%090d\n", 'A' + side, r, r);
		if (write(fd, rec, RECORD) != RECORD)
			fail("append on side %d", side);
	}
	return close(fd) ? 1 : 0;
}

static int append(int rounds)
{
	int fd = open(at(0, "log"), O_CREAT | O_TRUNC | O_WRONLY, 0644), next[2] = {0, 0}, bad;
	char rec[RECORD + 16];
	FILE *f;

	if (fd < 0 || close(fd))
		fail("create log");
	bad = both(append_run, rounds);
	f = fopen(at(1, "log"), "r");
	if (!f)
		fail("open log");
	while (!bad && fread(rec, 1, RECORD, f) == RECORD) {
		char expect[RECORD + 16];
		int side = rec[0] - 'A';

		if (side != 0 && side != 1)
			fail("a torn record at %ld", ftell(f) - RECORD);
		snprintf(expect, sizeof(expect), "%c%08d%090d\n", 'A' + side, next[side],
			next[side]);
		if (memcmp(rec, expect, RECORD))
			fail("side %d: record %d is lost or torn, at %ld", side, next[side],
				ftell(f) - RECORD);
		next[side]++;
	}
	fclose(f);
	if (next[0] != rounds || next[1] != rounds)
		fail("%d and %d of %d records", next[0], next[1], rounds);
	unlink(at(0, "log"));
	printf("%d records\n", 2 * rounds);
	return bad;
}

static int names_run(int side, int rounds)
{
	for (int r = 0; r < rounds; r++) {
		char a[64], b[64];
		int fd;

		snprintf(a, sizeof(a), "names/%d.%d", side, r);
		snprintf(b, sizeof(b), "names/%d.%d.x", side, r);
		fd = open(at(side, a), O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd < 0 || write(fd, a, strlen(a)) < 0 || close(fd))
			fail("create %s", a);
		if (rename(at(side, a), at(side, b)))
			fail("rename %s", a);
		if (r % 3 == 0 && unlink(at(side, b)))
			fail("unlink %s", b);
		/* one name that both want */
		fd = open(at(side, "names/both"), O_CREAT | O_EXCL | O_WRONLY, 0644);
		if (fd >= 0) {
			close(fd);
			if (unlink(at(side, "names/both")))
				fail("who made it alone cannot remove it");
		} else if (errno != EEXIST) {
			fail("create both");
		}
	}
	return 0;
}

static int names(int rounds)
{
	int bad, n[SIDES] = {0}, want_n = sides * (rounds - (rounds + 2) / 3);

	if (mkdir(at(0, "names"), 0755))
		fail("mkdir names");
	bad = both(names_run, rounds);
	for (int side = 0; !bad && side < sides; side++) {
		DIR *d = opendir(at(side, "names"));
		struct dirent *e;

		if (!d)
			fail("opendir names");
		while ((e = readdir(d))) {
			if (e->d_name[0] != '.')
				n[side]++;
		}
		closedir(d);
		if (n[side] != want_n)
			fail("side %d has %d names, not %d", side, n[side], want_n);
	}
	printf("%d names\n", n[0]);
	return bad;
}

static int cycle_run(int side, int seconds)
{
	uint64_t end = now_ns() + (uint64_t)seconds * 1000000000;
	unsigned moved = 0;

	while (now_ns() < end) {
		char from[64], to[64];
		unsigned i = rnd(6), j = rnd(6);

		/* wherever they are now: try both places */
		snprintf(from, sizeof(from), rnd(2) ? "cycle/d%u" : "cycle/d%u/d%u", i, j);
		snprintf(to, sizeof(to), rnd(2) ? "cycle/d%u/d%u" : "cycle/d%u", j, i);
		if (!rename(at(side, from), at(side, to)))
			moved++;
		else if (errno != ENOENT && errno != EINVAL && errno != ENOTEMPTY &&
			 errno != EEXIST)
			fail("rename %s %s", from, to);
	}
	printf("side %d moved %u\n", side, moved);
	fflush(stdout);
	return 0;
}

static int cycle(int seconds)
{
	char path[64];

	if (mkdir(at(0, "cycle"), 0755))
		fail("mkdir cycle");
	for (int i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "cycle/d%d", i);
		if (mkdir(at(0, path), 0755))
			fail("mkdir %s", path);
	}
	return both(cycle_run, seconds);
}

#define TORN 4096

/* Odd rounds through the kernel's pages, which make no promise beyond one of them; even ones
 * directly, across two. */
static int torn_run(int side, int seconds)
{
	uint64_t end = now_ns() + (uint64_t)seconds * 1000000000;
	int flags = side ? O_RDONLY : O_WRONLY;
	int fd = open(at(side, "torn"), flags), direct = open(at(side, "torn"), flags | O_DIRECT);
	unsigned char *buf = aligned_alloc(4096, TORN);
	unsigned n = 0, seen = 0, last = 0;

	if (fd < 0 || direct < 0)
		fail("open torn");
	for (; now_ns() < end; n++) {
		int from = n % 2 ? fd : direct;
		off_t off = n % 2 ? 204800 : 100000;

		if (!side) {
			memset(buf, (int)(n / 2 % 251), TORN);
			if (pwrite(from, buf, TORN, off) != TORN)
				fail("write torn");
			continue;
		}
		if (pread(from, buf, TORN, off) != TORN)
			fail("read torn");
		for (int i = 1; i < TORN; i++) {
			if (buf[i] != buf[0])
				fail("a read that is of two writes: %u and %u at %d (%s)", buf[0],
					buf[i], i, n % 2 ? "pages" : "direct");
		}
		seen += n % 2 && buf[0] != last;
		last = n % 2 ? buf[0] : last;
	}
	printf(side ? "%u reads, %u changes seen\n" : "%u writes\n", n, seen);
	fflush(stdout);
	free(buf);
	return close(fd) || close(direct) ? 1 : 0;
}

static int torn(int seconds)
{
	static unsigned char zero[TORN];
	int fd = open(at(0, "torn"), O_CREAT | O_TRUNC | O_WRONLY, 0644), bad;

	if (fd < 0 || pwrite(fd, zero, TORN, 100000) != TORN ||
		pwrite(fd, zero, TORN, 204800) != TORN || close(fd))
		fail("create torn");
	bad = both(torn_run, seconds);
	unlink(at(0, "torn"));
	return bad;
}

/* ---- touch ---- */

static int touch(int files, int rounds)
{
	char path[64], buf[4096];
	struct stat st;
	int fd;

	for (int r = 0; r < rounds; r++) {
		snprintf(path, sizeof(path), "touch/%d", r % files);
		if (stat(at(0, path), &st))
			fail("stat %s", path);
		fd = open(at(0, path), O_RDONLY);
		if (fd < 0 || read(fd, buf, sizeof(buf)) != st.st_size)
			fail("read %s", path);
		close(fd);
	}
	printf("%d times\n", rounds);
	return 0;
}

/* ---- grown ---- */

#define GROWN_OLD 10000u
#define GROWN_NEW 300000u

static sigjmp_buf no_page;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(no_page, 1);
}

/* How far each call sees a file: how many bytes it finds from @off on, to the end. */
typedef long see_fn(int fd, long off);

static long see_stat(int fd, long off)
{
	struct stat st;

	if (fstat(fd, &st))
		fail("fstat");
	return (long)st.st_size - off;
}

static long see_end(int fd, long off)
{
	return (long)lseek(fd, 0, SEEK_END) - off;
}

static long see_hole(int fd, long off)
{
	return (long)lseek(fd, off, SEEK_HOLE) - off;
}

static long see_read(int fd, long off)
{
	static char buf[GROWN_NEW + 1];
	long n, sum = 0;

	while ((n = pread(fd, buf, sizeof(buf), off + sum)) > 0)
		sum += n;
	return sum;
}

static long see_mapped(int fd, long off)
{
	const volatile char *p = mmap(NULL, GROWN_NEW, PROT_READ, MAP_SHARED, fd, 0);
	volatile long sum = 0; /* set before the jump */
	long n = 0;

	if (p == MAP_FAILED)
		fail("mmap");
	if (!sigsetjmp(no_page, 1)) {
		for (long i = off; i < (long)GROWN_NEW && p[i]; i++)
			sum++;
	}
	n = sum;
	munmap((void *)(uintptr_t)p, GROWN_NEW);
	return n;
}

/* Through calls that send from one descriptor to another. */
static long see_sent(int fd, long off, int how)
{
	int to = open(at(1, "grown-copy"), O_RDWR | O_CREAT | O_TRUNC, 0600), p[2];
	long n, sum = 0;
	off_t from = off;

	if (to < 0 || pipe(p))
		fail("open");
	for (;;) {
		if (how == 0)
			n = copy_file_range(fd, &from, to, NULL, GROWN_NEW, 0);
		else if (how == 1)
			n = sendfile(to, fd, &from, GROWN_NEW);
		else
			n = splice(fd, &from, p[1], NULL, 4096, 0);
		if (n < 0)
			fail("copying, way %d", how);
		if (n == 0)
			break;
		if (how == 2 && splice(p[0], NULL, to, NULL, (size_t)n, 0) != n)
			fail("splice");
		sum += n;
	}
	close(p[0]);
	close(p[1]);
	close(to);
	return sum;
}

static long see_copied(int fd, long off)
{
	return see_sent(fd, off, 0);
}

static long see_sendfile(int fd, long off)
{
	return see_sent(fd, off, 1);
}

static long see_spliced(int fd, long off)
{
	return see_sent(fd, off, 2);
}

/* What looks at the size that Linux knows, without asking the filesystem: through a descriptor that
 * was open before, it sees the new end once anything has asked. Opening asks. */
static const struct {
	const char *name;
	see_fn *fn;
	int asks;
} see[] = {
	{"fstat", see_stat, 1},
	{"lseek to the end", see_end, 1},
	{"lseek to a hole", see_hole, 1},
	{"read", see_read, 1},
	{"mmap", see_mapped, 0},
	{"copy_file_range", see_copied, 0},
	{"sendfile", see_sendfile, 0},
	{"splice", see_spliced, 0},
};

/* A file that B knows grows on A: what does this call of B see? @early: B has it open all along. */
static int grown_one(unsigned which, int early, long off, long to)
{
	static char bytes[GROWN_NEW];
	int a = open(at(0, "grown/f"), O_RDWR | O_TRUNC), b;
	long n;

	memset(bytes, 'x', sizeof(bytes));
	if (a < 0 || pwrite(a, bytes, GROWN_OLD, 0) != GROWN_OLD)
		fail("write");
	b = open(at(1, "grown/f"), O_RDONLY);
	if (b < 0 || see_stat(b, 0) != GROWN_OLD || see_read(b, 0) != GROWN_OLD)
		fail("the file as it was");
	if (!early)
		close(b);
	if (pwrite(a, bytes, (size_t)to - GROWN_OLD, GROWN_OLD) != to - (long)GROWN_OLD)
		fail("write");
	if (!early)
		b = open(at(1, "grown/f"), O_RDONLY);
	if (b < 0)
		fail("open");
	if (early && !see[which].asks)
		see_stat(b, 0);
	n = see[which].fn(b, off);
	close(b);
	close(a);
	if (n == to - off)
		return 0;
	printf("%s from %ld, %s: %ld bytes of %ld\n", see[which].name, off,
		early ? "open all along" : "opened then", n, to - off);
	return 1;
}

/* Which calls find the end of a file that another mount has moved. */
static int grown(int rounds)
{
	static const long to[] = {GROWN_OLD + 100, GROWN_NEW};
	int bad = 0;

	signal(SIGBUS, on_bus);
	/* nobody changes this directory meanwhile: its entries are known to the kernel */
	if ((mkdir(at(1, "grown"), 0700) && errno != EEXIST) ||
		mknod(at(1, "grown/f"), S_IFREG | 0600, 0))
		fail("grown/f");
	for (int r = 0; r < rounds; r++) {
		for (unsigned i = 0; i < sizeof(see) / sizeof(see[0]); i++) {
			for (int early = 0; early < 2; early++) {
				for (int k = 0; k < 2; k++) {
					bad += grown_one(i, early, 0, to[k]);
					bad += grown_one(i, early, GROWN_OLD, to[k]);
				}
			}
		}
	}
	unlink(at(0, "grown/f"));
	rmdir(at(0, "grown"));
	unlink(at(0, "grown-copy"));
	return bad != 0;
}

int main(int argc, char **argv)
{
	int n = argc > 4 ? atoi(argv[4]) : 0;

	if (argc < 5) {
		fprintf(stderr, "usage: mounts COMMAND A B NUMBER [NUMBER]\n");
		return 2;
	}
	dir[0] = argv[2];
	dir[1] = argv[3];
	if (!strcmp(argv[1], "crowd")) {
		n = atoi(argv[2]);
		for (sides = 0; sides < argc - 3 && sides < SIDES; sides++)
			dir[sides] = argv[3 + sides];
		return names(n);
	}
	seed = argc > 5 ? strtoul(argv[5], NULL, 0) : 1;
	if (!strcmp(argv[1], "coherent"))
		return coherent(n);
	if (!strcmp(argv[1], "delay"))
		return delay(n);
	if (!strcmp(argv[1], "append"))
		return append(n);
	if (!strcmp(argv[1], "names"))
		return names(n);
	if (!strcmp(argv[1], "cycle"))
		return cycle(n);
	if (!strcmp(argv[1], "grown"))
		return grown(n);
	if (!strcmp(argv[1], "torn"))
		return torn(n);
	if (!strcmp(argv[1], "touch") && argc > 5)
		return touch(n, atoi(argv[5]));
	fprintf(stderr, "mounts: no such command\n");
	return 2;
}
