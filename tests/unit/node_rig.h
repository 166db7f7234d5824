/*
 * node_rig: nodes over stores in memory, and a client that speaks frames, in the simulator's world.
 * What a test sends and expects is written out: no client library in between.
 */
#ifndef ORBIT_TESTS_NODE_RIG_H
#define ORBIT_TESTS_NODE_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/node/keep.h"
#include "dht/node/node.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "dht/txn/txn.h"
#include "dht/wire/wire.h"
#include "tests/sim/sim.h"

#define RIG_NODES 4
#define RIG_FRAMES 4096
#define RIG_BITS 4

struct rig_node {
	struct sim_host *host;
	struct disk *disk;
	struct store_index *index;
	struct store *store;
	struct node *node;
	char addr[32];
};

struct rig_link {
	struct rig *r;
	unsigned to;
	struct link *l;
	bool up;
	int down; /* how it ended */
	uint64_t next;
	struct frame *got[RIG_FRAMES];
	unsigned ngot;
};

struct rig {
	struct sim *s;
	struct ring_map *map;
	struct node_config cfg;
	unsigned nnodes;
	struct rig_node n[RIG_NODES];
	struct sim_host *client;
	const char *first; /* where the others join */
	bool by_hand;      /* there is no keeper: the test gives the maps */
};

static uint64_t rig_seed;   /* 0: always the same */
static unsigned rig_voters; /* 0: one */
static bool rig_embedded;   /* one node that its own process alone can reach, the client's */
static unsigned rig_tail;   /* effects that a store can read back; 0: the default */
static const uint8_t rig_fsid[16] = "0123456789abcde";

static inline struct orbit_id rig_node_id(unsigned i)
{
	struct orbit_id id = {{(uint8_t)(0x10 * (i + 1))}};

	return id;
}

static inline void rig_boot(struct rig *r, unsigned i)
{
	struct rig_node *n = &r->n[i];
	struct store_config cfg = store_config_default();
	struct node_config ncfg = r->cfg;
	char why[256];

	cfg.segment_size = 1 << 20;
	cfg.index_buffer = 1 << 20;
	cfg.cache_size = 1 << 20;
	cfg.reserve = 64 << 10;
	cfg.tail_max = rig_tail;
	assert_int_equal(store_open_on(&n->store, sim_env(n->host), n->disk, n->index, &cfg, why,
				 sizeof(why)),
		0);
	if (i == 0 && store_info(n->store)->starts == 1 && !r->by_hand)
		assert_int_equal(keeper_bootstrap(n->store, r->map), 0);
	ncfg.keeper.voters = rig_voters ? rig_voters : 1;
	r->first = r->n[0].addr;
	ncfg.join = &r->first;
	ncfg.njoin = r->by_hand ? 0 : 1;
	assert_int_equal(node_new(&n->node, sim_env(n->host), n->store, &ncfg), 0);
	assert_int_equal(node_listen(n->node, n->addr, NULL), 0);
}

/* Runs the world until all nodes that run are in the map. */
static inline void rig_settle(struct rig *r)
{
	if (!r->n[0].node || r->by_hand)
		return; /* there is nobody to ask */
	for (unsigned tries = 0; tries < 1000; tries++) {
		const struct ring_map *m = NULL;
		bool all = true;

		for (unsigned i = 0; i < r->nnodes; i++) {
			if (!r->n[i].node)
				continue;
			all &= node_registered(r->n[i].node);
			if (!m)
				m = node_ring(r->n[i].node);
			else if (all)
				all = m->epoch == node_ring(r->n[i].node)->epoch;
		}
		if (all)
			return;
		sim_run(r->s, 10 * ENV_MS);
	}
	fail_msg("the nodes do not come into the map");
}

/* Has the node take a map as if another one had told it. */
static inline void rig_give_map(struct rig *r, unsigned i, struct ring_map *m)
{
	int rc = keep_adopt(r->n[i].node, m);

	assert_true(rc == 0 || rc == -EEXIST);
	sim_run(r->s, 10 * ENV_MS);
}

static inline void rig_crash(struct rig *r, unsigned i, enum disk_crash how)
{
	struct rig_node *n = &r->n[i];

	node_free(n->node);
	store_free(n->store);
	n->node = NULL;
	n->store = NULL;
	sim_host_kill(n->host, how != DISK_PROCESS);
	disk_mem_crash(n->disk, how, 1);
	index_mem_crash(n->index, 1);
}

static inline void rig_restart(struct rig *r, unsigned i)
{
	sim_host_start(r->n[i].host);
	rig_boot(r, i);
	rig_settle(r);
}

static inline void rig_make(
	struct rig *r, unsigned nnodes, const struct node_config *cfg, bool by_hand)
{
	struct ring_node nodes[RIG_NODES] = {0};

	memset(r, 0, sizeof(*r));
	r->s = sim_new(rig_seed ? rig_seed : 7);
	r->cfg = *cfg;
	r->by_hand = by_hand;
	r->nnodes = nnodes;
	for (unsigned i = 0; i < nnodes; i++) {
		struct rig_node *n = &r->n[i];
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		snprintf(n->addr, sizeof(n->addr), "n%u:1", i);
		if (rig_embedded)
			snprintf(n->addr, sizeof(n->addr), "local:node");
		n->host = sim_host_new(r->s, name);
		n->disk = disk_mem_new();
		n->index = index_mem_new();
		nodes[i].id = rig_node_id(i);
		nodes[i].weight = 100;
		nodes[i].naddrs = 1;
		snprintf(nodes[i].addr[0], sizeof(nodes[i].addr[0]), "%s", n->addr);
		assert_int_equal(store_make_on(n->disk, rig_fsid, &nodes[i].id), 0);
	}
	assert_int_equal(ring_make(&r->map, rig_fsid, RIG_BITS, 1, nodes, nnodes), 0);
	for (unsigned i = 0; i < nnodes; i++)
		rig_boot(r, i);
	rig_settle(r);
	r->client = rig_embedded ? r->n[0].host : sim_host_new(r->s, "client");
}

/* Its nodes are all in the map; the first is the only voter. */
static inline void rig_init_with(struct rig *r, unsigned nnodes, const struct node_config *cfg)
{
	rig_make(r, nnodes, cfg, false);
}

/* They have no map yet, and get them from the test alone. */
static inline void rig_init_by_hand(struct rig *r, unsigned nnodes, const struct node_config *cfg)
{
	rig_make(r, nnodes, cfg, true);
}

static inline void rig_init(struct rig *r, unsigned nnodes)
{
	struct node_config cfg = node_config_default();

	rig_init_with(r, nnodes, &cfg);
}

static inline void rig_fini(struct rig *r)
{
	for (unsigned i = 0; i < r->nnodes; i++) {
		if (r->n[i].node) {
			node_free(r->n[i].node);
			store_free(r->n[i].store);
		}
	}
	/* what workers still have to do for the stores */
	sim_run(r->s, ENV_SEC);
	sim_free(r->s);
	for (unsigned i = 0; i < r->nnodes; i++) {
		index_free(r->n[i].index);
		disk_free(r->n[i].disk);
	}
	ring_unref(r->map);
}

/* An ID whose shard is served by that node; IDs of different @k lie in different shards as far as
 * it has that many. */
static inline struct orbit_id rig_id(const struct rig *r, unsigned node, unsigned k)
{
	uint8_t name[24] = {(uint8_t)node, (uint8_t)k};
	unsigned seen = 0;

	for (;;) {
		for (unsigned s = 0; s < ring_nshards(r->map); s++) {
			if (r->map->shards[s].primary == node && seen++ == k)
				return orbit_id_make((uint64_t)s << (64 - RIG_BITS), name);
		}
		assert_int_not_equal(seen, 0);
	}
}

static inline uint16_t rig_shard(const struct rig *r, const struct orbit_id *id)
{
	return ring_shard_of(r->map, id);
}

/* ---- the client ---- */

static inline void rig_on_up(struct link *l, void *arg)
{
	struct wire_hello h = {
		.version = WIRE_VERSION, .version_min = WIRE_VERSION_MIN, .role = WIRE_ROLE_ADMIN};
	struct frame *f = frame_new(WIRE_HELLO, 1, 96);
	struct rig_link *k = arg;

	wire_put_hello(&f->b, &h);
	k->up = true;
	link_send(l, f);
}

static inline void rig_on_message(struct link *l, struct frame *f, void *arg)
{
	struct rig_link *k = arg;

	(void)l;
	assert_true(k->ngot < RIG_FRAMES);
	k->got[k->ngot++] = frame_ref(f);
}

static inline void rig_on_down(struct link *l, int rc, void *arg)
{
	struct rig_link *k = arg;

	k->down = rc ? rc : -ECONNRESET;
	k->l = NULL;
	link_close(l);
}

static const struct link_events rig_link_events = {rig_on_up, rig_on_message, rig_on_down};

/* A link without HELLO, for those who want to send something else first. */
static inline void rig_dial(struct rig *r, struct rig_link *k, unsigned to)
{
	memset(k, 0, sizeof(*k));
	k->r = r;
	k->to = to;
	k->next = 10;
	assert_int_equal(
		env_connect(sim_env(r->client), r->n[to].addr, &rig_link_events, k, &k->l), 0);
}

static inline void rig_hangup(struct rig_link *k)
{
	if (k->l)
		link_close(k->l);
	k->l = NULL;
	for (unsigned i = 0; i < k->ngot; i++)
		frame_unref(k->got[i]);
	k->ngot = 0;
}

static inline struct frame *rig_got(struct rig_link *k, uint16_t type, uint64_t id)
{
	for (unsigned i = 0; i < k->ngot; i++) {
		if (k->got[i]->type == type && k->got[i]->id == id)
			return k->got[i];
	}
	return NULL;
}

static inline void rig_connect(struct rig *r, struct rig_link *k, unsigned to)
{
	rig_dial(r, k, to);
	sim_run(r->s, 20 * ENV_MS);
	assert_true(k->up);
	assert_non_null(rig_got(k, WIRE_HELLO, 1));
}

/* The frame of that type and id, waited for; NULL after @limit. */
static inline struct frame *rig_wait(struct rig_link *k, uint16_t type, uint64_t id, uint64_t limit)
{
	uint64_t end = sim_now(k->r->s) + limit;
	struct frame *f;

	while (!(f = rig_got(k, type, id)) && sim_now(k->r->s) < end)
		sim_run(k->r->s, ENV_MS / 10);
	return f;
}

static inline struct wire_reply rig_reply(struct rig_link *k, uint64_t id)
{
	struct frame *f = rig_wait(k, WIRE_REPLY, id, 20 * ENV_SEC);
	struct wire_reply m;

	assert_non_null(f);
	assert_int_equal(wire_get_reply(frame_cur(f), &m), 0);
	return m;
}

static inline uint16_t rig_status(struct rig_link *k, uint64_t id)
{
	return rig_reply(k, id).status;
}

struct rig_head {
	uint32_t session;
	uint64_t number, floor, age;
	uint64_t older; /* so many epochs behind the newest */
	uint16_t flags;
	unsigned nabandoned, nparticipants;
	uint64_t abandoned[8];
	uint16_t participants[8];
};

/* Of the newest map that a node has. */
static inline uint64_t rig_epoch(const struct rig *r)
{
	uint64_t epoch = 0;

	for (unsigned i = 0; i < r->nnodes; i++) {
		const struct ring_map *m = r->n[i].node ? node_ring(r->n[i].node) : NULL;

		if (m && m->epoch > epoch)
			epoch = m->epoch;
	}
	return epoch;
}

/* Sends TXN or PREPARE; the transaction stays. Returns the id. */
static inline uint64_t rig_send_txn(
	struct rig_link *k, uint16_t type, const struct rig_head *h, const struct txn_build *t)
{
	struct frame *f = frame_new(type, k->next++, 256);
	uint64_t abandoned[8], id = f->id;
	uint16_t participants[8];
	struct wire_txn m = {.flags = h->flags,
		.session = h->session,
		.number = h->number,
		.floor = h->floor,
		.epoch = rig_epoch(k->r) - h->older,
		.age = h->age,
		.nabandoned = (uint16_t)h->nabandoned,
		.abandoned = abandoned,
		.nparticipants = (uint16_t)h->nparticipants,
		.participants = participants};

	if (type == WIRE_TXN && !t->writes)
		m.flags |= WIRE_TXN_READS;
	for (unsigned i = 0; i < h->nabandoned; i++)
		abandoned[i] = htole64(h->abandoned[i]);
	for (unsigned i = 0; i < h->nparticipants; i++)
		participants[i] = htole16(h->participants[i]);
	wire_put_txn_head(&f->b, &m);
	assert_int_equal(txn_encode(t, &f->b, NULL, NULL), 0);
	link_send(k->l, f);
	return id;
}

static inline uint64_t rig_send_decide(struct rig_link *k, uint16_t type, uint32_t session,
	uint64_t number, uint16_t shard, bool commit)
{
	struct frame *f = frame_new(type, k->next++, 64);
	struct wire_decide m = {.session = session,
		.number = number,
		.epoch = rig_epoch(k->r),
		.shard = shard,
		.commit = commit};
	uint64_t id = f->id;

	wire_put_decide(&f->b, &m);
	link_send(k->l, f);
	return id;
}

/* ---- short transactions ---- */

/* Creates an object with slot 0 = @value. */
static inline uint16_t rig_create(struct rig_link *k, uint32_t session, uint64_t number,
	const struct orbit_id *id, uint64_t value)
{
	struct rig_head h = {.session = session, .number = number, .floor = 0};
	uint64_t slot[TXN_SLOTS] = {value};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_create(&t, id, 1, slot);
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rig_status(k, rid);
}

static inline uint64_t rig_send_add(struct rig_link *k, const struct rig_head *h,
	const struct orbit_id *id, unsigned slot, int64_t value)
{
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_add(&t, id, slot, value);
	rid = rig_send_txn(k, WIRE_TXN, h, &t);
	txn_fini(&t);
	return rid;
}

/* By somebody whose map is so many epochs behind the newest. */
static inline uint64_t rig_send_get_of(
	struct rig_link *k, const struct orbit_id *id, uint64_t older)
{
	struct rig_head h = {.number = 1, .older = older};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_get(&t, id);
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rid;
}

static inline uint64_t rig_send_get(struct rig_link *k, const struct orbit_id *id)
{
	return rig_send_get_of(k, id, 0);
}

/* The slot as a read that was answered says it; -1: the object is absent. */
static inline int64_t rig_got_slot(struct rig_link *k, uint64_t rid, unsigned slot)
{
	struct wire_reply m = rig_reply(k, rid);
	struct txn_object o;
	struct txn_result res;
	struct cur c;

	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	if (!res.present)
		return -1;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	return (int64_t)o.slot[slot];
}

static inline int64_t rig_slot(struct rig_link *k, const struct orbit_id *id, unsigned slot)
{
	return rig_got_slot(k, rig_send_get(k, id), slot);
}

#endif
