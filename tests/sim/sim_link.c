/*
 * Links between hosts.
 *
 * A connection is two halves that know each other. What arrives at a half waits in its inbox in
 * order; an event per item takes one out. A half lives until its owner closed it and no event names
 * it.
 *
 *   state      meaning                                   leaves by
 *   CONNECTING up() or down() will be told               connected, refused, timed out, closed
 *   UP         send and receive                          break, close by either side
 *   BROKEN     down() will be told; nothing else passes  down() told
 *   DOWN       down() was told                           close
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_impl.h"

enum half_state { HALF_CONNECTING, HALF_UP, HALF_BROKEN, HALF_DOWN };

struct inbox_item {
	uint8_t *bytes; /* NULL: the other side closed */
	size_t len;
	TAILQ_ENTRY(inbox_item) entry;
};

struct sim_link {
	struct link l;                 /* first */
	struct sim_host *host, *other; /* other: the host at the far end; NULL: not known yet */
	struct sim_link *peer;
	enum half_state state;
	bool closed; /* by its owner */
	int down_rc;
	unsigned refs;            /* events that name it, the peer, and the owner */
	uint64_t last_at;         /* when the last item arrives: nothing overtakes it */
	uint64_t retry_at, retry; /* while cut: when it is sent again, and how long that took */
	char addr[ENV_ADDR_MAX];
	TAILQ_HEAD(, inbox_item) inbox;
	TAILQ_ENTRY(sim_link) entry;
};

struct env_listener {
	struct sim_host *host;
	char addr[ENV_ADDR_MAX];
	env_accept_cb *cb;
	void *arg;
	TAILQ_ENTRY(env_listener) entry;
};

static const struct link_ops half_ops;

static void half_unref(struct sim_link *h)
{
	struct inbox_item *it;

	if (--h->refs)
		return;
	while ((it = TAILQ_FIRST(&h->inbox))) {
		TAILQ_REMOVE(&h->inbox, it, entry);
		free(it->bytes);
		free(it);
	}
	TAILQ_REMOVE(&h->host->sim->links, h, entry);
	free(h);
}

static void half_event_fini(struct sim_event *ev)
{
	half_unref(ev->arg);
}

static void half_schedule(
	struct sim_link *h, uint64_t at, void (*run)(struct sim_event *ev), struct sim_host *on)
{
	struct sim_event *ev;

	h->refs++;
	ev = sim_schedule(h->host->sim, on, at, run, h);
	ev->fini = half_event_fini;
}

static struct sim_link *half_new(
	struct sim_host *host, const struct link_events *ev, void *arg, const char *peer)
{
	struct sim_link *h = mem_zalloc(sizeof(*h));

	h->l.ops = &half_ops;
	h->l.events = ev;
	h->l.arg = arg;
	snprintf(h->l.peer, sizeof(h->l.peer), "%s", peer);
	h->host = host;
	h->refs = 1;
	TAILQ_INIT(&h->inbox);
	TAILQ_INSERT_TAIL(&host->sim->links, h, entry);
	return h;
}

static uint64_t link_delay(struct sim_host *a, struct sim_host *b)
{
	struct sim *s = a->sim;

	uint64_t more = 0;

	for (size_t i = 0; i < s->nslow; i++)
		if (s->slow[i].a == a && s->slow[i].b == b)
			more = sim_below(s, s->slow[i].ns);
	return a == b ? 0 : more + sim_between(s, s->net.delay_min, s->net.delay_max);
}

/* The cut between two, in whichever direction. */
static struct sim_cut_pair *find_cut(struct sim_host *a, struct sim_host *b)
{
	struct sim *s = a->sim;

	for (size_t i = 0; b && i < s->ncuts; i++) {
		struct sim_cut_pair *c = &s->cut[i];

		if ((c->a == a && c->b == b) || (c->a == b && c->b == a))
			return c;
	}
	return NULL;
}

/* Does something keep what @from sends from reaching @to? */
static bool is_cut(struct sim_host *from, struct sim_host *to)
{
	struct sim_cut_pair *c = from ? find_cut(from, to) : NULL;

	return c && (!c->oneway || c->a == from);
}

static void down_run(struct sim_event *ev)
{
	struct sim_link *h = ev->arg;

	if (!h->closed && h->state == HALF_BROKEN) {
		h->state = HALF_DOWN;
		h->l.events->down(&h->l, h->down_rc, h->l.arg);
	}
	half_unref(h);
}

static void inbox_drop(struct sim_link *h)
{
	struct inbox_item *it;

	while ((it = TAILQ_FIRST(&h->inbox))) {
		TAILQ_REMOVE(&h->inbox, it, entry);
		h->host->sim->counts.lost += it->bytes != NULL;
		free(it->bytes);
		free(it);
	}
}

/* This half will be told down(@rc) at @at; nothing passes any more. */
static void half_break(struct sim_link *h, int rc, uint64_t at)
{
	if (h->state == HALF_BROKEN || h->state == HALF_DOWN)
		return;
	h->state = HALF_BROKEN;
	h->down_rc = rc;
	inbox_drop(h);
	if (h->host->alive && !h->closed)
		half_schedule(h, at, down_run, h->host);
}

static void pair_break(struct sim_link *h, int rc)
{
	uint64_t now = h->host->sim->now;

	if (h->peer)
		half_break(h->peer, rc, now + link_delay(h->host, h->peer->host));
	half_break(h, rc, now + (h->other ? link_delay(h->host, h->other) : 0));
}

/* ---- receiving ---- */

static struct frame *frame_of_bytes(const uint8_t *bytes, size_t len, int *rc)
{
	struct frame *f;
	size_t body;

	*rc = frame_peek(bytes, &body);
	if (*rc)
		return NULL;
	if (body != len - FRAME_HEAD) {
		*rc = -EPROTO;
		return NULL;
	}
	f = frame_from_head(bytes, body);
	if (!f) {
		*rc = -ENOMEM;
		return NULL;
	}
	if (body)
		memcpy(f->b.data + FRAME_HEAD, bytes + FRAME_HEAD, body);
	*rc = frame_verify(f);
	if (*rc) {
		frame_unref(f);
		return NULL;
	}
	return f;
}

static void arrive_run(struct sim_event *ev);

/* As TCP would: again later, and later each time. */
static void retry_later(struct sim_link *h)
{
	uint64_t now = h->host->sim->now;

	if (h->retry_at <= now) {
		h->retry = h->retry ? 2 * h->retry : 200 * ENV_MS;
		h->retry_at = now + h->retry;
	}
	half_schedule(h, h->retry_at, arrive_run, h->host);
}

static void arrive_run(struct sim_event *ev)
{
	struct sim_link *h = ev->arg;
	struct sim *s = h->host->sim;
	struct inbox_item *it = TAILQ_FIRST(&h->inbox);
	struct frame *f;
	int rc;

	if (h->closed || h->state != HALF_UP || !it)
		goto out;
	if (is_cut(h->other, h->host)) {
		retry_later(h);
		goto out;
	}
	h->retry = 0;
	TAILQ_REMOVE(&h->inbox, it, entry);
	if (!it->bytes) {
		free(it);
		h->state = HALF_BROKEN;
		h->down_rc = -ECONNRESET;
		h->refs++; /* down_run() drops it */
		down_run(ev);
		goto out;
	}
	if (sim_below(s, 1000000) < s->net.corrupt_ppm) {
		s->counts.corrupted++;
		it->bytes[sim_below(s, it->len)] ^= (uint8_t)(1u << sim_below(s, 8));
	}
	f = frame_of_bytes(it->bytes, it->len, &rc);
	free(it->bytes);
	free(it);
	if (!f) {
		pair_break(h, rc);
		goto out;
	}
	h->l.events->message(&h->l, f, h->l.arg);
	frame_unref(f);
out:
	half_unref(h);
}

static void inbox_add(struct sim_link *h, uint8_t *bytes, size_t len)
{
	struct inbox_item *it = mem_zalloc(sizeof(*it));
	struct sim *s = h->host->sim;
	uint64_t at = sim_burst_at(s, s->now + link_delay(h->other, h->host));

	it->bytes = bytes;
	it->len = len;
	TAILQ_INSERT_TAIL(&h->inbox, it, entry);
	if (at <= h->last_at)
		at = s->net.bursts ? sim_burst_at(s, h->last_at) : h->last_at + 1;
	h->last_at = at;
	half_schedule(h, at, arrive_run, h->host);
}

static bool must_lose(struct sim_link *from, uint16_t type)
{
	struct sim *s = from->host->sim;

	for (size_t i = 0; i < s->nlose; i++) {
		struct sim_lose *x = &s->lose[i];

		if (x->from != from->host || x->to != from->other || (x->type && x->type != type))
			continue;
		*x = s->lose[--s->nlose];
		return true;
	}
	return false;
}

/* The far end closed (it was told so already), or its machine lost power: nobody says anything, or,
 * once the machine is back, it says that it knows of no such connection. */
static void send_to_nobody(struct sim_link *h)
{
	struct sim *s = h->host->sim;

	s->counts.lost++;
	if (h->other && h->other->alive && !find_cut(h->host, h->other))
		half_break(h, -ECONNRESET, s->now + 2 * link_delay(h->host, h->other));
}

static int half_send(struct link *l, struct frame *f)
{
	struct sim_link *h = container_of(l, struct sim_link, l);
	struct sim *s = h->host->sim;
	int rc = 0;

	if (h->state != HALF_UP || !h->host->alive) {
		rc = -ENOTCONN;
		goto out;
	}
	rc = frame_seal(f);
	if (rc)
		goto out;
	s->counts.frames++;
	if (!h->peer) {
		send_to_nobody(h);
		goto out;
	}
	if (must_lose(h, f->type)) {
		s->counts.lost++;
		pair_break(h, -ECONNRESET);
		goto out;
	}
	if (h->peer->state == HALF_UP)
		inbox_add(h->peer, mem_dup(f->b.data, f->b.len), f->b.len);
out:
	frame_unref(f);
	return rc;
}

static void half_close(struct link *l)
{
	struct sim_link *h = container_of(l, struct sim_link, l);
	struct sim_link *peer = h->peer;

	h->closed = true;
	h->peer = NULL;
	if (peer) {
		peer->peer = NULL;
		if (peer->state == HALF_UP && peer->host->alive)
			inbox_add(peer, NULL, 0);
		else if (peer->state == HALF_CONNECTING)
			half_break(peer, -ECONNRESET, h->host->sim->now);
	}
	half_unref(h);
}

static size_t half_unsent(const struct link *l)
{
	(void)l;
	return 0;
}

static const struct link_ops half_ops = {
	.send = half_send,
	.close = half_close,
	.unsent = half_unsent,
};

/* ---- connecting ---- */

static struct env_listener *find_listener(struct sim_host *from, const char *addr)
{
	struct env_listener *l;
	bool local = !strncmp(addr, "local:", 6);

	TAILQ_FOREACH (l, &from->sim->listeners, entry)
		if (!strcmp(l->addr, addr) && l->host->alive && (!local || l->host == from))
			return l;
	return NULL;
}

/* The host that an address "name:..." names, alive or not. */
static struct sim_host *find_host(struct sim_host *from, const char *addr)
{
	const char *colon = strchr(addr, ':');
	struct sim_host *h;

	if (!strncmp(addr, "local:", 6))
		return from;
	TAILQ_FOREACH (h, &from->sim->hosts, entry)
		if (colon && strlen(h->name) == (size_t)(colon - addr) &&
			!strncmp(h->name, addr, strlen(h->name)))
			return h;
	return NULL;
}

static void up_run(struct sim_event *ev)
{
	struct sim_link *h = ev->arg;

	if (!h->closed && h->state == HALF_CONNECTING) {
		h->state = HALF_UP;
		h->l.events->up(&h->l, h->l.arg);
	}
	half_unref(h);
}

/* On the listener's side: the connection arrives. */
static void reach_run(struct sim_event *ev)
{
	struct sim_link *h = ev->arg;
	struct sim *s = h->host->sim;
	struct env_listener *l = find_listener(h->host, h->addr);
	struct sim_cut_pair *cut = find_cut(h->host, h->other);
	struct sim_link *p;
	char from[ENV_ADDR_MAX];

	if (h->closed || h->state != HALF_CONNECTING)
		goto out;
	if (cut && cut->silent) { /* asked again after 1, 3 and 7 s, as TCP does */
		h->retry = h->retry ? 2 * h->retry : ENV_SEC;
		if (h->retry > 4 * ENV_SEC)
			half_break(h, -ETIMEDOUT, s->now + 3 * ENV_SEC);
		else
			half_schedule(h, s->now + h->retry, reach_run, NULL);
		goto out;
	}
	h->retry = 0;
	if (!l || cut) {
		s->counts.refused++;
		half_break(
			h, -ECONNREFUSED, s->now + (h->other ? link_delay(h->host, h->other) : 0));
		goto out;
	}
	snprintf(from, sizeof(from), "%s:%u", h->host->name, (unsigned)(s->seq & 0xffff));
	p = half_new(l->host, NULL, NULL, from);
	p->other = h->host;
	p->state = HALF_UP;
	p->peer = h;
	h->peer = p;
	half_schedule(h, s->now + link_delay(h->host, l->host), up_run, h->host);
	h->last_at = s->now + link_delay(h->host, l->host) + s->net.delay_max;
	l->cb(&p->l, l->arg);
out:
	half_unref(h);
}

int sim_link_connect(
	struct env *e, const char *addr, const struct link_events *ev, void *arg, struct link **out)
{
	struct sim_host *host = sim_host_of(e);
	struct sim_link *h;

	if (!strchr(addr, ':') || strlen(addr) >= ENV_ADDR_MAX)
		return -EINVAL;
	host->sim->counts.connects++;
	h = half_new(host, ev, arg, addr);
	snprintf(h->addr, sizeof(h->addr), "%s", addr);
	h->state = HALF_CONNECTING;
	h->other = find_host(host, addr);
	if (host->alive)
		half_schedule(h, host->sim->now + (h->other ? link_delay(host, h->other) : 0),
			reach_run, NULL);
	*out = &h->l;
	return 0;
}

int sim_link_listen(
	struct env *e, const char *addr, env_accept_cb *cb, void *arg, struct env_listener **out)
{
	struct sim_host *host = sim_host_of(e);
	struct env_listener *l;

	if (!strchr(addr, ':') || strlen(addr) >= ENV_ADDR_MAX)
		return -EINVAL;
	if (find_listener(host, addr))
		return -EADDRINUSE;
	l = mem_zalloc(sizeof(*l));
	l->host = host;
	snprintf(l->addr, sizeof(l->addr), "%s", addr);
	l->cb = cb;
	l->arg = arg;
	TAILQ_INSERT_TAIL(&host->sim->listeners, l, entry);
	*out = l;
	return 0;
}

void sim_link_unlisten(struct env *e, struct env_listener *l)
{
	TAILQ_REMOVE(&sim_host_of(e)->sim->listeners, l, entry);
	free(l);
}

const char *sim_link_listener_addr(const struct env_listener *l)
{
	return l->addr;
}

/* ---- faults ---- */

void sim_links_of_killed(struct sim_host *host, bool silent)
{
	struct sim_link *h;

	TAILQ_FOREACH (h, &host->sim->links, entry) {
		if (h->host != host)
			continue;
		if (h->peer && h->peer->host != host) {
			h->peer->peer = NULL;
			/* what a cut held up would have had to be sent again */
			if (silent && is_cut(host, h->peer->host))
				inbox_drop(h->peer);
			if (!silent && !is_cut(host, h->peer->host))
				half_break(h->peer, -ECONNRESET,
					host->sim->now + link_delay(host, h->peer->host));
			h->peer = NULL;
		}
		h->state = HALF_DOWN;
	}
}

void sim_break(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	struct sim_link *h;

	TAILQ_FOREACH (h, &s->links, entry)
		if (h->host == a && h->other == b && h->state == HALF_UP)
			pair_break(h, -ECONNRESET);
	TAILQ_FOREACH (h, &s->links, entry)
		if (h->host == b && h->other == a && h->state == HALF_UP)
			pair_break(h, -ECONNRESET);
}

void sim_cut(struct sim *s, struct sim_host *a, struct sim_host *b, bool silent)
{
	if (find_cut(a, b) || s->ncuts == SIM_CUTS_MAX)
		return;
	s->counts.cuts++;
	if (!silent)
		sim_break(s, a, b);
	s->cut[s->ncuts++] = (struct sim_cut_pair){a, b, silent, false};
}

void sim_cut_oneway(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	if (find_cut(a, b) || s->ncuts == SIM_CUTS_MAX)
		return;
	s->counts.cuts++;
	s->cut[s->ncuts++] = (struct sim_cut_pair){a, b, true, true};
}

void sim_slow(struct sim *s, struct sim_host *a, struct sim_host *b, uint64_t ns)
{
	if (s->nslow < SIM_CUTS_MAX)
		s->slow[s->nslow++] = (struct sim_slow_pair){a, b, ns};
}

void sim_heal(struct sim *s, struct sim_host *a, struct sim_host *b)
{
	struct sim_cut_pair *c = find_cut(a, b);

	if (c)
		*c = s->cut[--s->ncuts];
}

void sim_heal_all(struct sim *s)
{
	s->ncuts = 0;
	s->nlose = 0;
	s->nslow = 0;
}

void sim_lose_next(struct sim *s, struct sim_host *from, struct sim_host *to, uint16_t type)
{
	if (s->nlose < SIM_CUTS_MAX)
		s->lose[s->nlose++] = (struct sim_lose){from, to, type};
}

/* What nobody closed goes now; events that name halves are gone with their hosts. */
void sim_links_free(struct sim *s)
{
	struct env_listener *l;
	struct sim_link *h;
	struct inbox_item *it;

	while ((l = TAILQ_FIRST(&s->listeners))) {
		TAILQ_REMOVE(&s->listeners, l, entry);
		free(l);
	}
	while ((h = TAILQ_FIRST(&s->links))) {
		while ((it = TAILQ_FIRST(&h->inbox))) {
			TAILQ_REMOVE(&h->inbox, it, entry);
			free(it->bytes);
			free(it);
		}
		TAILQ_REMOVE(&s->links, h, entry);
		free(h);
	}
}
