#include "fs/ops/lock_list.h"

#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

void lock_list_fini(struct lock_list *l)
{
	free(l->r);
	memset(l, 0, sizeof(*l));
}

static void room(struct lock_list *l, unsigned n)
{
	if (n <= l->cap)
		return;
	l->cap = n + 4;
	l->r = mem_grow(l->r, l->cap, sizeof(*l->r));
}

void lock_list_copy(struct lock_list *to, const struct lock_list *from)
{
	room(to, from->n);
	if (from->n)
		memcpy(to->r, from->r, from->n * sizeof(*from->r));
	to->n = from->n;
}

/* Adds behind the last one, or to it. */
static void add(struct lock_list *l, struct layout_lock_range r)
{
	struct layout_lock_range *last = l->n ? &l->r[l->n - 1] : NULL;

	if (last && last->write == r.write && last->last + 1 == r.first)
		last->last = r.last;
	else
		l->r[l->n++] = r;
}

static bool alike(const struct lock_list *a, const struct lock_list *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++) {
		const struct layout_lock_range *x = &a->r[i], *y = &b->r[i];

		if (x->first != y->first || x->last != y->last || x->write != y->write)
			return false;
	}
	return true;
}

bool lock_list_set(
	struct lock_list *l, enum lock_mode mode, uint64_t first, uint64_t last, uint32_t pid)
{
	const struct layout_lock_range want = {
		.first = first, .last = last, .pid = pid, .write = mode == LOCK_TO_WRITE};
	struct lock_list to = {0};
	bool placed = mode == LOCK_NOT, changed;

	room(&to, l->n + 2);
	for (unsigned i = 0; i < l->n; i++) {
		struct layout_lock_range r = l->r[i], left = r;

		if (r.first < first) {
			left.last = r.last < first ? r.last : first - 1;
			add(&to, left);
		}
		if (r.last > last) {
			if (!placed)
				add(&to, want);
			placed = true;
			r.first = r.first > last ? r.first : last + 1;
			add(&to, r);
		}
	}
	if (!placed)
		add(&to, want);
	changed = !alike(l, &to);
	if (changed) {
		free(l->r);
		*l = to;
	} else {
		free(to.r);
	}
	return changed;
}

const struct layout_lock_range *lock_list_conflict(
	const struct lock_list *l, enum lock_mode mode, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < l->n; i++) {
		const struct layout_lock_range *r = &l->r[i];

		if (r->first <= last && r->last >= first && (r->write || mode == LOCK_TO_WRITE))
			return r;
	}
	return NULL;
}
