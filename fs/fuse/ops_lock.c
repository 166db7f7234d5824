/* Handlers: locks. */
#include <sys/file.h>

#include "fs/fuse/ops.h"

static struct fs_lock lock_in(const struct fuse_file_info *fi, const struct flock *l)
{
	return (struct fs_lock){.kind = FS_LOCK_FCNTL,
		.type = l->l_type,
		.owner = fi->lock_owner,
		.first = (uint64_t)l->l_start,
		.last = l->l_len ? (uint64_t)l->l_start + (uint64_t)l->l_len - 1 : LOCK_LAST,
		.pid = (uint32_t)l->l_pid};
}

static void reply_lock(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct flock l = {.l_type = (short)c->lock.type, .l_whence = SEEK_SET};
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	if (l.l_type != F_UNLCK) {
		l.l_start = (off_t)c->lock.first;
		l.l_len = c->lock.last == LOCK_LAST ? 0 : (off_t)(c->lock.last - c->lock.first + 1);
		l.l_pid = (pid_t)c->lock.pid;
	}
	req = call_take(k);
	if (req)
		fuse_reply_lock(req, &l);
	fuse_call_end(k);
}

void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct fuse_call *k = call_begin(req, ino, reply_lock);
	struct fs_lock l = lock_in(fi, lock);

	fs_getlk(fs_of(k), &k->c, file_of(fi), &l);
	call_wait_if_open(k, req);
}

void on_setlk(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	struct fuse_call *k = call_begin(req, ino, reply_err);
	struct fs_lock l = lock_in(fi, lock);

	fs_setlk(fs_of(k), &k->c, file_of(fi), &l, sleep);
	call_wait_if_open(k, req);
}

void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct fuse_call *k = call_begin(req, ino, reply_err);
	struct fs_lock l = {
		.kind = FS_LOCK_FLOCK, .type = F_UNLCK, .owner = fi->lock_owner, .last = LOCK_LAST};

	if (op & LOCK_SH)
		l.type = F_RDLCK;
	else if (op & LOCK_EX)
		l.type = F_WRLCK;
	fs_setlk(fs_of(k), &k->c, file_of(fi), &l, !(op & LOCK_NB));
	call_wait_if_open(k, req);
}
