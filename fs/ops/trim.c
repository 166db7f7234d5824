/*
 * trim: removing what a file's blocks hold of a range.
 *
 * Blocks go in batches, each of blocks that one log has, several batches at a time. A block
 * whose writers may have seen a newer cut, or of which only a part goes, is looked at first: then
 * {its cut is still what was seen; delete or punch}. If it changed meanwhile, it is looked at
 * again.
 *
 * A block that keeps a part of its range, but no byte, goes as well: nothing would ever look for it
 * later, since the count of bytes says that there are none.
 *
 * Batches are taken from both ends in turn, and it ends early when all bytes that the file had are
 * gone: a file of a tebibyte with a few bytes has them in its last block or in its first ones.
 *
 * What says that blocks are to go (the cut, or that no link is left) has to last before they go: if
 * all nodes lost power then, a log that kept their deletion must not meet one that has forgotten
 * why. Where one log has the inode and its blocks, it is in order; else that is synced first.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/ops/op.h"
#include "fs/ops/truncate.h"

#define BATCH_MAX 64
#define BATCHES 8    /* at once */
#define BATCH_SAFE 8 /* blocks in one transaction if the ring changes under us */
#define LOGS_MAX 16  /* kinds of batches that are gathered at a time */

struct batch;

struct trim {
	struct fs *fs;
	uint64_t ino;
	uint64_t from, to;  /* bytes of the file */
	uint64_t low, high; /* blocks that were not taken yet: [low, high) */
	bool at_low;        /* take there next */
	uint64_t bytes, removed;
	uint64_t cut;
	unsigned busy; /* batches */
	bool starting;
	int rc;
	void (*done)(void *arg, int rc, uint64_t removed);
	void *arg;
};

struct batch {
	struct trim *t;
	unsigned n;
	uint32_t log;
	bool look; /* they are to be looked at first */
	bool looking;
	uint64_t block[BATCH_MAX];
	uint64_t cut[BATCH_MAX]; /* as seen */
	uint64_t bytes[BATCH_MAX];
	int op[BATCH_MAX];
};

static void trim_go(struct trim *t);
static void batch_send(struct batch *b);

/* The part of a block that goes, as offsets in it; true when that is all of it. */
static bool block_part(const struct trim *t, uint64_t block, uint64_t *from, uint64_t *to)
{
	uint64_t base = block * LAYOUT_BLOCK, first = block == 0 ? LAYOUT_INLINE : base;

	*from = (t->from > base ? t->from : base) - base;
	*to = (t->to < base + LAYOUT_BLOCK ? t->to : base + LAYOUT_BLOCK) - base;
	if (*to == LAYOUT_BLOCK)
		*to = UINT64_MAX;
	return t->from <= first && *to == UINT64_MAX;
}

static void trim_end(struct trim *t)
{
	void (*done)(void *arg, int rc, uint64_t removed) = t->done;
	uint64_t removed = t->removed;
	struct fs *fs = t->fs;
	void *arg = t->arg;
	int rc = t->rc;

	free(t);
	done(arg, rc, removed);
	mount_op_end(fs);
}

static void batch_end(struct batch *b, int rc)
{
	struct trim *t = b->t;

	if (rc && t->rc == 0)
		t->rc = rc;
	free(b);
	t->busy--;
	trim_go(t);
}

/* One batch becomes several small ones. */
static void batch_split(struct batch *b)
{
	struct trim *t = b->t;

	for (unsigned i = 0; i < b->n; i += BATCH_SAFE) {
		struct batch *s = mem_zalloc(sizeof(*s));

		s->t = t;
		s->look = b->look;
		s->n = b->n - i < BATCH_SAFE ? b->n - i : BATCH_SAFE;
		memcpy(s->block, b->block + i, s->n * sizeof(s->block[0]));
		t->busy++;
		batch_send(s);
	}
	batch_end(b, 0);
}

static void empties_deleted(void *arg, const struct orbit_reply *r)
{
	/* canceled: somebody wrote there, so it is no longer empty */
	batch_end(arg, r->rc == -ECANCELED ? 0 : r->rc);
}

static void empties_looked(void *arg, const struct orbit_reply *r)
{
	struct batch *b = arg;
	struct txn_build tx;
	unsigned n = 0;

	txn_init(&tx);
	for (unsigned i = 0; i < b->n && r->rc == 0; i++) {
		struct orbit_id id = layout_block_id(b->t->ino, b->block[i]);
		struct txn_result res;
		struct txn_object o;
		struct cur c;

		if (orbit_result(r, b->op[i], &res) || !res.present)
			continue;
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		if (!cur_ok(&c) || o.stream_bytes)
			continue;
		txn_version_eq(&tx, &id, o.version);
		txn_delete(&tx, &id);
		n++;
	}
	if (n)
		mount_submit(b->t->fs, NULL, b->t->ino, &tx, empties_deleted, b);
	else
		batch_end(b, r->rc);
	txn_fini(&tx);
}

/* The blocks of the batch may hold nothing any more: those that don't are deleted. */
static void batch_empties(struct batch *b)
{
	struct txn_build tx;

	txn_init(&tx);
	for (unsigned i = 0; i < b->n; i++) {
		struct orbit_id id = layout_block_id(b->t->ino, b->block[i]);

		b->op[i] = txn_get(&tx, &id);
	}
	mount_submit(b->t->fs, NULL, b->t->ino, &tx, empties_looked, b);
	txn_fini(&tx);
}

/* The node's answer to what was to be removed. */
static void batch_removed(void *arg, const struct orbit_reply *r)
{
	struct batch *b = arg;
	unsigned empty = 0;

	if (r->rc == -ECANCELED) {
		b->look = true; /* somebody wrote there, or there is nothing */
		batch_send(b);
		return;
	}
	if ((r->rc == -E2BIG || r->rc == -EINVAL || r->rc == -EMSGSIZE) && b->n > BATCH_SAFE) {
		batch_split(b);
		return;
	}
	for (unsigned i = 0; i < b->n && r->rc == 0; i++) {
		uint64_t gone, from, to;
		struct txn_result res;
		struct cur c;

		if (orbit_result(r, b->op[i], &res))
			continue;
		c = cur_of(res.data, res.len);
		gone = (uint64_t) - (int64_t)cur_u64(&c);
		b->t->removed += gone;
		if (b->look && gone == b->bytes[i] && !block_part(b->t, b->block[i], &from, &to))
			b->block[empty++] = b->block[i];
	}
	if (empty == 0) {
		batch_end(b, r->rc);
		return;
	}
	b->n = empty;
	batch_empties(b);
}

static void batch_remove(struct batch *b)
{
	struct trim *t = b->t;
	struct txn_build tx;

	txn_init(&tx);
	for (unsigned i = 0; i < b->n; i++) {
		struct orbit_id id = layout_block_id(t->ino, b->block[i]);

		if (b->look && t->cut != UINT64_MAX)
			txn_slot_eq(&tx, &id, BLOCK_SLOT_CUT, b->cut[i]);
	}
	for (unsigned i = 0; i < b->n; i++) {
		struct orbit_id id = layout_block_id(t->ino, b->block[i]);
		uint64_t from, to;

		if (block_part(t, b->block[i], &from, &to)) {
			b->op[i] = txn_delete(&tx, &id);
			continue;
		}
		if (t->cut != UINT64_MAX)
			txn_max(&tx, &id, BLOCK_SLOT_CUT, t->cut);
		b->op[i] = txn_punch(&tx, &id, from, to);
	}
	mount_submit(t->fs, NULL, t->ino, &tx, batch_removed, b);
	txn_fini(&tx);
}

/* What the blocks are like: those that are absent or newer than the cut stay as they are. */
static void batch_looked(void *arg, const struct orbit_reply *r)
{
	struct batch *b = arg;
	unsigned n = 0;

	if ((r->rc == -E2BIG || r->rc == -EINVAL || r->rc == -EMSGSIZE) && b->n > BATCH_SAFE) {
		batch_split(b);
		return;
	}
	for (unsigned i = 0; i < b->n && r->rc == 0; i++) {
		struct txn_result res;
		struct txn_object o;
		struct cur c;

		if (orbit_result(r, b->op[i], &res) || !res.present)
			continue;
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		if (!cur_ok(&c) || o.slot[BLOCK_SLOT_CUT] >= b->t->cut)
			continue;
		b->block[n] = b->block[i];
		b->bytes[n] = o.stream_bytes;
		b->cut[n++] = o.slot[BLOCK_SLOT_CUT];
	}
	if (r->rc || n == 0) {
		batch_end(b, r->rc);
		return;
	}
	b->n = n;
	batch_remove(b);
}

static void batch_send(struct batch *b)
{
	struct txn_build tx;

	if (!b->look) {
		batch_remove(b);
		return;
	}
	txn_init(&tx);
	for (unsigned i = 0; i < b->n; i++) {
		struct orbit_id id = layout_block_id(b->t->ino, b->block[i]);

		b->op[i] = txn_get(&tx, &id);
	}
	mount_submit(b->t->fs, NULL, b->t->ino, &tx, batch_looked, b);
	txn_fini(&tx);
}

/* Takes up to BATCH_MAX blocks from one end and sorts them by the log that has them. */
static unsigned gather(struct trim *t, struct batch *out[LOGS_MAX])
{
	unsigned n = 0;

	for (unsigned k = 0; k < BATCH_MAX && t->low < t->high; k++) {
		uint64_t block = t->at_low ? t->low : t->high - 1, from, to;
		struct orbit_id id = layout_block_id(t->ino, block);
		uint32_t log = op_log_of(t->fs, &id);
		unsigned i = 0;

		while (i < n && out[i]->log != log)
			i++;
		if (i == LOGS_MAX)
			break;
		if (i == n) {
			out[n] = mem_zalloc(sizeof(**out));
			out[n]->t = t;
			out[n]->log = log;
			out[n++]->look = t->cut != UINT64_MAX;
		}
		out[i]->look |= !block_part(t, block, &from, &to);
		out[i]->block[out[i]->n++] = block;
		t->low += t->at_low;
		t->high -= !t->at_low;
	}
	t->at_low = !t->at_low;
	return n;
}

static void trim_go(struct trim *t)
{
	struct batch *b[LOGS_MAX];

	if (t->starting)
		return;
	t->starting = true;
	while (t->rc == 0 && t->busy < BATCHES && t->low < t->high && t->removed < t->bytes) {
		unsigned n = gather(t, b);

		t->busy += n;
		for (unsigned i = 0; i < n; i++)
			batch_send(b[i]);
	}
	t->starting = false;
	if (t->busy == 0)
		trim_end(t);
}

/* ---- what says so is to last ---- */

static void why_synced(void *arg, const struct orbit_reply *r)
{
	struct trim *t = arg;

	t->rc = r->rc == -ESTALE ? -EIO : r->rc;
	trim_go(t);
}

static void why_sync(struct trim *t)
{
	struct mount_txn *m = mount_track(t->fs, NULL, why_synced, t);

	mount_tracked(m, orbit_sync(t->fs->client, NULL, mount_track_done, m));
}

static void why_ours(void *arg, const struct orbit_reply *r)
{
	struct trim *t = arg;

	if (r->rc == 0) {
		why_sync(t);
		return;
	}
	t->rc = r->rc == -ECANCELED ? -ESTALE : r->rc;
	trim_go(t);
}

/* A sync is of what this session was told. So if it was somebody else who said so, something of
 * ours comes after it first: a time that has passed changes nothing. */
static void why_take(struct trim *t)
{
	struct orbit_id id = layout_inode_id(t->ino);
	struct txn_build tx;

	txn_init(&tx);
	txn_exists(&tx, &id);
	txn_max(&tx, &id, SLOT_CTIME, 0);
	mount_submit(t->fs, NULL, t->ino, &tx, why_ours, t);
	txn_fini(&tx);
}

/* Is any of the blocks in another log than the inode? If there are many, they are. */
static bool elsewhere(const struct trim *t)
{
	const struct ring_map *map = orbit_ring(t->fs->client);
	struct orbit_id id = layout_inode_id(t->ino);
	uint32_t log = op_log_of(t->fs, &id);

	for (uint64_t block = t->low; block < t->high && block - t->low < BATCH_MAX; block++) {
		id = layout_block_id(t->ino, block);
		if (op_log_of(t->fs, &id) != log)
			return true;
	}
	return t->high - t->low > BATCH_MAX && map && map->nnodes > 1;
}

/* ---- the whole ---- */

static void trim_start(struct trim *t, enum trim_why why)
{
	if (why == TRIM_ANYHOW || !elsewhere(t))
		trim_go(t);
	else if (why == TRIM_OURS)
		why_sync(t);
	else
		why_take(t);
}

struct trim_later {
	struct env_task task;
	struct trim *t;
};

static void trim_begin(struct env_task *task)
{
	struct trim_later *l = container_of(task, struct trim_later, task);
	struct trim *t = l->t;

	free(l);
	trim_go(t);
}

void trim_range(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to, uint64_t bytes,
	uint64_t cut, enum trim_why why, void (*done)(void *arg, int rc, uint64_t removed),
	void *arg)
{
	struct trim *t = mem_zalloc(sizeof(*t));
	struct trim_later *l;

	*t = (struct trim){.fs = fs, .ino = ino, .to = to, .bytes = bytes, .cut = cut};
	t->done = done;
	t->arg = arg;
	t->from = from > LAYOUT_INLINE ? from : LAYOUT_INLINE;
	if (t->from < to) {
		t->low = t->from / LAYOUT_BLOCK;
		t->high = (to - 1) / LAYOUT_BLOCK + 1;
	}
	mount_op_begin(fs);
	if (t->low < t->high && bytes > 0) {
		trim_start(t, why);
		return;
	}
	l = mem_zalloc(sizeof(*l)); /* nothing to do: done() comes later all the same */
	l->t = t;
	l->task.run = trim_begin;
	env_post(fs->env, &l->task);
}

void trim_blocks(struct fs *fs, uint64_t ino, uint64_t from, uint64_t size, uint64_t bytes,
	uint64_t cut, enum trim_why why, void (*done)(void *arg, int rc, uint64_t removed),
	void *arg)
{
	/* all of the last block goes, also what lies in it past the size */
	uint64_t to = size == 0 ? 0 : ((size - 1) / LAYOUT_BLOCK + 1) * LAYOUT_BLOCK;

	trim_range(fs, ino, from, to, bytes, cut, why, done, arg);
}
