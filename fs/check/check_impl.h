/* check_impl: what the passes share. */
#ifndef ORBIT_CHECK_IMPL_H
#define ORBIT_CHECK_IMPL_H

#include "fs/check/check.h"
#include "fs/check/runs.h"

/* What a scanned key says, under the inode that it is about; sorted by (ino, kind, a, b). */
enum fact_kind {
	FACT_INODE = 1, /* the inode itself */
	FACT_ENTRY,     /* an entry names it: a = directory, b = cookie, x = type */
	FACT_CHILD,     /* it is a directory with an entry: a = child, b = cookie, x = type */
	FACT_BLOCK,     /* a = block, b = bytes, x = stream end, y = version */
	FACT_HOLD,      /* a = session */
	FACT_ORPHAN,    /* it is on the orphan list */
	FACT_LOCKS,     /* y = version */
	FACT_BAD_ENTRY, /* it is a directory with an entry that does not parse */
};

struct fact {
	uint64_t ino;
	uint64_t kind;
	uint64_t a, b, x, y;
};

/* The inode fact needs more room: it lies in a run of its own, in the same order. */
struct inode_fact {
	uint64_t ino;
	uint64_t version, stream_end, stream_bytes;
	uint64_t mode, nlink, size, parent, trim, children, bytes, tail;
};

struct dir_fact {
	uint64_t ino, parent;
};

struct prepared_fact {
	uint64_t shard, session, number;
};

struct findings {
	struct check_finding *f;
	size_t n, cap;
};

void findings_add(struct findings *fs, const struct check_finding *f);
void findings_fini(struct findings *fs);

struct check {
	struct orbit_client *client;
	const struct check_config *cfg;
	const struct check_io *io;
	struct check_report *report;

	struct runs *facts, *inodes;
	struct dir_fact *dir; /* directories with exactly one entry, and the root */
	size_t ndirs, dir_cap;
	struct prepared_fact *prepared;
	size_t nprepared, prepared_cap;
	bool super_seen;
	bool incomplete;         /* a shard was not read whole */
	struct orbit_id *silent; /* nodes that did not answer in this scan */
	size_t nsilent;
	int rc; /* of a run that could not be written */

	uint64_t lost_found; /* inode of lost+found; 0: not looked for yet */
	uint32_t counter;    /* for new inode numbers of this session */
};

/* Pumps until *done, also when a person wants to stop meanwhile (the client's policy bounds it):
 * then -EINTR. */
int check_await(struct check *k, const bool *done);

/* One transaction to its end: the reply's rc; the caller's look() sees the reply before it is gone.
 */
int check_txn(struct check *k, struct txn_build *t,
	void (*look)(void *arg, const struct orbit_reply *r), void *arg);

/* scan.c: fills the runs. 0, -EINTR, -errno of a run. */
int check_scan(struct check *k);
void check_scan_reset(struct check *k);

/* join.c: compares what was scanned; findings in order of inode. */
int check_join(struct check *k, struct findings *out);

/* repair.c: 0 repaired; -ECANCELED it changed meanwhile; -EOPNOTSUPP there is no repair. */
int check_repair(struct check *k, const struct check_finding *f);
/* The repair takes something away that a person might want back, or makes something up. */
bool check_repair_deletes(enum check_problem p);
bool check_repair_is_safe(enum check_problem p);

#endif
