/*
 * Transactions that copy: what they copy is read before they are executed.
 *
 *   reading    each source is asked of its primary, which may be    all there: routed again, as
 *              this node; the bytes go where they belong in a       one that brings its bytes
 *              body that has WRITEs instead                         one lacks them: waiting, or
 *                                                                   answered with why
 *   waiting    a source's primary cannot be reached, or is          reading those that are left;
 *              another one by now                                   after a while the end, without
 *                                                                   an answer: it is sent again
 *
 * So effects have the bytes themselves, and copies of a shard need to know of no other object. That
 * the sources stay as they are until then is the matter of whoever wants the copy: a file's are
 * under a lease. Nothing is recorded before it is routed again; a resent one finds the one that
 * reads, and gets the answer.
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"

#define AGAIN (20 * ENV_MS)

struct bring;

/* One source. */
struct piece {
	struct bring *b;
	struct call call;
	struct txn_source s;
	uint16_t node;    /* that was asked */
	struct exec *own; /* that is this one: the read under way */
	bool there;
};

struct bring {
	struct req r;
	struct env_task task;
	struct env_timer timer;
	struct frame *f; /* the transaction with its bytes */
	uint64_t until;
	unsigned left; /* that were asked */
	uint16_t status;
	unsigned npieces;
	struct piece piece[];
};

static void bring_ask(struct bring *b);

static void bring_release(struct req *r)
{
	struct bring *b = container_of(r, struct bring, r);

	env_timer_clear(r->n->env, &b->timer);
	env_unpost(r->n->env, &b->task);
	for (unsigned i = 0; i < b->npieces; i++) {
		if (b->piece[i].own)
			b->piece[i].own->heard = NULL;
	}
	frame_unref(b->f);
	free(b);
}

static void bring_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static const struct req_ops bring_ops = {.run = bring_run, .release = bring_release};

static void again(struct env_timer *t)
{
	struct bring *b = container_of(t, struct bring, timer);

	b->r.pinned--;
	if (!req_over(&b->r))
		bring_ask(b);
}

/* All that were asked have answered. */
static void bring_next(struct env_task *t)
{
	struct bring *b = container_of(t, struct bring, task);
	struct node *n = b->r.n;
	struct conn *c = b->r.conn;
	struct frame *f;
	bool all = true;

	b->r.pinned--;
	if (req_over(&b->r))
		return;
	for (unsigned i = 0; i < b->npieces; i++)
		all &= b->piece[i].there;
	if (b->status) {
		req_status(&b->r, b->status);
	} else if (all && c) {
		f = frame_ref(b->f);
		f->id = b->r.id;
		req_end(&b->r);
		route_txn(c, f);
		frame_unref(f);
	} else if (all || env_now(n->env) >= b->until) {
		/* whoever still wants it sends it again */
		req_end(&b->r);
	} else {
		b->r.pinned++;
		b->timer.fire = again;
		env_timer_set(n->env, &b->timer, env_now(n->env) + AGAIN);
	}
}

static void piece_end(struct piece *p)
{
	struct bring *b = p->b;

	/* never from inside: this may be within another request's answer */
	if (--b->left == 0)
		env_post(b->r.n->env, &b->task);
}

/* An answer that says that there is no use in asking again. */
static bool is_final(uint16_t status)
{
	return status && status != WIRE_WRONG_NODE && status != WIRE_UNREACHABLE &&
	       status != WIRE_RETRY;
}

static void piece_heard(void *arg, const struct frame *answer)
{
	struct piece *p = arg;
	struct bring *b = p->b;
	struct txn_result res;
	struct wire_reply m;
	uint8_t *room = b->f->b.data + p->s.at;

	if (!answer || answer->type != WIRE_REPLY || wire_get_reply(frame_cur(answer), &m)) {
		piece_end(p);
		return;
	}
	if (m.status == WIRE_OK && !txn_result_find(m.results, m.results_len, 0, &res) &&
		res.kind == TXN_READ && res.len <= p->s.len) {
		p->there = true;
		memcpy(room, res.data, res.len);
		memset(room + res.len, 0, p->s.len - res.len);
	} else if (is_final(m.status) && !b->status) {
		b->status = m.status;
	}
	if (p->node != b->r.n->self && b->r.n->ring && m.epoch)
		route_epoch(b->r.n, p->node, m.epoch);
	piece_end(p);
}

static void piece_called(struct call *call, int rc, struct frame *answer)
{
	piece_heard(container_of(call, struct piece, call), rc ? NULL : answer);
}

static struct frame *read_of(const struct node *n, const struct txn_source *s, uint16_t flags)
{
	struct wire_txn m = {.flags = flags, .epoch = n->ring->epoch};
	struct frame *f = frame_new(WIRE_TXN, 0, 192);
	struct txn_build t;

	txn_init(&t);
	txn_read(&t, &s->id, s->off, s->len);
	wire_put_txn_head(&f->b, &m);
	txn_encode(&t, &f->b, NULL, NULL);
	txn_fini(&t);
	return f;
}

static void piece_ask(struct piece *p)
{
	struct node *n = p->b->r.n;
	struct wire_txn m;
	struct txn_view v;
	struct frame *f;

	p->node = n->ring->shards[ring_shard_of(n->ring, &p->s.id)].primary;
	if (p->node == RING_NONE) {
		piece_end(p);
	} else if (p->node != n->self) {
		p->call.done = piece_called;
		f = read_of(n, &p->s, WIRE_TXN_READS | WIRE_TXN_FORWARDED);
		peer_call(n, p->node, f, &p->call);
	} else {
		f = read_of(n, &p->s, WIRE_TXN_READS);
		if (wire_get_txn(frame_cur(f), &m) || txn_check(m.body, m.body_len, &v))
			piece_end(p);
		else
			exec_read_own(n, f, &m, &v, &p->own, piece_heard, p);
		frame_unref(f);
	}
}

static void bring_ask(struct bring *b)
{
	b->left = 1;
	b->r.pinned++;
	for (unsigned i = 0; i < b->npieces; i++) {
		if (b->piece[i].there)
			continue;
		b->left++;
		piece_ask(&b->piece[i]);
	}
	if (--b->left == 0)
		env_post(b->r.n->env, &b->task);
}

void bring_arrive(
	struct conn *c, struct frame *f, const struct wire_txn *m, const struct txn_view *v)
{
	struct txn_source s[TXN_OPS_MAX];
	struct node *n = c->n;
	uint16_t home = exec_home(n, v);
	struct req *running = req_find(n, REQ_BRING, m->session, m->number, home);
	struct frame *with;
	struct bring *b;
	int npieces;

	if (running) {
		req_attach(running, c, f->id);
		return;
	}
	with = frame_new(WIRE_TXN, 0, frame_body_len(f));
	wire_put_txn_head(&with->b, m);
	npieces = txn_expand(v, &with->b, s);
	b = mem_zalloc(sizeof(*b) + (npieces > 0 ? (size_t)npieces : 0) * sizeof(b->piece[0]));
	req_init(&b->r, n, c, f, &bring_ops);
	b->f = with;
	if (npieces < 0) {
		req_status(&b->r, WIRE_IO);
		return;
	}
	req_register(&b->r, REQ_BRING, m->session, m->number, home);
	b->task.run = bring_next;
	b->until = env_now(n->env) + n->cfg.forward_timeout;
	b->npieces = (unsigned)npieces;
	for (unsigned i = 0; i < b->npieces; i++) {
		b->piece[i].b = b;
		b->piece[i].s = s[i];
	}
	req_hold(&b->r, (ptrdiff_t)with->b.len);
	bring_ask(b);
}
