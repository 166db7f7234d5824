/*
 * test_env: an env for unit tests: virtual time, tasks and jobs that run when the test pumps them,
 * in one thread. Jobs of different lanes run in an order drawn from the seed. No links.
 */
#ifndef ORBIT_TESTS_TEST_ENV_H
#define ORBIT_TESTS_TEST_ENV_H

#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/net/env.h"

struct test_timer {
	TAILQ_ENTRY(test_timer) entry;
	struct env_timer *t;
	uint64_t deadline;
};

struct test_env {
	struct env e;
	uint64_t now, rnd;
	TAILQ_HEAD(, env_task) tasks;
	TAILQ_HEAD(, env_job) jobs;
	TAILQ_HEAD(, test_timer) timers;
};

static inline struct test_env *test_env_of(struct env *e)
{
	return container_of(e, struct test_env, e);
}

static inline uint64_t test_env_rnd(struct test_env *te)
{
	te->rnd ^= te->rnd << 13;
	te->rnd ^= te->rnd >> 7;
	te->rnd ^= te->rnd << 17;
	return te->rnd * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static uint64_t test_env_now(struct env *e)
{
	return test_env_of(e)->now;
}

static void test_env_random(struct env *e, void *out, size_t len)
{
	uint8_t *p = out;

	while (len--)
		*p++ = (uint8_t)test_env_rnd(test_env_of(e));
}

static void test_env_timer_clear(struct env *e, struct env_timer *t)
{
	struct test_timer *tt = t->impl;

	if (!tt)
		return;
	TAILQ_REMOVE(&test_env_of(e)->timers, tt, entry);
	free(tt);
	t->impl = NULL;
	t->armed = false;
}

static void test_env_timer_set(struct env *e, struct env_timer *t, uint64_t deadline)
{
	struct test_timer *tt;

	test_env_timer_clear(e, t);
	tt = mem_zalloc(sizeof(*tt));
	tt->t = t;
	tt->deadline = deadline;
	t->impl = tt;
	t->armed = true;
	TAILQ_INSERT_TAIL(&test_env_of(e)->timers, tt, entry);
}

static void test_env_post(struct env *e, struct env_task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&test_env_of(e)->tasks, t, entry);
}

static void test_env_unpost(struct env *e, struct env_task *t)
{
	if (!t->queued)
		return;
	t->queued = false;
	TAILQ_REMOVE(&test_env_of(e)->tasks, t, entry);
}

static void test_env_job(struct env *e, struct env_job *j)
{
	TAILQ_INSERT_TAIL(&test_env_of(e)->jobs, j, entry);
}

static const struct env_ops test_env_ops = {
	.now = test_env_now,
	.wall = test_env_now,
	.random = test_env_random,
	.timer_set = test_env_timer_set,
	.timer_clear = test_env_timer_clear,
	.post = test_env_post,
	.unpost = test_env_unpost,
	.job = test_env_job,
};

static inline void test_env_init(struct test_env *te, uint64_t seed)
{
	memset(te, 0, sizeof(*te));
	te->e.ops = &test_env_ops;
	te->now = ENV_SEC;
	te->rnd = seed * 2654435761u + 1;
	TAILQ_INIT(&te->tasks);
	TAILQ_INIT(&te->jobs);
	TAILQ_INIT(&te->timers);
}

/* Runs one task or, if there is none, one job that is the first of its lane; false: nothing. */
static inline bool test_env_step(struct test_env *te)
{
	struct env_task *t = TAILQ_FIRST(&te->tasks);
	struct env_job *j, *before, *pick = NULL;
	unsigned n = 0;

	if (t) {
		TAILQ_REMOVE(&te->tasks, t, entry);
		t->queued = false;
		t->run(t);
		return true;
	}
	TAILQ_FOREACH (j, &te->jobs, entry) {
		bool first = true;

		TAILQ_FOREACH (before, &te->jobs, entry) {
			if (before == j)
				break;
			if (j->lane && before->lane == j->lane)
				first = false;
		}
		if (first && test_env_rnd(te) % ++n == 0)
			pick = j;
	}
	if (!pick)
		return false;
	TAILQ_REMOVE(&te->jobs, pick, entry);
	pick->work(pick);
	pick->done(pick);
	return true;
}

/* Runs tasks and jobs until there are none; time stands still. */
static inline void test_env_idle(struct test_env *te)
{
	while (test_env_step(te))
		;
}

/* Fires the earliest timer if it is due within @ns; false when none is. */
static inline bool test_env_fire(struct test_env *te, uint64_t until)
{
	struct test_timer *tt, *best = NULL;

	TAILQ_FOREACH (tt, &te->timers, entry) {
		if (!best || tt->deadline < best->deadline)
			best = tt;
	}
	if (!best || best->deadline > until)
		return false;
	if (best->deadline > te->now)
		te->now = best->deadline;
	struct env_timer *t = best->t;

	test_env_timer_clear(&te->e, t);
	t->fire(t);
	return true;
}

/* Lets @ns pass. */
static inline void test_env_advance(struct test_env *te, uint64_t ns)
{
	uint64_t until = te->now + ns;

	do
		test_env_idle(te);
	while (test_env_fire(te, until));
	te->now = until;
}

#endif
