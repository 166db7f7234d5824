/*
 * Effects on their way to all copies of their shards, and the roles of this node.
 */
#include "dht/node/repl.h"

#include <assert.h>
#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/impl.h"

/* ---- our effects ---- */

static void commit(struct shard *s)
{
	if (s->logged <= s->committed)
		return;
	s->committed = s->logged;
	req_flush(s, 0);
}

static void own_logged(struct store_apply *a, int rc)
{
	struct own *o = container_of(a, struct own, apply);
	struct shard *touched[TXN_OBJECTS_MAX];
	unsigned ntouched = o->nat;
	struct node *n = o->n;

	if (rc) {
		n->stats.errors++;
		if (!n->log_failed)
			log_error("mod=node rc=-%s msg=\"the log failed: changes are refused\"",
				log_errno(rc));
		n->log_failed = true;
	}
	for (unsigned i = 0; i < ntouched; i++) {
		touched[i] = node_shard(n, o->at[i].shard);
		touched[i]->flying--;
		if (touched[i]->logged < o->at[i].seq)
			touched[i]->logged = o->at[i].seq;
	}
	o->done(o, rc);
	/* it is among the answers that this lets go */
	for (unsigned i = 0; i < ntouched; i++) {
		if (rc)
			req_flush(touched[i], rc);
		commit(touched[i]);
	}
}

int own_apply(struct node *n, struct own *o, enum store_urgency urgency)
{
	int rc = o->effect->meta.err;

	assert(o->nat <= TXN_OBJECTS_MAX);
	o->n = n;
	o->apply.effect = o->effect;
	o->apply.done = own_logged;
	if (!rc && o->effect->meta.len + o->effect->data_len > OWN_EFFECT_MAX)
		rc = -EMSGSIZE;
	if (!rc)
		rc = store_apply(n->st, &o->apply, urgency);
	if (rc)
		return rc;
	for (unsigned i = 0; i < o->nat; i++)
		node_shard(n, o->at[i].shard)->flying++;
	return 0;
}

/* ---- roles ---- */

static enum shard_role role_in(const struct node *n, const struct ring_shard *s)
{
	const struct ring_node *me;

	if (n->self == RING_NONE)
		return ROLE_NONE;
	me = &n->ring->nodes[n->self];
	if (me->incarnation && me->incarnation != n->incarnation)
		return ROLE_NONE; /* it means an earlier start of ours */
	if (s->primary == n->self)
		return ROLE_SERVING;
	if (ring_member(s, n->self) >= 0)
		return ROLE_BACKUP;
	return ring_learner(s, n->self) >= 0 ? ROLE_LEARNER : ROLE_NONE;
}

static int load(struct node *n)
{
	int rc;

	store_blocking(n->st, true);
	rc = sess_load(n);
	if (!rc)
		rc = intents_load(n);
	store_blocking(n->st, false);
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		if (!s->loading)
			continue;
		s->loading = false;
		s->role = ROLE_SERVING;
		s->logged = s->committed = shard_seq(n, s);
	}
	return rc;
}

int repl_adopt(struct node *n, const struct ring_map *old)
{
	bool lost = false, loading = false;
	int rc = 0;

	(void)old;
	for (unsigned i = 0; i < n->nshards; i++) {
		const struct ring_shard *m = &n->ring->shards[i];
		struct shard *s = node_shard(n, i);
		enum shard_role role = role_in(n, m);

		if (s->term != m->term)
			s->since = n->ring->epoch;
		s->term = m->term;
		s->losing = s->role == ROLE_SERVING && role != ROLE_SERVING;
		s->loading = s->role != ROLE_SERVING && role == ROLE_SERVING;
		lost |= s->losing;
		loading |= s->loading;
		if (!s->loading)
			s->role = role;
	}
	if (lost) {
		req_lose(n);
		sess_lose(n);
		intents_lose(n);
	}
	for (unsigned i = 0; i < n->nshards; i++)
		node_shard(n, i)->losing = false;
	if (loading)
		rc = load(n);
	for (unsigned i = 0; !rc && i < n->nshards && !n->stopping; i++) {
		if (!TAILQ_EMPTY(&n->shards[i].waiting))
			shard_wake(&n->shards[i]);
	}
	return rc;
}
