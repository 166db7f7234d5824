/* The consistency checker: each kind of damage is made by hand, found, repaired, and gone. */
#include "tests/unit/test_fs_env.h"

#include <dirent.h>

#include "fs/check/check.h"

static unsigned nodes;

struct checked {
	struct fsx *x;
	struct check_report report;
	unsigned found[CHECK_PROBLEMS], fixed[CHECK_PROBLEMS];
};

static int io_pump(void *arg, const bool *done)
{
	struct checked *k = arg;

	assert_true(sim_wait(k->x->c->s, done, FSX_LIMIT));
	return 0;
}

static void io_wake(void *arg)
{
	(void)arg;
}

static void io_found(void *arg, const struct check_finding *f)
{
	struct checked *k = arg;

	k->found[f->problem]++;
	k->fixed[f->problem] += f->fixed;
}

static int run_check(struct fsx *x, struct fsx_mount *m, enum check_mode mode, struct checked *k)
{
	struct check_config cfg = {.mode = mode, .memory = 1 << 20};
	struct check_io io = {.pump = io_pump, .wake = io_wake, .found = io_found, .arg = k};

	memset(k, 0, sizeof(*k));
	k->x = x;
	return check_run(m->client, &cfg, &io, &k->report);
}

/* A tree with a bit of everything. */
struct tree {
	struct fsx *x;
	struct fsx_mount *m; /* of the checker: a client without a mount */
	uint64_t dir, sub, file, big, link;
};

static uint64_t write_file(
	struct fsx *x, struct fsx_mount *m, uint64_t dir, const char *name, size_t len)
{
	void *data = mem_zalloc(len + 1);
	struct fs_file *f;
	struct fs_attr a;
	struct fsx_wait w;

	memset(data, 'x', len);
	assert_int_equal(fsx_create(x, m, dir, name, 0644, O_RDWR, &f, &a), 0);
	fsx_call(m, &w);
	fs_write(m->fs, &w.call, f, 0, data, len);
	assert_int_equal(fsx_wait(x, &w), 0);
	fsx_call(m, &w);
	fs_fsync(m->fs, &w.call, f, false);
	assert_int_equal(fsx_wait(x, &w), 0);
	fs_release(m->fs, f);
	free(data);
	return a.ino;
}

static void plant(struct tree *t, uint64_t seed)
{
	struct fsx *x = t->x = fsx_new(seed, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a;

	assert_int_equal(fsx_mkdir(x, m, ROOT, "dir", 0755, &a), 0);
	t->dir = a.ino;
	assert_int_equal(fsx_mkdir(x, m, t->dir, "sub", 0755, &a), 0);
	t->sub = a.ino;
	t->file = write_file(x, m, t->dir, "file", 100);
	t->big = write_file(x, m, t->sub, "big", 3 << 20);
	assert_int_equal(fsx_symlink(x, m, ROOT, "sym", "dir/file", &a), 0);
	assert_int_equal(fsx_link(x, m, t->file, ROOT, "hard", &a), 0);
	t->link = t->file;
	assert_int_equal(fsx_unmount(x, m), 0);
	t->m = m;
}

static void submit(struct tree *t, struct txn_build *b)
{
	assert_int_equal(fsx_submit(t->x, t->m, b), 0);
}

/* Only @p is found, then repaired; a second run is clean. */
static void expect(struct tree *t, enum check_problem p, unsigned times)
{
	struct checked k;

	assert_int_equal(run_check(t->x, t->m, CHECK_ONLY, &k), 0);
	assert_int_equal(k.found[p], times);
	assert_int_equal(k.report.fixed, 0);
	assert_int_equal(run_check(t->x, t->m, CHECK_REPAIR, &k), 0);
	assert_int_equal(k.fixed[p], times);
	assert_int_equal(k.report.found, k.report.fixed);
	assert_int_equal(run_check(t->x, t->m, CHECK_ONLY, &k), 0);
	for (int i = 0; i < CHECK_PROBLEMS; i++)
		if (k.found[i])
			print_error("left: %s\n", check_problem_name(i));
	assert_int_equal(k.report.found, 0);
}

static void done(struct tree *t)
{
	fsx_free(t->x);
}

static void test_check_clean(void **state)
{
	struct tree t;
	struct checked k;

	(void)state;
	plant(&t, 1);
	assert_int_equal(run_check(t.x, t.m, CHECK_ONLY, &k), 0);
	assert_int_equal(k.report.found, 0);
	assert_int_equal(k.report.directories, 3);
	assert_int_equal(k.report.files, 2);
	assert_int_equal(k.report.symlinks, 1);
	assert_int_equal(k.report.entries, 6);
	assert_int_equal(k.report.blocks, 3);
	assert_int_equal(k.report.scans, 1);
	done(&t);
}

static void test_check_entry_without_inode(void **state)
{
	struct orbit_id id;
	struct txn_build b;
	struct checked k;
	struct tree t;

	(void)state;
	plant(&t, 2);
	id = layout_inode_id(t.file);
	txn_init(&b);
	txn_delete(&b, &id);
	submit(&t, &b);
	assert_int_equal(run_check(t.x, t.m, CHECK_PREEN, &k), 0);
	assert_int_equal(k.fixed[CHECK_ENTRY_NO_INODE], 0); /* takes a name away */
	expect(&t, CHECK_ENTRY_NO_INODE, 2);
	done(&t);
}

static void test_check_lost_file_and_directory(void **state)
{
	struct orbit_id root = layout_inode_id(ROOT), dir;
	uint8_t key[DIRENT_KEY_MAX];
	struct fs_attr a;
	struct txn_build b;
	struct tree t;
	char name[32];
	size_t len;

	(void)state;
	plant(&t, 3);
	dir = layout_inode_id(t.sub);
	txn_init(&b);
	len = layout_dirent_key("dir", 3, key);
	txn_del(&b, &root, key, len);
	len = layout_dirent_key("big", 3, key);
	txn_del(&b, &dir, key, len);
	submit(&t, &b);
	expect(&t, CHECK_NO_ENTRY, 2);
	/* both are found again */
	assert_int_equal(fsx_mount(t.x, t.m), 0);
	assert_int_equal(fsx_lookup(t.x, t.m, ROOT, "lost+found", &a), 0);
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)t.big);
	assert_int_equal(fsx_lookup(t.x, t.m, a.ino, name, &a), 0);
	assert_true(a.size == 3 << 20);
	assert_int_equal(fsx_lookup(t.x, t.m, ROOT, "lost+found", &a), 0);
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)t.dir);
	assert_int_equal(fsx_lookup(t.x, t.m, a.ino, name, &a), 0);
	assert_int_equal(fsx_lookup(t.x, t.m, a.ino, "sub", &a), 0);
	assert_int_equal(fsx_unmount(t.x, t.m), 0);
	done(&t);
}

/* One slot of one inode is wrong. */
static void wrong_slot(
	uint64_t seed, enum check_problem p, size_t which, unsigned slot, uint64_t value)
{
	struct orbit_id id;
	struct txn_build b;
	struct tree t;

	plant(&t, seed);
	id = layout_inode_id(*(uint64_t *)((char *)&t + which));
	txn_init(&b);
	txn_set(&b, &id, slot, value);
	submit(&t, &b);
	expect(&t, p, 1);
	done(&t);
}

static void test_check_counts(void **state)
{
	(void)state;
	wrong_slot(4, CHECK_NLINK, offsetof(struct tree, file), SLOT_NLINK, 7);
	wrong_slot(5, CHECK_NLINK, offsetof(struct tree, dir), SLOT_NLINK, 2);
	wrong_slot(6, CHECK_CHILDREN, offsetof(struct tree, dir), SLOT_CHILDREN, 1);
	wrong_slot(7, CHECK_PARENT, offsetof(struct tree, sub), SLOT_PARENT, 12345);
	wrong_slot(8, CHECK_BYTES, offsetof(struct tree, big), SLOT_BYTES, 1);
	wrong_slot(9, CHECK_TRIM, offsetof(struct tree, file), SLOT_TRIM, 51);
}

static void test_check_entry_type(void **state)
{
	struct orbit_id id = layout_inode_id(ROOT);
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	struct txn_build b;
	struct tree t;

	(void)state;
	plant(&t, 10);
	layout_dirent_value(t.file, DT_FIFO, val);
	txn_init(&b);
	txn_put(&b, &id, key, layout_dirent_key("hard", 4, key), val, sizeof(val));
	submit(&t, &b);
	expect(&t, CHECK_ENTRY_TYPE, 1);
	done(&t);
}

static void test_check_second_entry_of_a_directory(void **state)
{
	struct orbit_id id = layout_inode_id(ROOT);
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	struct fs_attr a;
	struct txn_build b;
	struct tree t;

	(void)state;
	plant(&t, 11);
	layout_dirent_value(t.sub, DT_DIR, val);
	txn_init(&b);
	txn_put(&b, &id, key, layout_dirent_key("again", 5, key), val, sizeof(val));
	txn_add(&b, &id, SLOT_CHILDREN, 1);
	txn_refer(&b, &id, SLOT_NLINK, 1);
	submit(&t, &b);
	expect(&t, CHECK_ENTRY_SURPLUS, 1);
	assert_int_equal(fsx_mount(t.x, t.m), 0);
	assert_int_equal(
		fsx_lookup(t.x, t.m, t.dir, "sub", &a), 0); /* the one that its parent slot says */
	assert_int_equal(fsx_lookup(t.x, t.m, ROOT, "again", &a), -ENOENT);
	assert_int_equal(fsx_unmount(t.x, t.m), 0);
	done(&t);
}

static void test_check_cycle(void **state)
{
	struct orbit_id root = layout_inode_id(ROOT), dir, sub;
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	struct txn_build b;
	struct tree t;

	(void)state;
	plant(&t, 12);
	dir = layout_inode_id(t.dir);
	sub = layout_inode_id(t.sub);
	layout_dirent_value(t.dir, DT_DIR, val);
	txn_init(&b); /* dir moves from the root below its own sub */
	txn_del(&b, &root, key, layout_dirent_key("dir", 3, key));
	txn_add(&b, &root, SLOT_CHILDREN, -1);
	txn_refer(&b, &root, SLOT_NLINK, -1);
	txn_put(&b, &sub, key, layout_dirent_key("dir", 3, key), val, sizeof(val));
	txn_add(&b, &sub, SLOT_CHILDREN, 1);
	txn_refer(&b, &sub, SLOT_NLINK, 1);
	txn_set(&b, &dir, SLOT_PARENT, t.sub);
	submit(&t, &b);
	expect(&t, CHECK_CYCLE, 1);
	done(&t);
}

static void test_check_blocks(void **state)
{
	struct orbit_id id;
	struct txn_build b;
	struct tree t;

	(void)state;
	plant(&t, 13);
	id = layout_inode_id(t.big); /* the size shrank, the blocks did not */
	txn_init(&b);
	txn_set(&b, &id, SLOT_SIZE, (1 << 20) + 10);
	submit(&t, &b);
	expect(&t, CHECK_PAST_END, 2);
	id = layout_block_id(777, 3);
	txn_init(&b);
	txn_create(&b, &id, 0, (uint64_t[TXN_SLOTS]){0});
	txn_write(&b, &id, 0, "x", 1);
	submit(&t, &b);
	expect(&t, CHECK_BLOCK_NO_INODE, 1);
	id = layout_locks_id(777);
	txn_init(&b);
	txn_create(&b, &id, 0, (uint64_t[TXN_SLOTS]){0});
	submit(&t, &b);
	id = layout_locks_id(t.file); /* is nothing wrong */
	txn_init(&b);
	txn_create(&b, &id, 0, (uint64_t[TXN_SLOTS]){0});
	submit(&t, &b);
	expect(&t, CHECK_LOCKS_NO_INODE, 1);
	id = layout_block_id(t.dir, 0);
	txn_init(&b);
	txn_create(&b, &id, 0, (uint64_t[TXN_SLOTS]){0});
	txn_write(&b, &id, 0, "x", 1);
	submit(&t, &b);
	expect(&t, CHECK_BLOCK_OF_OTHER, 1);
	id = layout_inode_id(t.file);
	txn_init(&b);
	txn_write(&b, &id, 500, "x", 1);
	submit(&t, &b);
	expect(&t, CHECK_PAST_END, 1);
	done(&t);
}

static void test_check_orphans(void **state)
{
	struct orbit_id id = layout_inode_id(4711);
	uint64_t slot[TXN_SLOTS] = {[SLOT_MODE] = S_IFREG | 0600};
	struct txn_build b;
	struct checked k;
	struct tree t;

	(void)state;
	plant(&t, 14);
	txn_init(&b); /* no link, not listed */
	txn_create(&b, &id, 0xffff, slot);
	submit(&t, &b);
	assert_int_equal(run_check(t.x, t.m, CHECK_ONLY, &k), 0);
	assert_int_equal(k.found[CHECK_ORPHAN_UNMARKED], 1);
	assert_int_equal(run_check(t.x, t.m, CHECK_REPAIR, &k), 0);
	assert_int_equal(k.fixed[CHECK_ORPHAN_UNMARKED], 1);
	assert_int_equal(k.fixed[CHECK_ORPHAN], 1); /* and then removed */
	assert_false(fsx_object(t.x, t.m, 4711, NULL));
	/* one that a living session holds stays */
	txn_init(&b);
	txn_create(&b, &id, 0xffff, slot);
	txn_hold(&b, &id);
	txn_refer(&b, &id, SLOT_NLINK, 0);
	submit(&t, &b);
	assert_int_equal(run_check(t.x, t.m, CHECK_REPAIR, &k), 0);
	assert_int_equal(k.found[CHECK_ORPHAN], 1);
	assert_int_equal(k.fixed[CHECK_ORPHAN], 0);
	assert_int_equal(k.report.found, 0);
	assert_true(fsx_object(t.x, t.m, 4711, NULL));
	done(&t);
}

static void test_check_no_root(void **state)
{
	struct orbit_id id = layout_inode_id(ROOT);
	struct txn_build b;
	struct checked k;
	struct tree t;

	(void)state;
	plant(&t, 15);
	txn_init(&b);
	txn_delete(&b, &id);
	submit(&t, &b);
	assert_int_equal(run_check(t.x, t.m, CHECK_REPAIR, &k), 0);
	assert_int_equal(k.fixed[CHECK_NO_ROOT], 1);
	assert_int_equal(run_check(t.x, t.m, CHECK_ONLY, &k), 0);
	assert_int_equal(k.report.found, 0);
	done(&t);
}

/* A node is away: what it has looks as if it were not there. Nothing may be removed for that. */
static void test_check_never_deletes_what_it_could_not_read(void **state)
{
	struct fsx_mount *impatient;
	struct orbit_policy soft = {.resend_count = 0, .check_timeout = 100 * ENV_MS};
	struct checked k;
	struct tree t;

	(void)state;
	if (nodes < 2)
		return;
	plant(&t, 16);
	impatient = fsx_client(t.x, &soft);
	for (unsigned i = 0; i < nodes; i++) {
		cluster_crash(t.x->c, i, DISK_PROCESS);
		run_check(t.x, impatient, CHECK_REPAIR, &k);
		assert_true(k.report.unread > 0);
		assert_int_equal(k.report.fixed, 0);
		cluster_start(t.x->c, i);
		sim_run(t.x->c->s, 2 * ENV_SEC);
	}
	assert_int_equal(run_check(t.x, impatient, CHECK_ONLY, &k), 0);
	assert_int_equal(k.report.found, 0);
	assert_int_equal(k.report.unread, 0);
	fsx_close(t.x, impatient);
	done(&t);
}

static void test_check_no_filesystem(void **state)
{
	struct orbit_id id = layout_super_id();
	struct txn_build b;
	struct checked k;
	struct tree t;

	(void)state;
	plant(&t, 17);
	txn_init(&b);
	txn_delete(&b, &id);
	submit(&t, &b);
	assert_int_equal(run_check(t.x, t.m, CHECK_REPAIR, &k), -ENOENT);
	assert_int_equal(k.report.fixed, 0);
	done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_clean),
		cmocka_unit_test(test_check_entry_without_inode),
		cmocka_unit_test(test_check_lost_file_and_directory),
		cmocka_unit_test(test_check_counts),
		cmocka_unit_test(test_check_entry_type),
		cmocka_unit_test(test_check_second_entry_of_a_directory),
		cmocka_unit_test(test_check_cycle),
		cmocka_unit_test(test_check_blocks),
		cmocka_unit_test(test_check_orphans),
		cmocka_unit_test(test_check_no_root),
		cmocka_unit_test(test_check_never_deletes_what_it_could_not_read),
		cmocka_unit_test(test_check_no_filesystem),
	};
	int failed = 0;

	log_set_level(LOG_LVL_ERROR);
	for (nodes = 1; nodes <= 3; nodes += 2)
		failed += cmocka_run_group_tests_name(
			nodes == 1 ? "one node" : "three nodes", tests, NULL, NULL);
	return failed;
}
