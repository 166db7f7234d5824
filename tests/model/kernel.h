/*
 * kernel: what the kernel of a machine with a mount remembers, and answers by itself: entries and
 * attributes for as long as it was told, pages until it is told to drop them (fs/fuse/notify.c).
 *
 * It remembers less than a real one: whole pages that were read or written, and nothing of an inode
 * whose name one of its own calls took or moved.
 */
#ifndef ORBIT_TESTS_MODEL_KERNEL_H
#define ORBIT_TESTS_MODEL_KERNEL_H

#include "fs/ops/fs.h"
#include "tests/model/model.h"

struct kernel;
struct flight;

/* It lasts as long as the process: it may be told something after the mount's end. */
struct kernel *kernel_new(struct env *e, struct fs *fs);
/* The mount ends. */
void kernel_leave(struct kernel *k);

/* Answers the call by itself: true, and *rc; f->s has the rest. */
bool kernel_answers(struct kernel *k, struct flight *f, int *rc);
/* The mount has answered. */
void kernel_saw(struct kernel *k, struct flight *f, int rc);
/* An entry of a listing. */
void kernel_listed(struct kernel *k, uint64_t dir, const struct fs_dirent *e);

#endif
