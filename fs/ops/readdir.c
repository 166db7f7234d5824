/*
 * Listing directories.
 *
 * Entries come in batches of some hundred, with the inodes that lie in the directory's shard; what
 * lies elsewhere is asked for in a second round, at all nodes at once. The kernel takes a batch in
 * small bites. Cookies are hashes of the names, so they stay good while the directory changes;
 * where the last bite ended is known by the whole key, since two names may have one hash.
 *
 * Attributes are handed out only as long as this mount has not changed the inode since they were
 * read (and not for long at all): the kernel believes them to be of now.
 *
 * No hold is taken. A file needs one for its data; of a directory that was removed while it is open
 * there is nothing to keep but its attributes, and those are remembered here: it is empty, has no
 * links, and nothing can be created in it. So opening a directory changes nothing in the cluster.
 */
#include "fs/ops/readdir_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/op.h"
#include "fs/ops/removed.h"

#define BATCH_MIN 32
#define BATCH_AGE (500 * ENV_MS)
#define DOT 1
#define DOTDOT 2
#define RELATIME (24 * 3600 * INT64_C(1000000000))

static void readdir_begin(struct readdir *rd);

/* ---- open and release ---- */

struct opendir {
	struct op op;
	uint64_t ino;
	int get;
};

static void opened(struct fs *fs, struct fs_call *call, const struct fs_attr *a)
{
	struct fs_dir *d = mem_zalloc(sizeof(*d));

	d->fs = fs;
	d->attr = *a;
	d->losses = orbit_losses(fs->client);
	d->want = BATCH_MAX;
	TAILQ_INIT(&d->waiting);
	TAILQ_INSERT_TAIL(&fs->dirs, d, entry);
	call->dir = d;
	call->attr = *a;
}

static void opendir_done(void *arg, const struct orbit_reply *r)
{
	struct opendir *o = arg;
	struct fs *fs = o->op.fs;
	struct fs_attr a;
	int rc = op_outcome(&o->op, r);

	if (!rc)
		rc = op_attr(fs, r, o->get, o->ino, &a);
	if (rc == -ENOENT) /* removed; who has it open may open it anew, through /proc or as "." */
		rc = removed_remembered(fs, o->ino, &a) ? 0 : -ESTALE;
	if (!rc && !S_ISDIR(a.mode))
		rc = -ENOTDIR;
	if (!rc)
		opened(fs, o->op.call, &a);
	op_end(&o->op, rc);
}

void fs_opendir(struct fs *fs, struct fs_call *c, uint64_t ino)
{
	struct orbit_id id = layout_inode_id(ino);
	struct opendir *o;
	struct txn_build t;
	struct fs_attr a;

	if (inode_attr(fs->inodes, ino, &a) && S_ISDIR(a.mode)) {
		opened(fs, c, &a);
		mount_done(c, 0);
		return;
	}
	o = op_new(sizeof(*o), fs, c);
	o->ino = ino;
	txn_init(&t);
	o->get = txn_get(&t, &id);
	inode_wish(fs->inodes, &t, ino);
	op_submit(&o->op, ino, &t, opendir_done);
}

uint64_t *readdir_losses(struct fs_dir *d)
{
	return &d->losses;
}

static void dir_free(struct fs_dir *d)
{
	readdir_batch_drop(d);
	TAILQ_REMOVE(&d->fs->dirs, d, entry);
	free(d);
}

void fs_releasedir(struct fs *fs, struct fs_dir *d)
{
	(void)fs;
	d->released = true;
	if (!d->busy)
		dir_free(d);
}

const struct fs_attr *readdir_attr(struct fs *fs, uint64_t ino)
{
	struct fs_dir *d;

	TAILQ_FOREACH (d, &fs->dirs, entry) {
		if (d->attr.ino == ino)
			return &d->attr;
	}
	return NULL;
}

/* ---- atime ---- */

static void touched(void *arg, const struct orbit_reply *r)
{
	(void)arg;
	(void)r; /* a time that nobody waits for */
}

/* Reading counts as access when what was read is newer than the last access, or a day later. */
static void dir_touch(struct fs_dir *d)
{
	struct fs *fs = d->fs;
	struct orbit_id id = layout_inode_id(d->attr.ino);
	const struct fs_attr *a = &d->attr;
	int64_t now = mount_now(fs);
	struct txn_build t;

	if (d->touched || fs->cfg.noatime || fs->cfg.read_only || a->nlink == 0)
		return;
	d->touched = true;
	if (a->atime > a->mtime && a->atime > a->ctime && now - a->atime < RELATIME)
		return;
	txn_init(&t);
	txn_max(&t, &id, SLOT_ATIME, (uint64_t)now);
	mount_submit(fs, NULL, a->ino, &t, touched, NULL);
}

/* ---- the end of a call ---- */

void readdir_end(struct readdir *rd, int rc)
{
	struct fs_dir *d = rd->dir;
	struct readdir *next;

	d->busy = NULL;
	if (d->released) {
		/* nobody can wait for a directory that is not open any more */
		while ((next = TAILQ_FIRST(&d->waiting))) {
			TAILQ_REMOVE(&d->waiting, next, entry);
			op_end(&next->op, -EBADF);
		}
		dir_free(d);
		op_end(&rd->op, rc);
		return;
	}
	next = TAILQ_FIRST(&d->waiting);
	if (next) {
		TAILQ_REMOVE(&d->waiting, next, entry);
		d->busy = next;
	}
	op_end(&rd->op, rc);
	if (next)
		readdir_begin(next);
}

/* ---- giving out ---- */

static uint64_t cookie_of(const struct entry *e)
{
	return layout_dirent_cookie(e->key, e->klen);
}

/* Puts d->pos behind @cookie within the batch: false when the batch does not say what is there. */
static bool seek(struct fs_dir *d, uint64_t cookie)
{
	unsigned lo = 0, hi = d->n;

	if (!d->valid || cookie < d->start)
		return false;
	if (cookie == d->cookie)
		return true;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (cookie_of(&d->e[mid]) <= cookie)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == d->n && d->more && (lo == 0 || cookie_of(&d->e[lo - 1]) != cookie))
		return false;
	d->pos = lo;
	d->cookie = cookie;
	return true;
}

static bool give(struct readdir *rd, const struct fs_dirent *de)
{
	if (!rd->fill(rd->arg, de))
		return false;
	rd->taken++;
	rd->dir->cookie = de->cookie;
	return true;
}

static bool give_dots(struct readdir *rd)
{
	struct fs_dir *d = rd->dir;

	if (rd->cookie < DOT) {
		if (!give(rd, &(struct fs_dirent){.name = ".",
				      .len = 1,
				      .ino = d->attr.ino,
				      .cookie = DOT,
				      .type = DT_DIR}))
			return false;
		rd->cookie = DOT;
	}
	if (rd->cookie < DOTDOT) {
		if (!give(rd, &(struct fs_dirent){.name = "..",
				      .len = 2,
				      .ino = d->attr.parent,
				      .cookie = DOTDOT,
				      .type = DT_DIR}))
			return false;
		rd->cookie = DOTDOT;
	}
	return true;
}

enum gave { GAVE, FULL, SKIPPED, STALE };

static enum gave give_entry(struct readdir *rd, const struct entry *e)
{
	struct fs *fs = rd->op.fs;
	char name[LAYOUT_NAME_MAX + 1];
	struct fs_dirent de = {.name = name, .ino = e->ino, .type = e->type};
	struct fs_attr a;
	struct txn_object o;
	struct cur c;

	if (!e->ino)
		return SKIPPED;
	if (rd->plus) {
		if (mount_changed_since(fs, e->ino, rd->dir->changes))
			return STALE;
		if (!e->object)
			return SKIPPED;
		c = cur_of(e->object, TXN_OBJECT_LEN);
		o = txn_get_object(&c);
		if (layout_attr(e->ino, &o, &a))
			return SKIPPED;
		hint_learn(fs, &a);
		hint_learn_name(fs, rd->dir->attr.ino, e->key, e->klen, e->ino, e->type);
		inode_attr(fs->inodes, e->ino, &a); /* newer, if it is remembered */
		data_overlay(fs->data, &a);
		de.attr = &a;
	}
	de.len = e->klen - 9u;
	memcpy(name, e->key + 9, de.len);
	name[de.len] = 0;
	de.cookie = cookie_of(e);
	return give(rd, &de) ? GAVE : FULL;
}

/* From where the last one ended; the batch is of no use any more. */
static void fetch_on(struct readdir *rd)
{
	struct fs_dir *d = rd->dir;
	uint8_t key[DIRENT_KEY_MAX];
	uint64_t cookie = d->cookie;
	size_t klen;

	if (d->pos == 0) {
		readdir_fetch_after(rd, cookie);
		return;
	}
	klen = d->e[d->pos - 1].klen;
	memcpy(key, d->e[d->pos - 1].key, klen);
	readdir_fetch(rd, cookie, key, klen, false);
}

/* The batch stands right behind the cookie: gives entries until it is empty or the caller full. */
static void give_entries(struct readdir *rd)
{
	struct fs_dir *d = rd->dir;
	enum gave gave;

	for (; d->pos < d->n; d->pos++) {
		gave = give_entry(rd, &d->e[d->pos]);
		if (gave == FULL) {
			readdir_end(rd, 0);
			return;
		}
		if (gave == STALE && rd->taken) {
			readdir_end(rd, 0);
			return;
		}
		if (gave == STALE) {
			d->want = d->want / 2 > BATCH_MIN ? d->want / 2 : BATCH_MIN;
			fetch_on(rd);
			return;
		}
	}
	d->want = d->want < BATCH_MAX ? 2 * d->want : BATCH_MAX;
	if (rd->taken || !d->more)
		readdir_end(rd, 0);
	else
		fetch_on(rd);
}

void readdir_give(struct readdir *rd)
{
	if (give_dots(rd))
		give_entries(rd);
	else
		readdir_end(rd, 0);
}

static void readdir_begin(struct readdir *rd)
{
	struct fs_dir *d = rd->dir;
	bool known = rd->cookie && seek(d, rd->cookie);
	bool good = !rd->plus || (d->plus && env_now(d->fs->env) - d->when < BATCH_AGE);

	if (rd->cookie == 0)
		dir_touch(d);
	if (known && good)
		readdir_give(rd);
	else if (known)
		fetch_on(rd);
	else
		readdir_fetch_after(rd, rd->cookie);
}

uint64_t fs_keep_entry(struct fs *fs, uint64_t dir, const char *name, size_t len)
{
	uint8_t key[DIRENT_KEY_MAX];
	size_t klen = layout_dirent_key(name, len, key);

	return inode_give_entry(fs->inodes, dir, key, klen);
}

void fs_readdir(struct fs *fs, struct fs_call *c, struct fs_dir *d, uint64_t cookie, bool plus,
	bool (*fill)(void *arg, const struct fs_dirent *e), void *arg)
{
	struct readdir *rd = op_new(sizeof(*rd), fs, c);

	rd->dir = d;
	rd->cookie = cookie;
	rd->plus = plus;
	rd->fill = fill;
	rd->arg = arg;
	if (d->busy) {
		TAILQ_INSERT_TAIL(&d->waiting, rd, entry);
		return;
	}
	d->busy = rd;
	readdir_begin(rd);
}
