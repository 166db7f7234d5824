/*
 * batch: the changes that one effect makes to the index, in key order, the last one to a key
 * counting; and the changes to the segments' counts of live bytes that go with them.
 *
 * What an operation of the effect reads is the index as changed by the operations before it: walk
 * merges both. Memory comes from the batch's own arena, kept from one use to the next.
 */
#ifndef ORBIT_STORE_BATCH_H
#define ORBIT_STORE_BATCH_H

#include <bsd/sys/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct store_index;
struct index_iter;

struct batch_op {
	RB_ENTRY(batch_op) node;
	const void *key, *val;
	size_t klen, vlen;
	bool del;
};

RB_HEAD(batch_tree, batch_op);
RB_PROTOTYPE(batch_tree, batch_op, node, )

/* So many more (or fewer) live bytes in the segment of @pos. */
struct batch_live {
	uint64_t pos;
	int64_t bytes;
};

struct batch_block;

struct batch {
	struct batch_tree ops;
	struct batch_block *first, *block; /* the arena: all blocks, the one in use */
	size_t used;                       /* bytes of block in use */
	size_t bytes;                      /* about what the index will need for it */
	struct batch_live *live;
	size_t nlive, live_cap;
};

void batch_init(struct batch *b);
void batch_fini(struct batch *b);

/* Empties it; the memory stays, up to a measure. */
void batch_reset(struct batch *b);

/* Memory that lasts until the next reset. */
void *batch_alloc(struct batch *b, size_t len);
void *batch_dup(struct batch *b, const void *data, size_t len);

/* Key and value are borrowed until the reset. */
void batch_put(struct batch *b, const void *key, size_t klen, const void *val, size_t vlen);
void batch_del(struct batch *b, const void *key, size_t klen);
void batch_count(struct batch *b, uint64_t pos, int64_t bytes);

/* memcmp(), the shorter one first. */
int batch_cmp_keys(const void *a, size_t alen, const void *b, size_t blen);

/* A walk over [from, to) of the index as the batch leaves it. The keys that were already passed
 * may be put or deleted while it goes on. @to is borrowed. */
struct walk {
	struct store_index *ix;
	struct batch *b;
	struct index_iter *it;
	struct batch_op *over; /* the next of the batch, NULL at its end */
	const void *to;
	size_t tlen;
	const void *key, *val; /* the next of the index, if have */
	size_t klen, vlen;
	bool have, end;
};

void walk_init(struct walk *w, struct store_index *ix, struct batch *b, const void *from,
	size_t flen, const void *to, size_t tlen, bool cached);
/* 1 and a pair (good until the next call), 0 at the end, -EAGAIN, -EIO. */
int walk_next(struct walk *w, const void **key, size_t *klen, const void **val, size_t *vlen);
void walk_fini(struct walk *w);

#endif
