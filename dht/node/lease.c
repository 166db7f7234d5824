/*
 * Leases, and who does not answer.
 *
 * A node that leads shards asks every node whose word counts for one of them for a lease, every
 * quarter of one: as long as it runs, that node does not take over. It counts from the sending of
 * BEAT on the asker's clock and 1/50 longer from the answer on the giver's. None is given by one
 * whose map is newer than the asker's: it may name another primary already; nor by one whose map is
 * older, which then fetches the newer one first, so that a lease is only ever given to whom the
 * giver's own map names.
 *
 * Answers leave while all leases of their shards hold, as seen when they leave. A new primary waits
 * until what it gave to the former one is over, or that one says that it knows (lease_over()); and,
 * as it may have forgotten, one lease from its own start.
 *
 * Who answers no BEAT for fail_timeout, or refuses connections, is reported to the keeper, until
 * the map is another one. If we were stopped ourselves (the tick comes late), that is not others'
 * silence.
 */
#include <errno.h>
#include <inttypes.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/keep.h"
#include "dht/node/repl_int.h"

#define LEASE_MAX (10 * ENV_SEC) /* that anybody is given */
#define ASK_AGAIN (100 * ENV_MS)
#define POKE_AGAIN (5 * ENV_MS)
#define LEASE_AGAIN (10 * ENV_MS)

static uint64_t longer(uint64_t lease)
{
	return lease + lease / 50;
}

/* ---- leases that we are given ---- */

bool lease_ready(struct node *n, struct shard *s)
{
	uint64_t now;
	bool holds = true;

	if (!s->repl)
		return true;
	now = env_now(n->env);
	for (unsigned i = 0; i < s->repl->ncopies; i++) {
		struct copy *c = s->repl->copy[i];

		if (!c->required || c->peer->lease_until > now)
			continue;
		holds = false;
		lease_poke(c->peer);
	}
	if (!holds)
		repl_soon(n, LEASE_AGAIN);
	if (!holds && !s->stalled) {
		s->stalled = true;
		TAILQ_INSERT_TAIL(&n->stalled, s, stalled_entry);
	}
	return holds;
}

bool node_serves(const struct node *n, uint16_t shard)
{
	const struct shard *s = shard < n->nshards ? &n->shards[shard] : NULL;
	uint64_t now = env_now(n->env);

	if (!s || n->stopping || s->role != ROLE_SERVING)
		return false;
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++)
		if (s->repl->copy[i]->required && s->repl->copy[i]->peer->lease_until <= now)
			return false;
	return true;
}

void lease_flush(struct node *n)
{
	TAILQ_HEAD(, shard) all = TAILQ_HEAD_INITIALIZER(all);
	struct shard *s;

	TAILQ_CONCAT(&all, &n->stalled, stalled_entry);
	while ((s = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, s, stalled_entry);
		s->stalled = false;
		if (s->role == ROLE_SERVING)
			req_flush(s, 0);
	}
}

struct beat {
	struct call call;
	struct peer *peer;
	uint64_t sent;
};

static void beat_answered(struct call *call, int rc, struct frame *answer)
{
	struct beat *b = container_of(call, struct beat, call);
	struct peer *p = b->peer;
	uint64_t sent = b->sent;
	struct wire_beat m;

	free(b);
	if (rc || p->n->stopping || answer->type != WIRE_BEAT ||
		wire_get_beat(frame_cur(answer), &m))
		return;
	p->heard = env_now(p->n->env);
	p->room = (int64_t)min_size(m.available, INT64_MAX) - (int64_t)p->unacked_bytes;
	p->room_known = true;
	if (m.lease && m.lease <= p->n->cfg.lease && sent + m.lease > p->lease_until)
		p->lease_until = sent + m.lease;
	lease_heard(p->n, &p->id, p->incarnation, m.epoch);
	lease_flush(p->n);
}

static void send_beat(struct peer *p)
{
	struct node *n = p->n;
	uint16_t node = n->ring ? ring_find(n->ring, &p->id) : RING_NONE;
	const struct wire_beat m = {.epoch = n->ring ? n->ring->epoch : 0, .lease = n->cfg.lease};
	struct frame *f;
	struct beat *b;

	if (node == RING_NONE || n->stopping)
		return;
	b = mem_zalloc(sizeof(*b));
	b->peer = p;
	b->sent = p->beat_at = env_now(n->env);
	b->call.done = beat_answered;
	f = frame_new(WIRE_BEAT, 0, 24);
	wire_put_beat(&f->b, &m);
	peer_call(n, node, f, &b->call);
}

void lease_poke(struct peer *p)
{
	if (env_now(p->n->env) >= p->beat_at + POKE_AGAIN)
		send_beat(p);
}

void lease_led(struct peer *p, int more)
{
	uint64_t now = env_now(p->n->env);

	if (!p->led && more > 0) {
		p->led_since = now;
		if (p->heard < now)
			p->heard = now;
	}
	p->led += (unsigned)more;
}

/* ---- leases that we give ---- */

/* The node's index, if our map says that it is that start of it. */
static uint16_t asker_of(const struct node *n, const struct conn *c)
{
	uint16_t at = n->ring ? ring_find(n->ring, &c->node) : RING_NONE;
	const struct ring_node *rn;

	if (at == RING_NONE)
		return RING_NONE;
	rn = &n->ring->nodes[at];
	if (rn->incarnation && (!rn->up || rn->incarnation != c->incarnation))
		return RING_NONE;
	return at;
}

void lease_arrive(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_beat m, out = {0};
	struct store_usage usage;
	struct frame *a;
	struct peer *p;
	uint16_t at;

	if (c->role != WIRE_ROLE_NODE || wire_get_beat(frame_cur(f), &m)) {
		conn_fail(c, WIRE_BAD_REQUEST, "a BEAT that makes no sense");
		return;
	}
	at = asker_of(n, c);
	if (at != RING_NONE && at != n->self && node_registered(n) && m.epoch == n->ring->epoch &&
		m.lease <= LEASE_MAX) {
		uint64_t until = env_now(n->env) + longer(m.lease);

		p = peer_of(n, at);
		if (until > p->given_until)
			p->given_until = until;
		p->given_to = c->incarnation;
		out.lease = m.lease;
	}
	store_usage(n->st, &usage);
	out.epoch = n->ring ? n->ring->epoch : 0;
	out.available = usage.available;
	a = frame_new(WIRE_BEAT, 0, 24);
	wire_put_beat(&a->b, &out);
	conn_send(c, a, f->id);
	lease_heard(n, &c->node, c->incarnation, m.epoch);
}

static struct peer *peer_known(struct node *n, const struct orbit_id *id)
{
	struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if (!orbit_id_cmp(&p->id, id))
			return p;
	}
	return NULL;
}

/* A node that has another name has the leases that it was given. */
static void follow_names(struct node *n, const struct ring_map *old)
{
	for (unsigned i = 0; i < old->nnodes; i++) {
		struct peer *was = peer_known(n, &old->nodes[i].id), *is;
		uint16_t at;

		if (!was || !old->nodes[i].number || ring_find(n->ring, &was->id) != RING_NONE)
			continue;
		at = ring_find_number(n->ring, old->nodes[i].number);
		if (at == RING_NONE || at == n->self)
			continue;
		is = peer_of(n, at);
		if (is->given_until < was->given_until)
			is->given_until = was->given_until;
		is->given_to = was->given_to;
	}
}

void lease_adopt(struct node *n, const struct ring_map *old)
{
	uint64_t now = env_now(n->env);

	if (old)
		follow_names(n, old);
	for (unsigned i = 0; old && i < n->nshards; i++) {
		const struct ring_shard *was = &old->shards[i], *is = &n->ring->shards[i];
		struct shard *s = node_shard(n, i);
		const struct orbit_id *id;
		struct peer *p;

		if (was->primary == RING_NONE || was->term == is->term)
			continue;
		id = &old->nodes[was->primary].id;
		if (!orbit_id_cmp(id, &n->id) ||
			(is->primary != RING_NONE &&
				!orbit_id_cmp(id, &n->ring->nodes[is->primary].id)))
			continue;
		p = peer_known(n, id);
		if (!p || p->given_until <= now)
			continue;
		if (s->former_until > now && s->former != p) {
			s->former = NULL;
			if (s->former_until < p->given_until)
				s->former_until = p->given_until;
		} else {
			s->former = p;
			s->former_until = p->given_until;
			s->former_epoch = n->ring->epoch;
		}
	}
}

bool lease_over(struct node *n, const struct shard *s, uint64_t *when)
{
	const struct peer *p = s->former;
	uint64_t now = env_now(n->env), start = n->started + longer(n->cfg.lease);

	/* nobody else could have been given one */
	if (n->ring->nnodes > 1 && now < start) {
		*when = start;
		return false;
	}
	if (now >= s->former_until)
		return true;
	if (p && (p->said_epoch >= s->former_epoch || p->said_from > p->given_to))
		return true;
	*when = s->former_until;
	return false;
}

void lease_heard(struct node *n, const struct orbit_id *id, uint64_t incarnation, uint64_t epoch)
{
	uint16_t at = n->ring && !n->stopping ? ring_find(n->ring, id) : RING_NONE;
	struct peer *p;

	if (at == RING_NONE || at == n->self)
		return;
	p = peer_of(n, at);
	if (incarnation < p->said_from || (incarnation == p->said_from && epoch <= p->said_epoch))
		return;
	p->said_from = incarnation;
	if (epoch > p->said_epoch)
		p->said_epoch = epoch;
	route_epoch(n, at, epoch);
	take_go(n);
}

/* ---- who does not answer ---- */

struct reproach {
	struct keep_ask ask;
	struct peer *peer; /* NULL: gone */
};

static void reproached(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct reproach *k = container_of(a, struct reproach, ask);

	/* the map tells; until then it is said again */
	(void)status;
	(void)epoch;
	if (k->peer)
		k->peer->asked = NULL;
	free(k);
}

void lease_peer_free(struct peer *p)
{
	if (p->asked)
		p->asked->peer = NULL;
}

void lease_suspect(struct node *n, struct peer *p, bool refused)
{
	uint64_t now = env_now(n->env);
	char hex[ORBIT_ID_HEX];

	if (p->asked || (p->asked_at && now < p->asked_at + ASK_AGAIN) || n->stopping || !n->ring)
		return;
	if (now >= p->asked_at + ENV_SEC)
		log_warn("mod=node node=%s silent=%" PRIu64 "ms refused=%d msg=\"a node does not "
			 "answer\"",
			orbit_id_hex(&p->id, hex), p->heard ? (now - p->heard) / ENV_MS : 0,
			refused);
	p->asked_at = now;
	p->asked = mem_zalloc(sizeof(*p->asked));
	p->asked->peer = p;
	p->asked->ask.done = reproached;
	p->asked->ask.m = (struct wire_ask_m){.what = ASK_SUSPECT,
		.flags = refused ? ASK_F_REFUSED : 0,
		.epoch = n->ring->epoch,
		.node = p->id,
		.by = n->id,
		.incarnation = p->incarnation};
	keep_ask(n, &p->asked->ask);
}

/* Does it lead a shard that we have a copy of? */
static bool leads_us(const struct node *n, const struct orbit_id *id)
{
	uint16_t at = n->ring ? ring_find(n->ring, id) : RING_NONE;

	for (unsigned i = 0; at != RING_NONE && i < n->nshards; i++) {
		if (n->ring->shards[i].primary == at && n->shards[i].role == ROLE_BACKUP)
			return true;
	}
	return false;
}

void lease_refused(struct peer *p)
{
	if (p->led || leads_us(p->n, &p->id))
		lease_suspect(p->n, p, true);
}

static void probed(struct call *call, int rc, struct frame *answer)
{
	(void)rc; /* a refusal is told by the link */
	(void)answer;
	free(call);
}

void lease_probe(struct node *n, const struct orbit_id *id)
{
	uint16_t at = n->ring && !n->stopping ? ring_find(n->ring, id) : RING_NONE;
	struct call *call;

	if (at == RING_NONE || at == n->self || !leads_us(n, id))
		return;
	call = mem_zalloc(sizeof(*call));
	call->done = probed;
	peer_call(n, at, frame_new(WIRE_PING, 0, 0), call);
}

void lease_tick(struct node *n, uint64_t late)
{
	uint64_t now = env_now(n->env);
	struct peer *p;

	TAILQ_FOREACH (p, &n->peers, entry) {
		if (!p->led)
			continue;
		p->heard += late;
		if (p->heard > now)
			p->heard = now;
		send_beat(p);
		if (now < p->heard + n->cfg.fail_timeout)
			continue;
		lease_suspect(n, p, false);
		/* a link that stands and carries nothing is not waited for */
		if (now >= p->broken_at + n->cfg.fail_timeout) {
			p->broken_at = now;
			peer_break(p, -ETIMEDOUT);
		}
	}
}
