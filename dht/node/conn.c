/*
 * Links that came in.
 *
 *   state      what is read                       how it ends
 *   greeting   HELLO; anything else is an error   open, or doomed; nothing for a while: doomed
 *   open       requests                           link down; a broken message, too much: doomed
 *   doomed     nothing                            closed when the ERROR is out, or after a while
 *
 * Requests go on when their link is gone; only their answers are dropped.
 */
#include "dht/node/impl.h"
#include "dht/node/keep.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define GREET_MAX (10 * ENV_SEC)
#define DOOMED_POLL (10 * ENV_MS)
#define DOOMED_MAX ENV_SEC
#define HELD_LINKS 4 /* links that may be at their limit at once */

void put_hello(const struct node *n, struct buf *b)
{
	struct wire_hello h = {.version = WIRE_VERSION,
		.version_min = WIRE_VERSION_MIN,
		.role = WIRE_ROLE_NODE,
		.node = n->id,
		.incarnation = n->incarnation,
		.epoch = n->ring ? n->ring->epoch : 0};

	memcpy(h.fsid, n->fsid, sizeof(h.fsid));
	wire_put_hello(b, &h);
}

const char *hello_refuse(const struct node *n, const struct wire_hello *h, uint16_t *status)
{
	static const uint8_t any[16];

	*status = WIRE_VERSION_BAD;
	if (h->version_min > WIRE_VERSION || h->version < WIRE_VERSION_MIN)
		return "no version of the protocol that both understand";
	if (h->features)
		return "asks for features that are not known here";
	*status = WIRE_WRONG_FS;
	if (memcmp(h->fsid, any, sizeof(any)) && memcmp(h->fsid, n->fsid, sizeof(any)))
		return "another filesystem";
	return NULL;
}

void conn_send(struct conn *c, struct frame *f, uint64_t id)
{
	int rc;

	if (c->doomed) {
		frame_unref(f);
		return;
	}
	f->id = id;
	f->flags |= FRAME_REPLY;
	rc = link_send(c->link, f);
	if (rc && rc != -ENOTCONN)
		log_error("mod=node peer=%s rc=-%s msg=\"cannot send an answer\"", c->link->peer,
			log_errno(rc));
}

void conn_close(struct conn *c)
{
	struct req *r;

	while ((r = TAILQ_FIRST(&c->reqs)))
		req_detach(r);
	repl_conn_close(c);
	watch_end(c);
	grants_unlink(c);
	env_timer_clear(c->n->env, &c->closing);
	TAILQ_REMOVE(&c->n->conns, c, entry);
	c->n->stats.links--;
	link_close(c->link);
	free(c);
}

static void closing_fire(struct env_timer *t)
{
	struct conn *c = container_of(t, struct conn, closing);
	uint64_t now = env_now(c->n->env);

	if (link_unsent(c->link) == 0 || now >= c->doomed_at + DOOMED_MAX)
		conn_close(c);
	else
		env_timer_set(c->n->env, &c->closing, now + DOOMED_POLL);
}

void conn_fail(struct conn *c, uint16_t status, const char *why)
{
	struct wire_error m = {.status = status, .text = why, .text_len = strlen(why)};
	struct frame *f;
	struct req *r;

	if (c->doomed)
		return;
	log_warn("mod=node peer=%s status=%s msg=\"link refused: %s\"", c->link->peer,
		wire_status_name(status), why);
	f = frame_new(WIRE_ERROR, 0, 64);
	wire_put_error(&f->b, &m);
	link_send(c->link, f);
	while ((r = TAILQ_FIRST(&c->reqs)))
		req_detach(r);
	watch_end(c);
	grants_unlink(c);
	c->doomed = true;
	c->doomed_at = env_now(c->n->env);
	c->closing.fire = closing_fire;
	env_timer_set(c->n->env, &c->closing, c->doomed_at + DOOMED_POLL);
}

/* Whoever says nothing must not hold a descriptor for ever. */
static void greet_fire(struct env_timer *t)
{
	conn_fail(container_of(t, struct conn, closing), WIRE_BAD_REQUEST, "no HELLO");
}

static void greet(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_hello h;
	struct frame *answer;
	const char *why;
	uint16_t status;

	if (f->type != WIRE_HELLO || wire_get_hello(frame_cur(f), &h)) {
		conn_fail(c, WIRE_BAD_REQUEST, "a link begins with HELLO");
		return;
	}
	why = hello_refuse(n, &h, &status);
	if (why) {
		conn_fail(c, status, why);
		return;
	}
	env_timer_clear(n->env, &c->closing);
	c->hello = true;
	c->role = h.role;
	c->node = h.node;
	c->incarnation = h.incarnation;
	answer = frame_new(WIRE_HELLO, 0, 96);
	put_hello(n, &answer->b);
	conn_send(c, answer, f->id);
	grants_link(c, h.session);
	if (h.role == WIRE_ROLE_NODE)
		lease_heard(n, &h.node, h.incarnation, h.epoch);
}

static void dispatch(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct frame *inner;

	switch (f->type) {
	case WIRE_TXN:
		route_txn(c, f);
		break;
	case WIRE_PREPARE:
		route_prepare(c, f);
		break;
	case WIRE_DECIDE:
	case WIRE_RESOLVE:
	case WIRE_FORGET:
		route_decide(c, f);
		break;
	case WIRE_PING:
		conn_send(c, frame_new(WIRE_PONG, 0, 0), f->id);
		break;
	case WIRE_MAP_GET:
		admin_map_get(c, f);
		break;
	case WIRE_SESSION_OPEN:
		keep_session_asked(c, f);
		break;
	case WIRE_SYNC:
		admin_sync(c, f);
		break;
	case WIRE_LIST:
		admin_list(c, f);
		break;
	case WIRE_STATUS:
		admin_status(c, f);
		break;
	case WIRE_WATCH:
		watch_arrive(c, f);
		break;
	case WIRE_RETURN:
		return_arrive(c, f);
		break;
	case WIRE_HOLDING:
		holding_arrive(c, f);
		break;
	case WIRE_CARRY:
		inner = route_carry(c, f);
		if (inner)
			dispatch(c, inner); /* never another CARRY */
		frame_unref(inner);
		break;
	case WIRE_BEAT:
	case WIRE_APPEND:
	case WIRE_RECOVER:
	case WIRE_MAKE_DURABLE:
		repl_arrive(c, f);
		break;
	case WIRE_LEARN:
	case WIRE_TAIL:
	case WIRE_WALK:
	case WIRE_BYTES:
	case WIRE_JOIN:
		if (c->n->ring)
			teach_arrive(c, f);
		else
			conn_send(c, reply_new(c->n, WIRE_WRONG_NODE, 0, 0), f->id);
		break;
	case WIRE_ASK:
		keep_asked(c, f);
		break;
	case WIRE_RAFT:
		keep_raft(c, f);
		break;
	case WIRE_MAP:
		if (c->role == WIRE_ROLE_NODE)
			keep_brought(n, f);
		break;
	case WIRE_EPOCH:
		keep_epoch(n, &c->node, f);
		break;
	default:
		conn_fail(c, WIRE_BAD_REQUEST, "not a request");
	}
}

/* What keeps copies level is limited by who sends it. Were it refused because clients ask for too
 * much, copies would be lost as well. What says which leases are held is kept for no time, and what
 * is waiting may wait for it. */
static bool bounded(const struct conn *c, const struct frame *f)
{
	if (f->type == WIRE_RETURN || f->type == WIRE_HOLDING)
		return true;
	return c->role == WIRE_ROLE_NODE &&
	       (f->type == WIRE_APPEND || f->type == WIRE_BEAT || f->type == WIRE_RECOVER ||
		       f->type == WIRE_MAKE_DURABLE || f->type == WIRE_RAFT);
}

static bool too_much(const struct conn *c, const struct frame *f)
{
	const struct node *n = c->n;

	if (link_unsent(c->link) > n->cfg.queue_max)
		return true;
	return !bounded(c, f) &&
	       (c->held > n->cfg.queue_max || n->held > HELD_LINKS * n->cfg.queue_max);
}

static void conn_message(struct link *l, struct frame *f, void *arg)
{
	struct conn *c = arg;

	(void)l;
	if (c->doomed)
		return;
	if (!c->hello)
		greet(c, f);
	else if (too_much(c, f))
		conn_fail(c, WIRE_RETRY, "too much is waiting already");
	else
		dispatch(c, f);
}

static void conn_down(struct link *l, int rc, void *arg)
{
	struct conn *c = arg;
	struct node *n = c->n;
	struct orbit_id node = c->node;
	bool of_node = c->role == WIRE_ROLE_NODE;

	log_debug("mod=node peer=%s rc=-%s msg=\"link down\"", l->peer, log_errno(rc));
	conn_close(c);
	if (of_node)
		lease_probe(n, &node);
}

static const struct link_events conn_events = {.message = conn_message, .down = conn_down};

void conn_accept(struct link *l, void *arg)
{
	struct node *n = arg;
	struct conn *c = mem_zalloc(sizeof(*c));

	c->n = n;
	c->link = l;
	TAILQ_INIT(&c->reqs);
	repl_conn_init(c);
	TAILQ_INSERT_TAIL(&n->conns, c, entry);
	n->stats.links++;
	l->events = &conn_events;
	l->arg = c;
	c->closing.fire = greet_fire;
	env_timer_set(n->env, &c->closing, env_now(n->env) + GREET_MAX);
}
