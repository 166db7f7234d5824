/*
 * The client's life: made, ready, closed; its ticker; and the task that delivers what ended.
 *
 * Closing:  callbacks with -ESHUTDOWN -> what is being decided across shards, as long as those who
 * have to hear it can be reached -> END of the session -> everything goes, done(). The time limit
 * leads from anywhere to the last step.
 */
#include "dht/client/client.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define TICK_BATCH 64

/* ---- the ticker ---- */

void client_arm(struct orbit_client *c)
{
	uint64_t next = table_next(&c->table);

	if (next >= c->tick_at)
		return;
	c->tick_at = next;
	env_timer_set(c->env, &c->ticker, next);
}

static void act(struct orbit_client *c, const struct tick_action *a)
{
	struct entry *e = table_find(&c->table, a->id);
	struct request *r;

	if (!e)
		return; /* ended by what was done for another one */
	r = container_of(e, struct request, e);
	switch (a->what) {
	case TICK_RETRY:
		if (r->ops->retry)
			r->ops->retry(r);
		else
			request_try(r);
		break;
	case TICK_STALL:
		/* this thread slept past the end of a back-off too */
		if (r->ops->retry)
			r->ops->retry(r);
		else
			request_stalled(r);
		break;
	case TICK_EXPIRE:
		r->ops->expire(r);
		break;
	}
}

/* What goes on stalling is not told at every tick. */
#define STALL_LOG_EVERY (10 * ENV_SEC)

static void on_tick(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, ticker);
	struct tick_action todo[TICK_BATCH];
	uint64_t now = env_now(c->env);
	unsigned stalled = 0, expired = 0;
	size_t n;

	c->tick_at = UINT64_MAX;
	do {
		n = tick(&c->table, now, todo, TICK_BATCH);
		for (size_t i = 0; i < n; i++) {
			stalled += todo[i].what == TICK_STALL;
			expired += todo[i].what == TICK_EXPIRE;
			act(c, &todo[i]);
		}
	} while (n == TICK_BATCH);
	if (expired || (stalled && now - c->stall_logged >= STALL_LOG_EVERY)) {
		c->stall_logged = now;
		log_warn("mod=client stalled=%u expired=%u in_flight=%zu msg=\"no answer within "
			 "check_timeout\"",
			stalled, expired, c->table.n);
	}
	client_arm(c);
}

/* ---- delivery ---- */

void client_deliver(struct orbit_client *c)
{
	env_post(c->env, &c->task);
}

static void deliver(struct orbit_client *c)
{
	struct call *k, *last = TAILQ_LAST(&c->ending, call_list);
	struct orbit_reply r;
	bool more = last != NULL;

	while (more) {
		k = TAILQ_FIRST(&c->ending);
		more = k != last;
		TAILQ_REMOVE(&c->ending, k, at_on);
		k->ending = false;
		r = (struct orbit_reply){.rc = k->rc, .failed = k->failed};
		call_done(k, &r);
	}
	if (!TAILQ_EMPTY(&c->ending))
		client_deliver(c);
}

static void deliver_ready(struct orbit_client *c)
{
	void (*ready)(void *arg, int rc) = c->ready;

	if (!c->ready_due)
		return;
	c->ready_due = false;
	c->ready = NULL;
	env_timer_clear(c->env, &c->ready_timer);
	ready(c->ready_arg, c->ready_rc);
}

static bool close_now(struct orbit_client *c);

static void on_task(struct env_task *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, task);

	deliver_ready(c);
	deliver(c);
	if (c->closing && TAILQ_EMPTY(&c->ending) && !c->ready_due)
		close_now(c);
}

/* ---- being ready ---- */

static void ready_with(struct orbit_client *c, int rc)
{
	c->ready_due = true;
	c->ready_rc = rc;
	client_deliver(c);
}

/* Nothing will come of the seeds: each says that it is none of ours. */
static int hopeless(const struct orbit_client *c)
{
	const struct peer *p;
	int rc = 0;

	if (c->map)
		return 0;
	TAILQ_FOREACH (p, &c->peers, at) {
		if (!p->fatal)
			return 0;
		rc = p->rc;
	}
	return rc;
}

void client_check_ready(struct orbit_client *c)
{
	int rc;

	if (!c->ready || c->ready_due)
		return;
	rc = hopeless(c);
	if (rc || (c->map && c->session.state == SESSION_OPEN))
		ready_with(c, rc);
}

static void ready_timeout(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, ready_timer);

	if (c->ready && !c->ready_due)
		ready_with(c, -ETIMEDOUT);
}

void orbit_wait_ready(
	struct orbit_client *c, uint64_t timeout, void (*ready)(void *arg, int rc), void *arg)
{
	c->ready = ready;
	c->ready_arg = arg;
	if (c->closing) {
		ready_with(c, -ESHUTDOWN);
		return;
	}
	if (timeout)
		env_timer_set(c->env, &c->ready_timer, env_now(c->env) + timeout);
	client_check_ready(c);
}

/* ---- beginning ---- */

struct orbit_config orbit_config_default(void)
{
	return (struct orbit_config){
		.policy =
			{
				.reads_block = true,
				.writes_block = true,
				.resend_count = 5,
				.check_timeout = 5 * ENV_SEC,
			},
		.reconnect_min = 20 * ENV_MS,
		.reconnect_max = 500 * ENV_MS,
		.ping_after = 1 * ENV_SEC,
	};
}

static void discard(struct orbit_client *c)
{
	struct entry *e, *tmp;
	struct request *r;
	struct call *k;
	struct peer *p;

	env_timer_clear(c->env, &c->ticker);
	follow_stop(c);
	env_timer_clear(c->env, &c->ready_timer);
	env_timer_clear(c->env, &c->close_timer);
	session_fini(c);
	lease_fini(c);
	while ((k = TAILQ_FIRST(&c->calls))) { /* those that are only being decided */
		assert(k->called);
		commit_free(k);
		k->number.listed = false;
		call_release(k);
	}
	HASH_ITER (hh, c->table.by_id, e, tmp) {
		r = container_of(e, struct request, e);
		r->ops->expire(r);
	}
	table_fini(&c->table);
	while ((p = TAILQ_FIRST(&c->peers)))
		peer_free(p);
	while ((k = TAILQ_FIRST(&c->spare))) {
		TAILQ_REMOVE(&c->spare, k, at_on);
		free(k);
	}
	ring_unref(c->map);
	free(c->by_node);
	free(c->marks);
	free(c->mark_of);
	env_unpost(c->env, &c->task);
	free(c);
}

static bool config_valid(const struct orbit_config *cfg)
{
	return cfg->nseeds >= 1 && cfg->nseeds <= ORBIT_SEEDS_MAX && policy_valid(&cfg->policy) &&
	       cfg->reconnect_min >= ENV_MS && cfg->reconnect_max >= cfg->reconnect_min &&
	       cfg->reconnect_max <= 3600 * ENV_SEC && cfg->ping_after >= ENV_MS &&
	       cfg->ping_after <= 3600 * ENV_SEC;
}

int orbit_new(struct orbit_client **out, struct env *e, const struct orbit_config *cfg)
{
	struct orbit_client *c;
	struct peer *p;
	int rc;

	if (!config_valid(cfg))
		return -EINVAL;
	c = mem_zalloc(sizeof(*c));
	c->env = e;
	c->policy = cfg->policy;
	memcpy(c->fsid, cfg->fsid, sizeof(c->fsid));
	c->reconnect_min = cfg->reconnect_min;
	c->reconnect_max = cfg->reconnect_max;
	c->ping_after = cfg->ping_after;
	c->tick_at = UINT64_MAX;
	c->ticker.fire = on_tick;
	c->ready_timer.fire = ready_timeout;
	c->task.run = on_task;
	table_init(&c->table);
	TAILQ_INIT(&c->calls);
	TAILQ_INIT(&c->waiting);
	TAILQ_INIT(&c->ending);
	TAILQ_INIT(&c->spare);
	TAILQ_INIT(&c->peers);
	TAILQ_INIT(&c->homeless);
	TAILQ_INIT(&c->watches);
	session_init(c);
	lease_init(c);
	for (unsigned i = 0; i < cfg->nseeds; i++) {
		if (!cfg->seeds[i] || strlen(cfg->seeds[i]) >= ENV_ADDR_MAX) {
			discard(c);
			return -EINVAL;
		}
		p = peer_new(c);
		p->seed = true;
		peer_set_addr(p, cfg->seeds[i]);
		rc = peer_connect_now(p);
		if (rc) {
			discard(c);
			return rc;
		}
	}
	follow_seek(c);
	*out = c;
	return 0;
}

/* ---- ending ---- */

/* Somebody has to hear a decision, and can. */
static bool deciding(struct orbit_client *c)
{
	const struct request *r;
	struct call *k;

	TAILQ_FOREACH (k, &c->calls, at)
		for (unsigned i = 0; (r = commit_request(k, i)); i++)
			if (r->sent || (r->home && peer_usable(r->home)))
				return true;
	return false;
}

static bool close_now(struct orbit_client *c)
{
	void (*closed)(void *arg) = c->closed;
	void *arg = c->closed_arg;

	if (!c->cut) {
		if (deciding(c))
			return false;
		if (c->session.state == SESSION_OPEN && session_end(c))
			return false;
		if (c->session.state == SESSION_ENDING && c->session.req.sent)
			return false;
	}
	discard(c);
	closed(arg);
	return true;
}

void client_close_step(struct orbit_client *c)
{
	if (c->closing)
		client_deliver(c);
}

static void close_timeout(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, close_timer);

	c->cut = true;
	client_deliver(c);
}

void orbit_close(struct orbit_client *c, uint64_t timeout, void (*done)(void *arg), void *arg)
{
	struct call *k, *next;

	c->closing = true;
	c->closed = done;
	c->closed_arg = arg;
	c->cut = timeout == 0;
	if (timeout) {
		c->close_timer.fire = close_timeout;
		env_timer_set(c->env, &c->close_timer, env_now(c->env) + timeout);
	}
	if (c->ready && !c->ready_due)
		ready_with(c, -ESHUTDOWN);
	watch_close(c);
	TAILQ_FOREACH_SAFE (k, &c->calls, at, next)
		if (!k->called && !k->ending)
			call_give_up(k, -ESHUTDOWN);
	client_deliver(c);
}

/* ---- by hand ---- */

bool orbit_cancel(struct orbit_client *c, orbit_handle h, bool stalled_only)
{
	struct call *k;

	TAILQ_FOREACH (k, &c->calls, at)
		if (k->handle == h)
			break;
	if (!h || !k || k->answered || (stalled_only && !call_stalled(k)))
		return false;
	call_give_up(k, -EINTR);
	return true;
}

void orbit_retry_now(struct orbit_client *c)
{
	struct entry *e, *tmp;
	struct request *r;
	struct peer *p;

	TAILQ_FOREACH (p, &c->peers, at)
		if (p->state == PEER_DOWN || (p->state == PEER_IDLE && !TAILQ_EMPTY(&p->pending)))
			peer_connect_now(p);
	HASH_ITER (hh, c->table.by_id, e, tmp) {
		r = container_of(e, struct request, e);
		if (!r->queued || !r->home || !peer_usable(r->home))
			continue;
		tick_free_send(&c->table, &r->e, env_now(c->env));
		request_try(r);
	}
}
