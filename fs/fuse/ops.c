/*
 * Handlers of requests: decode, call the operation, reply once.
 *
 * A call whose operation ended before the handler returns is answered already; any other waits, and
 * hears signals.
 */
#include <errno.h>

#include "fs/fuse/ops.h"

uint64_t fuse_ino_in(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? layout_ino_root() : ino;
}

fuse_ino_t fuse_ino_out(uint64_t ino)
{
	return ino == layout_ino_root() ? FUSE_ROOT_ID : ino;
}

/* A call begins: done() is @done. */
struct fuse_call *call_begin(
	fuse_req_t req, fuse_ino_t ino, void (*done)(struct fs_call *c, int rc))
{
	struct fuse_call *k = fuse_call_new(req, ino);

	k->c.done = done;
	k->started = true;
	return k;
}

/* The kernel takes no errno that it does not know; our own ones are mapped here. */
static int errno_out(int rc)
{
	switch (rc) {
	case -ESHUTDOWN:
	case -EBADMSG:
	case -EUCLEAN:
	case -EPROTO:
		return EIO;
	case -ECANCELED:
		return EIO;
	default:
		return -rc;
	}
}

void reply_err(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req = call_take(k);

	if (req)
		fuse_reply_err(req, errno_out(rc));
	fuse_call_end(k);
}

void attr_out(const struct fs_attr *a, struct stat *st)
{
	layout_stat(a, st);
	st->st_ino = fuse_ino_out(a->ino);
}

/* @keep: how long the kernel may keep the entry. */
void entry_out(struct fs *fs, const struct fs_attr *a, uint64_t keep, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){.ino = fuse_ino_out(a->ino),
		.attr_timeout = seconds(fs_keep_attr(fs, a->ino)),
		.entry_timeout = seconds(keep)};
	attr_out(a, &e->attr);
}

void reply_entry(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct fuse_entry_param e = {.ino = 0, .entry_timeout = seconds(c->entry_keep)};
	fuse_req_t req;

	/* that there is none is an entry, too */
	if (rc && (rc != -ENOENT || !c->entry_keep)) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req && !rc)
		entry_out(fs_of(k), &c->attr, c->entry_keep, &e);
	if (req)
		fuse_reply_entry(req, &e);
	fuse_call_end(k);
}

void reply_attr(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct stat st;
	fuse_req_t req;
	uint64_t keep;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	attr_out(&c->attr, &st);
	req = call_take(k);
	if (req) {
		keep = fs_keep_attr(fs_of(k), c->attr.ino);
		keep = keep > c->age ? keep - c->age : 0;
		if (k->statx)
			statx_reply(req, &c->attr, fuse_ino_out(c->attr.ino), keep);
		else
			fuse_reply_attr(req, &st, seconds(keep));
	}
	fuse_call_end(k);
}

void reply_data(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		fuse_reply_buf(req, c->data, c->len);
	fuse_call_end(k);
}

/* ---- the session ---- */

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
				       FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
				       FUSE_CAP_ASYNC_DIO | FUSE_CAP_CACHE_SYMLINKS |
				       FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK |
				       FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
	struct fuse_mount *m = userdata;

	/* AUTO_INVAL_DATA stays off: it would drop all pages of a file after each of our own
	 * writes, since those change its mtime; at open, keep_cache tells what is still good. */
	conn->want = (wanted | (m->opts.noacl ? 0 : FUSE_CAP_POSIX_ACL)) & conn->capable;
	conn->max_write = 1u << 20;
	conn->max_readahead = 1u << 20;
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	m->greeted = true;
}

static void on_destroy(void *userdata)
{
	(void)userdata;
}

const struct fuse_lowlevel_ops fuse_ops = {
	.init = on_init,
	.destroy = on_destroy,
	.lookup = on_lookup,
	.forget = on_forget,
	.forget_multi = on_forget_multi,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.readlink = on_readlink,
	.mknod = on_mknod,
	.mkdir = on_mkdir,
	.unlink = on_unlink,
	.rmdir = on_rmdir,
	.symlink = on_symlink,
	.rename = on_rename,
	.link = on_link,
	.open = on_open,
	.create = on_create,
	.read = on_read,
	.write = on_write,
	.flush = on_flush,
	.release = on_release,
	.fsync = on_fsync,
	.opendir = on_opendir,
	.readdir = on_readdir,
	.readdirplus = on_readdirplus,
	.releasedir = on_releasedir,
	.fsyncdir = on_fsyncdir,
	.statfs = on_statfs,
	.setxattr = on_setxattr,
	.getxattr = on_getxattr,
	.listxattr = on_listxattr,
	.removexattr = on_removexattr,
	.fallocate = on_fallocate,
	.lseek = on_lseek,
	.copy_file_range = on_copy_file_range,
	.getlk = on_getlk,
	.setlk = on_setlk,
	.flock = on_flock,
};
