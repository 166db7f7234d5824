/*
 * Telling the new primary of a shard what the session holds there (HOLDING): when a map names one,
 * of our own accord, for every shard whose former one may have told it that we hold something; and
 * when a node asks (CLAIM), whatever our map says. Until the answer is there it is said again.
 * What was held stays valid meanwhile: the new primary changes nothing before it has heard us. But
 * where all copies lost power it may not know of us, and waits for as long only as a session lasts:
 * what was valid when the map came is, and not what is renewed later (lease_trusted()).
 *
 * What is said is what was held when we began to. Returned meanwhile, it is said all the same, in
 * messages that go on or are sent again: then the node takes us to hold more than we do, and an
 * empty hand answers its RECALL.
 */
#include "dht/client/lease_int.h"

#include <errno.h>
#include <stdlib.h>

#define AGAIN_MIN (10 * ENV_MS)
#define AGAIN_MAX (500 * ENV_MS)

struct holding {
	struct request req;
	uint16_t shard;
	uint64_t term;
	uint32_t said, n; /* of the ones; answered */
	struct wire_lease_one one[];
};

static const struct request_ops holding_ops;

static void holding_free(struct orbit_client *c, struct holding *h)
{
	request_drop(&h->req);
	c->leases.shard[h->shard].saying = NULL;
	free(h);
}

static uint32_t piece_len(const struct holding *h)
{
	uint32_t left = h->n - h->said;

	return left < WIRE_LEASES_MAX ? left : WIRE_LEASES_MAX;
}

static void send_piece(struct orbit_client *c, struct holding *h, struct peer *p)
{
	struct wire_leases m = {
		.session = c->session.id,
		.epoch = c->map->epoch,
		.shard = h->shard,
		.term = h->term,
		.n = piece_len(h),
	};
	struct frame *f;

	m.more = h->said + m.n < h->n;
	request_drop(&h->req);
	request_begin(&h->req, c, &holding_ops, c->policy.check_timeout, ENTRY_FOREVER);
	h->req.home = p;
	f = frame_new(WIRE_HOLDING, h->req.e.id, 48 + 56 * (size_t)m.n);
	wire_put_leases_head(&f->b, &m);
	for (uint32_t i = 0; i < m.n; i++)
		wire_put_lease_one(&f->b, &h->one[h->said + i]);
	request_go(&h->req, TO_PEER, 0, f);
}

/* Grants of older terms are void from now on. */
static void say(struct orbit_client *c, uint16_t shard, struct peer *p, uint64_t term)
{
	struct lease_shard *sh = &c->leases.shard[shard];
	struct holding *h;
	struct lease *e;
	uint32_t n = 0;

	if (sh->saying)
		holding_free(c, sh->saying);
	TAILQ_FOREACH (e, &sh->held, at)
		n++;
	h = mem_zalloc(sizeof(*h) + n * sizeof(h->one[0]));
	h->shard = shard;
	h->term = term;
	TAILQ_FOREACH (e, &sh->held, at) {
		h->one[h->n++] = (struct wire_lease_one){
			.shard = shard,
			.id = e->id,
			.mode = (uint8_t)e->mode,
			.number = e->number,
		};
		e->asker = NULL;
	}
	sh->wished = true;
	sh->term = term;
	sh->saying = h;
	send_piece(c, h, p);
}

static void on_said(struct orbit_client *c, struct holding *h, struct peer *p)
{
	struct lease *e;

	h->said += piece_len(h);
	if (h->said < h->n) {
		send_piece(c, h, p);
		return;
	}
	TAILQ_FOREACH (e, &c->leases.shard[h->shard].held, at)
		lease_from(e, p);
	c->leases.shard[h->shard].owed = false;
	holding_free(c, h);
}

static void on_answer(struct request *r, struct peer *p, struct frame *f)
{
	struct holding *h = container_of(r, struct holding, req);
	struct orbit_client *c = r->c;
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(p, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(c, p, m.epoch);
	switch (m.status) {
	case WIRE_OK:
		on_said(c, h, p);
		return;
	case WIRE_WRONG_NODE:
		request_wrong_node(r, p); /* a newer map leads elsewhere: lease_mapped() */
		return;
	case WIRE_NO_SESSION:
		session_suspect(c);
		break;
	}
	request_backoff(
		r, request_jitter(c, AGAIN_MIN, r->wrong++, AGAIN_MAX), wire_status_name(m.status));
}

/* Only when the client goes. */
static void on_expire(struct request *r)
{
	holding_free(r->c, container_of(r, struct holding, req));
}

static const struct request_ops holding_ops = {
	.reply = WIRE_REPLY,
	.answer = on_answer,
	.expire = on_expire,
};

/* ---- when ---- */

static struct peer *primary_of(struct orbit_client *c, uint16_t shard)
{
	return route_node(c, c->map->shards[shard].primary);
}

/* Is it, or will it be, said to @p in this term? */
static bool saying_to(const struct lease_shard *sh, const struct peer *p, uint64_t term)
{
	return sh->saying && sh->term == term && sh->saying->req.home == p;
}

void lease_claimed(struct peer *p, const struct wire_leases *m)
{
	struct orbit_client *c = p->c;
	struct lease_shard *sh = &c->leases.shard[m->shard];
	uint64_t term = m->term, ours = c->map->shards[m->shard].term;

	/* of one that is primary no more, and will hear so */
	if (term < sh->term || (term < ours && primary_of(c, m->shard) != p))
		return;
	/* it leads in our term as well, and has not known it yet */
	if (term < ours)
		term = ours;
	if (!saying_to(sh, p, term))
		say(c, m->shard, p, term);
}

bool lease_trusted(const struct orbit_client *c, uint16_t shard)
{
	const struct lease_shard *sh = &c->leases.shard[shard];

	return !sh->owed || env_now(c->env) < sh->until;
}

/* The users of what is trusted no more are told, as if somebody recalled it. */
static void distrust(struct orbit_client *c, struct lease_shard *sh)
{
	struct lease *e;
	struct orbit_id *ids;
	size_t n = 0;

	TAILQ_FOREACH (e, &sh->held, at)
		n++;
	ids = mem_zalloc((n + 1) * sizeof(*ids));
	n = 0;
	TAILQ_FOREACH (e, &sh->held, at)
		ids[n++] = e->id;
	/* who is told may give back others at once */
	for (size_t i = 0; i < n; i++) {
		e = lease_find(c, &ids[i]);
		if (e)
			lease_ask_user(c, e, ORBIT_LEASE_NONE);
	}
	free(ids);
}

static void on_owed(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, leases.owed);
	struct leases *l = &c->leases;
	uint64_t next = UINT64_MAX;

	for (unsigned s = 0; s < l->nshards; s++) {
		struct lease_shard *sh = &l->shard[s];

		if (!sh->owed)
			continue;
		if (!lease_trusted(c, (uint16_t)s))
			distrust(c, sh);
		else if (sh->until < next)
			next = sh->until;
	}
	if (next != UINT64_MAX)
		env_timer_set(c->env, t, next);
}

static void owed(struct orbit_client *c, struct lease_shard *sh)
{
	struct env_timer *t = &c->leases.owed;

	if (sh->owed)
		return;
	sh->owed = true;
	sh->until = c->session.valid;
	t->fire = on_owed;
	if (!t->armed)
		env_timer_set(c->env, t, sh->until);
}

/* Notes who is primary: true if that is another one than before, or may have been meanwhile. */
static bool changed(const struct ring_map *m, struct lease_shard *sh, uint16_t shard)
{
	uint16_t primary = m->shards[shard].primary;
	static const struct orbit_id none;
	const struct ring_node *n;
	bool other;

	if (primary == RING_NONE)
		return false;
	n = &m->nodes[primary];
	other = orbit_id_cmp(&sh->node, &none) &&
		(orbit_id_cmp(&sh->node, &n->id) || sh->incarnation != n->incarnation ||
			m->shards[shard].term > sh->seen + 1);
	sh->seen = m->shards[shard].term;
	sh->node = n->id;
	sh->incarnation = n->incarnation;
	return other;
}

void lease_mapped(struct orbit_client *c)
{
	struct leases *l = &c->leases;

	if (!l->shard)
		return;
	for (unsigned s = 0; s < l->nshards; s++) {
		struct lease_shard *sh = &l->shard[s];
		uint64_t term = c->map->shards[s].term;
		struct peer *p = primary_of(c, (uint16_t)s);

		/* unless its CLAIM came before the map, and was answered */
		if (changed(c->map, sh, (uint16_t)s) && sh->wished &&
			(sh->term < term || sh->saying))
			owed(c, sh);
		/* a CLAIM may have come before the map, and been answered; what is said of an
		 * older term is not taken */
		if ((sh->owed || sh->saying) && p && sh->term < term &&
			c->session.state == SESSION_OPEN && !ring_fenced(c->map, c->session.id))
			say(c, (uint16_t)s, p, term);
	}
}

void lease_shards(struct orbit_client *c)
{
	struct leases *l = &c->leases;

	if (l->shard)
		return;
	l->nshards = ring_nshards(c->map);
	l->shard = mem_zalloc(l->nshards * sizeof(l->shard[0]));
	for (unsigned s = 0; s < l->nshards; s++) {
		TAILQ_INIT(&l->shard[s].held);
		changed(c->map, &l->shard[s], (uint16_t)s);
	}
}

void lease_forget_shards(struct orbit_client *c)
{
	struct leases *l = &c->leases;

	for (unsigned s = 0; s < l->nshards; s++) {
		struct lease_shard *sh = &l->shard[s];

		if (sh->saying)
			holding_free(c, sh->saying);
		TAILQ_INIT(&sh->held);
		sh->term = 0;
		sh->wished = sh->owed = false;
	}
}

void lease_wish(
	struct orbit_client *c, const struct txn_build *t, const uint16_t *shards, unsigned nshards)
{
	if (!t->wishes && !t->lease_followed)
		return;
	lease_shards(c);
	for (unsigned i = 0; i < nshards; i++)
		c->leases.shard[shards[i]].wished = true;
}
