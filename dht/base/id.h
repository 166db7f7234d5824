/*
 * id: the 256-bit name of an object or a node.
 *
 * The first 64 bits, big-endian, are the position on the ring; the other 192 tell objects of the
 * same position apart. IDs compare as byte strings, so ID order is ring order.
 */
#ifndef ORBIT_BASE_ID_H
#define ORBIT_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ORBIT_ID_LEN 32
#define ORBIT_ID_HEX 65 /* characters of orbit_id_hex() with the NUL */

struct orbit_id {
	uint8_t b[ORBIT_ID_LEN];
};

/* The ID at @position whose other 24 bytes are @name. */
struct orbit_id orbit_id_make(uint64_t position, const void *name);

uint64_t orbit_id_position(const struct orbit_id *id);

static inline int orbit_id_cmp(const struct orbit_id *a, const struct orbit_id *b)
{
	return memcmp(a->b, b->b, ORBIT_ID_LEN);
}

/* Writes 64 lower-case hex digits and a NUL; returns @out. */
char *orbit_id_hex(const struct orbit_id *id, char out[ORBIT_ID_HEX]);

/* Reads 64 hex digits; 0, or -EINVAL when @text is anything else. */
int orbit_id_parse(const char *text, struct orbit_id *id);

/* The ID of a name that a person types: SHA-256 of @len bytes at @name. */
struct orbit_id orbit_id_hash(const void *name, size_t len);

#endif
