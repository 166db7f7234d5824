/* Names that mean something else by the time that what they meant is used: on two mounts. */
#include "tests/unit/test_data_env.h"

#define CALLER 7
#define OTHER 8

struct pair {
	struct fsx *x;
	struct fsx_mount *m, *other; /* the other one replaces things */
};

static void pair_init(struct pair *p, uint64_t seed)
{
	p->x = fsx_new(seed, 3, 2);
	p->m = &p->x->m[0];
	p->other = &p->x->m[1];
}

static void pair_fini(struct pair *p)
{
	fsx_free(p->x);
}

/* What the kernel asks for @pid; w has the results. */
#define CALL(p, w, pid_, ...)                                                                      \
	({                                                                                         \
		fsx_call((p)->m, &(w));                                                            \
		(w).call.pid = pid_;                                                               \
		__VA_ARGS__;                                                                       \
		fsx_wait((p)->x, &(w));                                                            \
		free((w).copy);                                                                    \
		(w).rc;                                                                            \
	})

static int lookup(struct pair *p, unsigned pid, uint64_t dir, const char *name, struct fs_attr *a)
{
	struct fsx_wait w;
	int rc = CALL(p, w, pid, fs_lookup(p->m->fs, &w.call, dir, name));

	*a = w.call.attr;
	return rc;
}

static int open_it(struct pair *p, unsigned pid, uint64_t ino, struct fs_file **f)
{
	struct fsx_wait w;
	int rc = CALL(p, w, pid, fs_open(p->m->fs, &w.call, ino, O_RDONLY));

	*f = w.call.file;
	return rc;
}

static int stat_it(struct pair *p, unsigned pid, uint64_t ino, struct fs_attr *a)
{
	struct fsx_wait w;
	int rc = CALL(p, w, pid, fs_getattr(p->m->fs, &w.call, ino));

	*a = w.call.attr;
	return rc;
}

/* The other mount puts another file, with that byte in it, in the place of "e". */
static void replace(struct pair *p, char byte)
{
	struct fs_file *f;
	struct fs_attr a;

	assert_int_equal(
		fsx_create(p->x, p->other, ROOT, "new", 0644, O_CREAT | O_RDWR, &f, &a), 0);
	assert_int_equal(dx_write(p->x, p->other, f, 0, &byte, 1), 1);
	assert_int_equal(dx_close(p->x, p->other, f), 0);
	assert_int_equal(fsx_rename(p->x, p->other, ROOT, "new", ROOT, "e", 0), 0);
	sim_run(p->x->c->s, 500 * ENV_MS); /* what it was has gone, unless it is held */
}

static void test_stale_file_is_there_when_it_is_looked_up_again(void **state)
{
	struct fs_file *f = NULL;
	struct fs_attr a, b;
	struct pair p;

	(void)state;
	pair_init(&p, 1);
	replace(&p, 'a');
	assert_int_equal(lookup(&p, CALLER, ROOT, "e", &a), 0);
	assert_int_equal(lookup(&p, OTHER, ROOT, "e", &b), 0);
	replace(&p, 'b');
	assert_int_equal(open_it(&p, CALLER, a.ino, &f), -ESTALE);
	/* the kernel looks again, once */
	assert_int_equal(lookup(&p, CALLER, ROOT, "e", &a), 0);
	assert_true(a.ino != b.ino);
	replace(&p, 'c');
	assert_int_equal(stat_it(&p, CALLER, a.ino, &b), 0);
	assert_int_equal(b.nlink, 0);
	assert_int_equal(open_it(&p, CALLER, a.ino, &f), 0);
	dx_expect(p.x, p.m, f, 0, "b", 1);
	fs_release(p.m->fs, f);
	/* it goes when that is over */
	sim_run(p.x->c->s, 60 * ENV_SEC);
	assert_false(fsx_object(p.x, p.other, a.ino, NULL));
	/* nobody else pays for it */
	assert_int_equal(lookup(&p, OTHER, ROOT, "e", &a), 0);
	replace(&p, 'd');
	assert_int_equal(open_it(&p, OTHER, a.ino, &f), -ESTALE);
	pair_fini(&p);
}

/* What was found is gone before it is held: the next is found. */
static void test_stale_lookup_finds_what_is_there(void **state)
{
	struct fs_attr a, b;
	struct fsx_wait w;
	struct pair p;
	struct fs_file *f;

	(void)state;
	fsx_cache = FS_CACHE_NONE;
	pair_init(&p, 2);
	fsx_cache = FS_CACHE_STRICT;
	replace(&p, 'a');
	assert_int_equal(lookup(&p, CALLER, ROOT, "e", &a), 0);
	replace(&p, 'b');
	assert_int_equal(open_it(&p, CALLER, a.ino, &f), -ESTALE);
	fsx_call(p.m, &w);
	w.call.pid = CALLER;
	fs_lookup(p.m->fs, &w.call, ROOT, "e");
	sim_run(p.x->c->s, 100000); /* it is on its way: the answer comes later */
	sim_host_pause(p.x->c->client_host[0], 900 * ENV_MS);
	replace(&p, 'c');
	assert_int_equal(fsx_wait(p.x, &w), 0);
	a = w.call.attr;
	assert_int_equal(lookup(&p, OTHER, ROOT, "e", &b), 0);
	assert_true(a.ino == b.ino);
	pair_fini(&p);
}

static bool fill_none(void *arg, const struct fs_dirent *e)
{
	(void)e;
	++*(unsigned *)arg;
	return true;
}

/* The other mount puts another directory in the place of "d". */
static void replace_dir(struct pair *p)
{
	assert_int_equal(fsx_mkdir(p->x, p->other, ROOT, "new", 0755, NO_ATTR), 0);
	assert_int_equal(fsx_rename(p->x, p->other, ROOT, "new", ROOT, "d", 0), 0);
	sim_run(p->x->c->s, 500 * ENV_MS);
}

static void test_stale_directory_is_told_of_when_it_is_looked_up_again(void **state)
{
	struct fs_attr a, b, set = {.mode = S_IFDIR | 0700};
	struct fs_dir *d = NULL;
	struct fsx_wait w;
	unsigned entries = 0;
	struct pair p;

	(void)state;
	pair_init(&p, 3);
	replace_dir(&p);
	assert_int_equal(lookup(&p, CALLER, ROOT, "d", &a), 0);
	replace_dir(&p);
	assert_int_equal(stat_it(&p, CALLER, a.ino, &b), -ESTALE);
	assert_int_equal(lookup(&p, CALLER, ROOT, "d", &a), 0);
	replace_dir(&p);
	/* as a directory that was removed and is open */
	assert_int_equal(stat_it(&p, CALLER, a.ino, &b), 0);
	assert_int_equal(b.nlink, 0);
	assert_int_equal(b.mode, a.mode);
	assert_int_equal(lookup(&p, CALLER, a.ino, "f", &b), -ENOENT);
	assert_int_equal(
		CALL(&p, w, CALLER, fs_mkdir(p.m->fs, &w.call, a.ino, "s", 0755)), -ENOENT);
	assert_int_equal(
		CALL(&p, w, CALLER, fs_setattr(p.m->fs, &w.call, a.ino, FS_SET_MODE, &set)), 0);
	assert_int_equal(w.call.attr.mode, S_IFDIR | 0700);
	assert_int_equal(stat_it(&p, CALLER, a.ino, &b), 0);
	assert_int_equal(b.mode, S_IFDIR | 0700);
	assert_int_equal(
		CALL(&p, w, CALLER, fs_getxattr(p.m->fs, &w.call, a.ino, "user.x")), -ENODATA);
	assert_int_equal(CALL(&p, w, CALLER, fs_listxattr(p.m->fs, &w.call, a.ino)), 0);
	assert_int_equal(fsx_opendir(p.x, p.m, a.ino, &d), 0);
	assert_int_equal(fsx_readdir(p.x, p.m, d, 0, false, fill_none, &entries), 0);
	assert_true(entries <= 2);
	fs_releasedir(p.m->fs, d);
	/* for a moment */
	sim_run(p.x->c->s, 3 * ENV_SEC);
	assert_int_equal(stat_it(&p, CALLER, a.ino, &b), -ESTALE);
	pair_fini(&p);
}

/* open(O_CREAT) of a name that was there, and is not any more when it is to be opened: made anew.
 */
static void test_create_of_what_was_just_removed(void **state)
{
	struct fs_attr a;
	struct fsx_wait w;
	struct pair p;

	(void)state;
	fsx_cache = FS_CACHE_NONE;
	pair_init(&p, 4);
	fsx_cache = FS_CACHE_STRICT;
	assert_int_equal(fsx_touch(p.x, p.m, ROOT, "g", &a), 0); /* what it needs is known */
	assert_int_equal(fsx_touch(p.x, p.other, ROOT, "f", &a), 0);
	fsx_call(p.m, &w);
	fs_create(p.m->fs, &w.call, ROOT, "f", 0600, O_CREAT | O_RDWR);
	sim_run(p.x->c->s, 100000);
	sim_host_pause(p.x->c->client_host[0], 500 * ENV_MS);
	sim_run(p.x->c->s, 50 * ENV_MS);
	assert_int_equal(fsx_unlink(p.x, p.other, ROOT, "f"), 0);
	assert_int_equal(fsx_wait(p.x, &w), 0);
	assert_true(w.call.attr.ino != a.ino);
	assert_int_equal(w.call.attr.mode, S_IFREG | 0600);
	assert_int_equal(dx_write(p.x, p.m, w.call.file, 0, "x", 1), 1);
	assert_int_equal(dx_close(p.x, p.m, w.call.file), 0);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stale_file_is_there_when_it_is_looked_up_again),
		cmocka_unit_test(test_stale_lookup_finds_what_is_there),
		cmocka_unit_test(test_stale_directory_is_told_of_when_it_is_looked_up_again),
		cmocka_unit_test(test_create_of_what_was_just_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
