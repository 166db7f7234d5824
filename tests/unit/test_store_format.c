/* What is on disk is what docs/STORE.md says: its vectors are read from there. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "tests/unit/store_rig.h"

/* The bytes of the block "```vector NAME". */
static void vector(const char *name, struct buf *out)
{
	FILE *f = fopen("docs/STORE.md", "r");
	char line[512], want[64];
	bool in = false;

	assert_non_null(f);
	snprintf(want, sizeof(want), "```vector %s\n", name);
	while (fgets(line, sizeof(line), f)) {
		unsigned v;
		int n;

		if (in && !strncmp(line, "```", 3))
			break;
		for (const char *p = line; in && sscanf(p, "%2x%n", &v, &n) == 1; p += n)
			buf_u8(out, (uint8_t)v);
		if (!strcmp(line, want))
			in = true;
	}
	fclose(f);
	assert_true(out->len > 0);
}

static void expect(const char *name, const void *data, size_t len)
{
	struct buf want = {0};

	vector(name, &want);
	assert_int_equal(len, want.len);
	assert_memory_equal(data, want.data, len);
	buf_fini(&want);
}

static void expect_file(struct rig *r, const char *file, const char *name)
{
	struct buf b = {0};

	assert_int_equal(r->disk->ops->load(r->disk, file, &b, 1 << 20), 0);
	expect(name, b.data, b.len);
	buf_fini(&b);
}

static void test_store_bytes_are_as_documented(void **state)
{
	const void *key, *val;
	struct store_iter *it;
	struct orbit_id id = {{0xaa}};
	size_t klen, vlen;
	struct buf b = {0};
	struct effect e;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	id.b[31] = 1;
	effect_init(&e);
	effect_section(&e, 5, 2, 1);
	effect_put(&e, "H\0\5k", 4, "value", 5);
	effect_del(&e, "H\0\5d", 4);
	effect_write(&e, &id, 4090, "0123456789", 10);
	effect_punch(&e, &id, 4094, 4096);
	effect_drop(&e, &rig_node);
	assert_int_equal(rig_apply(&r, &e), 0);
	effect_fini(&e);
	expect_file(&r, "log-0000000000000000", "RECORD");
	it = store_iter_new(r.st, "E", 1, "F", 1);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 1);
	expect("EXTENT-KEY", key, klen);
	expect("EXTENT", val, vlen);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 1);
	assert_int_equal(store_iter_next(it, &key, &klen, &val, &vlen), 0);
	store_iter_free(it);
	assert_int_equal(rig_close(&r), 0);
	expect_file(&r, "META", "META");
	assert_int_equal(index_get(r.ix, "T\0\5", 3, &b, false), 0);
	expect("TERM", b.data, b.len);
	buf_fini(&b);
	rig_fini(&r);
}

/* A store of another version is refused, one of another shape called damaged. */
static void test_store_meta_of_other_versions(void **state)
{
	struct buf b = {0};
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(r.disk->ops->load(r.disk, "META", &b, 4096), 0);
	b.data[8] = 3;
	assert_int_equal(r.disk->ops->save(r.disk, "META", b.data, b.len), 0);
	assert_int_equal(rig_open(&r), -EPROTONOSUPPORT);
	assert_non_null(strstr(r.why, "newer"));
	b.data[8] = 2;
	b.data[40] ^= 1;
	assert_int_equal(r.disk->ops->save(r.disk, "META", b.data, b.len), 0);
	assert_int_equal(rig_open(&r), -EUCLEAN);
	b.data[40] ^= 1;
	assert_int_equal(r.disk->ops->save(r.disk, "META", b.data, b.len), 0);
	assert_int_equal(rig_open(&r), 0);
	buf_fini(&b);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_bytes_are_as_documented),
		cmocka_unit_test(test_store_meta_of_other_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
