/*
 * Links: what every kind must do, tested over each of local, TCP and Unix addresses. What only
 * sockets can suffer is in test_tcp.c.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/link_rig.h"

static void test_link_echoes_in_order(void **state)
{
	meet(state);
	server.echo = true;
	client.stop_at = 3000;
	for (uint64_t i = 1; i <= 3000; i++)
		send_one(&client, i, i % 300);
	assert_true(link_unsent(client.l) > 3000 * FRAME_HEAD);
	RUN_UNTIL(client.messages == 3000);
	assert_int_equal(server.messages, 3000);
	assert_int_equal(client.messages, 3000);
	assert_int_equal(link_unsent(client.l), 0);
	close_end(&client);
	RUN_UNTIL(server.downs);
	assert_int_equal(server.downs, 1);
	assert_int_equal(server.rc, -ECONNRESET);
	close_end(&server);
	env_unlisten(e, listener);
}

static void test_link_carries_the_largest_body(void **state)
{
	struct frame *f = message(2, FRAME_BODY_MAX);
	uint32_t crc = crc32c(frame_body(f), FRAME_BODY_MAX);

	meet(state);
	server.echo = true;
	client.stop_at = 3;
	send_one(&client, 1, 5);
	assert_int_equal(link_send(client.l, f), 0);
	send_one(&client, 3, 100000);
	RUN_UNTIL(client.messages == 3);
	assert_int_equal(client.len, 100000);
	client.stop_at = 4;
	f = message(2, FRAME_BODY_MAX);
	f->id = 4;
	assert_int_equal(link_send(client.l, f), 0);
	RUN_UNTIL(client.messages == 4);
	assert_int_equal(client.len, FRAME_BODY_MAX);
	assert_int_equal(client.crc, crc);
	assert_int_equal(server.crc, crc);
	f = message(5, FRAME_BODY_MAX);
	buf_u8(&f->b, 1);
	assert_int_equal(link_send(client.l, f), -EMSGSIZE);
	assert_int_equal(client.downs, 0);
}

static void test_link_last_words_come_before_down(void **state)
{
	meet(state);
	for (uint64_t i = 1; i <= 10; i++)
		send_one(&client, i, 100);
	close_end(&client);
	RUN_UNTIL(server.downs);
	assert_int_equal(server.messages, 10);
	assert_int_equal(server.downs, 1);
	assert_int_equal(link_send(server.l, message(1, 1)), -ENOTCONN);
}

static void test_link_closed_by_the_accepting_side(void **state)
{
	meet(state);
	close_end(&server);
	client.close_in_down = true;
	RUN_UNTIL(client.downs);
	assert_int_equal(client.downs, 1);
	assert_int_equal(client.rc, -ECONNRESET);
	assert_null(client.l);
}

static void test_link_closed_in_its_up(void **state)
{
	client.close_in_up = true;
	meet(state);
	if (!server.downs)
		RUN_UNTIL(server.downs);
	assert_int_equal(server.downs, 1);
	assert_int_equal(client.downs, 0);
}

static void test_link_closed_in_its_message(void **state)
{
	meet(state);
	server.close_in_message = true;
	for (uint64_t i = 1; i <= 10; i++)
		send_one(&client, i, 100);
	RUN_UNTIL(client.downs);
	assert_int_equal(server.messages, 1);
	assert_int_equal(server.downs, 0);
	assert_int_equal(client.downs, 1);
}

static void test_link_closed_in_accept(void **state)
{
	server.close_in_accept = true;
	meet(state);
	if (!client.downs)
		RUN_UNTIL(client.downs);
	assert_int_equal(client.downs, 1);
	assert_null(server.l);
}

static void test_link_closed_before_it_was_up(void **state)
{
	const char *addr = *state ? *state : unix_addr;
	struct end other = {0};

	assert_int_equal(env_listen(e, addr, on_accept, &server, &listener), 0);
	addr = env_listener_addr(e, listener);
	assert_int_equal(env_connect(e, addr, &events, &client, &client.l), 0);
	assert_int_equal(env_connect(e, addr, &events, &other, &other.l), 0);
	close_end(&client);
	RUN_UNTIL(other.ups && server.accepts);
	assert_int_equal(other.ups, 1);
	assert_int_equal(client.ups + client.downs, 0);
}

static void test_listener_gone_refuses_and_keeps_its_links(void **state)
{
	struct end late = {0};
	char addr[ENV_ADDR_MAX];

	meet(state);
	snprintf(addr, sizeof(addr), "%s", env_listener_addr(e, listener));
	server.stop_at = 1;
	send_one(&client, 1, 1);
	RUN_UNTIL(server.messages == 1);
	env_unlisten(e, listener);
	assert_int_equal(env_connect(e, addr, &events, &late, &late.l), 0);
	RUN_UNTIL(late.downs);
	assert_int_equal(late.ups, 0);
	assert_int_equal(late.downs, 1);
	assert_int_equal(late.rc, addr[0] == 'u' ? -ENOENT : -ECONNREFUSED);
	server.stop_at = 2;
	send_one(&client, 2, 1);
	RUN_UNTIL(server.messages == 2);
	assert_int_equal(server.messages, 2);
}

static void test_listen_twice_is_refused(void **state)
{
	struct env_listener *second = NULL;

	meet(state);
	assert_int_equal(env_listen(e, env_listener_addr(e, listener), on_accept, &server, &second),
		-EADDRINUSE);
	assert_null(second);
}

static void test_loop_free_with_live_links(void **state)
{
	struct end half = {0};

	meet(state);
	send_one(&client, 1, 100000);
	if (server.l)
		send_one(&server, 1, 100000);
	assert_int_equal(
		env_connect(e, env_listener_addr(e, listener), &events, &half, &half.l), 0);
	loop_free(lp);
	assert_int_equal(client.downs + server.downs + half.ups + half.downs, 0);
	assert_int_equal(loop_new(&lp), 0); /* for teardown() */
}

static void on_work(struct env_job *j)
{
	(void)j;
}

static void on_work_done(struct env_job *j)
{
	(void)j;
	close_end(&client);
	env_unlisten(e, listener);
}

static void test_loop_free_lets_jobs_end_what_they_hold(void **state)
{
	struct env_job j = {.work = on_work, .done = on_work_done};

	meet(state);
	env_job(e, &j);
	loop_free(lp);
	assert_null(client.l);
	assert_int_equal(server.downs, 0);
	assert_int_equal(loop_new(&lp), 0); /* for teardown() */
}

#define TEST_AT(name, at)                                                                          \
	{                                                                                          \
#name " " at, name, setup, teardown, (void *)at                                    \
	}
/* the last is over a Unix socket in the test's folder */
#define TEST_EACH(name) TEST_AT(name, "local:test"), TEST_AT(name, "127.0.0.1:0"), TEST(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_EACH(test_link_echoes_in_order),
		TEST_EACH(test_link_carries_the_largest_body),
		TEST_EACH(test_link_last_words_come_before_down),
		TEST_EACH(test_link_closed_by_the_accepting_side),
		TEST_EACH(test_link_closed_in_its_up),
		TEST_EACH(test_link_closed_in_its_message),
		TEST_EACH(test_link_closed_in_accept),
		TEST_EACH(test_link_closed_before_it_was_up),
		TEST_EACH(test_listener_gone_refuses_and_keeps_its_links),
		TEST_EACH(test_listen_twice_is_refused),
		TEST_EACH(test_loop_free_with_live_links),
		TEST_EACH(test_loop_free_lets_jobs_end_what_they_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
