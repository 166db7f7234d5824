/*
 * Transactions on shards that are served here.
 *
 *   run -> refused, replayed                    answered
 *       -> blocked by a lock or a gate          waits, runs again
 *       -> evaluated: not in memory             waits, runs again
 *                     a compare failed, ...     answered
 *                     bytes are being read      finish() comes when they are there
 *       -> finish: nothing written              answered
 *                  effect taken                 answered when it is in the log
 *                  store busy                   waits, runs again
 *
 * An effect carries the numbers that its shards gave at evaluation. If bytes have to be read first,
 * the shards are gated: nothing else is applied to them until then.
 *
 * An effect ends with what the shards record of it: the reply in the lowest shard's section, and
 * floors (sess.c) in each.
 */
#include "dht/node/impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

/* ---- making and freeing ---- */

void exec_add(struct exec *x, struct shard *s)
{
	unsigned i = x->nparts;

	while (i > 0 && x->parts[i - 1].shard->number >= s->number) {
		if (x->parts[i - 1].shard == s)
			return;
		i--;
	}
	memmove(&x->parts[i + 1], &x->parts[i], (x->nparts - i) * sizeof(x->parts[0]));
	x->parts[i] = (struct part){.shard = s};
	x->nparts++;
	req_look(&x->r);
	req_touch(&x->r, s);
}

void exec_attach(struct req *running, struct conn *c, struct frame *f, const struct wire_txn *m)
{
	struct exec *x = container_of(running, struct exec, r);

	c->n->stats.replayed++;
	if (m->epoch < x->m.epoch) {
		/* it has been asked again since: that one gets the answer */
		if (f->id)
			conn_send(c, reply_new(c->n, WIRE_WRONG_NODE, 0, 0), f->id);
		return;
	}
	x->m.epoch = m->epoch;
	/* they were meant for the link that asked before */
	grants_drop(x);
	req_attach(running, c, f->id);
}

uint16_t exec_home(const struct node *n, const struct txn_view *v)
{
	uint16_t home = UINT16_MAX;

	for (unsigned i = 0; i < v->nobjects; i++) {
		uint16_t shard = ring_shard_of(n->ring, &v->object[i]);

		home = shard < home ? shard : home;
	}
	return home;
}

struct exec *exec_new(struct node *n, struct conn *c, struct frame *f, const struct wire_txn *m,
	const struct txn_view *v, const struct req_ops *ops, void (*finish)(struct exec *x))
{
	size_t most = v->nobjects + 1u;
	struct exec *x = mem_zalloc(sizeof(*x) + most * (sizeof(x->parts[0]) + sizeof(*x->at)));

	req_init(&x->r, n, c, f, ops);
	x->at = (struct wire_effect *)&x->parts[most];
	x->m = *m;
	x->v = *v;
	x->finish = finish;
	TAILQ_INIT(&x->pending);
	x->exclusive = v->writes;
	for (unsigned i = 0; i < v->nobjects; i++)
		exec_add(x, node_shard(n, ring_shard_of(n->ring, &v->object[i])));
	return x;
}

void exec_open_gate(struct exec *x)
{
	if (!x->gated)
		return;
	x->gated = false;
	for (unsigned i = 0; i < x->nparts; i++)
		x->parts[i].shard->gate = NULL;
	for (unsigned i = 0; i < x->nparts; i++)
		shard_wake(x->r.n, x->parts[i].shard);
}

static void drop_evaluation(struct exec *x)
{
	if (!x->evaluated)
		return;
	assert(!x->reads_left || x->r.n->stopping); /* node_free() does not wait for them */
	x->evaluated = false;
	grants_drop(x);
	txn_outcome_fini(&x->out);
	frame_unref(x->f);
	x->f = NULL;
	free(x->reads);
	x->reads = NULL;
	x->open = NULL;
	for (unsigned i = 0; i < x->nparts; i++)
		x->parts[i].section = x->parts[i].record = false;
}

void exec_reset(struct exec *x)
{
	drop_evaluation(x);
	exec_open_gate(x);
}

void exec_release(struct req *r)
{
	struct exec *x = container_of(r, struct exec, r);

	drop_evaluation(x);
	for (unsigned i = 0; i < x->nparts; i++) {
		if (x->gated) {
			x->parts[i].shard->gate = NULL;
			shard_wake_soon(r->n, x->parts[i].shard);
		}
		sess_unref(x->parts[i].sess);
	}
	free(x);
}

/* ---- sessions ---- */

bool exec_learn(struct exec *x)
{
	if (!x->m.session)
		return true;
	for (unsigned i = 0; i < x->nparts; i++) {
		struct part *p = &x->parts[i];

		p->sess = sess_learn(x->r.n, p->shard->number, &x->m);
		if (!p->sess) {
			req_status(&x->r, WIRE_BAD_REQUEST);
			return false;
		}
		p->sess->refs++;
	}
	x->learned = true;
	return true;
}

bool exec_refused(const struct exec *x)
{
	for (unsigned i = 0; i < x->nparts; i++) {
		if (x->parts[i].sess && sess_refuses(x->parts[i].sess, x->m.number))
			return true;
	}
	return x->r.doomed;
}

/* Whether one record here can commit what it writes. */
static bool one_log(const struct exec *x)
{
	uint16_t shards[TXN_OBJECTS_MAX + 1];

	for (unsigned i = 0; i < x->nparts; i++)
		shards[i] = x->parts[i].shard->number;
	return x->nparts == 1 || ring_one_log(x->r.n->ring, shards, x->nparts);
}

bool exec_ready(struct exec *x)
{
	struct shard *wait = NULL;

	/* it may have waited, and who saw the map that fences its session must not see it later */
	if (!x->any_epoch && session_ended(x->r.n, x->m.session)) {
		exec_refuse(x, WIRE_NO_SESSION, 0);
		return false;
	}
	for (unsigned i = 0; i < x->nparts; i++) {
		struct shard *s = x->parts[i].shard;

		if ((s->role != ROLE_SERVING && s->role != ROLE_TAKING_OVER) ||
			(!x->any_epoch && x->m.epoch < s->since)) {
			exec_refuse(x, WIRE_WRONG_NODE, 0);
			return false;
		}
		if (s->role == ROLE_TAKING_OVER)
			wait = s;
	}
	if (x->exclusive && !one_log(x)) {
		exec_refuse(x, WIRE_WRONG_NODE, 0);
		return false;
	}
	if (wait) {
		req_wait_shard(&x->r, wait);
		return false;
	}
	return x->learned || exec_learn(x);
}

/* ---- evaluation ---- */

static int where_shard(void *arg, const struct orbit_id *id)
{
	struct exec *x = arg;

	return ring_shard_of(x->r.n->ring, id);
}

void exec_number(struct exec *x, struct part *p)
{
	p->section = true;
	p->at.shard = p->shard->number;
	shard_next(x->r.n, p->shard, &p->at.term, &p->at.seq);
}

static void where_next(void *arg, uint16_t shard, uint64_t *term, uint64_t *seq)
{
	struct exec *x = arg;

	for (unsigned i = 0; i < x->nparts; i++) {
		struct part *p = &x->parts[i];

		if (p->shard->number != shard)
			continue;
		exec_number(x, p);
		x->open = p;
		*term = p->at.term;
		*seq = p->at.seq;
		return;
	}
	assert(!"a section of a shard that no object lies in");
}

struct txn_where exec_where(struct exec *x, size_t results_max)
{
	return (struct txn_where){.shard_of = where_shard,
		.next = where_next,
		.arg = x,
		.session = x->m.session,
		.results_max = results_max};
}

/* The bytes are there, or will not be. */
static void read_settle(struct exec *x)
{
	int rc = x->rc;

	req_hold(&x->r, -(ptrdiff_t)x->filling);
	x->filling = 0;
	if (rc == -EAGAIN) {
		exec_reset(x);
		req_wait_store(&x->r);
	} else if (rc == -EIO && repair_exec(x)) {
		return; /* it runs again */
	} else if (rc) {
		exec_refuse(x, status_of(rc), 0);
	} else {
		x->finish(x);
	}
}

static void read_done(struct store_read *sr, int rc)
{
	struct exec *x = container_of(sr, struct exec_read, r)->x;

	x->r.pinned--;
	if (rc && !x->rc)
		x->rc = rc;
	if (--x->reads_left)
		return;
	if (!req_over(&x->r))
		read_settle(x);
}

/* Reads the bytes that the results need, as they are now. */
static void read_start(struct exec *x)
{
	x->rc = 0;
	if (x->out.nfills)
		x->reads = mem_zalloc(x->out.nfills * sizeof(*x->reads));
	for (size_t i = 0; i < x->out.nfills && !x->rc; i++) {
		const struct txn_fill *fill = &x->out.fill[i];
		struct exec_read *er = &x->reads[i];
		int rc;

		er->x = x;
		er->r.done = read_done;
		rc = store_read(x->r.n->st, &er->r, fill->shard, &fill->id, fill->off, fill->len,
			x->f->b.data + fill->at);
		if (rc == -EINPROGRESS) {
			x->reads_left++;
			x->r.pinned++;
		} else {
			x->rc = rc;
		}
	}
	if (!x->reads_left) {
		read_settle(x);
		return;
	}
	/* a short request may ask for much, and many may wait for the disk */
	x->filling = x->f->b.cap;
	req_hold(&x->r, (ptrdiff_t)x->filling);
	if (x->exclusive) {
		x->gated = true;
		for (unsigned i = 0; i < x->nparts; i++)
			x->parts[i].shard->gate = &x->r;
	}
}

void exec_evaluate(struct exec *x, enum txn_part part, size_t results_max)
{
	struct node *n = x->r.n;
	struct txn_where where;
	struct shard *blocked;
	int rc;

	x->f = reply_new(n, WIRE_OK, 0, 256);
	x->results_from = x->f->b.len;
	x->evaluated = true;
	req_look(&x->r);
	where = exec_where(x, x->results_from + results_max);
	txn_outcome_init(&x->out);
	x->out.results = x->f->b;
	buf_init(&x->f->b);
	rc = txn_eval(n->st, &x->v, part, &where, &x->out);
	x->f->b = x->out.results;
	buf_init(&x->out.results);
	if (rc == -EAGAIN) {
		exec_reset(x);
		req_wait_store(&x->r);
		return;
	}
	if (x->out.status && part == TXN_COMMIT) {
		/* the vote promised that this cannot be */
		log_error("mod=node shard=%u session=%u number=%llu status=%s msg=\"a prepared "
			  "transaction cannot be carried out\"",
			x->parts[0].shard->number, x->m.session, (unsigned long long)x->m.number,
			wire_status_name(x->out.status));
		rc = -EIO;
	}
	if (rc || x->out.status) {
		exec_refuse(x, rc ? status_of(rc) : x->out.status, rc ? 0 : x->out.failed);
		return;
	}
	blocked = followed_blocked(x);
	if (!blocked && part != TXN_COMMIT)
		blocked = grants_meet_followed(x);
	if (blocked) {
		exec_reset(x);
		req_wait_shard(&x->r, blocked);
		return;
	}
	if (part == TXN_ALL)
		grants_wish(x);
	read_start(x);
}

/* ---- effects ---- */

void exec_begin(struct exec *x)
{
	exec_reset(x);
	x->evaluated = true;
	txn_outcome_init(&x->out);
}

/* The reply as it is stored and sent: its head names the effects, the results follow. */
struct frame *exec_reply(struct exec *x)
{
	size_t len = x->f->b.len - x->results_from;
	struct wire_effect effects[TXN_OBJECTS_MAX];
	struct frame *f;
	unsigned n = 0;

	for (unsigned i = 0; i < x->nparts; i++) {
		if (x->parts[i].section)
			effects[n++] = x->parts[i].at;
	}
	f = frame_new(WIRE_REPLY, 0, 14 + 18 * (size_t)n + len);
	wire_put_reply_head(&f->b, WIRE_OK, 0, x->r.n->ring->epoch, effects, n);
	buf_bytes(&f->b, x->f->b.data + x->results_from, len);
	return f;
}

void exec_open(struct exec *x, struct part *p)
{
	if (x->open == p)
		return;
	if (!p->section)
		exec_number(x, p);
	effect_section(&x->out.effect, p->at.shard, p->at.term, p->at.seq);
	x->open = p;
}

void exec_record(struct exec *x)
{
	for (unsigned i = 0; i < x->nparts; i++) {
		struct part *p = &x->parts[i];

		if (!p->section)
			continue;
		exec_open(x, p);
		if (p->record)
			sess_record(p->sess, &x->out.effect);
	}
}

/* Nothing in it makes the store larger for good: such may use the reserve of a full disk. (A hold
 * goes with its session at the latest; without it no file could be opened for reading.) */
static bool only_frees(const struct txn_view *v)
{
	struct txn_iter it = txn_iter_of(v);
	struct txn_op op;

	while (txn_next(&it, &op)) {
		if (op.kind == TXN_CREATE || op.kind == TXN_PUT || op.kind == TXN_WRITE)
			return false;
	}
	return true;
}

int exec_apply(struct exec *x, enum store_urgency urgency, void (*done)(struct own *o, int rc))
{
	struct node *n = x->r.n;
	int rc;

	x->own.done = done;
	x->own.effect = &x->out.effect;
	x->own.at = x->at;
	x->own.nat = 0;
	for (unsigned i = 0; i < x->nparts; i++) {
		if (x->parts[i].section)
			x->at[x->own.nat++] = x->parts[i].at;
	}
	rc = own_apply(n, &x->own, urgency);
	if (rc == -ENOSPC && urgency == STORE_NORMAL && only_frees(&x->v))
		rc = own_apply(n, &x->own, STORE_RESERVE);
	if (rc == -EAGAIN) {
		exec_reset(x);
		req_wait_store(&x->r);
		return rc;
	}
	if (rc == -EBUSY) {
		struct shard *s = x->parts[0].shard;

		exec_reset(x);
		req_wait_shard(&x->r, s);
		return rc;
	}
	if (rc) {
		exec_refuse(x, status_of(rc), 0);
		return rc;
	}
	x->r.pinned++;
	req_look(&x->r);
	for (unsigned i = 0; i < x->nparts; i++) {
		struct part *p = &x->parts[i];

		if (p->record)
			sess_recorded(p->sess);
	}
	return 0;
}

/* ---- answers without an effect of their own ---- */

/* An effect that puts abandoned numbers into the log, or who may hold leases. */
struct floor {
	struct own own;
	struct effect effect;
	struct wire_effect at;
	TAILQ_ENTRY(floor) entry;
};

static void floor_free(struct node *n, struct floor *f)
{
	TAILQ_REMOVE(&n->floors, f, entry);
	effect_fini(&f->effect);
	free(f);
}

static void floor_done(struct own *o, int rc)
{
	struct node *n = o->n;

	(void)rc; /* whoever waits for it is told */
	floor_free(n, container_of(o, struct floor, own));
	if (n->stopping)
		node_check_stopped(n);
}

void floors_free(struct node *n)
{
	struct floor *f;

	while ((f = TAILQ_FIRST(&n->floors)))
		floor_free(n, f);
}

int note_apply(struct node *n, struct shard *s, void (*fill)(struct effect *e, const void *arg),
	const void *arg)
{
	struct floor *f = mem_zalloc(sizeof(*f));
	int rc;

	TAILQ_INSERT_TAIL(&n->floors, f, entry);
	effect_init(&f->effect);
	f->at.shard = s->number;
	shard_next(n, s, &f->at.term, &f->at.seq);
	effect_section(&f->effect, f->at.shard, f->at.term, f->at.seq);
	fill(&f->effect, arg);
	f->own.effect = &f->effect;
	f->own.at = &f->at;
	f->own.nat = 1;
	f->own.done = floor_done;
	rc = own_apply(n, &f->own, STORE_RESERVE);
	if (rc)
		floor_free(n, f);
	return rc;
}

static void fill_floor(struct effect *e, const void *arg)
{
	sess_record(arg, e);
}

/* 0: under way; or what own_apply() says. */
static int floor_apply(struct node *n, struct shard *s, struct sess *sess)
{
	int rc = note_apply(n, s, fill_floor, sess);

	if (!rc)
		sess_recorded(sess);
	return rc;
}

/* Puts abandoned numbers into the log: 0 when that is under way; else it waits, or could not:
 * *failed. */
static int floors_apply(struct exec *x, int *failed)
{
	struct node *n = x->r.n;

	*failed = 0;
	for (unsigned i = 0; i < x->nparts && !*failed; i++) {
		struct part *p = &x->parts[i];

		if (!p->sess || !p->sess->dirty || p->shard->role != ROLE_SERVING)
			continue;
		if (p->shard->gate && p->shard->gate != &x->r) {
			req_wait_shard(&x->r, p->shard);
			return -EAGAIN;
		}
		*failed = floor_apply(n, p->shard, p->sess);
		if (*failed == -EBUSY) {
			req_wait_shard(&x->r, p->shard);
			return -EAGAIN;
		}
		if (*failed == -EAGAIN) {
			req_wait_store(&x->r);
			return -EAGAIN;
		}
	}
	return 0;
}

void exec_answer(struct exec *x, struct frame *f)
{
	bool dirty = false;
	int failed;

	for (unsigned i = 0; i < x->nparts; i++)
		dirty |= x->parts[i].sess && x->parts[i].sess->dirty;
	if (dirty && floors_apply(x, &failed)) {
		/* runs again: what was learned stays to be recorded */
		frame_unref(f);
		drop_evaluation(x);
		return;
	}
	if (dirty && failed) {
		frame_unref(f);
		f = reply_new(x->r.n, status_of(failed), 0, 0);
	}
	/* what it names may be recorded by another effect that is not committed yet */
	if (dirty || x->m.nabandoned)
		req_look(&x->r);
	req_answer(&x->r, f);
}

void exec_refuse(struct exec *x, uint16_t status, uint16_t failed)
{
	struct sess *home = x->v.writes ? x->parts[0].sess : NULL;

	exec_reset(x);
	if (status == WIRE_REFUSED)
		x->r.n->stats.refused++;
	else if (home && status != WIRE_WRONG_NODE)
		sess_decline(home, x->m.number, status, failed);
	exec_answer(x, reply_new(x->r.n, status, failed, 0));
}
