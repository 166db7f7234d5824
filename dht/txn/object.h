/*
 * object: how an object's header and its holds stand in the index.
 *
 * The value of a KEY_HEADER is a format byte, which also says whether the object is as it was
 * created, and the object as txn_put_object() writes it, of a KEY_HOLD the count (u32, never 0), of
 * a KEY_ORPHAN nothing.
 */
#ifndef ORBIT_TXN_OBJECT_H
#define ORBIT_TXN_OBJECT_H

#include "dht/txn/txn.h"

#define OBJECT_FORMAT 1
#define OBJECT_FORMAT_FRESH 2 /* the effect that put it has created the object */
#define OBJECT_HEADER_LEN (1 + TXN_OBJECT_LEN)

void object_encode(const struct txn_object *o, bool fresh, uint8_t out[OBJECT_HEADER_LEN]);

/* 0, or -EBADMSG: of another length or format, or a stream that holds more than it is long. */
int object_decode(const void *val, size_t len, struct txn_object *o);

/* Has the object been created by the effect that put this header? */
bool object_fresh(const void *val, size_t len);

/* The count in a hold's value; -EBADMSG when it is none. */
int object_hold_decode(const void *val, size_t len, uint32_t *count);

#endif
