/*
 * Which copies are brought level now, and how fast: the learners' table, their turns, and the rate
 * at which the node may fetch.
 */
#include "dht/node/learn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define PACE_BURST (50 * ENV_MS) /* of the rate that may be fetched at once */
#define RATE_WINDOW ENV_SEC
#define FETCHES 20 /* that the rate allows in a second, at least */
#define FETCH_MIN (64u << 10)
#define FETCH_MAX (1u << 20)

/* ---- whose turn it is ---- */

/* Lets those go on whose turn it is. */
static void schedule(struct node *n)
{
	struct learning *all = n->learn;
	uint64_t now = env_now(n->env), next = UINT64_MAX;
	struct learn *l, *after;

	for (l = TAILQ_FIRST(&all->all); l && !n->stopping; l = after) {
		after = TAILQ_NEXT(l, entry);
		/* what is pinned by an attempt that failed ends first */
		if (l->dead || l->state != LEARN_QUEUED || l->pinned ||
			erase_clears(n, l->s->number))
			continue;
		if (l->not_before > now) {
			next = l->not_before < next ? l->not_before : next;
			continue;
		}
		if (all->active >= n->cfg.learn_shards)
			break;
		learn_ask(l);
		if (l->state == LEARN_QUEUED && l->not_before < next)
			next = l->not_before; /* it failed at once */
	}
	if (next != UINT64_MAX)
		env_timer_set(n->env, &all->timer, next);
}

static void schedule_fire(struct env_timer *t)
{
	schedule(container_of(t, struct learning, timer)->n);
}

/* ---- how fast ---- */

uint64_t learn_pace(struct node *n)
{
	uint64_t now = env_now(n->env);

	if (!n->cfg.learn_rate || n->learn->pace <= now + PACE_BURST)
		return 0;
	return n->learn->pace - PACE_BURST;
}

void learn_fetched(struct node *n, size_t bytes)
{
	struct learning *all = n->learn;
	uint64_t now = env_now(n->env);

	n->stats.learn_bytes += bytes;
	if (n->cfg.learn_rate) {
		if (all->pace < now)
			all->pace = now;
		all->pace += bytes * ENV_SEC / n->cfg.learn_rate;
	}
	if (now - all->window >= RATE_WINDOW) {
		all->rate = all->window_bytes * ENV_SEC / (now - all->window);
		all->window = now;
		all->window_bytes = 0;
	}
	all->window_bytes += bytes;
}

uint32_t learn_most(const struct node *n)
{
	uint64_t most = n->cfg.learn_rate / FETCHES;

	if (!n->cfg.learn_rate || most > FETCH_MAX)
		return FETCH_MAX;
	return most < FETCH_MIN ? FETCH_MIN : (uint32_t)most;
}

/* Bytes per second, lately. */
static uint64_t learn_rate(struct node *n)
{
	const struct learning *all = n->learn;

	return env_now(n->env) - all->window > 3 * RATE_WINDOW ? 0 : all->rate;
}

/* ---- the table ---- */

static int mark_read(struct node *n, const uint8_t *key, size_t klen, struct cur c)
{
	struct learn_mark *m;

	if (klen != KEY_HEAD || get_be16(key + 1) >= n->nshards || cur_u8(&c) != LEARN_MARK_FORMAT)
		return -EUCLEAN;
	m = &n->learn->marks[get_be16(key + 1)];
	m->copy = cur_u8(&c);
	m->term = cur_u64(&c);
	m->seq = cur_u64(&c);
	return cur_done(&c) && m->copy <= WIRE_COPY_AHEAD ? 0 : -EUCLEAN;
}

int learn_load(struct node *n)
{
	const uint8_t from = KEY_WALK, to = KEY_WALK + 1;
	struct learning *all = mem_zalloc(sizeof(*all));
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	int rc;

	TAILQ_INIT(&all->all);
	TAILQ_INIT(&all->pulls);
	all->n = n;
	all->timer.fire = schedule_fire;
	all->nshards = n->nshards;
	all->of = mem_zalloc((n->nshards + 1) * sizeof(struct learn *));
	all->marks = mem_zalloc((n->nshards + 1) * sizeof(*all->marks));
	n->learn = all;
	it = store_iter_new(n->st, &from, 1, &to, 1);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		rc = mark_read(n, key, klen, cur_of(val, vlen));
		if (rc)
			break;
	}
	store_iter_free(it);
	return rc;
}

/* In the order of shards, before those that are dead. */
static void learn_begin(struct node *n, struct shard *s)
{
	const struct ring_shard *rs = &n->ring->shards[s->number];
	struct learn *l = mem_zalloc(sizeof(*l)), *at;

	l->n = n;
	l->s = s;
	l->term = rs->term;
	l->source = n->ring->nodes[rs->primary].id;
	effect_init(&l->effect);
	n->learn->of[s->number] = l;
	TAILQ_FOREACH (at, &n->learn->all, entry) {
		if (at->dead || at->s->number > s->number) {
			TAILQ_INSERT_BEFORE(at, l, entry);
			return;
		}
	}
	TAILQ_INSERT_TAIL(&n->learn->all, l, entry);
}

void learn_adopt(struct node *n)
{
	struct learning *all = n->learn;

	if (!all)
		return;
	for (unsigned i = 0; i < n->nshards; i++) {
		const struct ring_shard *rs = &n->ring->shards[i];
		struct shard *s = node_shard(n, i);
		bool wanted = s->role == ROLE_LEARNER && rs->primary != RING_NONE;
		struct learn *l = all->of[i];

		if (l && wanted && l->term == rs->term &&
			!orbit_id_cmp(&l->source, &n->ring->nodes[rs->primary].id))
			continue;
		if (l) {
			if (s->role != ROLE_LEARNER && s->role != ROLE_NONE)
				n->stats.learned++;
			learn_end(l);
		}
		if (wanted)
			learn_begin(n, s);
		if (s->role == ROLE_BACKUP && learn_partial(n, (uint16_t)i))
			log_error("mod=learn shard=%u msg=\"a copy that is not whole was made a "
				  "member\"",
				i);
	}
	schedule(n);
}

void learn_stop(struct node *n)
{
	struct learn *l;

	while (n->learn && (l = TAILQ_FIRST(&n->learn->all)) && !l->dead)
		learn_end(l);
}

void learn_free(struct node *n)
{
	struct learning *all = n->learn;
	struct learn *l;

	if (!all)
		return;
	learn_stop(n);
	while ((l = TAILQ_FIRST(&all->all)))
		learn_release(l);
	pull_free_all(n);
	env_timer_clear(n->env, &all->timer);
	free(all->of);
	free(all->marks);
	free(all);
	n->learn = NULL;
}

void learn_poke(struct node *n)
{
	if (n->learn && !n->stopping)
		env_timer_set(n->env, &n->learn->timer, env_now(n->env));
}

void learn_cleared(struct node *n, uint16_t shard)
{
	if (n->learn)
		n->learn->marks[shard] = (struct learn_mark){WIRE_COPY_PREFIX, 0, 0};
}

bool learn_busy(const struct node *n)
{
	const struct learn *l;

	if (!n->learn)
		return false;
	TAILQ_FOREACH (l, &n->learn->all, entry) {
		if (l->pinned)
			return true;
	}
	return !TAILQ_EMPTY(&n->learn->pulls);
}

void learn_status(struct node *n, struct buf *b)
{
	unsigned waiting = 0;
	struct learn *l;

	if (!n->learn)
		return;
	TAILQ_FOREACH (l, &n->learn->all, entry)
		waiting += !l->dead && l->state == LEARN_QUEUED;
	wire_put_stat(b, "learn.shards_waiting", "%u", waiting);
	wire_put_stat(b, "learn.shards_active", "%u", n->learn->active);
	wire_put_stat(b, "learn.shards_done", "%" PRIu64, n->stats.learned);
	wire_put_stat(b, "learn.bytes", "%" PRIu64, n->stats.learn_bytes);
	wire_put_stat(b, "learn.objects", "%" PRIu64, n->stats.learn_objects);
	wire_put_stat(b, "learn.rate", "%" PRIu64, learn_rate(n));
	wire_put_stat(b, "learn.walks", "%" PRIu64, n->stats.learn_walks);
	wire_put_stat(b, "learn.tails", "%" PRIu64, n->stats.learn_tails);
}
