/*
 * Leases that are to be given back: RECALL to the session's link, RETURN from it.
 *
 *   asked     RECALL is sent over its link, or as soon as there is one
 *   answered  RETURN: what waited runs again
 *   heard     RETURN that gives nothing back: its session is at it, however long that takes
 *   silent    for recall_timeout (without a link twice as long): the keeper is told, and renews the
 *             session no more; again and again, until the map fences it: then all that it held is
 *             gone
 *
 * The same with CLAIM and HOLDING (holding.c).
 */
#include "dht/node/grant.h"
#include "dht/node/keep.h"

#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define LATE (100 * ENV_MS) /* a tick that comes later was held up */
/* ---- sessions and their links ---- */

struct lessee *lessee_find(struct node *n, uint32_t session)
{
	struct lessee *s;

	HASH_FIND(hh, n->lessees, &session, sizeof(session), s);
	return s;
}

static struct conn *conn_of(struct node *n, uint32_t session, const struct conn *but)
{
	struct conn *c;

	TAILQ_FOREACH_REVERSE(c, &n->conns, conn_list, entry)
	{
		if (c->session == session && c != but && !c->doomed)
			return c;
	}
	return NULL;
}

struct lessee *lessee_get(struct node *n, uint32_t session)
{
	struct lessee *s = lessee_find(n, session);

	if (s)
		return s;
	s = mem_zalloc(sizeof(*s));
	s->session = session;
	s->conn = session == LEASER_ANY ? NULL : conn_of(n, session, NULL);
	TAILQ_INIT(&s->leasers);
	TAILQ_INIT(&s->recalled);
	HASH_ADD(hh, n->lessees, session, sizeof(s->session), s);
	return s;
}

void lessee_free(struct node *n, struct lessee *s)
{
	HASH_DEL(n->lessees, s);
	free(s);
}

static struct frame *recall_head(struct node *n, const struct lessee *s, uint32_t count)
{
	const struct wire_leases m = {
		.session = s->session, .epoch = n->ring ? n->ring->epoch : 0, .n = count};
	struct frame *f = frame_new(WIRE_RECALL, 0, 35 + 51 * (size_t)count);

	wire_put_leases_head(&f->b, &m);
	return f;
}

static void put_recall(struct frame *f, const struct holder *h)
{
	const struct wire_lease_one one = {
		.shard = h->o->shard->number, .id = h->o->id, .mode = h->keep, .number = h->number};

	wire_put_lease_one(&f->b, &one);
}

/* All that is outstanding. Its time begins anew: nobody heard it before. */
static void send_all(struct node *n, struct lessee *s)
{
	uint64_t now = env_now(n->env);
	struct frame *f = NULL;
	uint32_t count = 0;
	struct holder *h;
	struct leaser *l;
	size_t at = 0;

	TAILQ_FOREACH (l, &s->leasers, of_lessee)
		leaser_claim(n, l);
	TAILQ_FOREACH (h, &s->recalled, line) {
		if (!f) {
			f = recall_head(n, s, 0);
			at = f->b.len - 4;
		}
		h->since = now;
		put_recall(f, h);
		buf_set_u32(&f->b, at, ++count);
		if (count == WIRE_LEASES_MAX) {
			link_send(s->conn->link, f);
			f = NULL;
			count = 0;
		}
	}
	if (f)
		link_send(s->conn->link, f);
}

void grants_unlink(struct conn *c)
{
	struct lessee *s = c->session ? lessee_find(c->n, c->session) : NULL;

	if (!s || s->conn != c)
		return;
	s->conn = conn_of(c->n, c->session, c);
	if (s->conn && !c->n->stopping)
		send_all(c->n, s);
}

void grants_link(struct conn *c, uint32_t session)
{
	struct lessee *s;

	if (!session || c->session == session || c->role == WIRE_ROLE_NODE || c->doomed)
		return;
	/* a client whose session is over opens another one */
	grants_unlink(c);
	c->session = session;
	s = lessee_find(c->n, session);
	if (!s)
		return;
	s->conn = c;
	send_all(c->n, s);
}

/* ---- telling the keeper ---- */

struct report {
	struct keep_ask ask;
	struct node *n;
};

static void reported(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct report *r = container_of(a, struct report, ask);
	struct lessee *s = r->n->stopping ? NULL : lessee_find(r->n, a->m.session);

	(void)status; /* the map tells; until then it is said again */
	(void)epoch;
	if (s)
		s->reporting = false;
	free(r);
}

static void report(struct node *n, struct lessee *s, uint64_t now)
{
	struct report *r = mem_zalloc(sizeof(*r));

	if (!s->reported)
		log_warn("mod=node session=%u linked=%d msg=\"it does not give its leases back: "
			 "its time runs out\"",
			s->session, s->conn != NULL);
	s->reporting = true;
	s->reported = now;
	n->stats.run_out++;
	r->n = n;
	r->ask.done = reported;
	r->ask.m = (struct wire_ask_m){.what = ASK_FENCE,
		.flags = ASK_F_RUN_OUT,
		.epoch = n->ring->epoch,
		.session = s->session};
	keep_ask(n, &r->ask);
}

/* Since when has it owed an answer? UINT64_MAX: it does not. */
static uint64_t owes_since(const struct lessee *s)
{
	const struct holder *h = TAILQ_FIRST(&s->recalled);
	uint64_t since = h ? h->since : UINT64_MAX;
	const struct leaser *l;

	if (s->session == LEASER_ANY)
		return UINT64_MAX;
	TAILQ_FOREACH (l, &s->leasers, of_lessee) {
		if (!s->unknown)
			break;
		if (l->unknown && l->shard->role == ROLE_SERVING && l->since < since)
			since = l->since;
	}
	return since;
}

/* A session that has ended in good order is not in the map, and will not answer. */
static void checked(struct keep_session *k, const struct wire_session *m)
{
	struct lessee *s = k->n->stopping ? NULL : lessee_find(k->n, k->m.session);

	if (s)
		s->checking = false;
	if (s && m->status == WIRE_NO_SESSION && !s->reporting && k->n->ring &&
		owes_since(s) != UINT64_MAX)
		report(k->n, s, env_now(k->n->env));
	free(k);
}

static bool holds_any(const struct lessee *s)
{
	const struct leaser *l;

	TAILQ_FOREACH (l, &s->leasers, of_lessee)
		if (l->unknown || !TAILQ_EMPTY(&l->holders))
			return true;
	return false;
}

bool grants_fence(struct node *n, uint32_t session)
{
	struct lessee *s = lessee_find(n, session);

	if (!s || session_ended(n, session) || !n->ring || !holds_any(s))
		return false;
	if (!s->reporting)
		report(n, s, env_now(n->env));
	return true;
}

/* Who has no link is asked for elsewhere, rather than after recall_timeout. */
void recall_check(struct node *n, struct lessee *s)
{
	struct keep_session *k;

	if (s->session == LEASER_ANY || s->conn || s->checking || n->stopping || !n->ring)
		return;
	s->checking = true;
	k = mem_zalloc(sizeof(*k));
	k->m.what = WIRE_SESSION_CHECK;
	k->m.session = s->session;
	k->done = checked;
	keep_session(n, k);
}

/* ---- asking ---- */

void recall(struct node *n, struct holder *h, uint8_t keep)
{
	struct lessee *s = h->by->of;
	struct frame *f;

	if (h->keep != GRANT_NOT_ASKED && h->keep <= keep)
		return;
	if (h->keep == GRANT_NOT_ASKED) {
		TAILQ_REMOVE(&n->granted, h, line);
		TAILQ_INSERT_TAIL(&s->recalled, h, line);
		h->since = env_now(n->env);
		h->o->asked++;
		n->nrecalled++;
		n->stats.recalled++;
		recall_watch(n);
	}
	h->keep = keep;
	if (!s->conn) {
		recall_check(n, s);
		return;
	}
	f = recall_head(n, s, 1);
	put_recall(f, h);
	link_send(s->conn->link, f);
}

void recall_over(struct node *n, struct holder *h)
{
	struct lessee *s = h->by->of;

	if (h->keep == GRANT_NOT_ASKED)
		return;
	h->keep = GRANT_NOT_ASKED;
	h->o->asked--;
	n->nrecalled--;
	TAILQ_REMOVE(&s->recalled, h, line);
	TAILQ_INSERT_TAIL(&n->granted, h, line);
	if (TAILQ_EMPTY(&s->recalled) && !s->unknown)
		s->reported = 0;
	shard_wake_soon(n, h->o->shard);
}

/* ---- RETURN ---- */

/* It will be given back. */
static void heard(struct node *n, struct holder *h)
{
	struct lessee *s = h->by->of;

	n->stats.heard++;
	h->since = env_now(n->env);
	TAILQ_REMOVE(&s->recalled, h, line);
	TAILQ_INSERT_TAIL(&s->recalled, h, line);
}

static void returned(struct node *n, uint32_t session, const struct wire_lease_one *one)
{
	struct leaser *l = one->shard < n->nshards ? leaser_find(n, session, one->shard) : NULL;
	struct leased *o = l ? leased_find(l->shard, &one->id) : NULL;
	struct holder *h;

	if (!o)
		return;
	TAILQ_FOREACH (h, &o->holders, of_object) {
		/* an older one has been granted anew since */
		if (h->by != l || one->number < h->number)
			continue;
		if (h->keep != GRANT_NOT_ASKED && one->mode > h->keep)
			heard(n, h);
		else
			n->stats.returned++;
		holder_lower(n, h, one->mode);
		return;
	}
}

void return_arrive(struct conn *c, struct frame *f)
{
	struct wire_leases m;

	if (c->role == WIRE_ROLE_NODE || wire_get_leases(frame_cur(f), &m)) {
		conn_fail(c, WIRE_BAD_REQUEST, "a RETURN that makes no sense");
		return;
	}
	grants_link(c, m.session);
	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		returned(c->n, m.session, &one);
	}
}

/* ---- those who do not answer ---- */

static uint64_t later(uint64_t since, uint64_t late, uint64_t now)
{
	return since + late < now ? since + late : now;
}

/* We stood still: what was answered meanwhile is still to be read, so that time does not count. */
static void stood_still(struct node *n, uint64_t now, uint64_t late)
{
	struct lessee *s, *tmp;
	struct holder *h;
	struct leaser *l;

	HASH_ITER (hh, n->lessees, s, tmp) {
		TAILQ_FOREACH (h, &s->recalled, line)
			h->since = later(h->since, late, now);
		TAILQ_FOREACH (l, &s->leasers, of_lessee)
			l->since = later(l->since, late, now);
	}
}

static void tick_later(struct node *n, uint64_t now)
{
	n->recall_due = now + n->cfg.recall_timeout / 4;
	env_timer_set(n->env, &n->recall_timer, n->recall_due);
}

static void recall_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, recall_timer);
	uint64_t now = env_now(n->env), since, limit;
	struct lessee *s, *tmp;
	bool any = false;

	if (n->stopping)
		return;
	if (now > n->recall_due + LATE)
		stood_still(n, now, now - n->recall_due);
	HASH_ITER (hh, n->lessees, s, tmp) {
		if (s->session == LEASER_ANY) {
			any |= leasers_any_tick(n, s); /* may free it */
			continue;
		}
		since = owes_since(s);
		if (since == UINT64_MAX)
			continue;
		any = true;
		/* to connect takes its time, and it may have to hear of the map first */
		limit = s->conn ? n->cfg.recall_timeout : 2 * n->cfg.recall_timeout;
		if (s->reported > since)
			since = s->reported;
		if (!s->reporting && now - since >= limit && n->ring)
			report(n, s, now);
	}
	if (any)
		tick_later(n, now);
}

void recall_watch(struct node *n)
{
	if (n->recall_timer.armed || n->stopping)
		return;
	n->recall_timer.fire = recall_fire;
	tick_later(n, env_now(n->env));
}

/* ---- sessions that are over ---- */

void grants_over(struct node *n, uint32_t session)
{
	struct lessee *s = lessee_find(n, session);
	struct leaser *l;

	if (!s)
		return;
	TAILQ_FOREACH (l, &s->leasers, of_lessee) {
		while (!TAILQ_EMPTY(&l->holders))
			holder_free(n, TAILQ_FIRST(&l->holders));
		leaser_known(n, l);
	}
}

void grants_adopt(struct node *n)
{
	struct lessee *s, *tmp;

	HASH_ITER (hh, n->lessees, s, tmp) {
		if (session_ended(n, s->session))
			grants_over(n, s->session);
	}
}

void grants_status(const struct node *n, struct buf *b)
{
	wire_put_stat(b, "leases.held", "%zu", n->nleases);
	wire_put_stat(b, "leases.waiting", "%zu", n->nrecalled);
	wire_put_stat(b, "leases.granted", "%llu", (unsigned long long)n->stats.granted);
	wire_put_stat(b, "leases.recalled", "%llu", (unsigned long long)n->stats.recalled);
	wire_put_stat(b, "leases.returned", "%llu", (unsigned long long)n->stats.returned);
	wire_put_stat(b, "leases.heard", "%llu", (unsigned long long)n->stats.heard);
	wire_put_stat(b, "leases.run_out", "%llu", (unsigned long long)n->stats.run_out);
}
