/*
 * keep_int: what keep.c, keep_ask.c and keep_map.c have in common. Private to them.
 */
#ifndef ORBIT_NODE_KEEP_INT_H
#define ORBIT_NODE_KEEP_INT_H

#include "dht/node/keep.h"
#include "dht/node/peer.h"

struct diff {
	uint64_t from;
	struct buf b;
};

struct keep {
	struct node *n;
	struct env_timer timer; /* what is to be done next: join, register, alive */
	struct keep_ask ask;
	bool asking;
	bool levelled, warned;
	bool retiring; /* is not to be in the ring any more */
	struct keep_ask retire;
	void (*retired)(void *arg, int rc);
	void *retired_arg;
	unsigned tries, turn;
	uint32_t number;
	struct diff diffs[KEEP_DIFFS]; /* by epoch modulo their number */

	struct link *join;
	unsigned next_join;
	struct env_timer join_timer;

	struct gate *gate;
	bool saving;
	bool urgent;    /* others are in the map than in the one on disk */
	uint64_t saved; /* epoch on disk, or on its way there */
	struct env_timer save_timer;
};

/* ---- keep_ask.c ---- */

/* Who leads the keeper, as far as is known; each @turn it is another guess. */
uint16_t keep_leader(const struct node *n, unsigned turn);

/* ---- keep_map.c ---- */

/* The map as it was when this node stopped, if there is one. 0 or a negative errno. */
int keep_map_load(struct node *n);
/* The timer that writes it. */
void keep_map_save(struct env_timer *t);
void keep_drop_diffs(struct keep *k);

#endif
