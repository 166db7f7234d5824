/*
 * reaper: removes inodes that have no name any more and that nobody holds.
 *
 * An inode whose link count fell to zero is on its shard's list of orphans and stays while any
 * session holds it. Removing it is a mount's duty: of the mount that took the last name or dropped
 * the last hold, and, for what others left behind, of every mount when it begins and now and then.
 * Two mounts may reap one orphan at once: each step restates what it relies on.
 */
#ifndef ORBIT_OPS_REAPER_H
#define ORBIT_OPS_REAPER_H

#include "fs/ops/mount.h"

/* Sets fs->reaper and begins to look through all shards in the background. */
void reaper_start(struct fs *fs);

/* No more searching; what is known to be orphaned is still worked off (counted as an operation of
 * the mount). */
void reaper_stop(struct fs *fs);

/* Forgets what is left to do. */
void reaper_abandon(struct fs *fs);

/* Frees fs->reaper; nothing of its own may be in flight. NULL there is harmless. */
void reaper_free(struct fs *fs);

/* @ino may be an orphan that nobody holds now. Cheap; the work comes later. */
void reaper_kick(struct fs *fs, uint64_t ino);

/* The same by whom knows the inode: @a as it was a moment ago. A small one is then removed without
 * being read again. */
void reaper_orphan(struct fs *fs, const struct fs_attr *a);

/* @a's inode lost its last name and is still held here: reaper_kick() will follow. */
void reaper_expect(struct fs *fs, const struct fs_attr *a);

#endif
