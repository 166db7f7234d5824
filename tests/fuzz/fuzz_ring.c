/*
 * Ring maps out of any bytes, once as they are and once under a checksum that is right, so that the
 * fields behind it are reached. A map that passes encodes to the very same bytes, and places its
 * shards.
 */
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/ring/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try(const uint8_t *data, size_t size)
{
	uint16_t out[RING_REPLICAS_MAX];
	struct buf again = {0};
	struct ring_map *m;
	unsigned n;

	if (ring_decode(data, size, &m))
		return;
	ring_encode(m, &again);
	if (again.err || again.len != size || memcmp(again.data, data, size))
		abort();
	for (unsigned i = 0; i < m->nnodes; i++) {
		if (ring_find(m, &m->nodes[i].id) != i)
			abort();
	}
	n = ring_place(m, (uint16_t)(ring_nshards(m) - 1), out, m->replicas);
	if (n < 1 || n > m->replicas)
		abort();
	for (unsigned i = 0; i < n; i++) {
		if (out[i] >= m->nnodes || m->nodes[out[i]].weight == 0)
			abort();
	}
	buf_fini(&again);
	ring_unref(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = {0};

	if (size == 0)
		return 0;
	try(data, size);
	buf_bytes(&b, data, size);
	buf_u32(&b, crc32c(data, size));
	try(b.data, b.len);
	buf_fini(&b);
	return 0;
}
