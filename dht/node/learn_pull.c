/*
 * Effects from another copy's log, in order, each applied by repl.c.
 *
 *   asking     TAIL is out           an answer: applying, or the end
 *   applying   of its effects        all are in the log: asking, or the end
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/learn.h"

struct pull_section {
	struct repl_section s;
	struct puller *p;
};

struct puller {
	struct node *n;
	struct shard *s;
	struct orbit_id from;
	uint64_t token, to;
	uint64_t term; /* of the shard, in the map: in another one its history may be another */
	bool paced;    /* no faster than the node may learn */
	void (*done)(void *arg, int rc);
	void *arg;
	struct call call;
	bool calling;
	struct env_timer timer;
	struct env_task task;
	struct frame *frame;           /* the answer that is being applied: */
	struct pull_section *sections; /* its effects, */
	uint32_t nsections, next;      /* handed out up to here */
	unsigned left;                 /* and not in the log yet */
	bool submitting;
	uint64_t there; /* the source's last seq */
	int rc;
	TAILQ_ENTRY(puller) entry;
};

static void pull_free(struct puller *p)
{
	struct node *n = p->n;

	TAILQ_REMOVE(&n->learn->pulls, p, entry);
	env_timer_clear(n->env, &p->timer);
	env_unpost(n->env, &p->task);
	free(p->sections);
	frame_unref(p->frame);
	free(p);
	if (n->stopping)
		node_check_stopped(n);
}

static void pull_end(struct puller *p, int rc)
{
	void (*done)(void *arg, int rc) = p->done;
	void *arg = p->arg;

	pull_free(p);
	if (done)
		done(arg, rc);
}

static void pull_go(struct puller *p);

static void pull_fire(struct env_timer *t)
{
	pull_go(container_of(t, struct puller, timer));
}

static void pull_begin(struct env_task *t)
{
	pull_go(container_of(t, struct puller, task));
}

static void apply_some(struct puller *p);

static void section_done(struct repl_section *rs, int rc)
{
	struct puller *p = container_of(rs, struct pull_section, s)->p;

	if (rc && !p->rc)
		p->rc = rc;
	p->left--;
	if (!p->submitting)
		apply_some(p);
}

/* Hands out sections, none behind one that is not applied: should that be refused, nobody would
 * fill the gap. Goes on when all are in the log. */
static void apply_some(struct puller *p)
{
	/* the last one may still wait for the store, while one before it came to its end */
	bool taken = !p->next ||
		     store_history(p->n->st, p->s->number).seq >= p->sections[p->next - 1].s.seq;

	p->submitting = true;
	while (taken && p->next < p->nsections && !p->rc) {
		struct pull_section *ps = &p->sections[p->next++];

		p->left++;
		repl_apply(p->n, &ps->s);
		taken = store_history(p->n->st, p->s->number).seq >= ps->s.seq;
	}
	p->submitting = false;
	if (p->left || (p->next < p->nsections && !p->rc))
		return;
	free(p->sections);
	p->sections = NULL;
	frame_unref(p->frame);
	p->frame = NULL;
	if (p->rc)
		pull_end(p, p->rc);
	else
		pull_go(p);
}

static void apply_all(struct puller *p, const struct wire_tail_reply *m, struct frame *f)
{
	struct cur c = m->effects;
	struct wire_tail_effect e;

	p->sections = mem_zalloc(m->n * sizeof(*p->sections));
	p->nsections = m->n;
	p->next = 0;
	for (uint32_t i = 0; i < m->n; i++) {
		struct pull_section *ps = &p->sections[i];

		wire_get_tail_effect(&c, &e);
		ps->p = p;
		ps->s.done = section_done;
		ps->s.shard = p->s->number;
		ps->s.term = e.term;
		ps->s.seq = e.seq;
		ps->s.meta = e.meta;
		ps->s.meta_len = e.meta_len;
		ps->s.data = e.data;
		ps->s.data_len = e.data_len;
		ps->s.frame = f;
	}
	p->frame = frame_ref(f);
	apply_some(p);
}

static int status_rc(uint16_t status)
{
	return status == WIRE_WRONG_NODE || status == WIRE_RETRY ? -EHOSTUNREACH
								 : wire_errno(status);
}

static void pull_answered(struct call *call, int rc, struct frame *f)
{
	struct puller *p = container_of(call, struct puller, call);
	struct node *n = p->n;
	struct wire_tail_reply m;
	struct wire_reply reply;
	struct cur c;

	p->calling = false;
	if (!p->done || n->stopping || rc) {
		pull_end(p, rc ? -EHOSTUNREACH : -ESHUTDOWN);
		return;
	}
	if (p->s->term != p->term) {
		pull_end(p, -ESTALE);
		return;
	}
	if (p->paced)
		learn_fetched(n, frame_body_len(f));
	if (f->type != WIRE_REPLY || wire_get_reply(frame_cur(f), &reply)) {
		pull_end(p, -EPROTO);
		return;
	}
	route_epoch(n, ring_find(n->ring, &p->from), reply.epoch);
	if (reply.status) {
		pull_end(p, status_rc(reply.status));
		return;
	}
	c = cur_of(reply.results, reply.results_len);
	if (wire_get_tail_reply(c, &m)) {
		pull_end(p, -EPROTO);
		return;
	}
	p->there = m.seq;
	if (!m.n)
		pull_end(p, p->to == UINT64_MAX ? 0 : -EAGAIN);
	else
		apply_all(p, &m, f);
}

/* Asks for what follows what we have. */
static void pull_go(struct puller *p)
{
	struct node *n = p->n;
	struct history h = store_history(n->st, p->s->number);
	struct wire_tail m = {.token = p->token,
		.shard = p->s->number,
		.term = h.term,
		.from = h.seq + 1,
		.max = p->paced ? learn_most(n) : WIRE_TAIL_MAX};
	uint64_t when = p->paced ? learn_pace(n) : 0;
	uint16_t node;
	struct frame *f;

	if (!p->done || n->stopping) {
		pull_end(p, -ESHUTDOWN);
		return;
	}
	if (p->s->term != p->term) {
		pull_end(p, -ESTALE);
		return;
	}
	if (h.seq >= p->to || (p->to == UINT64_MAX && p->there && h.seq >= p->there)) {
		pull_end(p, 0);
		return;
	}
	if (h.seq && !h.term) {
		/* nobody can tell whether it goes on from there */
		pull_end(p, -ESTALE);
		return;
	}
	node = ring_find(n->ring, &p->from);
	if (node == RING_NONE || node == n->self) {
		pull_end(p, -EHOSTUNREACH);
		return;
	}
	if (when) {
		env_timer_set(n->env, &p->timer, when);
		return;
	}
	f = frame_new(WIRE_TAIL, 0, 40);
	wire_put_tail(&f->b, &m);
	p->call.done = pull_answered;
	p->calling = true;
	peer_call(n, node, f, &p->call);
}

struct puller *pull_new(struct node *n, struct shard *s, const struct orbit_id *from,
	uint64_t token, uint64_t to, void (*done)(void *arg, int rc), void *arg)
{
	struct puller *p = mem_zalloc(sizeof(*p));

	p->n = n;
	p->s = s;
	p->from = *from;
	p->token = token;
	p->paced = token > 0;
	p->term = s->term;
	p->to = to;
	p->done = done;
	p->arg = arg;
	p->timer.fire = pull_fire;
	p->task.run = pull_begin;
	TAILQ_INSERT_TAIL(&n->learn->pulls, p, entry);
	env_post(n->env, &p->task);
	return p;
}

void learn_pull(struct node *n, struct shard *s, uint16_t node, uint64_t to,
	void (*done)(void *arg, int rc), void *arg)
{
	pull_new(n, s, &n->ring->nodes[node].id, 0, to, done, arg);
}

void pull_cancel(struct puller *p)
{
	if (!p)
		return;
	p->done = NULL;
	if (!p->rc)
		p->rc = -ECANCELED;
	/* what it waits for otherwise comes, and ends it */
	if (!p->calling && !p->left)
		pull_free(p);
}

void pull_free_all(struct node *n)
{
	struct puller *p;

	while ((p = TAILQ_FIRST(&n->learn->pulls)))
		pull_free(p);
}
