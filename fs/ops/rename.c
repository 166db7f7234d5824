/*
 * Renaming.
 *
 * Both entries are read (or remembered), then one transaction restates them as compares and makes
 * all the changes, so that nobody sees neither name or both. When somebody else was faster, from
 * the start again: each round that fails means that another one succeeded.
 *
 *   read -> check -> [epoch -> walk] -> submit -> done
 *             ^                            |
 *             +------ a compare failed ----+
 *
 * With RENAME_WHITEOUT (for overlayfs) a character device 0:0 takes the old name in the same
 * transaction.
 *
 * A directory that gets another parent must not become its own ancestor, and two such renames could
 * each be harmless and together make a circle. So each of them reads the rename epoch, then walks
 * from the new parent up to the root, then compares the epoch and adds one: while it stands, no
 * directory has got another parent.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>

#include "dht/base/log.h"
#include "fs/ops/op.h"

#define DEPTH_MAX 100000 /* directories above one another; more is a circle */
#define WALKS_MAX 64

/* One of the two names. */
struct side {
	uint64_t dir;
	uint64_t ino; /* what it names; 0: nothing */
	uint8_t type;
	int entry, get; /* result indices */
	size_t klen;
	uint8_t key[DIRENT_KEY_MAX];
};

struct renaming {
	struct op op;
	struct side from, to;
	unsigned flags;
	uint64_t white; /* inode of the whiteout that is left behind; 0: none */
	bool fresh;     /* the entries were read for this very attempt */
	uint64_t full;  /* the directory in the way that was not empty at the last attempt */
	uint64_t epoch; /* of the renames, when a directory changes its parent */
	uint64_t at;    /* where the walk is */
	bool walk_from; /* walking up from from.dir (of an exchange), not to.dir */
	unsigned depth;
	int get;
	int64_t now;
	struct dirchange change[2];
};

static void rename_read(struct op *o);
static void rename_checked(struct renaming *m);

static bool exchange(const struct renaming *m)
{
	return m->flags & RENAME_EXCHANGE;
}

static bool is_dir(const struct side *s)
{
	return s->ino && s->type == DT_DIR;
}

/* ---- reading and checking the entries ---- */

static int rename_check(const struct renaming *m)
{
	const struct side *from = &m->from, *to = &m->to;

	if (!from->ino)
		return -ENOENT;
	if (exchange(m))
		return to->ino ? 0 : -ENOENT;
	if (!to->ino)
		return 0;
	if (m->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (from->ino == to->ino)
		return 0;
	if (is_dir(from) && !is_dir(to))
		return -ENOTDIR;
	if (!is_dir(from) && is_dir(to))
		return -EISDIR;
	return 0;
}

static void rename_begin(struct op *o)
{
	struct renaming *m = container_of(o, struct renaming, op);
	int rc = rename_check(m);

	if (!rc && m->flags & RENAME_WHITEOUT && !m->white) {
		rc = mount_new_ino(o->fs, false, m->from.dir, &m->white);
		if (rc == -EAGAIN && !o->call->fatal) {
			op_retry(o, rename_begin);
			return;
		}
		if (rc) {
			op_end(o, rc == -EAGAIN ? -EINTR : rc);
			return;
		}
	}

	if ((rc || m->from.ino == m->to.ino) && !m->fresh)
		rename_read(o); /* say no only to what is so now */
	else if (rc || m->from.ino == m->to.ino)
		op_end(o, rc);
	else
		rename_checked(m);
}

static int got_side(struct renaming *m, const struct orbit_reply *r, struct side *s)
{
	int rc = op_entry(m->op.fs, r, s->entry, s->dir, s->key, s->klen, &s->ino, &s->type);

	if (rc == -ENOENT) {
		s->ino = 0;
		rc = 0;
	}
	return rc;
}

static void rename_got(void *arg, const struct orbit_reply *r)
{
	struct renaming *m = arg;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = got_side(m, r, &m->from);
	if (!rc)
		rc = got_side(m, r, &m->to);
	if (rc) {
		op_end(&m->op, rc);
		return;
	}
	m->fresh = true;
	rename_begin(&m->op);
}

static void rename_read(struct op *o)
{
	struct renaming *m = container_of(o, struct renaming, op);
	struct orbit_id from = layout_inode_id(m->from.dir), to = layout_inode_id(m->to.dir);
	struct txn_build t;

	txn_init(&t);
	m->from.entry = txn_get_map(&t, &from, m->from.key, m->from.klen);
	m->to.entry = txn_get_map(&t, &to, m->to.key, m->to.klen);
	op_submit(o, m->from.dir, &t, rename_got);
}

/* ---- the transaction ---- */

/* How far a directory's counts change. */
struct delta {
	uint64_t dir;
	int children, nlink;
};

static void deltas(const struct renaming *m, struct delta d[2])
{
	const struct side *from = &m->from, *to = &m->to;
	struct delta *df = &d[0], *dt = from->dir == to->dir ? &d[0] : &d[1];

	d[0] = (struct delta){.dir = from->dir};
	d[1] = (struct delta){.dir = from->dir == to->dir ? 0 : to->dir};
	df->nlink -= is_dir(from);
	dt->nlink += is_dir(from);
	if (exchange(m)) {
		df->nlink += is_dir(to);
		dt->nlink -= is_dir(to);
		return;
	}
	df->children -= !m->white;
	dt->children++;
	if (to->ino) {
		dt->children--;
		dt->nlink -= is_dir(to);
	}
}

static void put_deltas(struct renaming *m, struct txn_build *t)
{
	struct delta d[2];

	deltas(m, d);
	for (int i = 0; i < 2 && d[i].dir; i++) {
		struct orbit_id id = layout_inode_id(d[i].dir);

		if (d[i].children)
			txn_add(t, &id, SLOT_CHILDREN, d[i].children);
		if (d[i].nlink)
			txn_refer(t, &id, SLOT_NLINK, d[i].nlink);
		dirchange_put(m->op.fs, &m->change[i], t, d[i].dir, m->now);
	}
}

static void put_entry(struct txn_build *t, const struct side *at, const struct side *what)
{
	struct orbit_id dir = layout_inode_id(at->dir);
	uint8_t val[DIRENT_VALUE_LEN];

	layout_dirent_value(what->ino, what->type, val);
	txn_put(t, &dir, at->key, at->klen, val, sizeof(val));
}

static void compare_entry(struct renaming *m, struct txn_build *t, const struct side *s)
{
	struct orbit_id dir = layout_inode_id(s->dir);
	uint8_t val[DIRENT_VALUE_LEN];

	if (!s->ino) {
		op_why(&m->op, txn_slot_ne(t, &dir, SLOT_NLINK, 0), -ENOENT);
		op_why(&m->op, txn_map_absent(t, &dir, s->key, s->klen), WHY_STALE_ENTRY);
		return;
	}
	layout_dirent_value(s->ino, s->type, val);
	op_why(&m->op, txn_map_eq(t, &dir, s->key, s->klen, val, sizeof(val)), WHY_STALE_ENTRY);
}

/* What becomes of the inode that moves from @s to @dir. */
static void move_inode(struct renaming *m, struct txn_build *t, const struct side *s, uint64_t dir)
{
	struct orbit_id id = layout_inode_id(s->ino);

	op_alive(&m->op, t, &id);
	if (is_dir(s) && dir != s->dir)
		txn_set(t, &id, SLOT_PARENT, dir);
	txn_max(t, &id, SLOT_CTIME, (uint64_t)m->now);
}

/* What becomes of the inode that the name used to mean. */
static void replace_inode(struct renaming *m, struct txn_build *t)
{
	struct orbit_id id = layout_inode_id(m->to.ino);

	op_alive(&m->op, t, &id);
	if (is_dir(&m->to))
		op_why(&m->op, txn_slot_eq(t, &id, SLOT_CHILDREN, 0), -ENOTEMPTY);
	m->to.get = txn_get(t, &id);
	txn_refer(t, &id, SLOT_NLINK, is_dir(&m->to) ? -2 : -1);
	txn_max(t, &id, SLOT_CTIME, (uint64_t)m->now);
}

static void rename_learn(struct renaming *m, const struct orbit_reply *r)
{
	struct fs *fs = m->op.fs;
	struct side *from = &m->from, *to = &m->to;
	struct hint_inode *h;
	struct delta d[2];

	deltas(m, d);
	for (int i = 0; i < 2 && d[i].dir; i++)
		dirchange_done(fs, &m->change[i], r, d[i].children, d[i].nlink);
	mount_changed(fs, from->ino);
	if (to->ino)
		mount_changed(fs, to->ino);
	if (is_dir(from) && (h = hint_inode(fs, from->ino)))
		h->parent = to->dir;
	if (exchange(m) && is_dir(to) && (h = hint_inode(fs, to->ino)))
		h->parent = from->dir;
	hint_learn_name(fs, to->dir, to->key, to->klen, from->ino, from->type);
	mount_made_entry(fs, to->dir, to->key, to->klen, from->ino, from->type);
	if (m->white) {
		hint_learn_name(fs, from->dir, from->key, from->klen, m->white, DT_CHR);
		mount_made_entry(fs, from->dir, from->key, from->klen, m->white, DT_CHR);
		return;
	}
	hint_learn_name(fs, from->dir, from->key, from->klen, exchange(m) ? to->ino : 0, to->type);
	mount_made_entry(fs, from->dir, from->key, from->klen, exchange(m) ? to->ino : 0, to->type);
}

static void rename_done(void *arg, const struct orbit_reply *r)
{
	struct renaming *m = arg;
	struct fs *fs = m->op.fs;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (rc == WHY_NO_INODE)
		rc = op_missed(&m->op, m->fresh, m->from.dir, m->from.ino) ? WHY_STALE_ENTRY : -EIO;
	/* Its shard may have said so after the name had come to mean something else: that it still
	 * meant this directory is known when the next attempt has read the same. */
	if (rc == WHY_STALE_ENTRY || (rc == -ENOTEMPTY && m->full != m->to.ino)) {
		m->full = rc == -ENOTEMPTY ? m->to.ino : 0;
		op_retry(&m->op, rename_read);
		return;
	}
	if (rc == WHY_STALE_TREE) {
		op_retry(&m->op, rename_begin);
		return;
	}
	if (rc) {
		op_end(&m->op, rc);
		return;
	}
	rename_learn(m, r);
	if (m->to.ino && !exchange(m)) {
		rc = op_attr(fs, r, m->to.get, m->to.ino, &a);
		if (rc == 0 && (is_dir(&m->to) || a.nlink == 1))
			op_orphaned(fs, &a);
		else
			hint_forget(fs, m->to.ino);
	}
	op_end(&m->op, 0);
}

/* What is left at the old name. */
static void put_whiteout(struct renaming *m, struct txn_build *t)
{
	struct orbit_id id = layout_inode_id(m->white);
	struct side white = {.ino = m->white, .type = DT_CHR};
	struct fs_attr a = {
		.ino = m->white,
		.mode = S_IFCHR,
		.uid = m->op.call->uid,
		.gid = m->op.call->gid,
		.nlink = 1,
		.atime = m->now,
		.mtime = m->now,
		.ctime = m->now,
		.btime = m->now,
		.parent = m->from.dir,
	};

	put_entry(t, &m->from, &white);
	create_put_inode(t, &id, &a);
}

static void rename_submit(struct renaming *m)
{
	struct orbit_id dir = layout_inode_id(m->from.dir), moves = layout_rename_id();
	struct txn_build t;

	txn_init(&t);
	m->now = mount_now(m->op.fs);
	compare_entry(m, &t, &m->from);
	compare_entry(m, &t, &m->to);
	if (m->epoch) {
		op_why(&m->op, txn_slot_eq(&t, &moves, 0, m->epoch), WHY_STALE_TREE);
		txn_add(&t, &moves, 0, 1);
	}
	if (exchange(m)) {
		put_entry(&t, &m->from, &m->to);
		move_inode(m, &t, &m->to, m->from.dir);
	} else {
		if (m->white)
			put_whiteout(m, &t);
		else
			txn_del(&t, &dir, m->from.key, m->from.klen);
		if (m->to.ino)
			replace_inode(m, &t);
	}
	put_entry(&t, &m->to, &m->from);
	move_inode(m, &t, &m->from, m->to.dir);
	put_deltas(m, &t);
	op_submit(&m->op, m->to.dir, &t, rename_done);
}

/* ---- a directory to another parent ---- */

static int read_epoch(struct renaming *m, const struct orbit_reply *r, uint64_t *epoch)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;
	int rc = op_outcome(&m->op, r);

	if (!rc && (orbit_result(r, m->get, &res) || !res.present))
		rc = -EIO;
	if (rc)
		return rc;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	*epoch = o.slot[0];
	return cur_ok(&c) ? 0 : -EIO;
}

static void walk(struct renaming *m);

/* Of entries that were remembered it may not be true any more. */
static void refuse_circle(struct renaming *m)
{
	if (m->fresh)
		op_end(&m->op, -EINVAL);
	else
		rename_read(&m->op);
}

static void tree_changed(struct renaming *m)
{
	if (m->op.tries < WALKS_MAX) {
		op_retry(&m->op, rename_begin);
		return;
	}
	log_error("mod=fs ino=%" PRIx64 " msg=\"a directory without its parent: run "
		  "fsck.orbitfs\"",
		m->at);
	op_end(&m->op, -EIO);
}

/* The new parent was found below what is moved: so it is, if no directory moved meanwhile. */
static void confirmed(void *arg, const struct orbit_reply *r)
{
	struct renaming *m = arg;
	uint64_t epoch;
	int rc = read_epoch(m, r, &epoch);

	if (!rc && epoch != m->epoch)
		tree_changed(m);
	else if (rc)
		op_end(&m->op, rc);
	else
		refuse_circle(m);
}

static void get_epoch(struct renaming *m, orbit_done_cb *done)
{
	struct orbit_id moves = layout_rename_id();
	struct txn_build t;

	txn_init(&t);
	m->get = txn_get(&t, &moves);
	op_submit(&m->op, 0, &t, done);
}

static void walked(void *arg, const struct orbit_reply *r)
{
	struct renaming *m = arg;
	struct fs_attr a;
	int rc = op_outcome(&m->op, r);

	if (!rc)
		rc = op_attr(m->op.fs, r, m->get, m->at, &a);
	if (!rc && a.nlink == 0)
		rc = -ENOENT;
	if (rc == -ENOENT && m->depth > 0) {
		/* removed after what is below it had been moved away */
		tree_changed(m);
		return;
	}
	if (!rc && !S_ISDIR(a.mode))
		rc = -ENOTDIR;
	if (!rc && ++m->depth > DEPTH_MAX) {
		log_error("mod=fs ino=%" PRIx64 " msg=\"a circle of directories: run "
			  "fsck.orbitfs\"",
			m->at);
		rc = -ELOOP;
	}
	if (rc) {
		op_end(&m->op, rc);
		return;
	}
	m->at = a.parent;
	walk(m);
}

/* One step up; at the root the walk is over. */
static void walk(struct renaming *m)
{
	uint64_t moved = m->walk_from ? m->to.ino : m->from.ino;
	struct orbit_id id = layout_inode_id(m->at);
	struct txn_build t;

	if (m->at == moved) {
		if (m->depth == 0)
			refuse_circle(m);
		else
			get_epoch(m, confirmed);
		return;
	}
	if (m->at != layout_ino_root()) {
		txn_init(&t);
		m->get = txn_get(&t, &id);
		op_submit(&m->op, 0, &t, walked);
		return;
	}
	if (!m->walk_from && exchange(m) && is_dir(&m->to)) {
		m->walk_from = true;
		m->depth = 0;
		m->at = m->from.dir;
		walk(m);
		return;
	}
	rename_submit(m);
}

static void got_epoch(void *arg, const struct orbit_reply *r)
{
	struct renaming *m = arg;
	int rc = read_epoch(m, r, &m->epoch);

	if (rc) {
		op_end(&m->op, rc);
		return;
	}
	m->depth = 0;
	m->walk_from = !is_dir(&m->from); /* an exchange in which only the other is one */
	m->at = m->walk_from ? m->from.dir : m->to.dir;
	walk(m);
}

static void rename_checked(struct renaming *m)
{
	const struct hint_inode *h = hint_inode(m->op.fs, m->to.dir);
	bool reparent =
		m->from.dir != m->to.dir && (is_dir(&m->from) || (exchange(m) && is_dir(&m->to)));

	m->epoch = 0;
	if (h && !S_ISDIR(h->mode)) {
		op_end(&m->op, -ENOTDIR);
		return;
	}
	if (!reparent) {
		rename_submit(m);
		return;
	}
	if (is_dir(&m->from) && !is_dir(&m->to) && h && h->nlink >= LAYOUT_LINK_MAX) {
		op_end(&m->op, -EMLINK);
		return;
	}
	get_epoch(m, got_epoch);
}

/* ---- */

static int side_init(struct fs *fs, struct side *s, uint64_t dir, const char *name, int dots)
{
	int len = op_name(name, dots);

	if (len < 0)
		return len;
	s->dir = dir;
	s->klen = layout_dirent_key(name, (size_t)len, s->key);
	/* with no hint, the guess is that there is nothing, as for most new names */
	if (!hint_name(fs, dir, s->key, s->klen, &s->ino, &s->type))
		s->ino = 0;
	return 0;
}

void fs_rename(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name,
	uint64_t new_parent, const char *new_name, unsigned flags)
{
	struct renaming *m;
	int rc;

	if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
		(flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE)) {
		mount_done(c, -EINVAL);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	m = op_new(sizeof(*m), fs, c);
	m->flags = flags;
	rc = side_init(fs, &m->from, parent, name, -EBUSY);
	if (!rc)
		rc = side_init(fs, &m->to, new_parent, new_name,
			flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY);
	if (rc)
		op_end(&m->op, rc);
	else
		rename_begin(&m->op);
}
