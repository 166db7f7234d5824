/*
 * Requests under way.
 *
 *   where it is             how it goes on
 *   running                 its run() is on the stack
 *   in the store            pinned: a callback of the store's comes (wait, read, apply, sync)
 *   in a shard's waiting    shard_wake() after something was unlocked there
 *   in a prepared's asking  its outcome became known
 *   in a shard's answers    evaluated; the effects that it saw or made are not all committed
 *   in n->decided           applied; waits for a sync that others may share
 *
 * A request is in one place at a time and ends exactly once, by req_answer() or req_end(). Its link
 * may go before it: then the answer is dropped, but the request goes on.
 *
 * A request whose shard is not served here any more is lost: it is answered WRONG_NODE, whatever it
 * has done, and nobody finds it any more. What of it is under way comes to its end; then it goes.
 */
#include "dht/node/impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"

void req_init(struct req *r, struct node *n, struct conn *conn, struct frame *f,
	const struct req_ops *ops)
{
	memset(r, 0, sizeof(*r));
	r->ops = ops;
	r->n = n;
	r->frame = f ? frame_ref(f) : NULL;
	r->held = f ? f->b.len : 0;
	r->seen = r->seen_few;
	r->seen_cap = REQ_SEEN_FEW;
	n->held += r->held;
	TAILQ_INSERT_TAIL(&n->reqs, r, of_node);
	n->stats.waiting++;
	if (conn)
		req_attach(r, conn, f ? f->id : 0);
}

void req_look(struct req *r)
{
	uint64_t look = ++r->n->looks;

	for (unsigned i = 0; i < r->nseen; i++) {
		r->seen[i].shard->looked = look;
		r->seen[i].seq = shard_seq(r->n, r->seen[i].shard);
	}
}

void req_touch(struct req *r, struct shard *s)
{
	if (s->looked == r->n->looks)
		return;
	s->looked = r->n->looks;
	if (r->nseen == r->seen_cap) {
		struct seen *more = mem_grow(r->seen == r->seen_few ? NULL : r->seen,
			2 * (size_t)r->seen_cap, sizeof(*more));

		if (r->seen == r->seen_few)
			memcpy(more, r->seen_few, sizeof(r->seen_few));
		r->seen = more;
		r->seen_cap *= 2;
	}
	r->seen[r->nseen++] = (struct seen){.shard = s, .seq = shard_seq(r->n, s)};
}

static struct req_key key_of(enum req_kind kind, uint32_t session, uint64_t number, uint16_t shard)
{
	return (struct req_key){
		.number = number, .session = session, .shard = shard, .kind = (uint16_t)kind};
}

void req_register(
	struct req *r, enum req_kind kind, uint32_t session, uint64_t number, uint16_t shard)
{
	r->key = key_of(kind, session, number, shard);
	HASH_ADD(hh, r->n->running, key, sizeof(r->key), r);
	r->running = true;
}

struct req *req_find(
	struct node *n, enum req_kind kind, uint32_t session, uint64_t number, uint16_t shard)
{
	const struct req_key key = key_of(kind, session, number, shard);
	struct req *r;

	HASH_FIND(hh, n->running, &key, sizeof(key), r);
	return r;
}

void req_detach(struct req *r)
{
	if (!r->conn)
		return;
	TAILQ_REMOVE(&r->conn->reqs, r, of_conn);
	r->conn->held -= r->held;
	r->conn = NULL;
}

void req_attach(struct req *r, struct conn *conn, uint64_t id)
{
	req_detach(r);
	r->conn = conn;
	r->id = id;
	conn->held += r->held;
	TAILQ_INSERT_TAIL(&conn->reqs, r, of_conn);
}

void req_hold(struct req *r, ptrdiff_t bytes)
{
	r->held += (size_t)bytes;
	r->n->held += (size_t)bytes;
	if (r->conn)
		r->conn->held += (size_t)bytes;
}

static void leave_queue(struct req *r)
{
	if (r->queue)
		TAILQ_REMOVE(r->queue, r, entry);
	r->queue = NULL;
}

bool req_over(struct req *r)
{
	if (!r->lost && !r->n->stopping)
		return false;
	if (!r->pinned)
		req_end(r);
	return true;
}

static void store_ready(struct store_wait *w)
{
	struct req *r = container_of(w, struct req, wait);

	r->pinned--;
	if (!req_over(r))
		r->ops->run(r);
}

void req_wait_store(struct req *r)
{
	assert(!r->queue);
	r->wait.ready = store_ready;
	r->pinned++;
	store_wait(r->n->st, &r->wait);
}

void req_wait_shard(struct req *r, struct shard *s)
{
	assert(!r->queue);
	r->queue = &s->waiting;
	r->slept = s->wakes;
	TAILQ_INSERT_TAIL(r->queue, r, entry);
}

/* ---- waking ---- */

static void wake_later(struct node *n, struct shard *s)
{
	if (s->wake || n->stopping)
		return;
	s->wake = true;
	TAILQ_INSERT_TAIL(&n->woken, s, wake_entry);
	env_post(n->env, &n->wake_task);
}

void shard_wake_soon(struct node *n, struct shard *s)
{
	if (n->stopping || TAILQ_EMPTY(&s->waiting))
		return;
	s->wakes++;
	wake_later(n, s);
}

static void run_waiting(struct node *n, struct shard *s)
{
	struct req *r;

	n->waking = true;
	/* whoever still has to wait ends up behind, in the same order */
	while ((r = TAILQ_FIRST(&s->waiting)) && r->slept < s->wakes &&
		(n->wake_left || n->stopping)) {
		n->wake_left -= n->wake_left > 0;
		leave_queue(r);
		if (!req_over(r))
			r->ops->run(r);
	}
	n->waking = false;
	if (r && r->slept < s->wakes)
		wake_later(n, s);
}

void shard_wake(struct node *n, struct shard *s)
{
	if (TAILQ_EMPTY(&s->waiting))
		return;
	s->wakes++;
	if (n->waking) {
		wake_later(n, s);
		return;
	}
	run_waiting(n, s);
	/* in the next turn as many may run again */
	if (!n->stopping)
		env_post(n->env, &n->wake_task);
}

void shard_wake_run(struct env_task *t)
{
	struct node *n = container_of(t, struct node, wake_task);
	struct shard *s;

	n->wake_left = NODE_WAKE_TURN;
	while (n->wake_left && !n->stopping && (s = TAILQ_FIRST(&n->woken))) {
		TAILQ_REMOVE(&n->woken, s, wake_entry);
		s->wake = false;
		run_waiting(n, s);
	}
	if (!TAILQ_EMPTY(&n->woken) && !n->stopping)
		env_post(n->env, t);
}

/* ---- answers ---- */

uint16_t status_of(int rc)
{
	switch (rc) {
	case 0:
		return WIRE_OK;
	case -ENOSPC:
		return WIRE_NO_SPACE;
	case -EROFS:
		return WIRE_READ_ONLY;
	case -EBADMSG:
	case -EINVAL:
		return WIRE_BAD_REQUEST;
	case -EMSGSIZE:
		return WIRE_TOO_BIG;
	case -EMEDIUMTYPE:
		return WIRE_WRONG_FS;
	case -EHOSTUNREACH:
		return WIRE_UNREACHABLE;
	default:
		return WIRE_IO;
	}
}

struct frame *reply_new(struct node *n, uint16_t status, uint16_t failed, size_t room)
{
	struct frame *f = frame_new(WIRE_REPLY, 0, 14 + room);

	wire_put_reply_head(&f->b, status, failed, n->ring ? n->ring->epoch : 0, NULL, 0);
	return f;
}

/* Does it say no more than that our log failed, while there are other copies? Then who leads them
 * once this node has stopped is to be asked. */
static bool is_our_trouble(const struct node *n, const struct frame *f)
{
	struct wire_reply m;

	if ((!n->log_failed && !store_broken(n->st)) || wire_get_reply(frame_cur(f), &m) ||
		(m.status != WIRE_READ_ONLY && m.status != WIRE_IO))
		return false;
	for (unsigned i = 0; i < n->nshards; i++)
		if (n->shards[i].repl)
			return true;
	return false;
}

static void lose(struct req *r);

static void send_off(struct req *r)
{
	struct frame *f = r->reply;

	r->reply = NULL;
	if (r->ops->answered)
		r->ops->answered(r, f);
	if (r->conn && r->id && !is_our_trouble(r->n, f))
		conn_send(r->conn, f, r->id);
	else
		frame_unref(f);
	/* what it applied is still on its way to a log that failed */
	req_detach(r);
	if (r->pinned)
		lose(r);
	else
		req_end(r);
}

/* Waits among the answers of @s, which are in the order of what they wait for. */
static void wait_answer(struct req *r, struct shard *s, uint64_t seq)
{
	struct req *before;

	r->waits = seq;
	r->queue = &s->answers;
	TAILQ_FOREACH_REVERSE(before, &s->answers, req_list, entry)
	{
		if (before->waits <= seq) {
			TAILQ_INSERT_AFTER(&s->answers, before, r, entry);
			return;
		}
	}
	TAILQ_INSERT_HEAD(&s->answers, r, entry);
}

static bool all_served(const struct req *r)
{
	for (unsigned i = 0; i < r->nseen; i++) {
		if (r->seen[i].shard->role != ROLE_SERVING)
			return false;
	}
	return true;
}

/* Sends the answer, or waits for what it still needs. */
static void try_answer(struct req *r)
{
	/* who does not serve has only refusals to tell */
	if (!all_served(r)) {
		send_off(r);
		return;
	}
	for (unsigned i = 0; i < r->nseen; i++) {
		struct seen *e = &r->seen[i];

		if (e->seq > e->shard->committed) {
			wait_answer(r, e->shard, e->seq);
			return;
		}
	}
	for (unsigned i = 0; i < r->nseen; i++) {
		if (!lease_ready(r->n, r->seen[i].shard)) {
			wait_answer(r, r->seen[i].shard, r->seen[i].seq);
			return;
		}
	}
	send_off(r);
}

void req_answer(struct req *r, struct frame *f)
{
	assert(!r->queue && !r->reply);
	r->reply = f;
	if (r->lost || r->n->stopping)
		send_off(r); /* to nobody; what it waits for may never come */
	else
		try_answer(r);
}

void req_status(struct req *r, uint16_t status)
{
	req_answer(r, reply_new(r->n, status, 0, 0));
}

void req_flush(struct shard *s, int rc)
{
	struct req *r;

	while ((r = TAILQ_FIRST(&s->answers)) && (rc || r->waits <= s->committed)) {
		if (!rc && !lease_ready(r->n, s))
			return;
		leave_queue(r);
		if (rc) {
			/* what it made or saw did not reach the log */
			frame_unref(r->reply);
			r->reply = reply_new(r->n, status_of(rc), 0, 0);
			send_off(r);
		} else {
			try_answer(r);
		}
	}
}

/* ---- requests whose shard is not served here any more ---- */

static bool touches_lost(const struct req *r)
{
	for (unsigned i = 0; i < r->nseen; i++) {
		if (r->seen[i].shard->losing)
			return true;
	}
	return false;
}

/* Whatever it came to, nobody may be told: the asker is to try where the shard is served now. */
static void lose(struct req *r)
{
	struct node *n = r->n;

	r->lost = true;
	leave_queue(r);
	frame_unref(r->reply);
	r->reply = NULL;
	if (r->running)
		HASH_DEL(n->running, r);
	r->running = false;
	if (r->conn && r->id)
		conn_send(r->conn, reply_new(n, WIRE_WRONG_NODE, 0, 0), r->id);
	req_detach(r);
	TAILQ_REMOVE(&n->reqs, r, of_node);
	if (r->pinned)
		TAILQ_INSERT_TAIL(&n->lost, r, of_node);
	else
		TAILQ_INSERT_HEAD(&n->lost, r, of_node);
}

void req_lose(struct node *n)
{
	struct req *r, *next;

	for (r = TAILQ_FIRST(&n->reqs); r; r = next) {
		next = TAILQ_NEXT(r, of_node);
		if (touches_lost(r))
			lose(r);
	}
	/* the end of one may begin or end others; the pinned ones are behind, and end by themselves
	 */
	while ((r = TAILQ_FIRST(&n->lost)) && !r->pinned)
		req_end(r);
}

/* ---- the end ---- */

void req_end(struct req *r)
{
	struct node *n = r->n;

	assert(!r->pinned);
	leave_queue(r);
	req_detach(r);
	if (r->running)
		HASH_DEL(n->running, r);
	if (r->lost)
		TAILQ_REMOVE(&n->lost, r, of_node);
	else
		TAILQ_REMOVE(&n->reqs, r, of_node);
	n->held -= r->held;
	n->stats.waiting--;
	frame_unref(r->frame);
	frame_unref(r->reply);
	if (r->seen != r->seen_few)
		free(r->seen);
	r->ops->release(r);
	if (n->stopping)
		node_check_stopped(n);
}

void req_end_all(struct node *n)
{
	struct req *r, *next;

	for (r = TAILQ_FIRST(&n->reqs); r; r = next) {
		next = TAILQ_NEXT(r, of_node);
		if (!r->pinned)
			req_end(r);
	}
}
