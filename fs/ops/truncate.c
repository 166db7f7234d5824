/*
 * truncate: a change of size.
 *
 *   FLUSH   what is dirty here goes first
 *   SMALL   if all is believed to lie in the inode: {no bytes in blocks, no trim mark; size, cut+1,
 *           inline bytes punched}: that is all
 *   LOOK    attributes are read; a trim that was found pending is finished first
 *   CUT     {cut and mode as seen, no trim mark; size; when it shrinks over blocks: cut+1, trim
 * mark, inline bytes punched} TRIM    the blocks, then {cut as set: mark cleared, bytes subtracted}
 *
 * A compare that fails leads back to LOOK. After CUT the call cannot fail any more but by time-out:
 * the mark makes whoever meets it finish the job.
 */
#include "fs/ops/truncate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/attr.h"
#include "fs/ops/flush.h"
#include "fs/ops/op.h"

struct cut {
	struct op op;
	uint64_t ino, size;
	unsigned what;
	struct fs_attr set;
	struct fs_attr a; /* as seen */
	bool caps;        /* security.capability goes as well */
	int get;
	int64_t now;
	TAILQ_ENTRY(cut) entry; /* of those under way */
};

/* Compares of CUT and SMALL that failed. */
enum { WHY_LOOK = 10, WHY_CAPS = 11 };

static const char caps_name[] = "security.capability";

static void cut_look(struct op *o);

/* ---- finishing a trim ---- */

struct finish {
	struct fs *fs;
	struct fs_attr a;
	uint64_t removed;
	uint64_t tail; /* SLOT_TAIL after it */
	bool cleared;  /* only the count of bytes is left to do */
	bool all;      /* removed is all that was counted */
	bool ours;     /* the cut is this mount's */
	int get;
	void (*done)(void *arg, int rc, const struct fs_attr *a);
	void *arg;
};

static void finish_clear(struct finish *f);

static void finish_end(struct finish *f, int rc)
{
	struct fs *fs = f->fs;

	f->done(f->arg, rc, &f->a);
	free(f);
	mount_op_end(fs);
}

static void finish_looked(void *arg, const struct orbit_reply *r)
{
	struct finish *f = arg;
	struct fs_attr a;
	int rc = r->rc ? r->rc : op_attr(f->fs, r, 0, f->a.ino, &a);

	if (rc) {
		finish_end(f, rc == -ENOENT ? -ESTALE : rc);
		return;
	}
	if (a.trim == 0) {
		f->a = a;
		finish_end(f, 0);
		return;
	}
	/* cut again meanwhile */
	truncate_finish(f->fs, &a, f->done, f->arg);
	mount_op_end(f->fs);
	free(f);
}

static void finish_look(struct finish *f)
{
	struct orbit_id id = layout_inode_id(f->a.ino);
	struct txn_build t;

	txn_init(&t);
	txn_get(&t, &id);
	mount_submit(f->fs, NULL, f->a.ino, &t, finish_looked, f);
	txn_fini(&t);
}

/* What the count of bytes is worth when all is trimmed. */
static uint64_t tail_after(const struct fs_attr *a)
{
	/* whoever wrote into holes did not live to count it */
	bool holes = a->size > LAYOUT_INLINE && a->block_bytes < a->size - LAYOUT_INLINE;

	if (a->tail & TAIL_UNCOUNTED)
		return holes ? TAIL_LOW : a->tail & TAIL_LOW;
	return a->trim - 1 <= LAYOUT_INLINE ? 0 : a->tail & TAIL_LOW;
}

static void finish_cleared(void *arg, const struct orbit_reply *r)
{
	struct finish *f = arg;

	if (r->rc == -EOVERFLOW) {
		log_warn("mod=fs ino=%" PRIx64 " removed=%" PRIu64
			 " msg=\"more bytes trimmed than were counted\"",
			f->a.ino, f->removed);
		f->removed = 0;
		finish_clear(f);
	} else if (r->rc == -ECANCELED && !f->cleared) {
		/* trimmed by somebody else (and perhaps cut anew): the bytes are ours to count, if
		 * they are counted one by one */
		f->cleared = true;
		if (f->all)
			f->removed = 0;
		if (f->removed)
			finish_clear(f);
		else
			finish_look(f);
	} else if (r->rc) {
		finish_end(f, r->rc == -ECANCELED ? -ESTALE : r->rc);
	} else if (f->cleared) {
		finish_look(f);
	} else {
		f->a.trim = f->a.trim_to = 0;
		f->a.tail = f->tail;
		f->a.bytes -= f->removed;
		f->a.block_bytes -= f->removed;
		f->a.version++;
		mount_changed(f->fs, f->a.ino);
		finish_end(f, 0);
	}
}

static void finish_clear(struct finish *f)
{
	struct orbit_id id = layout_inode_id(f->a.ino);
	struct txn_build t;

	txn_init(&t);
	if (!f->cleared) {
		txn_slot_eq(&t, &id, SLOT_CUT, f->a.cut);
		/* who writes beyond the end has a mark of the same cut */
		txn_slot_eq(&t, &id, SLOT_TRIM, f->a.trim);
		txn_slot_eq(&t, &id, SLOT_TAIL, f->a.tail);
		txn_set(&t, &id, SLOT_TRIM, 0);
		txn_set(&t, &id, SLOT_TRIM_TO, 0);
		f->tail = tail_after(&f->a);
		if (f->tail != f->a.tail)
			txn_set(&t, &id, SLOT_TAIL, f->tail);
	}
	if (f->removed)
		txn_add(&t, &id, SLOT_BYTES, -(int64_t)f->removed);
	mount_submit(f->fs, NULL, f->a.ino, &t, finish_cleared, f);
	txn_fini(&t);
}

static void finish_trimmed(void *arg, int rc, uint64_t removed)
{
	struct finish *f = arg;

	if (rc) {
		finish_end(f, rc);
		return;
	}
	f->removed = removed;
	if (f->a.tail & TAIL_UNCOUNTED)
		f->removed = 0;
	else if (f->a.tail & TAIL_LOW &&
		 (f->a.trim - 1 <= LAYOUT_INLINE || removed > f->a.block_bytes)) {
		f->removed = f->a.block_bytes;
		f->all = true;
	}
	finish_clear(f);
}

static void finish_trim(struct finish *f)
{
	const struct fs_attr *a = &f->a;

	trim_blocks(f->fs, a->ino, a->trim - 1, a->trim_to, a->tail ? UINT64_MAX : a->block_bytes,
		a->cut, f->ours ? TRIM_OURS : TRIM_SEEN, finish_trimmed, f);
}

static void finish_taken(void *arg, const struct orbit_reply *r)
{
	struct finish *f = arg;

	if (r->rc == -ECANCELED) {
		finish_look(f);
	} else if (r->rc) {
		finish_end(f, r->rc);
	} else {
		f->ours = true;
		f->a.cut++;
		f->a.tail = (f->a.tail & TAIL_LOW) | TAIL_UNCOUNTED;
		f->a.version++;
		finish_trim(f);
	}
}

/* The mark of a writer who died: blocks with his cut are to go. */
static void finish_take(struct finish *f)
{
	struct orbit_id id = layout_inode_id(f->a.ino);
	struct txn_build t;

	txn_init(&t);
	txn_slot_eq(&t, &id, SLOT_CUT, f->a.cut);
	txn_slot_eq(&t, &id, SLOT_TRIM, f->a.trim);
	txn_slot_eq(&t, &id, SLOT_TAIL, f->a.tail);
	txn_add(&t, &id, SLOT_CUT, 1);
	txn_set(&t, &id, SLOT_TAIL, (f->a.tail & TAIL_LOW) | TAIL_UNCOUNTED);
	mount_submit(f->fs, NULL, f->a.ino, &t, finish_taken, f);
	txn_fini(&t);
}

static void finish_start(struct fs *fs, const struct fs_attr *a, bool ours,
	void (*done)(void *arg, int rc, const struct fs_attr *a), void *arg)
{
	struct finish *f = mem_zalloc(sizeof(*f));

	*f = (struct finish){.fs = fs, .a = *a, .ours = ours, .done = done, .arg = arg};
	mount_op_begin(fs);
	if (a->tail & TAIL_OPEN)
		finish_take(f);
	else
		finish_trim(f);
}

void truncate_finish(struct fs *fs, const struct fs_attr *a,
	void (*done)(void *arg, int rc, const struct fs_attr *a), void *arg)
{
	finish_start(fs, a, false, done, arg);
}

void truncate_finish_cache(void *ctx, const struct fs_attr *a,
	void (*done)(void *arg, int rc, const struct fs_attr *a), void *arg)
{
	truncate_finish(ctx, a, done, arg);
}

/* ---- a change of size ---- */

uint64_t truncate_least(struct fs *fs, uint64_t ino)
{
	uint64_t least = UINT64_MAX;
	const struct cut *k;

	TAILQ_FOREACH (k, &fs->cuts, entry) {
		if (k->ino == ino && k->size < least)
			least = k->size;
	}
	return least;
}

static void cut_end(struct cut *k, int rc)
{
	TAILQ_REMOVE(&k->op.fs->cuts, k, entry);
	inode_cut_end(k->op.fs->inodes, k->ino);
	op_end(&k->op, rc);
}

/* All is done: *a is what the inode is like now. */
static void cut_done(struct cut *k, const struct fs_attr *a)
{
	struct fs *fs = k->op.fs;

	hint_learn(fs, a);
	mount_changed(fs, k->ino);
	data_cut(fs->data, a);
	k->op.call->attr = *a;
	data_overlay(fs->data, &k->op.call->attr);
	cut_end(k, 0);
}

static void cut_trimmed(void *arg, int rc, const struct fs_attr *a)
{
	struct cut *k = arg;

	flush_unpark(&k->op);
	if (rc)
		cut_end(k, rc);
	else
		cut_done(k, a);
}

/* Adds what the call changes besides the blocks; makes it in *a. */
static void put_changes(struct cut *k, struct txn_build *t, struct fs_attr *a, bool cut)
{
	struct orbit_id id = layout_inode_id(k->ino);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen = layout_xattr_key(caps_name, key);
	unsigned what = k->what;

	if (!(what & FS_SET_MTIME))
		what |= FS_SET_MTIME_NOW;
	attr_put(t, a, what, &k->set, k->now);
	txn_set(t, &id, SLOT_SIZE, k->size);
	a->size = k->size;
	if (cut) {
		txn_add(t, &id, SLOT_CUT, 1);
		a->cut++;
		if (k->size < LAYOUT_INLINE)
			txn_punch(t, &id, k->size, UINT64_MAX);
	}
	if (k->caps)
		txn_del(t, &id, key, klen);
	else
		op_why(&k->op, txn_map_absent(t, &id, key, klen), WHY_CAPS);
}

/* What the inode is like after the transaction whose GET is @r's. */
static int cut_outcome(struct cut *k, const struct orbit_reply *r, struct fs_attr *a, bool cut)
{
	struct txn_build none;
	int rc = op_attr(k->op.fs, r, k->get, k->ino, a);

	if (rc)
		return rc == -ENOENT ? -ESTALE : rc;
	k->a = *a;
	txn_init(&none);
	put_changes(k, &none, a, cut);
	txn_fini(&none);
	memset(&k->op.why, 0, sizeof(k->op.why));
	a->version++;
	if (cut && k->size < LAYOUT_INLINE)
		a->bytes =
			a->block_bytes +
			(k->size < a->bytes - a->block_bytes ? k->size : a->bytes - a->block_bytes);
	data_moved(k->op.fs->data, &k->a, a);
	return 0;
}

static void cut_small(struct op *o);

static void cut_sent(void *arg, int rc)
{
	struct cut *k = arg;

	flush_unpark(&k->op);
	(void)rc; /* reported to who wrote, when it closes or syncs */
	cut_look(&k->op);
}

/* The file is not as it was thought to be; perhaps it has the mark of our own writing. */
static void cut_sends(struct op *o)
{
	struct cut *k = container_of(o, struct cut, op);

	if (!data_dirty(o->fs->data, k->ino)) {
		cut_look(o);
		return;
	}
	flush_park(o);
	data_flush(o->fs->data, k->ino, cut_sent, k);
}

/* Goes on after a transaction that failed: true when it is not the end of the call. */
static bool cut_again(struct cut *k, int rc, void (*same)(struct op *o))
{
	if (rc == WHY_CAPS) {
		k->caps = true;
		op_retry(&k->op, same);
		return true;
	}
	if (rc == WHY_LOOK) {
		op_retry(&k->op, cut_sends);
		return true;
	}
	return false;
}

static bool shrinks(const struct cut *k)
{
	return k->size < k->a.size;
}

static void cut_cut(struct op *o);

static void cut_was_cut(void *arg, const struct orbit_reply *r)
{
	struct cut *k = arg;
	bool cut = shrinks(k);
	struct fs_attr a;
	int rc = op_outcome(&k->op, r);

	if (cut_again(k, rc, cut_cut))
		return;
	if (!rc)
		rc = cut_outcome(k, r, &a, cut);
	if (rc) {
		cut_end(k, rc);
		return;
	}
	if (cut && k->a.size > LAYOUT_INLINE) {
		a.trim = k->size + 1;
		a.trim_to = k->a.size;
		data_cut(k->op.fs->data, &a);
		flush_park(&k->op);
		finish_start(k->op.fs, &a, true, cut_trimmed, k);
		return;
	}
	cut_done(k, &a);
}

static void cut_cut(struct op *o)
{
	struct cut *k = container_of(o, struct cut, op);
	struct orbit_id id = layout_inode_id(k->ino);
	struct fs_attr a = k->a;
	bool cut = shrinks(k);
	struct txn_build t;

	k->now = mount_now(o->fs);
	txn_init(&t);
	op_why(o, txn_slot_eq(&t, &id, SLOT_CUT, k->a.cut), WHY_LOOK);
	op_why(o, txn_slot_eq(&t, &id, SLOT_TRIM, 0), WHY_LOOK);
	op_why(o, txn_slot_eq(&t, &id, SLOT_MODE, k->a.mode), WHY_LOOK);
	/* the mark says how long it was */
	op_why(o, txn_slot_eq(&t, &id, SLOT_SIZE, k->a.size), WHY_LOOK);
	k->get = txn_get(&t, &id);
	put_changes(k, &t, &a, cut);
	if (cut && k->a.size > LAYOUT_INLINE) {
		txn_set(&t, &id, SLOT_TRIM, k->size + 1);
		txn_set(&t, &id, SLOT_TRIM_TO, k->a.size);
	}
	op_submit(o, k->ino, &t, cut_was_cut);
	txn_fini(&t);
}

static void cut_finished(void *arg, int rc, const struct fs_attr *a)
{
	struct cut *k = arg;

	flush_unpark(&k->op);
	if (rc) {
		cut_end(k, rc);
		return;
	}
	k->a = *a;
	cut_cut(&k->op);
}

static void cut_looked(void *arg, const struct orbit_reply *r)
{
	struct cut *k = arg;
	int rc = op_outcome(&k->op, r);

	if (!rc)
		rc = op_attr(k->op.fs, r, k->get, k->ino, &k->a);
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc && !S_ISREG(k->a.mode))
		rc = S_ISDIR(k->a.mode) ? -EISDIR : -EINVAL;
	if (rc) {
		cut_end(k, rc);
	} else if (k->a.trim) {
		flush_park(&k->op);
		truncate_finish(k->op.fs, &k->a, cut_finished, k);
	} else {
		cut_cut(&k->op);
	}
}

static void cut_look(struct op *o)
{
	struct cut *k = container_of(o, struct cut, op);
	struct orbit_id id = layout_inode_id(k->ino);
	struct txn_build t;

	txn_init(&t);
	k->get = txn_get(&t, &id);
	op_submit(o, k->ino, &t, cut_looked);
	txn_fini(&t);
}

static void cut_was_small(void *arg, const struct orbit_reply *r)
{
	struct cut *k = arg;
	struct fs_attr a;
	int rc = op_outcome(&k->op, r);

	if (cut_again(k, rc, cut_small))
		return;
	if (!rc)
		rc = cut_outcome(k, r, &a, true);
	if (rc)
		cut_end(k, rc);
	else
		cut_done(k, &a);
}

static void cut_small(struct op *o)
{
	struct cut *k = container_of(o, struct cut, op);
	struct orbit_id id = layout_inode_id(k->ino);
	struct fs_attr a = k->a;
	struct txn_build t;

	k->now = mount_now(o->fs);
	txn_init(&t);
	op_why(o, txn_slot_eq(&t, &id, SLOT_MODE, a.mode), WHY_LOOK);
	op_why(o, txn_slot_eq(&t, &id, SLOT_BYTES, 0), WHY_LOOK);
	op_why(o, txn_slot_eq(&t, &id, SLOT_TRIM, 0), WHY_LOOK);
	op_why(o, txn_slot_eq(&t, &id, SLOT_TAIL, 0), WHY_LOOK);
	k->get = txn_get(&t, &id);
	put_changes(k, &t, &a, true);
	op_submit(o, k->ino, &t, cut_was_small);
	txn_fini(&t);
}

static void cut_flushed(void *arg, int rc)
{
	struct cut *k = arg;
	const struct hint_inode *h = hint_inode(k->op.fs, k->ino);

	flush_unpark(&k->op);
	(void)rc; /* reported to who wrote, when it closes or syncs */
	if (h && S_ISREG(h->mode) && k->size < LAYOUT_INLINE) {
		k->a = (struct fs_attr){.ino = k->ino, .mode = h->mode};
		cut_small(&k->op);
	} else {
		cut_look(&k->op);
	}
}

void truncate_setattr(
	struct fs *fs, struct fs_call *c, uint64_t ino, unsigned what, const struct fs_attr *set)
{
	struct cut *k;

	if (!mount_writable(fs, c))
		return;
	if (set->size > LAYOUT_SIZE_MAX) {
		mount_done(c, -EFBIG);
		return;
	}
	k = op_new(sizeof(*k), fs, c);
	k->ino = ino;
	k->size = set->size;
	k->what = what;
	k->set = *set;
	TAILQ_INSERT_TAIL(&fs->cuts, k, entry);
	inode_cut_begin(fs->inodes, ino);
	read_cut(fs, ino, k->size);
	flush_park(&k->op);
	if (data_dirty(fs->data, ino))
		data_flush(fs->data, ino, cut_flushed, k);
	else
		cut_flushed(k, 0);
}
