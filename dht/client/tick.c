/*
 * The life of an entry with resend count N and period T, when nobody answers:
 *
 *   at 0        queued, sent if there is a link      tries_left N
 *   at T        stalled, sent again (1st resend)     tries_left N-1
 *   ...
 *   at N*T      sent again (Nth resend)              tries_left 0
 *   at (N+1)*T  destroyed
 *
 * Invariants: a deadline in the past is seen by the next tick(), once; tries_left is lowered by
 * stalls only, whether the request could be sent or not; ENTRY_FOREVER never changes.
 */
#include "dht/client/tick.h"

static uint64_t later(uint64_t now, uint64_t by)
{
	return now > UINT64_MAX - by ? UINT64_MAX : now + by;
}

static enum tick_what look_at(struct entry *e, uint64_t now)
{
	if (e->deadline > now) {
		e->backoff = 0;
		return TICK_RETRY;
	}
	/* From now, not from the deadline: a machine that slept has missed one, not a hundred. */
	e->deadline = later(now, e->period);
	e->backoff = 0;
	e->stalled = true;
	if (e->tries_left == 0)
		return TICK_EXPIRE;
	if (e->tries_left != ENTRY_FOREVER)
		e->tries_left--;
	return TICK_STALL;
}

size_t tick(struct table *t, uint64_t now, struct tick_action *out, size_t max)
{
	size_t n = 0;
	struct entry *e;

	while (n < max && (e = table_first(t)) && e->wake <= now) {
		out[n].id = e->id;
		out[n++].what = look_at(e, now);
		table_move(t, e);
	}
	return n;
}

void tick_free_send(struct table *t, struct entry *e, uint64_t now)
{
	uint64_t to = later(now, e->period), by = to > e->deadline ? to - e->deadline : 0;

	if (by > e->slack)
		by = e->slack;
	if (e->tries_left != ENTRY_FOREVER)
		e->slack -= by;
	e->deadline += by;
	e->backoff = 0;
	table_move(t, e);
}

void tick_backoff(struct table *t, struct entry *e, uint64_t until)
{
	e->backoff = until;
	table_move(t, e);
}
