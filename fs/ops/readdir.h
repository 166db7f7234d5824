/*
 * readdir: open directories. Private to fs/ops.
 */
#ifndef ORBIT_OPS_READDIR_H
#define ORBIT_OPS_READDIR_H

#include "fs/ops/mount.h"

/* Is @ino a directory that is open here, or that was removed here lately and may still be
 * somebody's working directory? Then its attributes as seen last, but dead: no links and no
 * entries. For when its object is gone. */
bool dir_remembered(struct fs *fs, uint64_t ino, struct fs_attr *a);

/* The directory was removed here; @a as it was before. */
void dir_removed(struct fs *fs, const struct fs_attr *a);

#endif
