#include "tools/orbitd/config.h"

#include <errno.h>
#include <getopt.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "tools/common/text.h"

const char config_help[] =
	"usage: orbitd --store DIR --listen HOST:PORT [--join HOST:PORT] [FLAGS]\n"
	"\n"
	"  --store DIR          where the data lies\n"
	"  --listen HOST:PORT   where to serve; up to four times\n"
	"  --join HOST:PORT     a node of the cluster to join; up to four. Makes the store if\n"
	"                       there is none\n"
	"  --advertise HOST:PORT where others reach this node, if not where it listens; up to "
	"four\n"
	"  --zone NAME          what fails together with it: copies are kept in different zones\n"
	"  --weight N           its share of the data when it is new (100)\n"
	"  --witness            only vote, hold no data\n"
	"  --log FILE           where messages go (else stderr, or syslog as a daemon)\n"
	"  --log-level LEVEL    error, warn, info or debug\n"
	"  --pid FILE           write the process id there\n"
	"  --daemon             go to the background once it serves\n"
	"  --config FILE        read these keys from FILE (" CONFIG_DEFAULT_FILE ")\n"
	"  --help, --version\n";

#define WEIGHT_MAX 1000000

struct loading {
	struct config *c;
	const char *file;
	char *why;
	size_t why_len;
};

static void set_text(char **at, const char *value)
{
	free(*at);
	*at = mem_dup(value, strlen(value));
}

static void addrs_clear(struct config_addrs *a)
{
	while (a->n)
		free(a->at[--a->n]);
}

static int addrs_add(struct config_addrs *a, const char *value)
{
	if (a->fresh)
		addrs_clear(a);
	a->fresh = false;
	if (a->n == CONFIG_ADDRS_MAX || !*value || strlen(value) >= ENV_ADDR_MAX)
		return -EINVAL;
	a->at[a->n++] = mem_dup(value, strlen(value));
	return 0;
}

static int set_bool(bool *at, const char *value)
{
	*at = !strcmp(value, "yes") || !strcmp(value, "true") || !strcmp(value, "1");
	return *at || !strcmp(value, "no") || !strcmp(value, "false") || !strcmp(value, "0")
		       ? 0
		       : -EINVAL;
}

static int set_weight(struct config *c, const char *value)
{
	uint64_t v;

	if (text_parse_number(value, WEIGHT_MAX, &v) || !v)
		return -EINVAL;
	c->weight = (uint32_t)v;
	return 0;
}

/* 0; -EINVAL: bad value; -ENOENT: no such key. */
static int set_key(struct loading *l, const char *key, const char *value)
{
	struct config *c = l->c;
	char **text = !strcmp(key, "store")  ? &c->store
		      : !strcmp(key, "zone") ? &c->zone
		      : !strcmp(key, "log")  ? &c->log
		      : !strcmp(key, "pid")  ? &c->pid
					     : NULL;

	if (text) {
		if (!*value || (text == &c->zone && strlen(value) >= RING_ZONE_MAX))
			return -EINVAL;
		set_text(text, value);
		return 0;
	}
	if (!strcmp(key, "listen"))
		return addrs_add(&c->listen, value);
	if (!strcmp(key, "advertise"))
		return addrs_add(&c->advertise, value);
	if (!strcmp(key, "join"))
		return addrs_add(&c->join, value);
	if (!strcmp(key, "weight"))
		return set_weight(c, value);
	if (!strcmp(key, "log-level"))
		return log_parse_level(value, &c->level);
	if (!strcmp(key, "daemon"))
		return set_bool(&c->daemon, value);
	if (!strcmp(key, "witness"))
		return set_bool(&c->witness, value);
	return -ENOENT;
}

static int on_ini(void *arg, const char *section, const char *key, const char *value)
{
	struct loading *l = arg;
	int rc = set_key(l, key, value);

	(void)section;
	if (rc && !*l->why)
		snprintf(l->why, l->why_len, "%s: %s: %s", l->file, key,
			rc == -ENOENT ? "unknown key" : "bad value");
	return rc == 0;
}

static int load_file(struct loading *l, const char *path, bool must)
{
	int rc;

	l->file = path;
	*l->why = 0;
	if (!must && access(path, F_OK))
		return 0;
	rc = ini_parse(path, on_ini, l);
	if (!rc)
		return 0;
	if (rc < 0)
		snprintf(l->why, l->why_len, "%s: %s", path, strerror(errno));
	else if (!*l->why)
		snprintf(l->why, l->why_len, "%s: line %d is wrong", path, rc);
	return -EINVAL;
}

static const struct option longs[] = {
	{"store", required_argument, NULL, 0},
	{"listen", required_argument, NULL, 0},
	{"join", required_argument, NULL, 0},
	{"advertise", required_argument, NULL, 0},
	{"zone", required_argument, NULL, 0},
	{"weight", required_argument, NULL, 0},
	{"witness", no_argument, NULL, 0},
	{"log", required_argument, NULL, 0},
	{"log-level", required_argument, NULL, 0},
	{"pid", required_argument, NULL, 0},
	{"daemon", no_argument, NULL, 0},
	{"config", required_argument, NULL, 'c'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

/* First round: only which file; second: everything else. */
static int scan(struct loading *l, int argc, char **argv, const char **file)
{
	int opt, at = 0;

	optind = 0;
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "", longs, &at)) != -1) {
		if (opt == '?') {
			snprintf(l->why, l->why_len, "unknown flag or missing value: %s",
				argv[optind - 1]);
			return -EINVAL;
		}
		if (opt == 'c') {
			*file = optarg;
		} else if (opt == 'h') {
			l->c->help = true;
		} else if (opt == 'V') {
			l->c->version = true;
		} else if (l->file && set_key(l, longs[at].name, optarg ? optarg : "yes")) {
			snprintf(l->why, l->why_len, "--%s: bad value \"%s\"", longs[at].name,
				optarg ? optarg : "");
			return -EINVAL;
		}
	}
	if (optind < argc) {
		snprintf(l->why, l->why_len, "what is \"%s\"? (see --help)", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* Paths that still hold after chdir("/"). */
static void make_absolute(char **path)
{
	char cwd[PATH_MAX], *full;

	if (!*path || **path == '/' || !getcwd(cwd, sizeof(cwd)) ||
		asprintf(&full, "%s/%s", cwd, *path) < 0)
		return;
	free(*path);
	*path = full;
}

/* It listens at every address of the machine, and was not told how others call it. */
static bool unspecific(const struct config *c)
{
	const char *a = c->listen.at[0];

	return !c->advertise.n &&
	       (!strncmp(a, "0.0.0.0:", 8) || !strncmp(a, "[::]:", 5) || !strncmp(a, "*:", 2));
}

int config_load(struct config *c, int argc, char **argv, char *why, size_t why_len)
{
	struct loading l = {.c = c, .why = why, .why_len = why_len};
	const char *file = NULL;
	int rc;

	*c = (struct config){.level = LOG_LVL_INFO, .weight = RING_WEIGHT_DEFAULT};
	rc = scan(&l, argc, argv, &file);
	if (rc || c->help || c->version)
		return rc;
	rc = load_file(&l, file ? file : CONFIG_DEFAULT_FILE, file != NULL);
	if (rc)
		return rc;
	c->listen.fresh = c->advertise.fresh = c->join.fresh = true;
	rc = scan(&l, argc, argv, &file);
	if (rc)
		return rc;
	if (!c->store || !c->listen.n) {
		snprintf(why, why_len, "%s is missing (see --help)",
			c->store ? "--listen HOST:PORT" : "--store DIR");
		return -EINVAL;
	}
	if (unspecific(c)) {
		snprintf(why, why_len,
			"--advertise HOST:PORT is missing: others can't reach this node at %s",
			c->listen.at[0]);
		return -EINVAL;
	}
	make_absolute(&c->store);
	make_absolute(&c->log);
	make_absolute(&c->pid);
	return 0;
}

void config_fini(struct config *c)
{
	addrs_clear(&c->listen);
	addrs_clear(&c->advertise);
	addrs_clear(&c->join);
	free(c->store);
	free(c->zone);
	free(c->log);
	free(c->pid);
}
