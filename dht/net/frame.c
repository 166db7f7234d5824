/*
 * The header, 32 bytes, little-endian (docs/FRAMES.md):
 *
 *   0 u32 magic     8 u16 flags     16 u64 id
 *   4 u16 version  10 u16 zero      24 u32 CRC32C of the body
 *   6 u16 type     12 u32 body len  28 u32 CRC32C of bytes 0..27
 */
#include "dht/net/frame.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"

enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_TYPE = 6,
	AT_FLAGS = 8,
	AT_ZERO = 10,
	AT_LEN = 12,
	AT_ID = 16,
	AT_SUM = 24,
	AT_HEAD_SUM = 28,
};

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

struct frame *frame_new(uint16_t type, uint64_t id, size_t room)
{
	struct frame *f = mem_zalloc(sizeof(*f));
	size_t cap;

	f->refs = 1;
	f->type = type;
	f->id = id;
	if (!__builtin_add_overflow(room, FRAME_HEAD, &cap))
		f->b.data = malloc(cap);
	if (f->b.data) {
		f->b.cap = cap;
	} else {
		/* the header's room is always there, so that lengths need no special case */
		f->b.data = mem_zalloc(FRAME_HEAD);
		f->b.cap = FRAME_HEAD;
		f->b.err = -ENOMEM;
	}
	f->b.len = FRAME_HEAD;
	return f;
}

struct frame *frame_ref(struct frame *f)
{
	assert(f->refs > 0);
	f->refs++;
	return f;
}

void frame_unref(struct frame *f)
{
	if (!f)
		return;
	assert(f->refs > 0);
	if (--f->refs)
		return;
	free(f->b.data);
	free(f);
}

int frame_check(const struct frame *f)
{
	if (f->b.err)
		return f->b.err;
	return frame_body_len(f) > FRAME_BODY_MAX ? -EMSGSIZE : 0;
}

int frame_seal(struct frame *f)
{
	size_t len = frame_body_len(f);
	uint8_t *h = f->b.data;
	int rc = frame_check(f);

	if (rc)
		return rc;
	assert(f->summed <= len);
	if (f->summed < len) {
		f->sum = crc32c_more(f->sum, frame_body(f) + f->summed, len - f->summed);
		f->summed = len;
	}
	put32(h + AT_MAGIC, FRAME_MAGIC);
	put16(h + AT_VERSION, FRAME_VERSION);
	put16(h + AT_TYPE, f->type);
	put16(h + AT_FLAGS, f->flags);
	put16(h + AT_ZERO, 0);
	put32(h + AT_LEN, (uint32_t)len);
	put64(h + AT_ID, f->id);
	put32(h + AT_SUM, f->sum);
	put32(h + AT_HEAD_SUM, crc32c(h, AT_HEAD_SUM));
	return 0;
}

int frame_peek(const uint8_t head[FRAME_HEAD], size_t *body_len)
{
	uint32_t len = get32(head + AT_LEN);

	/* magic and version stand where they do in every version; the rest is only believed when
	 * its checksum is right */
	if (get32(head + AT_MAGIC) != FRAME_MAGIC || get16(head + AT_VERSION) != FRAME_VERSION)
		return -EPROTO;
	if (get32(head + AT_HEAD_SUM) != crc32c(head, AT_HEAD_SUM))
		return -EBADMSG;
	if (get16(head + AT_ZERO))
		return -EPROTO;
	if (len > FRAME_BODY_MAX)
		return -EMSGSIZE;
	*body_len = len;
	return 0;
}

struct frame *frame_from_head(const uint8_t head[FRAME_HEAD], size_t body_len)
{
	struct frame *f = frame_new(get16(head + AT_TYPE), get64(head + AT_ID), body_len);

	if (f->b.err) {
		frame_unref(f);
		return NULL;
	}
	f->flags = get16(head + AT_FLAGS);
	memcpy(f->b.data, head, FRAME_HEAD);
	f->b.len = FRAME_HEAD + body_len;
	return f;
}

int frame_verify(const struct frame *f)
{
	uint32_t sum = get32(f->b.data + AT_SUM);

	return sum == crc32c(frame_body(f), frame_body_len(f)) ? 0 : -EBADMSG;
}
