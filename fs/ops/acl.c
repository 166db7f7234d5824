/* acl: see acl.h. First what a list means, then setting one. */
#include "fs/ops/acl.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "fs/cache/inode.h"
#include "fs/ops/op.h"

#define HEAD 4
#define ENTRY 8
#define VERSION 2

enum {
	TAG_USER_OBJ = 1,
	TAG_USER = 2,
	TAG_GROUP_OBJ = 4,
	TAG_GROUP = 8,
	TAG_MASK = 16,
	TAG_OTHER = 32,
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static unsigned entries(const struct acl *a)
{
	return a->len ? (unsigned)(a->len - HEAD) / ENTRY : 0;
}

static unsigned tag_of(const struct acl *a, unsigned i)
{
	return get16(a->data + HEAD + i * ENTRY);
}

static unsigned perm_of(const struct acl *a, unsigned i)
{
	return get16(a->data + HEAD + i * ENTRY + 2);
}

static void set_perm(struct acl *a, unsigned i, unsigned perm)
{
	a->data[HEAD + i * ENTRY + 2] = (uint8_t)perm;
	a->data[HEAD + i * ENTRY + 3] = 0;
}

/* The entry with this tag, of which there is one at most; or entries(). */
static unsigned find(const struct acl *a, unsigned tag)
{
	unsigned i = 0;

	while (i < entries(a) && tag_of(a, i) != tag)
		i++;
	return i;
}

bool acl_is_name(const char *name)
{
	return !strcmp(name, ACL_ACCESS) || !strcmp(name, ACL_DEFAULT);
}

static int check(const struct acl *a)
{
	unsigned seen = 0, last = 0;

	for (unsigned i = 0; i < entries(a); i++) {
		unsigned tag = tag_of(a, i);

		switch (tag) {
		case TAG_USER:
		case TAG_GROUP:
			break;
		case TAG_USER_OBJ:
		case TAG_GROUP_OBJ:
		case TAG_MASK:
		case TAG_OTHER:
			if (seen & tag)
				return -EINVAL;
			break;
		default:
			return -EINVAL;
		}
		if (tag < last || perm_of(a, i) & ~7u)
			return -EINVAL;
		seen |= last = tag;
	}
	if ((seen & (TAG_USER_OBJ | TAG_GROUP_OBJ | TAG_OTHER)) !=
		(TAG_USER_OBJ | TAG_GROUP_OBJ | TAG_OTHER))
		return -EINVAL;
	return seen & (TAG_USER | TAG_GROUP) && !(seen & TAG_MASK) ? -EINVAL : 0;
}

int acl_take(struct acl *a, const void *data, size_t len)
{
	static const uint8_t head[HEAD] = {VERSION};

	if (len > ACL_MAX)
		return -E2BIG;
	if (len < HEAD + ENTRY || (len - HEAD) % ENTRY || memcmp(data, head, HEAD))
		return -EINVAL;
	memcpy(a->data, data, len);
	a->len = len;
	return check(a);
}

bool acl_is_minimal(const struct acl *a)
{
	return entries(a) <= 3;
}

/* Where the group's permission bits are kept: the mask, or the group's own entry. */
static unsigned class_of_group(const struct acl *a)
{
	unsigned mask = find(a, TAG_MASK);

	return mask < entries(a) ? mask : find(a, TAG_GROUP_OBJ);
}

uint32_t acl_perm(const struct acl *a)
{
	return perm_of(a, find(a, TAG_USER_OBJ)) << 6 | perm_of(a, class_of_group(a)) << 3 |
	       perm_of(a, find(a, TAG_OTHER));
}

void acl_chmod(struct acl *a, uint32_t mode)
{
	set_perm(a, find(a, TAG_USER_OBJ), mode >> 6 & 7);
	set_perm(a, class_of_group(a), mode >> 3 & 7);
	set_perm(a, find(a, TAG_OTHER), mode & 7);
}

uint32_t acl_inherit(struct acl *a, uint32_t mode)
{
	acl_chmod(a, acl_perm(a) & mode);
	return acl_perm(a);
}

int acl_got(struct acl *a, const struct orbit_reply *r, int index)
{
	struct txn_result res;

	a->len = 0;
	if (orbit_result(r, index, &res))
		return -EIO;
	return res.present && acl_take(a, res.data, res.len) ? -EIO : 0;
}

/* ---- setting one ---- */

struct change {
	struct op op;
	uint64_t ino;
	bool access, remove;
	int flags, get;
	struct acl acl; /* the new one */
	struct fs_attr attr;
};

static void change_read(struct op *o);

static void change_done(void *arg, const struct orbit_reply *r)
{
	struct change *x = arg;
	int rc = op_outcome(&x->op, r);

	if (rc == WHY_STALE_MODE) {
		op_retry(&x->op, change_read);
		return;
	}
	if (!rc) {
		hint_forget(x->op.fs, x->ino);
		mount_changed(x->op.fs, x->ino);
	}
	op_end(&x->op, rc);
}

/* May the caller's files of this group be set-group-ID? */
static bool in_group(const struct fs_call *c, uint32_t gid)
{
	for (unsigned i = 0; i < c->ngroups; i++) {
		if (c->groups[i] == gid)
			return true;
	}
	return c->uid == 0 || c->gid == gid;
}

static uint32_t mode_with(const struct change *x)
{
	uint32_t bit = x->access ? LAYOUT_MODE_ACL : LAYOUT_MODE_DACL, mode = x->attr.mode;

	if (x->remove)
		return mode & ~bit;
	if (!x->access)
		return mode | bit;
	mode = (mode & ~0777u) | acl_perm(&x->acl);
	if (!in_group(x->op.call, x->attr.gid))
		mode &= ~(uint32_t)S_ISGID;
	return acl_is_minimal(&x->acl) ? mode & ~bit : mode | bit;
}

static void change_submit(struct change *x)
{
	struct orbit_id id = layout_inode_id(x->ino);
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
	size_t klen = layout_xattr_key(x->access ? ACL_ACCESS : ACL_DEFAULT, key);
	uint32_t mode = mode_with(x);
	struct txn_build t;

	txn_init(&t);
	op_why(&x->op, txn_slot_eq(&t, &id, SLOT_MODE, x->attr.mode), WHY_STALE_MODE);
	op_why(&x->op, txn_slot_eq(&t, &id, SLOT_GID, x->attr.gid), WHY_STALE_MODE);
	if (x->remove || x->flags & XATTR_REPLACE)
		op_why(&x->op, txn_map_present(&t, &id, key, klen), -ENODATA);
	else if (x->flags & XATTR_CREATE)
		op_why(&x->op, txn_map_absent(&t, &id, key, klen), -EEXIST);
	if (mode != x->attr.mode)
		txn_set(&t, &id, SLOT_MODE, mode);
	if (mode & (x->access ? LAYOUT_MODE_ACL : LAYOUT_MODE_DACL))
		txn_put(&t, &id, key, klen, x->acl.data, x->acl.len);
	else
		txn_del(&t, &id, key, klen);
	txn_max(&t, &id, SLOT_CTIME, (uint64_t)mount_now(x->op.fs));
	inode_maybe_acl(x->op.fs->inodes, x->ino);
	op_submit(&x->op, x->ino, &t, change_done);
}

static void change_got(void *arg, const struct orbit_reply *r)
{
	struct change *x = arg;
	int rc = op_outcome(&x->op, r);

	if (!rc)
		rc = op_attr(x->op.fs, r, x->get, x->ino, &x->attr);
	if (rc == -ENOENT)
		rc = -ESTALE;
	if (!rc && S_ISLNK(x->attr.mode))
		rc = -EOPNOTSUPP;
	if (!rc && !x->access && !x->remove && !S_ISDIR(x->attr.mode))
		rc = -EACCES;
	if (rc)
		op_end(&x->op, rc);
	else
		change_submit(x);
}

static void change_read(struct op *o)
{
	struct change *x = container_of(o, struct change, op);
	struct orbit_id id = layout_inode_id(x->ino);
	struct txn_build t;

	txn_init(&t);
	x->get = txn_get(&t, &id);
	op_submit(o, x->ino, &t, change_got);
}

void acl_change(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name, const void *value,
	size_t len, int flags)
{
	struct change *x;
	int rc = 0;

	if (!mount_writable(fs, c))
		return;
	x = op_new(sizeof(*x), fs, c);
	x->ino = ino;
	x->access = !strcmp(name, ACL_ACCESS);
	x->remove = !value;
	x->flags = flags;
	if (value)
		rc = acl_take(&x->acl, value, len);
	if (rc)
		op_end(&x->op, rc);
	else
		change_read(&x->op);
}
