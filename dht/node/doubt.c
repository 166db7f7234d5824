/*
 * Outcomes that nobody told us.
 *
 * A transaction that stays prepared for in_doubt_timeout is resolved by asking all other
 * participants:
 *
 *   one says COMMITTED                  commit
 *   one says UNKNOWN                    abort: it never voted, or aborted, and will not vote yes
 *                                       any more
 *   all say PREPARED                    commit: all voted yes, so the client may have seen that;
 *                                       and none of them is aborted by the client alone any more
 *   otherwise (unreachable, moved, ...) asked again, later and later, for ever
 *
 * If the client's word arrives first, the answers are thrown away.
 */
#include "dht/node/impl.h"

#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define DOUBT_AGAIN_MIN (100 * ENV_MS)
#define DOUBT_AGAIN_MAX (10 * ENV_SEC)

struct ask {
	struct call call;
	struct doubt *d;
};

struct doubt {
	struct prepared *p; /* NULL: it was decided meanwhile */
	unsigned left;
	bool committed, unknown, unclear;
	struct ask ask[WIRE_PARTICIPANTS_MAX];
};

static void set_timer(struct node *n, uint64_t due)
{
	if (n->doubt_timer.armed && n->doubt_due <= due)
		return;
	n->doubt_due = due;
	env_timer_set(n->env, &n->doubt_timer, due);
}

void doubt_watch(struct prepared *p)
{
	p->due = env_now(p->n->env) + p->n->cfg.in_doubt_timeout;
	set_timer(p->n, p->due);
}

void doubt_forget(struct prepared *p)
{
	if (p->doubt)
		p->doubt->p = NULL;
	p->doubt = NULL;
}

static void ask_again(struct prepared *p)
{
	struct node *n = p->n;
	uint64_t wait = DOUBT_AGAIN_MIN << (p->tries < 7 ? p->tries : 7);

	if (wait > DOUBT_AGAIN_MAX)
		wait = DOUBT_AGAIN_MAX;
	if (p->tries++ % 16 == 0)
		log_warn("mod=node shard=%u session=%u number=%llu try=%u msg=\"in doubt: not all "
			 "participants can be asked\"",
			p->key.shard, p->key.session, (unsigned long long)p->key.number, p->tries);
	p->due = env_now(n->env) + wait + env_random_u64(n->env) % (wait / 2);
	set_timer(n, p->due);
}

void doubt_undecided(struct node *n, uint32_t session, uint64_t number, uint16_t shard)
{
	struct prepared *p = prepared_find(n, session, number, shard);

	if (!p || p->due != UINT64_MAX)
		return;
	p->due = env_now(n->env) + DOUBT_AGAIN_MAX;
	set_timer(n, p->due);
}

/* All have answered. */
static void verdict(struct doubt *d)
{
	struct prepared *p = d->p;

	if (p && !p->n->stopping) {
		p->doubt = NULL;
		if (d->committed || (!d->unknown && !d->unclear)) {
			p->due = UINT64_MAX;
			decide_self(p, true);
		} else if (d->unknown) {
			p->due = UINT64_MAX;
			decide_self(p, false);
		} else {
			ask_again(p);
		}
	} else if (p) {
		p->doubt = NULL;
	}
	free(d);
}

static void take_answer(struct doubt *d, uint16_t status)
{
	if (status == WIRE_COMMITTED)
		d->committed = true;
	else if (status == WIRE_UNKNOWN)
		d->unknown = true;
	else if (status != WIRE_PREPARED)
		d->unclear = true;
	if (--d->left == 0)
		verdict(d);
}

static void asked_local(void *arg, uint16_t status)
{
	take_answer(arg, status);
}

static void asked_peer(struct call *c, int rc, struct frame *answer)
{
	struct ask *a = container_of(c, struct ask, call);
	struct wire_reply m;

	if (rc || answer->type != WIRE_REPLY || wire_get_reply(frame_cur(answer), &m))
		take_answer(a->d, WIRE_UNREACHABLE);
	else
		take_answer(a->d, m.status);
}

static void ask_one(struct doubt *d, struct ask *a, uint16_t shard)
{
	struct prepared *p = d->p;
	struct node *n = p->n;
	struct wire_decide m = {.session = p->key.session,
		.number = p->key.number,
		.epoch = n->ring->epoch,
		.shard = shard};
	uint16_t node = shard < n->nshards ? n->ring->shards[shard].primary : RING_NONE;
	struct frame *f;

	a->d = d;
	if (node == n->self) {
		resolve_local(n, &m, asked_local, d);
	} else if (node == RING_NONE) {
		take_answer(d, WIRE_UNREACHABLE);
	} else {
		f = frame_new(WIRE_RESOLVE, 0, 64);
		wire_put_decide(&f->b, &m);
		a->call.done = asked_peer;
		peer_call(n, node, f, &a->call);
	}
}

void doubt_ask(struct prepared *p)
{
	struct doubt *d;

	if (p->doubt || p->due == UINT64_MAX)
		return;
	d = mem_zalloc(sizeof(*d));
	d->p = p;
	d->left = 1; /* until all have been asked */
	p->doubt = d;
	for (unsigned i = 0; i < p->nparticipants && d->p; i++) {
		if (p->participants[i] == p->key.shard)
			continue;
		d->left++;
		ask_one(d, &d->ask[i], p->participants[i]);
	}
	take_answer(d, WIRE_PREPARED);
}

void doubt_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, doubt_timer);
	uint64_t now = env_now(n->env), next = UINT64_MAX;
	struct prepared *p, *tmp;

	if (n->stopping)
		return;
	HASH_ITER (hh, n->prepared, p, tmp) {
		if (p->doubt || p->due == UINT64_MAX)
			continue;
		if (p->due > now) {
			next = p->due < next ? p->due : next;
			continue;
		}
		/* an answer that comes at once may decide this one, but no other */
		doubt_ask(p);
	}
	if (next != UINT64_MAX)
		set_timer(n, next);
}
