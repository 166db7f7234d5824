/*
 * lease: the leases that the session holds, as docs/LEASES.md says. orbit.h is the user's side.
 */
#ifndef ORBIT_CLIENT_LEASE_H
#define ORBIT_CLIENT_LEASE_H

#include <uthash.h>

#include "dht/client/orbit.h"
#include "dht/client/request.h"

struct lease_shard;
struct txn_build;

struct lease {
	struct orbit_id id;
	uint16_t shard;
	enum orbit_lease mode; /* held; the primary may think more, never less */
	enum orbit_lease kept; /* and not recalled: what may be used */
	uint64_t since;        /* number of the grant from which on it is held without a break */
	uint64_t number;       /* the newest that is known */
	uint64_t request;      /* what the newest grant came with, */
	uint64_t version;      /* and what it said */
	struct peer *from;     /* who would recall it */
	struct peer *asker;    /* who did, last; NULL */
	bool owing;            /* recalled, and not returned: in leases.owing */
	TAILQ_ENTRY(lease) in_owing;
	TAILQ_ENTRY(lease) at; /* of its shard */
	UT_hash_handle hh;
};

struct leases {
	const struct orbit_lease_ops *ops;
	void *arg;
	struct lease *by_id;
	struct lease_shard *shard; /* NULL: there is no map, or no need yet */
	unsigned nshards;
	bool suspended;         /* the user was told so */
	struct env_timer timer; /* when they will be, unless the session is renewed */
	struct env_task task;   /* sends what is returned */
	TAILQ_HEAD(, lease) owing;
	struct env_timer owed;  /* when what was not said to a new primary is trusted no more */
	struct env_timer heard; /* when the askers of those are told that we are at it */
};

void lease_init(struct orbit_client *c);
/* Drops all of it without a word. */
void lease_fini(struct orbit_client *c);

/* A transaction that wishes for leases is about to be sent to the primary of these shards. */
void lease_wish(struct orbit_client *c, const struct txn_build *t, const uint16_t *shards,
	unsigned nshards);

/* There is another map; requests have not been sent by it yet. */
void lease_mapped(struct orbit_client *c);
/* Tells the user of it, after all else. */
void lease_tell_mapped(struct orbit_client *c);
/* session.valid was moved. */
void lease_renewed(struct orbit_client *c);
/* The session is over. */
void lease_session_lost(struct orbit_client *c);

/* GRANT, RECALL, CLAIM. */
void lease_message(struct peer *p, struct frame *f);

#endif
