/*
 * What must be true of the copies when all is quiet: those of a shard are equal, and nobody else
 * has anything of it any more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/node/impl.h"
#include "dht/store/history.h"
#include "tests/sim/workload_int.h"

#define ERASE_MAX (60 * ENV_SEC) /* in which what is held elsewhere is deleted */

/* ---- equal ---- */

/* All that a shard has of a class, one after the other. */
static void dump_class(struct store *st, uint8_t class, uint16_t shard, struct buf *out)
{
	uint8_t from[KEY_HEAD] = {class}, to[KEY_HEAD] = {class};
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;

	put_be16(from + 1, shard);
	put_be16(to + 1, (uint16_t)(shard + 1));
	it = store_iter_new(st, from, sizeof(from), to, sizeof(to));
	while (store_iter_next(it, &key, &klen, &val, &vlen) == 1) {
		buf_u32(out, (uint32_t)klen);
		buf_bytes(out, key, klen);
		buf_u32(out, (uint32_t)vlen);
		buf_bytes(out, val, vlen);
	}
	store_iter_free(it);
}

struct reading {
	struct store_read r;
	bool done;
	int rc;
};

static void reading_done(struct store_read *sr, int rc)
{
	struct reading *x = container_of(sr, struct reading, r);

	x->done = true;
	x->rc = rc;
}

struct waiting {
	struct store_wait w;
	bool woken;
};

static void woken(struct store_wait *w)
{
	container_of(w, struct waiting, w)->woken = true;
}

static bool wait_store(struct run *r, struct store *st)
{
	struct waiting w = {.w.ready = woken};

	store_wait(st, &w.w);
	return sim_wait(r->c->s, &w.woken, 10 * ENV_SEC);
}

static int read_bytes(struct run *r, struct store *st, uint16_t shard, const struct orbit_id *id,
	uint64_t off, size_t len, void *dst)
{
	struct reading x = {.r.done = reading_done};
	int rc;

	while ((rc = store_read(st, &x.r, shard, id, off, len, dst)) == -EAGAIN)
		if (!wait_store(r, st))
			return -ETIMEDOUT;
	if (rc == -EINPROGRESS)
		rc = sim_wait(r->c->s, &x.done, 10 * ENV_SEC) ? x.rc : -ETIMEDOUT;
	return rc;
}

/* The stream of an object: where it has data, and the data. */
static int dump_stream(
	struct run *r, struct store *st, uint16_t shard, const struct orbit_id *id, struct buf *out)
{
	struct store_range range[64];
	uint64_t at = 0;
	int n;

	do {
		uint64_t next = at;

		while ((n = store_ranges(st, shard, id, at, TXN_STREAM_MAX - at, range, 64,
				&next)) == -EAGAIN)
			if (!wait_store(r, st))
				return -ETIMEDOUT;
		at = next;
		for (int i = 0; i < n; i++) {
			void *room = mem_zalloc(range[i].len);
			int rc = read_bytes(r, st, shard, id, range[i].off, range[i].len, room);

			buf_u64(out, range[i].off);
			buf_bytes(out, room, range[i].len);
			free(room);
			if (rc)
				return rc;
		}
	} while (n > 0 && at < TXN_STREAM_MAX);
	return n < 0 ? n : 0;
}

/* KEY_TERM is written when the store sees fit: what it says is asked for by store_history(). */
static const char classes[] = {KEY_HEADER, KEY_MAP, KEY_HOLD, KEY_ORPHAN, KEY_REPLY, KEY_FLOOR,
	KEY_LEASER, KEY_PREPARED, KEY_OUTCOME};

/* Where two copies of a shard differ; false when they don't. */
static bool differ(struct run *r, uint16_t shard, unsigned a, unsigned b, char *where, size_t len)
{
	struct store *st[2] = {r->c->node[a].store, r->c->node[b].store};
	struct buf x[2] = {{0}, {0}};
	bool found = false;

	for (size_t k = 0; k < sizeof(classes) && !found; k++) {
		for (int i = 0; i < 2; i++) {
			x[i].len = 0;
			store_blocking(st[i], true);
			dump_class(st[i], (uint8_t)classes[k], shard, &x[i]);
			store_blocking(st[i], false);
		}
		found = x[0].len != x[1].len ||
			(x[0].len && memcmp(x[0].data, x[1].data, x[0].len));
		snprintf(
			where, len, "class %c (%zu and %zu bytes)", classes[k], x[0].len, x[1].len);
	}
	for (int i = 0; i < 2 && !found; i++) {
		struct history h = store_history(st[i], shard);

		x[i].len = 0;
		history_encode(&h, &x[i]);
		found = i && (x[0].len != x[1].len || memcmp(x[0].data, x[1].data, x[0].len));
		snprintf(where, len, "history (the second one ends with %llu, %llu)",
			(unsigned long long)h.term, (unsigned long long)h.seq);
	}
	for (unsigned o = 0; o < OBJECTS && !found; o++) {
		int rc[2];

		if (ring_shard_of(r->c->map, &r->id[o]) != shard)
			continue;
		for (int i = 0; i < 2; i++) {
			x[i].len = 0;
			rc[i] = dump_stream(r, st[i], shard, &r->id[o], &x[i]);
		}
		found = rc[0] || rc[1] || x[0].len != x[1].len ||
			memcmp(x[0].data, x[1].data, x[0].len);
		snprintf(where, len, "the stream of object %u (%zu and %zu bytes, %d, %d)", o,
			x[0].len, x[1].len, rc[0], rc[1]);
	}
	buf_fini(&x[0]);
	buf_fini(&x[1]);
	return found;
}

/* Records are thrown away and written while nobody asks for anything, so what differs now may be on
 * its way. */
static bool stay_different(
	struct run *r, uint16_t shard, unsigned a, unsigned b, char *where, size_t len)
{
	for (unsigned tries = 0; tries < 50; tries++) {
		if (!differ(r, shard, a, b, where, len))
			return false;
		sim_run(r->c->s, 100 * ENV_MS);
	}
	return true;
}

static void compare_shard(struct run *r, uint16_t shard)
{
	const struct ring_shard *s = &cluster_map(r->c)->shards[shard];
	int first = cluster_at(r->c, s->member[0]);

	for (unsigned k = 1; k < s->nmembers && !r->broken; k++) {
		int other = cluster_at(r->c, s->member[k]);
		char where[128];

		if (first < 0 || other < 0)
			broke(r, "shard %u is where nobody is", shard);
		else if (stay_different(
				 r, shard, (unsigned)first, (unsigned)other, where, sizeof(where)))
			broke(r, "shard %u differs between nodes %d and %d: %s", shard, first,
				other, where);
		r->res->copies_compared++;
	}
}

void ring_compare(struct run *r)
{
	unsigned n = ring_nshards(cluster_map(r->c));

	for (unsigned i = 0; i < n && !r->broken; i++)
		compare_shard(r, (uint16_t)i);
}

/* ---- erased ---- */

/* Records and index entries, the store's own among them. Not what is of the node as a whole; and
 * KEY_TERM goes with the next flush. */
static uint64_t keys_of(struct cluster_node *cn, uint16_t shard, uint8_t *class)
{
	struct index_mem_faults *faults = index_mem_faults(cn->index);
	unsigned miss = faults->miss;
	const void *key, *val;
	struct index_iter *it;
	size_t klen, vlen;
	uint64_t n = 0;

	faults->miss = 0;
	it = cn->index->ops->iter_new(cn->index, "", 0, "\xff", 1, true);
	while (cn->index->ops->iter_next(it, &key, &klen, &val, &vlen) == 1) {
		const uint8_t *k = key;

		if (klen < KEY_HEAD || k[0] == KEY_STORE || k[0] == KEY_KEEPER ||
			k[0] == KEY_TERM || get_be16(k + 1) != shard)
			continue;
		*class = k[0];
		n++;
	}
	cn->index->ops->iter_free(it);
	faults->miss = miss;
	return n;
}

/* What the node still has of a shard that is not its: NULL: nothing. */
static const char *holds(struct cluster_node *cn, uint16_t shard, char *room, size_t len)
{
	struct shard *s = node_shard(cn->node, shard);
	uint8_t class = 0;
	uint64_t keys = keys_of(cn, shard, &class);
	struct sess *sess, *next;

	if (keys) {
		snprintf(room, len, "%llu records of class %c and others", (unsigned long long)keys,
			class);
		return room;
	}
	if (store_history(cn->store, shard).seq)
		return "a history";
	if (!lock_none(&s->locks))
		return "locks";
	if (s->repl || s->take || s->role != ROLE_NONE)
		return "a role";
	if (!TAILQ_EMPTY(&s->early) || !TAILQ_EMPTY(&s->doubles) || !TAILQ_EMPTY(&s->waiting) ||
		!TAILQ_EMPTY(&s->answers))
		return "what waits";
	HASH_ITER (hh, cn->node->sessions, sess, next) {
		if (sess->key.shard == shard)
			return "sessions";
	}
	return NULL;
}

/* One that anybody holds who should not. */
static bool find_held(struct run *r, char *why, size_t len, uint64_t *looked)
{
	const struct ring_map *m = cluster_map(r->c);

	*looked = 0;
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		struct cluster_node *cn = &r->c->node[i];
		uint16_t place = cluster_place(r->c, i);

		for (unsigned k = 0; k < ring_nshards(m) && cn->up; k++) {
			const char *what;
			char room[64];

			if (place != RING_NONE && (ring_member(&m->shards[k], place) >= 0 ||
							  ring_learner(&m->shards[k], place) >= 0))
				continue;
			/* who cannot read its log does not say that it has what is there */
			if (r->flips && r->flipped >= 0 &&
				ring_member(&m->shards[k],
					cluster_place(r->c, (unsigned)r->flipped)) >= 0)
				continue;
			++*looked;
			what = holds(cn, (uint16_t)k, room, sizeof(room));
			if (!what)
				continue;
			snprintf(why, len, "node %u still has %s of shard %u", i, what, k);
			return true;
		}
	}
	return false;
}

void ring_erased(struct run *r)
{
	uint64_t from = sim_now(r->c->s), looked;
	char why[160];

	while (find_held(r, why, sizeof(why), &looked)) {
		if (sim_now(r->c->s) - from > ERASE_MAX) {
			broke(r, "%s", why);
			return;
		}
		sim_run(r->c->s, 500 * ENV_MS);
	}
	r->res->copies_gone += looked;
}
