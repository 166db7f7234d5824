/*
 * The store on the real loop with real threads and files: writes of all sizes, reads, syncs and
 * drops at once, over segments so small that compaction and removal never rest. What is read is
 * compared with what had been applied when the read was given. For ThreadSanitizer above all, hence
 * the index in memory: RocksDB is not built for it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dht/base/mem.h"
#include "dht/net/loop.h"
#include "dht/store/disk.h"
#include "dht/store/index.h"
#include "dht/store/history.h"
#include "dht/store/store.h"

#define OBJECTS 6u
#define SIZE (512u << 10) /* bytes of an object */
#define DEPTH 24u         /* operations under way */
#define OPERATIONS 6000u

struct world {
	struct loop *loop;
	struct store *st;
	uint8_t model[OBJECTS][SIZE];
	uint64_t rnd, last_done;
	unsigned given, over, flying;
	unsigned applied, synced;
	struct store_wait wait;
	struct env_task task;
	bool waiting;
};

struct op {
	struct world *w;
	struct store_apply a;
	struct store_read r;
	struct store_sync s;
	struct effect e;
	uint8_t *data, *want;
	size_t len;
};

static uint64_t rnd(struct world *w)
{
	w->rnd ^= w->rnd << 13;
	w->rnd ^= w->rnd >> 7;
	w->rnd ^= w->rnd << 17;
	return w->rnd >> 8;
}

static struct orbit_id object(unsigned n)
{
	return (struct orbit_id){{(uint8_t)(n + 1)}};
}

static void op_over(struct op *o)
{
	struct world *w = o->w;

	effect_fini(&o->e);
	free(o->data);
	free(o->want);
	free(o);
	w->flying--;
	if (++w->over == OPERATIONS)
		loop_stop(w->loop);
	else
		env_post(loop_env(w->loop), &w->task);
}

static void applied(struct store_apply *a, int rc)
{
	struct op *o = container_of(a, struct op, a);

	assert_int_equal(rc, 0);
	assert_true(a->position > o->w->last_done); /* in order */
	o->w->last_done = a->position;
	o->w->applied++;
	op_over(o);
}

static void was_read(struct store_read *r, int rc)
{
	struct op *o = container_of(r, struct op, r);

	assert_int_equal(rc, 0);
	assert_memory_equal(o->data, o->want, o->len);
	op_over(o);
}

static void synced(struct store_sync *s, int rc)
{
	struct op *o = container_of(s, struct op, s);

	assert_int_equal(rc, 0);
	o->w->synced++;
	op_over(o);
}

static size_t draw_len(struct world *w)
{
	unsigned kind = (unsigned)(rnd(w) % 10);

	return 1 + rnd(w) % (kind < 6 ? 5000 : kind < 9 ? 60000 : 400000);
}

/* An effect, applied to the model when it is taken: 0 or -EAGAIN. */
static int give_effect(struct op *o)
{
	struct world *w = o->w;
	unsigned n = (unsigned)(rnd(w) % OBJECTS), what = (unsigned)(rnd(w) % 40);
	struct orbit_id id = object(n);
	uint64_t off;
	int rc;

	o->len = draw_len(w);
	off = rnd(w) % (SIZE - o->len);
	effect_init(&o->e);
	effect_section(&o->e, 1, 1, store_history(w->st, 1).seq + 1);
	if (what == 0) {
		effect_drop(&o->e, &id);
	} else if (what < 5) {
		effect_punch(&o->e, &id, off, off + o->len);
	} else {
		o->data = malloc(o->len);
		memset(o->data, (int)rnd(w), o->len);
		effect_write(&o->e, &id, off, o->data, o->len);
	}
	o->a = (struct store_apply){.done = applied, .effect = &o->e};
	rc = store_apply(w->st, &o->a, STORE_NORMAL);
	if (rc)
		return rc;
	if (what == 0)
		memset(w->model[n], 0, SIZE);
	else if (what < 5)
		memset(w->model[n] + off, 0, o->len);
	else
		memcpy(w->model[n] + off, o->data, o->len);
	return 0;
}

static int give_read(struct op *o)
{
	struct world *w = o->w;
	unsigned n = (unsigned)(rnd(w) % OBJECTS);
	struct orbit_id id = object(n);
	uint64_t off;
	int rc;

	o->len = draw_len(w);
	off = rnd(w) % (SIZE - o->len);
	o->data = malloc(o->len);
	o->want = mem_dup(w->model[n] + off, o->len);
	o->r.done = was_read;
	rc = store_read(w->st, &o->r, 1, &id, off, o->len, o->data);
	if (!rc)
		was_read(&o->r, 0);
	return rc == -EINPROGRESS ? 0 : rc;
}

static void step(struct world *w)
{
	while (!w->waiting && w->given < OPERATIONS && w->flying < DEPTH) {
		struct op *o = mem_zalloc(sizeof(*o));
		unsigned kind = (unsigned)(rnd(w) % 20);
		int rc = 0;

		o->w = w;
		w->given++;
		w->flying++;
		if (kind == 0) {
			o->s.done = synced;
			store_sync(w->st, &o->s);
		} else {
			rc = kind < 10 ? give_read(o) : give_effect(o);
		}
		if (!rc)
			continue;
		assert_int_equal(rc, -EAGAIN);
		w->given--;
		w->flying--;
		effect_fini(&o->e);
		free(o->data);
		free(o->want);
		free(o);
		w->waiting = true;
		store_wait(w->st, &w->wait);
	}
}

static void run_task(struct env_task *t)
{
	step(container_of(t, struct world, task));
}

static void ready(struct store_wait *sw)
{
	struct world *w = container_of(sw, struct world, wait);

	w->waiting = false;
	step(w);
}

static void closed(void *arg, int rc)
{
	struct world *w = arg;

	assert_int_equal(rc, 0);
	loop_stop(w->loop);
}

struct check {
	struct store_read r;
	struct loop *loop;
};

static void checked(struct store_read *r, int rc)
{
	assert_int_equal(rc, 0);
	loop_stop(container_of(r, struct check, r)->loop);
}

static void check_all(struct world *w)
{
	static uint8_t got[SIZE];

	for (unsigned n = 0; n < OBJECTS; n++) {
		struct check c = {.r.done = checked, .loop = w->loop};
		struct orbit_id id = object(n);
		int rc = store_read(w->st, &c.r, 1, &id, 0, SIZE, got);

		if (rc == -EINPROGRESS)
			loop_run(w->loop);
		else
			assert_int_equal(rc, 0);
		assert_memory_equal(got, w->model[n], SIZE);
	}
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void test_store_loop_all_at_once(void **state)
{
	struct store_config cfg = {.segment_size = 1 << 20,
		.index_buffer = 64 << 10,
		.reserve = 1 << 20,
		.log_keep = 1,
		.compact_rate = 1u << 30,
		.compact_below = 60};
	char dir[] = "/tmp/orbit-store-loop-XXXXXX", why[256];
	uint8_t fsid[16] = {1};
	struct orbit_id node = {{1}};
	struct world *w = mem_zalloc(sizeof(*w));
	struct store_index *ix = index_mem_new();
	struct store_usage u;
	struct disk *d;

	(void)state;
	w->rnd = 88172645463325252u;
	w->wait.ready = ready;
	w->task.run = run_task;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(store_make(dir, fsid, &node), 0);
	assert_int_equal(disk_file_new(dir, &d), 0);
	assert_int_equal(loop_new(&w->loop), 0);
	assert_int_equal(
		store_open_on(&w->st, loop_env(w->loop), d, ix, &cfg, why, sizeof(why)), 0);
	env_post(loop_env(w->loop), &w->task);
	loop_run(w->loop);
	assert_int_equal(w->flying, 0);
	assert_true(w->applied > OPERATIONS / 3 && w->synced > OPERATIONS / 40);
	check_all(w);
	store_usage(w->st, &u);
	assert_int_equal(u.damaged, 0);
	assert_true(u.live <= OBJECTS * SIZE);
	/* segments went: far more than this was written */
	assert_true(u.log < 40u << 20);
	store_close(w->st, closed, w);
	loop_run(w->loop);
	store_free(w->st);

	assert_int_equal(
		store_open_on(&w->st, loop_env(w->loop), d, ix, &cfg, why, sizeof(why)), 0);
	assert_true(store_info(w->st)->whole);
	check_all(w);
	store_free(w->st);
	loop_free(w->loop);
	index_free(ix);
	disk_free(d);
	free(w);
	assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_loop_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
