/*
 * Transactions: which shards they touch, and those that one log can hold (ring_one_log()): they go
 * to its node whole, as one TXN, and are executed in one record.
 *
 *   waiting   no map, no session, or no room for abandoned numbers; held as it was built
 *   in flight a request to the primary of its lowest shard, under a number of the session
 *   asking    the same, under the flag REPLAY: one log does not hold its shards any more, and a
 *             copy may have been executed when one did. The lowest shard knows: there lies the
 *             reply. If it has none it refuses the number for ever, then the transaction begins
 *             anew, under another one
 *   answered  the number is finished - or abandoned, if more copies were sent than answered and
 *             the answer was an error: a late copy must not execute after the caller heard so
 */
#include "dht/client/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define CONFLICT_MIN (1 * ENV_MS)
#define CONFLICT_MAX (200 * ENV_MS)
#define SESSION_MIN (20 * ENV_MS)
#define REFUSALS_MAX 4 /* of a read, before it slows down */

static const struct request_ops txn_ops;

static struct call *call_of(struct request *r)
{
	return container_of(r, struct call, req);
}

/* ---- frames ---- */

/* Of the newest map that we heard of: who answered under it may have relied on what it says of
 * sessions, and nobody may carry out what those had sent after what we send now. */
static uint64_t newest(const struct orbit_client *c)
{
	return c->heard > c->map->epoch ? c->heard : c->map->epoch;
}

struct frame *submit_frame(struct call *k, uint16_t type, uint64_t id, uint16_t flags,
	const uint16_t *shards, unsigned nshards, size_t room)
{
	struct orbit_client *c = k->req.c;
	uint16_t le[WIRE_PARTICIPANTS_MAX];
	struct wire_txn m = {
		.flags = flags | (k->reads ? WIRE_TXN_READS : 0),
		.number = k->number.n,
		.epoch = newest(c),
		.age = k->age,
		.nparticipants = (uint16_t)nshards,
		.participants = le,
	};
	struct frame *f;

	assert(nshards <= WIRE_PARTICIPANTS_MAX);
	for (unsigned i = 0; i < nshards; i++)
		le[i] = htole16(shards[i]);
	session_head(&c->session, &m);
	if (m.floor > m.number)
		m.floor = m.number;
	f = frame_new(type, id, 96 + 8 * (size_t)m.nabandoned + 2 * (size_t)nshards + room);
	wire_put_txn_head(&f->b, &m);
	return f;
}

struct frame *submit_rehead(struct orbit_client *c, const struct frame *old, uint64_t id,
	uint32_t session, uint64_t number, uint16_t flags)
{
	struct wire_txn m;
	struct frame *f;
	int rc = wire_get_txn(frame_cur(old), &m);

	assert(rc == 0); /* ours */
	(void)rc;
	if (session == c->session.id) {
		session_head(&c->session, &m);
		if (m.floor > number)
			m.floor = number;
	}
	m.session = session;
	m.number = number;
	m.epoch = newest(c);
	m.flags |= flags;
	f = frame_new(old->type, id,
		96 + 8 * (size_t)m.nabandoned + 2 * (size_t)m.nparticipants + m.body_len);
	wire_put_txn_head(&f->b, &m);
	buf_bytes(&f->b, m.body, m.body_len);
	return f;
}

/* ---- which shards ---- */

/* The shards of @n objects, each once, in order. */
static unsigned shards_of(
	const struct ring_map *map, const struct orbit_id *ids, unsigned n, uint16_t *out)
{
	unsigned nout = 0, at;
	uint16_t s;

	for (unsigned i = 0; i < n; i++) {
		s = ring_shard_of(map, &ids[i]);
		for (at = nout; at > 0 && out[at - 1] > s; at--)
			;
		if (at > 0 && out[at - 1] == s)
			continue;
		memmove(out + at + 1, out + at, (nout - at) * sizeof(*out));
		out[at] = s;
		nout++;
	}
	return nout;
}

/* Whether one node can do it at once. One shard may be without a primary, too: then it waits for
 * one. Reads need no log, only the same node. */
static bool one_log(const struct call *k, const uint16_t *shards, unsigned n)
{
	const struct ring_map *map = k->req.c->map;
	uint16_t primary = map->shards[shards[0]].primary;

	if (n == 1 || !k->reads || primary == RING_NONE)
		return n == 1 || ring_one_log(map, shards, n);
	for (unsigned i = 1; i < n; i++) {
		if (map->shards[shards[i]].primary != primary)
			return false;
	}
	return true;
}

/* ---- sending ---- */

/* A new number is a new request: late answers to the old one must not be taken for its. */
static void new_id(struct call *k)
{
	struct orbit_client *c = k->req.c;

	table_del(&c->table, &k->req.e);
	k->req.e.id = ++c->next_id;
	table_add(&c->table, &k->req.e);
}

static void resume(struct call *k)
{
	struct orbit_client *c = k->req.c;
	struct request *r = &k->req;
	struct frame *f;

	new_id(k);
	k->session = c->session.id;
	number_take(&c->session, &k->number, true);
	f = submit_rehead(c, r->frame, r->e.id, k->session, k->number.n, 0);
	request_go(r, TO_SHARD, r->shard, f);
}

static void send_whole(struct call *k, struct txn_build *t, uint16_t shard)
{
	struct orbit_client *c = k->req.c;
	size_t room = 64 + t->ops.len + (size_t)t->nobjects * ORBIT_ID_LEN;
	struct frame *f;
	int rc;

	k->session = c->session.id;
	number_take(&c->session, &k->number, true);
	f = submit_frame(k, WIRE_TXN, k->req.e.id, t->lease_followed ? WIRE_TXN_LEASE_FOLLOWED : 0,
		NULL, 0, room);
	rc = txn_encode(t, &f->b, NULL, NULL);
	if (!rc)
		rc = frame_check(f);
	if (rc) {
		frame_unref(f);
		call_give_up(k, rc);
		return;
	}
	request_go(&k->req, TO_SHARD, shard, f);
}

/* @t may be k->held. */
void submit_start(struct call *k, struct txn_build *t)
{
	struct orbit_client *c = k->req.c;
	uint16_t shards[TXN_OBJECTS_MAX];
	unsigned n;

	if (!t) {
		resume(k);
		return;
	}
	n = shards_of(c->map, t->object, t->nobjects, shards);
	if (one_log(k, shards, n)) {
		lease_wish(c, t, shards, n);
		send_whole(k, t, shards[0]);
	} else if (n > WIRE_PARTICIPANTS_MAX) {
		call_give_up(k, -E2BIG);
	} else {
		commit_start(k, t, shards, n);
	}
	if (k->held) {
		txn_fini(k->held);
		free(k->held);
		k->held = NULL;
	}
}

orbit_handle orbit_submit(struct orbit_client *c, struct txn_build *t,
	const struct orbit_policy *policy, orbit_done_cb *done, void *arg)
{
	bool valid = !policy || policy_valid(policy);
	struct call *k = call_new(c, CALL_TXN, t->writes, valid ? policy : NULL, done, arg);
	orbit_handle h = k->handle;
	int rc = c->closing ? -ESHUTDOWN : !valid || !t->nobjects ? -EINVAL : 0;

	if (t->err)
		rc = t->err;
	if (rc) {
		call_fail(k, rc);
		h = 0;
		goto out;
	}
	k->age = env_wall(c->env);
	request_begin(&k->req, c, &txn_ops, k->period, k->tries);
	if (call_ready(k)) {
		submit_start(k, t);
	} else {
		k->held = mem_zalloc(sizeof(*k->held));
		*k->held = *t;
		buf_init(&t->ops);
	}
out:
	txn_fini(t);
	txn_init(t);
	return h;
}

/* ---- another map ---- */

/* The transaction of @k's frame, as if it had just been submitted; nothing of it was executed. */
static void anew(struct call *k)
{
	struct orbit_client *c = k->req.c;
	struct txn_build *t = mem_zalloc(sizeof(*t));
	struct wire_txn m;
	int rc;

	number_finish(&c->session, &k->number);
	k->asking = false;
	k->req.unanswered = k->req.e.sendings = 0;
	txn_init(t);
	k->held = t; /* goes with the call, or when it was sent */
	rc = wire_get_txn(frame_cur(k->req.frame), &m);
	if (!rc)
		rc = rebuild_txn(t, m.body, m.body_len);
	t->lease_followed = !rc && m.flags & WIRE_TXN_LEASE_FOLLOWED;
	if (rc) {
		call_give_up(k, rc);
		return;
	}
	new_id(k);
	request_park(&k->req);
	if (call_ready(k))
		submit_start(k, t);
}

static void ask_replay(struct call *k)
{
	struct request *r = &k->req;
	struct frame *f =
		submit_rehead(r->c, r->frame, r->e.id, k->session, k->number.n, WIRE_TXN_REPLAY);

	log_info("mod=client session=%u txn=%llu msg=\"its shards have come apart: was it "
		 "executed?\"",
		k->session, (unsigned long long)k->number.n);
	k->asking = true;
	frame_unref(r->frame);
	r->frame = f;
	r->epoch = r->c->map->epoch;
}

/* The map changed, or says more than the one that it was sent by: does one log still hold it? */
static bool on_moved(struct request *r)
{
	struct call *k = call_of(r);
	uint16_t shards[TXN_OBJECTS_MAX];
	struct wire_txn m;
	struct txn_view v;
	unsigned n;

	if (k->asking || wire_get_txn(frame_cur(r->frame), &m) || txn_check(m.body, m.body_len, &v))
		return false;
	n = shards_of(r->c->map, v.object, v.nobjects, shards);
	if (one_log(k, shards, n))
		return false;
	/* Of several copies it is not known which one was refused. */
	if (!k->reads && (r->unanswered || r->e.sendings > 1)) {
		ask_replay(k);
		return false;
	}
	anew(k);
	return true;
}

/* ---- answers ---- */

static void answered(struct call *k, const struct wire_reply *m, struct frame *f)
{
	struct orbit_client *c = k->req.c;
	struct orbit_reply r = {
		.rc = call_errno(c, m->status),
		.failed = m->status == WIRE_COMPARE ? m->failed : -1,
		.grant = k->req.grant,
	};

	if (r.rc == 0) {
		r.part[0] = m->results;
		r.part_len[0] = m->results_len;
		r.frame[0] = f;
		r.nparts = 1;
	}
	if (r.rc && !k->reads && k->req.unanswered > 1)
		number_abandon(&c->session, &k->number);
	else
		number_finish(&c->session, &k->number);
	k->req.grant = NULL;
	request_drop(&k->req);
	call_done(k, &r);
	frame_unref(r.grant);
}

static void on_answer(struct request *r, struct peer *p, struct frame *f)
{
	struct call *k = call_of(r);
	struct orbit_client *c = r->c;
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(p, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(c, p, m.epoch);
	switch (m.status) {
	case WIRE_WRONG_NODE:
		request_wrong_node(r, p);
		return;
	case WIRE_UNREACHABLE:
		request_unreachable(r);
		return;
	case WIRE_RETRY:
		if (r->unanswered)
			r->unanswered--;
		c->n.conflicts++;
		request_backoff(
			r, request_jitter(c, CONFLICT_MIN, r->wrong++, CONFLICT_MAX), "conflict");
		return;
	case WIRE_NO_SESSION:
		/* A read may go on under another session, once the keeper says that this one has
		 * ended: submit_session_lost(). */
		if (k->reads) {
			session_suspect(c);
			request_backoff(r, request_jitter(c, SESSION_MIN, r->wrong++, CONFLICT_MAX),
				"no session");
			return;
		}
		break;
	case WIRE_REFUSED:
		if (k->asking) {
			anew(k);
			return;
		}
		/* The floor has passed the number of a read: it may have another one. */
		if (k->reads) {
			number_finish(&c->session, &k->number);
			if (r->wrong++ >= REFUSALS_MAX)
				request_backoff(r, CONFLICT_MAX, "refused");
			if (call_ready(k))
				resume(k);
			else
				request_park(r);
			return;
		}
		log_error("mod=client session=%u txn=%llu msg=\"refused\"", k->session,
			(unsigned long long)k->number.n);
		break;
	}
	sync_note(c, &m);
	answered(k, &m, f);
}

static void on_expire(struct request *r)
{
	call_give_up(call_of(r), -ETIMEDOUT);
}

/* A read that hangs must not keep the nodes from dropping the replies of what came after it. */
static void on_stalled(struct request *r)
{
	struct call *k = call_of(r);

	if (k->reads)
		number_finish(&r->c->session, &k->number);
}

static const struct request_ops txn_ops = {
	.reply = WIRE_REPLY,
	.pass = PASS_RAW,
	.headed = true,
	.answer = on_answer,
	.expire = on_expire,
	.stalled = on_stalled,
	.moved = on_moved,
};

void submit_session_lost(struct call *k)
{
	if (k->ending || k->called || k->waiting)
		return;
	if (k->reads || !k->req.e.sendings) {
		request_park(&k->req);
		call_wait(k, "no session");
		return;
	}
	request_drop(&k->req);
	call_fail(k, -ESTALE);
}
