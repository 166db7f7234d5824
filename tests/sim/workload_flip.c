/*
 * Bits that flip in a node's log while the cluster works. All those of a run are of one node, and
 * they flip only while all other copies of what it holds are good, and have every effect that it
 * has. (What is on its way to them could be acknowledged by it alone, damaged as it is.) So nothing
 * may be lost:
 *
 *   reads     show the right bytes. An error is right only while the map knows no other good copy
 *             of something that the node holds: others that were down are not level yet
 *   the node  may find damage when it starts; then it is brought level, or its disk is replaced
 *   the end   each copy is asked for its bytes, as "orbitctl verify" does, and repairs itself: then
 *             all are equal, and the node's own too
 *
 * Its copies count as lost for what others may lose (ring_others_have()). And where machines die
 * the copies stay where they are, so that those who come back have them: a damaged copy is not the
 * only one that a new member could learn from.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "dht/store/history.h"
#include "dht/wire/wire_learn.h"
#include "tests/sim/workload_int.h"

#define FLIP_EVERY (700 * ENV_MS)
#define MEND_MAX (20 * ENV_SEC) /* for one piece of a copy */
#define SEGMENTS_MAX 256

/* ---- which runs ---- */

void flip_choose(struct run *r, const struct cluster_config *cfg, uint64_t *x)
{
	const unsigned moves = 1u << FAULT_JOIN | 1u << FAULT_LEAVE | 1u << FAULT_RENAME |
			       1u << FAULT_WEIGHT | 1u << FAULT_REPLICAS;
	const unsigned harmless = 1u << FAULT_SLOW | 1u << FAULT_CORRUPT | 1u << FAULT_MISS;

	r->flipped = -1;
	if (cfg->replicas < 2 || r->loss == LOSS_ALL || draw(x, 3))
		return;
	r->flips = true;
	r->flip_state = *x;
	if (draw(x, 3))
		r->faults &= ~moves;
	else
		/* fewer copies could leave the damaged one alone */
		r->faults &= (moves & ~(1u << FAULT_REPLICAS)) | harmless;
}

/* ---- flipping ---- */

struct segments {
	struct disk *disk;
	unsigned n;
	char name[SEGMENTS_MAX][32];
};

struct flipped_bit {
	char name[32];
	uint64_t at;
	uint8_t mask;
};

static void add_segment(void *arg, const char *name)
{
	struct segments *seg = arg;

	if (strncmp(name, "log-", 4) || seg->n == SEGMENTS_MAX ||
		disk_mem_size(seg->disk, name) <= 0)
		return;
	snprintf(seg->name[seg->n++], sizeof(seg->name[0]), "%s", name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Not in the newest one: of the last record in a log nobody can tell whether it was ever whole. */
static void flip_some(struct run *r)
{
	struct segments seg = {.disk = r->c->node[r->flipped].disk};

	seg.disk->ops->list(seg.disk, add_segment, &seg);
	qsort(seg.name, seg.n, sizeof(seg.name[0]), by_name);
	for (uint64_t n = 1 + draw(&r->flip_state, 4); seg.n > 1 && n; n--) {
		const char *name = seg.name[draw(&r->flip_state, seg.n - 1)];
		uint64_t at = draw(&r->flip_state, (uint64_t)disk_mem_size(seg.disk, name));
		struct flipped_bit *b;

		r->bits = mem_grow(r->bits, r->nbits + 1, sizeof(*r->bits));
		b = &r->bits[r->nbits++];
		*b = (struct flipped_bit){.at = at, .mask = 1u << draw(&r->flip_state, 8)};
		memcpy(b->name, name, sizeof(b->name));
		disk_mem_flip(seg.disk, name, at, b->mask);
		r->res->bits_flipped++;
	}
}

static bool may_flip(struct run *r, unsigned i)
{
	return !r->c->node[i].witness && !r->leaving[i] && ring_all_have(r, i);
}

static void flip(void *arg)
{
	struct run *r = arg;

	if (r->quiet)
		return;
	if (r->flipped < 0) {
		unsigned i = (unsigned)draw(&r->flip_state, r->c->nnodes);

		if (may_flip(r, i)) {
			r->flipped = (int)i;
			r->res->nodes_flipped++;
		}
	}
	if (r->flipped >= 0 && may_flip(r, (unsigned)r->flipped))
		flip_some(r);
	sim_after(r->c->s, draw(&r->flip_state, FLIP_EVERY), flip, r);
}

void flip_begin(struct run *r)
{
	if (r->flips)
		flip(r);
}

void flip_undo(struct run *r)
{
	while (r->alone && r->nbits) {
		const struct flipped_bit *b = &r->bits[--r->nbits];
		struct disk *d = r->c->node[r->flipped].disk;

		if (disk_mem_size(d, b->name) > (int64_t)b->at)
			disk_mem_flip(d, b->name, b->at, b->mask);
	}
	free(r->bits);
	r->bits = NULL;
	r->nbits = 0;
}

/* ---- what is right then ---- */

void flip_watch(struct run *r)
{
	if (r->flips && r->flipped >= 0 && !ring_others_have(r, (unsigned)r->flipped))
		r->alone = ++r->clock;
}

bool flip_excuses(struct run *r, uint64_t began)
{
	flip_watch(r);
	if (r->alone <= began)
		return false;
	r->res->flips_excused++;
	return true;
}

/* ---- the end ---- */

struct asked {
	bool done;
	uint16_t status;
};

static void asked_done(void *arg, uint16_t status)
{
	struct asked *a = arg;

	a->status = status;
	a->done = true;
}

/* The member's answer when it is asked for those bytes. */
static uint16_t ask_bytes(struct run *r, unsigned node, uint16_t shard, const struct orbit_id *id,
	const struct store_range *range)
{
	struct history h = store_history(r->c->node[node].store, shard);
	struct wire_bytes m = {.shard = shard, .term = h.term, .seq = h.seq, .n = 1};
	struct wire_bytes_range wr = {.id = *id, .off = range->off, .len = (uint32_t)range->len};
	struct frame *f = frame_new(WIRE_BYTES, 1, 128);
	struct asked a = {0};

	wire_put_bytes_head(&f->b, &m);
	wire_put_bytes_range(&f->b, &wr);
	cluster_call(r->c, node, f, asked_done, &a);
	sim_wait(r->c->s, &a.done, 60 * ENV_SEC);
	return a.status;
}

static void mend_range(struct run *r, unsigned node, uint16_t shard, unsigned object,
	const struct store_range *range)
{
	uint64_t from = sim_now(r->c->s);
	uint16_t status;

	while ((status = ask_bytes(r, node, shard, &r->id[object], range)) != WIRE_OK) {
		if (sim_now(r->c->s) - from > MEND_MAX) {
			broke(r, "node %u cannot give the bytes of object %u at %llu: %s", node,
				object, (unsigned long long)range->off, wire_status_name(status));
			return;
		}
		sim_run(r->c->s, 50 * ENV_MS);
	}
}

static void mend_object(struct run *r, unsigned node, uint16_t shard, unsigned object)
{
	struct store *st = r->c->node[node].store;
	struct store_range range[64];
	uint64_t at = 0;
	int n;

	do {
		uint64_t next = at;

		store_blocking(st, true);
		n = store_ranges(
			st, shard, &r->id[object], at, TXN_STREAM_MAX - at, range, 64, &next);
		store_blocking(st, false);
		if (n == -EAGAIN) {
			sim_run(r->c->s, 5 * ENV_MS);
			continue;
		}
		if (n < 0)
			broke(r, "node %u cannot say what object %u has: %d", node, object, n);
		at = next;
		for (int i = 0; i < n && !r->broken; i++)
			mend_range(r, node, shard, object, &range[i]);
	} while ((n > 0 || n == -EAGAIN) && at < TXN_STREAM_MAX && !r->broken);
}

void flip_mend(struct run *r)
{
	for (unsigned o = 0; r->flips && o < OBJECTS; o++) {
		const struct ring_map *m = cluster_map(r->c);
		uint16_t shard = ring_shard_of(m, &r->id[o]);
		const struct ring_shard *s = &m->shards[shard];

		for (unsigned k = 0; k < s->nmembers && !r->broken; k++)
			mend_object(r, (unsigned)cluster_at(r->c, s->member[k]), shard, o);
	}
}
