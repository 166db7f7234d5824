/* What must be true of everything that a read shows. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/mem.h"
#include "tests/sim/workload_int.h"

#define SETTLE (30 * ENV_SEC) /* in which what is in doubt is resolved and outcomes forgotten */

const struct orbit_policy workload_patient = {
	.reads_block = true, .writes_block = true, .resend_count = 5, .check_timeout = ENV_SEC};

struct op *op_by_uid(struct run *r, uint64_t uid)
{
	return uid >= 1 && uid <= r->nops ? r->op[uid - 1] : NULL;
}

const struct touch *op_touch(const struct op *op, unsigned object)
{
	for (unsigned i = 0; i < op->ntouch; i++)
		if (op->touch[i].object == object)
			return &op->touch[i];
	return NULL;
}

static unsigned long long llu(uint64_t v)
{
	return v;
}

/* ---- ids, counters ---- */

/* Ids come before places: their keys are less. */
static void check_place(
	struct run *r, const struct read *rd, unsigned at, uint64_t place, uint64_t uid)
{
	const struct op *op = op_by_uid(r, uid);
	unsigned o = rd->object[at];

	if (!op || !op->cas || !op_touch(op, o) || op->touch[0].object != o)
		broke(r, "object %u: place %llu of the list holds uid %llu, which never appended",
			o, llu(place), llu(uid));
	else if (op->cas_from != place || !rd->seen[at][uid])
		broke(r, "object %u: place %llu of the list holds uid %llu, which is %s", o,
			llu(place), llu(uid), rd->seen[at][uid] ? "of another place" : "not there");
}

/* The ids in the object's map: rd->seen. Returns how long its list is. */
static uint64_t parse_ids(
	struct run *r, struct read *rd, unsigned at, const struct txn_result *range)
{
	uint64_t places = 0;
	struct cur c = cur_of(range->data, range->len);
	unsigned o = rd->object[at];
	bool more = cur_u8(&c);
	uint32_t n = cur_u32(&c);

	if (more)
		broke(r, "object %u: a range of everything says there is more", o);
	for (uint32_t i = 0; i < n; i++) {
		size_t klen, vlen;
		const uint8_t *key = cur_blob(&c, 64, &klen), *val;
		struct op *op;

		val = cur_blob(&c, 64, &vlen);
		cur_u8(&c);
		if (cur_ok(&c) && klen == LIST_LEN && vlen == 8 && key[0] == 'L') {
			check_place(r, rd, at, get_be64(key + 1), get_be64(val));
			places++;
			continue;
		}
		if (!cur_ok(&c) || klen != ID_LEN)
			break;
		op = op_by_uid(r, get_be64(key));
		if (!op || !op_touch(op, o))
			broke(r, "object %u holds an id that never was", o);
		else
			rd->seen[at][op->uid] = 1;
	}
	if (!cur_done(&c))
		broke(r, "object %u: the range does not parse", o);
	return places;
}

/* Must an acknowledged transaction be there, whatever happened? */
static bool lasts(const struct run *r, const struct op *op)
{
	return !r->power || op->cross || (op->synced && !op->maybe_lost);
}

static void check_op(
	struct run *r, struct read *rd, unsigned at, struct op *op, const struct actor *a)
{
	unsigned o = rd->object[at];

	if (rd->seen[at][op->uid]) {
		if (op->uid == rd->writer)
			broke(r, "object %u: uid %llu read what it wrote itself", o, llu(op->uid));
		if (op->state == OP_FAILED)
			broke(r, "object %u: uid %llu is there but its compare failed", o,
				llu(op->uid));
		if (op->gone && rd->began > op->gone)
			broke(r, "object %u: uid %llu was given up and not there, and came later",
				o, llu(op->uid));
		return;
	}
	if (op->state == OP_ACKED && op->ended < rd->began && lasts(r, op))
		broke(r, "object %u: acknowledged uid %llu%s%s is missing", o, llu(op->uid),
			op->cross ? " (across nodes)" : "", op->synced ? " (synced)" : "");
	if (op->given_up && !op->gone && op->actor == a && rd->began > op->ended)
		op->gone = ++r->clock;
}

/* Bare counters: no less than what was acknowledged before, no more than was ever tried. */
static void check_bare(struct run *r, const struct read *rd, unsigned o, uint64_t value)
{
	uint64_t least = 0, most = 0;

	for (size_t i = 0; i < r->nops; i++) {
		const struct op *op = r->op[i];

		for (unsigned k = 0; k < op->nbare; k++) {
			if (op->bare[k] != o || op->state == OP_FAILED)
				continue;
			most += op_amount(op);
			if (op->state == OP_ACKED && op->ended < rd->began && lasts(r, op))
				least += op_amount(op);
		}
	}
	if (value < least || value > most)
		broke(r, "object %u: a counter says %llu, not %llu to %llu", o, llu(value),
			llu(least), llu(most));
}

static void check_object(struct run *r, struct read *rd, unsigned at, const struct txn_object *obj,
	uint64_t places, const struct actor *a)
{
	uint64_t count = 0, max = 0, cas = 0, sum = 0;
	unsigned o = rd->object[at];

	for (size_t i = 0; i < r->nops; i++) {
		struct op *op = r->op[i];

		if (!op_touch(op, o))
			continue;
		check_op(r, rd, at, op, a);
		if (!rd->seen[at][op->uid])
			continue;
		count++;
		sum += op_amount(op);
		max = op->uid;
		cas += op->cas && op->touch[0].object == o;
	}
	if (obj->slot[SLOT_COUNT] != count)
		broke(r, "object %u: counter %llu but %llu ids: one was applied twice, or half", o,
			llu(obj->slot[SLOT_COUNT]), llu(count));
	if (obj->slot[SLOT_MAX] != max)
		broke(r, "object %u: the maximum is %llu, not %llu", o, llu(obj->slot[SLOT_MAX]),
			llu(max));
	if (obj->slot[SLOT_SUM] != sum)
		broke(r, "object %u: the sum is %llu, not %llu", o, llu(obj->slot[SLOT_SUM]),
			llu(sum));
	if (obj->slot[SLOT_CAS] != cas || places != cas)
		broke(r, "object %u: %llu appended to the list of %llu, its length is %llu", o,
			llu(cas), llu(places), llu(obj->slot[SLOT_CAS]));
	check_bare(r, rd, o, obj->slot[SLOT_BARE]);
}

/* A transaction is in all of its objects that the read shows, or in none. */
static void check_whole(struct run *r, const struct read *rd)
{
	for (size_t i = 0; i < r->nops; i++) {
		struct op *op = r->op[i];
		unsigned in = 0, of = 0;

		for (unsigned k = 0; k < rd->nobjects; k++) {
			if (!op_touch(op, rd->object[k]))
				continue;
			of++;
			in += rd->seen[k][op->uid];
		}
		if (in && in < of)
			broke(r, "uid %llu is in %u of the %u objects that a read shows",
				llu(op->uid), in, of);
	}
}

/* ---- bytes ---- */

/* Does @op say what the byte at @off of the shared region is? */
static bool covers(const struct op *op, unsigned object, unsigned region, unsigned off)
{
	const struct touch *x = op_touch(op, object);

	return x && (x->bytes == BYTES_SHARED || x->bytes == BYTES_PUNCH) && x->region == region &&
	       off < x->len;
}

/* Where another writer's bytes begin at @off: @uid's, or nobody's (0). @before: whose end there. */
static void check_run(struct run *r, const struct read *rd, const struct piece *p, unsigned off,
	uint64_t uid, uint64_t before)
{
	unsigned o = rd->object[p->at];
	const struct op *owner = op_by_uid(r, uid), *prev = op_by_uid(r, before);
	bool punched = false, written = false;

	if (uid && (!owner || !rd->seen[p->at][uid] || !covers(owner, o, p->region, off) ||
			   op_touch(owner, o)->bytes != BYTES_SHARED)) {
		broke(r, "object %u, region %u: bytes at %u are of uid %llu, which is not there", o,
			p->region, off, llu(uid));
		return;
	}
	if (owner && prev && covers(prev, o, p->region, off))
		broke(r, "object %u, region %u: the bytes of uid %llu and %llu are mixed at %u", o,
			p->region, llu(before), llu(uid), off);
	for (size_t i = 0; i < r->nops; i++) {
		const struct op *op = r->op[i];

		if (op == owner || !rd->seen[p->at][op->uid] || !covers(op, o, p->region, off))
			continue;
		punched |= op_touch(op, o)->bytes == BYTES_PUNCH;
		written |= op_touch(op, o)->bytes == BYTES_SHARED;
		if (owner && owner->state == OP_ACKED && owner->ended < op->began)
			broke(r,
				"object %u, region %u: uid %llu came after %llu and is not seen at "
				"%u",
				o, p->region, llu(op->uid), llu(uid), off);
	}
	if (!uid && written && !punched)
		broke(r, "object %u, region %u: bytes at %u are missing", o, p->region, off);
}

static void check_shared(struct run *r, const struct read *rd, const struct piece *p,
	const uint8_t *bytes, size_t len)
{
	bool *ends = mem_zalloc(len / 8 + 1);
	uint64_t before = 0;

	/* where somebody's bytes end, others' may be missing */
	for (size_t i = 0; i < r->nops; i++) {
		const struct touch *x = op_touch(r->op[i], rd->object[p->at]);

		if (x && x->region == p->region && x->bytes >= BYTES_SHARED)
			ends[x->len / 8] = true;
	}
	for (unsigned off = 0; off < len; off += 8) {
		uint64_t uid = get_be64(bytes + off);

		if (off == 0 || uid != before)
			check_run(r, rd, p, off, uid, before);
		else if (!uid && ends[off / 8])
			check_run(r, rd, p, off, uid, 0);
		before = uid;
	}
	free(ends);
}

static void check_own(struct run *r, const struct read *rd, const struct piece *p,
	const uint8_t *bytes, size_t len)
{
	const struct op *op = op_by_uid(r, p->uid);
	const struct touch *x = op_touch(op, rd->object[p->at]);
	unsigned want = 0;

	if (x && x->bytes == BYTES_OWN && rd->seen[p->at][p->uid])
		want = x->len;
	for (unsigned off = 0; off < len; off += 8) {
		uint64_t is = get_be64(bytes + off), should = off < want ? p->uid : 0;

		if (is == should)
			continue;
		broke(r, "object %u: the bytes of uid %llu at %u are %llx", rd->object[p->at],
			llu(p->uid), off, llu(is));
		return;
	}
}

static void check_piece(struct run *r, const struct read *rd, const struct piece *p,
	const struct orbit_reply *reply)
{
	size_t want = p->uid ? OWN_BYTES : SHARED_BYTES;
	struct txn_result res;
	uint8_t *bytes;

	if (orbit_result(reply, p->index, &res) || res.len > want) {
		broke(r, "object %u: a read without its bytes", rd->object[p->at]);
		return;
	}
	bytes = mem_zalloc(want);
	memcpy(bytes, res.data, res.len);
	if (p->uid)
		check_own(r, rd, p, bytes, want);
	else
		check_shared(r, rd, p, bytes, want);
	r->res->bytes_checked += want;
	free(bytes);
}

/* ---- a read ---- */

void check_read(
	struct run *r, struct read *rd, const struct actor *a, const struct orbit_reply *reply)
{
	for (unsigned i = 0; i < rd->nobjects; i++)
		rd->seen[i] = mem_zalloc(r->nops + 1);
	for (unsigned i = 0; i < rd->nobjects; i++) {
		struct txn_result get, range;
		struct txn_object obj;
		struct cur c;

		if (orbit_result(reply, rd->get[i], &get) ||
			orbit_result(reply, rd->range[i], &range) || !get.present) {
			broke(r, "object %u: a read without its results", rd->object[i]);
			continue;
		}
		c = cur_of(get.data, get.len);
		obj = txn_get_object(&c);
		rd->actor->cas_seen[rd->object[i]] = obj.slot[SLOT_CAS];
		rd->bare[i] = obj.slot[SLOT_BARE];
		check_object(r, rd, i, &obj, parse_ids(r, rd, i, &range), a);
		r->res->reads++;
	}
	check_whole(r, rd);
	for (unsigned i = 0; i < rd->npieces; i++)
		check_piece(r, rd, &rd->piece[i], reply);
	for (unsigned i = 0; i < rd->nobjects; i++)
		held_remember(rd, i, reply, rd->bare[i]);
	hist_add(r, rd);
}

void check_remembered(struct run *r, struct read *rd)
{
	for (unsigned i = 0; i < rd->nobjects; i++) {
		for (size_t k = 0; k < r->nops; k++)
			if (op_touch(r->op[k], rd->object[i]))
				check_op(r, rd, i, r->op[k], rd->actor);
		check_bare(r, rd, rd->object[i], rd->bare[i]);
	}
	check_whole(r, rd);
	if (r->broken)
		broke(r, "that was remembered by client %u", rd->actor->index);
	hist_add(r, rd);
}

/* ---- at the end ---- */

static void waited_done(void *arg, const struct orbit_reply *reply)
{
	struct read *rd = arg;
	struct run *r = rd->actor->run;

	rd->rc = reply->rc;
	rd->done = true;
	if (!reply->rc)
		check_read(r, rd, rd->actor, reply);
	else if (!rd->damage_ok || reply->rc != -EIO)
		broke(r, "the last read failed: %d", reply->rc);
	else
		r->res->flips_noticed++;
}

static void wait_read(struct run *r, struct read *rd, struct txn_build *t)
{
	orbit_submit(rd->actor->client, t, &workload_patient, waited_done, rd);
	if (!sim_wait(r->c->s, &rd->done, 120 * ENV_SEC))
		broke(r, "the last read never ended");
}

static void begin_read(struct run *r, struct read *rd, struct txn_build *t)
{
	*rd = (struct read){.actor = &r->actor[0], .began = ++r->clock};
	txn_init(t);
}

/* All of the object's bytes, a few at a time. */
static void read_stream(struct run *r, unsigned object, bool damage_ok)
{
	uint64_t uid = 1;

	for (unsigned region = 0; (region < SHARED || uid <= r->nops) && !r->broken;) {
		struct txn_build t;
		struct read rd;

		begin_read(r, &rd, &t);
		rd.damage_ok = damage_ok;
		read_object(&rd, &t, object);
		while (region < SHARED && rd.npieces < PIECES_MAX)
			read_piece(&rd, &t, 0, region++, 0);
		for (; uid <= r->nops && rd.npieces < PIECES_MAX; uid++) {
			const struct touch *x = op_touch(r->op[uid - 1], object);

			if (x && x->bytes == BYTES_OWN)
				read_piece(&rd, &t, 0, 0, uid);
		}
		wait_read(r, &rd, &t);
	}
}

void check_end(struct run *r)
{
	struct txn_build t;
	struct read rd;

	begin_read(r, &rd, &t);
	for (unsigned o = 0; o < OBJECTS; o++)
		read_object(&rd, &t, o);
	wait_read(r, &rd, &t);
	if (!r->broken && !r->power)
		hist_check(r);
	for (unsigned o = 0; o < OBJECTS && !r->broken; o++)
		read_stream(r, o, false);
}

void check_damage(struct run *r)
{
	fault_flip(r);
	for (unsigned o = 0; o < OBJECTS && !r->broken; o++)
		read_stream(r, o, true);
}

/* Is it the node's to decide? What it holds besides is for ring_erased() to look at. */
static bool is_member(struct run *r, unsigned i, uint16_t shard)
{
	uint16_t place = cluster_place(r->c, i);

	return !r->ring ||
	       (place != RING_NONE && ring_member(&cluster_map(r->c)->shards[shard], place) >= 0);
}

/* Of shards that are the node's. */
static uint64_t count_keys(struct run *r, unsigned i, uint8_t class)
{
	struct store *st = r->c->node[i].store;
	const uint8_t to = class + 1;
	const void *key, *val;
	struct store_iter *it;
	size_t klen, vlen;
	uint64_t n = 0;

	store_blocking(st, true);
	it = store_iter_new(st, &class, 1, &to, 1);
	while (store_iter_next(it, &key, &klen, &val, &vlen) == 1)
		n += is_member(r, i, get_be16((const uint8_t *)key + 1));
	store_iter_free(it);
	store_blocking(st, false);
	return n;
}

void check_left(struct run *r)
{
	sim_run(r->c->s, SETTLE);
	for (unsigned i = 0; i < r->c->nnodes; i++) {
		uint64_t prepared;

		if (r->c->node[i].removed)
			continue;
		prepared = count_keys(r, i, KEY_PREPARED);
		if (prepared)
			broke(r, "%llu transactions stay prepared on node %u", llu(prepared), i);
		r->res->outcomes_left += count_keys(r, i, KEY_OUTCOME);
		r->res->replies_left += count_keys(r, i, KEY_REPLY);
	}
}
