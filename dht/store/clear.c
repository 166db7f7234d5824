/*
 * Clearing a shard: all its keys go, and the bytes of its streams, a piece at a time.
 *
 * The effect is one small record. With it a key of the store's own notes that the shard is being
 * cleared and what else the effect does; the last piece takes it away and does that. Meanwhile
 * effects of the shard are refused with -EAGAIN, so nothing new is ever deleted: not now, nor when
 * a crash makes the next start begin the clearing again, be it from the record or from the key.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

#define PIECE 1000u /* keys deleted at once */

struct clear {
	LIST_ENTRY(clear) entry;
	struct store *st;
	uint16_t shard;
	const uint8_t *rest; /* what the effect does then */
	size_t rest_len;
	struct key at; /* where the next piece begins */
	/* of one that is under way; not when opening */
	struct store_apply a, *user; /* what is logged, and for whom */
	bool logged, over;           /* over: no piece comes any more */
	int rc;
	struct store_wait wait;
	struct env_task task;
};

/* ---- the effect ---- */

static void note_key(struct key *k, uint16_t shard)
{
	k->len = FLUSH_KEY_LEN(FLUSH_KEY_CLEAR);
	memcpy(k->b, FLUSH_KEY_CLEAR, k->len);
	put_be16(k->b + k->len, shard);
	k->len += 2;
}

/* What may follow: it has to be possible whenever the clearing is through. */
static int check_rest(struct store *st, struct effect_iter *it, uint16_t shard)
{
	struct effect_op op;
	int rc;

	while ((rc = effect_next(it, &op)) > 0) {
		bool fine = false;

		if (op.kind == EFFECT_SECTION)
			fine = op.shard == shard && !op.seq && !op.term;
		else if (op.kind == EFFECT_PUT || op.kind == EFFECT_DEL)
			fine = !apply_own_key(op.key);
		else if (op.kind == EFFECT_HISTORY)
			fine = history_replace(st, shard, op.val, op.vlen) == 0;
		if (!fine)
			return -EBADMSG;
	}
	return rc;
}

int clear_met(struct store *st, struct effect_iter *it, uint16_t shard)
{
	static const uint8_t none[20]; /* a history */
	struct batch *b = &st->batch;
	struct key k;
	int rc;

	st->clear_shard = shard;
	st->clear_rest = it->c.p;
	st->clear_rest_len = it->c.left;
	if (it->c.left > EFFECT_VALUE_MAX)
		return -EMSGSIZE;
	rc = check_rest(st, it, shard);
	if (rc)
		return rc;
	note_key(&k, shard);
	batch_put(b, batch_dup(b, k.b, k.len), k.len, st->clear_rest, st->clear_rest_len);
	return history_replace(st, shard, none, sizeof(none));
}

bool clear_busy(const struct store *st, uint16_t shard)
{
	const struct clear *c;

	LIST_FOREACH (c, &st->clears, entry) {
		if (c->shard == shard && !c->over)
			return true;
	}
	return false;
}

/* ---- a piece ---- */

static void delete_key(struct store *st, const void *key, size_t klen, const void *val, size_t vlen)
{
	struct batch *b = &st->batch;
	struct extent e;

	if (*(const uint8_t *)key == KEY_EXTENT) {
		if (extent_decode(&e, key, klen, val, vlen))
			st->damaged++;
		else
			batch_count(b, e.pos, -(int64_t)(e.end - e.start));
	}
	batch_del(b, batch_dup(b, key, klen), klen);
}

/* Deletes of one class from @at on, @left at most: 0 when the class is through, 1, -EAGAIN, -EIO.
 */
static int fill_class(struct store *st, struct key *at, unsigned *left, bool cached)
{
	const void *k, *v;
	struct index_iter *it;
	size_t kl, vl;
	struct key to;
	int rc = 1;

	key_class(&to, (enum key_class)at->b[0], get_be16(at->b + 1));
	key_after_prefix(&to);
	it = st->ix->ops->iter_new(st->ix, at->b, at->len, to.b, to.len, cached);
	while (*left && (rc = st->ix->ops->iter_next(it, &k, &kl, &v, &vl)) > 0) {
		delete_key(st, k, kl, v, vl);
		memcpy(at->b, k, kl);
		at->len = kl;
		--*left;
	}
	st->ix->ops->iter_free(it);
	if (rc == -EAGAIN && *left == PIECE)
		return wait_miss(st, at->b, at->len, to.b, to.len);
	return rc == -EAGAIN ? 1 : rc;
}

/* The next piece into the batch, and where the one after it begins: 0, 1 when it is the last,
 * -EAGAIN (and nothing was found up to *at), -EIO. */
static int fill_piece(struct clear *c, struct key *at, bool cached)
{
	struct store *st = c->st;
	unsigned left = PIECE;
	struct key k;
	int rc;

	*at = c->at;
	batch_reset(&st->batch);
	history_begin(st, st->past_pos);
	for (;;) {
		uint8_t class = at->b[0];

		if (class != KEY_KEEPER && class != KEY_STORE && class != KEY_TERM) {
			rc = fill_class(st, at, &left, cached);
			if (rc)
				return rc < 0 ? rc : 0;
		}
		if (class == 0xff)
			break;
		key_class(at, (enum key_class)(class + 1), c->shard);
	}
	note_key(&k, c->shard);
	batch_del(&st->batch, batch_dup(&st->batch, k.b, k.len), k.len);
	rc = apply_ops(st, c->shard, c->rest, c->rest_len);
	return rc ? rc : 1;
}

/* ---- at once, when the store is opened ---- */

static int clear_now(struct clear *c, uint64_t pos)
{
	struct store *st = c->st;
	struct key at;
	int rc;

	key_class(&c->at, (enum key_class)0, c->shard);
	do {
		int put;

		rc = fill_piece(c, &at, false);
		if (rc < 0)
			return rc;
		put = index_put(st->ix, &st->batch, true);
		if (put)
			return put;
		c->at = at;
		apply_counted(st);
		if (st->mem >= st->cfg.index_buffer / 2) {
			put = recover_flush(st, pos);
			if (put)
				return put;
		}
	} while (!rc);
	return 0;
}

int clear_replay(struct store *st, uint64_t pos)
{
	struct clear c = {.st = st,
		.shard = st->clear_shard,
		.rest = st->clear_rest,
		.rest_len = st->clear_rest_len};

	st->clear_rest = NULL;
	return c.rest ? clear_now(&c, pos) : 0;
}

/* The first that is noted: 1, 0 when there is none, -errno. */
static int find_noted(struct store *st, uint16_t *shard, struct buf *rest)
{
	const size_t len = FLUSH_KEY_LEN(FLUSH_KEY_CLEAR);
	const void *k, *v;
	struct index_iter *it;
	struct key from, to;
	size_t kl, vl;
	int rc;

	note_key(&from, 0);
	memcpy(&to, &from, sizeof(to));
	to.len = len;
	key_after_prefix(&to);
	it = st->ix->ops->iter_new(st->ix, from.b, from.len, to.b, to.len, false);
	rc = st->ix->ops->iter_next(it, &k, &kl, &v, &vl);
	if (rc > 0 && kl != len + 2)
		rc = -EUCLEAN;
	if (rc > 0) {
		*shard = get_be16((const uint8_t *)k + len);
		buf_reset(rest);
		buf_bytes(rest, v, vl);
		if (rest->err)
			rc = rest->err;
	}
	st->ix->ops->iter_free(it);
	return rc;
}

int clear_resume(struct store *st, uint64_t pos)
{
	struct buf rest = {0};
	struct clear c = {.st = st};
	int rc;

	while ((rc = find_noted(st, &c.shard, &rest)) > 0) {
		log_info("mod=store op=clear shard=%u msg=\"clearing a shard goes on\"", c.shard);
		c.rest = rest.data;
		c.rest_len = rest.len;
		rc = clear_now(&c, pos);
		if (rc)
			break;
	}
	buf_fini(&rest);
	return rc;
}

/* ---- under way ---- */

static void settle(struct clear *c)
{
	struct store_apply *user = c->user;
	int rc = c->rc;

	if (!c->logged || !c->over)
		return;
	user->position = c->a.position;
	LIST_REMOVE(c, entry);
	free(c);
	user->done(user, rc);
}

static void end(struct clear *c, int rc)
{
	if (!c->rc)
		c->rc = rc;
	c->over = true;
	wait_wake(c->st); /* effects of the shard may come */
	settle(c);
}

static void logged(struct store_apply *a, int rc)
{
	struct clear *c = container_of(a, struct clear, a);

	c->logged = true;
	c->rc = rc;
	settle(c);
}

static void step(struct clear *c)
{
	struct store *st = c->st;
	struct key at;
	int rc, put;

	if (st->broken) {
		end(c, -EROFS);
		return;
	}
	if (st->closing)
		return; /* the next start goes on */
	if (apply_held(st)) {
		store_wait(st, &c->wait);
		return;
	}
	rc = fill_piece(c, &at, true);
	if (rc == -EAGAIN)
		c->at = at; /* there is nothing before */
	put = rc < 0 ? rc : index_put(st->ix, &st->batch, false);
	if (put == -EAGAIN) {
		if (rc >= 0)
			wait_stall(st);
		store_wait(st, &c->wait);
		return;
	}
	if (put) {
		log_error("mod=store op=clear shard=%u rc=%s msg=\"a shard cannot be cleared\"",
			c->shard, log_errno(put));
		if (rc >= 0)
			journal_break(st, put, "the index could not be changed");
		end(c, put);
		return;
	}
	c->at = at;
	apply_counted(st);
	flush_maybe(st);
	if (rc)
		end(c, 0);
	else
		env_post(st->env, &c->task);
}

static void run_task(struct env_task *t)
{
	step(container_of(t, struct clear, task));
}

static void ready(struct store_wait *w)
{
	step(container_of(w, struct clear, wait));
}

struct store_apply *clear_begin(struct store *st, struct store_apply *a)
{
	struct clear *c;

	if (!st->clear_rest)
		return a;
	c = mem_zalloc(sizeof(*c));
	c->st = st;
	c->shard = st->clear_shard;
	c->rest = st->clear_rest; /* of the effect, which stays until it is done */
	c->rest_len = st->clear_rest_len;
	st->clear_rest = NULL;
	key_class(&c->at, (enum key_class)0, c->shard);
	c->a.effect = a->effect;
	c->a.done = logged;
	c->user = a;
	c->wait.ready = ready;
	c->task.run = run_task;
	LIST_INSERT_HEAD(&st->clears, c, entry);
	env_post(st->env, &c->task);
	return &c->a;
}

void clear_fini(struct store *st)
{
	struct clear *c;

	while ((c = LIST_FIRST(&st->clears))) {
		LIST_REMOVE(c, entry);
		env_unpost(st->env, &c->task);
		free(c);
	}
}
