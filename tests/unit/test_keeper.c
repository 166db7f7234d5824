/* The keeper: who leads, what is never forgotten, how the map changes. */
#include "tests/unit/keeper_rig.h"

static uint16_t check(struct world *w, uint32_t session)
{
	return world_session(w, WIRE_SESSION_CHECK, 0, session).status;
}

static uint32_t open_session(struct world *w, uint64_t nonce)
{
	struct wire_session s = world_session(w, WIRE_SESSION_NEW, nonce, 0);

	assert_int_equal(s.status, WIRE_OK);
	return s.session;
}

static void boot_all(struct world *w, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		world_boot(w, i);
	world_await_leader(w);
}

/* ---- alone ---- */

static void test_keeper_numbers_sessions(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(open_session(&w, 2), 2);
	/* asked again: the same */
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(check(&w, 1), WIRE_OK);
	assert_int_equal(check(&w, 3), WIRE_NO_SESSION);
	assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 3).status, WIRE_NO_SESSION);
	assert_int_equal(world_session(&w, WIRE_SESSION_END, 0, 1).status, WIRE_OK);
	assert_int_equal(world_session(&w, WIRE_SESSION_END, 0, 1).status, WIRE_OK);
	assert_int_equal(check(&w, 1), WIRE_NO_SESSION);
	/* its number is not used again */
	assert_int_equal(open_session(&w, 1), 3);
	world_fini(&w);
}

static void test_keeper_forgets_nothing_in_a_power_loss(void **state)
{
	uint64_t epoch;
	struct world w;

	(void)state;
	world_init(&w);
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(open_session(&w, 2), 2);
	assert_int_equal(world_session(&w, WIRE_SESSION_END, 0, 2).status, WIRE_OK);
	world_run(&w, ENV_SEC);
	epoch = world_ring(&w)->epoch;
	assert_true(epoch > 1);
	world_crash(&w, 0, DISK_LOSE, 1);
	world_boot(&w, 0);
	world_await_leader(&w);
	assert_true(world_ring(&w)->epoch >= epoch);
	assert_int_equal(check(&w, 1), WIRE_OK);
	assert_int_equal(check(&w, 2), WIRE_NO_SESSION);
	assert_int_equal(open_session(&w, 3), 3);
	world_fini(&w);
}

static void test_keeper_fences_silent_sessions(void **state)
{
	const struct keeper_config cfg = {.session_timeout = 10 * ENV_SEC};
	struct world w;

	(void)state;
	world_init_with(&w, 7, &cfg);
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(open_session(&w, 2), 2);
	for (unsigned i = 0; i < 6; i++) {
		world_run(&w, 3 * ENV_SEC);
		assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	}
	assert_int_equal(check(&w, 1), WIRE_NO_SESSION);
	assert_int_equal(check(&w, 2), WIRE_OK);
	/* and every node is told by the map */
	assert_true(ring_fenced(world_ring(&w), 1));
	assert_false(ring_fenced(world_ring(&w), 2));
	/* by hand */
	assert_int_equal(
		world_ask(&w, &(struct wire_ask_m){.what = ASK_FENCE, .session = 2}), WIRE_OK);
	assert_true(ring_fenced(world_ring(&w), 2));
	assert_int_equal(check(&w, 2), WIRE_NO_SESSION);
	world_fini(&w);
}

/* Of a store that only its own process can reach, sessions of an earlier one are over at once;
 * those of this one are not, whatever becomes of the leader. */
static void test_keeper_waits_for_nobody_who_cannot_come(void **state)
{
	const struct keeper_config cfg = {0};
	struct world w;

	(void)state;
	for (unsigned local = 0; local < 2; local++) {
		world_init_at(&w, 7, &cfg, local ? "local:node" : "n0:1");
		/* as many as it likes */
		for (unsigned i = 1; i <= 3; i++)
			assert_int_equal(open_session(&w, i), i);
		world_crash(&w, 0, DISK_PROCESS, 1);
		world_boot(&w, 0);
		world_await_leader(&w);
		assert_int_equal(open_session(&w, 4), 4);
		for (unsigned i = 1; i <= 3; i++) {
			assert_int_equal(check(&w, i), local ? WIRE_NO_SESSION : WIRE_OK);
			assert_int_equal(ring_fenced(world_ring(&w), i), local);
		}
		lead_off(w.m[0].k);
		keeper_settle(w.m[0].k);
		world_await_leader(&w);
		world_run(&w, ENV_SEC);
		assert_int_equal(check(&w, 4), WIRE_OK);
		world_fini(&w);
	}
}

/* A session that keeps what it is to give back is fenced, however often it is renewed. */
static void test_keeper_lets_the_time_of_a_session_run_out(void **state)
{
	const struct keeper_config cfg = {.session_timeout = 10 * ENV_SEC};
	struct wire_ask_m m = {.what = ASK_FENCE, .flags = ASK_F_RUN_OUT, .session = 1};
	uint64_t epoch;
	struct world w;

	(void)state;
	world_init_with(&w, 7, &cfg);
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(open_session(&w, 2), 2);
	epoch = world_ring(&w)->epoch;
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_int_equal(world_ring(&w)->epoch, epoch);
	/* it has not ended before the map says so */
	assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 1).status, WIRE_RETRY);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(check(&w, 1), WIRE_OK);
		assert_false(ring_fenced(world_ring(&w), 1));
		world_run(&w, 2 * ENV_SEC);
		world_session(&w, WIRE_SESSION_RENEW, 0, 1);
		assert_int_equal(world_session(&w, WIRE_SESSION_RENEW, 0, 2).status, WIRE_OK);
	}
	world_run(&w, 5 * ENV_SEC);
	assert_true(ring_fenced(world_ring(&w), 1));
	assert_false(ring_fenced(world_ring(&w), 2));
	/* one that ended by itself is not in the map: at once */
	world_session(&w, WIRE_SESSION_END, 0, 2);
	m.session = 2;
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_true(ring_fenced(world_ring(&w), 2));
	m.session = 3;
	assert_int_equal(world_ask(&w, &m), WIRE_BAD_REQUEST);
	world_fini(&w);
}

static void test_keeper_that_was_stopped_ends_nobody(void **state)
{
	const struct keeper_config cfg = {.session_timeout = 10 * ENV_SEC};
	struct world w;

	(void)state;
	world_init_with(&w, 7, &cfg);
	assert_int_equal(open_session(&w, 1), 1);
	world_run(&w, 5 * ENV_SEC);
	/* the machine sleeps: what it was sent meanwhile is still to be read */
	sim_host_pause(w.m[0].host, 3600 * ENV_SEC);
	sim_run(w.s, 3600 * ENV_SEC);
	sim_run(w.s, 100 * ENV_MS);
	assert_int_equal(check(&w, 1), WIRE_OK);
	world_run(&w, 12 * ENV_SEC);
	assert_int_equal(check(&w, 1), WIRE_NO_SESSION);
	world_fini(&w);
}

static void test_keeper_changes_the_map_when_asked(void **state)
{
	struct wire_ask_m m = {.what = ASK_WEIGHT, .node = world_id(1), .weight = 50};
	struct said a = {0}, b = {0};
	struct keeper *k;
	struct world w;
	uint64_t epoch;

	(void)state;
	world_init(&w);
	boot_all(&w, 2);
	world_run(&w, ENV_SEC);
	assert_non_null(world_node(&w, 1));
	assert_int_equal(world_node(&w, 1)->number, 2);
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_int_equal(world_node(&w, 1)->weight, 50);
	/* what is asked while a change is under way goes into the next one, together */
	epoch = world_ring(&w)->epoch;
	k = w.m[world_leader(&w)].k;
	m.weight = 60;
	keeper_ask(k, &m, said_ask, &a);
	m.node = world_id(0);
	m.weight = 70;
	keeper_ask(k, &m, said_ask, &b);
	world_run(&w, 200 * ENV_MS);
	assert_int_equal(a.status, WIRE_OK);
	assert_int_equal(b.status, WIRE_OK);
	assert_int_equal(a.epoch, epoch + 1);
	assert_int_equal(b.epoch, epoch + 1);
	assert_int_equal(world_node(&w, 0)->weight, 70);
	assert_int_equal(world_node(&w, 1)->weight, 60);
	/* refused */
	m.node = world_id(5);
	assert_int_equal(world_ask(&w, &m), WIRE_STALE);
	m.what = ASK_REMOVE;
	m.node = world_id(1);
	assert_int_equal(world_ask(&w, &m), WIRE_BUSY);
	m.what = ASK_MEMBER;
	m.by = world_id(0);
	m.shard = 60000;
	assert_int_equal(world_ask(&w, &m), WIRE_BAD_REQUEST);
	world_fini(&w);
}

/* An entry that was made of another map changes nothing. */
static void test_keeper_entries_start_from_their_epoch(void **state)
{
	struct ring_node self = {.id = world_id(0), .number = 1, .weight = 100, .naddrs = 1};
	struct state s = {.next_session = 1};
	struct ring_map *one, *other;
	struct applied out;
	struct buf b = {0}, c = {0};

	(void)state;
	snprintf(self.addr[0], sizeof(self.addr[0]), "n0:1");
	assert_int_equal(ring_make(&s.map, world_fsid, WORLD_BITS, 1, &self, 1), 0);
	one = ring_draft(s.map);
	one->nodes[0].weight = 1;
	other = ring_draft(s.map);
	other->nodes[0].weight = 2;
	entry_put_session_new(&c, world_fsid);
	assert_int_equal(state_apply(&s, c.data, c.len, &out), 0);
	assert_int_equal(out.session, 1);
	entry_put_map(&b, s.map, one, &out.session, 1);
	assert_int_equal(state_apply(&s, b.data, b.len, &out), 0);
	assert_int_equal(out.rc, 0);
	assert_int_equal(s.map->nodes[0].weight, 1);
	assert_null(state_session(&s, 1)); /* ended by it */
	buf_reset(&b);
	assert_int_equal(state_apply(&s, c.data, c.len, &out), 0);
	assert_int_equal(out.session, 2);
	/* the second one comes too late: neither the map nor the session is touched */
	other->epoch = 2;
	one->epoch = 1;
	entry_put_map(&b, one, other, &out.session, 1);
	assert_int_equal(state_apply(&s, b.data, b.len, &out), 0);
	assert_int_equal(out.rc, -ESTALE);
	assert_int_equal(s.map->nodes[0].weight, 1);
	assert_non_null(state_session(&s, 2));
	/* nonsense */
	for (size_t len = 0; len < b.len; len++)
		assert_true(state_apply(&s, b.data, len, &out) || out.rc);
	buf_fini(&b);
	buf_fini(&c);
	ring_unref(one);
	ring_unref(other);
	state_fini(&s);
}

/* ---- several ---- */

static void test_keeper_grows_to_an_odd_number_of_voters(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	world_boot(&w, 3);
	world_run(&w, 5 * ENV_SEC);
	assert_int_equal(world_ring(&w)->nnodes, 4);
	assert_int_equal(world_voters(&w), 3);
	world_boot(&w, 4);
	world_await_voters(&w, 5);
	world_boot(&w, 5);
	world_run(&w, 5 * ENV_SEC);
	assert_int_equal(world_ring(&w)->nnodes, 6);
	assert_int_equal(world_voters(&w), 5);
	world_fini(&w);
}

static void test_keeper_survives_its_leader(void **state)
{
	struct world w;
	uint64_t epoch;
	int old, now;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	assert_int_equal(open_session(&w, 1), 1);
	epoch = world_ring(&w)->epoch;
	old = world_leader(&w);
	world_crash(&w, (unsigned)old, DISK_PROCESS, 1);
	world_run(&w, 1500 * ENV_MS);
	now = world_leader(&w);
	assert_true(now >= 0 && now != old);
	assert_true(world_ring(&w)->epoch > epoch);
	assert_int_equal(world_ring(&w)->nodes[world_ring(&w)->keeper].number, w.m[now].number);
	assert_int_equal(check(&w, 1), WIRE_OK);
	/* asked again: it is the same one */
	assert_int_equal(open_session(&w, 1), 1);
	assert_int_equal(open_session(&w, 2), 2);
	world_run(&w, 2 * ENV_SEC);
	assert_false(world_node(&w, (unsigned)old)->up);
	world_boot(&w, (unsigned)old);
	world_run(&w, 2 * ENV_SEC);
	assert_true(world_node(&w, (unsigned)old)->up);
	/* all have the same */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(keeper_map(w.m[i].k)->epoch, world_ring(&w)->epoch);
	world_fini(&w);
}

/* Whose node refuses connections is not waited for. */
static void test_keeper_replaces_a_leader_that_refuses_at_once(void **state)
{
	struct world w;
	uint64_t t;
	int old;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	for (unsigned round = 0; round < 5; round++) {
		old = world_leader(&w);
		world_crash(&w, (unsigned)old, DISK_PROCESS, 1);
		for (int i = 0; i < 3; i++) {
			if (i != old)
				keeper_refused(w.m[i].k, w.m[old].number);
		}
		t = sim_now(w.s);
		while (!world_node(&w, 0) || world_node(&w, (unsigned)old)->up)
			world_run(&w, WORLD_STEP);
		assert_in_range(sim_now(w.s) - t, 0, 200 * ENV_MS);
		world_boot(&w, (unsigned)old);
		world_run(&w, 2 * ENV_SEC);
	}
	world_fini(&w);
}

/* On a slow disk: the rig looks at what is there when something is said (world_heard()). */
static void test_keeper_votes_when_the_disk_has_it(void **state)
{
	struct world w;

	(void)state;
	world_init(&w);
	sim_net(w.s)->job_min = 10 * ENV_MS;
	sim_net(w.s)->job_max = 60 * ENV_MS;
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	for (unsigned i = 0; i < 6; i++) {
		int old = world_await_leader(&w);

		world_crash(&w, (unsigned)old, DISK_POWER, i);
		world_run(&w, 2 * ENV_SEC);
		world_boot(&w, (unsigned)old);
		world_run(&w, 2 * ENV_SEC);
	}
	assert_true(w.votes >= 12);
	world_fini(&w);
}

static void test_keeper_does_nothing_without_a_majority(void **state)
{
	struct said d = {0};
	struct wire_ask_m m = {.what = ASK_WEIGHT, .node = world_id(1), .weight = 50};
	struct keeper *k;
	struct world w;
	int old;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	old = world_leader(&w);
	k = w.m[old].k;
	/* it can't reach the others, and does not know yet */
	w.m[old].cut = true;
	keeper_ask(k, &m, said_ask, &d);
	world_run(&w, 3 * ENV_SEC);
	assert_true(d.done);
	assert_int_equal(d.status, WIRE_NO_KEEPER);
	assert_false(keeper_leads(k));
	assert_true(world_leader(&w) >= 0 && world_leader(&w) != old);
	assert_int_equal(world_node(&w, 1)->weight, 100);
	/* what it had begun is undone when it is back */
	w.m[old].cut = false;
	world_run(&w, 3 * ENV_SEC);
	assert_int_equal(keeper_map(k)->epoch, world_ring(&w)->epoch);
	assert_int_equal(world_node(&w, 1)->weight, 100);
	world_fini(&w);
}

static void test_keeper_judges_who_is_alive(void **state)
{
	struct wire_ask_m m = {.what = ASK_SUSPECT, .node = world_id(2), .by = world_id(1)};
	struct world w;
	uint64_t t;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	/* reported, but well heard here: it stays */
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_true(world_node(&w, 2)->up);
	/* silent */
	m.node = world_id(2);
	t = sim_now(w.s);
	if (world_leader(&w) == 2) {
		world_fini(&w);
		return;
	}
	w.m[2].cut = true;
	while (world_node(&w, 2)->up)
		world_run(&w, WORLD_STEP);
	assert_in_range(sim_now(w.s) - t, ENV_SEC, 2 * ENV_SEC);
	w.m[2].cut = false;
	world_run(&w, 2 * ENV_SEC);
	assert_true(world_node(&w, 2)->up); /* registered again */
	/* refused: at once */
	world_crash(&w, 2, DISK_PROCESS, 1);
	t = sim_now(w.s);
	assert_int_equal(world_ask(&w, &m), WIRE_OK);
	assert_false(world_node(&w, 2)->up);
	assert_in_range(sim_now(w.s) - t, 0, 300 * ENV_MS);
	world_fini(&w);
}

static void test_keeper_brings_a_voter_level_by_a_snapshot(void **state)
{
	const struct keeper_config cfg = {.snapshot_every = 16, .session_timeout = 60 * ENV_SEC};
	uint64_t behind;
	struct world w;
	int late;

	(void)state;
	world_init_with(&w, 7, &cfg);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	late = world_leader(&w) == 2 ? 1 : 2;
	w.m[late].cut = true;
	behind = w.m[late].k->raft.last_applied;
	for (unsigned i = 0; i < 400; i++)
		assert_int_equal(open_session(&w, i + 1), i + 1);
	/* the leader's log begins behind what that one has */
	assert_true(w.m[world_leader(&w)].k->raft.log.offset > behind);
	w.m[late].cut = false;
	world_run(&w, 3 * ENV_SEC);
	assert_int_equal(HASH_COUNT(w.m[late].k->state.sessions), 400);
	assert_int_equal(keeper_map(w.m[late].k)->epoch, world_ring(&w)->epoch);
	/* and what it then has survives a power loss */
	world_crash(&w, (unsigned)late, DISK_LOSE, 1);
	world_boot(&w, (unsigned)late);
	assert_true(w.m[late].k->raft.last_applied > behind);
	world_run(&w, 2 * ENV_SEC);
	assert_int_equal(HASH_COUNT(w.m[late].k->state.sessions), 400);
	world_fini(&w);
}

static void test_keeper_replaces_a_voter_that_is_gone(void **state)
{
	const struct keeper_config cfg = {.voter_timeout = 5 * ENV_SEC};
	struct world w;
	unsigned gone = 0;

	(void)state;
	world_init_with(&w, 7, &cfg);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	world_boot(&w, 3);
	world_run(&w, 2 * ENV_SEC);
	assert_false(world_node(&w, 3)->voter);
	while ((int)gone == world_leader(&w))
		gone++;
	world_crash(&w, gone, DISK_PROCESS, 1);
	world_run(&w, 3 * ENV_SEC);
	assert_true(world_node(&w, gone)->voter); /* it may come back */
	world_run(&w, 10 * ENV_SEC);
	assert_false(world_node(&w, gone)->voter);
	assert_true(world_node(&w, 3)->voter);
	assert_int_equal(world_voters(&w), 3);
	/* the new one counts: another may go now */
	for (unsigned i = 0; i < 3; i++) {
		if (i != gone && (int)i != world_leader(&w)) {
			world_crash(&w, i, DISK_PROCESS, 1);
			break;
		}
	}
	world_run(&w, 2 * ENV_SEC);
	assert_int_equal(open_session(&w, 5), 1);
	/* a node that is removed does not vote either */
	assert_int_equal(world_ask(&w, &(struct wire_ask_m){.what = ASK_REMOVE,
					       .flags = ASK_F_FORCE,
					       .node = world_id(gone)}),
		WIRE_OK);
	assert_null(world_node(&w, gone));
	world_fini(&w);
}

/* A leader that stops does not wait for an agreement that nobody is left to give. */
static void test_keeper_stops_with_a_change_under_way(void **state)
{
	struct wire_ask_m m = {.what = ASK_WEIGHT, .node = world_id(1), .weight = 50};
	struct wire_session_open q = {.what = WIRE_SESSION_NEW, .nonce = {9}};
	struct said a = {0}, b = {0};
	struct world w;
	int leader;

	(void)state;
	world_init(&w);
	boot_all(&w, 3);
	world_await_voters(&w, 3);
	leader = world_leader(&w);
	w.m[leader].cut = true;
	keeper_ask(w.m[leader].k, &m, said_ask, &a);
	keeper_session(w.m[leader].k, &q, said_session, &b);
	sim_run(w.s, 50 * ENV_MS);
	assert_false(a.done || b.done);
	keeper_stop(w.m[leader].k);
	sim_run(w.s, 50 * ENV_MS);
	assert_true(a.done && b.done);
	assert_int_equal(a.status, WIRE_NO_KEEPER);
	assert_int_equal(b.status, WIRE_NO_KEEPER);
	assert_false(keeper_busy(w.m[leader].k));
	world_fini(&w);
}

/* ---- disks ---- */

static const char *file_of(const struct world *w, unsigned i, const char *prefix, char *name)
{
	const struct files *f = &w->m[i].k->io.files;

	if (!strcmp(prefix, "log"))
		snprintf(name, 64, "keeper-log-%016llx", 2ull);
	else
		snprintf(name, 64, "keeper-snap-%016llx", (unsigned long long)f->snap);
	return name;
}

static void test_keeper_tells_a_torn_end_from_damage(void **state)
{
	struct world w;
	char name[64];
	int64_t size;

	(void)state;
	world_init(&w);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(open_session(&w, i + 1), i + 1);
	file_of(&w, 0, "log", name);
	size = disk_mem_size(w.m[0].disk, name);
	assert_true(size > 300);
	/* the last entry was being written: it goes, and the rest is there */
	world_crash(&w, 0, DISK_PROCESS, 1);
	assert_int_equal(disk_mem_cut(w.m[0].disk, name, (uint64_t)size - 3), 0);
	world_boot(&w, 0);
	world_await_leader(&w);
	assert_int_equal(check(&w, 9), WIRE_OK);
	assert_int_equal(check(&w, 10), WIRE_NO_SESSION);
	assert_int_equal(open_session(&w, 11), 10);
	/* a bit in the middle: entries behind it were told to others */
	size = disk_mem_size(w.m[0].disk, name);
	world_crash(&w, 0, DISK_PROCESS, 1);
	assert_int_equal(disk_mem_flip(w.m[0].disk, name, (uint64_t)size / 2, 1), 0);
	log_set_level(LOG_LVL_ERROR - 1);
	sim_host_start(w.m[0].host);
	assert_int_equal(world_try_boot(&w, 0), -EUCLEAN);
	assert_int_equal(disk_mem_flip(w.m[0].disk, name, (uint64_t)size / 2, 1), 0);
	/* a vote that can not be read */
	assert_int_equal(disk_mem_flip(w.m[0].disk, "keeper-meta", 12, 1), 0);
	assert_int_equal(world_try_boot(&w, 0), -EUCLEAN);
	assert_int_equal(disk_mem_flip(w.m[0].disk, "keeper-meta", 12, 1), 0);
	assert_int_equal(disk_mem_flip(w.m[0].disk, "keeper-snap-0000000000000001", 50, 1), 0);
	assert_int_equal(world_try_boot(&w, 0), -EUCLEAN);
	assert_int_equal(disk_mem_flip(w.m[0].disk, "keeper-snap-0000000000000001", 50, 1), 0);
	world_boot(&w, 0);
	world_await_leader(&w);
	assert_int_equal(check(&w, 9), WIRE_OK);
	world_fini(&w);
}

static void test_keeper_stops_when_its_disk_fails(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {9}};
	struct said d = {0};
	struct world w;

	(void)state;
	world_init(&w);
	world_run(&w, ENV_SEC);
	log_set_level(LOG_LVL_ERROR - 1);
	disk_mem_faults(w.m[0].disk)->write_fails = true;
	keeper_session(w.m[0].k, &m, said_session, &d);
	sim_run(w.s, ENV_SEC);
	assert_int_equal(w.m[0].failed, -EIO);
	assert_int_equal(keeper_broken(w.m[0].k), -EIO);
	assert_false(keeper_leads(w.m[0].k));
	/* nobody was told that there is a session; at the end that there is no keeper */
	assert_false(d.done);
	world_crash(&w, 0, DISK_POWER, 3);
	assert_true(d.done);
	assert_int_equal(d.status, WIRE_NO_KEEPER);
	world_fini(&w);
}

static void test_keeper_waits_for_room_on_its_disk(void **state)
{
	struct wire_session_open m = {.what = WIRE_SESSION_NEW, .nonce = {9}};
	struct said d = {0};
	struct world w;

	(void)state;
	world_init(&w);
	world_run(&w, ENV_SEC);
	disk_mem_faults(w.m[0].disk)->capacity = 1;
	keeper_session(w.m[0].k, &m, said_session, &d);
	world_run(&w, 5 * ENV_SEC);
	assert_false(d.done);
	disk_mem_faults(w.m[0].disk)->capacity = 0;
	world_run(&w, ENV_SEC);
	assert_true(d.done);
	assert_int_equal(d.status, WIRE_OK);
	world_crash(&w, 0, DISK_LOSE, 1);
	world_boot(&w, 0);
	world_await_leader(&w);
	assert_int_equal(check(&w, d.s.session), WIRE_OK);
	world_fini(&w);
}

/* ---- anything ---- */

#define RANDOM_SESSIONS 40

/* Nodes come, are cut off, die and lose power at random while sessions are opened: what was told is
 * never forgotten, nor is a number given twice. */
static void random_run(uint64_t seed)
{
	const struct keeper_config cfg = {.snapshot_every = 8 + (unsigned)(seed % 3) * 20,
		.voter_timeout = 4 * ENV_SEC,
		.session_timeout = 3600 * ENV_SEC};
	uint32_t session[RANDOM_SESSIONS] = {0};
	struct world w;
	unsigned n = 0;

	world_init_with(&w, seed, &cfg);
	if (seed % 2)
		sim_net(w.s)->job_max = 80 * ENV_MS; /* a slow disk: much is under way */
	w.n = 3 + (unsigned)(seed % 3);
	for (unsigned step = 0; step < 150; step++) {
		unsigned i = (unsigned)sim_below(w.s, w.n);
		struct member *m = &w.m[i];
		int leader = world_leader(&w);

		if (!m->k)
			world_boot(&w, i);
		else if (sim_chance(w.s, 100))
			m->cut = !m->cut;
		else if (sim_chance(w.s, 60))
			world_crash(&w, i, sim_chance(w.s, 500) ? DISK_POWER : DISK_PROCESS,
				sim_random(w.s));
		if (leader >= 0 && w.m[leader].k && n < RANDOM_SESSIONS) {
			struct wire_session_open q = {
				.what = WIRE_SESSION_NEW, .nonce = {(uint8_t)n, 1}};
			struct said *d = mem_zalloc(sizeof(*d));

			keeper_session(w.m[leader].k, &q, said_session, d);
			world_run(&w, sim_below(w.s, 400) * ENV_MS);
			for (unsigned t = 0; t < 200 && !d->done; t++)
				world_run(&w, WORLD_STEP);
			assert_true(d->done);
			if (d->status == WIRE_OK)
				session[n++] = d->s.session;
			free(d);
		}
		world_run(&w, sim_below(w.s, 200) * ENV_MS);
	}
	for (unsigned i = 0; i < w.n; i++) {
		w.m[i].cut = false;
		if (!w.m[i].k)
			world_boot(&w, i);
	}
	world_run(&w, 10 * ENV_SEC);
	world_await_leader(&w);

	for (unsigned i = 0; i < n; i++) {
		assert_true(i == 0 || session[i] > session[i - 1]);
		assert_int_equal(check(&w, session[i]), WIRE_OK);
	}
	for (unsigned i = 0; i < w.n; i++) {
		struct keeper *k = w.m[i].k;

		if (!world_node(&w, i)->voter)
			continue;
		for (unsigned t = 0; t < 100 && keeper_map(k)->epoch != world_ring(&w)->epoch; t++)
			world_run(&w, WORLD_STEP);
		assert_int_equal(keeper_map(k)->epoch, world_ring(&w)->epoch);
		for (unsigned s = 0; s < n; s++)
			assert_non_null(state_session(&k->state, session[s]));
	}
	w.n = WORLD_MAX;
	world_fini(&w);
}

static void test_keeper_forgets_nothing_whatever_happens(void **state)
{
	const char *seed = getenv("SEED"), *seeds = getenv("SEEDS");
	uint64_t last = seeds ? strtoull(seeds, NULL, 0) : 40;

	(void)state;
	if (seed) {
		random_run(strtoull(seed, NULL, 0));
		return;
	}
	for (uint64_t i = 1; i <= last; i++) {
		if (seeds)
			fprintf(stderr, "seed %llu\n", (unsigned long long)i);
		random_run(i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keeper_numbers_sessions),
		cmocka_unit_test(test_keeper_forgets_nothing_in_a_power_loss),
		cmocka_unit_test(test_keeper_fences_silent_sessions),
		cmocka_unit_test(test_keeper_waits_for_nobody_who_cannot_come),
		cmocka_unit_test(test_keeper_lets_the_time_of_a_session_run_out),
		cmocka_unit_test(test_keeper_that_was_stopped_ends_nobody),
		cmocka_unit_test(test_keeper_changes_the_map_when_asked),
		cmocka_unit_test(test_keeper_entries_start_from_their_epoch),
		cmocka_unit_test(test_keeper_grows_to_an_odd_number_of_voters),
		cmocka_unit_test(test_keeper_survives_its_leader),
		cmocka_unit_test(test_keeper_replaces_a_leader_that_refuses_at_once),
		cmocka_unit_test(test_keeper_votes_when_the_disk_has_it),
		cmocka_unit_test(test_keeper_does_nothing_without_a_majority),
		cmocka_unit_test(test_keeper_judges_who_is_alive),
		cmocka_unit_test(test_keeper_brings_a_voter_level_by_a_snapshot),
		cmocka_unit_test(test_keeper_replaces_a_voter_that_is_gone),
		cmocka_unit_test(test_keeper_stops_with_a_change_under_way),
		cmocka_unit_test(test_keeper_tells_a_torn_end_from_damage),
		cmocka_unit_test(test_keeper_stops_when_its_disk_fails),
		cmocka_unit_test(test_keeper_waits_for_room_on_its_disk),
		cmocka_unit_test(test_keeper_forgets_nothing_whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
