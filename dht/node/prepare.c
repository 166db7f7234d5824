/*
 * Votes: a shard's part of a cross-shard transaction is checked, its reads are made, what it names
 * is locked, and it is recorded; when the record is on disk the answer OK is a yes.
 *
 *   run -> prepared before                   the same vote again
 *       -> outcome known: committed          the same vote again, from the outcome
 *                         aborted            refused
 *       -> given up, or below the floor      refused
 *       -> leases of others                  RECALL; waits, runs again
 *       -> in the way: an older transaction  votes no: RETRY. So nobody waits in a circle
 *                      younger ones, a gate  waits, runs again
 *       -> evaluated: does not hold          votes no: COMPARE, ...; nothing is kept
 *       -> finish: recorded, locked          answered after the sync
 */
#include "dht/node/impl.h"

#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

/* Sends the vote when its record is on disk. */
static void vote_synced(struct durable *d, int rc)
{
	struct exec *x = container_of(d, struct exec, durable);
	struct node *n = x->r.n;
	struct prepared *p;
	struct outcome *o;

	x->r.pinned--;
	if (req_over(&x->r))
		return;
	/* it may have been decided meanwhile */
	p = prepared_find(n, x->m.session, x->m.number, x->parts[0].shard->number);
	o = outcome_find(n, x->m.session, x->m.number, x->parts[0].shard->number);
	if (rc) {
		log_error("mod=node rc=-%s msg=\"cannot make a vote durable\"", log_errno(rc));
		req_status(&x->r, status_of(rc));
	} else if (p || (o && o->committed)) {
		struct frame *f = x->f;

		if (p)
			p->durable = true;
		x->f = NULL;
		req_answer(&x->r, f);
	} else {
		req_status(&x->r, WIRE_REFUSED);
	}
}

/* @x->f is the vote. */
static void vote_sync(struct exec *x)
{
	x->durable.done = vote_synced;
	x->r.pinned++;
	durable_start(x->r.n, &x->durable, x->r.seen, x->r.nseen);
}

static void prepare_applied(struct own *o, int rc)
{
	struct exec *x = container_of(o, struct exec, own);

	(void)rc; /* the sync, which comes later, says the same */
	x->r.pinned--;
	req_over(&x->r);
}

static struct prepared *prepared_make(struct exec *x, struct frame *vote)
{
	struct prepared *p =
		prepared_new(x->r.n, x->m.session, x->m.number, x->parts[0].shard->number);

	p->owner.age = x->m.age;
	p->frame = frame_ref(x->r.frame);
	p->view = x->v;
	p->body = x->m.body;
	p->body_len = x->m.body_len;
	p->nparticipants = x->m.nparticipants;
	for (unsigned i = 0; i < p->nparticipants; i++)
		p->participants[i] = wire_participant(&x->m, i);
	buf_bytes(&p->vote, frame_body(vote), frame_body_len(vote));
	return p;
}

static void prepare_finish(struct exec *x)
{
	struct part *part = &x->parts[0];
	struct effect *e = &x->out.effect;
	struct node *n = x->r.n;
	struct prepared *p;
	struct frame *vote;
	struct key key;

	if (!exec_ready(x))
		return;
	if (exec_refused(x)) {
		exec_refuse(x, WIRE_REFUSED, 0);
		return;
	}
	exec_open(x, part);
	vote = exec_reply(x);
	p = prepared_make(x, vote);
	buf_reset(&n->tmp);
	prepared_encode(p, &n->tmp);
	if (n->tmp.err || p->vote.err || vote->b.err) {
		e->meta.err = -ENOMEM;
	} else {
		key_session(&key, KEY_PREPARED, part->shard->number, x->m.session, x->m.number);
		effect_put(e, key.b, key.len, n->tmp.data, n->tmp.len);
	}
	part->record = sess_wants(part->sess, true);
	exec_record(x);
	if (exec_apply(x, STORE_NORMAL, prepare_applied)) {
		prepared_free(p);
		frame_unref(vote);
		return;
	}
	n->stats.prepared++;
	prepared_add(p);
	frame_unref(x->f);
	x->f = vote;
	vote_sync(x);
	exec_open_gate(x);
}

/* Answers from what is known already; false: nothing is. */
static bool prepare_known(struct exec *x)
{
	uint16_t shard = x->parts[0].shard->number;
	struct node *n = x->r.n;
	struct outcome *o = outcome_find(n, x->m.session, x->m.number, shard);
	struct prepared *p = prepared_find(n, x->m.session, x->m.number, shard);
	int rc = 0;

	if (!o && !p)
		return false;
	if (o && !o->committed) {
		exec_refuse(x, WIRE_REFUSED, 0);
		return true;
	}
	exec_begin(x);
	x->f = frame_new(WIRE_REPLY, 0, 256);
	if (o)
		rc = outcome_vote(n, o, &x->f->b);
	else
		buf_bytes(&x->f->b, p->vote.data, p->vote.len);
	if (rc == -EAGAIN) {
		exec_reset(x);
		req_wait_store(&x->r);
	} else if (rc) {
		exec_refuse(x, status_of(rc), 0);
	} else {
		n->stats.replayed++;
		req_look(&x->r);
		vote_sync(x);
	}
	return true;
}

static void prepare_run(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);
	struct shard *s = x->parts[0].shard;
	struct lock_owner me = {.age = x->m.age, .session = x->m.session, .number = x->m.number};
	struct lock_owner *held;

	if (!exec_ready(x))
		return;
	if (prepare_known(x))
		return;
	if (exec_refused(x)) {
		exec_refuse(x, WIRE_REFUSED, 0);
		return;
	}
	if (s->gate || repl_blocks(r->n, s)) {
		req_wait_shard(r, s);
		return;
	}
	if (grants_meet(x)) {
		req_wait_shard(r, s);
		return;
	}
	held = lock_conflict(&s->locks, &x->v, NULL);
	if (held) {
		r->n->stats.conflicts++;
		if (lock_older(held, &me))
			exec_refuse(x, WIRE_RETRY, 0);
		else
			req_wait_shard(r, s);
		return;
	}
	exec_evaluate(x, TXN_VOTE, NODE_STORED_MAX);
}

static const struct req_ops prepare_ops = {.run = prepare_run, .release = exec_release};

void prepare_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v)
{
	struct node *n = c->n;
	struct req *running;
	struct exec *x;
	uint16_t shard = ring_shard_of(n->ring, &v->object[0]);

	running = req_find(n, REQ_PREPARE, m->session, m->number, shard);
	if (running) {
		exec_attach(running, c, f, m);
		return;
	}
	x = exec_new(n, c, f, m, v, &prepare_ops, prepare_finish);
	x->exclusive = true;
	req_register(&x->r, REQ_PREPARE, m->session, m->number, shard);
	prepare_run(&x->r);
}
