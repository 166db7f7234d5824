/*
 * dirchange: what a change of a directory's entries does to the directory itself. Private to
 * fs/ops.
 *
 * After each such change the kernel forgets what it knew of the directory, and asks for it at the
 * next path that leads through it. So the change reads the directory along: what it was like just
 * before, and what the change did to it, is the answer to that question. It is given once and soon
 * afterwards, and the kernel may keep it no longer than if it had asked when the change was sent;
 * not after this mount has seen a newer state.
 */
#ifndef ORBIT_OPS_DIRCHANGE_H
#define ORBIT_OPS_DIRCHANGE_H

#include "fs/ops/mount.h"

/* Of one directory in one transaction. */
struct dirchange {
	uint64_t dir;
	int64_t now;   /* by our clock, or later: than any change that was seen */
	uint64_t sent; /* env_now() */
	int get;       /* index of the result */
};

/* Puts into @t that entries of @dir come or go @now: its times, and that it is read. */
void dirchange_put(
	struct fs *fs, struct dirchange *ch, struct txn_build *t, uint64_t dir, int64_t now);

/* It was done, with answer @r; the directory's counts went by as much. */
void dirchange_done(struct fs *fs, const struct dirchange *ch, const struct orbit_reply *r,
	int children, int nlink);

/* What @ino has just become by a change of ours; *age: how old that may be at most. */
bool dirchange_take(struct fs *fs, uint64_t ino, struct fs_attr *a, uint64_t *age);

/* @a was read. */
void dirchange_seen(struct fs *fs, const struct fs_attr *a);
void dirchange_forget(struct fs *fs, uint64_t ino);

#endif
