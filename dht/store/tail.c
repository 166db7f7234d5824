/*
 * Reading effects back from the log: where each shard's last effects lie, in memory, filled as they
 * are applied and replayed; and which segments stay for their sake although nothing in them is
 * live.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define PINNED_MAX 16u /* times tail_max: effects known when pins hold them */
#define ITEMS_MAX 512u /* effects of one read */
#define WINDOW (64u << 10)

struct tail_pin {
	struct past *p;
	uint64_t seq, pos; /* what lies in the log from there on stays */
	LIST_ENTRY(tail_pin) entry;
};

/* ---- what is known ---- */

static uint64_t *pos_of(const struct tail *t, unsigned i)
{
	return &t->pos[(t->head + i) & (t->cap - 1)];
}

void tail_clear(struct store *st, struct past *p)
{
	st->tail_n -= p->tail.n;
	free(p->tail.pos);
	p->tail = (struct tail){0};
}

static void drop_below(struct store *st, struct past *p, uint64_t pos)
{
	struct tail *t = &p->tail;

	while (t->n && *pos_of(t, 0) < pos) {
		t->head = (t->head + 1) & (t->cap - 1);
		t->first++;
		t->n--;
		st->tail_n--;
	}
	if (!t->n && t->cap)
		tail_clear(st, p);
}

void tail_known(struct store *st, uint16_t shard, uint64_t term, uint64_t seq, uint64_t pos)
{
	struct past *p = shard < st->npasts ? st->pasts[shard] : NULL;

	/* an effect may come back to a section */
	if (!p || !seq || (p->tail.n && seq == p->tail.first + p->tail.n - 1))
		return;
	/* it may be of a history that the copy gave up for another */
	if (history_contains(&p->h, term, seq))
		tail_add(st, p, seq, pos);
	else
		tail_clear(st, p);
}

void tail_settle(struct store *st, bool well)
{
	for (unsigned i = 0; i < st->npasts; i++) {
		struct past *p = st->pasts[i];

		if (p && p->tail.n && (!well || p->tail.first + p->tail.n - 1 != p->h.seq))
			tail_clear(st, p);
	}
}

/* From where on pins hold this shard's. */
static uint64_t pinned_from(struct store *st, const struct past *p)
{
	struct tail_pin *pin;
	uint64_t pos = UINT64_MAX;

	LIST_FOREACH (pin, &st->tail_pins, entry) {
		if (pin->p == p && pin->pos < pos)
			pos = pin->pos;
	}
	return pos;
}

static void drop_all_below(struct store *st, uint64_t pos, bool pinned_too)
{
	for (unsigned i = 0; i < st->npasts; i++) {
		struct past *p = st->pasts[i];
		uint64_t to = pos, pinned;

		if (!p || !p->tail.n)
			continue;
		pinned = pinned_too ? UINT64_MAX : pinned_from(st, p);
		drop_below(st, p, to < pinned ? to : pinned);
	}
	if (st->tail_floor < pos)
		st->tail_floor = pos;
}

/* Forgets the oldest, those that are pinned only when there is no other way. */
static void thin(struct store *st)
{
	size_t max = st->cfg.tail_max, most = max * PINNED_MAX;
	bool pinned_too = st->tail_n >= most;
	uint64_t floor = pinned_too ? 0 : st->tail_floor;

	while (st->tail_n > max / 4 * 3 && floor < st->past_pos) {
		floor += (st->past_pos - floor) / 4 + 1;
		drop_all_below(st, floor, pinned_too);
	}
	st->tail_limit = st->tail_n + st->tail_n / 8;
	if (st->tail_limit < max)
		st->tail_limit = max;
	if (st->tail_limit > most)
		st->tail_limit = most;
}

void tail_add(struct store *st, struct past *p, uint64_t seq, uint64_t pos)
{
	struct tail *t = &p->tail;

	if (t->n && t->first + t->n != seq)
		tail_clear(st, p);
	if (t->n == t->cap) {
		uint64_t *to = mem_grow(NULL, t->cap ? 2 * t->cap : 8, sizeof(*to));

		for (unsigned i = 0; i < t->n; i++)
			to[i] = *pos_of(t, i);
		free(t->pos);
		t->pos = to;
		t->head = 0;
		t->cap = t->cap ? 2 * t->cap : 8;
	}
	if (!t->n)
		t->first = seq;
	*pos_of(t, t->n++) = pos;
	if (++st->tail_n >= st->tail_limit)
		thin(st);
}

void tail_removed(struct store *st, uint64_t end)
{
	drop_all_below(st, end, true);
}

static struct past *find(struct store *st, uint16_t shard)
{
	return shard < st->npasts ? st->pasts[shard] : NULL;
}

uint64_t store_tail_from(struct store *st, uint16_t shard)
{
	struct past *p = find(st, shard);

	return p && p->tail.n ? p->tail.first : 0;
}

/* ---- segments that stay ---- */

void tail_keep(struct store *st)
{
	uint64_t keep = st->cfg.log_keep, from = st->tail, sum = 0;
	struct tail_pin *pin;

	if (!keep)
		keep = st->total / 20 < LOG_KEEP_MAX ? st->total / 20 : LOG_KEEP_MAX;
	if (st->short_of_room || st->drop == DROP_WANTED) {
		st->keep_from = UINT64_MAX;
		return;
	}
	for (size_t i = st->nsegs; i-- && (sum += st->segs[i]->size) <= keep;)
		from = st->segs[i]->start;
	if (from < st->tail_floor)
		from = st->tail_floor;
	LIST_FOREACH (pin, &st->tail_pins, entry) {
		if (pin->pos < from)
			from = pin->pos;
	}
	st->keep_from = from;
}

bool tail_keeps(const struct store *st, const struct seg *s)
{
	return s->start + s->size > st->keep_from;
}

struct tail_pin *store_tail_pin(struct store *st, uint16_t shard, uint64_t seq)
{
	struct past *p = find(st, shard);
	struct tail_pin *pin;
	uint64_t pos;

	if (!p || !seq || seq > p->h.seq + 1)
		return NULL;
	if (seq == p->h.seq + 1)
		pos = st->tail; /* what comes will lie behind */
	else if (p->tail.n && seq >= p->tail.first)
		pos = *pos_of(&p->tail, (unsigned)(seq - p->tail.first));
	else
		return NULL;
	pin = mem_zalloc(sizeof(*pin));
	pin->p = p;
	pin->seq = seq;
	pin->pos = pos;
	LIST_INSERT_HEAD(&st->tail_pins, pin, entry);
	tail_keep(st);
	return pin;
}

void store_tail_unpin(struct store *st, struct tail_pin *pin)
{
	if (!pin)
		return;
	LIST_REMOVE(pin, entry);
	free(pin);
	tail_keep(st);
}

void tail_fini(struct store *st)
{
	struct tail_pin *pin;

	while ((pin = LIST_FIRST(&st->tail_pins))) {
		LIST_REMOVE(pin, entry);
		free(pin);
	}
}

/* ---- reading ---- */

/* Gets bytes of a record's data. */
typedef int data_fn(void *arg, uint64_t at, size_t len, void *dst);

/* Appends those sections of an effect that are the shard's: 0, -EBADMSG. */
static int cut_meta(const void *meta, size_t len, uint16_t shard, uint64_t seq, struct buf *out,
	uint64_t *term, size_t *data_len)
{
	struct effect_iter it = effect_iter_of(meta, len);
	const uint8_t *at = it.c.p, *from = NULL;
	struct effect_op op;
	int rc;

	*term = 0;
	*data_len = 0;
	for (; (rc = effect_next(&it, &op)) > 0; at = it.c.p) {
		if (op.kind == EFFECT_SECTION) {
			if (from)
				buf_bytes(out, from, (size_t)(at - from));
			from = op.shard == shard && op.seq == seq ? at : NULL;
			if (from)
				*term = op.term;
		} else if (from && op.kind == EFFECT_WRITE) {
			*data_len += op.len;
		}
	}
	if (rc)
		return rc;
	if (from)
		buf_bytes(out, from, (size_t)(at - from));
	return *term ? 0 : -EBADMSG;
}

static int cut_data(const void *meta, size_t len, uint16_t shard, uint64_t seq, struct buf *out,
	data_fn *get, void *arg)
{
	struct effect_iter it = effect_iter_of(meta, len);
	struct effect_op op;
	bool ours = false;
	int rc;

	while ((rc = effect_next(&it, &op)) > 0) {
		uint8_t *to;

		if (op.kind == EFFECT_SECTION)
			ours = op.shard == shard && op.seq == seq;
		if (!ours || op.kind != EFFECT_WRITE)
			continue;
		to = buf_add(out, op.len);
		if (!to)
			return -ENOMEM;
		rc = get(arg, op.data_at, op.len, to);
		if (!rc && !record_crcs_match(op.off, to, op.len, op.crcs))
			rc = -EBADMSG;
		if (rc)
			return rc;
	}
	return rc;
}

/* Appends what an effect did to the shard, as store_tail_read() gives it; nothing on error. */
static int cut_effect(const void *meta, size_t len, uint16_t shard, uint64_t seq, struct buf *out,
	data_fn *get, void *arg)
{
	size_t from = out->len, data_len;
	uint64_t term;
	int rc;

	buf_u64(out, 0);
	buf_u64(out, seq);
	buf_u64(out, 0);
	rc = cut_meta(meta, len, shard, seq, out, &term, &data_len);
	if (!rc && !out->err) {
		buf_set_u64(out, from, term);
		buf_set_u32(out, from + 16, (uint32_t)(out->len - from - 24));
		buf_set_u32(out, from + 20, (uint32_t)data_len);
		rc = cut_data(meta, len, shard, seq, out, get, arg);
	}
	if (!rc)
		rc = out->err;
	if (rc && !out->err)
		out->len = from;
	return rc;
}

struct tail_item {
	struct seg *seg; /* pinned */
	uint64_t pos;
};

struct tail_work {
	struct work w;
	struct store *st;
	struct store_tail *t;
	uint16_t shard;
	uint64_t seq, end; /* of the first; how far the log is written */
	size_t max;
	struct buf out, window;
	const struct tail_item *item; /* which is read */
	uint64_t at;                  /* of the window */
	struct record r;
	unsigned n, nitems;
	int rc;
	struct tail_item v[];
};

/* @len bytes of the log at @pos, in the window; NULL with tw->rc set. */
static const uint8_t *look(struct tail_work *tw, uint64_t pos, size_t len, uint64_t end)
{
	struct iovec v = {.iov_len = end - pos < WINDOW ? (size_t)(end - pos) : WINDOW};
	struct disk_file *f;
	ssize_t got;

	if (pos >= tw->at && pos + len <= tw->at + tw->window.len)
		return tw->window.data + (pos - tw->at);
	if (len > end - pos)
		goto bad;
	if (v.iov_len < len)
		v.iov_len = len;
	tw->rc = seg_open(tw->st, tw->item->seg, &f);
	if (tw->rc)
		return NULL;
	buf_reset(&tw->window);
	v.iov_base = buf_add(&tw->window, v.iov_len);
	if (!v.iov_base) {
		tw->rc = -ENOMEM;
		return NULL;
	}
	got = disk_read(f, pos - tw->item->seg->start, &v, 1, false);
	tw->at = pos;
	tw->window.len = got < 0 ? 0 : (size_t)got;
	if (tw->window.len >= len)
		return tw->window.data;
bad:
	tw->rc = -EIO;
	return NULL;
}

static int data_from_log(void *arg, uint64_t at, size_t len, void *dst)
{
	struct tail_work *tw = arg;
	struct iovec v = {.iov_base = dst, .iov_len = len};
	uint64_t pos = record_data(&tw->r) + at;
	struct disk_file *f;
	int rc;

	if (at + len > tw->r.data_len)
		return -EBADMSG;
	if (pos >= tw->at && pos + len <= tw->at + tw->window.len) {
		memcpy(dst, tw->window.data + (pos - tw->at), len);
		return 0;
	}
	rc = seg_open(tw->st, tw->item->seg, &f);
	if (rc)
		return rc;
	return disk_read(f, pos - tw->item->seg->start, &v, 1, false) == (ssize_t)len ? 0 : -EIO;
}

static int read_item(struct tail_work *tw, const struct tail_item *item, uint64_t seq)
{
	const uint8_t *p;
	int rc;

	tw->item = item;
	p = look(tw, item->pos, RECORD_HEAD, tw->end);
	if (!p)
		return tw->rc;
	if (record_parse(&tw->r, p, item->pos) || record_end(&tw->r) > tw->end)
		return -EBADMSG;
	p = look(tw, item->pos, RECORD_HEAD + tw->r.meta_len, tw->end);
	if (!p)
		return tw->rc;
	rc = record_check(&tw->r, p, p + RECORD_HEAD);
	if (rc)
		return rc;
	return cut_effect(
		p + RECORD_HEAD, tw->r.meta_len, tw->shard, seq, &tw->out, data_from_log, tw);
}

static void tail_run(struct work *w)
{
	struct tail_work *tw = container_of(w, struct tail_work, w);

	for (unsigned i = 0; i < tw->nitems && tw->out.len < tw->max; i++) {
		int rc = read_item(tw, &tw->v[i], tw->seq + tw->n);

		if (rc) {
			log_error("mod=store op=tail shard=%u seq=%" PRIu64 " pos=%" PRIu64
				  " rc=%s msg=\"an effect cannot be read back\"",
				tw->shard, tw->seq + tw->n, tw->v[i].pos, log_errno(rc));
			/* what lies before it is given first */
			tw->rc = tw->n ? 0 : -EIO;
			return;
		}
		tw->n++;
	}
}

static void tail_done(struct work *w)
{
	struct tail_work *tw = container_of(w, struct tail_work, w);
	struct store *st = w->owner;
	struct store_tail *t = tw->t;
	int rc = tw->rc;

	buf_fini(&tw->window);
	if (!st) {
		buf_fini(&tw->out);
		free(tw);
		return;
	}
	for (unsigned i = 0; i < tw->nitems; i++)
		seg_unpin(st, tw->v[i].seg);
	seg_close_idle(st);
	if (rc == -EIO)
		st->damaged++;
	buf_fini(&t->out);
	t->out = tw->out;
	t->n = tw->n;
	free(tw);
	t->done(t, rc);
}

static int data_from_queue(void *arg, uint64_t at, size_t len, void *dst)
{
	const struct effect *e = *(const struct effect **)arg;
	uint8_t *to = dst;

	for (size_t i = 0; i < e->ndata && len; i++) {
		const struct iovec *v = &e->data[i];
		size_t n;

		if (at >= v->iov_len) {
			at -= v->iov_len;
			continue;
		}
		n = min_size(len, v->iov_len - at);
		memcpy(to, (const uint8_t *)v->iov_base + at, n);
		to += n;
		len -= n;
		at = 0;
	}
	return len ? -EBADMSG : 0;
}

/* Those that wait to be written are in memory. */
static void take_queued(struct store *st, struct tail_work *tw, const struct tail *t, unsigned i)
{
	for (; i < t->n && tw->out.len < tw->max && !tw->rc; i++) {
		const struct effect *e = journal_queued(st, *pos_of(t, i));

		if (!e)
			break;
		tw->rc = cut_effect(e->meta.data, e->meta.len, tw->shard, tw->seq + tw->n, &tw->out,
			data_from_queue, &e);
		tw->n += !tw->rc;
	}
}

void store_tail_read(
	struct store *st, struct store_tail *t, uint16_t shard, uint64_t seq, size_t max)
{
	struct past *p = find(st, shard);
	const struct tail *tail = p ? &p->tail : NULL;
	unsigned i = 0, n = 0;
	struct tail_work *tw;

	if (p && seq <= p->h.seq && tail->n && seq >= tail->first) {
		i = (unsigned)(seq - tail->first);
		n = tail->n - i < ITEMS_MAX ? tail->n - i : ITEMS_MAX;
	}
	tw = mem_zalloc(sizeof(*tw) + n * sizeof(tw->v[0]));
	tw->st = st;
	tw->t = t;
	tw->shard = shard;
	tw->seq = seq;
	tw->end = st->written;
	tw->max = max;
	if (!n && (!p || seq <= p->h.seq))
		tw->rc = -ESTALE;
	for (unsigned k = 0; k < n; k++) {
		uint64_t pos = *pos_of(tail, i + k);
		struct seg *s = pos < st->written ? seg_at(st, pos) : NULL;

		if (!s)
			break;
		tw->v[tw->nitems++] = (struct tail_item){.seg = s, .pos = pos};
		seg_pin(s);
		s->used = ++st->tick;
	}
	if (n && !tw->nitems) {
		take_queued(st, tw, tail, i);
		if (!tw->n && !tw->rc)
			tw->rc = -ESTALE; /* a segment is missing */
	}
	work_start(&tw->w, st->gate, st, NULL, tail_run, tail_done);
}
