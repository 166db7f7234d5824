#include "dht/store/work.h"

#include <stdlib.h>

#include "dht/base/mem.h"

struct gate *gate_new(struct env *e)
{
	struct gate *g = mem_zalloc(sizeof(*g));

	g->env = e;
	g->refs = 1;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->idle, NULL);
	return g;
}

void gate_hold(struct gate *g)
{
	g->refs++;
}

bool gate_release(struct gate *g)
{
	bool closed = g->closed;

	if (--g->refs == 0) {
		pthread_mutex_destroy(&g->lock);
		pthread_cond_destroy(&g->idle);
		free(g);
	}
	return closed;
}

void gate_close(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->closed = true;
	while (g->running)
		pthread_cond_wait(&g->idle, &g->lock);
	pthread_mutex_unlock(&g->lock);
	gate_release(g);
}

static void run_job(struct env_job *j)
{
	struct work *w = container_of(j, struct work, job);
	struct gate *g = w->gate;

	pthread_mutex_lock(&g->lock);
	if (g->closed) {
		pthread_mutex_unlock(&g->lock);
		return;
	}
	g->running++;
	pthread_mutex_unlock(&g->lock);
	w->run(w);
	pthread_mutex_lock(&g->lock);
	if (--g->running == 0)
		pthread_cond_signal(&g->idle);
	pthread_mutex_unlock(&g->lock);
}

static void job_done(struct env_job *j)
{
	struct work *w = container_of(j, struct work, job);
	struct gate *g = w->gate;

	if (g->closed)
		w->owner = NULL;
	w->done(w);
	gate_release(g);
}

void work_start(struct work *w, struct gate *g, void *owner, const void *lane,
	void (*run)(struct work *w), void (*done)(struct work *w))
{
	w->job = (struct env_job){.work = run_job, .done = job_done, .lane = lane};
	w->gate = g;
	w->owner = owner;
	w->run = run;
	w->done = done;
	gate_hold(g);
	env_job(g->env, &w->job);
}
