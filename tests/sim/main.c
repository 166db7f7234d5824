/*
 * sim: runs the workload on many seeds, in as many processes as there are processors.
 *
 *   sim [--seeds N] [--first S] [--jobs J] [--verbose]     N seeds from S on (1: and the pinned)
 *   SEED=n sim, or sim --seed n                            that seed alone, with its log
 *   sim --aim NAME                                         these seeds, aimed (aim.h)
 *   sim --scale                                            figures about a big cluster
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "tests/sim/aim.h"
#include "tests/sim/scale.h"
#include "tests/sim/workload.h"

/* Seeds that have shown bugs which few others show: a run from seed 1 on begins with them. */
static const uint64_t pinned[] = {37, 48, 58, 166, 218, 326, 483, 1053, 1677, 3897, 5983, 9, 72,
	104, 114, 124, 136, 185, 196, 206, 350, 353, 390, 492, 6852, 75029, 91350, 205755};
#define NPINNED (sizeof(pinned) / sizeof(pinned[0]))

/* Of CPU time, which one seed needs a few milliseconds of. */
#define SECONDS_MAX 20

struct todo {
	uint64_t first, seeds;
	size_t npinned;
};

static uint64_t seed_at(const struct todo *t, uint64_t i)
{
	return i < t->npinned ? pinned[i] : t->first + (i - t->npinned);
}

struct totals {
	struct workload_result sum;
	uint64_t passed, failed;
};

static unsigned rings = 3; /* see struct workload_config */
static const char *aim;

static int run_one(uint64_t seed, bool verbose, struct workload_result *res)
{
	struct workload_config cfg = {.seed = seed, .verbose = verbose, .rings = rings, .aim = aim};
	int rc;

	memset(res, 0, sizeof(*res));
	rc = workload_run(&cfg, res);
	if (rc)
		fprintf(stderr,
			"sim: seed %" PRIu64 " FAILED; replay it with SEED=%" PRIu64 "%s%s\n", seed,
			seed, aim ? " AIM=" : "", aim ? aim : "");
	return rc;
}

static void add(struct workload_result *sum, const struct workload_result *res)
{
	uint64_t *to = (uint64_t *)sum;
	const uint64_t *from = (const uint64_t *)res;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++)
		to[i] += from[i];
}

/* Every @jobs-th seed; the totals go back through the pipe. A crash of the child shows as a short
 * answer; its last seed was printed before. */
static void child(int fd, const struct todo *todo, unsigned job, unsigned jobs)
{
	struct totals t = {0};

	for (uint64_t i = job; i < todo->npinned + todo->seeds; i += jobs) {
		const struct rlimit cpu = {SECONDS_MAX, SECONDS_MAX};
		uint64_t seed = seed_at(todo, i);
		struct workload_result res;
		pid_t pid;
		int status, p[2];

		/* one process a seed: a crash or a leak stays its own */
		if (pipe(p))
			_exit(3);
		pid = fork();
		if (pid == 0) {
			setrlimit(RLIMIT_CPU, &cpu);
			int rc = run_one(seed, false, &res);

			if (write(p[1], &res, sizeof(res)) != sizeof(res))
				_exit(3);
			_exit(rc ? 1 : 0);
		}
		close(p[1]);
		memset(&res, 0, sizeof(res));
		ssize_t got = read(p[0], &res, sizeof(res));
		close(p[0]);
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			_exit(3);
		if (got == sizeof(res))
			add(&t.sum, &res);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
			t.passed++;
		} else {
			t.failed++;
			if (!WIFEXITED(status))
				fprintf(stderr,
					"sim: seed %" PRIu64 " CRASHED (signal %d); replay it with "
					"SEED=%" PRIu64 "%s%s\n",
					seed, WTERMSIG(status), seed, aim ? " AIM=" : "",
					aim ? aim : "");
		}
	}
	if (write(fd, &t, sizeof(t)) != sizeof(t))
		_exit(3);
	_exit(0);
}

static void print_result(const struct workload_result *r)
{
	static const char *const name[] = {
#define X(n) #n,
		WORKLOAD_COUNTS(X)
#undef X
	};
	const uint64_t *v = (const uint64_t *)r;

	for (size_t i = 0; i < sizeof(name) / sizeof(name[0]); i++)
		printf("%s%s %" PRIu64, i % 6 ? ", " : i ? "\n  " : "  ", name[i], v[i]);
	putchar('\n');
}

static int run_many(const struct todo *todo, unsigned jobs)
{
	uint64_t seeds = todo->npinned + todo->seeds;
	struct totals all = {0};
	struct timespec a, b;
	int fd[64][2];
	double secs;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (unsigned j = 0; j < jobs; j++) {
		if (pipe(fd[j]))
			return 3;
		pid_t pid = fork();
		if (pid < 0)
			return 3;
		if (pid == 0)
			child(fd[j][1], todo, j, jobs);
		close(fd[j][1]);
	}
	for (unsigned j = 0; j < jobs; j++) {
		struct totals t;

		if (read(fd[j][0], &t, sizeof(t)) == sizeof(t)) {
			add(&all.sum, &t.sum);
			all.passed += t.passed;
			all.failed += t.failed;
		}
		close(fd[j][0]);
	}
	while (wait(NULL) > 0)
		;
	clock_gettime(CLOCK_MONOTONIC, &b);
	secs = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
	printf("sim: seeds %" PRIu64 "..%" PRIu64 " and %zu pinned, %.1f seeds/s\n", todo->first,
		todo->first + todo->seeds - 1, todo->npinned, (double)seeds / secs);
	print_result(&all.sum);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n", all.passed, seeds - all.passed);
	return all.passed == seeds ? 0 : 1;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"seeds", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"jobs", required_argument, NULL, 'j'},
		{"seed", required_argument, NULL, 's'},
		{"rings", required_argument, NULL, 'r'},
		{"aim", required_argument, NULL, 'a'},
		{"verbose", no_argument, NULL, 'v'},
		{"scale", no_argument, NULL, 'S'},
		{0},
	};
	struct todo todo = {.first = 1, .seeds = 500};
	long jobs = sysconf(_SC_NPROCESSORS_ONLN);
	const char *one = getenv("SEED");
	struct workload_result res;
	int o, rc;

	while ((o = getopt_long(argc, argv, "n:f:j:s:v", opts, NULL)) != -1) {
		switch (o) {
		case 'n':
			todo.seeds = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			todo.first = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			jobs = strtol(optarg, NULL, 10);
			break;
		case 's':
			one = optarg;
			break;
		case 'r':
			rings = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'a':
			aim = optarg;
			if (aim_find(aim))
				break;
			fprintf(stderr, "sim: no aim is called %s\n", aim);
			return 2;
		case 'S':
			return scale_run() ? 1 : 0;
		case 'v':
			log_set_level(LOG_LVL_DEBUG);
			break;
		default:
			fprintf(stderr, "usage: sim [--seeds N] [--first S] [--jobs J] [--seed S] "
					"[--rings R] [--aim NAME] "
					"[--verbose] [--scale]\n");
			return 2;
		}
	}
	if (one && *one) {
		rc = run_one(strtoull(one, NULL, 10), true, &res);
		print_result(&res);
		return rc ? 1 : 0;
	}
	log_set_level(LOG_LVL_ERROR);
	if (jobs < 1 || jobs > 64)
		jobs = 2;
	todo.npinned = todo.first == 1 && !aim ? NPINNED : 0;
	return run_many(&todo, (unsigned)jobs);
}
