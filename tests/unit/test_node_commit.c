/* Cross-shard commit: votes, outcomes, locks, and what happens when nobody says how it ended. */
#include "tests/unit/node_rig.h"

/* Two nodes, an object on each, and a link to each. */
struct two {
	struct rig r;
	struct rig_link k[2];
	struct orbit_id id[2];
	uint16_t shard[2];
};

static void two_connect(struct two *w)
{
	for (unsigned i = 0; i < 2; i++)
		rig_connect(&w->r, &w->k[i], i);
}

static void two_init(struct two *w)
{
	rig_init(&w->r, 2);
	two_connect(w);
	for (unsigned i = 0; i < 2; i++) {
		w->id[i] = rig_id(&w->r, i, 0);
		w->shard[i] = rig_shard(&w->r, &w->id[i]);
		assert_int_equal(rig_create(&w->k[i], 9, 1, &w->id[i], 100), WIRE_OK);
	}
}

static void two_fini(struct two *w)
{
	for (unsigned i = 0; i < 2; i++)
		rig_hangup(&w->k[i]);
	rig_fini(&w->r);
}

static void two_crash(struct two *w, unsigned i, enum disk_crash how)
{
	rig_hangup(&w->k[i]);
	rig_crash(&w->r, i, how);
}

static void two_restart(struct two *w, unsigned i)
{
	rig_restart(&w->r, i);
	rig_connect(&w->r, &w->k[i], i);
}

static struct rig_head head_of(struct two *w, uint64_t number, uint64_t age)
{
	return (struct rig_head){.session = 1,
		.number = number,
		.age = age,
		.nparticipants = 2,
		.participants = {w->shard[0], w->shard[1]}};
}

/* Asks node @i to vote on slot 0 = @value, if slot 0 is 100, reading the object. */
static uint64_t send_prepare(
	struct two *w, unsigned i, uint64_t number, uint64_t age, uint64_t value)
{
	struct rig_head h = head_of(w, number, age);
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	txn_slot_eq(&t, &w->id[i], 0, 100);
	txn_get(&t, &w->id[i]);
	txn_set(&t, &w->id[i], 0, value);
	rid = rig_send_txn(&w->k[i], WIRE_PREPARE, &h, &t);
	txn_fini(&t);
	return rid;
}

static uint16_t prepare(struct two *w, unsigned i, uint64_t number, uint64_t value)
{
	return rig_status(&w->k[i], send_prepare(w, i, number, number, value));
}

static uint16_t decide(struct two *w, unsigned i, uint64_t number, bool commit)
{
	return rig_status(
		&w->k[i], rig_send_decide(&w->k[i], WIRE_DECIDE, 1, number, w->shard[i], commit));
}

static uint16_t resolve(struct two *w, unsigned i, uint64_t number)
{
	return rig_status(
		&w->k[i], rig_send_decide(&w->k[i], WIRE_RESOLVE, 1, number, w->shard[i], false));
}

static int64_t value(struct two *w, unsigned i)
{
	return rig_slot(&w->k[i], &w->id[i], 0);
}

/* How many records of a class the object's shard has. */
static unsigned count(struct two *w, unsigned i, uint8_t class)
{
	struct wire_list q = {.epoch = 1, .class = class, .shard = w->shard[i], .max = 100};
	struct frame *f = frame_new(WIRE_LIST, w->k[i].next++, 64);
	uint64_t id = f->id;
	struct wire_reply m;
	struct cur c;

	wire_put_list(&f->b, &q);
	link_send(w->k[i].l, f);
	m = rig_reply(&w->k[i], id);
	assert_int_equal(m.status, WIRE_OK);
	c = cur_of(m.results, m.results_len);
	cur_u8(&c);
	return cur_u32(&c);
}

static void test_node_commit_two_shards(void **state)
{
	struct txn_result res;
	struct wire_reply m;
	struct two w;

	(void)state;
	two_init(&w);
	m = rig_reply(&w.k[0], send_prepare(&w, 0, 1, 1, 7));
	assert_int_equal(m.status, WIRE_OK);
	/* the vote has the reads */
	assert_int_equal(txn_result_find(m.results, m.results_len, 1, &res), 0);
	assert_int_equal(res.present, 1);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 1);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	assert_int_equal(decide(&w, 1, 1, true), WIRE_OK);
	assert_int_equal(value(&w, 0), 7);
	assert_int_equal(value(&w, 1), 8);
	/* told again: the same */
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	assert_int_equal(value(&w, 0), 7);
	/* asked to vote again: the vote that was kept */
	m = rig_reply(&w.k[0], send_prepare(&w, 0, 1, 1, 7));
	assert_int_equal(m.status, WIRE_OK);
	assert_int_equal(txn_result_find(m.results, m.results_len, 1, &res), 0);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 1);
	rig_send_decide(&w.k[0], WIRE_FORGET, 1, 1, w.shard[0], false);
	sim_run(w.r.s, 3 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 0);
	two_fini(&w);
}

/* Copies of the question may be on their way still: the outcome stays until such are refused. */
static void test_node_keeps_the_outcome_for_strays(void **state)
{
	struct rig_head next = {.session = 1, .number = 2, .nabandoned = 1, .abandoned = {1}};
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	rig_send_decide(&w.k[0], WIRE_FORGET, 1, 1, w.shard[0], true);
	sim_run(w.r.s, 3 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 1);
	/* one comes: it is told what was, and does not vote anew */
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	assert_int_equal(
		rig_status(&w.k[0], rig_send_add(&w.k[0], &next, &w.id[0], 1, 1)), WIRE_OK);
	sim_run(w.r.s, 3 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 0);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_REFUSED);
	assert_int_equal(value(&w, 0), 7);
	two_fini(&w);
}

static void test_node_commit_aborts(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	assert_int_equal(value(&w, 0), 100);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	/* a late copy of the question is refused */
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_REFUSED);
	/* what never arrived here is refused after its abort, too, also after a restart */
	assert_int_equal(decide(&w, 1, 1, false), WIRE_OK);
	two_crash(&w, 1, DISK_PROCESS);
	two_restart(&w, 1);
	assert_int_equal(prepare(&w, 1, 1, 7), WIRE_REFUSED);
	/* a commit of what was aborted, or is unknown, is an error */
	assert_int_equal(decide(&w, 0, 1, true), WIRE_BAD_REQUEST);
	assert_int_equal(decide(&w, 0, 2, true), WIRE_BAD_REQUEST);
	two_fini(&w);
}

static void test_node_aborted_outcomes_go_below_the_floor(void **state)
{
	struct rig_head h = {.session = 1, .number = 10, .floor = 10};
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 1);
	sim_run(w.r.s, 3 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 1);
	assert_int_equal(rig_status(&w.k[0], rig_send_add(&w.k[0], &h, &w.id[0], 1, 1)), WIRE_OK);
	sim_run(w.r.s, 3 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 0);
	two_crash(&w, 0, DISK_PROCESS);
	two_restart(&w, 0);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_REFUSED);
	two_fini(&w);
}

static void test_node_votes_no_on_compare(void **state)
{
	struct wire_reply m;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	m = rig_reply(&w.k[0], send_prepare(&w, 0, 2, 2, 8));
	assert_int_equal(m.status, WIRE_COMPARE);
	assert_int_equal(m.failed, 0);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	assert_int_equal(value(&w, 0), 7);
	two_fini(&w);
}

/* A vote is on disk before it is given; an outcome before its OK. */
static void test_node_votes_and_outcomes_survive_power_loss(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	two_crash(&w, 0, DISK_LOSE);
	two_restart(&w, 0);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 1);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	two_crash(&w, 0, DISK_LOSE);
	two_restart(&w, 0);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	assert_int_equal(value(&w, 0), 7);
	two_fini(&w);
}

/* ---- in doubt ---- */

static void test_node_resolves_to_commit_when_all_voted(void **state)
{
	struct node_stats s;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(value(&w, 0), 7);
	assert_int_equal(value(&w, 1), 8);
	node_stats(w.r.n[0].node, &s);
	assert_int_equal(s.resolved, 1);
	/* the client comes back and wants to abort: too late, and it is told */
	assert_int_equal(decide(&w, 0, 1, false), WIRE_COMMITTED);
	assert_int_equal(decide(&w, 1, 1, true), WIRE_OK);
	two_fini(&w);
}

static void test_node_resolves_to_abort_when_one_never_voted(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(value(&w, 0), 100);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	/* the late vote is refused */
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_REFUSED);
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	two_fini(&w);
}

static void test_node_resolves_after_restart(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	assert_int_equal(prepare(&w, 0, 2, 7), WIRE_RETRY);
	two_crash(&w, 0, DISK_PROCESS);
	two_crash(&w, 1, DISK_LOSE);
	sim_run(w.r.s, 10 * ENV_SEC);
	two_restart(&w, 0);
	/* the other is not there yet: it waits, and asks again */
	sim_run(w.r.s, 20 * ENV_SEC);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 1);
	two_restart(&w, 1);
	sim_run(w.r.s, 30 * ENV_SEC);
	assert_int_equal(value(&w, 0), 7);
	assert_int_equal(value(&w, 1), 8);
	two_fini(&w);
}

static void test_node_resolves_to_abort_after_restart(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	two_crash(&w, 0, DISK_PROCESS);
	two_restart(&w, 0);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(value(&w, 0), 100);
	assert_int_equal(count(&w, 0, KEY_PREPARED), 0);
	two_fini(&w);
}

/* One was told to commit, the other was not. */
static void test_node_resolves_to_what_the_other_was_told(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(value(&w, 1), 8);
	assert_int_equal(prepare(&w, 0, 2, 9), WIRE_COMPARE);
	two_fini(&w);
}

/* Having said PREPARED to another participant, a node does not abort on the client's word alone:
 * the other may have committed by now. */
static void test_node_keeps_its_promise(void **state)
{
	uint64_t rid;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	assert_int_equal(resolve(&w, 0, 1), WIRE_PREPARED);
	rid = rig_send_decide(&w.k[0], WIRE_DECIDE, 1, 1, w.shard[0], false);
	assert_int_equal(rig_status(&w.k[0], rid), WIRE_COMMITTED);
	sim_run(w.r.s, 10 * ENV_SEC);
	assert_int_equal(value(&w, 0), 7);
	assert_int_equal(value(&w, 1), 8);
	two_fini(&w);
}

/* The same, but the other was aborted by the client first: then all abort. */
static void test_node_abort_of_a_promised_one_asks_the_others(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	assert_int_equal(resolve(&w, 0, 1), WIRE_PREPARED);
	assert_int_equal(decide(&w, 1, 1, false), WIRE_OK);
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	assert_int_equal(value(&w, 0), 100);
	assert_int_equal(value(&w, 1), 100);
	two_fini(&w);
}

static void test_node_resolve_answers(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(resolve(&w, 0, 1), WIRE_UNKNOWN);
	/* now it never will vote, and not after a power cut either */
	two_crash(&w, 0, DISK_LOSE);
	two_restart(&w, 0);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_REFUSED);
	assert_int_equal(prepare(&w, 0, 2, 7), WIRE_OK);
	assert_int_equal(resolve(&w, 0, 2), WIRE_PREPARED);
	assert_int_equal(decide(&w, 0, 2, true), WIRE_OK);
	assert_int_equal(resolve(&w, 0, 2), WIRE_COMMITTED);
	two_fini(&w);
}

/* Asked before the vote was: that is refused, or the abort that waits has to give way. */
static void test_node_votes_while_an_abort_waits_for_the_store(void **state)
{
	unsigned yes = 0, refused = 0;
	struct two w;

	(void)state;
	two_init(&w);
	for (uint64_t n = 1; n <= 200; n++) {
		uint64_t asked, vote;
		uint16_t status;

		index_mem_faults(w.r.n[0].index)->stall = 700;
		asked = rig_send_decide(&w.k[0], WIRE_RESOLVE, 1, n, w.shard[0], false);
		vote = send_prepare(&w, 0, n, n, 100);
		status = rig_status(&w.k[0], vote);
		rig_status(&w.k[0], asked);
		index_mem_faults(w.r.n[0].index)->stall = 0;
		sim_run(w.r.s, 100 * ENV_MS);
		yes += status == WIRE_OK;
		refused += status == WIRE_REFUSED;
		assert_int_equal(
			resolve(&w, 0, n), status == WIRE_OK ? WIRE_PREPARED : WIRE_UNKNOWN);
		assert_int_equal(decide(&w, 0, n, status == WIRE_OK), WIRE_OK);
	}
	assert_int_equal(yes + refused, 200);
	assert_true(yes > 10 && refused > 10);
	two_fini(&w);
}

/* ---- locks ---- */

static void test_node_reads_of_a_locked_thing_wait(void **state)
{
	uint64_t get, other;
	struct txn_build t;
	struct rig_head h = {.session = 2, .number = 1};
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	get = rig_send_get(&w.k[0], &w.id[0]);
	/* an entry of the map is not locked */
	txn_init(&t);
	txn_get_map(&t, &w.id[0], "a", 1);
	other = rig_send_txn(&w.k[0], WIRE_TXN, &h, &t);
	txn_fini(&t);
	assert_int_equal(rig_status(&w.k[0], other), WIRE_OK);
	sim_run(w.r.s, ENV_SEC);
	assert_null(rig_got(&w.k[0], WIRE_REPLY, get));
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	assert_int_equal(rig_got_slot(&w.k[0], get, 0), 7);
	two_fini(&w);
}

static void test_node_writes_to_a_locked_thing_wait(void **state)
{
	struct rig_head h = {.session = 2, .number = 1};
	uint64_t add;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	add = rig_send_add(&w.k[0], &h, &w.id[0], 0, 1);
	sim_run(w.r.s, ENV_SEC);
	assert_null(rig_got(&w.k[0], WIRE_REPLY, add));
	assert_int_equal(decide(&w, 0, 1, false), WIRE_OK);
	assert_int_equal(rig_status(&w.k[0], add), WIRE_OK);
	assert_int_equal(value(&w, 0), 101);
	two_fini(&w);
}

/* Also an object that is met by following an entry. */
static void test_node_follow_of_a_locked_object_waits(void **state)
{
	struct rig_head h = {.session = 2, .number = 1};
	struct txn_build t;
	struct txn_result res;
	struct wire_reply m;
	struct orbit_id dir;
	uint8_t name[24] = {77};
	uint64_t follow;
	struct two w;

	(void)state;
	two_init(&w);
	dir = orbit_id_make(orbit_id_position(&w.id[0]), name);
	assert_int_equal(rig_create(&w.k[0], 9, 2, &dir, 0), WIRE_OK);
	txn_init(&t);
	txn_put(&t, &dir, "e", 1, w.id[0].b, 8);
	assert_int_equal(rig_status(&w.k[0], rig_send_txn(&w.k[0], WIRE_TXN, &h, &t)), WIRE_OK);
	txn_fini(&t);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	txn_init(&t);
	txn_follow(&t, &dir, "e", 1, w.id[0].b + 8);
	h.number = 2;
	follow = rig_send_txn(&w.k[0], WIRE_TXN, &h, &t);
	txn_fini(&t);
	sim_run(w.r.s, ENV_SEC);
	assert_null(rig_got(&w.k[0], WIRE_REPLY, follow));
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	m = rig_reply(&w.k[0], follow);
	assert_int_equal(txn_result_find(m.results, m.results_len, 0, &res), 0);
	assert_int_equal(res.present, 2);
	two_fini(&w);
}

/* The older waits, the younger votes no. */
static void test_node_locks_go_by_age(void **state)
{
	uint64_t older;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(rig_status(&w.k[0], send_prepare(&w, 0, 5, 1000, 7)), WIRE_OK);
	assert_int_equal(rig_status(&w.k[0], send_prepare(&w, 0, 6, 2000, 8)), WIRE_RETRY);
	older = send_prepare(&w, 0, 7, 500, 9);
	sim_run(w.r.s, ENV_SEC);
	assert_null(rig_got(&w.k[0], WIRE_REPLY, older));
	assert_int_equal(decide(&w, 0, 5, false), WIRE_OK);
	assert_int_equal(rig_status(&w.k[0], older), WIRE_OK);
	two_fini(&w);
}

/* A vote that waits for a lock can be aborted. */
static void test_node_aborts_a_vote_that_waits(void **state)
{
	uint64_t older;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(rig_status(&w.k[0], send_prepare(&w, 0, 5, 1000, 7)), WIRE_OK);
	older = send_prepare(&w, 0, 7, 500, 9);
	sim_run(w.r.s, 10 * ENV_MS);
	assert_int_equal(decide(&w, 0, 7, false), WIRE_OK);
	assert_int_equal(rig_status(&w.k[0], older), WIRE_REFUSED);
	assert_int_equal(decide(&w, 0, 5, true), WIRE_OK);
	assert_int_equal(value(&w, 0), 7);
	two_fini(&w);
}

static uint16_t prepare_add(struct two *w, uint64_t number, bool max, uint64_t by)
{
	struct rig_head h = head_of(w, number, number);
	struct txn_build t;
	uint64_t rid;

	txn_init(&t);
	if (max)
		txn_max(&t, &w->id[0], 1, by);
	else
		txn_add(&t, &w->id[0], 0, (int64_t)by);
	rid = rig_send_txn(&w->k[0], WIRE_PREPARE, &h, &t);
	txn_fini(&t);
	return rig_status(&w->k[0], rid);
}

static void test_node_adds_and_maxes_commute(void **state)
{
	struct rig_head h = {.session = 2, .number = 1};
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare_add(&w, 1, false, 1), WIRE_OK);
	assert_int_equal(prepare_add(&w, 2, false, 2), WIRE_OK);
	assert_int_equal(prepare_add(&w, 3, true, 50), WIRE_OK);
	assert_int_equal(prepare_add(&w, 4, true, 40), WIRE_OK);
	/* a transaction of one shard goes along with them */
	assert_int_equal(rig_status(&w.k[0], rig_send_add(&w.k[0], &h, &w.id[0], 0, 4)), WIRE_OK);
	/* but nothing else does */
	assert_int_equal(prepare(&w, 0, 5, 7), WIRE_RETRY);
	for (unsigned i = 4; i >= 1; i--)
		assert_int_equal(decide(&w, 0, i, true), WIRE_OK);
	assert_int_equal(value(&w, 0), 107);
	assert_int_equal(rig_slot(&w.k[0], &w.id[0], 1), 50);
	two_fini(&w);
}

/* Each of two ADDs fits, but not both: what was voted for is carried out all the same. */
static void test_node_adds_that_do_not_fit_together_commit(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare_add(&w, 1, false, (uint64_t)-60), WIRE_OK);
	assert_int_equal(prepare_add(&w, 2, false, (uint64_t)-60), WIRE_OK);
	assert_int_equal(prepare_add(&w, 3, false, (uint64_t)-101), WIRE_OVERFLOW);
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	assert_int_equal(decide(&w, 0, 2, true), WIRE_OK);
	assert_int_equal(value(&w, 0), 0); /* and nothing is locked any more */
	two_fini(&w);
}

/* Outcomes that may go do so as fast as they come. */
static void test_node_forgets_many_outcomes(void **state)
{
	struct two w;

	(void)state;
	two_init(&w);
	for (unsigned i = 1; i <= 1000; i++)
		rig_send_decide(&w.k[0], WIRE_DECIDE, 1, i, w.shard[0], false);
	sim_run(w.r.s, ENV_SEC / 2);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 100); /* as many as were asked for */
	for (unsigned i = 1; i <= 1000; i++)
		rig_send_decide(&w.k[0], WIRE_FORGET, 1, i, w.shard[0], false);
	sim_run(w.r.s, 3 * ENV_SEC / 2);
	assert_int_equal(count(&w, 0, KEY_OUTCOME), 0);
	two_fini(&w);
}

/* Locks are there again after a restart. */
static void test_node_locks_survive_a_restart(void **state)
{
	uint64_t get;
	struct two w;

	(void)state;
	two_init(&w);
	assert_int_equal(prepare(&w, 0, 1, 7), WIRE_OK);
	assert_int_equal(prepare(&w, 1, 1, 8), WIRE_OK);
	two_crash(&w, 1, DISK_PROCESS);
	two_crash(&w, 0, DISK_PROCESS);
	two_restart(&w, 0);
	get = rig_send_get(&w.k[0], &w.id[0]);
	sim_run(w.r.s, ENV_SEC);
	assert_null(rig_got(&w.k[0], WIRE_REPLY, get));
	assert_int_equal(decide(&w, 0, 1, true), WIRE_OK);
	assert_int_equal(rig_got_slot(&w.k[0], get, 0), 7);
	two_restart(&w, 1);
	two_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_commit_two_shards),
		cmocka_unit_test(test_node_commit_aborts),
		cmocka_unit_test(test_node_aborted_outcomes_go_below_the_floor),
		cmocka_unit_test(test_node_votes_no_on_compare),
		cmocka_unit_test(test_node_votes_and_outcomes_survive_power_loss),
		cmocka_unit_test(test_node_resolves_to_commit_when_all_voted),
		cmocka_unit_test(test_node_resolves_to_abort_when_one_never_voted),
		cmocka_unit_test(test_node_resolves_after_restart),
		cmocka_unit_test(test_node_resolves_to_abort_after_restart),
		cmocka_unit_test(test_node_resolves_to_what_the_other_was_told),
		cmocka_unit_test(test_node_keeps_its_promise),
		cmocka_unit_test(test_node_abort_of_a_promised_one_asks_the_others),
		cmocka_unit_test(test_node_resolve_answers),
		cmocka_unit_test(test_node_votes_while_an_abort_waits_for_the_store),
		cmocka_unit_test(test_node_reads_of_a_locked_thing_wait),
		cmocka_unit_test(test_node_writes_to_a_locked_thing_wait),
		cmocka_unit_test(test_node_follow_of_a_locked_object_waits),
		cmocka_unit_test(test_node_locks_go_by_age),
		cmocka_unit_test(test_node_aborts_a_vote_that_waits),
		cmocka_unit_test(test_node_adds_and_maxes_commute),
		cmocka_unit_test(test_node_adds_that_do_not_fit_together_commit),
		cmocka_unit_test(test_node_forgets_many_outcomes),
		cmocka_unit_test(test_node_keeps_the_outcome_for_strays),
		cmocka_unit_test(test_node_locks_survive_a_restart),
	};

	return cmocka_run_group_tests_name("node_commit", tests, NULL, NULL);
}
