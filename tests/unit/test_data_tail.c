/* Bytes beyond the end of a file: a writer who dies leaves none that ever show up. */
#include <linux/falloc.h>

#include "fs/check/check.h"
#include "fs/ops/policy.h"
#include "fs/ops/truncate.h"
#include "tests/unit/test_data_env.h"

/* What a client that dies had under way, the kernel takes. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:dht/store/\nleak:save_fire\nleak:fs/";
}

static struct fs_file *make(struct fsx *x, struct fs_attr *a)
{
	struct fs_file *f;

	assert_int_equal(fsx_create(x, x->m, ROOT, "f", 0644, O_RDWR, &f, a), 0);
	return f;
}

/* A file of @len bytes, closed. */
static void make_full(struct fsx *x, const uint8_t *p, size_t len, struct fs_attr *a)
{
	struct fs_file *f = make(x, a);

	assert_int_equal(dx_write(x, x->m, f, 0, p, len), len);
	assert_int_equal(dx_close(x, x->m, f), 0);
}

/* The first mount's process dies, unheard. */
static void kill_writer(struct fsx *x)
{
	cluster_client_kill(x->c, 0, true);
}

static void end(struct fsx *x)
{
	struct fsx_wait w = {0};

	cluster_client_bury(x->c, 0);
	fs_unmount(x->m[0].fs, 30 * ENV_SEC, fsx_rc, &w);
	fsx_wait(x, &w);
	x->m[0].fs = NULL;
	fsx_free(x);
}

static void expect_no_mark(struct fsx *x, struct fsx_mount *m, uint64_t ino, struct txn_object *o)
{
	assert_true(fsx_object(x, m, ino, o));
	assert_int_equal(o->slot[SLOT_TRIM], 0);
	assert_int_equal(o->slot[SLOT_TRIM_TO], 0);
	assert_int_equal(o->slot[SLOT_TAIL] & ~(uint64_t)TAIL_LOW, 0);
}

/* ---- a writer dies with blocks sent, and no round ---- */

enum grow { GROW_TRUNCATE, GROW_FALLOCATE, GROW_WRITE };

static void dead_writer(enum grow how)
{
	struct fsx *x = fsx_new(1 + how, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint8_t *p = dx_bytes(0, 4 * MB, 1);
	struct fs_attr a, b;
	struct fs_file *f, *g;
	struct txn_object o;

	make_full(x, p, 100 * KB, &a);
	assert_int_equal(dx_open(x, m, a.ino, O_RDWR, &f), 0);
	assert_int_equal(dx_write(x, m, f, MB, p + MB, 3 * MB), 3 * MB);
	sim_run(x->c->s, 100 * ENV_MS);
	for (uint64_t n = 1; n < 4; n++)
		assert_true(dx_block(x, m, a.ino, n, NULL));
	assert_true(fsx_object(x, m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], 100 * KB);
	assert_int_equal(o.slot[SLOT_TRIM], 1 + 100 * KB);
	assert_int_equal(o.slot[SLOT_TAIL], TAIL_OPEN);
	kill_writer(x);
	if (how == GROW_TRUNCATE) {
		assert_int_equal(dx_truncate(x, other, a.ino, 6 * MB), 0);
		assert_int_equal(dx_open(x, other, a.ino, O_RDWR, &g), 0);
	} else {
		assert_int_equal(dx_open(x, other, a.ino, O_RDWR, &g), 0);
		if (how == GROW_FALLOCATE)
			assert_int_equal(dx_fallocate(x, other, g, 0, 0, 6 * MB), 0);
		else
			assert_int_equal(dx_write(x, other, g, 6 * MB - 1, "", 1), 1);
	}
	dx_expect(x, other, g, 0, p, 100 * KB);
	dx_expect_zeros(x, other, g, 100 * KB, 6 * MB - 100 * KB);
	assert_int_equal(dx_close(x, other, g), 0);
	expect_no_mark(x, other, a.ino, &o);
	assert_int_equal(o.slot[SLOT_SIZE], 6 * MB);
	assert_int_equal(o.slot[SLOT_BYTES], 36 * KB + (how == GROW_WRITE));
	assert_int_equal(o.slot[SLOT_TAIL], 0);
	for (uint64_t n = 1; n < 5; n++)
		assert_false(dx_block(x, other, a.ino, n, NULL));
	assert_int_equal(fsx_getattr(x, other, a.ino, &b), 0);
	assert_int_equal(b.size, 6 * MB);
	free(p);
	end(x);
}

static void test_tail_of_a_dead_writer_is_not_in_a_file_that_is_cut_longer(void **state)
{
	(void)state;
	dead_writer(GROW_TRUNCATE);
}

static void test_tail_of_a_dead_writer_is_not_in_a_file_that_is_allocated(void **state)
{
	(void)state;
	dead_writer(GROW_FALLOCATE);
}

static void test_tail_of_a_dead_writer_is_not_in_a_file_that_is_written(void **state)
{
	(void)state;
	dead_writer(GROW_WRITE);
}

/* ---- who is late with a trim ---- */

static void finished(void *arg, int rc, const struct fs_attr *a)
{
	(void)a;
	fsx_rc(arg, rc);
}

/* Two operations of a mount meet the mark of a cut and finish it. When the second one is through,
 * somebody writes beyond the end again: that mark is not its to clear. */
static void test_tail_mark_stays_when_a_trim_is_late(void **state)
{
	struct fsx *x = fsx_new(71, 3, 1);
	struct fsx_mount *m = x->m;
	uint8_t *p = dx_bytes(0, 6 * MB, 71);
	struct fsx_wait w = {0};
	struct fs_attr a, late;
	struct txn_object o;
	struct fs_file *f;

	(void)state;
	make_full(x, p, 3 * MB, &a);
	assert_int_equal(dx_truncate(x, m, a.ino, MB), 0);
	assert_int_equal(fsx_getattr(x, m, a.ino, &late), 0);
	late.trim = 1 + MB;
	late.trim_to = 3 * MB;
	assert_int_equal(dx_open(x, m, a.ino, O_RDWR, &f), 0);
	assert_int_equal(dx_write(x, m, f, MB, p + MB, 3 * MB), 3 * MB);
	sim_run(x->c->s, 100 * ENV_MS);
	truncate_finish(m->fs, &late, finished, &w);
	assert_int_equal(fsx_wait(x, &w), 0);
	assert_true(fsx_object(x, m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], MB);
	assert_int_equal(o.slot[SLOT_TRIM], 1 + MB);
	assert_int_equal(o.slot[SLOT_TAIL], TAIL_OPEN);
	assert_int_equal(dx_flush(x, m, f), 0);
	expect_no_mark(x, m, a.ino, &o);
	assert_int_equal(o.slot[SLOT_BYTES], 4 * MB - 64 * KB);
	assert_int_equal(dx_write(x, m, f, 4 * MB, p + 4 * MB, 2 * MB), 2 * MB);
	assert_int_equal(dx_flush(x, m, f), 0);
	dx_expect(x, m, f, 0, p, 6 * MB);
	assert_int_equal(dx_close(x, m, f), 0);
	free(p);
	fsx_free(x);
}

/* ---- what it costs ---- */

static void test_tail_mark_is_one_transaction_and_goes_with_the_last_round(void **state)
{
	struct fsx *x = fsx_new(4, 3, 1);
	uint8_t *p = dx_bytes(0, 4 * MB, 4);
	struct fs_file *f;
	struct txn_object o;
	struct fs_attr a;
	uint64_t sent;

	(void)state;
	f = make(x, &a);
	sim_run(x->c->s, 5 * ENV_SEC); /* nobody looks for orphans any more */
	sent = fsx_sent(x->m);
	assert_int_equal(dx_write(x, x->m, f, 0, p, 4 * MB), 4 * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(fsx_sent(x->m) - sent, 1 + 4 + 1); /* the mark, the blocks, the inode */
	expect_no_mark(x, x->m, a.ino, &o);
	assert_int_equal(o.slot[SLOT_BYTES], 4 * MB - 64 * KB);
	/* again: no mark */
	sent = fsx_sent(x->m);
	assert_int_equal(dx_write(x, x->m, f, 0, p, 4 * MB), 4 * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	assert_int_equal(fsx_sent(x->m) - sent, 4 + 1);
	/* nor for what lies in the inode */
	assert_int_equal(dx_truncate(x, x->m, a.ino, 0), 0);
	sent = fsx_sent(x->m);
	assert_int_equal(dx_write(x, x->m, f, 0, p, 64 * KB), 64 * KB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_sent(x->m) - sent, 1);
	free(p);
	fsx_free(x);
}

/* A stream longer than what the mark allows at first: rounds move it along. */
static void test_tail_mark_moves_along_a_stream(void **state)
{
	struct fsx *x = fsx_new(5, 3, 1);
	uint8_t *p = dx_bytes(0, MB, 5);
	uint64_t sent, n = 200, moved = 0, last = 0;
	struct fs_file *f;
	struct txn_object o;
	struct fs_attr a;

	(void)state;
	f = make(x, &a);
	sent = fsx_sent(x->m);
	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(dx_write(x, x->m, f, i * MB, p, MB), MB);
		if (i % 10 == 9) {
			assert_true(fsx_object(x, x->m, a.ino, &o));
			sent++;
			if (o.slot[SLOT_TRIM]) {
				assert_int_equal(o.slot[SLOT_TRIM], 1 + o.slot[SLOT_SIZE]);
				moved += o.slot[SLOT_SIZE] > last;
				last = o.slot[SLOT_SIZE];
			}
		}
	}
	assert_true(moved > 1);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_in_range(fsx_sent(x->m) - sent, n + 2, n + 16);
	expect_no_mark(x, x->m, a.ino, &o);
	assert_int_equal(o.slot[SLOT_BYTES], n * MB - 64 * KB);
	free(p);
	fsx_free(x);
}

/* ---- others look on ---- */

static void test_tail_reader_sees_what_was_written_and_no_mark(void **state)
{
	struct fsx *x = fsx_new(6, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint8_t *p = dx_bytes(0, 6 * MB, 6);
	struct fs_file *f, *g, *h;
	struct txn_object o;
	struct fs_attr a, b;

	(void)state;
	f = make(x, &a);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(
			dx_write(x, m, f, 2 * MB * (i - 1), p + 2 * MB * (i - 1), 2 * MB), 2 * MB);
		if (i == 2)
			sim_run(x->c->s, 100 * ENV_MS);
		/* its own mark says nothing to the writer's mount */
		assert_int_equal(dx_open(x, m, a.ino, O_RDONLY, &h), 0);
		dx_expect(x, m, h, 0, p, 2 * MB * i);
		fs_release(m->fs, h);
		if (i == 3)
			sim_run(x->c->s, 100 * ENV_MS);
		assert_int_equal(fsx_getattr(x, other, a.ino, &b), 0);
		assert_int_equal(b.size, 2 * MB * i);
		assert_int_equal(b.bytes, 2 * MB * i);
		assert_int_equal(b.cut, 0);
		expect_no_mark(x, other, a.ino, &o);
		assert_int_equal(dx_open(x, other, a.ino, O_RDONLY, &g), 0);
		dx_expect(x, other, g, 0, p, 2 * MB * i);
		fs_release(other->fs, g);
	}
	assert_int_equal(dx_close(x, m, f), 0);
	free(p);
	fsx_free(x);
}

/* ---- holes: what was not counted is found all the same ---- */

/* So far from both ends of the file that a search could end before it is met. */
#define MIDDLE (1024 * MB)
#define FAR_END (2048 * MB)

static void dead_in_a_hole(bool unlink)
{
	struct fsx *x = fsx_new(7 + unlink, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint8_t *p = dx_bytes(0, MB, 7);
	struct fs_file *f, *g;
	struct txn_object o;
	struct fs_attr a;

	f = make(x, &a);
	assert_int_equal(dx_write(x, m, f, FAR_END, "x", 1), 1);
	assert_int_equal(dx_close(x, m, f), 0);
	assert_int_equal(dx_open(x, m, a.ino, O_RDWR, &f), 0);
	assert_int_equal(dx_write(x, m, f, MIDDLE, p, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(dx_block(x, m, a.ino, MIDDLE / MB, NULL));
	kill_writer(x);
	assert_int_equal(dx_open(x, other, a.ino, O_RDWR, &g), 0);
	expect_no_mark(x, other, a.ino, &o);
	assert_int_equal(o.slot[SLOT_TAIL], TAIL_LOW);
	dx_expect(x, other, g, MIDDLE, p, MB); /* it is in the file */
	if (unlink) {
		assert_int_equal(dx_close(x, other, g), 0);
		assert_int_equal(fsx_unlink(x, other, ROOT, "f"), 0);
		sim_run(x->c->s, 60 * ENV_SEC);
		assert_false(fsx_object(x, other, a.ino, NULL));
	} else {
		/* some of it goes, then the rest */
		assert_int_equal(dx_truncate(x, other, a.ino, MIDDLE + 2 * MB), 0);
		assert_true(dx_block(x, other, a.ino, MIDDLE / MB, NULL));
		expect_no_mark(x, other, a.ino, &o);
		assert_int_equal(o.slot[SLOT_TAIL], TAIL_LOW);
		assert_int_equal(dx_truncate(x, other, a.ino, 2 * FAR_END), 0);
		assert_int_equal(dx_truncate(x, other, a.ino, 10), 0);
		expect_no_mark(x, other, a.ino, &o);
		assert_int_equal(o.slot[SLOT_TAIL], 0);
		assert_int_equal(o.slot[SLOT_BYTES], 0);
		assert_int_equal(dx_truncate(x, other, a.ino, FAR_END), 0);
		dx_expect_zeros(x, other, g, MIDDLE, MB);
		assert_int_equal(dx_close(x, other, g), 0);
	}
	assert_false(dx_block(x, other, a.ino, MIDDLE / MB, NULL));
	free(p);
	end(x);
}

static void test_tail_bytes_that_a_dead_writer_did_not_count_are_cut(void **state)
{
	(void)state;
	dead_in_a_hole(false);
}

static void test_tail_bytes_that_a_dead_writer_did_not_count_are_reaped(void **state)
{
	(void)state;
	dead_in_a_hole(true);
}

/* Bytes far away: whoever cleans up has not to look everywhere in between. */
static void test_tail_far_away_is_quickly_removed(void **state)
{
	struct fsx *x = fsx_new(9, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint8_t *p = dx_bytes(0, MB, 9);
	struct fs_file *f, *g;
	struct txn_object o;
	struct fs_attr a;
	uint64_t sent;

	(void)state;
	f = make(x, &a);
	assert_int_equal(dx_write(x, m, f, 3 * TB, p, MB), MB);
	assert_int_equal(dx_write(x, m, f, 900 * TB, p, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(dx_block(x, m, a.ino, 3 * TB / MB, NULL));
	assert_true(dx_block(x, m, a.ino, 900 * TB / MB, NULL));
	kill_writer(x);
	sent = fsx_sent(other);
	assert_int_equal(dx_open(x, other, a.ino, O_RDWR, &g), 0);
	assert_in_range(fsx_sent(other) - sent, 1, 100);
	expect_no_mark(x, other, a.ino, &o);
	assert_int_equal(o.slot[SLOT_SIZE], 900 * TB);
	assert_false(dx_block(x, other, a.ino, 900 * TB / MB, NULL));
	assert_int_equal(dx_close(x, other, g), 0);
	free(p);
	end(x);
}

/* ---- our own losses ---- */

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

/* A block could not be sent and the next one was: the file ends before them, and what was sent does
 * not show when it is made longer - by the same mount, which lives. */
static void test_tail_of_a_writer_who_lost_bytes(void **state)
{
	static const char text[] = "soft,resend_count=1,check_timeout=200ms";
	struct fsx *x = fsx_new(10, 3, 1);
	uint8_t *p = dx_bytes(0, 8 * MB, 10);
	struct orbit_id inode, lost, sent;
	struct fs_file *f, *g;
	struct txn_object o;
	struct fs_attr a;
	uint64_t n = 0;

	(void)state;
	f = make(x, &a);
	inode = layout_inode_id(a.ino);
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, POLICY_XATTR, text, strlen(text), 0), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
	do {
		n++;
		lost = layout_block_id(a.ino, n);
		sent = layout_block_id(a.ino, n + 1);
	} while (primary_of(x, &lost) == primary_of(x, &inode) ||
		 primary_of(x, &lost) == primary_of(x, &sent));
	sim_cut(x->c->s, x->c->client_host[0], x->c->node[primary_of(x, &lost)].host, true);
	assert_int_equal(dx_write(x, x->m, g, 0, p, 10 * KB), 10 * KB);
	assert_int_equal(dx_write(x, x->m, g, n * MB, p, 2 * MB), 2 * MB);
	assert_int_equal(dx_flush(x, x->m, g), -ETIMEDOUT);
	assert_true(dx_block(x, x->m, a.ino, n + 1, NULL));
	sim_heal(x->c->s, x->c->client_host[0], x->c->node[primary_of(x, &lost)].host);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], n * MB);
	assert_int_equal(o.slot[SLOT_BYTES], 0);
	assert_int_equal(dx_truncate(x, x->m, a.ino, (n + 4) * MB), 0);
	dx_expect(x, x->m, g, 0, p, 10 * KB);
	dx_expect_zeros(x, x->m, g, 10 * KB, (n + 4) * MB - 10 * KB);
	expect_no_mark(x, x->m, a.ino, &o);
	assert_int_equal(o.slot[SLOT_BYTES], 0);
	/* and writing goes on */
	assert_int_equal(dx_write(x, x->m, g, n * MB, p, 6 * MB), 6 * MB);
	assert_int_equal(dx_close(x, x->m, g), 0);
	dx_flush(x, x->m, f);
	dx_expect(x, x->m, f, n * MB, p, 6 * MB);
	fs_release(x->m->fs, f);
	free(p);
	fsx_free(x);
}

/* A block in a hole of the file that arrives while the inode is being told of others is neither
 * past the end nor lost: it is counted by the next round. */
static void test_tail_of_what_comes_during_a_round(void **state)
{
	struct fsx *x = fsx_new(12, 3, 1);
	uint8_t *p = dx_bytes(0, MB, 12);
	struct orbit_id inode, first, second;
	uint64_t n = 1, late = 0;
	struct fsx_wait flush;
	struct fs_file *f, *g;
	struct txn_object o;
	struct fs_attr a;

	(void)state;
	f = make(x, &a);
	assert_int_equal(dx_write(x, x->m, f, 64 * MB, p, 1), 1);
	assert_int_equal(dx_close(x, x->m, f), 0);
	inode = layout_inode_id(a.ino);
	do {
		first = layout_block_id(a.ino, ++n);
	} while (primary_of(x, &first) == primary_of(x, &inode));
	late = n;
	do {
		second = layout_block_id(a.ino, ++late);
	} while (primary_of(x, &second) == primary_of(x, &inode) ||
		 primary_of(x, &second) == primary_of(x, &first));
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
	/* its block is answered first, then the other, and then the inode */
	sim_host_pause(x->c->node[primary_of(x, &first)].host, 30 * ENV_MS);
	sim_host_pause(x->c->node[primary_of(x, &second)].host, 60 * ENV_MS);
	assert_int_equal(dx_write(x, x->m, g, n * MB, p, 1000), 1000);
	fsx_call(x->m, &flush);
	fs_flush(x->m->fs, &flush.call, g);
	sim_run(x->c->s, 10 * ENV_MS); /* the mark is there */
	sim_host_pause(x->c->node[primary_of(x, &inode)].host, 90 * ENV_MS);
	assert_int_equal(dx_write(x, x->m, g, late * MB, p, MB), MB);
	assert_int_equal(fsx_wait(x, &flush), 0);
	assert_int_equal(dx_close(x, x->m, g), 0);
	expect_no_mark(x, x->m, a.ino, &o);
	assert_int_equal(o.slot[SLOT_TAIL], 0);
	assert_int_equal(o.slot[SLOT_CUT], 0);
	assert_int_equal(o.slot[SLOT_BYTES], 1 + 1000 + MB);
	free(p);
	fsx_free(x);
}

/* ---- random lives and deaths ---- */

#define WORLD (12 * MB)

struct life {
	struct fsx *x;
	struct fsx_mount *m;
	struct fs_file *f;
	struct fs_attr a;
	uint8_t *may;  /* 0: has always been zero */
	uint8_t *want; /* the newest bytes */
	uint64_t size; /* the newest */
};

static void life_write(struct life *l, uint64_t off, size_t len)
{
	struct sim *s = l->x->c->s;
	uint8_t *p = dx_bytes(off, len, 1 + sim_below(s, 200));

	memcpy(l->want + off, p, len);
	memset(l->may + off, 1, len);
	if (l->size < off + len)
		l->size = off + len;
	assert_int_equal(dx_write(l->x, l->m, l->f, off, p, len), len);
	free(p);
}

static void life_step(struct life *l)
{
	struct sim *s = l->x->c->s;
	uint64_t off = sim_below(s, WORLD - 3 * MB), to = sim_below(s, WORLD);

	switch (sim_below(s, 8)) {
	case 0: /* a stream at the end */
		if (l->size + 3 * MB <= WORLD)
			life_write(l, l->size, 1 + sim_below(s, 3 * MB));
		break;
	case 1: /* whole blocks */
		life_write(l, off / MB * MB, MB * (1 + sim_below(s, 3)));
		break;
	case 2:
		life_write(l, off, 1 + sim_below(s, 100 * KB));
		break;
	case 3:
		life_write(l, sim_below(s, 100 * KB), 1 + sim_below(s, 3000));
		break;
	case 4:
		assert_int_equal(dx_fsync(l->x, l->m, l->f), 0);
		break;
	case 5:
		sim_run(s, sim_below(s, 10 * ENV_MS));
		break;
	case 6:
		assert_int_equal(dx_flush(l->x, l->m, l->f), 0);
		break;
	case 7:
		if (sim_chance(s, 700))
			break;
		assert_int_equal(dx_truncate(l->x, l->m, l->a.ino, to), 0);
		if (to < l->size)
			memset(l->want + to, 0, WORLD - to);
		if (to < l->size)
			memset(l->may + to, 0, WORLD - to);
		l->size = to;
		break;
	}
}

/* Bytes in all blocks, and whether any block has some at or past @size. */
static uint64_t count_blocks(struct fsx *x, struct fsx_mount *m, uint64_t ino, uint64_t size)
{
	uint64_t sum = 0;

	for (uint64_t n = 0; n < WORLD / MB + 4; n++) {
		struct txn_object o;

		if (!dx_block(x, m, ino, n, &o))
			continue;
		sum += o.stream_bytes;
		assert_true(n * MB + o.stream_end <= size);
	}
	return sum;
}

/* What the dead one left: each byte as it was written at some time or never; none past the end. */
static void look_at_remains(struct life *l)
{
	struct fsx_mount *m = &l->x->m[1];
	uint8_t *got = calloc(1, WORLD);
	struct fs_file *f;
	struct txn_object o;
	struct fs_attr b;

	assert_int_equal(dx_open(l->x, m, l->a.ino, O_RDWR, &f), 0);
	assert_int_equal(fsx_getattr(l->x, m, l->a.ino, &b), 0);
	expect_no_mark(l->x, m, l->a.ino, &o);
	if (o.slot[SLOT_TAIL])
		assert_true(count_blocks(l->x, m, l->a.ino, b.size) >= o.slot[SLOT_BYTES]);
	else
		assert_int_equal(count_blocks(l->x, m, l->a.ino, b.size), o.slot[SLOT_BYTES]);
	assert_int_equal(dx_truncate(l->x, m, l->a.ino, WORLD), 0);
	assert_int_equal(dx_read(l->x, m, f, 0, got, WORLD), WORLD);
	for (uint64_t i = b.size; i < WORLD; i++)
		assert_int_equal(got[i], 0);
	for (uint64_t i = 0; i < b.size; i++)
		assert_true(got[i] == 0 || l->may[i]);
	/* and all of it can be cut */
	assert_int_equal(dx_truncate(l->x, m, l->a.ino, 0), 0);
	assert_int_equal(count_blocks(l->x, m, l->a.ino, 0), 0);
	expect_no_mark(l->x, m, l->a.ino, &o);
	assert_int_equal(o.slot[SLOT_BYTES], 0);
	assert_int_equal(o.slot[SLOT_TAIL], 0);
	assert_int_equal(dx_close(l->x, m, f), 0);
	free(got);
}

static void live_and_die(uint64_t seed, bool dies)
{
	struct life l = {.x = fsx_new(seed, 3, 0)};
	struct fsx *x = l.x;
	struct fsx_wait w;
	struct fs_file *g;
	unsigned steps = 3 + (unsigned)sim_below(x->c->s, 15);

	l.m = fsx_client(x, NULL);
	if (seed % 2) /* rounds in the midst of writing */
		l.m->cfg.write_behind = 3 * MB;
	assert_int_equal(fsx_mkfs(x, l.m), 0);
	assert_int_equal(fsx_mount(x, l.m), 0);
	assert_int_equal(fsx_mount(x, fsx_client(x, NULL)), 0);
	l.f = make(x, &l.a);
	l.may = calloc(1, WORLD);
	l.want = calloc(1, WORLD);
	for (unsigned i = 0; i < steps; i++)
		life_step(&l);
	if (dies) {
		fsx_call(l.m, &w);
		fs_flush(l.m->fs, &w.call, l.f);
		sim_run(x->c->s, sim_below(x->c->s, 4 * ENV_MS));
		kill_writer(x);
		look_at_remains(&l);
		free(w.copy);
	} else {
		struct txn_object o;

		assert_int_equal(dx_open(x, &x->m[1], l.a.ino, O_RDONLY, &g), 0);
		expect_no_mark(x, &x->m[1], l.a.ino, &o);
		assert_int_equal(o.slot[SLOT_TAIL], 0);
		assert_int_equal(o.slot[SLOT_SIZE], l.size);
		assert_int_equal(count_blocks(x, &x->m[1], l.a.ino, l.size), o.slot[SLOT_BYTES]);
		if (l.size)
			dx_expect(x, &x->m[1], g, 0, l.want, l.size);
		fs_release(x->m[1].fs, g);
		assert_int_equal(dx_close(x, l.m, l.f), 0);
	}
	free(l.may);
	free(l.want);
	if (dies)
		end(x);
	else
		fsx_free(x);
}

static void test_tail_random_deaths(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 140; seed++)
		live_and_die(seed, true);
}

static void test_tail_random_lives(void **state)
{
	(void)state;
	for (uint64_t seed = 200; seed < 220; seed++)
		live_and_die(seed, false);
}

/* ---- the checker ---- */

struct checking {
	struct fsx *x;
	struct check_report report;
	unsigned found[CHECK_PROBLEMS];
};

static int io_pump(void *arg, const bool *done)
{
	struct checking *k = arg;

	assert_true(sim_wait(k->x->c->s, done, FSX_LIMIT));
	return 0;
}

static void io_wake(void *arg)
{
	(void)arg;
}

static int io_pause(void *arg, uint64_t ns)
{
	struct checking *k = arg;

	sim_run(k->x->c->s, ns);
	return 0;
}

static void io_found(void *arg, const struct check_finding *f)
{
	struct checking *k = arg;

	k->found[f->problem]++;
}

static void check(struct fsx *x, struct fsx_mount *m, enum check_mode mode, struct checking *k)
{
	struct check_config cfg = {.mode = mode, .memory = 1 << 20};
	struct check_io io = {
		.pump = io_pump, .wake = io_wake, .found = io_found, .pause = io_pause, .arg = k};

	memset(k, 0, sizeof(*k));
	k->x = x;
	assert_int_equal(check_run(m->client, &cfg, &io, &k->report), 0);
}

static void test_tail_check_knows_writers_who_live_and_who_died(void **state)
{
	struct fsx *x = fsx_new(11, 3, 2);
	struct fsx_mount *m = x->m, *other = &x->m[1];
	uint8_t *p = dx_bytes(0, MB, 11);
	struct checking k;
	struct txn_object o;
	struct fs_attr a;
	struct fs_file *f = make(x, &a);

	(void)state;
	assert_int_equal(dx_write(x, m, f, 10 * MB, "x", 1), 1);
	assert_int_equal(dx_flush(x, m, f), 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(dx_write(x, m, f, 4 * (i + 1) * MB, p, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(fsx_object(x, m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_TAIL], TAIL_OPEN);
	check(x, other, CHECK_ONLY, &k);
	assert_int_equal(k.report.found, 0);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(dx_write(x, m, f, (14 + 4 * i) * MB, p, MB), MB);
	sim_run(x->c->s, 100 * ENV_MS);
	kill_writer(x);
	check(x, other, CHECK_REPAIR, &k);
	assert_true(k.found[CHECK_PAST_END] > 0);
	assert_int_equal(k.found[CHECK_TRIM], 1);
	assert_int_equal(k.report.found, k.report.fixed);
	expect_no_mark(x, other, a.ino, &o);
	assert_int_equal(o.slot[SLOT_TAIL], 0);
	check(x, other, CHECK_ONLY, &k);
	assert_int_equal(k.report.found, 0);
	free(p);
	end(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tail_of_a_dead_writer_is_not_in_a_file_that_is_cut_longer),
		cmocka_unit_test(test_tail_of_a_dead_writer_is_not_in_a_file_that_is_allocated),
		cmocka_unit_test(test_tail_of_a_dead_writer_is_not_in_a_file_that_is_written),
		cmocka_unit_test(test_tail_mark_stays_when_a_trim_is_late),
		cmocka_unit_test(test_tail_mark_is_one_transaction_and_goes_with_the_last_round),
		cmocka_unit_test(test_tail_mark_moves_along_a_stream),
		cmocka_unit_test(test_tail_reader_sees_what_was_written_and_no_mark),
		cmocka_unit_test(test_tail_bytes_that_a_dead_writer_did_not_count_are_cut),
		cmocka_unit_test(test_tail_bytes_that_a_dead_writer_did_not_count_are_reaped),
		cmocka_unit_test(test_tail_far_away_is_quickly_removed),
		cmocka_unit_test(test_tail_of_a_writer_who_lost_bytes),
		cmocka_unit_test(test_tail_of_what_comes_during_a_round),
		cmocka_unit_test(test_tail_random_deaths),
		cmocka_unit_test(test_tail_random_lives),
		cmocka_unit_test(test_tail_check_knows_writers_who_live_and_who_died),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
