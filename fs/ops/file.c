/*
 * Open files and holds.
 *
 * An inode that is open here has a record with the number of opens (those under way included) and
 * of the holds that the cluster has counted for us. After the last close the record stays idle for
 * a moment; then its hold is dropped, many in one transaction, unless somebody opened it again. Of
 * an unlinked inode it is dropped at once, and the reaper told.
 *
 *   opens > 0                  in use
 *   opens = 0, on the list     idle; the hold is still there
 *   dropping                   UNHOLD is in flight; who opens it now takes a new hold
 *
 * "Idle since 0" is an unlinked inode: it is due at once.
 */
#include "fs/ops/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/ops/flush.h"
#include "fs/ops/op.h"
#include "fs/ops/policy.h"
#include "fs/ops/reaper.h"
#include "fs/ops/truncate.h"

#define IDLE_TIME (1 * ENV_SEC)
#define GATHER_TIME (2 * ENV_MS) /* for holds of unlinked inodes to go together */
#define DROP_MAX 48              /* inodes whose holds go in one transaction */
#define DROP_OPS 240             /* operations of it */
#define FLUSH_AFTER (5 * ENV_SEC)

struct file_inode {
	struct fs *fs;
	uint64_t ino;
	UT_hash_handle hh;
	struct data_inode *data; /* NULL until it was first opened */
	unsigned opens;
	unsigned holds;   /* that the cluster has counted */
	unsigned doubt;   /* that it may have counted: no answer came */
	uint32_t session; /* whose holds these are */
	bool unlinked, dropping, is_idle;
	uint64_t since; /* idle */
	TAILQ_ENTRY(file_inode) idle;
};

struct file_table {
	struct fs *fs;
	struct file_inode *inodes; /* uthash */
	TAILQ_HEAD(idle_list, file_inode) idle;
	TAILQ_HEAD(, fs_file) files;
	struct env_timer timer;
	bool ending;
	void (*done)(void *arg, int rc);
	void *arg;
};

/* ---- the table ---- */

static struct file_inode *inode_find(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi;

	HASH_FIND(hh, fs->files->inodes, &ino, sizeof(ino), fi);
	return fi;
}

static struct file_inode *inode_get(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = inode_find(fs, ino);

	if (fi)
		return fi;
	fi = mem_zalloc(sizeof(*fi));
	fi->fs = fs;
	fi->ino = ino;
	HASH_ADD(hh, fs->files->inodes, ino, sizeof(fi->ino), fi);
	return fi;
}

static void not_idle(struct file_inode *fi)
{
	if (fi->is_idle)
		TAILQ_REMOVE(&fi->fs->files->idle, fi, idle);
	fi->is_idle = false;
}

static void inode_free(struct file_inode *fi)
{
	not_idle(fi);
	HASH_DEL(fi->fs->files->inodes, fi);
	if (fi->data)
		data_put(fi->data);
	free(fi);
}

/* Are the holds still ours? They went with their session. */
static void holds_check(struct file_inode *fi)
{
	if (fi->session != orbit_session(fi->fs->client))
		fi->holds = fi->doubt = 0;
}

static void cache_changed(void *ctx, uint64_t ino)
{
	mount_changed(ctx, ino);
}

static void idle_timer(struct env_timer *t);

int file_init(struct fs *fs)
{
	struct data_config cfg = {
		.write_behind = fs->cfg.write_behind,
		.read_ahead = fs->cfg.read_ahead,
		.read_cache = fs->cfg.read_cache,
		.flush_after = FLUSH_AFTER,
		.trim = truncate_finish_cache,
		.changed = cache_changed,
		.ctx = fs,
	};

	fs->data = data_cache_new(fs->env, fs->client, &cfg);
	fs->files = mem_zalloc(sizeof(*fs->files));
	fs->files->fs = fs;
	TAILQ_INIT(&fs->files->idle);
	TAILQ_INIT(&fs->files->files);
	TAILQ_INIT(&fs->syncs);
	fs->files->timer.fire = idle_timer;
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

/* ---- dropping holds ---- */

struct drop {
	struct fs *fs;
	unsigned n, ops;
	bool atimes;
	struct {
		struct file_inode *fi;
		unsigned holds;
		int64_t atime;
		int get;
	} of[DROP_MAX];
};

static void drop_send(struct drop *d);
static void inode_left(struct file_inode *fi);

static void idle_arm(struct fs *fs)
{
	struct file_inode *first = TAILQ_FIRST(&fs->files->idle);

	if (!first || fs->files->ending)
		return;
	if (first->since == 0)
		env_timer_set(fs->env, &fs->files->timer, env_now(fs->env) + GATHER_TIME);
	else if (!fs->files->timer.armed)
		env_timer_set(fs->env, &fs->files->timer, first->since + IDLE_TIME);
}

static void inode_idle(struct file_inode *fi)
{
	not_idle(fi);
	fi->is_idle = true;
	fi->since = env_now(fi->fs->env);
	TAILQ_INSERT_TAIL(&fi->fs->files->idle, fi, idle);
	idle_arm(fi->fs);
}

/* The same for one that is unlinked: it goes with those that are unlinked at the same time. */
static void inode_hasten(struct file_inode *fi)
{
	bool first =
		!TAILQ_FIRST(&fi->fs->files->idle) || TAILQ_FIRST(&fi->fs->files->idle)->since != 0;

	not_idle(fi);
	fi->is_idle = true;
	fi->since = 0;
	TAILQ_INSERT_HEAD(&fi->fs->files->idle, fi, idle);
	if (first)
		idle_arm(fi->fs);
}

static bool is_orphan(const struct orbit_reply *r, int get)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;

	if (orbit_result(r, get, &res) || !res.present)
		return false;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	return cur_ok(&c) && o.slot[SLOT_NLINK] == 0;
}

static void dropped(void *arg, const struct orbit_reply *r)
{
	struct drop *d = arg;

	if (r->rc == -ECANCELED && d->atimes) {
		/* an inode was removed under us: its time of access is nobody's concern now */
		d->atimes = false;
		drop_send(d);
		return;
	}
	if (r->rc && r->rc != -ESTALE && r->rc != -ESHUTDOWN)
		log_warn("mod=fs n=%u rc=%s msg=\"holds could not be dropped\"", d->n,
			log_errno(r->rc));
	for (unsigned i = 0; i < d->n; i++) {
		struct file_inode *fi = d->of[i].fi;

		fi->dropping = false;
		if (r->rc == -ETIMEDOUT) /* once more, then: one that is not there does no harm */
			fi->doubt += d->of[i].holds;
		if (fi->opens == 0 && (fi->unlinked || (r->rc == 0 && is_orphan(r, d->of[i].get))))
			reaper_kick(d->fs, fi->ino);
		if (fi->opens == 0)
			inode_left(fi);
	}
	free(d);
}

static void drop_send(struct drop *d)
{
	struct txn_build t;

	txn_init(&t);
	for (unsigned i = 0; i < d->n; i++) {
		struct orbit_id id = layout_inode_id(d->of[i].fi->ino);

		d->of[i].get = txn_get(&t, &id);
		if (d->of[i].atime && d->atimes)
			txn_max(&t, &id, SLOT_ATIME, (uint64_t)d->of[i].atime);
		for (unsigned k = 0; k < d->of[i].holds; k++)
			txn_unhold(&t, &id, 0);
	}
	mount_submit(d->fs, NULL, 0, &t, dropped, d);
	txn_fini(&t);
}

static uint16_t primary_of(struct fs *fs, uint64_t ino)
{
	const struct ring_map *m = orbit_ring(fs->client);
	struct orbit_id id = layout_inode_id(ino);

	return m ? m->shards[ring_shard_of(m, &id)].primary : 0;
}

static void drop_add(struct drop *d, struct file_inode *fi)
{
	unsigned room = DROP_OPS - d->ops - 2, all;

	not_idle(fi);
	holds_check(fi);
	all = fi->holds + fi->doubt;
	d->of[d->n].fi = fi;
	d->of[d->n].atime = fi->data && fi->holds ? data_touched(fi->data) : 0;
	d->of[d->n].holds = all < room ? all : room;
	d->ops += 2 + d->of[d->n].holds;
	/* the rest, of hundreds who opened it at once, goes another time */
	fi->doubt = all - d->of[d->n].holds;
	fi->holds = 0;
	fi->dropping = true;
	d->n++;
}

/* Takes what is idle for long enough and has its object on the node of the first. */
static struct drop *drop_gather(struct fs *fs, uint64_t before)
{
	struct file_inode *fi = TAILQ_FIRST(&fs->files->idle), *next;
	struct drop *d;
	uint16_t node;

	if (!fi || fi->since > before)
		return NULL;
	d = mem_zalloc(sizeof(*d));
	d->fs = fs;
	d->atimes = !fs->cfg.read_only;
	node = primary_of(fs, fi->ino);
	for (; fi && fi->since <= before && d->n < DROP_MAX && d->ops + 3 <= DROP_OPS; fi = next) {
		next = TAILQ_NEXT(fi, idle);
		if (!data_dirty(fs->data, fi->ino) && primary_of(fs, fi->ino) == node)
			drop_add(d, fi);
		else if (d->n == 0)
			inode_idle(fi); /* dirty: later */
	}
	if (d->n)
		return d;
	free(d);
	return NULL;
}

static void idle_timer(struct env_timer *t)
{
	struct file_table *ft = container_of(t, struct file_table, timer);
	uint64_t now = env_now(ft->fs->env);
	struct drop *d;

	while ((d = drop_gather(ft->fs, now - IDLE_TIME)))
		drop_send(d);
	idle_arm(ft->fs);
}

static void unlinked_flushed(void *arg, int rc)
{
	struct file_inode *fi = arg;

	(void)rc; /* nobody can read that file again */
	fi->dropping = false;
	if (fi->opens == 0)
		inode_hasten(fi);
}

/* Its holds were dropped, and nobody has it open: is there anything left of it? */
static void inode_left(struct file_inode *fi)
{
	if (fi->holds == 0 && fi->doubt == 0)
		inode_free(fi);
	else
		inode_idle(fi);
}

static void inode_unused(struct file_inode *fi)
{
	if (fi->dropping)
		return; /* its end looks again */
	holds_check(fi);
	if (fi->holds == 0 && fi->doubt == 0) {
		inode_free(fi);
	} else if (!fi->unlinked) {
		inode_idle(fi);
	} else if (data_dirty(fi->fs->data, fi->ino)) {
		not_idle(fi);
		fi->dropping = true;
		data_flush(fi->fs->data, fi->ino, unlinked_flushed, fi);
	} else {
		inode_hasten(fi);
	}
}

bool file_unlinked(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = inode_find(fs, ino);

	if (!fi)
		return false;
	fi->unlinked = true;
	if (fi->opens > 0 || fi->dropping)
		return true;
	holds_check(fi);
	if (fi->holds == 0 && fi->doubt == 0) {
		inode_free(fi);
		return false;
	}
	inode_unused(fi);
	return true;
}

/* ---- policy ---- */

const struct orbit_policy *file_policy(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = fs->files ? inode_find(fs, ino) : NULL;

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
	struct file_inode *fi = inode_find(fs, ino);

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
	struct file_inode *fi = inode_get(fs, ino);

	not_idle(fi);
	holds_check(fi);
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
	struct file_inode *fi = inode_get(fs, ino);

	holds_check(fi);
	fi->session = orbit_session(fs->client);
	fi->doubt++;
	if (fi->opens == 0)
		inode_unused(fi);
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
		inode_unused(fi);
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
	p->o.call->keep_cache = data_seen(fs->data, &a);
	p->o.call->attr_changed = !p->o.call->keep_cache &&
				  (told.ino == 0 || told.size != a.size || told.mtime != a.mtime);
	open_extras(p, r, &a);
	if (a.trim && !fs->cfg.read_only) {
		open_park(p);
		truncate_finish(fs, &a, open_trimmed, p);
	} else {
		open_finish(p, &a);
	}
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
	fi = inode_get(fs, ino);
	not_idle(fi);
	holds_check(fi);
	fi->opens++;
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
	op_submit(&p->o, ino, &t, open_done);
	txn_fini(&t);
}

void fs_release(struct fs *fs, struct fs_file *f)
{
	struct file_inode *fi = f->fi;

	TAILQ_REMOVE(&fs->files->files, f, entry);
	free(f);
	if (--fi->opens == 0)
		inode_unused(fi);
}

uint64_t fs_ino_of(const struct fs_file *f)
{
	return f->fi->ino;
}

/* ---- the end ---- */

static void fini_flushed(void *arg, int rc)
{
	struct file_table *ft = arg;
	struct file_inode *fi, *next;
	struct drop *d;

	if (rc == -ETIMEDOUT)
		flush_cancel_all(ft->fs);
	HASH_ITER (hh, ft->inodes, fi, next) {
		if (!fi->dropping)
			inode_idle(fi);
	}
	while (rc != -ETIMEDOUT && (d = drop_gather(ft->fs, UINT64_MAX)))
		drop_send(d);
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
