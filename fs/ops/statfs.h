/*
 * statfs: what the nodes of the cluster have, asked at most once a second. Private to fs/ops.
 */
#ifndef ORBIT_OPS_STATFS_H
#define ORBIT_OPS_STATFS_H

#include "fs/ops/mount.h"

/* Frees fs->statfs; nobody may wait for it. */
void statfs_free(struct fs *fs);

#endif
