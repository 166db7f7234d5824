/*
 * What the tests of the client's leases share: nodes that grant every wish, and a user who notes
 * what he is told.
 */
#ifndef ORBIT_TEST_CLIENT_LEASE_H
#define ORBIT_TEST_CLIENT_LEASE_H

#include "dht/wire/wire_lease.h"
#include "tests/unit/test_client_map.h"

#define TERM(t) ((uint64_t)(t) << 40)

/* What nodes are told, in order. */
struct back {
	unsigned node;
	struct wire_lease_one one;
};
static struct back back[64];
static unsigned nback, nback_frames;

static struct {
	unsigned n, node, ones;
	uint32_t session;
	uint16_t shard;
	uint64_t term;
	bool more;
	struct wire_lease_one one[16]; /* the first of them */
	uint16_t status;               /* of the answer */
	bool silent;                   /* there is none */
} holding;

static uint64_t txn_epoch;   /* of the last TXN that any of them got */
static uint64_t next_number; /* of what is granted, without the term */
static bool mute_reply;      /* TXNs that wish are granted, but not answered */

/* What the user is told. */
static struct {
	unsigned recalls, losses, valids;
	struct orbit_id id;
	enum orbit_lease keep;
	bool valid, at_once;
} told;

static inline void on_recall(void *arg, const struct orbit_id *id, enum orbit_lease keep)
{
	(void)arg;
	told.recalls++;
	told.id = *id;
	told.keep = keep;
	if (told.at_once)
		orbit_return(c, id, keep);
}

static inline void on_lost(void *arg, const struct orbit_id *id)
{
	(void)arg;
	told.losses++;
	told.id = *id;
	assert_int_equal(orbit_lease_held(c, id), ORBIT_LEASE_NONE);
	orbit_return(c, id, ORBIT_LEASE_NONE); /* harmless */
}

static inline void on_valid(void *arg, bool valid)
{
	(void)arg;
	told.valids++;
	told.valid = valid;
}

static const struct orbit_lease_ops ops = {.recall = on_recall, .lost = on_lost, .valid = on_valid};

/* ---- nodes ---- */

static inline struct wire_lease_one one_of(struct orbit_id id, uint8_t mode, uint64_t number)
{
	return (struct wire_lease_one){.shard = ring_shard_of(w.map, &id),
		.id = id,
		.mode = mode,
		.number = number,
		.version = 77};
}

static inline struct frame *message(
	uint16_t type, uint64_t request, const struct wire_lease_one *ones, uint32_t n)
{
	struct frame *f = frame_new(type, 0, 64);
	struct wire_leases m = {
		.request = request, .session = w.next_session, .epoch = w.map->epoch, .n = n};

	wire_put_leases_head(&f->b, &m);
	for (uint32_t i = 0; i < n; i++)
		wire_put_lease_one(&f->b, &ones[i]);
	return f;
}

static inline struct tlink *link_of(struct fake *n)
{
	struct tlink *t;

	TAILQ_FOREACH (t, &w.links, at)
		if (t->node == n && t->pub && !t->dead && t->up)
			return t;
	fail_msg("no link");
	return NULL;
}

static inline void recall(struct fake *n, struct orbit_id id, uint8_t keep, uint64_t number)
{
	struct wire_lease_one one = one_of(id, keep, number);

	fake_send(link_of(n), message(WIRE_RECALL, 0, &one, 1));
	w_for(&w, MS);
}

static inline void claim(struct fake *n, uint16_t shard, uint64_t term, uint32_t session)
{
	struct frame *f = frame_new(WIRE_CLAIM, 0, 64);
	struct wire_leases m = {
		.session = session, .epoch = w.map->epoch, .shard = shard, .term = term};

	wire_put_leases_head(&f->b, &m);
	fake_send(link_of(n), f);
	w_for(&w, MS);
}

static inline bool on_txn(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_lease_one ones[64];
	struct wire_txn m;
	struct txn_iter it;
	struct txn_view v;
	struct txn_op op;
	uint32_t k = 0;

	(void)n;
	assert_int_equal(wire_get_txn(frame_cur(f), &m), 0);
	txn_epoch = m.epoch;
	assert_int_equal(txn_check(m.body, m.body_len, &v), 0);
	for (it = txn_iter_of(&v); txn_next(&it, &op);) {
		struct orbit_id id;

		if (op.kind != TXN_LEASE)
			continue;
		memcpy(&id, v.object + op.object, sizeof(id));
		ones[k++] = one_of(id, op.slot,
			TERM(w.map->shards[ring_shard_of(w.map, &id)].term) | ++next_number);
	}
	if (k)
		fake_send(t, message(WIRE_GRANT, f->id, ones, k));
	return k && mute_reply;
}

static inline void on_return(struct fake *n, struct frame *f)
{
	struct wire_leases m;

	assert_int_equal(wire_get_leases(frame_cur(f), &m), 0);
	nback_frames++;
	for (uint32_t i = 0; i < m.n; i++) {
		assert_true(nback < ARRAY_LEN(back));
		back[nback].node = n->index;
		back[nback++].one = wire_lease_next(&m);
	}
}

static inline void on_holding(struct fake *n, struct tlink *t, struct frame *f)
{
	struct wire_leases m;

	assert_int_equal(wire_get_leases(frame_cur(f), &m), 0);
	holding.n++;
	holding.node = n->index;
	holding.session = m.session;
	holding.shard = m.shard;
	holding.term = m.term;
	holding.more = m.more;
	holding.ones = m.n;
	for (uint32_t i = 0; i < m.n && i < ARRAY_LEN(holding.one); i++)
		holding.one[i] = wire_lease_next(&m);
	if (!holding.silent)
		fake_status(n, t, f, holding.status, -1);
}

static inline bool hook(struct fake *n, struct tlink *t, struct frame *f)
{
	switch (f->type) {
	case WIRE_TXN:
		return on_txn(n, t, f);
	case WIRE_RETURN:
		on_return(n, f);
		return true;
	case WIRE_HOLDING:
		on_holding(n, t, f);
		return true;
	}
	return false;
}

/* ---- the user ---- */

struct wish {
	unsigned calls;
	enum orbit_lease covered;
	uint64_t version;
	struct orbit_reply reply; /* with the grant, kept */
	struct orbit_id id;
};

static inline void on_wish(void *arg, const struct orbit_reply *r)
{
	struct wish *s = arg;

	s->calls++;
	assert_int_equal(r->rc, 0);
	s->covered = orbit_covered(c, r, &s->id, &s->version);
	s->reply = *r;
	if (r->grant)
		frame_ref(r->grant);
}

static inline void send_wish(struct wish *s, struct orbit_id id, unsigned mode)
{
	struct txn_build t;

	memset(s, 0, sizeof(*s));
	s->id = id;
	txn_init(&t);
	txn_get(&t, &id);
	assert_true(txn_lease(&t, &id, mode, true) >= 0);
	orbit_submit(c, &t, NULL, on_wish, s);
}

static inline void wish(struct wish *s, struct orbit_id id, unsigned mode)
{
	send_wish(s, id, mode);
	w_for(&w, MS);
	assert_int_equal(s->calls, 1);
	assert_int_equal(s->covered, mode);
	assert_int_equal(s->version, 77);
	assert_int_equal(orbit_lease_held(c, &id), mode);
}

static inline enum orbit_lease covered_now(struct wish *s)
{
	return orbit_covered(c, &s->reply, &s->id, NULL);
}

static inline void done(struct wish *s)
{
	frame_unref(s->reply.grant);
}

/* Gets one, and forgets the reply. */
static inline void hold(struct orbit_id id, unsigned mode)
{
	struct wish s;

	wish(&s, id, mode);
	done(&s);
}

static inline uint64_t granted(const struct orbit_client *of)
{
	struct orbit_counters n;

	orbit_counters(of, &n);
	return n.leases;
}

static inline int setup(void **state)
{
	(void)state;
	memset(&told, 0, sizeof(told));
	memset(&holding, 0, sizeof(holding));
	nback = nback_frames = 0;
	next_number = 0;
	mute_reply = false;
	begin(3);
	for (unsigned i = 0; i < 3; i++)
		w.node[i]->hook = hook;
	orbit_leases(c, &ops, NULL);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	end();
	return 0;
}

static inline void map_to_client(void)
{
	fake_say_epoch(w.node[0], w.map->epoch);
	w_for(&w, 10 * MS);
	assert_int_equal(orbit_ring(c)->epoch, w.map->epoch);
}

#endif
