/* Clusters that keep their own map: nodes that join, what orbitctl asks, and whether all is well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/keeper/impl.h"
#include "dht/node/impl.h"
#include "dht/ring/plan.h"
#include "dht/wire/wire_keep.h"
#include "tests/sim/cluster.h"

#define ASK_PATIENCE (5 * ENV_SEC)

const struct ring_map *cluster_map(struct cluster *c)
{
	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct ring_map *m = c->node[i].up ? node_ring(c->node[i].node) : NULL;

		if (!m || m->epoch <= c->map->epoch)
			continue;
		ring_unref(c->map);
		c->map = ring_ref((struct ring_map *)m);
	}
	return c->map;
}

bool cluster_changing(struct cluster *c)
{
	const struct ring_map *m = cluster_map(c);
	raft_index applied = 0, last = 0;

	for (unsigned i = 0; i < c->nnodes; i++) {
		struct keeper *k = c->node[i].up ? c->node[i].node->keeper : NULL;

		if (!k || !k->running)
			continue;
		if (k->raft.last_applied > applied)
			applied = k->raft.last_applied;
		if (raft_last_index(&k->raft) > last)
			last = raft_last_index(&k->raft);
		if (keeper_map(k) && keeper_map(k)->epoch > m->epoch)
			return true;
	}
	return last > applied;
}

uint16_t cluster_place(struct cluster *c, unsigned i)
{
	const struct ring_map *m = cluster_map(c);

	/* not by ID, as that may be changed */
	for (unsigned k = 0; k < m->nnodes; k++)
		if (!strcmp(m->nodes[k].addr[0], c->node[i].addr))
			return (uint16_t)k;
	return RING_NONE;
}

int cluster_at(struct cluster *c, uint16_t place)
{
	for (unsigned i = 0; i < c->nnodes; i++)
		if (cluster_place(c, i) == place)
			return (int)i;
	return -1;
}

unsigned cluster_add(struct cluster *c)
{
	if (c->nnodes == CLUSTER_NODES_MAX)
		cluster_die("too many nodes", -1);
	cluster_make_node(c, c->nnodes++);
	cluster_start(c, c->nnodes - 1);
	return c->nnodes - 1;
}

static bool node_fine(struct cluster *c, unsigned i, char *why, size_t len)
{
	const struct ring_map *m = cluster_map(c), *mine;
	uint16_t place = cluster_place(c, i);

	if (c->node[i].removed) {
		snprintf(why, len, "node %u is still in the map", i);
		return place == RING_NONE;
	}
	snprintf(why, len, "node %u does not run", i);
	if (!c->node[i].up || c->node[i].stopping)
		return false;
	snprintf(why, len, "node %u is not in the map, or down there", i);
	if (place == RING_NONE || !m->nodes[place].up ||
		m->nodes[place].incarnation != store_info(c->node[i].store)->starts)
		return false;
	mine = node_ring(c->node[i].node);
	snprintf(why, len, "node %u has not the newest map", i);
	return mine && mine->epoch == m->epoch;
}

bool cluster_healthy(struct cluster *c, char *why, size_t len)
{
	const struct ring_map *m = cluster_map(c);
	struct plan_progress p;
	char unused[128];

	if (!why) {
		why = unused;
		len = sizeof(unused);
	}
	for (unsigned i = 0; i < c->nnodes; i++)
		if (!node_fine(c, i, why, len))
			return false;
	plan_progress(m, NULL, NULL, &p);
	snprintf(why, len,
		"epoch %llu: %u shards elsewhere, %u copies to be made, %u being made, %u "
		"degraded, "
		"%u unavailable",
		(unsigned long long)m->epoch, p.shards, p.copies_left, p.learning, p.degraded,
		p.unavailable);
	if (p.shards || p.copies_left || p.learning || p.degraded || p.unavailable)
		return false;
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		snprintf(why, len, "shard %u has %u learners, suspects %x", i,
			m->shards[i].nlearners, m->shards[i].suspect);
		if (m->shards[i].nlearners || m->shards[i].suspect)
			return false;
	}
	return true;
}

void cluster_print(struct cluster *c)
{
	const struct ring_map *m = cluster_map(c);

	fprintf(stderr, "sim: epoch %llu, %u copies wanted, keeper %d\n",
		(unsigned long long)m->epoch, m->replicas, cluster_at(c, m->keeper));
	for (unsigned i = 0; i < m->nnodes; i++)
		fprintf(stderr,
			"sim: node %d: number %u, incarnation %llu,%s%s%s%s weight %u, zone %s\n",
			cluster_at(c, (uint16_t)i), m->nodes[i].number,
			(unsigned long long)m->nodes[i].incarnation,
			m->nodes[i].up ? " up" : " down", m->nodes[i].leaving ? " leaving" : "",
			m->nodes[i].witness ? " witness" : "", m->nodes[i].voter ? " voter" : "",
			m->nodes[i].weight, m->nodes[i].zone);
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		const struct ring_shard *s = &m->shards[i];

		fprintf(stderr, "sim: shard %u: term %llu, primary %d, members", i,
			(unsigned long long)s->term, cluster_at(c, s->primary));
		for (unsigned k = 0; k < s->nmembers; k++)
			fprintf(stderr, " %d%s", cluster_at(c, s->member[k]),
				s->suspect & 1u << k ? "?" : "");
		for (unsigned k = 0; k < s->nlearners; k++)
			fprintf(stderr, "%s %d", k ? "" : ", learners",
				cluster_at(c, s->learner[k]));
		fputc('\n', stderr);
	}
}

/* ---- asking ---- */

struct asking {
	struct cluster *c;
	struct link *link;
	struct frame *request;
	void (*done)(void *arg, uint16_t status);
	void *arg;
	bool over;
};

static void ask_over(struct asking *a, uint16_t status)
{
	if (a->over)
		return;
	a->over = true;
	a->done(a->arg, status);
}

static void ask_up(struct link *l, void *arg)
{
	struct asking *a = arg;
	struct wire_hello h = {
		.version = WIRE_VERSION, .version_min = WIRE_VERSION_MIN, .role = WIRE_ROLE_ADMIN};
	struct frame *f = frame_new(WIRE_HELLO, 0, 128);

	memcpy(h.fsid, a->c->fsid, sizeof(h.fsid));
	wire_put_hello(&f->b, &h);
	link_send(l, f);
	link_send(l, frame_ref(a->request));
}

static void ask_message(struct link *l, struct frame *f, void *arg)
{
	struct wire_reply m;

	(void)l;
	if (f->type == WIRE_REPLY && !wire_get_reply(frame_cur(f), &m))
		ask_over(arg, m.status);
}

static void ask_down(struct link *l, int rc, void *arg)
{
	(void)l, (void)rc;
	ask_over(arg, WIRE_UNREACHABLE);
}

static void ask_end(void *arg)
{
	struct asking *a = arg;

	ask_over(a, WIRE_UNREACHABLE);
	link_close(a->link);
	frame_unref(a->request);
	free(a);
}

void cluster_call(struct cluster *c, unsigned via, struct frame *request,
	void (*done)(void *arg, uint16_t status), void *arg)
{
	static const struct link_events events = {ask_up, ask_message, ask_down};
	struct asking *a = mem_zalloc(sizeof(*a));
	int rc;

	*a = (struct asking){.c = c, .request = request, .done = done, .arg = arg};
	rc = env_connect(sim_env(c->admin), c->node[via].addr, &events, a, &a->link);
	if (rc)
		cluster_die("env_connect", rc);
	sim_after(c->s, ASK_PATIENCE, ask_end, a);
}

void cluster_ask(struct cluster *c, unsigned via, const struct wire_ask_m *m,
	void (*done)(void *arg, uint16_t status), void *arg)
{
	struct frame *f = frame_new(WIRE_ASK, 1, 128);
	struct wire_ask_m now = *m;

	now.epoch = cluster_map(c)->epoch;
	wire_put_ask(&f->b, &now);
	cluster_call(c, via, f, done, arg);
}
