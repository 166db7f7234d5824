/*
 * loop: the env of production: one libuv loop, TCP and Unix sockets, links within the process, and
 * libuv's worker pool.
 *
 * One thread runs the loop and owns everything on it. loop_run() returns after loop_stop() only: a
 * loop with nothing to wait for waits for loop_call().
 */
#ifndef ORBIT_NET_LOOP_H
#define ORBIT_NET_LOOP_H

#include "dht/net/env.h"

struct loop;

/* A loop; 0 or -errno. */
int loop_new(struct loop **out);

/* Closes what is left (links go without an event, jobs are waited for) and frees. NULL is harmless.
 */
void loop_free(struct loop *lp);

struct env *loop_env(struct loop *lp);

/* Runs callbacks until loop_stop(). */
void loop_run(struct loop *lp);

/* Ends loop_run() after the running callback. On the loop's thread. */
void loop_stop(struct loop *lp);

/* Calls fn(arg) on the loop soon. From any thread and from no signal handler; the only function
 * here that may be called off the loop. Calls arrive in order, each exactly once, as long as the
 * loop lives. */
void loop_call(struct loop *lp, void (*fn)(void *arg), void *arg);

/* Watches @fd (not owned) and calls ready() on the loop while it is readable; one at a time. The
 * handler should read until EAGAIN. 0 or -errno. */
struct loop_watch;
int loop_watch_fd(
	struct loop *lp, int fd, void (*ready)(void *arg), void *arg, struct loop_watch **out);
void loop_unwatch(struct loop_watch *w);

/* Calls fn(arg, signum) on the loop when the process gets @signum; for SIGTERM, SIGINT, SIGHUP. */
int loop_on_signal(struct loop *lp, int signum, void (*fn)(void *arg, int signum), void *arg);

/* How late timers fire, the loop's lag: largest value in ns since the last call. A metric. */
uint64_t loop_lag(struct loop *lp);

#endif
