/*
 * scale: what a big cluster's map looks like and what changes of it cost, by the very code that
 * plans them. Printed as the table that docs/SCALE.md keeps.
 */
#include "tests/sim/scale.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

#define ROWS 64
#define COLUMNS 3
#define REPEAT 5 /* times what is short, and says the least */

const struct scale_config scale_defaults = {
	.lease = 400 * ENV_MS,
	.fail_timeout = 1500 * ENV_MS,
	.alive_every = 250 * ENV_MS,
	.heartbeat = 75 * ENV_MS,
	.step_every = 500 * ENV_MS,
	.voters = 5,
	.learn_shards = 4,
	.move_primaries = 16,
	.draws = 20000,
	.learn_rate = 100e6,
	.link_rate = 1.25e9,
	.shard_bytes = 1 << 30,
};

struct scale_table {
	unsigned row, column, rows;
	char label[ROWS][64];
	char cell[ROWS][COLUMNS][48];
};

void scale_row(struct scale_table *t, const char *label, const char *fmt, ...)
{
	va_list ap;

	if (t->row == ROWS)
		abort();
	snprintf(t->label[t->row], sizeof(t->label[0]), "%s", label);
	va_start(ap, fmt);
	vsnprintf(t->cell[t->row][t->column], sizeof(t->cell[0][0]), fmt, ap);
	va_end(ap);
	t->row++;
	if (t->row > t->rows)
		t->rows = t->row;
}

void scale_head(struct scale_table *t, const char *label)
{
	char bold[64];

	snprintf(bold, sizeof(bold), "**%s**", label);
	scale_row(t, bold, "%s", "");
}

static void print_table(const struct scale_table *t)
{
	for (unsigned r = 0; r < t->rows; r++) {
		printf("| %s |", t->label[r]);
		for (unsigned c = 0; c < COLUMNS; c++)
			printf(" %s |", t->cell[r][c]);
		printf("\n%s", r == 0 ? "| --- | --- | --- | --- |\n" : "");
	}
}

static void describe(struct ring_node *n, unsigned i)
{
	char name[16];

	snprintf(name, sizeof(name), "node %u", i);
	memset(n, 0, sizeof(*n));
	n->id = orbit_id_hash(name, strlen(name));
	n->incarnation = 1;
	n->up = true;
	n->weight = RING_WEIGHT_DEFAULT;
	n->naddrs = 1;
	snprintf(n->addr[0], ENV_ADDR_MAX, "10.%u.%u.%u:7000", i >> 16, i >> 8 & 255, i & 255);
}

/* ---- how even ---- */

static void show_balance(struct scale_table *t, const struct ring_map *m)
{
	unsigned *copies = mem_zalloc(m->nnodes * sizeof(*copies));
	unsigned *leads = mem_zalloc(m->nnodes * sizeof(*leads));
	unsigned most = 0, least = UINT32_MAX, most_led = 0, least_led = UINT32_MAX;
	double mean = (double)ring_nshards(m) * m->replicas / m->nnodes;
	double led = (double)ring_nshards(m) / m->nnodes;

	for (unsigned i = 0; i < ring_nshards(m); i++) {
		for (unsigned k = 0; k < m->shards[i].nmembers; k++)
			copies[m->shards[i].member[k]]++;
		leads[m->shards[i].primary]++;
	}
	for (unsigned i = 0; i < m->nnodes; i++) {
		most = copies[i] > most ? copies[i] : most;
		least = copies[i] < least ? copies[i] : least;
		most_led = leads[i] > most_led ? leads[i] : most_led;
		least_led = leads[i] < least_led ? leads[i] : least_led;
	}
	scale_head(t, "placement");
	scale_row(t, "copies on a node: mean, least, most", "%.1f, %u, %u", mean, least, most);
	scale_row(t, "most / mean", "%.2f", most / mean);
	scale_row(t, "shards led by a node: mean, least, most", "%.1f, %u, %u", led, least_led,
		most_led);
	scale_row(t, "most / mean", "%.2f", most_led / led);
	free(copies);
	free(leads);
}

/* ---- what the map costs ---- */

static double best(double a, double b)
{
	return a == 0 || b < a ? b : a;
}

static void show_map(struct scale_table *t, const struct ring_map *m)
{
	double enc = 0, dec = 0, draft = 0;
	struct ring_map *got;
	struct buf b = {0};

	for (unsigned i = 0; i < REPEAT; i++) {
		double at = scale_cpu();

		buf_reset(&b);
		ring_encode(m, &b);
		enc = best(enc, scale_cpu() - at);
		at = scale_cpu();
		if (ring_decode(b.data, b.len, &got))
			abort();
		dec = best(dec, scale_cpu() - at);
		ring_unref(got);
		at = scale_cpu();
		got = ring_draft(m);
		draft = best(draft, scale_cpu() - at);
		ring_unref(got);
	}
	scale_head(t, "the map");
	scale_row(t, "whole (bytes)", "%zu", b.len);
	scale_row(t, "to encode, decode, copy (CPU ms)", "%.2f, %.2f, %.2f", enc * 1e3, dec * 1e3,
		draft * 1e3);
	buf_fini(&b);
}

/* A change from @from to @to: its size, and the time to find and to apply it. */
static void show_diff(struct scale_table *t, const char *what, const struct ring_map *from,
	const struct ring_map *to, double plan)
{
	double diff = 0, patch = 0;
	struct ring_map *got;
	struct buf b = {0};
	char label[64];

	for (unsigned i = 0; i < REPEAT; i++) {
		double at = scale_cpu();

		buf_reset(&b);
		ring_diff(from, to, &b);
		diff = best(diff, scale_cpu() - at);
		at = scale_cpu();
		if (ring_patch(from, b.data, b.len, &got))
			abort();
		patch = best(patch, scale_cpu() - at);
		ring_unref(got);
	}
	snprintf(label, sizeof(label), "%s (bytes)", what);
	scale_row(t, label, "%zu", b.len);
	scale_row(t, "to plan, diff, patch (CPU ms)", "%.2f, %.2f, %.2f", plan * 1e3, diff * 1e3,
		patch * 1e3);
	buf_fini(&b);
}

static void show_changes(struct scale_table *t, const struct ring_map *m)
{
	struct ring_map *d = ring_draft(m);
	uint16_t dead = (uint16_t)(m->nnodes / 2);
	struct ring_node n;
	double at;

	scale_head(t, "changes of the map");
	at = scale_cpu();
	plan_down(d, dead);
	show_diff(t, "a node is down", m, d, scale_cpu() - at);
	ring_unref(d);

	d = ring_draft(m);
	describe(&n, 1u << 20);
	at = scale_cpu();
	if (plan_register(d, &n, true))
		abort();
	show_diff(t, "a new node comes", m, d, scale_cpu() - at);
	ring_unref(d);

	d = ring_draft(m);
	n = d->nodes[dead];
	n.incarnation++;
	at = scale_cpu();
	if (plan_register(d, &n, true))
		abort();
	show_diff(t, "a node was started anew", m, d, scale_cpu() - at);
	ring_unref(d);

	d = ring_draft(m);
	d->keeper = dead;
	show_diff(t, "the keeper has another leader", m, d, 0);
	ring_unref(d);
}

/* ---- steps towards placement ---- */

static void show_steps(struct scale_table *t, const struct ring_map *m, struct plan_cache *c)
{
	struct plan_limits l = {.learners_per_node = scale_defaults.learn_shards,
		.primaries = scale_defaults.move_primaries};
	struct ring_map *d = ring_draft(m);
	double at = scale_cpu(), first, again = 0;

	if (plan_step(d, &l, c))
		abort(); /* it is as placement wants it */
	first = scale_cpu() - at;
	for (unsigned i = 0; i < REPEAT; i++) {
		at = scale_cpu();
		plan_step(d, &l, c);
		again = best(again, scale_cpu() - at);
	}
	scale_head(t, "plan_step()");
	scale_row(t, "all of placement, from nothing (CPU ms)", "%.0f", first * 1e3);
	scale_row(t, "nothing to do (CPU ms)", "%.2f", again * 1e3);
	ring_unref(d);
}

static void show_move(struct scale_table *t, const struct scale_move *v, unsigned required)
{
	scale_row(t, "copies required, made", "%u, %u", required, v->copies);
	scale_row(t, "bytes copied (GiB)", "%.0f", v->bytes / (1 << 30));
	scale_row(t, "nodes that copied; most by one, from one", "%u; %u, %u", v->learners,
		v->most_by_one, v->most_from_one);
	scale_row(t, "time until all are level (s)", "%.1f", v->seconds);
	scale_row(t, "changes of the map; bytes of them", "%u; %zu", v->changes, v->map_bytes);
	scale_row(t, "longest plan_step() (CPU ms)", "%.1f", v->cpu * 1e3);
}

static unsigned held_by(const struct ring_map *m, uint16_t node)
{
	unsigned n = 0;

	for (unsigned s = 0; s < ring_nshards(m); s++)
		n += ring_member(&m->shards[s], node) >= 0;
	return n;
}

static void lose_one(struct scale_table *t, struct ring_map **map, struct plan_cache *c)
{
	struct ring_map *m = ring_draft(*map);
	bool *gone = mem_zalloc(m->nnodes * sizeof(*gone));
	uint16_t dead = (uint16_t)(m->nnodes / 2);
	unsigned held = held_by(m, dead);
	struct scale_move v;

	plan_down(m, dead);
	ring_unref(*map);
	*map = m;
	gone[dead] = true;
	scale_move(map, c, gone, &v);
	scale_head(t, "a node is lost for good: others make its copies");
	show_move(t, &v, held);
	free(gone);
}

static void one_more(struct scale_table *t, struct ring_map **map, struct plan_cache *c)
{
	struct ring_map *m = ring_draft(*map);
	struct plan_progress p;
	struct scale_move v;
	struct ring_node n;

	/* the lost one is back as a new one, empty */
	describe(&n, 1u << 20);
	plan_remove(m, (uint16_t)(m->nnodes / 2), false);
	if (plan_register(m, &n, true))
		abort();
	ring_unref(*map);
	*map = m;
	plan_progress(m, NULL, c, &p);
	scale_move(map, c, NULL, &v);
	scale_head(t, "an empty node comes: it takes its share");
	show_move(t, &v, p.copies_left);
	scale_row(t, "share of all copies moved; 1 / nodes", "%.5f; %.5f",
		(double)v.copies / ((double)ring_nshards(m) * m->replicas), 1.0 / m->nnodes);
}

static int column(struct scale_table *t, unsigned nodes, unsigned bits, unsigned replicas)
{
	struct ring_node *n = mem_zalloc(nodes * sizeof(*n));
	const uint8_t fsid[16] = {1};
	struct plan_cache c = {0};
	struct ring_map *m;
	int rc;

	for (unsigned i = 0; i < nodes; i++)
		describe(&n[i], i);
	rc = ring_make(&m, fsid, bits, replicas, n, nodes);
	free(n);
	if (rc)
		return rc;
	t->row = 0;
	scale_row(t, "nodes, shards, copies", "%u, %u, %u", nodes, 1u << bits, replicas);
	show_balance(t, m);
	show_map(t, m);
	show_changes(t, m);
	show_steps(t, m, &c);
	scale_idle(t, m);
	lose_one(t, &m, &c);
	one_more(t, &m, &c);
	ring_unref(m);
	plan_cache_fini(&c);
	t->column++;
	return 0;
}

int scale_run(void)
{
	struct scale_table *t = mem_zalloc(sizeof(*t));
	int rc;

	rc = column(t, 50, 10, 3);
	if (!rc)
		rc = column(t, 1000, 14, 3);
	if (!rc)
		rc = column(t, 1000, 16, 3);
	if (!rc)
		print_table(t);
	free(t);
	return rc;
}
