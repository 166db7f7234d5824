/*
 * Three copies of everything: what survives when another one leads.
 */
#include "dht/wire/wire_repl.h"
#include "tests/unit/repl_rig.h"

static void test_repl_failover_keeps_what_was_acknowledged_and_its_replies(void **state)
{
	struct trio t;
	uint64_t last;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	last = t.number - 1;
	crash(&t, 0, DISK_PROCESS);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	/* resent: it is not done twice */
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, last)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 10);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 11);
	assert_level(&t, 1, 2);
	trio_fini(&t);
}

static void test_repl_requests_sent_under_an_older_map_are_not_taken(void **state)
{
	struct rig_head h = {.session = 1, .number = 2};
	struct txn_build b;
	struct trio t;
	struct frame *f;
	struct wire_txn m = {.session = 1, .number = 2};
	uint64_t id;

	(void)state;
	(void)h;
	trio_init(&t);
	m.epoch = t.r.map->epoch;
	MEMBERS(&t, 1, 0, 2);
	give_all(&t);
	f = frame_new(WIRE_TXN, id = t.k[1].next++, 256);
	wire_put_txn_head(&f->b, &m);
	txn_init(&b);
	txn_add(&b, &t.id, 0, 1);
	assert_int_equal(txn_encode(&b, &f->b, NULL, NULL), 0);
	txn_fini(&b);
	link_send(t.k[1].l, f);
	assert_int_equal(rig_status(&t.k[1], id), WIRE_WRONG_NODE);
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, 2)), WIRE_OK);
	trio_fini(&t);
}

/* The answer of node 0 to a transaction that does not hold, sent under that map. */
static uint16_t send_refused(struct trio *t, uint64_t epoch, uint64_t number)
{
	struct wire_txn m = {.session = 1, .number = number, .epoch = epoch};
	struct frame *f = frame_new(WIRE_TXN, t->k[0].next++, 256);
	uint64_t id = f->id;
	struct txn_build b;

	wire_put_txn_head(&f->b, &m);
	txn_init(&b);
	txn_absent(&b, &t->id);
	txn_add(&b, &t->id, 0, 1);
	assert_int_equal(txn_encode(&b, &f->b, NULL, NULL), 0);
	txn_fini(&b);
	link_send(t->k[0].l, f);
	return rig_status(&t->k[0], id);
}

static void test_repl_who_leads_again_in_the_same_term_has_forgotten(void **state)
{
	struct trio t;
	uint64_t epoch, number;

	(void)state;
	trio_init(&t);
	epoch = t.r.map->epoch;
	number = t.number++;
	assert_int_equal(send_refused(&t, epoch, number), WIRE_COMPARE);
	/* it was out of the map, and nobody else led meanwhile */
	for (unsigned i = 0; i < 2; i++) {
		struct ring_map *m = ring_draft(t.r.map);

		m->nodes[0].up = i == 1;
		ring_unref(t.r.map);
		t.r.map = m;
		give_all(&t);
	}
	assert_int_equal(send_refused(&t, epoch, number), WIRE_WRONG_NODE);
	assert_int_equal(add(&t, 0), WIRE_OK);
	trio_fini(&t);
}

static void test_repl_a_backup_that_is_busy_stays_level(void **state)
{
	struct trio t;

	(void)state;
	trio_init(&t);
	t.r.n[2].node->held += 100 * t.r.cfg.queue_max;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(add(&t, 0), WIRE_OK);
		sim_run(t.r.s, 100 * ENV_MS);
	}
	assert_int_equal(copy_of(&t, 2)->peer->state, PEER_UP);
	t.r.n[2].node->held -= 100 * t.r.cfg.queue_max;
	trio_fini(&t);
}

static void test_repl_a_lease_follows_its_node_to_a_new_id(void **state)
{
	struct ring_map *m;
	struct trio t;
	uint64_t began;

	(void)state;
	trio_init(&t);
	sim_run(t.r.s, 2 * ENV_SEC);
	crash(&t, 0, DISK_PROCESS);
	began = sim_now(t.r.s);
	m = ring_draft(t.r.map);
	m->nodes[0].id.b[0]++; /* its place among the others stays */
	ring_unref(t.r.map);
	t.r.map = m;
	give_all(&t);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	assert_int_equal(add(&t, 1), WIRE_OK);
	assert_true(sim_now(t.r.s) - began > 200 * ENV_MS);
	trio_fini(&t);
}

static void test_repl_members_with_different_tails_are_levelled(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	for (uint16_t next = 1; next <= 2; next++) {
		trio_init(&t);
		assert_int_equal(add(&t, 0), WIRE_OK);
		sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
		for (unsigned i = 0; i < 5; i++)
			rid = send_add(&t, 0, t.number++);
		sim_run(t.r.s, 50 * ENV_MS);
		assert_false(answered(&t, 0, rid));
		assert_int_equal(past(&t, 1).seq, past(&t, 0).seq);
		assert_int_equal(past(&t, 2).seq, past(&t, 0).seq - 5);
		crash(&t, 0, DISK_PROCESS);
		/* once the one that lacks some leads, once the other */
		MEMBERS(&t, next, (uint16_t)(3 - next));
		give_all(&t);
		assert_int_equal(rig_slot(&t.k[next], &t.id, 0), 6);
		assert_level(&t, 1, 2);
		assert_int_equal(rig_status(&t.k[next], send_add(&t, next, t.number - 1)), WIRE_OK);
		assert_int_equal(rig_slot(&t.k[next], &t.id, 0), 6);
		trio_fini(&t);
	}
}

static void test_repl_what_was_fetched_to_lead_is_void_in_another_term(void **state)
{
	struct node *n;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	/* one that only node 2 gets */
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[1].host, true);
	send_add(&t, 0, t.number++);
	sim_run(t.r.s, 5 * ENV_MS);
	assert_int_equal(past(&t, 2).seq, past(&t, 1).seq + 1);
	crash(&t, 0, DISK_LOSE);
	sim_slow(t.r.s, t.r.n[1].host, t.r.n[2].host, 400 * ENV_MS);
	MEMBERS(&t, 1, 2);
	give(&t, 2);
	give(&t, 1);
	/* node 1 fetches it, and has it when it leads no more */
	n = t.r.n[1].node;
	for (unsigned i = 0; i < 5000 && TAILQ_EMPTY(&n->pulls); i++)
		sim_run(t.r.s, ENV_MS);
	assert_false(TAILQ_EMPTY(&n->pulls));
	sim_run(t.r.s, 5 * ENV_MS);
	sim_heal(t.r.s, t.r.n[0].host, t.r.n[1].host);
	restart(&t, 0);
	MEMBERS(&t, 0, 1);
	give(&t, 1);
	give(&t, 0);
	assert_int_equal(add(&t, 0), WIRE_OK);
	assert_level(&t, 0, 1);
	trio_fini(&t);
}

static void test_repl_a_primary_that_moves_loses_nothing(void **state)
{
	uint64_t acked = 0;
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned round = 0; round < 12; round++) {
		uint16_t from = round % 3, to = (round + 1) % 3, third = (round + 2) % 3;
		uint64_t rid[6], first = t.number;

		for (unsigned i = 0; i < 6; i++) {
			rid[i] = send_add(&t, from, t.number++);
			sim_run(t.r.s, sim_below(t.r.s, ENV_MS));
		}
		MEMBERS(&t, to, third, from);
		/* they learn of it one after the other */
		for (unsigned i = 0; i < 3; i++) {
			give(&t, (round / 3 + i) % 3);
			sim_run(t.r.s, sim_below(t.r.s, 3 * ENV_MS));
		}
		for (unsigned i = 0; i < 6; i++) {
			uint16_t status = rig_status(&t.k[from], rid[i]);

			if (status != WIRE_OK)
				assert_int_equal(status, WIRE_WRONG_NODE);
			/* until it has the map, too */
			do
				status = rig_status(&t.k[to], send_add(&t, to, first + i));
			while (status == WIRE_WRONG_NODE);
			assert_int_equal(status, WIRE_OK);
			acked++;
		}
		assert_int_equal(rig_slot(&t.k[to], &t.id, 0), acked);
	}
	assert_level(&t, 0, 1);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

static void test_repl_a_restarted_backup_is_compared_before_it_counts(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	/* nothing was synced */
	crash(&t, 1, DISK_LOSE);
	restart(&t, 1);
	assert_true(past(&t, 1).seq < past(&t, 0).seq);
	/* as long as the map does not know that start of it, its word counts for nothing */
	rid = send_add(&t, 0, t.number++);
	sim_run(t.r.s, ENV_SEC);
	assert_false(answered(&t, 0, rid));
	MEMBERS(&t, 0, 1, 2);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_level(&t, 0, 1);
	assert_int_equal(rig_slot(&t.k[0], &t.id, 0), 21);
	trio_fini(&t);
}

static void test_repl_suspects_are_waited_for(void **state)
{
	struct shard *s;
	struct trio t;
	uint64_t began;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_LOSE);
	restart(&t, 1);
	MEMBERS(&t, 1, 0);
	for (unsigned i = 0; i < ring_nshards(t.r.map); i++)
		t.r.map->shards[i].suspect = 3;
	began = sim_now(t.r.s);
	give(&t, 1);
	s = node_shard(t.r.n[1].node, rig_shard(&t.r, &t.id));
	/* node 0 may have what was acknowledged; in the end this copy has to do */
	while (!s->vouching && sim_now(t.r.s) - began < 2 * t.r.cfg.recovery_wait)
		sim_run(t.r.s, 10 * ENV_MS);
	assert_true(s->vouching);
	assert_int_equal(s->role, ROLE_TAKING_OVER);
	assert_true(sim_now(t.r.s) - began >= t.r.cfg.recovery_wait);
	trio_fini(&t);
}

static void test_repl_all_killed_and_started_again_go_on(void **state)
{
	struct trio t;

	(void)state;
	trio_init(&t);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	for (unsigned i = 0; i < NODES; i++)
		crash(&t, i, DISK_PROCESS);
	for (unsigned i = 0; i < NODES; i++)
		restart(&t, i);
	MEMBERS(&t, 2, 1, 0);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[2], send_add(&t, 2, t.number - 1)), WIRE_OK);
	assert_int_equal(rig_slot(&t.k[2], &t.id, 0), 20);
	assert_int_equal(add(&t, 2), WIRE_OK);
	assert_level(&t, 2, 0);
	assert_level(&t, 2, 1);
	trio_fini(&t);
}

static void test_repl_a_suspect_is_vouched_for_when_it_has_all(void **state)
{
	unsigned shard;
	struct trio t;

	(void)state;
	trio_init(&t);
	shard = rig_shard(&t.r, &t.id);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	crash(&t, 2, DISK_LOSE);
	restart(&t, 2);
	sim_slow(t.r.s, t.r.n[0].host, t.r.n[2].host, 300 * ENV_MS);
	MEMBERS(&t, 0, 1, 2);
	for (unsigned i = 0; i < ring_nshards(t.r.map); i++)
		t.r.map->shards[i].suspect = 4;
	for (unsigned i = 3; i--;)
		give(&t, i);
	assert_true(past(&t, 2).seq < past(&t, 0).seq);
	for (unsigned i = 0; i < 5000 && !copy_of(&t, 2)->vouching; i++)
		sim_run(t.r.s, ENV_MS);
	assert_true(copy_of(&t, 2)->vouching);
	assert_int_equal(t.r.map->shards[shard].suspect, 4);
	assert_level(&t, 0, 2);
	trio_fini(&t);
}

/* What it shows could else be gone when the other one leads. */
static void test_repl_nobody_serves_before_all_members_have_all(void **state)
{
	struct trio t;
	uint64_t rid;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_cut(t.r.s, t.r.n[0].host, t.r.n[2].host, true);
	for (unsigned i = 0; i < 5; i++)
		send_add(&t, 0, t.number++);
	sim_run(t.r.s, 50 * ENV_MS);
	assert_int_equal(past(&t, 2).seq, past(&t, 1).seq - 5);
	crash(&t, 0, DISK_PROCESS);
	MEMBERS(&t, 1, 2);
	assert_int_equal(keep_adopt(t.r.n[2].node, t.r.map), 0);
	/* it is well, but cannot take anything */
	node_shard(t.r.n[2].node, rig_shard(&t.r, &t.id))->held = true;
	give(&t, 1);
	rid = rig_send_get(&t.k[1], &t.id);
	sim_run(t.r.s, 3 * ENV_SEC);
	assert_int_equal(past(&t, 2).seq, past(&t, 1).seq - 5);
	assert_false(answered(&t, 1, rid));
	crash(&t, 2, DISK_PROCESS);
	restart(&t, 2);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 6);
	assert_level(&t, 1, 2);
	trio_fini(&t);
}

/* Who has told what it has in a term must not have more of what was before. */
static void test_repl_members_take_no_effects_of_an_older_term(void **state)
{
	struct rig_head h = {.session = 1, .older = 1};
	struct trio t;
	uint64_t rid, seq;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	seq = past(&t, 0).seq;
	/* node 0 does not hear of it */
	sim_cut(t.r.s, t.r.n[1].host, t.r.n[2].host, true);
	sim_cut_oneway(t.r.s, t.r.n[1].host, t.r.n[0].host);
	MEMBERS(&t, 0, 1, 2);
	give(&t, 1);
	h.number = t.number++;
	rid = rig_send_add(&t.k[0], &h, &t.id, 0, 1);
	sim_run(t.r.s, 100 * ENV_MS);
	assert_int_equal(past(&t, 0).seq, seq + 1);
	assert_int_equal(past(&t, 1).seq, seq);
	sim_heal_all(t.r.s);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[0], rid), WIRE_OK);
	assert_level(&t, 0, 1);
	trio_fini(&t);
}

/* A late copy must not be executed by whoever leads next. */
static void test_repl_failover_keeps_floors_and_abandoned_numbers(void **state)
{
	struct rig_head h = {
		.session = 1, .number = 60, .floor = 40, .nabandoned = 1, .abandoned = {50}};
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(rig_status(&t.k[0], rig_send_add(&t.k[0], &h, &t.id, 0, 1)), WIRE_OK);
	crash(&t, 0, DISK_PROCESS);
	MEMBERS(&t, 1, 2);
	give_all(&t);
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, 50)), WIRE_REFUSED);
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, 39)), WIRE_REFUSED);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 1);
	assert_int_equal(rig_status(&t.k[1], send_add(&t, 1, 51)), WIRE_OK);
	trio_fini(&t);
}

/* ---- what members tell ---- */

static void spoof_up(struct link *l, void *arg)
{
	struct rig_link *k = arg;
	const struct ring_map *m = k->r->map;
	struct wire_hello h = {.version = WIRE_VERSION,
		.version_min = WIRE_VERSION_MIN,
		.role = WIRE_ROLE_NODE,
		.node = m->nodes[0].id,
		.incarnation = m->nodes[0].incarnation,
		.epoch = m->epoch};
	struct frame *f = frame_new(WIRE_HELLO, 1, 96);

	wire_put_hello(&f->b, &h);
	k->up = true;
	link_send(l, f);
}

/* What node 1 answers when the primary asks for its history, in that term of the shard. */
static uint16_t recover(struct trio *t, struct rig_link *k, uint64_t term, struct history *out)
{
	const struct wire_recover_one one = {.shard = rig_shard(&t->r, &t->id), .shard_term = term};
	struct frame *f = frame_new(WIRE_RECOVER, k->next++, 64);
	uint64_t id = f->id;
	struct wire_reply m;
	uint16_t status;
	struct cur c;

	wire_put_recover_head(&f->b, t->r.map->epoch, 1);
	wire_put_recover_one(&f->b, &one);
	link_send(k->l, f);
	m = rig_reply(k, id);
	assert_int_equal(m.status, WIRE_OK);
	c = cur_of(m.results, m.results_len);
	status = cur_u16(&c);
	if (!status) {
		assert_int_equal(history_decode(&c, out), 0);
		free((void *)out->terms);
	}
	assert_true(cur_done(&c));
	return status;
}

/* From its answer on it refuses what is of earlier terms: so only if it has that very term. */
static void test_repl_a_member_tells_what_it_has_in_its_term_only(void **state)
{
	static const struct link_events events = {spoof_up, rig_on_message, rig_on_down};
	struct rig_link k = {.to = 1, .next = 10};
	struct history told = {0};
	struct trio t;
	uint64_t term;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	k.r = &t.r;
	assert_int_equal(env_connect(sim_env(t.r.client), t.r.n[1].addr, &events, &k, &k.l), 0);
	sim_run(t.r.s, 20 * ENV_MS);
	assert_true(k.up);
	term = t.r.map->shards[rig_shard(&t.r, &t.id)].term;
	assert_int_equal(recover(&t, &k, term, &told), WIRE_OK);
	assert_int_equal(told.seq, past(&t, 0).seq);
	assert_int_equal(recover(&t, &k, term - 1, &told), WIRE_STALE);
	/* it could still take effects of who leads by its own map */
	assert_int_equal(recover(&t, &k, term + 1, &told), WIRE_RETRY);
	rig_hangup(&k);
	trio_fini(&t);
}

/* Another one led, and what it did the members have since they told. */
static void test_repl_what_was_told_in_an_older_term_does_not_count(void **state)
{
	struct shard *s;
	struct trio t;

	(void)state;
	trio_init(&t);
	assert_int_equal(add(&t, 0), WIRE_OK);
	sim_run(t.r.s, 2 * ENV_SEC);
	/* node 2's answer is on its way, and node 1 stands still before it comes */
	sim_slow(t.r.s, t.r.n[2].host, t.r.n[1].host, ENV_SEC);
	MEMBERS(&t, 1, 2);
	give(&t, 2);
	give(&t, 1);
	s = node_shard(t.r.n[1].node, rig_shard(&t.r, &t.id));
	assert_true(s->repl && s->repl->copy[0]->asked);
	sim_host_pause(t.r.n[1].host, 4 * ENV_SEC);
	MEMBERS(&t, 0, 2);
	give(&t, 2);
	give(&t, 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(add(&t, 0), WIRE_OK);
	assert_true(past(&t, 1).seq < past(&t, 2).seq);
	crash(&t, 0, DISK_LOSE);
	sim_heal_all(t.r.s);
	MEMBERS(&t, 1, 2);
	give(&t, 2);
	give(&t, 1);
	assert_int_equal(s->role, ROLE_TAKING_OVER);
	sim_run(t.r.s, 4 * ENV_SEC);
	assert_int_equal(rig_slot(&t.k[1], &t.id, 0), 6);
	assert_level(&t, 1, 2);
	trio_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_repl_failover_keeps_what_was_acknowledged_and_its_replies),
		cmocka_unit_test(test_repl_requests_sent_under_an_older_map_are_not_taken),
		cmocka_unit_test(test_repl_who_leads_again_in_the_same_term_has_forgotten),
		cmocka_unit_test(test_repl_a_backup_that_is_busy_stays_level),
		cmocka_unit_test(test_repl_a_lease_follows_its_node_to_a_new_id),
		cmocka_unit_test(test_repl_members_with_different_tails_are_levelled),
		cmocka_unit_test(test_repl_what_was_fetched_to_lead_is_void_in_another_term),
		cmocka_unit_test(test_repl_a_primary_that_moves_loses_nothing),
		cmocka_unit_test(test_repl_a_restarted_backup_is_compared_before_it_counts),
		cmocka_unit_test(test_repl_suspects_are_waited_for),
		cmocka_unit_test(test_repl_all_killed_and_started_again_go_on),
		cmocka_unit_test(test_repl_a_suspect_is_vouched_for_when_it_has_all),
		cmocka_unit_test(test_repl_nobody_serves_before_all_members_have_all),
		cmocka_unit_test(test_repl_members_take_no_effects_of_an_older_term),
		cmocka_unit_test(test_repl_failover_keeps_floors_and_abandoned_numbers),
		cmocka_unit_test(test_repl_a_member_tells_what_it_has_in_its_term_only),
		cmocka_unit_test(test_repl_what_was_told_in_an_older_term_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
