/*
 * Handlers of requests: decode, call the operation, reply once.
 *
 * A call whose operation ended before the handler returns is answered already; any other waits, and
 * hears signals.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "dht/base/mem.h"
#include "fs/fuse/session.h"

#define GROUPS_MAX 256

static struct fs *fs_of(const struct fuse_call *k)
{
	return k->m->fs;
}

uint64_t fuse_ino_in(fuse_ino_t ino)
{
	return ino == FUSE_ROOT_ID ? layout_ino_root() : ino;
}

fuse_ino_t fuse_ino_out(uint64_t ino)
{
	return ino == layout_ino_root() ? FUSE_ROOT_ID : ino;
}

static struct fuse_call *call_of(struct fs_call *c)
{
	return container_of(c, struct fuse_call, c);
}

/* A call begins: done() is @done. */
static struct fuse_call *begin(
	fuse_req_t req, fuse_ino_t ino, void (*done)(struct fs_call *c, int rc))
{
	struct fuse_call *k = fuse_call_new(req, ino);

	k->c.done = done;
	k->started = true;
	return k;
}

/*
 * Was the call answered within the operation? Asked with what begin() gave, of which nothing is
 * touched then but that it is on the free list, where req is NULL.
 */
static void wait_if_open(struct fuse_call *k, fuse_req_t req)
{
	if (k->req == req)
		fuse_call_wait(k);
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

/* Takes the request out of the call, to be answered; NULL when the mount is gone. */
static fuse_req_t take(struct fuse_call *k)
{
	fuse_req_t req = k->req;

	k->req = NULL;
	return req;
}

static void reply_err(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req = take(k);

	if (req)
		fuse_reply_err(req, errno_out(rc));
	fuse_call_end(k);
}

static void attr_out(const struct fs_attr *a, struct stat *st)
{
	layout_stat(a, st);
	st->st_ino = fuse_ino_out(a->ino);
}

static double seconds(uint64_t ns)
{
	return (double)ns / ENV_SEC;
}

/* @keep: how long the kernel may keep the entry. */
static void entry_out(
	struct fs *fs, const struct fs_attr *a, uint64_t keep, struct fuse_entry_param *e)
{
	*e = (struct fuse_entry_param){.ino = fuse_ino_out(a->ino),
		.attr_timeout = seconds(fs_keep_attr(fs, a->ino)),
		.entry_timeout = seconds(keep)};
	attr_out(a, &e->attr);
}

static void reply_entry(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	struct fuse_entry_param e = {.ino = 0, .entry_timeout = seconds(c->entry_keep)};
	fuse_req_t req;

	/* that there is none is an entry, too */
	if (rc && (rc != -ENOENT || !c->entry_keep)) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req && !rc)
		entry_out(fs_of(k), &c->attr, c->entry_keep, &e);
	if (req)
		fuse_reply_entry(req, &e);
	fuse_call_end(k);
}

static void reply_attr(struct fs_call *c, int rc)
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
	req = take(k);
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

static void reply_data(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req)
		fuse_reply_buf(req, c->data, c->len);
	fuse_call_end(k);
}

/* ---- names ---- */

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
	struct fuse_call *k = begin(req, ino, parent ? lookup_parent : reply_number);

	fs_getattr(fs_of(k), &k->c, fuse_ino_in(ino));
	wait_if_open(k, req);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k;

	if (!strcmp(name, ".") || !strcmp(name, "..")) {
		lookup_by_number(req, parent, name[1]);
		return;
	}
	k = begin(req, parent, reply_entry);
	fs_lookup(fs_of(k), &k->c, fuse_ino_in(parent), name);
	wait_if_open(k, req);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	(void)ino;
	(void)n;
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	(void)count;
	(void)forgets;
	fuse_reply_none(req);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fuse_call *k = begin(req, parent, reply_entry);

	fs_mknod(fs_of(k), &k->c, fuse_ino_in(parent), name, mode, rdev);
	wait_if_open(k, req);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fuse_call *k = begin(req, parent, reply_entry);

	fs_mkdir(fs_of(k), &k->c, fuse_ino_in(parent), name, mode);
	wait_if_open(k, req);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = begin(req, parent, reply_entry);

	k->mem = mem_dup(target, strlen(target)); /* must outlive the request */
	fs_symlink(fs_of(k), &k->c, fuse_ino_in(parent), name, k->mem);
	wait_if_open(k, req);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = begin(req, ino, reply_entry);

	fs_link(fs_of(k), &k->c, fuse_ino_in(ino), fuse_ino_in(parent), name);
	wait_if_open(k, req);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = begin(req, parent, reply_err);

	fs_unlink(fs_of(k), &k->c, fuse_ino_in(parent), name);
	wait_if_open(k, req);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_call *k = begin(req, parent, reply_err);

	fs_rmdir(fs_of(k), &k->c, fuse_ino_in(parent), name);
	wait_if_open(k, req);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	const char *new_name, unsigned flags)
{
	struct fuse_call *k = begin(req, parent, reply_err);

	fs_rename(fs_of(k), &k->c, fuse_ino_in(parent), name, fuse_ino_in(new_parent), new_name,
		flags);
	wait_if_open(k, req);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *k = begin(req, ino, reply_data);

	fs_readlink(fs_of(k), &k->c, fuse_ino_in(ino));
	wait_if_open(k, req);
}

/* ---- attributes ---- */

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_attr);

	(void)fi;
	k->statx = k->m->opcode == OPCODE_STATX;
	fs_getattr(fs_of(k), &k->c, fuse_ino_in(ino));
	wait_if_open(k, req);
}

static int64_t ns_of(const struct timespec *ts)
{
	__int128 ns = (__int128)ts->tv_sec * 1000000000 + ts->tv_nsec;

	if (ns > INT64_MAX)
		return INT64_MAX;
	return ns < INT64_MIN ? INT64_MIN : (int64_t)ns;
}

static unsigned what_of(const struct fuse_mount *m, int to_set)
{
	static const struct {
		int fuse;
		unsigned fs;
	} map[] = {
		{FUSE_SET_ATTR_MODE, FS_SET_MODE},
		{FUSE_SET_ATTR_UID, FS_SET_UID},
		{FUSE_SET_ATTR_GID, FS_SET_GID},
		{FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
		{FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
		{FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
		{FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
		{FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
		{FUSE_SET_ATTR_CTIME, FS_SET_CTIME},
	};
	const struct fuse_setattr_in *in = (const void *)(m->in + 1);
	unsigned what = 0;

	for (size_t i = 0; i < ARRAY_LEN(map); i++) {
		if (to_set & map[i].fuse)
			what |= map[i].fs;
	}
	if (what & FS_SET_ATIME_NOW)
		what &= ~(unsigned)FS_SET_ATIME;
	if (what & FS_SET_MTIME_NOW)
		what &= ~(unsigned)FS_SET_MTIME;
	/* a new owner takes the set-id bits; a cut does when the kernel says so */
	if (what & (FS_SET_UID | FS_SET_GID) && !(what & FS_SET_MODE))
		what |= FS_SET_KILL_SUID;
	if (m->killpriv && in->valid & FATTR_KILL_SUIDGID)
		what |= FS_SET_KILL_SUID;
	return what;
}

static void op_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_attr);
	struct fs_attr set = {
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime = ns_of(&st->st_atim),
		.mtime = ns_of(&st->st_mtim),
		.ctime = ns_of(&st->st_ctim),
	};

	(void)fi;
	fs_setattr(fs_of(k), &k->c, fuse_ino_in(ino), what_of(k->m, to_set), &set);
	wait_if_open(k, req);
}

static void reply_xattr(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc == 0 && k->size && c->len > k->size)
		rc = -ERANGE;
	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req && k->size == 0)
		fuse_reply_xattr(req, c->len);
	else if (req)
		fuse_reply_buf(req, c->data, c->len);
	fuse_call_end(k);
}

static void control_reply(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fuse_mount *m = fuse_req_userdata(req);
	struct buf b = {0};
	uint32_t uid = fuse_req_ctx(req)->uid;
	int rc = ino == FUSE_ROOT_ID ? control_get(fs_client(m->fs), name, uid, &b) : -ENODATA;

	if (rc == 0 && size && b.len > size)
		rc = -ERANGE;
	if (rc)
		fuse_reply_err(req, -rc);
	else if (size == 0)
		fuse_reply_xattr(req, b.len);
	else
		fuse_reply_buf(req, (const char *)b.data, b.len);
	buf_fini(&b);
}

/* Names that a mount with noacl does not know. */
static bool is_off(fuse_req_t req, const char *name)
{
	const struct fuse_mount *m = fuse_req_userdata(req);

	return m->opts.noacl && !strncmp(name, "system.posix_acl_", 17);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fuse_call *k;

	if (is_off(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (control_is(name)) {
		control_reply(req, ino, name, size);
		return;
	}
	k = begin(req, ino, reply_xattr);
	k->size = size;
	fs_getxattr(fs_of(k), &k->c, fuse_ino_in(ino), name);
	wait_if_open(k, req);
}

/* The groups of who asks, in the call. Had the kernel been told that we know FUSE_SETXATTR_EXT,
 * which libfuse does not, it would say whether the set-group-ID bit has to go. */
static void take_groups(struct fuse_call *k, fuse_req_t req)
{
	int n;

	k->groups = mem_grow(NULL, GROUPS_MAX, sizeof(*k->groups));
	n = fuse_req_getgroups(req, GROUPS_MAX, k->groups);
	k->c.groups = k->groups;
	k->c.ngroups = n < 0 ? 0 : n > GROUPS_MAX ? GROUPS_MAX : (unsigned)n;
}

static void op_setxattr(
	fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fuse_call *k;

	if (is_off(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (control_is(name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	k = begin(req, ino, reply_err);
	k->mem = mem_dup(value, size); /* must outlive the request */
	if (k->c.uid && !strncmp(name, "system.posix_acl_", 17))
		take_groups(k, req);
	fs_setxattr(fs_of(k), &k->c, fuse_ino_in(ino), name, k->mem, size, flags);
	wait_if_open(k, req);
}

static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fuse_call *k = begin(req, ino, reply_xattr);

	k->size = size;
	fs_listxattr(fs_of(k), &k->c, fuse_ino_in(ino));
	wait_if_open(k, req);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fuse_call *k;

	if (is_off(req, name)) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (control_is(name)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	k = begin(req, ino, reply_err);
	fs_removexattr(fs_of(k), &k->c, fuse_ino_in(ino), name);
	wait_if_open(k, req);
}

static void reply_statfs(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req)
		fuse_reply_statfs(req, &k->sv);
	fuse_call_end(k);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *k = begin(req, ino, reply_statfs);

	fs_statfs(fs_of(k), &k->c, &k->sv);
	wait_if_open(k, req);
}

/* ---- directories ---- */

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
	req = take(k);
	/* who asked is gone (or the mount): nobody will close it */
	if (req && fuse_reply_open(req, &k->fi) == -ENOENT)
		fs_releasedir(m->fs, c->dir);
	fuse_call_end(k);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_opendir);

	k->fi = *fi;
	fs_opendir(fs_of(k), &k->c, fuse_ino_in(ino));
	wait_if_open(k, req);
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
	req = take(k);
	if (req)
		fuse_reply_buf(req, k->mem, k->used);
	fuse_call_end(k);
}

static void readdir_any(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi, bool plus)
{
	struct fuse_call *k = begin(req, ino, reply_readdir);

	k->size = size;
	k->plus = plus;
	k->mem = mem_grow(NULL, size, 1);
	fs_readdir(fs_of(k), &k->c, dir_of(fi), (uint64_t)off, plus, fill, k);
	wait_if_open(k, req);
}

static void op_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, fi, false);
}

static void op_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	readdir_any(req, ino, size, off, fi, true);
}

static void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	(void)ino;
	fs_releasedir(m->fs, dir_of(fi));
	fuse_reply_err(req, 0);
}

static void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_err);

	(void)datasync;
	fs_fsyncdir(fs_of(k), &k->c, dir_of(fi));
	wait_if_open(k, req);
}

/* ---- files ---- */

static struct fs_file *file_of(const struct fuse_file_info *fi)
{
	return (struct fs_file *)(uintptr_t)fi->fh;
}

static void file_info(struct fuse_call *k)
{
	k->fi.fh = (uint64_t)(uintptr_t)k->c.file;
	k->fi.keep_cache = k->c.keep_cache;
	/* The kernel appends behind the end that it knows of, and would keep the bytes as pages
	 * there; we know where they went. */
	k->fi.direct_io = k->fi.flags & O_APPEND ? 1 : 0;
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
	file_info(k);
	req = take(k);
	/* The kernel would read up to the size that it was told a moment ago. Only attributes are
	 * dropped, for which it takes no lock that somebody may hold who waits for us. */
	if (req && c->attr_changed)
		fuse_lowlevel_notify_inval_inode(m->se, k->ino, -1, 0);
	if (req && fuse_reply_open(req, &k->fi) == -ENOENT)
		fs_release(m->fs, c->file);
	fuse_call_end(k);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_open);

	k->fi = *fi;
	fs_open(fs_of(k), &k->c, fuse_ino_in(ino), fi->flags);
	wait_if_open(k, req);
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
	req = take(k);
	if (req)
		entry_out(m->fs, &c->attr, c->entry_keep, &e);
	file_info(k);
	if (req && fuse_reply_create(req, &e, &k->fi) == -ENOENT)
		fs_release(m->fs, c->file);
	fuse_call_end(k);
}

static void op_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, parent, reply_create);

	k->fi = *fi;
	if (k->m->opcode == OPCODE_TMPFILE)
		fs_tmpfile(fs_of(k), &k->c, fuse_ino_in(parent), mode, fi->flags);
	else
		fs_create(fs_of(k), &k->c, fuse_ino_in(parent), name, mode, fi->flags);
	wait_if_open(k, req);
}

static void op_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_data);

	fs_read(fs_of(k), &k->c, file_of(fi), (uint64_t)off, size);
	wait_if_open(k, req);
}

static void reply_write(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req)
		fuse_reply_write(req, c->len);
	fuse_call_end(k);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_write);
	struct fuse_mount *m = k->m;
	const struct fuse_write_in *in = (const void *)(m->in + 1);

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
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, flushed);

	k->fi = *fi;
	fs_flush(fs_of(k), &k->c, file_of(fi));
	wait_if_open(k, req);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_mount *m = fuse_req_userdata(req);

	(void)ino;
	fs_release(m->fs, file_of(fi));
	fuse_reply_err(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_err);

	fs_fsync(fs_of(k), &k->c, file_of(fi), datasync);
	wait_if_open(k, req);
}

static void op_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_err);

	/* the kernel leaves it to us and does not say who has CAP_FSETID: root, that is */
	k->c.kill_priv = k->m->killpriv && k->c.uid != 0;
	fs_fallocate(
		fs_of(k), &k->c, file_of(fi), mode, (uint64_t)off, len > 0 ? (uint64_t)len : 0);
	wait_if_open(k, req);
}

static void reply_lseek(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = take(k);
	if (req)
		fuse_reply_lseek(req, (off_t)c->offset);
	fuse_call_end(k);
}

static void op_lseek(
	fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fuse_call *k = begin(req, ino, reply_lseek);

	fs_lseek(fs_of(k), &k->c, file_of(fi), (uint64_t)off, whence);
	wait_if_open(k, req);
}

/* ---- locks ---- */

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
	req = take(k);
	if (req)
		fuse_reply_lock(req, &l);
	fuse_call_end(k);
}

static void op_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct fuse_call *k = begin(req, ino, reply_lock);
	struct fs_lock l = lock_in(fi, lock);

	fs_getlk(fs_of(k), &k->c, file_of(fi), &l);
	wait_if_open(k, req);
}

static void op_setlk(
	fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	struct fuse_call *k = begin(req, ino, reply_err);
	struct fs_lock l = lock_in(fi, lock);

	fs_setlk(fs_of(k), &k->c, file_of(fi), &l, sleep);
	wait_if_open(k, req);
}

static void op_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	struct fuse_call *k = begin(req, ino, reply_err);
	struct fs_lock l = {
		.kind = FS_LOCK_FLOCK, .type = F_UNLCK, .owner = fi->lock_owner, .last = LOCK_LAST};

	if (op & LOCK_SH)
		l.type = F_RDLCK;
	else if (op & LOCK_EX)
		l.type = F_WRLCK;
	fs_setlk(fs_of(k), &k->c, file_of(fi), &l, !(op & LOCK_NB));
	wait_if_open(k, req);
}

/* ---- the session ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
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

static void op_destroy(void *userdata)
{
	(void)userdata;
}

const struct fuse_lowlevel_ops fuse_ops = {
	.init = op_init,
	.destroy = op_destroy,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.fsync = op_fsync,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.releasedir = op_releasedir,
	.fsyncdir = op_fsyncdir,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.lseek = op_lseek,
	.getlk = op_getlk,
	.setlk = op_setlk,
	.flock = op_flock,
};
