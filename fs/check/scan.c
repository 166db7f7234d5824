/*
 * The first pass: lists every class of keys of every shard and turns what it finds into facts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "dht/txn/object.h"
#include "fs/check/check_impl.h"

#define PAGE 4096 /* keys asked for at once */

static void add_fact(struct check *k, uint64_t ino, enum fact_kind kind, uint64_t a, uint64_t b,
	uint64_t x, uint64_t y)
{
	struct fact f = {ino, kind, a, b, x, y};
	int rc = runs_add(k->facts, &f);

	if (rc && !k->rc)
		k->rc = rc;
}

static void see_inode(struct check *k, uint64_t ino, const struct txn_object *o)
{
	struct inode_fact f = {
		.ino = ino,
		.version = o->version,
		.stream_end = o->stream_end,
		.stream_bytes = o->stream_bytes,
		.mode = o->slot[SLOT_MODE],
		.nlink = o->slot[SLOT_NLINK],
		.size = o->slot[SLOT_SIZE],
		.parent = o->slot[SLOT_PARENT],
		.trim = o->slot[SLOT_TRIM],
		.children = o->slot[SLOT_CHILDREN],
		.bytes = o->slot[SLOT_BYTES],
		.tail = S_ISREG(o->slot[SLOT_MODE]) ? o->slot[SLOT_TAIL] : 0,
	};
	int rc = runs_add(k->inodes, &f);

	if (rc && !k->rc)
		k->rc = rc;
	add_fact(k, ino, FACT_INODE, 0, 0, 0, 0);
}

static void see_header(struct check *k, const struct orbit_id *id, const void *val, size_t len)
{
	uint64_t ino, block;
	enum layout_kind kind = layout_kind_of(id, &ino, &block);
	struct txn_object o;
	int rc;

	if (kind == LAYOUT_SUPER)
		k->super_seen = true;
	if (kind != LAYOUT_INODE && kind != LAYOUT_BLOCK_OBJECT && kind != LAYOUT_LOCKS)
		return;
	rc = object_decode(val, len, &o);
	if (rc) {
		char hex[ORBIT_ID_HEX];

		log_error("mod=check id=%s msg=\"an object's header makes no sense\"",
			orbit_id_hex(id, hex));
		k->incomplete = true;
		return;
	}
	if (kind == LAYOUT_INODE)
		see_inode(k, ino, &o);
	else if (kind == LAYOUT_LOCKS)
		add_fact(k, ino, FACT_LOCKS, 0, 0, 0, o.version);
	else
		add_fact(k, ino, FACT_BLOCK, block, o.stream_bytes, o.stream_end, o.version);
}

static void see_map(struct check *k, const struct orbit_id *id, const uint8_t *key, size_t klen,
	const void *val, size_t len)
{
	uint64_t dir, block, child;
	const char *name;
	size_t nlen;
	uint8_t type;

	if (layout_kind_of(id, &dir, &block) != LAYOUT_INODE || !klen || key[0] != 'd')
		return;
	if (layout_dirent_name(key, klen, &name, &nlen) ||
		layout_dirent_parse(val, len, &child, &type)) {
		add_fact(k, dir, FACT_BAD_ENTRY, 0, layout_dirent_cookie(key, klen), 0, 0);
		return;
	}
	k->report->entries++;
	add_fact(k, child, FACT_ENTRY, dir, layout_dirent_cookie(key, klen), type, 0);
	add_fact(k, dir, FACT_CHILD, child, layout_dirent_cookie(key, klen), type, 0);
}

static void see_prepared(struct check *k, uint16_t shard, const uint8_t *key, size_t klen)
{
	struct prepared_fact p = {.shard = shard};

	if (klen != 12)
		return;
	p.session = (uint64_t)get_be16(key) << 16 | get_be16(key + 2);
	p.number = get_be64(key + 4);
	if (k->nprepared == k->prepared_cap) {
		k->prepared_cap = k->prepared_cap ? 2 * k->prepared_cap : 16;
		k->prepared = mem_grow(k->prepared, k->prepared_cap, sizeof(*k->prepared));
	}
	k->prepared[k->nprepared++] = p;
}

static void see(struct check *k, uint8_t class, uint16_t shard, const uint8_t *key, size_t klen,
	const void *val, size_t vlen)
{
	struct orbit_id id;
	uint64_t ino, block;

	if (class == KEY_PREPARED) {
		see_prepared(k, shard, key, klen);
		return;
	}
	if (klen < ORBIT_ID_LEN)
		return;
	memcpy(&id, key, sizeof(id));
	switch (class) {
	case KEY_HEADER:
		see_header(k, &id, val, vlen);
		break;
	case KEY_MAP:
		see_map(k, &id, key + ORBIT_ID_LEN, klen - ORBIT_ID_LEN, val, vlen);
		break;
	case KEY_HOLD:
		if (klen == ORBIT_ID_LEN + 4 && layout_kind_of(&id, &ino, &block) == LAYOUT_INODE)
			add_fact(k, ino, FACT_HOLD,
				(uint64_t)get_be16(key + 32) << 16 | get_be16(key + 34), 0, 0, 0);
		break;
	case KEY_ORPHAN:
		if (layout_kind_of(&id, &ino, &block) == LAYOUT_INODE)
			add_fact(k, ino, FACT_ORPHAN, 0, 0, 0, 0);
		break;
	}
}

/* One page of a list. */
struct page {
	struct check *k;
	uint8_t class;
	uint16_t shard;
	bool done, complete;
	int rc;
	struct buf after;
};

static void page_done(void *arg, const struct orbit_reply *r)
{
	struct page *p = arg;
	struct cur c;
	uint32_t n;

	p->rc = r->rc;
	if (r->rc == 0 && r->nparts != 1)
		p->rc = -EBADMSG;
	if (p->rc)
		goto out;
	c = cur_of(r->part[0], r->part_len[0]);
	p->complete = cur_u8(&c);
	n = cur_u32(&c);
	for (uint32_t i = 0; i < n && cur_ok(&c); i++) {
		size_t klen, vlen;
		const void *key = cur_blob(&c, EFFECT_KEY_MAX, &klen);
		const void *val = cur_blob(&c, EFFECT_VALUE_MAX, &vlen);

		if (!cur_ok(&c))
			break;
		see(p->k, p->class, p->shard, key, klen, val, vlen);
		buf_reset(&p->after);
		buf_bytes(&p->after, key, klen);
	}
	if (!cur_done(&c) || (n == 0 && !p->complete))
		p->rc = -EBADMSG;
out:
	p->done = true;
	p->k->io->wake(p->k->io->arg);
}

static int scan_class(struct check *k, uint8_t class, uint16_t shard)
{
	struct page p = {.k = k, .class = class, .shard = shard};
	int rc = 0;

	while (!p.complete) {
		p.done = false;
		orbit_list(k->client, class, shard, p.after.data, p.after.len, PAGE, true,
			page_done, &p);
		rc = check_await(k, &p.done);
		if (!rc)
			rc = p.rc;
		if (rc)
			break;
	}
	buf_fini(&p.after);
	return rc;
}

/* The node that serves @shard now. */
static struct orbit_id server_of(const struct check *k, unsigned shard)
{
	const struct ring_map *map = orbit_ring(k->client);

	return map->nodes[map->shards[shard].primary].id;
}

/* One that did not answer is not waited for once for each of its shards. */
static bool is_silent(const struct check *k, const struct orbit_id *node)
{
	for (size_t i = 0; i < k->nsilent; i++)
		if (orbit_id_cmp(&k->silent[i], node) == 0)
			return true;
	return false;
}

static int scan_shard(struct check *k, uint16_t shard)
{
	static const uint8_t classes[] = {KEY_HEADER, KEY_MAP, KEY_HOLD, KEY_ORPHAN, KEY_PREPARED};
	struct orbit_id node = server_of(k, shard);
	int rc = is_silent(k, &node) ? -ETIMEDOUT : 0;

	for (size_t c = 0; !rc && c < ARRAY_LEN(classes); c++)
		rc = scan_class(k, classes[c], shard);
	if (rc == -ETIMEDOUT && !is_silent(k, &node)) {
		k->silent = mem_grow(k->silent, k->nsilent + 1, sizeof(*k->silent));
		k->silent[k->nsilent++] = node;
	}
	return rc;
}

int check_scan(struct check *k)
{
	const struct ring_map *map = orbit_ring(k->client);
	unsigned shards = map ? ring_nshards(map) : 0;
	unsigned unread = 0;

	for (unsigned s = 0; s < shards; s++) {
		int rc = scan_shard(k, (uint16_t)s);

		if (rc == -EINTR)
			return rc;
		if (k->rc)
			return k->rc;
		if (rc) {
			k->incomplete = true;
			if (!k->report->unread_rc)
				k->report->unread_rc = rc;
			log_warn("mod=check shard=%u rc=%s msg=\"could not be read whole\"", s,
				log_errno(rc));
			unread++;
		}
		if (k->io->progress)
			k->io->progress(k->io->arg, 1, s + 1, shards);
	}
	k->report->unread = unread;
	return unread == shards && shards ? k->report->unread_rc : 0;
}

void check_scan_reset(struct check *k)
{
	runs_free(k->facts);
	runs_free(k->inodes);
	k->facts = k->inodes = NULL;
	k->ndirs = k->nprepared = k->nsilent = 0;
	k->super_seen = k->incomplete = false;
}
