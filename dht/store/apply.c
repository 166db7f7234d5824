/* Turns records into changes of the index: for effects as they come, and again when replayed. */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/store/store_int.h"

bool apply_own_key(const void *key)
{
	uint8_t c = *(const uint8_t *)key;

	return c == KEY_EXTENT || c == KEY_STORE || c == KEY_TERM;
}

static int apply_op(struct store *st, struct extent_ctx *x, const struct record *r,
	const struct effect_op *op, uint16_t shard)
{
	switch (op->kind) {
	case EFFECT_SECTION:
		return history_section(st, op->shard, op->term, op->seq);
	case EFFECT_PUT:
		if (apply_own_key(op->key))
			return -EBADMSG;
		batch_put(x->b, op->key, op->klen, op->val, op->vlen);
		return 0;
	case EFFECT_DEL:
		if (apply_own_key(op->key))
			return -EBADMSG;
		batch_del(x->b, op->key, op->klen);
		return 0;
	case EFFECT_WRITE:
		if (op->data_at + op->len > r->data_len)
			return -EBADMSG;
		return extent_write(x, shard, &op->id, op->off, op->len,
			record_data(r) + op->data_at, op->crcs);
	case EFFECT_PUNCH:
		return extent_punch(x, shard, &op->id, op->off, op->to);
	case EFFECT_DROP:
		return extent_drop(x, shard, &op->id);
	case EFFECT_HISTORY:
		return history_replace(st, shard, op->val, op->vlen);
	case EFFECT_CLEAR:
		break; /* see apply_effect() */
	}
	return -EBADMSG;
}

static int apply_effect(
	struct store *st, struct extent_ctx *x, const struct record *r, const void *meta)
{
	struct effect_iter it = effect_iter_of(meta, r->meta_len);
	bool section = false, counted = false;
	struct effect_op op;
	unsigned nops = 0;
	uint16_t shard = 0;
	int rc;

	while ((rc = effect_next(&it, &op)) > 0) {
		nops++;
		if (op.kind == EFFECT_SECTION) {
			if (clear_busy(st, op.shard))
				return -EBUSY;
			section = true;
			counted = op.seq;
			shard = op.shard;
		} else if (!section && op.kind >= EFFECT_WRITE) {
			return -EBADMSG; /* of which shard? */
		} else if (counted && op.kind == EFFECT_HISTORY) {
			return -EBADMSG; /* it says itself where it stands */
		} else if (op.kind == EFFECT_CLEAR) {
			if (counted || nops != 2)
				return -EBADMSG;
			rc = clear_met(st, &it, shard);
			break;
		}
		rc = apply_op(st, x, r, &op, shard);
		if (rc)
			return rc;
	}
	if (rc == 0 && it.data_at != r->data_len)
		rc = -EBADMSG;
	return rc;
}

int apply_ops(struct store *st, uint16_t shard, const void *meta, size_t len)
{
	struct extent_ctx x = {.ix = st->ix, .b = &st->batch};
	struct effect_iter it = effect_iter_of(meta, len);
	const struct record r = {.kind = RECORD_EFFECT};
	struct effect_op op;
	int rc;

	while ((rc = effect_next(&it, &op)) > 0) {
		if (op.kind == EFFECT_SECTION)
			continue;
		rc = apply_op(st, &x, &r, &op, shard);
		if (rc)
			break;
	}
	return rc;
}

static int apply_moves(struct extent_ctx *x, const struct record *r, const void *meta)
{
	struct effect_iter it = move_iter_of(meta, r->meta_len);
	struct move_op op;
	int rc;

	while ((rc = move_next(&it, &op)) > 0) {
		struct extent_move mv = {.shard = op.shard,
			.id = op.id,
			.start = op.start,
			.old = op.old,
			.pos = record_data(r) + op.data_at,
			.len = op.len,
			.crcs = op.crcs};

		if (op.data_at + op.len > r->data_len)
			return -EBADMSG;
		rc = extent_move(x, &mv);
		if (rc)
			return rc;
	}
	return rc;
}

int apply_batch(struct store *st, const struct record *r, const void *meta, bool cached)
{
	struct extent_ctx x = {.ix = st->ix, .b = &st->batch, .cached = cached};
	uint64_t *end;
	int rc;

	batch_reset(&st->batch);
	history_begin(st, r->pos);
	st->clear_rest = NULL;
	rc = r->kind == RECORD_MOVE ? apply_moves(&x, r, meta) : apply_effect(st, &x, r, meta);
	if (rc == -EBUSY) {
		wait_stall(st);
		return -EAGAIN;
	}
	if (rc == -EAGAIN)
		rc = wait_miss(st, x.missed.b, x.missed.len, x.missed_to.b, x.missed_to.len);
	if (rc == -EIO)
		st->damaged++;
	if (rc)
		return rc;
	end = batch_alloc(&st->batch, 8);
	*end = htole64(record_end(r));
	batch_put(&st->batch, FLUSH_KEY_POS, FLUSH_KEY_LEN(FLUSH_KEY_POS), end, 8);
	return 0;
}

void apply_counted(struct store *st)
{
	for (size_t i = 0; i < st->batch.nlive; i++) {
		const struct batch_live *l = &st->batch.live[i];
		struct seg *s = seg_at(st, l->pos);

		/* extents of a segment that is missing count nowhere */
		if (!s)
			continue;
		s->live += (uint64_t)l->bytes;
		st->live_bytes += (uint64_t)l->bytes;
		if (l->bytes < 0 && s->sealed && compact_deserves(st, s))
			flush_garbage(st);
	}
	history_commit(st);
	st->mem += st->batch.bytes;
}

bool apply_held(const struct store *st)
{
	return st->held || st->queued > QUEUE_MAX ||
	       (st->flush == FLUSH_PRESYNC && st->round_bytes > ROUND_MAX) ||
	       (st->flush != FLUSH_IDLE && st->mem >= st->cfg.index_buffer);
}

int apply_record(
	struct store *st, struct store_apply *a, enum record_kind kind, enum store_urgency urgency)
{
	const struct effect *e = a->effect;
	uint64_t len = record_len(e->meta.len, e->data_len);
	struct record r = {
		.kind = kind, .meta_len = (uint32_t)e->meta.len, .data_len = (uint32_t)e->data_len};
	int rc;

	if (st->broken)
		return -EROFS;
	if (e->meta.err)
		return e->meta.err;
	if (e->meta.len > EFFECT_META_MAX || e->data_len > EFFECT_DATA_MAX)
		return -EMSGSIZE;
	if (apply_held(st))
		return -EAGAIN;
	rc = space_check(st, len, urgency);
	if (rc)
		return rc;
	r.pos = seg_place(st);
	rc = apply_batch(st, &r, e->meta.data, true);
	if (rc)
		return rc;
	rc = index_put(st->ix, &st->batch, false);
	if (rc == -EAGAIN)
		wait_stall(st);
	else if (rc)
		journal_break(st, rc, "the index could not be changed");
	if (rc)
		return rc == -EAGAIN ? rc : -EROFS;
	st->since_flush += len;
	st->since_room += len;
	st->round_bytes += len;
	journal_append(st, clear_begin(st, a), kind);
	/* the batch counts live bytes of the record that now stands in its segment */
	apply_counted(st);
	flush_maybe(st);
	return 0;
}

int store_apply(struct store *st, struct store_apply *a, enum store_urgency urgency)
{
	return st->closing ? -EROFS : apply_record(st, a, RECORD_EFFECT, urgency);
}
