#include "fs/ops/mount.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/data.h"
#include "fs/cache/inode.h"
#include "fs/ops/dirchange.h"
#include "fs/ops/file.h"

#define ASK_AGAIN (100 * ENV_MS)
#define CHANGED_FEW 4

/* An inode that a transaction changes. */
struct changed {
	uint64_t ino;
	bool known; /* a is what it is like afterwards */
	struct fs_attr a;
};

/* One transaction in flight. */
struct mount_txn {
	TAILQ_ENTRY(mount_txn) entry;
	struct fs *fs;
	struct fs_call *call;
	orbit_done_cb *done;
	void *arg;
	orbit_handle handle;
	bool writes;
	bool changes;  /* something that is seen */
	uint64_t mark; /* inode_mark() when it was submitted */
	unsigned nchanged;
	struct changed *changed; /* few, or on the heap */
	struct changed few[CHANGED_FEW];
};

struct orbit_client *fs_client(struct fs *fs)
{
	return fs->client;
}

int64_t mount_now(struct fs *fs)
{
	return (int64_t)env_wall(fs->env);
}

bool mount_writable(struct fs *fs, struct fs_call *call)
{
	if (!fs->cfg.read_only)
		return true;
	mount_done(call, -EROFS);
	return false;
}

/* ---- transactions ---- */

static struct mount_txn *txn_new(struct fs *fs)
{
	struct mount_txn *m = TAILQ_FIRST(&fs->spare);

	if (m)
		TAILQ_REMOVE(&fs->spare, m, entry);
	else
		m = mem_zalloc(sizeof(*m));
	return m;
}

/* Did it take effect, or certainly not? */
static bool settled(int rc)
{
	return rc == 0 || rc == -ECANCELED;
}

static void changes_end(struct mount_txn *m, const struct orbit_reply *r)
{
	for (unsigned i = 0; i < m->nchanged; i++) {
		const struct changed *c = &m->changed[i];

		inode_changed(
			m->fs->inodes, r, m->mark, c->ino, settled(r->rc), c->known ? &c->a : NULL);
	}
	if (m->changed != m->few)
		free(m->changed);
	m->changed = m->few;
	m->nchanged = 0;
}

void mount_track_done(void *arg, const struct orbit_reply *r)
{
	struct mount_txn *m = arg;
	struct fs *fs = m->fs;
	struct orbit_reply failed;

	if (m->call && m->call->handle == m->handle)
		m->call->handle = 0;
	if (r->rc == -ESTALE && m->writes) {
		failed = (struct orbit_reply){.rc = -EIO, .failed = -1};
		r = &failed;
	}
	TAILQ_REMOVE(&fs->txns, m, entry);
	fs->current = m;
	fs->reply = r;
	m->done(m->arg, r);
	fs->current = NULL;
	changes_end(m, r);
	TAILQ_INSERT_HEAD(&fs->spare, m, entry);
	mount_op_end(fs);
}

/* The inodes that @t changes. */
static void changes_begin(struct mount_txn *m, const struct txn_build *t)
{
	struct inode_cache *ic = m->fs->inodes;
	uint64_t left = t->changes, ino, block;

	m->changes = left != 0;
	m->mark = left ? inode_tick(ic) : inode_mark(ic);
	if (__builtin_popcountll(left) > CHANGED_FEW)
		m->changed = mem_grow(NULL, TXN_OBJECTS_MAX, sizeof(*m->changed));
	for (; left; left &= left - 1) {
		const struct orbit_id *id = &t->object[__builtin_ctzll(left)];

		if (layout_kind_of(id, &ino, &block) != LAYOUT_INODE)
			continue;
		m->changed[m->nchanged].ino = ino;
		m->changed[m->nchanged++].known = false;
		inode_change(ic, m->mark, ino);
	}
}

void mount_saw(struct fs *fs, const struct fs_attr *a)
{
	if (!fs->current || fs->current->changes)
		return;
	inode_saw(fs->inodes, fs->reply, fs->current->mark, a);
	data_known(fs->data, a);
}

void mount_saw_entry(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	if (fs->current && !fs->current->changes)
		inode_saw_entry(
			fs->inodes, fs->reply, fs->current->mark, dir, key, klen, ino, type);
}

void mount_made(struct fs *fs, const struct fs_attr *a)
{
	struct mount_txn *m = fs->current;

	for (unsigned i = 0; m && i < m->nchanged; i++) {
		if (m->changed[i].ino != a->ino)
			continue;
		m->changed[i].known = true;
		m->changed[i].a = *a;
	}
}

void mount_settle(struct fs *fs)
{
	if (fs->current)
		changes_end(fs->current, fs->reply);
}

void mount_made_entry(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	if (fs->current)
		inode_entry_changed(
			fs->inodes, fs->reply, fs->current->mark, dir, key, klen, ino, type);
}

void mount_no_caps(struct fs *fs, uint64_t ino)
{
	const struct mount_txn *m = fs->current;

	if (m && m->changes)
		inode_made_no_caps(fs->inodes, fs->reply, m->mark, ino);
	else if (m)
		inode_saw_no_caps(fs->inodes, fs->reply, m->mark, ino);
}

struct mount_txn *mount_track(struct fs *fs, struct fs_call *call, orbit_done_cb *done, void *arg)
{
	struct mount_txn *m = txn_new(fs);

	m->fs = fs;
	m->call = call;
	m->done = done;
	m->arg = arg;
	m->handle = 0;
	m->writes = m->changes = false;
	m->nchanged = 0;
	m->changed = m->few;
	TAILQ_INSERT_TAIL(&fs->txns, m, entry);
	mount_op_begin(fs); /* ended when done() has returned, so that the mount is there for it */
	return m;
}

void mount_tracked(struct mount_txn *m, orbit_handle h)
{
	m->handle = h;
	if (m->call)
		m->call->handle = h;
	if (m->fs->ending || (m->call && m->call->fatal))
		orbit_cancel(m->fs->client, h, false);
}

void mount_submit(struct fs *fs, struct fs_call *call, uint64_t ino, struct txn_build *t,
	orbit_done_cb *done, void *arg)
{
	struct mount_txn *m = mount_track(fs, call, done, arg);

	m->writes = t->writes;
	changes_begin(m, t);
	mount_tracked(m, orbit_submit(fs->client, t, ino ? file_policy(fs, ino) : NULL,
				 mount_track_done, m));
}

void mount_op_begin(struct fs *fs)
{
	fs->nops++;
}

void mount_op_end(struct fs *fs)
{
	assert(fs->nops > 0);
	if (--fs->nops == 0 && fs->idle)
		fs->idle(fs);
}

void mount_done(struct fs_call *call, int rc)
{
	if (call->asked_in)
		TAILQ_REMOVE(&call->asked_in->asked, call, asked);
	call->asked_in = NULL;
	call->handle = 0;
	call->interrupt = NULL;
	call->done(call, rc);
}

void mount_cancel_all(struct fs *fs)
{
	struct mount_txn *m;

	fs->ending = true;
	inode_cache_stop(fs->inodes);
	TAILQ_FOREACH (m, &fs->txns, entry)
		orbit_cancel(fs->client, m->handle, false);
}

void mount_free_spare(struct fs *fs)
{
	struct mount_txn *m;

	while ((m = TAILQ_FIRST(&fs->spare))) {
		TAILQ_REMOVE(&fs->spare, m, entry);
		free(m);
	}
}

/* ---- what has changed ---- */

static uint64_t *stamp_of(const struct fs *fs, uint64_t ino)
{
	uint64_t h = ino * UINT64_C(0x9e3779b97f4a7c15);

	return (uint64_t *)&fs->stamp[(h ^ h >> 32) & (MOUNT_STAMPS - 1)];
}

void mount_changed(struct fs *fs, uint64_t ino)
{
	*stamp_of(fs, ino) = ++fs->changes;
	dirchange_forget(fs, ino);
}

bool mount_changed_since(const struct fs *fs, uint64_t ino, uint64_t mark)
{
	return *stamp_of(fs, ino) > mark;
}

/* ---- interruption ---- */

static void interrupt_now(struct fs *fs, struct fs_call *call)
{
	struct mount_txn *m;

	if (call->interrupt) {
		call->interrupt(fs, call, call->fatal);
		return;
	}
	TAILQ_FOREACH (m, &fs->txns, entry) {
		if (m->call == call)
			orbit_cancel(fs->client, m->handle, !call->fatal);
	}
}

static void ask_again(struct env_timer *t)
{
	struct fs *fs = container_of(t, struct fs, ask);
	struct fs_call *call;
	unsigned n = 0;

	TAILQ_FOREACH (call, &fs->asked, asked)
		n++;
	/* a call may end when asked, and others with it: go round, and twice does no harm */
	while (n-- > 0 && (call = TAILQ_FIRST(&fs->asked))) {
		TAILQ_REMOVE(&fs->asked, call, asked);
		TAILQ_INSERT_TAIL(&fs->asked, call, asked);
		interrupt_now(fs, call);
	}
	if (!TAILQ_EMPTY(&fs->asked))
		env_timer_set(fs->env, t, env_now(fs->env) + ASK_AGAIN);
}

void fs_interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	call->interrupted = true;
	call->fatal |= fatal;
	/* A healthy transaction is left alone, but it may stall later, or the call's next one. */
	if (!call->asked_in) {
		call->asked_in = fs;
		TAILQ_INSERT_TAIL(&fs->asked, call, asked);
		fs->ask.fire = ask_again;
		if (!fs->ask.armed)
			env_timer_set(fs->env, &fs->ask, env_now(fs->env) + ASK_AGAIN);
	}
	interrupt_now(fs, call); /* which may end it */
}
