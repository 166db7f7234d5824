/*
 * Reading. What lies in the page cache (or still in the queue) is read on the loop; the rest of a
 * store_read() is gathered and read by a worker. Segments in use are pinned. Whole chunks are read
 * and verified, whatever part of them is asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/store/store_int.h"

void store_blocking(struct store *st, bool on)
{
	st->blocking = on;
}

int store_get(struct store *st, const void *key, size_t klen, struct buf *val)
{
	int rc = index_get(st->ix, key, klen, val, !st->blocking);

	if (rc == -EAGAIN)
		rc = wait_miss(st, key, klen, NULL, 0);
	if (rc == -EIO)
		st->damaged++;
	return rc;
}

struct store_iter {
	struct store *st;
	struct index_iter *it;
	struct key at, to; /* what was given last */
};

struct store_iter *store_iter_new(
	struct store *st, const void *from, size_t flen, const void *to, size_t tlen)
{
	struct store_iter *it = mem_grow(NULL, 1, sizeof(*it));

	it->st = st;
	it->at.len = min_size(flen, sizeof(it->at.b));
	memcpy(it->at.b, from, it->at.len);
	it->to.len = min_size(tlen, sizeof(it->to.b));
	memcpy(it->to.b, to, it->to.len);
	it->it = st->ix->ops->iter_new(
		st->ix, it->at.b, it->at.len, it->to.b, it->to.len, !st->blocking);
	return it;
}

int store_iter_next(
	struct store_iter *it, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	int rc = it->st->ix->ops->iter_next(it->it, key, klen, val, vlen);

	if (rc > 0 && *klen <= sizeof(it->at.b)) {
		it->at.len = *klen;
		memcpy(it->at.b, *key, *klen);
		return rc;
	}
	if (rc == -EAGAIN)
		rc = wait_miss(it->st, it->at.b, it->at.len, it->to.b, it->to.len);
	if (rc == -EIO)
		it->st->damaged++;
	return rc;
}

void store_iter_free(struct store_iter *it)
{
	if (!it)
		return;
	it->st->ix->ops->iter_free(it->it);
	free(it);
}

void extents_begin(struct extent_walk *w, struct store *st, uint16_t shard,
	const struct orbit_id *id, uint64_t off)
{
	w->st = st;
	extent_seek(&w->from, &w->to, shard, id, off);
	w->it = st->ix->ops->iter_new(st->ix, w->from.b, w->from.len, w->to.b, w->to.len, true);
}

int extents_next(struct extent_walk *w, struct extent *e)
{
	const void *k, *v;
	size_t kl, vl;
	int rc = w->st->ix->ops->iter_next(w->it, &k, &kl, &v, &vl);

	if (rc > 0) {
		rc = extent_decode(e, k, kl, v, vl);
		if (!rc) {
			memcpy(w->from.b, k, kl);
			w->from.len = kl;
			return 1;
		}
	}
	if (rc == -EAGAIN)
		rc = wait_miss(w->st, w->from.b, w->from.len, w->to.b, w->to.len);
	if (rc < 0 && rc != -EAGAIN)
		w->st->damaged++;
	return rc;
}

void extents_end(struct extent_walk *w)
{
	w->st->ix->ops->iter_free(w->it);
}

int store_ranges(struct store *st, uint16_t shard, const struct orbit_id *id, uint64_t off,
	uint64_t len, struct store_range *out, int max, uint64_t *next)
{
	uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
	struct extent_walk w;
	struct extent e;
	int n = 0, rc;

	*next = off;
	extents_begin(&w, st, shard, id, off);
	while ((rc = extents_next(&w, &e)) > 0 && e.start < end) {
		uint64_t from = e.start > off ? e.start : off, to = e.end < end ? e.end : end;

		if (n && out[n - 1].off + out[n - 1].len == from) {
			out[n - 1].len = to - out[n - 1].off;
		} else if (n == max) {
			*next = from;
			goto out;
		} else {
			out[n++] = (struct store_range){.off = from, .len = to - from};
		}
	}
	if (rc < 0)
		n = rc;
	else
		*next = end;
out:
	extents_end(&w);
	return n;
}

/* A part of an extent that one read call can get: whole chunks, of which `len` bytes are wanted. */
struct piece {
	struct seg *seg;
	struct extent e; /* trimmed to what is wanted */
	uint8_t *dst;
};

static bool verify(
	const struct extent *e, const uint8_t *head, const uint8_t *dst, const uint8_t *tail)
{
	uint64_t off = e->start - e->skip, last = off + e->len;

	for (size_t i = 0; i < e->ncrcs; i++) {
		uint64_t end = (off / EFFECT_CHUNK + 1) * EFFECT_CHUNK;
		uint32_t crc = 0, want;

		if (end > last)
			end = last;
		if (off < e->start)
			crc = crc32c(head, e->start - off);
		if (end > e->start && off < e->end) {
			uint64_t a = off > e->start ? off : e->start;
			uint64_t b = end < e->end ? end : e->end;

			crc = crc32c_more(crc, dst + (a - e->start), b - a);
		}
		if (end > e->end)
			crc = crc32c_more(crc, tail, end - e->end);
		memcpy(&want, e->crcs + 4 * i, 4);
		if (crc != le32toh(want))
			return false;
		off = end;
	}
	return true;
}

/* 0, -EAGAIN (only with @cached), -EIO. Bytes of the outer chunks that nobody asked for go to the
 * stack. */
static int read_piece(struct disk_file *f, const struct piece *p, bool cached)
{
	const struct extent *e = &p->e;
	size_t len = (size_t)(e->end - e->start), after = e->len - e->skip - len;
	uint8_t head[EFFECT_CHUNK], tail[EFFECT_CHUNK];
	struct iovec v[3];
	ssize_t got;
	int n = 0;

	if (e->skip)
		v[n++] = (struct iovec){.iov_base = head, .iov_len = e->skip};
	v[n++] = (struct iovec){.iov_base = p->dst, .iov_len = len};
	if (after)
		v[n++] = (struct iovec){.iov_base = tail, .iov_len = after};
	got = disk_read(f, e->pos - p->seg->start, v, n, cached);
	if (got != (ssize_t)e->len) {
		if (cached && (got >= 0 || got == -EAGAIN))
			return -EAGAIN;
		log_error("mod=store op=read pos=%" PRIu64 " len=%" PRIu32 " got=%zd rc=-EIO "
			  "msg=\"the log could not be read\"",
			e->pos, e->len, got);
		return -EIO;
	}
	if (verify(e, head, p->dst, tail))
		return 0;
	log_error("mod=store op=read pos=%" PRIu64 " len=%" PRIu32 " rc=-EIO "
		  "msg=\"a checksum in the log is wrong\"",
		e->pos, e->len);
	return -EIO;
}

struct read_work {
	struct work w;
	struct store *st;
	struct store_read *r;
	struct piece *v;
	size_t n, cap;
	int rc;
};

static void read_run(struct work *w)
{
	struct read_work *rw = container_of(w, struct read_work, w);
	struct disk_file *f;

	for (size_t i = 0; i < rw->n && !rw->rc; i++) {
		rw->rc = seg_open(rw->st, rw->v[i].seg, &f);
		if (!rw->rc)
			rw->rc = read_piece(f, &rw->v[i], false);
	}
	if (rw->rc)
		rw->rc = -EIO;
}

static void free_read(struct read_work *rw)
{
	for (size_t i = 0; i < rw->n; i++)
		free((void *)rw->v[i].e.crcs);
	free(rw->v);
	free(rw);
}

static void unpin_all(struct store *st, struct read_work *rw)
{
	for (size_t i = 0; i < rw->n; i++)
		seg_unpin(st, rw->v[i].seg);
	seg_close_idle(st);
}

static void read_done(struct work *w)
{
	struct read_work *rw = container_of(w, struct read_work, w);
	struct store *st = w->owner;
	struct store_read *r = rw->r;
	int rc = rw->rc;

	if (st) {
		unpin_all(st, rw);
		if (rc)
			st->damaged++;
	}
	free_read(rw);
	if (st)
		r->done(r, rc);
}

/* Leaves a piece to the worker. */
static void defer(struct store *st, struct read_work **rw, const struct piece *p)
{
	struct read_work *w = *rw;

	if (!w) {
		w = *rw = mem_zalloc(sizeof(*w));
		w->st = st;
	}
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 4;
		w->v = mem_grow(w->v, w->cap, sizeof(*w->v));
	}
	w->v[w->n] = *p;
	/* the checksums lie in the index's memory */
	w->v[w->n++].e.crcs = mem_dup(p->e.crcs, 4 * p->e.ncrcs);
	seg_pin(p->seg);
}

static int read_extent(
	struct store *st, const struct extent *e, uint8_t *dst, struct read_work **rw)
{
	struct piece p = {.seg = seg_at(st, e->pos), .e = *e, .dst = dst};
	struct disk_file *f;
	int rc;

	if (!p.seg || e->pos + e->len > p.seg->start + p.seg->size) {
		log_error("mod=store op=read pos=%" PRIu64 " rc=-EIO "
			  "msg=\"an extent lies where there is no log\"",
			e->pos);
		st->damaged++;
		return -EIO;
	}
	if (e->pos >= st->written &&
		journal_peek(st, extent_pos(e), (size_t)(e->end - e->start), dst))
		return 0;
	p.seg->used = ++st->tick;
	f = atomic_load(&p.seg->file);
	rc = f ? read_piece(f, &p, true) : -EAGAIN;
	if (rc == -EAGAIN) {
		defer(st, rw, &p);
		rc = 0;
	} else if (rc) {
		st->damaged++;
	}
	return rc;
}

int store_read(struct store *st, struct store_read *r, uint16_t shard, const struct orbit_id *id,
	uint64_t off, size_t len, void *dst)
{
	uint64_t at = off, end = off + len;
	struct read_work *rw = NULL;
	struct extent_walk w;
	struct extent e;
	int rc = 0;

	if (end < off)
		return -EINVAL;
	extents_begin(&w, st, shard, id, off);
	while (at < end && (rc = extents_next(&w, &e)) > 0 && e.start < end) {
		uint64_t from = e.start > off ? e.start : off, to = e.end < end ? e.end : end;

		memset((uint8_t *)dst + (at - off), 0, from - at);
		e = extent_part(&e, from, to);
		rc = read_extent(st, &e, (uint8_t *)dst + (from - off), &rw);
		if (rc)
			break;
		at = to;
	}
	extents_end(&w);
	if (rc < 0) {
		if (rw) {
			unpin_all(st, rw);
			free_read(rw);
		}
		return rc;
	}
	memset((uint8_t *)dst + (at - off), 0, end - at);
	if (!rw)
		return 0;
	rw->r = r;
	work_start(&rw->w, st->gate, st, NULL, read_run, read_done);
	return -EINPROGRESS;
}
