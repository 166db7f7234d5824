/*
 * keep: a node's place in the cluster: how it comes into the ring map and stays in it, how maps
 * spread, and how the keeper's leader is asked. Private to this room.
 */
#ifndef ORBIT_NODE_KEEP_H
#define ORBIT_NODE_KEEP_H

#include "dht/node/impl.h"
#include "dht/wire/wire_keep.h"

#define KEEP_DIFFS 64 /* differences kept for those whose map is a little older */

struct keep;

int keep_new(struct node *n);
/* Begins to register, once the loop runs. */
void keep_start(struct node *n);
void keep_stop(struct node *n);
/* Something of it is on its way to the disk. */
bool keep_busy(const struct node *n);
void keep_free(struct node *n);

/* Takes a map if it is newer than ours, and of this filesystem. 0; -EEXIST it is not newer;
 * -ESHUTDOWN it is stopping; -EMEDIUMTYPE, -EINVAL (another number of shards), -EIO (our own
 * records). */
int keep_adopt(struct node *n, struct ring_map *m);
/* What a MAP says. 0, -EBADMSG, or as above. */
int keep_take(struct node *n, const struct wire_map *m);
/* A MAP came that was not asked for. */
void keep_brought(struct node *n, struct frame *f);
/* Appends the answer to a MAP_GET. */
void keep_put_map(const struct node *n, uint64_t epoch, struct buf *b);

/* Asks the keeper's leader, wherever it is. done() comes once, not from inside: @status is
 * NO_KEEPER when nobody knows a leader or it can't be reached: ask again. Embedded by the caller.
 */
struct keep_ask {
	void (*done)(struct keep_ask *a, uint16_t status, uint64_t epoch);
	struct wire_ask_m m;
	char text[160]; /* why it was refused, for people */
	/* keep_ask.c's */
	struct node *n;
	struct call call;
};
void keep_ask(struct node *n, struct keep_ask *a);
/* The same for a session. */
struct keep_session {
	void (*done)(struct keep_session *s, const struct wire_session *m);
	struct wire_session_open m;
	struct node *n;
	struct call call;
};
void keep_session(struct node *n, struct keep_session *s);

/* ASK, SESSION_OPEN, RAFT and EPOCH came. */
void keep_asked(struct conn *c, struct frame *f);
void keep_session_asked(struct conn *c, struct frame *f);
void keep_raft(struct conn *c, struct frame *f);
void keep_epoch(struct node *n, const struct orbit_id *from, struct frame *f);

/* The link to that node went down, or could not be made; @refused: none of its addresses accepts
 * connections. */
void keep_link_down(struct node *n, const struct orbit_id *id, bool refused);
/* Is a link to that node to be kept up? */
bool keep_wants(const struct node *n, const struct orbit_id *id);

void keep_status(const struct node *n, struct buf *b);

#endif
