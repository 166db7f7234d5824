/*
 * The second pass: facts and inodes, both in order of inode number, are walked side by side; each
 * inode's group must agree with itself. Then directories must all lead to the root.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "fs/check/check_impl.h"

#define INLINE_STREAM UINT64_MAX /* as the number of a block: the inode's own stream */

void findings_add(struct findings *fs, const struct check_finding *f)
{
	if (fs->n == fs->cap) {
		fs->cap = fs->cap ? 2 * fs->cap : 64;
		fs->f = mem_grow(fs->f, fs->cap, sizeof(*fs->f));
	}
	fs->f[fs->n++] = *f;
}

void findings_fini(struct findings *fs)
{
	free(fs->f);
	memset(fs, 0, sizeof(*fs));
}

/* What the facts of one inode add up to. */
struct group {
	uint64_t ino;
	bool present; /* an inode fact was there */
	struct inode_fact inode;
	uint64_t entries, entry_dir, entry_cookie;
	uint64_t children, subdirs;
	uint64_t block_bytes;
	bool orphan, held;
	bool past_end;
};

static void problem(struct findings *out, enum check_problem p, const struct group *g,
	uint64_t other, uint64_t cookie, uint64_t have, uint64_t want)
{
	struct check_finding f = {
		.problem = p,
		.ino = g->ino,
		.other = other,
		.cookie = cookie,
		.version = g->present ? g->inode.version : 0,
		.have = have,
		.want = want,
	};

	findings_add(out, &f);
}

static bool good_mode(uint64_t mode)
{
	return mode <= LAYOUT_MODE_MAX && layout_dtype((uint32_t)mode) != DT_UNKNOWN;
}

static bool is_type(const struct group *g, uint32_t type)
{
	return g->present && (g->inode.mode & S_IFMT) == type;
}

static void see_entry(struct group *g, const struct fact *f, struct findings *out)
{
	g->entries++;
	if (!g->present) {
		problem(out, CHECK_ENTRY_NO_INODE, g, f->a, f->b, 0, 0);
		return;
	}
	if (layout_dtype((uint32_t)g->inode.mode) != f->x)
		problem(out, CHECK_ENTRY_TYPE, g, f->a, f->b, f->x,
			layout_dtype((uint32_t)g->inode.mode));
	if (g->entries == 1) {
		g->entry_dir = f->a;
		g->entry_cookie = f->b;
	} else if (is_type(g, S_IFDIR)) {
		/* the one that the directory itself does not know of goes */
		bool first_is_wrong = g->entry_dir != g->inode.parent;

		problem(out, CHECK_ENTRY_SURPLUS, g, first_is_wrong ? g->entry_dir : f->a,
			first_is_wrong ? g->entry_cookie : f->b, 0, 0);
	}
}

static void see_block(struct group *g, const struct fact *f, struct findings *out)
{
	uint64_t start, room;

	if (!g->present) {
		struct check_finding no = {.problem = CHECK_BLOCK_NO_INODE,
			.ino = g->ino,
			.other = f->a,
			.version = f->y,
			.have = f->b};

		findings_add(out, &no);
		return;
	}
	g->block_bytes += f->b;
	if (!is_type(g, S_IFREG)) {
		problem(out, CHECK_BLOCK_OF_OTHER, g, f->a, 0, f->b, 0);
		return;
	}
	if (__builtin_mul_overflow(f->a, (uint64_t)LAYOUT_BLOCK, &start))
		start = UINT64_MAX;
	room = g->inode.size > start ? g->inode.size - start : 0;
	if (f->x > room) {
		g->past_end = true;
		problem(out, CHECK_PAST_END, g, f->a, 0, f->b, g->inode.size);
	}
}

static void see_locks(const struct group *g, const struct fact *f, struct findings *out)
{
	const struct check_finding no = {
		.problem = CHECK_LOCKS_NO_INODE, .ino = g->ino, .version = f->y};

	if (!g->present)
		findings_add(out, &no);
}

static void see_fact(struct group *g, const struct fact *f, struct findings *out)
{
	switch ((enum fact_kind)f->kind) {
	case FACT_INODE:
		break; /* has its own run */
	case FACT_ENTRY:
		see_entry(g, f, out);
		break;
	case FACT_CHILD:
		g->children++;
		g->subdirs += f->x == DT_DIR;
		break;
	case FACT_BLOCK:
		see_block(g, f, out);
		break;
	case FACT_HOLD:
		g->held = true;
		break;
	case FACT_ORPHAN:
		g->orphan = true;
		break;
	case FACT_LOCKS:
		see_locks(g, f, out);
		break;
	case FACT_BAD_ENTRY:
		g->children++;
		problem(out, CHECK_BAD_ENTRY, g, 0, f->b, 0, 0);
		break;
	}
}

static void count_inode(struct check *k, const struct group *g)
{
	struct check_report *r = k->report;

	r->inodes++;
	switch (g->inode.mode & S_IFMT) {
	case S_IFDIR:
		r->directories++;
		break;
	case S_IFREG:
		r->files++;
		break;
	case S_IFLNK:
		r->symlinks++;
		break;
	default:
		r->specials++;
	}
	r->bytes += g->inode.stream_bytes + g->block_bytes;
}

static void remember_dir(struct check *k, uint64_t ino, uint64_t parent)
{
	if (k->ndirs == k->dir_cap) {
		k->dir_cap = k->dir_cap ? 2 * k->dir_cap : 256;
		k->dir = mem_grow(k->dir, k->dir_cap, sizeof(*k->dir));
	}
	k->dir[k->ndirs++] = (struct dir_fact){ino, parent};
}

static void end_directory(struct check *k, const struct group *g, struct findings *out)
{
	bool root = g->ino == layout_ino_root();
	uint64_t parent = root ? g->ino : g->entry_dir;

	if (g->inode.nlink && g->inode.nlink != 2 + g->subdirs)
		problem(out, CHECK_NLINK, g, 0, 0, g->inode.nlink, 2 + g->subdirs);
	if (g->inode.children != g->children)
		problem(out, CHECK_CHILDREN, g, 0, 0, g->inode.children, g->children);
	if ((root || g->entries == 1) && g->inode.parent != parent)
		problem(out, CHECK_PARENT, g, 0, 0, g->inode.parent, parent);
	if (root || g->entries == 1)
		remember_dir(k, g->ino, parent);
}

static void end_group(struct check *k, const struct group *g, struct findings *out)
{
	bool root = g->ino == layout_ino_root();

	if (!g->present) {
		if (g->children && !root) { /* entries of a directory that is not there */
			struct check_finding f = {.problem = CHECK_BAD_INODE, .ino = g->ino};

			findings_add(out, &f);
		}
		if (g->orphan)
			problem(out, CHECK_ORPHAN_MARK, g, 0, 0, 0, 0);
		return;
	}
	count_inode(k, g);
	if (!good_mode(g->inode.mode)) {
		problem(out, CHECK_BAD_INODE, g, 0, 0, g->inode.mode, 0);
		return;
	}
	if (g->inode.nlink == 0 && g->entries == 0) {
		k->report->orphans++;
		if (!g->orphan)
			problem(out, CHECK_ORPHAN_UNMARKED, g, 0, 0, 0, 0);
		else
			problem(out, CHECK_ORPHAN, g, 0, 0, g->held, 0);
		return;
	}
	if (g->orphan)
		problem(out, CHECK_ORPHAN_MARK, g, 0, 0, g->inode.nlink, g->entries);
	if (g->entries == 0 && !root)
		problem(out, CHECK_NO_ENTRY, g, 0, 0, 0, 0);
	else if (!is_type(g, S_IFDIR) && g->inode.nlink != g->entries)
		problem(out, CHECK_NLINK, g, 0, 0, g->inode.nlink, g->entries);
	if (is_type(g, S_IFDIR))
		end_directory(k, g, out);
	if (is_type(g, S_IFREG) && g->inode.stream_end > g->inode.size)
		problem(out, CHECK_PAST_END, g, INLINE_STREAM, 0,
			g->inode.stream_end - g->inode.size, g->inode.size);
	/* what is past the end goes first, then its bytes are counted again */
	if (g->inode.bytes != g->block_bytes && !g->past_end)
		problem(out, CHECK_BYTES, g, g->inode.tail, 0, g->inode.bytes, g->block_bytes);
	if (g->inode.trim)
		problem(out, CHECK_TRIM, g, g->inode.tail, 0, g->inode.trim - 1, 0);
}

static int next_inode(struct check *k, struct inode_fact *f, bool *more)
{
	int rc = runs_next(k->inodes, f);

	*more = rc == 1;
	return rc < 0 ? rc : 0;
}

static int walk_groups(struct check *k, struct findings *out)
{
	struct inode_fact inode = {0};
	struct fact f;
	struct group g = {0};
	bool open = false, more;
	int rc = next_inode(k, &inode, &more);

	if (rc)
		return rc;
	while ((rc = runs_next(k->facts, &f)) == 1) {
		if (!open || f.ino != g.ino) {
			if (open)
				end_group(k, &g, out);
			memset(&g, 0, sizeof(g));
			g.ino = f.ino;
			open = true;
			if (more && inode.ino == g.ino) {
				g.present = true;
				g.inode = inode;
				rc = next_inode(k, &inode, &more);
				if (rc)
					return rc;
			}
		}
		if (f.kind == FACT_BLOCK)
			k->report->blocks++;
		see_fact(&g, &f, out);
	}
	if (rc < 0)
		return rc;
	if (open)
		end_group(k, &g, out);
	return 0;
}

/* ---- reachability: follow the only entry of each directory upwards ---- */

static int dir_cmp(const void *a, const void *b)
{
	const struct dir_fact *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void find_cycles(struct check *k, struct findings *out)
{
	uint32_t *mark = mem_zalloc((k->ndirs + 1) * sizeof(*mark));

	if (k->ndirs)
		qsort(k->dir, k->ndirs, sizeof(*k->dir), dir_cmp);
	for (size_t i = 0; i < k->ndirs; i++) {
		struct dir_fact *d = &k->dir[i];
		uint32_t walk = (uint32_t)i + 1;

		/* mark every directory on the way; meeting our own mark again is a cycle */
		while (d && !mark[d - k->dir]) {
			struct dir_fact up = {.ino = d->parent};

			mark[d - k->dir] = walk;
			if (d->ino == layout_ino_root())
				break;
			d = bsearch(&up, k->dir, k->ndirs, sizeof(*k->dir), dir_cmp);
		}
		if (d && mark[d - k->dir] == walk && d->ino != layout_ino_root()) {
			struct check_finding f = {
				.problem = CHECK_CYCLE, .ino = d->ino, .other = d->parent};

			findings_add(out, &f);
		}
	}
	free(mark);
}

static void end_of_system(struct check *k, struct findings *out, bool root_seen)
{
	struct check_finding f = {0};

	if (!k->super_seen) {
		f.problem = CHECK_NO_SUPER;
		findings_add(out, &f);
	}
	if (!root_seen) {
		f.problem = CHECK_NO_ROOT;
		f.ino = layout_ino_root();
		findings_add(out, &f);
	}
	for (size_t i = 0; i < k->nprepared; i++) {
		f = (struct check_finding){
			.problem = CHECK_PREPARED,
			.other = k->prepared[i].shard,
			.cookie = k->prepared[i].session,
			.version = k->prepared[i].number,
		};
		findings_add(out, &f);
	}
	k->report->prepared = k->nprepared;
}

int check_join(struct check *k, struct findings *out)
{
	struct dir_fact root = {.ino = layout_ino_root()};
	int rc = runs_rewind(k->facts);

	if (!rc)
		rc = runs_rewind(k->inodes);
	if (!rc)
		rc = walk_groups(k, out);
	if (rc)
		return rc;
	find_cycles(k, out); /* leaves k->dir sorted */
	end_of_system(k, out,
		k->ndirs && bsearch(&root, k->dir, k->ndirs, sizeof(*k->dir), dir_cmp) != NULL);
	return 0;
}
