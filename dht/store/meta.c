/* The META file: what the store is and how it was left. 128 bytes, see docs/STORE.md. */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define VERSION 2u
#define SIZE 128u
#define CRC_AT (SIZE - 4)

static const char magic[8] = "ORBITSTO";

int meta_load(struct disk *d, struct meta *m)
{
	struct buf b = {0};
	struct cur c, sum;
	uint32_t version;
	uint8_t flags;
	int rc = d->ops->load(d, META_NAME, &b, 4096);

	if (rc)
		goto out;
	rc = -EUCLEAN;
	if (b.len < sizeof(magic) + 4 || memcmp(b.data, magic, sizeof(magic)))
		goto out;
	c = cur_of(b.data + sizeof(magic), b.len - sizeof(magic));
	version = cur_u32(&c);
	if (version != VERSION) {
		rc = -EPROTONOSUPPORT;
		goto out;
	}
	if (b.len != SIZE)
		goto out;
	sum = cur_of(b.data + CRC_AT, 4);
	if (cur_u32(&sum) != crc32c(b.data, CRC_AT))
		goto out;
	flags = cur_u8(&c);
	cur_bytes(&c, 3);
	memcpy(m->fsid, cur_bytes(&c, 16), 16);
	memcpy(m->node.b, cur_bytes(&c, ORBIT_ID_LEN), ORBIT_ID_LEN);
	m->starts = cur_u64(&c);
	memcpy(m->boot, cur_bytes(&c, 16), 16);
	m->end = cur_u64(&c);
	m->clean = flags & 1;
	m->suspect = flags & 2;
	m->holed = flags & 4;
	rc = 0;
out:
	buf_fini(&b);
	return rc;
}

int meta_save(struct disk *d, const struct meta *m)
{
	struct buf b = {0};
	int rc;

	buf_bytes(&b, magic, sizeof(magic));
	buf_u32(&b, VERSION);
	buf_u8(&b, (uint8_t)((m->clean ? 1 : 0) | (m->suspect ? 2 : 0) | (m->holed ? 4 : 0)));
	buf_bytes(&b, "\0\0\0", 3);
	buf_bytes(&b, m->fsid, 16);
	buf_bytes(&b, m->node.b, ORBIT_ID_LEN);
	buf_u64(&b, m->starts);
	buf_bytes(&b, m->boot, 16);
	buf_u64(&b, m->end);
	while (!b.err && b.len < CRC_AT)
		buf_u8(&b, 0);
	buf_u32(&b, b.err ? 0 : crc32c(b.data, CRC_AT));
	rc = b.err ? b.err : d->ops->save(d, META_NAME, b.data, b.len);
	buf_fini(&b);
	return rc;
}

static struct meta meta_of(const struct store *st, bool clean)
{
	struct meta m = {.node = st->info.node,
		.starts = st->info.starts,
		.clean = clean,
		.suspect = !st->info.whole,
		.holed = st->holed,
		.end = clean ? st->tail : 0};

	memcpy(m.fsid, st->info.fsid, 16);
	memcpy(m.boot, st->boot, 16);
	return m;
}

int meta_note(struct store *st, bool clean)
{
	struct meta m = meta_of(st, clean);

	return meta_save(st->disk, &m);
}

struct meta_work {
	struct work w;
	struct disk *disk;
	struct meta m;
	int rc;
	void (*done)(struct store *st, void *arg, int rc);
	void *arg;
};

static void note_run(struct work *w)
{
	struct meta_work *mw = container_of(w, struct meta_work, w);

	mw->rc = meta_save(mw->disk, &mw->m);
}

static void note_done(struct work *w)
{
	struct meta_work *mw = container_of(w, struct meta_work, w);
	void (*done)(struct store * st, void *arg, int rc) = mw->done;
	struct store *st = w->owner;
	void *arg = mw->arg;
	int rc = mw->rc;

	free(mw);
	if (!st)
		return;
	if (rc)
		log_warn("mod=store op=meta rc=%s msg=\"cannot note how it stands with the store\"",
			log_errno(rc));
	if (done)
		done(st, arg, rc);
}

void meta_start(
	struct store *st, bool clean, void (*done)(struct store *st, void *arg, int rc), void *arg)
{
	struct meta_work *mw = mem_zalloc(sizeof(*mw));

	mw->disk = st->disk;
	mw->m = meta_of(st, clean);
	mw->done = done;
	mw->arg = arg;
	work_start(&mw->w, st->gate, st, &st->info, note_run, note_done);
}

void store_levelled(struct store *st)
{
	if (st->info.whole || st->broken)
		return;
	log_info("mod=store op=levelled msg=\"the store counts as whole again\"");
	st->info.whole = true;
	if (!st->closing)
		meta_start(st, false, NULL, NULL);
}

struct rename {
	struct orbit_id old;
	void (*done)(void *arg, int rc);
	void *arg;
};

static void rename_noted(struct store *st, void *arg, int rc)
{
	struct rename *r = arg;

	if (rc)
		st->info.node = r->old;
	r->done(r->arg, rc);
	free(r);
}

void store_rename(
	struct store *st, const struct orbit_id *id, void (*done)(void *arg, int rc), void *arg)
{
	struct rename *r = mem_zalloc(sizeof(*r));

	r->old = st->info.node;
	r->done = done;
	r->arg = arg;
	st->info.node = *id;
	meta_start(st, false, rename_noted, r);
}

int store_make_on(struct disk *d, const uint8_t fsid[16], const struct orbit_id *node)
{
	struct meta m = {.node = *node, .clean = true};
	int rc = meta_load(d, &m);

	if (rc != -ENOENT)
		return rc ? rc : -EEXIST;
	memcpy(m.fsid, fsid, 16);
	return meta_save(d, &m);
}
