/*
 * history: what replication needs of a store: which effects of a shard it has, in which order, and
 * the effects themselves, as long as the log reaches back.
 *
 * Every effect whose section has a seq above 0 belongs to its shard's history; seqs are given one
 * after the other. (Sections with term 0 and seq 0 change the shard without being part of it: what
 * a copy does for itself.) The store keeps track as effects are applied, in the same batch as they,
 * so a history is always that of what the index holds. Thread: the loop.
 */
#ifndef ORBIT_STORE_HISTORY_H
#define ORBIT_STORE_HISTORY_H

#include "dht/store/store.h"

#define HISTORY_TERMS_MAX 1024 /* kept per shard; what is older counts as unknown */

struct history_term {
	uint64_t term, first; /* the seq with which it began */
};

struct history {
	uint64_t term, seq;               /* of the last effect; 0, 0: none yet */
	const struct history_term *terms; /* ascending; good until the next apply */
	unsigned nterms;
};

/* The shard's history; all zeros for a shard that never had an effect. After a start that found the
 * log damaged in the middle it has the seq and no terms: nothing before can be vouched for. */
struct history store_history(struct store *st, uint16_t shard);

/* Is that effect part of it? */
bool history_contains(const struct history *h, uint64_t term, uint64_t seq);

/* The last (term, seq) that both have, or 0, 0. What follows it in @a is not in @b. */
struct history_term history_common(const struct history *a, const struct history *b);

/* u64 term, u64 seq, u32 n, n x (u64 term, u64 first): as sent between nodes. Decoding allocates
 * @h->terms: free() it. 0, -EBADMSG. */
void history_encode(const struct history *h, struct buf *b);
int history_decode(struct cur *c, struct history *h);

/* Adds to an effect: from here on the shard's history is @h (a learner that takes over another
 * copy's). The section that is open must be of (shard, 0, 0). */
void effect_history(struct effect *e, const struct history *h);

/* Adds to an effect: all that the shard has goes: keys of all classes, streams, history. Cheap to
 * log; carried out piece by piece before the effect is done, which may be after later ones; other
 * effects of the shard get -EAGAIN meanwhile. It comes first in the effect's only section, (shard,
 * 0, 0); only puts, deletes and effect_history() may follow. */
void effect_clear_shard(struct effect *e);

/* ---- reading effects back ---- */

/* The lowest seq from which on all effects of the shard can be read back; 0: none can. */
uint64_t store_tail_from(struct store *st, uint16_t shard);

/* While pinned, effects from @seq on stay readable (as far as the disk has room: -ESTALE later).
 * NULL when the log does not reach back so far. */
struct tail_pin;
struct tail_pin *store_tail_pin(struct store *st, uint16_t shard, uint64_t seq);
void store_tail_unpin(struct store *st, struct tail_pin *p); /* NULL is harmless */

/*
 * Reads effects back, seqs from @seq on, only the section of @shard of each: up to about @max bytes
 * but at least one, none beyond the history's end. done(t, rc): 0; -ESTALE the log does not reach
 * back; -EIO damage. Then out holds t->n effects, one after the other: u64 term, u64 seq, u32
 * meta_len, u32 data_len, meta (beginning with its SECTION), data. @t stays until done().
 */
struct store_tail {
	void (*done)(struct store_tail *t, int rc);
	struct buf out;
	unsigned n;
	void *impl;
};
void store_tail_read(
	struct store *st, struct store_tail *t, uint16_t shard, uint64_t seq, size_t max);

/* ---- copies ---- */

/* One extent as the index has it: bytes [off, off+len) of a stream, CRC32C per chunk. For comparing
 * copies without reading them: that of a chunk of which only a part is left says also which part.
 * Calls fn for each extent of @id in [from, to), cut to that range, until it says false; 0,
 * -EAGAIN, -EIO. */
typedef bool store_extent_cb(
	void *arg, uint64_t off, uint32_t len, const uint8_t *crcs, size_t ncrcs);
int store_extents(struct store *st, uint16_t shard, const struct orbit_id *id, uint64_t from,
	uint64_t to, store_extent_cb *fn, void *arg);

/* Puts bytes where damaged ones lie, changing nothing else (the stream's bytes are the same): for
 * who got them from another copy. Applied like an effect of its own, outside of the history. The
 * data must match the checksums that the index has (-EBADMSG), so it begins and ends with whole
 * chunks, or where an extent does (-EINVAL). Of a chunk of which only a part is left nobody can
 * tell. At most EFFECT_DATA_MAX (-EMSGSIZE). Otherwise as store_apply(); @data stays until done().
 */
int store_repair(struct store *st, struct store_apply *a, uint16_t shard, const struct orbit_id *id,
	uint64_t off, const void *data, size_t len);

/* What acknowledged effects may be missing has been told: from now on the store counts as whole
 * again (durably, soon). */
void store_levelled(struct store *st);

/* The node goes by another ID from now on, durably: done(arg, rc). */
void store_rename(
	struct store *st, const struct orbit_id *id, void (*done)(void *arg, int rc), void *arg);

/* The files beside the log, for small ones of others (names beginning with "keeper-"). */
struct disk *store_disk(struct store *st);

#endif
