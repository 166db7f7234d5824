/*
 * stress_data A B SECONDS WORKERS [SEED]: random changes of files, and what they must be.
 *
 * A and B are one directory seen through two mounts (or the same one, twice). Each worker has a
 * file and knows its bytes. Steps go through either side: writes, appended ones, stores into a
 * mapping, cuts, holes, zeroed and allocated ranges, copies within the file, fsync, reopening; and
 * reads, read(2) or mapped, and searches for data, whose bytes must be those of the last change on
 * whichever side. Exit status 0, or 1 and what is wrong with the steps that came before.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILE_MAX ((size_t)5 << 20) /* some blocks of a mebibyte, and what lies in the inode */
#define STEPS_TOLD 40
#define PAGE ((size_t)4096)

static const char *dir[2];
static char name[32];
static int fd[2], fd_append[2];
static unsigned char want[FILE_MAX], got[FILE_MAX];
static size_t size;
static unsigned long seed, steps;
static char told[STEPS_TOLD][120];

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", name);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (%s)\n", strerror(err));
	for (unsigned long i = steps > STEPS_TOLD ? steps - STEPS_TOLD : 0; i < steps; i++)
		fprintf(stderr, "  %lu: %s\n", i, told[i % STEPS_TOLD]);
	exit(1);
}

static void __attribute__((format(printf, 1, 2))) tell(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(told[steps++ % STEPS_TOLD], sizeof(told[0]), fmt, ap);
	va_end(ap);
}

static size_t rnd(size_t below)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return below ? (size_t)(seed >> 24) % below : 0;
}

/* Mostly short, at times long. */
static size_t some_len(size_t max)
{
	size_t n = 1 + rnd(rnd(8) ? 20000 : rnd(3) ? 200000 : 3 << 20);

	return n < max ? n : max;
}

/* Often where units of the file end. */
static size_t some_place(size_t below)
{
	static const size_t edges[] = {64 << 10, 1 << 20, 2 << 20, 3 << 20};
	size_t at = edges[rnd(4)] + rnd(10000) - 5000;

	if (rnd(4) == 0 && at < below)
		return at;
	return rnd(below);
}

static void compare(const unsigned char *bytes, size_t off, size_t len, int side, const char *how)
{
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != want[off + i])
			fail("%s on side %d: byte %zu is %02x, not %02x (asked for %zu at %zu, "
			     "size %zu)",
				how, side, off + i, bytes[i], want[off + i], len, off, size);
	}
}

/* ---- files ---- */

static void open_side(int side)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s", dir[side], name);
	fd[side] = open(path, O_RDWR | O_CREAT, 0644);
	fd_append[side] = open(path, O_WRONLY | O_APPEND);
	if (fd[side] < 0 || fd_append[side] < 0)
		fail("open on side %d", side);
}

static void close_side(int side)
{
	if (close(fd[side]) || close(fd_append[side]))
		fail("close on side %d", side);
}

/* Asked first wherever it matters: a kernel reads, maps and copies up to the size that it was told
 * last, which is at fstat(2). */
static void look_size(int side)
{
	struct stat st;

	if (fstat(fd[side], &st))
		fail("stat");
	if ((size_t)st.st_size != size)
		fail("size on side %d is %lld, not %zu", side, (long long)st.st_size, size);
}

/* ---- changes ---- */

static void fill(size_t off, size_t len)
{
	unsigned char c = (unsigned char)(1 + rnd(255));

	for (size_t i = 0; i < len; i++)
		want[off + i] = (unsigned char)(c + (off + i) / 509);
	if (size < off + len)
		size = off + len;
}

static void do_write(int side)
{
	size_t off = some_place(FILE_MAX), len = some_len(FILE_MAX - off);

	tell("write %zu at %zu on %d", len, off, side);
	fill(off, len);
	if (pwrite(fd[side], want + off, len, (off_t)off) != (ssize_t)len)
		fail("write");
}

static void do_append(int side)
{
	size_t off = size, len = some_len(FILE_MAX - size);

	if (len == 0)
		return;
	tell("append %zu at %zu on %d", len, off, side);
	fill(off, len);
	if (write(fd_append[side], want + off, len) != (ssize_t)len)
		fail("append");
}

static void do_truncate(int side)
{
	size_t to = rnd(3) ? rnd(size + 1) : some_place(FILE_MAX);

	tell("truncate %zu to %zu on %d", size, to, side);
	if (to < size)
		memset(want + to, 0, size - to);
	size = to;
	if (ftruncate(fd[side], (off_t)to))
		fail("truncate");
}

static void do_fallocate(int side)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, 0};
	int mode = modes[rnd(3)];
	size_t off = some_place(FILE_MAX), len = some_len(FILE_MAX - off), to = off + len;

	tell("fallocate mode %d, %zu at %zu on %d", mode, len, off, side);
	if (mode)
		memset(want + off, 0, len);
	if (size < to && !(mode & FALLOC_FL_KEEP_SIZE))
		size = to;
	if (fallocate(fd[side], mode, (off_t)off, (off_t)len))
		fail("fallocate");
}

static void do_copy(int side)
{
	size_t from = rnd(size), to = some_place(FILE_MAX), len = some_len(size - from);
	off_t in = (off_t)from, out = (off_t)to;
	size_t gap = from < to ? to - from : from - to;

	len = len < gap ? len : gap; /* may not overlap */
	len = len < FILE_MAX - to ? len : FILE_MAX - to;
	if (!size || !len)
		return;
	tell("copy %zu from %zu to %zu on %d", len, from, to, side);
	look_size(side);
	memmove(want + to, want + from, len);
	if (size < to + len)
		size = to + len;
	while (len) {
		ssize_t n = copy_file_range(fd[side], &in, fd[!side], &out, len, 0);

		/* two mounts are two filesystems, which some kernels refuse */
		if (n < 0 && errno == EXDEV)
			n = copy_file_range(fd[side], &in, fd[side], &out, len, 0);
		if (n <= 0)
			fail("copy");
		len -= (size_t)n;
	}
}

static void do_store(int side)
{
	size_t off = some_place(size), len = some_len(size - off), base = off / PAGE * PAGE;
	unsigned char *p;

	if (!size)
		return;
	tell("store %zu at %zu on %d", len, off, side);
	look_size(side);
	p = mmap(NULL, off + len - base, PROT_READ | PROT_WRITE, MAP_SHARED, fd[side], (off_t)base);
	if (p == MAP_FAILED)
		fail("mmap");
	fill(off, len);
	memcpy(p + (off - base), want + off, len);
	if (msync(p, off + len - base, MS_SYNC))
		fail("msync");
	munmap(p, off + len - base);
}

static void do_fsync(int side)
{
	tell("fsync on %d", side);
	if (rnd(2) ? fsync(fd[side]) : fdatasync(fd[side]))
		fail("fsync");
}

static void do_reopen(int side)
{
	tell("reopen on %d", side);
	close_side(side);
	open_side(side);
}

/* ---- looking ---- */

static void do_read(int side)
{
	size_t off = some_place(FILE_MAX), len = some_len(FILE_MAX - off);
	size_t n = off < size ? size - off < len ? size - off : len : 0;
	ssize_t have;

	tell("read %zu at %zu on %d", len, off, side);
	look_size(side);
	have = pread(fd[side], got, len, (off_t)off);
	if (have != (ssize_t)n)
		fail("read on side %d: %zd bytes, not %zu", side, have, n);
	compare(got, off, n, side, "read");
}

static void do_load(int side)
{
	size_t off = rnd(size), len = some_len(size - off), base = off / PAGE * PAGE;
	unsigned char *p;

	if (!size)
		return;
	tell("load %zu at %zu on %d", len, off, side);
	look_size(side);
	p = mmap(NULL, off + len - base, PROT_READ, MAP_SHARED, fd[side], (off_t)base);
	if (p == MAP_FAILED)
		fail("mmap");
	compare(p + (off - base), off, len, side, "load");
	munmap(p, off + len - base);
}

/* What is passed over by a search for data must be zeros. */
static void do_seek(int side)
{
	size_t off = rnd(size), end;
	off_t at;

	if (!size)
		return;
	tell("seek from %zu on %d", off, side);
	at = lseek(fd[side], (off_t)off, SEEK_DATA);
	if (at < 0 && errno != ENXIO)
		fail("seek");
	end = at < 0 ? size : (size_t)at;
	memset(got, 0, end - off);
	compare(got, off, end - off, side, "hole");
	at = lseek(fd[side], (off_t)off, SEEK_HOLE);
	if (at < (off_t)off || (size_t)at > size)
		fail("hole at %lld from %zu, size %zu", (long long)at, off, size);
}

static void look_at_all(int side)
{
	tell("all on %d", side);
	look_size(side);
	if (pread(fd[side], got, FILE_MAX, 0) != (ssize_t)size)
		fail("read of all on side %d", side);
	compare(got, 0, size, side, "all");
}

static void step(void)
{
	static void (*const some[])(int side) = {do_write, do_write, do_write, do_append,
		do_truncate, do_fallocate, do_copy, do_store, do_store, do_fsync, do_reopen,
		do_read, do_read, do_read, do_load, do_load, do_seek, look_size};

	some[rnd(sizeof(some) / sizeof(some[0]))]((int)rnd(2));
	if (rnd(50) == 0)
		look_at_all((int)rnd(2));
}

static void work(unsigned worker, unsigned seconds)
{
	time_t end = time(NULL) + seconds;
	char path[4200];

	snprintf(name, sizeof(name), "data.%u", worker);
	open_side(0);
	if (ftruncate(fd[0], 0)) /* it may be there from another run */
		fail("truncate");
	open_side(1);
	while (time(NULL) < end)
		step();
	for (int side = 0; side < 2; side++) {
		look_at_all(side);
		do_reopen(side);
		look_at_all(side);
	}
	close_side(0);
	close_side(1);
	snprintf(path, sizeof(path), "%s/%s", dir[0], name);
	if (worker % 2 && unlink(path)) /* the others are for the checker */
		fail("unlink");
	printf("%s: %lu steps\n", name, steps);
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	unsigned workers;
	int status, rc = 0;

	if (argc < 5) {
		fprintf(stderr, "usage: stress_data A B SECONDS WORKERS [SEED]\n");
		return 2;
	}
	dir[0] = argv[1];
	dir[1] = argv[2];
	workers = (unsigned)atoi(argv[4]);
	seed = argc > 5 ? strtoul(argv[5], NULL, 0) : (unsigned long)time(NULL);
	printf("seed %lu\n", seed);
	fflush(stdout);
	for (unsigned i = 0; i < workers; i++) {
		seed += 1000003;
		if (fork() == 0)
			work(i, (unsigned)atoi(argv[3]));
	}
	while (wait(&status) > 0) {
		if (WIFSIGNALED(status))
			fprintf(stderr, "a worker died of signal %d\n", WTERMSIG(status));
		rc |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	}
	return rc;
}
