#include "dht/net/spin.h"

static void take_rest(struct spin *s, uint64_t now)
{
	/* all was well for long: this is another trouble */
	if (now > s->rest_until + 8 * s->rest)
		s->rest = 0;
	s->rest = s->rest ? 2 * s->rest : SPIN_REST_MIN;
	if (s->rest > SPIN_REST_MAX)
		s->rest = SPIN_REST_MAX;
	s->rest_until = now + s->rest;
	s->lost = 0;
}

static void count(struct spin *s, uint64_t now)
{
	if (s->hit && s->lost)
		s->lost--;
	else if (!s->hit && ++s->lost == SPIN_SCORE)
		take_rest(s, now);
}

bool spin_begin(struct spin *s, uint64_t now)
{
	if (s->on)
		count(s, now);
	s->on = now >= s->rest_until;
	s->hit = false;
	s->until = now + SPIN_TIME;
	s->looked = now;
	return s->on;
}

bool spin_goes_on(struct spin *s, uint64_t now)
{
	bool gap = now > s->looked + SPIN_GAP;

	s->looked = now;
	if (!gap && now < s->until)
		return true;
	s->on = false;
	if (gap)
		take_rest(s, now);
	else
		count(s, now);
	return false;
}
