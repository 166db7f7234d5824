/*
 * fs: POSIX operations on a mounted filesystem, as transactions of the DHT. No FUSE types.
 *
 * Each operation takes a struct fs_call that the caller embeds and that carries who asks, where the
 * answer goes, and the results. call->done(call, rc) comes exactly once, from the loop, possibly
 * before the operation's function returns. rc is 0 or a negative errno as POSIX names it for that
 * call
 * ("unreachable" is -ETIMEDOUT or nothing yet, never -ENOENT). Buffers that the caller passes must
 * stay until done(), names are copied.
 *
 * Permission bits and access control lists are the caller's business (the kernel's
 * default_permissions), but for the umask, which counts only where no list is inherited; ownership,
 * set-id, sticky and time rules that need the old state atomically are done here.
 *
 * Thread: the loop.
 */
#ifndef ORBIT_OPS_FS_H
#define ORBIT_OPS_FS_H

#include <sys/queue.h>

#include "dht/client/orbit.h"
#include "fs/layout/layout.h"

struct fs;
struct fs_file; /* an open file */
struct fs_dir;  /* an open directory */

/* What a mount remembers: until it is told; for a while; nothing. */
enum fs_cache { FS_CACHE_STRICT, FS_CACHE_RELAXED, FS_CACHE_NONE };

struct fs_config {
	bool read_only;
	uint64_t write_behind; /* bytes of dirty data per mount, default 64 MiB; 0: write through */
	uint64_t read_ahead;   /* bytes, default 4 MiB; 0: none */
	uint64_t read_cache;   /* bytes of file data kept in this process for read-ahead, 64 MiB */
	bool noatime;          /* default: relatime */
	enum fs_cache cache;   /* default FS_CACHE_STRICT */
	uint64_t relaxed;      /* FS_CACHE_RELAXED: ns, default 1 s */
	struct orbit_policy policy; /* the client's; what a file's own policy begins from */
};
struct fs_config fs_config_default(void);

enum fs_lock_kind { FS_LOCK_FLOCK, FS_LOCK_FCNTL };

struct fs_lock {
	enum fs_lock_kind kind;
	int type;             /* F_RDLCK, F_WRLCK, F_UNLCK */
	uint64_t owner;       /* as the kernel names it; each kind has its own */
	uint64_t first, last; /* bytes, <= LOCK_LAST; flock: 0 .. LOCK_LAST */
	uint32_t pid;
};

/* Where a write goes: where the file's O_APPEND says, as it was opened; there; to the end, while
 * the kernel may keep the bytes as pages there. */
enum fs_place { FS_PLACE_OPENED, FS_PLACE_OFFSET, FS_PLACE_END };

/* The caller's data for one operation. Zero it, set the first part. */
struct fs_call {
	uint32_t uid, gid, pid;
	uint32_t umask;
	const uint32_t
		*groups; /* setxattr of an access control list: more groups of the caller's */
	unsigned ngroups;
	enum fs_place place; /* write */
	bool kill_priv;      /* write, fallocate, copy: the writer may not keep set-id bits (no
				CAP_FSETID) */
	void (*done)(struct fs_call *c, int rc);

	/* Results, good during done(). */
	struct fs_attr attr; /* lookup, getattr, setattr, create, mkdir, mknod, link, symlink */
	uint64_t entry_keep; /* lookup, create, mkdir, mknod, link, symlink: ns for which the kernel
				may keep the entry; lookup that failed with -ENOENT: that there is
				none */
	uint64_t age;        /* getattr: ns; attr was so that long ago and may have changed since */
	struct fs_file *file; /* open, create */
	bool keep_cache;      /* open: the data is what this mount saw last, pages may stay */
	bool attr_changed;    /* open: not what lookup and getattr said last, and not by us */
	struct fs_dir *dir;   /* opendir */
	const void *data;     /* read, readlink, getxattr, listxattr */
	size_t len;           /* of data; of what was written or copied */
	uint64_t offset;      /* lseek */
	struct fs_lock lock;  /* getlk: what is in the way; type F_UNLCK: nothing */
	struct frame *keep;   /* what data lies in: frame_ref() it to keep it longer; may be NULL */

	/* The operation's own. */
	unsigned again; /* times that it began anew */
	void *impl;
	orbit_handle handle; /* in flight now, for fs_interrupt() */
	/* What fs_interrupt() does for a call that waits for more than one transaction; NULL: it
	 * cancels handle. May end the call. */
	void (*interrupt)(struct fs *fs, struct fs_call *c, bool fatal);
	bool interrupted;    /* a signal waits for it */
	bool fatal;          /* a fatal one: whatever it submits from now on is cancelled */
	struct fs *asked_in; /* on this mount's list of interrupted calls */
	TAILQ_ENTRY(fs_call) asked;
};

/* Mounts: reads the superblock, waits for the client to be ready for up to @timeout ns.
 * done(arg, rc, fs): -ENOENT no filesystem was made there, -EPROTONOSUPPORT newer layout, ... */
void fs_mount(struct orbit_client *c, struct env *e, const struct fs_config *cfg, uint64_t timeout,
	void (*done)(void *arg, int rc, struct fs *fs), void *arg);

/* Flushes what is dirty, drops holds, stops reaping; then done(arg, rc): the first write-behind
 * error that nobody was told, or 0. The client stays the caller's. */
void fs_unmount(struct fs *fs, uint64_t timeout, void (*done)(void *arg, int rc), void *arg);

/* Makes an empty filesystem in the cluster: superblock and root directory owned by uid, gid.
 * -EEXIST when there is one. */
void fs_mkfs(struct orbit_client *c, struct env *e, uint32_t uid, uint32_t gid,
	void (*done)(void *arg, int rc), void *arg);

/* A signal waits for the caller of @call: with @fatal, or when the transaction has stalled past its
 * check_timeout, the operation ends with -EINTR; otherwise nothing happens now, but it is asked
 * again when it stalls. Idempotent. */
void fs_interrupt(struct fs *fs, struct fs_call *call, bool fatal);

/* ---- names (names.c, create.c, remove.c, rename.c, link.c) ---- */
void fs_lookup(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name);
/* O_CREAT of a name that the kernel saw as absent: the existing file is opened when it turned up
 * meanwhile, unless O_EXCL is in @flags. */
void fs_create(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode,
	int flags);
/* A file without a name, open; fs_link() may give it one. */
void fs_tmpfile(struct fs *fs, struct fs_call *c, uint64_t dir, uint32_t mode, int flags);
void fs_mknod(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode,
	uint64_t rdev);
void fs_mkdir(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, uint32_t mode);
void fs_symlink(
	struct fs *fs, struct fs_call *c, uint64_t parent, const char *name, const char *target);
void fs_link(struct fs *fs, struct fs_call *c, uint64_t ino, uint64_t parent, const char *name);
void fs_unlink(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name);
void fs_rmdir(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name);
/* @flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT; else -EINVAL. */
void fs_rename(struct fs *fs, struct fs_call *c, uint64_t parent, const char *name,
	uint64_t new_parent, const char *new_name, unsigned flags);
void fs_readlink(struct fs *fs, struct fs_call *c, uint64_t ino);

/* ---- attributes (attr.c, xattr.c, statfs.c) ---- */
void fs_getattr(struct fs *fs, struct fs_call *c, uint64_t ino);
/* The kernel knows @ino no longer. */
void fs_forget(struct fs *fs, uint64_t ino);
/* For how long, in ns, the kernel may keep attributes of @ino that it is given now. */
uint64_t fs_keep_attr(struct fs *fs, uint64_t ino);
/* The same for the entry of @dir with that name. */
uint64_t fs_keep_entry(struct fs *fs, uint64_t dir, const char *name, size_t len);
struct inode_drop;
/* There is a kernel that remembers things: drop(arg, d) lets it forget (fs/cache/inode.h). NULL:
 * there is none any more. */
void fs_kernel(struct fs *fs, void (*drop)(void *arg, struct inode_drop *d), void *arg);

enum fs_set {
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_ATIME_NOW = 64,
	FS_SET_MTIME_NOW = 128,
	FS_SET_CTIME = 256,
	FS_SET_KILL_SUID = 512, /* drop set-id bits as a write by an unprivileged user does */
};
/* Takes what @what names from @set. */
void fs_setattr(
	struct fs *fs, struct fs_call *c, uint64_t ino, unsigned what, const struct fs_attr *set);

void fs_getxattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name);
/* @flags: XATTR_CREATE, XATTR_REPLACE */
void fs_setxattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name,
	const void *value, size_t len, int flags);
void fs_listxattr(struct fs *fs, struct fs_call *c, uint64_t ino); /* names, NUL after each */
void fs_removexattr(struct fs *fs, struct fs_call *c, uint64_t ino, const char *name);
/* c->attr is not set; the answer goes to @out, which stays until done(). */
struct statvfs;
void fs_statfs(struct fs *fs, struct fs_call *c, struct statvfs *out);

/* ---- directories (readdir.c) ---- */
void fs_opendir(struct fs *fs, struct fs_call *c, uint64_t ino);
struct fs_dirent {
	const char *name; /* NUL-terminated, until fill() returns */
	size_t len;
	uint64_t ino, cookie;
	uint8_t type;
	const struct fs_attr *attr; /* with @plus; NULL for "." and ".." */
};
/* Gives entries after @cookie (0: from the start) to fill() until it says false (that one was not
 * taken) or the directory ends. With @plus each entry comes with its attributes; entries whose
 * object is gone by then are left out. */
void fs_readdir(struct fs *fs, struct fs_call *c, struct fs_dir *d, uint64_t cookie, bool plus,
	bool (*fill)(void *arg, const struct fs_dirent *e), void *arg);
void fs_releasedir(struct fs *fs, struct fs_dir *d);
void fs_fsyncdir(struct fs *fs, struct fs_call *c, struct fs_dir *d);

/* ---- file data (file.c, read.c, write.c, truncate.c, space.c, copy.c) ---- */
/* Holds the inode: it stays while it is open, even unlinked. @flags: O_* as open(2). */
void fs_open(struct fs *fs, struct fs_call *c, uint64_t ino, int flags);
void fs_read(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, size_t len);
/* Takes @data (copied before this returns unless it goes straight out; the caller may reuse it
 * after done()). With c->place it goes elsewhere than to @off. */
void fs_write(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, const void *data,
	size_t len);
void fs_flush(struct fs *fs, struct fs_call *c, struct fs_file *f); /* close(2): reports errors */
void fs_fsync(struct fs *fs, struct fs_call *c, struct fs_file *f, bool data_only);
/* @mode: FALLOC_FL_KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE; else -EOPNOTSUPP. */
void fs_fallocate(
	struct fs *fs, struct fs_call *c, struct fs_file *f, int mode, uint64_t off, uint64_t len);
/* SEEK_DATA, SEEK_HOLE */
void fs_lseek(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t off, int whence);
/* Copies up to @len bytes between two files, or within one, where they must not meet; c->len: how
 * many, perhaps fewer than there are. Holes stay holes. */
void fs_copy(struct fs *fs, struct fs_call *c, struct fs_file *in, uint64_t off_in,
	struct fs_file *out, uint64_t off_out, uint64_t len);
/* The last close: drops the hold in the background. */
void fs_release(struct fs *fs, struct fs_file *f);

/* ---- locks (lock.c) ---- */

/* Locks, changes or unlocks. In the way of another's: -EAGAIN; with @wait when nothing is any more,
 * or -EDEADLK where those in the way wait for the caller (on this mount), or -EINTR. -ENOLCK: there
 * is no room for it. An flock that is changed and has to wait, or can't, is gone meanwhile. */
void fs_setlk(
	struct fs *fs, struct fs_call *c, struct fs_file *f, const struct fs_lock *l, bool wait);
/* Would it be in the way of somebody's? pid is 0 on other mounts. */
void fs_getlk(struct fs *fs, struct fs_call *c, struct fs_file *f, const struct fs_lock *l);
/* close(2) of one descriptor: what @owner has locked by fcntl in that file goes. fs_release()
 * unlocks what was locked through @f, in the background. */
void fs_unlock(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t owner);

/* Calls fn for every transaction of this mount that stalls; orbitctl shows them. */
struct orbit_client *fs_client(struct fs *fs);
/* May the kernel keep pages of files? */
bool fs_keeps_pages(const struct fs *fs);
uint64_t fs_ino_of(const struct fs_file *f);

#endif
