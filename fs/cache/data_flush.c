/*
 * Rounds: what is dirty of one inode goes to the nodes, blocks first, then the inode.
 *
 *   NONE     nothing of the inode is on its way but full blocks that went early
 *   BLOCKS   the units that had dirty bytes when the round began are being written
 *   INODE    {cut as the blocks were written with; inline bytes, size raised to what it was when
 *            the round began, times, bytes gained} is in flight
 *   REFETCH  the compare failed: attributes are read and a trim that was found is finished; then
 *            the blocks are written again with the new cut: BLOCKS
 *
 * One round of an inode at a time. Who asks for a flush during a round waits for the next one,
 * since his bytes may have missed this one. After an error the bytes that it hit are forgotten, and
 * the size does not grow over them.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"
#include "fs/cache/inode.h"

static void inode_drop_dirty(struct data_inode *di);

orbit_handle data_submit(struct data_inode *di, struct txn_build *t, orbit_done_cb *done, void *arg)
{
	struct data_cache *dc = di->dc;
	orbit_handle h;

	dc->landing++;
	h = orbit_submit(dc->client, t, data_policy(di), done, arg);
	/* what waited for its turn while the rest was cancelled; its end has to come, too */
	if (dc->cancelling)
		orbit_cancel(dc->client, h, false);
	return h;
}

bool inode_clean(const struct data_inode *di)
{
	return RB_EMPTY(&di->units) && !di->meta && di->state == ROUND_NONE && !di->tail &&
	       !di->tail_busy;
}

/* ---- errors ---- */

static void inode_error(struct data_inode *di, int rc)
{
	if (di->round_rc == 0 || di->state == ROUND_NONE)
		log_warn("mod=cache ino=%llx rc=%s msg=\"written data is lost\"",
			(unsigned long long)di->ino, log_errno(rc));
	di->errors++;
	di->error = rc;
	di->told = false;
	if (di->state != ROUND_NONE && di->round_rc == 0)
		di->round_rc = rc;
}

void round_failed(struct data_inode *di, int rc, uint64_t from, uint64_t to)
{
	inode_error(di, rc);
	if (to <= di->a.size)
		return;
	if (from < di->a.size)
		from = di->a.size;
	if (di->round_size > from)
		di->round_size = from;
	if (di->size > from)
		di->size = from;
}

/* ---- dirty for some time ---- */

static void timer_arm(struct data_cache *dc)
{
	struct data_inode *di = TAILQ_FIRST(&dc->dirty);

	if (di && !dc->timer.armed)
		env_timer_set(dc->env, &dc->timer, di->since + dc->cfg.flush_after);
}

void inode_dirty(struct data_inode *di)
{
	struct data_cache *dc = di->dc;

	if (di->since)
		return;
	di->since = env_now(dc->env);
	TAILQ_INSERT_TAIL(&dc->dirty, di, dirty);
	timer_arm(dc);
}

static void not_dirty(struct data_inode *di)
{
	if (di->since)
		TAILQ_REMOVE(&di->dc->dirty, di, dirty);
	di->since = 0;
}

void flush_timer(struct env_timer *t)
{
	struct data_cache *dc = container_of(t, struct data_cache, timer);
	uint64_t now = env_now(dc->env);
	struct data_inode *di;

	while ((di = TAILQ_FIRST(&dc->dirty)) && di->since + dc->cfg.flush_after <= now) {
		if (di->state == ROUND_NONE) {
			round_start(di);
		} else {
			/* the next round takes it */
			TAILQ_REMOVE(&dc->dirty, di, dirty);
			di->since = now;
			TAILQ_INSERT_TAIL(&dc->dirty, di, dirty);
		}
	}
	timer_arm(dc);
}

/* ---- blocks ---- */

static void round_blocks(struct data_inode *di)
{
	struct unit *u;

	if (di->lost || di->dc->cancelling)
		inode_drop_dirty(di);
	di->state = ROUND_BLOCKS;
	di->left = 0;
	RB_FOREACH (u, units, &di->units) {
		u->round = 0;
		if (u->index == 0) {
			/* goes with the inode, in as many transactions as it takes */
			u->round = u->dirty.n ? ROUND_SEND : 0;
			continue;
		}
		if (u->dirty.n) {
			u->round = ROUND_SEND;
			unit_ready(u);
		} else if (u->in_flight) {
			u->round = ROUND_ANSWER;
		}
		di->left += u->round != 0;
	}
	if (di->left == 0)
		inode_send(di);
	else
		unit_pump(di->dc);
}

static void round_init(struct data_inode *di)
{
	not_dirty(di);
	di->round_rc = 0;
	di->round_size = di->size;
}

void round_start(struct data_inode *di)
{
	if (di->state != ROUND_NONE)
		return;
	round_init(di);
	di->retries = 0;
	round_blocks(di); /* which may end at once, and @di with it */
}

void round_answer(struct data_inode *di)
{
	if (di->left > 0 && --di->left == 0 && di->state == ROUND_BLOCKS)
		inode_send(di);
}

/* ---- what was sent, and what is lost ---- */

static void written_below(struct unit *u, uint64_t size)
{
	uint64_t base = unit_base(u->index);
	uint32_t had = u->written.bytes;

	if (size <= base)
		return;
	ranges_drop_below(
		&u->written, size - base < LAYOUT_BLOCK ? (uint32_t)(size - base) : LAYOUT_BLOCK);
	u->di->dc->used -= had - u->written.bytes;
}

/* What the blocks have is sent once more. */
static void written_again(struct unit *u)
{
	struct data_cache *dc = u->di->dc;

	dc->used -= u->dirty.bytes + u->written.bytes;
	ranges_move(&u->dirty, &u->written, UINT32_MAX);
	dc->used += u->dirty.bytes;
}

void inode_forget_units(struct data_inode *di, uint64_t size)
{
	struct unit *u, *next;

	RB_FOREACH_SAFE (u, units, &di->units, next) {
		if (u->index == 0)
			unit_clear(u, &u->sending);
		if (u->commit)
			written_below(u, size);
		u->commit = false;
		unit_drop_if_clean(u);
	}
}

void inode_lost(struct data_inode *di, int rc)
{
	struct unit *u;

	if (rc == -ENOSPC)
		di->dc->nospace = true;
	inode_error(di, rc == -ECANCELED || rc == -ESTALE ? -EIO : rc);
	di->wrote |= di->round_wrote;
	inode_forget_units(di, UINT64_MAX);
	RB_FOREACH (u, units, &di->units)
		written_again(u);
	di->lost = false;
	di->tail = di->tail_to = 0; /* whoever meets the mark knows what to do */
	di->times = false;
	di->gained = 0;
	di->kill_priv = false;
	if (RB_EMPTY(&di->units)) {
		di->size = 0;
		di->meta = false;
	}
	round_end(di);
}

/* Forgets bytes that are not in flight. */
static void inode_drop_dirty(struct data_inode *di)
{
	struct unit *u, *next;

	RB_FOREACH_SAFE (u, units, &di->units, next) {
		unit_clear(u, &u->dirty);
		unit_clear(u, &u->written);
		if (u->round == ROUND_SEND && u->in_flight) {
			u->round = ROUND_ANSWER;
		} else if (u->round == ROUND_SEND) {
			u->round = 0;
			di->left -= di->state == ROUND_BLOCKS && u->index > 0;
		}
		if (!u->round)
			unit_drop_if_clean(u);
	}
}

void inode_give_up(struct data_inode *di)
{
	di->lost = true;
	inode_drop_dirty(di);
	if (di->state == ROUND_NONE)
		round_start(di);
	else if (di->state == ROUND_BLOCKS && di->left == 0)
		inode_send(di);
}

/* The object is gone, or nothing can be sent: all of it is lost. */
void inode_lost_all(struct data_inode *di, int rc)
{
	struct unit *u, *next;

	RB_FOREACH_SAFE (u, units, &di->units, next) {
		unit_clear(u, &u->dirty);
		unit_clear(u, &u->written);
		unit_drop_if_clean(u);
	}
	inode_lost(di, rc);
}

static void refetch_done(struct data_inode *di, const struct fs_attr *a)
{
	struct unit *u;

	if (!di->tail_there)
		tail_lost(di);
	inode_note(di, a);
	if (di->cut != di->a.cut) {
		RB_FOREACH (u, units, &di->units)
			written_again(u);
		di->cut = di->a.cut;
	}
	round_blocks(di);
}

static void trimmed(void *arg, int rc, const struct fs_attr *a)
{
	struct data_inode *di = arg;
	struct data_cache *dc = di->dc;

	dc->landing--;
	di->tail_there = false;
	if (rc)
		inode_lost_all(di, rc);
	else
		refetch_done(di, a);
	writers_pump(dc);
	stop_check(dc);
}

static void refetched(void *arg, const struct orbit_reply *r)
{
	struct data_inode *di = arg;
	struct data_cache *dc = di->dc;
	struct txn_result res;
	struct txn_object o;
	struct fs_attr a;
	struct cur c;
	int rc = r->rc;

	dc->landing--;
	di->handle = 0;
	if (rc == 0)
		rc = orbit_result(r, 0, &res);
	if (rc == 0 && !res.present)
		rc = -EIO;
	if (rc == 0) {
		c = cur_of(res.data, res.len);
		o = txn_get_object(&c);
		rc = layout_attr(di->ino, &o, &a);
	}
	if (rc == 0) {
		di->tail_there = di->tail && a.trim == di->tail && a.tail & TAIL_OPEN;
		tail_mask(di, &a);
	}
	if (rc == 0 && a.trim && dc->cfg.trim) {
		dc->landing++;
		dc->cfg.trim(dc->cfg.ctx, &a, trimmed, di);
		return;
	}
	if (rc)
		inode_lost_all(di, rc);
	else
		refetch_done(di, &a);
	writers_pump(dc);
	stop_check(dc);
}

void round_look(struct data_inode *di)
{
	struct orbit_id id = layout_inode_id(di->ino);
	struct txn_build t;

	if (di->state == ROUND_NONE)
		round_init(di);
	di->state = ROUND_REFETCH;
	txn_init(&t);
	txn_get(&t, &id);
	di->handle = data_submit(di, &t, refetched, di);
	txn_fini(&t);
}

/* ---- the end ---- */

void round_end(struct data_inode *di)
{
	struct data_wait *w;
	int rc = di->round_rc;

	di->state = ROUND_NONE;
	TAILQ_FOREACH (w, &di->waits, entry) {
		w->state = WAIT_OVER;
		w->rc = rc;
		di->told |= rc && !w->quiet;
	}
	TAILQ_CONCAT(&di->over, &di->waits, entry);
	if (!inode_clean(di))
		inode_dirty(di);
	di->refs++;
	tail_again(di);
	if (!TAILQ_EMPTY(&di->next)) {
		TAILQ_CONCAT(&di->waits, &di->next, entry);
		TAILQ_FOREACH (w, &di->waits, entry)
			w->state = WAIT_ROUND;
		round_start(di);
	}
	while ((w = TAILQ_FIRST(&di->over))) {
		TAILQ_REMOVE(&di->over, w, entry);
		w->state = WAIT_NONE;
		w->done(w, w->rc);
	}
	di->refs--;
	inode_rest(di);
}

static void inode_free(struct data_inode *di)
{
	struct data_cache *dc = di->dc;

	if (di->errors && !di->told && dc->first_error == 0)
		dc->first_error = di->error;
	not_dirty(di);
	chunk_drop_range(di, 0, UINT64_MAX);
	HASH_DEL(dc->inodes, di);
	free(di);
}

void inode_rest(struct data_inode *di)
{
	if (di->state != ROUND_NONE || (di->refs && !di->dc->stopped))
		return;
	if (!inode_clean(di)) {
		round_start(di);
		return;
	}
	if (di->refs == 0 && TAILQ_EMPTY(&di->waits) && di->npending == 0)
		inode_free(di);
}

/* ---- waiting for it ---- */

void data_flush_wait(struct data_inode *di, struct data_wait *w)
{
	w->di = di;
	if (inode_clean(di)) {
		soon(di->dc, w);
		return;
	}
	if (di->state == ROUND_NONE) {
		w->state = WAIT_ROUND;
		TAILQ_INSERT_TAIL(&di->waits, w, entry);
		round_start(di);
	} else {
		w->state = WAIT_NEXT;
		TAILQ_INSERT_TAIL(&di->next, w, entry);
	}
}

struct flush_call {
	struct data_wait w;
	void (*done)(void *arg, int rc);
	void *arg;
};

static void flush_called(struct data_wait *w, int rc)
{
	struct flush_call *f = container_of(w, struct flush_call, w);

	f->done(f->arg, rc);
	free(f);
}

void data_flush(struct data_cache *dc, uint64_t ino, void (*done)(void *arg, int rc), void *arg)
{
	struct flush_call *f = mem_zalloc(sizeof(*f));
	struct data_inode *di = inode_find(dc, ino);

	f->w.done = flush_called;
	f->w.quiet = true;
	f->done = done;
	f->arg = arg;
	if (di)
		data_flush_wait(di, &f->w);
	else
		soon(dc, &f->w);
}
