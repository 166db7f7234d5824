/*
 * A read that met damage: the bytes are fetched from another copy and put where the bad ones lie.
 *
 *   looking     block after block is read again         bad: asking; all read: the end, 0
 *   asking      BYTES to a member; ours is gated, so    its bytes: putting; its history ends
 *               both histories come to the same end     elsewhere: again, soon; else the next
 *                                                       member; no more: waiting, or -EIO
 *   waiting     a member could not be asked: its copy   asking all of them again
 *               may be good; the map drops it, or it
 *               comes back
 *   putting     store_repair()                          looking again at that block
 *
 * A primary repairs what a read meets. While it does, nothing is applied to the shard, so its
 * history and a member's are the same. A backup repairs when somebody looks whether its copy is
 * good: it is sent effects meanwhile, so it takes bytes only if it has the history then that it had
 * when it asked; and where others do not have the same at once, it is looked at again.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/learn.h"
#include "dht/store/extent.h"

#define SAME_END_WAIT (2 * ENV_SEC) /* for a member to have what we have */
#define SAME_END_LOOK (5 * ENV_MS)
#define ASK_AGAIN (100 * ENV_MS) /* who could not be asked */

struct repair {
	struct node *n;
	struct repair_range *ranges;
	unsigned nranges, at; /* the range */
	uint64_t block;       /* where the block in it begins */
	unsigned put;         /* how often that block was put */
	enum shard_role role; /* of ours, throughout */
	unsigned member;      /* the next to be asked */
	bool unclear;         /* one of those before may have the bytes */
	uint64_t until;       /* that a member may be behind */
	uint64_t term, seq;   /* the history's end when it was asked */
	uint8_t *buf;
	struct frame *bytes;
	struct store_read read;
	struct store_apply apply;
	struct store_wait wait;
	struct call call;
	struct env_timer timer;
	void (*later)(struct repair *r);
	void (*done)(void *arg, int rc);
	void *arg;
	LIST_ENTRY(repair) entry;
};

static void look(struct repair *r);
static void ask(struct repair *r);
static void put(struct repair *r);

static const struct repair_range *range_of(const struct repair *r)
{
	return &r->ranges[r->at];
}

static void repair_free(struct repair *r)
{
	LIST_REMOVE(r, entry);
	env_timer_clear(r->n->env, &r->timer);
	frame_unref(r->bytes);
	free(r->ranges);
	free(r->buf);
	free(r);
}

void repairs_free(struct node *n)
{
	struct repair *r;

	while ((r = LIST_FIRST(&n->repairs)))
		repair_free(r);
}

static void repair_end(struct repair *r, int rc)
{
	void (*done)(void *arg, int rc) = r->done;
	void *arg = r->arg;

	if (rc)
		log_error("mod=repair shard=%u off=%" PRIu64
			  " rc=-%s msg=\"damage that no other copy could repair\"",
			range_of(r)->shard, r->block, log_errno(rc));
	repair_free(r);
	done(arg, rc);
}

/* It can go on: our word on the shard is what it was. */
static bool lasts(const struct repair *r)
{
	return !r->n->stopping && node_shard(r->n, range_of(r)->shard)->role == r->role;
}

/* ---- looking ---- */

static void wait_ready(struct store_wait *w)
{
	struct repair *r = container_of(w, struct repair, wait);

	if (lasts(r))
		r->later(r);
	else
		repair_end(r, -EIO);
}

static void wait_store(struct repair *r, void (*fn)(struct repair *r))
{
	r->later = fn;
	r->wait.ready = wait_ready;
	store_wait(r->n->st, &r->wait);
}

static void to_block(struct repair *r, uint64_t off)
{
	r->block = off / EXTENT_MAX * EXTENT_MAX;
	r->put = 0;
	r->member = 0;
	r->unclear = false;
	r->until = 0;
}

/* That block is fine. */
static void next_block(struct repair *r)
{
	const struct repair_range *range = range_of(r);

	if (r->block + EXTENT_MAX < range->off + range->len) {
		to_block(r, r->block + EXTENT_MAX);
	} else if (++r->at < r->nranges) {
		to_block(r, range_of(r)->off);
	} else {
		r->at--;
		repair_end(r, 0);
		return;
	}
	look(r);
}

static void looked(struct repair *r, int rc)
{
	if (!lasts(r))
		repair_end(r, -EIO);
	else if (rc == -EAGAIN)
		wait_store(r, look);
	else if (rc)
		ask(r);
	else
		next_block(r);
}

static void read_done(struct store_read *sr, int rc)
{
	looked(container_of(sr, struct repair, read), rc);
}

/* Reads the block. */
static void look(struct repair *r)
{
	const struct repair_range *range = range_of(r);
	int rc;

	r->read.done = read_done;
	rc = store_read(r->n->st, &r->read, range->shard, &range->id, r->block, EXTENT_MAX, r->buf);
	if (rc != -EINPROGRESS)
		looked(r, rc);
}

/* ---- asking ---- */

static void timer_fire(struct env_timer *t)
{
	struct repair *r = container_of(t, struct repair, timer);

	if (lasts(r))
		ask(r);
	else
		repair_end(r, -EIO);
}

static void ask_later(struct repair *r, uint64_t after)
{
	r->timer.fire = timer_fire;
	env_timer_set(r->n->env, &r->timer, env_now(r->n->env) + after);
}

static void ask_next(struct repair *r)
{
	r->member++;
	r->until = 0;
	ask(r);
}

/* Its copy was as ours when it was asked, and still when it had read the bytes. */
static bool same_end(const struct repair *r, const struct wire_reply *m)
{
	struct wire_effect last;

	if (!m->neffects)
		return false;
	last = wire_effect_at(m, 0);
	return last.term == r->term && last.seq == r->seq;
}

/* Its history, or ours, is not what it has to be: soon, perhaps. */
static void not_same(struct repair *r)
{
	if (env_now(r->n->env) < r->until) {
		ask_later(r, SAME_END_LOOK);
		return;
	}
	r->unclear = true;
	ask_next(r);
}

static void answered(struct call *call, int rc, struct frame *f)
{
	struct repair *r = container_of(call, struct repair, call);
	struct wire_reply m;

	if (!lasts(r)) {
		repair_end(r, -EIO);
		return;
	}
	if (rc || f->type != WIRE_REPLY || wire_get_reply(frame_cur(f), &m))
		m = (struct wire_reply){.status = WIRE_UNREACHABLE};
	if (!m.status && !same_end(r, &m))
		m.status = WIRE_RETRY;
	if (m.status == WIRE_RETRY) {
		not_same(r);
		return;
	}
	if (m.status || m.results_len != EXTENT_MAX) {
		r->unclear |= m.status == WIRE_UNREACHABLE || m.status == WIRE_WRONG_NODE;
		ask_next(r);
		return;
	}
	frame_unref(r->bytes);
	r->bytes = frame_ref(f);
	put(r);
}

/* Nobody could give it. */
static void asked_all(struct repair *r)
{
	if (!r->unclear || r->role != ROLE_SERVING) {
		repair_end(r, -EIO);
		return;
	}
	r->member = 0;
	r->unclear = false;
	ask_later(r, ASK_AGAIN);
}

/* Asks the next member. */
static void ask(struct repair *r)
{
	struct node *n = r->n;
	const struct repair_range *range = range_of(r);
	const struct ring_shard *s = &n->ring->shards[range->shard];
	struct history h = store_history(n->st, range->shard);
	struct wire_bytes m = {.shard = range->shard, .term = h.term, .seq = h.seq, .n = 1};
	struct wire_bytes_range wr = {.id = range->id, .off = r->block, .len = EXTENT_MAX};
	struct frame *f;

	if (r->put > 1) {
		/* what was put there is bad, too: then it is not the medium alone */
		repair_end(r, -EIO);
		return;
	}
	while (r->member < s->nmembers && s->member[r->member] == n->self)
		r->member++;
	if (r->member >= s->nmembers) {
		asked_all(r);
		return;
	}
	if (!r->until)
		r->until = env_now(n->env) + SAME_END_WAIT;
	f = frame_new(WIRE_BYTES, 0, 80);
	wire_put_bytes_head(&f->b, &m);
	wire_put_bytes_range(&f->b, &wr);
	r->term = h.term;
	r->seq = h.seq;
	r->call.done = answered;
	peer_call(n, s->member[r->member], f, &r->call);
}

/* ---- putting ---- */

static void put_done(struct store_apply *a, int rc)
{
	struct repair *r = container_of(a, struct repair, apply);

	if (rc || !lasts(r)) {
		repair_end(r, -EIO);
		return;
	}
	r->n->stats.repaired++;
	log_warn("mod=repair shard=%u off=%" PRIu64
		 " msg=\"damage was repaired from another copy\"",
		range_of(r)->shard, r->block);
	r->put++;
	look(r);
}

static void put(struct repair *r)
{
	const struct repair_range *range = range_of(r);
	struct history h = store_history(r->n->st, range->shard);
	struct wire_reply m;
	int rc;

	if (h.term != r->term || h.seq != r->seq) {
		not_same(r);
		return;
	}
	wire_get_reply(frame_cur(r->bytes), &m);
	r->apply.done = put_done;
	rc = store_repair(
		r->n->st, &r->apply, range->shard, &range->id, r->block, m.results, m.results_len);
	if (rc == -EAGAIN) {
		wait_store(r, put);
	} else if (rc == -EBADMSG) {
		/* that one's bytes are not what ours were */
		ask_next(r);
	} else if (rc) {
		repair_end(r, rc);
	}
}

void repair_start(struct node *n, const struct repair_range *ranges, unsigned nranges,
	void (*done)(void *arg, int rc), void *arg)
{
	struct repair *r = mem_zalloc(sizeof(*r));

	assert(nranges > 0);
	r->n = n;
	r->ranges = mem_dup(ranges, nranges * sizeof(*ranges));
	r->nranges = nranges;
	r->role = node_shard(n, ranges[0].shard)->role;
	r->buf = mem_grow(NULL, EXTENT_MAX, 1);
	r->done = done;
	r->arg = arg;
	LIST_INSERT_HEAD(&n->repairs, r, entry);
	to_block(r, ranges[0].off);
	look(r);
}

/* ---- for transactions ---- */

static void exec_repaired(void *arg, int rc)
{
	struct exec *x = arg;

	x->r.pinned--;
	if (req_over(&x->r))
		return;
	if (rc) {
		exec_refuse(x, status_of(rc), 0);
		return;
	}
	exec_reset(x);
	x->r.ops->run(&x->r);
}

static bool others_have(const struct node *n, uint16_t shard)
{
	return n->ring->shards[shard].nmembers > 1;
}

bool repair_exec(struct exec *x)
{
	size_t n = x->out.nfills;
	struct repair_range *ranges;
	struct shard *gated = NULL;

	if (x->repaired || !n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!others_have(x->r.n, x->out.fill[i].shard))
			return false;
	}
	for (unsigned i = 0; i < x->nparts && !x->gated; i++) {
		if (x->parts[i].shard->gate)
			gated = x->parts[i].shard;
	}
	if (gated) {
		exec_reset(x);
		req_wait_shard(&x->r, gated);
		return true;
	}
	x->repaired = x->gated = true;
	ranges = mem_zalloc(n * sizeof(*ranges));
	for (size_t i = 0; i < n; i++) {
		const struct txn_fill *fill = &x->out.fill[i];

		ranges[i] = (struct repair_range){
			.shard = fill->shard, .id = fill->id, .off = fill->off, .len = fill->len};
	}
	for (unsigned i = 0; i < x->nparts; i++)
		x->parts[i].shard->gate = &x->r;
	x->r.pinned++;
	repair_start(x->r.n, ranges, (unsigned)n, exec_repaired, x);
	free(ranges);
	return true;
}
