/*
 * model: a filesystem in memory, as simple as can be, that says whether what the real one answered
 * can be so.
 *
 * model_step() carries out one call the way POSIX and docs/ describe it and compares the answer
 * with what was observed. What the model can't know - inode numbers, the time of day, whether a
 * removed inode is swept away already - it takes from the observation, within limits. An answer
 * that nobody saw (its mount died) is taken to be whatever the model says.
 */
#ifndef ORBIT_TESTS_MODEL_MODEL_H
#define ORBIT_TESTS_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/layout/layout.h"

#define MODEL_MOUNTS 8
#define MODEL_INODES 160
#define MODEL_ENTRIES 8
#define MODEL_XATTRS 4
#define MODEL_VERSIONS 8
#define MODEL_SIZE_MAX (3u << 20)

enum call_kind {
	CALL_LOOKUP,
	CALL_CREATE,
	CALL_MKNOD,
	CALL_MKDIR,
	CALL_SYMLINK,
	CALL_LINK,
	CALL_UNLINK,
	CALL_RMDIR,
	CALL_RENAME,
	CALL_READLINK,
	CALL_GETATTR,
	CALL_SETATTR,
	CALL_READDIR,
	CALL_GETXATTR,
	CALL_SETXATTR,
	CALL_LISTXATTR,
	CALL_REMOVEXATTR,
	CALL_OPEN,
	CALL_READ,
	CALL_WRITE,
	CALL_FSYNC,
	CALL_CLOSE,
	CALL_FALLOCATE,
	CALL_LSEEK,
	CALL_TMPFILE,
	CALL_SETLK,
	CALL_GETLK,
	CALL_COPY,
	CALL_KINDS
};

/* Is it a call on an open file? */
static inline bool call_on_file(unsigned kind)
{
	return (kind >= CALL_READ && kind <= CALL_LSEEK) || kind == CALL_SETLK ||
	       kind == CALL_GETLK || kind == CALL_COPY;
}

/* Who locks, on each mount: flock by the open file 0 or 1, fcntl by the process 0 or 1. */
#define LOCK_OWNERS 4
#define LOCK_IS_FCNTL(owner) ((owner) >= 2)
/* Bytes are 0, 1, ... and all the rest. */
#define LOCK_CELLS 8

/* One call of fs.h. Inodes are named by their real numbers, strings are static. */
struct call {
	enum call_kind kind;
	unsigned mount;
	uint64_t dir, dir2, ino;
	const char *name, *name2; /* also of an attribute; target of a symbolic link: name2 */
	uint32_t mode, uid, gid;
	uint64_t rdev, off, len;
	uint64_t ino2, off2; /* copy: from there */
	unsigned what;       /* setattr; locks: the owner */
	int flags; /* of open, rename, setxattr; fallocate's mode; lseek's whence; lock's type*/
	unsigned handle; /* which of the mount's open files */
	bool plus;       /* readdir with attributes */
	bool kill;       /* write drops set-id bits */
	uint32_t salt;   /* of the bytes written */
	int64_t time;    /* setattr */
};

struct seen_entry {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t ino;
	uint8_t type;
	bool has_attr;
	struct fs_attr attr;
};

/* What was observed of a call. */
struct seen {
	bool known; /* false: whoever asked is dead */
	int rc;
	bool has_attr;
	bool racing; /* with others, be they dead */
	bool loose;  /* attr may be of a later moment: others were at work */
	struct fs_attr attr;
	uint8_t *data;
	size_t len;
	uint64_t offset;
	int lock; /* getlk: what is in the way */
	struct seen_entry *entry;
	unsigned nentries;
	int64_t begin, end; /* ns since 1970 */
};
void seen_free(struct seen *s);

struct model;
struct model_bytes;

/* Between these times, both included. */
struct span {
	int64_t lo, hi;
};

/* Who locked what. */
struct model_lock {
	uint8_t cell[LOCK_CELLS]; /* 0: nothing, 1: shared, 2: alone */
	uint8_t via;              /* the open file through which it was changed last */
	bool fades; /* it is unlocked in the background, or its mount died: there or not */
};

struct model_inode {
	uint64_t ino; /* 0: nobody has seen it yet */
	uint32_t mode, uid, gid, nlink;
	uint64_t rdev;
	unsigned parent;          /* of a directory */
	struct model_bytes *data; /* of a file, or the target */
	struct {
		const char *name;
		unsigned inode;
	} entry[MODEL_ENTRIES];
	unsigned nentries;
	struct {
		const char *name;
		struct model_bytes *value;
	} xattr[MODEL_XATTRS];
	unsigned opens[MODEL_MOUNTS];
	unsigned unsynced; /* bits: mounts that have changed it since they synced */
	unsigned nameless; /* mount + 1 that has it open and may give it its first name */
	struct model_lock lock[MODEL_MOUNTS][LOCK_OWNERS];
	struct span atime, mtime, ctime, btime;
	int64_t chosen; /* of a directory: its mtime may still be that, in the future; 0: none */
	/* What the file was since its writer sent all that was dirty, oldest first. */
	struct model_bytes *was[MODEL_VERSIONS];
	unsigned nwas;
	unsigned writer; /* mount + 1 that may have something dirty; 0: none */
	bool doubt;      /* its writer died: any of was[], byte by byte */
};

struct model *model_new(uint64_t root, const struct fs_attr *a);
struct model *model_copy(const struct model *m);
void model_free(struct model *m);
bool model_equal(const struct model *a, const struct model *b);

/* Could that be the answer? Then the model has gone on. If not, @why says what differs, and the
 * model is good for nothing. */
bool model_step(struct model *m, const struct call *c, const struct seen *s, char *why, size_t len);

/* All that was done to it is on the disks. */
bool model_durable(const struct model_inode *i);

/* The process of that mount is gone, with what it had open and dirty. */
void model_kill(struct model *m, unsigned mount);

/* The inode with that number; NULL: none. */
const struct model_inode *model_find(const struct model *m, uint64_t ino);

/* The next inode after *at (begin with 0) that is in the tree: its number in the model, or 0; the
 * root is 1. */
unsigned model_next(const struct model *m, unsigned at);
const struct model_inode *model_at(const struct model *m, unsigned at);
/* A path to it, from the root. */
void model_path(const struct model *m, unsigned at, char *path, size_t len);

/* A file in doubt was read: is each byte one that it may have? Then it is that now. */
bool model_adopt(struct model *m, uint64_t ino, const uint8_t *data, size_t len,
	const struct fs_attr *a, char *why, size_t whylen);

/* Bytes of a write. */
void model_pattern(uint8_t *p, uint64_t off, size_t len, uint32_t salt);
uint64_t model_size(const struct model_inode *i);

#endif
