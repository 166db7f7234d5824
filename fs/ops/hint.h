/*
 * hint: what this mount saw last of inodes and of names.
 *
 * Guesses, nothing more: whoever builds a transaction on one restates it as a compare, and reads
 * afresh when that fails. So that create, unlink and rename need one transaction instead of a read
 * before each. Two tables of fixed size; a newer hint takes the place of an older one. Private to
 * fs/ops.
 */
#ifndef ORBIT_OPS_HINT_H
#define ORBIT_OPS_HINT_H

#include "fs/ops/mount.h"

struct hint_inode {
	uint64_t ino; /* 0: none */
	uint32_t mode, gid, nlink;
	int64_t mtime, ctime;
	uint64_t size;
	uint64_t children;
	uint64_t parent;
	uint64_t seen;          /* env_now() */
	uint64_t no_caps_until; /* env_now() until which it is believed to have no
				   security.capability; FS_CACHE_RELAXED only */
};

struct hints *hint_new(void);
void hint_free(struct hints *h);

/* NULL when nothing is known. Borrowed until the next call that learns. */
struct hint_inode *hint_inode(struct fs *fs, uint64_t ino);
void hint_learn(struct fs *fs, const struct fs_attr *a);
void hint_forget(struct fs *fs, uint64_t ino);
/* It has no security.capability: remembered for as long as the mount believes what it has seen. */
void hint_no_caps(struct fs *fs, uint64_t ino);

/* What the entry of @dir with @key named: true and *ino (0: there was none), *type; false when
 * nothing is known. */
bool hint_name(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t *ino, uint8_t *type);
void hint_learn_name(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type);
void hint_forget_name(struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen);

/* The entries of @dir went from @children and @nlink by as much; its times are @now at least. */
void hint_dir_changed(struct fs *fs, uint64_t dir, int children, int nlink, int64_t now);

#endif
