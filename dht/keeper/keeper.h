/*
 * keeper: the owner of the ring map and of the list of sessions.
 *
 * A keeper of one: every node keeps its copy of the map in its store; the node that the map names
 * as keeper also numbers sessions and ends those that are silent. (The same calls will stand over a
 * Raft group.)
 *
 * Thread: the loop. State is in the store under KEY_KEEPER.
 */
#ifndef ORBIT_KEEPER_KEEPER_H
#define ORBIT_KEEPER_KEEPER_H

#include "dht/net/env.h"
#include "dht/ring/ring.h"
#include "dht/store/store.h"
#include "dht/wire/wire.h"

struct keeper;

/* Long, as nothing but the holds of a dead client waits for it, while a client that was cut off for
 * longer can not know what became of the writes that it had in flight and has to report them as
 * failed. */
#define KEEPER_SESSION_TIMEOUT (120 * ENV_SEC)

struct keeper_config {
	uint64_t session_timeout; /* ns; default KEEPER_SESSION_TIMEOUT */
};

/* Loads the map and the sessions (blocking reads at start are fine). 0, -EIO, -EUCLEAN. Sessions
 * that were alive get a full timeout from now. */
int keeper_new(
	struct keeper **out, struct env *e, struct store *st, const struct keeper_config *cfg);
/* Frees at once; what is under way is told -ESHUTDOWN (WIRE_IO). After a clean stop nothing may be
 * under way (keeper_busy()); in a crash the store is freed right after. NULL is harmless. */
void keeper_free(struct keeper *k);

/* Something was asked and is not yet durable. */
bool keeper_busy(const struct keeper *k);

/* The map; NULL when this node was not given one yet. Borrowed. */
const struct ring_map *keeper_ring(const struct keeper *k);

/* Takes a newer map (of the same filesystem), stores it durably, then done(arg, rc): 0, -EEXIST
 * when ours is as new, -EMEDIUMTYPE another filesystem, -EINVAL another number of shards. Takes
 * its own reference. */
void keeper_set_ring(
	struct keeper *k, struct ring_map *m, void (*done)(void *arg, int rc), void *arg);

/* Carries out one WIRE_SESSION_OPEN; done() when the outcome is durable, which for RENEW and CHECK
 * is from inside. Only on the keeper's node. */
void keeper_session(struct keeper *k, const struct wire_session_open *m,
	void (*done)(void *arg, const struct wire_session *out), void *arg);

#endif
