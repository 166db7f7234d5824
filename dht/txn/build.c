/*
 * Building a transaction: operations are encoded as they are added, the objects that they name are
 * collected in a table. txn_encode() puts both together; for one shard of several it leaves out
 * what other shards do and numbers the objects anew.
 */
#include "dht/txn/txn.h"

#include <errno.h>

#include "dht/txn/parse.h"

void txn_init(struct txn_build *t)
{
	buf_init(&t->ops);
	t->nops = 0;
	t->nobjects = 0;
	t->writes = t->wishes = t->lease_followed = false;
	t->changes = 0;
	t->read = t->written = 0;
	t->err = 0;
}

void txn_fini(struct txn_build *t)
{
	buf_fini(&t->ops);
}

static int fail(struct txn_build *t, int rc)
{
	if (!t->err)
		t->err = rc;
	return t->err;
}

static int find_object(struct txn_build *t, const struct orbit_id *id)
{
	for (unsigned i = 0; i < t->nobjects; i++) {
		if (orbit_id_cmp(&t->object[i], id) == 0)
			return (int)i;
	}
	if (t->nobjects == TXN_OBJECTS_MAX)
		return fail(t, -E2BIG);
	t->object[t->nobjects] = *id;
	return t->nobjects++;
}

/* Begins an operation that takes @len bytes behind its head; 0, or the sticky error. */
static int begin(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id, size_t len)
{
	int object;

	if (t->err)
		return t->err;
	if (t->nops == TXN_OPS_MAX)
		return fail(t, -E2BIG);
	object = find_object(t, id);
	if (object < 0)
		return object;
	if (TXN_HEAD_LEN + (size_t)t->nobjects * ORBIT_ID_LEN + t->ops.len + TXN_OP_HEAD_LEN + len >
		TXN_BODY_MAX)
		return fail(t, -E2BIG);
	if (buf_reserve(&t->ops, TXN_OP_HEAD_LEN + len))
		return fail(t, -ENOMEM);
	buf_u8(&t->ops, (uint8_t)kind);
	buf_u8(&t->ops, (uint8_t)object);
	buf_u16(&t->ops, t->nops);
	t->writes |= txn_is_write(kind);
	if (txn_is_write(kind) && kind != TXN_HOLD && kind != TXN_UNHOLD)
		t->changes |= UINT64_C(1) << object;
	return 0;
}

/* Ends an operation and says its index. */
static int end(struct txn_build *t)
{
	if (t->ops.err)
		return fail(t, t->ops.err);
	return t->nops++;
}

/* ---- one builder per layout ---- */

static int add_bare(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id)
{
	int rc = begin(t, kind, id, 0);

	return rc ? rc : end(t);
}

static int add_slot(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id,
	unsigned slot, uint64_t value)
{
	int rc;

	if (slot >= TXN_SLOTS)
		return fail(t, -EINVAL);
	rc = begin(t, kind, id, 9);
	if (rc)
		return rc;
	buf_u8(&t->ops, (uint8_t)slot);
	buf_u64(&t->ops, value);
	return end(t);
}

/* A key, and behind it @more bytes of which the caller knows. */
static int begin_key(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id,
	const void *key, size_t klen, size_t more)
{
	int rc;

	if (klen < 1)
		return fail(t, -EINVAL);
	if (klen > TXN_KEY_MAX)
		return fail(t, -E2BIG);
	rc = begin(t, kind, id, 2 + klen + more);
	if (rc)
		return rc;
	buf_u16(&t->ops, (uint16_t)klen);
	buf_bytes(&t->ops, key, klen);
	return 0;
}

static int add_key(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id,
	const void *key, size_t klen)
{
	int rc = begin_key(t, kind, id, key, klen, 0);

	return rc ? rc : end(t);
}

static int add_pair(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id,
	const void *key, size_t klen, const void *val, size_t vlen)
{
	int rc;

	if (vlen > TXN_VALUE_MAX)
		return fail(t, -E2BIG);
	rc = begin_key(t, kind, id, key, klen, 4 + vlen);
	if (rc)
		return rc;
	buf_blob(&t->ops, val, vlen);
	return end(t);
}

static int add_extent(struct txn_build *t, enum txn_kind kind, const struct orbit_id *id,
	uint64_t off, uint64_t len_or_end)
{
	int rc = begin(t, kind, id, 16);

	if (rc)
		return rc;
	buf_u64(&t->ops, off);
	buf_u64(&t->ops, len_or_end);
	return end(t);
}

static bool extent_fits(uint64_t off, uint64_t len)
{
	return off <= TXN_STREAM_MAX && len <= TXN_STREAM_MAX - off;
}

/* ---- compares ---- */

int txn_exists(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_EXISTS, id);
}

int txn_absent(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_ABSENT, id);
}

int txn_slot_eq(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value)
{
	return add_slot(t, TXN_SLOT_EQ, id, slot, value);
}

int txn_slot_ne(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value)
{
	return add_slot(t, TXN_SLOT_NE, id, slot, value);
}

int txn_map_eq(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *val, size_t vlen)
{
	return add_pair(t, TXN_MAP_EQ, id, key, klen, val, vlen);
}

int txn_map_absent(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen)
{
	return add_key(t, TXN_MAP_ABSENT, id, key, klen);
}

int txn_map_present(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen)
{
	return add_key(t, TXN_MAP_PRESENT, id, key, klen);
}

int txn_map_empty(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_MAP_EMPTY, id);
}

int txn_version_eq(struct txn_build *t, const struct orbit_id *id, uint64_t version)
{
	int rc = begin(t, TXN_VERSION_EQ, id, 8);

	if (rc)
		return rc;
	buf_u64(&t->ops, version);
	return end(t);
}

int txn_no_hold(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_NO_HOLD, id);
}

/* ---- reads ---- */

int txn_get(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_GET, id);
}

int txn_get_map(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen)
{
	return add_key(t, TXN_GET_MAP, id, key, klen);
}

int txn_range(struct txn_build *t, const struct orbit_id *id, const void *from, size_t flen,
	bool inclusive, uint32_t max, uint32_t bytes, const void *suffix)
{
	int rc;

	if (max < 1)
		return fail(t, -EINVAL);
	if (flen > TXN_KEY_MAX)
		return fail(t, -E2BIG);
	rc = begin(t, TXN_RANGE, id, 11 + flen + (suffix ? TXN_SUFFIX_LEN : 0));
	if (rc)
		return rc;
	buf_u8(&t->ops,
		(uint8_t)((inclusive ? TXN_RANGE_INCLUSIVE : 0) | (suffix ? TXN_RANGE_SUFFIX : 0)));
	buf_u32(&t->ops, max);
	buf_u32(&t->ops, bytes);
	buf_u16(&t->ops, (uint16_t)flen);
	buf_bytes(&t->ops, from, flen);
	if (suffix)
		buf_bytes(&t->ops, suffix, TXN_SUFFIX_LEN);
	return end(t);
}

int txn_follow(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *suffix)
{
	int rc = begin_key(t, TXN_FOLLOW, id, key, klen, TXN_SUFFIX_LEN);

	if (rc)
		return rc;
	buf_bytes(&t->ops, suffix, TXN_SUFFIX_LEN);
	return end(t);
}

int txn_read(struct txn_build *t, const struct orbit_id *id, uint64_t off, uint32_t len)
{
	if (!extent_fits(off, len))
		return fail(t, -EINVAL);
	if (len > TXN_DATA_MAX - t->read)
		return fail(t, -E2BIG);
	t->read += len;
	return add_extent(t, TXN_READ, id, off, len);
}

int txn_ranges(struct txn_build *t, const struct orbit_id *id, uint64_t off, uint64_t len)
{
	if (!extent_fits(off, len))
		return fail(t, -EINVAL);
	return add_extent(t, TXN_RANGES, id, off, len);
}

int txn_holds(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_HOLDS, id);
}

int txn_lease(struct txn_build *t, const struct orbit_id *id, unsigned mode, bool try)
{
	int rc;

	if (mode != TXN_LEASE_SHARED && mode != TXN_LEASE_EXCLUSIVE)
		return fail(t, -EINVAL);
	rc = begin(t, TXN_LEASE, id, 1);
	if (rc)
		return rc;
	/* a shared one is never waited for */
	if (try && mode == TXN_LEASE_EXCLUSIVE)
		mode |= TXN_LEASE_TRY;
	buf_u8(&t->ops, (uint8_t)mode);
	t->wishes = true;
	return end(t);
}

void txn_lease_followed(struct txn_build *t)
{
	t->lease_followed = true;
}

/* ---- writes ---- */

int txn_create(struct txn_build *t, const struct orbit_id *id, uint16_t mask,
	const uint64_t slot[TXN_SLOTS])
{
	int rc = begin(t, TXN_CREATE, id, 2 + 8 * (size_t)__builtin_popcount(mask));

	if (rc)
		return rc;
	buf_u16(&t->ops, mask);
	for (unsigned i = 0; i < TXN_SLOTS; i++) {
		if (mask & 1u << i)
			buf_u64(&t->ops, slot[i]);
	}
	return end(t);
}

int txn_delete(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_DELETE, id);
}

int txn_set(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value)
{
	return add_slot(t, TXN_SET, id, slot, value);
}

int txn_add(struct txn_build *t, const struct orbit_id *id, unsigned slot, int64_t value)
{
	return add_slot(t, TXN_ADD, id, slot, (uint64_t)value);
}

int txn_max(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value)
{
	return add_slot(t, TXN_MAX, id, slot, value);
}

int txn_min(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value)
{
	return add_slot(t, TXN_MIN, id, slot, value);
}

int txn_refer(struct txn_build *t, const struct orbit_id *id, unsigned slot, int64_t value)
{
	return add_slot(t, TXN_REF, id, slot, (uint64_t)value);
}

int txn_put(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *val, size_t vlen)
{
	return add_pair(t, TXN_PUT, id, key, klen, val, vlen);
}

int txn_del(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen)
{
	return add_key(t, TXN_DEL, id, key, klen);
}

int txn_write_room(
	struct txn_build *t, const struct orbit_id *id, uint64_t off, size_t len, void **room)
{
	int rc;

	*room = NULL;
	if (len < 1 || !extent_fits(off, len))
		return fail(t, -EINVAL);
	if (len > TXN_DATA_MAX - t->written)
		return fail(t, -E2BIG);
	rc = begin(t, TXN_WRITE, id, 12 + len);
	if (rc)
		return rc;
	buf_u64(&t->ops, off);
	buf_u32(&t->ops, (uint32_t)len);
	t->written += (uint32_t)len;
	*room = buf_add(&t->ops, len);
	return end(t);
}

int txn_write(
	struct txn_build *t, const struct orbit_id *id, uint64_t off, const void *data, size_t len)
{
	void *room;
	int index = txn_write_room(t, id, off, len, &room);

	if (room)
		memcpy(room, data, len);
	return index;
}

int txn_punch(struct txn_build *t, const struct orbit_id *id, uint64_t from, uint64_t to)
{
	if (from > TXN_STREAM_MAX || from > to || (to > TXN_STREAM_MAX && to != UINT64_MAX))
		return fail(t, -EINVAL);
	return add_extent(t, TXN_PUNCH, id, from, to);
}

int txn_copy(struct txn_build *t, const struct orbit_id *id, uint64_t off,
	const struct orbit_id *source, uint64_t source_off, uint32_t len)
{
	int rc;

	if (len < 1 || !extent_fits(off, len) || !extent_fits(source_off, len))
		return fail(t, -EINVAL);
	if (len > TXN_DATA_MAX - t->written)
		return fail(t, -E2BIG);
	rc = begin(t, TXN_COPY, id, 20 + ORBIT_ID_LEN);
	if (rc)
		return rc;
	t->written += len;
	buf_u64(&t->ops, off);
	buf_u32(&t->ops, len);
	buf_bytes(&t->ops, source->b, ORBIT_ID_LEN);
	buf_u64(&t->ops, source_off);
	return end(t);
}

int txn_hold(struct txn_build *t, const struct orbit_id *id)
{
	return add_bare(t, TXN_HOLD, id);
}

int txn_unhold(struct txn_build *t, const struct orbit_id *id, uint32_t session)
{
	int rc;

	if (session > TXN_SESSION_MAX)
		return fail(t, -EINVAL);
	rc = begin(t, TXN_UNHOLD, id, 4);
	if (rc)
		return rc;
	buf_u32(&t->ops, session);
	return end(t);
}

/* ---- putting it together ---- */

static int encode_all(const struct txn_build *t, struct buf *b)
{
	buf_reserve(b, TXN_HEAD_LEN + (size_t)t->nobjects * ORBIT_ID_LEN + t->ops.len);
	buf_u8(b, t->nobjects);
	buf_u8(b, 0);
	buf_u16(b, t->nops);
	buf_bytes(b, t->object, (size_t)t->nobjects * ORBIT_ID_LEN);
	buf_bytes(b, t->ops.data, t->ops.len);
	return b->err;
}

int txn_encode(const struct txn_build *t, struct buf *b,
	bool (*want)(void *arg, const struct orbit_id *id), void *arg)
{
	struct cur c = cur_of(t->ops.data, t->ops.len);
	int16_t renamed[TXN_OBJECTS_MAX];
	size_t head = b->len;
	uint16_t nops = 0;
	uint8_t n = 0;

	if (t->err)
		return t->err;
	if (!want)
		return encode_all(t, b);
	buf_u32(b, 0); /* the head, filled in below */
	for (unsigned i = 0; i < t->nobjects; i++) {
		renamed[i] = -1;
		if (want(arg, &t->object[i])) {
			renamed[i] = n++;
			buf_bytes(b, t->object[i].b, ORBIT_ID_LEN);
		}
	}
	while (c.left > 0) {
		const uint8_t *from = c.p;
		size_t at = b->len;
		struct txn_op op;

		txn_parse_op(&c, &op);
		if (renamed[op.object] < 0)
			continue;
		buf_bytes(b, from, (size_t)(c.p - from));
		if (!b->err)
			b->data[at + 1] = (uint8_t)renamed[op.object];
		nops++;
	}
	if (!b->err) {
		b->data[head] = n;
		buf_set_u16(b, head + 2, nops);
	}
	return b->err;
}
