/*
 * How fast the store is by itself, on the loop, in a folder:
 *   bench_store FOLDER [EFFECTS]
 * Small effects are what a create makes: five puts and 4 KiB. Prints a line per measurement.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "dht/base/mem.h"
#include "dht/net/loop.h"
#include "dht/store/history.h"
#include "dht/store/store.h"

#define DEPTH 64 /* effects in flight */

struct bench {
	struct loop *loop;
	struct store *st;
	uint64_t next, done, count;
	size_t bytes;  /* of each write */
	bool puts;     /* five puts with each */
	bool replaces; /* writes go to random places that have data */
	int rc;
	struct store_wait wait;
	bool waiting;
	struct env_task task;
	struct store_sync sync;
	uint64_t longest; /* ns of one apply call */
};

struct slot {
	struct store_apply a;
	struct effect e;
	struct bench *b;
};

static uint8_t data[1 << 20];
static struct slot slots[DEPTH];
static struct slot *idle[DEPTH];
static unsigned nidle;

static uint64_t now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return x ^ x >> 29;
}

static struct orbit_id object(uint64_t n)
{
	/* as a filesystem's: a thousand of them are neighbours */
	return orbit_id_make(mix(n / 1000) << 48 | n, "bench-object-bench-objec");
}

static void go(struct bench *b);

static void applied(struct store_apply *a, int rc)
{
	struct slot *s = container_of(a, struct slot, a);
	struct bench *b = s->b;

	effect_fini(&s->e);
	idle[nidle++] = s;
	b->done++;
	if (rc) {
		b->rc = rc;
		loop_stop(b->loop);
		return;
	}
	if (b->done == b->count)
		loop_stop(b->loop);
	else
		env_post(loop_env(b->loop), &b->task);
}

static void build(struct bench *b, struct effect *e)
{
	uint64_t n = b->next;
	struct orbit_id id = object(b->puts ? n : n / 16);
	uint64_t off = b->puts ? 0 : n % 16 * b->bytes;
	uint16_t shard = b->puts ? (uint16_t)(mix(n / 1000) % 1024) : 0;
	struct key k;

	if (b->replaces) {
		id = object(mix(n) % (b->count / 16));
		off = mix(n + 7) % (16 * (sizeof(data) >> 12)) << 12;
	}
	effect_init(e);
	buf_reserve(&e->meta, 1024);
	effect_section(e, shard, 1, store_history(b->st, shard).seq + 1);
	if (b->puts) {
		uint8_t val[160] = {0};

		key_id(&k, KEY_HEADER, 1, &id);
		effect_put(e, k.b, k.len, val, sizeof(val));
		key_map(&k, 1, &id, "some-file-name.txt", 18);
		effect_put(e, k.b, k.len, val, 16);
		key_hold(&k, 1, &id, 1);
		effect_put(e, k.b, k.len, val, 4);
		key_session(&k, KEY_REPLY, 1, 1, n);
		effect_put(e, k.b, k.len, val, 64);
		key_floor(&k, 1, 1);
		effect_put(e, k.b, k.len, val, 16);
	}
	effect_write(e, &id, off, data, b->bytes);
}

static void ready(struct store_wait *w)
{
	struct bench *b = container_of(w, struct bench, wait);

	b->waiting = false;
	go(b);
}

static void run_task(struct env_task *t)
{
	go(container_of(t, struct bench, task));
}

static void go(struct bench *b)
{
	while (!b->waiting && nidle && b->next < b->count) {
		struct slot *s = idle[nidle - 1];
		uint64_t t0 = now(CLOCK_MONOTONIC), t;
		int rc;

		s->b = b;
		build(b, &s->e);
		s->a = (struct store_apply){.done = applied, .effect = &s->e};
		rc = store_apply(b->st, &s->a, STORE_NORMAL);
		t = now(CLOCK_MONOTONIC) - t0;
		if (t > b->longest)
			b->longest = t;
		if (rc) {
			effect_fini(&s->e);
			if (rc == -EAGAIN) {
				b->waiting = true;
				store_wait(b->st, &b->wait);
				return;
			}
			b->rc = rc;
			loop_stop(b->loop);
			return;
		}
		nidle--;
		b->next++;
	}
}

static void synced(struct store_sync *s, int rc)
{
	struct bench *b = container_of(s, struct bench, sync);

	b->rc = rc;
	loop_stop(b->loop);
}

static uint64_t cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
	       ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static void writes(
	struct bench *b, const char *name, uint64_t count, size_t bytes, bool puts, bool replaces)
{
	uint64_t t0, c0, t, c, s;

	b->next = b->done = b->longest = 0;
	b->count = count;
	b->bytes = bytes;
	b->puts = puts;
	b->replaces = replaces;
	t0 = now(CLOCK_MONOTONIC);
	c0 = cpu();
	env_post(loop_env(b->loop), &b->task);
	loop_run(b->loop);
	t = now(CLOCK_MONOTONIC) - t0;
	c = cpu() - c0;
	b->sync.done = synced;
	store_sync(b->st, &b->sync);
	loop_run(b->loop);
	s = now(CLOCK_MONOTONIC) - t0 - t;
	if (b->rc) {
		fprintf(stderr, "%s: %s\n", name, strerror(-b->rc));
		exit(1);
	}
	printf("%-28s %8.0f/s  %7.1f MB/s  cpu on the loop %5.1f us each  longest %6.1f ms  "
	       "sync after %6.1f ms\n",
		name, (double)count * 1e9 / (double)t,
		(double)count * (double)bytes * 1e3 / (double)t, (double)c / 1e3 / (double)count,
		(double)b->longest / 1e6, (double)s / 1e6);
}

static void read_done(struct store_read *r, int rc)
{
	struct bench *b = r->impl;

	b->rc = rc;
	loop_stop(b->loop);
}

static void woken(struct store_wait *w)
{
	loop_stop(container_of(w, struct bench, wait)->loop);
}

static void reads(struct bench *b, const char *name, uint64_t count, uint64_t objects)
{
	uint64_t t0 = now(CLOCK_MONOTONIC), index = 0, log = 0;
	static uint8_t dst[4096];

	b->wait.ready = woken;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t n = mix(i) % objects;
		uint16_t shard = (uint16_t)(mix(n / 1000) % 1024);
		struct store_read r = {.done = read_done, .impl = b};
		struct orbit_id id = object(n);
		int rc;

		while ((rc = store_read(b->st, &r, shard, &id, 0, sizeof(dst), dst)) == -EAGAIN) {
			index++;
			store_wait(b->st, &b->wait);
			loop_run(b->loop);
		}
		if (rc == -EINPROGRESS) {
			log++;
			loop_run(b->loop);
			rc = b->rc;
		}
		if (rc) {
			fprintf(stderr, "%s: %s\n", name, strerror(-rc));
			exit(1);
		}
	}
	b->wait.ready = ready;
	printf("%-28s %8.0f/s  (waited %llu times for the index, %llu for the log)\n", name,
		(double)count * 1e9 / (double)(now(CLOCK_MONOTONIC) - t0),
		(unsigned long long)index, (unsigned long long)log);
}

static void closed(void *arg, int rc)
{
	struct bench *b = arg;

	b->rc = rc;
	loop_stop(b->loop);
}

int main(int argc, char **argv)
{
	struct bench b = {.wait.ready = ready, .task.run = run_task};
	struct store_config cfg = store_config_default();
	uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000;
	struct orbit_id node = {{1}};
	uint8_t fsid[16] = {1};
	uint64_t t0;
	char why[256];
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: bench_store FOLDER [EFFECTS]\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)mix(i);
	for (unsigned i = 0; i < DEPTH; i++)
		idle[nidle++] = &slots[i];
	rc = store_make(argv[1], fsid, &node);
	if (rc && rc != -EEXIST) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-rc));
		return 1;
	}
	rc = loop_new(&b.loop);
	if (rc || store_open(&b.st, loop_env(b.loop), argv[1], &cfg, why, sizeof(why))) {
		fprintf(stderr, "%s\n", rc ? strerror(-rc) : why);
		return 1;
	}
	writes(&b, "create (5 puts, 4 KiB)", count, 4096, true, false);
	reads(&b, "read 4 KiB", count, count);
	writes(&b, "sequential 128 KiB", 16384, 128 << 10, false, false);
	writes(&b, "sequential 1 MiB", 2048, 1 << 20, false, false);
	writes(&b, "random 4 KiB over 1 MiB", count / 4, 4096, false, true);
	t0 = now(CLOCK_MONOTONIC);
	store_close(b.st, closed, &b);
	loop_run(b.loop);
	printf("close %.1f ms, rc %d\n", (double)(now(CLOCK_MONOTONIC) - t0) / 1e6, b.rc);
	store_free(b.st);
	loop_free(b.loop);
	return 0;
}
