/*
 * cluster: a client of the DHT for a program: of the nodes that serve a cluster, or of a node of
 * its own within this process, over a store in a folder.
 *
 * The loop is run by whoever waits: start something with await_done() as its callback, then
 * await(). Between awaits nothing happens.
 */
#ifndef TOOLS_COMMON_CLUSTER_H
#define TOOLS_COMMON_CLUSTER_H

#include "dht/client/orbit.h"
#include "dht/net/loop.h"
#include "dht/node/node.h"
#include "dht/store/store.h"

/* Where the node within a process listens. */
#define CLUSTER_LOCAL "local:node"

/* What to be a client of: exactly one of the two. Set by cluster_where_*(). */
struct cluster_where {
	const char *store; /* folder of an embedded store, borrowed */
	const char *seeds[ORBIT_SEEDS_MAX];
	unsigned nseeds;
	char *text; /* what seeds point into */
};

/* "HOST:PORT[,HOST:PORT...]": 0, or -EINVAL (no address, an empty one, more than
 * ORBIT_SEEDS_MAX). */
int cluster_where_seeds(struct cluster_where *w, const char *list);
void cluster_where_fini(struct cluster_where *w);

struct cluster {
	struct loop *loop;
	struct env *env;
	struct store *store; /* embedded only */
	struct node *node;   /* embedded only */
	struct orbit_client *client;
};

/* How long another process that is just ending may keep the store. */
#define CLUSTER_BUSY_WAIT (5 * ENV_SEC)

/*
 * A loop, for an embedded store its node, and a client that begins to connect. 0; on error -errno
 * and one line in @why, and nothing to close.
 */
int cluster_open(struct cluster *c, const struct cluster_where *w,
	const struct orbit_policy *policy, char *why, size_t why_len);

/* Runs the loop until the client is ready, at most @timeout ns (0: for ever). 0; -errno and @why.
 */
int cluster_ready(struct cluster *c, uint64_t timeout, char *why, size_t why_len);

/* Ends the session, the node and the store in this order, frees everything. 0, or what the store
 * said when it was closed. */
int cluster_close(struct cluster *c, uint64_t timeout);

/*
 * Makes an embedded store in the new or empty folder @path, with a filesystem identity of its own
 * and a ring of one node. No filesystem yet. 0; -errno and @why.
 */
int cluster_make_store(const char *path, char *why, size_t why_len);

/* ---- waiting ---- */

struct await {
	struct loop *loop;
	bool done;
	int rc;
};

/* For callbacks of the form (void *arg, int rc): arg is a struct await. */
void await_done(void *arg, int rc);
/* The same without rc: 0. */
void await_end(void *arg);
/* Runs the loop until then; returns rc. */
int await(struct await *w);
/* Runs the loop for @ns. */
void await_pause(struct loop *lp, uint64_t ns);

#endif
