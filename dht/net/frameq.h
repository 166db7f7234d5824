/*
 * frameq: a queue of frames as a ring that grows; pushing costs no allocation once it has grown.
 * Holds a reference on each frame. Private to net/.
 */
#ifndef ORBIT_NET_FRAMEQ_H
#define ORBIT_NET_FRAMEQ_H

#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/net/frame.h"

struct frameq {
	struct frame **v;
	size_t head, len, cap; /* cap is 0 or a power of two */
	size_t bytes;          /* of all frames in it, with their headers */
};

static inline struct frame *frameq_at(const struct frameq *q, size_t i)
{
	return q->v[(q->head + i) & (q->cap - 1)];
}

static inline void frameq_grow(struct frameq *q)
{
	size_t cap = q->cap ? 2 * q->cap : 8;
	struct frame **v = mem_grow(NULL, cap, sizeof(*v));

	for (size_t i = 0; i < q->len; i++)
		v[i] = frameq_at(q, i);
	free(q->v);
	q->v = v;
	q->head = 0;
	q->cap = cap;
}

/* Takes the caller's reference. */
static inline void frameq_push(struct frameq *q, struct frame *f)
{
	if (q->len == q->cap)
		frameq_grow(q);
	q->v[(q->head + q->len++) & (q->cap - 1)] = f;
	q->bytes += f->b.len;
}

/* Gives its reference to the caller; the queue must not be empty. */
static inline struct frame *frameq_pop(struct frameq *q)
{
	struct frame *f = q->v[q->head];

	q->head = (q->head + 1) & (q->cap - 1);
	q->len--;
	q->bytes -= f->b.len;
	return f;
}

static inline void frameq_fini(struct frameq *q)
{
	while (q->len)
		frame_unref(frameq_pop(q));
	free(q->v);
	*q = (struct frameq){0};
}

#endif
