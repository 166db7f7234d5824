/* Effects are read back from the log, as long as it reaches back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "dht/base/log.h"
#include "tests/unit/store_rig.h"

static const struct orbit_id obj = {{0xaa}};
static uint8_t data[1 << 20], got[1 << 20];

static void fill(uint64_t seed)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)((i + seed) * 0x9e3779b1u >> 13);
}

struct tail_call {
	struct store_tail t;
	bool done;
	int rc;
};

static void was_read(struct store_tail *t, int rc)
{
	struct tail_call *c = container_of(t, struct tail_call, t);

	c->done = true;
	c->rc = rc;
}

static int read_tail(struct rig *r, struct tail_call *c, uint16_t shard, uint64_t seq, size_t max)
{
	c->t.done = was_read;
	c->done = false;
	store_tail_read(r->st, &c->t, shard, seq, max);
	assert_false(c->done);
	while (!c->done)
		assert_true(test_env_step(&r->env) || test_env_fire(&r->env, UINT64_MAX));
	return c->rc;
}

/* Applies what was read to another store: how many. */
static unsigned give(struct rig *to, const struct tail_call *c, uint16_t shard)
{
	struct cur cur = cur_of(c->t.out.data, c->t.out.len);
	unsigned n = 0;

	for (; cur.left; n++) {
		uint64_t term = cur_u64(&cur), seq = cur_u64(&cur);
		uint32_t meta = cur_u32(&cur), len = cur_u32(&cur);
		const void *m = cur_bytes(&cur, meta), *d = cur_bytes(&cur, len);
		struct history h = store_history(to->st, shard);
		struct effect e;

		assert_true(cur_ok(&cur));
		assert_int_equal(seq, h.seq + 1);
		effect_init(&e);
		buf_bytes(&e.meta, m, meta);
		if (len)
			effect_piece(&e, d, len);
		assert_int_equal(rig_apply(to, &e), 0);
		effect_fini(&e);
		h = store_history(to->st, shard);
		assert_true(h.term == term && h.seq == seq);
	}
	assert_int_equal(n, c->t.n);
	return n;
}

/* All from @seq on, @max bytes at a time. */
static unsigned copy(struct rig *r, struct rig *to, uint16_t shard, uint64_t seq, size_t max)
{
	struct tail_call c = {0};
	unsigned n, sum = 0;

	do {
		assert_int_equal(read_tail(r, &c, shard, seq + sum, max), 0);
		n = give(to, &c, shard);
		sum += n;
	} while (n);
	buf_fini(&c.t.out);
	return sum;
}

/* One effect of several shards, some of which it comes back to. */
static void many(struct rig *r, uint64_t term, uint64_t n)
{
	struct effect e;
	char key[4] = {'H', 0, 2, (char)n};

	effect_init(&e);
	effect_section(&e, 1, term, n);
	effect_write(&e, &obj, n * 3000, data + n, 5000);
	effect_section(&e, 2, term, n);
	effect_put(&e, key, 4, &n, 8);
	effect_section(&e, 0, 0, 0);
	effect_write(&e, &obj, 0, data, 100);
	effect_section(&e, 1, term, n);
	effect_punch(&e, &obj, n * 3000 + 4000, n * 3000 + 4001);
	effect_write(&e, &obj, n * 3000 + 100, data, 7);
	assert_int_equal(rig_apply(r, &e), 0);
	effect_fini(&e);
}

static void same_stream(struct rig *a, struct rig *b, size_t len)
{
	assert_int_equal(rig_read(a, 1, &obj, 0, len, data), 0);
	assert_int_equal(rig_read(b, 1, &obj, 0, len, got), 0);
	assert_memory_equal(data, got, len);
	fill(1);
}

static void test_tail_makes_another_copy(void **state)
{
	(void)state;
	for (size_t max = 1; max < 1 << 20; max *= 50) {
		struct rig r, to;

		fill(1);
		rig_init(&r, 1);
		rig_init(&to, 2);
		r.cfg.log_keep = 1 << 30;
		assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
		for (uint64_t n = 1; n <= 60; n++)
			many(&r, 1 + n / 7, n);
		assert_int_equal(store_tail_from(r.st, 1), 1);
		assert_int_equal(copy(&r, &to, 1, 1, max), 60);
		same_stream(&r, &to, 200000);
		assert_int_equal(copy(&r, &to, 2, 1, max), 60);
		assert_int_equal(rig_get(&to, "H\0\2\x3c", 4, NULL), 0);
		/* nothing of shards that were not asked for */
		assert_int_equal(rig_read(&to, 0, &obj, 0, 100, got), 0);
		assert_true(!got[0] && !memcmp(got, got + 1, 99));
		rig_fini(&r);
		rig_fini(&to);
	}
}

static void test_tail_after_a_start(void **state)
{
	struct tail_call c = {0};
	struct rig r, to;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	rig_init(&to, 2);
	many(&r, 1, 1);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_int_equal(store_tail_from(r.st, 1), 1);
	assert_int_equal(copy(&r, &to, 1, 1, 100), 1);
	/* behind the end there is nothing */
	assert_int_equal(read_tail(&r, &c, 1, 2, 100), 0);
	assert_int_equal(c.t.n, 0);
	assert_int_equal(read_tail(&r, &c, 7, 1, 100), -ESTALE);
	assert_null(store_tail_pin(r.st, 7, 1));
	many(&r, 1, 2);
	many(&r, 2, 3);
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	assert_int_equal(store_tail_from(r.st, 1), 1);
	assert_int_equal(copy(&r, &to, 1, 2, 1 << 20), 2);
	same_stream(&r, &to, 20000);
	buf_fini(&c.t.out);
	rig_fini(&r);
	rig_fini(&to);
}

static void take_over(struct rig *r, uint64_t term, uint64_t seq)
{
	const struct history_term t = {.term = term, .first = 1};
	const struct history h = {.term = term, .seq = seq, .terms = &t, .nterms = 1};
	struct effect e;

	effect_init(&e);
	effect_section(&e, 1, 0, 0);
	effect_history(&e, &h);
	assert_int_equal(rig_apply(r, &e), 0);
	effect_fini(&e);
}

/* Effects of a history that was given up for another are not given to anybody. */
static void test_tail_is_of_the_history_alone(void **state)
{
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	for (uint64_t n = 1; n <= 5; n++)
		many(&r, 3, n);
	take_over(&r, 2, 5);
	assert_int_equal(store_tail_from(r.st, 1), 0);
	for (uint64_t n = 6; n <= 8; n++)
		assert_int_equal(rig_put(&r, "a", "b"), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(store_tail_from(r.st, 1), 6);
		assert_int_equal(store_tail_from(r.st, 2), 1);
		assert_int_equal(i ? 0 : rig_close(&r), 0);
		if (!i)
			assert_int_equal(rig_open(&r), 0);
	}
	rig_fini(&r);
}

static void note_last(void *arg, const char *name)
{
	if (!strncmp(name, "log-", 4) && strcmp(name, arg) > 0)
		snprintf(arg, 32, "%s", name);
}

/* Only what lies behind damage can be read back; how much is looked at has an end. */
static void test_tail_after_a_start_with_damage(void **state)
{
	char last[32] = "";
	uint64_t first;
	struct rig r;

	(void)state;
	log_set_level(LOG_LVL_ERROR + 1);
	fill(1);
	rig_init(&r, 1);
	r.cfg.log_keep = 1 << 30;
	assert_int_equal(rig_crash(&r, DISK_PROCESS, 1), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(rig_write(&r, &obj, 8000 * i, data, 3000), 0);
	assert_int_equal(rig_close(&r), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_in_range(store_tail_from(r.st, 1), 180, 198);
	r.disk->ops->list(r.disk, note_last, last);
	first = store_tail_from(r.st, 1);
	rig_kill(&r);
	/* in the meta of some record of the last segment */
	assert_int_equal(disk_mem_flip(r.disk, last, 60, 1), 0);
	assert_int_equal(rig_open(&r), 0);
	assert_in_range(store_tail_from(r.st, 1), first + 1, 200);
	log_set_level(LOG_LVL_INFO);
	rig_fini(&r);
}

static void test_tail_of_what_is_queued(void **state)
{
	struct rig_done d[2] = {{.a.done = rig_applied}, {.a.done = rig_applied}};
	struct tail_call c[2] = {0};
	struct effect e[2];
	struct rig r, to;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	rig_init(&to, 2);
	many(&r, 1, 1);
	for (unsigned i = 0; i < 2; i++) {
		effect_init(&e[i]);
		effect_section(&e[i], 2, 1, 2 + i);
		effect_section(&e[i], 1, 1, 2 + i);
		effect_write(&e[i], &obj, 10000 * i, data, sizeof(data) / 2);
		effect_write(&e[i], &obj, 1, data + 7, sizeof(data) / 2);
		d[i].a.effect = &e[i];
		assert_int_equal(store_apply(r.st, &d[i].a, STORE_NORMAL), 0);
	}
	/* what is written comes alone, so does what is being written or waits */
	for (unsigned i = 0; i < 2; i++) {
		c[i].t.done = was_read;
		store_tail_read(r.st, &c[i].t, 1, 1 + i, 4 << 20);
	}
	for (unsigned i = 0; i < 2; i++) {
		while (!c[i].done)
			assert_true(test_env_step(&r.env));
		assert_int_equal(c[i].rc, 0);
		assert_int_equal(give(&to, &c[i], 1), 1 + i);
		buf_fini(&c[i].t.out);
	}
	test_env_idle(&r.env);
	same_stream(&r, &to, sizeof(data));
	effect_fini(&e[0]);
	effect_fini(&e[1]);
	rig_fini(&r);
	rig_fini(&to);
}

/* Writes over the same bytes, so that nothing but the last is live. */
static void overwrite(struct rig *r, unsigned n)
{
	while (n--)
		assert_int_equal(rig_write(r, &obj, 0, data, 8000), 0);
	assert_int_equal(rig_sync(r), 0);
	/* timers: flushes, removal */
	for (unsigned i = 0; i < 100; i++)
		test_env_fire(&r->env, env_now(&r->env.e) + ENV_SEC);
	test_env_idle(&r->env);
}

static uint64_t log_bytes(struct rig *r)
{
	struct store_usage u;

	store_usage(r->st, &u);
	return u.log;
}

static void reopen(struct rig *r, uint64_t keep)
{
	r->cfg.log_keep = keep;
	assert_int_equal(rig_crash(r, DISK_PROCESS, 1), 0);
}

static void test_tail_keeps_so_much_log(void **state)
{
	struct tail_call c = {0};
	struct rig r, to;
	uint64_t from;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	rig_init(&to, 2);
	reopen(&r, 400 << 10);
	overwrite(&r, 300);
	assert_true(log_bytes(&r) >= 300 << 10);
	assert_true(log_bytes(&r) <= 800 << 10);
	from = store_tail_from(r.st, 1);
	assert_true(from > 100 && from < 265);
	assert_int_equal(read_tail(&r, &c, 1, from - 1, 100), -ESTALE);
	assert_int_equal(read_tail(&r, &c, 1, from, 1), 0);
	assert_int_equal(c.t.n, 1);
	assert_int_equal(read_tail(&r, &c, 1, 300, 1 << 20), 0);
	assert_int_equal(c.t.n, 1);
	buf_fini(&c.t.out);
	rig_fini(&r);
	rig_fini(&to);
}

static void test_tail_pin_holds_the_log(void **state)
{
	struct tail_pin *p, *next;
	struct tail_call c = {0};
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	overwrite(&r, 20);
	p = store_tail_pin(r.st, 1, store_history(r.st, 1).seq);
	next = store_tail_pin(r.st, 1, 21);
	assert_non_null(p);
	assert_non_null(next);
	assert_null(store_tail_pin(r.st, 1, 22));
	overwrite(&r, 300);
	assert_true(store_tail_from(r.st, 1) <= 20);
	assert_int_equal(read_tail(&r, &c, 1, 20, 100), 0);
	store_tail_unpin(r.st, p);
	overwrite(&r, 50);
	assert_true(store_tail_from(r.st, 1) <= 21);
	assert_int_equal(read_tail(&r, &c, 1, 21, 100), 0);
	store_tail_unpin(r.st, next);
	store_tail_unpin(r.st, NULL);
	overwrite(&r, 50);
	assert_true(store_tail_from(r.st, 1) > 300);
	assert_true(log_bytes(&r) < 400 << 10);
	assert_int_equal(read_tail(&r, &c, 1, 21, 100), -ESTALE);
	buf_fini(&c.t.out);
	rig_fini(&r);
}

/* Where room is needed what is kept goes first, pinned or not, and nothing is refused. */
static void test_tail_makes_way_when_the_disk_is_full(void **state)
{
	struct tail_call c = {0};
	struct tail_pin *p;
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	disk_mem_faults(r.disk)->capacity = 2 << 20;
	reopen(&r, 1 << 30);
	overwrite(&r, 1);
	p = store_tail_pin(r.st, 1, 1);
	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(rig_write(&r, &obj, 0, data, 8000), 0);
	assert_true(store_tail_from(r.st, 1) > 1);
	assert_int_equal(read_tail(&r, &c, 1, 1, 100), -ESTALE);
	store_tail_unpin(r.st, p);
	buf_fini(&c.t.out);
	rig_fini(&r);
}

static void test_tail_knows_so_many(void **state)
{
	struct tail_pin *p;
	struct rig r;

	(void)state;
	rig_init(&r, 1);
	r.cfg.tail_max = 100;
	reopen(&r, 1 << 30);
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(rig_put(&r, "a", "b"), 0);
	assert_true(store_tail_from(r.st, 1) > 390);
	assert_true(store_tail_from(r.st, 1) <= 450);
	p = store_tail_pin(r.st, 1, 480);
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(rig_put(&r, "a", "b"), 0);
	assert_true(store_tail_from(r.st, 1) <= 480);
	/* even pins do not hold it for ever */
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(rig_put(&r, "a", "b"), 0);
	assert_true(store_tail_from(r.st, 1) > 2000);
	store_tail_unpin(r.st, p);
	rig_fini(&r);
}

static void test_tail_damage_is_found(void **state)
{
	const char *log = "log-0000000000000000";
	struct tail_call c = {0};
	struct rig r;

	(void)state;
	log_set_level(LOG_LVL_ERROR + 1);
	fill(1);
	rig_init(&r, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rig_write(&r, &obj, 0, data, 4000), 0);
	for (uint64_t at = 0; at < 8; at++) {
		/* of the second's data, meta, header */
		static const uint64_t where[] = {1000, 60, 9, 40, 4000, 8, 0, 20};
		uint64_t second = (uint64_t)disk_mem_size(r.disk, log) / 3;

		disk_mem_flip(r.disk, log, second + where[at], 1);
		assert_int_equal(read_tail(&r, &c, 1, 1, 1 << 20), 0);
		assert_int_equal(c.t.n, 1);
		assert_int_equal(read_tail(&r, &c, 1, 2, 1 << 20), -EIO);
		assert_int_equal(c.t.n, 0);
		assert_int_equal(c.t.out.len, 0);
		assert_int_equal(read_tail(&r, &c, 1, 3, 1 << 20), 0);
		disk_mem_flip(r.disk, log, second + where[at], 1);
		assert_int_equal(read_tail(&r, &c, 1, 1, 1 << 20), 0);
		assert_int_equal(c.t.n, 3);
	}
	disk_mem_faults(r.disk)->read_fails = true;
	assert_int_equal(read_tail(&r, &c, 1, 1, 1), -EIO);
	disk_mem_faults(r.disk)->read_fails = false;
	log_set_level(LOG_LVL_INFO);
	buf_fini(&c.t.out);
	rig_fini(&r);
}

static void test_tail_read_when_the_store_is_freed(void **state)
{
	struct tail_call c = {.t.done = was_read};
	struct rig r;

	(void)state;
	fill(1);
	rig_init(&r, 1);
	many(&r, 1, 1);
	store_tail_read(r.st, &c.t, 1, 1, 100);
	rig_kill(&r);
	assert_false(c.done);
	assert_int_equal(rig_open(&r), 0);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tail_makes_another_copy),
		cmocka_unit_test(test_tail_after_a_start),
		cmocka_unit_test(test_tail_is_of_the_history_alone),
		cmocka_unit_test(test_tail_after_a_start_with_damage),
		cmocka_unit_test(test_tail_of_what_is_queued),
		cmocka_unit_test(test_tail_keeps_so_much_log),
		cmocka_unit_test(test_tail_pin_holds_the_log),
		cmocka_unit_test(test_tail_makes_way_when_the_disk_is_full),
		cmocka_unit_test(test_tail_knows_so_many),
		cmocka_unit_test(test_tail_damage_is_found),
		cmocka_unit_test(test_tail_read_when_the_store_is_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
