/*
 * A primary's effects on their way to all copies of their shards; and the roles that a map gives.
 *
 *   own_apply()   our store has it; sent to each copy in STREAM
 *   own_logged()  our log has it
 *   ACK           a copy has it
 *   repl_commit() all whose word counts have it: answers that saw it may leave
 *
 * A shard that stays ours in the very next term goes on being served, whoever left or joined:
 * nobody else can have led it in between.
 */
#include "dht/node/repl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/keep.h"
#include "dht/node/repl_int.h"

/* ---- what is committed ---- */

void repl_commit(struct node *n, struct shard *s)
{
	uint64_t all = s->logged;

	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		const struct copy *c = s->repl->copy[i];

		if (c->required && c->acked < all)
			all = c->acked;
	}
	if (all <= s->committed)
		return;
	s->committed = all;
	watch_committed(n, s);
	if (s->take)
		take_step(n, s);
	else
		req_flush(s, 0);
}

/* ---- our effects ---- */

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
		struct shard *s = touched[i] = node_shard(n, o->at[i].shard);

		s->flying--;
		/* with other copies it is for them to say what became of it: it stays under way
		 * until this node has gone */
		if (s->logged < o->at[i].seq && (!rc || !s->repl))
			s->logged = o->at[i].seq;
	}
	for (unsigned i = 0; !rc && i < ntouched; i++)
		watch_effect(
			n, o->effect->meta.data, o->effect->meta.len, o->at[i].shard, o->at[i].seq);
	o->done(o, rc);
	/* it is among the answers that this lets go */
	for (unsigned i = 0; i < ntouched && !n->stopping; i++) {
		if (rc && !touched[i]->repl)
			req_flush(touched[i], rc);
		if (touched[i]->role == ROLE_SERVING)
			repl_commit(n, touched[i]);
		backup_logged(n, touched[i]);
	}
}

/* What a full disk of a member refuses is refused here. */
static bool room_on_all(const struct shard *s, size_t bytes)
{
	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		const struct copy *c = s->repl->copy[i];

		if (c->required && c->peer->room_known && c->peer->room < (int64_t)bytes)
			return false;
	}
	return true;
}

static void stream(struct node *n, struct shard *s, const struct own *o)
{
	const struct effect *e = o->effect;
	struct frame *f = NULL;

	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		struct copy *c = s->repl->copy[i];

		if (c->state != COPY_STREAM)
			continue;
		if (!f) {
			f = copy_frame(n, s, o->at, e->meta.len, e->data_len);
			buf_bytes(&f->b, e->meta.data, e->meta.len);
			for (size_t k = 0; k < e->ndata; k++)
				buf_bytes(&f->b, e->data[k].iov_base, e->data[k].iov_len);
		}
		copy_send(c, f, o->at[0].seq);
	}
	frame_unref(f);
}

int own_apply(struct node *n, struct own *o, enum store_urgency urgency)
{
	struct shard *s = o->nat ? node_shard(n, o->at[0].shard) : NULL;
	size_t bytes = o->effect->meta.len + o->effect->data_len;
	int rc = o->effect->meta.err;

	assert(o->nat <= TXN_OBJECTS_MAX && (o->nat <= 1 || !s->repl));
	o->n = n;
	o->apply.effect = o->effect;
	o->apply.done = own_logged;
	if (!rc && bytes > OWN_EFFECT_MAX)
		rc = -EMSGSIZE;
	if (!rc && s && s->repl && urgency == STORE_NORMAL && !room_on_all(s, bytes))
		rc = -ENOSPC;
	if (!rc)
		rc = store_apply(n->st, &o->apply, urgency);
	/* others can go on: what this node cannot do is not refused (repl_blocks()) */
	if (rc == -EROFS && s && s->repl)
		rc = -EBUSY;
	if (rc)
		return rc;
	for (unsigned i = 0; i < o->nat; i++)
		node_shard(n, o->at[i].shard)->flying++;
	if (s && s->repl)
		stream(n, s, o);
	return 0;
}

bool repl_blocks(struct node *n, const struct shard *s)
{
	if (!s->repl)
		return n->ring->min_in_sync > 1;
	if (store_broken(n->st))
		return true;
	if (n->ring->shards[s->number].nmembers < n->ring->min_in_sync)
		return true;
	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		if (s->repl->copy[i]->required && s->repl->copy[i]->peer->crowded)
			return true;
	}
	return false;
}

void repl_arrive(struct conn *c, struct frame *f)
{
	switch (f->type) {
	case WIRE_BEAT:
		lease_arrive(c, f);
		break;
	case WIRE_APPEND:
		backup_append(c, f);
		break;
	case WIRE_RECOVER:
		backup_recover(c, f);
		break;
	default:
		durable_arrive(c, f);
	}
}

/* ---- roles ---- */

static enum shard_role role_in(const struct node *n, const struct ring_shard *s)
{
	if (!n->registered)
		return ROLE_NONE;
	if (s->primary == n->self)
		return ROLE_SERVING;
	if (ring_member(s, n->self) >= 0)
		return ROLE_BACKUP;
	return ring_learner(s, n->self) >= 0 ? ROLE_LEARNER : ROLE_NONE;
}

static bool leads(const struct shard *s)
{
	return s->role == ROLE_SERVING || s->role == ROLE_TAKING_OVER;
}

/* Puts the shard's copies in accord with the map. */
static void set_copies(struct node *n, struct shard *s, bool again)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	uint64_t mark = ++n->marks;

	for (unsigned i = 0; i < m->nmembers + m->nlearners; i++) {
		bool member = i < m->nmembers;
		uint16_t node = member ? m->member[i] : m->learner[i - m->nmembers];
		uint64_t incarnation = n->ring->nodes[node].incarnation;
		struct copy *c;

		if (node == n->self)
			continue;
		c = copy_at(s, peer_of(n, node));
		if (!c && !member)
			continue; /* until it joins the stream */
		if (!c)
			c = copy_new(n, s, node);
		c->mark = mark;
		c->node = node;
		c->member = member;
		c->proposed &= !member && !again &&
			       (!c->refused_at || n->ring->epoch < c->refused_at) &&
			       /* what was asked for an earlier start of it comes to nothing */
			       (!incarnation || c->incarnation == incarnation);
		copy_started(c, incarnation);
		c = copy_at(s, peer_of(n, node));
		if (c)
			copy_require(c,
				member || c->proposed || (c->required && c->state == COPY_STREAM));
	}
	for (unsigned i = 0; s->repl && i < s->repl->ncopies;) {
		if (s->repl->copy[i]->mark == mark)
			i++;
		else
			copy_remove(s, i);
	}
}

/* The shard is in the hands of whom the map names. True: served before, and not any more. */
static bool set_role(struct node *n, struct shard *s)
{
	const struct ring_shard *m = &n->ring->shards[s->number];
	enum shard_role role = role_in(n, m);
	bool next = m->term == s->term || m->term == s->term + 1, again = m->term != s->term;
	enum shard_role was = s->role;

	s->term = m->term;
	if (role != ROLE_SERVING)
		s->doubtful = false;
	if (role == ROLE_SERVING && was == ROLE_SERVING && next) {
		set_copies(n, s, again);
		for (unsigned i = 0; again && s->repl && i < s->repl->ncopies; i++)
			copy_restream(n, s->repl->copy[i]);
		return false;
	}
	/* nobody suspect leads where anybody is not */
	s->doubtful |= role == ROLE_SERVING && m->suspect >> ring_member(m, n->self) & 1;
	if (role == ROLE_SERVING && was == ROLE_TAKING_OVER && !again) {
		set_copies(n, s, false);
		return false;
	}
	if (was == role && !again && role != ROLE_SERVING)
		return false;
	/* who begins to lead knows nothing of what was refused before, be it in the same term */
	if (again || role == ROLE_SERVING || !s->since)
		s->since = n->ring->epoch;
	s->losing = leads(s);
	if (leads(s)) {
		take_end(n, s);
		copy_remove_all(s);
	} else {
		s->dropping = was == ROLE_BACKUP || was == ROLE_LEARNER;
	}
	s->role = role == ROLE_SERVING ? ROLE_TAKING_OVER : role;
	return s->losing;
}

int repl_adopt(struct node *n, const struct ring_map *old)
{
	bool lost = false;

	lease_adopt(n, old);
	for (unsigned i = 0; i < n->nshards; i++)
		lost |= set_role(n, node_shard(n, i));
	if (lost) {
		req_lose(n);
		sess_lose(n);
		intents_lose(n);
		grants_lose(n);
	}
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		if (s->losing)
			watch_lost(n, s->number);
		s->losing = false;
		if (s->dropping)
			backup_drop(n, s);
		s->dropping = false;
		if (s->role == ROLE_TAKING_OVER && !s->take) {
			s->committed = 0;
			if (!s->flying)
				s->logged = shard_seq(n, s);
			set_copies(n, s, true);
			take_begin(n, s);
		}
	}
	durable_adopt(n);
	backup_adopt(n);
	learn_adopt(n);
	erase_adopt(n);
	lease_tick(n, 0);
	recover_ask(n);
	take_go(n);
	grants_adopt(n);
	for (unsigned i = 0; i < n->nshards && !n->stopping; i++) {
		struct shard *s = node_shard(n, i);

		if (s->role == ROLE_SERVING && n->ring->shards[i].suspect)
			n->suspects = true;
		/* also where nobody is left whose word counted */
		if (s->role == ROLE_SERVING)
			repl_commit(n, s);
		shard_wake(n, s);
	}
	peers_renamed(n);
	lease_flush(n);
	repl_wake(n);
	return n->load_rc;
}

/* ---- time, and the end ---- */

static void tick_fire(struct env_timer *t)
{
	repl_tick(container_of(t, struct node, tick_timer));
}

void repl_wake(struct node *n)
{
	struct peer *p;
	bool any = !TAILQ_EMPTY(&n->taking) || n->suspects;

	if (n->tick_timer.armed || n->stopping)
		return;
	TAILQ_FOREACH (p, &n->peers, entry)
		any |= !TAILQ_EMPTY(&p->copies) || p->led;
	if (!any)
		return;
	n->tick_timer.fire = tick_fire;
	n->tick_due = env_now(n->env) + n->cfg.lease / 4;
	env_timer_set(n->env, &n->tick_timer, n->tick_due);
}

void repl_soon(struct node *n, uint64_t ns)
{
	uint64_t due = env_now(n->env) + ns;

	if (!n->tick_timer.armed || n->tick_due <= due)
		return;
	n->tick_due = due;
	env_timer_set(n->env, &n->tick_timer, due);
}

void repl_tick(struct node *n)
{
	uint64_t now = env_now(n->env);
	struct copy *c, *next;
	struct peer *p;

	if (n->stopping)
		return;
	lease_tick(n, now > n->tick_due + n->cfg.lease / 4 ? now - n->tick_due : 0);
	TAILQ_FOREACH (p, &n->peers, entry) {
		durable_tick(n, p);
		for (c = TAILQ_FIRST(&p->copies); c; c = next) {
			next = TAILQ_NEXT(c, of_peer);
			if (c->trouble)
				copy_tell_keeper(n, c);
			copy_fill(c);
			if (!c->required && p->unacked_bytes > REPL_LAGS)
				copy_complain(n, c, "too far behind");
		}
	}
	take_tick(n);
	recover_ask(n);
	if (n->suspects)
		n->suspects = repl_vouch_all(n);
	if (store_broken(n->st))
		repl_resign_all(n);
	repl_wake(n);
}

void repl_init(struct node *n)
{
	TAILQ_INIT(&n->stalled);
	TAILQ_INIT(&n->fills);
	TAILQ_INIT(&n->orphans);
	TAILQ_INIT(&n->durables);
	TAILQ_INIT(&n->durable_left);
	TAILQ_INIT(&n->level_syncs);
	TAILQ_INIT(&n->taking);
	TAILQ_INIT(&n->pulls);
	n->started = env_now(n->env);
}

bool repl_idle(const struct node *n)
{
	return !n->repl_busy && !learn_busy(n) && !erase_busy(n) && LIST_EMPTY(&n->repairs);
}

void repl_stop(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		take_end(n, s);
		copy_remove_all(s);
		backup_drop(n, s);
	}
	durable_adopt(n);
	learn_stop(n);
	env_timer_clear(n->env, &n->tick_timer);
	env_timer_clear(n->env, &n->take_timer);
	env_unpost(n->env, &n->wake_task);
}

void repl_free(struct node *n)
{
	copies_free(n);
	durable_free(n);
	backup_free(n);
	take_free(n);
	teach_free(n);
	learn_free(n);
	erase_free(n);
	repairs_free(n);
}
