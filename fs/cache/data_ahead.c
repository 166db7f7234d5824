/*
 * Chunks: pieces of files that were read before anybody asked for them.
 *
 * A sequence of reads has a window that doubles while the reads stay sequential; so much is asked
 * for ahead, in chunks that never cross an object. Nothing is read ahead where something is dirty,
 * and a write drops the chunks it meets: so no chunk is older than what this mount has written.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

#define CHUNK_MAX (512u << 10)
#define WINDOW_MIN (256u << 10)
#define NEAR (1u << 20) /* reads of one sequence may overtake each other by this much */

static int chunk_cmp(const struct chunk *a, const struct chunk *b)
{
	return a->off < b->off ? -1 : a->off > b->off;
}

RB_GENERATE(chunks, chunk, node, chunk_cmp)

/* The first chunk that ends behind @off. Chunks do not overlap. */
static struct chunk *chunk_behind(struct data_inode *di, uint64_t off)
{
	struct chunk key = {.off = off}, *c = RB_NFIND(chunks, &di->chunks, &key), *p;

	p = c ? RB_PREV(chunks, &di->chunks, c) : RB_MAX(chunks, &di->chunks);
	return p && p->off + p->len > off ? p : c;
}

struct chunk *chunk_find(struct data_inode *di, uint64_t off, uint64_t len)
{
	struct chunk *c;

	if (RB_EMPTY(&di->chunks))
		return NULL;
	c = chunk_behind(di, off);
	return c && c->off <= off && c->off + c->len >= off + len ? c : NULL;
}

static void chunk_free(struct chunk *c)
{
	frame_unref(c->keep);
	free(c);
}

void chunk_drop(struct chunk *c)
{
	if (c->dead)
		return;
	c->dead = true;
	RB_REMOVE(chunks, &c->di->chunks, c);
	if (c->pending)
		return; /* the answer frees it */
	TAILQ_REMOVE(&c->di->dc->lru, c, lru);
	c->di->dc->cached -= c->len;
	chunk_free(c);
}

void chunk_drop_range(struct data_inode *di, uint64_t from, uint64_t to)
{
	struct chunk *c;

	while (!RB_EMPTY(&di->chunks) && (c = chunk_behind(di, from)) && c->off < to)
		chunk_drop(c);
}

static void keep_within(struct data_cache *dc)
{
	struct chunk *c;

	while (dc->cached > dc->cfg.read_cache && (c = TAILQ_FIRST(&dc->lru)))
		chunk_drop(c);
}

static void chunk_read(void *arg, const struct orbit_reply *r)
{
	struct chunk *c = arg;
	struct data_inode *di = c->di;
	struct data_cache *dc = di->dc;
	struct txn_result res;
	struct part *p;

	dc->landing--;
	di->npending--;
	c->handle = 0;
	c->rc = r->rc ? r->rc : orbit_result(r, 0, &res);
	if (c->rc == 0 && res.len > c->len)
		c->rc = -EBADMSG;
	if (c->rc == 0 && res.len) {
		c->keep = frame_ref(r->frame[0]);
		c->data = res.data;
		c->have = (uint32_t)res.len;
	}
	di->refs++;
	if (c->rc)
		chunk_drop(c);
	while ((p = TAILQ_FIRST(&c->waits))) {
		TAILQ_REMOVE(&c->waits, p, wait);
		p->chunk = NULL;
		part_arrived(p, c);
	}
	c->pending = false; /* only now: whoever drops it meanwhile leaves it to us */
	if (c->dead) {
		chunk_free(c);
	} else {
		TAILQ_INSERT_TAIL(&dc->lru, c, lru);
		dc->cached += c->len;
		keep_within(dc);
	}
	di->refs--;
	inode_rest(di);
	stop_check(dc);
}

static void chunk_fetch(struct data_inode *di, uint64_t off, uint32_t len)
{
	uint64_t index = unit_of(off);
	struct orbit_id id = unit_id(di->ino, index);
	struct chunk *c = mem_zalloc(sizeof(*c));
	struct txn_build t;

	c->di = di;
	c->off = off;
	c->len = len;
	c->pending = true;
	TAILQ_INIT(&c->waits);
	RB_INSERT(chunks, &di->chunks, c);
	di->npending++;
	txn_init(&t);
	txn_read(&t, &id, off - unit_base(index), len);
	c->handle = data_submit(di, &t, chunk_read, c);
	txn_fini(&t);
}

/* Asks for [from, to) where it is neither there nor dirty. */
static void fetch_range(struct data_inode *di, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t index = unit_of(from), stop = unit_end(index);
		struct chunk *c = chunk_behind(di, from);

		if (stop > to)
			stop = to;
		if (unit_find(di, index)) {
			from = stop;
			continue;
		}
		if (c && c->off <= from) {
			from = c->off + c->len;
			continue;
		}
		if (c && c->off < stop)
			stop = c->off;
		if (stop > (from / CHUNK_MAX + 1) * CHUNK_MAX)
			stop = (from / CHUNK_MAX + 1) * CHUNK_MAX;
		chunk_fetch(di, from, (uint32_t)(stop - from));
		from = stop;
	}
}

void chunk_ahead(struct data_inode *di, struct data_seq *seq, uint64_t off, size_t len)
{
	struct data_cache *dc = di->dc;
	uint64_t end = off + len, size = di->a.size, to;
	bool near = seq->window && off + NEAR >= seq->next && off <= seq->next + NEAR;

	if (off != seq->next && !near) {
		seq->next = end;
		seq->window = 0;
		seq->ahead = 0;
		return;
	}
	if (end > seq->next)
		seq->next = end;
	if (dc->cfg.read_ahead == 0)
		return;
	if (seq->window == 0)
		seq->window = WINDOW_MIN;
	if (seq->ahead < end)
		seq->ahead = end;
	if (seq->ahead - end > seq->window / 2)
		return; /* far enough ahead */
	to = seq->next + seq->window;
	if (to > size)
		to = size;
	if (seq->ahead < to) {
		fetch_range(di, seq->ahead, to);
		seq->ahead = to;
	}
	seq->window *= 2;
	if (seq->window > dc->cfg.read_ahead)
		seq->window = dc->cfg.read_ahead;
}

void data_give(struct data_inode *di, uint64_t off, const void *data, size_t len, uint32_t asked,
	struct frame *keep)
{
	struct chunk *c;

	if (len > asked || unit_find(di, unit_of(off)) || di->dc->cfg.read_cache == 0)
		return;
	c = chunk_behind(di, off);
	if (c && c->off < off + asked)
		return;
	c = mem_zalloc(sizeof(*c));
	c->di = di;
	c->off = off;
	c->len = asked;
	c->have = (uint32_t)len;
	c->data = data;
	c->keep = keep ? frame_ref(keep) : NULL;
	TAILQ_INIT(&c->waits);
	RB_INSERT(chunks, &di->chunks, c);
	TAILQ_INSERT_TAIL(&di->dc->lru, c, lru);
	di->dc->cached += c->len;
	keep_within(di->dc);
}
