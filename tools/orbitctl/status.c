/* status, ping: is everybody well? */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "tools/common/fsid.h"
#include "tools/common/health.h"
#include "tools/common/probe.h"
#include "tools/orbitctl/ctl.h"
#include "tools/orbitctl/gather.h"

#define AGAIN_AFTER ENV_SEC

/* The loop to ask on, with the embedded node on it if there is one. */
static int open_loop(struct ctl *k, struct cluster *c)
{
	char why[512];
	int rc;

	if (k->where.store) {
		rc = cluster_open(c, &k->where, NULL, why, sizeof(why));
		return rc ? ctl_fail(k, "%s", why) : CTL_OK;
	}
	*c = (struct cluster){0};
	rc = loop_new(&c->loop);
	if (rc)
		return ctl_fail(k, "no event loop: %s", strerror(-rc));
	c->env = loop_env(c->loop);
	return CTL_OK;
}

int ctl_gather(struct ctl *k, struct cluster *c, struct gather *g)
{
	static const char *const local[] = {CLUSTER_LOCAL};
	char why[512];
	int rc = gather_run(g, c->loop, k->where.store ? local : k->where.seeds,
		k->where.store ? 1 : k->where.nseeds, k->timeout, why, sizeof(why));

	return rc ? ctl_fail(k, "%s", why) : CTL_OK;
}

/* Every second, for ever, with --watch; else once. */
int ctl_repeat(struct ctl *k, int (*show)(struct ctl *k, struct cluster *c))
{
	bool clear = k->watch && !k->json && isatty(STDOUT_FILENO);
	struct cluster c;
	int code = open_loop(k, &c);

	if (code)
		return code;
	if (!k->timeout_given)
		k->timeout = (k->watch ? 1 : 3) * ENV_SEC;
	for (;;) {
		if (clear)
			fputs("\033[H\033[J", stdout);
		code = show(k, &c);
		if (!k->watch || fflush(stdout))
			break;
		await_pause(c.loop, AGAIN_AFTER);
		if (!clear && !k->json)
			putchar('\n');
	}
	return ctl_close(k, &c, code);
}

/* ---- status ---- */

static const char *state_of(const struct ring_node *n)
{
	if (!n->up)
		return n->leaving ? "down,leaving" : "down";
	if (n->witness)
		return "witness";
	return n->leaving ? "leaving" : "up";
}

struct row {
	const struct ring_node *n;
	const struct gather_node *a;
	unsigned serves, holds, learns;
	/* UINT64_MAX: unknown */
	uint64_t used, available; /* bytes */
	uint64_t heard;           /* ms since the keeper's leader heard of it */
};

/* What the keeper's leader knows of a node. */
static uint64_t told(const struct gather *g, uint32_t number, const char *what)
{
	uint16_t leader = gather_leader(g);
	char name[64];

	snprintf(name, sizeof(name), "node.%" PRIu32 ".%s", number, what);
	return leader == RING_NONE ? UINT64_MAX
				   : gather_number(gather_of(g, leader), name, UINT64_MAX);
}

static struct row *make_rows(const struct gather *g)
{
	const struct ring_map *m = g->map;
	unsigned *count = mem_zalloc(3 * m->nnodes * sizeof(*count));
	uint16_t *order = mem_zalloc(m->nnodes * sizeof(*order));
	struct row *rows = mem_zalloc(m->nnodes * sizeof(*rows));

	health_order(m, order);
	health_count(m, count, count + m->nnodes, count + 2 * m->nnodes);
	for (unsigned at = 0; at < m->nnodes; at++) {
		struct row *r = &rows[at];
		unsigned i = order[at];

		r->n = &m->nodes[i];
		r->a = gather_of(g, i);
		r->serves = count[i];
		r->holds = count[m->nnodes + i];
		r->learns = count[2 * m->nnodes + i];
		r->used = gather_number(r->a, "store.log", told(g, r->n->number, "used"));
		r->available =
			gather_number(r->a, "store.available", told(g, r->n->number, "available"));
		r->heard = told(g, r->n->number, "heard_ms");
	}
	free(count);
	free(order);
	return rows;
}

static void print_row(const struct row *r)
{
	char id[ORBIT_ID_HEX], used[TEXT_SIZE_MAX] = "-", available[TEXT_SIZE_MAX] = "-";
	char heard[24] = "-";

	if (r->used != UINT64_MAX)
		text_size(r->used, used);
	if (r->available != UINT64_MAX)
		text_size(r->available, available);
	if (r->heard != UINT64_MAX)
		snprintf(heard, sizeof(heard), "%.1f s", (double)r->heard / 1000);
	printf("%4u  %.8s  %-12s %-22s %-8s %6u %6u %6u %8u %9s %9s %6" PRIu64 " %8s%s%s\n",
		r->n->number, orbit_id_hex(&r->n->id, id), state_of(r->n), r->n->addr[0],
		*r->n->zone ? r->n->zone : "-", r->n->weight, r->serves, r->holds, r->learns, used,
		available, r->n->incarnation, heard, r->a->rc ? "  " : "",
		r->a->rc ? r->a->why : "");
}

static void json_row(struct json *j, const struct row *r)
{
	char id[ORBIT_ID_HEX];

	json_object(j, NULL);
	json_number(j, "node", r->n->number);
	json_text(j, "id", orbit_id_hex(&r->n->id, id));
	json_array(j, "addresses");
	for (unsigned i = 0; i < r->n->naddrs; i++)
		json_text(j, NULL, r->n->addr[i]);
	json_close(j);
	json_text(j, "state", state_of(r->n));
	json_bool(j, "up", r->n->up);
	json_bool(j, "answers", !r->a->rc);
	if (r->a->rc)
		json_text(j, "error", r->a->why);
	json_text(j, "zone", r->n->zone);
	json_number(j, "weight", r->n->weight);
	json_number(j, "epoch", r->n->incarnation);
	json_bool(j, "voter", r->n->voter);
	json_number(j, "serves", r->serves);
	json_number(j, "holds", r->holds);
	json_number(j, "learns", r->learns);
	if (r->used != UINT64_MAX)
		json_number(j, "used", r->used);
	if (r->available != UINT64_MAX)
		json_number(j, "available", r->available);
	if (r->heard != UINT64_MAX)
		json_number(j, "heard_ms", r->heard);
	json_object(j, "stats");
	for (unsigned i = 0; i < r->a->nstats; i++)
		json_text(j, r->a->stats[i].name, r->a->stats[i].text);
	json_close(j);
	json_close(j);
}

static void print_keeper(const struct gather *g)
{
	uint16_t leader = gather_leader(g);

	if (leader == RING_NONE)
		printf("keeper  no leader; voters");
	else
		printf("keeper  node %u leads; voters", g->map->nodes[leader].number);
	for (unsigned i = 0; i < g->map->nnodes; i++) {
		if (g->map->nodes[i].voter)
			printf(" %u%s", g->map->nodes[i].number,
				g->map->nodes[i].up ? "" : "(down)");
	}
	putchar('\n');
}

static void print_all(const struct gather *g, const struct health *h, const struct row *rows)
{
	const struct ring_map *m = g->map;
	char hex[FSID_HEX];

	printf("%s%s%s\n", health_name(h->level), *h->why ? ": " : "", h->why);
	printf("cluster %s  epoch %" PRIu64 "  copies %u%s  min in sync %u\n",
		fsid_hex(m->fsid, hex), m->epoch, m->replicas,
		h->want < m->replicas ? " (as far as there are nodes)" : "", m->min_in_sync);
	print_keeper(g);
	printf("shards  %u: %u healthy, %u recovering, %u degraded, %u unavailable",
		ring_nshards(m), h->healthy, h->recovering, h->degraded, h->unavailable);
	if (h->moving)
		printf("; %u healthy ones are being copied elsewhere", h->moving);
	printf("\n%4s  %-8s  %-12s %-22s %-8s %6s %6s %6s %8s %9s %9s %6s %8s\n", "node", "id",
		"state", "address", "zone", "weight", "serves", "copies", "learning", "used",
		"available", "epoch", "heard");
	for (unsigned i = 0; i < m->nnodes; i++)
		print_row(&rows[i]);
}

static void json_all(const struct gather *g, const struct health *h, const struct row *rows)
{
	const struct ring_map *m = g->map;
	uint16_t leader = gather_leader(g);
	char hex[FSID_HEX];
	struct json j;

	json_begin(&j, stdout);
	json_object(&j, NULL);
	json_text(&j, "health", health_name(h->level));
	json_text(&j, "why", h->why);
	json_text(&j, "fsid", fsid_hex(m->fsid, hex));
	json_number(&j, "epoch", m->epoch);
	json_number(&j, "replicas", m->replicas);
	json_number(&j, "min_in_sync", m->min_in_sync);
	if (leader != RING_NONE)
		json_number(&j, "keeper", m->nodes[leader].number);
	json_object(&j, "shards");
	json_number(&j, "all", ring_nshards(m));
	json_number(&j, "healthy", h->healthy);
	json_number(&j, "recovering", h->recovering);
	json_number(&j, "degraded", h->degraded);
	json_number(&j, "unavailable", h->unavailable);
	json_number(&j, "moving", h->moving);
	json_number(&j, "suspect", h->suspect);
	json_close(&j);
	json_array(&j, "nodes");
	for (unsigned i = 0; i < m->nnodes; i++)
		json_row(&j, &rows[i]);
	json_close(&j);
	json_close(&j);
}

static int show_status(struct ctl *k, struct cluster *c)
{
	struct health h;
	struct gather g;
	struct row *rows;
	int code = ctl_gather(k, c, &g);

	if (code)
		return code;
	health_of(g.map, gather_leader(&g) != RING_NONE, &h);
	rows = make_rows(&g);
	if (k->json)
		json_all(&g, &h, rows);
	else
		print_all(&g, &h, rows);
	free(rows);
	gather_fini(&g);
	return h.level == HEALTH_GOOD          ? CTL_OK
	       : h.level == HEALTH_UNAVAILABLE ? CTL_UNAVAILABLE
					       : CTL_REFUSED;
}

int cmd_status(struct ctl *k)
{
	return ctl_repeat(k, show_status);
}

/* ---- ping ---- */

static int ping_node(struct ctl *k, struct loop *lp, const char *addr, struct json *j)
{
	struct probe *p = NULL;
	char id[ORBIT_ID_HEX], why[512];
	int rc = probe_open(&p, lp, addr, k->timeout, why, sizeof(why));

	if (k->json) {
		json_object(j, NULL);
		json_text(j, "address", addr);
		json_bool(j, "up", !rc);
		if (rc)
			json_text(j, "error", why);
		else
			json_text(j, "id", orbit_id_hex(&probe_hello(p)->node, id));
		json_array(j, "us");
	} else if (rc) {
		printf("%s\n", why);
	} else {
		printf("%s  %.16s ", addr, orbit_id_hex(&probe_hello(p)->node, id));
	}
	for (unsigned i = 0; i < (k->count ? k->count : 3) && !rc; i++) {
		int64_t ns = probe_ping(p);

		rc = ns < 0 ? (int)ns : 0;
		if (k->json && !rc)
			json_number(j, NULL, (uint64_t)ns / 1000);
		else if (!rc)
			printf(" %.3f ms", (double)ns / 1e6);
		else if (!k->json)
			printf(" %s", ctl_why(rc));
	}
	if (k->json) {
		json_close(j);
		json_close(j);
	} else if (p) {
		putchar('\n');
	}
	probe_close(p);
	return rc;
}

int cmd_ping(struct ctl *k)
{
	struct json j;
	struct loop *lp;
	int code = CTL_OK;

	if (loop_new(&lp))
		return ctl_fail(k, "no event loop");
	json_begin(&j, stdout);
	if (k->json)
		json_array(&j, NULL);
	for (int i = 0; i < k->nargs; i++) {
		if (ping_node(k, lp, k->args[i], &j))
			code = CTL_FAILED;
	}
	if (k->json)
		json_close(&j);
	loop_free(lp);
	return code;
}
