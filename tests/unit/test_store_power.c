/*
 * Power loss, played back: the real store (loop, workers, files, RocksDB) works in a folder while
 * everything that it asks of the disk is written down. Then, for many moments of that run, a folder
 * is made as it may be after the power went at that moment, the store is opened there, and must
 * hold exactly the first so many effects: all those that had been synced, nothing of a later one.
 *
 * What was synced when the power went is there: a write when an fdatasync began after it and
 * returned, a name when the folder was synced. Anything else is there, or not, or in part, sector
 * by sector. The index is as of its last flush, or of the one that was under way: RocksDB's own
 * files are taken to be as it left them, so that RocksDB survives a power loss is not shown here,
 * nor that the disk and the kernel keep their word.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ftw.h>

#include "dht/base/log.h"
#include "dht/net/loop.h"
#include "tests/unit/trace_rig.h"

#define EFFECTS 900u
#define CUTS 40u
#define DEPTH 12u
#define SHARDS 3u
#define STREAM (96u << 10)
#define KEYS 6u
#define SECTOR 512u

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

/* ---- what is done ---- */

struct model {
	uint64_t seq[SHARDS];
	unsigned key[SHARDS][KEYS];
	uint8_t stream[SHARDS][STREAM];
};

static uint8_t noise[STREAM + (64u << 10)];
static const struct orbit_id obj = {{0x77}};

static void one_shard(unsigned n, uint16_t s, struct model *m, struct effect *e)
{
	uint64_t r = mix(n * 31 + s);
	size_t off = (r >> 8) % STREAM, len = 1 + (r >> 24) % (r % 9 ? 9000 : STREAM);
	unsigned k = (r >> 44) % KEYS, kind = (r >> 50) % 20;
	uint8_t key[4] = {'H', 0, (uint8_t)s, (uint8_t)k};

	len = min_size(len, STREAM - off);
	m->seq[s]++;
	m->key[s][k] = n;
	if (e) {
		effect_section(e, s, 1 + n / 100, m->seq[s]);
		effect_put(e, key, 4, &n, sizeof(n));
	}
	if (kind == 0) {
		memset(m->stream[s], 0, STREAM);
		if (e)
			effect_drop(e, &obj);
	} else if (kind < 4) {
		memset(m->stream[s] + off, 0, len);
		if (e)
			effect_punch(e, &obj, off, off + len);
	} else {
		memcpy(m->stream[s] + off, noise + n % (64u << 10), len);
		if (e)
			effect_write(e, &obj, off, noise + n % (64u << 10), len);
	}
}

/* Effect @n, into the model and, unless NULL, into @e. */
static void one(unsigned n, struct model *m, struct effect *e)
{
	one_shard(n, n % SHARDS, m, e);
	if (n % 5 == 0)
		one_shard(n, (n + 1) % SHARDS, m, e);
	if (e)
		effect_put(e, "K\0\0", 3, &n, sizeof(n));
}

/* ---- the run ---- */

struct run {
	struct trace t;
	struct loop *loop;
	struct store *st;
	struct model *m;
	unsigned applied, flying;
	bool waiting;
	struct store_wait wait;
	struct env_task task;
};

struct op {
	struct store_apply a;
	struct store_sync s;
	struct effect e;
	struct run *run;
	unsigned n;
};

static void go(struct run *run);

static void done(struct op *o, int rc)
{
	struct run *run = o->run;

	assert_int_equal(rc, 0);
	effect_fini(&o->e);
	free(o);
	run->flying--;
	env_post(loop_env(run->loop), &run->task);
}

static void applied(struct store_apply *a, int rc)
{
	done(container_of(a, struct op, a), rc);
}

static void synced(struct store_sync *s, int rc)
{
	struct op *o = container_of(s, struct op, s);

	mark(&o->run->t, ACK, o->n);
	done(o, rc);
}

static void go(struct run *run)
{
	while (!run->waiting && run->flying < DEPTH && run->applied < EFFECTS) {
		struct op *o = mem_zalloc(sizeof(*o));
		struct model *was = mem_dup(run->m, sizeof(*was));
		unsigned n = run->applied + 1;
		int rc;

		o->run = run;
		effect_init(&o->e);
		one(n, run->m, &o->e);
		o->a = (struct store_apply){.done = applied, .effect = &o->e};
		mark(&run->t, APPLY, n);
		rc = store_apply(run->st, &o->a, STORE_NORMAL);
		if (rc) {
			assert_int_equal(rc, -EAGAIN);
			memcpy(run->m, was, sizeof(*was));
			effect_fini(&o->e);
			free(o);
			run->waiting = true;
			store_wait(run->st, &run->wait);
		} else {
			run->applied = n;
			run->flying++;
		}
		free(was);
		if (!rc && mix(n) % 13 == 0) {
			o = mem_zalloc(sizeof(*o));
			o->run = run;
			o->n = n;
			o->s.done = synced;
			run->flying++;
			store_sync(run->st, &o->s);
		}
	}
	if (!run->flying && run->applied == EFFECTS)
		loop_stop(run->loop);
}

static void run_task(struct env_task *t)
{
	go(container_of(t, struct run, task));
}

static void ready(struct store_wait *w)
{
	struct run *run = container_of(w, struct run, wait);

	run->waiting = false;
	go(run);
}

static void closed(void *arg, int rc)
{
	struct run *run = arg;

	assert_int_equal(rc, 0);
	mark(&run->t, ACK, run->applied);
	loop_stop(run->loop);
}

static const struct store_config config = {.segment_size = 256 << 10,
	.index_buffer = 64 << 10,
	.cache_size = 1 << 20,
	.reserve = 1 << 20,
	.log_keep = 300 << 10,
	.compact_rate = 1u << 30,
	.compact_below = 60};

static void record(struct run *run)
{
	struct rec_index ri = {.ix.ops = &ri_ops, .t = &run->t};
	char dir[128], folder[160], why[256];
	unsigned seen[ACK + 1] = {0};
	struct disk *d;

	snprintf(dir, sizeof(dir), "%s/run", base);
	snprintf(folder, sizeof(folder), "%s/index", dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	pthread_mutex_init(&run->t.lock, NULL);
	run->m = mem_zalloc(sizeof(*run->m));
	run->wait.ready = ready;
	run->task.run = run_task;
	d = rec_new(dir, &run->t);
	assert_int_equal(store_make_on(d, rig_fsid, &rig_node), 0);
	assert_int_equal(index_rocks_new(folder, config.index_buffer, config.cache_size, &ri.inner,
				 why, sizeof(why)),
		0);
	the_inner = ri.inner;
	assert_int_equal(loop_new(&run->loop), 0);
	assert_int_equal(
		store_open_on(&run->st, loop_env(run->loop), d, &ri.ix, &config, why, sizeof(why)),
		0);
	env_post(loop_env(run->loop), &run->task);
	loop_run(run->loop);
	store_close(run->st, closed, run);
	loop_run(run->loop);
	store_free(run->st);
	loop_free(run->loop);
	index_free(ri.inner);
	disk_free(d);
	/* all kinds of things happened */
	for (size_t i = 0; i < run->t.n; i++)
		seen[run->t.v[i].what]++;
	assert_true(seen[FLUSH] > 5 && seen[ACK] > 20 && seen[SYNC_NAMES] > 5);
	assert_true(seen[REMOVE] > 5 && seen[TRUNCATE] > 5 && seen[SAVE] > 2);
	free(run->m);
}

/* ---- what the power left ---- */

struct image {
	char name[NAME];
	bool there;
	uint8_t *data;
	size_t len, cap;
};

static struct image images[256];
static unsigned nimages;

static struct image *image(const char *name)
{
	for (unsigned i = 0; i < nimages; i++) {
		if (!strcmp(images[i].name, name))
			return &images[i];
	}
	assert_true(nimages < ARRAY_LEN(images));
	snprintf(images[nimages].name, NAME, "%s", name);
	return &images[nimages++];
}

static void drop_images(void)
{
	for (unsigned i = 0; i < nimages; i++)
		free(images[i].data);
	memset(images, 0, sizeof(images));
	nimages = 0;
}

static void extend(struct image *im, size_t len)
{
	if (len > im->cap) {
		size_t cap = 2 * len;

		im->data = mem_grow(im->data, cap, 1);
		memset(im->data + im->cap, 0, cap - im->cap);
		im->cap = cap;
	}
	if (len > im->len)
		im->len = len;
}

/* Did a sync begin after it and return before the power went? */
static bool durable(const struct trace *t, const struct event *e, uint64_t cut)
{
	bool name = e->what == CREATE || e->what == REMOVE;

	if (!e->end || e->end >= cut)
		return false;
	for (size_t i = 0; i < t->n; i++) {
		const struct event *s = &t->v[i];

		if (s->begin > e->end && s->end && s->end < cut &&
			(name ? s->what == SYNC_NAMES
			      : s->what == SYNC && !strcmp(s->name, e->name)))
			return true;
	}
	return false;
}

struct chance {
	uint64_t seed, n;
};

/* One in three moments loses all, one nothing, one some. */
static bool lucky(struct chance *c)
{
	return c->seed % 3 == 0 ? false : c->seed % 3 == 1 || mix(c->seed ^ ++c->n << 20) % 2;
}

static void play_write(struct image *im, const struct event *e, bool all, struct chance *c)
{
	size_t at = 0;

	while (at < e->len) {
		size_t n = SECTOR - (e->off + at) % SECTOR;

		n = min_size(n, e->len - at);
		if (all || lucky(c)) {
			extend(im, e->off + at + n);
			memcpy(im->data + e->off + at, e->data + at, n);
		}
		at += n;
	}
}

static void play(const struct trace *t, const struct event *e, uint64_t cut, struct chance *c)
{
	bool sure = durable(t, e, cut);
	struct image *im;

	if (e->what == WRITE) {
		play_write(image(e->name), e, sure, c);
	} else if (e->what == SAVE) {
		if ((!e->end || e->end >= cut) && !lucky(c))
			return;
		im = image(e->name);
		im->there = true;
		im->len = 0;
		extend(im, e->len);
		memcpy(im->data, e->data, e->len);
	} else if (e->what == TRUNCATE && (sure || lucky(c))) {
		im = image(e->name);
		extend(im, e->off);
		im->len = e->off;
	} else if (e->what == CREATE && (sure || lucky(c))) {
		image(e->name)->there = true;
	} else if (e->what == REMOVE && (sure || lucky(c))) {
		image(e->name)->there = false;
	}
}

struct left {
	unsigned acked, applied, flush;
};

/* The folder as it may be after the power went at @cut. */
static struct left rebuild(const struct trace *t, uint64_t cut, uint64_t seed, const char *dir)
{
	struct chance c = {.seed = seed};
	struct left l = {0};
	char path[256], from[128];

	for (size_t i = 0; i < t->n && t->v[i].begin < cut; i++) {
		const struct event *e = &t->v[i];
		bool over = e->end && e->end < cut;

		play(t, e, cut, &c);
		if (e->what == APPLY)
			l.applied = (unsigned)e->off;
		if (e->what == ACK && over && e->off > l.acked)
			l.acked = (unsigned)e->off;
		if (e->what == FLUSH && (over || (e->end && lucky(&c))))
			l.flush = (unsigned)e->off;
	}
	assert_int_equal(mkdir(dir, 0700), 0);
	for (unsigned i = 0; i < nimages; i++) {
		FILE *f;

		if (!images[i].there)
			continue;
		snprintf(path, sizeof(path), "%s/%.*s", dir, NAME, images[i].name);
		f = fopen(path, "w");
		assert_non_null(f);
		if (images[i].len)
			assert_int_equal(fwrite(images[i].data, images[i].len, 1, f), 1);
		assert_int_equal(fclose(f), 0);
	}
	drop_images();
	if (l.flush) {
		snprintf(path, sizeof(path), "%s/index", dir);
		snprintf(from, sizeof(from), "%s/index-%u", base, l.flush);
		copy_folder(from, path, true, true);
	}
	return l;
}

/* ---- what must hold ---- */

static void reopen(struct rig *r, const char *dir)
{
	char folder[256];

	snprintf(folder, sizeof(folder), "%s/index", dir);
	r->disk = rec_new(dir, NULL);
	assert_int_equal(index_rocks_new(folder, config.index_buffer, config.cache_size, &r->ix,
				 r->why, sizeof(r->why)),
		0);
	if (rig_open(r))
		fail_msg("the store does not open: %s", r->why);
}

static void leave(struct rig *r)
{
	rig_kill(r);
	index_free(r->ix);
	disk_free(r->disk);
}

static unsigned effects(struct rig *r)
{
	struct buf b = {0};
	unsigned n = 0;

	if (!rig_get(r, "K\0\0", 3, &b))
		memcpy(&n, b.data, sizeof(n));
	buf_fini(&b);
	return n;
}

static void check(struct rig *r, const struct model *m)
{
	static uint8_t got[STREAM];
	struct store_usage u;

	for (uint16_t s = 0; s < SHARDS; s++) {
		struct history h = store_history(r->st, s);

		assert_int_equal(h.seq, m->seq[s]);
		for (unsigned i = 0; i < h.nterms; i++)
			assert_true(history_contains(&h, h.terms[i].term, h.terms[i].first));
		assert_true(!h.seq || history_contains(&h, h.term, h.seq));
		for (unsigned k = 0; k < KEYS; k++) {
			uint8_t key[4] = {'H', 0, (uint8_t)s, (uint8_t)k};
			struct buf b = {0};
			int rc = rig_get(r, key, 4, &b);

			assert_int_equal(rc, m->key[s][k] ? 0 : -ENOENT);
			if (!rc)
				assert_memory_equal(b.data, &m->key[s][k], sizeof(unsigned));
			buf_fini(&b);
		}
		assert_int_equal(rig_read(r, s, &obj, 0, STREAM, got), 0);
		assert_memory_equal(got, m->stream[s], STREAM);
	}
	store_usage(r->st, &u);
	assert_int_equal(u.damaged, 0);
}

static void check_cut(const struct trace *t, uint64_t cut, uint64_t seed)
{
	struct model *m = mem_zalloc(sizeof(*m));
	struct rig r = {.cfg = config};
	struct left l;
	char dir[128];
	unsigned n;

	snprintf(dir, sizeof(dir), "%s/cut", base);
	l = rebuild(t, cut, seed, dir);
	print_message("cut=%llu seed=%llu applied=%u acked=%u flush=%u\n", (unsigned long long)cut,
		(unsigned long long)seed, l.applied, l.acked, l.flush);
	test_env_init(&r.env, seed);
	reopen(&r, dir);
	n = effects(&r);
	assert_in_range(n, l.acked, l.applied);
	for (unsigned i = 1; i <= n; i++)
		one(i, m, NULL);
	check(&r, m);
	/* and on it goes */
	for (unsigned i = n + 1; i <= n + 5; i++) {
		struct effect e;

		effect_init(&e);
		one(i, m, &e);
		assert_int_equal(rig_apply(&r, &e), 0);
		effect_fini(&e);
	}
	assert_int_equal(rig_sync(&r), 0);
	leave(&r);
	reopen(&r, dir);
	assert_int_equal(effects(&r), n + 5);
	check(&r, m);
	leave(&r);
	free(m);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st, (void)flag, (void)ftw;
	return remove(path);
}

static void test_power_loss_at_many_moments(void **state)
{
	struct run run = {0};
	char dir[128];

	(void)state;
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)mix(i);
	snprintf(base, sizeof(base), "/tmp/orbit-store-power-XXXXXX");
	assert_non_null(mkdtemp(base));
	snprintf(dir, sizeof(dir), "%s/cut", base);
	record(&run);
	for (unsigned i = 0; i < CUTS; i++) {
		/* not before the store was made */
		uint64_t cut = i == CUTS - 1 ? run.t.clock + 1 : 10 + mix(i) % (run.t.clock - 9);

		check_cut(&run.t, cut, i);
		assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	}
	for (size_t i = 0; i < run.t.n; i++)
		free(run.t.v[i].data);
	free(run.t.v);
	assert_int_equal(nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_power_loss_at_many_moments),
	};

	log_set_level(LOG_LVL_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
