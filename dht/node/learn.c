/*
 * How a copy that is not level becomes level: the learner drives.
 *
 *   state     does                                             then
 *   QUEUED    waits for its turn                               ASKING
 *   ASKING    LEARN to the primary: tail or walk?              PULLING; MARKING
 *   MARKING   notes durably that the copy is no prefix         WALKING
 *   WALKING   makes the copy what the source has               SETTING
 *   SETTING   takes over the source's history as of LEARN      PULLING
 *   PULLING   effects up to the end that the source has        JOINING
 *   JOINING   JOIN: the source sends what comes from now on    FILLING
 *   FILLING   effects up to there                              SYNCING
 *   SYNCING   the mark goes, the store syncs                   SAYING
 *   SAYING    JOIN: we have all durably                        LEVEL; SYNCING again
 *   LEVEL     waits for the map                                the role ends; SAYING again
 *
 * Whatever fails leads back to QUEUED, and all begins anew, which costs little when our history is
 * a prefix. The same happens when the map gives the shard another term.
 *
 * The mark. While a walk is under way the copy is a mixture; after it, it has bits of effects that
 * came after the history that it took over. So the mark stays, saying up to which effect, until the
 * copy has all effects up to there: should that primary fail and its last effects with it, the next
 * one is told, and the copy is walked over again.
 */
#include "dht/node/learn.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define BACKOFF_MIN (50 * ENV_MS)
#define BACKOFF_MAX (5 * ENV_SEC)
#define SYNC_AGAIN (5 * ENV_MS)
#define SAY_AGAIN ENV_SEC

/* ---- marks ---- */

static void mark_key(struct key *k, uint16_t shard)
{
	key_class(k, KEY_WALK, shard);
}

bool learn_partial(const struct node *n, uint16_t shard)
{
	return n->learn && n->learn->marks[shard].copy != WIRE_COPY_PREFIX;
}

static struct learn_mark *mark_of(struct learn *l)
{
	return &l->n->learn->marks[l->s->number];
}

/* Writes the mark into the effect. In memory it is set by who sees it applied. */
static void mark_put(struct learn *l, struct learn_mark m)
{
	uint8_t val[18] = {LEARN_MARK_FORMAT, m.copy};
	uint64_t term = htole64(m.term), seq = htole64(m.seq);
	struct key key;

	mark_key(&key, l->s->number);
	if (m.copy == WIRE_COPY_PREFIX) {
		effect_del(&l->effect, key.b, key.len);
	} else {
		memcpy(val + 2, &term, 8);
		memcpy(val + 10, &seq, 8);
		effect_put(&l->effect, key.b, key.len, val, sizeof(val));
	}
}

/* ---- life ---- */

void learn_release(struct learn *l)
{
	struct node *n = l->n;

	TAILQ_REMOVE(&n->learn->all, l, entry);
	env_timer_clear(n->env, &l->timer);
	pull_cancel(l->pull);
	frame_unref(l->line);
	learn_walk_fini(l);
	effect_fini(&l->effect);
	free((void *)l->history.terms);
	free(l);
	if (n->stopping)
		node_check_stopped(n);
}

/* A callback came: false when nobody waits for it any more. */
static bool unpin(struct learn *l)
{
	l->pinned--;
	if (!l->dead && !l->n->stopping)
		return true;
	if (l->dead && !l->pinned)
		learn_release(l);
	return false;
}

/* Another may have its turn. */
static void end_turn(struct learn *l)
{
	if (l->turn)
		l->n->learn->active--;
	l->turn = false;
}

/* It is not learned any more. */
void learn_end(struct learn *l)
{
	struct learning *all = l->n->learn;

	end_turn(l);
	all->of[l->s->number] = NULL;
	l->dead = true;
	env_timer_clear(l->n->env, &l->timer);
	pull_cancel(l->pull);
	l->pull = NULL;
	TAILQ_REMOVE(&all->all, l, entry);
	TAILQ_INSERT_TAIL(&all->all, l, entry);
	if (!l->pinned)
		learn_release(l);
}

void learn_fail(struct learn *l, int rc, const char *what)
{
	uint64_t wait = BACKOFF_MIN << (l->tries < 8 ? l->tries : 8);
	struct node *n = l->n;

	if (wait > BACKOFF_MAX)
		wait = BACKOFF_MAX;
	if (l->tries++ > 1 || rc == -EIO)
		log_warn("mod=learn shard=%u rc=-%s msg=\"%s; tries again\"", l->s->number,
			log_errno(rc), what);
	l->not_before = env_now(n->env) + wait / 2 + env_random_u64(n->env) % wait;
	end_turn(l);
	l->state = LEARN_QUEUED;
	env_timer_clear(n->env, &l->timer);
	pull_cancel(l->pull);
	l->pull = NULL;
	frame_unref(l->line);
	l->line = NULL;
	learn_walk_fini(l);
	/* not from here: many may fail one after the other */
	learn_poke(n);
}

void learn_refused(struct learn *l, const struct wire_reply *m, const char *what)
{
	learn_fail(l, wire_errno(m->status), what);
}

/* ---- what it waits for ---- */

static void later_fire(struct env_timer *t)
{
	struct learn *l = container_of(t, struct learn, timer);

	l->later(l);
}

static void later(struct learn *l, uint64_t when, void (*fn)(struct learn *l))
{
	l->later = fn;
	l->timer.fire = later_fire;
	env_timer_set(l->n->env, &l->timer, when);
}

static void store_ready(struct store_wait *w)
{
	struct learn *l = container_of(w, struct learn, wait);

	if (unpin(l))
		l->later(l);
}

void learn_wait(struct learn *l, void (*fn)(struct learn *l))
{
	l->later = fn;
	l->wait.ready = store_ready;
	l->pinned++;
	store_wait(l->n->st, &l->wait);
}

static void effect_done(struct own *o, int rc)
{
	struct learn *l = container_of(o, struct learn, own);

	if (!unpin(l))
		return;
	if (rc)
		learn_fail(l, rc, "the log failed");
	else
		l->applied(l);
}

static void apply_again(struct learn *l)
{
	learn_apply(l, l->own.effect, l->applied);
}

void learn_apply(struct learn *l, const struct effect *e, void (*fn)(struct learn *l))
{
	int rc;

	l->own.done = effect_done;
	l->own.effect = e;
	l->applied = fn;
	rc = own_apply(l->n, &l->own, STORE_NORMAL);
	if (rc == -EAGAIN)
		learn_wait(l, apply_again);
	else if (rc)
		learn_fail(l, rc, "the store refuses what was learned");
	else
		l->pinned++;
}

static void answered(struct call *call, int rc, struct frame *f)
{
	struct learn *l = container_of(call, struct learn, call);
	struct wire_reply m = {.status = WIRE_UNREACHABLE};
	struct node *n = l->n;

	if (!unpin(l))
		return;
	if (rc) {
		f = NULL;
	} else if (f->type != WIRE_REPLY || wire_get_reply(frame_cur(f), &m)) {
		m.status = WIRE_BAD_REQUEST;
	} else {
		learn_fetched(n, frame_body_len(f));
		route_epoch(n, ring_find(n->ring, &l->source), m.epoch);
	}
	l->answered(l, &m, f);
}

static void send_line(struct learn *l)
{
	uint16_t node = ring_find(l->n->ring, &l->source);
	struct frame *f = l->line;

	l->line = NULL;
	if (node == RING_NONE || node == l->n->self) {
		frame_unref(f);
		learn_fail(l, -EHOSTUNREACH, "the primary left the map");
		return;
	}
	l->call.done = answered;
	l->pinned++;
	peer_call(l->n, node, f, &l->call);
}

void learn_call(struct learn *l, struct frame *f,
	void (*fn)(struct learn *l, const struct wire_reply *m, struct frame *f))
{
	uint64_t when = learn_pace(l->n);

	l->answered = fn;
	l->line = f;
	if (when)
		later(l, when, send_line);
	else
		send_line(l);
}

/* ---- an effect of ours ---- */

static void own_begin(struct learn *l)
{
	effect_fini(&l->effect);
	effect_init(&l->effect);
	effect_section(&l->effect, l->s->number, 0, 0);
}

static void synced_done(struct store_sync *s, int rc)
{
	struct learn *l = container_of(s, struct learn, sync);

	if (!unpin(l))
		return;
	if (rc)
		learn_fail(l, rc, "the store cannot be synced");
	else
		l->later(l);
}

static void sync_then(struct learn *l, void (*fn)(struct learn *l))
{
	l->later = fn;
	l->sync.done = synced_done;
	l->pinned++;
	store_sync(l->n->st, &l->sync);
}

/* ---- the end: joining ---- */

static void do_sync(struct learn *l);
static void do_say(struct learn *l);

static void said(struct learn *l, const struct wire_reply *m, struct frame *f)
{
	(void)f;
	if (m->status == WIRE_RETRY) {
		l->state = LEARN_SYNCING;
		later(l, env_now(l->n->env) + SYNC_AGAIN, do_sync);
	} else if (m->status) {
		learn_refused(l, m, "the primary does not want the copy");
	} else {
		l->state = LEARN_LEVEL;
		l->tries = 0;
		end_turn(l);
		learn_poke(l->n);
		later(l, env_now(l->n->env) + SAY_AGAIN, do_say);
	}
}

static void do_say(struct learn *l)
{
	struct wire_join m = {.token = l->token,
		.shard = l->s->number,
		.step = WIRE_JOIN_SYNCED,
		.seq = l->synced_at};
	struct frame *f = frame_new(WIRE_JOIN, 0, 24);

	l->state = LEARN_SAYING;
	wire_put_join(&f->b, &m);
	learn_call(l, f, said);
}

static void do_sync(struct learn *l)
{
	l->state = LEARN_SYNCING;
	l->synced_at = store_history(l->n->st, l->s->number).seq;
	sync_then(l, do_say);
}

static void unmarked(struct learn *l)
{
	*mark_of(l) = (struct learn_mark){WIRE_COPY_PREFIX, 0, 0};
	do_sync(l);
}

/* The source's log is damaged, or one of its effects is not for a message: only a walk gets past
 * it. */
static bool tail_is_bad(int rc)
{
	return rc == -EIO || rc == -EMSGSIZE;
}

static void filled(void *arg, int rc)
{
	struct learn *l = arg;

	l->pull = NULL;
	if (rc) {
		l->must_walk |= tail_is_bad(rc);
		learn_fail(l, rc, "effects before the stream could not be fetched");
		return;
	}
	l->state = LEARN_SYNCING;
	if (mark_of(l)->copy == WIRE_COPY_PREFIX) {
		do_sync(l);
		return;
	}
	/* the source's last effect then is behind all that was walked over */
	assert(mark_of(l)->copy == WIRE_COPY_AHEAD && mark_of(l)->seq <= l->last);
	own_begin(l);
	mark_put(l, (struct learn_mark){WIRE_COPY_PREFIX, 0, 0});
	learn_apply(l, &l->effect, unmarked);
}

static void joined(struct learn *l, const struct wire_reply *m, struct frame *f)
{
	uint64_t term;

	(void)f;
	if (m->status) {
		learn_refused(l, m, "the primary does not let the copy join");
		return;
	}
	if (wire_get_join_reply(cur_of(m->results, m->results_len), &term, &l->last)) {
		learn_fail(l, -EPROTO, "an answer makes no sense");
		return;
	}
	if (mark_of(l)->copy == WIRE_COPY_AHEAD && mark_of(l)->seq > l->last) {
		learn_fail(l, -EPROTO, "the primary has lost what it had");
		return;
	}
	l->state = LEARN_FILLING;
	l->pull = pull_new(l->n, l->s, &l->source, l->token, l->last, filled, l);
}

static void pulled(void *arg, int rc)
{
	struct learn *l = arg;
	struct wire_join m = {.token = l->token, .shard = l->s->number, .step = WIRE_JOIN_STREAM};
	struct frame *f;

	l->pull = NULL;
	if (rc) {
		l->must_walk |= tail_is_bad(rc);
		learn_fail(l, rc, "effects could not be fetched");
		return;
	}
	l->state = LEARN_JOINING;
	f = frame_new(WIRE_JOIN, 0, 24);
	wire_put_join(&f->b, &m);
	learn_call(l, f, joined);
}

static void do_pull(struct learn *l)
{
	l->state = LEARN_PULLING;
	l->pull = pull_new(l->n, l->s, &l->source, l->token, UINT64_MAX, pulled, l);
}

/* ---- the walk ---- */

static struct learn_mark mark_walked(const struct learn *l)
{
	const struct learn_walk *w = &l->walk;

	/* nothing came in between: it is what the history says */
	if (w->term == l->history.term && w->seq == l->history.seq)
		return (struct learn_mark){WIRE_COPY_PREFIX, 0, 0};
	return (struct learn_mark){WIRE_COPY_AHEAD, w->term, w->seq};
}

static void settled(struct learn *l)
{
	*mark_of(l) = mark_walked(l);
	l->tries = 0;
	l->must_walk = false;
	do_pull(l);
}

void learn_walked(struct learn *l)
{
	l->state = LEARN_SETTING;
	own_begin(l);
	effect_history(&l->effect, &l->history);
	mark_put(l, mark_walked(l));
	learn_apply(l, &l->effect, settled);
}

static void marked(struct learn *l)
{
	l->state = LEARN_WALKING;
	learn_walk(l);
}

static void mark_applied(struct learn *l)
{
	sync_then(l, marked);
}

static void do_mark(struct learn *l)
{
	l->state = LEARN_MARKING;
	own_begin(l);
	*mark_of(l) = (struct learn_mark){WIRE_COPY_WALKING, 0, 0};
	mark_put(l, *mark_of(l));
	learn_apply(l, &l->effect, mark_applied);
}

/* ---- the beginning ---- */

static void asked(struct learn *l, const struct wire_reply *m, struct frame *f)
{
	struct wire_learn_reply r;
	struct cur c;

	(void)f;
	if (m->status) {
		learn_refused(l, m, "the primary does not teach");
		return;
	}
	if (wire_get_learn_reply(cur_of(m->results, m->results_len), &r))
		goto bad;
	free((void *)l->history.terms);
	l->history = (struct history){0};
	c = cur_of(r.history, r.history_len);
	if (history_decode(&c, &l->history) || !cur_done(&c))
		goto bad;
	if (r.mode == WIRE_LEARN_TAIL && mark_of(l)->copy == WIRE_COPY_WALKING)
		goto bad;
	l->token = r.token;
	log_debug("mod=learn shard=%u term=%" PRIu64 " seq=%" PRIu64 " to=%" PRIu64
		  " mode=%s msg=\"learning\"",
		l->s->number, l->term, store_history(l->n->st, l->s->number).seq, l->history.seq,
		r.mode == WIRE_LEARN_WALK ? "walk" : "tail");
	if (r.mode == WIRE_LEARN_WALK) {
		l->n->stats.learn_walks++;
		do_mark(l);
	} else {
		l->n->stats.learn_tails++;
		do_pull(l);
	}
	return;
bad:
	learn_fail(l, -EPROTO, "an answer makes no sense");
}

void learn_ask(struct learn *l)
{
	struct history h = store_history(l->n->st, l->s->number);
	const struct learn_mark *mark = mark_of(l);
	struct wire_learn m = {.node = l->n->id,
		.shard = l->s->number,
		.term = l->term,
		.copy = l->must_walk ? WIRE_COPY_WALKING : mark->copy,
		.need_term = mark->term,
		.need_seq = mark->seq};
	struct frame *f = frame_new(WIRE_LEARN, 0, 96 + 16 * (size_t)h.nterms);

	l->state = LEARN_ASKING;
	l->turn = true;
	l->n->learn->active++;
	wire_put_learn_head(&f->b, &m);
	history_encode(&h, &f->b);
	learn_call(l, f, asked);
}
