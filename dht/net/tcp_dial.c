/*
 * Connecting. A name is looked up on uv's pool; its addresses are tried one after the other, each
 * with its share of what is left of DIAL_TIME. Every outcome, also an immediate one, is told by a
 * task, so that it never comes from inside tcp_dial_start().
 */
#include "dht/net/loop_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/net/addr.h"

#define DIAL_TIME (10 * ENV_SEC)

/* Outlives a dial that was cancelled: the pool cannot be interrupted. */
struct dial_lookup {
	uv_getaddrinfo_t req;
	struct tcp_dial *d; /* NULL: nobody waits */
};

/* Outlives its dial until uv has closed the handle. */
struct dial_poll {
	uv_poll_t poll;
	struct tcp_dial *d;
};

struct tcp_dial {
	struct loop *lp;
	tcp_dial_cb *cb;
	void *arg;
	uint64_t deadline;
	struct env_timer timer; /* the running lookup's or address's share */
	struct env_task task;   /* tells the outcome */
	struct dial_lookup *lookup;
	struct addrinfo *list, *next; /* from the lookup, or... */
	struct addrinfo one;          /* ...what was a number already */
	struct sockaddr_storage sa;
	struct dial_poll *poll;
	int fd; /* -1: none */
	int rc; /* of the last address */
};

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

static void dial_unpoll(struct tcp_dial *d)
{
	if (d->poll)
		uv_close((uv_handle_t *)&d->poll->poll, on_closed);
	d->poll = NULL;
}

static void dial_hangup(struct tcp_dial *d)
{
	dial_unpoll(d);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void dial_forget_lookup(struct tcp_dial *d)
{
	if (!d->lookup)
		return;
	d->lookup->d = NULL;
	uv_cancel((uv_req_t *)&d->lookup->req); /* works only before it started */
	d->lookup = NULL;
}

void tcp_dial_cancel(struct tcp_dial *d)
{
	if (!d)
		return;
	dial_hangup(d);
	dial_forget_lookup(d);
	env_timer_clear(&d->lp->env, &d->timer);
	env_unpost(&d->lp->env, &d->task);
	uv_freeaddrinfo(d->list);
	free(d);
}

static void dial_tell(struct env_task *t)
{
	struct tcp_dial *d = container_of(t, struct tcp_dial, task);
	tcp_dial_cb *cb = d->cb;
	void *arg = d->arg;
	int rc = d->rc, fd = d->fd;

	d->fd = -1;
	tcp_dial_cancel(d);
	cb(arg, rc, fd);
}

static void dial_finish(struct tcp_dial *d, int rc)
{
	if (rc)
		dial_hangup(d);
	else
		dial_unpoll(d);
	d->rc = rc;
	env_timer_clear(&d->lp->env, &d->timer);
	env_post(&d->lp->env, &d->task);
}

/* A loopback connect to a free port of the dynamic range can meet itself: nobody listens there. */
static bool is_self(int fd)
{
	struct sockaddr_storage a = {0}, b = {0};
	socklen_t la = sizeof(a), lb = sizeof(b);

	if (getsockname(fd, (struct sockaddr *)&a, &la) ||
		getpeername(fd, (struct sockaddr *)&b, &lb))
		return false; /* the first read or write will tell */
	return a.ss_family != AF_UNIX && la == lb && !memcmp(&a, &b, la);
}

static void dial_next(struct tcp_dial *d);

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct tcp_dial *d = ((struct dial_poll *)poll->data)->d;
	socklen_t len = sizeof(int);
	int err = 0;

	(void)events;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (!err && status < 0)
		err = ECONNRESET;
	if (!err && is_self(d->fd))
		err = ECONNREFUSED;
	if (!err) {
		dial_finish(d, 0);
		return;
	}
	dial_hangup(d);
	d->rc = -err;
	dial_next(d);
}

/* 0: connected; 1: under way; or -errno. */
static int dial_try(struct tcp_dial *d, const struct addrinfo *ai)
{
	int rc;

	d->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		return -errno;
	do
		rc = connect(d->fd, ai->ai_addr, ai->ai_addrlen) ? -errno : 0;
	while (rc == -EINTR);
	if (!rc)
		return is_self(d->fd) ? -ECONNREFUSED : 0;
	if (rc != -EINPROGRESS)
		return rc;
	d->poll = mem_zalloc(sizeof(*d->poll));
	d->poll->d = d;
	d->poll->poll.data = d->poll;
	rc = uv_poll_init(&d->lp->uv, &d->poll->poll, d->fd);
	if (rc) {
		free(d->poll);
		d->poll = NULL;
		return rc;
	}
	rc = uv_poll_start(&d->poll->poll, UV_WRITABLE, on_poll);
	return rc ? rc : 1;
}

static void dial_next(struct tcp_dial *d)
{
	uint64_t now = env_now(&d->lp->env), left = 0;
	const struct addrinfo *ai;
	int rc;

	while ((ai = d->next) && now < d->deadline) {
		d->next = ai->ai_next;
		rc = dial_try(d, ai);
		if (!rc) {
			dial_finish(d, 0);
			return;
		}
		if (rc > 0) {
			for (; ai; ai = ai->ai_next)
				left++;
			env_timer_set(&d->lp->env, &d->timer, now + (d->deadline - now) / left);
			return;
		}
		dial_hangup(d);
		d->rc = rc;
	}
	dial_finish(d, d->rc);
}

static void dial_timeout(struct env_timer *t)
{
	struct tcp_dial *d = container_of(t, struct tcp_dial, timer);

	d->rc = -ETIMEDOUT;
	if (d->lookup) {
		dial_forget_lookup(d);
		dial_finish(d, d->rc);
		return;
	}
	dial_hangup(d);
	dial_next(d);
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
	struct dial_lookup *lookup = req->data;
	struct tcp_dial *d = lookup->d;

	free(lookup);
	if (!d) {
		uv_freeaddrinfo(res);
		return;
	}
	d->lookup = NULL;
	if (status) {
		log_info("mod=net msg=\"name lookup failed: %s\"", uv_strerror(status));
		dial_finish(d, status == UV_EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH);
		return;
	}
	d->list = d->next = res;
	dial_next(d);
}

static int dial_resolve(struct tcp_dial *d, const struct addr *a)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct dial_lookup *lookup = mem_zalloc(sizeof(*lookup));
	int rc;

	lookup->d = d;
	lookup->req.data = lookup;
	rc = uv_getaddrinfo(&d->lp->uv, &lookup->req, on_lookup, a->host, a->port, &hints);
	if (rc) {
		free(lookup);
		return rc;
	}
	d->lookup = lookup;
	env_timer_set(&d->lp->env, &d->timer, d->deadline);
	return 0;
}

struct tcp_dial *tcp_dial_start(struct loop *lp, const struct addr *a, tcp_dial_cb *cb, void *arg)
{
	struct tcp_dial *d = mem_zalloc(sizeof(*d));
	int rc;

	d->lp = lp;
	d->cb = cb;
	d->arg = arg;
	d->fd = -1;
	d->rc = -EHOSTUNREACH; /* for a name without addresses */
	d->deadline = env_now(&lp->env) + DIAL_TIME;
	d->timer.fire = dial_timeout;
	d->task.run = dial_tell;
	if (!a->numeric) {
		rc = dial_resolve(d, a);
		if (rc)
			dial_finish(d, -EHOSTUNREACH); /* a name that no resolver takes */
		return d;
	}
	d->sa = a->sa;
	d->one.ai_family = a->sa.ss_family;
	d->one.ai_addr = (struct sockaddr *)&d->sa;
	d->one.ai_addrlen = a->sa_len;
	d->next = &d->one;
	dial_next(d);
	return d;
}
