/*
 * Opening: the index as it was flushed last is brought level with the log.
 *
 * The log is scanned twice from the flushed position P on. First for the largest `synced` mark in
 * any record, wherever it stands: what lies below it had been on disk. Then records are replayed
 * in order; where one is bad (or missing: each names the end of the one before it)
 *   below the mark:  damage. Nothing is cut; replay goes on at the next good record.
 *   at or above it:  a torn tail. The log ends there, what follows is cut off. So it does where
 *                    data above the mark does not match its checksums.
 * An index that knows more than the log holds is void: it is made anew from the whole log, if that
 * lost no segment since.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define WINDOW (256u << 10)
#define PROGRESS (UINT64_C(1) << 30)

struct scan {
	struct store *st;
	size_t i;           /* segment */
	uint64_t pos, prev; /* where to look next; where the log ended so far */
	uint64_t bad;       /* SCAN_BREAK: where the log broke off */
	struct seg *seg;    /* of the window */
	struct seg *file;   /* whose file is open */
	uint64_t at;
	struct buf window;
};

enum { SCAN_END, SCAN_RECORD, SCAN_BREAK };

/* 1 and @len bytes at @pos, 0 when the segment ends before, or -errno. */
static int look(struct scan *sc, struct seg *s, uint64_t pos, uint64_t len, const uint8_t **out)
{
	uint64_t left = s->start + s->size - pos, want;
	struct disk_file *f;
	struct iovec v;
	ssize_t got;
	int rc;

	if (len > left)
		return 0;
	if (sc->seg != s || pos < sc->at || pos + len > sc->at + sc->window.len) {
		want = len > WINDOW ? len : WINDOW;
		if (want > left)
			want = left;
		rc = seg_open(sc->st, s, &f);
		if (rc)
			return rc;
		if (sc->file && sc->file != s)
			seg_close(sc->st, sc->file);
		sc->file = s;
		buf_reset(&sc->window);
		v.iov_base = buf_add(&sc->window, want);
		v.iov_len = want;
		sc->seg = NULL;
		if (!v.iov_base)
			return -ENOMEM;
		got = disk_read(f, pos - s->start, &v, 1, false);
		if (got < 0)
			return (int)got;
		if ((uint64_t)got < want)
			return -EIO;
		sc->seg = s;
		sc->at = pos;
	}
	*out = sc->window.data + (pos - sc->at);
	return 1;
}

/* 1 and a record with good header and meta at @pos, 0 when there is none, -errno. */
static int record_at(
	struct scan *sc, struct seg *s, uint64_t pos, struct record *r, const uint8_t **meta)
{
	const uint8_t *head;
	int rc = look(sc, s, pos, RECORD_HEAD, &head);

	if (rc <= 0)
		return rc;
	if (record_parse(r, head, pos) || record_end(r) > s->start + s->size)
		return 0;
	rc = look(sc, s, pos, RECORD_HEAD + r->meta_len, &head);
	if (rc <= 0)
		return rc;
	*meta = head + RECORD_HEAD;
	return record_check(r, head, *meta) ? 0 : 1;
}

/* Looks for the next good record from sc->pos on: 1 (sc->i and sc->pos are its), 0, -errno. */
static int resync(struct scan *sc, struct record *r, const uint8_t **meta)
{
	struct store *st = sc->st;

	for (; sc->i < st->nsegs; sc->i++) {
		struct seg *s = st->segs[sc->i];

		if (sc->pos < s->start)
			sc->pos = s->start;
		for (; sc->pos < s->start + s->size; sc->pos += RECORD_ALIGN) {
			int rc = record_at(sc, s, sc->pos, r, meta);

			if (rc)
				return rc;
		}
	}
	return 0;
}

/* SCAN_RECORD: one in order. SCAN_BREAK: the log broke off at sc->bad, the next call goes on
 * behind it. SCAN_END: the log ends at sc->prev. Or -errno. */
static int scan_next(struct scan *sc, struct record *r, const uint8_t **meta)
{
	struct store *st = sc->st;
	struct seg *s;
	int rc;

	while (sc->i < st->nsegs && (s = st->segs[sc->i]) && sc->pos == s->start + s->size) {
		if (++sc->i < st->nsegs)
			sc->pos = st->segs[sc->i]->start;
	}
	if (sc->i == st->nsegs)
		return SCAN_END;
	rc = record_at(sc, st->segs[sc->i], sc->pos, r, meta);
	if (rc < 0)
		return rc;
	if (rc && r->prev == sc->prev) {
		sc->pos = sc->prev = record_end(r);
		return SCAN_RECORD;
	}
	sc->bad = sc->prev;
	if (!rc) {
		sc->pos += RECORD_ALIGN;
		rc = resync(sc, r, meta);
		if (rc <= 0)
			return rc < 0 ? rc : SCAN_END;
	}
	sc->prev = r->prev;
	return SCAN_BREAK;
}

/* The first segment that reaches beyond @pos. */
static void scan_from(struct scan *sc, uint64_t pos)
{
	struct store *st = sc->st;

	sc->i = 0;
	while (sc->i < st->nsegs && st->segs[sc->i]->start + st->segs[sc->i]->size <= pos)
		sc->i++;
	sc->prev = pos;
	sc->pos = pos;
	if (sc->i < st->nsegs && st->segs[sc->i]->start > pos)
		sc->pos = st->segs[sc->i]->start;
}

struct names {
	struct store *st;
	int rc;
};

static void found_file(void *arg, const char *name)
{
	struct names *n = arg;
	unsigned long long start;
	char want[SEG_NAME];
	struct disk_file *f;
	struct seg *s;
	int64_t size;

	if (n->rc || sscanf(name, "log-%16llx", &start) != 1 || strcmp(seg_name(start, want), name))
		return;
	s = seg_new(start);
	n->rc = seg_open(n->st, s, &f);
	size = n->rc ? n->rc : f->disk->ops->size(f);
	/* there may be more than a process may have open */
	seg_close(n->st, s);
	if (size < 0) {
		n->rc = (int)size;
		free(s);
		return;
	}
	s->size = (uint64_t)size;
	s->trimmed = true;
	seg_insert(n->st, s);
	n->st->log_bytes += s->size;
}

/* The table is in order, as st->segs: *i goes along with it. */
static struct seg *seg_starting(struct store *st, uint64_t start, size_t *i)
{
	while (*i < st->nsegs && st->segs[*i]->start < start)
		++*i;
	return *i < st->nsegs && st->segs[*i]->start == start ? st->segs[*i] : NULL;
}

static int remove_seg(struct store *st, struct seg *s)
{
	char name[SEG_NAME];
	int rc = st->disk->ops->remove(st->disk, seg_name(s->start, name));

	log_info("mod=store op=remove segment=%s rc=%s msg=\"segment removed\"", name,
		log_errno(rc));
	if (!rc)
		seg_drop(st, s);
	return rc;
}

static void damage(struct store *st, const char *msg, uint64_t pos)
{
	st->damaged++;
	st->info.whole = false;
	log_error("mod=store op=recover pos=%" PRIu64 " msg=\"%s\"", pos, msg);
}

/*
 * Reads how far the index reaches, and what it says of the segments. 0, -EUCLEAN when it is void or
 * makes no sense, or -errno.
 */
static int load_index(struct store *st, uint64_t *pos)
{
	struct buf b = {0}, t = {0};
	uint64_t newest = 0;
	size_t at = 0;
	struct cur c;
	int rc;

	*pos = 0;
	rc = index_get(st->ix, FLUSH_KEY_POS, FLUSH_KEY_LEN(FLUSH_KEY_POS), &b, false);
	if (rc == -ENOENT) {
		rc = st->holed || (st->nsegs && st->segs[0]->start) ? -EUCLEAN : 0;
		goto out;
	}
	if (!rc)
		rc = index_get(st->ix, FLUSH_KEY_SEGS, FLUSH_KEY_LEN(FLUSH_KEY_SEGS), &t, false);
	if (rc == -ENOENT || (!rc && (b.len != 8 || t.len % 24)))
		rc = -EUCLEAN;
	if (rc)
		goto out;
	c = cur_of(b.data, b.len);
	*pos = cur_u64(&c);
	for (c = cur_of(t.data, t.len); c.left;) {
		uint64_t start = cur_u64(&c), size = cur_u64(&c), live = cur_u64(&c);
		struct seg *s = seg_starting(st, start, &at);

		/* the one that was written last must be there as far as it was then */
		if (!c.left && (!s || s->size < size)) {
			rc = -EUCLEAN;
			goto out;
		}
		if (s) {
			s->live = live;
			s->used = 1; /* known to the table */
			st->live_bytes += live;
		}
		if (live && (!s || s->size < size))
			damage(st, "a segment of the log is missing or too short", start);
		newest = start;
	}
	/* removed, but the removal did not reach the disk */
	for (size_t i = 0; i < st->nsegs && !rc;) {
		struct seg *s = st->segs[i];

		if (s->start < newest && !s->used)
			rc = remove_seg(st, s);
		else
			i++;
	}
out:
	buf_fini(&b);
	buf_fini(&t);
	return rc;
}

/* Starts over with an empty index, if the log goes back to the beginning. */
static int void_index(struct store *st, char *why, size_t why_len)
{
	bool all = !st->holed && st->nsegs && st->segs[0]->start == 0;
	int rc;

	if (!all) {
		snprintf(why, why_len,
			"the index does not fit the log, and the log is not complete "
			"enough to make it anew");
		return -EUCLEAN;
	}
	damage(st, "the index does not fit the log: making it anew from the log", 0);
	for (size_t i = 0; i < st->nsegs; i++)
		st->segs[i]->live = 0;
	st->live_bytes = 0;
	history_forget(st);
	/* once it is gone nothing shows how far it went */
	rc = meta_note(st, false);
	return rc ? rc : st->ix->ops->clear(st->ix);
}

/* Flushes the index in the midst of replay; the log has been synced. */
int recover_flush(struct store *st, uint64_t pos)
{
	/* what is flushed is not looked at again */
	int rc = st->damaged ? meta_note(st, false) : 0;

	if (rc)
		return rc;
	rc = flush_put(st, pos, true);
	if (!rc)
		rc = st->ix->ops->flush_begin(st->ix);
	if (!rc)
		rc = st->ix->ops->flush_wait(st->ix);
	if (!rc) {
		st->flushed = pos;
		st->mem = 0;
		st->since_flush = 0;
	}
	return rc;
}

static int replay_one(struct store *st, const struct record *r, const uint8_t *meta, uint64_t last)
{
	int rc = apply_batch(st, r, meta, false);

	if (rc == -EBADMSG) {
		damage(st, "a record is well but makes no sense: skipped", r->pos);
		history_void(st, last);
		return 0;
	}
	if (!rc)
		rc = index_put(st->ix, &st->batch, true);
	if (rc)
		return rc;
	apply_counted(st);
	st->since_flush += record_end(r) - r->pos;
	rc = clear_replay(st, record_end(r));
	if (rc)
		return rc;
	return st->mem >= st->cfg.index_buffer / 2 ? recover_flush(st, record_end(r)) : 0;
}

/* 1 when the data of a record is there, 0 when it is torn. The window moves: meta is new. */
static int data_there(struct scan *sc, const struct record *r, const uint8_t **meta)
{
	const uint8_t *all;
	int rc = look(sc, sc->st->segs[sc->i], r->pos, record_end(r) - r->pos, &all);

	if (rc <= 0)
		return rc;
	*meta = all + RECORD_HEAD;
	return !record_check_data(r, *meta, *meta + r->meta_len);
}

/* Replays from @from; the last good record ends at @last; *end is where the log ends. */
static int replay(struct store *st, uint64_t from, uint64_t mark, uint64_t last, uint64_t *end)
{
	struct scan sc = {.st = st};
	uint64_t told = from;
	const uint8_t *meta;
	struct record r;
	int rc;

	scan_from(&sc, from);
	while ((rc = scan_next(&sc, &r, &meta)) > 0) {
		if (rc == SCAN_BREAK && sc.bad >= mark) {
			*end = sc.bad;
			goto out;
		}
		if (rc == SCAN_BREAK) {
			damage(st, "records of the log are lost that had been synced", sc.bad);
			history_void(st, last);
			continue;
		}
		if (record_end(&r) > mark) {
			rc = data_there(&sc, &r, &meta);
			if (rc < 0)
				goto out;
			if (!rc) {
				*end = r.prev;
				goto out;
			}
		}
		rc = replay_one(st, &r, meta, last);
		if (rc)
			goto out;
		if (r.pos - told > PROGRESS) {
			log_info("mod=store op=recover pos=%" PRIu64 " from=%" PRIu64
				 " msg=\"replaying the log\"",
				r.pos, from);
			told = r.pos;
		}
	}
	*end = sc.prev;
out:
	buf_fini(&sc.window);
	return rc < 0 ? rc : 0;
}

/* The largest synced mark of the records from @from on; *tail: whether there is anything. */
static int find_mark(struct store *st, uint64_t from, uint64_t *mark, uint64_t *last)
{
	struct scan sc = {.st = st};
	const uint8_t *meta;
	struct record r;
	int rc;

	*mark = from;
	*last = from;
	scan_from(&sc, from);
	while ((rc = scan_next(&sc, &r, &meta)) > 0) {
		if (rc != SCAN_RECORD)
			continue;
		if (r.synced > *mark)
			*mark = r.synced;
		*last = record_end(&r);
	}
	buf_fini(&sc.window);
	return rc;
}

/* One record that the index reflects already, for reading it back. */
static void known_one(struct store *st, const struct record *r, const uint8_t *meta)
{
	struct effect_iter it = effect_iter_of(meta, r->meta_len);
	struct effect_op op;

	st->past_pos = r->pos;
	while (r->kind == RECORD_EFFECT && effect_next(&it, &op) > 0) {
		if (op.kind == EFFECT_SECTION)
			tail_known(st, op.shard, op.term, op.seq, r->pos);
	}
}

/*
 * What lies before the flushed position can be read back as well: at least a quarter of a segment,
 * so that copies that were stopped together need not compare all they have. Where the log is not
 * well only what lies behind counts.
 */
static void scan_known(struct store *st, uint64_t flushed)
{
	struct scan sc = {.st = st};
	const uint8_t *meta;
	struct record r;
	int rc;

	while (sc.i < st->nsegs && st->segs[sc.i]->start < flushed)
		sc.i++;
	if (!sc.i)
		return;
	for (sc.i--; sc.i && flushed - st->segs[sc.i]->start < st->cfg.segment_size / 4;)
		sc.i--;
	sc.pos = st->tail_floor = st->segs[sc.i]->start;
	/* the first says itself where the one before it ended */
	rc = record_at(&sc, st->segs[sc.i], sc.pos, &r, &meta);
	sc.prev = rc > 0 ? r.prev : sc.pos;
	do {
		rc = scan_next(&sc, &r, &meta);
		if (rc == SCAN_RECORD)
			known_one(st, &r, meta);
		else if (rc == SCAN_BREAK)
			tail_settle(st, false);
	} while (rc > 0 && sc.prev < flushed);
	buf_fini(&sc.window);
	tail_settle(st, rc == SCAN_RECORD && sc.prev == flushed);
}

/* Takes away what lies beyond @end. */
static int cut(struct store *st, uint64_t end)
{
	bool names = false;
	int rc = 0;

	for (size_t i = st->nsegs; i-- && !rc;) {
		struct seg *s = st->segs[i];
		uint64_t keep = end > s->start ? end - s->start : 0;
		struct disk_file *f;

		if (keep >= s->size && s->size)
			break;
		if (!keep) {
			rc = remove_seg(st, s);
			names = true;
			continue;
		}
		log_warn("mod=store op=recover pos=%" PRIu64 " bytes=%" PRIu64
			 " msg=\"cutting off the torn end of the log\"",
			end, s->size - keep);
		rc = seg_open(st, s, &f);
		if (!rc)
			rc = disk_truncate(f, keep);
		if (!rc)
			rc = disk_sync(f);
		st->log_bytes -= s->size - keep;
		s->size = keep;
	}
	if (!rc && names)
		rc = st->disk->ops->sync_names(st->disk);
	return rc;
}

static int sync_tail(struct store *st, uint64_t from)
{
	int rc = 0;

	for (size_t i = 0; i < st->nsegs && !rc; i++) {
		struct seg *s = st->segs[i];
		struct disk_file *f;

		if (s->start + s->size <= from)
			continue;
		rc = seg_open(st, s, &f);
		if (!rc)
			rc = disk_sync(f);
		seg_close(st, s);
	}
	return rc;
}

/* Goes on in the last segment, if it is well and has room. */
static int settle(struct store *st, uint64_t end)
{
	struct seg *last = st->nsegs ? st->segs[st->nsegs - 1] : NULL;
	struct disk_file *f;
	int rc;

	st->tail = st->written = st->synced = st->backed = end;
	for (size_t i = 0; i < st->nsegs; i++) {
		st->segs[i]->sealed = true;
		st->segs[i]->used = 0;
	}
	if (!last || st->damaged || last->start + last->size != end ||
		last->size >= st->cfg.segment_size)
		return 0;
	rc = seg_open(st, last, &f);
	if (rc)
		return rc;
	if (!f->disk->ops->allocate(f, st->cfg.segment_size))
		last->reserved = st->cfg.segment_size;
	last->sealed = last->trimmed = false;
	st->cur = last;
	return 0;
}

static int level(struct store *st, const struct meta *m, char *why, size_t why_len)
{
	uint64_t from, mark, last, end = 0;
	int rc = load_index(st, &from);

	if (!rc)
		rc = history_load(st);
	if (rc == -EUCLEAN) {
		rc = void_index(st, why, why_len);
		from = 0;
	}
	if (rc)
		return rc;
	st->flushed = st->tail_floor = from;
	rc = sync_tail(st, from);
	if (!rc)
		scan_known(st, from);
	if (!rc)
		rc = clear_resume(st, from);
	if (!rc)
		rc = find_mark(st, from, &mark, &last);
	if (!rc)
		rc = replay(st, from, mark, last, &end);
	if (rc)
		return rc;
	if (last > end) {
		/* more than the record that was being written: something before it is lost */
		log_warn("mod=store op=recover pos=%" PRIu64 " last=%" PRIu64
			 " msg=\"records behind a gap were never synced: given up\"",
			end, last);
		st->info.whole = false;
		rc = meta_note(st, false);
	}
	if (!rc)
		rc = cut(st, end);
	/* or else the next start would find the same damage, and void what comes from now on */
	if (!rc && st->void_to > from)
		rc = recover_flush(st, end);
	if (rc)
		return rc;
	if (m->clean && end < m->end)
		damage(st, "the log is shorter than it was when the store was closed", end);
	return settle(st, end);
}

int recover(struct store *st, const struct meta *m, char *why, size_t why_len)
{
	struct names n = {.st = st};
	int rc;

	st->holed = m->holed;
	st->info.whole = !m->suspect && (m->clean || !memcmp(m->boot, st->boot, 16));
	rc = st->disk->ops->list(st->disk, found_file, &n);
	if (!rc)
		rc = n.rc;
	if (!rc)
		rc = level(st, m, why, why_len);
	if (rc && !*why)
		snprintf(why, why_len, "the store could not be recovered (%s)", log_errno(rc));
	return rc;
}
