/* The store over real files and RocksDB. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/store_rig.h"

static const struct orbit_id obj = {{7}};
static char dir[64];

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/orbit-store-XXXXXX");
	return mkdtemp(dir) ? store_make(dir, rig_fsid, &rig_node) : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int open_dir(struct rig *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	test_env_init(&r->env, seed);
	r->cfg = rig_small();
	return store_open(&r->st, &r->env.e, dir, &r->cfg, r->why, sizeof(r->why));
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
}

static void put_many(struct rig *r, int from, int to)
{
	uint8_t data[3000];
	char key[16];

	for (int i = from; i < to; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_put(r, key, key), 0);
		fill(data, sizeof(data), (unsigned)i);
		assert_int_equal(rig_write(r, &obj, (uint64_t)i * 2500, data, 3000), 0);
	}
}

static void check_many(struct rig *r, int to)
{
	uint8_t data[3000], got[2500];
	char key[16];

	for (int i = 0; i < to; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		assert_int_equal(rig_has(r, key, key), 1);
		fill(data, sizeof(data), (unsigned)i);
		assert_int_equal(rig_read(r, 1, &obj, (uint64_t)i * 2500, 2500, got), 0);
		assert_memory_equal(got, data, 2500);
	}
}

static void test_store_rocks_is_the_same_after_close_and_open(void **state)
{
	struct rig r;

	(void)state;
	assert_int_equal(open_dir(&r, 1), 0);
	put_many(&r, 0, 600);
	check_many(&r, 600);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(open_dir(&r, 2), 0);
	assert_true(store_info(r.st)->whole);
	check_many(&r, 600);
	rig_kill(&r);
}

/* What the child does: a process of its own, since RocksDB's threads do not survive a fork. */
static int be_child(const char *path, int from)
{
	struct rig r;

	snprintf(dir, sizeof(dir), "%s", path);
	if (open_dir(&r, 1))
		return 1;
	put_many(&r, from, from + 200);
	kill(getpid(), SIGKILL);
	return 1;
}

/* The child dies with all it had in memory. */
static void test_store_rocks_killed_process_loses_nothing(void **state)
{
	struct rig r;
	int status;

	(void)state;
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (!pid) {
			char from[16];

			snprintf(from, sizeof(from), "%d", i * 200);
			execl("/proc/self/exe", "child", dir, from, NULL);
			_exit(1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	assert_int_equal(open_dir(&r, 2), 0);
	assert_true(store_info(r.st)->whole);
	assert_int_equal(store_info(r.st)->starts, 4);
	check_many(&r, 600);
	rig_kill(&r);
}

static void test_store_rocks_reasons(void **state)
{
	char path[96];
	struct rig r;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(store_make(dir, rig_fsid, &rig_node), -EEXIST);
	snprintf(path, sizeof(path), "%s/sub", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	memset(&r, 0, sizeof(r));
	test_env_init(&r.env, 1);
	assert_int_equal(store_open(&r.st, &r.env.e, path, &r.cfg, r.why, sizeof(r.why)), -ENOENT);
	assert_string_equal(r.why, "there is no store there");
	/* that made nothing but a lock file */
	assert_int_equal(store_make(path, rig_fsid, &rig_node), 0);
	assert_int_equal(
		store_open(&r.st, &r.env.e, "/nonexistent/x", &r.cfg, r.why, 256), -ENOENT);
	snprintf(path, sizeof(path), "%s/.", "/proc");
	assert_int_equal(store_make(path, rig_fsid, &rig_node), -ENOTEMPTY);

	assert_int_equal(open_dir(&r, 1), 0);
	pid = fork();
	if (!pid) {
		struct rig other;

		_exit(open_dir(&other, 2) == -EBUSY && strstr(other.why, "in use") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(rig_close(&r), 0);

	snprintf(path, sizeof(path), "%s/META", dir);
	assert_int_equal(truncate(path, 77), 0);
	assert_int_equal(open_dir(&r, 1), -EUCLEAN);
	assert_string_equal(r.why, "the store's META file is damaged");
}

/* A cache of next to nothing: every read misses, and all of them get there. */
static void test_store_rocks_gets_on_with_a_tiny_cache(void **state)
{
	const void *key, *val;
	size_t klen, vlen, n = 0;
	struct store_iter *it;
	struct rig r;
	int rc;

	(void)state;
	memset(&r, 0, sizeof(r));
	test_env_init(&r.env, 1);
	r.cfg = rig_small();
	r.cfg.cache_size = 1;
	assert_int_equal(store_open(&r.st, &r.env.e, dir, &r.cfg, r.why, sizeof(r.why)), 0);
	put_many(&r, 0, 600);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(store_open(&r.st, &r.env.e, dir, &r.cfg, r.why, sizeof(r.why)), 0);
	assert_int_equal(store_get(r.st, "H\0\1k7", 5, NULL), -EAGAIN);
	check_many(&r, 600);
	do {
		n = 0;
		it = store_iter_new(r.st, "H\0\1", 3, "H\0\2", 3);
		while ((rc = store_iter_next(it, &key, &klen, &val, &vlen)) > 0)
			n++;
		store_iter_free(it);
		if (rc == -EAGAIN)
			rig_wait(&r);
	} while (rc == -EAGAIN);
	assert_int_equal(rc, 0);
	assert_int_equal(n, 600);
	rig_kill(&r);
}

/* Applies or gives up: what misses for ever must fail a test, not hang it. */
static int apply_in(struct rig *r, struct effect *e, int tries)
{
	struct rig_done d = {.a = {.done = rig_applied, .effect = e}};
	int rc;

	while ((rc = store_apply(r->st, &d.a, STORE_RESERVE)) == -EAGAIN && tries--)
		rig_wait(r);
	if (rc)
		return rc;
	rig_until(r, &d);
	return d.rc;
}

static int read_in(struct rig *r, uint64_t off, size_t len, void *dst, int tries)
{
	struct rig_done d = {.r.done = rig_was_read};
	int rc;

	while ((rc = store_read(r->st, &d.r, 1, &obj, off, len, dst)) == -EAGAIN && tries--)
		rig_wait(r);
	if (rc != -EINPROGRESS)
		return rc;
	rig_until(r, &d);
	return d.rc;
}

/* An object whose entries in the index are more than one fetch brings in, none of them in memory:
 * walks over it get on from where they stopped. */
static void test_store_rocks_walks_over_more_than_is_fetched_at_once(void **state)
{
	static uint8_t big[60 << 10], got[4000 * 16];
	struct store_range ranges[4];
	uint64_t next, sum = 0;
	struct effect e;
	struct key k;
	struct rig r;
	int n;

	(void)state;
	assert_int_equal(open_dir(&r, 1), 0);
	effect_init(&e);
	rig_section(&r, &e);
	for (char c = 'a'; c < 'f'; c++) {
		assert_int_equal(key_map(&k, 1, &obj, &c, 1), 0);
		effect_put(&e, k.b, k.len, big, sizeof(big));
	}
	for (unsigned i = 0; i < 4000; i++)
		effect_write(&e, &obj, i * 16, "12345678", 8);
	assert_int_equal(apply_in(&r, &e, 9), 0);
	effect_fini(&e);
	assert_int_equal(rig_close(&r), 0);

	assert_int_equal(open_dir(&r, 2), 0);
	assert_int_equal(read_in(&r, 0, sizeof(got), got, 100), 0);
	for (unsigned i = 0; i < 4000; i++)
		assert_memory_equal(got + i * 16, "12345678\0\0\0\0\0\0\0\0", 16);
	rig_kill(&r);

	assert_int_equal(open_dir(&r, 3), 0);
	for (int tries = 4100; sum < sizeof(got) && tries--; sum = next) {
		n = store_ranges(r.st, 1, &obj, sum, sizeof(got) - sum, ranges, 4, &next);
		if (n == -EAGAIN) {
			rig_wait(&r);
			next = sum;
		}
	}
	assert_int_equal(sum, sizeof(got));
	rig_kill(&r);

	assert_int_equal(open_dir(&r, 4), 0);
	effect_init(&e);
	rig_section(&r, &e);
	effect_drop(&e, &obj);
	assert_int_equal(apply_in(&r, &e, 100), 0);
	effect_fini(&e);
	assert_int_equal(key_map(&k, 1, &obj, "e", 1), 0);
	assert_int_equal(store_get(r.st, k.b, k.len, NULL), -ENOENT);
	assert_int_equal(read_in(&r, 0, sizeof(got), got, 100), 0);
	for (size_t i = 0; i < sizeof(got); i++)
		assert_int_equal(got[i], 0);
	rig_kill(&r);
}

/* Damages two blocks of the table that has a value of x: that one, and its first. (A smaller one
 * may hold what a flush of its own wrote at the close; without that the store could not be opened.)
 */
static int flip_table(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	static char all[1 << 20], x[64];
	size_t len;
	char *at;
	FILE *f;

	(void)st, (void)ftw;
	if (flag != FTW_F || !strstr(path, ".sst"))
		return 0;
	f = fopen(path, "r+");
	if (!f)
		return -1;
	len = fread(all, 1, sizeof(all), f);
	at = memmem(all, len, memset(x, 'x', sizeof(x)), sizeof(x));
	if (at) {
		all[100] ^= 1;
		*at = 'y';
		rewind(f);
		fwrite(all, 1, len, f);
	}
	return fclose(f);
}

/* What cannot be read of the index is -EIO, not -EAGAIN for ever. */
static void test_store_rocks_damaged_index_is_told(void **state)
{
	static char x[60 << 10];
	const void *key, *val;
	char byte;
	size_t klen, vlen;
	struct store_usage u;
	struct effect e;
	struct rig r;
	int rc, tries = 9;

	(void)state;
	assert_int_equal(open_dir(&r, 1), 0);
	put_many(&r, 0, 600);
	memset(x, 'x', sizeof(x) - 1);
	assert_int_equal(rig_put(&r, "big", x), 0);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(nftw(dir, flip_table, 16, FTW_PHYS), 0);
	assert_int_equal(open_dir(&r, 2), 0);
	while ((rc = store_get(r.st, "H\0\1big", 6, NULL)) == -EAGAIN && tries--)
		rig_wait(&r);
	assert_int_equal(rc, -EIO);
	for (tries = 9, rc = -EAGAIN; rc == -EAGAIN && tries--;) {
		struct store_iter *it = store_iter_new(r.st, "H\0\1b", 4, "H\0\2", 3);

		rc = store_iter_next(it, &key, &klen, &val, &vlen);
		store_iter_free(it);
		if (rc == -EAGAIN)
			rig_wait(&r);
	}
	assert_int_equal(rc, -EIO);
	assert_int_equal(read_in(&r, 0, 1, &byte, 9), -EIO);
	effect_init(&e);
	rig_section(&r, &e);
	effect_drop(&e, &obj);
	assert_int_equal(apply_in(&r, &e, 9), -EIO);
	effect_fini(&e);
	store_usage(r.st, &u);
	assert_true(u.damaged >= 4);
	/* what needs none of it goes on, unless RocksDB's own compaction met the damage first: then
	 * it takes no more writes, and the store says so */
	rc = rig_put(&r, "new", "1");
	if (rc)
		assert_int_equal(rc, -EROFS);
	else
		assert_int_equal(rig_has(&r, "new", "1"), 1);
	rig_kill(&r);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_store_rocks_is_the_same_after_close_and_open, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_store_rocks_killed_process_loses_nothing, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_store_rocks_reasons, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_store_rocks_gets_on_with_a_tiny_cache, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_store_rocks_walks_over_more_than_is_fetched_at_once, make_dir,
			remove_dir),
		cmocka_unit_test_setup_teardown(
			test_store_rocks_damaged_index_is_told, make_dir, remove_dir),
	};

	if (argc == 3)
		return be_child(argv[1], atoi(argv[2]));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
