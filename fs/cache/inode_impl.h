/*
 * What inode.c (what is remembered) and inode_lease.c (on whose word) share.
 *
 * A recall goes through
 *
 *   USES     until those who use the lease are done; nobody new may
 *   FLUSH    what was kept back is sent
 *   DROP     the kernel forgets its pages, up to where we know of any. A page that is being read or
 *            written is locked, and the kernel waits for it. So those who waited when it began use
 *            what is held; their pages were there by then, and go as well. Who comes later waits,
 *            unless the kernel seems to wait for him (HANG): then he is let in, and pages are
 *            dropped once more. Should he need more than is held, the kernel is not waited for.
 *
 * and then begins again if there is something new to flush or to drop; else the lease goes back.
 * Whoever reads or writes all the time can't keep it from going: what he asks for while the kernel
 * does not wait for him is not given.
 */
#ifndef ORBIT_CACHE_INODE_IMPL_H
#define ORBIT_CACHE_INODE_IMPL_H

#include <uthash.h>

#include "fs/cache/inode.h"

#define INODE_STAMPS 4096 /* a power of two */

/* An entry of a directory. */
struct dentry {
	UT_hash_handle hh;
	uint64_t ino;         /* 0: there is none */
	uint64_t given_until; /* the kernel may have it */
	uint8_t type;
	bool known; /* else it is here only for given_until */
	uint16_t klen;
	uint8_t key[];
};

enum recall { RECALL_NONE, RECALL_USES, RECALL_FLUSH, RECALL_DROP };

struct inode {
	UT_hash_handle hh;
	struct inode_cache *ic;
	uint64_t ino;
	TAILQ_ENTRY(inode) lru;
	bool known; /* a is good */
	struct fs_attr a;
	struct dentry *entries;
	unsigned changing;
	uint64_t stamp; /* ic->clock when a change of ours last began or ended */

	bool no_caps; /* it has no security.capability */
	bool lists;   /* it is known which access control lists it has: bits of list_mode */
	uint32_t list_mode;

	/* the kernel's */
	uint64_t attr_until;
	bool acl;           /* it may have what the access control lists say */
	bool pages;         /* it may have some, and they are good */
	uint64_t pages_end; /* below this offset */

	/* the lease */
	enum orbit_lease mode; /* the lease as it was last granted, while it is recalled */
	unsigned uses;
	bool outlived; /* by some of them: the lease went with the session */
	TAILQ_HEAD(, inode_wait) waits;
	struct inode_ask *asking; /* a transaction that wants it is in flight */
	struct env_timer again;   /* asks once more: it was granted to somebody else */
	enum orbit_lease asked;
	enum recall recall;
	enum orbit_lease keep;   /* what may be kept */
	bool stepping;           /* in recall_step() */
	bool flushed;            /* nothing was used since */
	bool redrop;             /* pages, once nobody waits */
	struct inode_drop *drop; /* that the recall waits for */
	bool covering;           /* pages that come now were there when it began, and go with it */
	bool late;               /* but not those of who came later and was let in */
	struct env_timer hang;
	unsigned cuts; /* inode_cut_begin() */
	unsigned pins; /* callbacks of those who wait are being called */
	struct env_timer lapse;
	uint64_t lapse_at;
	uint64_t since; /* ic->clock when we came to know of it; 0: it is not held, or recalled */
	uint64_t granted_at; /* env_now() then */
	bool recalled;       /* ever */
	uint64_t contended_until, backoff;
	uint64_t shy_until; /* no entries for the kernel: it could not forget them in time */
};

/* Outlives the record when the cache is freed. */
struct inode_ask {
	struct inode *in;
	orbit_handle handle;
	bool cancelled; /* since nobody waited */
};

struct inode_cache {
	struct env *env;
	struct orbit_client *client;
	struct inode_cache_config cfg;
	void (*drop)(void *arg, struct inode_drop *d);
	void *drop_arg;
	struct inode *inodes;    /* uthash */
	TAILQ_HEAD(, inode) lru; /* oldest first */
	uint64_t clock;          /* changes of ours and recalls so far */
	uint64_t stamp[INODE_STAMPS];
	uint64_t nentries;
	unsigned ndrops; /* on their way */
	bool ending, stopping;
	struct inode_counters counters;
};

/* ---- inode.c ---- */

struct inode *inode_record(struct inode_cache *ic, uint64_t ino);
struct inode *inode_record_get(struct inode_cache *ic, uint64_t ino);
/* Nothing of it is believed any more. */
void inode_forget(struct inode *in);
/* The least recently used ones go, as far as there are too many. */
void inode_trim(struct inode_cache *ic);
/* Frees the record if it says nothing and nobody needs it. */
void inode_rest_in(struct inode *in);
/* The lease, if it may be used; also while it is recalled, until it goes back. */
enum orbit_lease inode_held(const struct inode *in);
/* A reply was covered by it. */
void inode_granted(struct inode *in, enum orbit_lease lease);
/* May what is remembered be used? */
bool inode_good(const struct inode *in);

/* ---- inode_lease.c ---- */

extern const struct orbit_lease_ops inode_lease_ops;
/* Gives the lease back, as a recall would. */
void recall_begin(struct inode *in, enum orbit_lease keep);
void recall_step(struct inode *in);
/* Lets the kernel forget; in->drop is it, when the recall is to wait. False: there is nothing. */
bool drop_begin(struct inode *in, bool wait);

#endif
