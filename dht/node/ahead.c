/*
 * Requests of who has a newer map than we: they wait until we have it. It may say that a session is
 * over, and who sent them relies on that: nothing that the old one sent may take effect here after
 * what they see and do.
 *
 *   waits   the map came               it is looked at like one that comes now
 *           not within WAIT_MAX        RETRY: its client goes by what it knows then
 *           its link is gone           it is dropped: it will be sent again
 */
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/node/impl.h"

#define WAIT_MAX (500 * ENV_MS)

struct ahead {
	struct req r;
	uint64_t epoch, since;
	TAILQ_ENTRY(ahead) entry;
};

static void ahead_release(struct req *r)
{
	struct ahead *a = container_of(r, struct ahead, r);

	TAILQ_REMOVE(&r->n->ahead, a, entry);
	free(a);
}

static void ahead_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static const struct req_ops ahead_ops = {.run = ahead_run, .release = ahead_release};

static void again(struct ahead *a)
{
	struct conn *c = a->r.conn;
	struct frame *f = frame_ref(a->r.frame);

	req_end(&a->r);
	if (c && f->type == WIRE_PREPARE)
		route_prepare(c, f);
	else if (c)
		route_txn(c, f);
	frame_unref(f);
}

static void look(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, ahead_timer);
	uint64_t now = env_now(n->env), epoch = n->ring->epoch;
	struct ahead *a, *last = TAILQ_LAST(&n->ahead, aheads);
	bool more = last && !n->stopping;

	/* those that come meanwhile are behind the last one */
	while (more && (a = TAILQ_FIRST(&n->ahead))) {
		more = a != last;
		if (a->epoch <= epoch || !a->r.conn) {
			again(a);
		} else if (now - a->since >= WAIT_MAX) {
			req_status(&a->r, WIRE_RETRY);
		} else {
			TAILQ_REMOVE(&n->ahead, a, entry);
			TAILQ_INSERT_TAIL(&n->ahead, a, entry);
		}
	}
	a = TAILQ_FIRST(&n->ahead);
	if (a && !n->stopping)
		env_timer_set(n->env, &n->ahead_timer, a->since + WAIT_MAX);
}

bool ahead_wait(struct conn *c, struct frame *f, uint64_t epoch)
{
	struct node *n = c->n;
	struct ahead *a;

	if (!n->ring || epoch <= n->ring->epoch || n->stopping)
		return false;
	a = mem_zalloc(sizeof(*a));
	req_init(&a->r, n, c, f, &ahead_ops);
	a->epoch = epoch;
	a->since = env_now(n->env);
	TAILQ_INSERT_TAIL(&n->ahead, a, entry);
	n->ahead_timer.fire = look;
	if (!n->ahead_timer.armed)
		env_timer_set(n->env, &n->ahead_timer, a->since + WAIT_MAX);
	route_epoch(n, n->ring->keeper, epoch);
	return true;
}

void ahead_mapped(struct node *n)
{
	if (!TAILQ_EMPTY(&n->ahead))
		env_timer_set(n->env, &n->ahead_timer, env_now(n->env));
}
