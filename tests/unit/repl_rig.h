/*
 * repl_rig: three copies of everything on three nodes whose maps the tests give them.
 */
#ifndef ORBIT_TESTS_REPL_RIG_H
#define ORBIT_TESTS_REPL_RIG_H

#include "dht/node/repl_int.h"
#include "tests/unit/node_rig.h"

#define NODES 3

struct trio {
	struct rig r;
	struct rig_link k[NODES];
	struct orbit_id id; /* an object that node 0 leads */
	uint64_t number;
};

static inline void boot(struct trio *t, unsigned i)
{
	struct rig_node *n = &t->r.n[i];
	struct store_config cfg = store_config_default();
	char why[256];

	cfg.segment_size = 1 << 20;
	cfg.index_buffer = 1 << 20;
	cfg.cache_size = 1 << 20;
	cfg.reserve = 64 << 10;
	assert_int_equal(store_open_on(&n->store, sim_env(n->host), n->disk, n->index, &cfg, why,
				 sizeof(why)),
		0);
	assert_int_equal(node_new(&n->node, sim_env(n->host), n->store, &t->r.cfg), 0);
	assert_int_equal(node_listen(n->node, n->addr, NULL), 0);
}

/* The node has the map at once, if it runs. */
static inline void give(struct trio *t, unsigned i)
{
	if (t->r.n[i].node)
		rig_give_map(&t->r, i, t->r.map);
}

static inline void give_all(struct trio *t)
{
	for (unsigned i = 0; i < NODES; i++)
		give(t, i);
	sim_run(t->r.s, 10 * ENV_MS);
}

/* A new map: all shards have these members, the first leads. */
static inline void members(struct trio *t, unsigned n, const uint16_t *member)
{
	struct ring_map *m = ring_draft(t->r.map);

	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *rs = &m->shards[s];

		rs->term++;
		rs->primary = member[0];
		rs->nmembers = (uint8_t)n;
		rs->nlearners = 0;
		memcpy(rs->member, member, n * sizeof(*member));
	}
	for (unsigned i = 0; i < NODES; i++) {
		if (t->r.n[i].store)
			m->nodes[i].incarnation = store_info(t->r.n[i].store)->starts;
	}
	ring_unref(t->r.map);
	t->r.map = m;
}

#define MEMBERS(t, ...)                                                                            \
	do {                                                                                       \
		const uint16_t m_[] = {__VA_ARGS__};                                               \
		members(t, ARRAY_LEN(m_), m_);                                                     \
	} while (0)

static inline void trio_init(struct trio *t)
{
	struct ring_node nodes[NODES] = {0};

	memset(t, 0, sizeof(*t));
	t->r.s = sim_new(7);
	t->r.cfg = node_config_default();
	t->r.nnodes = NODES;
	for (unsigned i = 0; i < NODES; i++) {
		struct rig_node *n = &t->r.n[i];
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		snprintf(n->addr, sizeof(n->addr), "n%u:1", i);
		n->host = sim_host_new(t->r.s, name);
		n->disk = disk_mem_new();
		n->index = index_mem_new();
		nodes[i].id = rig_node_id(i);
		nodes[i].number = i + 1;
		nodes[i].incarnation = 1;
		nodes[i].up = true;
		nodes[i].weight = 100;
		nodes[i].naddrs = 1;
		snprintf(nodes[i].addr[0], sizeof(nodes[i].addr[0]), "%s", n->addr);
		assert_int_equal(store_make_on(n->disk, rig_fsid, &nodes[i].id), 0);
		boot(t, i);
	}
	assert_int_equal(ring_make(&t->r.map, rig_fsid, RIG_BITS, NODES, nodes, NODES), 0);
	MEMBERS(t, 0, 1, 2);
	give_all(t);
	t->r.client = sim_host_new(t->r.s, "client");
	for (unsigned i = 0; i < NODES; i++)
		rig_connect(&t->r, &t->k[i], i);
	t->id = rig_id(&t->r, 0, 0);
	t->number = 1;
	assert_int_equal(rig_create(&t->k[0], 1, t->number++, &t->id, 0), WIRE_OK);
}

static inline void trio_fini(struct trio *t)
{
	for (unsigned i = 0; i < NODES; i++)
		rig_hangup(&t->k[i]);
	rig_fini(&t->r);
}

static inline void crash(struct trio *t, unsigned i, enum disk_crash how)
{
	rig_hangup(&t->k[i]);
	rig_crash(&t->r, i, how);
}

static inline void restart(struct trio *t, unsigned i)
{
	sim_host_start(t->r.n[i].host);
	boot(t, i);
	rig_connect(&t->r, &t->k[i], i);
}

static inline uint64_t send_add(struct trio *t, unsigned to, uint64_t number)
{
	struct rig_head h = {.session = 1, .number = number};

	return rig_send_add(&t->k[to], &h, &t->id, 0, 1);
}

static inline uint16_t add(struct trio *t, unsigned to)
{
	return rig_status(&t->k[to], send_add(t, to, t->number++));
}

static inline bool answered(struct trio *t, unsigned to, uint64_t rid)
{
	return rig_got(&t->k[to], WIRE_REPLY, rid) != NULL;
}

static inline struct history past(struct trio *t, unsigned i)
{
	return store_history(t->r.n[i].store, rig_shard(&t->r, &t->id));
}

static inline void assert_level(struct trio *t, unsigned a, unsigned b)
{
	struct history x = past(t, a), y = past(t, b);

	assert_int_equal(x.seq, y.seq);
	assert_int_equal(x.term, y.term);
	assert_int_equal(x.nterms, y.nterms);
	assert_memory_equal(x.terms, y.terms, x.nterms * sizeof(*x.terms));
}

/* Another copy, as node 0 sees it. */
static inline struct copy *copy_of(struct trio *t, unsigned i)
{
	struct node *n = t->r.n[0].node;
	struct shard *s = node_shard(n, rig_shard(&t->r, &t->id));

	return copy_at(s, peer_of(n, (uint16_t)i));
}

#endif
