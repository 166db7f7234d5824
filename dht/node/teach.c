/*
 * The source of copies that are not level: answers LEARN, TAIL, WALK, BYTES and JOIN.
 *
 * A lesson is what a primary knows of one learner of one shard. It begins with LEARN and holds the
 * log from where the learner goes on:
 *
 *   open     TAIL, WALK and BYTES with its token     JOIN, or nothing for LESSON_MAX
 *   joined   what is applied is sent to the learner  level, or the stream ends
 *   level    the learner may say that it has synced  the map says that it is a member
 *
 * It ends with the shard's term in the map, too. Nothing here needs the answer to be committed: a
 * learner counts as nothing until the keeper made it a member, and remembers up to which effect it
 * has seen bits of what it copied.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/learn.h"

#define LESSON_MAX (60 * ENV_SEC)
#define LESSON_LOOK (10 * ENV_SEC)
#define SHORT_TAIL 256 /* effects that are sent rather than walking over a copy without history */

struct lesson {
	struct node *n;
	struct shard *s;
	uint64_t term; /* of the shard, in the map */
	struct orbit_id node;
	uint64_t token;
	uint64_t until;
	struct tail_pin *pin;
	bool joined;
	bool streaming; /* repl.c will tell how the stream fares */
	bool ended;     /* goes when it has */
	bool level;
	int rc;             /* of the stream */
	uint64_t last;      /* that is not sent over it */
	uint64_t last_term; /* its */
	uint64_t level_seq; /* our last when the learner was level */
	LIST_ENTRY(lesson) entry;
};

struct teacher {
	LIST_HEAD(, lesson) lessons;
	struct env_timer timer;
	struct node *n;
};

/* ---- lessons ---- */

static void lesson_free(struct lesson *l)
{
	LIST_REMOVE(l, entry);
	free(l);
}

static void lesson_end(struct lesson *l)
{
	store_tail_unpin(l->n->st, l->pin);
	l->pin = NULL;
	l->ended = true;
	if (!l->streaming)
		lesson_free(l);
}

static bool lesson_holds(const struct lesson *l)
{
	return !l->ended && l->s->role == ROLE_SERVING &&
	       l->n->ring->shards[l->s->number].term == l->term && env_now(l->n->env) < l->until;
}

static void look_fire(struct env_timer *t)
{
	struct teacher *te = container_of(t, struct teacher, timer);
	struct lesson *l, *next;
	bool any = false;

	for (l = LIST_FIRST(&te->lessons); l; l = next) {
		next = LIST_NEXT(l, entry);
		if (!l->ended && !lesson_holds(l))
			lesson_end(l);
		else
			any = true;
	}
	if (any)
		env_timer_set(te->n->env, &te->timer, env_now(te->n->env) + LESSON_LOOK);
}

static struct teacher *teacher_of(struct node *n)
{
	if (!n->teach) {
		n->teach = mem_zalloc(sizeof(*n->teach));
		n->teach->n = n;
		n->teach->timer.fire = look_fire;
	}
	return n->teach;
}

/* The learner begins anew: what was before is over. */
static struct lesson *lesson_new(struct node *n, struct shard *s, const struct orbit_id *node)
{
	struct teacher *te = teacher_of(n);
	struct lesson *l, *next;

	for (l = LIST_FIRST(&te->lessons); l; l = next) {
		next = LIST_NEXT(l, entry);
		if (l->s == s && !l->ended && !orbit_id_cmp(&l->node, node))
			lesson_end(l);
	}
	l = mem_zalloc(sizeof(*l));
	l->n = n;
	l->s = s;
	l->term = n->ring->shards[s->number].term;
	l->node = *node;
	while (!l->token)
		l->token = env_random_u64(n->env);
	l->until = env_now(n->env) + LESSON_MAX;
	LIST_INSERT_HEAD(&te->lessons, l, entry);
	if (!te->timer.armed)
		env_timer_set(n->env, &te->timer, env_now(n->env) + LESSON_LOOK);
	return l;
}

static struct lesson *lesson_find(struct node *n, uint64_t token, uint16_t shard)
{
	struct lesson *l;

	if (!n->teach || !token)
		return NULL;
	LIST_FOREACH (l, &n->teach->lessons, entry) {
		if (l->token != token || l->s->number != shard)
			continue;
		if (!lesson_holds(l))
			return NULL;
		l->until = env_now(n->env) + LESSON_MAX;
		return l;
	}
	return NULL;
}

void teach_free(struct node *n)
{
	struct lesson *l;

	if (!n->teach)
		return;
	while ((l = LIST_FIRST(&n->teach->lessons))) {
		store_tail_unpin(n->st, l->pin);
		lesson_free(l);
	}
	env_timer_clear(n->env, &n->teach->timer);
	free(n->teach);
	n->teach = NULL;
}

/* ---- answers ---- */

static void refuse(struct conn *c, struct frame *f, uint16_t status)
{
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}

/* Answers at once: nothing that waits for commits. Takes @f. */
static void answer(struct req *r, struct frame *f)
{
	if (r->conn && r->id)
		conn_send(r->conn, f, r->id);
	else
		frame_unref(f);
	req_end(r);
}

static void answer_status(struct req *r, uint16_t status, uint16_t failed)
{
	answer(r, reply_new(r->n, status, failed, 0));
}

static struct shard *shard_at(struct node *n, uint16_t shard)
{
	return n->ring && shard < n->nshards ? node_shard(n, shard) : NULL;
}

/* A copy that is a member: its history is a prefix of the truth. */
static bool is_member(const struct node *n, const struct shard *s)
{
	return s &&
	       (s->role == ROLE_SERVING || s->role == ROLE_TAKING_OVER || s->role == ROLE_BACKUP) &&
	       !learn_partial(n, s->number);
}

/* ---- LEARN ---- */

static bool reaches(struct node *n, uint16_t shard, const struct history *mine, uint64_t seq)
{
	uint64_t from = store_tail_from(n->st, shard);

	return mine->seq == seq || (from && from <= seq + 1);
}

static bool tail_will_do(struct node *n, const struct wire_learn *m, const struct history *theirs,
	const struct history *mine)
{
	if (m->copy == WIRE_COPY_WALKING || !reaches(n, m->shard, mine, theirs->seq))
		return false;
	if (m->copy == WIRE_COPY_AHEAD && !history_contains(mine, m->need_term, m->need_seq))
		return false;
	if (!theirs->seq)
		return mine->seq <= SHORT_TAIL;
	return history_contains(mine, theirs->term, theirs->seq);
}

static void learn_arrive(struct conn *c, struct frame *f)
{
	struct wire_learn_reply out = {.mode = WIRE_LEARN_WALK};
	struct node *n = c->n;
	struct history theirs, mine;
	struct wire_learn m;
	struct lesson *l;
	struct frame *a;
	struct shard *s;
	struct cur cur;
	uint16_t node;

	if (wire_get_learn(frame_cur(f), &m)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	s = shard_at(n, m.shard);
	if (!s || s->role != ROLE_SERVING) {
		refuse(c, f, s && s->role == ROLE_TAKING_OVER ? WIRE_RETRY : WIRE_WRONG_NODE);
		return;
	}
	node = ring_find(n->ring, &m.node);
	if (node == RING_NONE || n->ring->shards[m.shard].term != m.term ||
		ring_learner(&n->ring->shards[m.shard], node) < 0) {
		refuse(c, f, WIRE_RETRY);
		return;
	}
	cur = cur_of(m.history, m.history_len);
	if (history_decode(&cur, &theirs) || !cur_done(&cur)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	mine = store_history(n->st, m.shard);
	l = lesson_new(n, s, &m.node);
	if (tail_will_do(n, &m, &theirs, &mine)) {
		out.mode = WIRE_LEARN_TAIL;
		l->pin = store_tail_pin(n->st, m.shard, theirs.seq + 1);
	} else {
		l->pin = store_tail_pin(n->st, m.shard, mine.seq + 1);
	}
	free((void *)theirs.terms);
	out.token = l->token;
	a = reply_new(n, WIRE_OK, 0, 64);
	wire_put_learn_reply_head(&a->b, &out);
	history_encode(&mine, &a->b);
	log_info("mod=teach shard=%u term=%" PRIu64 " seq=%" PRIu64
		 " mode=%s msg=\"a copy learns\"",
		m.shard, m.term, mine.seq, out.mode == WIRE_LEARN_WALK ? "walk" : "tail");
	conn_send(c, a, f->id);
}

/* ---- TAIL ---- */

struct tail_req {
	struct req r;
	struct wire_tail m;
	struct store_tail t;
};

static void none_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static void tail_release(struct req *r)
{
	struct tail_req *q = container_of(r, struct tail_req, r);

	buf_fini(&q->t.out);
	free(q);
}

static const struct req_ops tail_ops = {.run = none_run, .release = tail_release};

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
		answer_status(&q->r, rc == -ESTALE ? WIRE_STALE : status_of(rc), 0);
		return;
	}
	h = store_history(n->st, q->m.shard);
	a = reply_new(n, WIRE_OK, 0, 20 + t->out.len);
	wire_put_tail_reply_head(&a->b, h.term, h.seq, t->n);
	buf_bytes(&a->b, t->out.data, t->out.len);
	if (frame_check(a)) {
		frame_unref(a);
		answer_status(&q->r, WIRE_TOO_BIG, 0);
		return;
	}
	answer(&q->r, a);
}

static void tail_arrive(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct tail_req *q;
	struct wire_tail m;
	struct tail_pin *pin;
	struct lesson *l;
	struct history h;
	struct frame *a;

	if (wire_get_tail(frame_cur(f), &m)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	if (!is_member(n, shard_at(n, m.shard))) {
		refuse(c, f, WIRE_WRONG_NODE);
		return;
	}
	l = lesson_find(n, m.token, m.shard);
	h = store_history(n->st, m.shard);
	if ((m.token && !l) || (m.from > 1 && !history_contains(&h, m.term, m.from - 1))) {
		refuse(c, f, WIRE_STALE);
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

	if (q->m.token && !lesson_find(n, q->m.token, q->m.shard)) {
		answer_status(r, WIRE_STALE, 0);
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
		answer_status(r, status_of(rc), 0);
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
	answer(r, a);
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

static void walk_arrive(struct conn *c, struct frame *f)
{
	struct walk_req *q;
	struct wire_walk m;

	if (wire_get_walk(frame_cur(f), &m) || !good_cursor(&m)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	if (m.token ? !shard_at(c->n, m.shard) : !is_member(c->n, shard_at(c->n, m.shard))) {
		refuse(c, f, WIRE_WRONG_NODE);
		return;
	}
	if (!m.token && c->role != WIRE_ROLE_ADMIN) {
		refuse(c, f, WIRE_STALE);
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
	unsigned repairs;         /* of damage */
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
	s->gate = NULL;
	shard_wake(s);
	if (req_over(&q->r))
		return;
	if (rc) {
		answer_status(&q->r, status_of(rc), (uint16_t)q->failed);
		return;
	}
	bytes_again(q);
	bytes_run(&q->r);
}

/* A learner would have to wait for somebody to read what is damaged: true when it goes on by
 * itself. */
static bool bytes_repair(struct bytes_req *q)
{
	struct wire_bytes_range range = wire_bytes_at(&q->m, q->failed);
	struct repair_range want = {
		.shard = q->m.shard, .id = range.id, .off = range.off, .len = range.len};
	struct node *n = q->r.n;
	struct shard *s = node_shard(n, q->m.shard);

	if (s->role != ROLE_SERVING || n->ring->shards[s->number].nmembers < 2 ||
		q->repairs == REPAIRS_MAX)
		return false;
	if (s->gate) {
		bytes_again(q);
		req_wait_shard(&q->r, s);
		return true;
	}
	q->repairs++;
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
		answer_status(&q->r, status_of(q->rc), (uint16_t)q->failed);
	} else if (q->waits) {
		req_wait_store(&q->r);
	} else {
		struct history h = store_history(q->r.n->st, q->m.shard);

		buf_set_u64(&out->b, out->b.len - q->m.len - 16, h.term);
		buf_set_u64(&out->b, out->b.len - q->m.len - 8, h.seq);
		q->out = NULL;
		answer(&q->r, out);
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
	struct shard *s = shard_at(n, m->shard);
	struct history h;

	if (!is_member(n, s))
		return WIRE_WRONG_NODE;
	if (m->token)
		return lesson_find(n, m->token, m->shard) ? WIRE_OK : WIRE_STALE;
	h = store_history(n->st, m->shard);
	return h.term == m->term && h.seq == m->seq ? WIRE_OK : WIRE_RETRY;
}

static void bytes_arrive(struct conn *c, struct frame *f)
{
	struct wire_effect last = {0}; /* it is known when all is read */
	struct bytes_req *q;
	struct wire_bytes m;
	uint16_t status;

	if (wire_get_bytes(frame_cur(f), &m)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	status = bytes_allowed(c->n, &m);
	if (status) {
		refuse(c, f, status);
		return;
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, c->n, c, f, &bytes_ops);
	q->m = m;
	last.shard = m.shard;
	q->reads = mem_zalloc(m.n * sizeof(*q->reads));
	q->out = frame_new(WIRE_REPLY, 0, 14 + 18 + m.len);
	wire_put_reply_head(&q->out->b, WIRE_OK, 0, c->n->ring->epoch, &last, 1);
	q->at = q->out->b.len;
	req_hold(&q->r, (ptrdiff_t)m.len);
	if (!buf_add(&q->out->b, m.len)) {
		answer_status(&q->r, WIRE_IO, 0);
		return;
	}
	bytes_run(&q->r);
}

/* ---- JOIN ---- */

struct join_req {
	struct req r;
	uint64_t token;
	uint16_t shard;
	struct store_sync sync;
};

static void join_release(struct req *r)
{
	free(container_of(r, struct join_req, r));
}

static const struct req_ops join_ops = {.run = none_run, .release = join_release};

static void stream_told(void *arg, int rc)
{
	struct lesson *l = arg;

	l->streaming = false;
	if (l->ended) {
		lesson_free(l);
		return;
	}
	l->rc = rc;
	l->level = !rc;
	l->level_seq = store_history(l->n->st, l->s->number).seq;
}

/* What the learner will have durably is durable here. */
static void join_synced(struct store_sync *s, int rc)
{
	struct join_req *q = container_of(s, struct join_req, sync);
	struct lesson *l;
	struct frame *a;

	q->r.pinned--;
	if (req_over(&q->r))
		return;
	l = lesson_find(q->r.n, q->token, q->shard);
	if (rc || !l || l->rc) {
		answer_status(&q->r, rc ? status_of(rc) : WIRE_STALE, 0);
		return;
	}
	a = reply_new(q->r.n, WIRE_OK, 0, 16);
	wire_put_join_reply(&a->b, l->last_term, l->last);
	answer(&q->r, a);
}

static void join_stream(struct conn *c, struct frame *f, struct lesson *l)
{
	struct node *n = c->n;
	struct join_req *q;

	if (!l->joined) {
		l->joined = l->streaming = true;
		l->last_term = store_history(n->st, l->s->number).term;
		repl_stream_to(n, l->s, ring_find(n->ring, &l->node), &l->last, stream_told, l);
	}
	q = mem_zalloc(sizeof(*q));
	req_init(&q->r, n, c, f, &join_ops);
	q->token = l->token;
	q->shard = l->s->number;
	q->sync.done = join_synced;
	q->r.pinned++;
	store_sync(n->st, &q->sync);
}

static void join_arrive(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_join m;
	struct lesson *l;
	uint16_t node;

	if (wire_get_join(frame_cur(f), &m)) {
		refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	l = lesson_find(n, m.token, m.shard);
	node = l ? ring_find(n->ring, &l->node) : RING_NONE;
	if (node == RING_NONE || l->rc) {
		if (l)
			lesson_end(l);
		refuse(c, f, WIRE_STALE);
	} else if (m.step == WIRE_JOIN_STREAM) {
		join_stream(c, f, l);
	} else if (!l->level || m.seq < l->level_seq) {
		/* effects that were synced without asking the learner have to be on its disk */
		refuse(c, f, WIRE_RETRY);
	} else {
		repl_propose(n, l->s, node);
		refuse(c, f, WIRE_OK);
	}
}

void teach_arrive(struct conn *c, struct frame *f)
{
	bool looks = f->type == WIRE_WALK || f->type == WIRE_BYTES;

	if (c->role != WIRE_ROLE_NODE && (c->role != WIRE_ROLE_ADMIN || !looks)) {
		conn_fail(c, WIRE_BAD_REQUEST, "only nodes may ask for that");
		return;
	}
	switch (f->type) {
	case WIRE_LEARN:
		learn_arrive(c, f);
		break;
	case WIRE_TAIL:
		tail_arrive(c, f);
		break;
	case WIRE_WALK:
		walk_arrive(c, f);
		break;
	case WIRE_BYTES:
		bytes_arrive(c, f);
		break;
	default:
		join_arrive(c, f);
	}
}
