/*
 * A call is one link with one purpose: connecting -> greeted (HELLO, STATUS and MAP_GET were sent
 * in one go) -> answered; or down. It fails over to the node's next address. All calls of a round
 * run side by side; the round is over when each has ended, or when the time is.
 */
#include "tools/orbitctl/gather.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tools/common/text.h"

#define OTHERS_WAIT (200 * ENV_MS)

enum { ID_MAP = 1, ID_STATUS = 2 };

struct call {
	struct round *r;
	struct gather_node *node; /* NULL: only the map is wanted */
	const char *addrs[RING_ADDRS_MAX];
	unsigned naddrs, tried;
	struct link *link;
	bool over, got_map, got_stats;
	int rc;
	char why[160];
};

struct round {
	struct loop *lp;
	struct env_timer timer;
	struct ring_map **map; /* the newest so far, *map may be NULL */
	struct ring_map *base; /* that we ask for news of; NULL: none */
	struct call *calls;
	unsigned ncalls, running;
	bool first_map; /* with a map there, wait a little for a newer one, no more */
	bool late;
};

static void call_begin(struct call *c);

static void call_over(struct call *c, int rc)
{
	if (c->over)
		return;
	c->over = true;
	c->rc = rc;
	c->r->running--;
	loop_stop(c->r->lp);
}

static void fail(struct call *c, int rc, const char *text)
{
	snprintf(c->why, sizeof(c->why), "%s: %s", c->addrs[c->tried - 1],
		text && *text ? text : strerror(-rc));
	if (c->link)
		link_close(c->link);
	c->link = NULL;
	if (c->tried < c->naddrs)
		call_begin(c);
	else
		call_over(c, rc);
}

static void on_up(struct link *l, void *arg)
{
	struct wire_hello me = {
		.version = WIRE_VERSION, .version_min = WIRE_VERSION_MIN, .role = WIRE_ROLE_ADMIN};
	struct frame *hello = frame_new(WIRE_HELLO, 0, 128);
	struct frame *map = frame_new(WIRE_MAP_GET, ID_MAP, 16);
	struct call *c = arg;

	wire_put_hello(&hello->b, &me);
	wire_put_map_get(&map->b, c->r->base ? c->r->base->epoch : 0);
	link_send(l, hello);
	link_send(l, map);
	if (c->node)
		link_send(l, frame_new(WIRE_STATUS, ID_STATUS, 0));
}

static void on_down(struct link *l, int rc, void *arg)
{
	(void)l;
	fail(arg, rc ? rc : -ECONNRESET, NULL);
}

static void on_stat(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	struct gather_node *n = arg;

	if (n->nstats == WIRE_STATS_MAX)
		return;
	if (!n->stats)
		n->stats = mem_zalloc(WIRE_STATS_MAX * sizeof(*n->stats));
	n->stats[n->nstats].name = mem_dup(name, nlen);
	n->stats[n->nstats++].text = mem_dup(text, tlen);
}

/* The map that a MAP says, which may only be what changed since the one we asked with. */
static int read_map(struct round *r, const struct wire_map *m, struct ring_map **out)
{
	struct cur c = cur_of(m->map, m->map_len);
	struct ring_map *map, *next;
	const void *diff;
	size_t len;
	int rc = 0;

	if (m->form == WIRE_MAP_WHOLE)
		return ring_decode(m->map, m->map_len, out);
	if (!r->base)
		return -EPROTO;
	map = ring_ref(r->base);
	while (c.left) {
		diff = cur_blob(&c, FRAME_BODY_MAX, &len);
		rc = diff ? ring_patch(map, diff, len, &next) : -EBADMSG;
		if (rc)
			break;
		ring_unref(map);
		map = next;
	}
	if (rc)
		ring_unref(map);
	else
		*out = map;
	return rc;
}

static int take_map(struct call *c, struct frame *f)
{
	struct ring_map *map;
	struct wire_map m;
	int rc = f->type == WIRE_MAP ? wire_get_map(frame_cur(f), &m) : -EPROTO;

	if (rc || m.form == WIRE_MAP_NONE)
		return rc;
	rc = read_map(c->r, &m, &map);
	if (rc)
		return rc;
	if (*c->r->map && (*c->r->map)->epoch >= map->epoch) {
		ring_unref(map);
		return 0;
	}
	ring_unref(*c->r->map);
	*c->r->map = map;
	return 0;
}

static void on_message(struct link *l, struct frame *f, void *arg)
{
	struct call *c = arg;
	struct wire_hello h;
	struct wire_error e;
	int rc = 0;

	(void)l;
	if (f->type == WIRE_ERROR) {
		char text[128] = "";

		if (!wire_get_error(frame_cur(f), &e))
			snprintf(text, sizeof(text), "%.*s", (int)e.text_len, e.text);
		fail(c, -EPROTO, text);
		return;
	}
	if (f->type == WIRE_HELLO) {
		rc = wire_get_hello(frame_cur(f), &h);
		if (!rc && c->node && orbit_id_cmp(&h.node, &c->node->id)) {
			fail(c, -EMEDIUMTYPE, "another node answers there");
			return;
		}
		if (!rc && c->node) {
			c->node->incarnation = h.incarnation;
			c->node->epoch = h.epoch;
		}
	} else if (f->id == ID_MAP) {
		rc = take_map(c, f);
		c->got_map = true;
	} else if (f->id == ID_STATUS && c->node) {
		rc = f->type == WIRE_STATS ? wire_get_stats(frame_cur(f), on_stat, c->node)
					   : -EPROTO;
		c->got_stats = true;
	}
	if (rc)
		fail(c, rc, NULL);
	else if (c->got_map && (c->got_stats || !c->node))
		call_over(c, 0);
}

static const struct link_events events = {.up = on_up, .message = on_message, .down = on_down};

static void call_begin(struct call *c)
{
	int rc;

	do {
		rc = env_connect(loop_env(c->r->lp), c->addrs[c->tried++], &events, c, &c->link);
	} while (rc && c->tried < c->naddrs);
	if (rc) {
		c->link = NULL;
		snprintf(c->why, sizeof(c->why), "%s: not an address: want HOST:PORT",
			c->addrs[c->tried - 1]);
		call_over(c, rc);
	}
}

static void on_late(struct env_timer *t)
{
	struct round *r = container_of(t, struct round, timer);

	r->late = true;
	loop_stop(r->lp);
}

/* Runs all calls to their ends. */
static void round_run(struct round *r, uint64_t timeout)
{
	struct env *e = loop_env(r->lp);
	uint64_t end = env_now(e) + timeout;

	r->timer.fire = on_late;
	r->running = r->ncalls;
	env_timer_set(e, &r->timer, end);
	for (unsigned i = 0; i < r->ncalls; i++)
		call_begin(&r->calls[i]);
	while (r->running && !r->late) {
		loop_run(r->lp);
		if (!r->first_map || !*r->map)
			continue;
		/* (a node that was just started may have an old one) */
		r->first_map = false;
		if (end > env_now(e) + OTHERS_WAIT)
			env_timer_set(e, &r->timer, env_now(e) + OTHERS_WAIT);
	}
	env_timer_clear(e, &r->timer);
	for (unsigned i = 0; i < r->ncalls; i++) {
		struct call *c = &r->calls[i];

		if (!c->over)
			snprintf(c->why, sizeof(c->why), "%s: no answer in time",
				c->addrs[c->tried - 1]);
		call_over(c, -ETIMEDOUT); /* (unless it is) */
		if (c->link)
			link_close(c->link);
		c->link = NULL;
		if (c->node) {
			c->node->rc = c->rc;
			memcpy(c->node->why, c->why, sizeof(c->why));
		}
	}
}

/* The newest map that the seeds have, or most of them. */
static int find_map(struct gather *g, struct loop *lp, const char *const *seeds, unsigned nseeds,
	uint64_t timeout, char *why, size_t why_len)
{
	struct round r = {.lp = lp, .map = &g->map, .ncalls = nseeds, .first_map = true};

	r.calls = mem_zalloc(nseeds * sizeof(*r.calls));
	for (unsigned i = 0; i < nseeds; i++)
		r.calls[i] = (struct call){.r = &r, .addrs = {seeds[i]}, .naddrs = 1};
	round_run(&r, timeout);
	if (!g->map)
		snprintf(why, why_len, "%s", *r.calls[0].why ? r.calls[0].why : "");
	if (!g->map && !*why)
		snprintf(why, why_len, "%s: has no ring map yet", seeds[0]);
	free(r.calls);
	return g->map ? 0 : -ENOENT;
}

/* Linear: who asks thousands of nodes waits for other things. */
static struct gather_node *find(const struct gather *g, const struct orbit_id *id)
{
	for (unsigned i = 0; i < g->nnodes; i++) {
		if (!orbit_id_cmp(&g->nodes[i].id, id))
			return &g->nodes[i];
	}
	return NULL;
}

static void nodes_free(struct gather_node *nodes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		for (unsigned s = 0; s < nodes[i].nstats; s++) {
			free(nodes[i].stats[s].name);
			free(nodes[i].stats[s].text);
		}
		free(nodes[i].stats);
	}
	free(nodes);
}

/* Asks all nodes of the map that were not asked yet. */
static void ask_nodes(struct gather *g, struct loop *lp, uint64_t timeout)
{
	struct ring_map *m = ring_ref(g->map);
	struct gather_node *all = mem_zalloc(m->nnodes * sizeof(*all));
	struct round r = {.lp = lp, .map = &g->map, .base = m};

	r.calls = mem_zalloc(m->nnodes * sizeof(*r.calls));
	for (unsigned i = 0; i < m->nnodes; i++) {
		struct gather_node *known = find(g, &m->nodes[i].id);
		struct call *c;

		all[i].id = m->nodes[i].id;
		if (known) {
			all[i] = *known;
			*known = (struct gather_node){0};
			continue;
		}
		c = &r.calls[r.ncalls++];
		*c = (struct call){.r = &r, .node = &all[i], .naddrs = m->nodes[i].naddrs};
		for (unsigned a = 0; a < c->naddrs; a++)
			c->addrs[a] = m->nodes[i].addr[a];
	}
	round_run(&r, timeout);
	nodes_free(g->nodes, g->nnodes);
	g->nodes = all;
	g->nnodes = m->nnodes;
	free(r.calls);
	ring_unref(m);
}

int gather_run(struct gather *g, struct loop *lp, const char *const *seeds, unsigned nseeds,
	uint64_t timeout, char *why, size_t why_len)
{
	uint64_t epoch;
	int rc;

	*g = (struct gather){0};
	*why = 0;
	if (!timeout)
		timeout = 3600 * ENV_SEC;
	rc = find_map(g, lp, seeds, nseeds, timeout, why, why_len);
	if (rc)
		return rc;
	do { /* again when somebody had a newer map: it may have other nodes */
		epoch = g->map->epoch;
		ask_nodes(g, lp, timeout);
	} while (g->map->epoch != epoch);
	return 0;
}

void gather_fini(struct gather *g)
{
	nodes_free(g->nodes, g->nnodes);
	ring_unref(g->map);
	*g = (struct gather){0};
}

const struct gather_node *gather_of(const struct gather *g, unsigned node)
{
	return &g->nodes[node]; /* as many as the map has, in its order */
}

const char *gather_text(const struct gather_node *n, const char *name)
{
	for (unsigned i = 0; i < n->nstats; i++) {
		if (!strcmp(n->stats[i].name, name))
			return n->stats[i].text;
	}
	return NULL;
}

uint64_t gather_number(const struct gather_node *n, const char *name, uint64_t otherwise)
{
	const char *text = gather_text(n, name);
	uint64_t v;

	return text && !text_parse_number(text, UINT64_MAX, &v) ? v : otherwise;
}

uint16_t gather_leader(const struct gather *g)
{
	for (unsigned i = 0; i < g->nnodes; i++) {
		const char *state = gather_text(&g->nodes[i], "keeper.state");

		if (!g->nodes[i].rc && state && !strcmp(state, "leader"))
			return (uint16_t)i;
	}
	return RING_NONE;
}
