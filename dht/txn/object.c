#include "dht/txn/object.h"

#include <errno.h>

static uint8_t *put_u64(uint8_t *at, uint64_t v)
{
	v = htole64(v);
	memcpy(at, &v, 8);
	return at + 8;
}

static void object_fields(const struct txn_object *o, uint8_t *at)
{
	at = put_u64(at, o->version);
	at = put_u64(at, o->stream_end);
	at = put_u64(at, o->stream_bytes);
	for (unsigned i = 0; i < TXN_SLOTS; i++)
		at = put_u64(at, o->slot[i]);
}

void txn_put_object(struct buf *b, const struct txn_object *o)
{
	uint8_t *at = buf_add(b, TXN_OBJECT_LEN);

	if (at)
		object_fields(o, at);
}

struct txn_object txn_get_object(struct cur *c)
{
	struct txn_object o;

	o.version = cur_u64(c);
	o.stream_end = cur_u64(c);
	o.stream_bytes = cur_u64(c);
	for (unsigned i = 0; i < TXN_SLOTS; i++)
		o.slot[i] = cur_u64(c);
	return o;
}

void object_encode(const struct txn_object *o, bool fresh, uint8_t out[OBJECT_HEADER_LEN])
{
	out[0] = fresh ? OBJECT_FORMAT_FRESH : OBJECT_FORMAT;
	object_fields(o, out + 1);
}

int object_decode(const void *val, size_t len, struct txn_object *o)
{
	struct cur c = cur_of(val, len);
	uint8_t format = cur_u8(&c);

	if (len != OBJECT_HEADER_LEN || (format != OBJECT_FORMAT && format != OBJECT_FORMAT_FRESH))
		return -EBADMSG;
	*o = txn_get_object(&c);
	if (o->stream_end > TXN_STREAM_MAX || o->stream_bytes > o->stream_end)
		return -EBADMSG;
	return 0;
}

bool object_fresh(const void *val, size_t len)
{
	return len == OBJECT_HEADER_LEN && *(const uint8_t *)val == OBJECT_FORMAT_FRESH;
}

int object_hold_decode(const void *val, size_t len, uint32_t *count)
{
	struct cur c = cur_of(val, len);

	*count = cur_u32(&c);
	return cur_done(&c) && *count > 0 ? 0 : -EBADMSG;
}
