/*
 * index: an ordered map from keys to values that is durable only as of its last flush; behind an
 * interface with two implementations: RocksDB (index_rocks.c) and a tree in memory (index_mem.c).
 *
 * Thread: get, put and iterators on the loop; fetch, flush_begin and flush_wait on a worker. All
 * return 0 or -errno unless said otherwise: -EIO for damage, which has been logged.
 */
#ifndef ORBIT_STORE_INDEX_H
#define ORBIT_STORE_INDEX_H

#include "dht/base/buf.h"
#include "dht/store/batch.h"

struct index_iter;

struct index_ops {
	/* Appends the value to @val (unless NULL): -ENOENT; with @cached -EAGAIN when it would
	 * have to be read from the medium. */
	int (*get)(
		struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached);
	/* Puts and deletes of a batch, at once; -EAGAIN when it would wait, unless @wait. */
	int (*put)(struct store_index *ix, struct batch *b, bool wait);
	/* A walk over [from, to) as it is now. Puts do not disturb it but may not be seen. */
	struct index_iter *(*iter_new)(struct store_index *ix, const void *from, size_t flen,
		const void *to, size_t tlen, bool cached);
	/* 1 and a pair (good until the next call), 0 at the end, -EAGAIN, -EIO. */
	int (*iter_next)(struct index_iter *it, const void **key, size_t *klen, const void **val,
		size_t *vlen);
	void (*iter_free)(struct index_iter *it);
	/* Blocking: brings what begins at @from (and lies before @to) into memory, where it stays
	 * at least until unpin() of *pin (unless that is NULL). Not all of it at once: a walk that
	 * goes on from the last key it got gets on. -EIO when not even the next can be read. */
	int (*fetch)(struct store_index *ix, const void *from, size_t flen, const void *to,
		size_t tlen, void **pin);
	void (*unpin)(struct store_index *ix, void *pin);
	/* Blocking. begin: all that was put so far, and nothing that is put from now on, will be
	 * made durable by what wait() waits for. One flush at a time. */
	int (*flush_begin)(struct store_index *ix);
	int (*flush_wait)(struct store_index *ix);
	/* Blocking: forgets everything, durably. */
	int (*clear)(struct store_index *ix);
	void (*free)(struct store_index *ix);
};

struct store_index {
	const struct index_ops *ops;
};

/* RocksDB in the folder @path, made if need be. @why as store_open(). */
int index_rocks_new(const char *path, uint64_t buffer, uint64_t cache, struct store_index **out,
	char *why, size_t why_len);

/* ---- in memory ---- */

struct store_index *index_mem_new(void);

/* Back to what was flushed last; a flush begun and not waited for is done or not by @seed. */
void index_mem_crash(struct store_index *ix, uint64_t seed);

struct index_mem_faults {
	bool flush_fails; /* -EIO */
	unsigned miss;    /* cached gets and walks that say -EAGAIN, of 1000 */
	unsigned stall;   /* puts that say -EAGAIN unless told to wait, of 1000 */
};

struct index_mem_faults *index_mem_faults(struct store_index *ix);

/* Pairs held. */
size_t index_mem_count(const struct store_index *ix);

/* ---- calls ---- */

static inline int index_get(
	struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached)
{
	return ix->ops->get(ix, key, klen, val, cached);
}

static inline int index_put(struct store_index *ix, struct batch *b, bool wait)
{
	return ix->ops->put(ix, b, wait);
}

/* NULL is harmless. */
static inline void index_free(struct store_index *ix)
{
	if (ix)
		ix->ops->free(ix);
}

#endif
