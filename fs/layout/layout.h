/*
 * layout: how inodes, directory entries and file blocks are laid out in objects of the DHT.
 *
 * An inode is an object whose position is its number. Its slots are below; its map holds directory
 * entries ("d" + hash + name) and extended attributes ("x" + name); its byte stream holds the first
 * LAYOUT_INLINE bytes of a file, or the target of a symbolic link. The rest of a file lies in block
 * objects of LAYOUT_BLOCK bytes, block n holding [n * LAYOUT_BLOCK, ...) at the same offset within
 * the block, whose positions are hashed. (Block 0's stream is empty below LAYOUT_INLINE.)
 * docs/LAYOUT.md.
 *
 * Pure functions.
 */
#ifndef ORBIT_LAYOUT_LAYOUT_H
#define ORBIT_LAYOUT_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "dht/base/id.h"
#include "dht/txn/txn.h"

#define LAYOUT_VERSION 1
#define LAYOUT_INLINE (64u << 10)
#define LAYOUT_BLOCK (1u << 20)
#define LAYOUT_SIZE_MAX (INT64_MAX) /* bytes of a file */
#define LAYOUT_NAME_MAX 255
#define LAYOUT_LINK_MAX 1000000u /* hard links of a file, subdirectories of a directory */
#define LAYOUT_SYMLINK_MAX 4095
#define LAYOUT_XATTR_NAME_MAX 255
#define LAYOUT_XATTR_VALUE_MAX (64u << 10)
#define LAYOUT_SPREAD_AFTER 65536 /* children; from there on new files hash their own position */

enum layout_slot {
	SLOT_MODE = 0, /* type and permission bits, as st_mode; LAYOUT_MODE_* above them */
	SLOT_UID = 1,
	SLOT_GID = 2,
	SLOT_NLINK =
		3, /* changed by TXN_REF: at zero the inode is an orphan. Directory: 2 + subdirs */
	SLOT_SIZE = 4, /* file: bytes; symlink: of the target; directory: 0 (stat shows children) */
	SLOT_ATIME = 5, /* ns since 1970, two's complement */
	SLOT_MTIME = 6,
	SLOT_CTIME = 7,
	SLOT_BTIME = 8,
	SLOT_RDEV = 9,
	SLOT_PARENT =
		10, /* directory: its parent. File: the directory it was created in (a hint) */
	SLOT_CUT =
		11, /* how often the file was cut (truncate, punch): see the design, "Data model" */
	SLOT_TRIM = 12,     /* 1 + offset from which blocks are to be trimmed; 0: nothing to trim */
	SLOT_CHILDREN = 13, /* directory: entries; rmdir compares it with 0 */
	SLOT_TAIL = 13,     /* file: what its mark is, and its count of bytes: enum layout_tail */
	SLOT_BYTES = 14, /* bytes in block objects (those in the inode's own stream not counted) */
	SLOT_TRIM_TO = 15, /* with SLOT_TRIM: how long the file was before it was cut; else 0 */
};

/* Bits of SLOT_TAIL: with SLOT_TRIM set, whose mark it is. */
enum layout_tail {
	/* A writer's, who may write blocks up to SLOT_TRIM_TO. He clears it himself; whoever else
	 * meets it, he is dead: his blocks have the file's cut, so that is raised first. */
	TAIL_OPEN = 1,
	TAIL_UNCOUNTED = 2, /* that has been done; SLOT_BYTES does not count what is to go */
	TAIL_LOW = 4,       /* SLOT_BYTES may be too low, with or without a mark */
};

/* A block object has one slot: the highest cut that its writers saw. */
#define BLOCK_SLOT_CUT 0

/* The superblock object */
enum super_slot {
	SUPER_VERSION = 0,
	SUPER_FEATURES = 1,
	SUPER_BTIME = 2,
	SUPER_ROOT = 3,
	SUPER_RANGES = 4, /* how many LAYOUT_RANGEs were given out */
};

/* What stands for the session in the inode numbers of the @n-th range that a mount took because its
 * own was spent. */
#define LAYOUT_RANGE(n) (0xffffffu - (n))

/* ---- inode numbers: 16 bits position, 24 bits session, 24 bits counter ---- */

#define LAYOUT_INO_LOW_MASK ((UINT64_C(1) << 48) - 1)

/* The low 48 bits of the @counter-th inode of a session. */
static inline uint64_t layout_low(uint32_t session, uint32_t counter)
{
	return (uint64_t)(session & 0xffffff) << 24 | (counter & 0xffffff);
}

/* A number whose position is hashed from its own low bits: directories, and files of a directory
 * with more than LAYOUT_SPREAD_AFTER children. */
uint64_t layout_ino_own(uint64_t low);

/* A number at the position of the directory @dir. */
uint64_t layout_ino_beside(uint64_t low, uint64_t dir);

/* The root directory: layout_ino_own(1). */
uint64_t layout_ino_root(void);

/* ---- object IDs ---- */

extern const uint8_t layout_inode_suffix[24]; /* what follows the position in an inode's ID */

struct orbit_id layout_inode_id(uint64_t ino);
struct orbit_id layout_block_id(uint64_t ino, uint64_t block);
struct orbit_id layout_super_id(void);
struct orbit_id layout_rename_id(void); /* the rename-epoch object: slot 0 */
/* The locks of an inode: an object of its own beside it, so that locking changes nothing of the
 * inode. It is there as long as anybody has one, perhaps longer. */
struct orbit_id layout_locks_id(uint64_t ino);

enum layout_kind {
	LAYOUT_INODE,
	LAYOUT_BLOCK_OBJECT,
	LAYOUT_SUPER,
	LAYOUT_RENAME,
	LAYOUT_LOCKS,
	LAYOUT_OTHER
};
/* What an ID names, and whose it is. */
enum layout_kind layout_kind_of(const struct orbit_id *id, uint64_t *ino, uint64_t *block);

/* ---- directory entries ---- */

#define DIRENT_KEY_MAX (1 + 8 + LAYOUT_NAME_MAX)
#define DIRENT_VALUE_LEN 9

/* Entries are ordered by a 63-bit hash of the name, which is also the readdir cookie (never 0, 1 or
 * 2: those are for "." and ".."), so cookies hold while the directory changes. Returns the length.
 */
size_t layout_dirent_key(const char *name, size_t len, uint8_t key[DIRENT_KEY_MAX]);
uint64_t layout_dirent_cookie(const uint8_t *key, size_t klen);
/* The key prefix to begin a range with: entries with a cookie above @cookie. */
size_t layout_dirent_after(uint64_t cookie, uint8_t key[DIRENT_KEY_MAX]);
/* 0 and the name in place; -EUCLEAN when it is no entry. */
int layout_dirent_name(const void *key, size_t klen, const char **name, size_t *len);

/* @type is a DT_* of dirent.h. */
void layout_dirent_value(uint64_t ino, uint8_t type, uint8_t val[DIRENT_VALUE_LEN]);
int layout_dirent_parse(const void *val, size_t len, uint64_t *ino, uint8_t *type);

/* ---- extended attributes ---- */
size_t layout_xattr_key(const char *name, uint8_t key[1 + LAYOUT_XATTR_NAME_MAX]);

/* ---- locks ---- */

/* An entry of a locks object: all that one owner on one mount has locked. */
enum layout_lock_kind { LAYOUT_FLOCK = 'f', LAYOUT_FCNTL = 'p' };
#define LOCK_KEY_LEN 14 /* 'l', kind, session, owner */
#define LOCK_RANGE_LEN 21
#define LOCK_RANGES_MAX 3000 /* of one owner in one file */
#define LOCK_LAST INT64_MAX  /* the last byte that can be locked */

struct layout_lock {
	enum layout_lock_kind kind;
	uint32_t session; /* of the mount; the entry counts as long as it is not over */
	uint64_t owner;   /* as that mount's kernel names it */
};

/* Its value: ranges in order, none of which touch. */
struct layout_lock_range {
	uint64_t first, last; /* bytes; <= LOCK_LAST */
	uint32_t pid;         /* where that mount is */
	bool write;           /* exclusive */
};

void layout_lock_key(const struct layout_lock *l, uint8_t key[LOCK_KEY_LEN]);
/* 0 or -EUCLEAN. */
int layout_lock_parse(const void *key, size_t klen, struct layout_lock *l);
void layout_lock_put(struct buf *b, const struct layout_lock_range *r);
/* Fills @r with what @val has: how many there are, or -EUCLEAN. */
int layout_lock_ranges(const void *val, size_t len, struct layout_lock_range r[LOCK_RANGES_MAX]);

/* ---- attributes ---- */
struct fs_attr {
	uint64_t ino;
	uint32_t mode, uid, gid, nlink;
	uint64_t size;
	uint64_t bytes; /* allocated */
	uint64_t rdev;
	int64_t atime, mtime, ctime, btime; /* ns since 1970 */
	uint64_t version;                   /* of the object */
	uint64_t parent, cut, trim, trim_to, children;
	uint64_t block_bytes; /* those of bytes that are in block objects */
	uint64_t tail;        /* enum layout_tail */
};

/* Bits of a mode besides those of st_mode. */
#define LAYOUT_MODE_ACL (1u << 16)  /* an access control list is among the attributes */
#define LAYOUT_MODE_DACL (1u << 17) /* of a directory: and one that new files get */
#define LAYOUT_MODE_MAX (S_IFMT | 07777u | LAYOUT_MODE_ACL | LAYOUT_MODE_DACL)

/* -EUCLEAN when the object can't be an inode (no type in its mode). */
int layout_attr(uint64_t ino, const struct txn_object *o, struct fs_attr *a);
void layout_stat(const struct fs_attr *a, struct stat *st);

/* DT_* of a mode */
uint8_t layout_dtype(uint32_t mode);

#endif
