/* What a mount sees, and what the checker says of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "fs/check/check.h"
#include "tests/crash/rig.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

/* ---- the tree ---- */

struct listing {
	struct rig *r;
	struct seen *s;
	uint64_t dir;
};

static bool listed(void *arg, const struct fs_dirent *e)
{
	struct listing *l = arg;
	struct seen *s = l->s;

	if (!strcmp(e->name, ".") || !strcmp(e->name, ".."))
		return true;
	if (s->nentries == COUNT(s->entry)) {
		rig_fail(l->r, "there are too many names");
		return false;
	}
	s->entry[s->nentries] = (struct seen_entry){.dir = l->dir, .ino = e->ino};
	snprintf(s->entry[s->nentries].name, sizeof(s->entry[0].name), "%s", e->name);
	s->nentries++;
	return true;
}

static void look_dir(struct rig *r, struct seen *s, uint64_t ino)
{
	struct listing l = {r, s, ino};
	struct rig_call w;
	struct fs_dir *d;

	rig_call(r, &w);
	fs_opendir(r->fs, &w.call, ino);
	if (rig_wait(r, &w)) {
		rig_fail(r, "opendir: %s", strerrorname_np(-w.rc));
		return;
	}
	d = w.call.dir;
	rig_call(r, &w);
	fs_readdir(r->fs, &w.call, d, 0, false, listed, &l);
	if (rig_wait(r, &w))
		rig_fail(r, "readdir: %s", strerrorname_np(-w.rc));
	fs_releasedir(r->fs, d);
}

static struct fs_file *opened(struct rig *r, uint64_t ino, int flags)
{
	struct rig_call w;

	rig_call(r, &w);
	fs_open(r->fs, &w.call, ino, flags);
	if (!rig_wait(r, &w))
		return w.call.file;
	rig_fail(r, "open: %s", strerrorname_np(-w.rc));
	return NULL;
}

static void closed(struct rig *r, struct fs_file *f)
{
	struct rig_call w;

	rig_call(r, &w);
	fs_flush(r->fs, &w.call, f);
	if (rig_wait(r, &w))
		rig_fail(r, "close: %s", strerrorname_np(-w.rc));
	fs_release(r->fs, f);
}

static void look_file(struct rig *r, struct seen_inode *i)
{
	struct fs_file *f = opened(r, i->ino, O_RDONLY);
	struct rig_call w;

	if (!f)
		return;
	rig_call(r, &w);
	fs_read(r->fs, &w.call, f, 0, SIZE_MAX_FILE);
	if (rig_wait(r, &w))
		rig_fail(r, "read: %s", strerrorname_np(-w.rc));
	else if (w.len != i->size)
		rig_fail(r, "%zu bytes are read of %llu", w.len, (unsigned long long)i->size);
	i->data = w.data;
	closed(r, f);
}

static void look_inode(struct rig *r, struct seen *s, uint64_t ino)
{
	struct seen_inode *i = &s->inode[s->ninodes];
	struct rig_call w;

	if (seen_find(s, ino))
		return;
	if (s->ninodes == COUNT(s->inode)) {
		rig_fail(r, "there are too many inodes");
		return;
	}
	rig_call(r, &w);
	fs_getattr(r->fs, &w.call, ino);
	if (rig_wait(r, &w)) {
		rig_fail(r, "getattr of %llx: %s", (unsigned long long)ino, strerrorname_np(-w.rc));
		return;
	}
	s->ninodes++;
	*i = (struct seen_inode){.ino = ino,
		.mode = w.call.attr.mode,
		.nlink = w.call.attr.nlink,
		.size = w.call.attr.size};
	if (S_ISREG(i->mode) && i->size > SIZE_MAX_FILE)
		rig_fail(r, "the size of %llx is %llu", (unsigned long long)ino,
			(unsigned long long)i->size);
	else if (S_ISREG(i->mode))
		look_file(r, i);
}

void look(struct rig *r, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	s->root = layout_ino_root();
	look_inode(r, s, s->root);
	/* the list of inodes grows meanwhile */
	for (int at = 0; at < s->ninodes && !r->failed; at++) {
		int first = s->nentries;

		if (!S_ISDIR(s->inode[at].mode))
			continue;
		look_dir(r, s, s->inode[at].ino);
		for (int k = first; k < s->nentries && !r->failed; k++)
			look_inode(r, s, s->entry[k].ino);
	}
	for (int k = 0; k < s->nentries && r->cfg.verbose; k++) {
		const struct seen_inode *i = seen_find(s, s->entry[k].ino);

		printf("     %llx / %s = %llx", (unsigned long long)s->entry[k].dir,
			s->entry[k].name, (unsigned long long)s->entry[k].ino);
		if (i)
			printf(", mode %o, %u links, %llu bytes", i->mode, i->nlink,
				(unsigned long long)i->size);
		printf("\n");
	}
}

void look_free(struct seen *s)
{
	for (int k = 0; k < s->ninodes; k++)
		free(s->inode[k].data);
}

static bool same_inode(const struct seen_inode *a, const struct seen_inode *b)
{
	return a->ino == b->ino && a->mode == b->mode && a->nlink == b->nlink &&
	       a->size == b->size && (!a->data || (b->data && !memcmp(a->data, b->data, a->size)));
}

bool look_same(const struct seen *a, const struct seen *b)
{
	if (a->nentries != b->nentries || a->ninodes != b->ninodes)
		return false;
	for (int k = 0; k < a->nentries; k++) /* a listing's order is by hash */
		if (a->entry[k].dir != b->entry[k].dir || a->entry[k].ino != b->entry[k].ino ||
			strcmp(a->entry[k].name, b->entry[k].name))
			return false;
	for (int k = 0; k < a->ninodes; k++)
		if (!same_inode(&a->inode[k], &b->inode[k]))
			return false;
	return true;
}

void look_behind(struct rig *r, const struct seen *s)
{
	struct rig_call w;
	struct fs_file *f;

	for (int k = 0; k < s->ninodes && !r->failed; k++) {
		const struct seen_inode *i = &s->inode[k];
		const struct fs_attr size = {.size = SIZE_MAX_FILE};

		if (!S_ISREG(i->mode))
			continue;
		rig_call(r, &w);
		fs_setattr(r->fs, &w.call, i->ino, FS_SET_SIZE, &size);
		if (rig_wait(r, &w))
			rig_fail(r, "growing a file: %s", strerrorname_np(-w.rc));
		f = r->failed ? NULL : opened(r, i->ino, O_RDONLY);
		if (!f)
			return;
		rig_call(r, &w);
		fs_read(r->fs, &w.call, f, i->size, SIZE_MAX_FILE - i->size);
		if (rig_wait(r, &w) || w.len != SIZE_MAX_FILE - i->size)
			rig_fail(r, "reading what a file grew: %s", strerrorname_np(-w.rc));
		for (size_t at = 0; at < w.len && w.data && !r->failed; at++)
			if (w.data[at])
				rig_fail(r, "%llx had %02x at %llu, behind its end",
					(unsigned long long)i->ino, w.data[at],
					(unsigned long long)(i->size + at));
		free(w.data);
		closed(r, f);
	}
	rig_call(r, &w);
	fs_create(r->fs, &w.call, s->root, "new", 0644, O_RDWR | O_EXCL);
	if (!r->failed && rig_wait(r, &w))
		rig_fail(r, "making a file: %s", strerrorname_np(-w.rc));
}

/* ---- the checker ---- */

struct checked {
	struct rig *r;
	unsigned found[CHECK_PROBLEMS];
	char text[300];
};

static int io_pump(void *arg, const bool *done)
{
	struct checked *k = arg;

	return rig_pump(k->r, done) ? 0 : -EINTR;
}

static int io_pause(void *arg, uint64_t ns)
{
	struct checked *k = arg;

	rig_run(k->r, ns);
	return 0;
}

static void io_wake(void *arg)
{
	(void)arg;
}

static void io_found(void *arg, const struct check_finding *f)
{
	struct checked *k = arg;
	size_t at = strlen(k->text);

	k->found[f->problem]++;
	snprintf(k->text + at, sizeof(k->text) - at, " %s ino=%llx other=%llu have=%llu want=%llu;",
		check_problem_name(f->problem), (unsigned long long)f->ino,
		(unsigned long long)f->other, (unsigned long long)f->have,
		(unsigned long long)f->want);
}

/* What a client that died may leave (docs/DATA.md). */
static bool heals(enum check_problem p)
{
	switch (p) {
	case CHECK_ORPHAN:
	case CHECK_TRIM:
	case CHECK_PAST_END:
	case CHECK_BLOCK_NO_INODE:
	case CHECK_BYTES:
		return true;
	default:
		return false;
	}
}

static bool check_once(
	struct rig *r, enum check_mode mode, struct checked *k, struct check_report *report)
{
	struct check_config cfg = {.mode = mode, .memory = 1 << 20};
	struct check_io io = {
		.pump = io_pump, .wake = io_wake, .pause = io_pause, .found = io_found, .arg = k};
	int rc;

	memset(k, 0, sizeof(*k));
	k->r = r;
	rc = check_run(r->client, &cfg, &io, report);
	if (rc || report->unread)
		rig_fail(r, "the checker could not check: %s",
			strerrorname_np(-(rc ? rc : report->unread_rc)));
	return !r->failed;
}

void look_check(struct rig *r, bool *repaired)
{
	struct check_report report;
	struct checked k;

	if (!check_once(r, CHECK_ONLY, &k, &report))
		return;
	if (r->cfg.verbose)
		printf("     the checker found:%s\n", k.text[0] ? k.text : " nothing");
	for (int p = 0; p < CHECK_PROBLEMS; p++)
		if (k.found[p] && !heals((enum check_problem)p))
			rig_fail(r, "the checker found:%s", k.text);
	if (r->failed || !report.found)
		return;
	*repaired = true;
	if (!check_once(r, CHECK_REPAIR, &k, &report))
		return;
	if (report.found != report.fixed)
		rig_fail(r, "not repaired:%s", k.text);
	if (check_once(r, CHECK_ONLY, &k, &report) && report.found)
		rig_fail(r, "found after the repair:%s", k.text);
}
