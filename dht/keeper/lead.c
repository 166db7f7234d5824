/*
 * The leader: what is asked, what was judged and the next step towards placement become one draft
 * of the map, and the draft an entry. One entry is under way at a time; what comes meanwhile waits
 * for the next draft.
 *
 *   list       an ask in it                         leaves it
 *   line       came                                 into flight, with a draft; or refused
 *   doubts     depends on who lives                 judged (judge.c); into the line, or answered
 *   flight     is in the draft under way            committed: OK; leadership lost: NO_KEEPER, as
 *                                                   nobody knows; the asker asks again
 *   answers    has its answer                       it is called back
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define UNREACHED (5 * ENV_SEC) /* before a node whose address refuses may try again */
#define DRAWS 20000             /* of placement, in one step: some ms */
#define FRESH ENV_SEC           /* a refusal of before the office still counts */
#define LATE (100 * ENV_MS)     /* a tick that comes later was held up */

void lead_answer(struct keeper *k, struct ask *a, uint16_t status, const char *text)
{
	a->status = status;
	a->epoch = k->state.map ? k->state.map->epoch : 0;
	if (text && text != a->text)
		snprintf(a->text, sizeof(a->text), "%s", text);
	TAILQ_INSERT_TAIL(&k->answers, a, entry);
}

static void answer_list(struct keeper *k, struct ask_list *list, uint16_t status, const char *text)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, a, entry);
		lead_answer(k, a, status, text);
	}
}

/* ---- what is asked ---- */

static uint16_t refuse(struct ask *a, uint16_t status, const char *text)
{
	snprintf(a->text, sizeof(a->text), "%s", text);
	return status;
}

/* An errno of plan.h, for a person. */
static uint16_t refusal(struct ask *a, int rc)
{
	switch (rc) {
	case -ESTALE:
		return refuse(a, WIRE_STALE, "the map has changed since");
	case -EBUSY:
		return refuse(a, WIRE_BUSY, "the node is up: let it leave first");
	case -ENODATA:
		return refuse(a, WIRE_BUSY, "it has the only copy of some data: force to lose it");
	case -EADDRINUSE:
		return refuse(a, WIRE_BUSY, "another node that is up has this address");
	case -EEXIST:
		return refuse(a, WIRE_BUSY, "another node has this ID");
	case -ENOSPC:
		return refuse(a, WIRE_BUSY, "the map is full");
	case -EINVAL:
		return refuse(a, WIRE_BAD_REQUEST, "no such thing can be in the map");
	default:
		return refuse(a, WIRE_IO, strerror(-rc));
	}
}

/* Is there nothing to change for a node that registers? */
static bool registered(const struct ring_map *m, uint16_t node, const struct wire_ask_m *q)
{
	const struct ring_node *n = &m->nodes[node];

	if (!n->up || n->incarnation != q->incarnation || n->naddrs != q->naddrs ||
		(q->zone[0] && strcmp(n->zone, q->zone)))
		return false;
	for (unsigned i = 0; i < n->naddrs; i++) {
		if (strcmp(n->addr[i], q->addr[i]))
			return false;
	}
	return true;
}

/* It lives, but nobody can connect to it: it would come and go. */
static bool unreachable(struct keeper *k, const struct ring_map *m, uint16_t node, uint64_t inc)
{
	const struct ring_node *n = &m->nodes[node];
	const struct heard *h = judge_find(k, n->number);

	return !n->up && n->incarnation == inc && h->refused_at &&
	       env_now(k->env) - h->refused_at < UNREACHED;
}

static uint16_t ask_register(struct keeper *k, struct ring_map *d, struct ask *a, bool *changed)
{
	const struct wire_ask_m *q = &a->m;
	uint16_t at = ring_find_number(d, (uint32_t)q->term);
	struct ring_node n = {.id = q->node,
		.number = (uint32_t)q->term,
		.incarnation = q->incarnation,
		.witness = q->flags & ASK_F_WITNESS,
		.weight = q->weight,
		.naddrs = q->naddrs};
	struct heard *h;
	int rc;

	if (q->term > UINT32_MAX || (q->term && at == RING_NONE))
		return refuse(a, WIRE_BAD_REQUEST, "the node was removed from the cluster");
	if (at == RING_NONE)
		at = ring_find(d, &q->node);
	if (at != RING_NONE && unreachable(k, d, at, q->incarnation))
		return refuse(a, WIRE_BUSY, "its address refuses connections");
	if (at == RING_NONE || !registered(d, at, q)) {
		/* one that says none keeps what it was made with */
		snprintf(n.zone, sizeof(n.zone), "%s",
			q->zone[0] || at == RING_NONE ? q->zone : d->nodes[at].zone);
		for (unsigned i = 0; i < q->naddrs; i++)
			snprintf(n.addr[i], sizeof(n.addr[i]), "%s", q->addr[i]);
		rc = plan_register(d, &n, q->flags & ASK_F_WHOLE);
		if (rc)
			return refusal(a, rc);
		*changed = true;
		at = n.number ? ring_find_number(d, n.number) : ring_find(d, &q->node);
	}
	h = judge_find(k, d->nodes[at].number);
	h->at = env_now(k->env);
	h->incarnation = q->incarnation;
	h->refused = false;
	h->noticed = 0;
	return WIRE_OK;
}

/*
 * A learner that leaves and comes back is in the same term, and its start may be the same: what was
 * asked for it before, and comes late, was said of a copy that may lack by now what was
 * acknowledged without it. So who asks has to know the map that has it as a learner now.
 */
static bool of_another_time(
	const struct keeper *k, const struct ring_map *d, const struct wire_ask_m *q, uint16_t node)
{
	return q->flags & ASK_F_ADD && ring_learner(&d->shards[q->shard], node) >= 0 &&
	       q->epoch < k->state.learners[q->shard];
}

static uint16_t ask_member(struct keeper *k, struct ring_map *d, struct ask *a, uint16_t node)
{
	const struct wire_ask_m *q = &a->m;
	uint16_t by = ring_find(d, &q->by);
	int rc;

	if (q->shard >= ring_nshards(d))
		return refuse(a, WIRE_BAD_REQUEST, "no such shard");
	if (by == RING_NONE || d->shards[q->shard].primary != by)
		return refuse(a, WIRE_STALE, "only the shard's primary may say that");
	if (of_another_time(k, d, q, node))
		return refuse(a, WIRE_STALE, "it was a learner of before");
	rc = plan_member(d, q->shard, q->term, node, q->incarnation, q->flags & ASK_F_ADD);
	return rc ? refusal(a, rc) : WIRE_OK;
}

/* Changes the draft as the question wants it: OK, or why not. */
static uint16_t carry_out(struct keeper *k, struct ring_map *d, struct ask *a, bool *changed)
{
	const struct wire_ask_m *q = &a->m;
	uint16_t node = ring_find(d, &q->node);
	int rc = 0;

	if (q->what == ASK_REGISTER)
		return ask_register(k, d, a, changed);
	if (node == RING_NONE && q->what != ASK_REPLICAS && q->what != ASK_FENCE)
		return refuse(a, WIRE_STALE, "no node with this ID is in the map");
	*changed = true;
	switch (q->what) {
	case ASK_MEMBER:
		return ask_member(k, d, a, node);
	case ASK_LEAVE:
		rc = plan_leave(d, node, !(q->flags & ASK_F_ADD));
		break;
	case ASK_REMOVE:
		if (d->nodes[node].number == k->number)
			rc = -EBUSY;
		else
			rc = plan_remove(d, node, q->flags & ASK_F_FORCE);
		break;
	case ASK_WEIGHT:
		rc = plan_weight(d, node, q->weight);
		break;
	case ASK_RENAME:
		rc = plan_rename(d, node, &q->id2);
		break;
	case ASK_REPLICAS:
		rc = plan_replicas(d, q->replicas ? q->replicas : d->replicas, q->min_in_sync);
		break;
	case ASK_FENCE:
		/* one that is not given out yet would be over before it begins */
		if (!q->session || q->session >= k->state.next_session)
			return refuse(a, WIRE_BAD_REQUEST, "no such session was ever opened");
		*changed = !(q->flags & ASK_F_RUN_OUT) || !session_run_out(k, q->session);
		if (*changed)
			session_fence(k, q->session);
		break;
	case ASK_DOWN:
		if (!d->nodes[node].up || d->nodes[node].incarnation != q->incarnation)
			rc = -ESTALE;
		else
			plan_down(d, node);
		break;
	case ASK_SUSPECT:
		rc = -ESTALE; /* it was judged, in a draft that made no sense */
		break;
	default:
		rc = -EINVAL;
	}
	return rc ? refusal(a, rc) : WIRE_OK;
}

static bool take_line(struct keeper *k, struct ring_map *d)
{
	struct lead *l = &k->lead;
	bool any = false;
	struct ask *a;

	while ((a = TAILQ_FIRST(&l->line))) {
		bool changed = false;
		uint16_t status;

		TAILQ_REMOVE(&l->line, a, entry);
		status = carry_out(k, d, a, &changed);
		if (status != WIRE_OK) {
			lead_answer(k, a, status, NULL);
			continue;
		}
		any |= changed;
		TAILQ_INSERT_TAIL(&l->flight, a, entry);
		if (l->single)
			return any;
	}
	l->single = false;
	return any;
}

/* ---- the draft ---- */

static bool take_fences(struct keeper *k, struct ring_map *d)
{
	for (unsigned i = 0; i < k->lead.nfences; i++)
		plan_fence(d, k->lead.fences[i]);
	return k->lead.nfences > 0;
}

/* By index: nodes that have been down for so long that their data is copied elsewhere. */
static bool *gone_nodes(struct keeper *k, const struct ring_map *d, uint64_t now)
{
	bool *gone = mem_zalloc(d->nnodes * sizeof(*gone));

	for (unsigned i = 0; i < d->nnodes; i++) {
		const struct heard *h;

		if (d->nodes[i].up)
			continue;
		h = judge_find(k, d->nodes[i].number);
		gone[i] = now - h->down_at > k->cfg.gone_timeout;
	}
	return gone;
}

/* Has those speak whom the step waits for: when all did, it is tried again. */
static void ask_words(struct keeper *k, const struct ring_map *d, const bool *asked)
{
	struct lead *l = &k->lead;

	l->unsaid = 0;
	for (unsigned i = 0; i < d->nnodes; i++) {
		struct heard *h = judge_find(k, d->nodes[i].number);
		bool anew = asked[i] && !h->asked;

		h->asked = asked[i];
		l->unsaid += asked[i];
		if (anew && k->ops->poke)
			k->ops->poke(k->arg, h->number);
	}
}

static bool take_step(struct keeper *k, struct ring_map *d, uint64_t now)
{
	struct lead *l = &k->lead;
	bool *gone = gone_nodes(k, d, now), *asked = mem_zalloc(d->nnodes * sizeof(*asked));
	uint64_t *said = mem_zalloc(d->nnodes * sizeof(*said));
	const struct plan_words words = {
		.now = judge_mark(k), .said = said, .asked = asked, .since = l->waits};
	const struct plan_limits limits = {.learners_per_node = k->cfg.learn_shards,
		.primaries = k->cfg.move_primaries,
		.draws = DRAWS,
		.gone = gone,
		.words = &words};
	unsigned n;

	for (unsigned i = 0; i < d->nnodes; i++)
		said[i] = judge_said(k, d->nodes[i].number);
	n = plan_step(d, &limits, &l->places);
	ask_words(k, d, asked);
	free(gone);
	free(asked);
	free(said);
	l->step_at = now + k->cfg.step_every;
	/* placement is computed bit by bit */
	if (l->places.pending)
		l->step_at = now;
	return n > 0;
}

static bool take_keeper(struct keeper *k, struct ring_map *d)
{
	uint16_t self = ring_find_number(d, k->number);

	if (self == RING_NONE || d->keeper == self)
		return false;
	d->keeper = self;
	return true;
}

static void committed(struct raft_apply *req, int status, void *result)
{
	struct keeper *k = container_of(req, struct keeper, lead.apply);
	const struct applied *a = result;

	k->lead.changing = false;
	if (status || a->rc) {
		/* this leader is none, or has made a draft of a map that was not the newest */
		answer_list(k, &k->lead.flight, WIRE_NO_KEEPER, "the leader has changed");
		sessions_on(k); /* those that were to end did not */
		return;
	}
	answer_list(k, &k->lead.flight, WIRE_OK, NULL);
}

static void propose(struct keeper *k, struct ring_map *d)
{
	struct lead *l = &k->lead;
	struct buf b = {0};
	int rc;

	entry_put_map(&b, k->state.map, d, l->fences, l->nfences);
	l->nfences = 0;
	l->changing = true;
	rc = keeper_propose(k, &b, &l->apply, committed);
	if (!rc)
		return;
	l->changing = false;
	log_error("mod=keeper msg=\"a change of the map was refused: %s\"", raft_strerror(rc));
	answer_list(k, &l->flight, WIRE_NO_KEEPER, raft_strerror(rc));
	sessions_on(k); /* those that were to end did not */
}

/* The draft makes no sense: no voter would take it, and it would be made again and again. What was
 * asked for is tried one by one, and the one that leads here is refused. */
static void give_up(struct keeper *k, unsigned nfences)
{
	struct ask_list *flight = &k->lead.flight;
	struct ask *a = TAILQ_FIRST(flight);

	log_error("mod=keeper epoch=%" PRIu64 " asked=%u msg=\"a map that makes no sense is not "
		  "proposed\"",
		k->state.map->epoch, a ? a->m.what : 0);
	k->lead.nfences = nfences; /* those that the asks wanted come again with them */
	k->lead.step_at = env_now(k->env) + k->cfg.step_every;
	if (!a)
		return; /* the next tick may see another one */
	if (k->lead.single || !TAILQ_NEXT(a, entry)) {
		answer_list(k, flight, WIRE_BAD_REQUEST, "it leads to a map that makes no sense");
	} else {
		k->lead.single = true;
		while ((a = TAILQ_LAST(flight, ask_list))) {
			TAILQ_REMOVE(flight, a, entry);
			TAILQ_INSERT_HEAD(&k->lead.line, a, entry);
		}
	}
	keeper_settle_soon(k);
}

static bool due(struct keeper *k, uint64_t now)
{
	const struct ring_map *m = k->state.map;

	return !TAILQ_EMPTY(&k->lead.line) || k->lead.nfences ||
	       (now >= k->lead.step_at && judge_knows(k)) ||
	       m->keeper != ring_find_number(m, k->number) || voters_due(k) || judge_due(k);
}

void lead_pump(struct keeper *k)
{
	uint64_t now = env_now(k->env);
	struct lead *l = &k->lead;
	unsigned nfences = l->nfences;
	struct ring_map *d;
	bool changed;

	/* a leader that hands over takes nothing; what waits goes on if that fails */
	if (!l->on || l->unsure || l->changing || k->raft.transfer || !due(k, now))
		return;
	d = ring_draft(k->state.map);
	changed = judge(k, d);
	changed |= take_line(k, d);
	changed |= take_fences(k, d);
	changed |= take_keeper(k, d);
	changed |= voters_flag(k, d);
	/* whoever is only remembered as up may be dead, and must not replace one that lives */
	if ((changed || now >= l->step_at) && judge_knows(k))
		changed |= take_step(k, d, now);
	plan_terms(d, k->state.map);
	if (changed && !ring_map_valid(d))
		give_up(k, nfences);
	else if (changed)
		propose(k, d);
	else
		answer_list(k, &l->flight, WIRE_OK, NULL);
	if (l->single && !l->changing && !TAILQ_EMPTY(&l->line))
		keeper_settle_soon(k);
	ring_unref(d);
}

/* ---- office ---- */

void lead_on(struct keeper *k)
{
	struct lead *l = &k->lead;

	l->on = true;
	l->since = env_now(k->env);
	l->step_at = l->since;
	l->voters_at = l->since;
	l->voting = false;
	judge_free(k);
	l->unsaid = 0;
	l->waits = mem_zalloc(ring_nshards(k->state.map) * sizeof(*l->waits));
	/* what was seen of the one that led before */
	if (k->refused && l->since - k->refused_at < FRESH)
		keeper_refused(k, k->refused);
	k->refused = 0;
	sessions_on(k);
	sessions_inherited(k);
	k->has_led = true;
	log_info("mod=keeper number=%" PRIu32 " term=%llu epoch=%" PRIu64 " msg=\"leads\"",
		k->number, k->raft.current_term, k->state.map->epoch);
}

void lead_off(struct keeper *k)
{
	struct lead *l = &k->lead;

	l->on = false;
	l->unsure = false;
	l->nfences = 0;
	answer_list(k, &l->line, WIRE_NO_KEEPER, "the leader has changed");
	answer_list(k, &l->doubts, WIRE_NO_KEEPER, "the leader has changed");
	/* else its end is told, but not to who has stopped listening */
	if (!l->changing || k->stopping)
		answer_list(k, &l->flight, WIRE_NO_KEEPER, "the leader has changed");
	log_info("mod=keeper number=%" PRIu32 " term=%llu msg=\"leads no more\"", k->number,
		k->raft.current_term);
}

void lead_tick(struct keeper *k, uint64_t now, uint64_t late)
{
	/* what was sent to a leader that stood still is still to be read */
	if (late <= LATE)
		late = 0;
	if (late)
		judge_late(k, late);
	sessions_tick(k, now, late);
}
