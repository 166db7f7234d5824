/*
 * Messages out of any bytes: the first byte chooses the message, the rest is its body. What passes
 * is walked to its last byte and, where the layout is exact, encodes to the very same bytes again.
 */
#include <stdlib.h>

#include "dht/wire/wire.h"
#include "dht/wire/wire_keep.h"
#include "dht/wire/wire_lease.h"
#include "dht/wire/wire_watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void walk(const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink ^= ((const uint8_t *)data)[i];
}

static void walk_stat(void *arg, const char *name, size_t nlen, const char *text, size_t tlen)
{
	(void)arg;
	walk(name, nlen);
	walk(text, tlen);
}

static void same(const struct buf *b, struct cur c, size_t more)
{
	if (b->err || b->len + more != c.left || (b->len && memcmp(b->data, c.p, b->len)))
		abort();
}

static void fuzz_txn(struct cur c, struct buf *b)
{
	struct wire_txn m;

	if (wire_get_txn(c, &m))
		return;
	for (unsigned i = 0; i < m.nabandoned; i++)
		sink ^= (uint8_t)wire_abandoned(&m, i);
	for (unsigned i = 0; i < m.nparticipants; i++)
		sink ^= (uint8_t)wire_participant(&m, i);
	walk(m.body, m.body_len);
	wire_put_txn_head(b, &m);
	same(b, c, m.body_len);
}

static void fuzz_reply(struct cur c, struct buf *b)
{
	struct wire_effect e[16];
	struct wire_reply m;

	if (wire_get_reply(c, &m))
		return;
	walk(m.results, m.results_len);
	for (unsigned i = 0; i < m.neffects; i++)
		e[i % 16] = wire_effect_at(&m, i);
	if (m.neffects > 16)
		return;
	wire_put_reply_head(b, m.status, m.failed, m.epoch, e, m.neffects);
	same(b, c, m.results_len);
}

static void fuzz_leases(struct cur c, struct buf *b)
{
	struct wire_lease_one one;
	struct wire_leases m;

	if (wire_get_leases(c, &m))
		return;
	wire_put_leases_head(b, &m);
	for (uint32_t i = m.n; i > 0; i--) {
		one = wire_lease_next(&m);
		wire_put_lease_one(b, &one);
	}
	same(b, c, 0);
}

static void fuzz_rest(uint8_t type, struct cur c, struct buf *b)
{
	struct wire_session_open so;
	struct wire_session s;
	struct wire_decide d;
	struct wire_hello h;
	struct wire_error e;
	struct wire_list l;
	struct wire_carry w;
	struct wire_watch wa;
	struct wire_notice no;
	struct wire_sync y;
	struct wire_map m;
	struct wire_ask_m a;

	switch (type) {
	case WIRE_ASK:
		if (wire_get_ask(c, &a) == 0) {
			wire_put_ask(b, &a);
			same(b, c, 0);
		}
		break;
	case WIRE_HELLO:
		if (wire_get_hello(c, &h) == 0) {
			wire_put_hello(b, &h);
			same(b, c, c.left - b->len);
		}
		break;
	case WIRE_ERROR:
		if (wire_get_error(c, &e) == 0)
			walk(e.text, e.text_len);
		break;
	case WIRE_MAP:
		if (wire_get_map(c, &m) == 0) {
			walk(m.map, m.map_len);
			wire_put_map(b, &m);
			same(b, c, 0);
		}
		break;
	case WIRE_SESSION_OPEN:
		if (wire_get_session_open(c, &so) == 0) {
			wire_put_session_open(b, &so);
			same(b, c, 0);
		}
		break;
	case WIRE_SESSION:
		if (wire_get_session(c, &s) == 0) {
			wire_put_session(b, &s);
			same(b, c, 0);
		}
		break;
	case WIRE_DECIDE:
		if (wire_get_decide(c, &d) == 0) {
			wire_put_decide(b, &d);
			same(b, c, 0);
		}
		break;
	case WIRE_SYNC:
		if (wire_get_sync(c, &y) == 0) {
			for (unsigned i = 0; i < y.neffects; i++)
				sink ^= (uint8_t)wire_sync_at(&y, i).seq;
		}
		break;
	case WIRE_LIST:
		if (wire_get_list(c, &l) == 0) {
			walk(l.after, l.after_len);
			wire_put_list(b, &l);
			same(b, c, 0);
		}
		break;
	case WIRE_WATCH:
		if (wire_get_watch(c, &wa) == 0) {
			wire_put_watch(b, &wa);
			same(b, c, 0);
		}
		break;
	case WIRE_NOTICE:
		if (wire_get_notice(c, &no) == 0) {
			wire_put_notice(b, &no);
			same(b, c, 0);
		}
		break;
	case WIRE_CARRY:
		if (wire_get_carry(c, &w) == 0) {
			wire_put_carry_head(b, &w.node, w.type);
			walk(w.body, w.body_len);
			same(b, c, w.body_len);
		}
		break;
	case WIRE_GRANT:
	case WIRE_RECALL:
	case WIRE_RETURN:
	case WIRE_CLAIM:
	case WIRE_HOLDING:
		fuzz_leases(c, b);
		break;
	case WIRE_STATS:
		wire_get_stats(c, walk_stat, NULL);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = {0};
	uint64_t epoch;
	struct cur c;

	if (size == 0)
		return 0;
	c = cur_of(data + 1, size - 1);
	switch (data[0]) {
	case WIRE_MAP_GET:
		wire_get_map_get(c, &epoch);
		break;
	case WIRE_TXN:
		fuzz_txn(c, &b);
		break;
	case WIRE_REPLY:
		fuzz_reply(c, &b);
		break;
	default:
		fuzz_rest(data[0], c, &b);
	}
	buf_fini(&b);
	return 0;
}
