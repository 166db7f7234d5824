/*
 * table: the requests in flight, found by number and ordered by when they are to be looked at.
 *
 * An entry is embedded in what it stands for and owned by that; the table only links it. What the
 * numbers in an entry mean, and how time changes them, is tick.h's. No I/O, no clock.
 */
#ifndef ORBIT_CLIENT_TABLE_H
#define ORBIT_CLIENT_TABLE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <bsd/sys/tree.h>
#include <uthash.h>

#define ENTRY_FOREVER UINT_MAX /* tries_left of a request that is never given up */

struct entry {
	uint64_t id;         /* number of the request: the id of its frame */
	uint64_t wake;       /* the earlier of deadline and backoff; the tree's key */
	uint64_t deadline;   /* silent until then, it has stalled */
	uint64_t backoff;    /* not sent before then; 0: not backing off */
	uint64_t slack;      /* by how much sendings that cost no try may still move the deadline */
	uint64_t period;     /* check_timeout: from one deadline to the next */
	uint64_t touched;    /* when it was last sent, or queued */
	unsigned tries_left; /* how often it may stall before it is destroyed, or ENTRY_FOREVER */
	unsigned sendings;   /* how often it was handed to a link */
	bool stalled;        /* silent past a deadline, and no answer since */
	bool listed;         /* is in a table */
	const char *reason;  /* what it waits for, for people; static */
	RB_ENTRY(entry) by_wake;
	UT_hash_handle hh;
};

RB_HEAD(entry_tree, entry);

struct table {
	struct entry *by_id;
	struct entry_tree by_wake;
	size_t n;
};

void table_init(struct table *t);

/* The table must be empty. */
void table_fini(struct table *t);

/* A new life for @e: queued at @now, nothing sent. @tries: resends before it is destroyed, or
 * ENTRY_FOREVER. */
void entry_begin(struct entry *e, uint64_t id, uint64_t now, uint64_t period, unsigned tries);

/* Adds @e under e->id, which must be new. */
void table_add(struct table *t, struct entry *e);

/* Takes @e out; harmless when it is not in. */
void table_del(struct table *t, struct entry *e);

struct entry *table_find(const struct table *t, uint64_t id);

/* Puts @e in its place after deadline or backoff changed. */
void table_move(struct table *t, struct entry *e);

/* The entry to be looked at first, or NULL. */
struct entry *table_first(const struct table *t);

/* When that is; UINT64_MAX for an empty table. */
uint64_t table_next(const struct table *t);

#endif
