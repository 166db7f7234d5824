/*
 * mount: what all operations of one mount share. Private to fs/ops and fs/cache's callers.
 */
#ifndef ORBIT_OPS_MOUNT_H
#define ORBIT_OPS_MOUNT_H

#include "dht/client/orbit.h"
#include "fs/ops/fs.h"

struct data_cache;

struct fs {
	struct env *env;
	struct orbit_client *client;
	struct fs_config cfg;
	struct data_cache *data;  /* fs/cache: write-behind and read-ahead of file data */
	struct file_table *files; /* inodes open on this mount and their holds (file.h) */
	uint32_t next_counter;    /* for inode numbers of this session */
	uint32_t counter_session; /* the session that next_counter counts for */
	struct reaper *reaper;    /* removes orphans that nobody holds (reaper.c) */
				  /* ... more as the families need it */
};

/* A new inode number: a directory's (or spread file's) own position, or beside @dir. 0 and *ino, or
 * -ENOSPC when this session has given out all of its numbers. */
int mount_new_ino(struct fs *fs, bool own, uint64_t dir, uint64_t *ino);

/* Now, for time stamps. */
int64_t mount_now(struct fs *fs);

/*
 * Submits @t for @call by the policy of the mount and of @ino (0: none): remembers the handle for
 * fs_interrupt(). The callback must end the call or submit again.
 */
void mount_submit(struct fs *fs, struct fs_call *call, uint64_t ino, struct txn_build *t,
	orbit_done_cb *done, void *arg);

/* Ends the call: clears its handle, calls done once. */
void mount_done(struct fs_call *call, int rc);

#endif
