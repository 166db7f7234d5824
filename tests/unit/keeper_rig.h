/*
 * keeper_rig: keepers over stores in memory, in the simulator's world, with a little of what their
 * nodes do for them: messages between them, which can be cut off; registering and saying that they
 * live, to whoever leads.
 */
#ifndef ORBIT_TESTS_KEEPER_RIG_H
#define ORBIT_TESTS_KEEPER_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "tests/sim/sim.h"

#define WORLD_MAX 6
#define WORLD_BITS 4
#define WORLD_STEP (25 * ENV_MS)

struct world;

struct member {
	struct world *w;
	struct sim_host *host;
	struct disk *disk;
	struct store_index *index;
	struct store *store;
	struct keeper *k; /* NULL: it does not run */
	uint32_t number;
	bool cut;  /* nothing reaches it, nothing comes from it */
	bool deaf; /* no voter's message reaches it */
	int failed;
	bool asking;
	uint64_t at;   /* when it asks again */
	unsigned told; /* maps */
};

struct world {
	struct sim *s;
	struct keeper_config cfg;
	struct ring_map *first;
	const char *addr; /* of the first one */
	unsigned n;
	struct member m[WORLD_MAX];
	unsigned votes;               /* that were asked for, or given */
	uint64_t term_led[WORLD_MAX]; /* the last term in which it was seen to lead */
};

static const uint8_t world_fsid[16] = "keepers";

static inline struct orbit_id world_id(unsigned i)
{
	struct orbit_id id = {{(uint8_t)(0x10 * (i + 1))}};

	return id;
}

/* ---- what a node does ---- */

struct parcel {
	struct world *w;
	unsigned to;
	struct frame *f;
};

static inline void world_deliver(void *arg)
{
	struct parcel *p = arg;
	struct member *m = &p->w->m[p->to];

	if (m->k && !m->cut && !m->deaf)
		keeper_raft(m->k, p->f);
	frame_unref(p->f);
	free(p);
}

/* What is said of a term or a vote is on disk by then. */
static inline void world_heard(struct member *m, const struct frame *f)
{
	struct files files = {.d = m->disk};
	struct files_meta meta;
	struct message_head h;
	struct raft_message r;

	assert_int_equal(message_get(frame_cur(f), &h, &r), 0);
	assert_int_equal(files_load_meta(&files, &meta), 0);
	if (r.type == RAFT_IO_REQUEST_VOTE && !r.request_vote.pre_vote) {
		assert_true(meta.term > r.request_vote.term ||
			    (meta.term == r.request_vote.term &&
				    meta.vote == r.request_vote.candidate_id));
		m->w->votes++;
	} else if (r.type == RAFT_IO_REQUEST_VOTE_RESULT && r.request_vote_result.vote_granted &&
		   r.request_vote_result.pre_vote != raft_tribool_true) {
		assert_true(meta.term > r.request_vote_result.term ||
			    (meta.term == r.request_vote_result.term && meta.vote == h.to));
		m->w->votes++;
	}
	message_free(&r);
}

static inline int world_send(void *arg, uint32_t to, struct frame *f)
{
	struct member *m = arg;
	struct world *w = m->w;

	world_heard(m, f);

	for (unsigned i = 0; i < w->n; i++) {
		struct parcel *p;

		if (w->m[i].number != to || !w->m[i].k || w->m[i].cut || m->cut)
			continue;
		p = mem_zalloc(sizeof(*p));
		p->w = w;
		p->to = i;
		p->f = f;
		sim_after(w->s, ENV_MS, world_deliver, p);
		return 0;
	}
	frame_unref(f);
	return -EHOSTUNREACH;
}

static inline void world_map(void *arg, struct ring_map *map)
{
	(void)map;
	((struct member *)arg)->told++;
}

static inline void world_probe(void *arg, uint32_t number)
{
	struct member *m = arg;

	for (unsigned i = 0; i < m->w->n; i++) {
		if (m->w->m[i].number == number && !m->w->m[i].k)
			keeper_refused(m->k, number);
	}
}

static inline void world_failed(void *arg, int rc)
{
	((struct member *)arg)->failed = rc;
}

static const struct keeper_ops world_ops = {
	.send = world_send, .map = world_map, .probe = world_probe, .failed = world_failed};

/* ---- life ---- */

static inline int world_try_boot(struct world *w, unsigned i)
{
	struct store_config cfg = store_config_default();
	struct member *m = &w->m[i];
	char why[256];
	int rc;

	cfg.segment_size = 1 << 20;
	cfg.index_buffer = 1 << 20;
	cfg.cache_size = 1 << 20;
	cfg.reserve = 64 << 10;
	assert_int_equal(store_open_on(&m->store, sim_env(m->host), m->disk, m->index, &cfg, why,
				 sizeof(why)),
		0);
	if (i == 0 && w->first) {
		assert_int_equal(keeper_bootstrap(m->store, w->first), 0);
		assert_int_equal(keeper_bootstrap(m->store, w->first), -EEXIST);
		ring_unref(w->first);
		w->first = NULL;
		m->number = 1;
	}
	rc = keeper_new(&m->k, sim_env(m->host), m->store, &w->cfg, &world_ops, m);
	if (rc) {
		store_free(m->store);
		m->store = NULL;
		m->k = NULL;
		return rc;
	}
	if (m->number)
		keeper_number(m->k, m->number);
	m->failed = 0;
	m->at = 0;
	return 0;
}

static inline void world_boot(struct world *w, unsigned i)
{
	sim_host_start(w->m[i].host);
	assert_int_equal(world_try_boot(w, i), 0);
}

static inline void world_crash(struct world *w, unsigned i, enum disk_crash how, uint64_t seed)
{
	struct member *m = &w->m[i];

	sim_host_kill(m->host, true);
	keeper_free(m->k);
	m->k = NULL;
	m->asking = false;
	store_free(m->store);
	m->store = NULL;
	disk_mem_faults(m->disk)->write_fails = false;
	disk_mem_crash(m->disk, how, seed);
	index_mem_crash(m->index, seed);
}

/* The first one runs, with a map of its own. */
static inline void world_init_at(
	struct world *w, uint64_t seed, const struct keeper_config *cfg, const char *addr)
{
	struct ring_node self = {.id = world_id(0), .weight = 100, .naddrs = 1};

	log_set_level(getenv("KEEPER_LOG") ? LOG_LVL_DEBUG : LOG_LVL_ERROR);
	memset(w, 0, sizeof(*w));
	w->s = sim_new(seed);
	w->cfg = *cfg;
	w->addr = addr;
	w->n = WORLD_MAX;
	for (unsigned i = 0; i < w->n; i++) {
		struct orbit_id id = world_id(i);
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		w->m[i].w = w;
		w->m[i].host = sim_host_new(w->s, name);
		w->m[i].disk = disk_mem_new();
		w->m[i].index = index_mem_new();
		assert_int_equal(store_make_on(w->m[i].disk, world_fsid, &id), 0);
	}
	snprintf(self.addr[0], sizeof(self.addr[0]), "%s", addr);
	assert_int_equal(ring_make(&w->first, world_fsid, WORLD_BITS, 1, &self, 1), 0);
	world_boot(w, 0);
}

static inline void world_init_with(struct world *w, uint64_t seed, const struct keeper_config *cfg)
{
	world_init_at(w, seed, cfg, "n0:1");
}

static inline void world_init(struct world *w)
{
	const struct keeper_config cfg = {0};

	world_init_with(w, 7, &cfg);
}

static inline void world_fini(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		if (w->m[i].k)
			world_crash(w, i, DISK_PROCESS, 1);
	}
	sim_run(w->s, ENV_SEC);
	sim_free(w->s);
	for (unsigned i = 0; i < w->n; i++) {
		index_free(w->m[i].index);
		disk_free(w->m[i].disk);
	}
}

/* ---- who leads ---- */

/* The newest term's leader that is not cut off; -1: none. */
static inline int world_leader(const struct world *w)
{
	int leader = -1;

	for (unsigned i = 0; i < w->n; i++) {
		const struct keeper *k = w->m[i].k;

		if (k && !w->m[i].cut && keeper_leads(k) &&
			(leader < 0 || k->raft.current_term > w->m[leader].k->raft.current_term))
			leader = (int)i;
	}
	return leader;
}

static inline struct ring_map *world_ring(const struct world *w)
{
	int i = world_leader(w);

	return i < 0 ? NULL : keeper_map(w->m[i].k);
}

/* Its place in the leader's map. */
static inline const struct ring_node *world_node(const struct world *w, unsigned i)
{
	const struct ring_map *m = world_ring(w);
	struct orbit_id id = world_id(i);
	uint16_t at = m ? ring_find(m, &id) : RING_NONE;

	return at == RING_NONE ? NULL : &m->nodes[at];
}

/* No two lead in one term, ever. */
static inline void world_check(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct keeper *k = w->m[i].k;

		if (!k || !k->running || k->raft.state != RAFT_LEADER)
			continue;
		for (unsigned j = 0; j < w->n; j++)
			assert_true(j == i || w->term_led[j] != k->raft.current_term);
		w->term_led[i] = k->raft.current_term;
	}
}

/* ---- registering, saying that it lives ---- */

static inline void world_asked(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	(void)status;
	(void)epoch;
	(void)text;
	((struct member *)arg)->asking = false;
}

static inline void world_live(struct world *w, unsigned i)
{
	const struct ring_node *n = world_node(w, i);
	struct member *m = &w->m[i];
	int leader = world_leader(w);
	struct wire_ask_m q = {.what = ASK_ALIVE, .node = world_id(i), .weight = 100, .naddrs = 1};

	if (!m->k || m->cut || leader < 0 || m->asking || sim_now(w->s) < m->at)
		return;
	m->at = sim_now(w->s) + 250 * ENV_MS;
	q.incarnation = store_info(m->store)->starts;
	if (n && n->number) {
		m->number = n->number;
		keeper_number(m->k, n->number);
	}
	if (!n || !n->up || n->incarnation != q.incarnation) {
		q.what = ASK_REGISTER;
		q.flags = ASK_F_WHOLE;
		m->at = 0;
	}
	snprintf(q.addr[0], sizeof(q.addr[0]), "n%u:1", i);
	if (i == 0)
		snprintf(q.addr[0], sizeof(q.addr[0]), "%s", w->addr);
	m->asking = true;
	keeper_ask(w->m[leader].k, &q, world_asked, m);
}

static inline void world_run(struct world *w, uint64_t ns)
{
	uint64_t end = sim_now(w->s) + ns;

	while (sim_now(w->s) < end) {
		for (unsigned i = 0; i < w->n; i++)
			world_live(w, i);
		sim_run(w->s, WORLD_STEP);
		world_check(w);
	}
}

/* Runs until somebody leads. */
static inline int world_await_leader(struct world *w)
{
	for (unsigned i = 0; i < 400 && world_leader(w) < 0; i++)
		world_run(w, WORLD_STEP);
	assert_true(world_leader(w) >= 0);
	return world_leader(w);
}

static inline unsigned world_voters(const struct world *w)
{
	const struct ring_map *m = world_ring(w);
	unsigned n = 0;

	for (unsigned i = 0; m && i < m->nnodes; i++)
		n += m->nodes[i].voter;
	return n;
}

static inline void world_await_voters(struct world *w, unsigned n)
{
	for (unsigned i = 0; i < 800 && world_voters(w) != n; i++)
		world_run(w, WORLD_STEP);
	assert_int_equal(world_voters(w), n);
}

/* ---- asking ---- */

struct said {
	bool done;
	uint16_t status;
	uint64_t epoch;
	struct wire_session s;
};

static inline void said_ask(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	struct said *d = arg;

	(void)text;
	assert_false(d->done);
	d->done = true;
	d->status = status;
	d->epoch = epoch;
}

static inline void said_session(void *arg, const struct wire_session *out)
{
	struct said *d = arg;

	assert_false(d->done);
	d->done = true;
	d->s = *out;
	d->status = out->status;
}

/* Asks the leader and waits for the answer. */
static inline uint16_t world_ask(struct world *w, const struct wire_ask_m *m)
{
	struct said d = {0};

	keeper_ask(w->m[world_await_leader(w)].k, m, said_ask, &d);
	assert_false(d.done); /* not from inside */
	for (unsigned i = 0; i < 400 && !d.done; i++)
		world_run(w, WORLD_STEP);
	assert_true(d.done);
	return d.status;
}

static inline struct wire_session world_session(
	struct world *w, uint8_t what, uint64_t nonce, uint32_t session)
{
	struct wire_session_open m = {.what = what, .session = session};
	struct said d = {0};

	memcpy(m.nonce, &nonce, sizeof(nonce));
	keeper_session(w->m[world_await_leader(w)].k, &m, said_session, &d);
	for (unsigned i = 0; i < 400 && !d.done; i++)
		world_run(w, WORLD_STEP);
	assert_true(d.done);
	return d.s;
}

#endif
