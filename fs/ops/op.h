/*
 * op: what the operations on names and attributes have in common. Private to fs/ops.
 *
 * An operation is a struct that begins with struct op, lives from op_new() to op_end(), and walks
 * from callback to callback. What a failed compare means is written down next to the compare, in
 * op->why.
 */
#ifndef ORBIT_OPS_OP_H
#define ORBIT_OPS_OP_H

#include "dht/base/mem.h"
#include "fs/ops/dirchange.h"
#include "fs/ops/hint.h"
#include "fs/ops/mount.h"

#define WHY_OPS 48

/* What it means that an operation of the transaction failed: a negative errno, or one of these. */
enum {
	WHY_STALE_ENTRY = 1, /* an entry is not what we believed: read it again */
	WHY_STALE_MODE = 2,  /* nor is the mode or group of an inode */
	WHY_STALE_TREE = 3,  /* a directory was moved since the ancestry was looked at */
	WHY_NO_INODE = 4,    /* what an entry names is gone, so the entry ought to be, too */
};

struct why {
	int16_t err[WHY_OPS];
};

struct op {
	struct fs *fs;
	struct fs_call *call;
	struct why why;
	unsigned tries;
	unsigned missed;        /* of op_missed() */
	uint64_t parked;        /* since when it waits (flush.h) */
	struct env_timer timer; /* of op_retry() */
	void (*again)(struct op *o);
};

/* An operation of @size bytes, zeroed but for fs and call. */
void *op_new(size_t size, struct fs *fs, struct fs_call *call);

/* Frees @o and ends its call, unless that has ended (o->call is NULL). */
void op_end(struct op *o, int rc);

/* Submits @t for the operation's call. */
void op_submit(struct op *o, uint64_t ino, struct txn_build *t, orbit_done_cb *done);

/* Notes what it means when operation @op (of a builder's function, hence maybe an error) fails. */
static inline void op_why(struct op *o, int op, int err)
{
	if (op >= 0 && op < WHY_OPS)
		o->why.err[op] = (int16_t)err;
}

/* What became of the transaction: 0, a negative errno, or a WHY_*. Forgets the reasons. */
int op_outcome(struct op *o, const struct orbit_reply *r);

/* Calls again(o), now or, when it was tried often, a while later. */
void op_retry(struct op *o, void (*again)(struct op *o));

/* Compares that @id has a link left. Shards vote on their own, so that what the entry's compare
 * says of an inode elsewhere has to be said there again. */
void op_alive(struct op *o, struct txn_build *t, const struct orbit_id *id);

/* An entry that was read (@fresh) or guessed names an inode that is gone: true when that was in
 * between, and the entry is to be read again; false when it is damage, which is logged. */
bool op_missed(struct op *o, bool fresh, uint64_t dir, uint64_t ino);

/* The attributes of @ino as TXN_GET @index found them, and hints of them: 0, -ENOENT when there is
 * no such object, -EIO. */
int op_attr(struct fs *fs, const struct orbit_reply *r, int index, uint64_t ino, struct fs_attr *a);

/* The entry that TXN_GET_MAP @index found in @dir: 0, -ENOENT, -EIO. Learns the hint. */
int op_entry(struct fs *fs, const struct orbit_reply *r, int index, uint64_t dir,
	const uint8_t *key, size_t klen, uint64_t *ino, uint8_t *type);

/* The call gives the kernel that entry of @dir (or that there is none), after all that the
 * transaction has made was said. */
void op_keep_entry(struct op *o, uint64_t dir, const uint8_t *key, size_t klen);

/* A name as an argument: its length, or -ENOENT (empty), -ENAMETOOLONG, -EINVAL (has a slash), or
 * @dots for "." and "..". */
int op_name(const char *name, int dots);

/* Makes the object of a new inode (create.c). */
void create_put_inode(struct txn_build *t, const struct orbit_id *id, const struct fs_attr *a);

/* Does one node serve both inodes, so that one message reaches them? */
bool op_together(struct fs *fs, uint64_t a, uint64_t b);

/* Which log has the object: what has the same number can be changed together without votes
 * (ring_one_log()). */
uint32_t op_log_of(struct fs *fs, const struct orbit_id *id);
bool op_one_log(struct fs *fs, uint64_t a, uint64_t b);

/* The last name of @a->ino went: it is an orphan, @a as it was before. */
void op_orphaned(struct fs *fs, const struct fs_attr *a);

#endif
