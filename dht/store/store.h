/*
 * store: one node's durable state: an append-only log of effects and an index derived from it.
 *
 * The log is the truth: each effect is one append to a segment file with its bulk bytes. The index
 * (RocksDB, or an ordered map in memory) says where things are now and can be made again from the
 * log's tail. The files and the index are reached through two small interfaces (disk.h, index.h),
 * each with a twin in memory that loses what was not synced, tears writes and flips bits on demand,
 * so that the very code below runs in the simulator too.
 *
 * Thread: all calls and callbacks on the loop. Nothing here waits for a disk: what is not in memory
 * gives -EAGAIN, and store_wait() says when to try again. Errors: -EIO for damage (logged,
 * counted), -ENOSPC, -EROFS after a failed sync (final: the node must stop).
 */
#ifndef ORBIT_STORE_STORE_H
#define ORBIT_STORE_STORE_H

#include <sys/queue.h>

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/net/env.h"
#include "dht/store/effect.h"
#include "dht/store/key.h"

struct store;
struct disk;
struct store_index;

struct store_config {           /* 0 anywhere means the default */
	uint64_t segment_size;  /* bytes at which a new segment begins; default 64 MiB */
	uint64_t index_buffer;  /* bytes of index kept in memory before a flush; default 64 MiB */
	uint64_t cache_size;    /* bytes of the index's block cache; default 256 MiB */
	uint64_t reserve;       /* bytes kept free for deletes, commits, compaction; default (0)
				   256 MiB or 2 % of the disk, whichever is less */
	uint64_t compact_rate;  /* bytes per second that compaction may read; default 50 MB */
	uint64_t log_keep;      /* bytes of the log kept to be read back although nothing in them
				   is live; default (0) 1 GiB or 5 % of the disk, whichever is less */
	unsigned tail_max;      /* effects of which is known where they lie; default 1048576 */
	unsigned compact_below; /* per cent live below which a segment is rewritten; default 50 */
};

struct store_config store_config_default(void);

struct store_info {
	uint8_t fsid[16];     /* which filesystem this store belongs to */
	struct orbit_id node; /* which node */
	uint64_t starts;      /* how often it was opened, this time included */
	bool whole;           /* nothing that was acknowledged can be missing: each stop was clean,
				 or the kernel was the same (boot_id) and the log has no gap; else
				 false until store_levelled() */
};

/*
 * Makes an empty store in the folder @path (made if need be, must be empty). 0, -EEXIST when there
 * is one, -ENOTEMPTY when other files are there, -errno.
 */
int store_make(const char *path, const uint8_t fsid[16], const struct orbit_id *node);

/*
 * Opens the store in @path: takes its lock, recovers the index from the log's tail (blocking, logs
 * progress). 0; -ENOENT no store there; -EBUSY in use by another process; -EPROTONOSUPPORT of a
 * another format; -EUCLEAN damaged so that it cannot be opened (the log says where); -errno. On
 * error *why (static or in a buffer of @why_len) is one line for a person.
 */
int store_open(struct store **out, struct env *e, const char *path, const struct store_config *cfg,
	char *why, size_t why_len);

/* The same over a disk and an index of the caller's (borrowed); for the simulator and for tests.
 * After a crash: store_free(), disk_mem_crash(), index_mem_crash(), store_open_on(). */
int store_make_on(struct disk *d, const uint8_t fsid[16], const struct orbit_id *node);
int store_open_on(struct store **out, struct env *e, struct disk *d, struct store_index *ix,
	const struct store_config *cfg, char *why, size_t why_len);

/* Syncs, flushes the index and marks a clean stop, then done(arg, rc); then store_free(). */
void store_close(struct store *st, void (*done)(void *arg, int rc), void *arg);

/* Frees without writing anything: what a crash does, if store_close() did not go before. Waits for
 * running jobs of its own. NULL is harmless. */
void store_free(struct store *st);

const struct store_info *store_info(const struct store *st);

/* 0; or, once a write or a sync has failed, why nothing more is ever written (-EIO, -ENOSPC, ...):
 * its owner must stop. */
int store_broken(const struct store *st);

/* ---- reading ---- */

/* Appends the value to @val (unless NULL): 0, -ENOENT, -EAGAIN (not in memory), -EIO. */
int store_get(struct store *st, const void *key, size_t klen, struct buf *val);

/* A walk over keys in [from, to) in order. Do not apply while one is open. */
struct store_iter;
struct store_iter *store_iter_new(
	struct store *st, const void *from, size_t flen, const void *to, size_t tlen);
/* 1 and the next pair (pointers good until the next call), 0 at the end, -EAGAIN, -EIO. */
int store_iter_next(
	struct store_iter *it, const void **key, size_t *klen, const void **val, size_t *vlen);
void store_iter_free(struct store_iter *it);

/* While on, what reads the index waits for the disk instead of saying -EAGAIN: for whoever loads
 * its state at the start, before anything is served. */
void store_blocking(struct store *st, bool on);

/* Calls w->ready on the loop when what calls before it missed with -EAGAIN has been brought in, or
 * when the store takes effects again (see store_apply()). Spurious calls happen: try again. */
struct store_wait {
	void (*ready)(struct store_wait *w);
	TAILQ_ENTRY(store_wait) entry;
};
void store_wait(struct store *st, struct store_wait *w);

/* One piece of a byte stream that has data. */
struct store_range {
	uint64_t off, len;
};

/*
 * Which parts of [off, off+len) of the stream of @id hold data, at most @max pieces in order,
 * adjacent ones merged: their number, or -EAGAIN, -EIO. *next is where to go on (off+len when
 * complete).
 */
int store_ranges(struct store *st, uint16_t shard, const struct orbit_id *id, uint64_t off,
	uint64_t len, struct store_range *out, int max, uint64_t *next);

/*
 * Reads [off, off+len) as it is at the time of the call into @dst, holes as zeros, each byte's
 * chunk verified. 0: done, nothing more comes. -EINPROGRESS: r->done(r, rc) follows. -EAGAIN:
 * store_wait() and call again. -EIO: damage. @dst and @r stay valid until then.
 */
struct store_read {
	void (*done)(struct store_read *r, int rc);
	void *impl;
};
int store_read(struct store *st, struct store_read *r, uint16_t shard, const struct orbit_id *id,
	uint64_t off, size_t len, void *dst);

/* ---- writing ---- */

enum store_urgency {
	STORE_NORMAL,  /* refused with -ENOSPC when it would touch the reserve */
	STORE_RESERVE, /* deletes, trims, commits, outcomes: may use the reserve */
};

/*
 * Appends and applies one effect. 0: from now on reads see it, and a->done(a, rc) follows when the
 * log has it (in the page cache; rc -EIO or -EROFS if that failed). Effects are done in the order
 * they were applied. -EAGAIN: not taken now (the index is being flushed); store_wait() and call
 * again. -ENOSPC, -EROFS, -EBADMSG (malformed), -EIO (damage where it would write): refused,
 * nothing changed. The effect and the data it borrows must stay
 * until done().
 */
struct store_apply {
	void (*done)(struct store_apply *a, int rc);
	const struct effect *effect;
	uint64_t position; /* out: where its record ends in the log */
	void *impl;
	TAILQ_ENTRY(store_apply) entry;
};
int store_apply(struct store *st, struct store_apply *a, enum store_urgency urgency);

/* Calls s->done when all that was applied before is on disk (fdatasync; grouped): rc 0 or -EIO. */
struct store_sync {
	void (*done)(struct store_sync *s, int rc);
	void *impl;
	TAILQ_ENTRY(store_sync) entry;
};
void store_sync(struct store *st, struct store_sync *s);

struct store_usage {
	uint64_t total;     /* bytes of the disk under the store */
	uint64_t available; /* bytes that effects may still take, the reserve left out */
	uint64_t log;       /* bytes of all segments */
	uint64_t live;      /* bytes of extents in use */
	uint64_t damaged;   /* extents or records found bad since the start */
};
void store_usage(struct store *st, struct store_usage *out);

#endif
