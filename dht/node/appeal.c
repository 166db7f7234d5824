/*
 * What a primary has to say to the keeper about the copies of its shards: one cannot go on, one is
 * level, one is good after all, its own is not. The map tells the outcome; until then it is said
 * again.
 */
#include "dht/node/repl_int.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/keep.h"

#define VOUCH_ONCE 256 /* questions at once */

/* ---- those who cannot go on ---- */

struct complaint {
	struct keep_ask ask;
	struct node *n;
	struct peer *peer;
};

static struct complaint *complaint_new(struct node *n, const struct shard *s, uint16_t node,
	uint8_t flags, void (*done)(struct keep_ask *a, uint16_t status, uint64_t epoch))
{
	const struct ring_node *rn = &n->ring->nodes[node];
	struct complaint *k = mem_zalloc(sizeof(*k));

	k->n = n;
	k->peer = node == n->self ? NULL : peer_of(n, node);
	k->ask.done = done;
	k->ask.m = (struct wire_ask_m){.what = ASK_MEMBER,
		.flags = flags,
		.epoch = n->ring->epoch,
		.node = rn->id,
		.by = n->id,
		.incarnation = rn->incarnation,
		.shard = s->number,
		.term = s->term};
	return k;
}

/* The copy that it was about; NULL: gone, or it was ours. */
static struct copy *complaint_copy(const struct complaint *k)
{
	if (!k->n->shards || k->n->stopping || !k->peer)
		return NULL;
	return copy_at(node_shard(k->n, k->ask.m.shard), k->peer);
}

static void complained(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct copy *c = complaint_copy(k);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	if (c)
		c->complains = false;
	free(k);
}

void copy_tell_keeper(struct node *n, struct copy *c)
{
	if (c->complains || n->stopping)
		return;
	c->complains = true;
	keep_ask(n, &complaint_new(n, c->shard, c->node, 0, complained)->ask);
}

void copy_complain(struct node *n, struct copy *c, const char *why)
{
	char hex[ORBIT_ID_HEX];

	if (!c->member) {
		copy_reset(c);
		return;
	}
	if (!c->trouble)
		log_warn("mod=node shard=%u node=%s msg=\"a copy cannot go on: %s\"",
			c->shard->number, orbit_id_hex(&c->peer->id, hex), why);
	c->trouble = why;
	copy_tell_keeper(n, c);
}

/* ---- learners that are level ---- */

/* Refused for good? If it is not known what became of it, the learner may be a member already, and
 * counts until a map says otherwise. */
static void proposed(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct copy *c = complaint_copy(k);
	struct node *n = k->n;

	if (c && c->proposed && c->shard->term == a->m.term &&
		(status == WIRE_STALE || status == WIRE_BUSY || status == WIRE_BAD_REQUEST)) {
		/* what was refused may have been carried out when it was asked for before: the map
		 * that the keeper had knows */
		c->refused_at = epoch;
		if (n->ring->epoch >= epoch) {
			c->proposed = false;
			if (c->state == COPY_UNKNOWN)
				copy_reset(c);
			repl_commit(n, node_shard(n, a->m.shard));
		}
	}
	free(k);
}

void repl_propose(struct node *n, struct shard *s, uint16_t node)
{
	struct copy *c = copy_at(s, peer_of(n, node));

	if (!c || !c->required || c->member)
		return;
	c->proposed = true;
	c->refused_at = 0;
	keep_ask(n, &complaint_new(n, s, node, ASK_F_ADD, proposed)->ask);
}

/* ---- members that may have lost something ---- */

static void vouched(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);
	struct node *n = k->n;
	struct copy *c = complaint_copy(k);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	n->vouching--;
	if (c)
		c->vouching = false;
	else if (n->shards && !k->peer)
		node_shard(n, a->m.shard)->vouching = false;
	free(k);
}

static void vouch(struct node *n, struct shard *s, uint16_t node, bool *asked)
{
	if (*asked || n->vouching >= VOUCH_ONCE || n->stopping)
		return;
	*asked = true;
	n->vouching++;
	keep_ask(n, &complaint_new(n, s, node, ASK_F_ADD, vouched)->ask);
}

void repl_vouch(struct node *n, struct shard *s)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	int self = ring_member(m, n->self);

	if (!m->suspect || self < 0)
		return;
	if (m->suspect >> self & 1) {
		/* compared with all that are there, it is the best there is */
		vouch(n, s, n->self, &s->vouching);
		return;
	}
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		struct copy *c = s->repl->copy[i];
		int at = ring_member(m, c->node);

		if (at >= 0 && m->suspect >> at & 1 && c->state == COPY_STREAM && !c->fill &&
			c->acked >= s->committed)
			vouch(n, s, c->node, &c->vouching);
	}
}

/* All that have to be vouched for; true: there are some. */
bool repl_vouch_all(struct node *n)
{
	bool any = false;

	for (unsigned i = 0; i < n->nshards; i++) {
		if (!n->ring->shards[i].suspect || node_shard(n, i)->role != ROLE_SERVING)
			continue;
		any = true;
		repl_vouch(n, node_shard(n, i));
	}
	return any;
}

/* ---- our own copy cannot go on ---- */

static void resigned(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct complaint *k = container_of(a, struct complaint, ask);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	k->n->vouching--;
	if (k->n->shards)
		node_shard(k->n, a->m.shard)->vouching = false;
	free(k);
}

void repl_resign(struct node *n, struct shard *s)
{
	if (s->vouching || n->vouching >= VOUCH_ONCE || n->stopping)
		return;
	s->vouching = true;
	n->vouching++;
	keep_ask(n, &complaint_new(n, s, n->self, 0, resigned)->ask);
}

/* Our log has failed: others lead from now on, where there are any. */
void repl_resign_all(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		if (node_shard(n, i)->repl)
			repl_resign(n, node_shard(n, i));
	}
}
