/*
 * What a source reads for copies that are not level, or for one that repairs: effects from its log
 * (TAIL), its keys and the checksums of its streams (WALK), and their bytes (BYTES).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/teach.h"

/* ---- TAIL ---- */

struct tail_req {
	struct req r;
	struct wire_tail m;
	struct store_tail t;
};

static void tail_release(struct req *r)
{
	struct tail_req *q = container_of(r, struct tail_req, r);

	buf_fini(&q->t.out);
	free(q);
}

static const struct req_ops tail_ops = {.run = teach_none_run, .release = tail_release};

static void tail_done(struct store_tail *t, int rc)
{
	struct tail_req *q = container_of(t, struct tail_req, t);
	struct node *n = q->r.n;
	struct history h;
	struct frame *a;

	q->r.pinned--;
	if (req_over(&q->r))
		return;
	if (rc) {
		if (rc != -ESTALE)
			log_error("mod=teach shard=%u seq=%" PRIu64
				  " rc=-%s msg=\"effects cannot be read back\"",
				q->m.shard, q->m.from, log_errno(rc));
		teach_status(&q->r, rc == -ESTALE ? WIRE_STALE : status_of(rc), 0);
		return;
	}
	h = store_history(n->st, q->m.shard);
	a = reply_new(n, WIRE_OK, 0, 20 + t->out.len);
	wire_put_tail_reply_head(&a->b, h.term, h.seq, t->n);
	buf_bytes(&a->b, t->out.data, t->out.len);
	if (frame_check(a)) {
		frame_unref(a);
		teach_status(&q->r, WIRE_TOO_BIG, 0);
		return;
	}
	teach_answer(&q->r, a);
}

void teach_tail(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct tail_req *q;
	struct wire_tail m;
	struct tail_pin *pin;
	struct lesson *l;
	struct history h;
	struct frame *a;

	if (wire_get_tail(frame_cur(f), &m)) {
		teach_refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	if (!teach_member(n, teach_shard(n, m.shard))) {
		teach_refuse(c, f, WIRE_WRONG_NODE);
		return;
	}
	l = teach_lesson(n, m.token, m.shard);
	h = store_history(n->st, m.shard);
	if ((m.token && !l) || (m.from > 1 && !history_contains(&h, m.term, m.from - 1))) {
		teach_refuse(c, f, WIRE_STALE);
		return;
	}
	if (l) {
		/* what it has it will not ask for again */
		pin = store_tail_pin(n->st, m.shard, m.from);
		store_tail_unpin(n->st, l->pin);
		l->pin = pin;
	}
	if (m.from > h.seq) {
		a = reply_new(n, WIRE_OK, 0, 20);
		wire_put_tail_reply_head(&a->b, h.term, h.seq, 0);
		conn_send(c, a, f->id);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, n, c, f, &tail_ops);
	q->m = m;
	q->t.done = tail_done;
	q->r.pinned++;
	store_tail_read(n->st, &q->t, m.shard, m.from, m.max);
}

/* ---- WALK ---- */

struct walk_req {
	struct req r;
	struct wire_walk m;
	struct buf out;  /* the items */
	struct key at;   /* given up to here */
	bool inside;     /* its extents are yet to be given, */
	uint64_t off;    /* from here on */
	bool full, done; /* the page; all */
};

static void walk_release(struct req *r)
{
	struct walk_req *q = container_of(r, struct walk_req, r);

	buf_fini(&q->out);
	free(q);
}

/* Lists the extents of one stream, as chunks. */
struct lister {
	struct walk_req *q;
	uint32_t n;
	uint64_t stopped; /* where there was no more room */
	bool bad;
};

static bool list_extent(void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs)
{
	struct lister *li = arg;
	struct buf *b = &li->q->out;
	uint64_t end = off + len;

	if (li->n && b->len >= li->q->m.max) {
		li->stopped = off;
		return false;
	}
	if (!len || ncrcs != effect_chunks(off, len)) {
		li->bad = true;
		return false;
	}
	for (size_t i = 0; i < ncrcs; i++) {
		uint64_t to = (off / EFFECT_CHUNK + 1) * EFFECT_CHUNK;

		if (to > end)
			to = end;
		buf_u64(b, off);
		buf_u32(b, (uint32_t)(to - off));
		buf_bytes(b, crcs + 4 * i, 4);
		off = to;
	}
	li->n += (uint32_t)ncrcs;
	return true;
}

/* The extents of the header at the cursor. 0, -EAGAIN, -EIO. */
static int walk_extents(struct walk_req *q)
{
	struct lister li = {.q = q};
	size_t at = q->out.len;
	struct orbit_id id;
	int rc;

	memcpy(id.b, q->at.b + KEY_HEAD, ORBIT_ID_LEN);
	buf_u8(&q->out, WIRE_WALK_EXTENTS);
	buf_u64(&q->out, q->off);
	buf_u64(&q->out, 0);
	buf_u32(&q->out, 0);
	rc = store_extents(q->r.n->st, q->m.shard, &id, q->off, UINT64_MAX, list_extent, &li);
	if (!rc && li.bad)
		rc = -EIO;
	if (rc) {
		q->out.len = at;
		return rc;
	}
	if (!li.n && !q->off) {
		q->out.len = at;
	} else {
		buf_set_u64(&q->out, at + 9, li.stopped ? li.stopped : UINT64_MAX);
		buf_set_u32(&q->out, at + 17, li.n);
	}
	q->off = li.stopped;
	q->full |= li.stopped > 0;
	q->inside = li.stopped > 0;
	return q->out.err;
}

/* One key, and what belongs to it: 1, or 0 when the page is full; -EAGAIN, -EIO. */
static int walk_key(struct walk_req *q, const void *key, size_t klen, const void *val, size_t vlen)
{
	if (q->out.len && q->out.len + 9 + klen + vlen > q->m.max) {
		q->full = true;
		return 0;
	}
	if (klen > WIRE_WALK_KEY_MAX)
		return -EIO;
	buf_u8(&q->out, WIRE_WALK_KEY);
	buf_blob(&q->out, key, klen);
	buf_blob(&q->out, val, vlen);
	memcpy(q->at.b, key, klen);
	q->at.len = klen;
	if (q->at.b[0] == KEY_HEADER && klen == KEY_HEAD + ORBIT_ID_LEN) {
		int rc;

		q->inside = true;
		q->off = 0;
		rc = walk_extents(q);
		if (rc)
			return rc;
	}
	return q->full ? 0 : 1;
}

/* Goes on with the page: 0 when it is full or all is in it, -EAGAIN, -EIO. */
static int walk_fill(struct walk_req *q)
{
	const void *key, *val;
	struct walk_iter it;
	size_t klen, vlen;
	int rc = q->inside ? walk_extents(q) : 0;

	if (rc || q->full)
		return rc;
	walk_iter_init(&it, q->r.n->st, q->m.shard, q->at.b, q->at.len);
	while ((rc = walk_iter_next(&it, &key, &klen, &val, &vlen)) == 1) {
		rc = walk_key(q, key, klen, val, vlen);
		if (rc <= 0)
			break;
	}
	walk_iter_fini(&it);
	if (!rc && !q->full)
		q->done = true;
	return rc;
}

static void walk_run(struct req *r)
{
	struct walk_req *q = container_of(r, struct walk_req, r);
	struct wire_walk_reply m = {0};
	struct node *n = r->n;
	struct history h;
	struct frame *a;
	int rc;

	if (q->m.token && !teach_lesson(n, q->m.token, q->m.shard)) {
		teach_status(r, WIRE_STALE, 0);
		return;
	}
	rc = walk_fill(q);
	if (rc == -EAGAIN) {
		req_wait_store(r);
		return;
	}
	if (rc) {
		log_error("mod=teach shard=%u rc=-%s msg=\"a copy cannot be read whole\"",
			q->m.shard, log_errno(rc));
		teach_status(r, status_of(rc), 0);
		return;
	}
	h = store_history(n->st, q->m.shard);
	m.term = h.term;
	m.seq = h.seq;
	m.done = q->done;
	if (!q->done) {
		m.off = q->off;
		m.after = q->at.b;
		m.after_len = q->at.len;
	}
	a = reply_new(n, WIRE_OK, 0, 32 + q->at.len + q->out.len);
	wire_put_walk_reply_head(&a->b, &m);
	buf_bytes(&a->b, q->out.data, q->out.len);
	teach_answer(r, a);
}

static const struct req_ops walk_ops = {.run = walk_run, .release = walk_release};

static bool good_cursor(const struct wire_walk *m)
{
	const uint8_t *k = m->after;

	if (!m->after_len)
		return true;
	if (m->after_len < KEY_HEAD || !walk_copies(k[0]) || get_be16(k + 1) != m->shard)
		return false;
	return !m->off || (k[0] == KEY_HEADER && m->after_len == KEY_HEAD + ORBIT_ID_LEN);
}

void teach_walk(struct conn *c, struct frame *f)
{
	struct walk_req *q;
	struct wire_walk m;

	if (wire_get_walk(frame_cur(f), &m) || !good_cursor(&m)) {
		teach_refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	if (m.token ? !teach_shard(c->n, m.shard)
		    : !teach_member(c->n, teach_shard(c->n, m.shard))) {
		teach_refuse(c, f, WIRE_WRONG_NODE);
		return;
	}
	if (!m.token && c->role != WIRE_ROLE_ADMIN) {
		teach_refuse(c, f, WIRE_STALE);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, c->n, c, f, &walk_ops);
	q->m = m;
	q->at.len = m.after_len;
	if (m.after_len)
		memcpy(q->at.b, m.after, m.after_len);
	q->off = m.off;
	q->inside = m.off > 0;
	walk_run(&q->r);
}

/* ---- BYTES ---- */

#define REPAIRS_MAX 8 /* ranges that one request has repaired */

struct bytes_req;

static void bytes_run(struct req *r);

struct bytes_read {
	struct store_read r;
	struct bytes_req *q;
};

struct bytes_req {
	struct req r;
	struct wire_bytes m;
	struct frame *out;
	size_t at;     /* where in it the next range's bytes go */
	unsigned next; /* range */
	unsigned left; /* reads under way */
	bool waits;    /* for the store, once they are done */
	int rc;
	unsigned failed;
	unsigned repairs; /* of damage */
	bool mends;       /* what is damaged is to be repaired */
	bool gated;
	struct bytes_read *reads; /* one per range */
};

static void bytes_release(struct req *r)
{
	struct bytes_req *q = container_of(r, struct bytes_req, r);

	frame_unref(q->out);
	free(q->reads);
	free(q);
}

static void bytes_again(struct bytes_req *q)
{
	q->rc = 0;
	q->next = 0;
	q->at = q->out->b.len - q->m.len;
}

static void bytes_repaired(void *arg, int rc)
{
	struct bytes_req *q = arg;
	struct shard *s = node_shard(q->r.n, q->m.shard);

	q->r.pinned--;
	if (q->gated) {
		q->gated = false;
		s->gate = NULL;
		shard_wake(q->r.n, s);
	}
	if (req_over(&q->r))
		return;
	if (rc) {
		teach_status(&q->r, status_of(rc), (uint16_t)q->failed);
		return;
	}
	bytes_again(q);
	bytes_run(&q->r);
}

/* A learner would have to wait for somebody to read what is damaged; and a backup's damage nobody
 * would meet before it leads. True when it goes on by itself. (Who asks in order to repair its own
 * copy gets no repair: two could wait for each other.) */
static bool bytes_repair(struct bytes_req *q)
{
	struct wire_bytes_range range = wire_bytes_at(&q->m, q->failed);
	struct repair_range want = {
		.shard = q->m.shard, .id = range.id, .off = range.off, .len = range.len};
	struct node *n = q->r.n;
	struct shard *s = node_shard(n, q->m.shard);

	if (!q->mends || (s->role != ROLE_SERVING && s->role != ROLE_BACKUP) ||
		n->ring->shards[s->number].nmembers < 2 || q->repairs == REPAIRS_MAX)
		return false;
	if (s->gate) {
		bytes_again(q);
		req_wait_shard(&q->r, s);
		return true;
	}
	q->repairs++;
	q->gated = s->role == ROLE_SERVING;
	if (q->gated)
		s->gate = &q->r;
	q->r.pinned++;
	repair_start(n, &want, 1, bytes_repaired, q);
	return true;
}

/* All that could be begun has ended. */
static void bytes_settle(struct bytes_req *q)
{
	struct frame *out = q->out;

	if (req_over(&q->r))
		return;
	if (q->rc == -EIO && bytes_repair(q))
		return;
	if (q->rc) {
		teach_status(&q->r, status_of(q->rc), (uint16_t)q->failed);
	} else if (q->waits) {
		req_wait_store(&q->r);
	} else {
		struct history h = store_history(q->r.n->st, q->m.shard);

		buf_set_u64(&out->b, out->b.len - q->m.len - 16, h.term);
		buf_set_u64(&out->b, out->b.len - q->m.len - 8, h.seq);
		q->out = NULL;
		teach_answer(&q->r, out);
	}
}

static void bytes_fail(struct bytes_req *q, unsigned range, int rc)
{
	if (q->rc && q->failed <= range)
		return;
	q->rc = rc;
	q->failed = range;
}

static void bytes_read(struct store_read *sr, int rc)
{
	struct bytes_read *br = container_of(sr, struct bytes_read, r);
	struct bytes_req *q = br->q;

	q->r.pinned--;
	q->left--;
	if (rc)
		bytes_fail(q, (unsigned)(br - q->reads), rc);
	if (!q->left)
		bytes_settle(q);
}

static void bytes_run(struct req *r)
{
	struct bytes_req *q = container_of(r, struct bytes_req, r);

	q->waits = false;
	while (q->next < q->m.n && !q->rc && !q->waits) {
		struct wire_bytes_range range = wire_bytes_at(&q->m, q->next);
		struct bytes_read *br = &q->reads[q->next];
		int rc;

		br->q = q;
		br->r.done = bytes_read;
		rc = store_read(r->n->st, &br->r, q->m.shard, &range.id, range.off, range.len,
			q->out->b.data + q->at);
		if (rc == -EAGAIN) {
			q->waits = true;
			break;
		}
		if (rc == -EINPROGRESS) {
			q->left++;
			r->pinned++;
		} else if (rc) {
			bytes_fail(q, q->next, rc);
		}
		q->at += range.len;
		q->next++;
	}
	if (!q->left)
		bytes_settle(q);
}

static const struct req_ops bytes_ops = {.run = bytes_run, .release = bytes_release};

/* Whether we may tell what our copy has. */
static uint16_t bytes_allowed(struct node *n, const struct wire_bytes *m)
{
	struct shard *s = teach_shard(n, m->shard);
	struct history h;

	if (!teach_member(n, s))
		return WIRE_WRONG_NODE;
	if (m->token)
		return teach_lesson(n, m->token, m->shard) ? WIRE_OK : WIRE_STALE;
	h = store_history(n->st, m->shard);
	return h.term == m->term && h.seq == m->seq ? WIRE_OK : WIRE_RETRY;
}

void teach_bytes(struct conn *c, struct frame *f)
{
	struct wire_effect last = {0}; /* it is known when all is read */
	struct bytes_req *q;
	struct wire_bytes m;
	uint16_t status;

	if (wire_get_bytes(frame_cur(f), &m)) {
		teach_refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	status = bytes_allowed(c->n, &m);
	if (status) {
		teach_refuse(c, f, status);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, c->n, c, f, &bytes_ops);
	q->m = m;
	q->mends = m.token || c->role == WIRE_ROLE_ADMIN;
	last.shard = m.shard;
	q->reads = mem_zalloc(m.n * sizeof(*q->reads));
	q->out = frame_new(WIRE_REPLY, 0, 14 + 18 + m.len);
	wire_put_reply_head(&q->out->b, WIRE_OK, 0, c->n->ring->epoch, &last, 1);
	q->at = q->out->b.len;
	req_hold(&q->r, (ptrdiff_t)m.len);
	if (!buf_add(&q->out->b, m.len)) {
		teach_status(&q->r, WIRE_IO, 0);
		return;
	}
	bytes_run(&q->r);
}
