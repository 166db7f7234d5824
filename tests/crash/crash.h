/*
 * crash: every short sequence of file operations, with the power of the whole cluster lost between
 * any two changes of any disk.
 *
 * A sequence starts on one of two trees that were synced: the empty one, or one with a large file
 * a, a small file b and a directory d. One mount carries it out step by step (the operations of
 * fs/, on a simulated cluster); files stay open, so what is written stays in the mount until it is
 * sent by itself, by fsync or by a step that needs it sent. At the end five seconds pass (what is
 * dirty is sent), files are closed, and all comes to rest. Before each change of any disk (a write,
 * a sync, a name) and at the end the power goes: nodes and the mount's machine at once, unsynced
 * changes being lost, or kept and torn as chance has it. Then the nodes come back, a new client
 * mounts, and what it sees has to be legal. Of three copies one may be gone for good ("torn1").
 *
 * Legal is (docs/DATA.md, docs/COMMIT.md, docs/STORE.md):
 *
 * - Names, link counts and modes are those after some of the steps, each of them wholly or not at
 *   all. One node has one log, so these are the first so many steps. With several logs, or with
 *   copies, each shard has kept the first so many of the steps that concern it: a directory and the
 *   files made in it are one shard here; a step that concerns two is kept by both or by none, and
 *   once it was answered, by both.
 * - All steps that were answered before an fsync began that was answered (of whatever file or
 *   directory: it covers the session) are among them. No step that was not begun is.
 * - A file's size, and its bytes in the inode (the first 64 KiB), are those after the first so many
 *   of its own changes; they may be older than the names, as written bytes wait in the mount, but
 *   not older than what an answered fsync of that file or a later cut had sent. They are not newer
 *   than the names: one log is in order, and so is one shard.
 * - Its bytes beyond (in a block, another object) are on their own after the first so many changes.
 *   On one log they are not older than the inode: blocks are sent first. With several logs they may
 *   be, down to what was synced: blocks have other shards.
 * - What no step wrote is zero, also when a file is made longer afterwards. With several logs only
 *   after the checker: what blocks have kept behind the end may have lost its mark.
 * - The checker finds nothing but what docs/DATA.md says a dead client leaves, repairs that, and
 *   what is seen stays as it was.
 */
#ifndef ORBIT_TESTS_CRASH_H
#define ORBIT_TESTS_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define STEPS_MAX 6
#define INODES_MAX 12 /* root, those of the first tree, and one for each step */
#define ENTRIES_MAX 12
#define SIZE_MAX_FILE (128u << 10)
#define INLINE_BYTES (64u << 10)

/* ---- steps (steps.c) ---- */

enum verb { CREATE, MKDIR, WRITE, APPEND, TRUNCATE, RENAME, LINK, UNLINK, RMDIR, FSYNC, VERBS };

/* A step, and what it means after those before it: numbers are of inodes in struct tree. */
struct step {
	enum verb verb;
	char path[8], to[8]; /* "/", "a", "d", "d/a" */
	uint32_t off, len;   /* append: where the end is; truncate: the size */
	int dir, dir2;       /* of path and to */
	int ino;             /* what is concerned, or made */
	int gone;            /* what a rename replaces; -1: nothing */
};

struct entry {
	int dir, ino;
	char name[8];
};

struct inode {
	bool is_dir;
	int home;      /* whose shard it is in: a directory's number */
	uint32_t size; /* when all was carried out */
	uint32_t base; /* at the beginning */
};

struct tree {
	struct inode inode[INODES_MAX];
	int ninodes;
	struct entry entry[ENTRIES_MAX];
	int nentries;
};

enum base { BASE_EMPTY, BASE_FILLED, BASES };
const char *base_name(enum base b);
bool base_parse(const char *name, enum base *out);
void tree_base(struct tree *t, enum base b);

/* The last part of a path. */
const char *path_name(const char *path);
/* One of "create a", "write a 0 5000", ...; false: it is none. */
bool step_parse(struct step *s, const char *text, size_t len);
void step_print(const struct step *s, char *out, size_t len);
/* Finds out what it concerns in @t; false: it would fail, or change nothing. */
bool step_bind(struct step *s, struct tree *t);
/* Changes the names and sizes of @t as the step does, which was bound. */
void step_apply(const struct step *s, struct tree *t);
/* Is it one that changes names or attributes in its own time? Cuts are, too. */
bool step_is_named(const struct step *s);
bool step_is_data(const struct step *s); /* write, append, truncate */
/* Bits: in whose shards it changes something. */
unsigned step_homes(const struct step *s, const struct tree *t);

/* The vocabulary: texts of all steps that are tried. */
extern const char *const vocabulary[];
extern const unsigned nvocabulary;

/* The byte that step @n writes at @off, or, below 0, that inode -@n had there at the beginning.
 * Never 0. */
uint8_t step_byte(int n, uint32_t off);

/* ---- what happened (rig.c), and what is legal (legal.c) ---- */

struct history {
	enum base base;
	bool one_log;        /* one node has all, once */
	int log[INODES_MAX]; /* of a directory: which log has its shard */
	struct step step[STEPS_MAX];
	int n;                       /* steps begun */
	int done;                    /* steps answered */
	struct tree at;              /* after those begun */
	uint64_t real[INODES_MAX];   /* numbers of inodes as far as they were told; else 0 */
	int synced;                  /* that many steps were answered when the last fsync began */
	int data_synced[INODES_MAX]; /* the same, of the file's own fsync */
};

struct seen_entry {
	uint64_t dir, ino; /* real numbers */
	char name[260];
};

struct seen_inode {
	uint64_t ino;
	uint32_t mode, nlink;
	uint64_t size;
	uint8_t *data; /* of a file; size bytes */
};

struct seen {
	uint64_t root;
	struct seen_entry entry[32];
	int nentries;
	struct seen_inode inode[32];
	int ninodes;
};

const struct seen_inode *seen_find(const struct seen *s, uint64_t ino);
/* 0 if it can be so; else why not, for each moment that it might have been. @lost (may be NULL):
 * how many steps that had been answered are not there. */
bool legal(const struct history *h, const struct seen *s, int *lost, char *why, size_t len);

#endif
