/*
 * A call, from what the user asked for to the callback. done() is called exactly once: call_done()
 * does it, from events only; call_fail() puts the call on the list of ending ones, from where a
 * task brings it to call_done(). Across shards a call lives on after that, until it is decided.
 */
#include "dht/client/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TIMEOUT_MIN (10 * ENV_MS)
#define TIMEOUT_MAX (3600 * ENV_SEC)
#define RESENDS_MAX 1000000

bool policy_valid(const struct orbit_policy *p)
{
	return p->resend_count <= RESENDS_MAX && p->check_timeout >= TIMEOUT_MIN &&
	       p->check_timeout <= TIMEOUT_MAX;
}

struct call *call_new(struct orbit_client *c, enum call_kind kind, bool writes,
	const struct orbit_policy *policy, orbit_done_cb *done, void *arg)
{
	struct call *k = TAILQ_FIRST(&c->spare);
	const struct orbit_policy *p = policy ? policy : &c->policy;

	if (k) {
		TAILQ_REMOVE(&c->spare, k, at_on);
		c->nspare--;
		memset(k, 0, sizeof(*k));
	} else {
		k = mem_zalloc(sizeof(*k));
	}
	k->req.c = c;
	k->handle = ++c->next_handle;
	k->kind = kind;
	k->done = done;
	k->arg = arg;
	k->reads = !writes;
	k->failed = -1;
	k->born = env_now(c->env);
	k->period = p->check_timeout;
	k->tries = (writes ? p->writes_block : p->reads_block) ? ENTRY_FOREVER : p->resend_count;
	TAILQ_INSERT_TAIL(&c->calls, k, at);
	return k;
}

void call_release(struct call *k)
{
	struct orbit_client *c = k->req.c;

	if (!k->called || commit_busy(k))
		return;
	assert(!k->ending && !k->waiting && !k->number.listed);
	request_drop(&k->req);
	sync_free(k);
	commit_free(k);
	if (k->held) {
		txn_fini(k->held);
		free(k->held);
	}
	TAILQ_REMOVE(&c->calls, k, at);
	if (c->nspare < CLIENT_SPARE_MAX) {
		TAILQ_INSERT_HEAD(&c->spare, k, at_on);
		c->nspare++;
	} else {
		free(k);
	}
	client_close_step(c);
}

void call_done(struct call *k, const struct orbit_reply *r)
{
	struct orbit_client *c = k->req.c;
	orbit_done_cb *done = k->done;
	void *arg = k->arg;

	assert(!k->called && !k->ending);
	k->called = k->answered = true;
	if (r->rc == 0 || (r->rc == -ECANCELED && r->failed >= 0))
		c->n.completed++;
	else if (r->rc == -EINTR)
		c->n.cancelled++;
	else
		c->n.failed++;
	call_release(k);
	done(arg, r);
}

void call_fail(struct call *k, int rc)
{
	struct orbit_client *c = k->req.c;

	assert(!k->called && !k->ending);
	call_unwait(k);
	k->ending = k->answered = true;
	k->rc = rc;
	TAILQ_INSERT_TAIL(&c->ending, k, at_on);
	client_deliver(c);
}

bool call_ready(struct call *k)
{
	struct orbit_client *c = k->req.c;
	const char *reason = "no ring map";

	if (c->map) {
		reason = "no session";
		if (c->session.state == SESSION_OPEN) {
			if (k->reads || !session_crowded(&c->session))
				return true;
			reason = "too many abandoned before it";
		}
	}
	call_wait(k, reason);
	return false;
}

void call_wait(struct call *k, const char *reason)
{
	k->req.e.reason = reason;
	if (k->waiting)
		return;
	k->waiting = true;
	TAILQ_INSERT_TAIL(&k->req.c->waiting, k, at_on);
}

void call_unwait(struct call *k)
{
	if (!k->waiting)
		return;
	k->waiting = false;
	TAILQ_REMOVE(&k->req.c->waiting, k, at_on);
}

void call_start_waiting(struct orbit_client *c)
{
	struct call *k, *next;

	TAILQ_FOREACH_SAFE (k, &c->waiting, at_on, next) {
		if (!call_ready(k))
			continue;
		call_unwait(k);
		if (k->kind == CALL_COMMIT)
			commit_again(k);
		else
			submit_start(k, k->held);
	}
}

void call_give_up(struct call *k, int rc)
{
	if (k->kind == CALL_COMMIT) {
		commit_give_up(k, rc);
		return;
	}
	if (k->kind == CALL_TXN) {
		if (k->req.e.sendings && !k->reads)
			number_abandon(&k->req.c->session, &k->number);
		else
			number_finish(&k->req.c->session, &k->number);
	}
	if (sync_error(k)) /* its marks are gone: nobody else will be told */
		rc = sync_error(k);
	request_drop(&k->req);
	sync_free(k);
	call_fail(k, rc);
}

bool call_stalled(const struct call *k)
{
	const struct request *r;

	if (k->req.e.listed && k->req.e.stalled)
		return true;
	for (unsigned i = 0; (r = commit_request(k, i)); i++)
		if (r->e.stalled)
			return true;
	for (unsigned i = 0; (r = sync_request(k, i)); i++)
		if (r->e.stalled)
			return true;
	return commit_contended(k);
}

int call_errno(struct orbit_client *c, uint16_t status)
{
	int rc;

	switch (status) {
	case WIRE_OK:
		return 0;
	case WIRE_COMPARE:
		return -ECANCELED;
	case WIRE_NO_SESSION:
		session_suspect(c);
		return -ESTALE;
	case WIRE_REFUSED: /* the session's memory of it is gone */
		return -ESTALE;
	}
	rc = wire_errno(status);
	return rc < 0 ? rc : -EPROTO;
}
