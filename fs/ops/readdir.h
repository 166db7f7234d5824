/*
 * readdir: open directories. Private to fs/ops.
 */
#ifndef ORBIT_OPS_READDIR_H
#define ORBIT_OPS_READDIR_H

#include "fs/ops/mount.h"

/* The attributes of @ino as last seen, when it is a directory that is open here; or NULL. */
const struct fs_attr *readdir_attr(struct fs *fs, uint64_t ino);

/* Of the client's losses, how many an open directory has reported; like fs_file.losses. */
uint64_t *readdir_losses(struct fs_dir *d);

#endif
