/* disk over a folder of the real filesystem. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "dht/base/mem.h"
#include "dht/store/disk.h"

struct folder {
	struct disk d;
	int dir, lock;
};

struct folder_file {
	struct disk_file f;
	int fd;
};

static struct folder *folder_of(struct disk *d)
{
	return container_of(d, struct folder, d);
}

static int fd_of(struct disk_file *f)
{
	return container_of(f, struct folder_file, f)->fd;
}

static int folder_list(struct disk *d, void (*each)(void *arg, const char *name), void *arg)
{
	int fd = openat(folder_of(d)->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	DIR *dir;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return -ENOMEM;
	}
	for (errno = 0; (e = readdir(dir)); errno = 0) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			each(arg, e->d_name);
	}
	fd = -errno;
	closedir(dir);
	return fd;
}

static int folder_open(struct disk *d, const char *name, bool create, struct disk_file **out)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0);
	int fd = openat(folder_of(d)->dir, name, flags, 0600);
	struct folder_file *f;

	if (fd < 0)
		return -errno;
	f = mem_zalloc(sizeof(*f));
	f->f.disk = d;
	f->fd = fd;
	*out = &f->f;
	return 0;
}

static int folder_remove(struct disk *d, const char *name)
{
	return unlinkat(folder_of(d)->dir, name, 0) ? -errno : 0;
}

static int folder_sync_names(struct disk *d)
{
	return fsync(folder_of(d)->dir) ? -errno : 0;
}

static int folder_load(struct disk *d, const char *name, struct buf *out, size_t max)
{
	int fd = openat(folder_of(d)->dir, name, O_RDONLY | O_CLOEXEC);
	int rc = 0;
	ssize_t n;
	void *at;

	if (fd < 0)
		return -errno;
	at = buf_add(out, max + 1);
	if (!at) {
		rc = -ENOMEM;
		goto out;
	}
	do
		n = pread(fd, at, max + 1, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		rc = -errno;
	else if ((size_t)n > max)
		rc = -EFBIG;
	out->len -= max + 1 - (rc ? 0 : (size_t)n);
out:
	close(fd);
	return rc;
}

static int write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int folder_save(struct disk *d, const char *name, const void *data, size_t len)
{
	int dir = folder_of(d)->dir, fd, rc;
	char tmp[64];

	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = write_all(fd, data, len);
	if (!rc && fsync(fd))
		rc = -errno;
	close(fd);
	if (!rc && renameat(dir, tmp, dir, name))
		rc = -errno;
	if (!rc && fsync(dir))
		rc = -errno;
	if (rc)
		unlinkat(dir, tmp, 0);
	return rc;
}

static int folder_space(struct disk *d, uint64_t *total, uint64_t *avail)
{
	struct statvfs v;

	if (fstatvfs(folder_of(d)->dir, &v))
		return -errno;
	*total = (uint64_t)v.f_blocks * v.f_frsize;
	*avail = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

static int folder_boot(struct disk *d, uint8_t id[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[40] = "";
	size_t n = 0;
	ssize_t got;

	(void)d;
	memset(id, 0, 16);
	if (fd < 0)
		return -errno;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	for (ssize_t i = 0; i + 1 < got && n < 16; i++) {
		unsigned v;

		if (text[i] == '-')
			continue;
		if (sscanf(text + i, "%2x", &v) != 1)
			return -EINVAL;
		id[n++] = (uint8_t)v;
		i++;
	}
	return n == 16 ? 0 : -EINVAL;
}

static void folder_free(struct disk *d)
{
	struct folder *fo = folder_of(d);

	close(fo->dir);
	close(fo->lock);
	free(fo);
}

static int file_write(struct disk_file *f, uint64_t off, const struct iovec *iov, int n)
{
	struct iovec v[64];
	int fd = fd_of(f);

	while (n) {
		int m = n < 64 ? n : 64, i = 0;

		memcpy(v, iov, sizeof(*v) * (size_t)m);
		while (i < m) {
			ssize_t w = pwritev(fd, v + i, m - i, (off_t)off);

			if (w < 0 && errno == EINTR)
				continue;
			if (w < 0)
				return -errno;
			off += (uint64_t)w;
			for (; i < m && (size_t)w >= v[i].iov_len; i++)
				w -= (ssize_t)v[i].iov_len;
			if (i < m) {
				v[i].iov_base = (char *)v[i].iov_base + w;
				v[i].iov_len -= (size_t)w;
			}
		}
		iov += m;
		n -= m;
	}
	return 0;
}

/* More than three pieces are never asked for; a short read goes on where it stopped. */
static ssize_t file_read(
	struct disk_file *f, uint64_t off, const struct iovec *iov, int n, bool cached)
{
	struct iovec v[8];
	ssize_t sum = 0;
	int i = 0;

	if (n > 8)
		return -EINVAL;
	memcpy(v, iov, sizeof(*v) * (size_t)n);
	while (i < n) {
		ssize_t r = preadv2(fd_of(f), v + i, n - i, (off_t)off, cached ? RWF_NOWAIT : 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && cached && errno == EOPNOTSUPP)
			return -EAGAIN;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		off += (uint64_t)r;
		sum += r;
		for (; i < n && (size_t)r >= v[i].iov_len; i++)
			r -= (ssize_t)v[i].iov_len;
		if (i < n) {
			v[i].iov_base = (char *)v[i].iov_base + r;
			v[i].iov_len -= (size_t)r;
		}
	}
	return sum;
}

static int file_sync(struct disk_file *f)
{
	return fdatasync(fd_of(f)) ? -errno : 0;
}

static void file_writeback(struct disk_file *f, uint64_t off, uint64_t len)
{
	/* where the filesystem has none of it, fdatasync does all the work later */
	(void)!sync_file_range(fd_of(f), (off_t)off, (off_t)len,
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

static int file_allocate(struct disk_file *f, uint64_t len)
{
	return fallocate(fd_of(f), FALLOC_FL_KEEP_SIZE, 0, (off_t)len) ? -errno : 0;
}

static int file_truncate(struct disk_file *f, uint64_t len)
{
	return ftruncate(fd_of(f), (off_t)len) ? -errno : 0;
}

static int64_t file_size(struct disk_file *f)
{
	struct stat st;

	return fstat(fd_of(f), &st) ? -errno : st.st_size;
}

static void file_close(struct disk_file *f)
{
	struct folder_file *ff = container_of(f, struct folder_file, f);

	close(ff->fd);
	free(ff);
}

static const struct disk_ops folder_ops = {
	.list = folder_list,
	.open = folder_open,
	.remove = folder_remove,
	.sync_names = folder_sync_names,
	.load = folder_load,
	.save = folder_save,
	.space = folder_space,
	.boot = folder_boot,
	.free = folder_free,
	.write = file_write,
	.read = file_read,
	.sync = file_sync,
	.writeback = file_writeback,
	.allocate = file_allocate,
	.truncate = file_truncate,
	.size = file_size,
	.close = file_close,
};

int disk_file_new(const char *path, struct disk **out)
{
	struct folder *fo;
	int dir, lock, rc;

	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	lock = openat(dir, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0) {
		rc = -errno;
		goto fail_dir;
	}
	if (flock(lock, LOCK_EX | LOCK_NB)) {
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		goto fail_lock;
	}
	fo = mem_zalloc(sizeof(*fo));
	fo->d.ops = &folder_ops;
	fo->dir = dir;
	fo->lock = lock;
	*out = &fo->d;
	return 0;
fail_lock:
	close(lock);
fail_dir:
	close(dir);
	return rc;
}
