/* What a voter has on disk, through power losses at each of its operations. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "dht/base/log.h"
#include "dht/keeper/files.h"

#define SEG 150 /* bytes: a few entries */

static int put(struct files *f, unsigned n, uint64_t term)
{
	uint8_t data[16] = {1, 2, 3};
	const struct raft_entry e = {
		.term = term, .type = RAFT_COMMAND, .buf = {data, sizeof(data)}};
	int rc = 0;

	for (unsigned i = 0; i < n && !rc; i++) {
		struct buf b = {0};

		files_put_entry(&b, &e);
		rc = files_append(f, &b, 1);
		buf_fini(&b);
	}
	return rc;
}

static int snap(struct files *f, uint64_t index, uint64_t term, uint64_t keep)
{
	uint8_t data[8] = {7};
	struct raft_buffer buf = {data, sizeof(data)};
	struct raft_snapshot s = {
		.index = index, .term = term, .configuration_index = 1, .bufs = &buf, .n_bufs = 1};
	struct buf b = {0};
	int rc;

	raft_configuration_init(&s.configuration);
	assert_int_equal(files_add_server(&s.configuration, 1, RAFT_VOTER), 0);
	files_put_snapshot(&b, &s);
	rc = files_save_snapshot(f, index, &b, keep);
	buf_fini(&b);
	raft_configuration_close(&s.configuration);
	return rc;
}

struct loaded {
	uint64_t snap, snap_term, start;
	size_t n;
	uint64_t last_term;
};

static int load(struct files *f, struct disk *d, struct loaded *out)
{
	struct raft_snapshot *s;
	struct raft_entry *e;
	struct files_meta meta;
	int rc = files_load(f, d, &meta, &s, &out->start, &e, &out->n);

	if (rc)
		return rc;
	assert_int_equal(meta.number, 1);
	out->snap = s ? s->index : 0;
	out->snap_term = s ? s->term : 0;
	out->last_term = out->n ? e[out->n - 1].term : 0;
	assert_true(out->start <= out->snap + 1);
	assert_true(out->start + out->n > out->snap);
	assert_int_equal(f->next, out->start + out->n);
	files_free(s, e, out->n);
	f->seg_max = SEG;
	return 0;
}

static struct disk *begin(struct files *f)
{
	const struct files_meta meta = {.number = 1, .term = 1};
	struct disk *d = disk_mem_new();
	struct loaded l;

	memset(f, 0, sizeof(*f));
	f->d = d;
	TAILQ_INIT(&f->segs);
	assert_int_equal(snap(f, 1, 1, 1), 0);
	assert_int_equal(files_save_meta(f, &meta), 0);
	assert_int_equal(load(f, d, &l), 0);
	assert_int_equal(l.start, 2);
	assert_int_equal(put(f, 30, 1), 0);
	return d;
}

/* One power loss in the middle of @work, everywhere; then everything is as before or after it. */
static void lose(int (*work)(struct files *f), void (*look)(const struct loaded *l))
{
	bool died = true;

	for (uint64_t at = 1; died; at++) {
		for (uint64_t seed = 0; seed < 12; seed++) {
			struct loaded l;
			struct files f;
			struct disk *d = begin(&f);
			int rc;

			disk_mem_faults(d)->die_at = disk_mem_changes(d) + at;
			rc = work(&f);
			died = disk_mem_faults(d)->die_at <= disk_mem_changes(d);
			(void)rc;
			files_close(&f);
			disk_mem_crash(d, seed % 3 ? DISK_POWER : DISK_LOSE, seed);
			rc = load(&f, d, &l);
			if (rc)
				fail_msg("at %u, seed %u: %s", (unsigned)at, (unsigned)seed, f.why);
			look(&l);
			/* and goes on from there */
			assert_int_equal(put(&f, 3, 9), 0);
			files_close(&f);
			disk_mem_crash(d, DISK_LOSE, seed);
			assert_int_equal(load(&f, d, &l), 0);
			assert_int_equal(l.last_term, 9);
			files_close(&f);
			disk_free(d);
		}
	}
}

static int work_snapshot(struct files *f)
{
	return snap(f, 28, 1, 25);
}

static void look_snapshot(const struct loaded *l)
{
	assert_true(l->snap == 1 || l->snap == 28);
	assert_int_equal(l->start + l->n, 32);
	assert_true(l->start <= 25);
}

static int work_install(struct files *f)
{
	return snap(f, 100, 5, 0);
}

static void look_install(const struct loaded *l)
{
	assert_true(l->snap == 1 || l->snap == 100);
	assert_int_equal(l->start + l->n, l->snap == 1 ? 32 : 101);
}

static int work_truncate(struct files *f)
{
	int rc = files_truncate(f, 9);

	return rc ? rc : put(f, 2, 2);
}

static void look_truncate(const struct loaded *l)
{
	assert_int_equal(l->snap, 1);
	assert_in_range(l->start + l->n, 9, 32);
	if (l->last_term == 2)
		assert_in_range(l->start + l->n, 10, 11);
}

static void test_files_take_a_snapshot(void **state)
{
	(void)state;
	lose(work_snapshot, look_snapshot);
}

static void test_files_install_a_snapshot(void **state)
{
	(void)state;
	lose(work_install, look_install);
}

static void test_files_cut_the_log(void **state)
{
	(void)state;
	lose(work_truncate, look_truncate);
}

/* What was read back lasts, though its sync had failed, or the process ended before it; and what
 * follows does not vouch for what may still be torn. */
static void test_files_what_is_read_back_lasts(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 120; seed++) {
		struct loaded l, m;
		struct files f;
		struct disk *d = begin(&f);

		f.seg_max = 1 << 20;
		assert_int_equal(put(&f, 5, 2), 0);
		if (seed % 2)
			disk_mem_faults(d)->sync_fails = true;
		else
			disk_mem_faults(d)->die_at = disk_mem_changes(d) + 2;
		assert_int_equal(put(&f, 1, 3), -EIO);
		disk_mem_faults(d)->sync_fails = false;
		files_close(&f);
		disk_mem_crash(d, DISK_PROCESS, seed);
		assert_int_equal(load(&f, d, &l), 0);
		assert_int_equal(l.last_term, 3);
		if (seed % 3) {
			/* the next one is torn, or not, on its own */
			f.seg_max = 1 << 20;
			disk_mem_faults(d)->sync_fails = true;
			assert_int_equal(put(&f, 1, 4), -EIO);
			disk_mem_faults(d)->sync_fails = false;
		}
		files_close(&f);
		disk_mem_crash(d, seed % 3 ? DISK_POWER : DISK_LOSE, seed);
		if (load(&f, d, &m))
			fail_msg("seed %u: %s", (unsigned)seed, f.why);
		assert_true(m.start + m.n >= l.start + l.n);
		files_close(&f);
		disk_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_take_a_snapshot),
		cmocka_unit_test(test_files_install_a_snapshot),
		cmocka_unit_test(test_files_cut_the_log),
		cmocka_unit_test(test_files_what_is_read_back_lasts),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
