/*
 * grant: leases of sessions on objects, as the primary of a shard knows them (docs/LEASES.md).
 *
 *   grant.c    who holds what; wishes, grants, what stands in the way of a request
 *   recall.c   RECALL and RETURN, the links of sessions, those who do not answer
 *   holding.c  which sessions may hold something (KEY_LEASER), and what they say after a failover
 *
 * A grant begins when its transaction is evaluated, as a struct pending: whoever wants to change
 * the object takes it away again. It becomes a struct holder when the answer leaves.
 *
 * Not to be mixed up with lease.c: leases that replicas give their primary.
 */
#ifndef ORBIT_NODE_GRANT_H
#define ORBIT_NODE_GRANT_H

#include "dht/node/impl.h"
#include "dht/wire/wire_lease.h"

#define GRANT_NOT_ASKED 0xff
#define LEASER_ANY 0u /* for a session: any that there may be, recorded or not (holding.c) */

/* An object that is leased, or about to be. */
struct leased {
	struct orbit_id id;
	struct shard *shard;
	TAILQ_HEAD(, holder) holders;
	TAILQ_HEAD(, pending) pending;
	unsigned asked; /* holders that are to give something back: nobody gets a new lease */
	UT_hash_handle hh;
};

/* One session's lease on one object. */
struct holder {
	struct leased *o;
	struct leaser *by;
	uint64_t number;
	uint64_t since; /* it was asked for, over this link, or its session said that it heard */
	uint8_t mode;
	uint8_t keep; /* asked to keep no more than that, or GRANT_NOT_ASKED */
	TAILQ_ENTRY(holder) of_object, of_leaser;
	TAILQ_ENTRY(holder) line; /* asked: of the lessee's recalled; else of the node's granted */
};

/* A lease that is granted when the answer leaves. */
struct pending {
	struct leased *o;
	struct exec *x;
	uint64_t version;
	uint8_t mode;
	bool firm; /* it was waited for: who meets it waits until it was told */
	bool met;  /* and somebody has */
	TAILQ_ENTRY(pending) of_object, of_exec;
};

struct leaser_key {
	uint32_t session;
	uint32_t shard;
};

/* A session that may hold leases in a shard. */
struct leaser {
	struct leaser_key key;
	struct shard *shard;
	struct lessee *of;
	uint8_t recorded; /* the greatest mode that the log knows of; 0: no record */
	bool unknown;     /* it has not said what it holds, */
	bool unsaved;     /* the log is still to be told what is recorded */
	uint64_t since;   /* though it could, from then on; or it was heard to be at it */
	TAILQ_HEAD(, holder) holders;
	TAILQ_ENTRY(leaser) of_lessee, of_shard;
	UT_hash_handle hh;
};

/* A session that may hold leases in shards of this node. */
struct lessee {
	uint32_t session;
	struct conn *conn; /* its link; NULL: there is none */
	TAILQ_HEAD(, leaser) leasers;
	TAILQ_HEAD(, holder) recalled; /* RECALLs not answered, by @since */
	unsigned unknown;              /* leasers that are */
	bool reporting;                /* the keeper is being told */
	bool checking;                 /* the keeper is being asked whether it has ended */
	uint64_t reported;             /* when it was told last; 0: not since all was answered */
	UT_hash_handle hh;
};

/* The leases of a shard. */
struct grants {
	struct leased *objects;
	TAILQ_HEAD(, leaser) leasers;
	unsigned unknown[WIRE_LEASE_EXCLUSIVE + 1]; /* leasers that are, by recorded mode */
};

/* ---- grant.c ---- */

struct grants *grants_of(struct shard *s); /* made if there are none */
struct leased *leased_find(const struct shard *s, const struct orbit_id *id);
/* Makes it if there is none. */
struct holder *holder_get(struct node *n, struct leaser *l, const struct orbit_id *id);
void holder_free(struct node *n, struct holder *h);
/* Gives it no more than that mode. */
void holder_lower(struct node *n, struct holder *h, uint8_t mode);
void pending_free(struct node *n, struct pending *p);

/* ---- recall.c ---- */

/* Asks for what goes beyond @keep, unless that was done. */
void recall(struct node *n, struct holder *h, uint8_t keep);
/* It is answered. */
void recall_over(struct node *n, struct holder *h);
struct lessee *lessee_get(struct node *n, uint32_t session);
struct lessee *lessee_find(struct node *n, uint32_t session);
void lessee_free(struct node *n, struct lessee *s);
/* It has no link: has it ended? */
void recall_check(struct node *n, struct lessee *s);
/* Begins to count the time of those who are asked. */
void recall_watch(struct node *n);

/* ---- holding.c ---- */

struct leaser *leaser_find(struct node *n, uint32_t session, uint16_t shard);
struct leaser *leaser_get(struct node *n, uint32_t session, struct shard *s);
void leaser_free(struct node *n, struct leaser *l);
/* Has the log know that it may hold a lease of that mode: 0 when that is under way or known; @r
 * wants it, and may have the shard's gate. */
int leaser_record(struct node *n, struct leaser *l, uint8_t mode, const struct req *r);
/* It has said all, or is over. */
void leaser_known(struct node *n, struct leaser *l);
/* Asks it what it holds, if it has a link. */
void leaser_claim(struct node *n, struct leaser *l);
/* Ends LEASER_ANY, @s, in shards where it has lasted long enough; true: not in all. */
bool leasers_any_tick(struct node *n, struct lessee *s);

#endif
