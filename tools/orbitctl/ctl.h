/*
 * ctl: what all commands of orbitctl share.
 */
#ifndef TOOLS_ORBITCTL_CTL_H
#define TOOLS_ORBITCTL_CTL_H

#include "dht/ring/ring.h"
#include "tools/common/cluster.h"
#include "tools/common/text.h"

#define CTL_WEIGHT_MAX 1000000

/* Exit codes */
#define CTL_OK 0
#define CTL_FAILED 1
#define CTL_USAGE 2
#define CTL_NOT_FOUND 3
#define CTL_REFUSED 4     /* can not be as things are; status: not all is well */
#define CTL_UNAVAILABLE 5 /* status: something can not be reached by anybody */

/* The command line, options taken out of it. */
struct ctl {
	struct cluster_where where;
	uint64_t timeout; /* ns for anything that may not answer; default 10 s */
	bool timeout_given;
	bool json;
	bool verbose;
	/* cluster init */
	const char *addr[RING_ADDRS_MAX];
	unsigned naddrs;
	const char *name, *zone;
	unsigned shards, replicas, weight;

	const char *to; /* --to ID|random */
	unsigned min_in_sync;
	bool undo, force, watch, members;
	bool retry;
	const char *cancel; /* --cancel HANDLE */
	unsigned count;     /* --count N; 0: not given */
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

/* Prints why the cluster, asked through -o cluster, would not; returns the exit code. */
int ctl_refused(const struct ctl *k, int rc, const char *text);

struct gather;
/* What the nodes say, asked on the loop of @c: 0, or an exit code after saying why not. */
int ctl_gather(struct ctl *k, struct cluster *c, struct gather *g);
/* Opens a loop (and the embedded node) without a client, calls show(), with --watch again every
 * second; closes. Returns what it returned last. */
int ctl_repeat(struct ctl *k, int (*show)(struct ctl *k, struct cluster *c));

int cmd_mkfs(struct ctl *k);
int cmd_cluster_init(struct ctl *k);
int cmd_cluster_replicas(struct ctl *k);
int cmd_node_leave(struct ctl *k);
int cmd_node_remove(struct ctl *k);
int cmd_node_weight(struct ctl *k);
int cmd_node_rename(struct ctl *k);
int cmd_session_fence(struct ctl *k);
int cmd_ring_show(struct ctl *k);
int cmd_rebalance(struct ctl *k);
int cmd_shard(struct ctl *k);
int cmd_verify(struct ctl *k);
int cmd_watch(struct ctl *k);
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
