/*
 * rig: the cluster and the mount that carry out a sequence, the power that goes, and what is seen
 * when it is back.
 */
#ifndef ORBIT_TESTS_CRASH_RIG_H
#define ORBIT_TESTS_CRASH_RIG_H

#include "fs/ops/fs.h"
#include "tests/crash/crash.h"
#include "tests/sim/cluster.h"

#define RIG_LIMIT (300 * ENV_SEC)

struct rig_config {
	enum base base;
	unsigned nodes, replicas;
	uint64_t seed;
	bool verbose;
};

struct rig {
	struct rig_config cfg;
	struct cluster *c;
	struct orbit_client *client;
	struct env *env;
	struct fs *fs;
	struct fs_file *file[INODES_MAX], *append[INODES_MAX]; /* open files; NULL */
	struct history h;
	uint64_t changes; /* of all disks, since the sequence began */
	bool counting;
	/* Asked before each change, when @changes have been made: does the power go? */
	bool (*ask)(struct rig *r);
	/* It is gone. Does not return. */
	void (*dark)(struct rig *r) __attribute__((noreturn));
	bool out;
	bool failed;
	char why[800];
};

/* Once only: what was wrong. */
void rig_fail(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A cluster, a filesystem, a mount and the first tree, all synced and at rest. */
void rig_new(struct rig *r, const struct rig_config *cfg);
/* The next step, which has to succeed; what is told meanwhile goes to r->h. False: the rig failed.
 */
bool rig_step(struct rig *r, const struct step *s);
/* What is dirty is sent, all files are closed, and all comes to rest. */
void rig_settle(struct rig *r);

/* What power loss leaves: all that was not synced is lost; or, with n > 0, it is lost, kept or torn
 * by that seed. */
void rig_power(struct rig *r, unsigned n);
/* The node that has served the root. */
int rig_leads(struct rig *r);
/* The nodes come back, all but @away (-1: none), which is removed; and a new client with a mount.
 */
void rig_back(struct rig *r, int away);
/* Is what a mount sees legal, and does the checker agree? How many answered steps were lost. With
 * one log nothing may lie behind the ends of files even before the checker was there: @grow_first.
 */
void rig_judge(struct rig *r, bool grow_first, int *lost);

/* Lets time pass. */
void rig_run(struct rig *r, uint64_t ns);

/* ---- for look.c ---- */

struct rig_call {
	struct fs_call call;
	struct rig *r;
	bool done;
	int rc;
	uint8_t *data; /* a copy */
	size_t len;
};

void rig_call(struct rig *r, struct rig_call *w);
int rig_wait(struct rig *r, struct rig_call *w);
bool rig_pump(struct rig *r, const bool *done);
void rig_mount(struct rig *r);
void rig_unmount(struct rig *r);

/* The whole tree as the mount has it; freed with look_free(). */
void look(struct rig *r, struct seen *s);
void look_free(struct seen *s);
bool look_same(const struct seen *a, const struct seen *b);
/* The checker finds nothing but what a dead client may leave, and repairs it. */
void look_check(struct rig *r, bool *repaired);
/* What lies behind the ends of files does not come back when they grow; a new file can be made. */
void look_behind(struct rig *r, const struct seen *s);

#endif
