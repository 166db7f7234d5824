/*
 * data: file data on its way: write-behind and read-ahead, per inode.
 *
 * Dirty bytes are kept in pages of this process until flush, fsync, a limit or a short timer sends
 * them: blocks first, then size and times in the inode. An error is kept and reported once per open
 * file at flush or fsync. What is dirty counts in attributes at once.
 */
#ifndef ORBIT_CACHE_DATA_H
#define ORBIT_CACHE_DATA_H

#include "dht/client/orbit.h"
#include "fs/layout/layout.h"

#include <sys/queue.h>

struct data_cache;
struct data_inode; /* a file with opens, or with something dirty */

struct data_config {
	uint64_t write_behind; /* bytes dirty or in flight before writers wait; 0: write through */
	uint64_t read_ahead;   /* largest window, bytes; 0: none */
	uint64_t read_cache;   /* bytes read ahead and not yet asked for */
	uint64_t flush_after;  /* ns that bytes stay dirty */
	/*
	 * The object has a trim mark: finish that job and clear the mark; done(darg, rc, a) with
	 * the attributes after it. Given by who knows how to trim. ctx is @ctx.
	 */
	void (*trim)(void *ctx, const struct fs_attr *a,
		void (*done)(void *darg, int rc, const struct fs_attr *a), void *darg);
	/* Under whose leases files are written and read. Who calls data_write() and data_read()
	 * holds them meanwhile (inode_use()); bytes stay dirty under the exclusive one. */
	struct inode_cache *inodes;
	/* A transaction of the cache has changed the inode's attributes; may be NULL. */
	void (*changed)(void *ctx, uint64_t ino);
	void *ctx;
};

/* NULL never. The client and env are borrowed. */
struct data_cache *data_cache_new(
	struct env *e, struct orbit_client *c, const struct data_config *cfg);

/* Frees everything, dirty or not; nothing may be in flight: after data_cache_stop(), or after the
 * client was closed. NULL is harmless. */
void data_cache_free(struct data_cache *dc);

/* Sends everything dirty, then done(arg, rc) when nothing is in flight any more: rc is the first
 * error that nobody was told. After @timeout ns what is left is cancelled and dropped: -ETIMEDOUT.
 */
void data_cache_stop(
	struct data_cache *dc, uint64_t timeout, void (*done)(void *arg, int rc), void *arg);

/* ---- for all operations ---- */

/* Adds what is dirty (size, mtime, ctime) to attributes that came from the cluster, and notes them
 * as the newest known of an open file. */
void data_overlay(struct data_cache *dc, struct fs_attr *a);

/* Sends everything dirty of @ino; done(arg, rc) when the nodes have it (not necessarily on disk).
 * With nothing dirty done() still comes later, never inside. The error, if any, stays to be
 * reported to the open files too. Before any setattr of size or times, or dirty times come after
 * it. */
void data_flush(struct data_cache *dc, uint64_t ino, void (*done)(void *arg, int rc), void *arg);

/* Is anything of @ino dirty or being sent? */
bool data_dirty(const struct data_cache *dc, uint64_t ino);

/* A trim mark that this mount's writing has set is none for us: @a shows none then. */
void data_own_mark(struct data_cache *dc, struct fs_attr *a);

/* Times are about to be set by a user (cp -p, tar): what was noted of them here is not sent any
 * more; of a write only size and bytes. With @mode, permission bits are, too. False: a write's
 * times are in flight, or it will drop set-id bits: data_flush() first. True also when nothing is
 * dirty. */
bool data_forget_times(struct data_cache *dc, uint64_t ino, bool atime, bool mtime, bool mode);

/* A change by this mount made @after of @before, as the nodes had it: what the kernel has of the
 * file stays good, if it was good then. */
void data_moved(struct data_cache *dc, const struct fs_attr *before, const struct fs_attr *after);

/* This mount has cut the file, @a is what it is like now: what was read ahead goes. */
void data_cut(struct data_cache *dc, const struct fs_attr *a);

/* The lease of @ino goes down to @keep: what is dirty is sent, then inode_flushed() (perhaps from
 * inside). */
void data_recalled(struct data_cache *dc, uint64_t ino, enum orbit_lease keep);
/* It went with the session: what is dirty is given up, with -EIO. */
void data_lost(struct data_cache *dc, uint64_t ino);

/* ---- for open files ---- */

/* The record of @ino: one reference. Never NULL. @a: what the cluster says of it now. */
struct data_inode *data_get(struct data_cache *dc, const struct fs_attr *a);
/* Drops a reference; what is dirty is sent in the background. */
void data_put(struct data_inode *di);

/* By which policy its transactions go; NULL: the client's. */
void data_set_policy(struct data_inode *di, const struct orbit_policy *p);
const struct orbit_policy *data_policy(const struct data_inode *di);

uint64_t data_ino(const struct data_inode *di);
/* The size with what is dirty. */
uint64_t data_size(const struct data_inode *di);
/* The newest attributes known, without what is dirty. */
const struct fs_attr *data_attr(const struct data_inode *di);
/* The same, if the file has a record. */
void data_known(struct data_cache *dc, const struct fs_attr *a);
/* Takes @a as the newest, unless it is older. */
void data_note(struct data_inode *di, const struct fs_attr *a);
/* How old they are, in ns. */
uint64_t data_attr_age(const struct data_inode *di);
/* Is @a how this mount saw the file last, so that the kernel's pages of it are still good? From now
 * on it is. */
bool data_seen(struct data_cache *dc, const struct fs_attr *a);
/* May data_seen() say yes? */
bool data_maybe_seen(struct data_cache *dc, uint64_t ino);
/* It was read at @atime, to be sent by whoever asks data_touched() (0: nothing to send). */
void data_touch(struct data_inode *di, int64_t atime);
int64_t data_touched(const struct data_inode *di);
/* Drops what was read ahead at or after @from. */
void data_drop(struct data_inode *di, uint64_t from);

/* Errors of writing behind: how many there were, and the last one. A file that has reported fewer
 * than there were reports the last: whoever takes it in *last (may be NULL) does so. */
uint64_t data_errors(struct data_inode *di, int *last);

/* One sequence of reads, for read-ahead. */
struct data_seq {
	uint64_t next;   /* where the next sequential read begins */
	uint64_t ahead;  /* up to here it was asked for */
	uint64_t window; /* bytes to be ahead; 0: not sequential (yet) */
};

/* Waits of one caller: embedded, zeroed. cancel by data_wait_cancel(). */
struct data_wait {
	void (*done)(struct data_wait *w, int rc);
	/* data_write() only */
	struct data_inode *di;
	uint64_t off;
	const void *data;
	size_t len;
	uint64_t source, source_off; /* not 0: instead of data, what that inode has there */
	bool append, kill_priv, through;
	bool quiet; /* tells no writer of errors */
	/* private */
	int state, rc;
	TAILQ_ENTRY(data_wait) entry;
};

/* As data_flush(). */
void data_flush_wait(struct data_inode *di, struct data_wait *w);

/*
 * Takes w->len bytes at w->data for w->off (w->append: for the end, and w->off becomes where they
 * went). w->done(w, rc) may come from inside; until then the bytes must stay. Waits while there is
 * too much dirty; w->through: until the nodes have it. rc 0: all were taken.
 */
void data_write(struct data_inode *di, struct data_wait *w);

/* May w->source be used for that? Of w->source the nodes must have all, and until all of @di is
 * flushed nobody may change it. */
bool data_can_copy(struct data_inode *di, uint64_t off, uint64_t len, uint64_t source_off);
/* The file is written to, so that it ends at @size at least. */
void data_extend(struct data_inode *di, uint64_t size, bool kill_priv);

/* The same if it can be done without waiting: true, and done() is not called. False: nothing was
 * done. */
bool data_write_now(struct data_inode *di, struct data_wait *w);

/* The caller gives up: done() does not come any more. What was taken is sent all the same. */
void data_wait_cancel(struct data_inode *di, struct data_wait *w);

/* Is something in flight for this file that has stalled past its check_timeout? */
bool data_stalled(struct data_inode *di);

/* A read: zero it, set done; cancel by data_read_cancel() (then no done()). */
struct data_read {
	void (*done)(struct data_read *r, int rc);
	/* results, good during done() */
	const void *data;
	size_t len;
	struct frame *keep; /* what data lies in, or NULL: in memory of the read */
	/* private */
	struct data_read_impl *impl;
};

/* Reads up to @len bytes, up to the file's size as known; what is dirty included. @seq may be NULL.
 */
void data_read(
	struct data_inode *di, struct data_read *r, struct data_seq *seq, uint64_t off, size_t len);
void data_read_cancel(struct data_read *r);
/* Does it wait for something that has stalled past its check_timeout? */
bool data_read_stalled(struct data_read *r);

/* @len bytes at @off of the file, out of a read of @asked bytes (what is missing are zeros) within
 * one object that came along with something else; @keep is what they lie in. */
void data_give(struct data_inode *di, uint64_t off, const void *data, size_t len, uint32_t asked,
	struct frame *keep);

#endif
