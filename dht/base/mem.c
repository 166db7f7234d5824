#include "dht/base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p) {
		fputs("orbitfs: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *mem_zalloc(size_t size)
{
	return must(calloc(1, size ? size : 1));
}

void *mem_dup(const void *data, size_t len)
{
	char *copy = must(malloc(len + 1));

	if (len)
		memcpy(copy, data, len);
	copy[len] = 0;
	return copy;
}

void *mem_grow(void *old, size_t n, size_t size)
{
	return must(reallocarray(old, n ? n : 1, size ? size : 1));
}
