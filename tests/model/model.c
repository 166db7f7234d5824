/* The model's state: inodes, names, bytes. What calls do to it is in model_step.c. */
#include "tests/model/model.h"

#include <sys/stat.h>

#include "tests/model/model_int.h"

/* ---- bytes ---- */

struct model_bytes *bytes_new(const void *p, uint64_t len)
{
	struct model_bytes *b = mem_zalloc(sizeof(*b));

	b->refs = 1;
	b->len = len;
	b->p = mem_zalloc(len + 1);
	if (p)
		memcpy(b->p, p, len);
	return b;
}

struct model_bytes *bytes_ref(struct model_bytes *b)
{
	if (b)
		b->refs++;
	return b;
}

void bytes_unref(struct model_bytes *b)
{
	if (!b || --b->refs)
		return;
	free(b->p);
	free(b);
}

void bytes_own(struct model_bytes **b)
{
	struct model_bytes *copy;

	if ((*b)->refs == 1)
		return;
	copy = bytes_new((*b)->p, (*b)->len);
	bytes_unref(*b);
	*b = copy;
}

void bytes_resize(struct model_bytes **b, uint64_t len)
{
	struct model_bytes *copy;
	uint64_t keep = len < (*b)->len ? len : (*b)->len;

	if (len == (*b)->len)
		return;
	copy = bytes_new(NULL, len);
	memcpy(copy->p, (*b)->p, keep);
	bytes_unref(*b);
	*b = copy;
}

/* ---- models ---- */

struct model *model_new(uint64_t root, const struct fs_attr *a)
{
	struct model *m = mem_zalloc(sizeof(*m));
	struct model_inode *i;

	m->n = 1;
	i = &m->inode[model_make(m, root, a->mode, a->uid, a->gid)];
	i->nlink = 2;
	i->parent = 1;
	i->atime = (struct span){INT64_MIN, INT64_MAX};
	i->mtime = (struct span){a->mtime, a->mtime};
	i->ctime = (struct span){a->ctime, a->ctime};
	i->btime = (struct span){a->btime, a->btime};
	return m;
}

struct model *model_copy(const struct model *m)
{
	struct model *c = mem_grow(NULL, 1, sizeof(*c));

	c->n = m->n;
	memcpy(c->inode, m->inode, m->n * sizeof(m->inode[0]));
	for (unsigned k = 1; k < m->n; k++) {
		struct model_inode *i = &c->inode[k];

		bytes_ref(i->data);
		for (unsigned x = 0; x < MODEL_XATTRS; x++)
			bytes_ref(i->xattr[x].value);
		for (unsigned v = 0; v < i->nwas; v++)
			bytes_ref(i->was[v]);
	}
	return c;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (unsigned k = 1; k < m->n; k++) {
		struct model_inode *i = &m->inode[k];

		bytes_unref(i->data);
		for (unsigned x = 0; x < MODEL_XATTRS; x++)
			bytes_unref(i->xattr[x].value);
		for (unsigned v = 0; v < i->nwas; v++)
			bytes_unref(i->was[v]);
	}
	free(m);
}

static bool bytes_equal(const struct model_bytes *a, const struct model_bytes *b)
{
	if (a == b)
		return true;
	return a && b && a->len == b->len && !memcmp(a->p, b->p, a->len);
}

static bool span_equal(struct span a, struct span b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

static bool inode_equal(const struct model_inode *a, const struct model_inode *b)
{
	if (a->ino != b->ino || a->mode != b->mode || a->uid != b->uid || a->gid != b->gid ||
		a->nlink != b->nlink || a->rdev != b->rdev || a->parent != b->parent ||
		a->nentries != b->nentries || a->writer != b->writer || a->nwas != b->nwas ||
		a->doubt != b->doubt || !bytes_equal(a->data, b->data) ||
		!span_equal(a->atime, b->atime) || !span_equal(a->mtime, b->mtime) ||
		!span_equal(a->ctime, b->ctime) || !span_equal(a->btime, b->btime) ||
		a->nameless != b->nameless || a->chosen != b->chosen ||
		a->unsynced != b->unsynced || memcmp(a->lock, b->lock, sizeof(a->lock)) ||
		memcmp(a->opens, b->opens, sizeof(a->opens)))
		return false;
	for (unsigned k = 0; k < a->nentries; k++) {
		int at = model_entry(b, a->entry[k].name);

		if (at < 0 || b->entry[at].inode != a->entry[k].inode)
			return false;
	}
	for (unsigned k = 0; k < a->nwas; k++)
		if (!bytes_equal(a->was[k], b->was[k]))
			return false;
	for (unsigned k = 0; k < MODEL_XATTRS; k++)
		if (a->xattr[k].name != b->xattr[k].name ||
			!bytes_equal(a->xattr[k].value, b->xattr[k].value))
			return false;
	return true;
}

bool model_equal(const struct model *a, const struct model *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned k = 1; k < a->n; k++)
		if (!inode_equal(&a->inode[k], &b->inode[k]))
			return false;
	return true;
}

/* ---- looking ---- */

unsigned model_index(const struct model *m, uint64_t ino)
{
	for (unsigned k = 1; k < m->n && ino; k++)
		if (m->inode[k].ino == ino)
			return k;
	return 0;
}

const struct model_inode *model_find(const struct model *m, uint64_t ino)
{
	unsigned k = model_index(m, ino);

	return k ? &m->inode[k] : NULL;
}

int model_entry(const struct model_inode *d, const char *name)
{
	for (unsigned k = 0; k < d->nentries; k++)
		if (!strcmp(d->entry[k].name, name))
			return (int)k;
	return -1;
}

bool model_open_anywhere(const struct model_inode *i)
{
	for (unsigned k = 0; k < MODEL_MOUNTS; k++)
		if (i->opens[k])
			return true;
	return false;
}

unsigned model_next(const struct model *m, unsigned at)
{
	while (++at < m->n)
		if (m->inode[at].nlink)
			return at;
	return 0;
}

const struct model_inode *model_at(const struct model *m, unsigned at)
{
	return &m->inode[at];
}

void model_path(const struct model *m, unsigned at, char *path, size_t len)
{
	char below[256] = "";

	for (unsigned depth = 0; at != 1 && depth < 16; depth++) {
		unsigned dir = 0;

		for (unsigned k = 1; k < m->n && !dir; k++) {
			const struct model_inode *d = &m->inode[k];

			for (unsigned e = 0; e < d->nentries; e++) {
				char more[256];

				if (d->entry[e].inode != at)
					continue;
				dir = k;
				snprintf(more, sizeof(more), "/%.16s%.200s", d->entry[e].name,
					below);
				memcpy(below, more, sizeof(below));
				break;
			}
		}
		if (!dir)
			break;
		at = dir;
	}
	snprintf(path, len, "%s", below[0] ? below : "/");
}

uint64_t model_size(const struct model_inode *i)
{
	return i->data ? i->data->len : 0;
}

unsigned model_make(struct model *m, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid)
{
	struct model_inode *i;

	if (m->n == MODEL_INODES)
		abort();
	i = &m->inode[m->n];
	memset(i, 0, sizeof(*i));
	i->ino = ino;
	i->mode = mode;
	i->uid = uid;
	i->gid = gid;
	i->nlink = 1;
	if (S_ISREG(mode) || S_ISLNK(mode))
		i->data = bytes_new(NULL, 0);
	return m->n++;
}

bool model_durable(const struct model_inode *i)
{
	return !i->unsynced && !i->nwas && !i->doubt;
}

/* ---- what a mount that dies leaves behind ---- */

void model_kill(struct model *m, unsigned mount)
{
	for (unsigned k = 1; k < m->n; k++) {
		struct model_inode *i = &m->inode[k];

		i->opens[mount] = 0;
		for (unsigned o = 0; o < LOCK_OWNERS; o++)
			i->lock[mount][o].fades = true;
		if (i->writer != mount + 1 || i->nwas == 0)
			continue;
		i->doubt = true;
		i->writer = 0;
	}
}

/* May the file have that byte there? It is as in one of its versions, or a hole as of one. */
static bool may_be(const struct model_inode *i, uint64_t off, uint8_t byte)
{
	if (off < i->data->len && i->data->p[off] == byte)
		return true;
	for (unsigned v = 0; v < i->nwas; v++) {
		if (off < i->was[v]->len && i->was[v]->p[off] == byte)
			return true;
		if (off >= i->was[v]->len && byte == 0)
			return true;
	}
	return false;
}

bool model_adopt(struct model *m, uint64_t ino, const uint8_t *data, size_t len,
	const struct fs_attr *a, char *why, size_t whylen)
{
	struct model_inode *i = &m->inode[model_index(m, ino)];
	uint64_t least = i->data->len, most = i->data->len;

	for (unsigned v = 0; v < i->nwas; v++) {
		least = i->was[v]->len < least ? i->was[v]->len : least;
		most = i->was[v]->len > most ? i->was[v]->len : most;
	}
	if (a->size != len || len < least || len > most) {
		snprintf(why, whylen, "size %llu, read %zu, may be %llu to %llu",
			(unsigned long long)a->size, len, (unsigned long long)least,
			(unsigned long long)most);
		return false;
	}
	for (size_t off = 0; off < len && i->nwas < MODEL_VERSIONS; off++) {
		if (may_be(i, off, data[off]))
			continue;
		snprintf(why, whylen, "byte %zu is %02x, which it never was", off, data[off]);
		return false;
	}
	bytes_unref(i->data);
	i->data = bytes_new(data, len);
	for (unsigned v = 0; v < i->nwas; v++)
		bytes_unref(i->was[v]);
	i->nwas = 0;
	i->doubt = false;
	i->mode = a->mode; /* set-id bits go with the bytes */
	i->mtime = (struct span){a->mtime, a->mtime};
	i->ctime = (struct span){a->ctime, a->ctime};
	return true;
}

void model_pattern(uint8_t *p, uint64_t off, size_t len, uint32_t salt)
{
	for (size_t k = 0; k < len; k++)
		p[k] = (uint8_t)(((off + k) * UINT64_C(0x9e3779b97f4a7c15) + salt * 7919u) >> 53 |
				 1);
}

void seen_free(struct seen *s)
{
	free(s->data);
	free(s->entry);
	s->data = NULL;
	s->entry = NULL;
}
