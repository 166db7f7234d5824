/*
 * Holds of inodes that are open here.
 *
 * An inode that is open here has a record with the number of opens (those under way included) and
 * of the holds that the cluster has counted for us. After the last close the record stays idle for
 * a moment; then its hold is dropped, many in one transaction, unless somebody opened it again. Of
 * an unlinked inode it is dropped at once, and the reaper told.
 *
 *   opens > 0                  in use
 *   opens = 0, on idle         the hold is still there, for a moment
 *   opens = 0, on kept         the same, until the lease of the inode is recalled: a file that is
 *                              opened again and again costs nothing as long as nobody changes it
 *   dropping                   UNHOLD is in flight; who opens it now takes a new hold
 *
 * "Idle since 0" is an unlinked inode: it is due at once.
 */
#include "fs/ops/hold.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/inode.h"
#include "fs/ops/op.h"
#include "fs/ops/reaper.h"

#define IDLE_TIME (1 * ENV_SEC)
#define IDLE_GATHER (100 * ENV_MS) /* at least between two droppings, so that many go together */
#define GATHER_TIME (2 * ENV_MS)   /* for holds of unlinked inodes to go together */
#define KEPT_MAX 16384             /* holds that stay with their leases */
#define DROP_MAX 48                /* inodes whose holds go in one transaction */
#define DROP_OPS 240               /* operations of it */

struct file_inode *hold_find(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi;

	HASH_FIND(hh, fs->files->inodes, &ino, sizeof(ino), fi);
	return fi;
}

struct file_inode *hold_get(struct fs *fs, uint64_t ino)
{
	struct file_inode *fi = hold_find(fs, ino);

	if (fi)
		return fi;
	fi = mem_zalloc(sizeof(*fi));
	fi->fs = fs;
	fi->ino = ino;
	TAILQ_INIT(&fi->reads);
	HASH_ADD(hh, fs->files->inodes, ino, sizeof(fi->ino), fi);
	return fi;
}

void hold_busy(struct file_inode *fi)
{
	struct file_table *ft = fi->fs->files;

	if (fi->is_kept) {
		TAILQ_REMOVE(&ft->kept, fi, idle);
		ft->nkept--;
	} else if (fi->is_idle) {
		TAILQ_REMOVE(&ft->idle, fi, idle);
	}
	fi->is_idle = fi->is_kept = false;
}

void hold_free(struct file_inode *fi)
{
	hold_busy(fi);
	HASH_DEL(fi->fs->files->inodes, fi);
	if (fi->data)
		data_put(fi->data);
	free(fi);
}

/* Are the holds still ours? They went with their session. */
void hold_check(struct file_inode *fi)
{
	if (fi->session != orbit_session(fi->fs->client))
		fi->holds = fi->doubt = 0;
}

/* ---- dropping ---- */

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
static void hold_left(struct file_inode *fi);

static void idle_arm(struct fs *fs)
{
	struct file_inode *first = TAILQ_FIRST(&fs->files->idle);
	uint64_t now = env_now(fs->env), due;

	if (!first || fs->files->ending)
		return;
	if (first->since == 0) {
		env_timer_set(fs->env, &fs->files->timer, now + GATHER_TIME);
	} else if (!fs->files->timer.armed) {
		due = first->since + IDLE_TIME;
		env_timer_set(fs->env, &fs->files->timer,
			due < now + IDLE_GATHER ? now + IDLE_GATHER : due);
	}
}

static void hold_idle(struct file_inode *fi)
{
	hold_busy(fi);
	fi->is_idle = true;
	fi->since = env_now(fi->fs->env);
	TAILQ_INSERT_TAIL(&fi->fs->files->idle, fi, idle);
	idle_arm(fi->fs);
}

/* While nobody else changes the inode the hold may stay. */
static void hold_keep(struct file_inode *fi)
{
	struct file_table *ft = fi->fs->files;

	hold_busy(fi);
	fi->is_idle = fi->is_kept = true;
	TAILQ_INSERT_TAIL(&ft->kept, fi, idle);
	if (++ft->nkept > KEPT_MAX)
		hold_idle(TAILQ_FIRST(&ft->kept));
}

void hold_recalled(struct file_inode *fi)
{
	if (fi->is_kept)
		hold_idle(fi);
}

/* The same for one that is unlinked: it goes with those that are unlinked at the same time. */
static void hold_hasten(struct file_inode *fi)
{
	bool first =
		!TAILQ_FIRST(&fi->fs->files->idle) || TAILQ_FIRST(&fi->fs->files->idle)->since != 0;

	hold_busy(fi);
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
			hold_left(fi);
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

static void drop_add(struct drop *d, struct file_inode *fi)
{
	unsigned room = DROP_OPS - d->ops - 2, all;

	hold_busy(fi);
	hold_check(fi);
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

/* Takes what is idle for long enough and has its object in the log of the first's. */
static struct drop *drop_gather(struct fs *fs, uint64_t before)
{
	struct file_inode *fi = TAILQ_FIRST(&fs->files->idle), *next;
	struct drop *d;

	if (!fi || fi->since > before)
		return NULL;
	d = mem_zalloc(sizeof(*d));
	d->fs = fs;
	d->atimes = !fs->cfg.read_only;
	for (; fi && fi->since <= before && d->n < DROP_MAX && d->ops + 3 <= DROP_OPS; fi = next) {
		next = TAILQ_NEXT(fi, idle);
		if (!data_dirty(fs->data, fi->ino)) {
			if (d->n == 0 || op_one_log(fs, d->of[0].fi->ino, fi->ino))
				drop_add(d, fi);
		} else if (d->n == 0) {
			hold_idle(fi); /* later */
		}
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
		hold_hasten(fi);
}

/* Its holds were dropped, and nobody has it open: is there anything left of it? */
static void hold_left(struct file_inode *fi)
{
	if (fi->holds == 0 && fi->doubt == 0)
		hold_free(fi);
	else
		hold_idle(fi);
}

/* Is it certain that we would be told if the file were removed? And nothing is to be sent along. */
static bool may_keep(const struct file_inode *fi)
{
	struct fs_attr a;

	return !fi->unlinked && !fi->doubt && (!fi->data || !data_touched(fi->data)) &&
	       inode_attr(fi->fs->inodes, fi->ino, &a) && a.nlink > 0;
}

void hold_unused(struct file_inode *fi)
{
	if (fi->dropping)
		return; /* its end looks again */
	hold_check(fi);
	if (fi->holds == 0 && fi->doubt == 0) {
		hold_free(fi);
	} else if (may_keep(fi)) {
		hold_keep(fi);
	} else if (!fi->unlinked) {
		hold_idle(fi);
	} else if (data_dirty(fi->fs->data, fi->ino)) {
		hold_busy(fi);
		fi->dropping = true;
		data_flush(fi->fs->data, fi->ino, unlinked_flushed, fi);
	} else {
		hold_hasten(fi);
	}
}

void hold_init(struct file_table *ft)
{
	TAILQ_INIT(&ft->idle);
	TAILQ_INIT(&ft->kept);
	ft->timer.fire = idle_timer;
}

void hold_drop_all(struct fs *fs)
{
	struct file_inode *fi, *next;
	struct drop *d;

	HASH_ITER (hh, fs->files->inodes, fi, next) {
		if (!fi->dropping)
			hold_idle(fi);
	}
	while ((d = drop_gather(fs, UINT64_MAX)))
		drop_send(d);
}
