/*
 * fsync. For each shard and term the client remembers the highest effect that it was acknowledged
 * and that is not durable yet, its mark; a sync asks each primary to make durable what the marks of
 * its shards say. A mark per term: what was acknowledged before a node lost power must not hide
 * behind what was acknowledged after it.
 *
 * A mark goes when a sync that named it, or a higher one, was answered. One that was found to be
 * lost is reported by the syncs that asked, and goes then: whoever has the data writes it again.
 *
 * What was committed across shards needs no sync: the votes were durable.
 */
#include "dht/client/client.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define PART_MAX 32768u /* effects in one message, which counts them in 16 bits */

struct sync_part {
	struct request req;
	struct call *call;
	unsigned neffects;
	struct wire_effect *effects;
};

struct sync {
	int rc;
	unsigned nparts;
	struct sync_part part[];
};

static const struct request_ops sync_ops;

void sync_init(struct orbit_client *c)
{
	if (c->mark_of)
		return;
	c->nmark_of = ring_nshards(c->map);
	c->mark_of = mem_zalloc(c->nmark_of * sizeof(*c->mark_of));
}

/* The mark of a shard's term, or NULL. */
static struct wire_effect *find_mark(struct orbit_client *c, uint16_t shard, uint64_t term)
{
	uint32_t newest = c->mark_of[shard];

	if (!newest)
		return NULL;
	if (c->marks[newest - 1].term == term)
		return &c->marks[newest - 1];
	for (unsigned i = 0; i < c->nmarks; i++)
		if (c->marks[i].shard == shard && c->marks[i].term == term)
			return &c->marks[i];
	return NULL;
}

static void index_mark(struct orbit_client *c, unsigned i)
{
	uint32_t *newest = &c->mark_of[c->marks[i].shard];

	if (!*newest || c->marks[*newest - 1].term < c->marks[i].term)
		*newest = i + 1;
}

void sync_note(struct orbit_client *c, const struct wire_reply *m)
{
	for (unsigned i = 0; i < m->neffects; i++) {
		struct wire_effect e = wire_effect_at(m, i), *mark;

		if (e.shard >= c->nmark_of)
			continue;
		mark = find_mark(c, e.shard, e.term);
		if (mark) {
			if (mark->seq < e.seq)
				mark->seq = e.seq;
			continue;
		}
		if (c->nmarks == c->marks_cap) {
			c->marks_cap = c->marks_cap ? 2 * c->marks_cap : 64;
			c->marks = mem_grow(c->marks, c->marks_cap, sizeof(*c->marks));
		}
		c->marks[c->nmarks] = e;
		index_mark(c, c->nmarks++);
	}
}

/* What the part named has been answered. */
static void clean(struct orbit_client *c, const struct sync_part *p)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < p->neffects; i++) {
		const struct wire_effect *e = &p->effects[i];
		struct wire_effect *mark = find_mark(c, e->shard, e->term);

		if (mark && mark->seq <= e->seq)
			mark->seq = 0; /* no effect has that number */
	}
	for (unsigned i = 0; i < c->nmarks; i++)
		c->mark_of[c->marks[i].shard] = 0;
	for (unsigned i = 0; i < c->nmarks; i++)
		if (c->marks[i].seq)
			c->marks[kept++] = c->marks[i];
	c->nmarks = kept;
	for (unsigned i = 0; i < kept; i++)
		index_mark(c, i);
}

static void send_part(struct sync_part *p)
{
	struct orbit_client *c = p->call->req.c;
	struct frame *f;

	request_begin(&p->req, c, &sync_ops, p->call->period, p->call->tries);
	f = frame_new(WIRE_SYNC, p->req.e.id, 32 + 18 * (size_t)p->neffects);
	wire_put_sync(&f->b, c->map->epoch, p->effects, p->neffects);
	request_go(&p->req, TO_SHARD, p->effects[0].shard, f);
}

/* Asks for what @marks name: one message to each primary, or several if one cannot name them all.
 */
static void start(struct call *k, const struct wire_effect *marks, unsigned n)
{
	struct orbit_client *c = k->req.c;
	unsigned nodes = c->map ? c->map->nnodes + 1 : 1, nparts = 0, g;
	unsigned *count = mem_zalloc(nodes * sizeof(*count));
	struct sync_part **last = mem_zalloc(nodes * sizeof(struct sync_part *)), *p;
	uint16_t primary;
	struct sync *s;

	for (unsigned i = 0; i < n; i++) {
		primary = c->map->shards[marks[i].shard].primary;
		g = primary < nodes - 1 ? primary : nodes - 1;
		nparts += count[g]++ % PART_MAX == 0;
	}
	s = k->sync = mem_zalloc(sizeof(*s) + nparts * sizeof(s->part[0]));
	for (unsigned i = 0; i < n; i++) {
		primary = c->map->shards[marks[i].shard].primary;
		g = primary < nodes - 1 ? primary : nodes - 1;
		p = last[g];
		if (!p || p->neffects == PART_MAX) {
			p = last[g] = &s->part[s->nparts++];
			p->call = k;
			p->effects = mem_zalloc(min_size(count[g], PART_MAX) * sizeof(*p->effects));
		}
		p->effects[p->neffects++] = marks[i];
	}
	free(last);
	free(count);
	for (unsigned i = 0; i < s->nparts; i++)
		send_part(&s->part[i]);
}

void sync_start(struct call *k)
{
	start(k, k->req.c->marks, k->req.c->nmarks);
}

void sync_free(struct call *k)
{
	struct sync *s = k->sync;

	if (!s)
		return;
	for (unsigned i = 0; i < s->nparts; i++) {
		request_drop(&s->part[i].req);
		free(s->part[i].effects);
	}
	free(s);
	k->sync = NULL;
}

int sync_error(const struct call *k)
{
	return k->sync ? k->sync->rc : 0;
}

const struct request *sync_request(const struct call *k, unsigned i)
{
	for (unsigned n = 0; k->sync && n < k->sync->nparts; n++)
		if (k->sync->part[n].req.e.listed && i-- == 0)
			return &k->sync->part[n].req;
	return NULL;
}

static void on_answer(struct request *r, struct peer *peer, struct frame *f)
{
	struct sync_part *p = container_of(r, struct sync_part, req);
	struct call *k = p->call;
	struct orbit_client *c = r->c;
	struct orbit_reply reply = {.failed = -1};
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
	if (m.status == WIRE_LOST) {
		c->losses++;
		log_error("mod=client peer=%s msg=\"acknowledged writes were lost before they were "
			  "durable\"",
			peer_name(peer));
	}
	if (m.status == WIRE_OK || m.status == WIRE_LOST)
		clean(c, p);
	if (m.status != WIRE_OK && !k->sync->rc)
		k->sync->rc = m.status == WIRE_LOST ? -EIO : call_errno(c, m.status);
	request_drop(r);
	if (sync_request(k, 0))
		return;
	reply.rc = k->sync->rc;
	call_done(k, &reply);
}

static void on_expire(struct request *r)
{
	call_give_up(container_of(r, struct sync_part, req)->call, -ETIMEDOUT);
}

/* Shards have moved: what has not been answered is asked anew. It is this sync's own: the marks may
 * be gone by now, because another sync was answered. */
static bool on_moved(struct request *r)
{
	struct call *k = container_of(r, struct sync_part, req)->call;
	struct sync *s = k->sync;
	struct wire_effect *left;
	unsigned n = 0;
	int rc = s->rc;

	for (unsigned i = 0; i < s->nparts; i++)
		n += s->part[i].req.e.listed ? s->part[i].neffects : 0;
	left = mem_zalloc(n * sizeof(*left));
	n = 0;
	for (unsigned i = 0; i < s->nparts; i++) {
		const struct sync_part *p = &s->part[i];

		if (!p->req.e.listed)
			continue;
		memcpy(left + n, p->effects, p->neffects * sizeof(*left));
		n += p->neffects;
	}
	sync_free(k);
	start(k, left, n);
	k->sync->rc = rc;
	free(left);
	return true;
}

static const struct request_ops sync_ops = {
	.reply = WIRE_REPLY,
	.pass = PASS_CARRY,
	.answer = on_answer,
	.expire = on_expire,
	.moved = on_moved,
};

uint64_t orbit_losses(const struct orbit_client *c)
{
	return c->losses;
}

orbit_handle orbit_sync(
	struct orbit_client *c, const struct orbit_policy *policy, orbit_done_cb *done, void *arg)
{
	bool valid = !policy || policy_valid(policy);
	struct call *k = call_new(c, CALL_SYNC, true, valid ? policy : NULL, done, arg);
	orbit_handle h = k->handle;

	if (c->closing || !valid) {
		call_fail(k, c->closing ? -ESHUTDOWN : -EINVAL);
		return 0;
	}
	if (!c->nmarks) {
		call_fail(k, 0);
		return h;
	}
	sync_start(k);
	return h;
}
