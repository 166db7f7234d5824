/*
 * Copying from one object's stream to another's: a COPY is a WRITE that does not bring its bytes.
 * Whoever executes the transaction gets them first, and puts them where they belong in the body.
 */
#include "dht/txn/txn.h"

#include <errno.h>

#include "dht/txn/parse.h"

int txn_expand(const struct txn_view *v, struct buf *b, struct txn_source *out)
{
	struct cur c = v->ops;
	int n = 0;

	buf_u8(b, (uint8_t)v->nobjects);
	buf_u8(b, 0);
	buf_u16(b, (uint16_t)v->nops);
	buf_bytes(b, v->object, (size_t)v->nobjects * ORBIT_ID_LEN);
	for (unsigned i = 0; i < v->nops; i++) {
		const uint8_t *from = c.p;
		struct txn_op op;

		txn_parse_op(&c, &op);
		if (op.kind != TXN_COPY) {
			buf_bytes(b, from, (size_t)(c.p - from));
			continue;
		}
		buf_u8(b, TXN_WRITE);
		buf_u8(b, op.object);
		buf_u16(b, op.index);
		buf_u64(b, op.a);
		buf_u32(b, op.bytes);
		out[n++] = (struct txn_source){
			.id = *op.source, .off = op.b, .len = op.bytes, .at = b->len};
		buf_add(b, op.bytes);
	}
	return b->err ? b->err : n;
}
