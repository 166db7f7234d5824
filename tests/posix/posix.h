/*
 * posix.h: what the conformance suite's cases are written with.
 *
 * A case is a function in a file named after the call it is about. It runs in a process of its own,
 * in a fresh empty directory (mode 0755) that is its working directory, with umask 022, as who
 * started the suite. What it leaves there is removed. A failed check() or equal() is reported and
 *the case goes on; a failed ok() ends it.
 *
 *	CASE(o_excl_refuses_what_is_there)
 *	{
 *		ok(close(ok(creat("f", 0644))));
 *		expect(open("f", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
 *	}
 *
 * Where filesystems may differ, a case looks where it is (on(), what a call says), tells why by
 * differs(), and checks what holds there instead. It then counts as differing. There is no silent
 * skip.
 */
#ifndef TESTS_POSIX_H
#define TESTS_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- cases ---- */

enum {
	SLOW = 1,  /* runs only with -s, or when named */
	ROOT = 2,  /* needs root: not run without */
	ALONE = 4, /* nothing else may run beside it */
	SELF = 8,  /* of the suite itself (self.c): runs only when named */
};

struct posix_case {
	const char *file, *name; /* "open.c", "o_excl" */
	int line, flags;
	void (*run)(void);
	struct posix_case *next;
};

void posix_register(struct posix_case *c);

/* CASE(name) or CASE(name, SLOW | ROOT) { ... } */
#define CASE(name_, ...)                                                                           \
	static void case_##name_(void);                                                            \
	__attribute__((constructor)) static void register_##name_(void)                            \
	{                                                                                          \
		static struct posix_case c = {.file = __FILE__,                                    \
			.name = #name_,                                                            \
			.line = __LINE__,                                                          \
			.flags = 0 __VA_OPT__(+(__VA_ARGS__)),                                     \
			.run = case_##name_};                                                      \
		posix_register(&c);                                                                \
	}                                                                                          \
	static void case_##name_(void)

/* ---- checks ---- */

long posix_ok(long got, const char *text, const char *file, int line);
bool posix_expect(long got, int want, const char *text, const char *file, int line);
bool posix_check(bool good, const char *text, const char *file, int line);
bool posix_equal(
	long long a, long long b, const char *at, const char *bt, const char *file, int line);
bool posix_text(const char *a, const char *b, const char *at, const char *file, int line);
void posix_stamp_begin(const char *path);
void posix_stamp_end(int which, const char *text, const char *file, int line);
void differs(const char *why); /* why what is right here is not what is right elsewhere */

/* the call must not fail; its value */
#define ok(call) posix_ok((long)(call), #call, __FILE__, __LINE__)
/* the call must fail with this errno */
#define expect(call, error) posix_expect((long)(call), error, #call, __FILE__, __LINE__)
#define check(what) posix_check(what, #what, __FILE__, __LINE__)
#define equal(a, b) posix_equal((long long)(a), (long long)(b), #a, #b, __FILE__, __LINE__)
#define same(a, b) posix_text(a, b, #a, __FILE__, __LINE__)

/* What @call does to the times of @path: those of @which get newer, the others stay as they are. */
enum {
	ATIM = 1,
	MTIM = 2,
	CTIM = 4,
	ANY_ATIM = 8, /* atime may change or not */
};
#define stamps(path, which, call)                                                                  \
	do {                                                                                       \
		posix_stamp_begin(path);                                                           \
		call;                                                                              \
		posix_stamp_end(which, #call " on " path, __FILE__, __LINE__);                     \
	} while (0)

/* ---- others ---- */

/* The block runs as a child with these IDs (and groups besides gid); no return from within it. */
#define AS(uid, gid, ...)                                                                          \
	for (; posix_as(uid, gid, (gid_t[]){gid __VA_OPT__(, ) __VA_ARGS__},                       \
		     COUNT(((gid_t[]){gid __VA_OPT__(, ) __VA_ARGS__})));                          \
		posix_as_end())
/* The block runs as a child that changes nothing of who it is. */
#define CHILD() for (; posix_child(); posix_as_end())

bool posix_as(uid_t uid, gid_t gid, const gid_t *groups, size_t n);
bool posix_child(void);
_Noreturn void posix_as_end(void);

/* users and groups that nothing else here has */
enum {
	ANN = 60101,
	BOB = 60102,
	CAT = 60103,
};

/* A child that works beside the case: 0 in it. It must end by quit(). */
pid_t beside(void);
_Noreturn void quit(void);
void join(pid_t pid); /* waits for it, which must have ended by quit() or with 0 */

/* Until the other side has called it, too; at most two take part. */
void meet(int *pair, bool first);
void meeting(int *pair); /* made before beside() */

/* ---- where we are ---- */

enum {
	EXT4 = 1,
	TMPFS = 2,
	OVERLAY = 4,
	FUSE = 8,
	XFS = 16,
	BTRFS = 32,
	OTHER = 64,
};
bool on(int kinds);
bool is_root(void);

/* ---- files ---- */

void file(const char *name, const char *content);       /* made anew, 0644 */
void holds(const char *name, const char *content);      /* check that it does */
void fill(const char *name, size_t len, unsigned seed); /* made anew with bytes that seed decides */
void bytes(void *to, size_t len, unsigned seed, size_t from); /* those bytes */
struct stat st(const char *path);                             /* lstat, must not fail */
struct stat fst(int fd);
mode_t mode(const char *path);             /* permission bits */
char *name_of(size_t len, char c);         /* a name of that many bytes; never freed */
void chmod_to(const char *path, mode_t m); /* also after umask and set-id rules */
struct iovec vec(const void *p, size_t len);
void *nowhere(void);           /* an address that is not there */
int names_in(const char *dir); /* how many entries, without . and .. */

/* ---- time ---- */

void tick(void); /* returns when the clock that filesystems look at has moved on */
int cmp_time(struct timespec a, struct timespec b);
void pause_ms(int ms); /* lets others go first; never what a result hangs on */

#endif
