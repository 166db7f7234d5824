/* The seam to the kernel, spoken to as the kernel does, over a socket pair. */
#include <linux/fuse.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fs/fuse/session.h"
#include "tests/unit/test_data_env.h"

struct fx {
	struct fsx *x;
	struct fuse_mount *m;
	int fd; /* the kernel's side */
	uint64_t unique;
	unsigned ready, gone;
	uint32_t uid, pid;
	/* the last answer */
	struct fuse_out_header head;
	uint8_t body[256 << 10];
	size_t len;
	struct fuse_notify_inval_inode_out notice; /* the last one */
	unsigned notices;
};

static void on_ready(void *arg)
{
	((struct fx *)arg)->ready++;
}

static void on_gone(void *arg)
{
	((struct fx *)arg)->gone++;
}

/* Sends a request: @arg, then @more (a name with its NUL, bytes). Returns its number. */
static uint64_t ask(struct fx *t, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const void *more, size_t more_len)
{
	struct fuse_in_header in = {.opcode = opcode, .nodeid = node, .uid = t->uid, .pid = t->pid};
	size_t total = sizeof(in) + len + more_len;
	uint8_t *b = malloc(total);

	assert_non_null(b);
	in.len = (uint32_t)total;
	in.unique = t->unique += 2;
	memcpy(b, &in, sizeof(in));
	if (len)
		memcpy(b + sizeof(in), arg, len);
	if (more_len)
		memcpy(b + sizeof(in) + len, more, more_len);
	assert_int_equal(send(t->fd, b, total, 0), total);
	free(b);
	fuse_mount_read(t->m);
	return in.unique;
}

/* Takes an answer if there is one. */
static bool heard(struct fx *t)
{
	uint8_t b[sizeof(t->body) + 16];
	ssize_t n = recv(t->fd, b, sizeof(b), MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_true((size_t)n >= sizeof(t->head));
	memcpy(&t->head, b, sizeof(t->head));
	assert_int_equal(t->head.len, n);
	t->len = (size_t)n - sizeof(t->head);
	if (t->head.unique == 0) { /* tells of something, answers nothing */
		assert_int_equal(t->head.error, FUSE_NOTIFY_INVAL_INODE);
		assert_int_equal(t->len, sizeof(t->notice));
		memcpy(&t->notice, b + sizeof(t->head), t->len);
		t->notices++;
		return heard(t);
	}
	memcpy(t->body, b + sizeof(t->head), t->len);
	return true;
}

/* Runs the world until the answer to @unique is there: its error. Nothing else may be answered. */
static int answer(struct fx *t, uint64_t unique)
{
	for (unsigned i = 0; i < 100000; i++) {
		if (heard(t)) {
			assert_true(t->head.unique == unique);
			assert_false(heard(t)); /* one answer, not two */
			return t->head.error;
		}
		assert_true(sim_step(t->x->c->s));
	}
	fail();
	return 0;
}

static int call(struct fx *t, uint32_t opcode, uint64_t node, const void *arg, size_t len,
	const void *more, size_t more_len)
{
	return answer(t, ask(t, opcode, node, arg, len, more, more_len));
}

static int call_name(
	struct fx *t, uint32_t opcode, uint64_t node, const void *arg, size_t len, const char *name)
{
	return call(t, opcode, node, arg, len, name, strlen(name) + 1);
}

#define BODY(t, type) ((const type *)(const void *)(t)->body)

static struct fx *fx_new(uint64_t seed)
{
	struct fx *t = mem_zalloc(sizeof(*t));
	struct fuse_mount_options o = {.ready = on_ready, .gone = on_gone, .arg = t};
	struct fuse_init_in init = {.major = 7,
		.minor = 38,
		.max_readahead = 128 << 10,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_MAX_PAGES |
			 FUSE_HANDLE_KILLPRIV_V2 | FUSE_WRITEBACK_CACHE | FUSE_ATOMIC_O_TRUNC |
			 FUSE_AUTO_INVAL_DATA | FUSE_PARALLEL_DIROPS};
	const struct fuse_init_out *out = BODY(t, struct fuse_init_out);
	int fd[2], room = 4 << 20;
	char why[200];

	t->x = fsx_new(seed, 1, 1);
	t->pid = (uint32_t)getpid();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fd), 0);
	for (unsigned i = 0; i < 2; i++)
		setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	t->fd = fd[1];
	assert_int_equal(
		fuse_mount_on_fd(&t->m, t->x->m->env, t->x->m->fs, &o, fd[0], why, sizeof(why)), 0);
	assert_int_equal(t->ready, 0);
	assert_int_equal(call(t, FUSE_INIT, 0, &init, sizeof(init), NULL, 0), 0);
	assert_int_equal(t->ready, 1);
	assert_int_equal(out->major, 7);
	assert_int_equal(out->max_write, 1 << 20);
	assert_true(out->flags & FUSE_HANDLE_KILLPRIV_V2);
	assert_true(out->flags & FUSE_DO_READDIRPLUS);
	assert_false(
		out->flags & (FUSE_WRITEBACK_CACHE | FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA));
	return t;
}

static void fx_free(struct fx *t)
{
	fuse_mount_free(t->m);
	close(t->fd);
	fsx_free(t->x);
	free(t);
}

/* Makes a file; its node number, and its handle in *fh. */
static uint64_t create(struct fx *t, const char *name, uint64_t *fh)
{
	struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = S_IFREG | 0644};
	const struct fuse_entry_out *e = BODY(t, struct fuse_entry_out);

	assert_int_equal(call_name(t, FUSE_CREATE, FUSE_ROOT_ID, &in, sizeof(in), name), 0);
	assert_int_equal(t->len, sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out));
	assert_int_equal(e->entry_valid, 1);
	assert_int_equal(e->attr_valid, 1);
	*fh = ((const struct fuse_open_out *)(const void *)(e + 1))->fh;
	return e->nodeid;
}

static int write_at(struct fx *t, uint64_t node, uint64_t fh, uint64_t off, const void *data,
	uint32_t len, uint32_t flags)
{
	struct fuse_write_in in = {.fh = fh, .offset = off, .size = len, .write_flags = flags};
	int rc = call(t, FUSE_WRITE, node, &in, sizeof(in), data, len);

	if (rc == 0)
		assert_int_equal(BODY(t, struct fuse_write_out)->size, len);
	return rc;
}

static int read_at(struct fx *t, uint64_t node, uint64_t fh, uint64_t off, uint32_t len)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = len};

	return call(t, FUSE_READ, node, &in, sizeof(in), NULL, 0);
}

static int close_file(struct fx *t, uint64_t node, uint64_t fh)
{
	struct fuse_flush_in flush = {.fh = fh};
	struct fuse_release_in release = {.fh = fh};
	int rc = call(t, FUSE_FLUSH, node, &flush, sizeof(flush), NULL, 0);

	assert_int_equal(call(t, FUSE_RELEASE, node, &release, sizeof(release), NULL, 0), 0);
	return rc;
}

static int get_xattr(struct fx *t, uint64_t node, const char *name, uint32_t size)
{
	struct fuse_getxattr_in in = {.size = size};

	return call_name(t, FUSE_GETXATTR, node, &in, sizeof(in), name);
}

static void test_fuse_file_from_create_to_release(void **state)
{
	struct fx *t = fx_new(1);
	uint64_t fh, node = create(t, "f", &fh);
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_getattr_in get = {0};
	uint8_t *p = dx_bytes(0, 100 * KB, 1);

	(void)state;
	assert_int_equal(write_at(t, node, fh, 0, p, 100 * KB, 0), 0);
	assert_int_equal(read_at(t, node, fh, 0, 100 * KB), 0);
	assert_int_equal(t->len, 100 * KB);
	assert_memory_equal(t->body, p, 100 * KB);
	assert_int_equal(close_file(t, node, fh), 0);
	assert_int_equal(call(t, FUSE_GETATTR, node, &get, sizeof(get), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.size, 100 * KB);
	assert_true(BODY(t, struct fuse_attr_out)->attr.ino == node);
	/* our own bytes are what the kernel has; closing is to be heard of, it may have locks */
	assert_int_equal(call(t, FUSE_OPEN, node, &open_in, sizeof(open_in), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_open_out)->open_flags, FOPEN_KEEP_CACHE);
	fh = BODY(t, struct fuse_open_out)->fh;
	assert_int_equal(read_at(t, node, fh, 90 * KB, 64 * KB), 0);
	assert_int_equal(t->len, 10 * KB);
	assert_memory_equal(t->body, p + 90 * KB, 10 * KB);
	assert_int_equal(read_at(t, node, fh, 200 * KB, 4096), 0);
	assert_int_equal(t->len, 0);
	assert_int_equal(close_file(t, node, fh), 0);
	/* that there is none may be kept, too */
	assert_int_equal(call_name(t, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "g"), 0);
	assert_true(BODY(t, struct fuse_entry_out)->nodeid == 0);
	assert_int_equal(call_name(t, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "f"), 0);
	assert_true(BODY(t, struct fuse_entry_out)->nodeid == node);
	free(p);
	fx_free(t);
}

static void test_fuse_cache_is_dropped_when_others_wrote(void **state)
{
	struct fx *t = fx_new(2);
	struct fsx_mount *other = fsx_client(t->x, NULL);
	uint64_t fh, node = create(t, "f", &fh);
	struct fuse_open_in in = {.flags = O_RDONLY};
	struct fs_file *f;

	(void)state;
	assert_int_equal(write_at(t, node, fh, 0, "mine", 4, 0), 0);
	assert_int_equal(close_file(t, node, fh), 0);
	assert_int_equal(fsx_mount(t->x, other), 0);
	assert_int_equal(dx_open(t->x, other, node, O_RDWR, &f), 0);
	assert_int_equal(dx_write(t->x, other, f, 0, "your", 4), 4);
	assert_int_equal(dx_close(t->x, other, f), 0);
	assert_int_equal(t->notices, 0);
	assert_int_equal(call(t, FUSE_OPEN, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_open_out)->open_flags, 0);
	assert_int_equal(
		t->notices, 1); /* its pages and attributes, before the other could write */
	assert_int_equal(t->notice.ino, node);
	assert_int_equal(t->notice.off, 0);
	assert_int_equal(t->notice.len, 4);
	fh = BODY(t, struct fuse_open_out)->fh;
	assert_int_equal(read_at(t, node, fh, 0, 4096), 0);
	assert_memory_equal(t->body, "your", 4);
	assert_int_equal(close_file(t, node, fh), 0);
	fx_free(t);
}

/* A write goes where the kernel says with it, however the file was opened: that can change. */
static void test_fuse_a_write_says_whether_it_appends(void **state)
{
	struct fx *t = fx_new(42);
	struct fsx_mount *other = fsx_client(t->x, NULL);
	struct fuse_open_in open_in = {.flags = O_RDWR | O_APPEND};
	uint64_t fh, end, node = create(t, "f", &fh);
	struct fuse_write_in in = {.fh = fh, .offset = 4, .size = 2, .flags = O_RDWR | O_APPEND};
	struct fs_file *f;

	(void)state;
	assert_int_equal(write_at(t, node, fh, 0, "0123", 4, 0), 0);
	assert_int_equal(call(t, FUSE_OPEN, node, &open_in, sizeof(open_in), NULL, 0), 0);
	assert_int_equal(
		BODY(t, struct fuse_open_out)->open_flags & FOPEN_DIRECT_IO, FOPEN_DIRECT_IO);
	end = BODY(t, struct fuse_open_out)->fh;
	/* opened to append, and not to append any more; pages that were mapped */
	assert_int_equal(write_at(t, node, end, 1, "a", 1, 0), 0);
	in.fh = end;
	in.offset = 2;
	in.size = 1;
	in.write_flags = FUSE_WRITE_CACHE;
	assert_int_equal(call(t, FUSE_WRITE, node, &in, sizeof(in), "b", 1), 0);
	assert_int_equal(read_at(t, node, fh, 0, 4096), 0);
	assert_int_equal(t->len, 4);
	assert_memory_equal(t->body, "0ab3", 4);
	/* another mount makes it longer; then it is told to append */
	assert_int_equal(fsx_mount(t->x, other), 0);
	assert_int_equal(dx_open(t->x, other, node, O_RDWR, &f), 0);
	assert_int_equal(dx_write(t->x, other, f, 4, "your", 4), 4);
	assert_int_equal(dx_close(t->x, other, f), 0);
	assert_false(heard(t)); /* but that pages were dropped */
	t->notices = 0;
	in = (struct fuse_write_in){.fh = fh, .offset = 4, .size = 4, .flags = O_RDWR | O_APPEND};
	assert_int_equal(call(t, FUSE_WRITE, node, &in, sizeof(in), "mine", 4), 0);
	/* the kernel keeps them as a page where it took the end to be */
	sim_run(t->x->c->s, 10 * ENV_MS);
	assert_int_equal(read_at(t, node, fh, 0, 4096), 0);
	assert_int_equal(t->len, 12);
	assert_memory_equal(t->body, "0ab3yourmine", 12);
	assert_int_equal(t->notices, 1);
	assert_true(t->notice.ino == node && t->notice.off == 0 && t->notice.len >= 8);
	assert_int_equal(close_file(t, node, end), 0);
	assert_int_equal(close_file(t, node, fh), 0);
	fx_free(t);
}

/* With cache=none the kernel keeps no pages. */
static void test_fuse_without_cache_reads_come_here(void **state)
{
	struct fuse_open_in in = {.flags = O_RDONLY};
	uint64_t fh, node;
	struct fx *t;

	(void)state;
	fsx_cache = FS_CACHE_NONE;
	t = fx_new(41);
	fsx_cache = FS_CACHE_STRICT;
	assert_int_equal(fsx_touch(t->x, t->x->m, ROOT, "f", NULL), 0);
	assert_int_equal(call_name(t, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "f"), 0);
	assert_int_equal(BODY(t, struct fuse_entry_out)->entry_valid, 0);
	assert_int_equal(BODY(t, struct fuse_entry_out)->attr_valid, 0);
	node = BODY(t, struct fuse_entry_out)->nodeid;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(call(t, FUSE_OPEN, node, &in, sizeof(in), NULL, 0), 0);
		assert_int_equal(BODY(t, struct fuse_open_out)->open_flags, FOPEN_DIRECT_IO);
		fh = BODY(t, struct fuse_open_out)->fh;
		assert_int_equal(close_file(t, node, fh), 0);
	}
	fx_free(t);
}

static void test_fuse_directories(void **state)
{
	struct fx *t = fx_new(3);
	struct fuse_mkdir_in mk = {.mode = 0755};
	struct fuse_open_in in = {0};
	struct fuse_read_in rd = {.size = 4096};
	uint64_t fh, dir;
	unsigned n = 0;

	(void)state;
	assert_int_equal(call_name(t, FUSE_MKDIR, FUSE_ROOT_ID, &mk, sizeof(mk), "d"), 0);
	dir = BODY(t, struct fuse_entry_out)->nodeid;
	assert_int_equal(call_name(t, FUSE_MKDIR, dir, &mk, sizeof(mk), "e"), 0);
	assert_int_equal(call_name(t, FUSE_RMDIR, FUSE_ROOT_ID, NULL, 0, "d"), -ENOTEMPTY);
	assert_int_equal(call(t, FUSE_SYMLINK, dir, NULL, 0, "l\0to/where", 11), 0);
	assert_int_equal(
		call(t, FUSE_READLINK, BODY(t, struct fuse_entry_out)->nodeid, NULL, 0, NULL, 0),
		0);
	assert_int_equal(t->len, 8);
	assert_memory_equal(t->body, "to/where", 8);
	/* ".." of a directory in the root is the root as the kernel knows it */
	assert_int_equal(call(t, FUSE_OPENDIR, dir, &in, sizeof(in), NULL, 0), 0);
	rd.fh = fh = BODY(t, struct fuse_open_out)->fh;
	assert_int_equal(call(t, FUSE_READDIR, dir, &rd, sizeof(rd), NULL, 0), 0);
	for (size_t at = 0; at < t->len; n++) {
		const struct fuse_dirent *e = (const void *)(t->body + at);

		if (e->namelen == 2 && memcmp(e->name, "..", 2) == 0)
			assert_int_equal(e->ino, FUSE_ROOT_ID);
		at += FUSE_DIRENT_SIZE(e);
	}
	assert_int_equal(n, 4);
	/* with so little room only one comes at a time */
	rd.size = sizeof(struct fuse_direntplus) + 8;
	n = 0;
	for (;;) {
		const struct fuse_direntplus *e = BODY(t, struct fuse_direntplus);

		assert_int_equal(call(t, FUSE_READDIRPLUS, dir, &rd, sizeof(rd), NULL, 0), 0);
		if (t->len == 0)
			break;
		assert_int_equal(t->len, FUSE_DIRENTPLUS_SIZE(e));
		if (e->dirent.name[0] != '.')
			assert_true(e->entry_out.nodeid == e->entry_out.attr.ino);
		else
			assert_int_equal(e->entry_out.nodeid, 0);
		rd.offset = e->dirent.off;
		assert_true(++n < 10);
	}
	assert_int_equal(n, 4);
	in.flags = 0;
	assert_int_equal(call(t, FUSE_RELEASEDIR, dir, &(struct fuse_release_in){.fh = fh},
				 sizeof(struct fuse_release_in), NULL, 0),
		0);
	fx_free(t);
}

static void test_fuse_forget_is_not_answered(void **state)
{
	struct fx *t = fx_new(4);
	struct fuse_forget_in in = {.nlookup = 1};
	struct {
		struct fuse_batch_forget_in in;
		struct fuse_forget_one one[2];
	} batch = {.in = {.count = 2}, .one = {{.nodeid = 77, .nlookup = 1}, {.nodeid = 78}}};

	(void)state;
	ask(t, FUSE_FORGET, 77, &in, sizeof(in), NULL, 0);
	ask(t, FUSE_BATCH_FORGET, 0, &batch, sizeof(batch), NULL, 0);
	sim_run(t->x->c->s, ENV_SEC);
	assert_false(heard(t));
	/* what we do not do, the kernel does */
	assert_int_equal(call(t, FUSE_IOCTL, FUSE_ROOT_ID, &(struct fuse_ioctl_in){.cmd = 1},
				 sizeof(struct fuse_ioctl_in), NULL, 0),
		-ENOSYS);
	assert_int_equal(call(t, 4000, FUSE_ROOT_ID, NULL, 0, NULL, 0), -ENOSYS);
	fx_free(t);
}

static int lock(struct fx *t, uint32_t opcode, uint64_t node, uint64_t fh, uint64_t owner,
	uint32_t type, uint32_t flags)
{
	struct fuse_lk_in in = {.fh = fh,
		.owner = owner,
		.lk = {.start = 10, .end = 19, .type = type, .pid = 4711},
		.lk_flags = flags};

	return call(t, opcode, node, &in, sizeof(in), NULL, 0);
}

static void test_fuse_locks(void **state)
{
	struct fx *t = fx_new(12);
	uint64_t fh, node = create(t, "f", &fh);
	const struct fuse_file_lock *got = &BODY(t, struct fuse_lk_out)->lk;
	struct fuse_flush_in flush = {.fh = fh, .lock_owner = 1};
	struct fuse_open_in open_in = {.flags = O_RDONLY};
	struct fuse_release_in release = {
		.release_flags = FUSE_RELEASE_FLOCK_UNLOCK, .lock_owner = 3};
	uint64_t waiting;

	(void)state;
	assert_int_equal(call(t, FUSE_OPEN, node, &open_in, sizeof(open_in), NULL, 0), 0);
	release.fh = BODY(t, struct fuse_open_out)->fh;
	assert_int_equal(lock(t, FUSE_SETLK, node, fh, 1, F_WRLCK, 0), 0);
	assert_int_equal(lock(t, FUSE_SETLK, node, fh, 2, F_RDLCK, 0), -EAGAIN);
	assert_int_equal(lock(t, FUSE_GETLK, node, fh, 2, F_RDLCK, 0), 0);
	assert_true(got->type == F_WRLCK && got->start == 10 && got->end == 19);
	assert_int_equal(got->pid, 4711);
	assert_int_equal(lock(t, FUSE_GETLK, node, fh, 1, F_RDLCK, 0), 0);
	assert_int_equal(got->type, F_UNLCK);
	/* a close by its owner unlocks, and lets in who waits */
	waiting = ask(t, FUSE_SETLKW, node,
		&(struct fuse_lk_in){
			.fh = fh, .owner = 2, .lk = {.end = INT64_MAX, .type = F_WRLCK}},
		sizeof(struct fuse_lk_in), NULL, 0);
	sim_run(t->x->c->s, ENV_SEC);
	assert_false(heard(t));
	ask(t, FUSE_FLUSH, node, &flush, sizeof(flush), NULL, 0);
	sim_run(t->x->c->s, ENV_SEC);
	assert_true(heard(t) && t->head.error == 0);
	assert_true(heard(t) && t->head.unique == waiting && t->head.error == 0);
	assert_int_equal(lock(t, FUSE_SETLK, node, fh, 1, F_RDLCK, 0), -EAGAIN);
	/* flock has nothing to do with it; the last close unlocks */
	assert_int_equal(lock(t, FUSE_SETLK, node, release.fh, 3, F_WRLCK, FUSE_LK_FLOCK), 0);
	assert_int_equal(lock(t, FUSE_SETLK, node, fh, 4, F_RDLCK, FUSE_LK_FLOCK), -EAGAIN);
	assert_int_equal(call(t, FUSE_RELEASE, node, &release, sizeof(release), NULL, 0), 0);
	assert_int_equal(lock(t, FUSE_SETLK, node, fh, 4, F_RDLCK, FUSE_LK_FLOCK), 0);
	fx_free(t);
}

static void test_fuse_setattr_and_set_id_bits(void **state)
{
	struct fx *t = fx_new(5);
	uint64_t fh, node = create(t, "f", &fh);
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 06755};
	struct fuse_getattr_in get = {0};

	(void)state;
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(write_at(t, node, fh, 0, "x", 1, 0), 0);
	assert_int_equal(close_file(t, node, fh), 0);
	assert_int_equal(call(t, FUSE_GETATTR, node, &get, sizeof(get), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mode & 07777, 06755);
	in = (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_KILL_SUIDGID, .size = 3};
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mode & 07777, 0755);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.size, 3);
	in = (struct fuse_setattr_in){.valid = FATTR_MTIME, .mtime = 5, .mtimensec = 7};
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mtime, 5);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mtimensec, 7);
	/* a new owner */
	in = (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 04755};
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	in = (struct fuse_setattr_in){.valid = FATTR_UID, .uid = 7};
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mode & 07777, 0755);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.uid, 7);
	fx_free(t);
}

static void test_fuse_write_tells_of_set_id_bits(void **state)
{
	struct fx *t = fx_new(6);
	uint64_t fh, node = create(t, "f", &fh);
	struct fuse_setattr_in in = {.valid = FATTR_MODE, .mode = 04755};
	struct fuse_getattr_in get = {0};

	(void)state;
	assert_int_equal(call(t, FUSE_SETATTR, node, &in, sizeof(in), NULL, 0), 0);
	assert_int_equal(write_at(t, node, fh, 0, "x", 1, FUSE_WRITE_KILL_SUIDGID), 0);
	assert_int_equal(close_file(t, node, fh), 0);
	assert_int_equal(call(t, FUSE_GETATTR, node, &get, sizeof(get), NULL, 0), 0);
	assert_int_equal(BODY(t, struct fuse_attr_out)->attr.mode & 07777, 0755);
	fx_free(t);
}

static void test_fuse_interrupt(void **state)
{
	struct fx *t = fx_new(7);
	uint64_t fh, node = create(t, "f", &fh), u, late;
	struct fuse_flush_in in = {.fh = fh};
	struct fuse_interrupt_in intr;

	(void)state;
	assert_int_equal(write_at(t, node, fh, 0, "bytes", 5, 0), 0);
	cluster_crash(t->x->c, 0, DISK_PROCESS);
	u = ask(t, FUSE_FLUSH, node, &in, sizeof(in), NULL, 0);
	sim_run(t->x->c->s, 100 * ENV_MS);
	assert_false(heard(t));
	/* no signal is pending for this thread: it is let go only when it stalls */
	intr.unique = u;
	ask(t, FUSE_INTERRUPT, node, &intr, sizeof(intr), NULL, 0);
	sim_run(t->x->c->s, 100 * ENV_MS);
	assert_false(heard(t));
	assert_int_equal(answer(t, u), -EINTR);
	/* a thread that is no more: at once */
	t->pid = 0x7ffffff0;
	u = ask(t, FUSE_FLUSH, node, &in, sizeof(in), NULL, 0);
	sim_run(t->x->c->s, 10 * ENV_MS);
	assert_false(heard(t));
	intr.unique = u;
	ask(t, FUSE_INTERRUPT, node, &intr, sizeof(intr), NULL, 0);
	assert_true(heard(t));
	assert_true(t->head.unique == u);
	assert_int_equal(t->head.error, -EINTR);
	/* an interrupt of what was answered already: "again", when the next request comes */
	late = ask(t, FUSE_INTERRUPT, node, &intr, sizeof(intr), NULL, 0);
	cluster_start(t->x->c, 0);
	t->pid = (uint32_t)getpid();
	u = ask(t, FUSE_GETATTR, node, &(struct fuse_getattr_in){0}, sizeof(struct fuse_getattr_in),
		NULL, 0);
	assert_true(heard(t));
	assert_true(t->head.unique == late);
	assert_int_equal(t->head.error, -EAGAIN);
	assert_int_equal(answer(t, u), 0);
	assert_int_equal(close_file(t, node, fh), 0);
	fx_free(t);
}

static void test_fuse_control_answers_without_a_node(void **state)
{
	struct fx *t = fx_new(8);
	uint64_t fh, node = create(t, "f", &fh), u;
	unsigned long handle;
	char name[64], *at;

	(void)state;
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.stalled", 4096), 0);
	assert_int_equal(t->len, 0);
	cluster_crash(t->x->c, 0, DISK_PROCESS);
	u = ask(t, FUSE_LOOKUP, FUSE_ROOT_ID, NULL, 0, "nobody", 7);
	sim_run(t->x->c->s, 20 * ENV_SEC);
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.stalled", 60000), 0);
	t->body[t->len] = '\0';
	at = strstr((char *)t->body, "handle=");
	assert_non_null(at);
	handle = strtoul(at + 7, NULL, 10);
	assert_non_null(strstr(at, " kind=read "));
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.stalled", 0), 0);
	assert_in_range(BODY(t, struct fuse_getxattr_out)->size, 50, 60000);
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.stalled", 5), -ERANGE);
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.counters", 60000), 0);
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, "system.orbitfs.nonsense", 60000), -ENODATA);
	assert_int_equal(get_xattr(t, node, "system.orbitfs.stalled", 60000), -ENODATA);
	t->uid = getuid() + 1;
	snprintf(name, sizeof(name), "system.orbitfs.cancel.%lu", handle);
	assert_int_equal(get_xattr(t, FUSE_ROOT_ID, name, 100), -EPERM);
	t->uid = 0;
	ask(t, FUSE_GETXATTR, FUSE_ROOT_ID, &(struct fuse_getxattr_in){.size = 100},
		sizeof(struct fuse_getxattr_in), name, strlen(name) + 1);
	assert_true(heard(t));
	assert_int_equal(t->head.error, 0);
	assert_int_equal(answer(t, u), -EINTR);
	cluster_start(t->x->c, 0);
	assert_int_equal(close_file(t, node, fh), 0);
	fx_free(t);
}

static void test_fuse_freed_with_requests_in_flight(void **state)
{
	struct fx *t = fx_new(9);
	uint64_t fh, node = create(t, "f", &fh);
	struct fuse_getattr_in get = {0};
	struct fuse_flush_in flush = {.fh = fh};

	(void)state;
	assert_int_equal(write_at(t, node, fh, 0, "bytes", 5, 0), 0);
	ask(t, FUSE_FLUSH, node, &flush, sizeof(flush), NULL, 0);
	ask(t, FUSE_GETATTR, node, &get, sizeof(get), NULL, 0);
	fuse_mount_free(t->m);
	t->m = NULL;
	assert_true(heard(t));
	assert_int_equal(t->head.error, -EIO);
	assert_true(heard(t));
	assert_int_equal(t->head.error, -EIO);
	sim_run(t->x->c->s, 10 * ENV_SEC);
	fx_free(t);
}

static void test_fuse_gone_once(void **state)
{
	struct fx *t = fx_new(10);

	(void)state;
	log_set_level(LOG_LVL_ERROR);
	shutdown(t->fd, SHUT_RDWR);
	fuse_mount_read(t->m);
	fuse_mount_read(t->m);
	assert_int_equal(t->gone, 1);
	fx_free(t);
}

static void test_fuse_which_signals_are_fatal(void **state)
{
	static const struct {
		const char *text;
		bool fatal;
	} of[] = {
		{"Name:\tx\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0\n"
		 "SigIgn:\t0\nSigCgt:\t0\n",
			false},
		{"N\nSigPnd:\t0000000000000100\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\n",
			true}, /* KILL */
		{"N\nSigPnd:\t0\nShdPnd:\t0000000000000002\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\n",
			true}, /* INT */
		{"N\nSigPnd:\t0\nShdPnd:\t2\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t2\n", false},
		{"N\nSigPnd:\t0\nShdPnd:\t2\nSigBlk:\t0\nSigIgn:\t2\nSigCgt:\t0\n", false},
		{"N\nSigPnd:\t0\nShdPnd:\t2\nSigBlk:\t2\nSigIgn:\t0\nSigCgt:\t0\n", false},
		{"N\nSigPnd:\t100\nShdPnd:\t0\nSigBlk:\tffffffffffffffff\nSigIgn:\t0\nSigCgt:\t0\n",
			true}, /* nothing blocks KILL */
		{"N\nSigPnd:\t10000\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t0\n",
			false}, /* CHLD */
		{"N\nSigPnd:\t2000\nShdPnd:\t0\nSigBlk:\t0\nSigIgn:\t0\nSigCgt:\t2000\n",
			false}, /* ALRM of a program with timers */
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(of); i++)
		assert_int_equal(fuse_signal_fatal_in(of[i].text), of[i].fatal);
	assert_false(fuse_signal_fatal((uint32_t)getpid()));
	assert_true(fuse_signal_fatal(0x7ffffff0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fuse_file_from_create_to_release),
		cmocka_unit_test(test_fuse_cache_is_dropped_when_others_wrote),
		cmocka_unit_test(test_fuse_a_write_says_whether_it_appends),
		cmocka_unit_test(test_fuse_without_cache_reads_come_here),
		cmocka_unit_test(test_fuse_directories),
		cmocka_unit_test(test_fuse_forget_is_not_answered),
		cmocka_unit_test(test_fuse_locks),
		cmocka_unit_test(test_fuse_setattr_and_set_id_bits),
		cmocka_unit_test(test_fuse_write_tells_of_set_id_bits),
		cmocka_unit_test(test_fuse_interrupt),
		cmocka_unit_test(test_fuse_control_answers_without_a_node),
		cmocka_unit_test(test_fuse_freed_with_requests_in_flight),
		cmocka_unit_test(test_fuse_gone_once),
		cmocka_unit_test(test_fuse_which_signals_are_fatal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
