/*
 * read: from what is dirty, read ahead, or with the nodes; and the time of access.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/flush.h"
#include "fs/ops/hold.h"
#include "fs/ops/op.h"
#include "fs/ops/refresh.h"
#include "fs/ops/truncate.h"

#define FRESH (1 * ENV_SEC)
#define DAY INT64_C(86400000000000)
#define PAGE 4096u

/* ---- the newest attributes ---- */

struct refresh_op {
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	void (*done)(void *arg, int rc); /* NULL: a signal ended the waiting */
	void *arg;
	uint64_t since; /* it waits for a trim */
};

static void refresh_end(struct refresh_op *p, int rc)
{
	void (*done)(void *arg, int rc) = p->done;
	void *arg = p->arg;

	free(p);
	done(arg, rc);
}

static void refresh_trimmed(void *arg, int rc, const struct fs_attr *a)
{
	struct refresh_op *p = arg;

	if (!p->done) {
		free(p);
		return;
	}
	p->call->impl = NULL;
	p->call->interrupt = NULL;
	if (rc == 0)
		data_note(p->f->data, a);
	refresh_end(p, rc);
}

/* The trim goes on without the caller, who may be gone then, and the file with him. */
static void refresh_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct refresh_op *p = call->impl;
	void (*done)(void *arg, int rc) = p->done;

	if (!fatal && !flush_stalled(fs, p->since))
		return;
	p->done = NULL;
	call->impl = NULL;
	call->interrupt = NULL;
	done(p->arg, -EINTR);
}

static void refresh_done(void *arg, const struct orbit_reply *r)
{
	struct refresh_op *p = arg;
	struct fs_attr a;
	int rc = r->rc ? r->rc : op_attr(p->fs, r, 0, fs_ino_of(p->f), &a);

	if (rc == -ENOENT || rc == -ESTALE || rc == -ECANCELED)
		rc = -EIO;
	if (rc) {
		refresh_end(p, rc);
	} else if (a.trim && !p->fs->cfg.read_only) {
		p->since = env_now(p->fs->env);
		p->call->impl = p;
		p->call->interrupt = refresh_interrupt;
		truncate_finish(p->fs, &a, refresh_trimmed, p);
	} else {
		data_note(p->f->data, &a);
		refresh_end(p, 0);
	}
}

void refresh(struct fs *fs, struct fs_call *call, struct fs_file *f,
	void (*done)(void *arg, int rc), void *arg)
{
	struct orbit_id id = layout_inode_id(fs_ino_of(f));
	struct refresh_op *p = mem_zalloc(sizeof(*p));
	struct txn_build t;

	*p = (struct refresh_op){.fs = fs, .call = call, .f = f, .done = done, .arg = arg};
	txn_init(&t);
	txn_get(&t, &id);
	mount_submit(fs, call, fs_ino_of(f), &t, refresh_done, p);
	txn_fini(&t);
}

/* ---- reading ---- */

struct read_call {
	struct inode_wait lease;
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	struct data_read read;
	bool leased, reading;
	bool empty; /* all of it lies behind the end: answered after reads before it */
	uint64_t off;
	size_t len;
	uint64_t limit; /* the least size that this mount has given the file meanwhile */
	TAILQ_ENTRY(read_call) entry; /* of the inode's reads */
};

/* Is a read under way of what lies before? */
static bool is_first(const struct read_call *p)
{
	const struct read_call *q;

	TAILQ_FOREACH (q, &p->f->fi->reads, entry) {
		if (q->off < p->off)
			return false;
	}
	return true;
}

/*
 * The kernel goes by the size that it heard of last, also when another mount has cut the file
 * since; the first short answer tells it where the end is now, and answers to what it asked before
 * that tell it nothing. So an answer without a byte, which says "here at the latest", is not the
 * first.
 */
static struct read_call *next_empty(const struct file_inode *fi)
{
	struct read_call *p;

	TAILQ_FOREACH (p, &fi->reads, entry) {
		if (p->empty && is_first(p))
			return p;
	}
	return NULL;
}

static void read_end(struct read_call *p, int rc)
{
	struct file_inode *fi = p->f->fi;
	struct fs_call *call = p->call;
	struct fs *fs = p->fs;
	struct read_call *next;

	if (p->leased)
		inode_unuse(fs->inodes, p->lease.ino);
	TAILQ_REMOVE(&fi->reads, p, entry);
	next = next_empty(fi);
	free(p);
	call->impl = NULL;
	call->interrupt = NULL;
	mount_done(call, rc);
	/* they have the file open, so that its record is still there */
	if (next)
		read_end(next, 0);
	mount_op_end(fs);
}

static void read_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct read_call *p = call->impl;

	if (!p->reading) {
		if (!fatal && !inode_wait_stalled(fs->inodes, &p->lease))
			return;
		inode_wait_cancel(fs->inodes, &p->lease);
	} else if (p->empty) {
		if (!fatal)
			return; /* what it waits for is interrupted as well */
	} else {
		if (!fatal && !data_read_stalled(&p->read))
			return;
		data_read_cancel(&p->read);
	}
	read_end(p, -EINTR);
}

/*
 * A cut by another mount waits until nobody reads; one by this mount does not. Then nodes that have
 * carried it out give zeros, or nothing, for what was cut off, while the size here is still the old
 * one. So the answer ends where the file does after the cut.
 */
void read_cut(struct fs *fs, uint64_t ino, uint64_t size)
{
	struct file_inode *fi = hold_find(fs, ino);
	struct read_call *p;

	if (!fi)
		return;
	TAILQ_FOREACH (p, &fi->reads, entry) {
		if (p->limit > size)
			p->limit = size;
	}
}

static size_t within(const struct read_call *p, size_t len)
{
	uint64_t most = p->limit > p->off ? p->limit - p->off : 0;

	return len < most ? len : (size_t)most;
}

static void read_done(struct data_read *r, int rc)
{
	struct read_call *p = container_of(r, struct read_call, read);
	struct fs_call *call = p->call;

	call->data = r->data;
	call->len = within(p, r->len);
	call->keep = r->keep;
	if (!rc)
		inode_give_pages(p->fs->inodes, p->lease.ino, p->off + p->len);
	if (!rc && !call->len && !is_first(p)) {
		call->data = "";
		call->keep = NULL;
		p->empty = true;
		return;
	}
	read_end(p, rc == -ESTALE ? -EIO : rc);
}

/* Notes the time of access, as relatime does: not more often than somebody can tell. It goes to the
 * cluster with the hold. */
void read_touch(struct fs *fs, struct fs_file *f)
{
	const struct fs_attr *a = data_attr(f->data);
	int64_t now;

	if (f->read || f->flags & O_NOATIME || fs->cfg.noatime || fs->cfg.read_only)
		return;
	f->read = true;
	now = mount_now(fs);
	if (a->atime <= a->mtime || a->atime <= a->ctime || now - a->atime > DAY)
		data_touch(f->data, now);
}

static void read_leased(struct inode_wait *w, int rc, const struct fs_attr *a)
{
	struct read_call *p = container_of(w, struct read_call, lease);

	if (rc) {
		read_end(p, rc == -ESTALE ? -EIO : rc);
		return;
	}
	p->reading = true;
	p->leased = p->fs->cfg.cache == FS_CACHE_STRICT;
	if (a)
		data_note(p->f->data, a);
	read_touch(p->fs, p->f);
	data_read(p->f->data, &p->read, &p->f->seq, p->off, p->len);
}

/* A reader of bytes looks at one state of the file: nobody writes meanwhile. */
static void read_start(struct read_call *p)
{
	struct fs *fs = p->fs;

	p->read.done = read_done;
	p->lease = (struct inode_wait){.done = read_leased,
		.ino = fs_ino_of(p->f),
		.mode = ORBIT_LEASE_SHARED,
		.end = p->off + p->len,
		.policy = data_policy(p->f->data)};
	p->limit = TAILQ_EMPTY(&fs->cuts) ? UINT64_MAX : truncate_least(fs, fs_ino_of(p->f));
	mount_op_begin(fs);
	TAILQ_INSERT_TAIL(&p->f->fi->reads, p, entry);
	p->call->impl = p;
	p->call->interrupt = read_interrupt;
	if (fs->cfg.cache != FS_CACHE_STRICT || inode_use(fs->inodes, &p->lease))
		read_leased(&p->lease, 0, NULL);
}

static void read_refreshed(void *arg, int rc)
{
	struct read_call *p = arg;

	if (!rc) {
		read_start(p);
		return;
	}
	mount_done(p->call, rc);
	free(p);
}

/* Without leases: what may others have made of the file since it was looked at? */
static bool look_first(const struct fs *fs, struct fs_file *f, uint64_t end)
{
	uint64_t size = data_size(f->data);

	if (fs->cfg.cache == FS_CACHE_STRICT || data_dirty(fs->data, fs_ino_of(f)))
		return false;
	/* The kernel asks for whole pages, so the rest of the last one tells nothing. */
	return fs->cfg.cache == FS_CACHE_NONE ||
	       (end > (size + PAGE - 1) / PAGE * PAGE && data_attr_age(f->data) > FRESH);
}

void fs_read(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, size_t len)
{
	struct read_call *p = mem_zalloc(sizeof(*p));

	c->data = "";
	c->len = 0;
	c->keep = NULL;
	*p = (struct read_call){.fs = fs, .call = c, .f = f, .off = off, .len = len};
	if (look_first(fs, f, off + len))
		refresh(fs, c, f, read_refreshed, p);
	else
		read_start(p);
}
