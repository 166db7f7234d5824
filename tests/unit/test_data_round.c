/* Rounds of write-behind: what a flush covers, and blocks that another mount's cut overtakes. */
#include "dht/wire/wire.h"
#include "tests/unit/test_data_env.h"

static struct fs_file *make(struct fsx *x, const char *name, struct fs_attr *a)
{
	struct fs_file *f;

	assert_int_equal(fsx_create(x, x->m, ROOT, name, 0644, O_RDWR, &f, a), 0);
	return f;
}

/* More pieces than one transaction takes, all of them in the inode: a flush covers them all. */
static void test_round_sends_all_pieces_of_the_inode(void **state)
{
	struct fsx *x = fsx_new(1, 1, 1);
	uint8_t want[32 * KB] = {0};
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	for (unsigned off = 0; off < sizeof(want); off += 64) {
		want[off] = (uint8_t)(off / 64 | 1);
		assert_int_equal(dx_write(x, x->m, f, off, want + off, 1), 1);
	}
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_false(data_dirty(x->m->fs->data, a.ino));
	assert_true(fsx_getattr(x, x->m, a.ino, &b) == 0);
	assert_int_equal(b.bytes, sizeof(want) / 64); /* they are with the node */
	assert_int_equal(dx_close(x, x->m, f), 0);
	fsx_free(x);
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

/*
 * A full block goes out early, with the cut that is known, while the inode's transaction finds that
 * another mount has cut the file. The block's answer comes after that: it is sent once more, with
 * the new cut, or a late trim would eat it. With @lost the block was written before the other cut,
 * whose trim removes it, and the answer to that is had only afterwards.
 */
static void overtaken(uint64_t seed, bool lost)
{
	struct fsx *x = fsx_new(seed, 3, 2);
	struct fsx_mount *m = &x->m[0], *other = &x->m[1];
	uint8_t *p = dx_bytes(0, 6 * MB, seed);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);
	struct orbit_id inode = layout_inode_id(a.ino), id;
	struct sim_host *here = x->c->client_host[0], *there;
	uint64_t block = 0;
	struct txn_object o;
	struct fsx_wait w;

	do
		id = layout_block_id(a.ino, ++block);
	while (primary_of(x, &id) == primary_of(x, &inode));
	assert_in_range(block, 1, 4);
	there = x->c->node[primary_of(x, &id)].host;
	assert_int_equal(dx_write(x, m, f, 0, p, 6 * MB), 6 * MB);
	assert_int_equal(dx_flush(x, m, f), 0);
	if (lost) {
		sim_lose_next(x->c->s, there, here, WIRE_REPLY);
		assert_int_equal(dx_write(x, m, f, block * MB, p, MB), MB);
		sim_run(x->c->s, 2 * ENV_MS);
	}
	sim_cut(x->c->s, here, there, false);
	assert_int_equal(dx_truncate(x, other, a.ino, lost ? 100 : 5 * MB + 100), 0);
	assert_int_equal(dx_write(x, m, f, 10, "small", 5), 5);
	fsx_call(m, &w);
	fs_flush(m->fs, &w.call, f); /* the inode's transaction leaves, then the block's */
	if (!lost)
		assert_int_equal(dx_write(x, m, f, block * MB, p, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	sim_heal(x->c->s, here, there);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_int_equal(dx_flush(x, m, f), 0);
	assert_int_equal(fsx_getattr(x, m, a.ino, &b), 0);
	assert_int_equal(b.cut, 1);
	assert_int_equal(b.trim, 0);
	assert_true(dx_block(x, m, a.ino, block, &o));
	assert_int_equal(o.slot[BLOCK_SLOT_CUT], 1);
	dx_expect(x, m, f, block * MB, p, MB);
	dx_expect(x, m, f, 10, "small", 5);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(dx_open(x, other, a.ino, O_RDONLY, &f), 0);
	dx_expect(x, other, f, block * MB, p, MB);
	fs_release(other->fs, f);
	free(p);
	fsx_free(x);
}

static void test_round_block_in_flight_when_the_cut_changes(void **state)
{
	(void)state;
	for (uint64_t seed = 10; seed < 16; seed++)
		overtaken(seed, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_sends_all_pieces_of_the_inode),
		cmocka_unit_test(test_round_block_in_flight_when_the_cut_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
