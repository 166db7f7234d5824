/*
 * wire_watch: being told of changes.
 *
 * WATCH asks the node on whose link it comes to tell of changes to objects whose ID begins with
 * @bits bits of @id, as far as it is their primary: a NOTICE for each object of each transaction,
 * once that is committed, in the order of each shard. Without a body it ends all that was asked on
 * the link; they end with the link as well. The answer is a REPLY: OK, WRONG_NODE (the prefix lies
 * in one shard, and this node does not serve it), BUSY (too many on one link).
 *
 * Nothing is kept for who is not there: after a link was lost, a shard moved or WATCH_LOST came,
 * changes may have been missed; what is read after the next WATCH was answered is not older than
 * what the next NOTICE tells of.
 */
#ifndef ORBIT_WIRE_WIRE_WATCH_H
#define ORBIT_WIRE_WIRE_WATCH_H

#include "dht/wire/wire.h"

#define WIRE_WATCH_BITS_MAX (8 * ORBIT_ID_LEN)

struct wire_watch {
	bool all;        /* end all: there is no body */
	bool begin;      /* else: ends the one with that number */
	uint64_t number; /* of the asker's choice; begun again, it is another one */
	uint16_t bits;   /* 0 .. WIRE_WATCH_BITS_MAX; the bits of @id behind them are zero */
	struct orbit_id id;
};
void wire_put_watch(struct buf *b, const struct wire_watch *m);
int wire_get_watch(struct cur c, struct wire_watch *m);

enum wire_notice_what {
	WIRE_NOTICE_CREATED = 1,
	WIRE_NOTICE_CHANGED = 2, /* slots, map or stream; also: deleted and created at once */
	WIRE_NOTICE_DELETED = 3,
	WIRE_NOTICE_LOST = 4, /* no object: notices of that shard (WIRE_NOTICE_ALL: of any) may be
				 missing from now on; for ALL the watches are over */
};
#define WIRE_NOTICE_ALL 0xffff

struct wire_notice {
	uint8_t what; /* enum wire_notice_what */
	uint16_t shard;
	uint64_t seq; /* of the effect: the object's version, if it is there */
	struct orbit_id id;
};
void wire_put_notice(struct buf *b, const struct wire_notice *m);
int wire_get_notice(struct cur c, struct wire_notice *m);

/* Does @id begin with @bits bits of @prefix? */
bool wire_watch_match(const struct orbit_id *id, const struct orbit_id *prefix, unsigned bits);

#endif
