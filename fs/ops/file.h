/*
 * file: open files and the holds that keep their inodes.
 *
 * All opens of an inode on this mount share one hold, which stays for a moment after the last
 * close, so that opening again costs no change in the cluster. Private to fs/ops.
 */
#ifndef ORBIT_OPS_FILE_H
#define ORBIT_OPS_FILE_H

#include "fs/cache/data.h"
#include "fs/ops/mount.h"

struct file_inode; /* an inode that is open, or was a moment ago */

struct fs_file {
	struct fs *fs;
	struct file_inode *fi;
	struct data_inode *data;
	int flags;           /* O_* as opened */
	uint64_t errors;     /* of data's errors, how many this file has reported */
	uint64_t losses;     /* of the client's losses, how many it has reported */
	bool read;           /* its time of access was looked at */
	struct data_seq seq; /* read-ahead */
	TAILQ_ENTRY(fs_file) entry;
};

/* Makes fs->data and fs->files by fs->cfg; fs->env and fs->client must be there. 0 or -errno. */
int file_init(struct fs *fs);

/* Sends everything dirty and drops all holds; done(arg, rc) comes later, once, with the first error
 * that nobody was told, or -ETIMEDOUT when @timeout ns were not enough. */
void file_fini(struct fs *fs, uint64_t timeout, void (*done)(void *arg, int rc), void *arg);

/* Frees fs->data and fs->files, whatever is in them; nothing of theirs may be in flight (after
 * file_fini(), or when the client is closed). Harmless when file_init() did not succeed. */
void file_free(struct fs *fs);

/*
 * An open file on an inode of which this mount has just taken one hold (a create whose transaction
 * held it). @a is what the transaction made or saw. Never NULL.
 */
struct fs_file *file_new(struct fs *fs, uint64_t ino, int flags, const struct fs_attr *a);

/* A transaction that would have held @ino for us got no answer: the hold, if it is there, goes. */
void file_doubt(struct fs *fs, uint64_t ino);

/* @f opened once more, for something that may outlast it; fs_release() it. */
struct fs_file *file_again(struct fs_file *f);

/* The inode, which is open here, was made without a name (O_TMPFILE); it may get one, as long as
 * file_is_nameless(), and then has it: file_named(), harmless for any other. */
void file_nameless(struct fs *fs, uint64_t ino);
bool file_is_nameless(struct fs *fs, uint64_t ino);
void file_named(struct fs *fs, uint64_t ino);

/* The inode's last name is gone: its hold goes as soon as nobody has it open, then the reaper is
 * told. Harmless when it is not open here; false then: nobody but the caller will tell the reaper.
 */
bool file_unlinked(struct fs *fs, uint64_t ino);

/* Somebody changes the inode: if nobody has it open here, its hold goes. */
void file_recalled(struct fs *fs, uint64_t ino);

/* The policy that the inode's xattr gives it, when it is open here; else NULL: the mount's. */
const struct orbit_policy *file_policy(struct fs *fs, uint64_t ino);

/* The policy xattr of @ino was set (to @text) or removed (NULL) through this mount. */
void file_policy_set(struct fs *fs, uint64_t ino, const void *text, size_t len);

#endif
