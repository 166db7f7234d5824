/*
 * On whose word inodes are remembered: recalls, and leases that file data is read and written
 * under.
 */
#include "fs/cache/inode_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

#define BRIEF (200 * ENV_MS) /* a lease that was held for less is contended */
#define SHY (30 * ENV_SEC)
#define AGAIN (2 * ENV_MS)
#define HANG (5 * ENV_MS) /* a drop that takes longer may wait for who waits for us */
#define BACKOFF_MIN (50 * ENV_MS)
#define BACKOFF_MAX (3200 * ENV_MS)

/* ---- the kernel forgets ---- */

static void drop_names(struct inode *in, struct buf *names)
{
	uint64_t now = env_now(in->ic->env);
	struct dentry *d, *next;
	const char *name;
	size_t len;

	HASH_ITER (hh, in->entries, d, next) {
		if (d->given_until <= now || layout_dirent_name(d->key, d->klen, &name, &len))
			continue;
		if (in->lapse_at < d->given_until)
			in->lapse_at = d->given_until;
		buf_bytes(names, name, len);
		buf_u8(names, 0);
	}
}

static void lapsed(struct env_timer *t)
{
	struct inode *in = container_of(t, struct inode, lapse);

	/* The kernel has nothing left; let it hang if it likes. Somebody holds the directory's
	 * mutex and waits, perhaps for us: who works in it from several mounts is better off
	 * without. */
	in->shy_until = env_now(in->ic->env) + SHY;
	if (in->drop) {
		in->drop->of = NULL;
		in->drop = NULL;
	}
	recall_step(in);
}

/* The kernel is not waited for any longer: a page is locked for somebody who needs more than is
 * held, or is not written back before a change of size is over. What it may not have got to goes
 * when nobody waits. */
static void drop_leave(struct inode *in)
{
	if (in->pages_end < in->drop->end)
		in->pages_end = in->drop->end;
	in->redrop = true;
	in->pages = in->covering = in->late = false;
	in->drop->of = NULL;
	in->drop = NULL;
}

/* Does the kernel wait for somebody who waits here? */
static bool awaited(const struct inode *in)
{
	return in->cuts || !TAILQ_EMPTY(&in->waits);
}

static void redrop(struct inode *in)
{
	if (!in->redrop || awaited(in))
		return;
	in->redrop = false;
	in->pages = true;
	drop_begin(in, false);
}

/* The most that those who wait may have locked. */
static uint64_t locked_end(const struct inode *in)
{
	const struct inode_wait *w;
	uint64_t end = 0;

	TAILQ_FOREACH (w, &in->waits, entry) {
		if (end < w->end)
			end = w->end;
	}
	return end;
}

bool drop_begin(struct inode *in, bool wait)
{
	struct inode_cache *ic = in->ic;
	uint64_t now = env_now(ic->env), locked;
	struct inode_drop *d;

	if (!ic->drop) {
		in->pages = false;
		return false;
	}
	d = mem_zalloc(sizeof(*d));
	d->ic = ic;
	d->ino = in->ino;
	d->attr = in->attr_until > now || in->acl;
	d->pages = in->pages;
	locked = locked_end(in);
	d->end = in->pages_end > locked ? in->pages_end : locked;
	in->lapse_at = 0;
	drop_names(in, &d->names);
	if (!d->attr && !d->pages && !d->names.len) {
		buf_fini(&d->names);
		free(d);
		return false;
	}
	in->pages = in->acl = false;
	in->pages_end = 0;
	in->attr_until = 0;
	ic->ndrops++;
	ic->counters.drops++;
	if (wait) {
		d->of = in;
		in->drop = d;
		in->covering = d->pages;
		/* pages do not lapse; attributes are dropped without waiting for anything */
		if (in->lapse_at && !d->pages) {
			in->lapse.fire = lapsed;
			env_timer_set(ic->env, &in->lapse, in->lapse_at);
		}
	}
	ic->drop(ic->drop_arg, d);
	return true;
}

void inode_dropped(struct inode_drop *d)
{
	struct inode_cache *ic = d->ic;
	struct inode *in = d->of;
	struct dentry *e, *next;

	ic->ndrops--;
	buf_fini(&d->names);
	free(d);
	if (ic->ending && !ic->ndrops) {
		free(ic);
		return;
	}
	if (!in)
		return;
	in->drop = NULL;
	env_timer_clear(ic->env, &in->lapse);
	env_timer_clear(ic->env, &in->hang);
	HASH_ITER (hh, in->entries, e, next)
		e->given_until = 0;
	recall_step(in);
}

/* ---- recalls ---- */

/* A lease that did not last is not worth having for a while. */
static void contend(struct inode *in)
{
	uint64_t now = env_now(in->ic->env);

	if (in->since && now - in->granted_at < BRIEF) {
		in->backoff = in->backoff ? 2 * in->backoff : BACKOFF_MIN;
		if (in->backoff > BACKOFF_MAX)
			in->backoff = BACKOFF_MAX;
		in->contended_until = now + in->backoff;
	} else {
		in->backoff = 0;
	}
}

static void ask(struct inode *in);

static void recall_end(struct inode *in)
{
	struct orbit_id id = layout_inode_id(in->ino);

	in->recall = RECALL_NONE;
	in->flushed = false;
	env_timer_clear(in->ic->env, &in->lapse);
	env_timer_clear(in->ic->env, &in->hang);
	if (in->keep == ORBIT_LEASE_NONE) {
		in->since = 0;
		inode_forget(in);
	}
	if (in->mode > in->keep)
		in->mode = in->keep;
	orbit_return(in->ic->client, &id, in->keep);
	ask(in);
	inode_rest_in(in);
}

static void wait_end(struct inode *in, struct inode_wait *w, int rc, const struct fs_attr *a)
{
	TAILQ_REMOVE(&in->waits, w, entry);
	w->waiting = false;
	if (!rc) {
		in->uses++;
		in->flushed = false;
	}
	w->done(w, rc, a);
}

/* Those for whom what is held is enough use it. True: there were some. */
static bool admit(struct inode *in)
{
	enum orbit_lease lease = inode_held(in);
	struct inode_wait *w, *next;
	bool any = false;

	in->pins++;
	for (w = TAILQ_FIRST(&in->waits); w; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (w->mode <= lease) {
			wait_end(in, w, 0, NULL);
			any = true;
		}
	}
	in->pins--;
	return any;
}

/* The kernel, which is to forget, has not come back, and somebody waits: it may be for him. */
static void hangs(struct env_timer *t)
{
	struct inode *in = container_of(t, struct inode, hang);

	if (!in->drop)
		return;
	in->pins++;
	in->late = true;
	admit(in);
	if (in->drop && awaited(in))
		drop_leave(in);
	recall_step(in);
	in->pins--;
	inode_rest_in(in);
}

static void hang_watch(struct inode *in)
{
	if (!in->drop || !in->drop->pages || in->hang.armed || !awaited(in))
		return;
	in->hang.fire = hangs;
	env_timer_set(in->ic->env, &in->hang, env_now(in->ic->env) + HANG);
}

void recall_step(struct inode *in)
{
	struct inode_cache *ic = in->ic;

	if (!in->recall || in->stepping)
		return;
	in->stepping = true;
	while (in->recall && !in->uses && !in->drop) {
		if (in->covering && !in->late)
			in->pages = false;
		in->covering = in->late = false;
		if (in->recall == RECALL_FLUSH)
			break; /* inode_flushed() */
		if (!in->flushed && ic->cfg.flush) {
			in->flushed = true;
			in->recall = RECALL_FLUSH;
			ic->cfg.flush(ic->cfg.ctx, in->ino, in->keep);
			continue;
		}
		if (in->keep == ORBIT_LEASE_NONE) {
			in->recall = RECALL_DROP;
			if (drop_begin(in, true)) {
				if (in->covering && in->drop)
					admit(in);
				hang_watch(in);
				continue;
			}
		}
		in->stepping = false;
		recall_end(in);
		return;
	}
	in->stepping = false;
}

void inode_flushed(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (!in || in->recall != RECALL_FLUSH)
		return;
	in->recall = RECALL_USES;
	recall_step(in);
}

void recall_begin(struct inode *in, enum orbit_lease keep)
{
	if (in->recall && keep < in->keep)
		in->flushed = false; /* there is more to be given up */
	in->keep = in->recall && in->keep < keep ? in->keep : keep;
	if (!in->recall)
		in->recall = RECALL_USES;
	if (in->keep == ORBIT_LEASE_NONE) {
		in->since = 0;
		inode_forget(in);
	}
	recall_step(in);
}

static void on_recall(void *arg, const struct orbit_id *id, enum orbit_lease keep)
{
	struct inode_cache *ic = arg;
	struct inode *in;
	uint64_t ino, block;

	if (layout_kind_of(id, &ino, &block) != LAYOUT_INODE) {
		if (ic->cfg.other)
			ic->cfg.other(ic->cfg.ctx, id, keep, false);
		else
			orbit_return(ic->client, id, ORBIT_LEASE_NONE);
		return;
	}
	ic->counters.recalls++;
	in = inode_record(ic, ino);
	if (!in) {
		orbit_return(ic->client, id, ORBIT_LEASE_NONE);
		return;
	}
	in->recalled = true;
	if (keep == ORBIT_LEASE_NONE)
		contend(in);
	recall_begin(in, keep);
}

static void on_lost(void *arg, const struct orbit_id *id)
{
	struct inode_cache *ic = arg;
	struct inode *in;
	uint64_t ino, block;

	if (layout_kind_of(id, &ino, &block) != LAYOUT_INODE) {
		if (ic->cfg.other)
			ic->cfg.other(ic->cfg.ctx, id, ORBIT_LEASE_NONE, true);
		return;
	}
	in = inode_record(ic, ino);
	if (in) {
		in->mode = ORBIT_LEASE_NONE;
		in->since = 0;
		inode_forget(in);
		if (in->drop)
			in->drop->of = NULL;
		in->drop = NULL;
		in->covering = in->late = in->flushed = false;
		env_timer_clear(ic->env, &in->lapse);
		env_timer_clear(ic->env, &in->hang);
		in->recall = RECALL_NONE;
		in->outlived = in->uses > 0;
		drop_begin(in, false);
		ask(in);
	}
	if (ic->cfg.lost)
		ic->cfg.lost(ic->cfg.ctx, ino);
	in = inode_record(ic, ino);
	if (in)
		inode_rest_in(in);
}

/* Entries and attributes lapse by themselves; pages do not. */
static void on_valid(void *arg, bool valid)
{
	struct inode_cache *ic = arg;
	struct inode *in, *next;

	if (valid)
		return;
	HASH_ITER (hh, ic->inodes, in, next) {
		if (in->pages)
			drop_begin(in, false);
	}
}

static void on_mapped(void *arg)
{
	struct inode_cache *ic = arg;

	if (ic->cfg.mapped)
		ic->cfg.mapped(ic->cfg.ctx);
}

const struct orbit_lease_ops inode_lease_ops = {
	.recall = on_recall, .lost = on_lost, .valid = on_valid, .mapped = on_mapped};

/* ---- leases for data ---- */

/* What the reply says of the inode. */
static int asked_attr(const struct inode *in, const struct orbit_reply *r, struct fs_attr *a)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;

	if (r->rc)
		return r->rc == -ECANCELED ? -ESTALE : r->rc;
	if (orbit_result(r, 1, &res) || !res.present || res.len < TXN_OBJECT_LEN)
		return -EIO;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	return layout_attr(in->ino, &o, a) ? -EIO : 0;
}

/* Those who waited have it, if it is what they need; or all of them @rc. */
static void granted(struct inode *in, const struct orbit_reply *r, int rc, const struct fs_attr *a)
{
	struct inode_cache *ic = in->ic;
	struct orbit_id id = layout_inode_id(in->ino);
	enum orbit_lease lease = rc ? ORBIT_LEASE_NONE : orbit_covered(ic->client, r, &id, NULL);
	struct inode_wait *w, *next;

	if (lease)
		inode_granted(in, lease);
	if (lease && !in->changing) {
		in->known = true;
		in->a = *a;
	}
	in->late |= in->covering;
	/* it may go again at once: those for whom it came have it until they are done */
	for (w = TAILQ_FIRST(&in->waits); w; w = next) {
		next = TAILQ_NEXT(w, entry);
		if (rc || w->mode <= lease)
			wait_end(in, w, rc, rc ? NULL : a);
	}
	if (rc)
		recall_step(in);
	if (rc || lease >= in->asked)
		ask(in);
	else if (!TAILQ_EMPTY(&in->waits)) /* somebody was before us */
		env_timer_set(ic->env, &in->again, env_now(ic->env) + AGAIN);
}

static void asked(void *arg, const struct orbit_reply *r)
{
	struct inode_ask *k = arg;
	struct inode *in = k->in;
	bool nobody = k->cancelled && r->rc == -EINTR;
	struct fs_attr a;
	int rc;

	free(k);
	if (!in)
		return;
	in->asking = NULL;
	in->pins++;
	if (nobody) { /* who waits now came later */
		ask(in);
	} else {
		rc = asked_attr(in, r, &a);
		granted(in, r, rc, &a);
	}
	in->pins--;
	redrop(in);
	inode_rest_in(in);
}
static void ask_again(struct env_timer *t)
{
	struct inode *in = container_of(t, struct inode, again);
	struct inode_wait *w;

	in->pins++;
	while (in->ic->stopping && (w = TAILQ_FIRST(&in->waits)))
		wait_end(in, w, -EINTR, NULL);
	ask(in);
	in->pins--;
	redrop(in);
	inode_rest_in(in);
}

/* Asks for what those who wait need. */
static void ask(struct inode *in)
{
	struct orbit_id id = layout_inode_id(in->ino);
	const struct orbit_policy *policy = NULL;
	struct inode_wait *w;
	struct txn_build t;

	in->again.fire = ask_again;
	if (in->ic->stopping && !TAILQ_EMPTY(&in->waits) && !in->again.armed) {
		env_timer_set(in->ic->env, &in->again, env_now(in->ic->env));
		return;
	}
	if (in->asking || in->recall || in->again.armed || TAILQ_EMPTY(&in->waits))
		return;
	in->asked = ORBIT_LEASE_SHARED;
	TAILQ_FOREACH (w, &in->waits, entry) {
		if (w->mode > in->asked)
			in->asked = w->mode;
		policy = w->policy;
	}
	txn_init(&t);
	txn_exists(&t, &id);
	txn_get(&t, &id);
	txn_lease(&t, &id, in->asked, false);
	in->asking = mem_zalloc(sizeof(*in->asking));
	in->asking->in = in;
	in->asking->handle = orbit_submit(in->ic->client, &t, policy, asked, in->asking);
}

bool inode_try(struct inode_cache *ic, uint64_t ino, enum orbit_lease mode)
{
	struct inode *in = inode_record_get(ic, ino);

	/* who came first goes first */
	if (in->recall ? !in->drop || !in->late : !TAILQ_EMPTY(&in->waits))
		return false;
	/* A lease that came with a reply of which we made nothing (a guess that proved wrong) does
	 * not say that what we know of the file is still so. */
	if (inode_held(in) < mode || (!in->recall && !in->since))
		return false;
	in->uses++;
	in->flushed = false;
	return true;
}

bool inode_use(struct inode_cache *ic, struct inode_wait *w)
{
	struct inode *in;

	w->waiting = false;
	if (inode_try(ic, w->ino, w->mode))
		return true;
	in = inode_record(ic, w->ino);
	w->waiting = true;
	TAILQ_INSERT_TAIL(&in->waits, w, entry);
	hang_watch(in);
	ask(in);
	return false;
}

void inode_unuse(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (!in || !in->uses)
		return;
	if (!--in->uses)
		in->outlived = false;
	redrop(in);
	recall_step(in);
	in = inode_record(ic, ino);
	if (in)
		inode_rest_in(in);
}

void inode_cut_begin(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record_get(ic, ino);

	in->cuts++;
	hang_watch(in);
}

void inode_cut_end(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	in->cuts--;
	redrop(in);
	inode_rest_in(in);
}

void inode_wait_cancel(struct inode_cache *ic, struct inode_wait *w)
{
	struct inode *in = inode_record(ic, w->ino);

	if (!w->waiting)
		return;
	w->waiting = false;
	TAILQ_REMOVE(&in->waits, w, entry);
	if (TAILQ_EMPTY(&in->waits) && in->asking) {
		in->asking->cancelled = true;
		orbit_cancel(ic->client, in->asking->handle, false);
	}
	redrop(in);
	inode_rest_in(in);
}

void inode_cache_stop(struct inode_cache *ic)
{
	struct inode *in, *next;

	ic->stopping = true;
	HASH_ITER (hh, ic->inodes, in, next) {
		if (in->asking)
			orbit_cancel(ic->client, in->asking->handle, false);
		ask(in); /* ends the waiting, soon */
	}
}

struct stall_ask {
	orbit_handle handle;
	bool stalled;
};

static void is_stalled(void *arg, const struct orbit_stalled *s)
{
	struct stall_ask *k = arg;

	k->stalled |= s->handle == k->handle;
}

bool inode_wait_stalled(struct inode_cache *ic, const struct inode_wait *w)
{
	struct inode *in = inode_record(ic, w->ino);
	struct stall_ask k = {.handle = in && in->asking ? in->asking->handle : 0};

	if (k.handle)
		orbit_each(ic->client, true, is_stalled, &k);
	return k.stalled;
}

enum orbit_lease inode_lease(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (!in || (in->recall && in->recall != RECALL_DROP))
		return ORBIT_LEASE_NONE;
	return inode_held(in);
}
