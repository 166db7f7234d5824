/*
 * What a node holds of shards that the map does not give it is deleted, one shard at a time:
 *
 *   held       the map had the shard healthy without us for erase_after         ASKING
 *   ASKING     each member is asked for what follows our last effect, which     CLEARING; held
 *              it answers only as a member, under the map that we have
 *   CLEARING   one effect that clears the shard                                 the next
 *
 * So nothing goes because of what could not be read, nor on the word of a map that the members do
 * not have: each of them said just now that it is one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/learn.h"

#define BETWEEN (100 * ENV_MS) /* one shard and the next */

struct eraser;

struct question {
	struct call call;
	struct eraser *e;
};

struct eraser {
	struct node *n;
	uint64_t
		*since; /* by shard: when it became healthy without us; 0: it is not, or not held */
	struct env_timer timer;
	struct shard *shard; /* that is being erased; NULL: none */
	uint64_t epoch;      /* of the map under which its members were asked */
	struct question question[RING_REPLICAS_MAX];
	unsigned asked; /* answers that will come */
	bool refused;   /* one of them was not what it has to be */
	bool clearing;
	struct effect effect;
	struct own own;
	struct store_wait wait;
	bool waits;
};

static unsigned data_nodes(const struct ring_map *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->nnodes; i++)
		n += m->nodes[i].weight && !m->nodes[i].witness && !m->nodes[i].leaving;
	return n;
}

/* As many copies as there are to be, all of them there. */
static bool healthy(const struct ring_map *m, const struct ring_shard *s, unsigned nodes)
{
	unsigned want = m->replicas < nodes ? m->replicas : nodes;

	if (s->primary == RING_NONE || s->nmembers < want || s->nlearners || s->suspect)
		return false;
	for (unsigned i = 0; i < s->nmembers; i++) {
		if (!m->nodes[s->member[i]].up)
			return false;
	}
	return true;
}

static bool holds(struct node *n, unsigned shard)
{
	return store_history(n->st, (uint16_t)shard).seq > 0 || learn_partial(n, (uint16_t)shard);
}

/* The map names us, as what runs, and not for this shard. */
static bool not_ours(const struct node *n, const struct ring_shard *s)
{
	const struct ring_node *me;

	if (n->self == RING_NONE)
		return false;
	me = &n->ring->nodes[n->self];
	return me->up && me->incarnation == n->incarnation && ring_member(s, n->self) < 0 &&
	       ring_learner(s, n->self) < 0;
}

static bool may_go(struct node *n, unsigned shard, unsigned nodes)
{
	const struct ring_shard *s = &n->ring->shards[shard];

	return not_ours(n, s) && node_shard(n, shard)->role == ROLE_NONE &&
	       healthy(n->ring, s, nodes) && holds(n, shard);
}

/* ---- the end of one ---- */

/* The next, after a while; or the one that is due first. */
static void set_timer(struct eraser *e)
{
	uint64_t now = env_now(e->n->env), due = UINT64_MAX;

	for (unsigned i = 0; i < e->n->nshards; i++) {
		if (e->since[i] && e->since[i] < due)
			due = e->since[i];
	}
	if (due == UINT64_MAX || e->shard)
		return;
	due += e->n->cfg.erase_after;
	env_timer_set(e->n->env, &e->timer, due > now + BETWEEN ? due : now + BETWEEN);
}

static void erase_end(struct eraser *e, bool done)
{
	struct node *n = e->n;
	unsigned shard = e->shard->number;

	effect_fini(&e->effect);
	effect_init(&e->effect);
	e->shard = NULL;
	e->clearing = false;
	e->since[shard] = done ? 0 : env_now(n->env);
	if (n->stopping)
		node_check_stopped(n);
	else
		set_timer(e);
	learn_poke(n);
}

/* ---- clearing ---- */

static void cleared(struct own *o, int rc)
{
	struct eraser *e = container_of(o, struct eraser, own);

	if (!rc) {
		e->n->stats.erased++;
		log_info("mod=erase shard=%u msg=\"a shard that is held elsewhere is deleted\"",
			e->shard->number);
	}
	erase_end(e, !rc);
}

static void clear(struct eraser *e);

static void clear_again(struct store_wait *w)
{
	struct eraser *e = container_of(w, struct eraser, wait);

	e->waits = false;
	if (e->n->stopping || !may_go(e->n, e->shard->number, data_nodes(e->n->ring)))
		erase_end(e, false);
	else
		clear(e);
}

static void clear(struct eraser *e)
{
	struct node *n = e->n;
	int rc;

	e->clearing = true;
	effect_fini(&e->effect);
	effect_init(&e->effect);
	effect_section(&e->effect, e->shard->number, 0, 0);
	effect_clear_shard(&e->effect);
	e->own = (struct own){.effect = &e->effect, .done = cleared};
	rc = own_apply(n, &e->own, STORE_RESERVE);
	if (rc == -EAGAIN) {
		e->waits = true;
		e->wait.ready = clear_again;
		store_wait(n->st, &e->wait);
	} else if (rc) {
		log_error("mod=erase shard=%u rc=-%s msg=\"a shard cannot be deleted\"",
			e->shard->number, log_errno(rc));
		erase_end(e, false);
	} else {
		learn_cleared(n, e->shard->number);
	}
}

/* ---- asking ---- */

/* OK: it has all that we have. STALE: it has another history, or does not keep that part of its log
 * any more. Either is said by members only. */
static bool member_says(const struct eraser *e, struct frame *f)
{
	struct wire_reply m;

	return f->type == WIRE_REPLY && !wire_get_reply(frame_cur(f), &m) &&
	       (m.status == WIRE_OK || m.status == WIRE_STALE) && m.epoch == e->epoch;
}

static void answered(struct call *call, int rc, struct frame *f)
{
	struct eraser *e = container_of(call, struct question, call)->e;
	struct node *n = e->n;

	if (rc || !member_says(e, f))
		e->refused = true;
	if (--e->asked)
		return;
	if (e->refused || n->stopping || n->ring->epoch != e->epoch ||
		!may_go(n, e->shard->number, data_nodes(n->ring)))
		erase_end(e, false);
	else
		clear(e);
}

static void ask_members(struct eraser *e)
{
	struct node *n = e->n;
	const struct ring_shard *s = &n->ring->shards[e->shard->number];
	struct history h = store_history(n->st, e->shard->number);
	struct wire_tail m = {.shard = e->shard->number, .from = 1, .max = 1};
	uint16_t member[RING_REPLICAS_MAX];
	unsigned nmembers = s->nmembers;

	if (h.seq && h.term) {
		m.term = h.term;
		m.from = h.seq + 1;
	}
	memcpy(member, s->member, sizeof(member));
	e->epoch = n->ring->epoch;
	e->refused = false;
	e->asked = nmembers;
	/* each may fail at once, and the last one ends it */
	for (unsigned i = 0; i < nmembers; i++) {
		struct question *q = &e->question[i];
		struct frame *f = frame_new(WIRE_TAIL, 0, 40);

		wire_put_tail(&f->b, &m);
		q->e = e;
		q->call.done = answered;
		peer_call(n, member[i], f, &q->call);
	}
}

static void erase_fire(struct env_timer *t)
{
	struct eraser *e = container_of(t, struct eraser, timer);
	uint64_t now = env_now(e->n->env);

	if (e->n->stopping || e->shard)
		return;
	for (unsigned i = 0; i < e->n->nshards; i++) {
		if (!e->since[i] || e->since[i] + e->n->cfg.erase_after > now)
			continue;
		e->shard = node_shard(e->n, i);
		ask_members(e);
		return;
	}
	set_timer(e);
}

/* ---- from outside ---- */

static struct eraser *eraser_of(struct node *n)
{
	struct eraser *e = n->erase;

	if (e)
		return e;
	e = n->erase = mem_zalloc(sizeof(*e));
	e->n = n;
	e->since = mem_zalloc((n->nshards + 1) * sizeof(*e->since));
	e->timer.fire = erase_fire;
	effect_init(&e->effect);
	return e;
}

void erase_adopt(struct node *n)
{
	struct eraser *e = eraser_of(n);
	unsigned nodes = data_nodes(n->ring);
	uint64_t now = env_now(n->env);

	for (unsigned i = 0; i < n->nshards; i++) {
		if (!may_go(n, i, nodes))
			e->since[i] = 0;
		else if (!e->since[i])
			e->since[i] = now;
	}
	set_timer(e);
}

bool erase_clears(const struct node *n, uint16_t shard)
{
	return n->erase && n->erase->clearing && n->erase->shard->number == shard;
}

bool erase_busy(const struct node *n)
{
	return n->erase && n->erase->shard;
}

void erase_free(struct node *n)
{
	struct eraser *e = n->erase;

	if (!e)
		return;
	env_timer_clear(n->env, &e->timer);
	effect_fini(&e->effect);
	free(e->since);
	free(e);
	n->erase = NULL;
}
