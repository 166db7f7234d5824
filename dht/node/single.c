/*
 * Transactions whose shards are all served here: one record in the log commits them.
 *
 *   run -> resent, and carried out before       the stored reply is sent again
 *       -> given up, or below the floor         refused
 *       -> answered with an error before        the same error
 *       -> a lock, a lease or a gate in the way waits, runs again
 *       -> evaluated (exec.c), then finish: nothing to write: answered
 *                                           effect taken, its reply within: answered when it is
 *                                           in the log
 */
#include "dht/node/impl.h"

#include <errno.h>

#include "dht/base/mem.h"

/* The shard that keeps it waiting, or NULL. */
static struct shard *txn_blocked(struct exec *x)
{
	for (unsigned i = 0; i < x->nparts; i++) {
		struct shard *s = x->parts[i].shard;

		if (x->exclusive && (s->gate || repl_blocks(x->r.n, s)))
			return s;
		if (lock_conflict(&s->locks, &x->v, NULL)) {
			x->r.n->stats.conflicts++;
			return s;
		}
	}
	return NULL;
}

void txn_replay(struct exec *x)
{
	struct frame *f;
	int rc;

	if (x->r.n->log_failed) {
		/* the reply may be here and not in the log: only whoever is started next can tell,
		 * and will be asked */
		req_end(&x->r);
		return;
	}
	f = frame_new(WIRE_REPLY, 0, 256);
	rc = sess_reply_get(x->r.n, x->parts[0].sess, x->m.number, &f->b);
	if (rc == -EAGAIN) {
		frame_unref(f);
		req_wait_store(&x->r);
		return;
	}
	if (rc) {
		frame_unref(f);
		f = reply_new(x->r.n, WIRE_IO, 0, 0);
	}
	x->r.n->stats.replayed++;
	req_look(&x->r);
	exec_answer(x, f);
}

static void txn_run(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);
	const struct decline *no;
	struct shard *s;

	if (!exec_ready(x))
		return;
	if (exec_refused(x)) {
		exec_refuse(x, WIRE_REFUSED, 0);
		return;
	}
	if (x->v.writes && sess_stored(x->parts[0].sess, x->m.number)) {
		txn_replay(x);
		return;
	}
	no = x->v.writes ? sess_declined(x->parts[0].sess, x->m.number) : NULL;
	if (no) {
		exec_refuse(x, no->status, no->failed);
		return;
	}
	s = grants_meet(x);
	if (!s)
		s = txn_blocked(x);
	if (s) {
		req_wait_shard(r, s);
		return;
	}
	exec_evaluate(x, TXN_ALL, x->v.writes ? NODE_STORED_MAX : NODE_RESULTS_MAX);
}

static void txn_applied(struct own *o, int rc)
{
	struct exec *x = container_of(o, struct exec, own);

	(void)rc; /* it is among the answers that wait for it */
	x->r.pinned--;
	req_over(&x->r);
}

static void txn_finish(struct exec *x)
{
	struct part *home = &x->parts[0];
	struct frame *f = x->f;

	if (!x->v.writes) {
		grants_record(x);
		x->f = NULL;
		exec_answer(x, f);
		return;
	}
	/* while bytes were read it may have been given up, or the map changed */
	if (!exec_ready(x))
		return;
	if (exec_refused(x)) {
		exec_refuse(x, WIRE_REFUSED, 0);
		return;
	}
	for (unsigned i = 0; i < x->nparts; i++) {
		struct part *p = &x->parts[i];

		p->record = sess_wants(p->sess, p != home);
		if (!p->section && (p->record || p == home))
			exec_number(x, p);
	}
	f = exec_reply(x);
	if (f->b.err)
		x->out.effect.meta.err = f->b.err;
	exec_open(x, home);
	sess_reply_put(home->sess, &x->out.effect, &x->r.n->tmp, x->m.number, frame_body(f),
		frame_body_len(f));
	exec_record(x);
	if (exec_apply(x, STORE_NORMAL, txn_applied)) {
		frame_unref(f);
		return;
	}
	sess_reply_took(home->sess, x->m.number);
	x->r.n->stats.executed++;
	grants_record(x);
	req_answer(&x->r, f);
	/* x waits for its effect: nothing has ended it yet */
	exec_open_gate(x);
}

static const struct req_ops txn_ops = {
	.run = txn_run, .answered = grants_tell, .release = exec_release};

/* ---- reads of our own ---- */

static void heard(struct exec *x, const struct frame *answer)
{
	void (*fn)(void *arg, const struct frame *answer) = x->heard;

	if (!fn)
		return;
	x->heard = NULL;
	*x->asker = NULL;
	fn(x->heard_arg, answer);
}

static void own_answered(struct req *r, const struct frame *f)
{
	heard(container_of(r, struct exec, r), f);
}

static void own_release(struct req *r)
{
	heard(container_of(r, struct exec, r), NULL);
	exec_release(r);
}

static const struct req_ops own_ops = {
	.run = txn_run, .answered = own_answered, .release = own_release};

void exec_read_own(struct node *n, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, struct exec **own,
	void (*fn)(void *arg, const struct frame *answer), void *arg)
{
	struct exec *x = exec_new(n, NULL, f, m, v, &own_ops, txn_finish);

	*own = x;
	x->asker = own;
	x->heard = fn;
	x->heard_arg = arg;
	txn_run(&x->r);
}

void exec_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v)
{
	struct node *n = c->n;
	uint16_t home = exec_home(n, v);
	struct req *running;
	struct exec *x;

	running = v->writes ? req_find(n, REQ_TXN, m->session, m->number, home) : NULL;
	if (running) {
		exec_attach(running, c, f, m);
		return;
	}
	x = exec_new(n, c, f, m, v, &txn_ops, txn_finish);
	if (v->writes)
		req_register(&x->r, REQ_TXN, m->session, m->number, home);
	txn_run(&x->r);
}
