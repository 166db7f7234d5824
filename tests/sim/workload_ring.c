/*
 * Runs with replicas: clusters that keep their own map, whose nodes come, go, die and change, and
 * what must be true of the copies when all is quiet again.
 *
 * What may be lost? A run is of one of three kinds:
 *
 *   nothing   processes die, machines don't: whatever was acknowledged is there at the end
 *   one       a machine loses power, its disk fails or it burns, if the map has another good copy
 * of all it holds on a node that runs: still nothing that was acknowledged may be missing all
 * anything, all machines at once too: what was synced is there, and no transaction in part
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/store/history.h"
#include "dht/wire/wire_keep.h"
#include "tests/sim/workload_int.h"

#define HEAL_MAX (300 * ENV_SEC) /* in which everything is where it belongs again */
#define NODES_RUNNING_MAX 7

/* Random numbers for what is fixed before there is a world. */
static uint64_t draw(uint64_t *state, uint64_t n)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % n;
}

static unsigned any_faults(uint64_t *x)
{
	static const enum fault rarely[] = {FAULT_JOIN, FAULT_LEAVE, FAULT_RENAME, FAULT_WEIGHT,
		FAULT_REPLICAS, FAULT_BURN, FAULT_CORRUPT, FAULT_MISS, FAULT_FULL};
	unsigned faults = 0;

	for (enum fault f = 0; f < FAULTS; f++)
		faults |= draw(x, 2) << f;
	for (size_t i = 0; i < sizeof(rarely) / sizeof(rarely[0]); i++)
		if (draw(x, 2))
			faults &= ~(1u << rarely[i]);
	return faults;
}

/* Some runs are about one thing. */
static void focus(struct run *r, uint64_t *x)
{
	switch (draw(x, 6)) {
	case 0: /* copies that come and go */
	case 1:
		r->faults = 1u << FAULT_CRASH | (r->loss ? 1u << FAULT_POWER : 0) |
			    1u << draw(x, FAULTS);
		break;
	case 2: /* primaries that others take for dead while they are not */
		r->faults = 1u << FAULT_ISOLATE | 1u << FAULT_PAUSE_NODE;
		r->power = false;
		r->loss = LOSS_NONE;
		r->think = 20 * ENV_MS;
		r->pace = 3 * ENV_SEC;
		r->long_run = true;
		break;
	}
}

void ring_choose(struct run *r, struct cluster_config *cfg)
{
	static const uint64_t pace[] = {300 * ENV_MS, ENV_SEC, 4 * ENV_SEC};
	static const uint64_t think[] = {20 * ENV_MS, 200 * ENV_MS, 600 * ENV_MS};
	static const unsigned replicas[] = {3, 2, 3, 3, 2, 1, 3, 5};
	uint64_t x = cfg->seed;

	cfg->shard_bits = 3;
	cfg->nodes = 3 + (unsigned)(draw(&x, 3) ? 0 : draw(&x, 3));
	cfg->replicas = replicas[draw(&x, 8)];
	if (cfg->replicas == 2 && draw(&x, 2)) {
		cfg->nodes = 3;
		cfg->witness = true;
	}
	cfg->snapshot_every = draw(&x, 2) ? 0 : 5 + (unsigned)draw(&x, 30);
	cfg->join = draw(&x, 4) == 0;
	if (draw(&x, 4) == 0)
		cfg->zones = 2 + (unsigned)draw(&x, 2);
	r->faults = any_faults(&x);
	r->loss = (enum loss)draw(&x, 3);
	r->power = r->loss == LOSS_ALL;
	r->pace = pace[draw(&x, 3)];
	r->think = think[draw(&x, 3)];
	focus(r, &x);
	r->clients = 2 + (unsigned)draw(&x, draw(&x, 4) ? 2 : 7);
	cfg->clocks = draw(&x, 2);
	r->full = fault_has(r, FAULT_FULL) || fault_has(r, FAULT_FILL);
	if (fault_has(r, FAULT_FULL))
		cfg->capacity = (300 + draw(&x, 300)) << 10;
	if (fault_has(r, FAULT_MISS)) {
		cfg->miss = 20 + (unsigned)draw(&x, 200);
		cfg->stall = (unsigned)draw(&x, 100);
	}
	r->impatient = draw(&x, 6) == 0;
	r->far = draw(&x, 8) == 0;
	if (draw(&x, 3) == 0)
		cfg->in_doubt = (5 + draw(&x, 200)) * ENV_MS;
	if (draw(&x, 4) == 0)
		cfg->session_timeout = 2 * ENV_SEC + draw(&x, 8) * 500 * ENV_MS;
}

/* ---- who may die ---- */

static bool runs(struct run *r, unsigned i)
{
	const struct cluster_node *n = &r->c->node[i];

	return n->up && !n->stopping && !n->removed;
}

/* Would the copy at @place, if all others were gone, have everything that was acknowledged? */
static bool good_copy(struct run *r, const struct ring_shard *s, unsigned k)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = s->member[k];
	int i = cluster_at(r->c, place);

	return i >= 0 && runs(r, (unsigned)i) && !r->doomed[i] && !(s->suspect & 1u << k) &&
	       m->nodes[place].incarnation == store_info(r->c->node[i].store)->starts;
}

bool ring_may_lose(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, i);

	if (r->loss == LOSS_ALL)
		return true;
	if (r->loss == LOSS_NONE)
		return false;
	for (unsigned k = 0; place != RING_NONE && k < ring_nshards(m); k++) {
		const struct ring_shard *s = &m->shards[k];
		bool other = false;

		if (ring_member(s, place) < 0)
			continue;
		for (unsigned j = 0; j < s->nmembers; j++)
			other |= s->member[j] != place && good_copy(r, s, j);
		if (!other)
			return false;
	}
	return true;
}

/* A majority of the voters runs, without @i too. */
static bool keeper_survives(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	unsigned voters = 0, left = 0;

	for (unsigned k = 0; k < m->nnodes; k++) {
		int at = cluster_at(r->c, (uint16_t)k);

		voters += m->nodes[k].voter;
		left += m->nodes[k].voter && at >= 0 && (unsigned)at != i && runs(r, (unsigned)at);
	}
	return left > voters / 2;
}

static unsigned running(struct run *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->c->nnodes; i++)
		n += !r->c->node[i].removed && !r->leaving[i];
	return n;
}

/* ---- what a person asks for ---- */

struct asked {
	struct run *r;
	unsigned node;
	struct orbit_id id; /* that it asked for */
	bool rename;
};

static void asked_done(void *arg, uint16_t status)
{
	struct asked *a = arg;

	if (status == WIRE_OK) {
		a->r->res->asked++;
		if (a->rename)
			a->r->c->node[a->node].id = a->id;
	}
	free(a);
}

void ring_ask(struct run *r, unsigned node, struct wire_ask_m *m)
{
	const struct ring_map *map = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, node);
	unsigned via = (unsigned)sim_below(r->c->s, r->c->nnodes);
	struct asked *a;

	if (place == RING_NONE || r->c->node[via].removed)
		return;
	a = mem_zalloc(sizeof(*a));
	a->r = r;
	a->node = node;
	a->rename = m->what == ASK_RENAME;
	a->id = m->id2;
	m->node = map->nodes[place].id;
	cluster_ask(r->c, via, m, asked_done, a);
}

static void join(struct run *r)
{
	if (running(r) >= NODES_RUNNING_MAX || r->c->nnodes >= CLUSTER_NODES_MAX)
		return;
	cluster_add(r->c);
	r->res->joins++;
}

static void leave(struct run *r, unsigned n)
{
	struct wire_ask_m m = {.what = ASK_LEAVE};

	if (running(r) <= 3 || r->c->node[n].removed || r->leaving[n] || r->c->node[n].witness)
		return;
	r->leaving[n] = true;
	r->res->leaves++;
	ring_ask(r, n, &m);
}

static void rename_node(struct run *r, unsigned n)
{
	struct wire_ask_m m = {.what = ASK_RENAME};
	uint64_t name = sim_random(r->c->s);

	m.id2 = orbit_id_hash(&name, sizeof(name));
	r->res->renames++;
	ring_ask(r, n, &m);
}

static void weigh(struct run *r, unsigned n)
{
	struct wire_ask_m m = {
		.what = ASK_WEIGHT, .weight = 25 + (uint32_t)sim_below(r->c->s, 400)};

	if (r->c->node[n].witness)
		return;
	r->res->weights++;
	ring_ask(r, n, &m);
}

static void more_or_fewer(struct run *r, unsigned n)
{
	struct wire_ask_m m = {
		.what = ASK_REPLICAS, .replicas = (uint8_t)(1 + sim_below(r->c->s, 3))};

	r->res->replicas_changed++;
	ring_ask(r, n, &m);
}

/* ---- what happens ---- */

static void lose_power(struct run *r, unsigned n)
{
	struct cluster *c = r->c;

	if (r->loss == LOSS_ALL && sim_chance(c->s, 400)) {
		r->res->blackouts++;
		for (unsigned i = 0; i < c->nnodes; i++) {
			if (!runs(r, i))
				continue;
			cluster_crash(c, i, DISK_POWER);
			fault_restart_later(r, i);
		}
		return;
	}
	if (!runs(r, n) || !ring_may_lose(r, n))
		return;
	cluster_crash(c, n, DISK_POWER);
	r->res->power_losses++;
	fault_restart_later(r, n);
}

/* For ever: its disk is gone with it. */
static void burn(struct run *r, unsigned n)
{
	if (r->loss != LOSS_ONE || running(r) <= 2 || !runs(r, n) || r->leaving[n] ||
		r->c->node[n].witness || !ring_may_lose(r, n) || !keeper_survives(r, n))
		return;
	cluster_crash(r->c, n, DISK_LOSE);
	r->leaving[n] = r->burnt[n] = true;
	r->res->burnt++;
}

static void cut_off(struct run *r, struct sim_host *a, struct sim_host *b, bool in, bool out)
{
	if (in && out)
		sim_cut(r->c->s, a, b, true);
	else if (in)
		sim_cut_oneway(r->c->s, b, a);
	else
		sim_cut_oneway(r->c->s, a, b);
}

static void isolate(struct run *r)
{
	const struct ring_map *m = cluster_map(r->c);
	struct sim *s = r->c->s;
	uint16_t place = m->keeper;
	int n;

	if (place == RING_NONE || sim_chance(s, 500))
		place = m->shards[sim_below(s, ring_nshards(m))].primary;
	n = place == RING_NONE ? -1 : cluster_at(r->c, place);
	if (n < 0)
		return;
	/* from the other nodes in both directions or one; clients fall to either side, or see both
	 */
	bool in = sim_chance(s, 700), out = !in || sim_chance(s, 700), split = sim_chance(s, 600);
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		if (i != (unsigned)n)
			cut_off(r, r->c->node[n].host, r->c->node[i].host, in, out);
	}
	for (unsigned k = 0; split && k < r->c->nclients; k++) {
		struct sim_host *client = r->c->client_host[k];
		bool with_it = sim_chance(s, 400);

		for (unsigned i = 0; i < r->c->nnodes; i++)
			if ((i == (unsigned)n) != with_it)
				sim_cut(s, client, r->c->node[i].host, true);
	}
	r->res->isolated++;
}

void ring_fault(struct run *r, enum fault f, unsigned n)
{
	switch (f) {
	case FAULT_POWER:
		lose_power(r, n);
		break;
	case FAULT_BURN:
		burn(r, n);
		break;
	case FAULT_ISOLATE:
		isolate(r);
		break;
	case FAULT_JOIN:
		join(r);
		break;
	case FAULT_LEAVE:
		leave(r, n);
		break;
	case FAULT_RENAME:
		rename_node(r, n);
		break;
	case FAULT_WEIGHT:
		weigh(r, n);
		break;
	case FAULT_REPLICAS:
		more_or_fewer(r, n);
		break;
	default:
		break;
	}
}

/* A stopped process cannot answer, whatever it believes: what counts is whether it would, were it
 * to go on now. */
void ring_watch(struct run *r)
{
	unsigned n = 1u << r->c->cfg.shard_bits;

	for (unsigned k = 0; k < n; k++) {
		int first = -1;

		for (unsigned i = 0; i < r->c->nnodes; i++) {
			if (!r->c->node[i].up || !node_serves(r->c->node[i].node, (uint16_t)k))
				continue;
			if (first >= 0)
				broke(r, "shard %u is served by node %d and node %u at once", k,
					first, i);
			first = (int)i;
		}
	}
	r->res->watched++;
}

/* ---- afterwards ---- */

/* A node that is to leave: once it holds nothing it is switched off, then struck off the list. */
static void see_off(struct run *r, unsigned i)
{
	const struct ring_map *m = cluster_map(r->c);
	uint16_t place = cluster_place(r->c, i);
	struct wire_ask_m ask_m = {.what = ASK_REMOVE};

	if (place == RING_NONE) {
		cluster_crash(r->c, i, DISK_LOSE);
		r->c->node[i].removed = true;
		return;
	}
	if (!m->nodes[place].leaving && !r->burnt[i]) {
		ask_m.what = ASK_LEAVE; /* nobody heard it */
		ring_ask(r, i, &ask_m);
		return;
	}
	for (unsigned k = 0; k < ring_nshards(m) && !r->burnt[i]; k++)
		if (ring_member(&m->shards[k], place) >= 0 ||
			ring_learner(&m->shards[k], place) >= 0)
			return;
	if (!r->c->node[i].up)
		ring_ask(r, i, &ask_m);
	else if (keeper_survives(r, i)) /* else others have to vote first */
		cluster_stop(r->c, i, DISK_PROCESS);
}

void ring_heal(struct run *r)
{
	struct sim *s = r->c->s;
	uint64_t from = sim_now(s);
	char why[160];

	while (!cluster_healthy(r->c, why, sizeof(why))) {
		if (sim_now(s) - from > HEAL_MAX) {
			broke(r, "the cluster does not heal: %s", why);
			return;
		}
		sim_run(s, 500 * ENV_MS);
		fault_watch(r);
		for (unsigned i = 0; i < r->c->nnodes; i++)
			if (r->leaving[i] && !r->c->node[i].removed && !r->c->node[i].stopping)
				see_off(r, i);
	}
	r->res->heal_ms += (sim_now(s) - from) / ENV_MS;
}

/* ---- copies ---- */

/* All that a shard has of a class, one after the other. */
static void dump_class(struct store *st, uint8_t class, uint16_t shard, struct buf *out)
{
	uint8_t from[KEY_HEAD] = {class}, to[KEY_HEAD] = {class};
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;

	put_be16(from + 1, shard);
	put_be16(to + 1, (uint16_t)(shard + 1));
	it = store_iter_new(st, from, sizeof(from), to, sizeof(to));
	while (store_iter_next(it, &key, &klen, &val, &vlen) == 1) {
		buf_u32(out, (uint32_t)klen);
		buf_bytes(out, key, klen);
		buf_u32(out, (uint32_t)vlen);
		buf_bytes(out, val, vlen);
	}
	store_iter_free(it);
}

struct reading {
	struct store_read r;
	bool done;
	int rc;
};

static void reading_done(struct store_read *sr, int rc)
{
	struct reading *x = container_of(sr, struct reading, r);

	x->done = true;
	x->rc = rc;
}

struct waiting {
	struct store_wait w;
	bool woken;
};

static void woken(struct store_wait *w)
{
	container_of(w, struct waiting, w)->woken = true;
}

static bool wait_store(struct run *r, struct store *st)
{
	struct waiting w = {.w.ready = woken};

	store_wait(st, &w.w);
	return sim_wait(r->c->s, &w.woken, 10 * ENV_SEC);
}

static int read_bytes(struct run *r, struct store *st, uint16_t shard, const struct orbit_id *id,
	uint64_t off, size_t len, void *dst)
{
	struct reading x = {.r.done = reading_done};
	int rc;

	while ((rc = store_read(st, &x.r, shard, id, off, len, dst)) == -EAGAIN)
		if (!wait_store(r, st))
			return -ETIMEDOUT;
	if (rc == -EINPROGRESS)
		rc = sim_wait(r->c->s, &x.done, 10 * ENV_SEC) ? x.rc : -ETIMEDOUT;
	return rc;
}

/* The stream of an object: where it has data, and the data. */
static int dump_stream(
	struct run *r, struct store *st, uint16_t shard, const struct orbit_id *id, struct buf *out)
{
	struct store_range range[64];
	uint64_t at = 0;
	int n;

	do {
		uint64_t next = at;

		while ((n = store_ranges(st, shard, id, at, TXN_STREAM_MAX - at, range, 64,
				&next)) == -EAGAIN)
			if (!wait_store(r, st))
				return -ETIMEDOUT;
		at = next;
		for (int i = 0; i < n; i++) {
			void *room = mem_zalloc(range[i].len);
			int rc = read_bytes(r, st, shard, id, range[i].off, range[i].len, room);

			buf_u64(out, range[i].off);
			buf_bytes(out, room, range[i].len);
			free(room);
			if (rc)
				return rc;
		}
	} while (n > 0 && at < TXN_STREAM_MAX);
	return n < 0 ? n : 0;
}

/* KEY_TERM is written when the store sees fit: what it says is asked for by store_history(). */
static const char classes[] = {
	KEY_HEADER, KEY_MAP, KEY_HOLD, KEY_ORPHAN, KEY_REPLY, KEY_FLOOR, KEY_PREPARED, KEY_OUTCOME};

/* Where two copies of a shard differ; false when they don't. */
static bool differ(struct run *r, uint16_t shard, unsigned a, unsigned b, char *where, size_t len)
{
	struct store *st[2] = {r->c->node[a].store, r->c->node[b].store};
	struct buf x[2] = {{0}, {0}};
	bool found = false;

	for (size_t k = 0; k < sizeof(classes) && !found; k++) {
		for (int i = 0; i < 2; i++) {
			x[i].len = 0;
			store_blocking(st[i], true);
			dump_class(st[i], (uint8_t)classes[k], shard, &x[i]);
			store_blocking(st[i], false);
		}
		found = x[0].len != x[1].len ||
			(x[0].len && memcmp(x[0].data, x[1].data, x[0].len));
		snprintf(
			where, len, "class %c (%zu and %zu bytes)", classes[k], x[0].len, x[1].len);
	}
	for (int i = 0; i < 2 && !found; i++) {
		struct history h = store_history(st[i], shard);

		x[i].len = 0;
		history_encode(&h, &x[i]);
		found = i && (x[0].len != x[1].len || memcmp(x[0].data, x[1].data, x[0].len));
		snprintf(where, len, "history (the second one ends with %llu, %llu)",
			(unsigned long long)h.term, (unsigned long long)h.seq);
	}
	for (unsigned o = 0; o < OBJECTS && !found; o++) {
		int rc[2];

		if (ring_shard_of(r->c->map, &r->id[o]) != shard)
			continue;
		for (int i = 0; i < 2; i++) {
			x[i].len = 0;
			rc[i] = dump_stream(r, st[i], shard, &r->id[o], &x[i]);
		}
		found = rc[0] || rc[1] || x[0].len != x[1].len ||
			memcmp(x[0].data, x[1].data, x[0].len);
		snprintf(where, len, "the stream of object %u (%zu and %zu bytes, %d, %d)", o,
			x[0].len, x[1].len, rc[0], rc[1]);
	}
	buf_fini(&x[0]);
	buf_fini(&x[1]);
	return found;
}

/* Records are thrown away and written while nobody asks for anything, so what differs now may be on
 * its way. */
static bool stay_different(
	struct run *r, uint16_t shard, unsigned a, unsigned b, char *where, size_t len)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		if (!differ(r, shard, a, b, where, len))
			return false;
		sim_run(r->c->s, 100 * ENV_MS);
	}
	return true;
}

static void compare_shard(struct run *r, uint16_t shard)
{
	const struct ring_shard *s = &cluster_map(r->c)->shards[shard];
	int first = cluster_at(r->c, s->member[0]);

	for (unsigned k = 1; k < s->nmembers && !r->broken; k++) {
		int other = cluster_at(r->c, s->member[k]);
		char where[128];

		if (first < 0 || other < 0)
			broke(r, "shard %u is where nobody is", shard);
		else if (stay_different(
				 r, shard, (unsigned)first, (unsigned)other, where, sizeof(where)))
			broke(r, "shard %u differs between nodes %d and %d: %s", shard, first,
				other, where);
		r->res->copies_compared++;
	}
}

void ring_compare(struct run *r)
{
	unsigned n = ring_nshards(cluster_map(r->c));

	for (unsigned i = 0; i < n && !r->broken; i++)
		compare_shard(r, (uint16_t)i);
}
