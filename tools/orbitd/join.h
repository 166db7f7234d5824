/*
 * join: which cluster a node is told to join. What follows - to be given a place in the ring map -
 * is the node's (dht/node).
 */
#ifndef TOOLS_ORBITD_JOIN_H
#define TOOLS_ORBITD_JOIN_H

#include "dht/net/loop.h"
#include "tools/orbitd/config.h"

/* Asks the addresses of --join, again and again, which filesystem they serve. Runs the loop until
 * one of them has said so; a signal that ends the process ends this, too. 0; -EINVAL (a bad
 * address) and one line in @why. */
int join_meet(struct loop *lp, const struct config *c, uint8_t fsid[16], char *why, size_t why_len);

/* One look at each of them, at most @timeout ns: 0, or -EMEDIUMTYPE and one line in @why when one
 * serves another filesystem than @fsid. That nobody answers is no error. */
int join_check(struct loop *lp, const struct config *c, const uint8_t fsid[16], uint64_t timeout,
	char *why, size_t why_len);

#endif
