#include "fs/ops/hint.h"

#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/ops/dirchange.h"

#define INODES 8192 /* powers of two */
#define NAMES 16384

struct hint_entry {
	uint64_t dir, cookie; /* dir 0: free */
	uint64_t ino;
	uint8_t type;
};

struct hints {
	struct hint_inode inode[INODES];
	struct hint_entry name[NAMES];
};

struct hints *hint_new(void)
{
	return mem_zalloc(sizeof(struct hints));
}

void hint_free(struct hints *h)
{
	free(h);
}

static uint64_t mix(uint64_t x)
{
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 32;
}

static struct hint_inode *inode_place(struct fs *fs, uint64_t ino)
{
	return &fs->hints->inode[mix(ino) & (INODES - 1)];
}

struct hint_inode *hint_inode(struct fs *fs, uint64_t ino)
{
	struct hint_inode *h = inode_place(fs, ino);

	return h->ino == ino && ino ? h : NULL;
}

void hint_learn(struct fs *fs, const struct fs_attr *a)
{
	struct hint_inode *h = inode_place(fs, a->ino);
	uint64_t no_caps = h->ino == a->ino ? h->no_caps_until : 0;

	dirchange_seen(fs, a);

	*h = (struct hint_inode){
		.ino = a->ino,
		.mode = a->mode,
		.gid = a->gid,
		.nlink = a->nlink,
		.mtime = a->mtime,
		.ctime = a->ctime,
		.size = a->size,
		.children = a->children,
		.parent = a->parent,
		.seen = env_now(fs->env),
		.no_caps_until = no_caps,
	};
}

void hint_forget(struct fs *fs, uint64_t ino)
{
	struct hint_inode *h = hint_inode(fs, ino);

	if (h)
		h->ino = 0;
}

void hint_no_caps(struct fs *fs, uint64_t ino)
{
	struct hint_inode *h = hint_inode(fs, ino);

	if (h && fs->cfg.cache == FS_CACHE_RELAXED)
		h->no_caps_until = env_now(fs->env) + fs->cfg.relaxed;
}

static struct hint_entry *name_place(struct fs *fs, uint64_t dir, uint64_t cookie)
{
	return &fs->hints->name[mix(dir ^ mix(cookie)) & (NAMES - 1)];
}

bool hint_name(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t *ino, uint8_t *type)
{
	uint64_t cookie = layout_dirent_cookie(key, klen);
	const struct hint_entry *e = name_place(fs, dir, cookie);

	/* two names with one cookie are one name here: the compare finds out */
	if (e->dir != dir || e->cookie != cookie)
		return false;
	*ino = e->ino;
	*type = e->type;
	return true;
}

void hint_learn_name(
	struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	uint64_t cookie = layout_dirent_cookie(key, klen);

	*name_place(fs, dir, cookie) =
		(struct hint_entry){.dir = dir, .cookie = cookie, .ino = ino, .type = type};
}

void hint_forget_name(struct fs *fs, uint64_t dir, const uint8_t *key, size_t klen)
{
	uint64_t cookie = layout_dirent_cookie(key, klen);
	struct hint_entry *e = name_place(fs, dir, cookie);

	if (e->dir == dir && e->cookie == cookie)
		e->dir = 0;
}

void hint_dir_changed(struct fs *fs, uint64_t dir, int children, int nlink, int64_t now)
{
	struct hint_inode *h = hint_inode(fs, dir);

	if (!h)
		return;
	h->children += (uint64_t)(int64_t)children;
	h->nlink += (uint32_t)nlink;
	h->mtime = h->mtime > now ? h->mtime : now;
	h->ctime = h->ctime > now ? h->ctime : now;
}
