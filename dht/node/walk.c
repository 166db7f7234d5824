/* The keys of a shard that are copied between nodes, in order: class after class. */
#include <string.h>

#include "dht/base/mem.h"
#include "dht/node/learn.h"

int walk_key_cmp(const void *a, size_t alen, const void *b, size_t blen)
{
	size_t len = min_size(alen, blen);
	int c = len ? memcmp(a, b, len) : 0;

	return c ? c : (alen > blen) - (alen < blen);
}

void walk_iter_init(
	struct walk_iter *w, struct store *st, uint16_t shard, const void *after, size_t after_len)
{
	w->st = st;
	w->shard = shard;
	w->it = NULL;
	w->class = 'A';
	w->from.len = 0;
	if (!after_len)
		return;
	/* the first key behind it is the one that is longer by a zero byte */
	memcpy(w->from.b, after, after_len);
	w->from.b[after_len] = 0;
	w->from.len = after_len + 1;
	w->class = w->from.b[0];
}

static void open_class(struct walk_iter *w)
{
	struct key to;

	if (!w->from.len)
		key_class(&w->from, w->class, w->shard);
	key_class(&to, w->class, w->shard);
	key_after_prefix(&to);
	w->it = store_iter_new(w->st, w->from.b, w->from.len, to.b, to.len);
}

int walk_iter_next(
	struct walk_iter *w, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	int rc;

	for (;;) {
		while (!w->it && w->class <= 'Z' && !walk_copies(w->class)) {
			w->class ++;
			w->from.len = 0;
		}
		if (w->class > 'Z')
			return 0;
		if (!w->it)
			open_class(w);
		rc = store_iter_next(w->it, key, klen, val, vlen);
		if (rc)
			return rc;
		walk_iter_fini(w);
		w->class ++;
		w->from.len = 0;
	}
}

void walk_iter_fini(struct walk_iter *w)
{
	store_iter_free(w->it);
	w->it = NULL;
}
