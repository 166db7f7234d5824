/*
 * Removing names: unlink, rmdir.
 *
 * One transaction: the entry is what we believe -> entry gone, one link less, the directory's
 * counts and times. At zero links the inode is an orphan, which the reaper removes when nobody
 * holds it. A directory goes from two links to none at once, if it has no entries; whoever has it
 * open then finds it dead (no links) and empty.
 */
#include <dirent.h>
#include <errno.h>

#include "fs/ops/op.h"

struct removal {
	struct op op;
	uint64_t dir, ino;
	bool rmdir;
	bool fresh;    /* the entry was read, not guessed */
	uint64_t full; /* the directory that was not empty at the last attempt */
	uint8_t type;
	int get;
	struct dirchange change;
	int64_t now;
	size_t klen;
	uint8_t key[DIRENT_KEY_MAX];
};

static void remove_read(struct op *o);

static void remove_gone(struct removal *m, const struct orbit_reply *r, struct fs_attr *a)
{
	struct fs *fs = m->op.fs;

	mount_changed(fs, m->ino);
	dirchange_done(fs, &m->change, r, -1, m->rmdir ? -1 : 0);
	hint_learn_name(fs, m->dir, m->key, m->klen, 0, 0);
	mount_made_entry(fs, m->dir, m->key, m->klen, 0, 0);
	if (m->rmdir || a->nlink == 1) {
		op_orphaned(fs, a);
	} else {
		a->nlink--;
		if (a->ctime < m->now)
			a->ctime = m->now;
		hint_learn(fs, a);
		mount_made(fs, a);
	}
	op_end(&m->op, 0);
}

static void remove_done(void *arg, const struct orbit_reply *r)
{
	struct removal *m = arg;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (rc == WHY_NO_INODE)
		rc = op_missed(&m->op, m->fresh, m->dir, m->ino) ? WHY_STALE_ENTRY : -EIO;
	/* The entry may name another directory by now, be it guessed or read: its own shard knows
	 * nothing of that. It did name this one when the next attempt has read the same. */
	if (rc == WHY_STALE_ENTRY || (rc == -ENOTEMPTY && m->full != m->ino)) {
		m->full = rc == -ENOTEMPTY ? m->ino : 0;
		op_retry(&m->op, remove_read);
		return;
	}
	if (!rc)
		rc = op_attr(m->op.fs, r, m->get, m->ino, &a);
	if (rc)
		op_end(&m->op, rc == -ENOENT ? -EIO : rc);
	else
		remove_gone(m, r, &a);
}

static void remove_submit(struct removal *m)
{
	struct fs *fs = m->op.fs;
	struct orbit_id dir = layout_inode_id(m->dir), id = layout_inode_id(m->ino);
	uint8_t val[DIRENT_VALUE_LEN];
	struct txn_build t;

	txn_init(&t);
	m->now = mount_now(fs);
	layout_dirent_value(m->ino, m->type, val);
	op_why(&m->op, txn_map_eq(&t, &dir, m->key, m->klen, val, sizeof(val)), WHY_STALE_ENTRY);
	op_alive(&m->op, &t, &id);
	if (m->rmdir)
		op_why(&m->op, txn_slot_eq(&t, &id, SLOT_CHILDREN, 0), -ENOTEMPTY);
	m->get = txn_get(&t, &id);
	txn_del(&t, &dir, m->key, m->klen);
	txn_add(&t, &dir, SLOT_CHILDREN, -1);
	if (m->rmdir)
		txn_refer(&t, &dir, SLOT_NLINK, -1);
	dirchange_put(fs, &m->change, &t, m->dir, m->now);
	txn_refer(&t, &id, SLOT_NLINK, m->rmdir ? -2 : -1);
	txn_max(&t, &id, SLOT_CTIME, (uint64_t)m->now);
	op_submit(&m->op, m->dir, &t, remove_done);
}

static void remove_got_entry(void *arg, const struct orbit_reply *r)
{
	struct removal *m = arg;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = op_entry(m->op.fs, r, m->get, m->dir, m->key, m->klen, &m->ino, &m->type);
	if (!rc && m->rmdir && m->type != DT_DIR)
		rc = -ENOTDIR;
	if (!rc && !m->rmdir && m->type == DT_DIR)
		rc = -EISDIR;
	if (rc) {
		op_end(&m->op, rc);
		return;
	}
	m->fresh = true;
	remove_submit(m);
}

static void remove_read(struct op *o)
{
	struct removal *m = container_of(o, struct removal, op);
	struct orbit_id dir = layout_inode_id(m->dir);
	struct txn_build t;

	txn_init(&t);
	m->get = txn_get_map(&t, &dir, m->key, m->klen);
	op_submit(&m->op, m->dir, &t, remove_got_entry);
}

static void remove_begin(
	struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, int len, bool rmdir)
{
	struct removal *m;

	if (len < 0) {
		mount_done(c, len);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	m = op_new(sizeof(*m), fs, c);
	m->dir = parent;
	m->rmdir = rmdir;
	m->klen = layout_dirent_key(name, (size_t)len, m->key);
	if (hint_name(fs, parent, m->key, m->klen, &m->ino, &m->type) && m->ino &&
		(m->type == DT_DIR) == rmdir)
		remove_submit(m);
	else
		remove_read(&m->op);
}

void fs_unlink(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name)
{
	remove_begin(fs, c, parent, name, op_name(name, -EISDIR), false);
}

void fs_rmdir(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name)
{
	int dots = name[0] == '.' && name[1] == '.' ? -ENOTEMPTY : -EINVAL;

	remove_begin(fs, c, parent, name, op_name(name, dots), true);
}
