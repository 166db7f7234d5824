#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/ring/place.h"
#include "dht/ring/ring.h"
#include "tests/unit/vectors.h"

static const uint8_t fsid[16] = {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a,
	0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

static struct ring_node node_of(const char *name, uint32_t weight, const char *zone)
{
	struct ring_node n = {
		.id = orbit_id_hash(name, strlen(name)), .weight = weight, .naddrs = 1};

	snprintf(n.zone, sizeof(n.zone), "%s", zone);
	snprintf(n.addr[0], sizeof(n.addr[0]), "h:1");
	return n;
}

/* @n nodes "node0" ... of weight 100, no zones. */
static struct ring_map *plain_map(unsigned n, unsigned bits, unsigned replicas)
{
	struct ring_node *nodes = mem_zalloc(n * sizeof(*nodes));
	struct ring_map *m;
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "node%u", i);
		nodes[i] = node_of(name, RING_WEIGHT_DEFAULT, "");
	}
	assert_int_equal(ring_make(&m, fsid, bits, replicas, nodes, n), 0);
	free(nodes);
	return m;
}

static struct ring_map *vector_map(void)
{
	struct ring_node nodes[3] = {
		node_of("a", 100, "r1"), node_of("b", 100, "r2"), node_of("c", 50, "")};
	struct ring_map *m;

	snprintf(nodes[0].addr[0], ENV_ADDR_MAX, "%s", "127.0.0.1:7001");
	snprintf(nodes[1].addr[0], ENV_ADDR_MAX, "%s", "127.0.0.1:7002");
	snprintf(nodes[1].addr[1], ENV_ADDR_MAX, "%s", "[::1]:7002");
	nodes[1].naddrs = 2;
	snprintf(nodes[2].addr[0], ENV_ADDR_MAX, "%s", "unix:/run/c");
	nodes[0].up = nodes[0].voter = nodes[2].up = true;
	nodes[0].incarnation = 0x0102030405060708;
	nodes[2].number = 7;
	nodes[2].incarnation = 1;
	assert_int_equal(ring_make(&m, fsid, 2, 2, nodes, 3), 0);
	return m;
}

/* ---- placement ---- */

/* Computed once, apart from this code, from the description in docs/PROTOCOL.md. They must never
 * change: clients and nodes of all versions and machines have to agree on them. */
static void test_ring_placement_matches_the_golden_vectors(void **state)
{
	static const uint32_t weight[8] = {100, 100, 50, 200, 60, 0, 100, 107};
	static const char *zone[8] = {"east", "east", "west", "west", "", "", "north", "east"};
	static const struct {
		uint16_t shard, node[6];
	} golden[] = {
		{0, {5, 2, 3, 7, 4, 6}},
		{1, {4, 2, 3, 7, 5, 6}},
		{2, {7, 2, 5, 3, 0, 6}},
		{3, {6, 2, 3, 7, 4, 5}},
		{4, {0, 3, 5, 7, 2, 6}},
		{5, {2, 4, 7, 3, 6, 5}},
		{100, {6, 2, 3, 7, 0, 4}},
		{255, {3, 7, 5, 2, 4, 6}},
		{1000, {4, 7, 3, 2, 5, 6}},
		{1023, {5, 7, 2, 3, 4, 6}},
		{65535, {4, 7, 2, 3, 5, 6}},
		{40000, {3, 5, 0, 7, 2, 4}},
	};
	struct ring_node nodes[8];
	struct ring_map *m;
	char name[16];
	uint16_t out[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		snprintf(name, sizeof(name), "node%u", i);
		nodes[i] = node_of(name, weight[i], zone[i]);
	}
	assert_int_equal(ring_make(&m, fsid, 16, 6, nodes, 8), 0);
	for (unsigned i = 0; i < ARRAY_LEN(golden); i++) {
		assert_int_equal(ring_place(m, golden[i].shard, out, 6), 6);
		assert_memory_equal(out, golden[i].node, sizeof(golden[i].node));
		/* and that is where the map has them */
		assert_memory_equal(
			m->shards[golden[i].shard].member, golden[i].node, sizeof(golden[i].node));
		assert_int_equal(m->shards[golden[i].shard].primary, golden[i].node[0]);
	}
	/* all nodes but the one without weight */
	assert_int_equal(ring_place(m, 0, out, 8), 7);
	ring_unref(m);
}

static void test_ring_logarithm_matches_the_golden_vectors(void **state)
{
	static const struct {
		uint64_t x, log;
	} golden[] = {
		{UINT64_C(0x1), UINT64_C(0x40000000000000)},
		{UINT64_C(0x3), UINT64_C(0x3e6a3fe5c6042a)},
		{UINT64_C(0x7fffffffffffffff), UINT64_C(0x1000000000001)},
		{UINT64_C(0x8000000000000001), UINT64_C(0x1000000000000)},
		{UINT64_C(0xffffffffffffffff), UINT64_C(0x1)},
		{UINT64_C(0x123456789abcdef1), UINT64_C(0x3d053f6d2608a)},
		{UINT64_C(0xfedcba9876543211), UINT64_C(0x1a526e7e004)},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(golden); i++)
		assert_true(place_log(golden[i].x) == golden[i].log);
}

static void test_ring_logarithm_never_grows_with_its_argument(void **state)
{
	uint64_t x = 1, last = place_log(1);

	(void)state;
	/* steps of all sizes, the smallest there are among them */
	for (unsigned i = 0; i < 200000; i++) {
		uint64_t step = UINT64_C(2) << (i * 7 % 45);
		uint64_t log;

		if (x > UINT64_MAX - step)
			break;
		x += step;
		log = place_log(x);
		assert_true(log <= last && log >= 1);
		last = log;
	}
}

static unsigned moved(
	const struct ring_map *from, const struct ring_map *to, const struct orbit_id *newcomer)
{
	unsigned n = 0;

	for (unsigned s = 0; s < ring_nshards(from); s++) {
		const struct orbit_id *was = &from->nodes[from->shards[s].primary].id;
		const struct orbit_id *is = &to->nodes[to->shards[s].primary].id;

		if (orbit_id_cmp(was, is) == 0)
			continue;
		/* nothing moves between the old ones */
		assert_int_equal(orbit_id_cmp(is, newcomer), 0);
		n++;
	}
	return n;
}

static void test_ring_a_new_node_takes_its_share_from_all(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 12; n++) {
		struct ring_map *from = plain_map(n, 14, 1), *to = plain_map(n + 1, 14, 1);
		char name[16];
		struct orbit_id id;
		double share = 16384.0 / (n + 1);
		unsigned got;

		snprintf(name, sizeof(name), "node%u", n);
		id = orbit_id_hash(name, strlen(name));
		got = moved(from, to, &id);
		assert_true(got > share * 0.9 && got < share * 1.1);
		ring_unref(from);
		ring_unref(to);
	}
}

static void test_ring_weights_are_respected(void **state)
{
	static const uint32_t weight[6] = {100, 100, 50, 200, 400, 7};
	struct ring_node nodes[6];
	unsigned count[6] = {0}, total = 0;
	struct ring_map *m;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "w%u", i);
		nodes[i] = node_of(name, weight[i], "");
		total += weight[i];
	}
	assert_int_equal(ring_make(&m, fsid, 16, 1, nodes, 6), 0);
	for (unsigned s = 0; s < 65536; s++)
		count[m->shards[s].primary]++;
	for (unsigned i = 0; i < 6; i++) {
		double want = 65536.0 * m->nodes[i].weight / total, off = count[i] - want;

		/* the expected number, within 3 % and what chance does to small numbers */
		assert_true(off * off < 0.03 * 0.03 * want * want + 9 * want);
	}
	ring_unref(m);
}

static void test_ring_scale_of_weights_does_not_matter(void **state)
{
	struct ring_node a[3] = {node_of("x", 1, ""), node_of("y", 2, ""), node_of("z", 3, "")};
	struct ring_node b[3] = {node_of("x", 1000000000, ""), node_of("y", 2000000000, ""),
		node_of("z", 3000000000, "")};
	struct ring_map *ma, *mb;

	(void)state;
	assert_int_equal(ring_make(&ma, fsid, 12, 3, a, 3), 0);
	assert_int_equal(ring_make(&mb, fsid, 12, 3, b, 3), 0);
	for (unsigned s = 0; s < 4096; s++)
		assert_memory_equal(ma->shards[s].member, mb->shards[s].member, 6);
	ring_unref(ma);
	ring_unref(mb);
}

static void test_ring_copies_lie_in_distinct_zones_first(void **state)
{
	struct ring_node nodes[6] = {node_of("0", 1000, "a"), node_of("1", 1000, "a"),
		node_of("2", 1000, "a"), node_of("3", 10, "b"), node_of("4", 10, "b"),
		node_of("5", 1, "c")};
	struct ring_map *m;

	(void)state;
	assert_int_equal(ring_make(&m, fsid, 10, 4, nodes, 6), 0);
	for (unsigned s = 0; s < 1024; s++) {
		const uint16_t *at = m->shards[s].member;

		assert_int_equal(m->shards[s].nmembers, 4);
		for (unsigned i = 0; i < 3; i++) {
			for (unsigned k = 0; k < i; k++)
				assert_string_not_equal(m->nodes[at[i]].zone, m->nodes[at[k]].zone);
		}
		for (unsigned i = 0; i < 3; i++)
			assert_int_not_equal(at[3], at[i]);
	}
	ring_unref(m);
}

static void test_ring_fewer_nodes_than_copies(void **state)
{
	struct ring_map *m = plain_map(2, 4, 3);

	(void)state;
	for (unsigned s = 0; s < 16; s++) {
		assert_int_equal(m->shards[s].nmembers, 2);
		assert_int_not_equal(m->shards[s].member[0], m->shards[s].member[1]);
	}
	ring_unref(m);
}

/* ---- maps ---- */

static void test_ring_make_refuses_what_cannot_be(void **state)
{
	struct ring_node n[2] = {node_of("a", 1, ""), node_of("b", 0, "")};
	struct ring_map *m;

	(void)state;
	assert_int_equal(ring_make(&m, fsid, 10, 1, n, 0), -EINVAL);
	assert_int_equal(ring_make(&m, fsid, 0, 1, n, 2), -EINVAL);
	assert_int_equal(ring_make(&m, fsid, 17, 1, n, 2), -EINVAL);
	assert_int_equal(ring_make(&m, fsid, 10, 0, n, 2), -EINVAL);
	assert_int_equal(ring_make(&m, fsid, 10, 8, n, 2), -EINVAL);
	assert_int_equal(ring_make(&m, fsid, 10, 1, n + 1, 1), -EINVAL); /* no weight */
	n[1].naddrs = 0;
	assert_int_equal(ring_make(&m, fsid, 10, 1, n, 2), -EINVAL);
	n[1] = node_of("b", 1, "with space");
	assert_int_equal(ring_make(&m, fsid, 10, 1, n, 2), -EINVAL);
	n[1] = n[0];
	assert_int_equal(ring_make(&m, fsid, 10, 1, n, 2), -EINVAL); /* twice */
	n[1] = node_of("b", 0, "");
	assert_int_equal(ring_make(&m, fsid, 10, 1, n, 2), 0);
	ring_unref(m);
	ring_unref(NULL);
}

static void test_ring_finds_nodes_and_shards(void **state)
{
	struct ring_map *m = plain_map(9, 10, 1);
	struct orbit_id id = {.b = {0xff, 0x7f, 0xff}}, name = orbit_id_hash("node3", 5);

	(void)state;
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(ring_find(m, &m->nodes[i].id), i);
	assert_int_equal(ring_find(m, &id), RING_NONE);
	assert_int_not_equal(ring_find(m, &name), RING_NONE);
	assert_int_equal(ring_shard_of(m, &id), 0x3fd);
	assert_ptr_equal(ring_ref(m), m);
	ring_unref(m);
	/* the keeper is the node that was named first */
	name = orbit_id_hash("node0", 5);
	assert_int_equal(m->keeper, ring_find(m, &name));
	ring_unref(m);
}

static void test_ring_encoding_is_the_specified_one(void **state)
{
	struct ring_map *m = vector_map(), *got;
	struct buf b = {0}, again = {0}, v = vector("ring");

	(void)state;
	ring_encode(m, &b);
	assert_vector("ring", &b);
	assert_int_equal(ring_decode(v.data, v.len, &got), 0);
	assert_memory_equal(got->fsid, fsid, 16);
	assert_int_equal(got->epoch, 1);
	assert_int_equal(got->nnodes, 3);
	assert_int_equal(got->keeper, m->keeper);
	assert_memory_equal(got->nodes, m->nodes, 3 * sizeof(*m->nodes));
	assert_memory_equal(got->shards, m->shards, 4 * sizeof(*m->shards));
	ring_encode(got, &again);
	assert_vector("ring", &again);
	ring_unref(got);
	ring_unref(m);
	buf_fini(&v);
}

static void test_ring_decode_refuses_any_damage(void **state)
{
	struct ring_map *got;
	struct buf v = vector("ring");

	(void)state;
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(ring_decode(v.data, n, &got), -EBADMSG);
	for (size_t i = 0; i < v.len; i++) {
		v.data[i] ^= 0x10;
		assert_int_equal(ring_decode(v.data, v.len, &got), -EBADMSG);
		v.data[i] ^= 0x10;
	}
	assert_int_equal(ring_decode(v.data, v.len, &got), 0);
	ring_unref(got);
	buf_fini(&v);
}

/* The vector with @len bytes at @at replaced, under a checksum that is right. */
static int decode_forged(size_t at, const void *bytes, size_t len)
{
	struct ring_map *got;
	struct buf v = vector("ring");
	int rc;

	memcpy(v.data + at, bytes, len);
	buf_set_u32(&v, v.len - 4, crc32c(v.data, v.len - 4));
	rc = ring_decode(v.data, v.len, &got);
	if (!rc)
		ring_unref(got);
	buf_fini(&v);
	return rc;
}

static void test_ring_decode_checks_every_field(void **state)
{
	/* the first node at 47: number at 79, flags at 91, weight at 92, its zone's length at 96,
	 * naddrs at 97; the shards: 4 * 17 bytes before the checksum */
	struct buf v = vector("ring");
	size_t shards = v.len - 4 - 4 * 17;

	(void)state;
	buf_fini(&v);
	assert_int_equal(decode_forged(0, "R", 1), 0);
	assert_int_equal(decode_forged(4, "\1", 1), -EBADMSG);                /* format */
	assert_int_equal(decode_forged(22, "\0\0\0\0\0\0\0\0", 8), -EBADMSG); /* epoch */
	assert_int_equal(decode_forged(30, "\0", 1), -EBADMSG);               /* shard bits */
	assert_int_equal(decode_forged(30, "\20", 1), -EBADMSG);
	assert_int_equal(decode_forged(30, "\21", 1), -EBADMSG);
	assert_int_equal(decode_forged(31, "\0", 1), -EBADMSG); /* replicas */
	assert_int_equal(decode_forged(31, "\10", 1), -EBADMSG);
	assert_int_equal(decode_forged(32, "\0", 1), -EBADMSG); /* min_in_sync */
	assert_int_equal(decode_forged(32, "\3", 1), -EBADMSG);
	assert_int_equal(decode_forged(32, "\2", 1), 0);
	assert_int_equal(decode_forged(33, "\3", 1), -EBADMSG); /* keeper */
	assert_int_equal(decode_forged(35, "\7", 1), -EBADMSG); /* next number */
	assert_int_equal(decode_forged(35, "\0\0\0\0", 4), -EBADMSG);
	assert_int_equal(decode_forged(39, "\0\0\0\0", 4), -EBADMSG); /* nodes */
	assert_int_equal(decode_forged(39, "\xff\xff\xff\xff", 4), -EBADMSG);
	assert_int_equal(decode_forged(43, "\1", 1), -EBADMSG); /* fenced */
	assert_int_equal(decode_forged(43, "\xff\xff\xff\xff", 4), -EBADMSG);
	assert_int_equal(decode_forged(47, "\xff", 1), -EBADMSG); /* out of order */
	assert_int_equal(decode_forged(79, "\1", 1), -EBADMSG);   /* a number twice */
	assert_int_equal(decode_forged(79, "\0", 1), 0);
	assert_int_equal(decode_forged(79, "\3", 1), 0);
	assert_int_equal(decode_forged(91, "\x20", 1), -EBADMSG); /* unknown flag */
	assert_int_equal(decode_forged(91, "\4", 1), -EBADMSG);   /* a witness with weight */
	assert_int_equal(decode_forged(91, "\2", 1), 0);
	assert_int_equal(decode_forged(96, "\100", 1), -EBADMSG); /* zone too long */
	assert_int_equal(decode_forged(97, "\0", 1), -EBADMSG);   /* no address */
	assert_int_equal(decode_forged(97, "\5", 1), -EBADMSG);
	assert_int_equal(decode_forged(98, "\0", 1), -EBADMSG); /* an empty one */
	assert_int_equal(decode_forged(99, "\0", 1), -EBADMSG); /* NUL within */
	assert_int_equal(decode_forged(99, "\n", 1), -EBADMSG);
	assert_int_equal(decode_forged(shards + 8, "\3", 1), -EBADMSG); /* primary */
	assert_int_equal(decode_forged(shards + 8, "\0", 1), -EBADMSG); /* not the first member */
	assert_int_equal(decode_forged(shards + 8, "\xff\xff", 2), 0);  /* nobody serves it */
	assert_int_equal(decode_forged(shards + 10, "\10", 1), -EBADMSG);
	assert_int_equal(decode_forged(shards + 8, "\xff\xff\0", 3), -EBADMSG); /* no members */
	assert_int_equal(decode_forged(shards + 10, "\1\1", 2), 0); /* the second one learns */
	assert_int_equal(decode_forged(shards + 11, "\10", 1), -EBADMSG);
	assert_int_equal(decode_forged(shards + 12, "\3", 1), 0); /* both are suspect */
	assert_int_equal(decode_forged(shards + 12, "\4", 1), -EBADMSG);
	assert_int_equal(decode_forged(shards + 15, "\2", 1), -EBADMSG); /* a member twice */
	assert_int_equal(decode_forged(shards + 15, "\3", 1), -EBADMSG);
	assert_int_equal(decode_forged(shards + 10, "\1\1\0\2\0\2", 6), -EBADMSG); /* both */
	/* a witness that holds data */
	assert_int_equal(decode_forged(91, "\4\0\0\0\0", 5), -EBADMSG);
}

static void test_ring_decode_refuses_a_map_without_a_home_for_data(void **state)
{
	struct ring_map *m = vector_map(), *got;
	struct buf b = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		m->nodes[i].leaving = true;
	ring_encode(m, &b);
	assert_int_equal(ring_decode(b.data, b.len, &got), -EBADMSG);
	m->nodes[1].leaving = false;
	buf_reset(&b);
	ring_encode(m, &b);
	assert_int_equal(ring_decode(b.data, b.len, &got), 0);
	ring_unref(got);
	ring_unref(m);
	buf_fini(&b);
}

static void test_ring_make_numbers_the_nodes(void **state)
{
	struct ring_node n[4] = {
		node_of("a", 1, ""), node_of("b", 1, ""), node_of("c", 1, ""), node_of("d", 1, "")};
	struct ring_map *m;

	(void)state;
	n[2].number = 2;
	assert_int_equal(ring_make(&m, fsid, 4, 1, n, 4), 0);
	assert_int_equal(m->nodes[ring_find(m, &n[0].id)].number, 1);
	assert_int_equal(m->nodes[ring_find(m, &n[1].id)].number, 3);
	assert_int_equal(m->nodes[ring_find(m, &n[2].id)].number, 2);
	assert_int_equal(m->nodes[ring_find(m, &n[3].id)].number, 4);
	assert_int_equal(m->next_number, 5);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ring_find_number(m, m->nodes[i].number), i);
	assert_int_equal(ring_find_number(m, 5), RING_NONE);
	assert_int_equal(ring_find_number(m, 0), RING_NONE);
	ring_unref(m);
	n[1].number = 2;
	assert_int_equal(ring_make(&m, fsid, 4, 1, n, 4), -EINVAL);
	n[1].number = UINT32_MAX; /* none above it is left */
	assert_int_equal(ring_make(&m, fsid, 4, 1, n, 4), -EINVAL);
}

static void test_ring_placement_leaves_out_who_leaves_or_only_votes(void **state)
{
	struct ring_node n[4] = {
		node_of("a", 1, ""), node_of("b", 1, ""), node_of("c", 0, ""), node_of("d", 1, "")};
	struct ring_map *m;
	uint16_t out[4];

	(void)state;
	n[1].leaving = true;
	n[2].witness = true;
	assert_int_equal(ring_make(&m, fsid, 8, 3, n, 4), 0);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		assert_int_equal(ring_place(m, (uint16_t)s, out, 4), 2);
		assert_int_equal(m->shards[s].nmembers, 2);
		assert_int_equal(ring_member(&m->shards[s], ring_find(m, &n[1].id)), -1);
		assert_int_equal(ring_member(&m->shards[s], ring_find(m, &n[2].id)), -1);
	}
	ring_unref(m);
	n[0].leaving = n[3].leaving = true;
	assert_int_equal(ring_make(&m, fsid, 8, 3, n, 4), -EINVAL);
	n[0].leaving = false;
	n[2].weight = 1; /* of a witness */
	assert_int_equal(ring_make(&m, fsid, 8, 3, n, 4), -EINVAL);
}

static void test_ring_decodes_the_largest_map(void **state)
{
	struct ring_map *m = plain_map(300, 16, 1), *got;
	struct buf b = {0};

	(void)state;
	ring_encode(m, &b);
	assert_int_equal(ring_decode(b.data, b.len, &got), 0);
	assert_int_equal(got->nnodes, 300);
	assert_memory_equal(got->shards, m->shards, 65536 * sizeof(*m->shards));
	ring_unref(got);
	ring_unref(m);
	buf_fini(&b);
}

static void test_ring_one_log_holds_copies_of_several_shards_only_alone(void **state)
{
	const uint16_t shards[3] = {0, 1, 1};
	struct ring_map *m = plain_map(2, 2, 1);

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		m->shards[i] = (struct ring_shard){.primary = 1, .nmembers = 1, .member = {1}};
	assert_true(ring_one_log(m, shards, 3));
	m->shards[0].primary = m->shards[0].member[0] = 0;
	assert_false(ring_one_log(m, shards, 2));
	assert_true(ring_one_log(m, shards, 1));
	/* with more copies: one shard only */
	m->shards[0] = m->shards[1];
	m->shards[1].nlearners = 1;
	assert_false(ring_one_log(m, shards, 3));
	assert_true(ring_one_log(m, shards + 1, 2));
	m->shards[1].nlearners = 0;
	m->shards[1].nmembers = 2;
	assert_false(ring_one_log(m, shards, 2));
	/* nobody serves it */
	m->shards[1].primary = RING_NONE;
	assert_false(ring_one_log(m, shards + 1, 2));
	ring_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_placement_matches_the_golden_vectors),
		cmocka_unit_test(test_ring_logarithm_matches_the_golden_vectors),
		cmocka_unit_test(test_ring_logarithm_never_grows_with_its_argument),
		cmocka_unit_test(test_ring_a_new_node_takes_its_share_from_all),
		cmocka_unit_test(test_ring_weights_are_respected),
		cmocka_unit_test(test_ring_scale_of_weights_does_not_matter),
		cmocka_unit_test(test_ring_copies_lie_in_distinct_zones_first),
		cmocka_unit_test(test_ring_fewer_nodes_than_copies),
		cmocka_unit_test(test_ring_make_refuses_what_cannot_be),
		cmocka_unit_test(test_ring_finds_nodes_and_shards),
		cmocka_unit_test(test_ring_encoding_is_the_specified_one),
		cmocka_unit_test(test_ring_decode_refuses_any_damage),
		cmocka_unit_test(test_ring_decode_checks_every_field),
		cmocka_unit_test(test_ring_decode_refuses_a_map_without_a_home_for_data),
		cmocka_unit_test(test_ring_make_numbers_the_nodes),
		cmocka_unit_test(test_ring_placement_leaves_out_who_leaves_or_only_votes),
		cmocka_unit_test(test_ring_decodes_the_largest_map),
		cmocka_unit_test(test_ring_one_log_holds_copies_of_several_shards_only_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
