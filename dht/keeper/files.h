/*
 * files: what a voter has on disk, beside the store's log:
 *
 *   keeper-meta              which server it is, its term, whom it voted for in it
 *   keeper-snap-<index>      the state after that entry, with the configuration that held then
 *   keeper-log-<index>       entries from that one on, one record behind the other
 *
 * Blocking calls, made at the start or by one worker at a time. All return 0 or -errno. Everything
 * that is read is checked; what is damaged is named in files.why, with what to do about it.
 */
#ifndef ORBIT_KEEPER_FILES_H
#define ORBIT_KEEPER_FILES_H

#include <raft.h>
#include <sys/queue.h>

#include "dht/base/buf.h"
#include "dht/store/disk.h"

#define FILES_DATA_MAX (7u << 20) /* bytes of an entry, or of a snapshot: it has to fit a frame */

struct files_seg;

struct files {
	struct disk *d;
	TAILQ_HEAD(files_segs, files_seg) segs; /* in order */
	uint64_t next;                          /* index of the entry that is appended next */
	uint64_t snap;                          /* index of the newest snapshot; 0: none */
	uint64_t seg_max;                       /* bytes after which a new file begins */
	int stuck; /* what a write gave that failed: nothing more until it is 0 */
	char why[256];
};

struct files_meta {
	uint32_t number; /* of the node; 0: the files are new */
	uint64_t term, vote;
};

/* Finds and reads all that is there. *snap is NULL without one. What is given belongs to the caller
 * in libraft's way (raft_free()). */
int files_load(struct files *f, struct disk *d, struct files_meta *meta,
	struct raft_snapshot **snap, uint64_t *start, struct raft_entry **entries, size_t *n);
void files_free(struct raft_snapshot *snap, struct raft_entry *entries, size_t n);
void files_close(struct files *f);

/* Which server the files are of; 0: there are none. */
int files_number(struct disk *d, uint32_t *number);

/* All zeros when there are none. */
int files_load_meta(struct files *f, struct files_meta *meta);
int files_save_meta(struct files *f, const struct files_meta *meta);

/* One record per entry, appended to @b, for files_append(): may be made anywhere. */
void files_put_entry(struct buf *b, const struct raft_entry *e);
/* Writes @n entries, the first of which is f->next, and syncs. */
int files_append(struct files *f, struct buf *records, unsigned n);
/* Entries from @index on go. */
int files_truncate(struct files *f, uint64_t index);

/* The bytes of a snapshot's file. */
void files_put_snapshot(struct buf *b, const struct raft_snapshot *s);
/* Stores it. Entries before @keep go; with @keep 0 all do, and the next one follows the snapshot.
 */
int files_save_snapshot(struct files *f, uint64_t index, const struct buf *b, uint64_t keep);
int files_load_snapshot(struct files *f, struct raft_snapshot **out);

/* A number as the address of a server: it is found by its number alone. */
#define FILES_ADDRESS_MAX 24
int files_add_server(struct raft_configuration *c, uint64_t number, int role);
void files_free_snapshot(struct raft_snapshot *s);

#endif
