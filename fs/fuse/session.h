/*
 * What the parts of fs/fuse share. Private to fs/fuse and its tests.
 */
#ifndef ORBIT_FUSE_SESSION_H
#define ORBIT_FUSE_SESSION_H

#include <fuse_lowlevel.h>
#include <sys/queue.h>

#include "fs/fuse/fuse.h"

/*
 * One request, from its arrival to its only reply. It is at first on the free list of its mount;
 * after fuse_mount_free() it lives on until its operation ends, and then replies to nobody.
 */
struct fuse_call {
	struct fs_call c;     /* first: fs_call of the operation is the call itself */
	struct fuse_mount *m; /* NULL: the mount is gone */
	fuse_req_t req;       /* NULL: was answered */
	fuse_ino_t ino;
	struct fuse_file_info fi;
	size_t size; /* that the kernel has room for */
	void *mem;   /* the answer of readdir; the request, when it had to be kept */
	size_t used;
	struct statvfs sv;
	gid_t *groups; /* more groups of who asks; mostly NULL */
	int flushed;   /* close: what became of its bytes */
	bool plus, over, started;
	bool statx;       /* the answer to getattr is that of STATX */
	bool interrupted; /* a signal waits, but was not fatal when we looked */
	TAILQ_ENTRY(fuse_call) entry;
	TAILQ_ENTRY(fuse_call) asked;
};
TAILQ_HEAD(fuse_calls, fuse_call);

struct fuse_mount {
	struct fuse_session *se;
	struct loop *lp;
	struct env *env;
	struct fs *fs;
	struct fuse_mount_options opts;
	struct loop_watch *watch;
	int fd;
	bool mounted; /* by us: to be unmounted */
	bool greeted, told_ready, gone;
	struct fuse_buf buf;
	const struct fuse_in_header *in; /* the request that is being decoded */
	uint32_t opcode; /* its own, which libfuse may not have seen: TMPFILE comes as CREATE, STATX
			    as GETATTR */
	uint64_t init_unique;
	bool killpriv;    /* the kernel can tell us when set-id bits are to be dropped */
	bool direct_mmap; /* files with direct I/O can be mapped */
	bool freed;       /* within a callback of ours */
	bool busy;
	struct fuse_calls live, spare;
	struct fuse_calls interrupted;
	struct env_timer ask;
	unsigned drops;                 /* the kernel is being told to forget */
	char names_lane, pages_lane[5]; /* with less than all of the workers */
};

/* As fuse_mount_new(), on a descriptor (owned from here on) that speaks FUSE, and on any env:
 * nobody watches the descriptor, requests are read by fuse_mount_read(). For tests. */
int fuse_mount_on_fd(struct fuse_mount **out, struct env *e, struct fs *fs,
	const struct fuse_mount_options *opts, int fd, char *why, size_t why_len);
void fuse_mount_read(struct fuse_mount *m);

extern const struct fuse_lowlevel_ops fuse_ops;

/* A call for @req, with the caller's ids. */
struct fuse_call *fuse_call_new(fuse_req_t req, fuse_ino_t ino);
/* It was answered: back to the free list. */
void fuse_call_end(struct fuse_call *k);
/* After the operation was begun, and did not end: signals are to be heard, what it needs of the
 * request is kept. */
void fuse_call_wait(struct fuse_call *k);

/* Opcodes that libfuse of this age does not know; from the kernel's <linux/fuse.h>. */
enum {
	OPCODE_TMPFILE = 51,
	OPCODE_STATX = 52,
};

/* Answers STATX: what GETATTR says (to be kept for @keep ns), and the time of birth. */
void statx_reply(fuse_req_t req, const struct fs_attr *a, uint64_t ino, uint64_t keep);

/* Numbers as the kernel has them: the root's is another one. */
uint64_t fuse_ino_in(fuse_ino_t ino);
fuse_ino_t fuse_ino_out(uint64_t ino);

/* ---- telling the kernel to forget (notify.c) ---- */

void notify_start(struct fuse_mount *m);
void notify_stop(struct fuse_mount *m);
/* Frees it: nothing is under way any more. */
void fuse_mount_destroy(struct fuse_mount *m);

/* Is a signal pending for the thread @tid that ends it? Also true when there is no such thread. */
bool fuse_signal_fatal(uint32_t tid);
/* The same, from the text of its /proc/TID/status. */
bool fuse_signal_fatal_in(const char *status);

/* ---- control by xattrs of the root (control.c) ---- */

/* "system.orbitfs.*" */
bool control_is(const char *name);
/* Answers, or does, without asking a node: 0; -ENODATA: no such control; -EPERM: neither root nor
 * who mounted; -EINVAL; -ENOENT: no such transaction. */
int control_get(struct orbit_client *c, const char *name, uint32_t uid, struct buf *out);
/* Names, NUL after each. */
void control_list(struct buf *out);

#endif
