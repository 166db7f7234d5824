/*
 * Can what is seen after a power loss be so?
 *
 * A moment says, for each home (a directory's shard), how many of the steps were kept there. Every
 * moment that the rules in crash.h allow is tried: its names are made by carrying out the steps
 * that it has on the first tree, then each file's bytes have to be those of some of its own
 * changes.
 */
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/crash/crash.h"

struct moment {
	const struct history *h;
	const struct seen *seen;
	int kept[INODES_MAX]; /* by home: steps before that one */
	struct tree t;        /* names as they were then */
	uint64_t real[INODES_MAX];
	char why[160];
};

const struct seen_inode *seen_find(const struct seen *s, uint64_t ino)
{
	for (int k = 0; k < s->ninodes; k++)
		if (s->inode[k].ino == ino)
			return &s->inode[k];
	return NULL;
}

static bool no(struct moment *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool no(struct moment *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->why, sizeof(m->why), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- names ---- */

/* Is the step kept? -1: in one of its homes, but not in another. */
static int is_kept(const struct moment *m, int n)
{
	unsigned homes = step_homes(&m->h->step[n], &m->h->at);
	int yes = 0, all = 0;

	for (int home = 0; home < m->h->at.ninodes; home++) {
		if (!(homes & 1u << home))
			continue;
		all++;
		yes += m->kept[home] > n;
	}
	return !yes ? 0 : yes == all ? 1 : -1;
}

/* The names of that moment; false: it can't have been. */
static bool make_tree(struct moment *m)
{
	struct tree all = m->h->at;

	tree_base(&m->t, m->h->base);
	memcpy(m->t.inode, all.inode, sizeof(all.inode));
	m->t.ninodes = all.ninodes;
	for (int n = 0; n < m->h->n; n++) {
		int kept = is_kept(m, n);

		if (!step_is_named(&m->h->step[n]))
			continue;
		if (kept < 0)
			return false;
		if (kept)
			step_apply(&m->h->step[n], &m->t);
	}
	return true;
}

static const struct seen_entry *seen_entry(const struct seen *s, uint64_t dir, const char *name)
{
	for (int k = 0; k < s->nentries; k++)
		if (s->entry[k].dir == dir && !strcmp(s->entry[k].name, name))
			return &s->entry[k];
	return NULL;
}

static bool same_entry(struct moment *m, const struct entry *e, bool *more)
{
	const struct seen_entry *x = seen_entry(m->seen, m->real[e->dir], e->name);

	if (!x)
		return no(m, "there is no %s%s", e->dir ? "d/" : "", e->name);
	if (!m->real[e->ino]) {
		m->real[e->ino] = x->ino;
		*more = true;
	}
	if (m->real[e->ino] != x->ino)
		return no(m, "%s is inode %llx and not %llx", e->name, (unsigned long long)x->ino,
			(unsigned long long)m->real[e->ino]);
	return true;
}

static bool same_names(struct moment *m)
{
	bool more = true;

	memcpy(m->real, m->h->real, sizeof(m->real));
	m->real[0] = m->seen->root;
	while (more) {
		more = false;
		for (int k = 0; k < m->t.nentries; k++)
			if (m->real[m->t.entry[k].dir] && !same_entry(m, &m->t.entry[k], &more))
				return false;
	}
	if (m->t.nentries != m->seen->nentries)
		return no(m, "there are %d names and not %d", m->seen->nentries, m->t.nentries);
	for (int k = 0; k < m->t.ninodes; k++)
		for (int i = 0; i < k; i++)
			if (m->real[i] && m->real[i] == m->real[k])
				return no(m, "two files are one inode");
	return true;
}

static uint32_t links(const struct tree *t, int ino)
{
	uint32_t n = t->inode[ino].is_dir ? 2 : 0;

	for (int k = 0; k < t->nentries; k++) {
		const struct entry *e = &t->entry[k];

		if (t->inode[ino].is_dir)
			n += e->dir == ino && t->inode[e->ino].is_dir;
		else
			n += e->ino == ino;
	}
	return n;
}

/* ---- bytes ---- */

/* What the file is after its own changes among the first @end steps; its size. */
static uint32_t content(const struct history *h, int ino, int end, uint8_t *out)
{
	uint32_t size = h->at.inode[ino].base;

	memset(out, 0, SIZE_MAX_FILE);
	for (uint32_t k = 0; k < size; k++)
		out[k] = step_byte(-ino, k);
	for (int n = 0; n < end; n++) {
		const struct step *s = &h->step[n];

		if (s->ino != ino || !step_is_data(s))
			continue;
		if (s->verb == TRUNCATE) {
			if (s->len < size)
				memset(out + s->len, 0, size - s->len);
			size = s->len;
			continue;
		}
		for (uint32_t k = s->off; k < s->off + s->len; k++)
			out[k] = step_byte(n, k);
		if (size < s->off + s->len)
			size = s->off + s->len;
	}
	return size;
}

static bool is_own(const struct history *h, int n, int ino)
{
	return h->step[n].ino == ino && step_is_data(&h->step[n]);
}

/* Does the step change anything in the log that has this home? */
static bool concerns(const struct history *h, int n, int home)
{
	unsigned homes = step_homes(&h->step[n], &h->at);

	for (int k = 0; k < h->at.ninodes; k++)
		if (homes & 1u << k && h->log[k] == h->log[home])
			return true;
	return false;
}

/* Can the inode be as after the first @end steps while names are those of the moment? */
static bool in_order(const struct moment *m, int ino, int end)
{
	const struct history *h = m->h;
	int home = h->at.inode[ino].home, last = -1;

	if (end < h->data_synced[ino])
		return false;
	for (int n = 0; n < h->n; n++) {
		if (!is_own(h, n, ino))
			continue;
		if (h->step[n].verb == TRUNCATE && (is_kept(m, n) == 1) != (n < end))
			return false;
		if (n < end)
			last = n;
	}
	/* all that came before in that log is there */
	for (int n = 0; n < last; n++) {
		if (step_is_named(&h->step[n]) && concerns(h, n, home) && is_kept(m, n) != 1)
			return false;
	}
	return true;
}

/* The bytes in blocks, each block being its own object. */
static bool blocks_legal(
	const struct moment *m, int ino, const struct seen_inode *i, int end, uint8_t *tmp)
{
	const struct history *h = m->h;
	int first = h->one_log ? end : h->data_synced[ino];

	if (i->size <= INLINE_BYTES)
		return true;
	for (int e = first; e <= h->n; e++) {
		content(h, ino, e, tmp);
		if (!memcmp(tmp + INLINE_BYTES, i->data + INLINE_BYTES, i->size - INLINE_BYTES))
			return true;
	}
	return false;
}

static uint32_t first_diff(const uint8_t *a, const uint8_t *b, uint32_t len)
{
	uint32_t k = 0;

	while (k < len && a[k] == b[k])
		k++;
	return k;
}

static bool bytes_legal(struct moment *m, int ino, const struct seen_inode *i)
{
	static uint8_t want[SIZE_MAX_FILE], tmp[SIZE_MAX_FILE];
	uint32_t in_inode = i->size < INLINE_BYTES ? (uint32_t)i->size : INLINE_BYTES;

	no(m, "the size of %llx can't be %llu", (unsigned long long)i->ino,
		(unsigned long long)i->size);
	for (int end = 0; end <= m->h->n; end++) {
		uint32_t size, at;

		if (!in_order(m, ino, end))
			continue;
		size = content(m->h, ino, end, want);
		if (size != i->size)
			continue;
		at = first_diff(want, i->data, in_inode);
		if (at < in_inode)
			no(m, "byte %u of %llx is %02x, not %02x", at, (unsigned long long)i->ino,
				i->data[at], want[at]);
		else if (blocks_legal(m, ino, i, end, tmp))
			return true;
		else
			no(m, "the bytes of %llx from 64 KiB on are wrong",
				(unsigned long long)i->ino);
	}
	return false;
}

/* ---- a moment ---- */

static bool inode_legal(struct moment *m, int ino)
{
	const struct seen_inode *i = seen_find(m->seen, m->real[ino]);
	bool is_dir = m->t.inode[ino].is_dir;
	uint32_t want = links(&m->t, ino);

	if (!i)
		return no(m, "inode %llx was not seen", (unsigned long long)m->real[ino]);
	if (S_ISDIR(i->mode) != is_dir)
		return no(m, "%llx has mode %o", (unsigned long long)i->ino, i->mode);
	if (ino && (i->mode & 07777) != (is_dir ? 0755 : 0644))
		return no(m, "%llx has mode %o", (unsigned long long)i->ino, i->mode);
	if (i->nlink != want)
		return no(m, "%llx has %u links and not %u", (unsigned long long)i->ino, i->nlink,
			want);
	return is_dir || bytes_legal(m, ino, i);
}

static bool explains(struct moment *m)
{
	if (!make_tree(m))
		return no(m, "-"); /* half a step */
	if (!same_names(m))
		return false;
	for (int ino = 0; ino < m->t.ninodes; ino++) {
		bool named = ino == 0;

		for (int k = 0; k < m->t.nentries; k++)
			named |= m->t.entry[k].ino == ino;
		if (named && !inode_legal(m, ino))
			return false;
	}
	return true;
}

static void remember_why(struct moment *m, char *why, size_t len)
{
	size_t at = strlen(why);

	if (m->why[0] != '-')
		snprintf(why + at, len - at, "%s after %d: %s", at ? ";" : "", m->kept[0], m->why);
}

/* Do several logs have a part of it? Then they agreed on it, and have it on their disks. */
static bool is_shared(const struct history *h, int n)
{
	unsigned homes = step_homes(&h->step[n], &h->at);
	int log = -1;

	for (int k = 0; k < h->at.ninodes; k++) {
		if (!(homes & 1u << k))
			continue;
		if (log >= 0 && log != h->log[k])
			return true;
		log = h->log[k];
	}
	return false;
}

/* What has to be there in that home at least. */
static int at_least(const struct history *h, int home)
{
	int lo = h->synced;

	for (int n = lo; n < h->done; n++)
		if (step_is_named(&h->step[n]) && concerns(h, n, home) && is_shared(h, n))
			lo = n + 1;
	return lo;
}

/* All moments that differ from home @home on. */
static bool any(struct moment *m, int home, char *why, size_t len)
{
	const struct history *h = m->h;

	if (home == h->at.ninodes) {
		if (explains(m))
			return true;
		remember_why(m, why, len);
		return false;
	}
	if (h->at.inode[home].home != home)
		return any(m, home + 1, why, len);
	for (int k = 0; k < home; k++) {
		if (h->at.inode[k].home == k && h->log[k] == h->log[home]) {
			m->kept[home] = m->kept[k];
			return any(m, home + 1, why, len);
		}
	}
	for (m->kept[home] = h->n; m->kept[home] >= at_least(h, home); m->kept[home]--)
		if (any(m, home + 1, why, len))
			return true;
	return false;
}

bool legal(const struct history *h, const struct seen *s, int *lost, char *why, size_t len)
{
	static struct moment m;
	int least = h->done;

	m = (struct moment){.h = h, .seen = s};
	why[0] = 0;
	if (!any(&m, 0, why, len))
		return false;
	for (int k = 0; k < h->at.ninodes; k++)
		if (h->at.inode[k].home == k && m.kept[k] < least)
			least = m.kept[k];
	*lost = h->done - least;
	return true;
}
