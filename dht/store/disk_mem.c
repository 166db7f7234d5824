/*
 * disk in memory, for tests and the simulator. Each file is its content as the page cache has it
 * and the list of writes that were not synced yet; a crash decides what becomes of those.
 */
#include "dht/store/disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "dht/base/mem.h"

struct mem_write {
	uint64_t off, len;
};

struct mem_file {
	TAILQ_ENTRY(mem_file) entry;
	uint8_t *data;
	uint64_t size, cap;
	struct mem_write *writes; /* not synced */
	size_t nwrites, write_cap;
	bool named; /* the name is durable */
	bool gone;  /* removed; stays until the removal is durable and nobody has it open */
	unsigned opens;
	char name[64];
};

struct handle {
	struct disk_file f;
	struct mem_file *file;
};

struct mem_disk {
	struct disk d;
	pthread_mutex_t lock;
	TAILQ_HEAD(, mem_file) files;
	struct disk_mem_faults faults;
	uint64_t changes, used, boot, rnd;
	bool dead;
};

static struct mem_disk *mem_of(struct disk *d)
{
	return container_of(d, struct mem_disk, d);
}

static uint64_t rnd(struct mem_disk *m)
{
	m->rnd = m->rnd * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return m->rnd >> 33;
}

static struct mem_file *find(struct mem_disk *m, const char *name)
{
	struct mem_file *f;

	TAILQ_FOREACH (f, &m->files, entry) {
		if (!f->gone && !strcmp(f->name, name))
			return f;
	}
	return NULL;
}

/* Counts a change: 0 to make it, 1 to make it in part and then die, -EIO when dead. */
static int change(struct mem_disk *m)
{
	if (!m->dead && m->faults.dark && m->faults.dark(m->faults.dark_arg))
		m->dead = true;
	if (m->dead)
		return -EIO;
	if (++m->changes == m->faults.die_at) {
		m->dead = true;
		return 1;
	}
	return 0;
}

static void free_file(struct mem_disk *m, struct mem_file *f)
{
	TAILQ_REMOVE(&m->files, f, entry);
	free(f->data);
	free(f->writes);
	free(f);
}

static int mem_list(struct disk *d, void (*each)(void *arg, const char *name), void *arg)
{
	struct mem_file *f;

	TAILQ_FOREACH (f, &mem_of(d)->files, entry) {
		if (!f->gone)
			each(arg, f->name);
	}
	return 0;
}

static struct mem_file *make_file(struct mem_disk *m, const char *name)
{
	struct mem_file *f = mem_zalloc(sizeof(*f));

	memcpy(f->name, name, min_size(strlen(name), sizeof(f->name) - 1));
	TAILQ_INSERT_TAIL(&m->files, f, entry);
	return f;
}

static int mem_open(struct disk *d, const char *name, bool create, struct disk_file **out)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f;
	struct handle *h;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	f = find(m, name);
	if (create)
		rc = f ? -EEXIST : change(m);
	else if (!f)
		rc = -ENOENT;
	if (rc == 0 && create)
		f = make_file(m, name);
	if (rc == 0)
		f->opens++;
	pthread_mutex_unlock(&m->lock);
	if (rc)
		return rc < 0 ? rc : -EIO;
	h = mem_zalloc(sizeof(*h));
	h->f.disk = d;
	h->file = f;
	*out = &h->f;
	return 0;
}

static int mem_remove(struct disk *d, const char *name)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f;
	int rc = -ENOENT;

	pthread_mutex_lock(&m->lock);
	f = find(m, name);
	if (f)
		rc = change(m);
	if (!rc) {
		f->gone = true;
		m->used -= f->size;
	}
	pthread_mutex_unlock(&m->lock);
	return rc > 0 ? -EIO : rc;
}

static void free_if_unused(struct mem_disk *m, struct mem_file *f)
{
	if (f->gone && !f->named && !f->opens)
		free_file(m, f);
}

static int mem_sync_names(struct disk *d)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f, *next;
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = change(m);
	for (f = rc ? NULL : TAILQ_FIRST(&m->files); f; f = next) {
		next = TAILQ_NEXT(f, entry);
		f->named = !f->gone;
		free_if_unused(m, f);
	}
	pthread_mutex_unlock(&m->lock);
	return rc > 0 ? -EIO : rc;
}

static int mem_load(struct disk *d, const char *name, struct buf *out, size_t max)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f = find(m, name);

	if (!f)
		return -ENOENT;
	if (m->faults.read_fails)
		return -EIO;
	if (f->size > max)
		return -EFBIG;
	buf_bytes(out, f->data, f->size);
	return out->err;
}

static void resize(struct mem_disk *m, struct mem_file *f, uint64_t size)
{
	if (size > f->cap) {
		uint64_t cap = f->cap ? f->cap : 512;

		while (cap < size)
			cap *= 2;
		f->data = mem_grow(f->data, cap, 1);
		f->cap = cap;
	}
	if (size > f->size)
		memset(f->data + f->size, 0, size - f->size);
	m->used += size - f->size;
	f->size = size;
}

static int mem_save(struct disk *d, const char *name, const void *data, size_t len)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f;
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = change(m);
	if (!rc) {
		f = find(m, name);
		if (!f)
			f = make_file(m, name);
		f->named = true;
		resize(m, f, len);
		memcpy(f->data, data, len);
	}
	pthread_mutex_unlock(&m->lock);
	return rc > 0 ? -EIO : rc;
}

static int mem_space(struct disk *d, uint64_t *total, uint64_t *avail)
{
	struct mem_disk *m = mem_of(d);

	*total = m->faults.capacity ? m->faults.capacity : UINT64_C(1) << 50;
	*avail = *total > m->used ? *total - m->used : 0;
	return 0;
}

static int mem_boot(struct disk *d, uint8_t id[16])
{
	memset(id, 0x42, 16);
	memcpy(id, &mem_of(d)->boot, 8);
	return 0;
}

static void mem_free(struct disk *d)
{
	struct mem_disk *m = mem_of(d);

	while (!TAILQ_EMPTY(&m->files))
		free_file(m, TAILQ_FIRST(&m->files));
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static struct mem_file *file_of(struct disk_file *f)
{
	return container_of(f, struct handle, f)->file;
}

static void note_write(struct mem_file *f, uint64_t off, uint64_t len)
{
	if (f->nwrites == f->write_cap) {
		f->write_cap = f->write_cap ? 2 * f->write_cap : 8;
		f->writes = mem_grow(f->writes, f->write_cap, sizeof(*f->writes));
	}
	f->writes[f->nwrites++] = (struct mem_write){.off = off, .len = len};
}

static bool spared(struct mem_disk *m)
{
	return m->faults.spared && m->faults.spared(m->faults.spared_arg);
}

static bool too_much(const struct mem_disk *m, const struct mem_file *f, uint64_t end)
{
	return m->faults.capacity && end > f->size &&
	       m->used + (end - f->size) > m->faults.capacity;
}

static int do_write(
	struct mem_disk *m, struct mem_file *f, uint64_t off, const struct iovec *iov, int n)
{
	uint64_t sum = 0, left;
	int rc = change(m);

	if (rc < 0 || (m->faults.write_fails && (!spared(m) || m->faults.write_fails)))
		return -EIO;
	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	if (too_much(m, f, off + sum) && (!spared(m) || too_much(m, f, off + sum)))
		return -ENOSPC;
	left = rc ? rnd(m) % (sum + 1) : sum;
	note_write(f, off, left);
	if (off + left > f->size)
		resize(m, f, off + left);
	for (int i = 0; i < n && left; i++) {
		size_t len = min_size(iov[i].iov_len, left);

		memcpy(f->data + off, iov[i].iov_base, len);
		off += len;
		left -= len;
	}
	return rc ? -EIO : 0;
}

static int mem_write(struct disk_file *f, uint64_t off, const struct iovec *iov, int n)
{
	struct mem_disk *m = mem_of(f->disk);
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = do_write(m, file_of(f), off, iov, n);
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static ssize_t mem_read(
	struct disk_file *df, uint64_t off, const struct iovec *iov, int n, bool cached)
{
	struct mem_disk *m = mem_of(df->disk);
	struct mem_file *f = file_of(df);
	ssize_t sum = 0;

	pthread_mutex_lock(&m->lock);
	if (m->faults.read_fails)
		sum = -EIO;
	else if (cached && m->faults.miss && rnd(m) % 1000 < m->faults.miss)
		sum = -EAGAIN;
	for (int i = 0; sum >= 0 && i < n && off < f->size; i++) {
		size_t len = min_size(iov[i].iov_len, f->size - off);

		memcpy(iov[i].iov_base, f->data + off, len);
		off += len;
		sum += (ssize_t)len;
	}
	pthread_mutex_unlock(&m->lock);
	return sum;
}

static int mem_sync(struct disk_file *f)
{
	struct mem_disk *m = mem_of(f->disk);
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = change(m);
	if (!rc && m->faults.sync_fails && (!spared(m) || m->faults.sync_fails))
		rc = -EIO;
	if (!rc)
		file_of(f)->nwrites = 0;
	pthread_mutex_unlock(&m->lock);
	return rc > 0 ? -EIO : rc;
}

static void mem_writeback(struct disk_file *f, uint64_t off, uint64_t len)
{
	(void)f, (void)off, (void)len;
}

static int mem_allocate(struct disk_file *f, uint64_t len)
{
	(void)f, (void)len;
	return -EOPNOTSUPP;
}

static int mem_truncate(struct disk_file *f, uint64_t len)
{
	struct mem_disk *m = mem_of(f->disk);
	int rc;

	pthread_mutex_lock(&m->lock);
	rc = change(m);
	if (!rc)
		resize(m, file_of(f), len);
	pthread_mutex_unlock(&m->lock);
	return rc > 0 ? -EIO : rc;
}

static int64_t mem_size(struct disk_file *f)
{
	return (int64_t)file_of(f)->size;
}

static void mem_close(struct disk_file *f)
{
	struct handle *h = container_of(f, struct handle, f);
	struct mem_disk *m = mem_of(f->disk);

	pthread_mutex_lock(&m->lock);
	h->file->opens--;
	free_if_unused(m, h->file);
	pthread_mutex_unlock(&m->lock);
	free(h);
}

static const struct disk_ops mem_ops = {
	.list = mem_list,
	.open = mem_open,
	.remove = mem_remove,
	.sync_names = mem_sync_names,
	.load = mem_load,
	.save = mem_save,
	.space = mem_space,
	.boot = mem_boot,
	.free = mem_free,
	.write = mem_write,
	.read = mem_read,
	.sync = mem_sync,
	.writeback = mem_writeback,
	.allocate = mem_allocate,
	.truncate = mem_truncate,
	.size = mem_size,
	.close = mem_close,
};

struct disk *disk_mem_new(void)
{
	struct mem_disk *m = mem_zalloc(sizeof(*m));

	m->d.ops = &mem_ops;
	m->boot = 1;
	TAILQ_INIT(&m->files);
	pthread_mutex_init(&m->lock, NULL);
	return &m->d;
}

/* Takes the bytes of [off, off+len) back: zeros, or the file ends earlier when they were last. */
static void lose(struct mem_disk *m, struct mem_file *f, uint64_t off, uint64_t len, bool last)
{
	if (off >= f->size)
		return;
	if (last && off + len >= f->size)
		resize(m, f, off);
	else
		memset(f->data + off, 0, min_size(len, f->size - off));
}

static void crash_file(struct mem_disk *m, struct mem_file *f, enum disk_crash how)
{
	unsigned style = how == DISK_LOSE ? 0 : (unsigned)(rnd(m) % 4);
	size_t keep = f->nwrites ? rnd(m) % (f->nwrites + 1) : 0;

	/* 0: all lost; 1: a prefix kept, the next one torn; 2: any of them kept, torn or lost;
	 * 3: all kept */
	for (size_t i = f->nwrites; i-- && style != 3;) {
		struct mem_write *w = &f->writes[i];
		uint64_t kept = 0;

		if (style == 1 && i < keep)
			break;
		if ((style == 1 && i == keep) || (style == 2 && rnd(m) % 3 == 0))
			kept = rnd(m) % (w->len + 1);
		else if (style == 2 && rnd(m) % 2)
			continue;
		/* the size may have become durable although the bytes did not */
		lose(m, f, w->off + kept, w->len - kept, style != 2 || rnd(m) % 2);
	}
	f->nwrites = 0;
}

void disk_mem_crash(struct disk *d, enum disk_crash how, uint64_t seed)
{
	struct mem_disk *m = mem_of(d);
	struct mem_file *f, *next;

	m->rnd = seed * 2 + 1;
	rnd(m);
	for (f = TAILQ_FIRST(&m->files); f; f = next) {
		next = TAILQ_NEXT(f, entry);
		if (how != DISK_PROCESS) {
			crash_file(m, f, how);
			if (f->gone && f->named && rnd(m) % 2) {
				f->gone = false;
				m->used += f->size;
			} else if (!f->named && !f->gone && (how == DISK_LOSE || rnd(m) % 2)) {
				f->gone = true;
				m->used -= f->size;
			}
		}
		if (f->gone)
			free_file(m, f);
		else
			f->named = how != DISK_PROCESS || f->named;
	}
	if (how != DISK_PROCESS)
		m->boot++;
	m->dead = false;
	m->faults.die_at = 0;
}

struct disk_mem_faults *disk_mem_faults(struct disk *d)
{
	return &mem_of(d)->faults;
}

uint64_t disk_mem_changes(const struct disk *d)
{
	return container_of(d, struct mem_disk, d)->changes;
}

int disk_mem_flip(struct disk *d, const char *name, uint64_t at, uint8_t bits)
{
	struct mem_file *f = find(mem_of(d), name);

	if (!f)
		return -ENOENT;
	if (at >= f->size)
		return -ERANGE;
	f->data[at] ^= bits;
	return 0;
}

int disk_mem_cut(struct disk *d, const char *name, uint64_t len)
{
	struct mem_file *f = find(mem_of(d), name);

	if (!f)
		return -ENOENT;
	if (len > f->size)
		return -ERANGE;
	resize(mem_of(d), f, len);
	f->nwrites = 0;
	return 0;
}

int64_t disk_mem_size(struct disk *d, const char *name)
{
	struct mem_file *f = find(mem_of(d), name);

	return f ? (int64_t)f->size : -ENOENT;
}
