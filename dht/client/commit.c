/*
 * Transactions across logs: prepare, vote, decide, forget (Sinfonia's commit without a coordinator
 * log: that all voted yes is what commits).
 *
 *   phase       of each part      ends when
 *   PREPARING   PREPARE           all voted yes -> done(0), COMMITTING
 *                                 one voted no, gave up -> ABORTING
 *   ABORTING    DECIDE abort      all answered: conflict, refused -> RESTING; else the end
 *                                 one says COMMITTED -> RECOVERING
 *   RESTING     -                 back-off -> PREPARING, with a new number and the same age
 *   RECOVERING  PREPARE, again    the votes whose answers were missing are there -> done(0),
 *                                 COMMITTING
 *   COMMITTING  DECIDE commit     all answered -> the end
 *   (the end)   FORGET, on its own: nobody waits for it
 *
 * Invariants:
 * - done() gets an error only once it is sure that the parts can not be committed: one of them has
 *   recorded the abort, or has never voted and never will (its PREPARE was not sent, or sent once
 *   and refused). Else the participants might commit among themselves, as all had voted yes. Only
 *   where nobody can be reached who could tell does patience end: after ABORT_PATIENCE a caller who
 *   timed out or was interrupted hears so.
 * - What was decided is carried on in the background until every part has answered, also after
 *   done(): the number stays unfinished till then.
 * - A DECIDE goes to every part that may have prepared. Where it overtakes the PREPARE, as that
 * went by another way, the part knows of the abort when the PREPARE comes.
 */
#include "dht/client/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define ABORT_PATIENCE (200 * ENV_MS)
#define CONFLICT_MIN (1 * ENV_MS)
#define CONFLICT_MAX (200 * ENV_MS)
#define DECIDE_MIN (20 * ENV_MS)
#define DECIDE_MAX (1 * ENV_SEC)

enum phase { PREPARING, ABORTING, RESTING, RECOVERING, COMMITTING };
enum vote { VOTE_NONE, VOTE_YES, VOTE_NO };

struct part {
	struct request req;
	struct call *call;
	uint16_t shard;
	enum vote vote;
	bool decide;           /* may have prepared: has to hear the decision */
	unsigned sendings;     /* of this attempt's PREPARE, once that is out of the table */
	unsigned failures;     /* of DECIDE */
	struct frame *prepare; /* of the latest attempt */
	struct frame *answer;  /* the yes vote, with the reads */
	const void *results;
	size_t results_len;
};

struct commit {
	enum phase phase;
	unsigned attempts;
	bool definite;  /* can not be committed any more */
	bool again;     /* after the abort: another attempt */
	int rc, failed; /* what done() will get after the abort */
	unsigned nparts;
	struct part part[];
};

static const struct request_ops prepare_ops, decide_ops, forget_ops, rest_ops;

static struct part *part_of(struct request *r)
{
	return container_of(r, struct part, req);
}

/* ---- beginning ---- */

struct want {
	const struct ring_map *map;
	uint16_t shard;
};

static bool in_shard(void *arg, const struct orbit_id *id)
{
	const struct want *w = arg;

	return ring_shard_of(w->map, id) == w->shard;
}

static void send_part(struct part *p, struct frame *f)
{
	frame_unref(p->prepare);
	p->prepare = frame_ref(f);
	p->vote = VOTE_NONE;
	request_go(&p->req, TO_SHARD, p->shard, f);
}

static void begin_part(struct part *p, unsigned tries)
{
	request_begin(&p->req, p->call->req.c, &prepare_ops, p->call->period, tries);
}

void commit_start(struct call *k, struct txn_build *t, const uint16_t *shards, unsigned nshards)
{
	struct orbit_client *c = k->req.c;
	struct want w = {.map = c->map};
	struct commit *cm = mem_zalloc(sizeof(*cm) + nshards * sizeof(cm->part[0]));
	struct frame *f[WIRE_PARTICIPANTS_MAX];
	struct part *p;
	int rc = 0;

	request_drop(&k->req);
	k->kind = CALL_COMMIT;
	k->commit = cm;
	cm->nparts = nshards;
	cm->failed = -1;
	k->session = c->session.id;
	number_take(&c->session, &k->number, true);
	for (unsigned i = 0; i < nshards; i++) {
		p = &cm->part[i];
		p->call = k;
		p->shard = w.shard = shards[i];
		begin_part(p, k->tries);
		f[i] = submit_frame(k, WIRE_PREPARE, p->req.e.id, 0, shards, nshards,
			64 + t->ops.len / nshards + (size_t)t->nobjects * ORBIT_ID_LEN);
		if (!rc)
			rc = txn_encode(t, &f[i]->b, in_shard, &w);
		if (!rc)
			rc = frame_check(f[i]);
	}
	for (unsigned i = 0; i < nshards; i++) {
		if (rc)
			frame_unref(f[i]);
		else
			send_part(&cm->part[i], f[i]);
	}
	if (rc)
		commit_give_up(k, rc);
}

/* Another attempt: a new number, so that nothing of the last one can be taken for it. */
void commit_again(struct call *k)
{
	struct orbit_client *c = k->req.c;
	struct commit *cm = k->commit;
	struct part *p;

	assert(cm->phase == RESTING);
	if (!call_ready(k))
		return;
	call_unwait(k);
	request_drop(&k->req);
	cm->phase = PREPARING;
	cm->definite = cm->again = false;
	k->session = c->session.id;
	number_take(&c->session, &k->number, true);
	for (unsigned i = 0; i < cm->nparts; i++) {
		p = &cm->part[i];
		p->decide = false;
		p->sendings = 0;
		begin_part(p, k->tries);
		send_part(p, submit_rehead(c, p->prepare, p->req.e.id, k->session, k->number.n, 0));
	}
}

static void drop_votes(struct commit *cm)
{
	for (unsigned i = 0; i < cm->nparts; i++) {
		frame_unref(cm->part[i].answer);
		cm->part[i].answer = NULL;
	}
}

/* ---- deciding ---- */

static bool open_parts(const struct commit *cm)
{
	for (unsigned i = 0; i < cm->nparts; i++)
		if (cm->part[i].req.e.listed)
			return true;
	return false;
}

bool commit_busy(const struct call *k)
{
	return k->commit && open_parts(k->commit);
}

static void decide(struct part *p, bool commit)
{
	struct call *k = p->call;
	struct orbit_client *c = k->req.c;
	struct wire_decide m = {
		.session = k->session,
		.number = k->number.n,
		.epoch = c->map->epoch,
		.shard = p->shard,
		.commit = commit,
		.floor = k->session == c->session.id ? number_floor(&c->session) : 0,
	};
	struct frame *f;

	p->decide = true;
	p->failures = 0;
	request_begin(&p->req, c, &decide_ops, k->period, ENTRY_FOREVER);
	f = frame_new(WIRE_DECIDE, p->req.e.id, 64);
	wire_put_decide(&f->b, &m);
	request_go(&p->req, TO_SHARD, p->shard, f);
}

static bool told(const struct call *k)
{
	return k->called || k->ending;
}

/* The caller hears @rc; what is left to do is done without him. */
static void settle(struct call *k, int rc)
{
	if (told(k))
		return;
	request_drop(&k->req);
	k->failed = rc == -ECANCELED ? k->commit->failed : -1;
	call_fail(k, rc);
}

/* Nobody waits for it to arrive; but it waits for a link. */
struct forget {
	struct request req;
};

static void forget_part(struct part *p, bool strays)
{
	struct call *k = p->call;
	struct wire_decide m = {
		.session = k->session,
		.number = k->number.n,
		.epoch = k->req.c->map->epoch,
		.shard = p->shard,
		.commit = strays,
	};
	struct forget *fg = mem_zalloc(sizeof(*fg));
	struct frame *f = frame_new(WIRE_FORGET, 0, 64);

	wire_put_decide(&f->b, &m);
	request_begin(&fg->req, k->req.c, &forget_ops, k->period, ENTRY_FOREVER);
	request_go(&fg->req, TO_SHARD, p->shard, f);
}

static void forgotten(struct request *r, struct peer *p, struct frame *f)
{
	struct forget *fg = container_of(r, struct forget, req);

	(void)p;
	(void)f;
	request_drop(r);
	free(fg);
}

static void forget_expire(struct request *r)
{
	forgotten(r, NULL, NULL);
}

/* All have answered the decision. */
static void decided(struct call *k)
{
	struct orbit_client *c = k->req.c;
	struct commit *cm = k->commit;
	bool strays = false;

	for (unsigned i = 0; i < cm->nparts; i++) {
		strays |= cm->part[i].sendings > 1;
		if (cm->part[i].decide)
			forget_part(&cm->part[i], cm->part[i].sendings > 1);
	}
	/* The floor may pass it. A copy of a PREPARE that is still on its way somewhere must not be
	 * taken up after the outcome was forgotten: the node keeps that until it has heard, from
	 * the next request that it gets, that the number is abandoned. */
	if (k->session != c->session.id)
		k->number.listed = false;
	else if (strays)
		number_abandon(&c->session, &k->number);
	else
		number_finish(&c->session, &k->number);
}

static void rest(struct call *k)
{
	struct orbit_client *c = k->req.c;
	struct commit *cm = k->commit;
	uint64_t limit = k->period * ((uint64_t)k->tries + 1);

	if (k->tries != ENTRY_FOREVER && env_now(c->env) - k->born > limit) {
		settle(k, -ETIMEDOUT);
		return;
	}
	drop_votes(cm);
	cm->phase = RESTING;
	request_drop(&k->req);
	request_begin(&k->req, c, &rest_ops, k->period, k->tries);
	request_backoff(
		&k->req, request_jitter(c, CONFLICT_MIN, cm->attempts++, CONFLICT_MAX), "conflict");
}

static void check_abort(struct call *k)
{
	struct commit *cm = k->commit;
	bool open = open_parts(cm);

	if (!open)
		cm->definite = true;
	if (cm->definite && !cm->again)
		settle(k, cm->rc);
	if (open)
		return;
	decided(k);
	if (cm->again && !told(k))
		rest(k);
	else
		call_release(k);
}

static void abort_all(struct call *k, int rc, int failed, bool again)
{
	struct commit *cm = k->commit;
	struct part *p;

	cm->phase = ABORTING;
	cm->rc = rc;
	cm->failed = failed;
	cm->again = again;
	for (unsigned i = 0; i < cm->nparts; i++) {
		p = &cm->part[i];
		if (p->req.e.listed)
			p->sendings = p->req.e.sendings;
		request_drop(&p->req);
		if (p->sendings == 0 || (p->vote == VOTE_NO && p->sendings == 1))
			cm->definite = true;
		else
			p->decide = true;
	}
	for (unsigned i = 0; i < cm->nparts; i++)
		if (cm->part[i].decide)
			decide(&cm->part[i], false);
	check_abort(k);
}

/* All voted yes: it is committed. The decisions go first, so that what the caller sends next finds
 * no locks of this one on the same link. */
static void commit_all(struct call *k)
{
	struct commit *cm = k->commit;
	struct orbit_reply r = {.failed = -1, .nparts = cm->nparts};
	struct part *p;

	cm->phase = COMMITTING;
	request_drop(&k->req);
	for (unsigned i = 0; i < cm->nparts; i++) {
		p = &cm->part[i];
		request_drop(&p->req);
		decide(p, true);
		if (!p->answer) /* committed, but what it read can not be had */
			r.rc = k->session == k->req.c->session.id ? -EIO : -ESTALE;
		r.part[i] = p->results;
		r.part_len[i] = p->results_len;
		r.frame[i] = p->answer;
	}
	if (told(k))
		return;
	if (r.rc)
		r.nparts = 0;
	call_done(k, &r);
}

/* A part says that the transaction, which was to be aborted, is committed: all had voted yes, and
 * the participants have settled it among themselves. That is the truth. */
static void recover(struct call *k)
{
	struct commit *cm = k->commit;
	struct part *p;
	bool missing = false;

	log_warn("mod=client session=%u txn=%llu rc=-%s told=%d msg=\"aborted too late: it is "
		 "committed\"",
		k->session, (unsigned long long)k->number.n, log_errno(cm->rc), told(k));
	cm->again = false;
	cm->phase = RECOVERING;
	for (unsigned i = 0; i < cm->nparts; i++) {
		p = &cm->part[i];
		request_drop(&p->req);
		if (p->vote == VOTE_YES || told(k))
			continue;
		missing = true;
		begin_part(p, ENTRY_FOREVER);
		send_part(p, submit_rehead(k->req.c, p->prepare, p->req.e.id, k->session,
				     k->number.n, 0));
	}
	if (!missing)
		commit_all(k);
}

/* ---- answers ---- */

static void keep_vote(struct part *p, const struct wire_reply *m, struct frame *f)
{
	p->vote = VOTE_YES;
	frame_unref(p->answer);
	p->answer = frame_ref(f);
	p->results = m->results;
	p->results_len = m->results_len;
}

static bool all_yes(const struct commit *cm)
{
	for (unsigned i = 0; i < cm->nparts; i++)
		if (cm->part[i].vote != VOTE_YES)
			return false;
	return true;
}

/* After an abort, is another attempt right? What only reads can be tried at any time. */
static bool may_again(const struct call *k, uint16_t status)
{
	switch (status) {
	case WIRE_RETRY:
		return true;
	case WIRE_REFUSED: /* the participants, in doubt, have aborted it among themselves */
		return k->reads || k->session == k->req.c->session.id;
	case WIRE_NO_SESSION: /* there will be another one */
		return k->reads;
	}
	return false;
}

static void on_vote(struct request *r, struct peer *peer, struct frame *f)
{
	struct part *p = part_of(r);
	struct call *k = p->call;
	struct commit *cm = k->commit;
	struct orbit_client *c = r->c;
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(peer, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(c, peer, m.epoch);
	if (m.status == WIRE_WRONG_NODE) {
		request_wrong_node(r, peer);
		return;
	}
	if (m.status == WIRE_UNREACHABLE) {
		request_unreachable(r);
		return;
	}
	if (cm->phase == RECOVERING && m.status == WIRE_RETRY) {
		request_backoff(r, CONFLICT_MAX, "conflict");
		return;
	}
	sync_note(c, &m);
	p->sendings = r->e.sendings;
	request_drop(r);
	if (m.status == WIRE_OK)
		keep_vote(p, &m, f);
	else
		p->vote = VOTE_NO;
	if (cm->phase == RECOVERING) {
		if (m.status != WIRE_OK)
			log_error("mod=client session=%u txn=%llu status=%s msg=\"the answer of a "
				  "committed transaction is gone\"",
				k->session, (unsigned long long)k->number.n,
				wire_status_name(m.status));
		if (!open_parts(cm))
			commit_all(k);
	} else if (m.status == WIRE_OK) {
		if (all_yes(cm))
			commit_all(k);
	} else {
		c->n.conflicts += m.status == WIRE_RETRY;
		abort_all(k, call_errno(c, m.status), m.status == WIRE_COMPARE ? m.failed : -1,
			may_again(k, m.status));
	}
}

static void on_vote_expire(struct request *r)
{
	commit_give_up(part_of(r)->call, -ETIMEDOUT);
}

static bool may_pass(uint16_t status)
{
	switch (status) {
	case WIRE_RETRY:
	case WIRE_NO_SPACE:
	case WIRE_IO:
	case WIRE_READ_ONLY:
		return true;
	}
	return false;
}

static void on_decided(struct request *r, struct peer *peer, struct frame *f)
{
	struct part *p = part_of(r);
	struct call *k = p->call;
	struct commit *cm = k->commit;
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(peer, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(r->c, peer, m.epoch);
	if (m.status == WIRE_WRONG_NODE) {
		request_wrong_node(r, peer);
		return;
	}
	if (m.status == WIRE_UNREACHABLE) {
		request_unreachable(r);
		return;
	}
	if (may_pass(m.status)) {
		request_backoff(r, request_jitter(r->c, DECIDE_MIN, p->failures++, DECIDE_MAX),
			"its node can not write");
		return;
	}
	if (m.status != WIRE_OK && m.status != WIRE_COMMITTED)
		log_error("mod=client session=%u txn=%llu shard=%u commit=%d status=%s "
			  "msg=\"a decision was refused\"",
			k->session, (unsigned long long)k->number.n, p->shard,
			cm->phase == COMMITTING, wire_status_name(m.status));
	sync_note(r->c, &m);
	request_drop(r);
	/* what only reads may be committed as well as not */
	if (cm->phase == ABORTING && m.status == WIRE_COMMITTED && !k->reads) {
		recover(k);
	} else if (cm->phase == ABORTING) {
		cm->definite = true;
		check_abort(k);
	} else if (!open_parts(cm)) {
		decided(k);
		call_release(k);
	}
}

static void never(struct request *r)
{
	(void)r; /* is never given up */
}

static const struct request_ops prepare_ops = {
	.reply = WIRE_REPLY,
	.pass = PASS_CARRY,
	.headed = true,
	.answer = on_vote,
	.expire = on_vote_expire,
};

static const struct request_ops decide_ops = {
	.reply = WIRE_REPLY,
	.pass = PASS_CARRY,
	.answer = on_decided,
	.expire = never,
};

static const struct request_ops forget_ops = {
	.pass = PASS_CARRY,
	.answer = forgotten,
	.expire = forget_expire,
};

/* ---- giving up ---- */

static void rested(struct request *r)
{
	commit_again(container_of(r, struct call, req));
}

/* Patience is over: with a rest, or with an abort. */
static void rest_expire(struct request *r)
{
	struct call *k = container_of(r, struct call, req);
	struct commit *cm = k->commit;

	if (cm->phase == RESTING)
		commit_give_up(k, -ETIMEDOUT);
	else
		settle(k, cm->rc);
}

static void no_answer(struct request *r, struct peer *p, struct frame *f)
{
	(void)r;
	(void)p;
	(void)f;
}

static const struct request_ops rest_ops = {
	.answer = no_answer,
	.expire = rest_expire,
	.retry = rested,
};

void commit_give_up(struct call *k, int rc)
{
	struct commit *cm = k->commit;
	uint64_t patience = k->period < ABORT_PATIENCE ? k->period : ABORT_PATIENCE;

	if (told(k))
		return;
	if (cm->phase == RESTING) {
		settle(k, rc);
		return;
	}
	if (cm->phase == PREPARING) {
		abort_all(k, rc, -1, false);
	} else if (cm->again || cm->phase == RECOVERING) {
		cm->again = false;
		cm->rc = rc;
		cm->failed = -1;
		if (cm->phase == ABORTING)
			check_abort(k);
	}
	if (told(k))
		return;
	if (k->req.c->closing) {
		settle(k, rc);
	} else if (!k->req.e.listed) {
		request_begin(&k->req, k->req.c, &rest_ops, patience, 0);
		k->req.e.reason = "waits for the abort";
	}
}

void commit_session_lost(struct call *k)
{
	struct commit *cm = k->commit;
	bool sent = false;

	if (told(k) || cm->phase != PREPARING)
		return;
	for (unsigned i = 0; i < cm->nparts; i++)
		sent |= cm->part[i].req.e.listed ? cm->part[i].req.e.sendings > 0
						 : cm->part[i].sendings > 0;
	if (sent && !k->reads)
		commit_give_up(k, -ESTALE);
	else
		abort_all(k, -ESTALE, -1, true);
}

void commit_free(struct call *k)
{
	struct commit *cm = k->commit;

	if (!cm)
		return;
	for (unsigned i = 0; i < cm->nparts; i++) {
		request_drop(&cm->part[i].req);
		frame_unref(cm->part[i].prepare);
	}
	drop_votes(cm);
	free(cm);
	k->commit = NULL;
}

/* ---- looking at it ---- */

bool commit_contended(const struct call *k)
{
	return k->commit && k->commit->attempts && env_now(k->req.c->env) - k->born > k->period;
}

bool commit_deciding(const struct call *k)
{
	return k->commit && (k->commit->phase == COMMITTING || k->commit->phase == ABORTING);
}

const struct request *commit_request(const struct call *k, unsigned i)
{
	for (unsigned n = 0; k->commit && n < k->commit->nparts; n++)
		if (k->commit->part[n].req.e.listed && i-- == 0)
			return &k->commit->part[n].req;
	return NULL;
}
