/*
 * What lies beyond the end: the mark that a writer sets before his blocks go there.
 *
 * Blocks are written before the inode says so. If their writer dies in between, bytes lie where the
 * file does not reach, and would show when somebody makes it longer. So the inode first gets the
 * mark "trim pending from its size" (TAIL_OPEN): {cut, size and mark as known; mark}. The
 * transactions of rounds move it along with the size, the last one clears it. Whoever else meets it
 * trims (fs/ops/truncate.c).
 *
 * Only one of the mark's and the inode's transactions is in flight at a time, and both compare the
 * mark: it never names less than what was once said to be in the file.
 *
 * What lies beyond the end is not in SLOT_BYTES either: it is all in the units' written sets, so it
 * is known to the byte. What was written into holes is not known to others when we die; so files
 * with holes get the mark, too, and whoever trims notes that the count may be too low (TAIL_LOW).
 */
#include <errno.h>

#include "dht/base/log.h"
#include "fs/cache/data_impl.h"
#include "fs/cache/inode.h"

#define TAIL_AHEAD (UINT64_C(64) << 20) /* the mark allows more than is there to be sent */
#define TAIL_FAR (UINT64_C(256) << 20)  /* nobody has to look for blocks over more than that */

static bool has_holes(const struct fs_attr *a)
{
	return a->size > LAYOUT_INLINE && a->block_bytes < a->size - LAYOUT_INLINE;
}

bool tail_covers(const struct unit *u)
{
	const struct data_inode *di = u->di;
	uint64_t end;

	if (u->index == 0 || u->dirty.n == 0)
		return true;
	end = unit_base(u->index) + u->dirty.v[u->dirty.n - 1].to;
	if (end <= di->a.size && (di->a.tail & TAIL_LOW || !has_holes(&di->a)))
		return true;
	return di->tail && end <= di->tail_to;
}

void tail_mask(const struct data_inode *di, struct fs_attr *a)
{
	if (!a->trim || !(a->tail & TAIL_OPEN))
		return;
	if (a->trim != di->tail && !(di->tail_busy && a->trim == di->tail_next) &&
		!(di->state == ROUND_INODE && a->trim == di->tail_next))
		return;
	a->trim = a->trim_to = 0;
	a->tail &= TAIL_LOW;
}

void data_own_mark(struct data_cache *dc, struct fs_attr *a)
{
	const struct data_inode *di;

	if (!dc || !a->trim || !(a->tail & TAIL_OPEN))
		return;
	di = inode_find(dc, a->ino);
	if (di)
		tail_mask(di, a);
}

/* ---- units that wait for it ---- */

static bool wants(const struct unit *u)
{
	return u->index > 0 && u->dirty.n && (u->round == ROUND_SEND || unit_full(u));
}

void tail_again(struct data_inode *di)
{
	struct unit *u;

	RB_FOREACH (u, units, &di->units) {
		if (wants(u))
			unit_ready(u);
	}
	unit_pump(di->dc);
}

/* What may not be sent is lost. */
static void tail_failed(struct data_inode *di, int rc)
{
	struct unit *u, *next;

	if (rc == -ENOSPC)
		di->dc->nospace = true;
	RB_FOREACH_SAFE (u, units, &di->units, next) {
		uint64_t base = unit_base(u->index);

		if (!wants(u) || tail_covers(u))
			continue;
		round_failed(
			di, rc, base + u->dirty.v[0].from, base + u->dirty.v[u->dirty.n - 1].to);
		unit_clear(u, &u->dirty);
		if (u->round && u->in_flight) {
			u->round = ROUND_ANSWER;
		} else if (u->round) {
			u->round = 0;
			di->left -= di->state == ROUND_BLOCKS;
		}
		unit_drop_if_clean(u);
	}
	if (di->state == ROUND_BLOCKS && di->left == 0)
		inode_send(di);
	else if (di->state == ROUND_NONE)
		inode_rest(di);
}

/* ---- the mark's transaction ---- */

static void tail_set(struct data_inode *di, const struct orbit_reply *r)
{
	struct txn_result res;
	struct fs_attr a;
	struct txn_object o;
	struct cur c;
	bool said = false;

	di->tail = di->tail_next;
	di->tail_to = di->tail_next_to;
	if (orbit_result(r, di->op_get, &res) == 0 && res.present) {
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		said = cur_ok(&c) && layout_attr(di->ino, &o, &a) == 0;
	}
	if (said) {
		/* as it was before */
		struct fs_attr before = a;

		a.trim = a.trim_to = 0;
		a.tail &= TAIL_LOW;
		a.size = di->tail_next_size;
		a.version++;
		inode_note(di, &a);
		data_moved(di->dc, &before, &a);
	}
	if (di->a.size < di->tail_next_size)
		di->a.size = di->tail_next_size;
	round_told(di, r, said ? &a : NULL);
}

static void tail_sent(void *arg, const struct orbit_reply *r)
{
	struct data_inode *di = arg;
	struct data_cache *dc = di->dc;
	bool waits;

	dc->landing--;
	di->tail_busy = false;
	di->tail_handle = 0;
	waits = di->state == ROUND_TAIL;
	if (r->rc == 0)
		tail_set(di, r);
	else
		round_told(di, r, NULL);
	if (r->rc == 0 && !waits) {
		tail_again(di);
		inode_rest(di);
	} else if (r->rc == -ECANCELED && !dc->cancelling && !di->lost &&
		   ++di->retries <= RETRIES_MAX) {
		round_look(di);
	} else if (r->rc) {
		/* it may be there or not: whoever meets it knows what to do */
		tail_failed(di, r->rc == -ECANCELED || r->rc == -ESTALE ? -EIO : r->rc);
	}
	if (waits && di->state == ROUND_TAIL)
		inode_send(di);
	writers_pump(dc);
	stop_check(dc);
}

/* Where the dirty blocks end, and where the last of them begins to be dirty. */
static uint64_t dirty_end(struct data_inode *di, uint64_t *from)
{
	struct unit *u;

	RB_FOREACH_REVERSE(u, units, &di->units)
	{
		uint64_t base = unit_base(u->index);

		if (u->index == 0 || u->dirty.n == 0)
			continue;
		*from = base + u->dirty.v[0].from;
		return base + u->dirty.v[u->dirty.n - 1].to;
	}
	return *from = 0;
}

static uint64_t whole_blocks(uint64_t size)
{
	return (size + LAYOUT_BLOCK - 1) / LAYOUT_BLOCK * LAYOUT_BLOCK;
}

void tail_want(struct data_inode *di)
{
	struct orbit_id id = layout_inode_id(di->ino);
	uint64_t from, end, size = di->a.size, low = di->a.tail & TAIL_LOW;
	struct txn_build t;

	if (di->tail_busy || di->state == ROUND_INODE || di->state == ROUND_REFETCH)
		return; /* tail_again() comes */
	end = dirty_end(di, &from);
	/* A hole before bytes that are far away may show. */
	if (end > size + TAIL_FAR && from > size)
		size = from;
	txn_init(&t);
	txn_slot_eq(&t, &id, SLOT_CUT, di->cut);
	txn_slot_eq(&t, &id, SLOT_SIZE, di->a.size);
	txn_slot_eq(&t, &id, SLOT_TRIM, di->tail);
	txn_slot_eq(&t, &id, SLOT_TAIL, low | (di->tail ? TAIL_OPEN : 0));
	di->op_get = txn_get(&t, &id);
	if (size != di->a.size)
		txn_set(&t, &id, SLOT_SIZE, size);
	di->tail_next = 1 + size;
	di->tail_next_to = whole_blocks(end) + TAIL_AHEAD;
	di->tail_next_size = size;
	txn_set(&t, &id, SLOT_TRIM, di->tail_next);
	txn_set(&t, &id, SLOT_TRIM_TO, di->tail_next_to);
	txn_set(&t, &id, SLOT_TAIL, low | TAIL_OPEN);
	round_tells(di);
	di->tail_busy = true;
	di->tail_handle = data_submit(di, &t, tail_sent, di);
	txn_fini(&t);
}

/* ---- rounds ---- */

/* Bytes that the blocks have at or past @size; *more: some are yet to come. */
static uint64_t written_past(struct data_inode *di, uint64_t size, bool *more)
{
	uint64_t bytes = 0;
	struct unit *u;

	*more = false;
	RB_FOREACH (u, units, &di->units) {
		uint64_t base = unit_base(u->index);

		if (u->index == 0)
			continue;
		*more |= u->dirty.n || u->sending.n || u->in_flight;
		if (base >= size)
			bytes += u->written.bytes;
		else if (unit_end(u->index) > size)
			bytes += ranges_past(&u->written, (uint32_t)(size - base));
	}
	return bytes;
}

void tail_lost(struct data_inode *di)
{
	bool more;

	if (di->tail)
		di->gained -= (int64_t)written_past(di, di->tail - 1, &more);
	di->tail = di->tail_to = 0;
}

uint64_t tail_round(struct data_inode *di, struct txn_build *t, uint64_t size)
{
	struct orbit_id id = layout_inode_id(di->ino);
	uint64_t past, to = whole_blocks(size) + TAIL_AHEAD;
	bool more;

	past = written_past(di, size, &more);
	di->tail_next = 0;
	di->tail_next_to = 0;
	if (!di->tail)
		return past;
	if (more || past) {
		di->tail_next = 1 + size;
		di->tail_next_to = to > di->tail_to ? to : di->tail_to;
	}
	txn_set(t, &id, SLOT_TRIM, di->tail_next);
	txn_set(t, &id, SLOT_TRIM_TO, di->tail_next_to);
	txn_set(t, &id, SLOT_TAIL, (di->a.tail & TAIL_LOW) | (di->tail_next ? TAIL_OPEN : 0));
	return past;
}

/* Forgets what the unit's block has at or past @size. */
static void written_within(struct unit *u, uint64_t size)
{
	uint64_t base = unit_base(u->index);
	uint32_t had = u->written.bytes;

	ranges_drop_past(&u->written, size > base ? (uint32_t)(size - base) : 0);
	u->di->dc->used -= had - u->written.bytes;
}

void tail_rounded(struct data_inode *di)
{
	struct unit *u, *next;
	uint64_t past;
	bool more;

	di->tail = di->tail_next;
	di->tail_to = di->tail_next_to;
	if (!di->tail || di->size > di->a.size)
		return;
	past = written_past(di, di->a.size, &more);
	if (more || !past)
		return;
	/* Bytes before these were lost, so nobody will say that the file reaches that far. They
	 * and the mark stay for whoever meets it. */
	RB_FOREACH_SAFE (u, units, &di->units, next) {
		if (u->index == 0 || unit_end(u->index) <= di->a.size)
			continue;
		written_within(u, di->a.size);
		unit_drop_if_clean(u);
	}
	di->gained -= (int64_t)past;
	di->tail = di->tail_to = 0;
}
