/*
 * What is in flight, and how the client is doing, for people.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdio.h>

const struct ring_map *orbit_ring(const struct orbit_client *c)
{
	return c->map;
}

uint32_t orbit_session(const struct orbit_client *c)
{
	return c->session.id;
}

/* The request that holds the call up: the one that stalled, else any. */
static const struct request *slowest(const struct call *k)
{
	const struct request *r, *found = k->req.e.listed ? &k->req : NULL;

	for (unsigned i = 0; (r = commit_request(k, i)); i++)
		if (!found || (r->e.stalled && !found->e.stalled))
			found = r;
	for (unsigned i = 0; (r = sync_request(k, i)); i++)
		if (!found || (r->e.stalled && !found->e.stalled))
			found = r;
	return found;
}

static enum orbit_state state_of(const struct call *k, const struct request *r)
{
	if (call_stalled(k))
		return ORBIT_STALLED;
	if (r->e.backoff)
		return ORBIT_BACKOFF;
	if (commit_deciding(k))
		return ORBIT_COMMITTING;
	return r->sent ? ORBIT_SENT : ORBIT_QUEUED;
}

void orbit_each(struct orbit_client *c, bool stalled,
	void (*fn)(void *arg, const struct orbit_stalled *s), void *arg)
{
	uint64_t now = env_now(c->env);
	const struct request *r;
	const struct peer *p;
	struct orbit_stalled s;
	struct call *k, *next;

	TAILQ_FOREACH_SAFE (k, &c->calls, at, next) {
		r = slowest(k);
		if (!r || k->ending || (stalled && !call_stalled(k)))
			continue;
		p = r->via ? r->via : r->home;
		s = (struct orbit_stalled){
			.handle = k->handle,
			.state = state_of(k, r),
			.age = now - k->born,
			.silent = now - r->e.touched,
			.tries_left = r->e.tries_left,
			.resends = r->e.sendings ? r->e.sendings - 1 : 0,
			.writes = !k->reads,
			.reason = r->e.reason,
		};
		if (p)
			snprintf(s.peer, sizeof(s.peer), "%s", peer_name(p));
		fn(arg, &s);
	}
}

void orbit_counters(const struct orbit_client *c, struct orbit_counters *out)
{
	const struct call *k;

	*out = c->n;
	TAILQ_FOREACH (k, &c->calls, at) {
		if (k->called)
			continue;
		out->in_flight++;
		out->stalled += call_stalled(k);
	}
}

int orbit_result(const struct orbit_reply *r, int index, struct txn_result *out)
{
	int rc = -ENOENT;

	if (index < 0)
		return -ENOENT;
	for (unsigned i = 0; i < r->nparts && rc == -ENOENT; i++)
		rc = txn_result_find(r->part[i], r->part_len[i], (unsigned)index, out);
	return rc;
}

/* The first peer's that something is wrong with. */
static const char *peer_error(const struct orbit_client *c, bool needed)
{
	const struct peer *p;

	TAILQ_FOREACH (p, &c->peers, at)
		if (p->error[0] && (!needed || !TAILQ_EMPTY(&p->pending)))
			return p->error;
	return NULL;
}

const char *orbit_last_error(const struct orbit_client *c)
{
	const char *e;

	if (!c->map) {
		e = c->error[0] ? c->error : peer_error(c, false);
		return e ? e : "no node has answered yet";
	}
	e = peer_error(c, true);
	if (e)
		return e;
	if (c->session.state == SESSION_OPEN)
		return "";
	return c->session.error[0] ? c->session.error : "the keeper has not opened a session yet";
}
