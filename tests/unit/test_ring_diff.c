#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "dht/base/crc.h"
#include "dht/base/mem.h"
#include "dht/ring/ring.h"
#include "tests/unit/vectors.h"

static const uint8_t fsid[16] = {0x10, 0x11};

static struct ring_node node_of(const char *name)
{
	struct ring_node n = {.id = orbit_id_hash(name, strlen(name)),
		.weight = RING_WEIGHT_DEFAULT,
		.naddrs = 1,
		.up = true,
		.incarnation = 1};

	snprintf(n.addr[0], sizeof(n.addr[0]), "host-%s:7000", name);
	return n;
}

static struct ring_map *map_of(unsigned n, unsigned bits, unsigned replicas)
{
	struct ring_node *nodes = mem_zalloc(n * sizeof(*nodes));
	struct ring_map *m;
	char name[16];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "node%u", i);
		nodes[i] = node_of(name);
	}
	assert_int_equal(ring_make(&m, fsid, bits, replicas, nodes, n), 0);
	free(nodes);
	return m;
}

static void assert_same(const struct ring_map *a, const struct ring_map *b)
{
	struct buf x = {0}, y = {0};

	ring_encode(a, &x);
	ring_encode(b, &y);
	assert_int_equal(x.len, y.len);
	assert_memory_equal(x.data, y.data, x.len);
	buf_fini(&x);
	buf_fini(&y);
}

/* The difference leads to @to; its length. */
static size_t leads(const struct ring_map *from, const struct ring_map *to)
{
	struct ring_map *got;
	struct buf d = {0};
	size_t len;

	ring_diff(from, to, &d);
	assert_int_equal(ring_patch(from, d.data, d.len, &got), 0);
	assert_same(got, to);
	ring_unref(got);
	len = d.len;
	buf_fini(&d);
	return len;
}

static uint16_t shifted(uint16_t node, unsigned at, int by)
{
	return node >= at && node != RING_NONE ? (uint16_t)(node + by) : node;
}

static void shift_all(struct ring_map *m, unsigned at, int by)
{
	m->keeper = shifted(m->keeper, at, by);
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *sh = &m->shards[s];

		sh->primary = shifted(sh->primary, at, by);
		for (unsigned i = 0; i < sh->nmembers; i++)
			sh->member[i] = shifted(sh->member[i], at, by);
		for (unsigned i = 0; i < sh->nlearners; i++)
			sh->learner[i] = shifted(sh->learner[i], at, by);
	}
}

static unsigned add_node(struct ring_map *m, const char *name)
{
	struct ring_node n = node_of(name);
	unsigned at = 0;

	while (at < m->nnodes && orbit_id_cmp(&m->nodes[at].id, &n.id) < 0)
		at++;
	m->nodes = mem_grow(m->nodes, m->nnodes + 1, sizeof(*m->nodes));
	memmove(m->nodes + at + 1, m->nodes + at, (m->nnodes - at) * sizeof(n));
	n.number = m->next_number++;
	m->nodes[at] = n;
	m->nnodes++;
	shift_all(m, at, 1);
	return at;
}

/* Shards that had it go to another node. */
static void take_node(struct ring_map *m, unsigned at)
{
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		struct ring_shard *sh = &m->shards[s];
		int i = ring_member(sh, (uint16_t)at), l = ring_learner(sh, (uint16_t)at);

		if (l >= 0)
			sh->learner[l] = sh->learner[--sh->nlearners];
		if (i < 0)
			continue;
		if (sh->nmembers > 1)
			memmove(sh->member + i, sh->member + i + 1,
				(--sh->nmembers - (unsigned)i) * sizeof(*sh->member));
		else
			sh->member[0] = (uint16_t)(at ? 0 : 1);
		l = ring_learner(sh, sh->member[0]);
		if (l >= 0)
			sh->learner[l] = sh->learner[--sh->nlearners];
		sh->suspect = 0;
		sh->primary = sh->member[0];
		sh->term++;
	}
	if (m->keeper == at)
		m->keeper = at ? 0 : 1;
	memmove(m->nodes + at, m->nodes + at + 1, (--m->nnodes - at) * sizeof(*m->nodes));
	shift_all(m, at + 1, -1);
}

static void set_fenced(struct ring_map *m, const uint32_t *list, unsigned n)
{
	free(m->fenced);
	m->fenced = n ? mem_dup(list, n * sizeof(*list)) : NULL;
	m->nfenced = n;
}

static void test_ring_diff_follows_nodes_that_come_and_go(void **state)
{
	struct ring_map *m = map_of(8, 8, 3), *d = ring_draft(m);
	unsigned at;

	(void)state;
	assert_int_equal(d->epoch, m->epoch + 1);
	leads(m, d);
	/* one comes: no shard names it yet, so none is listed though indices shift */
	at = add_node(d, "newcomer");
	assert_int_equal(ring_find(d, &d->nodes[at].id), at);
	assert_true(leads(m, d) < 300);
	/* and one goes, and the two at once */
	take_node(d, at == 0);
	leads(m, d);
	ring_unref(m);
	m = ring_draft(d);
	take_node(m, m->nnodes - 1);
	leads(d, m);
	ring_unref(d);
	ring_unref(m);
}

static int by_id(const void *a, const void *b)
{
	return orbit_id_cmp(&((const struct ring_node *)a)->id, &((const struct ring_node *)b)->id);
}

static void test_ring_diff_follows_a_node_to_its_new_id(void **state)
{
	struct ring_map *m = map_of(5, 6, 3), *d = ring_draft(m);
	struct ring_node *was = mem_dup(m->nodes, m->nnodes * sizeof(*was)), *n;
	uint16_t to;

	(void)state;
	/* index 1 becomes "renamed", at the place of its new ID */
	n = &d->nodes[1];
	n->id = orbit_id_hash("renamed", 7);
	qsort(d->nodes, 5, sizeof(*n), by_id);
	for (unsigned i = 0; i < 5; i++) {
		to = ring_find_number(d, was[i].number);
		for (unsigned s = 0; s < ring_nshards(m); s++) {
			int k = ring_member(&m->shards[s], (uint16_t)i);

			if (k >= 0)
				d->shards[s].member[k] = to;
			if (k == 0)
				d->shards[s].primary = to;
		}
		if (m->keeper == i)
			d->keeper = to;
	}
	assert_true(leads(m, d) < 300); /* no shard */
	free(was);
	ring_unref(m);
	ring_unref(d);
}

static void test_ring_diff_of_one_shard_is_short(void **state)
{
	struct ring_map *m = map_of(50, 12, 3), *d = ring_draft(m);
	struct ring_shard *sh = &d->shards[1000];

	(void)state;
	sh->term++;
	sh->nmembers = 2;
	sh->nlearners = 1;
	sh->suspect = 2;
	sh->learner[0] = sh->member[2];
	assert_true(leads(m, d) < 120);
	ring_unref(m);
	ring_unref(d);
}

static void test_ring_diff_longer_than_the_map_carries_it(void **state)
{
	struct ring_map *m = map_of(3, 10, 3), *d = ring_draft(m);
	struct buf b = {0};

	(void)state;
	for (unsigned s = 0; s < ring_nshards(d); s++)
		d->shards[s].term++;
	ring_encode(d, &b);
	assert_int_equal(leads(m, d), b.len + 15);
	/* from nothing likewise */
	assert_int_equal(leads(NULL, d), b.len + 15);
	buf_fini(&b);
	ring_unref(m);
	ring_unref(d);
}

static void test_ring_diff_fenced_sessions(void **state)
{
	static const uint32_t a[] = {1, 5, 9, 0xffffff}, b[] = {3, 5, 7, 0xffffff}, c[] = {5};
	struct ring_map *m = map_of(3, 4, 2), *d = ring_draft(m), *e;

	(void)state;
	set_fenced(d, a, 4);
	assert_true(ring_fenced(d, 1) && ring_fenced(d, 5) && ring_fenced(d, 9));
	assert_true(ring_fenced(d, 0xffffff) && !ring_fenced(d, 4) && !ring_fenced(d, 0));
	assert_false(ring_fenced(m, 5));
	leads(m, d);
	e = ring_draft(d);
	set_fenced(e, b, 4);
	leads(d, e);
	set_fenced(e, c, 1);
	leads(d, e);
	set_fenced(e, NULL, 0);
	leads(d, e);
	ring_unref(m);
	ring_unref(d);
	ring_unref(e);
}

static void test_ring_diff_random_changes(void **state)
{
	unsigned made = 0;

	(void)state;
	for (unsigned seed = 0; seed < 400; seed++) {
		struct ring_map *from = map_of(2 + seed % 7, 1 + seed % 7, 1 + seed % 3), *to;

		srandom(seed);
		for (unsigned step = 0; step < 6; step++) {
			to = ring_draft(from);
			for (unsigned i = (unsigned)random() % 4; i > 0; i--) {
				unsigned s = (unsigned)random() % ring_nshards(to);
				char name[32];

				switch (random() % 4) {
				case 0:
					snprintf(name, sizeof(name), "new%u", made++);
					add_node(to, name);
					break;
				case 1:
					if (to->nnodes > 2)
						take_node(to, (unsigned)random() % to->nnodes);
					break;
				case 2:
					to->shards[s].term++;
					to->shards[s].primary = RING_NONE;
					to->shards[s].suspect = 1;
					break;
				default:
					to->nodes[(unsigned)random() % to->nnodes].up ^= 1;
				}
			}
			leads(from, to);
			ring_unref(from);
			from = to;
		}
		ring_unref(from);
	}
}

static void test_ring_patch_refuses_another_start(void **state)
{
	struct ring_map *m = map_of(3, 4, 2), *d = ring_draft(m), *e = ring_draft(d), *got;
	struct buf b = {0};

	(void)state;
	ring_diff(d, e, &b);
	assert_int_equal(ring_patch(m, b.data, b.len, &got), -ESTALE);
	assert_int_equal(ring_patch(e, b.data, b.len, &got), -ESTALE);
	assert_int_equal(ring_patch(NULL, b.data, b.len, &got), -ESTALE);
	d->fsid[3] ^= 1;
	assert_int_equal(ring_patch(d, b.data, b.len, &got), -EBADMSG);
	d->fsid[3] ^= 1;
	/* not later */
	buf_reset(&b);
	ring_diff(d, d, &b);
	assert_int_equal(ring_patch(d, b.data, b.len, &got), -EBADMSG);
	buf_fini(&b);
	ring_unref(m);
	ring_unref(d);
	ring_unref(e);
}

/* The map of the vector "ring", and what the vector "ring_diff" leads to. */
static struct ring_map *vector_from(void)
{
	struct buf v = vector("ring");
	struct ring_map *m;

	assert_int_equal(ring_decode(v.data, v.len, &m), 0);
	buf_fini(&v);
	return m;
}

static struct ring_map *vector_to(const struct ring_map *from)
{
	static const uint32_t fenced[] = {3, 0x10203};
	struct ring_map *m = ring_draft(from);
	struct orbit_id c = orbit_id_hash("c", 1);
	unsigned at;

	take_node(m, ring_find(m, &c));
	at = add_node(m, "d");
	for (unsigned s = 0; s < ring_nshards(m); s++) {
		if (m->shards[s].nmembers == 1) {
			m->shards[s].nlearners = 1;
			m->shards[s].learner[0] = (uint16_t)at;
		}
	}
	m->shards[3].suspect = 1;
	set_fenced(m, fenced, 2);
	return m;
}

static void test_ring_diff_is_the_specified_one(void **state)
{
	struct ring_map *from = vector_from(), *to = vector_to(from);
	struct buf b = {0};

	(void)state;
	leads(from, to);
	ring_diff(from, to, &b);
	assert_vector("ring_diff", &b);
	ring_unref(from);
	ring_unref(to);
}

static void test_ring_patch_refuses_any_damage(void **state)
{
	struct ring_map *from = vector_from(), *got;
	struct buf v = vector("ring_diff");

	(void)state;
	for (size_t n = 0; n < v.len; n++)
		assert_int_equal(ring_patch(from, v.data, n, &got), -EBADMSG);
	for (size_t i = 0; i < v.len; i++) {
		v.data[i] ^= 0x10;
		assert_int_equal(ring_patch(from, v.data, v.len, &got), -EBADMSG);
		v.data[i] ^= 0x10;
	}
	/* the same under a checksum that is right: refused, or a map that holds to all rules */
	for (size_t i = 15; i < v.len - 4; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			v.data[i] ^= (uint8_t)(1u << bit);
			buf_set_u32(&v, v.len - 4, crc32c(v.data, v.len - 4));
			if (ring_patch(from, v.data, v.len, &got) == 0) {
				leads(from, got);
				ring_unref(got);
			}
			v.data[i] ^= (uint8_t)(1u << bit);
		}
	}
	buf_set_u32(&v, v.len - 4, crc32c(v.data, v.len - 4));
	assert_int_equal(ring_patch(from, v.data, v.len, &got), 0);
	ring_unref(got);
	ring_unref(from);
	buf_fini(&v);
}

/* A shard that is not listed must not name a node that is gone, and what is gone must have been
 * there. */
static void test_ring_patch_checks_what_is_gone(void **state)
{
	struct ring_map *from = vector_from(), *to, *got;
	struct buf b = {0}, forged = {0};
	size_t at = 15 + 16 + 8 + 1 + 1 + 2 + 4; /* the count of nodes gone */

	(void)state;
	from->keeper = 1;
	to = ring_draft(from);
	ring_diff(from, to, &b);
	buf_bytes(&forged, b.data, at);
	buf_u32(&forged, 1);
	buf_bytes(&forged, from->nodes[0].id.b, ORBIT_ID_LEN);
	buf_bytes(&forged, b.data + at + 4, b.len - at - 8);
	buf_u32(&forged, crc32c(forged.data, forged.len));
	assert_int_equal(ring_patch(from, forged.data, forged.len, &got), -EBADMSG);
	/* as long as no shard has it, it may go */
	for (unsigned s = 0; s < ring_nshards(from); s++) {
		struct ring_shard *sh = &from->shards[s];

		*sh = (struct ring_shard){.term = 1, .primary = 1, .nmembers = 1, .member = {1}};
	}
	assert_int_equal(ring_patch(from, forged.data, forged.len, &got), 0);
	assert_int_equal(got->shards[0].primary, 0);
	ring_unref(got);
	forged.data[at + 4 + 31] ^= 1; /* never was there */
	buf_set_u32(&forged, forged.len - 4, crc32c(forged.data, forged.len - 4));
	assert_int_equal(ring_patch(from, forged.data, forged.len, &got), -EBADMSG);
	ring_unref(from);
	ring_unref(to);
	buf_fini(&b);
	buf_fini(&forged);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_diff_follows_nodes_that_come_and_go),
		cmocka_unit_test(test_ring_diff_follows_a_node_to_its_new_id),
		cmocka_unit_test(test_ring_diff_of_one_shard_is_short),
		cmocka_unit_test(test_ring_diff_longer_than_the_map_carries_it),
		cmocka_unit_test(test_ring_diff_fenced_sessions),
		cmocka_unit_test(test_ring_diff_random_changes),
		cmocka_unit_test(test_ring_patch_refuses_another_start),
		cmocka_unit_test(test_ring_diff_is_the_specified_one),
		cmocka_unit_test(test_ring_patch_refuses_any_damage),
		cmocka_unit_test(test_ring_patch_checks_what_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
