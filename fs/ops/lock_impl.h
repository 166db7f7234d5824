/*
 * What lock.c (who asks, who waits) and lock_txn.c (what is sent) share.
 */
#ifndef ORBIT_OPS_LOCK_IMPL_H
#define ORBIT_OPS_LOCK_IMPL_H

#include <uthash.h>

#include "fs/ops/file.h"
#include "fs/ops/lock.h"
#include "fs/ops/lock_list.h"

/* One owner's locks in one file: an entry of the object. */
struct lock_holder {
	TAILQ_ENTRY(lock_holder) at;
	struct layout_lock name;
	struct lock_list has;
	bool over; /* its session: the entry is to be deleted */
	bool sent; /* the transaction in flight says what it is to be */
	/* ours only */
	struct lock_list will;     /* once what is decided has come true */
	bool changed;              /* will is another one than has */
	bool doubt;                /* the entry may be another one than has */
	const struct fs_file *via; /* through which it locked last; NULL: that is closed */
};
TAILQ_HEAD(lock_holders, lock_holder);

enum lock_what { LOCK_SET, LOCK_GET, LOCK_DROP };

struct lock_req {
	TAILQ_ENTRY(lock_req) at;         /* in the queue */
	TAILQ_ENTRY(lock_req) blocked_at; /* in the table's list */
	struct lock_inode *li;
	struct fs_call *call; /* NULL: nobody waits for it */
	enum lock_what what;
	struct fs_lock want;
	const struct fs_file *file;
	bool wait;
	bool blocked; /* something was in the way */
	bool read;    /* what is known was asked for after it came */
	bool decided; /* rc is the answer, once that has come true */
	int rc;
};

struct lock_inode {
	UT_hash_handle hh;
	struct fs *fs;
	uint64_t ino;
	struct orbit_id id;
	TAILQ_ENTRY(lock_inode) idle;
	bool is_idle;
	TAILQ_HEAD(, lock_req) queue;
	struct env_task task; /* looks again */
	bool stepping, more;  /* in lock_step(); once more */
	struct env_timer again;
	unsigned tries; /* readings in a row that no lease came with */

	uint32_t session; /* whose the entries of mine are */
	struct lock_holders mine;
	/* the object, without mine */
	struct lock_holders theirs;
	bool refused; /* the object was not what we took it for: it is to be read first */
	bool fresh;   /* nothing was ever heard of it: most likely it is not there */
	bool known;   /* theirs, exists, version are what the nodes have said last, */
	bool covered; /* and a lease says that it is still so */
	bool exists;
	uint64_t version;

	/* in flight */
	bool busy;
	struct fs_call sub; /* it is submitted for */
	bool based;         /* the transaction compares what is known */
	bool made;          /* the object is there afterwards */
	int get, range;
	uint32_t asked;              /* the session that the keeper is asked about */
	uint8_t after[LOCK_KEY_LEN]; /* the reading goes on behind it, */
	bool paged;                  /* if so */
};

/* A session that was in the way. */
struct lock_session {
	UT_hash_handle hh;
	uint32_t session;
	uint64_t alive_at; /* env_now() when the keeper said so */
	uint64_t over_at;  /* from then on it is over; 0: it is not */
};

struct lock_table {
	struct lock_inode *inodes;     /* uthash */
	struct lock_session *sessions; /* uthash */
	TAILQ_HEAD(, lock_inode) idle; /* oldest first */
	unsigned nidle;
	TAILQ_HEAD(, lock_req) blocked;
	bool stopping;
};

static inline const struct lock_list *lock_view(const struct lock_holder *h)
{
	return h->changed ? &h->will : &h->has;
}

/* ---- lock.c ---- */

/* Decides what can be decided, sends what has to be, answers. May free @li. */
void lock_step(struct lock_inode *li);
/* Ours, of who asks; or NULL. */
struct lock_holder *lock_holder_of(struct lock_inode *li, const struct fs_lock *want);
void lock_holder_free(struct lock_holders *in, struct lock_holder *h);
void lock_forget_theirs(struct lock_inode *li);

/* ---- lock_txn.c ---- */

enum lock_alive { LOCK_ALIVE, LOCK_OVER, LOCK_ASK };
enum lock_alive lock_session_alive(struct lock_inode *li, uint32_t session);
void lock_sessions_free(struct lock_table *lt);

/* Each of these is followed by lock_step(). */
void lock_send_read(struct lock_inode *li);
void lock_send_check(struct lock_inode *li, uint32_t session);
/* Makes true what is decided. */
void lock_send_write(struct lock_inode *li);
/* Is there anything to make true? */
bool lock_to_send(const struct lock_inode *li);

#endif
