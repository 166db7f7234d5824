/*
 * index over RocksDB. No log of its own, one column family, flushed only when the store says so:
 * write_buffer_size lies far above where the store flushes, and closing flushes nothing. Keys of
 * one object share their first 35 bytes (class, shard, ID), which the bloom filters know. An effect
 * puts keys of several classes, each near where the last of its class and shard went: the memtable
 * remembers those places. What readers leave behind (old memtables, files) goes in the background,
 * not on the loop.
 */
#include "dht/store/index.h"

#include <errno.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "dht/store/key.h"

#define PREFIX 35u                   /* bytes of class, shard and ID */
#define HINT KEY_HEAD                /* bytes of class and shard: where the last one went in */
#define FETCH_MAX (64u << 10)        /* bytes that one fetch goes through */
#define FLUSH_POLL_NS 1000000        /* how often a worker looks whether a flush is done */
#define FLUSH_STUCK_NS 600000000000u /* a flush that takes this long has failed */

struct rocks {
	struct store_index ix;
	rocksdb_t *db;
	rocksdb_options_t *opt;
	rocksdb_writeoptions_t *put_now, *put_wait;
	rocksdb_readoptions_t *get_cached, *get_any;
	rocksdb_flushoptions_t *flush;
	rocksdb_writebatch_t *wb;
	uint64_t errors; /* background errors there were when the flush began */
	char path[];
};

struct index_iter {
	rocksdb_readoptions_t *ro;
	rocksdb_iterator_t *it;
	bool started;
	size_t tlen;
	uint8_t to[];
};

static struct rocks *rocks_of(struct store_index *ix)
{
	return container_of(ix, struct rocks, ix);
}

/* Takes RocksDB's message. -EAGAIN for what is not in memory or would stall. */
static int status(char *err, const char *what)
{
	int rc;

	if (!err)
		return 0;
	if (!strncmp(err, "Result incomplete", 17)) {
		rc = -EAGAIN;
	} else {
		rc = strstr(err, "No space left") ? -ENOSPC : -EIO;
		log_error("mod=store op=%s rc=%s index=\"%s\" msg=\"the index failed\"", what,
			log_errno(rc), err);
	}
	rocksdb_free(err);
	return rc;
}

static int rocks_get(
	struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached)
{
	struct rocks *r = rocks_of(ix);
	rocksdb_pinnableslice_t *s;
	char *err = NULL;
	const char *v;
	size_t len;
	int rc = 0;

	s = rocksdb_get_pinned(r->db, cached ? r->get_cached : r->get_any, key, klen, &err);
	if (err)
		return status(err, "get");
	if (!s)
		return -ENOENT;
	if (val) {
		v = rocksdb_pinnableslice_value(s, &len);
		buf_bytes(val, v, len);
		rc = val->err;
	}
	rocksdb_pinnableslice_destroy(s);
	return rc;
}

static int rocks_put(struct store_index *ix, struct batch *b, bool wait)
{
	struct rocks *r = rocks_of(ix);
	struct batch_op *op;
	char *err = NULL;

	/* counts comparisons for nobody, in memory of the thread: a seventh of a put */
	rocksdb_set_perf_level(rocksdb_disable);
	rocksdb_writebatch_clear(r->wb);
	RB_FOREACH (op, batch_tree, &b->ops) {
		if (op->del)
			rocksdb_writebatch_delete(r->wb, op->key, op->klen);
		else
			rocksdb_writebatch_put(r->wb, op->key, op->klen, op->val, op->vlen);
	}
	rocksdb_write(r->db, wait ? r->put_wait : r->put_now, r->wb, &err);
	return status(err, "put");
}

/* Whether all keys of [from, to) have from's first PREFIX bytes, so that the filters apply. */
static bool within_prefix(const void *from, size_t flen, const void *to, size_t tlen)
{
	struct key k;

	if (flen < PREFIX || !tlen)
		return false;
	memcpy(k.b, from, PREFIX);
	k.len = PREFIX;
	return !key_after_prefix(&k) || batch_cmp_keys(to, tlen, k.b, k.len) <= 0;
}

static struct index_iter *make_iter(struct rocks *r, const void *from, size_t flen, const void *to,
	size_t tlen, bool cached, bool pin)
{
	struct index_iter *it = mem_zalloc(sizeof(*it) + tlen);

	it->ro = rocksdb_readoptions_create();
	it->tlen = tlen;
	if (tlen) {
		memcpy(it->to, to, tlen);
		rocksdb_readoptions_set_iterate_upper_bound(it->ro, (char *)it->to, tlen);
	}
	if (cached)
		rocksdb_readoptions_set_read_tier(it->ro, 1);
	if (pin)
		rocksdb_readoptions_set_pin_data(it->ro, 1);
	if (within_prefix(from, flen, to, tlen))
		rocksdb_readoptions_set_prefix_same_as_start(it->ro, 1);
	else
		rocksdb_readoptions_set_total_order_seek(it->ro, 1);
	it->it = rocksdb_create_iterator(r->db, it->ro);
	rocksdb_iter_seek(it->it, from, flen);
	return it;
}

static struct index_iter *rocks_iter_new(struct store_index *ix, const void *from, size_t flen,
	const void *to, size_t tlen, bool cached)
{
	return make_iter(rocks_of(ix), from, flen, to, tlen, cached, false);
}

static int rocks_iter_next(
	struct index_iter *it, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	char *err = NULL;

	if (it->started)
		rocksdb_iter_next(it->it);
	it->started = true;
	if (rocksdb_iter_valid(it->it)) {
		*key = rocksdb_iter_key(it->it, klen);
		*val = rocksdb_iter_value(it->it, vlen);
		return 1;
	}
	rocksdb_iter_get_error(it->it, &err);
	it->started = false; /* an iterator that is not valid must not be asked to go on */
	return status(err, "walk");
}

static void rocks_iter_free(struct index_iter *it)
{
	rocksdb_iter_destroy(it->it);
	rocksdb_readoptions_destroy(it->ro);
	free(it);
}

static int rocks_fetch(struct store_index *ix, const void *from, size_t flen, const void *to,
	size_t tlen, void **pin)
{
	const void *key, *val;
	struct index_iter *it;
	size_t klen, vlen, sum = 0;
	bool gets_on = false;
	int got, rc;

	/* a get may need blocks that a walk passes over */
	got = rocks_get(ix, from, flen, NULL, false);
	*pin = it = make_iter(rocks_of(ix), from, flen, to, tlen, false, true);
	/* what follows is likely to be asked for next: IDs of one directory are neighbours */
	while ((rc = rocks_iter_next(it, &key, &klen, &val, &vlen)) > 0) {
		gets_on |= batch_cmp_keys(key, klen, from, flen) > 0;
		sum += klen + vlen;
		if (sum >= FETCH_MAX && gets_on)
			break;
	}
	if (got < 0 && got != -ENOENT)
		return got;
	return rc < 0 && tlen && !gets_on ? rc : 0;
}

static void rocks_unpin(struct store_index *ix, void *pin)
{
	(void)ix;
	rocks_iter_free(pin);
}

static uint64_t property(struct rocks *r, const char *name)
{
	uint64_t v = 0;

	return rocksdb_property_int(r->db, name, &v) ? 0 : v;
}

static int rocks_flush_begin(struct store_index *ix)
{
	struct rocks *r = rocks_of(ix);
	char *err = NULL;

	r->errors = property(r, "rocksdb.background-errors");
	rocksdb_flush(r->db, r->flush, &err);
	return status(err, "flush");
}

/* The C interface can wait for a flush only by starting one, and what was put meanwhile must not
 * be flushed: so look from time to time, on this worker. */
static int rocks_flush_wait(struct store_index *ix)
{
	struct timespec nap = {.tv_nsec = FLUSH_POLL_NS};
	struct rocks *r = rocks_of(ix);

	for (uint64_t ns = 0; property(r, "rocksdb.num-immutable-mem-table"); ns += FLUSH_POLL_NS) {
		if (property(r, "rocksdb.background-errors") > r->errors || ns > FLUSH_STUCK_NS) {
			log_error("mod=store op=flush msg=\"the index could not be flushed\"");
			return -EIO;
		}
		nanosleep(&nap, NULL);
	}
	return 0;
}

static int rocks_open(struct rocks *r)
{
	char *err = NULL;

	r->db = rocksdb_open(r->opt, r->path, &err);
	if (!err)
		return 0;
	r->db = NULL;
	return status(err, "open");
}

static int rocks_clear(struct store_index *ix)
{
	struct rocks *r = rocks_of(ix);
	char *err = NULL;

	rocksdb_close(r->db);
	r->db = NULL;
	rocksdb_destroy_db(r->opt, r->path, &err);
	return err ? status(err, "clear") : rocks_open(r);
}

static void rocks_free(struct store_index *ix)
{
	struct rocks *r = rocks_of(ix);

	if (r->db)
		rocksdb_close(r->db);
	rocksdb_options_destroy(r->opt);
	rocksdb_writeoptions_destroy(r->put_now);
	rocksdb_writeoptions_destroy(r->put_wait);
	rocksdb_readoptions_destroy(r->get_cached);
	rocksdb_readoptions_destroy(r->get_any);
	rocksdb_flushoptions_destroy(r->flush);
	rocksdb_writebatch_destroy(r->wb);
	free(r);
}

static const struct index_ops rocks_ops = {
	.get = rocks_get,
	.put = rocks_put,
	.iter_new = rocks_iter_new,
	.iter_next = rocks_iter_next,
	.iter_free = rocks_iter_free,
	.fetch = rocks_fetch,
	.unpin = rocks_unpin,
	.flush_begin = rocks_flush_begin,
	.flush_wait = rocks_flush_wait,
	.clear = rocks_clear,
	.free = rocks_free,
};

static rocksdb_options_t *make_options(uint64_t buffer, uint64_t cache, char **err)
{
	rocksdb_options_t *base = rocksdb_options_create(), *opt = rocksdb_options_create();
	char text[1024];

	snprintf(text, sizeof(text),
		"create_if_missing=true;avoid_flush_during_shutdown=true;"
		"allow_concurrent_memtable_write=false;enable_write_thread_adaptive_yield=false;"
		"max_open_files=-1;max_background_jobs=2;write_buffer_size=%llu;"
		"max_write_buffer_number=4;compression=kNoCompression;"
		"level_compaction_dynamic_level_bytes=true;bytes_per_sync=1048576;"
		"stats_dump_period_sec=0;stats_persist_period_sec=0;keep_log_file_num=2;"
		"info_log_level=WARN_LEVEL;memtable_prefix_bloom_size_ratio=0.05;"
		"memtable_whole_key_filtering=true;prefix_extractor=rocksdb.FixedPrefix.%u;"
		"memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.%u;"
		"avoid_unnecessary_blocking_io=true;"
		"block_based_table_factory={filter_policy=bloomfilter:10:false;"
		"whole_key_filtering=true;block_size=16384;cache_index_and_filter_blocks=false;"
		"block_cache=%llu;prepopulate_block_cache=kFlushOnly;format_version=5}",
		(unsigned long long)buffer * 4, PREFIX, HINT, (unsigned long long)cache);
	rocksdb_get_options_from_string(base, text, opt, err);
	rocksdb_options_destroy(base);
	return opt;
}

int index_rocks_new(const char *path, uint64_t buffer, uint64_t cache, struct store_index **out,
	char *why, size_t why_len)
{
	size_t len = strlen(path) + 1;
	struct rocks *r = mem_zalloc(sizeof(*r) + len);
	char *err = NULL;
	int rc;

	memcpy(r->path, path, len);
	r->ix.ops = &rocks_ops;
	r->put_now = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(r->put_now, 1);
	rocksdb_writeoptions_set_no_slowdown(r->put_now, 1);
	r->put_wait = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(r->put_wait, 1);
	r->get_cached = rocksdb_readoptions_create();
	rocksdb_readoptions_set_read_tier(r->get_cached, 1);
	r->get_any = rocksdb_readoptions_create();
	r->flush = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(r->flush, 0);
	r->wb = rocksdb_writebatch_create();
	r->opt = make_options(buffer, cache, &err);
	rc = err ? status(err, "options") : rocks_open(r);
	if (rc) {
		snprintf(
			why, why_len, "the index in %s cannot be opened (%s)", path, log_errno(rc));
		rocks_free(&r->ix);
		return rc;
	}
	*out = &r->ix;
	return 0;
}
