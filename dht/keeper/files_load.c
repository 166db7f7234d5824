/*
 * Files of a voter, read back at the start (files.c tells what is in them).
 */
#include "dht/keeper/files_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"

#define SEG_MAX (256u << 10)
/* more than a few groups of the largest entries never are in one */
#define LOG_FILE_MAX (64u << 20)

/* The record at @at, if there is a good one: its length, else 0. */
static size_t record_at(
	const struct buf *b, size_t at, struct raft_entry *e, uint64_t *index, uint64_t *synced)
{
	struct cur c;
	uint32_t crc;
	size_t len;

	if (b->len - at < FILES_REC_HEAD)
		return 0;
	c = cur_of(b->data + at, b->len - at);
	if (cur_u32(&c) != FILES_REC_MAGIC)
		return 0;
	crc = cur_u32(&c);
	len = cur_u32(&c);
	if (len > FILES_DATA_MAX || b->len - at < FILES_REC_HEAD + len ||
		crc != crc32c(b->data + at + 8, FILES_REC_HEAD + len - 8))
		return 0;
	e->type = cur_u8(&c);
	*index = cur_u64(&c);
	e->term = cur_u64(&c);
	*synced = cur_u64(&c);
	e->buf.len = len;
	e->buf.base = b->data + at + FILES_REC_HEAD;
	return FILES_REC_HEAD + len;
}

/* Does anything behind @at say that @at had been synced? */
static bool was_synced(const struct buf *b, size_t at)
{
	uint64_t index, synced;
	struct raft_entry e;

	for (size_t p = at + 1; p + FILES_REC_HEAD <= b->len; p++) {
		if (record_at(b, p, &e, &index, &synced) && synced > at)
			return true;
	}
	return false;
}

static int damaged(struct files *f, const struct files_seg *s, uint64_t at, const char *what)
{
	snprintf(f->why, sizeof(f->why),
		"keeper-log-%016" PRIx64 " is damaged at byte %" PRIu64 " (%s): remove this node "
		"from the cluster and let it join anew with an empty store",
		s->first, at, what);
	return -EUCLEAN;
}

static int seg_read(struct files *f, struct files_seg *s, struct buf *b)
{
	int64_t size;
	char name[FILES_NAME_MAX];
	struct iovec iov;
	int rc;

	files_seg_name(name, s->first);
	rc = disk_open(f->d, name, false, &s->file);
	if (rc)
		return rc;
	size = f->d->ops->size(s->file);
	if (size < 0)
		return (int)size;
	if (size > LOG_FILE_MAX)
		return damaged(f, s, 0, "far too large");
	iov = (struct iovec){buf_add(b, (size_t)size), (size_t)size};
	if (!iov.iov_base)
		return -ENOMEM;
	size = disk_read(s->file, 0, &iov, 1, false);
	if (size < 0)
		return (int)size;
	b->len = (size_t)size;
	return 0;
}

static bool head_good(const struct files_seg *s, const struct buf *b)
{
	struct cur c = cur_of(b->data, b->len);

	return b->len >= FILES_LOG_HEAD && cur_u32(&c) == FILES_LOG_MAGIC &&
	       cur_u16(&c) == FILES_FORMAT && cur_u64(&c) == s->first &&
	       cur_u32(&c) == crc32c(b->data, FILES_LOG_HEAD - 4);
}

/*
 * What is read may never have been synced: the process ended before, or the sync failed. From now
 * on it counts, so it is made to last; written again, as after a failed sync the kernel may take
 * what it holds for written.
 */
static int seg_settle(struct files_seg *s, const struct buf *b, uint64_t synced)
{
	struct iovec iov = {b->data + synced, s->len - synced};
	int rc = 0;

	if (b->len > s->len)
		rc = disk_truncate(s->file, s->len);
	if (!rc && iov.iov_len)
		rc = disk_write(s->file, synced, &iov, 1);
	return rc ? rc : disk_sync(s->file);
}

/* Finds the entries of a file and cuts off what the last one ends with in the middle of being
 * written. 1: it had nothing good, and is gone. */
static int seg_scan(struct files *f, struct files_seg *s, const struct buf *b, bool last)
{
	uint64_t index, synced, known = 0;
	struct raft_entry e;
	size_t at = FILES_LOG_HEAD, len;
	int rc;

	if (!head_good(s, b)) {
		if (!last || was_synced(b, 0))
			return damaged(f, s, 0, "its head");
		rc = files_seg_remove(f, s); /* it was just being made */
		return rc ? rc : 1;
	}
	while (at < b->len && (len = record_at(b, at, &e, &index, &synced))) {
		if (index != s->first + s->n || synced > at || e.type < RAFT_COMMAND ||
			e.type > RAFT_CHANGE)
			return damaged(f, s, at, "an entry out of order");
		files_seg_note(s, at);
		at += len;
		known = synced > known ? synced : known;
	}
	s->len = at;
	if (at < b->len && (!last || was_synced(b, at)))
		return damaged(f, s, at, "checksum");
	return last ? seg_settle(s, b, known) : 0;
}

/* Gives the entries of a file to the array, in one batch. */
static int seg_give(const struct files_seg *s, const struct buf *b, struct raft_entry *out)
{
	uint64_t index, synced;
	uint8_t *batch;
	size_t at = 0;

	if (!s->n)
		return 0;
	batch = raft_malloc(b->len + 8 * s->n);
	if (!batch)
		return -ENOMEM;
	for (size_t i = 0; i < s->n; i++) {
		struct raft_entry e;

		record_at(b, s->offs[i], &e, &index, &synced);
		memcpy(batch + at, e.buf.base, e.buf.len);
		e.buf.base = batch + at;
		e.batch = batch;
		out[i] = e;
		at += (e.buf.len + 7) & ~(size_t)7;
	}
	return 0;
}

struct names {
	struct files *f;
	uint64_t snaps[8]; /* there are two at most, and others only by hand */
	unsigned nsnaps;
};

static bool name_index(const char *name, const char *prefix, uint64_t *index)
{
	size_t len = strlen(prefix);
	char *end;

	if (strncmp(name, prefix, len) || strlen(name) != len + 16)
		return false;
	*index = strtoull(name + len, &end, 16);
	return !*end && *index;
}

static void each_name(void *arg, const char *name)
{
	struct files_seg *s, *after = NULL;
	struct names *n = arg;
	uint64_t index;

	if (name_index(name, "keeper-snap-", &index)) {
		if (n->nsnaps < ARRAY_LEN(n->snaps))
			n->snaps[n->nsnaps++] = index;
		if (index > n->f->snap)
			n->f->snap = index;
	} else if (name_index(name, "keeper-log-", &index)) {
		TAILQ_FOREACH (s, &n->f->segs, entry) {
			if (s->first < index)
				after = s;
		}
		s = mem_zalloc(sizeof(*s));
		s->first = index;
		if (after)
			TAILQ_INSERT_AFTER(&n->f->segs, after, s, entry);
		else
			TAILQ_INSERT_HEAD(&n->f->segs, s, entry);
	}
}

/* Reads all files of the log into the array. */
static int load_log(struct files *f, struct raft_entry **entries, size_t *n)
{
	struct files_seg *s, *next;
	int rc = 0;

	for (s = TAILQ_FIRST(&f->segs); s && !rc; s = next) {
		struct buf b = {0};
		uint64_t first = s->first;

		next = TAILQ_NEXT(s, entry);
		if (*n && first != f->next) {
			rc = damaged(f, s, 0, "entries before it are missing");
			break;
		}
		rc = seg_read(f, s, &b);
		if (!rc)
			rc = seg_scan(f, s, &b, !next);
		if (rc == 1) {
			buf_fini(&b);
			return 0;
		}
		if (!rc) {
			*entries = mem_grow(*entries, *n + s->n + 1, sizeof(**entries));
			rc = seg_give(s, &b, *entries + *n);
			f->next = first + s->n;
		}
		if (!rc)
			*n += s->n;
		buf_fini(&b);
	}
	return rc;
}

static void free_entries(struct raft_entry *e, size_t n)
{
	void *batch = NULL;

	for (size_t i = 0; i < n; i++) {
		if (e[i].batch != batch)
			raft_free(e[i].batch);
		batch = e[i].batch;
	}
	free(e);
}

void files_free(struct raft_snapshot *snap, struct raft_entry *entries, size_t n)
{
	files_free_snapshot(snap);
	free_entries(entries, n);
}

int files_number(struct disk *d, uint32_t *number)
{
	struct files f = {.d = d};
	struct files_meta m;
	int rc = files_load_meta(&f, &m);

	*number = m.number;
	return rc;
}

/* Do the entries go on from the snapshot? */
static bool fits(
	const struct raft_snapshot *s, uint64_t first, const struct raft_entry *e, size_t n)
{
	if (first + n - 1 < s->index)
		return false;
	return first == s->index + 1 || e[s->index - first].term == s->term;
}

static int match(struct files *f, const struct raft_snapshot *s, uint64_t *start,
	struct raft_entry **entries, size_t *n)
{
	uint64_t first = TAILQ_EMPTY(&f->segs) ? 0 : TAILQ_FIRST(&f->segs)->first;
	int rc = 0;

	*start = s ? s->index + 1 : 1;
	if (first > *start)
		return damaged(f, TAILQ_FIRST(&f->segs), 0, "entries before it are missing");
	if (*n && (!s || fits(s, first, *entries, *n))) {
		*start = first;
		return 0;
	}
	/* entries from before a snapshot that came from the leader, or none at all */
	free_entries(*entries, *n);
	*entries = NULL;
	*n = 0;
	rc = files_truncate(f, 0);
	f->next = *start;
	return rc;
}

static int drop_old_snapshots(struct files *f, const struct names *names)
{
	char name[FILES_NAME_MAX];
	int rc = 0;

	for (unsigned i = 0; i < names->nsnaps && !rc; i++) {
		if (names->snaps[i] == f->snap)
			continue;
		files_snap_name(name, names->snaps[i]);
		rc = f->d->ops->remove(f->d, name);
	}
	return rc;
}

int files_load(struct files *f, struct disk *d, struct files_meta *meta,
	struct raft_snapshot **snap, uint64_t *start, struct raft_entry **entries, size_t *n)
{
	struct names names = {.f = f};
	int rc;

	memset(f, 0, sizeof(*f));
	TAILQ_INIT(&f->segs);
	f->d = d;
	f->next = 1;
	f->seg_max = SEG_MAX;
	*snap = NULL;
	*entries = NULL;
	*n = 0;
	rc = d->ops->list(d, each_name, &names);
	if (!rc)
		rc = files_load_meta(f, meta);
	if (!rc && f->snap)
		rc = files_load_snapshot(f, snap);
	if (!rc)
		rc = load_log(f, entries, n);
	if (!rc)
		rc = match(f, *snap, start, entries, n);
	if (!rc)
		rc = drop_old_snapshots(f, &names);
	/* a vote or a snapshot may have got its name only just before the end */
	if (!rc)
		rc = d->ops->sync_names(d);
	if (!rc && !meta->number && (f->snap || *n)) {
		snprintf(f->why, sizeof(f->why),
			"keeper-meta is missing: put it back, or remove this node from the cluster "
			"and let it join anew with an empty store");
		rc = -EUCLEAN;
	}
	if (rc) {
		if (!f->why[0])
			snprintf(f->why, sizeof(f->why), "the keeper's files: %s", strerror(-rc));
		files_free(*snap, *entries, *n);
		*snap = NULL;
		*entries = NULL;
		*n = 0;
		files_close(f);
	}
	return rc;
}

void files_close(struct files *f)
{
	struct files_seg *s;

	while ((s = TAILQ_FIRST(&f->segs)))
		files_seg_free(f, s);
}
