/*
 * Links within the process: the hot path of the embedded filesystem. A frame that is sent goes
 * into the queue of the other end as it is - no copy, no checksum - and that end's task hands it
 * on, never from inside the call of link_send().
 *
 *   state        peer          events that may still come
 *   CONNECTING   NULL          up or down
 *   UP           the other end message, down
 *   UP           NULL          messages sent before the other end closed, then down
 *   DOWN         NULL          none
 *
 * An end that is closed from inside one of its own callbacks is freed when that callback returned.
 */
#include "dht/net/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/net/frameq.h"

enum local_state { CONNECTING, UP, DOWN };

struct local_link {
	struct link l;
	struct loop *lp;
	struct local_link *peer;
	enum local_state state;
	bool busy;   /* one of its callbacks runs */
	bool closed; /* link_close() was called meanwhile */
	struct frameq in;
	struct env_task task;
	LIST_ENTRY(local_link) entry;
	char name[]; /* connecting: of the listener */
};

static const struct link_ops local_ops;

static struct local_link *local_of(const struct link *l)
{
	return container_of(l, struct local_link, l);
}

static struct env_listener *find_listener(struct loop *lp, const char *name)
{
	struct env_listener *s;

	LIST_FOREACH (s, &lp->listeners, entry) {
		if (s->kind == ADDR_LOCAL && !strcmp(s->addr + strlen("local:"), name))
			return s;
	}
	return NULL;
}

bool local_name_taken(struct loop *lp, const char *name)
{
	return find_listener(lp, name);
}

static void local_release(struct local_link *ll)
{
	LIST_REMOVE(ll, entry);
	frameq_fini(&ll->in);
	free(ll);
}

/* Ends a callback; false when the link is gone. */
static bool local_leave(struct local_link *ll)
{
	ll->busy = false;
	if (!ll->closed)
		return true;
	local_release(ll);
	return false;
}

static bool local_down(struct local_link *ll, int rc)
{
	ll->state = DOWN;
	ll->busy = true;
	ll->l.events->down(&ll->l, rc, ll->l.arg);
	return local_leave(ll);
}

static void local_run(struct env_task *t);

static struct local_link *local_new(struct loop *lp, const char *name)
{
	size_t len = strlen(name) + 1;
	struct local_link *ll = mem_zalloc(sizeof(*ll) + len);

	memcpy(ll->name, name, len);
	ll->l.ops = &local_ops;
	ll->lp = lp;
	ll->task.run = local_run;
	LIST_INSERT_HEAD(&lp->locals, ll, entry);
	return ll;
}

/* Finds the listener, makes the other end, tells both; false when @ll is gone. */
static bool local_meet(struct local_link *ll)
{
	struct env_listener *s = find_listener(ll->lp, ll->name);
	struct local_link *other;

	if (!s)
		return local_down(ll, -ECONNREFUSED);
	other = local_new(ll->lp, "");
	snprintf(other->l.peer, sizeof(other->l.peer), "local");
	other->state = UP;
	other->peer = ll;
	ll->peer = other;
	ll->state = UP;
	ll->busy = other->busy = true;
	s->cb(&other->l, s->arg); /* may close either end, or the listener */
	if (local_leave(other))
		assert(other->l.events);
	if (!ll->closed && ll->l.events->up)
		ll->l.events->up(&ll->l, ll->l.arg);
	return local_leave(ll);
}

static void local_run(struct env_task *t)
{
	struct local_link *ll = container_of(t, struct local_link, task);
	struct frame *f;

	if (ll->state == CONNECTING && !local_meet(ll))
		return;
	/* what the callbacks send comes behind what other tasks wait for */
	for (size_t n = ll->in.len; n; n--) {
		f = frameq_pop(&ll->in);
		ll->busy = true;
		ll->l.events->message(&ll->l, f, ll->l.arg);
		frame_unref(f);
		if (!local_leave(ll))
			return;
	}
	if (ll->in.len)
		env_post(&ll->lp->env, &ll->task);
	else if (ll->state == UP && !ll->peer)
		local_down(ll, -ECONNRESET);
}

int local_connect(struct loop *lp, const char *name, const struct link_events *ev, void *arg,
	struct link **out)
{
	struct local_link *ll = local_new(lp, name);

	ll->l.events = ev;
	ll->l.arg = arg;
	snprintf(ll->l.peer, sizeof(ll->l.peer), "local:%.200s", name);
	env_post(&lp->env, &ll->task);
	*out = &ll->l;
	return 0;
}

static int local_send(struct link *l, struct frame *f)
{
	struct local_link *ll = local_of(l), *peer = ll->peer;
	int rc = frame_check(f);

	if (!rc && !peer)
		rc = -ENOTCONN;
	if (rc) {
		frame_unref(f);
		return rc;
	}
	frameq_push(&peer->in, f);
	env_post(&ll->lp->env, &peer->task);
	return 0;
}

static void local_close(struct link *l)
{
	struct local_link *ll = local_of(l);

	assert(!ll->closed);
	env_unpost(&ll->lp->env, &ll->task);
	if (ll->peer) {
		ll->peer->peer = NULL;
		env_post(&ll->lp->env, &ll->peer->task);
		ll->peer = NULL;
	}
	if (ll->busy)
		ll->closed = true;
	else
		local_release(ll);
}

static size_t local_unsent(const struct link *l)
{
	const struct local_link *ll = local_of(l);

	return ll->peer ? ll->peer->in.bytes : 0;
}

static const struct link_ops local_ops = {
	.send = local_send,
	.close = local_close,
	.unsent = local_unsent,
};

void local_free_all(struct loop *lp)
{
	struct local_link *ll;

	while ((ll = LIST_FIRST(&lp->locals))) {
		env_unpost(&lp->env, &ll->task);
		local_release(ll);
	}
}
