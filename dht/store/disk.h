/*
 * disk: the files of one store, behind an interface with two implementations: a folder of the real
 * filesystem (disk_file.c) and memory that can be made to fail (disk_mem.c).
 *
 * Files are named flatly, made once, appended to and removed. Thread: the names and the file calls
 * may come from the loop and from workers at once; two calls never concern the same bytes. All
 * return 0 or -errno unless said otherwise.
 */
#ifndef ORBIT_STORE_DISK_H
#define ORBIT_STORE_DISK_H

#include <sys/types.h>
#include <sys/uio.h>

#include "dht/base/buf.h"

struct disk;
struct disk_file;

struct disk_ops {
	/* Calls each() for every file. */
	int (*list)(struct disk *d, void (*each)(void *arg, const char *name), void *arg);
	/* Opens a file; with @create it must not be there: -EEXIST. */
	int (*open)(struct disk *d, const char *name, bool create, struct disk_file **out);
	int (*remove)(struct disk *d, const char *name);
	/* Makes creations and removals durable. */
	int (*sync_names)(struct disk *d);
	/* A small file as a whole: -ENOENT, -EFBIG when it is over @max. */
	int (*load)(struct disk *d, const char *name, struct buf *out, size_t max);
	/* Replaces a small file, atomically and durably. */
	int (*save)(struct disk *d, const char *name, const void *data, size_t len);
	int (*space)(struct disk *d, uint64_t *total, uint64_t *avail);
	/* What is the same as long as the page cache can have survived. */
	int (*boot)(struct disk *d, uint8_t id[16]);
	void (*free)(struct disk *d);

	/* All of it or an error. */
	int (*write)(struct disk_file *f, uint64_t off, const struct iovec *iov, int n);
	/* Bytes read, fewer only at the end of the file; with @cached -EAGAIN when that would
	 * wait for the medium. */
	ssize_t (*read)(
		struct disk_file *f, uint64_t off, const struct iovec *iov, int n, bool cached);
	int (*sync)(struct disk_file *f);
	/* Starts writing back a range and waits for it; a hint. */
	void (*writeback)(struct disk_file *f, uint64_t off, uint64_t len);
	/* Reserves room for the first @len bytes without changing the size; a hint. */
	int (*allocate)(struct disk_file *f, uint64_t len);
	/* Sets the size and gives reserved room back. */
	int (*truncate)(struct disk_file *f, uint64_t len);
	int64_t (*size)(struct disk_file *f);
	void (*close)(struct disk_file *f);
};

struct disk {
	const struct disk_ops *ops;
};

struct disk_file {
	struct disk *disk;
};

/*
 * A folder. Takes its LOCK file: -EBUSY when another process has it; -ENOENT when the folder is
 * not there. disk_free() gives it back.
 */
int disk_file_new(const char *path, struct disk **out);

/* ---- in memory ---- */

struct disk *disk_mem_new(void);

enum disk_crash {
	DISK_PROCESS, /* the process died: all that was written is there */
	DISK_POWER,   /* what was not synced is lost, kept or torn as @seed has it */
	DISK_LOSE,    /* all that was not synced is lost */
};

/* What the crash leaves. Open files become invalid: free the store first. Ends die_at. */
void disk_mem_crash(struct disk *d, enum disk_crash how, uint64_t seed);

struct disk_mem_faults {
	uint64_t capacity; /* bytes; 0: no limit */
	uint64_t die_at;   /* the so many-th change (write, sync, name, save) is done in part, and
			      from there on all fail with -EIO; 0: never */
	bool sync_fails;   /* -EIO */
	bool write_fails;  /* -EIO */
	bool read_fails;   /* -EIO */
	unsigned miss;     /* cached reads that say -EAGAIN, of 1000 */
	/* Asked before a write or a sync fails, with NULL never: true, and it may try again as the
	 * faults are now. */
	bool (*spared)(void *arg);
	void *spared_arg;
	/* Asked before each change that is made, with NULL never: true, and the power goes now: it
	 * and all after it fail with -EIO, until disk_mem_crash(). */
	bool (*dark)(void *arg);
	void *dark_arg;
};

/* The faults in force; change them at will. */
struct disk_mem_faults *disk_mem_faults(struct disk *d);

/* Changes counted so far, as die_at counts them. */
uint64_t disk_mem_changes(const struct disk *d);

/* Damages a file: flips bits, cuts it short. -ENOENT, -ERANGE. */
int disk_mem_flip(struct disk *d, const char *name, uint64_t at, uint8_t bits);
int disk_mem_cut(struct disk *d, const char *name, uint64_t len);
/* Bytes of the file, -ENOENT. */
int64_t disk_mem_size(struct disk *d, const char *name);

/* ---- calls ---- */

static inline int disk_open(struct disk *d, const char *name, bool create, struct disk_file **out)
{
	return d->ops->open(d, name, create, out);
}

static inline int disk_write(struct disk_file *f, uint64_t off, const struct iovec *iov, int n)
{
	return f->disk->ops->write(f, off, iov, n);
}

static inline ssize_t disk_read(
	struct disk_file *f, uint64_t off, const struct iovec *iov, int n, bool cached)
{
	return f->disk->ops->read(f, off, iov, n, cached);
}

static inline int disk_sync(struct disk_file *f)
{
	return f->disk->ops->sync(f);
}

static inline int disk_truncate(struct disk_file *f, uint64_t len)
{
	return f->disk->ops->truncate(f, len);
}

/* NULL is harmless. */
static inline void disk_close(struct disk_file *f)
{
	if (f)
		f->disk->ops->close(f);
}

/* NULL is harmless. */
static inline void disk_free(struct disk *d)
{
	if (d)
		d->ops->free(d);
}

#endif
