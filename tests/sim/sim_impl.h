/* sim_impl: what sim.c and sim_link.c share. */
#ifndef ORBIT_SIM_IMPL_H
#define ORBIT_SIM_IMPL_H

#include <bsd/sys/tree.h>

#include "dht/base/mem.h"
#include "tests/sim/sim.h"

#define SIM_LANES 64

struct sim_event {
	uint64_t at, seq;
	struct sim_host *host; /* NULL: the world's own */
	void (*run)(struct sim_event *ev);
	void (*fini)(struct sim_event *ev); /* it will never run: let go of arg; may be NULL */
	void *arg;
	RB_ENTRY(sim_event) entry;
};
RB_HEAD(sim_events, sim_event);

struct sim_lane {
	const void *key;
	uint64_t busy_until;
};

struct sim_host {
	struct env env; /* first */
	struct sim *sim;
	char name[64];
	bool alive;
	uint64_t rng;
	uint64_t paused_until;
	bool timers_first; /* after the pause */
	/* its clock shows clock_at + (now - clock_from) * (10^6 + ppm) / 10^6 */
	uint64_t clock_at, clock_from;
	int ppm;
	int64_t wall; /* its time of day is so much ahead */
	TAILQ_HEAD(, env_task) tasks;
	struct sim_lane lane[SIM_LANES];
	size_t nlanes;
	TAILQ_ENTRY(sim_host) entry;
};

struct sim_link;
struct env_listener;

#define SIM_CUTS_MAX 256
struct sim_cut_pair {
	struct sim_host *a, *b;
	bool silent;
	bool oneway; /* b hears nothing of a */
};

struct sim_slow_pair {
	struct sim_host *a, *b;
	uint64_t ns;
};

struct sim_lose {
	struct sim_host *from, *to;
	uint16_t type;
};

struct sim {
	uint64_t now, seq, rng;
	struct sim_net net;
	struct sim_counts counts;
	struct sim_events events;
	TAILQ_HEAD(, sim_host) hosts;
	TAILQ_HEAD(, env_listener) listeners;
	TAILQ_HEAD(, sim_link) links;
	struct sim_cut_pair cut[SIM_CUTS_MAX];
	size_t ncuts;
	struct sim_slow_pair slow[SIM_CUTS_MAX];
	size_t nslow;
	struct sim_lose lose[SIM_CUTS_MAX];
	size_t nlose;
};

static inline struct sim_host *sim_host_of(struct env *e)
{
	return container_of(e, struct sim_host, env);
}

/* When what happens at @at is noticed. */
static inline uint64_t sim_burst_at(const struct sim *s, uint64_t at)
{
	return s->net.bursts ? (at + SIM_BURST - 1) / SIM_BURST * SIM_BURST : at;
}

uint64_t sim_between(struct sim *s, uint64_t min, uint64_t max);
struct sim_event *sim_schedule(struct sim *s, struct sim_host *h, uint64_t at,
	void (*run)(struct sim_event *ev), void *arg);
void sim_unschedule(struct sim *s, struct sim_event *ev);

/* sim_link.c */
int sim_link_connect(struct env *e, const char *addr, const struct link_events *ev, void *arg,
	struct link **out);
int sim_link_listen(
	struct env *e, const char *addr, env_accept_cb *cb, void *arg, struct env_listener **out);
void sim_link_unlisten(struct env *e, struct env_listener *l);
const char *sim_link_listener_addr(const struct env_listener *l);
void sim_links_of_killed(struct sim_host *h, bool silent);
void sim_links_free(struct sim *s);

#endif
