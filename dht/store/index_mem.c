/*
 * index in memory: a tree, and a list of what to undo to get back to the last flush. The list is
 * cut into layers by flush_begin(): flush_wait() forgets the layers before the last begin.
 */
#include "dht/store/index.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

#define GRACE 32 /* calls that do not miss after a fetch, so that whoever retries gets on */

struct pair {
	RB_ENTRY(pair) node;
	void *val;
	size_t vlen, klen;
	uint64_t layer; /* in which its old value was kept last */
	uint8_t key[];
};

RB_HEAD(pairs, pair);

struct undo {
	void *key, *val; /* val NULL: there was none */
	size_t klen, vlen;
	uint64_t layer;
};

struct mem_index {
	struct store_index ix;
	pthread_mutex_t lock; /* of undo and layer, which flush workers touch */
	struct pairs pairs;
	size_t count;
	struct undo *undo;
	size_t nundo, cap;
	uint64_t layer;
	bool begun;
	struct index_mem_faults faults;
	uint64_t rnd;
	unsigned grace;
};

struct index_iter {
	struct pair *next;
	int rc;
	size_t tlen;
	uint8_t to[];
};

/* What is looked for, without its bytes behind it. */
static struct pair *find(struct mem_index *m, const void *key, size_t klen, bool exact)
{
	struct pair *p = RB_ROOT(&m->pairs), *best = NULL;

	while (p) {
		int c = batch_cmp_keys(key, klen, p->key, p->klen);

		if (c == 0)
			return p;
		if (c < 0) {
			best = p;
			p = RB_LEFT(p, node);
		} else {
			p = RB_RIGHT(p, node);
		}
	}
	return exact ? NULL : best;
}

static int cmp_pairs(const struct pair *a, const struct pair *b)
{
	return batch_cmp_keys(a->key, a->klen, b->key, b->klen);
}

RB_GENERATE_INTERNAL(pairs, pair, node, cmp_pairs, static __attribute__((unused)))

static struct mem_index *mem_of(struct store_index *ix)
{
	return container_of(ix, struct mem_index, ix);
}

static bool chance(struct mem_index *m, unsigned of_1000)
{
	if (!of_1000)
		return false;
	m->rnd = m->rnd * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (m->rnd >> 33) % 1000 < of_1000;
}

static bool misses(struct mem_index *m, bool cached)
{
	if (!cached || !m->faults.miss)
		return false;
	if (m->grace) {
		m->grace--;
		return false;
	}
	return chance(m, m->faults.miss);
}

static int mem_get(
	struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached)
{
	struct mem_index *m = mem_of(ix);
	struct pair *p;

	if (misses(m, cached))
		return -EAGAIN;
	p = find(m, key, klen, true);
	if (!p)
		return -ENOENT;
	if (!val)
		return 0;
	buf_bytes(val, p->val, p->vlen);
	return val->err;
}

static void keep(struct mem_index *m, const void *key, size_t klen, void *val, size_t vlen)
{
	if (m->nundo == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 64;
		m->undo = mem_grow(m->undo, m->cap, sizeof(*m->undo));
	}
	m->undo[m->nundo++] = (struct undo){.key = mem_dup(key, klen),
		.klen = klen,
		.val = val,
		.vlen = vlen,
		.layer = m->layer};
}

/* Puts one pair, or deletes it when @val is NULL; takes @val. With @undo the old state is kept. */
static void set(
	struct mem_index *m, const void *key, size_t klen, void *val, size_t vlen, bool undo)
{
	struct pair *p = find(m, key, klen, true);

	if (!p && !val)
		return;
	if (!p) {
		p = mem_zalloc(sizeof(*p) + klen);
		memcpy(p->key, key, klen);
		p->klen = klen;
		RB_INSERT(pairs, &m->pairs, p);
		m->count++;
		if (undo)
			keep(m, key, klen, NULL, 0);
	} else if (undo && p->layer != m->layer) {
		keep(m, key, klen, p->val, p->vlen);
	} else {
		free(p->val);
	}
	p->layer = m->layer;
	p->val = val;
	p->vlen = vlen;
	if (!val) {
		RB_REMOVE(pairs, &m->pairs, p);
		m->count--;
		free(p);
	}
}

static int mem_put(struct store_index *ix, struct batch *b, bool wait)
{
	struct mem_index *m = mem_of(ix);
	struct batch_op *op;

	if (!wait && chance(m, m->faults.stall))
		return -EAGAIN;
	pthread_mutex_lock(&m->lock);
	RB_FOREACH (op, batch_tree, &b->ops)
		set(m, op->key, op->klen, op->del ? NULL : mem_dup(op->val, op->vlen), op->vlen,
			true);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static struct index_iter *mem_iter_new(struct store_index *ix, const void *from, size_t flen,
	const void *to, size_t tlen, bool cached)
{
	struct index_iter *it = mem_zalloc(sizeof(*it) + tlen);
	struct mem_index *m = mem_of(ix);

	it->next = find(m, from, flen, false);
	it->tlen = tlen;
	if (tlen)
		memcpy(it->to, to, tlen);
	it->rc = misses(m, cached) ? -EAGAIN : 0;
	return it;
}

static int mem_iter_next(
	struct index_iter *it, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	struct pair *p = it->next;

	if (it->rc)
		return it->rc;
	if (!p || (it->tlen && batch_cmp_keys(p->key, p->klen, it->to, it->tlen) >= 0))
		return 0;
	*key = p->key;
	*klen = p->klen;
	*val = p->val;
	*vlen = p->vlen;
	it->next = RB_NEXT(pairs, NULL, p);
	return 1;
}

static void mem_iter_free(struct index_iter *it)
{
	free(it);
}

static int mem_fetch(struct store_index *ix, const void *from, size_t flen, const void *to,
	size_t tlen, void **pin)
{
	(void)from, (void)flen, (void)to, (void)tlen;
	mem_of(ix)->grace = GRACE;
	*pin = NULL;
	return 0;
}

static void mem_unpin(struct store_index *ix, void *pin)
{
	(void)ix, (void)pin;
}

static int mem_flush_begin(struct store_index *ix)
{
	struct mem_index *m = mem_of(ix);

	if (m->faults.flush_fails)
		return -EIO;
	pthread_mutex_lock(&m->lock);
	m->layer++;
	m->begun = true;
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static void forget(struct undo *u)
{
	free(u->key);
	free(u->val);
}

/* Forgets what would undo the layers before the running one. */
static void settle(struct mem_index *m)
{
	size_t n = 0;

	while (n < m->nundo && m->undo[n].layer < m->layer)
		forget(&m->undo[n++]);
	m->nundo -= n;
	if (m->nundo)
		memmove(m->undo, m->undo + n, m->nundo * sizeof(*m->undo));
	m->begun = false;
}

static int mem_flush_wait(struct store_index *ix)
{
	struct mem_index *m = mem_of(ix);

	if (m->faults.flush_fails)
		return -EIO;
	pthread_mutex_lock(&m->lock);
	settle(m);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int mem_clear(struct store_index *ix)
{
	struct mem_index *m = mem_of(ix);
	struct pair *p;

	while ((p = RB_ROOT(&m->pairs)))
		set(m, p->key, p->klen, NULL, 0, false);
	m->layer++;
	settle(m);
	return 0;
}

static void mem_free(struct store_index *ix)
{
	struct mem_index *m = mem_of(ix);

	mem_clear(ix);
	pthread_mutex_destroy(&m->lock);
	free(m->undo);
	free(m);
}

static const struct index_ops mem_ops = {
	.get = mem_get,
	.put = mem_put,
	.iter_new = mem_iter_new,
	.iter_next = mem_iter_next,
	.iter_free = mem_iter_free,
	.fetch = mem_fetch,
	.unpin = mem_unpin,
	.flush_begin = mem_flush_begin,
	.flush_wait = mem_flush_wait,
	.clear = mem_clear,
	.free = mem_free,
};

struct store_index *index_mem_new(void)
{
	struct mem_index *m = mem_zalloc(sizeof(*m));

	m->ix.ops = &mem_ops;
	m->layer = 1;
	RB_INIT(&m->pairs);
	pthread_mutex_init(&m->lock, NULL);
	return &m->ix;
}

void index_mem_crash(struct store_index *ix, uint64_t seed)
{
	struct mem_index *m = mem_of(ix);

	if (m->begun && (seed & 1))
		settle(m);
	while (m->nundo) {
		struct undo *u = &m->undo[--m->nundo];

		set(m, u->key, u->klen, u->val, u->vlen, false);
		free(u->key);
	}
	m->layer++;
	m->begun = false;
}

struct index_mem_faults *index_mem_faults(struct store_index *ix)
{
	return &mem_of(ix)->faults;
}

size_t index_mem_count(const struct store_index *ix)
{
	return container_of(ix, struct mem_index, ix)->count;
}
