/*
 * Asking the keeper's leader: for this node (keep_ask(), keep_session()), and passing on what
 * others ask who cannot reach it.
 */
#include "dht/node/keep_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"

#define PASS_TIMEOUT ENV_SEC /* for an answer of the leader to somebody else */

/* ---- who leads ---- */

/* The node to ask; RING_NONE: nobody. @turn: of those that may know, which. */
uint16_t keep_leader(const struct node *n, unsigned turn)
{
	const struct ring_map *m = n->ring;
	uint32_t number = keeper_leader(n->keeper);
	uint16_t at = m && number ? ring_find_number(m, number) : RING_NONE;

	if (!m)
		return RING_NONE;
	if (turn == 0 && at != RING_NONE && at != n->self)
		return at;
	if (turn == 0 && m->keeper != n->self)
		return m->keeper;
	/* the one that we know does not answer, or knows better */
	for (unsigned i = 0; i < m->nnodes; i++) {
		at = (uint16_t)((turn + m->keeper + i) % m->nnodes);
		if (at != n->self && (m->nodes[at].up || i > m->nnodes / 2))
			return at;
	}
	return RING_NONE;
}

static void leader_fails(struct node *n)
{
	n->keep->turn++;
}

static void leader_answers(struct node *n)
{
	n->keep->turn = 0;
}

/* ---- asking ---- */

static void ask_done(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	if (status == WIRE_NO_KEEPER)
		leader_fails(a->n);
	else
		leader_answers(a->n);
	a->done(a, status, epoch);
}

static void ask_local(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	struct keep_ask *a = arg;

	snprintf(a->text, sizeof(a->text), "%s", text);
	ask_done(a, status, epoch);
}

static void ask_answered(struct call *call, int rc, struct frame *f)
{
	struct keep_ask *a = container_of(call, struct keep_ask, call);
	struct wire_reply m;

	if (rc || f->type != WIRE_REPLY || wire_get_reply(frame_cur(f), &m)) {
		ask_done(a, WIRE_NO_KEEPER, 0);
		return;
	}
	snprintf(a->text, sizeof(a->text), "%.*s", (int)min_size(m.results_len, 159),
		(const char *)m.results);
	ask_done(a, m.status, m.epoch);
}

/* A leader that hangs has a successor soon, who takes for dead whom it does not hear of within
 * fail_timeout: we must not wait so long for the old one. */
static uint64_t ask_timeout(const struct node *n, const struct wire_ask_m *m)
{
	return m->what == ASK_ALIVE ? n->cfg.fail_timeout / 4 : n->cfg.fail_timeout / 2;
}

void keep_ask(struct node *n, struct keep_ask *a)
{
	uint16_t at = keep_leader(n, n->keep->turn);
	struct frame *f;

	a->n = n;
	a->text[0] = 0;
	if (keeper_leads(n->keeper) || at == RING_NONE) {
		keeper_ask(n->keeper, &a->m, ask_local, a);
		return;
	}
	a->call.done = ask_answered;
	f = frame_new(WIRE_ASK, 0, 256);
	wire_put_ask(&f->b, &a->m);
	peer_call_within(n, at, f, &a->call, ask_timeout(n, &a->m));
}

static void session_local(void *arg, const struct wire_session *m)
{
	struct keep_session *s = arg;

	s->done(s, m);
}

static void session_answered(struct call *call, int rc, struct frame *f)
{
	struct keep_session *s = container_of(call, struct keep_session, call);
	struct wire_session m;

	if (rc || f->type != WIRE_SESSION || wire_get_session(frame_cur(f), &m))
		m = (struct wire_session){.status = WIRE_NO_KEEPER};
	s->done(s, &m);
}

void keep_session(struct node *n, struct keep_session *s)
{
	uint16_t at = keep_leader(n, 0);
	struct frame *f;

	s->n = n;
	if (keeper_leads(n->keeper) || at == RING_NONE) {
		keeper_session(n->keeper, &s->m, session_local, s);
		return;
	}
	s->call.done = session_answered;
	f = frame_new(WIRE_SESSION_OPEN, 0, 32);
	wire_put_session_open(&f->b, &s->m);
	peer_call_within(n, at, f, &s->call, PASS_TIMEOUT);
}

/* ---- what others ask ---- */

/* A question that is answered by the keeper here, or passed on to the leader's node. */
struct passed {
	struct req r;
	struct call call;
	bool session;
};

static void passed_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static void passed_release(struct req *r)
{
	free(container_of(r, struct passed, r));
}

static const struct req_ops passed_ops = {.run = passed_run, .release = passed_release};

static struct passed *passed_new(struct conn *c, struct frame *f, bool session)
{
	struct passed *p = mem_zalloc(sizeof(*p));

	req_init(&p->r, c->n, c, f, &passed_ops);
	p->session = session;
	p->r.pinned++;
	return p;
}

static struct frame *reply_text(uint16_t status, uint64_t epoch, const char *text)
{
	struct frame *f = frame_new(WIRE_REPLY, 0, 64);

	wire_put_reply_head(&f->b, status, 0, epoch, NULL, 0);
	buf_bytes(&f->b, text, strlen(text));
	return f;
}

static struct frame *session_frame(const struct wire_session *m)
{
	struct frame *f = frame_new(WIRE_SESSION, 0, 24);

	wire_put_session(&f->b, m);
	return f;
}

static struct frame *no_keeper(struct node *n, bool session)
{
	if (session)
		return session_frame(&(struct wire_session){.status = WIRE_NO_KEEPER});
	return reply_text(WIRE_NO_KEEPER, n->ring ? n->ring->epoch : 0, "no leader is known here");
}

static void passed_say(struct passed *p, struct frame *f)
{
	p->r.pinned--;
	if (req_over(&p->r))
		frame_unref(f);
	else
		req_answer(&p->r, f);
}

static void asked_local(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	passed_say(arg, reply_text(status, epoch, text));
}

static void session_asked_local(void *arg, const struct wire_session *m)
{
	passed_say(arg, session_frame(m));
}

static void passed_back(struct call *call, int rc, struct frame *f)
{
	struct passed *p = container_of(call, struct passed, call);
	struct frame *copy;

	if (rc || f->type != (p->session ? WIRE_SESSION : WIRE_REPLY)) {
		passed_say(p, no_keeper(p->r.n, p->session));
		return;
	}
	/* a frame that came over a link is not ours to change */
	copy = frame_new(f->type, 0, frame_body_len(f));
	buf_bytes(&copy->b, frame_body(f), frame_body_len(f));
	passed_say(p, copy);
}

static void pass_on(struct conn *c, struct frame *f, struct frame *copy, bool session)
{
	struct passed *p = passed_new(c, f, session);
	uint16_t at = keep_leader(c->n, 0);

	if (at == RING_NONE) {
		frame_unref(copy);
		passed_say(p, no_keeper(c->n, session));
		return;
	}
	p->call.done = passed_back;
	peer_call_within(c->n, at, copy, &p->call, PASS_TIMEOUT);
}

void keep_asked(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_ask_m m;
	struct frame *copy;

	if (wire_get_ask(frame_cur(f), &m)) {
		conn_send(c, reply_text(WIRE_BAD_REQUEST, 0, "malformed"), f->id);
	} else if (keeper_leads(n->keeper)) {
		keeper_ask(n->keeper, &m, asked_local, passed_new(c, f, false));
	} else if (m.flags & ASK_F_PASSED) {
		conn_send(c, no_keeper(n, false), f->id);
	} else {
		m.flags |= ASK_F_PASSED;
		copy = frame_new(WIRE_ASK, 0, 256);
		wire_put_ask(&copy->b, &m);
		pass_on(c, f, copy, false);
	}
}

void keep_session_asked(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_session_open m;
	struct frame *copy;

	if (wire_get_session_open(frame_cur(f), &m)) {
		conn_send(c, session_frame(&(struct wire_session){.status = WIRE_BAD_REQUEST}),
			f->id);
	} else if (keeper_leads(n->keeper)) {
		keeper_session(n->keeper, &m, session_asked_local, passed_new(c, f, true));
	} else if (m.passed) {
		conn_send(c, no_keeper(n, true), f->id);
	} else {
		m.passed = true;
		copy = frame_new(WIRE_SESSION_OPEN, 0, 32);
		wire_put_session_open(&copy->b, &m);
		pass_on(c, f, copy, true);
	}
}

void keep_raft(struct conn *c, struct frame *f)
{
	if (c->role == WIRE_ROLE_NODE)
		keeper_raft(c->n->keeper, f);
	else
		conn_fail(c, WIRE_BAD_REQUEST, "only nodes vote");
}
