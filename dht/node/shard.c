/*
 * A shard's terms and numbers. Every effect has a (term, number): the number goes on from term to
 * term, a new term begins with the first effect after a start of the node, as something that was
 * acknowledged may have been lost before. No term is given twice, even when the effect that began
 * it was lost: it is made of the map's term of the shard and of the node's starts, which are
 * counted on disk before anything is served. Recorded under KEY_TERM of the shard:
 *
 *   ""    u8 format, u16 n, then n times {u64 term, u64 first number}: the history
 *   "L"   u64 term, u64 number: the last effect; rewritten by each, but for effects whose stored
 *         reply lies in this shard and says the same (it goes in an effect that rewrites "L")
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define TERM_FORMAT 1
#define TERMS_MAX 1024 /* kept of the history; older ones cannot be asked for any more */

static int load_terms(struct shard *s, struct cur c)
{
	uint8_t format = cur_u8(&c);
	unsigned n = cur_u16(&c);

	if (format != TERM_FORMAT || n > TERMS_MAX || c.left != 16 * (size_t)n)
		return -EUCLEAN;
	s->terms = mem_zalloc((n + 1) * sizeof(*s->terms));
	s->nterms = n;
	for (unsigned i = 0; i < n; i++) {
		s->terms[i].term = cur_u64(&c);
		s->terms[i].first = cur_u64(&c);
	}
	return 0;
}

static int load_one(struct node *n, const uint8_t *key, size_t klen, struct cur val)
{
	unsigned shard = get_be16(key + 1);

	if (shard >= n->nshards)
		return -EUCLEAN;
	if (klen == KEY_HEAD)
		return load_terms(&n->shards[shard], val);
	if (klen == KEY_HEAD + 1 && key[KEY_HEAD] == 'L') {
		n->shards[shard].term = cur_u64(&val);
		n->shards[shard].seq = cur_u64(&val);
		return cur_done(&val) ? 0 : -EUCLEAN;
	}
	return -EUCLEAN;
}

int shards_load(struct node *n)
{
	const uint8_t from = KEY_TERM, to = KEY_TERM + 1;
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	int rc;

	n->nshards = ring_nshards(n->ring);
	n->shards = mem_zalloc(n->nshards * sizeof(*n->shards));
	for (unsigned i = 0; i < n->nshards; i++) {
		n->shards[i].number = (uint16_t)i;
		n->shards[i].fresh = true;
		TAILQ_INIT(&n->shards[i].waiting);
	}
	it = store_iter_new(n->st, &from, 1, &to, 1);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		rc = klen < KEY_HEAD ? -EUCLEAN : load_one(n, key, klen, cur_of(val, vlen));
		if (rc)
			break;
	}
	store_iter_free(it);
	return rc;
}

void shards_free(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++)
		free(n->shards[i].terms);
	free(n->shards);
	n->shards = NULL;
	n->nshards = 0;
}

void shard_next(const struct node *n, const struct shard *s, uint64_t *term, uint64_t *seq)
{
	*term = s->term;
	*seq = s->seq + 1;
	if (s->fresh)
		*term = n->ring->shards[s->number].term << 32 | (uint32_t)n->incarnation;
}

void shard_stamp(const struct node *n, const struct shard *s, struct effect *e, bool told)
{
	uint64_t term, seq;
	uint8_t last[16];
	struct key key;
	struct buf b = {0};
	unsigned from;

	shard_next(n, s, &term, &seq);
	key_class(&key, KEY_TERM, s->number);
	if (s->fresh) {
		from = s->nterms < TERMS_MAX ? 0 : s->nterms - TERMS_MAX + 1;
		buf_u8(&b, TERM_FORMAT);
		buf_u16(&b, (uint16_t)(s->nterms - from + 1));
		for (unsigned i = from; i < s->nterms; i++) {
			buf_u64(&b, s->terms[i].term);
			buf_u64(&b, s->terms[i].first);
		}
		buf_u64(&b, term);
		buf_u64(&b, seq);
		effect_put(e, key.b, key.len, b.data, b.len);
		buf_fini(&b);
	} else if (told) {
		return;
	}
	key.b[key.len++] = 'L';
	term = htole64(term);
	seq = htole64(seq);
	memcpy(last, &term, 8);
	memcpy(last + 8, &seq, 8);
	effect_put(e, key.b, key.len, last, sizeof(last));
}

void shard_took(struct node *n, struct shard *s)
{
	uint64_t term, seq;

	shard_next(n, s, &term, &seq);
	if (s->fresh) {
		s->terms = mem_grow(s->terms, s->nterms + 1, sizeof(*s->terms));
		s->terms[s->nterms++] = (struct shard_term){.term = term, .first = seq};
		s->fresh = false;
	}
	s->term = term;
	s->seq = seq;
}

void shard_heard(struct shard *s, uint64_t term, uint64_t seq)
{
	if (seq <= s->seq)
		return;
	s->term = term;
	s->seq = seq;
}

bool shard_contains(const struct shard *s, uint64_t term, uint64_t seq)
{
	for (unsigned i = 0; i < s->nterms; i++) {
		uint64_t end = i + 1 < s->nterms ? s->terms[i + 1].first - 1 : s->seq;

		if (s->terms[i].term == term)
			return seq >= s->terms[i].first && seq <= end;
	}
	return false;
}

bool shard_mine(const struct node *n, unsigned shard)
{
	return n->ring && n->self != RING_NONE && shard < n->nshards &&
	       n->ring->shards[shard].primary == n->self;
}
