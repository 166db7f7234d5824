/*
 * Telling the kernel to forget: each notification on a worker, never on the loop (R).
 *
 * The kernel takes locks for it that somebody may hold who waits for us: entries need the
 * directory's mutex, pages each page's lock; attributes need none. So entries go one directory
 * after the other in one lane, pages in a few others: a create that waits in one directory holds up
 * no file, and a write that waits for another mount seldom another file, which that mount may be
 * waiting for.
 */
#include <string.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/fuse/session.h"

/* As the length of a range from 0 on; 0: to the end. */
static off_t end_of(uint64_t end)
{
	return end > INT64_MAX ? 0 : (off_t)end;
}

static void drop_work(struct env_job *j)
{
	struct inode_drop *d = container_of(j, struct inode_drop, job);
	struct fuse_mount *m = d->impl;
	fuse_ino_t ino = fuse_ino_out(d->ino);
	const char *name = (const char *)d->names.data, *end = name + d->names.len;

	/* what the kernel does not know (any more) gives ENOENT, which is as good */
	if (d->pages)
		fuse_lowlevel_notify_inval_inode(m->se, ino, 0, end_of(d->end));
	else if (d->attr)
		fuse_lowlevel_notify_inval_inode(m->se, ino, -1, 0);
	for (size_t len; name < end; name += len + 1) {
		len = strlen(name);
		fuse_lowlevel_notify_inval_entry(m->se, ino, name, len);
	}
}

static void drop_done(struct env_job *j)
{
	struct inode_drop *d = container_of(j, struct inode_drop, job);
	struct fuse_mount *m = d->impl;

	inode_dropped(d);
	m->drops--;
	if (m->freed && !m->busy)
		fuse_mount_destroy(m);
}

static const void *lane_of(const struct fuse_mount *m, const struct inode_drop *d)
{
	if (d->names.len)
		return &m->names_lane;
	return d->pages ? &m->pages_lane[d->ino % ARRAY_LEN(m->pages_lane)] : NULL;
}

static void drop(void *ctx, struct inode_drop *d)
{
	struct fuse_mount *m = ctx;

	m->drops++;
	d->impl = m;
	d->job = (struct env_job){.work = drop_work, .done = drop_done, .lane = lane_of(m, d)};
	env_job(m->env, &d->job);
}

void notify_start(struct fuse_mount *m)
{
	fs_kernel(m->fs, drop, m);
}

void notify_stop(struct fuse_mount *m)
{
	fs_kernel(m->fs, NULL, NULL);
}
