/*
 * A keeper's life, and libraft's calls.
 *
 *   state      libraft   leaves it
 *   asleep     no        a voter sends a message, and the map says which number this node has
 *   taking     follower, elected -> leading
 *   part       candidate
 *   leading    leader    lost its majority, or another has a newer term; lead.on once all entries
 *                        of earlier terms are applied
 *   broken     none      never: the disk failed, or libraft gave up; the node has to stop
 *   stopping   not ticked  keeper_free()
 */
#include "dht/keeper/keeper.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define STOOD_STILL (KEEPER_ELECTION * ENV_MS) /* a tick that is later: others may have voted */
#define TICK_ALONE ENV_SEC                     /* between ticks when there is nobody else */
#define SNAPSHOT_TRAILING 256
#define SNAPSHOT_AGAIN 3000 /* ms after which one that nobody answered is sent again */
#define VOTERS_MAX 5
#define CATCH_UP 5000 /* ms in which a new voter has to follow */

static void defaults(struct keeper_config *c)
{
	if (!c->session_timeout)
		c->session_timeout = KEEPER_SESSION_TIMEOUT;
	if (!c->fail_timeout)
		c->fail_timeout = 1500 * ENV_MS;
	if (!c->voter_timeout)
		c->voter_timeout = 60 * ENV_SEC;
	if (!c->gone_timeout)
		c->gone_timeout = 600 * ENV_SEC;
	if (!c->step_every)
		c->step_every = 500 * ENV_MS;
	if (!c->voters || c->voters > VOTERS_MAX)
		c->voters = VOTERS_MAX;
	if (!c->learn_shards)
		c->learn_shards = 4;
	if (!c->move_primaries)
		c->move_primaries = 16;
	if (!c->snapshot_every)
		c->snapshot_every = 512;
}

/* ---- the state machine, as libraft calls it ---- */

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
	struct keeper *k = fsm->data;
	int rc = state_apply(&k->state, buf->base, buf->len, &k->applied);

	if (rc) {
		/* all voters see the same, and none changes anything */
		log_error("mod=keeper rc=-%s msg=\"an entry that makes no sense\"", log_errno(rc));
		k->applied.rc = rc;
	}
	*result = &k->applied;
	return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
	struct keeper *k = fsm->data;
	struct buf b = {0};

	/* it would hold a configuration that may never be agreed on */
	if (k->raft.configuration_uncommitted_index)
		return RAFT_BUSY;
	state_encode(&k->state, &b);
	*bufs = b.err ? NULL : raft_malloc(sizeof(**bufs));
	if (!*bufs) {
		buf_fini(&b);
		return RAFT_NOMEM;
	}
	(*bufs)[0] =
		(struct raft_buffer){b.data, b.len}; /* from malloc(), as raft_free() wants it */
	*n = 1;
	return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
	struct keeper *k = fsm->data;
	struct state s;

	if (state_decode(buf->base, buf->len, &s)) {
		log_error("mod=keeper msg=\"a snapshot that makes no sense\"");
		return RAFT_CORRUPT;
	}
	raft_free(buf->base);
	state_fini(&k->state);
	k->state = s;
	return 0;
}

/* ---- what follows from a call ---- */

static bool is_leader(const struct keeper *k)
{
	return k->running && !k->stopping && !k->io.failed && k->raft.state == RAFT_LEADER;
}

static void caught_up(struct raft_barrier *req, int status)
{
	struct keeper *k = container_of(req, struct keeper, lead.catch_up);

	k->lead.barrier = false;
	if (!status && k->lead.asked)
		k->lead.unsure = false;
	k->lead.asked = false;
	/* settle() looks */
}

static void begin_barrier(struct keeper *k)
{
	int rc;

	if (k->lead.barrier)
		return;
	k->lead.barrier = true;
	k->lead.asked = true;
	k->in_raft = true;
	rc = raft_barrier(&k->raft, &k->lead.catch_up, caught_up);
	k->in_raft = false;
	if (rc)
		k->lead.barrier = k->lead.asked = false; /* the next tick tries again */
}

/* A leader acts when it has applied all that there was before it. */
static void take_office(struct keeper *k)
{
	if (!k->lead.unsure && k->raft.last_applied == raft_last_index(&k->raft) && k->state.map)
		lead_on(k);
	else
		begin_barrier(k);
}

static void answer_all(struct keeper *k)
{
	struct session_ask *s;
	struct ask *a;

	while ((a = TAILQ_FIRST(&k->answers))) {
		TAILQ_REMOVE(&k->answers, a, entry);
		a->done(a->arg, a->status, a->epoch, a->text);
		free(a);
	}
	while ((s = TAILQ_FIRST(&k->said))) {
		TAILQ_REMOVE(&k->said, s, entry);
		session_tell(k, s);
	}
}

static void settle(struct keeper *k)
{
	if (k->running && !k->stopping && k->raft.state == RAFT_UNAVAILABLE && !k->io.failed) {
		log_error("mod=keeper msg=\"libraft gave up: %s\"", raft_errmsg(&k->raft));
		k->io.failed = -EIO;
	}
	if (k->io.failed && !k->told_failed) {
		k->told_failed = true;
		k->ops->failed(k->arg, k->io.failed);
	}
	if (k->lead.on && !is_leader(k))
		lead_off(k);
	else if (!k->lead.on && is_leader(k))
		take_office(k);
	else if (k->lead.on && k->lead.unsure)
		begin_barrier(k);
	if (k->state.map && k->state.map->epoch > k->told) {
		k->told = k->state.map->epoch;
		k->ops->map(k->arg, k->state.map);
	}
	if (k->lead.on) {
		lead_pump(k);
		voters_pump(k);
	}
	answer_all(k);
}

void keeper_settle(struct keeper *k)
{
	if (k->in_raft)
		return; /* whoever called it does so afterwards */
	if (k->settling) {
		keeper_settle_soon(k);
		return;
	}
	k->settling = true;
	settle(k);
	k->settling = false;
}

static void settle_run(struct env_task *t)
{
	keeper_settle(container_of(t, struct keeper, settle));
}

void keeper_settle_soon(struct keeper *k)
{
	env_post(k->env, &k->settle);
}

int keeper_propose(struct keeper *k, struct buf *b, struct raft_apply *req, raft_apply_cb cb)
{
	struct raft_buffer buf = {b->data, b->len};
	bool was = k->in_raft;
	int rc;

	if (b->err || b->len > FILES_DATA_MAX) {
		buf_fini(b);
		return RAFT_TOOBIG;
	}
	k->in_raft = true;
	rc = raft_apply(&k->raft, req, &buf, 1, cb);
	k->in_raft = was;
	if (rc)
		buf_fini(b);
	else
		*b = (struct buf){0}; /* libraft's, from malloc() as raft_free() wants it */
	return rc;
}

/* ---- time ---- */

static void tick_later(struct keeper *k, uint64_t now)
{
	bool alone = k->raft.state == RAFT_LEADER && k->raft.configuration.n == 1 && k->state.map &&
		     k->state.map->nnodes == 1;

	k->tick_at = now + (alone ? TICK_ALONE : KEEPER_HEARTBEAT * ENV_MS);
	env_timer_set(k->env, &k->tick, k->tick_at);
}

static void tick_fire(struct env_timer *t)
{
	struct keeper *k = container_of(t, struct keeper, tick);
	uint64_t now = env_now(k->env), late = now - k->tick_at;

	if (!k->running || k->stopping || k->io.failed)
		return;
	k->in_raft = true;
	if (late > STOOD_STILL) {
		k->lead.unsure = k->raft.state == RAFT_LEADER;
		k->lead.asked = false; /* one that is under way may be of before */
	}
	k->io.tick(&k->io.io);
	k->in_raft = false;
	if (k->lead.on)
		lead_tick(k, now, late);
	tick_later(k, now);
	keeper_settle(k);
}

/* ---- life ---- */

int keeper_run(struct keeper *k)
{
	char address[FILES_ADDRESS_MAX];
	int rc;

	assert(k->number && !k->running);
	k->fsm = (struct raft_fsm){.version = 1,
		.data = k,
		.apply = fsm_apply,
		.snapshot = fsm_snapshot,
		.restore = fsm_restore};
	io_init(k);
	snprintf(address, sizeof(address), "%" PRIu32, k->number);
	if (raft_init(&k->raft, &k->io.io, &k->fsm, k->number, address)) {
		gate_close(k->io.gate);
		k->io.gate = NULL;
		return -ENOMEM;
	}
	raft_set_election_timeout(&k->raft, KEEPER_ELECTION);
	raft_set_heartbeat_timeout(&k->raft, KEEPER_HEARTBEAT);
	raft_set_snapshot_threshold(&k->raft, k->cfg.snapshot_every);
	raft_set_snapshot_trailing(&k->raft, SNAPSHOT_TRAILING);
	raft_set_install_snapshot_timeout(&k->raft, SNAPSHOT_AGAIN);
	raft_set_max_catch_up_round_duration(&k->raft, CATCH_UP);
	raft_set_pre_vote(&k->raft, true);
	k->in_raft = true;
	rc = raft_start(&k->raft);
	k->in_raft = false;
	k->running = true;
	if (rc) {
		log_error("mod=keeper msg=\"can not start: %s\"", raft_errmsg(&k->raft));
		return k->io.failed ? k->io.failed : -EIO;
	}
	tick_later(k, env_now(k->env));
	return 0;
}

static void closed(struct raft *r)
{
	(void)r;
}

void keeper_rest(struct keeper *k)
{
	if (!k->running)
		return;
	k->in_raft = true;
	raft_close(&k->raft, closed);
	k->in_raft = false;
	k->running = false;
	env_timer_clear(k->env, &k->tick);
}

int keeper_new(struct keeper **out, struct env *e, struct store *st,
	const struct keeper_config *cfg, const struct keeper_ops *ops, void *arg)
{
	struct keeper *k = mem_zalloc(sizeof(*k));
	int rc;

	k->env = e;
	k->st = st;
	k->cfg = *cfg;
	defaults(&k->cfg);
	k->ops = ops;
	k->arg = arg;
	k->state.next_session = 1;
	TAILQ_INIT(&k->lead.line);
	TAILQ_INIT(&k->lead.flight);
	TAILQ_INIT(&k->lead.doubts);
	TAILQ_INIT(&k->sessions);
	TAILQ_INIT(&k->said);
	TAILQ_INIT(&k->answers);
	k->settle.run = settle_run;
	k->tick.fire = tick_fire;
	rc = files_number(store_disk(st), &k->number);
	if (rc)
		log_error("mod=keeper rc=-%s msg=\"keeper-meta is damaged\"", log_errno(rc));
	if (!rc && k->number)
		rc = keeper_run(k);
	if (rc) {
		keeper_free(k);
		return rc;
	}
	if (k->running)
		keeper_settle_soon(k);
	*out = k;
	return 0;
}

void keeper_stop(struct keeper *k)
{
	k->stopping = true;
	keeper_rest(k);   /* what is not agreed on yet may never be, without our answers */
	keeper_settle(k); /* leaves office */
}

bool keeper_busy(const struct keeper *k)
{
	return k->running && !k->io.failed && io_busy(k);
}

void keeper_free(struct keeper *k)
{
	if (!k)
		return;
	k->stopping = true;
	keeper_rest(k);
	if (k->lead.on)
		lead_off(k);
	/* those that wait are told */
	while (!TAILQ_EMPTY(&k->answers) || !TAILQ_EMPTY(&k->said))
		answer_all(k);
	env_unpost(k->env, &k->settle);
	env_timer_clear(k->env, &k->tick);
	judge_free(k);
	plan_cache_fini(&k->lead.places);
	free(k->lead.fences);
	state_fini(&k->state);
	free(k);
}

struct ring_map *keeper_map(const struct keeper *k)
{
	return k->state.map;
}

uint32_t keeper_own_number(const struct keeper *k)
{
	return k->number;
}

void keeper_number(struct keeper *k, uint32_t number)
{
	if (!k->number)
		k->number = number;
}

bool keeper_leads(const struct keeper *k)
{
	uint64_t now = env_now(k->env);

	/* one that stood still hears of its successor last: it answers nobody before it knows */
	return k->lead.on && is_leader(k) && !k->lead.unsure && now <= k->tick_at + STOOD_STILL;
}

uint32_t keeper_leader(const struct keeper *k)
{
	const char *address;
	raft_id id = 0;

	if (k->running && !k->io.failed && k->raft.state != RAFT_UNAVAILABLE)
		raft_leader((struct raft *)&k->raft, &id, &address);
	return (uint32_t)id;
}

int keeper_broken(const struct keeper *k)
{
	return k->io.failed;
}

/* ---- questions ---- */

void keeper_ask(struct keeper *k, const struct wire_ask_m *m, keeper_ask_cb *done, void *arg)
{
	struct ask *a = mem_zalloc(sizeof(*a));

	a->m = *m;
	a->done = done;
	a->arg = arg;
	a->mark = judge_mark(k);
	keeper_settle_soon(k);
	if (!keeper_leads(k))
		lead_answer(k, a, WIRE_NO_KEEPER, "not the keeper's leader");
	else if (m->what == ASK_ALIVE && judge_alive(k, m))
		lead_answer(k, a, WIRE_STALE, "the map has this node as down, or started since");
	else if (m->what == ASK_ALIVE)
		lead_answer(k, a, WIRE_OK, NULL);
	else if (judge_concerns(k, m))
		judge_take(k, a);
	else
		TAILQ_INSERT_TAIL(&k->lead.line, a, entry);
}

void keeper_session(
	struct keeper *k, const struct wire_session_open *m, keeper_session_cb *done, void *arg)
{
	session_go(k, m, done, arg);
}

/* ---- the first voter ---- */

int keeper_bootstrap(struct store *st, const struct ring_map *first)
{
	uint16_t self = ring_find(first, &store_info(st)->node);
	struct state state = {.map = ring_ref((struct ring_map *)first), .next_session = 1};
	struct files_meta meta = {.term = 1};
	struct raft_snapshot snap = {.index = 1, .term = 1, .configuration_index = 1};
	struct files files = {.d = store_disk(st)};
	struct raft_buffer data;
	struct buf b = {0}, s = {0};
	uint32_t number;
	int rc = self == RING_NONE ? -EINVAL : files_number(files.d, &number);

	if (!rc && number)
		rc = -EEXIST;
	if (rc) {
		ring_unref(state.map);
		return rc;
	}
	TAILQ_INIT(&files.segs);
	meta.number = first->nodes[self].number;
	raft_configuration_init(&snap.configuration);
	rc = files_add_server(&snap.configuration, meta.number, RAFT_VOTER);
	state_encode(&state, &b);
	data = (struct raft_buffer){b.data, b.len};
	snap.bufs = &data;
	snap.n_bufs = 1;
	files_put_snapshot(&s, &snap);
	if (!rc)
		rc = b.err ? b.err : files_save_snapshot(&files, 1, &s, 1);
	/* who has this file is a voter: so it comes last */
	if (!rc)
		rc = files_save_meta(&files, &meta);
	raft_configuration_close(&snap.configuration);
	buf_fini(&b);
	buf_fini(&s);
	ring_unref(state.map);
	return rc;
}
