/* shard: who serves a slice of the ring, who has copies of it, who ought to. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "dht/wire/wire_learn.h"
#include "tools/common/health.h"
#include "tools/common/probe.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/gather.h"

static const char *role_of(const struct ring_shard *s, uint16_t node)
{
	int at = ring_member(s, node);

	if (s->primary == node)
		return "primary";
	if (at >= 0)
		return s->suspect & 1u << at ? "suspect member" : "member";
	return ring_learner(s, node) >= 0 ? "learner" : "none";
}

static bool listed(const uint16_t *nodes, unsigned n, uint16_t node)
{
	for (unsigned i = 0; i < n; i++) {
		if (nodes[i] == node)
			return true;
	}
	return false;
}

struct copy {
	uint16_t node;
	bool wanted; /* placement wants it there */
	bool known;  /* it said which is its last effect: */
	uint64_t term, seq;
};

/* All that have something to do with the shard: members, learners, those that placement wants. */
static unsigned list_copies(const struct ring_map *m, uint16_t shard, struct copy *out)
{
	const struct ring_shard *s = &m->shards[shard];
	uint16_t want[RING_REPLICAS_MAX], all[3 * RING_REPLICAS_MAX];
	unsigned nwant = ring_place(m, shard, want, m->replicas), n = 0;

	for (unsigned i = 0; i < s->nmembers; i++)
		all[n++] = s->member[i];
	for (unsigned i = 0; i < s->nlearners; i++)
		all[n++] = s->learner[i];
	for (unsigned i = 0; i < nwant; i++) {
		if (!listed(all, n, want[i]))
			all[n++] = want[i];
	}
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct copy){.node = all[i], .wanted = listed(want, nwant, all[i])};
	return n;
}

/* A walk that has just begun tells how far the copy is. */
static int ask_last(struct probe *p, uint16_t shard, struct copy *copy)
{
	struct wire_walk m = {.shard = shard, .max = 1};
	struct frame *f = frame_new(WIRE_WALK, 0, 64), *answer;
	struct wire_walk_reply w;
	struct wire_reply r;
	int rc;

	wire_put_walk(&f->b, &m);
	rc = probe_ask(p, f, &answer);
	if (rc)
		return rc;
	rc = answer->type == WIRE_REPLY ? wire_get_reply(frame_cur(answer), &r) : -EPROTO;
	if (!rc)
		rc = wire_errno(r.status);
	if (!rc)
		rc = wire_get_walk_reply(cur_of(r.results, r.results_len), &w);
	if (!rc) {
		copy->term = w.term;
		copy->seq = w.seq;
	}
	frame_unref(answer);
	return rc;
}

/* Asks the members for their last effects; who does not answer stays unknown. */
static void ask_copies(struct ctl *k, struct cluster *c, const struct ring_map *m, uint16_t shard,
	struct copy *copies, unsigned n)
{
	char why[256];

	for (unsigned i = 0; i < n; i++) {
		const struct ring_node *node = &m->nodes[copies[i].node];
		struct probe *p;

		if (!node->up || ring_member(&m->shards[shard], copies[i].node) < 0 ||
			probe_open(&p, c->loop, node->addr[0], k->timeout, why, sizeof(why)))
			continue;
		copies[i].known = !ask_last(p, shard, &copies[i]);
		probe_close(p);
	}
}

static void print_shard(
	const struct ring_map *m, uint16_t shard, const struct copy *copies, unsigned n)
{
	const struct ring_shard *s = &m->shards[shard];
	char id[ORBIT_ID_HEX];

	printf("shard %u  %s  term %" PRIu64 "  epoch %" PRIu64 "\n", shard,
		health_name(health_shard(m, s)), s->term, m->epoch);
	for (unsigned i = 0; i < n; i++) {
		const struct ring_node *node = &m->nodes[copies[i].node];

		printf("%4u  %.8s  %-22s %-4s  %-14s", node->number, orbit_id_hex(&node->id, id),
			node->addr[0], node->up ? "up" : "down", role_of(s, copies[i].node));
		if (copies[i].known)
			printf("  last effect %" PRIu64 ".%" PRIu64, copies[i].term, copies[i].seq);
		printf("%s\n", copies[i].wanted ? "" : "  (placement wants it elsewhere)");
	}
}

static void json_shard(
	const struct ring_map *m, uint16_t shard, const struct copy *copies, unsigned n)
{
	const struct ring_shard *s = &m->shards[shard];
	char id[ORBIT_ID_HEX];
	struct json j;

	json_begin(&j, stdout);
	json_object(&j, NULL);
	json_number(&j, "shard", shard);
	json_text(&j, "health", health_name(health_shard(m, s)));
	json_number(&j, "term", s->term);
	json_number(&j, "epoch", m->epoch);
	json_array(&j, "copies");
	for (unsigned i = 0; i < n; i++) {
		const struct ring_node *node = &m->nodes[copies[i].node];

		json_object(&j, NULL);
		json_number(&j, "node", node->number);
		json_text(&j, "id", orbit_id_hex(&node->id, id));
		json_text(&j, "address", node->addr[0]);
		json_bool(&j, "up", node->up);
		json_text(&j, "role", role_of(s, copies[i].node));
		json_bool(&j, "wanted", copies[i].wanted);
		if (copies[i].known) {
			json_number(&j, "term", copies[i].term);
			json_number(&j, "seq", copies[i].seq);
		}
		json_close(&j);
	}
	json_close(&j);
	json_close(&j);
}

static int show_shard(struct ctl *k, struct cluster *c)
{
	struct copy copies[3 * RING_REPLICAS_MAX];
	struct gather g;
	uint64_t shard;
	unsigned n;
	int code = ctl_gather(k, c, &g);

	if (code)
		return code;
	if (text_parse_number(k->args[0], ring_nshards(g.map) - 1, &shard)) {
		ctl_fail(k, "%s: want a shard's number, 0 to %u", k->args[0],
			ring_nshards(g.map) - 1);
		gather_fini(&g);
		return CTL_USAGE;
	}
	n = list_copies(g.map, (uint16_t)shard, copies);
	ask_copies(k, c, g.map, (uint16_t)shard, copies, n);
	if (k->json)
		json_shard(g.map, (uint16_t)shard, copies, n);
	else
		print_shard(g.map, (uint16_t)shard, copies, n);
	gather_fini(&g);
	return CTL_OK;
}

int cmd_shard(struct ctl *k)
{
	return ctl_repeat(k, show_shard);
}
