/* Damage on a disk is repaired from another copy, and told when there is none. */
#include "tests/unit/learn_rig.h"

#define LEN 10000u

/* Bytes that are found again on the disk. */
static void fill(uint8_t *out, char mark)
{
	for (unsigned i = 0; i < LEN; i++)
		out[i] = i % 16 ? (uint8_t)('a' + i / 16 % 26) : (uint8_t)mark;
}

static void write_it(struct world *w, unsigned k, char mark)
{
	struct orbit_id id = world_id(k);
	uint64_t slots[TXN_SLOTS] = {0};
	uint8_t bytes[LEN];
	struct txn_build t;

	fill(bytes, mark);
	txn_init(&t);
	txn_create(&t, &id, 0, slots);
	txn_write(&t, &id, 3000, bytes, LEN);
	assert_int_equal(rig_status(&w->k, world_send(w, &t)), WIRE_OK);
	txn_fini(&t);
	sim_run(w->r.s, 100 * ENV_MS);
}

struct looking {
	struct disk *disk;
	const uint8_t *want;
	unsigned found;
};

static void look_into(void *arg, const char *name)
{
	struct looking *l = arg;
	struct buf b = {0};
	uint8_t *at;

	if (strncmp(name, "log-", 4))
		return;
	assert_int_equal(l->disk->ops->load(l->disk, name, &b, 64u << 20), 0);
	at = b.data;
	while (at && (at = memmem(at, b.len - (size_t)(at - b.data), l->want, 4096))) {
		assert_int_equal(
			disk_mem_flip(l->disk, name, (uint64_t)(at - b.data) + 777, 0x10), 0);
		l->found++;
		at++;
	}
	buf_fini(&b);
}

/* Flips a bit in the middle of it on that node's disk. */
static void damage(struct world *w, unsigned node, char mark)
{
	struct looking l = {.disk = w->r.n[node].disk};
	uint8_t bytes[LEN];

	fill(bytes, mark);
	l.want = bytes;
	assert_int_equal(l.disk->ops->list(l.disk, look_into, &l), 0);
	assert_true(l.found > 0);
}

/* Reads it, together with a change if so wanted: the status; and whether the bytes are right. */
static uint16_t read_it(struct world *w, unsigned k, char mark, bool change, bool *right)
{
	struct orbit_id id = world_id(k);
	struct txn_result res;
	struct wire_reply m;
	struct txn_build t;
	uint8_t bytes[LEN];

	fill(bytes, mark);
	txn_init(&t);
	txn_read(&t, &id, 3000, LEN);
	if (change)
		txn_set(&t, &id, 2, 99);
	m = rig_reply(&w->k, world_send(w, &t));
	txn_fini(&t);
	*right = m.status == WIRE_OK && !txn_result_find(m.results, m.results_len, 0, &res) &&
		 res.len == LEN && !memcmp(res.data, bytes, LEN);
	return m.status;
}

static uint64_t repaired(struct world *w, unsigned i)
{
	struct node_stats s;

	node_stats(world_node(w, i), &s);
	return s.repaired;
}

static void two_copies(struct world *w)
{
	world_init(w);
	world_load(w, 50);
	world_map(w, NODES(0), NODES(2), 0);
	assert_true(world_wait_level(w, 2, 20 * ENV_SEC));
	world_map(w, NODES(0, 2), NOBODY, 1);
	write_it(w, WORLD_OBJECTS + 1, 'X');
	sim_run(w->r.s, ENV_SEC);
}

static void test_node_repair_on_read(void **state)
{
	struct world w;
	bool right;

	(void)state;
	two_copies(&w);
	damage(&w, 0, 'X');
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', false, &right), WIRE_OK);
	assert_true(right);
	assert_int_equal(repaired(&w, 0), 1);
	/* for good */
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', false, &right), WIRE_OK);
	assert_true(right);
	assert_int_equal(repaired(&w, 0), 1);
	assert_true(world_equal(&w, 0, 2));
	world_fini(&w);
}

static void test_node_repair_with_change(void **state)
{
	struct orbit_id id = world_id(WORLD_OBJECTS + 1);
	struct world w;
	bool right;

	(void)state;
	two_copies(&w);
	damage(&w, 0, 'X');
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', true, &right), WIRE_OK);
	assert_true(right);
	assert_int_equal(repaired(&w, 0), 1);
	assert_int_equal(rig_slot(&w.k, &id, 2), 99);
	/* nothing is gated any more */
	world_load(&w, 50);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 0, 2));
	world_fini(&w);
}

/* While the damage is repaired others read and write. */
static void test_node_repair_under_load(void **state)
{
	struct orbit_id id = world_id(WORLD_OBJECTS + 1);
	struct txn_build t;
	struct world w;
	bool right;

	(void)state;
	two_copies(&w);
	damage(&w, 0, 'X');
	for (unsigned i = 0; i < 200; i++) {
		world_op(&w);
		if (i % 10)
			continue;
		txn_init(&t);
		txn_read(&t, &id, 3000, LEN);
		world_send(&w, &t);
		txn_fini(&t);
	}
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', false, &right), WIRE_OK);
	assert_true(right);
	assert_int_equal(repaired(&w, 0), 1);
	sim_run(w.r.s, ENV_SEC);
	assert_int_equal(world_answers(&w), 1 + 220 + 1);
	assert_true(world_equal(&w, 0, 2));
	world_fini(&w);
}

static void test_node_repair_no_good_copy(void **state)
{
	struct world w;
	bool right;

	(void)state;
	two_copies(&w);
	damage(&w, 0, 'X');
	damage(&w, 2, 'X');
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', false, &right), WIRE_IO);
	assert_int_equal(repaired(&w, 0), 0);
	world_load(&w, 20);
	world_fini(&w);
}

static void test_node_repair_single_copy(void **state)
{
	struct world w;
	bool right;

	(void)state;
	world_init(&w);
	write_it(&w, 1, 'X');
	damage(&w, 0, 'X');
	assert_int_equal(read_it(&w, 1, 'X', false, &right), WIRE_IO);
	world_fini(&w);
}

/* The other copy may be good, but cannot be asked just now: that is no error. */
static void test_node_repair_waits_for_a_member(void **state)
{
	struct orbit_id id = world_id(WORLD_OBJECTS + 1);
	struct txn_build t;
	struct world w;
	uint64_t rid;

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		two_copies(&w);
		damage(&w, 0, 'X');
		txn_init(&t);
		txn_read(&t, &id, 3000, LEN);
		sim_cut(w.r.s, w.r.n[0].host, w.r.n[2].host, true);
		rid = world_send(&w, &t);
		txn_fini(&t);
		sim_run(w.r.s, 4 * ENV_SEC);
		assert_null(rig_got(&w.k, WIRE_REPLY, rid));
		if (round) {
			/* it never will be */
			world_map(&w, NODES(0), NOBODY, 1);
			assert_int_equal(rig_status(&w.k, rid), WIRE_IO);
		} else {
			sim_heal_all(w.r.s);
			assert_int_equal(rig_status(&w.k, rid), WIRE_OK);
			assert_int_equal(repaired(&w, 0), 1);
		}
		world_fini(&w);
	}
}

/* Asks node 2 for its bytes, as who verifies copies does. */
static uint16_t look_at_backup(struct world *w, struct rig_link *k, bool *right)
{
	struct history h = world_history(w, 2);
	struct wire_bytes m = {.shard = WORLD_SHARD, .term = h.term, .seq = h.seq, .n = 1};
	struct wire_bytes_range range = {
		.id = world_id(WORLD_OBJECTS + 1), .off = 3000, .len = LEN};
	struct frame *f = frame_new(WIRE_BYTES, k->next++, 128);
	uint8_t bytes[LEN];
	struct wire_reply r;

	wire_put_bytes_head(&f->b, &m);
	wire_put_bytes_range(&f->b, &range);
	link_send(k->l, f);
	r = rig_reply(k, k->next - 1);
	fill(bytes, 'X');
	*right = r.status == WIRE_OK && r.results_len == LEN && !memcmp(r.results, bytes, LEN);
	return r.status;
}

static void test_node_repair_of_a_backup(void **state)
{
	struct rig_link k;
	struct world w;
	bool right;

	(void)state;
	two_copies(&w);
	rig_connect(&w.r, &k, 2);
	damage(&w, 2, 'X');
	assert_int_equal(look_at_backup(&w, &k, &right), WIRE_OK);
	assert_true(right);
	assert_int_equal(repaired(&w, 2), 1);
	/* it goes on as a backup */
	world_load(&w, 50);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 0, 2));
	/* where the primary's is bad as well neither waits for the other */
	damage(&w, 2, 'X');
	damage(&w, 0, 'X');
	assert_int_equal(look_at_backup(&w, &k, &right), WIRE_IO);
	assert_int_equal(read_it(&w, WORLD_OBJECTS + 1, 'X', false, &right), WIRE_IO);
	rig_hangup(&k);
	world_fini(&w);
}

/* Effects that come while a backup repairs may change what it has there. */
static void test_node_repair_of_a_backup_under_load(void **state)
{
	struct rig_link k;
	struct world w;
	uint16_t status;
	bool right;

	(void)state;
	two_copies(&w);
	rig_connect(&w.r, &k, 2);
	damage(&w, 2, 'X');
	for (unsigned i = 0; i < 50; i++) {
		world_op(&w);
		status = look_at_backup(&w, &k, &right);
		assert_true(status == WIRE_OK ? right : status == WIRE_RETRY || status == WIRE_IO);
	}
	sim_run(w.r.s, ENV_SEC);
	assert_int_equal(look_at_backup(&w, &k, &right), WIRE_OK);
	assert_true(right);
	assert_true(world_equal(&w, 0, 2));
	rig_hangup(&k);
	world_fini(&w);
}

/* A learner meets the damage of its source. */
static void test_node_repair_for_learner(void **state)
{
	struct world w;

	(void)state;
	two_copies(&w);
	world_load(&w, 400);
	damage(&w, 0, 'X');
	world_map(&w, NODES(0, 2), NODES(1), 0);
	assert_true(world_wait_level(&w, 1, 20 * ENV_SEC));
	assert_int_equal(repaired(&w, 0), 1);
	world_map(&w, NODES(0, 2, 1), NOBODY, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 0, 1));
	world_fini(&w);
}

/* The only copy is damaged: the rest is copied, and the shard is level once the damage is gone. */
static void test_node_repair_learner_waits(void **state)
{
	struct orbit_id id = world_id(WORLD_OBJECTS + 1);
	struct txn_build t;
	struct world w;

	(void)state;
	world_init(&w);
	world_load(&w, 400);
	write_it(&w, WORLD_OBJECTS + 1, 'X');
	damage(&w, 0, 'X');
	world_map(&w, NODES(0), NODES(2), 0);
	assert_false(world_wait_level(&w, 2, 20 * ENV_SEC));
	assert_true(learn_partial(world_node(&w, 2), WORLD_SHARD));
	txn_init(&t);
	txn_delete(&t, &id);
	assert_int_equal(rig_status(&w.k, world_send(&w, &t)), WIRE_OK);
	txn_fini(&t);
	assert_true(world_wait_level(&w, 2, 20 * ENV_SEC));
	world_map(&w, NODES(0, 2), NOBODY, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_true(world_equal(&w, 0, 2));
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_repair_on_read),
		cmocka_unit_test(test_node_repair_with_change),
		cmocka_unit_test(test_node_repair_under_load),
		cmocka_unit_test(test_node_repair_no_good_copy),
		cmocka_unit_test(test_node_repair_single_copy),
		cmocka_unit_test(test_node_repair_waits_for_a_member),
		cmocka_unit_test(test_node_repair_of_a_backup),
		cmocka_unit_test(test_node_repair_of_a_backup_under_load),
		cmocka_unit_test(test_node_repair_for_learner),
		cmocka_unit_test(test_node_repair_learner_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
