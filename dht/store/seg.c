/*
 * Segments: the files of the log. A segment is named by the position where it begins; the next one
 * begins so far behind it that the last record may go over its size. One is made in advance, by a
 * worker, when half of the current one is full; a segment stays while somebody has it pinned.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

/* A segment's last record may go that far over its size. */
#define STRIDE_EXTRA (RECORD_MAX + 4096)
#define OPEN_FILES_MAX 512u

char *seg_name(uint64_t start, char name[SEG_NAME])
{
	snprintf(name, SEG_NAME, "log-%016llx", (unsigned long long)start);
	return name;
}

struct seg *seg_new(uint64_t start)
{
	struct seg *s = mem_zalloc(sizeof(*s));

	s->start = start;
	return s;
}

void seg_insert(struct store *st, struct seg *s)
{
	size_t at = st->nsegs;

	if (st->nsegs == st->seg_cap) {
		st->seg_cap = st->seg_cap ? 2 * st->seg_cap : 8;
		st->segs = mem_grow(st->segs, st->seg_cap, sizeof(struct seg *));
	}
	for (; at && st->segs[at - 1]->start > s->start; at--)
		st->segs[at] = st->segs[at - 1];
	st->segs[at] = s;
	st->nsegs++;
}

struct seg *seg_at(struct store *st, uint64_t pos)
{
	size_t lo = 0, hi = st->nsegs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (st->segs[mid]->start <= pos)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || pos - st->segs[lo - 1]->start >= st->segs[lo - 1]->size)
		return NULL;
	return st->segs[lo - 1];
}

/* The first segment that reaches beyond @pos; there is one. */
struct seg *seg_after(struct store *st, uint64_t pos)
{
	size_t i = st->nsegs;

	while (i > 1 && st->segs[i - 2]->start + st->segs[i - 2]->size > pos)
		i--;
	return st->segs[i - 1];
}

void seg_free(struct seg *s)
{
	disk_close(s->file);
	free(s);
}

void seg_pin(struct seg *s)
{
	s->pins++;
}

void seg_unpin(struct store *st, struct seg *s)
{
	if (--s->pins == 0 && s->gone) {
		if (s->file)
			atomic_fetch_sub(&st->open_files, 1);
		LIST_REMOVE(s, entry);
		seg_free(s);
	}
}

void seg_drop(struct store *st, struct seg *s)
{
	size_t i = 0;

	while (st->segs[i] != s)
		i++;
	st->nsegs--;
	memmove(st->segs + i, st->segs + i + 1, (st->nsegs - i) * sizeof(s));
	st->log_bytes -= s->size;
	s->gone = true;
	LIST_INSERT_HEAD(&st->gone_segs, s, entry);
	seg_pin(s);
	seg_unpin(st, s);
}

int seg_open(struct store *st, struct seg *s, struct disk_file **out)
{
	char name[SEG_NAME];
	int rc = 0;

	pthread_mutex_lock(&st->open_lock);
	*out = s->file;
	if (!*out) {
		rc = disk_open(st->disk, seg_name(s->start, name), false, out);
		if (!rc) {
			atomic_fetch_add(&st->open_files, 1);
			atomic_store(&s->file, *out);
		}
	}
	pthread_mutex_unlock(&st->open_lock);
	return rc;
}

void seg_close(struct store *st, struct seg *s)
{
	if (!s->file)
		return;
	disk_close(s->file);
	atomic_store(&s->file, NULL);
	atomic_fetch_sub(&st->open_files, 1);
}

/* A sweep spares what was read lately. */
void seg_close_idle(struct store *st)
{
	uint64_t lately = st->tick < OPEN_FILES_MAX / 2 ? 0 : st->tick - OPEN_FILES_MAX / 2;

	if (st->open_files <= OPEN_FILES_MAX)
		return;
	for (size_t i = 0; i < st->nsegs; i++) {
		struct seg *s = st->segs[i];

		if (!s->pins && s->trimmed && s->used <= lately)
			seg_close(st, s);
	}
}

/* ---- new segments ---- */

struct make_work {
	struct work w;
	struct store *st;
	struct seg *seg;
	bool allocated;
	int rc;
};

static void make_run(struct work *w)
{
	struct make_work *mk = container_of(w, struct make_work, w);
	struct disk *d = mk->st->disk;
	struct disk_file *f;
	char name[SEG_NAME];

	mk->rc = disk_open(d, seg_name(mk->seg->start, name), true, &f);
	if (mk->rc)
		return;
	/* only a hint: without it space is found as the records come */
	mk->allocated = !d->ops->allocate(f, mk->st->cfg.segment_size);
	mk->rc = d->ops->sync_names(d);
	if (mk->rc) {
		disk_close(f);
		return;
	}
	atomic_fetch_add(&mk->st->open_files, 1);
	atomic_store(&mk->seg->file, f);
}

static void make_done(struct work *w)
{
	struct make_work *mk = container_of(w, struct make_work, w);
	struct store *st = w->owner;

	if (st) {
		st->making = false;
		if (!mk->rc) {
			mk->seg->reserved = mk->allocated ? st->cfg.segment_size : 0;
			space_refresh(st);
			seg_close_idle(st);
			journal_pump(st);
		} else if (mk->seg == st->spare) {
			/* it is tried again when it is needed */
			log_warn("mod=store op=segment rc=%s msg=\"cannot make a segment\"",
				log_errno(mk->rc));
			free(mk->seg);
			st->spare = NULL;
		} else {
			journal_break(st, mk->rc, "cannot make a segment");
		}
	}
	free(mk);
}

static struct seg *make_seg(struct store *st, uint64_t start)
{
	struct make_work *mk = mem_zalloc(sizeof(*mk));

	mk->st = st;
	mk->seg = seg_new(start);
	st->making = true;
	work_start(&mk->w, st->gate, st, &st->queue, make_run, make_done);
	return mk->seg;
}

static uint64_t next_start(const struct store *st)
{
	uint64_t size = st->cfg.segment_size, at;

	if (!st->cur)
		return st->tail;
	at = st->cur->start + size + STRIDE_EXTRA;
	at = (at + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
	return at > st->tail ? at : st->tail;
}

uint64_t seg_place(struct store *st)
{
	struct seg *s = st->cur;

	if (!s || s->size >= st->cfg.segment_size) {
		if (!st->spare)
			st->spare = make_seg(st, next_start(st));
		if (s)
			s->sealed = true;
		s = st->cur = st->spare;
		st->spare = NULL;
		seg_insert(st, s);
		tail_keep(st);
	} else if (s->size > st->cfg.segment_size / 2 && !st->spare && !st->making) {
		st->spare = make_seg(st, next_start(st));
	}
	return s->start + s->size;
}
