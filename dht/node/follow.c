/*
 * What a transaction shows of objects that it does not name: those that the values of entries name
 * (FOLLOW, RANGE), as far as they lie in the shard of the object that has the entry. They are known
 * only after it was evaluated.
 */
#include "dht/node/impl.h"

/* Of one result; false: fn() said so. */
static bool each(const struct txn_op *op, const struct txn_result *res,
	bool (*fn)(void *arg, const struct orbit_id *id, uint64_t version), void *arg)
{
	struct cur c = cur_of(res->data, res->len);
	bool single = op->kind == TXN_FOLLOW;
	struct orbit_id id;
	const void *value;
	uint32_t n = 1;
	size_t len;

	if (!single) {
		cur_u8(&c);
		n = cur_u32(&c);
	}
	while (n--) {
		if (!single)
			cur_blob(&c, TXN_KEY_MAX, &len);
		value = cur_blob(&c, TXN_VALUE_MAX, &len);
		if (single ? res->present != 2 : !cur_u8(&c))
			continue;
		if (!value || len < 8)
			return true;
		id = orbit_id_make(get_be64(value), op->suffix);
		if (!fn(arg, &id, txn_get_object(&c).version))
			return false;
		if (!cur_ok(&c))
			return true;
	}
	return true;
}

bool followed_each(struct exec *x,
	bool (*fn)(void *arg, const struct orbit_id *id, uint64_t version), void *arg)
{
	struct txn_iter it = txn_iter_of(&x->v);
	struct txn_result res;
	struct txn_op op;

	while (txn_next(&it, &op)) {
		if (!op.suffix || txn_result_find(x->f->b.data + x->results_from,
					  x->f->b.len - x->results_from, op.index, &res))
			continue;
		if (!each(&op, &res, fn, arg))
			return false;
	}
	return true;
}

static bool unlocked(void *arg, const struct orbit_id *id, uint64_t version)
{
	struct exec *x = arg;

	(void)version;
	x->blocked = node_shard(x->r.n, ring_shard_of(x->r.n->ring, id));
	return !lock_conflict_read(&x->blocked->locks, id);
}

struct shard *followed_blocked(struct exec *x)
{
	bool any = false;

	for (unsigned i = 0; i < x->nparts; i++)
		any |= !lock_none(&x->parts[i].shard->locks);
	return any && !followed_each(x, unlocked, x) ? x->blocked : NULL;
}
