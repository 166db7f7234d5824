/* Leases of sessions on objects: who gets them, what they keep away, how they are given back. */
#include "tests/unit/lease_rig.h"

/* A node and the links of three sessions, 1 to 3. */
struct three {
	struct rig r;
	struct rig_link k[4];
	struct orbit_id id, dir;
};

static void three_init_with(struct three *t, const struct node_config *cfg)
{
	rig_init_with(&t->r, 1, cfg);
	for (unsigned i = 1; i < 4; i++)
		rig_connect(&t->r, &t->k[i], 0);
	t->id = rig_id(&t->r, 0, 0);
	assert_int_equal(rig_create(&t->k[1], 1, 1, &t->id, 100), WIRE_OK);
}

static void three_init(struct three *t)
{
	struct node_config cfg = node_config_default();

	three_init_with(t, &cfg);
}

static void three_fini(struct three *t)
{
	for (unsigned i = 1; i < 4; i++)
		rig_hangup(&t->k[i]);
	rig_fini(&t->r);
}

static struct node_stats stats(struct three *t)
{
	struct node_stats s;

	node_stats(t->r.n[0].node, &s);
	return s;
}

static void run(struct three *t)
{
	sim_run(t->r.s, 50 * ENV_MS);
}

static void test_lease_shared_is_granted_before_the_reply(void **state)
{
	struct wire_lease_one one;
	struct wire_leases m;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	rid = send_wish(&t.k[1], 1, 2, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	one = granted(&t.k[1], rid, &t.id);
	assert_int_equal(one.mode, SHARED);
	assert_int_equal(one.shard, rig_shard(&t.r, &t.id));
	assert_true(one.version > 0);
	m = leases_in(nth(&t.k[1], WIRE_GRANT, 0));
	assert_int_equal(m.session, 1);
	assert_int_equal(m.epoch, rig_epoch(&t.r));
	/* two may share; each grant has a greater number; an absent object's version is 0 */
	assert_int_equal(wish_for(&t.k[2], 2, 1, &t.id, SHARED, false), SHARED);
	assert_int_equal(stats(&t).leases, 2);
	rid = send_wish(&t.k[1], 1, 3, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	assert_true(granted(&t.k[1], rid, &t.id).number > one.number);
	assert_int_equal(stats(&t).leases, 2);
	t.id = rig_id(&t.r, 0, 1);
	rid = send_wish(&t.k[1], 1, 4, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	assert_int_equal(granted(&t.k[1], rid, &t.id).mode, SHARED);
	assert_int_equal(granted(&t.k[1], rid, &t.id).version, 0);
	three_fini(&t);
}

static void test_lease_says_the_version_after_the_transaction(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct wire_reply m;
	struct txn_build b;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	txn_init(&b);
	txn_add(&b, &t.id, 0, 1);
	txn_lease(&b, &t.id, EXCLUSIVE, true);
	rid = rig_send_txn(&t.k[1], WIRE_TXN, &h, &b);
	txn_fini(&b);
	m = rig_reply(&t.k[1], rid);
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(granted(&t.k[1], rid, &t.id).mode, EXCLUSIVE);
	assert_true(granted(&t.k[1], rid, &t.id).version == wire_effect_at(&m, 0).seq);
	/* a stored reply brings none */
	txn_init(&b);
	txn_add(&b, &t.id, 0, 1);
	txn_lease(&b, &t.id, EXCLUSIVE, true);
	rid = rig_send_txn(&t.k[1], WIRE_TXN, &h, &b);
	txn_fini(&b);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	assert_int_equal(granted(&t.k[1], rid, &t.id).mode, 0);
	assert_int_equal(rig_got_slot(&t.k[1], get_by(&t.k[1], 1, &t.id), 0), 101);
	three_fini(&t);
}

/* Recall first, then execute; meanwhile reads see the old state, and the holder's own pass. */
static void test_lease_is_recalled_before_a_change(void **state)
{
	uint64_t rid, again;
	struct three t;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, SHARED, false), SHARED);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	assert_int_equal(recalled(&t.k[1], 0).mode, 0);
	assert_int_equal(rig_got_slot(&t.k[3], get_by(&t.k[3], 3, &t.id), 0), 100);
	assert_int_equal(rig_status(&t.k[1], add_by(&t.k[1], 1, 3, &t.id)), WIRE_OK);
	/* nobody gets a new one of what somebody waits for, the holder neither */
	assert_int_equal(wish_for(&t.k[3], 3, 2, &t.id, SHARED, false), 0);
	assert_int_equal(wish_for(&t.k[1], 1, 4, &t.id, SHARED, false), 0);
	/* another that wants it asks for nothing that was asked for */
	again = add_by(&t.k[3], 3, 3, &t.id);
	run(&t);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	assert_int_equal(rig_status(&t.k[3], again), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 103);
	assert_int_equal(stats(&t).leases, 0);
	/* and it is to be had again */
	assert_int_equal(wish_for(&t.k[3], 3, 4, &t.id, SHARED, false), SHARED);
	three_fini(&t);
}

/* Nor of what somebody has waited for until just now: a holder who asks again with his very answer
 * would be first, time and again. */
static void test_lease_is_not_had_again_before_who_waits(void **state)
{
	struct wire_lease_one one;
	uint64_t rid, again;
	struct three t;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, SHARED, false), SHARED);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	run(&t);
	one = recalled(&t.k[1], 0);
	sim_net(t.r.s)->bursts = true; /* both come in one round */
	sim_host_pause(t.r.n[0].host, 100 * ENV_MS);
	give_back(&t.k[1], 1, one, 0);
	again = send_wish(&t.k[1], 1, 3, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], again), WIRE_OK);
	assert_int_equal(granted(&t.k[1], again, &t.id).mode, 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	three_fini(&t);
}

struct turns {
	struct env_task task;
	struct three *t;
	uint64_t waiting, most;
	unsigned left;
};

/* One turn of the loop. */
static void turn(struct env_task *task)
{
	struct turns *u = container_of(task, struct turns, task);
	uint64_t waiting = stats(u->t).waiting;

	if (u->waiting - waiting > u->most)
		u->most = u->waiting - waiting;
	u->waiting = waiting;
	if (u->left--)
		env_post(sim_env(u->t->r.n[0].host), task);
}

/* Those who wait for a lease run in their order, and not all in one turn of the loop. */
static void test_lease_waiters_do_not_hold_up_the_loop(void **state)
{
	static uint64_t rid[1000];
	struct turns u = {.left = 100, .task.run = turn};
	struct three t;
	uint64_t last = 0;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	for (unsigned i = 0; i < ARRAY_LEN(rid); i++)
		rid[i] = get_by(&t.k[2], 2, &t.id);
	run(&t);
	u.t = &t;
	u.waiting = stats(&t).waiting;
	assert_int_equal(u.waiting, ARRAY_LEN(rid));
	grants_over(t.r.n[0].node, 1); /* so that both are posted in one */
	env_post(sim_env(t.r.n[0].host), &u.task);
	run(&t);
	assert_int_equal(u.waiting, 0);
	assert_in_range(u.most, 1, NODE_WAKE_TURN);
	for (unsigned i = 0; i < t.k[2].ngot; i++) {
		if (t.k[2].got[i]->type != WIRE_REPLY || t.k[2].got[i]->id < rid[0])
			continue;
		assert_true(t.k[2].got[i]->id > last);
		last = t.k[2].got[i]->id;
	}
	assert_true(last == rid[ARRAY_LEN(rid) - 1]);
	for (unsigned i = 0; i < ARRAY_LEN(rid); i++)
		assert_int_equal(rig_status(&t.k[2], rid[i]), WIRE_OK);
	three_fini(&t);
}

/* A reader leaves a writer a shared one. */
static void test_lease_exclusive_meets_reads(void **state)
{
	struct wire_lease_one one;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	rid = get_by(&t.k[2], 2, &t.id);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	one = recalled(&t.k[1], 0);
	assert_int_equal(one.mode, SHARED);
	/* its own flush passes */
	assert_int_equal(rig_status(&t.k[1], add_by(&t.k[1], 1, 3, &t.id)), WIRE_OK);
	assert_false(has_reply(&t.k[2], rid));
	give_back(&t.k[1], 1, one, SHARED);
	assert_int_equal(rig_got_slot(&t.k[2], rid, 0), 101);
	assert_int_equal(stats(&t).leases, 1);
	/* to those without a session as well: once it is shared they pass */
	assert_int_equal(rig_slot(&t.k[3], &t.id, 0), 101);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	/* it may be recalled further before it was answered */
	assert_int_equal(wish_for(&t.k[1], 1, 4, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	get_by(&t.k[2], 2, &t.id);
	run(&t);
	rid = add_by(&t.k[3], 3, 1, &t.id);
	run(&t);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 3);
	assert_int_equal(recalled(&t.k[1], 1).mode, SHARED);
	assert_int_equal(recalled(&t.k[1], 2).mode, 0);
	give_back(&t.k[1], 1, recalled(&t.k[1], 1), SHARED);
	run(&t);
	assert_false(has_reply(&t.k[3], rid));
	give_back(&t.k[1], 1, recalled(&t.k[1], 2), 0);
	assert_int_equal(rig_status(&t.k[3], rid), WIRE_OK);
	three_fini(&t);
}

static uint64_t send_kind(struct rig_link *k, uint32_t session, uint64_t number,
	const struct orbit_id *id, enum txn_kind kind)
{
	struct rig_head h = {.session = session, .number = number};
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	switch (kind) {
	case TXN_HOLD:
		txn_hold(&t, id);
		break;
	case TXN_UNHOLD:
		txn_unhold(&t, id, 0);
		break;
	case TXN_EXISTS:
		txn_exists(&t, id);
		break;
	default:
		txn_put(&t, id, "k", 1, "v", 1);
	}
	rid = rig_send_txn(k, WIRE_TXN, &h, &t);
	txn_fini(&t);
	return rid;
}

static void test_lease_does_not_meet_holds(void **state)
{
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	assert_int_equal(rig_status(&t.k[2], send_kind(&t.k[2], 2, 1, &t.id, TXN_HOLD)), WIRE_OK);
	assert_int_equal(rig_status(&t.k[2], send_kind(&t.k[2], 2, 2, &t.id, TXN_UNHOLD)), WIRE_OK);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 0);
	/* but compares do */
	rid = send_kind(&t.k[2], 2, 3, &t.id, TXN_EXISTS);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	three_fini(&t);
}

static void test_lease_exclusive_is_waited_for_or_tried(void **state)
{
	struct three t;
	uint64_t rid, other;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, SHARED, false), SHARED);
	assert_int_equal(wish_for(&t.k[2], 2, 1, &t.id, SHARED, false), SHARED);
	assert_int_equal(wish_for(&t.k[3], 3, 1, &t.id, EXCLUSIVE, true), 0);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 0);
	/* two that want it: one gets it, then the other */
	rid = send_wish(&t.k[1], 1, 3, &t.id, EXCLUSIVE, false);
	run(&t);
	other = send_wish(&t.k[2], 2, 2, &t.id, EXCLUSIVE, false);
	run(&t);
	assert_false(has_reply(&t.k[1], rid));
	assert_false(has_reply(&t.k[2], other));
	give_back(&t.k[2], 2, recalled(&t.k[2], 0), 0);
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	assert_int_equal(granted(&t.k[1], rid, &t.id).mode, EXCLUSIVE);
	run(&t);
	assert_false(has_reply(&t.k[2], other));
	give_back(&t.k[1], 1, recalled(&t.k[1], 1), 0);
	assert_int_equal(rig_status(&t.k[2], other), WIRE_OK);
	assert_int_equal(granted(&t.k[2], other, &t.id).mode, EXCLUSIVE);
	/* a shared one is not waited for */
	assert_int_equal(stats(&t).leases, 1);
	three_fini(&t);
}

/* What an older RETURN says is not about the newest grant. */
static void test_lease_that_was_granted_anew_is_not_returned_by_an_older_answer(void **state)
{
	struct wire_lease_one old, new;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	rid = send_wish(&t.k[1], 1, 2, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	old = granted(&t.k[1], rid, &t.id);
	rid = send_wish(&t.k[1], 1, 3, &t.id, SHARED, false);
	assert_int_equal(rig_status(&t.k[1], rid), WIRE_OK);
	new = granted(&t.k[1], rid, &t.id);
	give_back(&t.k[1], 1, old, 0);
	run(&t);
	assert_int_equal(stats(&t).leases, 1);
	/* one that is not asked for is taken as well */
	give_back(&t.k[1], 1, new, 0);
	run(&t);
	assert_int_equal(stats(&t).leases, 0);
	assert_int_equal(rig_status(&t.k[2], add_by(&t.k[2], 2, 1, &t.id)), WIRE_OK);
	/* another's can not be given back */
	assert_int_equal(wish_for(&t.k[1], 1, 4, &t.id, SHARED, false), SHARED);
	new.number = UINT64_MAX;
	give_back(&t.k[2], 2, new, 0);
	run(&t);
	assert_int_equal(stats(&t).leases, 1);
	three_fini(&t);
}

static struct orbit_id follow_suffix(struct orbit_id *dir)
{
	struct orbit_id child = *dir;

	memset(child.b + 8, 0xbb, ORBIT_ID_LEN - 8);
	return child;
}

/* A directory with an entry that names @child, which lies in the same shard. */
static void make_dir(struct three *t, const struct orbit_id *child)
{
	struct rig_head h = {.session = 1, .number = 50};
	uint64_t slot[TXN_SLOTS] = {0};
	struct txn_build b;

	t->dir = t->id;
	t->dir.b[31] ^= 1;
	txn_init(&b);
	txn_create(&b, child, 1, slot);
	txn_create(&b, &t->dir, 1, slot);
	txn_put(&b, &t->dir, "k", 1, child->b, 8);
	assert_int_equal(rig_status(&t->k[1], rig_send_txn(&t->k[1], WIRE_TXN, &h, &b)), WIRE_OK);
	txn_fini(&b);
}

static uint64_t send_list(struct three *t, unsigned s, const struct orbit_id *child, bool single)
{
	struct rig_head h = {.session = s, .number = 60, .flags = WIRE_TXN_LEASE_FOLLOWED};
	struct txn_build b;
	uint64_t rid;

	txn_init(&b);
	if (single)
		txn_follow(&b, &t->dir, "k", 1, child->b + 8);
	else
		txn_range(&b, &t->dir, NULL, 0, false, 100, 65536, child->b + 8);
	rid = rig_send_txn(&t->k[s], WIRE_TXN, &h, &b);
	txn_fini(&b);
	return rid;
}

static void test_lease_of_what_is_followed(void **state)
{
	struct orbit_id child;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	child = follow_suffix(&t.id);
	make_dir(&t, &child);
	for (unsigned single = 0; single < 2; single++) {
		rid = send_list(&t, 2, &child, single);
		assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
		assert_int_equal(granted(&t.k[2], rid, &child).mode, SHARED);
		assert_true(granted(&t.k[2], rid, &child).version > 0);
		assert_int_equal(granted(&t.k[2], rid, &t.dir).mode, 0);
		give_back(&t.k[2], 2, granted(&t.k[2], rid, &child), 0);
		/* another has it exclusively: it is recalled, as if it were named */
		assert_int_equal(
			wish_for(&t.k[1], 1, 51 + single, &child, EXCLUSIVE, false), EXCLUSIVE);
		rid = send_list(&t, 2, &child, single);
		run(&t);
		assert_false(has_reply(&t.k[2], rid));
		assert_int_equal(recalled(&t.k[1], single).mode, SHARED);
		give_back(&t.k[1], 1, recalled(&t.k[1], single), 0);
		assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
		assert_int_equal(granted(&t.k[2], rid, &child).mode, SHARED);
		give_back(&t.k[2], 2, granted(&t.k[2], rid, &child), 0);
		run(&t);
	}
	three_fini(&t);
}

static uint64_t send_prepare(struct three *t, unsigned s, uint64_t number, struct orbit_id *other)
{
	struct rig_head h = {.session = s, .number = number, .age = 1, .nparticipants = 2};
	struct txn_build b;
	uint64_t rid;

	*other = rig_id(&t->r, 0, 1);
	h.participants[0] = rig_shard(&t->r, &t->id);
	h.participants[1] = rig_shard(&t->r, other);
	txn_init(&b);
	txn_add(&b, &t->id, 0, 1);
	rid = rig_send_txn(&t->k[s], WIRE_PREPARE, &h, &b);
	txn_fini(&b);
	return rid;
}

/* A vote waits as well; from then on until its outcome nothing is granted of what it locked. */
static void test_lease_is_recalled_before_a_vote(void **state)
{
	struct orbit_id other;
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, SHARED, false), SHARED);
	rid = send_prepare(&t, 2, 1, &other);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	{
		struct rig_head h = {.session = 3, .number = 1};
		struct txn_build b;

		txn_init(&b);
		txn_lease(&b, &t.id, SHARED, false);
		rid = rig_send_txn(&t.k[3], WIRE_TXN, &h, &b);
		txn_fini(&b);
	}
	assert_int_equal(rig_status(&t.k[3], rid), WIRE_OK);
	assert_int_equal(granted(&t.k[3], rid, &t.id).mode, 0);
	rid = rig_send_decide(&t.k[2], WIRE_DECIDE, 2, 1, rig_shard(&t.r, &t.id), true);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	assert_int_equal(wish_for(&t.k[3], 3, 2, &t.id, SHARED, false), SHARED);
	three_fini(&t);
}

/* What a vote has to read takes a while, in which it has met the leases that there were and has no
 * locks yet: whoever wishes then gets none, or waits if it has to have one. */
static void test_lease_is_not_granted_while_a_vote_reads(void **state)
{
	static uint8_t bytes[64 << 10];
	unsigned late = 0;

	(void)state;
	for (unsigned i = 0; i < 80; i++) {
		unsigned mode = i % 2 ? EXCLUSIVE : SHARED;
		struct rig_head h = {.session = 2, .number = 1, .age = 1, .nparticipants = 2};
		struct txn_build b;
		struct three t;
		uint64_t vote, wish;

		three_init(&t);
		h.participants[0] = rig_shard(&t.r, &t.id);
		h.participants[1] = h.participants[0] + 1;
		txn_init(&b);
		txn_write(&b, &t.id, 0, bytes, sizeof(bytes));
		assert_int_equal(
			rig_status(&t.k[1],
				rig_send_txn(&t.k[1], WIRE_TXN,
					&(struct rig_head){.session = 1, .number = 2}, &b)),
			WIRE_OK);
		txn_fini(&b);
		disk_mem_faults(t.r.n[0].disk)->miss = 1000;
		txn_init(&b);
		txn_read(&b, &t.id, 0, sizeof(bytes));
		txn_add(&b, &t.id, 0, 1);
		vote = rig_send_txn(&t.k[2], WIRE_PREPARE, &h, &b);
		txn_fini(&b);
		sim_run(t.r.s, i / 2 * ENV_MS / 10);
		late += has_reply(&t.k[2], vote);
		txn_init(&b);
		txn_lease(&b, &t.id, mode, false);
		wish = rig_send_txn(
			&t.k[3], WIRE_TXN, &(struct rig_head){.session = 3, .number = 1}, &b);
		txn_fini(&b);
		run(&t);
		if (has_reply(&t.k[3], wish) && granted(&t.k[3], wish, &t.id).mode) {
			assert_false(has_reply(&t.k[2], vote));
			give_back(&t.k[3], 3, recalled(&t.k[3], 0), 0);
		} else {
			assert_true(has_reply(&t.k[3], wish) == (mode == SHARED));
		}
		assert_int_equal(rig_status(&t.k[2], vote), WIRE_OK);
		rig_send_decide(&t.k[2], WIRE_DECIDE, 2, 1, rig_shard(&t.r, &t.id), false);
		assert_int_equal(rig_status(&t.k[3], wish), WIRE_OK);
		three_fini(&t);
	}
	assert_true(late > 0 && late < 80);
}

/* What is not answered finds the session when its link comes, also by its first request. */
static void test_lease_is_recalled_when_the_link_comes(void **state)
{
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, SHARED, false), SHARED);
	rig_hangup(&t.k[1]);
	run(&t);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	rig_connect(&t.r, &t.k[1], 0);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 0);
	get_by(&t.k[1], 1, &t.id);
	run(&t);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	three_fini(&t);
}

/* Beyond the limit those that were granted longest ago are asked for. */
static void test_lease_limit(void **state)
{
	struct node_config cfg = node_config_default();
	struct wire_lease_one one;
	struct orbit_id id[5];
	struct three t;

	(void)state;
	cfg.leases_max = 3;
	three_init_with(&t, &cfg);
	for (unsigned i = 0; i < 5; i++) {
		id[i] = t.id;
		id[i].b[31] = (uint8_t)i;
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(wish_for(&t.k[1], 1, 2 + i, &id[i], SHARED, false), SHARED);
	assert_int_equal(wish_for(&t.k[1], 1, 5, &id[0], SHARED, false), SHARED);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 0);
	assert_int_equal(wish_for(&t.k[1], 1, 6, &id[3], SHARED, false), SHARED);
	assert_int_equal(stats(&t).leases, 4);
	assert_int_equal(wish_for(&t.k[1], 1, 7, &id[3], SHARED, false), SHARED);
	assert_int_equal(came(&t.k[1], WIRE_RECALL), 1);
	one = recalled(&t.k[1], 0);
	assert_int_equal(orbit_id_cmp(&one.id, &id[1]), 0);
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	run(&t);
	assert_int_equal(stats(&t).leases, 3);
	three_fini(&t);
}

/* Whoever has as much under way as he may can still give back what others wait for: else they, and
 * he, if they have what he waits for, would do so for ever. */
static void test_lease_is_returned_by_who_asks_for_too_much(void **state)
{
	static uint8_t bytes[10000];
	struct node_config cfg = node_config_default();
	struct txn_build b;
	struct three t;
	uint64_t rid;

	(void)state;
	cfg.queue_max = sizeof(bytes) / 2;
	three_init_with(&t, &cfg);
	assert_int_equal(wish_for(&t.k[1], 1, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	assert_int_equal(
		wish_for(&t.k[2], 2, 2, &(struct orbit_id){{1}}, EXCLUSIVE, false), EXCLUSIVE);
	txn_init(&b);
	txn_write(&b, &(struct orbit_id){{1}}, 0, bytes, sizeof(bytes));
	rig_send_txn(&t.k[1], WIRE_TXN, &(struct rig_head){.session = 1, .number = 3}, &b);
	txn_fini(&b);
	rid = add_by(&t.k[2], 2, 3, &t.id);
	run(&t);
	assert_false(has_reply(&t.k[2], rid));
	give_back(&t.k[1], 1, recalled(&t.k[1], 0), 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	assert_int_equal(t.k[1].down, 0);
	three_fini(&t);
}

static uint32_t open_session(
	struct rig_link *k, uint8_t what, uint8_t nonce, uint32_t session, uint16_t *status)
{
	struct wire_session_open m = {.what = what, .nonce = {nonce}, .session = session};
	struct frame *f = frame_new(WIRE_SESSION_OPEN, k->next++, 64);
	uint64_t id = f->id;
	struct wire_session s;

	wire_put_session_open(&f->b, &m);
	link_send(k->l, f);
	f = rig_wait(k, WIRE_SESSION, id, 5 * ENV_SEC);
	assert_non_null(f);
	assert_int_equal(wire_get_session(frame_cur(f), &s), 0);
	*status = s.status;
	return s.session;
}

/* Who does not answer is fenced when its time is over; not before, and not who answers. */
static void test_lease_of_who_does_not_answer_passes_on_with_the_map(void **state)
{
	uint64_t rid, began;
	uint16_t status;
	uint32_t silent;
	struct three t;

	(void)state;
	three_init(&t);
	silent = open_session(&t.k[1], WIRE_SESSION_NEW, 1, 0, &status);
	assert_int_equal(status, WIRE_OK);
	assert_int_equal(wish_for(&t.k[1], silent, 2, &t.id, SHARED, false), SHARED);
	began = sim_now(t.r.s);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	for (;;) {
		sim_run(t.r.s, 500 * ENV_MS);
		if (has_reply(&t.k[2], rid))
			break;
		assert_false(ring_fenced(node_ring(t.r.n[0].node), silent));
		open_session(&t.k[1], WIRE_SESSION_RENEW, 0, silent, &status);
		assert_int_equal(
			status, sim_now(t.r.s) - began < 2 * ENV_SEC ? WIRE_OK : WIRE_RETRY);
		assert_true(sim_now(t.r.s) - began < 15 * ENV_SEC);
	}
	assert_true(ring_fenced(node_ring(t.r.n[0].node), silent));
	assert_true(sim_now(t.r.s) - began > 8 * ENV_SEC);
	assert_int_equal(stats(&t).leases, 0);
	assert_true(stats(&t).run_out > 0);
	three_fini(&t);
}

/* A node that stood still has not listened: what was answered meanwhile is still to be read. */
static void test_lease_answer_that_came_while_the_node_stood_still(void **state)
{
	struct three t;
	uint64_t rid;

	(void)state;
	three_init(&t);
	for (unsigned i = 0; i < 8; i++) { /* what is read first then is a matter of chance */
		assert_int_equal(wish_for(&t.k[1], 1, 2 + i, &t.id, SHARED, false), SHARED);
		rid = add_by(&t.k[2], 2, 1 + i, &t.id);
		run(&t);
		sim_host_pause(t.r.n[0].host, 3 * ENV_SEC);
		give_back(&t.k[1], 1, recalled(&t.k[1], i), 0);
		sim_run(t.r.s, 3100 * ENV_MS);
		assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
		assert_int_equal(stats(&t).run_out, 0);
	}
	three_fini(&t);
}

/* Who says that it heard may take its time; once it falls silent its own runs out. */
static void test_lease_of_who_says_that_it_heard_is_waited_for(void **state)
{
	struct wire_lease_one asked;
	uint16_t status;
	uint32_t slow;
	uint64_t rid;
	struct three t;

	(void)state;
	three_init(&t);
	slow = open_session(&t.k[1], WIRE_SESSION_NEW, 1, 0, &status);
	assert_int_equal(wish_for(&t.k[1], slow, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	run(&t);
	asked = recalled(&t.k[1], 0);
	for (unsigned i = 0; i < 8; i++) {
		give_back(&t.k[1], slow, asked, i < 4 ? EXCLUSIVE : SHARED);
		sim_run(t.r.s, 1500 * ENV_MS);
		assert_false(has_reply(&t.k[2], rid));
		open_session(&t.k[1], WIRE_SESSION_RENEW, 0, slow, &status);
		assert_int_equal(status, WIRE_OK);
	}
	assert_int_equal(stats(&t).run_out, 0);
	assert_int_equal(stats(&t).heard, 8);
	/* a link that comes back has it asked anew */
	rig_hangup(&t.k[1]);
	sim_run(t.r.s, 1500 * ENV_MS);
	rig_connect(&t.r, &t.k[1], 0);
	get_by(&t.k[1], slow, &t.id);
	sim_run(t.r.s, 1800 * ENV_MS);
	assert_int_equal(stats(&t).run_out, 0);
	sim_run(t.r.s, ENV_SEC);
	assert_true(stats(&t).run_out > 0);
	give_back(&t.k[1], slow, asked, 0);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	three_fini(&t);
}

/* One that has ended without giving them back is not waited for: the keeper says so. */
static void test_lease_of_a_session_that_ended_goes_at_once(void **state)
{
	uint64_t rid, began;
	uint16_t status;
	uint32_t gone;
	struct three t;

	(void)state;
	three_init(&t);
	gone = open_session(&t.k[1], WIRE_SESSION_NEW, 1, 0, &status);
	assert_int_equal(wish_for(&t.k[1], gone, 2, &t.id, SHARED, false), SHARED);
	open_session(&t.k[1], WIRE_SESSION_END, 0, gone, &status);
	assert_int_equal(status, WIRE_OK);
	rig_hangup(&t.k[1]);
	run(&t);
	began = sim_now(t.r.s);
	rid = add_by(&t.k[2], 2, 1, &t.id);
	assert_int_equal(rig_status(&t.k[2], rid), WIRE_OK);
	assert_true(sim_now(t.r.s) - began < ENV_SEC);
	assert_true(ring_fenced(node_ring(t.r.n[0].node), gone));
	three_fini(&t);
}

/* Also if nobody met it before the keeper was asked for all sessions: what it had sent may still be
 * on its way to who does not know that it has ended. */
static void test_lease_of_a_session_that_ended_passes_on_with_the_map(void **state)
{
	uint16_t status;
	uint32_t gone;
	struct three t;

	(void)state;
	three_init(&t);
	gone = open_session(&t.k[1], WIRE_SESSION_NEW, 1, 0, &status);
	assert_int_equal(wish_for(&t.k[1], gone, 2, &t.id, EXCLUSIVE, false), EXCLUSIVE);
	open_session(&t.k[1], WIRE_SESSION_END, 0, gone, &status);
	assert_int_equal(status, WIRE_OK);
	rig_hangup(&t.k[1]);
	for (unsigned i = 0; i < 130 && stats(&t).leases; i++)
		sim_run(t.r.s, ENV_SEC);
	assert_int_equal(stats(&t).leases, 0);
	assert_true(ring_fenced(node_ring(t.r.n[0].node), gone));
	three_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lease_shared_is_granted_before_the_reply),
		cmocka_unit_test(test_lease_says_the_version_after_the_transaction),
		cmocka_unit_test(test_lease_is_recalled_before_a_change),
		cmocka_unit_test(test_lease_is_not_had_again_before_who_waits),
		cmocka_unit_test(test_lease_waiters_do_not_hold_up_the_loop),
		cmocka_unit_test(test_lease_exclusive_meets_reads),
		cmocka_unit_test(test_lease_does_not_meet_holds),
		cmocka_unit_test(test_lease_exclusive_is_waited_for_or_tried),
		cmocka_unit_test(
			test_lease_that_was_granted_anew_is_not_returned_by_an_older_answer),
		cmocka_unit_test(test_lease_of_what_is_followed),
		cmocka_unit_test(test_lease_is_recalled_before_a_vote),
		cmocka_unit_test(test_lease_is_not_granted_while_a_vote_reads),
		cmocka_unit_test(test_lease_is_recalled_when_the_link_comes),
		cmocka_unit_test(test_lease_limit),
		cmocka_unit_test(test_lease_is_returned_by_who_asks_for_too_much),
		cmocka_unit_test(test_lease_of_who_does_not_answer_passes_on_with_the_map),
		cmocka_unit_test(test_lease_answer_that_came_while_the_node_stood_still),
		cmocka_unit_test(test_lease_of_who_says_that_it_heard_is_waited_for),
		cmocka_unit_test(test_lease_of_a_session_that_ended_goes_at_once),
		cmocka_unit_test(test_lease_of_a_session_that_ended_passes_on_with_the_map),
	};

	return cmocka_run_group_tests_name("node_lease", tests, NULL, NULL);
}
