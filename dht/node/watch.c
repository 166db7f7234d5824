/*
 * Who wants to be told of changes, and telling them. A watch belongs to the link that it came on,
 * and is about IDs, not shards: it tells of whatever this node is the primary of. Each link hears
 * of a change once, however many of its watches it concerns.
 *
 * A change is told once it is committed: every copy whose word counts has it.
 *
 * Nothing is kept for a link that is slow: when too much waits for it, its watches end, and it is
 * told so.
 */
#include "dht/node/impl.h"

#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/key.h"
#include "dht/txn/object.h"
#include "dht/wire/wire_watch.h"

#define WATCHES_MAX 1024 /* of one link */

struct watch {
	uint64_t number;
	unsigned bits;
	struct orbit_id id;
	TAILQ_ENTRY(watch) entry;
};

/* ---- those who watch ---- */

static void end_one(struct conn *c, struct watch *w)
{
	TAILQ_REMOVE(&c->watches, w, entry);
	free(w);
	c->nwatches--;
	if (!c->nwatches)
		TAILQ_REMOVE(&c->n->watchers, c, of_watchers);
}

void watch_end(struct conn *c)
{
	while (c->nwatches)
		end_one(c, TAILQ_FIRST(&c->watches));
}

static struct watch *find(struct conn *c, uint64_t number)
{
	struct watch *w;

	if (!c->nwatches)
		return NULL;
	TAILQ_FOREACH (w, &c->watches, entry)
		if (w->number == number)
			return w;
	return NULL;
}

/* The prefix lies in one shard, and that is not served here. */
static bool elsewhere(const struct node *n, const struct wire_watch *m)
{
	const struct shard *s;

	if (m->bits < n->ring->shard_bits)
		return false;
	s = &n->shards[ring_shard_of(n->ring, &m->id)];
	return s->role != ROLE_SERVING && s->role != ROLE_TAKING_OVER;
}

static uint16_t begin(struct conn *c, const struct wire_watch *m)
{
	struct watch *w = find(c, m->number);

	if (!c->n->ring || elsewhere(c->n, m))
		return WIRE_WRONG_NODE;
	if (!w && c->nwatches == WATCHES_MAX)
		return WIRE_BUSY;
	if (!w) {
		w = mem_zalloc(sizeof(*w));
		w->number = m->number;
		if (!c->nwatches++) {
			TAILQ_INIT(&c->watches);
			TAILQ_INSERT_TAIL(&c->n->watchers, c, of_watchers);
		}
		TAILQ_INSERT_TAIL(&c->watches, w, entry);
	}
	w->bits = m->bits;
	w->id = m->id;
	return WIRE_OK;
}

void watch_arrive(struct conn *c, struct frame *f)
{
	uint16_t status = WIRE_OK;
	struct wire_watch m;
	struct watch *w;

	if (wire_get_watch(frame_cur(f), &m)) {
		status = WIRE_BAD_REQUEST;
	} else if (m.all) {
		watch_end(c);
	} else if (m.begin) {
		status = begin(c, &m);
	} else {
		w = find(c, m.number);
		if (w)
			end_one(c, w);
	}
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}

/* ---- telling them ---- */

static struct frame *notice(const struct wire_notice *m)
{
	struct frame *f = frame_new(WIRE_NOTICE, 0, 43);

	wire_put_notice(&f->b, m);
	return f;
}

/* Does it watch an ID that begins with @bits bits of @id? */
static bool concerned(const struct conn *c, const struct orbit_id *id, unsigned bits)
{
	const struct watch *w;

	TAILQ_FOREACH (w, &c->watches, entry)
		if (wire_watch_match(id, &w->id, w->bits < bits ? w->bits : bits))
			return true;
	return false;
}

static void overrun(struct conn *c)
{
	const struct wire_notice m = {.what = WIRE_NOTICE_LOST, .shard = WIRE_NOTICE_ALL};

	log_warn("mod=node peer=%s msg=\"it watches more than it takes: its watches end\"",
		c->link->peer);
	watch_end(c);
	link_send(c->link, notice(&m));
}

static void tell(struct node *n, const struct wire_notice *m)
{
	struct conn *c, *next;
	struct frame *f = NULL;

	for (c = TAILQ_FIRST(&n->watchers); c; c = next) {
		next = TAILQ_NEXT(c, of_watchers);
		if (c->doomed || !concerned(c, &m->id, WIRE_WATCH_BITS_MAX))
			continue;
		if (link_unsent(c->link) > n->cfg.queue_max) {
			overrun(c);
			continue;
		}
		if (!f)
			f = notice(m);
		/* if this fails, down() follows */
		link_send(c->link, frame_ref(f));
	}
	frame_unref(f);
}

/* What one effect has changed in one shard. */
struct untold {
	uint16_t shard;
	uint64_t seq;
	TAILQ_ENTRY(untold) entry;
	unsigned n;
	struct wire_notice one[TXN_OBJECTS_MAX]; /* only n of them are allocated */
};

static void note(struct untold *ch, const struct orbit_id *id, uint8_t what)
{
	for (unsigned i = 0; i < ch->n; i++) {
		if (orbit_id_cmp(&ch->one[i].id, id))
			continue;
		ch->one[i].what = what == WIRE_NOTICE_DELETED ? what : WIRE_NOTICE_CHANGED;
		return;
	}
	if (ch->n < TXN_OBJECTS_MAX)
		ch->one[ch->n++] = (struct wire_notice){
			.what = what, .shard = ch->shard, .seq = ch->seq, .id = *id};
}

void watch_effect(struct node *n, const void *meta, size_t len, uint16_t shard, uint64_t seq)
{
	struct untold all = {.shard = shard, .seq = seq}, *ch;
	struct effect_iter it;
	struct effect_op op;
	bool ours = false;

	if (TAILQ_EMPTY(&n->watchers))
		return;
	for (it = effect_iter_of(meta, len); effect_next(&it, &op) == 1;) {
		if (op.kind == EFFECT_SECTION) {
			ours = op.shard == shard;
		} else if (ours && op.kind == EFFECT_DROP) {
			note(&all, &op.id, WIRE_NOTICE_DELETED);
		} else if (ours && op.kind == EFFECT_PUT &&
			   *(const uint8_t *)op.key == KEY_HEADER &&
			   op.klen == KEY_HEAD + ORBIT_ID_LEN) {
			struct orbit_id id;

			memcpy(id.b, (const uint8_t *)op.key + KEY_HEAD, sizeof(id.b));
			note(&all, &id,
				object_fresh(op.val, op.vlen) ? WIRE_NOTICE_CREATED
							      : WIRE_NOTICE_CHANGED);
		}
	}
	if (!all.n)
		return;
	ch = mem_zalloc(offsetof(struct untold, one) + all.n * sizeof(all.one[0]));
	memcpy(ch, &all, offsetof(struct untold, one) + all.n * sizeof(all.one[0]));
	TAILQ_INSERT_TAIL(&n->untold, ch, entry);
}

static void drop(struct node *n, struct untold *ch)
{
	TAILQ_REMOVE(&n->untold, ch, entry);
	free(ch);
}

void watch_committed(struct node *n, const struct shard *s)
{
	struct untold *ch, *next;

	for (ch = TAILQ_FIRST(&n->untold); ch; ch = next) {
		next = TAILQ_NEXT(ch, entry);
		if (ch->shard != s->number || ch->seq > s->committed)
			continue;
		for (unsigned i = 0; i < ch->n; i++)
			tell(n, &ch->one[i]);
		drop(n, ch);
	}
}

void watches_free(struct node *n)
{
	while (!TAILQ_EMPTY(&n->untold))
		drop(n, TAILQ_FIRST(&n->untold));
}

void watch_lost(struct node *n, uint16_t shard)
{
	const struct wire_notice m = {.what = WIRE_NOTICE_LOST, .shard = shard};
	struct orbit_id first = {{0}};
	struct untold *ch, *next;
	struct conn *c;

	put_be16(first.b, (uint16_t)(shard << (16 - n->ring->shard_bits)));
	for (ch = TAILQ_FIRST(&n->untold); ch; ch = next) {
		next = TAILQ_NEXT(ch, entry);
		if (ch->shard == shard)
			drop(n, ch);
	}
	TAILQ_FOREACH (c, &n->watchers, of_watchers)
		if (!c->doomed && concerned(c, &first, n->ring->shard_bits))
			link_send(c->link, notice(&m));
}
