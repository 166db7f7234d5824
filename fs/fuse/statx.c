/*
 * The answer to STATX (protocol 7.39), which libfuse of this age does not know. The kernel asks it
 * when somebody wants the time of birth, else GETATTR.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fs/fuse/session.h"

struct sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};

/* struct fuse_statx_out, with its struct fuse_statx */
struct statx_out {
	uint64_t valid; /* seconds */
	uint32_t valid_nsec, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare0;
	uint64_t ino, size, blocks, attributes_mask;
	struct sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare2[14];
};
_Static_assert(sizeof(struct statx_out) == 288, "as the kernel has it");

static struct sx_time sx_time(struct timespec t)
{
	return (struct sx_time){.sec = t.tv_sec, .nsec = (uint32_t)t.tv_nsec};
}

void statx_reply(fuse_req_t req, const struct fs_attr *a, uint64_t ino, uint64_t keep)
{
	struct fs_attr birth = {.mtime = a->btime};
	struct stat st, b;
	struct statx_out out;

	layout_stat(a, &st);
	layout_stat(&birth, &b); /* for its way of cutting a time in two */
	out = (struct statx_out){
		.valid = keep / ENV_SEC,
		.valid_nsec = (uint32_t)(keep % ENV_SEC),
		.mask = STATX_BASIC_STATS | STATX_BTIME,
		.blksize = (uint32_t)st.st_blksize,
		.nlink = (uint32_t)st.st_nlink,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.mode = (uint16_t)st.st_mode,
		.ino = ino,
		.size = (uint64_t)st.st_size,
		.blocks = (uint64_t)st.st_blocks,
		.atime = sx_time(st.st_atim),
		.btime = sx_time(b.st_mtim),
		.ctime = sx_time(st.st_ctim),
		.mtime = sx_time(st.st_mtim),
		.rdev_major = major(st.st_rdev),
		.rdev_minor = minor(st.st_rdev),
	};
	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}
