/*
 * States: connecting -> greeting (HELLO sent) -> idle <-> asking; any -> down. What ends a wait is
 * the answer, the link going down, an ERROR from the node, or the timer.
 */
#include "tools/common/probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"

struct probe {
	struct loop *lp;
	struct link *link;
	struct env_timer timer;
	uint64_t timeout;
	uint64_t id;          /* of the question asked last */
	struct frame *answer; /* to it */
	int down;             /* why there is no link any more */
	bool up, greeted, late;
	struct wire_hello hello;
	char text[256]; /* of an ERROR */
};

static void on_up(struct link *l, void *arg)
{
	struct probe *p = arg;

	(void)l;
	p->up = true;
	loop_stop(p->lp);
}

static void on_down(struct link *l, int rc, void *arg)
{
	struct probe *p = arg;

	(void)l;
	p->down = rc ? rc : -ECONNRESET;
	loop_stop(p->lp);
}

static void take_error(struct probe *p, struct frame *f)
{
	struct wire_error e;

	if (!wire_get_error(frame_cur(f), &e))
		snprintf(p->text, sizeof(p->text), "%.*s", (int)e.text_len, e.text);
	p->down = wire_errno(e.status);
	if (!p->down)
		p->down = -EPROTO;
}

static void on_message(struct link *l, struct frame *f, void *arg)
{
	struct probe *p = arg;

	(void)l;
	if (f->type == WIRE_ERROR) {
		take_error(p, f);
	} else if (f->type == WIRE_HELLO && !p->greeted) {
		p->greeted = !wire_get_hello(frame_cur(f), &p->hello);
		if (!p->greeted)
			p->down = -EPROTO;
	} else if (f->id && f->id == p->id && !p->answer) {
		p->answer = frame_ref(f);
	} else {
		return; /* not for us */
	}
	loop_stop(p->lp);
}

static const struct link_events events = {.up = on_up, .message = on_message, .down = on_down};

static void on_late(struct env_timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);

	p->late = true;
	loop_stop(p->lp);
}

/* Runs the loop until *what is true. */
static int wait_for(struct probe *p, const bool *what)
{
	struct env *e = loop_env(p->lp);

	p->late = false;
	env_timer_set(e, &p->timer, env_now(e) + p->timeout);
	while (!*what && !p->down && !p->late)
		loop_run(p->lp);
	env_timer_clear(e, &p->timer);
	if (*what)
		return 0;
	return p->down ? p->down : -ETIMEDOUT;
}

int probe_ask(struct probe *p, struct frame *f, struct frame **answer)
{
	struct env *e = loop_env(p->lp);
	int rc;

	if (p->down) {
		frame_unref(f);
		return p->down;
	}
	f->id = ++p->id;
	p->late = false;
	rc = link_send(p->link, f);
	if (rc)
		return rc;
	env_timer_set(e, &p->timer, env_now(e) + p->timeout);
	while (!p->answer && !p->down && !p->late)
		loop_run(p->lp);
	env_timer_clear(e, &p->timer);
	*answer = p->answer;
	p->answer = NULL;
	if (*answer)
		return 0;
	return p->down ? p->down : -ETIMEDOUT;
}

static int greet(struct probe *p)
{
	struct wire_hello me = {
		.version = WIRE_VERSION, .version_min = WIRE_VERSION_MIN, .role = WIRE_ROLE_ADMIN};
	struct frame *f = frame_new(WIRE_HELLO, 0, 128);
	int rc;

	wire_put_hello(&f->b, &me);
	rc = link_send(p->link, f);
	return rc ? rc : wait_for(p, &p->greeted);
}

int probe_open(struct probe **out, struct loop *lp, const char *addr, uint64_t timeout, char *why,
	size_t why_len)
{
	struct probe *p = mem_zalloc(sizeof(*p));
	int rc;

	p->lp = lp;
	p->timeout = timeout ? timeout : 3600 * ENV_SEC;
	p->timer.fire = on_late;
	rc = env_connect(loop_env(lp), addr, &events, p, &p->link);
	if (rc) {
		snprintf(why, why_len, "%s: not an address: want HOST:PORT", addr);
		free(p);
		return rc;
	}
	rc = wait_for(p, &p->up);
	if (!rc)
		rc = greet(p);
	if (!rc && p->hello.version_min > WIRE_VERSION)
		rc = -EPROTONOSUPPORT;
	if (rc) {
		snprintf(why, why_len, "%s: %s", addr, *p->text ? p->text : strerror(-rc));
		probe_close(p);
		return rc;
	}
	*out = p;
	return 0;
}

void probe_close(struct probe *p)
{
	if (!p)
		return;
	frame_unref(p->answer);
	if (p->link)
		link_close(p->link);
	free(p);
}

const struct wire_hello *probe_hello(const struct probe *p)
{
	return &p->hello;
}

int64_t probe_ping(struct probe *p)
{
	struct env *e = loop_env(p->lp);
	uint64_t begin = env_now(e);
	struct frame *answer;
	int rc = probe_ask(p, frame_new(WIRE_PING, 0, 0), &answer);

	if (rc)
		return rc;
	frame_unref(answer);
	return (int64_t)(env_now(e) - begin);
}

int probe_map(struct probe *p, struct ring_map **out)
{
	struct frame *f = frame_new(WIRE_MAP_GET, 0, 16), *answer;
	struct wire_map m;
	int rc;

	wire_put_map_get(&f->b, 0);
	rc = probe_ask(p, f, &answer);
	if (rc)
		return rc;
	rc = answer->type == WIRE_MAP ? wire_get_map(frame_cur(answer), &m) : -EPROTO;
	if (!rc)
		rc = m.form == WIRE_MAP_WHOLE ? ring_decode(m.map, m.map_len, out) : -ENOENT;
	frame_unref(answer);
	return rc;
}

int probe_keeper(
	struct probe *p, const struct wire_ask_m *m, uint64_t *epoch, char *text, size_t text_len)
{
	struct frame *f = frame_new(WIRE_ASK, 0, 256), *answer;
	struct wire_reply r;
	int rc;

	*text = 0;
	wire_put_ask(&f->b, m);
	rc = probe_ask(p, f, &answer);
	if (rc)
		return rc;
	rc = answer->type == WIRE_REPLY ? wire_get_reply(frame_cur(answer), &r) : -EPROTO;
	if (!rc) {
		rc = wire_errno(r.status);
		*epoch = r.epoch;
		if (rc)
			snprintf(text, text_len, "%.*s", (int)r.results_len,
				(const char *)r.results);
	}
	frame_unref(answer);
	return rc;
}

int probe_stats(struct probe *p,
	void (*fn)(void *arg, const char *name, size_t nlen, const char *text, size_t tlen),
	void *arg)
{
	struct frame *answer;
	int rc = probe_ask(p, frame_new(WIRE_STATUS, 0, 0), &answer);

	if (rc)
		return rc;
	rc = answer->type == WIRE_STATS ? wire_get_stats(frame_cur(answer), fn, arg) : -EPROTO;
	frame_unref(answer);
	return rc;
}
