/*
 * loop_impl: what the files of the production env share. Private to net/.
 *
 * loop.c     the loop itself: phases of a round, tasks, clock, calls, watches, signals
 * timer.c    timers: an ordered tree and one uv_timer
 * job.c      blocking work on uv's pool, in lanes
 * addr.c     addresses
 * local.c    links within the process
 * tcp.c      links over TCP and Unix sockets
 * tcp_dial.c connecting, with names looked up on the pool
 * tcp_listen.c listening sockets
 */
#ifndef ORBIT_NET_LOOP_IMPL_H
#define ORBIT_NET_LOOP_IMPL_H

#include <bsd/sys/tree.h>
#include <sys/queue.h>
#include <uv.h>

#include "dht/net/loop.h"
#include "dht/net/spin.h"

struct local_link;
struct tcp_link;
struct loop_timer;
struct job_lane;
struct loop_call;
struct loop_signal;

RB_HEAD(timer_tree, loop_timer);
TAILQ_HEAD(timer_list, loop_timer);
TAILQ_HEAD(task_list, env_task);
TAILQ_HEAD(call_list, loop_call);
TAILQ_HEAD(tcp_list, tcp_link);
LIST_HEAD(local_links, local_link);
LIST_HEAD(listener_list, env_listener);
LIST_HEAD(watch_list, loop_watch);
LIST_HEAD(signal_list, loop_signal);

#define LOOP_IN_BUF (64 << 10)
#define LOOP_RANDOM_POOL 512

struct loop {
	struct env env;
	uv_loop_t uv;
	uv_prepare_t prepare;
	uv_idle_t idle; /* active while work is left over, so that polling does not wait */
	uv_idle_t spin; /* active shortly after a watched descriptor was busy: see spin.h */
	struct spin spin_state;
	uv_async_t async;
	uv_timer_t wake;
	bool stopping;
	bool closing; /* loop_free() runs: nothing calls out any more, except env_job.done */

	struct task_list tasks;

	struct timer_tree timers;  /* armed, by deadline */
	struct timer_list due;     /* armed and expired, about to fire */
	struct timer_list resting; /* set once, now neither */
	uint64_t timer_seq;
	uint64_t wake_at; /* the deadline that the uv_timer is set for; UINT64_MAX: none */
	uint64_t lag;

	struct job_lane *lanes; /* uthash by the lane's pointer */
	size_t jobs;            /* given to env_job() and not done */

	pthread_mutex_t call_lock; /* guards calls alone */
	struct call_list calls;

	struct local_links locals;
	struct tcp_list tcps;
	struct tcp_list dirty; /* tcp links with frames to write at the end of the round */
	struct listener_list listeners;
	struct watch_list watches;
	struct signal_list signals;

	size_t random_left;
	uint8_t random_pool[LOOP_RANDOM_POOL];
	uint8_t in_buf[LOOP_IN_BUF]; /* what sockets read into; in use only during one callback */
};

static inline struct loop *loop_of(struct env *e)
{
	return (struct loop *)e; /* env is its first member */
}

enum addr_kind { ADDR_TCP, ADDR_UNIX, ADDR_LOCAL };

struct env_listener {
	enum addr_kind kind;
	struct loop *lp;
	env_accept_cb *cb;
	void *arg;
	char addr[ENV_ADDR_MAX];
	LIST_ENTRY(env_listener) entry;
	struct tcp_listener *tcp; /* NULL for ADDR_LOCAL */
};

/* timer.c */
void timer_set(struct env *e, struct env_timer *t, uint64_t deadline);
void timer_clear(struct env *e, struct env_timer *t);
void timer_run(struct loop *lp);  /* fires what is due */
void timer_wake(struct loop *lp); /* sets the uv_timer for the earliest of the rest */
void timer_free_all(struct loop *lp);

/* job.c */
/* How many workers there are, before the first job makes them. */
void job_pool(void);
void job_start(struct env *e, struct env_job *j);

/* local.c: names are without "local:" */
int local_connect(struct loop *lp, const char *name, const struct link_events *ev, void *arg,
	struct link **out);
bool local_name_taken(struct loop *lp, const char *name);
void local_free_all(struct loop *lp);

/* tcp.c */
struct addr;
int tcp_connect(struct loop *lp, const char *text, const struct addr *a,
	const struct link_events *ev, void *arg, struct link **out);
void tcp_accepted(struct loop *lp, int fd, const char *peer, env_accept_cb *cb, void *arg);
void tcp_flush_all(struct loop *lp);
void tcp_pause_all(struct loop *lp); /* no more events: loop_free() is about to wait for jobs */
void tcp_free_all(struct loop *lp);

/* tcp_dial.c: one attempt to connect. @cb comes once, from the loop: 0 and a connected descriptor
 * (not blocking, the callee's), or -errno; not at all after tcp_dial_cancel(). */
struct tcp_dial;
typedef void tcp_dial_cb(void *arg, int rc, int fd);
struct tcp_dial *tcp_dial_start(struct loop *lp, const struct addr *a, tcp_dial_cb *cb, void *arg);
void tcp_dial_cancel(struct tcp_dial *d);

/* tcp_listen.c: fills s->tcp and s->addr */
int tcp_listen(struct env_listener *s, const struct addr *a);
void tcp_listen_pause(struct env_listener *s);
void tcp_unlisten(struct env_listener *s);

#endif
