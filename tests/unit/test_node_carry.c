/* What a client can not bring to a node itself is carried there by another one. */
#include "tests/unit/node_rig.h"

struct road {
	struct rig r;
	struct rig_link k; /* to node 0, which is not the one that is meant */
	struct orbit_id id;
	uint16_t shard;
};

static void road_init(struct road *d)
{
	rig_init(&d->r, 2);
	rig_connect(&d->r, &d->k, 0);
	d->id = rig_id(&d->r, 1, 0);
	d->shard = rig_shard(&d->r, &d->id);
	assert_int_equal(rig_create(&d->k, 1, 1, &d->id, 100), WIRE_OK);
}

static void road_fini(struct road *d)
{
	rig_hangup(&d->k);
	rig_fini(&d->r);
}

static uint64_t carry(
	struct road *d, const struct orbit_id *node, uint16_t type, const struct buf *b)
{
	struct frame *f = frame_new(WIRE_CARRY, d->k.next++, 64 + b->len);
	uint64_t id = f->id;

	wire_put_carry_head(&f->b, node, type);
	buf_bytes(&f->b, b->data, b->len);
	link_send(d->k.l, f);
	return id;
}

static uint64_t carry_to(struct road *d, unsigned node, uint16_t type, const struct buf *b)
{
	struct orbit_id id = rig_node_id(node);

	return carry(d, &id, type, b);
}

static void part(struct road *d, uint64_t number, struct buf *b)
{
	uint16_t participants[2] = {htole16(d->shard), htole16(d->shard ^ 1)};
	struct wire_txn m = {.session = 1,
		.number = number,
		.epoch = rig_epoch(&d->r),
		.nparticipants = 2,
		.participants = participants};
	struct txn_build t;

	txn_init(&t);
	txn_set(&t, &d->id, 0, number);
	wire_put_txn_head(b, &m);
	assert_int_equal(txn_encode(&t, b, NULL, NULL), 0);
	txn_fini(&t);
}

static void decision(struct road *d, uint64_t number, bool commit, struct buf *b)
{
	struct wire_decide m = {.session = 1,
		.number = number,
		.epoch = rig_epoch(&d->r),
		.shard = d->shard,
		.commit = commit};

	wire_put_decide(b, &m);
}

static struct node_stats stats(struct road *d, unsigned node)
{
	struct node_stats s;

	node_stats(d->r.n[node].node, &s);
	return s;
}

/* Keys of a class, asked for through node 0. */
static unsigned count(struct road *d, uint8_t class)
{
	struct wire_list q = {
		.epoch = rig_epoch(&d->r), .class = class, .shard = d->shard, .max = 100};
	struct buf b = {0};
	struct wire_reply m;
	struct cur c;

	wire_put_list(&b, &q);
	m = rig_reply(&d->k, carry_to(d, 1, WIRE_LIST, &b));
	buf_fini(&b);
	assert_int_equal(m.status, WIRE_OK);
	c = cur_of(m.results, m.results_len);
	assert_int_equal(cur_u8(&c), 1);
	return cur_u32(&c);
}

static void test_carry_commits_across_shards(void **state)
{
	struct buf b = {0};
	struct wire_effect e;
	struct wire_reply m;
	struct road d;

	(void)state;
	road_init(&d);
	part(&d, 7, &b);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_PREPARE, &b)), WIRE_OK);
	assert_int_equal(stats(&d, 1).prepared, 1);
	buf_reset(&b);
	decision(&d, 7, true, &b);
	m = rig_reply(&d.k, carry_to(&d, 1, WIRE_DECIDE, &b));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(m.neffects, 1);
	e = wire_effect_at(&m, 0);
	assert_int_equal(rig_slot(&d.k, &d.id, 0), 7);
	assert_int_equal(count(&d, 'C'), 1);
	buf_reset(&b);
	decision(&d, 7, false, &b);
	carry_to(&d, 1, WIRE_FORGET, &b);
	sim_run(d.r.s, 5 * ENV_SEC);
	assert_int_equal(count(&d, 'C'), 0);
	buf_reset(&b);
	wire_put_sync(&b, 1, &e, 1);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_SYNC, &b)), WIRE_OK);
	e.seq += 100;
	buf_reset(&b);
	wire_put_sync(&b, 1, &e, 1);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_SYNC, &b)), WIRE_LOST);
	buf_fini(&b);
	road_fini(&d);
}

static void see_id(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	char hex[ORBIT_ID_HEX];
	struct orbit_id id = rig_node_id(1);

	if (nlen == 7 && !memcmp(name, "node.id", 7))
		*(bool *)arg = tlen == strlen(orbit_id_hex(&id, hex)) && !memcmp(text, hex, tlen);
}

static void test_carry_asks_how_a_node_is(void **state)
{
	struct buf none = {0};
	struct road d;
	struct frame *f;
	bool right = false;
	uint64_t id;

	(void)state;
	road_init(&d);
	id = carry_to(&d, 1, WIRE_STATUS, &none);
	f = rig_wait(&d.k, WIRE_STATS, id, ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_stats(frame_cur(f), see_id, &right), 0);
	assert_true(right);
	road_fini(&d);
}

static void test_carry_to_itself_is_served(void **state)
{
	struct buf none = {0};
	struct road d;
	uint64_t id;

	(void)state;
	road_init(&d);
	id = carry_to(&d, 0, WIRE_STATUS, &none);
	assert_non_null(rig_wait(&d.k, WIRE_STATS, id, ENV_SEC));
	assert_int_equal(stats(&d, 0).forwarded, 1); /* the object was created that way */
	road_fini(&d);
}

static void test_carry_says_when_it_is_impossible(void **state)
{
	struct orbit_id nobody = {{0xee}};
	struct buf b = {0};
	struct road d;

	(void)state;
	road_init(&d);
	assert_int_equal(rig_status(&d.k, carry(&d, &nobody, WIRE_STATUS, &b)), WIRE_WRONG_NODE);
	/* what may not be carried, and what is cut short */
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_CARRY, &b)), WIRE_BAD_REQUEST);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_STATS, &b)), WIRE_BAD_REQUEST);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_PREPARE, &b)), WIRE_BAD_REQUEST);
	rig_crash(&d.r, 1, DISK_PROCESS);
	assert_int_equal(rig_status(&d.k, carry_to(&d, 1, WIRE_STATUS, &b)), WIRE_UNREACHABLE);
	road_fini(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_carry_commits_across_shards),
		cmocka_unit_test(test_carry_asks_how_a_node_is),
		cmocka_unit_test(test_carry_to_itself_is_served),
		cmocka_unit_test(test_carry_says_when_it_is_impossible),
	};

	return cmocka_run_group_tests_name("node_carry", tests, NULL, NULL);
}
