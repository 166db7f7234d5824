/*
 * load: writes what can be checked, for as long as it is told to, and measures how long a system
 * call takes at most.
 *
 *   load run DIR STATE SECONDS WORKERS PACE_US   until then, or until SIGTERM
 *   load verify DIR STATE                        what was acknowledged is there, byte for byte
 *
 * A worker has a file of records that it overwrites at random, each with its version and a pattern
 * that follows from both, syncing one in eight; and a folder in which it creates, renames (also to
 * a second folder) and removes small files. It knows what each must be, reads some of it back at
 * once and all of it at the end, and leaves what it knows in STATE. Each call of more than 100 ms
 * gives a line "stall BEGIN_MS TOOK_MS CALL" (BEGIN since 1970); the last line is the sum. Any
 * error, and any wrong byte, ends it with 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECORD 4096
#define RECORDS 2048
#define FILES 256
#define WORKERS_MAX 16
#define PATH_LEN 4096
#define SLOW_NS UINT64_C(100000000)

struct worker {
	pthread_t thread;
	unsigned no;
	const char *dir;
	uint64_t rng;
	int fd;
	uint32_t version[RECORDS]; /* of each record; 0: never written */
	uint32_t file[FILES];      /* version of each small file; 0: there is none */
	uint8_t place[FILES];      /* in which of the two folders */
	uint64_t calls, syncs, bytes, longest;
	const char *longest_call;
	uint64_t began; /* of the call that runs */
	bool bad;
};

static volatile sig_atomic_t stopping;
static unsigned pace_us;
static pthread_mutex_t out = PTHREAD_MUTEX_INITIALIZER;

static void on_signal(int signum)
{
	(void)signum;
	stopping = 1;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= UINT64_C(0xbf58476d1ce4e5b9);
	x ^= x >> 27;
	x *= UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static unsigned dice(struct worker *w, unsigned n)
{
	w->rng += UINT64_C(0x9e3779b97f4a7c15);
	return (unsigned)(mix(w->rng) % n);
}

/* What version @version of thing @what of worker @no is. */
static void pattern(uint64_t *p, unsigned no, unsigned what, uint32_t version)
{
	uint64_t seed = mix((uint64_t)no << 48 ^ (uint64_t)what << 32 ^ version);

	for (unsigned i = 0; i < RECORD / 8; i++)
		p[i] = mix(seed + i);
	p[0] = (uint64_t)what << 32 | version; /* for whoever looks at it */
}

static void begin(struct worker *w)
{
	w->began = now_ns(CLOCK_MONOTONIC);
}

/* The call is over: how long did it take, did it fail? */
static bool end(struct worker *w, const char *call, bool ok)
{
	uint64_t took = now_ns(CLOCK_MONOTONIC) - w->began;
	int err = errno;

	w->calls++;
	if (took > w->longest) {
		w->longest = took;
		w->longest_call = call;
	}
	if (took > SLOW_NS) {
		pthread_mutex_lock(&out);
		printf("stall %ju %ju %s\n", (uintmax_t)((now_ns(CLOCK_REALTIME) - took) / 1000000),
			(uintmax_t)(took / 1000000), call);
		fflush(stdout);
		pthread_mutex_unlock(&out);
	}
	if (!ok) {
		fprintf(stderr, "worker %u: %s: %s\n", w->no, call, strerror(err));
		w->bad = true;
	}
	return ok;
}

static bool wrong(struct worker *w, const char *what, unsigned n, uint32_t version)
{
	fprintf(stderr, "worker %u: %s %u is not version %u\n", w->no, what, n, version);
	w->bad = true;
	return false;
}

static char *path_of(struct worker *w, char *to, unsigned place, unsigned i)
{
	snprintf(to, PATH_LEN, "%s/w%u.%c/f%u", w->dir, w->no, place ? 'b' : 'a', i);
	return to;
}

/* ---- records ---- */

static bool check_record(struct worker *w, unsigned i)
{
	uint64_t got[RECORD / 8], want[RECORD / 8] = {0};
	ssize_t n;

	begin(w);
	n = pread(w->fd, got, RECORD, (off_t)i * RECORD);
	if (!end(w, "read", n >= 0))
		return false;
	if (!w->version[i] && n < RECORD)
		return true; /* past the end */
	if (w->version[i])
		pattern(want, w->no, i, w->version[i]);
	return (n == RECORD && !memcmp(got, want, RECORD)) || wrong(w, "record", i, w->version[i]);
}

static bool write_record(struct worker *w, unsigned i)
{
	uint64_t data[RECORD / 8];

	pattern(data, w->no, i, w->version[i] + 1);
	begin(w);
	if (!end(w, "write", pwrite(w->fd, data, RECORD, (off_t)i * RECORD) == RECORD))
		return false;
	w->version[i]++;
	w->bytes += RECORD;
	if (dice(w, 8))
		return true;
	begin(w);
	w->syncs++;
	return end(w, "fsync", !fsync(w->fd));
}

/* ---- small files ---- */

static bool check_file(struct worker *w, unsigned i)
{
	uint64_t got[RECORD / 8], want[RECORD / 8];
	char path[PATH_LEN];
	ssize_t n;
	int fd;

	begin(w);
	fd = open(path_of(w, path, w->place[i], i), O_RDONLY);
	if (!w->file[i]) {
		if (fd >= 0)
			close(fd);
		return end(w, "open", fd >= 0 || errno == ENOENT) &&
		       (fd < 0 || wrong(w, "file", i, 0));
	}
	if (!end(w, "open", fd >= 0))
		return false;
	begin(w);
	n = read(fd, got, RECORD);
	close(fd);
	if (!end(w, "read", n >= 0))
		return false;
	pattern(want, w->no, RECORDS + i, w->file[i]);
	return (n == RECORD && !memcmp(got, want, RECORD)) || wrong(w, "file", i, w->file[i]);
}

static bool create_file(struct worker *w, unsigned i, uint32_t version)
{
	uint64_t data[RECORD / 8];
	char path[PATH_LEN];
	int fd;

	pattern(data, w->no, RECORDS + i, version);
	begin(w);
	fd = open(path_of(w, path, w->place[i], i), O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (!end(w, "create", fd >= 0))
		return false;
	begin(w);
	if (!end(w, "write", write(fd, data, RECORD) == RECORD))
		return false;
	begin(w);
	if (!end(w, "close", !close(fd)))
		return false;
	w->file[i] = version;
	w->bytes += RECORD;
	return true;
}

static bool change_file(struct worker *w, unsigned i)
{
	static uint32_t versions;
	char from[PATH_LEN], to[PATH_LEN];

	if (!w->file[i])
		return create_file(w, i, __atomic_add_fetch(&versions, 1, __ATOMIC_RELAXED));
	if (dice(w, 2)) {
		begin(w);
		if (!end(w, "rename",
			    !rename(path_of(w, from, w->place[i], i),
				    path_of(w, to, !w->place[i], i))))
			return false;
		w->place[i] = !w->place[i];
		return true;
	}
	begin(w);
	if (!end(w, "unlink", !unlink(path_of(w, from, w->place[i], i))))
		return false;
	w->file[i] = 0;
	return true;
}

/* ---- a worker's life ---- */

static bool open_all(struct worker *w, int flags)
{
	char path[PATH_LEN];

	snprintf(path, sizeof(path), "%s/w%u.dat", w->dir, w->no);
	begin(w);
	w->fd = open(path, flags, 0600);
	if (!end(w, "open", w->fd >= 0))
		return false;
	for (int b = 0; (flags & O_CREAT) && b < 2; b++) {
		snprintf(path, sizeof(path), "%s/w%u.%c", w->dir, w->no, b ? 'b' : 'a');
		begin(w);
		if (!end(w, "mkdir", !mkdir(path, 0700) || errno == EEXIST))
			return false;
	}
	return true;
}

static bool check_all(struct worker *w)
{
	bool good = true;

	for (unsigned i = 0; i < RECORDS; i++)
		good &= check_record(w, i);
	for (unsigned i = 0; i < FILES; i++)
		good &= check_file(w, i);
	return good;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	bool good = open_all(w, O_RDWR | O_CREAT);

	while (good && !stopping) {
		switch (dice(w, 8)) {
		case 0:
		case 1:
			good = change_file(w, dice(w, FILES));
			break;
		case 2:
			good = check_file(w, dice(w, FILES));
			break;
		case 3:
			good = check_record(w, dice(w, RECORDS));
			break;
		default:
			good = write_record(w, dice(w, RECORDS));
		}
		if (pace_us)
			usleep(pace_us);
	}
	if (good)
		check_all(w);
	begin(w);
	if (w->fd >= 0)
		end(w, "close", !close(w->fd));
	return NULL;
}

static void *verify(void *arg)
{
	struct worker *w = arg;

	if (open_all(w, O_RDONLY))
		check_all(w);
	if (w->fd >= 0)
		close(w->fd);
	return NULL;
}

/* ---- all of them ---- */

static struct worker workers[WORKERS_MAX];

static bool state_io(const char *path, unsigned *n, bool save)
{
	FILE *f = fopen(path, save ? "w" : "r");
	size_t (*io)(void *, size_t, size_t, FILE *) =
		save ? (size_t(*)(void *, size_t, size_t, FILE *))fwrite : fread;
	bool ok = f && io(n, sizeof(*n), 1, f) == 1 && *n <= WORKERS_MAX;

	for (unsigned i = 0; ok && i < *n; i++) {
		ok = io(workers[i].version, sizeof(workers[i].version), 1, f) == 1 &&
		     io(workers[i].file, sizeof(workers[i].file), 1, f) == 1 &&
		     io(workers[i].place, sizeof(workers[i].place), 1, f) == 1;
	}
	if (f && fclose(f))
		ok = false;
	if (!ok)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return ok;
}

static int run_all(const char *dir, unsigned n, void *(*fn)(void *), unsigned seconds)
{
	uint64_t calls = 0, bytes = 0, syncs = 0;
	struct worker *slow = &workers[0];
	int bad = 0;

	for (unsigned i = 0; i < n; i++) {
		workers[i].no = i;
		workers[i].dir = dir;
		workers[i].rng = mix(i + 1);
		workers[i].fd = -1;
		if (pthread_create(&workers[i].thread, NULL, fn, &workers[i]))
			return 1;
	}
	if (seconds)
		alarm(seconds);
	for (unsigned i = 0; i < n; i++) {
		struct worker *w = &workers[i];

		pthread_join(w->thread, NULL);
		calls += w->calls;
		bytes += w->bytes;
		syncs += w->syncs;
		bad |= w->bad;
		if (w->longest > slow->longest)
			slow = w;
	}
	printf("calls %ju written %ju syncs %ju longest %ju ms (%s)%s\n", (uintmax_t)calls,
		(uintmax_t)bytes, (uintmax_t)syncs, (uintmax_t)(slow->longest / 1000000),
		slow->longest_call ? slow->longest_call : "none", bad ? " BAD" : "");
	return bad;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	unsigned n = 0;
	int bad;

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
	if (argc == 7 && !strcmp(argv[1], "run")) {
		n = (unsigned)strtoul(argv[5], NULL, 10);
		pace_us = (unsigned)strtoul(argv[6], NULL, 10);
		if (n < 1 || n > WORKERS_MAX)
			return 2;
		bad = run_all(argv[2], n, work, (unsigned)strtoul(argv[4], NULL, 10));
		return bad || !state_io(argv[3], &n, true);
	}
	if (argc == 4 && !strcmp(argv[1], "verify"))
		return !state_io(argv[3], &n, false) || run_all(argv[2], n, verify, 0);
	fprintf(stderr, "load run DIR STATE SECONDS WORKERS PACE_US | load verify DIR STATE\n");
	return 2;
}
