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
#include "dht/keeper/files_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"

#define META_MAGIC 0x54454d4bu
#define SNAP_MAGIC 0x504e534bu
#define META_LEN 30
#define SNAP_MAX (8u << 20)
#define SERVERS_MAX 64

void files_seg_name(char name[FILES_NAME_MAX], uint64_t first)
{
	snprintf(name, FILES_NAME_MAX, "keeper-log-%016" PRIx64, first);
}

void files_snap_name(char name[FILES_NAME_MAX], uint64_t index)
{
	snprintf(name, FILES_NAME_MAX, "keeper-snap-%016" PRIx64, index);
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
	buf_u16(&b, FILES_FORMAT);
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
	if (!rc && (cur_u32(&c) != META_MAGIC || cur_u16(&c) != FILES_FORMAT))
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
	buf_u16(b, FILES_FORMAT);
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
		cur_u16(&c) != FILES_FORMAT)
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
	char name[FILES_NAME_MAX];
	int rc;

	*out = NULL;
	if (!f->snap)
		return -ENOENT;
	files_snap_name(name, f->snap);
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

void files_seg_free(struct files *f, struct files_seg *s)
{
	TAILQ_REMOVE(&f->segs, s, entry);
	disk_close(s->file);
	free(s->offs);
	free(s);
}

/* The name is gone for good before the next one goes: a power loss must not bring back the middle
 * of what was removed, or the rest of it without the middle. */
int files_seg_remove(struct files *f, struct files_seg *s)
{
	char name[FILES_NAME_MAX];
	int rc;

	files_seg_name(name, s->first);
	rc = f->d->ops->remove(f->d, name);
	if (!rc || rc == -ENOENT)
		rc = f->d->ops->sync_names(f->d);
	if (!rc)
		files_seg_free(f, s);
	return rc;
}

void files_seg_note(struct files_seg *s, uint64_t off)
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
	char name[FILES_NAME_MAX];
	int rc;

	s->first = f->next;
	files_seg_name(name, s->first);
	rc = disk_open(f->d, name, true, &s->file);
	if (rc == -EEXIST) /* an earlier try that found the disk full */
		rc = disk_open(f->d, name, false, &s->file);
	if (rc) {
		free(s);
		return rc;
	}
	buf_u32(&b, FILES_LOG_MAGIC);
	buf_u16(&b, FILES_FORMAT);
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
	s->len = FILES_LOG_HEAD;
	TAILQ_INSERT_TAIL(&f->segs, s, entry);
	*out = s;
	return 0;
}

/* ---- appending ---- */

void files_put_entry(struct buf *b, const struct raft_entry *e)
{
	buf_u32(b, FILES_REC_MAGIC);
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
		size_t len = FILES_REC_HEAD + cur_u32(&c);

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

		files_seg_note(s, s->len + at);
		at += FILES_REC_HEAD + cur_u32(&c);
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
		rc = files_seg_remove(f, s);
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
		rc = files_seg_remove(f, s);
	return rc;
}

int files_save_snapshot(struct files *f, uint64_t index, const struct buf *b, uint64_t keep)
{
	uint64_t old = f->snap;
	char name[FILES_NAME_MAX];
	int rc;

	if (b->err || b->len > SNAP_MAX)
		return b->err ? b->err : -EFBIG;
	files_snap_name(name, index);
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
		files_snap_name(name, old);
		rc = f->d->ops->remove(f->d, name);
	}
	return rc == -ENOENT ? 0 : rc;
}
