/*
 * Which sessions may hold leases in a shard: the shard's own record, so that whoever leads it next
 * knows whom to ask.
 *
 *   KEY_LEASER, session   u8 format, u8 greatest mode
 *
 * Written before the first grant that is greater than what it says; gone when the session is over.
 *
 * Sessions of loaded records are unknown until HOLDING has said all, or they are over: meanwhile
 * what they may hold is in the way of others (grant.c).
 *
 * Records are not synced before the grant. Where all copies lost power some may be gone, and with
 * them what was acknowledged. Then there is a record of session 0 (LEASER_ANY): sessions that
 * nobody knows of may hold anything. It is unknown for as long as a session can last that does not
 * say what it holds, and trusts what it has (lease_hold.c of the client). What others say that they
 * hold is recalled meanwhile, as they may remember what is gone.
 */
#include "dht/node/grant.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define LEASER_FORMAT 1

/* ---- the table ---- */

struct leaser *leaser_find(struct node *n, uint32_t session, uint16_t shard)
{
	const struct leaser_key key = {.session = session, .shard = shard};
	struct leaser *l;

	HASH_FIND(hh, n->leasers, &key, sizeof(key), l);
	return l;
}

struct leaser *leaser_get(struct node *n, uint32_t session, struct shard *s)
{
	struct leaser *l = leaser_find(n, session, s->number);

	if (l)
		return l;
	l = mem_zalloc(sizeof(*l));
	l->key = (struct leaser_key){.session = session, .shard = s->number};
	l->shard = s;
	l->of = lessee_get(n, session);
	TAILQ_INIT(&l->holders);
	TAILQ_INSERT_TAIL(&l->of->leasers, l, of_lessee);
	TAILQ_INSERT_TAIL(&grants_of(s)->leasers, l, of_shard);
	HASH_ADD(hh, n->leasers, key, sizeof(l->key), l);
	return l;
}

void leaser_known(struct node *n, struct leaser *l)
{
	struct lessee *of = l->of;

	if (!l->unknown)
		return;
	l->unknown = false;
	l->shard->grants->unknown[l->recorded]--;
	if (!--of->unknown && TAILQ_EMPTY(&of->recalled))
		of->reported = 0;
	shard_wake_soon(n, l->shard);
}

void leaser_free(struct node *n, struct leaser *l)
{
	struct lessee *of = l->of;

	while (!TAILQ_EMPTY(&l->holders))
		holder_free(n, TAILQ_FIRST(&l->holders));
	leaser_known(n, l);
	TAILQ_REMOVE(&of->leasers, l, of_lessee);
	TAILQ_REMOVE(&l->shard->grants->leasers, l, of_shard);
	HASH_DEL(n->leasers, l);
	free(l);
	if (TAILQ_EMPTY(&of->leasers))
		lessee_free(n, of);
}

/* ---- the record ---- */

static void put_record(struct effect *e, const void *arg)
{
	const struct leaser *l = arg;
	const uint8_t val[2] = {LEASER_FORMAT, l->recorded};
	struct key k;

	key_leaser(&k, l->shard->number, l->key.session);
	if (l->recorded)
		effect_put(e, k.b, k.len, val, sizeof(val));
	else
		effect_del(e, k.b, k.len);
}

/* Has the log say @mode; @r: may have the shard's gate. */
static int note(struct node *n, struct leaser *l, uint8_t mode, const struct req *r)
{
	uint8_t was = l->recorded;
	int rc;

	if (l->shard->gate && l->shard->gate != r)
		return -EBUSY;
	l->recorded = mode;
	rc = note_apply(n, l->shard, put_record, l);
	if (rc)
		l->recorded = was;
	if (l->unknown) {
		l->shard->grants->unknown[was]--;
		l->shard->grants->unknown[l->recorded]++;
	}
	return rc;
}

int leaser_record(struct node *n, struct leaser *l, uint8_t mode, const struct req *r)
{
	if (mode <= l->recorded)
		return 0;
	return repl_blocks(n, l->shard) ? -EBUSY : note(n, l, mode, r);
}

int leaser_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen)
{
	const uint8_t *v = val, *at = key + KEY_HEAD;
	struct leaser *l;
	uint32_t session;

	if (klen != KEY_HEAD + 4 || vlen != 2 || v[0] != LEASER_FORMAT ||
		v[1] < WIRE_LEASE_SHARED || v[1] > WIRE_LEASE_EXCLUSIVE)
		return -EUCLEAN;
	session = (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
	l = leaser_get(n, session, node_shard(n, get_be16(key + 1)));
	if (l->recorded)
		return 0;
	l->recorded = v[1];
	if (session_ended(n, session))
		return 0;
	l->unknown = true;
	l->shard->grants->unknown[l->recorded]++;
	l->of->unknown++;
	return 0;
}

bool grants_sweep(struct node *n, unsigned most)
{
	struct lessee *s, *tmp;
	struct leaser *l, *next;

	HASH_ITER (hh, n->lessees, s, tmp) {
		if (!session_ended(n, s->session))
			continue;
		for (l = TAILQ_FIRST(&s->leasers); l; l = next) {
			/* the last one takes its lessee along */
			next = TAILQ_NEXT(l, of_lessee);
			if (!TAILQ_EMPTY(&l->holders) || l->shard->role != ROLE_SERVING)
				continue;
			if (l->recorded && note(n, l, 0, NULL))
				continue;
			leaser_free(n, l);
			if (!--most)
				return true;
		}
	}
	return false;
}

void leasers_each_session(
	struct node *n, void (*fn)(struct node *n, uint32_t session, void *arg), void *arg)
{
	struct lessee *s, *tmp;

	HASH_ITER (hh, n->lessees, s, tmp)
		if (s->session != LEASER_ANY)
			fn(n, s->session, arg);
}

/* ---- where records may be missing ---- */

/* Longer than what was renewed before the map that has us lead can be trusted. */
static uint64_t any_lasts(const struct node *n)
{
	uint64_t session = n->cfg.keeper.session_timeout;

	if (ring_embedded(n->ring))
		return 0; /* who trusted anything is gone: session.c of the keeper */
	return (session ? session : KEEPER_SESSION_TIMEOUT) + n->cfg.recall_timeout;
}

static void any_begins(struct node *n, struct shard *s)
{
	struct leaser *l = leaser_get(n, LEASER_ANY, s);

	if (l->unknown)
		return; /* it had begun already: from the beginning */
	l->recorded = WIRE_LEASE_EXCLUSIVE;
	l->unsaved = note(n, l, WIRE_LEASE_EXCLUSIVE, NULL) != 0;
	l->unknown = true;
	l->of->unknown++;
	s->grants->unknown[l->recorded]++;
	log_info("mod=node shard=%u ms=%llu msg=\"all copies lost power: whatever sessions may "
		 "remember is waited for\"",
		s->number, (unsigned long long)(any_lasts(n) / ENV_MS));
}

static bool any_lasting(struct node *n, const struct shard *s)
{
	const struct leaser *l = leaser_find(n, LEASER_ANY, s->number);

	return l && l->unknown;
}

bool leasers_any_tick(struct node *n, struct lessee *s)
{
	struct leaser *l, *next;
	bool any = false;

	for (l = TAILQ_FIRST(&s->leasers); l; l = next) {
		/* the last one takes its lessee along */
		next = TAILQ_NEXT(l, of_lessee);
		if (l->shard->role != ROLE_SERVING)
			continue;
		if (l->unsaved)
			l->unsaved = note(n, l, l->recorded, NULL) != 0;
		if (l->unknown && env_now(n->env) - l->since < any_lasts(n)) {
			any = true;
			continue;
		}
		leaser_known(n, l);
		if (note(n, l, 0, NULL))
			any = true;
		else
			leaser_free(n, l);
	}
	return any;
}

/* ---- CLAIM and HOLDING ---- */

void leaser_claim(struct node *n, struct leaser *l)
{
	struct wire_leases m = {.session = l->key.session, .shard = l->shard->number};
	struct frame *f;

	if (!l->unknown || !l->of->conn || l->shard->role != ROLE_SERVING || !n->ring)
		return;
	l->since = env_now(n->env);
	m.epoch = n->ring->epoch;
	m.term = l->shard->term;
	f = frame_new(WIRE_CLAIM, 0, 35);
	wire_put_leases_head(&f->b, &m);
	link_send(l->of->conn->link, f);
}

void grants_serve(struct node *n, struct shard *s)
{
	struct leaser *l;

	if (s->doubtful && any_lasts(n))
		any_begins(n, s);
	s->doubtful = false;
	if (!s->grants)
		return;
	TAILQ_FOREACH (l, &s->grants->leasers, of_shard) {
		if (session_ended(n, l->key.session))
			leaser_known(n, l);
		if (!l->unknown)
			continue;
		l->since = env_now(n->env);
		leaser_claim(n, l);
		recall_check(n, l->of);
		recall_watch(n);
	}
}

/* One that it says it has. */
static void held(
	struct node *n, struct leaser *l, const struct wire_lease_one *one, bool to_give_back)
{
	struct holder *h = holder_get(n, l, &one->id);

	/* what was granted since is newer than this message */
	if (h->number >= one->number && h->mode)
		return;
	h->mode = one->mode;
	h->number = one->number;
	if (to_give_back)
		recall(n, h, WIRE_LEASE_NONE);
}

static uint8_t most_of(struct wire_leases m)
{
	uint8_t most = WIRE_LEASE_NONE;

	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		most = one.mode > most ? one.mode : most;
	}
	return most;
}

static uint16_t holding(struct conn *c, struct wire_leases *m)
{
	struct node *n = c->n;
	uint8_t recorded, most;
	struct leaser *l;
	struct shard *s;
	bool doubt;

	if (!n->ring || m->shard >= n->nshards)
		return WIRE_WRONG_NODE;
	s = node_shard(n, m->shard);
	if (s->role != ROLE_SERVING && s->role != ROLE_TAKING_OVER)
		return m->epoch > n->ring->epoch ? WIRE_RETRY : WIRE_WRONG_NODE;
	if (m->term != s->term)
		return m->term > s->term ? WIRE_RETRY : WIRE_WRONG_NODE;
	if (s->role == ROLE_TAKING_OVER)
		return WIRE_RETRY;
	if (session_ended(n, m->session))
		return WIRE_NO_SESSION;
	l = leaser_find(n, m->session, m->shard);
	if (!l && !m->n)
		return WIRE_OK;
	if (!l)
		l = leaser_get(n, m->session, s);
	recorded = l->recorded;
	most = most_of(*m);
	if (leaser_record(n, l, most, NULL))
		return WIRE_RETRY;
	doubt = !l->unknown || any_lasting(n, s);
	for (uint32_t i = 0; i < m->n; i++) {
		struct wire_lease_one one = wire_lease_next(m);

		/* somebody may have been told meanwhile that nobody has it */
		if (one.mode && one.shard == m->shard &&
			ring_shard_of(n->ring, &one.id) == one.shard)
			held(n, l, &one, doubt || recorded < one.mode);
	}
	if (!m->more)
		leaser_known(n, l);
	return WIRE_OK;
}

void holding_arrive(struct conn *c, struct frame *f)
{
	uint16_t status = WIRE_BAD_REQUEST;
	struct wire_leases m;
	struct leaser *l;

	if (c->role != WIRE_ROLE_NODE && !wire_get_leases(frame_cur(f), &m)) {
		grants_link(c, m.session);
		/* in pieces, or of another term: it is at it */
		l = m.shard < c->n->nshards ? leaser_find(c->n, m.session, m.shard) : NULL;
		if (l)
			l->since = env_now(c->n->env);
		status = holding(c, &m);
	}
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}
