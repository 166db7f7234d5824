/*
 * trace_rig: a disk and an index that write down all that a store asks of them, for playing it
 * back: a disk over the folder BASE/run, and RocksDB in BASE/run/index, of which a copy is kept in
 * BASE/index-N with every flush.
 */
#ifndef ORBIT_TESTS_TRACE_RIG_H
#define ORBIT_TESTS_TRACE_RIG_H

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "tests/unit/store_rig.h"

#define NAME 40

/* ---- the trace ---- */

enum what { WRITE, TRUNCATE, CREATE, REMOVE, SAVE, SYNC, SYNC_NAMES, FLUSH, APPLY, ACK };

struct event {
	enum what what;
	uint64_t begin, end; /* end 0: not yet */
	char name[NAME];
	uint64_t off; /* WRITE; TRUNCATE: the length; APPLY, ACK: effects; FLUSH: of the copy */
	uint8_t *data;
	size_t len;
};

struct trace {
	pthread_mutex_t lock;
	struct event *v;
	size_t n, cap;
	uint64_t clock;
};

static inline size_t begin(struct trace *t, struct event e)
{
	size_t i;

	pthread_mutex_lock(&t->lock);
	if (t->n == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 1024;
		t->v = mem_grow(t->v, t->cap, sizeof(*t->v));
	}
	e.begin = ++t->clock;
	i = t->n++;
	t->v[i] = e;
	pthread_mutex_unlock(&t->lock);
	return i;
}

static inline void end(struct trace *t, size_t i)
{
	pthread_mutex_lock(&t->lock);
	t->v[i].end = ++t->clock;
	pthread_mutex_unlock(&t->lock);
}

static inline void mark(struct trace *t, enum what what, uint64_t n)
{
	end(t, begin(t, (struct event){.what = what, .off = n}));
}

/* ---- a disk that writes down ---- */

struct rec {
	struct disk d;
	struct disk *inner;
	struct trace *t; /* NULL: only the kernel is another one */
};

struct rec_file {
	struct disk_file f;
	struct disk_file *inner;
	char name[NAME];
};

static inline struct rec *rec_of(struct disk *d)
{
	return container_of(d, struct rec, d);
}

static inline struct rec_file *file_of(struct disk_file *f)
{
	return container_of(f, struct rec_file, f);
}

static inline struct event event_of(enum what what, const char *name)
{
	struct event e = {.what = what};

	snprintf(e.name, sizeof(e.name), "%s", name);
	return e;
}

static inline int rec_list(struct disk *d, void (*each)(void *arg, const char *name), void *arg)
{
	return rec_of(d)->inner->ops->list(rec_of(d)->inner, each, arg);
}

static inline int rec_open(struct disk *d, const char *name, bool create, struct disk_file **out)
{
	struct rec *r = rec_of(d);
	struct disk_file *inner;
	size_t i = create && r->t ? begin(r->t, event_of(CREATE, name)) : 0;
	int rc = disk_open(r->inner, name, create, &inner);
	struct rec_file *f;

	if (rc)
		return rc;
	if (create && r->t)
		end(r->t, i);
	f = mem_zalloc(sizeof(*f));
	f->f.disk = d;
	f->inner = inner;
	snprintf(f->name, sizeof(f->name), "%s", name);
	*out = &f->f;
	return 0;
}

static inline int rec_remove(struct disk *d, const char *name)
{
	struct rec *r = rec_of(d);
	size_t i = r->t ? begin(r->t, event_of(REMOVE, name)) : 0;
	int rc = r->inner->ops->remove(r->inner, name);

	if (r->t)
		end(r->t, i);
	return rc;
}

static inline int rec_sync_names(struct disk *d)
{
	struct rec *r = rec_of(d);

	if (r->t)
		end(r->t, begin(r->t, event_of(SYNC_NAMES, "")));
	return 0;
}

static inline int rec_load(struct disk *d, const char *name, struct buf *out, size_t max)
{
	return rec_of(d)->inner->ops->load(rec_of(d)->inner, name, out, max);
}

static inline int rec_save(struct disk *d, const char *name, const void *data, size_t len)
{
	struct rec *r = rec_of(d);
	struct event e = event_of(SAVE, name);
	size_t i = 0;
	int rc;

	e.len = len;
	if (r->t) {
		e.data = mem_dup(data, len);
		i = begin(r->t, e);
	}
	rc = r->inner->ops->save(r->inner, name, data, len);
	if (r->t)
		end(r->t, i);
	return rc;
}

static inline int rec_space(struct disk *d, uint64_t *total, uint64_t *avail)
{
	(void)d;
	*total = *avail = UINT64_C(1) << 40;
	return 0;
}

static inline int rec_boot(struct disk *d, uint8_t id[16])
{
	memset(id, rec_of(d)->t ? 1 : 2, 16);
	return 0;
}

static inline void rec_free(struct disk *d)
{
	disk_free(rec_of(d)->inner);
	free(rec_of(d));
}

static inline int rec_write(struct disk_file *f, uint64_t off, const struct iovec *iov, int n)
{
	struct trace *t = rec_of(f->disk)->t;
	struct rec_file *rf = file_of(f);
	struct event e = event_of(WRITE, rf->name);
	size_t i = 0, at = 0;
	int rc;

	if (t) {
		e.off = off;
		for (int k = 0; k < n; k++)
			e.len += iov[k].iov_len;
		e.data = mem_grow(NULL, e.len + 1, 1);
		for (int k = 0; k < n; at += iov[k++].iov_len)
			memcpy(e.data + at, iov[k].iov_base, iov[k].iov_len);
		i = begin(t, e);
	}
	rc = disk_write(rf->inner, off, iov, n);
	if (t)
		end(t, i);
	return rc;
}

static inline ssize_t rec_read(
	struct disk_file *f, uint64_t off, const struct iovec *iov, int n, bool cached)
{
	return disk_read(file_of(f)->inner, off, iov, n, cached);
}

static inline int rec_sync(struct disk_file *f)
{
	struct trace *t = rec_of(f->disk)->t;

	if (t)
		end(t, begin(t, event_of(SYNC, file_of(f)->name)));
	return 0;
}

static inline void rec_writeback(struct disk_file *f, uint64_t off, uint64_t len)
{
	(void)f, (void)off, (void)len;
}

static inline int rec_allocate(struct disk_file *f, uint64_t len)
{
	return file_of(f)->inner->disk->ops->allocate(file_of(f)->inner, len);
}

static inline int rec_truncate(struct disk_file *f, uint64_t len)
{
	struct trace *t = rec_of(f->disk)->t;
	struct event e = event_of(TRUNCATE, file_of(f)->name);
	size_t i = 0;
	int rc;

	e.off = len;
	if (t)
		i = begin(t, e);
	rc = disk_truncate(file_of(f)->inner, len);
	if (t)
		end(t, i);
	return rc;
}

static inline int64_t rec_size(struct disk_file *f)
{
	return file_of(f)->inner->disk->ops->size(file_of(f)->inner);
}

static inline void rec_close(struct disk_file *f)
{
	disk_close(file_of(f)->inner);
	free(file_of(f));
}

static inline struct disk *rec_new(const char *dir, struct trace *t)
{
	static const struct disk_ops ops = {
		.list = rec_list,
		.open = rec_open,
		.remove = rec_remove,
		.sync_names = rec_sync_names,
		.load = rec_load,
		.save = rec_save,
		.space = rec_space,
		.boot = rec_boot,
		.free = rec_free,
		.write = rec_write,
		.read = rec_read,
		.sync = rec_sync,
		.writeback = rec_writeback,
		.allocate = rec_allocate,
		.truncate = rec_truncate,
		.size = rec_size,
		.close = rec_close,
	};
	struct rec *r = mem_zalloc(sizeof(*r));

	r->d.ops = &ops;
	r->t = t;
	assert_int_equal(disk_file_new(dir, &r->inner), 0);
	return &r->d;
}

/* ---- copies of the index ---- */

static char base[64]; /* everything lies in here */

static inline void copy_file(const char *from, const char *to)
{
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	char b[65536];
	size_t n;

	assert_non_null(in);
	assert_non_null(out);
	while ((n = fread(b, 1, sizeof(b), in)))
		assert_int_equal(fwrite(b, 1, n, out), n);
	fclose(in);
	assert_int_equal(fclose(out), 0);
}

static inline bool is_table(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".sst");
}

/* Tables never change: they are linked. With @tables only those. */
static inline void copy_folder(const char *from, const char *to, bool tables, bool others)
{
	char a[512], b[512];
	struct dirent *e;
	DIR *dir;

	if (mkdir(to, 0700))
		assert_int_equal(errno, EEXIST);
	dir = opendir(from);
	if (!dir)
		return;
	while ((e = readdir(dir))) {
		snprintf(a, sizeof(a), "%s/%s", from, e->d_name);
		snprintf(b, sizeof(b), "%s/%s", to, e->d_name);
		if (is_table(e->d_name)) {
			if (tables && link(a, b))
				assert_true(errno == EEXIST || errno == ENOENT);
		} else if (others &&
			   (!strncmp(e->d_name, "MANIFEST", 8) || !strcmp(e->d_name, "CURRENT") ||
				   !strncmp(e->d_name, "OPTIONS", 7))) {
			copy_file(a, b);
		}
	}
	closedir(dir);
}

static inline int64_t manifest_bytes(const char *folder)
{
	char path[512];
	struct dirent *e;
	DIR *dir = opendir(folder);
	int64_t sum = 0;

	assert_non_null(dir);
	while ((e = readdir(dir))) {
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if (!strncmp(e->d_name, "MANIFEST", 8) && !stat(path, &st))
			sum += st.st_size;
	}
	closedir(dir);
	return sum;
}

/* While RocksDB may tidy up: the tables are those of the list if that did not change meanwhile. */
static inline void copy_index(const char *to)
{
	char from[128];
	int64_t before;

	snprintf(from, sizeof(from), "%s/run/index", base);
	do {
		before = manifest_bytes(from);
		copy_folder(from, to, true, true);
	} while (manifest_bytes(from) != before);
}

/* ---- an index that writes down ---- */

struct rec_index {
	struct store_index ix;
	struct store_index *inner;
	struct trace *t;
	unsigned flushes;
	size_t event;
};

static inline struct store_index *in(struct store_index *ix)
{
	return container_of(ix, struct rec_index, ix)->inner;
}

static inline int ri_get(
	struct store_index *ix, const void *key, size_t klen, struct buf *val, bool cached)
{
	return index_get(in(ix), key, klen, val, cached);
}

static inline int ri_put(struct store_index *ix, struct batch *b, bool wait)
{
	return index_put(in(ix), b, wait);
}

static inline struct index_iter *ri_iter_new(struct store_index *ix, const void *from, size_t flen,
	const void *to, size_t tlen, bool cached)
{
	return in(ix)->ops->iter_new(in(ix), from, flen, to, tlen, cached);
}

static struct store_index *the_inner;

static inline int ri_iter_next(
	struct index_iter *it, const void **key, size_t *klen, const void **val, size_t *vlen)
{
	return the_inner->ops->iter_next(it, key, klen, val, vlen);
}

static inline void ri_iter_free(struct index_iter *it)
{
	the_inner->ops->iter_free(it);
}

static inline int ri_fetch(struct store_index *ix, const void *from, size_t flen, const void *to,
	size_t tlen, void **pin)
{
	return in(ix)->ops->fetch(in(ix), from, flen, to, tlen, pin);
}

static inline void ri_unpin(struct store_index *ix, void *pin)
{
	in(ix)->ops->unpin(in(ix), pin);
}

static inline int ri_flush_begin(struct store_index *ix)
{
	struct rec_index *r = container_of(ix, struct rec_index, ix);

	r->event = begin(r->t, (struct event){.what = FLUSH, .off = ++r->flushes});
	return r->inner->ops->flush_begin(r->inner);
}

static inline int ri_flush_wait(struct store_index *ix)
{
	struct rec_index *r = container_of(ix, struct rec_index, ix);
	int rc = r->inner->ops->flush_wait(r->inner);
	char to[128];

	assert_int_equal(rc, 0);
	snprintf(to, sizeof(to), "%s/index-%u", base, r->flushes);
	copy_index(to);
	end(r->t, r->event);
	return rc;
}

static inline int ri_clear(struct store_index *ix)
{
	return in(ix)->ops->clear(in(ix));
}

static const struct index_ops ri_ops = {
	.get = ri_get,
	.put = ri_put,
	.iter_new = ri_iter_new,
	.iter_next = ri_iter_next,
	.iter_free = ri_iter_free,
	.fetch = ri_fetch,
	.unpin = ri_unpin,
	.flush_begin = ri_flush_begin,
	.flush_wait = ri_flush_wait,
	.clear = ri_clear,
};

#endif
