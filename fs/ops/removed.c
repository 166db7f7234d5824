/*
 * Directories that were removed here and that the kernel still knows.
 *
 * The kernel keeps an entry's inode while the call that removes it runs, so its word that it forgot
 * the inode comes after the directory was added here.
 */
#include "fs/ops/removed.h"

#include <stdlib.h>
#include <uthash.h>

#include "dht/base/mem.h"
#include "fs/ops/readdir.h"
#include "fs/ops/stale.h"

struct removed {
	struct fs_attr attr;
	UT_hash_handle hh;
};

static struct removed *find(struct fs *fs, uint64_t ino)
{
	struct removed *d;

	HASH_FIND(hh, fs->removed, &ino, sizeof(ino), d);
	return d;
}

void removed_add(struct fs *fs, const struct fs_attr *a)
{
	struct removed *d = find(fs, a->ino);

	if (!d) {
		d = mem_zalloc(sizeof(*d));
		d->attr.ino = a->ino;
		HASH_ADD(hh, fs->removed, attr.ino, sizeof(d->attr.ino), d);
	}
	d->attr = *a;
}

bool removed_remembered(struct fs *fs, uint64_t ino, struct fs_attr *a)
{
	const struct removed *d = find(fs, ino);
	const struct fs_attr *seen = d ? &d->attr : readdir_attr(fs, ino);

	if (!seen)
		seen = stale_attr(fs, ino);
	if (!seen)
		return false;
	*a = *seen;
	a->nlink = 0;
	a->children = 0;
	return true;
}

void removed_change(struct fs *fs, const struct fs_attr *a)
{
	struct removed *d = find(fs, a->ino);
	struct fs_attr *s = d ? &d->attr : stale_attr(fs, a->ino);

	if (s)
		*s = *a;
}

static void drop(struct fs *fs, struct removed *d)
{
	HASH_DEL(fs->removed, d);
	free(d);
}

void fs_forget(struct fs *fs, uint64_t ino)
{
	struct removed *d = fs->removed ? find(fs, ino) : NULL;

	if (d)
		drop(fs, d);
}

void removed_free(struct fs *fs)
{
	struct removed *d, *next;

	HASH_ITER (hh, fs->removed, d, next)
		drop(fs, d);
}
