/*
 * flush, fsync: waiting for what is dirty to be with the nodes, and on their disks.
 */
#include "fs/ops/flush.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/ops/op.h"
#include "fs/ops/readdir.h"

/* A call that waits. */
struct flush {
	struct fs *fs;
	struct fs_call *call;
	struct fs_file *f;
	struct data_wait wait;
	bool sync, syncing;
	orbit_handle handle;
	flush_cb *fn;
	TAILQ_ENTRY(flush) entry; /* of those that wait for disks */
};

static void flush_end(struct flush *w, int rc)
{
	struct fs *fs = w->fs;
	struct fs_call *call = w->call;
	struct fs_file *f = w->f;
	flush_cb *fn = w->fn;

	if (w->syncing)
		TAILQ_REMOVE(&fs->syncs, w, entry);
	free(w);
	call->interrupt = NULL;
	call->impl = NULL;
	fn(call, f, rc);
	mount_op_end(fs);
}

int flush_error(struct fs_file *f)
{
	int last = 0;

	if (data_errors(f->data, NULL) == f->errors)
		return 0;
	f->errors = data_errors(f->data, &last);
	return last;
}

static void flush_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct flush *w = call->impl;

	if (w->syncing) {
		orbit_cancel(fs->client, w->handle, !fatal);
		return;
	}
	if (!fatal && !data_stalled(w->f->data))
		return;
	data_wait_cancel(w->f->data, &w->wait);
	flush_end(w, -EINTR);
}

/* What a sync says to who has reported *losses so far. */
static int sync_outcome(struct fs *fs, int rc, uint64_t *losses)
{
	uint64_t now = orbit_losses(fs->client);

	if (rc == -ESTALE)
		rc = -EIO;
	/* a sync for another one may have been told what was lost of this one */
	if (now != *losses && rc == 0)
		rc = -EIO;
	if (rc == -EIO) /* it is told of it; one that was given up may not have been */
		*losses = now;
	return rc;
}

static void synced(void *arg, const struct orbit_reply *r)
{
	struct flush *w = arg;

	flush_end(w, sync_outcome(w->fs, r->rc, &w->f->losses));
}

static void flushed(struct data_wait *wait, int rc)
{
	struct flush *w = container_of(wait, struct flush, wait);
	int err = flush_error(w->f);

	if (rc == 0)
		rc = err;
	if (rc || !w->sync) {
		flush_end(w, rc);
		return;
	}
	w->syncing = true;
	TAILQ_INSERT_TAIL(&w->fs->syncs, w, entry);
	w->handle = orbit_sync(w->fs->client, data_policy(w->f->data), synced, w);
	if (w->fs->ending || w->call->fatal)
		orbit_cancel(w->fs->client, w->handle, false);
}

void flush_file(struct fs *fs, struct fs_call *call, struct fs_file *f, bool sync, flush_cb *fn)
{
	struct flush *w;
	bool dirty = data_dirty(fs->data, fs_ino_of(f));

	if (!dirty && !sync) {
		fn(call, f, flush_error(f));
		return;
	}
	w = mem_zalloc(sizeof(*w));
	w->fs = fs;
	w->call = call;
	w->f = f;
	w->sync = sync;
	w->fn = fn;
	w->wait.done = flushed;
	mount_op_begin(fs);
	call->impl = w;
	call->interrupt = flush_interrupt;
	if (dirty)
		data_flush_wait(f->data, &w->wait);
	else
		flushed(&w->wait, 0);
}

/* ---- operations that wait ---- */

static void nobody_done(struct fs_call *call, int rc)
{
	(void)rc;
	free(call);
}

/* Whether what the operation waits for has stalled is not known; but it is when anything has, and
 * nothing came for as long as that takes. */
bool flush_stalled(struct fs *fs, uint64_t since)
{
	struct orbit_counters n;

	orbit_counters(fs->client, &n);
	return n.stalled > 0 && env_now(fs->env) - since > fs->cfg.policy.check_timeout;
}

static void park_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct op *o = call->impl;
	struct fs_call *nobody;

	if (!fatal && !flush_stalled(fs, o->parked))
		return;
	nobody = mem_zalloc(sizeof(*nobody));
	nobody->uid = call->uid;
	nobody->gid = call->gid;
	nobody->done = nobody_done;
	o->call = nobody;
	call->impl = NULL;
	mount_done(call, -EINTR);
}

void flush_park(struct op *o)
{
	o->parked = env_now(o->fs->env);
	o->call->impl = o;
	o->call->interrupt = park_interrupt;
}

void flush_unpark(struct op *o)
{
	o->call->impl = NULL;
	o->call->interrupt = NULL;
}

void flush_cancel_all(struct fs *fs)
{
	struct flush *w;

	TAILQ_FOREACH (w, &fs->syncs, entry)
		orbit_cancel(fs->client, w->handle, false);
}

static void end_call(struct fs_call *call, struct fs_file *f, int rc)
{
	(void)f;
	mount_done(call, rc);
}

void fs_flush(struct fs *fs, struct fs_call *c, struct fs_file *f)
{
	flush_file(fs, c, f, false, end_call);
}

void fs_fsync(struct fs *fs, struct fs_call *c, struct fs_file *f, bool data_only)
{
	(void)data_only; /* sizes and times go with the data in any case */
	flush_file(fs, c, f, true, end_call);
}

/* ---- directories: nothing of them is kept back, so there is only the sync ---- */

struct dir_sync {
	struct op op;
	struct fs_dir *d;
};

static void dir_synced(void *arg, const struct orbit_reply *r)
{
	struct dir_sync *s = arg;

	op_end(&s->op, sync_outcome(s->op.fs, op_outcome(&s->op, r), readdir_losses(s->d)));
}

void fs_fsyncdir(struct fs *fs, struct fs_call *c, struct fs_dir *d)
{
	struct dir_sync *s = op_new(sizeof(*s), fs, c);
	struct mount_txn *m = mount_track(fs, c, dir_synced, s);

	s->d = d;
	mount_tracked(m, orbit_sync(fs->client, NULL, mount_track_done, m));
}
