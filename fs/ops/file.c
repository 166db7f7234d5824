/*
 * Open files: opening, closing, what the mount keeps of them. Their holds are hold.c's.
 */
#include "fs/ops/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/flush.h"
#include "fs/ops/hold.h"
#include "fs/ops/lock.h"
#include "fs/ops/op.h"
#include "fs/ops/policy.h"
#include "fs/ops/truncate.h"

#define FLUSH_AFTER (5 * ENV_SEC)

static void cache_changed(void *ctx, uint64_t ino)
{
	mount_changed(ctx, ino);
}

int file_init(struct fs *fs)
{
	bool ahead = fs_keeps_pages(fs);
	struct data_config cfg = {
		.write_behind = fs->cfg.write_behind,
		.read_ahead = ahead ? fs->cfg.read_ahead : 0,
		.read_cache = ahead ? fs->cfg.read_cache : 0,
		.flush_after = FLUSH_AFTER,
		.trim = truncate_finish_cache,
		.inodes = fs->inodes,
		.changed = cache_changed,
		.ctx = fs,
	};

	fs->data = data_cache_new(fs->env, fs->client, &cfg);
	fs->files = mem_zalloc(sizeof(*fs->files));
	fs->files->fs = fs;
	hold_init(fs->files);
	TAILQ_INIT(&fs->files->files);
	TAILQ_INIT(&fs->syncs);
	TAILQ_INIT(&fs->cuts);
	return 0;
}

void file_free(struct fs *fs)
{
	struct file_inode *fi, *next;
	struct fs_file *f;

	if (!fs->files)
		return;
	while ((f = TAILQ_FIRST(&fs->files->files))) {
		TAILQ_REMOVE(&fs->files->files, f, entry);
		free(f);
	}
	HASH_ITER (hh, fs->files->inodes, fi, next) {
		HASH_DEL(fs->files->inodes, fi);
		free(fi);
	}
	env_timer_clear(fs->env, &fs->files->timer);
	data_cache_free(fs->data);
	free(fs->files);
	fs->data = NULL;
	fs->files = NULL;
}

void file_nameless(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_find(fs, ino);

	fi->nameless = fi->unlinked = true;
}

bool file_is_nameless(struct fs *fs, uint64_t ino)
{
	const struct file_inode *fi = hold_find(fs, ino);

	return fi && fi->nameless && fi->opens > 0;
}

void file_named(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_find(fs, ino);

	if (fi && fi->nameless)
		fi->nameless = fi->unlinked = false;
}

void file_recalled(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_find(fs, ino);

	if (fi)
		hold_recalled(fi);
}

bool file_unlinked(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_find(fs, ino);

	if (!fi)
		return false;
	fi->unlinked = true;
	if (fi->opens > 0 || fi->dropping)
		return true;
	hold_check(fi);
	if (fi->holds == 0 && fi->doubt == 0) {
		hold_free(fi);
		return false;
	}
	hold_unused(fi);
	return true;
}

/* ---- policy ---- */

const struct orbit_policy *file_policy(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = fs->files ? hold_find(fs, ino) : NULL;

	return fi && fi->data ? data_policy(fi->data) : NULL;
}

static void policy_apply(struct file_inode *fi, const void *text, size_t len)
{
	struct orbit_policy p = fi->fs->cfg.policy;
	char copy[POLICY_TEXT_MAX + 1], why[160];

	if (!text) {
		data_set_policy(fi->data, NULL);
		return;
	}
	if (len > POLICY_TEXT_MAX || memchr(text, '\0', len)) {
		log_warn("mod=fs ino=%" PRIx64 " msg=\"policy of a file is no text\"", fi->ino);
		return;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (policy_parse(copy, &p, why, sizeof(why)))
		log_warn("mod=fs ino=%" PRIx64 " msg=\"%s\"", fi->ino, why);
	else
		data_set_policy(fi->data, &p);
}

void file_policy_set(struct fs *fs, uint64_t ino, const void *text, size_t len)
{
	struct file_inode *fi = hold_find(fs, ino);

	if (fi && fi->data)
		policy_apply(fi, text, len);
}

/* ---- open and release ---- */

static struct fs_file *file_make(struct file_inode *fi, int flags)
{
	struct fs_file *f = mem_zalloc(sizeof(*f));

	f->fs = fi->fs;
	f->fi = fi;
	f->data = fi->data;
	f->flags = flags;
	f->errors = data_errors(fi->data, NULL);
	f->losses = orbit_losses(fi->fs->client);
	TAILQ_INSERT_TAIL(&fi->fs->files->files, f, entry);
	return f;
}

struct fs_file *file_new(struct fs *fs, uint64_t ino, int flags, const struct fs_attr *a)
{
	struct file_inode *fi = hold_get(fs, ino);

	hold_busy(fi);
	hold_check(fi);
	fi->session = orbit_session(fs->client);
	fi->holds++;
	fi->opens++;
	if (!fi->data)
		fi->data = data_get(fs->data, a);
	data_seen(fs->data, a);
	return file_make(fi, flags);
}

void file_doubt(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_get(fs, ino);

	hold_check(fi);
	fi->session = orbit_session(fs->client);
	fi->doubt++;
	if (fi->opens == 0)
		hold_unused(fi);
}

struct fs_file *file_again(struct fs_file *f)
{
	f->fi->opens++;
	return file_make(f->fi, f->flags);
}

struct open_op {
	struct op o;
	struct file_inode *fi;
	int flags;
	int hold, get, policy, read;
	uint64_t since; /* it waits for a trim or a cut */
	struct fs_file *file;
	struct fs_call trunc;
};

static void open_end(struct open_op *p, int rc)
{
	struct file_inode *fi = p->fi;

	if (p->file && rc) {
		TAILQ_REMOVE(&p->o.fs->files->files, p->file, entry);
		free(p->file);
		p->file = NULL;
	}
	if (p->o.call)
		p->o.call->file = p->file;
	if (rc && --fi->opens == 0)
		hold_unused(fi);
	op_end(&p->o, rc);
}

/* A signal ends the waiting; what is waited for goes on, and then the file is not open. */
static void open_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct open_op *p = call->impl;

	if (!fatal && !flush_stalled(fs, p->since))
		return;
	p->o.call = NULL;
	call->impl = NULL;
	mount_done(call, -EINTR);
}

static void open_park(struct open_op *p)
{
	p->since = env_now(p->o.fs->env);
	p->o.call->impl = p;
	p->o.call->interrupt = open_interrupt;
}

/* Back from where a signal may have ended the call: then -EINTR. */
static int open_unpark(struct open_op *p, int rc)
{
	if (!p->o.call)
		return -EINTR;
	p->o.call->impl = NULL;
	p->o.call->interrupt = NULL;
	return rc;
}

static void open_cut(struct fs_call *c, int rc)
{
	struct open_op *p = container_of(c, struct open_op, trunc);

	rc = open_unpark(p, rc);
	if (!rc)
		p->o.call->attr = c->attr;
	open_end(p, rc);
}

/* All is read: the file is open, unless it is to be cut first. */
static void open_finish(struct open_op *p, const struct fs_attr *a)
{
	struct fs *fs = p->o.fs;
	struct fs_call *call = p->o.call;
	struct fs_attr zero = {.size = 0};

	call->attr = *a;
	data_overlay(fs->data, &call->attr);
	p->file = file_make(p->fi, p->flags);
	if (!(p->flags & O_TRUNC) || call->attr.size == 0) {
		open_end(p, 0);
		return;
	}
	p->trunc = (struct fs_call){.uid = call->uid, .gid = call->gid, .done = open_cut};
	open_park(p);
	truncate_setattr(fs, &p->trunc, p->fi->ino, FS_SET_SIZE, &zero);
}

static void open_trimmed(void *arg, int rc, const struct fs_attr *a)
{
	struct open_op *p = arg;

	rc = open_unpark(p, rc);
	if (rc)
		open_end(p, rc);
	else
		open_finish(p, a);
}

/* Are the kernel's pages of it still good? */
static bool pages_good(struct fs *fs, const struct fs_attr *a)
{
	bool same = data_seen(fs->data, a);

	if (fs->cfg.cache == FS_CACHE_STRICT)
		return inode_pages_good(fs->inodes, a->ino);
	return same && fs_keeps_pages(fs);
}

static void open_extras(struct open_op *p, const struct orbit_reply *r, const struct fs_attr *a)
{
	struct txn_result res;
	size_t want = a->size < LAYOUT_INLINE ? a->size : LAYOUT_INLINE;

	if (orbit_result(r, p->policy, &res) == 0)
		policy_apply(p->fi, res.present ? res.data : NULL, res.len);
	if (p->read >= 0 && want && a->trim == 0 && orbit_result(r, p->read, &res) == 0)
		data_give(p->fi->data, 0, res.data, res.len < want ? res.len : want, (uint32_t)want,
			r->frame[0]);
}

static void open_done(void *arg, const struct orbit_reply *r)
{
	struct open_op *p = arg;
	struct file_inode *fi = p->fi;
	struct fs *fs = p->o.fs;
	const struct hint_inode *h = hint_inode(fs, fi->ino);
	struct hint_inode told = h ? *h : (struct hint_inode){.ino = 0};
	struct fs_attr a;
	int rc = op_outcome(&p->o, r);

	if (p->hold >= 0 && r->rc == 0)
		fi->holds++;
	else if (p->hold >= 0 && (r->rc == -ETIMEDOUT || r->rc == -EINTR))
		fi->doubt++;
	if (!rc)
		rc = op_attr(fs, r, p->get, fi->ino, &a);
	if (rc == -ENOENT)
		rc = -ESTALE; /* the kernel looks the name up again */
	if (!rc && !S_ISREG(a.mode))
		rc = S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	if (rc) {
		open_end(p, rc);
		return;
	}
	if (!fi->data)
		fi->data = data_get(fs->data, &a);
	else
		data_note(fi->data, &a);
	p->o.call->keep_cache = pages_good(fs, &a);
	p->o.call->attr_changed = fs->cfg.cache != FS_CACHE_STRICT && !p->o.call->keep_cache &&
				  (told.ino == 0 || told.size != a.size || told.mtime != a.mtime);
	open_extras(p, r, &a);
	if (a.trim && !fs->cfg.read_only) {
		open_park(p);
		truncate_finish(fs, &a, open_trimmed, p);
	} else {
		open_finish(p, &a);
	}
}

/* Held already, and all that an open asks for is known. */
static bool open_remembered(struct fs *fs, struct fs_call *c, struct file_inode *fi, int flags)
{
	struct fs_attr a;

	if (!fi->holds || !fi->data || flags & O_TRUNC || !inode_attr(fs->inodes, fi->ino, &a) ||
		a.trim || !S_ISREG(a.mode))
		return false;
	data_note(fi->data, &a);
	c->keep_cache = pages_good(fs, &a);
	c->attr_changed = false;
	c->attr = a;
	data_overlay(fs->data, &c->attr);
	c->file = file_make(fi, flags);
	mount_done(c, 0);
	return true;
}

void fs_open(struct fs *fs, struct fs_call *c, uint64_t ino, int flags)
{
	struct orbit_id id = layout_inode_id(ino);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	struct file_inode *fi;
	struct open_op *p;
	struct txn_build t;
	size_t klen;

	if ((flags & O_ACCMODE) != O_RDONLY && !mount_writable(fs, c))
		return;
	fi = hold_get(fs, ino);
	hold_busy(fi);
	hold_check(fi);
	fi->opens++;
	if (open_remembered(fs, c, fi, flags))
		return;
	p = op_new(sizeof(*p), fs, c);
	p->fi = fi;
	p->flags = flags;
	p->hold = p->read = -1;
	txn_init(&t);
	op_why(&p->o, txn_exists(&t, &id), -ENOENT);
	p->get = txn_get(&t, &id);
	klen = layout_xattr_key(POLICY_XATTR, key);
	p->policy = txn_get_map(&t, &id, key, klen);
	if ((flags & O_ACCMODE) == O_RDONLY && !data_maybe_seen(fs->data, ino) &&
		!data_dirty(fs->data, ino))
		p->read = txn_read(&t, &id, 0, LAYOUT_INLINE);
	if (fi->holds == 0) {
		fi->session = orbit_session(fs->client);
		/* an orphan that nobody here holds may be being removed by now */
		op_why(&p->o, txn_slot_ne(&t, &id, SLOT_NLINK, 0), -ESTALE);
		p->hold = txn_hold(&t, &id);
		op_why(&p->o, p->hold, -ENOENT);
	}
	if ((flags & O_ACCMODE) == O_RDONLY)
		inode_wish(fs->inodes, &t, ino);
	else
		inode_wish_exclusive(fs->inodes, &t, ino);
	op_submit(&p->o, ino, &t, open_done);
	txn_fini(&t);
}

void fs_release(struct fs *fs, struct fs_file *f)
{
	struct file_inode *fi = f->fi;

	lock_release(fs, f);
	TAILQ_REMOVE(&fs->files->files, f, entry);
	free(f);
	if (--fi->opens == 0)
		hold_unused(fi);
}

bool fs_keeps_pages(const struct fs *fs)
{
	return fs->cfg.cache != FS_CACHE_NONE;
}

uint64_t fs_ino_of(const struct fs_file *f)
{
	return f->fi->ino;
}

/* ---- the end ---- */

static void fini_flushed(void *arg, int rc)
{
	struct file_table *ft = arg;

	if (rc == -ETIMEDOUT)
		flush_cancel_all(ft->fs);
	else
		hold_drop_all(ft->fs);
	ft->done(ft->arg, rc);
}

void file_fini(struct fs *fs, uint64_t timeout, void (*done)(void *arg, int rc), void *arg)
{
	fs->files->ending = true;
	fs->files->done = done;
	fs->files->arg = arg;
	env_timer_clear(fs->env, &fs->files->timer);
	data_cache_stop(fs->data, timeout, fini_flushed, fs->files);
}
