/*
 * Records of inodes, and the cache as a whole: made, stopped, freed.
 *
 * A record is there while it is referenced (open files), dirty, or awaited. Of files that are not
 * open any more, a small table remembers how they looked last, which tells at the next open whether
 * what the kernel has in its page cache is still good.
 */
#include "fs/cache/data.h"

#include <errno.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "fs/cache/data_impl.h"

static void run_soon(struct env_task *t)
{
	struct data_cache *dc = container_of(t, struct data_cache, task);
	struct data_wait *w, *last = TAILQ_LAST(&dc->soon, data_waits);

	while ((w = TAILQ_FIRST(&dc->soon))) {
		bool end = w == last;

		TAILQ_REMOVE(&dc->soon, w, entry);
		w->state = WAIT_NONE;
		w->done(w, 0);
		if (end)
			break;
	}
	if (!TAILQ_EMPTY(&dc->soon))
		env_post(dc->env, &dc->task);
	stop_check(dc);
}

void soon(struct data_cache *dc, struct data_wait *w)
{
	w->state = WAIT_SOON;
	TAILQ_INSERT_TAIL(&dc->soon, w, entry);
	env_post(dc->env, &dc->task);
}

struct data_cache *data_cache_new(
	struct env *e, struct orbit_client *c, const struct data_config *cfg)
{
	struct data_cache *dc = mem_zalloc(sizeof(*dc));

	dc->env = e;
	dc->client = c;
	dc->cfg = *cfg;
	TAILQ_INIT(&dc->dirty);
	TAILQ_INIT(&dc->ready);
	TAILQ_INIT(&dc->space);
	TAILQ_INIT(&dc->reads);
	TAILQ_INIT(&dc->soon);
	TAILQ_INIT(&dc->lru);
	dc->timer.fire = flush_timer;
	dc->task.run = run_soon;
	dc->seen = mem_zalloc(SEEN_MAX * sizeof(*dc->seen));
	return dc;
}

static void inode_destroy(struct data_inode *di)
{
	struct unit *u;

	chunk_drop_range(di, 0, UINT64_MAX);
	while ((u = RB_MIN(units, &di->units)))
		unit_free(u);
	HASH_DEL(di->dc->inodes, di);
	free(di);
}

void data_cache_free(struct data_cache *dc)
{
	struct data_inode *di, *next;

	if (!dc)
		return;
	HASH_ITER (hh, dc->inodes, di, next)
		inode_destroy(di);
	env_timer_clear(dc->env, &dc->timer);
	env_timer_clear(dc->env, &dc->stop_timer);
	env_unpost(dc->env, &dc->task);
	pool_free(dc);
	free(dc->seen);
	free(dc);
}

/* ---- stopping ---- */

static bool all_clean(const struct data_cache *dc)
{
	const struct data_inode *di;

	for (di = dc->inodes; di; di = di->hh.next) {
		if (!inode_clean(di))
			return false;
	}
	return true;
}

void stop_check(struct data_cache *dc)
{
	void (*stopped)(void *arg, int rc) = dc->stopped;

	if (!stopped || dc->landing || !TAILQ_EMPTY(&dc->soon) || !all_clean(dc))
		return;
	dc->stopped = NULL;
	env_timer_clear(dc->env, &dc->stop_timer);
	env_timer_clear(dc->env, &dc->timer);
	stopped(dc->stopped_arg, dc->cancelling ? -ETIMEDOUT : dc->first_error);
}

/* Nothing is waited for any longer: what is in flight is cancelled, what is dirty is dropped. */
static void stop_late(struct env_timer *t)
{
	struct data_cache *dc = container_of(t, struct data_cache, stop_timer);
	struct data_inode *di, *next;
	struct unit *u;

	dc->cancelling = true;
	for (di = dc->inodes; di; di = di->hh.next) {
		struct chunk *c;

		if (di->handle)
			orbit_cancel(dc->client, di->handle, false);
		if (di->tail_busy)
			orbit_cancel(dc->client, di->tail_handle, false);
		RB_FOREACH (u, units, &di->units) {
			if (u->in_flight)
				orbit_cancel(dc->client, u->handle, false);
		}
		RB_FOREACH (c, chunks, &di->chunks) {
			if (c->pending)
				orbit_cancel(dc->client, c->handle, false);
		}
	}
	data_read_stop(dc);
	HASH_ITER (hh, dc->inodes, di, next) {
		if (di->state == ROUND_NONE && !inode_clean(di))
			round_start(di);
	}
	stop_check(dc);
}

void data_cache_stop(
	struct data_cache *dc, uint64_t timeout, void (*done)(void *arg, int rc), void *arg)
{
	struct data_inode *di, *next;

	dc->stopped = done;
	dc->stopped_arg = arg;
	dc->stop_timer.fire = stop_late;
	env_timer_set(dc->env, &dc->stop_timer, env_now(dc->env) + timeout);
	HASH_ITER (hh, dc->inodes, di, next) {
		if (!inode_clean(di))
			round_start(di);
	}
	env_post(dc->env, &dc->task); /* done() comes from there when there was nothing to do */
}

/* ---- records ---- */

struct data_inode *inode_find(const struct data_cache *dc, uint64_t ino)
{
	struct data_inode *di;

	HASH_FIND(hh, dc->inodes, &ino, sizeof(ino), di);
	return di;
}

struct data_inode *data_get(struct data_cache *dc, const struct fs_attr *a)
{
	struct data_inode *di = inode_find(dc, a->ino);

	if (di) {
		di->refs++;
		inode_note(di, a);
		return di;
	}
	di = mem_zalloc(sizeof(*di));
	di->dc = dc;
	di->ino = a->ino;
	di->refs = 1;
	di->a = *a;
	di->a_time = env_now(dc->env);
	di->cut = a->cut;
	RB_INIT(&di->units);
	RB_INIT(&di->chunks);
	TAILQ_INIT(&di->waits);
	TAILQ_INIT(&di->next);
	TAILQ_INIT(&di->over);
	HASH_ADD(hh, dc->inodes, ino, sizeof(di->ino), di);
	return di;
}

void data_put(struct data_inode *di)
{
	di->refs--;
	inode_rest(di);
}

void data_set_policy(struct data_inode *di, const struct orbit_policy *p)
{
	di->has_policy = p != NULL;
	if (p)
		di->policy = *p;
}

const struct orbit_policy *data_policy(const struct data_inode *di)
{
	return di->has_policy ? &di->policy : NULL;
}

uint64_t data_ino(const struct data_inode *di)
{
	return di->ino;
}

uint64_t data_size(const struct data_inode *di)
{
	return di->size > di->a.size ? di->size : di->a.size;
}

const struct fs_attr *data_attr(const struct data_inode *di)
{
	return &di->a;
}

void data_note(struct data_inode *di, const struct fs_attr *a)
{
	inode_note(di, a);
}

void data_known(struct data_cache *dc, const struct fs_attr *a)
{
	struct data_inode *di = dc ? inode_find(dc, a->ino) : NULL;

	if (di)
		inode_note(di, a);
}

uint64_t data_attr_age(const struct data_inode *di)
{
	return env_now(di->dc->env) - di->a_time;
}

void data_drop(struct data_inode *di, uint64_t from)
{
	chunk_drop_range(di, from, UINT64_MAX);
}

uint64_t data_errors(struct data_inode *di, int *last)
{
	if (last) {
		*last = di->error;
		di->told = true;
	}
	return di->errors;
}

bool data_dirty(const struct data_cache *dc, uint64_t ino)
{
	const struct data_inode *di = inode_find(dc, ino);

	return di && !inode_clean(di);
}

bool data_forget_times(struct data_cache *dc, uint64_t ino, bool atime, bool mtime, bool mode)
{
	struct data_inode *di = inode_find(dc, ino);

	if (!di)
		return true;
	if (mtime && di->state != ROUND_NONE && di->times)
		return false;
	if (mode && di->kill_priv)
		return false;
	if (mtime)
		di->times = false;
	if (atime)
		di->atime = 0;
	return true;
}

/* ---- what is known ---- */

void inode_note(struct data_inode *di, const struct fs_attr *a)
{
	if (a->version < di->a.version)
		return; /* an answer that was overtaken */
	if (a->mtime != di->a.mtime || a->size != di->a.size || a->cut != di->a.cut)
		chunk_drop_range(di, 0, UINT64_MAX);
	di->a = *a;
	di->a_time = env_now(di->dc->env);
	if (RB_EMPTY(&di->units) && di->state == ROUND_NONE && a->trim == 0)
		di->cut = a->cut;
}

void data_overlay(struct data_cache *dc, struct fs_attr *a)
{
	struct data_inode *di;

	if (!dc->inodes)
		return;
	di = inode_find(dc, a->ino);
	if (!di)
		return;
	inode_note(di, a);
	if (a->version < di->a.version) {
		a->size = di->a.size;
		a->mtime = di->a.mtime;
		a->ctime = di->a.ctime;
	}
	if (di->size > a->size)
		a->size = di->size;
	if (di->times) {
		a->mtime = di->mtime;
		a->ctime = di->mtime > a->ctime ? di->mtime : a->ctime;
	}
	if (di->atime && di->atime > a->atime)
		a->atime = di->atime;
	if (di->kill_priv)
		a->mode = data_without_priv(a->mode);
	if (di->gained > 0)
		a->bytes += (uint64_t)di->gained;
}

void data_touch(struct data_inode *di, int64_t atime)
{
	di->atime = atime;
}

int64_t data_touched(const struct data_inode *di)
{
	return di->atime;
}

static struct seen *seen_at(struct data_cache *dc, uint64_t ino)
{
	return &dc->seen[(ino * UINT64_C(0x9e3779b97f4a7c15)) >> 50];
}

static void seen_note(struct data_cache *dc, const struct fs_attr *a)
{
	*seen_at(dc, a->ino) = (struct seen){.ino = a->ino,
		.size = a->size,
		.cut = a->cut,
		.mtime = a->mtime,
		.ctime = a->ctime};
}

static bool is_seen(struct data_cache *dc, const struct fs_attr *a)
{
	const struct seen *s = seen_at(dc, a->ino);

	/* the time of change can be put back, that of status change can't */
	return s->ino == a->ino && s->size == a->size && s->cut == a->cut && s->mtime == a->mtime &&
	       s->ctime == a->ctime;
}

bool data_seen(struct data_cache *dc, const struct fs_attr *a)
{
	bool same = is_seen(dc, a);

	seen_note(dc, a);
	return same;
}

void data_moved(struct data_cache *dc, const struct fs_attr *before, const struct fs_attr *after)
{
	if (is_seen(dc, before))
		seen_note(dc, after);
}

void data_cut(struct data_cache *dc, const struct fs_attr *a)
{
	struct data_inode *di = inode_find(dc, a->ino);

	if (!di)
		return;
	chunk_drop_range(di, 0, UINT64_MAX);
	inode_note(di, a);
}

bool data_maybe_seen(struct data_cache *dc, uint64_t ino)
{
	return seen_at(dc, ino)->ino == ino;
}

/* ---- what is stalled ---- */

struct stall_ask {
	struct data_inode *di;
	bool stalled;
};

static void is_stalled(void *arg, const struct orbit_stalled *s)
{
	struct stall_ask *k = arg;
	struct unit *u;

	if (s->handle == k->di->handle || (k->di->tail_busy && s->handle == k->di->tail_handle))
		k->stalled = true;
	RB_FOREACH (u, units, &k->di->units) {
		if (u->in_flight && u->handle == s->handle)
			k->stalled = true;
	}
}

bool data_stalled(struct data_inode *di)
{
	struct stall_ask k = {.di = di};

	orbit_each(di->dc->client, true, is_stalled, &k);
	return k.stalled;
}
