/*
 * keep: how the keeper's leader is asked. Private to this room.
 */
#ifndef ORBIT_NODE_KEEP_H
#define ORBIT_NODE_KEEP_H

#include "dht/node/impl.h"
#include "dht/wire/wire_keep.h"

/* Asks the keeper's leader, wherever it is. done() comes once, not from inside: @status is
 * NO_KEEPER when nobody knows a leader or it can't be reached: ask again. Embedded by the caller.
 */
struct keep_ask {
	void (*done)(struct keep_ask *a, uint16_t status, uint64_t epoch);
	struct wire_ask_m m;
	char text[160]; /* why it was refused, for people */
	/* keep.c's */
	struct node *n;
	struct call call;
};
void keep_ask(struct node *n, struct keep_ask *a);

#endif
