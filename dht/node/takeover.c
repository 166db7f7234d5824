/*
 * Becoming the primary of a shard.
 *
 *   step    waits for                                       then
 *   ASK     what each member has (RECOVER)                  the longest is the shard's history
 *   PULL    what we lack of it, from who has it             asked again if that fails
 *   LEVEL   all members have all of it: it is committed     it goes to them as APPENDs
 *   LOAD    its tables in memory (sessions, votes, ...)
 *   LEASE   whoever led it before does not believe so       served
 *           any more (lease.c)
 *
 * From the map's term on members refuse effects of earlier terms, so what they tell stays true. One
 * that has what the longest history lacks lost power, or is not a member by right: the keeper takes
 * it out. One that does not answer is reported by lease.c until the map drops it; one that is
 * suspect may bring back what was acknowledged, so it is waited for until recovery_wait.
 *
 * The same question is asked of members that were started anew while we serve (repl.c).
 */
#include <assert.h>
#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/repl_int.h"

#define RECOVER_ONCE 128 /* shards in one RECOVER */
#define RECOVER_AGAIN (5 * ENV_MS)
#define LOAD_ONCE 64       /* shards whose tables are loaded together */
#define LOAD_TURN 4096     /* records in one turn of the loop */
#define LOAD_AGAIN ENV_SEC /* after damage */

enum take_at { TAKE_ASK, TAKE_PULL, TAKE_LEVEL, TAKE_LOAD, TAKE_LEASE };

struct take {
	struct shard *shard;
	enum take_at at;
	uint64_t began;
	bool said;     /* that suspects are not waited for any more */
	bool resigned; /* the keeper was told that we cannot lead */
	struct pull *pull;
	TAILQ_ENTRY(take) entry;
};

/* ---- asking ---- */

struct recover {
	struct call call;
	struct peer *peer;
	uint64_t incarnation;
	unsigned n;
	struct wire_recover_one of[RECOVER_ONCE];
	TAILQ_ENTRY(recover) entry;
};

static void told(struct node *n, struct copy *c, struct history *h, uint64_t incarnation)
{
	struct shard *s = c->shard;
	struct history ours;
	bool prefix;

	c->incarnation = incarnation;
	if (s->role == ROLE_TAKING_OVER && s->take->at <= TAKE_PULL) {
		history_free(&c->told);
		c->told = *h;
		*h = (struct history){0};
		c->state = COPY_TOLD;
		return;
	}
	/* the history is settled */
	ours = store_history(n->st, s->number);
	prefix = !h->seq || history_contains(&ours, h->term, h->seq);
	if (prefix) {
		copy_stream(n, c, h->seq);
		repl_commit(n, s);
	} else {
		c->state = COPY_BAD;
		copy_complain(n, c, "it has effects that the shard has not");
	}
}

static int take_answers(struct recover *r, const struct wire_reply *m)
{
	struct node *n = r->peer->n;
	struct cur cur = cur_of(m->results, m->results_len);

	for (unsigned i = 0; i < r->n; i++) {
		struct shard *s = node_shard(n, r->of[i].shard);
		uint16_t status = cur_u16(&cur);
		struct copy *c = copy_at(s, r->peer);
		struct history h = {0};

		if (status == WIRE_RETRY)
			repl_soon(n, RECOVER_AGAIN);
		if (status == WIRE_LOST && c && c->state == COPY_UNKNOWN)
			copy_complain(n, c, "it is not whole");

		if (!cur_ok(&cur) || (!status && history_decode(&cur, &h)))
			return -EBADMSG;
		if (!status && c && c->state == COPY_UNKNOWN && s->term == r->of[i].shard_term &&
			r->incarnation == r->peer->incarnation)
			told(n, c, &h, r->incarnation);
		history_free(&h);
	}
	return cur_done(&cur) ? 0 : -EBADMSG;
}

static void recovered(struct call *call, int rc, struct frame *answer)
{
	struct recover *r = container_of(call, struct recover, call);
	struct peer *p = r->peer;
	struct node *n = p->n;
	struct wire_reply m;

	for (unsigned i = 0; !n->stopping && i < r->n; i++) {
		struct copy *c = copy_at(node_shard(n, r->of[i].shard), p);

		if (c)
			c->asked = false;
	}
	if (!rc && r->n == RECOVER_ONCE)
		repl_soon(n, 0);
	if (!rc && !n->stopping) {
		r->incarnation = p->incarnation;
		if (answer->type != WIRE_REPLY || wire_get_reply(frame_cur(answer), &m) ||
			m.status || take_answers(r, &m))
			log_warn("mod=node msg=\"an answer to RECOVER that makes no sense\"");
		else
			lease_heard(n, &p->id, p->incarnation, m.epoch);
	}
	free(r);
	if (!n->stopping)
		take_go(n);
}

static void ask_peer(struct peer *p)
{
	struct node *n = p->n;
	uint16_t node = ring_find(n->ring, &p->id);
	struct recover *r = NULL;
	struct frame *f;
	struct copy *c;

	if (node == RING_NONE)
		return;
	TAILQ_FOREACH (c, &p->copies, of_peer) {
		if (c->state != COPY_UNKNOWN || c->asked || !c->member)
			continue;
		if (!r)
			r = mem_zalloc(sizeof(*r));
		c->asked = true;
		r->of[r->n++] = (struct wire_recover_one){
			.shard = c->shard->number, .shard_term = c->shard->term};
		if (r->n == RECOVER_ONCE)
			break;
	}
	if (!r)
		return;
	r->peer = p;
	r->call.done = recovered;
	f = frame_new(WIRE_RECOVER, 0, 16 + 10 * (size_t)r->n);
	wire_put_recover_head(&f->b, n->ring->epoch, r->n);
	for (unsigned i = 0; i < r->n; i++)
		wire_put_recover_one(&f->b, &r->of[i]);
	peer_call(n, node, f, &r->call);
}

void recover_ask(struct node *n)
{
	struct peer *p;

	if (n->stopping || !n->ring)
		return;
	/* one at a time for each link that stands; making one, too, is asked for only once */
	TAILQ_FOREACH (p, &n->peers, entry)
		ask_peer(p);
}

/* ---- the longest history ---- */

struct pull {
	struct node *n;
	struct take *take; /* NULL: it ended */
	struct peer *from;
	TAILQ_ENTRY(pull) entry;
};

static bool longer(const struct history *a, const struct history *b)
{
	return a->term != b->term ? a->term > b->term : a->seq > b->seq;
}

static void pulled(void *arg, int rc)
{
	struct pull *pu = arg;
	struct take *t = pu->take;
	struct node *n = pu->n;
	struct copy *c;

	TAILQ_REMOVE(&n->pulls, pu, entry);
	if (t && !n->stopping) {
		t->pull = NULL;
		t->at = TAKE_ASK;
		c = copy_at(t->shard, pu->from);
		if (rc && c && c->state == COPY_TOLD) {
			log_warn("mod=node shard=%u rc=-%s msg=\"cannot fetch what another copy "
				 "has\"",
				t->shard->number, log_errno(rc));
			/* what its log does not have any more only a learner can get */
			if (rc == -ESTALE)
				repl_resign(n, t->shard);
			/* the tick asks it again */
			copy_reset(c);
		}
		if (!rc)
			take_step(n, t->shard);
	}
	free(pu);
}

static void pull(struct node *n, struct take *t, struct copy *from)
{
	struct pull *pu = mem_zalloc(sizeof(*pu));

	pu->n = n;
	pu->take = t;
	pu->from = from->peer;
	t->pull = pu;
	t->at = TAKE_PULL;
	TAILQ_INSERT_TAIL(&n->pulls, pu, entry);
	learn_pull(n, t->shard, from->node, from->told.seq, pulled, pu);
}

/* Our own copy has what the shard's history lacks, or bits of what it lacks. */
static void not_by_right(struct node *n, struct shard *s)
{
	if (!s->take->resigned)
		log_error(
			"mod=node shard=%u msg=\"this copy has effects that the shard has not: it "
			"cannot lead\"",
			s->number);
	s->take->resigned = true;
	repl_resign(n, s);
}

static bool is_suspect(const struct node *n, const struct copy *c)
{
	const struct ring_shard *m = &n->ring->shards[c->shard->number];
	int at = ring_member(m, c->node);

	return at >= 0 && m->suspect >> at & 1;
}

/* All have told what they have? */
static bool all_told(struct node *n, struct take *t)
{
	struct repl *repl = t->shard->repl;
	bool all = true;

	for (unsigned i = 0; repl && i < repl->ncopies; i++) {
		struct copy *c = repl->copy[i];

		if (!c->member || c->state == COPY_TOLD || c->state == COPY_STREAM)
			continue;
		all = false;
		if (c->state != COPY_UNKNOWN || !is_suspect(n, c) ||
			env_now(n->env) < t->began + n->cfg.recovery_wait)
			continue;
		if (!t->said)
			log_error("mod=node shard=%u msg=\"a copy that may have what was "
				  "acknowledged did not come back: going on without it\"",
				t->shard->number);
		t->said = true;
		/* it then leaves the members, as any that is down */
		repl_vouch(n, t->shard);
	}
	return all;
}

/* True when we have the shard's history. */
static bool choose(struct node *n, struct take *t)
{
	struct history ours = store_history(n->st, t->shard->number), best = ours;
	struct repl *repl = t->shard->repl;
	struct copy *from = NULL;

	for (unsigned i = 0; repl && i < repl->ncopies; i++) {
		struct copy *c = repl->copy[i];

		if (c->state == COPY_TOLD && longer(&c->told, &best)) {
			best = c->told;
			from = c;
		}
	}
	if (!from)
		return true;
	if (ours.seq && !history_contains(&best, ours.term, ours.seq))
		not_by_right(n, t->shard);
	else
		pull(n, t, from);
	return false;
}

static void level(struct node *n, struct take *t)
{
	struct history ours = store_history(n->st, t->shard->number);
	struct repl *repl = t->shard->repl;

	for (unsigned i = 0; repl && i < repl->ncopies; i++) {
		struct copy *c = repl->copy[i];

		if (c->state != COPY_TOLD)
			continue;
		if (!c->told.seq || history_contains(&ours, c->told.term, c->told.seq)) {
			copy_stream(n, c, c->told.seq);
		} else {
			c->state = COPY_BAD;
			history_free(&c->told);
			copy_complain(n, c, "it has effects that the shard has not");
		}
	}
}

static bool all_level(struct node *n, struct shard *s)
{
	uint64_t last = shard_seq(n, s);

	if (s->flying || s->logged < last)
		return false;
	for (unsigned i = 0; s->repl && i < s->repl->ncopies; i++) {
		const struct copy *c = s->repl->copy[i];

		if (c->required && (c->state != COPY_STREAM || c->acked < last))
			return false;
	}
	return true;
}

/* ---- the tables ---- */

static const uint8_t classes[] = {KEY_FLOOR, KEY_REPLY, KEY_PREPARED, KEY_OUTCOME, KEY_LEASER};

/* Tables of the shards that are marked as loading, which lie from @first to @last. */
struct load {
	struct node *n;
	unsigned first, last;
	unsigned class;
	uint8_t from[EFFECT_KEY_MAX + 1]; /* where to go on */
	size_t from_len;
	struct store_wait wait;
	struct env_task task;
	struct env_timer again;
};

static void load_free(struct load *l)
{
	env_unpost(l->n->env, &l->task);
	env_timer_clear(l->n->env, &l->again);
	l->n->load = NULL;
	free(l);
}

static void load_class(struct load *l)
{
	struct key k;

	key_class(&k, classes[l->class], (uint16_t)l->first);
	memcpy(l->from, k.b, k.len);
	l->from_len = k.len;
}

static void load_run(struct load *l);

static void load_ready(struct store_wait *w)
{
	struct load *l = container_of(w, struct load, wait);
	struct node *n = l->n;

	n->repl_busy--;
	if (!n->stopping) {
		load_run(l);
		return;
	}
	load_free(l);
	node_check_stopped(n);
}

static void load_turn(struct env_task *t)
{
	load_run(container_of(t, struct load, task));
}

static void load_again(struct env_timer *t)
{
	load_run(container_of(t, struct load, again));
}

/* As many records of the class as one turn may: 1: there are more; 0; -errno. */
static int load_some(struct load *l)
{
	uint8_t class = classes[l->class];
	struct node *n = l->n;
	const void *key, *val;
	struct store_iter *it;
	unsigned left = LOAD_TURN;
	size_t klen, vlen;
	struct key to;
	int rc;

	key_class(&to, class, (uint16_t)l->last);
	key_after_prefix(&to);
	it = store_iter_new(n->st, l->from, l->from_len, to.b, to.len);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1 && left--) {
		rc = shard_of_key(n, key, klen);
		if (rc > 0 && (class == KEY_FLOOR || class == KEY_REPLY))
			rc = sess_load_one(n, key, klen, val, vlen);
		else if (rc > 0 && class == KEY_LEASER)
			rc = leaser_load_one(n, key, klen, val, vlen);
		else if (rc > 0)
			rc = intent_load_one(n, key, klen, val, vlen);
		if (rc)
			break;
		/* the first key behind it is the one that is longer by a zero byte */
		memcpy(l->from, key, klen);
		l->from[klen] = 0;
		l->from_len = klen + 1;
	}
	store_iter_free(it);
	return rc;
}

static void loaded(struct node *n)
{
	for (unsigned i = 0; i < n->nshards; i++) {
		struct shard *s = node_shard(n, i);

		if (!s->loading)
			continue;
		s->loading = false;
		if (s->take)
			s->take->at = TAKE_LEASE;
	}
}

static void load_run(struct load *l)
{
	struct node *n = l->n;
	int rc = 0;

	while (l->class < ARRAY_LEN(classes)) {
		rc = load_some(l);
		if (rc)
			break;
		if (++l->class < ARRAY_LEN(classes))
			load_class(l);
	}
	if (rc == 1) {
		l->task.run = load_turn;
		env_post(n->env, &l->task);
	} else if (rc == -EAGAIN) {
		l->wait.ready = load_ready;
		n->repl_busy++;
		store_wait(n->st, &l->wait);
	} else if (rc) {
		log_error("mod=node rc=-%s msg=\"cannot load the records of shards: they are not "
			  "served\"",
			log_errno(rc));
		n->load_rc = rc;
		l->again.fire = load_again;
		env_timer_set(n->env, &l->again, env_now(n->env) + LOAD_AGAIN);
	} else {
		load_free(l);
		loaded(n);
		take_go(n);
	}
}

/* Begins with those that stand in line. */
static void load_next(struct node *n)
{
	unsigned left = n->loading_all ? UINT32_MAX : LOAD_ONCE;
	struct load *l = NULL;
	struct take *t;

	if (n->load || n->stopping)
		return;
	TAILQ_FOREACH (t, &n->taking, entry) {
		unsigned number = t->shard->number;

		if (t->at != TAKE_LOAD || !left--)
			continue;
		if (!l) {
			l = mem_zalloc(sizeof(*l));
			l->first = l->last = number;
		}
		l->first = number < l->first ? number : l->first;
		l->last = number > l->last ? number : l->last;
		t->shard->loading = true;
	}
	if (!l)
		return;
	l->n = n;
	n->load = l;
	load_class(l);
	load_run(l);
}

/* ---- the steps ---- */

static void timer_fire(struct env_timer *t)
{
	take_go(container_of(t, struct node, take_timer));
}

static void serve(struct node *n, struct shard *s)
{
	struct take *t = s->take;

	TAILQ_REMOVE(&n->taking, t, entry);
	s->take = NULL;
	if (n->ring->nnodes > 1)
		log_debug("mod=node shard=%u term=%llu ms=%llu msg=\"serving\"", s->number,
			(unsigned long long)s->term,
			(unsigned long long)((env_now(n->env) - t->began) / ENV_MS));
	free(t);
	s->role = ROLE_SERVING;
	s->former = NULL;
	s->committed = s->logged = shard_seq(n, s);
	repl_vouch(n, s);
	n->suspects |= n->ring->shards[s->number].suspect != 0;
	repl_wake(n);
	grants_serve(n, s);
	/* what waits runs from its beginning */
	shard_wake(n, s);
}

static void step(struct node *n, struct shard *s)
{
	struct take *t = s->take;
	uint64_t when;

	if (t->at == TAKE_ASK) {
		if (learn_partial(n, s->number)) {
			not_by_right(n, s);
			return;
		}
		if (!all_told(n, t) || !choose(n, t))
			return;
		t->at = TAKE_LEVEL;
		level(n, t);
	}
	if (t->at == TAKE_LEVEL && all_level(n, s))
		t->at = TAKE_LOAD;
	if (t->at != TAKE_LEASE || !all_level(n, s))
		return;
	if (lease_over(n, s, &when)) {
		serve(n, s);
	} else if (!n->take_timer.armed || n->take_at > when) {
		n->take_at = when;
		n->take_timer.fire = timer_fire;
		env_timer_set(n->env, &n->take_timer, when);
	}
}

void take_go(struct node *n)
{
	struct take *t, *next;

	if (n->stopping)
		return;
	for (t = TAILQ_FIRST(&n->taking); t; t = next) {
		next = TAILQ_NEXT(t, entry);
		step(n, t->shard);
	}
	load_next(n);
}

void take_step(struct node *n, struct shard *s)
{
	if (!s->take || n->stopping)
		return;
	step(n, s);
	load_next(n);
}

void take_tick(struct node *n)
{
	take_go(n);
}

void take_begin(struct node *n, struct shard *s)
{
	struct take *t = mem_zalloc(sizeof(*t));

	assert(!s->take);
	t->shard = s;
	t->at = TAKE_ASK;
	t->began = env_now(n->env);
	s->take = t;
	TAILQ_INSERT_TAIL(&n->taking, t, entry);
}

void take_end(struct node *n, struct shard *s)
{
	struct take *t = s->take;

	if (!t)
		return;
	if (t->pull)
		t->pull->take = NULL;
	s->take = NULL;
	s->loading = false;
	TAILQ_REMOVE(&n->taking, t, entry);
	free(t);
}

void take_free(struct node *n)
{
	struct pull *pu;

	while ((pu = TAILQ_FIRST(&n->pulls))) {
		TAILQ_REMOVE(&n->pulls, pu, entry);
		free(pu);
	}
	if (n->load)
		load_free(n->load);
}
