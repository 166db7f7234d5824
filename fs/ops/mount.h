/*
 * mount: what all operations of one mount share. Private to fs/ops and fs/cache's callers.
 */
#ifndef ORBIT_OPS_MOUNT_H
#define ORBIT_OPS_MOUNT_H

#include <sys/queue.h>

#include "dht/client/orbit.h"
#include "fs/ops/fs.h"

struct cut;
struct data_cache;
struct inode_cache;
struct hints;
struct mount_txn;
struct file_table;
struct flush;
struct lock_table;
struct reaper;
struct removed;
struct stale;
struct statfs_cache;
struct unmount;

#define MOUNT_STAMPS 4096 /* powers of two */
#define MOUNT_CHANGED_DIRS 64

/* A directory that this mount has changed last (dirchange.h). */
struct changed_dir {
	struct fs_attr attr; /* ino 0: none */
	uint64_t sent, done; /* env_now() then */
	bool ready;          /* attr may be handed out; else only its version counts */
};

struct fs {
	struct env *env;
	struct orbit_client *client;
	struct fs_config cfg;
	struct data_cache *data;    /* fs/cache: write-behind and read-ahead of file data */
	struct inode_cache *inodes; /* fs/cache: what is remembered under leases */
	struct file_table *files;   /* open files and their holds (file.c) */
	TAILQ_HEAD(, flush) syncs;  /* calls that wait for disks (flush.c) */
	TAILQ_HEAD(, cut) cuts;     /* files whose size is being changed (truncate.c) */
	struct {
		uint32_t session; /* ours when the range was taken; another has one of its own */
		uint32_t range;   /* upper part of the numbers that are given out now */
		uint32_t next;    /* counter */
		uint32_t reserve; /* the range after that; 0: none yet */
		bool asked;       /* for it */
		int rc;           /* why there is none */
	} numbers;                /* of inodes (number.c) */
	struct lock_table *locks; /* flock, fcntl (lock.c) */
	struct reaper *reaper;    /* removes orphans that nobody holds (reaper.c) */

	struct hints *hints;                 /* what was seen last of inodes and names (hint.h) */
	TAILQ_HEAD(mount_dirs, fs_dir) dirs; /* open directories (readdir.c) */
	struct stale *stale;                 /* who was told ESTALE (stale.c) */
	struct removed *removed;     /* directories that the kernel still knows (removed.c) */
	struct statfs_cache *statfs; /* statfs.c */
	TAILQ_HEAD(mount_txns, mount_txn) txns; /* what mount_submit() sent and awaits */
	TAILQ_HEAD(, mount_txn) spare;          /* to be used again */
	struct mount_txn *current;              /* whose callback runs, */
	const struct orbit_reply *reply;        /* with that */
	unsigned nops;                          /* operations that mount_op_begin() counted */
	TAILQ_HEAD(mount_asked, fs_call) asked; /* interrupted calls that may yet stall */
	struct env_timer ask;                   /* asks again for them; armed only while any */
	uint64_t changes;                       /* mount_changed() so far */
	uint64_t stamp[MOUNT_STAMPS];           /* by hash of inode: changes at the last one */
	struct changed_dir changed_dirs[MOUNT_CHANGED_DIRS];
	void (*idle)(struct fs *fs); /* fs_unmount() waits: called when nops is 0 */
	bool ending;                 /* what is submitted now is cancelled */
	struct unmount *ending_arg;  /* fs_unmount() is at work */
};

/* A new inode number: a directory's (or spread file's) own position, or beside @dir. 0 and *ino;
 * -EAGAIN: not yet, the next range of numbers is on its way; -errno: there is none to be had. */
int mount_new_ino(struct fs *fs, bool own, uint64_t dir, uint64_t *ino);

/* Now, for time stamps. */
int64_t mount_now(struct fs *fs);

/*
 * Submits @t for @call (NULL: for nobody, in the background) by the policy of the mount and of @ino
 * (0: none): remembers the handle for fs_interrupt(), and fs_unmount() waits for it. The callback
 * must end the call or submit again. It never sees -ESTALE (the session ended) for a transaction
 * that writes: what became of it is not known, so that is -EIO.
 */
void mount_submit(struct fs *fs, struct fs_call *call, uint64_t ino, struct txn_build *t,
	orbit_done_cb *done, void *arg);

/*
 * The same for what else the client carries: m = mount_track(..., done, arg), then
 * mount_tracked(m, orbit_x(..., mount_track_done, m)).
 */
struct mount_txn *mount_track(struct fs *fs, struct fs_call *call, orbit_done_cb *done, void *arg);
void mount_tracked(struct mount_txn *m, orbit_handle h);
orbit_done_cb mount_track_done;

/*
 * What the reply whose callback runs has shown may be remembered (fs/cache/inode.h). mount_saw():
 * attributes that a transaction without writes has read. mount_saw_entry(): the same for an entry
 * (@ino 0: there is none). After a transaction that changes: mount_made(), what an inode is like
 * now; mount_made_entry(), the same for an entry (@ino 0: gone). After either, mount_no_caps(): it
 * has no security.capability.
 */
void mount_saw(struct fs *fs, const struct fs_attr *a);
void mount_saw_entry(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type);
void mount_made(struct fs *fs, const struct fs_attr *a);
void mount_made_entry(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type);
void mount_no_caps(struct fs *fs, uint64_t ino);

/* Nothing more is to be said of the transaction whose callback runs: what it made is remembered. */
void mount_settle(struct fs *fs);

/* Ends the call: clears its handle, calls done once. */
void mount_done(struct fs_call *call, int rc);

/* Counts an operation that lives on between transactions (waits for a timer, a flush): fs_unmount()
 * waits for it, too. */
void mount_op_begin(struct fs *fs);
void mount_op_end(struct fs *fs);

/* Cancels what is in flight and all that is still submitted. */
void mount_cancel_all(struct fs *fs);
void mount_free_spare(struct fs *fs);

/* False, and the call ended with -EROFS, when the mount is read-only. */
bool mount_writable(struct fs *fs, struct fs_call *call);

/*
 * To be called when a transaction of this mount that changed the inode @ino (attributes, entries,
 * being there at all) is done. What was read before and is handed out later - entries of a
 * directory with their attributes - asks mount_changed_since() first: the kernel must not be told
 * an older state than it has seen.
 */
void mount_changed(struct fs *fs, uint64_t ino);
/* May @ino have changed since @mark, a value that fs->changes had when the read was submitted? */
bool mount_changed_since(const struct fs *fs, uint64_t ino, uint64_t mark);

#endif
