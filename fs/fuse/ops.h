/*
 * ops: what the handlers of requests have in common. Private to fs/fuse/ops*.c.
 *
 * A call whose operation ended before the handler returns is answered already; any other waits, and
 * hears signals.
 */
#ifndef ORBIT_FUSE_OPS_H
#define ORBIT_FUSE_OPS_H

#include "dht/base/mem.h"
#include "fs/fuse/session.h"

static inline struct fs *fs_of(const struct fuse_call *k)
{
	return k->m->fs;
}

static inline struct fuse_call *call_of(struct fs_call *c)
{
	return container_of(c, struct fuse_call, c);
}

/* A call begins: done() is @done. */
struct fuse_call *call_begin(
	fuse_req_t req, fuse_ino_t ino, void (*done)(struct fs_call *c, int rc));

/*
 * Was the call answered within the operation? Asked with what call_begin() gave, of which nothing
 * is touched then but that it is on the free list, where req is NULL.
 */
static inline void call_wait_if_open(struct fuse_call *k, fuse_req_t req)
{
	if (k->req == req)
		fuse_call_wait(k);
}

/* Takes the request out of the call, to be answered; NULL when the mount is gone. */
static inline fuse_req_t call_take(struct fuse_call *k)
{
	fuse_req_t req = k->req;

	k->req = NULL;
	return req;
}

static inline struct fs_file *file_of(const struct fuse_file_info *fi)
{
	return (struct fs_file *)(uintptr_t)fi->fh;
}

static inline double seconds(uint64_t ns)
{
	return (double)ns / ENV_SEC;
}

/* What calls are answered with: done() of those that have nothing else to say. */
void reply_err(struct fs_call *c, int rc);
void reply_entry(struct fs_call *c, int rc);
void reply_attr(struct fs_call *c, int rc);
void reply_data(struct fs_call *c, int rc);

void attr_out(const struct fs_attr *a, struct stat *st);
void entry_out(struct fs *fs, const struct fs_attr *a, uint64_t keep, struct fuse_entry_param *e);

/* The handlers themselves, as libfuse names them. */
void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned flags);
void on_readlink(fuse_req_t req, fuse_ino_t ino);
void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi);
void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
	int flags);
void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
void on_statfs(fuse_req_t req, fuse_ino_t ino);
void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void on_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
	struct fuse_file_info *fi);
void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void on_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void on_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags);
void on_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void on_setlk(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep);
void on_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

#endif
