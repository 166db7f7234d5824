/* Locks when mounts and nodes are gone: kept by the living, freed of the dead. */
#include "tests/unit/test_ops_lock.h"

/* A node that crashes leaves behind what its store had given to workers: of a process that dies,
 * the kernel takes that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:dht/store/\nleak:save_fire";
}

/* Until when is it not yet fenced, and until when at last? */
#define NOT_BEFORE (5 * ENV_SEC)
#define NOT_AFTER (12 * ENV_SEC)

/* The one who waits is woken by the map that says so, and deletes what is left. */
static void test_lock_of_a_mount_that_is_gone(void **state)
{
	struct lx l = lx_new(1, 2);
	struct fsx_wait w;
	struct fs_lock got;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 2, 100, 109), 0);
	lx_wait(&l, 1, &w, F_WRLCK, 1, 0, 9);
	lx_run(&l, ENV_SEC);
	fsx_unreach(l.x, l.x->m);
	lx_run(&l, NOT_BEFORE);
	assert_false(w.done);
	lx_run(&l, NOT_AFTER - NOT_BEFORE);
	assert_true(w.done);
	assert_int_equal(w.rc, 0);
	got = lx_get(&l, 1, F_WRLCK, 2, 50, ALL);
	assert_int_equal(got.type, F_UNLCK);
	/* it is back: it has none, and finds those of the others */
	fsx_reach(l.x, l.x->m);
	lx_run(&l, 5 * ENV_SEC);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), -EAGAIN);
	assert_int_equal(lx_unlock(&l, 1, 1), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 1, F_RDLCK, 1, 9, 9), -EAGAIN);
	lx_free(&l);
}

/* Who comes later asks the keeper once whether the other lives, and once more when it has died. */
static void test_lock_of_a_mount_that_was_gone_long_ago(void **state)
{
	struct lx l = lx_new(2, 2);
	uint64_t sent;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 9), -EAGAIN);
	fsx_unreach(l.x, l.x->m);
	lx_run(&l, 2 * ENV_SEC);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 9), -EAGAIN);
	lx_run(&l, 30 * ENV_SEC);
	sent = fsx_sent(&l.x->m[1]);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 9), 0);
	assert_in_range(fsx_sent(&l.x->m[1]) - sent, 1, 2);
	fsx_reach(l.x, l.x->m);
	lx_free(&l);
}

/* A session that was ended in good order fences nobody. */
static void test_lock_that_a_closed_client_left(void **state)
{
	struct lx l = lx_new(3, 2);
	struct orbit_id id = layout_locks_id(l.a.ino);
	struct layout_lock_range r = {.first = 0, .last = 9, .pid = 1, .write = true};
	struct fsx_mount *third = fsx_client(l.x, NULL);
	uint8_t key[LOCK_KEY_LEN];
	struct buf val = {0};
	struct fsx_wait w;
	struct txn_build t;

	(void)state;
	layout_lock_key(
		&(struct layout_lock){
			.kind = LAYOUT_FCNTL, .session = orbit_session(third->client), .owner = 1},
		key);
	layout_lock_put(&val, &r);
	txn_init(&t);
	txn_create(&t, &id, 0, (uint64_t[TXN_SLOTS]){0});
	txn_put(&t, &id, key, sizeof(key), val.data, val.len);
	assert_int_equal(fsx_submit(l.x, third, &t), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 9, 9), -EAGAIN);
	fsx_close(l.x, third);
	lx_run(&l, 15 * ENV_SEC);
	lx_wait(&l, 1, &w, F_WRLCK, 1, 0, 9);
	lx_run(&l, 3 * ENV_SEC);
	assert_true(w.done && w.rc == 0);
	buf_fini(&val);
	lx_free(&l);
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

/* The node that has the locks dies: whoever had them has them, who waits goes on waiting, and is
 * woken by the new one. */
static void test_lock_outlives_its_node(void **state)
{
	const struct cluster_config cfg = {.seed = 4, .nodes = 3, .shard_bits = 6, .replicas = 3};
	struct lx l = lx_open(fsx_new_with(&cfg, 3));
	struct orbit_id id = layout_locks_id(l.a.ino);
	struct fsx_wait w, v;
	unsigned dead;

	(void)state;
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	assert_int_equal(lx_flock(&l, 1, F_RDLCK, 5), 0);
	lx_wait(&l, 1, &w, F_WRLCK, 1, 0, 9);
	lx_run(&l, 2 * ENV_SEC);
	dead = primary_of(l.x, &id);
	cluster_crash(l.x->c, dead, DISK_PROCESS);
	lx_wait(&l, 2, &v, F_RDLCK, 1, 3, 3); /* while there is nobody to ask */
	lx_run(&l, 15 * ENV_SEC);
	assert_true(primary_of(l.x, &id) != dead);
	assert_false(w.done || v.done);
	assert_int_equal(lx_flock(&l, 2, F_WRLCK, 5), -EAGAIN);
	assert_int_equal(lx_unlock(&l, 0, 1), 0);
	lx_run(&l, 5 * ENV_SEC);
	assert_true(w.done || v.done);
	assert_int_equal(w.done ? lx_unlock(&l, 1, 1) : lx_unlock(&l, 2, 1), 0);
	assert_int_equal(fsx_wait(l.x, &w), 0);
	assert_int_equal(fsx_wait(l.x, &v), 0);
	cluster_start(l.x->c, dead);
	lx_run(&l, 5 * ENV_SEC);
	lx_free(&l);
}

/* An answer that does not come: what may have been locked is not kept for nobody. */
static void test_lock_without_an_answer(void **state)
{
	struct fsx *x = fsx_new(5, 3, 1);
	struct orbit_policy soft = {.check_timeout = ENV_SEC, .resend_count = 1};
	struct fsx_mount *m = fsx_client(x, &soft);
	struct lx l;
	struct orbit_id id;
	unsigned home;

	(void)state;
	assert_int_equal(fsx_mount(x, m), 0);
	l = lx_open(x);
	id = layout_locks_id(l.a.ino);
	home = primary_of(x, &id);
	/* requests arrive, answers do not */
	sim_cut_oneway(x->c->s, x->c->node[home].host, x->c->client_host[1]);
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 1, 0, 9), -ETIMEDOUT);
	fsx_reach(x, m);
	lx_run(&l, 4 * ENV_SEC);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	lx_free(&l);
}

/* A mount that is unmounted while somebody waits on it, with locks that nobody gave up. */
static void test_lock_ends_with_the_mount(void **state)
{
	struct lx l = lx_new(6, 2);
	struct fsx_wait w;

	(void)state;
	assert_int_equal(lx_set(&l, 1, F_WRLCK, 2, 50, 59), 0);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 0, 9), 0);
	lx_wait(&l, 1, &w, F_WRLCK, 1, 0, 9);
	lx_run(&l, ENV_SEC);
	assert_int_equal(fsx_unmount(l.x, &l.x->m[1]), 0);
	assert_true(w.done && w.rc == -ESHUTDOWN);
	assert_int_equal(lx_set(&l, 0, F_WRLCK, 1, 50, 59), 0);
	lx_free(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lock_of_a_mount_that_is_gone),
		cmocka_unit_test(test_lock_of_a_mount_that_was_gone_long_ago),
		cmocka_unit_test(test_lock_that_a_closed_client_left),
		cmocka_unit_test(test_lock_outlives_its_node),
		cmocka_unit_test(test_lock_without_an_answer),
		cmocka_unit_test(test_lock_ends_with_the_mount),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
