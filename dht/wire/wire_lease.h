/*
 * wire_lease: leases of sessions on objects (docs/LEASES.md tells what they are worth).
 *
 *   GRANT    node to session, on its own link, right before the REPLY it belongs to
 *   RECALL   node to session: give back
 *   RETURN   session to the shard's primary: given back; also unasked. More is kept than was asked
 *            for: it was heard, and is under way
 *   CLAIM    node to session: what do you hold in this shard? (it has a new primary: us)
 *   HOLDING  session to the shard's new primary: all it holds there -> REPLY (OK, WRONG_NODE,
 *            NO_SESSION, RETRY: not yet)
 *
 * GRANT, RECALL, RETURN and CLAIM have no answer and the frame id 0.
 */
#ifndef ORBIT_WIRE_WIRE_LEASE_H
#define ORBIT_WIRE_WIRE_LEASE_H

#include "dht/wire/wire.h"

enum wire_lease { WIRE_LEASE_NONE = 0, WIRE_LEASE_SHARED = 1, WIRE_LEASE_EXCLUSIVE = 2 };

#define WIRE_LEASES_MAX 4096 /* in one message */

/* One lease, in whichever message. */
struct wire_lease_one {
	uint16_t shard;
	struct orbit_id id;
	uint8_t mode;     /* enum wire_lease. GRANT, HOLDING: held; RECALL, RETURN: what is kept */
	uint64_t number;  /* of the newest grant that the sender knows; RETURN: up to that one */
	uint64_t version; /* GRANT: of the object, after the transaction; else 0 */
};

struct wire_leases {
	uint64_t request; /* GRANT: the frame id of the REPLY that follows; else 0 */
	uint32_t session; /* the one that holds */
	uint64_t epoch;   /* of the sender's map */
	uint16_t shard;   /* HOLDING, CLAIM: the shard that is meant; else 0 */
	uint64_t term;    /* HOLDING, CLAIM: of that shard in the sender's map; else 0 */
	bool more;        /* HOLDING: the list goes on in another message */
	uint32_t n;       /* 0 .. WIRE_LEASES_MAX; CLAIM: 0 */
	struct cur ones;
};
/* Head, then @m->n times wire_put_lease_one(). */
void wire_put_leases_head(struct buf *b, const struct wire_leases *m);
void wire_put_lease_one(struct buf *b, const struct wire_lease_one *one);
/* Checks all of it, every one included. */
int wire_get_leases(struct cur c, struct wire_leases *m);
/* The next one, in order: take m->n of them. */
struct wire_lease_one wire_lease_next(struct wire_leases *m);

#endif
