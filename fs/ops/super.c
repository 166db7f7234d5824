/*
 * super: a filesystem's beginning and end on this mount: mkfs, mount, unmount.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/file.h"
#include "fs/ops/hint.h"
#include "fs/ops/lock.h"
#include "fs/ops/mount.h"
#include "fs/ops/reaper.h"
#include "fs/ops/removed.h"
#include "fs/ops/stale.h"
#include "fs/ops/statfs.h"

struct fs_config fs_config_default(void)
{
	return (struct fs_config){
		.write_behind = 64u << 20,
		.read_ahead = 4u << 20,
		.read_cache = 64u << 20,
		.policy = orbit_config_default().policy,
		.relaxed = ENV_SEC,
	};
}

/* ---- mkfs ---- */

struct mkfs {
	struct orbit_client *client;
	void (*done)(void *arg, int rc);
	void *arg;
};

static void mkfs_end(struct mkfs *m, int rc)
{
	void (*done)(void *arg, int rc) = m->done;
	void *arg = m->arg;

	free(m);
	done(arg, rc);
}

static void mkfs_synced(void *arg, const struct orbit_reply *r)
{
	mkfs_end(arg, r->rc == -ESTALE ? -EIO : r->rc);
}

static void mkfs_done(void *arg, const struct orbit_reply *r)
{
	struct mkfs *m = arg;

	/* all of its compares say that there is nothing yet */
	if (r->rc)
		mkfs_end(m, r->rc == -ECANCELED ? -EEXIST : r->rc);
	else
		orbit_sync(m->client, NULL, mkfs_synced, m);
}

static void put_super(struct txn_build *t, uint64_t now)
{
	struct orbit_id super = layout_super_id(), moves = layout_rename_id();
	uint64_t slot[TXN_SLOTS] = {0};

	slot[SUPER_VERSION] = LAYOUT_VERSION;
	slot[SUPER_BTIME] = now;
	slot[SUPER_ROOT] = layout_ino_root();
	txn_create(t, &super,
		1u << SUPER_VERSION | 1u << SUPER_FEATURES | 1u << SUPER_BTIME | 1u << SUPER_ROOT,
		slot);
	slot[0] = 1;
	txn_create(t, &moves, 1, slot);
}

void fs_mkfs(struct orbit_client *c, struct env *e, uint32_t uid, uint32_t gid,
	void (*done)(void *arg, int rc), void *arg)
{
	struct mkfs *m = mem_zalloc(sizeof(*m));
	struct orbit_id root = layout_inode_id(layout_ino_root());
	uint64_t slot[TXN_SLOTS] = {0}, now = env_wall(e);
	struct txn_build t;

	*m = (struct mkfs){c, done, arg};
	txn_init(&t);
	put_super(&t, now);
	slot[SLOT_MODE] = S_IFDIR | 0755;
	slot[SLOT_UID] = uid;
	slot[SLOT_GID] = gid;
	slot[SLOT_NLINK] = 2;
	slot[SLOT_ATIME] = slot[SLOT_MTIME] = slot[SLOT_CTIME] = slot[SLOT_BTIME] = now;
	slot[SLOT_PARENT] = layout_ino_root();
	txn_create(&t, &root, UINT16_MAX, slot);
	orbit_submit(c, &t, NULL, mkfs_done, m);
}

/* ---- mount ---- */

struct mounting {
	struct orbit_client *client;
	struct env *env;
	struct fs_config cfg;
	void (*done)(void *arg, int rc, struct fs *fs);
	void *arg;
	int get_super, get_root;
};

static void mount_end(struct mounting *m, int rc, struct fs *fs)
{
	void (*done)(void *arg, int rc, struct fs *fs) = m->done;
	void *arg = m->arg;

	free(m);
	done(arg, rc, fs);
}

/* What is recalled: bytes that were kept back go, and holds that nobody uses. */
static void recalled(void *ctx, uint64_t ino, enum orbit_lease keep)
{
	struct fs *fs = ctx;

	if (keep == ORBIT_LEASE_NONE)
		file_recalled(fs, ino);
	data_recalled(fs->data, ino, keep);
}

static void lease_lost(void *ctx, uint64_t ino)
{
	struct fs *fs = ctx;

	data_lost(fs->data, ino);
}

/* Locks, whose leases nothing is kept back under. */
static void other_recalled(void *ctx, const struct orbit_id *id, enum orbit_lease keep, bool lost)
{
	struct fs *fs = ctx;
	uint64_t ino, block;

	(void)keep;
	if (layout_kind_of(id, &ino, &block) == LAYOUT_LOCKS)
		lock_recalled(fs, ino, lost);
	else if (!lost)
		orbit_return(fs->client, id, ORBIT_LEASE_NONE);
}

static void mapped(void *ctx)
{
	lock_mapped(ctx);
}

static struct inode_cache *cache_new(struct fs *fs)
{
	static const enum inode_cache_mode modes[] = {[FS_CACHE_STRICT] = INODE_CACHE_STRICT,
		[FS_CACHE_RELAXED] = INODE_CACHE_RELAXED,
		[FS_CACHE_NONE] = INODE_CACHE_NONE};
	const struct inode_cache_config cfg = {.mode = modes[fs->cfg.cache],
		.relaxed = fs->cfg.relaxed,
		.kernel_max = ENV_SEC,
		.ctx = fs,
		.flush = recalled,
		.lost = lease_lost,
		.other = other_recalled,
		.mapped = mapped};

	return inode_cache_new(fs->env, fs->client, &cfg);
}

void fs_kernel(struct fs *fs, void (*drop)(void *arg, struct inode_drop *d), void *arg)
{
	inode_cache_kernel(fs->inodes, drop, arg);
}

static int fs_new(struct fs **out, const struct mounting *m)
{
	struct fs *fs = mem_zalloc(sizeof(*fs));
	int rc;

	fs->env = m->env;
	fs->client = m->client;
	fs->cfg = m->cfg;
	TAILQ_INIT(&fs->txns);
	TAILQ_INIT(&fs->spare);
	TAILQ_INIT(&fs->asked);
	TAILQ_INIT(&fs->dirs);
	fs->hints = hint_new();
	lock_init(fs);
	fs->inodes = cache_new(fs);
	rc = file_init(fs);
	if (rc) {
		inode_cache_free(fs->inodes);
		lock_free(fs);
		hint_free(fs->hints);
		free(fs);
		return rc;
	}
	if (!fs->cfg.read_only)
		reaper_start(fs);
	*out = fs;
	return 0;
}

static void fs_free(struct fs *fs)
{
	env_timer_clear(fs->env, &fs->ask);
	reaper_free(fs);
	file_free(fs);
	lock_free(fs);
	removed_free(fs);
	stale_free(fs);
	inode_cache_free(fs->inodes);
	statfs_free(fs);
	hint_free(fs->hints);
	mount_free_spare(fs);
	free(fs);
}

static int get_object(const struct orbit_reply *r, int index, struct txn_object *o)
{
	struct txn_result res;
	struct cur c;

	if (orbit_result(r, index, &res))
		return -EIO;
	if (!res.present)
		return -ENOENT;
	c = cur_of(res.data, res.len);
	*o = txn_get_object(&c);
	return cur_ok(&c) ? 0 : -EIO;
}

/* Is it a filesystem that we can work on? */
static int check_super(const struct mounting *m, const struct orbit_reply *r)
{
	struct txn_object super, root;
	struct fs_attr a;
	int rc = r->rc ? r->rc : get_object(r, m->get_super, &super);

	if (rc)
		return rc;
	if (super.slot[SUPER_VERSION] != LAYOUT_VERSION || super.slot[SUPER_FEATURES] != 0)
		return -EPROTONOSUPPORT;
	if (super.slot[SUPER_ROOT] != layout_ino_root())
		return -EUCLEAN;
	rc = get_object(r, m->get_root, &root);
	if (rc == -ENOENT || (!rc && layout_attr(layout_ino_root(), &root, &a)))
		return -EUCLEAN;
	return rc;
}

static void mount_got_super(void *arg, const struct orbit_reply *r)
{
	struct mounting *m = arg;
	struct fs *fs = NULL;
	int rc = check_super(m, r);

	if (!rc)
		rc = fs_new(&fs, m);
	mount_end(m, rc, fs);
}

static void mount_ready(void *arg, int rc)
{
	struct orbit_id super = layout_super_id(), root = layout_inode_id(layout_ino_root());
	struct mounting *m = arg;
	struct txn_build t;

	if (rc) {
		mount_end(m, rc, NULL);
		return;
	}
	txn_init(&t);
	m->get_super = txn_get(&t, &super);
	m->get_root = txn_get(&t, &root);
	orbit_submit(m->client, &t, NULL, mount_got_super, m);
}

void fs_mount(struct orbit_client *c, struct env *e, const struct fs_config *cfg, uint64_t timeout,
	void (*done)(void *arg, int rc, struct fs *fs), void *arg)
{
	struct mounting *m = mem_zalloc(sizeof(*m));

	*m = (struct mounting){.client = c, .env = e, .cfg = *cfg, .done = done, .arg = arg};
	orbit_wait_ready(c, timeout, mount_ready, m);
}

/* ---- unmount ---- */

/*
 * First the files: what is dirty is sent, holds are dropped. Then the orphans that this leaves are
 * reaped, and all that is still under way is waited for; what is not done by the deadline is
 * cancelled, and what the files had left is in doubt no more. Only then memory goes.
 */
struct unmount {
	struct fs *fs;
	void (*done)(void *arg, int rc);
	void *arg;
	int rc;
	struct env_timer deadline;
	struct env_task last;
};

static struct unmount *unmount_of(struct fs *fs)
{
	return fs->ending_arg;
}

static void unmount_last(struct env_task *t)
{
	struct unmount *u = container_of(t, struct unmount, last);
	void (*done)(void *arg, int rc) = u->done;
	void *arg = u->arg;
	int rc = u->rc;

	if (u->fs->nops > 0)
		return; /* somebody began anew; idle() comes again */
	env_timer_clear(u->fs->env, &u->deadline);
	fs_free(u->fs);
	free(u);
	done(arg, rc);
}

static void unmount_idle(struct fs *fs)
{
	env_post(fs->env, &unmount_of(fs)->last);
}

static void unmount_late(struct env_timer *t)
{
	struct unmount *u = container_of(t, struct unmount, deadline);

	log_warn("mod=fs ops=%u msg=\"unmounting without waiting any longer\"", u->fs->nops);
	reaper_abandon(u->fs);
	mount_cancel_all(u->fs);
}

static void unmount_files_done(void *arg, int rc)
{
	struct unmount *u = arg;

	u->rc = rc;
	reaper_stop(u->fs);
	u->fs->idle = unmount_idle;
	mount_op_begin(u->fs); /* idle() is for the change */
	mount_op_end(u->fs);
}

void fs_unmount(struct fs *fs, uint64_t timeout, void (*done)(void *arg, int rc), void *arg)
{
	struct unmount *u = mem_zalloc(sizeof(*u));

	*u = (struct unmount){.fs = fs, .done = done, .arg = arg};
	u->deadline.fire = unmount_late;
	u->last.run = unmount_last;
	assert(!fs->ending_arg);
	fs->ending_arg = u;
	env_timer_set(fs->env, &u->deadline, env_now(fs->env) + timeout);
	lock_stop(fs);
	file_fini(fs, timeout, unmount_files_done, u);
}
