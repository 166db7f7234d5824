/*
 * Links over sockets: addresses, and peers that misbehave, which are plain sockets here.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/link_rig.h"

/* Whether a line of the log has all of these in it. */
static bool logged(const char *a, const char *b)
{
	FILE *f = fopen(log_path, "r");
	char line[1024];
	bool found = false;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, a) && strstr(line, b);
	fclose(f);
	return found;
}

/* ---- addresses ---- */

static struct sockaddr_un unix_name(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", unix_addr + strlen("unix:"));
	return un;
}

static void test_addresses_that_are_none(void **state)
{
	static const char *const bad[] = {"", ":", "host", "host:", ":70", "host:70000", "host:-1",
		"host:7x", "::1:70", "[::1]", "[::1]x:70", "[localhost]:70", "[]:70", "a b:70",
		"unix:", "unix:relative", "local:", "host:123456"};
	char longest[2 * ENV_ADDR_MAX];
	struct link *l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (env_connect(e, bad[i], &events, &client, &l) != -EINVAL)
			fail_msg("%s", bad[i]);
		if (env_listen(e, bad[i], on_accept, &server, &listener) != -EINVAL)
			fail_msg("%s", bad[i]);
	}
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(env_connect(e, longest, &events, &client, &l), -EINVAL);
	memcpy(longest, "unix:/", 6);
	longest[ENV_ADDR_MAX - 10] = 0; /* an address, but longer than a socket's path may be */
	assert_int_equal(env_connect(e, longest, &events, &client, &l), -EINVAL);
	assert_int_equal(env_connect(e, "127.0.0.1:0", &events, &client, &l), -EINVAL);
}

static void test_tcp_over_ipv6(void **state)
{
	static char addr[] = "[::1]:0";
	void *at = addr;
	int rc = env_listen(e, addr, on_accept, &server, &listener);

	(void)state;
	if (rc == -EADDRNOTAVAIL || rc == -EAFNOSUPPORT)
		skip(); /* a machine without IPv6 */
	assert_int_equal(rc, 0);
	assert_memory_equal(env_listener_addr(e, listener), "[::1]:", 6);
	env_unlisten(e, listener);
	meet(&at);
	server.stop_at = 1;
	send_one(&client, 1, 1000);
	RUN_UNTIL(server.messages == 1);
	assert_memory_equal(server.l->peer, "[::1]:", 6);
}

static void test_connect_by_name(void **state)
{
	char addr[ENV_ADDR_MAX];

	(void)state;
	assert_int_equal(env_listen(e, "127.0.0.1:0", on_accept, &server, &listener), 0);
	assert_memory_equal(env_listener_addr(e, listener), "127.0.0.1:", 10);
	/* may stand for ::1 first, where nobody listens */
	snprintf(addr, sizeof(addr), "localhost:%s", env_listener_addr(e, listener) + 10);
	assert_int_equal(env_connect(e, addr, &events, &client, &client.l), 0);
	RUN_UNTIL(client.ups);
	assert_int_equal(client.ups, 1);
	assert_string_equal(client.l->peer, addr);
}

static void test_connect_by_name_closed_while_looking_it_up(void **state)
{
	(void)state;
	assert_int_equal(env_connect(e, "localhost:1", &events, &client, &client.l), 0);
	close_end(&client);
	loop_free(lp);
	assert_int_equal(client.downs, 0);
	assert_int_equal(loop_new(&lp), 0); /* for teardown() */
}

static void test_unix_socket_left_over_is_replaced(void **state)
{
	struct sockaddr_un un = unix_name();
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	assert_int_equal(stat(un.sun_path, &st), 0);
	meet(state);
	env_unlisten(e, listener);
	assert_int_equal(stat(un.sun_path, &st), -1); /* and removed in the end */
}

static void test_unix_socket_too_busy_to_answer_is_kept(void **state)
{
	struct sockaddr_un un = unix_name();
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), in[8];
	size_t n = 0;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(fd, 0), 0);
	do {
		assert_in_range(n, 0, ARRAY_LEN(in) - 1);
		in[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	} while (!connect(in[n++], (struct sockaddr *)&un, sizeof(un)));
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(env_listen(e, unix_addr, on_accept, &server, &listener), -EADDRINUSE);
	assert_int_equal(access(un.sun_path, F_OK), 0);
	while (n)
		close(in[--n]);
	close(fd);
}

static void test_unix_file_that_is_no_socket_is_kept(void **state)
{
	const char *path = unix_addr + strlen("unix:");

	(void)state;
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(env_listen(e, unix_addr, on_accept, &server, &listener), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_unix_socket_of_another_is_not_removed(void **state)
{
	const char *path = unix_addr + strlen("unix:");

	(void)state;
	assert_int_equal(env_listen(e, unix_addr, on_accept, &server, &listener), 0);
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600)); /* somebody else's by now */
	env_unlisten(e, listener);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_listen_without_permission_or_address(void **state)
{
	(void)state;
	/* of the documentation's range: no machine has it */
	assert_int_equal(
		env_listen(e, "192.0.2.1:0", on_accept, &server, &listener), -EADDRNOTAVAIL);
	assert_int_equal(
		env_listen(e, "unix:/no/such/folder/sock", on_accept, &server, &listener), -ENOENT);
}

/* ---- peers that misbehave ---- */

/* A plain socket connected to our listener; server.l is the other end when the loop has run. */
static int raw_connect(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0), buffer = 1 << 20;

	assert_int_equal(env_listen(e, "127.0.0.1:0", on_accept, &server, &listener), 0);
	sa.sin_port = htons((uint16_t)atoi(strchr(env_listener_addr(e, listener), ':') + 1));
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void raw_write(int fd, const void *data, size_t len)
{
	assert_int_equal(write(fd, data, len), len);
}

/* Our end went down with @rc, named its peer in the log, and hung up. */
static void expect_closed(int fd, int rc, const char *name)
{
	char c;

	RUN_UNTIL(server.downs);
	assert_int_equal(server.messages, 0);
	assert_int_equal(server.downs, 1);
	assert_int_equal(server.rc, rc);
	assert_true(recv(fd, &c, 1, 0) <= 0);
	if (name)
		assert_true(logged(server.l->peer, name));
	close(fd);
}

static void test_tcp_garbage_closes_the_connection(void **state)
{
	int fd = raw_connect();

	(void)state;
	raw_write(fd, "GET / HTTP/1.1\r\nHost: orbit\r\n\r\n", 32);
	expect_closed(fd, -EPROTO, "rc=-EPROTO");
}

static void test_tcp_body_of_two_gib_closes_the_connection(void **state)
{
	struct frame *f = message(1, 0);
	uint32_t v = htole32(UINT32_C(1) << 31);
	int fd = raw_connect();

	(void)state;
	frame_seal(f);
	memcpy(f->b.data + 12, &v, 4);
	v = htole32(crc32c(f->b.data, 28));
	memcpy(f->b.data + 28, &v, 4);
	raw_write(fd, f->b.data, FRAME_HEAD);
	frame_unref(f);
	expect_closed(fd, -EMSGSIZE, "rc=-EMSGSIZE");
}

static void test_tcp_flipped_bits_close_the_connection(void **state)
{
	struct frame *f = message(1, 100);
	int fd = raw_connect();

	(void)state;
	frame_seal(f);
	f->b.data[FRAME_HEAD + 99] ^= 0x40;
	raw_write(fd, f->b.data, f->b.len);
	frame_unref(f);
	expect_closed(fd, -EBADMSG, "rc=-EBADMSG");
}

static void test_tcp_good_frames_before_a_bad_one_are_delivered(void **state)
{
	struct frame *f = message(1, 100);
	int fd = raw_connect();

	(void)state;
	frame_seal(f);
	raw_write(fd, f->b.data, f->b.len);
	raw_write(fd, "this is no header, although it is long enough", 40);
	frame_unref(f);
	RUN_UNTIL(server.downs);
	assert_int_equal(server.messages, 1);
	assert_int_equal(server.rc, -EPROTO);
	close(fd);
}

static void test_tcp_half_a_frame_is_dropped(void **state)
{
	struct frame *f = message(1, 100000);
	int fd = raw_connect();

	(void)state;
	frame_seal(f);
	raw_write(fd, f->b.data, 50000);
	frame_unref(f);
	shutdown(fd, SHUT_WR);
	expect_closed(fd, -ECONNRESET, NULL);
}

static void test_tcp_half_a_header_is_dropped(void **state)
{
	struct frame *f = message(1, 0);
	int fd = raw_connect();

	(void)state;
	frame_seal(f);
	raw_write(fd, f->b.data, FRAME_HEAD - 1);
	frame_unref(f);
	shutdown(fd, SHUT_WR);
	expect_closed(fd, -ECONNRESET, NULL);
}

struct dribble {
	struct env_task t;
	struct buf bytes;
	size_t sent;
	int fd;
};

static void on_dribble(struct env_task *t)
{
	struct dribble *d = container_of(t, struct dribble, t);

	raw_write(d->fd, d->bytes.data + d->sent++, 1);
	if (d->sent < d->bytes.len)
		env_post(e, t);
}

static void test_tcp_frames_in_single_bytes(void **state)
{
	struct dribble d = {.t.run = on_dribble};
	int fd = raw_connect();

	(void)state;
	for (uint64_t i = 1; i <= 3; i++) {
		struct frame *f = message(i, i == 2 ? 0 : 50);

		frame_seal(f);
		buf_bytes(&d.bytes, f->b.data, f->b.len);
		frame_unref(f);
	}
	d.fd = fd;
	env_post(e, &d.t);
	server.stop_at = 3;
	RUN_UNTIL(server.messages == 3);
	assert_int_equal(server.messages, 3);
	buf_fini(&d.bytes);
	close(fd);
}

static void test_tcp_refused_port(void **state)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char addr[ENV_ADDR_MAX];

	(void)state;
	/* bound, so that nobody else gets it; not listening */
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	snprintf(addr, sizeof(addr), "127.0.0.1:%u", ntohs(sa.sin_port));
	calling = true;
	assert_int_equal(env_connect(e, addr, &events, &client, &client.l), 0);
	calling = false;
	RUN_UNTIL(client.downs);
	assert_int_equal(client.ups, 0);
	assert_int_equal(client.downs, 1);
	assert_int_equal(client.rc, -ECONNREFUSED);
	close(fd);
}

struct reader {
	struct buf bytes;
	size_t want;
	int fd;
};

static void on_raw_readable(void *arg)
{
	struct reader *r = arg;
	size_t room = r->want - r->bytes.len;
	ssize_t n = recv(r->fd, r->bytes.data + r->bytes.len, room, MSG_DONTWAIT);

	assert_true(n > 0);
	r->bytes.len += (size_t)n;
	if (r->bytes.len == r->want)
		loop_stop(lp);
}

static void stop_loop(struct env_task *t)
{
	(void)t;
	loop_stop(lp);
}

static void test_tcp_frames_wait_for_a_peer_that_does_not_read(void **state)
{
	struct env_task stop = {.run = stop_loop};
	struct reader r = {.fd = raw_connect()};
	struct loop_watch *w;
	size_t len, at = 0;

	(void)state;
	RUN_UNTIL(server.accepts);
	/* more than the kernel ever keeps for a connection, and some that come later */
	for (uint64_t i = 1; i <= 16; i++) {
		send_one(&server, i, 4 << 20);
		r.want += FRAME_HEAD + (4 << 20);
		if (i % 8 == 0) {
			env_post(e, &stop);
			RUN_UNTIL(!stop.queued);
			assert_in_range(link_unsent(server.l), 1, r.want - 1);
		}
	}
	buf_reserve(&r.bytes, r.want);
	assert_int_equal(loop_watch_fd(lp, r.fd, on_raw_readable, &r, &w), 0);
	RUN_UNTIL(r.bytes.len == r.want);
	assert_int_equal(link_unsent(server.l), 0);
	for (uint64_t i = 1; i <= 16; i++) {
		struct frame *f = message(i, 4 << 20);

		assert_int_equal(frame_peek(r.bytes.data + at, &len), 0);
		assert_int_equal(len, frame_body_len(f));
		assert_memory_equal(r.bytes.data + at + FRAME_HEAD, frame_body(f), len);
		at += FRAME_HEAD + len;
		frame_unref(f);
	}
	assert_int_equal(server.downs, 0);
	loop_unwatch(w);
	buf_fini(&r.bytes);
	close(r.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_addresses_that_are_none),
		TEST(test_tcp_over_ipv6),
		TEST(test_connect_by_name),
		TEST(test_connect_by_name_closed_while_looking_it_up),
		TEST(test_unix_socket_left_over_is_replaced),
		TEST(test_unix_socket_too_busy_to_answer_is_kept),
		TEST(test_unix_file_that_is_no_socket_is_kept),
		TEST(test_unix_socket_of_another_is_not_removed),
		TEST(test_listen_without_permission_or_address),
		TEST(test_tcp_garbage_closes_the_connection),
		TEST(test_tcp_body_of_two_gib_closes_the_connection),
		TEST(test_tcp_flipped_bits_close_the_connection),
		TEST(test_tcp_good_frames_before_a_bad_one_are_delivered),
		TEST(test_tcp_half_a_frame_is_dropped),
		TEST(test_tcp_half_a_header_is_dropped),
		TEST(test_tcp_frames_in_single_bytes),
		TEST(test_tcp_refused_port),
		TEST(test_tcp_frames_wait_for_a_peer_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
