/*
 * Questions with one answer: is a session alive, which keys has a shard, how is a node.
 */
#include "dht/client/client.h"

#include <errno.h>

/* Before it is asked again whether a session that is ending has ended. */
#define CHECK_MIN (10 * ENV_MS)
#define CHECK_MAX (500 * ENV_MS)

static const struct request_ops list_ops, status_ops, check_ops;

static struct call *begin(
	struct orbit_client *c, const struct request_ops *ops, orbit_done_cb *done, void *arg)
{
	struct call *k = call_new(c, CALL_ASK, false, NULL, done, arg);

	if (c->closing) {
		call_fail(k, -ESHUTDOWN);
		return NULL;
	}
	request_begin(&k->req, c, ops, k->period, k->tries);
	return k;
}

static void expire(struct request *r)
{
	call_give_up(container_of(r, struct call, req), -ETIMEDOUT);
}

static void finish(struct request *r, int rc, const void *part, size_t len, struct frame *f)
{
	struct call *k = container_of(r, struct call, req);
	struct orbit_reply reply = {.rc = rc, .failed = -1};

	if (rc == 0 && part) {
		reply.part[0] = part;
		reply.part_len[0] = len;
		reply.frame[0] = f;
		reply.nparts = 1;
	}
	request_drop(r);
	call_done(k, &reply);
}

/* ---- LIST ---- */

orbit_handle orbit_list(struct orbit_client *c, uint8_t class, uint16_t shard, const void *after,
	size_t after_len, uint32_t max, bool values, orbit_done_cb *done, void *arg)
{
	struct call *k = begin(c, &list_ops, done, arg);
	struct wire_list m = {
		.epoch = c->map ? c->map->epoch : 0,
		.class = class,
		.shard = shard,
		.max = max,
		.values = values,
		.after = after,
		.after_len = after_len,
	};
	orbit_handle h = k ? k->handle : 0;
	struct frame *f;

	if (!k)
		return 0;
	if (c->map && shard >= ring_nshards(c->map)) {
		call_give_up(k, -EINVAL);
		return 0;
	}
	f = frame_new(WIRE_LIST, k->req.e.id, 64 + after_len);
	wire_put_list(&f->b, &m);
	if (frame_check(f)) {
		call_give_up(k, frame_check(f));
		frame_unref(f);
		return 0;
	}
	request_go(&k->req, TO_SHARD, shard, f);
	return h;
}

static void on_list(struct request *r, struct peer *p, struct frame *f)
{
	struct wire_reply m;

	if (wire_get_reply(frame_cur(f), &m)) {
		peer_reject(p, -EPROTO, "a malformed REPLY");
		return;
	}
	follow_epoch(r->c, p, m.epoch);
	if (m.status == WIRE_WRONG_NODE)
		request_wrong_node(r, p);
	else if (m.status == WIRE_UNREACHABLE)
		request_unreachable(r);
	else
		finish(r, call_errno(r->c, m.status), m.results, m.results_len, f);
}

static const struct request_ops list_ops = {
	.reply = WIRE_REPLY,
	.pass = PASS_CARRY,
	.answer = on_list,
	.expire = expire,
};

/* ---- STATUS ---- */

orbit_handle orbit_status(struct orbit_client *c, unsigned node, orbit_done_cb *done, void *arg)
{
	struct call *k = begin(c, &status_ops, done, arg);
	orbit_handle h = k ? k->handle : 0;

	if (!k)
		return 0;
	k->req.home = route_node(c, node);
	if (!k->req.home) {
		call_give_up(k, -EINVAL);
		return 0;
	}
	request_go(&k->req, TO_PEER, 0, frame_new(WIRE_STATUS, k->req.e.id, 0));
	return h;
}

static void on_stats(struct request *r, struct peer *p, struct frame *f)
{
	(void)p;
	finish(r, 0, frame_body(f), frame_body_len(f), f);
}

static const struct request_ops status_ops = {
	.reply = WIRE_STATS,
	.pass = PASS_CARRY,
	.answer = on_stats,
	.expire = expire,
};

/* ---- CHECK ---- */

orbit_handle orbit_check_session(
	struct orbit_client *c, uint32_t session, orbit_done_cb *done, void *arg)
{
	struct call *k = begin(c, &check_ops, done, arg);
	struct wire_session_open m = {.what = WIRE_SESSION_CHECK, .session = session};
	orbit_handle h = k ? k->handle : 0;
	struct frame *f;

	if (!k)
		return 0;
	f = frame_new(WIRE_SESSION_OPEN, k->req.e.id, 64);
	wire_put_session_open(&f->b, &m);
	request_go(&k->req, TO_KEEPER, 0, f);
	return h;
}

/* It is ending, or has ended in a map that is on its way here: what is done then has to name that
 * map, so that nobody lets the ended one do anything after it. */
static void not_yet(struct request *r, struct peer *p, uint64_t epoch)
{
	follow_epoch(r->c, p, epoch);
	request_backoff(
		r, request_jitter(r->c, CHECK_MIN, r->wrong++, CHECK_MAX), "the session is ending");
}

static void on_check(struct request *r, struct peer *p, struct frame *f)
{
	struct wire_session m;

	if (wire_get_session(frame_cur(f), &m))
		peer_reject(p, -EPROTO, "a malformed SESSION");
	else if (m.status == WIRE_WRONG_NODE)
		request_wrong_node(r, p);
	else if (m.status == WIRE_NO_KEEPER || m.status == WIRE_UNREACHABLE)
		request_no_keeper(r, p);
	else if (m.status == WIRE_RETRY ||
		 (m.status == WIRE_NO_SESSION && r->c->map->epoch < m.epoch))
		not_yet(r, p, m.epoch);
	else if (m.status == WIRE_NO_SESSION) /* that one's, not ours */
		finish(r, -ESTALE, NULL, 0, NULL);
	else
		finish(r, call_errno(r->c, m.status), NULL, 0, NULL);
}

static const struct request_ops check_ops = {
	.reply = WIRE_SESSION,
	.pass = PASS_RAW,
	.answer = on_check,
	.expire = expire,
};
