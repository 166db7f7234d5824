/*
 * truncate: cutting a file, and trimming what was cut off.
 *
 * A cut sets size, cut+1 and "trim pending from" in one transaction, then removes the blocks, then
 * clears the mark; whoever meets the mark finishes the job. Blocks are removed only below the cut.
 */
#ifndef ORBIT_OPS_TRUNCATE_H
#define ORBIT_OPS_TRUNCATE_H

#include "fs/ops/mount.h"

/* fs_setattr() with FS_SET_SIZE among @what: all of @what, the size in one transaction with the
 * rest. */
void truncate_setattr(
	struct fs *fs, struct fs_call *c, uint64_t ino, unsigned what, const struct fs_attr *set);

/* What the sizes that @ino is being given by this mount just now are at least; UINT64_MAX: none. */
uint64_t truncate_least(struct fs *fs, uint64_t ino);
/* Reads that are under way do not go past @size: read.c. */
void read_cut(struct fs *fs, uint64_t ino, uint64_t size);

/* What says that blocks may go, which has to be on disk before they do, unless one log has all. */
enum trim_why {
	TRIM_ANYHOW, /* nothing: it is the bytes themselves that are to go */
	TRIM_OURS,   /* the inode, as this mount's own transaction has left it */
	TRIM_SEEN,   /* the inode, as it was read */
};

/*
 * Removes the block objects of @ino that hold bytes at or past @from, of writers with a cut below
 * @cut (UINT64_MAX: all of them), among the blocks of a file that was at most @size long; stops
 * early when @bytes (its SLOT_BYTES) are gone. Does not touch the inode. done(arg, rc, bytes
 * removed).
 */
void trim_blocks(struct fs *fs, uint64_t ino, uint64_t from, uint64_t size, uint64_t bytes,
	uint64_t cut, enum trim_why why, void (*done)(void *arg, int rc, uint64_t removed),
	void *arg);

/* The file @a says that it is to be trimmed: does that and clears the mark; done(arg, rc,
 * attributes after it). */
void truncate_finish(struct fs *fs, const struct fs_attr *a,
	void (*done)(void *arg, int rc, const struct fs_attr *a), void *arg);

/* The same for data_config.trim; @ctx is the struct fs. */
void truncate_finish_cache(void *ctx, const struct fs_attr *a,
	void (*done)(void *arg, int rc, const struct fs_attr *a), void *arg);

/* As trim_blocks(), of the bytes [from, to) only: whole blocks are deleted, of others a part is
 * punched. */
void trim_range(struct fs *fs, uint64_t ino, uint64_t from, uint64_t to, uint64_t bytes,
	uint64_t cut, enum trim_why why, void (*done)(void *arg, int rc, uint64_t removed),
	void *arg);

#endif
