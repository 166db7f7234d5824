/*
 * Who executes a request. A transaction whose shards all lie with one other node is forwarded to
 * it, one hop; so is what a client, which does not reach that node, gives us to CARRY. Everything
 * else that is not ours is answered WRONG_NODE. What is malformed goes no further than here.
 */
#include "dht/node/impl.h"
#include "dht/node/keep.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define FETCH_TIMEOUT (2 * ENV_SEC)

static void answer(struct conn *c, struct frame *f, uint16_t status)
{
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}

/* ---- the map ---- */

/* Each of somebody who has a newer map than those asked before, who may be dead. */
#define FETCHES_MAX 8

struct fetch {
	struct call call;
	struct node *n;
	uint64_t epoch;
};

/* Somebody else has one that is newer than what came. */
static void fetch_again(struct node *n)
{
	uint64_t epoch = n->told_epoch;

	if (!n->ring || !epoch)
		return;
	n->told_epoch = 0;
	route_epoch(n, ring_find(n->ring, &n->told_by), epoch);
}

static void fetched(struct call *call, int rc, struct frame *answer_frame)
{
	struct fetch *fe = container_of(call, struct fetch, call);
	struct node *n = fe->n;
	struct wire_map m;

	n->fetches--;
	if (fe->epoch == n->fetch_epoch)
		n->fetch_epoch = 0;
	free(fe);
	if (n->stopping)
		return;
	if (rc) {
		fetch_again(n);
		return;
	}
	rc = -EBADMSG;
	if (answer_frame->type == WIRE_MAP && !wire_get_map(frame_cur(answer_frame), &m))
		rc = keep_take(n, &m);
	n->fetch_whole = rc == -EBADMSG;
	if (rc && rc != -EEXIST)
		log_warn("mod=node rc=-%s msg=\"a node gave a ring map that is of no use here\"",
			log_errno(rc));
	fetch_again(n);
}

void route_epoch(struct node *n, uint16_t node, uint64_t epoch)
{
	struct fetch *fe;
	struct frame *f;

	if (node == RING_NONE || node == n->self || epoch <= n->ring->epoch || n->stopping)
		return;
	if (n->fetches == FETCHES_MAX || epoch <= n->fetch_epoch) {
		/* if those who were asked are dead */
		if (epoch >= n->told_epoch &&
			orbit_id_cmp(&n->ring->nodes[node].id, &n->fetch_from)) {
			n->told_epoch = epoch;
			n->told_by = n->ring->nodes[node].id;
		}
		return;
	}
	n->fetches++;
	n->fetch_epoch = epoch;
	n->fetch_from = n->ring->nodes[node].id;
	fe = mem_zalloc(sizeof(*fe));
	fe->n = n;
	fe->epoch = epoch;
	fe->call.done = fetched;
	f = frame_new(WIRE_MAP_GET, 0, 8);
	wire_put_map_get(&f->b, n->fetch_whole ? 0 : n->ring->epoch);
	peer_call_within(n, node, f, &fe->call, FETCH_TIMEOUT);
}

/* ---- forwarding ---- */

struct forward {
	struct req r;
	struct call call;
	uint16_t node;
	uint16_t answer; /* type */
};

static void forward_release(struct req *r)
{
	free(container_of(r, struct forward, r));
}

static void forward_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static const struct req_ops forward_ops = {.run = forward_run, .release = forward_release};

static void forwarded(struct call *call, int rc, struct frame *answer_frame)
{
	struct forward *w = container_of(call, struct forward, call);
	struct node *n = w->r.n;
	uint16_t node = w->node;
	struct wire_reply m = {0};
	struct frame *f;

	w->r.pinned--;
	if (rc == -ETIMEDOUT || rc == -ESHUTDOWN) {
		req_end(&w->r);
		return;
	}
	if (rc == -ESTALE) {
		/* the client sends it again, if it still wants it */
		req_status(&w->r, WIRE_WRONG_NODE);
		return;
	}
	if (rc || answer_frame->type != w->answer ||
		(w->answer == WIRE_REPLY && wire_get_reply(frame_cur(answer_frame), &m))) {
		req_status(&w->r, WIRE_UNREACHABLE);
		return;
	}
	/* a frame that came over a link is not ours to change */
	f = frame_new(w->answer, 0, frame_body_len(answer_frame));
	buf_bytes(&f->b, frame_body(answer_frame), frame_body_len(answer_frame));
	req_answer(&w->r, f);
	if (n->ring && m.epoch)
		route_epoch(n, node, m.epoch);
}

/* Hands @copy to that node; what it answers is the answer to @f. */
static void forward(struct conn *c, struct frame *f, struct frame *copy, uint16_t node)
{
	struct forward *w = mem_zalloc(sizeof(*w));

	req_init(&w->r, c->n, c, f, &forward_ops);
	w->node = node;
	w->answer = copy->type == WIRE_STATUS ? WIRE_STATS : WIRE_REPLY;
	w->r.pinned++;
	w->call.done = forwarded;
	c->n->stats.forwarded++;
	peer_call(c->n, node, copy, &w->call);
}

static void forward_txn(struct conn *c, struct frame *f, const struct wire_txn *m, uint16_t node)
{
	struct frame *copy = frame_new(WIRE_TXN, 0, frame_body_len(f));
	struct wire_txn head = *m;

	head.flags |= WIRE_TXN_FORWARDED;
	wire_put_txn_head(&copy->b, &head);
	buf_bytes(&copy->b, m->body, m->body_len);
	forward(c, f, copy, node);
}

struct frame *route_carry(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_carry m;
	struct frame *inner;
	uint16_t node;

	if (wire_get_carry(frame_cur(f), &m)) {
		answer(c, f, WIRE_BAD_REQUEST);
		return NULL;
	}
	node = n->ring ? ring_find(n->ring, &m.node) : RING_NONE;
	if (node == RING_NONE) {
		answer(c, f, WIRE_WRONG_NODE);
		return NULL;
	}
	inner = frame_new(m.type, f->id, m.body_len);
	buf_bytes(&inner->b, m.body, m.body_len);
	if (node == n->self)
		return inner;
	if (m.type == WIRE_FORGET)
		peer_tell(n, node, inner);
	else
		forward(c, f, inner, node);
	return NULL;
}

/* The node that is primary of all shards of the transaction, or RING_NONE. */
static uint16_t primary_of(const struct node *n, const struct txn_view *v)
{
	uint16_t node = RING_NONE;

	for (unsigned i = 0; i < v->nobjects; i++) {
		uint16_t p = n->ring->shards[ring_shard_of(n->ring, &v->object[i])].primary;

		if (i > 0 && p != node)
			return RING_NONE;
		node = p;
	}
	return node;
}

/* ---- requests ---- */

void route_txn(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_txn m;
	struct txn_view v;
	uint16_t node;

	if (wire_get_txn(frame_cur(f), &m) || txn_check(m.body, m.body_len, &v) || !v.nobjects ||
		m.nparticipants || (v.writes && (!m.session || (m.flags & WIRE_TXN_READS))) ||
		(!v.writes && (m.flags & WIRE_TXN_REPLAY))) {
		answer(c, f, WIRE_BAD_REQUEST);
		return;
	}
	if (ahead_wait(c, f, m.epoch))
		return;
	if (!(m.flags & WIRE_TXN_FORWARDED))
		grants_link(c, m.session);
	if (!n->ring)
		node = RING_NONE;
	else if (m.flags & WIRE_TXN_REPLAY)
		node = n->ring->shards[exec_home(n, &v)].primary;
	else
		node = primary_of(n, &v);
	if (node == RING_NONE || (node != n->self && (m.flags & WIRE_TXN_FORWARDED)))
		answer(c, f, WIRE_WRONG_NODE);
	else if (node != n->self)
		forward_txn(c, f, &m, node);
	else if (session_ended(n, m.session))
		answer(c, f, WIRE_NO_SESSION);
	else if (m.flags & WIRE_TXN_REPLAY)
		replay_arrive(c, f, &m, &v, exec_home(n, &v));
	else if (v.copies && !req_find(n, REQ_TXN, m.session, m.number, exec_home(n, &v)))
		bring_arrive(c, f, &m, &v);
	else
		exec_arrive(c, f, &m, &v);
}

/* All objects lie in one shard, and that one takes part. */
static bool part_fits(const struct node *n, const struct wire_txn *m, const struct txn_view *v)
{
	uint16_t shard = ring_shard_of(n->ring, &v->object[0]);
	bool found = false;

	for (unsigned i = 1; i < v->nobjects; i++) {
		if (ring_shard_of(n->ring, &v->object[i]) != shard)
			return false;
	}
	for (unsigned i = 0; i < m->nparticipants; i++) {
		if (wire_participant(m, i) >= n->nshards)
			return false;
		found |= wire_participant(m, i) == shard;
	}
	return found;
}

void route_prepare(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_txn m;
	struct txn_view v;

	if (wire_get_txn(frame_cur(f), &m) || txn_check(m.body, m.body_len, &v) || !v.nobjects ||
		v.copies || !m.session || (m.flags & ~WIRE_TXN_READS))
		answer(c, f, WIRE_BAD_REQUEST);
	else if (ahead_wait(c, f, m.epoch))
		return;
	else if (!n->ring)
		answer(c, f, WIRE_WRONG_NODE);
	else if (!part_fits(n, &m, &v))
		answer(c, f, WIRE_BAD_REQUEST);
	else if (!shard_mine(n, ring_shard_of(n->ring, &v.object[0])))
		answer(c, f, WIRE_WRONG_NODE);
	else if (session_ended(n, m.session))
		answer(c, f, WIRE_NO_SESSION);
	else if (m.body_len > NODE_PART_MAX)
		answer(c, f, WIRE_TOO_BIG);
	else
		prepare_arrive(c, f, &m, &v);
}

void route_decide(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_decide m;

	if (wire_get_decide(frame_cur(f), &m) || !m.session)
		answer(c, f, WIRE_BAD_REQUEST);
	else if (!shard_mine(n, m.shard))
		answer(c, f, WIRE_WRONG_NODE);
	else if (f->type == WIRE_DECIDE)
		decide_arrive(c, f, &m);
	else if (f->type == WIRE_RESOLVE)
		resolve_arrive(c, f, &m);
	else
		forget_arrive(c, &m);
}
