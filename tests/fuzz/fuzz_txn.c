/*
 * Transactions and results out of any bytes. What the check lets through is walked to its last
 * byte: every pointer lies in the body and every limit holds.
 */
#include <stdlib.h>

#include "dht/txn/object.h"
#include "dht/txn/txn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void inside(const uint8_t *data, size_t size, const void *at, size_t len)
{
	const uint8_t *p = at;

	if (len)
		must(p >= data && len <= size && (size_t)(p - data) <= size - len);
}

static void fuzz_body(const uint8_t *data, size_t size)
{
	uint64_t read = 0, written = 0;
	struct txn_view v;
	struct txn_iter it;
	struct txn_op op;
	unsigned n = 0;
	int last = -1;

	if (txn_check(data, size, &v))
		return;
	must(v.nobjects <= TXN_OBJECTS_MAX && v.nops <= TXN_OPS_MAX);
	inside(data, size, v.object, v.nobjects * sizeof(*v.object));
	it = txn_iter_of(&v);
	while (txn_next(&it, &op)) {
		n++;
		must(op.object < v.nobjects && op.slot < TXN_SLOTS);
		must(op.index > last && op.index < TXN_OPS_MAX);
		must(op.klen <= TXN_KEY_MAX);
		last = op.index;
		inside(data, size, op.key, op.klen);
		inside(data, size, op.val, op.vlen);
		inside(data, size, op.suffix, op.suffix ? 24 : 0);
		inside(data, size, op.slots, 8 * (size_t)__builtin_popcount(op.mask));
		if (op.kind == TXN_WRITE) {
			must(op.vlen >= 1 && op.a + op.vlen <= TXN_STREAM_MAX);
			written += op.vlen;
		} else {
			must(op.vlen <= TXN_VALUE_MAX);
		}
		if (op.kind == TXN_READ)
			read += op.b;
		if (txn_is_write(op.kind))
			must(v.writes);
	}
	must(n == v.nops && it.c.left == 0);
	must(read <= TXN_DATA_MAX && written <= TXN_DATA_MAX);
}

static void fuzz_results(const uint8_t *data, size_t size)
{
	struct txn_results r = txn_results_of(data, size);
	struct txn_result res, found;

	while (txn_result_next(&r, &res) == 1) {
		inside(data, size, res.data, res.len);
		must(txn_result_find(data, size, res.index, &found) == 0);
		must(found.index == res.index);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct txn_object o;
	uint32_t count;

	if (size == 0)
		return 0;
	switch (data[0] & 3) {
	case 0:
		fuzz_results(data + 1, size - 1);
		break;
	case 1:
		if (object_decode(data + 1, size - 1, &o) == 0)
			must(o.stream_bytes <= o.stream_end);
		if (object_hold_decode(data + 1, size - 1, &count) == 0)
			must(count > 0);
		break;
	default:
		fuzz_body(data + 1, size - 1);
	}
	return 0;
}
