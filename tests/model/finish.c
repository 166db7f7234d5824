/* The end of a program: all mounts see the same tree, and the checker finds nothing wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "fs/check/check.h"
#include "tests/model/world.h"

/* ---- the tree ---- */

static void look_at_file(struct world *w, unsigned mount, uint64_t ino)
{
	struct world_handle h = {.file = NULL};
	struct call c = {.kind = CALL_OPEN, .mount = mount, .ino = ino, .flags = O_RDONLY};

	if (world_call(w, &c, &h, NULL))
		return;
	c = (struct call){.kind = CALL_READ, .mount = mount, .ino = ino, .len = MODEL_SIZE_MAX};
	world_call(w, &c, &h, NULL);
	c = (struct call){.kind = CALL_CLOSE, .mount = mount, .ino = ino};
	world_call(w, &c, &h, NULL);
}

static void look_at_inode(struct world *w, unsigned mount, const struct model_inode *i)
{
	struct call c = {.kind = CALL_GETATTR, .mount = mount, .ino = i->ino};

	world_call(w, &c, NULL, NULL);
	c.kind = CALL_LISTXATTR;
	world_call(w, &c, NULL, NULL);
	for (unsigned k = 0; k < MODEL_XATTRS; k++) {
		c.kind = CALL_GETXATTR;
		c.name = i->xattr[k].name;
		if (c.name)
			world_call(w, &c, NULL, NULL);
	}
	if (S_ISREG(i->mode)) {
		look_at_file(w, mount, i->ino);
	} else if (S_ISLNK(i->mode)) {
		c.kind = CALL_READLINK;
		world_call(w, &c, NULL, NULL);
	} else if (S_ISDIR(i->mode)) {
		c.kind = CALL_READDIR;
		c.plus = true;
		c.salt = 3;
		world_call(w, &c, NULL, NULL);
	}
}

/* Names first: what is there, and then what it is. What several models differ in is told apart by
 * the first answers; so the tree is that of the first that is left. */
void world_tree(struct world *w, unsigned mount)
{
	struct call c = {.kind = CALL_READDIR, .mount = mount, .ino = layout_ino_root()};
	unsigned at = 0;
	char path[128];

	world_call(w, &c, NULL, NULL);
	while (!w->failed && (at = model_next(w->model[0], at))) {
		struct model_inode i = *model_at(w->model[0], at);

		for (unsigned k = 0; k < i.nentries && !w->failed; k++) {
			c = (struct call){.kind = CALL_LOOKUP,
				.mount = mount,
				.dir = i.ino,
				.name = i.entry[k].name};
			if (i.ino)
				world_call(w, &c, NULL, NULL);
		}
		if (w->failed)
			break;
		i = *model_at(w->model[0], at);
		if (i.ino)
			look_at_inode(w, mount, &i);
		if (w->failed && w->nmodels == 0) {
			snprintf(path, sizeof(path), " (tree of m%u, inode %llx)", mount,
				(unsigned long long)i.ino);
			strncat(w->why, path, sizeof(w->why) - strlen(w->why) - 1);
		}
	}
}

/* ---- the checker ---- */

struct checked {
	struct world *w;
	struct check_finding *found;
	unsigned n;
	char text[300];
};

static int io_pump(void *arg, const bool *done)
{
	struct checked *k = arg;

	return sim_wait(k->w->c->s, done, WORLD_LIMIT) ? 0 : -EINTR;
}

static int io_pause(void *arg, uint64_t ns)
{
	struct checked *k = arg;

	sim_run(k->w->c->s, ns);
	return 0;
}

static void io_wake(void *arg)
{
	(void)arg;
}

static void io_found(void *arg, const struct check_finding *f)
{
	struct checked *k = arg;
	size_t at = strlen(k->text);

	k->found = mem_grow(k->found, k->n + 1, sizeof(*k->found));
	k->found[k->n++] = *f;
	snprintf(k->text + at, sizeof(k->text) - at, " %s ino=%llx other=%llu have=%llu want=%llu;",
		check_problem_name(f->problem), (unsigned long long)f->ino,
		(unsigned long long)f->other, (unsigned long long)f->have,
		(unsigned long long)f->want);
}

/* The mark of that file, which says that whoever meets it has to trim. */
static const struct check_finding *mark_of(const struct checked *k, uint64_t ino)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->found[i].problem == CHECK_TRIM && k->found[i].ino == ino)
			return &k->found[i];
	return NULL;
}

/*
 * May that be left (docs/DATA.md)? Without a death nothing but orphans. Of a client that died the
 * mark of its writing or of its cut; while that stands, blocks behind the end, and a count that
 * does not know of what went into holes. When the mark is gone, the count may still be too low, and
 * says so, or too high, where who trimmed did not live to subtract. Where power was lost
 * everywhere, the mark may be lost and its blocks not.
 */
static bool may_be_left(const struct checked *k, const struct check_finding *f)
{
	const struct world *w = k->w;

	switch (f->problem) {
	case CHECK_ORPHAN:
		return true;
	case CHECK_TRIM:
		return w->killed;
	case CHECK_PAST_END:
		return w->powerless || (w->killed && mark_of(k, f->ino));
	case CHECK_BYTES:
		return w->powerless || (w->killed && mark_of(k, f->ino)) ||
		       (w->killed && (f->have > f->want || f->other & TAIL_LOW));
	case CHECK_BLOCK_NO_INODE:
		return w->powerless;
	default:
		return false;
	}
}

static bool check_once(struct world *w, unsigned mount, enum check_mode mode, struct checked *k,
	struct check_report *r)
{
	struct check_config cfg = {.mode = mode, .memory = 1 << 20};
	struct check_io io = {
		.pump = io_pump, .wake = io_wake, .pause = io_pause, .found = io_found, .arg = k};
	int rc;

	free(k->found);
	memset(k, 0, sizeof(*k));
	k->w = w;
	rc = check_run(w->m[mount].client, &cfg, &io, r);
	if (rc || r->unread)
		world_fail(w, "the checker could not check: %s",
			strerrorname_np(-(rc ? rc : r->unread_rc)));
	return !w->failed;
}

void world_check(struct world *w, unsigned mount)
{
	struct checked k = {.found = NULL};
	struct check_report r;

	if (!check_once(w, mount, CHECK_ONLY, &k, &r))
		goto out;
	for (unsigned i = 0; i < k.n; i++) {
		if (!may_be_left(&k, &k.found[i]))
			world_fail(w, "the checker found:%s", k.text);
	}
	if (w->failed || !r.found || !check_once(w, mount, CHECK_REPAIR, &k, &r))
		goto out;
	if (r.found != r.fixed)
		world_fail(w, "not repaired:%s", k.text);
	if (check_once(w, mount, CHECK_ONLY, &k, &r) && r.found)
		world_fail(w, "found after the repair:%s", k.text);
out:
	free(k.found);
}

/* ---- the end ---- */

static void close_all(struct world *w)
{
	for (unsigned m = 0; m < w->nmounts; m++) {
		for (unsigned k = 0; k < PROGRAM_HANDLES; k++) {
			struct world_handle *h = &w->m[m].handle[k];
			struct call c = {.kind = CALL_CLOSE, .mount = m, .ino = h->ino};

			if (h->file)
				world_call(w, &c, h, NULL);
		}
	}
}

struct ending {
	bool done;
	int rc;
};

static void unmounted(void *arg, int rc)
{
	struct ending *x = arg;

	x->done = true;
	x->rc = rc;
}

static int unmount(struct world *w, unsigned m)
{
	struct ending x = {false, 0};

	kernel_leave(w->m[m].kernel);
	fs_unmount(w->m[m].fs, 60 * ENV_SEC, unmounted, &x);
	w->m[m].fs = NULL;
	return sim_wait(w->c->s, &x.done, WORLD_LIMIT) ? x.rc : -ETIME;
}

/* Whoever locked something is gone, and so are the locks. */
static void locks_are_gone(struct world *w, unsigned mount)
{
	unsigned at = 0;

	while (!w->failed && (at = model_next(w->model[0], at))) {
		const struct model_inode *i = model_at(w->model[0], at);
		struct world_handle h = {.file = NULL};
		struct call c = {.kind = CALL_OPEN, .mount = mount, .ino = i->ino, .flags = O_RDWR};

		if (!i->ino || !S_ISREG(i->mode) || world_call(w, &c, &h, NULL))
			continue;
		c.kind = CALL_SETLK;
		c.flags = F_WRLCK;
		c.len = LOCK_CELLS - 1;
		for (c.what = 0; c.what < LOCK_OWNERS; c.what += 2)
			if (world_call(w, &c, &h, NULL))
				world_fail(w, "a lock of nobody's is left");
		c.kind = CALL_CLOSE;
		world_call(w, &c, &h, NULL);
	}
}

void world_finish(struct world *w)
{
	int first = -1, fresh;

	sim_heal_all(w->c->s);
	sim_run(w->c->s, 3 * ENV_SEC); /* nodes that are down come back */
	for (unsigned m = 0; m < w->nmounts; m++)
		if (!w->m[m].dead)
			world_tree(w, m);
	close_all(w);
	if (w->killed)
		sim_run(w->c->s, 60 * ENV_SEC); /* sessions of the dead end */
	sim_run(w->c->s, 2 * ENV_SEC);          /* what is closed is unlocked */
	for (unsigned m = 0; m < w->nmounts && !w->failed; m++) {
		if (w->m[m].dead)
			continue;
		locks_are_gone(w, m);
		break;
	}
	for (unsigned m = 0; m < w->nmounts && !w->failed; m++) {
		int rc;

		if (w->m[m].dead)
			continue;
		rc = unmount(w, m);
		if (rc)
			world_fail(w, "unmounting m%u: %s", m, strerrorname_np(-rc));
		w->m[m].dead = true;
		first = (int)m;
	}
	if (!w->failed && first >= 0)
		world_check(w, (unsigned)first);
	fresh = w->failed ? -1 : world_mount(w);
	if (fresh >= 0)
		world_tree(w, (unsigned)fresh);
}
