/* Signals for calls that wait for somebody's unfinished cut while a node does not answer. */
#include "tests/unit/test_data_env.h"

/* A node that crashes leaves behind what its store had given to workers: of a process that dies,
 * the kernel takes that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:dht/store/\nleak:save_fire";
}

static unsigned primary_of(struct fsx *x, const struct orbit_id *id)
{
	const struct ring_map *m = orbit_ring(x->m->client);
	const struct ring_node *n = &m->nodes[m->shards[ring_shard_of(m, id)].primary];

	for (unsigned i = 0; i < x->c->nnodes; i++) {
		if (orbit_id_cmp(&x->c->node[i].id, &n->id) == 0)
			return i;
	}
	fail();
	return 0;
}

struct cut_file {
	struct fsx *x;
	struct fs_attr a;
	struct fs_file *f; /* open on the first mount */
	unsigned down;     /* the node of a block that is to go; not the inode's, nor the root's */
};

static void mark(struct cut_file *c)
{
	struct orbit_id id = layout_inode_id(c->a.ino);
	struct txn_build b;

	txn_init(&b);
	txn_set(&b, &id, SLOT_SIZE, 100);
	txn_add(&b, &id, SLOT_CUT, 1);
	txn_set(&b, &id, SLOT_TRIM, 101);
	txn_set(&b, &id, SLOT_TRIM_TO, 12 * MB);
	assert_int_equal(fsx_submit(c->x, &c->x->m[1], &b), 0);
}

/* A file of 12 MiB, open, and the beginning of its cut that nobody finished. */
static struct cut_file cut_file_new(uint64_t seed)
{
	struct cut_file c = {.x = fsx_new(seed, 3, 2)};
	uint8_t *p = dx_bytes(0, 12 * MB, seed);
	struct orbit_id inode, id;
	uint64_t n = 0;

	assert_int_equal(fsx_create(c.x, c.x->m, ROOT, "f", 0644, O_RDWR, &c.f, &c.a), 0);
	assert_int_equal(dx_write(c.x, c.x->m, c.f, 0, p, 12 * MB), 12 * MB);
	assert_int_equal(dx_flush(c.x, c.x->m, c.f), 0);
	inode = layout_inode_id(c.a.ino);
	do
		id = layout_block_id(c.a.ino, n++);
	while (primary_of(c.x, &id) == primary_of(c.x, &inode));
	assert_in_range(n, 1, 12);
	c.down = primary_of(c.x, &id);
	sim_run(c.x->c->s, 2 * ENV_SEC); /* what is known is old now */
	mark(&c);
	cluster_crash(c.x->c, c.down, DISK_PROCESS);
	free(p);
	return c;
}

/* The call waits; a fatal signal ends it at once, any other when it has stalled. Then the node is
 * back, and the trim is finished for nobody. */
static void ends(struct cut_file *c, struct fsx_wait *w, bool fatal)
{
	struct fsx_mount *m = c->x->m;
	struct fs_attr a;

	sim_run(c->x->c->s, 1 * ENV_SEC);
	assert_false(w->done);
	fs_interrupt(m->fs, &w->call, fatal);
	assert_int_equal(w->done, fatal);
	sim_run(c->x->c->s, 15 * ENV_SEC);
	assert_true(w->done);
	assert_int_equal(w->rc, -EINTR);
	if (c->f)
		fs_release(m->fs, c->f);
	cluster_start(c->x->c, c->down);
	sim_run(c->x->c->s, 10 * ENV_SEC);
	assert_int_equal(fsx_getattr(c->x, m, c->a.ino, &a), 0);
	assert_int_equal(a.trim, 0);
	assert_int_equal(a.size, 100);
	fsx_free(c->x);
}

static void open_ends(uint64_t seed, bool fatal)
{
	struct cut_file c = cut_file_new(seed);
	struct fsx_wait w;

	fsx_call(c.x->m, &w);
	fs_open(c.x->m->fs, &w.call, c.a.ino, O_RDWR);
	ends(&c, &w, fatal);
}

static void test_signal_ends_an_open(void **state)
{
	(void)state;
	open_ends(1, true);
	open_ends(2, false);
}

/* O_TRUNC of a file that has bytes in blocks: the cut waits. */
static void test_signal_ends_an_open_that_cuts(void **state)
{
	struct fsx *x = fsx_new(3, 3, 1);
	uint8_t *p = dx_bytes(0, 12 * MB, 3);
	struct orbit_id inode, id;
	struct fs_file *f;
	struct fs_attr a;
	struct fsx_wait w;
	uint64_t n = 0;

	(void)state;
	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	assert_int_equal(dx_write(x, x->m, f, 0, p, 12 * MB), 12 * MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	inode = layout_inode_id(a.ino);
	do
		id = layout_block_id(a.ino, n++);
	while (primary_of(x, &id) == primary_of(x, &inode));
	assert_in_range(n, 1, 12);
	cluster_crash(x->c, primary_of(x, &id), DISK_PROCESS);
	fsx_call(x->m, &w);
	fs_open(x->m->fs, &w.call, a.ino, O_RDWR | O_TRUNC);
	sim_run(x->c->s, 1 * ENV_SEC);
	assert_false(w.done);
	fs_interrupt(x->m->fs, &w.call, true);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	assert_null(w.call.file);
	cluster_start(x->c, primary_of(x, &id));
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.size, 0);
	assert_int_equal(a.trim, 0);
	free(p);
	fsx_free(x);
}

static void test_signal_ends_a_read_that_looks_again(void **state)
{
	struct cut_file c = cut_file_new(4);
	struct fsx_wait w;

	(void)state;
	fsx_call(c.x->m, &w);
	fs_read(c.x->m->fs, &w.call, c.f, 12 * MB, 4096);
	ends(&c, &w, true);
}

static void test_signal_ends_an_allocation(void **state)
{
	struct cut_file c = cut_file_new(5);
	struct fsx_wait w;

	(void)state;
	fsx_call(c.x->m, &w);
	fs_fallocate(c.x->m->fs, &w.call, c.f, 0, 0, 1000);
	ends(&c, &w, true);
}

int main(void)
{
	fsx_cache = FS_CACHE_RELAXED; /* what others do is not told */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signal_ends_an_open),
		cmocka_unit_test(test_signal_ends_an_open_that_cuts),
		cmocka_unit_test(test_signal_ends_a_read_that_looks_again),
		cmocka_unit_test(test_signal_ends_an_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
