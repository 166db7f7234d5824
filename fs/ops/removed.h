/*
 * removed: directories that were removed here and that the kernel still knows. Private to fs/ops.
 *
 * Somebody may work in them. Nothing holds such a directory's object, which is gone at once; what a
 * local filesystem tells of it is told from memory, until the kernel forgets it (fs_forget()).
 */
#ifndef ORBIT_OPS_REMOVED_H
#define ORBIT_OPS_REMOVED_H

#include "fs/ops/mount.h"

/* The directory was removed here; @a as it was before. */
void removed_add(struct fs *fs, const struct fs_attr *a);

/* Its object is gone. Was @ino removed here, or is it a directory that is open here, or that was
 * found by one who had to look again (stale.h)? Then its attributes as seen last, but dead: no
 * links and no entries. */
bool removed_remembered(struct fs *fs, uint64_t ino, struct fs_attr *a);
/* Its owner, mode or times were changed all the same: they are to be remembered. */
void removed_change(struct fs *fs, const struct fs_attr *a);

void removed_free(struct fs *fs);

#endif
