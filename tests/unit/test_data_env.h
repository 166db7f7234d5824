/*
 * File data on the filesystem of test_fs_env.h: reads and writes as calls that come back.
 */
#ifndef ORBIT_TESTS_TEST_DATA_ENV_H
#define ORBIT_TESTS_TEST_DATA_ENV_H

#include "fs/cache/data.h"
#include "fs/ops/file.h"
#include "tests/unit/test_fs_env.h"

#define KB (UINT64_C(1) << 10)
#define MB (UINT64_C(1) << 20)
#define TB (UINT64_C(1) << 40)

static UNUSED int dx_open(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, int flags, struct fs_file **f)
{
	FSX_OP(x, m, NO_ATTR, fs_open(m->fs, &w.call, ino, flags));
	*f = w.call.file;
	return rc;
}

/* Bytes written, or the error. */
static UNUSED int64_t dx_write(struct fsx *x, struct fsx_mount *m, struct fs_file *f, uint64_t off,
	const void *data, size_t len)
{
	FSX_OP(x, m, NO_ATTR, fs_write(m->fs, &w.call, f, off, data, len));
	return rc ? rc : (int64_t)w.call.len;
}

/* Bytes read into @to, or the error. */
static UNUSED int64_t dx_read(
	struct fsx *x, struct fsx_mount *m, struct fs_file *f, uint64_t off, void *to, size_t len)
{
	struct fsx_wait w;
	int64_t n;

	fsx_call(m, &w);
	fs_read(m->fs, &w.call, f, off, len);
	n = fsx_wait(x, &w);
	if (n == 0) {
		n = (int64_t)w.call.len;
		assert_true((size_t)n <= len);
		if (n)
			memcpy(to, w.copy, (size_t)n);
	}
	free(w.copy);
	return n;
}

static UNUSED int dx_flush(struct fsx *x, struct fsx_mount *m, struct fs_file *f)
{
	FSX_OP(x, m, NO_ATTR, fs_flush(m->fs, &w.call, f));
	return rc;
}

static UNUSED int dx_fsync(struct fsx *x, struct fsx_mount *m, struct fs_file *f)
{
	FSX_OP(x, m, NO_ATTR, fs_fsync(m->fs, &w.call, f, false));
	return rc;
}

static UNUSED int dx_fsyncdir(struct fsx *x, struct fsx_mount *m, struct fs_dir *d)
{
	FSX_OP(x, m, NO_ATTR, fs_fsyncdir(m->fs, &w.call, d));
	return rc;
}

static UNUSED int dx_truncate(struct fsx *x, struct fsx_mount *m, uint64_t ino, uint64_t size)
{
	struct fs_attr set = {.size = size}, a;
	int rc = fsx_setattr(x, m, ino, FS_SET_SIZE, &set, &a);

	if (rc == 0)
		assert_true(a.size == size);
	return rc;
}

static UNUSED int dx_fallocate(
	struct fsx *x, struct fsx_mount *m, struct fs_file *f, int mode, uint64_t off, uint64_t len)
{
	FSX_OP(x, m, NO_ATTR, fs_fallocate(m->fs, &w.call, f, mode, off, len));
	return rc;
}

static UNUSED int64_t dx_lseek(
	struct fsx *x, struct fsx_mount *m, struct fs_file *f, uint64_t off, int whence)
{
	FSX_OP(x, m, NO_ATTR, fs_lseek(m->fs, &w.call, f, off, whence));
	return rc ? rc : (int64_t)w.call.offset;
}

/* Closes as close(2) does: flush, then release. */
static UNUSED int dx_close(struct fsx *x, struct fsx_mount *m, struct fs_file *f)
{
	int rc = dx_flush(x, m, f);

	fs_release(m->fs, f);
	return rc;
}

/* Bytes that tell where they belong. */
static UNUSED void dx_pattern(uint8_t *p, uint64_t off, size_t len, uint64_t salt)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(((off + i) * UINT64_C(0x9e3779b97f4a7c15) + salt * 7919) >> 53 |
				 1);
}

static UNUSED uint8_t *dx_bytes(uint64_t off, size_t len, uint64_t salt)
{
	uint8_t *p = malloc(len);

	assert_non_null(p);
	dx_pattern(p, off, len, salt);
	return p;
}

/* Reads [off, off+len) and wants exactly these bytes. */
static UNUSED void dx_expect(struct fsx *x, struct fsx_mount *m, struct fs_file *f, uint64_t off,
	const void *want, size_t len)
{
	uint8_t *got = malloc(len + 1);

	assert_non_null(got);
	assert_int_equal(dx_read(x, m, f, off, got, len), len);
	if (memcmp(got, want, len)) {
		for (size_t i = 0; i < len; i++) {
			if (got[i] != ((const uint8_t *)want)[i]) {
				print_error("differs at %llu\n", (unsigned long long)(off + i));
				break;
			}
		}
		fail();
	}
	free(got);
}

static UNUSED void dx_expect_zeros(
	struct fsx *x, struct fsx_mount *m, struct fs_file *f, uint64_t off, size_t len)
{
	uint8_t *zeros = calloc(1, len);

	dx_expect(x, m, f, off, zeros, len);
	free(zeros);
}

/* Is there an object of a block? With its header. */
static UNUSED bool dx_block(
	struct fsx *x, struct fsx_mount *m, uint64_t ino, uint64_t block, struct txn_object *o)
{
	struct orbit_id id = layout_block_id(ino, block);
	struct fsx_raw raw = {0};
	struct txn_build t;

	txn_init(&t);
	raw.get = txn_get(&t, &id);
	orbit_submit(m->client, &t, NULL, fsx_raw_done, &raw);
	assert_true(sim_wait(x->c->s, &raw.done, FSX_LIMIT));
	assert_int_equal(raw.rc, 0);
	if (o)
		*o = raw.o;
	return raw.present;
}

#endif
