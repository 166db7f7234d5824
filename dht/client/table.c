#include "dht/client/table.h"

#include <assert.h>
#include <string.h>

static int order(const struct entry *a, const struct entry *b)
{
	if (a->wake != b->wake)
		return a->wake < b->wake ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_GENERATE_INTERNAL(entry_tree, entry, by_wake, order, static __attribute__((unused)))

void table_init(struct table *t)
{
	t->by_id = NULL;
	RB_INIT(&t->by_wake);
	t->n = 0;
}

void table_fini(struct table *t)
{
	assert(t->n == 0);
	(void)t;
}

static uint64_t wake_of(const struct entry *e)
{
	return e->backoff && e->backoff < e->deadline ? e->backoff : e->deadline;
}

static uint64_t later(uint64_t now, uint64_t by)
{
	return now > UINT64_MAX - by ? UINT64_MAX : now + by;
}

void entry_begin(struct entry *e, uint64_t id, uint64_t now, uint64_t period, unsigned tries)
{
	e->id = id;
	e->period = period;
	e->deadline = later(now, period);
	e->backoff = 0;
	e->slack = tries == ENTRY_FOREVER ? UINT64_MAX : period;
	e->touched = now;
	e->tries_left = tries;
	e->sendings = 0;
	e->stalled = false;
	e->reason = "";
}

void table_add(struct table *t, struct entry *e)
{
	assert(!e->listed);
	e->wake = wake_of(e);
	HASH_ADD(hh, t->by_id, id, sizeof(e->id), e);
	RB_INSERT(entry_tree, &t->by_wake, e);
	e->listed = true;
	t->n++;
}

void table_del(struct table *t, struct entry *e)
{
	if (!e->listed)
		return;
	HASH_DELETE(hh, t->by_id, e);
	RB_REMOVE(entry_tree, &t->by_wake, e);
	e->listed = false;
	t->n--;
}

struct entry *table_find(const struct table *t, uint64_t id)
{
	struct entry *e;

	HASH_FIND(hh, t->by_id, &id, sizeof(id), e);
	return e;
}

void table_move(struct table *t, struct entry *e)
{
	uint64_t wake = wake_of(e);

	if (!e->listed || wake == e->wake)
		return;
	RB_REMOVE(entry_tree, &t->by_wake, e);
	e->wake = wake;
	RB_INSERT(entry_tree, &t->by_wake, e);
}

struct entry *table_first(const struct table *t)
{
	/* RB_MIN only reads, but is not declared so. */
	return RB_MIN(entry_tree, (struct entry_tree *)&t->by_wake);
}

uint64_t table_next(const struct table *t)
{
	const struct entry *e = table_first(t);

	return e ? e->wake : UINT64_MAX;
}
