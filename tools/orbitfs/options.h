/*
 * options: what orbitfs was asked to mount, where and how, out of the command line of orbitfs(8),
 * of mount.orbitfs or of /etc/fstab.
 */
#ifndef TOOLS_ORBITFS_OPTIONS_H
#define TOOLS_ORBITFS_OPTIONS_H

#include "fs/ops/fs.h"
#include "tools/common/cluster.h"

struct options {
	struct cluster_where where;
	struct orbit_policy policy;
	struct fs_config fs;
	uint64_t timeout; /* ns for the first connection; 0: for ever */
	bool allow_other;
	bool noacl;
	bool foreground, debug, verbose;
	bool fake; /* mount -f: everything but mounting */
	bool help, version;
	/* Strings of the caller's argv or owned; all absolute paths. */
	char *mountpoint;
	char *store;
	char *log;
	char *pid;
	char *source;      /* as /proc/mounts shows it */
	struct buf kernel; /* options for the kernel, comma-separated, NUL-terminated */
};

/* 0; -EINVAL and one line in @why. */
int options_parse(struct options *o, int argc, char **argv, char *why, size_t why_len);
void options_fini(struct options *o);

/* The usage, for --help. */
extern const char options_help[];

#endif
