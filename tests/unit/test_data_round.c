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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_sends_all_pieces_of_the_inode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
