/*
 * learn_rig: three nodes whose maps a test writes by hand, a busy shard, and a look at whether two
 * copies of it are equal: every key, every byte, every hole, the history.
 */
#ifndef ORBIT_TESTS_LEARN_RIG_H
#define ORBIT_TESTS_LEARN_RIG_H

#include "dht/node/learn.h"
#include "dht/txn/object.h"
#include "tests/unit/node_rig.h"

#define WORLD_NODES 3
#define WORLD_SHARD 3
#define WORLD_OBJECTS 24
#define WORLD_STREAM (400u << 10)

struct world {
	struct rig r;
	struct rig_link k; /* to the primary */
	uint64_t number;
	uint64_t sent;
};

static inline struct orbit_id world_id(unsigned i)
{
	uint8_t name[24] = {(uint8_t)i, 1};

	return orbit_id_make((uint64_t)WORLD_SHARD << (64 - RIG_BITS), name);
}

/* Every node that runs gets that map: primary and members (the first is it), learners of all
 * shards; RING_NONE ends a list. The term goes on by @terms. */
static inline void world_map(
	struct world *w, const uint16_t *members, const uint16_t *learners, unsigned terms)
{
	struct ring_map *m = ring_draft(w->r.map);

	for (unsigned i = 0; i < WORLD_NODES; i++) {
		struct rig_node *n = &w->r.n[i];

		m->nodes[i].up = n->node != NULL;
		if (n->node)
			m->nodes[i].incarnation = store_info(n->store)->starts;
	}
	for (unsigned i = 0; i < ring_nshards(m); i++) {
		struct ring_shard *s = &m->shards[i];

		s->nmembers = s->nlearners = 0;
		while (members[s->nmembers] != RING_NONE) {
			s->member[s->nmembers] = members[s->nmembers];
			s->nmembers++;
		}
		while (learners[s->nlearners] != RING_NONE) {
			s->learner[s->nlearners] = learners[s->nlearners];
			s->nlearners++;
		}
		s->primary = members[0];
		s->term += terms;
	}
	for (unsigned i = 0; i < WORLD_NODES; i++) {
		if (!w->r.n[i].node)
			continue;
		rig_give_map(&w->r, i, m);
		assert_int_equal(node_ring(w->r.n[i].node)->epoch, m->epoch);
	}
	ring_unref(w->r.map);
	w->r.map = m;
}

#define NODES(...) ((const uint16_t[]){__VA_ARGS__, RING_NONE})
#define NOBODY ((const uint16_t[]){RING_NONE})

static inline void world_init_with(struct world *w, const struct node_config *cfg)
{
	memset(w, 0, sizeof(*w));
	rig_init_by_hand(&w->r, WORLD_NODES, cfg);
	w->r.map->replicas = 2;
	world_map(w, NODES(0), NOBODY, 1);
	/* nobody takes over within a lease of its start */
	sim_run(w->r.s, 2 * ENV_SEC);
	rig_connect(&w->r, &w->k, 0);
}

static inline void world_init(struct world *w)
{
	struct node_config cfg = node_config_default();

	world_init_with(w, &cfg);
}

static inline void world_fini(struct world *w)
{
	rig_hangup(&w->k);
	rig_fini(&w->r);
}

static inline struct node *world_node(struct world *w, unsigned i)
{
	return w->r.n[i].node;
}

static inline struct history world_history(struct world *w, unsigned i)
{
	return store_history(w->r.n[i].store, WORLD_SHARD);
}

/* ---- load ---- */

static inline uint64_t world_send(struct world *w, struct txn_build *t)
{
	uint64_t number = ++w->number;
	struct wire_txn m = {.session = 1,
		.number = number,
		.floor = number > 40 ? number - 40 : 0,
		.epoch = w->r.map->epoch,
		.age = number};
	struct frame *f = frame_new(WIRE_TXN, w->k.next++, 256);
	uint64_t id = f->id;

	if (!t->writes)
		m.flags |= WIRE_TXN_READS;
	wire_put_txn_head(&f->b, &m);
	assert_int_equal(txn_encode(t, &f->b, NULL, NULL), 0);
	assert_non_null(w->k.l);
	link_send(w->k.l, f);
	w->sent++;
	return id;
}

/* One change of a random object, sent and not waited for; many of them fail, as the object is
 * (not) there. */
static inline void world_op(struct world *w)
{
	static uint8_t bytes[20000];
	struct sim *s = w->r.s;
	struct orbit_id id = world_id((unsigned)sim_below(s, WORLD_OBJECTS));
	uint64_t from = sim_below(s, WORLD_STREAM), len = 1 + sim_below(s, sizeof(bytes) - 1);
	uint64_t slots[TXN_SLOTS] = {sim_random(s)};
	uint8_t key = (uint8_t)sim_below(s, 20);
	struct txn_build t;

	txn_init(&t);
	switch (sim_below(s, 12)) {
	case 0:
	case 1:
		txn_create(&t, &id, 1, slots);
		break;
	case 2:
		if (sim_chance(s, 300))
			txn_delete(&t, &id);
		else
			txn_hold(&t, &id);
		break;
	case 3:
	case 4:
		txn_put(&t, &id, &key, 1, slots, 8);
		break;
	case 5:
		txn_del(&t, &id, &key, 1);
		break;
	case 6:
		txn_punch(&t, &id, from, sim_chance(s, 200) ? UINT64_MAX : from + len);
		break;
	case 7:
		txn_set(&t, &id, 3, sim_random(s));
		break;
	default:
		memset(bytes, (int)sim_random(s), len);
		txn_write(&t, &id, from, bytes, (uint32_t)len);
	}
	world_send(w, &t);
	txn_fini(&t);
}

/* Forgets the answers so far. */
static inline void world_drain(struct world *w)
{
	for (unsigned i = 0; i < w->k.ngot; i++)
		frame_unref(w->k.got[i]);
	w->k.ngot = 0;
}

/* Answers since they were forgotten last; the node also tells of newer maps. */
static inline unsigned world_answers(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->k.ngot; i++)
		n += w->k.got[i]->type == WIRE_REPLY;
	return n;
}

/* @n changes, a few at a time; then all of them are answered. */
static inline void world_load(struct world *w, unsigned n)
{
	unsigned left = 0;

	world_drain(w);
	for (unsigned i = 0; i < n; i++) {
		world_op(w);
		sim_run(w->r.s, sim_below(w->r.s, 2 * ENV_MS));
		left++;
		if (left == 500 || i + 1 == n) {
			for (unsigned ms = 0; world_answers(w) < left && ms < 5000; ms++)
				sim_run(w->r.s, ENV_MS);
			assert_int_equal(world_answers(w), left);
			world_drain(w);
			left = 0;
		}
	}
}

/* ---- looking ---- */

static inline void world_read_done(struct store_read *r, int rc)
{
	(void)r;
	assert_int_equal(rc, 0);
}

static inline bool world_put_extent(
	void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs)
{
	struct buf *b = arg;

	/* adjacent ones count as one: where they part is each copy's own */
	(void)crcs;
	(void)ncrcs;
	if (b->len >= 16) {
		uint64_t last[2];

		memcpy(last, b->data + b->len - 16, 16);
		if (last[0] + last[1] == off) {
			last[1] += len;
			memcpy(b->data + b->len - 16, last, 16);
			return true;
		}
	}
	buf_u64(b, off);
	buf_u64(b, len);
	return true;
}

/* The bytes of a stream, and where they are. */
static inline void world_dump_stream(
	struct world *w, unsigned i, const struct orbit_id *id, struct buf *out)
{
	struct store *st = w->r.n[i].store;
	struct store_read r = {.done = world_read_done};
	struct buf ext = {0};
	size_t at = out->len;
	int rc;

	assert_non_null(buf_add(out, WORLD_STREAM + 20000));
	do {
		rc = store_read(st, &r, WORLD_SHARD, id, 0, WORLD_STREAM + 20000, out->data + at);
		if (rc)
			sim_run(w->r.s, 20 * ENV_MS);
	} while (rc == -EAGAIN);
	assert_true(rc == 0 || rc == -EINPROGRESS);
	while ((rc = store_extents(st, WORLD_SHARD, id, 0, UINT64_MAX, world_put_extent, &ext)) ==
		-EAGAIN) {
		sim_run(w->r.s, 20 * ENV_MS);
		buf_reset(&ext);
	}
	assert_int_equal(rc, 0);
	buf_bytes(out, ext.data, ext.len);
	buf_fini(&ext);
}

/* All that a copy has. */
static inline struct buf world_dump(struct world *w, unsigned i, unsigned *objects)
{
	struct store *st = w->r.n[i].store;
	struct history h = world_history(w, i);
	struct orbit_id ids[4 * WORLD_OBJECTS];
	const void *key, *val;
	struct buf out = {0};
	struct walk_iter it;
	size_t klen, vlen;
	unsigned n = 0;
	int rc;

	history_encode(&h, &out);
	store_blocking(st, true);
	walk_iter_init(&it, st, WORLD_SHARD, NULL, 0);
	while ((rc = walk_iter_next(&it, &key, &klen, &val, &vlen)) == 1) {
		buf_blob(&out, key, klen);
		buf_blob(&out, val, vlen);
		if (*(const char *)key == KEY_HEADER) {
			assert_true(n < ARRAY_LEN(ids));
			memcpy(ids[n++].b, (const uint8_t *)key + KEY_HEAD, ORBIT_ID_LEN);
		}
	}
	assert_int_equal(rc, 0);
	walk_iter_fini(&it);
	store_blocking(st, false);
	for (unsigned k = 0; k < n; k++)
		world_dump_stream(w, i, &ids[k], &out);
	if (objects)
		*objects = n;
	assert_int_equal(out.err, 0);
	return out;
}

static inline bool world_equal(struct world *w, unsigned a, unsigned b)
{
	struct buf x = world_dump(w, a, NULL), y = world_dump(w, b, NULL);
	bool same = x.len == y.len && !memcmp(x.data, y.data, x.len);

	buf_fini(&x);
	buf_fini(&y);
	return same;
}

static inline struct learn *world_learner(struct world *w, unsigned i)
{
	struct node *n = world_node(w, i);

	return n->learn ? n->learn->of[WORLD_SHARD] : NULL;
}

static inline bool world_level(struct world *w, unsigned i)
{
	struct learn *l = world_learner(w, i);

	return l && l->state == LEARN_LEVEL;
}

/* Until the learner has said that it has all; false: not within @limit. */
static inline bool world_wait_level(struct world *w, unsigned i, uint64_t limit)
{
	uint64_t end = sim_now(w->r.s) + limit;

	while (!world_level(w, i) && sim_now(w->r.s) < end)
		sim_run(w->r.s, ENV_MS);
	return world_level(w, i);
}

#endif
