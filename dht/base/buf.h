/*
 * buf: a byte buffer that grows, and a cursor that reads one without trusting it.
 *
 * Integers are little-endian. Errors are sticky: writers check buf.err once at the end (0 or
 * -ENOMEM), readers ask cur_ok() or cur_done() once at the end; in between a failed writer writes
 * nothing and a failed cursor reads zeros and NULLs. Neither is thread-safe.
 */
#ifndef ORBIT_BASE_BUF_H
#define ORBIT_BASE_BUF_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct buf {
	uint8_t *data;
	size_t len; /* bytes in use */
	size_t cap; /* bytes allocated */
	int err;    /* 0 or -ENOMEM, sticky */
};

/* An empty buffer, nothing allocated; {0} will do as well. */
void buf_init(struct buf *b);

/* Frees what the buffer holds and leaves it empty. */
void buf_fini(struct buf *b);

/* Forgets the content, keeps the memory, clears the error. */
void buf_reset(struct buf *b);

/* Appends @len bytes of unset memory and returns them, or NULL (b->err is set). The pointer holds
 * until the next append. */
void *buf_add(struct buf *b, size_t len);

/* Makes room for @len more bytes, so that the next appends of that many do not move the data. */
int buf_reserve(struct buf *b, size_t len);

void buf_bytes(struct buf *b, const void *data, size_t len);
void buf_u8(struct buf *b, uint8_t v);
void buf_u16(struct buf *b, uint16_t v);
void buf_u32(struct buf *b, uint32_t v);
void buf_u64(struct buf *b, uint64_t v);

/* u32 length, then the bytes; read back with cur_blob(). */
void buf_blob(struct buf *b, const void *data, size_t len);

/* Overwrites what stands at @at (which must be within len) once its value is known. */
void buf_set_u16(struct buf *b, size_t at, uint16_t v);
void buf_set_u32(struct buf *b, size_t at, uint32_t v);
void buf_set_u64(struct buf *b, size_t at, uint64_t v);

struct cur {
	const uint8_t *p;
	size_t left;
	bool bad; /* read past the end, or cur_fail() */
};

struct cur cur_of(const void *data, size_t len);
uint8_t cur_u8(struct cur *c);
uint16_t cur_u16(struct cur *c);
uint32_t cur_u32(struct cur *c);
uint64_t cur_u64(struct cur *c);

/* The next @len bytes in place, or NULL when there are fewer. */
const void *cur_bytes(struct cur *c, size_t len);

/* A blob written by buf_blob(), in place; *len is 0 and the result NULL when it does not fit or is
 * longer than @max. A blob of length 0 gives a pointer that is not NULL. */
const void *cur_blob(struct cur *c, size_t max, size_t *len);

/* Marks the cursor bad: for a value that was read but makes no sense. */
void cur_fail(struct cur *c);

/* Nothing was wrong so far. */
static inline bool cur_ok(const struct cur *c)
{
	return !c->bad;
}

/* Nothing was wrong and nothing is left. */
static inline bool cur_done(const struct cur *c)
{
	return !c->bad && c->left == 0;
}

/* Big-endian 16 and 64 bit numbers, for keys whose byte order is their order. */
static inline void put_be16(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, 2);
}

static inline void put_be64(void *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static inline uint16_t get_be16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, 2);
	return be16toh(v);
}

static inline uint64_t get_be64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return be64toh(v);
}

#endif
