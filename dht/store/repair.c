/* Comparing copies without reading them, and mending one with the bytes of another. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define CHUNKS_MAX (EXTENT_MAX / EFFECT_CHUNK + 1)

/* One chunk of an extent: where it lies in the stream, and what of it is left. */
struct chunk {
	uint64_t off, end, from, to;
};

static struct chunk chunk_of(const struct extent *e, size_t i)
{
	uint64_t base = e->start - e->skip, last = base + e->len;
	struct chunk c = {.off = base};

	if (i)
		c.off = (base / EFFECT_CHUNK + i) * EFFECT_CHUNK;
	c.end = (c.off / EFFECT_CHUNK + 1) * EFFECT_CHUNK;
	if (c.end > last)
		c.end = last;
	c.from = c.off > e->start ? c.off : e->start;
	c.to = c.end < e->end ? c.end : e->end;
	return c;
}

static bool chunk_whole(const struct chunk *c)
{
	return c->from == c->off && c->to == c->end;
}

/* Checksums by which extents of two copies may be compared: that of a chunk of which a part was
 * overwritten is still of all its bytes, so the part is mixed in. */
static void comparable(const struct extent *e, uint8_t *crcs)
{
	memcpy(crcs, e->crcs, 4 * e->ncrcs);
	for (size_t i = 0; i < e->ncrcs; i++) {
		struct chunk c = chunk_of(e, i);
		uint64_t part[2] = {htole64(c.from - c.off), htole64(c.end - c.to)};
		uint32_t crc;

		if (chunk_whole(&c))
			continue;
		memcpy(&crc, crcs + 4 * i, 4);
		crc = htole32(crc32c_more(le32toh(crc), part, sizeof(part)));
		memcpy(crcs + 4 * i, &crc, 4);
	}
}

int store_extents(struct store *st, uint16_t shard, const struct orbit_id *id, uint64_t from,
	uint64_t to, store_extent_cb *fn, void *arg)
{
	uint8_t crcs[4 * CHUNKS_MAX];
	struct extent_walk w;
	struct extent e;
	int rc;

	extents_begin(&w, st, shard, id, from);
	while ((rc = extents_next(&w, &e)) > 0 && e.start < to) {
		e = extent_part(&e, e.start > from ? e.start : from, e.end < to ? e.end : to);
		comparable(&e, crcs);
		if (!fn(arg, e.start, (uint32_t)(e.end - e.start), crcs, e.ncrcs))
			break;
	}
	extents_end(&w);
	return rc < 0 ? rc : 0;
}

/* ---- repair ---- */

struct repair {
	LIST_ENTRY(repair) entry;
	struct store_apply a, *user;
	struct effect e; /* its meta is a MOVE record's */
};

/* Whether the data of a part, all of whose chunks are given as a whole, is what was there. */
static bool matches(const struct extent *part, const uint8_t *data)
{
	for (size_t i = 0; i < part->ncrcs; i++) {
		struct chunk c = chunk_of(part, i);

		/* what of a chunk was overwritten nobody has any more */
		if (chunk_whole(&c) && !record_crcs_match(c.off, data + (c.from - part->start),
					       c.to - c.from, part->crcs + 4 * i))
			return false;
	}
	return true;
}

/* Moves what of @e lies in [off, end) to where the data will lie. */
static int add_part(struct repair *r, uint16_t shard, const struct orbit_id *id,
	const struct extent *e, uint64_t off, uint64_t end, const uint8_t *data)
{
	uint64_t from = e->start > off ? e->start : off, to = e->end < end ? e->end : end;
	struct extent part = extent_part(e, from, to);
	struct move_op mv = {.shard = shard,
		.id = *id,
		.start = from,
		.old = extent_pos(&part),
		.len = (uint32_t)(to - from)};
	uint8_t crcs[4 * CHUNKS_MAX];

	if ((from > e->start && from % EFFECT_CHUNK) || (to < e->end && to % EFFECT_CHUNK))
		return -EINVAL;
	data += from - off;
	if (!matches(&part, data))
		return -EBADMSG;
	effect_crcs(from, data, mv.len, crcs);
	mv.crcs = crcs;
	move_add(&r->e.meta, &mv);
	effect_piece(&r->e, data, mv.len);
	return 0;
}

/* Compaction may try again with segments that it could not read. */
static void unstick(struct store *st, const struct effect *e)
{
	struct effect_iter it = move_iter_of(e->meta.data, e->meta.len);
	struct move_op mv;

	while (move_next(&it, &mv) > 0) {
		struct seg *s = seg_at(st, mv.old);

		if (s)
			s->stuck = false;
	}
	flush_garbage(st);
}

static void repair_free(struct repair *r)
{
	effect_fini(&r->e);
	free(r);
}

static void repaired(struct store_apply *a, int rc)
{
	struct repair *r = container_of(a, struct repair, a);
	struct store_apply *user = r->user;

	user->position = a->position;
	LIST_REMOVE(r, entry);
	repair_free(r);
	user->done(user, rc);
}

int store_repair(struct store *st, struct store_apply *a, uint16_t shard, const struct orbit_id *id,
	uint64_t off, const void *data, size_t len)
{
	struct extent_walk w;
	struct repair *r;
	struct extent e;
	int rc;

	if (len > EFFECT_DATA_MAX)
		return -EMSGSIZE;
	if (off > INT64_MAX - len)
		return -EINVAL;
	if (st->closing)
		return -EROFS;
	r = mem_zalloc(sizeof(*r));
	r->user = a;
	r->a.done = repaired;
	r->a.effect = &r->e;
	extents_begin(&w, st, shard, id, off);
	while ((rc = extents_next(&w, &e)) > 0 && e.start < off + len) {
		rc = add_part(r, shard, id, &e, off, off + len, data);
		if (rc)
			break;
	}
	extents_end(&w);
	if (rc >= 0)
		rc = apply_record(st, &r->a, RECORD_MOVE, STORE_RESERVE);
	if (rc) {
		repair_free(r);
		return rc;
	}
	LIST_INSERT_HEAD(&st->repairs, r, entry);
	log_info("mod=store op=repair shard=%u off=%" PRIu64 " bytes=%zu "
		 "msg=\"bytes were put back\"",
		shard, off, r->e.data_len);
	unstick(st, &r->e);
	return 0;
}

void repair_fini(struct store *st)
{
	struct repair *r;

	while ((r = LIST_FIRST(&st->repairs))) {
		LIST_REMOVE(r, entry);
		repair_free(r);
	}
}
