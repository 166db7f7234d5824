/* What the store does when the disk fails, lies, fills up, or gives back other bytes. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "tests/unit/store_rig.h"

static const struct orbit_id obj = {{3}};
static uint8_t data[200 << 10], got[200 << 10];

static void fill(unsigned seed)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)((i + seed * 77) * 2654435761u >> 11);
}

struct found {
	char name[16][64];
	unsigned n;
};

static void note_name(void *arg, const char *name)
{
	struct found *f = arg;

	if (!strncmp(name, "log-", 4) && f->n < 16)
		snprintf(f->name[f->n++], 64, "%s", name);
}

static struct found segments(struct rig *r)
{
	struct found f = {.n = 0};

	r->disk->ops->list(r->disk, note_name, &f);
	return f;
}

static void drop(struct rig *r, const struct orbit_id *id, int expect)
{
	struct effect e;

	effect_init(&e);
	rig_section(r, &e);
	effect_drop(&e, id);
	assert_int_equal(rig_apply_as(r, &e, STORE_RESERVE), expect);
	effect_fini(&e);
}

static void test_store_failed_write_is_final(void **state)
{
	struct store_usage u;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	disk_mem_faults(r.disk)->write_fails = true;
	assert_int_equal(rig_put(&r, "b", "2"), -EIO);
	disk_mem_faults(r.disk)->write_fails = false;
	assert_int_equal(rig_put(&r, "c", "3"), -EROFS);
	assert_int_equal(rig_sync(&r), -EIO);
	store_usage(r.st, &u);
	assert_int_equal(rig_close(&r), -EIO);
	/* the index, which knew of "b", is as the log is */
	index_mem_crash(r.ix, 1);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	assert_int_equal(rig_has(&r, "a", "1"), 1);
	assert_int_equal(rig_has(&r, "b", "2"), -ENOENT);
	rig_fini(&r);
}

static void test_store_failed_sync_is_final(void **state)
{
	struct rig_done d = {.s.done = rig_synced}, e = {.s.done = rig_synced};
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	disk_mem_faults(r.disk)->sync_fails = true;
	store_sync(r.st, &d.s);
	store_sync(r.st, &e.s);
	rig_until(&r, &d);
	rig_until(&r, &e);
	assert_int_equal(d.rc, -EIO);
	assert_int_equal(e.rc, -EIO);
	disk_mem_faults(r.disk)->sync_fails = false;
	/* a second fdatasync that succeeds proves nothing */
	assert_int_equal(rig_sync(&r), -EIO);
	assert_int_equal(rig_put(&r, "b", "2"), -EROFS);
	/* reads go on */
	assert_int_equal(rig_has(&r, "a", "1"), 1);
	test_env_idle(&r.env);
	/* the kernel is the same, but it may have dropped what it could not write */
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_false(store_info(r.st)->whole);
	rig_fini(&r);
}

/* What is being written when the store breaks is done before what was queued behind it. */
static void test_store_failed_sync_keeps_the_order(void **state)
{
	static uint8_t big[1 << 20];
	struct rig_done d[2] = {{.a.done = rig_applied}, {.a.done = rig_applied}};
	struct rig_done s = {.s.done = rig_synced};
	struct effect e[2];
	struct rig r;

	(void)state;
	rig_init(&r, 2);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	disk_mem_faults(r.disk)->sync_fails = true;
	store_sync(r.st, &s.s);
	for (unsigned i = 0; i < 2; i++) {
		effect_init(&e[i]);
		rig_section(&r, &e[i]);
		effect_write(&e[i], &obj, 0, big, i ? 10 : sizeof(big));
		d[i].a.effect = &e[i];
		assert_int_equal(store_apply(r.st, &d[i].a, STORE_NORMAL), 0);
	}
	rig_until(&r, &s);
	assert_int_equal(s.rc, -EIO);
	rig_until(&r, &d[1]);
	assert_true(d[0].done);
	assert_int_equal(d[1].rc, -EROFS);
	effect_fini(&e[0]);
	effect_fini(&e[1]);
	rig_fini(&r);
}

static void test_store_failed_flush_is_final(void **state)
{
	struct rig r;
	int rc = 0;

	(void)state;
	rig_init(&r, 3);
	index_mem_faults(r.ix)->flush_fails = true;
	for (int i = 0; i < 5000 && !rc; i++)
		rc = rig_put(&r, "key", "some value that fills the index's memory");
	assert_int_equal(rc, -EROFS);
	index_mem_faults(r.ix)->flush_fails = false;
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_int_equal(rig_has(&r, "key", "some value that fills the index's memory"), 1);
	rig_fini(&r);
}

/* Every byte of the data in turn has a bit flipped: an error or what was written, never more. */
static void test_store_flipped_bits_are_never_served(void **state)
{
	struct store_usage u;
	unsigned caught = 0;
	struct found f;
	struct rig r;
	int64_t size;

	(void)state;
	rig_init(&r, 4);
	fill(1);
	assert_int_equal(rig_write(&r, &obj, 1000, data, 9000), 0);
	assert_int_equal(rig_write(&r, &obj, 5000, data + 20000, 10), 0);
	memcpy(data + 4000, data + 20000, 10);
	f = segments(&r);
	assert_int_equal(f.n, 1);
	size = disk_mem_size(r.disk, f.name[0]);
	for (int64_t at = 0; at < size; at += 13) {
		int rc;

		assert_int_equal(
			disk_mem_flip(r.disk, f.name[0], (uint64_t)at, (uint8_t)(1 << at % 8)), 0);
		memset(got, 0xcc, 9000);
		rc = rig_read(&r, 1, &obj, 1000, 9000, got);
		if (rc) {
			assert_int_equal(rc, -EIO);
			caught++;
		} else {
			assert_memory_equal(got, data, 9000);
		}
		disk_mem_flip(r.disk, f.name[0], (uint64_t)at, (uint8_t)(1 << at % 8));
	}
	assert_true(caught > 9000 / 13 - 5);
	store_usage(r.st, &u);
	assert_int_equal(u.damaged, caught);
	/* through a worker as well */
	disk_mem_flip(r.disk, f.name[0], (uint64_t)size / 2, 1);
	disk_mem_faults(r.disk)->miss = 1000;
	assert_int_equal(rig_read(&r, 1, &obj, 1000, 9000, got), -EIO);
	disk_mem_flip(r.disk, f.name[0], (uint64_t)size / 2, 1);
	assert_int_equal(rig_read(&r, 1, &obj, 1000, 9000, got), 0);
	assert_memory_equal(got, data, 9000);
	/* what cannot be read is an error, too */
	disk_mem_faults(r.disk)->read_fails = true;
	assert_int_equal(rig_read(&r, 1, &obj, 1000, 9000, got), -EIO);
	rig_fini(&r);
}

/* Flips that hit what a damaged extent's segment holds besides do not spread. */
static void test_store_damage_of_one_extent_leaves_the_rest(void **state)
{
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 5);
	fill(2);
	assert_int_equal(rig_write(&r, &obj, 0, data, 16384), 0);
	f = segments(&r);
	/* the last chunk */
	disk_mem_flip(r.disk, f.name[0], (uint64_t)disk_mem_size(r.disk, f.name[0]) - 100, 1);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 12288, got), 0);
	assert_memory_equal(got, data, 12288);
	assert_int_equal(rig_read(&r, 1, &obj, 12288, 1, got), -EIO);
	rig_fini(&r);
}

/* A header damaged below a later record's mark: the rest stays, and it is told. */
static void test_store_damage_below_the_mark_cuts_nothing(void **state)
{
	struct store_usage u;
	int64_t size[3];
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 6);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	f = segments(&r);
	size[0] = disk_mem_size(r.disk, f.name[0]);
	assert_int_equal(rig_put(&r, "b", "2"), 0);
	size[1] = disk_mem_size(r.disk, f.name[0]);
	assert_int_equal(rig_sync(&r), 0);
	assert_int_equal(rig_put(&r, "c", "3"), 0);
	size[2] = disk_mem_size(r.disk, f.name[0]);
	rig_kill(&r);
	index_mem_crash(r.ix, 1);
	disk_mem_flip(r.disk, f.name[0], (uint64_t)size[0] + 60, 4);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	store_usage(r.st, &u);
	assert_int_equal(u.damaged, 1);
	assert_int_equal(rig_has(&r, "a", "1"), 1);
	assert_int_equal(rig_has(&r, "b", "2"), -ENOENT);
	assert_int_equal(rig_has(&r, "c", "3"), 1);
	assert_true(disk_mem_size(r.disk, f.name[0]) == size[2]);
	/* it goes on from there */
	assert_int_equal(rig_put(&r, "d", "4"), 0);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_int_equal(rig_has(&r, "c", "3"), 1);
	assert_int_equal(rig_has(&r, "d", "4"), 1);
	rig_fini(&r);
}

/* The same above all marks is a torn tail: cut off. */
static void test_store_damage_above_the_mark_is_a_torn_tail(void **state)
{
	int64_t size;
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 7);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	f = segments(&r);
	size = disk_mem_size(r.disk, f.name[0]);
	assert_int_equal(rig_put(&r, "b", "2"), 0);
	assert_int_equal(rig_put(&r, "c", "3"), 0);
	rig_kill(&r);
	index_mem_crash(r.ix, 1);
	disk_mem_flip(r.disk, f.name[0], (uint64_t)size + 60, 4);
	assert_int_equal(rig_open(&r), 0);
	/* the kernel is the same, but a record behind the gap is lost */
	assert_false(store_info(r.st)->whole);
	assert_int_equal(rig_has(&r, "a", "1"), 1);
	assert_int_equal(rig_has(&r, "b", "2"), -ENOENT);
	assert_int_equal(rig_has(&r, "c", "3"), -ENOENT);
	assert_true(disk_mem_size(r.disk, f.name[0]) == size);
	rig_fini(&r);
}

static void test_store_index_ahead_of_the_log_is_made_anew(void **state)
{
	struct found f;
	int64_t size;
	struct rig r;

	(void)state;
	rig_init(&r, 8);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	assert_int_equal(rig_write(&r, &obj, 0, "hello", 5), 0);
	f = segments(&r);
	size = disk_mem_size(r.disk, f.name[0]);
	assert_int_equal(rig_put(&r, "b", "2"), 0);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(disk_mem_cut(r.disk, f.name[0], (uint64_t)size), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	assert_int_equal(rig_has(&r, "a", "1"), 1);
	assert_int_equal(rig_has(&r, "b", "2"), -ENOENT);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 5, got), 0);
	assert_memory_equal(got, "hello", 5);
	rig_fini(&r);
}

/* Fills segments and frees some, so that the log does not go back to the beginning. */
static void grow(struct rig *r)
{
	fill(3);
	for (int i = 0; i < 40; i++)
		assert_int_equal(rig_write(r, &obj, 0, data + i, 9000), 0);
	test_env_advance(&r->env, 30 * ENV_SEC);
	assert_int_equal(rig_put(r, "z", "1"), 0);
}

static void test_store_index_ahead_of_a_shortened_log_cannot_be_opened(void **state)
{
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 9);
	grow(&r);
	assert_int_equal(rig_close(&r), 0);
	f = segments(&r);
	assert_string_not_equal(f.name[0], "log-0000000000000000");
	for (unsigned i = 0; i < f.n; i++)
		assert_int_equal(disk_mem_cut(r.disk, f.name[i], 0), 0);
	assert_int_equal(rig_open(&r), -EUCLEAN);
	assert_non_null(strstr(r.why, "index"));
	r.st = NULL;
	rig_fini(&r);
}

/* A segment in the midst was removed: what was put there is in the index only. */
static void test_store_lost_index_over_a_log_with_holes_cannot_be_opened(void **state)
{
	struct orbit_id stays = {{4}};
	struct rig r;

	(void)state;
	rig_init(&r, 12);
	fill(5);
	assert_int_equal(rig_write(&r, &stays, 0, data, 30000), 0);
	assert_int_equal(rig_put(&r, "k", "1"), 0);
	grow(&r);
	assert_string_equal(segments(&r).name[0], "log-0000000000000000");
	assert_int_equal(rig_close(&r), 0);
	index_free(r.ix);
	r.ix = index_mem_new();
	assert_int_equal(rig_open(&r), -EUCLEAN);
	assert_non_null(strstr(r.why, "complete"));
	r.st = NULL;
	rig_fini(&r);
}

/* Damage is found, then recovery itself is cut off at its n-th change: damage is not forgotten. */
static int recover_in_two(uint64_t n, bool ahead)
{
	char key[16];
	struct rig r;
	int rc;

	rig_init(&r, 13);
	r.cfg.index_buffer = 4 << 10;
	for (int i = 0; i < 150; i++) {
		snprintf(key, sizeof(key), "key %d", i);
		assert_int_equal(rig_put(&r, key, key), 0);
	}
	if (ahead)
		assert_int_equal(rig_close(&r), 0);
	assert_int_equal(ahead ? 0 : rig_sync(&r), 0);
	if (!ahead) {
		assert_int_equal(rig_put(&r, "last", "1"), 0);
		rig_kill(&r);
	}
	index_mem_crash(r.ix, 1);
	if (ahead) /* the index knows more, and the stop was clean: but for the index no trace */
		assert_int_equal(disk_mem_cut(r.disk, segments(&r).name[0], 5000), 0);
	else
		disk_mem_flip(r.disk, segments(&r).name[0], 300, 4);
	disk_mem_faults(r.disk)->die_at = disk_mem_changes(r.disk) + n;
	rc = rig_open(&r);
	if (rc) {
		r.st = NULL;
		assert_int_equal(rig_crash(&r, DISK_PROCESS, 2), 0);
	}
	assert_false(store_info(r.st)->whole);
	rig_fini(&r);
	return rc;
}

static void test_store_damage_is_remembered_when_recovery_is_cut_off(void **state)
{
	uint64_t n = 0, m = 0;

	(void)state;
	while (recover_in_two(++n, false))
		;
	assert_true(n > 4);
	while (recover_in_two(++m, true))
		;
	assert_true(m > 4);
}

/* A sync that fails while the store is closed is not forgotten by the next start. */
static void test_store_failed_close_is_told(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 14);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	disk_mem_faults(r.disk)->sync_fails = true;
	assert_int_equal(rig_close(&r), -EIO);
	disk_mem_faults(r.disk)->sync_fails = false;
	index_mem_crash(r.ix, 1);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	rig_fini(&r);
}

static void test_store_missing_segment_gives_eio(void **state)
{
	struct orbit_id other = {{9}};
	struct store_usage u;
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 10);
	fill(4);
	assert_int_equal(rig_write(&r, &obj, 0, data, 40000), 0);
	assert_int_equal(rig_write(&r, &other, 0, data, 40000), 0);
	assert_int_equal(rig_put(&r, "a", "1"), 0);
	assert_int_equal(rig_close(&r), 0);
	f = segments(&r);
	assert_true(f.n >= 2);
	assert_int_equal(r.disk->ops->remove(r.disk, f.name[0]), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_false(store_info(r.st)->whole);
	store_usage(r.st, &u);
	assert_int_equal(u.damaged, 1);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 10, got), -EIO);
	assert_int_equal(rig_read(&r, 1, &other, 0, 40000, got), 0);
	assert_memory_equal(got, data, 40000);
	/* it can be dropped and written anew */
	drop(&r, &obj, 0);
	assert_int_equal(rig_write(&r, &obj, 0, data, 10), 0);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 10, got), 0);
	rig_fini(&r);
}

static void test_store_full_disk_refuses_early_and_recovers(void **state)
{
	struct orbit_id id = {{5}};
	struct store_usage u;
	unsigned n = 0;
	struct rig r;
	int rc;

	(void)state;
	rig_init(&r, 11);
	disk_mem_faults(r.disk)->capacity = 1 << 20;
	rig_kill(&r);
	assert_int_equal(rig_open(&r), 0);
	fill(5);
	do {
		id.b[31] = (uint8_t)n;
		rc = rig_write(&r, &id, 0, data, 10000);
		n++;
	} while (!rc && n < 200);
	assert_int_equal(rc, -ENOSPC);
	assert_in_range(n, 50, 105);
	store_usage(r.st, &u);
	assert_true(u.available < 10100);
	/* reads go on, and deletes, which may use the reserve */
	id.b[31] = 0;
	assert_int_equal(rig_read(&r, 1, &id, 0, 10000, got), 0);
	assert_memory_equal(got, data, 10000);
	for (unsigned i = 0; i < n - 1; i += 2) {
		id.b[31] = (uint8_t)i;
		drop(&r, &id, 0);
	}
	/* compaction finds room in the reserve for what is live */
	test_env_advance(&r.env, 60 * ENV_SEC);
	for (unsigned i = 0; i < 20; i++) {
		id.b[31] = (uint8_t)(200 + i);
		rc = rig_write(&r, &id, 0, data, 10000);
		if (rc == -ENOSPC) {
			/* being short starts it again */
			test_env_advance(&r.env, 20 * ENV_SEC);
			rc = rig_write(&r, &id, 0, data, 10000);
		}
		assert_int_equal(rc, 0);
	}
	for (unsigned i = 1; i < n - 1; i += 2) {
		id.b[31] = (uint8_t)i;
		assert_int_equal(rig_read(&r, 1, &id, 0, 10000, got), 0);
		assert_memory_equal(got, data, 10000);
	}
	rig_fini(&r);
}

static void test_store_compaction_keeps_a_damaged_segment(void **state)
{
	struct store_usage u;
	struct found f;
	struct rig r;

	(void)state;
	rig_init(&r, 12);
	fill(6);
	assert_int_equal(rig_write(&r, &obj, 0, data, 4096), 0);
	f = segments(&r);
	for (int i = 0; i < 6; i++)
		assert_int_equal(rig_write(&r, &obj, 8192, data, 9000), 0);
	disk_mem_flip(r.disk, f.name[0], 1000, 0x40);
	test_env_advance(&r.env, 30 * ENV_SEC);
	/* it was found, and the bytes were neither copied nor thrown away */
	store_usage(r.st, &u);
	assert_true(u.damaged > 0);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 4096, got), -EIO);
	disk_mem_flip(r.disk, f.name[0], 1000, 0x40);
	assert_int_equal(rig_read(&r, 1, &obj, 0, 4096, got), 0);
	assert_memory_equal(got, data, 4096);
	rig_fini(&r);
}

static void test_store_freed_with_everything_under_way(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 60; seed++) {
		struct rig_done d[4] = {0}, s = {.s.done = rig_synced};
		struct rig_done rd = {.r.done = rig_was_read}, w = {.w.ready = rig_ready};
		struct effect e[4];
		struct rig r;

		rig_init(&r, seed);
		fill(7);
		rig_write(&r, &obj, 0, data, 50000);
		disk_mem_faults(r.disk)->miss = 1000;
		for (int i = 0; i < 4; i++) {
			effect_init(&e[i]);
			rig_section(&r, &e[i]);
			effect_write(&e[i], &obj, 40000, data, 1000);
			for (int k = 0; k < 3 && i != 2; k++)
				effect_write(&e[i], &obj, 100000, data, 200000);
			d[i].a = (struct store_apply){.done = rig_applied, .effect = &e[i]};
			assert_int_equal(store_apply(r.st, &d[i].a, STORE_NORMAL), 0);
		}
		store_sync(r.st, &s.s);
		(void)store_read(r.st, &rd.r, 1, &obj, 0, 1000, got);
		store_wait(r.st, &w.w);
		for (uint64_t i = 0; i < seed % 20; i++)
			test_env_step(&r.env);
		store_free(r.st);
		r.st = NULL;
		s.done = rd.done = w.done = false;
		for (int i = 0; i < 4; i++) {
			d[i].done = false;
			effect_fini(&e[i]);
		}
		test_env_idle(&r.env);
		/* nobody is called back any more */
		assert_false(s.done || rd.done || w.done);
		for (int i = 0; i < 4; i++)
			assert_false(d[i].done);
		rig_fini(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_failed_write_is_final),
		cmocka_unit_test(test_store_failed_sync_is_final),
		cmocka_unit_test(test_store_failed_sync_keeps_the_order),
		cmocka_unit_test(test_store_failed_flush_is_final),
		cmocka_unit_test(test_store_flipped_bits_are_never_served),
		cmocka_unit_test(test_store_damage_of_one_extent_leaves_the_rest),
		cmocka_unit_test(test_store_damage_below_the_mark_cuts_nothing),
		cmocka_unit_test(test_store_damage_above_the_mark_is_a_torn_tail),
		cmocka_unit_test(test_store_index_ahead_of_the_log_is_made_anew),
		cmocka_unit_test(test_store_index_ahead_of_a_shortened_log_cannot_be_opened),
		cmocka_unit_test(test_store_lost_index_over_a_log_with_holes_cannot_be_opened),
		cmocka_unit_test(test_store_damage_is_remembered_when_recovery_is_cut_off),
		cmocka_unit_test(test_store_failed_close_is_told),
		cmocka_unit_test(test_store_missing_segment_gives_eio),
		cmocka_unit_test(test_store_full_disk_refuses_early_and_recovers),
		cmocka_unit_test(test_store_compaction_keeps_a_damaged_segment),
		cmocka_unit_test(test_store_freed_with_everything_under_way),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
