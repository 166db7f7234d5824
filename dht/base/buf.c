#include "dht/base/buf.h"

#include <errno.h>
#include <stdlib.h>

void buf_init(struct buf *b)
{
	memset(b, 0, sizeof(*b));
}

void buf_fini(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->err = 0;
}

int buf_reserve(struct buf *b, size_t len)
{
	size_t want, cap;
	void *data;

	if (b->err)
		return b->err;
	if (__builtin_add_overflow(b->len, len, &want))
		return b->err = -ENOMEM;
	if (want <= b->cap && b->data)
		return 0;
	cap = b->cap < 128 ? 128 : b->cap;
	while (cap < want) {
		if (__builtin_mul_overflow(cap, (size_t)2, &cap))
			return b->err = -ENOMEM;
	}
	data = realloc(b->data, cap);
	if (!data)
		return b->err = -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

void *buf_add(struct buf *b, size_t len)
{
	void *at;

	if (buf_reserve(b, len))
		return NULL;
	at = b->data + b->len;
	b->len += len;
	return at;
}

void buf_bytes(struct buf *b, const void *data, size_t len)
{
	void *at = buf_add(b, len);

	if (at && len)
		memcpy(at, data, len);
}

void buf_u8(struct buf *b, uint8_t v)
{
	buf_bytes(b, &v, 1);
}

void buf_u16(struct buf *b, uint16_t v)
{
	v = htole16(v);
	buf_bytes(b, &v, 2);
}

void buf_u32(struct buf *b, uint32_t v)
{
	v = htole32(v);
	buf_bytes(b, &v, 4);
}

void buf_u64(struct buf *b, uint64_t v)
{
	v = htole64(v);
	buf_bytes(b, &v, 8);
}

void buf_blob(struct buf *b, const void *data, size_t len)
{
	if (len > UINT32_MAX) {
		b->err = -ENOMEM;
		return;
	}
	buf_u32(b, (uint32_t)len);
	buf_bytes(b, data, len);
}

static void overwrite(struct buf *b, size_t at, const void *v, size_t len)
{
	if (!b->err && at + len <= b->len)
		memcpy(b->data + at, v, len);
}

void buf_set_u16(struct buf *b, size_t at, uint16_t v)
{
	v = htole16(v);
	overwrite(b, at, &v, 2);
}

void buf_set_u32(struct buf *b, size_t at, uint32_t v)
{
	v = htole32(v);
	overwrite(b, at, &v, 4);
}

void buf_set_u64(struct buf *b, size_t at, uint64_t v)
{
	v = htole64(v);
	overwrite(b, at, &v, 8);
}

struct cur cur_of(const void *data, size_t len)
{
	return (struct cur){.p = data, .left = len};
}

void cur_fail(struct cur *c)
{
	c->bad = true;
	c->left = 0;
}

const void *cur_bytes(struct cur *c, size_t len)
{
	const void *at = c->p;

	if (c->bad || len > c->left) {
		cur_fail(c);
		return NULL;
	}
	if (!len)
		return at ? at : "";
	c->p += len;
	c->left -= len;
	return at;
}

uint8_t cur_u8(struct cur *c)
{
	const uint8_t *at = cur_bytes(c, 1);

	return at ? *at : 0;
}

uint16_t cur_u16(struct cur *c)
{
	const void *at = cur_bytes(c, 2);
	uint16_t v = 0;

	if (at)
		memcpy(&v, at, 2);
	return le16toh(v);
}

uint32_t cur_u32(struct cur *c)
{
	const void *at = cur_bytes(c, 4);
	uint32_t v = 0;

	if (at)
		memcpy(&v, at, 4);
	return le32toh(v);
}

uint64_t cur_u64(struct cur *c)
{
	const void *at = cur_bytes(c, 8);
	uint64_t v = 0;

	if (at)
		memcpy(&v, at, 8);
	return le64toh(v);
}

const void *cur_blob(struct cur *c, size_t max, size_t *len)
{
	uint32_t n = cur_u32(c);
	const void *at;

	*len = 0;
	if (n > max) {
		cur_fail(c);
		return NULL;
	}
	at = cur_bytes(c, n);
	if (at)
		*len = n;
	return at;
}
