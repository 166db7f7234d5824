/*
 * lock: what prepared transactions have locked.
 *
 * A transaction that voted yes locks what its part names, until its outcome is known. Every
 * operation asks for one lock: on a part of one object, in a mode. Two locks of different owners
 * conflict when their parts overlap and their modes do not go together.
 *
 *   part     what                          overlaps
 *   OBJECT   all of it                     everything of the object
 *   LIFE     that it exists, or does not   LIFE, OBJECT
 *   SLOT n   one slot                      the same slot, OBJECT
 *   MAP      all entries                   MAP, every KEY, OBJECT
 *   KEY k    one entry, there or not       the same key, MAP, OBJECT
 *   STREAM   the bytes                     STREAM, OBJECT
 *   HOLDS    who holds it                  HOLDS, OBJECT
 *
 *   mode     goes together with
 *   READ     READ
 *   ADD      ADD (also counted holds)
 *   MAX      MAX
 *   WRITE    nothing
 *
 * Pure: no I/O, no clock; one table per shard. Locks point into the body of the transaction, which
 * must stay until they are dropped.
 */
#ifndef ORBIT_NODE_LOCK_H
#define ORBIT_NODE_LOCK_H

#include <sys/queue.h>
#include <uthash.h>

#include "dht/txn/txn.h"

enum lock_part {
	LOCK_OBJECT,
	LOCK_LIFE,
	LOCK_SLOT,
	LOCK_MAP,
	LOCK_KEY,
	LOCK_STREAM,
	LOCK_HOLDS,
};
enum lock_mode { LOCK_READ, LOCK_ADD, LOCK_MAX, LOCK_WRITE };

struct lock_owner;

struct lock {
	enum lock_part part;
	enum lock_mode mode;
	uint8_t slot;
	size_t klen;
	const void *key;
	struct lock_owner *owner;
	struct lock_object *object;
	TAILQ_ENTRY(lock) entry;
};

/* A transaction that holds locks. The older one (age, then session, then number) goes first. */
struct lock_owner {
	uint64_t age;
	uint32_t session;
	uint64_t number;
	struct lock *locks; /* lock_take()'s */
	unsigned nlocks;
};

struct lock_object {
	struct orbit_id id;
	TAILQ_HEAD(lock_list, lock) locks;
	UT_hash_handle hh;
};

struct lock_table {
	struct lock_object *objects;
};

/* Whether @a was there before @b; never of itself. */
bool lock_older(const struct lock_owner *a, const struct lock_owner *b);

/* Nothing is locked. */
static inline bool lock_none(const struct lock_table *t)
{
	return !t->objects;
}

/* The oldest owner other than @self (may be NULL) whose locks conflict with those that @v asks for;
 * NULL when there is none. */
struct lock_owner *lock_conflict(
	const struct lock_table *t, const struct txn_view *v, const struct lock_owner *self);

/* The oldest owner that would change what a read of the whole object @id shows. */
struct lock_owner *lock_conflict_read(const struct lock_table *t, const struct orbit_id *id);
/* The oldest owner that would mind any change of it: who has locked anything there. */
struct lock_owner *lock_conflict_write(const struct lock_table *t, const struct orbit_id *id);

/* Takes all that @v asks for; nothing is checked. */
void lock_take(struct lock_table *t, struct lock_owner *o, const struct txn_view *v);

/* Gives up all that @o holds; harmless when that is nothing. */
void lock_drop(struct lock_table *t, struct lock_owner *o);

#endif
