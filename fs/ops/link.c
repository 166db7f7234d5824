/*
 * Further names of a file.
 *
 * One transaction: the file has a link left, the directory is alive, the name is free -> entry, one
 * link more, times. That it is no directory is known from before: an inode's type never changes and
 * its number never comes again. A file that was opened with O_TMPFILE here has no link left, but
 * our hold: it may get its first one.
 */
#include <dirent.h>
#include <errno.h>

#include "fs/cache/data.h"
#include "fs/ops/file.h"
#include "fs/cache/inode.h"
#include "fs/ops/op.h"

struct linking {
	struct op op;
	uint64_t dir, ino;
	uint32_t mode;
	bool fresh; /* the inode was read for this very operation */
	int get;
	struct dirchange change;
	int64_t now;
	size_t klen;
	uint8_t key[DIRENT_KEY_MAX];
};

static void link_begin(struct op *o);

static void link_got(void *arg, const struct orbit_reply *r)
{
	struct linking *m = arg;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = op_attr(m->op.fs, r, m->get, m->ino, &a);
	if (rc) {
		op_end(&m->op, rc == -ENOENT ? -ESTALE : rc);
		return;
	}
	m->fresh = true;
	op_retry(&m->op, link_begin);
}

static void link_get(struct op *o)
{
	struct linking *m = container_of(o, struct linking, op);
	struct orbit_id id = layout_inode_id(m->ino);
	struct txn_build t;

	txn_init(&t);
	m->get = txn_get(&t, &id);
	op_submit(&m->op, m->ino, &t, link_got);
}

static void link_done(void *arg, const struct orbit_reply *r)
{
	struct linking *m = arg;
	struct fs *fs = m->op.fs;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = op_attr(fs, r, m->get, m->ino, &a);
	if (rc == -EEXIST)
		hint_forget_name(fs, m->dir, m->key, m->klen);
	if (!rc) {
		a.nlink++;
		a.ctime = a.ctime > m->now ? a.ctime : m->now;
		hint_learn(fs, &a);
		hint_learn_name(fs, m->dir, m->key, m->klen, m->ino, layout_dtype(m->mode));
		mount_made_entry(fs, m->dir, m->key, m->klen, m->ino, layout_dtype(m->mode));
		mount_made(fs, &a);
		dirchange_done(fs, &m->change, r, 1, 0);
		mount_changed(fs, m->ino);
		data_overlay(fs->data, &a);
		file_named(fs, m->ino);
		m->op.call->attr = a;
		op_keep_entry(&m->op, m->dir, m->key, m->klen);
	}
	op_end(&m->op, rc);
}

static void link_submit(struct linking *m)
{
	struct fs *fs = m->op.fs;
	struct orbit_id dir = layout_inode_id(m->dir), id = layout_inode_id(m->ino);
	uint8_t val[DIRENT_VALUE_LEN];
	struct txn_build t;

	txn_init(&t);
	m->now = mount_now(fs);
	if (file_is_nameless(fs, m->ino))
		op_why(&m->op, txn_exists(&t, &id), -ENOENT);
	else
		op_why(&m->op, txn_slot_ne(&t, &id, SLOT_NLINK, 0), -ENOENT);
	op_why(&m->op, txn_slot_ne(&t, &dir, SLOT_NLINK, 0), -ENOENT);
	op_why(&m->op, txn_map_absent(&t, &dir, m->key, m->klen), -EEXIST);
	m->get = txn_get(&t, &id);
	layout_dirent_value(m->ino, layout_dtype(m->mode), val);
	txn_put(&t, &dir, m->key, m->klen, val, sizeof(val));
	txn_add(&t, &dir, SLOT_CHILDREN, 1);
	dirchange_put(fs, &m->change, &t, m->dir, m->now);
	txn_refer(&t, &id, SLOT_NLINK, 1);
	txn_max(&t, &id, SLOT_CTIME, (uint64_t)m->now);
	inode_wish(fs->inodes, &t, m->ino);
	op_submit(&m->op, m->dir, &t, link_done);
}

static void link_begin(struct op *o)
{
	struct linking *m = container_of(o, struct linking, op);
	const struct hint_inode *h = hint_inode(m->op.fs, m->ino);
	const struct hint_inode *dir = hint_inode(m->op.fs, m->dir);

	if (!h || (h->nlink >= LAYOUT_LINK_MAX && !m->fresh))
		link_get(o);
	else if (S_ISDIR(h->mode))
		op_end(o, -EPERM);
	else if (dir && !S_ISDIR(dir->mode))
		op_end(o, -ENOTDIR);
	else if (h->nlink >= LAYOUT_LINK_MAX)
		op_end(o, -EMLINK);
	else {
		m->mode = h->mode;
		link_submit(m);
	}
}

void fs_link(struct fs *fs, struct fs_call *c, uint64_t ino, uint64_t parent, const char *name)
{
	struct linking *m;
	int len = op_name(name, -EEXIST);

	if (len < 0) {
		mount_done(c, len);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	m = op_new(sizeof(*m), fs, c);
	m->dir = parent;
	m->ino = ino;
	m->klen = layout_dirent_key(name, (size_t)len, m->key);
	link_begin(&m->op);
}
