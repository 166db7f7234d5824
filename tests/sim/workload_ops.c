/* What clients do: write, read, sync. */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tests/sim/workload_int.h"

static void actor_thought(void *arg)
{
	struct actor *a = arg;

	a->thinking--;
	actor_next(a);
}

/* After anything ended: go on after a short thinking time. */
static void actor_think(struct actor *a)
{
	struct sim *s = a->run->c->s;

	a->thinking++;
	sim_after(s, sim_below(s, a->run->think), actor_thought, a);
}

static void ended(struct actor *a)
{
	a->run->pending--;
	a->running--;
	actor_think(a);
}

void actor_kill(struct actor *a)
{
	struct run *r = a->run;

	a->dead = true;
	r->pending -= a->running;
	a->started = r->per_client;
	for (size_t i = 0; i < r->nops; i++) {
		struct op *op = r->op[i];

		if (op->actor != a || op->state != OP_RUNNING)
			continue;
		if (op->is_kept && !op->sent) { /* nobody heard of it */
			op->state = OP_FAILED;
			op->callbacks = 1;
			continue;
		}
		op->state = OP_UNKNOWN;
		r->res->unknown++;
	}
}

/* Its session ended: there must be another one by now; or, where a node knew it before the keeper
 * was asked, at the end. */
static void check_stale(struct actor *a, uint32_t session)
{
	if (session && orbit_session(a->client) == session)
		a->stale = session;
	a->run->res->stale++;
}

/* ---- writing ---- */

static void op_error(struct op *op, const struct orbit_reply *reply)
{
	struct run *r = op->run;

	op->state = OP_UNKNOWN;
	r->res->unknown++;
	switch (reply->rc) {
	case -ETIMEDOUT:
		if (!op->actor->soft)
			broke(r, "uid %llu: a hard transaction timed out",
				(unsigned long long)op->uid);
		op->given_up = true;
		return;
	case -EINTR:
		if (!op->cancelled)
			broke(r, "uid %llu: interrupted by nobody", (unsigned long long)op->uid);
		op->given_up = true;
		return;
	case -ESTALE:
		check_stale(op->actor, op->session);
		op->given_up = true;
		return;
	case -ENOSPC:
		r->res->no_space++;
		if (r->full)
			return;
		break;
	case -EIO:
	case -EROFS:
		if (r->power || (reply->rc == -EIO && flip_excuses(r, op->began)))
			return; /* a disk failed */
		break;
	case -ESHUTDOWN:
		if (op->actor->closed)
			return;
		break;
	}
	broke(r, "uid %llu: unexpected error %d", (unsigned long long)op->uid, reply->rc);
}

static void writes(struct op *op, void (*fn)(struct actor *a, unsigned object))
{
	for (unsigned i = 0; i < op->ntouch; i++)
		fn(op->actor, op->touch[i].object);
	for (unsigned i = 0; i < op->nbare; i++)
		fn(op->actor, op->bare[i]);
}

static unsigned objects_of(const struct op *op)
{
	unsigned objects = 0;

	for (unsigned i = 0; i < op->ntouch; i++)
		objects |= 1u << op->touch[i].object;
	for (unsigned i = 0; i < op->nbare; i++)
		objects |= 1u << op->bare[i];
	return objects;
}

static void op_done(void *arg, const struct orbit_reply *reply)
{
	struct op *op = arg;
	struct run *r = op->run;

	if (++op->callbacks > 1)
		broke(r, "callback of uid %llu ran twice", (unsigned long long)op->uid);
	if (op->actor->dead)
		return;
	writes(op, held_write_ended);
	if (reply->rc == 0 && op->read)
		check_read(r, op->read, op->actor, reply);
	op->ended = ++r->clock;
	log_debug("mod=sim client=%u uid=%llu rc=-%s msg=\"write ended\"", op->actor->index,
		(unsigned long long)op->uid, log_errno(reply->rc));
	if (reply->rc == 0) {
		op->state = OP_ACKED;
		r->res->acked++;
	} else if (reply->rc == -ECANCELED) {
		op->state = OP_FAILED;
		r->res->compare_failed++;
		if (!op->cas && !op->flips)
			broke(r, "uid %llu: compare failed without one (op %d)",
				(unsigned long long)op->uid, reply->failed);
	} else {
		op_error(op, reply);
	}
	if (op->is_kept)
		held_flush_done(op);
	if (op->state == OP_ACKED)
		held_probe(r, objects_of(op));
	ended(op->actor);
}

/* Those that it works on, but those of which it keeps a write back. */
static unsigned free_objects(const struct actor *a)
{
	return (a->only ? a->only : (1u << OBJECTS) - 1) & ~a->kept;
}

static unsigned pick_objects(const struct actor *a, unsigned *object)
{
	struct run *r = a->run;
	unsigned n = 1 + (unsigned)sim_below(r->c->s, TOUCH_MAX), got = 0;
	unsigned of = free_objects(a);

	n = n < (unsigned)__builtin_popcount(of) ? n : (unsigned)__builtin_popcount(of);

	while (got < n) {
		unsigned o = (unsigned)sim_below(r->c->s, OBJECTS);
		bool twice = !(of & 1u << o);

		for (unsigned i = 0; i < got; i++)
			twice |= object[i] == o;
		if (!twice)
			object[got++] = o;
	}
	return n;
}

void op_cancel(struct op *op)
{
	if (op->state != OP_RUNNING || op->actor->closed || op->actor->dead)
		return;
	op->cancelled = true;
	if (orbit_cancel(op->actor->client, op->handle, sim_chance(op->run->c->s, 500)))
		op->run->res->cancels++;
}

static void cancel_op(void *arg)
{
	op_cancel(arg);
}

static uint16_t primary_of(struct run *r, unsigned object)
{
	const struct ring_map *m = r->c->map;

	return m->shards[ring_shard_of(m, &r->id[object])].primary;
}

static struct op *op_add(struct actor *a)
{
	struct run *r = a->run;
	struct op *op = mem_zalloc(sizeof(*op));

	if (r->nops == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->op = mem_grow(r->op, r->cap, sizeof(struct op *));
	}
	r->op[r->nops++] = op;
	op->uid = r->nops;
	op->run = r;
	op->actor = a;
	op->began = ++r->clock;
	op->session = orbit_session(a->client);
	return op;
}

static struct op *op_new(struct actor *a)
{
	struct run *r = a->run;
	struct op *op = op_add(a);
	unsigned object[TOUCH_MAX];

	op->ntouch = pick_objects(a, object);
	for (unsigned i = 0; i < op->ntouch; i++) {
		op->touch[i].object = object[i];
		/* where shards move, they may meet on one node after all */
		op->cross |= !r->ring && primary_of(r, object[i]) != primary_of(r, object[0]);
	}
	return op;
}

/* A third of the objects get bytes; most of those in the transaction's own place. */
static void add_bytes(struct op *op, struct txn_build *t, struct touch *x)
{
	struct run *r = op->run;
	struct sim *s = r->c->s;
	const struct orbit_id *id = &r->id[x->object];
	uint64_t dice = sim_below(s, 1000), off;
	uint8_t *bytes;
	void *room;

	if (dice >= 400)
		return;
	x->bytes = dice < 200 ? BYTES_OWN : dice < 340 ? BYTES_SHARED : BYTES_PUNCH;
	x->region = (unsigned)sim_below(s, SHARED);
	off = x->bytes == BYTES_OWN ? OWN_AT + op->uid * OWN_STRIDE : x->region * SHARED_STRIDE;
	x->len = 8 * (1 + (unsigned)sim_below(s, x->bytes == BYTES_OWN ? OWN_BYTES / 8
						 : sim_chance(s, 500)  ? 50
								       : SHARED_BYTES / 8));
	if (x->bytes == BYTES_PUNCH) {
		txn_punch(t, id, off, off + x->len);
		return;
	}
	if (txn_write_room(t, id, off, x->len, &room) < 0)
		return;
	bytes = room;
	for (unsigned i = 0; i < x->len; i += 8)
		put_be64(bytes + i, op->uid);
}

/* What is there before it writes. */
static void add_reads(struct op *op, struct txn_build *t)
{
	struct read *rd = op->read = mem_zalloc(sizeof(*rd));

	rd->actor = op->actor;
	rd->began = op->began;
	rd->writer = op->uid;
	for (unsigned i = 0; i < op->ntouch; i++) {
		read_object(rd, t, op->touch[i].object);
		if (op->touch[i].bytes != BYTES_NONE)
			read_piece(rd, t, i, op->touch[i].region, 0);
	}
}

/* Appends to the list of the object, if it is as long as was seen last. */
static void add_append(struct op *op, struct txn_build *t, unsigned object)
{
	const struct orbit_id *id = &op->run->id[object];
	uint8_t key[LIST_LEN], val[8];

	op->cas = true;
	op->cas_from = op->actor->cas_seen[object];
	key[0] = 'L';
	put_be64(key + 1, op->cas_from);
	put_be64(val, op->uid);
	txn_slot_eq(t, id, SLOT_CAS, op->cas_from);
	txn_set(t, id, SLOT_CAS, op->cas_from + 1);
	txn_put(t, id, key, sizeof(key), val, sizeof(val));
}

static void submit(struct op *op, struct txn_build *t)
{
	static const uint64_t patience[] = {5 * ENV_MS, 100 * ENV_MS, 3 * ENV_SEC};
	struct run *r = op->run;
	struct sim *s = r->c->s;

	if (!op->is_kept) {
		op->actor->running++;
		r->pending++;
	}
	writes(op, held_write_begins);
	op->handle = orbit_submit(op->actor->client, t, NULL, op_done, op);
	if (sim_chance(s, r->impatient ? 400 : 30))
		sim_after(s, sim_below(s, patience[sim_below(s, 3)]), cancel_op, op);
}

/* Either way, as chance has it. */
static void add_flip(struct op *op, struct txn_build *t, unsigned object)
{
	const struct orbit_id *id = &op->run->id[object];
	uint64_t is = sim_below(op->run->c->s, 2);

	op->flips = true;
	txn_slot_eq(t, id, SLOT_SWITCH, is);
	txn_set(t, id, SLOT_SWITCH, !is);
}

/* Adds to counters and nothing else. */
static void start_bare(struct actor *a)
{
	struct op *op = op_new(a);
	struct txn_build t;

	txn_init(&t);
	op->nbare = op->ntouch;
	op->ntouch = 0;
	for (unsigned i = 0; i < op->nbare; i++) {
		op->bare[i] = op->touch[i].object;
		txn_add(&t, &op->run->id[op->bare[i]], SLOT_BARE, (int64_t)op_amount(op));
	}
	submit(op, &t);
}

static void leave_id(struct op *op, struct txn_build *t, unsigned object)
{
	const struct orbit_id *id = &op->run->id[object];
	uint8_t key[ID_LEN];

	put_be64(key, op->uid);
	txn_add(t, id, SLOT_COUNT, 1);
	txn_add(t, id, SLOT_SUM, (int64_t)op_amount(op));
	txn_max(t, id, SLOT_MAX, op->uid);
	txn_put(t, id, key, sizeof(key), "x", 1);
}

struct op *actor_keep(struct actor *a, unsigned object)
{
	struct op *op = op_add(a);

	op->is_kept = true;
	op->ntouch = 1;
	op->touch[0].object = object;
	a->running++;
	a->run->pending++;
	return op;
}

void actor_send_kept(struct op *op)
{
	struct txn_build t;

	txn_init(&t);
	leave_id(op, &t, op->touch[0].object);
	submit(op, &t);
}

/* Its session ended first: it never will be. */
void actor_lost_kept(struct op *op)
{
	op->callbacks = 1;
	op->state = OP_FAILED;
	op->ended = ++op->run->clock;
	ended(op->actor);
}

static void start_write(struct actor *a)
{
	struct run *r = a->run;
	struct sim *s = r->c->s;
	struct op *op = op_new(a);
	struct txn_build t;

	txn_init(&t);
	if (a->flips)
		add_flip(op, &t, op->touch[0].object);
	else if (sim_chance(s, 300))
		add_append(op, &t, op->touch[0].object);
	for (unsigned i = 0; i < op->ntouch; i++) {
		const struct orbit_id *id = &r->id[op->touch[i].object];

		leave_id(op, &t, op->touch[i].object);
		if (r->leases && sim_chance(s, 200))
			txn_lease(&t, id, 1 + (unsigned)sim_below(s, 2), true);
		add_bytes(op, &t, &op->touch[i]);
	}
	if (sim_chance(s, 400))
		add_reads(op, &t);
	submit(op, &t);
}

/* ---- reading ---- */

void read_object(struct read *rd, struct txn_build *t, unsigned object)
{
	struct run *r = rd->actor->run;
	unsigned i = rd->nobjects++;

	rd->object[i] = object;
	rd->get[i] = txn_get(t, &r->id[object]);
	rd->range[i] = txn_range(t, &r->id[object], "", 0, true, 100000, 1 << 20, NULL);
}

void read_piece(struct read *rd, struct txn_build *t, unsigned at, unsigned region, uint64_t uid)
{
	struct piece *p = &rd->piece[rd->npieces++];

	*p = (struct piece){.at = at, .region = region, .uid = uid};
	p->index = txn_read(t, &rd->actor->run->id[rd->object[at]],
		uid ? OWN_AT + uid * OWN_STRIDE : region * SHARED_STRIDE,
		uid ? OWN_BYTES : SHARED_BYTES);
}

static void read_done(void *arg, const struct orbit_reply *reply)
{
	struct read *rd = arg;
	struct actor *a = rd->actor;
	struct run *r = a->run;

	if (a->dead) {
		free(rd);
		return;
	}
	for (unsigned i = 0; i < rd->nobjects; i++)
		a->memory[rd->object[i]].reads--;
	switch (reply->rc) {
	case 0:
		check_read(r, rd, a, reply);
		if (rd->keeps)
			held_keep(a, rd->object[0]);
		break;
	case -ETIMEDOUT:
		if (!a->soft)
			broke(r, "a hard read timed out");
		break;
	case -ENOSPC: /* a read across nodes leaves a record */
		if (!r->full)
			broke(r, "a read found no space");
		break;
	case -EIO:
	case -EROFS:
		if (!r->power && !(reply->rc == -EIO && flip_excuses(r, rd->began)))
			broke(r, "a read failed with %d", reply->rc);
		break;
	default:
		if (reply->rc != -ESHUTDOWN || !a->closed)
			broke(r, "a read failed with %d", reply->rc);
	}
	free(rd);
	ended(a);
}

static void wish(struct read *rd, struct txn_build *t)
{
	struct sim *s = rd->actor->run->c->s;

	rd->keeps = rd->nobjects == 1 && sim_chance(s, 400);
	for (unsigned i = 0; i < rd->nobjects; i++) {
		if (rd->keeps)
			held_wish(rd, t, i, ORBIT_LEASE_EXCLUSIVE, sim_chance(s, 700));
		else if (sim_chance(s, 800))
			held_wish(rd, t, i, ORBIT_LEASE_SHARED, true);
	}
}

static void start_read(struct actor *a)
{
	struct run *r = a->run;
	struct read *rd = mem_zalloc(sizeof(*rd));
	struct sim *s = r->c->s;
	unsigned object[TOUCH_MAX], n = pick_objects(a, object);
	struct txn_build t;

	rd->actor = a;
	rd->began = ++r->clock;
	txn_init(&t);
	for (unsigned i = 0; i < n; i++) {
		read_object(rd, &t, object[i]);
		a->memory[object[i]].reads++;
	}
	if (r->leases)
		wish(rd, &t);
	for (unsigned i = 0; i < n && sim_chance(s, 300); i++) {
		read_piece(rd, &t, i, (unsigned)sim_below(s, SHARED), 0);
		if (r->nops)
			read_piece(rd, &t, i, 0, 1 + sim_below(s, r->nops));
	}
	a->running++;
	r->pending++;
	orbit_submit(a->client, &t, NULL, read_done, rd);
}

/* ---- syncing ---- */

struct syncing {
	struct actor *actor;
	uint64_t began;
};

static void sync_done(void *arg, const struct orbit_reply *reply)
{
	struct syncing *sy = arg;
	struct actor *a = sy->actor;
	struct run *r = a->run;
	uint64_t lost = a->dead ? 0 : orbit_losses(a->client);
	int rc = reply->rc;

	/* another one may have been told of it, and be in flight still */
	if (!rc && lost != a->lost)
		rc = -EIO;
	if (rc == -EIO)
		a->lost = lost;
	for (size_t i = 0; i < r->nops && !a->dead; i++) {
		struct op *op = r->op[i];

		if (op->actor != a || op->state != OP_ACKED || op->ended > sy->began)
			continue;
		if (!rc)
			op->synced = true;
		else if (rc == -EIO && !op->synced)
			op->maybe_lost = true;
	}
	log_debug("mod=sim client=%u rc=-%s msg=\"sync ended\"", a->index, log_errno(rc));
	if (!rc)
		r->res->synced++;
	else if (rc == -EIO)
		r->res->sync_lost++;
	if (rc == -EIO && !r->power && !a->dead)
		broke(r, "sync says that something was lost, but no power was");
	free(sy);
	if (!a->dead)
		ended(a);
}

void actor_sync(struct actor *a)
{
	struct syncing *sy = mem_zalloc(sizeof(*sy));

	sy->actor = a;
	sy->began = ++a->run->clock;
	a->running++;
	a->run->pending++;
	orbit_sync(a->client, NULL, sync_done, sy);
}

void actor_next(void *arg)
{
	struct actor *a = arg;
	uint64_t dice;

	if (a->closed || a->dead || a->rests || a->running >= 4)
		return;
	if (a->started >= a->run->per_client)
		return;
	if (!free_objects(a)) {
		held_flush_all(a);
		return;
	}
	a->started++;
	if (a->run->leases && sim_chance(a->run->c->s, 100))
		held_give_back(a);
	if (a->run->leases && sim_chance(a->run->c->s, 300) && held_read(a)) {
		actor_think(a);
		return;
	}
	if (a->reads || a->flips) {
		(a->reads ? start_read : start_write)(a);
		return;
	}
	dice = sim_below(a->run->c->s, 100);
	if (dice < 54)
		start_write(a);
	else if (dice < 60)
		start_bare(a);
	else if (dice < 90)
		start_read(a);
	else
		actor_sync(a);
	if (sim_chance(a->run->c->s, 300) && (!a->run->aim || a->running + a->thinking < 3))
		actor_think(a); /* one more at the same time */
}
