/*
 * Reading: a read is cut into parts, one per object; what is dirty covers what the nodes have.
 *
 * What is dirty is copied when the read begins: bytes that are sent and forgotten while the answer
 * is on its way must not be missing from it. A part that lies in one answer as a whole goes to the
 * reader from there, without a copy.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

struct data_read_impl {
	struct data_read *r; /* NULL: cancelled */
	struct data_inode *di;
	uint8_t *mem; /* the result, when it is not one answer as it came */
	size_t len;
	unsigned left; /* parts without an answer */
	int rc;
	bool starting;
	bool stopped; /* by data_read_stop() */
	TAILQ_ENTRY(data_read_impl) entry;
	struct chunk *used; /* a chunk that was read to its end */
	unsigned nparts;
	struct part part[];
};

static void read_free(struct data_read_impl *in)
{
	for (unsigned i = 0; i < in->nparts; i++)
		ranges_fini(&in->part[i].have);
	TAILQ_REMOVE(&in->di->dc->reads, in, entry);
	free(in->mem);
	free(in);
}

static void read_end(struct data_read_impl *in)
{
	struct data_read *r = in->r;
	struct data_inode *di = in->di;
	struct data_cache *dc = di->dc;

	if (r) {
		struct frame *keep = r->keep; /* done() may take r away */

		r->impl = NULL;
		if (in->mem)
			r->data = in->mem;
		r->len = in->rc ? 0 : in->len;
		r->done(r, in->rc);
		frame_unref(keep);
	}
	read_free(in);
	di->refs--;
	inode_rest(di);
	stop_check(dc);
}

/* Copies the base bytes into the gaps between those that were dirty. */
static void fill(struct part *p, const uint8_t *data, uint32_t have)
{
	uint8_t *to = p->in->mem + p->at;
	uint32_t at = 0;

	for (unsigned i = 0; i <= p->have.n; i++) {
		uint32_t gap = i < p->have.n ? p->have.v[i].from - (uint32_t)p->off : p->len;
		uint32_t n = gap > at ? gap - at : 0;
		uint32_t real = at < have ? (n < have - at ? n : have - at) : 0;

		if (real)
			memcpy(to + at, data + at, real);
		memset(to + at + real, 0, n - real);
		if (i < p->have.n)
			at = p->have.v[i].to - (uint32_t)p->off;
	}
}

/* The part's bytes as the nodes have them: @have of them at @data, the rest are zeros. */
static void part_base(struct part *p, int rc, const uint8_t *data, uint32_t have, struct frame *f)
{
	struct data_read_impl *in = p->in;

	p->busy = false;
	if (rc && in->rc == 0)
		in->rc = rc == -ECANCELED ? -EIO : rc;
	if (in->rc == 0 && in->r && !in->mem) {
		/* one part, nothing dirty */
		if (have >= p->len) {
			in->r->data = data;
			in->r->keep = frame_ref(f);
		} else {
			in->mem = mem_zalloc(p->len);
		}
	}
	if (in->rc == 0 && in->mem)
		fill(p, data, have);
	if (--in->left == 0 && !in->starting)
		read_end(in);
}

void part_arrived(struct part *p, struct chunk *c)
{
	uint64_t skip = unit_base(p->index) + p->off - c->off;
	uint32_t have = skip < c->have ? (uint32_t)(c->have - skip) : 0;

	part_base(p, c->rc, have ? c->data + skip : NULL, have, c->keep);
}

static void part_read(void *arg, const struct orbit_reply *r)
{
	struct part *p = arg;
	struct txn_result res = {0};
	int rc = r->rc ? r->rc : orbit_result(r, 0, &res);

	p->in->di->dc->landing--;
	p->handle = 0;
	if (rc == 0 && res.len > p->len)
		rc = -EBADMSG;
	part_base(p, rc, res.data, (uint32_t)res.len, r->frame[0]);
}

static void part_fetch(struct part *p)
{
	struct data_inode *di = p->in->di;
	struct orbit_id id = unit_id(di->ino, p->index);
	struct txn_build t;

	txn_init(&t);
	txn_read(&t, &id, p->off, p->len);
	p->handle = data_submit(di, &t, part_read, p);
	txn_fini(&t);
	if (di->dc->cancelling && p->handle)
		orbit_cancel(di->dc->client, p->handle, false);
}

/* Takes from @set what lies within the part. */
static void snapshot(struct part *p, const struct unit *u, const struct ranges *set)
{
	uint32_t end = (uint32_t)p->off + p->len;

	for (unsigned i = ranges_find(set, (uint32_t)p->off); i < set->n; i++) {
		uint32_t from = set->v[i].from, to = set->v[i].to;

		if (from >= end)
			break;
		if (from < p->off)
			from = (uint32_t)p->off;
		if (to > end)
			to = end;
		while (from < to) {
			const struct ref *r;
			uint32_t n = refs_next(u, from, to, &r) - from;

			/* what the nodes copy, they may have or not */
			if (!r) {
				memcpy(p->in->mem + p->at + (from - p->off), u->mem + from, n);
				ranges_add(&p->have, from, from + n);
			}
			from += n;
		}
	}
}

static bool is_dirty(const struct unit *u, const struct part *p)
{
	uint32_t from = (uint32_t)p->off, to = from + p->len;

	return u && (ranges_meet(&u->dirty, from, to) || ranges_meet(&u->sending, from, to) ||
			    ranges_meet(&u->written, from, to));
}

static void part_start(struct part *p)
{
	struct data_read_impl *in = p->in;
	struct unit *u = unit_find(in->di, p->index);
	uint64_t off = unit_base(p->index) + p->off;
	struct chunk *c;

	if (is_dirty(u, p)) {
		snapshot(p, u, &u->dirty);
		snapshot(p, u, &u->sending);
		snapshot(p, u, &u->written);
		if (p->have.n == 1 && p->have.bytes == p->len) {
			p->busy = false;
			in->left--;
			return;
		}
	}
	c = chunk_find(in->di, off, p->len);
	if (c && c->pending) {
		p->chunk = c;
		TAILQ_INSERT_TAIL(&c->waits, p, wait);
	} else if (c) {
		part_arrived(p, c);
		if (off + p->len == c->off + c->len)
			in->used = c;
	} else {
		part_fetch(p);
	}
}

/* Lays out the parts and sees whether any of it is dirty. */
static bool lay_out(struct data_read_impl *in, uint64_t off, uint64_t end)
{
	uint64_t begin = off;
	bool dirty = false;

	while (off < end) {
		struct part *p = &in->part[in->nparts++];
		uint64_t stop;

		p->in = in;
		p->index = unit_of(off);
		stop = unit_end(p->index) < end ? unit_end(p->index) : end;
		p->off = off - unit_base(p->index);
		p->len = (uint32_t)(stop - off);
		p->at = off - begin;
		p->busy = true;
		ranges_init(&p->have);
		if (!RB_EMPTY(&in->di->units))
			dirty |= is_dirty(unit_find(in->di, p->index), p);
		off = stop;
	}
	in->left = in->nparts;
	return dirty;
}

void data_read(
	struct data_inode *di, struct data_read *r, struct data_seq *seq, uint64_t off, size_t len)
{
	uint64_t size = data_size(di), end;
	struct data_read_impl *in;

	r->impl = NULL;
	r->keep = NULL;
	r->data = "";
	r->len = 0;
	if (off >= size || len == 0) {
		r->done(r, 0);
		return;
	}
	end = size - off < len ? size : off + len;
	in = mem_zalloc(sizeof(*in) + (unit_of(end - 1) - unit_of(off) + 1) * sizeof(struct part));
	in->r = r;
	in->di = di;
	in->len = end - off;
	in->starting = true;
	r->impl = in;
	di->refs++;
	TAILQ_INSERT_TAIL(&di->dc->reads, in, entry);
	if (lay_out(in, off, end) || in->nparts > 1)
		in->mem = mem_grow(NULL, in->len, 1);
	for (unsigned i = 0; i < in->nparts; i++)
		part_start(&in->part[i]);
	if (in->used && !in->used->dead) {
		/* read to its end: the kernel has it now */
		chunk_drop(in->used);
	}
	if (seq)
		chunk_ahead(di, seq, off, end - off);
	in->starting = false;
	if (in->left == 0)
		read_end(in);
}

void data_read_cancel(struct data_read *r)
{
	struct data_read_impl *in = r->impl;
	struct orbit_client *client;

	if (!in)
		return;
	client = in->di->dc->client;
	in->r = NULL;
	frame_unref(r->keep);
	r->keep = NULL;
	r->impl = NULL;
	in->starting = true; /* it must not end while its parts are walked */
	for (unsigned i = 0; i < in->nparts; i++) {
		struct part *p = &in->part[i];

		if (p->chunk) {
			TAILQ_REMOVE(&p->chunk->waits, p, wait);
			p->chunk = NULL;
			p->busy = false;
			in->left--;
		} else if (p->busy && p->handle) {
			orbit_cancel(client, p->handle, false);
		}
	}
	in->starting = false;
	if (in->left == 0)
		read_end(in);
}

static void stop(struct data_read_impl *in)
{
	in->stopped = in->starting = true; /* it must not end while its parts are walked */
	for (unsigned i = 0; i < in->nparts; i++) {
		if (in->part[i].busy && in->part[i].handle)
			orbit_cancel(in->di->dc->client, in->part[i].handle, false);
	}
	in->starting = false;
	if (in->left == 0)
		read_end(in);
}

void data_read_stop(struct data_cache *dc)
{
	struct data_read_impl *in;

	/* the end of one may be that of others */
	do {
		TAILQ_FOREACH (in, &dc->reads, entry) {
			if (!in->stopped)
				break;
		}
		if (in)
			stop(in);
	} while (in);
}

struct stall_ask {
	const struct data_read_impl *in;
	bool stalled;
};

static void is_stalled(void *arg, const struct orbit_stalled *s)
{
	struct stall_ask *k = arg;

	for (unsigned i = 0; i < k->in->nparts; i++) {
		const struct part *p = &k->in->part[i];

		if (p->handle == s->handle || (p->chunk && p->chunk->handle == s->handle))
			k->stalled = true;
	}
}

bool data_read_stalled(struct data_read *r)
{
	struct stall_ask k = {.in = r->impl};

	if (k.in)
		orbit_each(k.in->di->dc->client, true, is_stalled, &k);
	return k.stalled;
}
