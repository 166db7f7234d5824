/*
 * eval: the working state of one evaluation, private to txn/.
 *
 * The store does not change meanwhile: compares and reads look at it alone, writes change working
 * copies of the headers and append to the effect. Functions return 0, a positive enum wire_status
 * by which the transaction fails, or a negative errno by which the evaluation could not be done
 * (-EAGAIN, -EIO, -ENOMEM).
 */
#ifndef ORBIT_TXN_EVAL_H
#define ORBIT_TXN_EVAL_H

#include "dht/txn/object.h"
#include "dht/txn/parse.h"

struct eval_object {
	const struct orbit_id *id;
	uint16_t shard;
	bool loaded;           /* all below is known */
	bool present;          /* as things stand now */
	bool changed;          /* the header has to be put */
	bool touched;          /* its map or stream has been written to */
	bool fresh;            /* nothing that the store has of it counts any more: made anew */
	int8_t orphan;         /* 1: joins the orphan list, 0: leaves it, -1: as it was */
	unsigned first_change; /* its changes before this one are void */
	uint64_t end0, bytes0; /* stream end and bytes in the store */
	struct txn_object now;
};

/* What a WRITE (data) or PUNCH (none) did to a stream. */
struct eval_change {
	uint64_t from, to;
	uint8_t object;
	bool data;
};

struct eval_hold {
	uint8_t object;
	uint32_t session;
	uint32_t was, now; /* holds counted, in the store and now */
};

struct eval {
	struct store *st;
	const struct txn_view *v;
	const struct txn_where *where;
	struct txn_outcome *out;
	struct buf tmp;  /* a value being looked at */
	unsigned missed; /* objects that a range names and that were passed over */
	bool emit;       /* the effect is wanted */
	bool commit;     /* was voted for: no write may fail any more */
	bool begun;      /* this shard's section is */
	uint64_t seq;    /* of that section */
	unsigned nchanges, nholds;
	struct eval_object object[TXN_OBJECTS_MAX]; /* the first v->nobjects are set */
	struct eval_change change[TXN_OPS_MAX];
	struct eval_hold hold[TXN_OPS_MAX];
};

/* Makes o->present and o->now known. */
int eval_load(struct eval *e, struct eval_object *o);

/* The header of any object: 0, -ENOENT, or as above. */
int eval_header(struct eval *e, uint16_t shard, const struct orbit_id *id, struct txn_object *out);

/* Appends a map entry's value to @val (unless NULL): 0, -ENOENT, or as above. */
int eval_map_get(
	struct eval *e, const struct eval_object *o, const void *key, size_t klen, struct buf *val);

/* A walk over what a class has of an object. */
struct store_iter *eval_iter(struct eval *e, const struct eval_object *o, enum key_class class);

/* The session that a key of KEY_HOLD ends in; -EIO when it is no such key. */
int eval_hold_session(const void *key, size_t klen, uint32_t *session);

/* Where a result begins; its payload is appended to e->out->results until eval_result_end(). */
size_t eval_result(struct eval *e, const struct txn_op *op);
int eval_result_end(struct eval *e, size_t at, uint8_t present);

int eval_read(struct eval *e, const struct txn_op *op);

/* All writes, and the effect. */
int eval_writes(struct eval *e);

/* Bytes of data in [from, to) of the stream as it stands now. */
int eval_count(
	struct eval *e, const struct eval_object *o, uint64_t from, uint64_t to, uint64_t *sum);

#endif
