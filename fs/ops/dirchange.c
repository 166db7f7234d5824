#include "fs/ops/dirchange.h"

#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/hint.h"

#define TAKE_TIME (5 * ENV_MS) /* the kernel's question comes at once, or is another one */
#define AGE_MAX (500 * ENV_MS)
#define CLOCKS_APART INT64_C(600000000000) /* ns; one that is more ahead was set wrong */

static struct changed_dir *place(struct fs *fs, uint64_t ino)
{
	uint64_t h = ino * UINT64_C(0x9e3779b97f4a7c15);

	return &fs->changed_dirs[(h ^ h >> 32) & (MOUNT_CHANGED_DIRS - 1)];
}

/* ---- times ---- */

/*
 * Mounts' clocks differ, and a directory's times must not go back when the one whose clock is
 * behind changes it. So both are raised, not set, and to what is later than any change that was
 * seen before: ctime tells when that was, as nobody can choose it.
 *
 * A mtime behind that is what somebody chose (utimes), maybe in the future. It has to give way to
 * the change, which raising does not do. Who made the change sees that in the answer, and sets it
 * then, unless it is another one by now: it is rare, and the change itself needs no compare.
 */
static int64_t after(int64_t now, int64_t ctime)
{
	return ctime > now && ctime - now < CLOCKS_APART ? ctime + 1 : now;
}

struct lower {
	struct fs *fs;
	uint64_t dir;
};

static void lowered(void *arg, const struct orbit_reply *r)
{
	struct lower *l = arg;

	(void)r; /* if it was not, the next change does it */
	mount_changed(l->fs, l->dir);
	free(l);
}

/* Sets the chosen mtime @was back to @to. Whoever of this mount asks next asks behind it. */
static void lower(struct fs *fs, uint64_t dir, int64_t was, int64_t to)
{
	struct orbit_id id = layout_inode_id(dir);
	struct lower *l = mem_zalloc(sizeof(*l));
	struct txn_build t;

	*l = (struct lower){.fs = fs, .dir = dir};
	txn_init(&t);
	txn_slot_eq(&t, &id, SLOT_MTIME, (uint64_t)was);
	txn_set(&t, &id, SLOT_MTIME, (uint64_t)to);
	mount_submit(fs, NULL, dir, &t, lowered, l);
	txn_fini(&t);
}

/* What the times of @a, as it was, are after the change. */
static void times_after(struct fs *fs, struct fs_attr *a, int64_t now)
{
	int64_t was = a->mtime;

	if (a->ctime < now)
		a->ctime = now;
	if (a->mtime < now)
		a->mtime = now;
	if (was <= a->ctime && was - now < CLOCKS_APART)
		return;
	a->mtime = a->ctime - now < CLOCKS_APART ? a->ctime : now;
	lower(fs, a->ino, was, a->mtime);
}

/* ---- the change ---- */

void dirchange_put(
	struct fs *fs, struct dirchange *ch, struct txn_build *t, uint64_t dir, int64_t now)
{
	struct orbit_id id = layout_inode_id(dir);
	const struct hint_inode *h = hint_inode(fs, dir);

	*ch = (struct dirchange){
		.dir = dir, .now = after(now, h ? h->ctime : 0), .sent = env_now(fs->env)};
	/* raising commutes, which matters when several mounts work in one directory */
	txn_max(t, &id, SLOT_MTIME, (uint64_t)ch->now);
	txn_max(t, &id, SLOT_CTIME, (uint64_t)ch->now);
	ch->get = txn_get(t, &id);
	inode_wish(fs->inodes, t, dir);
}

static bool get_before(const struct orbit_reply *r, const struct dirchange *ch, struct fs_attr *a)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;

	if (orbit_result(r, ch->get, &res) || !res.present)
		return false;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	return cur_ok(&c) && layout_attr(ch->dir, &o, a) == 0;
}

void dirchange_done(struct fs *fs, const struct dirchange *ch, const struct orbit_reply *r,
	int children, int nlink)
{
	struct changed_dir *d = place(fs, ch->dir);
	struct fs_attr a;

	mount_changed(fs, ch->dir);
	if (!get_before(r, ch, &a)) {
		hint_dir_changed(fs, ch->dir, children, nlink, ch->now);
		return;
	}
	a.children += (uint64_t)(int64_t)children;
	a.nlink += (uint32_t)nlink;
	times_after(fs, &a, ch->now);
	mount_made(fs, &a);
	/* an answer that comes late: a newer state was seen */
	if (d->attr.ino == ch->dir && a.version < d->attr.version)
		return;
	hint_learn(fs, &a);
	*d = (struct changed_dir){
		.attr = a, .sent = ch->sent, .done = env_now(fs->env), .ready = true};
}

bool dirchange_take(struct fs *fs, uint64_t ino, struct fs_attr *a, uint64_t *age)
{
	struct changed_dir *d = place(fs, ino);
	uint64_t now;

	if (!d->ready || d->attr.ino != ino)
		return false;
	now = env_now(fs->env);
	d->ready = false;
	*age = now - d->sent;
	*a = d->attr;
	return now - d->done < TAKE_TIME && *age < AGE_MAX;
}

/* The versions of what is kept are those before our changes. */
void dirchange_seen(struct fs *fs, const struct fs_attr *a)
{
	struct changed_dir *d = place(fs, a->ino);

	if (d->attr.ino != a->ino || a->version <= d->attr.version)
		return;
	d->attr.version = a->version;
	d->ready = false;
}

void dirchange_forget(struct fs *fs, uint64_t ino)
{
	struct changed_dir *d = place(fs, ino);

	if (d->attr.ino == ino)
		d->ready = false;
}
