/*
 * link_rig: two ends of a link on one real loop, which count what happens to them.
 */
#ifndef ORBIT_TESTS_LINK_RIG_H
#define ORBIT_TESTS_LINK_RIG_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/net/loop.h"

/* Every up, down and accept stops the loop; whoever waits for more runs it again. */
#define RUN_UNTIL(cond)                                                                            \
	do                                                                                         \
		loop_run(lp);                                                                      \
	while (!(cond))

/* One end and what happened to it. */
struct end {
	struct link *l;
	int accepts, ups, messages, downs, rc;
	uint64_t last_id;
	bool echo;
	bool close_in_up, close_in_message, close_in_down, close_in_accept;
	int stop_at; /* messages after which the loop stops; 0: never */
	uint32_t crc;
	size_t len;
};

static struct loop *lp;
static struct env *e;
static char dir[64], unix_addr[96], log_path[96];
static struct end client, server;
static struct env_listener *listener;
static bool calling; /* inside a call that must not call back */

static inline int setup(void **state)
{
	(void)state;
	memset(&client, 0, sizeof(client));
	memset(&server, 0, sizeof(server));
	alarm(60); /* a loop that nobody stops is a failure, not a hang */
	snprintf(dir, sizeof(dir), "/tmp/orbit-link-XXXXXX");
	if (!mkdtemp(dir) || loop_new(&lp))
		return -1;
	snprintf(unix_addr, sizeof(unix_addr), "unix:%s/sock", dir);
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	e = loop_env(lp);
	return log_open(log_path);
}

static inline int teardown(void **state)
{
	(void)state;
	loop_free(lp);
	unlink(log_path);
	unlink(unix_addr + strlen("unix:"));
	rmdir(dir); /* fails when a test left something */
	alarm(0);
	return access(dir, F_OK) ? 0 : -1;
}

static inline void close_end(struct end *x)
{
	link_close(x->l);
	x->l = NULL;
}

static inline void on_up(struct link *l, void *arg)
{
	struct end *x = arg;

	assert_false(calling);
	assert_ptr_equal(l, x->l);
	assert_int_equal(x->ups + x->messages + x->downs, 0);
	x->ups++;
	if (x->close_in_up)
		close_end(x);
	loop_stop(lp);
}

static inline void on_message(struct link *l, struct frame *f, void *arg)
{
	struct end *x = arg;

	assert_false(calling);
	assert_ptr_equal(l, x->l);
	assert_int_equal(x->downs, 0);
	assert_true(f->id > x->last_id);
	x->last_id = f->id;
	x->messages++;
	x->len = frame_body_len(f);
	x->crc = crc32c(frame_body(f), x->len);
	if (x->echo) {
		calling = true;
		assert_int_equal(link_send(l, frame_ref(f)), 0);
		calling = false;
	}
	if (x->close_in_message)
		close_end(x);
	if (x->messages == x->stop_at)
		loop_stop(lp);
}

static inline void on_down(struct link *l, int rc, void *arg)
{
	struct end *x = arg;

	assert_false(calling);
	assert_ptr_equal(l, x->l);
	x->downs++;
	x->rc = rc;
	assert_int_equal(link_send(l, frame_new(1, 1, 0)), -ENOTCONN);
	assert_int_equal(link_unsent(l), 0);
	if (x->close_in_down)
		close_end(x);
	loop_stop(lp);
}

static const struct link_events events = {.up = on_up, .message = on_message, .down = on_down};

static inline void on_accept(struct link *l, void *arg)
{
	struct end *x = arg;

	assert_false(calling);
	assert_true(l->peer[0]);
	l->events = &events;
	l->arg = x;
	x->l = l;
	x->accepts++;
	if (x->close_in_accept)
		close_end(x);
	loop_stop(lp);
}

/* Listens at state's address and connects; returns when both know. */
static inline void meet(void **state)
{
	const char *addr = *state ? *state : unix_addr;

	assert_int_equal(env_listen(e, addr, on_accept, &server, &listener), 0);
	calling = true;
	assert_int_equal(
		env_connect(e, env_listener_addr(e, listener), &events, &client, &client.l), 0);
	assert_int_equal(link_send(client.l, frame_new(1, 1, 0)), -ENOTCONN);
	calling = false;
	RUN_UNTIL(client.ups && server.accepts);
	assert_int_equal(client.ups, 1);
}

static inline struct frame *message(uint64_t id, size_t len)
{
	struct frame *f = frame_new(3, id, len);
	uint8_t *p = buf_add(&f->b, len);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / 251 + id);
	return f;
}

static inline void send_one(struct end *x, uint64_t id, size_t len)
{
	calling = true;
	assert_int_equal(link_send(x->l, message(id, len)), 0);
	calling = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
