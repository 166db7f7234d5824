/*
 * What the parts of fs/cache share: the record of an inode, its units, what was read ahead.
 *
 * A unit is the part of a file that lies in one object: unit 0 the first LAYOUT_INLINE bytes in the
 * inode itself, unit n + 1 block n. Offsets within a unit are those within its object's stream.
 *
 * Of each byte of a unit's memory, at most one of these holds; and the memory has the newest bytes:
 *
 *   dirty    taken from a writer, not sent
 *   sending  in a block's transaction, no answer yet (at most one transaction of a unit at a time)
 *   written  the block has it, but the inode's size, times and cut do not say so yet: kept, since
 *            the blocks are written again when the inode's transaction finds another cut
 *
 * (A byte that is written again while it is sending or written is dirty as well.)
 */
#ifndef ORBIT_CACHE_DATA_IMPL_H
#define ORBIT_CACHE_DATA_IMPL_H

#include <bsd/sys/tree.h>
#include <sys/queue.h>
#include <uthash.h>

#include "fs/cache/data.h"
#include "fs/cache/ranges.h"

#define UNIT_SENDS 200         /* pieces in one block's transaction */
#define UNIT_FIXED (16u << 10) /* what a unit is taken to cost besides its bytes */
#define FLIGHT_BYTES (16u << 20)
#define FLIGHT_MAX 256 /* transactions that write blocks, at once */
#define GUESSES_MAX 100
#define RETRIES_MAX 1000 /* of transactions on the inode, in a round */
#define POOL_MAX 64      /* free buffers of a block's size that are kept */
#define SEEN_MAX 16384   /* files whose last known state is remembered after the last close */

#define ROUND_SEND 1   /* what was dirty when the round began is not all sent */
#define ROUND_ANSWER 2 /* it is */

/* Bytes of a unit that are not in its memory: they are those of another file, or of another part of
 * this one, and the nodes are to copy them (data_copy.c). */
struct ref {
	uint32_t from, to;
	uint64_t ino, off; /* where the first of them lies there */
};
#define REFS_MAX 16 /* of a unit */

struct unit {
	RB_ENTRY(unit) node;
	TAILQ_ENTRY(unit) ready; /* waits to be sent */
	struct data_inode *di;
	uint64_t index;
	uint8_t *mem;
	size_t cap; /* bytes at mem */
	struct ranges dirty, sending, written;
	bool in_flight, is_ready;
	bool commit;      /* the inode's transaction in flight says so of all that is written */
	int round;        /* what the round waits for: 0, ROUND_SEND, ROUND_ANSWER */
	bool create;      /* the guess: the object is not there */
	unsigned guesses; /* wrong ones in a row */
	uint64_t cut;     /* that was sent */
	int first_write;  /* index of the first WRITE or COPY in the transaction */
	unsigned nwrites;
	struct ref *refs; /* no two meet; they count only where something is to be sent */
	unsigned nrefs;
	orbit_handle handle;
};
RB_HEAD(units, unit);
RB_PROTOTYPE(units, unit, node, unit_cmp)

/* A piece of a file that was asked for before its reader. */
struct chunk {
	RB_ENTRY(chunk) node;   /* of the inode, by off; not when dead */
	TAILQ_ENTRY(chunk) lru; /* of the mount, when it has data */
	struct data_inode *di;
	uint64_t off; /* of the file */
	uint32_t len;
	bool pending; /* the answer is not there yet */
	bool dead;    /* out of date: only those who wait still get it */
	struct frame *keep;
	const uint8_t *data;
	uint32_t have; /* bytes at data; what is missing to len is zeros */
	int rc;
	TAILQ_HEAD(, part) waits;
	orbit_handle handle;
};
RB_HEAD(chunks, chunk);
RB_PROTOTYPE(chunks, chunk, node, chunk_cmp)

TAILQ_HEAD(data_waits, data_wait);

enum round_state {
	ROUND_NONE,
	ROUND_BLOCKS,  /* until all units with u->round are answered */
	ROUND_TAIL,    /* until the mark's transaction is answered */
	ROUND_INODE,   /* the inode's transaction is in flight */
	ROUND_REFETCH, /* another cut was found: attributes are read, or a trim is finished */
};

struct data_inode {
	struct data_cache *dc;
	uint64_t ino;
	UT_hash_handle hh;
	unsigned refs;    /* data_get() */
	struct fs_attr a; /* the cluster's, as last seen */
	uint64_t a_time;  /* when */
	bool has_policy;
	struct orbit_policy policy;

	/* what the inode's transaction has to say */
	struct units units;
	uint64_t cut;  /* that blocks are written with: its trim is known to be finished */
	uint64_t size; /* at least, with what is dirty; 0: nothing to raise */
	int64_t mtime; /* of the last write */
	bool times;    /* mtime and ctime are to be sent */
	bool meta;     /* anything is to be sent, bytes or size or times */
	bool wrote;    /* bytes were taken: capabilities go */
	bool kill_priv;
	bool has_caps;
	bool lost;       /* the lease went with the session: nothing may be sent */
	uint64_t mark;   /* inode_tick() of the inode's transaction in flight */
	bool last_guess; /* create was right */
	int64_t gained;
	int64_t atime; /* read at, not sent; 0: none */

	/* the round */
	enum round_state state;
	unsigned left; /* units it waits for */
	uint64_t round_size;
	int round_rc;
	int64_t round_gained;
	int64_t round_mtime;
	bool round_times, round_wrote;
	int op_cut, op_mode, op_caps, op_get;
	int op_inline; /* the first of the inline bytes' writes */
	unsigned ninline;
	struct data_waits waits, next, over;
	orbit_handle handle;
	unsigned retries; /* of the inode's transaction */

	/* the mark of bytes beyond the end (data_tail.c) */
	uint64_t tail;    /* 1 + the size that it names; 0: there is none */
	uint64_t tail_to; /* blocks up to here may be written */
	bool tail_there;  /* it was found by round_look() */
	bool tail_busy;   /* its transaction is in flight: never with the inode's */
	orbit_handle tail_handle;
	uint64_t tail_next, tail_next_to, tail_next_size; /* by that in flight, or the inode's */

	uint64_t since; /* dirty since; 0: clean */
	TAILQ_ENTRY(data_inode) dirty;

	uint64_t errors;
	int error;
	bool told; /* somebody was told of the last one */

	struct chunks chunks;
	unsigned npending; /* chunks, alive or dead, without an answer */
};

struct pool_buf {
	struct pool_buf *next;
};

/* What a file looked like when this mount saw it last. */
struct seen {
	uint64_t ino, size, cut;
	int64_t mtime, ctime;
};

struct data_cache {
	struct env *env;
	struct orbit_client *client;
	struct data_config cfg;
	struct data_inode *inodes;                /* uthash */
	TAILQ_HEAD(dirty_list, data_inode) dirty; /* oldest first */
	TAILQ_HEAD(, unit) ready;
	TAILQ_HEAD(, data_read_impl) reads;
	struct data_waits space; /* writers that wait */
	struct data_waits soon;  /* done() is to be called with 0 */
	uint64_t used;           /* bytes dirty, sending or written, and UNIT_FIXED each */
	uint64_t flight_bytes;
	unsigned flight;
	unsigned landing; /* callbacks to come, of transactions and of trims */
	bool nospace;
	struct env_timer timer;
	struct env_task task;
	struct pool_buf *pool;
	unsigned npool;
	TAILQ_HEAD(chunk_lru, chunk) lru;
	uint64_t cached;
	struct seen *seen;

	bool stopping, cancelling;
	int first_error; /* that nobody was told */
	void (*stopped)(void *arg, int rc);
	void *stopped_arg;
	struct env_timer stop_timer;
};

enum wait_state { WAIT_NONE, WAIT_SOON, WAIT_ROUND, WAIT_NEXT, WAIT_OVER, WAIT_SPACE };

/* ---- units (data_unit.c) ---- */

static inline uint64_t unit_of(uint64_t off)
{
	return off < LAYOUT_INLINE ? 0 : 1 + off / LAYOUT_BLOCK;
}

/* Where unit @index ends in the file. */
static inline uint64_t unit_end(uint64_t index)
{
	return index == 0 ? LAYOUT_INLINE : index * LAYOUT_BLOCK;
}

/* The file's offset of offset 0 of the unit's object. */
static inline uint64_t unit_base(uint64_t index)
{
	return index == 0 ? 0 : (index - 1) * LAYOUT_BLOCK;
}

static inline struct orbit_id unit_id(uint64_t ino, uint64_t index)
{
	return index == 0 ? layout_inode_id(ino) : layout_block_id(ino, index - 1);
}

/* Bytes that @n writes, of which @first is the first, have added to streams. */
int64_t data_gained(const struct orbit_reply *r, int first, unsigned n);
struct unit *unit_find(struct data_inode *di, uint64_t index);
struct unit *unit_get(struct data_inode *di, uint64_t index);
/* Takes bytes for [from, from + len) of the unit. */
void unit_take(struct unit *u, uint32_t from, const void *data, uint32_t len);
/* Frees the unit when nothing is in it; true then. */
bool unit_drop_if_clean(struct unit *u);
/* Forgets all that is in @set. */
void unit_clear(struct unit *u, struct ranges *set);
void unit_free(struct unit *u);
/* Is a full block dirty, from where it begins to its end? */
bool unit_full(const struct unit *u);
/* Queues the unit to be sent. */
void unit_ready(struct unit *u);
/* Sends what is ready, as far as there may be more in flight. */
void unit_pump(struct data_cache *dc);
void pool_free(struct data_cache *dc);

/* ---- copies (data_copy.c) ---- */

/* [from, to) has other bytes now. */
void refs_cut(struct unit *u, uint32_t from, uint32_t to);
/* Takes what lies at @off of @ino for [from, to). */
void refs_take(struct unit *u, uint32_t from, uint32_t to, uint64_t ino, uint64_t off);
/* The next piece of [from, to) that is all in memory or all of one ref: where it ends. */
uint32_t refs_next(const struct unit *u, uint32_t from, uint32_t to, const struct ref **ref);
/* Adds what is to be sent of [from, to). */
void refs_send(const struct unit *u, struct txn_build *t, uint32_t from, uint32_t to);

/* ---- rounds (data_flush.c) ---- */

bool inode_clean(const struct data_inode *di);
/* Begins a round, unless one is under way. */
void round_start(struct data_inode *di);
/* The lease is lost: what is in flight is refused, the rest is forgotten. */
void inode_give_up(struct data_inode *di);
/* A unit that the round waits for was answered. */
void round_answer(struct data_inode *di);
/* The bytes [from, to) of the file are lost. */
void round_failed(struct data_inode *di, int rc, uint64_t from, uint64_t to);
void flush_timer(struct env_timer *t);
/* Notes that something is dirty now. */
void inode_dirty(struct data_inode *di);
/* After anything ended: frees the record when nobody needs it. */
void inode_rest(struct data_inode *di);
void soon(struct data_cache *dc, struct data_wait *w);
void writers_pump(struct data_cache *dc); /* data_write.c */
void stop_check(struct data_cache *dc);
/* By the inode's policy; counts in dc->landing, which the callback must take down. */
orbit_handle data_submit(
	struct data_inode *di, struct txn_build *t, orbit_done_cb *done, void *arg);

/* Reads the attributes, and finishes a trim that is found; then the round goes on, or begins. */
void round_look(struct data_inode *di);
/* The round is over: whoever waits for it is told. */
void round_end(struct data_inode *di);
/* All is said of what lies below @size: units that have nothing more go. */
void inode_forget_units(struct data_inode *di, uint64_t size);
/* What its transaction was about is lost, and the round over; with all: whatever is dirty, too. */
void inode_lost(struct data_inode *di, int rc);
void inode_lost_all(struct data_inode *di, int rc);

/* ---- the inode's transaction (data_inode.c) ---- */

/* Sends it, when all blocks are written. */
void inode_send(struct data_inode *di);
/* A transaction on the inode is about to be sent; what became of it, @after NULL: not known. */
void round_tells(struct data_inode *di);
void round_told(struct data_inode *di, const struct orbit_reply *r, const struct fs_attr *after);

/* ---- what lies beyond the end (data_tail.c) ---- */

/* May what is dirty of the unit be sent? */
bool tail_covers(const struct unit *u);
/* It may not: gets the mark for it; then it is queued again. */
void tail_want(struct data_inode *di);
/* Queues what may want to be sent again. */
void tail_again(struct data_inode *di);
/* The mark is not one for us, when @a shows ours. */
void tail_mask(const struct data_inode *di, struct fs_attr *a);
/* Somebody else met the mark: what lay beyond the end is gone. */
void tail_lost(struct data_inode *di);
/* Adds what the round does to the mark, which will raise the size to @size; the bytes that were
 * written and lie beyond it. */
uint64_t tail_round(struct data_inode *di, struct txn_build *t, uint64_t size);
/* It has. */
void tail_rounded(struct data_inode *di);

/* ---- reads (data_read.c) ---- */

/* Nothing is waited for any longer: those under way end, with an error. */
void data_read_stop(struct data_cache *dc);

/* ---- records (data.c) ---- */

struct data_inode *inode_find(const struct data_cache *dc, uint64_t ino);
/* Takes @a as the newest attributes, unless it is older. */
void inode_note(struct data_inode *di, const struct fs_attr *a);
/* A mode without the bits that a write by somebody else takes. */
uint32_t data_without_priv(uint32_t mode);

/* ---- chunks (data_ahead.c) ---- */

struct part;
struct chunk *chunk_find(struct data_inode *di, uint64_t off, uint64_t len);
void chunk_drop(struct chunk *c);
/* Drops all that meets [from, to). */
void chunk_drop_range(struct data_inode *di, uint64_t from, uint64_t to);
void chunk_ahead(struct data_inode *di, struct data_seq *seq, uint64_t off, size_t len);
/* data_read.c: the chunk that the part waits for has its answer. */
void part_arrived(struct part *p, struct chunk *c);

struct part {
	TAILQ_ENTRY(part) wait; /* of the chunk */
	struct data_read_impl *in;
	uint64_t index, off; /* unit, offset in its object */
	uint32_t len;
	size_t at;           /* in the result */
	struct ranges have;  /* of the unit, from what was dirty when the read began */
	struct chunk *chunk; /* waits for it */
	orbit_handle handle;
	bool busy;
};

#endif
