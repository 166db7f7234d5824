/*
 * The loop: clock, timers, tasks, jobs, calls, watches, signals. Links are in test_link.c.
 *
 * The few waits are timers of some milliseconds, since the real clock is what is tested here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "dht/net/loop.h"

static struct loop *lp;
static struct env *e;
static int seen[64]; /* what happened, in order */
static int nseen;

static int setup(void **state)
{
	(void)state;
	nseen = 0;
	alarm(60); /* a loop that nobody stops is a failure, not a hang */
	if (loop_new(&lp))
		return -1;
	e = loop_env(lp);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(lp);
	alarm(0);
	return 0;
}

static void note(int what)
{
	assert_in_range(nseen, 0, ARRAY_LEN(seen) - 1);
	seen[nseen++] = what;
}

static void expect_seen(const int *want, int n)
{
	assert_int_equal(nseen, n);
	for (int i = 0; i < n; i++)
		assert_int_equal(seen[i], want[i]);
}
#define EXPECT_SEEN(...)                                                                           \
	do {                                                                                       \
		static const int want[] = {__VA_ARGS__};                                           \
		expect_seen(want, (int)ARRAY_LEN(want));                                           \
	} while (0)

/* ---- clock ---- */

static void test_loop_now_is_boot_time(void **state)
{
	struct timespec ts;
	uint64_t a, b, c;

	(void)state;
	a = env_now(e);
	clock_gettime(CLOCK_BOOTTIME, &ts);
	b = (uint64_t)ts.tv_sec * ENV_SEC + (uint64_t)ts.tv_nsec;
	c = env_now(e);
	assert_true(a <= b && b <= c);
}

static void test_loop_wall_is_unix_time(void **state)
{
	time_t before = time(NULL) - 1; /* time() may lag by a tick */
	uint64_t wall = env_wall(e);

	(void)state;
	assert_true(wall / ENV_SEC >= (uint64_t)before);
	assert_true(wall / ENV_SEC <= (uint64_t)time(NULL) + 1);
}

static void test_loop_random_does_not_repeat(void **state)
{
	uint64_t v[200];
	uint8_t big[2][4096];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		v[i] = env_random_u64(e);
		for (size_t j = 0; j < i; j++)
			assert_true(v[i] != v[j]);
	}
	env_random(e, big[0], sizeof(big[0]));
	env_random(e, big[1], sizeof(big[1]));
	assert_memory_not_equal(big[0], big[1], sizeof(big[0]));
}

/* ---- timers ---- */

struct my_timer {
	struct env_timer t;
	uint64_t deadline;
	int name;
	struct my_timer *victim; /* cleared when this one fires */
	struct my_timer *moved;  /* set anew when this one fires */
	bool last;
};

static void on_fire(struct env_timer *t)
{
	struct my_timer *m = container_of(t, struct my_timer, t);

	assert_true(env_now(e) >= m->deadline);
	assert_false(t->armed);
	note(m->name);
	if (m->victim)
		env_timer_clear(e, &m->victim->t);
	if (m->moved)
		env_timer_set(e, &m->moved->t, m->moved->deadline);
	if (m->last)
		loop_stop(lp);
}

static void arm(struct my_timer *m, int name, uint64_t deadline)
{
	m->t.fire = on_fire;
	m->name = name;
	m->deadline = deadline;
	env_timer_set(e, &m->t, deadline);
	assert_true(m->t.armed);
}

static void clear_all(struct my_timer *m, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		env_timer_clear(e, &m[i].t);
		assert_null(m[i].t.impl);
		assert_false(m[i].t.armed);
	}
}

static void test_timers_fire_by_deadline_then_by_setting(void **state)
{
	struct my_timer m[6] = {0};
	uint64_t now = env_now(e);

	(void)state;
	arm(&m[0], 4, now + 3 * ENV_MS);
	arm(&m[1], 1, now + ENV_MS);
	arm(&m[2], 2, now + ENV_MS);
	arm(&m[3], 5, now + 4 * ENV_MS);
	arm(&m[4], 3, now + 2 * ENV_MS);
	arm(&m[5], 0, 0);
	m[3].last = true;
	loop_run(lp);
	EXPECT_SEEN(0, 1, 2, 3, 4, 5);
	clear_all(m, ARRAY_LEN(m));
}

static void test_timers_never_fire_early(void **state)
{
	struct my_timer m[40] = {0};
	uint64_t now = env_now(e);

	(void)state;
	/* odd fractions of a millisecond: what rounding would get wrong; on_fire() checks */
	for (size_t i = 0; i < ARRAY_LEN(m); i++)
		arm(&m[i], (int)i, now + (i + 1) * 333 * 1000 + 7 * i);
	m[ARRAY_LEN(m) - 1].last = true;
	loop_run(lp);
	assert_int_equal(nseen, ARRAY_LEN(m));
	clear_all(m, ARRAY_LEN(m));
}

static void test_timer_cleared_or_moved_by_another(void **state)
{
	struct my_timer m[4] = {0};
	uint64_t now = env_now(e);

	(void)state;
	arm(&m[0], 0, 1); /* all three are due in the same round */
	arm(&m[1], 1, 2);
	arm(&m[2], 2, 3);
	arm(&m[3], 3, now + ENV_MS);
	m[0].victim = &m[1];
	m[0].moved = &m[2];
	m[2].deadline = now + 2 * ENV_MS;
	m[2].last = true;
	loop_run(lp);
	EXPECT_SEEN(0, 3, 2);
	clear_all(m, ARRAY_LEN(m));
}

static void test_timer_set_twice_fires_once_at_the_later_setting(void **state)
{
	struct my_timer m[2] = {0};
	uint64_t now = env_now(e);

	(void)state;
	arm(&m[0], 0, now + ENV_MS);
	arm(&m[0], 0, now + 2 * ENV_MS);
	arm(&m[1], 1, now + 3 * ENV_MS);
	m[1].last = true;
	loop_run(lp);
	EXPECT_SEEN(0, 1);
	clear_all(m, ARRAY_LEN(m));
}

static void on_stop_task(struct env_task *t)
{
	(void)t;
	loop_stop(lp);
}

static void test_timer_set_for_earlier_wakes_the_loop_earlier(void **state)
{
	struct env_task stop = {.run = on_stop_task};
	struct my_timer m[2] = {0};
	uint64_t start = env_now(e);

	(void)state;
	arm(&m[0], 0, start + 3600 * ENV_SEC);
	env_post(e, &stop);
	loop_run(lp); /* by now the loop would sleep for the first */
	arm(&m[1], 1, start + ENV_MS);
	m[1].last = true;
	loop_run(lp);
	EXPECT_SEEN(1);
	assert_true(env_now(e) - start < 5 * ENV_SEC);
	clear_all(m, ARRAY_LEN(m));
}

static int rounds;

static void on_past(struct env_timer *t)
{
	env_timer_set(e, t, 0);
	rounds++;
}

static void on_readable_stop(void *arg)
{
	(void)arg;
	loop_stop(lp);
}

static void test_timer_that_sets_itself_into_the_past_starves_nobody(void **state)
{
	struct env_timer t = {.fire = on_past};
	struct loop_watch *w;
	int fd[2];

	(void)state;
	rounds = 0;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(loop_watch_fd(lp, fd[0], on_readable_stop, NULL, &w), 0);
	env_timer_set(e, &t, 0);
	loop_run(lp);
	assert_in_range(rounds, 1, 3);
	loop_unwatch(w);
	env_timer_clear(e, &t);
	close(fd[0]);
	close(fd[1]);
}

static void test_loop_lag_tells_the_latest_timer_once(void **state)
{
	struct my_timer m = {.last = true};

	(void)state;
	arm(&m, 0, env_now(e) - 50 * ENV_MS);
	loop_run(lp);
	assert_true(loop_lag(lp) >= 50 * ENV_MS);
	assert_true(loop_lag(lp) == 0);
	clear_all(&m, 1);
}

/* ---- tasks ---- */

struct my_task {
	struct env_task t;
	int name;
	struct my_task *posts, *unposts;
	bool last;
};

static void on_task(struct env_task *t)
{
	struct my_task *m = container_of(t, struct my_task, t);

	assert_false(t->queued);
	note(m->name);
	if (m->posts)
		env_post(e, &m->posts->t);
	if (m->unposts)
		env_unpost(e, &m->unposts->t);
	if (m->last)
		loop_stop(lp);
}

static void test_tasks_run_in_order_and_not_at_once(void **state)
{
	struct my_task m[5] = {0};

	(void)state;
	for (int i = 0; i < 5; i++)
		m[i] = (struct my_task){.t.run = on_task, .name = i};
	m[0].posts = &m[4]; /* behind those that wait already */
	m[1].unposts = &m[2];
	m[4].last = true;
	for (int i = 0; i < 4; i++)
		env_post(e, &m[i].t);
	env_post(e, &m[0].t); /* once is enough */
	assert_int_equal(nseen, 0);
	loop_run(lp);
	EXPECT_SEEN(0, 1, 3, 4);
	env_unpost(e, &m[2].t); /* harmless */
}

static void on_endless(struct env_task *t)
{
	rounds++;
	env_post(e, t);
}

static void test_task_that_posts_itself_starves_no_socket(void **state)
{
	struct env_task t = {.run = on_endless};
	struct loop_watch *w;
	int fd[2];

	(void)state;
	rounds = 0;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(loop_watch_fd(lp, fd[0], on_readable_stop, NULL, &w), 0);
	env_post(e, &t);
	loop_run(lp);
	assert_in_range(rounds, 2, 100000); /* many per system call, and yet not endless */
	loop_unwatch(w);
	env_unpost(e, &t);
	close(fd[0]);
	close(fd[1]);
}

static void on_slow(struct env_task *t)
{
	for (uint64_t end = env_now(e) + ENV_MS / 4; env_now(e) < end;)
		;
	on_endless(t);
}

static void test_slow_tasks_starve_no_socket(void **state)
{
	struct env_task t = {.run = on_slow};
	struct loop_watch *w;
	int fd[2];

	(void)state;
	rounds = 0;
	assert_int_equal(pipe(fd), 0);
	assert_int_equal(write(fd[1], "x", 1), 1);
	assert_int_equal(loop_watch_fd(lp, fd[0], on_readable_stop, NULL, &w), 0);
	env_post(e, &t);
	loop_run(lp);
	assert_in_range(rounds, 1, 50); /* a millisecond of them, not a thousand */
	loop_unwatch(w);
	env_unpost(e, &t);
	close(fd[0]);
	close(fd[1]);
}

static void test_loop_stop_leaves_the_rest_for_the_next_run(void **state)
{
	struct my_task m[2] = {{.t.run = on_task, .name = 0, .last = true},
		{.t.run = on_task, .name = 1, .last = true}};

	(void)state;
	env_post(e, &m[0].t);
	env_post(e, &m[1].t);
	loop_run(lp);
	EXPECT_SEEN(0);
	loop_run(lp);
	EXPECT_SEEN(0, 1);
}

/* ---- jobs ---- */

struct my_job {
	struct env_job j;
	int name;
	sem_t *wait, *post;
	bool pass; /* on to the next that waits */
};

static atomic_int inside;
static int jobs_left;

static void on_work(struct env_job *j)
{
	struct my_job *m = container_of(j, struct my_job, j);

	if (j->lane && atomic_fetch_add(&inside, 1))
		abort(); /* two of one lane at a time */
	if (m->post)
		sem_post(m->post);
	if (m->wait)
		sem_wait(m->wait);
	if (m->pass)
		sem_post(m->wait);
	if (j->lane)
		atomic_fetch_sub(&inside, 1);
}

static void on_done(struct env_job *j)
{
	note(container_of(j, struct my_job, j)->name);
	if (!--jobs_left)
		loop_stop(lp);
}

static void give(struct my_job *m, int name, const void *lane)
{
	m->j.work = on_work;
	m->j.done = on_done;
	m->j.lane = lane;
	m->name = name;
	jobs_left++;
	env_job(e, &m->j);
}

static void test_jobs_of_a_lane_run_one_by_one_in_order(void **state)
{
	struct my_job m[9] = {0};
	sem_t sem;

	(void)state;
	jobs_left = 0;
	sem_init(&sem, 0, 0);
	m[0].wait = &sem; /* stays inside until the pool has taken all that it may take */
	m[8].post = &sem;
	for (int i = 0; i < 8; i++)
		give(&m[i], i, &m);
	give(&m[8], 8, NULL);
	loop_run(lp);
	assert_int_equal(nseen, 9);
	for (int i = 0, next = 0; i < 9; i++) {
		if (seen[i] != 8)
			assert_int_equal(seen[i], next++);
	}
	sem_destroy(&sem);
}

static void test_jobs_of_different_lanes_run_side_by_side(void **state)
{
	struct my_job m[3] = {0};
	int lane_b;
	sem_t sem;

	(void)state;
	jobs_left = 0;
	sem_init(&sem, 0, 0);
	/* the first cannot end before the third has begun */
	m[0].wait = &sem;
	m[2].post = &sem;
	give(&m[0], 0, NULL);
	give(&m[1], 1, NULL);
	give(&m[2], 2, &lane_b);
	loop_run(lp);
	assert_int_equal(nseen, 3);
	sem_destroy(&sem);
}

/* Slow ones of all kinds leave room for a quick one. */
static void test_jobs_eight_at_once(void **state)
{
	struct my_job m[8] = {0};
	sem_t sem;

	(void)state;
	jobs_left = 0;
	sem_init(&sem, 0, 0);
	m[7].post = &sem;
	for (int i = 0; i < 8; i++) {
		m[i].wait = i < 7 ? &sem : NULL;
		m[i].pass = i < 7;
		give(&m[i], i, NULL);
	}
	loop_run(lp);
	assert_int_equal(nseen, 8);
	sem_destroy(&sem);
}

static void test_loop_free_waits_for_jobs(void **state)
{
	struct my_job m[3] = {0};
	struct loop *mine = lp;

	(void)state;
	jobs_left = 0;
	for (int i = 0; i < 3; i++)
		give(&m[i], i, &m);
	loop_free(mine);
	EXPECT_SEEN(0, 1, 2);
	assert_int_equal(loop_new(&lp), 0); /* for teardown() */
}

/* ---- calls from other threads ---- */

#define CALLERS 4
#define CALLS 2000

static int last_call[CALLERS];
static int calls;

struct call {
	int caller, number;
};

static void on_call(void *arg)
{
	struct call *c = arg;

	assert_int_equal(c->number, last_call[c->caller] + 1);
	last_call[c->caller] = c->number;
	free(c);
	if (++calls == CALLERS * CALLS)
		loop_stop(lp);
}

static void *caller(void *arg)
{
	struct call *c;

	for (int i = 1; i <= CALLS; i++) {
		c = malloc(sizeof(*c));
		*c = (struct call){.caller = (int)(intptr_t)arg, .number = i};
		loop_call(lp, on_call, c);
	}
	return NULL;
}

static void test_loop_call_arrives_in_order_exactly_once(void **state)
{
	pthread_t t[CALLERS];

	(void)state;
	calls = 0;
	memset(last_call, 0, sizeof(last_call));
	for (intptr_t i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, caller, (void *)i), 0);
	loop_run(lp);
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(last_call[i], CALLS);
	}
}

static void stop_now(void *arg)
{
	note((int)(intptr_t)arg);
	loop_stop(lp);
}

static void test_loop_call_behind_a_stop_is_kept(void **state)
{
	(void)state;
	loop_call(lp, stop_now, (void *)1);
	loop_call(lp, stop_now, (void *)2);
	loop_run(lp);
	EXPECT_SEEN(1);
	loop_run(lp);
	EXPECT_SEEN(1, 2);
}

/* ---- watches and signals ---- */

struct watched {
	int fd;
	struct loop_watch *w;
};

static void on_read_once(void *arg)
{
	struct watched *x = arg;
	char c;

	assert_int_equal(read(x->fd, &c, 1), 1);
	assert_int_equal(read(x->fd, &c, 1), -1); /* made non-blocking */
	note(c);
	loop_unwatch(x->w);
	loop_stop(lp);
}

static void test_watch_calls_when_readable_until_unwatched(void **state)
{
	struct watched x;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	x.fd = fd[0];
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(loop_watch_fd(lp, fd[0], on_read_once, &x, &x.w), 0);
		assert_int_equal(write(fd[1], i == 1 ? "a" : "b", 1), 1);
		loop_run(lp);
		assert_int_equal(nseen, i);
	}
	EXPECT_SEEN('a', 'b');
	close(fd[0]);
	close(fd[1]);
}

static void test_watch_of_no_descriptor_is_an_error(void **state)
{
	struct loop_watch *w;

	(void)state;
	assert_true(loop_watch_fd(lp, -1, on_readable_stop, NULL, &w) < 0);
	loop_unwatch(NULL);
}

static void on_signal(void *arg, int signum)
{
	note(signum + *(int *)arg);
	loop_stop(lp);
}

static void test_signal_is_handled_on_the_loop(void **state)
{
	int thousand = 1000;

	(void)state;
	assert_int_equal(loop_on_signal(lp, SIGHUP, on_signal, &thousand), 0);
	raise(SIGHUP);
	assert_int_equal(nseen, 0);
	loop_run(lp);
	EXPECT_SEEN(1000 + SIGHUP);
}

static void test_loop_free_with_everything_armed(void **state)
{
	struct my_timer m[2] = {0};
	struct env_task t = {.run = on_endless};
	struct loop_watch *w;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	arm(&m[0], 0, env_now(e));
	m[0].last = true;
	loop_run(lp); /* one that fired and was not cleared */
	arm(&m[1], 1, env_now(e) + 3600 * ENV_SEC);
	env_post(e, &t);
	assert_int_equal(loop_watch_fd(lp, fd[0], on_readable_stop, NULL, &w), 0);
	assert_int_equal(loop_on_signal(lp, SIGHUP, on_signal, NULL), 0);
	loop_call(lp, stop_now, NULL);
	loop_stop(lp);
	loop_free(lp);
	loop_free(NULL);
	EXPECT_SEEN(0);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(loop_new(&lp), 0); /* for teardown() */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_loop_now_is_boot_time),
		TEST(test_loop_wall_is_unix_time),
		TEST(test_loop_random_does_not_repeat),
		TEST(test_timers_fire_by_deadline_then_by_setting),
		TEST(test_timers_never_fire_early),
		TEST(test_timer_cleared_or_moved_by_another),
		TEST(test_timer_set_twice_fires_once_at_the_later_setting),
		TEST(test_timer_set_for_earlier_wakes_the_loop_earlier),
		TEST(test_timer_that_sets_itself_into_the_past_starves_nobody),
		TEST(test_loop_lag_tells_the_latest_timer_once),
		TEST(test_tasks_run_in_order_and_not_at_once),
		TEST(test_task_that_posts_itself_starves_no_socket),
		TEST(test_slow_tasks_starve_no_socket),
		TEST(test_loop_stop_leaves_the_rest_for_the_next_run),
		TEST(test_jobs_of_a_lane_run_one_by_one_in_order),
		TEST(test_jobs_of_different_lanes_run_side_by_side),
		TEST(test_jobs_eight_at_once),
		TEST(test_loop_free_waits_for_jobs),
		TEST(test_loop_call_arrives_in_order_exactly_once),
		TEST(test_loop_call_behind_a_stop_is_kept),
		TEST(test_watch_calls_when_readable_until_unwatched),
		TEST(test_watch_of_no_descriptor_is_an_error),
		TEST(test_signal_is_handled_on_the_loop),
		TEST(test_loop_free_with_everything_armed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
