/*
 * extent: where the bytes of streams lie, as entries of the index.
 *
 * An extent says that [start, end) of a stream lies in the log. It never crosses a multiple of
 * EXTENT_MAX of the stream, extents of a stream do not overlap. Its key ends with `end`, so that
 * the first extent beyond an offset is one seek away. Checksums are per chunk, chunks end at
 * multiples of EFFECT_CHUNK of the stream; an extent that was trimmed still covers whole chunks of
 * the log: `skip` bytes in front of start belong to the first.
 */
#ifndef ORBIT_STORE_EXTENT_H
#define ORBIT_STORE_EXTENT_H

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/store/batch.h"
#include "dht/store/key.h"

#define EXTENT_MAX (128u << 10)
#define EXTENT_KEY (KEY_HEAD + ORBIT_ID_LEN + 8)

struct extent {
	uint64_t start, end; /* of the stream */
	uint64_t pos;        /* of the log: where the first chunk begins */
	uint32_t len;        /* bytes of all chunks covered */
	uint16_t skip;       /* bytes of the first chunk before start */
	const uint8_t *crcs; /* u32 little-endian per chunk */
	size_t ncrcs;
};

/* Where in the log the byte at @start lies. */
static inline uint64_t extent_pos(const struct extent *e)
{
	return e->pos + e->skip;
}

/* Reads an entry; pointers are into @val. -EIO when it makes no sense. */
int extent_decode(struct extent *e, const void *key, size_t klen, const void *val, size_t vlen);

/* The part [from, to) of @e, which must lie within it. */
struct extent extent_part(const struct extent *e, uint64_t from, uint64_t to);

/* What the operations below need. They return 0, -EAGAIN (with @missed set to what was not in
 * memory) or -EIO, and leave the batch half filled then. */
struct extent_ctx {
	struct store_index *ix;
	struct batch *b;
	bool cached;
	struct key missed, missed_to;
};

/* [off, off+len) of the stream now lies at @pos of the log; @crcs must stay until the batch is
 * put. */
int extent_write(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, uint64_t off,
	size_t len, uint64_t pos, const uint8_t *crcs);

/* [from, to) becomes a hole. */
int extent_punch(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id, uint64_t from,
	uint64_t to);

/* What of [start, start+len) lies at @old still now lies at @pos, one extent's worth. */
struct extent_move {
	uint16_t shard;
	struct orbit_id id;
	uint64_t start, old, pos;
	uint32_t len;
	const uint8_t *crcs;
};
int extent_move(struct extent_ctx *x, const struct extent_move *mv);

/* The object goes: header, map, holds, orphan mark and stream. */
int extent_drop(struct extent_ctx *x, uint16_t shard, const struct orbit_id *id);

/* The key under which a walk finds the first extent that ends after @off, and the end of all. */
void extent_key(struct key *k, uint16_t shard, const struct orbit_id *id, uint64_t end);
void extent_seek(
	struct key *from, struct key *to, uint16_t shard, const struct orbit_id *id, uint64_t off);

#endif
