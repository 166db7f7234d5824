/*
 * A node's place in the cluster.
 *
 *   state         what it does                               leaves it
 *   alone         asks the addresses of --join for a map     has one
 *   registering   asks the leader to be taken into the map,  the map names its incarnation as up
 *                 serves nothing
 *   in the ring   says ALIVE to the leader                   the map has it as not up, or as
 *                                                            started anew: registers again
 *
 * The newest map wins, whoever had it; whoever is connected is told of its epoch (EPOCH) and
 * fetches what is missing. A node that votes has the map in the keeper's files; any other keeps the
 * newest it saw in "keeper-map", to find the others after a restart:
 *
 *   u32 "KMAP", u16 1, u32 number of this node (0: none yet), blob map, u32 CRC32C of all before
 */
#include "dht/node/keep.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/node/peer.h"
#include "dht/store/disk.h"
#include "dht/store/work.h"

#define MAP_FILE "keeper-map"
#define MAP_MAGIC 0x50414d4bu
#define MAP_FORMAT 1
#define AGAIN_MIN (50 * ENV_MS)
#define AGAIN_MAX ENV_SEC
#define PASS_TIMEOUT ENV_SEC /* for an answer of the leader to somebody else */
#define JOIN_TIMEOUT (3 * ENV_SEC)
#define SAVE_EVERY ENV_SEC

struct diff {
	uint64_t from;
	struct buf b;
};

struct save {
	struct work w;
	struct disk *disk;
	struct buf b;
	int rc;
};

struct keep {
	struct node *n;
	struct env_timer timer; /* what is to be done next: join, register, alive */
	struct keep_ask ask;
	bool asking;
	bool levelled, warned;
	bool retiring; /* is not to be in the ring any more */
	struct keep_ask retire;
	void (*retired)(void *arg, int rc);
	void *retired_arg;
	unsigned tries, turn;
	uint32_t number;
	struct diff diffs[KEEP_DIFFS]; /* by epoch modulo their number */

	struct link *join;
	unsigned next_join;
	struct env_timer join_timer;

	struct gate *gate;
	bool saving;
	bool urgent;    /* others are in the map than in the one on disk */
	uint64_t saved; /* epoch on disk, or on its way there */
	struct env_timer save_timer;
};

/* ---- who leads ---- */

/* The node to ask; RING_NONE: nobody. @turn: of those that may know, which. */
static uint16_t leader_of(const struct node *n, unsigned turn)
{
	const struct ring_map *m = n->ring;
	uint32_t number = keeper_leader(n->keeper);
	uint16_t at = m && number ? ring_find_number(m, number) : RING_NONE;

	if (!m)
		return RING_NONE;
	if (turn == 0 && at != RING_NONE && at != n->self)
		return at;
	if (turn == 0 && m->keeper != n->self)
		return m->keeper;
	/* the one that we know does not answer, or knows better */
	for (unsigned i = 0; i < m->nnodes; i++) {
		at = (uint16_t)((turn + m->keeper + i) % m->nnodes);
		if (at != n->self && (m->nodes[at].up || i > m->nnodes / 2))
			return at;
	}
	return RING_NONE;
}

static void leader_fails(struct node *n)
{
	n->keep->turn++;
}

static void leader_answers(struct node *n)
{
	n->keep->turn = 0;
}

/* ---- asking ---- */

static void ask_done(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	if (status == WIRE_NO_KEEPER)
		leader_fails(a->n);
	else
		leader_answers(a->n);
	a->done(a, status, epoch);
}

static void ask_local(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	struct keep_ask *a = arg;

	snprintf(a->text, sizeof(a->text), "%s", text);
	ask_done(a, status, epoch);
}

static void ask_answered(struct call *call, int rc, struct frame *f)
{
	struct keep_ask *a = container_of(call, struct keep_ask, call);
	struct wire_reply m;

	if (rc || f->type != WIRE_REPLY || wire_get_reply(frame_cur(f), &m)) {
		ask_done(a, WIRE_NO_KEEPER, 0);
		return;
	}
	snprintf(a->text, sizeof(a->text), "%.*s", (int)min_size(m.results_len, 159),
		(const char *)m.results);
	ask_done(a, m.status, m.epoch);
}

/* A leader that hangs has a successor soon, who takes for dead whom it does not hear of within
 * fail_timeout: we must not wait so long for the old one. */
static uint64_t ask_timeout(const struct node *n, const struct wire_ask_m *m)
{
	return m->what == ASK_ALIVE ? n->cfg.fail_timeout / 4 : n->cfg.fail_timeout / 2;
}

void keep_ask(struct node *n, struct keep_ask *a)
{
	uint16_t at = leader_of(n, n->keep->turn);
	struct frame *f;

	a->n = n;
	a->text[0] = 0;
	if (keeper_leads(n->keeper) || at == RING_NONE) {
		keeper_ask(n->keeper, &a->m, ask_local, a);
		return;
	}
	a->call.done = ask_answered;
	f = frame_new(WIRE_ASK, 0, 256);
	wire_put_ask(&f->b, &a->m);
	peer_call_within(n, at, f, &a->call, ask_timeout(n, &a->m));
}

static void session_local(void *arg, const struct wire_session *m)
{
	struct keep_session *s = arg;

	s->done(s, m);
}

static void session_answered(struct call *call, int rc, struct frame *f)
{
	struct keep_session *s = container_of(call, struct keep_session, call);
	struct wire_session m;

	if (rc || f->type != WIRE_SESSION || wire_get_session(frame_cur(f), &m))
		m = (struct wire_session){.status = WIRE_NO_KEEPER};
	s->done(s, &m);
}

void keep_session(struct node *n, struct keep_session *s)
{
	uint16_t at = leader_of(n, 0);
	struct frame *f;

	s->n = n;
	if (keeper_leads(n->keeper) || at == RING_NONE) {
		keeper_session(n->keeper, &s->m, session_local, s);
		return;
	}
	s->call.done = session_answered;
	f = frame_new(WIRE_SESSION_OPEN, 0, 32);
	wire_put_session_open(&f->b, &s->m);
	peer_call_within(n, at, f, &s->call, PASS_TIMEOUT);
}

/* ---- what others ask ---- */

/* A question that is answered by the keeper here, or passed on to the leader's node. */
struct passed {
	struct req r;
	struct call call;
	bool session;
};

static void passed_run(struct req *r)
{
	(void)r; /* waits for nothing that runs it again */
}

static void passed_release(struct req *r)
{
	free(container_of(r, struct passed, r));
}

static const struct req_ops passed_ops = {.run = passed_run, .release = passed_release};

static struct passed *passed_new(struct conn *c, struct frame *f, bool session)
{
	struct passed *p = mem_zalloc(sizeof(*p));

	req_init(&p->r, c->n, c, f, &passed_ops);
	p->session = session;
	p->r.pinned++;
	return p;
}

static struct frame *reply_text(uint16_t status, uint64_t epoch, const char *text)
{
	struct frame *f = frame_new(WIRE_REPLY, 0, 64);

	wire_put_reply_head(&f->b, status, 0, epoch, NULL, 0);
	buf_bytes(&f->b, text, strlen(text));
	return f;
}

static struct frame *session_frame(const struct wire_session *m)
{
	struct frame *f = frame_new(WIRE_SESSION, 0, 16);

	wire_put_session(&f->b, m);
	return f;
}

static struct frame *no_keeper(struct node *n, bool session)
{
	if (session)
		return session_frame(&(struct wire_session){.status = WIRE_NO_KEEPER});
	return reply_text(WIRE_NO_KEEPER, n->ring ? n->ring->epoch : 0, "no leader is known here");
}

static void passed_say(struct passed *p, struct frame *f)
{
	p->r.pinned--;
	if (req_over(&p->r))
		frame_unref(f);
	else
		req_answer(&p->r, f);
}

static void asked_local(void *arg, uint16_t status, uint64_t epoch, const char *text)
{
	passed_say(arg, reply_text(status, epoch, text));
}

static void session_asked_local(void *arg, const struct wire_session *m)
{
	passed_say(arg, session_frame(m));
}

static void passed_back(struct call *call, int rc, struct frame *f)
{
	struct passed *p = container_of(call, struct passed, call);
	struct frame *copy;

	if (rc || f->type != (p->session ? WIRE_SESSION : WIRE_REPLY)) {
		passed_say(p, no_keeper(p->r.n, p->session));
		return;
	}
	/* a frame that came over a link is not ours to change */
	copy = frame_new(f->type, 0, frame_body_len(f));
	buf_bytes(&copy->b, frame_body(f), frame_body_len(f));
	passed_say(p, copy);
}

static void pass_on(struct conn *c, struct frame *f, struct frame *copy, bool session)
{
	struct passed *p = passed_new(c, f, session);
	uint16_t at = leader_of(c->n, 0);

	if (at == RING_NONE) {
		frame_unref(copy);
		passed_say(p, no_keeper(c->n, session));
		return;
	}
	p->call.done = passed_back;
	peer_call_within(c->n, at, copy, &p->call, PASS_TIMEOUT);
}

void keep_asked(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_ask_m m;
	struct frame *copy;

	if (wire_get_ask(frame_cur(f), &m)) {
		conn_send(c, reply_text(WIRE_BAD_REQUEST, 0, "malformed"), f->id);
	} else if (keeper_leads(n->keeper)) {
		keeper_ask(n->keeper, &m, asked_local, passed_new(c, f, false));
	} else if (m.flags & ASK_F_PASSED) {
		conn_send(c, no_keeper(n, false), f->id);
	} else {
		m.flags |= ASK_F_PASSED;
		copy = frame_new(WIRE_ASK, 0, 256);
		wire_put_ask(&copy->b, &m);
		pass_on(c, f, copy, false);
	}
}

void keep_session_asked(struct conn *c, struct frame *f)
{
	struct node *n = c->n;
	struct wire_session_open m;
	struct frame *copy;

	if (wire_get_session_open(frame_cur(f), &m)) {
		conn_send(c, session_frame(&(struct wire_session){.status = WIRE_BAD_REQUEST}),
			f->id);
	} else if (keeper_leads(n->keeper)) {
		keeper_session(n->keeper, &m, session_asked_local, passed_new(c, f, true));
	} else if (m.passed) {
		conn_send(c, no_keeper(n, true), f->id);
	} else {
		m.passed = true;
		copy = frame_new(WIRE_SESSION_OPEN, 0, 32);
		wire_put_session_open(&copy->b, &m);
		pass_on(c, f, copy, true);
	}
}

void keep_raft(struct conn *c, struct frame *f)
{
	if (c->role == WIRE_ROLE_NODE)
		keeper_raft(c->n->keeper, f);
	else
		conn_fail(c, WIRE_BAD_REQUEST, "only nodes vote");
}

/* ---- maps ---- */

static void diffs_free(struct keep *k)
{
	for (unsigned i = 0; i < KEEP_DIFFS; i++) {
		buf_fini(&k->diffs[i].b);
		k->diffs[i].from = 0;
	}
}

static void diff_keep(struct keep *k, const struct ring_map *old, const struct ring_map *m)
{
	struct diff *d = &k->diffs[m->epoch % KEEP_DIFFS];

	if (m->epoch != old->epoch + 1) {
		diffs_free(k);
		return;
	}
	buf_reset(&d->b);
	ring_diff(old, m, &d->b);
	d->from = d->b.err ? 0 : old->epoch;
}

/* Do the differences reach from @epoch to our map, and what do they weigh? */
static bool diffs_reach(const struct node *n, uint64_t epoch, size_t *len)
{
	const struct keep *k = n->keep;

	*len = 0;
	if (!epoch || n->ring->epoch - epoch > KEEP_DIFFS)
		return false;
	for (; epoch < n->ring->epoch; epoch++) {
		const struct diff *d = &k->diffs[(epoch + 1) % KEEP_DIFFS];

		if (d->from != epoch)
			return false;
		*len += 4 + d->b.len;
	}
	return true;
}

void keep_put_map(const struct node *n, uint64_t epoch, struct buf *b)
{
	struct wire_map m = {.epoch = n->ring ? n->ring->epoch : 0};
	struct buf whole = {0};
	size_t len;

	if (!n->ring || n->ring->epoch <= epoch) {
		wire_put_map(b, &m);
		return;
	}
	/* many of them may weigh more than the map, and more than a frame holds */
	if (diffs_reach(n, epoch, &len) && len <= ring_encoded_len(n->ring)) {
		m.form = WIRE_MAP_DIFFS;
		wire_put_map(b, &m);
		buf_reserve(b, len);
		for (; epoch < n->ring->epoch; epoch++) {
			const struct diff *d = &n->keep->diffs[(epoch + 1) % KEEP_DIFFS];

			buf_blob(b, d->b.data, d->b.len);
		}
		return;
	}
	m.form = WIRE_MAP_WHOLE;
	wire_put_map(b, &m);
	ring_encode(n->ring, &whole);
	buf_bytes(b, whole.data, whole.len);
	if (whole.err)
		b->err = whole.err;
	buf_fini(&whole);
}

static void tell_epoch(struct node *n)
{
	const struct ring_map *m = n->ring;
	struct frame *f = frame_new(WIRE_EPOCH, 0, 8);
	struct conn *c;

	buf_u64(&f->b, m->epoch);
	TAILQ_FOREACH (c, &n->conns, entry) {
		if (c->hello && !c->doomed)
			link_send(c->link, frame_ref(f));
	}
	/* the leader sees to it that all hear of it */
	for (unsigned i = 0; keeper_leads(n->keeper) && i < m->nnodes; i++) {
		if (i != n->self && m->nodes[i].up)
			peer_tell(n, (uint16_t)i, frame_ref(f));
	}
	frame_unref(f);
}

/* A map may call us by another ID than we knew. */
static void renamed(void *arg, int rc)
{
	(void)arg;
	if (rc)
		log_error("mod=node rc=-%s msg=\"cannot store the node's new ID\"", log_errno(rc));
}

static void find_self(struct node *n)
{
	const struct ring_map *m = n->ring;
	char id[ORBIT_ID_HEX];
	uint16_t at = ring_find(m, &n->id);
	struct peer *p;

	if (at == RING_NONE && n->keep->number) {
		at = ring_find_number(m, n->keep->number);
		if (at != RING_NONE) {
			n->id = m->nodes[at].id;
			log_info("mod=node node=%s msg=\"has a new ID\"", orbit_id_hex(&n->id, id));
			store_rename(n->st, &n->id, renamed, NULL);
			/* the others go by what HELLO said */
			TAILQ_FOREACH (p, &n->peers, entry)
				peer_break(p, -ECONNRESET);
		}
	}
	n->self = at;
	n->registered =
		at != RING_NONE && m->nodes[at].up && m->nodes[at].incarnation == n->incarnation;
	if (at != RING_NONE && m->nodes[at].number) {
		n->keep->number = m->nodes[at].number;
		keeper_number(n->keeper, n->keep->number);
	}
}

static void save_soon(struct node *n);

/* Could others not be found by the one who are in the other? */
static bool others_in(const struct ring_map *a, const struct ring_map *b)
{
	if (a->nnodes != b->nnodes)
		return true;
	for (unsigned i = 0; i < a->nnodes; i++) {
		const struct ring_node *x = &a->nodes[i], *y = &b->nodes[i];

		if (x->number != y->number || x->voter != y->voter || x->naddrs != y->naddrs ||
			orbit_id_cmp(&x->id, &y->id) ||
			memcmp(x->addr, y->addr, x->naddrs * sizeof(x->addr[0])))
			return true;
	}
	return false;
}

int keep_adopt(struct node *n, struct ring_map *m)
{
	struct ring_map *old = (struct ring_map *)n->ring;
	struct keep *k = n->keep;
	bool was = n->registered;
	int rc;

	if (n->stopping)
		return -ESHUTDOWN; /* what others led would be taken over */
	if (old && m->epoch <= old->epoch)
		return -EEXIST;
	if (memcmp(m->fsid, n->fsid, sizeof(n->fsid)))
		return -EMEDIUMTYPE;
	if (old && m->shard_bits != old->shard_bits)
		return -EINVAL; /* objects would change their shards */
	n->ring = ring_ref(m);
	if (old)
		diff_keep(k, old, m);
	k->urgent |= !old || others_in(old, m);
	find_self(n);
	log_line(n->registered == was && old ? LOG_LVL_DEBUG : LOG_LVL_INFO,
		"mod=node epoch=%" PRIu64 " nodes=%u registered=%d msg=\"new ring map\"", m->epoch,
		m->nnodes, n->registered);
	rc = node_adopt(n, old);
	ring_unref(old);
	if (rc)
		return rc;
	if (n->registered && !k->levelled) {
		k->levelled = true;
		store_levelled(n->st);
	}
	save_soon(n);
	tell_epoch(n);
	/* registers, or begins to say that it is alive */
	env_timer_set(n->env, &k->timer, env_now(n->env));
	return 0;
}

static int follow(struct node *n, const struct wire_map *w, struct ring_map **out)
{
	struct cur diffs = cur_of(w->map, w->map_len);
	struct ring_map *m = n->ring ? ring_ref((struct ring_map *)n->ring) : NULL, *next;
	int rc = m ? 0 : -EBADMSG;

	while (!rc && diffs.left) {
		size_t len;
		const void *diff = cur_blob(&diffs, FRAME_BODY_MAX, &len);

		rc = diff ? ring_patch(m, diff, len, &next) : -EBADMSG;
		if (rc)
			break;
		ring_unref(m);
		m = next;
	}
	if (rc)
		ring_unref(m);
	else
		*out = m;
	return rc == -ESTALE ? -EEXIST : rc;
}

int keep_take(struct node *n, const struct wire_map *m)
{
	struct ring_map *map;
	int rc;

	if (m->form == WIRE_MAP_NONE)
		return -EEXIST;
	rc = m->form == WIRE_MAP_DIFFS ? follow(n, m, &map) : ring_decode(m->map, m->map_len, &map);
	if (rc)
		return rc;
	rc = keep_adopt(n, map);
	ring_unref(map);
	return rc;
}

void keep_brought(struct node *n, struct frame *f)
{
	struct wire_map m;
	int rc = wire_get_map(frame_cur(f), &m);

	if (!rc && !n->stopping)
		rc = keep_take(n, &m);
	if (rc && rc != -EEXIST)
		log_warn("mod=node rc=-%s msg=\"a node brought a ring map that is of no use here\"",
			log_errno(rc));
}

void keep_epoch(struct node *n, const struct orbit_id *from, struct frame *f)
{
	struct cur c = frame_cur(f);
	uint64_t epoch = cur_u64(&c);

	if (!cur_done(&c) || !n->ring || n->stopping)
		return;
	route_epoch(n, ring_find(n->ring, from), epoch);
	/* nothing new from the leader: it wants to know whether we live */
	if (epoch == n->ring->epoch && ring_find(n->ring, from) == n->ring->keeper)
		env_timer_set(n->env, &n->keep->timer, env_now(n->env));
}

/* ---- the map on disk ---- */

static void save_run(struct work *w)
{
	struct save *s = container_of(w, struct save, w);

	s->rc = s->b.err ? s->b.err : s->disk->ops->save(s->disk, MAP_FILE, s->b.data, s->b.len);
}

static void save_done(struct work *w)
{
	struct save *s = container_of(w, struct save, w);
	struct node *n = w->owner;

	if (n) {
		n->keep->saving = false;
		if (s->rc) /* it is a help, not a need */
			log_warn("mod=node rc=-%s msg=\"cannot keep a copy of the ring map\"",
				log_errno(s->rc));
		if (n->stopping)
			node_check_stopped(n);
		else
			save_soon(n);
	}
	buf_fini(&s->b);
	free(s);
}

static void save_fire(struct env_timer *t)
{
	struct keep *k = container_of(t, struct keep, save_timer);
	struct node *n = k->n;
	struct save *s;
	size_t at;

	if (k->saving || n->stopping)
		return;
	s = mem_zalloc(sizeof(*s));
	s->disk = store_disk(n->st);
	buf_u32(&s->b, MAP_MAGIC);
	buf_u16(&s->b, MAP_FORMAT);
	buf_u32(&s->b, k->number);
	at = s->b.len;
	buf_u32(&s->b, 0);
	ring_encode(n->ring, &s->b);
	if (!s->b.err) {
		buf_set_u32(&s->b, at, (uint32_t)(s->b.len - at - 4));
		buf_u32(&s->b, crc32c(s->b.data, s->b.len));
	}
	k->saving = true;
	k->urgent = false;
	k->saved = n->ring->epoch;
	work_start(&s->w, k->gate, n, k, save_run, save_done);
}

/* Who votes too: what the keeper's files give at a start is the map of the last snapshot, until a
 * leader tells which later entries are committed; and without a newer map the other voters may not
 * be found, so that there never is one. */
static void save_soon(struct node *n)
{
	struct keep *k = n->keep;

	if (k->saving || n->ring->epoch <= k->saved || (k->save_timer.armed && !k->urgent))
		return;
	env_timer_set(n->env, &k->save_timer, env_now(n->env) + (k->urgent ? 0 : SAVE_EVERY));
}

static int load(struct node *n)
{
	struct disk *d = store_disk(n->st);
	struct keep *k = n->keep;
	struct ring_map *map;
	struct buf b = {0};
	struct cur c;
	const void *at = NULL;
	uint32_t number;
	size_t len;
	int rc;

	rc = d->ops->load(d, MAP_FILE, &b, FRAME_BODY_MAX);
	if (rc) {
		buf_fini(&b);
		return rc == -ENOENT ? 0 : rc;
	}
	c = cur_of(b.data, b.len > 4 ? b.len - 4 : 0);
	if (cur_u32(&c) == MAP_MAGIC && cur_u16(&c) == MAP_FORMAT) {
		struct cur tail = cur_of(b.data + b.len - 4, 4);

		number = cur_u32(&c);
		if (cur_u32(&tail) == crc32c(b.data, b.len - 4))
			at = cur_blob(&c, FRAME_BODY_MAX, &len);
	}
	if (!at || ring_decode(at, len, &map)) {
		log_warn("mod=node msg=\"" MAP_FILE " is damaged: asking for the ring map anew\"");
	} else {
		k->number = number;
		k->saved = map->epoch;
		rc = keep_adopt(n, map);
		ring_unref(map);
	}
	buf_fini(&b);
	return rc == -EEXIST ? 0 : rc;
}

/* ---- joining ---- */

static void join_end(struct keep *k)
{
	if (k->join)
		link_close(k->join);
	k->join = NULL;
	env_timer_clear(k->n->env, &k->join_timer);
}

static void join_up(struct link *l, void *arg)
{
	struct keep *k = arg;
	struct frame *f = frame_new(WIRE_HELLO, 1, 96);

	put_hello(k->n, &f->b);
	link_send(l, f);
	f = frame_new(WIRE_MAP_GET, 2, 8);
	wire_put_map_get(&f->b, k->n->ring ? k->n->ring->epoch : 0);
	link_send(l, f);
}

static void join_message(struct link *l, struct frame *f, void *arg)
{
	struct keep *k = arg;
	struct wire_error e;
	struct wire_map m;
	int rc;

	if (f->type == WIRE_ERROR && !wire_get_error(frame_cur(f), &e)) {
		log_warn("mod=node peer=%s status=%s msg=\"may not join: %.*s\"", l->peer,
			wire_status_name(e.status), (int)e.text_len, e.text);
		join_end(k);
		return;
	}
	if (f->type != WIRE_MAP)
		return;
	rc = wire_get_map(frame_cur(f), &m);
	if (!rc)
		rc = keep_take(k->n, &m);
	if (rc && rc != -EEXIST)
		log_warn("mod=node peer=%s rc=-%s msg=\"its ring map is of no use here\"", l->peer,
			log_errno(rc));
	join_end(k);
}

static void join_down(struct link *l, int rc, void *arg)
{
	log_info("mod=node peer=%s rc=-%s msg=\"cannot be asked for the ring map\"", l->peer,
		log_errno(rc));
	join_end(arg);
}

static const struct link_events join_events = {join_up, join_message, join_down};

static void join_late(struct env_timer *t)
{
	join_end(container_of(t, struct keep, join_timer));
}

/* Asks one of the addresses that we were told for a map. */
static void join(struct keep *k)
{
	const struct node_config *cfg = &k->n->cfg;

	if (!cfg->njoin || k->join)
		return;
	if (env_connect(
		    k->n->env, cfg->join[k->next_join++ % cfg->njoin], &join_events, k, &k->join)) {
		k->join = NULL;
		return;
	}
	env_timer_set(k->n->env, &k->join_timer, env_now(k->n->env) + JOIN_TIMEOUT);
}

/* ---- staying ---- */

static void later(struct keep *k, uint64_t wait)
{
	if (!k->n->stopping)
		env_timer_set(k->n->env, &k->timer, env_now(k->n->env) + wait);
}

static uint64_t backoff(struct keep *k)
{
	uint64_t wait = AGAIN_MIN << (k->tries < 5 ? k->tries : 5);

	k->tries++;
	if (wait > AGAIN_MAX)
		wait = AGAIN_MAX;
	return wait / 2 + env_random_u64(k->n->env) % wait;
}

static void registered(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct node *n = a->n;
	struct keep *k = n->keep;

	k->asking = false;
	if (n->stopping)
		return;
	if (status == WIRE_OK) {
		k->tries = 0;
		k->warned = false;
		/* the map says so when it comes; if it does not, ask again */
		if (n->ring)
			route_epoch(n, leader_of(n, 0), epoch);
		later(k, n->registered ? n->cfg.alive_every : AGAIN_MAX);
		return;
	}
	if (status != WIRE_NO_KEEPER && !k->warned) {
		k->warned = true;
		log_error("mod=node status=%s msg=\"cannot register: %s\"",
			wire_status_name(status), a->text);
	}
	later(k, backoff(k));
}

/* Where others find us: as we were told, else where we listen. */
static void put_addrs(const struct node *n, struct wire_ask_m *m)
{
	const struct listener *l;

	for (unsigned i = 0; i < n->cfg.naddrs && m->naddrs < WIRE_ADDRS_MAX; i++)
		snprintf(m->addr[m->naddrs++], sizeof(m->addr[0]), "%s", n->cfg.addrs[i]);
	if (m->naddrs)
		return;
	TAILQ_FOREACH (l, &n->listeners, entry) {
		if (m->naddrs < WIRE_ADDRS_MAX)
			snprintf(m->addr[m->naddrs++], sizeof(m->addr[0]), "%s",
				env_listener_addr(n->env, l->l));
	}
}

static void do_register(struct keep *k)
{
	struct node *n = k->n;
	struct wire_ask_m *m = &k->ask.m;

	memset(m, 0, sizeof(*m));
	m->what = ASK_REGISTER;
	m->node = n->id;
	m->incarnation = n->incarnation;
	m->epoch = n->ring->epoch;
	m->term = k->number;
	if (store_info(n->st)->whole)
		m->flags |= ASK_F_WHOLE;
	if (n->cfg.witness)
		m->flags |= ASK_F_WITNESS;
	else
		m->weight = n->cfg.weight;
	snprintf(m->zone, sizeof(m->zone), "%s", n->cfg.zone ? n->cfg.zone : "");
	put_addrs(n, m);
	if (!m->naddrs) {
		later(k, AGAIN_MAX); /* it does not listen yet */
		return;
	}
	k->asking = true;
	k->ask.done = registered;
	keep_ask(n, &k->ask);
}

static void alive(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct node *n = a->n;

	if (!n->stopping && status != WIRE_NO_KEEPER)
		route_epoch(n, leader_of(n, 0), epoch);
	else if (!n->stopping && n->registered)
		later(n->keep, AGAIN_MIN); /* at another one */
	free(a);
}

/* Whether or not the one before was answered: a leader that hangs must not keep us from telling the
 * next one. */
static void say_alive(struct keep *k)
{
	struct node *n = k->n;
	struct keep_ask *a = mem_zalloc(sizeof(*a));
	struct store_usage u;

	store_usage(n->st, &u);
	a->m.what = ASK_ALIVE;
	a->m.node = n->id;
	a->m.incarnation = n->incarnation;
	a->m.epoch = n->ring->epoch;
	a->m.used = u.log;
	a->m.available = u.available;
	a->done = alive;
	later(k, n->cfg.alive_every);
	keep_ask(n, a);
}

static void retired(struct keep_ask *a, uint16_t status, uint64_t epoch)
{
	struct keep *k = a->n->keep;

	/* we stop serving when the map comes; others are told by us that we did */
	if (!a->n->stopping && status == WIRE_OK)
		route_epoch(a->n, leader_of(a->n, 0), epoch);
	k->retired(k->retired_arg, wire_errno(status));
}

void node_retire(struct node *n, void (*done)(void *arg, int rc), void *arg)
{
	struct keep *k = n->keep;
	struct wire_ask_m *m = &k->retire.m;

	assert(!k->retiring);
	k->retiring = true;
	k->retired = done;
	k->retired_arg = arg;
	m->what = ASK_DOWN;
	m->node = n->id;
	m->incarnation = n->incarnation;
	m->epoch = n->ring ? n->ring->epoch : 0;
	k->retire.done = retired;
	keep_ask(n, &k->retire);
}

static void keep_fire(struct env_timer *t)
{
	struct keep *k = container_of(t, struct keep, timer);
	struct node *n = k->n;

	if (n->stopping || (k->retiring && !n->registered))
		return;
	if (n->ring && n->registered && keeper_leads(n->keeper) && n->ring->nnodes == 1)
		return; /* it need not tell itself; the next map sets the timer */
	if (n->ring && n->registered) {
		say_alive(k);
	} else if (k->asking) {
		return; /* who answers goes on */
	} else if (n->ring && (k->tries % 4 != 3 || !n->cfg.njoin)) {
		do_register(k);
	} else {
		/* no map, or nobody in it answers */
		join(k);
		later(k, backoff(k));
	}
}

/* ---- the keeper's wishes ---- */

static int keeper_send(void *arg, uint32_t to, struct frame *f)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, to) : RING_NONE;

	if (at == RING_NONE || at == n->self) {
		frame_unref(f);
		return -EHOSTUNREACH;
	}
	return peer_tell(n, at, f);
}

static void keeper_has_map(void *arg, struct ring_map *m)
{
	struct node *n = arg;
	int rc = keep_adopt(n, m);

	if (rc && rc != -EEXIST && rc != -ESHUTDOWN)
		log_error("mod=node epoch=%" PRIu64 " rc=-%s msg=\"cannot take the ring map\"",
			m->epoch, log_errno(rc));
}

static void keeper_probes(void *arg, uint32_t number)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, number) : RING_NONE;

	if (at != RING_NONE && at != n->self)
		peer_tell(n, at, frame_new(WIRE_PING, 0, 0));
}

static void keeper_failed(void *arg, int rc)
{
	struct node *n = arg;

	n->keeper_rc = rc; /* node_broken() says so */
}

static void keeper_pokes(void *arg, uint32_t number)
{
	struct node *n = arg;
	uint16_t at = n->ring ? ring_find_number(n->ring, number) : RING_NONE;
	struct frame *f;

	if (at == RING_NONE || n->stopping)
		return;
	if (at == n->self) {
		env_timer_set(n->env, &n->keep->timer, env_now(n->env));
		return;
	}
	f = frame_new(WIRE_EPOCH, 0, 8);
	buf_u64(&f->b, n->ring->epoch);
	peer_tell(n, at, f);
}

static const struct keeper_ops keeper_ops = {.send = keeper_send,
	.poke = keeper_pokes,
	.map = keeper_has_map,
	.probe = keeper_probes,
	.failed = keeper_failed};

bool keep_wants(const struct node *n, const struct orbit_id *id)
{
	uint16_t at = n->ring ? ring_find(n->ring, id) : RING_NONE;

	/* the leader sees who dies; the others see whether the leader does */
	return at != RING_NONE && n->ring->nodes[at].up &&
	       (keeper_leads(n->keeper) || at == n->ring->keeper);
}

void keep_link_down(struct node *n, const struct orbit_id *id, bool refused)
{
	uint16_t at = n->ring ? ring_find(n->ring, id) : RING_NONE;

	if (at != RING_NONE && refused)
		keeper_refused(n->keeper, n->ring->nodes[at].number);
}

/* ---- life ---- */

int keep_new(struct node *n)
{
	struct keep *k = mem_zalloc(sizeof(*k));
	int rc;

	n->keep = k;
	k->n = n;
	k->timer.fire = keep_fire;
	k->save_timer.fire = save_fire;
	k->join_timer.fire = join_late;
	k->gate = gate_new(n->env);
	n->cfg.keeper.fail_timeout = n->cfg.fail_timeout;
	n->cfg.keeper.learn_shards = n->cfg.learn_shards;
	rc = keeper_new(&n->keeper, n->env, n->st, &n->cfg.keeper, &keeper_ops, n);
	if (!rc)
		rc = load(n);
	/* by its ID alone it would not know itself after a rename */
	if (!rc && !k->number)
		k->number = keeper_own_number(n->keeper);
	if (!rc && keeper_map(n->keeper))
		rc = keep_adopt(n, keeper_map(n->keeper));
	return rc == -EEXIST ? 0 : rc;
}

void keep_start(struct node *n)
{
	env_timer_set(n->env, &n->keep->timer, env_now(n->env));
}

static void quiet(struct keep *k)
{
	struct env *e = k->n->env;

	join_end(k);
	env_timer_clear(e, &k->timer);
	env_timer_clear(e, &k->save_timer);
}

void keep_stop(struct node *n)
{
	quiet(n->keep);
	keeper_stop(n->keeper);
}

bool keep_busy(const struct node *n)
{
	return n->keep->saving || keeper_busy(n->keeper);
}

void keep_free(struct node *n)
{
	struct keep *k = n->keep;

	if (!k)
		return;
	quiet(k);
	gate_close(k->gate);
	/* tells those that wait for it */
	keeper_free(n->keeper);
	n->keeper = NULL;
	diffs_free(k);
	free(k);
	n->keep = NULL;
}

void keep_status(const struct node *n, struct buf *b)
{
	wire_put_stat(b, "node.registered", "%d", n->registered);
	keeper_status(n->keeper, b);
}
