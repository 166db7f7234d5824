/*
 * space: fallocate and lseek.
 *
 * Holes are made object by object, without a cut, under the file's exclusive lease: so no other
 * mount reads or writes while it is half done, and what they remember goes first. On this mount a
 * writer finds his bytes or the hole. Nothing is reserved: mode 0 only moves the end of the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/cache/inode.h"
#include "fs/ops/attr.h"
#include "fs/ops/flush.h"
#include "fs/ops/op.h"
#include "fs/ops/refresh.h"
#include "fs/ops/space.h"
#include "fs/ops/truncate.h"

/* ---- fallocate ---- */

struct space {
	struct op op;
	struct fs_file *f; /* our own: the caller may be gone before we are done */
	struct inode_wait lease;
	bool leased; /* it is in use */
	int mode;
	uint64_t from, to;
	uint64_t removed;
	int mode_op; /* the compare of the mode, while set-id bits are dropped; else -1 */
	int grow_op; /* the compare of the mark, when the file grows; else -1 */
	void (*next)(void *arg, int rc); /* after flush_and_refresh() */
};

static void space_inode(struct space *s);
static void flush_and_refresh(struct space *s);

static void space_end(struct space *s, int rc)
{
	struct fs *fs = s->op.fs;
	struct fs_file *f = s->f;

	mount_op_begin(fs);
	if (s->leased)
		inode_unuse(fs->inodes, s->lease.ino);
	op_end(&s->op, rc);
	fs_release(fs, f);
	mount_op_end(fs);
}

static void space_refreshed(void *arg, int rc)
{
	(void)rc; /* it took effect; the attributes come with the next getattr */
	space_end(arg, 0);
}

/* What was found otherwise than it was thought to be was read again. */
static void space_again(void *arg, int rc)
{
	struct space *s = arg;

	if (rc)
		space_end(s, rc);
	else
		space_inode(s);
}

static void space_told(void *arg, const struct orbit_reply *r)
{
	struct space *s = arg;
	struct fs *fs = s->op.fs;

	if (r->rc == -ECANCELED && s->mode_op >= 0 && r->failed == s->mode_op) {
		refresh(fs, s->op.call, s->f, space_again, s);
		return;
	}
	if (r->rc == -ECANCELED && s->grow_op >= 0 && r->failed == s->grow_op) {
		s->next = space_again;
		flush_and_refresh(s);
		return;
	}
	if (r->rc == -EOVERFLOW && s->removed) {
		s->removed = 0; /* the count was off, fsck puts it right */
		space_inode(s);
		return;
	}
	if (r->rc) {
		space_end(s, r->rc == -ECANCELED ? -EIO : r->rc);
		return;
	}
	mount_changed(fs, fs_ino_of(s->f));
	data_drop(s->f->data, 0);
	refresh(fs, s->op.call, s->f, space_refreshed, s);
}

/* The inode: inline bytes, size, times, the count of bytes, and the set-id bits, which go as they
 * do with a write. */
static void space_inode(struct space *s)
{
	struct fs *fs = s->op.fs;
	uint32_t mode = data_attr(s->f->data)->mode, killed = attr_mode_killed(mode);
	uint64_t now = (uint64_t)mount_now(fs);
	struct orbit_id id = layout_inode_id(fs_ino_of(s->f));
	struct txn_build t;

	txn_init(&t);
	txn_exists(&t, &id);
	s->mode_op = s->grow_op = -1;
	/* what a writer left beyond the end must not get into the file */
	if (!(s->mode & FALLOC_FL_KEEP_SIZE) && s->to > data_attr(s->f->data)->size)
		s->grow_op = txn_slot_eq(&t, &id, SLOT_TRIM, 0);
	if (s->op.call->kill_priv && killed != mode) {
		s->mode_op = txn_slot_eq(&t, &id, SLOT_MODE, mode);
		txn_set(&t, &id, SLOT_MODE, killed);
	}
	if (s->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && s->from < LAYOUT_INLINE)
		txn_punch(&t, &id, s->from, s->to < LAYOUT_INLINE ? s->to : LAYOUT_INLINE);
	if (!(s->mode & FALLOC_FL_KEEP_SIZE))
		txn_max(&t, &id, SLOT_SIZE, s->to);
	txn_set(&t, &id, SLOT_MTIME, now);
	txn_max(&t, &id, SLOT_CTIME, now);
	if (s->removed)
		txn_add(&t, &id, SLOT_BYTES, -(int64_t)s->removed);
	op_submit(&s->op, fs_ino_of(s->f), &t, space_told);
	txn_fini(&t);
}

static void space_trimmed(void *arg, int rc, uint64_t removed)
{
	struct space *s = arg;

	flush_unpark(&s->op);
	data_drop(s->f->data, s->from);
	if (rc) {
		space_end(s, rc);
		return;
	}
	s->removed = removed;
	space_inode(s);
}

/* All is flushed and the attributes are new. */
static void space_ready(void *arg, int rc)
{
	struct space *s = arg;
	const struct fs_attr *a = data_attr(s->f->data);
	uint64_t end;

	if (rc) {
		space_end(s, rc);
		return;
	}
	if (!(s->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))) {
		if (s->mode & FALLOC_FL_KEEP_SIZE || s->to <= a->size)
			space_end(s, 0); /* nothing is reserved */
		else
			space_inode(s);
		return;
	}
	end = s->to < a->size ? s->to : a->size;
	if (end == a->size && a->size)
		end = ((a->size - 1) / LAYOUT_BLOCK + 1) * LAYOUT_BLOCK;
	flush_park(&s->op);
	trim_range(s->op.fs, fs_ino_of(s->f), s->from, end, a->tail ? UINT64_MAX : a->block_bytes,
		UINT64_MAX, TRIM_ANYHOW, space_trimmed, s);
}

static void space_flushed(void *arg, int rc)
{
	struct space *s = arg;

	flush_unpark(&s->op);
	if (rc)
		s->next(s, rc);
	else
		refresh(s->op.fs, s->op.call, s->f, s->next, s);
}

/* Sends what is dirty and reads the attributes; s->next(s, rc). */
static void flush_and_refresh(struct space *s)
{
	struct fs *fs = s->op.fs;

	if (!data_dirty(fs->data, fs_ino_of(s->f))) {
		refresh(fs, s->op.call, s->f, s->next, s);
		return;
	}
	flush_park(&s->op);
	data_flush(fs->data, fs_ino_of(s->f), space_flushed, s);
}

static void space_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct space *s = call->impl;

	if (!fatal && !inode_wait_stalled(fs->inodes, &s->lease))
		return;
	inode_wait_cancel(fs->inodes, &s->lease);
	flush_unpark(&s->op);
	space_end(s, -EINTR);
}

static void space_leased(struct inode_wait *lease, int rc, const struct fs_attr *a)
{
	struct space *s = container_of(lease, struct space, lease);

	flush_unpark(&s->op);
	s->leased = !rc;
	if (rc) {
		space_end(s, rc == -ESTALE ? -EIO : rc);
		return;
	}
	if (a)
		data_note(s->f->data, a);
	flush_and_refresh(s);
}

/* Gets the lease, then does all else. */
static void space_begin(struct space *s, enum orbit_lease mode)
{
	struct fs *fs = s->op.fs;

	s->lease = (struct inode_wait){.done = space_leased,
		.ino = fs_ino_of(s->f),
		.mode = mode,
		.policy = data_policy(s->f->data)};
	s->op.call->impl = s;
	s->op.call->interrupt = space_interrupt;
	if (inode_use(fs->inodes, &s->lease))
		space_leased(&s->lease, 0, NULL);
}

static int check_mode(int mode)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;

	if (what == 0 || what == FALLOC_FL_ZERO_RANGE)
		return 0;
	if (what == FALLOC_FL_PUNCH_HOLE)
		return mode & FALLOC_FL_KEEP_SIZE ? 0 : -EOPNOTSUPP;
	return -EOPNOTSUPP;
}

static struct space *space_new(
	struct fs *fs, struct fs_call *c, struct fs_file *f, int mode, uint64_t from, uint64_t to)
{
	struct space *s = op_new(sizeof(*s), fs, c);

	s->f = file_again(f);
	s->next = space_ready;
	s->mode = mode;
	s->from = from;
	s->to = to;
	return s;
}

void space_punch(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t from, uint64_t to)
{
	flush_and_refresh(
		space_new(fs, c, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, to));
}

void fs_fallocate(
	struct fs *fs, struct fs_call *c, struct fs_file *f, int mode, uint64_t off, uint64_t len)
{
	int rc = check_mode(mode);

	if (!rc && len == 0)
		rc = -EINVAL;
	if (!rc && (off > LAYOUT_SIZE_MAX || len > LAYOUT_SIZE_MAX - off))
		rc = -EFBIG;
	if (rc) {
		mount_done(c, rc);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	space_begin(space_new(fs, c, f, mode, off, off + len), ORBIT_LEASE_EXCLUSIVE);
}

/* ---- lseek ---- */

#define SEEK_BATCH 64 /* blocks looked at together */

/*
 * Which parts of the file hold data is asked block by block, up to SEEK_BATCH of them at once, in
 * one transaction for each node. The answers are gathered as the first data and the first hole of
 * each block at or after where we look.
 */
struct seek {
	struct space s; /* for what it shares with fallocate: its call, its file */
	bool hole;
	uint64_t at, size;
	uint64_t first; /* unit */
	unsigned n, left;
	int rc;
	uint64_t data[SEEK_BATCH], gap[SEEK_BATCH]; /* offsets in the file; UINT64_MAX: none */
};

struct seek_part {
	struct seek *k;
	unsigned n;
	uint16_t node;
	unsigned index[SEEK_BATCH];
	int op[SEEK_BATCH];
};

static void seek_batch(struct seek *k);

static void seek_end(struct seek *k, int rc, uint64_t off)
{
	k->s.op.call->offset = off;
	space_end(&k->s, rc);
}

static uint64_t unit_start(uint64_t unit)
{
	return unit == 0 ? 0 : unit == 1 ? LAYOUT_INLINE : (unit - 1) * LAYOUT_BLOCK;
}

static uint64_t unit_stop(uint64_t unit)
{
	return unit == 0 ? LAYOUT_INLINE : unit * LAYOUT_BLOCK;
}

static void seek_found(struct seek *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		uint64_t off = k->hole ? k->gap[i] : k->data[i];

		if (off == UINT64_MAX)
			continue;
		if (off >= k->size)
			break;
		seek_end(k, 0, off);
		return;
	}
	k->first += k->n;
	k->at = unit_start(k->first);
	if (k->at < k->size)
		seek_batch(k);
	else
		seek_end(k, k->hole ? 0 : -ENXIO, k->size);
}

/* From the pieces of a block that hold data: where data and where a hole begins at or after @at. */
static int seek_read(struct seek *k, unsigned i, const struct txn_result *res)
{
	uint64_t unit = k->first + i, base = unit == 0 ? 0 : (unit - 1) * LAYOUT_BLOCK;
	uint64_t at = unit_start(unit) > k->at ? unit_start(unit) : k->at, gap = at, next;
	struct cur c = cur_of(res->data, res->len);
	uint32_t n;

	k->data[i] = UINT64_MAX;
	next = cur_u64(&c);
	n = cur_u32(&c);
	for (uint32_t j = 0; j < n && cur_ok(&c); j++) {
		uint64_t off = base + cur_u64(&c), end = off + cur_u64(&c);

		if (end <= at)
			continue;
		if (k->data[i] == UINT64_MAX)
			k->data[i] = off > at ? off : at;
		if (off <= gap)
			gap = end;
	}
	/* cut short: what follows is as good as data, and looked at no closer */
	if (res->len && base + next < unit_stop(unit) && gap >= base + next)
		gap = unit_stop(unit);
	k->gap[i] = gap < unit_stop(unit) ? gap : UINT64_MAX;
	return res->len == 0 || cur_ok(&c) ? 0 : -EIO;
}

static void seek_answered(void *arg, const struct orbit_reply *r)
{
	struct seek_part *p = arg;
	struct seek *k = p->k;

	if (r->rc && k->rc == 0)
		k->rc = r->rc == -ESTALE ? -EIO : r->rc;
	for (unsigned i = 0; i < p->n && r->rc == 0; i++) {
		struct txn_result res = {0};
		int rc = orbit_result(r, p->op[i], &res);

		if (rc == 0)
			rc = seek_read(k, p->index[i], &res);
		if (rc && k->rc == 0)
			k->rc = -EIO;
	}
	free(p);
	if (--k->left > 0)
		return;
	if (k->rc)
		seek_end(k, k->rc, 0);
	else
		seek_found(k);
}

static void seek_send(struct seek_part *p)
{
	struct seek *k = p->k;
	uint64_t ino = fs_ino_of(k->s.f);
	struct txn_build t;

	txn_init(&t);
	for (unsigned i = 0; i < p->n; i++) {
		uint64_t unit = k->first + p->index[i], from, base;
		struct orbit_id id = unit ? layout_block_id(ino, unit - 1) : layout_inode_id(ino);

		base = unit ? (unit - 1) * LAYOUT_BLOCK : 0;
		from = unit_start(unit) > k->at ? unit_start(unit) : k->at;
		p->op[i] = txn_ranges(&t, &id, from - base, unit_stop(unit) - from);
	}
	mount_submit(k->s.op.fs, k->s.op.call, ino, &t, seek_answered, p);
	txn_fini(&t);
}

static void seek_batch(struct seek *k)
{
	const struct ring_map *m = orbit_ring(k->s.op.fs->client);
	uint64_t ino = fs_ino_of(k->s.f);
	struct seek_part *parts[SEEK_BATCH];
	unsigned n = 0;

	k->n = 0;
	while (k->n < SEEK_BATCH && unit_start(k->first + k->n) < k->size) {
		uint64_t unit = k->first + k->n;
		struct orbit_id id = unit ? layout_block_id(ino, unit - 1) : layout_inode_id(ino);
		uint16_t node = m ? m->shards[ring_shard_of(m, &id)].primary : 0;
		unsigned i = 0;

		while (i < n && parts[i]->node != node)
			i++;
		if (i == n) {
			parts[n] = mem_zalloc(sizeof(**parts));
			parts[n]->k = k;
			parts[n++]->node = node;
		}
		parts[i]->index[parts[i]->n++] = k->n++;
	}
	k->left = n;
	for (unsigned i = 0; i < n; i++)
		seek_send(parts[i]);
}

static void seek_ready(void *arg, int rc)
{
	struct seek *k = container_of((struct space *)arg, struct seek, s);
	const struct fs_attr *a = data_attr(k->s.f->data);

	k->size = a->size;
	if (rc) {
		seek_end(k, rc, 0);
	} else if (k->at >= k->size) {
		seek_end(k, -ENXIO, 0);
	} else if (a->block_bytes == 0 && !a->tail && k->at >= LAYOUT_INLINE) {
		seek_end(k, k->hole ? 0 : -ENXIO, k->at);
	} else {
		k->first = k->at < LAYOUT_INLINE ? 0 : 1 + k->at / LAYOUT_BLOCK;
		seek_batch(k);
	}
}

static struct seek *seek_new(
	struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, int whence)
{
	struct seek *k = op_new(sizeof(*k), fs, c);

	k->s.f = file_again(f);
	k->s.next = seek_ready;
	k->hole = whence == SEEK_HOLE;
	k->at = off;
	return k;
}

void space_seek(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, int whence)
{
	flush_and_refresh(&seek_new(fs, c, f, off, whence)->s);
}

void fs_lseek(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, int whence)
{
	struct seek *k;

	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		mount_done(c, -EINVAL);
		return;
	}
	k = seek_new(fs, c, f, off, whence);
	if (fs->cfg.cache == FS_CACHE_STRICT)
		space_begin(&k->s, ORBIT_LEASE_SHARED); /* nobody writes while we look around */
	else
		flush_and_refresh(&k->s);
}
