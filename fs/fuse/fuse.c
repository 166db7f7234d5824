/*
 * The session with the kernel: mounting, reading requests on the loop, replies, signals, the end.
 *
 * Requests are read one by one until there are none (at most ROUND at a time, so that the loop gets
 * its turn) and decoded by libfuse, which calls the handlers of ops.c.
 */
#include "fs/fuse/fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dht/base/log.h"
#include "dht/base/mem.h"
#include "fs/fuse/session.h"

#define ROUND 64
#define ASK_AGAIN (100 * ENV_MS) /* between looks at threads that a signal waits for */

/* ---- calls ---- */

struct fuse_call *fuse_call_new(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_mount *m = fuse_req_userdata(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fuse_call *k = TAILQ_FIRST(&m->spare);

	if (k) {
		TAILQ_REMOVE(&m->spare, k, entry);
		memset(k, 0, sizeof(*k));
	} else {
		k = mem_zalloc(sizeof(*k));
	}
	k->m = m;
	k->req = req;
	k->ino = ino;
	k->c.uid = ctx->uid;
	k->c.gid = ctx->gid;
	k->c.pid = (uint32_t)ctx->pid;
	k->c.umask = ctx->umask;
	TAILQ_INSERT_TAIL(&m->live, k, entry);
	return k;
}

void fuse_call_end(struct fuse_call *k)
{
	struct fuse_mount *m = k->m;

	free(k->mem);
	free(k->groups);
	if (!m) {
		free(k);
		return;
	}
	if (k->interrupted)
		TAILQ_REMOVE(&m->interrupted, k, asked);
	TAILQ_REMOVE(&m->live, k, entry);
	TAILQ_INSERT_HEAD(&m->spare, k, entry);
}

static void ask_arm(struct fuse_mount *m)
{
	if (!m->ask.armed && !TAILQ_EMPTY(&m->interrupted))
		env_timer_set(m->env, &m->ask, env_now(m->env) + ASK_AGAIN);
}

/* Looks once more at the threads that a signal waits for: one may have become fatal since. */
static void ask_again(struct env_timer *t)
{
	struct fuse_mount *m = container_of(t, struct fuse_mount, ask);
	struct fuse_call *k;
	unsigned n = 0;

	TAILQ_FOREACH (k, &m->interrupted, asked)
		n++;
	while (n-- > 0 && (k = TAILQ_FIRST(&m->interrupted))) {
		TAILQ_REMOVE(&m->interrupted, k, asked);
		TAILQ_INSERT_TAIL(&m->interrupted, k, asked);
		if (fuse_signal_fatal(k->c.pid))
			fs_interrupt(m->fs, &k->c, true);
	}
	ask_arm(m);
}

/* INTERRUPT from the kernel, on the loop. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct fuse_call *k = data;
	struct fuse_mount *m = k->m;

	if (!m || k->req != req || k->interrupted)
		return;
	k->interrupted = true;
	TAILQ_INSERT_TAIL(&m->interrupted, k, asked);
	ask_arm(m);
	fs_interrupt(m->fs, &k->c, fuse_signal_fatal(k->c.pid));
}

void fuse_call_wait(struct fuse_call *k)
{
	fuse_req_interrupt_func(k->req, on_interrupt, k);
}

/* ---- reading requests ---- */

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

#define DIRECT_IO_ALLOW_MMAP (1u << 4) /* of flags2; FUSE_DIRECT_IO_ALLOW_MMAP, Linux 6.6 */

/* libfuse of this age does not know FUSE_HANDLE_KILLPRIV_V2 (set-id bits are dropped by us, when
 * the kernel says so, instead of a getxattr before each write), nor that files with direct I/O can
 * be mapped: the answer to INIT gets them here. */
static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_mount *m = userdata;
	const struct fuse_out_header *out = iov[0].iov_base;
	struct fuse_init_out init;
	struct iovec with[2];

	if (count != 2 || out->unique != m->init_unique || out->error ||
		iov[1].iov_len > sizeof(init) ||
		iov[1].iov_len < offsetof(struct fuse_init_out, max_background))
		return writev(fd, iov, count);
	memset(&init, 0, sizeof(init));
	memcpy(&init, iov[1].iov_base, iov[1].iov_len);
	if (m->killpriv)
		init.flags |= FUSE_HANDLE_KILLPRIV_V2;
	if (m->direct_mmap && iov[1].iov_len >= offsetof(struct fuse_init_out, unused)) {
		init.flags |= FUSE_INIT_EXT;
		init.flags2 |= DIRECT_IO_ALLOW_MMAP;
	}
	with[0] = iov[0];
	with[1] = (struct iovec){.iov_base = &init, .iov_len = iov[1].iov_len};
	return writev(fd, with, 2);
}

static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};

static void look_at_init(struct fuse_mount *m, const struct fuse_in_header *in, size_t len)
{
	const struct fuse_init_in *init = (const void *)(in + 1);

	if (in->opcode != FUSE_INIT || len < sizeof(*in) + 16)
		return;
	m->init_unique = in->unique;
	m->killpriv = init->minor >= 33 && init->flags & FUSE_HANDLE_KILLPRIV_V2;
	m->direct_mmap = len >= sizeof(*in) + offsetof(struct fuse_init_in, unused) &&
			 init->flags & FUSE_INIT_EXT && init->flags2 & DIRECT_IO_ALLOW_MMAP;
}

/* Requests that libfuse of this age does not know become what they resemble. */
static void translate(struct fuse_mount *m, struct fuse_in_header *in, size_t len)
{
	m->opcode = in->opcode;
	if (in->opcode == OPCODE_TMPFILE)
		in->opcode = FUSE_CREATE;
	else if (in->opcode == OPCODE_STATX && len >= sizeof(*in) + sizeof(struct fuse_getattr_in))
		in->opcode = FUSE_GETATTR;
}

static void went(struct fuse_mount *m)
{
	if (m->gone)
		return;
	m->gone = true;
	loop_unwatch(m->watch);
	m->watch = NULL;
	if (m->opts.gone)
		m->opts.gone(m->opts.arg);
}

void fuse_mount_read(struct fuse_mount *m)
{
	if (m->gone)
		return;
	m->busy = true;
	for (unsigned i = 0; i < ROUND && !m->freed; i++) {
		int n = fuse_session_receive_buf(m->se, &m->buf);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n <= 0) { /* ENODEV: unmounted; anything else ends it as well */
			if (n < 0)
				log_error("mod=fuse rc=%s msg=\"reading requests\"", log_errno(n));
			went(m);
			break;
		}
		m->in = m->buf.mem;
		if ((size_t)n >= sizeof(*m->in)) {
			look_at_init(m, m->in, (size_t)n);
			translate(m, m->buf.mem, (size_t)n);
		}
		fuse_session_process_buf(m->se, &m->buf);
		m->in = NULL;
		if (m->greeted && !m->told_ready && !m->freed) {
			m->told_ready = true;
			if (m->opts.ready)
				m->opts.ready(m->opts.arg);
		}
		if (!m->freed && fuse_session_exited(m->se)) {
			went(m);
			break;
		}
	}
	m->busy = false;
	if (m->freed && !m->drops)
		fuse_mount_destroy(m);
}

static void readable(void *arg)
{
	fuse_mount_read(arg);
}

/* ---- mounting ---- */

/* What libfuse complains about while we mount; one at a time, on one thread. */
static char *say_to;
static size_t say_len;

static void fuse_says(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[256];
	size_t n;

	if (vsnprintf(line, sizeof(line), fmt, ap) < 0)
		return;
	n = strcspn(line, "\n");
	line[n] = '\0';
	if (say_to && n)
		snprintf(say_to, say_len, "%s", line);
	else if (level <= FUSE_LOG_WARNING)
		log_warn("mod=fuse msg=\"%s\"", line);
	else
		log_debug("mod=fuse msg=\"%s\"", line);
}

static int add_options(struct fuse_args *args, const struct fuse_mount_options *o)
{
	char opt[512];
	int bad = fuse_opt_add_arg(args, "orbitfs") |
		  fuse_opt_add_arg(args, "-odefault_permissions,subtype=orbitfs");

	if (o->source) {
		/* commas and backslashes would end the option */
		size_t n = (size_t)snprintf(opt, sizeof(opt), "-ofsname=");

		for (const char *p = o->source; *p && n < sizeof(opt) - 3; p++) {
			if (*p == ',' || *p == '\\')
				opt[n++] = '\\';
			opt[n++] = *p;
		}
		opt[n] = '\0';
		bad |= fuse_opt_add_arg(args, opt);
	}
	if (o->allow_other)
		bad |= fuse_opt_add_arg(args, "-oallow_other");
	if (o->read_only)
		bad |= fuse_opt_add_arg(args, "-oro");
	if (o->debug)
		bad |= fuse_opt_add_arg(args, "-odebug");
	if (o->kernel_opts && o->kernel_opts[0]) {
		bad |= fuse_opt_add_arg(args, "-o");
		bad |= fuse_opt_add_arg(args, o->kernel_opts);
	}
	return bad ? -ENOMEM : 0;
}

static int session_make(struct fuse_mount *m)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc = add_options(&args, &m->opts);

	if (rc == 0) {
		m->se = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), m);
		if (!m->se)
			rc = -EINVAL;
	}
	fuse_opt_free_args(&args);
	return rc;
}

static int mount_start(struct fuse_mount *m, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	m->fd = fd;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	if (fuse_session_custom_io(m->se, &io, fd))
		return -EIO;
	return m->lp ? loop_watch_fd(m->lp, fd, readable, m, &m->watch) : 0;
}

static struct fuse_mount *mount_alloc(
	struct loop *lp, struct env *e, struct fs *fs, const struct fuse_mount_options *opts)
{
	struct fuse_mount *m = mem_zalloc(sizeof(*m));

	m->lp = lp;
	m->env = e;
	m->fs = fs;
	m->opts = *opts;
	m->fd = -1;
	m->ask.fire = ask_again;
	TAILQ_INIT(&m->live);
	TAILQ_INIT(&m->spare);
	TAILQ_INIT(&m->interrupted);
	return m;
}

static int mount_make(struct fuse_mount **out, struct loop *lp, struct env *e, struct fs *fs,
	const struct fuse_mount_options *opts, int fd, char *why, size_t why_len)
{
	struct fuse_mount *m = mount_alloc(lp, e, fs, opts);
	int rc;

	if (why_len)
		why[0] = '\0';
	say_to = why_len ? why : NULL;
	say_len = why_len;
	fuse_set_log_func(fuse_says);
	rc = session_make(m);
	if (rc == 0 && fd < 0) {
		rc = fuse_session_mount(m->se, opts->mountpoint) ? -EIO : 0;
		m->mounted = rc == 0;
		fd = m->mounted ? fuse_session_fd(m->se) : -1;
	}
	if (rc == 0)
		rc = mount_start(m, fd);
	say_to = NULL;
	if (rc == 0) {
		notify_start(m);
		*out = m;
		return 0;
	}
	if (why_len && !why[0])
		snprintf(why, why_len, "can't mount on %s: %s",
			opts->mountpoint ? opts->mountpoint : "it", strerror(-rc));
	fuse_mount_free(m);
	return rc;
}

int fuse_mount_new(struct fuse_mount **out, struct loop *lp, struct fs *fs,
	const struct fuse_mount_options *opts, char *why, size_t why_len)
{
	return mount_make(out, lp, loop_env(lp), fs, opts, -1, why, why_len);
}

int fuse_mount_on_fd(struct fuse_mount **out, struct env *e, struct fs *fs,
	const struct fuse_mount_options *opts, int fd, char *why, size_t why_len)
{
	return mount_make(out, NULL, e, fs, opts, fd, why, why_len);
}

/* ---- the end ---- */

void fuse_mount_destroy(struct fuse_mount *m)
{
	struct fuse_call *k;

	while ((k = TAILQ_FIRST(&m->spare))) {
		TAILQ_REMOVE(&m->spare, k, entry);
		free(k);
	}
	if (m->se)
		fuse_session_destroy(m->se); /* also closes the descriptor */
	free(m->buf.mem);
	free(m);
}

void fuse_mount_free(struct fuse_mount *m)
{
	struct fuse_call *k;

	if (!m)
		return;
	loop_unwatch(m->watch);
	m->watch = NULL;
	env_timer_clear(m->env, &m->ask);
	while ((k = TAILQ_FIRST(&m->live))) {
		TAILQ_REMOVE(&m->live, k, entry);
		if (k->req)
			fuse_reply_err(k->req, EIO);
		k->req = NULL;
		k->m = NULL; /* the rest of it goes when its operation ends */
	}
	if (m->mounted)
		fuse_session_unmount(m->se);
	m->mounted = false;
	m->freed = true;
	notify_stop(m);
	if (!m->busy && !m->drops)
		fuse_mount_destroy(m);
}
