/*
 * The leader: sessions. Opening and ending one is an entry of the log; renewing is a matter of the
 * leader's memory: after a change of the leader all get a full timeout. One that is silent for too
 * long is fenced: the very entry that ends it changes the map, and every node that has that map
 * refuses it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

static void say(
	struct keeper *k, uint16_t status, uint32_t session, keeper_session_cb *done, void *arg)
{
	const struct wire_session out = {.status = status,
		.session = status == WIRE_OK ? session : 0,
		.timeout_ms = (uint32_t)(k->cfg.session_timeout / ENV_MS),
		.epoch = k->state.map ? k->state.map->epoch : 0};

	done(arg, &out);
}

void session_tell(struct keeper *k, struct session_ask *s)
{
	say(k, s->status, s->session, s->done, s->arg);
	free(s);
}

static void applied(struct raft_apply *req, int status, void *result)
{
	struct session_ask *s = container_of(req, struct session_ask, apply);
	struct keeper *k = s->k;
	const struct applied *a = result;
	struct session *e;

	TAILQ_REMOVE(&k->sessions, s, entry);
	TAILQ_INSERT_TAIL(&k->said, s, entry);
	s->status = WIRE_NO_KEEPER; /* nobody knows what became of it */
	if (status)
		return;
	s->status = a->rc == 0 ? WIRE_OK : a->rc == -ENOSPC ? WIRE_NO_SPACE : WIRE_IO;
	s->session = a->session;
	e = state_session(&k->state, a->session);
	if (e)
		e->deadline = env_now(k->env) + k->cfg.session_timeout;
}

static void propose(
	struct keeper *k, const struct wire_session_open *m, keeper_session_cb *done, void *arg)
{
	struct session_ask *s = mem_zalloc(sizeof(*s));
	struct buf b = {0};

	s->k = k;
	s->session = m->session;
	s->done = done;
	s->arg = arg;
	if (m->what == WIRE_SESSION_NEW)
		entry_put_session_new(&b, m->nonce);
	else
		entry_put_session_end(&b, m->session);
	TAILQ_INSERT_TAIL(&k->sessions, s, entry);
	if (keeper_propose(k, &b, &s->apply, applied)) {
		struct session *e = state_session(&k->state, m->session);

		if (e)
			e->ending = false;
		TAILQ_REMOVE(&k->sessions, s, entry);
		TAILQ_INSERT_TAIL(&k->said, s, entry);
		s->status = WIRE_NO_KEEPER;
		keeper_settle_soon(k);
	}
}

void session_go(
	struct keeper *k, const struct wire_session_open *m, keeper_session_cb *done, void *arg)
{
	struct session *s;

	if (!keeper_leads(k)) {
		say(k, WIRE_NO_KEEPER, 0, done, arg);
		return;
	}
	s = m->what == WIRE_SESSION_NEW ? NULL : state_session(&k->state, m->session);
	if (m->what == WIRE_SESSION_NEW || (m->what == WIRE_SESSION_END && s)) {
		if (s)
			s->ending = true;
		propose(k, m, done, arg);
		return;
	}
	if (m->what == WIRE_SESSION_END) {
		say(k, WIRE_OK, m->session, done, arg); /* asked again */
		return;
	}
	/* it has not ended before that is agreed on, and may go on if that fails: who is told that
	 * it has relies on what the map says */
	if (!s || s->ending || (s->run_out && m->what == WIRE_SESSION_RENEW)) {
		say(k, s ? WIRE_RETRY : WIRE_NO_SESSION, 0, done, arg);
		return;
	}
	if (m->what == WIRE_SESSION_RENEW)
		s->deadline = env_now(k->env) + k->cfg.session_timeout;
	say(k, WIRE_OK, s->number, done, arg);
}

void session_fence(struct keeper *k, uint32_t session)
{
	struct lead *l = &k->lead;

	l->fences = mem_grow(l->fences, l->nfences + 1, sizeof(*l->fences));
	l->fences[l->nfences++] = session;
}

bool session_run_out(struct keeper *k, uint32_t session)
{
	struct session *s = state_session(&k->state, session);

	if (!s)
		return false;
	if (!s->run_out)
		log_warn("mod=keeper session=%" PRIu32
			 " msg=\"it does not give back what it holds: its time runs out\"",
			session);
	s->run_out = true;
	return true;
}

void sessions_on(struct keeper *k)
{
	uint64_t now = env_now(k->env);
	struct session *s, *tmp;

	HASH_ITER (hh, k->state.sessions, s, tmp) {
		s->deadline = now + k->cfg.session_timeout;
		s->ending = s->run_out = false; /* nodes say so again */
	}
	k->lead.sweep_at = now + k->cfg.session_timeout / 8;
}

/*
 * Where the only node is reached from inside its own process alone, sessions of before this keeper
 * led for the first time are those of processes that had the store open before: its lock says that
 * they have let go of it, so what they still may do they can do to nobody. They are not waited for.
 */
void sessions_inherited(struct keeper *k)
{
	struct session *s, *tmp;

	if (k->has_led || !ring_embedded(k->state.map))
		return;
	HASH_ITER (hh, k->state.sessions, s, tmp) {
		log_info("mod=keeper session=%" PRIu32 " msg=\"of a process that is gone, fenced\"",
			s->number);
		s->ending = true;
		session_fence(k, s->number);
	}
}

/* A leader that was stopped, or whose machine slept, heard nobody meanwhile: only the time in which
 * it listened counts as silence. */
void sessions_tick(struct keeper *k, uint64_t now, uint64_t late)
{
	struct session *s, *tmp;
	bool sweep = now >= k->lead.sweep_at;

	if (!sweep && !late)
		return;
	HASH_ITER (hh, k->state.sessions, s, tmp) {
		s->deadline += late;
		if (!sweep || s->ending || s->deadline > now)
			continue;
		log_info("mod=keeper session=%" PRIu32 " msg=\"silent for too long, fenced\"",
			s->number);
		s->ending = true;
		session_fence(k, s->number);
	}
	if (sweep)
		k->lead.sweep_at = now + k->cfg.session_timeout / 8;
}
