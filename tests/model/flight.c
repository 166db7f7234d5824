/* One call of fs.h, from its beginning to what was observed of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "tests/model/world.h"

static void flight_end(struct flight *f, int rc)
{
	struct world_mount *m = &f->w->m[f->c.mount];

	f->s.rc = rc;
	f->s.known = true;
	f->s.end = (int64_t)env_wall(m->env);
	if (f->handle)
		f->handle->busy = false;
	f->done = true;
}

static bool listed(void *arg, const struct fs_dirent *e)
{
	struct flight *f = arg;
	struct seen_entry *to;

	if (f->room == 0)
		return false;
	f->room--;
	f->s.entry = mem_grow(f->s.entry, f->s.nentries + 1, sizeof(*f->s.entry));
	to = &f->s.entry[f->s.nentries++];
	memset(to, 0, sizeof(*to));
	snprintf(to->name, sizeof(to->name), "%s", e->name);
	to->ino = e->ino;
	to->type = e->type;
	if (e->attr) {
		to->has_attr = true;
		to->attr = *e->attr;
	}
	kernel_listed(f->w->m[f->c.mount].kernel, f->c.ino, e);
	f->cookie = e->cookie;
	return true;
}

/* A listing comes in bites, as the kernel takes it. */
static void next_bite(struct flight *f)
{
	struct fs *fs = f->w->m[f->c.mount].fs;

	f->bitten = f->s.nentries;
	f->room = 1 + f->c.salt % 7;
	fs_readdir(fs, &f->call, f->dir, f->cookie, f->c.plus, listed, f);
}

static void dir_goes_on(struct flight *f, int rc)
{
	struct fs *fs = f->w->m[f->c.mount].fs;

	if (f->stage++ == 0 && rc == 0) {
		f->dir = f->call.dir;
		next_bite(f);
		return;
	}
	if (rc == 0 && f->bitten < f->s.nentries) { /* the end is an answer without any */
		next_bite(f);
		return;
	}
	if (f->dir)
		fs_releasedir(fs, f->dir);
	flight_end(f, rc);
}

static bool gives_attr(enum call_kind k)
{
	switch (k) {
	case CALL_LOOKUP:
	case CALL_CREATE:
	case CALL_MKNOD:
	case CALL_MKDIR:
	case CALL_SYMLINK:
	case CALL_LINK:
	case CALL_GETATTR:
	case CALL_SETATTR:
	case CALL_OPEN:
	case CALL_TMPFILE:
		return true;
	default:
		return false;
	}
}

static bool opens(enum call_kind k)
{
	return k == CALL_OPEN || k == CALL_CREATE || k == CALL_TMPFILE;
}

static bool gives_data(enum call_kind k)
{
	return k == CALL_READ || k == CALL_READLINK || k == CALL_GETXATTR || k == CALL_LISTXATTR;
}

/* As the kernel would name them. */
static uint64_t owner_of(unsigned owner)
{
	return 1000 + owner;
}

static void start_lock(struct fs *fs, struct flight *f)
{
	const struct call *c = &f->c;
	const struct fs_lock l = {
		.kind = LOCK_IS_FCNTL(c->what) ? FS_LOCK_FCNTL : FS_LOCK_FLOCK,
		.type = c->flags,
		.owner = owner_of(c->what),
		.first = c->off,
		.last = c->len == LOCK_CELLS - 1 ? LOCK_LAST : c->len,
		.pid = 100 + c->what,
	};

	if (c->kind == CALL_SETLK)
		fs_setlk(fs, &f->call, f->handle->file, &l, false);
	else
		fs_getlk(fs, &f->call, f->handle->file, &l);
}

static void flight_done(struct fs_call *call, int rc);

static void flight_closed(struct fs_call *call, int rc)
{
	struct flight *f = container_of(call, struct flight, call);

	flight_done(call, f->s.rc ? f->s.rc : rc);
}

static void flight_done(struct fs_call *call, int rc)
{
	struct flight *f = container_of(call, struct flight, call);

	if (f->done) {
		world_fail(f->w, "a call was answered twice");
		return;
	}
	if (f->c.kind == CALL_READDIR) {
		dir_goes_on(f, rc);
		return;
	}
	kernel_saw(f->w->m[f->c.mount].kernel, f, rc);
	if (rc == 0 && gives_attr(f->c.kind)) {
		f->s.has_attr = true;
		f->s.attr = call->attr;
	}
	if (rc == 0 && gives_data(f->c.kind))
		f->s.data = mem_dup(call->data, call->len);
	f->s.len = call->len;
	f->s.offset = call->offset;
	if (f->c.kind == CALL_GETLK)
		f->s.lock = call->lock.type;
	if (rc == 0 && opens(f->c.kind)) {
		f->handle->file = call->file;
		f->handle->ino = fs_ino_of(call->file);
		f->handle->flags = f->c.flags;
	}
	if (f->c.kind == CALL_CLOSE && f->stage++ == 0) {
		/* what the process has locked goes when its bytes are sent, or can't be */
		f->call.done = flight_closed;
		f->s.rc = rc;
		fs_unlock(f->w->m[f->c.mount].fs, &f->call, f->handle->file,
			owner_of(f->c.handle + 2));
		return;
	}
	if (f->c.kind == CALL_CLOSE) {
		fs_release(f->w->m[f->c.mount].fs, f->handle->file);
		f->handle->file = NULL;
	}
	flight_end(f, rc);
}

static void start_name(struct fs *fs, struct flight *f)
{
	const struct call *c = &f->c;
	struct fs_call *call = &f->call;

	switch (c->kind) {
	case CALL_LOOKUP:
		fs_lookup(fs, call, c->dir, c->name);
		break;
	case CALL_CREATE:
		fs_create(fs, call, c->dir, c->name, c->mode, c->flags);
		break;
	case CALL_MKNOD:
		fs_mknod(fs, call, c->dir, c->name, c->mode, c->rdev);
		break;
	case CALL_MKDIR:
		fs_mkdir(fs, call, c->dir, c->name, c->mode);
		break;
	case CALL_SYMLINK:
		fs_symlink(fs, call, c->dir, c->name, c->name2);
		break;
	case CALL_LINK:
		fs_link(fs, call, c->ino, c->dir, c->name);
		break;
	case CALL_UNLINK:
		fs_unlink(fs, call, c->dir, c->name);
		break;
	case CALL_RMDIR:
		fs_rmdir(fs, call, c->dir, c->name);
		break;
	default:
		fs_rename(fs, call, c->dir, c->name, c->dir2, c->name2, (unsigned)c->flags);
	}
}

static void start_inode(struct fs *fs, struct flight *f)
{
	const struct call *c = &f->c;
	struct fs_call *call = &f->call;

	switch (c->kind) {
	case CALL_READLINK:
		fs_readlink(fs, call, c->ino);
		break;
	case CALL_GETATTR:
		fs_getattr(fs, call, c->ino);
		break;
	case CALL_SETATTR:
		f->set = (struct fs_attr){.mode = c->mode,
			.uid = c->uid,
			.gid = c->gid,
			.size = c->len,
			.atime = c->time,
			.mtime = c->time};
		fs_setattr(fs, call, c->ino, c->what, &f->set);
		break;
	case CALL_READDIR:
		fs_opendir(fs, call, c->ino);
		break;
	case CALL_GETXATTR:
		fs_getxattr(fs, call, c->ino, c->name);
		break;
	case CALL_SETXATTR:
		f->out = mem_zalloc(c->len + 1);
		model_pattern(f->out, 0, c->len, c->salt);
		fs_setxattr(fs, call, c->ino, c->name, f->out, c->len, c->flags);
		break;
	case CALL_LISTXATTR:
		fs_listxattr(fs, call, c->ino);
		break;
	default:
		fs_removexattr(fs, call, c->ino, c->name);
	}
}

static void start_data(struct fs *fs, struct flight *f)
{
	const struct call *c = &f->c;
	struct fs_call *call = &f->call;

	switch (c->kind) {
	case CALL_OPEN:
		fs_open(fs, call, c->ino, c->flags);
		break;
	case CALL_READ:
		fs_read(fs, call, f->handle->file, c->off, c->len);
		break;
	case CALL_WRITE:
		call->kill_priv = c->kill;
		f->out = mem_zalloc(c->len + 1);
		model_pattern(f->out, c->off, c->len, c->salt);
		fs_write(fs, call, f->handle->file, c->off, f->out, c->len);
		break;
	case CALL_FSYNC:
		fs_fsync(fs, call, f->handle->file, false);
		break;
	case CALL_CLOSE:
		fs_flush(fs, call, f->handle->file);
		break;
	case CALL_TMPFILE:
		fs_tmpfile(fs, call, c->dir, c->mode, c->flags);
		break;
	case CALL_SETLK:
	case CALL_GETLK:
		start_lock(fs, f);
		break;
	case CALL_COPY:
		call->kill_priv = c->kill;
		fs_copy(fs, call, f->w->m[c->mount].handle[!c->handle].file, c->off2,
			f->handle->file, c->off, c->len);
		break;
	case CALL_FALLOCATE:
		fs_fallocate(fs, call, f->handle->file, c->flags, c->off, c->len);
		break;
	default:
		fs_lseek(fs, call, f->handle->file, c->off, c->flags);
	}
}

/* Is the handle what the call wants? */
static bool usable(const struct call *c, const struct world_handle *h)
{
	int acc;

	if (!h)
		return true;
	if (h->busy)
		return false;
	if (opens(c->kind))
		return !h->file;
	if (!h->file)
		return false;
	acc = h->flags & O_ACCMODE;
	if (c->kind == CALL_READ)
		return acc != O_WRONLY;
	if (c->kind == CALL_WRITE || c->kind == CALL_FALLOCATE || c->kind == CALL_COPY)
		return acc != O_RDONLY;
	return true;
}

bool world_start(struct world *w, struct flight *f, const struct call *c, struct world_handle *h)
{
	struct world_mount *m = &w->m[c->mount];
	int rc;

	if (m->dead || !usable(c, h))
		return false;
	memset(f, 0, sizeof(*f));
	f->w = w;
	f->c = *c;
	f->handle = h;
	f->call.uid = c->uid;
	f->call.gid = c->gid;
	f->call.done = flight_done;
	f->s.begin = (int64_t)env_wall(m->env);
	if (h) {
		h->busy = true;
		f->c.handle = (unsigned)(h - m->handle);
	}
	if (kernel_answers(m->kernel, f, &rc)) {
		flight_end(f, rc);
		return true;
	}
	if (c->kind <= CALL_RENAME)
		start_name(m->fs, f);
	else if (c->kind <= CALL_REMOVEXATTR)
		start_inode(m->fs, f);
	else
		start_data(m->fs, f);
	return true;
}

void world_wait(struct world *w, struct flight *f, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		if (sim_wait(w->c->s, &f[k].done, WORLD_LIMIT))
			continue;
		world_fail(w, "a call never ended");
		f[k].done = true;
	}
}
