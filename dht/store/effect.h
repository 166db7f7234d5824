/*
 * effect: the deterministic result of a transaction, as the store logs and replicas apply it.
 *
 * An effect has one section per shard it touches, numbered (term, seq), and in each a list of
 * operations on keys and on byte streams. Encoded it is two parts: meta (sections, operations,
 * lengths, checksums) and data (the bulk bytes of WRITE operations, one after the other). The
 * encoding is the same in the log, between nodes and in memory; docs/STORE.md specifies it.
 *
 * Keys are made by store/key.h. Streams are named by object ID; their extents are the store's own
 * business, since where bytes lie differs from copy to copy.
 */
#ifndef ORBIT_STORE_EFFECT_H
#define ORBIT_STORE_EFFECT_H

#include <sys/uio.h>

#include "dht/base/buf.h"
#include "dht/base/id.h"

#define EFFECT_KEY_MAX 1024u        /* bytes of a key */
#define KEY_MIN 3u                  /* bytes of a key: class and shard */
#define EFFECT_VALUE_MAX (4u << 20) /* bytes of a value */
#define EFFECT_META_MAX (16u << 20) /* bytes of meta */
#define EFFECT_DATA_MAX (16u << 20) /* bytes of data */
#define EFFECT_CHUNK                                                                               \
	4096u /* bulk data carries one CRC32C per chunk of an extent: chunks                       \
		 end where the stream's offset is a multiple of this */

enum effect_kind {
	EFFECT_SECTION = 1, /* shard, term, seq: what follows belongs to it */
	EFFECT_PUT = 2,     /* key, value */
	EFFECT_DEL = 3,     /* key; absent is fine */
	EFFECT_WRITE = 4,   /* id, offset, bytes: replaces that range of the stream */
	EFFECT_PUNCH = 5, /* id, from, to: that range becomes a hole; to = UINT64_MAX: to the end */
	EFFECT_DROP = 6,  /* id: the object's header, map entries and stream all go */
	EFFECT_HISTORY = 7, /* the shard's history anew (store/history.h) */
	EFFECT_CLEAR = 8,   /* all that the shard has goes (store/history.h) */
};

struct effect {
	struct buf meta;
	struct iovec *data; /* borrowed pieces of bulk data, in the order of the WRITEs */
	size_t ndata;
	size_t data_len; /* their bytes */
};

void effect_init(struct effect *e);
void effect_fini(struct effect *e);

void effect_section(struct effect *e, uint16_t shard, uint64_t term, uint64_t seq);
void effect_put(struct effect *e, const void *key, size_t klen, const void *val, size_t vlen);
void effect_del(struct effect *e, const void *key, size_t klen);

/* A key has KEY_MIN..EFFECT_KEY_MAX bytes, a value up to EFFECT_VALUE_MAX: the caller sees to it.
 * @data is borrowed until the effect is applied; 1 <= len <= EFFECT_DATA_MAX. */
void effect_write(
	struct effect *e, const struct orbit_id *id, uint64_t off, const void *data, size_t len);
void effect_punch(struct effect *e, const struct orbit_id *id, uint64_t from, uint64_t to);
void effect_drop(struct effect *e, const struct orbit_id *id);

/* Adds a piece of bulk data without an operation, borrowed: for who encodes meta on his own. */
void effect_piece(struct effect *e, const void *data, size_t len);

/* Nothing but section headers so far (or nothing at all). */
bool effect_empty(const struct effect *e);

/* One operation as read back; pointers are into the meta that is read. */
struct effect_op {
	enum effect_kind kind;
	uint16_t shard; /* SECTION */
	uint64_t term, seq;
	const void *key; /* PUT, DEL */
	size_t klen;
	const void *val; /* PUT, HISTORY */
	size_t vlen;
	struct orbit_id id;  /* WRITE, PUNCH, DROP */
	uint64_t off, to;    /* WRITE: off; PUNCH: off, to */
	size_t len;          /* WRITE: bytes */
	size_t data_at;      /* WRITE: where its bytes begin within the data */
	const uint8_t *crcs; /* WRITE: u32 little-endian per chunk */
	size_t ncrcs;
};

/* Chunks that [off, off+len) touches, len >= 1; and their CRC32Cs, u32 little-endian each. */
size_t effect_chunks(uint64_t off, size_t len);
void effect_crcs(uint64_t off, const void *data, size_t len, uint8_t *out);

struct effect_iter {
	struct cur c;
	size_t data_at;
};

struct effect_iter effect_iter_of(const void *meta, size_t len);

/* 1 and the next operation, 0 at the end, -EBADMSG for an encoding that is wrong. */
int effect_next(struct effect_iter *it, struct effect_op *op);

#endif
