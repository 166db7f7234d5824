/*
 * The ring map, as far as a client cares: which peer serves a shard, and how to learn of a newer
 * map. Asking for the map is stateless - any MAP that is newer is taken, whoever sent it - so there
 * is nothing to lose when a link goes: whatever made it ask makes it ask again.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define ASK_AGAIN (100 * ENV_MS)     /* of one peer, when it has not answered */
#define REFRESH_AGAIN (200 * ENV_MS) /* not more often for stalled requests */
#define SEEK_AGAIN (500 * ENV_MS)    /* as long as there is no map */

struct peer *route_node(struct orbit_client *c, unsigned node)
{
	if (!c->map || node >= c->map->nnodes)
		return NULL;
	if (!c->by_node[node]) {
		c->by_node[node] = peer_new(c);
		peer_set_node(c->by_node[node], &c->map->nodes[node]);
	}
	return c->by_node[node];
}

struct peer *route_of(struct orbit_client *c, const struct request *r)
{
	if (r->to == TO_PEER)
		return r->home;
	if (!c->map)
		return NULL;
	if (r->to == TO_KEEPER)
		return route_node(c, c->map->keeper);
	if (r->shard >= ring_nshards(c->map))
		return NULL;
	return route_node(c, c->map->shards[r->shard].primary);
}

struct peer *route_around(struct orbit_client *c, const struct peer *home, const struct peer *last)
{
	unsigned n = c->map ? c->map->nnodes : 0, from = 0, woken = 0;
	struct peer *p;

	for (unsigned i = 0; i < n; i++)
		if (c->by_node[i] && c->by_node[i] == last)
			from = i + 1;
	for (unsigned i = 0; i < n; i++) {
		p = route_node(c, (from + i) % n);
		if (p == home)
			continue;
		if (p->state == PEER_UP)
			return p;
		if (p->state == PEER_IDLE && woken++ < 3)
			peer_want(p); /* for the next time */
	}
	return NULL;
}

void route_ask(struct peer *p)
{
	struct orbit_client *c = p->c;
	uint64_t now = env_now(c->env);
	struct frame *f;

	if (!peer_usable(p) || (p->map_asked && now - p->map_asked < ASK_AGAIN))
		return;
	p->map_asked = now;
	c->n.map_fetches++;
	f = frame_new(WIRE_MAP_GET, ++c->next_id, 16);
	wire_put_map_get(&f->b, c->map ? c->map->epoch : 0);
	peer_send(p, f);
}

void route_note_epoch(struct orbit_client *c, struct peer *p, uint64_t epoch)
{
	if (c->map && epoch > c->map->epoch)
		route_ask(p);
}

void route_refresh(struct orbit_client *c, const struct peer * not )
{
	uint64_t now = env_now(c->env);
	struct peer *p;
	unsigned n = 0;

	if (c->refresh_at && now - c->refresh_at < REFRESH_AGAIN)
		return;
	c->refresh_at = now;
	TAILQ_FOREACH (p, &c->peers, at)
		n++;
	p = c->refreshed;
	while (n--) {
		p = p ? TAILQ_NEXT(p, at) : NULL;
		if (!p)
			p = TAILQ_FIRST(&c->peers);
		if (p != not &&p->state == PEER_UP) {
			c->refreshed = p;
			route_ask(p);
			return;
		}
	}
	/* Nobody is left whom to ask: maybe the addresses that the user named lead somewhere. */
	TAILQ_FOREACH (p, &c->peers, at)
		if (p->seed && p->state == PEER_IDLE)
			peer_want(p);
}

static void seek(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, seeker);
	struct peer *p;

	if (c->map)
		return;
	TAILQ_FOREACH (p, &c->peers, at)
		if (p->state == PEER_UP)
			route_ask(p);
	env_timer_set(c->env, &c->seeker, env_now(c->env) + SEEK_AGAIN);
}

void route_seek(struct orbit_client *c)
{
	c->seeker.fire = seek;
	env_timer_set(c->env, &c->seeker, env_now(c->env) + SEEK_AGAIN);
}

/* ---- a new map ---- */

static unsigned node_of_peer(const struct ring_map *m, const struct peer *p)
{
	const struct ring_node *n;

	if (p->known)
		return ring_find(m, &p->node);
	for (unsigned i = 0; i < m->nnodes; i++) {
		n = &m->nodes[i];
		for (unsigned a = 0; a < n->naddrs; a++)
			for (unsigned b = 0; b < p->naddrs; b++)
				if (!strcmp(n->addr[a], p->addr[b]))
					return i;
	}
	return RING_NONE;
}

static void bind_peers(struct orbit_client *c)
{
	struct peer *p;
	unsigned i;

	free(c->by_node);
	c->by_node = mem_zalloc(c->map->nnodes * sizeof(*c->by_node));
	TAILQ_FOREACH (p, &c->peers, at) {
		i = node_of_peer(c->map, p);
		if (i >= c->map->nnodes || c->by_node[i])
			continue;
		c->by_node[i] = p;
		peer_set_node(p, &c->map->nodes[i]);
	}
}

static bool bound(const struct orbit_client *c, const struct peer *p)
{
	for (unsigned i = 0; c->map && i < c->map->nnodes; i++)
		if (c->by_node[i] == p)
			return true;
	return false;
}

/* By number: a request that moves may end others. */
static void reroute_all(struct orbit_client *c)
{
	size_t n = 0, total = c->table.n;
	uint64_t *ids = mem_zalloc((total + 1) * sizeof(*ids));
	struct entry *e, *tmp;

	HASH_ITER (hh, c->table.by_id, e, tmp)
		ids[n++] = e->id;
	for (size_t i = 0; i < n; i++) {
		e = table_find(&c->table, ids[i]);
		if (e)
			request_reroute(container_of(e, struct request, e));
	}
	free(ids);
}

static void install(struct orbit_client *c, struct ring_map *m)
{
	struct peer *p;

	log_info("mod=client epoch=%llu nodes=%u shards=%u msg=\"ring map\"",
		(unsigned long long)m->epoch, m->nnodes, ring_nshards(m));
	ring_unref(c->map);
	c->map = m;
	memcpy(c->fsid, m->fsid, sizeof(c->fsid));
	c->error[0] = '\0';
	bind_peers(c);
	sync_init(c);
	reroute_all(c);
	TAILQ_FOREACH (p, &c->peers, at)
		if (!bound(c, p))
			peer_rest(p);
	session_open(c);
	call_start_waiting(c);
	client_check_ready(c);
}

/* The map that differences lead to from ours. -ESTALE: they begin elsewhere, as another answer came
 * before this one. */
static int follow(struct orbit_client *c, const struct wire_map *w, struct ring_map **out)
{
	struct ring_map *m = c->map ? ring_ref(c->map) : NULL, *next;
	struct cur diffs = cur_of(w->map, w->map_len);
	int rc = m ? 0 : -ESTALE;

	while (!rc && diffs.left) {
		size_t len;
		const void *diff = cur_blob(&diffs, FRAME_BODY_MAX, &len);

		rc = diff ? ring_patch(m, diff, len, &next) : -EBADMSG;
		if (rc)
			break;
		ring_unref(m);
		m = next;
	}
	if (rc)
		ring_unref(m);
	else
		*out = m;
	return rc;
}

int route_take(struct orbit_client *c, struct peer *p, struct cur body)
{
	static const uint8_t any[16];
	struct wire_map w;
	struct ring_map *m;
	int rc = wire_get_map(body, &w);

	if (rc)
		return rc;
	p->map_asked = 0;
	if (w.form == WIRE_MAP_NONE) {
		if (!c->map && !w.epoch)
			snprintf(
				c->error, sizeof(c->error), "%s has no ring map yet", peer_name(p));
		return 0;
	}
	rc = w.form == WIRE_MAP_DIFFS ? follow(c, &w, &m) : ring_decode(w.map, w.map_len, &m);
	if (rc)
		return rc == -ESTALE ? 0 : rc;
	if (m->epoch != w.epoch)
		rc = -EBADMSG;
	else if (memcmp(c->fsid, any, 16) && memcmp(c->fsid, m->fsid, 16))
		rc = -EMEDIUMTYPE;
	else if (c->map && m->shard_bits != c->map->shard_bits)
		rc = -EBADMSG;
	if (rc || (c->map && m->epoch <= c->map->epoch)) {
		ring_unref(m);
		return rc;
	}
	install(c, m);
	return 0;
}

bool route_learn(struct peer *p, const struct orbit_id *node)
{
	static const struct orbit_id none;
	struct orbit_client *c = p->c;
	unsigned i;

	if (!orbit_id_cmp(node, &none))
		return false;
	if (p->known && orbit_id_cmp(node, &p->node) && bound(c, p))
		return false;
	p->known = true;
	p->node = *node;
	if (!c->map || bound(c, p))
		return true;
	i = ring_find(c->map, node);
	if (i >= c->map->nnodes)
		return true;
	if (!c->by_node[i])
		c->by_node[i] = p;
	else
		peer_rest(p); /* there is one already */
	return true;
}
