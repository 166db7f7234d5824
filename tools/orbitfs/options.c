/*
 * The two command lines:
 *
 *   orbitfs [-f] [-d] [-v] [--store DIR] [-o OPTIONS] [SOURCE] MOUNTPOINT
 *   mount.orbitfs SOURCE MOUNTPOINT [-sfnv] [-N NS] [-t TYPE] [-o OPTIONS]     (see mount(8))
 *
 * In the second, -f is "fake", -s "ignore options that are not known". SOURCE is a list of
 * addresses, or the folder of an embedded store if it contains a slash.
 */
#include "tools/orbitfs/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "fs/ops/policy.h"
#include "tools/common/text.h"

const char options_help[] =
	"usage: orbitfs --store DIR MOUNTPOINT              a store of its own in DIR\n"
	"       orbitfs -o cluster=HOST:PORT[,...] MOUNTPOINT   a client of a cluster\n"
	"       mount -t orbitfs SOURCE MOUNTPOINT          SOURCE: HOST:PORT[,...] or DIR\n"
	"\n"
	"  -f             stay in the foreground     -v   tell more in the log\n"
	"  -d             trace each request (implies -f)\n"
	"  -o OPTION[,OPTION...]\n"
	"     hard | soft              wait for ever for nodes that do not answer, or give up\n"
	"     reads=block|error        the same for reads only\n"
	"     writes=block|error       the same for writes only\n"
	"     resend_count=N           soft: how often to send again before giving up (5)\n"
	"     check_timeout=T          silence after which a request counts as stalled (5s)\n"
	"     timeout=T                how long to wait for the first connection (10s; 0: for "
	"ever)\n"
	"     write_behind=SIZE        changed data kept before it is sent (64M; 0: none)\n"
	"     read_ahead=SIZE          how far to read ahead (4M; 0: none)\n"
	"     cache=strict|relaxed[=T]|none   what is remembered: until told, for T (1s), nothing\n"
	"     ro, allow_other, nosuid, nodev, noexec, noatime, relatime, acl, noacl\n"
	"     log=FILE                 where messages go (else syslog)\n"
	"     pid=FILE                 write the process id there\n"
	"  --help, --version\n"
	"T: 500ms, 5s, 2m, 1h. SIZE: 512K, 64M, 1G.\n";

/* Where the options go while they are read. */
struct option_ctx {
	struct options *o;
	bool sloppy;
	bool suid, dev; /* by default only for root */
	char *why;
	size_t why_len;
};

static int bad_value(struct option_ctx *x, const char *name, const char *value)
{
	snprintf(x->why, x->why_len, "-o %s: bad value \"%s\"", name, value ? value : "");
	return -EINVAL;
}

static void add_kernel(struct options *o, const char *name)
{
	if (o->kernel.len)
		buf_u8(&o->kernel, ',');
	buf_bytes(&o->kernel, name, strlen(name));
}

/* What mount(8) and fstab say that is not for us. */
static bool is_for_others(const char *name)
{
	static const char *const names[] = {"defaults", "auto", "noauto", "nofail", "_netdev",
		"user", "users", "nouser", "owner", "group", "noowner", "nogroup", "rw", "exec",
		"async", "relatime", "norelatime", "strictatime", "nostrictatime", "nolazytime",
		"diratime", "atime", "mand", "nomand", "loud", "silent", "default_permissions"};

	if (!strncmp(name, "x-", 2) || !strncmp(name, "X-", 2) || !strcmp(name, "comment") ||
		!strcmp(name, "user_id") || !strcmp(name, "uhelper") || !strcmp(name, "helper"))
		return true;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return false;
}

/* What goes to the kernel as it is. */
static bool is_for_kernel(const char *name)
{
	static const char *const names[] = {
		"nosuid", "nodev", "noexec", "sync", "dirsync", "nodiratime"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!strcmp(name, names[i]))
			return true;
	}
	return false;
}

static int take_size(struct option_ctx *x, const char *name, const char *value, uint64_t *out)
{
	return value && !text_parse_size(value, out) ? 0 : bad_value(x, name, value);
}

static int take_cache(struct option_ctx *x, const char *value)
{
	struct fs_config *fs = &x->o->fs;

	if (value && !strcmp(value, "strict"))
		fs->cache = FS_CACHE_STRICT;
	else if (value && !strcmp(value, "none"))
		fs->cache = FS_CACHE_NONE;
	else if (value && !strncmp(value, "relaxed", 7) && (!value[7] || value[7] == '='))
		fs->cache = FS_CACHE_RELAXED;
	else
		return bad_value(x, "cache", value);
	if (fs->cache != FS_CACHE_RELAXED || !value[7])
		return 0;
	return text_parse_duration(value + 8, &fs->relaxed) ? bad_value(x, "cache", value) : 0;
}

static void set_text(char **at, const char *value)
{
	free(*at);
	*at = mem_dup(value, strlen(value));
}

/* Options with a value of their own; 1 when @name is none of them. */
static int take_valued(struct option_ctx *x, const char *name, const char *value)
{
	struct options *o = x->o;
	char **text;

	if (!strcmp(name, "cluster"))
		return value && !cluster_where_seeds(&o->where, value) ? 0
								       : bad_value(x, name, value);
	if (!strcmp(name, "cache"))
		return take_cache(x, value);
	if (!strcmp(name, "write_behind"))
		return take_size(x, name, value, &o->fs.write_behind);
	if (!strcmp(name, "read_ahead"))
		return take_size(x, name, value, &o->fs.read_ahead);
	if (!strcmp(name, "timeout"))
		return value && !text_parse_duration(value, &o->timeout)
			       ? 0
			       : bad_value(x, name, value);
	text = !strcmp(name, "store") ? &o->store
	       : !strcmp(name, "log") ? &o->log
	       : !strcmp(name, "pid") ? &o->pid
				      : NULL;
	if (!text)
		return 1;
	if (!value || !*value)
		return bad_value(x, name, value);
	set_text(text, value);
	return 0;
}

/* One word of the list, "name" or "name=value"; cut at its '='. */
static int take_option(struct option_ctx *x, char *name)
{
	struct options *o = x->o;
	char *value;
	int rc;

	if (policy_knows(name))
		return policy_parse(name, &o->policy, x->why, x->why_len);
	value = strchr(name, '=');
	if (value)
		*value++ = 0;
	rc = take_valued(x, name, value);
	if (rc <= 0)
		return rc;
	if (!strcmp(name, "ro")) {
		o->fs.read_only = true;
		add_kernel(o, name);
	} else if (!strcmp(name, "noatime")) {
		o->fs.noatime = true;
		add_kernel(o, name);
	} else if (!strcmp(name, "suid")) {
		x->suid = true;
	} else if (!strcmp(name, "dev")) {
		x->dev = true;
	} else if (!strcmp(name, "acl") || !strcmp(name, "noacl")) {
		o->noacl = name[0] == 'n';
	} else if (!strcmp(name, "allow_other")) {
		o->allow_other = true;
	} else if (is_for_kernel(name)) {
		if (!strcmp(name, "nosuid"))
			x->suid = false;
		else if (!strcmp(name, "nodev"))
			x->dev = false;
		else
			add_kernel(o, name);
	} else if (!is_for_others(name) && !x->sloppy) {
		snprintf(x->why, x->why_len, "unknown option: -o %s", name);
		return -EINVAL;
	}
	return 0;
}

/* "a,b=c": the value of cluster= goes on over commas as long as what follows is an address. */
static int take_list(struct option_ctx *x, const char *list)
{
	char *copy = mem_dup(list, strlen(list));
	char *p = copy, *next;
	int rc = 0;

	for (; p && !rc; p = next) {
		char *end = strchr(p, ',');

		if (!strncmp(p, "cluster=", 8)) {
			while (end && strcspn(end + 1, "=:") < strcspn(end + 1, ",") &&
				end[1 + strcspn(end + 1, "=:")] == ':')
				end = strchr(end + 1, ',');
		}
		next = end ? end + 1 : NULL;
		if (end)
			*end = 0;
		if (*p)
			rc = take_option(x, p);
	}
	free(copy);
	return rc;
}

/* ---- the command line ---- */

static int scan_native(struct option_ctx *x, int argc, char **argv)
{
	static const struct option longs[] = {{"store", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	struct options *o = x->o;
	int opt, rc = 0;

	while (!rc && (opt = getopt_long(argc, argv, "fdvho:V", longs, NULL)) != -1) {
		if (opt == 's')
			set_text(&o->store, optarg);
		else if (opt == 'f')
			o->foreground = true;
		else if (opt == 'd')
			o->debug = o->foreground = true;
		else if (opt == 'v')
			o->verbose = true;
		else if (opt == 'o')
			rc = take_list(x, optarg);
		else if (opt == 'h')
			o->help = true;
		else if (opt == 'V')
			o->version = true;
		else {
			snprintf(x->why, x->why_len, "unknown option or missing value: %s",
				argv[optind - 1]);
			rc = -EINVAL;
		}
	}
	return rc;
}

static int scan_helper(struct option_ctx *x, int argc, char **argv)
{
	static const struct option longs[] = {
		{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
	struct options *o = x->o;
	const char *lists[16];
	unsigned nlists = 0;
	int opt, rc = 0;

	while (!rc && (opt = getopt_long(argc, argv, "sfnvhVN:t:o:", longs, NULL)) != -1) {
		if (opt == 's')
			x->sloppy = true;
		else if (opt == 'f')
			o->fake = true;
		else if (opt == 'v')
			o->verbose = true;
		else if (opt == 'h')
			o->help = true;
		else if (opt == 'V')
			o->version = true;
		else if (opt == 'o' && nlists < ARRAY_LEN(lists))
			lists[nlists++] = optarg; /* -s may come after */
		else if (opt != 'n' && opt != 'N' && opt != 't') {
			snprintf(x->why, x->why_len, "unknown option or missing value: %s",
				argv[optind - 1]);
			rc = -EINVAL;
		}
	}
	for (unsigned i = 0; i < nlists && !rc; i++)
		rc = take_list(x, lists[i]);
	return rc;
}

static int take_source(struct option_ctx *x, const char *source)
{
	if (strchr(source, '/')) {
		set_text(&x->o->store, source);
		return 0;
	}
	if (!strcmp(source, "none") || !strcmp(source, "orbitfs"))
		return 0;
	if (!strchr(source, ':') || cluster_where_seeds(&x->o->where, source)) {
		snprintf(x->why, x->why_len,
			"%s: neither HOST:PORT[,HOST:PORT...] nor the path of a store", source);
		return -EINVAL;
	}
	return 0;
}

/* A path that still holds after chdir("/"). */
static int make_absolute(char **path)
{
	char *full = realpath(*path, NULL);

	if (!full && errno == ENOENT && **path != '/') {
		char *cwd = getcwd(NULL, 0); /* of what is yet to be made: a log */

		if (!cwd || asprintf(&full, "%s/%s", cwd, *path) < 0)
			full = NULL;
		free(cwd);
	}
	if (!full)
		return **path == '/' ? 0 : -errno;
	free(*path);
	*path = full;
	return 0;
}

static int settle_path(struct option_ctx *x, char **path)
{
	int rc = *path ? make_absolute(path) : 0;

	if (rc)
		snprintf(x->why, x->why_len, "%s: %s", *path, strerror(-rc));
	return rc;
}

static int settle(struct option_ctx *x)
{
	struct options *o = x->o;

	if (!o->store == !o->where.nseeds) {
		snprintf(x->why, x->why_len,
			o->store ? "give either a store or a cluster, not both"
				 : "what to mount? --store DIR or -o cluster=HOST:PORT");
		return -EINVAL;
	}
	o->source = NULL;
	if (o->store) {
		if (settle_path(x, &o->store))
			return -EINVAL;
		o->where.store = o->store;
		set_text(&o->source, o->store);
	} else {
		struct buf b = {0};

		for (unsigned i = 0; i < o->where.nseeds; i++) {
			if (i)
				buf_u8(&b, ',');
			buf_bytes(&b, o->where.seeds[i], strlen(o->where.seeds[i]));
		}
		buf_u8(&b, 0);
		o->source = (char *)b.data;
	}
	if (settle_path(x, &o->log) || settle_path(x, &o->pid) || settle_path(x, &o->mountpoint))
		return -EINVAL;
	add_kernel(o, x->suid ? "suid" : "nosuid");
	add_kernel(o, x->dev ? "dev" : "nodev");
	buf_u8(&o->kernel, 0);
	return 0;
}

int options_parse(struct options *o, int argc, char **argv, char *why, size_t why_len)
{
	const char *name = strrchr(argv[0], '/');
	bool helper = !strncmp(name ? name + 1 : argv[0], "mount.", 6);
	bool root = geteuid() == 0;
	struct option_ctx x = {.o = o, .suid = root, .dev = root, .why = why, .why_len = why_len};
	int rc;

	*o = (struct options){.policy = orbit_config_default().policy,
		.fs = fs_config_default(),
		.timeout = 10 * ENV_SEC,
		.allow_other = root};
	opterr = 0;
	rc = helper ? scan_helper(&x, argc, argv) : scan_native(&x, argc, argv);
	if (rc || o->help || o->version)
		return rc;
	if (argc - optind < 1 || argc - optind > 2) {
		snprintf(why, why_len,
			argc == optind ? "where to mount? (see --help)"
				       : "too many arguments (see --help)");
		return -EINVAL;
	}
	if (argc - optind == 2)
		rc = take_source(&x, argv[optind]);
	if (rc)
		return rc;
	set_text(&o->mountpoint, argv[argc - 1]);
	return settle(&x);
}

void options_fini(struct options *o)
{
	cluster_where_fini(&o->where);
	free(o->mountpoint);
	free(o->store);
	free(o->log);
	free(o->pid);
	free(o->source);
	buf_fini(&o->kernel);
}
