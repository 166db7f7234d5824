/*
 * Evaluating writes: working copies of the headers change, maps and streams go into the effect as
 * the operations come, and what changed of each header goes last, once per object.
 *
 * An operation concerns one object, hence one shard: with several shards the operations are walked
 * once for each, which gives the effect one section per shard. A section begins with its first
 * operation: what changes nothing makes no effect and uses up no number.
 *
 * Bytes of a stream are counted as they change. What stands in a range before a WRITE or PUNCH is
 * known from the earlier ones of this transaction, then from the header (beyond the end there is
 * nothing; a stream with as many bytes as it is long has no holes), and only then from the store.
 */
#include "dht/txn/eval.h"

#include <errno.h>

#include "dht/store/store.h"
#include "dht/wire/wire.h"

#define COUNT_PIECES 64

/* The effect, in this shard's section; NULL when no effect is wanted. */
static struct effect *emit(struct eval *e, const struct eval_object *o)
{
	uint64_t term;

	if (!e->emit)
		return NULL;
	if (!e->begun) {
		e->where->next(e->where->arg, o->shard, &term, &e->seq);
		effect_section(&e->out->effect, o->shard, term, e->seq);
		e->begun = true;
	}
	return &e->out->effect;
}

static void emit_put(struct eval *e, const struct eval_object *o, const struct key *k,
	const void *val, size_t vlen)
{
	struct effect *to = emit(e, o);

	if (to)
		effect_put(to, k->b, k->len, val, vlen);
}

static void emit_del(struct eval *e, const struct eval_object *o, const void *key, size_t klen)
{
	struct effect *to = emit(e, o);

	if (to)
		effect_del(to, key, klen);
}

static int put_gained(struct eval *e, const struct txn_op *op, int64_t gained, bool present)
{
	size_t at = eval_result(e, op);

	buf_u64(&e->out->results, (uint64_t)gained);
	return eval_result_end(e, at, present);
}

/* ---- holds ---- */

/* The hold of @session on the object, read from the store the first time. */
static int find_hold(
	struct eval *e, const struct txn_op *op, uint32_t session, struct eval_hold **out)
{
	const struct eval_object *o = &e->object[op->object];
	struct eval_hold *h;
	struct key k;
	int rc;

	for (unsigned i = 0; i < e->nholds; i++) {
		h = &e->hold[i];
		if (h->object == op->object && h->session == session) {
			*out = h;
			return 0;
		}
	}
	h = &e->hold[e->nholds];
	*h = (struct eval_hold){.object = op->object, .session = session};
	if (!o->fresh) {
		key_hold(&k, o->shard, o->id, session);
		buf_reset(&e->tmp);
		rc = store_get(e->st, k.b, k.len, &e->tmp);
		if (rc && rc != -ENOENT)
			return rc;
		if (rc == 0 && object_hold_decode(e->tmp.data, e->tmp.len, &h->was))
			return -EIO;
	}
	h->now = h->was;
	e->nholds++;
	*out = h;
	return 0;
}

static int do_hold(struct eval *e, const struct txn_op *op)
{
	struct eval_hold *h;
	int rc = find_hold(e, op, e->where->session, &h);

	if (rc)
		return rc;
	if (h->now == UINT32_MAX)
		return WIRE_OVERFLOW;
	h->now++;
	return 0;
}

static int do_unhold(struct eval *e, const struct txn_op *op)
{
	bool all = op->a != 0;
	struct eval_hold *h;
	int rc = find_hold(e, op, all ? (uint32_t)op->a : e->where->session, &h);

	if (rc)
		return rc;
	if (all)
		h->now = 0;
	else if (h->now > 0)
		h->now--;
	return 0;
}

static void finish_hold(struct eval *e, struct eval_hold *h)
{
	const struct eval_object *o = &e->object[h->object];
	uint32_t count = htole32(h->now);
	struct key k;

	if (h->now == h->was)
		return;
	key_hold(&k, o->shard, o->id, h->session);
	if (h->now)
		emit_put(e, o, &k, &count, sizeof(count));
	else
		emit_del(e, o, k.b, k.len);
}

/* The holds of an object that is deleted go with it. */
static int drop_holds(struct eval *e, const struct txn_op *op, const struct eval_object *o)
{
	struct store_iter *it;
	const void *key, *val;
	size_t klen, vlen;
	int rc;

	for (unsigned i = 0; i < e->nholds; i++) {
		if (e->hold[i].object == op->object)
			e->hold[i].was = e->hold[i].now = 0;
	}
	if (o->fresh)
		return 0;
	it = eval_iter(e, o, KEY_HOLD);
	while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) == 1)
		emit_del(e, o, key, klen);
	store_iter_free(it);
	return rc;
}

/* ---- objects and slots ---- */

static int do_create(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct cur c = cur_of(op->slots, 8 * (size_t)__builtin_popcount(op->mask));

	(void)e;
	if (o->present)
		return WIRE_COMPARE;
	memset(&o->now, 0, sizeof(o->now));
	for (unsigned i = 0; i < TXN_SLOTS; i++) {
		if (op->mask & 1u << i)
			o->now.slot[i] = cur_u64(&c);
	}
	o->present = o->changed = o->fresh = true;
	return 0;
}

static int do_delete(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	int64_t gained = -(int64_t)o->now.stream_bytes;
	struct effect *to;
	struct key k;
	int rc;

	if (!o->present)
		return put_gained(e, op, 0, false);
	rc = drop_holds(e, op, o);
	if (rc)
		return rc;
	if (!o->fresh) {
		key_id(&k, KEY_ORPHAN, o->shard, o->id);
		rc = store_get(e->st, k.b, k.len, NULL);
		if (rc && rc != -ENOENT)
			return rc;
		if (rc == 0)
			emit_del(e, o, k.b, k.len);
	}
	/* dropping also takes what this very effect put there before */
	if (!o->fresh || o->touched) {
		to = emit(e, o);
		if (to)
			effect_drop(to, o->id);
	}
	memset(&o->now, 0, sizeof(o->now));
	o->present = o->changed = o->touched = false;
	o->fresh = true;
	o->orphan = -1;
	o->first_change = e->nchanges;
	return put_gained(e, op, gained, true);
}

static void set_slot(struct eval_object *o, unsigned slot, uint64_t value)
{
	if (o->now.slot[slot] == value)
		return;
	o->now.slot[slot] = value;
	o->changed = true;
}

/* ADDs share a slot's lock, so each may have been voted for while only one of them fits. Half a
 * commit would be worse than a slot that stops at its limit. */
static int do_add(const struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	int64_t sum;

	if (__builtin_add_overflow((int64_t)o->now.slot[op->slot], (int64_t)op->a, &sum) ||
		sum < 0) {
		if (!e->commit)
			return WIRE_OVERFLOW;
		sum = (int64_t)op->a < 0 ? 0 : INT64_MAX;
	}
	set_slot(o, op->slot, (uint64_t)sum);
	return 0;
}

static int do_refer(const struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	uint64_t before = o->now.slot[op->slot];
	int rc = do_add(e, op, o);

	if (rc)
		return rc;
	if (o->now.slot[op->slot] == 0)
		o->orphan = 1;
	else if (before == 0)
		o->orphan = 0;
	return 0;
}

/* ---- streams ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static int count_stored(
	struct eval *e, const struct eval_object *o, uint64_t from, uint64_t to, uint64_t *sum)
{
	struct store_range piece[COUNT_PIECES];

	to = min_u64(to, o->end0);
	if (o->fresh || from >= to || o->bytes0 == 0)
		return 0;
	if (o->bytes0 == o->end0) {
		*sum += to - from;
		return 0;
	}
	while (from < to) {
		uint64_t next = to;
		int n = store_ranges(
			e->st, o->shard, o->id, from, to - from, piece, COUNT_PIECES, &next);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			*sum += piece[i].len;
		if (next <= from)
			return -EIO;
		from = next;
	}
	return 0;
}

/* As the stream stands after the first @n changes. The latest change that meets the range says what
 * is where they meet; what lies to its sides is older. */
static int count(struct eval *e, const struct eval_object *o, uint64_t from, uint64_t to,
	unsigned n, uint64_t *sum)
{
	while (n > o->first_change && from < to) {
		const struct eval_change *c = &e->change[--n];
		uint64_t lo, hi;
		int rc;

		if (&e->object[c->object] != o || c->to <= from || c->from >= to)
			continue;
		lo = max_u64(from, c->from);
		hi = min_u64(to, c->to);
		if (c->data)
			*sum += hi - lo;
		rc = count(e, o, from, lo, n, sum);
		if (rc)
			return rc;
		from = hi;
	}
	return count_stored(e, o, from, to, sum);
}

int eval_count(
	struct eval *e, const struct eval_object *o, uint64_t from, uint64_t to, uint64_t *sum)
{
	*sum = 0;
	to = min_u64(to, o->now.stream_end);
	if (from >= to)
		return 0;
	if (o->now.stream_bytes == o->now.stream_end) {
		*sum = to - from;
		return 0;
	}
	if (o->now.stream_bytes == 0)
		return 0;
	return count(e, o, from, to, e->nchanges, sum);
}

static void add_change(
	struct eval *e, const struct txn_op *op, uint64_t from, uint64_t to, bool data)
{
	e->change[e->nchanges++] =
		(struct eval_change){.from = from, .to = to, .object = op->object, .data = data};
}

static int do_write(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	uint64_t end = op->a + op->vlen, had, bytes;
	struct effect *to;
	int rc = eval_count(e, o, op->a, end, &had);

	if (rc)
		return rc;
	bytes = o->now.stream_bytes + op->vlen - had;
	o->now.stream_end = max_u64(o->now.stream_end, end);
	/* a store that lost bytes to damage may count fewer than the header: never promise more
	 * bytes than the stream is long */
	o->now.stream_bytes = min_u64(bytes, o->now.stream_end);
	o->changed = o->touched = true;
	add_change(e, op, op->a, end, true);
	to = emit(e, o);
	if (to)
		effect_write(to, o->id, op->a, op->val, op->vlen);
	return put_gained(e, op, (int64_t)(op->vlen - had), true);
}

static int do_punch(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	uint64_t end = o->now.stream_end, had;
	struct effect *to;
	int rc = eval_count(e, o, op->a, op->b, &had);

	if (rc)
		return rc;
	if (op->b == UINT64_MAX)
		end = min_u64(op->a, end);
	if (had == 0 && end == o->now.stream_end)
		return put_gained(e, op, 0, true);
	had = min_u64(had, o->now.stream_bytes);
	o->now.stream_end = end;
	o->now.stream_bytes = min_u64(o->now.stream_bytes - had, end);
	o->changed = o->touched = true;
	add_change(e, op, op->a, op->b, false);
	to = emit(e, o);
	if (to)
		effect_punch(to, o->id, op->a, op->b);
	return put_gained(e, op, -(int64_t)had, true);
}

/* ---- maps ---- */

static int do_map(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	struct key k;

	if (key_map(&k, o->shard, o->id, op->key, op->klen))
		return WIRE_BAD_REQUEST;
	if (op->kind == TXN_PUT)
		emit_put(e, o, &k, op->val, op->vlen);
	else
		emit_del(e, o, k.b, k.len);
	o->changed = o->touched = true;
	return 0;
}

/* ---- the whole ---- */

/* Operations that an absent object fails. */
static int write_present(struct eval *e, const struct txn_op *op, struct eval_object *o)
{
	int64_t old = (int64_t)o->now.slot[op->slot], value = (int64_t)op->a;

	switch (op->kind) {
	case TXN_SET:
		set_slot(o, op->slot, op->a);
		return 0;
	case TXN_MAX:
		set_slot(o, op->slot, (uint64_t)(value > old ? value : old));
		return 0;
	case TXN_MIN:
		set_slot(o, op->slot, (uint64_t)(value < old ? value : old));
		return 0;
	case TXN_ADD:
		return do_add(e, op, o);
	case TXN_REF:
		return do_refer(e, op, o);
	case TXN_PUT:
	case TXN_DEL:
		return do_map(e, op, o);
	case TXN_WRITE:
		return do_write(e, op, o);
	case TXN_PUNCH:
		return do_punch(e, op, o);
	case TXN_HOLD:
		return do_hold(e, op);
	case TXN_UNHOLD:
		return do_unhold(e, op);
	default:
		return WIRE_BAD_REQUEST;
	}
}

static int write_op(struct eval *e, const struct txn_op *op)
{
	struct eval_object *o = &e->object[op->object];
	int rc = eval_load(e, o);

	if (rc)
		return rc;
	if (op->kind == TXN_CREATE)
		return do_create(e, op, o);
	if (op->kind == TXN_DELETE)
		return do_delete(e, op, o);
	if (o->present)
		return write_present(e, op, o);
	return op->kind == TXN_DEL || op->kind == TXN_UNHOLD ? 0 : WIRE_COMPARE;
}

/* What became of an object's header and its place among the orphans. */
static void finish_object(struct eval *e, struct eval_object *o)
{
	uint8_t header[OBJECT_HEADER_LEN];
	struct key k;

	if (!e->emit || !o->present)
		return;
	if (o->orphan >= 0) {
		key_id(&k, KEY_ORPHAN, o->shard, o->id);
		if (o->orphan)
			emit_put(e, o, &k, "", 0);
		else
			emit_del(e, o, k.b, k.len);
	}
	if (o->changed) {
		emit(e, o);
		o->now.version = e->seq;
		object_encode(&o->now, o->fresh, header);
		key_id(&k, KEY_HEADER, o->shard, o->id);
		emit_put(e, o, &k, header, sizeof(header));
	}
}

static int write_shard(struct eval *e, uint16_t shard)
{
	struct txn_iter it = txn_iter_of(e->v);
	struct txn_op op;
	int rc;

	e->begun = false;
	while (txn_next(&it, &op)) {
		if (!txn_is_write(op.kind) || e->object[op.object].shard != shard)
			continue;
		rc = write_op(e, &op);
		if (rc) {
			e->out->failed = op.index;
			return rc;
		}
	}
	for (unsigned i = 0; i < e->v->nobjects; i++) {
		if (e->object[i].shard == shard && e->object[i].loaded)
			finish_object(e, &e->object[i]);
	}
	for (unsigned i = 0; i < e->nholds; i++) {
		if (e->object[e->hold[i].object].shard == shard)
			finish_hold(e, &e->hold[i]);
	}
	return 0;
}

int eval_writes(struct eval *e)
{
	for (unsigned i = 0; i < e->v->nobjects; i++) {
		unsigned k = 0;
		int rc;

		while (e->object[k].shard != e->object[i].shard)
			k++;
		if (k < i)
			continue; /* this shard has been walked */
		rc = write_shard(e, e->object[i].shard);
		if (rc)
			return rc;
	}
	return 0;
}
