/*
 * The order of things: scan, join, and if anything is wrong scan again: what both say counts. Then
 * repair and look again, until a scan is clean or a round repaired nothing.
 */
#include "fs/check/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "fs/check/check_impl.h"

#define MEMORY_DEFAULT ((size_t)64 << 20)
#define ROUNDS_MAX 8
#define WAIT_FOR_WRITES (8 * ENV_SEC) /* mounts send what they have within five */

static const char *const names[CHECK_PROBLEMS] = {
	[CHECK_NO_SUPER] = "no-superblock",
	[CHECK_NO_ROOT] = "no-root",
	[CHECK_BAD_INODE] = "bad-inode",
	[CHECK_BAD_ENTRY] = "bad-entry",
	[CHECK_ENTRY_NO_INODE] = "entry-without-inode",
	[CHECK_ENTRY_TYPE] = "entry-type",
	[CHECK_ENTRY_SURPLUS] = "entry-surplus",
	[CHECK_NO_ENTRY] = "inode-without-entry",
	[CHECK_NLINK] = "link-count",
	[CHECK_PARENT] = "parent",
	[CHECK_CHILDREN] = "children",
	[CHECK_CYCLE] = "cycle",
	[CHECK_BYTES] = "bytes",
	[CHECK_PAST_END] = "past-end",
	[CHECK_BLOCK_NO_INODE] = "block-without-inode",
	[CHECK_LOCKS_NO_INODE] = "locks-without-inode",
	[CHECK_BLOCK_OF_OTHER] = "block-of-other",
	[CHECK_TRIM] = "trim",
	[CHECK_ORPHAN_UNMARKED] = "orphan-unmarked",
	[CHECK_ORPHAN_MARK] = "orphan-mark",
	[CHECK_ORPHAN] = "orphan",
	[CHECK_PREPARED] = "prepared",
};

const char *check_problem_name(enum check_problem p)
{
	return p > 0 && p < CHECK_PROBLEMS ? names[p] : "?";
}

static int fact_cmp(const void *a, const void *b)
{
	const struct fact *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

static int inode_cmp(const void *a, const void *b)
{
	const struct inode_fact *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

/* One scan and join. */
static int look(struct check *k, struct findings *out)
{
	struct check_report *r = k->report;
	const char *tmp = k->cfg->tmp ? k->cfg->tmp : getenv("TMPDIR");
	size_t memory = k->cfg->memory ? k->cfg->memory : MEMORY_DEFAULT;
	uint64_t found = r->found, fixed = r->fixed;
	unsigned scans = r->scans;
	int rc;

	check_scan_reset(k);
	memset(r, 0, sizeof(*r));
	r->found = found;
	r->fixed = fixed;
	r->scans = scans + 1;
	rc = runs_new(&k->facts, sizeof(struct fact), memory / 2, tmp ? tmp : "/tmp", fact_cmp);
	if (!rc)
		rc = runs_new(&k->inodes, sizeof(struct inode_fact), memory / 2, tmp ? tmp : "/tmp",
			inode_cmp);
	if (!rc)
		rc = check_scan(k);
	if (!rc)
		rc = check_join(k, out);
	return rc;
}

static int finding_cmp(const void *a, const void *b)
{
	const struct check_finding *x = a, *y = b;
	const uint64_t xs[] = {
		x->ino, x->problem, x->other, x->cookie, x->version, x->have, x->want};
	const uint64_t ys[] = {
		y->ino, y->problem, y->other, y->cookie, y->version, y->have, y->want};

	for (size_t i = 0; i < sizeof(xs) / sizeof(*xs); i++)
		if (xs[i] != ys[i])
			return xs[i] < ys[i] ? -1 : 1;
	return 0;
}

/* Keeps in @a what is in @b as well. */
static void agree(struct findings *a, struct findings *b)
{
	size_t n = 0;

	if (b->n)
		qsort(b->f, b->n, sizeof(*b->f), finding_cmp);
	for (size_t i = 0; i < a->n; i++)
		if (b->n && bsearch(&a->f[i], b->f, b->n, sizeof(*b->f), finding_cmp))
			a->f[n++] = a->f[i];
	a->n = n;
}

static bool may_repair(struct check *k, const struct check_finding *f)
{
	const struct check_io *io = k->io;

	if (k->incomplete && check_repair_deletes(f->problem))
		return false; /* what is missing may only be unread */
	switch (k->cfg->mode) {
	case CHECK_ONLY:
		return false;
	case CHECK_REPAIR:
		return true;
	case CHECK_PREEN:
		return check_repair_is_safe(f->problem);
	case CHECK_ASK:
		return io->ask && io->ask(io->arg, f);
	}
	return false;
}

/* How many were repaired, or a negative errno that ends the check. */
static int repair_all(struct check *k, struct findings *fs)
{
	int fixed = 0;

	for (size_t i = 0; i < fs->n; i++) {
		struct check_finding *f = &fs->f[i];
		int rc = may_repair(k, f) ? check_repair(k, f) : -EPERM;

		if (rc == -EINTR)
			return rc;
		if (rc && rc != -EPERM && rc != -ECANCELED && rc != -EOPNOTSUPP)
			log_warn("mod=check problem=%s ino=%llu rc=%s msg=\"repair failed\"",
				check_problem_name(f->problem), (unsigned long long)f->ino,
				log_errno(rc));
		f->fixed = rc == 0;
		fixed += rc == 0;
		if (k->io->progress)
			k->io->progress(k->io->arg, 3, i + 1, fs->n);
	}
	return fixed;
}

static bool counts(const struct check_finding *f)
{
	return f->problem != CHECK_ORPHAN;
}

/* Tells the findings of a round. Those that were not repaired are told in the last round only. */
static void tell(struct check *k, const struct findings *fs, bool last)
{
	for (size_t i = 0; i < fs->n; i++) {
		const struct check_finding *f = &fs->f[i];

		if (!f->fixed && !last)
			continue;
		if (counts(f)) {
			k->report->found++;
			k->report->fixed += f->fixed;
		}
		if (k->io->found)
			k->io->found(k->io->arg, f);
	}
}

/* May it be a file that is being written or cut? */
static bool may_be_on_its_way(const struct findings *fs)
{
	for (size_t i = 0; i < fs->n; i++) {
		enum check_problem p = fs->f[i].problem;

		if (p == CHECK_PAST_END || p == CHECK_BYTES || p == CHECK_TRIM)
			return true;
	}
	return false;
}

/* Is it a problem only if all was read? */
static bool needs_all(const struct check_finding *f)
{
	switch (f->problem) {
	case CHECK_NO_SUPER:
	case CHECK_NO_ROOT:
	case CHECK_ENTRY_NO_INODE:
	case CHECK_NO_ENTRY:
	case CHECK_NLINK:
	case CHECK_CHILDREN:
	case CHECK_CYCLE:
	case CHECK_BYTES:
	case CHECK_BLOCK_NO_INODE:
	case CHECK_LOCKS_NO_INODE:
		return true;
	case CHECK_BAD_INODE:
	case CHECK_ORPHAN_MARK:
		return f->version == 0; /* it is not there */
	default:
		return false;
	}
}

static void drop_unsure(struct findings *fs)
{
	size_t n = 0;

	for (size_t i = 0; i < fs->n; i++)
		if (!needs_all(&fs->f[i]))
			fs->f[n++] = fs->f[i];
	fs->n = n;
}

static int look_twice(struct check *k, struct findings *fs)
{
	struct findings again = {0};
	int rc = look(k, fs);
	bool incomplete = k->incomplete;

	if (!rc && incomplete)
		drop_unsure(fs);
	if (!rc && k->io->pause && may_be_on_its_way(fs))
		rc = k->io->pause(k->io->arg, WAIT_FOR_WRITES);
	if (!rc && fs->n) {
		rc = look(k, &again);
		if (!rc && k->incomplete)
			drop_unsure(&again);
		if (!rc)
			agree(fs, &again);
		k->incomplete |= incomplete;
	}
	findings_fini(&again);
	return rc;
}

int check_run(struct orbit_client *c, const struct check_config *cfg, const struct check_io *io,
	struct check_report *out)
{
	struct check k = {.client = c, .cfg = cfg, .io = io, .report = out};
	int rc = 0;

	memset(out, 0, sizeof(*out));
	for (int round = 0; round < ROUNDS_MAX; round++) {
		struct findings fs = {0};
		int fixed = 0;

		rc = look_twice(&k, &fs);
		if (!rc && !k.super_seen && !k.incomplete)
			rc = -ENOENT;
		if (!rc)
			fixed = repair_all(&k, &fs);
		if (fixed < 0)
			rc = fixed;
		if (!rc)
			tell(&k, &fs, fixed == 0 || round == ROUNDS_MAX - 1);
		findings_fini(&fs);
		if (rc || fixed == 0)
			break;
	}
	check_scan_reset(&k);
	free(k.dir);
	free(k.prepared);
	free(k.silent);
	return rc;
}
