/*
 * check: the passes of the consistency checker.
 *
 * All objects of all shards are listed, what they say is streamed into sorted runs (bounded memory;
 * runs.h), and joined by inode number: what one inode, its directory entries, its blocks, holds and
 * marks say of each other must agree. On a live filesystem the lists are no snapshot, so findings
 * count only when a second scan makes the same ones about objects of the same version; where data
 * on its way looks like damage (blocks come before the size) the second scan waits for it. A repair
 * is a transaction whose compares restate the damage, so it can't harm what has changed meanwhile.
 * If any shard could not be read whole nothing is deleted.
 *
 * Thread: the loop; check_run() pumps it through check_io until it is done.
 */
#ifndef ORBIT_CHECK_CHECK_H
#define ORBIT_CHECK_CHECK_H

#include "dht/client/orbit.h"
#include "fs/layout/layout.h"

enum check_problem {
	CHECK_NO_SUPER = 1,    /* no superblock: not a filesystem */
	CHECK_NO_ROOT,         /* the root directory is missing */
	CHECK_BAD_INODE,       /* an inode object that makes no sense */
	CHECK_BAD_ENTRY,       /* a directory entry that makes no sense */
	CHECK_ENTRY_NO_INODE,  /* an entry names an inode that does not exist */
	CHECK_ENTRY_TYPE,      /* an entry's type differs from its inode's */
	CHECK_ENTRY_SURPLUS,   /* a directory has a second entry */
	CHECK_NO_ENTRY,        /* an inode that no entry names */
	CHECK_NLINK,           /* link count: have, want */
	CHECK_PARENT,          /* a directory's parent: have, want */
	CHECK_CHILDREN,        /* a directory's count of entries: have, want */
	CHECK_CYCLE,           /* a directory that can't be reached from the root */
	CHECK_BYTES,           /* an inode's count of bytes in blocks: have, want */
	CHECK_PAST_END,        /* data past the end of the file: have = bytes */
	CHECK_BLOCK_NO_INODE,  /* a block of an inode that does not exist */
	CHECK_LOCKS_NO_INODE,  /* locks of an inode that does not exist */
	CHECK_BLOCK_OF_OTHER,  /* a block of something that is no regular file */
	CHECK_TRIM,            /* a cut that was begun and not finished */
	CHECK_ORPHAN_UNMARKED, /* nothing links to it, but it is not on the orphan list */
	CHECK_ORPHAN_MARK,     /* on the orphan list, but linked to or not there */
	CHECK_ORPHAN,          /* removed while open; nobody holds it any more. No damage */
	CHECK_PREPARED,        /* a cross-shard transaction without an outcome */
	CHECK_PROBLEMS
};

const char *check_problem_name(enum check_problem p); /* "entry-without-inode" */

struct check_finding {
	enum check_problem problem;
	uint64_t ino;     /* whose; 0: nobody's */
	uint64_t other;   /* the directory of an entry, the number of a block, ... */
	uint64_t cookie;  /* of an entry */
	uint64_t version; /* of the object that the repair changes */
	uint64_t have, want;
	bool fixed;
};

enum check_mode {
	CHECK_ONLY,   /* -n */
	CHECK_REPAIR, /* -y */
	CHECK_PREEN,  /* -p: only what is safe without a person: all but what deletes or makes up */
	CHECK_ASK,    /* ask() decides each */
};

struct check_io {
	/* Runs the loop until *done. 0, or -EINTR when a person wants to stop. */
	int (*pump)(void *arg, const bool *done);
	/* Called from callbacks when *done was set. */
	void (*wake)(void *arg);
	/* Lets @ns pass: 0, or -EINTR. NULL where nobody else can be at work on the filesystem. */
	int (*pause)(void *arg, uint64_t ns);
	/* Progress: pass 1 .. 4, parts done of all. May be NULL. */
	void (*progress)(void *arg, int pass, uint64_t done, uint64_t total);
	/* Each finding that counts, after its repair was tried (if it was). */
	void (*found)(void *arg, const struct check_finding *f);
	bool (*ask)(void *arg, const struct check_finding *f);
	void *arg;
};

struct check_config {
	enum check_mode mode;
	size_t memory;   /* bytes for sorting before runs go to files; default 64 MiB */
	const char *tmp; /* folder for runs; default $TMPDIR or /tmp */
	int64_t now;     /* ns since 1970, for what is made */
};

struct check_report {
	uint64_t inodes, directories, files, symlinks, specials, entries, blocks, bytes;
	uint64_t orphans, prepared;
	uint64_t found, fixed; /* problems that count (orphans do not) */
	uint64_t unread;       /* shards that could not be read whole */
	int unread_rc;         /* why, the first of them */
	unsigned scans;
};

/* Checks the filesystem that @c is connected to. 0 when the passes ran (the report says what was
 * found); -ENOENT no filesystem, -EINTR, -EIO (temporary files), -errno of a shard if none could
 * be read. */
int check_run(struct orbit_client *c, const struct check_config *cfg, const struct check_io *io,
	struct check_report *out);

#endif
