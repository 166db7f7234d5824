/*
 * What becomes of a file's bytes here when its lease goes.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"
#include "fs/cache/inode.h"

struct recalled {
	struct data_cache *dc;
	uint64_t ino;
};

static void recalled_flushed(void *arg, int rc)
{
	struct recalled *k = arg;

	(void)rc; /* whoever wrote is told at close or fsync */
	inode_flushed(k->dc->cfg.inodes, k->ino);
	free(k);
}

void data_recalled(struct data_cache *dc, uint64_t ino, enum orbit_lease keep)
{
	struct data_inode *di = inode_find(dc, ino);
	struct recalled *k;

	if (di && keep == ORBIT_LEASE_NONE)
		chunk_drop_range(di, 0, UINT64_MAX);
	if (!di || inode_clean(di)) {
		inode_flushed(dc->cfg.inodes, ino);
		return;
	}
	k = mem_zalloc(sizeof(*k));
	k->dc = dc;
	k->ino = ino;
	data_flush(dc, ino, recalled_flushed, k);
}

void data_lost(struct data_cache *dc, uint64_t ino)
{
	struct data_inode *di = inode_find(dc, ino);

	if (!di)
		return;
	chunk_drop_range(di, 0, UINT64_MAX);
	if (inode_clean(di))
		return;
	inode_give_up(di);
}
