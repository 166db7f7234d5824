/*
 * orbitctl: looks after filesystems, rings and raw objects. See orbitctl(8).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tools/common/version.h"
#include "tools/orbitctl/ctl.h"

enum opt {
	OPT_WHERE = 1, /* --store, -o cluster= */
	OPT_STORE = 2, /* --store only */
	OPT_FSID = 4,
	OPT_RING = 8, /* --shard-bits, --replicas, --out */
	OPT_STALLED = 16,
	OPT_COUNT = 32,
};

static const struct command {
	const char *name; /* one or two words */
	unsigned opts;
	int args_min, args_max; /* -1: any number */
	int (*run)(struct ctl *k);
	const char *usage, *help;
} commands[] = {
	{"mkfs", OPT_WHERE, 0, 0, cmd_mkfs, "mkfs (--store DIR | -o cluster=HOST:PORT[,...])",
		"make a filesystem: in a new store of its own in DIR, or in a cluster"},
	{"store init", OPT_STORE | OPT_FSID, 0, 0, cmd_store_init,
		"store init --store DIR --fsid NAME",
		"make the empty store of a cluster's node, for the filesystem NAME"},
	{"ring create", OPT_RING, 1, -1, cmd_ring_create,
		"ring create HOST:PORT[=WEIGHT[@ZONE]]... [--shard-bits N] [--replicas N] [--out "
		"FILE]",
		"make the first ring map of these running nodes and hand it to them"},
	{"ring show", OPT_WHERE, 0, 0, cmd_ring_show,
		"ring show (--store DIR | -o cluster=HOST:PORT[,...])",
		"show the ring map: its nodes and how many shards each serves"},
	{"status", OPT_WHERE, 0, 0, cmd_status, "status (--store DIR | -o cluster=HOST:PORT[,...])",
		"ask every node how it is"},
	{"ping", OPT_COUNT, 1, -1, cmd_ping, "ping HOST:PORT... [--count N]",
		"see who answers there, and how fast"},
	{"route", OPT_WHERE, 1, 1, cmd_route, "route NAME|ID (--store DIR | -o cluster=...)",
		"tell which node has an object"},
	{"put", OPT_WHERE, 1, 2, cmd_put, "put NAME|ID [FILE] (--store DIR | -o cluster=...)",
		"write FILE (or standard input) into an object's byte stream"},
	{"get", OPT_WHERE, 1, 2, cmd_get, "get NAME|ID [FILE] (--store DIR | -o cluster=...)",
		"read an object's byte stream into FILE (or standard output)"},
	{"stat", OPT_WHERE, 1, 1, cmd_stat, "stat NAME|ID (--store DIR | -o cluster=...)",
		"show an object's version, slots and sizes"},
	{"rm", OPT_WHERE, 1, 1, cmd_rm, "rm NAME|ID (--store DIR | -o cluster=...)",
		"delete an object with all it has"},
	{"ls", OPT_WHERE, 0, 1, cmd_ls, "ls [NAME|ID] (--store DIR | -o cluster=...)",
		"list the IDs of all objects, or the map entries of one"},
	{"stalled", OPT_STALLED, 1, 1, cmd_stalled,
		"stalled MOUNTPOINT [--retry | --cancel HANDLE]",
		"show what a mount waits for; send it again now, or give one up"},
};

static void usage(FILE *f)
{
	fputs("usage: orbitctl COMMAND ...\n\n", f);
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		fprintf(f, "  %-12s %s\n", commands[i].name, commands[i].help);
	fputs("\n  --json          print for machines      --timeout T   wait so long (10s; 0: for "
	      "ever)\n"
	      "  --help          with COMMAND: its usage --verbose     show the log, too\n\n"
	      "exit codes: 0 done, 1 failed, 2 usage, 3 not found\n",
		f);
}

int ctl_fail(const struct ctl *k, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "orbitctl %s: ", k->command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	return CTL_FAILED;
}

const char *ctl_why(int rc)
{
	switch (-rc) {
	case ETIMEDOUT:
		return "no answer in time";
	case EMEDIUMTYPE:
		return "another filesystem's node";
	case EPROTONOSUPPORT:
		return "another version";
	case ESTALE:
		return "the session has ended";
	default:
		return strerror(-rc);
	}
}

int ctl_open(struct ctl *k, struct cluster *c)
{
	struct orbit_policy policy = orbit_config_default().policy;
	char why[512];
	int rc;

	if (k->timeout) {
		/* one resend within what we are ready to wait */
		policy.reads_block = policy.writes_block = false;
		policy.resend_count = 1;
		policy.check_timeout = k->timeout / 2;
		if (policy.check_timeout < 10 * ENV_MS)
			policy.check_timeout = 10 * ENV_MS;
	}
	rc = cluster_open(c, &k->where, &policy, why, sizeof(why));
	if (rc)
		return ctl_fail(k, "%s", why);
	rc = cluster_ready(c, k->timeout, why, sizeof(why));
	if (rc) {
		cluster_close(c, ENV_SEC);
		return ctl_fail(k, "%s", why);
	}
	return CTL_OK;
}

int ctl_close(struct ctl *k, struct cluster *c, int code)
{
	int rc = cluster_close(c, ENV_SEC);

	if (rc)
		return ctl_fail(k, "closing the store: %s", ctl_why(rc));
	return code;
}

struct submitted {
	struct await w;
	void (*fn)(void *arg, const struct orbit_reply *r);
	void *arg;
};

static void on_reply(void *arg, const struct orbit_reply *r)
{
	struct submitted *s = arg;

	if (s->fn)
		s->fn(s->arg, r);
	await_done(&s->w, r->rc);
}

int ctl_submit(struct cluster *c, struct txn_build *t,
	void (*fn)(void *arg, const struct orbit_reply *r), void *arg)
{
	struct submitted s = {.w.loop = c->loop, .fn = fn, .arg = arg};

	orbit_submit(c->client, t, NULL, on_reply, &s);
	return await(&s.w);
}

struct orbit_id ctl_id(const char *name)
{
	struct orbit_id id;

	if (orbit_id_parse(name, &id))
		id = orbit_id_hash(name, strlen(name));
	return id;
}

/* ---- the command line ---- */

static const struct option longs[] = {
	{"store", required_argument, NULL, 's'},
	{"json", no_argument, NULL, 'j'},
	{"timeout", required_argument, NULL, 't'},
	{"fsid", required_argument, NULL, 'f'},
	{"shard-bits", required_argument, NULL, 'b'},
	{"replicas", required_argument, NULL, 'r'},
	{"out", required_argument, NULL, 'O'},
	{"retry", no_argument, NULL, 'R'},
	{"cancel", required_argument, NULL, 'C'},
	{"count", required_argument, NULL, 'n'},
	{"help", no_argument, NULL, 'h'},
	{"verbose", no_argument, NULL, 'v'},
	{0},
};

/* Which commands an option is for; 0: all. */
static unsigned meant_for(int opt)
{
	switch (opt) {
	case 's':
		return OPT_WHERE | OPT_STORE;
	case 'o':
		return OPT_WHERE;
	case 'f':
		return OPT_FSID;
	case 'b':
	case 'r':
	case 'O':
		return OPT_RING;
	case 'R':
	case 'C':
		return OPT_STALLED;
	case 'n':
		return OPT_COUNT;
	default:
		return 0;
	}
}

static int take_number(const char *text, unsigned max, unsigned *out)
{
	uint64_t v;

	if (text_parse_number(text, max, &v))
		return -EINVAL;
	*out = (unsigned)v;
	return 0;
}

static int take(struct ctl *k, int opt, const char *value)
{
	switch (opt) {
	case 's':
		k->where.store = value;
		return 0;
	case 'o':
		if (strncmp(value, "cluster=", 8))
			return -EINVAL;
		return cluster_where_seeds(&k->where, value + 8);
	case 'j':
		k->json = true;
		return 0;
	case 'v':
		k->verbose = true;
		return 0;
	case 't':
		return text_parse_duration(value, &k->timeout);
	case 'f':
		k->fsid = value;
		return 0;
	case 'b':
		return take_number(value, RING_SHARD_BITS_MAX, &k->shard_bits);
	case 'r':
		return take_number(value, 1, &k->replicas);
	case 'O':
		k->out = value;
		return 0;
	case 'R':
		k->retry = true;
		return 0;
	case 'C':
		k->cancel = value;
		return 0;
	case 'n':
		return take_number(value, 1000000, &k->count);
	default:
		return -EINVAL;
	}
}

static const struct command *find_command(int argc, char **argv, int *words)
{
	char two[64];

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		*words = 1;
		if (argc > 1 && !strcmp(argv[1], commands[i].name))
			return &commands[i];
		*words = 2;
		if (argc > 2) {
			snprintf(two, sizeof(two), "%s %s", argv[1], argv[2]);
			if (!strcmp(two, commands[i].name))
				return &commands[i];
		}
	}
	return NULL;
}

static int complain(const struct command *cmd, const char *what, const char *word)
{
	fprintf(stderr, "orbitctl %s: %s%s (usage: orbitctl %s)\n", cmd->name, what, word,
		cmd->usage);
	return CTL_USAGE;
}

static int parse(struct ctl *k, const struct command *cmd, int argc, char **argv)
{
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "o:hv", longs, NULL)) != -1) {
		if (opt == 'h') {
			printf("usage: orbitctl %s\n%s\n", cmd->usage, cmd->help);
			return -1;
		}
		if (opt == '?')
			return complain(cmd, "unknown option or missing value: ", argv[optind - 1]);
		if (meant_for(opt) && !(meant_for(opt) & cmd->opts))
			return complain(cmd, "not an option here: ", argv[optind - 1]);
		if (take(k, opt, optarg))
			return complain(cmd, "bad value: ", optarg);
	}
	k->args = argv + optind;
	k->nargs = argc - optind;
	if (k->nargs < cmd->args_min || (cmd->args_max >= 0 && k->nargs > cmd->args_max))
		return complain(cmd, "wrong number of arguments", "");
	if ((cmd->opts & OPT_WHERE) && !k->where.store == !k->where.nseeds)
		return complain(cmd, "want --store DIR or -o cluster=HOST:PORT", "");
	if ((cmd->opts & OPT_STORE) && !k->where.store)
		return complain(cmd, "want --store DIR", "");
	return 0;
}

int main(int argc, char **argv)
{
	struct ctl k = {.timeout = 10 * ENV_SEC,
		.shard_bits = RING_SHARD_BITS_DEFAULT,
		.replicas = 1,
		.count = 3};
	const struct command *cmd;
	int words, code;

	signal(SIGPIPE, SIG_IGN);
	cmd = find_command(argc, argv, &words);
	if (!cmd) {
		if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
			usage(stdout);
			return CTL_OK;
		}
		if (argc > 1 && !strcmp(argv[1], "--version")) {
			printf("orbitctl %s\n", ORBITFS_VERSION);
			return CTL_OK;
		}
		if (argc > 1)
			fprintf(stderr, "orbitctl: unknown command: %s (see --help)\n", argv[1]);
		else
			usage(stderr);
		return CTL_USAGE;
	}
	k.command = cmd->name;
	code = parse(&k, cmd, argc - words, argv + words);
	if (!code && !k.verbose && log_open("/dev/null"))
		log_set_level(LOG_LVL_ERROR);
	if (!code)
		code = cmd->run(&k);
	else if (code < 0)
		code = CTL_OK; /* --help */
	cluster_where_fini(&k.where);
	if (fflush(stdout) && !code)
		code = ctl_fail(&k, "standard output: %s", strerror(errno));
	return code;
}
