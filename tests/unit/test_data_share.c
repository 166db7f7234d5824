/* Two mounts and the kernel's copies: what one of them may go on believing at the next open. */
#include "fs/cache/inode.h"
#include "tests/unit/test_data_env.h"

struct pair {
	struct fsx *x;
	struct fsx_mount *a, *b;
	struct fs_attr f; /* a file of 8 KiB, written by a, known to b's kernel */
};

/* Opens, and says what the kernel is told about what it has. */
static struct fs_file *open_as(
	struct pair *p, struct fsx_mount *m, int flags, bool *keep, bool *changed)
{
	struct fsx_wait w;

	fsx_call(m, &w);
	fs_open(m->fs, &w.call, p->f.ino, flags);
	assert_int_equal(fsx_wait(p->x, &w), 0);
	*keep = w.call.keep_cache;
	*changed = w.call.attr_changed;
	return w.call.file;
}

static void write_as(struct pair *p, struct fsx_mount *m, uint64_t off, const char *text)
{
	struct fs_file *f;

	assert_int_equal(dx_open(p->x, m, p->f.ino, O_RDWR, &f), 0);
	assert_int_equal(dx_write(p->x, m, f, off, text, strlen(text)), strlen(text));
	assert_int_equal(dx_close(p->x, m, f), 0);
}

static struct pair pair_new(uint64_t seed)
{
	struct fsx *x = fsx_new(seed, 1, 2);
	struct pair p = {.x = x, .a = &x->m[0], .b = &x->m[1]};
	uint8_t *bytes = dx_bytes(0, 8 * KB, seed);
	bool keep, changed;
	struct fs_file *f;

	assert_int_equal(fsx_create(x, p.a, ROOT, "f", 0644, O_RDWR, &f, &p.f), 0);
	assert_int_equal(dx_write(x, p.a, f, 0, bytes, 8 * KB), 8 * KB);
	assert_int_equal(dx_close(x, p.a, f), 0);
	assert_int_equal(fsx_lookup(x, p.b, ROOT, "f", &p.f), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	assert_false(changed); /* it is as the lookup said */
	fs_release(p.b->fs, f);
	free(bytes);
	return p;
}

static void test_share_own_writes_keep_the_pages(void **state)
{
	struct pair p = pair_new(1);
	struct fs_attr set = {.mtime = 12345};
	bool keep, changed;
	struct fs_file *f;

	(void)state;
	write_as(&p, p.b, 10, "mine");
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_true(keep);
	assert_false(changed);
	fs_release(p.b->fs, f);
	/* nor do times that are set, or a cut */
	assert_int_equal(fsx_setattr(p.x, p.b, p.f.ino, FS_SET_MTIME, &set, NULL), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_true(keep);
	fs_release(p.b->fs, f);
	assert_int_equal(dx_truncate(p.x, p.b, p.f.ino, 4 * KB), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_true(keep);
	fs_release(p.b->fs, f);
	fsx_free(p.x);
}

/* Another mount wrote, which we saw in passing; writing ourselves does not make the pages good. */
static void test_share_foreign_bytes_are_not_hidden_by_own_writes(void **state)
{
	struct pair p = pair_new(2);
	bool keep, changed;
	struct fs_file *f;
	struct fs_attr a;

	(void)state;
	f = open_as(&p, p.b, O_RDWR, &keep, &changed);
	assert_true(keep);
	write_as(&p, p.a, 0, "theirs");
	assert_int_equal(fsx_getattr(p.x, p.b, p.f.ino, &a), 0);
	assert_int_equal(dx_write(p.x, p.b, f, 4 * KB, "mine", 4), 4);
	assert_int_equal(dx_close(p.x, p.b, f), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	fs_release(p.b->fs, f);
	fsx_free(p.x);
}

static void test_share_foreign_bytes_are_not_hidden_by_a_cut(void **state)
{
	struct pair p = pair_new(3);
	bool keep, changed;
	struct fs_file *f;

	(void)state;
	f = open_as(&p, p.b, O_RDWR, &keep, &changed);
	write_as(&p, p.a, 0, "theirs");
	assert_int_equal(dx_truncate(p.x, p.b, p.f.ino, 5 * KB), 0);
	assert_int_equal(dx_close(p.x, p.b, f), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	fs_release(p.b->fs, f);
	fsx_free(p.x);
}

/* What a kernel has to forget. */
struct dropped {
	unsigned n, pages;
	uint64_t ino;
};

static void drop(void *arg, struct inode_drop *d)
{
	struct dropped *k = arg;

	k->n++;
	k->pages += d->pages && d->ino == k->ino;
	inode_dropped(d);
}

/* The kernel keeps what was written, too, and has to forget it when another mount writes. */
static void test_share_pages_that_were_only_written_are_dropped(void **state)
{
	struct dropped k = {0};
	struct fs_file *f;
	struct pair p;
	struct fsx *x;

	(void)state;
	fsx_cache = FS_CACHE_STRICT;
	x = fsx_new(5, 1, 2);
	fsx_cache = FS_CACHE_RELAXED;
	p = (struct pair){.x = x, .a = &x->m[0], .b = &x->m[1]};
	assert_int_equal(fsx_create(x, p.b, ROOT, "f", 0644, O_RDWR, &f, &p.f), 0);
	k.ino = p.f.ino;
	inode_cache_kernel(p.b->fs->inodes, drop, &k);
	assert_int_equal(dx_write(x, p.b, f, 0, "mine", 4), 4);
	assert_int_equal(dx_flush(x, p.b, f), 0);
	assert_int_equal(k.pages, 0);
	write_as(&p, p.a, 0, "theirs");
	assert_int_equal(k.pages, 1);
	assert_int_equal(dx_close(x, p.b, f), 0);
	inode_cache_kernel(p.b->fs->inodes, NULL, NULL);
	fsx_free(x);
}

/* The kernel may go by a size that it was told a moment ago: at an open it has to hear of another.
 */
static void test_share_open_tells_of_foreign_changes(void **state)
{
	struct pair p = pair_new(4);
	bool keep, changed;
	struct fs_file *f;
	struct fs_attr a;

	(void)state;
	write_as(&p, p.a, 8 * KB, "more");
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	assert_true(changed);
	fs_release(p.b->fs, f);
	/* not when the kernel has looked since */
	write_as(&p, p.a, 9 * KB, "more");
	assert_int_equal(fsx_lookup(p.x, p.b, ROOT, "f", &a), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	assert_false(changed);
	fs_release(p.b->fs, f);
	fsx_free(p.x);
}

/* With cache=none each read asks, also for the end of the file. */
static void test_share_without_cache_reads_ask(void **state)
{
	uint8_t *bytes = dx_bytes(0, 8 * KB, 6);
	struct fs_file *f;
	struct pair p;
	struct fsx *x;
	char got[16];

	(void)state;
	fsx_cache = FS_CACHE_NONE;
	p = pair_new(6);
	fsx_cache = FS_CACHE_RELAXED;
	x = p.x;
	assert_int_equal(dx_open(x, p.b, p.f.ino, O_RDONLY, &f), 0);
	dx_expect(x, p.b, f, 0, bytes, 8 * KB);
	write_as(&p, p.a, 0, "theirs");
	dx_expect(x, p.b, f, 0, "theirs", 6);
	write_as(&p, p.a, 8 * KB, "more");
	dx_expect(x, p.b, f, 8 * KB, "more", 4);
	assert_int_equal(dx_truncate(x, p.a, p.f.ino, 3), 0);
	assert_int_equal(dx_read(x, p.b, f, 0, got, sizeof(got)), 3);
	fs_release(p.b->fs, f);
	free(bytes);
	fsx_free(x);
}

/* Bytes that were changed, and the time put back: the time of status change tells. */
static void test_share_times_that_are_put_back_hide_nothing(void **state)
{
	struct pair p = pair_new(7);
	struct fs_attr set = {.mtime = p.f.mtime};
	bool keep, changed;
	struct fs_file *f;

	(void)state;
	write_as(&p, p.a, 0, "theirs");
	assert_int_equal(fsx_setattr(p.x, p.a, p.f.ino, FS_SET_MTIME, &set, NULL), 0);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_false(keep);
	fs_release(p.b->fs, f);
	f = open_as(&p, p.b, O_RDONLY, &keep, &changed);
	assert_true(keep);
	fs_release(p.b->fs, f);
	fsx_free(p.x);
}

int main(void)
{
	fsx_cache = FS_CACHE_RELAXED; /* what others do is not told */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_share_own_writes_keep_the_pages),
		cmocka_unit_test(test_share_foreign_bytes_are_not_hidden_by_own_writes),
		cmocka_unit_test(test_share_foreign_bytes_are_not_hidden_by_a_cut),
		cmocka_unit_test(test_share_pages_that_were_only_written_are_dropped),
		cmocka_unit_test(test_share_open_tells_of_foreign_changes),
		cmocka_unit_test(test_share_without_cache_reads_ask),
		cmocka_unit_test(test_share_times_that_are_put_back_hide_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
