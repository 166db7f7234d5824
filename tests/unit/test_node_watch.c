/* Notices of committed changes: to whom, of what, in which order. */
#include "dht/wire/wire_watch.h"
#include "tests/unit/node_rig.h"

struct one {
	struct rig r;
	struct rig_link k;         /* changes things */
	struct rig_link w;         /* watches */
	struct orbit_id id, other; /* in two shards */
};

static void one_init(struct one *o)
{
	rig_init(&o->r, 1);
	rig_connect(&o->r, &o->k, 0);
	rig_connect(&o->r, &o->w, 0);
	o->id = rig_id(&o->r, 0, 0);
	o->other = rig_id(&o->r, 0, 1);
}

static void one_fini(struct one *o)
{
	rig_hangup(&o->k);
	rig_hangup(&o->w);
	rig_fini(&o->r);
}

static uint16_t watch(struct rig_link *k, struct wire_watch m)
{
	struct frame *f = frame_new(WIRE_WATCH, k->next++, 64);
	uint64_t id = f->id;

	wire_put_watch(&f->b, &m);
	link_send(k->l, f);
	return rig_status(k, id);
}

static uint16_t watch_id(struct rig_link *k, uint64_t number, const struct orbit_id *id)
{
	return watch(
		k, (struct wire_watch){.begin = true, .number = number, .bits = 256, .id = *id});
}

/* The @nth notice that came on the link. */
static struct wire_notice nth(struct rig_link *k, unsigned n)
{
	struct wire_notice m = {0};

	for (unsigned i = 0; i < k->ngot; i++) {
		if (k->got[i]->type != WIRE_NOTICE)
			continue;
		assert_int_equal(wire_get_notice(frame_cur(k->got[i]), &m), 0);
		if (n-- == 0)
			return m;
	}
	return (struct wire_notice){0};
}

static unsigned count(struct rig_link *k)
{
	unsigned n = 0;

	sim_run(k->r->s, 50 * ENV_MS);
	for (unsigned i = 0; i < k->ngot; i++)
		n += k->got[i]->type == WIRE_NOTICE;
	return n;
}

static uint16_t add(struct one *o, uint64_t number, const struct orbit_id *id)
{
	struct rig_head h = {.session = 1, .number = number};

	return rig_status(&o->k, rig_send_add(&o->k, &h, id, 0, 1));
}

static uint16_t run(struct one *o, uint64_t number, struct txn_build *t)
{
	struct rig_head h = {.session = 1, .number = number};
	uint16_t status = rig_status(&o->k, rig_send_txn(&o->k, WIRE_TXN, &h, t));

	txn_fini(t);
	return status;
}

static void test_watch_tells_what_became_of_an_object(void **state)
{
	uint64_t slot[TXN_SLOTS] = {0};
	struct wire_notice m;
	struct txn_build t;
	struct one o;

	(void)state;
	one_init(&o);
	assert_int_equal(watch_id(&o.w, 1, &o.id), WIRE_OK);
	assert_int_equal(rig_create(&o.k, 1, 1, &o.id, 100), WIRE_OK);
	assert_int_equal(rig_create(&o.k, 1, 2, &o.other, 100), WIRE_OK);
	assert_int_equal(add(&o, 3, &o.id), WIRE_OK);
	txn_init(&t); /* changes nothing that is told */
	txn_hold(&t, &o.id);
	assert_int_equal(run(&o, 4, &t), WIRE_OK);
	txn_init(&t);
	txn_delete(&t, &o.id);
	txn_create(&t, &o.id, 1, slot);
	assert_int_equal(run(&o, 5, &t), WIRE_OK);
	txn_init(&t);
	txn_put(&t, &o.id, "k", 1, "v", 1);
	txn_put(&t, &o.id, "l", 1, "v", 1);
	txn_write(&t, &o.id, 0, "bytes", 5);
	assert_int_equal(run(&o, 6, &t), WIRE_OK);
	txn_init(&t);
	txn_delete(&t, &o.id);
	assert_int_equal(run(&o, 7, &t), WIRE_OK);
	assert_int_equal(count(&o.w), 5);
	assert_int_equal(nth(&o.w, 0).what, WIRE_NOTICE_CREATED);
	assert_int_equal(nth(&o.w, 1).what, WIRE_NOTICE_CHANGED);
	assert_int_equal(nth(&o.w, 2).what, WIRE_NOTICE_CHANGED);
	assert_int_equal(nth(&o.w, 3).what, WIRE_NOTICE_CHANGED);
	m = nth(&o.w, 4);
	assert_int_equal(m.what, WIRE_NOTICE_DELETED);
	assert_int_equal(m.shard, rig_shard(&o.r, &o.id));
	assert_int_equal(orbit_id_cmp(&m.id, &o.id), 0);
	for (unsigned i = 1; i < 5; i++)
		assert_true(nth(&o.w, i).seq > nth(&o.w, i - 1).seq);
	assert_int_equal(count(&o.k), 0);
	one_fini(&o);
}

/* Two shards in one record, a prefix for all, and both on one link: each object once. */
static void test_watch_by_prefix_tells_each_object_once(void **state)
{
	struct txn_build t;
	struct one o;

	(void)state;
	one_init(&o);
	assert_int_equal(rig_create(&o.k, 1, 1, &o.id, 100), WIRE_OK);
	assert_int_equal(rig_create(&o.k, 1, 2, &o.other, 100), WIRE_OK);
	assert_int_equal(watch(&o.w, (struct wire_watch){.begin = true, .number = 1}), WIRE_OK);
	assert_int_equal(watch_id(&o.w, 2, &o.id), WIRE_OK);
	txn_init(&t);
	txn_add(&t, &o.id, 0, 1);
	txn_add(&t, &o.other, 0, 1);
	assert_int_equal(run(&o, 3, &t), WIRE_OK);
	assert_int_equal(count(&o.w), 2);
	assert_int_not_equal(nth(&o.w, 0).shard, nth(&o.w, 1).shard);
	/* the prefix ends, the other one stays */
	assert_int_equal(watch(&o.w, (struct wire_watch){.number = 1}), WIRE_OK);
	assert_int_equal(add(&o, 4, &o.id), WIRE_OK);
	assert_int_equal(add(&o, 5, &o.other), WIRE_OK);
	assert_int_equal(count(&o.w), 3);
	/* all end */
	assert_int_equal(watch(&o.w, (struct wire_watch){.all = true}), WIRE_OK);
	assert_int_equal(add(&o, 6, &o.id), WIRE_OK);
	assert_int_equal(count(&o.w), 3);
	one_fini(&o);
}

static void test_watch_tells_nothing_of_what_failed(void **state)
{
	struct txn_build t;
	struct one o;

	(void)state;
	one_init(&o);
	assert_int_equal(rig_create(&o.k, 1, 1, &o.id, 100), WIRE_OK);
	assert_int_equal(watch_id(&o.w, 1, &o.id), WIRE_OK);
	txn_init(&t);
	txn_absent(&t, &o.id);
	txn_add(&t, &o.id, 0, 1);
	assert_int_equal(run(&o, 2, &t), WIRE_COMPARE);
	assert_int_equal(count(&o.w), 0);
	one_fini(&o);
}

static void test_watch_ends_with_its_link(void **state)
{
	struct one o;

	(void)state;
	one_init(&o);
	assert_int_equal(rig_create(&o.k, 1, 1, &o.id, 100), WIRE_OK);
	assert_int_equal(watch_id(&o.w, 1, &o.id), WIRE_OK);
	rig_hangup(&o.w);
	sim_run(o.r.s, 50 * ENV_MS);
	assert_int_equal(add(&o, 2, &o.id), WIRE_OK);
	rig_connect(&o.r, &o.w, 0);
	assert_int_equal(add(&o, 3, &o.id), WIRE_OK);
	assert_int_equal(count(&o.w), 0);
	one_fini(&o);
}

static void test_watch_refuses_what_it_can_not_do(void **state)
{
	struct wire_watch m = {.begin = true, .number = 1, .bits = 256};
	struct frame *f;
	struct rig_link k;
	uint64_t rid;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	m.id = rig_id(&r, 1, 0);
	assert_int_equal(watch(&k, m), WIRE_WRONG_NODE);
	m.bits = 0;
	memset(&m.id, 0, sizeof(m.id));
	assert_int_equal(watch(&k, m), WIRE_OK); /* what of it is served here */
	for (unsigned i = 2; i <= 1024; i++) {
		m.number = i;
		assert_int_equal(watch(&k, m), WIRE_OK);
	}
	m.number++;
	assert_int_equal(watch(&k, m), WIRE_BUSY);
	m.number = 5; /* again is not more */
	assert_int_equal(watch(&k, m), WIRE_OK);
	f = frame_new(WIRE_WATCH, 5000, 8);
	buf_u8(&f->b, 1);
	rid = f->id;
	link_send(k.l, f);
	assert_int_equal(rig_status(&k, rid), WIRE_BAD_REQUEST);
	rig_hangup(&k);
	rig_fini(&r);
}

/* The shard goes to the other node: whoever watches hears that it is over here. */
static void test_watch_says_when_a_shard_is_served_elsewhere(void **state)
{
	struct ring_map *m;
	uint16_t shard;
	struct rig_link k;
	struct orbit_id id;
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	rig_connect(&r, &k, 0);
	id = rig_id(&r, 0, 0);
	shard = rig_shard(&r, &id);
	assert_int_equal(watch_id(&k, 1, &id), WIRE_OK);
	m = ring_draft(node_ring(r.n[0].node));
	m->shards[shard].primary = m->shards[shard].member[0] = 1;
	m->shards[shard].term++;
	rig_give_map(&r, 0, m);
	assert_int_equal(count(&k), 1);
	assert_int_equal(nth(&k, 0).what, WIRE_NOTICE_LOST);
	assert_int_equal(nth(&k, 0).shard, shard);
	ring_unref(m);
	rig_hangup(&k);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watch_tells_what_became_of_an_object),
		cmocka_unit_test(test_watch_by_prefix_tells_each_object_once),
		cmocka_unit_test(test_watch_tells_nothing_of_what_failed),
		cmocka_unit_test(test_watch_ends_with_its_link),
		cmocka_unit_test(test_watch_refuses_what_it_can_not_do),
		cmocka_unit_test(test_watch_says_when_a_shard_is_served_elsewhere),
	};

	return cmocka_run_group_tests_name("node_watch", tests, NULL, NULL);
}
