/* flock and fcntl on several mounts: who is in whose way, and who waits. */
#include "fs/ops/lock_list.h"
#include "tests/unit/test_ops_lock.h"

/* ---- lists ---- */

/* What a list is, against bytes one by one. */
static void test_lock_list_is_what_bytes_are(void **state)
{
	enum { BYTES = 24, ROUNDS = 20000 };
	uint8_t mode[BYTES] = {0};
	struct lock_list l = {0};
	uint64_t r = 1;

	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		unsigned first, last, m, want = 0, n = 0;
		uint8_t was[BYTES];
		bool free_all = true;

		r = r * UINT64_C(6364136223846793005) + 1442695040888963407;
		first = (r >> 33) % BYTES;
		last = first + (r >> 40) % (BYTES - first);
		m = (r >> 50) % 3;
		memcpy(was, mode, BYTES);
		memset(mode + first, (int)m, last - first + 1);
		assert_int_equal(lock_list_set(&l, m, first, last, 7), !!memcmp(was, mode, BYTES));
		for (unsigned b = 0; b < BYTES; b++)
			want += mode[b] && (b == 0 || mode[b - 1] != mode[b]);
		assert_int_equal(l.n, want);
		for (unsigned k = 0; k < l.n; k++) {
			for (uint64_t b = l.r[k].first; b <= l.r[k].last; b++, n++)
				assert_int_equal(mode[b], l.r[k].write ? 2 : 1);
		}
		for (unsigned b = 0; b < BYTES; b++)
			n -= mode[b] != 0;
		assert_int_equal(n, 0);
		for (unsigned b = first; b <= last; b++)
			free_all &= !mode[b];
		assert_int_equal(
			lock_list_conflict(&l, LOCK_TO_WRITE, first, last) == NULL, free_all);
	}
	lock_list_fini(&l);
}

/* ---- conflicts ---- */

static void test_lock_conflicts_across_mounts(void **state)
{
	struct lx l = lx_new(1, 2);

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 100, 149), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 149, 149), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_RDLCK, 1, 0, 100), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 150, ALL), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 99), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 2, 99, 99), -EAGAIN);
	/* a hole in the middle */
	assert_int_equal(lx_set(&l, 0, F_UNLCK, 1, 120, 129), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 119, 119), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 120, 129), 0);
	/* what was joined and split is all there: nothing is left once it is unlocked */
	assert_int_equal(lx_set(&l, 1, F_UNLCK, 1, 0, ALL), 0);
	assert_int_equal(lx_set(&l, 0, F_UNLCK, 1, 0, ALL), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 2, 0, ALL), 0);
	assert_int_equal(lx_set(&l, 1, F_UNLCK, 2, 0, ALL), 0);
	assert_false(lx_there(&l, 0));
	lx_free(&l);
}

static void test_lock_readers_share(void **state)
{
	struct lx l = lx_new(2, 3);

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_RDLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 1, F_RDLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 2, F_WRLCK, 1, 5, 5), -EAGAIN);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_UNLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 4), 0); /* in part */
	assert_int_equal(lx_set(&l, 1, F_RDLCK, 1, 4, 4), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_RDLCK, 1, 5, 9), 0);
	lx_free(&l);
}

/* Owners of the same number on two mounts are two; kinds do not meet; on one mount owners do. */
static void test_lock_owners_and_kinds(void **state)
{
	struct lx l = lx_new(3, 2);

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, ALL), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, ALL), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 2, 0, ALL), -EAGAIN);
	assert_int_equal(lx_flock(&l, 1, F_WRLCK, 1), 0);
	assert_int_equal(lx_flock(&l, 0, F_RDLCK, 1), -EAGAIN);
	assert_int_equal(lx_flock(&l, 1, F_RDLCK, 1), 0);
	assert_int_equal(lx_flock(&l, 0, F_RDLCK, 1), 0);
	/* no change of an flock is kept waiting by what it was */
	assert_int_equal(lx_flock(&l, 0, F_WRLCK, 1), -EAGAIN);
	assert_int_equal(lx_flock(&l, 1, F_WRLCK, 1), 0);
	assert_int_equal(lx_unlock(&l, 0, 1), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 2, 0, ALL), 0);
	lx_free(&l);
}

static void test_lock_getlk_tells_who(void **state)
{
	struct lx l = lx_new(4, 2);
	struct fs_lock got;

	(void)state;
	got = lx_get(&l, 0, F_WRLCK, 1, 0, ALL);
	assert_int_equal(got.type, F_UNLCK);
	assert_int_equal(lx_set(&l, 0, F_RDLCK, 1, 10, 19), 0);
	got = lx_get(&l, 1, F_WRLCK, 1, 0, ALL);
	assert_int_equal(got.type, F_RDLCK);
	assert_true(got.first == 10 && got.last == 19 && got.pid == 0);
	got = lx_get(&l, 0, F_WRLCK, 2, 0, ALL);
	assert_true(got.type == F_RDLCK && got.pid == 1001);
	got = lx_get(&l, 0, F_WRLCK, 1, 0, ALL); /* one's own */
	assert_int_equal(got.type, F_UNLCK);
	got = lx_get(&l, 1, F_RDLCK, 1, 0, ALL);
	assert_int_equal(got.type, F_UNLCK);
	lx_free(&l);
}

/* Where nobody else is, each costs one transaction; what is held already, and what is known to be
 * in the way, none. */
static void test_lock_costs(void **state)
{
	struct lx l = lx_new(5, 2);
	struct fsx_mount *m = l.x->m;
	uint64_t sent;

	(void)state;
	lx_run(&l, 3 * ENV_SEC);
	sent = fsx_sent(m);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, i, i), 0);
		assert_int_equal(lx_set(&l, 0, F_UNLCK, 1, i, i), 0);
	}
	assert_int_equal(fsx_sent(m) - sent, 20);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	sent = fsx_sent(m);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 3, 4), 0);
	assert_int_equal(fsx_sent(m), sent);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 0), -EAGAIN);
	sent = fsx_sent(m + 1);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, i, i), -EAGAIN);
	assert_int_equal(fsx_sent(m + 1), sent);
	lx_free(&l);
}

/* ---- closing ---- */

static void test_lock_goes_with_the_file(void **state)
{
	struct lx l = lx_new(6, 2);
	struct fs_file *again;

	(void)state;
	assert_int_equal(dx_open(l.x, l.x->m, l.a.ino, O_RDWR, &again), 0);
	assert_int_equal(lx_flock(&l, 0, F_WRLCK, 77), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 78, 0, 9), 0); /* of an open file description */
	fs_release(l.x->m->fs, again);                         /* another one: nothing goes */
	lx_run(&l, ENV_SEC);
	assert_int_equal(lx_flock(&l, 1, F_WRLCK, 1), -EAGAIN);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 0), -EAGAIN);
	fs_release(l.x->m->fs, l.f[0]);
	l.f[0] = NULL;
	lx_run(&l, ENV_SEC);
	assert_int_equal(lx_flock(&l, 1, F_WRLCK, 1), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 0), 0);
	lx_free(&l);
}

/* Somebody who died long ago had a lock of it. */
static void left_behind(struct lx *l)
{
	struct orbit_id id = layout_locks_id(l->a.ino);
	uint8_t key[LOCK_KEY_LEN];
	struct txn_build t;

	layout_lock_key(
		&(struct layout_lock){.kind = LAYOUT_FCNTL, .session = 4242, .owner = 1}, key);
	txn_init(&t);
	txn_create(&t, &id, 0, (uint64_t[TXN_SLOTS]){0});
	txn_put(&t, &id, key, sizeof(key), "", 0);
	assert_int_equal(fsx_submit(l->x, l->x->m, &t), 0);
}

/* Whichever way that goes: at once for a small file that nobody has open, or by a look at it. */
static void test_lock_object_goes_with_the_inode(void **state)
{
	(void)state;
	for (unsigned open = 0; open < 2; open++) {
		struct lx l = lx_new(7, 2);

		left_behind(&l);
		if (open)
			assert_int_equal(fsx_unlink(l.x, l.x->m, ROOT, "f"), 0);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(dx_close(l.x, &l.x->m[i], l.f[i]), 0);
			l.f[i] = NULL;
		}
		lx_run(&l, 5 * ENV_SEC);
		if (!open)
			assert_int_equal(fsx_unlink(l.x, l.x->m, ROOT, "f"), 0);
		lx_run(&l, 10 * ENV_SEC);
		assert_false(fsx_object(l.x, l.x->m, l.a.ino, NULL));
		assert_false(lx_there(&l, 0));
		lx_free(&l);
	}
}

/* ---- waiting ---- */

static void test_lock_waits_across_mounts(void **state)
{
	struct lx l = lx_new(8, 3);
	struct fsx_wait w[3];
	uint64_t sent;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	lx_wait(&l, 1, &w[1], F_WRLCK, 1, 0, 9);
	lx_wait(&l, 2, &w[2], F_RDLCK, 1, 5, 5);
	lx_wait(&l, 0, &w[0], F_WRLCK, 2, 9, 20);
	lx_run(&l, 2 * ENV_SEC);
	sent = fsx_sent(&l.x->m[1]) + fsx_sent(&l.x->m[2]);
	lx_run(&l, 60 * ENV_SEC); /* nobody asks all the time */
	assert_int_equal(fsx_sent(&l.x->m[1]) + fsx_sent(&l.x->m[2]), sent);
	assert_false(w[0].done || w[1].done || w[2].done);
	assert_int_equal(lx_set(&l, 0, F_UNLCK, 1, 0, 9), 0);
	lx_run(&l, ENV_SEC);
	/* those go on that are not in each other's way, be it one after the other */
	assert_int_equal(w[0].done + w[1].done + w[2].done, w[1].done ? 1 : 2);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 3; k++) {
			if (w[k].done && w[k].rc == 0) {
				w[k].rc = 1; /* it had its turn */
				assert_int_equal(lx_unlock(&l, k, k ? 1 : 2), 0);
			}
		}
		lx_run(&l, ENV_SEC);
	}
	for (unsigned k = 0; k < 3; k++)
		assert_true(w[k].done && w[k].rc == 1);
	assert_false(lx_there(&l, 0));
	lx_free(&l);
}

static void test_lock_waiting_ends_by_a_signal(void **state)
{
	struct lx l = lx_new(9, 2);
	struct fsx_wait w, v;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	lx_wait(&l, 1, &w, F_WRLCK, 1, 0, 9);
	lx_wait(&l, 1, &v, F_WRLCK, 2, 0, 9);
	lx_run(&l, ENV_SEC);
	assert_false(w.done);
	fs_interrupt(l.x->m[1].fs, &w.call, false);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	assert_int_equal(lx_unlock(&l, 0, 1), 0);
	assert_int_equal(fsx_wait(l.x, &v), 0); /* nothing is left of the first */
	lx_free(&l);
}

/* A node that does not answer: a fatal signal ends even what is under way, and what that may have
 * locked is unlocked. */
static void test_lock_under_way_ends_by_a_fatal_signal(void **state)
{
	struct lx l = lx_new(10, 2);
	struct fs_lock want = lx_lock(F_WRLCK, 1, 0, 9);
	struct fsx_wait w;

	(void)state;
	fsx_unreach(l.x, l.x->m);
	lx_begin(&l, 0, &w, &want, false);
	lx_run(&l, ENV_SEC);
	fs_interrupt(l.x->m->fs, &w.call, false);
	lx_run(&l, ENV_SEC);
	assert_false(w.done);
	fs_interrupt(l.x->m->fs, &w.call, true);
	assert_int_equal(fsx_wait(l.x, &w), -EINTR);
	fsx_reach(l.x, l.x->m);
	lx_run(&l, 4 * ENV_SEC);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 9), 0);
	lx_free(&l);
}

static void test_lock_circles_are_seen(void **state)
{
	struct lx l = lx_new(11, 2);
	struct fsx_wait w, v;
	struct fs_lock want;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 0), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 2, 1, 1), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 3, 2, 2), 0);
	lx_wait(&l, 0, &w, F_WRLCK, 1, 1, 1);
	lx_wait(&l, 0, &v, F_WRLCK, 2, 2, 2);
	lx_run(&l, ENV_SEC);
	assert_false(w.done || v.done);
	want = lx_lock(F_WRLCK, 3, 0, 0);
	{
		struct fsx_wait u;

		lx_begin(&l, 0, &u, &want, true);
		assert_int_equal(fsx_wait(l.x, &u), -EDEADLK);
	}
	assert_int_equal(lx_unlock(&l, 0, 3), 0);
	assert_int_equal(fsx_wait(l.x, &v), 0);
	assert_int_equal(lx_unlock(&l, 0, 2), 0);
	assert_int_equal(fsx_wait(l.x, &w), 0);
	lx_free(&l);
}

/* Two who share an flock and both want it for themselves. */
static void test_lock_flocks_change_one_after_the_other(void **state)
{
	struct lx l = lx_new(12, 2);
	struct fs_lock want = {.kind = FS_LOCK_FLOCK, .type = F_WRLCK, .owner = 1, .last = ALL};
	struct fsx_wait w[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(lx_flock(&l, i, F_RDLCK, 1), 0);
	for (unsigned i = 0; i < 2; i++)
		lx_begin(&l, i, &w[i], &want, true);
	lx_run(&l, 2 * ENV_SEC);
	assert_int_equal(w[0].done + w[1].done, 1);
	assert_int_equal(lx_flock(&l, w[0].done ? 0 : 1, F_UNLCK, 1), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fsx_wait(l.x, &w[i]), 0);
	lx_free(&l);
}

/* All that a lock is for: nobody is between. */
static void test_lock_excludes(void **state)
{
	enum { MOUNTS = 3, OWNERS = 3, ROUNDS = 20 };
	struct lx l = lx_new(13, MOUNTS);
	struct fsx_wait w[MOUNTS][OWNERS];
	unsigned had[MOUNTS][OWNERS] = {{0}}, all = 0;

	(void)state;
	for (unsigned m = 0; m < MOUNTS; m++) {
		for (unsigned o = 0; o < OWNERS; o++)
			lx_wait(&l, m, &w[m][o], F_WRLCK, o + 1, 0, 9);
	}
	while (all < MOUNTS * OWNERS * ROUNDS) {
		unsigned holders = 0;

		for (unsigned m = 0; m < MOUNTS; m++) {
			for (unsigned o = 0; o < OWNERS; o++)
				holders += w[m][o].done;
		}
		assert_in_range(holders, 0, 1);
		if (!holders) {
			assert_true(sim_step(l.x->c->s));
			continue;
		}
		for (unsigned m = 0; m < MOUNTS; m++) {
			for (unsigned o = 0; o < OWNERS; o++) {
				if (!w[m][o].done)
					continue;
				assert_int_equal(w[m][o].rc, 0);
				had[m][o]++;
				all++;
				assert_int_equal(lx_unlock(&l, m, o + 1), 0);
				memset(&w[m][o], 0, sizeof(w[m][o]));
				if (had[m][o] < ROUNDS)
					lx_wait(&l, m, &w[m][o], F_WRLCK, o + 1, 0, 9);
				m = MOUNTS;
				break;
			}
		}
	}
	lx_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lock_list_is_what_bytes_are),
		cmocka_unit_test(test_lock_conflicts_across_mounts),
		cmocka_unit_test(test_lock_readers_share),
		cmocka_unit_test(test_lock_owners_and_kinds),
		cmocka_unit_test(test_lock_getlk_tells_who),
		cmocka_unit_test(test_lock_costs),
		cmocka_unit_test(test_lock_goes_with_the_file),
		cmocka_unit_test(test_lock_object_goes_with_the_inode),
		cmocka_unit_test(test_lock_waits_across_mounts),
		cmocka_unit_test(test_lock_waiting_ends_by_a_signal),
		cmocka_unit_test(test_lock_under_way_ends_by_a_fatal_signal),
		cmocka_unit_test(test_lock_circles_are_seen),
		cmocka_unit_test(test_lock_flocks_change_one_after_the_other),
		cmocka_unit_test(test_lock_excludes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
