/*
 * Builds a transaction again from its encoding: when the shards of one that was sent whole have
 * come apart, it has to be cut into parts. Each operation gets the index that it had.
 */
#include "dht/client/client.h"

#include <errno.h>

static int again(struct txn_build *t, const struct orbit_id *id, const struct txn_op *op)
{
	uint64_t slot[TXN_SLOTS] = {0};
	struct cur c;

	switch (op->kind) {
	case TXN_EXISTS:
		return txn_exists(t, id);
	case TXN_ABSENT:
		return txn_absent(t, id);
	case TXN_SLOT_EQ:
		return txn_slot_eq(t, id, op->slot, op->a);
	case TXN_SLOT_NE:
		return txn_slot_ne(t, id, op->slot, op->a);
	case TXN_MAP_EQ:
		return txn_map_eq(t, id, op->key, op->klen, op->val, op->vlen);
	case TXN_MAP_ABSENT:
		return txn_map_absent(t, id, op->key, op->klen);
	case TXN_MAP_PRESENT:
		return txn_map_present(t, id, op->key, op->klen);
	case TXN_MAP_EMPTY:
		return txn_map_empty(t, id);
	case TXN_VERSION_EQ:
		return txn_version_eq(t, id, op->a);
	case TXN_NO_HOLD:
		return txn_no_hold(t, id);
	case TXN_GET:
		return txn_get(t, id);
	case TXN_GET_MAP:
		return txn_get_map(t, id, op->key, op->klen);
	case TXN_RANGE:
		return txn_range(t, id, op->key, op->klen, op->inclusive, (uint32_t)op->b,
			op->bytes, op->suffix);
	case TXN_FOLLOW:
		return txn_follow(t, id, op->key, op->klen, op->suffix);
	case TXN_READ:
		return txn_read(t, id, op->a, (uint32_t)op->b);
	case TXN_RANGES:
		return txn_ranges(t, id, op->a, op->b);
	case TXN_HOLDS:
		return txn_holds(t, id);
	case TXN_LEASE:
		return txn_lease(t, id, op->slot, op->a);
	case TXN_CREATE:
		c = cur_of(op->slots, 8 * (size_t)__builtin_popcount(op->mask));
		for (unsigned i = 0; i < TXN_SLOTS; i++)
			if (op->mask & 1u << i)
				slot[i] = cur_u64(&c);
		return txn_create(t, id, op->mask, slot);
	case TXN_DELETE:
		return txn_delete(t, id);
	case TXN_SET:
		return txn_set(t, id, op->slot, op->a);
	case TXN_ADD:
		return txn_add(t, id, op->slot, (int64_t)op->a);
	case TXN_MAX:
		return txn_max(t, id, op->slot, op->a);
	case TXN_MIN:
		return txn_min(t, id, op->slot, op->a);
	case TXN_REF:
		return txn_refer(t, id, op->slot, (int64_t)op->a);
	case TXN_PUT:
		return txn_put(t, id, op->key, op->klen, op->val, op->vlen);
	case TXN_DEL:
		return txn_del(t, id, op->key, op->klen);
	case TXN_WRITE:
		return txn_write(t, id, op->a, op->val, op->vlen);
	case TXN_PUNCH:
		return txn_punch(t, id, op->a, op->b);
	case TXN_COPY:
		return txn_copy(t, id, op->a, op->source, op->b, op->bytes);
	case TXN_HOLD:
		return txn_hold(t, id);
	case TXN_UNHOLD:
		return txn_unhold(t, id, (uint32_t)op->a);
	}
	return -EINVAL;
}

int rebuild_txn(struct txn_build *t, const void *body, size_t len)
{
	struct txn_view v;
	struct txn_iter it;
	struct txn_op op;
	struct orbit_id id;
	int rc = txn_check(body, len, &v);

	if (rc)
		return rc;
	for (it = txn_iter_of(&v); txn_next(&it, &op);) {
		id = v.object[op.object];
		rc = again(t, &id, &op);
		if (rc < 0)
			return rc;
		if (rc != op.index)
			return -EINVAL;
	}
	return 0;
}
