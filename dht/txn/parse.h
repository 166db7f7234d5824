/*
 * parse: the layout of one operation, private to txn/.
 */
#ifndef ORBIT_TXN_PARSE_H
#define ORBIT_TXN_PARSE_H

#include "dht/txn/txn.h"

#define TXN_HEAD_LEN 4    /* of a body: u8 objects, u8 zero, u16 operations */
#define TXN_OP_HEAD_LEN 4 /* of an operation: u8 kind, u8 object, u16 index */
#define TXN_SUFFIX_LEN 24
#define TXN_SESSION_MAX 0xffffffu /* a session number has 24 bits */

#define TXN_RANGE_INCLUSIVE 0x01
#define TXN_RANGE_SUFFIX 0x02
#define TXN_LEASE_TRY 0x80

/* What follows an operation's head. */
enum txn_shape {
	SHAPE_NONE = 0, /* no such kind */
	SHAPE_BARE,     /* nothing */
	SHAPE_SLOT,     /* u8 slot, u64 value */
	SHAPE_KEY,      /* u16 length, key */
	SHAPE_PAIR,     /* KEY; u32 length, value */
	SHAPE_VERSION,  /* u64 */
	SHAPE_RANGE,    /* u8 flags, u32 max, u32 bytes, u16 length, from, [suffix] */
	SHAPE_FOLLOW,   /* KEY; suffix */
	SHAPE_EXTENT,   /* u64 offset, u64 length (READ, RANGES) or end (PUNCH) */
	SHAPE_CREATE,   /* u16 mask, u64 for each bit */
	SHAPE_SESSION,  /* u32 */
	SHAPE_LEASE,    /* u8 mode, and TRY */
	SHAPE_WRITE,    /* u64 offset, u32 length, bytes */
	SHAPE_COPY,     /* u64 offset, u32 length, source, u64 offset there */
};
enum txn_shape txn_shape(unsigned kind);

/* Reads one operation; what does not fit its layout makes the cursor bad. Limits are not looked at.
 */
void txn_parse_op(struct cur *c, struct txn_op *op);

#endif
