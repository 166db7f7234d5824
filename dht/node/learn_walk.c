/*
 * A walk: the copy becomes what the source has, page by page, without copying what is equal.
 *
 *   WALK        a page: keys with values and, of streams, checksums of chunks
 *   compare     with our own over the same keys, which makes an effect of puts, deletes and
 * punches, and a list of ranges whose bytes differ apply       the effect, whenever it is large
 *   BYTES       of the list, and an effect of writes
 *   next page   when the page is compared and the list is empty
 *
 * Nothing else changes the copy meanwhile. What is compared and found wanting, and not applied as
 * we are killed, is found again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/learn.h"

#define PAGE (256u << 10)        /* bytes of one WALK: more would hold up the source's loop */
#define EFFECT_FULL (256u << 10) /* bytes of meta at which an effect is applied */
#define NEEDS_FULL (64u << 10)   /* ranges */

static void walk_ask(struct learn *l);
static void walk_compare(struct learn *l);
static void walk_fetch(struct learn *l);

void learn_walk_fini(struct learn *l)
{
	struct learn_walk *w = &l->walk;

	frame_unref(w->page);
	frame_unref(w->bytes);
	effect_fini(&w->effect);
	free(w->needs);
	free(w->same);
	*w = (struct learn_walk){0};
}

static void effect_anew(struct learn *l)
{
	struct learn_walk *w = &l->walk;

	frame_unref(w->bytes);
	w->bytes = NULL;
	effect_fini(&w->effect);
	effect_init(&w->effect);
	effect_section(&w->effect, l->s->number, 0, 0);
}

static void walk_bad(struct learn *l)
{
	learn_fail(l, -EPROTO, "what the source has makes no sense");
}

/* ---- streams ---- */

struct chunk {
	uint64_t from, to;
	uint32_t crc;
};

static struct chunk chunk_at(const struct wire_walk_entry *e, uint32_t i)
{
	struct cur c =
		cur_of((const uint8_t *)e->chunks + (size_t)i * WIRE_WALK_CHUNK, WIRE_WALK_CHUNK);
	struct chunk k;

	k.from = cur_u64(&c);
	k.to = k.from + cur_u32(&c);
	/* as the store has it: bytes, not a number */
	memcpy(&k.crc, (const uint8_t *)e->chunks + (size_t)i * WIRE_WALK_CHUNK + 12, 4);
	return k;
}

/* The hole of the source before its chunk @i; behind the last for i = n. */
static struct chunk hole_at(const struct wire_walk_entry *e, uint32_t i)
{
	return (struct chunk){.from = i ? chunk_at(e, i - 1).to : e->from,
		.to = i < e->n ? chunk_at(e, i).from : e->to};
}

/* Goes over our extents along with the source's chunks. */
struct matcher {
	const struct wire_walk_entry *e;
	uint8_t *same; /* [i]: chunk i is the same; [n + i]: we have bytes in the hole before it */
	uint32_t at;   /* the first chunk that ends behind what was looked at */
};

static void match(struct matcher *m, const struct chunk *ours)
{
	uint64_t at = ours->from;

	while (m->at < m->e->n && chunk_at(m->e, m->at).to <= ours->from)
		m->at++;
	for (uint32_t i = m->at; at < ours->to; i++) {
		struct chunk theirs;

		if (hole_at(m->e, i).to > at)
			m->same[m->e->n + i] = 1;
		if (i == m->e->n)
			return;
		theirs = chunk_at(m->e, i);
		if (theirs.from == ours->from && theirs.to == ours->to && theirs.crc == ours->crc)
			m->same[i] = 1;
		at = theirs.to;
	}
}

static bool match_extent(void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs)
{
	struct chunk k = {.from = off};

	for (size_t i = 0; i < ncrcs; i++) {
		k.to = (k.from / EFFECT_CHUNK + 1) * EFFECT_CHUNK;
		if (k.to > off + len)
			k.to = off + len;
		memcpy(&k.crc, crcs + 4 * i, 4);
		match(arg, &k);
		k.from = k.to;
	}
	return true;
}

static void need(struct learn_walk *w, const struct orbit_id *id, const struct chunk *k)
{
	struct wire_bytes_range *last = w->nneeds ? &w->needs[w->nneeds - 1] : NULL;
	uint32_t len = (uint32_t)(k->to - k->from);

	if (last && !orbit_id_cmp(&last->id, id) && last->off + last->len == k->from &&
		last->len + len <= w->most) {
		last->len += len;
		return;
	}
	if (w->nneeds == w->needs_cap) {
		w->needs_cap = w->needs_cap ? 2 * w->needs_cap : 64;
		w->needs = mem_grow(w->needs, w->needs_cap, sizeof(*w->needs));
	}
	w->needs[w->nneeds++] = (struct wire_bytes_range){.id = *id, .off = k->from, .len = len};
}

/* Our stream of @id against what the source has of it in [from, to). 0, -EAGAIN, -EIO: nothing is
 * noted then. */
static int compare_stream(
	struct learn *l, const struct orbit_id *id, const struct wire_walk_entry *e)
{
	struct learn_walk *w = &l->walk;
	size_t room = 2 * (size_t)e->n + 1;
	struct matcher m = {.e = e};
	int rc;

	if (w->same_cap < room) {
		w->same = mem_grow(w->same, room, 1);
		w->same_cap = room;
	}
	memset(w->same, 0, room);
	m.same = w->same;
	rc = store_extents(l->n->st, l->s->number, id, e->from, e->to, match_extent, &m);
	if (rc)
		return rc;
	for (uint32_t i = 0; i <= e->n; i++) {
		struct chunk hole = hole_at(e, i), k;

		if (m.same[e->n + i])
			effect_punch(&w->effect, id, hole.from, hole.to);
		if (i == e->n)
			break;
		k = chunk_at(e, i);
		if (!m.same[i])
			need(w, id, &k);
	}
	return 0;
}

/* ---- keys ---- */

/* The key is one that may come now. */
static bool key_fits(const struct learn *l, const struct wire_walk_entry *e)
{
	const struct learn_walk *w = &l->walk;
	const uint8_t *k = e->key;

	if (e->klen < KEY_HEAD || !walk_copies(k[0]) || get_be16(k + 1) != l->s->number ||
		e->vlen > EFFECT_VALUE_MAX)
		return false;
	if (k[0] == KEY_HEADER && e->klen != KEY_HEAD + ORBIT_ID_LEN)
		return false;
	if (walk_key_cmp(k, e->klen, w->at.b, w->at.len) <= 0)
		return false;
	return w->reply.done || walk_key_cmp(k, e->klen, w->reply.after, w->reply.after_len) <= 0;
}

/* Our key is not the source's. */
static void delete_key(struct learn_walk *w, const uint8_t *key, size_t klen)
{
	struct orbit_id id;

	if (key[0] == KEY_HEADER && klen == KEY_HEAD + ORBIT_ID_LEN) {
		memcpy(id.b, key + KEY_HEAD, ORBIT_ID_LEN);
		effect_drop(&w->effect, &id);
	} else {
		effect_del(&w->effect, key, klen);
	}
}

static void compared_to(struct learn_walk *w, const void *key, size_t klen)
{
	memcpy(w->at.b, key, klen);
	w->at.len = klen;
}

/* The source's key, with ours if it is the same one (@val not NULL); then what the page has of its
 * stream. 0, -EAGAIN, -EIO, -EBADMSG. */
static int compare_key(struct learn *l, const struct wire_walk_entry *e, struct cur rest,
	const void *val, size_t vlen)
{
	struct wire_walk_entry stream = {.to = UINT64_MAX};
	struct learn_walk *w = &l->walk;
	struct cur behind = rest;
	int rc;

	if (((const uint8_t *)e->key)[0] == KEY_HEADER) {
		if (wire_get_walk_entry(&behind, &stream) == 1 && stream.item == WIRE_WALK_EXTENTS)
			rest = behind;
		else
			stream = (struct wire_walk_entry){.to = UINT64_MAX};
		if (stream.from)
			return -EBADMSG;
		memcpy(w->header.b, (const uint8_t *)e->key + KEY_HEAD, ORBIT_ID_LEN);
		rc = compare_stream(l, &w->header, &stream);
		if (rc)
			return rc;
		l->n->stats.learn_objects++;
	}
	if (!val || vlen != e->vlen || memcmp(val, e->val, vlen))
		effect_put(&w->effect, e->key, e->klen, e->val, e->vlen);
	compared_to(w, e->key, e->klen);
	w->items = rest;
	return 0;
}

struct ours {
	struct walk_iter it;
	bool have;
	const void *key, *val;
	size_t klen, vlen;
};

/* Our next key within the page: 0 (o->have says whether there is one), -EAGAIN, -EIO. */
static int ours_next(const struct learn_walk *w, struct ours *o)
{
	int rc = walk_iter_next(&o->it, &o->key, &o->klen, &o->val, &o->vlen);

	o->have = rc == 1 && (w->reply.done || walk_key_cmp(o->key, o->klen, w->reply.after,
						       w->reply.after_len) <= 0);
	return rc < 0 ? rc : 0;
}

static bool effect_full(const struct learn_walk *w)
{
	return w->effect.meta.len >= EFFECT_FULL || w->nneeds >= NEEDS_FULL;
}

/* One step of the merge: 1: there is more, 0: the page is compared; -EAGAIN, -EIO, -EBADMSG. */
static int compare_one(struct learn *l, struct ours *o)
{
	struct learn_walk *w = &l->walk;
	struct cur rest = w->items;
	struct wire_walk_entry e;
	int rc = wire_get_walk_entry(&rest, &e), cmp = -1;

	if (rc < 0)
		return rc;
	if (!rc && !o->have)
		return 0;
	if (rc && (e.item != WIRE_WALK_KEY || !key_fits(l, &e)))
		return -EBADMSG;
	if (rc)
		cmp = o->have ? walk_key_cmp(o->key, o->klen, e.key, e.klen) : 1;
	if (cmp < 0) {
		delete_key(w, o->key, o->klen);
		compared_to(w, o->key, o->klen);
	} else {
		rc = compare_key(l, &e, rest, cmp ? NULL : o->val, o->vlen);
		if (rc)
			return rc;
	}
	if (cmp <= 0)
		rc = ours_next(w, o);
	else
		rc = 0;
	return rc ? rc : 1;
}

/* The rest of a stream that the page before began with. */
static int compare_first(struct learn *l)
{
	struct learn_walk *w = &l->walk;
	struct cur rest = w->items;
	struct wire_walk_entry e;
	int rc;

	if (!w->off)
		return 0;
	if (wire_get_walk_entry(&rest, &e) != 1 || e.item != WIRE_WALK_EXTENTS || e.from != w->off)
		return -EBADMSG;
	rc = compare_stream(l, &w->header, &e);
	if (rc)
		return rc;
	w->off = 0;
	w->items = rest;
	return 0;
}

/* Compares until the effect is full: 1, the page's end: 0; -EAGAIN, -EIO, -EBADMSG. */
static int compare(struct learn *l)
{
	struct learn_walk *w = &l->walk;
	struct ours o;
	int rc = compare_first(l);

	if (rc)
		return rc;
	walk_iter_init(&o.it, l->n->st, l->s->number, w->at.b, w->at.len);
	rc = ours_next(w, &o);
	if (!rc)
		rc = 1;
	while (rc == 1 && !effect_full(w))
		rc = compare_one(l, &o);
	walk_iter_fini(&o.it);
	return rc;
}

/* ---- the loop ---- */

/* The page is done with. */
static void page_end(struct learn *l)
{
	struct learn_walk *w = &l->walk;
	bool done = w->reply.done;

	if (!done) {
		memcpy(w->after.b, w->reply.after, w->reply.after_len);
		w->after.len = w->reply.after_len;
		w->off = w->reply.off;
	}
	frame_unref(w->page);
	w->page = NULL;
	if (!done)
		walk_ask(l);
	else if (w->damaged)
		learn_fail(l, -EIO, "the source is damaged");
	else
		learn_walked(l);
}

/* An effect is applied, or none was needed. */
static void walk_next(struct learn *l)
{
	struct learn_walk *w = &l->walk;

	effect_anew(l);
	if (w->nneeds)
		walk_fetch(l);
	else if (!w->compared)
		walk_compare(l);
	else
		page_end(l);
}

static void walk_compare(struct learn *l)
{
	struct learn_walk *w = &l->walk;
	int rc = compare(l);

	if (rc == -EAGAIN) {
		learn_wait(l, walk_compare);
		return;
	}
	if (rc == -EBADMSG) {
		walk_bad(l);
		return;
	}
	if (rc < 0) {
		learn_fail(l, rc, "our copy cannot be read");
		return;
	}
	w->compared = rc == 0;
	if (effect_empty(&w->effect))
		walk_next(l);
	else
		learn_apply(l, &w->effect, walk_next);
}

static void walk_answered(struct learn *l, const struct wire_reply *m, struct frame *f)
{
	struct learn_walk *w = &l->walk;

	if (m->status) {
		learn_refused(l, m, "the source does not show its copy");
		return;
	}
	if (wire_get_walk_reply(cur_of(m->results, m->results_len), &w->reply) ||
		(!w->reply.done && walk_key_cmp(w->reply.after, w->reply.after_len, w->after.b,
					   w->after.len) < 0)) {
		walk_bad(l);
		return;
	}
	w->page = frame_ref(f);
	w->items = w->reply.items;
	w->term = w->reply.term;
	w->seq = w->reply.seq;
	compared_to(w, w->after.b, w->after.len);
	w->compared = false;
	effect_anew(l);
	walk_compare(l);
}

static void walk_ask(struct learn *l)
{
	const struct learn_walk *w = &l->walk;
	struct wire_walk m = {.token = l->token,
		.shard = l->s->number,
		.max = w->most < PAGE ? w->most : PAGE,
		.off = w->off,
		.after = w->after.b,
		.after_len = w->after.len};
	struct frame *f = frame_new(WIRE_WALK, 0, 32 + w->after.len);

	wire_put_walk(&f->b, &m);
	learn_call(l, f, walk_answered);
}

/* ---- bytes ---- */

/* They need not be asked for any more: [at, at + n) of the list. */
static void needs_gone(struct learn_walk *w, size_t at, size_t n)
{
	memmove(w->needs + at, w->needs + at + n, (w->nneeds - at - n) * sizeof(*w->needs));
	w->nneeds -= n;
}

static void walk_fetched(struct learn *l, const struct wire_reply *m, struct frame *f)
{
	struct learn_walk *w = &l->walk;
	const uint8_t *at = m->results;
	struct wire_effect last;
	size_t len = 0;

	if (m->status == WIRE_IO && m->failed < w->asked) {
		/* the rest of the copy is worth having all the same */
		log_error("mod=learn shard=%u off=%llu len=%u rc=-EIO "
			  "msg=\"the source cannot read its bytes\"",
			l->s->number, (unsigned long long)w->needs[m->failed].off,
			w->needs[m->failed].len);
		w->damaged++;
		needs_gone(w, m->failed, 1);
		walk_next(l);
		return;
	}
	if (m->status) {
		learn_refused(l, m, "the source does not give bytes");
		return;
	}
	for (size_t i = 0; i < w->asked; i++)
		len += w->needs[i].len;
	if (len != m->results_len || m->neffects != 1) {
		walk_bad(l);
		return;
	}
	/* the bytes may be of effects that came after the page */
	last = wire_effect_at(m, 0);
	w->term = last.term;
	w->seq = last.seq;
	w->bytes = frame_ref(f);
	for (size_t i = 0; i < w->asked; i++) {
		effect_write(&w->effect, &w->needs[i].id, w->needs[i].off, at, w->needs[i].len);
		at += w->needs[i].len;
	}
	needs_gone(w, 0, w->asked);
	learn_apply(l, &w->effect, walk_next);
}

static void walk_fetch(struct learn *l)
{
	struct wire_bytes m = {.token = l->token, .shard = l->s->number};
	struct learn_walk *w = &l->walk;
	struct frame *f;
	size_t n = 0;

	while (n < w->nneeds && n < WIRE_BYTES_RANGES && m.len + w->needs[n].len <= w->most)
		m.len += w->needs[n++].len;
	w->asked = n;
	m.n = (uint16_t)n;
	f = frame_new(WIRE_BYTES, 0, 32 + n * WIRE_BYTES_RANGE);
	wire_put_bytes_head(&f->b, &m);
	for (size_t i = 0; i < n; i++)
		wire_put_bytes_range(&f->b, &w->needs[i]);
	learn_call(l, f, walk_fetched);
}

void learn_walk(struct learn *l)
{
	learn_walk_fini(l);
	l->walk.most = learn_most(l->n);
	effect_anew(l);
	walk_ask(l);
}
