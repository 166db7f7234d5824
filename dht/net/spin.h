/*
 * spin: whether the loop polls without waiting, for a moment.
 *
 * Who was answered asks again within microseconds, while falling asleep and being woken costs tens
 * of them, more on a virtual machine. So after a watched descriptor was ready polling does not wait
 * for SPIN_TIME - unless somebody else needs the core: then time spent so is time that the
 * scheduler makes us wait when there is work, and it is better to be asleep and be woken. That
 * shows as a gap (between two looks at the clock the core was another's), or in that spinning
 * mostly was for nothing. Then it rests, longer each time.
 */
#ifndef ORBIT_NET_SPIN_H
#define ORBIT_NET_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_TIME (100 * UINT64_C(1000)) /* ns */
#define SPIN_GAP (500 * UINT64_C(1000))
#define SPIN_SCORE 8 /* spins for nothing, more than others, until it rests */
#define SPIN_REST_MIN (2 * UINT64_C(1000000))
#define SPIN_REST_MAX (1000 * UINT64_C(1000000))

struct spin {
	bool on, hit;
	unsigned lost; /* spins for nothing, less the others */
	uint64_t until, looked;
	uint64_t rest, rest_until; /* rest: how long the last one was */
};

/* There was something to do, and now there is not: is it worth while to spin? */
bool spin_begin(struct spin *s, uint64_t now);

/* Something came; if it spins, that was not for nothing. */
static inline void spin_hit(struct spin *s)
{
	s->hit = true;
}

/* It spins: is it to go on? */
bool spin_goes_on(struct spin *s, uint64_t now);

#endif
