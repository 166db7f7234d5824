/*
 * work: env jobs of a store that may be freed while some are on their way.
 *
 * After gate_close() no work function runs, and none will; done functions of jobs that were under
 * way still come, with work->owner NULL, to free what the job holds. The gate itself goes with the
 * last of them.
 */
#ifndef ORBIT_STORE_WORK_H
#define ORBIT_STORE_WORK_H

#include <pthread.h>

#include "dht/net/env.h"

struct gate {
	struct env *env;
	unsigned refs;        /* jobs, callers on the stack, and the store (loop only) */
	bool closed;          /* written under lock, read anywhere on the loop */
	pthread_mutex_t lock; /* of running and closed */
	pthread_cond_t idle;
	unsigned running;
};

struct work {
	struct env_job job;
	struct gate *gate;
	void *owner; /* the store; NULL when it is gone */
	void (*run)(struct work *w);
	void (*done)(struct work *w); /* also frees */
};

struct gate *gate_new(struct env *e);

/* Waits for running work functions, lets no more begin, and drops the owner's reference. */
void gate_close(struct gate *g);

/* Keep a gate over a callback, to see afterwards whether the store was freed by it. */
void gate_hold(struct gate *g);
/* True when the store is gone. */
bool gate_release(struct gate *g);

/* Fills in and submits; run() on a worker, done() on the loop. */
void work_start(struct work *w, struct gate *g, void *owner, const void *lane,
	void (*run)(struct work *w), void (*done)(struct work *w));

#endif
