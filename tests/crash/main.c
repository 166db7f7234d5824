/*
 * crash: all short sequences of operations, power lost before each change of a disk; see crash.h.
 *
 *   crash                     what make check runs: all of one and two steps, some of three
 *   crash --few               less of it
 *   crash --all               all of three steps as well, and more on three nodes
 *   crash --replay "create a; write a 4096; fsync a" --at 17 --variant torn2
 *         [--base filled] [--nodes 3 --replicas 3]      one run, step by step; -v: with its log
 *   crash --seed S            other chances; --jobs J: so many at once
 *
 * Sequences are a tree: a process for each, forked from that of all steps but the last, goes on
 * from there; so what happens within its earlier steps is tried once, with the shorter sequence. At
 * each moment it forks again, once for each variant of what power loss leaves, and waits for them.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "tests/crash/rig.h"

#define SECONDS_MAX 60 /* of CPU time, of which a run needs a hundredth of one */
#define FAILURES_MAX 10
#define VARIANTS 3 /* lost, torn1, torn2 */

/* Of all processes. */
struct totals {
	uint64_t sequences, moments, runs, failed;
	uint64_t lost; /* runs in which something that was answered and not synced was not there */
};

struct part {
	const char *name;
	enum base base;
	unsigned nodes, replicas;
	int length;      /* steps */
	unsigned one_of; /* of the longest, one in so many */
	unsigned variants;
	const char *last; /* what the longest end with; NULL: anything */
};

/* In make check. */
static const struct part quick[] = {
	{"one node, empty", BASE_EMPTY, 1, 1, 3, 4, 2, NULL},
	{"one node, filled", BASE_FILLED, 1, 1, 3, 200, 2, NULL},
	{"three nodes", BASE_FILLED, 3, 1, 2, 14, 4, NULL},
	{"three copies", BASE_FILLED, 3, 3, 2, 6, 2, "fsync"},
};

/* Under sanitizers, which take their time. */
static const struct part few[] = {
	{"one node, empty", BASE_EMPTY, 1, 1, 2, 1, 2, NULL},
	{"one node, filled", BASE_FILLED, 1, 1, 2, 8, 2, NULL},
	{"three nodes", BASE_FILLED, 3, 1, 1, 1, 2, NULL},
	{"three copies", BASE_FILLED, 3, 3, 1, 3, 2, NULL},
};

static const struct part whole[] = {
	{"one node, empty", BASE_EMPTY, 1, 1, 3, 1, 3, NULL},
	{"three nodes, empty", BASE_EMPTY, 3, 1, 2, 1, 3, NULL},
	{"three nodes, filled", BASE_FILLED, 3, 1, 2, 1, 3, NULL},
	{"three copies, empty", BASE_EMPTY, 3, 3, 2, 1, 3, NULL},
	{"three copies, filled", BASE_FILLED, 3, 3, 2, 1, 3, NULL},
	{"one node, filled", BASE_FILLED, 1, 1, 3, 1, 3, NULL},
};

static struct rig rig;
static struct totals *totals;
static const struct part *part;
static uint64_t seed = 1;
static unsigned job, jobs, dealt;
static bool mine; /* the moments of the present step are this process's to try */
static unsigned variant;
static uint64_t replay_at;
static bool quiet_children = true;

static void add(uint64_t *to)
{
	__atomic_add_fetch(to, 1, __ATOMIC_RELAXED);
}

/* ---- a run ---- */

static void variant_name(unsigned v, char *out, size_t len)
{
	if (v)
		snprintf(out, len, "torn%u", v);
	else
		snprintf(out, len, "lost");
}

static void sequence_text(char *out, size_t len)
{
	size_t at = 0;

	out[0] = 0;
	for (int n = 0; n < rig.h.n && at < len; n++) {
		char step[80];

		step_print(&rig.h.step[n], step, sizeof(step));
		at += (size_t)snprintf(out + at, len - at, "%s%s", n ? "; " : "", step);
	}
}

static void tell(const char *why)
{
	char text[300], v[16], on[64] = "";

	sequence_text(text, sizeof(text));
	variant_name(variant, v, sizeof(v));
	if (rig.cfg.nodes > 1)
		snprintf(on, sizeof(on), " --nodes %u --replicas %u", rig.cfg.nodes,
			rig.cfg.replicas);
	printf("crash: FAILED: %s\n    crash --replay \"%s\" --base %s%s --at %" PRIu64
	       " --variant %s --seed %" PRIu64 "\n",
		why, text, base_name(rig.cfg.base), on, rig.changes, v, rig.cfg.seed);
	fflush(stdout);
}

/* The power is gone: what comes after it, in a process of its own. */
static void after(struct rig *r) __attribute__((noreturn));
static void after(struct rig *r)
{
	const struct rlimit cpu = {SECONDS_MAX, SECONDS_MAX};
	int lost = 0, away = -1;

	setrlimit(RLIMIT_CPU, &cpu);
	if (r->cfg.verbose)
		printf("%12.6f  the power goes, %d steps answered of %d, %d synced\n",
			(double)sim_now(r->c->s) / 1e9, r->h.done, r->h.n, r->h.synced);
	/* where there are three copies one of them may be gone for good */
	if (r->cfg.replicas > 2 && variant == 1)
		away = rig_leads(r);
	rig_power(r, variant);
	rig_back(r, away);
	if (!r->failed)
		rig_judge(r, variant > 0, &lost);
	if (lost)
		add(&totals->lost);
	if (r->failed) {
		add(&totals->failed);
		tell(r->why);
	}
	fflush(stdout);
	_exit(r->failed ? 1 : 0);
}

static void reap(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		_exit(3);
	if (WIFEXITED(status) && WEXITSTATUS(status) < 2)
		return;
	add(&totals->failed);
	tell(WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "the run could not go on");
}

static bool enough(void)
{
	return __atomic_load_n(&totals->failed, __ATOMIC_RELAXED) >= FAILURES_MAX;
}

/* Tries all variants of a power loss now; true in the process of one of them. */
static bool moment(struct rig *r)
{
	(void)r;
	if (!mine || enough())
		return false;
	add(&totals->moments);
	for (variant = 0; variant < part->variants; variant++) {
		pid_t pid;

		add(&totals->runs);
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			return true;
		reap(pid);
	}
	return false;
}

/* ---- all sequences ---- */

static uint64_t hash(uint64_t h, const char *text)
{
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

/* Is it tried, coming after those in r->h? */
static bool wanted(const struct step *s, const char *text)
{
	const struct history *h = &rig.h;
	const struct step *last = h->n ? &h->step[h->n - 1] : NULL;
	char before[300];

	/* synced twice is synced */
	if (last && s->verb == FSYNC && last->verb == FSYNC && !strcmp(s->path, last->path))
		return false;
	/* on an empty tree a and b are alike until one is named */
	if (h->base == BASE_EMPTY && s->path[0] == 'b' && h->at.nentries == 0)
		return false;
	if (h->n + 1 < part->length)
		return true;
	if (part->last && strncmp(text, part->last, strlen(part->last)))
		return false;
	if (part->one_of <= 1)
		return true;
	sequence_text(before, sizeof(before));
	return hash(hash(seed * UINT64_C(0x9e3779b97f4a7c15), before), text) % part->one_of == 0;
}

static void leaf(void)
{
	rig_settle(&rig);
	if (!rig.failed && moment(&rig))
		after(&rig);
	if (rig.failed) {
		add(&totals->failed);
		tell(rig.why);
	}
	fflush(stdout);
	_exit(rig.failed ? 1 : 0);
}

static void explore(void);

/* In a process of its own: @s, then what can follow. */
static void grow(const struct step *s)
{
	if (!rig_step(&rig, s)) {
		if (mine) {
			add(&totals->failed);
			tell(rig.why);
		}
		_exit(1);
	}
	if (mine) {
		pid_t pid;

		add(&totals->sequences);
		fflush(stdout);
		pid = fork();
		if (pid == 0)
			leaf();
		reap(pid);
	}
	if (rig.h.n < part->length && !enough())
		explore();
	fflush(stdout);
	_exit(0);
}

static void explore(void)
{
	for (unsigned v = 0; v < nvocabulary && !enough(); v++) {
		struct step s;
		pid_t pid;

		if (!step_parse(&s, vocabulary[v], strlen(vocabulary[v])))
			abort();
		if (!step_bind(&s, &rig.h.at) || !wanted(&s, vocabulary[v]))
			continue;
		fflush(stdout);
		/* pairs of steps are dealt to the jobs */
		if (rig.h.n < 2)
			mine = dealt++ % jobs == job;
		if (!mine && (rig.h.n || part->length == 1))
			continue;
		pid = fork();
		if (pid == 0)
			grow(&s);
		reap(pid);
		if (rig.h.n == 0)
			dealt += nvocabulary; /* what the child has dealt does not matter */
	}
}

static void run_job(void)
{
	const struct rig_config cfg = {
		.base = part->base, .nodes = part->nodes, .replicas = part->replicas, .seed = seed};

	if (quiet_children && !freopen("/dev/null", "w", stderr))
		_exit(3);
	rig_new(&rig, &cfg);
	rig.ask = moment;
	rig.dark = after;
	if (rig.failed) {
		add(&totals->failed);
		tell(rig.why);
		_exit(1);
	}
	explore();
	fflush(stdout);
	_exit(0);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void run_part(const struct part *p)
{
	struct totals was = *totals;
	double begin = seconds();

	part = p;
	fflush(stdout);
	for (job = 0; job < jobs; job++) {
		pid_t pid = fork();

		if (pid < 0)
			exit(3);
		if (pid == 0)
			run_job();
	}
	for (unsigned j = 0; j < jobs; j++) {
		int status;

		if (wait(&status) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
			add(&totals->failed);
	}
	printf("crash: %-20s up to %d steps%s: %" PRIu64 " sequences, %" PRIu64 " moments, %" PRIu64
	       " runs, in %" PRIu64 " something unsynced was lost; %.1f s\n",
		p->name, p->length, p->one_of > 1 ? " (a sample)" : "",
		totals->sequences - was.sequences, totals->moments - was.moments,
		totals->runs - was.runs, totals->lost - was.lost, seconds() - begin);
}

/* ---- one run again ---- */

static bool ask_replay(struct rig *r)
{
	return r->changes == replay_at;
}

static int replay(const struct rig_config *cfg, const char *text)
{
	rig_new(&rig, cfg);
	rig.ask = ask_replay;
	rig.dark = after;
	while (*text && !rig.failed) {
		size_t len = strcspn(text, ";");
		struct step s;

		if (rig.h.n == STEPS_MAX || !step_parse(&s, text, len) ||
			!step_bind(&s, &rig.h.at)) {
			fprintf(stderr, "crash: no such step, or it would fail: %.*s\n", (int)len,
				text);
			return 2;
		}
		rig_step(&rig, &s);
		text += len + (text[len] == ';');
	}
	if (!rig.failed)
		rig_settle(&rig);
	if (!rig.failed)
		after(&rig);
	tell(rig.why);
	return 1;
}

static unsigned variant_parse(const char *name)
{
	return strncmp(name, "torn", 4) ? 0 : name[4] ? (unsigned)atoi(name + 4) : 1;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"all", no_argument, NULL, 'a'},
		{"few", no_argument, NULL, 'f'},
		{"replay", required_argument, NULL, 'r'},
		{"at", required_argument, NULL, 't'},
		{"variant", required_argument, NULL, 'V'},
		{"base", required_argument, NULL, 'b'},
		{"nodes", required_argument, NULL, 'n'},
		{"replicas", required_argument, NULL, 'R'},
		{"seed", required_argument, NULL, 's'},
		{"jobs", required_argument, NULL, 'j'},
		{"verbose", no_argument, NULL, 'v'},
		{0},
	};
	struct rig_config cfg = {.nodes = 1, .replicas = 1, .verbose = true};
	const struct part *parts = quick;
	size_t nparts = sizeof(quick) / sizeof(quick[0]);
	const char *text = NULL;
	int o;

	log_set_level(LOG_LVL_ERROR);
	jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	replay_at = UINT64_MAX;
	while ((o = getopt_long(argc, argv, "v", opts, NULL)) != -1) {
		switch (o) {
		case 'a':
			parts = whole;
			nparts = sizeof(whole) / sizeof(whole[0]);
			break;
		case 'f':
			parts = few;
			nparts = sizeof(few) / sizeof(few[0]);
			break;
		case 'r':
			text = optarg;
			break;
		case 't':
			replay_at = strtoull(optarg, NULL, 10);
			break;
		case 'V':
			variant = variant_parse(optarg);
			break;
		case 'b':
			if (base_parse(optarg, &cfg.base))
				break;
			fprintf(stderr, "crash: --base empty or filled\n");
			return 2;
		case 'n':
			cfg.nodes = (unsigned)atoi(optarg);
			break;
		case 'R':
			cfg.replicas = (unsigned)atoi(optarg);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			jobs = (unsigned)atoi(optarg);
			break;
		case 'v':
			quiet_children = false;
			log_set_level(LOG_LVL_DEBUG);
			break;
		default:
			fprintf(stderr,
				"usage: crash [--all | --few] [--seed S] [--jobs J], or crash "
				"--replay STEPS [--at N] [--variant lost|tornN] [--base "
				"empty|filled] [--nodes N --replicas R] [-v]\n");
			return 2;
		}
	}
	totals = mmap(
		NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED || jobs < 1 || jobs > 64 || cfg.nodes < 1 ||
		cfg.nodes > CLUSTER_NODES_MAX)
		return 3;
	if (text) {
		cfg.seed = seed;
		return replay(&cfg, text);
	}
	for (size_t k = 0; k < nparts && !enough(); k++)
		run_part(&parts[k]);
	if (!totals->lost && !totals->failed) {
		printf("crash: no run has lost anything: the power does not go\n");
		totals->failed++;
	}
	printf("crash: %" PRIu64 " sequences, %" PRIu64 " moments, %" PRIu64 " runs\n",
		totals->sequences, totals->moments, totals->runs);
	printf("%" PRIu64 " passed, %" PRIu64 " failed\n",
		totals->runs > totals->failed ? totals->runs - totals->failed : 0, totals->failed);
	return totals->failed ? 1 : 0;
}
