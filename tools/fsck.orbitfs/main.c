/*
 * fsck.orbitfs: checks the consistency of a filesystem and repairs it, live or stopped. The passes
 * are fs/check; here are options, progress, questions and what is printed. Exit codes are
 * fsck(8)'s.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/check/check.h"
#include "tools/common/cluster.h"
#include "tools/common/health.h"
#include "tools/common/text.h"
#include "tools/common/version.h"

enum {
	FSCK_OK = 0,
	FSCK_FIXED = 1,
	FSCK_LEFT = 4,
	FSCK_FAILED = 8,
	FSCK_USAGE = 16,
	FSCK_CANCELED = 32
};

struct fsck {
	struct cluster cluster;
	struct cluster_where where;
	struct check_config cfg;
	bool json, progress, verbose, stop, all_yes;
	uint64_t timeout;
	int shown_pass;
	struct json out;
};

static const char *const usage_text =
	"usage: fsck.orbitfs [-n | -y | -p] [-C] [-v] [--json] --store DIR\n"
	"       fsck.orbitfs [-n | -y | -p] [-C] [-v] [--json] -o "
	"cluster=HOST:PORT[,HOST:PORT...]\n"
	"       fsck.orbitfs [options] SOURCE       as in fstab: a store's folder or "
	"HOST:PORT,...\n"
	"\n"
	"Checks an orbitfs filesystem, mounted or not, and repairs it.\n"
	"\n"
	"  -n             only look, change nothing\n"
	"  -y             repair everything without asking\n"
	"  -p, -a         repair what is safe without asking\n"
	"  -f             ignored: the check is always a full one\n"
	"  -C             show progress\n"
	"  -v             show what was counted\n"
	"      --json     one JSON object on standard output\n"
	"      --timeout T  how long a silent node is waited for (10s)\n"
	"      --memory N   bytes for sorting before temporary files are used (64M)\n"
	"  -h, --help\n"
	"  -V, --version\n"
	"\n"
	"Exit codes: 0 clean, 1 errors repaired, 4 errors left, 8 the check failed, 16 usage,\n"
	"32 interrupted.\n";

static int usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("fsck.orbitfs: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" (--help says more)\n", stderr);
	return FSCK_USAGE;
}

/* ---- what the passes ask of us ---- */

static int io_pump(void *arg, const bool *done)
{
	struct fsck *f = arg;

	while (!*done && !f->stop)
		loop_run(f->cluster.loop);
	if (f->stop && !*done)
		loop_run(f->cluster.loop);
	return f->stop ? -EINTR : 0;
}

static void io_wake(void *arg)
{
	loop_stop(((struct fsck *)arg)->cluster.loop);
}

struct pause {
	struct env_timer timer;
	struct fsck *f;
	bool over;
};

static void pause_over(struct env_timer *t)
{
	struct pause *p = container_of(t, struct pause, timer);

	p->over = true;
	loop_stop(p->f->cluster.loop);
}

static int io_pause(void *arg, uint64_t ns)
{
	struct pause p = {.timer.fire = pause_over, .f = arg};
	struct env *e = p.f->cluster.env;

	if (p.f->progress)
		fprintf(stderr, "waiting for data that may be on its way\n");
	env_timer_set(e, &p.timer, env_now(e) + ns);
	while (!p.over && !p.f->stop)
		loop_run(p.f->cluster.loop);
	env_timer_clear(e, &p.timer);
	return p.f->stop ? -EINTR : 0;
}

static void on_signal(void *arg, int signum)
{
	struct fsck *f = arg;

	(void)signum;
	f->stop = true;
	loop_stop(f->cluster.loop);
}

static void io_progress(void *arg, int pass, uint64_t done, uint64_t total)
{
	struct fsck *f = arg;

	if (!f->progress || (done % 16 && done != total))
		return;
	fprintf(stderr, "\rpass %d: %3u %%", pass, total ? (unsigned)(done * 100 / total) : 100);
	if (done == total)
		fputc('\n', stderr);
	fflush(stderr);
}

static void describe(const struct check_finding *x, char *out, size_t len)
{
	switch (x->problem) {
	case CHECK_ENTRY_NO_INODE:
		snprintf(out, len,
			"an entry of directory %" PRIu64 " names it, but it is not there",
			x->other);
		break;
	case CHECK_ENTRY_TYPE:
		snprintf(out, len,
			"its entry in directory %" PRIu64 " says type %" PRIu64
			", it is of type %" PRIu64,
			x->other, x->have, x->want);
		break;
	case CHECK_ENTRY_SURPLUS:
		snprintf(out, len, "directory %" PRIu64 " has a second entry for it", x->other);
		break;
	case CHECK_NLINK:
	case CHECK_PARENT:
	case CHECK_CHILDREN:
	case CHECK_BYTES:
		snprintf(out, len, "says %" PRIu64 ", should say %" PRIu64, x->have, x->want);
		break;
	case CHECK_PAST_END:
		if (x->other == UINT64_MAX)
			snprintf(out, len, "data past the end of the file");
		else
			snprintf(out, len, "data past the end of the file in block %" PRIu64,
				x->other);
		break;
	case CHECK_BLOCK_NO_INODE:
		snprintf(out, len, "block %" PRIu64 " of a file that is not there", x->other);
		break;
	case CHECK_LOCKS_NO_INODE:
		snprintf(out, len, "locks of a file that is not there");
		break;
	case CHECK_BLOCK_OF_OTHER:
		snprintf(out, len, "block %" PRIu64 " of something that is no file", x->other);
		break;
	case CHECK_CYCLE:
		snprintf(out, len,
			"can't be reached from the root (it is in directory %" PRIu64 ")",
			x->other);
		break;
	case CHECK_TRIM:
		snprintf(out, len, "cutting it at %" PRIu64 " was begun and not finished", x->have);
		break;
	case CHECK_ORPHAN:
		snprintf(out, len, x->have ? "removed, but held" : "removed, nobody holds it");
		break;
	case CHECK_PREPARED:
		snprintf(out, len,
			"transaction %" PRIu64 " of session %" PRIu64
			" has no outcome on shard %" PRIu64,
			x->version, x->cookie, x->other);
		break;
	default:
		out[0] = 0;
	}
}

static void io_found(void *arg, const struct check_finding *x)
{
	struct fsck *f = arg;
	char text[160];

	if (f->json) {
		json_object(&f->out, NULL);
		json_text(&f->out, "problem", check_problem_name(x->problem));
		json_number(&f->out, "inode", x->ino);
		json_number(&f->out, "other", x->other);
		json_number(&f->out, "have", x->have);
		json_number(&f->out, "want", x->want);
		json_bool(&f->out, "fixed", x->fixed);
		json_close(&f->out);
		return;
	}
	describe(x, text, sizeof(text));
	printf("inode %" PRIu64 ": %s%s%s%s\n", x->ino, check_problem_name(x->problem),
		text[0] ? ": " : "", text, x->fixed ? ": FIXED" : "");
}

static bool io_ask(void *arg, const struct check_finding *x)
{
	struct fsck *f = arg;
	char text[160], line[16];

	if (f->all_yes)
		return true;
	describe(x, text, sizeof(text));
	for (;;) {
		printf("inode %" PRIu64 ": %s: %s. Repair (y, n, a = all)? ", x->ino,
			check_problem_name(x->problem), text);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return false;
		if (line[0] == 'a')
			f->all_yes = true;
		if (line[0] == 'a' || line[0] == 'y')
			return true;
		if (line[0] == 'n')
			return false;
	}
}

/* ---- the end ---- */

static int exit_code(int rc, const struct check_report *r)
{
	int code = 0;

	if (rc == -EINTR)
		return FSCK_CANCELED;
	if (rc || r->unread)
		code |= FSCK_FAILED;
	if (r->fixed)
		code |= FSCK_FIXED;
	if (r->found > r->fixed)
		code |= FSCK_LEFT;
	return code;
}

static void print_counts(const struct check_report *r)
{
	char size[TEXT_SIZE_MAX];

	printf("%" PRIu64 " inodes (%" PRIu64 " directories, %" PRIu64 " files, %" PRIu64
	       " symlinks, %" PRIu64 " others), %" PRIu64 " entries, %" PRIu64 " blocks, %s\n",
		r->inodes, r->directories, r->files, r->symlinks, r->specials, r->entries,
		r->blocks, text_size(r->bytes, size));
	if (r->orphans)
		printf("%" PRIu64 " removed while open, to be reaped\n", r->orphans);
}

/* Copies that are missing are no damage, but worth knowing. */
static void count_copies(struct fsck *f, struct health *h)
{
	const struct ring_map *m = orbit_ring(f->cluster.client);

	*h = (struct health){0};
	if (m)
		health_of(m, true, h);
}

static void print_copies(struct fsck *f, const struct health *h)
{
	unsigned few = h->recovering + h->degraded;

	if (f->json) {
		json_number(&f->out, "shards_with_copies_missing", few);
		json_number(&f->out, "shards_unavailable", h->unavailable);
		json_number(&f->out, "shards_suspect", h->suspect);
		return;
	}
	if (few)
		printf("%u shards have fewer than %u copies (see orbitctl status)\n", few, h->want);
	if (h->unavailable)
		printf("%u shards are not available\n", h->unavailable);
	if (h->suspect)
		printf("%u shards may have lost what was not synced\n", h->suspect);
}

static void print_end(struct fsck *f, int rc, const struct check_report *r)
{
	struct health h;

	count_copies(f, &h);
	if (f->json) {
		json_close(&f->out);
		print_copies(f, &h);
		json_number(&f->out, "inodes", r->inodes);
		json_number(&f->out, "directories", r->directories);
		json_number(&f->out, "files", r->files);
		json_number(&f->out, "symlinks", r->symlinks);
		json_number(&f->out, "specials", r->specials);
		json_number(&f->out, "entries", r->entries);
		json_number(&f->out, "blocks", r->blocks);
		json_number(&f->out, "bytes", r->bytes);
		json_number(&f->out, "orphans", r->orphans);
		json_number(&f->out, "found", r->found);
		json_number(&f->out, "fixed", r->fixed);
		json_number(&f->out, "unread_shards", r->unread);
		json_text(&f->out, "error", rc ? log_errno(rc) : "");
		json_number(&f->out, "exit", (uint64_t)exit_code(rc, r));
		json_close(&f->out);
		return;
	}
	if (f->verbose)
		print_counts(r);
	print_copies(f, &h);
	if (rc == -ENOENT)
		printf("no filesystem here: make one with orbitctl mkfs\n");
	else if (rc == -EINTR)
		printf("interrupted\n");
	else if (rc)
		printf("the check failed: %s\n", strerror(-rc));
	else if (r->unread)
		printf("%" PRIu64 " shards could not be read (%s): nothing was removed\n",
			r->unread, strerror(-r->unread_rc));
	else if (r->found == 0)
		printf("clean\n");
	else
		printf("%" PRIu64 " problems found, %" PRIu64 " repaired\n", r->found, r->fixed);
}

/* ---- options ---- */

static int set_source(struct fsck *f, const char *text)
{
	if (f->where.store || f->where.nseeds)
		return usage_error("more than one filesystem is named");
	if (!strncmp(text, "cluster=", 8))
		text += 8;
	else if (strchr(text, '/') || !strchr(text, ':')) {
		f->where.store = text;
		return 0;
	}
	return cluster_where_seeds(&f->where, text) ? usage_error("bad address in '%s'", text) : 0;
}

static int set_mode(struct fsck *f, enum check_mode mode)
{
	if (f->cfg.mode != CHECK_ASK && f->cfg.mode != mode)
		return usage_error("-n, -y and -p exclude each other");
	f->cfg.mode = mode;
	return 0;
}

/* 0: go on; otherwise an exit code + 1. */
static int parse(struct fsck *f, int argc, char **argv)
{
	static const struct option longs[] = {
		{"store", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"timeout", required_argument, NULL, 't'},
		{"memory", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int o, rc = 0;
	uint64_t n;

	opterr = 0;
	while (!rc && (o = getopt_long(argc, argv, ":nypafC::vho:VTMAR", longs, NULL)) != -1) {
		switch (o) {
		case 'n':
			rc = set_mode(f, CHECK_ONLY);
			break;
		case 'y':
			rc = set_mode(f, CHECK_REPAIR);
			break;
		case 'p':
		case 'a':
			rc = set_mode(f, CHECK_PREEN);
			break;
		case 'C':
			f->progress = true;
			break;
		case 'v':
			f->verbose = true;
			break;
		case 'j':
			f->json = true;
			break;
		case 'f':
		case 'T':
		case 'M':
		case 'A':
		case 'R':
			break; /* fsck(8) may pass these */
		case 's':
		case 'o':
			rc = set_source(f, optarg);
			break;
		case 't':
			if (text_parse_duration(optarg, &f->timeout) || !f->timeout)
				rc = usage_error("bad --timeout '%s'", optarg);
			break;
		case 'm':
			if (text_parse_size(optarg, &n) || n < 1 << 20)
				rc = usage_error("bad --memory '%s': at least 1M", optarg);
			else
				f->cfg.memory = n;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return FSCK_OK + 1;
		case 'V':
			printf("fsck.orbitfs %s\n", ORBITFS_VERSION);
			return FSCK_OK + 1;
		case ':':
			rc = usage_error("%s needs an argument", argv[optind - 1]);
			break;
		default:
			rc = usage_error("unknown option %s", argv[optind - 1]);
		}
	}
	if (!rc && optind < argc)
		rc = set_source(f, argv[optind++]);
	if (!rc && optind < argc)
		rc = usage_error("unexpected argument '%s'", argv[optind]);
	if (!rc && !f->where.store && !f->where.nseeds)
		rc = usage_error("say which filesystem: --store DIR or -o cluster=HOST:PORT");
	if (!rc && f->cfg.mode == CHECK_ASK && (f->json || !isatty(0)))
		rc = usage_error("not a terminal: say -n, -y or -p");
	return rc ? rc + 1 : 0;
}

int main(int argc, char **argv)
{
	struct fsck f = {.cfg.mode = CHECK_ASK, .timeout = 10 * ENV_SEC};
	struct check_io io = {.pump = io_pump,
		.wake = io_wake,
		.progress = io_progress,
		.found = io_found,
		.ask = io_ask,
		.arg = &f};
	struct check_report report = {0};
	struct orbit_policy policy;
	char why[256];
	int rc = parse(&f, argc, argv);

	if (rc)
		return rc - 1;
	log_set_level(LOG_LVL_ERROR);
	f.cfg.now = (int64_t)time(NULL) * 1000000000;
	/* a node that does not answer must not hang the check */
	policy = (struct orbit_policy){.resend_count = 3, .check_timeout = f.timeout / 4};
	if (policy.check_timeout < 10 * ENV_MS)
		policy.check_timeout = 10 * ENV_MS;
	if (cluster_open(&f.cluster, &f.where, &policy, why, sizeof(why))) {
		fprintf(stderr, "fsck.orbitfs: %s\n", why);
		return FSCK_FAILED;
	}
	loop_on_signal(f.cluster.loop, SIGINT, on_signal, &f);
	loop_on_signal(f.cluster.loop, SIGTERM, on_signal, &f);
	if (cluster_ready(&f.cluster, f.timeout, why, sizeof(why))) {
		fprintf(stderr, "fsck.orbitfs: %s\n", why);
		cluster_close(&f.cluster, ENV_SEC);
		return FSCK_FAILED;
	}
	if (!f.where.store) /* a store is ours alone */
		io.pause = io_pause;
	if (f.json) {
		json_begin(&f.out, stdout);
		json_object(&f.out, NULL);
		json_array(&f.out, "findings");
	}
	rc = check_run(f.cluster.client, &f.cfg, &io, &report);
	print_end(&f, rc, &report);
	rc = exit_code(rc, &report);
	if (cluster_close(&f.cluster, f.timeout))
		rc |= FSCK_FAILED;
	cluster_where_fini(&f.where);
	return rc;
}
