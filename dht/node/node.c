/*
 * A node's life: made, listening, stopped, freed. impl.h has the plan of the
 * room.
 *
 *   state      requests                          ends by
 *   serving    taken, run, answered              node_stop()
 *   stopping   none taken; those that the store  the last of them: stopped()
 *              still calls go to their end
 *
 * node_free() in any state is what a crash does: nothing is called any more, so the store has to go
 * before the loop runs again.
 */
#include "dht/node/impl.h"
#include "dht/node/keep.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define STOP_POLL (5 * ENV_MS)

struct node_config node_config_default(void)
{
	return (struct node_config){.in_doubt_timeout = 2 * ENV_SEC,
		.forward_timeout = 30 * ENV_SEC,
		.queue_max = 256u << 20,
		.keeper = {.session_timeout = KEEPER_SESSION_TIMEOUT},
		.recall_timeout = KEEPER_RECALL_TIMEOUT,
		.leases_max = 1000000,
		.weight = RING_WEIGHT_DEFAULT,
		.lease = 400 * ENV_MS,
		.fail_timeout = 1500 * ENV_MS,
		.alive_every = 250 * ENV_MS,
		.recovery_wait = 30 * ENV_SEC,
		.learn_shards = 4,
		.learn_rate = 100000000,
		.erase_after = 60 * ENV_SEC};
}

/* ---- the ring ---- */

int node_adopt(struct node *n, const struct ring_map *old)
{
	int rc = 0;

	if (!n->shards) {
		shards_init(n);
		store_blocking(n->st, true);
		rc = ended_load(n);
		if (!rc)
			rc = learn_load(n);
		store_blocking(n->st, false);
	}
	if (!rc) {
		/* at the start nothing else has to be done meanwhile */
		n->loading_all = !old;
		if (n->loading_all)
			store_blocking(n->st, true);
		rc = repl_adopt(n, old);
		if (n->loading_all)
			store_blocking(n->st, false);
		n->loading_all = false;
	}
	if (rc)
		log_error("mod=node rc=-%s msg=\"cannot load the shards' records\"", log_errno(rc));
	return rc;
}

const struct ring_map *node_ring(const struct node *n)
{
	return n->ring;
}

bool node_registered(const struct node *n)
{
	return n->registered;
}

/* ---- life ---- */

static void init_lists(struct node *n)
{
	TAILQ_INIT(&n->listeners);
	TAILQ_INIT(&n->conns);
	TAILQ_INIT(&n->watchers);
	TAILQ_INIT(&n->untold);
	TAILQ_INIT(&n->peers);
	TAILQ_INIT(&n->reqs);
	TAILQ_INIT(&n->lost);
	TAILQ_INIT(&n->floors);
	TAILQ_INIT(&n->decided);
	TAILQ_INIT(&n->forgets);
	TAILQ_INIT(&n->groups);
	TAILQ_INIT(&n->sweeps);
	TAILQ_INIT(&n->granted);
	TAILQ_INIT(&n->ahead);
	TAILQ_INIT(&n->woken);
}

int node_new(struct node **out, struct env *e, struct store *st, const struct node_config *cfg)
{
	const struct store_info *info = store_info(st);
	struct node *n = mem_zalloc(sizeof(*n));
	int rc;

	n->env = e;
	n->st = st;
	n->cfg = *cfg;
	n->id = info->node;
	memcpy(n->fsid, info->fsid, sizeof(n->fsid));
	n->incarnation = info->starts;
	n->self = RING_NONE;
	n->decided_timer.fire = decided_fire;
	n->doubt_timer.fire = doubt_fire;
	n->forget_timer.fire = forget_fire;
	n->wake_task.run = shard_wake_run;
	n->wake_left = NODE_WAKE_TURN;
	init_lists(n);
	repl_init(n);
	rc = keep_new(n);
	if (rc) {
		node_free(n);
		return rc;
	}
	sweep_begin(n);
	keep_start(n);
	*out = n;
	return 0;
}

int node_listen(struct node *n, const char *addr, const char **bound)
{
	struct listener *l = mem_zalloc(sizeof(*l));
	const char *at;
	int rc = env_listen(n->env, addr, conn_accept, n, &l->l);

	if (rc) {
		free(l);
		return rc;
	}
	TAILQ_INSERT_TAIL(&n->listeners, l, entry);
	at = env_listener_addr(n->env, l->l);
	if (bound)
		*bound = at;
	log_info("mod=node addr=%s incarnation=%llu msg=\"accepting\"", at,
		(unsigned long long)n->incarnation);
	return 0;
}

static void unlisten(struct node *n)
{
	struct listener *l;

	while ((l = TAILQ_FIRST(&n->listeners))) {
		TAILQ_REMOVE(&n->listeners, l, entry);
		env_unlisten(n->env, l->l);
		free(l);
	}
}

static void stop_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, stop_timer);
	void (*stopped)(void *arg) = n->stopped;

	if (!repl_idle(n) || !TAILQ_EMPTY(&n->reqs) || !TAILQ_EMPTY(&n->lost) ||
		!TAILQ_EMPTY(&n->floors) || !TAILQ_EMPTY(&n->forgets) || !TAILQ_EMPTY(&n->groups) ||
		!TAILQ_EMPTY(&n->sweeps)) {
		return; /* whoever ends last asks again */
	}
	if (keep_busy(n)) {
		env_timer_set(n->env, &n->stop_timer, env_now(n->env) + STOP_POLL);
		return;
	}
	n->stopped = NULL;
	if (stopped)
		stopped(n->stopped_arg);
}

void node_check_stopped(struct node *n)
{
	if (n->stopped && !n->stop_timer.armed)
		env_timer_set(n->env, &n->stop_timer, env_now(n->env));
}

void node_stop(struct node *n, void (*done)(void *arg), void *arg)
{
	struct conn *c;

	assert(!n->stopping);
	n->stopping = true;
	n->stopped = done;
	n->stopped_arg = arg;
	n->stop_timer.fire = stop_fire;
	unlisten(n);
	while ((c = TAILQ_FIRST(&n->conns)))
		conn_close(c);
	repl_stop(n);
	peers_free(n);
	keep_stop(n);
	req_end_all(n);
	node_check_stopped(n);
}

void node_free(struct node *n)
{
	struct conn *c;
	struct req *r;

	if (!n)
		return;
	n->stopping = true;
	n->stopped = NULL;
	unlisten(n);
	while ((c = TAILQ_FIRST(&n->conns)))
		conn_close(c);
	repl_stop(n);
	peers_free(n);
	keep_free(n);
	while ((r = TAILQ_FIRST(&n->reqs)) || (r = TAILQ_FIRST(&n->lost))) {
		r->pinned = 0;
		req_end(r);
	}
	floors_free(n);
	repl_free(n);
	watches_free(n);
	groups_free(n);
	sweeps_free(n);
	intents_free(n);
	sess_free_all(n);
	grants_free(n);
	shards_free(n);
	ring_unref((struct ring_map *)n->ring);
	env_timer_clear(n->env, &n->decided_timer);
	env_timer_clear(n->env, &n->doubt_timer);
	env_timer_clear(n->env, &n->forget_timer);
	env_timer_clear(n->env, &n->sweep_timer);
	env_timer_clear(n->env, &n->ahead_timer);
	env_timer_clear(n->env, &n->stop_timer);
	buf_fini(&n->tmp);
	free(n);
}

int node_broken(const struct node *n)
{
	int rc = store_broken(n->st);

	return rc ? rc : n->keeper_rc;
}

void node_stats(const struct node *n, struct node_stats *out)
{
	*out = n->stats;
	out->sessions = HASH_COUNT(n->sessions);
	out->leases = n->nleases;
}
