/*
 * Requests under way.
 *
 *   where it is             how it goes on
 *   running                 its run() is on the stack
 *   in the store            pinned: a callback of the store's comes (wait, read, apply, sync)
 *   in a shard's waiting    shard_wake() after something was unlocked there
 *   in a prepared's asking  its outcome became known
 *   in n->answers           evaluated; the effects that it saw or made are not all in the log
 *   in n->decided           applied; waits for a sync that others may share
 *
 * A request is in one place at a time and ends exactly once, by req_answer() or req_end(). Its link
 * may go before it: then the answer is dropped, but the request goes on.
 */
#include "dht/node/impl.h"

#include <assert.h>
#include <errno.h>

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
	r->after = n->applied;
	n->held += r->held;
	TAILQ_INSERT_TAIL(&n->reqs, r, of_node);
	n->stats.waiting++;
	if (conn)
		req_attach(r, conn, f ? f->id : 0);
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

static void run(struct req *r)
{
	if (r->n->stopping)
		req_end(r);
	else
		r->ops->run(r);
}

static void store_ready(struct store_wait *w)
{
	struct req *r = container_of(w, struct req, wait);

	r->pinned--;
	run(r);
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
	TAILQ_INSERT_TAIL(r->queue, r, entry);
}

void shard_wake(struct shard *s)
{
	struct req_list again = TAILQ_HEAD_INITIALIZER(again);
	struct req *r;

	/* in their order; whoever still has to wait ends up behind in the same order */
	TAILQ_CONCAT(&again, &s->waiting, entry);
	TAILQ_FOREACH (r, &again, entry)
		r->queue = &again;
	while ((r = TAILQ_FIRST(&again))) {
		leave_queue(r);
		run(r);
	}
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

static void send_off(struct req *r)
{
	struct frame *f = r->reply;

	r->reply = NULL;
	if (r->conn && r->id)
		conn_send(r->conn, f, r->id);
	else
		frame_unref(f);
	req_end(r);
}

void req_answer(struct req *r, struct frame *f)
{
	struct node *n = r->n;
	struct req *before;

	assert(!r->queue && !r->reply);
	r->reply = f;
	if (r->after <= n->done) {
		send_off(r);
		return;
	}
	r->queue = &n->answers;
	TAILQ_FOREACH_REVERSE(before, &n->answers, req_list, entry)
	{
		if (before->after <= r->after) {
			TAILQ_INSERT_AFTER(&n->answers, before, r, entry);
			return;
		}
	}
	TAILQ_INSERT_HEAD(&n->answers, r, entry);
}

void req_status(struct req *r, uint16_t status)
{
	req_answer(r, reply_new(r->n, status, 0, 0));
}

void req_flush(struct node *n, int rc)
{
	struct req *r;

	while ((r = TAILQ_FIRST(&n->answers)) && r->after <= n->done) {
		leave_queue(r);
		if (rc) {
			/* what it made or saw did not reach the log */
			frame_unref(r->reply);
			r->reply = reply_new(n, status_of(rc), 0, 0);
		}
		send_off(r);
	}
}

void node_effect_done(struct node *n, int rc)
{
	n->done++;
	if (rc) {
		n->stats.errors++;
		if (!n->log_failed)
			log_error("mod=node rc=-%s msg=\"the log failed: changes are refused\"",
				log_errno(rc));
		n->log_failed = true;
	}
	req_flush(n, rc);
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
	TAILQ_REMOVE(&n->reqs, r, of_node);
	n->held -= r->held;
	n->stats.waiting--;
	frame_unref(r->frame);
	frame_unref(r->reply);
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
