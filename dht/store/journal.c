/*
 * The log: where records go, how they are written and synced.
 *
 * A record gets its position when it is applied. It is written at once, on the loop, when it is
 * small, nothing is queued before it, its segment's file is there and not much is dirty; or else it
 * is queued, and workers of one lane write what is queued in order. So `written` only grows, and
 * done() comes in order. Syncs have a lane of their own: one at a time, for all who wait.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define GROUP_MAX (16u << 20) /* bytes written by one job, unless one record is larger */
#define INLINE_PIECES 60u

static const uint8_t zeros[RECORD_ALIGN];

/* ---- completion ---- */

static void finish(struct store *st, struct store_apply *a, int rc)
{
	a->impl = (void *)(intptr_t)rc;
	TAILQ_INSERT_TAIL(&st->finished, a, entry);
	env_post(st->env, &st->finish);
}

static void finish_sync(struct store *st, struct store_sync *s, int rc)
{
	s->impl = (void *)(intptr_t)rc;
	TAILQ_INSERT_TAIL(&st->synced_list, s, entry);
	env_post(st->env, &st->finish);
}

static void run_finish(struct env_task *t)
{
	struct store *st = container_of(t, struct store, finish);
	struct gate *g = st->gate;
	struct store_apply *a;
	struct store_sync *s;

	gate_hold(g);
	while (!g->closed && (a = TAILQ_FIRST(&st->finished))) {
		TAILQ_REMOVE(&st->finished, a, entry);
		a->done(a, (int)(intptr_t)a->impl);
	}
	while (!g->closed && (s = TAILQ_FIRST(&st->synced_list))) {
		TAILQ_REMOVE(&st->synced_list, s, entry);
		s->done(s, (int)(intptr_t)s->impl);
	}
	gate_release(g);
}

static void fail_queue(struct store *st, int rc)
{
	struct pending *p;

	while ((p = TAILQ_FIRST(&st->queue))) {
		TAILQ_REMOVE(&st->queue, p, entry);
		st->queued -= record_len(p->r.meta_len, p->r.data_len);
		finish(st, p->a, rc);
		rc = -EROFS;
		free(p);
	}
}

void journal_break(struct store *st, int rc, const char *what)
{
	struct store_sync *s;
	bool first = !st->broken;

	if (first) {
		log_error("mod=store op=write rc=%s msg=\"%s: nothing more is written\"",
			log_errno(rc), what);
		st->broken = rc;
		st->info.whole = false;
		/* what was acknowledged may be lost although the kernel stays the same: the next
		 * start must know */
		meta_start(st, false, NULL, NULL);
	}
	/* done() comes in order: what is being written goes before (write_done()) */
	if (TAILQ_EMPTY(&st->writing))
		fail_queue(st, first ? -EIO : -EROFS);
	while ((s = TAILQ_FIRST(&st->syncs))) {
		TAILQ_REMOVE(&st->syncs, s, entry);
		finish_sync(st, s, -EIO);
	}
	wait_wake(st);
}

/* ---- writing back ---- */

struct back_work {
	struct work w;
	struct seg *seg;
	uint64_t off, len;
};

static void back_run(struct work *w)
{
	struct back_work *b = container_of(w, struct back_work, w);
	struct disk_file *f = b->seg->file;

	f->disk->ops->writeback(f, b->off, b->len);
}

static void write_back(struct store *st);

static void back_done(struct work *w)
{
	struct back_work *b = container_of(w, struct back_work, w);
	struct store *st = w->owner;

	if (st) {
		st->backing = 0;
		seg_unpin(st, b->seg);
		write_back(st);
	}
	free(b);
}

/* Starts writing back early and in order, so that the kernel never throttles the loop. */
static void write_back(struct store *st)
{
	struct back_work *b;
	struct seg *s;
	uint64_t end;

	if (st->backing || st->unstarted < WRITEBACK || st->broken)
		return;
	s = seg_after(st, st->backed);
	if (s->start > st->backed)
		st->backed = s->start;
	end = s->start + s->size < st->written ? s->start + s->size : st->written;
	b = mem_zalloc(sizeof(*b));
	b->seg = s;
	b->off = st->backed - s->start;
	b->len = end - st->backed;
	st->backed = end;
	st->unstarted -= b->len;
	st->backing = b->len;
	seg_pin(s);
	work_start(&b->w, st->gate, st, NULL, back_run, back_done);
}

/* What is synced needs no writing back, and its segment's file may be closed. */
static void synced_to(struct store *st, uint64_t pos)
{
	st->synced = pos;
	if (st->backed >= pos)
		return;
	st->backed = pos;
	st->unstarted = 0;
	for (size_t i = st->nsegs; i-- && st->segs[i]->start + st->segs[i]->size > pos;) {
		uint64_t from = st->segs[i]->start, end = from + st->segs[i]->size;

		if (from < pos)
			from = pos;
		if (end > st->written)
			end = st->written;
		if (end > from)
			st->unstarted += end - from;
	}
}

/* ---- syncing ---- */

struct sync_work {
	struct work w;
	uint64_t target;
	size_t n;
	int rc;
	struct sync_seg {
		struct seg *seg;
		bool trim;
	} v[];
};

static void sync_run(struct work *w)
{
	struct sync_work *sw = container_of(w, struct sync_work, w);

	for (size_t i = 0; i < sw->n && !sw->rc; i++) {
		struct seg *s = sw->v[i].seg;

		if (sw->v[i].trim)
			sw->rc = disk_truncate(s->file, s->size);
		if (!sw->rc)
			sw->rc = disk_sync(s->file);
	}
}

static void sync_kick(struct store *st);

static void sync_done(struct work *w)
{
	struct sync_work *sw = container_of(w, struct sync_work, w);
	struct store *st = w->owner;

	if (st) {
		for (size_t i = 0; i < sw->n; i++) {
			sw->v[i].seg->trimmed |= sw->v[i].trim;
			seg_unpin(st, sw->v[i].seg);
		}
		st->syncing = false;
		if (sw->rc) {
			/* what the kernel could not write it may have forgotten: a second
			 * fdatasync would say yes to nothing */
			journal_break(st, sw->rc, "the log could not be synced");
		} else {
			synced_to(st, sw->target);
			sync_kick(st);
		}
	}
	free(sw);
}

/* Completes who need not wait any more and starts a sync for who does. */
static void sync_kick(struct store *st)
{
	struct store_sync *s;
	struct sync_work *sw;
	size_t first;

	while ((s = TAILQ_FIRST(&st->syncs)) && (uintptr_t)s->impl <= st->synced) {
		TAILQ_REMOVE(&st->syncs, s, entry);
		finish_sync(st, s, 0);
	}
	if (!s || st->syncing || st->written == st->synced || st->broken)
		return;
	/* the last one that needs nothing, nor do those before it */
	for (first = st->nsegs; first; first--) {
		const struct seg *g = st->segs[first - 1];

		if (g->start + g->size <= st->synced && (!g->sealed || g->trimmed))
			break;
	}
	sw = mem_zalloc(sizeof(*sw) + (st->nsegs - first) * sizeof(sw->v[0]));
	sw->target = st->written;
	for (size_t i = first; i < st->nsegs && st->segs[i]->start < st->written; i++) {
		struct seg *g = st->segs[i];
		bool trim = g->sealed && !g->trimmed && g->start + g->size <= st->written;

		sw->v[sw->n].seg = g;
		sw->v[sw->n++].trim = trim;
		seg_pin(g);
	}
	st->syncing = true;
	work_start(&sw->w, st->gate, st, &st->syncs, sync_run, sync_done);
}

void store_sync(struct store *st, struct store_sync *s)
{
	if (st->broken) {
		finish_sync(st, s, -EIO);
		return;
	}
	s->impl = (void *)(uintptr_t)st->tail;
	TAILQ_INSERT_TAIL(&st->syncs, s, entry);
	sync_kick(st);
}

/* ---- writing ---- */

/* Pieces of one record; returns how many. */
static size_t pieces(
	const struct record *r, const uint8_t *head, const struct effect *e, struct iovec *v)
{
	size_t n = 0, len = RECORD_HEAD + r->meta_len + r->data_len;

	v[n++] = (struct iovec){.iov_base = (void *)head, .iov_len = RECORD_HEAD};
	if (r->meta_len)
		v[n++] = (struct iovec){.iov_base = e->meta.data, .iov_len = r->meta_len};
	if (e->ndata)
		memcpy(v + n, e->data, e->ndata * sizeof(*v));
	n += e->ndata;
	if (len % RECORD_ALIGN)
		v[n++] = (struct iovec){
			.iov_base = (void *)zeros, .iov_len = RECORD_ALIGN - len % RECORD_ALIGN};
	return n;
}

static void wrote(struct store *st, uint64_t end, uint64_t len)
{
	st->written = end;
	st->unstarted += len;
}

struct write_work {
	struct work w;
	struct seg *seg;
	struct pending_list list;
	uint64_t bytes;
	int rc;
};

static void write_run(struct work *w)
{
	struct write_work *ww = container_of(w, struct write_work, w);
	size_t n = 0, room = 0;
	struct iovec *v;
	struct pending *p;

	TAILQ_FOREACH (p, &ww->list, entry)
		room += p->a->effect->ndata + 3;
	v = mem_grow(NULL, room, sizeof(*v));
	TAILQ_FOREACH (p, &ww->list, entry)
		n += pieces(&p->r, p->head, p->a->effect, v + n);
	ww->rc = disk_write(
		ww->seg->file, TAILQ_FIRST(&ww->list)->r.pos - ww->seg->start, v, (int)n);
	free(v);
}

static void write_done(struct work *w)
{
	struct write_work *ww = container_of(w, struct write_work, w);
	struct store *st = w->owner;
	int rc = ww->rc ? -EIO : 0;
	struct pending *p;

	TAILQ_INIT(&ww->list);
	if (!st) {
		free(ww);
		return;
	}
	while ((p = TAILQ_FIRST(&st->writing))) {
		TAILQ_REMOVE(&st->writing, p, entry);
		st->queued -= record_len(p->r.meta_len, p->r.data_len);
		if (!rc)
			wrote(st, record_end(&p->r), record_len(p->r.meta_len, p->r.data_len));
		finish(st, p->a, st->broken ? -EROFS : rc);
		free(p);
	}
	seg_unpin(st, ww->seg);
	if (ww->rc) {
		journal_break(st, ww->rc, "the log could not be written");
	} else if (st->broken) {
		fail_queue(st, -EROFS);
	} else {
		journal_pump(st);
		write_back(st);
		sync_kick(st);
		if (!TAILQ_EMPTY(&st->waits))
			wait_wake(st);
	}
	free(ww);
}

/* Hands what is queued, as far as one segment goes, to a worker. */
void journal_pump(struct store *st)
{
	struct pending *p = TAILQ_FIRST(&st->queue), *next;
	struct write_work *ww;

	if (!p || !TAILQ_EMPTY(&st->writing) || !p->seg->file || st->broken)
		return;
	ww = mem_zalloc(sizeof(*ww));
	ww->seg = p->seg;
	seg_pin(p->seg);
	for (; p && p->seg == ww->seg; p = next) {
		uint64_t len = record_len(p->r.meta_len, p->r.data_len);

		if (ww->bytes && ww->bytes + len > GROUP_MAX)
			break;
		ww->bytes += len;
		next = TAILQ_NEXT(p, entry);
		TAILQ_REMOVE(&st->queue, p, entry);
		TAILQ_INSERT_TAIL(&st->writing, p, entry);
	}
	ww->list = st->writing;
	work_start(&ww->w, st->gate, st, &st->queue, write_run, write_done);
}

static bool may_inline(const struct store *st, const struct effect *e, uint64_t len)
{
	return len < INLINE_MAX && e->ndata <= INLINE_PIECES && TAILQ_EMPTY(&st->queue) &&
	       TAILQ_EMPTY(&st->writing) && st->cur->file &&
	       st->unstarted + st->backing < DIRTY_MAX;
}

void journal_append(struct store *st, struct store_apply *a, enum record_kind kind)
{
	const struct effect *e = a->effect;
	uint64_t len = record_len(e->meta.len, e->data_len);
	struct record r = {.kind = kind,
		.meta_len = (uint32_t)e->meta.len,
		.data_len = (uint32_t)e->data_len,
		.pos = st->cur->start + st->cur->size,
		.prev = st->tail,
		.synced = st->synced};
	struct iovec v[INLINE_PIECES + 3];
	uint8_t head[RECORD_HEAD];
	struct pending *p;
	int rc;

	st->cur->size += len;
	st->log_bytes += len;
	st->tail = a->position = record_end(&r);
	record_seal(&r, e->meta.data, head);
	if (may_inline(st, e, len)) {
		rc = disk_write(
			st->cur->file, r.pos - st->cur->start, v, (int)pieces(&r, head, e, v));
		finish(st, a, rc ? -EIO : 0);
		if (rc) {
			journal_break(st, rc, "the log could not be written");
			return;
		}
		wrote(st, st->tail, len);
		write_back(st);
		sync_kick(st);
		return;
	}
	p = mem_zalloc(sizeof(*p));
	p->a = a;
	p->seg = st->cur;
	p->r = r;
	memcpy(p->head, head, RECORD_HEAD);
	TAILQ_INSERT_TAIL(&st->queue, p, entry);
	st->queued += len;
	journal_pump(st);
}

static bool peek(const struct pending_list *list, uint64_t pos, size_t len, uint8_t *dst)
{
	struct pending *p;

	TAILQ_FOREACH (p, list, entry) {
		const struct effect *e = p->a->effect;
		uint64_t at = record_data(&p->r);

		if (pos < at || pos - at >= p->r.data_len)
			continue;
		pos -= at;
		for (size_t i = 0; i < e->ndata && len; i++) {
			const struct iovec *v = &e->data[i];
			size_t n;

			if (pos >= v->iov_len) {
				pos -= v->iov_len;
				continue;
			}
			n = min_size(len, v->iov_len - pos);
			memcpy(dst, (uint8_t *)v->iov_base + pos, n);
			dst += n;
			len -= n;
			pos = 0;
		}
		return true;
	}
	return false;
}

bool journal_peek(struct store *st, uint64_t pos, size_t len, void *dst)
{
	return pos >= st->written &&
	       (peek(&st->writing, pos, len, dst) || peek(&st->queue, pos, len, dst));
}

static const struct effect *queued_at(const struct pending_list *list, uint64_t pos)
{
	struct pending *p;

	TAILQ_FOREACH (p, list, entry) {
		if (p->r.pos == pos)
			return p->a->effect;
	}
	return NULL;
}

const struct effect *journal_queued(struct store *st, uint64_t pos)
{
	const struct effect *e = queued_at(&st->writing, pos);

	return e ? e : queued_at(&st->queue, pos);
}

void journal_init(struct store *st)
{
	TAILQ_INIT(&st->queue);
	TAILQ_INIT(&st->writing);
	TAILQ_INIT(&st->syncs);
	TAILQ_INIT(&st->synced_list);
	TAILQ_INIT(&st->finished);
	st->finish.run = run_finish;
	pthread_mutex_init(&st->open_lock, NULL);
}

static void free_pending(struct pending_list *list)
{
	struct pending *p;

	while ((p = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, p, entry);
		free(p);
	}
}

void journal_fini(struct store *st)
{
	struct seg *s;

	env_unpost(st->env, &st->finish);
	free_pending(&st->queue);
	free_pending(&st->writing);
	for (size_t i = 0; i < st->nsegs; i++)
		seg_free(st->segs[i]);
	while ((s = LIST_FIRST(&st->gone_segs))) {
		LIST_REMOVE(s, entry);
		seg_free(s);
	}
	if (st->spare)
		seg_free(st->spare);
	free(st->segs);
	pthread_mutex_destroy(&st->open_lock);
}
