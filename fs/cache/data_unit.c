/*
 * Units: the parts of a file by object, their dirty bytes, and the transactions that send blocks.
 *
 * A block's transaction is {CREATE with the cut, or MAX of the cut; WRITEs}. Whether the object is
 * there has to be guessed; a wrong guess takes nothing but another round trip, since the bytes are
 * kept until the inode's transaction is through.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

static int unit_cmp(const struct unit *a, const struct unit *b)
{
	return a->index < b->index ? -1 : a->index > b->index;
}

RB_GENERATE(units, unit, node, unit_cmp)

struct unit *unit_find(struct data_inode *di, uint64_t index)
{
	struct unit key = {.index = index};

	return RB_FIND(units, &di->units, &key);
}

/* Is the block's object probably absent? Those behind the end are; of a file with holes the last
 * guess is as good as any. */
static bool guess_absent(const struct data_inode *di, uint64_t index)
{
	uint64_t start = index == 1 ? LAYOUT_INLINE : unit_base(index);

	if (start >= di->a.size || di->a.block_bytes == 0)
		return true;
	if (di->a.block_bytes + LAYOUT_INLINE >= di->a.size)
		return false;
	return di->last_guess;
}

struct unit *unit_get(struct data_inode *di, uint64_t index)
{
	struct unit *u = unit_find(di, index);

	if (u)
		return u;
	if (RB_EMPTY(&di->units) && di->state == ROUND_NONE && di->a.trim == 0)
		di->cut = di->a.cut;
	u = mem_zalloc(sizeof(*u));
	u->di = di;
	u->index = index;
	ranges_init(&u->dirty);
	ranges_init(&u->sending);
	ranges_init(&u->written);
	u->create = index > 0 && guess_absent(di, index);
	di->dc->used += UNIT_FIXED;
	RB_INSERT(units, &di->units, u);
	return u;
}

/* ---- memory ---- */

/* Blocks have a whole block's address room, of which only touched pages are real memory. */
static void *pool_get(struct data_cache *dc)
{
	struct pool_buf *b = dc->pool;
	void *p;

	if (b) {
		dc->pool = b->next;
		dc->npool--;
		return b;
	}
	p = mmap(NULL, LAYOUT_BLOCK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		log_error("mod=cache rc=%s msg=\"no memory for file data\"", log_errno(errno));
		abort();
	}
	return p;
}

static void pool_put(struct data_cache *dc, void *p)
{
	struct pool_buf *b = p;

	if (dc->npool >= POOL_MAX) {
		munmap(p, LAYOUT_BLOCK);
		return;
	}
	b->next = dc->pool;
	dc->pool = b;
	dc->npool++;
}

void pool_free(struct data_cache *dc)
{
	struct pool_buf *b;

	while ((b = dc->pool)) {
		dc->pool = b->next;
		munmap(b, LAYOUT_BLOCK);
	}
	dc->npool = 0;
}

static void unit_room(struct unit *u, size_t end)
{
	size_t cap = u->cap ? u->cap : 4096;

	if (end <= u->cap)
		return;
	if (u->index > 0) {
		u->mem = pool_get(u->di->dc);
		u->cap = LAYOUT_BLOCK;
		return;
	}
	while (cap < end)
		cap *= 2;
	u->mem = mem_grow(u->mem, cap, 1);
	u->cap = cap;
}

void unit_take(struct unit *u, uint32_t from, const void *data, uint32_t len)
{
	uint32_t had = u->dirty.bytes;

	unit_room(u, (size_t)from + len);
	memcpy(u->mem + from, data, len);
	if (u->nrefs)
		refs_cut(u, from, from + len);
	ranges_add(&u->dirty, from, from + len);
	u->di->dc->used += u->dirty.bytes - had;
}

void unit_clear(struct unit *u, struct ranges *set)
{
	u->di->dc->used -= set->bytes;
	ranges_clear(set);
}

void unit_free(struct unit *u)
{
	struct data_cache *dc = u->di->dc;

	dc->used -= UNIT_FIXED + u->dirty.bytes + u->sending.bytes + u->written.bytes;
	if (u->is_ready)
		TAILQ_REMOVE(&dc->ready, u, ready);
	RB_REMOVE(units, &u->di->units, u);
	if (u->index > 0 && u->mem)
		pool_put(dc, u->mem);
	else
		free(u->mem);
	ranges_fini(&u->dirty);
	ranges_fini(&u->sending);
	ranges_fini(&u->written);
	free(u->refs);
	free(u);
}

bool unit_drop_if_clean(struct unit *u)
{
	if (u->in_flight || u->dirty.n || u->sending.n || u->written.n)
		return false;
	unit_free(u);
	return true;
}

bool unit_full(const struct unit *u)
{
	uint32_t start = u->index == 1 ? LAYOUT_INLINE : 0;

	return u->index > 0 && u->dirty.n == 1 && u->dirty.v[0].from == start &&
	       u->dirty.v[0].to == LAYOUT_BLOCK;
}

/* ---- sending ---- */

void unit_ready(struct unit *u)
{
	if (u->is_ready || u->in_flight)
		return;
	u->is_ready = true;
	TAILQ_INSERT_TAIL(&u->di->dc->ready, u, ready);
}

static void unit_sent(void *arg, const struct orbit_reply *r);

static void unit_send(struct unit *u)
{
	struct data_inode *di = u->di;
	struct orbit_id id = unit_id(di->ino, u->index);
	uint64_t slots[TXN_SLOTS] = {[BLOCK_SLOT_CUT] = di->cut};
	struct txn_build t;
	uint32_t had = u->dirty.bytes + u->sending.bytes;

	ranges_move(&u->sending, &u->dirty, UNIT_SENDS);
	di->dc->used -= had - (u->dirty.bytes + u->sending.bytes);
	if (u->round && u->dirty.n == 0)
		u->round = ROUND_ANSWER;
	txn_init(&t);
	if (u->create)
		txn_create(&t, &id, 1 << BLOCK_SLOT_CUT, slots);
	else if (di->cut > 0)
		txn_max(&t, &id, BLOCK_SLOT_CUT, di->cut);
	u->cut = di->cut;
	u->first_write = t.nops;
	if (!u->nrefs)
		buf_reserve(&t.ops, u->sending.bytes + 64 * (size_t)u->sending.n + 256);
	for (unsigned i = 0; i < u->sending.n; i++)
		refs_send(u, &t, u->sending.v[i].from, u->sending.v[i].to);
	u->nwrites = t.nops - (unsigned)u->first_write;
	u->in_flight = true;
	di->dc->flight++;
	di->dc->flight_bytes += u->sending.bytes;
	u->handle = data_submit(di, &t, unit_sent, u);
	txn_fini(&t);
}

void unit_pump(struct data_cache *dc)
{
	struct unit *u;

	while ((u = TAILQ_FIRST(&dc->ready)) && dc->flight < FLIGHT_MAX &&
		dc->flight_bytes < FLIGHT_BYTES) {
		TAILQ_REMOVE(&dc->ready, u, ready);
		u->is_ready = false;
		if (!tail_covers(u))
			tail_want(u->di);
		else if (u->dirty.n)
			unit_send(u);
	}
}

int64_t data_gained(const struct orbit_reply *r, int first, unsigned n)
{
	int64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		struct txn_result res;
		struct cur c;

		if (orbit_result(r, first + (int)i, &res))
			continue;
		c = cur_of(res.data, res.len);
		sum += (int64_t)cur_u64(&c);
	}
	return sum;
}

/* What the answer says that the file's blocks gained. */
static int64_t sum_gained(const struct unit *u, const struct orbit_reply *r)
{
	return data_gained(r, u->first_write, u->nwrites);
}

static void unit_done(struct unit *u, const struct orbit_reply *r)
{
	struct data_inode *di = u->di;
	uint32_t had = u->sending.bytes + u->written.bytes;

	u->guesses = 0;
	di->last_guess = u->create;
	u->create = false;
	di->gained += sum_gained(u, r);
	ranges_move(&u->written, &u->sending, UINT32_MAX);
	di->dc->used -= had - u->written.bytes;
	/* what was just added is not in the inode's transaction that may be in flight */
	u->commit = false;
	di->dc->nospace = false;
}

static void unit_failed(struct unit *u, int rc)
{
	struct data_inode *di = u->di;
	uint64_t base = unit_base(u->index);

	if (u->sending.n)
		round_failed(di, rc, base + u->sending.v[0].from,
			base + u->sending.v[u->sending.n - 1].to);
	unit_clear(u, &u->sending);
	if (rc == -ENOSPC)
		di->dc->nospace = true;
}

/* All that was sent, and what came since, once more. */
static void unit_again(struct unit *u)
{
	struct data_cache *dc = u->di->dc;

	dc->used -= u->dirty.bytes + u->sending.bytes;
	ranges_move(&u->dirty, &u->sending, UINT32_MAX);
	dc->used += u->dirty.bytes;
	if (u->round)
		u->round = ROUND_SEND;
	unit_ready(u);
	unit_pump(dc);
}

static void unit_sent(void *arg, const struct orbit_reply *r)
{
	struct unit *u = arg;
	struct data_inode *di = u->di;
	struct data_cache *dc = di->dc;
	bool answered = u->round == ROUND_ANSWER;

	u->in_flight = false;
	u->handle = 0;
	dc->landing--;
	dc->flight--;
	dc->flight_bytes -= u->sending.bytes;
	if (r->rc == -ECANCELED && u->guesses < GUESSES_MAX && !dc->cancelling) {
		u->guesses++;
		u->create = !u->create; /* wrongly guessed */
		unit_again(u);
		return;
	}
	if (r->rc == 0 && u->cut != di->cut && !dc->cancelling) {
		di->gained += sum_gained(u, r);
		u->create = false;
		unit_again(u);
		return;
	}
	if (r->rc == 0)
		unit_done(u, r);
	else
		unit_failed(u, r->rc == -ECANCELED || r->rc == -ESTALE ? -EIO : r->rc);
	if (answered)
		u->round = 0;
	if (u->dirty.n && (u->round || unit_full(u)))
		unit_ready(u);
	unit_drop_if_clean(u);
	if (answered)
		round_answer(di);
	else
		inode_rest(di);
	unit_pump(dc);
	writers_pump(dc);
	stop_check(dc);
}
