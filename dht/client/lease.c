/*
 * What the session holds: granted, recalled, returned.
 *
 *   a lease       mode       kept              leaves it
 *   (none)        -          -                 GRANT -> held
 *   held          m          m                 RECALL -> recalled; orbit_return() -> less, or none
 *   recalled      m          less than m       orbit_return() -> as much as is kept, or none
 *
 * Numbers tell what crossed. The primary ignores a RETURN that does not know of its newest grant;
 * here a reply's grant counts as long as the lease was not given back since (orbit_covered()). A
 * grant of a term that is older than that in which we last said what we hold comes from a primary
 * that is none any more: the new one does not know of it, so it is none either.
 *
 * Nothing is sent again here but HOLDING (lease_hold.c): a RECALL whose RETURN was lost with its
 * link comes again, and finds an empty hand.
 *
 * As long as the user has not returned what was recalled, whoever asked is told every HEARD_EVERY
 * that he was heard: by a RETURN that gives nothing back. A user who takes less time costs none.
 */
#include "dht/client/lease_int.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define TERM_SHIFT 40 /* of a number */
#define TERM_MASK 0xffffffu
#define HEARD_EVERY (500 * ENV_MS) /* a quarter of what nodes wait for */

static bool told(const struct orbit_client *c)
{
	return c->leases.ops && !c->closing;
}

struct lease *lease_find(const struct orbit_client *c, const struct orbit_id *id)
{
	struct lease *e;

	HASH_FIND(hh, c->leases.by_id, id, sizeof(*id), e);
	return e;
}

void lease_from(struct lease *e, struct peer *p)
{
	if (e->from == p)
		return;
	if (e->from)
		e->from->nleases--;
	e->from = p;
	if (!p)
		return;
	p->nleases++;
	if (peer_usable(p))
		peer_watch(p);
}

static void owe(struct orbit_client *c, struct lease *e)
{
	struct leases *l = &c->leases;

	if (e->owing)
		return;
	e->owing = true;
	TAILQ_INSERT_TAIL(&l->owing, e, in_owing);
	if (!l->heard.armed)
		env_timer_set(c->env, &l->heard, env_now(c->env) + HEARD_EVERY);
}

static void owe_not(struct orbit_client *c, struct lease *e)
{
	if (!e->owing)
		return;
	e->owing = false;
	TAILQ_REMOVE(&c->leases.owing, e, in_owing);
}

static void drop(struct orbit_client *c, struct lease *e)
{
	owe_not(c, e);
	lease_from(e, NULL);
	HASH_DELETE(hh, c->leases.by_id, e);
	TAILQ_REMOVE(&c->leases.shard[e->shard].held, e, at);
	c->n.leases--;
	free(e);
}

/* ---- giving back ---- */

static void send_back(struct peer *p)
{
	struct orbit_client *c = p->c;
	struct wire_leases m = {.session = c->session.id, .epoch = c->map->epoch, .n = p->nback};
	struct frame *f = frame_new(WIRE_RETURN, 0, 48 + p->back.len);

	wire_put_leases_head(&f->b, &m);
	buf_bytes(&f->b, p->back.data, p->back.len);
	buf_reset(&p->back);
	p->nback = 0;
	peer_send(p, f);
}

static void on_task(struct env_task *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, leases.task);
	struct peer *p;

	TAILQ_FOREACH (p, &c->peers, at)
		if (p->nback)
			send_back(p);
}

/* Without a link it is not sent: on the next one the node asks. */
static void say_kept(struct peer *p, const struct orbit_id *id, uint16_t shard,
	enum orbit_lease keep, uint64_t number)
{
	struct wire_lease_one one = {
		.shard = shard, .id = *id, .mode = (uint8_t)keep, .number = number};
	struct orbit_client *c = p->c;

	if (!peer_usable(p))
		return;
	wire_put_lease_one(&p->back, &one);
	if (++p->nback == WIRE_LEASES_MAX)
		send_back(p);
	env_post(c->env, &c->leases.task);
}

static void give_back(struct peer *p, const struct orbit_id *id, uint16_t shard,
	enum orbit_lease keep, uint64_t number)
{
	p->c->n.leases_returned++;
	say_kept(p, id, shard, keep, number);
}

static void say_heard(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, leases.heard);
	struct lease *e;

	TAILQ_FOREACH (e, &c->leases.owing, in_owing)
		if (e->asker)
			say_kept(e->asker, &e->id, e->shard, e->mode, e->number);
	if (!TAILQ_EMPTY(&c->leases.owing))
		env_timer_set(c->env, t, env_now(c->env) + HEARD_EVERY);
}

void orbit_return(struct orbit_client *c, const struct orbit_id *id, enum orbit_lease keep)
{
	struct lease *e = lease_find(c, id);
	struct peer *p;

	if (!e || keep >= e->mode)
		return;
	p = e->asker ? e->asker : route_node(c, c->map->shards[e->shard].primary);
	if (p)
		give_back(p, id, e->shard, keep, e->number);
	e->mode = keep;
	if (e->kept >= keep) {
		e->kept = keep;
		e->asker = NULL;
		owe_not(c, e);
	}
	if (keep == ORBIT_LEASE_NONE)
		drop(c, e);
}

/* ---- messages ---- */

/* Nobody would use it if there were no entry yet: @wanted false. */
static void granted(struct peer *p, const struct wire_lease_one *one, uint64_t request, bool wanted)
{
	struct orbit_client *c = p->c;
	struct lease_shard *sh = &c->leases.shard[one->shard];
	struct lease *e = lease_find(c, &one->id);
	enum orbit_lease mode = (enum orbit_lease)one->mode;

	if (one->number >> TERM_SHIFT < (sh->term & TERM_MASK))
		return;
	sh->wished = true;
	if (!e && (!wanted || !told(c) || mode == ORBIT_LEASE_NONE)) {
		give_back(p, &one->id, one->shard, ORBIT_LEASE_NONE, one->number);
		return;
	}
	c->n.leases_granted++;
	if (!e) {
		e = mem_zalloc(sizeof(*e));
		e->id = one->id;
		e->shard = one->shard;
		e->since = one->number;
		HASH_ADD(hh, c->leases.by_id, id, sizeof(e->id), e);
		TAILQ_INSERT_TAIL(&sh->held, e, at);
		c->n.leases++;
	}
	if (e->kept == e->mode || e->kept > mode)
		e->kept = mode;
	e->mode = mode;
	if (e->number < one->number)
		e->number = one->number;
	e->request = request;
	e->version = one->version;
	lease_from(e, p);
}

/* The request that the grant belongs to, if its REPLY will be taken. */
static struct request *wisher(const struct peer *p, uint64_t id)
{
	struct entry *e = table_find(&p->c->table, id);
	struct request *r = e ? container_of(e, struct request, e) : NULL;

	return r && r->sent && r->home == p && !r->via ? r : NULL;
}

static void on_grant(struct peer *p, struct wire_leases m, struct frame *f)
{
	struct request *r = wisher(p, m.request);

	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		granted(p, &one, m.request, r != NULL);
	}
	if (!r)
		return;
	frame_unref(r->grant);
	r->grant = frame_ref(f);
}

void lease_ask_user(struct orbit_client *c, struct lease *e, enum orbit_lease keep)
{
	const struct orbit_id id = e->id; /* it may go meanwhile */

	if (keep >= e->kept)
		return; /* he knows */
	e->kept = keep;
	owe(c, e);
	if (told(c))
		c->leases.ops->recall(c->leases.arg, &id, keep);
	else
		orbit_return(c, &id, ORBIT_LEASE_NONE);
}

static void recalled(struct peer *p, const struct wire_lease_one *one)
{
	struct orbit_client *c = p->c;
	struct lease *e = lease_find(c, &one->id);
	enum orbit_lease keep = (enum orbit_lease)one->mode;

	c->n.leases_recalled++;
	if (!e || one->number < e->number) {
		give_back(p, &one->id, one->shard, ORBIT_LEASE_NONE, one->number);
		return;
	}
	e->number = one->number; /* the grant may have been lost with a link */
	if (keep >= e->mode) {
		give_back(p, &one->id, one->shard, e->mode, e->number);
		return;
	}
	e->asker = p;
	lease_ask_user(c, e, keep);
}

static void on_recall(struct peer *p, struct wire_leases m)
{
	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		recalled(p, &one);
	}
}

/* Of shards that there are, each with the objects that lie in it. */
static bool sound(const struct ring_map *map, struct wire_leases m)
{
	if (m.shard >= ring_nshards(map))
		return false;
	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		if (one.shard != ring_shard_of(map, &one.id))
			return false;
	}
	return true;
}

void lease_message(struct peer *p, struct frame *f)
{
	struct orbit_client *c = p->c;
	struct wire_leases m;

	if (wire_get_leases(frame_cur(f), &m) || (c->map && !sound(c->map, m))) {
		peer_reject(p, -EPROTO, "a malformed message about leases");
		return;
	}
	if (!c->map)
		return;
	follow_epoch(c, p, m.epoch);
	if (c->session.state != SESSION_OPEN || m.session != c->session.id)
		return; /* of one that is over */
	lease_shards(c);
	if (f->type == WIRE_GRANT)
		on_grant(p, m, f);
	else if (f->type == WIRE_RECALL)
		on_recall(p, m);
	else
		lease_claimed(p, &m);
}

/* ---- the session ---- */

static void suspend(struct env_timer *t)
{
	struct orbit_client *c = container_of(t, struct orbit_client, leases.timer);
	struct leases *l = &c->leases;

	if (l->suspended || env_now(c->env) < c->session.valid)
		return;
	l->suspended = true;
	log_warn("mod=client session=%u leases=%llu msg=\"the session is not renewed: leases are "
		 "suspended\"",
		c->session.id, (unsigned long long)c->n.leases);
	if (told(c))
		l->ops->valid(l->arg, false);
}

void lease_renewed(struct orbit_client *c)
{
	struct leases *l = &c->leases;

	env_timer_set(c->env, &l->timer, c->session.valid);
	if (!l->suspended || !orbit_valid_until(c))
		return;
	l->suspended = false;
	if (told(c))
		l->ops->valid(l->arg, true);
}

void lease_tell_mapped(struct orbit_client *c)
{
	if (told(c) && c->leases.ops->mapped)
		c->leases.ops->mapped(c->leases.arg);
}

/* The table is empty before anybody is told. */
static struct lease *empty(struct orbit_client *c)
{
	struct leases *l = &c->leases;
	struct lease *all = l->by_id;
	struct peer *p;

	l->by_id = NULL;
	c->n.leases = 0;
	TAILQ_INIT(&l->owing);
	env_timer_clear(c->env, &l->timer);
	env_timer_clear(c->env, &l->heard);
	env_timer_clear(c->env, &l->owed);
	env_unpost(c->env, &l->task);
	TAILQ_FOREACH (p, &c->peers, at) {
		p->nleases = p->nback = 0;
		buf_reset(&p->back);
	}
	lease_forget_shards(c);
	return all;
}

void lease_session_lost(struct orbit_client *c)
{
	struct lease *all = empty(c), *e, *next;

	HASH_ITER (hh, all, e, next) {
		HASH_DELETE(hh, all, e);
		c->n.leases_lost++;
		if (told(c))
			c->leases.ops->lost(c->leases.arg, &e->id);
		free(e);
	}
}

void lease_init(struct orbit_client *c)
{
	TAILQ_INIT(&c->leases.owing);
	c->leases.timer.fire = suspend;
	c->leases.heard.fire = say_heard;
	c->leases.task.run = on_task;
}

void lease_fini(struct orbit_client *c)
{
	struct lease *all = empty(c), *e, *next;

	HASH_ITER (hh, all, e, next) {
		HASH_DELETE(hh, all, e);
		free(e);
	}
	free(c->leases.shard);
	c->leases.shard = NULL;
}

/* ---- for the user ---- */

void orbit_leases(struct orbit_client *c, const struct orbit_lease_ops *ops, void *arg)
{
	c->leases.ops = ops;
	c->leases.arg = arg;
}

uint64_t orbit_valid_until(const struct orbit_client *c)
{
	const struct session *s = &c->session;

	return s->state == SESSION_OPEN && env_now(c->env) < s->valid ? s->valid : 0;
}

enum orbit_lease orbit_lease_held(const struct orbit_client *c, const struct orbit_id *id)
{
	const struct lease *e = lease_find(c, id);

	return e && orbit_valid_until(c) && lease_trusted(c, e->shard) ? e->kept : ORBIT_LEASE_NONE;
}

/* The number that a grant gives @id: 0: none. */
static uint64_t number_in(struct wire_leases m, const struct orbit_id *id, uint64_t *version)
{
	for (uint32_t i = 0; i < m.n; i++) {
		struct wire_lease_one one = wire_lease_next(&m);

		if (orbit_id_cmp(&one.id, id))
			continue;
		*version = one.version;
		return one.number;
	}
	return 0;
}

enum orbit_lease orbit_covered(struct orbit_client *c, const struct orbit_reply *r,
	const struct orbit_id *id, uint64_t *version)
{
	const struct lease *e = lease_find(c, id);
	struct wire_leases m;
	struct cur cur;
	uint64_t v;

	if (!e || r->rc || !r->grant)
		return ORBIT_LEASE_NONE;
	cur = frame_cur(r->grant);
	v = e->version;
	if (cur_u64(&cur) == e->request) /* the newest: there is no need to look for it */
		goto covered;
	if (wire_get_leases(frame_cur(r->grant), &m) || m.session != c->session.id ||
		number_in(m, id, &v) < e->since)
		return ORBIT_LEASE_NONE;
covered:
	if (version)
		*version = v;
	return orbit_lease_held(c, id);
}
