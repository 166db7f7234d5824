/*
 * The state machine: what all voters agree on. It carries out entries in the order of the log, and
 * knows nothing of why they were made.
 *
 *   entry                     what it does
 *   u8 1, u32 n, n x u32,     the sessions end, and the map becomes what the difference leads to:
 * all blob difference         of it or, when the map has another epoch by now, nothing u8 2, 16
 * bytes nonce      a session, with the next number; asked again, the same u8 3, u32 session it ends
 *
 * A snapshot is: u32 "KSTA", u16 1, u32 next session, u32 n, n x (u32 session, 16 bytes nonce),
 * blob map.
 */
#include <errno.h>
#include <stdlib.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define STATE_MAGIC 0x4154534bu
#define STATE_FORMAT 1
#define SESSION_LAST 0xffffffu

struct session *state_session(struct state *s, uint32_t number)
{
	struct session *e;

	HASH_FIND(hh, s->sessions, &number, sizeof(number), e);
	return e;
}

struct session *state_nonce(struct state *s, const uint8_t nonce[16])
{
	struct session *e;

	HASH_FIND(by_nonce, s->nonces, nonce, 16, e);
	return e;
}

static struct session *session_add(struct state *s, uint32_t number, const uint8_t nonce[16])
{
	struct session *e = mem_zalloc(sizeof(*e));

	e->number = number;
	memcpy(e->nonce, nonce, sizeof(e->nonce));
	HASH_ADD(hh, s->sessions, number, sizeof(e->number), e);
	HASH_ADD(by_nonce, s->nonces, nonce, sizeof(e->nonce), e);
	return e;
}

static void session_drop(struct state *s, struct session *e)
{
	HASH_DELETE(hh, s->sessions, e);
	HASH_DELETE(by_nonce, s->nonces, e);
	free(e);
}

void state_fini(struct state *s)
{
	struct session *e, *tmp;

	HASH_ITER (hh, s->sessions, e, tmp)
		session_drop(s, e);
	ring_unref(s->map);
	free(s->learners);
	memset(s, 0, sizeof(*s));
}

/* ---- learners that end ---- */

/* Nothing is known of what was before @map. */
static void learners_begin(struct state *s)
{
	unsigned nshards = ring_nshards(s->map);

	s->learners = mem_zalloc(nshards * sizeof(*s->learners));
	for (unsigned i = 0; i < nshards; i++)
		s->learners[i] = s->map->epoch;
}

static bool learner_ended(const struct ring_map *old, const struct ring_map *new, unsigned shard)
{
	const struct ring_shard *was = &old->shards[shard];

	for (unsigned i = 0; i < was->nlearners; i++) {
		uint16_t at = was->learner[i];
		uint32_t number = old->nodes[at].number;

		if (at >= new->nnodes || new->nodes[at].number != number)
			at = ring_find_number(new, number);
		if (at == RING_NONE || ring_learner(&new->shards[shard], at) < 0)
			return true;
	}
	return false;
}

static void learners_follow(struct state *s, const struct ring_map *new)
{
	for (unsigned i = 0; i < ring_nshards(new); i++) {
		if (s->map->shards[i].nlearners && learner_ended(s->map, new, i))
			s->learners[i] = new->epoch;
	}
}

/* ---- entries ---- */

void entry_put_map(struct buf *b, const struct ring_map *from, const struct ring_map *to,
	const uint32_t *ended, unsigned nended)
{
	size_t at;

	buf_u8(b, ENTRY_MAP);
	buf_u32(b, nended);
	for (unsigned i = 0; i < nended; i++)
		buf_u32(b, ended[i]);
	at = b->len;
	buf_u32(b, 0);
	ring_diff(from, to, b);
	if (!b->err)
		buf_set_u32(b, at, (uint32_t)(b->len - at - 4));
}

void entry_put_session_new(struct buf *b, const uint8_t nonce[16])
{
	buf_u8(b, ENTRY_SESSION_NEW);
	buf_bytes(b, nonce, 16);
}

void entry_put_session_end(struct buf *b, uint32_t session)
{
	buf_u8(b, ENTRY_SESSION_END);
	buf_u32(b, session);
}

static int apply_map(struct state *s, struct cur *c, struct applied *out)
{
	uint32_t n = cur_u32(c);
	const uint8_t *ended = n <= SESSION_LAST ? cur_bytes(c, 4 * (size_t)n) : NULL;
	size_t len;
	const void *diff = ended ? cur_blob(c, FILES_DATA_MAX, &len) : NULL;
	struct ring_map *map;
	struct cur each;

	if (!diff || !cur_done(c))
		return -EBADMSG;
	if (!s->map)
		return -EBADMSG; /* the first one comes with the snapshot */
	out->rc = ring_patch(s->map, diff, len, &map);
	if (out->rc == -ESTALE)
		return 0;
	if (out->rc)
		return out->rc;
	learners_follow(s, map);
	ring_unref(s->map);
	s->map = map;
	each = cur_of(ended, 4 * (size_t)n);
	while (each.left) {
		struct session *e = state_session(s, cur_u32(&each));

		if (e)
			session_drop(s, e);
	}
	return 0;
}

static int apply_new(struct state *s, struct cur *c, struct applied *out)
{
	const uint8_t *nonce = cur_bytes(c, 16);
	struct session *e;

	if (!cur_done(c))
		return -EBADMSG;
	e = state_nonce(s, nonce);
	if (!e && s->next_session > SESSION_LAST) {
		out->rc = -ENOSPC;
		return 0;
	}
	if (!e)
		e = session_add(s, s->next_session++, nonce);
	out->session = e->number;
	return 0;
}

int state_apply(struct state *s, const void *data, size_t len, struct applied *out)
{
	struct cur c = cur_of(data, len);
	uint8_t kind = cur_u8(&c);
	struct session *e;

	memset(out, 0, sizeof(*out));
	if (kind == ENTRY_MAP)
		return apply_map(s, &c, out);
	if (kind == ENTRY_SESSION_NEW)
		return apply_new(s, &c, out);
	if (kind != ENTRY_SESSION_END)
		return -EBADMSG;
	out->session = cur_u32(&c);
	if (!cur_done(&c))
		return -EBADMSG;
	e = state_session(s, out->session);
	if (e)
		session_drop(s, e);
	return 0;
}

/* ---- as a whole ---- */

void state_encode(const struct state *s, struct buf *b)
{
	struct session *e, *tmp;
	size_t at;

	buf_u32(b, STATE_MAGIC);
	buf_u16(b, STATE_FORMAT);
	buf_u32(b, s->next_session);
	buf_u32(b, HASH_COUNT(s->sessions));
	HASH_ITER (hh, s->sessions, e, tmp) {
		buf_u32(b, e->number);
		buf_bytes(b, e->nonce, sizeof(e->nonce));
	}
	at = b->len;
	buf_u32(b, 0);
	if (s->map)
		ring_encode(s->map, b);
	if (!b->err)
		buf_set_u32(b, at, (uint32_t)(b->len - at - 4));
}

int state_decode(const void *data, size_t len, struct state *out)
{
	struct cur c = cur_of(data, len);
	uint32_t magic = cur_u32(&c);
	uint16_t format = cur_u16(&c);
	size_t map_len = 0;
	const void *map;
	uint32_t n;

	memset(out, 0, sizeof(*out));
	out->next_session = cur_u32(&c);
	n = cur_u32(&c);
	if (!cur_ok(&c) || magic != STATE_MAGIC || format != STATE_FORMAT || !out->next_session ||
		c.left / 20 < n)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = cur_u32(&c);
		const uint8_t *nonce = cur_bytes(&c, 16);

		if (!nonce || !number || number >= out->next_session ||
			state_session(out, number) || state_nonce(out, nonce))
			goto bad;
		session_add(out, number, nonce);
	}
	map = cur_blob(&c, FILES_DATA_MAX, &map_len);
	if (!map || !cur_done(&c) || ring_decode(map, map_len, &out->map))
		goto bad;
	learners_begin(out);
	return 0;
bad:
	state_fini(out);
	return -EBADMSG;
}
