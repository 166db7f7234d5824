#include "fs/ops/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/ops/lock_impl.h"

#define IDLE_MAX 1024    /* records that are kept for their leases */
#define DECIDE_MAX 64    /* requests that one transaction makes true */
#define DEADLOCK_MAX 512 /* steps of the search for a circle */
#define AGAIN_MIN (2 * ENV_MS)
#define AGAIN_DOUBLINGS 6
#define SESSION_AGAIN (50 * ENV_MS)

/* ---- records ---- */

static void on_task(struct env_task *t)
{
	lock_step(container_of(t, struct lock_inode, task));
}

static void on_again(struct env_timer *t)
{
	lock_step(container_of(t, struct lock_inode, again));
}

static struct lock_inode *find(struct fs *fs, uint64_t ino)
{
	struct lock_inode *li;

	HASH_FIND(hh, fs->locks->inodes, &ino, sizeof(ino), li);
	return li;
}

static void wake_from_idle(struct lock_inode *li)
{
	struct lock_table *lt = li->fs->locks;

	if (!li->is_idle)
		return;
	li->is_idle = false;
	TAILQ_REMOVE(&lt->idle, li, idle);
	lt->nidle--;
}

static struct lock_inode *get(struct fs *fs, uint64_t ino)
{
	struct lock_inode *li = find(fs, ino);

	if (li) {
		wake_from_idle(li);
		return li;
	}
	li = mem_zalloc(sizeof(*li));
	li->fs = fs;
	li->ino = ino;
	li->id = layout_locks_id(ino);
	li->fresh = true;
	li->task.run = on_task;
	li->again.fire = on_again;
	TAILQ_INIT(&li->queue);
	TAILQ_INIT(&li->mine);
	TAILQ_INIT(&li->theirs);
	HASH_ADD(hh, fs->locks->inodes, ino, sizeof(li->ino), li);
	return li;
}

void lock_holder_free(struct lock_holders *in, struct lock_holder *h)
{
	TAILQ_REMOVE(in, h, at);
	lock_list_fini(&h->has);
	lock_list_fini(&h->will);
	free(h);
}

static void forget(struct lock_holders *in)
{
	struct lock_holder *h;

	while ((h = TAILQ_FIRST(in)))
		lock_holder_free(in, h);
}

void lock_forget_theirs(struct lock_inode *li)
{
	forget(&li->theirs);
}

static void req_free(struct lock_req *q)
{
	TAILQ_REMOVE(&q->li->queue, q, at);
	if (q->blocked)
		TAILQ_REMOVE(&q->li->fs->locks->blocked, q, blocked_at);
	free(q);
}

static void inode_free(struct lock_inode *li)
{
	struct lock_req *q;

	wake_from_idle(li);
	env_timer_clear(li->fs->env, &li->again);
	env_unpost(li->fs->env, &li->task);
	while ((q = TAILQ_FIRST(&li->queue)))
		req_free(q);
	forget(&li->mine);
	forget(&li->theirs);
	HASH_DEL(li->fs->locks->inodes, li);
	free(li);
}

static void give_back(struct lock_inode *li)
{
	orbit_return(li->fs->client, &li->id, ORBIT_LEASE_NONE);
	li->known = li->covered = false;
}

/* Nobody needs it: it stays only if it knows something. */
static void rest(struct lock_inode *li)
{
	struct lock_table *lt = li->fs->locks;

	if (li->busy || li->is_idle || !TAILQ_EMPTY(&li->queue) || !TAILQ_EMPTY(&li->mine))
		return;
	if (!li->covered || lt->stopping) {
		inode_free(li);
		return;
	}
	env_timer_clear(li->fs->env, &li->again);
	li->is_idle = true;
	TAILQ_INSERT_TAIL(&lt->idle, li, idle);
	if (++lt->nidle <= IDLE_MAX)
		return;
	li = TAILQ_FIRST(&lt->idle);
	give_back(li);
	inode_free(li);
}

struct lock_holder *lock_holder_of(struct lock_inode *li, const struct fs_lock *want)
{
	struct lock_holder *h;

	TAILQ_FOREACH (h, &li->mine, at) {
		if ((h->name.kind == LAYOUT_FLOCK) == (want->kind == FS_LOCK_FLOCK) &&
			h->name.owner == want->owner)
			return h;
	}
	return NULL;
}

static struct lock_holder *holder_get(struct lock_inode *li, const struct fs_lock *want)
{
	struct lock_holder *h = lock_holder_of(li, want);

	if (h)
		return h;
	h = mem_zalloc(sizeof(*h));
	h->name.kind = want->kind == FS_LOCK_FLOCK ? LAYOUT_FLOCK : LAYOUT_FCNTL;
	h->name.session = li->session;
	h->name.owner = want->owner;
	TAILQ_INSERT_TAIL(&li->mine, h, at);
	return h;
}

/* ---- deciding ---- */

static enum lock_mode mode_of(const struct fs_lock *l)
{
	switch (l->type) {
	case F_RDLCK:
		return LOCK_TO_READ;
	case F_WRLCK:
		return LOCK_TO_WRITE;
	default:
		return LOCK_NOT;
	}
}

static void will_be(struct lock_holder *h, const struct fs_lock *l, enum lock_mode mode)
{
	if (!h->changed)
		lock_list_copy(&h->will, &h->has);
	h->changed |= lock_list_set(&h->will, mode, l->first, l->last, l->pid);
}

static bool has_already(const struct lock_holder *h, const struct fs_lock *l)
{
	struct lock_list copy = {0};
	bool changes;

	lock_list_copy(&copy, lock_view(h));
	changes = lock_list_set(&copy, mode_of(l), l->first, l->last, l->pid);
	lock_list_fini(&copy);
	return !changes;
}

static const struct layout_lock_range *conflict(
	const struct lock_holder *h, const struct fs_lock *l)
{
	if ((h->name.kind == LAYOUT_FLOCK) != (l->kind == FS_LOCK_FLOCK))
		return NULL;
	return lock_list_conflict(lock_view(h), mode_of(l), l->first, l->last);
}

static const struct layout_lock_range *ours_in_the_way(
	const struct lock_inode *li, const struct fs_lock *l)
{
	const struct layout_lock_range *r;
	const struct lock_holder *h;

	TAILQ_FOREACH (h, &li->mine, at) {
		r = h->name.owner != l->owner ? conflict(h, l) : NULL;
		if (r)
			return r;
	}
	return NULL;
}

/* *ask: a session of which it is not known whether it lives; 0: there is none. */
static const struct layout_lock_range *theirs_in_the_way(
	struct lock_inode *li, const struct fs_lock *l, uint32_t *ask)
{
	const struct layout_lock_range *r;
	struct lock_holder *h;

	*ask = 0;
	TAILQ_FOREACH (h, &li->theirs, at) {
		r = h->over ? NULL : conflict(h, l);
		if (!r)
			continue;
		switch (lock_session_alive(li, h->name.session)) {
		case LOCK_ALIVE:
			return r;
		case LOCK_OVER:
			h->over = true;
			break;
		case LOCK_ASK:
			*ask = h->name.session;
			break;
		}
	}
	return NULL;
}

/* Does @owner wait, through others, for @whom? */
static bool waits_for(const struct lock_table *lt, uint64_t owner, uint64_t whom, unsigned *left)
{
	const struct lock_holder *h;
	const struct lock_req *q;

	TAILQ_FOREACH (q, &lt->blocked, blocked_at) {
		if (q->want.kind != FS_LOCK_FCNTL || q->want.owner != owner)
			continue;
		TAILQ_FOREACH (h, &q->li->mine, at) {
			if (h->name.owner == owner || !conflict(h, &q->want))
				continue;
			if (h->name.owner == whom)
				return true;
			if (*left && (*left)-- && waits_for(lt, h->name.owner, whom, left))
				return true;
		}
	}
	return false;
}

/* Would all wait for each other? Only those of this mount are looked at. */
static bool deadlock(const struct lock_req *q)
{
	const struct lock_inode *li = q->li;
	const struct lock_holder *h;
	unsigned left = DEADLOCK_MAX;

	if (q->want.kind != FS_LOCK_FCNTL)
		return false;
	TAILQ_FOREACH (h, &li->mine, at) {
		if (h->name.owner != q->want.owner && conflict(h, &q->want) &&
			waits_for(li->fs->locks, h->name.owner, q->want.owner, &left))
			return true;
	}
	return false;
}

static void decided(struct lock_req *q, int rc)
{
	q->decided = true;
	q->rc = rc;
}

static void not_now(struct lock_req *q)
{
	struct lock_holder *mine = lock_holder_of(q->li, &q->want);

	/* An flock is changed by giving it up first: two who share it and both want it for
	 * themselves would wait for ever. */
	if (q->want.kind == FS_LOCK_FLOCK && mine)
		will_be(mine, &q->want, LOCK_NOT);
	if (!q->wait) {
		decided(q, -EAGAIN);
	} else if (deadlock(q)) {
		decided(q, -EDEADLK);
	} else if (!q->blocked) {
		q->blocked = true;
		TAILQ_INSERT_TAIL(&q->li->fs->locks->blocked, q, blocked_at);
	}
}

static void lock_now(struct lock_req *q)
{
	struct lock_holder *mine = holder_get(q->li, &q->want);

	if (lock_view(mine)->n + 2 > LOCK_RANGES_MAX) {
		decided(q, -ENOLCK);
		return;
	}
	will_be(mine, &q->want, mode_of(&q->want));
	mine->via = q->file;
	decided(q, 0);
}

static void tell(struct lock_req *q, const struct layout_lock_range *r, bool ours)
{
	struct fs_lock *out = &q->call->lock;

	*out = q->want;
	out->type = F_UNLCK;
	if (r) {
		out->type = r->write ? F_WRLCK : F_RDLCK;
		out->first = r->first;
		out->last = r->last;
		out->pid = ours ? r->pid : 0;
	}
	decided(q, 0);
}

/* What keeps the rest of the queue from being decided. */
struct missing {
	bool read;    /* what others have */
	bool later;   /* the same, but others are at it: in a moment */
	uint32_t ask; /* whether this session lives */
};

static void decide(struct lock_req *q, struct missing *miss)
{
	struct lock_inode *li = q->li;
	struct lock_holder *mine = lock_holder_of(li, &q->want);
	const struct layout_lock_range *ours, *r;
	uint32_t ask = 0;

	if (q->what == LOCK_DROP || (q->what == LOCK_SET && q->want.type == F_UNLCK)) {
		if (mine)
			will_be(mine, &q->want, LOCK_NOT);
		decided(q, 0);
		return;
	}
	if (q->what == LOCK_SET && mine && has_already(mine, &q->want)) {
		decided(q, 0);
		return;
	}
	r = ours = ours_in_the_way(li, &q->want);
	/* That there is nothing yet is a good guess for who locks, and is compared. */
	if (!r && !(li->known && (li->covered || q->read)) && (!li->fresh || q->what == LOCK_GET)) {
		miss->read = true;
		return;
	}
	if (!r)
		r = theirs_in_the_way(li, &q->want, &ask);
	if (!r && ask) {
		miss->ask = ask;
	} else if (q->what == LOCK_GET) {
		tell(q, r, ours != NULL);
	} else if (r) {
		not_now(q);
		miss->later |= !ours && !li->covered;
	} else {
		lock_now(q);
	}
}

/* ---- steps ---- */

static struct lock_req *first_decided(struct lock_inode *li)
{
	struct lock_req *q;

	TAILQ_FOREACH (q, &li->queue, at) {
		if (q->decided)
			return q;
	}
	return NULL;
}

static void answer(struct lock_inode *li)
{
	struct lock_req *q;
	struct fs_call *call;
	int rc;

	while ((q = first_decided(li))) {
		call = q->call;
		rc = q->rc;
		req_free(q);
		if (call)
			mount_done(call, rc); /* who may ask for the next at once */
	}
}

/* Are we who we were? False: nobody, for now. */
static bool same_session(struct lock_inode *li)
{
	uint32_t session = orbit_session(li->fs->client);

	if (li->session == session && session)
		return true;
	if (!TAILQ_EMPTY(&li->mine))
		log_warn("mod=fs ino=%" PRIx64 " session=%u msg=\"locks are lost: the session is "
			 "over\"",
			li->ino, li->session);
	forget(&li->mine);
	li->known = li->covered = false;
	li->fresh &= !li->session;
	li->session = session;
	if (session)
		return true;
	if (!li->again.armed)
		env_timer_set(li->fs->env, &li->again, env_now(li->fs->env) + SESSION_AGAIN);
	return false;
}

static struct missing decide_all(struct lock_inode *li)
{
	struct missing miss = {0};
	struct lock_req *q;
	unsigned n = 0;

	if (li->refused) {
		miss.read = true;
		return miss;
	}
	TAILQ_FOREACH (q, &li->queue, at) {
		if (n == DECIDE_MAX)
			break;
		if (!q->decided)
			decide(q, &miss);
		n += q->decided;
	}
	return miss;
}

static void step(struct lock_inode *li)
{
	struct missing miss;
	struct lock_req *q;
	unsigned tries;

	if (li->fs->ending) {
		TAILQ_FOREACH (q, &li->queue, at)
			decided(q, -EINTR);
		answer(li);
		forget(&li->mine);
		return;
	}
	answer(li); /* what has come true, or failed */
	if (!same_session(li) || li->busy)
		return;
	if (li->covered && orbit_lease_held(li->fs->client, &li->id) == ORBIT_LEASE_NONE)
		li->known = li->covered = false;
	miss = decide_all(li);
	if (!li->refused && lock_to_send(li)) {
		lock_send_write(li);
		return;
	}
	answer(li);
	if (li->more)
		return;
	if (!li->covered) /* it was good for those who waited for it */
		li->known = false;
	if (miss.ask) {
		lock_send_check(li, miss.ask);
	} else if (miss.read) {
		li->paged = false;
		lock_send_read(li);
	} else if (miss.later) {
		tries = li->tries < AGAIN_DOUBLINGS ? li->tries++ : li->tries;
		env_timer_set(li->fs->env, &li->again, env_now(li->fs->env) + (AGAIN_MIN << tries));
	}
}

void lock_step(struct lock_inode *li)
{
	if (li->stepping || li->busy) {
		li->more = true;
		return;
	}
	li->stepping = true;
	do {
		li->more = false;
		step(li);
	} while (li->more && !li->busy);
	li->stepping = false;
	rest(li);
}

/* ---- who asks ---- */

static struct lock_req *ask(struct fs *fs, struct fs_call *c, uint64_t ino, enum lock_what what,
	const struct fs_lock *want)
{
	struct lock_req *q = mem_zalloc(sizeof(*q));

	q->li = get(fs, ino);
	q->call = c;
	q->what = what;
	q->want = *want;
	TAILQ_INSERT_TAIL(&q->li->queue, q, at);
	return q;
}

static void interrupt(struct fs *fs, struct fs_call *call, bool fatal)
{
	struct lock_req *q = call->impl;
	struct lock_inode *li = q->li;

	/* as long as nothing is under way for it, it can just go */
	if (q->decided || !(q->blocked || fatal)) {
		orbit_cancel(fs->client, li->sub.handle, !fatal);
		return;
	}
	req_free(q);
	li->stepping = true; /* it stays */
	mount_done(call, -EINTR);
	li->stepping = false;
	lock_step(li);
}

static void ask_for(struct fs *fs, struct fs_call *c, struct fs_file *f, enum lock_what what,
	const struct fs_lock *l, bool wait)
{
	struct lock_req *q;

	if (fs->locks->stopping) {
		mount_done(c, -ESHUTDOWN);
		return;
	}
	if (l->first > l->last || l->last > LOCK_LAST) {
		mount_done(c, -EINVAL);
		return;
	}
	q = ask(fs, c, fs_ino_of(f), what, l);
	q->file = f;
	q->wait = wait;
	c->impl = q;
	c->interrupt = interrupt;
	lock_step(q->li);
}

void fs_setlk(
	struct fs *fs, struct fs_call *c, struct fs_file *f, const struct fs_lock *l, bool wait)
{
	ask_for(fs, c, f, LOCK_SET, l, wait);
}

void fs_getlk(struct fs *fs, struct fs_call *c, struct fs_file *f, const struct fs_lock *l)
{
	ask_for(fs, c, f, LOCK_GET, l, false);
}

static const struct fs_lock everything = {.type = F_UNLCK, .last = LOCK_LAST};

void fs_unlock(struct fs *fs, struct fs_call *c, struct fs_file *f, uint64_t owner)
{
	struct fs_lock all = everything;
	struct lock_inode *li = find(fs, fs_ino_of(f));

	all.kind = FS_LOCK_FCNTL;
	all.owner = owner;
	if (!li || (TAILQ_EMPTY(&li->queue) && !lock_holder_of(li, &all)))
		mount_done(c, 0);
	else
		ask_for(fs, c, f, LOCK_DROP, &all, false);
}

/* Nobody waits for it. */
static void drop(struct lock_inode *li, struct lock_holder *h)
{
	struct fs_lock all = everything;

	h->via = NULL;
	all.kind = h->name.kind == LAYOUT_FLOCK ? FS_LOCK_FLOCK : FS_LOCK_FCNTL;
	all.owner = h->name.owner;
	ask(li->fs, NULL, li->ino, LOCK_DROP, &all);
}

void lock_release(struct fs *fs, const struct fs_file *f)
{
	struct lock_inode *li = find(fs, fs_ino_of(f));
	struct lock_holder *h;
	bool any = false;

	if (!li)
		return;
	TAILQ_FOREACH (h, &li->mine, at) {
		if (h->via != f)
			continue;
		drop(li, h);
		any = true;
	}
	if (any)
		lock_step(li);
}

/* ---- news ---- */

void lock_recalled(struct fs *fs, uint64_t ino, bool lost)
{
	struct orbit_id id = layout_locks_id(ino);
	struct lock_inode *li = find(fs, ino);

	if (!lost)
		orbit_return(fs->client, &id, ORBIT_LEASE_NONE);
	if (!li)
		return;
	li->known = li->covered = false;
	if (li->is_idle)
		inode_free(li);
	else if (!li->busy) /* behind what was given back: then he who waits for it is through */
		env_post(fs->env, &li->task);
}

void lock_mapped(struct fs *fs)
{
	struct lock_req *q;

	TAILQ_FOREACH (q, &fs->locks->blocked, blocked_at) {
		if (!q->li->task.queued)
			env_post(fs->env, &q->li->task);
	}
}

/* ---- beginning and end ---- */

void lock_init(struct fs *fs)
{
	fs->locks = mem_zalloc(sizeof(*fs->locks));
	TAILQ_INIT(&fs->locks->idle);
	TAILQ_INIT(&fs->locks->blocked);
}

void lock_stop(struct fs *fs)
{
	struct lock_inode *li, *next;
	struct lock_holder *h;
	struct fs_call *call;
	struct lock_req *q;

	fs->locks->stopping = true;
	while ((q = TAILQ_FIRST(&fs->locks->blocked))) {
		call = q->call;
		req_free(q);
		mount_done(call, -ESHUTDOWN);
	}
	HASH_ITER (hh, fs->locks->inodes, li, next) {
		wake_from_idle(li);
		env_timer_clear(fs->env, &li->again);
		TAILQ_FOREACH (h, &li->mine, at)
			drop(li, h);
		lock_step(li);
	}
}

void lock_free(struct fs *fs)
{
	struct lock_inode *li, *next;

	HASH_ITER (hh, fs->locks->inodes, li, next)
		inode_free(li);
	lock_sessions_free(fs->locks);
	free(fs->locks);
	fs->locks = NULL;
}
