/*
 * Ring maps, and differences to one, out of any bytes, once as they are and once under a checksum
 * that is right, so that the fields behind it are reached. A map that passes encodes to the very
 * same bytes, and places its shards; a difference that passes leads to such a map.
 */
#include <stdio.h>
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

/* A map to start from, at epoch 1. */
static struct ring_map *start(void)
{
	static struct ring_map *m;
	struct ring_node nodes[4] = {0};
	uint8_t fsid[16] = {0};

	for (unsigned i = 0; !m && i < 4; i++) {
		memset(nodes[i].id.b, (int)(16 * i + 16), ORBIT_ID_LEN);
		nodes[i].weight = 1;
		nodes[i].naddrs = 1;
		snprintf(nodes[i].addr[0], ENV_ADDR_MAX, "a%u", i);
	}
	if (!m && ring_make(&m, fsid, 2, 2, nodes, 4))
		abort();
	return m;
}

static void try_patch(const uint8_t *data, size_t size)
{
	struct ring_map *from = start(), *to, *third;
	struct buf b = {0}, c = {0};

	if (ring_patch(from, data, size, &to))
		return;
	ring_encode(to, &b);
	try(b.data, b.len);
	ring_diff(from, to, &c);
	if (b.err || c.err || ring_patch(from, c.data, c.len, &third))
		abort();
	buf_reset(&c);
	ring_encode(third, &c);
	if (b.len != c.len || memcmp(b.data, c.data, b.len))
		abort();
	buf_fini(&b);
	buf_fini(&c);
	ring_unref(to);
	ring_unref(third);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf b = {0};

	if (size == 0)
		return 0;
	try(data, size);
	try_patch(data, size);
	buf_bytes(&b, data, size);
	buf_u32(&b, crc32c(data, size));
	try(b.data, b.len);
	try_patch(b.data, b.len);
	buf_fini(&b);
	return 0;
}
