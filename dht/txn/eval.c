/*
 * Evaluating a transaction: all compares, then all reads, then the writes in order, so that the
 * first failed compare ends it before anything was read, and reads see the state before the writes.
 *
 * Nothing waits: the first thing that is not in memory ends the evaluation with -EAGAIN, after all
 * else that the transaction names has been asked for, so that one wait brings in everything.
 */
#include "dht/txn/eval.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/store.h"
#include "dht/wire/wire.h"

void txn_outcome_init(struct txn_outcome *o)
{
	memset(o, 0, sizeof(*o));
	effect_init(&o->effect);
}

void txn_outcome_fini(struct txn_outcome *o)
{
	buf_fini(&o->results);
	effect_fini(&o->effect);
	free(o->fill);
	memset(o, 0, sizeof(*o));
}

/* ---- looking things up ---- */

static int damaged(const struct orbit_id *id, const char *what)
{
	char hex[ORBIT_ID_HEX];

	log_error("mod=txn object=%s what=%s msg=\"a record of the index makes no sense\"",
		orbit_id_hex(id, hex), what);
	return -EIO;
}

int eval_header(struct eval *e, uint16_t shard, const struct orbit_id *id, struct txn_object *out)
{
	struct key k;
	int rc;

	key_id(&k, KEY_HEADER, shard, id);
	buf_reset(&e->tmp);
	rc = store_get(e->st, k.b, k.len, &e->tmp);
	if (rc)
		return rc;
	if (e->tmp.err)
		return e->tmp.err;
	return object_decode(e->tmp.data, e->tmp.len, out) ? damaged(id, "header") : 0;
}

int eval_load(struct eval *e, struct eval_object *o)
{
	int rc;

	if (o->loaded)
		return 0;
	rc = eval_header(e, o->shard, o->id, &o->now);
	if (rc && rc != -ENOENT)
		return rc;
	o->loaded = true;
	o->present = rc == 0;
	if (!o->present)
		memset(&o->now, 0, sizeof(o->now));
	o->end0 = o->now.stream_end;
	o->bytes0 = o->now.stream_bytes;
	return 0;
}

int eval_map_get(
	struct eval *e, const struct eval_object *o, const void *key, size_t klen, struct buf *val)
{
	struct key k;
	int rc;

	if (key_map(&k, o->shard, o->id, key, klen))
		return WIRE_BAD_REQUEST;
	rc = store_get(e->st, k.b, k.len, val);
	return rc ? rc : val ? val->err : 0;
}

struct store_iter *eval_iter(struct eval *e, const struct eval_object *o, enum key_class class)
{
	struct key from, to;

	key_id(&from, class, o->shard, o->id);
	to = from;
	key_after_prefix(&to);
	return store_iter_new(e->st, from.b, from.len, to.b, to.len);
}

int eval_hold_session(const void *key, size_t klen, uint32_t *session)
{
	const uint8_t *at = (const uint8_t *)key + KEY_HEAD + ORBIT_ID_LEN;

	if (klen != KEY_HEAD + ORBIT_ID_LEN + 4)
		return -EIO;
	*session = (uint32_t)get_be16(at) << 16 | get_be16(at + 2);
	return 0;
}

/* 1 when a class has anything of the object, 0 when not. */
static int has_any(struct eval *e, const struct eval_object *o, enum key_class class)
{
	struct store_iter *it = eval_iter(e, o, class);
	const void *key, *val;
	size_t klen, vlen;
	int rc = store_iter_next(it, &key, &klen, &val, &vlen);

	store_iter_free(it);
	return rc;
}

/* ---- results ---- */

size_t eval_result(struct eval *e, const struct txn_op *op)
{
	struct buf *b = &e->out->results;
	size_t at = b->len;

	buf_u16(b, op->index);
	buf_u8(b, (uint8_t)op->kind);
	buf_u8(b, 0);
	buf_u32(b, 0);
	return at;
}

int eval_result_end(struct eval *e, size_t at, uint8_t present)
{
	struct buf *b = &e->out->results;

	if (b->err)
		return b->err;
	if (b->len > e->where->results_max)
		return WIRE_TOO_BIG;
	b->data[at + 3] = present;
	buf_set_u32(b, at + 4, (uint32_t)(b->len - at - 8));
	return 0;
}

/* ---- compares ---- */

static int must(bool holds)
{
	return holds ? 0 : WIRE_COMPARE;
}

static int compare_header(struct eval *e, const struct txn_op *op)
{
	struct eval_object *o = &e->object[op->object];
	int rc = eval_load(e, o);

	if (rc)
		return rc;
	switch (op->kind) {
	case TXN_EXISTS:
		return must(o->present);
	case TXN_ABSENT:
		return must(!o->present);
	case TXN_SLOT_EQ:
		return must(o->present && o->now.slot[op->slot] == op->a);
	case TXN_SLOT_NE:
		return must(o->present && o->now.slot[op->slot] != op->a);
	case TXN_VERSION_EQ:
		return must(o->present && o->now.version == op->a);
	default:
		return WIRE_BAD_REQUEST;
	}
}

/* An absent object has no entries and no holds. */
static int compare_rest(struct eval *e, const struct txn_op *op)
{
	struct eval_object *o = &e->object[op->object];
	int rc;

	switch (op->kind) {
	case TXN_MAP_EQ:
		buf_reset(&e->tmp);
		rc = eval_map_get(e, o, op->key, op->klen, &e->tmp);
		if (rc == -ENOENT)
			return WIRE_COMPARE;
		if (rc)
			return rc;
		return must(e->tmp.len == op->vlen &&
			    (op->vlen == 0 || memcmp(e->tmp.data, op->val, op->vlen) == 0));
	case TXN_MAP_ABSENT:
	case TXN_MAP_PRESENT:
		rc = eval_map_get(e, o, op->key, op->klen, NULL);
		if (rc && rc != -ENOENT)
			return rc;
		return must((rc == 0) == (op->kind == TXN_MAP_PRESENT));
	case TXN_MAP_EMPTY:
		rc = has_any(e, o, KEY_MAP);
		return rc < 0 ? rc : must(rc == 0);
	case TXN_NO_HOLD:
		rc = has_any(e, o, KEY_HOLD);
		return rc < 0 ? rc : must(rc == 0);
	default:
		return compare_header(e, op);
	}
}

/* ---- the whole ---- */

/* Runs @fn over the operations that @pick picks. */
static int pass(struct eval *e, bool (*pick)(enum txn_kind),
	int (*fn)(struct eval *e, const struct txn_op *op))
{
	struct txn_iter it = txn_iter_of(e->v);
	struct txn_op op;
	int rc;

	while (txn_next(&it, &op)) {
		if (!pick(op.kind))
			continue;
		rc = fn(e, &op);
		if (rc) {
			e->out->failed = op.index;
			return rc;
		}
	}
	return 0;
}

/* Asks for all that the transaction names, so that one wait brings it all in. */
static void touch(struct eval *e)
{
	struct txn_iter it = txn_iter_of(e->v);
	struct txn_op op;
	struct key k;

	for (unsigned i = 0; i < e->v->nobjects; i++) {
		if (e->object[i].loaded)
			continue;
		key_id(&k, KEY_HEADER, e->object[i].shard, e->object[i].id);
		store_get(e->st, k.b, k.len, NULL);
	}
	while (txn_next(&it, &op)) {
		enum txn_shape shape = txn_shape(op.kind);

		if (txn_is_write(op.kind))
			continue;
		if (shape == SHAPE_KEY || shape == SHAPE_PAIR || shape == SHAPE_FOLLOW)
			eval_map_get(e, &e->object[op.object], op.key, op.klen, NULL);
	}
}

/* Finds out where each object lives. */
static int begin(struct eval *e)
{
	for (unsigned i = 0; i < e->v->nobjects; i++) {
		struct eval_object *o = &e->object[i];
		int shard = e->where->shard_of(e->where->arg, &e->v->object[i]);

		if (shard < 0)
			return WIRE_WRONG_NODE;
		o->id = &e->v->object[i];
		o->shard = (uint16_t)shard;
		o->loaded = o->present = o->changed = o->touched = o->fresh = false;
		o->orphan = -1;
		o->first_change = 0;
	}
	return 0;
}

/* A transaction that failed leaves nothing behind. */
static void clear(struct txn_outcome *out)
{
	buf_reset(&out->results);
	effect_fini(&out->effect);
	effect_init(&out->effect);
	out->nfills = 0;
}

int txn_eval(struct store *st, const struct txn_view *v, enum txn_part part,
	const struct txn_where *where, struct txn_outcome *out)
{
	struct eval e;
	int rc;

	/* the tables at its end are large and set up as far as they are used */
	memset(&e, 0, offsetof(struct eval, object));
	e.st = st;
	e.v = v;
	e.where = where;
	e.out = out;
	e.emit = part != TXN_VOTE;
	e.commit = part == TXN_COMMIT;
	rc = begin(&e);
	if (!rc && part != TXN_COMMIT)
		rc = pass(&e, txn_is_compare, compare_rest);
	if (!rc && part != TXN_COMMIT)
		rc = pass(&e, txn_is_read, eval_read);
	if (!rc && e.missed)
		rc = -EAGAIN;
	if (!rc && v->writes)
		rc = eval_writes(&e);
	if (rc == -EAGAIN)
		touch(&e);
	if (!rc)
		rc = out->results.err ? out->results.err : out->effect.meta.err;
	if (rc)
		clear(out);
	buf_fini(&e.tmp);
	out->status = rc > 0 ? (uint16_t)rc : WIRE_OK;
	return rc < 0 ? rc : 0;
}
