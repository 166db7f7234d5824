/*
 * Links over TCP and Unix sockets.
 *
 *   state    socket  dial   meaning
 *   DIALING  -       yes    connecting; up or down to come
 *   UP       yes     -      messages flow
 *   FAILED   -       -      down() is posted
 *   DOWN     -       -      down() was called; waits for link_close()
 *
 * Writing: link_send() only queues. At the end of the loop's round one sendmsg(2) takes all that
 * is queued; when the kernel takes no more, the rest waits for the socket (blocked).
 *
 * Reading: one readv(2) fills the body of the frame that has begun, in its own memory, and then
 * the loop's shared buffer, where headers and small frames are cut out. While large bodies come,
 * only little of the shared buffer is offered, so that little of the next body lands there.
 *
 * A link that is closed from inside one of its own callbacks loses its socket at once and its
 * memory when that callback returned.
 */
#include "dht/net/loop_impl.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/net/addr.h"
#include "dht/net/frameq.h"

#define OUT_IOV 64
#define READ_ROUNDS 4        /* system calls per event, so that one peer does not take it all */
#define BULK_BODY (16 << 10) /* a body from this size on makes the link read as for bulk */
#define BULK_ROOM (4 << 10)

enum tcp_state { DIALING, UP, FAILED, DOWN };

/* Outlives its link until uv has closed the handle. */
struct tcp_sock {
	uv_poll_t poll;
	struct tcp_link *tl;
	int fd;
};

struct tcp_link {
	struct link l;
	struct loop *lp;
	enum tcp_state state;
	bool busy;   /* one of its callbacks runs */
	bool closed; /* link_close() was called meanwhile */
	bool dirty;  /* in lp->dirty */
	bool blocked;
	bool bulk;
	int down_rc;
	struct tcp_dial *dial;
	struct tcp_sock *sock;
	struct env_task task; /* calls down() */

	struct frameq out;
	size_t out_off; /* bytes of its first frame that are written */

	size_t head_got;
	struct frame *in; /* its header is complete, of its body in_got bytes */
	size_t in_got;
	uint8_t head[FRAME_HEAD];

	TAILQ_ENTRY(tcp_link) entry, dirty_entry;
};

static const struct link_ops tcp_ops;

static struct tcp_link *tcp_of(const struct link *l)
{
	return container_of(l, struct tcp_link, l);
}

/* ---- the end of a link ---- */

static void on_sock_closed(uv_handle_t *h)
{
	free(h->data);
}

/* Gives back all but the struct itself. */
static void tcp_shut(struct tcp_link *tl)
{
	tcp_dial_cancel(tl->dial);
	tl->dial = NULL;
	if (tl->sock) {
		uv_close((uv_handle_t *)&tl->sock->poll, on_sock_closed);
		close(tl->sock->fd);
		tl->sock = NULL;
	}
	if (tl->dirty)
		TAILQ_REMOVE(&tl->lp->dirty, tl, dirty_entry);
	tl->dirty = false;
	frameq_fini(&tl->out);
	frame_unref(tl->in);
	tl->in = NULL;
}

static void tcp_release(struct tcp_link *tl)
{
	TAILQ_REMOVE(&tl->lp->tcps, tl, entry);
	free(tl);
}

/* Ends a callback; false when the link is gone. */
static bool tcp_leave(struct tcp_link *tl)
{
	tl->busy = false;
	if (!tl->closed)
		return true;
	tcp_release(tl);
	return false;
}

static void tcp_tell_down(struct env_task *t)
{
	struct tcp_link *tl = container_of(t, struct tcp_link, task);

	tl->state = DOWN;
	tl->busy = true;
	tl->l.events->down(&tl->l, tl->down_rc, tl->l.arg);
	tcp_leave(tl);
}

static void tcp_fail(struct tcp_link *tl, int rc)
{
	if (rc == -EPROTO || rc == -EBADMSG || rc == -EMSGSIZE)
		log_warn("mod=net peer=%s rc=-%s msg=\"bad frame, connection closed\"", tl->l.peer,
			log_errno(rc));
	tcp_shut(tl);
	tl->state = FAILED;
	tl->down_rc = rc;
	env_post(&tl->lp->env, &tl->task);
}

/* ---- writing ---- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void tcp_block(struct tcp_link *tl, bool blocked)
{
	int rc;

	if (tl->blocked == blocked)
		return;
	tl->blocked = blocked;
	rc = uv_poll_start(&tl->sock->poll, UV_READABLE | (blocked ? UV_WRITABLE : 0), on_poll);
	if (rc)
		tcp_fail(tl, rc);
}

/* Drops @n written bytes from the front of the queue. */
static void tcp_written(struct tcp_link *tl, size_t n)
{
	size_t left;

	while (n) {
		left = frameq_at(&tl->out, 0)->b.len - tl->out_off;
		if (n < left) {
			tl->out_off += n;
			return;
		}
		n -= left;
		tl->out_off = 0;
		frame_unref(frameq_pop(&tl->out));
	}
}

static void tcp_flush(struct tcp_link *tl)
{
	struct iovec iov[OUT_IOV];
	struct msghdr msg = {.msg_iov = iov};
	size_t i, want, off;
	struct frame *f;
	ssize_t n;

	while (tl->out.len) {
		want = 0;
		off = tl->out_off;
		for (i = 0; i < OUT_IOV && i < tl->out.len; i++) {
			f = frameq_at(&tl->out, i);
			iov[i].iov_base = f->b.data + off;
			iov[i].iov_len = f->b.len - off;
			want += iov[i].iov_len;
			off = 0;
		}
		msg.msg_iovlen = i;
		n = sendmsg(tl->sock->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			tcp_fail(tl, errno == EPIPE ? -ECONNRESET : -errno);
			return;
		}
		if (n > 0)
			tcp_written(tl, (size_t)n);
		if (n < (ssize_t)want) {
			tcp_block(tl, true);
			return;
		}
	}
	tcp_block(tl, false);
}

void tcp_flush_all(struct loop *lp)
{
	struct tcp_link *tl;

	while ((tl = TAILQ_FIRST(&lp->dirty))) {
		TAILQ_REMOVE(&lp->dirty, tl, dirty_entry);
		tl->dirty = false;
		tcp_flush(tl);
	}
}

static int tcp_send(struct link *l, struct frame *f)
{
	struct tcp_link *tl = tcp_of(l);
	int rc = tl->state == UP ? frame_seal(f) : -ENOTCONN;

	if (rc) {
		frame_unref(f);
		return rc;
	}
	frameq_push(&tl->out, f);
	if (!tl->dirty && !tl->blocked) {
		tl->dirty = true;
		TAILQ_INSERT_TAIL(&tl->lp->dirty, tl, dirty_entry);
	}
	return 0;
}

static size_t tcp_unsent(const struct link *l)
{
	const struct tcp_link *tl = tcp_of(l);

	return tl->out.bytes - tl->out_off;
}

/* ---- reading ---- */

static bool tcp_is_up(const struct tcp_link *tl)
{
	return tl->state == UP && !tl->closed;
}

/* The frame that came is whole. */
static void tcp_deliver(struct tcp_link *tl)
{
	struct frame *f = tl->in;
	int rc = frame_verify(f);

	tl->in = NULL;
	if (rc)
		tcp_fail(tl, rc);
	else
		tl->l.events->message(&tl->l, f, tl->l.arg);
	frame_unref(f);
}

static void tcp_begin(struct tcp_link *tl, const uint8_t *head)
{
	size_t len;
	int rc = frame_peek(head, &len);

	if (rc) {
		tcp_fail(tl, rc);
		return;
	}
	tl->head_got = 0;
	tl->in_got = 0;
	tl->bulk = len >= BULK_BODY;
	tl->in = frame_from_head(head, len);
	if (!tl->in)
		tcp_fail(tl, -ENOMEM);
	else if (!len)
		tcp_deliver(tl);
}

/* Cuts frames out of bytes in the shared buffer. */
static void tcp_parse(struct tcp_link *tl, const uint8_t *p, size_t n)
{
	size_t m;

	while (n && tcp_is_up(tl)) {
		if (tl->in) {
			m = min_size(n, frame_body_len(tl->in) - tl->in_got);
			memcpy(tl->in->b.data + FRAME_HEAD + tl->in_got, p, m);
			tl->in_got += m;
			if (tl->in_got == frame_body_len(tl->in))
				tcp_deliver(tl);
		} else if (!tl->head_got && n >= FRAME_HEAD) {
			m = FRAME_HEAD;
			tcp_begin(tl, p);
		} else {
			m = min_size(n, FRAME_HEAD - tl->head_got);
			memcpy(tl->head + tl->head_got, p, m);
			tl->head_got += m;
			if (tl->head_got == FRAME_HEAD)
				tcp_begin(tl, tl->head);
		}
		p += m;
		n -= m;
	}
}

/* Takes in @n bytes that were read as tcp_read() laid them out. */
static void tcp_got(struct tcp_link *tl, size_t n)
{
	size_t m;

	if (tl->in) {
		m = min_size(n, frame_body_len(tl->in) - tl->in_got);
		tl->in_got += m;
		n -= m;
		if (tl->in_got == frame_body_len(tl->in))
			tcp_deliver(tl);
	}
	tcp_parse(tl, tl->lp->in_buf, n);
}

static void tcp_read(struct tcp_link *tl)
{
	struct iovec iov[2];
	size_t want;
	ssize_t n;
	int i;

	for (int round = 0; round < READ_ROUNDS && tcp_is_up(tl); round++) {
		i = 0;
		want = 0;
		if (tl->in) {
			iov[i].iov_base = tl->in->b.data + FRAME_HEAD + tl->in_got;
			iov[i].iov_len = frame_body_len(tl->in) - tl->in_got;
			want += iov[i++].iov_len;
		}
		iov[i].iov_base = tl->lp->in_buf;
		iov[i].iov_len = tl->bulk ? BULK_ROOM : LOOP_IN_BUF;
		want += iov[i++].iov_len;
		n = readv(tl->sock->fd, iov, i);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			tcp_fail(tl, n ? -errno : -ECONNRESET);
			return;
		}
		tcp_got(tl, (size_t)n);
		if ((size_t)n < want)
			return;
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct tcp_link *tl = ((struct tcp_sock *)poll->data)->tl;

	spin_hit(&tl->lp->spin_state);
	tl->busy = true;
	if (status >= 0 && (events & UV_WRITABLE))
		tcp_flush(tl);
	if (status < 0 || (events & UV_READABLE))
		tcp_read(tl);
	/* on an error uv has stopped polling; what read() could still get is delivered */
	if (status < 0 && tcp_is_up(tl))
		tcp_fail(tl, -ECONNRESET);
	tcp_leave(tl);
}

/* ---- life ---- */

static struct tcp_link *tcp_new(struct loop *lp, const char *peer)
{
	struct tcp_link *tl = mem_zalloc(sizeof(*tl));

	tl->l.ops = &tcp_ops;
	tl->lp = lp;
	tl->task.run = tcp_tell_down;
	snprintf(tl->l.peer, sizeof(tl->l.peer), "%s", peer);
	TAILQ_INSERT_TAIL(&lp->tcps, tl, entry);
	return tl;
}

/* Latency before packets; a peer that vanished is noticed within about half a minute. Unix sockets
 * know none of this, and without it a link works as well: no error. */
static void set_options(int fd)
{
	int on = 1, idle = 15, interval = 5, count = 3, user_ms = 30000;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
}

/* Takes the connected @fd; closes it on error. */
static int tcp_adopt(struct tcp_link *tl, int fd)
{
	struct tcp_sock *sock = mem_zalloc(sizeof(*sock));
	int rc = uv_poll_init(&tl->lp->uv, &sock->poll, fd);

	if (rc) {
		close(fd);
		free(sock);
		return rc;
	}
	set_options(fd);
	sock->poll.data = sock;
	sock->tl = tl;
	sock->fd = fd;
	tl->sock = sock;
	tl->state = UP;
	return uv_poll_start(&sock->poll, UV_READABLE, on_poll);
}

static void on_dialed(void *arg, int rc, int fd)
{
	struct tcp_link *tl = arg;

	tl->dial = NULL;
	if (!rc)
		rc = tcp_adopt(tl, fd);
	if (rc) {
		tcp_fail(tl, rc);
		return;
	}
	tl->busy = true;
	if (tl->l.events->up)
		tl->l.events->up(&tl->l, tl->l.arg);
	tcp_leave(tl);
}

int tcp_connect(struct loop *lp, const char *text, const struct addr *a,
	const struct link_events *ev, void *arg, struct link **out)
{
	struct tcp_link *tl;

	if (a->kind == ADDR_TCP && !atoi(a->port))
		return -EINVAL;
	tl = tcp_new(lp, text);
	tl->l.events = ev;
	tl->l.arg = arg;
	tl->dial = tcp_dial_start(lp, a, on_dialed, tl);
	*out = &tl->l;
	return 0;
}

void tcp_accepted(struct loop *lp, int fd, const char *peer, env_accept_cb *cb, void *arg)
{
	struct tcp_link *tl = tcp_new(lp, peer);
	int rc = tcp_adopt(tl, fd);

	if (rc) {
		log_warn("mod=net peer=%s rc=-%s msg=\"cannot accept\"", peer, log_errno(rc));
		tcp_shut(tl);
		tcp_release(tl);
		return;
	}
	tl->busy = true;
	cb(&tl->l, arg);
	if (tcp_leave(tl))
		assert(tl->l.events);
}

static void tcp_close(struct link *l)
{
	struct tcp_link *tl = tcp_of(l);

	assert(!tl->closed);
	if (tl->state == UP && tl->out.len && !tl->blocked)
		tcp_flush(tl); /* a last word, as far as the kernel takes it at once */
	tcp_shut(tl);
	env_unpost(&tl->lp->env, &tl->task);
	if (tl->busy)
		tl->closed = true;
	else
		tcp_release(tl);
}

static const struct link_ops tcp_ops = {
	.send = tcp_send,
	.close = tcp_close,
	.unsent = tcp_unsent,
};

void tcp_pause_all(struct loop *lp)
{
	struct tcp_link *tl;

	TAILQ_FOREACH (tl, &lp->tcps, entry) {
		if (tl->sock)
			uv_poll_stop(&tl->sock->poll);
	}
}

void tcp_free_all(struct loop *lp)
{
	struct tcp_link *tl;

	while ((tl = TAILQ_FIRST(&lp->tcps)))
		tcp_close(&tl->l);
}
