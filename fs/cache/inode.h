/*
 * inode: what a mount remembers of inodes, under leases (docs/LEASES.md).
 *
 * A record per inode: its lease, attributes, for a directory the entries that were seen (also
 * absent ones), what the kernel was given of them and until when. What a record says is as good as
 * asking the nodes. A recall takes effect on it at once; the lease goes back when those who use it
 * are done, what was kept back is sent, and the kernel has dropped what it had.
 *
 * Reads that bring something to remember ask for it beforehand:
 *
 *   inode_wish(ic, &t, ino);  mark = inode_mark(ic);  submit
 *   in the callback: inode_saw(ic, r, mark, &attr), inode_saw_entry(ic, r, mark, ...)
 *
 * Changes that this mount makes are announced, so that no read that crossed one is remembered:
 *
 *   mark = inode_tick(ic);  inode_change(ic, mark, ino) for each inode;  submit
 *   in the callback: for each entry that came or went inode_entry_changed(ic, r, mark, ...), then
 *   inode_changed(ic, r, mark, ino, done, &after) with the attributes after it, computed from those
 *   that the transaction read (reads see the state before), or NULL: not known
 *
 * Thread: the loop.
 */
#ifndef ORBIT_CACHE_INODE_H
#define ORBIT_CACHE_INODE_H

#include <sys/queue.h>

#include "dht/client/orbit.h"
#include "fs/layout/layout.h"

struct inode_cache;

enum inode_cache_mode {
	INODE_CACHE_STRICT,  /* until told */
	INODE_CACHE_RELAXED, /* for @relaxed ns, whatever others do */
	INODE_CACHE_NONE,
};

/* Something for the kernel to forget. The cache's own, who drops it keeps it until
 * inode_dropped(). */
struct inode_drop {
	uint64_t ino;
	bool attr;  /* its attributes */
	bool pages; /* its data, up to @end */
	uint64_t end;
	/* a directory: names to be forgotten, NUL-terminated, one after the other */
	struct buf names;
	/* of who drops */
	struct env_job job;
	void *impl;
	/* the cache's */
	struct inode_cache *ic;
	struct inode *of; /* NULL: nobody waits for it (any more) */
};

struct inode_cache_config {
	enum inode_cache_mode mode;
	uint64_t relaxed;    /* ns; default 1 s */
	uint64_t kernel_max; /* ns, default 1 s: what the kernel is given at most */
	size_t inodes_max;   /* records, default 131072; the least recently used go back */
	size_t entries_max;  /* in all directories, default 1 Mi */
	void *ctx;
	/* The lease of @ino goes down to @keep: what is dirty is to be sent; inode_flushed(ic, ino)
	 * follows, perhaps from inside. NULL: nothing is ever dirty. */
	void (*flush)(void *ctx, uint64_t ino, enum orbit_lease keep);
	/* Gone with the session, and whatever is dirty with it. */
	void (*lost)(void *ctx, uint64_t ino);
	/* An object that is no inode was recalled (or lost: keep NONE, and nothing is to be
	 * returned): whoever uses such leases orbit_return()s it. */
	void (*other)(void *ctx, const struct orbit_id *id, enum orbit_lease keep, bool lost);
	/* There is another ring map: sessions may be over. */
	void (*mapped)(void *ctx);
};

/* Takes over orbit_leases(). */
struct inode_cache *inode_cache_new(
	struct env *e, struct orbit_client *c, const struct inode_cache_config *cfg);
/* Nobody waits any longer: done() comes with -EINTR, also for those who begin to wait later. */
void inode_cache_stop(struct inode_cache *ic);
/* Nothing may be in use. Leases go with the session. */
void inode_cache_free(struct inode_cache *ic);

/* ---- asking the record ---- */

/* The attributes, as good as the nodes' (without what data.h has dirty). */
bool inode_attr(struct inode_cache *ic, uint64_t ino, struct fs_attr *a);

enum inode_entry { INODE_ENTRY_UNKNOWN, INODE_ENTRY_ABSENT, INODE_ENTRY_THERE };
enum inode_entry inode_entry(struct inode_cache *ic, uint64_t dir, const uint8_t *key, size_t klen,
	uint64_t *ino, uint8_t *type);

/* Has it certainly no security.capability? */
bool inode_no_caps(struct inode_cache *ic, uint64_t ino);
/* Nor the access control list of which the mode says so by @bit? Both are known also while other
 * things of it are being changed here. */
bool inode_no_acl(struct inode_cache *ic, uint64_t ino, uint32_t bit);

/* ---- what the kernel is given ---- */

/* For how long (ns) the kernel may keep attributes of @ino from now on; the record remembers that
 * it does. 0: not at all. */
uint64_t inode_give_attr(struct inode_cache *ic, uint64_t ino);
/* The same for an entry of @dir, be it there or not. */
uint64_t inode_give_entry(struct inode_cache *ic, uint64_t dir, const uint8_t *key, size_t klen);
/* It hears of its access control lists, and keeps what it heard until it forgets the attributes. */
void inode_give_acl(struct inode_cache *ic, uint64_t ino);
/* The kernel may have pages of @ino below @end now: it has read or written there. */
void inode_give_pages(struct inode_cache *ic, uint64_t ino, uint64_t end);
/* It may have pages below @end that are not as they ought to be: they go when nobody waits. For who
 * uses the lease. */
void inode_bad_pages(struct inode_cache *ic, uint64_t ino, uint64_t end);
/* The size is about to be changed through this mount: until that is over the kernel may not be able
 * to drop pages. */
void inode_cut_begin(struct inode_cache *ic, uint64_t ino);
void inode_cut_end(struct inode_cache *ic, uint64_t ino);
/* Has the kernel's idea of the pages been good since inode_give_pages()? */
bool inode_pages_good(struct inode_cache *ic, uint64_t ino);
/* There is a kernel, which is to forget; inode_dropped(d) follows, from the loop, soon or not. Also
 * after inode_cache_free(). @drop NULL: there is none any more. */
void inode_cache_kernel(
	struct inode_cache *ic, void (*drop)(void *arg, struct inode_drop *d), void *arg);
void inode_dropped(struct inode_drop *d);

/* ---- learning ---- */

/* Adds the wish for a shared lease, unless there is no point in it (contended, cache=none). */
void inode_wish(struct inode_cache *ic, struct txn_build *t, uint64_t ino);
/* Adds the wish for those that it follows. */
void inode_wish_followed(struct inode_cache *ic, struct txn_build *t);
/* For an exclusive one, which it does not wait for. */
void inode_wish_exclusive(struct inode_cache *ic, struct txn_build *t, uint64_t ino);

/* The time at which a read is submitted. */
uint64_t inode_mark(struct inode_cache *ic);
/* The reply showed this, the transaction changed nothing of it. */
void inode_saw(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark,
	const struct fs_attr *a);
/* An entry of @dir: @ino 0: there is none. */
void inode_saw_entry(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark,
	uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type);
/* The inode has no security.capability. */
void inode_saw_no_caps(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino);

/* ---- our own changes ---- */

/* A transaction that changes attributes or entries of inodes is about to be submitted. */
uint64_t inode_tick(struct inode_cache *ic);
void inode_change(struct inode_cache *ic, uint64_t mark, uint64_t ino);
/* It took effect: the entry of @dir is like this now (@ino 0: gone). */
void inode_entry_changed(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark,
	uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type);
/* The same: it has no security.capability now. */
void inode_made_no_caps(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino);
/* It may get one; or an access control list. */
void inode_maybe_caps(struct inode_cache *ic, uint64_t ino);
void inode_maybe_acl(struct inode_cache *ic, uint64_t ino);
/* It is over. @done: it took effect, or certainly did not; else nothing is known, and all that is
 * remembered of @ino is forgotten. @after: what it is like now; NULL: not known. */
void inode_changed(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino,
	bool done, const struct fs_attr *after);

/* ---- leases for data ---- */

struct inode_wait {
	/* The lease is there and in use until inode_unuse(); *a (NULL: as remembered) are the
	 * newest attributes. Or rc: the errno of the transaction that asked. */
	void (*done)(struct inode_wait *w, int rc, const struct fs_attr *a);
	uint64_t ino;
	enum orbit_lease mode;
	uint64_t end;                      /* of the pages that the kernel has locked for it */
	const struct orbit_policy *policy; /* NULL: the client's */
	bool waiting;
	TAILQ_ENTRY(inode_wait) entry;
};
/* Gets at least that lease and keeps it from going back until inode_unuse(). True: it is there,
 * done() will not come. False: done() comes later. */
bool inode_use(struct inode_cache *ic, struct inode_wait *w);
/* The same if it is there; else nothing is begun. */
bool inode_try(struct inode_cache *ic, uint64_t ino, enum orbit_lease mode);
void inode_unuse(struct inode_cache *ic, uint64_t ino);
/* done() does not come any more. */
void inode_wait_cancel(struct inode_cache *ic, struct inode_wait *w);
/* Does what it waits for stall past its check_timeout? */
bool inode_wait_stalled(struct inode_cache *ic, const struct inode_wait *w);
/* What was dirty of @ino is sent (or given up, and its error kept). */
void inode_flushed(struct inode_cache *ic, uint64_t ino);
/* What is held, and may be used: with dirty bytes in it, exclusive. */
enum orbit_lease inode_lease(struct inode_cache *ic, uint64_t ino);

struct inode_counters {
	uint64_t inodes, entries; /* remembered now */
	uint64_t hits, misses;    /* of inode_attr() and inode_entry() */
	uint64_t recalls, drops;  /* so far */
};
void inode_counters(const struct inode_cache *ic, struct inode_counters *out);

#endif
