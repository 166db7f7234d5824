/*
 * ranges: a set of byte ranges within one unit of a file (at most 1 MiB), sorted, never adjacent.
 *
 * The first few need no memory of their own, and sequential writes keep it at one. Private to
 * fs/cache.
 */
#ifndef ORBIT_CACHE_RANGES_H
#define ORBIT_CACHE_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#define RANGES_OWN 2

struct range {
	uint32_t from, to;
};

struct ranges {
	struct range *v; /* own, or on the heap */
	unsigned n, cap;
	uint32_t bytes; /* in all of them */
	struct range own[RANGES_OWN];
};

void ranges_init(struct ranges *r);
void ranges_fini(struct ranges *r);

void ranges_add(struct ranges *r, uint32_t from, uint32_t to);
void ranges_clear(struct ranges *r);
/* Takes out what lies below @to. */
void ranges_drop_below(struct ranges *r, uint32_t to);
/* Takes out what lies at or past @from. */
void ranges_drop_past(struct ranges *r, uint32_t from);
/* Moves the first @max ranges of @from into @to. */
void ranges_move(struct ranges *to, struct ranges *from, unsigned max);

/* Index of the first range that ends behind @at; r->n when there is none. */
unsigned ranges_find(const struct ranges *r, uint32_t at);

/* Bytes at or past @at. */
uint32_t ranges_past(const struct ranges *r, uint32_t at);

static inline bool ranges_empty(const struct ranges *r)
{
	return r->n == 0;
}

/* Does any byte of [from, to) belong to it? */
static inline bool ranges_meet(const struct ranges *r, uint32_t from, uint32_t to)
{
	unsigned i = ranges_find(r, from);

	return i < r->n && r->v[i].from < to;
}

#endif
