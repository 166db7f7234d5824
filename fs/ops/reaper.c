/*
 * Removing orphans.
 *
 *   EXPECTED   has no name, is still open here; the last close will kick
 *   FAST       small and known: {nobody holds it, no links, no blocks -> delete}, many in one
 *              transaction
 *   SLOW       to be read: who holds it, what blocks it has
 *   BUSY       being worked on
 *   HELD       somebody alive holds it, or a node did not answer; looked at again later
 *
 * BUSY, the slow way: read it and its holds -> ask the keeper about the sessions that hold it ->
 * drop the holds of those that ended, and read again; or, when nobody holds it, remove the blocks,
 * then the inode.
 *
 * Searching goes through the orphan lists of all shards, one list at a time.
 */
#include "fs/ops/reaper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <uthash.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/ops/op.h"
#include "fs/ops/truncate.h"

#define GATHER (10 * ENV_MS)        /* so that orphans made together go together */
#define SEARCH_FIRST (500 * ENV_MS) /* after mounting */
#define SEARCH_PAUSE (10 * ENV_MS)  /* between two shards */
#define SEARCH_AGAIN (600 * ENV_SEC)
#define HELD_AGAIN (30 * ENV_SEC)
#define FAST_BATCH 32
#define FAST_OPS 6 /* operations for each of a batch */
#define FAST_MAX 4 /* batches in flight */
#define SLOW_MAX 4
#define LIST_MAX 256
#define SESSIONS_MAX 4096

enum orphan_state { EXPECTED, FAST, SLOW, BUSY, HELD };

struct orphan {
	uint64_t ino;
	UT_hash_handle hh;
	TAILQ_ENTRY(orphan) entry; /* FAST, SLOW, HELD */
	enum orphan_state state;
	bool small, again; /* again: kicked while BUSY */
	uint64_t cut;
	/* BUSY, the slow way */
	struct fs *fs;
	int get, holds;
	struct fs_attr attr;
	uint64_t block_bytes;
	uint32_t *session;
	unsigned nsessions, at, nended;
};

struct reaper {
	struct fs *fs;
	struct orphan *orphans; /* uthash */
	TAILQ_HEAD(orphan_list, orphan) fast, slow, held;
	unsigned nfast, nslow; /* in flight */
	struct env_timer gather, look_again, search;
	bool stopping, counted, abandoned;
	uint32_t shard; /* the search is at this one */
	uint8_t after[ORBIT_ID_LEN];
	size_t after_len;
};

struct batch {
	struct reaper *rp;
	unsigned n;
	struct orphan *of[FAST_BATCH];
};

static void reaper_run(struct reaper *rp);

/* ---- the table ---- */

static struct orphan *orphan_find(struct reaper *rp, uint64_t ino)
{
	struct orphan *o;

	HASH_FIND(hh, rp->orphans, &ino, sizeof(ino), o);
	return o;
}

static struct orphan *orphan_get(struct reaper *rp, uint64_t ino)
{
	struct orphan *o = orphan_find(rp, ino);

	if (o)
		return o;
	o = mem_zalloc(sizeof(*o));
	o->ino = ino;
	o->fs = rp->fs;
	o->state = EXPECTED;
	HASH_ADD(hh, rp->orphans, ino, sizeof(o->ino), o);
	return o;
}

static struct orphan_list *list_of(struct reaper *rp, enum orphan_state state)
{
	return state == FAST   ? &rp->fast
	       : state == SLOW ? &rp->slow
	       : state == HELD ? &rp->held
			       : NULL;
}

static void orphan_to(struct orphan *o, enum orphan_state state)
{
	struct reaper *rp = o->fs->reaper;
	struct orphan_list *l = list_of(rp, o->state);

	if (l)
		TAILQ_REMOVE(l, o, entry);
	o->state = state;
	l = list_of(rp, state);
	if (l)
		TAILQ_INSERT_TAIL(l, o, entry);
	if (state == HELD && !rp->look_again.armed && !rp->stopping)
		env_timer_set(o->fs->env, &rp->look_again, env_now(o->fs->env) + HELD_AGAIN);
}

static void orphan_drop(struct orphan *o)
{
	orphan_to(o, EXPECTED);
	HASH_DEL(o->fs->reaper->orphans, o);
	free(o->session);
	free(o);
}

/* The work on a BUSY one is over: it is gone, or not to be removed by us (now). */
static void orphan_done(struct orphan *o, bool look_again)
{
	if (o->again && !o->fs->reaper->abandoned) {
		o->again = false;
		orphan_to(o, SLOW);
	} else if (look_again && !o->fs->reaper->stopping) {
		orphan_to(o, HELD);
	} else {
		orphan_drop(o);
	}
}

/* The mount does not end before the work is done. */
static void count(struct reaper *rp)
{
	if (rp->counted)
		return;
	rp->counted = true;
	mount_op_begin(rp->fs);
}

static void queue(struct orphan *o)
{
	struct reaper *rp = o->fs->reaper;

	if (rp->stopping) /* a hold was dropped at the very end */
		count(rp);
	if (o->state == BUSY) {
		o->again = true;
		return;
	}
	orphan_to(o, o->small ? FAST : SLOW);
	if (!rp->gather.armed)
		env_timer_set(rp->fs->env, &rp->gather, env_now(rp->fs->env) + GATHER);
}

/* ---- the fast way ---- */

static void fast_done(void *arg, const struct orbit_reply *r)
{
	struct batch *b = arg;
	struct reaper *rp = b->rp;
	unsigned bad =
		r->rc == -ECANCELED && r->failed >= 0 ? (unsigned)r->failed / FAST_OPS : FAST_BATCH;

	for (unsigned i = 0; i < b->n; i++) {
		struct orphan *o = b->of[i];

		if (r->rc == 0) {
			mount_changed(rp->fs, o->ino);
			orphan_done(o, false);
		} else if (r->rc != -ECANCELED || bad >= b->n) {
			orphan_done(o, true);
		} else if (i != bad) {
			orphan_to(o, FAST);
		} else {
			o->small = false; /* not what we took it for: look */
			o->again = true;
			orphan_done(o, true);
		}
	}
	free(b);
	rp->nfast--;
	reaper_run(rp);
}

static void fast_put(struct txn_build *t, const struct orphan *o)
{
	struct orbit_id id = layout_inode_id(o->ino), locks = layout_locks_id(o->ino);

	txn_no_hold(t, &id);
	txn_slot_eq(t, &id, SLOT_NLINK, 0);
	/* No blocks: there are no bytes in any, and there have been none since it was seen to be
	 * small, for a cut would have been counted. */
	txn_slot_eq(t, &id, SLOT_BYTES, 0);
	txn_slot_eq(t, &id, SLOT_TAIL, 0); /* nor any that were not counted */
	txn_slot_eq(t, &id, SLOT_CUT, o->cut);
	txn_delete(t, &id);
	txn_delete(t, &locks); /* somebody may have died with some */
}

/* As many as one log has, of what waits. */
static void fast_send(struct reaper *rp)
{
	struct orphan *first = TAILQ_FIRST(&rp->fast), *o, *next;
	struct batch *b = mem_zalloc(sizeof(*b));
	struct txn_build t;

	b->rp = rp;
	txn_init(&t);
	for (o = first; o && b->n < FAST_BATCH; o = next) {
		next = TAILQ_NEXT(o, entry);
		if (o != first && !op_one_log(rp->fs, first->ino, o->ino))
			continue;
		fast_put(&t, o);
		orphan_to(o, BUSY);
		b->of[b->n++] = o;
	}
	rp->nfast++;
	mount_submit(rp->fs, NULL, 0, &t, fast_done, b);
}

/* ---- the slow way ---- */

static void slow_read(struct orphan *o);

static void slow_end(struct orphan *o, bool look_again)
{
	struct reaper *rp = o->fs->reaper;

	free(o->session);
	o->session = NULL;
	orphan_done(o, look_again);
	rp->nslow--;
	reaper_run(rp);
}

static void slow_deleted(void *arg, const struct orbit_reply *r)
{
	struct orphan *o = arg;

	if (r->rc == 0)
		mount_changed(o->fs, o->ino);
	/* a failed compare: somebody took a hold or gave it a name again; then it is not ours */
	slow_end(o, r->rc != 0);
}

static void slow_delete(struct orphan *o)
{
	struct orbit_id id = layout_inode_id(o->ino), locks = layout_locks_id(o->ino);
	struct txn_build t;

	txn_init(&t);
	txn_no_hold(&t, &id);
	txn_slot_eq(&t, &id, SLOT_NLINK, 0);
	txn_delete(&t, &id);
	txn_delete(&t, &locks);
	mount_submit(o->fs, NULL, 0, &t, slow_deleted, o);
}

static void slow_trimmed(void *arg, int rc, uint64_t removed)
{
	struct orphan *o = arg;

	(void)removed;
	mount_op_end(o->fs);
	if (rc)
		slow_end(o, true);
	else
		slow_delete(o);
}

static void slow_trim(struct orphan *o);

static void slow_finished(void *arg, int rc, const struct fs_attr *a)
{
	struct orphan *o = arg;

	mount_op_end(o->fs);
	if (rc || a->trim) {
		slow_end(o, true);
		return;
	}
	o->attr = *a;
	slow_trim(o);
}

static void slow_trim(struct orphan *o)
{
	const struct fs_attr *a = &o->attr;

	bool none = a->size <= LAYOUT_INLINE && !o->block_bytes && !a->trim && !a->tail;

	if (!S_ISREG(a->mode) || none) {
		slow_delete(o);
		return;
	}
	mount_op_begin(o->fs);
	if (a->trim) /* a cut that was not finished left blocks behind the end */
		truncate_finish(o->fs, a, slow_finished, o);
	else
		trim_blocks(o->fs, o->ino, 0, a->size, a->tail ? UINT64_MAX : o->block_bytes,
			UINT64_MAX, TRIM_SEEN, slow_trimmed, o);
}

/* ---- who holds it ---- */

static void slow_unheld(void *arg, const struct orbit_reply *r)
{
	struct orphan *o = arg;

	if (r->rc)
		slow_end(o, true);
	else
		slow_read(o);
}

/* All sessions were asked about: drops the holds of those that ended. */
static void slow_unhold(struct orphan *o)
{
	struct orbit_id id = layout_inode_id(o->ino);
	struct txn_build t;

	if (o->nended == 0) {
		slow_end(o, true);
		return;
	}
	txn_init(&t);
	for (unsigned i = 0; i < o->nended && i < TXN_OPS_MAX; i++)
		txn_unhold(&t, &id, o->session[i]);
	mount_submit(o->fs, NULL, 0, &t, slow_unheld, o);
}

static void slow_check(struct orphan *o);

static void slow_checked(void *arg, const struct orbit_reply *r)
{
	struct orphan *o = arg;

	if (r->rc == -ESTALE)
		o->session[o->nended++] = o->session[o->at];
	else if (r->rc) {
		slow_end(o, true);
		return;
	}
	o->at++;
	slow_check(o);
}

static void slow_check(struct orphan *o)
{
	struct mount_txn *m;

	if (o->at == o->nsessions) {
		slow_unhold(o);
		return;
	}
	m = mount_track(o->fs, NULL, slow_checked, o);
	mount_tracked(
		m, orbit_check_session(o->fs->client, o->session[o->at], mount_track_done, m));
}

/* The sessions of a TXN_HOLDS: 0 or -EIO. *mine: this mount is among them. */
static int parse_holds(struct orphan *o, const struct txn_result *res, bool *mine)
{
	struct cur c = cur_of(res->data, res->len);
	uint32_t n = cur_u32(&c), session, own = orbit_session(o->fs->client);

	*mine = false;
	if (!cur_ok(&c) || n > SESSIONS_MAX)
		return -EIO;
	free(o->session);
	o->session = mem_grow(NULL, n, sizeof(*o->session));
	o->nsessions = o->at = o->nended = 0;
	for (uint32_t i = 0; i < n; i++) {
		session = cur_u32(&c);
		if (session == own)
			*mine = true;
		else
			o->session[o->nsessions++] = session;
	}
	return cur_done(&c) ? 0 : -EIO;
}

static void slow_got(void *arg, const struct orbit_reply *r)
{
	struct orphan *o = arg;
	struct txn_result res;
	bool mine = false;
	int rc = r->rc;

	if (!rc)
		rc = op_attr(o->fs, r, o->get, o->ino, &o->attr);
	if (!rc && orbit_result(r, o->get, &res) == 0) {
		struct cur c = cur_of(res.data, res.len);

		o->block_bytes = txn_get_object(&c).slot[SLOT_BYTES];
	}
	if (rc == -ENOENT || (!rc && o->attr.nlink > 0)) {
		slow_end(o, false);
		return;
	}
	if (!rc)
		rc = orbit_result(r, o->holds, &res) ? -EIO : parse_holds(o, &res, &mine);
	if (rc || o->fs->reaper->abandoned)
		slow_end(o, rc != 0);
	else if (mine) /* the last close will kick */
		slow_end(o, false);
	else if (o->nsessions)
		slow_check(o);
	else
		slow_trim(o);
}

static void slow_read(struct orphan *o)
{
	struct orbit_id id = layout_inode_id(o->ino);
	struct txn_build t;

	txn_init(&t);
	o->get = txn_get(&t, &id);
	o->holds = txn_holds(&t, &id);
	mount_submit(o->fs, NULL, 0, &t, slow_got, o);
}

/* ---- searching ---- */

static void search_next(struct reaper *rp, uint64_t pause)
{
	if (!rp->stopping)
		env_timer_set(rp->fs->env, &rp->search, env_now(rp->fs->env) + pause);
}

/* 1 when the shard has more, 0, -EIO. */
static int search_parse(struct reaper *rp, const void *data, size_t len)
{
	struct cur c = cur_of(data, len);
	bool complete = cur_u8(&c) != 0;
	uint32_t n = cur_u32(&c);

	for (uint32_t i = 0; i < n && cur_ok(&c); i++) {
		uint64_t ino, block;
		struct orbit_id id;
		size_t klen, vlen;
		const void *key = cur_blob(&c, ORBIT_ID_LEN, &klen);

		cur_blob(&c, TXN_VALUE_MAX, &vlen);
		if (!cur_ok(&c) || klen != ORBIT_ID_LEN)
			return -EIO;
		memcpy(id.b, key, ORBIT_ID_LEN);
		memcpy(rp->after, key, ORBIT_ID_LEN);
		rp->after_len = ORBIT_ID_LEN;
		if (layout_kind_of(&id, &ino, &block) == LAYOUT_INODE && !orphan_find(rp, ino))
			queue(orphan_get(rp, ino));
	}
	if (!cur_ok(&c))
		return -EIO;
	return complete || n == 0 ? 0 : 1;
}

static void searched(void *arg, const struct orbit_reply *r)
{
	struct reaper *rp = arg;
	const struct ring_map *map = orbit_ring(rp->fs->client);
	int rc = r->rc;

	if (rp->stopping)
		return;
	if (!rc)
		rc = r->nparts == 1 ? search_parse(rp, r->part[0], r->part_len[0]) : -EIO;
	if (rc < 0)
		log_warn("mod=fs shard=%u rc=%s msg=\"cannot look for orphans\"",
			(unsigned)rp->shard, log_errno(rc));
	if (rc <= 0) {
		rp->shard++;
		rp->after_len = 0;
	}
	if (map && rp->shard < ring_nshards(map)) {
		search_next(rp, SEARCH_PAUSE);
		return;
	}
	rp->shard = 0;
	search_next(rp, SEARCH_AGAIN);
}

static void search_fire(struct env_timer *t)
{
	struct reaper *rp = container_of(t, struct reaper, search);
	struct mount_txn *m = mount_track(rp->fs, NULL, searched, rp);

	mount_tracked(m, orbit_list(rp->fs->client, KEY_ORPHAN, (uint16_t)rp->shard, rp->after,
				 rp->after_len, LIST_MAX, false, mount_track_done, m));
}

/* ---- the whole ---- */

static void reaper_run(struct reaper *rp)
{
	struct orphan *o;

	while (rp->abandoned && ((o = TAILQ_FIRST(&rp->fast)) || (o = TAILQ_FIRST(&rp->slow))))
		orphan_drop(o);
	while (!rp->abandoned && rp->nfast < FAST_MAX && !TAILQ_EMPTY(&rp->fast))
		fast_send(rp);
	while (!rp->abandoned && rp->nslow < SLOW_MAX && (o = TAILQ_FIRST(&rp->slow))) {
		orphan_to(o, BUSY);
		rp->nslow++;
		slow_read(o);
	}
	if (rp->counted && !rp->nfast && !rp->nslow && TAILQ_EMPTY(&rp->fast) &&
		TAILQ_EMPTY(&rp->slow)) {
		rp->counted = false;
		mount_op_end(rp->fs);
	}
}

static void gather_fire(struct env_timer *t)
{
	reaper_run(container_of(t, struct reaper, gather));
}

static void look_again_fire(struct env_timer *t)
{
	struct reaper *rp = container_of(t, struct reaper, look_again);
	struct orphan *o;

	while ((o = TAILQ_FIRST(&rp->held)))
		orphan_to(o, SLOW);
	reaper_run(rp);
}

void reaper_start(struct fs *fs)
{
	struct reaper *rp = mem_zalloc(sizeof(*rp));

	rp->fs = fs;
	TAILQ_INIT(&rp->fast);
	TAILQ_INIT(&rp->slow);
	TAILQ_INIT(&rp->held);
	rp->gather.fire = gather_fire;
	rp->look_again.fire = look_again_fire;
	rp->search.fire = search_fire;
	fs->reaper = rp;
	search_next(rp, SEARCH_FIRST);
}

void reaper_stop(struct fs *fs)
{
	struct reaper *rp = fs->reaper;

	if (!rp || rp->stopping)
		return;
	rp->stopping = true;
	env_timer_clear(fs->env, &rp->search);
	env_timer_clear(fs->env, &rp->look_again);
	count(rp);
	reaper_run(rp);
}

void reaper_abandon(struct fs *fs)
{
	struct reaper *rp = fs->reaper;

	if (!rp)
		return;
	rp->abandoned = true;
	reaper_stop(fs);
	reaper_run(rp);
}

void reaper_free(struct fs *fs)
{
	struct reaper *rp = fs->reaper;
	struct orphan *o, *next;

	if (!rp)
		return;
	env_timer_clear(fs->env, &rp->search);
	env_timer_clear(fs->env, &rp->look_again);
	env_timer_clear(fs->env, &rp->gather);
	HASH_ITER (hh, rp->orphans, o, next)
		orphan_drop(o);
	free(rp);
	fs->reaper = NULL;
}

void reaper_kick(struct fs *fs, uint64_t ino)
{
	struct reaper *rp = fs->reaper;

	if (rp && !rp->abandoned)
		queue(orphan_get(rp, ino));
}

void reaper_expect(struct fs *fs, const struct fs_attr *a)
{
	struct reaper *rp = fs->reaper;
	struct orphan *o;

	if (!rp || rp->abandoned)
		return;
	o = orphan_get(rp, a->ino);
	o->cut = a->cut;
	o->small = a->size <= LAYOUT_INLINE && a->trim == 0 && a->tail == 0;
}

void reaper_orphan(struct fs *fs, const struct fs_attr *a)
{
	reaper_expect(fs, a);
	reaper_kick(fs, a->ino);
}
