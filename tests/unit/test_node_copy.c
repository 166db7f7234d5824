/* A transaction that copies from an object anywhere: the node that executes it gets the bytes. */
#include "tests/unit/node_rig.h"

struct world {
	struct rig r;
	struct rig_link k; /* to node 0 */
	uint64_t number;
	uint8_t bytes[5000];
};

static void world_init(struct world *w)
{
	struct node_config cfg = node_config_default();

	cfg.forward_timeout = 2 * ENV_SEC;
	rig_init_with(&w->r, 2, &cfg);
	rig_connect(&w->r, &w->k, 0);
	w->number = 1;
	for (unsigned i = 0; i < sizeof(w->bytes); i++)
		w->bytes[i] = (uint8_t)(i * 7 / 3 | 1);
}

static void world_fini(struct world *w)
{
	rig_hangup(&w->k);
	rig_fini(&w->r);
}

static uint64_t send_txn(struct world *w, uint64_t number, const struct txn_build *t)
{
	struct rig_head h = {.session = 1, .number = number};

	return rig_send_txn(&w->k, WIRE_TXN, &h, t);
}

/* Makes the object, with our bytes at @off unless @len is 0. */
static void make(struct world *w, const struct orbit_id *id, uint64_t off, size_t len)
{
	struct txn_build t;

	txn_init(&t);
	txn_create(&t, id, 0, NULL);
	if (len)
		txn_write(&t, id, off, w->bytes, len);
	assert_int_equal(rig_status(&w->k, send_txn(w, w->number++, &t)), WIRE_OK);
	txn_fini(&t);
}

static uint64_t send_copy(struct world *w, uint64_t number, const struct orbit_id *id, uint64_t off,
	const struct orbit_id *source, uint64_t source_off, uint32_t len)
{
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	assert_int_equal(txn_copy(&t, id, off, source, source_off, len), 0);
	rid = send_txn(w, number, &t);
	txn_fini(&t);
	return rid;
}

static int64_t gained(struct world *w, uint64_t rid, unsigned index)
{
	struct wire_reply m = rig_reply(&w->k, rid);
	struct txn_result res;
	struct cur c;

	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, index, &res), 0);
	c = cur_of(res.data, res.len);
	return (int64_t)cur_u64(&c);
}

/* The object's stream is @lead zeros and these bytes. */
static void expect(
	struct world *w, const struct orbit_id *id, size_t lead, const uint8_t *bytes, size_t len)
{
	struct rig_head h = {.number = 1};
	struct txn_result res;
	struct wire_reply m;
	struct txn_build t;
	const uint8_t *got;

	txn_init(&t);
	txn_read(&t, id, 0, 1 << 20);
	m = rig_reply(&w->k, rig_send_txn(&w->k, WIRE_TXN, &h, &t));
	txn_fini(&t);
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	assert_int_equal(res.len, lead + len);
	got = res.data;
	for (size_t i = 0; i < lead; i++)
		assert_int_equal(got[i], 0);
	assert_memory_equal(got + lead, bytes, len);
}

static void test_copy_from_here_and_from_elsewhere(void **state)
{
	struct orbit_id to, from;
	struct world w;

	(void)state;
	world_init(&w);
	for (unsigned dst = 0; dst < 2; dst++) {
		for (unsigned src = 0; src < 2; src++) {
			to = rig_id(&w.r, dst, 10 + 2 * src);
			from = rig_id(&w.r, src, 11 + 2 * dst);
			to.b[31] = (uint8_t)(2 * dst + src);
			from.b[31] = (uint8_t)(4 + 2 * dst + src);
			make(&w, &to, 0, 0);
			make(&w, &from, 100, 5000);
			assert_int_equal(
				gained(&w, send_copy(&w, w.number++, &to, 7, &from, 350, 1000), 0),
				1000);
			expect(&w, &to, 7, w.bytes + 250, 1000);
			expect(&w, &from, 100, w.bytes, 5000);
		}
	}
	world_fini(&w);
}

/* What the source lacks is zeros, as a read would give them. */
static void test_copy_of_less_than_there_is(void **state)
{
	struct orbit_id to, from, none;
	uint8_t want[100] = {0};
	struct world w;

	(void)state;
	world_init(&w);
	to = rig_id(&w.r, 0, 0);
	from = rig_id(&w.r, 1, 0);
	none = rig_id(&w.r, 1, 1);
	make(&w, &to, 0, 100);
	make(&w, &from, 0, 40);
	assert_int_equal(gained(&w, send_copy(&w, w.number++, &to, 0, &from, 10, 100), 0), 0);
	memcpy(want, w.bytes + 10, 30);
	expect(&w, &to, 0, want, 100);
	assert_int_equal(gained(&w, send_copy(&w, w.number++, &to, 0, &none, 10, 100), 0), 0);
	memset(want, 0, sizeof(want));
	expect(&w, &to, 0, want, 100);
	world_fini(&w);
}

/* With other operations, which keep their indices; several copies; what fails changes nothing. */
static void test_copy_is_one_with_the_rest(void **state)
{
	struct orbit_id to, from, here;
	struct txn_build t;
	struct wire_reply m;
	uint8_t want[60];
	struct world w;
	uint64_t rid;

	(void)state;
	world_init(&w);
	to = rig_id(&w.r, 0, 0);
	from = rig_id(&w.r, 1, 0);
	here = rig_id(&w.r, 0, 1);
	make(&w, &from, 0, 200);
	make(&w, &here, 0, 200);
	txn_init(&t);
	txn_exists(&t, &to);
	txn_copy(&t, &to, 0, &from, 0, 10);
	m = rig_reply(&w.k, send_txn(&w, w.number++, &t));
	txn_fini(&t);
	assert_int_equal(m.status, WIRE_COMPARE);
	assert_int_equal(m.failed, 0);
	txn_init(&t);
	txn_create(&t, &to, 0, NULL);
	txn_copy(&t, &to, 0, &from, 100, 20);
	txn_write(&t, &to, 20, w.bytes, 20);
	txn_copy(&t, &to, 40, &here, 50, 20);
	rid = send_txn(&w, w.number++, &t);
	txn_fini(&t);
	assert_int_equal(gained(&w, rid, 1) + gained(&w, rid, 2) + gained(&w, rid, 3), 60);
	memcpy(want, w.bytes + 100, 20);
	memcpy(want + 20, w.bytes, 20);
	memcpy(want + 40, w.bytes + 50, 20);
	expect(&w, &to, 0, want, 60);
	world_fini(&w);
}

/* Sent again after it was done, and after its source changed: it is not done again. */
static void test_copy_happens_once(void **state)
{
	struct orbit_id to, from;
	struct txn_build t;
	uint64_t a, b, number;
	struct world w;

	(void)state;
	world_init(&w);
	to = rig_id(&w.r, 0, 0);
	from = rig_id(&w.r, 1, 0);
	make(&w, &to, 0, 0);
	make(&w, &from, 0, 100);
	number = w.number++;
	a = send_copy(&w, number, &to, 0, &from, 0, 100);
	b = send_copy(&w, number, &to, 0, &from, 0, 100); /* while the first reads */
	sim_run(w.r.s, ENV_SEC);
	/* one answer, to whoever asked last */
	assert_null(rig_got(&w.k, WIRE_REPLY, a));
	assert_non_null(rig_got(&w.k, WIRE_REPLY, b));
	txn_init(&t);
	txn_write(&t, &from, 0, "changed", 7);
	assert_int_equal(rig_status(&w.k, send_txn(&w, w.number++, &t)), WIRE_OK);
	txn_fini(&t);
	assert_int_equal(gained(&w, send_copy(&w, number, &to, 0, &from, 0, 100), 0), 100);
	expect(&w, &to, 0, w.bytes, 100);
	world_fini(&w);
}

/* While the source cannot be reached nobody is told anything; soon it is asked again. */
static void test_copy_waits_for_its_source(void **state)
{
	struct orbit_id to, from;
	struct world w;
	uint64_t rid;

	(void)state;
	world_init(&w);
	to = rig_id(&w.r, 0, 0);
	from = rig_id(&w.r, 1, 0);
	make(&w, &to, 0, 0);
	make(&w, &from, 0, 100);
	sim_cut(w.r.s, w.r.n[0].host, w.r.n[1].host, true);
	rid = send_copy(&w, w.number, &to, 0, &from, 0, 100);
	sim_run(w.r.s, 300 * ENV_MS);
	assert_null(rig_got(&w.k, WIRE_REPLY, rid));
	sim_heal(w.r.s, w.r.n[0].host, w.r.n[1].host);
	assert_int_equal(gained(&w, rid, 0), 100);
	expect(&w, &to, 0, w.bytes, 100);
	/* gone for longer: it is forgotten, and a later copy is done */
	sim_cut(w.r.s, w.r.n[0].host, w.r.n[1].host, true);
	rid = send_copy(&w, ++w.number, &to, 100, &from, 0, 100);
	sim_run(w.r.s, 5 * ENV_SEC);
	assert_null(rig_got(&w.k, WIRE_REPLY, rid));
	sim_heal(w.r.s, w.r.n[0].host, w.r.n[1].host);
	sim_run(w.r.s, 5 * ENV_SEC);
	assert_null(rig_got(&w.k, WIRE_REPLY, rid));
	assert_int_equal(gained(&w, send_copy(&w, w.number, &to, 100, &from, 0, 100), 0), 100);
	world_fini(&w);
}

/* A part of a transaction that is voted on has to bring its bytes. */
static void test_copy_is_no_part(void **state)
{
	struct rig_head h = {.session = 1, .number = 9, .nparticipants = 2};
	struct orbit_id to, from;
	struct txn_build t;
	struct world w;

	(void)state;
	world_init(&w);
	to = rig_id(&w.r, 0, 0);
	from = rig_id(&w.r, 1, 0);
	make(&w, &to, 0, 0);
	h.participants[0] = rig_shard(&w.r, &to);
	h.participants[1] = rig_shard(&w.r, &from);
	txn_init(&t);
	txn_copy(&t, &to, 0, &from, 0, 100);
	assert_int_equal(
		rig_status(&w.k, rig_send_txn(&w.k, WIRE_PREPARE, &h, &t)), WIRE_BAD_REQUEST);
	txn_fini(&t);
	world_fini(&w);
}

/* A node that goes while it reads takes nothing with it. */
static void test_copy_ends_with_its_node(void **state)
{
	for (uint64_t after = 0; after < 2 * ENV_MS; after += ENV_MS / 20) {
		struct orbit_id to, from, here;
		struct txn_build t;
		struct world w;

		(void)state;
		world_init(&w);
		to = rig_id(&w.r, 0, 0);
		from = rig_id(&w.r, 1, 0);
		here = rig_id(&w.r, 0, 1);
		make(&w, &to, 0, 0);
		make(&w, &from, 0, 100);
		make(&w, &here, 0, 100);
		txn_init(&t);
		txn_copy(&t, &to, 0, &from, 0, 100);
		txn_copy(&t, &to, 100, &here, 0, 100);
		send_txn(&w, w.number, &t);
		sim_run(w.r.s, after);
		rig_crash(&w.r, 0, DISK_PROCESS);
		txn_fini(&t);
		world_fini(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_from_here_and_from_elsewhere),
		cmocka_unit_test(test_copy_of_less_than_there_is),
		cmocka_unit_test(test_copy_is_one_with_the_rest),
		cmocka_unit_test(test_copy_happens_once),
		cmocka_unit_test(test_copy_waits_for_its_source),
		cmocka_unit_test(test_copy_is_no_part),
		cmocka_unit_test(test_copy_ends_with_its_node),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
