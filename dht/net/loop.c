/*
 * The loop. One round of libuv's is:
 *
 *   prepare   fire due timers, run tasks, write what links have queued, set the wake-up
 *   poll      wait (not at all while tasks are left) and read: sockets, watches, calls, jobs
 *
 * A round runs at most ROUND_TASKS tasks and for about ROUND_TIME, so that tasks which post tasks
 * cannot keep the loop from its sockets. Neither posting nor running a task costs a system call.
 */
#include "dht/net/loop_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "dht/base/mem.h"
#include "dht/net/addr.h"

#define ROUND_TASKS 1024
#define ROUND_TIME (1 * ENV_MS)

struct loop_call {
	void (*fn)(void *arg);
	void *arg;
	TAILQ_ENTRY(loop_call) entry;
};

struct loop_watch {
	uv_poll_t poll;
	void (*ready)(void *arg);
	void *arg;
	LIST_ENTRY(loop_watch) entry;
};

struct loop_signal {
	uv_signal_t sig;
	void (*fn)(void *arg, int signum);
	void *arg;
	LIST_ENTRY(loop_signal) entry;
};

/* ---- clock and random ---- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * ENV_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t op_now(struct env *e)
{
	(void)e;
	return clock_ns(CLOCK_BOOTTIME);
}

static uint64_t op_wall(struct env *e)
{
	(void)e;
	return clock_ns(CLOCK_REALTIME);
}

static void random_fill(void *out, size_t len)
{
	uint8_t *p = out;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			abort(); /* only a kernel without getrandom(2) refuses */
		p += n;
		len -= (size_t)n;
	}
}

static void op_random(struct env *e, void *out, size_t len)
{
	struct loop *lp = loop_of(e);

	if (len > LOOP_RANDOM_POOL) {
		random_fill(out, len);
		return;
	}
	if (len > lp->random_left) {
		random_fill(lp->random_pool, LOOP_RANDOM_POOL);
		lp->random_left = LOOP_RANDOM_POOL;
	}
	lp->random_left -= len;
	memcpy(out, lp->random_pool + lp->random_left, len);
	explicit_bzero(lp->random_pool + lp->random_left, len);
}

/* ---- tasks ---- */

static void op_post(struct env *e, struct env_task *t)
{
	struct loop *lp = loop_of(e);

	if (t->queued)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&lp->tasks, t, entry);
}

static void op_unpost(struct env *e, struct env_task *t)
{
	struct loop *lp = loop_of(e);

	if (!t->queued)
		return;
	t->queued = false;
	TAILQ_REMOVE(&lp->tasks, t, entry);
}

static void tasks_run(struct loop *lp)
{
	uint64_t until = 0;
	struct env_task *t;

	for (int i = 0; i < ROUND_TASKS && !lp->stopping; i++) {
		t = TAILQ_FIRST(&lp->tasks);
		if (!t)
			return;
		if (i == 1) /* most rounds have one at most: those never ask */
			until = op_now(&lp->env) + ROUND_TIME;
		else if (i > 1 && op_now(&lp->env) >= until)
			return;
		TAILQ_REMOVE(&lp->tasks, t, entry);
		t->queued = false;
		t->run(t);
	}
}

static void on_idle(uv_idle_t *idle)
{
	(void)idle; /* that it is active is all: polling does not wait */
}

static void on_prepare(uv_prepare_t *prepare)
{
	struct loop *lp = prepare->data;

	if (lp->closing)
		return;
	timer_run(lp);
	tasks_run(lp);
	tcp_flush_all(lp);
	if (TAILQ_EMPTY(&lp->tasks) && TAILQ_EMPTY(&lp->due))
		uv_idle_stop(&lp->idle);
	else
		uv_idle_start(&lp->idle, on_idle);
	timer_wake(lp);
}

/* ---- links ---- */

static int op_connect(
	struct env *e, const char *text, const struct link_events *ev, void *arg, struct link **out)
{
	struct addr a;
	int rc = addr_parse(text, &a);

	if (rc)
		return rc;
	if (loop_of(e)->closing)
		return -ECANCELED;
	if (a.kind == ADDR_LOCAL)
		return local_connect(loop_of(e), a.host, ev, arg, out);
	return tcp_connect(loop_of(e), text, &a, ev, arg, out);
}

static int op_listen(
	struct env *e, const char *text, env_accept_cb *cb, void *arg, struct env_listener **out)
{
	struct loop *lp = loop_of(e);
	struct env_listener *s;
	struct addr a;
	int rc = addr_parse(text, &a);

	if (rc)
		return rc;
	if (lp->closing)
		return -ECANCELED;
	s = mem_zalloc(sizeof(*s));
	s->kind = a.kind;
	s->lp = lp;
	s->cb = cb;
	s->arg = arg;
	snprintf(s->addr, sizeof(s->addr), "%s", text);
	if (a.kind == ADDR_LOCAL)
		rc = local_name_taken(lp, a.host) ? -EADDRINUSE : 0;
	else
		rc = tcp_listen(s, &a);
	if (rc) {
		free(s);
		return rc;
	}
	LIST_INSERT_HEAD(&lp->listeners, s, entry);
	*out = s;
	return 0;
}

static void op_unlisten(struct env *e, struct env_listener *s)
{
	(void)e;
	LIST_REMOVE(s, entry);
	if (s->kind != ADDR_LOCAL)
		tcp_unlisten(s);
	free(s);
}

static const char *op_listener_addr(const struct env_listener *s)
{
	return s->addr;
}

static const struct env_ops loop_ops = {
	.now = op_now,
	.wall = op_wall,
	.random = op_random,
	.timer_set = timer_set,
	.timer_clear = timer_clear,
	.post = op_post,
	.unpost = op_unpost,
	.job = job_start,
	.connect = op_connect,
	.listen = op_listen,
	.unlisten = op_unlisten,
	.listener_addr = op_listener_addr,
};

/* ---- calls from other threads ---- */

static struct loop_call *call_pop(struct loop *lp)
{
	struct loop_call *c;

	pthread_mutex_lock(&lp->call_lock);
	c = TAILQ_FIRST(&lp->calls);
	if (c)
		TAILQ_REMOVE(&lp->calls, c, entry);
	pthread_mutex_unlock(&lp->call_lock);
	return c;
}

static void on_async(uv_async_t *async)
{
	struct loop *lp = async->data;
	struct loop_call *c = NULL;

	if (lp->closing)
		return;
	for (int i = 0; i < ROUND_TASKS && !lp->stopping; i++) {
		c = call_pop(lp);
		if (!c)
			return;
		c->fn(c->arg);
		free(c);
	}
	uv_async_send(&lp->async); /* what is left comes in the next round */
}

void loop_call(struct loop *lp, void (*fn)(void *arg), void *arg)
{
	struct loop_call *c = mem_zalloc(sizeof(*c));

	c->fn = fn;
	c->arg = arg;
	pthread_mutex_lock(&lp->call_lock);
	TAILQ_INSERT_TAIL(&lp->calls, c, entry);
	pthread_mutex_unlock(&lp->call_lock);
	uv_async_send(&lp->async);
}

/* ---- watches and signals ---- */

static void on_spin(uv_idle_t *spin)
{
	struct loop *lp = spin->data;

	if (!spin_goes_on(&lp->spin_state, clock_ns(CLOCK_MONOTONIC)))
		uv_idle_stop(spin);
}

static void on_watch(uv_poll_t *poll, int status, int events)
{
	struct loop_watch *w = poll->data;
	struct loop *lp = container_of(poll->loop, struct loop, uv);

	/* on an error uv has stopped polling already: this call lets the owner's read find it */
	(void)status;
	(void)events;
	spin_hit(&lp->spin_state);
	w->ready(w->arg);
	if (spin_begin(&lp->spin_state, clock_ns(CLOCK_MONOTONIC)))
		uv_idle_start(&lp->spin, on_spin);
}

int loop_watch_fd(
	struct loop *lp, int fd, void (*ready)(void *arg), void *arg, struct loop_watch **out)
{
	struct loop_watch *w = mem_zalloc(sizeof(*w));
	int rc;

	w->poll.data = w;
	w->ready = ready;
	w->arg = arg;
	rc = uv_poll_init(&lp->uv, &w->poll, fd);
	if (rc) {
		free(w);
		return rc;
	}
	LIST_INSERT_HEAD(&lp->watches, w, entry);
	rc = uv_poll_start(&w->poll, UV_READABLE, on_watch);
	if (rc) {
		loop_unwatch(w);
		return rc;
	}
	*out = w;
	return 0;
}

static void on_watch_closed(uv_handle_t *h)
{
	free(h->data);
}

void loop_unwatch(struct loop_watch *w)
{
	if (!w)
		return;
	LIST_REMOVE(w, entry);
	uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void on_signal(uv_signal_t *sig, int signum)
{
	struct loop_signal *s = sig->data;

	s->fn(s->arg, signum);
}

static void on_signal_closed(uv_handle_t *h)
{
	free(h->data);
}

static void signal_close(struct loop_signal *s)
{
	LIST_REMOVE(s, entry);
	uv_close((uv_handle_t *)&s->sig, on_signal_closed);
}

int loop_on_signal(struct loop *lp, int signum, void (*fn)(void *arg, int signum), void *arg)
{
	struct loop_signal *s = mem_zalloc(sizeof(*s));
	int rc = uv_signal_init(&lp->uv, &s->sig);

	if (rc) {
		free(s);
		return rc;
	}
	s->sig.data = s;
	s->fn = fn;
	s->arg = arg;
	LIST_INSERT_HEAD(&lp->signals, s, entry);
	rc = uv_signal_start(&s->sig, on_signal, signum);
	if (rc)
		signal_close(s);
	return rc;
}

/* ---- life ---- */

int loop_new(struct loop **out)
{
	struct loop *lp = mem_zalloc(sizeof(*lp));
	int rc = uv_loop_init(&lp->uv);

	job_pool();
	if (rc) {
		free(lp);
		return rc;
	}
	lp->env.ops = &loop_ops;
	RB_INIT(&lp->timers);
	TAILQ_INIT(&lp->due);
	TAILQ_INIT(&lp->resting);
	TAILQ_INIT(&lp->tasks);
	TAILQ_INIT(&lp->calls);
	TAILQ_INIT(&lp->tcps);
	TAILQ_INIT(&lp->dirty);
	lp->wake_at = UINT64_MAX;
	pthread_mutex_init(&lp->call_lock, NULL);
	rc = uv_async_init(&lp->uv, &lp->async, on_async); /* the one that can fail */
	if (rc) {
		uv_loop_close(&lp->uv);
		pthread_mutex_destroy(&lp->call_lock);
		free(lp);
		return rc;
	}
	uv_prepare_init(&lp->uv, &lp->prepare);
	uv_idle_init(&lp->uv, &lp->idle);
	uv_idle_init(&lp->uv, &lp->spin);
	uv_timer_init(&lp->uv, &lp->wake);
	lp->async.data = lp->prepare.data = lp->idle.data = lp->spin.data = lp->wake.data = lp;
	uv_prepare_start(&lp->prepare, on_prepare);
	*out = lp;
	return 0;
}

/* Nothing calls out from here on; what is with the pool is waited for. */
static void loop_quiesce(struct loop *lp)
{
	struct env_listener *s;
	struct loop_watch *w;
	struct loop_signal *sig;

	lp->closing = true;
	LIST_FOREACH (s, &lp->listeners, entry) {
		if (s->kind != ADDR_LOCAL)
			tcp_listen_pause(s);
	}
	tcp_pause_all(lp);
	LIST_FOREACH (w, &lp->watches, entry)
		uv_poll_stop(&w->poll);
	LIST_FOREACH (sig, &lp->signals, entry)
		uv_signal_stop(&sig->sig);
	while (lp->jobs)
		uv_run(&lp->uv, UV_RUN_ONCE);
}

void loop_free(struct loop *lp)
{
	struct loop_call *c;

	if (!lp)
		return;
	loop_quiesce(lp);
	while (!LIST_EMPTY(&lp->listeners))
		op_unlisten(&lp->env, LIST_FIRST(&lp->listeners));
	local_free_all(lp);
	tcp_free_all(lp);
	while (!LIST_EMPTY(&lp->watches))
		loop_unwatch(LIST_FIRST(&lp->watches));
	while (!LIST_EMPTY(&lp->signals))
		signal_close(LIST_FIRST(&lp->signals));
	timer_free_all(lp);
	uv_close((uv_handle_t *)&lp->async, NULL);
	uv_close((uv_handle_t *)&lp->prepare, NULL);
	uv_close((uv_handle_t *)&lp->idle, NULL);
	uv_close((uv_handle_t *)&lp->spin, NULL);
	uv_close((uv_handle_t *)&lp->wake, NULL);
	do /* more than once when a loop_stop() was left over */
		uv_run(&lp->uv, UV_RUN_DEFAULT);
	while (uv_loop_close(&lp->uv));
	while ((c = call_pop(lp)))
		free(c);
	pthread_mutex_destroy(&lp->call_lock);
	explicit_bzero(lp->random_pool, sizeof(lp->random_pool));
	free(lp);
}

struct env *loop_env(struct loop *lp)
{
	return &lp->env;
}

void loop_run(struct loop *lp)
{
	uv_run(&lp->uv, UV_RUN_DEFAULT);
	tcp_flush_all(lp); /* what was sent by the last callback */
	lp->stopping = false;
}

void loop_stop(struct loop *lp)
{
	lp->stopping = true;
	uv_stop(&lp->uv);
}

uint64_t loop_lag(struct loop *lp)
{
	uint64_t lag = lp->lag;

	lp->lag = 0;
	return lag;
}
