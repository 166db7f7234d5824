/*
 * Messages of other voters on their way to libraft (0.15), and what has to be put right on it, as
 * it takes less care than Raft asks for:
 *
 *   - A follower commits no further than the entries that it was shown to have in common with the
 *     leader (recv_cap()), and tells the leader of no more than these (recv_reach()). libraft looks
 *     at its own log's end in both cases, where entries of a leader that failed may stand.
 *   - It refuses entries that follow one from before its log's beginning, and says of a snapshot
 *     that is older than its own that it has that one: a leader with a longer log than ours would
 *     send both for ever (skip_known()).
 *   - Entries that come while a snapshot is being written are dropped by libraft, and leak.
 *   - A follower whose log has a change of the configuration that the leader does not have must
 *     forget it. libraft can only go back to a configuration that is still in its log, so the log
 *     is cut on disk and libraft started anew from there (recv_conflict()).
 *   - Who asks whether an election would be won, and hears of a newer term, takes that: else two
 * may refuse each other for ever, one for its log, the other for its term (recv_newer()).
 *   - A server votes even if it does not know yet that it may (recv_vote()).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

/* The term of an entry of our log; 0: there is none. */
static raft_term term_of(const struct raft *r, raft_index index)
{
	const struct raft_log *l = &r->log;
	size_t n = l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;

	if (!l->size || index <= l->offset || index > l->offset + n)
		return 0;
	return l->entries[(l->front + (index - l->offset - 1)) % l->size].term;
}

/* Has our log the entry before those that the message brings? */
static bool has_previous(const struct raft *r, const struct raft_append_entries *a)
{
	if (!a->prev_log_index)
		return true;
	if (a->prev_log_index == r->log.snapshot.last_index)
		return a->prev_log_term == r->log.snapshot.last_term;
	return term_of(r, a->prev_log_index) == a->prev_log_term;
}

/* How far our log is that of the leader of this term, once what has come is written. */
static void note_reach(struct keeper *k, raft_term term, raft_index reach)
{
	if (term != k->io.reach_term) {
		k->io.reach_term = term;
		k->io.reach = 0;
	}
	if (reach > k->io.reach)
		k->io.reach = reach;
}

raft_index recv_reach(const struct keeper *k, raft_term term, raft_index last)
{
	raft_index reach = term == k->io.reach_term ? k->io.reach : 0;

	if (last > reach)
		last = reach;
	/* every leader has what is committed */
	return last < k->raft.commit_index ? k->raft.commit_index : last;
}

/* Leaves out what lies before our log's beginning: it is committed. */
static void skip_known(const struct raft *r, struct raft_append_entries *a)
{
	raft_index known = r->commit_index, n = known - a->prev_log_index;
	raft_term term =
		known == r->log.snapshot.last_index ? r->log.snapshot.last_term : term_of(r, known);

	if (a->prev_log_index >= known || term_of(r, a->prev_log_index) || !term)
		return;
	a->prev_log_index = known;
	a->prev_log_term = term;
	if (n >= a->n_entries) {
		if (a->n_entries) {
			raft_free(a->entries[0].batch);
			raft_free(a->entries);
		}
		a->entries = NULL;
		a->n_entries = 0;
		return;
	}
	a->n_entries -= (unsigned)n;
	memmove(a->entries, a->entries + n, a->n_entries * sizeof(*a->entries));
}

static void recv_cap(struct keeper *k, struct raft_message *m)
{
	struct raft_append_entries *a = &m->append_entries;

	if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
		if (m->install_snapshot.term >= k->raft.current_term)
			note_reach(k, m->install_snapshot.term, m->install_snapshot.last_index);
		return;
	}
	if (m->type != RAFT_IO_APPEND_ENTRIES)
		return;
	if (k->raft.snapshot.put.data && a->n_entries) {
		/* as a heartbeat: they come again */
		message_free(m);
		a->entries = NULL;
		a->n_entries = 0;
	}
	skip_known(&k->raft, a);
	if (a->leader_commit > a->prev_log_index + a->n_entries)
		a->leader_commit = a->prev_log_index + a->n_entries;
	if (a->term >= k->raft.current_term)
		note_reach(k, a->term,
			has_previous(&k->raft, a) ? a->prev_log_index + a->n_entries : 0);
}

static bool is_change(const struct raft *r, raft_index index)
{
	const struct raft_log *l = &r->log;

	return l->entries[(l->front + (index - l->offset - 1)) % l->size].type == RAFT_CHANGE;
}

/* Would the message make us forget a change of the configuration? From which entry on; 0: no. */
static raft_index recv_conflict(const struct raft *r, const struct raft_message *m)
{
	const struct raft_append_entries *a = &m->append_entries;
	raft_index at, from = 0;

	if (m->type != RAFT_IO_APPEND_ENTRIES || a->term < r->current_term)
		return 0;
	if (a->prev_log_index && term_of(r, a->prev_log_index) &&
		term_of(r, a->prev_log_index) != a->prev_log_term)
		return 0; /* it will be refused */
	for (unsigned i = 0; i < a->n_entries && !from; i++) {
		raft_term term = term_of(r, a->prev_log_index + 1 + i);

		if (term && term != a->entries[i].term)
			from = a->prev_log_index + 1 + i;
	}
	if (!from || from <= r->commit_index)
		return 0;
	for (at = from; term_of(r, at); at++) {
		if (is_change(r, at))
			return from;
	}
	return 0;
}

/* Cuts our log and begins anew from what is on disk; the leader sends again what it sent. */
static void begin_anew(struct keeper *k, raft_index from)
{
	struct files files;
	struct files_meta meta;
	struct raft_snapshot *snap;
	struct raft_entry *entries;
	uint64_t start;
	size_t n;
	int rc;

	log_info("mod=keeper index=%llu msg=\"a change of the voters was not agreed on, and is "
		 "forgotten\"",
		from);
	keeper_rest(k);
	rc = files_load(&files, store_disk(k->st), &meta, &snap, &start, &entries, &n);
	if (!rc) {
		files_free(snap, entries, n);
		rc = files_truncate(&files, from);
		files_close(&files);
	}
	/* what was applied comes from the snapshot and the log again, up to what is committed */
	if (!rc)
		rc = keeper_run(k);
	if (rc)
		k->io.failed = rc;
}

/* A server votes for whoever asks and has all that it has, whether or not it knows already that it
 * is a voter (Raft, 4.1): the change that makes it one may be in the candidate's log alone. libraft
 * refuses that, so it is told for the while of the question. */
static void recv_vote(struct keeper *k, struct raft_message *m)
{
	struct raft *r = &k->raft;
	struct raft_configuration *c = &k->raft.configuration;
	struct raft_server *self = NULL;
	bool added = false;
	int role = RAFT_VOTER;

	for (unsigned i = 0; i < c->n; i++) {
		if (c->servers[i].id == k->number)
			self = &c->servers[i];
	}
	if (!self && !files_add_server(c, k->number, RAFT_VOTER)) {
		added = true;
		self = &c->servers[c->n - 1];
	}
	/* who does not stand for election itself would believe for ever in a leader that is silent
	 */
	if (r->follower_state.current_leader.id &&
		k->io.io.time(&k->io.io) - r->election_timer_start >= r->election_timeout) {
		raft_free(r->follower_state.current_leader.address);
		r->follower_state.current_leader.address = NULL;
		r->follower_state.current_leader.id = 0;
	}
	if (self) {
		role = self->role;
		self->role = RAFT_VOTER;
	}
	k->io.recv(&k->io.io, m);
	if (added) {
		raft_free(c->servers[--c->n].address);
	} else if (self) {
		self->role = role;
	}
}

/* libraft's answer has the term that was asked for. */
static void recv_newer(struct keeper *k, const struct message_head *h, const struct raft_message *m)
{
	struct raft *r = &k->raft;

	if (m->type != RAFT_IO_REQUEST_VOTE_RESULT || r->state != RAFT_CANDIDATE ||
		!r->candidate_state.in_pre_vote || h->term <= r->current_term ||
		m->request_vote_result.vote_granted)
		return;
	k->io.io.set_term(&k->io.io, h->term);
	r->current_term = h->term;
	r->voted_for = 0;
}

void keeper_raft(struct keeper *k, struct frame *f)
{
	struct raft_message m;
	struct message_head h;
	raft_index from;
	char address[FILES_ADDRESS_MAX];

	if (k->stopping || k->io.failed || !k->number)
		return;
	if (message_get(frame_cur(f), &h, &m)) {
		log_warn("mod=keeper msg=\"a voter's message that makes no sense\"");
		return;
	}
	if (h.to != k->number || (!k->running && keeper_run(k))) {
		message_free(&m);
		keeper_settle(k);
		return;
	}
	recv_newer(k, &h, &m);
	from = recv_conflict(&k->raft, &m);
	if (from && io_busy(k)) {
		message_free(&m); /* it comes again */
		return;
	}
	if (from) {
		message_free(&m);
		begin_anew(k, from);
		keeper_settle(k);
		return;
	}
	recv_cap(k, &m);
	snprintf(address, sizeof(address), "%" PRIu32, h.from);
	m.server_address = address;
	k->in_raft = true;
	if (m.type == RAFT_IO_REQUEST_VOTE && k->raft.state == RAFT_FOLLOWER)
		recv_vote(k, &m);
	else
		k->io.recv(&k->io.io, &m);
	k->in_raft = false;
	keeper_settle(k);
}
