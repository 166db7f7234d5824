#include "fs/ops/op.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/cache/inode.h"
#include "fs/ops/file.h"
#include "fs/ops/removed.h"
#include "fs/ops/reaper.h"
#include "fs/ops/stale.h"

#define TRIES_AT_ONCE 10
#define BACKOFF_MIN (1 * ENV_MS)
#define BACKOFF_DOUBLINGS 7
#define MISSED_MAX 8

void *op_new(size_t size, struct fs *fs, struct fs_call *call)
{
	struct op *o = mem_zalloc(size);

	o->fs = fs;
	o->call = call;
	mount_op_begin(fs);
	return o;
}

void op_end(struct op *o, int rc)
{
	struct fs *fs = o->fs;
	struct fs_call *call = o->call;

	if (o->timer.impl)
		env_timer_clear(fs->env, &o->timer);
	free(o);
	mount_settle(fs);
	if (call && rc == -ESTALE)
		stale_told(fs, call);
	if (call)
		mount_done(call, rc);
	mount_op_end(fs);
}

void op_submit(struct op *o, uint64_t ino, struct txn_build *t, orbit_done_cb *done)
{
	mount_submit(o->fs, o->call, ino, t, done, o);
}

int op_outcome(struct op *o, const struct orbit_reply *r)
{
	int rc = r->rc;

	if (rc == -ECANCELED) {
		rc = r->failed >= 0 && r->failed < WHY_OPS ? o->why.err[r->failed] : 0;
		if (!rc) {
			log_error("mod=fs op=%d msg=\"a change that cannot fail failed: the "
				  "filesystem is damaged\"",
				r->failed);
			rc = -EIO;
		}
	} else if (rc == -EOVERFLOW) {
		log_error("mod=fs msg=\"a count would fall below zero: the filesystem is "
			  "damaged\"");
		rc = -EIO;
	} else if (rc == -EMSGSIZE || rc == -EINVAL || rc == -EBADMSG || rc == -EPROTO) {
		log_error("mod=fs rc=%s msg=\"a node refused a transaction\"", log_errno(rc));
		rc = -EIO;
	}
	memset(&o->why, 0, sizeof(o->why));
	return rc;
}

void op_alive(struct op *o, struct txn_build *t, const struct orbit_id *id)
{
	op_why(o, txn_slot_ne(t, id, SLOT_NLINK, 0), WHY_NO_INODE);
}

bool op_missed(struct op *o, bool fresh, uint64_t dir, uint64_t ino)
{
	if (!fresh || ++o->missed < MISSED_MAX)
		return true;
	log_error("mod=fs dir=%" PRIx64 " ino=%" PRIx64
		  " msg=\"an entry without its inode: run fsck.orbitfs\"",
		dir, ino);
	return false;
}

static void retry_fire(struct env_timer *t)
{
	struct op *o = container_of(t, struct op, timer);

	o->again(o);
}

void op_retry(struct op *o, void (*again)(struct op *o))
{
	unsigned over;
	uint64_t delay;

	if (++o->tries <= TRIES_AT_ONCE) {
		again(o);
		return;
	}
	over = o->tries - TRIES_AT_ONCE - 1;
	delay = BACKOFF_MIN << (over < BACKOFF_DOUBLINGS ? over : BACKOFF_DOUBLINGS);
	delay = delay / 2 + env_random_u64(o->fs->env) % delay;
	o->again = again;
	o->timer.fire = retry_fire;
	env_timer_set(o->fs->env, &o->timer, env_now(o->fs->env) + delay);
}

static int damaged(uint64_t ino, const char *what)
{
	log_error("mod=fs ino=%" PRIx64 " what=%s msg=\"damaged: run fsck.orbitfs\"", ino, what);
	return -EIO;
}

int op_attr(struct fs *fs, const struct orbit_reply *r, int index, uint64_t ino, struct fs_attr *a)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;

	if (orbit_result(r, index, &res))
		return -EIO;
	if (!res.present)
		return -ENOENT;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	if (!cur_ok(&c) || layout_attr(ino, &o, a))
		return damaged(ino, "inode");
	data_own_mark(fs->data, a);
	hint_learn(fs, a);
	mount_saw(fs, a);
	return 0;
}

int op_entry(struct fs *fs, const struct orbit_reply *r, int index, uint64_t dir,
	const uint8_t *key, size_t klen, uint64_t *ino, uint8_t *type)
{
	struct txn_result res;

	if (orbit_result(r, index, &res))
		return -EIO;
	if (!res.present) {
		hint_learn_name(fs, dir, key, klen, 0, 0);
		mount_saw_entry(fs, dir, key, klen, 0, 0);
		return -ENOENT;
	}
	if (layout_dirent_parse(res.data, res.len, ino, type))
		return damaged(dir, "entry");
	hint_learn_name(fs, dir, key, klen, *ino, *type);
	mount_saw_entry(fs, dir, key, klen, *ino, *type);
	return 0;
}

void op_keep_entry(struct op *o, uint64_t dir, const uint8_t *key, size_t klen)
{
	mount_settle(o->fs);
	o->call->entry_keep = inode_give_entry(o->fs->inodes, dir, key, klen);
}

int op_name(const char *name, int dots)
{
	size_t len = strnlen(name, LAYOUT_NAME_MAX + 1);

	if (len == 0)
		return -ENOENT;
	if (len > LAYOUT_NAME_MAX)
		return -ENAMETOOLONG;
	if (memchr(name, '/', len))
		return -EINVAL;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return dots;
	return (int)len;
}

bool op_together(struct fs *fs, uint64_t a, uint64_t b)
{
	const struct ring_map *m = orbit_ring(fs->client);
	struct orbit_id ida = layout_inode_id(a), idb = layout_inode_id(b);

	return m && m->shards[ring_shard_of(m, &ida)].primary ==
			    m->shards[ring_shard_of(m, &idb)].primary;
}

uint32_t op_log_of(struct fs *fs, const struct orbit_id *id)
{
	const struct ring_map *m = orbit_ring(fs->client);
	const struct ring_shard *s;
	unsigned shard;

	if (!m)
		return 0;
	shard = ring_shard_of(m, id);
	s = &m->shards[shard];
	/* nodes come first, then shards that have copies and so a log of their own each */
	if (s->nmembers == 1 && !s->nlearners)
		return s->primary;
	return RING_NONE + 1u + shard;
}

bool op_one_log(struct fs *fs, uint64_t a, uint64_t b)
{
	struct orbit_id ida = layout_inode_id(a), idb = layout_inode_id(b);

	return op_log_of(fs, &ida) == op_log_of(fs, &idb);
}

void op_orphaned(struct fs *fs, const struct fs_attr *a)
{
	hint_forget(fs, a->ino);
	if (S_ISDIR(a->mode))
		removed_add(fs, a);
	reaper_expect(fs, a);
	/* while it is open here, the last close tells the reaper */
	if (!file_unlinked(fs, a->ino))
		reaper_kick(fs, a->ino);
}
