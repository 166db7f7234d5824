/*
 * A shard's terms and numbers. Every effect has a (term, number): the number goes on from term to
 * term, a new term begins with the first effect after a start of the node, as something that was
 * acknowledged may have been lost before. No term is given twice, even when the effect that began
 * it was lost: it is made of the map's term of the shard and of the node's starts, which are
 * counted on disk before anything is served. The store keeps track (dht/store/history.h).
 */
#include "dht/node/impl.h"

#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/store/history.h"

void shards_init(struct node *n)
{
	n->nshards = ring_nshards(n->ring);
	n->shards = mem_zalloc(n->nshards * sizeof(*n->shards));
	for (unsigned i = 0; i < n->nshards; i++) {
		n->shards[i].number = (uint16_t)i;
		n->shards[i].fresh = true;
		TAILQ_INIT(&n->shards[i].waiting);
	}
}

void shards_free(struct node *n)
{
	free(n->shards);
	n->shards = NULL;
	n->nshards = 0;
}

void shard_next(const struct node *n, const struct shard *s, uint64_t *term, uint64_t *seq)
{
	struct history h = store_history(n->st, s->number);

	*term = h.term;
	*seq = h.seq + 1;
	if (s->fresh)
		*term = n->ring->shards[s->number].term << 32 | (uint32_t)n->incarnation;
}

void shard_took(struct shard *s)
{
	s->fresh = false;
}

bool shard_contains(const struct node *n, uint16_t shard, uint64_t term, uint64_t seq)
{
	struct history h = store_history(n->st, shard);

	return history_contains(&h, term, seq);
}

bool shard_mine(const struct node *n, unsigned shard)
{
	return n->ring && n->self != RING_NONE && shard < n->nshards &&
	       n->ring->shards[shard].primary == n->self;
}
