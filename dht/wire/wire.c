/*
 * The messages, field by field as docs/PROTOCOL.md lists them. Each wire_get_x() reads with a
 * cursor that turns bad at the first byte that is missing, checks each value against its limit, and
 * in the end wants the body used up to its last byte. HELLO and ERROR alone may be longer than we
 * know: a later version may add to them, and both are read before the versions are settled.
 */
#include "dht/wire/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "dht/base/mem.h"

#define SESSION_MAX 0xffffffu /* a session number has 24 bits */
#define SESSION_PASSED 0x80   /* in SESSION_OPEN's what */
#define EFFECT_LEN 18         /* encoded wire_effect */
#define ERROR_TEXT_MAX 1024
#define LIST_MAX 65536
#define LIST_AFTER_MAX 1024
#define STAT_NAME_MAX 255
#define STAT_TEXT_MAX 65536

static const struct {
	const char *name;
	int err;
} statuses[] = {
	[WIRE_OK] = {"OK", 0},
	[WIRE_COMPARE] = {"COMPARE", -ECANCELED},
	[WIRE_WRONG_NODE] = {"WRONG_NODE", -EREMOTE},
	[WIRE_RETRY] = {"RETRY", -EAGAIN},
	[WIRE_REFUSED] = {"REFUSED", -EPERM},
	[WIRE_BAD_REQUEST] = {"BAD_REQUEST", -EINVAL},
	[WIRE_NO_SPACE] = {"NO_SPACE", -ENOSPC},
	[WIRE_IO] = {"IO", -EIO},
	[WIRE_READ_ONLY] = {"READ_ONLY", -EROFS},
	[WIRE_NO_SESSION] = {"NO_SESSION", -ESTALE},
	[WIRE_LOST] = {"LOST", -EIO},
	[WIRE_TOO_BIG] = {"TOO_BIG", -EMSGSIZE},
	[WIRE_WRONG_FS] = {"WRONG_FS", -EMEDIUMTYPE},
	[WIRE_VERSION_BAD] = {"VERSION_BAD", -EPROTONOSUPPORT},
	[WIRE_OVERFLOW] = {"OVERFLOW", -EOVERFLOW},
	[WIRE_UNKNOWN] = {"UNKNOWN", -ENOENT},
	[WIRE_COMMITTED] = {"COMMITTED", -EEXIST},
	[WIRE_PREPARED] = {"PREPARED", -EINPROGRESS},
	[WIRE_UNREACHABLE] = {"UNREACHABLE", -EHOSTUNREACH},
	[WIRE_NO_KEEPER] = {"NO_KEEPER", -EAGAIN},
	[WIRE_STALE] = {"STALE", -ESTALE},
	[WIRE_BUSY] = {"BUSY", -EBUSY},
};

int wire_errno(uint16_t status)
{
	return status < ARRAY_LEN(statuses) ? statuses[status].err : -EPROTO;
}

const char *wire_status_name(uint16_t status)
{
	return status < ARRAY_LEN(statuses) ? statuses[status].name : "?";
}

static int finish(const struct cur *c)
{
	return cur_done(c) ? 0 : -EBADMSG;
}

static void get_array(struct cur *c, void *out, size_t len)
{
	const void *at = cur_bytes(c, len);

	if (at)
		memcpy(out, at, len);
	else
		memset(out, 0, len);
}

/* ---- HELLO, ERROR ---- */

void wire_put_hello(struct buf *b, const struct wire_hello *m)
{
	buf_u16(b, m->version);
	buf_u16(b, m->version_min);
	buf_u64(b, m->features);
	buf_u8(b, m->role);
	buf_bytes(b, m->fsid, sizeof(m->fsid));
	buf_bytes(b, m->node.b, ORBIT_ID_LEN);
	buf_u64(b, m->incarnation);
	buf_u64(b, m->epoch);
	buf_u32(b, m->session);
}

int wire_get_hello(struct cur c, struct wire_hello *m)
{
	memset(m, 0, sizeof(*m));
	m->version = cur_u16(&c);
	m->version_min = cur_u16(&c);
	m->features = cur_u64(&c);
	m->role = cur_u8(&c);
	get_array(&c, m->fsid, sizeof(m->fsid));
	get_array(&c, m->node.b, ORBIT_ID_LEN);
	m->incarnation = cur_u64(&c);
	m->epoch = cur_u64(&c);
	m->session = cur_u32(&c);
	if (m->version == 0 || m->version_min == 0 || m->version_min > m->version)
		cur_fail(&c);
	if (m->role < WIRE_ROLE_CLIENT || m->role > WIRE_ROLE_ADMIN)
		cur_fail(&c);
	if (m->session > SESSION_MAX)
		cur_fail(&c);
	return cur_ok(&c) ? 0 : -EBADMSG;
}

void wire_put_error(struct buf *b, const struct wire_error *m)
{
	buf_u16(b, m->status);
	buf_blob(b, m->text, min_size(m->text_len, ERROR_TEXT_MAX));
}

int wire_get_error(struct cur c, struct wire_error *m)
{
	memset(m, 0, sizeof(*m));
	m->status = cur_u16(&c);
	m->text = cur_blob(&c, ERROR_TEXT_MAX, &m->text_len);
	return cur_ok(&c) ? 0 : -EBADMSG;
}

/* ---- the ring map and sessions ---- */

void wire_put_map_get(struct buf *b, uint64_t epoch)
{
	buf_u64(b, epoch);
}

int wire_get_map_get(struct cur c, uint64_t *epoch)
{
	*epoch = cur_u64(&c);
	return finish(&c);
}

void wire_put_map(struct buf *b, const struct wire_map *m)
{
	buf_u64(b, m->epoch);
	buf_u8(b, m->form);
	buf_bytes(b, m->map, m->map_len);
}

int wire_get_map(struct cur c, struct wire_map *m)
{
	memset(m, 0, sizeof(*m));
	m->epoch = cur_u64(&c);
	m->form = cur_u8(&c);
	m->map_len = c.left;
	m->map = cur_bytes(&c, c.left);
	if (m->form > WIRE_MAP_DIFFS || (m->form == WIRE_MAP_NONE) != (m->map_len == 0))
		cur_fail(&c);
	return finish(&c);
}

void wire_put_session_open(struct buf *b, const struct wire_session_open *m)
{
	buf_u8(b, m->what | (m->passed ? SESSION_PASSED : 0));
	buf_bytes(b, m->nonce, sizeof(m->nonce));
	buf_u32(b, m->session);
}

int wire_get_session_open(struct cur c, struct wire_session_open *m)
{
	memset(m, 0, sizeof(*m));
	m->what = cur_u8(&c);
	m->passed = m->what & SESSION_PASSED;
	m->what &= (uint8_t)~SESSION_PASSED;
	get_array(&c, m->nonce, sizeof(m->nonce));
	m->session = cur_u32(&c);
	if (m->what < WIRE_SESSION_NEW || m->what > WIRE_SESSION_CHECK || m->session > SESSION_MAX)
		cur_fail(&c);
	if ((m->what == WIRE_SESSION_NEW) != (m->session == 0))
		cur_fail(&c);
	return finish(&c);
}

void wire_put_session(struct buf *b, const struct wire_session *m)
{
	buf_u16(b, m->status);
	buf_u32(b, m->session);
	buf_u32(b, m->timeout_ms);
	buf_u64(b, m->epoch);
}

int wire_get_session(struct cur c, struct wire_session *m)
{
	memset(m, 0, sizeof(*m));
	m->status = cur_u16(&c);
	m->session = cur_u32(&c);
	m->timeout_ms = cur_u32(&c);
	m->epoch = cur_u64(&c);
	if (m->session > SESSION_MAX || (m->status == WIRE_OK && m->session == 0))
		cur_fail(&c);
	return finish(&c);
}

/* ---- transactions ---- */

void wire_put_txn_head(struct buf *b, const struct wire_txn *m)
{
	buf_reserve(b, 42 + 8 * (size_t)m->nabandoned + 2 * (size_t)m->nparticipants);
	buf_u16(b, m->flags);
	buf_u32(b, m->session);
	buf_u64(b, m->number);
	buf_u64(b, m->floor);
	buf_u64(b, m->epoch);
	buf_u64(b, m->age);
	buf_u16(b, m->nabandoned);
	buf_u16(b, m->nparticipants);
	buf_bytes(b, m->abandoned, 8 * (size_t)m->nabandoned);
	buf_bytes(b, m->participants, 2 * (size_t)m->nparticipants);
}

uint64_t wire_abandoned(const struct wire_txn *m, unsigned i)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)m->abandoned + 8 * (size_t)i, 8);
	return le64toh(v);
}

uint16_t wire_participant(const struct wire_txn *m, unsigned i)
{
	uint16_t v;

	memcpy(&v, (const uint8_t *)m->participants + 2 * (size_t)i, 2);
	return le16toh(v);
}

static bool participants_differ(const struct wire_txn *m)
{
	for (unsigned i = 1; i < m->nparticipants; i++) {
		for (unsigned k = 0; k < i; k++) {
			if (wire_participant(m, i) == wire_participant(m, k))
				return false;
		}
	}
	return true;
}

int wire_get_txn(struct cur c, struct wire_txn *m)
{
	memset(m, 0, sizeof(*m));
	m->flags = cur_u16(&c);
	m->session = cur_u32(&c);
	m->number = cur_u64(&c);
	m->floor = cur_u64(&c);
	m->epoch = cur_u64(&c);
	m->age = cur_u64(&c);
	m->nabandoned = cur_u16(&c);
	m->nparticipants = cur_u16(&c);
	if (m->flags & ~(WIRE_TXN_FORWARDED | WIRE_TXN_READS | WIRE_TXN_REPLAY |
			       WIRE_TXN_LEASE_FOLLOWED) ||
		m->session > SESSION_MAX)
		return -EBADMSG;
	if (m->nabandoned > WIRE_ABANDONED_MAX || m->nparticipants > WIRE_PARTICIPANTS_MAX)
		return -EBADMSG;
	m->abandoned = cur_bytes(&c, 8 * (size_t)m->nabandoned);
	m->participants = cur_bytes(&c, 2 * (size_t)m->nparticipants);
	if (!cur_ok(&c) || !participants_differ(m))
		return -EBADMSG;
	m->body_len = c.left;
	m->body = cur_bytes(&c, c.left);
	return finish(&c);
}

void wire_put_decide(struct buf *b, const struct wire_decide *m)
{
	buf_u32(b, m->session);
	buf_u64(b, m->number);
	buf_u64(b, m->epoch);
	buf_u16(b, m->shard);
	buf_u8(b, m->commit);
	buf_u64(b, m->floor);
}

int wire_get_decide(struct cur c, struct wire_decide *m)
{
	memset(m, 0, sizeof(*m));
	m->session = cur_u32(&c);
	m->number = cur_u64(&c);
	m->epoch = cur_u64(&c);
	m->shard = cur_u16(&c);
	m->commit = cur_u8(&c);
	m->floor = cur_u64(&c);
	if (m->session > SESSION_MAX || m->commit > 1)
		cur_fail(&c);
	return finish(&c);
}

/* ---- REPLY, SYNC ---- */

static void put_effects(struct buf *b, const struct wire_effect *e, unsigned n)
{
	buf_reserve(b, 2 + EFFECT_LEN * (size_t)n);
	buf_u16(b, (uint16_t)n);
	for (unsigned i = 0; i < n; i++) {
		buf_u16(b, e[i].shard);
		buf_u64(b, e[i].term);
		buf_u64(b, e[i].seq);
	}
}

static struct wire_effect effect_at(const void *effects, unsigned i)
{
	struct cur c = cur_of((const uint8_t *)effects + EFFECT_LEN * (size_t)i, EFFECT_LEN);
	struct wire_effect e;

	e.shard = cur_u16(&c);
	e.term = cur_u64(&c);
	e.seq = cur_u64(&c);
	return e;
}

void wire_put_reply_head(struct buf *b, uint16_t status, uint16_t failed, uint64_t epoch,
	const struct wire_effect *effects, unsigned neffects)
{
	buf_u16(b, status);
	buf_u16(b, failed);
	buf_u64(b, epoch);
	put_effects(b, effects, neffects);
}

int wire_get_reply(struct cur c, struct wire_reply *m)
{
	memset(m, 0, sizeof(*m));
	m->status = cur_u16(&c);
	m->failed = cur_u16(&c);
	m->epoch = cur_u64(&c);
	m->neffects = cur_u16(&c);
	m->effects = cur_bytes(&c, EFFECT_LEN * (size_t)m->neffects);
	m->results_len = c.left;
	m->results = cur_bytes(&c, c.left);
	return finish(&c);
}

struct wire_effect wire_effect_at(const struct wire_reply *m, unsigned i)
{
	return effect_at(m->effects, i);
}

void wire_put_sync(
	struct buf *b, uint64_t epoch, const struct wire_effect *effects, unsigned neffects)
{
	buf_u64(b, epoch);
	put_effects(b, effects, neffects);
}

int wire_get_sync(struct cur c, struct wire_sync *m)
{
	memset(m, 0, sizeof(*m));
	m->epoch = cur_u64(&c);
	m->neffects = cur_u16(&c);
	m->effects = cur_bytes(&c, EFFECT_LEN * (size_t)m->neffects);
	return finish(&c);
}

struct wire_effect wire_sync_at(const struct wire_sync *m, unsigned i)
{
	return effect_at(m->effects, i);
}

/* ---- LIST, STATS ---- */

void wire_put_list(struct buf *b, const struct wire_list *m)
{
	buf_u64(b, m->epoch);
	buf_u8(b, m->class);
	buf_u16(b, m->shard);
	buf_u32(b, m->max);
	buf_u8(b, m->values);
	buf_blob(b, m->after, m->after_len);
}

int wire_get_list(struct cur c, struct wire_list *m)
{
	memset(m, 0, sizeof(*m));
	m->epoch = cur_u64(&c);
	m->class = cur_u8(&c);
	m->shard = cur_u16(&c);
	m->max = cur_u32(&c);
	m->values = cur_u8(&c);
	m->after = cur_blob(&c, LIST_AFTER_MAX, &m->after_len);
	if (m->max == 0 || m->max > LIST_MAX || m->values > 1)
		cur_fail(&c);
	return finish(&c);
}

bool wire_carried(uint16_t type)
{
	switch (type) {
	case WIRE_PREPARE:
	case WIRE_DECIDE:
	case WIRE_FORGET:
	case WIRE_SYNC:
	case WIRE_LIST:
	case WIRE_STATUS:
		return true;
	}
	return false;
}

void wire_put_carry_head(struct buf *b, const struct orbit_id *node, uint16_t type)
{
	buf_bytes(b, node->b, sizeof(node->b));
	buf_u16(b, type);
}

int wire_get_carry(struct cur c, struct wire_carry *m)
{
	memset(m, 0, sizeof(*m));
	get_array(&c, m->node.b, sizeof(m->node.b));
	m->type = cur_u16(&c);
	m->body_len = c.left;
	m->body = cur_bytes(&c, c.left);
	if (!wire_carried(m->type))
		cur_fail(&c);
	return finish(&c);
}

void wire_put_stat(struct buf *b, const char *name, const char *fmt, ...)
{
	va_list ap, again;
	size_t len;
	char *text;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	len = n < 0 ? 0 : min_size((size_t)n, STAT_TEXT_MAX);
	buf_blob(b, name, min_size(strlen(name), STAT_NAME_MAX));
	buf_u32(b, (uint32_t)len);
	/* vsnprintf() writes a NUL behind the text: make room for it, then give it back */
	text = buf_add(b, len + 1);
	if (text) {
		vsnprintf(text, len + 1, fmt, again);
		b->len--;
	}
	va_end(again);
	va_end(ap);
}

int wire_get_stats(struct cur c,
	void (*fn)(void *arg, const char *name, size_t nlen, const char *text, size_t tlen),
	void *arg)
{
	unsigned n = 0;

	while (c.left > 0) {
		size_t nlen, tlen;
		const char *name = cur_blob(&c, STAT_NAME_MAX, &nlen);
		const char *text = cur_blob(&c, STAT_TEXT_MAX, &tlen);

		if (!cur_ok(&c) || nlen == 0 || ++n > WIRE_STATS_MAX)
			return -EBADMSG;
		fn(arg, name, nlen, text, tlen);
	}
	return finish(&c);
}
