/* How programs read. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>

#include "tests/model/program.h"

static const char *const short_name[PROGRAM_NAMES] = {"a", "b", "c", "x*255", "x*256"};
static const char *const xattr_name[3] = {"user.x", "user.y", "trusted.z"};

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
	"close", "fallocate", "lseek", "tmpfile", "setlk", "getlk", "copy", "keep", "sleep", "cut",
	"cut-nodes", "break", "lose-answer", "crash-node", "pause-node", "pause-mount",
	"kill-mount", "new-mount"};

const char *program_kind(unsigned kind)
{
	return kind_name[kind];
}

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
	case CALL_COPY:
		snprintf(to, len, "h%u from %" PRIu64 " to h%u off=%" PRIu64 " len=%" PRIu64 "%s",
			!s->handle, s->off2, s->handle, s->off, s->len,
			s->kill ? " kill-priv" : "");
		break;
	case CALL_SETLK:
	case CALL_GETLK:
		snprintf(to, len, "h%u %s by %s %u of %" PRIu64 "..%" PRIu64, s->handle,
			s->flags == F_RDLCK   ? "shared"
			: s->flags == F_WRLCK ? "alone"
					      : "unlock",
			LOCK_IS_FCNTL(s->what) ? "process" : "file", s->what % 2, s->off, s->len);
		break;
	case CALL_CREATE:
	case CALL_TMPFILE:
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
		snprintf(to, len, "%s%s%s", s->flags & RENAME_NOREPLACE ? "NOREPLACE" : "",
			s->flags & RENAME_WHITEOUT ? " WHITEOUT" : "",
			s->flags == RENAME_EXCHANGE ? "EXCHANGE" : "");
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
	if (!call_on_file(s->kind))
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

	fprintf(to, "%u nodes, %u copies, %u mounts%s%s\n", p->nodes, p->replicas, p->mounts,
		p->power ? ", then the power is lost" : "", p->torn ? ", torn" : "");
	for (unsigned k = 0; k < p->n; k++) {
		program_line(&p->step[k], line, sizeof(line));
		fprintf(to, "%3u  %s\n", k, line);
	}
}
