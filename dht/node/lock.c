#include "dht/node/lock.h"

#include <stdlib.h>

#include "dht/base/mem.h"

/* What an operation asks for; false: nothing. */
static bool lock_of_op(const struct txn_op *op, struct lock *l)
{
	enum lock_part part = LOCK_OBJECT;
	enum lock_mode mode = LOCK_READ;

	switch (op->kind) {
	case TXN_LEASE:
		return false;
	case TXN_EXISTS:
	case TXN_ABSENT:
		part = LOCK_LIFE;
		break;
	case TXN_SLOT_EQ:
	case TXN_SLOT_NE:
		part = LOCK_SLOT;
		break;
	case TXN_MAP_EQ:
	case TXN_MAP_ABSENT:
	case TXN_MAP_PRESENT:
	case TXN_GET_MAP:
	case TXN_FOLLOW:
		part = LOCK_KEY;
		break;
	case TXN_MAP_EMPTY:
	case TXN_RANGE:
		part = LOCK_MAP;
		break;
	case TXN_NO_HOLD:
	case TXN_HOLDS:
		part = LOCK_HOLDS;
		break;
	case TXN_READ:
	case TXN_RANGES:
		part = LOCK_STREAM;
		break;
	case TXN_VERSION_EQ:
	case TXN_GET:
		break;
	case TXN_CREATE:
	case TXN_DELETE:
		mode = LOCK_WRITE;
		break;
	case TXN_SET:
	case TXN_REF:
	case TXN_MIN:
		part = LOCK_SLOT;
		mode = LOCK_WRITE;
		break;
	case TXN_ADD:
		part = LOCK_SLOT;
		mode = LOCK_ADD;
		break;
	case TXN_MAX:
		part = LOCK_SLOT;
		mode = LOCK_MAX;
		break;
	case TXN_PUT:
	case TXN_DEL:
		part = LOCK_KEY;
		mode = LOCK_WRITE;
		break;
	case TXN_WRITE:
	case TXN_PUNCH:
	case TXN_COPY:
		part = LOCK_STREAM;
		mode = LOCK_WRITE;
		break;
	case TXN_HOLD:
	case TXN_UNHOLD:
		/* holds are counted: one more or less of them commutes, looking at them does not */
		part = LOCK_HOLDS;
		mode = LOCK_ADD;
		break;
	}
	*l = (struct lock){.part = part, .mode = mode, .slot = op->slot};
	if (part == LOCK_KEY) {
		l->key = op->key;
		l->klen = op->klen;
	}
	return true;
}

static bool overlap(const struct lock *a, const struct lock *b)
{
	if (a->part == LOCK_OBJECT || b->part == LOCK_OBJECT)
		return true;
	if (a->part == LOCK_MAP || b->part == LOCK_MAP)
		return (a->part == LOCK_MAP || a->part == LOCK_KEY) &&
		       (b->part == LOCK_MAP || b->part == LOCK_KEY);
	if (a->part != b->part)
		return false;
	if (a->part == LOCK_SLOT)
		return a->slot == b->slot;
	if (a->part == LOCK_KEY)
		return a->klen == b->klen && !memcmp(a->key, b->key, a->klen);
	return true;
}

static bool together(enum lock_mode a, enum lock_mode b)
{
	return a == b && a != LOCK_WRITE;
}

bool lock_older(const struct lock_owner *a, const struct lock_owner *b)
{
	if (a->age != b->age)
		return a->age < b->age;
	if (a->session != b->session)
		return a->session < b->session;
	return a->number < b->number;
}

static struct lock_object *find_object(const struct lock_table *t, const struct orbit_id *id)
{
	struct lock_object *o;

	HASH_FIND(hh, t->objects, id, sizeof(*id), o);
	return o;
}

static struct lock_owner *older_of(struct lock_owner *a, struct lock_owner *b)
{
	return !a || lock_older(b, a) ? b : a;
}

static struct lock_owner *conflict_on(
	const struct lock_object *o, const struct lock *want, const struct lock_owner *self)
{
	struct lock_owner *oldest = NULL;
	struct lock *l;

	TAILQ_FOREACH (l, &o->locks, entry) {
		if (l->owner != self && !together(l->mode, want->mode) && overlap(l, want))
			oldest = older_of(oldest, l->owner);
	}
	return oldest;
}

struct lock_owner *lock_conflict(
	const struct lock_table *t, const struct txn_view *v, const struct lock_owner *self)
{
	struct txn_iter it = txn_iter_of(v);
	struct lock_owner *oldest = NULL;
	struct txn_op op;

	if (lock_none(t))
		return NULL;
	while (txn_next(&it, &op)) {
		struct lock_object *o = find_object(t, &v->object[op.object]);
		struct lock_owner *found;
		struct lock want;

		if (!o || !lock_of_op(&op, &want))
			continue;
		found = conflict_on(o, &want, self);
		if (found)
			oldest = older_of(oldest, found);
	}
	return oldest;
}

static struct lock_owner *conflict_whole(
	const struct lock_table *t, const struct orbit_id *id, enum lock_mode mode)
{
	const struct lock want = {.part = LOCK_OBJECT, .mode = mode};
	struct lock_object *o = find_object(t, id);

	return o ? conflict_on(o, &want, NULL) : NULL;
}

struct lock_owner *lock_conflict_read(const struct lock_table *t, const struct orbit_id *id)
{
	return conflict_whole(t, id, LOCK_READ);
}

struct lock_owner *lock_conflict_write(const struct lock_table *t, const struct orbit_id *id)
{
	return conflict_whole(t, id, LOCK_WRITE);
}

void lock_take(struct lock_table *t, struct lock_owner *owner, const struct txn_view *v)
{
	struct txn_iter it = txn_iter_of(v);
	struct txn_op op;

	owner->nlocks = 0;
	owner->locks = mem_zalloc((v->nops ? v->nops : 1) * sizeof(*owner->locks));
	while (txn_next(&it, &op)) {
		const struct orbit_id *id = &v->object[op.object];
		struct lock *l = &owner->locks[owner->nlocks];
		struct lock_object *o;

		if (!lock_of_op(&op, l))
			continue;
		owner->nlocks++;
		o = find_object(t, id);
		if (!o) {
			o = mem_zalloc(sizeof(*o));
			o->id = *id;
			TAILQ_INIT(&o->locks);
			HASH_ADD(hh, t->objects, id, sizeof(o->id), o);
		}
		l->owner = owner;
		l->object = o;
		TAILQ_INSERT_TAIL(&o->locks, l, entry);
	}
}

void lock_drop(struct lock_table *t, struct lock_owner *owner)
{
	for (unsigned i = 0; i < owner->nlocks; i++) {
		struct lock_object *o = owner->locks[i].object;

		TAILQ_REMOVE(&o->locks, &owner->locks[i], entry);
		if (TAILQ_EMPTY(&o->locks)) {
			HASH_DEL(t->objects, o);
			free(o);
		}
	}
	free(owner->locks);
	owner->locks = NULL;
	owner->nlocks = 0;
}
