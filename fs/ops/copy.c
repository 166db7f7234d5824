/*
 * copy: copy_file_range. What lies in blocks on both sides the nodes copy among themselves; the
 * rest is read and written here.
 *
 *   leases           the source's, shared, and the destination's, exclusive, in the order of
 *                    their numbers, so that nobody waits in a circle; in use to the end
 *   flush            what is dirty of the source: the nodes are to have it
 *   walk             piece by piece: a hole is passed over, or made where the destination has
 *                    something; data becomes dirty in the destination, as bytes or as what is
 *                    to be copied (data.h)
 *   end              all of it is sent: nothing here refers to the source any more
 *
 * The walk waits as a writer does while much is dirty. An error is the call's: what was written
 * until then may be there. A signal ends the call; the walk goes no further then, and what was
 * begun is sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/flush.h"
#include "fs/ops/op.h"
#include "fs/ops/refresh.h"
#include "fs/ops/space.h"

#define COPY_MAX (UINT64_C(64) << 20) /* in one call: others may wait for a lease */
#define PIECE LAYOUT_BLOCK

struct copy;

struct copy_lease {
	struct inode_wait w;
	struct copy *k;
};

struct copy {
	struct op op;
	struct fs_file *in, *out; /* our own: the caller may be gone before we are done */
	struct fs_call *asker;    /* unless he is gone, */
	struct fs_file *told;     /* and this file is told of errors by the call's result */
	struct copy_lease lease[2];
	unsigned nleases, leased;
	uint64_t from, to; /* what comes next: there, here */
	uint64_t end;      /* of what is copied, in the source */
	uint64_t data_to;  /* up to there the source has no hole */
	uint64_t len;
	bool kill_priv;
	int rc;
	struct fs_call sub; /* of an operation that is a part of it */
	struct data_read read;
	struct data_wait write;
	void *bytes; /* that were read, until they are taken */
};

static void copy_walk(struct copy *k);

static void copy_end(struct copy *k, int rc)
{
	struct fs *fs = k->op.fs;
	struct fs_file *in = k->in, *out = k->out;

	mount_op_begin(fs);
	while (k->leased)
		inode_unuse(fs->inodes, k->lease[--k->leased].w.ino);
	k->op.call->len = rc ? 0 : (size_t)k->len;
	free(k->bytes);
	op_end(&k->op, rc);
	fs_release(fs, in);
	fs_release(fs, out);
	mount_op_end(fs);
}

/* ---- the end ---- */

static void copy_flushed(struct fs_call *c, struct fs_file *f, int rc)
{
	struct copy *k = container_of(c, struct copy, sub);

	(void)f;
	if (rc && k->op.call == k->asker)
		flush_error(k->told);
	flush_unpark(&k->op);
	/* what was read there meanwhile */
	data_drop(k->out->data, 0);
	copy_end(k, k->rc ? k->rc : rc);
}

static struct fs_call *sub_call(struct copy *k, void (*done)(struct fs_call *c, int rc))
{
	k->sub = (struct fs_call){.uid = k->op.call->uid,
		.gid = k->op.call->gid,
		.kill_priv = k->kill_priv,
		.done = done};
	return &k->sub;
}

static void copy_finish(struct copy *k, int rc)
{
	if (!rc && data_size(k->out->data) < k->to)
		data_extend(k->out->data, k->to, k->kill_priv);
	k->rc = rc;
	flush_file(k->op.fs, sub_call(k, NULL), k->out, k->out->flags & (O_SYNC | O_DSYNC),
		copy_flushed);
}

/* ---- data ---- */

static void piece_written(struct data_wait *w, int rc)
{
	struct copy *k = container_of(w, struct copy, write);

	if (rc) {
		copy_finish(k, rc);
		return;
	}
	k->from += w->len;
	k->to += w->len;
	copy_walk(k);
}

static void piece_write(struct copy *k, const void *data, size_t len)
{
	k->write = (struct data_wait){.off = k->to,
		.data = data,
		.len = len,
		.kill_priv = k->kill_priv,
		.done = piece_written};
	if (!data) {
		k->write.source = fs_ino_of(k->in);
		k->write.source_off = k->from;
	}
	data_write(k->out->data, &k->write);
}

/* What was read is good for as long as we are told of it, but writing may have to wait. */
static void piece_keep(struct copy *k, const void *data, size_t len)
{
	k->bytes = mem_grow(k->bytes, len, 1);
	memcpy(k->bytes, data, len);
	piece_write(k, k->bytes, len);
}

static void piece_read(struct data_read *r, int rc)
{
	struct copy *k = container_of(r, struct copy, read);
	uint64_t left = k->data_to - k->from;

	if (!rc && !r->len && left)
		rc = -EIO; /* the source is shorter than it said */
	if (rc)
		copy_finish(k, rc == -ESTALE ? -EIO : rc);
	else
		piece_keep(k, r->data, r->len < left ? r->len : left);
}

/* How much of @len can be taken at once at @off: no more than lies in one object. */
static uint64_t within(uint64_t off, uint64_t len)
{
	uint64_t left = off < LAYOUT_INLINE ? LAYOUT_INLINE - off : PIECE - off % PIECE;

	return len < left ? len : left;
}

static void copy_data(struct copy *k)
{
	uint64_t len = within(k->to, k->data_to - k->from);

	if (k->from < LAYOUT_INLINE)
		len = within(k->from, len);
	if (data_can_copy(k->out->data, k->to, len, k->from)) {
		piece_write(k, NULL, len);
		return;
	}
	k->read = (struct data_read){.done = piece_read};
	data_read(k->in->data, &k->read, NULL, k->from, len);
}

/* ---- holes ---- */

static void skip_hole(struct copy *k, uint64_t data)
{
	k->to += data - k->from;
	k->from = data;
	copy_walk(k);
}

static void hole_made(struct fs_call *c, int rc)
{
	struct copy *k = container_of(c, struct copy, sub);

	if (rc)
		copy_finish(k, rc);
	else
		skip_hole(k, k->data_to);
}

/* There is a hole up to @data in the source. */
static void copy_hole(struct copy *k, uint64_t data)
{
	uint64_t size = data_size(k->out->data), end = k->to + (data - k->from);

	if (k->to >= size) {
		skip_hole(k, data);
		return;
	}
	k->data_to = data;
	space_punch(k->op.fs, sub_call(k, hole_made), k->out, k->to, end < size ? end : size);
}

static void hole_found(struct fs_call *c, int rc)
{
	struct copy *k = container_of(c, struct copy, sub);

	if (rc) {
		copy_finish(k, rc);
		return;
	}
	k->data_to = c->offset < k->end ? c->offset : k->end;
	copy_walk(k);
}

static void data_found(struct fs_call *c, int rc)
{
	struct copy *k = container_of(c, struct copy, sub);
	uint64_t data = rc == -ENXIO || c->offset > k->end ? k->end : c->offset;

	if (rc && rc != -ENXIO)
		copy_finish(k, rc);
	else if (data > k->from)
		copy_hole(k, data);
	else
		space_seek(k->op.fs, sub_call(k, hole_found), k->in, k->from, SEEK_HOLE);
}

/* One piece after the other. */
static void copy_walk(struct copy *k)
{
	if (k->from == k->end || k->op.call != k->asker)
		copy_finish(k, 0);
	else if (k->from < k->data_to)
		copy_data(k);
	else
		space_seek(k->op.fs, sub_call(k, data_found), k->in, k->from, SEEK_DATA);
}

/* ---- the beginning ---- */

/* Has it a hole, as far as it is known? */
static bool is_sparse(const struct fs_attr *a)
{
	uint64_t head = a->size < LAYOUT_INLINE ? a->size : LAYOUT_INLINE;

	return a->tail || a->block_bytes < a->size - head || a->bytes - a->block_bytes < head;
}

static void copy_ready(void *arg, int rc)
{
	struct copy *k = arg;
	/* what the nodes have: somebody here may have written behind it since it was flushed */
	uint64_t size = data_attr(k->in->data)->size;

	if (rc || k->from >= size) {
		flush_unpark(&k->op);
		k->len = 0;
		copy_end(k, rc);
		return;
	}
	if (k->len > size - k->from)
		k->len = size - k->from;
	if (k->len > COPY_MAX)
		k->len = COPY_MAX;
	k->end = k->from + k->len;
	k->data_to = is_sparse(data_attr(k->in->data)) ? k->from : k->end;
	copy_walk(k);
}

static void source_flushed(void *arg, int rc)
{
	struct copy *k = arg;

	if (rc || k->op.fs->cfg.cache == FS_CACHE_STRICT)
		copy_ready(k, rc);
	else
		refresh(k->op.fs, sub_call(k, NULL), k->in, copy_ready, k);
}

static void copy_lease(struct copy *k);

static void copy_leased(struct inode_wait *w, int rc, const struct fs_attr *a)
{
	struct copy *k = container_of(w, struct copy_lease, w)->k;

	if (rc) {
		flush_unpark(&k->op);
		copy_end(k, rc == -ESTALE ? -EIO : rc);
		return;
	}
	if (a && w->ino == fs_ino_of(k->in))
		data_note(k->in->data, a);
	if (a && w->ino == fs_ino_of(k->out))
		data_note(k->out->data, a);
	k->leased++;
	copy_lease(k);
}

static void copy_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct copy *k = call->impl;
	struct inode_wait *w = &k->lease[k->leased].w;

	if (!fatal && !inode_wait_stalled(fs->inodes, w))
		return;
	inode_wait_cancel(fs->inodes, w);
	flush_unpark(&k->op);
	copy_end(k, -EINTR);
}

/* Gets the next lease; with all of them, begins. */
static void copy_lease(struct copy *k)
{
	struct fs *fs = k->op.fs;

	while (k->leased < k->nleases) {
		if (!inode_use(fs->inodes, &k->lease[k->leased].w))
			return;
		k->leased++;
	}
	flush_park(&k->op);
	read_touch(fs, k->in);
	data_flush(fs->data, fs_ino_of(k->in), source_flushed, k);
}

static void want(struct copy *k, struct fs_file *f, enum orbit_lease mode)
{
	struct copy_lease *l = &k->lease[k->nleases++];

	l->k = k;
	l->w = (struct inode_wait){.done = copy_leased,
		.ino = fs_ino_of(f),
		.mode = mode,
		.policy = data_policy(f->data)};
}

static void want_leases(struct copy *k)
{
	uint64_t in = fs_ino_of(k->in), out = fs_ino_of(k->out);
	bool both = in != out && k->op.fs->cfg.cache == FS_CACHE_STRICT;

	if (both && in < out)
		want(k, k->in, ORBIT_LEASE_SHARED);
	want(k, k->out, ORBIT_LEASE_EXCLUSIVE);
	if (both && in > out)
		want(k, k->in, ORBIT_LEASE_SHARED);
}

static bool overlap(uint64_t a, uint64_t b, uint64_t len)
{
	return a < b ? b - a < len : a - b < len;
}

void fs_copy(struct fs *fs, struct fs_call *c, struct fs_file *in, uint64_t off_in,
	struct fs_file *out, uint64_t off_out, uint64_t len)
{
	bool same = fs_ino_of(in) == fs_ino_of(out);
	struct copy *k;
	int rc = 0;

	c->len = 0;
	if (len && off_out >= LAYOUT_SIZE_MAX)
		rc = -EFBIG;
	else if (same && overlap(off_in, off_out, len))
		rc = -EINVAL;
	if (rc || !len) {
		mount_done(c, rc);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	k = op_new(sizeof(*k), fs, c);
	k->in = file_again(in);
	k->out = file_again(out);
	k->asker = c;
	k->told = out;
	k->from = off_in;
	k->to = off_out;
	k->len = len < LAYOUT_SIZE_MAX - off_out ? len : LAYOUT_SIZE_MAX - off_out;
	k->kill_priv = c->kill_priv;
	want_leases(k);
	c->impl = k;
	c->interrupt = copy_interrupt;
	copy_lease(k);
}
