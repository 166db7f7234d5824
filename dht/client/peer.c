/*
 * States of a connection:
 *
 *   state       link  timer            leaves it
 *   IDLE        no    -                peer_want() -> CONNECTING
 *   DOWN        no    next attempt     timer -> CONNECTING
 *   CONNECTING  yes   patience         up() -> HELLO; down(), timer -> DOWN
 *   HELLO       yes   silence          HELLO -> UP; down(), timer, a bad HELLO -> DOWN
 *   UP          yes   silence, while   down(), timer, nonsense -> DOWN; peer_rest() -> IDLE
 *                     something is pending
 *
 * A loss is followed by an attempt at once if the link has been of use, then by attempts after a
 * growing, jittered delay, for ever. While something is pending for a peer that refuses connections
 * (its process is gone and may be back any moment) the delay stays below QUICK_MAX: what is pending
 * is resent within 100 ms of the node listening again.
 *
 * A link on which something is pending and nothing is heard for ping_after gets a PING; without any
 * sign of life for the grace time after that it is taken for dead. Bytes that leave the process
 * through a link with a queue are a sign of life too: a PING stands behind them.
 */
#include "dht/client/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"

#define QUICK_MAX (50 * ENV_MS) /* longest delay for a peer that refuses, with work for it */
#define PATIENCE (2 * ENV_SEC)  /* for one attempt: SYNs are lost */
#define PROVEN (1 * ENV_SEC)    /* a link that lasted as long has been of use */

/* How long it has to be away before others are asked to pass something on. Where connections are
 * refused there is a machine without that process: others will hardly do better. */
#define AROUND_AFTER (300 * ENV_MS)
#define AROUND_REFUSED (5 * ENV_SEC)
#define AROUND_KEEPER (50 * ENV_MS) /* which any node reaches, if there is one */
#define AROUND_MIN (100 * ENV_MS)   /* between tries that are in vain */
#define AROUND_MAX (5 * ENV_SEC)

static int start(struct peer *p);

struct peer *peer_new(struct orbit_client *c)
{
	struct peer *p = mem_zalloc(sizeof(*p));

	p->c = c;
	p->state = PEER_IDLE;
	TAILQ_INIT(&p->pending);
	TAILQ_INSERT_TAIL(&c->peers, p, at);
	return p;
}

void peer_free(struct peer *p)
{
	TAILQ_REMOVE(&p->c->peers, p, at);
	env_timer_clear(p->c->env, &p->timer);
	if (p->link)
		link_close(p->link);
	buf_fini(&p->back);
	free(p);
}

void peer_set_addr(struct peer *p, const char *addr)
{
	snprintf(p->addr[0], sizeof(p->addr[0]), "%s", addr);
	p->naddrs = 1;
}

void peer_set_node(struct peer *p, const struct ring_node *n)
{
	char now[ENV_ADDR_MAX];

	snprintf(now, sizeof(now), "%s", p->naddrs ? peer_name(p) : "");
	p->node = n->id;
	p->known = true;
	p->naddrs = n->naddrs;
	p->good = p->turn = 0;
	for (unsigned i = 0; i < n->naddrs; i++) {
		snprintf(p->addr[i], sizeof(p->addr[i]), "%s", n->addr[i]);
		if (!strcmp(now, p->addr[i]))
			p->good = i;
	}
}

const char *peer_name(const struct peer *p)
{
	return p->addr[(p->good + p->turn) % p->naddrs];
}

static void set_timer(struct peer *p, uint64_t due)
{
	p->due = due;
	env_timer_set(p->c->env, &p->timer, due);
}

/* Failures that cost nothing and may be over any moment. */
static bool quick(int rc)
{
	return rc == -ECONNREFUSED || rc == -ECONNRESET || rc == -EPIPE || rc == -ENOENT;
}

static uint64_t cap(const struct peer *p)
{
	uint64_t max = p->c->reconnect_max;

	return !TAILQ_EMPTY(&p->pending) && quick(p->rc) && max > QUICK_MAX ? QUICK_MAX : max;
}

/* There is no link any more: the next attempt. */
static void reschedule(struct peer *p)
{
	struct orbit_client *c = p->c;
	uint64_t delay = p->delay;

	p->state = PEER_DOWN;
	if (delay == 0) {
		p->delay = c->reconnect_min;
		start(p);
		return;
	}
	if (delay > cap(p))
		delay = cap(p);
	p->delay = delay * 2 > c->reconnect_max ? c->reconnect_max : delay * 2;
	set_timer(p, env_now(c->env) + request_jitter(c, delay, 0, delay));
}

static void close_link(struct peer *p)
{
	struct link *l = p->link;

	p->link = NULL;
	p->watching = false;
	env_timer_clear(p->c->env, &p->timer);
	if (l)
		link_close(l);
}

static void gone(struct peer *p, int rc, const char *why)
{
	bool had = peer_usable(p), first = !p->error[0], was_up = p->state == PEER_UP;

	if (had && env_now(p->c->env) - p->since >= PROVEN)
		peer_good(p);
	if (was_up)
		p->away = env_now(p->c->env);
	close_link(p);
	p->state = PEER_DOWN;
	p->rc = rc;
	if (why)
		snprintf(p->error, sizeof(p->error), "%s: %s", peer_name(p), why);
	else
		snprintf(p->error, sizeof(p->error), "%s %s: %s",
			had ? "lost the connection to" : "cannot connect to", peer_name(p),
			strerror(-rc));
	log_line(had || first ? LOG_LVL_WARN : LOG_LVL_DEBUG,
		"mod=client peer=%s rc=-%s msg=\"%s\"", peer_name(p), log_errno(rc), p->error);
	if (had)
		request_link_lost(p);
	watch_link_lost(p);
	p->turn = was_up ? 0 : (p->turn + 1) % p->naddrs;
	if (p->turn)
		start(p); /* its next address */
	else
		reschedule(p);
	follow_chase(p->c, true);
	follow_warm(p->c);
	client_check_ready(p->c);
	client_close_step(p->c);
}

/* ---- events of the link ---- */

static void say_hello(struct peer *p)
{
	struct orbit_client *c = p->c;
	struct wire_hello m = {
		.version = WIRE_VERSION,
		.version_min = WIRE_VERSION_MIN,
		.role = WIRE_ROLE_CLIENT,
		.epoch = c->map ? c->map->epoch : 0,
		.session = c->session.id,
	};
	struct frame *f = frame_new(WIRE_HELLO, 0, 128);

	memcpy(m.fsid, c->fsid, sizeof(m.fsid));
	wire_put_hello(&f->b, &m);
	peer_send(p, f);
}

static void on_up(struct link *l, void *arg)
{
	struct peer *p = arg;
	struct orbit_client *c = p->c;
	unsigned n;

	(void)l;
	p->state = PEER_HELLO;
	p->since = p->quiet = env_now(c->env);
	p->pinged = p->bytes = p->left = p->map_asked = 0;
	p->map_whole = p->other = false;
	p->watching = true;
	set_timer(p, p->quiet + c->ping_after);
	say_hello(p);
	if (!c->map)
		follow_ask(p);
	n = request_flush(p);
	if (p->was_up || p->error[0]) {
		c->n.reconnects++;
		log_info(
			"mod=client peer=%s resent=%u msg=\"connection is back\"", peer_name(p), n);
	} else {
		log_debug("mod=client peer=%s sent=%u msg=\"connected\"", peer_name(p), n);
	}
	p->was_up = true;
}

static void on_down(struct link *l, int rc, void *arg)
{
	(void)l;
	gone(arg, rc < 0 ? rc : -ECONNRESET, NULL);
}

static bool zeros(const uint8_t *b, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (b[i])
			return false;
	return true;
}

/*
 * Not the node that our map has at this address. All that we know may go by other names by now, and
 * then nobody but a stranger has a map that says so.
 */
static void other_node(struct peer *p, uint64_t epoch)
{
	struct orbit_client *c = p->c;

	p->other = c->map && epoch > c->map->epoch;
	if (p->other)
		follow_ask(p);
	else
		peer_reject(p, -EADDRNOTAVAIL, "another node answers there");
}

static void other_message(struct peer *p, struct frame *f)
{
	if (f->type != WIRE_MAP)
		return; /* what was sent before its HELLO came is sent again, elsewhere */
	if (route_take(p->c, p, frame_cur(f)))
		peer_reject(p, -EPROTO, "sent a ring map that makes no sense");
	else if (p->state == PEER_HELLO)
		peer_reject(p, -EADDRNOTAVAIL, "another node answers there");
}

static void on_hello(struct peer *p, struct frame *f)
{
	struct orbit_client *c = p->c;
	struct wire_hello m;

	if (p->state != PEER_HELLO) {
		peer_reject(p, -EPROTO, "a second HELLO");
	} else if (wire_get_hello(frame_cur(f), &m)) {
		peer_reject(p, -EPROTO, "a malformed HELLO");
	} else if (m.version < WIRE_VERSION_MIN || m.version_min > WIRE_VERSION || m.features) {
		peer_reject(p, -EPROTONOSUPPORT, "speaks another version of the protocol");
	} else if (m.role != WIRE_ROLE_NODE) {
		peer_reject(p, -EPROTO, "is not a node");
	} else if (!zeros(c->fsid, 16) && !zeros(m.fsid, 16) && memcmp(c->fsid, m.fsid, 16)) {
		peer_reject(p, -EMEDIUMTYPE, "serves another filesystem");
	} else if (!route_learn(p, &m.node)) {
		other_node(p, m.epoch);
	} else if (p->link) {
		p->state = PEER_UP;
		p->rc = 0;
		p->fatal = false;
		p->error[0] = '\0';
		p->away = p->around_at = p->around_delay = 0;
		p->around = false;
		p->good = (p->good + p->turn) % p->naddrs;
		p->turn = 0;
		follow_epoch(c, p, m.epoch);
		follow_chase(c, false);
	}
}

static void on_epoch(struct peer *p, struct frame *f)
{
	struct cur cur = frame_cur(f);
	uint64_t epoch = cur_u64(&cur);

	if (cur_done(&cur))
		follow_epoch(p->c, p, epoch);
	else
		peer_reject(p, -EPROTO, "a malformed EPOCH");
}

static void on_error(struct peer *p, struct frame *f)
{
	struct wire_error m;
	char text[256] = "a malformed ERROR";
	size_t n = 0;
	int rc = -EPROTO;

	if (wire_get_error(frame_cur(f), &m) == 0) {
		rc = wire_errno(m.status);
		for (; n < m.text_len && n < sizeof(text) - 1; n++)
			text[n] = isprint((unsigned char)m.text[n]) && m.text[n] != '"' ? m.text[n]
											: '?';
		text[n] = '\0';
	}
	peer_reject(p, rc < 0 ? rc : -EPROTO, text);
}

static void on_ping(struct peer *p, const struct frame *f)
{
	struct frame *pong = frame_new(WIRE_PONG, f->id, 0);

	pong->flags = FRAME_REPLY;
	peer_send(p, pong);
}

static void on_message(struct link *l, struct frame *f, void *arg)
{
	struct peer *p = arg;

	(void)l;
	p->quiet = env_now(p->c->env);
	if (p->pinged) { /* a sign of life: the grace time is off */
		p->pinged = 0;
		set_timer(p, p->quiet + p->c->ping_after);
	}
	p->c->n.bytes_received += f->b.len;
	switch (f->type) {
	case WIRE_HELLO:
		on_hello(p, f);
		return;
	case WIRE_ERROR:
		on_error(p, f);
		return;
	case WIRE_PING:
		on_ping(p, f);
		return;
	case WIRE_PONG:
		return;
	}
	if (p->other && p->state == PEER_HELLO) {
		other_message(p, f);
		return;
	}
	if (p->state != PEER_UP) {
		peer_reject(p, -EPROTO, "speaks before its HELLO");
		return;
	}
	switch (f->type) {
	case WIRE_MAP:
		if (route_take(p->c, p, frame_cur(f)))
			peer_reject(p, -EPROTO, "sent a ring map that makes no sense");
		return;
	case WIRE_EPOCH:
		on_epoch(p, f);
		return;
	case WIRE_NOTICE:
		watch_notice(p, f);
		return;
	case WIRE_GRANT:
	case WIRE_RECALL:
	case WIRE_CLAIM:
		lease_message(p, f);
		return;
	case WIRE_REPLY:
	case WIRE_SESSION:
	case WIRE_STATS:
		request_answer(p->c, p, f);
		return;
	default:
		peer_reject(p, -EPROTO, "sent what a client does not understand");
	}
}

static const struct link_events events = {on_up, on_message, on_down};

/* ---- connecting ---- */

static int start(struct peer *p)
{
	struct orbit_client *c = p->c;
	int rc;

	p->state = PEER_CONNECTING;
	p->tried = env_now(c->env);
	if (!p->away)
		p->away = p->tried;
	rc = env_connect(c->env, peer_name(p), &events, p, &p->link);
	if (rc) {
		p->link = NULL;
		p->state = PEER_DOWN;
		p->rc = rc;
		snprintf(p->error, sizeof(p->error), "cannot connect to %s: %s", peer_name(p),
			strerror(-rc));
		p->turn = (p->turn + 1) % p->naddrs;
		p->delay = c->reconnect_max;
		set_timer(p, p->tried + p->delay);
		return rc;
	}
	set_timer(p, p->tried + PATIENCE);
	return 0;
}

static void look(struct peer *p)
{
	struct orbit_client *c = p->c;
	uint64_t now = env_now(c->env), left = peer_left(p);
	uint64_t grace = 2 * c->ping_after;

	if (grace < c->policy.check_timeout)
		grace = c->policy.check_timeout;
	if (left > p->left && left < p->bytes) {
		p->quiet = now;
		p->pinged = 0;
	}
	p->left = left;
	if (p->state == PEER_UP && !p->pinged && TAILQ_EMPTY(&p->pending) && !p->nposts &&
		!p->nleases) {
		p->watching = false;
	} else if (p->pinged && now - p->pinged >= grace) {
		gone(p, -ETIMEDOUT, "no sign of life on the connection");
	} else if (p->pinged) {
		set_timer(p, p->pinged + grace);
	} else if (now - p->quiet >= c->ping_after) {
		peer_ping(p);
	} else {
		set_timer(p, p->quiet + c->ping_after);
	}
}

static void on_timer(struct env_timer *t)
{
	struct peer *p = container_of(t, struct peer, timer);

	if (p->state == PEER_DOWN)
		start(p);
	else if (p->state == PEER_CONNECTING)
		gone(p, -ETIMEDOUT, NULL);
	else if (peer_usable(p))
		look(p);
}

int peer_connect_now(struct peer *p)
{
	if (p->state != PEER_IDLE && p->state != PEER_DOWN)
		return 0;
	p->timer.fire = on_timer;
	env_timer_clear(p->c->env, &p->timer);
	p->delay = p->c->reconnect_min;
	return start(p);
}

void peer_want(struct peer *p)
{
	uint64_t soon;

	if (p->state == PEER_IDLE) {
		peer_connect_now(p);
	} else if (p->state == PEER_DOWN && quick(p->rc)) {
		soon = p->tried + QUICK_MAX;
		if (p->due > soon)
			set_timer(p, soon);
	}
}

void peer_rest(struct peer *p)
{
	if (p->state == PEER_IDLE || !TAILQ_EMPTY(&p->pending))
		return;
	if (peer_usable(p)) {
		close_link(p);
		p->state = PEER_IDLE;
		request_link_lost(p);
		watch_link_lost(p);
	}
	close_link(p);
	p->state = PEER_IDLE;
	p->away = 0;
}

bool peer_around(const struct peer *p, bool keeper)
{
	uint64_t now = env_now(p->c->env), patience = AROUND_AFTER;

	if (peer_usable(p) || !p->away)
		return false;
	if (keeper)
		return now - p->away >= AROUND_KEEPER;
	if (quick(p->rc))
		patience = AROUND_REFUSED;
	return now - p->away >= patience && (p->around || now >= p->around_at);
}

void peer_around_try(struct peer *p)
{
	if (!p->around)
		p->around_at = env_now(p->c->env) +
			       (p->around_delay ? p->around_delay : p->c->policy.check_timeout);
}

void peer_around_done(struct peer *p, bool done)
{
	bool first = done && !p->around;

	p->around = done;
	if (done)
		p->around_delay = 0;
	else
		p->around_delay = p->around_delay ? 2 * p->around_delay : AROUND_MIN;
	if (p->around_delay > AROUND_MAX)
		p->around_delay = AROUND_MAX;
	p->around_at = env_now(p->c->env) + p->around_delay;
	if (first)
		request_around(p->c);
}

void peer_reject(struct peer *p, int rc, const char *why)
{
	struct wire_error m = {.status = WIRE_BAD_REQUEST, .text = why, .text_len = strlen(why)};
	struct frame *f;
	char text[PEER_ERROR_MAX];

	snprintf(text, sizeof(text), "%s", why); /* may point into what is closed below */
	if (rc == -EMEDIUMTYPE)
		m.status = WIRE_WRONG_FS;
	else if (rc == -EPROTONOSUPPORT)
		m.status = WIRE_VERSION_BAD;
	f = frame_new(WIRE_ERROR, 0, 64 + m.text_len);
	wire_put_error(&f->b, &m);
	peer_send(p, f);
	p->fatal = rc == -EMEDIUMTYPE || rc == -EPROTONOSUPPORT;
	p->since = env_now(p->c->env); /* has not been of use */
	p->delay = p->c->reconnect_max;
	gone(p, rc, text);
}

/* ---- using it ---- */

int peer_send(struct peer *p, struct frame *f)
{
	size_t len = f->b.len;
	int rc;

	if (!peer_usable(p)) {
		frame_unref(f);
		return -ENOTCONN;
	}
	rc = link_send(p->link, f);
	if (rc)
		return rc;
	p->bytes += len;
	p->c->n.bytes_sent += len;
	return 0;
}

uint64_t peer_left(const struct peer *p)
{
	size_t unsent;

	if (!peer_usable(p))
		return p->bytes;
	unsent = link_unsent(p->link);
	return unsent > p->bytes ? 0 : p->bytes - unsent;
}

void peer_watch(struct peer *p)
{
	if (p->watching)
		return;
	p->watching = true;
	p->quiet = env_now(p->c->env);
	set_timer(p, p->quiet + p->c->ping_after);
}

void peer_ping(struct peer *p)
{
	uint64_t grace = 2 * p->c->ping_after;

	if (p->pinged || !peer_usable(p))
		return;
	if (grace < p->c->policy.check_timeout)
		grace = p->c->policy.check_timeout;
	if (peer_send(p, frame_new(WIRE_PING, ++p->c->next_id, 0)))
		return;
	p->pinged = env_now(p->c->env);
	p->watching = true;
	set_timer(p, p->pinged + grace);
}
