/*
 * Looking up names, and reading symbolic links.
 *
 * A lookup follows the entry to its object in one transaction. Where the object lies in another
 * shard (directories do), the node can't follow; then what the name meant last is read along with
 * the entry, if one node serves both, and only a wrong guess costs a second transaction.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/op.h"
#include "fs/ops/stale.h"

struct lookup {
	struct op op;
	uint64_t dir, ino, guess;
	struct fs_attr attr;
	bool up;
	unsigned gone;       /* times that what was found was gone before there was a hold */
	struct fs_call hold; /* of what was found */
	int follow, get;     /* indices of results */
	size_t klen;
	uint8_t key[DIRENT_KEY_MAX];
	uint8_t type;
};

static void lookup_begin(struct op *o);

static void lookup_tell(struct lookup *l)
{
	struct fs *fs = l->op.fs;

	if (l->klen)
		hint_learn_name(fs, l->dir, l->key, l->klen, l->ino, l->type);
	data_overlay(fs->data, &l->attr);
	l->op.call->attr = l->attr;
	if (l->klen)
		op_keep_entry(&l->op, l->dir, l->key, l->klen);
	op_end(&l->op, 0);
}

/* ---- for one who was told ESTALE: what is found is to stay (stale.h) ---- */

#define GONE_MAX 8

static void lookup_held(struct fs_call *hold, int rc)
{
	struct lookup *l = container_of(hold, struct lookup, hold);
	struct fs *fs = l->op.fs;

	l->op.call->interrupt = NULL;
	if (!rc)
		fs_release(fs, hold->file); /* the hold stays for a moment */
	if (rc == -ESTALE && ++l->gone < GONE_MAX) {
		l->guess = 0;
		hint_forget_name(fs, l->dir, l->key, l->klen);
		op_retry(&l->op, lookup_begin);
		return;
	}
	/* other errors are for who opens it */
	lookup_tell(l);
}

static void lookup_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct lookup *l = call->impl;

	fs_interrupt(fs, &l->hold, fatal);
}

static void lookup_hold(struct lookup *l)
{
	struct fs_call *call = l->op.call;

	l->hold = (struct fs_call){.uid = call->uid,
		.gid = call->gid,
		.pid = call->pid,
		.fatal = call->fatal,
		.done = lookup_held};
	call->impl = l;
	call->interrupt = lookup_interrupt;
	fs_open(l->op.fs, &l->hold, l->ino, O_RDONLY);
}

static void lookup_found(struct lookup *l)
{
	struct fs *fs = l->op.fs;

	if (!l->klen || !stale_again(fs, l->op.call)) {
		lookup_tell(l);
	} else if (S_ISDIR(l->attr.mode)) {
		stale_found(fs, &l->attr);
		lookup_tell(l);
	} else {
		lookup_hold(l);
	}
}

static void lookup_absent(struct lookup *l)
{
	op_keep_entry(&l->op, l->dir, l->key, l->klen);
	op_end(&l->op, -ENOENT);
}

/* The entry names an inode that is not there: it was removed in between, or it is damage. */
static void lookup_missed(struct lookup *l)
{
	if (l->klen == 0) { /* "..": the directory itself went with its parent */
		op_end(&l->op, -ESTALE);
		return;
	}
	l->guess = 0;
	hint_forget_name(l->op.fs, l->dir, l->key, l->klen);
	if (op_missed(&l->op, true, l->dir, l->ino))
		op_retry(&l->op, lookup_begin);
	else
		op_end(&l->op, -EIO);
}

static void lookup_got(void *arg, const struct orbit_reply *r)
{
	struct lookup *l = arg;
	int rc = op_outcome(&l->op, r);

	if (!rc)
		rc = op_attr(l->op.fs, r, l->get, l->ino, &l->attr);
	if (rc == -ENOENT)
		lookup_missed(l);
	else if (rc)
		op_end(&l->op, rc);
	else
		lookup_found(l);
}

static void lookup_get(struct lookup *l)
{
	struct orbit_id id = layout_inode_id(l->ino);
	struct txn_build t;

	txn_init(&t);
	l->get = txn_get(&t, &id);
	inode_wish(l->op.fs->inodes, &t, l->ino);
	op_submit(&l->op, 0, &t, lookup_got);
}

/* What TXN_FOLLOW gave: the entry, and 1 when its object came along. */
static int parse_follow(struct lookup *l, const struct txn_result *res)
{
	struct cur c = cur_of(res->data, res->len);
	struct txn_object obj;
	const void *val;
	size_t vlen;

	val = cur_blob(&c, TXN_VALUE_MAX, &vlen);
	if (!val || layout_dirent_parse(val, vlen, &l->ino, &l->type))
		return -EIO;
	if (res->present < 2)
		return 0;
	obj = txn_get_object(&c);
	if (!cur_ok(&c) || layout_attr(l->ino, &obj, &l->attr))
		return -EIO;
	data_own_mark(l->op.fs->data, &l->attr);
	hint_learn(l->op.fs, &l->attr);
	mount_saw(l->op.fs, &l->attr);
	return 1;
}

static void lookup_followed(void *arg, const struct orbit_reply *r)
{
	struct lookup *l = arg;
	struct txn_result res;
	int rc = op_outcome(&l->op, r);

	if (!rc)
		rc = orbit_result(r, l->follow, &res) ? -EIO : 0;
	if (!rc && !res.present) {
		hint_learn_name(l->op.fs, l->dir, l->key, l->klen, 0, 0);
		mount_saw_entry(l->op.fs, l->dir, l->key, l->klen, 0, 0);
		lookup_absent(l);
		return;
	}
	if (!rc)
		rc = parse_follow(l, &res);
	if (rc >= 0)
		mount_saw_entry(l->op.fs, l->dir, l->key, l->klen, l->ino, l->type);
	if (rc < 0)
		op_end(&l->op, rc);
	else if (rc > 0)
		lookup_found(l);
	else if (l->guess == l->ino)
		lookup_got(l, r);
	else
		lookup_get(l);
}

static void lookup_begin(struct op *o)
{
	struct lookup *l = container_of(o, struct lookup, op);
	struct orbit_id dir = layout_inode_id(l->dir), id;
	struct txn_build t;

	txn_init(&t);
	l->follow = txn_follow(&t, &dir, l->key, l->klen, layout_inode_suffix);
	inode_wish(o->fs->inodes, &t, l->dir);
	inode_wish_followed(o->fs->inodes, &t);
	if (l->guess) {
		id = layout_inode_id(l->guess);
		l->get = txn_get(&t, &id);
		inode_wish(o->fs->inodes, &t, l->guess);
	}
	op_submit(&l->op, l->dir, &t, lookup_followed);
}

/* ---- "." and ".." ---- */

static void dots_got(void *arg, const struct orbit_reply *r)
{
	struct lookup *l = arg;
	int rc = op_outcome(&l->op, r);

	if (!rc)
		rc = op_attr(l->op.fs, r, l->get, l->ino, &l->attr);
	if (!rc && !S_ISDIR(l->attr.mode))
		rc = -ENOTDIR;
	if (!rc && l->up) { /* that was the directory; now its parent */
		l->up = false;
		l->ino = l->attr.parent;
		lookup_get(l);
		return;
	}
	if (!rc)
		l->op.call->attr = l->attr;
	op_end(&l->op, rc);
}

static void lookup_dots(struct lookup *l, bool up)
{
	struct orbit_id id = layout_inode_id(l->dir);
	struct txn_build t;

	l->ino = l->dir;
	l->up = up;
	txn_init(&t);
	l->get = txn_get(&t, &id);
	op_submit(&l->op, l->dir, &t, dots_got);
}

/* What is remembered answers all of it, or which inode it is. */
static bool lookup_remembered(struct lookup *l)
{
	struct inode_cache *ic = l->op.fs->inodes;

	switch (inode_entry(ic, l->dir, l->key, l->klen, &l->ino, &l->type)) {
	case INODE_ENTRY_UNKNOWN:
		return false;
	case INODE_ENTRY_ABSENT:
		lookup_absent(l);
		return true;
	case INODE_ENTRY_THERE:
		break;
	}
	if (inode_attr(ic, l->ino, &l->attr))
		lookup_found(l);
	else
		lookup_get(l);
	return true;
}

void fs_lookup(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name)
{
	int len = op_name(name, 0);
	struct lookup *l;

	if (len < 0) {
		mount_done(c, len);
		return;
	}
	l = op_new(sizeof(*l), fs, c);
	l->dir = parent;
	if (len == 0) {
		lookup_dots(l, name[1] == '.');
		return;
	}
	l->klen = layout_dirent_key(name, (size_t)len, l->key);
	if (lookup_remembered(l))
		return;
	if (!hint_name(fs, parent, l->key, l->klen, &l->guess, &l->type) ||
		layout_ino_beside(l->guess, parent) == l->guess ||
		!op_together(fs, parent, l->guess))
		l->guess = 0;
	lookup_begin(&l->op);
}

/* ---- readlink ---- */

struct readlink {
	struct op op;
	uint64_t ino;
	int get, read;
};

static void readlink_done(void *arg, const struct orbit_reply *r)
{
	struct readlink *l = arg;
	struct fs_call *call = l->op.call;
	struct txn_result res;
	struct fs_attr a;
	int rc = op_outcome(&l->op, r);

	if (!rc)
		rc = op_attr(l->op.fs, r, l->get, l->ino, &a);
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc && !S_ISLNK(a.mode))
		rc = -EINVAL;
	if (!rc && (orbit_result(r, l->read, &res) || res.len != a.size))
		rc = -EIO;
	if (!rc) {
		call->data = res.data;
		call->len = res.len;
		call->keep = r->frame[0];
	}
	op_end(&l->op, rc);
}

void fs_readlink(struct fs *fs, struct fs_call *c, uint64_t ino)
{
	struct readlink *l = op_new(sizeof(*l), fs, c);
	struct orbit_id id = layout_inode_id(ino);
	struct txn_build t;

	l->ino = ino;
	txn_init(&t);
	l->get = txn_get(&t, &id);
	l->read = txn_read(&t, &id, 0, LAYOUT_SYMLINK_MAX);
	inode_wish(fs->inodes, &t, ino);
	op_submit(&l->op, ino, &t, readlink_done);
}
