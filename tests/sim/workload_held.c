/*
 * Clients that remember: they wish for leases with what they read, and later answer reads from
 * memory, as long as they may. Such a read goes into the history as one that began and ended right
 * then, and is judged as any other: that proves that nobody changed the object meanwhile.
 *
 * Some take an exclusive lease and keep a write back: their own reads show it, and it is sent some
 * time later, or when the lease is recalled, before that is returned. Nobody else may see the
 * object without it afterwards, if it was ever acknowledged; and what was lost with the session
 * must never be seen.
 *
 * A client's own writes do not meet its leases. So what it remembers of an object is forgotten when
 * it begins to write it, and nothing is remembered that was asked for before that was answered.
 */
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tests/sim/workload_int.h"

#define LATE (300 * ENV_MS)
#define TOO_LATE (6 * ENV_SEC) /* more than nodes wait for who does not say that he heard */
#define KEEP (400 * ENV_MS)    /* writes are kept back, at most */

static void forget(struct actor *a, unsigned object)
{
	struct memory *m = &a->memory[object];

	free(m->seen);
	m->seen = NULL;
}

void held_forget(struct actor *a)
{
	for (unsigned o = 0; o < OBJECTS; o++)
		forget(a, o);
}

/* ---- writing ---- */

void held_write_begins(struct actor *a, unsigned object)
{
	forget(a, object);
	a->memory[object].writes++;
	a->memory[object].begun++;
}

void held_write_ended(struct actor *a, unsigned object)
{
	a->memory[object].writes--;
}

/* ---- remembering ---- */

void held_wish(struct read *rd, struct txn_build *t, unsigned at, unsigned mode, bool try)
{
	struct memory *m = &rd->actor->memory[rd->object[at]];

	txn_lease(t, &rd->actor->run->id[rd->object[at]], mode, try);
	rd->wished[at] = !m->writes;
	rd->begun[at] = m->begun;
}

void held_remember(struct read *rd, unsigned at, const struct orbit_reply *reply, uint64_t bare)
{
	struct actor *a = rd->actor;
	unsigned o = rd->object[at];
	struct memory *m = &a->memory[o];

	if (!rd->wished[at] || m->begun != rd->begun[at] ||
		!orbit_covered(a->client, reply, &a->run->id[o], NULL))
		return;
	forget(a, o);
	m->len = a->run->nops + 1;
	m->seen = mem_dup(rd->seen[at], m->len);
	m->bare = bare;
	a->run->res->remembered++;
}

/* May @a answer for the object from memory? */
static bool remembers(const struct actor *a, unsigned object)
{
	const struct memory *m = &a->memory[object];

	return m->seen && !a->dead && !a->closed && !m->writes &&
	       orbit_lease_held(a->client, &a->run->id[object]) >=
		       (m->kept ? ORBIT_LEASE_EXCLUSIVE : ORBIT_LEASE_SHARED);
}

/* Answers for these objects (bits), as far as it may: false: for none. */
static bool read_memory(struct actor *a, unsigned objects)
{
	struct run *r = a->run;
	struct read *rd;

	for (unsigned o = 0; o < OBJECTS; o++)
		if (objects & 1u << o && !remembers(a, o))
			objects &= ~(1u << o);
	if (!objects)
		return false;
	rd = mem_zalloc(sizeof(*rd));
	rd->actor = a;
	rd->began = ++r->clock;
	for (unsigned o = 0; o < OBJECTS; o++) {
		const struct memory *m = &a->memory[o];
		unsigned i = rd->nobjects;

		if (!(objects & 1u << o))
			continue;
		rd->object[i] = o;
		rd->seen[i] = mem_zalloc(r->nops + 1);
		memcpy(rd->seen[i], m->seen, m->len);
		rd->bare[i] = m->bare;
		if (m->kept) {
			rd->seen[i][m->kept->uid] = 1;
			rd->kept[i] = m->kept->uid;
		}
		rd->nobjects++;
	}
	check_remembered(r, rd);
	r->res->from_memory++;
	free(rd);
	return true;
}

bool held_read(struct actor *a)
{
	return read_memory(a, (unsigned)sim_below(a->run->c->s, 1u << OBJECTS));
}

void held_probe(struct run *r, unsigned objects)
{
	for (unsigned i = 0; r->leases && i < r->nactors && !r->broken; i++)
		if (sim_chance(r->c->s, 500))
			read_memory(&r->actor[i], objects);
}

/* ---- keeping writes back ---- */

static void flushed(struct op *op)
{
	unsigned o = op->touch[0].object;

	op->actor->memory[o].kept = NULL;
	op->actor->kept &= ~(1u << o);
	if (op->give_back)
		orbit_return(op->actor->client, &op->run->id[o], op->keep);
}

void held_flush_done(struct op *op)
{
	flushed(op);
}

static void flush(struct actor *a, unsigned object)
{
	struct op *op = a->memory[object].kept;

	if (!op || op->sent || a->dead || a->closed)
		return;
	op->sent = true;
	op->session = orbit_session(a->client);
	actor_send_kept(op);
}

static void flush_later(void *arg)
{
	struct op *op = arg;

	if (op->state == OP_RUNNING)
		flush(op->actor, op->touch[0].object);
}

void held_flush_all(struct actor *a)
{
	for (unsigned o = 0; o < OBJECTS; o++)
		flush(a, o);
}

/* The read that brought an exclusive lease is there. */
void held_keep(struct actor *a, unsigned object)
{
	struct memory *m = &a->memory[object];
	struct run *r = a->run;
	struct op *op;

	if (!m->seen || m->kept || m->writes || m->reads ||
		orbit_lease_held(a->client, &r->id[object]) != ORBIT_LEASE_EXCLUSIVE)
		return;
	op = actor_keep(a, object);
	m->kept = op;
	a->kept |= 1u << object;
	r->res->kept_back++;
	sim_after(r->c->s, sim_below(r->c->s, KEEP), flush_later, op);
	/* it is seen from now on, so nobody may be able to see the object without it */
	if (read_memory(a, 1u << object))
		held_probe(r, 1u << object);
}

/* ---- giving back ---- */

struct late {
	struct actor *actor;
	unsigned object;
	enum orbit_lease keep;
};

static void give_back(struct actor *a, unsigned object, enum orbit_lease keep)
{
	struct memory *m = &a->memory[object];

	if (a->dead || a->closed)
		return;
	if (m->kept) {
		m->kept->keep = m->kept->give_back && m->kept->keep < keep ? m->kept->keep : keep;
		m->kept->give_back = true;
		flush(a, object);
		return;
	}
	if (keep == ORBIT_LEASE_NONE)
		forget(a, object);
	orbit_return(a->client, &a->run->id[object], keep);
}

static void give_back_late(void *arg)
{
	struct late *l = arg;

	give_back(l->actor, l->object, l->keep);
	free(l);
}

void held_give_back(struct actor *a)
{
	unsigned o = (unsigned)sim_below(a->run->c->s, OBJECTS);

	if (a->memory[o].seen && !a->memory[o].kept)
		give_back(a, o, ORBIT_LEASE_NONE);
}

/* ---- what the library tells ---- */

static unsigned object_of(const struct run *r, const struct orbit_id *id)
{
	unsigned o = 0;

	while (o + 1 < OBJECTS && orbit_id_cmp(&r->id[o], id))
		o++;
	return o;
}

static void on_recall(void *arg, const struct orbit_id *id, enum orbit_lease keep)
{
	struct actor *a = arg;
	struct run *r = a->run;
	struct sim *s = r->c->s;
	uint64_t dice = sim_below(s, 1000);
	struct late *l;

	r->res->recalled++;
	if (!a->slow && (dice < 800 || r->quiet)) {
		give_back(a, object_of(r, id), keep);
		return;
	}
	l = mem_zalloc(sizeof(*l));
	*l = (struct late){a, object_of(r, id), keep};
	if (a->slow)
		sim_after(s, TOO_LATE, give_back_late, l);
	else
		sim_after(s, sim_below(s, dice < 985 ? LATE : TOO_LATE), give_back_late, l);
}

static void on_lost(void *arg, const struct orbit_id *id)
{
	struct actor *a = arg;
	unsigned o = object_of(a->run, id);
	struct op *op = a->memory[o].kept;

	a->run->res->leases_lost++;
	forget(a, o);
	if (!op || op->sent)
		return;
	op->give_back = false;
	op->sent = true;
	flushed(op);
	actor_lost_kept(op);
}

static void on_valid(void *arg, bool valid)
{
	struct actor *a = arg;

	a->run->res->suspended += !valid;
}

void held_begin(struct actor *a)
{
	static const struct orbit_lease_ops ops = {
		.recall = on_recall, .lost = on_lost, .valid = on_valid};

	orbit_leases(a->client, &ops, a);
}
