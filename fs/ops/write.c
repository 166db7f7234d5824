/*
 * write: bytes go to the cache, under the file's exclusive lease; synchronous files wait until they
 * are on the disks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/file.h"
#include "fs/ops/flush.h"

struct write_call {
	struct inode_wait lease;
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	bool leased;
	uint64_t off; /* as it was asked for */
	struct data_wait wait;
};

static void write_end(struct write_call *w, int rc)
{
	struct fs *fs = w->fs;
	struct fs_call *call = w->call;

	if (w->leased)
		inode_unuse(fs->inodes, w->lease.ino);
	call->len = rc ? 0 : w->wait.len;
	free(w);
	call->interrupt = NULL;
	call->impl = NULL;
	mount_done(call, rc);
	mount_op_end(fs);
}

static void write_synced(struct fs_call *call, struct fs_file *f, int rc)
{
	(void)f;
	if (rc)
		call->len = 0;
	mount_done(call, rc);
}

static void write_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct write_call *w = call->impl;

	if (!w->leased) {
		if (!fatal && !inode_wait_stalled(fs->inodes, &w->lease))
			return;
		inode_wait_cancel(fs->inodes, &w->lease);
	} else {
		if (!fatal && !data_stalled(w->f->data))
			return;
		data_wait_cancel(w->f->data, &w->wait);
	}
	write_end(w, -EINTR);
}

/* The kernel keeps what was written as pages, but for files that were opened to append (direct
 * I/O). */
static void wrote(const struct write_call *w)
{
	if (w->wait.append && w->f->flags & O_APPEND)
		return;
	if (w->wait.off == w->off)
		inode_give_pages(w->fs->inodes, w->lease.ino, w->off + w->wait.len);
	else /* not where it belongs */
		inode_bad_pages(w->fs->inodes, w->lease.ino, w->off + w->wait.len);
}

static void written(struct data_wait *wait, int rc)
{
	struct write_call *w = container_of(wait, struct write_call, wait);
	struct fs_call *call = w->call;
	struct fs_file *f = w->f;
	struct fs *fs = w->fs;

	if (rc) /* told here and now, not again at close */
		flush_error(f);
	if (rc || !(f->flags & (O_SYNC | O_DSYNC))) {
		if (!rc)
			wrote(w);
		write_end(w, rc);
		return;
	}
	call->len = wait->len;
	wrote(w);
	inode_unuse(fs->inodes, w->lease.ino);
	free(w);
	flush_file(fs, call, f, true, write_synced);
	mount_op_end(fs);
}

/* Where it goes; 0 or -EFBIG. */
static int place(struct write_call *w)
{
	struct data_wait *wait = &w->wait;

	if (wait->append)
		wait->off = data_size(w->f->data);
	if (wait->off >= LAYOUT_SIZE_MAX)
		return -EFBIG;
	if (wait->len > LAYOUT_SIZE_MAX - wait->off)
		wait->len = LAYOUT_SIZE_MAX - wait->off;
	return 0;
}

static void write_leased(struct inode_wait *lease, int rc, const struct fs_attr *a)
{
	struct write_call *w = container_of(lease, struct write_call, lease);

	w->leased = !rc;
	if (!rc && a)
		data_note(w->f->data, a);
	if (!rc)
		rc = place(w);
	if (rc)
		write_end(w, rc == -ESTALE ? -EIO : rc);
	else
		data_write(w->f->data, &w->wait);
}

void fs_write(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, const void *data,
	size_t len)
{
	struct write_call now = {.fs = fs, .call = c, .f = f, .off = off}, *w;

	c->len = 0;
	if (!mount_writable(fs, c))
		return;
	if (len == 0) {
		mount_done(c, 0);
		return;
	}
	now.wait = (struct data_wait){.off = off,
		.data = data,
		.len = len,
		.append = c->place == FS_PLACE_END ||
			  (c->place == FS_PLACE_OPENED && f->flags & O_APPEND),
		.kill_priv = c->kill_priv,
		.done = written};
	now.lease = (struct inode_wait){.done = write_leased,
		.ino = fs_ino_of(f),
		.mode = ORBIT_LEASE_EXCLUSIVE,
		.end = off + len,
		.policy = data_policy(f->data)};
	now.leased = inode_try(fs->inodes, now.lease.ino, ORBIT_LEASE_EXCLUSIVE);
	if (now.leased && !(f->flags & (O_SYNC | O_DSYNC)) && place(&now) == 0 &&
		data_write_now(f->data, &now.wait)) {
		c->len = now.wait.len;
		wrote(&now);
		inode_unuse(fs->inodes, now.lease.ino);
		mount_done(c, 0);
		return;
	}
	w = mem_zalloc(sizeof(*w));
	*w = now;
	w->wait.off = off;
	w->wait.len = len;
	mount_op_begin(fs);
	c->impl = w;
	c->interrupt = write_interrupt;
	if (w->leased || inode_use(fs->inodes, &w->lease))
		write_leased(&w->lease, 0, NULL);
}
