/* ring show, route: who serves what. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tools/common/fsid.h"
#include "tools/common/health.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/gather.h"

struct counts {
	unsigned *serves, *holds, *learns;
	uint16_t *order; /* of nodes, by number */
};

static void print_node(const struct ring_map *m, unsigned i, const struct counts *c)
{
	const struct ring_node *n = &m->nodes[i];
	char id[ORBIT_ID_HEX];

	orbit_id_hex(&n->id, id);
	printf("%4u  %.16s  %-22s weight %-4u shards %-5u copies %-5u%s%s%s%s%s%s%s\n", n->number,
		id, n->addr[0], n->weight, c->serves[i], c->holds[i], *n->zone ? " zone " : "",
		n->zone, n->up ? "" : "  down", n->leaving ? "  leaving" : "",
		n->witness ? "  witness" : "", n->voter ? "  voter" : "",
		m->keeper == i ? "  keeper" : "");
}

static void json_node(struct json *j, const struct ring_map *m, unsigned i, const struct counts *c)
{
	const struct ring_node *n = &m->nodes[i];
	char id[ORBIT_ID_HEX];

	json_object(j, NULL);
	json_number(j, "node", n->number);
	json_text(j, "id", orbit_id_hex(&n->id, id));
	json_array(j, "addresses");
	for (unsigned a = 0; a < n->naddrs; a++)
		json_text(j, NULL, n->addr[a]);
	json_close(j);
	json_number(j, "weight", n->weight);
	json_text(j, "zone", n->zone);
	json_bool(j, "up", n->up);
	json_bool(j, "leaving", n->leaving);
	json_bool(j, "witness", n->witness);
	json_bool(j, "voter", n->voter);
	json_bool(j, "keeper", m->keeper == i);
	json_number(j, "shards", c->serves[i]);
	json_number(j, "copies", c->holds[i]);
	json_number(j, "learning", c->learns[i]);
	json_close(j);
}

static void print_shard(const struct ring_map *m, unsigned i)
{
	const struct ring_shard *s = &m->shards[i];

	printf("shard %u term %" PRIu64 " members", i, s->term);
	for (unsigned j = 0; j < s->nmembers; j++)
		printf("%c%u", j ? ',' : ' ', m->nodes[s->member[j]].number);
	for (unsigned j = 0; j < s->nlearners; j++)
		printf("%s%u", j ? "," : " learners ", m->nodes[s->learner[j]].number);
	if (s->primary == RING_NONE)
		printf(" nobody serves it");
	putchar('\n');
}

static void json_shard(struct json *j, const struct ring_map *m, unsigned i)
{
	const struct ring_shard *s = &m->shards[i];

	json_object(j, NULL);
	json_number(j, "shard", i);
	json_number(j, "term", s->term);
	json_bool(j, "served", s->primary != RING_NONE);
	json_array(j, "members");
	for (unsigned k = 0; k < s->nmembers; k++)
		json_number(j, NULL, m->nodes[s->member[k]].number);
	json_close(j);
	json_array(j, "learners");
	for (unsigned k = 0; k < s->nlearners; k++)
		json_number(j, NULL, m->nodes[s->learner[k]].number);
	json_close(j);
	json_close(j);
}

static void print_map(struct ctl *k, const struct ring_map *m, const struct counts *c)
{
	char hex[FSID_HEX];

	printf("epoch %" PRIu64 "  fsid %s  shards %u  replicas %u\n", m->epoch,
		fsid_hex(m->fsid, hex), ring_nshards(m), m->replicas);
	for (unsigned i = 0; i < m->nnodes; i++)
		print_node(m, c->order[i], c);
	for (unsigned i = 0; k->members && i < ring_nshards(m); i++)
		print_shard(m, i);
}

static void json_map(struct ctl *k, const struct ring_map *m, const struct counts *c)
{
	char hex[FSID_HEX];
	struct json j;

	json_begin(&j, stdout);
	json_object(&j, NULL);
	json_number(&j, "epoch", m->epoch);
	json_text(&j, "fsid", fsid_hex(m->fsid, hex));
	json_number(&j, "shards", ring_nshards(m));
	json_number(&j, "replicas", m->replicas);
	json_number(&j, "min_in_sync", m->min_in_sync);
	json_array(&j, "nodes");
	for (unsigned i = 0; i < m->nnodes; i++)
		json_node(&j, m, c->order[i], c);
	json_close(&j);
	if (k->members) {
		json_array(&j, "members");
		for (unsigned i = 0; i < ring_nshards(m); i++)
			json_shard(&j, m, i);
		json_close(&j);
	}
	json_close(&j);
}

static int show_ring(struct ctl *k, struct cluster *c)
{
	const struct ring_map *m;
	struct counts n;
	struct gather g;
	int code = ctl_gather(k, c, &g);

	if (code)
		return code;
	m = g.map;
	n.serves = mem_zalloc(3 * m->nnodes * sizeof(*n.serves));
	n.holds = n.serves + m->nnodes;
	n.learns = n.holds + m->nnodes;
	n.order = mem_zalloc(m->nnodes * sizeof(*n.order));
	health_order(m, n.order);
	health_count(m, n.serves, n.holds, n.learns);
	if (k->json)
		json_map(k, m, &n);
	else
		print_map(k, m, &n);
	free(n.serves);
	free(n.order);
	gather_fini(&g);
	return CTL_OK;
}

int cmd_ring_show(struct ctl *k)
{
	return ctl_repeat(k, show_ring);
}

int cmd_route(struct ctl *k)
{
	struct orbit_id id = ctl_id(k->args[0]);
	const struct ring_map *m;
	const struct ring_node *n;
	struct cluster c;
	char hex[ORBIT_ID_HEX], node[ORBIT_ID_HEX];
	uint16_t shard, primary;
	int code = ctl_open(k, &c);

	if (code)
		return code;
	m = orbit_ring(c.client);
	shard = ring_shard_of(m, &id);
	primary = m->shards[shard].primary;
	orbit_id_hex(&id, hex);
	if (primary == RING_NONE)
		return ctl_close(k, &c, ctl_fail(k, "shard %u: nobody serves it now", shard));
	n = &m->nodes[primary];
	orbit_id_hex(&n->id, node);
	if (k->json) {
		struct json j;

		json_begin(&j, stdout);
		json_object(&j, NULL);
		json_text(&j, "id", hex);
		json_number(&j, "shard", shard);
		json_number(&j, "term", m->shards[shard].term);
		json_text(&j, "node", node);
		json_text(&j, "address", n->addr[0]);
		json_close(&j);
	} else {
		printf("%s  shard %u  %.16s  %s\n", hex, shard, node, n->addr[0]);
	}
	return ctl_close(k, &c, CTL_OK);
}
