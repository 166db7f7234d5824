/*
 * wire_keep: what is asked of the keeper, and what its voters tell each other.
 *
 * ASK goes to the keeper's leader; a node that is not passes it on (one hop) or says NO_KEEPER. The
 * answer is a REPLY: its epoch is that of the first map in which the change is in; its results are
 * a text for people when it was refused, else nothing.
 */
#ifndef ORBIT_WIRE_WIRE_KEEP_H
#define ORBIT_WIRE_WIRE_KEEP_H

#include "dht/wire/wire.h"

#define WIRE_ADDRS_MAX 4
#define WIRE_ADDR_MAX 255 /* bytes */
#define WIRE_ZONE_MAX 63

enum wire_ask {
	ASK_REGISTER = 1, /* a node was started: node, incarnation, whole, addresses, ... */
	ASK_ALIVE = 2,    /* of each node, every so often: node, incarnation, used, available */
	ASK_SUSPECT = 3,  /* node by: the node does not answer me, or (refused) its address does not
			     accept connections */
	ASK_MEMBER = 4,   /* primary by: shard, term, node, incarnation, add */
	ASK_LEAVE = 5,    /* orbitctl: node; add: it stays after all */
	ASK_REMOVE = 6,   /* orbitctl: node, force */
	ASK_WEIGHT = 7,   /* orbitctl: node, weight */
	ASK_RENAME = 8,   /* orbitctl: node, id2: its new ID */
	ASK_REPLICAS = 9, /* orbitctl: replicas, min_in_sync (0: as it is) */
	ASK_FENCE = 10,   /* orbitctl: session; run out, of a node: at the end of its time, which is
			     not renewed any more */
	ASK_DOWN = 11,    /* of a node about to stop in good order: node, incarnation */
};

struct wire_ask_m {
	uint8_t what;  /* enum wire_ask */
	uint8_t flags; /* ASK_F_* */
	uint64_t epoch;
	struct orbit_id node, by, id2;
	uint64_t incarnation;
	uint16_t shard;
	uint64_t term;
	uint32_t weight, session;
	uint8_t replicas, min_in_sync;
	uint64_t used, available; /* bytes */
	uint8_t naddrs;
	char addr[WIRE_ADDRS_MAX][WIRE_ADDR_MAX + 1];
	char zone[WIRE_ZONE_MAX + 1];
};

#define ASK_F_PASSED 0x01 /* came through another node: do not pass it on again */
#define ASK_F_WHOLE 0x02
#define ASK_F_WITNESS 0x04
#define ASK_F_REFUSED 0x08
#define ASK_F_ADD 0x10
#define ASK_F_FORCE 0x20
#define ASK_F_RUN_OUT 0x40

void wire_put_ask(struct buf *b, const struct wire_ask_m *m);
int wire_get_ask(struct cur c, struct wire_ask_m *m);

#endif
