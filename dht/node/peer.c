/*
 * Links to other nodes, made when something is to be sent, and calls over them.
 *
 *   state        link   calls                       goes to
 *   IDLE         no     none                        CONNECTING with the first call
 *   CONNECTING   yes    in line                     GREETING, BACKOFF (also by the timer)
 *   GREETING     yes    in line; HELLO is out       UP when theirs is right, BACKOFF; a stranger
 *                                                   is asked for its map, if it is newer
 *   UP           yes    sent                        BACKOFF
 *   BACKOFF      no     fail at once                IDLE by the timer
 *
 * A link that fails fails all its calls: whoever asked decides what to do. What stood in line for
 * an earlier incarnation of the node is not given to its successor: it may be older than what the
 * node was told, and forgot, before (sess.c).
 */
#include "dht/node/peer.h"
#include "dht/node/keep.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define BACKOFF_MIN (20 * ENV_MS)
#define BACKOFF_MAX (250 * ENV_MS)
#define GREET_TIMEOUT (2 * ENV_SEC)

#define CONNECT_TIMEOUT (2 * ENV_SEC)

struct peer *peer_of(struct node *n, uint16_t node)
{
	const struct orbit_id *id = &n->ring->nodes[node].id;
	struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if (!orbit_id_cmp(&p->id, id))
			return p;
	}
	p = mem_zalloc(sizeof(*p));
	p->n = n;
	p->id = *id;
	TAILQ_INIT(&p->line);
	TAILQ_INIT(&p->sent);
	TAILQ_INIT(&p->copies);
	TAILQ_INIT(&p->unacked);
	TAILQ_INIT(&p->syncing);
	TAILQ_INIT(&p->to_sync);
	TAILQ_INSERT_TAIL(&n->peers, p, entry);
	return p;
}

static void call_end(struct call *c, struct call_list *in, int rc, struct frame *answer)
{
	struct peer *p = c->peer;

	TAILQ_REMOVE(in, c, entry);
	if (in == &p->sent)
		HASH_DEL(p->by_id, c);
	frame_unref(c->frame);
	c->frame = NULL;
	if (c->done)
		c->done(c, rc, answer);
	else
		free(c); /* peer_tell()'s */
}

static void fail_calls(struct peer *p, struct call_list *list, int rc)
{
	struct call_list all = TAILQ_HEAD_INITIALIZER(all);
	struct call *c;

	/* what they call may make new calls */
	TAILQ_FOREACH (c, list, entry) {
		if (list == &p->sent)
			HASH_DEL(p->by_id, c);
	}
	TAILQ_CONCAT(&all, list, entry);
	while ((c = TAILQ_FIRST(&all)))
		call_end(c, &all, rc, NULL);
}

static unsigned naddrs(const struct peer *p)
{
	const struct ring_map *m = p->n->ring;
	uint16_t at = ring_find(m, &p->id);

	return at == RING_NONE ? 1 : m->nodes[at].naddrs;
}

static void peer_fail(struct peer *p, int rc)
{
	struct node *n = p->n;
	struct orbit_id id = p->id;
	uint64_t wait = BACKOFF_MIN << (p->tries < 6 ? p->tries : 6);
	struct env *e = p->n->env;

	if (p->link)
		link_close(p->link);
	p->link = NULL;
	if (wait > BACKOFF_MAX)
		wait = BACKOFF_MAX;
	if (p->tries++ == 0)
		log_info("mod=node rc=-%s msg=\"link to a node failed\"", log_errno(rc));
	p->state = PEER_BACKOFF;
	p->next_addr++;
	p->refused = rc == -ECONNREFUSED ? p->refused + 1 : 0;
	env_timer_clear(e, &p->oldest);
	env_timer_set(e, &p->timer, env_now(e) + wait / 2 + env_random_u64(e) % wait);
	fail_calls(p, &p->sent, -EHOSTUNREACH);
	fail_calls(p, &p->line, -EHOSTUNREACH);
	if (!n->stopping)
		repl_peer_down(p, rc);
	if (!n->stopping)
		keep_link_down(n, &id, p->refused >= naddrs(p));
}

void peer_break(struct peer *p, int rc)
{
	if (p->link)
		peer_fail(p, rc);
}

void peers_renamed(struct node *n)
{
	struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if ((p->state == PEER_UP || p->state == PEER_GREETING) &&
			orbit_id_cmp(&p->as, &n->id))
			peer_fail(p, -ECONNRESET);
	}
}

bool peer_refused(const struct node *n, uint16_t node)
{
	const struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if (!orbit_id_cmp(&p->id, &n->ring->nodes[node].id))
			return p->refused >= naddrs(p);
	}
	return false;
}

/* ---- calls ---- */

static void set_oldest(struct peer *p)
{
	struct call *c = TAILQ_FIRST(&p->sent);

	if (c)
		env_timer_set(p->n->env, &p->oldest, c->deadline);
	else
		env_timer_clear(p->n->env, &p->oldest);
}

static void oldest_fire(struct env_timer *t)
{
	struct peer *p = container_of(t, struct peer, oldest);
	uint64_t now = env_now(p->n->env);
	struct call *c;

	while ((c = TAILQ_FIRST(&p->sent)) && c->deadline <= now)
		call_end(c, &p->sent, -ETIMEDOUT, NULL);
	set_oldest(p);
}

/* By deadline. Most have the longest limit there is; those that have not stand near the head. */
static void sent_add(struct peer *p, struct call *c)
{
	struct call *after = TAILQ_LAST(&p->sent, call_list);

	if (!after || after->deadline <= c->deadline) {
		TAILQ_INSERT_TAIL(&p->sent, c, entry);
		return;
	}
	TAILQ_FOREACH (after, &p->sent, entry) {
		if (after->deadline > c->deadline)
			break;
	}
	TAILQ_INSERT_BEFORE(after, c, entry);
}

static void send_line(struct peer *p)
{
	struct call *c;

	while (p->state == PEER_UP && (c = TAILQ_FIRST(&p->line))) {
		struct frame *f = c->frame;

		TAILQ_REMOVE(&p->line, c, entry);
		c->frame = NULL;
		if (!c->done) {
			free(c);
			link_send(p->link, f);
			continue;
		}
		c->id = f->id = ++p->next_id;
		c->deadline = env_now(p->n->env) + c->limit;
		sent_add(p, c);
		HASH_ADD(hh, p->by_id, id, sizeof(c->id), c);
		/* if this fails, down() follows */
		link_send(p->link, f);
		if (TAILQ_FIRST(&p->sent) == c)
			set_oldest(p);
	}
}

/* ---- the link ---- */

static void peer_up(struct link *l, void *arg)
{
	struct peer *p = arg;
	struct frame *f = frame_new(WIRE_HELLO, 0, 96);

	(void)l;
	put_hello(p->n, &f->b);
	p->as = p->n->id;
	p->stranger = false;
	p->state = PEER_GREETING;
	env_timer_set(p->n->env, &p->timer, env_now(p->n->env) + GREET_TIMEOUT);
	link_send(p->link, f);
}

/* A node that was started anew may know none of the others by its map, or not its own new ID, so
 * that it can not ask anybody: the voters, who look for it, bring it theirs. */
static void bring_map(struct peer *p, uint64_t epoch)
{
	struct node *n = p->n;
	struct frame *f;

	if (!n->ring || epoch >= n->ring->epoch || n->self == RING_NONE ||
		!n->ring->nodes[n->self].voter)
		return;
	f = frame_new(WIRE_MAP, 0, 64);
	keep_put_map(n, epoch, &f->b);
	link_send(p->link, f);
}

/* Not the node that our map has at this address. It may be the same by another name, and all that
 * we know may go by other names by now: then nobody but a stranger has a map that says so. */
static bool ask_stranger(struct peer *p, uint64_t epoch)
{
	struct node *n = p->n;
	struct frame *f;

	if (!n->ring || epoch <= n->ring->epoch)
		return false;
	p->stranger = true;
	f = frame_new(WIRE_MAP_GET, 1, 8);
	wire_put_map_get(&f->b, n->ring->epoch);
	link_send(p->link, f);
	return true;
}

static void stranger_message(struct peer *p, struct frame *f)
{
	struct node *n = p->n;

	if (f->type != WIRE_MAP)
		return;
	/* our own name may be another one by that map, and then this link goes by itself */
	frame_ref(f);
	peer_fail(p, -EPROTO);
	keep_brought(n, f);
	frame_unref(f);
}

static void peer_greeted(struct peer *p, struct frame *f)
{
	char want[ORBIT_ID_HEX], got[ORBIT_ID_HEX];
	struct node *n = p->n;
	struct wire_hello h;
	const char *why;
	uint16_t status;

	if (wire_get_hello(frame_cur(f), &h)) {
		log_warn("mod=node peer=%s msg=\"a HELLO that makes no sense\"", p->link->peer);
		peer_fail(p, -EPROTO);
		return;
	}
	why = hello_refuse(n, &h, &status);
	if (!why)
		bring_map(p, h.epoch);
	if (!why && orbit_id_cmp(&h.node, &p->id)) {
		why = "another node answers at this address";
		if (ask_stranger(p, h.epoch))
			return;
	}
	if (why) {
		log_warn("mod=node peer=%s want=%s got=%s msg=\"link refused: %s\"", p->link->peer,
			orbit_id_hex(&p->id, want), orbit_id_hex(&h.node, got), why);
		peer_fail(p, -EPROTO);
		return;
	}
	env_timer_clear(n->env, &p->timer);
	p->tries = 0;
	p->refused = 0;
	if (p->incarnation && p->incarnation != h.incarnation)
		fail_calls(p, &p->line, -ESTALE);
	p->incarnation = h.incarnation;
	p->state = PEER_UP;
	send_line(p);
	if (p->state == PEER_UP)
		repl_peer_up(p);
	lease_heard(n, &h.node, h.incarnation, h.epoch);
}

static void peer_message(struct link *l, struct frame *f, void *arg)
{
	struct peer *p = arg;
	struct wire_error m;
	struct call *c;

	if (f->type == WIRE_ERROR) {
		if (!wire_get_error(frame_cur(f), &m))
			log_warn("mod=node peer=%s status=%s msg=\"refused by a node: %.*s\"",
				l->peer, wire_status_name(m.status), (int)m.text_len, m.text);
		peer_fail(p, -EPROTO);
		return;
	}
	if (p->state == PEER_GREETING && p->stranger) {
		stranger_message(p, f);
		return;
	}
	if (p->state == PEER_GREETING && f->type == WIRE_HELLO) {
		peer_greeted(p, f);
		return;
	}
	if (p->state != PEER_UP)
		return;
	if (f->type == WIRE_EPOCH) {
		keep_epoch(p->n, &p->id, f);
		return;
	}
	if (!(f->flags & FRAME_REPLY)) {
		repl_peer_message(p, f);
		return;
	}
	HASH_FIND(hh, p->by_id, &f->id, sizeof(f->id), c);
	if (!c)
		return; /* answered too late */
	call_end(c, &p->sent, 0, f);
	if (p->state == PEER_UP)
		set_oldest(p);
}

static void peer_down(struct link *l, int rc, void *arg)
{
	(void)l;
	peer_fail(arg, rc);
}

static const struct link_events peer_events = {peer_up, peer_message, peer_down};

static void wake(struct peer *p);

static void timer_fire(struct env_timer *t)
{
	struct peer *p = container_of(t, struct peer, timer);

	if (p->state == PEER_BACKOFF) {
		p->state = PEER_IDLE;
		/* what waits for an acknowledgement does not ask again by itself */
		if (!TAILQ_EMPTY(&p->unacked) || keep_wants(p->n, &p->id))
			wake(p);
	} else if (p->state == PEER_GREETING || p->state == PEER_CONNECTING) {
		peer_fail(p, -ETIMEDOUT);
	}
}

static int dial(struct peer *p)
{
	const struct ring_map *ring = p->n->ring;
	uint16_t at = ring_find(ring, &p->id);
	const struct ring_node *node;
	int rc;

	if (at == RING_NONE)
		return -EHOSTUNREACH;
	node = &ring->nodes[at];
	rc = env_connect(
		p->n->env, node->addr[p->next_addr % node->naddrs], &peer_events, p, &p->link);
	if (rc)
		p->link = NULL;
	else
		p->state = PEER_CONNECTING;
	if (!rc)
		env_timer_set(p->n->env, &p->timer, env_now(p->n->env) + CONNECT_TIMEOUT);
	return rc;
}

/* Makes a link if there is none and none is on its way. */
static void wake(struct peer *p)
{
	p->timer.fire = timer_fire;
	p->oldest.fire = oldest_fire;
	if (p->state == PEER_IDLE && dial(p))
		peer_fail(p, -EHOSTUNREACH);
}

void peer_stream(struct peer *p, struct frame *f)
{
	if (p->n->stopping || p->state != PEER_UP) {
		frame_unref(f);
		if (!p->n->stopping)
			wake(p);
		return;
	}
	/* if this fails, down() follows */
	link_send(p->link, f);
}

/* What stands in line goes out, or a link is made for it. */
static void go_on(struct peer *p)
{
	if (p->state == PEER_UP)
		send_line(p);
	else
		wake(p);
}

void peer_call(struct node *n, uint16_t node, struct frame *f, struct call *c)
{
	peer_call_within(n, node, f, c, n->cfg.forward_timeout);
}

void peer_call_within(
	struct node *n, uint16_t node, struct frame *f, struct call *c, uint64_t limit)
{
	struct peer *p = peer_of(n, node);

	c->limit = limit;
	c->peer = p;
	c->frame = f;
	TAILQ_INSERT_TAIL(&p->line, c, entry);
	if (n->stopping || p->state == PEER_BACKOFF)
		call_end(c, &p->line, n->stopping ? -ESHUTDOWN : -EHOSTUNREACH, NULL);
	else
		go_on(p);
}

int peer_tell(struct node *n, uint16_t node, struct frame *f)
{
	struct peer *p = n->stopping ? NULL : peer_of(n, node);
	struct call *c;

	if (!p || p->state == PEER_BACKOFF) {
		frame_unref(f);
		return p ? -EHOSTUNREACH : -ESHUTDOWN;
	}
	f->id = 0;
	if (p->state == PEER_UP)
		return link_send(p->link, f);
	c = mem_zalloc(sizeof(*c));
	c->peer = p;
	c->frame = f;
	TAILQ_INSERT_TAIL(&p->line, c, entry);
	go_on(p);
	return 0;
}

void peers_free(struct node *n)
{
	struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if (p->link)
			link_close(p->link);
		p->link = NULL;
		p->state = PEER_IDLE;
		fail_calls(p, &p->sent, -ESHUTDOWN);
		fail_calls(p, &p->line, -ESHUTDOWN);
	}
	while ((p = TAILQ_FIRST(&n->peers))) {
		TAILQ_REMOVE(&n->peers, p, entry);
		env_timer_clear(n->env, &p->timer);
		env_timer_clear(n->env, &p->oldest);
		repl_peer_free(p);
		free(p);
	}
}
