/*
 * mem: small allocations that do not fail.
 *
 * A few bytes for our own bookkeeping are not worth an error path that nobody can test: when the
 * kernel refuses them the process says so and aborts, and the log on disk is what it was. Sizes
 * that come from outside (a peer, a disk, a user) are checked against a limit first, and buffers
 * for bulk data use buf.h, which reports -ENOMEM.
 */
#ifndef ORBIT_BASE_MEM_H
#define ORBIT_BASE_MEM_H

#include <stddef.h>

/* Zeroed memory; free with free(3). Aborts when there is none. */
void *mem_zalloc(size_t size);

/* A copy of @len bytes, with a NUL behind it that does not count; free with free(3). */
void *mem_dup(const void *data, size_t len);

/* realloc(3) for @n elements of @size bytes, overflow checked; aborts when there is none. */
void *mem_grow(void *old, size_t n, size_t size);

/* The struct of @type whose field @member is at @ptr. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

#endif
