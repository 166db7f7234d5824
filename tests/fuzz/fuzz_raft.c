/*
 * Voters' messages out of any bytes: what passes is walked to its last byte
 * and encodes to the same message again.
 */
#include <stdlib.h>

#include "dht/keeper/impl.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			abort();                                                                   \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void walk(const struct raft_buffer *b)
{
	for (size_t i = 0; i < b->len; i++)
		sink ^= ((const uint8_t *)b->base)[i];
}

static void walk_all(const struct raft_message *m)
{
	if (m->type == RAFT_IO_INSTALL_SNAPSHOT)
		walk(&m->install_snapshot.data);
	if (m->type != RAFT_IO_APPEND_ENTRIES)
		return;
	for (unsigned i = 0; i < m->append_entries.n_entries; i++)
		walk(&m->append_entries.entries[i].buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message_head h;
	struct raft_message m;
	struct frame *f;

	if (message_get(cur_of(data, size), &h, &m))
		return 0;
	walk_all(&m);
	m.server_id = h.to;
	f = message_put(h.from, h.term, &m);
	CHECK(f && frame_body_len(f) == size && !memcmp(frame_body(f), data, size));
	frame_unref(f);
	message_free(&m);
	return 0;
}
