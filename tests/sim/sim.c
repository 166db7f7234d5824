/*
 * The world's clock, events and hosts. Links are in sim_link.c.
 *
 * Everything that will happen is an event in one tree ordered by (time, sequence); an event may
 * belong to a host, and goes with it when the host is killed. A host's generation tells late echoes
 * of an earlier life from the present one.
 */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "tests/sim/sim_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

static int event_cmp(struct sim_event *a, struct sim_event *b)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->seq < b->seq ? -1 : a->seq > b->seq;
}

RB_GENERATE_INTERNAL(sim_events, sim_event, entry, event_cmp, static __attribute__((unused)))

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t sim_random(struct sim *s)
{
	return next_random(&s->rng);
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
	return n ? sim_random(s) % n : 0;
}

bool sim_chance(struct sim *s, unsigned per_mille)
{
	return sim_below(s, 1000) < per_mille;
}

uint64_t sim_between(struct sim *s, uint64_t min, uint64_t max)
{
	return max > min ? min + sim_below(s, max - min + 1) : min;
}

struct sim_event *sim_schedule(struct sim *s, struct sim_host *h, uint64_t at,
	void (*run)(struct sim_event *ev), void *arg)
{
	struct sim_event *ev = mem_zalloc(sizeof(*ev));

	ev->at = at > s->now ? at : s->now;
	ev->seq = ++s->seq;
	ev->host = h;
	ev->run = run;
	ev->arg = arg;
	RB_INSERT(sim_events, &s->events, ev);
	return ev;
}

void sim_unschedule(struct sim *s, struct sim_event *ev)
{
	RB_REMOVE(sim_events, &s->events, ev);
	free(ev);
}

struct sim *sim_new(uint64_t seed)
{
	struct sim *s = mem_zalloc(sizeof(*s));

	s->rng = seed * UINT64_C(0xd1342543de82ef95) + 1;
	s->now = 1000 * ENV_SEC;
	s->net = (struct sim_net){
		.delay_min = 50000,
		.delay_max = 500000,
		.job_min = 20000,
		.job_max = 2 * ENV_MS,
	};
	TAILQ_INIT(&s->hosts);
	TAILQ_INIT(&s->listeners);
	TAILQ_INIT(&s->links);
	RB_INIT(&s->events);
	return s;
}

void sim_free(struct sim *s)
{
	struct sim_host *h;
	struct sim_event *ev;

	if (!s)
		return;
	TAILQ_FOREACH (h, &s->hosts, entry)
		sim_host_kill(h, true);
	while ((ev = RB_MIN(sim_events, &s->events))) {
		if (ev->fini)
			ev->fini(ev);
		sim_unschedule(s, ev);
	}
	sim_links_free(s);
	while ((h = TAILQ_FIRST(&s->hosts))) {
		TAILQ_REMOVE(&s->hosts, h, entry);
		free(h);
	}
	free(s);
}

uint64_t sim_now(const struct sim *s)
{
	return s->now;
}

struct sim_net *sim_net(struct sim *s)
{
	return &s->net;
}

bool sim_seed_bursts(uint64_t seed)
{
	return seed % 13 == 4 || seed % 13 == 5;
}

const struct sim_counts *sim_counts(const struct sim *s)
{
	return &s->counts;
}

static void run_tasks(struct sim_host *h)
{
	struct env_task *t;

	while ((t = TAILQ_FIRST(&h->tasks))) {
		TAILQ_REMOVE(&h->tasks, t, entry);
		t->queued = false;
		t->run(t);
	}
}

static void timer_run(struct sim_event *ev);

bool sim_step(struct sim *s)
{
	struct sim_event *ev = RB_MIN(sim_events, &s->events), *next;
	struct sim_host *h;

	if (!ev)
		return false;
	RB_REMOVE(sim_events, &s->events, ev);
	h = ev->host;
	if (ev->at > s->now)
		s->now = ev->at;
	if (h && h->paused_until > s->now) {
		ev->at = h->paused_until + (h->timers_first && ev->run != timer_run ? 1 : 0);
		ev->seq = ++s->seq;
		RB_INSERT(sim_events, &s->events, ev);
		return true;
	}
	s->counts.events++;
	ev->run(ev);
	free(ev);
	next = s->net.bursts ? RB_MIN(sim_events, &s->events) : NULL;
	if (h && !(next && next->host == h && next->at <= s->now))
		run_tasks(h);
	return true;
}

void sim_run(struct sim *s, uint64_t ns)
{
	uint64_t until = s->now + ns;
	struct sim_event *ev;

	while ((ev = RB_MIN(sim_events, &s->events)) && ev->at <= until)
		sim_step(s);
	s->now = until;
}

bool sim_wait(struct sim *s, const bool *flag, uint64_t limit)
{
	uint64_t until = s->now + limit;
	struct sim_event *ev;

	while (!*flag && (ev = RB_MIN(sim_events, &s->events)) && ev->at <= until)
		sim_step(s);
	return *flag;
}

struct after {
	void (*fn)(void *arg);
	void *arg;
};

static void after_fini(struct sim_event *ev)
{
	free(ev->arg);
}

static void after_run(struct sim_event *ev)
{
	struct after a = *(struct after *)ev->arg;

	free(ev->arg);
	a.fn(a.arg);
}

void sim_after(struct sim *s, uint64_t ns, void (*fn)(void *arg), void *arg)
{
	struct after *a = mem_zalloc(sizeof(*a));
	struct sim_event *ev;

	a->fn = fn;
	a->arg = arg;
	ev = sim_schedule(s, NULL, s->now + ns, after_run, a);
	ev->fini = after_fini;
}

/* ---- the env of a host ---- */

static uint64_t clock_of(const struct sim_host *h, uint64_t now)
{
	uint64_t gone = now - h->clock_from;

	return h->clock_at + gone + (uint64_t)((int64_t)(gone / 1000) * h->ppm / 1000);
}

/* The world's time when the host's clock first shows @deadline. */
static uint64_t when_clock_shows(const struct sim_host *h, uint64_t deadline)
{
	uint64_t gone, at;

	if (!h->ppm || deadline <= h->clock_at)
		return h->clock_from + (deadline > h->clock_at ? deadline - h->clock_at : 0);
	if (deadline - h->clock_at > UINT64_MAX / 2)
		return UINT64_MAX;
	gone = deadline - h->clock_at;
	at = h->clock_from + (uint64_t)((__uint128_t)gone * 1000000 / (uint64_t)(1000000 + h->ppm));
	while (clock_of(h, at) < deadline)
		at += 1 + (deadline - clock_of(h, at)) / 2;
	return at;
}

static uint64_t host_now(struct env *e)
{
	struct sim_host *h = sim_host_of(e);

	return clock_of(h, h->sim->now);
}

static uint64_t host_wall(struct env *e)
{
	struct sim_host *h = sim_host_of(e);

	return UINT64_C(1600000000) * ENV_SEC + h->sim->now + (uint64_t)h->wall;
}

static void host_random(struct env *e, void *out, size_t len)
{
	struct sim_host *h = sim_host_of(e);
	uint8_t *p = out;

	while (len) {
		uint64_t v = next_random(&h->rng);
		size_t n = min_size(len, sizeof(v));

		memcpy(p, &v, n);
		p += n;
		len -= n;
	}
}

static void timer_run(struct sim_event *ev)
{
	struct env_timer *t = ev->arg;

	t->impl = NULL;
	t->armed = false;
	t->fire(t);
}

static void timer_fini(struct sim_event *ev)
{
	struct env_timer *t = ev->arg;

	t->impl = NULL;
	t->armed = false;
}

static void host_timer_clear(struct env *e, struct env_timer *t)
{
	if (t->impl)
		sim_unschedule(sim_host_of(e)->sim, t->impl);
	t->impl = NULL;
	t->armed = false;
}

static void host_timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	struct sim_host *h = sim_host_of(e);
	struct sim_event *ev;

	host_timer_clear(e, t);
	if (!h->alive)
		return;
	ev = sim_schedule(h->sim, h, when_clock_shows(h, deadline), timer_run, t);
	ev->fini = timer_fini;
	t->impl = ev;
	t->armed = true;
}

/* Tasks run when the event that posted them ends. A post from outside any event of this host (the
 * test itself) needs an event to carry it. */
static void nothing(struct sim_event *ev)
{
	(void)ev;
}

static void host_post(struct env *e, struct env_task *t)
{
	struct sim_host *h = sim_host_of(e);

	if (t->queued || !h->alive)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&h->tasks, t, entry);
	sim_schedule(h->sim, h, h->sim->now, nothing, NULL);
}

static void host_unpost(struct env *e, struct env_task *t)
{
	if (!t->queued)
		return;
	t->queued = false;
	TAILQ_REMOVE(&sim_host_of(e)->tasks, t, entry);
}

static void job_done(struct sim_event *ev)
{
	struct env_job *j = ev->arg;

	j->done(j);
}

/* work() runs when the job's time is up; a lane keeps order because each of its jobs begins where
 * the one before ended. done() is an event of its own: a crash may come between. */
static void job_run(struct sim_event *ev)
{
	struct env_job *j = ev->arg;

	j->work(j);
	sim_schedule(ev->host->sim, ev->host, ev->at, job_done, j);
}

static void host_job(struct env *e, struct env_job *j)
{
	struct sim_host *h = sim_host_of(e);
	struct sim *s = h->sim;
	uint64_t start = s->now;
	struct sim_lane *lane = NULL;

	if (!h->alive)
		return;
	if (j->lane) {
		for (size_t i = 0; i < h->nlanes; i++)
			if (h->lane[i].key == j->lane)
				lane = &h->lane[i];
		if (!lane) {
			/* lanes that are idle are forgotten first */
			for (size_t i = 0; i < h->nlanes && !lane; i++)
				if (h->lane[i].busy_until < s->now)
					lane = &h->lane[i];
			if (!lane) {
				assert(h->nlanes < SIM_LANES);
				lane = &h->lane[h->nlanes++];
			}
			lane->key = j->lane;
			lane->busy_until = 0;
		}
		if (lane->busy_until > start)
			start = lane->busy_until;
	}
	start = sim_burst_at(s, start + sim_between(s, s->net.job_min, s->net.job_max));
	if (lane)
		lane->busy_until = start + 1;
	sim_schedule(s, h, start, job_run, j);
}

static const struct env_ops host_ops = {
	.now = host_now,
	.wall = host_wall,
	.random = host_random,
	.timer_set = host_timer_set,
	.timer_clear = host_timer_clear,
	.post = host_post,
	.unpost = host_unpost,
	.job = host_job,
	.connect = sim_link_connect,
	.listen = sim_link_listen,
	.unlisten = sim_link_unlisten,
	.listener_addr = sim_link_listener_addr,
};

struct sim_host *sim_host_new(struct sim *s, const char *name)
{
	struct sim_host *h = mem_zalloc(sizeof(*h));

	h->env.ops = &host_ops;
	h->sim = s;
	h->alive = true;
	h->rng = sim_random(s);
	h->clock_at = h->clock_from = s->now;
	snprintf(h->name, sizeof(h->name), "%s", name);
	TAILQ_INIT(&h->tasks);
	TAILQ_INSERT_TAIL(&s->hosts, h, entry);
	return h;
}

struct env *sim_env(struct sim_host *h)
{
	return &h->env;
}

const char *sim_host_name(const struct sim_host *h)
{
	return h->name;
}

/* What a worker has in hand goes with its process: nobody will free it. */
static void job_lost(const struct sim_event *ev)
{
#ifdef __SANITIZE_ADDRESS__
	if (ev->run == job_run || ev->run == job_done)
		__lsan_ignore_object(ev->arg);
#else
	(void)ev;
#endif
}

void sim_host_kill(struct sim_host *h, bool silent)
{
	struct sim *s = h->sim;
	struct sim_event *ev, *next;
	struct env_task *t;

	if (!h->alive)
		return;
	s->counts.kills++;
	h->alive = false;
	h->nlanes = 0;
	h->paused_until = 0;
	sim_links_of_killed(h, silent);
	for (ev = RB_MIN(sim_events, &s->events); ev; ev = next) {
		next = RB_NEXT(sim_events, &s->events, ev);
		if (ev->host != h)
			continue;
		job_lost(ev);
		if (ev->fini)
			ev->fini(ev);
		sim_unschedule(s, ev);
	}
	while ((t = TAILQ_FIRST(&h->tasks))) {
		TAILQ_REMOVE(&h->tasks, t, entry);
		t->queued = false;
	}
}

void sim_host_start(struct sim_host *h)
{
	h->alive = true;
}

void sim_host_pause(struct sim_host *h, uint64_t ns)
{
	h->paused_until = h->sim->now + ns;
	h->timers_first = sim_chance(h->sim, 500);
}

void sim_host_wall(struct sim_host *h, int64_t ns)
{
	h->wall = ns;
}

void sim_host_clock(struct sim_host *h, uint64_t at, int ppm)
{
	h->clock_at = at;
	h->clock_from = h->sim->now;
	h->ppm = ppm;
}
