/*
 * Compaction: segments of which little is live are emptied by appending what is live anew.
 *
 * A segment is read from its beginning, a window at a time; each record there names the extents it
 * once made, the index says which of them still lie there. Those go, checked, into one MOVE record
 * that says from where to where: applying it (now, or in a replay) redirects only what still lies
 * at the old place, so an extent that was overwritten meanwhile does not come back. When nothing in
 * the segment is live any more, the next flush of the index removes it (flush.c): by then log and
 * index know the new places durably. So at most one segment's live bytes are needed in advance.
 *
 *   IDLE -> READ   a worker reads a window
 *        -> MOVE   the loop looks up what is live; waits for the index where it must
 *        -> WRITE  the MOVE record is on its way into the log
 *        -> PAUSE  until the rate allows the next window -> READ, or the segment is through -> IDLE
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define WINDOW (256u << 10)
#define BELOW_WHEN_SHORT 90u /* per cent live below which a segment goes when space is short */

enum compact_state { COMPACT_IDLE, COMPACT_READ, COMPACT_MOVE, COMPACT_WRITE, COMPACT_PAUSE };

struct compact {
	struct store *st;
	enum compact_state state;
	struct seg *seg;    /* pinned */
	uint64_t pos;       /* the next record */
	struct buf window;  /* what lies from pos on */
	struct effect move; /* its meta is a MOVE record's */
	uint64_t end;       /* where the records that move covers end */
	uint64_t moved;     /* bytes of this segment */
	struct store_apply apply;
	struct store_wait wait;
	struct env_timer timer;
};

bool compact_deserves(struct store *st, const struct seg *s)
{
	unsigned below = st->cfg.compact_below;

	if (st->short_of_room && below < BELOW_WHEN_SHORT)
		below = BELOW_WHEN_SHORT;
	return s->size && !s->stuck && !tail_keeps(st, s) &&
	       s->live < s->size / 100 * below + s->size % 100 * below / 100;
}

static void compact_read(struct compact *c);

/* Lets go of the segment and looks for the next one. */
static void compact_over(struct compact *c, bool kick)
{
	struct store *st = c->st;
	struct seg *s = c->seg;

	c->state = COMPACT_IDLE;
	c->seg = NULL;
	effect_fini(&c->move);
	seg_unpin(st, s);
	if (kick)
		compact_kick(st);
}

static void segment_through(struct compact *c)
{
	struct seg *s = c->seg;

	if (s->live && !s->gone) {
		s->stuck = true;
		log_warn("mod=store op=compact segment=%" PRIu64 " live=%" PRIu64
			 " msg=\"a segment cannot be emptied: it stays\"",
			s->start, s->live);
	} else {
		log_debug("mod=store op=compact segment=%" PRIu64 " moved=%" PRIu64
			  " msg=\"segment emptied\"",
			s->start, c->moved);
	}
	compact_over(c, true);
}

struct compact_work {
	struct work w;
	struct compact *c;
	struct store *st;
	struct seg *seg;
	uint64_t pos, end;
	struct buf b;
	int rc;
};

static int read_at(struct compact_work *cw, struct disk_file *f, size_t len)
{
	struct iovec v = {.iov_len = len};
	ssize_t got;

	buf_reset(&cw->b);
	v.iov_base = buf_add(&cw->b, len);
	if (!v.iov_base)
		return -ENOMEM;
	got = disk_read(f, cw->pos - cw->seg->start, &v, 1, false);
	if (got < 0)
		return (int)got;
	return (size_t)got == len ? 0 : -EIO;
}

/* A window, or one record if that is longer. */
static void read_run(struct work *w)
{
	struct compact_work *cw = container_of(w, struct compact_work, w);
	uint64_t left = cw->end - cw->pos, len;
	struct disk_file *f;
	struct record r;

	cw->rc = seg_open(cw->st, cw->seg, &f);
	if (!cw->rc)
		cw->rc = read_at(cw, f, left < WINDOW ? left : WINDOW);
	if (cw->rc || cw->b.len < RECORD_HEAD || record_parse(&r, cw->b.data, cw->pos))
		return;
	len = record_end(&r) - r.pos;
	if (len > cw->b.len && len <= left)
		cw->rc = read_at(cw, f, len);
}

static void compact_move(struct compact *c);

static void read_done(struct work *w)
{
	struct compact_work *cw = container_of(w, struct compact_work, w);
	struct store *st = w->owner;
	struct compact *c = cw->c;

	if (!st) {
		buf_fini(&cw->b);
		free(cw);
		return;
	}
	buf_fini(&c->window);
	c->window = cw->b;
	if (cw->rc) {
		log_error("mod=store op=compact pos=%" PRIu64
			  " rc=%s msg=\"cannot read a segment\"",
			c->pos, log_errno(cw->rc));
		st->damaged++;
		segment_through(c);
	} else {
		c->state = COMPACT_MOVE;
		compact_move(c);
	}
	free(cw);
}

static void compact_read(struct compact *c)
{
	struct store *st = c->st;
	struct seg *s = c->seg;
	struct compact_work *cw;

	if (st->broken || st->closing) {
		compact_over(c, false);
		return;
	}
	if (s->gone || !s->live || c->pos >= s->start + s->size) {
		segment_through(c);
		return;
	}
	cw = mem_zalloc(sizeof(*cw));
	cw->c = c;
	cw->st = st;
	cw->seg = s;
	cw->pos = c->pos;
	cw->end = s->start + s->size;
	c->state = COMPACT_READ;
	work_start(&cw->w, st->gate, st, NULL, read_run, read_done);
}

/* Checks the chunks of an extent whose log bytes are at @p. */
static bool chunks_match(const struct extent *e, const uint8_t *p)
{
	uint64_t off = e->start - e->skip;
	size_t left = e->len;

	for (size_t i = 0; i < e->ncrcs; i++) {
		size_t n = min_size(left, EFFECT_CHUNK - off % EFFECT_CHUNK);
		uint8_t crc[4];

		effect_crcs(off, p, n, crc);
		if (memcmp(crc, e->crcs + 4 * i, 4))
			return false;
		p += n;
		off += n;
		left -= n;
	}
	return true;
}

static void add_piece(struct compact *c, uint16_t shard, const struct orbit_id *id,
	const struct extent *e, const uint8_t *record, uint64_t record_pos)
{
	const uint8_t *chunks = record + (e->pos - record_pos);
	struct move_op mv = {.shard = shard,
		.id = *id,
		.start = e->start,
		.old = extent_pos(e),
		.len = (uint32_t)(e->end - e->start)};
	uint8_t crcs[4 * (EXTENT_MAX / EFFECT_CHUNK + 1)];

	if (!chunks_match(e, chunks)) {
		log_error("mod=store op=compact pos=%" PRIu64
			  " msg=\"a checksum in the log is wrong: the segment stays\"",
			e->pos);
		c->st->damaged++;
		c->seg->stuck = true;
		return;
	}
	effect_crcs(mv.start, chunks + e->skip, mv.len, crcs);
	mv.crcs = crcs;
	move_add(&c->move.meta, &mv);
	effect_piece(&c->move, chunks + e->skip, mv.len);
	c->moved += mv.len;
}

/* What of [off, off+len) still lies where this record put it, at @pos of the log. */
static int add_range(struct compact *c, uint16_t shard, const struct orbit_id *id, uint64_t off,
	size_t len, uint64_t pos, const struct record *r, const uint8_t *record)
{
	struct store *st = c->st;
	struct key from, to;
	const void *k, *v;
	struct index_iter *it;
	struct extent e;
	size_t kl, vl;
	int rc;

	extent_seek(&from, &to, shard, id, off);
	it = st->ix->ops->iter_new(st->ix, from.b, from.len, to.b, to.len, true);
	while ((rc = st->ix->ops->iter_next(it, &k, &kl, &v, &vl)) > 0) {
		rc = extent_decode(&e, k, kl, v, vl);
		if (rc || e.start >= off + len)
			break;
		memcpy(from.b, k, kl);
		from.len = kl;
		if (extent_pos(&e) - e.start != pos - off || e.pos < record_data(r) ||
			e.pos + e.len > record_data(r) + r->data_len)
			continue;
		add_piece(c, shard, id, &e, record, r->pos);
	}
	st->ix->ops->iter_free(it);
	if (rc == -EAGAIN)
		rc = wait_miss(st, from.b, from.len, to.b, to.len);
	return rc < 0 ? rc : 0;
}

static int add_record(struct compact *c, const struct record *r, const uint8_t *record)
{
	struct effect_iter it = effect_iter_of(record + RECORD_HEAD, r->meta_len);
	struct effect_op op;
	struct move_op mv;
	uint16_t shard = 0;
	int rc;

	if (r->kind == RECORD_MOVE) {
		while ((rc = move_next(&it, &mv)) > 0) {
			rc = add_range(c, mv.shard, &mv.id, mv.start, mv.len,
				record_data(r) + mv.data_at, r, record);
			if (rc)
				break;
		}
		return rc;
	}
	while ((rc = effect_next(&it, &op)) > 0) {
		if (op.kind == EFFECT_SECTION)
			shard = op.shard;
		if (op.kind != EFFECT_WRITE)
			continue;
		rc = add_range(
			c, shard, &op.id, op.off, op.len, record_data(r) + op.data_at, r, record);
		if (rc)
			break;
	}
	return rc;
}

static void compact_pause(struct compact *c)
{
	struct store *st = c->st;
	/* a window that was not worked off is read again */
	uint64_t read = c->window.len;

	c->pos = c->end;
	c->state = COMPACT_PAUSE;
	env_timer_set(st->env, &c->timer, env_now(st->env) + read * ENV_SEC / st->cfg.compact_rate);
}

static void compact_write(struct compact *c)
{
	struct store *st = c->st;
	int rc;

	if (!c->move.meta.len) {
		compact_pause(c);
		return;
	}
	c->state = COMPACT_WRITE;
	c->apply.effect = &c->move;
	rc = st->closing ? -EROFS : apply_record(st, &c->apply, RECORD_MOVE, STORE_RESERVE);
	if (rc == -EAGAIN)
		store_wait(st, &c->wait);
	else if (rc)
		compact_over(c, false); /* no room, or broken: another flush tries again */
}

/* Fills a MOVE with all records that are whole in the window. */
static void compact_move(struct compact *c)
{
	struct store *st = c->st;
	const uint8_t *p = c->window.data;
	size_t left = c->window.len;
	int rc = 0;

	effect_fini(&c->move);
	c->end = c->pos;
	while (left >= RECORD_HEAD) {
		struct record r;
		uint64_t len;

		rc = record_parse(&r, p, c->end);
		if (rc)
			break;
		len = record_end(&r) - r.pos;
		if (len > left)
			break;
		rc = record_check(&r, p, p + RECORD_HEAD);
		if (!rc)
			rc = add_record(c, &r, p);
		if (rc)
			break;
		p += len;
		left -= len;
		c->end += len;
	}
	if (rc == -EAGAIN && c->end == c->pos) {
		store_wait(st, &c->wait);
		return;
	}
	/* a record that was looked at in part is looked at again: what moved is not found twice */
	if (rc == -EAGAIN)
		rc = 0;
	if (rc || c->end == c->pos || c->move.meta.err) {
		log_error("mod=store op=compact pos=%" PRIu64 " rc=%s msg=\"a record is damaged\"",
			c->end, log_errno(rc));
		st->damaged++;
		c->seg->stuck = true;
		if (c->end == c->pos || rc == -EIO || c->move.meta.err) {
			segment_through(c);
			return;
		}
	}
	compact_write(c);
}

static void wrote_move(struct store_apply *a, int rc)
{
	struct compact *c = container_of(a, struct compact, apply);

	if (rc)
		compact_over(c, false);
	else
		compact_pause(c);
}

static void wait_over(struct store_wait *w)
{
	struct compact *c = container_of(w, struct compact, wait);

	if (c->st->broken || c->st->closing)
		compact_over(c, false);
	else if (c->state == COMPACT_MOVE)
		compact_move(c);
	else
		compact_write(c);
}

static void pause_over(struct env_timer *t)
{
	compact_read(container_of(t, struct compact, timer));
}

void compact_init(struct store *st)
{
	struct compact *c = mem_zalloc(sizeof(*c));

	c->st = st;
	c->apply.done = wrote_move;
	c->wait.ready = wait_over;
	c->timer.fire = pause_over;
	st->compact = c;
}

/* The segment of which least is live; *later: some could go once the index was flushed. */
static struct seg *choose(struct store *st, bool *later)
{
	struct seg *best = NULL;

	for (size_t i = 0; i < st->nsegs; i++) {
		struct seg *s = st->segs[i];

		if (!s->sealed || !compact_deserves(st, s))
			continue;
		if (!s->live && s->start + s->size == st->tail)
			continue; /* the last stays, see flush_switch() */
		if (!s->live || s->start + s->size > st->flushed)
			*later = true;
		else if (s->live < space_left(st) &&
			 (!best || (double)s->live / (double)s->size <
					   (double)best->live / (double)best->size))
			best = s;
	}
	return best;
}

void compact_kick(struct store *st)
{
	struct compact *c = st->compact;
	bool later = false;

	if (c->state != COMPACT_IDLE || st->broken || st->closing)
		return;
	tail_keep(st);
	/* what is being appended to may be all that there is to gain */
	if (st->short_of_room && st->cur &&
		st->cur->size - st->cur->live >= st->cfg.segment_size / 8 &&
		compact_deserves(st, st->cur)) {
		st->cur->sealed = true;
		st->cur = NULL;
	}
	c->seg = choose(st, &later);
	if (later)
		flush_garbage(st);
	if (!c->seg)
		return;
	seg_pin(c->seg);
	c->pos = c->seg->start;
	c->moved = 0;
	compact_read(c);
}

void compact_fini(struct store *st)
{
	struct compact *c = st->compact;

	env_timer_clear(st->env, &c->timer);
	effect_fini(&c->move);
	buf_fini(&c->window);
	free(c);
}
