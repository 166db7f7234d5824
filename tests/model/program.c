/* Random programs, and how they read. */
#include "tests/model/program.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/ops/fs.h"

#define X51 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X255 X51 X51 X51 X51 X51

const char *const program_name[PROGRAM_NAMES] = {"a", "b", "c", X255, X255 "y"};
static const char *const short_name[PROGRAM_NAMES] = {"a", "b", "c", "x*255", "x*256"};
static const char *const xattr_name[3] = {"user.x", "user.y", "trusted.z"};

struct rng {
	uint64_t x;
};

static uint64_t rnd(struct rng *r)
{
	uint64_t z = r->x += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned below(struct rng *r, unsigned n)
{
	return (unsigned)(rnd(r) % n);
}

static bool one_of(struct rng *r, unsigned n)
{
	return below(r, n) == 0;
}

/* How this program differs from others. */
struct taste {
	unsigned names;    /* per mille of steps that concern names */
	unsigned faults;   /* and of those that are faults */
	unsigned together; /* of those that run with the next */
	unsigned dirs;     /* of names that lie below the root */
	bool kills, big;
};

static uint8_t some_name(struct rng *r)
{
	if (one_of(r, 40))
		return (uint8_t)(3 + below(r, 2));
	return (uint8_t)below(r, 3);
}

static struct where some_where(struct rng *r, const struct taste *t)
{
	struct where w = {.name = some_name(r)};

	if (one_of(r, 15))
		w.kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
	while (w.depth < 2 && below(r, 1000) < t->dirs)
		w.dir[w.depth++] = (uint8_t)below(r, 2);
	return w;
}

static uint64_t some_offset(struct rng *r, const struct taste *t)
{
	static const uint64_t edge[] = {0, 1, 4096, 65535, 65536, 65537, 131072, 1048575, 1048576,
		1048577, 2097151, 2097152};
	uint64_t off = edge[below(r, t->big ? 12 : 7)];

	if (one_of(r, 2))
		return below(r, 200);
	if (one_of(r, 3))
		off += below(r, 5000);
	return off;
}

static uint64_t some_length(struct rng *r, const struct taste *t)
{
	static const uint64_t len[] = {1, 10, 100, 4096, 5000, 65536, 70000, 1048576, 1100000};
	unsigned n = one_of(r, 3) ? (t->big ? 9 : 7) : 5;

	return len[below(r, n)];
}

static int some_flags(struct rng *r)
{
	int f = one_of(r, 4) ? (one_of(r, 2) ? O_RDONLY : O_WRONLY) : O_RDWR;

	if (one_of(r, 5))
		f |= O_APPEND;
	if (one_of(r, 7))
		f |= O_TRUNC;
	if (one_of(r, 12))
		f |= O_SYNC;
	return f;
}

static void name_step(struct rng *r, struct step_of *s)
{
	static const uint8_t kinds[] = {CALL_LOOKUP, CALL_LOOKUP, CALL_CREATE, CALL_CREATE,
		CALL_MKNOD, CALL_MKNOD, CALL_MKDIR, CALL_MKDIR, CALL_MKDIR, CALL_SYMLINK, CALL_LINK,
		CALL_LINK, CALL_UNLINK, CALL_UNLINK, CALL_UNLINK, CALL_RMDIR, CALL_RMDIR,
		CALL_RENAME, CALL_RENAME, CALL_RENAME, CALL_RENAME, CALL_READLINK, CALL_GETATTR,
		CALL_GETATTR, CALL_READDIR, CALL_READDIR, CALL_SETATTR, CALL_SETXATTR,
		CALL_GETXATTR, CALL_LISTXATTR, CALL_REMOVEXATTR, STEP_KEEP};
	static const uint32_t modes[] = {0644, 0755, 04755, 02755, 02644, 0600};
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFIFO, S_IFCHR};

	s->kind = kinds[below(r, sizeof(kinds))];
	s->mode = modes[below(r, 6)];
	switch (s->kind) {
	case CALL_CREATE:
		s->flags = some_flags(r) | (one_of(r, 3) ? O_EXCL : 0);
		break;
	case CALL_MKNOD:
		s->mode |= types[below(r, 4)];
		break;
	case CALL_RENAME:
		s->flags = one_of(r, 4) ? RENAME_NOREPLACE : one_of(r, 4) ? RENAME_EXCHANGE : 0;
		break;
	case CALL_SETXATTR:
		s->flags = one_of(r, 3) ? XATTR_CREATE : one_of(r, 3) ? XATTR_REPLACE : 0;
		s->len = one_of(r, 10) ? 5000 : below(r, 20);
		break;
	case CALL_READDIR:
		s->plus = one_of(r, 2);
		break;
	case STEP_KEEP:
		s->kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
		return;
	}
	if (s->kind >= CALL_GETXATTR && s->kind <= CALL_REMOVEXATTR) {
		s->handle = (uint8_t)below(r, 3); /* which attribute */
		s->uid = 0;
	}
	if (one_of(r, 12) &&
		(s->kind == CALL_LINK || s->kind == CALL_READLINK || s->kind >= CALL_GETATTR))
		s->kept = (uint8_t)(1 + below(r, PROGRAM_KEPT));
}

static void setattr_step(struct rng *r, const struct taste *t, struct step_of *s)
{
	static const unsigned what[] = {FS_SET_MODE, FS_SET_UID, FS_SET_GID,
		FS_SET_UID | FS_SET_GID, FS_SET_SIZE, FS_SET_SIZE, FS_SET_SIZE, FS_SET_ATIME,
		FS_SET_MTIME, FS_SET_ATIME | FS_SET_MTIME, FS_SET_ATIME_NOW | FS_SET_MTIME_NOW,
		FS_SET_KILL_SUID, FS_SET_UID | FS_SET_KILL_SUID, FS_SET_SIZE | FS_SET_KILL_SUID};

	s->what = what[below(r, 14)];
	s->len = some_offset(r, t);
	/* in the past, and far in the future */
	s->time = (int64_t)(one_of(r, 2) ? 1000 + below(r, 1000) : 2000000000 + below(r, 1000)) *
			  1000000000 +
		  below(r, 1000000000);
}

static void data_step(struct rng *r, const struct taste *t, struct step_of *s)
{
	static const uint8_t kinds[] = {CALL_OPEN, CALL_OPEN, CALL_OPEN, CALL_CREATE, CALL_READ,
		CALL_READ, CALL_READ, CALL_READ, CALL_WRITE, CALL_WRITE, CALL_WRITE, CALL_WRITE,
		CALL_WRITE, CALL_WRITE, CALL_FSYNC, CALL_CLOSE, CALL_CLOSE, CALL_FALLOCATE,
		CALL_LSEEK, CALL_SETATTR, CALL_SETATTR, CALL_GETATTR, CALL_GETATTR};
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};

	s->kind = kinds[below(r, sizeof(kinds))];
	s->mode = one_of(r, 5) ? 04755 : 0644;
	s->off = some_offset(r, t);
	s->len = some_length(r, t);
	s->kill = one_of(r, 6);
	switch (s->kind) {
	case CALL_OPEN:
	case CALL_CREATE:
		s->flags = some_flags(r);
		break;
	case CALL_FALLOCATE:
		s->flags = modes[below(r, 6)];
		break;
	case CALL_LSEEK:
		s->flags = one_of(r, 2) ? SEEK_DATA : SEEK_HOLE;
		break;
	case CALL_READ:
		if (one_of(r, 3)) { /* all of it */
			s->off = 0;
			s->len = MODEL_SIZE_MAX;
		}
		break;
	}
}

static void fault_step(
	struct rng *r, const struct program *p, const struct taste *t, struct step_of *s)
{
	static const uint8_t kinds[] = {STEP_SLEEP, STEP_SLEEP, STEP_CUT, STEP_CUT_NODES,
		STEP_BREAK, STEP_LOSE, STEP_CRASH, STEP_CRASH, STEP_PAUSE_NODE, STEP_PAUSE_MOUNT};
	static const uint32_t ms[] = {10, 100, 600, 1500};

	s->kind = kinds[below(r, sizeof(kinds))];
	if (t->kills && one_of(r, 3))
		s->kind = one_of(r, 3) ? STEP_MOUNT : STEP_KILL;
	s->node = (uint8_t)below(r, p->nodes);
	s->node2 = (uint8_t)below(r, p->nodes);
	s->ms = 1 + below(r, ms[below(r, 4)]);
	if (s->kind == STEP_SLEEP && one_of(r, 3))
		s->ms *= 8;
	s->silent = one_of(r, 2);
	s->events = below(r, one_of(r, 3) ? 10 : 60);
}

static void some_step(
	struct rng *r, const struct program *p, const struct taste *t, struct step_of *s)
{
	memset(s, 0, sizeof(*s));
	s->mount = (uint8_t)below(r, p->mounts);
	s->handle = (uint8_t)below(r, PROGRAM_HANDLES);
	s->at = some_where(r, t);
	s->to = some_where(r, t);
	s->salt = (uint32_t)rnd(r) % 1000;
	s->uid = one_of(r, 3) ? 1000 : 0;
	s->gid = one_of(r, 3) ? 100 : 0;
	if (below(r, 1000) < t->faults) {
		fault_step(r, p, t, s);
		return;
	}
	if (below(r, 1000) < t->names)
		name_step(r, s);
	else
		data_step(r, t, s);
	if (s->kind == CALL_SETATTR)
		setattr_step(r, t, s);
	/* of what is there already, others than root would be told to look again */
	if (s->kind == CALL_CREATE && !(s->flags & O_EXCL))
		s->uid = s->gid = 0;
	s->with_next = below(r, 1000) < t->together;
}

void program_make(struct program *p, uint64_t seed)
{
	struct rng r = {.x = seed};
	static const unsigned names[] = {200, 500, 800, 950};
	static const unsigned faults[] = {0, 20, 80, 200};
	static const unsigned together[] = {0, 0, 200, 500};
	struct taste t;

	memset(p, 0, sizeof(*p));
	p->seed = seed;
	p->nodes = 1 + below(&r, 3);
	p->replicas = 1 + below(&r, p->nodes);
	p->mounts = 1 + below(&r, 4);
	t.names = names[below(&r, 4)];
	t.faults = faults[below(&r, 4)];
	t.together = together[below(&r, 4)];
	t.dirs = 100 + below(&r, 500);
	t.kills = t.faults > 0 && one_of(&r, 3);
	t.big = one_of(&r, 3);
	p->n = 8 + below(&r, PROGRAM_STEPS - 8);
	for (unsigned k = 0; k < p->n; k++)
		some_step(&r, p, &t, &p->step[k]);
}

/* ---- printing ---- */

static void put_where(char *to, size_t len, const struct where *w, bool name)
{
	char kept[8] = "";

	if (w->kept)
		snprintf(kept, sizeof(kept), "<%u>", w->kept);
	snprintf(to, len, "%s%s%s%s%s%s%s", kept, w->depth > 0 ? "/" : "",
		w->depth > 0 ? short_name[w->dir[0]] : "", w->depth > 1 ? "/" : "",
		w->depth > 1 ? short_name[w->dir[1]] : "", name ? "/" : "",
		name ? short_name[w->name] : "");
}

static const char *const kind_name[STEP_KINDS] = {"lookup", "create", "mknod", "mkdir", "symlink",
	"link", "unlink", "rmdir", "rename", "readlink", "getattr", "setattr", "readdir",
	"getxattr", "setxattr", "listxattr", "removexattr", "open", "read", "write", "fsync",
	"close", "fallocate", "lseek", "keep", "sleep", "cut", "cut-nodes", "break", "lose-answer",
	"crash-node", "pause-node", "pause-mount", "kill-mount", "new-mount"};

static void put_flags(char *to, size_t len, int f)
{
	static const char *const acc[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "?"};

	snprintf(to, len, "%s%s%s%s%s", acc[f & O_ACCMODE], f & O_APPEND ? "|O_APPEND" : "",
		f & O_TRUNC ? "|O_TRUNC" : "", f & O_EXCL ? "|O_EXCL" : "",
		f & O_SYNC ? "|O_SYNC" : "");
}

static void fault_line(const struct step_of *s, char *line, size_t len)
{
	switch (s->kind) {
	case STEP_CUT_NODES:
		snprintf(line, len, "    %s n%u n%u for %" PRIu64 " ms%s", kind_name[s->kind],
			s->node, s->node2, s->ms, s->silent ? ", silent" : "");
		break;
	case STEP_CUT:
		snprintf(line, len, "m%u: cut from n%u for %" PRIu64 " ms%s", s->mount, s->node,
			s->ms, s->silent ? ", silent" : "");
		break;
	case STEP_KILL:
		snprintf(line, len, "m%u: dies after %u events%s", s->mount, s->events,
			s->silent ? ", silent" : "");
		break;
	case STEP_SLEEP:
	case STEP_MOUNT:
		snprintf(line, len, "    %s %" PRIu64 " ms", kind_name[s->kind], s->ms);
		break;
	case STEP_PAUSE_MOUNT:
		snprintf(line, len, "m%u: pause for %" PRIu64 " ms", s->mount, s->ms);
		break;
	default:
		snprintf(line, len, "    %s n%u (m%u) %" PRIu64 " ms", kind_name[s->kind], s->node,
			s->mount, s->ms);
	}
}

/* What the call is told besides where. */
static void put_args(const struct step_of *s, char *to, size_t len)
{
	char flags[64];

	put_flags(flags, sizeof(flags), s->flags);
	switch (s->kind) {
	case CALL_CREATE:
		snprintf(to, len, "%o %s as %u:%u -> h%u", s->mode, flags, s->uid, s->gid,
			s->handle);
		break;
	case CALL_OPEN:
		snprintf(to, len, "%s -> h%u", flags, s->handle);
		break;
	case CALL_MKNOD:
	case CALL_MKDIR:
		snprintf(to, len, "%o as %u:%u", s->mode, s->uid, s->gid);
		break;
	case CALL_RENAME:
		snprintf(to, len, "%s",
			s->flags == RENAME_NOREPLACE  ? "NOREPLACE"
			: s->flags == RENAME_EXCHANGE ? "EXCHANGE"
						      : "");
		break;
	case CALL_SETATTR:
		snprintf(to, len, "what=%x mode=%o uid=%u gid=%u size=%" PRIu64 " time=%" PRId64,
			s->what, s->mode, s->uid, s->gid, s->len, s->time);
		break;
	case CALL_GETXATTR:
	case CALL_SETXATTR:
	case CALL_REMOVEXATTR:
		snprintf(to, len, "%s len=%" PRIu64 " flags=%d salt=%u", xattr_name[s->handle % 3],
			s->len, s->flags, s->salt);
		break;
	case CALL_READ:
	case CALL_WRITE:
	case CALL_FALLOCATE:
	case CALL_LSEEK:
		snprintf(to, len, "h%u off=%" PRIu64 " len=%" PRIu64 " flags=%x salt=%u%s",
			s->handle, s->off, s->len, (unsigned)s->flags, s->salt,
			s->kill ? " kill-priv" : "");
		break;
	case CALL_FSYNC:
	case CALL_CLOSE:
		snprintf(to, len, "h%u", s->handle);
		break;
	default:
		snprintf(to, len, "%s", s->plus ? "plus" : "");
	}
}

void program_line(const struct step_of *s, char *line, size_t len)
{
	char at[64] = "", to[64] = "", args[128], kept[16] = "";

	if (s->kind > STEP_KEEP) {
		fault_line(s, line, len);
		return;
	}
	put_args(s, args, sizeof(args));
	if (s->kind < CALL_READ || s->kind > CALL_LSEEK)
		put_where(at, sizeof(at), &s->at, true);
	if (s->kind == CALL_RENAME || s->kind == CALL_LINK)
		put_where(to, sizeof(to), &s->to, true);
	if (s->kept)
		snprintf(kept, sizeof(kept), "%s<%u> ", s->kind == STEP_KEEP ? "as " : "", s->kept);
	snprintf(line, len, "m%u: %s %s%s%s%s %s%s", s->mount, kind_name[s->kind], kept, at,
		to[0] ? " " : "", to, args, s->with_next ? "   & together with" : "");
}

void program_print(const struct program *p, FILE *to)
{
	char line[512];

	fprintf(to, "%u nodes, %u copies, %u mounts\n", p->nodes, p->replicas, p->mounts);
	for (unsigned k = 0; k < p->n; k++) {
		program_line(&p->step[k], line, sizeof(line));
		fprintf(to, "%3u  %s\n", k, line);
	}
}
