/*
 * Writing: bytes are taken into units, full blocks go out at once, and writers wait while there is
 * too much that the nodes do not have.
 */
#include <errno.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

static bool too_much(const struct data_cache *dc, size_t len)
{
	uint64_t limit = dc->cfg.write_behind;

	if (limit < LAYOUT_BLOCK)
		limit = LAYOUT_BLOCK;
	return dc->used > 0 && dc->used + len > limit;
}

/* Puts the bytes of @w into units. */
static void take_bytes(struct data_inode *di, const struct data_wait *w)
{
	const uint8_t *p = w->data;
	uint64_t off = w->off, end = w->off + w->len;

	while (off < end) {
		uint64_t index = unit_of(off), stop = unit_end(index);
		struct unit *u = unit_get(di, index);
		uint32_t n = (uint32_t)((end < stop ? end : stop) - off);
		uint32_t at = (uint32_t)(off - unit_base(index));

		if (w->source)
			refs_take(u, at, at + n, w->source, w->source_off + (off - w->off));
		else
			unit_take(u, at, p, n);
		if (unit_full(u))
			unit_ready(u);
		p += w->source ? 0 : n;
		off += n;
	}
}

void data_extend(struct data_inode *di, uint64_t size, bool kill_priv)
{
	if (di->size < size)
		di->size = size;
	di->mtime = (int64_t)env_wall(di->dc->env);
	di->times = di->meta = di->wrote = true;
	di->kill_priv |= kill_priv;
	inode_dirty(di);
}

static void take(struct data_inode *di, struct data_wait *w)
{
	struct data_cache *dc = di->dc;

	if (w->append) {
		w->off = data_size(di);
		if (w->len > LAYOUT_SIZE_MAX - w->off) /* others appended while it waited */
			w->len = LAYOUT_SIZE_MAX - w->off;
	}
	chunk_drop_range(di, w->off, w->off + w->len);
	take_bytes(di, w);
	data_extend(di, w->off + w->len, w->kill_priv);
	if (dc->cfg.write_behind && dc->used > dc->cfg.write_behind / 2) {
		struct data_inode *oldest = TAILQ_FIRST(&dc->dirty);

		round_start(di);
		if (oldest && oldest != di)
			round_start(oldest);
	}
	unit_pump(dc);
}

static bool is_through(const struct data_cache *dc, const struct data_wait *w)
{
	return w->through || dc->nospace || dc->cfg.write_behind == 0;
}

static void taken(struct data_inode *di, struct data_wait *w)
{
	bool through = is_through(di->dc, w);

	take(di, w);
	w->state = WAIT_NONE;
	if (through)
		data_flush_wait(di, w);
	else
		w->done(w, 0);
}

bool data_write_now(struct data_inode *di, struct data_wait *w)
{
	struct data_cache *dc = di->dc;

	if (is_through(dc, w) || !TAILQ_EMPTY(&dc->space) || too_much(dc, w->len))
		return false;
	take(di, w);
	return true;
}

void data_write(struct data_inode *di, struct data_wait *w)
{
	struct data_cache *dc = di->dc;
	struct data_inode *d;

	w->di = di;
	if (TAILQ_EMPTY(&dc->space) && !too_much(dc, w->len)) {
		taken(di, w);
		return;
	}
	w->state = WAIT_SPACE;
	di->refs++; /* the record stays until this write is taken */
	TAILQ_INSERT_TAIL(&dc->space, w, entry);
	while (!dc->cancelling && (d = TAILQ_FIRST(&dc->dirty)) && d->state == ROUND_NONE)
		round_start(d);
	round_start(di);
}

void writers_pump(struct data_cache *dc)
{
	struct data_wait *w;

	while ((w = TAILQ_FIRST(&dc->space)) && !too_much(dc, w->len)) {
		struct data_inode *di = w->di;

		TAILQ_REMOVE(&dc->space, w, entry);
		taken(di, w);
		di->refs--;
		inode_rest(di);
	}
	/* all that is left to make room may have become dirty during a round */
	if (w) {
		struct data_inode *d = TAILQ_FIRST(&dc->dirty);

		if (d && d->state == ROUND_NONE && !dc->cancelling)
			round_start(d);
	}
}

void data_wait_cancel(struct data_inode *di, struct data_wait *w)
{
	switch (w->state) {
	case WAIT_SOON:
		TAILQ_REMOVE(&di->dc->soon, w, entry);
		break;
	case WAIT_ROUND:
		TAILQ_REMOVE(&di->waits, w, entry);
		break;
	case WAIT_NEXT:
		TAILQ_REMOVE(&di->next, w, entry);
		break;
	case WAIT_OVER:
		TAILQ_REMOVE(&di->over, w, entry);
		break;
	case WAIT_SPACE:
		TAILQ_REMOVE(&di->dc->space, w, entry);
		di->refs--;
		break;
	}
	w->state = WAIT_NONE;
}
