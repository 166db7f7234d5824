/* File data: reads, writes, truncation, holes; on one node and on three. */
#include <linux/falloc.h>
#include <unistd.h>

#include "tests/unit/test_data_env.h"

static unsigned nodes;

static struct fs_file *make(struct fsx *x, const char *name, struct fs_attr *a)
{
	struct fs_file *f;

	assert_int_equal(fsx_create(x, x->m, ROOT, name, 0644, O_RDWR, &f, a), 0);
	return f;
}

static void test_data_small_file_is_two_transactions(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 2);
	struct fs_attr a, b;
	struct fs_file *f, *g;
	uint64_t sent;

	(void)state;
	f = make(x, "first", &a); /* whatever has to be learned once */
	assert_int_equal(dx_close(x, x->m, f), 0);
	sent = fsx_sent(x->m);
	f = make(x, "f", &a);
	assert_int_equal(dx_write(x, x->m, f, 0, "hello", 5), 5);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_sent(x->m) - sent, 2);
	/* another mount reads it */
	assert_int_equal(fsx_lookup(x, &x->m[1], ROOT, "f", &b), 0);
	assert_int_equal(b.size, 5);
	assert_true(b.mtime >= a.mtime);
	assert_int_equal(dx_open(x, &x->m[1], b.ino, O_RDONLY, &g), 0);
	dx_expect(x, &x->m[1], g, 0, "hello", 5);
	fs_release(x->m[1].fs, g);
	fsx_free(x);
}

static void test_data_dirty_bytes_are_read_and_counted(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 1);
	uint8_t *p = dx_bytes(0, 300 * KB, 1), *q = dx_bytes(0, 4 * KB, 2);
	struct fs_attr a, now;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 300 * KB), 300 * KB);
	assert_int_equal(dx_write(x, x->m, f, 62 * KB, q, 4 * KB), 4 * KB);
	memcpy(p + 62 * KB, q, 4 * KB);
	dx_expect(x, x->m, f, 0, p, 300 * KB);
	dx_expect(x, x->m, f, 61 * KB + 7, p + 61 * KB + 7, 9 * KB);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &now), 0);
	assert_int_equal(now.size, 300 * KB);
	assert_true(data_dirty(x->m->fs->data, a.ino));
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_false(data_dirty(x->m->fs->data, a.ino));
	dx_expect(x, x->m, f, 0, p, 300 * KB);
	/* partly dirty over what is stored */
	memset(p + 100 * KB, 'x', 1000);
	assert_int_equal(dx_write(x, x->m, f, 100 * KB, p + 100 * KB, 1000), 1000);
	dx_expect(x, x->m, f, 90 * KB, p + 90 * KB, 50 * KB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	free(q);
	fsx_free(x);
}

static void test_data_large_file_streams_and_is_read_ahead(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);
	size_t len = 9 * MB + 12345;
	uint8_t *p = dx_bytes(0, len, 3);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a), *g;
	uint64_t sent;

	(void)state;
	for (size_t off = 0; off < len; off += 128 * KB) {
		size_t n = len - off < 128 * KB ? len - off : 128 * KB;

		assert_int_equal(dx_write(x, x->m, f, off, p + off, n), n);
	}
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, len);
	assert_int_equal(b.bytes, len);
	assert_int_equal(b.block_bytes, len - 64 * KB);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &g), 0);
	sent = fsx_sent(&x->m[1]);
	for (size_t off = 0; off < len; off += 128 * KB) {
		size_t n = len - off < 128 * KB ? len - off : 128 * KB;

		dx_expect(x, &x->m[1], g, off, p + off, n);
	}
	/* fewer questions than reads: read ahead in pieces of 512 KiB */
	assert_in_range(fsx_sent(&x->m[1]) - sent, 10, 30);
	assert_int_equal(dx_close(x, &x->m[1], g), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

/* What was read ahead must not be older than what was written since. */
static void test_data_read_ahead_sees_writes(void **state)
{
	struct fsx *x = fsx_new(30, nodes, 1);
	uint8_t *p = dx_bytes(0, 6 * MB, 30);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a), *g;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 6 * MB), 6 * MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &f), 0);
	for (unsigned run = 0; run < 2; run++) {
		/* the second time it is dirty before it is read ahead */
		uint64_t at = run ? 4 * MB + 300 * KB : MB + 300 * KB;

		assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
		if (run == 0) {
			for (uint64_t off = 0; off < MB; off += 128 * KB)
				dx_expect(x, x->m, g, off, p + off, 128 * KB);
		}
		memset(p + at, 'w', 5000);
		assert_int_equal(dx_write(x, x->m, g, at, p + at, 5000), 5000);
		if (run == 1) {
			for (uint64_t off = 0; off < 4 * MB; off += 128 * KB)
				dx_expect(x, x->m, g, off, p + off, 128 * KB);
		}
		assert_int_equal(dx_flush(x, x->m, f), 0);
		for (uint64_t off = run ? 4 * MB : MB; off < 5 * MB; off += 128 * KB)
			dx_expect(x, x->m, g, off, p + off, 128 * KB);
		assert_int_equal(dx_close(x, x->m, g), 0);
	}
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_random_small_writes_coalesce(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 1);
	uint8_t *p = dx_bytes(0, 4 * MB, 4), page[4096];
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	uint64_t sent;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 4 * MB), 4 * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	sent = fsx_sent(x->m);
	for (unsigned i = 0; i < 400; i++) {
		uint64_t off = sim_below(x->c->s, 1024) * 4096;

		dx_pattern(page, off, sizeof(page), i);
		memcpy(p + off, page, sizeof(page));
		assert_int_equal(dx_write(x, x->m, f, off, page, sizeof(page)), 4096);
	}
	dx_expect(x, x->m, f, 0, p, 4 * MB);
	sent += 6; /* for reading */
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_in_range(fsx_sent(x->m) - sent, 1, 8);
	dx_expect(x, x->m, f, 0, p, 4 * MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_holes_and_far_offsets(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, TB, "far", 3), 3);
	assert_int_equal(dx_write(x, x->m, f, 10, "near", 4), 4);
	dx_expect_zeros(x, x->m, f, 0, 10);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	dx_expect(x, x->m, f, TB, "far", 3);
	dx_expect_zeros(x, x->m, f, 14, 1000);
	dx_expect_zeros(x, x->m, f, 5 * MB - 1000, 200 * KB);
	dx_expect_zeros(x, x->m, f, TB - 100, 100);
	/* the limits */
	assert_int_equal(dx_write(x, x->m, f, LAYOUT_SIZE_MAX, "x", 1), -EFBIG);
	assert_int_equal(dx_truncate(x, x->m, a.ino, (uint64_t)INT64_MAX + 1), -EFBIG);
	/* seeking: hole up to 10? no: the inline stream has a hole of its own */
	assert_int_equal(dx_lseek(x, x->m, f, 0, SEEK_DATA), 10);
	assert_int_equal(dx_lseek(x, x->m, f, 11, SEEK_DATA), 11);
	assert_int_equal(dx_lseek(x, x->m, f, 11, SEEK_HOLE), 14);
	assert_int_equal(dx_lseek(x, x->m, f, 14, SEEK_HOLE), 14);
	assert_int_equal(dx_lseek(x, x->m, f, TB, SEEK_HOLE), TB + 3);
	assert_int_equal(dx_lseek(x, x->m, f, TB - 5 * MB, SEEK_DATA), TB);
	assert_int_equal(dx_lseek(x, x->m, f, TB + 3, SEEK_DATA), -ENXIO);
	assert_int_equal(dx_lseek(x, x->m, f, TB + 3, SEEK_HOLE), -ENXIO);
	assert_int_equal(dx_lseek(x, x->m, f, 2 * TB, SEEK_DATA), -ENXIO);
	/* cut again: few questions in spite of a million blocks */
	uint64_t sent = fsx_sent(x->m);

	assert_int_equal(dx_truncate(x, x->m, a.ino, 100), 0);
	assert_in_range(fsx_sent(x->m) - sent, 1, 40);
	assert_int_equal(dx_close(x, x->m, f), 0);
	fsx_free(x);
}

static void test_data_truncate_leaves_nothing_behind(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 1);
	uint64_t cuts[] = {0, 1000, 64 * KB, 64 * KB + 1, 500 * KB, MB, MB + 5, 2 * MB + 300 * KB};
	uint8_t *p = dx_bytes(0, 3 * MB, 6);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);
	struct txn_object o;

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cuts); i++) {
		uint64_t cut = cuts[i];

		assert_int_equal(dx_write(x, x->m, f, 0, p, 3 * MB), 3 * MB);
		if (i % 2) /* else what is dirty is cut */
			assert_int_equal(dx_flush(x, x->m, f), 0);
		assert_int_equal(dx_truncate(x, x->m, a.ino, cut), 0);
		assert_true(fsx_object(x, x->m, a.ino, &o));
		assert_int_equal(o.slot[SLOT_TRIM], 0);
		assert_int_equal(o.slot[SLOT_BYTES], cut > 64 * KB ? cut - 64 * KB : 0);
		assert_int_equal(o.stream_end, cut < 64 * KB ? cut : 64 * KB);
		for (uint64_t n = 0; n < 3; n++)
			assert_int_equal(
				dx_block(x, x->m, a.ino, n, NULL), cut > n * MB && cut > 64 * KB);
		/* grown again it has zeros */
		assert_int_equal(dx_truncate(x, x->m, a.ino, 3 * MB), 0);
		if (cut)
			dx_expect(x, x->m, f, 0, p, cut);
		dx_expect_zeros(x, x->m, f, cut, 3 * MB - cut);
		assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
		assert_int_equal(b.bytes, cut);
	}
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

/* A read during a cut by the same mount sees the bytes before it, or that there are none. */
static void read_during_cut(uint64_t size, uint64_t cut, uint64_t between, bool read_first)
{
	struct fsx *x = fsx_new(6 + between, nodes, 1);
	uint8_t *p = dx_bytes(0, size, 6);
	struct fs_attr a, set = {.size = cut};
	struct fs_file *f = make(x, "f", &a);
	struct fsx_wait r, w;

	assert_int_equal(dx_write(x, x->m, f, 0, p, size), size);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	fsx_call(x->m, &r);
	fsx_call(x->m, &w);
	if (read_first) {
		fs_read(x->m->fs, &r.call, f, 0, size);
		sim_run(x->c->s, between);
	}
	fs_setattr(x->m->fs, &w.call, a.ino, FS_SET_SIZE, &set);
	if (!read_first) {
		sim_run(x->c->s, between);
		fs_read(x->m->fs, &r.call, f, 0, size);
	}
	assert_int_equal(fsx_wait(x, &r), 0);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_true(r.call.len == size || r.call.len == cut);
	assert_memory_equal(r.copy, p, r.call.len);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(r.copy);
	free(w.copy);
	free(p);
	fsx_free(x);
}

static void test_data_read_during_a_cut_shows_no_zeros(void **state)
{
	(void)state;
	for (uint64_t us = 0; us < 1500; us += 50) {
		read_during_cut(5000, 100, us * (ENV_MS / 1000), false);
		read_during_cut(5000, 100, us * (ENV_MS / 1000), true);
		read_during_cut(MB + 70 * KB, 66 * KB, us * (ENV_MS / 1000), us % 100 == 0);
	}
}

/* A block whose only bytes are cut or punched away is not left behind. */
static void test_data_cut_leaves_no_empty_block(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 200 * KB, "x", 1), 1);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_true(dx_block(x, x->m, a.ino, 0, NULL));
	assert_int_equal(dx_truncate(x, x->m, a.ino, 100 * KB), 0);
	assert_false(dx_block(x, x->m, a.ino, 0, NULL));
	assert_int_equal(dx_write(x, x->m, f, MB + 10, "xy", 2), 2);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(
		dx_fallocate(x, x->m, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MB + 10, 1),
		0);
	assert_true(dx_block(x, x->m, a.ino, 1, NULL));
	assert_int_equal(
		dx_fallocate(x, x->m, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MB + 11, 1),
		0);
	assert_false(dx_block(x, x->m, a.ino, 1, NULL));
	/* and may be written anew */
	assert_int_equal(dx_write(x, x->m, f, 200 * KB, "z", 1), 1);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	dx_expect(x, x->m, f, 200 * KB, (const uint8_t *)"z", 1);
	assert_int_equal(dx_close(x, x->m, f), 0);
	fsx_free(x);
}

static void finish_trim(uint64_t later)
{
	struct fsx *x = fsx_new(7, nodes, 2);
	uint8_t *p = dx_bytes(0, 3 * MB, 7);
	struct orbit_id id;
	struct txn_build t;
	struct txn_object o;
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a), *g;

	assert_int_equal(dx_write(x, x->m, f, 0, p, 3 * MB), 3 * MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	/* a client that cut to 1.5 MiB and died; block 2 may have a writer of a later one */
	id = layout_block_id(a.ino, 2);
	txn_init(&t);
	txn_set(&t, &id, BLOCK_SLOT_CUT, later);
	assert_int_equal(fsx_submit(x, x->m, &t), 0);
	id = layout_inode_id(a.ino);
	txn_init(&t);
	txn_set(&t, &id, SLOT_SIZE, MB + MB / 2);
	txn_add(&t, &id, SLOT_CUT, 1);
	txn_set(&t, &id, SLOT_TRIM, MB + MB / 2 + 1);
	txn_set(&t, &id, SLOT_TRIM_TO, 3 * MB);
	assert_int_equal(fsx_submit(x, x->m, &t), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDWR, &g), 0);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_TRIM], 0);
	assert_int_equal(o.slot[SLOT_TRIM_TO], 0);
	assert_int_equal(o.slot[SLOT_BYTES], MB + MB / 2 - 64 * KB + (later ? MB : 0));
	assert_true(dx_block(x, x->m, a.ino, 1, &o));
	assert_int_equal(o.stream_end, MB / 2);
	assert_int_equal(o.slot[BLOCK_SLOT_CUT], 1);
	assert_int_equal(dx_block(x, x->m, a.ino, 2, NULL), later > 0);
	dx_expect(x, &x->m[1], g, 0, p, MB + MB / 2);
	assert_int_equal(dx_close(x, &x->m[1], g), 0);
	free(p);
	fsx_free(x);
}

static void test_data_whoever_meets_the_trim_mark_finishes(void **state)
{
	(void)state;
	finish_trim(0);
}

/* R: a late trim must not eat new bytes */
static void test_data_trim_spares_blocks_of_a_later_cut(void **state)
{
	(void)state;
	finish_trim(1);
	finish_trim(9);
}

/* R: recall first: what is dirty here comes before another mount's cut, and goes with it. */
static void test_data_foreign_cut_comes_after_what_is_dirty(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 2);
	uint8_t *p = dx_bytes(0, 3 * MB, 8), *q = dx_bytes(0, 4 * MB, 9);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 3 * MB), 3 * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	/* overwrites blocks 1 and 2, which go out early; the size does not */
	assert_int_equal(dx_write(x, x->m, f, MB, q + MB, 2 * MB + 100), 2 * MB + 100);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(data_dirty(x->m->fs->data, a.ino));
	assert_int_equal(dx_truncate(x, &x->m[1], a.ino, 0), 0);
	assert_false(data_dirty(x->m->fs->data, a.ino));
	assert_false(dx_block(x, x->m, a.ino, 1, NULL));
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, 0);
	assert_int_equal(b.cut, 1);
	/* and what comes later is written with the new cut */
	assert_int_equal(dx_write(x, x->m, f, MB, q + MB, MB), MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &f), 0);
	dx_expect_zeros(x, &x->m[1], f, 0, MB);
	dx_expect(x, &x->m[1], f, MB, q + MB, MB);
	fs_release(x->m[1].fs, f);
	free(p);
	free(q);
	fsx_free(x);
}

static void test_data_append_goes_behind_what_others_wrote(void **state)
{
	struct fsx *x = fsx_new(9, nodes, 2);
	struct fs_attr a;
	struct fs_file *f = make(x, "log", &a), *g, *h;
	char got[64];

	(void)state;
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_WRONLY | O_APPEND, &g), 0);
	assert_int_equal(dx_write(x, x->m, g, 0, "one ", 4), 4);
	assert_int_equal(dx_write(x, x->m, g, 0, "two ", 4), 4);
	assert_int_equal(dx_flush(x, x->m, g), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDWR | O_APPEND, &h), 0);
	assert_int_equal(dx_write(x, &x->m[1], h, 0, "three ", 6), 6);
	assert_int_equal(dx_flush(x, &x->m[1], h), 0);
	assert_int_equal(dx_write(x, x->m, g, 0, "four", 4), 4);
	assert_int_equal(dx_read(x, &x->m[1], h, 0, got, sizeof(got)), 18);
	assert_memory_equal(got, "one two three four", 18);
	assert_int_equal(dx_close(x, x->m, g), 0);
	assert_int_equal(dx_close(x, &x->m[1], h), 0);
	fsx_free(x);
}

static void test_data_timer_sends_what_is_dirty(void **state)
{
	struct fsx *x = fsx_new(10, nodes, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct txn_object o;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	sim_run(x->c->s, 4 * ENV_SEC);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], 0);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], 5);
	assert_false(data_dirty(x->m->fs->data, a.ino));
	fs_release(x->m->fs, f);
	fsx_free(x);
}

static void test_data_times_set_by_the_user_stay(void **state)
{
	struct fsx *x = fsx_new(11, nodes, 1);
	struct fs_attr a, set = {.mtime = 12345, .atime = 777}, now;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_MTIME | FS_SET_ATIME, &set, &now), 0);
	assert_int_equal(now.mtime, 12345);
	assert_int_equal(now.size, 5);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &now), 0);
	assert_int_equal(now.mtime, 12345);
	assert_int_equal(now.atime, 777);
	assert_int_equal(now.size, 5);
	fsx_free(x);
}

static void test_data_times_of_a_write_stay_otherwise(void **state)
{
	struct fsx *x = fsx_new(31, nodes, 1);
	struct fs_attr a, set = {.mode = 0600, .atime = 777}, wrote, changed, now;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &wrote), 0);
	assert_true(wrote.mtime > a.mtime);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_ATIME, &set, &now), 0);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_MODE, &set, &changed), 0);
	assert_true(changed.ctime > wrote.ctime);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &now), 0);
	assert_true(now.mtime == wrote.mtime);
	assert_true(now.ctime == changed.ctime);
	assert_int_equal(now.atime, 777);
	fsx_free(x);
}

/* relatime: the first read after a change counts, and goes out with the hold. */
static void test_data_time_of_access(void **state)
{
	struct fsx *x = fsx_new(32, nodes, 2);
	struct fs_attr a, before, now, there;
	struct fs_file *f = make(x, "f", &a);
	char buf[8];

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &before), 0);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDONLY, &f), 0);
	assert_int_equal(dx_read(x, x->m, f, 0, buf, 5), 5);
	fs_release(x->m->fs, f);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &now), 0);
	assert_true(now.atime > before.atime);
	sim_run(x->c->s, 3 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, &x->m[1], a.ino, &there), 0);
	assert_true(there.atime == now.atime);
	/* read again: nobody can tell */
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDONLY, &f), 0);
	assert_int_equal(dx_read(x, x->m, f, 0, buf, 5), 5);
	fs_release(x->m->fs, f);
	sim_run(x->c->s, 3 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &now), 0);
	assert_true(there.atime == now.atime);
	fsx_free(x);
}

static void test_data_punch_and_zero(void **state)
{
	struct fsx *x = fsx_new(12, nodes, 1);
	uint8_t *p = dx_bytes(0, 4 * MB, 12);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 4 * MB), 4 * MB);
	assert_int_equal(dx_fallocate(x, x->m, f, punch, 30 * KB, 2 * MB), 0);
	memset(p + 30 * KB, 0, 2 * MB);
	dx_expect(x, x->m, f, 0, p, 4 * MB);
	assert_false(dx_block(x, x->m, a.ino, 1, NULL));
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, 4 * MB);
	assert_int_equal(b.bytes, 2 * MB);
	assert_int_equal(dx_lseek(x, x->m, f, 0, SEEK_HOLE), 30 * KB);
	assert_int_equal(dx_lseek(x, x->m, f, 30 * KB, SEEK_DATA), 2 * MB + 30 * KB);
	assert_int_equal(dx_lseek(x, x->m, f, 3 * MB, SEEK_HOLE), 4 * MB);
	/* past the end, and with growth */
	assert_int_equal(dx_fallocate(x, x->m, f, punch, 3 * MB, 10 * MB), 0);
	memset(p + 3 * MB, 0, MB);
	dx_expect(x, x->m, f, 0, p, 4 * MB);
	assert_int_equal(
		dx_fallocate(x, x->m, f, FALLOC_FL_ZERO_RANGE, 2 * MB + 40 * KB, 3 * MB), 0);
	memset(p + 2 * MB + 40 * KB, 0, 2 * MB - 40 * KB);
	dx_expect(x, x->m, f, 0, p, 4 * MB);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, 5 * MB + 40 * KB);
	assert_int_equal(dx_fallocate(x, x->m, f, 0, 6 * MB, MB), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, 7 * MB);
	assert_int_equal(dx_fallocate(x, x->m, f, FALLOC_FL_KEEP_SIZE, 8 * MB, MB), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, 7 * MB);
	assert_int_equal(dx_fallocate(x, x->m, f, FALLOC_FL_COLLAPSE_RANGE, 0, MB), -EOPNOTSUPP);
	assert_int_equal(dx_fallocate(x, x->m, f, FALLOC_FL_PUNCH_HOLE, 0, MB), -EOPNOTSUPP);
	assert_int_equal(dx_fallocate(x, x->m, f, 0, 0, 0), -EINVAL);
	assert_int_equal(dx_fallocate(x, x->m, f, 0, INT64_MAX, 1), -EFBIG);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_unlinked_file_lives_while_open(void **state)
{
	struct fsx *x = fsx_new(13, nodes, 2);
	uint8_t *p = dx_bytes(0, 2 * MB, 13);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a), *g;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 2 * MB), 2 * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &g), 0);
	/* taken by the other mount, while open here and there */
	assert_int_equal(fsx_unlink(x, &x->m[1], ROOT, "f"), 0);
	sim_run(x->c->s, 3 * ENV_SEC);
	fs_release(x->m[1].fs, g);
	sim_run(x->c->s, 3 * ENV_SEC);
	dx_expect(x, x->m, f, 0, p, 2 * MB);
	assert_int_equal(dx_write(x, x->m, f, MB, "more", 4), 4);
	assert_int_equal(dx_close(x, x->m, f), 0);
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_false(fsx_object(x, x->m, a.ino, NULL));
	assert_false(dx_block(x, x->m, a.ino, 0, NULL));
	assert_false(dx_block(x, x->m, a.ino, 1, NULL));
	free(p);
	fsx_free(x);
}

static void test_data_open_again_takes_no_new_hold(void **state)
{
	struct fsx *x = fsx_new(14, nodes, 2);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct orbit_id id = layout_inode_id(a.ino);
	struct txn_build t;
	uint64_t sent;

	(void)state;
	assert_int_equal(dx_close(x, x->m, f), 0);
	sent = fsx_sent(x->m);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(dx_open(x, x->m, a.ino, O_RDONLY, &f), 0);
		assert_int_equal(dx_close(x, x->m, f), 0);
	}
	/* while nobody changes it, nothing is asked, and the hold stays */
	assert_int_equal(fsx_sent(x->m) - sent, 0);
	sim_run(x->c->s, 5 * ENV_SEC);
	txn_init(&t);
	txn_no_hold(&t, &id);
	assert_int_equal(fsx_submit(x, x->m, &t), -ECANCELED);
	assert_int_equal(fsx_setattr(x, &x->m[1], a.ino, FS_SET_MODE, &a, NULL), 0);
	sim_run(x->c->s, 3 * ENV_SEC);
	txn_init(&t);
	txn_no_hold(&t, &id);
	assert_int_equal(fsx_submit(x, x->m, &t), 0);
	/* of a name that is gone */
	assert_int_equal(fsx_unlink(x, x->m, ROOT, "f"), 0);
	sim_run(x->c->s, 3 * ENV_SEC);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDONLY, &f), -ESTALE);
	fsx_free(x);
}

static void test_data_error_is_reported_once_per_file(void **state)
{
	struct fsx *x = fsx_new(15, nodes, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a), *g;
	struct orbit_id id = layout_inode_id(a.ino);
	struct txn_build t;

	(void)state;
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, "lost", 4), 4);
	txn_init(&t);
	txn_delete(&t, &id); /* as damage would */
	assert_int_equal(fsx_submit(x, x->m, &t), 0);
	log_set_level(LOG_LVL_ERROR);
	sim_run(x->c->s, 6 * ENV_SEC); /* the timer finds out */
	assert_false(data_dirty(x->m->fs->data, a.ino));
	assert_int_equal(dx_fsync(x, x->m, f), -EIO);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_flush(x, x->m, g), -EIO);
	assert_int_equal(dx_flush(x, x->m, g), 0);
	fs_release(x->m->fs, f);
	fs_release(x->m->fs, g);
	fsx_free(x);
}

/* What a node lost with its power is told to each file that may have had a part in it. */
static void test_data_loss_is_reported_to_every_file(void **state)
{
	struct fsx *x = fsx_new(18, 1, 1);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a), *g = make(x, "g", &b), *h;
	struct fsx_wait w;
	struct fs_dir *d;

	(void)state;
	assert_int_equal(fsx_opendir(x, x->m, ROOT, &d), 0);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, "lost", 4), 4);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(dx_write(x, x->m, g, 0, "lost", 4), 4);
	assert_int_equal(dx_flush(x, x->m, g), 0);
	cluster_crash(x->c, 0, DISK_LOSE);
	cluster_start(x->c, 0);
	log_set_level(LOG_LVL_ERROR);
	assert_int_equal(dx_fsync(x, x->m, f), -EIO);
	/* one that is given up tells nothing */
	assert_int_equal(dx_write(x, x->m, g, 4, "kept", 4), 4);
	assert_int_equal(dx_flush(x, x->m, g), 0);
	cluster_crash(x->c, 0, DISK_PROCESS);
	fsx_call(x->m, &w);
	fs_fsync(x->m->fs, &w.call, g, false);
	sim_run(x->c->s, ENV_SEC);
	fs_interrupt(x->m->fs, &w.call, true);
	sim_run(x->c->s, ENV_SEC);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	cluster_start(x->c, 0);
	assert_int_equal(dx_fsync(x, x->m, g), -EIO);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_fsync(x, x->m, g), 0);
	/* to directories as well: it may have been a name */
	assert_int_equal(dx_fsyncdir(x, x->m, d), -EIO);
	assert_int_equal(dx_fsyncdir(x, x->m, d), 0);
	fs_releasedir(x->m->fs, d);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &h), 0);
	assert_int_equal(dx_fsync(x, x->m, h), 0);
	fs_release(x->m->fs, h);
	fs_release(x->m->fs, f);
	fs_release(x->m->fs, g);
	fsx_free(x);
}

/* Appends that had to wait for room, when there is little left of what a file may be. */
static void test_data_appends_end_at_the_largest_size(void **state)
{
	struct fsx *x = fsx_new(62, 1, 0);
	struct fsx_mount *m = fsx_client(x, NULL);
	uint8_t *p = dx_bytes(0, MB, 62);
	struct fs_attr a;
	struct fs_file *f, *g;
	struct fsx_wait w, first, second;

	(void)state;
	m->cfg.write_behind = MB;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	g = make(x, "g", &a);
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR | O_APPEND, &f, &a), 0);
	assert_int_equal(dx_truncate(x, m, a.ino, LAYOUT_SIZE_MAX - 10), 0);
	fsx_call(m, &w);
	fs_write(m->fs, &w.call, g, 0, p, MB);
	assert_int_equal(fsx_wait(x, &w), 0);
	fsx_call(m, &first);
	fs_write(m->fs, &first.call, f, 0, p, 8);
	fsx_call(m, &second);
	fs_write(m->fs, &second.call, f, 0, p + 8, 8);
	assert_false(first.done || second.done);
	assert_int_equal(fsx_wait(x, &first), 0);
	assert_int_equal(fsx_wait(x, &second), 0);
	assert_int_equal(first.call.len, 8);
	assert_int_equal(second.call.len, 2);
	assert_int_equal(dx_write(x, m, f, 0, "x", 1), -EFBIG);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_true(a.size == LAYOUT_SIZE_MAX);
	assert_int_equal(dx_close(x, m, g), 0);
	free(p);
	fsx_free(x);
}

/* Bytes that are written take capabilities away, and none that were given after them. */
static void test_data_capabilities_go_with_bytes(void **state)
{
	struct fsx *x = fsx_new(61, nodes, 1);
	struct fs_attr a, set = {.mtime = 1};
	struct fs_file *f = make(x, "f", &a);
	const char *name = "security.capability";
	char caps[8];
	size_t len;

	(void)state;
	/* whose time of change was set before they were sent */
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, name, "caps", 4, 0), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, "root", 4), 4);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_MTIME, &set, &a), 0);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_true(a.mtime == 1);
	assert_int_equal(fsx_getxattr(x, x->m, a.ino, name, caps, 8, &len), -ENODATA);
	/* written, then given, then sent */
	assert_int_equal(dx_write(x, x->m, f, 0, "user", 4), 4);
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, name, "caps", 4, 0), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getxattr(x, x->m, a.ino, name, caps, 8, &len), 0);
	fsx_free(x);
}

static void test_data_set_id_bits_go_with_a_write(void **state)
{
	struct fsx *x = fsx_new(16, nodes, 1);
	struct fs_attr a, set = {.mode = 06755};
	struct fs_file *f = make(x, "f", &a);
	struct fsx_wait w;
	char caps[8];
	size_t len;

	(void)state;
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, "security.capability", "caps", 4, 0), 0);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_MODE, &set, &a), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, "root", 4), 4);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.mode & 07777, 06755);
	assert_int_equal(
		fsx_getxattr(x, x->m, a.ino, "security.capability", caps, 8, &len), -ENODATA);
	fsx_call(x->m, &w);
	w.call.kill_priv = true;
	fs_write(x->m->fs, &w.call, f, 0, "user", 4);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	fsx_free(x);
}

/* stat sees at once that they went; and those that are set later stay. */
static void test_data_set_id_bits_are_gone_before_the_write_is_sent(void **state)
{
	struct fsx *x = fsx_new(77, nodes, 1);
	struct fs_attr set = {.mode = 04711}, a;
	struct fs_file *f;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 06755, O_RDWR, &f, &a), 0);
	fsx_call(x->m, &w);
	w.call.kill_priv = true;
	fs_write(x->m->fs, &w.call, f, 0, "x", 1);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	assert_int_equal(fsx_setattr(x, x->m, a.ino, FS_SET_MODE, &set, &a), 0);
	assert_int_equal(a.mode & 07777, 04711);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.mode & 07777, 04711);
	fsx_free(x);
}

static void test_data_backpressure_with_little_memory(void **state)
{
	struct fsx *x = fsx_new(17, nodes, 0);
	struct fsx_mount *m = fsx_client(x, NULL);
	uint8_t *p = dx_bytes(0, 6 * MB, 17);
	struct fsx_wait w[12];
	struct fs_attr a;
	struct fs_file *f;

	(void)state;
	m->cfg.write_behind = 2 * MB;
	m->cfg.read_cache = MB;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	f = make(x, "f", &a);
	for (unsigned i = 0; i < 12; i++) { /* all at once */
		fsx_call(m, &w[i]);
		fs_write(m->fs, &w[i].call, f, i * 512 * KB, p + i * 512 * KB, 512 * KB);
	}
	assert_true(w[0].done);
	assert_false(w[11].done);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(fsx_wait(x, &w[i]), 0);
		assert_int_equal(w[i].call.len, 512 * KB);
	}
	dx_expect(x, m, f, 0, p, 6 * MB);
	assert_int_equal(dx_close(x, m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_write_through(void **state)
{
	struct fsx *x = fsx_new(18, nodes, 0);
	struct fsx_mount *m = fsx_client(x, NULL);
	struct txn_object o;
	struct fs_attr a;
	struct fs_file *f, *g;

	(void)state;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	f = make(x, "f", &a);
	assert_int_equal(dx_open(x, m, a.ino, O_RDWR | O_SYNC, &g), 0);
	assert_int_equal(dx_write(x, m, g, 0, "sync", 4), 4);
	assert_true(fsx_object(x, m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], 4);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(dx_close(x, m, g), 0);
	fsx_free(x);
}

static void test_data_unmount_sends_what_is_dirty(void **state)
{
	struct fsx *x = fsx_new(19, nodes, 2);
	uint8_t *p = dx_bytes(0, 2 * MB, 19);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, 2 * MB), 2 * MB);
	assert_int_equal(fsx_unmount(x, x->m), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &f), 0);
	dx_expect(x, &x->m[1], f, 0, p, 2 * MB);
	fs_release(x->m[1].fs, f);
	free(p);
	fsx_free(x);
}

/* Everything at random against a plain array, closed and opened by turns on two mounts. */
static void random_run(uint64_t seed, unsigned steps)
{
	struct fsx *x = fsx_new(seed, nodes, 2);
	size_t max = 3 * MB + 200 * KB, size = 0;
	uint8_t *model = calloc(1, max), *buf = malloc(max);
	struct sim *s = x->c->s;
	struct fsx_mount *m = x->m;
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);

	for (unsigned i = 0; i < steps; i++) {
		uint64_t what = sim_below(s, 100);
		uint64_t off = sim_below(s, sim_chance(s, 300) ? 130 * KB : max);
		size_t len = 1 + sim_below(s, sim_chance(s, 200) ? 2 * MB : 20 * KB);

		if (off + len > max)
			len = max - off;
		if (len == 0)
			continue;
		if (what < 45) {
			dx_pattern(buf, off, len, i);
			assert_int_equal(dx_write(x, m, f, off, buf, len), len);
			memcpy(model + off, buf, len);
			size = off + len > size ? off + len : size;
		} else if (what < 75) {
			size_t want = off >= size ? 0 : size - off < len ? size - off : len;

			assert_int_equal(dx_read(x, m, f, off, buf, len), want);
			if (memcmp(buf, model + off, want))
				fail_msg("seed %llu step %u: differs", (unsigned long long)seed, i);
		} else if (what < 82) {
			assert_int_equal(dx_truncate(x, m, a.ino, off), 0);
			if (off < size)
				memset(model + off, 0, size - off);
			size = off;
		} else if (what < 86) {
			assert_int_equal(
				dx_fallocate(x, m, f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					off, len),
				0);
			memset(model + off, 0, len);
		} else if (what < 90) {
			assert_int_equal(dx_flush(x, m, f), 0);
		} else if (what < 94) {
			sim_run(s, sim_below(s, 7) * ENV_SEC);
		} else {
			assert_int_equal(dx_close(x, m, f), 0);
			m = &x->m[sim_below(s, 2)];
			assert_int_equal(dx_open(x, m, a.ino, O_RDWR, &f), 0);
		}
		assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
		assert_int_equal(a.size, size);
	}
	assert_int_equal(dx_flush(x, m, f), 0);
	if (size)
		dx_expect(x, m, f, 0, model, size);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	{
		struct txn_object o;
		uint64_t bytes = 0;

		for (uint64_t n = 0; n < 4; n++) {
			if (dx_block(x, m, a.ino, n, &o))
				bytes += o.stream_bytes;
		}
		assert_int_equal(a.block_bytes, bytes);
	}
	assert_int_equal(dx_close(x, m, f), 0);
	free(model);
	free(buf);
	fsx_free(x);
}

static void test_data_random_operations(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	if (seed) {
		random_run(strtoull(seed, NULL, 0), 150);
		return;
	}
	for (uint64_t i = 1; i <= 12; i++)
		random_run(i, 150);
}

static int one_node(void **state)
{
	(void)state;
	nodes = 1;
	return 0;
}

static int three_nodes(void **state)
{
	(void)state;
	nodes = 3;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_data_small_file_is_two_transactions),
		cmocka_unit_test(test_data_dirty_bytes_are_read_and_counted),
		cmocka_unit_test(test_data_large_file_streams_and_is_read_ahead),
		cmocka_unit_test(test_data_read_ahead_sees_writes),
		cmocka_unit_test(test_data_random_small_writes_coalesce),
		cmocka_unit_test(test_data_holes_and_far_offsets),
		cmocka_unit_test(test_data_truncate_leaves_nothing_behind),
		cmocka_unit_test(test_data_read_during_a_cut_shows_no_zeros),
		cmocka_unit_test(test_data_cut_leaves_no_empty_block),
		cmocka_unit_test(test_data_whoever_meets_the_trim_mark_finishes),
		cmocka_unit_test(test_data_trim_spares_blocks_of_a_later_cut),
		cmocka_unit_test(test_data_foreign_cut_comes_after_what_is_dirty),
		cmocka_unit_test(test_data_append_goes_behind_what_others_wrote),
		cmocka_unit_test(test_data_timer_sends_what_is_dirty),
		cmocka_unit_test(test_data_times_set_by_the_user_stay),
		cmocka_unit_test(test_data_times_of_a_write_stay_otherwise),
		cmocka_unit_test(test_data_time_of_access),
		cmocka_unit_test(test_data_punch_and_zero),
		cmocka_unit_test(test_data_unlinked_file_lives_while_open),
		cmocka_unit_test(test_data_open_again_takes_no_new_hold),
		cmocka_unit_test(test_data_error_is_reported_once_per_file),
		cmocka_unit_test(test_data_loss_is_reported_to_every_file),
		cmocka_unit_test(test_data_appends_end_at_the_largest_size),
		cmocka_unit_test(test_data_capabilities_go_with_bytes),
		cmocka_unit_test(test_data_set_id_bits_go_with_a_write),
		cmocka_unit_test(test_data_set_id_bits_are_gone_before_the_write_is_sent),
		cmocka_unit_test(test_data_backpressure_with_little_memory),
		cmocka_unit_test(test_data_write_through),
		cmocka_unit_test(test_data_unmount_sends_what_is_dirty),
		cmocka_unit_test(test_data_random_operations),
	};
	int failed = cmocka_run_group_tests_name("data, one node", tests, one_node, NULL);

	return failed + cmocka_run_group_tests_name("data, three nodes", tests, three_nodes, NULL);
}
