/*
 * txn: minitransactions (Sinfonia, Aguilera et al., SOSP 2007): compares, reads and writes on a few
 * objects, executed atomically.
 *
 * A transaction is built by a client as the very bytes that travel: a table of object IDs, then
 * operations. Reads see the state before the writes. Results come back in the same way. Both
 * layouts are specified in docs/PROTOCOL.md; nothing of a transaction is believed before
 * txn_check().
 *
 * An object is a version, 16 numeric slots, an ordered map (bytes to bytes) and a sparse byte
 * stream.
 */
#ifndef ORBIT_TXN_TXN_H
#define ORBIT_TXN_TXN_H

#include <stdbool.h>

#include "dht/base/buf.h"
#include "dht/base/id.h"
#include "dht/store/key.h"

#define TXN_SLOTS 16
#define TXN_OBJECTS_MAX 64
#define TXN_OPS_MAX 256
#define TXN_DATA_MAX (4u << 20)   /* bytes of bulk data in one transaction, either way */
#define TXN_BODY_MAX (6u << 20)   /* bytes of the encoding */
#define TXN_KEY_MAX KEY_MAP_MAX   /* bytes of a map key */
#define TXN_VALUE_MAX (64u << 10) /* bytes of a map value */
#define TXN_STREAM_MAX (UINT64_C(1) << 62)

/* Modes of LEASE: those of wire_lease.h. */
#define TXN_LEASE_SHARED 1
#define TXN_LEASE_EXCLUSIVE 2

enum txn_kind {
	/* compares */
	TXN_EXISTS = 1,
	TXN_ABSENT = 2,
	TXN_SLOT_EQ = 3,     /* slot, value; of an absent object: fails */
	TXN_SLOT_NE = 4,     /* slot, value; of an absent object: fails */
	TXN_MAP_EQ = 5,      /* key, value */
	TXN_MAP_ABSENT = 6,  /* key */
	TXN_MAP_PRESENT = 7, /* key */
	TXN_MAP_EMPTY = 8,
	TXN_VERSION_EQ = 9, /* version */
	TXN_NO_HOLD = 10,   /* no session holds it (an own hold counts too) */
	/* reads */
	TXN_GET = 20,     /* -> struct txn_object */
	TXN_GET_MAP = 21, /* key -> value */
	TXN_RANGE = 22,   /* from, max entries, max bytes, [suffix] -> entries, followed if asked */
	TXN_FOLLOW = 23,  /* key, suffix -> value and the object that it names */
	TXN_READ = 24,    /* offset, length -> bytes up to the stream's end, holes as zeros */
	TXN_RANGES = 25,  /* offset, length -> which parts hold data */
	TXN_HOLDS = 26,   /* -> which sessions hold it */
	TXN_LEASE = 27,   /* mode, try: a wish; no result (docs/LEASES.md) */
	/* writes */
	TXN_CREATE = 40, /* slot values; fails the transaction if it exists (implies ABSENT) */
	TXN_DELETE = 41, /* the object with all it has; absent is fine */
	TXN_SET = 42,    /* slot, value */
	TXN_ADD = 43,    /* slot, signed value; OVERFLOW when it would wrap below 0 or over 2^63 */
	TXN_MAX = 44,    /* slot, value: raises */
	TXN_REF = 45,    /* slot, signed value: ADD; at zero the object joins its shard's orphan
			    list, above zero it leaves it */
	TXN_PUT = 46,    /* key, value */
	TXN_DEL = 47,    /* key; absent is fine */
	TXN_WRITE = 48,  /* offset, bytes -> signed bytes of stream gained */
	TXN_PUNCH = 49,  /* from, to (UINT64_MAX: the end) -> signed bytes gained (<= 0) */
	TXN_HOLD = 50,   /* adds one hold of this session */
	TXN_UNHOLD = 51, /* session: 0 drops one hold of this session; another drops all that one
			    had (it ended); none there is fine */
	TXN_MIN = 52,    /* slot, value: lowers */
	TXN_COPY = 53, /* source, its offset, offset, length: WRITE of what the source's stream has
			  there, beyond its end zeros. The source is no object of the transaction,
			  it may lie anywhere. The node reads it first: before anything is evaluated
			  it has become that WRITE (copy.c) */
};
/* Writes to an absent object (but CREATE, DELETE, DEL, UNHOLD) fail the transaction as EXISTS
 * would; the reply names the op. Order of evaluation: all compares, all reads, then the writes in
 * order. */

/* What TXN_GET, FOLLOW and RANGE say of an object. */
struct txn_object {
	uint64_t version;      /* changes with every write to it */
	uint64_t stream_end;   /* end of the last byte written to the stream; 0 = empty */
	uint64_t stream_bytes; /* bytes of the stream that are not holes */
	uint64_t slot[TXN_SLOTS];
};
#define TXN_OBJECT_LEN (8 * (3 + TXN_SLOTS)) /* encoded */
void txn_put_object(struct buf *b, const struct txn_object *o);
struct txn_object txn_get_object(struct cur *c);

/* ---- building (client side) ---- */

struct txn_build {
	struct buf ops; /* encoded operations */
	uint16_t nops;
	uint8_t nobjects;
	struct orbit_id object[TXN_OBJECTS_MAX];
	bool writes;            /* has at least one write */
	bool wishes;            /* has a LEASE */
	uint64_t changes;       /* objects with a write that is seen in them: not (UN)HOLD */
	bool lease_followed;    /* wishes shared leases of what it follows */
	uint32_t read, written; /* bytes of bulk data asked for and brought */
	int err;                /* sticky: -E2BIG (limits), -EINVAL, -ENOMEM */
};

void txn_init(struct txn_build *t);
void txn_fini(struct txn_build *t);

/* All return the operation's index (0 ..), by which a reply names it, or a negative errno (which is
 * sticky: checking only the submit is enough). @id is looked up in the table, or added. */
int txn_exists(struct txn_build *t, const struct orbit_id *id);
int txn_absent(struct txn_build *t, const struct orbit_id *id);
int txn_slot_eq(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value);
int txn_slot_ne(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value);
int txn_map_eq(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *val, size_t vlen);
int txn_map_absent(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen);
int txn_map_present(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen);
int txn_map_empty(struct txn_build *t, const struct orbit_id *id);
int txn_version_eq(struct txn_build *t, const struct orbit_id *id, uint64_t version);
int txn_no_hold(struct txn_build *t, const struct orbit_id *id);

int txn_get(struct txn_build *t, const struct orbit_id *id);
int txn_get_map(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen);
/* Entries with a key > @from (>= when @inclusive), in order, at most @max of them and about @bytes
 * (at least one). With @suffix (24 bytes) each value's first 8 bytes are the position, the suffix
 * the name of an object that is read along when this shard has it. */
int txn_range(struct txn_build *t, const struct orbit_id *id, const void *from, size_t flen,
	bool inclusive, uint32_t max, uint32_t bytes, const void *suffix);
int txn_follow(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *suffix);
int txn_read(struct txn_build *t, const struct orbit_id *id, uint64_t off, uint32_t len);
int txn_ranges(struct txn_build *t, const struct orbit_id *id, uint64_t off, uint64_t len);
int txn_holds(struct txn_build *t, const struct orbit_id *id);
/* A wish for a lease. @mode 1 shared, 2 exclusive; with @try, or shared, the transaction does not
 * wait for it. An absent object can be leased, too. */
int txn_lease(struct txn_build *t, const struct orbit_id *id, unsigned mode, bool try);
/* Shared ones, of all objects that it follows. */
void txn_lease_followed(struct txn_build *t);

/* Slots not in @mask begin as 0. */
int txn_create(struct txn_build *t, const struct orbit_id *id, uint16_t mask,
	const uint64_t slot[TXN_SLOTS]);
int txn_delete(struct txn_build *t, const struct orbit_id *id);
int txn_set(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value);
int txn_add(struct txn_build *t, const struct orbit_id *id, unsigned slot, int64_t value);
int txn_max(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value);
int txn_min(struct txn_build *t, const struct orbit_id *id, unsigned slot, uint64_t value);
int txn_refer(struct txn_build *t, const struct orbit_id *id, unsigned slot, int64_t value);
int txn_put(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen,
	const void *val, size_t vlen);
int txn_del(struct txn_build *t, const struct orbit_id *id, const void *key, size_t klen);
/* Copies @len bytes (once) into the transaction. */
int txn_write(
	struct txn_build *t, const struct orbit_id *id, uint64_t off, const void *data, size_t len);
/* The same, but returns in *room where the caller is to put the bytes before the next call here. */
int txn_write_room(
	struct txn_build *t, const struct orbit_id *id, uint64_t off, size_t len, void **room);
int txn_punch(struct txn_build *t, const struct orbit_id *id, uint64_t from, uint64_t to);
/* Only in a transaction on one log: one that would be prepared is refused. The source is read some
 * time before the rest is evaluated. */
int txn_copy(struct txn_build *t, const struct orbit_id *id, uint64_t off,
	const struct orbit_id *source, uint64_t source_off, uint32_t len);
int txn_hold(struct txn_build *t, const struct orbit_id *id);
int txn_unhold(struct txn_build *t, const struct orbit_id *id, uint32_t session);

/* Appends the encoded body: all of it (@want NULL), or only the operations on objects for which
 * want() says true, with their original indices. 0 or t->err. */
int txn_encode(const struct txn_build *t, struct buf *b,
	bool (*want)(void *arg, const struct orbit_id *id), void *arg);

/* ---- reading a transaction (node side) ---- */

struct txn_op {
	enum txn_kind kind;
	uint16_t index;    /* by which the client knows it */
	uint8_t object;    /* index into the table */
	uint8_t slot;      /* LEASE: the mode */
	uint64_t a, b;     /* slot value / version / offset / try; second number (length, to, max,
			      offset in the source) */
	uint32_t bytes;    /* RANGE: byte limit; COPY: length */
	bool inclusive;    /* RANGE */
	uint16_t mask;     /* CREATE */
	const void *slots; /* CREATE: u64 little-endian for each bit of mask, lowest first */
	const void *key;
	size_t klen;
	const void *val; /* value, or bytes of WRITE */
	size_t vlen;
	const void *suffix;            /* 24 bytes, or NULL */
	const struct orbit_id *source; /* COPY */
};

static inline bool txn_is_compare(enum txn_kind k)
{
	return k < TXN_GET;
}
static inline bool txn_is_read(enum txn_kind k)
{
	return k >= TXN_GET && k < TXN_CREATE;
}
static inline bool txn_is_write(enum txn_kind k)
{
	return k >= TXN_CREATE;
}

/* A checked transaction: pointers into the body that was checked. */
struct txn_view {
	unsigned nobjects, nops;
	const struct orbit_id *object; /* nobjects of them (byte array: no alignment needed) */
	struct cur ops;
	bool writes;
	bool leases; /* wishes for some */
	bool copies; /* has a COPY: to be expanded before it is evaluated */
};

/* Checks every byte of @body and fills @v: 0, or -EBADMSG. */
int txn_check(const void *body, size_t len, struct txn_view *v);

struct txn_iter {
	struct cur c;
	unsigned left;
};
struct txn_iter txn_iter_of(const struct txn_view *v);
/* false at the end. Only over what txn_check() passed. */
bool txn_next(struct txn_iter *it, struct txn_op *op);

/* A COPY, and where in the expanded body its bytes are to be put. */
struct txn_source {
	struct orbit_id id;
	uint64_t off;
	uint32_t len;
	size_t at; /* in the buffer */
};
/* Appends a body that txn_check() passed with each COPY as the WRITE that it stands for, of bytes
 * that are not there yet. Says in @out, of which there are TXN_OPS_MAX, what they are: how
 * many. (@b has an error: -ENOMEM.) */
int txn_expand(const struct txn_view *v, struct buf *b, struct txn_source *out);

/* ---- results ---- */

/* One result: u16 op index, u8 kind, u8 present, u32 length, then the payload:
 * GET, FOLLOW: object (present 0: absent). FOLLOW: blob value, then object if the shard has it
 *   (present 0: no entry; 1: entry only, the object lies elsewhere or is gone; 2: with the object).
 * GET_MAP: value. READ: bytes. RANGE: u8 more, u32 n, n times {blob key, blob value, u8 followed,
 *   [object]}. RANGES: u64 next, u32 n, n times {u64 off, u64 len}. HOLDS: u32 n, n times u32.
 * WRITE, PUNCH, DELETE: i64 bytes gained. Payloads are padded to nothing. */
struct txn_result {
	uint16_t index;
	enum txn_kind kind;
	uint8_t present;
	const void *data;
	size_t len;
};

struct txn_results {
	struct cur c;
};
struct txn_results txn_results_of(const void *data, size_t len);
/* 1 and the next result, 0 at the end, -EBADMSG. */
int txn_result_next(struct txn_results *r, struct txn_result *out);

/* Finds the result of op @index: 0, -ENOENT, -EBADMSG. */
int txn_result_find(const void *data, size_t len, unsigned index, struct txn_result *out);

/* ---- evaluating (node side) ---- */

struct store;

/* A byte range that the reply needs from a stream: filled in by the caller after evaluation, before
 * anything else is applied. */
struct txn_fill {
	size_t at; /* where in the results buffer */
	size_t len;
	uint64_t off;
	struct orbit_id id;
	uint16_t shard;
};

struct txn_outcome {
	uint16_t status; /* enum wire_status */
	uint16_t failed; /* op index when WIRE_COMPARE */
	struct buf results;
	struct effect effect;  /* one section per shard that changes; empty if none does */
	struct txn_fill *fill; /* what has to be read into results */
	size_t nfills, fill_cap;
};
void txn_outcome_init(struct txn_outcome *o);
void txn_outcome_fini(struct txn_outcome *o);

struct txn_where {
	/* The shard of an ID, or -1 when it is not served here. */
	int (*shard_of)(void *arg, const struct orbit_id *id);
	/* The number that the next effect of this shard gets; asked once for each section, in their
	 * order, not at all for a shard in which nothing changes. */
	void (*next)(void *arg, uint16_t shard, uint64_t *term, uint64_t *seq);
	void *arg;
	uint32_t session;
	size_t results_max; /* bytes; more gives WIRE_TOO_BIG */
};

/* What of a transaction to evaluate: all (TXN); all, but keeping no effect and asking for no number
 * (PREPARE: a yes says that the writes will succeed, the results are there already); writes only
 * (commit of what was prepared). */
enum txn_part { TXN_ALL, TXN_VOTE, TXN_COMMIT };

/*
 * Evaluates against the store's present state: 0 and @out filled (which must be fresh), -EAGAIN
 * (not in memory: store_wait() and evaluate again with a fresh outcome), -EIO (damage), -ENOMEM.
 * Changes nothing. The effect borrows bulk data from the body that was checked.
 */
int txn_eval(struct store *st, const struct txn_view *v, enum txn_part part,
	const struct txn_where *where, struct txn_outcome *out);

#endif
