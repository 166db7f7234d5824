/* Handlers: names. */
#include <errno.h>

#include "fs/fuse/ops.h"

static void reply_number(struct fs_call *c, int rc)
{
	/* it is about to go: a handle opens only what has a name */
	reply_entry(c, !rc && c->attr.nlink == 0 ? -ESTALE : rc);
}

/* The second step of a lookup of "..": what is the parent like? */
static void lookup_parent(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);

	if (!rc && !S_ISDIR(c->attr.mode))
		rc = -ENOTDIR;
	if (rc) {
		reply_err(c, rc);
		return;
	}
	c->done = reply_number;
	fs_getattr(fs_of(k), c, c->attr.parent);
}

/* Whoever has a file handle (open_by_handle_at, NFS) asks by number for what the kernel has
 * forgotten: as "." of it, and as ".." for the parent of a directory. */
static void lookup_by_number(fuse_req_t req, fuse_ino_t ino, bool parent)
{
	struct fuse_call *k = call_begin(req, ino, parent ? lookup_parent : reply_number);

	fs_getattr(fs_of(k), &k->c, fuse_ino_in(ino));
	call_wait_if_open(k, req);
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k;

	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		lookup_by_number(req, parent, name[1]);
		return;
	}
	k = call_begin(req, parent, reply_entry);
	fs_lookup(fs_of(k), &k->c, fuse_ino_in(parent), name);
	call_wait_if_open(k, req);
}

void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	const struct fuse_mount *m = fuse_req_userdata(req);

	(void)n;
	fs_forget(m->fs, fuse_ino_in(ino));
	fuse_reply_none(req);
}

void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	const struct fuse_mount *m = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++)
		fs_forget(m->fs, fuse_ino_in(forgets[i].ino));
	fuse_reply_none(req);
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fuse_call *k = call_begin(req, parent, reply_entry);

	fs_mknod(fs_of(k), &k->c, fuse_ino_in(parent), name, mode, rdev);
	call_wait_if_open(k, req);
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_call *k = call_begin(req, parent, reply_entry);

	fs_mkdir(fs_of(k), &k->c, fuse_ino_in(parent), name, mode);
	call_wait_if_open(k, req);
}

void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = call_begin(req, parent, reply_entry);

	k->mem = mem_dup(target, strlen(target)); /* must outlive the request */
	fs_symlink(fs_of(k), &k->c, fuse_ino_in(parent), name, k->mem);
	call_wait_if_open(k, req);
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = call_begin(req, ino, reply_entry);

	fs_link(fs_of(k), &k->c, fuse_ino_in(ino), fuse_ino_in(parent), name);
	call_wait_if_open(k, req);
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = call_begin(req, parent, reply_err);

	fs_unlink(fs_of(k), &k->c, fuse_ino_in(parent), name);
	call_wait_if_open(k, req);
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = call_begin(req, parent, reply_err);

	fs_rmdir(fs_of(k), &k->c, fuse_ino_in(parent), name);
	call_wait_if_open(k, req);
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned flags)
{
	struct fuse_call *k = call_begin(req, parent, reply_err);

	fs_rename(fs_of(k), &k->c, fuse_ino_in(parent), name, fuse_ino_in(new_parent), new_name,
		flags);
	call_wait_if_open(k, req);
}

void on_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *k = call_begin(req, ino, reply_data);

	fs_readlink(fs_of(k), &k->c, fuse_ino_in(ino));
	call_wait_if_open(k, req);
}
