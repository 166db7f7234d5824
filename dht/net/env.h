/*
 * env: all that a state machine has of the outside world.
 *
 * Node, keeper, client and store get time, random numbers, timers, deferred calls, blocking work
 * and links to peers from one struct env and from nowhere else. In production that is the libuv
 * loop (net/loop.h); in tests it is a simulator that runs a whole cluster in one thread on virtual
 * time. (After raft_io of canonical/raft.)
 *
 * Thread: everything here is called on the loop's thread, and calls back there, except
 * env_job.work, which runs on a worker. No callback runs from inside the call that asked for it.
 * Times are nanoseconds. Structs are embedded by the caller and stay valid while armed.
 */
#ifndef ORBIT_NET_ENV_H
#define ORBIT_NET_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "dht/net/frame.h"

#define ENV_MS UINT64_C(1000000)
#define ENV_SEC UINT64_C(1000000000)
#define ENV_ADDR_MAX 256 /* bytes of an address with its NUL */

struct env;
struct link;

/* A timer; zero it, set fire, then env_timer_set(). Setting a set timer moves it. */
struct env_timer {
	void (*fire)(struct env_timer *t);
	void *impl; /* the env's own; NULL while it was never set */
	bool armed;
};

/* A call to be made soon, on this loop, after the running callback returned. */
struct env_task {
	void (*run)(struct env_task *t);
	bool queued;
	TAILQ_ENTRY(env_task) entry;
};

/* Blocking work for a worker thread: work() there, then done() on the loop. Jobs of one non-NULL
 * @lane run one after the other in the order they were given; others run whenever a worker is
 * free. work() must touch nothing that the loop uses meanwhile. */
struct env_job {
	void (*work)(struct env_job *j);
	void (*done)(struct env_job *j);
	const void *lane;
	void *impl;
	TAILQ_ENTRY(env_job) entry;
};

/* What a link tells its owner. up() comes once for a link that was made by connect (an accepted
 * link is up); message() only between up() and down(); down() once, at the latest after
 * link_close()'s return nothing comes any more. After down() the link must still be given to
 * link_close(). message() borrows @f: frame_ref() it to keep it. */
struct link_events {
	void (*up)(struct link *l, void *arg);
	void (*message)(struct link *l, struct frame *f, void *arg);
	/* @rc: -ECONNREFUSED, -ETIMEDOUT, -ECONNRESET, -EBADMSG (checksum), -EPROTO, ... */
	void (*down)(struct link *l, int rc, void *arg);
};

struct link_ops {
	int (*send)(struct link *l, struct frame *f);
	void (*close)(struct link *l);
	size_t (*unsent)(const struct link *l);
};

/* A connection to a peer: ordered, whole messages, each at most once; what was sent may be lost
 * when it goes down. Owned by who made or accepted it until link_close(). */
struct link {
	const struct link_ops *ops;
	const struct link_events *events;
	void *arg;               /* handed to events */
	char peer[ENV_ADDR_MAX]; /* for people: "127.0.0.1:7000", "local" */
};

/* A new incoming link: set l->events and l->arg before returning, or link_close() it. */
typedef void env_accept_cb(struct link *l, void *arg);

struct env_listener; /* one listening address, made by env_listen() */

struct env_ops {
	uint64_t (*now)(struct env *e);
	uint64_t (*wall)(struct env *e);
	void (*random)(struct env *e, void *out, size_t len);
	void (*timer_set)(struct env *e, struct env_timer *t, uint64_t deadline);
	void (*timer_clear)(struct env *e, struct env_timer *t);
	void (*post)(struct env *e, struct env_task *t);
	void (*unpost)(struct env *e, struct env_task *t);
	void (*job)(struct env *e, struct env_job *j);
	int (*connect)(struct env *e, const char *addr, const struct link_events *ev, void *arg,
		struct link **out);
	int (*listen)(struct env *e, const char *addr, env_accept_cb *cb, void *arg,
		struct env_listener **out);
	void (*unlisten)(struct env *e, struct env_listener *s);
	const char *(*listener_addr)(const struct env_listener *s);
};

struct env {
	const struct env_ops *ops;
};

/* Monotonic time (CLOCK_BOOTTIME): never steps, counts suspension. For every wait. */
static inline uint64_t env_now(struct env *e)
{
	return e->ops->now(e);
}

/* Wall-clock time since 1970. For time stamps in files only. */
static inline uint64_t env_wall(struct env *e)
{
	return e->ops->wall(e);
}

static inline void env_random(struct env *e, void *out, size_t len)
{
	e->ops->random(e, out, len);
}

static inline uint64_t env_random_u64(struct env *e)
{
	uint64_t v;
	e->ops->random(e, &v, sizeof(v));
	return v;
}

/* Fires once, not before @deadline (env_now() terms); moves a timer that is armed. */
static inline void env_timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	e->ops->timer_set(e, t, deadline);
}

/* Disarms and releases the timer, armed or not; must be called before its memory goes. */
static inline void env_timer_clear(struct env *e, struct env_timer *t)
{
	e->ops->timer_clear(e, t);
}

/* Runs @t soon; once, if it is queued already. Tasks run in the order they were posted. */
static inline void env_post(struct env *e, struct env_task *t)
{
	e->ops->post(e, t);
}

/* Takes a queued task back; harmless when it is not queued. */
static inline void env_unpost(struct env *e, struct env_task *t)
{
	e->ops->unpost(e, t);
}

/* Hands a job to a worker. It cannot be taken back: wait for done(). */
static inline void env_job(struct env *e, struct env_job *j)
{
	e->ops->job(e, j);
}

/*
 * Starts one attempt to connect to @addr ("host:port", "[v6]:port", "unix:/path", or "local:name"
 * for a listener of this process) and returns at once; the outcome comes as up() or down(). 0 and
 * *out, or -EINVAL for an address that is none. Names are resolved on a worker. An attempt ends by
 * itself within 10 s.
 */
static inline int env_connect(
	struct env *e, const char *addr, const struct link_events *ev, void *arg, struct link **out)
{
	return e->ops->connect(e, addr, ev, arg, out);
}

/* Listens at @addr (as for env_connect()). 0, -EINVAL, -EADDRINUSE, -EACCES, ... */
static inline int env_listen(
	struct env *e, const char *addr, env_accept_cb *cb, void *arg, struct env_listener **out)
{
	return e->ops->listen(e, addr, cb, arg, out);
}

/* Stops listening and frees @s; accepted links stay. */
static inline void env_unlisten(struct env *e, struct env_listener *s)
{
	e->ops->unlisten(e, s);
}

/* The address that @s is bound to, as env_connect() takes it; for "host:0" with the port that was
 * found. Valid until env_unlisten(). */
static inline const char *env_listener_addr(struct env *e, const struct env_listener *s)
{
	return e->ops->listener_addr(s);
}

/* Queues @f and takes the caller's reference, also on error. 0, -ENOTCONN when the link is down or
 * not yet up, -EMSGSIZE. Frames go out in order. */
static inline int link_send(struct link *l, struct frame *f)
{
	return l->ops->send(l, f);
}

/* Ends the link and frees it; no event follows. */
static inline void link_close(struct link *l)
{
	l->ops->close(l);
}

/* Bytes that were sent by link_send() and have not left the process. */
static inline size_t link_unsent(const struct link *l)
{
	return l->ops->unsent(l);
}

#endif
