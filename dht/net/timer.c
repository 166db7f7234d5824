/*
 * Timers. Each is in exactly one place: the tree (armed), the list of due ones (armed, will fire
 * in this round) or the list of resting ones (not armed). The tree is ordered by deadline and then
 * by the order of setting. One uv_timer wakes the loop for the earliest; it counts milliseconds of
 * another clock, so it decides only when to look, never whether a timer is due.
 */
#include "dht/net/loop_impl.h"

#include <stdlib.h>

#include "dht/base/mem.h"

/* uv's clock stands still while the machine sleeps and ours does not: look at least this often. */
#define WAKE_MAX_MS 10000

enum timer_place { IN_TREE, IN_DUE, IN_RESTING };

struct loop_timer {
	struct env_timer *t;
	uint64_t deadline;
	uint64_t seq;
	enum timer_place place;
	union {
		RB_ENTRY(loop_timer) node;
		TAILQ_ENTRY(loop_timer) entry;
	};
};

static int timer_cmp(const struct loop_timer *a, const struct loop_timer *b)
{
	if (a->deadline != b->deadline)
		return a->deadline < b->deadline ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

RB_GENERATE_INTERNAL(timer_tree, loop_timer, node, timer_cmp, static __attribute__((unused)))

static void timer_take(struct loop *lp, struct loop_timer *lt)
{
	switch (lt->place) {
	case IN_TREE:
		RB_REMOVE(timer_tree, &lp->timers, lt);
		break;
	case IN_DUE:
		TAILQ_REMOVE(&lp->due, lt, entry);
		break;
	case IN_RESTING:
		TAILQ_REMOVE(&lp->resting, lt, entry);
		break;
	}
}

void timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	struct loop *lp = loop_of(e);
	struct loop_timer *lt = t->impl;

	if (lt) {
		timer_take(lp, lt);
	} else {
		lt = mem_zalloc(sizeof(*lt));
		lt->t = t;
		t->impl = lt;
	}
	lt->deadline = deadline;
	lt->seq = lp->timer_seq++;
	lt->place = IN_TREE;
	RB_INSERT(timer_tree, &lp->timers, lt);
	t->armed = true;
}

void timer_clear(struct env *e, struct env_timer *t)
{
	struct loop_timer *lt = t->impl;

	if (!lt)
		return;
	timer_take(loop_of(e), lt);
	free(lt);
	t->impl = NULL;
	t->armed = false;
}

void timer_run(struct loop *lp)
{
	struct loop_timer *lt = RB_MIN(timer_tree, &lp->timers);
	uint64_t now;

	/* what is due is set aside first: a timer that sets itself into the past waits a round */
	if (lt) {
		now = env_now(&lp->env);
		if (lt->deadline <= now && now - lt->deadline > lp->lag)
			lp->lag = now - lt->deadline;
		for (; lt && lt->deadline <= now; lt = RB_MIN(timer_tree, &lp->timers)) {
			RB_REMOVE(timer_tree, &lp->timers, lt);
			TAILQ_INSERT_TAIL(&lp->due, lt, entry);
			lt->place = IN_DUE;
		}
	}
	while (!lp->stopping && (lt = TAILQ_FIRST(&lp->due))) {
		TAILQ_REMOVE(&lp->due, lt, entry);
		TAILQ_INSERT_TAIL(&lp->resting, lt, entry);
		lt->place = IN_RESTING;
		lt->t->armed = false;
		lt->t->fire(lt->t);
	}
}

static void on_wake(uv_timer_t *wake)
{
	struct loop *lp = wake->data;

	lp->wake_at = UINT64_MAX; /* the round's own phase looks at what is due */
}

void timer_wake(struct loop *lp)
{
	struct loop_timer *lt = RB_MIN(timer_tree, &lp->timers);
	uint64_t now, ms = 0;

	if (!lt) {
		if (lp->wake_at != UINT64_MAX)
			uv_timer_stop(&lp->wake);
		lp->wake_at = UINT64_MAX;
		return;
	}
	if (lp->wake_at <= lt->deadline)
		return; /* looks early enough; a look too many costs less than setting it anew */
	now = env_now(&lp->env);
	if (lt->deadline > now) {
		ms = (lt->deadline - now) / ENV_MS;
		ms = ms < WAKE_MAX_MS ? ms + 1 : WAKE_MAX_MS;
	}
	uv_update_time(&lp->uv);
	uv_timer_start(&lp->wake, on_wake, ms, 0);
	lp->wake_at = lt->deadline;
}

void timer_free_all(struct loop *lp)
{
	struct loop_timer *lt;

	while ((lt = RB_MIN(timer_tree, &lp->timers))) {
		RB_REMOVE(timer_tree, &lp->timers, lt);
		free(lt);
	}
	while ((lt = TAILQ_FIRST(&lp->due))) {
		TAILQ_REMOVE(&lp->due, lt, entry);
		free(lt);
	}
	while ((lt = TAILQ_FIRST(&lp->resting))) {
		TAILQ_REMOVE(&lp->resting, lt, entry);
		free(lt);
	}
}
