/* rebalance status: what is being moved, how fast, how long it takes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/ring/plan.h"
#include "tools/common/health.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/gather.h"

#define SAMPLE (1 * ENV_SEC) /* over which speed is measured */

struct moving {
	unsigned wants; /* copies that placement wants there and that it does not have */
	unsigned learns;
	unsigned holds;
	unsigned surplus;     /* copies that it has and placement does not want there */
	uint64_t made, bytes; /* since the node was started */
	uint64_t rate;        /* bytes per second */
};

struct rebalance {
	struct plan_progress p;
	struct moving *nodes; /* as in the map */
	uint16_t *order;      /* by number */
	uint64_t copy_bytes;  /* of an average copy of a shard */
	uint64_t rate, made, bytes;
};

static void count_wants(const struct ring_map *m, struct moving *nodes)
{
	uint16_t want[RING_REPLICAS_MAX];

	for (unsigned i = 0; i < ring_nshards(m); i++) {
		unsigned n = ring_place(m, (uint16_t)i, want, m->replicas);
		const struct ring_shard *s = &m->shards[i];

		for (unsigned j = 0; j < n; j++)
			nodes[want[j]].wants += ring_member(s, want[j]) < 0;
		for (unsigned j = 0; j < s->nmembers; j++) {
			unsigned w = 0;

			while (w < n && want[w] != s->member[j])
				w++;
			nodes[s->member[j]].surplus += w == n;
		}
	}
}

/* What was learned between the two answers, per node and in sum. */
static void count_speed(
	struct rebalance *r, const struct gather *before, const struct gather *now, double seconds)
{
	for (unsigned i = 0; i < now->map->nnodes; i++) {
		const struct gather_node *a = gather_of(now, i);
		struct moving *n = &r->nodes[i];

		n->made = gather_number(a, "learn.shards_done", 0);
		n->bytes = gather_number(a, "learn.bytes", 0);
		r->made += n->made;
		r->bytes += n->bytes;
		for (unsigned j = 0; j < before->map->nnodes; j++) {
			const struct gather_node *b = gather_of(before, j);
			uint64_t had = gather_number(b, "learn.bytes", 0);

			if (orbit_id_cmp(&a->id, &b->id) || a->incarnation != b->incarnation ||
				had > n->bytes)
				continue;
			n->rate = (uint64_t)((double)(n->bytes - had) / seconds);
			r->rate += n->rate;
		}
	}
}

static void count(
	struct rebalance *r, const struct gather *before, const struct gather *now, double seconds)
{
	const struct ring_map *m = now->map;
	unsigned *count = mem_zalloc(3 * m->nnodes * sizeof(*count));
	uint64_t live = 0, held = 0;

	r->nodes = mem_zalloc(m->nnodes * sizeof(*r->nodes));
	r->order = mem_zalloc(m->nnodes * sizeof(*r->order));
	health_order(m, r->order);
	count_wants(m, r->nodes);
	count_speed(r, before, now, seconds);
	health_count(m, count, count + m->nnodes, count + 2 * m->nnodes);
	for (unsigned i = 0; i < m->nnodes; i++) {
		r->nodes[i].holds = count[m->nnodes + i];
		r->nodes[i].learns = count[2 * m->nnodes + i];
		if (gather_of(now, i)->rc)
			continue;
		live += gather_number(gather_of(now, i), "store.live", 0);
		held += r->nodes[i].holds;
	}
	r->copy_bytes = held ? live / held : 0;
	free(count);
}

static void find_progress(struct rebalance *r, const struct ring_map *m)
{
	struct plan_cache places = {0};

	plan_progress(m, &(struct plan_limits){0}, &places, &r->p);
	plan_cache_fini(&places);
}

/* Seconds that what is left will take, or UINT64_MAX when nothing is known of the speed. */
static uint64_t time_left(const struct rebalance *r)
{
	if (!r->p.copies_left)
		return 0;
	return r->rate ? r->p.copies_left * r->copy_bytes / r->rate + 1 : UINT64_MAX;
}

static void print_rebalance(const struct ring_map *m, const struct rebalance *r)
{
	char left[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX], made[TEXT_SIZE_MAX];
	uint64_t seconds = time_left(r);

	if (!r->p.shards && !r->p.learning)
		printf("everything is where it ought to be\n");
	else
		printf("%u of %u shards are not where they ought to be: %u copies left (about %s), "
		       "%u being made\n",
			r->p.shards, ring_nshards(m), r->p.copies_left,
			text_size(r->p.copies_left * r->copy_bytes, left), r->p.learning);
	if (r->p.copies_left && seconds == UINT64_MAX)
		printf("speed 0 B/s\n");
	else if (r->p.copies_left)
		printf("speed %s/s, about %" PRIu64 " s left\n", text_size(r->rate, rate), seconds);
	printf("%4s  %8s %8s %8s %8s %10s %8s %10s\n", "node", "copies", "to come", "learning",
		"to go", "speed/s", "made", "of bytes");
	for (unsigned at = 0; at < m->nnodes; at++) {
		unsigned i = r->order[at];
		const struct moving *n = &r->nodes[i];

		printf("%4u  %8u %8u %8u %8u %10s %8" PRIu64 " %10s\n", m->nodes[i].number,
			n->holds, n->wants, n->learns, n->surplus, text_size(n->rate, rate),
			n->made, text_size(n->bytes, made));
	}
}

static void json_rebalance(const struct ring_map *m, const struct rebalance *r)
{
	struct json j;

	json_begin(&j, stdout);
	json_object(&j, NULL);
	json_number(&j, "epoch", m->epoch);
	json_number(&j, "shards", r->p.shards);
	json_number(&j, "copies_left", r->p.copies_left);
	json_number(&j, "learning", r->p.learning);
	json_number(&j, "bytes_left", r->p.copies_left * r->copy_bytes);
	json_number(&j, "rate", r->rate);
	if (time_left(r) != UINT64_MAX)
		json_number(&j, "seconds_left", time_left(r));
	json_number(&j, "made", r->made);
	json_number(&j, "made_bytes", r->bytes);
	json_array(&j, "nodes");
	for (unsigned at = 0; at < m->nnodes; at++) {
		unsigned i = r->order[at];
		const struct moving *n = &r->nodes[i];

		json_object(&j, NULL);
		json_number(&j, "node", m->nodes[i].number);
		json_number(&j, "copies", n->holds);
		json_number(&j, "to_come", n->wants);
		json_number(&j, "learning", n->learns);
		json_number(&j, "to_go", n->surplus);
		json_number(&j, "rate", n->rate);
		json_number(&j, "made", n->made);
		json_number(&j, "made_bytes", n->bytes);
		json_close(&j);
	}
	json_close(&j);
	json_close(&j);
}

static int show_rebalance(struct ctl *k, struct cluster *c)
{
	uint64_t begin = env_now(c->env);
	struct gather before, now = {0};
	struct rebalance r = {0};
	int code = ctl_gather(k, c, &before);

	if (code)
		return code;
	find_progress(&r, before.map);
	if (r.p.shards || r.p.learning) {
		await_pause(c->loop, SAMPLE);
		code = ctl_gather(k, c, &now);
		if (!code)
			find_progress(&r, now.map);
	}
	if (!code) {
		const struct gather *last = now.map ? &now : &before;

		count(&r, &before, last, (double)(env_now(c->env) - begin) / 1e9);
		if (k->json)
			json_rebalance(last->map, &r);
		else
			print_rebalance(last->map, &r);
		free(r.nodes);
		free(r.order);
	}
	gather_fini(&now);
	gather_fini(&before);
	return code;
}

int cmd_rebalance(struct ctl *k)
{
	return ctl_repeat(k, show_rebalance);
}
