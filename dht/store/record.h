/*
 * record: the unit of the log: a header, meta (an encoded effect, or moves), data, and up to seven
 * bytes so that the next one begins at a multiple of RECORD_ALIGN. docs/STORE.md specifies it.
 */
#ifndef ORBIT_STORE_RECORD_H
#define ORBIT_STORE_RECORD_H

#include "dht/store/effect.h"

#define RECORD_HEAD 48u
#define RECORD_ALIGN 8u
#define RECORD_MAX ((uint64_t)RECORD_HEAD + EFFECT_META_MAX + EFFECT_DATA_MAX + RECORD_ALIGN)

enum record_kind {
	RECORD_EFFECT = 1, /* meta is an effect's */
	RECORD_MOVE = 2,   /* meta is a list of struct move_op: extents copied by compaction */
};

struct record {
	enum record_kind kind;
	uint32_t meta_len, data_len;
	uint64_t pos;    /* its own position */
	uint64_t prev;   /* where the record before it ended */
	uint64_t synced; /* known to be on disk when this one was written */
};

static inline uint64_t record_data(const struct record *r)
{
	return r->pos + RECORD_HEAD + r->meta_len;
}

static inline uint64_t record_len(uint64_t meta_len, uint64_t data_len)
{
	return (RECORD_HEAD + meta_len + data_len + RECORD_ALIGN - 1) &
	       ~(uint64_t)(RECORD_ALIGN - 1);
}

static inline uint64_t record_end(const struct record *r)
{
	return r->pos + record_len(r->meta_len, r->data_len);
}

/* Writes the header, with the checksum of itself and of meta. */
void record_seal(const struct record *r, const void *meta, uint8_t head[RECORD_HEAD]);

/* Reads a header that claims to be at @pos: 0 with lengths that are within the limits, or
 * -EBADMSG. The checksum is not looked at: it takes meta, see record_check(). */
int record_parse(struct record *r, const uint8_t head[RECORD_HEAD], uint64_t pos);

/* 0 or -EBADMSG. */
int record_check(const struct record *r, const uint8_t head[RECORD_HEAD], const void *meta);

/* One extent that was copied. */
struct move_op {
	uint16_t shard;
	struct orbit_id id;
	uint64_t start, old; /* of the stream; where in the log the byte at start was */
	uint32_t len;        /* up to EXTENT_MAX */
	const uint8_t *crcs; /* of the copy's chunks */
	size_t data_at;
};

void move_add(struct buf *meta, const struct move_op *op);
struct effect_iter move_iter_of(const void *meta, size_t len);
int move_next(struct effect_iter *it, struct move_op *op);

/* Whether bytes of a stream have those checksums, one per chunk. */
bool record_crcs_match(uint64_t off, const void *data, size_t len, const uint8_t *crcs);

/* Checks the data of a record against the checksums in its (checked) meta: 0 or -EBADMSG. */
int record_check_data(const struct record *r, const void *meta, const void *data);

#endif
