/*
 * Reading transactions and results: the layout of operations, the check that lets one in, and the
 * walks over what has been let in.
 */
#include "dht/txn/txn.h"

#include <errno.h>

#include "dht/base/mem.h"
#include "dht/txn/parse.h"

/* ---- operations ---- */

static const uint8_t shapes[] = {
	[TXN_EXISTS] = SHAPE_BARE,
	[TXN_ABSENT] = SHAPE_BARE,
	[TXN_SLOT_EQ] = SHAPE_SLOT,
	[TXN_SLOT_NE] = SHAPE_SLOT,
	[TXN_MAP_EQ] = SHAPE_PAIR,
	[TXN_MAP_ABSENT] = SHAPE_KEY,
	[TXN_MAP_PRESENT] = SHAPE_KEY,
	[TXN_MAP_EMPTY] = SHAPE_BARE,
	[TXN_VERSION_EQ] = SHAPE_VERSION,
	[TXN_NO_HOLD] = SHAPE_BARE,
	[TXN_GET] = SHAPE_BARE,
	[TXN_GET_MAP] = SHAPE_KEY,
	[TXN_RANGE] = SHAPE_RANGE,
	[TXN_FOLLOW] = SHAPE_FOLLOW,
	[TXN_READ] = SHAPE_EXTENT,
	[TXN_RANGES] = SHAPE_EXTENT,
	[TXN_HOLDS] = SHAPE_BARE,
	[TXN_LEASE] = SHAPE_LEASE,
	[TXN_CREATE] = SHAPE_CREATE,
	[TXN_DELETE] = SHAPE_BARE,
	[TXN_SET] = SHAPE_SLOT,
	[TXN_ADD] = SHAPE_SLOT,
	[TXN_MAX] = SHAPE_SLOT,
	[TXN_REF] = SHAPE_SLOT,
	[TXN_PUT] = SHAPE_PAIR,
	[TXN_DEL] = SHAPE_KEY,
	[TXN_WRITE] = SHAPE_WRITE,
	[TXN_PUNCH] = SHAPE_EXTENT,
	[TXN_HOLD] = SHAPE_BARE,
	[TXN_UNHOLD] = SHAPE_SESSION,
	[TXN_MIN] = SHAPE_SLOT,
	[TXN_COPY] = SHAPE_COPY,
};

enum txn_shape txn_shape(unsigned kind)
{
	return kind < ARRAY_LEN(shapes) ? (enum txn_shape)shapes[kind] : SHAPE_NONE;
}

static void parse_key(struct cur *c, struct txn_op *op)
{
	op->klen = cur_u16(c);
	op->key = cur_bytes(c, op->klen);
}

static void parse_bytes(struct cur *c, struct txn_op *op)
{
	op->vlen = cur_u32(c);
	op->val = cur_bytes(c, op->vlen);
}

static void parse_range(struct cur *c, struct txn_op *op)
{
	uint8_t flags = cur_u8(c);

	if (flags & ~(TXN_RANGE_INCLUSIVE | TXN_RANGE_SUFFIX))
		cur_fail(c);
	op->inclusive = flags & TXN_RANGE_INCLUSIVE;
	op->b = cur_u32(c);
	op->bytes = cur_u32(c);
	parse_key(c, op);
	if (flags & TXN_RANGE_SUFFIX)
		op->suffix = cur_bytes(c, TXN_SUFFIX_LEN);
}

void txn_parse_op(struct cur *c, struct txn_op *op)
{
	memset(op, 0, sizeof(*op));
	op->kind = cur_u8(c);
	op->object = cur_u8(c);
	op->index = cur_u16(c);
	switch (txn_shape(op->kind)) {
	case SHAPE_NONE:
		cur_fail(c);
		break;
	case SHAPE_BARE:
		break;
	case SHAPE_SLOT:
		op->slot = cur_u8(c);
		op->a = cur_u64(c);
		break;
	case SHAPE_KEY:
		parse_key(c, op);
		break;
	case SHAPE_PAIR:
		parse_key(c, op);
		parse_bytes(c, op);
		break;
	case SHAPE_VERSION:
		op->a = cur_u64(c);
		break;
	case SHAPE_RANGE:
		parse_range(c, op);
		break;
	case SHAPE_FOLLOW:
		parse_key(c, op);
		op->suffix = cur_bytes(c, TXN_SUFFIX_LEN);
		break;
	case SHAPE_EXTENT:
		op->a = cur_u64(c);
		op->b = cur_u64(c);
		break;
	case SHAPE_CREATE:
		op->mask = cur_u16(c);
		op->slots = cur_bytes(c, 8 * (size_t)__builtin_popcount(op->mask));
		break;
	case SHAPE_SESSION:
		op->a = cur_u32(c);
		break;
	case SHAPE_LEASE:
		op->slot = cur_u8(c);
		op->a = (op->slot & TXN_LEASE_TRY) != 0;
		op->slot &= (uint8_t)~TXN_LEASE_TRY;
		break;
	case SHAPE_WRITE:
		op->a = cur_u64(c);
		parse_bytes(c, op);
		break;
	case SHAPE_COPY:
		op->a = cur_u64(c);
		op->bytes = cur_u32(c);
		op->source = cur_bytes(c, ORBIT_ID_LEN);
		op->b = cur_u64(c);
		break;
	}
}

/* ---- the check ---- */

struct check {
	uint64_t read, written; /* bytes of bulk data so far */
	uint64_t used;          /* bit per object that an operation names */
	int last_index;
};

static bool extent_fits(uint64_t off, uint64_t len)
{
	return off <= TXN_STREAM_MAX && len <= TXN_STREAM_MAX - off;
}

/* Limits of one operation whose layout is right. */
static bool op_fits(const struct txn_op *op, struct check *k)
{
	switch (txn_shape(op->kind)) {
	case SHAPE_SLOT:
		return op->slot < TXN_SLOTS;
	case SHAPE_KEY:
	case SHAPE_FOLLOW:
		return op->klen >= 1 && op->klen <= TXN_KEY_MAX;
	case SHAPE_PAIR:
		return op->klen >= 1 && op->klen <= TXN_KEY_MAX && op->vlen <= TXN_VALUE_MAX;
	case SHAPE_RANGE:
		return op->klen <= TXN_KEY_MAX && op->b >= 1;
	case SHAPE_EXTENT:
		if (op->kind == TXN_PUNCH)
			return op->a <= TXN_STREAM_MAX && op->a <= op->b &&
			       (op->b <= TXN_STREAM_MAX || op->b == UINT64_MAX);
		if (!extent_fits(op->a, op->b))
			return false;
		if (op->kind != TXN_READ)
			return true;
		if (op->b > TXN_DATA_MAX)
			return false;
		k->read += op->b;
		return k->read <= TXN_DATA_MAX;
	case SHAPE_SESSION:
		return op->a <= TXN_SESSION_MAX;
	case SHAPE_LEASE:
		return op->slot == TXN_LEASE_EXCLUSIVE || (op->slot == TXN_LEASE_SHARED && !op->a);
	case SHAPE_WRITE:
		k->written += op->vlen;
		return op->vlen >= 1 && extent_fits(op->a, op->vlen) && k->written <= TXN_DATA_MAX;
	case SHAPE_COPY:
		k->written += op->bytes;
		return op->bytes >= 1 && extent_fits(op->a, op->bytes) &&
		       extent_fits(op->b, op->bytes) && k->written <= TXN_DATA_MAX;
	default:
		return true;
	}
}

static bool objects_differ(const struct orbit_id *id, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		for (unsigned k = 0; k < i; k++) {
			if (orbit_id_cmp(&id[i], &id[k]) == 0)
				return false;
		}
	}
	return true;
}

int txn_check(const void *body, size_t len, struct txn_view *v)
{
	struct cur c = cur_of(body, len);
	struct check k = {.last_index = -1};
	struct txn_op op;

	memset(v, 0, sizeof(*v));
	if (len > TXN_BODY_MAX)
		return -EBADMSG;
	v->nobjects = cur_u8(&c);
	if (cur_u8(&c) != 0)
		return -EBADMSG;
	v->nops = cur_u16(&c);
	if (v->nobjects > TXN_OBJECTS_MAX || v->nops > TXN_OPS_MAX)
		return -EBADMSG;
	v->object = cur_bytes(&c, (size_t)v->nobjects * ORBIT_ID_LEN);
	if (!cur_ok(&c) || !objects_differ(v->object, v->nobjects))
		return -EBADMSG;
	v->ops = c;
	for (unsigned i = 0; i < v->nops; i++) {
		txn_parse_op(&c, &op);
		if (!cur_ok(&c) || op.object >= v->nobjects || op.index >= TXN_OPS_MAX ||
			op.index <= k.last_index || !op_fits(&op, &k))
			return -EBADMSG;
		k.last_index = op.index;
		k.used |= UINT64_C(1) << op.object;
		v->writes |= txn_is_write(op.kind);
		v->leases |= op.kind == TXN_LEASE;
		v->copies |= op.kind == TXN_COPY;
	}
	if (!cur_done(&c) || (unsigned)__builtin_popcountll(k.used) != v->nobjects)
		return -EBADMSG;
	return 0;
}

struct txn_iter txn_iter_of(const struct txn_view *v)
{
	return (struct txn_iter){.c = v->ops, .left = v->nops};
}

bool txn_next(struct txn_iter *it, struct txn_op *op)
{
	if (it->left == 0)
		return false;
	it->left--;
	txn_parse_op(&it->c, op);
	return cur_ok(&it->c);
}

/* ---- results ---- */

struct txn_results txn_results_of(const void *data, size_t len)
{
	return (struct txn_results){.c = cur_of(data, len)};
}

/* The length of a payload is right for its kind, as far as it is fixed. */
static bool result_fits(const struct txn_result *r)
{
	switch (r->kind) {
	case TXN_GET:
		return r->present <= 1 && r->len == (r->present ? TXN_OBJECT_LEN : 0);
	case TXN_GET_MAP:
		return r->present <= 1 && r->len <= (r->present ? TXN_VALUE_MAX : 0);
	case TXN_FOLLOW:
		return r->present <= 2 && (r->len > 0) == (r->present > 0);
	case TXN_READ:
		return r->present <= 1 && r->len <= TXN_DATA_MAX;
	case TXN_RANGE:
		return r->present <= 1 && r->len >= 5;
	case TXN_RANGES:
		return r->present <= 1 && r->len >= 12;
	case TXN_HOLDS:
		return r->present <= 1 && r->len >= 4;
	case TXN_WRITE:
	case TXN_PUNCH:
	case TXN_DELETE:
		return r->present <= 1 && r->len == 8;
	default:
		return false;
	}
}

int txn_result_next(struct txn_results *r, struct txn_result *out)
{
	if (cur_done(&r->c))
		return 0;
	out->index = cur_u16(&r->c);
	out->kind = cur_u8(&r->c);
	out->present = cur_u8(&r->c);
	out->len = cur_u32(&r->c);
	out->data = cur_bytes(&r->c, out->len);
	if (cur_ok(&r->c) && out->index < TXN_OPS_MAX && result_fits(out))
		return 1;
	cur_fail(&r->c);
	return -EBADMSG;
}

int txn_result_find(const void *data, size_t len, unsigned index, struct txn_result *out)
{
	struct txn_results r = txn_results_of(data, len);
	int rc;

	while ((rc = txn_result_next(&r, out)) == 1) {
		if (out->index == index)
			return 0;
	}
	return rc ? rc : -ENOENT;
}
