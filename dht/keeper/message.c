/*
 * libraft's messages as WIRE_RAFT frames, as docs/PROTOCOL.md lays them out. Everything that is
 * read is checked; memory that libraft takes over comes from raft_malloc().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dht/base/mem.h"
#include "dht/keeper/impl.h"

#define ENTRIES_MAX 100000
#define SERVERS_MAX 64
#define ENTRY_HEAD 13                            /* u64 term, u8 type, u32 length */
#define BODY_ROOM (FRAME_BODY_MAX - (64u << 10)) /* of a frame, for what varies */

static void put_append(struct buf *b, const struct raft_append_entries *m)
{
	size_t len = 0;
	unsigned n = 0;

	buf_u64(b, m->term);
	buf_u64(b, m->prev_log_index);
	buf_u64(b, m->prev_log_term);
	buf_u64(b, m->leader_commit);
	while (n < m->n_entries && n < ENTRIES_MAX) {
		len += ENTRY_HEAD + m->entries[n].buf.len;
		if (len > BODY_ROOM)
			break; /* the rest is asked for when this was taken */
		n++;
	}
	buf_reserve(b, len + 4);
	buf_u32(b, n);
	for (unsigned i = 0; i < n; i++) {
		const struct raft_entry *e = &m->entries[i];

		buf_u64(b, e->term);
		buf_u8(b, (uint8_t)e->type);
		buf_blob(b, e->buf.base, e->buf.len);
	}
}

static void put_snapshot(struct buf *b, const struct raft_install_snapshot *m)
{
	buf_u64(b, m->term);
	buf_u64(b, m->last_index);
	buf_u64(b, m->last_term);
	buf_u64(b, m->conf_index);
	buf_u32(b, m->conf.n);
	for (unsigned i = 0; i < m->conf.n; i++) {
		buf_u64(b, m->conf.servers[i].id);
		buf_u8(b, (uint8_t)m->conf.servers[i].role);
	}
	buf_blob(b, m->data.base, m->data.len);
}

struct frame *message_put(uint32_t from, raft_term term, const struct raft_message *m)
{
	struct frame *f = frame_new(WIRE_RAFT, 0, 64);
	struct buf *b = &f->b;

	buf_u32(b, from);
	buf_u32(b, (uint32_t)m->server_id);
	buf_u64(b, term);
	buf_u8(b, (uint8_t)m->type);
	switch (m->type) {
	case RAFT_IO_APPEND_ENTRIES:
		put_append(b, &m->append_entries);
		break;
	case RAFT_IO_APPEND_ENTRIES_RESULT:
		buf_u64(b, m->append_entries_result.term);
		buf_u64(b, m->append_entries_result.rejected);
		buf_u64(b, m->append_entries_result.last_log_index);
		break;
	case RAFT_IO_REQUEST_VOTE:
		buf_u64(b, m->request_vote.term);
		buf_u64(b, m->request_vote.candidate_id);
		buf_u64(b, m->request_vote.last_log_index);
		buf_u64(b, m->request_vote.last_log_term);
		buf_u8(b, m->request_vote.disrupt_leader);
		buf_u8(b, m->request_vote.pre_vote);
		break;
	case RAFT_IO_REQUEST_VOTE_RESULT:
		buf_u64(b, m->request_vote_result.term);
		buf_u8(b, m->request_vote_result.vote_granted);
		buf_u8(b, (uint8_t)m->request_vote_result.pre_vote);
		break;
	case RAFT_IO_INSTALL_SNAPSHOT:
		put_snapshot(b, &m->install_snapshot);
		break;
	case RAFT_IO_TIMEOUT_NOW:
		buf_u64(b, m->timeout_now.term);
		buf_u64(b, m->timeout_now.last_log_index);
		buf_u64(b, m->timeout_now.last_log_term);
		break;
	default:
		frame_unref(f);
		return NULL;
	}
	if (frame_check(f)) {
		frame_unref(f);
		return NULL;
	}
	return f;
}

static bool get_bool(struct cur *c)
{
	uint8_t v = cur_u8(c);

	if (v > 1)
		cur_fail(c);
	return v;
}

/* Servers as they may be told of: numbers, each once, at least one of which votes. */
static bool conf_fits(const struct raft_configuration *c)
{
	bool voter = false;

	for (unsigned i = 0; i < c->n; i++) {
		if (!c->servers[i].id || c->servers[i].id > UINT32_MAX)
			return false;
		voter |= c->servers[i].role == RAFT_VOTER;
	}
	return voter;
}

/* A change of the configuration as libraft writes it: u8 1, u64 n, n x (u64 number, address and a
 * NUL, u8 role), anything up to a multiple of 8. One that it can not read puts it out of service,
 * and it looks only when the entry is in the log. */
static bool change_fits(const void *data, size_t len)
{
	struct cur c = cur_of(data, len);
	uint8_t version = cur_u8(&c);
	uint64_t n = cur_u64(&c);
	struct raft_configuration conf;
	bool fits;

	if (!cur_ok(&c) || version != 1 || n > SERVERS_MAX || len % 8)
		return false;
	raft_configuration_init(&conf);
	for (uint64_t i = 0; i < n && cur_ok(&c); i++) {
		uint64_t id = cur_u64(&c);
		const char *address = (const char *)c.p;
		size_t room = strnlen(address, c.left) + 1;
		char want[FILES_ADDRESS_MAX];
		uint8_t role;

		snprintf(want, sizeof(want), "%" PRIu64, id);
		if (room > c.left || strcmp(address, want))
			break;
		cur_bytes(&c, room);
		role = cur_u8(&c);
		if (!cur_ok(&c) || files_add_server(&conf, id, role))
			break;
	}
	fits = conf.n == n && c.left < 8 && conf_fits(&conf);
	raft_configuration_close(&conf);
	return fits;
}

/* Entries with their data in one piece of memory, as libraft wants it. */
static int get_entries(struct cur *c, struct raft_append_entries *m)
{
	uint32_t n = cur_u32(c);
	struct raft_entry *e;
	uint8_t *batch;
	size_t at = 0;

	m->entries = NULL;
	m->n_entries = 0;
	if (!cur_ok(c) || n > ENTRIES_MAX || c->left / ENTRY_HEAD < n)
		return -EBADMSG;
	if (!n)
		return 0;
	e = raft_calloc(n, sizeof(*e));
	batch = raft_malloc(c->left + 8 * (size_t)n);
	if (!e || !batch)
		goto bad;
	for (uint32_t i = 0; i < n; i++) {
		const void *data;
		size_t len;

		e[i].term = cur_u64(c);
		e[i].type = cur_u8(c);
		data = cur_blob(c, FILES_DATA_MAX, &len);
		if (!data || e[i].type < RAFT_COMMAND || e[i].type > RAFT_CHANGE || !e[i].term ||
			(e[i].type == RAFT_CHANGE && !change_fits(data, len)))
			goto bad;
		memcpy(batch + at, data, len);
		e[i].buf = (struct raft_buffer){batch + at, len};
		e[i].batch = batch;
		at += (len + 7) & ~(size_t)7;
	}
	m->entries = e;
	m->n_entries = n;
	return 0;
bad:
	raft_free(e);
	raft_free(batch);
	return -EBADMSG;
}

static int get_snapshot(struct cur *c, struct raft_install_snapshot *m)
{
	const void *data;
	size_t len;
	uint32_t n;

	m->term = cur_u64(c);
	m->last_index = cur_u64(c);
	m->last_term = cur_u64(c);
	m->conf_index = cur_u64(c);
	n = cur_u32(c);
	raft_configuration_init(&m->conf);
	m->data.base = NULL;
	if (!cur_ok(c) || n > SERVERS_MAX || !m->last_index || !m->last_term)
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t id = cur_u64(c);
		uint8_t role = cur_u8(c);

		if (!cur_ok(c) || files_add_server(&m->conf, id, role))
			goto bad;
	}
	data = cur_blob(c, FILES_DATA_MAX, &len);
	if (!data || !conf_fits(&m->conf))
		goto bad;
	m->data.base = raft_malloc(len + 1);
	if (!m->data.base)
		goto bad;
	memcpy(m->data.base, data, len);
	m->data.len = len;
	return 0;
bad:
	raft_configuration_close(&m->conf);
	raft_configuration_init(&m->conf);
	return -EBADMSG;
}

void message_free(struct raft_message *m)
{
	if (m->type == RAFT_IO_APPEND_ENTRIES && m->append_entries.entries) {
		raft_free(m->append_entries.entries[0].batch);
		raft_free(m->append_entries.entries);
	} else if (m->type == RAFT_IO_INSTALL_SNAPSHOT) {
		raft_configuration_close(&m->install_snapshot.conf);
		raft_free(m->install_snapshot.data.base);
	}
}

static int get_body(struct cur *c, struct raft_message *m)
{
	switch (m->type) {
	case RAFT_IO_APPEND_ENTRIES:
		m->append_entries.term = cur_u64(c);
		m->append_entries.prev_log_index = cur_u64(c);
		m->append_entries.prev_log_term = cur_u64(c);
		m->append_entries.leader_commit = cur_u64(c);
		return get_entries(c, &m->append_entries);
	case RAFT_IO_APPEND_ENTRIES_RESULT:
		m->append_entries_result.term = cur_u64(c);
		m->append_entries_result.rejected = cur_u64(c);
		m->append_entries_result.last_log_index = cur_u64(c);
		return 0;
	case RAFT_IO_REQUEST_VOTE:
		m->request_vote.term = cur_u64(c);
		m->request_vote.candidate_id = cur_u64(c);
		m->request_vote.last_log_index = cur_u64(c);
		m->request_vote.last_log_term = cur_u64(c);
		m->request_vote.disrupt_leader = get_bool(c);
		m->request_vote.pre_vote = get_bool(c);
		return 0;
	case RAFT_IO_REQUEST_VOTE_RESULT:
		m->request_vote_result.term = cur_u64(c);
		m->request_vote_result.vote_granted = get_bool(c);
		m->request_vote_result.pre_vote = (raft_tribool)cur_u8(c);
		return m->request_vote_result.pre_vote <= raft_tribool_false ? 0 : -EBADMSG;
	case RAFT_IO_INSTALL_SNAPSHOT:
		return get_snapshot(c, &m->install_snapshot);
	case RAFT_IO_TIMEOUT_NOW:
		m->timeout_now.term = cur_u64(c);
		m->timeout_now.last_log_index = cur_u64(c);
		m->timeout_now.last_log_term = cur_u64(c);
		return 0;
	default:
		return -EBADMSG;
	}
}

int message_get(struct cur c, struct message_head *h, struct raft_message *m)
{
	memset(m, 0, sizeof(*m));
	h->from = cur_u32(&c);
	h->to = cur_u32(&c);
	h->term = cur_u64(&c);
	m->type = cur_u8(&c);
	m->server_id = h->from;
	if (!cur_ok(&c) || !h->from || !h->to || h->from == h->to || get_body(&c, m))
		return -EBADMSG;
	if (cur_done(&c))
		return 0;
	message_free(m);
	return -EBADMSG;
}
