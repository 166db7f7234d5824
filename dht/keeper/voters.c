/*
 * The leader: who votes. Up to five of the nodes that are up and stay, an odd number if there is a
 * choice, in different zones if there are. One change at a time:
 *
 *   who is no node of the map any more goes (the leader itself hands over first)
 *   who leaves goes, after another votes in its place, if one can: fewer voters bear less meanwhile
 *   who is down for longer than voter_timeout goes if another node can take its place
 *   one too many: goes; one too few: comes, first as a spare that follows, then as a voter
 *
 * The map's flags follow libraft's configuration, for people and for those who look for a leader.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define AGAIN ENV_SEC /* after a change that failed */

static const struct raft_server *server_of(const struct keeper *k, uint32_t number)
{
	const struct raft_configuration *c = &k->raft.configuration;

	for (unsigned i = 0; i < c->n; i++) {
		if (c->servers[i].id == number)
			return &c->servers[i];
	}
	return NULL;
}

static bool votes(const struct keeper *k, uint32_t number)
{
	const struct raft_server *s = server_of(k, number);

	return s && s->role == RAFT_VOTER;
}

/* ---- the map's flags ---- */

bool voters_flag(struct keeper *k, struct ring_map *d)
{
	bool changed = false;

	if (k->raft.configuration_uncommitted_index)
		return false;
	for (unsigned i = 0; i < d->nnodes; i++) {
		bool voter = votes(k, d->nodes[i].number);

		changed |= d->nodes[i].voter != voter;
		d->nodes[i].voter = voter;
	}
	return changed;
}

bool voters_due(struct keeper *k)
{
	const struct ring_map *m = k->state.map;

	if (k->raft.configuration_uncommitted_index)
		return false;
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (m->nodes[i].voter != votes(k, m->nodes[i].number))
			return true;
	}
	return false;
}

/* ---- who ought to ---- */

/* May it vote, or go on to? */
static bool is_fit(struct keeper *k, const struct ring_node *n, uint64_t now)
{
	if (n->leaving)
		return false;
	if (n->up)
		return true;
	return votes(k, n->number) &&
	       now - judge_find(k, n->number)->down_at < k->cfg.voter_timeout;
}

static unsigned wanted(const struct keeper *k, unsigned fit)
{
	if (fit > k->cfg.voters)
		fit = k->cfg.voters;
	return fit > 2 && fit % 2 == 0 ? fit - 1 : fit;
}

/* Voters in the zone of that node. */
static unsigned zone_voters(const struct keeper *k, const struct ring_node *n)
{
	const struct ring_map *m = k->state.map;
	unsigned same = 0;

	for (unsigned i = 0; i < m->nnodes && n->zone[0]; i++)
		same += votes(k, m->nodes[i].number) && !strcmp(m->nodes[i].zone, n->zone);
	return same;
}

/* The node that is best made a voter, or NULL. Those that could not be brought level come last, one
 * after the other: they may be alive for us and yet get nothing of what voters are sent. */
static const struct ring_node *to_come(struct keeper *k)
{
	const struct ring_map *m = k->state.map;
	const struct ring_node *best = NULL;
	uint64_t best_lagged = 0;
	unsigned best_zone = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		const struct ring_node *n = &m->nodes[i];
		uint64_t lagged;
		unsigned zone;

		if (!n->up || n->leaving || votes(k, n->number))
			continue;
		zone = zone_voters(k, n);
		lagged = judge_find(k, n->number)->lagged_at;
		if (best && lagged != best_lagged) {
			if (lagged > best_lagged)
				continue;
		} else if (best &&
			   (zone > best_zone || (zone == best_zone && n->number > best->number))) {
			continue;
		}
		best = n;
		best_lagged = lagged;
		best_zone = zone;
	}
	return best;
}

/* One that is up votes on until another does instead. That one may turn out not to be able to. */
static bool is_awaited(struct keeper *k, uint32_t leaves, unsigned fit, unsigned fit_voters)
{
	const struct ring_map *m = k->state.map;
	const struct ring_node *n;

	if (!m->nodes[ring_find_number(m, leaves)].up || fit_voters >= wanted(k, fit))
		return false;
	n = to_come(k);
	return n && !judge_find(k, n->number)->lagged_at;
}

/* The number of the voter that is to go, or 0. */
static uint32_t to_go(struct keeper *k, uint64_t now)
{
	const struct raft_configuration *c = &k->raft.configuration;
	const struct ring_map *m = k->state.map;
	unsigned nvoters = 0, fit = 0, fit_voters = 0;
	uint32_t unfit = 0, last = 0;

	for (unsigned i = 0; i < m->nnodes; i++) {
		bool is = is_fit(k, &m->nodes[i], now);

		fit += is;
		fit_voters += is && votes(k, m->nodes[i].number);
	}
	for (unsigned i = 0; i < c->n; i++) {
		uint32_t number = (uint32_t)c->servers[i].id;
		uint16_t at = ring_find_number(m, number);

		if (at == RING_NONE)
			return number; /* no part of the cluster any more */
		if (c->servers[i].role != RAFT_VOTER)
			continue;
		nvoters++;
		if (!is_fit(k, &m->nodes[at], now))
			unfit = number;
		else if (number != k->number && number > last)
			last = number;
	}
	if (nvoters == 1)
		return 0;
	if (unfit && is_awaited(k, unfit, fit, fit_voters))
		return 0;
	/* one that is unfit goes if as many as are wanted are left, or can be found */
	if (unfit && fit_voters > nvoters / 2 && fit >= wanted(k, nvoters))
		return unfit;
	if (unfit && m->nodes[ring_find_number(m, unfit)].leaving && fit_voters > nvoters / 2)
		return unfit;
	return !unfit && nvoters > wanted(k, fit) ? last : 0;
}

/* ---- changing it ---- */

static void changed(struct raft_change *req, int status)
{
	struct keeper *k = container_of(req, struct keeper, lead.change);

	k->lead.voting = false;
	if (status) {
		log_warn("mod=keeper msg=\"a change of the voters failed: %s\"",
			raft_strerror(status));
		k->lead.voters_at = env_now(k->env) + AGAIN;
		if (k->lead.comes)
			judge_find(k, k->lead.comes)->lagged_at = env_now(k->env);
	}
	k->lead.comes = 0;
}

static void handed_over(struct raft_transfer *req)
{
	free(req);
}

static int go(struct keeper *k, uint32_t number)
{
	struct raft_transfer *t;
	int rc;

	if (number != k->number) {
		log_info("mod=keeper number=%" PRIu32 " msg=\"votes no more\"", number);
		return raft_remove(&k->raft, &k->lead.change, number, changed);
	}
	/* libraft has it only as leader that it leaves; the next one sees to it */
	t = mem_zalloc(sizeof(*t));
	rc = raft_transfer(&k->raft, t, 0, handed_over);
	if (rc)
		free(t);
	k->lead.voting = false;
	k->lead.voters_at = env_now(k->env) + AGAIN;
	return 0;
}

static int come(struct keeper *k, const struct ring_node *n)
{
	char address[FILES_ADDRESS_MAX];

	snprintf(address, sizeof(address), "%" PRIu32, n->number);
	if (!server_of(k, n->number))
		return raft_add(&k->raft, &k->lead.change, n->number, address, changed);
	log_info("mod=keeper number=%" PRIu32 " node=%s msg=\"is to vote\"", n->number, n->addr[0]);
	return raft_assign(&k->raft, &k->lead.change, n->number, RAFT_VOTER, changed);
}

void voters_pump(struct keeper *k)
{
	const struct ring_map *m = k->state.map;
	uint64_t now = env_now(k->env);
	struct lead *l = &k->lead;
	const struct ring_node *n;
	unsigned fit = 0, fit_voters = 0;
	uint32_t number;
	int rc = 0;

	if (l->voting || now < l->voters_at || k->raft.configuration_uncommitted_index ||
		k->raft.transfer)
		return;
	for (unsigned i = 0; i < m->nnodes; i++) {
		bool is = is_fit(k, &m->nodes[i], now);

		fit += is;
		fit_voters += is && votes(k, m->nodes[i].number);
	}
	number = to_go(k, now);
	n = number || fit_voters >= wanted(k, fit) ? NULL : to_come(k);
	if (!number && !n)
		return;
	l->voting = true;
	l->comes = number ? 0 : n->number;
	k->in_raft = true;
	rc = number ? go(k, number) : come(k, n);
	k->in_raft = false;
	if (rc) {
		l->voting = false;
		l->comes = 0;
		l->voters_at = now + AGAIN;
		log_warn("mod=keeper msg=\"the voters can not be changed now: %s\"",
			raft_strerror(rc));
	}
}
