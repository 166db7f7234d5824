/*
 * Listening sockets, TCP and Unix.
 */
#include "dht/net/loop_impl.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/net/addr.h"

#define ACCEPT_ROUNDS 64           /* connections per event */
#define ACCEPT_REST (100 * ENV_MS) /* when the process has no descriptor left */

/* Outlives its env_listener until uv has closed the handle. */
struct tcp_listener {
	uv_poll_t poll;
	struct env_listener *s; /* NULL: unlistened */
	int fd;
	struct env_timer rest;
	dev_t dev; /* of the Unix socket's file, to remove only our own */
	ino_t ino;
};

static void on_ready(uv_poll_t *poll, int status, int events);

static void rest_over(struct env_timer *t)
{
	struct tcp_listener *tcp = container_of(t, struct tcp_listener, rest);
	int rc = uv_poll_start(&tcp->poll, UV_READABLE, on_ready);

	if (rc)
		log_error("mod=net addr=%s rc=-%s msg=\"cannot listen any more\"", tcp->s->addr,
			log_errno(rc));
}

static void accept_failed(struct tcp_listener *tcp, int err)
{
	struct env *e = &tcp->s->lp->env;

	/* these came to nothing before we got them; the next may be well */
	if (err == EAGAIN || err == EINTR || err == ECONNABORTED || err == EPROTO)
		return;
	log_warn("mod=net addr=%s rc=-%s msg=\"cannot accept, pausing\"", tcp->s->addr,
		log_errno(err));
	uv_poll_stop(&tcp->poll);
	env_timer_set(e, &tcp->rest, env_now(e) + ACCEPT_REST);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct tcp_listener *tcp = poll->data;
	struct sockaddr_storage sa;
	char peer[ENV_ADDR_MAX];
	socklen_t len;
	int fd;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_ROUNDS && tcp->s; i++) {
		len = sizeof(sa);
		fd = accept4(tcp->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			accept_failed(tcp, errno);
			return;
		}
		if (tcp->s->kind == ADDR_UNIX)
			memcpy(peer, tcp->s->addr, sizeof(peer));
		else
			addr_text((struct sockaddr *)&sa, peer);
		tcp_accepted(tcp->s->lp, fd, peer, tcp->s->cb, tcp->s->arg);
	}
}

/* Whether the socket file at @un is left over: nobody answers there. */
static bool is_stale(const struct sockaddr_un *un)
{
	struct stat st;
	bool stale;
	int fd;

	if (lstat(un->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	stale = connect(fd, (const struct sockaddr *)un, sizeof(*un)) && errno == ECONNREFUSED;
	close(fd);
	return stale;
}

/* A socket listening at @sa, or -errno. */
static int open_socket(const struct sockaddr *sa, socklen_t len)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)sa;
	int fd, rc, on = 1;

	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (sa->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	rc = bind(fd, sa, len) ? -errno : 0;
	if (rc == -EADDRINUSE && sa->sa_family == AF_UNIX && is_stale(un)) {
		unlink(un->sun_path);
		rc = bind(fd, sa, len) ? -errno : 0;
	}
	if (!rc && listen(fd, SOMAXCONN))
		rc = -errno;
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

/* Looks the name up at once: listening is part of starting, the loop has nothing else to do. */
static int open_named(const struct addr *a)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list, *ai;
	int fd = -EADDRNOTAVAIL;

	if (getaddrinfo(a->host, a->port, &hints, &list))
		return -EADDRNOTAVAIL;
	for (ai = list; ai && fd < 0; ai = ai->ai_next)
		fd = open_socket(ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(list);
	return fd;
}

/* The address with the port that was really bound; the inode of the socket file. */
static void learn_bound(struct env_listener *s, const struct addr *a)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct stat st;

	if (s->kind == ADDR_UNIX) {
		if (!lstat(a->host, &st)) {
			s->tcp->dev = st.st_dev;
			s->tcp->ino = st.st_ino;
		}
	} else if (!getsockname(s->tcp->fd, (struct sockaddr *)&sa, &len)) {
		addr_text((struct sockaddr *)&sa, s->addr);
	}
}

int tcp_listen(struct env_listener *s, const struct addr *a)
{
	struct tcp_listener *tcp;
	int rc, fd;

	fd = a->numeric ? open_socket((const struct sockaddr *)&a->sa, a->sa_len) : open_named(a);
	if (fd < 0)
		return fd;
	tcp = mem_zalloc(sizeof(*tcp));
	rc = uv_poll_init(&s->lp->uv, &tcp->poll, fd);
	if (rc) {
		close(fd);
		free(tcp);
		return rc;
	}
	tcp->poll.data = tcp;
	tcp->s = s;
	tcp->fd = fd;
	tcp->rest.fire = rest_over;
	s->tcp = tcp;
	learn_bound(s, a);
	rc = uv_poll_start(&tcp->poll, UV_READABLE, on_ready);
	if (rc)
		tcp_unlisten(s);
	return rc;
}

void tcp_listen_pause(struct env_listener *s)
{
	uv_poll_stop(&s->tcp->poll);
}

static void on_closed(uv_handle_t *h)
{
	free(h->data);
}

void tcp_unlisten(struct env_listener *s)
{
	struct tcp_listener *tcp = s->tcp;
	const char *path = s->addr + strlen("unix:");
	struct stat st;

	if (s->kind == ADDR_UNIX && !lstat(path, &st) && st.st_dev == tcp->dev &&
		st.st_ino == tcp->ino)
		unlink(path);
	env_timer_clear(&s->lp->env, &tcp->rest);
	uv_close((uv_handle_t *)&tcp->poll, on_closed);
	close(tcp->fd);
	tcp->s = NULL;
	s->tcp = NULL;
}
