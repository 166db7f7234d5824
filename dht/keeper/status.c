/* What a keeper says to people. */
#include <inttypes.h>

#include "dht/keeper/impl.h"

static const char *state_name(const struct keeper *k)
{
	if (k->io.failed)
		return "broken";
	if (!k->running)
		return "none";
	switch (k->raft.state) {
	case RAFT_LEADER:
		return k->lead.on ? "leader" : "elected";
	case RAFT_CANDIDATE:
		return "candidate";
	case RAFT_FOLLOWER:
		return "follower";
	default:
		return "broken";
	}
}

static void put_voters(const struct keeper *k, struct buf *b)
{
	const struct raft_configuration *c = &k->raft.configuration;
	char text[256] = "";
	size_t at = 0;

	for (unsigned i = 0; i < c->n && at + 24 < sizeof(text); i++) {
		if (c->servers[i].role == RAFT_VOTER)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%llu",
				at ? "," : "", c->servers[i].id);
	}
	wire_put_stat(b, "keeper.voters", "%s", text);
	wire_put_stat(b, "keeper.term", "%llu", k->raft.current_term);
	wire_put_stat(b, "keeper.applied", "%llu", k->raft.last_applied);
}

/* As the leader knows them: by number, as their place in the map changes. */
static void put_nodes(const struct keeper *k, struct buf *b, unsigned room)
{
	const struct ring_map *m = k->state.map;
	uint64_t now = env_now(k->env);

	for (unsigned i = 0; i < m->nnodes && i < room / 3; i++) {
		uint32_t number = m->nodes[i].number;
		const struct heard *h;
		char name[48];

		HASH_FIND(hh, k->lead.heard, &number, sizeof(number), h);
		if (!h)
			continue;
		snprintf(name, sizeof(name), "node.%" PRIu32 ".used", number);
		wire_put_stat(b, name, "%" PRIu64, h->used);
		snprintf(name, sizeof(name), "node.%" PRIu32 ".available", number);
		wire_put_stat(b, name, "%" PRIu64, h->available);
		snprintf(name, sizeof(name), "node.%" PRIu32 ".heard_ms", number);
		wire_put_stat(b, name, "%" PRIu64, now > h->at ? (now - h->at) / ENV_MS : 0);
	}
}

#define NODE_PAIRS 400 /* of the WIRE_STATS_MAX that an answer may have */

void keeper_status(const struct keeper *k, struct buf *b)
{
	wire_put_stat(b, "keeper.state", "%s", state_name(k));
	wire_put_stat(b, "keeper.leader", "%" PRIu32, keeper_leader(k));
	if (!k->running)
		return;
	put_voters(k, b);
	if (!keeper_leads(k))
		return;
	wire_put_stat(b, "keeper.sessions", "%u", HASH_COUNT(k->state.sessions));
	put_nodes(k, b, NODE_PAIRS);
}
