/* What calls do, and what they may answer: names and attributes. Bytes are in model_data.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "fs/ops/fs.h"
#include "tests/model/model_step.h"

bool step_no(struct step *x, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(x->why, x->len, fmt, ap);
	va_end(ap);
	return false;
}

bool step_rc(struct step *x, int rc)
{
	if (!x->s->known || x->s->rc == rc)
		return true;
	return step_no(x, "gave %s, should give %s", x->s->rc ? strerrorname_np(-x->s->rc) : "0",
		rc ? strerrorname_np(-rc) : "0");
}

void step_touch(struct step *x, struct model_inode *i, bool data)
{
	const struct span now = {x->s->begin, x->s->end};

	i->ctime = now;
	i->unsynced |= 1u << x->c->mount;
	if (!data)
		return;
	/* A mtime of a directory that was put into the future is not set with the change, but then
	 * by who made it, sees that in the answer and lives (fs/ops/dirchange.c); of two such
	 * changes either may have the last word. */
	if (S_ISDIR(i->mode) && i->chosen) {
		i->mtime.hi = now.hi;
	} else {
		i->chosen = S_ISDIR(i->mode) && i->mtime.hi > now.hi ? i->mtime.hi : 0;
		i->mtime = now;
	}
}

static bool check_time(struct step *x, const char *what, struct span *t, int64_t is)
{
	if (is < t->lo || is > t->hi)
		return step_no(x, "%s is %" PRId64 ", should be %" PRId64 "..%" PRId64, what, is,
			t->lo, t->hi);
	if (t->lo != INT64_MIN) /* else anything goes, now and later */
		*t = (struct span){is, is};
	return true;
}

#define CHECK(what, is, want)                                                                      \
	do {                                                                                       \
		if ((uint64_t)(is) != (uint64_t)(want))                                            \
			return step_no(x, "%s is %" PRIu64 ", should be %" PRIu64, what,           \
				(uint64_t)(is), (uint64_t)(want));                                 \
	} while (0)

bool step_attr(struct step *x, struct model_inode *i, const struct fs_attr *a)
{
	if (!i->ino && !model_index(x->m, a->ino))
		i->ino = a->ino;
	CHECK("ino", a->ino, i->ino);
	CHECK("type", a->mode & S_IFMT, i->mode & S_IFMT);
	if (x->s->loose)
		return true;
	if (!i->doubt)
		CHECK("mode", a->mode, i->mode);
	CHECK("uid", a->uid, i->uid);
	CHECK("gid", a->gid, i->gid);
	CHECK("nlink", a->nlink, i->nlink);
	CHECK("rdev", a->rdev, i->rdev);
	if (S_ISDIR(i->mode) && i->nlink) {
		CHECK("children", a->children, i->nentries);
		CHECK("parent", a->parent, x->m->inode[i->parent].ino);
	}
	if (i->doubt)
		return true;
	CHECK("size", a->size, model_size(i));
	if (i->nlink == 0)
		return true; /* a directory that is remembered tells no new times */
	if (!i->chosen || a->mtime != i->chosen) {
		if (!check_time(x, "mtime", &i->mtime, a->mtime))
			return false;
		i->chosen = 0;
	}
	return check_time(x, "btime", &i->btime, a->btime) &&
	       check_time(x, "ctime", &i->ctime, a->ctime) &&
	       check_time(x, "atime", &i->atime, a->atime);
}

bool step_seen_attr(struct step *x, struct model_inode *i)
{
	if (!x->s->known || !x->s->has_attr)
		return true;
	return step_attr(x, i, &x->s->attr);
}

struct model_inode *step_inode(struct step *x, uint64_t ino)
{
	unsigned k = model_index(x->m, ino);

	return k ? &x->m->inode[k] : NULL;
}

/* Nobody can reach it any more: swept away now or later. */
bool step_gone(const struct model_inode *i)
{
	return i->nlink == 0 && !model_open_anywhere(i);
}

/* Said of something that was removed: it is not there. */
bool step_is_gone(const struct step *x)
{
	return !x->s->known || x->s->rc == -ESTALE || x->s->rc == -ENOENT;
}

static unsigned entry_inode(const struct model_inode *d, const char *name)
{
	int at = model_entry(d, name);

	return at < 0 ? 0 : d->entry[at].inode;
}

static void add_entry(struct model_inode *d, const char *name, unsigned inode)
{
	if (d->nentries == MODEL_ENTRIES)
		abort();
	d->entry[d->nentries].name = name;
	d->entry[d->nentries++].inode = inode;
}

static void del_entry(struct model_inode *d, const char *name)
{
	int at = model_entry(d, name);

	d->entry[at] = d->entry[--d->nentries];
}

static bool too_long(const char *name)
{
	return strlen(name) > LAYOUT_NAME_MAX;
}

/* ---- making ---- */

static uint32_t made_mode(const struct call *c)
{
	switch (c->kind) {
	case CALL_MKDIR:
		return S_IFDIR | (c->mode & 07777);
	case CALL_SYMLINK:
		return S_IFLNK | 0777;
	case CALL_CREATE:
		return S_IFREG | (c->mode & 07777);
	default:
		return c->mode;
	}
}

static bool made(struct step *x, struct model_inode *d)
{
	const struct call *c = x->c;
	uint32_t mode = made_mode(c);
	bool inherit = d->mode & S_ISGID;
	struct model_inode *i;
	unsigned k;

	if (!step_rc(x, 0))
		return false;
	if (x->s->known && x->s->has_attr && model_index(x->m, x->s->attr.ino))
		return step_no(x, "a number that was given before");
	if (S_ISDIR(mode) && inherit)
		mode |= S_ISGID;
	k = model_make(
		x->m, x->s->known ? x->s->attr.ino : 0, mode, c->uid, inherit ? d->gid : c->gid);
	i = &x->m->inode[k];
	if (S_ISCHR(mode) || S_ISBLK(mode))
		i->rdev = c->rdev;
	if (S_ISLNK(mode)) {
		bytes_unref(i->data);
		i->data = bytes_new(c->name2, strlen(c->name2));
	}
	add_entry(d, c->name, k);
	step_touch(x, d, true);
	step_touch(x, i, true);
	i->atime = i->btime = i->mtime;
	if (S_ISDIR(mode)) {
		i->nlink = 2;
		i->parent = (unsigned)(d - x->m->inode);
		d->nlink++;
	}
	if (c->kind == CALL_CREATE && x->s->known)
		i->opens[c->mount]++;
	return step_seen_attr(x, i);
}

static bool step_make(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir);
	unsigned there;

	if (too_long(c->name))
		return step_rc(x, -ENAMETOOLONG);
	if (d->nlink == 0)
		return step_is_gone(x) || step_rc(x, -ENOENT);
	there = entry_inode(d, c->name);
	/* seen, and gone again when it was to be opened: the kernel begins anew */
	if (c->kind == CALL_CREATE && !(c->flags & O_EXCL) && x->s->racing && x->s->rc == -ESTALE)
		return true;
	if (!there)
		return made(x, d);
	if (c->kind != CALL_CREATE || c->flags & O_EXCL)
		return step_rc(x, -EEXIST);
	if (S_ISDIR(x->m->inode[there].mode))
		return step_rc(x, -EISDIR);
	if (!S_ISREG(x->m->inode[there].mode))
		return step_rc(x, -ESTALE);
	return step_opened(x, &x->m->inode[there]);
}

/* A file without a name: it is there as long as it is open, and changes nothing in the directory.
 */
static bool step_tmpfile(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir), *i;
	bool inherit = d->mode & S_ISGID;

	if (d->nlink == 0)
		return step_is_gone(x) || step_rc(x, -ENOENT);
	if (!step_rc(x, 0))
		return false;
	if (!x->s->known)
		return true; /* and nobody will ever see it */
	if (model_index(x->m, x->s->attr.ino))
		return step_no(x, "a number that was given before");
	i = &x->m->inode[model_make(x->m, x->s->attr.ino, S_IFREG | (c->mode & 07777), c->uid,
		inherit ? d->gid : c->gid)];
	i->nlink = 0;
	i->nameless = c->mount + 1;
	step_touch(x, i, true);
	i->atime = i->btime = i->mtime;
	i->opens[c->mount]++;
	return step_seen_attr(x, i);
}

static bool step_link(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir), *i = step_inode(x, c->ino);
	bool first;

	if (too_long(c->name))
		return step_rc(x, -ENAMETOOLONG);
	if (S_ISDIR(i->mode))
		return i->nlink == 0 && step_is_gone(x) ? true : step_rc(x, -EPERM);
	if (d->nlink == 0)
		return step_is_gone(x) || step_rc(x, -ENOENT);
	first = i->nameless == c->mount + 1 && (i->opens[c->mount] || !x->s->known);
	if (i->nlink == 0 && !first && step_is_gone(x))
		return true;
	if (model_entry(d, c->name) >= 0)
		return step_rc(x, -EEXIST);
	if (i->nlink == 0 && !first)
		return step_rc(x, -ENOENT);
	if (!step_rc(x, 0))
		return false;
	i->nameless = 0;
	add_entry(d, c->name, (unsigned)(i - x->m->inode));
	i->nlink++;
	step_touch(x, d, true);
	step_touch(x, i, false);
	return step_seen_attr(x, i);
}

/* ---- removing and renaming ---- */

static void drop_name(struct step *x, struct model_inode *i)
{
	if (S_ISDIR(i->mode))
		i->nlink = 0;
	else
		i->nlink--;
	step_touch(x, i, false);
}

static bool step_remove(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir), *i;
	unsigned k;

	if (too_long(c->name))
		return step_rc(x, -ENAMETOOLONG);
	if (d->nlink == 0)
		return step_is_gone(x) || step_rc(x, -ENOENT);
	k = entry_inode(d, c->name);
	if (!k)
		return step_rc(x, -ENOENT);
	i = &x->m->inode[k];
	if (c->kind == CALL_UNLINK && S_ISDIR(i->mode))
		return step_rc(x, -EISDIR);
	if (c->kind == CALL_RMDIR && !S_ISDIR(i->mode))
		return step_rc(x, -ENOTDIR);
	if (c->kind == CALL_RMDIR && i->nentries)
		return step_rc(x, -ENOTEMPTY);
	if (!step_rc(x, 0))
		return false;
	del_entry(d, c->name);
	step_touch(x, d, true);
	drop_name(x, i);
	if (S_ISDIR(i->mode))
		d->nlink--;
	return true;
}

/* Is @dir the inode @k or below it? */
static bool below(const struct model *m, unsigned dir, unsigned k)
{
	while (dir != k && dir != 1)
		dir = m->inode[dir].parent;
	return dir == k;
}

/* Would a directory become its own ancestor? Said before other reasons or after them. */
static bool circle(struct step *x, unsigned from, unsigned to)
{
	const struct call *c = x->c;
	unsigned dir = model_index(x->m, c->dir), dir2 = model_index(x->m, c->dir2);

	if (from && S_ISDIR(x->m->inode[from].mode) && below(x->m, dir2, from))
		return true;
	return to && c->flags & RENAME_EXCHANGE && S_ISDIR(x->m->inode[to].mode) &&
	       below(x->m, dir, to);
}

/* What a rename is refused for, or 0. */
static int rename_error(struct step *x, unsigned from, unsigned to)
{
	const struct call *c = x->c;
	const struct model_inode *i = &x->m->inode[from], *j = &x->m->inode[to];
	bool exchange = c->flags & RENAME_EXCHANGE;

	if (!from || (exchange && !to))
		return -ENOENT;
	if (to && c->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (from == to)
		return 0;
	if (to && !exchange && S_ISDIR(i->mode) && !S_ISDIR(j->mode))
		return -ENOTDIR;
	if (to && !exchange && !S_ISDIR(i->mode) && S_ISDIR(j->mode))
		return -EISDIR;
	if (circle(x, from, to))
		return -EINVAL;
	if (to && !exchange && S_ISDIR(j->mode) && j->nentries)
		return -ENOTEMPTY;
	return 0;
}

/* The inode that moves from @d to @d2. */
static void move(
	struct step *x, struct model_inode *i, struct model_inode *d, struct model_inode *d2)
{
	step_touch(x, i, false);
	if (!S_ISDIR(i->mode))
		return;
	d->nlink--;
	d2->nlink++;
	i->parent = (unsigned)(d2 - x->m->inode);
}

/* What RENAME_WHITEOUT leaves at the old name: the caller's, whatever the directory's group. */
static void whiteout(struct step *x, struct model_inode *d)
{
	const struct call *c = x->c;
	unsigned k = model_make(x->m, 0, S_IFCHR, c->uid, c->gid);

	add_entry(d, c->name, k);
	step_touch(x, &x->m->inode[k], true);
	x->m->inode[k].atime = x->m->inode[k].btime = x->m->inode[k].mtime;
}

static bool step_rename(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir), *d2 = step_inode(x, c->dir2);
	unsigned from, to;
	int rc;

	if (too_long(c->name) || too_long(c->name2))
		return step_rc(x, -ENAMETOOLONG);
	if (d->nlink == 0 || d2->nlink == 0) {
		if (step_is_gone(x))
			return true;
		return step_rc(x, -ENOENT);
	}
	from = entry_inode(d, c->name);
	to = entry_inode(d2, c->name2);
	rc = rename_error(x, from, to);
	if (rc && x->s->rc == -EINVAL && circle(x, from, to))
		return true;
	if (!step_rc(x, rc))
		return false;
	if (rc || from == to)
		return true;
	del_entry(d, c->name);
	if (to)
		del_entry(d2, c->name2);
	add_entry(d2, c->name2, from);
	if (c->flags & RENAME_WHITEOUT)
		whiteout(x, d);
	move(x, &x->m->inode[from], d, d2);
	if (c->flags & RENAME_EXCHANGE) {
		add_entry(d, c->name, to);
		move(x, &x->m->inode[to], d2, d);
	} else if (to) {
		drop_name(x, &x->m->inode[to]);
		if (S_ISDIR(x->m->inode[to].mode))
			d2->nlink--;
	}
	step_touch(x, d, true);
	step_touch(x, d2, true);
	return true;
}

/* ---- asking ---- */

static bool step_lookup(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *d = step_inode(x, c->dir);
	unsigned k;

	if (too_long(c->name))
		return step_rc(x, -ENAMETOOLONG);
	if (d->nlink == 0)
		return step_is_gone(x) || step_rc(x, -ENOENT);
	k = entry_inode(d, c->name);
	if (!k)
		return step_rc(x, -ENOENT);
	return step_rc(x, 0) && step_seen_attr(x, &x->m->inode[k]);
}

static bool step_getattr(struct step *x)
{
	struct model_inode *i = step_inode(x, x->c->ino);

	if (step_gone(i) && step_is_gone(x))
		return true;
	return step_rc(x, 0) && step_seen_attr(x, i);
}

static bool step_readlink(struct step *x)
{
	struct model_inode *i = step_inode(x, x->c->ino);

	if (step_gone(i) && step_is_gone(x))
		return true;
	if (!S_ISLNK(i->mode))
		return step_rc(x, -EINVAL);
	return step_rc(x, 0) && step_same(x, i->data->p, i->data->len);
}

static bool set_attr(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;

	if (c->what & FS_SET_SIZE) {
		step_dirty(x, i);
		bytes_resize(&i->data, c->len);
		step_clean(x, i);
	}
	step_touch(x, i, c->what & FS_SET_SIZE || c->what & FS_SET_MTIME_NOW);
	if (c->what & FS_SET_MODE)
		i->mode = (i->mode & S_IFMT) | (c->mode & 07777);
	if (c->what & FS_SET_KILL_SUID)
		step_kill_priv(i);
	if (c->what & FS_SET_UID)
		i->uid = c->uid;
	if (c->what & FS_SET_GID)
		i->gid = c->gid;
	if (c->what & (FS_SET_MTIME | FS_SET_MTIME_NOW))
		i->chosen = 0;
	if (c->what & FS_SET_MTIME)
		i->mtime = (struct span){c->time, c->time};
	if (c->what & FS_SET_MTIME_NOW)
		i->mtime = (struct span){x->s->begin, x->s->end};
	if (c->what & FS_SET_ATIME)
		i->atime = (struct span){c->time, c->time};
	if (c->what & FS_SET_ATIME_NOW)
		i->atime = (struct span){x->s->begin, x->s->end};
	if (!step_seen_attr(x, i))
		return false;
	/* who read it before has yet to say so */
	i->atime = (struct span){INT64_MIN, INT64_MAX};
	return true;
}

static bool step_setattr(struct step *x)
{
	struct model_inode *i = step_inode(x, x->c->ino);

	if (step_gone(i) && step_is_gone(x))
		return true;
	if (x->c->what & FS_SET_SIZE && !S_ISREG(i->mode))
		return step_rc(x, S_ISDIR(i->mode) ? -EISDIR : -EINVAL);
	return step_rc(x, 0) && set_attr(x, i);
}

/* ---- listing ---- */

static bool listed(struct step *x, struct model_inode *d, const struct seen_entry *e)
{
	struct model_inode *i;
	unsigned k;

	if (!strcmp(e->name, ".") || !strcmp(e->name, "..")) {
		i = e->name[1] ? &x->m->inode[d->parent] : d;
		if (e->ino != i->ino)
			return step_no(x, "%s is %" PRIx64 ", should be %" PRIx64, e->name, e->ino,
				i->ino);
		return true;
	}
	k = entry_inode(d, e->name);
	if (!k)
		return step_no(x, "lists %.20s, which is not there", e->name);
	i = &x->m->inode[k];
	if (!i->ino && !model_index(x->m, e->ino))
		i->ino = e->ino;
	if (e->ino != i->ino || e->type != IFTODT(i->mode))
		return step_no(x,
			"lists %.20s as %" PRIx64 " of type %u, should be %" PRIx64 " of type %u",
			e->name, e->ino, e->type, i->ino, IFTODT(i->mode));
	return !e->has_attr || step_attr(x, i, &e->attr);
}

static bool step_readdir(struct step *x)
{
	struct model_inode *d = step_inode(x, x->c->ino);
	const struct seen *s = x->s;

	if (d->nlink == 0 && step_is_gone(x))
		return true;
	if (!S_ISDIR(d->mode))
		return step_rc(x, -ENOTDIR);
	if (!step_rc(x, 0))
		return false;
	d->atime = (struct span){INT64_MIN, INT64_MAX};
	if (!s->known || d->nlink == 0)
		return true;
	for (unsigned k = 0; k < s->nentries; k++) {
		for (unsigned j = 0; j < k; j++)
			if (!strcmp(s->entry[k].name, s->entry[j].name))
				return step_no(x, "lists %.20s twice", s->entry[k].name);
		if (!listed(x, d, &s->entry[k]))
			return false;
	}
	CHECK("number of entries", s->nentries, d->nentries + 2);
	return true;
}

bool model_step(struct model *m, const struct call *c, const struct seen *s, char *why, size_t len)
{
	struct step x = {.m = m, .c = c, .s = s, .why = why, .len = len};

	switch (c->kind) {
	case CALL_LOOKUP:
		return step_lookup(&x);
	case CALL_CREATE:
	case CALL_MKNOD:
	case CALL_MKDIR:
	case CALL_SYMLINK:
		return step_make(&x);
	case CALL_TMPFILE:
		return step_tmpfile(&x);
	case CALL_SETLK:
	case CALL_GETLK:
		return step_lock(&x);
	case CALL_LINK:
		return step_link(&x);
	case CALL_UNLINK:
	case CALL_RMDIR:
		return step_remove(&x);
	case CALL_RENAME:
		return step_rename(&x);
	case CALL_READLINK:
		return step_readlink(&x);
	case CALL_GETATTR:
		return step_getattr(&x);
	case CALL_SETATTR:
		return step_setattr(&x);
	case CALL_READDIR:
		return step_readdir(&x);
	case CALL_GETXATTR:
	case CALL_SETXATTR:
	case CALL_LISTXATTR:
	case CALL_REMOVEXATTR:
		return step_xattr(&x);
	default:
		return step_data(&x);
	}
}
