/*
 * The session:
 *
 *   state    id   request in flight   leaves it
 *   NONE     0    -                   a map is there -> OPENING
 *   OPENING  0    NEW                 OK -> OPEN
 *   OPEN     set  RENEW, sometimes    a map that fences it, or NO_SESSION and a map as new as that
 *                                     answer -> NONE (what is in flight of it fails);
 *                                     session_end() -> ENDING
 *   ENDING   set  END                 any answer -> ENDED
 *   ENDED    0    -
 *
 * Numbers: every transaction that may take effect holds one number in the live list until it is
 * answered (or decided, across shards). The floor is the lowest of them. A number that was given up
 * after it was sent goes to the abandoned ones, as long as it is above the floor: requests carry
 * both, and nodes refuse what is below or named. Invariant: no number is in two lists; abandoned
 * numbers are in order, and none of them is below the floor.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define SESSION_MAX ((1u << 24) - 1)
#define TIMEOUT_MIN (300 * ENV_MS) /* a keeper that says less is not believed */
#define AGAIN_MIN (50 * ENV_MS)
#define AGAIN_MAX (1 * ENV_SEC)
#define CLOCK_ERROR 5          /* % by which the keeper's clock may differ */
#define RENEWALS 4             /* within a timeout */
#define PATIENCE (2 * ENV_SEC) /* with a node that does not answer, before another one is asked */

static const struct request_ops session_ops;

static void ask(struct orbit_client *c, uint8_t what)
{
	struct session *s = &c->session;
	struct wire_session_open m = {.what = what, .session = s->id};
	struct frame *f;

	memcpy(m.nonce, s->nonce, sizeof(m.nonce));
	request_drop(&s->req);
	s->doing = what;
	s->asked = env_now(c->env);
	request_begin(&s->req, c, &session_ops,
		c->policy.check_timeout < PATIENCE ? c->policy.check_timeout : PATIENCE,
		ENTRY_FOREVER);
	f = frame_new(WIRE_SESSION_OPEN, s->req.e.id, 64);
	wire_put_session_open(&f->b, &m);
	request_go(&s->req, TO_KEEPER, 0, f);
}

void session_open(struct orbit_client *c)
{
	struct session *s = &c->session;

	if (s->state != SESSION_NONE || !c->map || c->closing)
		return;
	s->state = SESSION_OPENING;
	env_random(c->env, s->nonce, sizeof(s->nonce));
	ask(c, WIRE_SESSION_NEW);
}

static void renew(struct env_timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	struct orbit_client *c = container_of(s, struct orbit_client, session);

	if (s->state == SESSION_OPEN && !s->req.e.listed)
		ask(c, WIRE_SESSION_RENEW);
}

void session_suspect(struct orbit_client *c)
{
	renew(&c->session.timer);
}

bool session_end(struct orbit_client *c)
{
	struct session *s = &c->session;
	struct request keeper = {.to = TO_KEEPER, .c = c};
	struct peer *p = route_of(c, &keeper);

	if (p && !peer_usable(p))
		p = route_around(c, p, NULL);
	if (s->state != SESSION_OPEN || !p)
		return false;
	env_timer_clear(c->env, &s->timer);
	s->state = SESSION_ENDING;
	ask(c, WIRE_SESSION_END);
	return true;
}

static void opened(struct orbit_client *c, uint32_t id)
{
	struct session *s = &c->session;

	s->id = id;
	s->next = 1;
	s->state = SESSION_OPEN;
	log_info("mod=client session=%u timeout_ms=%llu msg=\"session opened\"", id,
		(unsigned long long)(s->timeout / ENV_MS));
	call_start_waiting(c);
	client_check_ready(c);
}

/* The keeper has ended it. Its numbers mean nothing any more. */
static void lost(struct orbit_client *c)
{
	struct session *s = &c->session;
	struct number *n;
	struct call *k, *next;

	log_warn("mod=client session=%u msg=\"session was ended by the keeper\"", s->id);
	while ((n = TAILQ_FIRST(&s->live))) {
		TAILQ_REMOVE(&s->live, n, at);
		n->listed = false;
	}
	s->nabandoned = 0;
	s->noverflow = 0;
	s->over = 0;
	s->id = 0;
	s->offered = 0;
	s->state = SESSION_NONE;
	TAILQ_FOREACH_SAFE (k, &c->calls, at, next) {
		if (k->kind == CALL_TXN)
			submit_session_lost(k);
		else if (k->kind == CALL_COMMIT)
			commit_session_lost(k);
	}
	lease_session_lost(c);
	session_open(c);
}

/* A map that the keeper had may name primaries that know nothing of what we hold, and wait for no
 * longer than a session lasts: so nothing is valid for longer before we have it (docs/LEASES.md).
 */
static void take_offer(struct orbit_client *c)
{
	struct session *s = &c->session;

	if (!s->offered || c->map->epoch < s->offered_epoch)
		return;
	s->valid = s->offered;
	s->offered = 0;
	lease_renewed(c);
}

void session_check(struct orbit_client *c)
{
	struct session *s = &c->session;

	if (s->state != SESSION_OPEN)
		return;
	if (!ring_fenced(c->map, s->id) && !(s->over && c->map->epoch >= s->over)) {
		take_offer(c);
		return;
	}
	env_timer_clear(c->env, &s->timer);
	request_drop(&s->req);
	lost(c);
}

static void answered(struct orbit_client *c, const struct wire_session *m)
{
	struct session *s = &c->session;
	uint64_t now = env_now(c->env), next;
	uint8_t doing = s->doing;

	request_drop(&s->req);
	s->error[0] = '\0';
	s->failures = 0;
	if (doing == WIRE_SESSION_END) {
		s->state = SESSION_ENDED;
		s->id = 0;
		client_close_step(c);
		return;
	}
	if (m->status == WIRE_NO_SESSION) {
		/* nobody may do any more what it asked for, and those who are asked next have to
		 * know that, by the map that we have then */
		s->over = m->epoch ? m->epoch : 1;
		session_check(c);
		return;
	}
	s->timeout = m->timeout_ms * ENV_MS;
	if (s->timeout < TIMEOUT_MIN)
		s->timeout = TIMEOUT_MIN;
	s->offered = s->asked + m->timeout_ms * ENV_MS / 100 * (100 - CLOCK_ERROR);
	s->offered_epoch = doing == WIRE_SESSION_NEW ? 0 : m->epoch; /* holds nothing yet */
	next = s->asked + s->timeout / RENEWALS;
	if (next < now + AGAIN_MIN)
		next = now + AGAIN_MIN;
	env_timer_set(c->env, &s->timer, next);
	if (doing == WIRE_SESSION_NEW)
		opened(c, m->session);
	take_offer(c);
}

static void on_answer(struct request *r, struct peer *p, struct frame *f)
{
	struct orbit_client *c = r->c;
	struct session *s = &c->session;
	struct wire_session m;

	if (wire_get_session(frame_cur(f), &m)) {
		peer_reject(p, -EPROTO, "a malformed SESSION");
	} else if (s->doing == WIRE_SESSION_END) {
		answered(c, &m);
	} else if (m.status == WIRE_WRONG_NODE) {
		request_wrong_node(r, p);
	} else if (m.status == WIRE_NO_KEEPER || m.status == WIRE_UNREACHABLE) {
		snprintf(s->error, sizeof(s->error), "%s knows no leader of the keeper",
			peer_name(p));
		request_no_keeper(r, p);
	} else if (m.status == WIRE_OK ||
		   (m.status == WIRE_NO_SESSION && s->doing == WIRE_SESSION_RENEW)) {
		if (m.status == WIRE_OK && s->doing == WIRE_SESSION_NEW &&
			(m.session == 0 || m.session > SESSION_MAX))
			peer_reject(p, -EPROTO, "a session number out of range");
		else
			answered(c, &m);
		follow_epoch(c, p, m.epoch);
	} else {
		snprintf(s->error, sizeof(s->error), "%s gives no session: %s", peer_name(p),
			wire_status_name(m.status));
		request_backoff(
			r, request_jitter(c, AGAIN_MIN, s->failures++, AGAIN_MAX), "no session");
	}
}

static void on_expire(struct request *r)
{
	(void)r; /* never given up */
}

static const struct request_ops session_ops = {
	.reply = WIRE_SESSION,
	.pass = PASS_RAW,
	.answer = on_answer,
	.expire = on_expire,
};

void session_init(struct orbit_client *c)
{
	TAILQ_INIT(&c->session.live);
	c->session.next = 1;
	c->session.timer.fire = renew;
}

void session_fini(struct orbit_client *c)
{
	request_drop(&c->session.req);
	env_timer_clear(c->env, &c->session.timer);
	free(c->session.overflow);
}

/* ---- numbers ---- */

void number_take(struct session *s, struct number *n, bool listed)
{
	n->n = s->next++;
	n->listed = listed;
	if (listed)
		TAILQ_INSERT_TAIL(&s->live, n, at);
}

uint64_t number_floor(const struct session *s)
{
	const struct number *n = TAILQ_FIRST(&s->live);

	return n ? n->n : s->next;
}

/* Keeps the array in order; its last ones are the likeliest to be near. */
static void name(struct session *s, uint64_t n)
{
	unsigned i = s->nabandoned++;

	for (; i > 0 && le64toh(s->abandoned[i - 1]) > n; i--)
		s->abandoned[i] = s->abandoned[i - 1];
	s->abandoned[i] = htole64(n);
}

static void prune(struct session *s)
{
	uint64_t floor = number_floor(s);
	unsigned drop = 0;
	size_t kept = 0;

	while (drop < s->nabandoned && le64toh(s->abandoned[drop]) < floor)
		drop++;
	if (drop) {
		s->nabandoned -= drop;
		memmove(s->abandoned, s->abandoned + drop, s->nabandoned * sizeof(uint64_t));
	}
	for (size_t i = 0; i < s->noverflow; i++) {
		if (s->overflow[i] < floor)
			continue;
		if (s->nabandoned < WIRE_ABANDONED_MAX)
			name(s, s->overflow[i]);
		else
			s->overflow[kept++] = s->overflow[i];
	}
	s->noverflow = kept;
}

static void unlist(struct session *s, struct number *n)
{
	struct orbit_client *c = container_of(s, struct orbit_client, session);
	bool crowded = session_crowded(s);

	TAILQ_REMOVE(&s->live, n, at);
	n->listed = false;
	if (!s->nabandoned && !crowded)
		return;
	prune(s);
	if (crowded && !session_crowded(s))
		call_start_waiting(c);
}

void number_finish(struct session *s, struct number *n)
{
	if (n->listed)
		unlist(s, n);
}

void number_abandon(struct session *s, struct number *n)
{
	if (!n->listed)
		return;
	if (s->nabandoned < WIRE_ABANDONED_MAX) {
		name(s, n->n);
	} else {
		if (s->noverflow == s->overflow_cap) {
			s->overflow_cap = s->overflow_cap ? 2 * s->overflow_cap : 64;
			s->overflow = mem_grow(s->overflow, s->overflow_cap, sizeof(*s->overflow));
		}
		s->overflow[s->noverflow++] = n->n;
	}
	unlist(s, n);
}

void session_head(const struct session *s, struct wire_txn *m)
{
	m->session = s->id;
	m->floor = number_floor(s);
	m->nabandoned = (uint16_t)s->nabandoned;
	m->abandoned = s->abandoned;
}
