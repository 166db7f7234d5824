/*
 * Three copies of everything: what is on disk.
 */
#include "tests/unit/repl_rig.h"

static uint64_t send_sync(struct trio *t, unsigned to, const struct wire_effect *e)
{
	struct frame *f = frame_new(WIRE_SYNC, t->k[to].next++, 64);
	uint64_t id = f->id;

	wire_put_sync(&f->b, 1, e, 1);
	link_send(t->k[to].l, f);
	return id;
}

static void test_repl_sync_means_on_disk_at_all_members(void **state)
{
	struct wire_effect e;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	e = (struct wire_effect){
		.shard = rig_shard(&t.r, &t.id), .term = past(&t, 0).term, .seq = past(&t, 0).seq};
	assert_int_equal(rig_status(&t.k[0], send_sync(&t, 0, &e)), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 1, 2, 0);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[1], send_sync(&t, 1, &e)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 5);
	/* a member that cannot be asked is waited for */
	sim_cut(t.r.s, t.r.n[1].host, t.r.n[2].host, true);
	rid = send_sync(&t, 1, &e);
	sim_run(t.r.s, 3 * ENV_SEC);
	assert_false(answered(&t, 1, rid));
	MEMBERS(&t, 1, 0);
	give(&t, 0);
	give(&t, 1);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	trio_fini(&t);
}

struct disk_sync {
	struct durable d;
	struct seen of;
	bool done;
};

static void disk_synced(struct durable *d, int rc)
{
	assert_int_equal(rc, 0);
	container_of(d, struct disk_sync, d)->done = true;
}

/* What a yes vote waits for. */
static void start_sync(struct trio *t, struct disk_sync *ds)
{
	struct node *n = t->r.n[0].node;

	*ds = (struct disk_sync){
		.d.done = disk_synced, .of.shard = node_shard(n, rig_shard(&t->r, &t->id))};
	durable_start(n, &ds->d, &ds->of, 1);
}

/* Once both the answer and the sync are there, nothing of it can be lost by that node. */
static void assert_durable(struct trio *t, unsigned i, uint64_t rid, const struct disk_sync *ds)
{
	uint64_t seq = past(t, 0).seq;

	for (unsigned k = 0; k < 5000 && (!ds->done || !answered(t, 0, rid)); k++)
		sim_run(t->r.s, ENV_MS);
	assert_true(ds->done && answered(t, 0, rid));
	assert_int_equal(rig_status(&t->k[0], rid), WIRE_OK);
	crash(t, i, DISK_LOSE);
	restart(t, i);
	assert_true(past(t, i).seq >= seq);
}

static void test_repl_sync_comes_behind_what_a_new_link_brings_again(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 50 * ENV_MS);
	sim_break(t.r.s, t.r.n[0].host, t.r.n[2].host);
	while (copy_of(&t, 2)->peer->state != PEER_CONNECTING)
		sim_run(t.r.s, ENV_MS);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(copy_of(&t, 2)->peer->state, PEER_CONNECTING);
	start_sync(&t, &ds);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_sync_waits_for_a_copy_that_is_being_filled(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 2, DISK_LOSE);
	restart(&t, 2);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 20 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	for (unsigned i = 3; i--;)
		give(&t, i);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(copy_of(&t, 2)->state, COPY_UNKNOWN);
	start_sync(&t, &ds);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_sync_counts_not_where_effects_were_refused(void **state)
{
	struct disk_sync ds;
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 100 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	give(&t, 2);
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	start_sync(&t, &ds);
	sim_run(t.r.s, 150 * ENV_MS);
	give(&t, 1);
	assert_durable(&t, 2, rid, &ds);
	trio_fini(&t);
}

static void test_repl_what_all_lost_is_told_as_lost(void **state)
{
	struct wire_effect e;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	e = (struct wire_effect){
		.shard = rig_shard(&t.r, &t.id), .term = past(&t, 0).term, .seq = past(&t, 0).seq};
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 1, 2, 0);
	give_all(&t);
	for (unsigned i = 0; i < 10; i++)
		rig_create(&t.k[1], 1, 100 + i, &t.id, i);
	assert_int_equal(rig_status(&t.k[1], send_sync(&t, 1, &e)), WIRE_LOST);
	trio_fini(&t);
}

/* ---- outcomes ---- */

#define NUMBER 1000

/* Both shards of a transaction have voted yes. */
static void vote(struct trio *t, struct orbit_id *id)
{
	struct rig_head h = {.session = 1, .number = NUMBER, .nparticipants = 2};

	id[0] = t->id;
	id[1] = rig_id(&t->r, 0, 1);
	assert_int_equal(rig_create(&t->k[0], 1, t->number++, &id[1], 0), WIRE_OK);
	for (unsigned i = 0; i < 2; i++)
		h.participants[i] = rig_shard(&t->r, &id[i]);
	for (unsigned i = 0; i < 2; i++) {
		struct txn_build b;
		uint64_t rid;

		txn_init(&b);
		txn_set(&b, &id[i], 0, 77);
		rid = rig_send_txn(&t->k[0], WIRE_PREPARE, &h, &b);
		txn_fini(&b);
		assert_int_equal(rig_status(&t->k[0], rid), WIRE_OK);
	}
}

static uint64_t send_decide(struct trio *t, unsigned to, uint16_t type, const struct orbit_id *id)
{
	return rig_send_decide(
		&t->k[to], type, 1, NUMBER, rig_shard(&t->r, id), type == WIRE_DECIDE);
}

/* All lose power; node @i comes back, alone. */
static void only_one_is_left(struct trio *t, unsigned i)
{
	for (unsigned k = 0; k < NODES; k++)
		if (t->r.n[k].node)
			crash(t, k, DISK_LOSE);
	restart(t, i);
	MEMBERS(t, (uint16_t)i);
	give(t, i);
}

static void test_repl_a_yes_is_on_all_disks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		struct orbit_id id[2];
		struct trio t;

		trio_init(&t);
		sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 50 * ENV_MS);
		vote(&t, id);
		only_one_is_left(&t, i);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(
				rig_status(&t.k[i], send_decide(&t, i, WIRE_DECIDE, &id[k])),
				WIRE_OK);
		for (unsigned k = 0; k < 2; k++)
			assert_int_equal(rig_slot(&t.k[i], &id[k], 0), 77);
		trio_fini(&t);
	}
}

static void assert_told_for_good(struct trio *t, unsigned i, const struct orbit_id *id)
{
	only_one_is_left(t, i);
	assert_int_equal(rig_status(&t->k[i], send_decide(t, i, WIRE_RESOLVE, id)), WIRE_COMMITTED);
	assert_int_equal(rig_slot(&t->k[i], id, 0), 77);
}

/* Once a commit is answered the client has the others forget it. */
static void test_repl_a_commit_is_answered_when_all_disks_have_it(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NODES; i++) {
		struct orbit_id id[2];
		struct trio t;
		uint64_t rid;

		trio_init(&t);
		vote(&t, id);
		sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 50 * ENV_MS);
		rid = send_decide(&t, 0, WIRE_DECIDE, &id[0]);
		assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
		assert_told_for_good(&t, i, &id[0]);
		trio_fini(&t);
	}
}

/* All have it, but not on disk, when another one leads and is told again. */
static void test_repl_a_commit_that_moved_is_answered_when_all_disks_have_it(void **state)
{
	(void)state;
	for (uint16_t i = 1; i < NODES; i++) {
		struct orbit_id id[2];
		struct trio t;
		uint64_t rid, seq;

		trio_init(&t);
		vote(&t, id);
		seq = past(&t, 0).seq;
		rid = send_decide(&t, 0, WIRE_DECIDE, &id[0]);
		while (past(&t, 1).seq == seq || past(&t, 2).seq == seq)
			sim_run(t.r.s, ENV_MS / 10);
		assert_false(answered(&t, 0, rid));
		crash(&t, 0, DISK_PROCESS);
		MEMBERS(&t, 1, 2);
		give_all(&t);
		rid = send_decide(&t, 1, WIRE_DECIDE, &id[0]);
		assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
		assert_told_for_good(&t, i, &id[0]);
		trio_fini(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repl_sync_means_on_disk_at_all_members),
		cmocka_unit_test(test_repl_sync_comes_behind_what_a_new_link_brings_again),
		cmocka_unit_test(test_repl_sync_waits_for_a_copy_that_is_being_filled),
		cmocka_unit_test(test_repl_sync_counts_not_where_effects_were_refused),
		cmocka_unit_test(test_repl_what_all_lost_is_told_as_lost),
		cmocka_unit_test(test_repl_a_yes_is_on_all_disks),
		cmocka_unit_test(test_repl_a_commit_is_answered_when_all_disks_have_it),
		cmocka_unit_test(test_repl_a_commit_that_moved_is_answered_when_all_disks_have_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
