/* Handlers: files. */
#include <errno.h>
#include <linux/fuse.h>

#include "fs/fuse/ops.h"

static void file_info(struct fuse_call *k)
{
	k->fi.fh = (uint64_t)(uintptr_t)k->c.file;
	k->fi.keep_cache = k->c.keep_cache;
	/* The kernel appends behind the end that it knows of, and would keep the bytes as pages
	 * there; we know where they went. */
	k->fi.direct_io = k->fi.flags & O_APPEND || !fs_keeps_pages(fs_of(k)) ? 1 : 0;
}

static void reply_open(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct fuse_mount *m = k->m;
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		file_info(k);
	/* The kernel would read up to the size that it was told a moment ago. Only attributes are
	 * dropped, for which it takes no lock that somebody may hold who waits for us. */
	if (req && c->attr_changed)
		fuse_lowlevel_notify_inval_inode(m->se, k->ino, -1, 0);
	if (req && fuse_reply_open(req, &k->fi) == -ENOENT)
		fs_release(m->fs, c->file);
	fuse_call_end(k);
}

void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_open);

	k->fi = *fi;
	fs_open(fs_of(k), &k->c, fuse_ino_in(ino), fi->flags);
	call_wait_if_open(k, req);
}

static void reply_create(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct fuse_mount *m = k->m;
	struct fuse_entry_param e;
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req) {
		entry_out(m->fs, &c->attr, c->entry_keep, &e);
		file_info(k);
	}
	if (req && fuse_reply_create(req, &e, &k->fi) == -ENOENT)
		fs_release(m->fs, c->file);
	fuse_call_end(k);
}

void on_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, parent, reply_create);

	k->fi = *fi;
	if (k->m->opcode == OPCODE_TMPFILE)
		fs_tmpfile(fs_of(k), &k->c, fuse_ino_in(parent), mode, fi->flags);
	else
		fs_create(fs_of(k), &k->c, fuse_ino_in(parent), name, mode, fi->flags);
	call_wait_if_open(k, req);
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_data);

	fs_read(fs_of(k), &k->c, file_of(fi), (uint64_t)off, size);
	call_wait_if_open(k, req);
}

static void reply_write(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		fuse_reply_write(req, c->len);
	fuse_call_end(k);
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_write);
	struct fuse_mount *m = k->m;
	const struct fuse_write_in *in = (const void *)(m->in + 1);

	/* O_APPEND comes and goes (F_SETFL); mapped pages know their place */
	k->c.place = in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE)
			     ? FS_PLACE_END
			     : FS_PLACE_OFFSET;
	k->c.kill_priv = m->killpriv && in->write_flags & FUSE_WRITE_KILL_SUIDGID;
	fs_write(m->fs, &k->c, file_of(fi), (uint64_t)off, data, size);
	if (k->req != req)
		return;
	/* the bytes stay where they are until it is done: the next request gets new memory */
	k->mem = m->buf.mem;
	m->buf.mem = NULL;
	fuse_call_wait(k);
}

static void unlocked(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);

	reply_err(c, k->flushed ? k->flushed : rc);
}

/* What was locked by fcntl goes when its bytes are sent, or can't be. */
static void flushed(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);

	if (!k->m) {
		reply_err(c, rc);
		return;
	}
	k->flushed = rc;
	c->done = unlocked;
	fs_unlock(fs_of(k), c, file_of(&k->fi), k->fi.lock_owner);
}

/* Comes for files that are only read, too, because they may be locked. */
void on_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, flushed);

	k->fi = *fi;
	fs_flush(fs_of(k), &k->c, file_of(fi));
	call_wait_if_open(k, req);
}

void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	(void)ino;
	fs_release(m->fs, file_of(fi));
	fuse_reply_err(req, 0);
}

void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_err);

	fs_fsync(fs_of(k), &k->c, file_of(fi), datasync);
	call_wait_if_open(k, req);
}

void on_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_err);

	/* the kernel leaves it to us and does not say who has CAP_FSETID: root, that is */
	k->c.kill_priv = k->m->killpriv && k->c.uid != 0;
	fs_fallocate(
		fs_of(k), &k->c, file_of(fi), mode, (uint64_t)off, len > 0 ? (uint64_t)len : 0);
	call_wait_if_open(k, req);
}

void on_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in,
	fuse_ino_t out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct fuse_call *k = call_begin(req, out, reply_write);

	(void)in;
	if (flags) {
		reply_write(&k->c, -EINVAL);
		return;
	}
	k->c.kill_priv = k->m->killpriv && k->c.uid != 0; /* as with fallocate */
	fs_copy(fs_of(k), &k->c, file_of(fi_in), (uint64_t)off_in, file_of(fi_out),
		(uint64_t)off_out, len);
	call_wait_if_open(k, req);
}

static void reply_lseek(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		fuse_reply_lseek(req, (off_t)c->offset);
	fuse_call_end(k);
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_lseek);

	fs_lseek(fs_of(k), &k->c, file_of(fi), (uint64_t)off, whence);
	call_wait_if_open(k, req);
}
