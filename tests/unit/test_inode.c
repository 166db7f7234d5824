/* What a mount remembers under leases, and how it lets go: two caches on a simulated cluster, with
 * a kernel that forgets when the test says so. */
#include "fs/cache/inode_impl.h"
#include "tests/unit/test_fs_env.h"

#define DROPS 64
#define FILES 9
#define MS(n) ((n)*ENV_MS)

/* A cache, its kernel, and what is kept back. */
struct side {
	struct fsx_mount *m;
	struct inode_cache *ic;
	struct inode_drop *drop[DROPS]; /* on their way */
	unsigned ndrops, dropped;       /* those, and all so far */
	bool pages, attr;               /* what the last one is about */
	uint64_t end;
	bool slow; /* flush: inode_flushed() is the test's */
	unsigned flushes, lost;
	enum orbit_lease keep;
};

/* The kernel's or the test's: a use that is waited for. */
struct user {
	struct inode_wait w;
	struct side *s;
	bool done;
	int rc;
};

struct two {
	struct fsx *x;
	struct side a, b, c;
	uint64_t ino, files[FILES];
};

static void kernel_drop(void *arg, struct inode_drop *d)
{
	struct side *s = arg;

	assert_true(s->ndrops < DROPS);
	s->drop[s->ndrops++] = d;
	s->dropped++;
	s->pages = d->pages;
	s->attr = d->attr;
	s->end = d->end;
}

/* The kernel comes back with all that it was told. */
static void kernel_done(struct side *s)
{
	struct inode_drop *all[DROPS];
	unsigned n = s->ndrops;

	memcpy(all, s->drop, sizeof(all));
	s->ndrops = 0;
	for (unsigned i = 0; i < n; i++)
		inode_dropped(all[i]);
}

static void side_flush(void *ctx, uint64_t ino, enum orbit_lease keep)
{
	struct side *s = ctx;

	s->flushes++;
	s->keep = keep;
	if (!s->slow)
		inode_flushed(s->ic, ino);
}

static void side_lost(void *ctx, uint64_t ino)
{
	(void)ino;
	((struct side *)ctx)->lost++;
}

static void side_new_with(struct two *t, struct side *s, struct inode_cache_config cfg)
{
	s->m = fsx_client(t->x, NULL);
	cfg.kernel_max = ENV_SEC;
	cfg.ctx = s;
	cfg.flush = side_flush;
	cfg.lost = side_lost;
	s->ic = inode_cache_new(s->m->env, s->m->client, &cfg);
	inode_cache_kernel(s->ic, kernel_drop, s);
}

static struct two *two_new(uint64_t seed)
{
	struct two *t = mem_zalloc(sizeof(*t));
	struct fs_attr a;
	char name[8];

	t->x = fsx_new(seed, 1, 1);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_int_equal(fsx_touch(t->x, t->x->m, ROOT, name, &a), 0);
		t->files[i] = a.ino;
	}
	t->ino = a.ino;
	assert_int_equal(fsx_unmount(t->x, t->x->m), 0);
	side_new_with(t, &t->a, (struct inode_cache_config){.mode = INODE_CACHE_STRICT});
	side_new_with(t, &t->b, (struct inode_cache_config){.mode = INODE_CACHE_STRICT});
	return t;
}

static void side_free(struct side *s)
{
	if (s->ic)
		inode_cache_free(s->ic);
	s->ic = NULL;
	kernel_done(s);
}

static void two_free(struct two *t)
{
	side_free(&t->a);
	side_free(&t->b);
	side_free(&t->c);
	fsx_free(t->x);
	free(t);
}

static void run(struct two *t, uint64_t ns)
{
	sim_run(t->x->c->s, ns);
}

static void used(struct inode_wait *w, int rc, const struct fs_attr *a)
{
	struct user *u = container_of(w, struct user, w);

	(void)a;
	assert_false(u->done);
	u->done = true;
	u->rc = rc;
}

static void use(struct two *t, struct side *s, struct user *u, enum orbit_lease mode)
{
	*u = (struct user){.w = {.done = used, .ino = t->ino, .mode = mode}, .s = s};
	u->done = inode_use(s->ic, &u->w);
}

static void unuse(struct two *t, struct side *s)
{
	inode_unuse(s->ic, t->ino);
}

/* Takes it for as long as it takes to say so; then the kernel has pages up to @end. */
static void take(struct two *t, struct side *s, enum orbit_lease mode, uint64_t end)
{
	struct user u;

	use(t, s, &u, mode);
	if (!u.done)
		assert_true(sim_wait(t->x->c->s, &u.done, FSX_LIMIT));
	assert_int_equal(u.rc, 0);
	if (end)
		inode_give_pages(s->ic, t->ino, end);
	unuse(t, s);
}

/* Nothing goes before the kernel has dropped its pages. */
static void test_inode_pages_go_first(void **state)
{
	struct two *t = two_new(1);
	struct user w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 8192);
	assert_true(inode_pages_good(t->a.ic, t->ino));
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(100));
	assert_int_equal(t->a.ndrops, 1);
	assert_true(t->a.pages);
	assert_int_equal(t->a.end, 8192);
	assert_false(inode_pages_good(t->a.ic, t->ino));
	assert_false(w.done);
	kernel_done(&t->a);
	run(t, MS(100));
	assert_true(w.done);
	assert_int_equal(t->a.dropped, 1);
	unuse(t, &t->b);
	two_free(t);
}

/* Readers that follow one another without a gap do not keep a writer on another mount waiting. */
static void test_inode_readers_in_a_row_end(void **state)
{
	struct two *t = two_new(2);
	struct user r[2], w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 4096);
	use(t, &t->a, &r[0], ORBIT_LEASE_SHARED);
	assert_true(r[0].done);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	for (unsigned i = 0, next = 1; i < 100 && !w.done; i++) {
		struct user *last = &r[!next];

		if (last->done) {
			use(t, &t->a, &r[next], ORBIT_LEASE_SHARED);
			next = !next;
			inode_give_pages(t->a.ic, t->ino, 4096);
			unuse(t, &t->a);
		}
		run(t, MS(1));
		kernel_done(&t->a);
	}
	assert_true(w.done);
	assert_in_range(t->a.dropped, 1, 2);
	unuse(t, &t->b);
	two_free(t);
}

/* A single writer that holds it exclusively and never rests lets go as well. */
static void test_inode_writer_in_a_row_ends(void **state)
{
	struct two *t = two_new(3);
	struct user w, r;
	unsigned i;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_EXCLUSIVE, 4096);
	t->a.slow = true;
	use(t, &t->b, &r, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	assert_int_equal(t->a.flushes, 1); /* under way */
	for (i = 0; i < 20 && !r.done; i++) {
		use(t, &t->a, &w, ORBIT_LEASE_EXCLUSIVE); /* the next write comes meanwhile */
		inode_flushed(t->a.ic, t->ino);
		if (w.done) {
			inode_give_pages(t->a.ic, t->ino, 4096);
			unuse(t, &t->a);
		} else {
			inode_wait_cancel(t->a.ic, &w.w);
		}
		kernel_done(&t->a);
		run(t, MS(1));
	}
	assert_true(r.done);
	assert_in_range(t->a.dropped, 1, 2);
	unuse(t, &t->b);
	two_free(t);
}

/* Who waited when the kernel began to drop is served: it waits for his page, which goes too. */
static void test_inode_waiting_reader_is_served(void **state)
{
	struct two *t = two_new(4);
	struct user r[2], w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 4096);
	use(t, &t->a, &r[0], ORBIT_LEASE_SHARED);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	use(t, &t->a, &r[1], ORBIT_LEASE_SHARED);
	assert_false(r[1].done);
	r[1].w.end = 65536;
	unuse(t, &t->a);
	assert_int_equal(t->a.ndrops, 1);
	assert_int_equal(t->a.end, 65536); /* his page as well */
	assert_true(r[1].done);
	inode_give_pages(t->a.ic, t->ino, 65536);
	unuse(t, &t->a);
	kernel_done(&t->a);
	run(t, MS(100));
	assert_int_equal(t->a.dropped, 1);
	assert_true(w.done);
	unuse(t, &t->b);
	two_free(t);
}

/* Who comes while the kernel drops is let in when that hangs; his pages are dropped after that. */
static void test_inode_late_reader_is_served_when_it_hangs(void **state)
{
	struct two *t = two_new(5);
	struct user r, w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 65536);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	assert_int_equal(t->a.ndrops, 1);
	use(t, &t->a, &r, ORBIT_LEASE_SHARED);
	assert_false(r.done);
	run(t, MS(10));
	assert_true(r.done);
	inode_give_pages(t->a.ic, t->ino, 12288);
	unuse(t, &t->a);
	assert_int_equal(t->a.dropped, 1);
	kernel_done(&t->a);
	assert_int_equal(t->a.dropped, 2);
	assert_true(t->a.pages);
	assert_int_equal(t->a.end, 12288);
	run(t, MS(100));
	assert_false(w.done);
	kernel_done(&t->a);
	run(t, MS(100));
	assert_true(w.done);
	assert_int_equal(t->a.dropped, 2);
	unuse(t, &t->b);
	two_free(t);
}

/* A page locked by a write that waits for others: the lease goes, pages are dropped later. */
static void test_inode_writer_that_waits_is_not_waited_for(void **state)
{
	struct two *t = two_new(6);
	struct user mine, w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 65536);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	use(t, &t->a, &mine, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(50));
	assert_true(w.done);
	assert_false(mine.done);
	assert_int_equal(t->a.dropped, 1); /* which hangs */
	assert_false(inode_pages_good(t->a.ic, t->ino));
	unuse(t, &t->b);
	run(t, MS(100));
	assert_true(mine.done);
	assert_int_equal(t->a.dropped, 2);
	assert_true(t->a.pages && t->a.end >= 65536);
	unuse(t, &t->a);
	two_free(t);
}

/* The same, and a signal ends the write: pages are dropped all the same. */
static void test_inode_pages_go_though_the_writer_gave_up(void **state)
{
	struct two *t = two_new(7);
	struct user mine, w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 65536);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	use(t, &t->a, &mine, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(50));
	inode_wait_cancel(t->a.ic, &mine.w);
	assert_int_equal(t->a.dropped, 2);
	kernel_done(&t->a);
	run(t, MS(100));
	assert_false(mine.done);
	unuse(t, &t->b);
	two_free(t);
}

/* What may be kept becomes less while something is being sent: what that means is done, too. */
static void test_inode_recall_for_more(void **state)
{
	struct two *t = two_new(8);
	struct user r, w;

	(void)state;
	side_new_with(t, &t->c, (struct inode_cache_config){.mode = INODE_CACHE_STRICT});
	take(t, &t->a, ORBIT_LEASE_EXCLUSIVE, 0);
	t->a.slow = true;
	use(t, &t->b, &r, ORBIT_LEASE_SHARED);
	run(t, MS(10));
	assert_int_equal(t->a.flushes, 1);
	assert_int_equal(t->a.keep, ORBIT_LEASE_SHARED);
	recall_begin(inode_record(t->a.ic, t->ino), ORBIT_LEASE_NONE);
	inode_flushed(t->a.ic, t->ino);
	assert_int_equal(t->a.flushes, 2);
	assert_int_equal(t->a.keep, ORBIT_LEASE_NONE);
	inode_flushed(t->a.ic, t->ino);
	run(t, MS(10));
	assert_true(r.done);
	unuse(t, &t->b);
	use(t, &t->c, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	assert_true(w.done);
	unuse(t, &t->c);
	two_free(t);
}

/* Who begins to wait when the last one has just given up is not given up with him. */
static void test_inode_wait_after_a_cancel(void **state)
{
	struct two *t = two_new(9);
	struct user w, first, second;

	(void)state;
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	assert_true(w.done);
	use(t, &t->a, &first, ORBIT_LEASE_SHARED);
	run(t, MS(10));
	inode_wait_cancel(t->a.ic, &first.w);
	use(t, &t->a, &second, ORBIT_LEASE_SHARED);
	run(t, MS(10));
	assert_false(second.done);
	unuse(t, &t->b);
	run(t, MS(100));
	assert_true(second.done);
	assert_int_equal(second.rc, 0);
	assert_false(first.done);
	unuse(t, &t->a);
	two_free(t);
}

/* At the end of a mount nobody waits, and answers that come after it find nothing. */
static void test_inode_stop(void **state)
{
	struct two *t = two_new(10);
	struct user w, r, late;

	(void)state;
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	use(t, &t->a, &r, ORBIT_LEASE_SHARED);
	run(t, MS(10));
	inode_cache_stop(t->a.ic);
	assert_false(r.done); /* not from inside */
	use(t, &t->a, &late, ORBIT_LEASE_SHARED);
	run(t, MS(1));
	assert_true(r.done && late.done);
	assert_int_equal(r.rc, -EINTR);
	assert_int_equal(late.rc, -EINTR);
	unuse(t, &t->b);
	run(t, MS(10));
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	two_free(t);
}

/* Freed while a question is under way. */
static void test_inode_freed_while_asking(void **state)
{
	struct two *t = two_new(11);
	struct user r;

	(void)state;
	use(t, &t->a, &r, ORBIT_LEASE_SHARED);
	assert_false(r.done);
	inode_wait_cancel(t->a.ic, &r.w);
	side_free(&t->a);
	run(t, MS(100));
	assert_false(r.done);
	two_free(t);
}

/* Records of inodes that others want all the time go like any others. */
static void test_inode_contended_records_go(void **state)
{
	struct two *t = two_new(12);
	struct inode_counters n;

	(void)state;
	side_new_with(
		t, &t->c, (struct inode_cache_config){.mode = INODE_CACHE_STRICT, .inodes_max = 4});
	for (unsigned i = 0; i < FILES; i++) {
		t->ino = t->files[i];
		take(t, &t->c, ORBIT_LEASE_SHARED, 0);
		take(t, &t->a, ORBIT_LEASE_EXCLUSIVE, 0);
		run(t, MS(5));
	}
	inode_counters(t->c.ic, &n);
	assert_int_equal(n.inodes, FILES); /* contended, that is what they say */
	inode_trim(t->c.ic);
	inode_counters(t->c.ic, &n);
	assert_in_range(n.inodes, 0, 4);
	two_free(t);
}

/* The session ends while the kernel drops: nothing of that recall is left over for the next. */
static void test_inode_session_lost_in_a_drop(void **state)
{
	struct two *t = two_new(13);
	struct user w;
	uint64_t mark;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 4096);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(10));
	assert_int_equal(t->a.flushes, 1);
	mark = inode_tick(t->a.ic); /* so that the record stays */
	inode_change(t->a.ic, mark, t->ino);
	fsx_unreach(t->x, t->a.m);
	assert_true(sim_wait(t->x->c->s, &w.done, FSX_LIMIT));
	unuse(t, &t->b);
	fsx_reach(t->x, t->a.m);
	for (unsigned i = 0; i < 60 && !t->a.lost; i++)
		run(t, ENV_SEC);
	assert_int_equal(t->a.lost, 1);
	kernel_done(&t->a);
	/* what is kept back may be something that nobody has to use the lease for: a hold */
	recall_begin(inode_record(t->a.ic, t->ino), ORBIT_LEASE_NONE);
	assert_int_equal(t->a.flushes, 2);
	inode_changed(t->a.ic, NULL, mark, t->ino, true, NULL);
	two_free(t);
}

/* The session ends while somebody reads, and the answer comes when there is another: what the
 * kernel then has as a page may be old. */
static void test_inode_session_lost_in_a_read(void **state)
{
	struct two *t = two_new(14);
	struct user r, w;

	(void)state;
	take(t, &t->a, ORBIT_LEASE_SHARED, 0);
	use(t, &t->a, &r, ORBIT_LEASE_SHARED);
	assert_true(r.done);
	fsx_unreach(t->x, t->a.m);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	assert_true(sim_wait(t->x->c->s, &w.done, FSX_LIMIT));
	unuse(t, &t->b);
	fsx_reach(t->x, t->a.m);
	for (unsigned i = 0; i < 60 && !t->a.lost; i++)
		run(t, ENV_SEC);
	assert_int_equal(t->a.lost, 1);
	take(t, &t->a, ORBIT_LEASE_SHARED, 0); /* another reader */
	inode_give_pages(t->a.ic, t->ino, 4096);
	assert_false(inode_pages_good(t->a.ic, t->ino));
	unuse(t, &t->a);
	assert_int_equal(t->a.ndrops, 1);
	assert_true(t->a.pages && t->a.end == 4096);
	kernel_done(&t->a);
	take(t, &t->a, ORBIT_LEASE_SHARED, 4096);
	assert_true(inode_pages_good(t->a.ic, t->ino));
	two_free(t);
}

/* A change of size through this mount: until it is over the kernel writes back no mapped page, so
 * that it can't drop any, and two mounts that do so would wait for each other. */
static void test_inode_a_cut_is_not_waited_for(void **state)
{
	struct two *t = two_new(15);
	struct user w;

	(void)state;
	/* it began before the recall, */
	take(t, &t->a, ORBIT_LEASE_SHARED, 65536);
	inode_cut_begin(t->a.ic, t->ino);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(50));
	assert_true(w.done);
	assert_int_equal(t->a.dropped, 1); /* which hangs */
	assert_false(inode_pages_good(t->a.ic, t->ino));
	unuse(t, &t->b);
	run(t, MS(50));
	assert_int_equal(t->a.dropped, 1);
	inode_cut_end(t->a.ic, t->ino);
	assert_int_equal(t->a.dropped, 2);
	assert_true(t->a.pages && t->a.end >= 65536);
	kernel_done(&t->a);
	/* or after it */
	run(t, ENV_SEC);
	take(t, &t->a, ORBIT_LEASE_SHARED, 65536);
	use(t, &t->b, &w, ORBIT_LEASE_EXCLUSIVE);
	run(t, MS(50));
	assert_false(w.done);
	inode_cut_begin(t->a.ic, t->ino);
	run(t, MS(50));
	assert_true(w.done);
	assert_int_equal(t->a.dropped, 3);
	inode_cut_end(t->a.ic, t->ino);
	assert_int_equal(t->a.dropped, 4);
	unuse(t, &t->b);
	two_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inode_pages_go_first),
		cmocka_unit_test(test_inode_readers_in_a_row_end),
		cmocka_unit_test(test_inode_writer_in_a_row_ends),
		cmocka_unit_test(test_inode_waiting_reader_is_served),
		cmocka_unit_test(test_inode_late_reader_is_served_when_it_hangs),
		cmocka_unit_test(test_inode_writer_that_waits_is_not_waited_for),
		cmocka_unit_test(test_inode_pages_go_though_the_writer_gave_up),
		cmocka_unit_test(test_inode_recall_for_more),
		cmocka_unit_test(test_inode_wait_after_a_cancel),
		cmocka_unit_test(test_inode_stop),
		cmocka_unit_test(test_inode_freed_while_asking),
		cmocka_unit_test(test_inode_contended_records_go),
		cmocka_unit_test(test_inode_session_lost_in_a_drop),
		cmocka_unit_test(test_inode_session_lost_in_a_read),
		cmocka_unit_test(test_inode_a_cut_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
