#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/eval_rig.h"

/* ---- streams, against a model of every byte ---- */

#define MODEL_LEN 3000
struct model {
	uint8_t byte[MODEL_LEN];
	bool data[MODEL_LEN];
	unsigned end;
};

static unsigned model_bytes(const struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_LEN; i++)
		n += m->data[i];
	return n;
}

static int model_write(struct model *m, unsigned from, unsigned len, uint8_t fill)
{
	unsigned before = model_bytes(m);

	memset(m->byte + from, fill, len);
	memset(m->data + from, true, len);
	m->end = m->end > from + len ? m->end : from + len;
	return (int)(model_bytes(m) - before);
}

static int model_punch(struct model *m, unsigned from, unsigned to, bool cut)
{
	unsigned before = model_bytes(m);

	if (cut) {
		to = MODEL_LEN;
		m->end = m->end < from ? m->end : from;
	}
	memset(m->byte + from, 0, to - from);
	memset(m->data + from, false, to - from);
	return (int)model_bytes(m) - (int)before;
}

static void assert_stream(const struct orbit_id *id, const struct model *m)
{
	struct txn_result r;
	struct txn_object o;
	uint64_t next;
	struct cur c;
	bool data[MODEL_LEN] = {false};

	txn_get(&rig->t, id);
	txn_read(&rig->t, id, 0, MODEL_LEN);
	txn_ranges(&rig->t, id, 0, MODEL_LEN);
	RUN_OK();
	o = object_in(result(0));
	assert_int_equal(o.stream_end, m->end);
	assert_int_equal(o.stream_bytes, model_bytes(m));
	r = result(1);
	assert_int_equal(r.len, m->end);
	assert_memory_equal(r.data, m->byte, m->end);
	r = result(2);
	c = cur_of(r.data, r.len);
	next = cur_u64(&c);
	assert_int_equal(next, MODEL_LEN);
	for (uint32_t n = cur_u32(&c); n; n--) {
		uint64_t off = cur_u64(&c), len = cur_u64(&c);

		assert_true(len > 0 && off + len <= m->end);
		memset(data + off, true, len);
	}
	assert_true(cur_done(&c));
	assert_memory_equal(data, m->data, sizeof(data));
}

static void streams_match_a_model(unsigned rounds)
{
	struct orbit_id id[2] = {id_of(1, 'a'), id_of(2, 'b')};
	static struct model m[2];
	int want[8];

	memset(m, 0, sizeof(m));
	make(&id[0]);
	make(&id[1]);
	for (unsigned round = 0; round < rounds; round++) {
		unsigned n = 1 + (unsigned)sim_below(rig->sim, 8);

		for (unsigned i = 0; i < n; i++) {
			unsigned k = (unsigned)sim_below(rig->sim, 2);
			unsigned from = (unsigned)sim_below(rig->sim, MODEL_LEN - 700);
			unsigned len = 1 + (unsigned)sim_below(rig->sim, 700);
			uint8_t fill[700];

			memset(fill, 1 + (int)(round % 255), len);
			switch (sim_below(rig->sim, 8)) {
			case 0:
				txn_punch(&rig->t, &id[k], from, UINT64_MAX);
				want[i] = model_punch(&m[k], from, 0, true);
				break;
			case 1:
			case 2:
			case 3:
				txn_punch(&rig->t, &id[k], from, from + len);
				want[i] = model_punch(&m[k], from, from + len, false);
				break;
			default:
				if (sim_chance(rig->sim, 300))
					from = m[k].end < MODEL_LEN - 700 ? m[k].end : 0;
				txn_write(&rig->t, &id[k], from, fill, len);
				want[i] = model_write(&m[k], from, len, fill[0]);
			}
		}
		RUN_OK();
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(gained(i), want[i]);
		assert_stream(&id[0], &m[0]);
		assert_stream(&id[1], &m[1]);
	}
}

static void test_eval_streams_match_a_model(void **state)
{
	(void)state;
	streams_match_a_model(600);
}

static void test_eval_streams_match_a_model_when_memory_misses(void **state)
{
	(void)state;
	index_mem_faults(rig->ix)->miss = 100;
	disk_mem_faults(rig->disk)->miss = 100;
	streams_match_a_model(200);
	assert_true(rig->waits > 20);
}

static void test_eval_cut_then_write(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;
	struct txn_object o;

	(void)state;
	make(&a);
	txn_write(t, &a, 0, "0123456789", 10);
	RUN_OK();
	txn_punch(t, &a, 4, UINT64_MAX);
	txn_write(t, &a, 8, "AB", 2);
	RUN_OK();
	assert_int_equal(gained(0), -6);
	assert_int_equal(gained(1), 2);
	o = look(&a);
	assert_int_equal(o.stream_end, 10);
	assert_int_equal(o.stream_bytes, 6);
	txn_read(t, &a, 0, 100);
	RUN_OK();
	assert_int_equal(result(0).len, 10);
	assert_memory_equal(result(0).data, "0123\0\0\0\0AB", 10);
	/* beyond the end */
	txn_read(t, &a, 10, 5);
	txn_read(t, &a, TXN_STREAM_MAX, 0);
	RUN_OK();
	assert_int_equal(result(0).len, 0);
	assert_int_equal(result(1).len, 0);
	/* a hole at the end leaves the end where it is */
	txn_punch(t, &a, 8, 10);
	RUN_OK();
	assert_int_equal(look(&a).stream_end, 10);
	assert_int_equal(look(&a).stream_bytes, 4);
}

/* ---- maps ---- */

struct entry {
	const char *key;
	size_t klen;
	const void *val;
	size_t vlen;
	bool followed;
	struct txn_object o;
};

/* The entries of the range that is result @index: how many; *more as it says. */
static unsigned entries(unsigned index, struct entry *out, unsigned max, bool *more)
{
	struct txn_result r = result(index);
	struct cur c = cur_of(r.data, r.len);
	unsigned n;

	*more = cur_u8(&c);
	n = cur_u32(&c);
	assert_true(n <= max);
	for (unsigned i = 0; i < n; i++) {
		out[i].key = cur_blob(&c, TXN_KEY_MAX, &out[i].klen);
		out[i].val = cur_blob(&c, TXN_VALUE_MAX, &out[i].vlen);
		out[i].followed = cur_u8(&c);
		if (out[i].followed)
			out[i].o = txn_get_object(&c);
	}
	assert_true(cur_done(&c));
	return n;
}

static void assert_range(const struct orbit_id *id, const char *from, bool inclusive, uint32_t max,
	uint32_t bytes, const char *want, bool want_more)
{
	struct entry e[64];
	bool more;
	unsigned n;

	txn_range(&rig->t, id, from, strlen(from), inclusive, max, bytes, NULL);
	RUN_OK();
	n = entries(0, e, 64, &more);
	assert_int_equal(n, strlen(want));
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(e[i].key[0], want[i]);
	assert_int_equal(more, want_more);
}

static void test_eval_ranges_of_a_map(void **state)
{
	struct orbit_id a = id_of(1, 'a'), b = id_of(1, 'b'), no = id_of(1, 'n');
	struct txn_build *t = &rig->t;
	uint8_t top = 0xff;

	(void)state;
	make(&b);
	txn_put(t, &b, "x", 1, "", 0);
	RUN_OK();
	make(&a);
	for (const char *k = "bdfh"; *k; k++)
		txn_put(t, &a, k, 1, "value", 5);
	txn_put(t, &a, &top, 1, "", 0);
	RUN_OK();
	assert_range(&a, "", false, 100, 1000, "bdfh\xff", false);
	assert_range(&a, "", true, 3, 1000, "bdf", true);
	assert_range(&a, "", false, 5, 1000, "bdfh\xff", false);
	assert_range(&a, "d", false, 2, 1000, "fh", true);
	assert_range(&a, "d", true, 2, 1000, "df", true);
	assert_range(&a, "e", true, 100, 1000, "fh\xff", false);
	assert_range(&a, "\xff", false, 100, 1000, "", false);
	/* an entry takes 4 + 1 + 4 + 5 + 1 bytes */
	assert_range(&a, "", false, 100, 30, "bd", true);
	assert_range(&a, "", false, 100, 29, "b", true);
	assert_range(&a, "", false, 100, 0, "b", true);
	assert_range(&no, "", false, 100, 1000, "", false);
	txn_range(t, &no, "", 0, false, 1, 1, NULL);
	RUN_OK();
	assert_int_equal(result(0).present, 0);
	/* what was deleted is not there */
	txn_del(t, &a, "d", 1);
	txn_del(t, &a, "zz", 2);
	RUN_OK();
	assert_range(&a, "", false, 100, 1000, "bfh\xff", false);
}

static void test_eval_a_range_stops_where_the_room_ends(void **state)
{
	struct orbit_id a = id_of(1, 'a');
	struct txn_build *t = &rig->t;
	struct entry e[64];
	bool more;

	(void)state;
	make(&a);
	for (const char *k = "abcdefgh"; *k; k++)
		txn_put(t, &a, k, 1, "0123456789", 10);
	RUN_OK();
	rig->results_max = 8 + 5 + 3 * 20 + 3;
	txn_range(t, &a, "", 0, false, 100, 100000, NULL);
	RUN_OK();
	assert_int_equal(entries(0, e, 64, &more), 3);
	assert_true(more);
	rig->results_max = 20;
	txn_range(t, &a, "", 0, false, 100, 100000, NULL);
	assert_int_equal(run(), WIRE_TOO_BIG);
	txn_get(t, &a);
	assert_int_equal(run(), WIRE_TOO_BIG);
	txn_get_map(t, &a, "a", 1);
	RUN_OK();
	rig->results_max = 17;
	txn_get_map(t, &a, "a", 1);
	assert_int_equal(run(), WIRE_TOO_BIG);
}

static void put_entry(const struct orbit_id *dir, const char *name, uint8_t shard)
{
	uint8_t val[9] = {shard};

	txn_put(&rig->t, dir, name, strlen(name), val, sizeof(val));
}

static void test_eval_entries_are_followed(void **state)
{
	struct orbit_id dir = id_of(1, 'd'), file = id_of(1, 'f'), far = id_of(2, 'f');
	uint64_t slots[TXN_SLOTS] = {[7] = 77};
	struct txn_build *t = &rig->t;
	struct txn_result r;
	struct entry e[8];
	struct cur c;
	size_t len;
	bool more;

	(void)state;
	make(&dir);
	txn_create(t, &file, 0x80, slots);
	txn_create(t, &far, 0, NULL);
	put_entry(&dir, "far", 2);
	put_entry(&dir, "near", 1);
	put_entry(&dir, "elsewhere", NOT_HERE);
	txn_put(t, &dir, "short", 5, "1234567", 7);
	RUN_OK();
	txn_follow(t, &dir, "near", 4, file.b + 8);
	txn_follow(t, &dir, "far", 3, file.b + 8);
	txn_follow(t, &dir, "elsewhere", 9, file.b + 8);
	txn_follow(t, &dir, "short", 5, file.b + 8);
	txn_follow(t, &dir, "none", 4, file.b + 8);
	txn_follow(t, &dir, "near", 4, dir.b + 7); /* an object that is not there */
	txn_range(t, &dir, "", 0, false, 100, 10000, file.b + 8);
	RUN_OK();
	r = result(0);
	assert_int_equal(r.present, 2);
	c = cur_of(r.data, r.len);
	assert_int_equal(((const uint8_t *)cur_blob(&c, 9, &len))[0], 1);
	assert_int_equal(len, 9);
	assert_int_equal(txn_get_object(&c).slot[7], 77);
	assert_true(cur_done(&c));
	assert_int_equal(result(1).present, 1);
	assert_int_equal(result(1).len, 13);
	assert_int_equal(result(2).present, 1);
	assert_int_equal(result(3).present, 1);
	assert_int_equal(result(4).present, 0);
	assert_int_equal(result(4).len, 0);
	assert_int_equal(result(5).present, 1);
	assert_int_equal(entries(6, e, 8, &more), 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(e[i].followed, e[i].klen == 4);
	assert_int_equal(e[2].o.slot[7], 77);
	assert_false(more);
}

/* ---- what is not in memory ---- */

/* An index that has nothing in memory but what was fetched. */
static const struct index_ops *warm_ops;
static struct index_ops cold_ops;
static struct key fetched[1000];
static unsigned nfetched;

static int cold_get(
	struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached)
{
	for (unsigned i = 0; cached && i < nfetched; i++) {
		if (fetched[i].len == klen && memcmp(fetched[i].b, key, klen) == 0)
			cached = false;
	}
	return cached ? -EAGAIN : warm_ops->get(ix, key, klen, val, false);
}

static int cold_fetch(struct store_index *ix, const void *from, size_t flen, const void *to,
	size_t tlen, void **pin)
{
	assert_true(nfetched < 1000 && flen <= EFFECT_KEY_MAX);
	memcpy(fetched[nfetched].b, from, flen);
	fetched[nfetched++].len = flen;
	return warm_ops->fetch(ix, from, flen, to, tlen, pin);
}

static void cold(void)
{
	warm_ops = rig->ix->ops;
	cold_ops = *warm_ops;
	cold_ops.get = cold_get;
	cold_ops.fetch = cold_fetch;
	rig->ix->ops = &cold_ops;
	nfetched = 0;
	rig->waits = 0;
}

static void test_eval_one_wait_brings_in_all_that_is_named(void **state)
{
	struct orbit_id dir = id_of(1, 'd'), f[100];
	struct txn_build *t = &rig->t;
	struct entry e[100];
	char name[8];
	bool more;

	(void)state;
	make(&dir);
	for (unsigned i = 0; i < 100; i++) {
		uint8_t val[8] = {1, 0, 0, 0, 0, 0, 0, (uint8_t)i};

		f[i] = id_of(1, 'f');
		f[i].b[7] = (uint8_t)i;
		snprintf(name, sizeof(name), "n%02u", i);
		txn_create(t, &f[i], 0, NULL);
		txn_put(t, &dir, name, 3, val, 8);
		RUN_OK();
	}
	cold();
	for (unsigned i = 0; i < 20; i++) {
		txn_exists(t, &f[i]);
		txn_map_absent(t, &f[i], "k", 1);
	}
	txn_set(t, &f[20], 0, 1);
	txn_follow(t, &dir, "n30", 3, f[0].b + 8);
	RUN_OK();
	assert_int_equal(result(41).present, 2);
	/* one for what is named, one for what the entry names */
	assert_int_equal(rig->waits, 2);
	rig->waits = 0;
	txn_range(t, &dir, "n40", 3, true, 40, 100000, f[0].b + 8);
	RUN_OK();
	assert_int_equal(entries(0, e, 100, &more), 40);
	for (unsigned i = 0; i < 40; i++)
		assert_true(e[i].followed);
	/* the directory's header came along with the rest: what remains is all that it names */
	assert_int_equal(rig->waits, 1);
	rig->waits = 0;
	txn_range(t, &dir, "", 0, true, 100, 100000, f[0].b + 8);
	RUN_OK();
	assert_int_equal(entries(0, e, 100, &more), 100);
	assert_true(e[0].followed && e[99].followed);
	assert_true(rig->waits <= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_eval_streams_match_a_model),
		TEST(test_eval_streams_match_a_model_when_memory_misses),
		TEST(test_eval_cut_then_write),
		TEST(test_eval_ranges_of_a_map),
		TEST(test_eval_a_range_stops_where_the_room_ends),
		TEST(test_eval_entries_are_followed),
		TEST(test_eval_one_wait_brings_in_all_that_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
