/* The checker on a filesystem in use: no false alarms, and no repair that harms who is at work. */
#include "fs/check/check.h"
#include "tests/unit/test_data_env.h"

/* A node that crashes leaves behind what its store had given to workers: of a process that dies,
 * the kernel takes that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:dht/store/\nleak:save_fire";
}

struct live {
	struct fsx *x;
	struct check_report report;
	unsigned found[CHECK_PROBLEMS], pauses;
};

static int io_pump(void *arg, const bool *done)
{
	struct live *k = arg;

	assert_true(sim_wait(k->x->c->s, done, FSX_LIMIT));
	return 0;
}

static void io_wake(void *arg)
{
	(void)arg;
}

static int io_pause(void *arg, uint64_t ns)
{
	struct live *k = arg;

	k->pauses++;
	sim_run(k->x->c->s, ns);
	return 0;
}

static void io_found(void *arg, const struct check_finding *f)
{
	struct live *k = arg;

	k->found[f->problem]++;
}

static int check(
	struct fsx *x, struct fsx_mount *m, enum check_mode mode, bool pause, struct live *k)
{
	struct check_config cfg = {.mode = mode, .memory = 1 << 20};
	struct check_io io = {.pump = io_pump, .wake = io_wake, .found = io_found, .arg = k};

	if (pause)
		io.pause = io_pause;
	memset(k, 0, sizeof(*k));
	k->x = x;
	return check_run(m->client, &cfg, &io, &k->report);
}

/* A writer with blocks that the inode says nothing of yet: they went ahead. */
static struct fs_file *writer(struct fsx *x, const uint8_t *p, size_t len, struct fs_attr *a)
{
	struct fs_file *f;

	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 0644, O_RDWR, &f, a), 0);
	for (size_t off = 0; off < len; off += MB)
		assert_int_equal(dx_write(x, x->m, f, off, p + off, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(dx_block(x, x->m, a->ino, 1, NULL));
	return f;
}

static void test_check_waits_for_writers(void **state)
{
	struct fsx *x = fsx_new(1, 3, 2);
	uint8_t *p = dx_bytes(0, 3 * MB, 1);
	struct fs_file *f;
	struct fs_attr a;
	struct live k;

	(void)state;
	f = writer(x, p, 3 * MB, &a);
	assert_int_equal(check(x, &x->m[1], CHECK_ONLY, true, &k), 0);
	assert_int_equal(k.pauses, 1);
	assert_int_equal(k.report.found, 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(check(x, &x->m[1], CHECK_ONLY, true, &k), 0);
	assert_int_equal(k.pauses, 0);
	free(p);
	fsx_free(x);
}

/* Even when what is on its way was taken for damage: the writer's bytes come again. */
static void test_check_repair_takes_nothing_from_a_writer(void **state)
{
	struct fsx *x = fsx_new(2, 3, 2);
	uint8_t *p = dx_bytes(0, 4 * MB, 2);
	struct fs_file *f;
	struct fs_attr a;
	struct live k;

	(void)state;
	f = writer(x, p, 3 * MB, &a);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_write(x, x->m, f, 3 * MB, p + 3 * MB, MB / 2), MB / 2);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	/* the rest of the block, of which the inode does not know: past the end */
	assert_int_equal(dx_write(x, x->m, f, 3 * MB, p + 3 * MB, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_int_equal(check(x, &x->m[1], CHECK_REPAIR, false, &k), 0);
	assert_true(k.found[CHECK_PAST_END] > 0);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &f), 0);
	dx_expect(x, &x->m[1], f, 0, p, 4 * MB);
	fs_release(x->m[1].fs, f);
	free(p);
	fsx_free(x);
}

static void test_check_repair_takes_no_block_from_a_writer(void **state)
{
	struct fsx *x = fsx_new(3, 3, 2);
	uint8_t *p = dx_bytes(0, 3 * MB, 3);
	struct fs_file *f;
	struct fs_attr a;
	struct live k;

	(void)state;
	f = writer(x, p, 3 * MB, &a);
	assert_int_equal(check(x, &x->m[1], CHECK_REPAIR, false, &k), 0);
	assert_int_equal(k.found[CHECK_PAST_END], 3);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, &x->m[1], a.ino, O_RDONLY, &f), 0);
	dx_expect(x, &x->m[1], f, 0, p, 3 * MB);
	fs_release(x->m[1].fs, f);
	free(p);
	fsx_free(x);
}

/* A mount that died in the middle of a cut: both marks go. */
static void test_check_clears_a_trim(void **state)
{
	struct fsx *x = fsx_new(4, 3, 2);
	uint8_t *p = dx_bytes(0, 3 * MB, 4);
	struct orbit_id id;
	struct txn_object o;
	struct txn_build b;
	struct fs_file *f;
	struct fs_attr a;
	struct live k;

	(void)state;
	f = writer(x, p, 3 * MB, &a);
	assert_int_equal(dx_close(x, x->m, f), 0);
	id = layout_inode_id(a.ino);
	txn_init(&b);
	txn_set(&b, &id, SLOT_SIZE, MB + 5);
	txn_add(&b, &id, SLOT_CUT, 1);
	txn_set(&b, &id, SLOT_TRIM, MB + 6);
	txn_set(&b, &id, SLOT_TRIM_TO, 3 * MB);
	assert_int_equal(fsx_submit(x, x->m, &b), 0);
	assert_int_equal(check(x, &x->m[1], CHECK_REPAIR, true, &k), 0);
	assert_int_equal(k.found[CHECK_TRIM], 1);
	assert_int_equal(k.report.found, k.report.fixed);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_TRIM], 0);
	assert_int_equal(o.slot[SLOT_TRIM_TO], 0);
	assert_false(dx_block(x, x->m, a.ino, 2, NULL));
	assert_int_equal(check(x, &x->m[1], CHECK_ONLY, true, &k), 0);
	assert_int_equal(k.report.found, 0);
	free(p);
	fsx_free(x);
}

/* What could not be read is no damage, and a silent node costs one wait, not one for each shard. */
static void test_check_says_nothing_of_what_it_could_not_read(void **state)
{
	struct orbit_policy soft = {.resend_count = 0, .check_timeout = 2 * ENV_SEC};
	struct fsx *x = fsx_new(6, 3, 1);
	struct fsx_mount *m;
	struct fs_attr a;
	char name[16];
	uint64_t from;
	struct live k;

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		assert_int_equal(fsx_mkdir(x, x->m, ROOT, name, 0755, &a), 0);
		assert_int_equal(fsx_touch(x, x->m, a.ino, "f", NULL), 0);
	}
	m = fsx_client(x, &soft);
	sim_run(x->c->s, ENV_SEC);
	for (unsigned i = 0; i < 3; i++) {
		cluster_crash(x->c, i, DISK_PROCESS);
		from = sim_now(x->c->s);
		assert_int_equal(check(x, m, CHECK_ONLY, true, &k), 0);
		assert_true(k.report.unread > 0);
		assert_int_equal(k.report.found, 0);
		assert_in_range(sim_now(x->c->s) - from, 0, 10 * ENV_SEC);
		cluster_start(x->c, i);
		sim_run(x->c->s, 2 * ENV_SEC);
	}
	fsx_close(x, m);
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_waits_for_writers),
		cmocka_unit_test(test_check_repair_takes_nothing_from_a_writer),
		cmocka_unit_test(test_check_repair_takes_no_block_from_a_writer),
		cmocka_unit_test(test_check_clears_a_trim),
		cmocka_unit_test(test_check_says_nothing_of_what_it_could_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
