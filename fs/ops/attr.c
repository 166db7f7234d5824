/*
 * Attributes: getattr, setattr (a change of size is truncate.c's).
 *
 * One transaction each. setattr reads the object along, and computes what it has become.
 */
#include "fs/ops/attr.h"

#include <errno.h>

#include <stdlib.h>

#include "fs/cache/data.h"
#include "fs/ops/acl.h"
#include "fs/cache/inode.h"
#include "fs/ops/op.h"
#include "fs/ops/removed.h"
#include "fs/ops/truncate.h"

/* ---- getattr ---- */

struct getattr {
	struct op op;
	uint64_t ino;
	int get;
};

static void getattr_done(void *arg, const struct orbit_reply *r)
{
	struct getattr *g = arg;
	struct fs *fs = g->op.fs;
	struct fs_attr a;
	int rc = op_outcome(&g->op, r);

	if (!rc)
		rc = op_attr(fs, r, g->get, g->ino, &a);
	/* Gone for good, and the kernel still knows its number: a directory that is open here
	 * (files that are open stay), or a name that another mount removed. That one has to be
	 * looked up again, which is what ESTALE makes the kernel do. */
	if (rc == -ENOENT)
		rc = removed_remembered(fs, g->ino, &a) ? 0 : -ESTALE;
	if (!rc) {
		data_overlay(fs->data, &a);
		g->op.call->attr = a;
	}
	op_end(&g->op, rc);
}

uint64_t fs_keep_attr(struct fs *fs, uint64_t ino)
{
	return inode_give_attr(fs->inodes, ino);
}

void fs_getattr(struct fs *fs, struct fs_call *c, uint64_t ino)
{
	struct orbit_id id = layout_inode_id(ino);
	struct getattr *g;
	struct txn_build t;

	c->age = 0;
	if (inode_attr(fs->inodes, ino, &c->attr)) {
		data_overlay(fs->data, &c->attr);
		mount_done(c, 0);
		return;
	}
	if (fs->cfg.cache != FS_CACHE_STRICT && dirchange_take(fs, ino, &c->attr, &c->age)) {
		mount_done(c, 0);
		return;
	}
	g = op_new(sizeof(*g), fs, c);
	g->ino = ino;
	txn_init(&t);
	g->get = txn_get(&t, &id);
	inode_wish(fs->inodes, &t, ino);
	op_submit(&g->op, ino, &t, getattr_done);
}

/* ---- setattr ---- */

struct setattr {
	struct op op;
	uint64_t ino;
	unsigned what;
	struct fs_attr set;
	uint32_t mode;   /* as believed; 0: not known */
	struct acl *acl; /* chmod: the access control list as it was read; NULL: not read */
	int64_t now;
	uint64_t since; /* env_now() when it began to wait for what is dirty */
	int get, get_acl;
};

static void setattr_submit(struct op *o);

uint32_t attr_mode_killed(uint32_t mode)
{
	if (S_ISDIR(mode))
		return mode;
	mode &= ~(uint32_t)S_ISUID;
	/* without group execution it means mandatory locking */
	return mode & S_IXGRP ? mode & ~(uint32_t)S_ISGID : mode;
}

void attr_put(struct txn_build *t, struct fs_attr *a, unsigned what, const struct fs_attr *set,
	int64_t now)
{
	struct orbit_id id = layout_inode_id(a->ino);
	uint32_t mode = a->mode;

	if (what & FS_SET_MODE)
		mode = (mode & ~07777u) | (set->mode & 07777);
	if (what & FS_SET_KILL_SUID)
		mode = attr_mode_killed(mode);
	if (what & FS_SET_MODE || mode != a->mode)
		txn_set(t, &id, SLOT_MODE, mode);
	a->mode = mode;
	if (what & FS_SET_UID)
		txn_set(t, &id, SLOT_UID, a->uid = set->uid);
	if (what & FS_SET_GID)
		txn_set(t, &id, SLOT_GID, a->gid = set->gid);
	if (what & (FS_SET_ATIME | FS_SET_ATIME_NOW)) {
		a->atime = what & FS_SET_ATIME_NOW ? now : set->atime;
		txn_set(t, &id, SLOT_ATIME, (uint64_t)a->atime);
	}
	if (what & (FS_SET_MTIME | FS_SET_MTIME_NOW)) {
		a->mtime = what & FS_SET_MTIME_NOW ? now : set->mtime;
		txn_set(t, &id, SLOT_MTIME, (uint64_t)a->mtime);
	}
	if (what & FS_SET_CTIME) {
		a->ctime = set->ctime;
		txn_set(t, &id, SLOT_CTIME, (uint64_t)a->ctime);
	} else {
		a->ctime = a->ctime > now ? a->ctime : now;
		txn_max(t, &id, SLOT_CTIME, (uint64_t)now);
	}
}

/* Of a directory that was removed and is still told of (removed.h): nobody else will see it. */
static int setattr_dead(struct setattr *s)
{
	struct txn_build none;
	struct fs_attr a;

	if (!removed_remembered(s->op.fs, s->ino, &a))
		return -ESTALE;
	txn_init(&none);
	attr_put(&none, &a, s->what, &s->set, mount_now(s->op.fs));
	txn_fini(&none);
	removed_change(s->op.fs, &a);
	s->op.call->attr = a;
	return 0;
}

static void setattr_end(struct setattr *s, int rc)
{
	if (rc == -ESTALE)
		rc = setattr_dead(s);
	free(s->acl);
	op_end(&s->op, rc);
}

/* chmod of an inode with an access control list changes both. */
static bool with_acl(const struct setattr *s)
{
	return s->what & FS_SET_MODE && s->mode & LAYOUT_MODE_ACL;
}

static void put_acl(struct setattr *s, struct txn_build *t, const struct orbit_id *id)
{
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen = layout_xattr_key(ACL_ACCESS, key);
	struct acl acl = *s->acl;

	op_why(&s->op, txn_map_eq(t, id, key, klen, acl.data, acl.len), WHY_STALE_MODE);
	acl_chmod(&acl, s->set.mode);
	txn_put(t, id, key, klen, acl.data, acl.len);
}

static void setattr_got(void *arg, const struct orbit_reply *r)
{
	struct setattr *s = arg;
	struct fs_attr a;
	int rc = op_outcome(&s->op, r);

	if (!rc)
		rc = op_attr(s->op.fs, r, s->get, s->ino, &a);
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc) {
		s->mode = a.mode;
		if (with_acl(s)) {
			if (!s->acl)
				s->acl = mem_zalloc(sizeof(*s->acl));
			rc = acl_got(s->acl, r, s->get_acl);
			if (!rc && !s->acl->len) /* the mode says that there is one */
				rc = -EIO;
		}
	}
	if (rc)
		setattr_end(s, rc);
	else
		op_retry(&s->op, setattr_submit);
}

static void setattr_get(struct op *o)
{
	struct setattr *s = container_of(o, struct setattr, op);
	struct orbit_id id = layout_inode_id(s->ino);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen = layout_xattr_key(ACL_ACCESS, key);
	struct txn_build t;

	txn_init(&t);
	s->get = txn_get(&t, &id);
	if (s->what & FS_SET_MODE)
		s->get_acl = txn_get_map(&t, &id, key, klen);
	op_submit(o, s->ino, &t, setattr_got);
}

static void setattr_done(void *arg, const struct orbit_reply *r)
{
	struct setattr *s = arg;
	struct fs *fs = s->op.fs;
	struct txn_build none;
	struct fs_attr a, was;
	int rc = op_outcome(&s->op, r);

	if (rc == WHY_STALE_MODE) {
		op_retry(&s->op, setattr_get);
		return;
	}
	if (!rc)
		rc = op_attr(fs, r, s->get, s->ino, &a);
	if (!rc) {
		/* the same changes once more, to what was there before */
		was = a;
		txn_init(&none);
		attr_put(&none, &a, s->what, &s->set, s->now);
		txn_fini(&none);
		data_moved(fs->data, &was, &a);
		hint_learn(fs, &a);
		mount_changed(fs, s->ino);
		mount_made(fs, &a);
		data_overlay(fs->data, &a);
		s->op.call->attr = a;
	}
	setattr_end(s, rc);
}

static void setattr_submit(struct op *o)
{
	struct setattr *s = container_of(o, struct setattr, op);
	struct orbit_id id = layout_inode_id(s->ino);
	struct fs_attr a = {.ino = s->ino, .mode = s->mode};
	struct txn_build t;

	txn_init(&t);
	s->now = mount_now(o->fs);
	op_why(o, txn_exists(&t, &id), -ESTALE);
	if (s->what & (FS_SET_KILL_SUID | FS_SET_MODE))
		op_why(o, txn_slot_eq(&t, &id, SLOT_MODE, s->mode), WHY_STALE_MODE);
	s->get = txn_get(&t, &id);
	attr_put(&t, &a, s->what, &s->set, s->now);
	if (with_acl(s))
		put_acl(s, &t, &id);
	inode_wish(o->fs->inodes, &t, s->ino);
	op_submit(o, s->ino, &t, setattr_done);
}

static void setattr_begin(struct setattr *s)
{
	const struct hint_inode *h = hint_inode(s->op.fs, s->ino);

	s->mode = h ? h->mode : 0;
	if ((s->what & (FS_SET_MODE | FS_SET_KILL_SUID) && !s->mode) || with_acl(s))
		setattr_get(&s->op);
	else
		setattr_submit(&s->op);
}

/* Nobody can take the flush back; but its end need not be waited for. */
static void setattr_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct setattr *s = call->impl;

	if (!fatal && env_now(fs->env) < s->since + fs->cfg.policy.check_timeout)
		return;
	s->op.call = NULL;
	mount_done(call, -EINTR);
}

static void setattr_flushed(void *arg, int rc)
{
	struct setattr *s = arg;

	(void)rc; /* reported to who wrote, when it closes or syncs */
	if (!s->op.call) {
		op_end(&s->op, -EINTR);
		return;
	}
	s->op.call->interrupt = NULL;
	setattr_begin(s);
}

void fs_setattr(
	struct fs *fs, struct fs_call *c, uint64_t ino, unsigned what, const struct fs_attr *set)
{
	struct setattr *s;

	if (!what) {
		fs_getattr(fs, c, ino);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	if (what & FS_SET_SIZE) {
		truncate_setattr(fs, c, ino, what, set);
		return;
	}
	s = op_new(sizeof(*s), fs, c);
	s->ino = ino;
	s->what = what;
	s->set = *set;
	/* Times of writes that are on their way must not overtake those that the user sets now. */
	if (data_forget_times(fs->data, ino, what & (FS_SET_ATIME | FS_SET_ATIME_NOW),
		    what & (FS_SET_MTIME | FS_SET_MTIME_NOW | FS_SET_CTIME), what & FS_SET_MODE)) {
		setattr_begin(s);
		return;
	}
	c->impl = s;
	c->interrupt = setattr_interrupt;
	s->since = env_now(fs->env);
	data_flush(fs->data, ino, setattr_flushed, s);
}
