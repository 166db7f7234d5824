/*
 * bench: one row of the benchmark in one directory.
 *
 *   bench DIR ROW [MB]      prints: ROW VALUE UNIT
 *
 * Rows: seqwrite (write + fsync), seqread (of what seqwrite left), randread, randwrite (4 KiB, of
 * that file; no place is read twice), create, stat, read, rename, unlink (4 KiB files, with suffix
 * 1 or 4: threads), restat, reread (of 100 of these files, kept open, again and again). Whoever
 * calls decides what is cold: drop the caches before seqread or randread.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILES 2000 /* per thread */
#define SMALL 4096
#define CHUNK (1 << 20)
#define RANDOM_SECS 2.0
#define FEW 100
#define AGAIN 2000 /* times each of the few */

static const char *dir;
static size_t megabytes = 512;

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int open_big(int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/big", dir);
	fd = open(path, flags, 0644);
	if (fd < 0)
		die(path);
	return fd;
}

static void fill(char *p, size_t len, uint64_t seed)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		memcpy(p + i, &seed, 8);
	}
}

static double seq_write(void)
{
	char *buf = malloc(CHUNK);
	int fd;
	double t = now();

	fill(buf, CHUNK, 1);
	fd = open_big(O_WRONLY | O_CREAT | O_TRUNC);
	for (size_t i = 0; i < megabytes; i++)
		if (write(fd, buf, CHUNK) != CHUNK)
			die("write");
	if (fsync(fd) || close(fd))
		die("fsync");
	free(buf);
	return (double)megabytes * CHUNK / 1e6 / (now() - t);
}

static double seq_read(void)
{
	char *buf = malloc(CHUNK);
	int fd = open_big(O_RDONLY);
	size_t total = 0;
	ssize_t n;
	double t = now();

	while ((n = read(fd, buf, CHUNK)) > 0)
		total += (size_t)n;
	if (n < 0 || total != megabytes * CHUNK)
		die("read");
	close(fd);
	free(buf);
	return (double)total / 1e6 / (now() - t);
}

static double random_io(int writing)
{
	char buf[SMALL];
	int fd = open_big(writing ? O_RDWR : O_RDONLY);
	uint64_t blocks = megabytes * CHUNK / SMALL, span = 1, seed = 12345, n = 0;
	double t = now(), el;

	fill(buf, sizeof(buf), 2);
	while (span < blocks)
		span *= 2;
	do {
		off_t at;

		do /* modulo a power of two this comes by each number once */
			seed = (seed * 1664525 + 1013904223) % span;
		while (seed >= blocks);
		at = (off_t)(seed * SMALL);
		if ((writing ? pwrite(fd, buf, SMALL, at) : pread(fd, buf, SMALL, at)) != SMALL)
			die("random");
		n++;
		el = now() - t;
	} while (el < RANDOM_SECS && n < blocks);
	if (writing && close(fd)) /* what is still buffered counts */
		die("close");
	el = now() - t;
	return (double)n / el;
}

struct job {
	pthread_t thread;
	int index;
	void (*one)(const char *path, const char *other);
};

static void one_create(const char *path, const char *other)
{
	static char buf[SMALL];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	(void)other;
	if (fd < 0 || write(fd, buf, SMALL) != SMALL || close(fd))
		die("create");
}

static void one_stat(const char *path, const char *other)
{
	struct stat st;

	(void)other;
	if (stat(path, &st))
		die("stat");
}

static void one_read(const char *path, const char *other)
{
	char buf[SMALL];
	int fd = open(path, O_RDONLY);

	(void)other;
	if (fd < 0 || read(fd, buf, SMALL) != SMALL || close(fd))
		die("read");
}

static void one_rename(const char *path, const char *other)
{
	if (rename(path, other))
		die("rename");
}

static void one_unlink(const char *path, const char *other)
{
	(void)path;
	if (unlink(other))
		die("unlink");
}

static void *job_run(void *arg)
{
	struct job *j = arg;
	char path[4200], other[4200];

	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/small/f%d-%d", dir, j->index, i);
		snprintf(other, sizeof(other), "%s/small/g%d-%d", dir, j->index, i);
		j->one(path, other);
	}
	return NULL;
}

static double small_files(void (*one)(const char *, const char *), int threads)
{
	struct job job[4] = {0};
	char path[4096];
	double t;

	snprintf(path, sizeof(path), "%s/small", dir);
	if (mkdir(path, 0755) && errno != EEXIST)
		die(path);
	t = now();
	for (int i = 0; i < threads; i++) {
		job[i].index = i;
		job[i].one = one;
		if (pthread_create(&job[i].thread, NULL, job_run, &job[i]))
			die("pthread_create");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(job[i].thread, NULL);
	return (double)threads * FILES / (now() - t);
}

static double again(int reading)
{
	char path[4200], buf[SMALL];
	struct stat st;
	int fd[FEW];
	double t = 0;

	for (int round = -1; round < AGAIN; round++) { /* the first is not counted */
		if (round == 0)
			t = now();
		for (int i = 0; i < FEW; i++) {
			snprintf(path, sizeof(path), "%s/small/f0-%d", dir, i);
			if (round < 0 && (fd[i] = open(path, O_RDONLY)) < 0)
				die(path);
			if (reading ? pread(fd[i], buf, SMALL, 0) != SMALL : stat(path, &st) != 0)
				die(path);
		}
	}
	return (double)FEW * AGAIN / (now() - t);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*one)(const char *, const char *);
	} small[] = {{"create", one_create}, {"stat", one_stat}, {"read", one_read},
		{"rename", one_rename}, {"unlink", one_unlink}};
	const char *row;
	double value;

	if (argc < 3) {
		fprintf(stderr, "usage: bench DIR ROW [MB]\n");
		return 2;
	}
	dir = argv[1];
	row = argv[2];
	if (argc > 3)
		megabytes = strtoul(argv[3], NULL, 10);
	if (!strcmp(row, "seqwrite"))
		value = seq_write();
	else if (!strcmp(row, "seqread"))
		value = seq_read();
	else if (!strcmp(row, "randread"))
		value = random_io(0);
	else if (!strcmp(row, "randwrite"))
		value = random_io(1);
	else if (!strcmp(row, "restat"))
		value = again(0);
	else if (!strcmp(row, "reread"))
		value = again(1);
	else {
		size_t len = strlen(row);

		value = -1;
		for (size_t i = 0; i < sizeof(small) / sizeof(*small); i++)
			if (len == strlen(small[i].name) + 1 &&
				!strncmp(row, small[i].name, len - 1) &&
				(row[len - 1] == '1' || row[len - 1] == '4'))
				value = small_files(small[i].one, row[len - 1] - '0');
		if (value < 0) {
			fprintf(stderr, "bench: unknown row %s\n", row);
			return 2;
		}
	}
	printf("%.1f\n", value);
	return 0;
}
