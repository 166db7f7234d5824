/*
 * model: runs random programs of file operations on several mounts in the simulator, beside a
 * simple model filesystem that says whether each answer is right.
 *
 *   model [--seeds N] [--first S] [--jobs J]     N seeds from S on (1: and the pinned)
 *   SEED=n model, or model --seed n              that seed alone, step by step; -v: with its log
 *   model --keep                                 failing programs are not shortened
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "tests/model/world.h"

#define SECONDS_MAX 30 /* of CPU time, which a program needs a fraction of one of */
#define SHORTEN_MAX 400

struct outcome {
	bool failed;
	char why[400];
};

static bool shorten = true, loud;

/* A process of its own: what crashes is told like what is wrong. */
static void run(const struct program *p, bool verbose, struct outcome *o)
{
	const struct rlimit cpu = {SECONDS_MAX, SECONDS_MAX};
	static struct world w;
	int fd[2], status;
	ssize_t got;
	pid_t pid;

	memset(o, 0, sizeof(*o));
	if (pipe(fd))
		exit(3);
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		exit(3);
	if (pid == 0) {
		setrlimit(RLIMIT_CPU, &cpu);
		if (verbose && loud)
			log_set_level(LOG_LVL_DEBUG);
		if (!verbose && shorten && !freopen("/dev/null", "w", stderr))
			_exit(3);
		world_init(&w, p, verbose);
		if (!w.failed)
			program_run(p, &w);
		o->failed = w.failed;
		snprintf(o->why, sizeof(o->why), "%s", w.why);
		fflush(NULL);
		if (write(fd[1], o, sizeof(*o)) != sizeof(*o))
			_exit(3);
		_exit(0);
	}
	close(fd[1]);
	got = read(fd[0], o, sizeof(*o));
	close(fd[0]);
	if (waitpid(pid, &status, 0) != pid)
		exit(3);
	if (got == sizeof(*o) && WIFEXITED(status))
		return;
	o->failed = true;
	snprintf(o->why, sizeof(o->why), "crashed: %s",
		WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended early");
}

static void drop(struct program *p, unsigned at, unsigned n)
{
	memmove(&p->step[at], &p->step[at + n], (p->n - at - n) * sizeof(p->step[0]));
	p->n -= n;
}

/* Is it the same thing that is wrong? Numbers may differ. */
static bool alike(const struct outcome *a, const struct outcome *b)
{
	size_t n = strcspn(a->why, "0123456789");

	return a->failed && b->failed && !strncmp(a->why, b->why, n < 12 ? n : 12);
}

/* Leaves out what can be left out, larger parts first, then goes on with smaller ones. */
static void shorter(struct program *p, struct outcome *o)
{
	unsigned tries = 0;

	for (unsigned part = p->n / 2; part > 0;) {
		bool any = false;

		for (unsigned at = 0; at + part <= p->n && tries < SHORTEN_MAX;) {
			struct program q = *p;
			struct outcome r;

			drop(&q, at, part);
			tries++;
			run(&q, false, &r);
			if (alike(o, &r)) {
				*p = q;
				*o = r;
				any = true;
			} else {
				at += part;
			}
		}
		if (!any || part > 1)
			part = part > 1 ? part / 2 : 0;
		if (tries >= SHORTEN_MAX)
			break;
	}
	/* and what need not be together or have faults about it */
	for (unsigned k = 0; k < p->n && tries < SHORTEN_MAX; k++) {
		struct program q = *p;
		struct outcome r;

		if (!q.step[k].with_next)
			continue;
		q.step[k].with_next = false;
		tries++;
		run(&q, false, &r);
		if (alike(o, &r)) {
			*p = q;
			*o = r;
		}
	}
}

static bool run_seed(uint64_t seed, bool verbose)
{
	static struct program p;
	struct outcome o;

	program_make(&p, seed);
	run(&p, verbose, &o);
	if (!o.failed)
		return true;
	if (shorten)
		shorter(&p, &o);
	fprintf(stdout, "model: seed %" PRIu64 " FAILED: %s\n", seed, o.why);
	program_print(&p, stdout);
	if (verbose && shorten) {
		run(&p, true, &o);
		fprintf(stdout, "model: %s\n", o.why);
	}
	fflush(stdout);
	return false;
}

struct todo {
	uint64_t first, seeds;
	size_t npinned;
	long jobs;
};

static unsigned job(const struct todo *t, long j)
{
	unsigned failed = 0;

	for (uint64_t k = (uint64_t)j; k < t->npinned + t->seeds; k += (uint64_t)t->jobs) {
		uint64_t seed =
			k < t->npinned ? program_pinned[k].seed : t->first + (k - t->npinned);

		failed += !run_seed(seed, false);
		if (failed >= 5)
			break; /* that is enough to read */
	}
	return failed;
}

static int run_many(const struct todo *t)
{
	uint64_t seeds = t->npinned + t->seeds, failed = 0;
	struct timespec a, b;
	double secs;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &a);
	fflush(NULL);
	for (long j = 0; j < t->jobs; j++) {
		pid_t pid = fork();

		if (pid < 0)
			return 3;
		if (pid == 0)
			_exit((int)job(t, j));
	}
	while (wait(&status) > 0)
		failed += WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 1;
	clock_gettime(CLOCK_MONOTONIC, &b);
	secs = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("model: seeds %" PRIu64 "..%" PRIu64 " and %zu pinned, %.1f seeds/s\n", t->first,
		t->first + t->seeds - 1, t->npinned, (double)seeds / secs);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", seeds - failed, failed);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"jobs", required_argument, NULL, 'j'},
		{"seed", required_argument, NULL, 's'},
		{"keep", no_argument, NULL, 'k'},
		{"verbose", no_argument, NULL, 'v'},
		{0},
	};
	struct todo t = {.first = 1, .seeds = 300, .jobs = sysconf(_SC_NPROCESSORS_ONLN)};
	const char *one = getenv("SEED");
	int o;

	log_set_level(LOG_LVL_ERROR);
	while ((o = getopt_long(argc, argv, "n:f:j:s:kv", opts, NULL)) != -1) {
		switch (o) {
		case 'n':
			t.seeds = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			t.first = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			t.jobs = strtol(optarg, NULL, 10);
			break;
		case 's':
			one = optarg;
			break;
		case 'k':
			shorten = false;
			break;
		case 'v':
			loud = true;
			break;
		default:
			fprintf(stderr, "usage: model [--seeds N] [--first S] [--jobs J] "
					"[--seed S] [--keep] [--verbose]\n");
			return 2;
		}
	}
	if (one && *one)
		return run_seed(strtoull(one, NULL, 10), true) ? 0 : 1;
	if (t.jobs < 1 || t.jobs > 64)
		t.jobs = 2;
	while (t.first == 1 && program_pinned[t.npinned].words)
		t.npinned++;
	return run_many(&t);
}
