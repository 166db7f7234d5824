/*
 * Flushing the index. Only the store does, in this order, so that the index on disk never says more
 * than the log on disk:
 *
 *   IDLE -> PRESYNC  the log is synced while applies go on: the bulk, in rounds until the rest is
 *                    small; much more than a round takes is refused with -EAGAIN
 *        -> HOLD     applies are refused with -EAGAIN; the queue drains, the rest is synced
 *        -> SWITCH   log position and segment table are put; the index begins its flush
 *        -> WAIT     applies go on; a worker waits until the flush is done
 *        -> REMOVE   segments in which nothing was live at SWITCH are removed
 *        -> IDLE
 *
 * The segment table (start, size and live bytes of each) is exact as of SWITCH, since no apply
 * comes in between; replay goes on counting from there.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define LOG_PER_FLUSH 8u            /* segments of log between flushes, at most */
#define GARBAGE_DELAY (2 * ENV_SEC) /* after which garbage alone is worth a flush */
#define RETRY (2 * ENV_MS)
#define ROUND_SMALL (8u << 20) /* bytes that may be left for the last sync */
#define ROUNDS_MAX 5u

static void flush_go(struct store *st);

int flush_put(struct store *st, uint64_t pos, bool wait)
{
	struct batch *b = &st->batch;
	uint64_t *end, *table;
	size_t n = 0;
	int rc;

	batch_reset(b);
	end = batch_alloc(b, 8);
	*end = htole64(pos);
	table = batch_alloc(b, st->nsegs * 24 + 8);
	for (size_t i = 0; i < st->nsegs && st->segs[i]->start < pos; i++) {
		const struct seg *s = st->segs[i];
		uint64_t size = pos - s->start < s->size ? pos - s->start : s->size;

		if (!size)
			continue;
		table[n++] = htole64(s->start);
		table[n++] = htole64(size);
		table[n++] = htole64(s->live);
	}
	batch_put(b, FLUSH_KEY_POS, FLUSH_KEY_LEN(FLUSH_KEY_POS), end, 8);
	batch_put(b, FLUSH_KEY_SEGS, FLUSH_KEY_LEN(FLUSH_KEY_SEGS), table, n * 8);
	rc = history_fill(st);
	if (!rc)
		rc = index_put(st->ix, b, wait);
	if (!rc)
		history_filled(st);
	return rc;
}

struct flush_work {
	struct work w;
	struct store_index *ix;
	struct disk *disk;
	int rc;
	size_t n;
	uint64_t remove[];
};

/* The store may be gone afterwards. */
static void close_noted(struct store *st, void *arg, int rc)
{
	void (*done)(void *arg, int rc) = st->close_done;

	(void)arg;
	st->close_done = NULL;
	if (done)
		done(st->close_arg, st->broken ? -EIO : rc);
}

/* The last of it: how it stands. What was noted before goes before. */
static void close_note(struct store *st)
{
	meta_start(st, !st->broken, close_noted, NULL);
}

static void flush_failed(struct store *st, int rc)
{
	st->flush = FLUSH_IDLE;
	st->held = false;
	journal_break(st, rc, "the index could not be flushed");
	if (st->close_done)
		close_note(st);
}

static struct flush_work *new_work(struct store *st, size_t n)
{
	struct flush_work *f = mem_zalloc(sizeof(*f) + n * sizeof(f->remove[0]));

	f->ix = st->ix;
	f->disk = st->disk;
	return f;
}

/* One flush is through. */
static void flush_over(struct store *st)
{
	bool again = st->flush_again;

	st->flush = FLUSH_IDLE;
	st->flush_again = false;
	if (st->close_done && !again) {
		close_note(st);
		return;
	}
	if (again)
		flush_go(st);
	else
		compact_kick(st);
	wait_wake(st);
}

static void remove_run(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);
	char name[SEG_NAME];

	for (size_t i = 0; i < f->n && !f->rc; i++)
		f->rc = f->disk->ops->remove(f->disk, seg_name(f->remove[i], name));
}

static void remove_done(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);
	struct store *st = w->owner;

	if (st) {
		/* what stays behind is removed when the store is opened next */
		if (f->rc)
			log_warn("mod=store op=remove rc=%s msg=\"cannot remove a segment\"",
				log_errno(f->rc));
		space_dropped(st);
		flush_over(st);
	}
	free(f);
}

static void remove_dead(struct store *st)
{
	struct flush_work *f = new_work(st, st->nsegs);

	st->flush = FLUSH_REMOVE;
	for (size_t i = 0; i < st->nsegs;) {
		struct seg *s = st->segs[i];

		/* somebody is about to open it: another flush will do */
		if (!s->dead || (s->pins && !s->file)) {
			i++;
			continue;
		}
		f->remove[f->n++] = s->start;
		tail_removed(st, s->start + s->size);
		seg_drop(st, s);
	}
	if (!f->n) {
		free(f);
		if (st->drop == DROP_FLUSH)
			space_dropped(st);
		flush_over(st);
		return;
	}
	work_start(&f->w, st->gate, st, &st->flush, remove_run, remove_done);
}

static void holed_noted(struct store *st, void *arg, int rc)
{
	(void)arg;
	if (rc) {
		st->holed = false;
		st->drop = DROP_IDLE;
		flush_over(st);
	} else {
		remove_dead(st);
	}
}

/* Before the first segment goes it is noted that the index cannot be made anew from the log. */
static void remove_first(struct store *st)
{
	bool any = false;

	for (size_t i = 0; i < st->nsegs; i++)
		any |= st->segs[i]->dead;
	if (!any || st->holed) {
		remove_dead(st);
		return;
	}
	st->flush = FLUSH_REMOVE;
	st->holed = true;
	meta_start(st, false, holed_noted, NULL);
}

static void wait_run(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);

	f->rc = f->ix->ops->flush_wait(f->ix);
}

static void wait_done(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);
	struct store *st = w->owner;
	int rc = f->rc;

	free(f);
	if (!st)
		return;
	if (rc) {
		flush_failed(st, rc);
		return;
	}
	st->flushed = st->flush_pos;
	space_refresh(st);
	remove_first(st);
}

static void switch_run(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);

	f->rc = f->ix->ops->flush_begin(f->ix);
}

static void switch_done(struct work *w)
{
	struct flush_work *f = container_of(w, struct flush_work, w);
	struct store *st = w->owner;

	if (!st || f->rc) {
		if (st)
			flush_failed(st, f->rc);
		free(f);
		return;
	}
	st->flush = FLUSH_WAIT;
	st->held = false;
	st->mem = 0;
	st->since_flush = 0;
	wait_wake(st);
	work_start(&f->w, st->gate, st, &st->flush, wait_run, wait_done);
}

static void flush_switch(struct store *st)
{
	struct flush_work *f;
	bool any = false;
	int rc;

	rc = flush_put(st, st->tail, false);
	if (rc == -EAGAIN) {
		env_timer_set(st->env, &st->flush_timer, env_now(st->env) + RETRY);
		return;
	}
	if (rc) {
		flush_failed(st, rc);
		return;
	}
	st->flush_pos = st->tail;
	tail_keep(st);
	st->kept = 0;
	for (size_t i = 0; i < st->nsegs; i++) {
		struct seg *s = st->segs[i];

		/* the last stays: by it recovery sees that the log is as long as the index says */
		s->dead = s->sealed && !s->live && s->start + s->size < st->tail;
		if (s->dead && tail_keeps(st, s)) {
			st->kept += s->size;
			s->dead = false;
		}
		any |= s->dead;
	}
	if (any || st->drop == DROP_WANTED)
		st->drop = DROP_FLUSH;
	/* pins hold what the flush makes superfluous */
	wait_unpin(st);
	f = new_work(st, 0);
	work_start(&f->w, st->gate, st, &st->flush, switch_run, switch_done);
}

static void synced(struct store_sync *s, int rc)
{
	struct store *st = container_of(s, struct store, flush_sync);

	if (rc) {
		flush_failed(st, rc);
	} else if (st->flush == FLUSH_PRESYNC && st->round_bytes > ROUND_SMALL &&
		   ++st->round < ROUNDS_MAX) {
		st->round_bytes = 0;
		store_sync(st, &st->flush_sync);
		wait_wake(st);
	} else if (st->flush == FLUSH_PRESYNC) {
		st->flush = FLUSH_HOLD;
		st->held = true;
		store_sync(st, &st->flush_sync);
	} else {
		st->flush = FLUSH_SWITCH;
		flush_switch(st);
	}
}

static void timer_fired(struct env_timer *t)
{
	struct store *st = container_of(t, struct store, flush_timer);

	if (st->flush == FLUSH_SWITCH)
		flush_switch(st);
	else if (st->flush == FLUSH_IDLE)
		flush_want(st);
}

static void flush_go(struct store *st)
{
	st->flush = FLUSH_PRESYNC;
	st->round = 0;
	st->round_bytes = 0;
	env_timer_clear(st->env, &st->flush_timer);
	store_sync(st, &st->flush_sync);
}

void flush_want(struct store *st)
{
	if (st->broken)
		return;
	if (st->flush == FLUSH_IDLE)
		flush_go(st);
	else
		st->flush_again = true;
}

void flush_maybe(struct store *st)
{
	if (st->flush == FLUSH_IDLE &&
		(st->mem >= st->cfg.index_buffer / 2 ||
			(st->short_of_room && st->mem >= st->reserve / 8) ||
			st->since_flush >= LOG_PER_FLUSH * st->cfg.segment_size))
		flush_want(st);
}

void flush_garbage(struct store *st)
{
	if (st->flush != FLUSH_IDLE || st->flush_timer.armed || st->broken)
		return;
	env_timer_set(st->env, &st->flush_timer, env_now(st->env) + GARBAGE_DELAY);
}

void flush_init(struct store *st)
{
	st->flush_timer.fire = timer_fired;
	st->flush_sync.done = synced;
}

void flush_fini(struct store *st)
{
	env_timer_clear(st->env, &st->flush_timer);
}

void store_close(struct store *st, void (*done)(void *arg, int rc), void *arg)
{
	st->closing = true;
	st->close_done = done;
	st->close_arg = arg;
	if (st->broken) {
		close_note(st); /* nothing can be written: the next start finds a crash */
		return;
	}
	flush_want(st);
}
