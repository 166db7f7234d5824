/*
 * What was missed (not in memory) is brought in by a worker when somebody waits for it. The blocks
 * it read stay pinned for a while, so that whoever tries again finds them even when the cache is
 * tiny: until there are PINS_MAX, or the index is flushed.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/store/store_int.h"

#define STALL_RETRY (2 * ENV_MS)
#define PINS_MAX 128u

static bool same_miss(
	const struct miss *m, const void *from, size_t flen, const void *to, size_t tlen)
{
	return m->flen == flen && m->tlen == tlen && !memcmp(m->keys, from, flen) &&
	       (!tlen || !memcmp(m->keys + flen, to, tlen));
}

/* Takes one out of a list and frees it. */
static void forget(struct miss **list, unsigned *n, unsigned i)
{
	free(list[i]);
	--*n;
	memmove(list + i, list + i + 1, (*n - i) * sizeof(*list));
}

int wait_miss(struct store *st, const void *from, size_t flen, const void *to, size_t tlen)
{
	struct miss *m;

	for (unsigned i = 0; i < st->nfailed; i++) {
		if (same_miss(st->failed[i], from, flen, to, tlen)) {
			forget(st->failed, &st->nfailed, i);
			return -EIO;
		}
	}
	for (unsigned i = 0; i < st->nmisses; i++) {
		if (same_miss(st->misses[i], from, flen, to, tlen))
			return -EAGAIN;
	}
	/* nobody waited for the oldest, or it will be missed again */
	if (st->nmisses == MISS_MAX)
		forget(st->misses, &st->nmisses, 0);
	m = mem_zalloc(sizeof(*m) + flen + tlen);
	m->flen = flen;
	m->tlen = tlen;
	memcpy(m->keys, from, flen);
	if (tlen)
		memcpy(m->keys + flen, to, tlen);
	st->misses[st->nmisses++] = m;
	return -EAGAIN;
}

void wait_unpin(struct store *st)
{
	for (unsigned i = 0; i < st->npins; i++)
		st->ix->ops->unpin(st->ix, st->pins[i]);
	free(st->pins);
	st->pins = NULL;
	st->npins = 0;
}

struct fetch_work {
	struct work w;
	struct store *st;
	struct miss *misses[MISS_MAX];
	int rc[MISS_MAX];
	void *pins[MISS_MAX];
	unsigned n, npins;
};

static void fetch_run(struct work *w)
{
	struct fetch_work *f = container_of(w, struct fetch_work, w);
	struct store_index *ix = f->st->ix;

	for (unsigned i = 0; i < f->n; i++) {
		struct miss *m = f->misses[i];
		void *pin;

		f->rc[i] = ix->ops->fetch(ix, m->keys, m->flen, m->keys + m->flen, m->tlen, &pin);
		if (pin)
			f->pins[f->npins++] = pin;
	}
}

static void fetch_kick(struct store *st);

static void note_failed(struct store *st, struct miss *m)
{
	if (st->nfailed == MISS_MAX)
		forget(st->failed, &st->nfailed, 0);
	st->failed[st->nfailed++] = m;
}

/* Pins of a store that is gone went with it: it keeps the work it has under way, see wait_fini().
 */
static void fetch_done(struct work *w)
{
	struct fetch_work *f = container_of(w, struct fetch_work, w);
	struct store *st = w->owner;

	for (unsigned i = 0; i < f->n; i++) {
		if (st && f->rc[i])
			note_failed(st, f->misses[i]);
		else
			free(f->misses[i]);
	}
	if (st) {
		if (st->npins + f->npins > PINS_MAX)
			wait_unpin(st);
		st->pins = mem_grow(st->pins, st->npins + f->npins, sizeof(void *));
		memcpy(st->pins + st->npins, f->pins, f->npins * sizeof(void *));
		st->npins += f->npins;
		st->fetch = NULL;
		wait_wake(st);
	}
	free(f);
}

static void fetch_kick(struct store *st)
{
	struct fetch_work *f;

	if (st->fetch || !st->nmisses)
		return;
	f = mem_zalloc(sizeof(*f));
	f->st = st;
	f->n = st->nmisses;
	memcpy(f->misses, st->misses, f->n * sizeof(f->misses[0]));
	st->nmisses = 0;
	st->fetch = f;
	work_start(&f->w, st->gate, st, NULL, fetch_run, fetch_done);
}

static void run_wake(struct env_task *t)
{
	struct store *st = container_of(t, struct store, wake);
	struct gate *g = st->gate;
	struct wait_list list;
	struct store_wait *w;

	/* who waits again in ready() waits for the next time */
	TAILQ_INIT(&list);
	TAILQ_CONCAT(&list, &st->waits, entry);
	gate_hold(g);
	while (!g->closed && (w = TAILQ_FIRST(&list))) {
		TAILQ_REMOVE(&list, w, entry);
		w->ready(w);
	}
	gate_release(g);
}

void wait_wake(struct store *st)
{
	env_post(st->env, &st->wake);
}

static void stall_over(struct env_timer *t)
{
	struct store *st = container_of(t, struct store, stall);

	st->stalled = false;
	wait_wake(st);
}

void wait_stall(struct store *st)
{
	if (st->stalled)
		return;
	st->stalled = true;
	env_timer_set(st->env, &st->stall, env_now(st->env) + STALL_RETRY);
}

void store_wait(struct store *st, struct store_wait *w)
{
	TAILQ_INSERT_TAIL(&st->waits, w, entry);
	fetch_kick(st);
	if (!st->fetch && !st->stalled && !apply_held(st))
		wait_wake(st);
}

void wait_init(struct store *st)
{
	TAILQ_INIT(&st->waits);
	st->wake.run = run_wake;
	st->stall.fire = stall_over;
}

void wait_fini(struct store *st)
{
	env_unpost(st->env, &st->wake);
	env_timer_clear(st->env, &st->stall);
	if (st->fetch) {
		for (unsigned i = 0; i < st->fetch->npins; i++)
			st->ix->ops->unpin(st->ix, st->fetch->pins[i]);
		st->fetch->npins = 0;
	}
	wait_unpin(st);
	while (st->nmisses)
		forget(st->misses, &st->nmisses, st->nmisses - 1);
	while (st->nfailed)
		forget(st->failed, &st->nfailed, st->nfailed - 1);
}
