/*
 * readdir: open directories. Private to fs/ops.
 */
#ifndef ORBIT_OPS_READDIR_H
#define ORBIT_OPS_READDIR_H

#include "fs/ops/mount.h"

/* Is @ino a directory that is open here? Then its attributes as seen last, but dead: no links and
 * no entries. For when its object is gone. */
bool dir_remembered(struct fs *fs, uint64_t ino, struct fs_attr *a);

#endif
