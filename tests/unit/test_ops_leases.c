/* Files on two mounts, each with a kernel that is told to forget. */
#include "fs/cache/inode.h"
#include "tests/unit/test_data_env.h"

/* The kernel of a mount: it forgets at once, and remembers what. */
struct kernel {
	unsigned pages; /* times that it dropped some */
	uint64_t ino, end;
};

static void kernel_drop(void *arg, struct inode_drop *d)
{
	struct kernel *k = arg;

	if (d->pages) {
		k->pages++;
		k->ino = d->ino;
		k->end = d->end;
	}
	inode_dropped(d);
}

struct pair {
	struct fsx *x;
	struct fsx_mount *m[2];
	struct kernel k[2];
	struct fs_file *f[2]; /* one file, open for reading and writing */
	uint64_t ino;
};

static void pair_new(struct pair *p, uint64_t seed)
{
	struct fs_attr a;

	*p = (struct pair){.x = fsx_new(seed, 1, 2)};
	for (unsigned i = 0; i < 2; i++) {
		p->m[i] = &p->x->m[i];
		fs_kernel(p->m[i]->fs, kernel_drop, &p->k[i]);
	}
	assert_int_equal(fsx_create(p->x, p->m[0], ROOT, "f", 0644, O_RDWR, &p->f[0], &a), 0);
	p->ino = a.ino;
	assert_int_equal(fsx_lookup(p->x, p->m[1], ROOT, "f", &a), 0);
	assert_int_equal(dx_open(p->x, p->m[1], p->ino, O_RDWR, &p->f[1]), 0);
}

static void pair_free(struct pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		if (p->m[i]->fs)
			fs_kernel(p->m[i]->fs, NULL, NULL);
		if (p->f[i])
			assert_int_equal(dx_close(p->x, p->m[i], p->f[i]), 0);
	}
	fsx_free(p->x);
}

/* What is written leaves pages in the kernel as well: they go when another mount writes. */
static void test_leases_written_pages_go(void **state)
{
	struct pair p;

	(void)state;
	pair_new(&p, 1);
	assert_int_equal(dx_write(p.x, p.m[0], p.f[0], 4096, "abcd", 4), 4);
	assert_int_equal(p.k[0].pages, 0);
	assert_int_equal(dx_write(p.x, p.m[1], p.f[1], 4097, "X", 1), 1);
	assert_int_equal(p.k[0].pages, 1);
	assert_true(p.k[0].ino == p.ino && p.k[0].end == 4100);
	dx_expect(p.x, p.m[0], p.f[0], 4096, "aXcd", 4);
	/* the same for a write that had to wait for the lease */
	assert_int_equal(p.k[1].pages, 0);
	assert_int_equal(dx_write(p.x, p.m[0], p.f[0], 4098, "Y", 1), 1);
	assert_int_equal(p.k[1].pages, 1);
	dx_expect(p.x, p.m[1], p.f[1], 4096, "aXYd", 4);
	pair_free(&p);
}

/* A mount that nobody answers can be ended, whoever waits for a lease. */
static void test_leases_unmount_while_somebody_waits(void **state)
{
	struct fsx_wait w, r, u = {0};
	struct pair p;

	(void)state;
	pair_new(&p, 2);
	assert_int_equal(dx_write(p.x, p.m[1], p.f[1], 0, "abcd", 4), 4);
	fsx_unreach(p.x, p.m[0]);
	fsx_call(p.m[0], &w);
	fs_write(p.m[0]->fs, &w.call, p.f[0], 0, "x", 1);
	fsx_call(p.m[0], &r);
	fs_read(p.m[0]->fs, &r.call, p.f[0], 0, 1);
	sim_run(p.x->c->s, 10 * ENV_MS);
	assert_false(w.done || r.done);
	fs_unmount(p.m[0]->fs, ENV_SEC, fsx_rc, &u);
	p.m[0]->fs = NULL;
	p.f[0] = NULL;
	assert_true(sim_wait(p.x->c->s, &u.done, 5 * ENV_SEC));
	assert_true(w.done && r.done);
	assert_int_equal(w.rc, -EINTR);
	assert_int_equal(r.rc, -EINTR);
	fsx_reach(p.x, p.m[0]);
	pair_free(&p);
}

/* Without leases for reading nobody who reads holds up what is recalled. */
static void test_leases_relaxed_readers_hold_up_nothing(void **state)
{
	struct fsx_wait r[2], w;
	struct pair p;

	(void)state;
	fsx_cache = FS_CACHE_RELAXED;
	pair_new(&p, 3);
	fsx_cache = FS_CACHE_STRICT;
	assert_int_equal(dx_write(p.x, p.m[0], p.f[0], 0, "abcd", 4), 4);
	assert_int_equal(dx_flush(p.x, p.m[0], p.f[0]), 0);
	fsx_call(p.m[0], &r[0]);
	fs_read(p.m[0]->fs, &r[0].call, p.f[0], 0, 4);
	fsx_call(p.m[1], &w);
	fs_write(p.m[1]->fs, &w.call, p.f[1], 0, "wxyz", 4);
	for (unsigned i = 1; i < 2000 && !w.done; i++) {
		struct fsx_wait *next = &r[i % 2], *last = &r[(i + 1) % 2];

		data_drop(p.f[0]->data, 0); /* each asks the node */
		fsx_call(p.m[0], next);
		fs_read(p.m[0]->fs, &next->call, p.f[0], 0, 4);
		assert_int_equal(fsx_wait(p.x, last), 0);
		free(last->copy);
		if (w.done || i == 1999) {
			assert_int_equal(fsx_wait(p.x, next), 0);
			free(next->copy);
		}
	}
	assert_true(w.done);
	pair_free(&p);
}

/* The kernel asks for pieces of a file as it knew it; another mount has cut it since. Its end is
 * told by the piece in which it lies. */
static void test_leases_end_of_file_is_told_from_below(void **state)
{
	struct fsx *x = fsx_new(31, 1, 2);
	struct fsx_wait low, high, between;
	struct fs_attr a;
	struct fs_file *f;
	uint8_t *p = dx_bytes(0, 300 * KB, 31);

	(void)state;
	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, p, 300 * KB), 300 * KB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(dx_truncate(x, &x->m[1], a.ino, 100), 0);
	fsx_call(x->m, &low);
	fsx_call(x->m, &between);
	fsx_call(x->m, &high);
	fs_read(x->m->fs, &high.call, f, 256 * KB, 44 * KB);
	fs_read(x->m->fs, &low.call, f, 0, 128 * KB);
	fs_read(x->m->fs, &between.call, f, 128 * KB, 128 * KB);
	while (!low.done) {
		assert_false(high.done || between.done);
		assert_true(sim_step(x->c->s));
	}
	assert_int_equal(fsx_wait(x, &low), 0);
	assert_int_equal(fsx_wait(x, &between), 0);
	assert_int_equal(fsx_wait(x, &high), 0);
	assert_int_equal(high.call.len, 0);
	free(low.copy);
	free(between.copy);
	free(high.copy);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

/* A lookup guesses what a name still means, and gets a lease of that inode for nothing. */
static void test_leases_that_come_with_a_wrong_guess_prove_nothing(void **state)
{
	struct fsx *x = fsx_new(32, 1, 2);
	struct fsx_mount *a = x->m, *b = &x->m[1];
	struct fs_attr d, at;
	struct fs_file *f, *g;
	char got[16];

	(void)state;
	assert_int_equal(fsx_mkdir(x, a, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_create(x, a, d.ino, "f", 0644, O_RDWR, &f, &at), 0);
	assert_int_equal(fsx_rename(x, a, d.ino, "f", ROOT, "f", 0), 0);
	assert_int_equal(fsx_lookup(x, b, ROOT, "f", &at), 0);
	assert_int_equal(dx_open(x, b, at.ino, O_RDWR, &g), 0);
	assert_int_equal(fsx_rename(x, a, ROOT, "f", d.ino, "f", 0), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_int_equal(dx_write(x, a, f, 0, "new", 3), 3);
	assert_int_equal(fsx_lookup(x, b, ROOT, "f", NULL), -ENOENT);
	assert_int_equal(dx_read(x, b, g, 0, got, sizeof(got)), 3);
	assert_memory_equal(got, "new", 3);
	assert_int_equal(dx_close(x, b, g), 0);
	assert_int_equal(dx_close(x, a, f), 0);
	fsx_free(x);
}

/* Is every byte of it like the pattern (1), or 0 (0)? Neither: -1. */
static int all_or_nothing(const uint8_t *got, const uint8_t *full, size_t len)
{
	if (memcmp(got, full, len) == 0)
		return 1;
	for (size_t i = 0; i < len; i++) {
		if (got[i])
			return -1;
	}
	return 0;
}

/* @mode on a whole file of several blocks, while the other mount reads all of it again and again.
 */
static void punched_at_once(uint64_t seed, int mode)
{
	size_t len = 5 * MB;
	uint8_t *full = dx_bytes(0, len, seed);
	unsigned before = 0;
	struct fsx_wait w, r;
	struct pair p;

	pair_new(&p, seed);
	assert_int_equal(dx_write(p.x, p.m[0], p.f[0], 0, full, len), len);
	assert_int_equal(dx_flush(p.x, p.m[0], p.f[0]), 0);
	dx_expect(p.x, p.m[1], p.f[1], 0, full, len);
	fsx_call(p.m[0], &w);
	fs_fallocate(p.m[0]->fs, &w.call, p.f[0], mode, 0, len);
	while (!w.done) {
		int is;

		data_drop(p.f[1]->data, 0); /* each asks the nodes */
		fsx_call(p.m[1], &r);
		fs_read(p.m[1]->fs, &r.call, p.f[1], 0, len);
		assert_int_equal(fsx_wait(p.x, &r), 0);
		assert_int_equal(r.call.len, len);
		is = all_or_nothing(r.copy, full, len);
		assert_int_not_equal(is, -1);
		free(r.copy);
		before += is == 1;
	}
	assert_int_equal(w.rc, 0);
	assert_true(before > 0 || p.k[1].pages > 0);
	dx_expect_zeros(p.x, p.m[1], p.f[1], 0, len);
	free(full);
	pair_free(&p);
}

/* Nobody on another mount sees a hole half made. */
static void test_leases_holes_are_made_at_once(void **state)
{
	(void)state;
	for (uint64_t seed = 40; seed < 45; seed++) {
		punched_at_once(seed, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
		punched_at_once(seed, FALLOC_FL_ZERO_RANGE);
	}
}

/* What another mount remembers has gone before the first block is punched, and a signal ends the
 * waiting for that. */
static void test_leases_a_signal_ends_the_waiting_for_a_hole(void **state)
{
	uint8_t *full = dx_bytes(0, 2 * MB, 46);
	struct fsx_wait w;
	struct pair p;

	(void)state;
	pair_new(&p, 46);
	assert_int_equal(dx_write(p.x, p.m[1], p.f[1], 0, full, 2 * MB), 2 * MB);
	fsx_unreach(p.x, p.m[1]); /* cannot send it, nor answer the recall */
	fsx_call(p.m[0], &w);
	fs_fallocate(
		p.m[0]->fs, &w.call, p.f[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * MB);
	sim_run(p.x->c->s, 50 * ENV_MS);
	assert_false(w.done);
	fs_interrupt(p.m[0]->fs, &w.call, true);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	fsx_reach(p.x, p.m[1]);
	dx_expect(p.x, p.m[0], p.f[0], 0, full, 2 * MB);
	free(full);
	pair_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_leases_that_come_with_a_wrong_guess_prove_nothing),
		cmocka_unit_test(test_leases_end_of_file_is_told_from_below),
		cmocka_unit_test(test_leases_written_pages_go),
		cmocka_unit_test(test_leases_unmount_while_somebody_waits),
		cmocka_unit_test(test_leases_relaxed_readers_hold_up_nothing),
		cmocka_unit_test(test_leases_holes_are_made_at_once),
		cmocka_unit_test(test_leases_a_signal_ends_the_waiting_for_a_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
