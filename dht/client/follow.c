/*
 * Following the ring map. A node with a newer one says so (EPOCH, HELLO, every REPLY), and it is
 * fetched from whoever said it. Asking is stateless: any MAP that is newer is taken, whoever sent
 * it, so there is nothing to lose when a link goes.
 *
 * The chase: as long as there is a reason to believe that a newer map is to be had, or ought to be
 * soon, one connected node after the other is asked. It is a net under what is pushed: the reasons
 * are
 *
 *   a node spoke of a newer epoch         its MAP has not come yet
 *   requests wait for a peer without link the ring is about to notice that too
 *   requests have nobody to go to         the map has nobody for their shard
 *
 * CHASE_EVERY apart for the first CHASE_QUICK times, then CHASE_SLOW apart. The chase also takes
 * what waits for a peer that stays away to other nodes, which pass it on.
 *
 * So that there is somebody to ask, WARM links are kept up even if only one is used.
 */
#include "dht/client/client.h"

#define ASK_AGAIN (100 * ENV_MS)     /* of one peer, when it has not answered */
#define REFRESH_AGAIN (200 * ENV_MS) /* not more often for stalled requests */
#define SEEK_AGAIN (500 * ENV_MS)    /* as long as there is no map */
#define CHASE_EVERY (50 * ENV_MS)
#define CHASE_QUICK 60
#define CHASE_SLOW (1 * ENV_SEC)
#define WARM 3u

void follow_ask(struct peer *p)
{
	struct orbit_client *c = p->c;
	uint64_t now = env_now(c->env);
	struct frame *f;

	if (!peer_usable(p) || (p->map_asked && now - p->map_asked < ASK_AGAIN))
		return;
	if (!p->map_asked)
		p->map_silent = now;
	else if (now - p->map_silent >= c->ping_after)
		peer_ping(p); /* nobody else may be watching that link */
	p->map_asked = now;
	c->n.map_fetches++;
	f = frame_new(WIRE_MAP_GET, ++c->next_id, 16);
	wire_put_map_get(&f->b, c->map && !p->map_whole ? c->map->epoch : 0);
	peer_send(p, f);
}

/* ---- the chase ---- */

/* Asks the connected node after the one that was asked last, but not @not. */
static void ask_next(struct orbit_client *c, const struct peer * not )
{
	struct peer *p;
	unsigned n = 0;

	TAILQ_FOREACH (p, &c->peers, at)
		n++;
	p = c->refreshed;
	while (n--) {
		p = p ? TAILQ_NEXT(p, at) : NULL;
		if (!p)
			p = TAILQ_FIRST(&c->peers);
		if (p != not &&p->state == PEER_UP) {
			c->refreshed = p;
			follow_ask(p);
			return;
		}
	}
	/* Nobody is left whom to ask: maybe the addresses that the user named lead somewhere. */
	TAILQ_FOREACH (p, &c->peers, at)
		if (p->seed && p->state == PEER_IDLE)
			peer_want(p);
}

static bool wanting(const struct orbit_client *c)
{
	const struct peer *p;

	if (!c->map || c->closing)
		return false;
	if (c->heard > c->map->epoch || !TAILQ_EMPTY(&c->homeless))
		return true;
	TAILQ_FOREACH (p, &c->peers, at)
		if (!TAILQ_EMPTY(&p->pending) && !peer_usable(p))
			return true;
	return false;
}

static void chase_again(struct orbit_client *c)
{
	uint64_t delay = c->chased < CHASE_QUICK ? CHASE_EVERY : CHASE_SLOW;

	c->chased++;
	env_timer_set(c->env, &c->chaser, env_now(c->env) + delay);
}

static void chase(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, chaser);

	if (!wanting(c)) {
		c->chased = 0;
		return;
	}
	ask_next(c, NULL);
	request_around(c);
	chase_again(c);
}

void follow_chase(struct orbit_client *c, bool now)
{
	if (c->chaser.armed || !wanting(c))
		return;
	c->chaser.fire = chase;
	if (now)
		ask_next(c, NULL);
	chase_again(c);
}

void follow_epoch(struct orbit_client *c, struct peer *p, uint64_t epoch)
{
	uint64_t now = env_now(c->env);

	if (!c->map || epoch <= c->map->epoch)
		return;
	if (epoch > c->heard) {
		c->heard = epoch;
		c->teller = p;
	}
	/* All say it at about the same time: one of them is asked. */
	if (c->asked_at && now - c->asked_at < CHASE_EVERY)
		return;
	c->asked_at = now;
	follow_ask(p);
	follow_chase(c, false);
}

void follow_mapped(struct orbit_client *c)
{
	c->asked_at = 0;
	if (c->map && c->heard > c->map->epoch && c->teller && peer_usable(c->teller))
		follow_epoch(c, c->teller, c->heard);
	follow_chase(c, false);
	follow_warm(c);
}

void follow_stalled(struct orbit_client *c, const struct peer * not )
{
	uint64_t now = env_now(c->env);

	if (c->refresh_at && now - c->refresh_at < REFRESH_AGAIN)
		return;
	c->refresh_at = now;
	ask_next(c, not );
}

/* ---- links that are kept ---- */

static bool likely(const struct orbit_client *c, unsigned node)
{
	const struct ring_node *n = &c->map->nodes[node];

	return n->up && !n->witness;
}

void follow_warm(struct orbit_client *c)
{
	unsigned n = c->map ? c->map->nnodes : 0, warm = 0, first;
	struct peer *p;

	if (c->closing)
		return;
	for (unsigned i = 0; i < n; i++) {
		p = c->by_node[i];
		if (p && (peer_usable(p) || (p->state == PEER_CONNECTING && !p->error[0])))
			warm++;
	}
	if (warm >= WARM || warm >= n)
		return;
	/* Not the same ones for every client. */
	first = (unsigned)(env_random_u64(c->env) % n);
	for (unsigned i = 0; i < 2 * n && warm < WARM; i++) {
		unsigned node = (first + i) % n;

		if (likely(c, node) != (i < n))
			continue;
		p = route_node(c, node);
		if (p->state != PEER_IDLE)
			continue;
		peer_want(p);
		warm++;
	}
}

/* ---- the first map ---- */

static void seek(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, seeker);
	struct peer *p;

	if (c->map)
		return;
	TAILQ_FOREACH (p, &c->peers, at)
		if (p->state == PEER_UP)
			follow_ask(p);
	env_timer_set(c->env, &c->seeker, env_now(c->env) + SEEK_AGAIN);
}

void follow_seek(struct orbit_client *c)
{
	c->seeker.fire = seek;
	env_timer_set(c->env, &c->seeker, env_now(c->env) + SEEK_AGAIN);
}

void follow_stop(struct orbit_client *c)
{
	env_timer_clear(c->env, &c->seeker);
	env_timer_clear(c->env, &c->chaser);
}
