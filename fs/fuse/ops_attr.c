/* Handlers: attributes, their lists, the filesystem as a whole. */
#include <errno.h>
#include <linux/fuse.h>

#include "fs/fuse/ops.h"

#define GROUPS_MAX 256

void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_attr);

	(void)fi;
	k->statx = k->m->opcode == OPCODE_STATX;
	fs_getattr(fs_of(k), &k->c, fuse_ino_in(ino));
	call_wait_if_open(k, req);
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

void on_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	struct fuse_call *k = call_begin(req, ino, reply_attr);
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
	call_wait_if_open(k, req);
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
	req = call_take(k);
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

void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
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
	k = call_begin(req, ino, reply_xattr);
	k->size = size;
	fs_getxattr(fs_of(k), &k->c, fuse_ino_in(ino), name);
	call_wait_if_open(k, req);
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

void on_setxattr(
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
	k = call_begin(req, ino, reply_err);
	k->mem = mem_dup(value, size); /* must outlive the request */
	if (k->c.uid && !strncmp(name, "system.posix_acl_", 17))
		take_groups(k, req);
	fs_setxattr(fs_of(k), &k->c, fuse_ino_in(ino), name, k->mem, size, flags);
	call_wait_if_open(k, req);
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fuse_call *k = call_begin(req, ino, reply_xattr);

	k->size = size;
	fs_listxattr(fs_of(k), &k->c, fuse_ino_in(ino));
	call_wait_if_open(k, req);
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
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
	k = call_begin(req, ino, reply_err);
	fs_removexattr(fs_of(k), &k->c, fuse_ino_in(ino), name);
	call_wait_if_open(k, req);
}

static void reply_statfs(struct fs_call *c, int rc)
{
	struct fuse_call *k = call_of(c);
	fuse_req_t req;

	if (rc) {
		reply_err(c, rc);
		return;
	}
	req = call_take(k);
	if (req)
		fuse_reply_statfs(req, &k->sv);
	fuse_call_end(k);
}

void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_call *k = call_begin(req, ino, reply_statfs);

	fs_statfs(fs_of(k), &k->c, &k->sv);
	call_wait_if_open(k, req);
}
