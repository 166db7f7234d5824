/*
 * Evaluating reads: what a transaction sees of the state before its writes. Values are appended by
 * the store right where they go; bytes of streams only get their room, the caller fills it.
 */
#include "dht/txn/eval.h"

#include <errno.h>

#include "dht/base/mem.h"
#include "dht/store/store.h"
#include "dht/wire/wire.h"

#define RANGES_MAX 256 /* pieces in one result */
#define MISSED_MAX 48  /* objects asked for at once: the store remembers some 64 misses */

static int read_get(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	int rc = eval_load(e, o);
	size_t at;

	if (rc)
		return rc;
	at = eval_result(e, op);
	if (o->present)
		txn_put_object(&e->out->results, &o->now);
	return eval_result_end(e, at, o->present);
}

static int read_map(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	size_t at = eval_result(e, op);
	int rc = eval_map_get(e, o, op->key, op->klen, &e->out->results);

	if (rc && rc != -ENOENT)
		return rc;
	return eval_result_end(e, at, rc == 0);
}

/*
 * Appends the object that the value of @vlen bytes at @val within the results names, if this shard
 * has it: 1 and 0. What is not in memory is noted and passed over, so that one wait brings in all
 * that a range names.
 */
static int follow(
	struct eval *e, const struct eval_object *o, size_t val, size_t vlen, const void *suffix)
{
	struct buf *b = &e->out->results;
	struct txn_object named;
	struct orbit_id id;
	int rc;

	if (b->err)
		return b->err;
	if (vlen < 8)
		return 0;
	id = orbit_id_make(get_be64(b->data + val), suffix);
	if (e->where->shard_of(e->where->arg, &id) != o->shard)
		return 0;
	if (e->missed == MISSED_MAX)
		return 0;
	rc = eval_header(e, o->shard, &id, &named);
	if (rc == -EAGAIN)
		e->missed++;
	if (rc == -EAGAIN || rc == -ENOENT)
		return 0;
	if (rc)
		return rc;
	txn_put_object(b, &named);
	return 1;
}

static int read_follow(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct buf *b = &e->out->results;
	size_t at = eval_result(e, op), val, vlen;
	int rc;

	buf_u32(b, 0);
	val = b->len;
	rc = eval_map_get(e, o, op->key, op->klen, b);
	if (rc == -ENOENT) {
		b->len = at + 8;
		return eval_result_end(e, at, 0);
	}
	if (rc)
		return rc;
	vlen = b->len - val;
	buf_set_u32(b, val - 4, (uint32_t)vlen);
	rc = follow(e, o, val, vlen, op->suffix);
	return rc < 0 ? rc : eval_result_end(e, at, rc ? 2 : 1);
}

/* ---- RANGE ---- */

static struct store_iter *range_iter(
	struct eval *e, const struct txn_op *op, const struct eval_object *o)
{
	struct key from, to;

	key_id(&to, KEY_MAP, o->shard, o->id);
	if (op->klen == 0) {
		from = to;
	} else {
		key_map(&from, o->shard, o->id, op->key, op->klen);
		/* the first key after @key is the one that is longer by a zero byte */
		if (!op->inclusive)
			from.b[from.len++] = 0;
	}
	key_after_prefix(&to);
	return store_iter_new(e->st, from.b, from.len, to.b, to.len);
}

/* Appends entries until the range, the asker's patience or the room ends: 1 when there are more. */
static int range_entries(struct eval *e, const struct txn_op *op, const struct eval_object *o,
	struct store_iter *it, uint32_t *n)
{
	struct buf *b = &e->out->results;
	size_t from = b->len, max = e->where->results_max;
	size_t limit = min_size(op->bytes, max > from ? max - from : 0);
	const void *key, *val;
	size_t klen, vlen, val_at;
	int rc;

	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		size_t head = KEY_HEAD + ORBIT_ID_LEN;
		size_t entry = 9 + klen - head + vlen + (op->suffix ? TXN_OBJECT_LEN : 0);

		if (*n == op->b || (*n > 0 && b->len - from + entry > limit))
			return 1;
		buf_blob(b, (const uint8_t *)key + head, klen - head);
		buf_blob(b, val, vlen);
		val_at = b->len - vlen;
		buf_u8(b, 0);
		if (op->suffix) {
			rc = follow(e, o, val_at, vlen, op->suffix);
			if (rc < 0)
				return rc;
			if (rc && !b->err)
				b->data[val_at + vlen] = 1;
		}
		++*n;
	}
	return rc;
}

static int read_range(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct buf *b = &e->out->results;
	struct store_iter *it;
	uint32_t n = 0;
	size_t at;
	int more = 0, rc = eval_load(e, o);

	if (rc)
		return rc;
	at = eval_result(e, op);
	buf_u8(b, 0);
	buf_u32(b, 0);
	if (o->present) {
		it = range_iter(e, op, o);
		more = range_entries(e, op, o, it, &n);
		store_iter_free(it);
	}
	if (more < 0)
		return more;
	if (!b->err)
		b->data[at + 8] = (uint8_t)more;
	buf_set_u32(b, at + 9, n);
	return eval_result_end(e, at, o->present);
}

/* ---- streams ---- */

static void add_fill(struct txn_outcome *out, const struct txn_fill *f)
{
	if (out->nfills == out->fill_cap) {
		out->fill_cap = out->fill_cap ? 2 * out->fill_cap : 4;
		out->fill = mem_grow(out->fill, out->fill_cap, sizeof(*out->fill));
	}
	out->fill[out->nfills++] = *f;
}

static int read_bytes(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct buf *b = &e->out->results;
	uint64_t len = 0;
	size_t at;
	void *room;
	int rc = eval_load(e, o);

	if (rc)
		return rc;
	if (op->a < o->now.stream_end)
		len = op->b < o->now.stream_end - op->a ? op->b : o->now.stream_end - op->a;
	at = eval_result(e, op);
	if (b->len + len > e->where->results_max)
		return WIRE_TOO_BIG;
	room = buf_add(b, len);
	if (room && len > 0 && o->now.stream_bytes == 0)
		memset(room, 0, len);
	else if (room && len > 0)
		add_fill(e->out, &(struct txn_fill){.at = b->len - len,
					 .len = len,
					 .off = op->a,
					 .id = *o->id,
					 .shard = o->shard});
	return eval_result_end(e, at, o->present);
}

static int read_ranges(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct store_range piece[RANGES_MAX];
	struct buf *b = &e->out->results;
	uint64_t end = op->a + op->b, stop, next;
	int n = 0, rc = eval_load(e, o);
	size_t at;

	if (rc)
		return rc;
	stop = end < o->now.stream_end ? end : o->now.stream_end;
	next = end;
	if (op->a < stop && o->now.stream_bytes > 0) {
		n = store_ranges(
			e->st, o->shard, o->id, op->a, stop - op->a, piece, RANGES_MAX, &next);
		if (n < 0)
			return n;
		if (next >= stop)
			next = end;
	}
	at = eval_result(e, op);
	buf_u64(b, next);
	buf_u32(b, (uint32_t)n);
	for (int i = 0; i < n; i++) {
		buf_u64(b, piece[i].off);
		buf_u64(b, piece[i].len);
	}
	return eval_result_end(e, at, o->present);
}

/* ---- HOLDS ---- */

static int read_holds(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct buf *b = &e->out->results;
	struct store_iter *it;
	const void *key, *val;
	size_t at, klen, vlen;
	uint32_t n = 0, session;
	int rc = eval_load(e, o);

	if (rc)
		return rc;
	at = eval_result(e, op);
	buf_u32(b, 0);
	it = eval_iter(e, o, KEY_HOLD);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1) {
		rc = eval_hold_session(key, klen, &session);
		if (!rc && b->len > e->where->results_max)
			rc = WIRE_TOO_BIG;
		if (rc)
			break;
		buf_u32(b, session);
		n++;
	}
	store_iter_free(it);
	if (rc)
		return rc;
	buf_set_u32(b, at + 8, n);
	return eval_result_end(e, at, o->present);
}

int eval_read(struct eval *e, const struct txn_op *op)
{
	struct eval_object *o = &e->object[op->object];

	switch (op->kind) {
	case TXN_GET:
		return read_get(e, op, o);
	case TXN_GET_MAP:
		return read_map(e, op, o);
	case TXN_RANGE:
		return read_range(e, op, o);
	case TXN_FOLLOW:
		return read_follow(e, op, o);
	case TXN_READ:
		return read_bytes(e, op, o);
	case TXN_RANGES:
		return read_ranges(e, op, o);
	case TXN_HOLDS:
		return read_holds(e, op, o);
	case TXN_LEASE:
		/* what is granted is told with the version */
		return eval_load(e, o);
	default:
		return WIRE_BAD_REQUEST;
	}
}
