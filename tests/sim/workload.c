#include "tests/sim/workload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "tests/sim/cluster.h"

#define OBJECTS 6
#define TOUCH_MAX 3
#define SLOT_COUNT 0
#define SLOT_CAS 1
#define ID_LEN 8

enum op_state { OP_RUNNING, OP_ACKED, OP_FAILED, OP_UNKNOWN };

/* One writing transaction. */
struct op {
	uint64_t uid;
	struct run *run;
	struct actor *actor;
	enum op_state state;
	unsigned object[TOUCH_MAX];
	unsigned nobjects;
	bool cas;
	uint64_t cas_from;
	uint64_t acked_at; /* order of acknowledgement, from 1 */
	bool synced;       /* a sync that began after the acknowledgement succeeded */
	bool maybe_lost;   /* a sync said that something was lost after it was acknowledged */
	unsigned callbacks;
	orbit_handle handle;
};

/* One client. */
struct actor {
	struct run *run;
	struct orbit_client *client;
	unsigned index, started, running;
	uint64_t cas_seen[OBJECTS];
	bool closed;
};

struct read {
	struct actor *actor;
	unsigned object[TOUCH_MAX];
	unsigned nobjects;
	int get[TOUCH_MAX], range[TOUCH_MAX];
	uint64_t began; /* acknowledgements before it */
	unsigned callbacks;
};

struct run {
	const struct workload_config *cfg;
	struct workload_result *res;
	struct cluster *c;
	struct orbit_id id[OBJECTS];
	struct actor actor[CLUSTER_CLIENTS_MAX];
	unsigned nactors, per_client;
	struct op **op;
	size_t nops, cap;
	uint64_t acks, next_uid;
	bool power;       /* power losses happen in this run */
	bool quiet;       /* no more faults */
	bool broken;      /* an invariant did not hold */
	unsigned pending; /* reads, syncs and writes in flight */
};

/* For what the test itself needs to know. */
static const struct orbit_policy patient = {
	.reads_block = true, .writes_block = true, .resend_count = 5, .check_timeout = ENV_SEC};

static void broke(struct run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void broke(struct run *r, const char *fmt, ...)
{
	va_list ap;

	r->broken = true;
	fprintf(stderr, "sim: SEED=%llu at %.6f s: ", (unsigned long long)r->cfg->seed,
		(double)(sim_now(r->c->s) - 1000 * ENV_SEC) / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static struct op *op_by_uid(struct run *r, uint64_t uid)
{
	return uid >= 1 && uid <= r->nops ? r->op[uid - 1] : NULL;
}

static bool op_touches(const struct op *op, unsigned object)
{
	for (unsigned i = 0; i < op->nobjects; i++)
		if (op->object[i] == object)
			return true;
	return false;
}

static void actor_next(void *arg);

/* After anything ended: go on after a short thinking time. */
static void actor_think(struct actor *a)
{
	struct sim *s = a->run->c->s;

	sim_after(s, sim_below(s, 20 * ENV_MS), actor_next, a);
}

/* ---- writing ---- */

static void op_done(void *arg, const struct orbit_reply *reply)
{
	struct op *op = arg;
	struct run *r = op->run;

	if (++op->callbacks > 1)
		broke(r, "callback of uid %llu ran twice", (unsigned long long)op->uid);
	r->pending--;
	op->actor->running--;
	switch (reply->rc) {
	case 0:
		op->state = OP_ACKED;
		op->acked_at = ++r->acks;
		r->res->acked++;
		break;
	case -ECANCELED:
		op->state = OP_FAILED;
		r->res->failed++;
		if (!op->cas)
			broke(r, "uid %llu: compare failed without one (op %d)",
				(unsigned long long)op->uid, reply->failed);
		break;
	case -ETIMEDOUT:
	case -EINTR:
	case -ESTALE:
	case -ESHUTDOWN:
		op->state = OP_UNKNOWN;
		r->res->unknown++;
		break;
	default:
		broke(r, "uid %llu: unexpected error %d", (unsigned long long)op->uid, reply->rc);
	}
	actor_think(op->actor);
}

static unsigned pick_objects(struct run *r, unsigned *object)
{
	unsigned n = 1 + (unsigned)sim_below(r->c->s, TOUCH_MAX), got = 0;

	while (got < n) {
		unsigned o = (unsigned)sim_below(r->c->s, OBJECTS);
		bool twice = false;

		for (unsigned i = 0; i < got; i++)
			twice |= object[i] == o;
		if (!twice)
			object[got++] = o;
	}
	return n;
}

static void cancel_op(void *arg)
{
	struct op *op = arg;

	if (op->state == OP_RUNNING && !op->actor->closed &&
		orbit_cancel(op->actor->client, op->handle, sim_chance(op->run->c->s, 500)))
		op->run->res->cancels++;
}

static void start_write(struct actor *a)
{
	struct run *r = a->run;
	struct sim *s = r->c->s;
	struct op *op = mem_zalloc(sizeof(*op));
	struct txn_build t;
	uint8_t key[ID_LEN];

	if (r->nops == r->cap) {
		r->cap = r->cap ? 2 * r->cap : 64;
		r->op = mem_grow(r->op, r->cap, sizeof(*r->op));
	}
	r->op[r->nops++] = op;
	op->uid = r->nops;
	op->run = r;
	op->actor = a;
	op->nobjects = pick_objects(r, op->object);
	op->cas = sim_chance(s, 300);
	put_be64(key, op->uid);
	txn_init(&t);
	if (op->cas) {
		op->cas_from = a->cas_seen[op->object[0]];
		txn_slot_eq(&t, &r->id[op->object[0]], SLOT_CAS, op->cas_from);
		txn_set(&t, &r->id[op->object[0]], SLOT_CAS, op->cas_from + 1);
	}
	for (unsigned i = 0; i < op->nobjects; i++) {
		const struct orbit_id *id = &r->id[op->object[i]];

		txn_add(&t, id, SLOT_COUNT, 1);
		txn_put(&t, id, key, sizeof(key), "x", 1);
		if (sim_chance(s, 300)) {
			uint8_t bytes[300];

			memset(bytes, (int)op->uid, sizeof(bytes));
			txn_write(&t, id, op->uid % 50 * 300, bytes, sizeof(bytes));
		}
	}
	a->running++;
	r->pending++;
	op->handle = orbit_submit(a->client, &t, NULL, op_done, op);
	if (sim_chance(s, 30))
		sim_after(s, sim_below(s, 3 * ENV_SEC), cancel_op, op);
}

/* ---- reading ---- */

static void check_entries(struct run *r, const struct read *rd, unsigned o, const void *data,
	size_t len, uint64_t count)
{
	struct cur c = cur_of(data, len);
	bool more = cur_u8(&c);
	uint32_t n = cur_u32(&c);
	uint8_t *seen = mem_zalloc(r->nops + 1);

	if (more)
		broke(r, "object %u: a range of everything says there is more", o);
	if (n != count)
		broke(r, "object %u: counter %llu but %u ids: one was applied twice, or half", o,
			(unsigned long long)count, n);
	for (uint32_t i = 0; i < n; i++) {
		size_t klen, vlen;
		const uint8_t *key = cur_blob(&c, 64, &klen);
		struct op *op;

		cur_blob(&c, 64, &vlen);
		cur_u8(&c);
		if (!cur_ok(&c) || klen != ID_LEN)
			break;
		op = op_by_uid(r, get_be64(key));
		if (!op || !op_touches(op, o)) {
			broke(r, "object %u holds an id that never was", o);
			continue;
		}
		seen[op->uid] = 1;
		if (op->state == OP_FAILED)
			broke(r, "object %u: uid %llu is there but its compare failed", o,
				(unsigned long long)op->uid);
	}
	if (!cur_done(&c))
		broke(r, "object %u: the range does not parse", o);
	for (size_t i = 0; i < r->nops; i++) {
		struct op *op = r->op[i];

		if (op->state != OP_ACKED || op->acked_at > rd->began || !op_touches(op, o))
			continue;
		if (!seen[op->uid] && (!r->power || (op->synced && !op->maybe_lost)))
			broke(r, "object %u: acknowledged uid %llu%s is missing", o,
				(unsigned long long)op->uid, op->synced ? " (synced)" : "");
	}
	free(seen);
}

static void read_done(void *arg, const struct orbit_reply *reply)
{
	struct read *rd = arg;
	struct actor *a = rd->actor;
	struct run *r = a->run;

	if (++rd->callbacks > 1)
		broke(r, "callback of a read ran twice");
	r->pending--;
	a->running--;
	for (unsigned i = 0; !reply->rc && i < rd->nobjects; i++) {
		struct txn_result get, range;
		struct cur c;
		struct txn_object o;

		if (orbit_result(reply, rd->get[i], &get) ||
			orbit_result(reply, rd->range[i], &range) || !get.present) {
			broke(r, "object %u: a read without its results", rd->object[i]);
			continue;
		}
		c = cur_of(get.data, get.len);
		o = txn_get_object(&c);
		a->cas_seen[rd->object[i]] = o.slot[SLOT_CAS];
		check_entries(r, rd, rd->object[i], range.data, range.len, o.slot[SLOT_COUNT]);
		r->res->reads++;
	}
	if (reply->rc && reply->rc != -ETIMEDOUT && reply->rc != -ESTALE && reply->rc != -ESHUTDOWN)
		broke(r, "a read failed with %d", reply->rc);
	free(rd);
	actor_think(a);
}

static void start_read(struct actor *a)
{
	struct run *r = a->run;
	struct read *rd = mem_zalloc(sizeof(*rd));
	struct txn_build t;

	rd->actor = a;
	rd->began = r->acks;
	rd->nobjects = pick_objects(r, rd->object);
	txn_init(&t);
	for (unsigned i = 0; i < rd->nobjects; i++) {
		const struct orbit_id *id = &r->id[rd->object[i]];

		rd->get[i] = txn_get(&t, id);
		rd->range[i] = txn_range(&t, id, "", 0, true, 100000, 1 << 20, NULL);
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
	struct run *r = sy->actor->run;

	r->pending--;
	sy->actor->running--;
	for (size_t i = 0; i < r->nops; i++) {
		struct op *op = r->op[i];

		if (op->actor != sy->actor || op->state != OP_ACKED || op->acked_at > sy->began)
			continue;
		if (reply->rc == 0)
			op->synced = true;
		else if (!op->synced)
			op->maybe_lost = true;
	}
	if (reply->rc == 0)
		r->res->synced++;
	else if (reply->rc == -EIO)
		r->res->lost++;
	if (reply->rc == -EIO && !r->power)
		broke(r, "sync says that something was lost, but no power was");
	actor_think(sy->actor);
	free(sy);
}

static void start_sync(struct actor *a)
{
	struct syncing *sy = mem_zalloc(sizeof(*sy));

	sy->actor = a;
	sy->began = a->run->acks;
	a->running++;
	a->run->pending++;
	orbit_sync(a->client, NULL, sync_done, sy);
}

static void actor_next(void *arg)
{
	struct actor *a = arg;
	uint64_t dice;

	if (a->closed || a->running >= 4)
		return;
	if (a->started >= a->run->per_client)
		return;
	a->started++;
	dice = sim_below(a->run->c->s, 100);
	if (dice < 60)
		start_write(a);
	else if (dice < 90)
		start_read(a);
	else
		start_sync(a);
	if (sim_chance(a->run->c->s, 300))
		actor_think(a); /* one more at the same time */
}

/* ---- faults ---- */

struct restart {
	struct run *r;
	unsigned node;
};

static void restart_node(void *arg)
{
	struct restart *x = arg;

	cluster_start(x->r->c, x->node);
	free(x);
}

static struct sim_host *any_host(struct run *r)
{
	struct cluster *c = r->c;
	unsigned i = (unsigned)sim_below(c->s, c->nnodes + c->nclients);

	return i < c->nnodes ? c->node[i].host : c->client_host[i - c->nnodes];
}

static void fault(void *arg)
{
	struct run *r = arg;
	struct cluster *c = r->c;
	struct sim *s = c->s;
	unsigned n = (unsigned)sim_below(s, c->nnodes);
	struct sim_host *a = c->node[n].host, *b = any_host(r);

	if (r->quiet)
		return;
	switch (sim_below(s, 7)) {
	case 0:
	case 1:
		if (c->node[n].up) {
			struct restart *x = mem_zalloc(sizeof(*x));
			bool power = r->power && sim_chance(s, 500);

			*x = (struct restart){r, n};
			cluster_crash(c, n, power ? DISK_POWER : DISK_PROCESS);
			r->res->crashes++;
			r->res->power_losses += power;
			sim_after(s, sim_below(s, 3 * ENV_SEC), restart_node, x);
		}
		break;
	case 2:
		if (a != b) {
			sim_cut(s, a, b, sim_chance(s, 500));
			r->res->cuts++;
		}
		break;
	case 3:
		sim_heal_all(s);
		break;
	case 4:
		if (a != b) {
			sim_break(s, a, b);
			r->res->breaks++;
		}
		break;
	case 5:
		sim_lose_next(s, a, c->client_host[sim_below(s, c->nclients)], WIRE_REPLY);
		r->res->lost_acks++;
		break;
	case 6:
		sim_host_pause(a, sim_below(s, 2 * ENV_SEC));
		r->res->pauses++;
		break;
	}
	sim_after(s, sim_below(s, 300 * ENV_MS), fault, r);
}

/* ---- the run ---- */

struct flag {
	bool set;
	int rc;
};

static void flag_reply(void *arg, const struct orbit_reply *reply)
{
	struct flag *f = arg;

	f->rc = reply->rc;
	f->set = true;
}

static void flag_void(void *arg)
{
	((struct flag *)arg)->set = true;
}

static void make_objects(struct run *r)
{
	uint64_t zero[TXN_SLOTS] = {0};

	for (unsigned i = 0; i < OBJECTS; i++) {
		struct txn_build t;
		struct flag f = {0};
		char name[16];

		snprintf(name, sizeof(name), "object %u", i);
		r->id[i] = orbit_id_hash(name, strlen(name));
		txn_init(&t);
		txn_create(&t, &r->id[i], 0, zero);
		orbit_submit(r->actor[0].client, &t, &patient, flag_reply, &f);
		if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC) || f.rc)
			broke(r, "cannot create object %u: %d", i, f.rc);
	}
	/* durable: otherwise a power loss takes them away */
	struct flag f = {0};

	orbit_sync(r->actor[0].client, &patient, flag_reply, &f);
	if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC) || f.rc)
		broke(r, "cannot sync the objects: %d", f.rc);
}

static bool finished(const struct run *r)
{
	if (r->pending)
		return false;
	for (unsigned i = 0; i < r->nactors; i++)
		if (r->actor[i].started < r->per_client)
			return false;
	return true;
}

/* The end: an id is in all of its objects or in none, winners of compare-and-set are unique. */
struct final {
	struct run *r;
	struct flag f;
	int range[OBJECTS], get[OBJECTS];
	uint8_t *present[OBJECTS];
	uint64_t cas[OBJECTS];
};

static void final_done(void *arg, const struct orbit_reply *reply)
{
	struct final *x = arg;
	struct run *r = x->r;
	struct read rd = {.began = r->acks};

	x->f.rc = reply->rc;
	for (unsigned o = 0; !reply->rc && o < OBJECTS; o++) {
		struct txn_result get, range;
		struct cur c;
		uint32_t n;

		if (orbit_result(reply, x->get[o], &get) ||
			orbit_result(reply, x->range[o], &range) || !get.present) {
			broke(r, "object %u is gone", o);
			continue;
		}
		c = cur_of(get.data, get.len);
		struct txn_object obj = txn_get_object(&c);

		x->cas[o] = obj.slot[SLOT_CAS];
		check_entries(r, &rd, o, range.data, range.len, obj.slot[SLOT_COUNT]);
		c = cur_of(range.data, range.len);
		cur_u8(&c);
		n = cur_u32(&c);
		for (uint32_t i = 0; i < n && cur_ok(&c); i++) {
			size_t klen, vlen;
			const void *key = cur_blob(&c, 64, &klen);

			cur_blob(&c, 64, &vlen);
			cur_u8(&c);
			if (key && klen == ID_LEN && get_be64(key) <= r->nops)
				x->present[o][get_be64(key)] = 1;
		}
	}
	x->f.set = true;
}

static void check_end(struct run *r)
{
	struct final x = {.r = r};
	struct txn_build t;
	uint64_t cas[OBJECTS] = {0};

	txn_init(&t);
	for (unsigned o = 0; o < OBJECTS; o++) {
		x.present[o] = mem_zalloc(r->nops + 1);
		x.get[o] = txn_get(&t, &r->id[o]);
		x.range[o] = txn_range(&t, &r->id[o], "", 0, true, 100000, 1 << 20, NULL);
	}
	orbit_submit(r->actor[0].client, &t, &patient, final_done, &x);
	if (!sim_wait(r->c->s, &x.f.set, 120 * ENV_SEC))
		broke(r, "the last read never ended");
	else if (x.f.rc)
		broke(r, "the last read failed: %d", x.f.rc);
	for (size_t i = 0; i < r->nops && x.f.set && !x.f.rc; i++) {
		struct op *op = r->op[i];
		unsigned in = 0;

		for (unsigned k = 0; k < op->nobjects; k++)
			in += x.present[op->object[k]][op->uid];
		if (in && in < op->nobjects)
			broke(r, "uid %llu is in %u of its %u objects", (unsigned long long)op->uid,
				in, op->nobjects);
		if (op->cas && in)
			cas[op->object[0]]++;
	}
	for (unsigned o = 0; o < OBJECTS; o++) {
		if (x.f.set && !x.f.rc && cas[o] != x.cas[o])
			broke(r, "object %u: %llu compare-and-sets took effect, the slot says %llu",
				o, (unsigned long long)cas[o], (unsigned long long)x.cas[o]);
		free(x.present[o]);
	}
}

static void run_faults(struct run *r)
{
	struct sim *s = r->c->s;
	uint64_t limit = sim_now(s) + 60 * ENV_SEC;

	sim_net(s)->corrupt_ppm = sim_chance(s, 300) ? 500 : 0;
	fault(r);
	while (!finished(r) && sim_now(s) < limit && !r->broken) {
		uint64_t before = sim_now(s);

		sim_run(s, 100 * ENV_MS);
		/* whoever has nothing in flight and something to do goes on */
		for (unsigned i = 0; i < r->nactors; i++)
			if (!r->actor[i].running)
				actor_next(&r->actor[i]);
		(void)before;
	}
	r->quiet = true;
	sim_net(s)->corrupt_ppm = 0;
	sim_heal_all(s);
	for (unsigned i = 0; i < r->c->nnodes; i++)
		cluster_start(r->c, i);
	limit = sim_now(s) + 120 * ENV_SEC;
	while (!finished(r) && sim_now(s) < limit && !r->broken) {
		sim_run(s, 100 * ENV_MS);
		for (unsigned i = 0; i < r->nactors; i++)
			if (!r->actor[i].running)
				actor_next(&r->actor[i]);
	}
	if (!finished(r) && !r->broken)
		broke(r, "%u transactions never completed after the faults ended", r->pending);
}

static void close_actors(struct run *r)
{
	for (unsigned i = 0; i < r->nactors; i++) {
		struct orbit_counters n;
		struct flag f = {0};

		orbit_counters(r->actor[i].client, &n);
		r->res->resent += n.resent;
		r->res->conflicts += n.conflicts;
		r->actor[i].closed = true;
		orbit_close(r->actor[i].client, 5 * ENV_SEC, flag_void, &f);
		if (!sim_wait(r->c->s, &f.set, 60 * ENV_SEC))
			broke(r, "orbit_close never called back");
	}
	for (size_t i = 0; i < r->nops; i++)
		if (r->op[i]->callbacks != 1)
			broke(r, "callback of uid %zu ran %u times", i + 1, r->op[i]->callbacks);
}

static uint64_t virtual_clock(void *arg)
{
	return sim_now(arg) - 1000 * ENV_SEC;
}

int workload_run(const struct workload_config *cfg, struct workload_result *res)
{
	struct run r = {.cfg = cfg, .res = res};
	struct sim *s;
	unsigned nodes = cfg->nodes ? cfg->nodes : 1 + (unsigned)(cfg->seed * 7 % 4);

	r.c = cluster_new(cfg->seed, nodes, 4);
	s = r.c->s;
	log_set_clock(virtual_clock, s);
	r.per_client = cfg->per_client ? cfg->per_client : 40;
	r.nactors = cfg->clients ? cfg->clients : 1 + (unsigned)sim_below(s, 3);
	r.power = sim_chance(s, 400);
	for (unsigned i = 0; i < r.nactors; i++) {
		bool soft = sim_chance(s, 250);
		struct orbit_policy p = {
			.reads_block = !soft,
			.writes_block = !soft,
			.resend_count = (unsigned)sim_below(s, 4),
			.check_timeout = 200 * ENV_MS + sim_below(s, ENV_SEC),
		};

		r.actor[i].run = &r;
		r.actor[i].index = i;
		r.actor[i].client = cluster_client(r.c, &p);
	}
	make_objects(&r);
	if (!r.broken)
		run_faults(&r);
	if (!r.broken)
		check_end(&r);
	if (!r.broken)
		close_actors(&r);
	res->virtual_ns = sim_now(s) - 1000 * ENV_SEC;
	log_set_clock(NULL, NULL);
	for (size_t i = 0; i < r.nops; i++)
		free(r.op[i]);
	free(r.op);
	if (!r.broken)
		cluster_free(r.c);
	return r.broken ? -1 : 0;
}
