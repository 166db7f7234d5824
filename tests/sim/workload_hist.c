/*
 * The history: is there an order of all transactions in which everything that clients saw makes
 * sense?
 *
 * Each write and each read is a node of a graph; an edge says "was before":
 *
 *   write -> read      the read shows the write
 *   read -> write      the read shows the object without it (what a write reads first counts too)
 *   write -> write     they are neighbours in a list
 *   a -> b             a had ended before b began
 *
 * No such order exists if and only if there is a circle. As the edges of time are in it, what is
 * checked is strict serializability, across shards as well: locks are held until the outcome is
 * there, so whoever comes later meets it. (After Elle, Kingsbury and Alvaro 2020; edges of time by
 * a chain of moments, so that there are few.)
 */
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "tests/sim/workload_int.h"

/* What a read showed; the sets of ids are its own. */
struct shown {
	uint64_t began, ended, writer;
	unsigned object[OBJECTS], nobjects;
	uint8_t *seen[OBJECTS];
	uint64_t kept[OBJECTS]; /* shown by who kept it back: it counts if it came to something */
	size_t len;             /* ids up to here; later ones were not there */
};

struct edge {
	uint32_t to, next; /* next: index + 1 of the next edge from the same node */
};

/* Nodes: 0 .. nops-1 the writes, then the reads, then the moments. */
struct graph {
	struct run *r;
	size_t n, nops, nreads;
	uint32_t *first; /* index + 1 of the first edge */
	struct edge *edge;
	size_t nedges, cap;
};

void hist_add(struct run *r, struct read *rd)
{
	struct shown *h;

	if (r->nshown == r->shown_cap) {
		r->shown_cap = r->shown_cap ? 2 * r->shown_cap : 64;
		r->shown = mem_grow(r->shown, r->shown_cap, sizeof(*r->shown));
	}
	h = mem_zalloc(sizeof(*h));
	r->shown[r->nshown++] = h;
	h->began = rd->began;
	h->ended = ++r->clock;
	h->writer = rd->writer;
	h->nobjects = rd->nobjects;
	h->len = r->nops;
	for (unsigned i = 0; i < rd->nobjects; i++) {
		h->object[i] = rd->object[i];
		h->seen[i] = rd->seen[i];
		h->kept[i] = rd->kept[i];
		rd->seen[i] = NULL;
	}
}

void hist_free(struct run *r)
{
	for (size_t i = 0; i < r->nshown; i++) {
		for (unsigned k = 0; k < r->shown[i]->nobjects; k++)
			free(r->shown[i]->seen[k]);
		free(r->shown[i]);
	}
	free(r->shown);
	r->shown = NULL;
	r->nshown = 0;
}

static void edge(struct graph *g, size_t from, size_t to)
{
	if (from == to)
		return;
	if (g->nedges == g->cap) {
		g->cap = g->cap ? 2 * g->cap : 1024;
		g->edge = mem_grow(g->edge, g->cap, sizeof(*g->edge));
	}
	g->edge[g->nedges] = (struct edge){(uint32_t)to, g->first[from]};
	g->first[from] = (uint32_t)++g->nedges;
}

static bool shows(const struct graph *g, const struct shown *h, unsigned at, uint64_t uid)
{
	if (h->kept[at] == uid && g->r->op[uid - 1]->state != OP_ACKED)
		return false;
	return uid <= h->len && h->seen[at][uid];
}

/* The read's node: that of the write that it belongs to, if any. */
static size_t node_of(const struct graph *g, size_t read)
{
	const struct shown *h = g->r->shown[read];

	return h->writer ? h->writer - 1 : g->nops + read;
}

static void edges_of_reads(struct graph *g)
{
	for (size_t i = 0; i < g->nreads; i++) {
		const struct shown *h = g->r->shown[i];

		for (unsigned k = 0; k < h->nobjects; k++) {
			for (size_t w = 0; w < g->nops; w++) {
				const struct op *op = g->r->op[w];

				if (!op_touch(op, h->object[k]) || op->state == OP_FAILED)
					continue;
				if (shows(g, h, k, op->uid))
					edge(g, w, node_of(g, i));
				else
					edge(g, node_of(g, i), w);
			}
		}
	}
}

/* By the places in the lists that the last read shows. */
static void edges_of_lists(struct graph *g)
{
	const struct shown *last = g->nreads ? g->r->shown[g->nreads - 1] : NULL;

	for (unsigned k = 0; last && k < last->nobjects; k++) {
		size_t at[OP_LIST_MAX], n = 0;

		for (size_t w = 0; w < g->nops; w++) {
			const struct op *op = g->r->op[w];

			if (!op->cas || op->touch[0].object != last->object[k] ||
				!shows(g, last, k, op->uid) || op->cas_from >= OP_LIST_MAX)
				continue;
			at[op->cas_from] = w;
			n = op->cas_from + 1 > n ? op->cas_from + 1 : n;
		}
		for (size_t i = 1; i < n; i++)
			edge(g, at[i - 1], at[i]);
	}
}

/* Moment t is node base + t. Whoever ended at t is before it; whoever began later is after. */
static void edges_of_time(struct graph *g)
{
	size_t base = g->nops + g->nreads;

	for (uint64_t t = 0; t < g->r->clock; t++)
		edge(g, base + t, base + t + 1);
	for (size_t w = 0; w < g->nops; w++) {
		const struct op *op = g->r->op[w];

		edge(g, base + op->began, w);
		if (op->state == OP_ACKED)
			edge(g, w, base + op->ended);
	}
	for (size_t i = 0; i < g->nreads; i++) {
		if (g->r->shown[i]->writer)
			continue;
		edge(g, base + g->r->shown[i]->began, g->nops + i);
		edge(g, g->nops + i, base + g->r->shown[i]->ended);
	}
}

static void print_node(const struct graph *g, size_t n)
{
	if (n < g->nops)
		fprintf(stderr, " uid %zu ->", n + 1);
	else if (n < g->nops + g->nreads)
		fprintf(stderr, " read %zu ->", n - g->nops);
	else if (n + 1 == g->n || !g->first[n] || g->edge[g->first[n] - 1].to != n + 1)
		fprintf(stderr, " time ->"); /* that is, one after which something began */
}

/* The last part of the stack, from @to on. */
static void print_circle(const struct graph *g, const uint32_t *stack, size_t depth, uint32_t to)
{
	size_t i = depth - 1;

	fprintf(stderr, "sim: a circle:");
	while (stack[i] != to)
		i--;
	for (; i < depth; i++)
		print_node(g, stack[i]);
	fprintf(stderr, " the first\n");
}

/* Depth first, without recursion; at a circle says which. */
static bool has_circle(const struct graph *g)
{
	enum { NEW, OPEN, DONE };
	uint8_t *state = mem_zalloc(g->n);
	uint32_t *next = mem_zalloc(g->n * sizeof(*next));
	uint32_t *stack = mem_zalloc(g->n * sizeof(*stack));
	bool found = false;

	for (size_t root = 0; root < g->n && !found; root++) {
		size_t depth = 0;

		if (state[root] != NEW)
			continue;
		stack[depth++] = (uint32_t)root;
		state[root] = OPEN;
		next[root] = g->first[root];
		while (depth && !found) {
			uint32_t v = stack[depth - 1], e = next[v], to;

			if (!e) {
				state[v] = DONE;
				depth--;
				continue;
			}
			next[v] = g->edge[e - 1].next;
			to = g->edge[e - 1].to;
			if (state[to] == NEW) {
				state[to] = OPEN;
				next[to] = g->first[to];
				stack[depth++] = to;
			} else if (state[to] == OPEN) {
				found = true;
				print_circle(g, stack, depth, to);
			}
		}
	}
	free(state);
	free(next);
	free(stack);
	return found;
}

void hist_check(struct run *r)
{
	struct graph g = {.r = r, .nops = r->nops, .nreads = r->nshown};

	g.n = g.nops + g.nreads + r->clock + 1;
	g.first = mem_zalloc(g.n * sizeof(*g.first));
	edges_of_reads(&g);
	edges_of_lists(&g);
	edges_of_time(&g);
	r->res->history_edges += g.nedges;
	if (has_circle(&g))
		broke(r, "what clients saw happened in no order");
	free(g.first);
	free(g.edge);
}
