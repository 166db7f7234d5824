/* The simulator itself: what tests of clusters rest on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

#include "tests/sim/sim.h"

struct end {
	struct link *l;
	int ups, downs, rc;
	unsigned got;
	uint64_t last;
	bool in_order;
};

static void on_up(struct link *l, void *arg)
{
	struct end *x = arg;

	(void)l;
	x->ups++;
}

static void on_message(struct link *l, struct frame *f, void *arg)
{
	struct end *x = arg;

	(void)l;
	if (x->got && f->id != x->last + 1)
		x->in_order = false;
	x->last = f->id;
	x->got++;
}

static void on_down(struct link *l, int rc, void *arg)
{
	struct end *x = arg;

	(void)l;
	x->downs++;
	x->rc = rc;
}

static const struct link_events events = {on_up, on_message, on_down};

static void on_accept(struct link *l, void *arg)
{
	struct end *x = arg;

	l->events = &events;
	l->arg = x;
	x->l = l;
	x->in_order = true;
}

struct pair {
	struct sim *s;
	struct sim_host *a, *b;
	struct env_listener *listener;
	struct end client, server;
};

static void pair_make(struct pair *p, uint64_t seed)
{
	*p = (struct pair){.s = sim_new(seed)};
	p->a = sim_host_new(p->s, "a");
	p->b = sim_host_new(p->s, "b");
	assert_int_equal(env_listen(sim_env(p->b), "b:1", on_accept, &p->server, &p->listener), 0);
	assert_int_equal(env_connect(sim_env(p->a), "b:1", &events, &p->client, &p->client.l), 0);
	assert_int_equal(p->client.ups, 0);
	sim_run(p->s, 10 * ENV_MS);
	assert_int_equal(p->client.ups, 1);
	assert_non_null(p->server.l);
}

static void send_frames(struct end *x, unsigned from, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct frame *f = frame_new(7, from + i, 8);

		buf_u64(&f->b, i);
		link_send(x->l, f);
	}
}

static void test_sim_frames_arrive_in_order(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 1);
	send_frames(&p.client, 1, 100);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 100);
	assert_true(p.server.in_order);
	sim_free(p.s);
}

static void test_sim_close_comes_after_what_was_sent(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 2);
	send_frames(&p.client, 1, 10);
	link_close(p.client.l);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 10);
	assert_int_equal(p.server.downs, 1);
	link_close(p.server.l);
	sim_free(p.s);
}

static void test_sim_killed_host_breaks_links_and_refuses(void **state)
{
	struct pair p;
	struct end again = {0};

	(void)state;
	pair_make(&p, 3);
	sim_host_kill(p.b, false);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.client.downs, 1);
	assert_int_equal(link_send(p.client.l, frame_new(7, 1, 0)), -ENOTCONN);
	link_close(p.client.l);
	assert_int_equal(env_connect(sim_env(p.a), "b:1", &events, &again, &again.l), 0);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(again.downs, 1);
	assert_int_equal(again.rc, -ECONNREFUSED);
	link_close(again.l);
	sim_free(p.s);
}

static void test_sim_silent_cut_delays_and_keeps_order(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 4);
	sim_cut(p.s, p.a, p.b, true);
	send_frames(&p.client, 1, 5);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 0);
	assert_int_equal(p.client.downs, 0);
	sim_heal(p.s, p.a, p.b);
	send_frames(&p.client, 6, 5);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 10);
	assert_true(p.server.in_order);
	sim_free(p.s);
}

static void test_sim_corrupt_frame_breaks_the_link(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 5);
	sim_net(p.s)->corrupt_ppm = 1000000;
	send_frames(&p.client, 1, 1);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 0);
	assert_int_equal(p.server.downs, 1);
	assert_int_equal(p.client.downs, 1);
	sim_free(p.s);
}

static void test_sim_lost_frame_breaks_the_link(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 6);
	sim_lose_next(p.s, p.a, p.b, 7);
	send_frames(&p.client, 1, 3);
	sim_run(p.s, ENV_SEC);
	assert_int_equal(p.server.got, 0);
	assert_int_equal(p.client.downs, 1);
	assert_int_equal(p.server.downs, 1);
	sim_free(p.s);
}

struct ticks {
	struct env_timer t;
	struct env *e;
	uint64_t at[10];
	unsigned n;
};

static void tick(struct env_timer *t)
{
	struct ticks *x = (struct ticks *)t;

	x->at[x->n++] = env_now(x->e);
	if (x->n < 10)
		env_timer_set(x->e, t, env_now(x->e) + 1 + env_random_u64(x->e) % ENV_SEC);
}

static void test_sim_same_seed_same_run(void **state)
{
	uint64_t seen[2][10];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct sim *s = sim_new(42);
		struct sim_host *h = sim_host_new(s, "a");
		struct ticks x = {.t.fire = tick, .e = sim_env(h)};

		env_timer_set(x.e, &x.t, env_now(x.e) + 5);
		sim_run(s, 100 * ENV_SEC);
		assert_int_equal(x.n, 10);
		memcpy(seen[i], x.at, sizeof(x.at));
		sim_free(s);
	}
	assert_memory_equal(seen[0], seen[1], sizeof(seen[0]));
}

static void test_sim_paused_host_goes_on_later(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 7);
	sim_host_pause(p.b, 10 * ENV_SEC);
	send_frames(&p.client, 1, 3);
	sim_run(p.s, 9 * ENV_SEC);
	assert_int_equal(p.server.got, 0);
	sim_run(p.s, 2 * ENV_SEC);
	assert_int_equal(p.server.got, 3);
	assert_true(p.server.in_order);
	sim_free(p.s);
}

static void test_sim_oneway_cut_lets_the_other_way_pass(void **state)
{
	struct pair p;
	struct end again = {0};

	(void)state;
	pair_make(&p, 8);
	sim_cut_oneway(p.s, p.a, p.b);
	send_frames(&p.client, 1, 3);
	send_frames(&p.server, 1, 3);
	assert_int_equal(env_connect(sim_env(p.a), "b:1", &events, &again, &again.l), 0);
	sim_run(p.s, 2 * ENV_SEC);
	assert_int_equal(p.server.got, 0);
	assert_int_equal(p.client.got, 3);
	assert_int_equal(again.ups + again.downs, 0);
	sim_heal_all(p.s);
	sim_run(p.s, 2 * ENV_SEC);
	assert_int_equal(p.server.got, 3);
	assert_true(p.server.in_order);
	assert_int_equal(again.ups, 1);
	sim_free(p.s);
}

static void test_sim_slow_link_is_slow_one_way(void **state)
{
	struct pair p;

	(void)state;
	pair_make(&p, 9);
	sim_slow(p.s, p.a, p.b, 100 * ENV_SEC);
	send_frames(&p.client, 1, 20);
	send_frames(&p.server, 1, 20);
	sim_run(p.s, ENV_SEC);
	assert_true(p.server.got < 20);
	assert_int_equal(p.client.got, 20);
	sim_run(p.s, 100 * ENV_SEC);
	assert_int_equal(p.server.got, 20);
	assert_true(p.server.in_order);
	sim_free(p.s);
}

static void test_sim_clocks_differ(void **state)
{
	static const int ppm[] = {-10000, -1, 0, 1, 10000};

	(void)state;
	for (size_t i = 0; i < sizeof(ppm) / sizeof(ppm[0]); i++) {
		struct sim *s = sim_new(10);
		struct sim_host *h = sim_host_new(s, "a");
		struct ticks x = {.t.fire = tick, .e = sim_env(h)};
		uint64_t due = 5 * ENV_SEC + 100 * ENV_SEC + i;

		sim_host_clock(h, 5 * ENV_SEC, ppm[i]);
		assert_int_equal(env_now(x.e), 5 * ENV_SEC);
		env_timer_set(x.e, &x.t, due);
		sim_run(s, 98 * ENV_SEC);
		assert_int_equal(x.n, 0);
		sim_run(s, 4 * ENV_SEC);
		assert_true(x.n > 0);
		/* not before it is due, and not much later */
		assert_in_range(x.at[0], due, due + 1000);
		sim_free(s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sim_frames_arrive_in_order),
		cmocka_unit_test(test_sim_close_comes_after_what_was_sent),
		cmocka_unit_test(test_sim_killed_host_breaks_links_and_refuses),
		cmocka_unit_test(test_sim_silent_cut_delays_and_keeps_order),
		cmocka_unit_test(test_sim_corrupt_frame_breaks_the_link),
		cmocka_unit_test(test_sim_lost_frame_breaks_the_link),
		cmocka_unit_test(test_sim_same_seed_same_run),
		cmocka_unit_test(test_sim_paused_host_goes_on_later),
		cmocka_unit_test(test_sim_oneway_cut_lets_the_other_way_pass),
		cmocka_unit_test(test_sim_slow_link_is_slow_one_way),
		cmocka_unit_test(test_sim_clocks_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
