/* copy_file_range: bytes that nodes copy among themselves, and what may come in between. */
#include "tests/unit/test_data_env.h"

static unsigned nodes;

static int64_t dx_copy(struct fsx *x, struct fsx_mount *m, struct fs_file *in, uint64_t from,
	struct fs_file *out, uint64_t to, uint64_t len)
{
	FSX_OP(x, m, NO_ATTR, fs_copy(m->fs, &w.call, in, from, out, to, len));
	return rc ? rc : (int64_t)w.call.len;
}

/* Two files, each open on both mounts. */
struct pair {
	struct fsx *x;
	struct fsx_mount *m;
	struct fs_file *a[2], *b[2];
	uint64_t ino[2];
};

static void pair_make(struct pair *p, struct fsx *x)
{
	struct fs_attr at;

	p->x = x;
	p->m = x->m;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(
			fsx_create(x, x->m, ROOT, i ? "b" : "a", 0644, O_RDWR, &p->a[i], &at), 0);
		p->ino[i] = at.ino;
		assert_int_equal(fsx_lookup(x, &x->m[1], ROOT, i ? "b" : "a", &at), 0);
		assert_int_equal(dx_open(x, &x->m[1], at.ino, O_RDWR, &p->b[i]), 0);
	}
}

static struct pair pair_new(uint64_t seed)
{
	struct pair p;

	pair_make(&p, fsx_new(seed, nodes, 2));
	return p;
}

static void pair_free(struct pair *p)
{
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(dx_close(p->x, &p->m[0], p->a[i]), 0);
		assert_int_equal(dx_close(p->x, &p->m[1], p->b[i]), 0);
	}
	fsx_free(p->x);
}

static void put(struct pair *p, unsigned i, uint64_t off, const uint8_t *bytes, size_t len)
{
	assert_int_equal(dx_write(p->x, p->m, p->a[i], off, bytes, len), len);
}

/* Whole files, and pieces that lie otherwise than in the source; what is dirty is in it. */
static void test_copy_pieces(void **state)
{
	struct pair p = pair_new(1);
	size_t len = 3 * MB + 1234;
	uint8_t *s = dx_bytes(0, len, 1), *want = calloc(1, 2 * len);

	(void)state;
	put(&p, 0, 0, s, len);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[1], 0, TB), len);
	dx_expect(p.x, p.m, p.a[1], 0, s, len);
	dx_expect(p.x, &p.m[1], p.b[1], 0, s, len);
	/* on the other mount, over what is there, and past the end */
	memcpy(want, s, len);
	memcpy(want + MB - 77, s + 100, 2 * MB);
	assert_int_equal(dx_copy(p.x, &p.m[1], p.b[0], 100, p.b[1], MB - 77, 2 * MB), 2 * MB);
	dx_expect(p.x, p.m, p.a[1], 0, want, len);
	memcpy(want + len + 5000, s + len - 9999, 9999);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], len - 9999, p.a[1], len + 5000, MB), 9999);
	dx_expect(p.x, &p.m[1], p.b[1], 0, want, len + 5000 + 9999);
	/* nothing to be copied */
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], len, p.a[1], 0, MB), 0);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[1], 0, 0), 0);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[0], 10, 11), -EINVAL);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[1], INT64_MAX, 11), -EFBIG);
	free(s);
	free(want);
	pair_free(&p);
}

/* The bytes of blocks do not come by. */
static void test_copy_is_done_by_the_nodes(void **state)
{
	struct orbit_counters before, after;
	struct pair p = pair_new(2);
	size_t len = 8 * MB;
	uint8_t *s = dx_bytes(0, len, 2);

	(void)state;
	put(&p, 0, 0, s, len);
	assert_int_equal(dx_flush(p.x, p.m, p.a[0]), 0);
	orbit_counters(p.m->client, &before);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[1], 0, len), len);
	orbit_counters(p.m->client, &after);
	assert_in_range(after.bytes_received - before.bytes_received, 1, 100 * KB);
	assert_in_range(after.bytes_sent - before.bytes_sent, 1, 100 * KB);
	dx_expect(p.x, &p.m[1], p.b[1], 0, s, len);
	free(s);
	pair_free(&p);
}

static void test_copy_leaves_holes(void **state)
{
	struct pair p = pair_new(3);
	uint8_t *s = dx_bytes(0, 8 * MB, 3), *want = calloc(1, 8 * MB);
	struct fs_attr a;

	(void)state;
	/* bytes at the beginning, in the middle of block 2, and a hole at the end */
	put(&p, 0, 10, s, 20);
	put(&p, 0, 2 * MB + 1000, s, 3000);
	assert_int_equal(dx_truncate(p.x, p.m, p.ino[0], 6 * MB), 0);
	memcpy(want + 10, s, 20);
	memcpy(want + 2 * MB + 1000, s, 3000);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], 0, p.a[1], 0, TB), 6 * MB);
	dx_expect(p.x, &p.m[1], p.b[1], 0, want, 6 * MB);
	assert_false(dx_block(p.x, p.m, p.ino[1], 1, NULL));
	assert_true(dx_block(p.x, p.m, p.ino[1], 2, NULL));
	assert_false(dx_block(p.x, p.m, p.ino[1], 4, NULL));
	assert_int_equal(fsx_getattr(p.x, p.m, p.ino[1], &a), 0);
	assert_int_equal(a.block_bytes, 3000);
	assert_int_equal(dx_lseek(p.x, p.m, p.a[1], 100, SEEK_DATA), 2 * MB + 1000);
	/* a hole over bytes */
	put(&p, 1, 0, s, 8 * MB);
	memcpy(want, s, 8 * MB);
	memset(want + MB, 0, 4 * MB);
	memcpy(want + MB + MB + 1000, s, 3000);
	assert_int_equal(dx_copy(p.x, p.m, p.a[0], MB, p.a[1], MB, 4 * MB), 4 * MB);
	dx_expect(p.x, &p.m[1], p.b[1], 0, want, 8 * MB);
	assert_false(dx_block(p.x, p.m, p.ino[1], 3, NULL));
	free(s);
	free(want);
	pair_free(&p);
}

/* The times are those of a write, set-id bits go, and what was read ahead is not believed. */
static void test_copy_is_a_write(void **state)
{
	struct pair p = pair_new(4);
	struct fs_attr set = {.mode = 04755, .mtime = 5}, a;
	uint8_t *s = dx_bytes(0, 2 * MB, 4), *t = dx_bytes(0, 2 * MB, 5);
	struct fsx_wait w;

	(void)state;
	put(&p, 0, 0, s, 2 * MB);
	put(&p, 1, 0, t, 2 * MB);
	assert_int_equal(dx_flush(p.x, p.m, p.a[1]), 0);
	dx_expect(p.x, p.m, p.a[1], 0, t, 2 * MB);
	assert_int_equal(fsx_setattr(p.x, p.m, p.ino[1], FS_SET_MODE | FS_SET_MTIME, &set, &a), 0);
	fsx_call(p.m, &w);
	w.call.uid = 1000;
	w.call.kill_priv = true;
	fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, 2 * MB);
	assert_int_equal(fsx_wait(p.x, &w), 0);
	assert_int_equal(fsx_getattr(p.x, &p.m[1], p.ino[1], &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	assert_true(a.mtime > 5 && a.ctime >= a.mtime);
	dx_expect(p.x, p.m, p.a[1], 0, s, 2 * MB);
	free(s);
	free(t);
	pair_free(&p);
}

/* What the other mount has not sent is copied; and it reads all of a copy, or nothing. */
static void test_copy_and_another_mount(void **state)
{
	struct pair p = pair_new(5);
	size_t len = 4 * MB;
	uint8_t *s = dx_bytes(0, len, 6), *t = dx_bytes(0, len, 7);
	struct fsx_wait w, r;
	unsigned reads = 0;

	(void)state;
	assert_int_equal(dx_write(p.x, &p.m[1], p.b[0], 0, s, len), len);
	assert_int_equal(dx_write(p.x, &p.m[1], p.b[1], 0, t, len), len);
	fsx_call(p.m, &w);
	fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, len);
	while (!w.done) {
		bool old;

		data_drop(p.b[1]->data, 0);
		fsx_call(&p.m[1], &r);
		fs_read(p.m[1].fs, &r.call, p.b[1], 0, len);
		assert_int_equal(fsx_wait(p.x, &r), 0);
		assert_int_equal(r.call.len, len);
		old = memcmp(r.copy, t, len) == 0;
		assert_true(old || memcmp(r.copy, s, len) == 0);
		free(r.copy);
		reads++;
		sim_run(p.x->c->s, ENV_MS / 10);
	}
	assert_int_equal(w.rc, 0);
	assert_int_equal(w.call.len, len);
	assert_true(reads > 0);
	dx_expect(p.x, &p.m[1], p.b[1], 0, s, len);
	free(s);
	free(t);
	pair_free(&p);
}

/* Two mounts, each from one file into the other: neither waits for ever. */
static void test_copy_crosswise(void **state)
{
	struct pair p = pair_new(6);
	uint8_t *s = dx_bytes(0, 2 * MB, 8);
	struct fsx_wait w[2];

	(void)state;
	put(&p, 0, 0, s, 2 * MB);
	put(&p, 1, 0, s, 2 * MB);
	for (unsigned i = 0; i < 20; i++) {
		/* each holds what the other one wants first */
		assert_int_equal(dx_write(p.x, p.m, p.a[i % 2], 0, s, 10), 10);
		assert_int_equal(dx_write(p.x, &p.m[1], p.b[!(i % 2)], 0, s, 10), 10);
		fsx_call(p.m, &w[0]);
		fsx_call(&p.m[1], &w[1]);
		fs_copy(p.m->fs, &w[0].call, p.a[0], 0, p.a[1], 0, MB + i * 1000);
		fs_copy(p.m[1].fs, &w[1].call, p.b[1], 0, p.b[0], 0, MB + i * 2000);
		assert_int_equal(fsx_wait(p.x, &w[0]), 0);
		assert_int_equal(fsx_wait(p.x, &w[1]), 0);
	}
	dx_expect(p.x, p.m, p.a[1], 0, s, 2 * MB);
	dx_expect(p.x, p.m, p.a[0], 0, s, 2 * MB);
	free(s);
	pair_free(&p);
}

/* A signal ends the waiting for a lease, and a copy that nobody answers. */
static void test_copy_ends_by_a_signal(void **state)
{
	struct pair p = pair_new(7);
	uint8_t *s = dx_bytes(0, 2 * MB, 9);
	struct fsx_wait w;

	(void)state;
	put(&p, 0, 0, s, 2 * MB);
	assert_int_equal(dx_flush(p.x, p.m, p.a[0]), 0);
	assert_int_equal(dx_write(p.x, &p.m[1], p.b[1], 0, s, 100), 100);
	fsx_unreach(p.x, &p.m[1]);
	fsx_call(p.m, &w);
	fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, 2 * MB);
	sim_run(p.x->c->s, 100 * ENV_MS);
	assert_false(w.done);
	fs_interrupt(p.m->fs, &w.call, true);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	fsx_reach(p.x, &p.m[1]);
	sim_run(p.x->c->s, 5 * ENV_SEC);
	fsx_call(p.m, &w);
	fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, 2 * MB);
	fsx_unreach(p.x, p.m);
	sim_run(p.x->c->s, 100 * ENV_MS);
	fs_interrupt(p.m->fs, &w.call, true);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	fsx_reach(p.x, p.m);
	sim_run(p.x->c->s, 5 * ENV_SEC);
	free(s);
	pair_free(&p);
}

static void test_copy_to_a_full_disk(void **state)
{
	struct cluster_config cfg = {
		.seed = 8, .nodes = nodes, .shard_bits = 6, .capacity = 24 * MB};
	struct pair p;
	size_t len = 10 * MB;
	uint8_t *s = dx_bytes(0, len, 10);
	struct fs_attr a;
	int64_t rc = 0;

	(void)state;
	pair_make(&p, fsx_new_with(&cfg, 2));
	put(&p, 0, 0, s, len);
	assert_int_equal(dx_flush(p.x, p.m, p.a[0]), 0);
	for (unsigned i = 0; i < 20 && rc >= 0; i++)
		rc = dx_copy(p.x, p.m, p.a[0], 0, p.a[1], i * len, len);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(dx_flush(p.x, p.m, p.a[1]), 0); /* it was told */
	assert_int_equal(fsx_getattr(p.x, p.m, p.ino[1], &a), 0);
	for (uint64_t off = 0; off < a.size; off += len)
		dx_expect(p.x, &p.m[1], p.b[1], off, s, a.size - off < len ? a.size - off : len);
	free(s);
	pair_free(&p);
}

/* Copies among writes, cuts and holes, beside a model, from two mounts. */
static void random_run(uint64_t seed, unsigned steps)
{
	struct pair p = pair_new(seed);
	struct sim *s = p.x->c->s;
	uint64_t max = 4 * MB, size[2] = {0};
	uint8_t *is[2] = {calloc(1, max), calloc(1, max)}, *buf = malloc(max);

	for (unsigned i = 0; i < steps; i++) {
		unsigned side = (unsigned)sim_below(s, 2), k = (unsigned)sim_below(s, 2);
		unsigned what = (unsigned)sim_below(s, 100), j = (unsigned)sim_below(s, 2);
		struct fsx_mount *m = &p.m[side];
		struct fs_file **f = side ? p.b : p.a;
		uint64_t off = sim_below(s, sim_below(s, 3) ? max : 100 * KB);
		uint64_t from = sim_below(s, sim_below(s, 3) ? max : 100 * KB);
		uint64_t len = 1 + sim_below(s, sim_below(s, 2) ? 2 * MB : 10 * KB);

		len = len < max - off ? len : max - off;
		if (what < 40) {
			uint64_t n = from < size[k] ? size[k] - from : 0;

			n = n < len ? n : len;
			if (j == k && (off < from ? from - off < len : off - from < len))
				continue;
			assert_int_equal(dx_copy(p.x, m, f[k], from, f[j], off, len), n);
			memcpy(is[j] + off, is[k] + from, n);
			if (n && size[j] < off + n)
				size[j] = off + n;
		} else if (what < 60) {
			dx_pattern(buf, off, len, i);
			assert_int_equal(dx_write(p.x, m, f[k], off, buf, len), len);
			memcpy(is[k] + off, buf, len);
			size[k] = size[k] < off + len ? off + len : size[k];
		} else if (what < 65) {
			assert_int_equal(dx_truncate(p.x, m, p.ino[k], off), 0);
			if (off < size[k])
				memset(is[k] + off, 0, size[k] - off);
			size[k] = off;
		} else if (what < 75) {
			assert_int_equal(
				dx_fallocate(p.x, m, f[k],
					FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len),
				0);
			memset(is[k] + off, 0, len);
		} else if (size[k]) {
			dx_expect(p.x, m, f[k], 0, is[k], size[k]);
		}
	}
	for (unsigned k = 0; k < 2; k++) {
		struct txn_object o;
		uint64_t bytes = 0;
		struct fs_attr a;

		assert_int_equal(dx_flush(p.x, p.m, p.a[k]), 0);
		assert_int_equal(dx_flush(p.x, &p.m[1], p.b[k]), 0);
		assert_int_equal(fsx_getattr(p.x, p.m, p.ino[k], &a), 0);
		assert_int_equal(a.size, size[k]);
		for (uint64_t n = 0; n < 5; n++) {
			if (dx_block(p.x, p.m, p.ino[k], n, &o))
				bytes += o.stream_bytes;
		}
		assert_int_equal(a.block_bytes, bytes);
	}
	free(is[0]);
	free(is[1]);
	free(buf);
	pair_free(&p);
}

static void test_copy_random(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	if (seed) {
		random_run(strtoull(seed, NULL, 0), 120);
		return;
	}
	for (uint64_t i = 1; i <= 8; i++)
		random_run(i, 120);
}

/* Somebody appends to the source meanwhile: what is copied is a beginning of it. */
static void test_copy_of_what_grows(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct pair p = pair_new(seed);
		size_t len = 2 * MB;
		uint8_t *s = dx_bytes(0, len, 13);
		struct fsx_wait w;

		put(&p, 0, 0, s, MB);
		fsx_call(p.m, &w);
		fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, TB);
		sim_run(p.x->c->s, sim_below(p.x->c->s, 3 * ENV_MS));
		put(&p, 0, MB, s + MB, MB);
		assert_int_equal(fsx_wait(p.x, &w), 0);
		assert_in_range(w.call.len, MB, len);
		dx_expect(p.x, p.m, p.a[1], 0, s, w.call.len);
		dx_expect(p.x, &p.m[1], p.b[1], 0, s, w.call.len);
		free(s);
		pair_free(&p);
	}
}

/* What goes through the mount has to wait where much is dirty. */
static void test_copy_waits_for_room(void **state)
{
	struct fsx *x = fsx_new(12, nodes, 0);
	struct pair p;
	size_t len = MB;
	uint8_t *s = dx_bytes(0, len, 14);
	struct fsx_wait w[8];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		fsx_client(x, NULL)->cfg.write_behind = MB;
		if (i == 0)
			assert_int_equal(fsx_mkfs(x, &x->m[i]), 0);
		assert_int_equal(fsx_mount(x, &x->m[i]), 0);
	}
	pair_make(&p, x);
	put(&p, 0, 0, s, len);
	assert_int_equal(dx_flush(p.x, p.m, p.a[0]), 0);
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		fsx_call(p.m, &w[i]);
		fs_copy(p.m->fs, &w[i].call, p.a[0], 0, p.a[1], i * len, len);
	}
	for (unsigned i = 0; i < ARRAY_LEN(w); i++) {
		assert_int_equal(fsx_wait(p.x, &w[i]), 0);
		assert_int_equal(w[i].call.len, len);
	}
	for (unsigned i = 0; i < ARRAY_LEN(w); i++)
		dx_expect(p.x, &p.m[1], p.b[1], i * len, s, len);
	free(s);
	pair_free(&p);
}

/* Nodes crash and come back while they copy: all of it is there in the end, once. */
static void test_copy_while_nodes_crash(void **state)
{
	struct pair p = pair_new(9);
	struct sim *s = p.x->c->s;
	size_t len = 6 * MB;
	uint8_t *bytes = dx_bytes(0, len, 11), *want = dx_bytes(0, 2 * len, 12);

	(void)state;
	put(&p, 0, 0, bytes, len);
	put(&p, 1, 0, want, 2 * len);
	assert_int_equal(dx_flush(p.x, p.m, p.a[1]), 0);
	for (unsigned i = 0; i < 12; i++) {
		uint64_t from = sim_below(s, MB), to = sim_below(s, 2 * len - 5 * MB);
		unsigned node = (unsigned)sim_below(s, nodes), side = i % 2;
		struct fsx_wait w;

		fsx_call(&p.m[side], &w);
		fs_copy(p.m[side].fs, &w.call, side ? p.b[0] : p.a[0], from, side ? p.b[1] : p.a[1],
			to, 5 * MB);
		sim_run(s, sim_below(s, 10 * ENV_MS));
		cluster_crash(p.x->c, node, DISK_PROCESS);
		sim_run(s, sim_below(s, 300 * ENV_MS));
		cluster_start(p.x->c, node);
		assert_int_equal(fsx_wait(p.x, &w), 0);
		assert_int_equal(w.call.len, 5 * MB);
		memcpy(want + to, bytes + from, 5 * MB);
		dx_expect(p.x, &p.m[!side], side ? p.a[1] : p.b[1], 0, want, 2 * len);
	}
	free(bytes);
	free(want);
	pair_free(&p);
}

/* The mount dies: each block is as it was or as it was to be, and no byte shows that is neither. */
static void dies(uint64_t seed)
{
	struct pair p = pair_new(seed);
	struct sim *s = p.x->c->s;
	size_t len = 5 * MB, old = 2 * MB + 100 * KB;
	uint8_t *bytes = dx_bytes(0, len, 13), *was = calloc(1, len), *got = malloc(len);
	struct fsx_wait w, u = {0};
	struct fs_attr a;
	int64_t n;

	dx_pattern(was, 0, old, 14);
	put(&p, 0, 0, bytes, len);
	put(&p, 1, 0, was, old);
	assert_int_equal(dx_flush(p.x, p.m, p.a[1]), 0);
	fsx_call(p.m, &w);
	fs_copy(p.m->fs, &w.call, p.a[0], 0, p.a[1], 0, len);
	sim_run(s, seed * ENV_MS / 4);
	cluster_client_kill(p.x->c, 0, true);
	n = dx_read(p.x, &p.m[1], p.b[1], 0, got, len);
	assert_int_equal(fsx_getattr(p.x, &p.m[1], p.ino[1], &a), 0);
	assert_in_range(a.size, old, len);
	assert_int_equal(n, a.size);
	for (uint64_t off = 0; off < a.size; off += 64 * KB) {
		size_t most = a.size - off < 64 * KB ? a.size - off : 64 * KB;

		assert_true(memcmp(got + off, bytes + off, most) == 0 ||
			    memcmp(got + off, was + off, most) == 0);
	}
	/* what it sent beyond the end is gone */
	assert_int_equal(dx_truncate(p.x, &p.m[1], p.ino[1], 8 * MB), 0);
	dx_expect_zeros(p.x, &p.m[1], p.b[1], a.size, 8 * MB - a.size);
	free(bytes);
	free(was);
	free(got);
	cluster_client_bury(p.x->c, 0);
	fs_unmount(p.m->fs, 30 * ENV_SEC, fsx_rc, &u);
	fsx_wait(p.x, &u);
	p.m->fs = NULL;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(dx_close(p.x, &p.m[1], p.b[i]), 0);
	fsx_free(p.x);
}

static void test_copy_whose_mount_dies(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 40; seed++)
		dies(seed);
}

static int one_node(void **state)
{
	(void)state;
	nodes = 1;
	return 0;
}

static int three_nodes(void **state)
{
	(void)state;
	nodes = 3;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_pieces),
		cmocka_unit_test(test_copy_is_done_by_the_nodes),
		cmocka_unit_test(test_copy_leaves_holes),
		cmocka_unit_test(test_copy_is_a_write),
		cmocka_unit_test(test_copy_and_another_mount),
		cmocka_unit_test(test_copy_crosswise),
		cmocka_unit_test(test_copy_ends_by_a_signal),
		cmocka_unit_test(test_copy_to_a_full_disk),
		cmocka_unit_test(test_copy_random),
		cmocka_unit_test(test_copy_of_what_grows),
		cmocka_unit_test(test_copy_waits_for_room),
		cmocka_unit_test(test_copy_while_nodes_crash),
		cmocka_unit_test(test_copy_whose_mount_dies),
	};
	int rc = cmocka_run_group_tests_name("one node", tests, one_node, NULL);

	return cmocka_run_group_tests_name("three nodes", tests, three_nodes, NULL) || rc;
}
