/*
 * stale: callers who were told ESTALE walk their path once more. Private to fs/ops.
 *
 * When a name means another inode by the time that the kernel works on the one it found, it is told
 * ESTALE, and looks all names of the path up again: once. What it finds then has to be there until
 * it is done with it, as on a local filesystem, where an inode that was found does not go; else the
 * caller would see ESTALE, which nobody expects. So such a lookup takes a hold of what is no
 * directory (names.c), and what a directory was like is told for a moment if it goes.
 */
#ifndef ORBIT_OPS_STALE_H
#define ORBIT_OPS_STALE_H

#include "fs/ops/mount.h"

/* The caller is told ESTALE. */
void stale_told(struct fs *fs, const struct fs_call *call);
/* Was that lately? */
bool stale_again(const struct fs *fs, const struct fs_call *call);

/* Such a caller found this directory. */
void stale_found(struct fs *fs, const struct fs_attr *a);
/* What that directory was like, if it was found lately; NULL: it was not. */
struct fs_attr *stale_attr(const struct fs *fs, uint64_t ino);

void stale_free(struct fs *fs);

#endif
