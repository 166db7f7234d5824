/* model_int: the model's insides, for model*.c. */
#ifndef ORBIT_TESTS_MODEL_MODEL_INT_H
#define ORBIT_TESTS_MODEL_MODEL_INT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tests/model/model.h"

/* Bytes that several models share: changed only by who is alone with them. */
struct model_bytes {
	unsigned refs;
	uint64_t len;
	uint8_t *p;
};

/* Inode 0 is none, 1 the root. */
struct model {
	unsigned n;
	struct model_inode inode[MODEL_INODES];
};

struct model_bytes *bytes_new(const void *p, uint64_t len);
struct model_bytes *bytes_ref(struct model_bytes *b);
void bytes_unref(struct model_bytes *b);
/* *b is to be changed: nobody else's from now on. */
void bytes_own(struct model_bytes **b);
void bytes_resize(struct model_bytes **b, uint64_t len);

unsigned model_index(const struct model *m, uint64_t ino);
int model_entry(const struct model_inode *d, const char *name);
unsigned model_make(struct model *m, uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid);
bool model_open_anywhere(const struct model_inode *i);

#endif
