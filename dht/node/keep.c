/*
 * A node's place in the cluster.
 *
 *   state         what it does                               leaves it
 *   alone         asks the addresses of --join for a map     has one
 *   registering   asks the leader to be taken into the map,  the map names its incarnation as up
 *                 serves nothing
 *   in the ring   says ALIVE to the leader                   the map has it as not up, or as
 *                                                            started anew: registers again
 */
#include "dht/node/keep_int.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/work.h"

#define AGAIN_MIN (50 * ENV_MS)
#define AGAIN_MAX ENV_SEC
#define JOIN_TIMEOUT (3 * ENV_SEC)

/* ---- joining ---- */

static void join_end(struct keep *k)
{
	if (k->join)
		link_close(k->join);
	k->join = NULL;
	env_timer_clear(k->n->env, &k->join_timer);
}

static void join_up(struct link *l, void *arg)
{
	struct keep *k = arg;
	struct frame *f = frame_new(WIRE_HELLO, 1, 96);

	put_hello(k->n, &f->b);
	link_send(l, f);
	f = frame_new(WIRE_MAP_GET, 2, 8);
	wire_put_map_get(&f->b, k->n->ring ? k->n->ring->epoch : 0);
	link_send(l, f);
}

static void join_message(struct link *l, struct frame *f, void *arg)
{
	struct keep *k = arg;
	struct wire_error e;
	struct wire_map m;
	int rc;

	if (f->type == WIRE_ERROR && !wire_get_error(frame_cur(f), &e)) {
		log_warn("mod=node peer=%s status=%s msg=\"may not join: %.*s\"", l->peer,
			wire_status_name(e.status), (int)e.text_len, e.text);
		join_end(k);
		return;
	}
	if (f->type != WIRE_MAP)
		return;
	rc = wire_get_map(frame_cur(f), &m);
	if (!rc)
		rc = keep_take(k->n, &m);
	if (rc && rc != -EEXIST)
		log_warn("mod=node peer=%s rc=-%s msg=\"its ring map is of no use here\"", l->peer,
			log_errno(rc));
	join_end(k);
}

static void join_down(struct link *l, int rc, void *arg)
{
	log_info("mod=node peer=%s rc=-%s msg=\"cannot be asked for the ring map\"", l->peer,
		log_errno(rc));
	join_end(arg);
}

static const struct link_events join_events = {join_up, join_message, join_down};

static void join_late(struct env_timer *t)
{
	join_end(container_of(t, struct keep, join_timer));
}

/* Asks one of the addresses that we were told for a map. */
static void join(struct keep *k)
{
	const struct node_config *cfg = &k->n->cfg;

	if (!cfg->njoin || k->join)
		return;
	if (env_connect(
		    k->n->env, cfg->join[k->next_join++ % cfg->njoin], &join_events, k, &k->join)) {
		k->join = NULL;
		return;
	}
	env_timer_set(k->n->env, &k->join_timer, env_now(k->n->env) + JOIN_TIMEOUT);
}

/* ---- staying ---- */

static void later(struct keep *k, uint64_t wait)
{
	if (!k->n->stopping)
		env_timer_set(k->n->env, &k->timer, env_now(k->n->env) + wait);
}

static uint64_t backoff(struct keep *k)
{
	uint64_t wait = AGAIN_MIN << (k->tries < 5 ? k->tries : 5);

	k->tries++;
	if (wait > AGAIN_MAX)
		wait = AGAIN_MAX;
	return wait / 2 + env_random_u64(k->n->env) % wait;
}

static void registered(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct node *n = a->n;
	struct keep *k = n->keep;

	k->asking = false;
	if (n->stopping)
		return;
	if (status == WIRE_OK) {
		k->tries = 0;
		k->warned = false;
		/* the map says so when it comes; if it does not, ask again */
		if (n->ring)
			route_epoch(n, keep_leader(n, 0), epoch);
		later(k, n->registered ? n->cfg.alive_every : AGAIN_MAX);
		return;
	}
	if (status != WIRE_NO_KEEPER && !k->warned) {
		k->warned = true;
		log_error("mod=node status=%s msg=\"cannot register: %s\"",
			wire_status_name(status), a->text);
	}
	later(k, backoff(k));
}

/* Where others find us: as we were told, else where we listen. */
static void put_addrs(const struct node *n, struct wire_ask_m *m)
{
	const struct listener *l;

	for (unsigned i = 0; i < n->cfg.naddrs && m->naddrs < WIRE_ADDRS_MAX; i++)
		snprintf(m->addr[m->naddrs++], sizeof(m->addr[0]), "%s", n->cfg.addrs[i]);
	if (m->naddrs)
		return;
	TAILQ_FOREACH (l, &n->listeners, entry) {
		if (m->naddrs < WIRE_ADDRS_MAX)
			snprintf(m->addr[m->naddrs++], sizeof(m->addr[0]), "%s",
				env_listener_addr(n->env, l->l));
	}
}

static void do_register(struct keep *k)
{
	struct node *n = k->n;
	struct wire_ask_m *m = &k->ask.m;

	memset(m, 0, sizeof(*m));
	m->what = ASK_REGISTER;
	m->node = n->id;
	m->incarnation = n->incarnation;
	m->epoch = n->ring->epoch;
	m->term = k->number;
	if (store_info(n->st)->whole)
		m->flags |= ASK_F_WHOLE;
	if (n->cfg.witness)
		m->flags |= ASK_F_WITNESS;
	else
		m->weight = n->cfg.weight;
	snprintf(m->zone, sizeof(m->zone), "%s", n->cfg.zone ? n->cfg.zone : "");
	put_addrs(n, m);
	if (!m->naddrs) {
		later(k, AGAIN_MAX); /* it does not listen yet */
		return;
	}
	k->asking = true;
	k->ask.done = registered;
	keep_ask(n, &k->ask);
}

static void alive(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct node *n = a->n;

	if (!n->stopping && status != WIRE_NO_KEEPER)
		route_epoch(n, keep_leader(n, 0), epoch);
	else if (!n->stopping && n->registered)
		later(n->keep, AGAIN_MIN); /* at another one */
	free(a);
}

/* Whether or not the one before was answered: a leader that hangs must not keep us from telling the
 * next one. */
static void say_alive(struct keep *k)
{
	struct node *n = k->n;
	struct keep_ask *a = mem_zalloc(sizeof(*a));
	struct store_usage u;

	store_usage(n->st, &u);
	a->m.what = ASK_ALIVE;
	a->m.node = n->id;
	a->m.incarnation = n->incarnation;
	a->m.epoch = n->ring->epoch;
	a->m.used = u.log;
	a->m.available = u.available;
	a->done = alive;
	later(k, n->cfg.alive_every);
	keep_ask(n, a);
}

static void retired(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct keep *k = a->n->keep;

	/* we stop serving when the map comes; others are told by us that we did */
	if (!a->n->stopping && status == WIRE_OK)
		route_epoch(a->n, keep_leader(a->n, 0), epoch);
	k->retired(k->retired_arg, wire_errno(status));
}

void node_retire(struct node *n, void (*done)(void *arg, int rc), void *arg)
{
	struct keep *k = n->keep;
	struct wire_ask_m *m = &k->retire.m;

	assert(!k->retiring);
	k->retiring = true;
	k->retired = done;
	k->retired_arg = arg;
	m->what = ASK_DOWN;
	m->node = n->id;
	m->incarnation = n->incarnation;
	m->epoch = n->ring ? n->ring->epoch : 0;
	k->retire.done = retired;
	keep_ask(n, &k->retire);
}

static void keep_fire(struct env_timer *t)
{
	struct keep *k = container_of(t, struct keep, timer);
	struct node *n = k->n;

	if (n->stopping || (k->retiring && !n->registered))
		return;
	/* others would leave to us what we can not keep any more */
	if (node_broken(n))
		return;
	if (n->ring && n->registered && keeper_leads(n->keeper) && n->ring->nnodes == 1)
		return; /* it need not tell itself; the next map sets the timer */
	if (n->ring && n->registered) {
		say_alive(k);
	} else if (k->asking) {
		return; /* who answers goes on */
	} else if (n->ring && (k->tries % 4 != 3 || !n->cfg.njoin)) {
		do_register(k);
	} else {
		/* no map, or nobody in it answers */
		join(k);
		later(k, backoff(k));
	}
}

/* ---- the keeper's wishes ---- */

static int keeper_send(void *arg, uint32_t to, struct frame *f)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, to) : RING_NONE;

	if (at == RING_NONE || at == n->self) {
		frame_unref(f);
		return -EHOSTUNREACH;
	}
	return peer_tell(n, at, f);
}

static void keeper_has_map(void *arg, struct ring_map *m)
{
	struct node *n = arg;
	int rc = keep_adopt(n, m);

	if (rc && rc != -EEXIST && rc != -ESHUTDOWN)
		log_error("mod=node epoch=%" PRIu64 " rc=-%s msg=\"cannot take the ring map\"",
			m->epoch, log_errno(rc));
}

static void keeper_probes(void *arg, uint32_t number)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, number) : RING_NONE;

	if (at != RING_NONE && at != n->self)
		peer_tell(n, at, frame_new(WIRE_PING, 0, 0));
}

static void keeper_failed(void *arg, int rc)
{
	struct node *n = arg;

	n->keeper_rc = rc; /* node_broken() says so */
}

static void keeper_pokes(void *arg, uint32_t number)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, number) : RING_NONE;
	struct frame *f;

	if (at == RING_NONE || n->stopping)
		return;
	if (at == n->self) {
		env_timer_set(n->env, &n->keep->timer, env_now(n->env));
		return;
	}
	f = frame_new(WIRE_EPOCH, 0, 8);
	buf_u64(&f->b, n->ring->epoch);
	peer_tell(n, at, f);
}

static const struct keeper_ops keeper_ops = {.send = keeper_send,
	.poke = keeper_pokes,
	.map = keeper_has_map,
	.probe = keeper_probes,
	.failed = keeper_failed};

bool keep_wants(const struct node *n, const struct orbit_id *id)
{
	uint16_t at = n->ring ? ring_find(n->ring, id) : RING_NONE;

	/* the leader sees who dies; the others see whether the leader does */
	return at != RING_NONE && n->ring->nodes[at].up &&
	       (keeper_leads(n->keeper) || at == n->ring->keeper);
}

void keep_link_down(struct node *n, const struct orbit_id *id, bool refused)
{
	uint16_t at = n->ring ? ring_find(n->ring, id) : RING_NONE;

	if (at != RING_NONE && refused)
		keeper_refused(n->keeper, n->ring->nodes[at].number);
}

/* ---- life ---- */

int keep_new(struct node *n)
{
	struct keep *k = mem_zalloc(sizeof(*k));
	int rc;

	n->keep = k;
	k->n = n;
	k->timer.fire = keep_fire;
	k->save_timer.fire = keep_map_save;
	k->join_timer.fire = join_late;
	k->gate = gate_new(n->env);
	n->cfg.keeper.fail_timeout = n->cfg.fail_timeout;
	n->cfg.keeper.learn_shards = n->cfg.learn_shards;
	rc = keeper_new(&n->keeper, n->env, n->st, &n->cfg.keeper, &keeper_ops, n);
	if (!rc)
		rc = keep_map_load(n);
	/* by its ID alone it would not know itself after a rename */
	if (!rc && !k->number)
		k->number = keeper_own_number(n->keeper);
	if (!rc && keeper_map(n->keeper))
		rc = keep_adopt(n, keeper_map(n->keeper));
	return rc == -EEXIST ? 0 : rc;
}

void keep_start(struct node *n)
{
	env_timer_set(n->env, &n->keep->timer, env_now(n->env));
}

static void quiet(struct keep *k)
{
	struct env *e = k->n->env;

	join_end(k);
	env_timer_clear(e, &k->timer);
	env_timer_clear(e, &k->save_timer);
}

void keep_stop(struct node *n)
{
	quiet(n->keep);
	keeper_stop(n->keeper);
}

bool keep_busy(const struct node *n)
{
	return n->keep->saving || keeper_busy(n->keeper);
}

void keep_free(struct node *n)
{
	struct keep *k = n->keep;

	if (!k)
		return;
	quiet(k);
	gate_close(k->gate);
	/* tells those that wait for it */
	keeper_free(n->keeper);
	n->keeper = NULL;
	keep_drop_diffs(k);
	free(k);
	n->keep = NULL;
}

void keep_status(const struct node *n, struct buf *b)
{
	wire_put_stat(b, "node.registered", "%d", n->registered);
	keeper_status(n->keeper, b);
}
