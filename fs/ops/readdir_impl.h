/*
 * readdir_impl: what giving out entries (readdir.c) and fetching them (readdir_fetch.c) share.
 */
#ifndef ORBIT_OPS_READDIR_IMPL_H
#define ORBIT_OPS_READDIR_IMPL_H

#include "fs/ops/op.h"
#include "fs/ops/readdir.h"

#define BATCH_MAX 512

struct entry {
	const uint8_t *key;    /* in a frame that the batch keeps */
	const uint8_t *object; /* encoded; NULL: not here, or not asked for */
	uint64_t ino;
	uint16_t klen;
	uint8_t type;
};

struct fs_dir {
	TAILQ_ENTRY(fs_dir) entry;
	struct fs *fs;
	struct fs_attr attr; /* as last seen */
	uint64_t losses;     /* of the client's losses, how many it has reported */
	bool released, touched;
	struct readdir *busy;          /* at work */
	TAILQ_HEAD(, readdir) waiting; /* for their turn */

	/* The batch. */
	struct entry *e;
	unsigned n;
	bool valid, plus;
	bool more;        /* there are entries behind it */
	uint64_t start;   /* it begins after this cookie */
	uint64_t changes; /* fs->changes when it was asked for */
	uint64_t when;    /* env_now() then */
	unsigned want;    /* entries to ask for next */
	struct frame **frame;
	unsigned nframes;

	/* Where the last reply ended. */
	uint64_t cookie;
	unsigned pos;
};

struct readdir {
	struct op op;
	struct fs_dir *dir;
	uint64_t cookie;
	bool plus;
	unsigned taken; /* entries given to fill() */
	bool (*fill)(void *arg, const struct fs_dirent *e);
	void *arg;
	int get, range;
	uint64_t changes;
	unsigned chunks; /* of the second round, not answered yet */
	int rc;
	TAILQ_ENTRY(readdir) entry;
};

/* The call is over; the next one's turn. */
void readdir_end(struct readdir *rd, int rc);
/* There is a batch: goes on giving out. */
void readdir_give(struct readdir *rd);

void readdir_batch_drop(struct fs_dir *d);
/* A batch from @key on, which may be of the present one. It begins after the cookie @after. */
void readdir_fetch(
	struct readdir *rd, uint64_t after, const uint8_t *key, size_t klen, bool inclusive);
void readdir_fetch_after(struct readdir *rd, uint64_t cookie);

#endif
