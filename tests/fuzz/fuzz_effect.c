/* libFuzzer: no bytes make effect_next(), move_next() or history_decode() read outside of them or
 * go on for ever; a history that is taken makes sense. */
#include <stdint.h>
#include <stdlib.h>

#include "dht/store/history.h"
#include "dht/store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct effect_iter it = effect_iter_of(data, size);
	volatile uint8_t sum = 0;
	struct effect_op op;
	struct history h;
	struct move_op mv;
	struct record r;
	struct cur c;

	while (effect_next(&it, &op) > 0) {
		for (size_t i = 0; i < op.klen; i++)
			sum ^= ((const uint8_t *)op.key)[i];
		for (size_t i = 0; i < op.vlen; i++)
			sum ^= ((const uint8_t *)op.val)[i];
		for (size_t i = 0; i < 4 * op.ncrcs; i++)
			sum ^= op.crcs[i];
		if (op.kind == EFFECT_WRITE && op.data_at + op.len > EFFECT_DATA_MAX)
			abort();
	}
	c = cur_of(data, size);
	if (!history_decode(&c, &h)) {
		if (h.seq && h.nterms && !history_contains(&h, h.term, h.seq))
			abort();
		free((void *)h.terms);
	}
	it = move_iter_of(data, size);
	while (move_next(&it, &mv) > 0) {
		for (size_t i = 0; i < 4 * effect_chunks(mv.start, mv.len); i++)
			sum ^= mv.crcs[i];
	}
	if (size >= RECORD_HEAD && !record_parse(&r, data, 0) && size - RECORD_HEAD >= r.meta_len)
		(void)record_check(&r, data, data + RECORD_HEAD);
	(void)sum;
	return 0;
}
