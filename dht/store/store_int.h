/*
 * What the parts of the store share. One struct store; seg.c keeps its files, journal.c writes and
 * syncs the log, flush.c flushes the index and removes dead segments, apply.c turns effects into
 * batches, read.c reads, wait.c brings in what was missed, recover.c and meta.c open, compact.c
 * rewrites old segments.
 *
 * Positions: flushed <= synced <= written <= tail. The index in memory reflects tail, the index on
 * disk flushed; what lies between written and tail is in the queue.
 */
#ifndef ORBIT_STORE_STORE_INT_H
#define ORBIT_STORE_STORE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "dht/base/mem.h"
#include "dht/store/disk.h"
#include "dht/store/extent.h"
#include "dht/store/history.h"
#include "dht/store/index.h"
#include "dht/store/record.h"
#include "dht/store/store.h"
#include "dht/store/work.h"

#define INLINE_MAX (256u << 10) /* appends below this may be written on the loop */
#define DIRTY_MAX (64u << 20)   /* bytes not written back above which none is */
#define WRITEBACK (8u << 20)    /* bytes at which writing back begins */
#define QUEUE_MAX (64u << 20)   /* bytes queued above which effects are refused for now */
#define ROUND_MAX (64u << 20)   /* bytes appended in one round of PRESYNC above which likewise */
#define SEG_NAME 32             /* bytes of a segment's file name */

struct seg {
	uint64_t start;
	uint64_t size;                    /* bytes of records, queued ones included */
	uint64_t live;                    /* bytes of extents that lie in it */
	_Atomic(struct disk_file *) file; /* NULL: not open; workers may open it */
	unsigned pins;                    /* reads and jobs that need it */
	bool sealed;                      /* no more appends */
	bool trimmed;                     /* its reserved room was given back */
	bool dead;                        /* in the last flush nothing live was in it */
	bool gone;                        /* removed; freed with the last pin */
	LIST_ENTRY(seg) entry;            /* of those that are gone and pinned */
	bool stuck;                       /* compaction could not read it */
	uint64_t used;                    /* when it was read last, for closing files */
	uint64_t reserved;                /* bytes of room taken for it in advance */
};

/* A record that waits to be written. */
struct pending {
	TAILQ_ENTRY(pending) entry;
	struct store_apply *a;
	struct seg *seg;
	struct record r;
	uint8_t head[RECORD_HEAD];
};
TAILQ_HEAD(pending_list, pending);
TAILQ_HEAD(apply_list, store_apply);
TAILQ_HEAD(sync_list, store_sync);
TAILQ_HEAD(wait_list, store_wait);

enum flush_state {
	FLUSH_IDLE,
	FLUSH_PRESYNC, /* syncing the bulk of the log */
	FLUSH_HOLD,    /* applies are held: syncing the rest */
	FLUSH_SWITCH,  /* applies are held: the index begins its flush */
	FLUSH_WAIT,    /* the index is being flushed, applies go on */
	FLUSH_REMOVE,  /* dead segments are being removed */
};

struct fetch_work;

#define MISS_MAX 64
struct miss {
	size_t flen, tlen;
	uint8_t keys[]; /* from, to */
};

/* Dead segments go. Until it is known how much room that made nothing is refused for want of it. */
enum drop_state {
	DROP_IDLE,
	DROP_WANTED, /* room is needed: the next flush keeps none to be read back */
	DROP_FLUSH,  /* being flushed, then removed */
	DROP_ASK,    /* they are gone; how much room is there now? */
};

struct compact;

/* Where a shard's last effects begin in the log: a ring of @cap, a power of two. */
struct tail {
	uint64_t *pos;
	uint64_t first; /* seq of the first */
	unsigned head, n, cap;
};

/* A shard. What a batch would make of it is staged until the index has taken the batch. */
struct past {
	struct history h;
	struct history_term *terms; /* h.terms, ours to change */
	unsigned cap;
	uint16_t shard;
	bool dirty; /* the index on disk has it otherwise */
	SLIST_ENTRY(past) next;
	struct tail tail;
	/* staged */
	uint64_t round; /* of the batch in which it is */
	uint64_t term, seq;
	const void *whole; /* the whole history anew, encoded; borrowed from the record */
	size_t whole_len;
};

struct store {
	struct env *env;
	struct disk *disk;
	struct store_index *ix;
	bool owned;    /* disk and index are ours */
	bool blocking; /* store_blocking() */
	struct store_config cfg;
	struct store_info info;
	struct gate *gate;
	int broken; /* 0, or what ended it: nothing is written any more */
	bool holed; /* as META has it */
	struct batch batch;

	/* log */
	struct seg **segs; /* by start */
	LIST_HEAD(, seg) gone_segs;
	size_t nsegs, seg_cap;
	struct seg *cur, *spare; /* appended to; made in advance */
	bool making;             /* a segment file is being made */
	uint64_t tail, written, synced;
	struct pending_list queue, writing;
	size_t queued;      /* bytes in both */
	uint64_t backed;    /* position up to which writeback was started */
	uint64_t unstarted; /* bytes written from there on */
	uint64_t backing;   /* bytes in the running writeback */
	bool syncing;
	struct sync_list syncs, synced_list;
	struct apply_list finished;
	struct env_task finish;
	uint64_t log_bytes, live_bytes, damaged;
	_Atomic unsigned open_files;
	uint64_t tick;
	pthread_mutex_t open_lock; /* workers opening segment files */

	/* space */
	uint64_t total, room; /* of the disk; still free as far as known */
	uint64_t reserve;
	uint64_t room_at; /* when it was asked for */
	uint64_t since_room;
	bool asking_room, short_of_room;

	/* histories of the shards */
	struct past **pasts; /* by shard, NULL: never had an effect */
	unsigned npasts;
	SLIST_HEAD(, past) dirty_pasts;
	uint64_t past_round, past_pos; /* of the batch that is being made */
	struct past **staged;          /* those that it changes */
	unsigned nstaged, staged_cap;
	uint64_t void_to;          /* records below are those that damage left over */
	size_t tail_n, tail_limit; /* effects in all tails; at which some are forgotten */
	uint64_t tail_floor;       /* below it only what is pinned is known */
	uint64_t keep_from;        /* segments that reach beyond stay */
	uint64_t kept;             /* bytes of segments that are dead and stay */
	enum drop_state drop;
	LIST_HEAD(, tail_pin) tail_pins;

	LIST_HEAD(, repair) repairs; /* in the log's queue */

	/* shards that are being cleared */
	LIST_HEAD(, clear) clears;
	const uint8_t *clear_rest; /* of the batch that is being made: NULL when it has none */
	size_t clear_rest_len;
	uint16_t clear_shard;

	/* flush */
	enum flush_state flush;
	bool held, flush_again;
	size_t mem; /* bytes the index holds unflushed, about */
	uint64_t since_flush, flush_pos, flushed;
	uint64_t round_bytes; /* appended since the running sync of PRESYNC began */
	unsigned round;
	struct store_sync flush_sync;
	struct env_timer flush_timer;

	/* waiting */
	struct wait_list waits;
	struct env_task wake;
	struct miss *misses[MISS_MAX];
	unsigned nmisses;
	struct miss *failed[MISS_MAX]; /* could not be brought in, until that was told */
	unsigned nfailed;
	struct fetch_work *fetch; /* under way */
	bool stalled;
	struct env_timer stall;
	void **pins;
	unsigned npins;

	struct compact *compact;

	/* close */
	uint8_t boot[16];
	bool closing;
	void (*close_done)(void *arg, int rc);
	void *close_arg;
};

/* ---- journal.c ---- */

void journal_init(struct store *st);
void journal_fini(struct store *st);
/* Appends what was placed; @a->effect has meta and data. Calls a->done in its time. */
void journal_append(struct store *st, struct store_apply *a, enum record_kind kind);
/* Ends all writing: the rest of the queue and all syncs fail. */
void journal_break(struct store *st, int rc, const char *what);
/* Copies [pos, pos+len) out of a record that is not yet written; false when it is none. */
bool journal_peek(struct store *st, uint64_t pos, size_t len, void *dst);

/* Hands what is queued to a worker, if it can be written. */
void journal_pump(struct store *st);

/* The effect that stands at @pos and waits to be written, or NULL. */
const struct effect *journal_queued(struct store *st, uint64_t pos);

/* ---- seg.c ---- */

/* Where the next record will stand; opens a new segment when the current one is full. */
uint64_t seg_place(struct store *st);
struct seg *seg_new(uint64_t start);
void seg_free(struct seg *s);
/* The first segment that reaches beyond @pos, or the last one. */
struct seg *seg_after(struct store *st, uint64_t pos);
void seg_insert(struct store *st, struct seg *s);
/* The segment in which @pos lies, NULL when there is none. */
struct seg *seg_at(struct store *st, uint64_t pos);
char *seg_name(uint64_t start, char name[SEG_NAME]);
/* Its file, opened if need be (blocking; on a worker or while opening the store). */
int seg_open(struct store *st, struct seg *s, struct disk_file **out);
/* Closes its file; nobody may have it pinned. */
void seg_close(struct store *st, struct seg *s);
/* Closes files that nobody needs, when there are many. */
void seg_close_idle(struct store *st);
void seg_pin(struct seg *s);
/* Frees the segment when it is gone and this was the last. */
void seg_unpin(struct store *st, struct seg *s);
/* Takes it out of the list; freed at once or with the last pin. */
void seg_drop(struct store *st, struct seg *s);

/* ---- apply.c ---- */

/* The record of kind @kind at @r->pos as changes of the index, into st->batch, the new log
 * position with them. 0, -EAGAIN (the miss is noted), -EBADMSG, -EIO. */
int apply_batch(struct store *st, const struct record *r, const void *meta, bool cached);
/* What remains of an effect that cleared its shard, into the batch. */
int apply_ops(struct store *st, uint16_t shard, const void *meta, size_t len);
/* Keys that effects may not change. */
bool apply_own_key(const void *key);
/* Counts the batch's live bytes; the index has taken it. */
void apply_counted(struct store *st);
/* As store_apply(), for a record of any kind. */
int apply_record(
	struct store *st, struct store_apply *a, enum record_kind kind, enum store_urgency urgency);
/* Whether effects are refused for the time being. */
bool apply_held(const struct store *st);

/* ---- flush.c ---- */

void flush_want(struct store *st);
/* To be called after an apply: flushes when it is time. */
void flush_maybe(struct store *st);
/* Arms the timer that flushes when there are segments to get rid of. */
void flush_garbage(struct store *st);
/* Puts log position, segment table and histories, for a flush at @pos. -EAGAIN unless @wait. */
int flush_put(struct store *st, uint64_t pos, bool wait);
void flush_init(struct store *st);
void flush_fini(struct store *st);

#define FLUSH_KEY_POS "S\0\0pos"
#define FLUSH_KEY_SEGS "S\0\0segments"
#define FLUSH_KEY_VOID "S\0\0void"
#define FLUSH_KEY_CLEAR "S\0\0clear" /* and the shard */
#define FLUSH_KEY_LEN(k) (sizeof(k) - 1)

/* ---- history.c ---- */

/* A batch is begun, of the record at @pos: what follows is staged. */
void history_begin(struct store *st, uint64_t pos);
/* One of its sections: 0, -EBADMSG when it is not what comes next in its shard. */
int history_section(struct store *st, uint16_t shard, uint64_t term, uint64_t seq);
/* The shard's history becomes that (history_encode()); 0, -EBADMSG. */
int history_replace(struct store *st, uint16_t shard, const void *whole, size_t len);
/* The index has taken the batch. */
void history_commit(struct store *st);
/* Records are lost: no history is vouched for, nor what records below @to add. */
void history_void(struct store *st, uint64_t to);
/* Puts what changed since the last flush into st->batch: 0, -ENOMEM. */
int history_fill(struct store *st);
/* The index has taken that. */
void history_filled(struct store *st);
/* Reads what the index has. */
int history_load(struct store *st);
/* Back to nothing at all. */
void history_forget(struct store *st);

/* ---- tail.c ---- */

#define LOG_KEEP_MAX (UINT64_C(1) << 30)

/* The shard's effect with that number stands at @pos. */
void tail_add(struct store *st, struct past *p, uint64_t seq, uint64_t pos);
void tail_clear(struct store *st, struct past *p);
/* When opening, of effects that the index has: the same; and whether all of that can be trusted. */
void tail_known(struct store *st, uint16_t shard, uint64_t term, uint64_t seq, uint64_t pos);
void tail_settle(struct store *st, bool well);
/* A segment that ended there is gone. */
void tail_removed(struct store *st, uint64_t end);
/* Finds out from where on segments are kept. */
void tail_keep(struct store *st);
bool tail_keeps(const struct store *st, const struct seg *s);
void tail_fini(struct store *st);

/* ---- wait.c ---- */

/* Notes what was not in memory. -EAGAIN; -EIO when it could not be read the last time. */
int wait_miss(struct store *st, const void *from, size_t flen, const void *to, size_t tlen);
/* Calls all that wait, soon. */
void wait_wake(struct store *st);
/* The index would have stalled: wake in a little while. */
void wait_stall(struct store *st);
void wait_unpin(struct store *st);
void wait_init(struct store *st);
void wait_fini(struct store *st);

/* ---- read.c ---- */

/* A walk over the extents of a stream that reach into [off, ...). */
struct extent_walk {
	struct store *st;
	struct index_iter *it;
	struct key from, to; /* from: the last that was got */
};

void extents_begin(struct extent_walk *w, struct store *st, uint16_t shard,
	const struct orbit_id *id, uint64_t off);
/* 1 and the next, 0, -EAGAIN (the miss is noted), -EIO. */
int extents_next(struct extent_walk *w, struct extent *e);
void extents_end(struct extent_walk *w);

/* ---- repair.c ---- */

void repair_fini(struct store *st);

/* ---- clear.c ---- */

/* In apply_batch(): the operation was met in @it, the effect's second; the rest of it is kept for
 * when the shard is cleared. 0, -EBADMSG. */
int clear_met(struct store *st, struct effect_iter *it, uint16_t shard);
/* The batch was taken. Replaces @a by one that is logged in its place, unless there was none. */
struct store_apply *clear_begin(struct store *st, struct store_apply *a);
/* The same when replayed: at once. @pos: up to where the index reflects the log. */
int clear_replay(struct store *st, uint64_t pos);
/* Carries out what a crash interrupted. */
int clear_resume(struct store *st, uint64_t pos);
bool clear_busy(const struct store *st, uint16_t shard);
void clear_fini(struct store *st);

/* ---- space.c ---- */

/* Whether @len bytes may be appended: 0 or -ENOSPC. */
int space_check(struct store *st, uint64_t len, enum store_urgency urgency);
/* Asks the disk; blocking. */
int space_ask(struct store *st);
/* Asks the disk on a worker, when the answer it has is old. */
void space_refresh(struct store *st);
/* Bytes that are free beyond what is promised already, as far as known. */
uint64_t space_left(const struct store *st);
/* What was dead is removed. */
void space_dropped(struct store *st);

/* ---- meta.c ---- */

#define META_NAME "META"
struct meta {
	uint8_t fsid[16];
	struct orbit_id node;
	uint64_t starts;
	uint8_t boot[16];
	bool clean;   /* the last stop was store_close() */
	bool suspect; /* not whole */
	bool holed;   /* segments were removed: the log does not tell all any more */
	uint64_t end; /* of the log, when clean */
};
/* -ENOENT, -EPROTONOSUPPORT, -EUCLEAN, -errno */
int meta_load(struct disk *d, struct meta *m);
int meta_save(struct disk *d, const struct meta *m);
/* Notes how it stands with the store now; blocking. */
int meta_note(struct store *st, bool clean);
/* The same on a worker; @done (unless NULL) may free the store. Notes come one after the other. */
void meta_start(
	struct store *st, bool clean, void (*done)(struct store *st, void *arg, int rc), void *arg);

/* ---- recover.c ---- */

/* Flushes the index, which reflects the log up to @pos, while the store is opened. */
int recover_flush(struct store *st, uint64_t pos);

/* Makes the index agree with the log; sets info.whole. Blocking. */
int recover(struct store *st, const struct meta *m, char *why, size_t why_len);

/* ---- compact.c ---- */

/* Starts on the next segment that deserves it, if none is under way. */
void compact_kick(struct store *st);
void compact_init(struct store *st);
void compact_fini(struct store *st);
/* Whether so little of a sealed segment is live that it should go. */
bool compact_deserves(struct store *st, const struct seg *s);

#endif
