/*
 * Effects that come from another copy of the shard: from its primary as APPEND, or fetched from
 * another one's log (learn.c).
 *
 *   a section is       until
 *   too early          those before it are there
 *   held               the store takes effects again: it and all behind it
 *   taken              the log has it: done
 *   there already      the log has it: done
 *
 * Sections of a shard are applied in the order of their seqs, whoever brought them. Effects that
 * came over one link keep their order for MAKE_DURABLE only (durable.c). Those that were sent under
 * a newer map than ours wait for it, and all behind them.
 */
#include <assert.h>
#include <errno.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/repl_int.h"

/* ---- applying ---- */

/* All that is applied is in the log up to this. */
static uint64_t logged(struct node *n, const struct shard *s)
{
	return s->flying ? s->logged : shard_seq(n, s);
}

static bool key_fits(const struct node *n, uint16_t shard, const struct effect_op *op)
{
	const uint8_t *k = op->key;

	(void)n;
	if (op->klen < KEY_HEAD || get_be16(k + 1) != shard)
		return false;
	switch (k[0]) {
	case KEY_HEADER:
	case KEY_MAP:
	case KEY_HOLD:
	case KEY_ORPHAN:
		return op->klen >= KEY_HEAD + ORBIT_ID_LEN;
	case KEY_REPLY:
	case KEY_FLOOR:
	case KEY_LEASER:
	case KEY_PREPARED:
	case KEY_OUTCOME:
		return true;
	default:
		return false; /* each copy's own */
	}
}

/* Of what it says it is, and nothing of any other shard. (One that was made when the shard had no
 * other copies may name its section more than once.) */
static int check(const struct node *n, const struct repl_section *sec)
{
	struct effect_iter it = effect_iter_of(sec->meta, sec->meta_len);
	struct effect_op op;
	bool first = true;
	int rc;

	while ((rc = effect_next(&it, &op)) > 0) {
		if (first && op.kind != EFFECT_SECTION)
			return -EBADMSG;
		first = false;
		switch (op.kind) {
		case EFFECT_SECTION:
			if (op.shard != sec->shard || op.term != sec->term || op.seq != sec->seq ||
				!op.seq)
				return -EBADMSG;
			break;
		case EFFECT_PUT:
		case EFFECT_DEL:
			if (!key_fits(n, sec->shard, &op))
				return -EBADMSG;
			break;
		case EFFECT_WRITE:
		case EFFECT_PUNCH:
		case EFFECT_DROP:
			if (ring_shard_of(n->ring, &op.id) != sec->shard)
				return -EBADMSG;
			break;
		default:
			return -EBADMSG;
		}
	}
	return rc || first || it.data_at != sec->data_len ? -EBADMSG : 0;
}

/* The term of the effect with that seq; 0: not known any more. */
static uint64_t term_at(const struct history *h, uint64_t seq)
{
	for (unsigned i = h->nterms; i--;) {
		if (h->terms[i].first <= seq)
			return h->terms[i].term;
	}
	return 0;
}

static void finish(struct repl_section *sec, int rc)
{
	struct frame *f = sec->frame;

	sec->frame = NULL;
	sec->done(sec, rc);
	frame_unref(f);
}

static void pump(struct node *n, struct shard *s);

static void section_logged(struct store_apply *a, int rc)
{
	struct repl_section *sec = container_of(a, struct repl_section, apply);
	struct node *n = sec->n;
	struct shard *s = node_shard(n, sec->shard);

	n->repl_busy--;
	s->flying--;
	if (!rc && s->logged < sec->seq)
		s->logged = sec->seq;
	finish(sec, rc);
	if (n->stopping) {
		node_check_stopped(n);
		return;
	}
	backup_logged(n, s);
	if (s->role == ROLE_TAKING_OVER)
		repl_commit(n, s);
}

static void section_ready(struct store_wait *w)
{
	struct repl_section *sec = container_of(w, struct repl_section, wait);
	struct node *n = sec->n;
	struct shard *s = node_shard(n, sec->shard);

	n->repl_busy--;
	sec->waiting = false;
	if (sec->ended) {
		finish(sec, -ESTALE);
		if (n->stopping)
			node_check_stopped(n);
		return;
	}
	s->held = false;
	pump(n, s);
}

/* Gives the next one to the store: 0: taken; -EAGAIN: it waits; else it is refused. */
static int take(struct node *n, struct shard *s, struct repl_section *sec)
{
	struct history h = store_history(n->st, s->number);
	int rc;

	if (sec->term < h.term)
		return -EBADMSG;
	/* only borrowed */
	sec->effect.meta.data = (uint8_t *)sec->meta;
	sec->effect.meta.len = sec->meta_len;
	if (sec->data_len) {
		sec->bulk = (struct iovec){(void *)sec->data, sec->data_len};
		sec->effect.data = &sec->bulk;
		sec->effect.ndata = 1;
		sec->effect.data_len = sec->data_len;
	}
	sec->apply.effect = &sec->effect;
	sec->apply.done = section_logged;
	/* the primary refuses early: what it took has to find room */
	rc = store_apply(n->st, &sec->apply, STORE_RESERVE);
	if (rc == -EAGAIN) {
		s->held = sec->waiting = true;
		sec->wait.ready = section_ready;
		n->repl_busy++;
		store_wait(n->st, &sec->wait);
	}
	if (rc)
		return rc;
	if (!s->flying++)
		s->logged = h.seq;
	n->repl_busy++;
	return 0;
}

/* Applies what can be. */
static void pump(struct node *n, struct shard *s)
{
	struct repl_section *sec;

	while (!s->held && (sec = TAILQ_FIRST(&s->early))) {
		struct history h = store_history(n->st, s->number);
		uint64_t term;
		int rc;

		if (sec->seq > h.seq + (sec->meta_len ? 1 : 0))
			break;
		if (sec->seq <= h.seq) {
			TAILQ_REMOVE(&s->early, sec, entry);
			term = term_at(&h, sec->seq);
			if (term && term != sec->term && sec->meta_len)
				finish(sec, -EBADMSG);
			else if (sec->seq <= logged(n, s))
				finish(sec, 0);
			else
				TAILQ_INSERT_TAIL(&s->doubles, sec, entry);
			continue;
		}
		rc = take(n, s, sec);
		if (rc == -EAGAIN)
			break;
		TAILQ_REMOVE(&s->early, sec, entry);
		if (rc)
			finish(sec, rc);
	}
}

void backup_logged(struct node *n, struct shard *s)
{
	struct repl_section *sec, *next;

	for (sec = TAILQ_FIRST(&s->doubles); sec; sec = next) {
		next = TAILQ_NEXT(sec, entry);
		if (sec->seq > logged(n, s))
			continue;
		TAILQ_REMOVE(&s->doubles, sec, entry);
		finish(sec, 0);
		next = TAILQ_FIRST(&s->doubles);
	}
}

void repl_apply(struct node *n, struct repl_section *sec)
{
	struct shard *s = node_shard(n, sec->shard);
	struct repl_section *before;

	sec->n = n;
	sec->waiting = sec->ended = false;
	sec->frame = sec->frame ? frame_ref(sec->frame) : NULL;
	memset(&sec->effect, 0, sizeof(sec->effect));
	if (n->stopping || s->role == ROLE_NONE || s->role == ROLE_SERVING) {
		finish(sec, -ESTALE);
		return;
	}
	if (sec->meta_len && check(n, sec)) {
		log_error("mod=node shard=%u seq=%llu msg=\"an effect that makes no sense came "
			  "from another copy\"",
			sec->shard, (unsigned long long)sec->seq);
		finish(sec, -EBADMSG);
		return;
	}
	TAILQ_FOREACH_REVERSE(before, &s->early, repl_section_list, entry)
	{
		if (before->seq < sec->seq || (before->seq == sec->seq && !sec->meta_len)) {
			TAILQ_INSERT_AFTER(&s->early, before, sec, entry);
			break;
		}
	}
	if (!before)
		TAILQ_INSERT_HEAD(&s->early, sec, entry);
	pump(n, s);
}

void backup_drop(struct node *n, struct shard *s)
{
	struct repl_section *sec;

	(void)n;
	while ((sec = TAILQ_FIRST(&s->early))) {
		TAILQ_REMOVE(&s->early, sec, entry);
		/* the store will call back */
		if (sec->waiting)
			sec->ended = true;
		else
			finish(sec, -ESTALE);
	}
	s->held = false;
	while ((sec = TAILQ_FIRST(&s->doubles))) {
		TAILQ_REMOVE(&s->doubles, sec, entry);
		finish(sec, -ESTALE);
	}
}

/* ---- acknowledging ---- */

static void ack_send(struct conn *c)
{
	struct frame *f;

	if (!c->nacks || c->doomed)
		return;
	f = frame_new(WIRE_ACK, 0, 16 + c->acks.len);
	wire_put_ack_head(&f->b, c->n->ring->epoch, c->nacks);
	buf_bytes(&f->b, c->acks.data, c->acks.len);
	buf_reset(&c->acks);
	c->nacks = 0;
	link_send(c->link, f);
}

static void ack_run(struct env_task *t)
{
	ack_send(container_of(t, struct conn, ack_task));
}

static void ack(struct conn *c, uint16_t shard, uint64_t shard_term, uint64_t seq, uint16_t status)
{
	const struct wire_ack_one one = {
		.shard = shard, .status = status, .shard_term = shard_term, .seq = seq};

	wire_put_ack_one(&c->acks, &one);
	if (++c->nacks == WIRE_ACKS_MAX)
		ack_send(c);
	else if (!c->ack_task.queued)
		env_post(c->n->env, &c->ack_task);
}

/* ---- APPEND ---- */

static uint16_t ack_status(int rc)
{
	if (rc == -ESTALE || rc == -ESHUTDOWN)
		return WIRE_STALE;
	return status_of(rc);
}

static void incoming_done(struct repl_section *sec, int rc)
{
	struct incoming *in = container_of(sec, struct incoming, sec);
	struct conn *c = in->conn;

	if (c) {
		TAILQ_REMOVE(&c->incoming, in, entry);
		ack(c, sec->shard, in->shard_term, sec->seq, ack_status(rc));
		durable_incoming(c);
	} else {
		TAILQ_REMOVE(&sec->n->orphans, in, entry);
	}
	free(in);
}

/* Looks at an APPEND that was checked; false: our map is too old for it. */
static bool append_handle(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	const struct ring_shard *rs;
	struct wire_append m;
	struct incoming *in;
	struct shard *s;

	if (wire_get_append(frame_cur(f), &m))
		return true;
	s = node_shard(n, m.shard);
	rs = &n->ring->shards[m.shard];
	if (m.shard_term > s->term && m.epoch > n->ring->epoch)
		return false;
	c->handled++;
	if (m.shard_term != s->term || rs->primary == RING_NONE ||
		orbit_id_cmp(&n->ring->nodes[rs->primary].id, &c->node)) {
		ack(c, m.shard, m.shard_term, m.seq, WIRE_STALE);
		return true;
	}
	in = mem_zalloc(sizeof(*in));
	in->sec = (struct repl_section){.done = incoming_done,
		.shard = m.shard,
		.term = m.term,
		.seq = m.seq,
		.meta = m.meta,
		.data = m.data,
		.meta_len = m.meta_len,
		.data_len = m.data_len,
		.frame = f};
	in->conn = c;
	in->number = c->handled;
	in->shard_term = m.shard_term;
	TAILQ_INSERT_TAIL(&c->incoming, in, entry);
	repl_apply(n, &in->sec);
	return true;
}

/* Waits for a newer map. */
struct ahead {
	struct frame *frame;
	TAILQ_ENTRY(ahead) entry;
};

void backup_append(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_append m;
	struct ahead *a;

	if (c->role != WIRE_ROLE_NODE || wire_get_append(frame_cur(f), &m) || !n->ring ||
		m.shard >= n->nshards) {
		conn_fail(c, WIRE_BAD_REQUEST, "an APPEND that makes no sense");
		return;
	}
	c->arrived++;
	lease_heard(n, &c->node, c->incarnation, m.epoch);
	if (TAILQ_EMPTY(&c->ahead) && append_handle(c, f))
		return;
	a = mem_zalloc(sizeof(*a));
	a->frame = frame_ref(f);
	TAILQ_INSERT_TAIL(&c->ahead, a, entry);
}

void backup_adopt(struct node *n)
{
	struct ahead *a;
	struct conn *c;

	TAILQ_FOREACH (c, &n->conns, entry) {
		while ((a = TAILQ_FIRST(&c->ahead)) && append_handle(c, a->frame)) {
			TAILQ_REMOVE(&c->ahead, a, entry);
			frame_unref(a->frame);
			free(a);
		}
		durable_incoming(c);
	}
}

/* ---- RECOVER ---- */

static uint16_t recover_status(struct node *n, const struct conn *c, struct wire_recover_one one)
{
	const struct ring_shard *rs;
	struct shard *s;

	if (one.shard >= n->nshards)
		return WIRE_BAD_REQUEST;
	s = node_shard(n, one.shard);
	rs = &n->ring->shards[one.shard];
	if (one.shard_term > s->term)
		return WIRE_RETRY; /* our map is on its way */
	if (one.shard_term != s->term || s->role != ROLE_BACKUP || rs->primary == RING_NONE ||
		orbit_id_cmp(&n->ring->nodes[rs->primary].id, &c->node))
		return WIRE_STALE;
	if (learn_partial(n, one.shard))
		return WIRE_LOST;
	/* what it is told must not be lost with this process */
	return logged(n, s) < shard_seq(n, s) ? WIRE_RETRY : WIRE_OK;
}

void backup_recover(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_recover m;
	struct frame *answer;

	if (c->role != WIRE_ROLE_NODE || wire_get_recover(frame_cur(f), &m) || !n->ring) {
		conn_fail(c, WIRE_BAD_REQUEST, "a RECOVER that makes no sense");
		return;
	}
	lease_heard(n, &c->node, c->incarnation, m.epoch);
	answer = reply_new(n, WIRE_OK, 0, 256);
	for (unsigned i = 0; i < m.n; i++) {
		struct wire_recover_one one = wire_recover_at(&m, i);
		uint16_t status = recover_status(n, c, one);
		struct history h;

		buf_u16(&answer->b, status);
		if (status)
			continue;
		h = store_history(n->st, one.shard);
		history_encode(&h, &answer->b);
	}
	conn_send(c, answer, f->id);
}

/* ---- links ---- */

void repl_conn_init(struct conn *c)
{
	TAILQ_INIT(&c->ahead);
	TAILQ_INIT(&c->incoming);
	TAILQ_INIT(&c->durables);
	c->ack_task.run = ack_run;
}

void repl_conn_close(struct conn *c)
{
	struct incoming *in;
	struct ahead *a;

	while ((a = TAILQ_FIRST(&c->ahead))) {
		TAILQ_REMOVE(&c->ahead, a, entry);
		frame_unref(a->frame);
		free(a);
	}
	while ((in = TAILQ_FIRST(&c->incoming))) {
		TAILQ_REMOVE(&c->incoming, in, entry);
		in->conn = NULL;
		TAILQ_INSERT_TAIL(&c->n->orphans, in, entry);
	}
	durable_conn_close(c);
	env_unpost(c->n->env, &c->ack_task);
	buf_fini(&c->acks);
}

void backup_free(struct node *n)
{
	struct incoming *in;

	while ((in = TAILQ_FIRST(&n->orphans))) {
		TAILQ_REMOVE(&n->orphans, in, entry);
		frame_unref(in->sec.frame);
		free(in);
	}
}
