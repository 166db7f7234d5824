/*
 * The transactions of locks: reading what others have, writing what is ours, asking whether others
 * live.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "fs/ops/lock_impl.h"

#define READ_MAX 1024 /* entries at once */
#define READ_BYTES (1u << 20)
#define ALIVE_FOR (10 * ENV_SEC) /* that the keeper said so */
#define OVER_AFTER (1 * ENV_SEC) /* without a map that fences it: it was ended in good order */
#define RETRY_AFTER (1 * ENV_SEC)
#define REST_MAX 128 /* entries that a transaction puts right besides what it is for */

/* ---- sessions ---- */

static struct lock_session *session_of(struct lock_table *lt, uint32_t session)
{
	struct lock_session *s;

	HASH_FIND(hh, lt->sessions, &session, sizeof(session), s);
	return s;
}

enum lock_alive lock_session_alive(struct lock_inode *li, uint32_t session)
{
	struct lock_session *s = session_of(li->fs->locks, session);
	uint64_t now = env_now(li->fs->env);

	if (ring_fenced(orbit_ring(li->fs->client), session))
		return LOCK_OVER;
	if (!s)
		return LOCK_ASK;
	if (s->over_at && now >= s->over_at)
		return LOCK_OVER;
	if (s->over_at) {
		if (!li->again.armed)
			env_timer_set(li->fs->env, &li->again, s->over_at);
		return LOCK_ALIVE;
	}
	return now - s->alive_at < ALIVE_FOR ? LOCK_ALIVE : LOCK_ASK;
}

void lock_sessions_free(struct lock_table *lt)
{
	struct lock_session *s, *next;

	HASH_ITER (hh, lt->sessions, s, next) {
		HASH_DEL(lt->sessions, s);
		free(s);
	}
}

static void checked(void *arg, const struct orbit_reply *r)
{
	struct lock_inode *li = arg;
	struct lock_table *lt = li->fs->locks;
	struct lock_session *s = session_of(lt, li->asked);

	if (!s) {
		s = mem_zalloc(sizeof(*s));
		s->session = li->asked;
		HASH_ADD(hh, lt->sessions, session, sizeof(s->session), s);
	}
	/* Who is over may still be obeyed by nodes without the map that says so, and those that we
	 * talk to have ours at least. If none comes that fences it, nothing of it is under way. */
	if (r->rc == -ESTALE && !s->over_at)
		s->over_at = env_now(li->fs->env) + OVER_AFTER;
	else if (r->rc != -ESTALE)
		s->alive_at = env_now(li->fs->env); /* as far as we can know */
	li->busy = false;
	lock_step(li);
}

void lock_send_check(struct lock_inode *li, uint32_t session)
{
	struct mount_txn *m = mount_track(li->fs, &li->sub, checked, li);

	li->busy = true;
	li->asked = session;
	mount_tracked(m, orbit_check_session(li->fs->client, session, mount_track_done, m));
}

/* ---- in common ---- */

static bool unlocks(const struct lock_req *q)
{
	return q->what == LOCK_DROP || (q->what == LOCK_SET && q->want.type == F_UNLCK);
}

/* A transaction was given up because somebody was interrupted: it is not for this one to hear. */
static bool spared(const struct lock_req *q, int rc)
{
	return rc == -EINTR && !(q->call && q->call->interrupted);
}

/* Sends @t; the answer goes to @done, with li->busy set until then. */
static void send(struct lock_inode *li, struct txn_build *t, orbit_done_cb *done)
{
	li->busy = true;
	txn_lease(t, &li->id, TXN_LEASE_SHARED, true);
	mount_submit(li->fs, &li->sub, li->ino, t, done, li);
}

/* ---- reading ---- */

static int take_entry(struct lock_inode *li, struct cur *c)
{
	uint32_t own = orbit_session(li->fs->client);
	struct layout_lock_range *r;
	struct lock_holder *h;
	struct layout_lock name;
	const void *key, *val;
	size_t klen, vlen;
	int n;

	key = cur_blob(c, TXN_KEY_MAX, &klen);
	val = cur_blob(c, TXN_VALUE_MAX, &vlen);
	cur_u8(c);
	if (!cur_ok(c) || layout_lock_parse(key, klen, &name))
		return -EIO;
	memcpy(li->after, key, LOCK_KEY_LEN);
	if (name.session == own)
		return 0;
	r = mem_grow(NULL, LOCK_RANGES_MAX, sizeof(*r));
	n = layout_lock_ranges(val, vlen, r);
	if (n > 0) {
		h = mem_zalloc(sizeof(*h));
		h->name = name;
		h->has.r = mem_grow(r, (size_t)n, sizeof(*r));
		h->has.n = h->has.cap = (unsigned)n;
		TAILQ_INSERT_TAIL(&li->theirs, h, at);
		return 0;
	}
	free(r);
	return n;
}

/* What the object has: 1 when there is more of it. */
static int take_all(struct lock_inode *li, const struct orbit_reply *r)
{
	struct txn_result res;
	struct txn_object o;
	struct cur c;
	uint32_t n;
	int more, rc = 0;

	if (orbit_result(r, li->get, &res))
		return -EIO;
	li->exists = res.present;
	li->version = 0;
	if (!res.present)
		return 0;
	c = cur_of(res.data, res.len);
	o = txn_get_object(&c);
	li->version = o.version;
	if (!cur_ok(&c) || orbit_result(r, li->range, &res))
		return -EIO;
	c = cur_of(res.data, res.len);
	more = cur_u8(&c) != 0;
	n = cur_u32(&c);
	if (!cur_ok(&c) || n > READ_MAX)
		return -EIO;
	while (!rc && n-- > 0)
		rc = take_entry(li, &c);
	return rc ? rc : more;
}

/* Nobody knows what is in the way. Who only unlocks does not mind. */
static void read_failed(struct lock_inode *li, int rc)
{
	struct lock_req *q;

	TAILQ_FOREACH (q, &li->queue, at) {
		if (unlocks(q) || spared(q, rc))
			continue;
		q->decided = true;
		q->rc = rc;
	}
}

static void have_read(void *arg, const struct orbit_reply *r)
{
	struct lock_inode *li = arg;
	int rc = r->rc;

	li->busy = li->fresh = li->refused = false;
	if (!li->paged || rc)
		lock_forget_theirs(li);
	if (!rc)
		rc = take_all(li, r);
	if (rc == -EIO && !r->rc)
		log_error("mod=fs ino=%" PRIx64 " msg=\"locks that make no sense\"", li->ino);
	li->paged = rc == 1;
	if (rc == 1) {
		lock_send_read(li);
		return;
	}
	li->known = rc == 0;
	li->covered = rc == 0 && orbit_covered(li->fs->client, r, &li->id, NULL);
	if (li->covered)
		li->tries = 0;
	/* it changed between two pages; or our session ended: there will be another */
	if (rc && rc != -ECANCELED && rc != -ESTALE)
		read_failed(li, rc);
	lock_step(li);
}

void lock_send_read(struct lock_inode *li)
{
	static const uint8_t first[] = {'l'};
	struct lock_req *q;
	struct txn_build t;

	txn_init(&t);
	TAILQ_FOREACH (q, &li->queue, at)
		q->read |= !li->paged;
	if (li->paged)
		txn_version_eq(&t, &li->id, li->version);
	li->get = txn_get(&t, &li->id);
	li->range = txn_range(&t, &li->id, li->paged ? li->after : first,
		li->paged ? sizeof(li->after) : sizeof(first), false, READ_MAX, READ_BYTES, NULL);
	send(li, &t, have_read);
}

/* ---- writing ---- */

/* Does it lock anything that was not locked? */
static bool locks_more(const struct lock_inode *li)
{
	const struct lock_req *q;

	TAILQ_FOREACH (q, &li->queue, at) {
		if (q->decided && !q->rc && q->what == LOCK_SET && q->want.type != F_UNLCK)
			return true;
	}
	return false;
}

bool lock_to_send(const struct lock_inode *li)
{
	const struct lock_holder *h;

	TAILQ_FOREACH (h, &li->mine, at) {
		if (h->changed || (h->doubt && !li->again.armed))
			return true;
	}
	return false;
}

static bool any_left(const struct lock_inode *li)
{
	const struct lock_holder *h;

	TAILQ_FOREACH (h, &li->mine, at) {
		if (lock_view(h)->n)
			return true;
	}
	TAILQ_FOREACH (h, &li->theirs, at) {
		if (!h->over)
			return true;
	}
	return false;
}

static void put_holder(struct lock_inode *li, struct txn_build *t, const struct lock_holder *h)
{
	struct layout_lock name = h->name;
	const struct lock_list *l = lock_view(h);
	uint8_t key[LOCK_KEY_LEN];
	struct buf val = {0};

	if (!h->over)
		name.session = li->session;
	layout_lock_key(&name, key);
	if (h->over || !l->n) {
		txn_del(t, &li->id, key, sizeof(key));
		return;
	}
	for (unsigned i = 0; i < l->n; i++)
		layout_lock_put(&val, &l->r[i]);
	txn_put(t, &li->id, key, sizeof(key), val.data, val.len);
	buf_fini(&val);
}

/* What was decided has come true. */
static void commit(struct lock_inode *li)
{
	struct lock_holder *h, *next;

	for (h = TAILQ_FIRST(&li->mine); h; h = next) {
		struct lock_list was = h->has;

		next = TAILQ_NEXT(h, at);
		if (!h->sent)
			continue;
		if (h->changed) {
			h->has = h->will;
			h->will = was;
		}
		h->changed = h->doubt = false;
		if (!h->has.n)
			lock_holder_free(&li->mine, h);
	}
	for (h = TAILQ_FIRST(&li->theirs); h; h = next) {
		next = TAILQ_NEXT(h, at);
		if (h->sent)
			lock_holder_free(&li->theirs, h);
	}
}

/* It did not, and is to be decided anew. */
static void undo(struct lock_inode *li)
{
	struct lock_holder *h, *next;
	struct lock_req *q;

	for (h = TAILQ_FIRST(&li->mine); h; h = next) {
		next = TAILQ_NEXT(h, at);
		h->changed = false;
		if (!h->has.n && !h->doubt)
			lock_holder_free(&li->mine, h);
	}
	TAILQ_FOREACH (q, &li->queue, at)
		q->decided = false;
}

/*
 * Whether it did is not known. What was to be locked is not; what was to be unlocked is, sooner or
 * later, since nobody would ask for it again. Who is spared is decided anew.
 */
static void doubt(struct lock_inode *li, int rc)
{
	struct lock_holder *h;
	struct lock_req *q;

	TAILQ_FOREACH (h, &li->mine, at) {
		h->doubt |= h->changed;
		h->changed = false;
	}
	TAILQ_FOREACH (q, &li->queue, at) {
		if (!q->decided)
			continue;
		q->decided = !spared(q, rc);
		if (!q->decided)
			continue;
		h = unlocks(q) ? lock_holder_of(li, &q->want) : NULL;
		if (h)
			lock_list_set(&h->has, LOCK_NOT, q->want.first, q->want.last, 0);
		q->rc = rc;
	}
	if (rc != -EINTR && !li->again.armed)
		env_timer_set(li->fs->env, &li->again, env_now(li->fs->env) + RETRY_AFTER);
}

static void have_written(void *arg, const struct orbit_reply *r)
{
	struct lock_inode *li = arg;
	uint64_t version;

	li->busy = li->fresh = false;
	li->known = li->covered = false;
	if (r->rc == 0) {
		commit(li);
		if (li->based && orbit_covered(li->fs->client, r, &li->id, &version)) {
			li->known = li->covered = true;
			li->exists = li->made;
			li->version = version;
		}
	} else if (r->rc == -ECANCELED) {
		undo(li);
		li->refused = true;
	} else {
		doubt(li, r->rc == -ENOSPC ? -ENOLCK : r->rc);
	}
	lock_step(li);
}

/* All that the transaction is about: changes, and of the rest as much as there is room for. */
static void choose(struct lock_inode *li, bool left)
{
	bool anew = li->based && !(li->known && li->exists), none = li->based && !left;
	struct lock_holder *h;
	unsigned room = REST_MAX;

	TAILQ_FOREACH (h, &li->mine, at)
		h->sent = anew || none || h->changed || (h->doubt && room && room--);
	TAILQ_FOREACH (h, &li->theirs, at)
		h->sent = li->based && h->over && (none || (room && room--));
}

void lock_send_write(struct lock_inode *li)
{
	const uint64_t slots[TXN_SLOTS] = {0};
	struct lock_holder *h;
	struct txn_build t;
	bool left;

	TAILQ_FOREACH (h, &li->theirs, at)
		h->over |= ring_fenced(orbit_ring(li->fs->client), h->name.session);
	left = any_left(li);
	txn_init(&t);
	li->based = li->known || locks_more(li);
	li->made = left;
	choose(li, left);
	if (li->based && li->known && li->exists)
		txn_version_eq(&t, &li->id, li->version);
	else if (li->based)
		txn_absent(&t, &li->id);
	if (li->based && !left) {
		txn_delete(&t, &li->id); /* absent is fine */
	} else {
		if (li->based && !(li->known && li->exists))
			txn_create(&t, &li->id, 0, slots);
		TAILQ_FOREACH (h, &li->mine, at) {
			if (h->sent)
				put_holder(li, &t, h);
		}
		TAILQ_FOREACH (h, &li->theirs, at) {
			if (h->sent)
				put_holder(li, &t, h);
		}
	}
	send(li, &t, have_written);
}
