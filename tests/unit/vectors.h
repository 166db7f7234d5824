/*
 * vectors: the test vectors of docs/PROTOCOL.md, so that the page and the code cannot part ways.
 * Tests run in the top folder.
 */
#ifndef TEST_VECTORS_H
#define TEST_VECTORS_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "dht/base/buf.h"

/* The bytes of the vector @name; ends the test program's test when there is none. */
static inline struct buf vector(const char *name)
{
	FILE *f = fopen("docs/PROTOCOL.md", "r");
	char line[256], want[64];
	struct buf b = {0};
	unsigned byte;
	int inside = 0;

	assert_non_null(f);
	snprintf(want, sizeof(want), "```vector %s\n", name);
	while (fgets(line, sizeof(line), f)) {
		if (!inside) {
			inside = strcmp(line, want) == 0;
			continue;
		}
		if (line[0] == '`')
			break;
		for (const char *p = line; isxdigit((unsigned char)*p); p += 2) {
			assert_int_equal(sscanf(p, "%2x", &byte), 1);
			buf_u8(&b, (uint8_t)byte);
		}
	}
	fclose(f);
	assert_true(b.len > 0);
	return b;
}

/* @got is the vector @name; both are freed. */
static inline void assert_vector(const char *name, struct buf *got)
{
	struct buf want = vector(name);

	assert_int_equal(got->err, 0);
	assert_int_equal(got->len, want.len);
	assert_memory_equal(got->data, want.data, want.len);
	buf_fini(&want);
	buf_fini(got);
}

#endif
