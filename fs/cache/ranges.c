/*
 * Sets of byte ranges: a sorted array.
 */
#include "fs/cache/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

void ranges_init(struct ranges *r)
{
	r->v = r->own;
	r->n = 0;
	r->cap = RANGES_OWN;
	r->bytes = 0;
}

void ranges_fini(struct ranges *r)
{
	if (r->v != r->own)
		free(r->v);
	ranges_init(r);
}

void ranges_clear(struct ranges *r)
{
	r->n = 0;
	r->bytes = 0;
}

unsigned ranges_find(const struct ranges *r, uint32_t at)
{
	unsigned lo = 0, hi = r->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (r->v[mid].to > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

static void make_room(struct ranges *r)
{
	if (r->n < r->cap)
		return;
	if (r->v == r->own) {
		r->v = mem_grow(NULL, r->cap * 4, sizeof(*r->v));
		memcpy(r->v, r->own, sizeof(r->own));
	} else {
		r->v = mem_grow(r->v, r->cap * 4, sizeof(*r->v));
	}
	r->cap *= 4;
}

void ranges_add(struct ranges *r, uint32_t from, uint32_t to)
{
	/* the first that touches or lies behind: one that ends at @from is merged as well */
	unsigned i = from ? ranges_find(r, from - 1) : 0, k = i;

	if (from >= to)
		return;
	while (k < r->n && r->v[k].from <= to) {
		from = r->v[k].from < from ? r->v[k].from : from;
		to = r->v[k].to > to ? r->v[k].to : to;
		r->bytes -= r->v[k].to - r->v[k].from;
		k++;
	}
	if (k == i) {
		make_room(r);
		memmove(r->v + i + 1, r->v + i, (r->n - i) * sizeof(*r->v));
		r->n++;
	} else if (k > i + 1) {
		memmove(r->v + i + 1, r->v + k, (r->n - k) * sizeof(*r->v));
		r->n -= k - i - 1;
	}
	r->v[i] = (struct range){from, to};
	r->bytes += to - from;
}

void ranges_drop_below(struct ranges *r, uint32_t to)
{
	unsigned n = ranges_find(r, to);

	for (unsigned i = 0; i < n; i++)
		r->bytes -= r->v[i].to - r->v[i].from;
	memmove(r->v, r->v + n, (r->n - n) * sizeof(*r->v));
	r->n -= n;
	if (r->n && r->v[0].from < to) {
		r->bytes -= to - r->v[0].from;
		r->v[0].from = to;
	}
}

void ranges_drop_past(struct ranges *r, uint32_t from)
{
	unsigned n = ranges_find(r, from);

	r->bytes -= ranges_past(r, from);
	if (n < r->n && r->v[n].from < from)
		r->v[n++].to = from;
	r->n = n;
}

uint32_t ranges_past(const struct ranges *r, uint32_t at)
{
	uint32_t bytes = 0;

	for (unsigned i = ranges_find(r, at); i < r->n; i++)
		bytes += r->v[i].to - (r->v[i].from > at ? r->v[i].from : at);
	return bytes;
}

void ranges_move(struct ranges *to, struct ranges *from, unsigned max)
{
	unsigned n = from->n < max ? from->n : max;

	for (unsigned i = 0; i < n; i++) {
		ranges_add(to, from->v[i].from, from->v[i].to);
		from->bytes -= from->v[i].to - from->v[i].from;
	}
	memmove(from->v, from->v + n, (from->n - n) * sizeof(*from->v));
	from->n -= n;
}
