/*
 * orbitctl: looks after filesystems, rings and raw objects. See orbitctl(8).
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tools/common/version.h"
#include "tools/orbitctl/ctl.h"

enum opt {
	OPT_WHERE = 1,   /* --store, -o cluster= */
	OPT_STORE = 2,   /* --store only */
	OPT_CLUSTER = 4, /* -o cluster= only */
	OPT_INIT = 8,    /* --addr, --name, --shards, --replicas, --zone, --weight */
	OPT_STALLED = 16,
	OPT_COUNT = 32,
	OPT_LEAVE = 64,     /* --undo */
	OPT_REMOVE = 128,   /* --force */
	OPT_RENAME = 256,   /* --to */
	OPT_REPLICAS = 512, /* --min-in-sync */
	OPT_AGAIN = 1024,   /* --watch */
	OPT_SHARDS = 4096,  /* --members */
};

static const struct command {
	const char *name; /* one or two words */
	unsigned opts;
	int args_min, args_max; /* -1: any number */
	int (*run)(struct ctl *k);
	const char *usage, *help;
} commands[] = {
	{"cluster init", OPT_STORE | OPT_INIT, 0, 0, cmd_cluster_init,
		"cluster init --store DIR --addr HOST:PORT [--name NAME] [--replicas N] [--shards "
		"N] [--zone Z] [--weight W]",
		"make the store of the first node of a new cluster"},
	{"cluster replicas", OPT_CLUSTER | OPT_REPLICAS, 1, 1, cmd_cluster_replicas,
		"cluster replicas N [--min-in-sync M] -o cluster=...",
		"keep N copies of everything; take writes while M are in sync"},
	{"mkfs", OPT_WHERE, 0, 0, cmd_mkfs, "mkfs (--store DIR | -o cluster=HOST:PORT[,...])",
		"make a filesystem: in a new store of its own in DIR, or in a cluster"},
	{"node leave", OPT_CLUSTER | OPT_LEAVE, 1, 1, cmd_node_leave,
		"node leave NODE [--undo] -o cluster=...",
		"move a node's data to the others; or let it stay after all"},
	{"node remove", OPT_CLUSTER | OPT_REMOVE, 1, 1, cmd_node_remove,
		"node remove NODE [--force] -o cluster=...",
		"strike a node that is down or has left; even if data goes with it"},
	{"node weight", OPT_CLUSTER, 2, 2, cmd_node_weight, "node weight NODE W -o cluster=...",
		"change a node's share of the data"},
	{"node rename", OPT_CLUSTER | OPT_RENAME, 1, 1, cmd_node_rename,
		"node rename NODE [--to ID|random] -o cluster=...",
		"change a node's ID: its data moves accordingly"},
	{"session fence", OPT_CLUSTER, 1, 1, cmd_session_fence, "session fence N -o cluster=...",
		"end a client's session"},
	{"ring show", OPT_WHERE | OPT_SHARDS, 0, 0, cmd_ring_show,
		"ring show [--members] (--store DIR | -o cluster=HOST:PORT[,...])",
		"show the ring map: its nodes and how many shards each serves"},
	{"status", OPT_WHERE | OPT_AGAIN, 0, 0, cmd_status,
		"status [--watch] (--store DIR | -o cluster=HOST:PORT[,...])",
		"is all well? health, nodes, shards"},
	{"rebalance status", OPT_CLUSTER | OPT_AGAIN, 0, 0, cmd_rebalance,
		"rebalance status [--watch] -o cluster=...",
		"what is being moved, and how long it takes"},
	{"shard", OPT_WHERE, 1, 1, cmd_shard, "shard N (--store DIR | -o cluster=...)",
		"who serves a shard, who has copies of it"},
	{"verify", OPT_CLUSTER, 0, 0, cmd_verify, "verify -o cluster=...",
		"compare all copies of everything with each other"},
	{"watch", OPT_WHERE | OPT_COUNT, 1, 1, cmd_watch,
		"watch NAME|ID|PREFIX [--count N] (--store DIR | -o cluster=...)",
		"print changes of objects as they happen"},
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
		fprintf(f, "  %-16s %s\n", commands[i].name, commands[i].help);
	fputs("\n  --json          print for machines      --timeout T   wait so long (10s; 0: for "
	      "ever)\n"
	      "  --help          with COMMAND: its usage --verbose     show the log, too\n\n"
	      "exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused (status: not all is\n"
	      "well), 5 (status) something is not available\n",
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
	{"addr", required_argument, NULL, 'a'},
	{"name", required_argument, NULL, 'f'},
	{"shards", required_argument, NULL, 'b'},
	{"replicas", required_argument, NULL, 'r'},
	{"zone", required_argument, NULL, 'z'},
	{"weight", required_argument, NULL, 'w'},
	{"undo", no_argument, NULL, 'u'},
	{"force", no_argument, NULL, 'F'},
	{"to", required_argument, NULL, 'T'},
	{"min-in-sync", required_argument, NULL, 'm'},
	{"watch", no_argument, NULL, 'W'},
	{"members", no_argument, NULL, 'M'},
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
		return OPT_WHERE | OPT_CLUSTER;
	case 'a':
	case 'f':
	case 'b':
	case 'r':
	case 'z':
	case 'w':
		return OPT_INIT;
	case 'u':
		return OPT_LEAVE;
	case 'F':
		return OPT_REMOVE;
	case 'T':
		return OPT_RENAME;
	case 'm':
		return OPT_REPLICAS;
	case 'W':
		return OPT_AGAIN;
	case 'M':
		return OPT_SHARDS;
	case 'R':
	case 'C':
		return OPT_STALLED;
	case 'n':
		return OPT_COUNT;
	default:
		return 0;
	}
}

static int take_number(const char *text, unsigned min, unsigned max, unsigned *out)
{
	uint64_t v;

	if (text_parse_number(text, max, &v) || v < min)
		return -EINVAL;
	*out = (unsigned)v;
	return 0;
}

static int take_addr(struct ctl *k, const char *value)
{
	if (k->naddrs == ARRAY_LEN(k->addr) || !*value || strlen(value) >= ENV_ADDR_MAX)
		return -EINVAL;
	k->addr[k->naddrs++] = value;
	return 0;
}

static int take_zone(struct ctl *k, const char *value)
{
	if (strlen(value) >= RING_ZONE_MAX)
		return -EINVAL;
	k->zone = value;
	return 0;
}

static int take_shards(struct ctl *k, const char *value)
{
	if (take_number(value, 1, 1u << RING_SHARD_BITS_MAX, &k->shards))
		return -EINVAL;
	return k->shards & (k->shards - 1) ? -EINVAL : 0;
}

/* Options that only some commands have. */
static int take_own(struct ctl *k, int opt, const char *value)
{
	switch (opt) {
	case 'a':
		return take_addr(k, value);
	case 'f':
		k->name = value;
		return 0;
	case 'b':
		return take_shards(k, value);
	case 'r':
		return take_number(value, 1, RING_REPLICAS_MAX, &k->replicas);
	case 'z':
		return take_zone(k, value);
	case 'w':
		return take_number(value, 1, CTL_WEIGHT_MAX, &k->weight);
	case 'm':
		return take_number(value, 1, RING_REPLICAS_MAX, &k->min_in_sync);
	case 'T':
		k->to = value;
		return 0;
	case 'C':
		k->cancel = value;
		return 0;
	case 'n':
		return take_number(value, 0, 1000000, &k->count);
	default:
		return -EINVAL;
	}
}

static int take(struct ctl *k, int opt, const char *value)
{
	static const struct {
		int opt;
		size_t at;
	} flags[] = {
		{'j', offsetof(struct ctl, json)},
		{'v', offsetof(struct ctl, verbose)},
		{'u', offsetof(struct ctl, undo)},
		{'F', offsetof(struct ctl, force)},
		{'W', offsetof(struct ctl, watch)},
		{'M', offsetof(struct ctl, members)},
		{'R', offsetof(struct ctl, retry)},
	};

	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		if (opt == flags[i].opt) {
			*(bool *)((char *)k + flags[i].at) = true;
			return 0;
		}
	}
	switch (opt) {
	case 's':
		k->where.store = value;
		return 0;
	case 'o':
		if (strncmp(value, "cluster=", 8))
			return -EINVAL;
		return cluster_where_seeds(&k->where, value + 8);
	case 't':
		k->timeout_given = true;
		return text_parse_duration(value, &k->timeout);
	default:
		return take_own(k, opt, value);
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
	if ((cmd->opts & OPT_CLUSTER) && !k->where.nseeds)
		return complain(cmd, "want -o cluster=HOST:PORT", "");
	return 0;
}

int main(int argc, char **argv)
{
	struct ctl k = {.timeout = 10 * ENV_SEC,
		.shards = 1u << RING_SHARD_BITS_DEFAULT,
		.replicas = 3,
		.weight = RING_WEIGHT_DEFAULT};
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
