/*
 * Extended attributes: entries of the inode's map. One transaction each.
 *
 * The kernel asks for security.capability before it writes, and for access control lists when it
 * checks permissions. The answer "none" is remembered as attributes are, so that neither costs a
 * transaction each time.
 */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "dht/base/buf.h"
#include "fs/cache/inode.h"
#include "fs/ops/acl.h"
#include "fs/ops/file.h"
#include "fs/ops/flush.h"
#include "fs/ops/op.h"
#include "fs/ops/removed.h"
#include "fs/ops/policy.h"

#define CAPS_NAME "security.capability"
#define LIST_ENTRIES 1024
#define LIST_BYTES (1u << 20)

struct xattr {
	struct op op;
	uint64_t ino;
	int get, read;
	bool root;
	bool caps;   /* it is CAPS_NAME */
	bool acl;    /* it is one of acl_is_name() */
	bool policy; /* it is POLICY_XATTR */
	void *value; /* set: a copy of a policy's text (NULL: removed) or of capabilities */
	size_t len;
	int flags;
	struct buf names; /* list: so far */
	size_t klen;      /* list: where to go on */
	uint8_t key[1 + LAYOUT_XATTR_NAME_MAX];
};

static bool begins(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

/* May the caller use this name? Linux' errors. */
static int check_name(const struct fs_call *c, const char *name, bool write)
{
	size_t len = strnlen(name, LAYOUT_XATTR_NAME_MAX + 1);
	const char *rest = strchr(name, '.');

	if (len == 0 || len > LAYOUT_XATTR_NAME_MAX)
		return -ERANGE;
	if (begins(name, "trusted.") && c->uid != 0)
		return write ? -EPERM : -ENODATA;
	if (acl_is_name(name))
		return 0;
	if (!begins(name, "user.") && !begins(name, "security.") && !begins(name, "trusted."))
		return -EOPNOTSUPP;
	return rest[1] ? 0 : -EINVAL;
}

static struct xattr *xattr_new(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name)
{
	struct xattr *x = op_new(sizeof(*x), fs, c);

	x->ino = ino;
	x->root = c->uid == 0;
	if (name) {
		x->klen = layout_xattr_key(name, x->key);
		x->caps = !strcmp(name, CAPS_NAME);
		x->acl = acl_is_name(name);
		x->policy = !strcmp(name, POLICY_XATTR);
	}
	return x;
}

static void xattr_end(struct xattr *x, int rc)
{
	/* list's names are good until the caller has been told */
	struct buf names = x->names;

	free(x->value);
	op_end(&x->op, rc);
	buf_fini(&names);
}

/* ---- get ---- */

static void get_done(void *arg, const struct orbit_reply *r)
{
	struct xattr *x = arg;
	struct fs *fs = x->op.fs;
	struct fs_call *call = x->op.call;
	struct txn_result res;
	struct fs_attr a;
	int rc = op_outcome(&x->op, r);

	if (!rc)
		rc = op_attr(fs, r, x->get, x->ino, &a);
	if (rc == -ENOENT)
		rc = removed_remembered(fs, x->ino, &a) ? -ENODATA : -ESTALE;
	if (!rc && orbit_result(r, x->read, &res))
		rc = -EIO;
	if (!rc && x->acl)
		inode_give_acl(fs->inodes, x->ino);
	if (!rc && !res.present) {
		rc = -ENODATA;
		if (x->caps) {
			hint_no_caps(fs, x->ino);
			mount_no_caps(fs, x->ino);
		}
	}
	if (!rc) {
		call->data = res.data;
		call->len = res.len;
		call->keep = r->frame[0];
	}
	xattr_end(x, rc);
}

static bool has_no_caps(struct fs *fs, uint64_t ino)
{
	const struct hint_inode *h = hint_inode(fs, ino);

	return inode_no_caps(fs->inodes, ino) || (h && h->no_caps_until > env_now(fs->env));
}

static bool has_no_acl(struct fs *fs, uint64_t ino, const char *name)
{
	uint32_t bit = strcmp(name, ACL_ACCESS) ? LAYOUT_MODE_DACL : LAYOUT_MODE_ACL;
	const struct hint_inode *h = hint_inode(fs, ino);

	if (fs->cfg.cache == FS_CACHE_RELAXED)
		return h && !(h->mode & bit) && h->seen + fs->cfg.relaxed > env_now(fs->env);
	if (!inode_no_acl(fs->inodes, ino, bit))
		return false;
	inode_give_acl(fs->inodes, ino);
	return true;
}

void fs_getxattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name)
{
	struct orbit_id id = layout_inode_id(ino);
	int rc = check_name(c, name, false);
	struct txn_build t;
	struct xattr *x;

	if (!rc && !strcmp(name, CAPS_NAME) && has_no_caps(fs, ino))
		rc = -ENODATA;
	if (!rc && acl_is_name(name) && has_no_acl(fs, ino, name))
		rc = -ENODATA;
	if (rc) {
		mount_done(c, rc);
		return;
	}
	x = xattr_new(fs, c, ino, name);
	txn_init(&t);
	x->get = txn_get(&t, &id);
	x->read = txn_get_map(&t, &id, x->key, x->klen);
	if (x->caps || x->acl)
		inode_wish(fs->inodes, &t, ino);
	op_submit(&x->op, ino, &t, get_done);
}

/* ---- set, remove ---- */

static void change_done(void *arg, const struct orbit_reply *r)
{
	struct xattr *x = arg;
	struct fs *fs = x->op.fs;
	int rc = op_outcome(&x->op, r);

	if (!rc) {
		mount_changed(fs, x->ino);
		if (x->policy)
			file_policy_set(fs, x->ino, x->value, x->len);
	}
	xattr_end(x, rc);
}

/* Begins a change; not sure of capabilities any more from now on. */
static void change_init(struct xattr *x, struct txn_build *t)
{
	struct orbit_id id = layout_inode_id(x->ino);
	struct hint_inode *h = hint_inode(x->op.fs, x->ino);

	if (x->caps && h)
		h->no_caps_until = 0;
	if (x->caps)
		inode_maybe_caps(x->op.fs->inodes, x->ino);
	txn_init(t);
	op_why(&x->op, txn_exists(t, &id), -ESTALE);
}

static void change_submit(struct xattr *x, struct txn_build *t)
{
	struct orbit_id id = layout_inode_id(x->ino);

	txn_max(t, &id, SLOT_CTIME, (uint64_t)mount_now(x->op.fs));
	op_submit(&x->op, x->ino, t, change_done);
}

/* A policy that could not be obeyed is refused when it is set. */
static int check_policy(const struct fs *fs, const void *value, size_t len)
{
	struct orbit_policy p = fs->cfg.policy;
	char *text;
	int rc;

	if (len > POLICY_TEXT_MAX)
		return -EINVAL;
	text = mem_dup(value, len);
	rc = policy_parse(text, &p, NULL, 0);
	free(text);
	return rc;
}

static void set_submit(struct xattr *x, const void *value, size_t len)
{
	struct orbit_id id = layout_inode_id(x->ino);
	struct txn_build t;

	change_init(x, &t);
	if (x->flags & XATTR_CREATE)
		op_why(&x->op, txn_map_absent(&t, &id, x->key, x->klen), -EEXIST);
	if (x->flags & XATTR_REPLACE)
		op_why(&x->op, txn_map_present(&t, &id, x->key, x->klen), -ENODATA);
	txn_put(&t, &id, x->key, x->klen, value, len);
	change_submit(x, &t);
}

static void set_flushed(void *arg, int rc)
{
	struct xattr *x = arg;

	(void)rc; /* reported to who wrote, when it closes or syncs */
	flush_unpark(&x->op);
	set_submit(x, x->value, x->len);
}

void fs_setxattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name,
	const void *value, size_t len, int flags)
{
	int rc = check_name(c, name, true);
	struct xattr *x;

	if (!rc && flags & ~(XATTR_CREATE | XATTR_REPLACE))
		rc = -EINVAL;
	if (!rc && len > LAYOUT_XATTR_VALUE_MAX)
		rc = -E2BIG;
	if (!rc && !strcmp(name, POLICY_XATTR))
		rc = check_policy(fs, value, len);
	if (rc) {
		mount_done(c, rc);
		return;
	}
	if (acl_is_name(name)) {
		acl_change(fs, c, ino, name, value, len, flags);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	x = xattr_new(fs, c, ino, name);
	x->flags = flags;
	if (x->policy || x->caps) {
		x->value = mem_dup(value, len);
		x->len = len;
	}
	/* bytes that were written before would take them away when they are sent */
	if (x->caps && data_dirty(fs->data, ino)) {
		flush_park(&x->op);
		data_flush(fs->data, ino, set_flushed, x);
	} else {
		set_submit(x, value, len);
	}
}

void fs_removexattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name)
{
	struct orbit_id id = layout_inode_id(ino);
	int rc = check_name(c, name, true);
	struct txn_build t;
	struct xattr *x;

	if (rc) {
		mount_done(c, rc);
		return;
	}
	if (acl_is_name(name)) {
		acl_change(fs, c, ino, name, NULL, 0, 0);
		return;
	}
	if (!mount_writable(fs, c))
		return;
	x = xattr_new(fs, c, ino, name);
	change_init(x, &t);
	op_why(&x->op, txn_map_present(&t, &id, x->key, x->klen), -ENODATA);
	txn_del(&t, &id, x->key, x->klen);
	change_submit(x, &t);
}

/* ---- list ---- */

static void list_more(struct xattr *x);

/* Adds the names of one answer: 1 when there are more, 0, -EIO, -E2BIG. */
static int list_parse(struct xattr *x, const struct txn_result *res)
{
	struct cur c = cur_of(res->data, res->len);
	bool more = cur_u8(&c) != 0;
	uint32_t n = cur_u32(&c);

	while (n-- > 0 && cur_ok(&c)) {
		size_t klen, vlen;
		const char *key = cur_blob(&c, TXN_KEY_MAX, &klen);

		cur_blob(&c, TXN_VALUE_MAX, &vlen);
		cur_u8(&c);
		if (!cur_ok(&c) || klen < 2 || klen > sizeof(x->key) || key[0] != 'x')
			return -EIO;
		memcpy(x->key, key, klen);
		x->klen = klen;
		if (!x->root && klen > 8 && !memcmp(key + 1, "trusted.", 8))
			continue;
		buf_bytes(&x->names, key + 1, klen - 1);
		buf_u8(&x->names, 0);
	}
	if (!cur_ok(&c) || x->names.err)
		return -EIO;
	if (x->names.len > XATTR_LIST_MAX)
		return -E2BIG;
	return more;
}

static void list_done(void *arg, const struct orbit_reply *r)
{
	struct xattr *x = arg;
	struct txn_result res;
	struct fs_attr a;
	int rc = op_outcome(&x->op, r);

	if (!rc && orbit_result(r, x->read, &res))
		rc = -EIO;
	if (!rc && res.present)
		rc = list_parse(x, &res);
	else if (!rc && !removed_remembered(x->op.fs, x->ino, &a))
		rc = -ESTALE;
	if (rc > 0) {
		list_more(x);
		return;
	}
	if (!rc) {
		x->op.call->data = x->names.data ? x->names.data : (const void *)"";
		x->op.call->len = x->names.len;
		x->op.call->keep = NULL;
	}
	xattr_end(x, rc);
}

static void list_more(struct xattr *x)
{
	struct orbit_id id = layout_inode_id(x->ino);
	struct txn_build t;

	txn_init(&t);
	x->read = txn_range(&t, &id, x->key, x->klen, false, LIST_ENTRIES, LIST_BYTES, NULL);
	op_submit(&x->op, x->ino, &t, list_done);
}

void fs_listxattr(struct fs *fs, struct fs_call *c, uint64_t ino)
{
	struct xattr *x = xattr_new(fs, c, ino, NULL);

	/* entries of a directory have keys below, nothing has keys above */
	x->key[0] = 'x';
	x->klen = 1;
	list_more(x);
}
