/* Orphans and who removes them; signals that interrupt calls. */
#include "tests/unit/test_fs_env.h"

static unsigned nodes;

/* The process of a mount dies, unheard; what it held goes with its session. */
static void kill_mount(struct fsx *x, unsigned i)
{
	sim_host_kill(x->c->client_host[i], true);
}

static bool block_there(struct fsx *x, struct fsx_mount *m, uint64_t ino, uint64_t block)
{
	struct orbit_id id = layout_block_id(ino, block);
	struct fsx_raw raw = {0};
	struct txn_build t;

	txn_init(&t);
	raw.get = txn_get(&t, &id);
	orbit_submit(m->client, &t, NULL, fsx_raw_done, &raw);
	assert_true(sim_wait(x->c->s, &raw.done, FSX_LIMIT));
	return raw.present;
}

/* An open file with @len bytes. */
static uint64_t make_file(
	struct fsx *x, struct fsx_mount *m, const char *name, size_t len, struct fs_file **f)
{
	void *data = mem_zalloc(len);
	struct fs_attr a;
	struct fsx_wait w;

	assert_int_equal(fsx_create(x, m, ROOT, name, 0644, O_RDWR, f, &a), 0);
	if (len) {
		memset(data, 'x', len);
		fsx_call(m, &w);
		fs_write(m->fs, &w.call, *f, 0, data, len);
		assert_int_equal(fsx_wait(x, &w), 0);
		fsx_call(m, &w);
		fs_fsync(m->fs, &w.call, *f, false);
		assert_int_equal(fsx_wait(x, &w), 0);
	}
	free(data);
	return a.ino;
}

static void test_reaper_removes_what_nobody_holds(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr a;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_false(fsx_object(x, m, a.ino, NULL));
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &a), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_false(fsx_object(x, m, a.ino, NULL));
	fsx_free(x);
}

static void test_reaper_waits_for_the_last_close(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fsx_wait w;
	struct fs_file *f, *g;
	struct fs_attr a;
	uint64_t ino;

	(void)state;
	ino = make_file(x, m, "f", 3 << 20, &f);
	assert_true(block_there(x, m, ino, 2));
	fsx_call(other, &w);
	fs_open(other->fs, &w.call, ino, O_RDONLY);
	assert_int_equal(fsx_wait(x, &w), 0);
	g = w.call.file;
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, m, ino, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.size, 3 << 20);
	fs_release(m->fs, f);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_true(fsx_object(x, m, ino, NULL));
	assert_true(block_there(x, m, ino, 2));
	/* nobody may begin to use it now */
	fsx_call(m, &w);
	fs_open(m->fs, &w.call, ino, O_RDONLY);
	assert_int_equal(fsx_wait(x, &w), -ESTALE);
	fs_release(other->fs, g);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_false(fsx_object(x, m, ino, NULL));
	for (uint64_t i = 0; i < 4; i++)
		assert_false(block_there(x, m, ino, i));
	fsx_free(x);
}

static void test_reaper_drops_the_holds_of_the_dead(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);
	struct fsx_mount *m = x->m;
	struct fs_file *f;
	uint64_t ino = make_file(x, &x->m[1], "f", 2 << 20, &f), from;

	(void)state;
	kill_mount(x, 1);
	from = sim_now(x->c->s);
	/* what it held of the file passes on only when it is fenced */
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	assert_in_range(sim_now(x->c->s) - from, 5 * ENV_SEC, 11 * ENV_SEC);
	sim_run(x->c->s, 300 * ENV_SEC);
	assert_false(fsx_object(x, m, ino, NULL));
	assert_false(block_there(x, m, ino, 1));
	/* what is left of the dead one belongs to nobody */
	sim_host_start(x->c->client_host[1]);
	fsx_free(x);
}

static void test_reaper_finds_what_others_left(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 2);
	struct fsx_mount *m = x->m, *later;
	struct fs_file *f[20];
	uint64_t ino[20];
	char name[16];

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ino[i] = make_file(x, &x->m[1], name, i % 2 ? 100 << 10 : 100, &f[i]);
		assert_int_equal(fsx_unlink(x, m, ROOT, name), 0);
	}
	kill_mount(x, 0);
	kill_mount(x, 1);
	sim_run(x->c->s, 300 * ENV_SEC); /* their sessions are over, and nobody is there */
	later = fsx_client(x, NULL);
	for (int i = 0; i < 20; i++)
		assert_true(fsx_object(x, later, ino[i], NULL));
	assert_int_equal(fsx_mount(x, later), 0);
	sim_run(x->c->s, 60 * ENV_SEC);
	for (int i = 0; i < 20; i++) {
		assert_false(fsx_object(x, later, ino[i], NULL));
		assert_false(block_there(x, later, ino[i], 0));
	}
	sim_host_start(x->c->client_host[0]);
	sim_host_start(x->c->client_host[1]);
	fsx_free(x);
}

static void test_reaper_is_done_when_unmount_is(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 1);
	struct fsx_mount *m = x->m;
	uint64_t ino[50];
	struct fs_file *f;
	struct fs_attr a;
	char name[16];

	(void)state;
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(fsx_touch(x, m, ROOT, name, &a), 0);
		ino[i] = a.ino;
		assert_int_equal(fsx_unlink(x, m, ROOT, name), 0);
	}
	ino[0] = make_file(x, m, "open", 200 << 10, &f);
	assert_int_equal(fsx_unlink(x, m, ROOT, "open"), 0);
	fs_release(m->fs, f);
	assert_int_equal(fsx_unmount(x, m), 0);
	for (int i = 0; i < 50; i++)
		assert_false(fsx_object(x, m, ino[i], NULL));
	fsx_free(x);
}

static void test_reaper_takes_many_at_once(void **state)
{
	struct fsx *x = fsx_new(6, 1, 1);
	struct fsx_mount *m = x->m;
	struct fsx_wait w[100];
	uint64_t n;
	char name[16];

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		assert_int_equal(fsx_touch(x, m, ROOT, name, NULL), 0);
	}
	sim_run(x->c->s, 5 * ENV_SEC);
	n = fsx_sent(m);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		fsx_call(m, &w[i]);
		fs_unlink(m->fs, &w[i].call, ROOT, name);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(fsx_wait(x, &w[i]), 0);
	sim_run(x->c->s, ENV_SEC);
	assert_in_range(fsx_sent(m) - n, 104, 120);
	fsx_free(x);
}

/* Two mounts reap the same orphans, and links come back to life at the last moment. */
static void test_reaper_of_two_mounts_at_once(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 1);
	struct fsx_mount *a = fsx_client(x, NULL), *b = fsx_client(x, NULL);
	struct fsx_wait wa = {0}, wb = {0};
	struct fs_file *f[10];
	uint64_t ino[10];
	char name[16];

	(void)state;
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ino[i] = make_file(x, x->m, name, 1 << 20, &f[i]);
		assert_int_equal(fsx_unlink(x, x->m, ROOT, name), 0);
	}
	kill_mount(x, 0);
	sim_run(x->c->s, 300 * ENV_SEC);
	fs_mount(a->client, a->env, &a->cfg, ENV_SEC, fsx_mounted, &wa);
	fs_mount(b->client, b->env, &b->cfg, ENV_SEC, fsx_mounted, &wb);
	assert_int_equal(fsx_wait(x, &wa), 0);
	assert_int_equal(fsx_wait(x, &wb), 0);
	a->fs = wa.fs;
	b->fs = wb.fs;
	sim_run(x->c->s, 60 * ENV_SEC);
	for (int i = 0; i < 10; i++)
		assert_false(fsx_object(x, a, ino[i], NULL));
	sim_host_start(x->c->client_host[0]);
	fsx_free(x);
}

/* ---- signals ---- */

/* The node that has the inode loses power, and comes back without what it had not synced; a new
 * mount finds the file as it was, or not any more, or cut to @size. */
static void inode_node_loses_power(struct fsx *x, uint64_t ino, uint64_t size)
{
	struct orbit_id id = layout_inode_id(ino);
	const struct ring_map *map = cluster_map(x->c);
	int node = cluster_at(x->c, map->shards[ring_shard_of(map, &id)].primary);
	struct fsx_mount *m = fsx_client(x, NULL);
	struct fsx_wait w;
	struct fs_attr a;

	cluster_crash(x->c, (unsigned)node, DISK_LOSE);
	sim_run(x->c->s, ENV_SEC);
	cluster_start(x->c, (unsigned)node);
	assert_int_equal(fsx_mount(x, m), 0);
	if (fsx_lookup(x, m, ROOT, "f", &a) == -ENOENT || a.size == size)
		return;
	fsx_call(m, &w);
	fs_open(m->fs, &w.call, ino, O_RDONLY);
	assert_int_equal(fsx_wait(x, &w), 0);
	for (uint64_t at = 0; at < a.size; at += LAYOUT_BLOCK / 2) {
		struct fs_file *f = w.call.file;
		struct fsx_wait r;

		fsx_call(m, &r);
		fs_read(m->fs, &r.call, f, at, 1);
		assert_int_equal(fsx_wait(x, &r), 0);
		assert_int_equal(r.call.len, 1);
		assert_int_equal(*(char *)r.copy, 'x');
		free(r.copy);
	}
	fs_release(m->fs, w.call.file);
}

/* Blocks are in other logs than the inode: none goes before it is sure why. */
static void test_reaper_takes_no_bytes_of_what_power_loss_brings_back(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 1);
	struct fs_file *f;
	uint64_t ino = make_file(x, x->m, "f", 2 << 20, &f);

	(void)state;
	fs_release(x->m->fs, f);
	assert_int_equal(fsx_unlink(x, x->m, ROOT, "f"), 0);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_false(block_there(x, x->m, ino, 1));
	inode_node_loses_power(x, ino, 0);
	fsx_free(x);
}

/* The same when it was another mount that took the last name, and died. */
static void test_reaper_takes_no_bytes_of_what_another_removed(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 2);
	struct fs_file *f;
	uint64_t ino = make_file(x, &x->m[1], "f", 2 << 20, &f);
	struct fs_file *g;

	(void)state;
	make_file(x, x->m, "g", 1, &g); /* synced: it has nothing of its own that is not */
	fs_release(x->m->fs, g);
	fs_release(x->m[1].fs, f);
	assert_int_equal(fsx_unlink(x, &x->m[1], ROOT, "f"), 0);
	sim_run(x->c->s, 5 * ENV_MS); /* the hold is dropped */
	kill_mount(x, 1);
	assert_true(block_there(x, x->m, ino, 1));
	sim_run(x->c->s, 700 * ENV_SEC);
	assert_false(block_there(x, x->m, ino, 1));
	inode_node_loses_power(x, ino, 0);
	sim_host_start(x->c->client_host[1]);
	fsx_free(x);
}

static void test_cut_takes_no_bytes_that_power_loss_brings_back(void **state)
{
	const struct fs_attr set = {.size = 1000};
	struct fsx *x = fsx_new(9, nodes, 1);
	struct fs_file *f;
	uint64_t ino = make_file(x, x->m, "f", 2 << 20, &f);

	(void)state;
	assert_int_equal(fsx_setattr(x, x->m, ino, FS_SET_SIZE, &set, NULL), 0);
	assert_false(block_there(x, x->m, ino, 1));
	inode_node_loses_power(x, ino, 1000);
	fs_release(x->m->fs, f);
	fsx_free(x);
}

static void test_interrupt_of_healthy_calls_does_nothing(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fsx_wait w;
	char name[16];

	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		fsx_call(m, &w);
		fs_mkdir(m->fs, &w.call, ROOT, name, 0755);
		fs_interrupt(m->fs, &w.call, false);
		fs_interrupt(m->fs, &w.call, false);
		assert_int_equal(fsx_wait(x, &w), 0);
	}
	fsx_free(x);
}

static void test_interrupt_frees_stalled_calls(void **state)
{
	struct orbit_policy p = orbit_config_default().policy;
	struct fsx *x = fsx_new(9, nodes, 1);
	struct fsx_mount *m;
	struct fsx_wait w;
	uint64_t t0;

	(void)state;
	p.check_timeout = 500 * ENV_MS;
	m = fsx_client(x, &p);
	assert_int_equal(fsx_mount(x, m), 0);
	fsx_unreach(x, m);
	/* not before it has stalled */
	t0 = sim_now(x->c->s);
	fsx_call(m, &w);
	fs_mkdir(m->fs, &w.call, ROOT, "a", 0755);
	fs_interrupt(m->fs, &w.call, false);
	assert_int_equal(fsx_wait(x, &w), -EINTR);
	assert_in_range(sim_now(x->c->s) - t0, 400 * ENV_MS, 900 * ENV_MS);
	/* a fatal one at once */
	t0 = sim_now(x->c->s);
	fsx_call(m, &w);
	fs_mkdir(m->fs, &w.call, ROOT, "b", 0755);
	fs_interrupt(m->fs, &w.call, true);
	assert_int_equal(fsx_wait(x, &w), -EINTR);
	assert_in_range(sim_now(x->c->s) - t0, 0, 50 * ENV_MS);
	/* who is not asked waits until the nodes are back (but a session may be silent for 10 s) */
	fsx_call(m, &w);
	fs_mkdir(m->fs, &w.call, ROOT, "c", 0755);
	sim_run(x->c->s, 7 * ENV_SEC);
	assert_false(w.done);
	fsx_reach(x, m);
	assert_int_equal(fsx_wait(x, &w), 0);
	fsx_free(x);
}

/* utimens waits for writes that are on their way; a signal ends the waiting. */
static void test_interrupt_of_what_waits_for_a_flush(void **state)
{
	struct fsx *x = fsx_new(11, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr set = {.mtime = 1000}, a;
	struct fsx_wait w, sync;
	struct fs_file *f;

	(void)state;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	fsx_call(m, &w);
	fs_write(m->fs, &w.call, f, 0, "hello", 5);
	assert_int_equal(fsx_wait(x, &w), 0);
	fsx_unreach(x, m);
	fsx_call(m, &sync);
	fs_fsync(m->fs, &sync.call, f, false);
	fsx_call(m, &w);
	fs_setattr(m->fs, &w.call, a.ino, FS_SET_MTIME, &set);
	sim_run(x->c->s, ENV_SEC);
	assert_false(w.done);
	fs_interrupt(m->fs, &w.call, true);
	assert_int_equal(fsx_wait(x, &w), -EINTR);
	fsx_reach(x, m);
	assert_int_equal(fsx_wait(x, &sync), 0);
	/* once more, to the end */
	assert_int_equal(fsx_setattr(x, m, a.ino, FS_SET_MTIME, &set, &a), 0);
	assert_true(a.mtime == 1000 && a.size == 5);
	fs_release(m->fs, f);
	fsx_free(x);
}

static void test_interrupt_by_policy_the_error_comes_in_time(void **state)
{
	struct orbit_policy p = orbit_config_default().policy;
	struct fsx *x = fsx_new(10, nodes, 1);
	struct fsx_mount *m;
	uint64_t t0;

	(void)state;
	p.check_timeout = 500 * ENV_MS;
	p.resend_count = 2;
	p.reads_block = p.writes_block = false;
	m = fsx_client(x, &p);
	assert_int_equal(fsx_mount(x, m), 0);
	fsx_unreach(x, m);
	t0 = sim_now(x->c->s);
	/* never "there is no such thing" */
	assert_int_equal(fsx_lookup(x, m, ROOT, "f", NULL), -ETIMEDOUT);
	assert_in_range(sim_now(x->c->s) - t0, 1000 * ENV_MS, 2500 * ENV_MS);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", NULL), -ETIMEDOUT);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), -ETIMEDOUT);
	fsx_reach(x, m);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", NULL), 0);
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reaper_removes_what_nobody_holds),
		cmocka_unit_test(test_reaper_waits_for_the_last_close),
		cmocka_unit_test(test_reaper_drops_the_holds_of_the_dead),
		cmocka_unit_test(test_reaper_finds_what_others_left),
		cmocka_unit_test(test_reaper_is_done_when_unmount_is),
		cmocka_unit_test(test_reaper_takes_many_at_once),
		cmocka_unit_test(test_reaper_of_two_mounts_at_once),
		cmocka_unit_test(test_reaper_takes_no_bytes_of_what_power_loss_brings_back),
		cmocka_unit_test(test_reaper_takes_no_bytes_of_what_another_removed),
		cmocka_unit_test(test_cut_takes_no_bytes_that_power_loss_brings_back),
		cmocka_unit_test(test_interrupt_of_healthy_calls_does_nothing),
		cmocka_unit_test(test_interrupt_frees_stalled_calls),
		cmocka_unit_test(test_interrupt_of_what_waits_for_a_flush),
		cmocka_unit_test(test_interrupt_by_policy_the_error_comes_in_time),
	};
	int rc = 0;

	for (nodes = 1; nodes <= 3; nodes += 2)
		rc |= cmocka_run_group_tests(tests, NULL, NULL);
	return rc;
}
