/*
 * acl: POSIX access control lists (acl(5)). Private to fs/ops.
 *
 * The kernel checks permissions by them; here they are kept, inherited, and go along with the mode.
 * They are extended attributes in the kernel's own form: a version (u32, 2), then entries of tag
 * (u16), permissions (u16) and ID (u32), little-endian, in the order of their tags.
 *
 * That an inode has one is said by a bit of its mode's slot (LAYOUT_MODE_ACL, _DACL), so whoever
 * compares the mode knows it too, and who has none pays nothing.
 */
#ifndef ORBIT_OPS_ACL_H
#define ORBIT_OPS_ACL_H

#include "fs/ops/mount.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_MAX 4096 /* bytes: as many entries as the kernel sends */

struct acl {
	size_t len; /* 0: none */
	uint8_t data[ACL_MAX];
};

bool acl_is_name(const char *name);

/* Takes a list from outside: 0, -E2BIG, -EINVAL. */
int acl_take(struct acl *a, const void *data, size_t len);

/* Says it no more than the permission bits do? */
bool acl_is_minimal(const struct acl *a);

/* The permission bits (0777) that it stands for. */
uint32_t acl_perm(const struct acl *a);

/* What chmod to @mode makes of it. */
void acl_chmod(struct acl *a, uint32_t mode);

/* A file is made with @mode in a directory with the default list @a: *a becomes its access list,
 * and the permission bits are returned. */
uint32_t acl_inherit(struct acl *a, uint32_t mode);

/* The list that TXN_GET_MAP @index found: 0 (a->len is 0 when there is none), -EIO. */
int acl_got(struct acl *a, const struct orbit_reply *r, int index);

/* setxattr (@value may be "") and removexattr (@value NULL) of acl_is_name(). */
void acl_change(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name, const void *value,
	size_t len, int flags);

#endif
