/*
 * key: how everything that a shard keeps is named in the index.
 *
 * A key is a class byte, the shard (2 bytes, big-endian), and what the class needs. All that
 * belongs to one shard and class is one range, in ID order; docs/STORE.md has the table.
 */
#ifndef ORBIT_STORE_KEY_H
#define ORBIT_STORE_KEY_H

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/store/effect.h"

enum key_class {
	KEY_EXTENT = 'E',   /* id, end of the extent: the store's own */
	KEY_HEADER = 'H',   /* id -> version, slots, stream end and bytes (txn/object.h) */
	KEY_MAP = 'M',      /* id, map key -> map value */
	KEY_HOLD = 'O',     /* id, session -> count */
	KEY_ORPHAN = 'U',   /* id -> empty: an object whose reference slot is zero */
	KEY_REPLY = 'R',    /* session, number -> the stored reply */
	KEY_FLOOR = 'F',    /* session -> floor and abandoned numbers */
	KEY_LEASER = 'L',   /* session -> the greatest lease that it may hold */
	KEY_PREPARED = 'P', /* session, number -> the prepared part of a cross-shard transaction */
	KEY_OUTCOME = 'C',  /* session, number -> committed or aborted */
	KEY_TERM = 'T',     /* -> the shard's terms and where each began */
	KEY_KEEPER = 'K',   /* the keeper's own things, shard 0 */
	KEY_WALK = 'W',     /* -> how far this copy is from being a prefix; the copy's own */
	KEY_STORE = 'S',    /* the store's own things (segments, log position), shard 0 */
};

#define KEY_HEAD 3 /* bytes of class and shard */

/* Keys in a buffer of their own, no allocation. */
struct key {
	uint8_t b[EFFECT_KEY_MAX];
	size_t len;
};

void key_class(struct key *k, enum key_class c, uint16_t shard); /* class, shard */
void key_id(struct key *k, enum key_class c, uint16_t shard, const struct orbit_id *id); /* + id */
/* + id, map key; -ENAMETOOLONG when @len is over KEY_MAP_MAX */
#define KEY_MAP_MAX 512
int key_map(struct key *k, uint16_t shard, const struct orbit_id *id, const void *name, size_t len);
void key_hold(struct key *k, uint16_t shard, const struct orbit_id *id, uint32_t session);
/* REPLY, PREPARED, OUTCOME: + session, number */
void key_session(
	struct key *k, enum key_class c, uint16_t shard, uint32_t session, uint64_t number);
void key_floor(struct key *k, uint16_t shard, uint32_t session);
void key_leaser(struct key *k, uint16_t shard, uint32_t session);

/* Makes @k the first key after all that begin with it; false when there is none. */
bool key_after_prefix(struct key *k);

#endif
