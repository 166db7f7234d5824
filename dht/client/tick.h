/*
 * tick: what time does to the requests in flight.
 *
 * A function of the table and the monotonic time alone: it does no I/O, reads no clock and calls
 * nobody back. What it decided is in the entries and in the actions that it returns; the caller
 * carries those out (by number: carrying out one may end another).
 */
#ifndef ORBIT_CLIENT_TICK_H
#define ORBIT_CLIENT_TICK_H

#include "dht/client/table.h"

enum tick_what {
	TICK_RETRY,  /* its back-off is over: send it */
	TICK_STALL,  /* silent for its period, a try is spent: ping, look the route up, send it */
	TICK_EXPIRE, /* no try was left: destroy it */
};

struct tick_action {
	uint64_t id;
	enum tick_what what;
};

/* Looks at all entries due at @now, at most @max of them: returns how many actions it wrote. @max
 * of them: call it again. */
size_t tick(struct table *t, uint64_t now, struct tick_action *out, size_t max);

/* @e was sent at @now without costing a try (its link came back, its route changed): its deadline
 * moves; for a request that may give up by one period in its whole life, however often the link
 * comes and goes. */
void tick_free_send(struct table *t, struct entry *e, uint64_t now);

/* @e is not to be sent before @until. Its deadline stays. */
void tick_backoff(struct table *t, struct entry *e, uint64_t until);

#endif
