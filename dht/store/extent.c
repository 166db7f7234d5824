#include "dht/store/extent.h"

#include <assert.h>
#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/effect.h"

#define VALUE_HEAD 18u /* u64 pos, u32 bytes of the stream, u32 bytes of the log, u16 skip */

void extent_key(struct key *k, uint16_t shard, const struct orbit_id *id, uint64_t end)
{
	key_id(k, KEY_EXTENT, shard, id);
	put_be64(k->b + k->len, end);
	k->len += 8;
}

void extent_seek(
	struct key *from, struct key *to, uint16_t shard, const struct orbit_id *id, uint64_t off)
{
	extent_key(from, shard, id, off == UINT64_MAX ? off : off + 1);
	key_id(to, KEY_EXTENT, shard, id);
	key_after_prefix(to); /* there is one: no class is 0xff */
}

int extent_decode(struct extent *e, const void *key, size_t klen, const void *val, size_t vlen)
{
	struct cur c = cur_of(val, vlen);
	uint64_t base;
	uint32_t len;

	if (klen != EXTENT_KEY)
		goto bad;
	e->end = get_be64((const uint8_t *)key + EXTENT_KEY - 8);
	e->pos = cur_u64(&c);
	len = cur_u32(&c);
	e->len = cur_u32(&c);
	e->skip = cur_u16(&c);
	if (!cur_ok(&c) || len < 1 || len > EXTENT_MAX || len > e->end)
		goto bad;
	e->start = e->end - len;
	if (e->skip >= EFFECT_CHUNK || e->skip > e->start || e->len > EXTENT_MAX ||
		e->len < e->skip + len)
		goto bad;
	base = e->start - e->skip;
	e->ncrcs = effect_chunks(base, e->len);
	e->crcs = cur_bytes(&c, 4 * e->ncrcs);
	if (cur_done(&c))
		return 0;
bad:
	log_error("mod=store op=extent klen=%zu vlen=%zu rc=-EIO "
		  "msg=\"an extent in the index makes no sense\"",
		klen, vlen);
	return -EIO;
}

struct extent extent_part(const struct extent *e, uint64_t from, uint64_t to)
{
	uint64_t base = e->start - e->skip, last = base + e->len;
	uint64_t begin = from & ~(uint64_t)(EFFECT_CHUNK - 1);
	uint64_t finish = (to + EFFECT_CHUNK - 1) & ~(uint64_t)(EFFECT_CHUNK - 1);
	size_t chunk;

	assert(from >= e->start && to <= e->end && from < to);
	if (begin < base)
		begin = base;
	if (finish > last)
		finish = last;
	chunk = (size_t)(begin / EFFECT_CHUNK - base / EFFECT_CHUNK);
	return (struct extent){.start = from,
		.end = to,
		.pos = e->pos + (begin - base),
		.len = (uint32_t)(finish - begin),
		.skip = (uint16_t)(from - begin),
		.crcs = e->crcs + 4 * chunk,
		.ncrcs = effect_chunks(begin, finish - begin)};
}

static void put_extent(
	struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, const struct extent *e)
{
	size_t vlen = VALUE_HEAD + 4 * e->ncrcs;
	uint8_t *key = batch_alloc(x->b, EXTENT_KEY), *val = batch_alloc(x->b, vlen);
	uint64_t pos = htole64(e->pos);
	uint32_t len = htole32((uint32_t)(e->end - e->start)), log_len = htole32(e->len);
	uint16_t skip = htole16(e->skip);

	key[0] = KEY_EXTENT;
	put_be16(key + 1, shard);
	memcpy(key + KEY_HEAD, id->b, ORBIT_ID_LEN);
	put_be64(key + KEY_HEAD + ORBIT_ID_LEN, e->end);
	memcpy(val, &pos, 8);
	memcpy(val + 8, &len, 4);
	memcpy(val + 12, &log_len, 4);
	memcpy(val + 16, &skip, 2);
	memcpy(val + VALUE_HEAD, e->crcs, 4 * e->ncrcs);
	batch_put(x->b, key, EXTENT_KEY, val, vlen);
}

/* Notes how far a walk came, where to go on when the rest is not in memory. */
static void passed(struct key *at, const void *key, size_t klen)
{
	if (klen > sizeof(at->b))
		return;
	memcpy(at->b, key, klen);
	at->len = klen;
}

/* Remembers where a walk stopped for want of memory. */
static int missed(struct extent_ctx *x, const struct key *at, const struct key *to, int rc)
{
	if (rc == -EAGAIN) {
		x->missed = *at;
		x->missed_to = *to;
	}
	return rc;
}

/*
 * Makes room in [from, to): extents that reach into it are trimmed, split or deleted. With @mv only
 * what lies where it says, and what was there is put back at its new place.
 */
static int carve(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, uint64_t from,
	uint64_t to, const struct extent_move *mv)
{
	struct key first, past;
	const void *k, *v;
	size_t kl, vl;
	struct walk w;
	int rc;

	extent_seek(&first, &past, shard, id, from);
	walk_init(&w, x->ix, x->b, first.b, first.len, past.b, past.len, x->cached);
	while ((rc = walk_next(&w, &k, &kl, &v, &vl)) > 0) {
		struct extent e, part;
		uint64_t begin, end;

		rc = extent_decode(&e, k, kl, v, vl);
		if (rc < 0 || e.start >= to)
			break;
		passed(&first, k, kl);
		if (mv && extent_pos(&e) - e.start != mv->old - mv->start)
			continue;
		begin = e.start > from ? e.start : from;
		end = e.end < to ? e.end : to;
		batch_count(x->b, e.pos, -(int64_t)(end - begin));
		/* copies: what is put below may take the walk's memory away */
		e.crcs = batch_dup(x->b, e.crcs, 4 * e.ncrcs);
		if (end == e.end)
			batch_del(x->b, batch_dup(x->b, k, kl), kl);
		if (e.start < begin) {
			part = extent_part(&e, e.start, begin);
			put_extent(x, shard, id, &part);
		}
		if (end < e.end) {
			part = extent_part(&e, end, e.end);
			put_extent(x, shard, id, &part);
		}
		if (mv) {
			struct extent moved = {.start = mv->start,
				.end = mv->start + mv->len,
				.pos = mv->pos,
				.len = mv->len,
				.crcs = mv->crcs};

			part = extent_part(&moved, begin, end);
			put_extent(x, shard, id, &part);
			batch_count(x->b, part.pos, (int64_t)(end - begin));
		}
	}
	walk_fini(&w);
	return rc < 0 ? missed(x, &first, &past, rc) : 0;
}

int extent_punch(
	struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, uint64_t from, uint64_t to)
{
	return from < to ? carve(x, shard, id, from, to, NULL) : 0;
}

int extent_move(struct extent_ctx *x, const struct extent_move *mv)
{
	return carve(x, mv->shard, &mv->id, mv->start, mv->start + mv->len, mv);
}

int extent_write(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, uint64_t off,
	size_t len, uint64_t pos, const uint8_t *crcs)
{
	int rc = carve(x, shard, id, off, off + len, NULL);

	while (!rc && len) {
		size_t n = min_size(len, EXTENT_MAX - off % EXTENT_MAX);
		struct extent e = {.start = off,
			.end = off + n,
			.pos = pos,
			.len = (uint32_t)n,
			.crcs = crcs,
			.ncrcs = effect_chunks(off, n)};

		put_extent(x, shard, id, &e);
		batch_count(x->b, pos, (int64_t)n);
		/* pieces end at chunk boundaries, so no chunk is in two of them */
		crcs += 4 * e.ncrcs;
		off += n;
		pos += n;
		len -= n;
	}
	return rc;
}

int extent_drop(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id)
{
	static const enum key_class lists[] = {KEY_MAP, KEY_HOLD};
	static const enum key_class single[] = {KEY_HEADER, KEY_ORPHAN};
	struct key from, to;
	const void *k, *v;
	size_t kl, vl;
	struct walk w;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(single); i++) {
		key_id(&from, single[i], shard, id);
		batch_del(x->b, batch_dup(x->b, from.b, from.len), from.len);
	}
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		key_id(&from, lists[i], shard, id);
		key_id(&to, lists[i], shard, id);
		key_after_prefix(&to);
		walk_init(&w, x->ix, x->b, from.b, from.len, to.b, to.len, x->cached);
		while ((rc = walk_next(&w, &k, &kl, &v, &vl)) > 0) {
			passed(&from, k, kl);
			batch_del(x->b, batch_dup(x->b, k, kl), kl);
		}
		walk_fini(&w);
		if (rc < 0)
			return missed(x, &from, &to, rc);
	}
	return carve(x, shard, id, 0, UINT64_MAX, NULL);
}
