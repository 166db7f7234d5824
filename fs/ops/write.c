/*
 * write: bytes go to the cache; synchronous files wait until they are on the disks.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/ops/file.h"
#include "fs/ops/flush.h"
#include "fs/ops/refresh.h"

#define FRESH (1 * ENV_SEC)

struct write_call {
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	struct data_wait wait;
};

static void write_end(struct write_call *w, int rc)
{
	struct fs *fs = w->fs;
	struct fs_call *call = w->call;

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

	(void)fs;
	if (!fatal && !data_stalled(w->f->data))
		return;
	data_wait_cancel(w->f->data, &w->wait);
	write_end(w, -EINTR);
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
		write_end(w, rc);
		return;
	}
	call->len = wait->len;
	free(w);
	flush_file(fs, call, f, true, write_synced);
	mount_op_end(fs);
}

static void write_slowly(
	struct fs *fs, struct fs_call *c, struct fs_file *f, const struct data_wait *wait)
{
	struct write_call *w = mem_zalloc(sizeof(*w));

	w->fs = fs;
	w->call = c;
	w->f = f;
	w->wait = *wait;
	w->wait.done = written;
	mount_op_begin(fs);
	c->impl = w;
	c->interrupt = write_interrupt;
	data_write(f->data, &w->wait);
}

struct append_op {
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	struct data_wait wait;
};

static void append_refreshed(void *arg, int rc)
{
	struct append_op *p = arg;

	if (rc)
		mount_done(p->call, rc);
	else
		write_slowly(p->fs, p->call, p->f, &p->wait);
	free(p);
}

/* An append to a file that nobody here wrote for a while: others may have. */
static void append_refresh(
	struct fs *fs, struct fs_call *c, struct fs_file *f, const struct data_wait *wait)
{
	struct append_op *p = mem_zalloc(sizeof(*p));

	*p = (struct append_op){.fs = fs, .call = c, .f = f, .wait = *wait};
	refresh(fs, c, f, append_refreshed, p);
}

void fs_write(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, const void *data,
	size_t len)
{
	struct data_wait wait = {.off = off, .data = data, .len = len, .kill_priv = c->kill_priv};
	bool sync = f->flags & (O_SYNC | O_DSYNC);

	c->len = 0;
	if (!mount_writable(fs, c))
		return;
	wait.append = f->flags & O_APPEND;
	if (wait.append)
		wait.off = off = data_size(f->data);
	if (len == 0 || off >= LAYOUT_SIZE_MAX) {
		mount_done(c, len ? -EFBIG : 0);
		return;
	}
	if (len > LAYOUT_SIZE_MAX - off)
		wait.len = LAYOUT_SIZE_MAX - off;
	if (wait.append && data_attr_age(f->data) > FRESH && !data_dirty(fs->data, fs_ino_of(f))) {
		append_refresh(fs, c, f, &wait);
		return;
	}
	if (!sync && data_write_now(f->data, &wait)) {
		c->len = wait.len;
		mount_done(c, 0);
		return;
	}
	write_slowly(fs, c, f, &wait);
}
