/*
 * refresh: the newest attributes of an open file. Private to fs/ops.
 */
#ifndef ORBIT_OPS_REFRESH_H
#define ORBIT_OPS_REFRESH_H

#include "fs/ops/file.h"

/* Reads the attributes of @f for @call, which the file's data then goes by, and finishes a trim
 * that is found; done(arg, rc). */
void refresh(struct fs *fs, struct fs_call *call, struct fs_file *f,
	void (*done)(void *arg, int rc), void *arg);

/* It is read: notes the time of access. */
void read_touch(struct fs *fs, struct fs_file *f);

#endif
