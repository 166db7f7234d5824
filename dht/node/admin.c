/*
 * What is asked of a node besides transactions: to make things durable, to list what it has, to
 * say how it does, and to hand out the ring map.
 */
#include "dht/node/impl.h"
#include "dht/node/keep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

#define LIST_BYTES (1u << 20)

static void answer(struct conn *c, struct frame *f, uint16_t status)
{
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}

/* ---- SYNC ---- */

struct sync_req {
	struct req r;
	struct wire_sync m;
	struct durable durable;
};

static void sync_release(struct req *r)
{
	free(container_of(r, struct sync_req, r));
}

/* Is all there that the session was told of? */
static uint16_t sync_check(struct node *n, const struct wire_sync *m)
{
	uint16_t status = WIRE_OK;

	for (unsigned i = 0; i < m->neffects; i++) {
		struct wire_effect e = wire_sync_at(m, i);

		if (shard_contains(n, e.shard, e.term, e.seq))
			continue;
		log_error("mod=node shard=%u term=%" PRIu64 " seq=%" PRIu64
			  " msg=\"an acknowledged effect is lost\"",
			e.shard, e.term, e.seq);
		status = WIRE_LOST;
	}
	return status;
}

static void sync_done(struct durable *d, int rc)
{
	struct sync_req *q = container_of(d, struct sync_req, durable);

	q->r.pinned--;
	if (!req_over(&q->r))
		req_status(&q->r, rc ? status_of(rc) : sync_check(q->r.n, &q->m));
}

static void sync_run(struct req *r)
{
	struct sync_req *q = container_of(r, struct sync_req, r);
	struct node *n = r->n;

	r->nseen = 0;
	req_look(r);
	for (unsigned i = 0; i < q->m.neffects; i++) {
		unsigned shard = wire_sync_at(&q->m, i).shard;

		if (shard >= n->nshards || !shard_mine(n, shard)) {
			req_status(r, WIRE_WRONG_NODE);
			return;
		}
		req_touch(r, node_shard(n, shard));
	}
	for (unsigned i = 0; i < r->nseen; i++) {
		if (r->seen[i].shard->role == ROLE_SERVING)
			continue;
		req_wait_shard(r, r->seen[i].shard);
		return;
	}
	q->durable.done = sync_done;
	r->pinned++;
	durable_start(n, &q->durable, r->seen, r->nseen);
}

static const struct req_ops sync_ops = {.run = sync_run, .release = sync_release};

void admin_sync(struct conn *c, struct frame *f)
{
	struct sync_req *q;
	struct wire_sync m;

	if (wire_get_sync(frame_cur(f), &m)) {
		answer(c, f, WIRE_BAD_REQUEST);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, c->n, c, f, &sync_ops);
	q->m = m;
	sync_run(&q->r);
}

/* ---- LIST ---- */

struct list_req {
	struct req r;
	struct wire_list m;
};

/* Appends the entries: 0 or -errno. */
static int list_fill(struct node *n, const struct wire_list *m, struct buf *b)
{
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen, at = b->len;
	struct key from, to;
	uint32_t count = 0;
	int rc;

	key_class(&from, m->class, m->shard);
	to = from;
	key_after_prefix(&to);
	if (m->after_len) {
		/* the first key behind @after is the one that is longer by a zero byte */
		memcpy(from.b + from.len, m->after, m->after_len);
		from.len += m->after_len;
		from.b[from.len++] = 0;
	}
	buf_u8(b, 1);
	buf_u32(b, 0);
	it = store_iter_new(n->st, from.b, from.len, to.b, to.len);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		size_t more = 8 + klen + (m->values ? vlen : 0);

		if (count == m->max || (count && b->len - at + more > LIST_BYTES)) {
			if (!b->err)
				b->data[at] = 0;
			rc = 0;
			break;
		}
		buf_blob(b, (const uint8_t *)key + KEY_HEAD, klen - KEY_HEAD);
		buf_blob(b, val, m->values ? vlen : 0);
		count++;
	}
	store_iter_free(it);
	buf_set_u32(b, at + 1, count);
	return rc ? rc : b->err;
}

static void list_run(struct req *r)
{
	struct list_req *q = container_of(r, struct list_req, r);
	struct node *n = r->n;
	struct frame *f;
	int rc;

	struct shard *s = q->m.shard < n->nshards ? node_shard(n, q->m.shard) : NULL;

	if (s && s->role == ROLE_TAKING_OVER) {
		req_wait_shard(r, s);
		return;
	}
	if (!s || s->role != ROLE_SERVING) {
		req_status(r, WIRE_WRONG_NODE);
		return;
	}
	r->nseen = 0;
	req_look(r);
	req_touch(r, s);
	f = reply_new(n, WIRE_OK, 0, 4096);
	rc = list_fill(n, &q->m, &f->b);
	if (!rc) {
		req_answer(r, f);
		return;
	}
	frame_unref(f);
	if (rc == -EAGAIN)
		req_wait_store(r);
	else
		req_status(r, status_of(rc));
}

static void list_release(struct req *r)
{
	free(container_of(r, struct list_req, r));
}

static const struct req_ops list_ops = {.run = list_run, .release = list_release};

void admin_list(struct conn *c, struct frame *f)
{
	struct list_req *q;
	struct wire_list m;

	if (wire_get_list(frame_cur(f), &m) || m.class == KEY_STORE ||
		m.after_len > EFFECT_KEY_MAX - KEY_HEAD - 1) {
		answer(c, f, WIRE_BAD_REQUEST);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, c->n, c, f, &list_ops);
	q->m = m;
	list_run(&q->r);
}

/* ---- STATUS ---- */

static void put_node(struct node *n, struct buf *b)
{
	const struct node_stats *s = &n->stats;
	char hex[ORBIT_ID_HEX];
	unsigned mine = 0;

	for (unsigned i = 0; i < n->nshards; i++)
		mine += shard_mine(n, i);
	wire_put_stat(b, "node.id", "%s", orbit_id_hex(&n->id, hex));
	wire_put_stat(b, "node.incarnation", "%" PRIu64, n->incarnation);
	wire_put_stat(b, "node.keeper", "%d", n->ring && n->ring->keeper == n->self);
	wire_put_stat(b, "node.log", "%s", n->log_failed ? "failed" : "ok");
	wire_put_stat(b, "node.links", "%" PRIu64, s->links);
	wire_put_stat(b, "node.waiting", "%" PRIu64, s->waiting);
	wire_put_stat(b, "node.held", "%zu", n->held);
	wire_put_stat(b, "node.executed", "%" PRIu64, s->executed);
	wire_put_stat(b, "node.replayed", "%" PRIu64, s->replayed);
	wire_put_stat(b, "node.forwarded", "%" PRIu64, s->forwarded);
	wire_put_stat(b, "node.refused", "%" PRIu64, s->refused);
	wire_put_stat(b, "node.conflicts", "%" PRIu64, s->conflicts);
	wire_put_stat(b, "node.prepared", "%" PRIu64, s->prepared);
	wire_put_stat(b, "node.resolved", "%" PRIu64, s->resolved);
	wire_put_stat(b, "node.errors", "%" PRIu64, s->errors);
	wire_put_stat(b, "node.in_doubt", "%u", HASH_COUNT(n->prepared));
	wire_put_stat(b, "node.outcomes", "%u", HASH_COUNT(n->outcomes));
	wire_put_stat(b, "ring.epoch", "%" PRIu64, n->ring ? n->ring->epoch : 0);
	wire_put_stat(b, "ring.nodes", "%u", n->ring ? n->ring->nnodes : 0);
	wire_put_stat(b, "ring.shards", "%u", n->nshards);
	wire_put_stat(b, "ring.primary", "%u", mine);
}

void admin_status(struct conn *c, struct frame *f)
{
	struct frame *a = frame_new(WIRE_STATS, 0, 2048);
	struct store_usage u;
	struct node *n = c->n;

	put_node(n, &a->b);
	grants_status(n, &a->b);
	learn_status(n, &a->b);
	keep_status(n, &a->b);
	store_usage(n->st, &u);
	wire_put_stat(&a->b, "store.total", "%" PRIu64, u.total);
	wire_put_stat(&a->b, "store.available", "%" PRIu64, u.available);
	wire_put_stat(&a->b, "store.log", "%" PRIu64, u.log);
	wire_put_stat(&a->b, "store.live", "%" PRIu64, u.live);
	wire_put_stat(&a->b, "store.damaged", "%" PRIu64, u.damaged);
	wire_put_stat(&a->b, "store.whole", "%d", store_info(n->st)->whole);
	conn_send(c, a, f->id);
}

/* ---- the map ---- */

void admin_map_get(struct conn *c, struct frame *f)
{
	struct frame *a;
	uint64_t epoch;

	if (wire_get_map_get(frame_cur(f), &epoch)) {
		answer(c, f, WIRE_BAD_REQUEST);
		return;
	}
	a = frame_new(WIRE_MAP, 0, 64);
	keep_put_map(c->n, epoch, &a->b);
	conn_send(c, a, f->id);
}
