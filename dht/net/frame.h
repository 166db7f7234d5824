/*
 * frame: one message, as bytes.
 *
 * A frame is a fixed header (type, flags, id, lengths, checksums) and a body of up to
 * FRAME_BODY_MAX bytes. It is built in one piece of memory that leaves room for the header in
 * front, so that sending needs one write and no copy. A frame is counted: whoever keeps one holds
 * a reference. Once handed to link_send() nothing of it changes any more (it may be in several
 * queues), and a received one is not changed at all: within the process it is the sender's own.
 * Reference counts are not atomic: a frame belongs to one loop.
 *
 * The bytes on the wire are specified in docs/FRAMES.md.
 */
#ifndef ORBIT_NET_FRAME_H
#define ORBIT_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dht/base/buf.h"

#define FRAME_HEAD 32             /* bytes of the header */
#define FRAME_BODY_MAX (8u << 20) /* bytes of the largest body */
#define FRAME_MAGIC 0x4f524246u   /* "FBRO" on the wire */
#define FRAME_VERSION 1           /* of the header's layout, not of the messages */

struct frame {
	unsigned refs;
	uint16_t type;  /* enum wire_type */
	uint16_t flags; /* FRAME_* below */
	uint64_t id;    /* chosen by the asker, echoed by the answer; 0 = no answer wanted */
	struct buf b;   /* header room, then the body: append to it while building */
	uint32_t sum;   /* frame_seal()'s: CRC32C of the first summed bytes of the body */
	size_t summed;
};

#define FRAME_REPLY 0x0001 /* answers the request of the same id on this link */

/* A frame with one reference and an empty body; @room bytes of body can follow without a move.
 * Never NULL: without memory b.err is set and sending it fails. */
struct frame *frame_new(uint16_t type, uint64_t id, size_t room);

struct frame *frame_ref(struct frame *f);

/* Drops one reference; NULL is harmless. */
void frame_unref(struct frame *f);

static inline const uint8_t *frame_body(const struct frame *f)
{
	return f->b.data + FRAME_HEAD;
}

static inline size_t frame_body_len(const struct frame *f)
{
	return f->b.len - FRAME_HEAD;
}

static inline struct cur frame_cur(const struct frame *f)
{
	return cur_of(frame_body(f), frame_body_len(f));
}

/* 0 when the frame may be sent; -EMSGSIZE for a body over FRAME_BODY_MAX, or f->b.err. */
int frame_check(const struct frame *f);

/* Writes the header with its checksums in front of the body: what then stands at f->b.data,
 * f->b.len bytes, is what goes out. Idempotent, and the body is summed only once however often the
 * frame is sent, so it must not change in place after the first time. Else as frame_check(). */
int frame_seal(struct frame *f);

/* What a header announces, checked: 0 and *body_len, -EPROTO when it is none of ours, -EMSGSIZE
 * when the body would be over the limit, -EBADMSG when its checksum is wrong. Nothing is allocated.
 */
int frame_peek(const uint8_t head[FRAME_HEAD], size_t *body_len);

/* A frame out of a header that frame_peek() passed, with body_len bytes of unset body to read into
 * (at f->b.data + FRAME_HEAD); then frame_verify() it. NULL when there is no memory. */
struct frame *frame_from_head(const uint8_t head[FRAME_HEAD], size_t body_len);

/* 0, or -EBADMSG when the body's checksum is wrong. */
int frame_verify(const struct frame *f);

#endif
