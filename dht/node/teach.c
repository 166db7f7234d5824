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
#include "dht/node/teach.h"

#define LESSON_MAX (60 * ENV_SEC)
#define LESSON_LOOK (10 * ENV_SEC)
#define SHORT_TAIL 256 /* effects that are sent rather than walking over a copy without history */

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

struct lesson *teach_lesson(struct node *n, uint64_t token, uint16_t shard)
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

void teach_refuse(struct conn *c, struct frame *f, uint16_t status)
{
	if (f->id)
		conn_send(c, reply_new(c->n, status, 0, 0), f->id);
}

/* Answers at once: nothing that waits for commits. Takes @f. */
void teach_answer(struct req *r, struct frame *f)
{
	if (r->conn && r->id)
		conn_send(r->conn, f, r->id);
	else
		frame_unref(f);
	req_end(r);
}

void teach_status(struct req *r, uint16_t status, uint16_t failed)
{
	teach_answer(r, reply_new(r->n, status, failed, 0));
}

struct shard *teach_shard(struct node *n, uint16_t shard)
{
	return n->ring && shard < n->nshards ? node_shard(n, shard) : NULL;
}

/* A copy that is a member: its history is a prefix of the truth. */
bool teach_member(const struct node *n, const struct shard *s)
{
	return s &&
	       (s->role == ROLE_SERVING || s->role == ROLE_TAKING_OVER || s->role == ROLE_BACKUP) &&
	       !learn_partial(n, s->number);
}

void teach_none_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
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
		teach_refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	s = teach_shard(n, m.shard);
	if (!s || s->role != ROLE_SERVING) {
		teach_refuse(c, f, s && s->role == ROLE_TAKING_OVER ? WIRE_RETRY : WIRE_WRONG_NODE);
		return;
	}
	node = ring_find(n->ring, &m.node);
	if (node == RING_NONE || n->ring->shards[m.shard].term != m.term ||
		ring_learner(&n->ring->shards[m.shard], node) < 0) {
		teach_refuse(c, f, WIRE_RETRY);
		return;
	}
	cur = cur_of(m.history, m.history_len);
	if (history_decode(&cur, &theirs) || !cur_done(&cur)) {
		teach_refuse(c, f, WIRE_BAD_REQUEST);
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
	log_debug("mod=teach shard=%u term=%" PRIu64 " seq=%" PRIu64
		  " mode=%s msg=\"a copy learns\"",
		m.shard, m.term, mine.seq, out.mode == WIRE_LEARN_WALK ? "walk" : "tail");
	conn_send(c, a, f->id);
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

static const struct req_ops join_ops = {.run = teach_none_run, .release = join_release};

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
	l = teach_lesson(q->r.n, q->token, q->shard);
	if (rc || !l || l->rc) {
		teach_status(&q->r, rc ? status_of(rc) : WIRE_STALE, 0);
		return;
	}
	a = reply_new(q->r.n, WIRE_OK, 0, 16);
	wire_put_join_reply(&a->b, l->last_term, l->last);
	teach_answer(&q->r, a);
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
		teach_refuse(c, f, WIRE_BAD_REQUEST);
		return;
	}
	l = teach_lesson(n, m.token, m.shard);
	node = l ? ring_find(n->ring, &l->node) : RING_NONE;
	if (node == RING_NONE || l->rc || (l->level && !repl_streams_to(n, l->s, node))) {
		if (l)
			lesson_end(l);
		teach_refuse(c, f, WIRE_STALE);
	} else if (m.step == WIRE_JOIN_STREAM) {
		join_stream(c, f, l);
	} else if (!l->level || m.seq < l->level_seq) {
		/* effects that were synced without asking the learner have to be on its disk */
		teach_refuse(c, f, WIRE_RETRY);
	} else {
		repl_propose(n, l->s, node);
		teach_refuse(c, f, WIRE_OK);
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
		teach_tail(c, f);
		break;
	case WIRE_WALK:
		teach_walk(c, f);
		break;
	case WIRE_BYTES:
		teach_bytes(c, f);
		break;
	default:
		join_arrive(c, f);
	}
}
