/*
 * space: holes, for operations that have the file's lease in use. Private to fs/ops.
 */
#ifndef ORBIT_OPS_SPACE_H
#define ORBIT_OPS_SPACE_H

#include "fs/ops/file.h"

/* Makes a hole of [from, to), which lies within the file; the exclusive lease is in use. */
void space_punch(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t from, uint64_t to);

/* As fs_lseek(). */
void space_seek(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, int whence);

#endif
