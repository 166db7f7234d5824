/*
 * lease_rig: sessions with leases, over the rigs of nodes: what they send and get, frame by frame.
 */
#ifndef ORBIT_TESTS_LEASE_RIG_H
#define ORBIT_TESTS_LEASE_RIG_H

#include "dht/node/grant.h"
#include "tests/unit/repl_rig.h"

#define SHARED WIRE_LEASE_SHARED
#define EXCLUSIVE WIRE_LEASE_EXCLUSIVE

/* The @nth frame of the type that came; NULL: not (yet). */
static inline struct frame *nth(struct rig_link *k, uint16_t type, unsigned nth)
{
	for (unsigned i = 0; i < k->ngot; i++) {
		if (k->got[i]->type == type && nth-- == 0)
			return k->got[i];
	}
	return NULL;
}

static inline unsigned came(struct rig_link *k, uint16_t type)
{
	unsigned n = 0;

	for (unsigned i = 0; i < k->ngot; i++)
		n += k->got[i]->type == type;
	return n;
}

static inline struct wire_leases leases_in(struct frame *f)
{
	struct wire_leases m;

	assert_non_null(f);
	assert_int_equal(wire_get_leases(frame_cur(f), &m), 0);
	return m;
}

/* The GRANT that came before that REPLY, with what it says of @id; mode 0: nothing. */
static inline struct wire_lease_one granted(
	struct rig_link *k, uint64_t rid, const struct orbit_id *id)
{
	struct wire_lease_one none = {0};

	for (unsigned i = 0; i + 1 < k->ngot; i++) {
		struct wire_leases m;

		if (k->got[i]->type != WIRE_GRANT)
			continue;
		m = leases_in(k->got[i]);
		if (m.request != rid)
			continue;
		assert_int_equal(k->got[i]->id, 0);
		assert_int_equal(k->got[i + 1]->type, WIRE_REPLY);
		assert_true(k->got[i + 1]->id == rid);
		for (uint32_t l = 0; l < m.n; l++) {
			struct wire_lease_one one = wire_lease_next(&m);

			if (!orbit_id_cmp(&one.id, id))
				return one;
		}
	}
	return none;
}

/* What the @nth RECALL asks for; it is about one lease. */
static inline struct wire_lease_one recalled(struct rig_link *k, unsigned n)
{
	struct wire_leases m = leases_in(nth(k, WIRE_RECALL, n));

	assert_int_equal(m.n, 1);
	return wire_lease_next(&m);
}

/* GET of the object, wishing for a lease of it. */
static inline uint64_t send_wish(struct rig_link *k, uint32_t session, uint64_t number,
	const struct orbit_id *id, unsigned mode, bool try)
{
	struct rig_head h = {.session = session, .number = number};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_get(&t, id);
	txn_lease(&t, id, mode, try);
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rid;
}

/* The mode that it gets. */
static inline uint8_t wish_for(struct rig_link *k, uint32_t session, uint64_t number,
	const struct orbit_id *id, unsigned mode, bool try)
{
	uint64_t rid = send_wish(k, session, number, id, mode, try);

	assert_int_equal(rig_status(k, rid), WIRE_OK);
	return granted(k, rid, id).mode;
}

static inline uint64_t add_by(
	struct rig_link *k, uint32_t session, uint64_t number, const struct orbit_id *id)
{
	struct rig_head h = {.session = session, .number = number};

	return rig_send_add(k, &h, id, 0, 1);
}

static inline uint64_t get_by(struct rig_link *k, uint32_t session, const struct orbit_id *id)
{
	struct rig_head h = {.session = session, .number = 1};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_get(&t, id);
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rid;
}

static inline void put_leases(struct rig_link *k, uint16_t type, uint64_t id, struct wire_leases *m,
	const struct wire_lease_one *one)
{
	struct frame *f = frame_new(type, id, 256);

	m->epoch = rig_epoch(k->r);
	wire_put_leases_head(&f->b, m);
	for (uint32_t i = 0; i < m->n; i++)
		wire_put_lease_one(&f->b, &one[i]);
	link_send(k->l, f);
}

static inline void give_back(
	struct rig_link *k, uint32_t session, struct wire_lease_one one, uint8_t keep)
{
	struct wire_leases m = {.session = session, .n = 1};

	one.mode = keep;
	one.version = 0;
	put_leases(k, WIRE_RETURN, 0, &m, &one);
}

/* HOLDING of a shard: the status it is answered with. */
static inline uint16_t say_holding(struct rig_link *k, uint32_t session, uint16_t shard,
	uint64_t term, bool more, uint32_t n, const struct wire_lease_one *one)
{
	struct wire_leases m = {
		.session = session, .shard = shard, .term = term, .more = more, .n = n};
	uint64_t id = k->next++;

	put_leases(k, WIRE_HOLDING, id, &m, one);
	return rig_status(k, id);
}

static inline bool has_reply(struct rig_link *k, uint64_t rid)
{
	return rig_got(k, WIRE_REPLY, rid) != NULL;
}

#endif
