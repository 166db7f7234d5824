/* Listing directories: completeness, cookies, attributes, what changes meanwhile. */
#include "tests/unit/test_fs_env.h"

static unsigned nodes;

/* What was listed. */
struct seen {
	char name[LAYOUT_NAME_MAX + 1];
	uint64_t ino, cookie;
	uint8_t type;
	struct fs_attr attr;
};

struct list {
	struct seen *e;
	unsigned n, cap;
	unsigned bite; /* entries taken by one call */
	unsigned left;
	bool plus;
};

static bool fill(void *arg, const struct fs_dirent *de)
{
	struct list *l = arg;
	struct seen *s;

	if (l->left == 0)
		return false;
	l->left--;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->e = mem_grow(l->e, l->cap, sizeof(*l->e));
	}
	s = &l->e[l->n++];
	memset(s, 0, sizeof(*s));
	assert_int_equal(strlen(de->name), de->len);
	memcpy(s->name, de->name, min_size(de->len + 1, sizeof(s->name)));
	s->ino = de->ino;
	s->cookie = de->cookie;
	s->type = de->type;
	if (de->attr)
		s->attr = *de->attr;
	assert_true(!de->attr || (l->plus && de->attr->ino == de->ino));
	return true;
}

/* One call, from where the list ends: how many entries it gave. */
static unsigned bite(struct fsx *x, struct fsx_mount *m, struct fs_dir *d, struct list *l)
{
	unsigned before = l->n;
	uint64_t cookie = l->n ? l->e[l->n - 1].cookie : 0;

	l->left = l->bite;
	assert_int_equal(fsx_readdir(x, m, d, cookie, l->plus, fill, l), 0);
	return l->n - before;
}

static void list_all(struct fsx *x, struct fsx_mount *m, struct fs_dir *d, struct list *l)
{
	while (bite(x, m, d, l))
		;
}

static const struct seen *find(const struct list *l, const char *name)
{
	const struct seen *found = NULL;

	for (unsigned i = 0; i < l->n; i++) {
		if (strcmp(l->e[i].name, name))
			continue;
		assert_null(found); /* never twice */
		found = &l->e[i];
	}
	return found;
}

static void fill_dir(struct fsx *x, struct fsx_mount *m, uint64_t dir, int from, int to)
{
	char name[16];

	for (int i = from; i < to; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		if (i % 10)
			assert_int_equal(fsx_touch(x, m, dir, name, NULL), 0);
		else
			assert_int_equal(fsx_mkdir(x, m, dir, name, 0755, NULL), 0);
	}
}

static void assert_listed(const struct list *l, int from, int to)
{
	char name[16];

	for (int i = from; i < to; i++) {
		const struct seen *s;

		snprintf(name, sizeof(name), "f%d", i);
		s = find(l, name);
		assert_non_null(s);
		assert_int_equal(s->type, i % 10 ? DT_REG : DT_DIR);
		if (l->plus)
			assert_int_equal(layout_dtype(s->attr.mode), s->type);
	}
}

static void test_readdir_lists_everything_once(void **state)
{
	struct fsx *x = fsx_new(1, nodes, 1);
	struct fsx_mount *m = x->m;
	static const unsigned bites[] = {1, 7, 25, 100000};
	struct fs_attr d;
	struct fs_dir *dir;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	fill_dir(x, m, d.ino, 0, 600);
	for (unsigned i = 0; i < 8; i++) {
		struct list l = {.bite = bites[i / 2], .plus = i & 1};

		assert_int_equal(fsx_opendir(x, m, d.ino, &dir), 0);
		list_all(x, m, dir, &l);
		assert_int_equal(l.n, 602);
		assert_listed(&l, 0, 600);
		assert_string_equal(l.e[0].name, ".");
		assert_true(l.e[0].ino == d.ino && l.e[0].cookie == 1);
		assert_string_equal(l.e[1].name, "..");
		assert_true(l.e[1].ino == ROOT && l.e[1].cookie == 2);
		/* from any cookie on, the rest */
		for (unsigned k = 0; k < l.n; k += 37) {
			struct list rest = {.bite = 1000, .plus = l.plus};

			rest.left = rest.bite;
			assert_int_equal(
				fsx_readdir(x, m, dir, l.e[k].cookie, l.plus, fill, &rest), 0);
			assert_true(rest.n > 0 || k == l.n - 1);
			for (unsigned r = 0; r < rest.n; r++)
				assert_string_equal(rest.e[r].name, l.e[k + 1 + r].name);
			free(rest.e);
		}
		fs_releasedir(m->fs, dir);
		free(l.e);
	}
	fsx_free(x);
}

static void test_readdir_of_nothing_and_of_no_directory(void **state)
{
	struct fsx *x = fsx_new(2, nodes, 1);
	struct fsx_mount *m = x->m;
	struct list l = {.bite = 10};
	struct fs_attr a;
	struct fs_dir *dir;

	(void)state;
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	list_all(x, m, dir, &l);
	assert_int_equal(l.n, 2);
	free(l.e);
	fs_releasedir(m->fs, dir);
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	assert_int_equal(fsx_opendir(x, m, a.ino, &dir), -ENOTDIR);
	assert_int_equal(fsx_opendir(x, m, a.ino + 77, &dir), -ESTALE);
	fsx_free(x);
}

static void test_readdir_while_the_directory_changes(void **state)
{
	struct fsx *x = fsx_new(3, nodes, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct list l = {.bite = 20, .plus = true};
	struct fs_dir *dir;
	char name[16];
	int i = 0;

	(void)state;
	fill_dir(x, m, ROOT, 0, 200);
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	/* what is there all the time is listed once, whatever comes and goes around it */
	while (bite(x, m, dir, &l)) {
		for (int k = 0; k < 10; k++, i++) {
			snprintf(name, sizeof(name), "new%d", i);
			assert_int_equal(fsx_touch(x, i & 1 ? m : other, ROOT, name, NULL), 0);
			if (i >= 10) {
				snprintf(name, sizeof(name), "new%d", i - 10);
				assert_int_equal(fsx_unlink(x, i & 2 ? m : other, ROOT, name), 0);
			}
		}
	}
	assert_listed(&l, 0, 200);
	free(l.e);
	fs_releasedir(m->fs, dir);
	fsx_free(x);
}

static void test_readdir_plus_never_tells_an_older_state(void **state)
{
	struct fsx *x = fsx_new(4, nodes, 1);
	struct fsx_mount *m = x->m;
	struct list l = {.bite = 5, .plus = true}, all = {.bite = 1000, .plus = true};
	struct fs_dir *dir;
	struct fs_attr a;

	(void)state;
	fill_dir(x, m, ROOT, 0, 100);
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	list_all(x, m, dir, &all);
	assert_int_equal(bite(x, m, dir, &l), 5);
	/* the batch is read; now change what the next bites would give */
	for (unsigned i = 5; i < all.n; i++) {
		const char *name = all.e[i].name;

		if (i % 3 == 0 && all.e[i].type == DT_REG)
			assert_int_equal(fsx_unlink(x, m, ROOT, name), 0);
		else
			assert_int_equal(fsx_setattr(x, m, all.e[i].ino, FS_SET_MODE,
						 &(struct fs_attr){.mode = 0700}, NULL),
				0);
	}
	list_all(x, m, dir, &l);
	for (unsigned i = 5; i < l.n; i++) {
		assert_int_equal(l.e[i].attr.mode & 07777, 0700);
		assert_int_equal(fsx_lookup(x, m, ROOT, l.e[i].name, &a), 0);
	}
	free(l.e);
	free(all.e);
	fs_releasedir(m->fs, dir);
	fsx_free(x);
}

/* Names whose hashes are equal: made by hand, since nobody finds them by chance. */
static void test_readdir_with_equal_hashes(void **state)
{
	struct fsx *x = fsx_new(5, nodes, 1);
	struct fsx_mount *m = x->m;
	struct orbit_id id = layout_inode_id(ROOT);
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	struct txn_build t;
	struct fs_dir *dir;
	struct fs_attr a;
	char name[16];

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", &a), 0);
	layout_dirent_value(a.ino, DT_REG, val);
	txn_init(&t);
	for (int i = 0; i < 100; i++) {
		size_t klen;

		snprintf(name, sizeof(name), "same%02d", i);
		klen = layout_dirent_key(name, 6, key);
		put_be64(key + 1, UINT64_C(0x4000000000000000) + (uint64_t)i / 50);
		txn_put(&t, &id, key, klen, val, sizeof(val));
	}
	assert_int_equal(fsx_submit(x, m, &t), 0);
	for (unsigned size = 1; size < 120; size += 7) {
		struct list l = {.bite = size, .plus = size & 1};

		assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
		while (bite(x, m, dir, &l)) {
			/* and the batch is of no use when it goes on */
			if (size % 3 == 0)
				assert_int_equal(
					fsx_setattr(x, m, a.ino, FS_SET_MODE, &a, NULL), 0);
		}
		assert_int_equal(l.n, 103);
		for (int i = 0; i < 100; i++) {
			snprintf(name, sizeof(name), "same%02d", i);
			assert_non_null(find(&l, name));
		}
		free(l.e);
		fs_releasedir(m->fs, dir);
	}
	fsx_free(x);
}

static void test_readdir_shows_no_attributes_and_leaves_out_the_dangling(void **state)
{
	struct fsx *x = fsx_new(6, nodes, 1);
	struct fsx_mount *m = x->m;
	struct orbit_id id = layout_inode_id(ROOT);
	uint8_t key[DIRENT_KEY_MAX], val[DIRENT_VALUE_LEN];
	struct list l = {.bite = 100, .plus = true}, k = {.bite = 100};
	struct txn_build t;
	struct fs_dir *dir;
	size_t klen;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "f", NULL), 0);
	assert_int_equal(fsx_setxattr(x, m, ROOT, "user.a", "1", 1, 0), 0);
	klen = layout_dirent_key("ghost", 5, key);
	layout_dirent_value(layout_ino_own(12345678), DT_REG, val);
	txn_init(&t);
	txn_put(&t, &id, key, klen, val, sizeof(val));
	klen = layout_dirent_key("broken", 6, key);
	txn_put(&t, &id, key, klen, "xyz", 3);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	list_all(x, m, dir, &l);
	assert_int_equal(l.n, 3);
	assert_non_null(find(&l, "f"));
	list_all(x, m, dir, &k);
	assert_int_equal(k.n, 4);
	assert_non_null(find(&k, "ghost"));
	/* such names can't be used, and say so */
	assert_int_equal(fsx_lookup(x, m, ROOT, "ghost", NULL), -EIO);
	assert_int_equal(fsx_lookup(x, m, ROOT, "broken", NULL), -EIO);
	assert_int_equal(fsx_unlink(x, m, ROOT, "ghost"), -EIO);
	assert_int_equal(fsx_rename(x, m, ROOT, "ghost", ROOT, "g", 0), -EIO);
	fs_releasedir(m->fs, dir);
	free(l.e);
	free(k.e);
	fsx_free(x);
}

static void test_readdir_of_a_removed_directory(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 2);
	struct fsx_mount *m = x->m;
	struct list l = {.bite = 1};
	struct fs_dir *dir;
	struct fs_attr d;

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_opendir(x, m, d.ino, &dir), 0);
	assert_int_equal(fsx_rmdir(x, &x->m[1], ROOT, "d"), 0);
	sim_run(x->c->s, 3 * ENV_SEC);
	assert_false(fsx_object(x, m, d.ino, NULL));
	list_all(x, m, dir, &l);
	assert_int_equal(l.n, 2);
	free(l.e);
	fs_releasedir(m->fs, dir);
	fsx_free(x);
}

/* Somebody works in it, with nothing open: it is there for him, dead, however many go meanwhile;
 * until the kernel forgets it. */
static void test_readdir_remembers_what_was_removed(void **state)
{
	struct fsx *x = fsx_new(7, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr d, other, a;
	struct fs_dir *dir;
	struct list l = {.bite = 1};
	char name[16];

	(void)state;
	assert_int_equal(fsx_mkdir(x, m, ROOT, "d", 0755, &d), 0);
	assert_int_equal(fsx_rmdir(x, m, ROOT, "d"), 0);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(fsx_mkdir(x, m, ROOT, name, 0755, &other), 0);
		assert_int_equal(fsx_rmdir(x, m, ROOT, name), 0);
	}
	sim_run(x->c->s, 3 * ENV_SEC);
	assert_false(fsx_object(x, m, d.ino, NULL));
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fsx_opendir(x, m, d.ino, &dir), 0);
	list_all(x, m, dir, &l);
	assert_int_equal(l.n, 2);
	free(l.e);
	fs_releasedir(m->fs, dir);
	sim_run(x->c->s, ENV_SEC);
	fs_forget(m->fs, d.ino);
	assert_int_equal(fsx_getattr(x, m, d.ino, &a), -ESTALE);
	assert_int_equal(fsx_getattr(x, m, other.ino, &a), 0);
	fsx_free(x);
}

static void test_readdir_rewinds_and_sees_what_is_new(void **state)
{
	struct fsx *x = fsx_new(8, nodes, 2);
	struct fsx_mount *m = x->m;
	struct list l = {.bite = 100}, k = {.bite = 100};
	struct fs_dir *dir;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "a", NULL), 0);
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	list_all(x, m, dir, &l);
	assert_int_equal(l.n, 3);
	assert_int_equal(fsx_touch(x, &x->m[1], ROOT, "b", NULL), 0);
	list_all(x, m, dir, &k);
	assert_int_equal(k.n, 4);
	free(l.e);
	free(k.e);
	fs_releasedir(m->fs, dir);
	fsx_free(x);
}

/* Two calls at once on one open directory, and a release under a call. */
static void test_readdir_at_once(void **state)
{
	struct fsx *x = fsx_new(9, nodes, 1);
	struct fsx_mount *m = x->m;
	struct list l = {.bite = 1000}, k = {.bite = 1000, .plus = true};
	struct fsx_wait w, v;
	struct fs_dir *dir;

	(void)state;
	fill_dir(x, m, ROOT, 0, 50);
	l.left = k.left = 1000;
	assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
	fsx_call(m, &w);
	fsx_call(m, &v);
	fs_readdir(m->fs, &w.call, dir, 0, false, fill, &l);
	fs_readdir(m->fs, &v.call, dir, 0, true, fill, &k);
	assert_int_equal(fsx_wait(x, &v), 0);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_int_equal(l.n, 52);
	assert_int_equal(k.n, 52);
	fsx_call(m, &w);
	fs_readdir(m->fs, &w.call, dir, 0, true, fill, &k);
	fs_releasedir(m->fs, dir);
	assert_int_equal(fsx_wait(x, &w), 0);
	free(l.e);
	free(k.e);
	fsx_free(x);
}

static void test_readdir_touches_atime_when_that_tells_something(void **state)
{
	struct fsx *x = fsx_new(10, nodes, 1);
	struct fsx_mount *m = x->m;
	struct fs_attr before, after;

	(void)state;
	assert_int_equal(fsx_touch(x, m, ROOT, "a", NULL), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, &before), 0);
	for (int i = 0; i < 2; i++) {
		struct list l = {.bite = 100};
		struct fs_dir *dir;

		sim_run(x->c->s, ENV_SEC);
		assert_int_equal(fsx_opendir(x, m, ROOT, &dir), 0);
		list_all(x, m, dir, &l);
		fs_releasedir(m->fs, dir);
		free(l.e);
		sim_run(x->c->s, ENV_SEC);
		assert_int_equal(fsx_getattr(x, m, ROOT, &after), 0);
		if (i == 0)
			assert_true(after.atime > after.mtime && before.atime < before.mtime);
		else
			assert_true(after.atime == before.atime);
		before = after;
	}
	fsx_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readdir_lists_everything_once),
		cmocka_unit_test(test_readdir_of_nothing_and_of_no_directory),
		cmocka_unit_test(test_readdir_while_the_directory_changes),
		cmocka_unit_test(test_readdir_plus_never_tells_an_older_state),
		cmocka_unit_test(test_readdir_with_equal_hashes),
		cmocka_unit_test(test_readdir_shows_no_attributes_and_leaves_out_the_dangling),
		cmocka_unit_test(test_readdir_of_a_removed_directory),
		cmocka_unit_test(test_readdir_remembers_what_was_removed),
		cmocka_unit_test(test_readdir_rewinds_and_sees_what_is_new),
		cmocka_unit_test(test_readdir_at_once),
		cmocka_unit_test(test_readdir_touches_atime_when_that_tells_something),
	};
	int rc = 0;

	for (nodes = 1; nodes <= 3; nodes += 2)
		rc |= cmocka_run_group_tests(tests, NULL, NULL);
	return rc;
}
