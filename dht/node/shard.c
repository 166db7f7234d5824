/*
 * A shard's terms and numbers. Every effect has a (term, number): the term is the map's, which gets
 * another one for the shard whenever the node was started anew; the number goes on from term to
 * term. The store keeps track (dht/store/history.h).
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/store/history.h"

void shards_init(struct node *n)
{
	n->nshards = ring_nshards(n->ring);
	n->shards = mem_zalloc(n->nshards * sizeof(*n->shards));
	for (unsigned i = 0; i < n->nshards; i++) {
		n->shards[i].number = (uint16_t)i;
		TAILQ_INIT(&n->shards[i].waiting);
		TAILQ_INIT(&n->shards[i].answers);
		TAILQ_INIT(&n->shards[i].early);
		TAILQ_INIT(&n->shards[i].doubles);
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
	*term = s->term;
	*seq = shard_seq(n, s) + 1;
}

uint64_t shard_seq(const struct node *n, const struct shard *s)
{
	return store_history(n->st, s->number).seq;
}

bool shard_copied(const struct node *n, const struct shard *s)
{
	const struct ring_shard *m = &n->ring->shards[s->number];

	return m->nmembers > 1 || m->nlearners;
}

bool shard_contains(const struct node *n, uint16_t shard, uint64_t term, uint64_t seq)
{
	struct history h = store_history(n->st, shard);

	return history_contains(&h, term, seq);
}

bool shard_mine(const struct node *n, unsigned shard)
{
	return n->registered && shard < n->nshards && n->ring->shards[shard].primary == n->self;
}

int shard_of_key(const struct node *n, const uint8_t *key, size_t klen)
{
	if (klen < KEY_HEAD || get_be16(key + 1) >= n->nshards)
		return -EUCLEAN;
	return n->shards[get_be16(key + 1)].loading;
}
