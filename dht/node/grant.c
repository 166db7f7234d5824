/*
 * Leases of sessions: what a transaction meets, what it wishes for, and what it gets.
 *
 *   run -> meets leases of others           RECALL; waits, runs again
 *       -> evaluated: follows what another
 *          session has exclusively          the same
 *       -> its wishes that can be granted   pending, until somebody wants the object
 *       -> its answer leaves                GRANT before it: those that still are
 *
 * A shard without leases costs a transaction without wishes one look at a pointer.
 */
#include "dht/node/grant.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/key.h"
#include "dht/txn/object.h"

#define NUMBER_BITS 40 /* of a lease's number that count within a term */

/* ---- the table ---- */

struct grants *grants_of(struct shard *s)
{
	if (!s->grants) {
		s->grants = mem_zalloc(sizeof(*s->grants));
		TAILQ_INIT(&s->grants->leasers);
	}
	return s->grants;
}

struct leased *leased_find(const struct shard *s, const struct orbit_id *id)
{
	struct leased *o = NULL;

	if (s->grants)
		HASH_FIND(hh, s->grants->objects, id, sizeof(*id), o);
	return o;
}

static struct leased *leased_get(struct shard *s, const struct orbit_id *id)
{
	struct grants *g = grants_of(s);
	struct leased *o = leased_find(s, id);

	if (!o) {
		o = mem_zalloc(sizeof(*o));
		o->id = *id;
		o->shard = s;
		TAILQ_INIT(&o->holders);
		TAILQ_INIT(&o->pending);
		HASH_ADD(hh, g->objects, id, sizeof(o->id), o);
	}
	return o;
}

static void leased_settle(struct leased *o)
{
	if (!TAILQ_EMPTY(&o->holders) || !TAILQ_EMPTY(&o->pending))
		return;
	HASH_DEL(o->shard->grants->objects, o);
	free(o);
}

static struct holder *holder_of(const struct leased *o, uint32_t session)
{
	struct holder *h;

	TAILQ_FOREACH (h, &o->holders, of_object)
		if (h->by->key.session == session)
			return h;
	return NULL;
}

struct holder *holder_get(struct node *n, struct leaser *l, const struct orbit_id *id)
{
	struct leased *o = leased_get(l->shard, id);
	struct holder *h = holder_of(o, l->key.session);

	if (h)
		return h;
	h = mem_zalloc(sizeof(*h));
	h->o = o;
	h->by = l;
	h->keep = GRANT_NOT_ASKED;
	TAILQ_INSERT_TAIL(&o->holders, h, of_object);
	TAILQ_INSERT_TAIL(&l->holders, h, of_leaser);
	TAILQ_INSERT_TAIL(&n->granted, h, line);
	n->nleases++;
	return h;
}

void holder_free(struct node *n, struct holder *h)
{
	struct leased *o = h->o;

	recall_over(n, h);
	TAILQ_REMOVE(&o->holders, h, of_object);
	TAILQ_REMOVE(&h->by->holders, h, of_leaser);
	TAILQ_REMOVE(&n->granted, h, line);
	n->nleases--;
	free(h);
	shard_wake_soon(n, o->shard);
	leased_settle(o);
}

void holder_lower(struct node *n, struct holder *h, uint8_t mode)
{
	if (h->keep != GRANT_NOT_ASKED && mode <= h->keep)
		recall_over(n, h);
	if (mode >= h->mode)
		return;
	h->mode = mode;
	if (mode == WIRE_LEASE_NONE)
		holder_free(n, h);
	else
		shard_wake_soon(n, h->o->shard);
}

void pending_free(struct node *n, struct pending *p)
{
	struct leased *o = p->o;

	TAILQ_REMOVE(&o->pending, p, of_object);
	TAILQ_REMOVE(&p->x->pending, p, of_exec);
	/* not in vain: its own request would run again and again, if it waits, too */
	if (p->met)
		shard_wake_soon(n, o->shard);
	free(p);
	leased_settle(o);
}

/* ---- what is in the way ---- */

/* What an operation needs others not to hold. */
enum need { NEED_NOTHING, NEED_SEEN /* exclusive */, NEED_ALONE /* anything */ };

static enum need need_of(const struct txn_op *op)
{
	if (op->kind == TXN_HOLD || op->kind == TXN_UNHOLD)
		return NEED_NOTHING;
	if (op->kind == TXN_LEASE)
		return op->slot == TXN_LEASE_EXCLUSIVE && !op->a ? NEED_ALONE : NEED_NOTHING;
	return txn_is_write(op->kind) ? NEED_ALONE : NEED_SEEN;
}

static bool meets(uint8_t mode, enum need need)
{
	return need == NEED_ALONE || (need == NEED_SEEN && mode == WIRE_LEASE_EXCLUSIVE);
}

/* May sessions that have not said so hold what is in the way? Nobody does whose lease our own
 * excludes: so what was kept back under it can be sent. */
static bool unknown_in_way(struct node *n, const struct shard *s, const struct leased *o,
	uint32_t session, enum need need)
{
	const struct grants *g = s->grants;
	unsigned count = g->unknown[WIRE_LEASE_EXCLUSIVE];
	const struct leaser *own;
	const struct holder *h;

	if (need == NEED_ALONE)
		count += g->unknown[WIRE_LEASE_SHARED];
	if (!count || need == NEED_NOTHING)
		return false;
	h = o ? holder_of(o, session) : NULL;
	if (h && (need == NEED_SEEN || h->mode == WIRE_LEASE_EXCLUSIVE))
		return false;
	own = leaser_find(n, session, s->number);
	return count > (own && own->unknown && meets(own->recorded, need) ? 1u : 0u);
}

/* Is a lease in the way that was waited for, and is about to be told? */
static bool firm_in_way(const struct leased *o, uint32_t session, enum need need)
{
	struct pending *p;
	bool met = false;

	TAILQ_FOREACH (p, &o->pending, of_object) {
		if (!p->firm || p->x->m.session == session || !meets(p->mode, need))
			continue;
		p->met = true;
		met = true;
	}
	return met;
}

/* Those that nobody waited for. @all: because somebody waits for the object. The object may go
 * along. */
static void drop_pending(
	struct node *n, struct leased *o, uint32_t session, enum need need, bool all)
{
	struct pending *p, *next;

	for (p = TAILQ_FIRST(&o->pending); p; p = next) {
		next = TAILQ_NEXT(p, of_object);
		if (!p->firm && (all || (p->x->m.session != session && meets(p->mode, need))))
			pending_free(n, p);
	}
}

/* Has others give back what is in the way; false: nothing is. */
static bool clear_way(struct node *n, struct leased *o, uint32_t session, enum need need)
{
	struct holder *h;
	bool wait = false;

	/* its session answers what is recalled of a lease it knows */
	if (firm_in_way(o, session, need))
		return true;
	TAILQ_FOREACH (h, &o->holders, of_object) {
		if (h->by->key.session == session || !meets(h->mode, need))
			continue;
		recall(n, h, need == NEED_ALONE ? WIRE_LEASE_NONE : WIRE_LEASE_SHARED);
		wait = true;
	}
	drop_pending(n, o, session, need, wait);
	return wait;
}

/* Is it to be waited for, though nothing of others is in the way? */
static bool firm_waits(const struct shard *s, const struct leased *o, const struct orbit_id *id)
{
	return (o && o->asked) || s->gate || lock_conflict_write(&s->locks, id);
}

struct shard *grants_meet(struct exec *x)
{
	uint8_t need[TXN_OBJECTS_MAX] = {0}, firm[TXN_OBJECTS_MAX] = {0};
	struct txn_iter it = txn_iter_of(&x->v);
	struct shard *wait = NULL;
	struct node *n = x->r.n;
	struct txn_op op;
	bool any = false;

	for (unsigned i = 0; i < x->nparts; i++)
		any |= x->parts[i].shard->grants != NULL;
	if (!any && !x->v.leases)
		return NULL;
	while (txn_next(&it, &op)) {
		enum need its = need_of(&op);

		need[op.object] = its > need[op.object] ? (uint8_t)its : need[op.object];
		firm[op.object] |= op.kind == TXN_LEASE && its == NEED_ALONE;
	}
	for (unsigned i = 0; i < x->v.nobjects; i++) {
		const struct orbit_id *id = &x->v.object[i];
		struct shard *s = node_shard(n, ring_shard_of(n->ring, id));
		struct leased *o = leased_find(s, id);

		if (s->grants && unknown_in_way(n, s, o, x->m.session, need[i]))
			wait = s;
		if (firm[i] && firm_waits(s, o, id))
			wait = s;
		if (o && need[i] && clear_way(n, o, x->m.session, need[i]))
			wait = s;
	}
	return wait;
}

static bool free_to_see(void *arg, const struct orbit_id *id, uint64_t version)
{
	struct exec *x = arg;
	struct leased *o;

	(void)version;
	x->blocked = node_shard(x->r.n, ring_shard_of(x->r.n->ring, id));
	o = leased_find(x->blocked, id);
	/* that the object which leads here is ours to see says nothing of this one */
	if (x->blocked->grants && unknown_in_way(x->r.n, x->blocked, o, x->m.session, NEED_SEEN))
		return false;
	return !o || !clear_way(x->r.n, o, x->m.session, NEED_SEEN);
}

struct shard *grants_meet_followed(struct exec *x)
{
	bool any = false;

	for (unsigned i = 0; i < x->nparts; i++) {
		const struct shard *s = x->parts[i].shard;

		any |= s->grants &&
		       (s->grants->objects || s->grants->unknown[WIRE_LEASE_EXCLUSIVE]);
	}
	return any && !followed_each(x, free_to_see, x) ? x->blocked : NULL;
}

/* ---- wishes ---- */

/* The object's version now; false: it can not be told. */
static bool version_now(struct node *n, const struct leased *o, uint64_t *version)
{
	struct txn_object obj;
	struct key k;
	int rc;

	key_id(&k, KEY_HEADER, o->shard->number, &o->id);
	buf_reset(&n->tmp);
	rc = store_get(n->st, k.b, k.len, &n->tmp);
	*version = 0;
	if (rc == -ENOENT)
		return true;
	if (rc || n->tmp.err || object_decode(n->tmp.data, n->tmp.len, &obj))
		return false;
	*version = obj.version;
	return true;
}

/* Can the session have a lease of that mode now? */
static bool grantable(
	struct node *n, struct shard *s, const struct orbit_id *id, uint32_t session, uint8_t mode)
{
	enum need need = mode == WIRE_LEASE_EXCLUSIVE ? NEED_ALONE : NEED_SEEN;
	const struct leased *o = leased_find(s, id);
	const struct leaser *l;
	const struct pending *p;
	const struct holder *h;

	/* somebody has waited for a return, and runs again when this round is over: whoever got
	 * the next lease before him could keep him waiting for ever */
	if (s->wake)
		return false;
	/* whoever gets it exclusively changes it unheard: not what a vote has read, either */
	if (mode == WIRE_LEASE_EXCLUSIVE ? lock_conflict_write(&s->locks, id)
					 : lock_conflict_read(&s->locks, id))
		return false;
	/* what reads bytes before it writes has met the leases that there were */
	if (s->gate)
		return false;
	if (!s->grants)
		return true;
	l = leaser_find(n, session, s->number);
	if ((l && l->unknown) || unknown_in_way(n, s, NULL, session, need))
		return false;
	if (!o)
		return true;
	if (o->asked)
		return false;
	TAILQ_FOREACH (h, &o->holders, of_object)
		if (h->by->key.session != session && meets(h->mode, need))
			return false;
	TAILQ_FOREACH (p, &o->pending, of_object)
		if (p->x->m.session != session && meets(p->mode, need))
			return false;
	return true;
}

static void wish(
	struct exec *x, const struct orbit_id *id, uint8_t mode, bool firm, uint64_t *version)
{
	struct node *n = x->r.n;
	struct shard *s = node_shard(n, ring_shard_of(n->ring, id));
	struct pending *p;
	struct leased *o;

	if (!grantable(n, s, id, x->m.session, mode))
		return;
	o = leased_get(s, id);
	TAILQ_FOREACH (p, &o->pending, of_object)
		if (p->x == x)
			break;
	if (!p) {
		p = mem_zalloc(sizeof(*p));
		p->o = o;
		p->x = x;
		TAILQ_INSERT_TAIL(&o->pending, p, of_object);
		TAILQ_INSERT_TAIL(&x->pending, p, of_exec);
		x->npending++;
	}
	p->mode = mode > p->mode ? mode : p->mode;
	p->firm |= firm;
	if (version)
		p->version = *version;
	else if (!version_now(n, o, &p->version))
		pending_free(n, p);
}

static bool wish_followed(void *arg, const struct orbit_id *id, uint64_t version)
{
	struct exec *x = arg;

	if (x->npending < WIRE_LEASES_MAX)
		wish(x, id, WIRE_LEASE_SHARED, false, &version);
	return true;
}

/* Does it come from its session's own link? */
static bool may_wish(const struct exec *x)
{
	const struct conn *c = x->r.conn;

	return c && x->r.id && x->m.session && c->role != WIRE_ROLE_NODE &&
	       c->session == x->m.session && !(x->m.flags & WIRE_TXN_FORWARDED);
}

void grants_wish(struct exec *x)
{
	struct txn_iter it = txn_iter_of(&x->v);
	struct txn_op op;

	if ((!x->v.leases && !(x->m.flags & WIRE_TXN_LEASE_FOLLOWED)) || !may_wish(x))
		return;
	x->npending = 0;
	while (x->v.leases && txn_next(&it, &op)) {
		if (op.kind == TXN_LEASE)
			wish(x, &x->v.object[op.object], op.slot,
				op.slot == TXN_LEASE_EXCLUSIVE && !op.a, NULL);
	}
	if (x->m.flags & WIRE_TXN_LEASE_FOLLOWED)
		followed_each(x, wish_followed, x);
}

void grants_drop(struct exec *x)
{
	while (!TAILQ_EMPTY(&x->pending))
		pending_free(x->r.n, TAILQ_FIRST(&x->pending));
}

/* ---- grants ---- */

/* More than there may be: those that were granted longest ago are to be given back. (Before the
 * next are granted, so that nothing comes between a GRANT and its REPLY.) */
static void limit(struct node *n)
{
	struct holder *h;

	while (n->nleases - n->nrecalled > n->cfg.leases_max &&
		(h = TAILQ_FIRST(&n->granted)) != NULL)
		recall(n, h, WIRE_LEASE_NONE);
}

void grants_record(struct exec *x)
{
	struct node *n = x->r.n;
	struct pending *p, *next;

	if (TAILQ_EMPTY(&x->pending))
		return;
	for (p = TAILQ_FIRST(&x->pending); p; p = next) {
		struct leaser *l = leaser_get(n, x->m.session, p->o->shard);

		next = TAILQ_NEXT(p, of_exec);
		if (leaser_record(n, l, p->mode, &x->r) ||
			(x->v.writes && !version_now(n, p->o, &p->version)))
			pending_free(n, p);
	}
	limit(n);
	/* the answer waits for what the log now knows of the session */
	req_look(&x->r);
}

static void grant(struct node *n, struct pending *p, struct buf *b)
{
	struct shard *s = p->o->shard;
	struct leaser *l = leaser_get(n, p->x->m.session, s);
	struct holder *h = holder_get(n, l, &p->o->id);
	struct wire_lease_one one = {.shard = s->number, .id = p->o->id, .version = p->version};

	h->mode = p->mode > h->mode ? p->mode : h->mode;
	h->number = s->term << NUMBER_BITS | ++s->grants_made;
	TAILQ_REMOVE(&n->granted, h, line);
	TAILQ_INSERT_TAIL(&n->granted, h, line);
	one.mode = h->mode;
	one.number = h->number;
	wire_put_lease_one(b, &one);
	n->stats.granted++;
}

/* The answer does what it should. */
static bool tells(const struct exec *x, const struct frame *f)
{
	struct wire_reply m;

	return may_wish(x) && !x->r.conn->doomed && !x->r.lost && !x->r.n->stopping &&
	       !session_ended(x->r.n, x->m.session) && !wire_get_reply(frame_cur(f), &m) &&
	       m.status == WIRE_OK;
}

void grants_tell(struct req *r, const struct frame *reply)
{
	struct exec *x = container_of(r, struct exec, r);
	struct wire_leases m = {.request = r->id, .session = x->m.session};
	struct node *n = r->n;
	struct pending *p, *next;
	struct frame *f;
	size_t at;

	if (TAILQ_EMPTY(&x->pending))
		return;
	if (!tells(x, reply)) {
		grants_drop(x);
		return;
	}
	m.epoch = n->ring->epoch;
	f = frame_new(WIRE_GRANT, 0, 64 + 51 * (size_t)x->npending);
	wire_put_leases_head(&f->b, &m);
	at = f->b.len - 4;
	for (p = TAILQ_FIRST(&x->pending); p; p = next) {
		next = TAILQ_NEXT(p, of_exec);
		if (p->o->shard->role == ROLE_SERVING && !p->o->asked && m.n < WIRE_LEASES_MAX) {
			grant(n, p, &f->b);
			m.n++;
		}
		pending_free(n, p);
	}
	buf_set_u32(&f->b, at, m.n);
	if (m.n)
		link_send(r->conn->link, f);
	else
		frame_unref(f);
}

/* ---- the end ---- */

static void grants_forget(struct node *n, struct shard *s)
{
	struct grants *g = s->grants;
	struct leased *o, *tmp;

	if (!g)
		return;
	while (!TAILQ_EMPTY(&g->leasers))
		leaser_free(n, TAILQ_FIRST(&g->leasers));
	HASH_ITER (hh, g->objects, o, tmp) {
		/* nothing but what is pending: its last one takes it along */
		struct pending *p, *next;

		for (p = TAILQ_FIRST(&o->pending); p; p = next) {
			next = TAILQ_NEXT(p, of_object);
			pending_free(n, p);
		}
	}
	free(g);
	s->grants = NULL;
}

void grants_lose(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		if (node_shard(n, i)->losing)
			grants_forget(n, node_shard(n, i));
	}
}

void grants_free(struct node *n)
{
	struct lessee *s, *tmp;

	for (unsigned i = 0; i < n->nshards; i++)
		grants_forget(n, node_shard(n, i));
	HASH_ITER (hh, n->lessees, s, tmp)
		lessee_free(n, s);
	env_timer_clear(n->env, &n->recall_timer);
}
