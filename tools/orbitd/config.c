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

const char config_help[] =
	"usage: orbitd --store DIR --listen HOST:PORT [--fsid NAME] [FLAGS]\n"
	"\n"
	"  --store DIR          where the data lies\n"
	"  --listen HOST:PORT   where to serve; up to four times\n"
	"  --fsid NAME          make the store if there is none, for the filesystem of this name\n"
	"  --ring FILE          take the ring map in FILE if it is newer\n"
	"  --log FILE           where messages go (else stderr, or syslog as a daemon)\n"
	"  --log-level LEVEL    error, warn, info or debug\n"
	"  --pid FILE           write the process id there\n"
	"  --daemon             go to the background once it serves\n"
	"  --config FILE        read these keys from FILE (" CONFIG_DEFAULT_FILE ")\n"
	"  --help, --version\n";

struct loading {
	struct config *c;
	bool listen_fresh; /* the next listen replaces those of the file */
	const char *file;
	char *why;
	size_t why_len;
};

static void set_text(char **at, const char *value)
{
	free(*at);
	*at = mem_dup(value, strlen(value));
}

static int add_listen(struct loading *l, const char *value)
{
	struct config *c = l->c;

	if (l->listen_fresh) {
		while (c->nlisten)
			free(c->listen[--c->nlisten]);
		l->listen_fresh = false;
	}
	if (c->nlisten == CONFIG_LISTEN_MAX)
		return -EINVAL;
	c->listen[c->nlisten++] = mem_dup(value, strlen(value));
	return 0;
}

/* 0; -EINVAL: bad value; -ENOENT: no such key. */
static int set_key(struct loading *l, const char *key, const char *value)
{
	struct config *c = l->c;
	char **text = !strcmp(key, "store")  ? &c->store
		      : !strcmp(key, "fsid") ? &c->fsid
		      : !strcmp(key, "ring") ? &c->ring
		      : !strcmp(key, "log")  ? &c->log
		      : !strcmp(key, "pid")  ? &c->pid
					     : NULL;

	if (text) {
		if (!*value)
			return -EINVAL;
		set_text(text, value);
		return 0;
	}
	if (!strcmp(key, "listen"))
		return add_listen(l, value);
	if (!strcmp(key, "log-level"))
		return log_parse_level(value, &c->level);
	if (!strcmp(key, "daemon")) {
		c->daemon = !strcmp(value, "yes") || !strcmp(value, "true") || !strcmp(value, "1");
		return c->daemon || !strcmp(value, "no") || !strcmp(value, "false") ||
				       !strcmp(value, "0")
			       ? 0
			       : -EINVAL;
	}
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
	{"fsid", required_argument, NULL, 0},
	{"ring", required_argument, NULL, 0},
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

int config_load(struct config *c, int argc, char **argv, char *why, size_t why_len)
{
	struct loading l = {.c = c, .why = why, .why_len = why_len};
	const char *file = NULL;
	int rc;

	*c = (struct config){.level = LOG_LVL_INFO};
	rc = scan(&l, argc, argv, &file);
	if (rc || c->help || c->version)
		return rc;
	rc = load_file(&l, file ? file : CONFIG_DEFAULT_FILE, file != NULL);
	if (rc)
		return rc;
	l.listen_fresh = true;
	rc = scan(&l, argc, argv, &file);
	if (rc)
		return rc;
	if (!c->store || !c->nlisten) {
		snprintf(why, why_len, "%s is missing (see --help)",
			c->store ? "--listen HOST:PORT" : "--store DIR");
		return -EINVAL;
	}
	make_absolute(&c->store);
	make_absolute(&c->ring);
	make_absolute(&c->log);
	make_absolute(&c->pid);
	return 0;
}

void config_fini(struct config *c)
{
	while (c->nlisten)
		free(c->listen[--c->nlisten]);
	free(c->store);
	free(c->fsid);
	free(c->ring);
	free(c->log);
	free(c->pid);
}
