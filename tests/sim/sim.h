/*
 * sim: a world of hosts in one thread, on virtual time, from one seed.
 *
 * Each host is an env (net/env.h): what runs on it cannot tell it from the real loop. Links between
 * hosts are ordered and reliable until a fault is injected: delay, cut, silence, refusal,
 * corruption. Every frame crosses a link as bytes, sealed and checked again as TCP would carry it.
 * The same seed gives the same run. (After raft_io's fixture of canonical/raft and the simulator of
 * quicly.)
 */
#ifndef ORBIT_SIM_SIM_H
#define ORBIT_SIM_SIM_H

#include "dht/net/env.h"

struct sim;
struct sim_host;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *s);

/* Virtual time in ns; begins at an arbitrary value that is not 0. */
uint64_t sim_now(const struct sim *s);

/* Random numbers of the world (not of a host): faults and workloads draw from here. */
uint64_t sim_random(struct sim *s);
uint64_t sim_below(struct sim *s, uint64_t n); /* 0 .. n-1; 0 for n = 0 */
bool sim_chance(struct sim *s, unsigned per_mille);

/* Carries out the next event; false when there is none, ever. */
bool sim_step(struct sim *s);

/* Carries out events up to now + @ns, and sets the clock to that. */
void sim_run(struct sim *s, uint64_t ns);

/* Carries out events until *flag is true: true; false when @limit ns went by or nothing was left.
 */
bool sim_wait(struct sim *s, const bool *flag, uint64_t limit);

/* Calls fn(arg) at now + @ns, on no host. */
void sim_after(struct sim *s, uint64_t ns, void (*fn)(void *arg), void *arg);

/* ---- hosts ---- */

/* A host named @name (its addresses are "name:anything"). */
struct sim_host *sim_host_new(struct sim *s, const char *name);
struct env *sim_env(struct sim_host *h);
const char *sim_host_name(const struct sim_host *h);

/* The process on the host is gone: its events never happen, its links break (peers notice after a
 * link delay, or never if @silent: the machine lost power), connects are refused. The caller frees
 * what ran there, before or after. Jobs whose work has not run never run. */
void sim_host_kill(struct sim_host *h, bool silent);
/* A new process may use the env again. */
void sim_host_start(struct sim_host *h);

/* The process stops for @ns and goes on: its events wait. Afterwards what came meanwhile is told in
 * order, or timers before messages, as chance has it. */
void sim_host_pause(struct sim_host *h, uint64_t ns);

/* From now on the host's time of day (env_wall) is @ns ahead of the world's. */
void sim_host_wall(struct sim_host *h, int64_t ns);

/* From now on the host's clock (env_now) shows @at and gains @ppm millionths on the world's. */
void sim_host_clock(struct sim_host *h, uint64_t at, int ppm);

/* ---- links ---- */

struct sim_net {
	uint64_t delay_min, delay_max; /* ns one way; default 50 us .. 500 us */
	unsigned corrupt_ppm;          /* frames with a flipped bit; the receiver closes the link */
	uint64_t job_min, job_max;     /* ns that a job takes; default 20 us .. 2 ms */
	/* What comes at one instant is dealt with before the tasks that it posts, as in one round
	 * of the loop; and more comes at one instant: frames and ends of jobs wait for the next of
	 * those that are SIM_BURST apart. */
	bool bursts;
};
#define SIM_BURST (100000u) /* ns */
struct sim_net *sim_net(struct sim *s);

/* Whether a run of that seed is to have bursts, where chance decides: few of many do. (None of
 * those that were pinned before there were bursts.) */
bool sim_seed_bursts(uint64_t seed);

/* From now on nothing passes between a and b: existing links go silent (@silent) or break with
 * -ECONNRESET, new connects hang (time out after 10 s) or are refused. Until sim_heal(). */
void sim_cut(struct sim *s, struct sim_host *a, struct sim_host *b, bool silent);
void sim_heal(struct sim *s, struct sim_host *a, struct sim_host *b);
/* Frames from a to b do not arrive any more, without a word; those from b to a do. Nobody can
 * connect either way. sim_heal() of the two ends it. */
void sim_cut_oneway(struct sim *s, struct sim_host *a, struct sim_host *b);

/* What goes from a to b takes up to @ns longer. Until healed. */
void sim_slow(struct sim *s, struct sim_host *a, struct sim_host *b, uint64_t ns);

/* All of them; and what sim_lose_next() waits for may pass. */
void sim_heal_all(struct sim *s);

/* Breaks every link between a and b once; what is under way is lost. */
void sim_break(struct sim *s, struct sim_host *a, struct sim_host *b);

/* Drops the next frame from a to b of the given type silently (0: any), then breaks the link so
 * that order is kept: how an acknowledgement gets lost. */
void sim_lose_next(struct sim *s, struct sim_host *from, struct sim_host *to, uint16_t type);

struct sim_counts {
	uint64_t events, frames, lost, corrupted, connects, refused, kills, cuts;
};
const struct sim_counts *sim_counts(const struct sim *s);

#endif
