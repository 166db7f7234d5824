/*
 * What sessions leave behind when they end.
 *
 * From time to time the keeper is asked for each session that has records here. One that it does
 * not know any more has ended, for ever, as numbers are not used again:
 *
 *   holds leases -> the keeper is asked to fence it: all have to know before they pass on
 *   known -> ended is recorded (KEY_KEEPER "e", u32 BE session; one small record, it stays)
 *         -> its requests are answered NO_SESSION
 *         -> its replies, floors and records of leases are deleted, a few at a time
 *
 * What it has prepared is not touched: that is resolved as any other.
 */
#include "dht/node/impl.h"
#include "dht/node/keep.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define SWEEP_EVERY (60 * ENV_SEC)
#define SWEEP_STEP (10 * ENV_MS)
#define SWEEP_AT_ONCE 32 /* effects in one step */
#define SWEEP_LOOK 4096  /* records that one step looks at */
#define ENDED_FORMAT 1

struct ended {
	uint32_t session;
	UT_hash_handle hh;
};

bool session_ended(const struct node *n, uint32_t session)
{
	struct ended *e;

	if (n->ring && n->ring->nfenced && ring_fenced(n->ring, session))
		return true;
	if (!n->ended)
		return false;
	HASH_FIND(hh, n->ended, &session, sizeof(session), e);
	return e;
}

static void ended_add(struct node *n, uint32_t session)
{
	struct ended *e = mem_zalloc(sizeof(*e));

	e->session = session;
	HASH_ADD(hh, n->ended, session, sizeof(e->session), e);
}

static void ended_key(struct key *k)
{
	key_class(k, KEY_KEEPER, 0);
	k->b[k->len++] = 'e';
}

int ended_load(struct node *n)
{
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	struct key from, to;
	uint32_t session;
	int rc;

	ended_key(&from);
	to = from;
	key_after_prefix(&to);
	it = store_iter_new(n->st, from.b, from.len, to.b, to.len);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		rc = -EUCLEAN;
		if (klen != from.len + 4 || vlen != 1 || *(const uint8_t *)val != ENDED_FORMAT)
			break;
		memcpy(&session, (const uint8_t *)key + from.len, 4);
		ended_add(n, be32toh(session));
	}
	store_iter_free(it);
	return rc;
}

/* ---- effects ---- */

struct sweep {
	struct own own;
	struct effect effect;
	struct wire_effect at;
	TAILQ_ENTRY(sweep) entry;
};

static void sweep_done(struct own *o, int rc)
{
	struct sweep *w = container_of(o, struct sweep, own);
	struct node *n = o->n;

	(void)rc; /* nobody waits for it */
	TAILQ_REMOVE(&n->sweeps, w, entry);
	effect_fini(&w->effect);
	free(w);
	if (n->stopping)
		node_check_stopped(n);
}

static struct sweep *sweep_new(void)
{
	struct sweep *w = mem_zalloc(sizeof(*w));

	effect_init(&w->effect);
	return w;
}

/* 0 or what the store says: then nothing has changed, and the next round tries again. */
static int sweep_apply(struct node *n, struct sweep *w)
{
	int rc;

	w->own.done = sweep_done;
	w->own.effect = &w->effect;
	w->own.at = &w->at;
	rc = own_apply(n, &w->own, STORE_RESERVE);
	if (rc) {
		effect_fini(&w->effect);
		free(w);
		return rc;
	}
	TAILQ_INSERT_TAIL(&n->sweeps, w, entry);
	return 0;
}

void sweeps_free(struct node *n)
{
	struct ended *e, *tmp;
	struct sweep *w;

	while ((w = TAILQ_FIRST(&n->sweeps))) {
		TAILQ_REMOVE(&n->sweeps, w, entry);
		effect_fini(&w->effect);
		free(w);
	}
	HASH_ITER (hh, n->ended, e, tmp) {
		HASH_DEL(n->ended, e);
		free(e);
	}
}

/* ---- asking ---- */

static void end_session(struct node *n, uint32_t session)
{
	const uint8_t val = ENDED_FORMAT;
	uint32_t be = htobe32(session);
	struct sweep *w;
	struct key key;

	if (session_ended(n, session) || n->stopping)
		return;
	w = sweep_new();
	effect_section(&w->effect, 0, 0, 0);
	ended_key(&key);
	memcpy(key.b + key.len, &be, 4);
	key.len += 4;
	effect_put(&w->effect, key.b, key.len, &val, sizeof(val));
	if (sweep_apply(n, w))
		return;
	ended_add(n, session);
	log_info("mod=node session=%u msg=\"session has ended, its records go\"", session);
	env_timer_set(n->env, &n->sweep_timer, env_now(n->env) + SWEEP_STEP);
}

static void checked(struct keep_session *k, const struct wire_session *m)
{
	if (m->status == WIRE_NO_SESSION && !k->n->stopping && !grants_fence(k->n, k->m.session))
		end_session(k->n, k->m.session);
	free(k);
}

static void ask(struct node *n, uint32_t session)
{
	struct keep_session *k = mem_zalloc(sizeof(*k));

	k->m.what = WIRE_SESSION_CHECK;
	k->m.session = session;
	k->done = checked;
	keep_session(n, k);
}

static void ask_once(struct node *n, uint32_t session, void *arg)
{
	struct ended **asked = arg, *e;

	HASH_FIND(hh, *asked, &session, sizeof(session), e);
	if (e || session_ended(n, session))
		return;
	e = mem_zalloc(sizeof(*e));
	e->session = session;
	HASH_ADD(hh, *asked, session, sizeof(e->session), e);
}

static void ask_all(struct node *n)
{
	struct ended *asked = NULL, *e, *etmp;
	struct sess *s, *tmp;

	HASH_ITER (hh, n->sessions, s, tmp)
		ask_once(n, s->key.session, &asked);
	leasers_each_session(n, ask_once, &asked);
	HASH_ITER (hh, asked, e, etmp) {
		HASH_DEL(asked, e);
		ask(n, e->session);
		free(e);
	}
}

/* ---- dropping ---- */

/* Deletes what the log has of it, or a part of that: 0, or why not now. */
static int drop_one(struct node *n, struct sess *s)
{
	struct shard *shard = node_shard(n, s->key.shard);
	struct sweep *w;
	bool all;
	int rc;

	if (s->refs || shard->gate)
		return -EBUSY;
	w = sweep_new();
	w->at.shard = shard->number;
	shard_next(n, shard, &w->at.term, &w->at.seq);
	effect_section(&w->effect, w->at.shard, w->at.term, w->at.seq);
	w->own.nat = 1;
	all = sess_erase(s, &w->effect);
	rc = sweep_apply(n, w);
	if (rc)
		return rc;
	if (all)
		sess_drop(n, s);
	else
		sess_erased(s);
	return 0;
}

/* Looks at some more of those that there are; true when there is more that can go soon. */
static bool drop_some(struct node *n)
{
	unsigned left = SWEEP_AT_ONCE;
	struct sess *s;

	if (!n->sweep_at) {
		n->sweep_at = n->sessions;
		n->sweep_any = false;
	}
	for (unsigned i = 0; i < SWEEP_LOOK && left && (s = n->sweep_at); i++) {
		n->sweep_at = s->hh.next;
		if (!session_ended(n, s->key.session) ||
			node_shard(n, s->key.shard)->role != ROLE_SERVING)
			continue;
		left--;
		n->sweep_any |= drop_one(n, s) == 0;
	}
	return n->sweep_at || n->sweep_any;
}

void sweep_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, sweep_timer);
	uint64_t now = env_now(n->env);
	bool more = false;

	if (n->stopping)
		return;
	if (n->ring && (n->ended || n->ring->nfenced))
		more = drop_some(n) | grants_sweep(n, SWEEP_AT_ONCE);
	if (n->ring && n->ring->keeper != RING_NONE && now >= n->sweep_ask_at) {
		n->sweep_ask_at = now + SWEEP_EVERY;
		ask_all(n);
	}
	if (!n->sweep_timer.armed)
		env_timer_set(n->env, &n->sweep_timer, now + (more ? SWEEP_STEP : SWEEP_EVERY));
}

void sweep_begin(struct node *n)
{
	n->sweep_ask_at = env_now(n->env) + SWEEP_EVERY;
	n->sweep_timer.fire = sweep_fire;
	env_timer_set(n->env, &n->sweep_timer, n->sweep_ask_at);
}
