/*
 * Which effects of each shard the index holds. Kept in memory as effects are applied; under
 * KEY_TERM of the shard it is written with each flush of the index, for shards that changed since
 * the last one, so that an effect costs the index nothing: what came after the flush is replayed.
 */
#include "dht/store/history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define FORMAT 2 /* of the value under KEY_TERM */

/* ---- histories ---- */

/* The last seq of a term. */
static uint64_t term_end(const struct history *h, unsigned i)
{
	return i + 1 < h->nterms ? h->terms[i + 1].first - 1 : h->seq;
}

static int cmp_terms(const void *key, const void *elem)
{
	const uint64_t *term = key;
	const struct history_term *t = elem;

	return (*term > t->term) - (*term < t->term);
}

static const struct history_term *find_term(const struct history *h, uint64_t term)
{
	if (!h->nterms)
		return NULL;
	return bsearch(&term, h->terms, h->nterms, sizeof(*h->terms), cmp_terms);
}

bool history_contains(const struct history *h, uint64_t term, uint64_t seq)
{
	const struct history_term *t = find_term(h, term);

	return t && seq >= t->first && seq <= term_end(h, (unsigned)(t - h->terms));
}

struct history_term history_common(const struct history *a, const struct history *b)
{
	for (unsigned i = a->nterms; i--;) {
		const struct history_term *t = find_term(b, a->terms[i].term);
		uint64_t end, other;

		if (!t)
			continue;
		end = term_end(a, i);
		other = term_end(b, (unsigned)(t - b->terms));
		if (other < end)
			end = other;
		/* lists that were cut short in front may begin a term at different seqs */
		if (end >= t->first && end >= a->terms[i].first)
			return (struct history_term){.term = t->term, .first = end};
	}
	return (struct history_term){0, 0};
}

void history_encode(const struct history *h, struct buf *b)
{
	buf_u64(b, h->term);
	buf_u64(b, h->seq);
	buf_u32(b, h->nterms);
	for (unsigned i = 0; i < h->nterms; i++) {
		buf_u64(b, h->terms[i].term);
		buf_u64(b, h->terms[i].first);
	}
}

/* Terms and seqs rise, and the last effect is of the last term. */
static bool makes_sense(const struct history *h)
{
	const struct history_term *last = h->nterms ? &h->terms[h->nterms - 1] : NULL;

	for (unsigned i = 1; i < h->nterms; i++) {
		if (h->terms[i].term <= h->terms[i - 1].term ||
			h->terms[i].first <= h->terms[i - 1].first)
			return false;
	}
	if (!last)
		return h->term == 0;
	return h->terms[0].term && h->terms[0].first && last->term == h->term &&
	       last->first <= h->seq;
}

int history_decode(struct cur *c, struct history *h)
{
	struct history_term *terms = NULL;

	h->term = cur_u64(c);
	h->seq = cur_u64(c);
	h->nterms = cur_u32(c);
	h->terms = NULL;
	if (!cur_ok(c) || h->nterms > HISTORY_TERMS_MAX || c->left < 16 * (size_t)h->nterms)
		goto bad;
	if (h->nterms)
		terms = mem_grow(NULL, h->nterms, sizeof(*terms));
	for (unsigned i = 0; i < h->nterms; i++) {
		terms[i].term = cur_u64(c);
		terms[i].first = cur_u64(c);
	}
	h->terms = terms;
	if (makes_sense(h))
		return 0;
	free(terms);
bad:
	*h = (struct history){0};
	cur_fail(c);
	return -EBADMSG;
}

/* ---- those of a store ---- */

struct history store_history(struct store *st, uint16_t shard)
{
	const struct past *p = shard < st->npasts ? st->pasts[shard] : NULL;

	return p ? p->h : (struct history){0};
}

static struct past *past_of(struct store *st, uint16_t shard)
{
	struct past *p;

	if (shard >= st->npasts) {
		unsigned n = shard + 1u;

		st->pasts = mem_grow(st->pasts, n, sizeof(*st->pasts));
		memset(st->pasts + st->npasts, 0, (n - st->npasts) * sizeof(*st->pasts));
		st->npasts = n;
	}
	p = st->pasts[shard];
	if (!p) {
		p = st->pasts[shard] = mem_zalloc(sizeof(*p));
		p->shard = shard;
	}
	return p;
}

static void set_dirty(struct store *st, struct past *p)
{
	if (p->dirty)
		return;
	p->dirty = true;
	SLIST_INSERT_HEAD(&st->dirty_pasts, p, next);
}

static void add_term(struct past *p, uint64_t term, uint64_t first)
{
	unsigned n = p->h.nterms;

	if (n == HISTORY_TERMS_MAX) {
		memmove(p->terms, p->terms + 1, --n * sizeof(*p->terms));
	} else if (n == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 4;
		p->terms = mem_grow(p->terms, p->cap, sizeof(*p->terms));
	}
	p->terms[n] = (struct history_term){.term = term, .first = first};
	p->h.terms = p->terms;
	p->h.nterms = n + 1;
}

static void set_whole(struct past *p, const void *whole, size_t len)
{
	struct cur c = cur_of(whole, len);

	free(p->terms);
	/* it was looked at when it was staged */
	history_decode(&c, &p->h);
	p->terms = (struct history_term *)p->h.terms;
	p->cap = p->h.nterms;
}

/* Nothing of it can be vouched for any more. */
static void void_past(struct store *st, struct past *p)
{
	p->h.term = 0;
	p->h.nterms = 0;
	set_dirty(st, p);
	tail_clear(st, p);
}

void history_begin(struct store *st, uint64_t pos)
{
	st->past_pos = pos;
	st->past_round++;
	st->nstaged = 0;
}

static struct past *stage(struct store *st, uint16_t shard)
{
	struct past *p = past_of(st, shard);

	if (p->round == st->past_round)
		return p;
	p->round = st->past_round;
	p->term = p->h.term;
	p->seq = p->h.seq;
	p->whole = NULL;
	if (st->nstaged == st->staged_cap) {
		st->staged_cap = st->staged_cap ? 2 * st->staged_cap : 16;
		st->staged = mem_grow(st->staged, st->staged_cap, sizeof(*st->staged));
	}
	st->staged[st->nstaged++] = p;
	return p;
}

int history_section(struct store *st, uint16_t shard, uint64_t term, uint64_t seq)
{
	struct past *p;

	if (!seq)
		return term ? -EBADMSG : 0;
	p = past_of(st, shard);
	/* the effect may come back to a section */
	if (p->round == st->past_round && p->term == term && p->seq == seq && !p->whole)
		return 0;
	if (p->round == st->past_round || !term ||
		((term < p->h.term || seq != p->h.seq + 1) && st->past_pos >= st->void_to)) {
		log_error("mod=store shard=%u term=%" PRIu64 " seq=%" PRIu64 " last_term=%" PRIu64
			  " last_seq=%" PRIu64 " msg=\"an effect is out of order: refused\"",
			shard, term, seq, p->h.term, p->h.seq);
		return -EBADMSG;
	}
	stage(st, shard);
	p->term = term;
	p->seq = seq;
	return 0;
}

int history_replace(struct store *st, uint16_t shard, const void *whole, size_t len)
{
	struct cur c = cur_of(whole, len);
	struct history h;
	struct past *p;
	int rc = history_decode(&c, &h);

	if (!rc && !cur_done(&c))
		rc = -EBADMSG;
	free((void *)h.terms);
	if (rc)
		return -EBADMSG;
	p = stage(st, shard);
	p->whole = whole;
	p->whole_len = len;
	return 0;
}

void history_commit(struct store *st)
{
	for (unsigned i = 0; i < st->nstaged; i++) {
		struct past *p = st->staged[i];

		set_dirty(st, p);
		p->round = 0;
		if (p->whole) {
			set_whole(p, p->whole, p->whole_len);
			tail_clear(st, p);
			continue;
		}
		p->h.seq = p->seq;
		if (st->past_pos < st->void_to) {
			void_past(st, p);
			continue;
		}
		if (p->h.term != p->term || !p->h.nterms)
			add_term(p, p->term, p->seq);
		p->h.term = p->term;
		tail_add(st, p, p->seq, st->past_pos);
	}
	st->nstaged = 0;
}

void history_void(struct store *st, uint64_t to)
{
	log_error("mod=store op=recover pos=%" PRIu64
		  " msg=\"effects are lost: no history from before is vouched for\"",
		to);
	st->void_to = to;
	for (unsigned i = 0; i < st->npasts; i++) {
		if (st->pasts[i])
			void_past(st, st->pasts[i]);
	}
}

/* ---- in the index ---- */

static void fill_one(struct batch *b, const struct past *p, struct buf *tmp)
{
	uint8_t *key = batch_alloc(b, KEY_HEAD);

	key[0] = KEY_TERM;
	put_be16(key + 1, p->shard);
	if (!p->h.seq) {
		batch_del(b, key, KEY_HEAD);
		return;
	}
	buf_reset(tmp);
	buf_u8(tmp, FORMAT);
	history_encode(&p->h, tmp);
	batch_put(b, key, KEY_HEAD, batch_dup(b, tmp->data, tmp->len), tmp->len);
}

int history_fill(struct store *st)
{
	struct buf tmp = {0};
	struct past *p;
	uint64_t *to;
	int rc;

	if (st->void_to) {
		to = batch_alloc(&st->batch, 8);
		*to = htole64(st->void_to);
		batch_put(&st->batch, FLUSH_KEY_VOID, FLUSH_KEY_LEN(FLUSH_KEY_VOID), to, 8);
	}
	buf_reserve(&tmp, 32 + 16 * HISTORY_TERMS_MAX);
	if (!tmp.err) {
		SLIST_FOREACH(p, &st->dirty_pasts, next)
		fill_one(&st->batch, p, &tmp);
	}
	rc = tmp.err;
	buf_fini(&tmp);
	return rc;
}

void history_filled(struct store *st)
{
	struct past *p;

	while ((p = SLIST_FIRST(&st->dirty_pasts))) {
		SLIST_REMOVE_HEAD(&st->dirty_pasts, next);
		p->dirty = false;
	}
}

static int load_one(struct store *st, const uint8_t *key, size_t klen, struct cur c)
{
	struct history h;
	struct past *p;

	if (klen != KEY_HEAD || cur_u8(&c) != FORMAT || history_decode(&c, &h))
		return -EUCLEAN;
	p = past_of(st, get_be16(key + 1));
	p->h = h;
	p->terms = (struct history_term *)h.terms;
	p->cap = h.nterms;
	return cur_done(&c) ? 0 : -EUCLEAN;
}

int history_load(struct store *st)
{
	const uint8_t from = KEY_TERM, to = KEY_TERM + 1;
	const void *key, *val;
	struct index_iter *it;
	size_t klen, vlen;
	struct buf b = {0};
	struct cur c;
	int rc;

	rc = index_get(st->ix, FLUSH_KEY_VOID, FLUSH_KEY_LEN(FLUSH_KEY_VOID), &b, false);
	c = cur_of(b.data, b.len);
	if (!rc)
		st->void_to = cur_u64(&c);
	buf_fini(&b);
	if (rc && rc != -ENOENT)
		return rc;
	it = st->ix->ops->iter_new(st->ix, &from, 1, &to, 1, false);
	while ((rc = st->ix->ops->iter_next(it, &key, &klen, &val, &vlen)) > 0) {
		rc = load_one(st, key, klen, cur_of(val, vlen));
		if (rc)
			break;
	}
	st->ix->ops->iter_free(it);
	if (rc == -EUCLEAN)
		log_error("mod=store op=open klen=%zu vlen=%zu rc=-EUCLEAN "
			  "msg=\"the history of a shard makes no sense\"",
			klen, vlen);
	return rc;
}

void history_forget(struct store *st)
{
	for (unsigned i = 0; i < st->npasts; i++) {
		if (!st->pasts[i])
			continue;
		tail_clear(st, st->pasts[i]);
		free(st->pasts[i]->terms);
		free(st->pasts[i]);
	}
	free(st->pasts);
	free(st->staged);
	st->pasts = NULL;
	st->staged = NULL;
	st->npasts = st->nstaged = st->staged_cap = 0;
	st->void_to = 0;
	SLIST_INIT(&st->dirty_pasts);
}
