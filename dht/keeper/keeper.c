/*
 * The keeper's records, all under KEY_KEEPER of shard 0 and outside any shard's history (their
 * effects carry term 0, number 0):
 *
 *   "m"                 the ring map as ring_encode() writes it
 *   "n"                 u32: the number that the next session gets; numbers are never used again
 *   "s", u32 (BE)       a session that is alive: u8 format, 16 bytes nonce
 *
 * What is asked becomes an op: it is applied, then synced, then answered. Ops wait in line for the
 * store, so that their order in the log is the order in which they were asked for.
 */
#include "dht/keeper/keeper.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <uthash.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define SESSION_LAST 0xffffffu
#define SESSION_FORMAT 1

struct session {
	uint32_t number;
	uint8_t nonce[16];
	uint64_t deadline;
	bool ending;
	UT_hash_handle hh, by_nonce;
};

struct op {
	struct keeper *k;
	struct effect effect; /* may be empty: only the sync is wanted */
	struct store_apply apply;
	struct store_sync sync;
	int rc;
	void (*then)(struct op *o, int rc);
	struct ring_map *map;
	uint32_t session;
	union {
		void (*ring)(void *arg, int rc);
		void (*session)(void *arg, const struct wire_session *out);
	} done;
	void *arg;
	TAILQ_ENTRY(op) entry;
};
TAILQ_HEAD(op_list, op);

struct keeper {
	struct env *env;
	struct store *st;
	struct keeper_config cfg;
	struct ring_map *ring;
	struct session *sessions, *nonces;
	uint32_t next;
	struct op_list line;   /* not applied yet */
	struct op_list flight; /* applied, not synced */
	struct store_wait wait;
	bool waiting;
	struct env_timer sweep;
	uint64_t sweep_at; /* when it is to fire */
};

/* ---- ops ---- */

static void pump(struct keeper *k);

static struct op *op_new(struct keeper *k, void (*then)(struct op *o, int rc))
{
	struct op *o = mem_zalloc(sizeof(*o));

	o->k = k;
	o->then = then;
	effect_init(&o->effect);
	effect_section(&o->effect, 0, 0, 0);
	return o;
}

static void op_free(struct op *o)
{
	effect_fini(&o->effect);
	ring_unref(o->map);
	free(o);
}

static void op_end(struct op *o, struct op_list *in, int rc)
{
	TAILQ_REMOVE(in, o, entry);
	o->then(o, rc);
	op_free(o);
}

static void op_synced(struct store_sync *s, int rc)
{
	struct op *o = container_of(s, struct op, sync);

	op_end(o, &o->k->flight, o->rc ? o->rc : rc);
}

static void op_applied(struct store_apply *a, int rc)
{
	struct op *o = container_of(a, struct op, apply);

	/* the sync that follows tells the end; it comes in any case */
	o->rc = rc;
}

static void line_ready(struct store_wait *w)
{
	struct keeper *k = container_of(w, struct keeper, wait);

	k->waiting = false;
	pump(k);
}

/* Puts the ops that wait into the log, as far as the store takes them. */
static void pump(struct keeper *k)
{
	struct op *o;

	while (!k->waiting && (o = TAILQ_FIRST(&k->line))) {
		int rc = 0;

		if (!effect_empty(&o->effect)) {
			o->apply.done = op_applied;
			o->apply.effect = &o->effect;
			rc = o->effect.meta.err;
			if (!rc)
				rc = store_apply(k->st, &o->apply, STORE_RESERVE);
		}
		if (rc == -EAGAIN) {
			k->waiting = true;
			k->wait.ready = line_ready;
			store_wait(k->st, &k->wait);
			return;
		}
		if (rc) {
			op_end(o, &k->line, rc);
			continue;
		}
		TAILQ_REMOVE(&k->line, o, entry);
		TAILQ_INSERT_TAIL(&k->flight, o, entry);
		o->sync.done = op_synced;
		store_sync(k->st, &o->sync);
	}
}

static void op_submit(struct op *o)
{
	TAILQ_INSERT_TAIL(&o->k->line, o, entry);
	pump(o->k);
}

/* ---- records ---- */

static void keeper_key(struct key *k, char what)
{
	key_class(k, KEY_KEEPER, 0);
	k->b[k->len++] = (uint8_t)what;
}

static void session_key(struct key *k, uint32_t number)
{
	keeper_key(k, 's');
	number = htobe32(number);
	memcpy(k->b + k->len, &number, 4);
	k->len += 4;
}

static struct session *session_add(struct keeper *k, uint32_t number, const uint8_t nonce[16])
{
	struct session *s = mem_zalloc(sizeof(*s));

	s->number = number;
	memcpy(s->nonce, nonce, sizeof(s->nonce));
	s->deadline = env_now(k->env) + k->cfg.session_timeout;
	HASH_ADD(hh, k->sessions, number, sizeof(s->number), s);
	HASH_ADD(by_nonce, k->nonces, nonce, sizeof(s->nonce), s);
	return s;
}

static void session_drop(struct keeper *k, struct session *s)
{
	HASH_DELETE(hh, k->sessions, s);
	HASH_DELETE(by_nonce, k->nonces, s);
	free(s);
}

static struct session *session_find(struct keeper *k, uint32_t number)
{
	struct session *s;

	HASH_FIND(hh, k->sessions, &number, sizeof(number), s);
	return s;
}

static int load_one(struct keeper *k, const uint8_t *name, size_t nlen, struct cur val)
{
	uint32_t number;

	if (nlen == 1 && name[0] == 'm')
		return ring_decode(val.p, val.left, &k->ring) ? -EUCLEAN : 0;
	if (nlen == 1 && name[0] == 'n') {
		k->next = cur_u32(&val);
		return cur_done(&val) && k->next > 0 ? 0 : -EUCLEAN;
	}
	if (nlen == 5 && name[0] == 's') {
		uint8_t format = cur_u8(&val);
		const void *nonce = cur_bytes(&val, 16);

		if (format != SESSION_FORMAT || !cur_done(&val))
			return -EUCLEAN;
		memcpy(&number, name + 1, 4);
		session_add(k, be32toh(number), nonce);
		return 0;
	}
	return 0; /* a later version's: not ours to judge */
}

static int load(struct keeper *k)
{
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	struct key from, to;
	int rc;

	key_class(&from, KEY_KEEPER, 0);
	to = from;
	key_after_prefix(&to);
	it = store_iter_new(k->st, from.b, from.len, to.b, to.len);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		rc = load_one(
			k, (const uint8_t *)key + KEY_HEAD, klen - KEY_HEAD, cur_of(val, vlen));
		if (rc)
			break;
	}
	store_iter_free(it);
	return rc;
}

/* ---- the map ---- */

const struct ring_map *keeper_ring(const struct keeper *k)
{
	return k->ring;
}

static void ring_stored(struct op *o, int rc)
{
	struct keeper *k = o->k;

	if (rc && rc != -ESHUTDOWN) {
		log_error("mod=keeper epoch=%llu rc=-%s msg=\"cannot store the ring map\"",
			(unsigned long long)o->map->epoch, log_errno(rc));
	} else if (!rc && (!k->ring || o->map->epoch > k->ring->epoch)) {
		ring_unref(k->ring);
		k->ring = ring_ref(o->map);
		log_info("mod=keeper epoch=%llu nodes=%u msg=\"new ring map\"",
			(unsigned long long)k->ring->epoch, k->ring->nnodes);
	}
	if (o->done.ring)
		o->done.ring(o->arg, rc);
}

void keeper_set_ring(
	struct keeper *k, struct ring_map *m, void (*done)(void *arg, int rc), void *arg)
{
	struct key key;
	struct buf b = {0};
	struct op *o;
	int rc = 0;

	if (memcmp(m->fsid, store_info(k->st)->fsid, sizeof(m->fsid)))
		rc = -EMEDIUMTYPE;
	else if (k->ring && m->epoch <= k->ring->epoch)
		rc = -EEXIST;
	else if (k->ring && m->shard_bits != k->ring->shard_bits)
		rc = -EINVAL; /* objects would change their shards */
	ring_encode(m, &b);
	if (!rc && b.err)
		rc = b.err;
	if (!rc && b.len > EFFECT_VALUE_MAX)
		rc = -EMSGSIZE;
	if (rc) {
		buf_fini(&b);
		if (done)
			done(arg, rc);
		return;
	}
	o = op_new(k, ring_stored);
	keeper_key(&key, 'm');
	effect_put(&o->effect, key.b, key.len, b.data, b.len);
	buf_fini(&b);
	o->map = ring_ref(m);
	o->done.ring = done;
	o->arg = arg;
	op_submit(o);
}

/* ---- sessions ---- */

static void answer(struct keeper *k, uint16_t status, uint32_t session,
	void (*done)(void *arg, const struct wire_session *out), void *arg)
{
	const struct wire_session out = {.status = status,
		.session = status == WIRE_OK ? session : 0,
		.timeout_ms = (uint32_t)(k->cfg.session_timeout / ENV_MS)};

	if (done)
		done(arg, &out);
}

static uint16_t status_of(int rc)
{
	switch (rc) {
	case 0:
		return WIRE_OK;
	case -ENOSPC:
		return WIRE_NO_SPACE;
	case -EROFS:
		return WIRE_READ_ONLY;
	default:
		return WIRE_IO;
	}
}

static void session_opened(struct op *o, int rc)
{
	struct session *s = session_find(o->k, o->session);

	if (!rc && !s)
		rc = -EIO; /* it was asked for twice and the first asking failed */
	if (rc && rc != -ESHUTDOWN) {
		log_error("mod=keeper session=%u rc=-%s msg=\"cannot store a session\"", o->session,
			log_errno(rc));
		if (s)
			session_drop(o->k, s);
	}
	answer(o->k, status_of(rc), o->session, o->done.session, o->arg);
}

static void session_new(struct keeper *k, const struct wire_session_open *m,
	void (*done)(void *arg, const struct wire_session *out), void *arg)
{
	struct session *s;
	struct key key;
	struct op *o;
	uint8_t val[17] = {SESSION_FORMAT};
	uint32_t next;

	HASH_FIND(by_nonce, k->nonces, m->nonce, sizeof(m->nonce), s);
	if (s && s->ending)
		s = NULL; /* its number is spent; the nonce gets a new session */
	if (!s && k->next > SESSION_LAST) {
		log_error("mod=keeper msg=\"all session numbers are spent\"");
		answer(k, WIRE_NO_SPACE, 0, done, arg);
		return;
	}
	o = op_new(k, session_opened);
	if (s) {
		/* asked again: the same session, as soon as the first asking is durable */
		s->deadline = env_now(k->env) + k->cfg.session_timeout;
	} else {
		s = session_add(k, k->next++, m->nonce);
		next = htole32(k->next);
		keeper_key(&key, 'n');
		effect_put(&o->effect, key.b, key.len, &next, sizeof(next));
		memcpy(val + 1, m->nonce, 16);
		session_key(&key, s->number);
		effect_put(&o->effect, key.b, key.len, val, sizeof(val));
	}
	o->session = s->number;
	o->done.session = done;
	o->arg = arg;
	op_submit(o);
}

static void session_ended(struct op *o, int rc)
{
	struct session *s = session_find(o->k, o->session);

	if (rc && rc != -ESHUTDOWN)
		log_error("mod=keeper session=%u rc=-%s msg=\"cannot end a session\"", o->session,
			log_errno(rc));
	if (s && !rc)
		session_drop(o->k, s);
	else if (s)
		s->ending = false;
	answer(o->k, status_of(rc), o->session, o->done.session, o->arg);
}

static void session_end(struct keeper *k, struct session *s,
	void (*done)(void *arg, const struct wire_session *out), void *arg)
{
	struct op *o = op_new(k, session_ended);
	struct key key;

	/* twice is harmless: the second only deletes what is gone */
	s->ending = true;
	session_key(&key, s->number);
	effect_del(&o->effect, key.b, key.len);
	o->session = s->number;
	o->done.session = done;
	o->arg = arg;
	op_submit(o);
}

void keeper_session(struct keeper *k, const struct wire_session_open *m,
	void (*done)(void *arg, const struct wire_session *out), void *arg)
{
	struct session *s;

	if (m->what == WIRE_SESSION_NEW) {
		session_new(k, m, done, arg);
		return;
	}
	s = session_find(k, m->session);
	if (m->what == WIRE_SESSION_END && s) {
		session_end(k, s, done, arg);
		return;
	}
	if (m->what == WIRE_SESSION_END) {
		answer(k, WIRE_OK, m->session, done, arg); /* asked again */
		return;
	}
	if (!s || s->ending) {
		answer(k, WIRE_NO_SESSION, 0, done, arg);
		return;
	}
	if (m->what == WIRE_SESSION_RENEW)
		s->deadline = env_now(k->env) + k->cfg.session_timeout;
	answer(k, WIRE_OK, s->number, done, arg);
}

static void sweep_later(struct keeper *k, uint64_t now)
{
	k->sweep_at = now + k->cfg.session_timeout / 4;
	env_timer_set(k->env, &k->sweep, k->sweep_at);
}

/* A keeper that was stopped, or whose machine slept, heard nobody meanwhile: what its clients sent
 * is still to be read. Only the time in which it listened counts as their silence. */
static void sweep(struct env_timer *t)
{
	struct keeper *k = container_of(t, struct keeper, sweep);
	uint64_t now = env_now(k->env), late = now - k->sweep_at;
	struct session *s, *tmp;

	HASH_ITER (hh, k->sessions, s, tmp) {
		s->deadline += late;
		if (s->deadline > now || s->ending)
			continue;
		log_info("mod=keeper session=%u msg=\"silent for too long, ended\"", s->number);
		session_end(k, s, NULL, NULL);
	}
	sweep_later(k, now);
}

/* ---- life ---- */

int keeper_new(
	struct keeper **out, struct env *e, struct store *st, const struct keeper_config *cfg)
{
	struct keeper *k = mem_zalloc(sizeof(*k));
	int rc;

	k->env = e;
	k->st = st;
	k->cfg = *cfg;
	if (!k->cfg.session_timeout)
		k->cfg.session_timeout = KEEPER_SESSION_TIMEOUT;
	k->next = 1;
	TAILQ_INIT(&k->line);
	TAILQ_INIT(&k->flight);
	store_blocking(st, true);
	rc = load(k);
	store_blocking(st, false);
	if (rc) {
		log_error("mod=keeper rc=-%s msg=\"cannot load the keeper's records\"",
			log_errno(rc));
		keeper_free(k);
		return rc;
	}
	k->sweep.fire = sweep;
	sweep_later(k, env_now(e));
	*out = k;
	return 0;
}

static void free_ops(struct op_list *list)
{
	struct op *o;

	while ((o = TAILQ_FIRST(list))) {
		op_end(o, list, -ESHUTDOWN);
	}
}

void keeper_free(struct keeper *k)
{
	struct session *s, *tmp;

	if (!k)
		return;
	env_timer_clear(k->env, &k->sweep);
	free_ops(&k->line);
	free_ops(&k->flight);
	HASH_ITER (hh, k->sessions, s, tmp)
		session_drop(k, s);
	ring_unref(k->ring);
	free(k);
}

bool keeper_busy(const struct keeper *k)
{
	return !TAILQ_EMPTY(&k->line) || !TAILQ_EMPTY(&k->flight);
}
