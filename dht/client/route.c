/*
 * The ring map, as far as a client cares: which peer serves a shard, and what a newer one changes.
 * How it is come by is follow.c's.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"

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
	struct peer *p;

	if (r->to == TO_PEER)
		return r->home;
	if (!c->map)
		return NULL;
	if (r->to == TO_KEEPER) {
		p = route_node(c, c->map->keeper);
		return p ? p : route_around(c, NULL, NULL); /* they pass it on */
	}
	if (r->shard >= ring_nshards(c->map))
		return NULL;
	return route_node(c, c->map->shards[r->shard].primary);
}

struct peer *route_around(struct orbit_client *c, const struct peer *home, const struct peer *last)
{
	unsigned n = c->map ? c->map->nnodes : 0, from = 0, woken = 0;
	struct peer *p = c->relay;

	if (!last && p && p != home && p->state == PEER_UP)
		return p;
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

	if (!c->map || c->map->nnodes != m->nnodes) /* while data moves they come by the dozen */
		log_info("mod=client epoch=%llu nodes=%u shards=%u msg=\"ring map\"",
			(unsigned long long)m->epoch, m->nnodes, ring_nshards(m));
	ring_unref(c->map);
	c->map = m;
	memcpy(c->fsid, m->fsid, sizeof(c->fsid));
	c->error[0] = '\0';
	bind_peers(c);
	sync_init(c);
	lease_mapped(c);
	reroute_all(c);
	watch_mapped(c);
	TAILQ_FOREACH (p, &c->peers, at)
		if (!bound(c, p))
			peer_rest(p);
	session_check(c);
	session_open(c);
	call_start_waiting(c);
	client_check_ready(c);
	follow_mapped(c);
	lease_tell_mapped(c);
}

/* The map that differences lead to from ours. -ESTALE: they begin elsewhere, as another answer came
 * before this one. */
static int patched(struct orbit_client *c, const struct wire_map *w, struct ring_map **out)
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
	bool whole;
	int rc = wire_get_map(body, &w);

	if (rc)
		return rc;
	p->map_asked = 0;
	whole = p->map_whole;
	p->map_whole = false;
	if (w.form == WIRE_MAP_NONE) {
		if (!c->map && !w.epoch)
			snprintf(
				c->error, sizeof(c->error), "%s has no ring map yet", peer_name(p));
		return 0;
	}
	rc = w.form == WIRE_MAP_DIFFS ? patched(c, &w, &m) : ring_decode(w.map, w.map_len, &m);
	if (rc && w.form == WIRE_MAP_DIFFS && !whole) {
		if (rc != -ESTALE) {
			log_warn("mod=client peer=%s rc=-%s msg=\"a difference of ring maps makes "
				 "no "
				 "sense: the whole is fetched\"",
				peer_name(p), log_errno(rc));
			p->map_whole = true;
			follow_ask(p);
		}
		return 0;
	}
	if (rc)
		return rc;
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
