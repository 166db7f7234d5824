/*
 * hold: the records of inodes that are open here, and the holds that keep them in the cluster.
 *
 * Private to file.c and hold.c.
 */
#ifndef ORBIT_OPS_HOLD_H
#define ORBIT_OPS_HOLD_H

#include <uthash.h>

#include "fs/ops/file.h"

struct read_call;

struct file_inode {
	struct fs *fs;
	TAILQ_HEAD(, read_call) reads; /* under way (read.c) */
	uint64_t ino;
	UT_hash_handle hh;
	struct data_inode *data; /* NULL until it was first opened */
	unsigned opens;
	unsigned holds;   /* that the cluster has counted */
	unsigned doubt;   /* that it may have counted: no answer came */
	uint32_t session; /* whose holds these are */
	bool nameless;    /* opened with O_TMPFILE and not named yet: it may be */
	bool unlinked, dropping;
	bool is_idle;   /* on one of the two lists */
	bool is_kept;   /* on the second */
	uint64_t since; /* idle */
	TAILQ_ENTRY(file_inode) idle;
};

struct file_table {
	struct fs *fs;
	struct file_inode *inodes; /* uthash */
	TAILQ_HEAD(idle_list, file_inode) idle;
	struct idle_list kept; /* oldest first */
	unsigned nkept;
	TAILQ_HEAD(, fs_file) files;
	struct env_timer timer;
	bool ending;
	void (*done)(void *arg, int rc);
	void *arg;
};

/* Sets up what the table needs of it. */
void hold_init(struct file_table *ft);

/* The record of @ino: NULL when there is none; a new one then. */
struct file_inode *hold_find(struct fs *fs, uint64_t ino);
struct file_inode *hold_get(struct fs *fs, uint64_t ino);

/* It is in use (again). */
void hold_busy(struct file_inode *fi);
/* Forgets it; nobody holds it. */
void hold_free(struct file_inode *fi);
/* Forgets holds that went with their session. */
void hold_check(struct file_inode *fi);
/* Nobody has it open any more: its holds are dropped after a moment, or at once when it has no
 * name. May free it. */
void hold_unused(struct file_inode *fi);
/* Its lease is recalled. */
void hold_recalled(struct file_inode *fi);
/* Drops what can be dropped, of open inodes too: the mount ends. */
void hold_drop_all(struct fs *fs);

#endif
