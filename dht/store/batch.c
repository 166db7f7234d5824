#include "dht/store/batch.h"

#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/store/index.h"

#define BLOCK 16384u    /* bytes of an arena's ordinary block */
#define OP_OVERHEAD 64u /* what an entry costs the index besides its bytes */

struct batch_block {
	struct batch_block *next;
	size_t cap;
	_Alignas(16) unsigned char data[];
};

int batch_cmp_keys(const void *a, size_t alen, const void *b, size_t blen)
{
	int c = memcmp(a, b, min_size(alen, blen));

	return c ? c : (alen > blen) - (alen < blen);
}

static int cmp_ops(const struct batch_op *a, const struct batch_op *b)
{
	return batch_cmp_keys(a->key, a->klen, b->key, b->klen);
}

RB_GENERATE(batch_tree, batch_op, node, cmp_ops)

void batch_init(struct batch *b)
{
	memset(b, 0, sizeof(*b));
	RB_INIT(&b->ops);
}

static void free_blocks(struct batch_block *bl)
{
	while (bl) {
		struct batch_block *next = bl->next;

		free(bl);
		bl = next;
	}
}

void batch_fini(struct batch *b)
{
	free_blocks(b->first);
	free(b->live);
	batch_init(b);
}

void batch_reset(struct batch *b)
{
	RB_INIT(&b->ops);
	b->used = b->bytes = b->nlive = 0;
	b->block = b->first;
	if (b->first) {
		free_blocks(b->first->next);
		b->first->next = NULL;
	}
}

void *batch_alloc(struct batch *b, size_t len)
{
	struct batch_block *bl = b->block;
	void *at;

	len = (len + 15) & ~(size_t)15;
	if (!bl || bl->cap - b->used < len) {
		size_t cap = !b->first || len < BLOCK ? BLOCK : len;

		if (cap < len)
			cap = len;
		bl = mem_grow(NULL, 1, sizeof(*bl) + cap);
		bl->next = NULL;
		bl->cap = cap;
		if (b->block)
			b->block->next = bl;
		else
			b->first = bl;
		b->block = bl;
		b->used = 0;
	}
	at = bl->data + b->used;
	b->used += len;
	return at;
}

void *batch_dup(struct batch *b, const void *data, size_t len)
{
	void *copy = batch_alloc(b, len);

	memcpy(copy, data, len);
	return copy;
}

static void add(
	struct batch *b, const void *key, size_t klen, const void *val, size_t vlen, bool del)
{
	struct batch_op *op = batch_alloc(b, sizeof(*op)), *old;

	*op = (struct batch_op){.key = key, .klen = klen, .val = val, .vlen = vlen, .del = del};
	b->bytes += klen + vlen + OP_OVERHEAD;
	old = RB_INSERT(batch_tree, &b->ops, op);
	if (old) {
		old->val = val;
		old->vlen = vlen;
		old->del = del;
	}
}

void batch_put(struct batch *b, const void *key, size_t klen, const void *val, size_t vlen)
{
	add(b, key, klen, val, vlen, false);
}

void batch_del(struct batch *b, const void *key, size_t klen)
{
	add(b, key, klen, NULL, 0, true);
}

void batch_count(struct batch *b, uint64_t pos, int64_t bytes)
{
	if (b->nlive == b->live_cap) {
		b->live_cap = b->live_cap ? 2 * b->live_cap : 16;
		b->live = mem_grow(b->live, b->live_cap, sizeof(*b->live));
	}
	b->live[b->nlive++] = (struct batch_live){.pos = pos, .bytes = bytes};
}

static struct batch_op *within(struct walk *w, struct batch_op *op)
{
	if (op && w->tlen && batch_cmp_keys(op->key, op->klen, w->to, w->tlen) >= 0)
		return NULL;
	return op;
}

void walk_init(struct walk *w, struct store_index *ix, struct batch *b, const void *from,
	size_t flen, const void *to, size_t tlen, bool cached)
{
	struct batch_op key = {.key = from, .klen = flen};

	*w = (struct walk){.ix = ix, .b = b, .to = to, .tlen = tlen};
	w->over = within(w, RB_NFIND(batch_tree, &b->ops, &key));
	w->it = ix->ops->iter_new(ix, from, flen, to, tlen, cached);
}

int walk_next(struct walk *w, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	for (;;) {
		struct batch_op *op = w->over;
		int c = -1, rc;

		if (!w->have && !w->end) {
			rc = w->ix->ops->iter_next(w->it, &w->key, &w->klen, &w->val, &w->vlen);
			if (rc < 0)
				return rc;
			w->have = rc > 0;
			w->end = rc == 0;
		}
		if (!op && w->end)
			return 0;
		if (!op)
			c = 1;
		else if (w->have)
			c = batch_cmp_keys(op->key, op->klen, w->key, w->klen);
		if (c > 0) {
			w->have = false;
			*key = w->key;
			*klen = w->klen;
			*val = w->val;
			*vlen = w->vlen;
			return 1;
		}
		if (c == 0)
			w->have = false;
		w->over = within(w, RB_NEXT(batch_tree, &w->b->ops, op));
		if (op->del)
			continue;
		*key = op->key;
		*klen = op->klen;
		*val = op->val;
		*vlen = op->vlen;
		return 1;
	}
}

void walk_fini(struct walk *w)
{
	w->ix->ops->iter_free(w->it);
}
