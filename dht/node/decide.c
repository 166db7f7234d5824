/*
 * Outcomes of cross-shard transactions, told by the client (DECIDE), asked for by another
 * participant (RESOLVE), or found out by ourselves (doubt.c).
 *
 *                        DECIDE commit        DECIDE abort           RESOLVE
 *   committed            OK, once synced      COMMITTED              COMMITTED
 *   aborted              our bug or theirs    OK                     UNKNOWN
 *   prepared             carried out          dropped                PREPARED, and promised
 *   prepared, promised   carried out          the others are asked   PREPARED
 *   never heard of       below the floor: OK  aborted is recorded    aborted is recorded, UNKNOWN
 *
 * Promised: another participant was told that we voted yes. It may have gone on to commit because
 * all did, so the client, who knows less, can no longer abort here on its own.
 *
 * The answer OK to a commit comes after a sync, as it lets the client have the outcome forgotten
 * elsewhere; it is not waited for by anybody, so commits gather for NODE_DECIDE_SYNC and share it.
 * RESOLVE is answered from what is on disk.
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

/* ---- the shared sync ---- */

struct group {
	struct durable durable;
	struct node *n;
	struct seen *of; /* the shards of all */
	struct req_list reqs;
	TAILQ_ENTRY(group) entry;
};

static void group_free(struct group *g)
{
	TAILQ_REMOVE(&g->n->groups, g, entry);
	free(g->of);
	free(g);
}

static void group_synced(struct durable *d, int rc)
{
	struct group *g = container_of(d, struct group, durable);
	struct node *n = g->n;
	struct req *r;

	if (rc)
		log_error("mod=node rc=-%s msg=\"cannot make outcomes durable\"", log_errno(rc));
	while ((r = TAILQ_FIRST(&g->reqs))) {
		struct exec *x = container_of(r, struct exec, r);
		struct frame *f = x->f;

		TAILQ_REMOVE(&g->reqs, r, entry);
		r->pinned--;
		x->f = NULL;
		if (rc) {
			frame_unref(f);
			f = reply_new(r->n, status_of(rc), 0, 0);
		}
		req_answer(r, f);
	}
	group_free(g);
	if (n->stopping)
		node_check_stopped(n);
}

void groups_free(struct node *n)
{
	struct group *g;

	while ((g = TAILQ_FIRST(&n->groups)))
		group_free(g);
}

void decided_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, decided_timer);
	unsigned nof = 0;
	struct group *g;
	struct req *r;

	if (TAILQ_EMPTY(&n->decided))
		return;
	g = mem_zalloc(sizeof(*g));
	g->n = n;
	TAILQ_INIT(&g->reqs);
	TAILQ_FOREACH (r, &n->decided, entry)
		nof += r->nseen;
	g->of = mem_grow(NULL, nof + 1, sizeof(*g->of));
	nof = 0;
	while ((r = TAILQ_FIRST(&n->decided))) {
		TAILQ_REMOVE(&n->decided, r, entry);
		r->queue = NULL;
		r->pinned++;
		TAILQ_INSERT_TAIL(&g->reqs, r, entry);
		for (unsigned i = 0; i < r->nseen; i++)
			g->of[nof++] = r->seen[i];
	}
	TAILQ_INSERT_TAIL(&n->groups, g, entry);
	g->durable.done = group_synced;
	durable_start(n, &g->durable, g->of, nof);
}

/* Sends x->f after the next sync. */
static void answer_synced(struct exec *x)
{
	struct node *n = x->r.n;

	x->r.queue = &n->decided;
	TAILQ_INSERT_TAIL(&n->decided, &x->r, entry);
	if (!n->decided_timer.armed)
		env_timer_set(n->env, &n->decided_timer, env_now(n->env) + NODE_DECIDE_SYNC);
}

/* ---- deciding ---- */

static void wake_asking(struct prepared *p)
{
	struct req *r;

	while ((r = TAILQ_FIRST(&p->asking))) {
		TAILQ_REMOVE(&p->asking, r, entry);
		r->queue = NULL;
		if (!req_over(r))
			r->ops->run(r);
	}
}

static void decide_applied(struct own *o, int rc)
{
	struct exec *x = container_of(o, struct exec, own);

	x->r.pinned--;
	/* the effect borrowed from it */
	prepared_free(x->prepared);
	x->prepared = NULL;
	if (req_over(&x->r))
		return;
	if (x->commit && !rc)
		answer_synced(x);
	else if (x->commit)
		req_status(&x->r, status_of(rc));
}

/* Records the outcome in the effect that was begun, and gives it to the store. */
static void decide_record(struct exec *x, struct prepared *p)
{
	struct part *part = &x->parts[0];
	struct node *n = x->r.n;
	struct intent_key key = {
		.session = x->m.session, .number = x->m.number, .shard = part->shard->number};
	struct effect *e = &x->out.effect;
	struct shard *s = part->shard;
	struct frame *f;
	struct key k;

	exec_open(x, part);
	f = exec_reply(x);
	if (p) {
		key_session(&k, KEY_PREPARED, s->number, x->m.session, x->m.number);
		effect_del(e, k.b, k.len);
	}
	buf_reset(&n->tmp);
	outcome_encode(p, x->commit, &n->tmp);
	key_session(&k, KEY_OUTCOME, s->number, x->m.session, x->m.number);
	effect_put(e, k.b, k.len, n->tmp.data, n->tmp.len);
	part->record = part->sess && sess_wants(part->sess, true);
	exec_record(x);
	if (n->tmp.err || f->b.err)
		e->meta.err = -ENOMEM;
	if (exec_apply(x, STORE_RESERVE, decide_applied)) {
		frame_unref(f);
		return;
	}
	x->prepared = p;
	outcome_add(n, &key, x->commit);
	frame_unref(x->f);
	x->f = NULL;
	if (x->commit)
		x->f = f;
	else
		req_answer(&x->r, f);
	if (p) {
		if (x->ours)
			n->stats.resolved++;
		prepared_remove(p);
		wake_asking(p);
	}
	exec_open_gate(x);
	shard_wake(n, s);
}

static void decide_finish(struct exec *x)
{
	decide_record(
		x, prepared_find(x->r.n, x->m.session, x->m.number, x->parts[0].shard->number));
}

static void decide_known(struct exec *x, const struct outcome *o)
{
	req_look(&x->r);
	if (x->commit && !o->committed) {
		log_error("mod=node shard=%u session=%u number=%llu msg=\"told to commit what was "
			  "aborted\"",
			o->key.shard, o->key.session, (unsigned long long)o->key.number);
		req_status(&x->r, WIRE_BAD_REQUEST);
	} else if (x->commit) {
		exec_begin(x);
		x->f = reply_new(x->r.n, WIRE_OK, 0, 0);
		answer_synced(x);
	} else {
		req_status(&x->r, o->committed ? WIRE_COMMITTED : WIRE_OK);
	}
}

/* Neither prepared nor decided here. */
static void decide_unknown(struct exec *x)
{
	const struct sess *sess = x->parts[0].sess;
	struct shard *s = x->parts[0].shard;
	struct req *vote;

	if (sess && x->m.number < sess->floor && !x->ours) {
		/* long done with */
		req_status(&x->r, WIRE_OK);
		return;
	}
	if (x->commit) {
		log_error("mod=node shard=%u session=%u number=%llu msg=\"told to commit what was "
			  "never prepared\"",
			s->number, x->m.session, (unsigned long long)x->m.number);
		req_status(&x->r, WIRE_BAD_REQUEST);
		return;
	}
	vote = req_find(x->r.n, REQ_PREPARE, x->m.session, x->m.number, s->number);
	if (vote)
		vote->doomed = true;
	exec_begin(x);
	x->f = reply_new(x->r.n, WIRE_OK, 0, 0);
	x->results_from = x->f->b.len;
	decide_record(x, NULL);
}

static void decide_run(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);
	struct shard *s = x->parts[0].shard;
	struct outcome *o;
	struct prepared *p;

	if (!exec_ready(x))
		return;
	o = outcome_find(r->n, x->m.session, x->m.number, s->number);
	if (o) {
		decide_known(x, o);
		return;
	}
	if (s->gate) {
		req_wait_shard(r, s);
		return;
	}
	p = prepared_find(r->n, x->m.session, x->m.number, s->number);
	if (!p) {
		decide_unknown(x);
		return;
	}
	if (x->presumed) {
		/* while this waited the vote was cast: whoever asked is told so the next time; a
		 * client may have come along who wants the abort */
		if (!r->conn) {
			req_end(r);
			return;
		}
		x->presumed = x->ours = false;
	}
	if (!x->commit && p->promised && !x->ours) {
		r->queue = &p->asking;
		TAILQ_INSERT_TAIL(&p->asking, r, entry);
		doubt_ask(p);
		return;
	}
	if (x->commit) {
		x->v = p->view;
		exec_evaluate(x, TXN_COMMIT, NODE_STORED_MAX);
		return;
	}
	exec_begin(x);
	x->f = reply_new(r->n, WIRE_OK, 0, 0);
	x->results_from = x->f->b.len;
	decide_record(x, p);
}

static void decide_release(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);

	if (x->ours && !r->n->stopping)
		doubt_undecided(r->n, x->m.session, x->m.number, x->parts[0].shard->number);
	prepared_free(x->prepared);
	exec_release(r);
}

static const struct req_ops decide_ops = {.run = decide_run, .release = decide_release};

/* @own: on our own; @presumed: what is not known here is to stay so. */
static void decide_start(struct node *n, struct conn *c, struct frame *f,
	const struct wire_decide *d, bool own, bool presumed)
{
	struct wire_txn m = {.session = d->session, .number = d->number, .floor = d->floor};
	struct txn_view nothing = {0};
	struct exec *x = exec_new(n, c, f, &m, &nothing, &decide_ops, decide_finish);

	x->commit = d->commit;
	x->ours = own;
	x->presumed = presumed;
	x->exclusive = true;
	x->any_epoch = true;
	exec_add(x, node_shard(n, d->shard));
	if (!req_find(n, REQ_DECIDE, d->session, d->number, d->shard))
		req_register(&x->r, REQ_DECIDE, d->session, d->number, d->shard);
	decide_run(&x->r);
}

void decide_arrive(struct conn *c, struct frame *f, const struct wire_decide *m)
{
	struct node *n = c->n;
	struct req *running = req_find(n, REQ_DECIDE, m->session, m->number, m->shard);

	if (running && container_of(running, struct exec, r)->commit == m->commit) {
		req_attach(running, c, f->id);
		return;
	}
	decide_start(n, c, f, m, false, false);
}

void decide_self(struct prepared *p, bool commit)
{
	const struct wire_decide m = {.session = p->key.session,
		.number = p->key.number,
		.shard = (uint16_t)p->key.shard,
		.commit = commit};

	log_info("mod=node shard=%u session=%u number=%llu outcome=%s msg=\"resolved in doubt\"",
		p->key.shard, p->key.session, (unsigned long long)p->key.number,
		commit ? "commit" : "abort");
	decide_start(p->n, NULL, NULL, &m, true, false);
}

void forget_arrive(struct conn *c, const struct wire_decide *m)
{
	struct outcome *o = outcome_find(c->n, m->session, m->number, m->shard);

	if (o)
		outcome_forget(c->n, o, m->commit);
}

/* ---- RESOLVE ---- */

struct resolve {
	struct req r;
	struct wire_decide m;
	resolve_told_cb *told;
	void *arg;
	uint16_t status;
	struct durable durable;
};

static void resolve_answered(struct req *r, const struct frame *f)
{
	struct resolve *s = container_of(r, struct resolve, r);
	resolve_told_cb *told = s->told;
	struct wire_reply m;

	s->told = NULL;
	if (told)
		told(s->arg, wire_get_reply(frame_cur(f), &m) ? WIRE_UNREACHABLE : m.status);
}

static void resolve_synced(struct durable *d, int rc)
{
	struct resolve *s = container_of(d, struct resolve, durable);
	struct node *n = s->r.n;
	struct prepared *p;

	s->r.pinned--;
	if (req_over(&s->r))
		return;
	p = prepared_find(n, s->m.session, s->m.number, s->m.shard);
	if (p && !rc)
		p->durable = true;
	req_status(&s->r, rc ? status_of(rc) : s->status);
}

static void resolve_run(struct req *r)
{
	struct resolve *s = container_of(r, struct resolve, r);
	const struct wire_decide *m = &s->m;
	struct node *n = r->n;
	struct shard *shard = node_shard(n, m->shard);
	struct prepared *p;
	struct outcome *o;

	if (shard->role == ROLE_TAKING_OVER) {
		req_wait_shard(r, shard);
		return;
	}
	if (shard->role != ROLE_SERVING) {
		req_status(r, WIRE_WRONG_NODE);
		return;
	}
	p = prepared_find(n, m->session, m->number, m->shard);
	if (p) {
		p->promised = true;
		s->status = WIRE_PREPARED;
	} else {
		struct wire_decide abort_it = *m;

		o = outcome_find(n, m->session, m->number, m->shard);
		abort_it.commit = 0;
		if (!o && !req_find(n, REQ_DECIDE, m->session, m->number, m->shard))
			decide_start(n, NULL, NULL, &abort_it, true, true);
		o = outcome_find(n, m->session, m->number, m->shard);
		if (!o) {
			/* the store does not take it now: they will ask again */
			req_status(r, WIRE_RETRY);
			return;
		}
		s->status = o->committed ? WIRE_COMMITTED : WIRE_UNKNOWN;
	}
	req_look(r);
	s->durable.done = resolve_synced;
	r->pinned++;
	durable_start(n, &s->durable, r->seen, r->nseen);
}

static void resolve_release(struct req *r)
{
	struct resolve *s = container_of(r, struct resolve, r);

	if (s->told)
		s->told(s->arg, WIRE_UNREACHABLE);
	free(s);
}

static const struct req_ops resolve_ops = {
	.run = resolve_run, .answered = resolve_answered, .release = resolve_release};

static struct resolve *resolve_new(
	struct node *n, struct conn *c, struct frame *f, const struct wire_decide *m)
{
	struct resolve *s = mem_zalloc(sizeof(*s));

	req_init(&s->r, n, c, f, &resolve_ops);
	req_look(&s->r);
	req_touch(&s->r, node_shard(n, m->shard));
	s->m = *m;
	return s;
}

void resolve_local(struct node *n, const struct wire_decide *m, resolve_told_cb *told, void *arg)
{
	struct resolve *s = resolve_new(n, NULL, NULL, m);

	s->told = told;
	s->arg = arg;
	resolve_run(&s->r);
}

void resolve_arrive(struct conn *c, struct frame *f, const struct wire_decide *m)
{
	resolve_run(&resolve_new(c->n, c, f, m)->r);
}
