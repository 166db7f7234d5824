/*
 * lease_int: what lease.c and lease_hold.c share.
 */
#ifndef ORBIT_CLIENT_LEASE_INT_H
#define ORBIT_CLIENT_LEASE_INT_H

#include "dht/client/client.h"
#include "dht/wire/wire_lease.h"

struct holding;

struct lease_shard {
	TAILQ_HEAD(, lease) held;
	/* Its primary by the newest map that names one. */
	struct orbit_id node; /* zeros: none has */
	uint64_t incarnation;
	uint64_t seen;  /* its term by that map */
	uint64_t term;  /* in which we last said what we hold; 0: never */
	bool wished;    /* the primary may think that we hold something */
	bool owed;      /* since then there is another primary */
	uint64_t until; /* owed: what is held may be used */
	struct holding *saying;
};

struct lease *lease_find(const struct orbit_client *c, const struct orbit_id *id);
/* Who would recall it. */
void lease_from(struct lease *e, struct peer *p);

/* May what is held of the shard be used, as far as that is the shard's matter? */
bool lease_trusted(const struct orbit_client *c, uint16_t shard);
/* Has the user give back what goes beyond @keep, unless he is at it. */
void lease_ask_user(struct orbit_client *c, struct lease *e, enum orbit_lease keep);

/* There is a map: makes the table of shards if there is none. */
void lease_shards(struct orbit_client *c);
/* All that was said or wished is over. */
void lease_forget_shards(struct orbit_client *c);
void lease_claimed(struct peer *p, const struct wire_leases *m);

#endif
