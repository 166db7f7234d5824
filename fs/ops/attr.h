/*
 * attr: changing attributes within a transaction. Private to fs/ops.
 */
#ifndef ORBIT_OPS_ATTR_H
#define ORBIT_OPS_ATTR_H

#include "fs/ops/mount.h"

/*
 * Adds the changes that @what names to @t and makes them in *a, the attributes as they are now (of
 * which the mode's type has to be right for FS_SET_MODE, the whole mode for FS_SET_KILL_SUID, and
 * the rest only if the caller wants the outcome). The size is the caller's business. ctime rises to
 * @now, or is set.
 */
void attr_put(struct txn_build *t, struct fs_attr *a, unsigned what, const struct fs_attr *set,
	int64_t now);

/* The mode without its set-id bits, as when somebody unprivileged writes to the file. */
uint32_t attr_mode_killed(uint32_t mode);

#endif
