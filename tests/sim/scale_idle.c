/*
 * scale_idle: what goes over the wire when nothing happens. Nobody sends it here: how often each
 * message goes is in the constants, to whom is in the map, how long it is say the encoders.
 */
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/net/frame.h"
#include "dht/wire/wire_keep.h"
#include "dht/wire/wire_repl.h"
#include "tests/sim/scale.h"

/* A frame's bytes: its head, and a body of which this is the length. */
static size_t framed(struct buf *b)
{
	size_t len = FRAME_HEAD + b->len;

	buf_fini(b);
	return len;
}

static size_t alive_len(void)
{
	struct wire_ask_m m = {.what = ASK_ALIVE};
	struct buf b = {0};

	wire_put_ask(&b, &m);
	return framed(&b);
}

static size_t reply_len(void)
{
	struct buf b = {0};

	wire_put_reply_head(&b, WIRE_OK, 0, 1, NULL, 0);
	return framed(&b);
}

/* Nodes that each node asks for leases: the members of the shards that it leads. */
struct pairs {
	unsigned *asks, *asked, *linked;
	unsigned most_asks, most_asked, most_linked;
	uint64_t sum, links;
};

static void count_pairs(const struct ring_map *m, struct pairs *p)
{
	size_t n = m->nnodes;
	uint8_t *asks = mem_zalloc(n * n);

	*p = (struct pairs){.asks = mem_zalloc(n * sizeof(unsigned)),
		.asked = mem_zalloc(n * sizeof(unsigned)),
		.linked = mem_zalloc(n * sizeof(unsigned))};
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		const struct ring_shard *sh = &m->shards[s];

		for (unsigned i = 1; i < sh->nmembers; i++)
			asks[sh->primary * n + sh->member[i]] = 1;
	}
	for (size_t a = 0; a < n; a++) {
		for (size_t b = 0; b < n; b++) {
			p->asks[a] += asks[a * n + b];
			p->asked[a] += asks[b * n + a];
			p->linked[a] += asks[a * n + b] | asks[b * n + a];
		}
		p->sum += p->asks[a];
		p->links += p->linked[a];
		p->most_asks = p->asks[a] > p->most_asks ? p->asks[a] : p->most_asks;
		p->most_asked = p->asked[a] > p->most_asked ? p->asked[a] : p->most_asked;
		p->most_linked = p->linked[a] > p->most_linked ? p->linked[a] : p->most_linked;
	}
	free(asks);
}

static size_t beat_len(void)
{
	struct wire_beat m = {.epoch = 1, .lease = scale_defaults.lease};
	struct buf b = {0};

	wire_put_beat(&b, &m);
	return framed(&b);
}

/* RAFT: from, to, type; then APPEND_ENTRIES without entries, or its result. */
static size_t raft_len(bool result)
{
	struct buf b = {0};

	buf_u64(&b, 0);
	buf_u8(&b, 0);
	for (unsigned i = 0; i < (result ? 3 : 4); i++)
		buf_u64(&b, 0);
	if (!result)
		buf_u32(&b, 0);
	return framed(&b);
}

void scale_idle(struct scale_table *t, const struct ring_map *m)
{
	const struct scale_config *k = &scale_defaults;
	double beats = 4e9 / (double)k->lease, alives = 1e9 / (double)k->alive_every;
	double hearts = 1e9 / (double)k->heartbeat * (k->voters - 1), n = m->nnodes;
	size_t beat = beat_len(), alive = alive_len(), reply = reply_len();
	size_t append = raft_len(false), result = raft_len(true);
	double mean, most = 0, lead, all, bytes;
	struct pairs p;

	count_pairs(m, &p);
	for (unsigned i = 0; i < m->nnodes; i++) {
		double sent = beats * (p.asks[i] + p.asked[i]) + alives;

		most = sent > most ? sent : most;
	}
	mean = (double)p.sum / n;
	lead = beats * mean * 2 + alives * n + hearts;
	all = beats * (double)p.sum * 2 + alives * n * 2 + hearts * 2;
	bytes = beats * (double)p.sum * 2 * (double)beat + alives * n * (double)(alive + reply) +
		hearts * (double)(append + result);
	scale_head(t, "idle");
	scale_row(t, "BEAT, its answer, ALIVE, its REPLY (bytes)", "%zu, %zu, %zu, %zu", beat, beat,
		alive, reply);
	scale_row(t, "nodes asked for leases by one: mean, most", "%.1f, %u", mean, p.most_asks);
	scale_row(t, "links to other nodes: mean, most", "%.1f, %u", (double)p.links / n,
		p.most_linked);
	scale_row(t, "messages sent by a node (/s): mean, most", "%.0f, %.0f",
		beats * mean * 2 + alives, most);
	scale_row(t, "bytes sent by a node (/s): mean", "%.0f",
		beats * mean * 2 * (double)beat + alives * (double)alive);
	scale_row(t, "messages sent by the keeper's leader (/s)", "%.0f", lead);
	scale_row(t, "messages of all (/s)", "%.0f", all);
	scale_row(t, "bytes of all (/s)", "%.0f", bytes);
	scale_row(t, "told of a new map (EPOCH, messages of all)", "%.0f", (double)p.links + n - 1);
	free(p.asks);
	free(p.asked);
	free(p.linked);
}
