/*
 * What libraft gets of the outside world.
 *
 * Disk: what it asks for becomes ops, carried out by one worker in the order in which they were
 * given. set_term() and set_vote() have to be durable when they return, in libraft's eyes; the loop
 * does not wait for a disk. So they return at once, and *no message leaves before they are on
 * disk*: nobody hears of a vote that could be forgotten (R), and an entry is only appended behind
 * them.
 *
 *   op          given                     done
 *   meta        with the next op or       what was held for it is sent
 *               from the task, so that a
 *               new term and a vote are one
 *   append ...  at once                   libraft is told
 *
 * A full disk makes ops wait; any other failure is final: nothing more is written, nothing is told,
 * and the node has to stop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define FULL_AGAIN (200 * ENV_MS)

enum op_kind { OP_META, OP_APPEND, OP_TRUNCATE, OP_SNAPSHOT, OP_GET };

struct io_op {
	struct work w;
	struct files *files;
	enum op_kind kind;
	bool back; /* it found the disk full, and has to be given again */
	int rc;
	struct files_meta meta;
	struct buf b;
	unsigned n;
	uint64_t index, keep;
	struct raft_snapshot *snap;
	void *req;
	TAILQ_ENTRY(io_op) entry;
};

struct io_send {
	struct raft_io_send *req;
	raft_io_send_cb cb;
	struct frame *frame;
	uint32_t to;
	uint64_t after; /* the op that has to be done before it leaves */
	int status;
	TAILQ_ENTRY(io_send) entry;
};

static struct keeper *keeper_of(struct raft_io *io)
{
	return io->impl;
}

/* ---- sending ---- */

static void send_now(struct keeper *k, struct io_send *s)
{
	s->status = RAFT_NOCONNECTION;
	if (s->frame && !k->ops->send(k->arg, s->to, s->frame))
		s->status = 0;
	s->frame = NULL;
	TAILQ_INSERT_TAIL(&k->io.sent, s, entry);
	env_post(k->env, &k->io.task);
}

static void send_held(struct keeper *k)
{
	struct io_send *s;

	while ((s = TAILQ_FIRST(&k->io.held)) && s->after <= k->io.done) {
		TAILQ_REMOVE(&k->io.held, s, entry);
		send_now(k, s);
	}
}

/*
 * Terms and votes have to be on disk before anything is said. The leader's entries need not be, as
 * others count too - but for one that leads without having been elected, as it is the only voter:
 * after a power loss it would give the same index, in the same term, to another entry.
 */
static uint64_t send_after(const struct keeper *k)
{
	const struct raft *r = &k->raft;
	unsigned voters = 0;

	if (k->io.dirty)
		return k->io.given + 1;
	for (unsigned i = 0; i < r->configuration.n; i++)
		voters += r->configuration.servers[i].role == RAFT_VOTER;
	if (r->state == RAFT_LEADER && (voters == 1 || k->io.elected != r->current_term))
		return k->io.given;
	return k->io.last_meta;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m,
	raft_io_send_cb cb)
{
	struct keeper *k = keeper_of(io);
	struct io_send *s = mem_zalloc(sizeof(*s));
	struct raft_message copy = *m;

	s->req = req;
	s->cb = cb;
	s->to = (uint32_t)m->server_id;
	s->after = send_after(k);
	if (copy.type == RAFT_IO_APPEND_ENTRIES_RESULT && !copy.append_entries_result.rejected)
		copy.append_entries_result.last_log_index = recv_reach(k,
			copy.append_entries_result.term, copy.append_entries_result.last_log_index);
	s->frame = copy.server_id ? message_put(k->number, k->raft.current_term, &copy) : NULL;
	if (TAILQ_EMPTY(&k->io.held) && s->after <= k->io.done)
		send_now(k, s);
	else
		TAILQ_INSERT_TAIL(&k->io.held, s, entry);
	return 0;
}

static void tell_sent(struct io_sends *list, int status)
{
	struct io_send *s;

	while ((s = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, s, entry);
		frame_unref(s->frame);
		if (s->cb)
			s->cb(s->req, status ? status : s->status);
		free(s);
	}
}

/* ---- ops ---- */

static void op_free(struct io_op *o)
{
	buf_fini(&o->b);
	files_free_snapshot(o->snap);
	free(o);
}

/* On the worker. */
static void op_run(struct work *w)
{
	struct io_op *o = container_of(w, struct io_op, w);
	struct files *f = o->files;

	o->rc = f->stuck; /* none overtakes another */
	if (o->rc)
		return;
	switch (o->kind) {
	case OP_META:
		o->rc = files_save_meta(f, &o->meta);
		break;
	case OP_APPEND:
		o->rc = files_append(f, &o->b, o->n);
		break;
	case OP_TRUNCATE:
		o->rc = files_truncate(f, o->index);
		break;
	case OP_SNAPSHOT:
		o->rc = files_save_snapshot(f, o->index, &o->b, o->keep);
		break;
	case OP_GET:
		o->rc = files_load_snapshot(f, &o->snap);
		return;
	}
	f->stuck = o->rc;
}

static void op_done(struct work *w);

static void op_give(struct keeper *k, struct io_op *o)
{
	o->back = false;
	o->files = &k->io.files;
	work_start(&o->w, k->io.gate, k, k, op_run, op_done);
}

static void give_dirty(struct keeper *k)
{
	struct io_op *o = k->io.dirty;

	if (!o)
		return;
	k->io.dirty = NULL;
	o->meta = k->io.meta;
	k->io.last_meta = ++k->io.given;
	TAILQ_INSERT_TAIL(&k->io.ops, o, entry);
	op_give(k, o);
}

static struct io_op *op_new(enum op_kind kind, void *req)
{
	struct io_op *o = mem_zalloc(sizeof(*o));

	o->kind = kind;
	o->req = req;
	return o;
}

static void op_submit(struct keeper *k, struct io_op *o)
{
	give_dirty(k);
	k->io.given++;
	TAILQ_INSERT_TAIL(&k->io.ops, o, entry);
	op_give(k, o);
}

/* All of them are back: the worker is idle. */
static void again_fire(struct env_timer *t)
{
	struct keeper *k = container_of(t, struct keeper, io.again);
	struct io_op *o;

	TAILQ_FOREACH (o, &k->io.ops, entry) {
		if (!o->back) {
			env_timer_set(k->env, t, env_now(k->env) + FULL_AGAIN);
			return;
		}
	}
	k->io.files.stuck = 0;
	TAILQ_FOREACH (o, &k->io.ops, entry)
		op_give(k, o);
}

static void op_tell(struct io_op *o, int status)
{
	struct raft_snapshot *snap = o->snap;

	switch (o->kind) {
	case OP_META:
		break;
	case OP_APPEND:
		((struct raft_io_append *)o->req)->cb(o->req, status);
		break;
	case OP_SNAPSHOT:
		((struct raft_io_snapshot_put *)o->req)->cb(o->req, status);
		break;
	case OP_GET:
		o->snap = NULL;
		((struct raft_io_snapshot_get *)o->req)->cb(o->req, snap, status);
		break;
	case OP_TRUNCATE:
		break;
	}
	op_free(o);
}

static void op_done(struct work *w)
{
	struct io_op *o = container_of(w, struct io_op, w);
	struct keeper *k = w->owner;

	if (!k) {
		op_free(o);
		return;
	}
	if (o->rc == -ENOSPC) {
		if (!k->io.again.armed)
			log_warn("mod=keeper msg=\"the disk is full: the keeper's log waits\"");
		o->back = true;
		env_timer_set(k->env, &k->io.again, env_now(k->env) + FULL_AGAIN);
		return;
	}
	if (k->io.failed || (o->rc && o->kind != OP_GET)) {
		if (!k->io.failed) {
			log_error("mod=keeper rc=-%s msg=\"the keeper's files can not be "
				  "written\"",
				log_errno(o->rc));
			k->io.failed = o->rc; /* libraft never hears of it */
		}
		o->back = true;
		keeper_settle(k);
		return;
	}
	if (o->rc)
		log_error("mod=keeper rc=-%s msg=\"%s\"", log_errno(o->rc), k->io.files.why);
	TAILQ_REMOVE(&k->io.ops, o, entry);
	k->io.done++;
	k->in_raft = true;
	send_held(k);
	op_tell(o, o->rc ? RAFT_CORRUPT : 0);
	k->in_raft = false;
	keeper_settle(k);
}

static void task_run(struct env_task *t)
{
	struct keeper *k = container_of(t, struct keeper, io.task);

	give_dirty(k);
	k->in_raft = true;
	tell_sent(&k->io.sent, 0);
	k->in_raft = false;
	keeper_settle(k);
}

/* ---- raft_io ---- */

static int io_init_cb(struct raft_io *io, raft_id id, const char *address)
{
	(void)io, (void)id, (void)address;
	return 0;
}

static void make_dirty(struct keeper *k)
{
	if (!k->io.dirty)
		k->io.dirty = op_new(OP_META, NULL);
	env_post(k->env, &k->io.task);
}

static int io_set_term(struct raft_io *io, raft_term term)
{
	struct keeper *k = keeper_of(io);

	k->io.meta.term = term;
	k->io.meta.vote = 0;
	make_dirty(k);
	return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id)
{
	struct keeper *k = keeper_of(io);

	k->io.meta.vote = id;
	if (id == k->number)
		k->io.elected = k->io.meta.term;
	make_dirty(k);
	return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req,
	const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
	struct keeper *k = keeper_of(io);
	struct io_op *o = op_new(OP_APPEND, req);

	req->cb = cb;
	o->n = n;
	for (unsigned i = 0; i < n; i++)
		files_put_entry(&o->b, &entries[i]);
	op_submit(k, o);
	return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
	struct keeper *k = keeper_of(io);
	struct io_op *o = op_new(OP_TRUNCATE, NULL);

	o->index = index;
	op_submit(k, o);
	return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
	const struct raft_snapshot *s, raft_io_snapshot_put_cb cb)
{
	struct keeper *k = keeper_of(io);
	struct io_op *o = op_new(OP_SNAPSHOT, req);

	req->cb = cb;
	o->index = s->index;
	if (trailing)
		o->keep = s->index > trailing ? s->index - trailing : 1;
	files_put_snapshot(&o->b, s);
	op_submit(k, o);
	return 0;
}

static int io_snapshot_get(
	struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
	struct keeper *k = keeper_of(io);

	req->cb = cb;
	op_submit(k, op_new(OP_GET, req));
	return 0;
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote,
	struct raft_snapshot **snapshot, raft_index *start, struct raft_entry *entries[], size_t *n)
{
	struct keeper *k = keeper_of(io);
	uint64_t first = 1;
	int rc;

	rc = files_load(&k->io.files, store_disk(k->st), &k->io.meta, snapshot, &first, entries, n);
	if (rc) {
		log_error("mod=keeper rc=-%s msg=\"%s\"", log_errno(rc), k->io.files.why);
		k->io.failed = rc;
		return RAFT_CORRUPT;
	}
	k->io.meta.number = k->number;
	*term = k->io.meta.term;
	*vote = k->io.meta.vote;
	*start = first;
	return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
	struct keeper *k = keeper_of(io);

	(void)msecs; /* keeper.c ticks */
	k->io.tick = tick;
	k->io.recv = recv;
	return 0;
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf)
{
	(void)io, (void)conf;
	return RAFT_CANTBOOTSTRAP; /* keeper_bootstrap() makes the files */
}

static int io_recover(struct raft_io *io, const struct raft_configuration *conf)
{
	(void)io, (void)conf;
	return RAFT_INVALID;
}

static raft_time io_time(struct raft_io *io)
{
	return env_now(keeper_of(io)->env) / ENV_MS;
}

static int io_random(struct raft_io *io, int min, int max)
{
	if (max <= min)
		return min;
	return min + (int)(env_random_u64(keeper_of(io)->env) % (unsigned)(max - min));
}

/* libraft's version that is served has no work for a worker: fsm.version is 1. */
static int io_async_work(
	struct raft_io *io, struct raft_io_async_work *req, raft_io_async_work_cb cb)
{
	(void)io, (void)req, (void)cb;
	return RAFT_INVALID;
}

/* All that is under way ends here, the newest first, as each cuts libraft's log where it began.
 * What a worker has in hand is finished, and what it was not given yet never is. */
static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
	struct keeper *k = keeper_of(io);
	struct io_op *o, *before;

	gate_close(k->io.gate);
	k->io.gate = NULL;
	env_timer_clear(k->env, &k->io.again);
	env_unpost(k->env, &k->io.task);
	tell_sent(&k->io.held, RAFT_CANCELED);
	tell_sent(&k->io.sent, RAFT_CANCELED);
	for (o = TAILQ_LAST(&k->io.ops, io_ops); o; o = before) {
		struct io_op *copy = mem_zalloc(sizeof(*copy));

		before = TAILQ_PREV(o, io_ops, entry);
		TAILQ_REMOVE(&k->io.ops, o, entry);
		/* the job still comes back, with nobody to tell */
		copy->kind = o->kind;
		copy->req = o->req;
		if (o->back)
			op_free(o);
		op_tell(copy, RAFT_CANCELED);
	}
	if (k->io.dirty)
		op_free(k->io.dirty);
	k->io.dirty = NULL;
	files_close(&k->io.files);
	cb(io);
}

void io_init(struct keeper *k)
{
	struct keep_io *io = &k->io;

	memset(io, 0, sizeof(*io));
	TAILQ_INIT(&io->ops);
	TAILQ_INIT(&io->held);
	TAILQ_INIT(&io->sent);
	TAILQ_INIT(&io->files.segs);
	io->task.run = task_run;
	io->again.fire = again_fire;
	io->gate = gate_new(k->env);
	io->io = (struct raft_io){.version = 2,
		.impl = k,
		.init = io_init_cb,
		.close = io_close,
		.load = io_load,
		.start = io_start,
		.bootstrap = io_bootstrap,
		.recover = io_recover,
		.set_term = io_set_term,
		.set_vote = io_set_vote,
		.send = io_send,
		.append = io_append,
		.truncate = io_truncate,
		.snapshot_put = io_snapshot_put,
		.snapshot_get = io_snapshot_get,
		.time = io_time,
		.random = io_random,
		.async_work = io_async_work};
}

bool io_busy(const struct keeper *k)
{
	return !TAILQ_EMPTY(&k->io.ops) || k->io.dirty;
}
