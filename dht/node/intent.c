/*
 * The records of cross-shard commit, in memory and in the store:
 *
 *   KEY_PREPARED, session, number   u8 format, u64 age, u8 n, n times u16 participant,
 *                                   blob vote (a reply's body), blob part (a transaction's body)
 *   KEY_OUTCOME, session, number    u8 format, u8 committed, u8 n, n times u16 participant,
 *                                   blob vote
 *
 * An outcome goes when it was told to be forgotten; an abort also once the floor of its session has
 * passed it, as not knowing the number then says the same. Outcomes that may go are gathered for a
 * while and deleted together.
 */
#include "dht/node/impl.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define INTENT_FORMAT 1
#define FORGET_ONCE 256
#define FORGET_AGAIN (10 * ENV_MS) /* when there were more */

static struct intent_key key_of(uint32_t session, uint64_t number, uint16_t shard)
{
	return (struct intent_key){.number = number, .session = session, .shard = shard};
}

/* ---- prepared ---- */

struct prepared *prepared_find(struct node *n, uint32_t session, uint64_t number, uint16_t shard)
{
	const struct intent_key key = key_of(session, number, shard);
	struct prepared *p;

	HASH_FIND(hh, n->prepared, &key, sizeof(key), p);
	return p;
}

struct prepared *prepared_new(struct node *n, uint32_t session, uint64_t number, uint16_t shard)
{
	struct prepared *p = mem_zalloc(sizeof(*p));

	p->n = n;
	p->key = key_of(session, number, shard);
	p->owner.session = session;
	p->owner.number = number;
	TAILQ_INIT(&p->asking);
	return p;
}

void prepared_add(struct prepared *p)
{
	struct node *n = p->n;

	HASH_ADD(hh, n->prepared, key, sizeof(p->key), p);
	p->listed = true;
	lock_take(&node_shard(n, p->key.shard)->locks, &p->owner, &p->view);
	doubt_watch(p);
}

void prepared_remove(struct prepared *p)
{
	struct node *n = p->n;

	if (!p->listed)
		return;
	HASH_DEL(n->prepared, p);
	p->listed = false;
	lock_drop(&node_shard(n, p->key.shard)->locks, &p->owner);
	doubt_forget(p);
}

void prepared_free(struct prepared *p)
{
	if (!p)
		return;
	prepared_remove(p);
	frame_unref(p->frame);
	free(p->record);
	buf_fini(&p->vote);
	free(p);
}

static void put_participants(const struct prepared *p, struct buf *b)
{
	buf_u8(b, (uint8_t)p->nparticipants);
	for (unsigned i = 0; i < p->nparticipants; i++)
		buf_u16(b, p->participants[i]);
	buf_blob(b, p->vote.data, p->vote.len);
}

void prepared_encode(const struct prepared *p, struct buf *b)
{
	buf_u8(b, INTENT_FORMAT);
	buf_u64(b, p->owner.age);
	put_participants(p, b);
	buf_blob(b, p->body, p->body_len);
}

static int prepared_load(struct node *n, const struct intent_key *key, const void *val, size_t len)
{
	struct prepared *p = prepared_new(n, key->session, key->number, (uint16_t)key->shard);
	size_t vote_len;
	const void *vote;
	uint8_t format;
	struct cur c;

	p->record = mem_dup(val, len);
	c = cur_of(p->record, len);
	format = cur_u8(&c);
	p->owner.age = cur_u64(&c);
	p->nparticipants = cur_u8(&c);
	if (format != INTENT_FORMAT || p->nparticipants > WIRE_PARTICIPANTS_MAX)
		goto bad;
	for (unsigned i = 0; i < p->nparticipants; i++)
		p->participants[i] = cur_u16(&c);
	vote = cur_blob(&c, EFFECT_VALUE_MAX, &vote_len);
	p->body = cur_blob(&c, EFFECT_VALUE_MAX, &p->body_len);
	if (!cur_done(&c) || txn_check(p->body, p->body_len, &p->view))
		goto bad;
	buf_bytes(&p->vote, vote, vote_len);
	/* it is not known who was told of the vote before the restart */
	p->promised = true;
	prepared_add(p);
	return 0;
bad:
	prepared_free(p);
	return -EUCLEAN;
}

/* ---- outcomes ---- */

struct outcome *outcome_find(struct node *n, uint32_t session, uint64_t number, uint16_t shard)
{
	const struct intent_key key = key_of(session, number, shard);
	struct outcome *o;

	HASH_FIND(hh, n->outcomes, &key, sizeof(key), o);
	return o;
}

static void forget_later(struct node *n, uint64_t wait)
{
	if (!n->forget_timer.armed)
		env_timer_set(n->env, &n->forget_timer, env_now(n->env) + wait);
}

void outcome_add(struct node *n, const struct intent_key *key, bool committed)
{
	struct outcome *o = mem_zalloc(sizeof(*o));

	o->key = *key;
	o->committed = committed;
	HASH_ADD(hh, n->outcomes, key, sizeof(o->key), o);
	if (!committed)
		forget_later(n, NODE_FORGET_AFTER);
}

void outcome_encode(const struct prepared *p, bool committed, struct buf *b)
{
	const struct prepared none = {0};

	buf_u8(b, INTENT_FORMAT);
	buf_u8(b, committed);
	put_participants(p ? p : &none, b);
}

static int outcome_parse(struct cur c, bool *committed, const void **vote, size_t *vote_len)
{
	uint8_t format = cur_u8(&c);
	unsigned n;

	*committed = cur_u8(&c);
	n = cur_u8(&c);
	cur_bytes(&c, 2 * (size_t)n);
	*vote = cur_blob(&c, EFFECT_VALUE_MAX, vote_len);
	return cur_done(&c) && format == INTENT_FORMAT ? 0 : -EUCLEAN;
}

int outcome_vote(struct node *n, const struct outcome *o, struct buf *out)
{
	struct wire_reply m;
	const void *vote;
	struct key key;
	bool committed;
	size_t len;
	int rc;

	key_session(&key, KEY_OUTCOME, (uint16_t)o->key.shard, o->key.session, o->key.number);
	buf_reset(&n->tmp);
	rc = store_get(n->st, key.b, key.len, &n->tmp);
	if (rc == -EAGAIN)
		return rc;
	if (rc || n->tmp.err ||
		outcome_parse(cur_of(n->tmp.data, n->tmp.len), &committed, &vote, &len) ||
		wire_get_reply(cur_of(vote, len), &m)) {
		log_error("mod=node shard=%u session=%u number=%llu rc=-%s msg=\"an outcome cannot "
			  "be read\"",
			o->key.shard, o->key.session, (unsigned long long)o->key.number,
			log_errno(rc));
		return -EIO;
	}
	buf_bytes(out, vote, len);
	return 0;
}

static int outcome_load(struct node *n, const struct intent_key *key, const void *val, size_t len)
{
	const void *vote;
	bool committed;
	size_t vote_len;

	if (outcome_parse(cur_of(val, len), &committed, &vote, &vote_len))
		return -EUCLEAN;
	outcome_add(n, key, committed);
	return 0;
}

/* ---- forgetting ---- */

void outcome_forget(struct node *n, struct outcome *o, bool strays)
{
	o->forgotten = true;
	o->strays = strays;
	forget_later(n, NODE_FORGET_AFTER);
}

struct forget {
	struct own own;
	struct effect effect;
	struct wire_effect at[TXN_OBJECTS_MAX];
	TAILQ_ENTRY(forget) entry;
};

static void forget_free(struct node *n, struct forget *f)
{
	TAILQ_REMOVE(&n->forgets, f, entry);
	effect_fini(&f->effect);
	free(f);
}

static void forget_done(struct own *o, int rc)
{
	struct node *n = o->n;

	(void)rc; /* nobody waits for it */
	forget_free(n, container_of(o, struct forget, own));
	if (n->stopping)
		node_check_stopped(n);
}

/* May it go, as things stand? */
static bool may_go(struct node *n, const struct outcome *o)
{
	const struct sess *s;
	const struct shard *shard = node_shard(n, o->key.shard);

	if (shard->gate || shard->role != ROLE_SERVING)
		return false;
	if (o->forgotten && !o->strays)
		return true;
	if (o->committed && !o->forgotten)
		return false;
	if (session_ended(n, o->key.session))
		return true; /* none of its votes is taken any more */
	s = sess_find(n, o->key.session, (uint16_t)o->key.shard);
	return s && sess_bars(s, o->key.number);
}

static int by_shard(const void *a, const void *b)
{
	const struct outcome *const *x = a, *const *y = b;

	return (int)(*x)->key.shard - (int)(*y)->key.shard;
}

/* Deletes the first of @go, as many as one effect may: how many, or what own_apply() says. */
static int forget_some(struct node *n, struct outcome *const *go, unsigned ngo)
{
	struct forget *f = mem_zalloc(sizeof(*f));
	struct shard *s = NULL;
	struct key key;
	unsigned i;
	int rc;

	effect_init(&f->effect);
	TAILQ_INSERT_TAIL(&n->forgets, f, entry);
	for (i = 0; i < ngo; i++) {
		const struct intent_key *k = &go[i]->key;
		struct wire_effect *at = &f->at[f->own.nat];

		if (!s || s->number != k->shard) {
			/* with other copies each shard's effect is one of its own */
			if (s && (f->own.nat == TXN_OBJECTS_MAX || shard_copied(n, s) ||
					 shard_copied(n, node_shard(n, k->shard))))
				break;
			s = node_shard(n, k->shard);
			at->shard = s->number;
			shard_next(n, s, &at->term, &at->seq);
			effect_section(&f->effect, at->shard, at->term, at->seq);
			f->own.nat++;
		}
		key_session(&key, KEY_OUTCOME, s->number, k->session, k->number);
		effect_del(&f->effect, key.b, key.len);
	}
	f->own.effect = &f->effect;
	f->own.at = f->at;
	f->own.done = forget_done;
	rc = own_apply(n, &f->own, STORE_RESERVE);
	if (rc)
		forget_free(n, f);
	return rc ? rc : (int)i;
}

void forget_fire(struct env_timer *t)
{
	struct node *n = container_of(t, struct node, forget_timer);
	struct outcome *go[FORGET_ONCE], *o, *tmp;
	unsigned ngo = 0, gone = 0;
	bool more = false;
	int got;

	HASH_ITER (hh, n->outcomes, o, tmp) {
		more |= o->forgotten || !o->committed;
		if (ngo < FORGET_ONCE && may_go(n, o))
			go[ngo++] = o;
	}
	if (more && !n->log_failed)
		forget_later(n, ngo < FORGET_ONCE ? NODE_FORGET_AFTER : FORGET_AGAIN);
	if (!ngo || n->stopping)
		return;
	qsort(go, ngo, sizeof(go[0]), by_shard);
	while (gone < ngo) {
		got = forget_some(n, go + gone, ngo - gone);
		if (got < 0)
			break; /* not urgent: the timer comes again */
		gone += (unsigned)got;
	}
	for (unsigned i = 0; i < gone; i++) {
		HASH_DEL(n->outcomes, go[i]);
		free(go[i]);
	}
}

/* ---- loading, and the end ---- */

int intent_load_one(struct node *n, const uint8_t *key, size_t klen, const void *val, size_t vlen)
{
	const uint8_t *at = key + KEY_HEAD;
	struct intent_key k;

	if (klen != KEY_HEAD + 12)
		return -EUCLEAN;
	k = key_of((uint32_t)get_be16(at) << 16 | get_be16(at + 2), get_be64(at + 4),
		get_be16(at - 2));
	if (key[0] == KEY_PREPARED)
		return prepared_load(n, &k, val, vlen);
	return outcome_load(n, &k, val, vlen);
}

void intents_lose(struct node *n)
{
	struct prepared *p, *ptmp;
	struct outcome *o, *otmp;

	HASH_ITER (hh, n->prepared, p, ptmp) {
		if (node_shard(n, p->key.shard)->losing)
			prepared_free(p);
	}
	HASH_ITER (hh, n->outcomes, o, otmp) {
		if (!node_shard(n, o->key.shard)->losing)
			continue;
		HASH_DEL(n->outcomes, o);
		free(o);
	}
}

void intents_free(struct node *n)
{
	struct prepared *p, *ptmp;
	struct outcome *o, *otmp;
	struct forget *f;

	HASH_ITER (hh, n->prepared, p, ptmp)
		prepared_free(p);
	HASH_ITER (hh, n->outcomes, o, otmp) {
		HASH_DEL(n->outcomes, o);
		free(o);
	}
	while ((f = TAILQ_FIRST(&n->forgets)))
		forget_free(n, f);
}
