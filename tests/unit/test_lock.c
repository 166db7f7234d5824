/* The lock table alone: what conflicts with what. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/node/lock.h"

/* A transaction of one or more operations, as it is read. */
struct body {
	struct buf b;
	struct txn_view v;
};

static const struct orbit_id obj = {{1}}, other = {{2}};

static void body_of(struct body *y, struct txn_build *t)
{
	buf_init(&y->b);
	assert_int_equal(txn_encode(t, &y->b, NULL, NULL), 0);
	assert_int_equal(txn_check(y->b.data, y->b.len, &y->v), 0);
	txn_fini(t);
}

enum what {
	EXISTS,
	ABSENT,
	SLOT_EQ,
	MAP_EQ,
	MAP_EQ_B,
	MAP_EMPTY,
	VERSION_EQ,
	NO_HOLD,
	GET,
	GET_MAP,
	RANGE,
	READ,
	CREATE,
	DELETE,
	SET,
	SET_1,
	ADD,
	MAX,
	MIN,
	REF,
	PUT,
	PUT_B,
	DEL,
	WRITE,
	PUNCH,
	HOLD,
	UNHOLD,
	WHATS,
};

static void make(struct body *y, enum what w, const struct orbit_id *id)
{
	static const uint64_t slots[TXN_SLOTS];
	struct txn_build t;

	txn_init(&t);
	switch (w) {
	case EXISTS:
		txn_exists(&t, id);
		break;
	case ABSENT:
		txn_absent(&t, id);
		break;
	case SLOT_EQ:
		txn_slot_eq(&t, id, 0, 1);
		break;
	case MAP_EQ:
		txn_map_eq(&t, id, "a", 1, "v", 1);
		break;
	case MAP_EQ_B:
		txn_map_eq(&t, id, "ab", 2, "v", 1);
		break;
	case MAP_EMPTY:
		txn_map_empty(&t, id);
		break;
	case VERSION_EQ:
		txn_version_eq(&t, id, 1);
		break;
	case NO_HOLD:
		txn_no_hold(&t, id);
		break;
	case GET:
		txn_get(&t, id);
		break;
	case GET_MAP:
		txn_get_map(&t, id, "a", 1);
		break;
	case RANGE:
		txn_range(&t, id, "", 0, true, 1, 1, NULL);
		break;
	case READ:
		txn_read(&t, id, 0, 1);
		break;
	case CREATE:
		txn_create(&t, id, 0, slots);
		break;
	case DELETE:
		txn_delete(&t, id);
		break;
	case SET:
		txn_set(&t, id, 0, 1);
		break;
	case SET_1:
		txn_set(&t, id, 1, 1);
		break;
	case ADD:
		txn_add(&t, id, 0, 1);
		break;
	case MAX:
		txn_max(&t, id, 0, 1);
		break;
	case MIN:
		txn_min(&t, id, 0, 1);
		break;
	case REF:
		txn_refer(&t, id, 0, 1);
		break;
	case PUT:
		txn_put(&t, id, "a", 1, "v", 1);
		break;
	case PUT_B:
		txn_put(&t, id, "ab", 2, "v", 1);
		break;
	case DEL:
		txn_del(&t, id, "a", 1);
		break;
	case WRITE:
		txn_write(&t, id, 0, "x", 1);
		break;
	case PUNCH:
		txn_punch(&t, id, 0, 1);
		break;
	case HOLD:
		txn_hold(&t, id);
		break;
	case UNHOLD:
		txn_unhold(&t, id, 0);
		break;
	case WHATS:
		break;
	}
	body_of(y, &t);
}

static bool conflict(enum what held, const struct orbit_id *id, enum what asked)
{
	struct lock_owner o = {.age = 1, .session = 1, .number = 1};
	struct lock_table t = {0};
	struct body a, b;
	bool found;

	make(&a, held, id);
	make(&b, asked, &obj);
	lock_take(&t, &o, &a.v);
	found = lock_conflict(&t, &b.v, NULL);
	/* never with itself */
	assert_null(lock_conflict(&t, &b.v, &o));
	lock_drop(&t, &o);
	assert_true(lock_none(&t));
	assert_null(lock_conflict(&t, &b.v, NULL));
	buf_fini(&a.b);
	buf_fini(&b.b);
	return found;
}

/* Pairs that conflict; all others go together. Both ways round. */
static void test_lock_conflicts(void **state)
{
	static const char *const with[WHATS] = {
		/* one column per kind, in the order of enum what: x conflicts */
		/*              EASMmEVNGgRrCDS1+MmRPpDWUHU */
		[EXISTS] = "............xx.............",
		[ABSENT] = "............xx.............",
		[SLOT_EQ] = "............xxx.xxxx.......",
		[MAP_EQ] = "............xx......x.x....",
		[MAP_EQ_B] = "............xx.......x.....",
		[MAP_EMPTY] = "............xx......xxx....",
		[VERSION_EQ] = "............xxxxxxxxxxxxxxx",
		[NO_HOLD] = "............xx...........xx",
		[GET] = "............xxxxxxxxxxxxxxx",
		[GET_MAP] = "............xx......x.x....",
		[RANGE] = "............xx......xxx....",
		[READ] = "............xx.........xx..",
		[CREATE] = "xxxxxxxxxxxxxxxxxxxxxxxxxxx",
		[DELETE] = "xxxxxxxxxxxxxxxxxxxxxxxxxxx",
		[SET] = "..x...x.x...xxx.xxxx.......",
		[SET_1] = "......x.x...xx.x...........",
		[ADD] = "..x...x.x...xxx..xxx.......",
		[MAX] = "..x...x.x...xxx.x.xx.......",
		[MIN] = "..x...x.x...xxx.xxxx.......",
		[REF] = "..x...x.x...xxx.xxxx.......",
		[PUT] = "...x.xx.xxx.xx......x.x....",
		[PUT_B] = "....xxx.x.x.xx.......x.....",
		[DEL] = "...x.xx.xxx.xx......x.x....",
		[WRITE] = "......x.x..xxx.........xx..",
		[PUNCH] = "......x.x..xxx.........xx..",
		[HOLD] = "......xxx...xx.............",
		[UNHOLD] = "......xxx...xx.............",
	};

	(void)state;
	for (unsigned a = 0; a < WHATS; a++) {
		assert_int_equal(strlen(with[a]), WHATS);
		for (unsigned b = 0; b < WHATS; b++) {
			if (conflict(a, &obj, b) != (with[a][b] == 'x'))
				fail_msg("held %u, asked %u", a, b);
			/* the table is what it is from either side */
			assert_int_equal(with[a][b], with[b][a]);
			assert_false(conflict(a, &other, b));
		}
	}
}

static void test_lock_finds_the_oldest(void **state)
{
	struct lock_owner o[3] = {{.age = 5, .session = 1, .number = 1},
		{.age = 3, .session = 2, .number = 1}, {.age = 3, .session = 1, .number = 9}};
	struct lock_table t = {0};
	struct body add, set;

	(void)state;
	make(&add, ADD, &obj);
	make(&set, SET, &obj);
	for (unsigned i = 0; i < 3; i++)
		lock_take(&t, &o[i], &add.v);
	assert_ptr_equal(lock_conflict(&t, &set.v, NULL), &o[2]);
	lock_drop(&t, &o[2]);
	assert_ptr_equal(lock_conflict(&t, &set.v, NULL), &o[1]);
	lock_drop(&t, &o[1]);
	assert_ptr_equal(lock_conflict(&t, &set.v, NULL), &o[0]);
	assert_ptr_equal(lock_conflict_read(&t, &obj), &o[0]);
	assert_null(lock_conflict_read(&t, &other));
	lock_drop(&t, &o[0]);
	assert_null(lock_conflict(&t, &set.v, NULL));
	lock_drop(&t, &o[0]);
	buf_fini(&add.b);
	buf_fini(&set.b);
}

/* What was only read may be read, and must not be changed. */
static void test_lock_of_a_reader_minds_changes_only(void **state)
{
	struct lock_owner o = {.number = 1};
	struct lock_table t = {0};
	struct body get;

	(void)state;
	make(&get, GET, &obj);
	lock_take(&t, &o, &get.v);
	assert_null(lock_conflict_read(&t, &obj));
	assert_ptr_equal(lock_conflict_write(&t, &obj), &o);
	assert_null(lock_conflict_write(&t, &other));
	lock_drop(&t, &o);
	assert_null(lock_conflict_write(&t, &obj));
	buf_fini(&get.b);
}

/* Wishes for leases are granted or not, but lock nothing. */
static void test_lock_leaves_wishes_alone(void **state)
{
	struct lock_owner o[2] = {{.number = 1}, {.number = 2}};
	struct body lease, create;
	struct lock_table t = {0};
	struct txn_build b;

	(void)state;
	txn_init(&b);
	txn_lease(&b, &obj, TXN_LEASE_EXCLUSIVE, false);
	body_of(&lease, &b);
	make(&create, CREATE, &obj);
	lock_take(&t, &o[0], &lease.v);
	assert_true(lock_none(&t));
	lock_take(&t, &o[1], &create.v);
	assert_null(lock_conflict(&t, &lease.v, NULL));
	lock_drop(&t, &o[0]);
	lock_drop(&t, &o[1]);
	assert_true(lock_none(&t));
	buf_fini(&lease.b);
	buf_fini(&create.b);
}

static void test_lock_older(void **state)
{
	struct lock_owner a = {.age = 1, .session = 2, .number = 3}, b = a;

	(void)state;
	assert_false(lock_older(&a, &b));
	b.number = 4;
	assert_true(lock_older(&a, &b));
	assert_false(lock_older(&b, &a));
	b.session = 1;
	assert_true(lock_older(&b, &a));
	b.age = 2;
	assert_true(lock_older(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lock_conflicts),
		cmocka_unit_test(test_lock_finds_the_oldest),
		cmocka_unit_test(test_lock_of_a_reader_minds_changes_only),
		cmocka_unit_test(test_lock_leaves_wishes_alone),
		cmocka_unit_test(test_lock_older),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
