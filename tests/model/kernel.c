#include "tests/model/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "tests/model/world.h"

#define PAGE 4096u
#define PAGES (MODEL_SIZE_MAX / PAGE)

/* What it knows of an inode. */
struct known {
	TAILQ_ENTRY(known) at;
	uint64_t ino;
	struct fs_attr attr;
	uint64_t attr_until;
	uint8_t *page[PAGES];
};

struct name {
	TAILQ_ENTRY(name) at;
	uint64_t dir, ino; /* 0: there is none */
	uint64_t until;
	char name[LAYOUT_NAME_MAX + 1];
};

struct kernel {
	struct env *env;
	struct fs *fs;
	TAILQ_HEAD(, known) inodes;
	TAILQ_HEAD(, name) names;
};

/* ---- what is known ---- */

static struct known *find(struct kernel *k, uint64_t ino)
{
	struct known *i;

	TAILQ_FOREACH (i, &k->inodes, at)
		if (i->ino == ino)
			return i;
	return NULL;
}

static struct known *get(struct kernel *k, uint64_t ino)
{
	struct known *i = find(k, ino);

	if (i)
		return i;
	i = mem_zalloc(sizeof(*i));
	i->ino = ino;
	TAILQ_INSERT_HEAD(&k->inodes, i, at);
	return i;
}

static void drop_pages(struct known *i, uint64_t end)
{
	for (unsigned p = 0; p < PAGES && (uint64_t)p * PAGE < end; p++) {
		free(i->page[p]);
		i->page[p] = NULL;
	}
}

static struct name *find_name(struct kernel *k, uint64_t dir, const char *name)
{
	struct name *n;

	TAILQ_FOREACH (n, &k->names, at)
		if (n->dir == dir && !strcmp(n->name, name))
			return n;
	return NULL;
}

static void drop_name(struct kernel *k, uint64_t dir, const char *name)
{
	struct name *n = find_name(k, dir, name);

	if (!n)
		return;
	TAILQ_REMOVE(&k->names, n, at);
	free(n);
}

static void drop_attr(struct kernel *k, uint64_t ino)
{
	struct known *i = find(k, ino);

	if (i)
		i->attr_until = 0;
}

static void keep_attr(struct kernel *k, const struct fs_attr *a, uint64_t age)
{
	uint64_t keep = fs_keep_attr(k->fs, a->ino);
	struct known *i = get(k, a->ino);

	i->attr = *a;
	i->attr_until = keep > age ? env_now(k->env) + keep - age : 0;
}

static void keep_name(struct kernel *k, uint64_t dir, const char *name, uint64_t ino, uint64_t keep)
{
	struct name *n;

	drop_name(k, dir, name);
	if (!keep)
		return;
	n = mem_zalloc(sizeof(*n));
	n->dir = dir;
	n->ino = ino;
	n->until = env_now(k->env) + keep;
	snprintf(n->name, sizeof(n->name), "%s", name);
	TAILQ_INSERT_HEAD(&k->names, n, at);
}

/* ---- what it is told ---- */

static void drop_work(struct env_job *j)
{
	struct inode_drop *d = container_of(j, struct inode_drop, job);
	const char *name = (const char *)d->names.data, *end = name + d->names.len;
	struct kernel *k = d->impl;
	struct known *i = find(k, d->ino);

	if (i && (d->attr || d->pages))
		i->attr_until = 0;
	if (i && d->pages)
		drop_pages(i, d->end);
	for (; name < end; name += strlen(name) + 1)
		drop_name(k, d->ino, name);
}

static void drop_done(struct env_job *j)
{
	inode_dropped(container_of(j, struct inode_drop, job));
}

static void drop(void *arg, struct inode_drop *d)
{
	struct kernel *k = arg;

	d->impl = k;
	d->job = (struct env_job){.work = drop_work, .done = drop_done};
	env_job(k->env, &d->job);
}

struct kernel *kernel_new(struct env *e, struct fs *fs)
{
	struct kernel *k = mem_zalloc(sizeof(*k));

	k->env = e;
	k->fs = fs;
	TAILQ_INIT(&k->inodes);
	TAILQ_INIT(&k->names);
	fs_kernel(fs, drop, k);
	return k;
}

void kernel_leave(struct kernel *k)
{
	fs_kernel(k->fs, NULL, NULL);
}

/* ---- its own answers ---- */

static bool answers_lookup(struct kernel *k, struct flight *f, int *rc)
{
	struct name *n = find_name(k, f->c.dir, f->c.name);
	uint64_t now = env_now(k->env);
	struct known *i;

	if (!n || n->until <= now)
		return false;
	*rc = n->ino ? 0 : -ENOENT;
	if (!n->ino)
		return true;
	i = find(k, n->ino);
	if (!i || i->attr_until <= now)
		return false;
	f->s.has_attr = true;
	f->s.attr = i->attr;
	return true;
}

/* From its pages, if it has them all; past the end it knows of it asks. */
static bool answers_read(struct kernel *k, struct flight *f)
{
	uint64_t off = f->c.off, end = off + f->c.len;
	struct known *i = find(k, f->c.ino);

	if (!i || f->handle->flags & O_APPEND || end > MODEL_SIZE_MAX || off == end)
		return false;
	for (uint64_t p = off / PAGE; p * PAGE < end; p++)
		if (!i->page[p])
			return false;
	f->s.data = mem_zalloc(f->c.len);
	f->s.len = f->c.len;
	for (uint64_t at = off; at < end; at++)
		f->s.data[at - off] = i->page[at / PAGE][at % PAGE];
	return true;
}

bool kernel_answers(struct kernel *k, struct flight *f, int *rc)
{
	struct known *i;

	*rc = 0;
	switch (f->c.kind) {
	case CALL_LOOKUP:
		return answers_lookup(k, f, rc);
	case CALL_GETATTR:
		i = find(k, f->c.ino);
		if (!i || i->attr_until <= env_now(k->env))
			return false;
		f->s.has_attr = true;
		f->s.attr = i->attr;
		return true;
	case CALL_READ:
		return answers_read(k, f);
	default:
		return false;
	}
}

/* ---- what it sees ---- */

/* Bytes that it has now: pages that are there as a whole; of others it has those, if it had them.
 */
static void keep_bytes(struct known *i, uint64_t off, const uint8_t *data, uint64_t len, bool all)
{
	uint64_t end = off + len;

	for (uint64_t p = off / PAGE; p < PAGES && p * PAGE < end; p++) {
		uint64_t from = p * PAGE < off ? off : p * PAGE;
		uint64_t to = (p + 1) * PAGE > end ? end : (p + 1) * PAGE;

		if (!i->page[p] && to - from == PAGE)
			i->page[p] = mem_zalloc(PAGE);
		if (i->page[p] && (all || to - from == PAGE))
			memcpy(i->page[p] + from % PAGE, data + (from - off), to - from);
	}
}

static void saw_data(struct kernel *k, struct flight *f, int rc)
{
	struct known *i = get(k, f->c.ino);

	switch (f->c.kind) {
	case CALL_READ:
		if (!rc && !(f->handle->flags & O_APPEND))
			keep_bytes(i, f->c.off, f->call.data, f->call.len, false);
		return;
	case CALL_WRITE:
		if (f->handle->flags & O_APPEND || rc)
			drop_pages(i, UINT64_MAX);
		else
			keep_bytes(i, f->c.off, f->out, f->call.len, true);
		break;
	case CALL_OPEN:
		if (!rc && (!f->call.keep_cache || f->c.flags & O_TRUNC))
			drop_pages(i, UINT64_MAX);
		if (!(f->c.flags & O_TRUNC))
			return;
		break;
	case CALL_SETATTR:
		if (f->c.what & FS_SET_SIZE)
			drop_pages(i, UINT64_MAX);
		break;
	case CALL_FALLOCATE:
	case CALL_COPY:
		drop_pages(i, UINT64_MAX);
		break;
	default:
		return;
	}
	i->attr_until = 0;
}

static void saw_name(struct kernel *k, struct flight *f, int rc)
{
	const struct call *c = &f->c;
	struct known *i;

	switch (c->kind) {
	case CALL_LOOKUP:
		if (!rc)
			keep_attr(k, &f->call.attr, 0);
		if (!rc || rc == -ENOENT)
			keep_name(
				k, c->dir, c->name, rc ? 0 : f->call.attr.ino, f->call.entry_keep);
		return;
	case CALL_CREATE:
	case CALL_MKNOD:
	case CALL_MKDIR:
	case CALL_SYMLINK:
	case CALL_LINK:
		drop_attr(k, c->dir);
		drop_name(k, c->dir, c->name);
		if (rc)
			return;
		keep_attr(k, &f->call.attr, 0);
		keep_name(k, c->dir, c->name, f->call.attr.ino, f->call.entry_keep);
		if (c->kind == CALL_CREATE && (!f->call.keep_cache || c->flags & O_TRUNC))
			drop_pages(get(k, f->call.attr.ino), UINT64_MAX);
		return;
	case CALL_UNLINK:
	case CALL_RMDIR:
	case CALL_RENAME:
		drop_name(k, c->dir, c->name);
		if (c->kind == CALL_RENAME)
			drop_name(k, c->dir2, c->name2);
		TAILQ_FOREACH (i, &k->inodes, at)
			i->attr_until = 0;
		return;
	default:
		return;
	}
}

void kernel_saw(struct kernel *k, struct flight *f, int rc)
{
	saw_name(k, f, rc);
	if (f->c.ino)
		saw_data(k, f, rc);
	switch (f->c.kind) {
	case CALL_GETATTR:
	case CALL_SETATTR:
		if (!rc)
			keep_attr(k, &f->call.attr, f->call.age);
		break;
	case CALL_SETXATTR:
	case CALL_REMOVEXATTR:
		drop_attr(k, f->c.ino);
		break;
	case CALL_TMPFILE:
		if (!rc)
			keep_attr(k, &f->call.attr, 0);
		break;
	default:
		break;
	}
}

void kernel_listed(struct kernel *k, uint64_t dir, const struct fs_dirent *e)
{
	if (!e->attr)
		return;
	keep_attr(k, e->attr, 0);
	keep_name(k, dir, e->name, e->ino, fs_keep_entry(k->fs, dir, e->name, e->len));
}
