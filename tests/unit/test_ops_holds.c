/* Holds of open files: none is left behind, whatever comes between. And what goes together with
 * others: holds, orphans, blocks. */
#include "fs/cache/data_impl.h"
#include "tests/unit/test_data_env.h"

struct holds_seen {
	bool done;
	int get;
	uint32_t n;
};

static void holds_said(void *arg, const struct orbit_reply *r)
{
	struct holds_seen *h = arg;
	struct txn_result res;
	struct cur c;

	assert_int_equal(r->rc, 0);
	assert_int_equal(orbit_result(r, h->get, &res), 0);
	c = cur_of(res.data, res.len);
	h->n = cur_u32(&c);
	h->done = true;
}

/* How many sessions hold it? */
static unsigned holders(struct fsx *x, struct fsx_mount *m, uint64_t ino)
{
	struct orbit_id id = layout_inode_id(ino);
	struct holds_seen h = {0};
	struct txn_build t;

	txn_init(&t);
	h.get = txn_holds(&t, &id);
	orbit_submit(m->client, &t, NULL, holds_said, &h);
	assert_true(sim_wait(x->c->s, &h.done, FSX_LIMIT));
	return h.n;
}

/* A signal ends an open while the hold of the last one is on its way out. */
static void test_holds_open_given_up_while_dropped(void **state)
{
	struct fsx *x = fsx_new(1, 1, 1);
	struct fsx_mount *m = x->m;
	struct fs_file *f;
	struct fs_attr a;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(holders(x, m, a.ino), 1);
	sim_run(x->c->s, 900 * ENV_MS);
	fsx_unreach(x, m);
	sim_run(x->c->s, 200 * ENV_MS);
	fsx_call(m, &w);
	fs_open(m->fs, &w.call, a.ino, O_RDONLY);
	sim_run(x->c->s, 10 * ENV_MS);
	fs_interrupt(m->fs, &w.call, true);
	assert_int_equal(fsx_wait(x, &w), -EINTR);
	fsx_reach(x, m);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_int_equal(holders(x, m, a.ino), 0);
	assert_null(inode_find(m->fs->data, a.ino)); /* and the record is gone */
	fsx_free(x);
}

/* Many who open one file at the same moment take a hold each, and all of them go. */
static void test_holds_of_opens_at_once(void **state)
{
	enum { FILES = 40, OPENS = 8 };
	struct fsx *x = fsx_new(2, 1, 1);
	struct fsx_mount *m = x->m;
	static struct fsx_wait w[FILES][OPENS];
	uint64_t ino[FILES];
	struct fs_attr a;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fsx_touch(x, m, ROOT, name, &a), 0);
		ino[i] = a.ino;
	}
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned k = 0; k < OPENS; k++) {
			fsx_call(m, &w[i][k]);
			fs_open(m->fs, &w[i][k].call, ino[i], O_RDONLY);
		}
	}
	for (unsigned i = 0; i < FILES; i++) {
		for (unsigned k = 0; k < OPENS; k++) {
			assert_int_equal(fsx_wait(x, &w[i][k]), 0);
			fs_release(m->fs, w[i][k].call.file);
		}
	}
	sim_run(x->c->s, 10 * ENV_SEC);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(holders(x, m, ino[i]), 0);
	fsx_free(x);
}

/* A node that does not answer for a while: holds are dropped when it is back. */
static void test_holds_go_after_a_timeout(void **state)
{
	struct orbit_policy soft = {.resend_count = 1, .check_timeout = 200 * ENV_MS};
	struct fsx *x = fsx_new(3, 1, 0);
	struct fsx_mount *m = fsx_client(x, &soft);
	struct fs_file *f;
	struct fs_attr a;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	assert_int_equal(dx_close(x, m, f), 0);
	fsx_unreach(x, m);
	sim_run(x->c->s, 3 * ENV_SEC);
	fsx_reach(x, m);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_int_equal(holders(x, m, a.ino), 0);
	/* a create of which nobody knows what became: the file may be there, and held */
	sim_lose_next(x->c->s, x->c->node[0].host, x->c->client_host[0], WIRE_REPLY);
	fsx_call(m, &w);
	fs_create(m->fs, &w.call, ROOT, "g", 0644, O_RDWR);
	sim_run(x->c->s, 1 * ENV_MS);
	fsx_unreach(x, m);
	assert_int_equal(fsx_wait(x, &w), -ETIMEDOUT);
	fsx_reach(x, m);
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_int_equal(fsx_lookup(x, m, ROOT, "g", &a), 0);
	assert_int_equal(holders(x, m, a.ino), 0);
	fsx_free(x);
}

/* Transactions for which nodes have voted. */
static uint64_t votes(const struct fsx *x)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < x->c->nnodes; i++) {
		struct node_stats s;

		node_stats(x->c->node[i].node, &s);
		n += s.prepared;
	}
	return n;
}

/* Where files lie in shards of their own that have copies, there is nothing to gain by dropping or
 * removing many in one transaction, which would need as many votes. */
static void test_holds_of_shards_with_copies(void **state)
{
	enum { FILES = 60 };
	const struct cluster_config cfg = {.seed = 4, .nodes = 2, .shard_bits = 6, .replicas = 2};
	struct fsx *x = fsx_new_with(&cfg, 1);
	struct fsx_mount *m = x->m;
	struct orbit_id id = layout_inode_id(ROOT);
	static struct fs_attr a[FILES];
	struct fs_file *f[FILES];
	struct txn_build t;
	uint64_t voted;
	char name[16];

	(void)state;
	txn_init(&t);
	txn_set(&t, &id, SLOT_CHILDREN, LAYOUT_SPREAD_AFTER);
	assert_int_equal(fsx_submit(x, m, &t), 0);
	assert_int_equal(fsx_getattr(x, m, ROOT, NO_ATTR), 0);
	voted = votes(x);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fsx_create(x, m, ROOT, name, 0644, O_RDWR, &f[i], &a[i]), 0);
	}
	assert_in_range(votes(x) - voted, 2 * (FILES - 5), 2 * FILES);
	voted = votes(x);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(dx_close(x, m, f[i]), 0);
	sim_run(x->c->s, 3 * ENV_SEC);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(holders(x, m, a[i].ino), 0);
	assert_int_equal(votes(x), voted);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fsx_unlink(x, m, ROOT, name), 0);
	}
	assert_in_range(votes(x) - voted, 2 * (FILES - 5), 2 * FILES);
	voted = votes(x);
	sim_run(x->c->s, 1 * ENV_SEC);
	for (unsigned i = 0; i < FILES; i++)
		assert_false(fsx_object(x, m, a[i].ino, NULL));
	assert_int_equal(votes(x), voted);
	fsx_free(x);
}

/* The same for the blocks of a file. */
static void test_holds_of_a_file_with_blocks(void **state)
{
	enum { BLOCKS = 60 };
	const struct cluster_config cfg = {.seed = 6, .nodes = 2, .shard_bits = 6, .replicas = 2};
	struct fsx *x = fsx_new_with(&cfg, 1);
	struct fsx_mount *m = x->m;
	struct fs_file *f;
	struct fs_attr a;
	uint64_t voted;

	(void)state;
	assert_int_equal(fsx_create(x, m, ROOT, "f", 0644, O_RDWR, &f, &a), 0);
	for (unsigned i = 1; i <= BLOCKS; i++)
		assert_int_equal(dx_write(x, m, f, i * LAYOUT_BLOCK, "abcd", 4), 4);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_true(dx_block(x, m, a.ino, BLOCKS, NULL));
	voted = votes(x);
	assert_int_equal(fsx_unlink(x, m, ROOT, "f"), 0);
	sim_run(x->c->s, 2 * ENV_SEC);
	assert_false(fsx_object(x, m, a.ino, NULL));
	for (unsigned i = 1; i <= BLOCKS; i++)
		assert_false(dx_block(x, m, a.ino, i, NULL));
	assert_int_equal(votes(x), voted);
	fsx_free(x);
}

/* Holds of files that were closed one after the other go together. */
static void test_holds_gather(void **state)
{
	enum { FILES = 200 };
	struct fsx *x = fsx_new(5, 1, 1);
	struct fsx_mount *m = x->m;
	struct fs_file *f;
	struct fs_attr a;
	uint64_t sent;
	char name[16];

	(void)state;
	sim_run(x->c->s, 5 * ENV_SEC); /* the first search for orphans is over */
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fsx_create(x, m, ROOT, name, 0644, O_RDWR, &f, &a), 0);
		assert_int_equal(dx_close(x, m, f), 0);
	}
	sim_run(x->c->s, 900 * ENV_MS);
	sent = fsx_sent(m);
	sim_run(x->c->s, 1 * ENV_SEC);
	assert_in_range(fsx_sent(m) - sent, 1, FILES / 20);
	assert_int_equal(holders(x, m, a.ino), 0);
	fsx_free(x);
}

static int tmpfile_open(struct fsx *x, struct fsx_mount *m, struct fs_file **f, struct fs_attr *a)
{
	FSX_OP(x, m, a, fs_tmpfile(m->fs, &w.call, ROOT, 0600, O_RDWR));
	*f = w.call.file;
	return rc;
}

/* O_TMPFILE: an orphan that lives as long as it is open, or gets a name. */
static void test_holds_file_without_a_name(void **state)
{
	struct fsx *x = fsx_new(9, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	struct fs_file *f, *g;
	struct txn_object o;
	struct fs_attr a, b, root;

	(void)state;
	assert_int_equal(fsx_getattr(x, m, ROOT, &root), 0);
	assert_int_equal(tmpfile_open(x, m, &f, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(dx_write(x, m, f, 0, "x", 1), 1);
	assert_int_equal(dx_flush(x, m, f), 0);
	assert_int_equal(holders(x, m, a.ino), 1);
	assert_int_equal(fsx_getattr(x, m, ROOT, &b), 0);
	assert_true(b.children == root.children && b.mtime == root.mtime);
	/* another mount knows of no name that it may get */
	assert_int_equal(fsx_link(x, other, a.ino, ROOT, "n", NULL), -ENOENT);
	assert_int_equal(fsx_link(x, m, a.ino, ROOT, "n", &b), 0);
	assert_int_equal(b.nlink, 1);
	assert_int_equal(tmpfile_open(x, m, &g, &b), 0);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(dx_close(x, m, g), 0);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_true(fsx_object(x, other, a.ino, &o));
	assert_int_equal(o.slot[SLOT_NLINK], 1);
	assert_false(fsx_object(x, other, b.ino, NULL));
	/* once it has had one, it is a file like others: its last one is the last */
	assert_int_equal(dx_open(x, m, a.ino, O_RDWR, &f), 0);
	assert_int_equal(fsx_unlink(x, m, ROOT, "n"), 0);
	assert_int_equal(fsx_link(x, m, a.ino, ROOT, "n", NULL), -ENOENT);
	assert_int_equal(dx_close(x, m, f), 0);
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_false(fsx_object(x, other, a.ino, NULL));
	fsx_free(x);
}

/* Its client dies: whoever looks through the orphans next removes it. */
static void test_holds_file_without_a_name_of_the_dead(void **state)
{
	struct fsx *x = fsx_new(10, 1, 2);
	struct fs_file *f;
	struct fs_attr a;

	(void)state;
	assert_int_equal(tmpfile_open(x, x->m, &f, &a), 0);
	fsx_unreach(x, x->m);
	sim_run(x->c->s, 20 * 60 * ENV_SEC);
	assert_false(fsx_object(x, &x->m[1], a.ino, NULL));
	fsx_reach(x, x->m);
	fsx_free(x);
}

int main(void)
{
	fsx_cache = FS_CACHE_RELAXED; /* else holds stay as long as the lease does */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holds_open_given_up_while_dropped),
		cmocka_unit_test(test_holds_of_opens_at_once),
		cmocka_unit_test(test_holds_go_after_a_timeout),
		cmocka_unit_test(test_holds_of_shards_with_copies),
		cmocka_unit_test(test_holds_of_a_file_with_blocks),
		cmocka_unit_test(test_holds_gather),
		cmocka_unit_test(test_holds_file_without_a_name),
		cmocka_unit_test(test_holds_file_without_a_name_of_the_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
