/* Handlers: directories. */
#include <dirent.h>
#include <errno.h>

#include "fs/fuse/ops.h"

static void reply_opendir(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct fuse_mount *m = k->m;
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	k->fi.fh = (uint64_t)(uintptr_t)c->dir;
	req = call_take(k);
	/* who asked is gone (or the mount): nobody will close it */
	if (req && fuse_reply_open(req, &k->fi) == -ENOENT)
		fs_releasedir(m->fs, c->dir);
	fuse_call_end(k);
}

void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_opendir);

	k->fi = *fi;
	fs_opendir(fs_of(k), &k->c, fuse_ino_in(ino));
	call_wait_if_open(k, req);
}

static struct fs_dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct fs_dir *)(uintptr_t)fi->fh;
}

static bool fill(void *arg, const struct fs_dirent *e)
{
	struct fuse_call *k = arg;
	size_t room = k->size - k->used, n;
	char *to = (char *)k->mem + k->used;

	if (!k->req)
		return false;
	if (k->plus) {
		struct fuse_entry_param p = {.ino = 0};

		if (e->attr) {
			entry_out(fs_of(k), e->attr,
				fs_keep_entry(fs_of(k), fuse_ino_in(k->ino), e->name, e->len), &p);
		} else {
			p.attr.st_ino = fuse_ino_out(e->ino);
			p.attr.st_mode = DTTOIF(e->type);
		}
		n = fuse_add_direntry_plus(k->req, to, room, e->name, &p, (off_t)e->cookie);
	} else {
		struct stat st = {.st_ino = fuse_ino_out(e->ino), .st_mode = DTTOIF(e->type)};

		n = fuse_add_direntry(k->req, to, room, e->name, &st, (off_t)e->cookie);
	}
	if (n > room)
		return false;
	k->used += n;
	return true;
}

static void reply_readdir(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		fuse_reply_buf(req, k->mem, k->used);
	fuse_call_end(k);
}

static void readdir_any(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi, bool plus)
{
	struct fuse_call *k = call_begin(req, ino, reply_readdir);

	k->size = size;
	k->plus = plus;
	k->mem = mem_grow(NULL, size, 1);
	fs_readdir(fs_of(k), &k->c, dir_of(fi), (uint64_t)off, plus, fill, k);
	call_wait_if_open(k, req);
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, fi, false);
}

void on_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, fi, true);
}

void on_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	(void)ino;
	fs_releasedir(m->fs, dir_of(fi));
	fuse_reply_err(req, 0);
}

void on_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_err);

	(void)datasync;
	fs_fsyncdir(fs_of(k), &k->c, dir_of(fi));
	call_wait_if_open(k, req);
}
