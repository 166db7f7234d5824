#include "dht/store/store_int.h"

bool compact_deserves(struct store *st, const struct seg *s)
{
	return s->sealed && s->size && s->live * 100 < s->size * st->cfg.compact_below;
}

void compact_init(struct store *st)
{
	(void)st;
}

void compact_kick(struct store *st)
{
	(void)st;
}

void compact_fini(struct store *st)
{
	(void)st;
}
