/*
 * Repairs. Each is a transaction whose compares restate the damage that was seen: if anything about
 * it changed meanwhile nothing happens (-ECANCELED), and the next scan looks again.
 *
 *   problem            repair
 *   entry-without-inode, entry-surplus, bad-entry    the entry goes
 *   entry-type         the entry says what the inode says
 *   inode-without-entry, cycle                       linked to /lost+found as #number
 *   link-count, parent, children, bytes              set to what was counted
 *   past-end           data past the end goes, as by a cut; bytes are counted by the next scan
 *   block-without-inode, block-of-other              the block goes
 *   trim               the mark is cleared (what it stood for is found as past-end before)
 *   orphan-*           the orphan list is made to agree with the link count
 *   orphan             removed, if no living session holds it
 *   no-root            an empty root directory
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/check/check_impl.h"

#define INLINE_STREAM UINT64_MAX

bool check_repair_deletes(enum check_problem p)
{
	switch (p) {
	case CHECK_BAD_ENTRY:
	case CHECK_ENTRY_NO_INODE:
	case CHECK_ENTRY_SURPLUS:
	case CHECK_PAST_END:
	case CHECK_BLOCK_NO_INODE:
	case CHECK_LOCKS_NO_INODE:
	case CHECK_BLOCK_OF_OTHER:
	case CHECK_ORPHAN:
	case CHECK_TRIM:
	/* counts that came from a partial scan would be wrong as well */
	case CHECK_NLINK:
	case CHECK_CHILDREN:
	case CHECK_BYTES:
	case CHECK_NO_ENTRY:
	case CHECK_CYCLE:
	case CHECK_NO_ROOT:
		return true;
	default:
		return false;
	}
}

bool check_repair_is_safe(enum check_problem p)
{
	switch (p) {
	case CHECK_ENTRY_TYPE:
	case CHECK_NLINK:
	case CHECK_PARENT:
	case CHECK_CHILDREN:
	case CHECK_BYTES:
	case CHECK_PAST_END:
	case CHECK_TRIM:
	case CHECK_ORPHAN_UNMARKED:
	case CHECK_ORPHAN_MARK:
	case CHECK_ORPHAN:
	case CHECK_LOCKS_NO_INODE:
		return true;
	default:
		return false;
	}
}

/* ---- one transaction, waited for ---- */

struct waiting {
	struct check *k;
	bool done;
	int rc;
	void (*look)(void *arg, const struct orbit_reply *r);
	void *arg;
};

static void txn_done(void *arg, const struct orbit_reply *r)
{
	struct waiting *w = arg;

	w->rc = r->rc;
	if (!r->rc && w->look)
		w->look(w->arg, r);
	w->done = true;
	w->k->io->wake(w->k->io->arg);
}

int check_await(struct check *k, const bool *done)
{
	int rc = 0;

	while (!*done) {
		int one = k->io->pump(k->io->arg, done);

		if (one)
			rc = one;
	}
	return rc;
}

int check_txn(struct check *k, struct txn_build *t,
	void (*look)(void *arg, const struct orbit_reply *r), void *arg)
{
	struct waiting w = {.k = k, .look = look, .arg = arg};
	int rc;

	orbit_submit(k->client, t, NULL, txn_done, &w);
	rc = check_await(k, &w.done);
	return rc ? rc : w.rc;
}

/* ---- entries ---- */

/* The entry of @dir at @cookie, or the one that names @child when @cookie is 0. */
struct entry {
	uint64_t cookie, child;
	bool found, more;
	uint8_t key[DIRENT_KEY_MAX], val[64];
	size_t klen, vlen;
	uint8_t last[DIRENT_KEY_MAX];
	size_t last_len;
};

static void look_entry(void *arg, const struct orbit_reply *r)
{
	struct entry *e = arg;
	struct txn_result res;
	struct cur c;
	uint32_t n;

	e->more = false;
	if (orbit_result(r, 0, &res) || !res.present)
		return;
	c = cur_of(res.data, res.len);
	e->more = cur_u8(&c);
	n = cur_u32(&c);
	for (uint32_t i = 0; i < n && !e->found; i++) {
		size_t klen, vlen;
		const void *key = cur_blob(&c, DIRENT_KEY_MAX, &klen);
		const void *val = cur_blob(&c, sizeof(e->val), &vlen);
		uint64_t child = 0;
		uint8_t type;

		cur_u8(&c);
		if (!cur_ok(&c)) {
			e->more = false;
			return;
		}
		memcpy(e->last, key, e->last_len = klen);
		layout_dirent_parse(val, vlen, &child, &type);
		if (e->cookie ? layout_dirent_cookie(key, klen) == e->cookie &&
					(!e->child || child == e->child)
			      : child == e->child) {
			memcpy(e->key, key, e->klen = klen);
			memcpy(e->val, val, e->vlen = vlen);
			e->found = true;
		}
	}
}

static int find_entry(struct check *k, uint64_t dir, struct entry *e)
{
	struct orbit_id id = layout_inode_id(dir);
	int rc;

	e->last_len = layout_dirent_after(e->cookie ? e->cookie - 1 : 0, e->last);
	do {
		struct txn_build t;

		txn_init(&t);
		txn_range(&t, &id, e->last, e->last_len, e->last_len == 9, 1000, 256 << 10, NULL);
		rc = check_txn(k, &t, look_entry, e);
		if (rc)
			return rc;
	} while (!e->found && e->more && !e->cookie);
	return e->found ? 0 : -ECANCELED;
}

static int remove_entry(struct check *k, const struct check_finding *f)
{
	uint64_t dir = f->problem == CHECK_BAD_ENTRY ? f->ino : f->other;
	struct entry e = {.cookie = f->cookie, .child = f->problem == CHECK_BAD_ENTRY ? 0 : f->ino};
	struct orbit_id id = layout_inode_id(dir), child = layout_inode_id(f->ino);
	struct txn_build t;
	int rc = find_entry(k, dir, &e);

	if (rc)
		return rc;
	txn_init(&t);
	txn_map_eq(&t, &id, e.key, e.klen, e.val, e.vlen);
	if (f->problem == CHECK_ENTRY_NO_INODE)
		txn_absent(&t, &child);
	txn_del(&t, &id, e.key, e.klen);
	txn_add(&t, &id, SLOT_CHILDREN, -1);
	return check_txn(k, &t, NULL, NULL);
}

static int fix_type(struct check *k, const struct check_finding *f)
{
	struct entry e = {.cookie = f->cookie, .child = f->ino};
	struct orbit_id id = layout_inode_id(f->other), child = layout_inode_id(f->ino);
	uint8_t val[DIRENT_VALUE_LEN];
	struct txn_build t;
	int rc = find_entry(k, f->other, &e);

	if (rc)
		return rc;
	layout_dirent_value(f->ino, (uint8_t)f->want, val);
	txn_init(&t);
	txn_map_eq(&t, &id, e.key, e.klen, e.val, e.vlen);
	txn_version_eq(&t, &child, f->version);
	txn_put(&t, &id, e.key, e.klen, val, sizeof(val));
	return check_txn(k, &t, NULL, NULL);
}

/* ---- lost+found ---- */

struct follow {
	bool found;
	uint64_t ino;
};

static void look_lost(void *arg, const struct orbit_reply *r)
{
	struct follow *x = arg;
	struct txn_result res;
	uint8_t type;

	if (!orbit_result(r, 0, &res) && res.present)
		x->found =
			!layout_dirent_parse(res.data, res.len, &x->ino, &type) && type == DT_DIR;
}

static int make_directory(
	struct check *k, struct txn_build *t, uint64_t ino, uint64_t parent, uint32_t mode)
{
	struct orbit_id id = layout_inode_id(ino);
	uint64_t slot[TXN_SLOTS] = {0};
	uint64_t now = (uint64_t)k->cfg->now;

	slot[SLOT_MODE] = S_IFDIR | mode;
	slot[SLOT_NLINK] = 2;
	slot[SLOT_PARENT] = parent;
	slot[SLOT_ATIME] = slot[SLOT_MTIME] = slot[SLOT_CTIME] = slot[SLOT_BTIME] = now;
	return txn_create(t, &id, 0xffff, slot);
}

static int find_lost_found(struct check *k)
{
	uint64_t root = layout_ino_root();
	struct orbit_id id = layout_inode_id(root);
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	size_t klen = layout_dirent_key("lost+found", 10, key);
	struct follow x = {0};
	struct txn_build t;
	uint64_t ino;
	int rc;

	if (k->lost_found)
		return 0;
	txn_init(&t);
	txn_get_map(&t, &id, key, klen);
	rc = check_txn(k, &t, look_lost, &x);
	if (rc)
		return rc;
	if (x.found) {
		k->lost_found = x.ino;
		return 0;
	}
	/* from the top: a mount on the same client counts from the bottom */
	ino = layout_ino_own(layout_low(orbit_session(k->client), 0xffffff - k->counter++));
	layout_dirent_value(ino, DT_DIR, val);
	txn_init(&t);
	txn_map_absent(&t, &id, key, klen);
	txn_put(&t, &id, key, klen, val, sizeof(val));
	txn_add(&t, &id, SLOT_CHILDREN, 1);
	txn_refer(&t, &id, SLOT_NLINK, 1);
	make_directory(k, &t, ino, root, 0700);
	rc = check_txn(k, &t, NULL, NULL);
	if (!rc)
		k->lost_found = ino;
	return rc;
}

struct inode_now {
	bool present;
	struct txn_object o;
};

static void look_inode(void *arg, const struct orbit_reply *r)
{
	struct inode_now *x = arg;
	struct txn_result res;

	if (!orbit_result(r, 0, &res) && res.present) {
		struct cur c = cur_of(res.data, res.len);

		x->o = txn_get_object(&c);
		x->present = cur_ok(&c);
	}
}

/* Links the inode to lost+found; for a cycle also takes it out of the directory that it was in. */
static int rescue(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_inode_id(f->ino), lost, old = layout_inode_id(f->other);
	struct entry e = {.child = f->ino};
	struct inode_now in = {0};
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	char name[32];
	size_t klen;
	struct txn_build t;
	bool dir;
	int rc = find_lost_found(k);

	if (!rc && f->problem == CHECK_CYCLE)
		rc = find_entry(k, f->other, &e);
	if (rc)
		return rc;
	txn_init(&t);
	txn_get(&t, &id);
	rc = check_txn(k, &t, look_inode, &in);
	if (rc)
		return rc;
	if (!in.present || (f->version && in.o.version != f->version))
		return -ECANCELED;
	dir = S_ISDIR(in.o.slot[SLOT_MODE]);
	lost = layout_inode_id(k->lost_found);
	klen = layout_dirent_key(
		name, (size_t)snprintf(name, sizeof(name), "#%" PRIu64, f->ino), key);
	layout_dirent_value(f->ino, layout_dtype((uint32_t)in.o.slot[SLOT_MODE]), val);
	txn_init(&t);
	txn_version_eq(&t, &id, in.o.version);
	txn_map_absent(&t, &lost, key, klen);
	txn_put(&t, &lost, key, klen, val, sizeof(val));
	txn_add(&t, &lost, SLOT_CHILDREN, 1);
	if (dir)
		txn_refer(&t, &lost, SLOT_NLINK, 1);
	else
		txn_refer(&t, &id, SLOT_NLINK, 1 - (int64_t)in.o.slot[SLOT_NLINK]);
	txn_set(&t, &id, SLOT_PARENT, k->lost_found);
	if (f->problem == CHECK_CYCLE) {
		txn_map_eq(&t, &old, e.key, e.klen, e.val, e.vlen);
		txn_del(&t, &old, e.key, e.klen);
		txn_add(&t, &old, SLOT_CHILDREN, -1);
		txn_refer(&t, &old, SLOT_NLINK, -1);
	}
	return check_txn(k, &t, NULL, NULL);
}

/* ---- counts and marks ---- */

static int set_slot(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_inode_id(f->ino);
	struct txn_build t;

	txn_init(&t);
	txn_version_eq(&t, &id, f->version);
	switch (f->problem) {
	case CHECK_NLINK: /* by REF: the orphan list follows */
		txn_refer(&t, &id, SLOT_NLINK, (int64_t)(f->want - f->have));
		break;
	case CHECK_ORPHAN_UNMARKED:
	case CHECK_ORPHAN_MARK:
		txn_refer(&t, &id, SLOT_NLINK, 0);
		break;
	case CHECK_PARENT:
		txn_set(&t, &id, SLOT_PARENT, f->want);
		break;
	case CHECK_CHILDREN:
		txn_set(&t, &id, SLOT_CHILDREN, f->want);
		break;
	case CHECK_BYTES:
		txn_set(&t, &id, SLOT_BYTES, f->want);
		if (f->other & TAIL_LOW)
			txn_set(&t, &id, SLOT_TAIL, f->other & ~(uint64_t)TAIL_LOW);
		break;
	case CHECK_TRIM:
		txn_set(&t, &id, SLOT_TRIM, 0);
		txn_set(&t, &id, SLOT_TRIM_TO, 0);
		if (f->other) /* what it says of the count stays */
			txn_set(&t, &id, SLOT_TAIL, f->other & TAIL_LOW);
		break;
	default:
		txn_fini(&t);
		return -EOPNOTSUPP;
	}
	return check_txn(k, &t, NULL, NULL);
}

/* A mark on the list without an object: DELETE drops all that bears the ID. */
static int drop_mark(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_inode_id(f->ino);
	struct txn_build t;

	if (f->version)
		return set_slot(k, f);
	txn_init(&t);
	txn_absent(&t, &id);
	txn_delete(&t, &id);
	return check_txn(k, &t, NULL, NULL);
}

/* ---- data ---- */

static int drop_block(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_block_id(f->ino, f->other), owner = layout_inode_id(f->ino);
	struct txn_build t;

	txn_init(&t);
	if (f->problem == CHECK_BLOCK_NO_INODE) {
		txn_absent(&t, &owner);
		txn_version_eq(&t, &id, f->version);
	} else {
		txn_version_eq(&t, &owner, f->version);
	}
	txn_delete(&t, &id);
	return check_txn(k, &t, NULL, NULL);
}

static int drop_locks(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_locks_id(f->ino), owner = layout_inode_id(f->ino);
	struct txn_build t;

	txn_init(&t);
	txn_absent(&t, &owner);
	txn_version_eq(&t, &id, f->version);
	txn_delete(&t, &id);
	return check_txn(k, &t, NULL, NULL);
}

/*
 * The file is cut at its size. Blocks past the end may be those of a writer that is still at work
 * and raises the size last: that compares the cut, finds another one and writes them again.
 */
static int cut_past_end(struct check *k, const struct check_finding *f)
{
	struct orbit_id inode = layout_inode_id(f->ino);
	uint64_t size = f->want, start = f->other * LAYOUT_BLOCK, cut;
	struct inode_now in = {0};
	struct txn_build t;
	int rc;

	txn_init(&t);
	txn_get(&t, &inode);
	rc = check_txn(k, &t, look_inode, &in);
	if (rc)
		return rc;
	if (!in.present || in.o.slot[SLOT_SIZE] != size)
		return -ECANCELED;
	cut = in.o.slot[SLOT_CUT];
	txn_init(&t);
	txn_slot_eq(&t, &inode, SLOT_SIZE, size);
	if (f->other == INLINE_STREAM) {
		txn_punch(&t, &inode, size, UINT64_MAX); /* these come with the size */
	} else {
		struct orbit_id block = layout_block_id(f->ino, f->other);

		txn_slot_eq(&t, &inode, SLOT_CUT, cut);
		txn_add(&t, &inode, SLOT_CUT, 1);
		if (start >= size) {
			txn_delete(&t, &block);
		} else {
			txn_max(&t, &block, BLOCK_SLOT_CUT, cut + 1);
			txn_punch(&t, &block, size - start, UINT64_MAX);
		}
	}
	return check_txn(k, &t, NULL, NULL);
}

/* ---- orphans ---- */

struct holders {
	uint32_t session[64];
	unsigned n;
};

static void look_holds(void *arg, const struct orbit_reply *r)
{
	struct holders *h = arg;
	struct txn_result res;
	struct cur c;
	uint32_t n;

	if (orbit_result(r, 0, &res))
		return;
	c = cur_of(res.data, res.len);
	n = cur_u32(&c);
	for (uint32_t i = 0; i < n && i < ARRAY_LEN(h->session); i++)
		h->session[h->n++] = cur_u32(&c);
}

static int session_alive(struct check *k, uint32_t session)
{
	struct waiting w = {.k = k};
	int rc;

	orbit_check_session(k->client, session, txn_done, &w);
	rc = check_await(k, &w.done);
	return rc ? rc : w.rc;
}

static int drop_dead_holds(struct check *k, const struct orbit_id *id)
{
	struct holders h = {0};
	struct txn_build t;
	int rc;

	txn_init(&t);
	txn_holds(&t, id);
	rc = check_txn(k, &t, look_holds, &h);
	for (unsigned i = 0; !rc && i < h.n; i++) {
		rc = session_alive(k, h.session[i]);
		if (rc == 0)
			return -ECANCELED; /* still open somewhere */
		if (rc != -ESTALE)
			return rc;
		txn_init(&t);
		txn_unhold(&t, id, h.session[i]);
		rc = check_txn(k, &t, NULL, NULL);
	}
	return rc;
}

static void look_gained(void *arg, const struct orbit_reply *r)
{
	uint64_t *left = arg;
	struct txn_result res;

	if (!orbit_result(r, 0, &res) && res.len == 8) {
		struct cur c = cur_of(res.data, res.len);
		uint64_t freed = -cur_u64(&c);

		*left = freed > *left ? 0 : *left - freed;
	}
}

/* Blocks first, until all of the inode's bytes are gone, then the inode. */
static int drop_orphan(struct check *k, const struct check_finding *f)
{
	struct orbit_id id = layout_inode_id(f->ino);
	struct inode_now in = {0};
	struct txn_build t;
	uint64_t left, blocks;
	int rc = drop_dead_holds(k, &id);

	if (rc)
		return rc;
	txn_init(&t);
	txn_get(&t, &id);
	rc = check_txn(k, &t, look_inode, &in);
	if (rc)
		return rc;
	if (!in.present || in.o.slot[SLOT_NLINK])
		return -ECANCELED;
	left = in.o.slot[SLOT_BYTES];
	blocks = in.o.slot[SLOT_SIZE] / LAYOUT_BLOCK + 1;
	for (uint64_t b = 0; left && b < blocks; b++) {
		struct orbit_id block = layout_block_id(f->ino, b);

		txn_init(&t);
		txn_delete(&t, &block);
		rc = check_txn(k, &t, look_gained, &left);
		if (rc)
			return rc;
	}
	txn_init(&t);
	txn_no_hold(&t, &id);
	txn_slot_eq(&t, &id, SLOT_NLINK, 0);
	txn_delete(&t, &id);
	return check_txn(k, &t, NULL, NULL);
}

static int make_root(struct check *k)
{
	uint64_t root = layout_ino_root();
	struct txn_build t;

	txn_init(&t);
	make_directory(k, &t, root, root, 0755);
	return check_txn(k, &t, NULL, NULL);
}

int check_repair(struct check *k, const struct check_finding *f)
{
	switch (f->problem) {
	case CHECK_BAD_ENTRY:
	case CHECK_ENTRY_NO_INODE:
	case CHECK_ENTRY_SURPLUS:
		return remove_entry(k, f);
	case CHECK_ENTRY_TYPE:
		return fix_type(k, f);
	case CHECK_NO_ENTRY:
	case CHECK_CYCLE:
		return rescue(k, f);
	case CHECK_NLINK:
	case CHECK_PARENT:
	case CHECK_CHILDREN:
	case CHECK_BYTES:
	case CHECK_TRIM:
	case CHECK_ORPHAN_UNMARKED:
		return set_slot(k, f);
	case CHECK_ORPHAN_MARK:
		return drop_mark(k, f);
	case CHECK_PAST_END:
		return cut_past_end(k, f);
	case CHECK_BLOCK_NO_INODE:
	case CHECK_BLOCK_OF_OTHER:
		return drop_block(k, f);
	case CHECK_LOCKS_NO_INODE:
		return drop_locks(k, f);
	case CHECK_ORPHAN:
		return drop_orphan(k, f);
	case CHECK_NO_ROOT:
		return make_root(k);
	default:
		return -EOPNOTSUPP;
	}
}
