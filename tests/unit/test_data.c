/* The cache of file data and its parts: ranges, policies in words, and what happens to dirty bytes
 * when nodes do not answer or have no room. */
#include "fs/cache/ranges.h"
#include "fs/ops/policy.h"
#include "tests/unit/test_data_env.h"

/* A node that crashes leaves behind what its store had given to workers: of a process that dies,
 * the kernel takes that. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:dht/store/\nleak:save_fire";
}

/* ---- ranges ---- */

#define SPACE 300

static void check_ranges(const struct ranges *r, const bool *model)
{
	uint32_t bytes = 0, last = 0;

	for (unsigned i = 0; i < r->n; i++) {
		assert_true(r->v[i].from < r->v[i].to);
		assert_true(i == 0 || r->v[i].from > last); /* sorted, not adjacent */
		last = r->v[i].to;
	}
	for (uint32_t at = 0; at < SPACE; at++) {
		assert_int_equal(ranges_meet(r, at, at + 1), model[at]);
		bytes += model[at];
	}
	assert_int_equal(r->bytes, bytes);
}

static void test_ranges_are_a_set(void **state)
{
	uint64_t rnd = 12345;

	(void)state;
	for (unsigned run = 0; run < 50; run++) {
		bool model[SPACE] = {false}, other[SPACE] = {false};
		struct ranges r, to;

		ranges_init(&r);
		ranges_init(&to);
		for (unsigned i = 0; i < 40; i++) {
			uint32_t from, n;

			rnd = rnd * UINT64_C(6364136223846793005) + 1;
			from = (uint32_t)(rnd >> 33) % SPACE;
			n = (uint32_t)(rnd >> 20) % 12;
			if (from + n > SPACE)
				n = SPACE - from;
			ranges_add(&r, from, from + n);
			memset(model + from, 1, n);
			check_ranges(&r, model);
			if (i % 9 == 8) { /* some of it moves over */
				unsigned k = r.n < 3 ? r.n : 3;

				for (unsigned j = 0; j < k; j++) {
					for (uint32_t at = r.v[j].from; at < r.v[j].to; at++) {
						model[at] = false;
						other[at] = true;
					}
				}
				ranges_move(&to, &r, 3);
				check_ranges(&r, model);
				check_ranges(&to, other);
			}
		}
		ranges_clear(&r);
		assert_true(ranges_empty(&r));
		assert_int_equal(r.bytes, 0);
		ranges_fini(&r);
		ranges_fini(&to);
	}
}

/* ---- policies ---- */

static void test_policy_words(void **state)
{
	struct orbit_policy p = orbit_config_default().policy;
	char why[100] = "";

	(void)state;
	assert_int_equal(policy_parse("", &p, why, sizeof(why)), 0);
	assert_int_equal(policy_parse("soft", &p, why, sizeof(why)), 0);
	assert_false(p.reads_block || p.writes_block);
	assert_int_equal(policy_parse("hard,reads=error", &p, NULL, 0), 0);
	assert_true(p.writes_block);
	assert_false(p.reads_block);
	assert_int_equal(policy_parse("reads=block,writes=error,resend_count=7,check_timeout=250ms",
				 &p, why, sizeof(why)),
		0);
	assert_true(p.reads_block);
	assert_false(p.writes_block);
	assert_int_equal(p.resend_count, 7);
	assert_true(p.check_timeout == 250 * ENV_MS);
	assert_int_equal(policy_parse("resend_count=0,check_timeout=2m", &p, NULL, 0), 0);
	assert_int_equal(p.resend_count, 0);
	assert_true(p.check_timeout == 120 * ENV_SEC);
}

static void test_policy_names_the_wrong_word(void **state)
{
	static const char *const wrong[] = {"sof", "soft,", ",soft", "soft,,hard", "reads=maybe",
		"writes=", "resend_count=", "resend_count=-1", "resend_count=1x",
		"resend_count=1000001", "resend_count=99999999999999999999", "check_timeout=5",
		"check_timeout=9ms", "check_timeout=2h", "check_timeout=61m", "check_timeout=s",
		"hard=1", " soft", "SOFT"};
	struct orbit_policy p = orbit_config_default().policy, was = p;
	char why[200], longer[POLICY_TEXT_MAX + 10];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(wrong); i++) {
		why[0] = '\0';
		assert_int_equal(policy_parse(wrong[i], &p, why, sizeof(why)), -EINVAL);
		assert_non_null(strstr(why, "policy: '"));
		assert_memory_equal(&p, &was, sizeof(p));
	}
	assert_int_equal(policy_parse("soft,bogus=3", &p, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "'bogus=3'"));
	assert_memory_equal(&p, &was, sizeof(p)); /* all or nothing */
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(policy_parse(longer, &p, why, sizeof(why)), -EINVAL);
	assert_true(policy_knows("reads=error") && policy_knows("hard"));
	assert_false(policy_knows("hardly") || policy_knows("ro") || policy_knows(""));
}

/* ---- nodes that do not answer ---- */

static struct fs_file *make(struct fsx *x, const char *name, struct fs_attr *a)
{
	struct fs_file *f;

	assert_int_equal(fsx_create(x, x->m, ROOT, name, 0644, O_RDWR, &f, a), 0);
	return f;
}

static void test_data_signal_ends_a_flush_but_not_the_bytes(void **state)
{
	struct fsx *x = fsx_new(1, 1, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct txn_object o;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	cluster_crash(x->c, 0, DISK_PROCESS);
	fsx_call(x->m, &w);
	fs_flush(x->m->fs, &w.call, f);
	sim_run(x->c->s, 1 * ENV_SEC);
	assert_false(w.done);
	/* a signal that the program handles waits until it stalls */
	fs_interrupt(x->m->fs, &w.call, false);
	assert_false(w.done);
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	/* a fatal one does not */
	fsx_call(x->m, &w);
	fs_fsync(x->m->fs, &w.call, f, false);
	sim_run(x->c->s, 10 * ENV_MS);
	assert_false(w.done);
	fs_interrupt(x->m->fs, &w.call, true);
	assert_true(w.done);
	assert_int_equal(w.rc, -EINTR);
	assert_true(data_dirty(x->m->fs->data, a.ino));
	cluster_start(x->c, 0);
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	assert_true(fsx_object(x, x->m, a.ino, &o));
	assert_int_equal(o.slot[SLOT_SIZE], 5);
	assert_int_equal(dx_close(x, x->m, f), 0);
	fsx_free(x);
}

static void test_data_signal_ends_read_truncate_and_waiting_write(void **state)
{
	struct fsx *x = fsx_new(2, 1, 0);
	struct fsx_mount *m = fsx_client(x, NULL);
	uint8_t *p = dx_bytes(0, 3 * MB, 2);
	struct fs_attr a, set = {.size = 10};
	struct fs_file *f;
	struct fsx_wait w, r, t;

	(void)state;
	m->cfg.write_behind = MB;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	f = make(x, "f", &a);
	assert_int_equal(dx_write(x, m, f, 0, p, 3 * MB), 3 * MB);
	assert_int_equal(dx_flush(x, m, f), 0);
	cluster_crash(x->c, 0, DISK_PROCESS);
	fsx_call(m, &r);
	fs_read(m->fs, &r.call, f, MB - 100, 2 * KB); /* two parts */
	assert_int_equal(dx_write(x, m, f, 0, p, MB / 2), MB / 2);
	fsx_call(m, &w);
	fs_write(m->fs, &w.call, f, MB, p, MB);
	fsx_call(m, &t);
	fs_setattr(m->fs, &t.call, a.ino, FS_SET_SIZE, &set);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_false(r.done || w.done || t.done);
	fs_interrupt(m->fs, &r.call, true);
	fs_interrupt(m->fs, &w.call, true);
	fs_interrupt(m->fs, &t.call, true);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_true(r.done && w.done && t.done);
	assert_int_equal(r.rc, -EINTR);
	assert_int_equal(w.rc, -EINTR);
	assert_int_equal(t.rc, -EINTR);
	cluster_start(x->c, 0);
	/* the truncation goes on for nobody */
	sim_run(x->c->s, 5 * ENV_SEC);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_int_equal(a.size, 10);
	assert_int_equal(a.trim, 0);
	dx_expect(x, m, f, 0, p, 10);
	assert_int_equal(dx_close(x, m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_soft_policy_of_one_file(void **state)
{
	static const char text[] = "soft,resend_count=1,check_timeout=200ms";
	struct fsx *x = fsx_new(3, 1, 1);
	uint8_t *p = dx_bytes(0, MB, 3), buf[16];
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a), *g;
	uint64_t from;
	struct fsx_wait w;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, MB), MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, POLICY_XATTR, text, strlen(text), 0), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
	assert_non_null(file_policy(x->m->fs, a.ino));
	assert_int_equal(file_policy(x->m->fs, a.ino)->resend_count, 1);
	sim_run(x->c->s, 500 * ENV_MS); /* the node has no work left of its own */
	cluster_crash(x->c, 0, DISK_PROCESS);
	from = sim_now(x->c->s);
	assert_int_equal(dx_read(x, x->m, g, 500 * KB, buf, sizeof(buf)), -ETIMEDOUT);
	assert_in_range(sim_now(x->c->s) - from, 300 * ENV_MS, 700 * ENV_MS);
	/* written data that could not be sent is reported at close, once */
	assert_int_equal(dx_write(x, x->m, g, 0, "lost", 4), 4);
	assert_int_equal(dx_flush(x, x->m, g), -ETIMEDOUT);
	assert_int_equal(dx_flush(x, x->m, g), 0);
	assert_false(data_dirty(x->m->fs->data, a.ino));
	/* the mount itself is hard */
	fsx_call(x->m, &w);
	fs_lookup(x->m->fs, &w.call, ROOT, "nobody");
	sim_run(x->c->s, 30 * ENV_SEC);
	assert_false(w.done);
	cluster_start(x->c, 0);
	assert_int_equal(fsx_wait(x, &w), -ENOENT);
	dx_expect(x, x->m, g, 0, p, 100); /* what was there before */
	assert_int_equal(fsx_removexattr(x, x->m, a.ino, POLICY_XATTR), 0);
	assert_int_equal(dx_close(x, x->m, g), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &g), 0);
	assert_null(file_policy(x->m->fs, a.ino));
	assert_int_equal(dx_close(x, x->m, g), 0);
	free(p);
	fsx_free(x);
}

static void test_data_writes_survive_a_restart_of_the_node(void **state)
{
	struct fsx *x = fsx_new(4, 3, 1);
	uint8_t *p = dx_bytes(0, 8 * MB, 4);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);

	(void)state;
	for (uint64_t off = 0; off < 8 * MB; off += 256 * KB) {
		assert_int_equal(dx_write(x, x->m, f, off, p + off, 256 * KB), 256 * KB);
		if (off == 2 * MB)
			cluster_crash(x->c, 1, DISK_PROCESS);
		if (off == 4 * MB)
			cluster_start(x->c, 1);
	}
	assert_int_equal(dx_fsync(x, x->m, f), 0);
	dx_expect(x, x->m, f, 0, p, 8 * MB);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.bytes, 8 * MB); /* counted once, however often it was sent */
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_unmount_gives_up_in_time(void **state)
{
	struct fsx *x = fsx_new(5, 1, 1);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct fsx_wait w = {0};

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, "bytes", 5), 5);
	cluster_crash(x->c, 0, DISK_PROCESS);
	fs_unmount(x->m->fs, 3 * ENV_SEC, fsx_rc, &w);
	x->m->fs = NULL;
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_true(w.done);
	assert_int_equal(w.rc, -ETIMEDOUT); /* bytes were lost, and it says so */
	fsx_free(x);
}

/* Also what is not even on its way then: more than may be in flight, and bytes of a block that is
 * (@again). */
static void give_up_what_waits(bool again)
{
	struct fsx *x = fsx_new(6, 1, 1);
	uint8_t *p = dx_bytes(0, 24 * MB, 6);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct fsx_wait flush, w = {0};

	assert_int_equal(dx_write(x, x->m, f, 0, p, 2 * MB), 2 * MB);
	sim_run(x->c->s, 100 * ENV_MS); /* what lies beyond the end may be sent */
	cluster_crash(x->c, 0, DISK_PROCESS);
	if (again) {
		assert_int_equal(dx_write(x, x->m, f, 2 * MB, p, MB), MB);
		assert_int_equal(dx_write(x, x->m, f, 2 * MB, p, 1000), 1000);
		fsx_call(x->m, &flush);
		fs_flush(x->m->fs, &flush.call, f);
	} else {
		assert_int_equal(dx_write(x, x->m, f, 2 * MB, p, 24 * MB), 24 * MB);
	}
	fs_unmount(x->m->fs, 3 * ENV_SEC, fsx_rc, &w);
	x->m->fs = NULL;
	sim_run(x->c->s, 10 * ENV_SEC);
	assert_true(w.done);
	assert_int_equal(w.rc, -ETIMEDOUT);
	assert_true(!again || flush.done);
	free(p);
	fsx_free(x);
}

static void test_data_unmount_gives_up_what_waits_to_be_sent(void **state)
{
	(void)state;
	give_up_what_waits(false);
	give_up_what_waits(true);
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

/* One block of several can't be written: the size does not promise it, the rest is there. */
static void test_data_size_stops_at_a_block_that_was_lost(void **state)
{
	static const char text[] = "soft,resend_count=1,check_timeout=200ms";
	struct fsx *x = fsx_new(7, 3, 1);
	uint8_t *p = dx_bytes(0, 12 * MB, 7);
	struct fs_attr a;
	struct fs_file *f = make(x, "f", &a);
	struct orbit_id inode = layout_inode_id(a.ino), id;
	uint64_t lost = 0;

	(void)state;
	assert_int_equal(fsx_setxattr(x, x->m, a.ino, POLICY_XATTR, text, strlen(text), 0), 0);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDWR, &f), 0);
	do
		id = layout_block_id(a.ino, ++lost);
	while (primary_of(x, &id) == primary_of(x, &inode));
	assert_in_range(lost, 1, 10);
	assert_int_equal(dx_write(x, x->m, f, 0, p, lost * MB), lost * MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	sim_run(x->c->s, 500 * ENV_MS);
	cluster_crash(x->c, primary_of(x, &id), DISK_PROCESS);
	assert_int_equal(dx_write(x, x->m, f, 0, "head", 4), 4);
	assert_int_equal(dx_write(x, x->m, f, lost * MB, p + lost * MB, MB), MB);
	assert_int_equal(dx_flush(x, x->m, f), -ETIMEDOUT);
	memcpy(p, "head", 4);
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &a), 0);
	assert_int_equal(a.size, lost * MB);
	dx_expect(x, x->m, f, 0, p, 64 * KB);
	cluster_start(x->c, primary_of(x, &id));
	dx_expect(x, x->m, f, 0, p, lost * MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	free(p);
	fsx_free(x);
}

static void test_data_full_disk(void **state)
{
	struct fsx *x = fsx_new(6, 1, 1);
	uint8_t *p = dx_bytes(0, 2 * MB, 6);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);
	struct store_usage u;
	struct fsx_wait w;
	int rc;

	(void)state;
	assert_int_equal(dx_write(x, x->m, f, 0, p, MB), MB);
	assert_int_equal(dx_flush(x, x->m, f), 0);
	disk_mem_faults(x->c->node[0].disk)->capacity = 1;
	sim_run(x->c->s, 2 * ENV_SEC); /* what it knows of the disk is old by then: it looks */
	store_usage(x->c->node[0].store, &u);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_int_equal(dx_write(x, x->m, f, MB, p + MB, MB), MB);
	assert_int_equal(dx_flush(x, x->m, f), -ENOSPC);
	/* no byte is promised that is not there */
	assert_int_equal(fsx_getattr(x, x->m, a.ino, &b), 0);
	assert_int_equal(b.size, MB);
	/* from now on it is said at once */
	fsx_call(x->m, &w);
	fs_write(x->m->fs, &w.call, f, MB, p + MB, 100 * KB);
	rc = fsx_wait(x, &w);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(dx_flush(x, x->m, f), 0); /* it was told */
	disk_mem_faults(x->c->node[0].disk)->capacity = 0;
	sim_run(x->c->s, 30 * ENV_SEC);
	assert_int_equal(dx_write(x, x->m, f, MB, p + MB, MB), MB);
	assert_int_equal(dx_close(x, x->m, f), 0);
	assert_int_equal(dx_open(x, x->m, a.ino, O_RDONLY, &f), 0);
	dx_expect(x, x->m, f, 0, p, 2 * MB);
	fs_release(x->m->fs, f);
	free(p);
	fsx_free(x);
}

/* What another mount made us send, and was lost, of a file that nobody has open (it was mapped):
 * nobody but the end of the mount tells of it. */
static void test_data_loss_that_nobody_was_told(void **state)
{
	struct fsx *x = fsx_new(61, 1, 2);
	uint8_t *p = dx_bytes(0, MB, 61);
	struct fs_attr a, b;
	struct fs_file *f = make(x, "f", &a);
	struct store_usage u;

	(void)state;
	disk_mem_faults(x->c->node[0].disk)->capacity = 1;
	sim_run(x->c->s, 2 * ENV_SEC);
	store_usage(x->c->node[0].store, &u);
	sim_run(x->c->s, 100 * ENV_MS);
	assert_int_equal(dx_write(x, x->m, f, 0, p, MB), MB);
	fs_release(x->m->fs, f);
	assert_int_equal(fsx_getattr(x, &x->m[1], a.ino, &b), 0);
	assert_int_equal(b.size, 0);
	disk_mem_faults(x->c->node[0].disk)->capacity = 0;
	sim_run(x->c->s, 30 * ENV_SEC);
	assert_int_equal(fsx_unmount(x, x->m), -ENOSPC);
	free(p);
	fsx_free(x);
}

#define FAULT_WRITES 60

/* Writes that overlap, not waited for, while nodes die and come back: nothing is lost or mixed up,
 * and bytes are counted once. */
static void faults_run(uint64_t seed)
{
	struct fsx *x = fsx_new(seed, 3, 0);
	struct fsx_mount *m = fsx_client(x, NULL);
	struct fsx_wait *w = calloc(FAULT_WRITES, sizeof(*w));
	size_t max = 6 * MB, size = 0;
	uint8_t *model = calloc(1, max), *p[FAULT_WRITES];
	uint64_t bytes = 0;
	struct txn_object o;
	struct fs_attr a;
	struct fs_file *f;
	struct fsx_wait flushed;
	unsigned down = 3;

	m->cfg.write_behind = sim_chance(x->c->s, 500) ? 2 * MB : 64 * MB;
	assert_int_equal(fsx_mkfs(x, m), 0);
	assert_int_equal(fsx_mount(x, m), 0);
	f = make(x, "f", &a);
	for (unsigned i = 0; i < FAULT_WRITES; i++) {
		uint64_t off = sim_below(x->c->s, max - 1);
		size_t len = 1 + sim_below(x->c->s, sim_chance(x->c->s, 500) ? MB : 9000);

		len = len < max - off ? len : max - off;
		p[i] = dx_bytes(off, len, i);
		fsx_call(m, &w[i]);
		fs_write(m->fs, &w[i].call, f, off, p[i], len);
		memcpy(model + off, p[i], len);
		size = off + len > size ? off + len : size;
		sim_run(x->c->s, sim_below(x->c->s, 30) * ENV_MS);
		if (down < 3 && sim_chance(x->c->s, 200)) {
			cluster_start(x->c, down);
			down = 3;
		} else if (down == 3 && sim_chance(x->c->s, 100)) {
			down = (unsigned)sim_below(x->c->s, 3);
			cluster_crash(x->c, down, DISK_PROCESS);
		}
		if (sim_chance(x->c->s, 50))
			data_flush(m->fs->data, a.ino, fsx_rc, &flushed);
	}
	if (down < 3)
		cluster_start(x->c, down);
	for (unsigned i = 0; i < FAULT_WRITES; i++) {
		assert_int_equal(fsx_wait(x, &w[i]), 0);
		free(p[i]);
	}
	dx_expect(x, m, f, 0, model, size);
	assert_int_equal(dx_fsync(x, m, f), 0);
	dx_expect(x, m, f, 0, model, size);
	assert_int_equal(fsx_getattr(x, m, a.ino, &a), 0);
	assert_int_equal(a.size, size);
	for (uint64_t n = 0; n < 6; n++)
		bytes += dx_block(x, m, a.ino, n, &o) ? o.stream_bytes : 0;
	assert_int_equal(a.block_bytes, bytes);
	assert_int_equal(dx_close(x, m, f), 0);
	free(model);
	free(w);
	fsx_free(x);
}

static void test_data_writes_with_faults(void **state)
{
	const char *seed = getenv("SEED");

	(void)state;
	for (uint64_t i = 1; i <= 20; i++)
		faults_run(seed ? strtoull(seed, NULL, 0) : i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges_are_a_set),
		cmocka_unit_test(test_policy_words),
		cmocka_unit_test(test_policy_names_the_wrong_word),
		cmocka_unit_test(test_data_signal_ends_a_flush_but_not_the_bytes),
		cmocka_unit_test(test_data_signal_ends_read_truncate_and_waiting_write),
		cmocka_unit_test(test_data_soft_policy_of_one_file),
		cmocka_unit_test(test_data_writes_survive_a_restart_of_the_node),
		cmocka_unit_test(test_data_unmount_gives_up_in_time),
		cmocka_unit_test(test_data_unmount_gives_up_what_waits_to_be_sent),
		cmocka_unit_test(test_data_size_stops_at_a_block_that_was_lost),
		cmocka_unit_test(test_data_full_disk),
		cmocka_unit_test(test_data_loss_that_nobody_was_told),
		cmocka_unit_test(test_data_writes_with_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
