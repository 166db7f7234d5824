#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/store/history.h"
#include "tests/unit/eval_rig.h"

/* ---- objects and slots ---- */

static void test_eval_create_and_get(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	uint64_t slots[TXN_SLOTS] = {[0] = 5, [3] = UINT64_MAX, [15] = 9};
	struct txn_object o;

	(void)state;
	txn_get(&rig->t, &a);
	RUN_OK();
	assert_int_equal(result(0).present, 0);
	txn_create(&rig->t, &a, 0x8008, slots);
	RUN_OK();
	o = look(&a);
	assert_int_equal(o.version, 1);
	assert_int_equal(o.slot[0], 0);
	assert_true(o.slot[3] == UINT64_MAX);
	assert_int_equal(o.slot[15], 9);
	assert_int_equal(o.stream_end, 0);
	txn_create(&rig->t, &a, 0, NULL);
	RUN_FAILS(0);
}

static void test_eval_reads_see_the_state_before_the_writes(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_object o;

	(void)state;
	txn_create(&rig->t, &a, 0, NULL);
	txn_put(&rig->t, &a, "k", 1, "old", 3);
	RUN_OK();
	txn_set(&rig->t, &a, 0, 1);
	txn_put(&rig->t, &a, "k", 1, "new", 3);
	txn_get(&rig->t, &a);
	txn_get_map(&rig->t, &a, "k", 1);
	RUN_OK();
	o = object_in(result(2));
	assert_int_equal(o.slot[0], 0);
	assert_int_equal(o.version, 1);
	assert_memory_equal(result(3).data, "old", 3);
	o = look(&a);
	assert_int_equal(o.slot[0], 1);
	assert_int_equal(o.version, 2);
}

static void test_eval_compares(void **state)
{
	struct orbit_id a = id_of(1, 'a'), no = id_of(1, 'n');
	uint64_t slots[TXN_SLOTS] = {[2] = 5};
	struct txn_build *t = &rig->t;

	(void)state;
	txn_create(t, &a, 4, slots);
	txn_put(t, &a, "k", 1, "v", 1);
	txn_put(t, &a, "e", 1, "", 0);
	RUN_OK();
	txn_exists(t, &a);
	txn_absent(t, &no);
	txn_slot_eq(t, &a, 2, 5);
	txn_slot_ne(t, &a, 2, 6);
	txn_map_eq(t, &a, "k", 1, "v", 1);
	txn_map_eq(t, &a, "e", 1, "", 0);
	txn_map_present(t, &a, "k", 1);
	txn_map_absent(t, &a, "kk", 2);
	txn_map_absent(t, &no, "k", 1);
	txn_map_empty(t, &no);
	txn_version_eq(t, &a, 1);
	txn_no_hold(t, &a);
	RUN_OK();
	/* what fails is named, the first one of several */
	txn_exists(t, &a);
	txn_absent(t, &a);
	txn_exists(t, &no);
	RUN_FAILS(1);
#define FAILS(call)                                                                                \
	call;                                                                                      \
	txn_get(t, &a);                                                                            \
	RUN_FAILS(0)
	FAILS(txn_exists(t, &no));
	FAILS(txn_slot_eq(t, &a, 2, 6));
	FAILS(txn_slot_eq(t, &no, 2, 0));
	FAILS(txn_slot_ne(t, &a, 2, 5));
	FAILS(txn_slot_ne(t, &no, 2, 5));
	FAILS(txn_map_eq(t, &a, "k", 1, "w", 1));
	FAILS(txn_map_eq(t, &a, "k", 1, "vv", 2));
	FAILS(txn_map_eq(t, &a, "k", 1, "", 0));
	FAILS(txn_map_eq(t, &a, "x", 1, "", 0));
	FAILS(txn_map_present(t, &a, "x", 1));
	FAILS(txn_map_absent(t, &a, "k", 1));
	FAILS(txn_map_empty(t, &a));
	FAILS(txn_version_eq(t, &a, 2));
	FAILS(txn_version_eq(t, &no, 0));
#undef FAILS
	/* a compare that stands last still goes first */
	txn_set(t, &a, 0, 1);
	txn_version_eq(t, &a, 9);
	RUN_FAILS(1);
	assert_int_equal(look(&a).slot[0], 0);
}

static void test_eval_writes_to_an_absent_object_fail(void **state)
{
	struct orbit_id no = id_of(1, 'n');
	struct txn_build *t = &rig->t;

	(void)state;
#define FAILS(call)                                                                                \
	call;                                                                                      \
	RUN_FAILS(0)
	FAILS(txn_set(t, &no, 0, 1));
	FAILS(txn_add(t, &no, 0, 1));
	FAILS(txn_max(t, &no, 0, 1));
	FAILS(txn_min(t, &no, 0, 1));
	FAILS(txn_refer(t, &no, 0, 1));
	FAILS(txn_put(t, &no, "k", 1, "v", 1));
	FAILS(txn_write(t, &no, 0, "x", 1));
	FAILS(txn_punch(t, &no, 0, 1));
	FAILS(txn_hold(t, &no));
#undef FAILS
	txn_delete(t, &no);
	txn_del(t, &no, "k", 1);
	txn_unhold(t, &no, 0);
	RUN_OK();
	assert_int_equal(rig->out.effect.meta.len, 0);
	assert_int_equal(result(0).present, 0);
	/* nothing before the one that fails takes effect */
	no = id_of(1, 'a');
	txn_create(t, &no, 0, NULL);
	no = id_of(1, 'n');
	txn_set(t, &no, 0, 1);
	RUN_FAILS(1);
	assert_int_equal(keys(KEY_HEADER, 1), 0);
}

static void test_eval_slot_arithmetic(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	make(&a);
	txn_add(t, &a, 0, 10);
	txn_add(t, &a, 0, -3);
	txn_max(t, &a, 1, 5);
	txn_max(t, &a, 1, 4);
	txn_set(t, &a, 2, (uint64_t)-100); /* a time before 1970 */
	txn_max(t, &a, 2, (uint64_t)-200);
	txn_set(t, &a, 3, 50);
	txn_min(t, &a, 3, (uint64_t)-1);
	txn_set(t, &a, 4, (uint64_t)-5);
	txn_max(t, &a, 4, 3);
	txn_set(t, &a, 5, UINT64_MAX);
	RUN_OK();
	assert_int_equal(look(&a).slot[0], 7);
	assert_int_equal(look(&a).slot[1], 5);
	assert_int_equal((int64_t)look(&a).slot[2], -100);
	assert_int_equal((int64_t)look(&a).slot[3], -1);
	assert_int_equal(look(&a).slot[4], 3);
	assert_true(look(&a).slot[5] == UINT64_MAX);
	txn_add(t, &a, 0, -8);
	assert_int_equal(run(), WIRE_OVERFLOW);
	txn_set(t, &a, 6, INT64_MAX);
	RUN_OK();
	txn_add(t, &a, 6, 1);
	assert_int_equal(run(), WIRE_OVERFLOW);
	txn_refer(t, &a, 0, -8);
	assert_int_equal(run(), WIRE_OVERFLOW);
	txn_add(t, &a, 2, INT64_MIN);
	assert_int_equal(run(), WIRE_OVERFLOW);
	assert_int_equal(look(&a).slot[0], 7);
}

static void test_eval_what_changes_nothing_has_no_effect(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	uint64_t slots[TXN_SLOTS] = {[2] = 5};
	struct txn_build *t = &rig->t;

	(void)state;
	txn_create(t, &a, 4, slots);
	RUN_OK();
	txn_get(t, &a);
	RUN_OK();
	assert_int_equal(rig->out.effect.meta.len, 0);
	assert_int_equal(rig->asked, 0);
	txn_set(t, &a, 2, 5);
	txn_max(t, &a, 2, 4);
	txn_min(t, &a, 2, 6);
	txn_add(t, &a, 2, 0);
	txn_punch(t, &a, 0, UINT64_MAX);
	txn_punch(t, &a, 7, 7);
	txn_unhold(t, &a, 0);
	RUN_OK();
	assert_int_equal(rig->out.effect.meta.len, 0);
	assert_int_equal(rig->asked, 0);
	assert_int_equal(look(&a).version, 1);
}

static void test_eval_one_header_per_object(void **state)
{
	struct orbit_id dir = id_of(1, 'd'), file = id_of(1, 'f');
	uint64_t slots[TXN_SLOTS] = {1, 2, 3};
	struct txn_build *t = &rig->t;

	(void)state;
	make(&dir);
	/* as a file is created */
	txn_map_absent(t, &dir, "name", 4);
	txn_slot_eq(t, &dir, 0, 0);
	txn_put(t, &dir, "name", 4, "12345678x", 9);
	txn_create(t, &file, 7, slots);
	txn_max(t, &dir, 1, 100);
	txn_max(t, &dir, 2, 100);
	txn_add(t, &dir, 3, 1);
	RUN_OK();
	assert_int_equal(effects(EFFECT_SECTION), 1);
	assert_int_equal(effects(EFFECT_PUT), 3);
	assert_int_equal(rig->asked, 1);
	assert_int_equal(look(&dir).version, 2);
	assert_int_equal(look(&file).version, 2);
}

/* ---- orphans and holds ---- */

static void test_eval_references_keep_the_orphan_list(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	txn_create(t, &a, 0, NULL);
	txn_refer(t, &a, 4, 2);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 0);
	txn_refer(t, &a, 4, -1);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 0);
	txn_refer(t, &a, 4, -1);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 1);
	txn_refer(t, &a, 4, 1);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 0);
	/* down and up again at once */
	txn_refer(t, &a, 4, -1);
	txn_refer(t, &a, 4, 1);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 0);
	txn_refer(t, &a, 4, -1);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 1);
	txn_delete(t, &a);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 0);
	/* made without a name */
	txn_create(t, &a, 0, NULL);
	txn_refer(t, &a, 4, 0);
	RUN_OK();
	assert_int_equal(keys(KEY_ORPHAN, 1), 1);
}

/* As if so many effects had been. */
static void set_seq(uint16_t shard, uint64_t seq)
{
	const struct history_term term = {.term = 1, .first = 1};
	const struct history h = {.term = 1, .seq = seq, .terms = &term, .nterms = 1};

	txn_outcome_fini(&rig->out);
	txn_outcome_init(&rig->out);
	effect_section(&rig->out.effect, shard, 0, 0);
	effect_history(&rig->out.effect, &h);
	apply();
	rig->seq[shard] = seq;
}

static void put_hold(const struct orbit_id *id, uint32_t session, uint32_t count)
{
	struct key k;

	count = htole32(count);
	key_hold(&k, id->b[0], id, session);
	txn_outcome_fini(&rig->out);
	txn_outcome_init(&rig->out);
	effect_section(&rig->out.effect, id->b[0], 1, rig->seq[id->b[0]] + 1);
	effect_put(&rig->out.effect, k.b, k.len, &count, 4);
	apply();
}

static void assert_holds(const struct orbit_id *id, unsigned n, const uint32_t *want)
{
	struct txn_result r;
	struct cur c;

	txn_holds(&rig->t, id);
	RUN_OK();
	r = result(0);
	c = cur_of(r.data, r.len);
	assert_int_equal(cur_u32(&c), n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(cur_u32(&c), want[i]);
	assert_true(cur_done(&c));
}

static void test_eval_wishes_have_no_result(void **state)
{
	struct orbit_id a = id_of(1, 'a');

	(void)state;
	txn_lease(&rig->t, &a, TXN_LEASE_EXCLUSIVE, false);
	RUN_OK();
	assert_int_equal(rig->out.results.len, 0);
	assert_int_equal(rig->out.effect.meta.len, 0);
}

static void test_eval_holds_are_counted(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;
	uint32_t both[2] = {SESSION, 300}, own[1] = {SESSION};
	uint64_t version;

	(void)state;
	make(&a);
	assert_holds(&a, 0, NULL);
	version = look(&a).version;
	txn_hold(t, &a);
	txn_hold(t, &a);
	RUN_OK();
	assert_holds(&a, 1, own);
	txn_no_hold(t, &a);
	RUN_FAILS(0);
	put_hold(&a, 300, 5);
	assert_holds(&a, 2, both);
	txn_unhold(t, &a, 0);
	RUN_OK();
	assert_holds(&a, 2, both);
	txn_unhold(t, &a, 300); /* all of a session that ended */
	RUN_OK();
	assert_holds(&a, 1, own);
	txn_hold(t, &a);
	txn_unhold(t, &a, 0);
	txn_unhold(t, &a, 0);
	txn_unhold(t, &a, 0);
	RUN_OK();
	assert_holds(&a, 0, NULL);
	txn_no_hold(t, &a);
	RUN_OK();
	/* holding changes nothing that a cache would hold */
	assert_int_equal(look(&a).version, version);
	assert_int_equal(keys(KEY_HOLD, 1), 0);
}

/* ---- DELETE ---- */

static void fill_object(const struct orbit_id *a)
{
	txn_put(&rig->t, a, "k", 1, "v", 1);
	txn_put(&rig->t, a, "l", 1, "w", 1);
	txn_write(&rig->t, a, 100, "hello", 5);
	txn_hold(&rig->t, a);
}

static void assert_nothing_left(uint16_t shard)
{
	assert_int_equal(keys(KEY_HEADER, shard), 0);
	assert_int_equal(keys(KEY_MAP, shard), 0);
	assert_int_equal(keys(KEY_EXTENT, shard), 0);
	assert_int_equal(keys(KEY_HOLD, shard), 0);
	assert_int_equal(keys(KEY_ORPHAN, shard), 0);
}

static void test_eval_delete_takes_all(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	make(&a);
	fill_object(&a);
	RUN_OK();
	put_hold(&a, 300, 1);
	txn_refer(t, &a, 4, 0);
	RUN_OK();
	assert_int_equal(keys(KEY_MAP, 1), 2);
	assert_int_equal(keys(KEY_HOLD, 1), 2);
	assert_int_equal(keys(KEY_ORPHAN, 1), 1);
	txn_delete(t, &a);
	RUN_OK();
	assert_int_equal(effects(EFFECT_DROP), 1);
	assert_int_equal(effects(EFFECT_PUT), 0);
	assert_int_equal(gained(0), -5);
	assert_int_equal(result(0).present, 1);
	assert_nothing_left(1);
}

static void test_eval_delete_then_create_begins_anew(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	uint64_t slots[TXN_SLOTS] = {[1] = 9};
	struct txn_build *t = &rig->t;
	struct txn_object o;

	(void)state;
	make(&a);
	fill_object(&a);
	txn_set(t, &a, 5, 5);
	RUN_OK();
	txn_delete(t, &a);
	txn_create(t, &a, 2, slots);
	txn_put(t, &a, "m", 1, "n", 1);
	txn_write(t, &a, 102, "xyz!", 4);
	txn_hold(t, &a);
	RUN_OK();
	assert_int_equal(gained(0), -5);
	assert_int_equal(gained(3), 4);
	o = look(&a);
	assert_int_equal(o.version, 3);
	assert_int_equal(o.slot[1], 9);
	assert_int_equal(o.slot[5], 0);
	assert_int_equal(o.stream_end, 106);
	assert_int_equal(o.stream_bytes, 4);
	assert_int_equal(keys(KEY_MAP, 1), 1);
	assert_int_equal(keys(KEY_HOLD, 1), 1);
	txn_read(t, &a, 98, 100);
	RUN_OK();
	assert_int_equal(result(0).len, 8);
	assert_memory_equal(result(0).data, "\0\0\0\0xyz!", 8);
	/* one hold, not two */
	txn_unhold(t, &a, 0);
	RUN_OK();
	assert_int_equal(keys(KEY_HOLD, 1), 0);
}

static void test_eval_create_fill_and_delete_leaves_nothing(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	for (unsigned before = 0; before < 2; before++) {
		if (before) {
			make(&a);
			fill_object(&a);
			RUN_OK();
		} else {
			txn_create(t, &a, 0, NULL);
		}
		txn_refer(t, &a, 4, 0);
		fill_object(&a);
		txn_write(t, &a, 0, "more", 4);
		txn_delete(t, &a);
		RUN_OK();
		assert_nothing_left(1);
	}
}

static void test_eval_bytes_before_a_delete_do_not_count_after(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	make(&a);
	txn_write(t, &a, 50, "0123456789", 10);
	RUN_OK();
	txn_write(t, &a, 0, "0123456789", 10);
	txn_delete(t, &a);
	txn_create(t, &a, 0, NULL);
	txn_write(t, &a, 98, "ab", 2);
	txn_write(t, &a, 5, "0123456789", 10);
	txn_write(t, &a, 45, "0123456789", 10);
	RUN_OK();
	assert_int_equal(gained(0), 10);
	assert_int_equal(gained(1), -20);
	assert_int_equal(gained(3), 2);
	assert_int_equal(gained(4), 10);
	assert_int_equal(gained(5), 10);
	assert_int_equal(look(&a).stream_bytes, 22);
}

/* ---- shards and parts ---- */

static void test_eval_several_shards_make_several_sections(void **state)
{
	struct orbit_id a = id_of(1, 'a'), b = id_of(2, 'b'), c = id_of(3, 'c');
	struct txn_build *t = &rig->t;
	struct effect_iter it;
	struct effect_op op;
	unsigned headers[256] = {0}, sections[256] = {0};
	uint16_t shard = 0;

	(void)state;
	make(&c);
	set_seq(2, 40);
	txn_create(t, &a, 0, NULL);
	txn_create(t, &b, 0, NULL);
	txn_get(t, &c);
	txn_set(t, &a, 0, 1);
	txn_put(t, &b, "k", 1, "v", 1);
	txn_set(t, &c, 0, 0); /* changes nothing: no section */
	RUN_OK();
	assert_int_equal(rig->asked, 2);
	it = effect_iter_of(rig->out.effect.meta.data, rig->out.effect.meta.len);
	while (effect_next(&it, &op) == 1) {
		if (op.kind == EFFECT_SECTION) {
			shard = op.shard;
			sections[shard]++;
			continue;
		}
		assert_int_equal(get_be16((const uint8_t *)op.key + 1), shard);
		headers[shard] += *(const uint8_t *)op.key == KEY_HEADER;
	}
	assert_int_equal(sections[1], 1);
	assert_int_equal(sections[2], 1);
	assert_int_equal(sections[3], 0);
	assert_int_equal(headers[1], 1);
	assert_int_equal(headers[2], 1);
	assert_int_equal(look(&a).version, 1);
	assert_int_equal(look(&b).version, 41);
	/* what fails on the second shard undoes the first */
	txn_set(t, &a, 0, 2);
	txn_add(t, &b, 0, -1);
	assert_int_equal(run(), WIRE_OVERFLOW);
	assert_int_equal(look(&a).slot[0], 1);
}

static void test_eval_not_served_here(void **state)
{
	struct orbit_id a = id_of(1, 'a'), far = id_of(NOT_HERE, 'f');

	(void)state;
	txn_create(&rig->t, &a, 0, NULL);
	txn_get(&rig->t, &far);
	assert_int_equal(run(), WIRE_WRONG_NODE);
	assert_int_equal(keys(KEY_HEADER, 1), 0);
}

static void test_eval_vote_and_commit(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;

	(void)state;
	make(&a);
	txn_exists(t, &a);
	txn_get(t, &a);
	txn_add(t, &a, 0, 5);
	txn_write(t, &a, 0, "xyz", 3);
	built();
	/* a vote reads, says what would come, and changes nothing */
	assert_int_equal(eval_as(TXN_VOTE), WIRE_OK);
	assert_int_equal(rig->out.effect.meta.len, 0);
	assert_int_equal(rig->asked, 0);
	assert_int_equal(result(1).present, 1);
	assert_int_equal(gained(3), 3);
	/* the commit does not compare or read again */
	assert_int_equal(eval_as(TXN_COMMIT), WIRE_OK);
	assert_int_equal(rig->asked, 1);
	assert_int_equal(gained(3), 3);
	apply();
	assert_int_equal(look(&a).slot[0], 5);
	/* a vote fails for what the commit could not do */
	txn_add(t, &a, 0, -6);
	built();
	assert_int_equal(eval_as(TXN_VOTE), WIRE_OVERFLOW);
	txn_get(t, &a);
	txn_create(t, &a, 0, NULL);
	built();
	assert_int_equal(eval_as(TXN_VOTE), WIRE_COMPARE);
	assert_int_equal(rig->out.failed, 1);
	txn_version_eq(t, &a, 1);
	txn_set(t, &a, 1, 1);
	built();
	assert_int_equal(eval_as(TXN_VOTE), WIRE_COMPARE);
	assert_int_equal(eval_as(TXN_COMMIT), WIRE_OK);
}

static void test_eval_damage_is_an_error(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_where where = {
		.shard_of = shard_of, .next = next_number, .session = SESSION, .results_max = 1000};
	struct key k;

	(void)state;
	effect_section(&rig->out.effect, 1, 1, 1);
	key_id(&k, KEY_HEADER, 1, &a);
	effect_put(&rig->out.effect, k.b, k.len, "nonsense", 8);
	apply();
	txn_get(&rig->t, &a);
	built();
	txn_outcome_fini(&rig->out);
	txn_outcome_init(&rig->out);
	log_set_level(LOG_LVL_ERROR);
	assert_int_equal(txn_eval(rig->st, &rig->view, TXN_ALL, &where, &rig->out), -EIO);
	assert_int_equal(rig->out.results.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_eval_create_and_get),
		TEST(test_eval_reads_see_the_state_before_the_writes),
		TEST(test_eval_compares),
		TEST(test_eval_writes_to_an_absent_object_fail),
		TEST(test_eval_slot_arithmetic),
		TEST(test_eval_what_changes_nothing_has_no_effect),
		TEST(test_eval_one_header_per_object),
		TEST(test_eval_references_keep_the_orphan_list),
		TEST(test_eval_wishes_have_no_result),
		TEST(test_eval_holds_are_counted),
		TEST(test_eval_delete_takes_all),
		TEST(test_eval_delete_then_create_begins_anew),
		TEST(test_eval_create_fill_and_delete_leaves_nothing),
		TEST(test_eval_bytes_before_a_delete_do_not_count_after),
		TEST(test_eval_several_shards_make_several_sections),
		TEST(test_eval_not_served_here),
		TEST(test_eval_vote_and_commit),
		TEST(test_eval_damage_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
