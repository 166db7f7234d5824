/*
 * Making inodes with their first name: create, mknod, mkdir, symlink; and files without
 * (O_TMPFILE), which are orphans from the beginning, and stay while they are open.
 *
 * One transaction: the directory is alive and of the mode (and group, if that is inherited) that we
 * believe, the name is free -> entry, inode, the directory's counts and times; for create also the
 * hold of the open file. A belief that proves wrong is corrected by reading the directory.
 *
 * In a directory with a default access control list, that is read first, and compared too.
 *
 * New files lie beside their directory, so that creating one concerns one shard; directories, and
 * the files of a directory that has many, hash a position of their own.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/acl.h"
#include "fs/ops/file.h"
#include "fs/ops/op.h"

struct create {
	struct op op;
	uint64_t dir, ino;
	uint32_t mode;
	uint64_t rdev;
	bool open;     /* fs_create(): the file is open afterwards */
	bool nameless; /* fs_tmpfile(): and has no name */
	bool fresh;    /* the directory's hint was read for this very operation */
	int flags;
	int get, get_acl;
	struct dirchange change;
	struct fs_attr attr;
	size_t klen, target_len;
	char *target;     /* of a symbolic link */
	struct acl *dacl; /* the directory's default list as it was read; NULL: not read */
	struct acl *acl;  /* what becomes of it for the new inode */
	uint8_t key[DIRENT_KEY_MAX];
};

static void create_begin(struct op *o);

static void create_end(struct create *m, int rc)
{
	free(m->target);
	free(m->dacl);
	free(m->acl);
	op_end(&m->op, rc);
}

/* ---- the directory ---- */

static void create_got_dir(void *arg, const struct orbit_reply *r)
{
	struct create *m = arg;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = op_attr(m->op.fs, r, m->get, m->dir, &a);
	if (!rc && a.nlink == 0)
		rc = -ENOENT;
	if (!rc && a.mode & LAYOUT_MODE_DACL) {
		if (!m->dacl)
			m->dacl = mem_zalloc(sizeof(*m->dacl));
		rc = acl_got(m->dacl, r, m->get_acl);
		if (!rc && !m->dacl->len) /* the mode says that there is one */
			rc = -EIO;
	}
	if (rc) {
		create_end(m, rc);
		return;
	}
	m->fresh = true;
	op_retry(&m->op, create_begin);
}

static void create_get_dir(struct op *o)
{
	struct create *m = container_of(o, struct create, op);
	struct orbit_id id = layout_inode_id(m->dir);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen = layout_xattr_key(ACL_DEFAULT, key);
	struct txn_build t;

	txn_init(&t);
	m->get = txn_get(&t, &id);
	m->get_acl = txn_get_map(&t, &id, key, klen);
	op_submit(&m->op, m->dir, &t, create_got_dir);
}

/* ---- a name that turned out to be there: open(O_CREAT) without O_EXCL ---- */

#define AGAIN_MAX 20 /* as often as others take it away and make it anew */

struct reopen {
	struct op op;
	uint64_t dir;
	uint32_t mode;
	int flags;
	struct fs_call lookup;
	char name[LAYOUT_NAME_MAX + 1];
};

/*
 * The kernel saw no file, so it checked no permissions. What plainly is the caller's own, or root's
 * to open, is opened; of anything else the kernel is told to look again (ESTALE makes it walk the
 * path once more), and then opens it as it opens what exists.
 */
static int may_open(const struct fs_attr *a, const struct fs_call *call, int flags)
{
	unsigned want = (flags & O_ACCMODE) == O_RDONLY   ? 4
			: (flags & O_ACCMODE) == O_WRONLY ? 2
							  : 6;

	if (S_ISDIR(a->mode))
		return -EISDIR;
	if (!S_ISREG(a->mode))
		return -ESTALE;
	if (flags & O_TRUNC)
		want |= 2;
	if (call->uid == 0 || (call->uid == a->uid && (a->mode >> 6 & want) == want))
		return 0;
	return -ESTALE;
}

static void reopen_looked_up(struct fs_call *lookup, int rc)
{
	struct reopen *re = container_of(lookup, struct reopen, lookup);
	struct fs_call *call = re->op.call;
	struct fs *fs = re->op.fs;
	uint64_t ino = lookup->attr.ino;
	int flags = re->flags;

	if (rc == -ENOENT && call->again++ < AGAIN_MAX) { /* gone again */
		call->interrupt = NULL;
		fs_create(fs, call, re->dir, re->name, re->mode, flags);
		free(re);
		mount_op_end(fs);
		return;
	}
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc)
		rc = may_open(&lookup->attr, call, flags);
	if (rc) {
		op_end(&re->op, rc);
		return;
	}
	call->attr = lookup->attr;
	call->interrupt = NULL;
	free(re);
	fs_open(fs, call, ino, flags & ~O_CREAT);
	mount_op_end(fs);
}

static void reopen_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct reopen *re = call->impl;

	fs_interrupt(fs, &re->lookup, fatal);
}

static void create_open_existing(struct create *m)
{
	struct fs *fs = m->op.fs;
	struct fs_call *call = m->op.call;
	struct reopen *re = op_new(sizeof(*re), fs, call);
	uint64_t dir = m->dir;

	re->dir = m->dir;
	re->mode = m->mode & 07777;
	re->flags = m->flags;
	memcpy(re->name, m->key + 9, m->klen - 9);
	re->lookup = (struct fs_call){.uid = call->uid,
		.gid = call->gid,
		.pid = call->pid,
		.fatal = call->fatal,
		.done = reopen_looked_up};
	call->impl = re;
	call->interrupt = reopen_interrupt;
	free(m->target);
	free(m->dacl);
	free(m->acl);
	free(m);
	fs_lookup(fs, &re->lookup, dir, re->name);
	mount_op_end(fs); /* m's */
}

/* ---- the transaction ---- */

static void create_made(struct create *m, const struct orbit_reply *r)
{
	struct fs *fs = m->op.fs;
	struct fs_call *call = m->op.call;

	mount_changed(fs, m->ino);
	if (!m->nameless)
		dirchange_done(fs, &m->change, r, 1, S_ISDIR(m->mode));
	hint_learn(fs, &m->attr);
	hint_no_caps(fs, m->ino);
	mount_no_caps(fs, m->ino);
	mount_made(fs, &m->attr);
	call->attr = m->attr;
	if (m->open)
		call->file = file_new(fs, m->ino, m->flags, &m->attr);
	if (m->nameless) {
		file_nameless(fs, m->ino);
	} else {
		hint_learn_name(fs, m->dir, m->key, m->klen, m->ino, layout_dtype(m->mode));
		mount_made_entry(fs, m->dir, m->key, m->klen, m->ino, layout_dtype(m->mode));
		op_keep_entry(&m->op, m->dir, m->key, m->klen);
	}
	create_end(m, 0);
}

static void create_done(void *arg, const struct orbit_reply *r)
{
	struct create *m = arg;
	int rc = op_outcome(&m->op, r);

	switch (rc) {
	case 0:
		create_made(m, r);
		return;
	case WHY_STALE_MODE:
		op_retry(&m->op, create_get_dir);
		return;
	case -EEXIST:
		hint_forget_name(m->op.fs, m->dir, m->key, m->klen);
		if (m->open && !(m->flags & O_EXCL)) {
			create_open_existing(m);
			return;
		}
		break;
	case -ENOENT:
		hint_forget(m->op.fs, m->dir);
		break;
	case -ETIMEDOUT:
	case -EINTR:
		if (m->open)
			file_doubt(m->op.fs, m->ino);
		break;
	}
	create_end(m, rc);
}

/* The mode of the new inode, and its access control list in m->acl. */
static uint32_t fill_mode(struct create *m, const struct hint_inode *dir)
{
	uint32_t mode = m->mode;

	if (S_ISDIR(mode) && dir->mode & S_ISGID)
		mode |= S_ISGID;
	if (S_ISLNK(mode))
		return mode;
	if (!(dir->mode & LAYOUT_MODE_DACL))
		return mode & ~(m->op.call->umask & 0777u);
	if (!m->acl)
		m->acl = mem_zalloc(sizeof(*m->acl));
	*m->acl = *m->dacl;
	mode = (mode & ~0777u) | acl_inherit(m->acl, mode);
	if (!acl_is_minimal(m->acl))
		mode |= LAYOUT_MODE_ACL;
	return S_ISDIR(mode) ? mode | LAYOUT_MODE_DACL : mode;
}

/* What the new inode will be. */
static void fill_attr(struct create *m, const struct hint_inode *dir, int64_t now)
{
	const struct fs_call *call = m->op.call;
	bool inherit = dir->mode & S_ISGID;

	m->attr = (struct fs_attr){
		.ino = m->ino,
		.mode = fill_mode(m, dir),
		.uid = call->uid,
		.gid = inherit ? dir->gid : call->gid,
		.nlink = S_ISDIR(m->mode) ? 2 : 1,
		.size = m->target_len,
		.bytes = m->target_len,
		.rdev = m->rdev,
		.atime = now,
		.mtime = now,
		.ctime = now,
		.btime = now,
		.parent = m->dir,
	};
}

void create_put_inode(struct txn_build *t, const struct orbit_id *id, const struct fs_attr *a)
{
	uint64_t slot[TXN_SLOTS] = {
		[SLOT_MODE] = a->mode,
		[SLOT_UID] = a->uid,
		[SLOT_GID] = a->gid,
		[SLOT_NLINK] = a->nlink,
		[SLOT_SIZE] = a->size,
		[SLOT_ATIME] = (uint64_t)a->atime,
		[SLOT_MTIME] = (uint64_t)a->mtime,
		[SLOT_CTIME] = (uint64_t)a->ctime,
		[SLOT_BTIME] = (uint64_t)a->btime,
		[SLOT_RDEV] = a->rdev,
		[SLOT_PARENT] = a->parent,
	};
	uint16_t mask = 0;

	for (unsigned i = 0; i < TXN_SLOTS; i++) {
		if (slot[i])
			mask |= (uint16_t)(1u << i);
	}
	txn_create(t, id, mask, slot);
}

static void put_acls(struct create *m, struct txn_build *t, const struct orbit_id *id)
{
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen;

	if (m->attr.mode & LAYOUT_MODE_ACL) {
		klen = layout_xattr_key(ACL_ACCESS, key);
		txn_put(t, id, key, klen, m->acl->data, m->acl->len);
	}
	if (m->attr.mode & LAYOUT_MODE_DACL) {
		klen = layout_xattr_key(ACL_DEFAULT, key);
		txn_put(t, id, key, klen, m->dacl->data, m->dacl->len);
	}
}

static void put_name(struct create *m, struct txn_build *t, const struct orbit_id *dir, int64_t now)
{
	uint8_t val[DIRENT_VALUE_LEN];

	op_why(&m->op, txn_map_absent(t, dir, m->key, m->klen), -EEXIST);
	layout_dirent_value(m->ino, layout_dtype(m->mode), val);
	txn_put(t, dir, m->key, m->klen, val, sizeof(val));
	txn_add(t, dir, SLOT_CHILDREN, 1);
	if (S_ISDIR(m->mode))
		txn_refer(t, dir, SLOT_NLINK, 1);
	dirchange_put(m->op.fs, &m->change, t, m->dir, now);
}

static void create_submit(struct create *m, const struct hint_inode *h, int64_t now)
{
	struct orbit_id dir = layout_inode_id(m->dir), id = layout_inode_id(m->ino);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	struct txn_build t;

	txn_init(&t);
	op_why(&m->op, txn_slot_ne(&t, &dir, SLOT_NLINK, 0), -ENOENT);
	op_why(&m->op, txn_slot_eq(&t, &dir, SLOT_MODE, h->mode), WHY_STALE_MODE);
	if (h->mode & S_ISGID)
		op_why(&m->op, txn_slot_eq(&t, &dir, SLOT_GID, h->gid), WHY_STALE_MODE);
	if (h->mode & LAYOUT_MODE_DACL)
		op_why(&m->op,
			txn_map_eq(&t, &dir, key, layout_xattr_key(ACL_DEFAULT, key), m->dacl->data,
				m->dacl->len),
			WHY_STALE_MODE);
	if (!m->nameless)
		put_name(m, &t, &dir, now);
	create_put_inode(&t, &id, &m->attr);
	put_acls(m, &t, &id);
	if (m->nameless) { /* through one link it comes to its shard's list of orphans */
		txn_refer(&t, &id, SLOT_NLINK, -1);
		m->attr.nlink = 0;
	}
	if (m->target)
		txn_write(&t, &id, 0, m->target, m->target_len);
	if (m->open)
		txn_hold(&t, &id);
	if (m->open)
		inode_wish_exclusive(m->op.fs->inodes, &t, m->ino);
	else
		inode_wish(m->op.fs->inodes, &t, m->ino);
	op_submit(&m->op, m->dir, &t, create_done);
}

static void create_begin(struct op *o)
{
	struct create *m = container_of(o, struct create, op);
	struct fs *fs = m->op.fs;
	const struct hint_inode *h = hint_inode(fs, m->dir);
	bool full = h && S_ISDIR(m->mode) && h->nlink >= LAYOUT_LINK_MAX;
	int64_t now = mount_now(fs);
	int rc = 0;

	if (!h || (full && !m->fresh) || (h->mode & LAYOUT_MODE_DACL && !m->dacl)) {
		create_get_dir(o);
		return;
	}
	if (!S_ISDIR(h->mode))
		rc = -ENOTDIR;
	else if (full)
		rc = -EMLINK;
	else if (!m->ino)
		rc = mount_new_ino(fs, S_ISDIR(m->mode) || h->children >= LAYOUT_SPREAD_AFTER,
			m->dir, &m->ino);
	if (rc == -EAGAIN && !m->op.call->fatal) {
		op_retry(o, create_begin);
		return;
	}
	if (rc == -EAGAIN)
		rc = -EINTR;
	if (rc) {
		create_end(m, rc);
		return;
	}
	fill_attr(m, h, now);
	create_submit(m, h, now);
}

/* The operation, or NULL and the call ended. */
static struct create *create_new(
	struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode)
{
	struct create *m;
	int len = op_name(name, -EEXIST);

	if (len < 0) {
		mount_done(c, len);
		return NULL;
	}
	if (!mount_writable(fs, c))
		return NULL;
	m = op_new(sizeof(*m), fs, c);
	m->dir = parent;
	m->mode = mode;
	m->klen = layout_dirent_key(name, (size_t)len, m->key);
	return m;
}

void fs_create(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode,
	int flags)
{
	struct create *m = create_new(fs, c, parent, name, S_IFREG | (mode & 07777));

	if (!m)
		return;
	m->open = true;
	m->flags = flags;
	create_begin(&m->op);
}

void fs_tmpfile(struct fs *fs, struct fs_call *c, uint64_t dir, uint32_t mode, int flags)
{
	struct create *m;

	if (!mount_writable(fs, c))
		return;
	m = op_new(sizeof(*m), fs, c);
	m->dir = dir;
	m->mode = S_IFREG | (mode & 07777);
	m->open = m->nameless = true;
	m->flags = flags;
	create_begin(&m->op);
}

void fs_mknod(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode,
	uint64_t rdev)
{
	struct create *m;

	switch (mode & S_IFMT) {
	case 0:
		mode |= S_IFREG;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	default:
		mount_done(c, -EINVAL);
		return;
	}
	m = create_new(fs, c, parent, name, mode & (S_IFMT | 07777));
	if (!m)
		return;
	m->rdev = S_ISCHR(mode) || S_ISBLK(mode) ? rdev : 0;
	create_begin(&m->op);
}

void fs_mkdir(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode)
{
	struct create *m = create_new(fs, c, parent, name, S_IFDIR | (mode & 07777));

	if (m)
		create_begin(&m->op);
}

void fs_symlink(
	struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, const char *target)
{
	size_t len = strnlen(target, LAYOUT_SYMLINK_MAX + 1);
	struct create *m;

	if (len == 0 || len > LAYOUT_SYMLINK_MAX) {
		mount_done(c, len ? -ENAMETOOLONG : -ENOENT);
		return;
	}
	m = create_new(fs, c, parent, name, S_IFLNK | 0777);
	if (!m)
		return;
	m->target = mem_dup(target, len);
	m->target_len = len;
	create_begin(&m->op);
}
