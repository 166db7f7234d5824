/*
 * ctl: what all commands of orbitctl share.
 */
#ifndef TOOLS_ORBITCTL_CTL_H
#define TOOLS_ORBITCTL_CTL_H

#include "tools/common/cluster.h"
#include "tools/common/text.h"

/* Exit codes */
#define CTL_OK 0
#define CTL_FAILED 1
#define CTL_USAGE 2
#define CTL_NOT_FOUND 3

/* The command line, options taken out of it. */
struct ctl {
	struct cluster_where where;
	uint64_t timeout; /* ns for anything that may not answer; default 10 s */
	bool json;
	bool verbose;
	const char *fsid;
	const char *out; /* --out FILE */
	unsigned shard_bits, replicas;
	bool retry;
	const char *cancel; /* --cancel HANDLE */
	unsigned count;     /* --count N */
	const char *command;
	char **args;
	int nargs;
};

/* Prints "orbitctl COMMAND: ..." to stderr; returns CTL_FAILED. */
int ctl_fail(const struct ctl *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What a negative errno from the cluster means to a person. */
const char *ctl_why(int rc);

/* A client that is ready. 0, or an exit code after saying why. */
int ctl_open(struct ctl *k, struct cluster *c);
/* Closes; returns @code, or CTL_FAILED if the store could not be closed. */
int ctl_close(struct ctl *k, struct cluster *c, int code);

/* Submits and waits. fn(arg, reply), unless NULL, sees the reply while it is good. */
int ctl_submit(struct cluster *c, struct txn_build *t,
	void (*fn)(void *arg, const struct orbit_reply *r), void *arg);

/* A name, or 64 hex digits. */
struct orbit_id ctl_id(const char *name);

int cmd_mkfs(struct ctl *k);
int cmd_store_init(struct ctl *k);
int cmd_ring_create(struct ctl *k);
int cmd_ring_show(struct ctl *k);
int cmd_status(struct ctl *k);
int cmd_ping(struct ctl *k);
int cmd_put(struct ctl *k);
int cmd_get(struct ctl *k);
int cmd_stat(struct ctl *k);
int cmd_rm(struct ctl *k);
int cmd_ls(struct ctl *k);
int cmd_route(struct ctl *k);
int cmd_stalled(struct ctl *k);

#endif
