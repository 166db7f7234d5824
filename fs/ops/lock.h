/*
 * lock: flock(2) and fcntl(2) locks across mounts (docs/LEASES.md). Private to fs/ops.
 *
 * The locks of an inode are entries of an object beside it. Here is a record for each inode of
 * which this mount has locks, or wants some: what is ours, what others had when it was read last
 * (good as long as a shared lease says so), and a queue of requests. A step decides as many of them
 * as can be decided, and one transaction makes it true for all of them; requests that something is
 * in the way of stay in the queue until that may have gone.
 */
#ifndef ORBIT_OPS_LOCK_H
#define ORBIT_OPS_LOCK_H

#include "fs/ops/mount.h"

void lock_init(struct fs *fs);
/* Who waits is told -ESHUTDOWN; what is ours is given up, in the background. */
void lock_stop(struct fs *fs);
/* Nothing is in flight. */
void lock_free(struct fs *fs);

/* @f is closed for good: what was locked through it goes, in the background. */
void lock_release(struct fs *fs, const struct fs_file *f);

/* The locks object of @ino was recalled, or its lease went with the session. */
void lock_recalled(struct fs *fs, uint64_t ino, bool lost);
/* Another ring map: who was in the way may be over. */
void lock_mapped(struct fs *fs);

#endif
