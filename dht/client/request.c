/*
 * A request is in one of these states:
 *
 *   state      frame  queued  home  sent  waits for
 *   begun      no     no      -     no    a map, a session (client.h, call_wait())
 *   parked     yes    no      -     no    the same, again
 *   homeless   yes    yes     NULL  no    a map that has somebody for it
 *   waiting    yes    yes     set   no    home's link, or the end of a back-off
 *   sent       yes    yes     set   yes   the answer; on home's link, or on via's
 *
 * Invariants: in the table from request_begin() to request_drop(); sent only while the link that
 * it was sent on is there; via is never home.
 */
#include "dht/client/client.h"

#include <assert.h>
#include <errno.h>

#define WRONG_NODE_MIN (5 * ENV_MS)
#define WRONG_NODE_MAX (500 * ENV_MS)
#define UNREACHABLE_MIN (20 * ENV_MS)
#define NO_KEEPER_MIN (100 * ENV_MS)
#define NO_KEEPER_MAX (200 * ENV_MS)

void request_begin(struct request *r, struct orbit_client *c, const struct request_ops *ops,
	uint64_t period, unsigned tries)
{
	r->c = c;
	r->ops = ops;
	r->frame = r->grant = NULL;
	r->home = r->via = r->vain = r->former = NULL;
	r->sent = r->queued = false;
	r->unanswered = r->wrong = 0;
	r->epoch = 0;
	entry_begin(&r->e, ++c->next_id, env_now(c->env), period, tries);
	table_add(&c->table, &r->e);
	client_arm(c);
}

static void unqueue(struct request *r)
{
	if (!r->queued)
		return;
	TAILQ_REMOVE(r->home ? &r->home->pending : &r->c->homeless, r, at);
	r->queued = false;
}

static void place(struct request *r, struct peer *home)
{
	if (r->sent)
		r->former = r->via ? r->via : r->home;
	unqueue(r);
	r->home = home;
	r->via = r->vain = NULL;
	r->sent = false;
	TAILQ_INSERT_TAIL(home ? &home->pending : &r->c->homeless, r, at);
	r->queued = true;
}

void request_go(struct request *r, enum request_to to, uint16_t shard, struct frame *f)
{
	assert(f->id == r->e.id || !r->ops->reply);
	r->to = to;
	r->shard = shard;
	r->epoch = r->c->map ? r->c->map->epoch : 0;
	if (r->frame != f)
		frame_unref(r->frame);
	r->frame = f;
	place(r, to == TO_PEER ? r->home : route_of(r->c, r));
	request_try(r);
}

void request_park(struct request *r)
{
	unqueue(r);
	/* nor does it have an answer any more that is on its way: it is to be asked anew */
	r->home = r->via = r->former = NULL;
	r->sent = false;
}

void request_drop(struct request *r)
{
	if (!r->e.listed)
		return;
	request_park(r);
	table_del(&r->c->table, &r->e);
	frame_unref(r->frame);
	frame_unref(r->grant);
	r->frame = r->grant = NULL;
}

/* The head says what the sender knew. */
static void rehead(struct request *r)
{
	struct wire_txn m;
	struct frame *f;
	int rc = wire_get_txn(frame_cur(r->frame), &m);

	assert(rc == 0);
	(void)rc;
	f = submit_rehead(r->c, r->frame, r->e.id, m.session, m.number, 0);
	frame_unref(r->frame);
	r->frame = f;
	r->epoch = r->c->map->epoch;
}

/* To be handed to its home by another node. */
static struct frame *carried(const struct request *r)
{
	size_t len = frame_body_len(r->frame);
	struct frame *f = frame_new(WIRE_CARRY, r->frame->id, ORBIT_ID_LEN + 2 + len);

	wire_put_carry_head(&f->b, &r->home->node, r->frame->type);
	buf_bytes(&f->b, frame_body(r->frame), len);
	return f;
}

static void transmit(struct request *r, struct peer *p)
{
	struct orbit_client *c = r->c;
	bool carry;

	if (r->ops->headed && r->epoch < c->map->epoch) {
		if (r->ops->moved && r->ops->moved(r))
			return;
		if (r->epoch < c->map->epoch)
			rehead(r);
	}
	carry = p != r->home && r->ops->pass == PASS_CARRY;
	if (peer_send(p, carry ? carried(r) : frame_ref(r->frame))) {
		r->e.reason = "peer unreachable";
		return;
	}
	if (r->sent && (r->via ? r->via : r->home) != p)
		r->former = r->via ? r->via : r->home;
	if (r->former == p)
		r->former = NULL;
	r->via = p == r->home ? NULL : p;
	r->sent = true;
	frame_unref(r->grant);
	r->grant = NULL;
	r->mark = p->bytes;
	r->e.touched = env_now(c->env);
	r->e.reason = "no answer";
	if (r->e.sendings++)
		c->n.resent++;
	c->n.sent++;
	r->unanswered++;
	if (r->ops->reply)
		peer_watch(p);
	else
		r->ops->answer(r, p, NULL);
}

/* Who is to have it now: its home, or a node that passes it on; NULL: nobody. */
static struct peer *way(const struct request *r)
{
	bool keeper = r->to == TO_KEEPER;
	struct peer *p = NULL;

	if (keeper && r->vain)
		p = route_around(r->c, r->vain, r->vain);
	if (!p && peer_usable(r->home))
		return r->home;
	if (!p && r->ops->pass != PASS_NOT && peer_around(r->home, keeper))
		p = route_around(r->c, r->home, r->vain);
	return p;
}

void request_try(struct request *r)
{
	struct peer *p;

	if (!r->queued || r->e.backoff)
		return;
	if (!r->home) {
		r->e.reason = r->c->map ? "nobody serves it" : "no ring map";
		follow_chase(r->c, true);
		return;
	}
	p = way(r);
	if (p != r->home)
		peer_want(r->home);
	if (p && p != r->home)
		peer_around_try(r->home);
	if (p) {
		transmit(r, p);
		return;
	}
	r->e.reason = "peer unreachable";
	follow_chase(r->c, false);
}

/* Is the frame still in this process, behind others on a slow link? */
static bool unsent(const struct request *r, const struct peer *p)
{
	return r->sent && (r->via ? r->via : r->home) == p && peer_left(p) < r->mark;
}

void request_stalled(struct request *r)
{
	struct peer *p = r->home;

	if (r->ops->stalled)
		r->ops->stalled(r);
	follow_stalled(r->c, p);
	if (!r->queued || !p)
		return;
	if (peer_usable(p)) {
		peer_ping(p);
		if (r->to == TO_KEEPER && r->sent) {
			r->vain = r->via ? r->via : p;
			p = way(r);
		}
	} else {
		peer_want(p);
		if (r->ops->pass != PASS_RAW && !peer_around(p, false))
			return; /* what may have been sent has to be undone */
		p = r->ops->pass != PASS_NOT ? route_around(r->c, p, r->via) : NULL;
		if (!p)
			return;
		peer_around_try(r->home);
	}
	if (unsent(r, p))
		r->e.reason = "link is slow";
	else
		transmit(r, p);
}

uint64_t request_jitter(struct orbit_client *c, uint64_t base, unsigned n, uint64_t cap)
{
	uint64_t d = n > 20 ? cap : base << n;

	if (d > cap)
		d = cap;
	return d / 2 + env_random_u64(c->env) % (d / 2 + 1);
}

void request_backoff(struct request *r, uint64_t delay, const char *reason)
{
	r->sent = false;
	r->e.reason = reason;
	tick_backoff(&r->c->table, &r->e, env_now(r->c->env) + delay);
	client_arm(r->c);
}

/* Under the map of today. */
static void again(struct request *r, struct peer *home)
{
	if (r->ops->moved && r->ops->moved(r))
		return;
	if (home != r->home)
		place(r, home);
	r->epoch = r->ops->headed ? r->epoch : r->c->map->epoch;
	r->wrong = 0;
	tick_free_send(&r->c->table, &r->e, env_now(r->c->env));
	request_try(r);
}

void request_wrong_node(struct request *r, struct peer *p)
{
	if (p == r->home && r->unanswered)
		r->unanswered--;
	if (r->to == TO_SHARD && r->epoch < r->c->map->epoch) {
		again(r, route_of(r->c, r));
		return;
	}
	if (p == r->via) {
		request_unreachable(r);
		return;
	}
	follow_ask(p);
	request_backoff(
		r, request_jitter(r->c, WRONG_NODE_MIN, r->wrong++, WRONG_NODE_MAX), "wrong node");
}

void request_unreachable(struct request *r)
{
	if (!r->via) {
		/* its home has another map than we, and does not reach whom that names */
		if (r->to == TO_SHARD && r->epoch < r->c->map->epoch)
			again(r, route_of(r->c, r));
		else
			request_backoff(r,
				request_jitter(r->c, UNREACHABLE_MIN, r->wrong++, WRONG_NODE_MAX),
				"its node is unreachable");
		return;
	}
	if (r->via && r->via == r->c->relay)
		r->c->relay = NULL;
	r->vain = r->via;
	r->wrong++;
	r->sent = false;
	r->e.reason = "its node is unreachable for others too";
	if (r->home)
		peer_around_done(r->home, false);
	follow_chase(r->c, false);
}

void request_no_keeper(struct request *r, struct peer *p)
{
	r->vain = p;
	request_backoff(r, request_jitter(r->c, NO_KEEPER_MIN, r->wrong++, NO_KEEPER_MAX),
		"no leader of the keeper is known");
}

void request_reroute(struct request *r)
{
	struct peer *home;

	if (!r->queued || r->to == TO_PEER)
		return;
	home = route_of(r->c, r);
	if (home != r->home || r->wrong)
		again(r, home);
}

static void around(struct request_list *l)
{
	struct request *r, *next;

	TAILQ_FOREACH_SAFE (r, l, at, next) {
		if (!r->sent && !r->e.backoff && r->ops->pass != PASS_NOT && way(r))
			request_try(r);
	}
}

void request_around(struct orbit_client *c)
{
	struct request *r, *next;
	struct peer *p;

	TAILQ_FOREACH (p, &c->peers, at)
		if (!peer_usable(p))
			around(&p->pending);
	TAILQ_FOREACH_SAFE (r, &c->homeless, at, next)
		if (r->to == TO_KEEPER)
			request_reroute(r);
}

unsigned request_flush(struct peer *p)
{
	struct request *r, *next;
	uint64_t now = env_now(p->c->env);
	unsigned n = 0;

	TAILQ_FOREACH_SAFE (r, &p->pending, at, next) {
		tick_free_send(&p->c->table, &r->e, now);
		transmit(r, p);
		n++;
	}
	return n;
}

void request_link_lost(struct peer *p)
{
	struct request *r;
	struct entry *e, *tmp;

	TAILQ_FOREACH (r, &p->pending, at) {
		if (r->via)
			continue;
		r->sent = false;
		r->e.reason = "peer unreachable";
	}
	HASH_ITER (hh, p->c->table.by_id, e, tmp) {
		r = container_of(e, struct request, e);
		if (r->via != p)
			continue;
		r->via = NULL;
		r->sent = false;
		request_try(r);
	}
}

/* An answer of who had it before it went another way. Done is done: the answer may have come back
 * on that way only, as a copy that is passed on can take it over. That something failed there
 * proves nothing about later copies; but maybe nobody else will answer: it is asked again, at once.
 */
static bool former_did_it(struct request *r, const struct frame *f)
{
	struct wire_reply m;

	if (f->type != r->ops->reply)
		return false;
	if (f->type != WIRE_REPLY)
		return true;
	if (wire_get_reply(frame_cur(f), &m))
		return false;
	r->former = NULL;
	if (m.status == WIRE_OK)
		return true;
	if (m.status != WIRE_WRONG_NODE && m.status != WIRE_UNREACHABLE)
		request_try(r);
	return false;
}

/* Does who should have passed it on say that it can't, with another type than is expected? */
static bool not_passed_on(const struct request *r, const struct frame *f)
{
	struct wire_reply m;

	return f->type == WIRE_REPLY && r->ops->reply != WIRE_REPLY &&
	       wire_get_reply(frame_cur(f), &m) == 0 &&
	       (m.status == WIRE_UNREACHABLE || m.status == WIRE_WRONG_NODE);
}

void request_answer(struct orbit_client *c, struct peer *p, struct frame *f)
{
	struct entry *e = table_find(&c->table, f->id);
	struct peer *home = NULL;
	struct request *r;

	if (!e)
		return; /* late, or a second one */
	r = container_of(e, struct request, e);
	if (!r->e.sendings)
		return;
	if (p != r->home && p != r->via && (p != r->former || !former_did_it(r, f)))
		return;
	if (p == r->via && not_passed_on(r, f)) {
		request_unreachable(r);
		return;
	}
	if (!(f->flags & FRAME_REPLY) || f->type != r->ops->reply) {
		peer_reject(p, -EPROTO, "an answer of another type than was asked for");
		return;
	}
	peer_good(p);
	if (p == r->via) {
		c->relay = p;
		home = r->home;
	}
	/* a grant is for what its own node says: this may be older */
	if (p != r->home) {
		frame_unref(r->grant);
		r->grant = NULL;
	}
	r->ops->answer(r, p, f);
	if (home && !home->around && c->relay == p)
		peer_around_done(home, true);
}
