/* What calls on extended attributes do. */
#include <errno.h>
#include <inttypes.h>
#include <sys/xattr.h>

#include "tests/model/model_step.h"

static int find_xattr(const struct model_inode *i, const char *name)
{
	for (int k = 0; k < MODEL_XATTRS; k++)
		if (i->xattr[k].name && !strcmp(i->xattr[k].name, name))
			return k;
	return -1;
}

static bool step_setxattr(struct step *x, struct model_inode *i)
{
	const struct call *c = x->c;
	int at = find_xattr(i, c->name);

	if (c->flags & XATTR_CREATE && at >= 0)
		return step_rc(x, -EEXIST);
	if (c->flags & XATTR_REPLACE && at < 0)
		return step_rc(x, -ENODATA);
	if (!step_rc(x, 0))
		return false;
	for (int k = 0; at < 0; k++)
		if (!i->xattr[k].name)
			at = k;
	bytes_unref(i->xattr[at].value);
	i->xattr[at].name = c->name;
	i->xattr[at].value = bytes_new(NULL, c->len);
	model_pattern(i->xattr[at].value->p, 0, c->len, c->salt);
	step_touch(x, i, false);
	return true;
}

static bool step_listxattr(struct step *x, const struct model_inode *i)
{
	const char *p = (const char *)x->s->data;
	size_t left = x->s->len, n = 0;

	if (!step_rc(x, 0))
		return false;
	for (; x->s->known && left; n++) {
		size_t len = strnlen(p, left) + 1;

		if (len > left || find_xattr(i, p) < 0)
			return step_no(x, "lists an attribute that is not there");
		p += len;
		left -= len;
	}
	for (int k = 0; k < MODEL_XATTRS && x->s->known; k++)
		n -= i->xattr[k].name != NULL;
	return n == 0 || step_no(x, "lists not all attributes, or one twice");
}

bool step_xattr(struct step *x)
{
	const struct call *c = x->c;
	struct model_inode *i = step_inode(x, c->ino);
	int at;

	if (step_gone(i) && step_is_gone(x))
		return true;
	if (c->kind == CALL_SETXATTR)
		return step_setxattr(x, i);
	if (c->kind == CALL_LISTXATTR)
		return step_listxattr(x, i);
	at = find_xattr(i, c->name);
	if (at < 0)
		return step_rc(x, -ENODATA);
	if (!step_rc(x, 0))
		return false;
	if (c->kind == CALL_GETXATTR)
		return step_same(x, i->xattr[at].value->p, i->xattr[at].value->len);
	bytes_unref(i->xattr[at].value);
	i->xattr[at].value = NULL;
	i->xattr[at].name = NULL;
	step_touch(x, i, false);
	return true;
}
