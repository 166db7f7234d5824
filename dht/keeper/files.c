/*
 * Files of a voter. All begin with a magic number and a format and are checksummed (CRC32C).
 *
 *   keeper-meta   u32 "KMET", u16 1, u32 number, u64 term, u64 vote, u32 crc of all before
 *   keeper-snap   u32 "KSNP", u16 1, u64 index, u64 term, u64 index of the configuration, u32 n,
 *                 n x (u64 number, u8 role), blob state, u32 crc of all before
 *   keeper-log    u32 "KLOG", u16 1, u64 first index, u32 crc of these; then records:
 *                 u32 "KREC", u32 crc of what follows, u32 length of the data, u8 type, u64 index,
 *                 u64 term, u64 where this file was synced to when it was written, data
 *
 * What is read back is made durable before anybody acts on it.
 *
 * meta and snap are replaced as a whole. Records are written in groups, each synced before the next
 * is begun: so what does not check at the end of the last file is the torn end of one group, unless
 * a good record further on says that the place was synced: then it is damage.
 *
 * A snapshot replaces entries only after it is durable. Entries that do not belong to the newest
 * snapshot (an end came in between) go at the next start.
 */
#include "dht/keeper/files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"

#define META_MAGIC 0x54454d4bu
#define SNAP_MAGIC 0x504e534bu
#define LOG_MAGIC 0x474f4c4bu
#define REC_MAGIC 0x4345524bu
#define FORMAT 1
#define META_LEN 30
#define LOG_HEAD 18
#define REC_HEAD 37
#define SNAP_MAX (8u << 20)
#define SEG_MAX (256u << 10)
#define LOG_FILE_MAX                                                                               \
	(64u << 20) /* more than a few groups of the largest entries never are in one */
#define SERVERS_MAX 64

struct files_seg {
	TAILQ_ENTRY(files_seg) entry;
	uint64_t first;
	struct disk_file *file;
	uint64_t len;   /* bytes that are good */
	bool dirty;     /* others may stand behind them: a write failed */
	uint64_t *offs; /* where each entry begins */
	size_t n, cap;
};

static void seg_name(char *name, size_t len, uint64_t first)
{
	snprintf(name, len, "keeper-log-%016" PRIx64, first);
}

static void snap_name(char *name, size_t len, uint64_t index)
{
	snprintf(name, len, "keeper-snap-%016" PRIx64, index);
}

/* ---- servers ---- */

int files_add_server(struct raft_configuration *c, uint64_t number, int role)
{
	char address[FILES_ADDRESS_MAX];

	snprintf(address, sizeof(address), "%" PRIu64, number);
	return raft_configuration_add(c, number, address, role) ? -EBADMSG : 0;
}

/* ---- meta ---- */

int files_save_meta(struct files *f, const struct files_meta *m)
{
	struct buf b = {0};
	int rc;

	buf_u32(&b, META_MAGIC);
	buf_u16(&b, FORMAT);
	buf_u32(&b, m->number);
	buf_u64(&b, m->term);
	buf_u64(&b, m->vote);
	buf_u32(&b, crc32c(b.data, b.len));
	rc = b.err ? b.err : f->d->ops->save(f->d, "keeper-meta", b.data, b.len);
	buf_fini(&b);
	return rc;
}

int files_load_meta(struct files *f, struct files_meta *m)
{
	struct buf b = {0};
	int rc = f->d->ops->load(f->d, "keeper-meta", &b, META_LEN);
	struct cur c = cur_of(b.data, b.len);

	memset(m, 0, sizeof(*m));
	if (rc == -ENOENT)
		return 0;
	if (!rc && (cur_u32(&c) != META_MAGIC || cur_u16(&c) != FORMAT))
		rc = -EUCLEAN;
	m->number = cur_u32(&c);
	m->term = cur_u64(&c);
	m->vote = cur_u64(&c);
	if (!rc && (cur_u32(&c) != crc32c(b.data, META_LEN - 4) || !cur_done(&c) || !m->number))
		rc = -EUCLEAN;
	if (rc)
		snprintf(f->why, sizeof(f->why),
			"keeper-meta is damaged: this node may have forgotten a vote; remove it "
			"from the cluster and let it join anew with an empty store");
	buf_fini(&b);
	return rc;
}

/* ---- snapshots ---- */

void files_put_snapshot(struct buf *b, const struct raft_snapshot *s)
{
	size_t len = 0;

	buf_u32(b, SNAP_MAGIC);
	buf_u16(b, FORMAT);
	buf_u64(b, s->index);
	buf_u64(b, s->term);
	buf_u64(b, s->configuration_index);
	buf_u32(b, s->configuration.n);
	for (unsigned i = 0; i < s->configuration.n; i++) {
		buf_u64(b, s->configuration.servers[i].id);
		buf_u8(b, (uint8_t)s->configuration.servers[i].role);
	}
	for (unsigned i = 0; i < s->n_bufs; i++)
		len += s->bufs[i].len;
	buf_u32(b, (uint32_t)len);
	for (unsigned i = 0; i < s->n_bufs; i++)
		buf_bytes(b, s->bufs[i].base, s->bufs[i].len);
	if (!b->err)
		buf_u32(b, crc32c(b->data, b->len));
}

void files_free_snapshot(struct raft_snapshot *s)
{
	if (!s)
		return;
	raft_configuration_close(&s->configuration);
	if (s->bufs)
		raft_free(s->bufs[0].base);
	raft_free(s->bufs);
	raft_free(s);
}

static int get_snapshot(const struct buf *b, struct raft_snapshot *s)
{
	struct cur c = cur_of(b->data, b->len - 4), crc = cur_of(b->data + b->len - 4, 4);
	const void *data;
	uint32_t n;
	size_t len;

	if (cur_u32(&crc) != crc32c(b->data, b->len - 4) || cur_u32(&c) != SNAP_MAGIC ||
		cur_u16(&c) != FORMAT)
		return -EUCLEAN;
	s->index = cur_u64(&c);
	s->term = cur_u64(&c);
	s->configuration_index = cur_u64(&c);
	n = cur_u32(&c);
	if (!cur_ok(&c) || n > SERVERS_MAX || !s->index || !s->term)
		return -EUCLEAN;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t id = cur_u64(&c);
		uint8_t role = cur_u8(&c);

		if (!cur_ok(&c) || files_add_server(&s->configuration, id, role))
			return -EUCLEAN;
	}
	data = cur_blob(&c, FILES_DATA_MAX, &len);
	if (!data || !cur_done(&c))
		return -EUCLEAN;
	s->bufs = raft_calloc(1, sizeof(*s->bufs));
	if (!s->bufs)
		return -ENOMEM;
	s->n_bufs = 1;
	s->bufs[0].len = len;
	s->bufs[0].base = raft_malloc(len + 1);
	if (!s->bufs[0].base)
		return -ENOMEM;
	memcpy(s->bufs[0].base, data, len);
	return 0;
}

int files_load_snapshot(struct files *f, struct raft_snapshot **out)
{
	struct raft_snapshot *s;
	struct buf b = {0};
	char name[64];
	int rc;

	*out = NULL;
	if (!f->snap)
		return -ENOENT;
	snap_name(name, sizeof(name), f->snap);
	rc = f->d->ops->load(f->d, name, &b, SNAP_MAX);
	if (!rc && b.len < 16)
		rc = -EUCLEAN;
	s = raft_calloc(1, sizeof(*s));
	if (!s)
		rc = -ENOMEM;
	if (!rc) {
		raft_configuration_init(&s->configuration);
		rc = get_snapshot(&b, s);
	}
	if (!rc && s->index != f->snap)
		rc = -EUCLEAN;
	buf_fini(&b);
	if (rc) {
		snprintf(f->why, sizeof(f->why),
			"%s is damaged: remove this node from the cluster and let it join anew "
			"with an empty store, or put the file back from a copy",
			name);
		files_free_snapshot(s);
		return rc;
	}
	*out = s;
	return 0;
}

/* ---- segments ---- */

static void seg_free(struct files *f, struct files_seg *s)
{
	TAILQ_REMOVE(&f->segs, s, entry);
	disk_close(s->file);
	free(s->offs);
	free(s);
}

/* The name is gone for good before the next one goes: a power loss must not bring back the middle
 * of what was removed, or the rest of it without the middle. */
static int seg_remove(struct files *f, struct files_seg *s)
{
	char name[64];
	int rc;

	seg_name(name, sizeof(name), s->first);
	rc = f->d->ops->remove(f->d, name);
	if (!rc || rc == -ENOENT)
		rc = f->d->ops->sync_names(f->d);
	if (!rc)
		seg_free(f, s);
	return rc;
}

static void seg_note(struct files_seg *s, uint64_t off)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? 2 * s->cap : 64;
		s->offs = mem_grow(s->offs, s->cap, sizeof(*s->offs));
	}
	s->offs[s->n++] = off;
}

static int seg_new(struct files *f, struct files_seg **out)
{
	struct files_seg *s = mem_zalloc(sizeof(*s));
	struct buf b = {0};
	struct iovec iov;
	char name[64];
	int rc;

	s->first = f->next;
	seg_name(name, sizeof(name), s->first);
	rc = disk_open(f->d, name, true, &s->file);
	if (rc == -EEXIST) /* an earlier try that found the disk full */
		rc = disk_open(f->d, name, false, &s->file);
	if (rc) {
		free(s);
		return rc;
	}
	buf_u32(&b, LOG_MAGIC);
	buf_u16(&b, FORMAT);
	buf_u64(&b, s->first);
	buf_u32(&b, crc32c(b.data, b.len));
	iov = (struct iovec){b.data, b.len};
	rc = b.err ? b.err : disk_write(s->file, 0, &iov, 1);
	buf_fini(&b);
	if (!rc)
		rc = disk_sync(s->file);
	if (!rc)
		rc = f->d->ops->sync_names(f->d);
	if (rc) {
		disk_close(s->file);
		free(s);
		return rc;
	}
	s->len = LOG_HEAD;
	TAILQ_INSERT_TAIL(&f->segs, s, entry);
	*out = s;
	return 0;
}

/* ---- appending ---- */

void files_put_entry(struct buf *b, const struct raft_entry *e)
{
	buf_u32(b, REC_MAGIC);
	buf_u32(b, 0); /* crc, */
	buf_u32(b, (uint32_t)e->buf.len);
	buf_u8(b, (uint8_t)e->type);
	buf_u64(b, 0); /* index */
	buf_u64(b, e->term);
	buf_u64(b, 0); /* and synced: when it is written */
	buf_bytes(b, e->buf.base, e->buf.len);
}

/* Completes the records that will stand at @off. */
static void complete(struct files *f, struct files_seg *s, struct buf *b, unsigned n)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		struct cur c = cur_of(b->data + at + 8, 4);
		size_t len = REC_HEAD + cur_u32(&c);

		buf_set_u64(b, at + 13, f->next + i);
		buf_set_u64(b, at + 29, s->len);
		buf_set_u32(b, at + 4, crc32c(b->data + at + 8, len - 8));
		at += len;
	}
}

int files_append(struct files *f, struct buf *b, unsigned n)
{
	struct files_seg *s = TAILQ_LAST(&f->segs, files_segs);
	struct iovec iov;
	size_t at = 0;
	int rc = b->err;

	if (!rc && (!s || s->len >= f->seg_max))
		rc = seg_new(f, &s);
	/* what is left of a failed try must not be taken for entries behind the next ones */
	if (!rc && s->dirty)
		rc = disk_truncate(s->file, s->len);
	if (rc)
		return rc;
	complete(f, s, b, n);
	iov = (struct iovec){b->data, b->len};
	s->dirty = true;
	rc = disk_write(s->file, s->len, &iov, 1);
	if (!rc)
		rc = disk_sync(s->file);
	if (rc)
		return rc;
	s->dirty = false;
	for (unsigned i = 0; i < n; i++) {
		struct cur c = cur_of(b->data + at + 8, 4);

		seg_note(s, s->len + at);
		at += REC_HEAD + cur_u32(&c);
	}
	s->len += b->len;
	f->next += n;
	return 0;
}

static struct files_seg *last_seg(struct files *f)
{
	return TAILQ_LAST(&f->segs, files_segs);
}

int files_truncate(struct files *f, uint64_t index)
{
	struct files_seg *s;
	int rc = 0;

	/* the last one first: an end in between leaves no hole */
	while (!rc && (s = last_seg(f)) && s->first >= index)
		rc = seg_remove(f, s);
	s = last_seg(f);
	if (!rc && s && index < s->first + s->n) {
		s->n = index - s->first;
		s->len = s->offs[s->n];
		rc = disk_truncate(s->file, s->len);
		if (!rc)
			rc = disk_sync(s->file);
	}
	if (!rc && index < f->next)
		f->next = index;
	return rc;
}

/* Files with nothing from @keep on go, and then older snapshots. */
static int drop_before(struct files *f, uint64_t keep)
{
	struct files_seg *s;
	int rc = 0;

	while (!rc && (s = TAILQ_FIRST(&f->segs)) && s->first + s->n <= keep &&
		(TAILQ_NEXT(s, entry) || s->first < keep))
		rc = seg_remove(f, s);
	return rc;
}

int files_save_snapshot(struct files *f, uint64_t index, const struct buf *b, uint64_t keep)
{
	uint64_t old = f->snap;
	char name[64];
	int rc;

	if (b->err || b->len > SNAP_MAX)
		return b->err ? b->err : -EFBIG;
	snap_name(name, sizeof(name), index);
	rc = f->d->ops->save(f->d, name, b->data, b->len);
	if (rc)
		return rc;
	f->snap = index;
	if (keep == 0) {
		rc = files_truncate(f, 0);
		f->next = index + 1;
	} else {
		rc = drop_before(f, keep);
	}
	if (!rc && old && old != index) {
		snap_name(name, sizeof(name), old);
		rc = f->d->ops->remove(f->d, name);
	}
	return rc == -ENOENT ? 0 : rc;
}

/* ---- reading back ---- */

/* The record at @at, if there is a good one: its length, else 0. */
static size_t record_at(
	const struct buf *b, size_t at, struct raft_entry *e, uint64_t *index, uint64_t *synced)
{
	struct cur c;
	uint32_t crc;
	size_t len;

	if (b->len - at < REC_HEAD)
		return 0;
	c = cur_of(b->data + at, b->len - at);
	if (cur_u32(&c) != REC_MAGIC)
		return 0;
	crc = cur_u32(&c);
	len = cur_u32(&c);
	if (len > FILES_DATA_MAX || b->len - at < REC_HEAD + len ||
		crc != crc32c(b->data + at + 8, REC_HEAD + len - 8))
		return 0;
	e->type = cur_u8(&c);
	*index = cur_u64(&c);
	e->term = cur_u64(&c);
	*synced = cur_u64(&c);
	e->buf.len = len;
	e->buf.base = b->data + at + REC_HEAD;
	return REC_HEAD + len;
}

/* Does anything behind @at say that @at had been synced? */
static bool was_synced(const struct buf *b, size_t at)
{
	uint64_t index, synced;
	struct raft_entry e;

	for (size_t p = at + 1; p + REC_HEAD <= b->len; p++) {
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
	char name[64];
	struct iovec iov;
	int rc;

	seg_name(name, sizeof(name), s->first);
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

	return b->len >= LOG_HEAD && cur_u32(&c) == LOG_MAGIC && cur_u16(&c) == FORMAT &&
	       cur_u64(&c) == s->first && cur_u32(&c) == crc32c(b->data, LOG_HEAD - 4);
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
	size_t at = LOG_HEAD, len;
	int rc;

	if (!head_good(s, b)) {
		if (!last || was_synced(b, 0))
			return damaged(f, s, 0, "its head");
		rc = seg_remove(f, s); /* it was just being made */
		return rc ? rc : 1;
	}
	while (at < b->len && (len = record_at(b, at, &e, &index, &synced))) {
		if (index != s->first + s->n || synced > at || e.type < RAFT_COMMAND ||
			e.type > RAFT_CHANGE)
			return damaged(f, s, at, "an entry out of order");
		seg_note(s, at);
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
	char name[64];
	int rc = 0;

	for (unsigned i = 0; i < names->nsnaps && !rc; i++) {
		if (names->snaps[i] == f->snap)
			continue;
		snap_name(name, sizeof(name), names->snaps[i]);
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
		seg_free(f, s);
}
