/*
 * What a mount remembers of inodes: attributes and entries, and what the kernel was given of them.
 *
 * A read that comes back is remembered when
 *   - its reply was covered by a lease, or the lease was held when it was submitted and ever since,
 *   - and no change of ours to that inode was under way meanwhile.
 * (A mark is the clock; stamps by hash of inode tell of changes.)
 */
#include "fs/cache/inode_impl.h"

#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"

#define ENTRY_MIN (20 * ENV_MS) /* that the kernel keeps one */

/* ---- records ---- */

struct inode *inode_record(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in;

	HASH_FIND(hh, ic->inodes, &ino, sizeof(ino), in);
	return in;
}

struct inode *inode_record_get(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (in)
		return in;
	in = mem_zalloc(sizeof(*in));
	in->ic = ic;
	in->ino = ino;
	TAILQ_INIT(&in->waits);
	HASH_ADD(hh, ic->inodes, ino, sizeof(in->ino), in);
	TAILQ_INSERT_TAIL(&ic->lru, in, lru);
	ic->counters.inodes++;
	return in;
}

static void dentry_free(struct inode *in, struct dentry *d)
{
	HASH_DEL(in->entries, d);
	in->ic->nentries--;
	free(d);
}

static void inode_free(struct inode *in)
{
	struct inode_cache *ic = in->ic;
	struct dentry *d, *next;

	HASH_ITER (hh, in->entries, d, next)
		dentry_free(in, d);
	if (in->drop)
		in->drop->of = NULL;
	if (in->asking)
		in->asking->in = NULL;
	env_timer_clear(ic->env, &in->lapse);
	env_timer_clear(ic->env, &in->hang);
	env_timer_clear(ic->env, &in->again);
	HASH_DEL(ic->inodes, in);
	TAILQ_REMOVE(&ic->lru, in, lru);
	ic->counters.inodes--;
	free(in);
}

void inode_forget(struct inode *in)
{
	uint64_t now = env_now(in->ic->env);
	struct dentry *d, *next;

	in->known = in->no_caps = in->lists = false;
	HASH_ITER (hh, in->entries, d, next) {
		d->known = false;
		if (d->given_until <= now)
			dentry_free(in, d);
	}
}

static bool needed(const struct inode *in)
{
	return in->uses || in->changing || in->asking || in->recall || in->redrop || in->pins ||
	       in->cuts || !TAILQ_EMPTY(&in->waits);
}

void inode_rest_in(struct inode *in)
{
	struct orbit_id id = layout_inode_id(in->ino);

	if (needed(in) || in->known || in->entries || in->pages ||
		in->attr_until > env_now(in->ic->env) || in->backoff ||
		orbit_lease_held(in->ic->client, &id) != ORBIT_LEASE_NONE)
		return;
	inode_free(in);
}

void inode_trim(struct inode_cache *ic)
{
	unsigned most = 16; /* of those that cannot go, or not at once */
	uint64_t were;
	struct inode *in;

	while (most && (in = TAILQ_FIRST(&ic->lru))) {
		were = ic->counters.inodes;
		if (were <= ic->cfg.inodes_max && ic->nentries <= ic->cfg.entries_max)
			return;
		TAILQ_REMOVE(&ic->lru, in, lru);
		TAILQ_INSERT_TAIL(&ic->lru, in, lru);
		if (!needed(in)) {
			in->backoff = 0; /* nothing to keep a record for */
			recall_begin(in, ORBIT_LEASE_NONE);
		}
		most -= ic->counters.inodes >= were;
	}
}

static void touch(struct inode *in)
{
	TAILQ_REMOVE(&in->ic->lru, in, lru);
	TAILQ_INSERT_TAIL(&in->ic->lru, in, lru);
}

/* ---- life ---- */

struct inode_cache *inode_cache_new(
	struct env *e, struct orbit_client *c, const struct inode_cache_config *cfg)
{
	struct inode_cache *ic = mem_zalloc(sizeof(*ic));

	ic->env = e;
	ic->client = c;
	ic->cfg = *cfg;
	if (!ic->cfg.inodes_max)
		ic->cfg.inodes_max = 128u << 10;
	if (!ic->cfg.entries_max)
		ic->cfg.entries_max = 1u << 20;
	ic->clock = 1;
	TAILQ_INIT(&ic->lru);
	orbit_leases(c, &inode_lease_ops, ic);
	return ic;
}

void inode_cache_free(struct inode_cache *ic)
{
	struct inode *in, *next;

	if (!ic)
		return;
	orbit_leases(ic->client, NULL, NULL);
	HASH_ITER (hh, ic->inodes, in, next) {
		struct orbit_id id = layout_inode_id(in->ino);

		orbit_return(ic->client, &id, ORBIT_LEASE_NONE);
		inode_free(in);
	}
	if (ic->ndrops) { /* the last of them frees it */
		ic->ending = true;
		return;
	}
	free(ic);
}

void inode_counters(const struct inode_cache *ic, struct inode_counters *out)
{
	*out = ic->counters;
	out->entries = ic->nentries;
}

void inode_cache_kernel(
	struct inode_cache *ic, void (*drop)(void *arg, struct inode_drop *d), void *arg)
{
	ic->drop = drop;
	ic->drop_arg = arg;
}

/* ---- asking ---- */

enum orbit_lease inode_held(const struct inode *in)
{
	struct orbit_id id = layout_inode_id(in->ino);

	if (!in->recall)
		return orbit_lease_held(in->ic->client, &id);
	return orbit_valid_until(in->ic->client) > env_now(in->ic->env) ? in->mode
									: ORBIT_LEASE_NONE;
}

bool inode_good(const struct inode *in)
{
	if (in->recall && in->keep == ORBIT_LEASE_NONE)
		return false;
	return inode_held(in) != ORBIT_LEASE_NONE;
}

bool inode_attr(struct inode_cache *ic, uint64_t ino, struct fs_attr *a)
{
	struct inode *in = inode_record(ic, ino);

	if (!in || !in->known || in->changing || !inode_good(in)) {
		ic->counters.misses++;
		return false;
	}
	touch(in);
	ic->counters.hits++;
	*a = in->a;
	return true;
}

bool inode_no_caps(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	return in && in->no_caps && inode_good(in);
}

bool inode_no_acl(struct inode_cache *ic, uint64_t ino, uint32_t bit)
{
	struct inode *in = inode_record(ic, ino);

	return in && in->lists && !(in->list_mode & bit) && inode_good(in);
}

static struct dentry *dentry_find(struct inode *in, const uint8_t *key, size_t klen)
{
	struct dentry *d;

	HASH_FIND(hh, in->entries, key, klen, d);
	return d;
}

enum inode_entry inode_entry(struct inode_cache *ic, uint64_t dir, const uint8_t *key, size_t klen,
	uint64_t *ino, uint8_t *type)
{
	struct inode *in = inode_record(ic, dir);
	struct dentry *d = in && in->entries ? dentry_find(in, key, klen) : NULL;

	if (!d || !d->known || in->changing || !inode_good(in)) {
		ic->counters.misses++;
		return INODE_ENTRY_UNKNOWN;
	}
	touch(in);
	ic->counters.hits++;
	*ino = d->ino;
	*type = d->type;
	return d->ino ? INODE_ENTRY_THERE : INODE_ENTRY_ABSENT;
}

/* ---- the kernel ---- */

static uint64_t give_max(struct inode_cache *ic, uint64_t now)
{
	uint64_t until = orbit_valid_until(ic->client);
	uint64_t left = until > now ? until - now : 0;

	return left < ic->cfg.kernel_max ? left : ic->cfg.kernel_max;
}

uint64_t inode_give_attr(struct inode_cache *ic, uint64_t ino)
{
	uint64_t now = env_now(ic->env), ns;
	struct inode *in;

	if (ic->cfg.mode != INODE_CACHE_STRICT)
		return ic->cfg.mode == INODE_CACHE_RELAXED ? ic->cfg.relaxed : 0;
	in = inode_record(ic, ino);
	if (!in || !in->known || in->changing || in->contended_until > now || !inode_good(in))
		return 0;
	ns = give_max(ic, now);
	if (in->attr_until < now + ns)
		in->attr_until = now + ns;
	return ns;
}

uint64_t inode_give_entry(struct inode_cache *ic, uint64_t dir, const uint8_t *key, size_t klen)
{
	uint64_t now = env_now(ic->env), ns;
	struct dentry *d;
	struct inode *in;

	if (ic->cfg.mode != INODE_CACHE_STRICT)
		return ic->cfg.mode == INODE_CACHE_RELAXED ? ic->cfg.relaxed : 0;
	in = inode_record(ic, dir);
	if (!in || !in->entries || in->changing || !inode_good(in) || in->contended_until > now ||
		in->shy_until > now)
		return 0;
	d = dentry_find(in, key, klen);
	if (!d || !d->known)
		return 0;
	/* While it is forgotten somebody may wait: not for long if others work here as well, as
	 * they did when the lease was recalled and is young again. */
	ns = give_max(ic, now);
	if (in->recalled && ns > now - in->granted_at)
		ns = now - in->granted_at > ENTRY_MIN ? now - in->granted_at : ENTRY_MIN;
	if (d->given_until < now + ns)
		d->given_until = now + ns;
	return ns;
}

void inode_give_acl(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (in)
		in->acl = true;
}

void inode_give_pages(struct inode_cache *ic, uint64_t ino, uint64_t end)
{
	struct inode *in;

	if (ic->cfg.mode != INODE_CACHE_STRICT)
		return;
	in = inode_record_get(ic, ino);
	in->pages = true;
	in->redrop |= in->outlived;
	if (in->pages_end < end)
		in->pages_end = end;
}

void inode_bad_pages(struct inode_cache *ic, uint64_t ino, uint64_t end)
{
	struct inode *in = inode_record_get(ic, ino);

	in->redrop = true;
	if (in->pages_end < end)
		in->pages_end = end;
}

bool inode_pages_good(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	return in && in->pages && !in->redrop && inode_good(in);
}

/* ---- learning ---- */

static uint64_t *stamp_of(struct inode_cache *ic, uint64_t ino)
{
	uint64_t h = ino * UINT64_C(0x9e3779b97f4a7c15);

	return &ic->stamp[h >> 52 & (INODE_STAMPS - 1)];
}

void inode_wish(struct inode_cache *ic, struct txn_build *t, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);
	struct orbit_id id = layout_inode_id(ino);

	if (ic->cfg.mode != INODE_CACHE_STRICT)
		return;
	if (in && (in->recall || in->contended_until > env_now(ic->env)))
		return;
	if (orbit_lease_held(ic->client, &id) == ORBIT_LEASE_NONE)
		txn_lease(t, &id, ORBIT_LEASE_SHARED, true);
}

void inode_wish_followed(struct inode_cache *ic, struct txn_build *t)
{
	if (ic->cfg.mode == INODE_CACHE_STRICT)
		txn_lease_followed(t);
}

void inode_wish_exclusive(struct inode_cache *ic, struct txn_build *t, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);
	struct orbit_id id = layout_inode_id(ino);

	if (in && (in->recall || in->contended_until > env_now(ic->env)))
		return;
	if (orbit_lease_held(ic->client, &id) != ORBIT_LEASE_EXCLUSIVE)
		txn_lease(t, &id, ORBIT_LEASE_EXCLUSIVE, true);
}

uint64_t inode_mark(struct inode_cache *ic)
{
	return ic->clock;
}

void inode_granted(struct inode *in, enum orbit_lease lease)
{
	in->mode = lease;
	if (in->since)
		return;
	in->since = ++in->ic->clock;
	in->granted_at = env_now(in->ic->env);
}

/* Is what a transaction submitted at @mark showed of @in still so, and going to be? */
static bool covers(struct inode *in, const struct orbit_reply *r, uint64_t mark)
{
	struct orbit_id id = layout_inode_id(in->ino);
	enum orbit_lease lease;

	if (in->recall && in->keep == ORBIT_LEASE_NONE)
		return false;
	lease = orbit_covered(in->ic->client, r, &id, NULL);
	if (lease != ORBIT_LEASE_NONE) {
		inode_granted(in, lease);
		return true;
	}
	return in->since && in->since <= mark && inode_held(in) != ORBIT_LEASE_NONE;
}

/* The record, if what a read showed may be remembered. */
static struct inode *seen(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino)
{
	struct inode *in;

	if (ic->cfg.mode != INODE_CACHE_STRICT || *stamp_of(ic, ino) > mark)
		return NULL;
	in = inode_record_get(ic, ino);
	if (in->changing || !covers(in, r, mark)) {
		inode_rest_in(in);
		return NULL;
	}
	touch(in);
	return in;
}

static void learn_attr(struct inode *in, const struct fs_attr *a)
{
	in->known = in->lists = true;
	in->a = *a;
	in->list_mode = a->mode;
}

void inode_saw(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, const struct fs_attr *a)
{
	struct inode *in = seen(ic, r, mark, a->ino);

	if (in)
		learn_attr(in, a);
	inode_trim(ic);
}

static void learn_entry(
	struct inode *in, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	struct dentry *d = dentry_find(in, key, klen);

	if (!d) {
		d = mem_zalloc(sizeof(*d) + klen);
		d->klen = (uint16_t)klen;
		memcpy(d->key, key, klen);
		HASH_ADD_KEYPTR(hh, in->entries, d->key, klen, d);
		in->ic->nentries++;
	}
	d->known = true;
	d->ino = ino;
	d->type = type;
}

void inode_saw_entry(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark,
	uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	struct inode *in = seen(ic, r, mark, dir);

	if (in)
		learn_entry(in, key, klen, ino, type);
	inode_trim(ic);
}

void inode_saw_no_caps(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino)
{
	struct inode *in = seen(ic, r, mark, ino);

	if (in)
		in->no_caps = true;
	inode_trim(ic);
}

/* ---- our own changes ---- */

uint64_t inode_tick(struct inode_cache *ic)
{
	return ++ic->clock;
}

void inode_change(struct inode_cache *ic, uint64_t mark, uint64_t ino)
{
	struct inode *in = inode_record_get(ic, ino);

	in->changing++;
	in->stamp = *stamp_of(ic, ino) = mark;
}

/* With another of ours under way meanwhile it is not known which came last. */
static bool alone(const struct inode *in, uint64_t mark)
{
	return in->ic->cfg.mode == INODE_CACHE_STRICT && in->stamp == mark;
}

void inode_entry_changed(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark,
	uint64_t dir, const uint8_t *key, size_t klen, uint64_t ino, uint8_t type)
{
	struct inode *in = inode_record(ic, dir);
	struct dentry *d;

	if (!in)
		return;
	if (alone(in, mark) && covers(in, r, mark)) {
		learn_entry(in, key, klen, ino, type);
		return;
	}
	d = in->entries ? dentry_find(in, key, klen) : NULL;
	if (d)
		d->known = false;
}

void inode_made_no_caps(
	struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (in && alone(in, mark) && covers(in, r, mark))
		in->no_caps = true;
}

void inode_maybe_caps(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (in)
		in->no_caps = false;
}

void inode_maybe_acl(struct inode_cache *ic, uint64_t ino)
{
	struct inode *in = inode_record(ic, ino);

	if (in)
		in->lists = false;
}

void inode_changed(struct inode_cache *ic, const struct orbit_reply *r, uint64_t mark, uint64_t ino,
	bool done, const struct fs_attr *after)
{
	struct inode *in = inode_record(ic, ino);
	bool sole;

	if (!in)
		return;
	sole = alone(in, mark);
	in->changing--;
	in->stamp = *stamp_of(ic, ino) = ++ic->clock;
	if (!done)
		inode_forget(in);
	else if (after && sole && covers(in, r, mark))
		learn_attr(in, after);
	else
		in->known = false;
	inode_rest_in(in);
	inode_trim(ic);
}
