/*
 * Batches of a directory's entries: asked for, and taken apart.
 *
 * The entries come with the inodes that lie in the directory's shard; what lies elsewhere is asked
 * for in a second round, at all nodes at once.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/ring/ring.h"
#include "fs/cache/inode.h"
#include "fs/ops/readdir_impl.h"

#define BATCH_BYTES (256u << 10)
/* Objects of one transaction of the second round: so many that it can still be split if the nodes
 * that serve them change before it is answered. */
#define CHUNK WIRE_PARTICIPANTS_MAX

/* One transaction of the second round: entries of the batch, by number. */
struct chunk {
	struct readdir *rd;
	unsigned n;
	unsigned at[CHUNK];
	int get[CHUNK];
};

void readdir_batch_drop(struct fs_dir *d)
{
	for (unsigned i = 0; i < d->nframes; i++)
		frame_unref(d->frame[i]);
	free(d->frame);
	free(d->e);
	d->frame = NULL;
	d->e = NULL;
	d->nframes = d->n = d->pos = 0;
	d->valid = false;
}

static void batch_keep(struct fs_dir *d, const struct orbit_reply *r)
{
	d->frame = mem_grow(d->frame, d->nframes + r->nparts, sizeof(*d->frame));
	for (unsigned i = 0; i < r->nparts; i++)
		d->frame[d->nframes++] = frame_ref(r->frame[i]);
}

static bool parse_entry(struct cur *c, struct entry *e)
{
	size_t klen, vlen, nlen;
	const char *name;
	const void *val;

	e->key = cur_blob(c, TXN_KEY_MAX, &klen);
	e->klen = (uint16_t)klen;
	val = cur_blob(c, TXN_VALUE_MAX, &vlen);
	e->object = cur_u8(c) ? cur_bytes(c, TXN_OBJECT_LEN) : NULL;
	if (!cur_ok(c) || e->key[0] != 'd')
		return false;
	if (layout_dirent_name(e->key, klen, &name, &nlen) ||
		layout_dirent_parse(val, vlen, &e->ino, &e->type))
		e->ino = 0; /* damage: left out, for the checker to find */
	return true;
}

/* An entry that the reply whose callback runs has shown, and its inode if that came along. */
static void remember(struct fs_dir *d, const struct entry *e)
{
	struct fs_attr a;
	struct txn_object o;
	struct cur c;

	if (!e->ino)
		return;
	mount_saw_entry(d->fs, d->attr.ino, e->key, e->klen, e->ino, e->type);
	if (!e->object)
		return;
	c = cur_of(e->object, TXN_OBJECT_LEN);
	o = txn_get_object(&c);
	if (layout_attr(e->ino, &o, &a) == 0)
		mount_saw(d->fs, &a);
}

static int batch_parse(struct fs_dir *d, const struct txn_result *res)
{
	struct cur c = cur_of(res->data, res->len);
	uint32_t n, i;

	d->more = cur_u8(&c) != 0;
	n = cur_u32(&c);
	if (!cur_ok(&c) || n > BATCH_MAX)
		return -EIO;
	d->e = mem_zalloc(n * sizeof(*d->e));
	for (i = 0; i < n; i++) {
		if (!parse_entry(&c, &d->e[d->n])) {
			d->more = false; /* extended attributes come behind the entries */
			break;
		}
		remember(d, &d->e[d->n]);
		d->n++;
	}
	d->valid = true;
	return cur_ok(&c) ? 0 : -EIO;
}

static void chunk_done(void *arg, const struct orbit_reply *r)
{
	struct chunk *ch = arg;
	struct readdir *rd = ch->rd;
	struct fs_dir *d = rd->dir;
	struct txn_result res;

	if (r->rc) {
		rd->rc = r->rc;
	} else {
		batch_keep(d, r);
		for (unsigned i = 0; i < ch->n; i++) {
			if (orbit_result(r, ch->get[i], &res) == 0 && res.present &&
				res.len == TXN_OBJECT_LEN) {
				d->e[ch->at[i]].object = res.data;
				remember(d, &d->e[ch->at[i]]);
			}
		}
	}
	free(ch);
	if (--rd->chunks > 0)
		return;
	if (rd->rc) {
		readdir_batch_drop(d);
		readdir_end(rd, rd->rc);
		return;
	}
	readdir_give(rd);
}

static void chunk_submit(struct readdir *rd, const struct fs_dir *d, const unsigned *at, unsigned n)
{
	struct chunk *ch = mem_zalloc(sizeof(*ch));
	struct txn_build t;

	ch->rd = rd;
	ch->n = n;
	txn_init(&t);
	for (unsigned i = 0; i < n; i++) {
		struct orbit_id id = layout_inode_id(d->e[at[i]].ino);

		ch->at[i] = at[i];
		ch->get[i] = txn_get(&t, &id);
		inode_wish(rd->op.fs->inodes, &t, d->e[at[i]].ino);
	}
	rd->chunks++;
	mount_submit(rd->op.fs, rd->op.call, d->attr.ino, &t, chunk_done, ch);
}

/* Those of the @left entries at @at that @node serves (NULL map: all) go out; the rest stays. */
static unsigned ask_node(
	struct readdir *rd, const struct ring_map *map, unsigned node, unsigned *at, unsigned left)
{
	const struct fs_dir *d = rd->dir;
	unsigned mine[CHUNK], n = 0, stay = 0;

	for (unsigned i = 0; i < left; i++) {
		struct orbit_id id = layout_inode_id(d->e[at[i]].ino);

		if (map && map->shards[ring_shard_of(map, &id)].primary != node) {
			at[stay++] = at[i];
			continue;
		}
		mine[n++] = at[i];
		if (n == CHUNK) {
			chunk_submit(rd, d, mine, n);
			n = 0;
		}
	}
	if (n)
		chunk_submit(rd, d, mine, n);
	return stay;
}

/* Asks for the inodes that did not come along. */
static void second_round(struct readdir *rd)
{
	struct fs_dir *d = rd->dir;
	const struct ring_map *map = orbit_ring(rd->op.fs->client);
	unsigned *at = mem_grow(NULL, d->n, sizeof(*at)), left = 0;

	for (unsigned i = 0; i < d->n; i++) {
		if (d->e[i].ino && !d->e[i].object)
			at[left++] = i;
	}
	rd->rc = 0;
	rd->chunks = 1; /* so that no answer is the last before all are sent */
	for (unsigned node = 0; map && left && node < map->nnodes; node++)
		left = ask_node(rd, map, node, at, left);
	if (left) /* of shards that nobody serves now: the client waits for them */
		ask_node(rd, NULL, 0, at, left);
	free(at);
	if (--rd->chunks == 0)
		readdir_give(rd);
}

static void fetched(void *arg, const struct orbit_reply *r)
{
	struct readdir *rd = arg;
	struct fs_dir *d = rd->dir;
	struct txn_result res;
	struct fs_attr a;
	int rc = op_outcome(&rd->op, r);

	if (!rc)
		rc = op_attr(rd->op.fs, r, rd->get, d->attr.ino, &a);
	if (rc == -ENOENT) { /* removed and gone: nothing in it */
		d->attr.nlink = 0;
		d->valid = true;
		d->more = false;
		readdir_give(rd);
		return;
	}
	if (!rc && orbit_result(r, rd->range, &res))
		rc = -EIO;
	if (!rc) {
		d->attr = a;
		batch_keep(d, r);
		rc = batch_parse(d, &res);
	}
	if (rc) {
		readdir_batch_drop(d);
		readdir_end(rd, rc);
		return;
	}
	if (rd->plus)
		second_round(rd);
	else
		readdir_give(rd);
}

/* A batch from @key on, which may be of the present one. */
void readdir_fetch(
	struct readdir *rd, uint64_t after, const uint8_t *key, size_t klen, bool inclusive)
{
	struct fs_dir *d = rd->dir;
	struct fs *fs = rd->op.fs;
	struct orbit_id id = layout_inode_id(d->attr.ino);
	struct txn_build t;

	txn_init(&t);
	rd->get = txn_get(&t, &id);
	rd->range = txn_range(&t, &id, key, klen, inclusive, d->want, BATCH_BYTES,
		rd->plus ? layout_inode_suffix : NULL);
	inode_wish(fs->inodes, &t, d->attr.ino);
	if (rd->plus)
		inode_wish_followed(fs->inodes, &t);
	readdir_batch_drop(d);
	d->plus = rd->plus;
	d->start = d->cookie = after;
	d->changes = fs->changes;
	d->when = env_now(fs->env);
	op_submit(&rd->op, d->attr.ino, &t, fetched);
}

void readdir_fetch_after(struct readdir *rd, uint64_t cookie)
{
	uint8_t key[DIRENT_KEY_MAX];
	size_t klen = layout_dirent_after(cookie, key);

	readdir_fetch(rd, cookie, key, klen, true);
}
