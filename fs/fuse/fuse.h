/*
 * fuse: the seam to the kernel: requests decoded, operations called, replies sent. No policy, no
 * state but the session.
 *
 * The FUSE descriptor is watched by the loop; requests are read until there are none. Each request
 * gets exactly one reply. Kernel notifications go out from a thread of their own.
 */
#ifndef ORBIT_FUSE_FUSE_H
#define ORBIT_FUSE_FUSE_H

#include <stdbool.h>

#include "dht/net/loop.h"
#include "fs/ops/fs.h"

struct fuse_mount;

struct fuse_mount_options {
	const char *mountpoint;
	const char *source;      /* shown in /proc/mounts */
	const char *kernel_opts; /* further mount options for the kernel ("ro,nosuid"), or NULL */
	bool allow_other;
	bool noacl; /* access control lists are neither kept nor looked at */
	bool read_only;
	bool debug;
	/* The kernel has greeted us: the mount answers. */
	void (*ready)(void *arg);
	/* The kernel has let go: unmounted, or the connection was aborted. */
	void (*gone)(void *arg);
	void *arg;
};

/* Mounts @fs. 0; on error -errno and one line in @why. */
int fuse_mount_new(struct fuse_mount **out, struct loop *lp, struct fs *fs,
	const struct fuse_mount_options *opts, char *why, size_t why_len);

/* Unmounts if that has not happened, ends what is pending with EIO-class errors, frees. */
void fuse_mount_free(struct fuse_mount *m);

#endif
